package keys_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseproxy/sseproxy/internal/keys"
)

func TestBreaker(t *testing.T) {
	p, clk := newProvider(), newClock()
	b := keys.NewBreaker(p, clk.Now)
	check := func(want error, calls int) {
		t.Helper()
		before := p.count()
		if _, err := b.Check(t.Context(), "k"); !errors.Is(err, want) {
			t.Errorf("error is %v, want %v", err, want)
		}
		if got := p.count() - before; got != calls {
			t.Errorf("%d calls, want %d", got, calls)
		}
	}
	check(nil, 1)
	for _, refusal := range []error{keys.ErrDenied, keys.ErrNotFound, keys.ErrIntegrity} {
		p.set(refusal) // an answer, so no reason to stop asking
		check(refusal, 1)
		check(refusal, 1)
	}
	p.set(keys.ErrUnavailable)
	check(keys.ErrUnavailable, 1)
	check(keys.ErrUnavailable, 0)
	clk.Add(time.Second - 1)
	check(keys.ErrUnavailable, 0)
	clk.Add(1)
	check(keys.ErrUnavailable, 1)
	check(keys.ErrUnavailable, 0)
	p.set(nil)
	check(keys.ErrUnavailable, 0)
	clk.Add(time.Second)
	check(nil, 1)
	check(nil, 1)
}

// While a provider does not answer at all, one caller in eleven seconds waits for it, and the others do not.
func TestBreakerUnderMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		c := newCache(t, keys.CacheConfig{Provider: keys.NewBreaker(p, nil)})
		p.gate = make(chan struct{})
		var wg sync.WaitGroup
		begin := time.Now()
		for n := range 1000 {
			wg.Go(func() {
				sealFails(t, c, fmt.Sprint("bucket", n), keys.ErrUnavailable)
				if n > 100 && time.Since(begin) > time.Minute+10*time.Second {
					t.Errorf("waited until %v", time.Since(begin))
				}
			})
			time.Sleep(60 * time.Millisecond)
		}
		wg.Wait()
		// Those of the first ten seconds, before anybody knew, and a probe in each eleven after that.
		if n := p.count(); n > 10*1000/60+1+6 {
			t.Errorf("%d calls", n)
		}
	})
}

// A probe whose caller goes away leaves the way to the next.
func TestBreakerCanceledProbe(t *testing.T) {
	p, clk := newProvider(), newClock()
	b := keys.NewBreaker(p, clk.Now)
	p.set(keys.ErrUnavailable)
	if _, err := b.Check(t.Context(), "k"); !errors.Is(err, keys.ErrUnavailable) {
		t.Fatal(err)
	}
	clk.Add(time.Second)
	p.set(nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Check(gone, "k"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := b.Check(t.Context(), "k"); err != nil {
		t.Error(err)
	}
}
