package keys_test

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// state is a cache with a provider, and what must hold of it.
type state struct {
	p     *provider
	clk   *clock
	c     *keys.Cache
	fail  error
	since time.Time // when fail began
	good  time.Time // when the provider last answered all
	made  map[string]time.Time
	wraps map[string]int
}

const (
	modelTTL   = 5 * time.Minute
	modelGrace = 2 * time.Hour
	modelWraps = 7
)

func (s *state) advance(t *rapid.T) {
	limit := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, modelTTL, modelGrace, 30 * time.Hour}).Draw(t, "limit")
	s.clk.Add(time.Duration(rapid.Int64Range(0, int64(limit)).Draw(t, "advance")))
	if s.fail == nil {
		s.good = s.clk.Now()
	}
}

func (s *state) change(t *rapid.T) {
	fail := rapid.SampledFrom([]error{nil, keys.ErrDisabled, keys.ErrDenied, keys.ErrUnavailable}).Draw(t, "fail")
	if errors.Is(fail, s.fail) {
		return
	}
	if s.fail == nil || fail == nil {
		s.good = s.clk.Now()
	}
	s.fail, s.since = fail, s.clk.Now()
	s.p.set(fail)
}

// judge tells whether a call may end so.
func (s *state) judge(t *rapid.T, err error) {
	now := s.clk.Now()
	switch {
	case s.fail == nil && err != nil:
		t.Fatalf("the provider is well, and the cache says %v", err)
	case err != nil && !errors.Is(err, s.fail):
		t.Fatalf("error is %v, want %v", err, s.fail)
	case errors.Is(s.fail, keys.ErrUnavailable) && err == nil && now.Sub(s.good) >= modelGrace:
		t.Fatalf("a key went on %v after the provider's last word", now.Sub(s.good))
	case s.fail != nil && !errors.Is(s.fail, keys.ErrUnavailable) && err == nil && now.Sub(s.since) >= modelTTL:
		t.Fatalf("a key went on %v after it was refused", now.Sub(s.since))
	}
}

func (s *state) seal(t *rapid.T) {
	id, bucket := drawNames(t)
	k, err := s.c.ForSeal(t.Context(), id, bucket)
	s.judge(t, err)
	if err != nil {
		return
	}
	wrapped := string(k.Wrapped)
	if _, ok := s.made[wrapped]; !ok {
		s.made[wrapped] = s.clk.Now()
	}
	s.wraps[wrapped]++
	w := s.p.made[wrapped]
	if !cmp.Equal(w.key, k) || w.id != id || !maps.Equal(w.ec, keys.Context{"aws:s3:arn": "arn:aws:s3:::" + bucket}) {
		t.Fatalf("sealing for %s, %s with a key of %s, %v", id, bucket, w.id, w.ec)
	}
	if age := s.clk.Now().Sub(s.made[wrapped]); age >= 24*time.Hour || s.wraps[wrapped] > modelWraps {
		t.Fatalf("sealing with a key of age %v after %d wraps", age, s.wraps[wrapped])
	}
}

func (s *state) open(t *rapid.T) {
	if len(s.p.made) == 0 {
		t.Skip("nothing was sealed")
	}
	id, bucket := drawNames(t)
	w := s.p.made[fmt.Sprintf("wrapped %d", rapid.IntRange(0, len(s.p.made)-1).Draw(t, "wrapped"))]
	genuine := w.id == id && w.ec["aws:s3:arn"] == "arn:aws:s3:::"+bucket
	k, err := s.c.ForOpen(t.Context(), id, bucket, w.key.Wrapped)
	switch {
	case !genuine && err == nil:
		t.Fatalf("a key of %s, %v opened for %s, %s", w.id, w.ec, id, bucket)
	case !genuine && s.fail == nil:
		if !errors.Is(err, keys.ErrIntegrity) {
			t.Fatalf("error is %v", err)
		}
	case genuine:
		s.judge(t, err)
		if err == nil && !cmp.Equal(k, w.key) {
			t.Fatal("another key")
		}
	}
}

func drawNames(t *rapid.T) (keyID, bucket string) {
	return rapid.SampledFrom([]string{"a", "aa"}).Draw(t, "key id"), rapid.SampledFrom([]string{"a", "aa"}).Draw(t, "bucket")
}

// Whatever happens in whatever order, the documented bounds hold.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, clk := newProvider(), newClock()
		c, err := keys.NewCache(keys.CacheConfig{
			Provider: p, Now: clk.Now, OpenTTL: modelTTL, Grace: modelGrace,
			Entries: rapid.IntRange(1, 5).Draw(t, "entries"),
		})
		if err != nil {
			t.Fatal(err)
		}
		c.SetSealWraps(modelWraps)
		s := &state{p: p, clk: clk, c: c, good: clk.Now(), made: map[string]time.Time{}, wraps: map[string]int{}}
		t.Repeat(map[string]func(*rapid.T){"advance": s.advance, "change": s.change, "seal": s.seal, "open": s.open})
	})
}

// Everything at once, for the race detector.
func TestCacheConcurrent(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now, Entries: 2})
	c.SetSealWraps(50)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			bucket := fmt.Sprint("b", i%3)
			for n := range 300 {
				k, err := c.ForSeal(t.Context(), "k", bucket)
				if err != nil {
					continue // the provider is away
				}
				if got, err := c.ForOpen(t.Context(), "k", bucket, k.Wrapped); err == nil && !cmp.Equal(got, k) {
					t.Error("another key")
				}
				switch {
				case n%50 == i:
					clk.Add(time.Minute)
				case n%70 == i:
					c.Renew("k", bucket)
				case n%90 == i:
					p.set(keys.ErrUnavailable)
				case n%90 == i+10:
					p.set(nil)
				}
			}
		})
	}
	wg.Wait()
}
