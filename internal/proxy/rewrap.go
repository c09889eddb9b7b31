package proxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// Rewrapping is what Rewrap is to do.
type Rewrapping struct {
	Walk
	// Keys says which keys take the place of which. Another key stays, and its current version takes the place of older ones.
	Keys map[string]string
	// DryRun changes nothing.
	DryRun bool
}

// Rewrap wraps the data keys of objects anew, under the current version of their key or under another key. The store copies each
// object onto itself with another envelope, if it has the same ETag as when it was looked at: no body moves, and headers, tags and checksums
// stay. Where the store keeps versions the copy is a new one, and older versions stay under the old key.
//
// It fails when the listing does. An object that could not be wrapped is logged and counted.
func (p *Proxy) Rewrap(ctx context.Context, w Rewrapping) (Tally, error) {
	return p.walk(ctx, w.Walk, "sseproxy rewrap", func(q *request) (outcome, error) { return p.rewrapOne(q, w) })
}

// rewrapOne wraps the data key of q's object anew, if that changes anything.
func (p *Proxy) rewrapOne(q *request, w Rewrapping) (outcome, error) {
	o, header, _, err := p.head(q)
	switch {
	case errors.Is(err, errCustomerKeyMissing):
		return ofCustomer, nil
	case err != nil:
		return failed, err
	case o == nil:
		return plain, nil
	}
	wanted := protectionOf(o.envelope, nil)
	if to, ok := w.Keys[wanted.keyID]; ok {
		wanted.keyID = to
	}
	if !p.rule(q.target).has(wanted.keyID) {
		return failed, fmt.Errorf("key %q is not configured for it", wanted.keyID)
	}
	if err := p.checkLayers(wanted); err != nil {
		return failed, err
	}
	if same, err := p.isCurrent(q, o.envelope, wanted); same || err != nil {
		return current, err
	}
	if w.DryRun {
		return treated, nil
	}
	return treated, p.copyOnto(q, o, header, wanted)
}

// isCurrent reports whether an object's data key is wrapped as wanted, as far as a key's provider tells versions.
func (p *Proxy) isCurrent(q *request, e *envelope.Envelope, wanted *protection) (bool, error) {
	if e.KeyID != wanted.keyID {
		return false, nil
	}
	now, err := p.cfg.Keys.ForSeal(q.ctx, wanted.keyID, q.target.bucket)
	if err != nil {
		return false, fmt.Errorf("getting key %q to seal with: %w", wanted.keyID, err)
	}
	key, err := p.unwrapKey(q, e)
	if err != nil || key.Version != now.Version {
		return false, err
	}
	return p.isSecondCurrent(q, e)
}
