package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// breakFor is how long nobody asks a provider that was unavailable.
	breakFor = time.Second
	// probeFor bounds how long one caller may find out alone whether it still is.
	probeFor = callTimeout
)

// Breaker stands in front of a provider that is asked over a network. When the provider is ErrUnavailable, it fails every call at
// once for a second, and then lets one call through at a time until one is answered: callers do not queue up behind a
// provider that is down, each for the time of a call, nor fall upon it when it comes back.
type Breaker struct {
	provider Provider
	now      func() time.Time

	mu      sync.Mutex
	failure error     // why the provider was unavailable; nil when it was not
	until   time.Time // when the next call may go through
}

// NewBreaker puts a Breaker in front of a provider; now is time.Now unless given.
func NewBreaker(provider Provider, now func() time.Time) *Breaker {
	if now == nil {
		now = time.Now
	}
	return &Breaker{provider: provider, now: now}
}

// GenerateKey implements Provider.
func (b *Breaker) GenerateKey(ctx context.Context, keyID string, ec Context) (Key, error) {
	return through(ctx, b, func() (Key, error) { return b.provider.GenerateKey(ctx, keyID, ec) })
}

// UnwrapKey implements Provider.
func (b *Breaker) UnwrapKey(ctx context.Context, keyID string, wrapped []byte, ec Context) (Key, error) {
	return through(ctx, b, func() (Key, error) { return b.provider.UnwrapKey(ctx, keyID, wrapped, ec) })
}

// Check implements Provider.
func (b *Breaker) Check(ctx context.Context, keyID string) (version string, err error) {
	return through(ctx, b, func() (string, error) { return b.provider.Check(ctx, keyID) })
}

func through[T any](ctx context.Context, b *Breaker, call func() (T, error)) (T, error) {
	if err := b.enter(); err != nil {
		var none T
		return none, err
	}
	answer, err := call()
	b.leave(ctx, err)
	return answer, err
}

func (b *Breaker) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure == nil {
		return nil
	}
	if b.now().Before(b.until) {
		return fmt.Errorf("not asked again yet: %w", b.failure)
	}
	b.until = b.now().Add(probeFor)
	return nil
}

// leave takes note of how a call ended. One whose caller has gone says nothing, and another may try; one whose time is over says
// that there was no answer.
func (b *Breaker) leave(ctx context.Context, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		b.until = b.now()
	case ctx.Err() != nil:
		b.failure, b.until = fmt.Errorf("%w: no answer in time", ErrUnavailable), b.now().Add(breakFor)
	case errors.Is(err, ErrUnavailable):
		b.failure, b.until = err, b.now().Add(breakFor)
	default:
		b.failure = nil
	}
}
