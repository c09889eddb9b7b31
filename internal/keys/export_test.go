package keys

// SetSealWraps lowers the number of wraps that a sealing key allows.
func (c *Cache) SetSealWraps(n uint64) { c.maxWraps = n }

// Canonical exposes the encoding that the local provider authenticates.
func (ec Context) Canonical() []byte { return ec.canonical() }

// Entries returns how many keys are held for sealing and for opening.
func (c *Cache) Entries() (sealing, opening int) {
	return c.sealing.entries.Len(), c.opening.entries.Len()
}
