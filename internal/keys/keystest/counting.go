package keystest

import (
	"context"
	"sync/atomic"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// Counting counts the calls that reach a provider, also those that fail.
type Counting struct {
	keys.Provider
	Calls atomic.Int64
}

// GenerateKey implements keys.Provider.
func (c *Counting) GenerateKey(ctx context.Context, keyID string, ec keys.Context) (keys.Key, error) {
	c.Calls.Add(1)
	return c.Provider.GenerateKey(ctx, keyID, ec)
}

// UnwrapKey implements keys.Provider.
func (c *Counting) UnwrapKey(ctx context.Context, keyID string, wrapped []byte, ec keys.Context) (keys.Key, error) {
	c.Calls.Add(1)
	return c.Provider.UnwrapKey(ctx, keyID, wrapped, ec)
}

// Check implements keys.Provider.
func (c *Counting) Check(ctx context.Context, keyID string) (string, error) {
	c.Calls.Add(1)
	return c.Provider.Check(ctx, keyID)
}
