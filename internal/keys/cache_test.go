package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// provider is a provider in memory whose failures tests decide.
type provider struct {
	mu      sync.Mutex
	fail    error // what every call fails with
	version string
	made    map[string]wrapping
	calls   int
	gate    chan struct{} // if not nil, calls wait for it or for the end of their context
}

type wrapping struct {
	key keys.Key
	id  string
	ec  keys.Context
}

func newProvider() *provider { return &provider{version: "1", made: map[string]wrapping{}} }

func (p *provider) set(fail error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = fail
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

func (p *provider) enter(ctx context.Context) error {
	p.mu.Lock()
	p.calls++
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fail
}

func (p *provider) GenerateKey(ctx context.Context, keyID string, ec keys.Context) (keys.Key, error) {
	if err := p.enter(ctx); err != nil {
		return keys.Key{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := keys.Key{
		Plaintext: fmt.Appendf(nil, "%032d", len(p.made)),
		Wrapped:   fmt.Appendf(nil, "wrapped %d", len(p.made)),
		Version:   p.version,
	}
	p.made[string(k.Wrapped)] = wrapping{cloneKey(k), keyID, maps.Clone(ec)}
	return k, nil
}

func (p *provider) UnwrapKey(ctx context.Context, keyID string, wrapped []byte, ec keys.Context) (keys.Key, error) {
	if err := p.enter(ctx); err != nil {
		return keys.Key{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.made[string(wrapped)]
	if !ok || w.id != keyID || !maps.Equal(w.ec, ec) {
		return keys.Key{}, keys.ErrIntegrity
	}
	return cloneKey(w.key), nil
}

func (p *provider) Check(ctx context.Context, _ string) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version, nil
}

func cloneKey(k keys.Key) keys.Key {
	return keys.Key{Plaintext: bytes.Clone(k.Plaintext), Wrapped: bytes.Clone(k.Wrapped), Version: k.Version}
}

func newCache(t *testing.T, cfg keys.CacheConfig) *keys.Cache {
	t.Helper()
	c, err := keys.NewCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustSeal(t *testing.T, c *keys.Cache, keyID, bucket string) keys.Key {
	t.Helper()
	k, err := c.ForSeal(t.Context(), keyID, bucket)
	if err != nil {
		t.Fatalf("for sealing: %v", err)
	}
	return k
}

func mustOpen(t *testing.T, c *keys.Cache, keyID, bucket string, want keys.Key) {
	t.Helper()
	k, err := c.ForOpen(t.Context(), keyID, bucket, want.Wrapped)
	if err != nil {
		t.Fatalf("for opening: %v", err)
	}
	if diff := cmp.Diff(want, k); diff != "" {
		t.Fatal(diff)
	}
}

func sealFails(t *testing.T, c *keys.Cache, bucket string, want error) {
	t.Helper()
	if k, err := c.ForSeal(t.Context(), "k", bucket); !errors.Is(err, want) || k.Plaintext != nil {
		t.Errorf("for sealing: %v, want %v", err, want)
	}
}

func openFails(t *testing.T, c *keys.Cache, keyID, bucket string, k keys.Key, want error) {
	t.Helper()
	if k, err := c.ForOpen(t.Context(), keyID, bucket, k.Wrapped); !errors.Is(err, want) || k.Plaintext != nil {
		t.Errorf("for opening: %v, want %v", err, want)
	}
}

func TestCacheCallsOncePerBucket(t *testing.T) {
	p := newProvider()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: newClock().Now})
	first := mustSeal(t, c, "k", "b")
	for range 99 {
		if k := mustSeal(t, c, "k", "b"); !cmp.Equal(k, first) {
			t.Fatal("another key")
		}
		mustOpen(t, c, "k", "b", first)
	}
	if p.count() != 2 {
		t.Errorf("%d calls, want one to generate and one to unwrap", p.count())
	}
	others := []keys.Key{mustSeal(t, c, "k", "b2"), mustSeal(t, c, "k2", "b"), mustSeal(t, c, "kb", "b"), mustSeal(t, c, "k", "bb")}
	for _, k := range others {
		if bytes.Equal(k.Plaintext, first.Plaintext) {
			t.Error("a key serves two buckets or two KEKs")
		}
	}
	s := &c.Stats
	got := []uint64{
		s.SealHits.Load(), s.SealMisses.Load(), s.OpenHits.Load(), s.OpenMisses.Load(),
		s.Calls.Load(), s.Failures.Load(), s.Graces.Load(),
	}
	if diff := cmp.Diff([]uint64{99, 5, 98, 1, 6, 0, 0}, got); diff != "" {
		t.Error(diff)
	}
}

// A cached key is given out for its own inputs only, also when ids and names run into each other.
func TestCacheBindsInputs(t *testing.T) {
	p := newProvider()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: newClock().Now})
	k := mustSeal(t, c, "key", "bucket")
	mustOpen(t, c, "key", "bucket", k)
	for _, other := range []struct{ keyID, bucket string }{
		{"key", "bucket2"}, {"key2", "bucket"}, {"keyb", "ucket"}, {"ke", "ybucket"}, {"bucket", "key"},
	} {
		openFails(t, c, other.keyID, other.bucket, k, keys.ErrIntegrity)
	}
	for i := range k.Wrapped {
		altered := cloneKey(k)
		altered.Wrapped[i] ^= 1
		openFails(t, c, "key", "bucket", altered, keys.ErrIntegrity)
		altered.Wrapped = k.Wrapped[:i]
		openFails(t, c, "key", "bucket", altered, keys.ErrIntegrity)
	}
	openFails(t, c, "key", "bucket", keys.Key{Wrapped: make([]byte, keys.MaxWrapped+1)}, keys.ErrIntegrity)
	mustOpen(t, c, "key", "bucket", k)
}

func TestCacheRefusesInputs(t *testing.T) {
	p := newProvider()
	c := newCache(t, keys.CacheConfig{Provider: p})
	for _, in := range []struct{ keyID, bucket, key string }{
		{"", "b", "o"},
		{strings.Repeat("k", 256), "b", "o"},
		{"k", "", "o"},
		{"k", "b/c", "o"},
		{"k", "\xff", "o"},
		{"k", strings.Repeat("b", 256), "o"},
		{"k", "b", ""},
		{"k", "b", "\xff"},
	} {
		errs := map[string]error{}
		if in.key == "o" {
			_, errs["ForSeal"] = c.ForSeal(t.Context(), in.keyID, in.bucket)
			_, errs["ForOpen"] = c.ForOpen(t.Context(), in.keyID, in.bucket, []byte("wrapped"))
		}
		_, errs["ForSealObject"] = c.ForSealObject(t.Context(), in.keyID, in.bucket, in.key, nil)
		_, errs["ForOpenObject"] = c.ForOpenObject(t.Context(), in.keyID, in.bucket, in.key, nil, []byte("wrapped"))
		for call, err := range errs {
			if err == nil || errors.Is(err, keys.ErrUnavailable) {
				t.Errorf("%s(%q): %v", call, in, err)
			}
		}
	}
	for _, n := range []int{0, keys.MaxWrapped + 1} {
		_, err := c.ForOpen(t.Context(), "k", "b", make([]byte, n))
		_, errOfObject := c.ForOpenObject(t.Context(), "k", "b", "o", nil, make([]byte, n))
		if !errors.Is(err, keys.ErrIntegrity) || !errors.Is(errOfObject, keys.ErrIntegrity) {
			t.Errorf("wrapped in %d bytes: %v, %v", n, err, errOfObject)
		}
	}
	c.Renew("", "")
	if p.count() != 0 {
		t.Errorf("%d calls", p.count())
	}
}

// The promise to operators: a KEK that is refused opens and seals nothing once OpenTTL is over.
func TestCacheRefusalWithinTTL(t *testing.T) {
	for _, refusal := range []error{
		keys.ErrDisabled, keys.ErrDenied, keys.ErrNotFound, keys.ErrInvalidState, keys.ErrIntegrity, errors.New("unheard of"),
	} {
		t.Run(refusal.Error(), func(t *testing.T) {
			p, clk := newProvider(), newClock()
			c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
			k := mustSeal(t, c, "k", "b")
			mustOpen(t, c, "k", "b", k)
			p.set(fmt.Errorf("the provider says: %w", refusal))
			clk.Add(5*time.Minute - 1)
			mustSeal(t, c, "k", "b")
			mustOpen(t, c, "k", "b", k)
			clk.Add(1)
			for range 2 {
				sealFails(t, c, "b", refusal)
				openFails(t, c, "k", "b", k, refusal)
			}
			// Both keys are gone, and not only stale: no outage brings them back.
			p.set(keys.ErrUnavailable)
			sealFails(t, c, "b", keys.ErrUnavailable)
			openFails(t, c, "k", "b", k, keys.ErrUnavailable)
			// Nor is a failure remembered.
			p.set(nil)
			mustOpen(t, c, "k", "b", k)
			if again := mustSeal(t, c, "k", "b"); bytes.Equal(again.Plaintext, k.Plaintext) {
				t.Error("the dropped key seals again")
			}
		})
	}
}

func TestCacheConfirms(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now, OpenTTL: time.Minute})
	first := mustSeal(t, c, "k", "b")
	for range 10 {
		clk.Add(time.Minute)
		if k := mustSeal(t, c, "k", "b"); !cmp.Equal(k, first) {
			t.Fatal("a confirmed key was replaced")
		}
		mustOpen(t, c, "k", "b", first)
		mustSeal(t, c, "k", "b")
		mustOpen(t, c, "k", "b", first)
	}
	if p.count() != 21 {
		t.Errorf("%d calls, want 1 + 10 + 10", p.count())
	}
}

// After a rotation new objects are under the new version within OpenTTL.
func TestCacheFollowsRotation(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
	first := mustSeal(t, c, "k", "b")
	p.version = "2"
	clk.Add(5 * time.Minute)
	second := mustSeal(t, c, "k", "b")
	if second.Version != "2" || bytes.Equal(first.Plaintext, second.Plaintext) {
		t.Errorf("sealing under version %s", second.Version)
	}
	mustOpen(t, c, "k", "b", first)
}

func TestCacheOutage(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
	k := mustSeal(t, c, "k", "b")
	mustOpen(t, c, "k", "b", k)
	p.set(fmt.Errorf("throttled: %w", keys.ErrUnavailable))
	before := p.count()
	for minute := range 24*60 - 1 {
		clk.Add(time.Minute)
		for range 2 {
			if got := mustSeal(t, c, "k", "b"); !cmp.Equal(got, k) {
				t.Fatal("another key")
			}
			mustOpen(t, c, "k", "b", k)
		}
		if minute%60 == 0 {
			sealFails(t, c, "new", keys.ErrUnavailable)
			openFails(t, c, "k", "b", keys.Key{Wrapped: []byte("new")}, keys.ErrUnavailable)
			before += 2
		}
	}
	// One attempt a minute for each, though each was asked for twice, and none before OpenTTL.
	if got := p.count() - before; got > 2*24*60 || got < 2*23*60 {
		t.Errorf("%d calls in an outage of a day", got)
	}
	if c.Stats.Graces.Load() == 0 {
		t.Error("no grace counted")
	}
	clk.Add(time.Minute)
	sealFails(t, c, "b", keys.ErrUnavailable)
	openFails(t, c, "k", "b", k, keys.ErrUnavailable)
}

func TestCacheOutageRetries(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
	mustSeal(t, c, "k", "b")
	p.set(keys.ErrUnavailable)
	clk.Add(5 * time.Minute)
	for range 150 {
		mustSeal(t, c, "k", "b")
		clk.Add(100 * time.Millisecond)
	}
	if p.count() != 2 {
		t.Errorf("%d calls within 15 s of an outage", p.count()-1)
	}
	// A refusal that the outage hid is found at the next attempt.
	p.set(keys.ErrDisabled)
	sealFails(t, c, "b", keys.ErrDisabled)
}

func TestCacheGrace(t *testing.T) {
	for _, test := range []struct{ grace, end time.Duration }{
		{-1, 5 * time.Minute},
		{time.Minute, 5 * time.Minute},
		{time.Hour, time.Hour},
		{0, 24 * time.Hour},
		{24 * time.Hour, 24 * time.Hour},
	} {
		t.Run(test.grace.String(), func(t *testing.T) {
			p, clk := newProvider(), newClock()
			c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now, Grace: test.grace})
			k := mustSeal(t, c, "k", "b")
			mustOpen(t, c, "k", "b", k)
			p.set(keys.ErrUnavailable)
			clk.Add(test.end - 1)
			mustSeal(t, c, "k", "b")
			mustOpen(t, c, "k", "b", k)
			clk.Add(1)
			sealFails(t, c, "b", keys.ErrUnavailable)
			openFails(t, c, "k", "b", k, keys.ErrUnavailable)
		})
	}
	for _, cfg := range []keys.CacheConfig{
		{Grace: 24*time.Hour + 1}, {OpenTTL: 24*time.Hour + 1}, {OpenTTL: -1}, {Entries: -1},
	} {
		if _, err := keys.NewCache(cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}

func TestCacheSealAge(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
	first := mustSeal(t, c, "k", "b")
	clk.Add(12*time.Hour - 1)
	if !cmp.Equal(mustSeal(t, c, "k", "b"), first) {
		t.Error("replaced in the first half of its life")
	}
	// In the second half a new one is tried for, and the old one goes on for want of it, but never past its end.
	p.set(keys.ErrUnavailable)
	clk.Add(12 * time.Hour)
	if !cmp.Equal(mustSeal(t, c, "k", "b"), first) {
		t.Error("replaced")
	}
	clk.Add(1)
	sealFails(t, c, "b", keys.ErrUnavailable)
	p.set(nil)
	second := mustSeal(t, c, "k", "b")
	clk.Add(12 * time.Hour)
	third := mustSeal(t, c, "k", "b")
	if cmp.Equal(first, second) || cmp.Equal(second, third) {
		t.Error("not replaced")
	}
}

func TestCacheSealWraps(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
	c.SetSealWraps(10)
	var mu sync.Mutex
	wraps := map[string]int{}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 100 {
				k, err := c.ForSeal(t.Context(), "k", "b")
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				wraps[string(k.Wrapped)]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(wraps) != 100 {
		t.Errorf("%d keys for 1000 wraps of at most 10", len(wraps))
	}
	for wrapped, n := range wraps {
		if n > 10 {
			t.Errorf("%s: %d wraps", wrapped, n)
		}
	}
	// A key that is used up does not go on in an outage.
	p.set(keys.ErrUnavailable)
	sealFails(t, c, "b", keys.ErrUnavailable)
	// One that is half used up is replaced when it is confirmed, and its count outlives a confirmation.
	p.set(nil)
	half := mustSeal(t, c, "k", "b")
	for range 3 {
		mustSeal(t, c, "k", "b")
	}
	clk.Add(5 * time.Minute)
	if !cmp.Equal(mustSeal(t, c, "k", "b"), half) {
		t.Error("replaced after 4 wraps")
	}
	clk.Add(5 * time.Minute)
	if cmp.Equal(mustSeal(t, c, "k", "b"), half) {
		t.Error("not replaced after 5 wraps")
	}
}

func TestCacheRenew(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
	first, other := mustSeal(t, c, "k", "b"), mustSeal(t, c, "k", "other")
	c.Renew("k", "b")
	c.Renew("k", "never seen")
	second := mustSeal(t, c, "k", "b")
	if cmp.Equal(first, second) || !cmp.Equal(mustSeal(t, c, "k", "other"), other) {
		t.Error("the wrong key was renewed")
	}
	mustOpen(t, c, "k", "b", first)
	// A confirmation under way does not bring the old key back.
	p.gate = make(chan struct{})
	clk.Add(5 * time.Minute)
	done := make(chan keys.Key)
	go func() {
		k, err := c.ForSeal(t.Context(), "k", "b")
		if err != nil {
			t.Error(err)
		}
		done <- k
	}()
	for p.count() < 5 {
		time.Sleep(time.Millisecond)
	}
	c.Renew("k", "b")
	close(p.gate)
	if k := <-done; cmp.Equal(k, second) {
		t.Error("the old key came back")
	}
}

func TestCacheSharesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		c := newCache(t, keys.CacheConfig{Provider: p})
		p.gate = make(chan struct{})
		impatient, leave := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := c.ForSeal(impatient, "k", "b")
			failed <- err
		}()
		synctest.Wait()
		var wg sync.WaitGroup
		var got [50]keys.Key
		for i := range got {
			wg.Go(func() { got[i] = mustSeal(t, c, "k", "b") })
		}
		synctest.Wait()
		leave() // the caller that began the call
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("the impatient caller got %v", err)
		}
		close(p.gate)
		wg.Wait()
		for _, k := range got {
			if !cmp.Equal(k, got[0]) {
				t.Error("another key")
			}
		}
		if p.count() != 1 {
			t.Errorf("%d calls", p.count())
		}
		// The same for opening; and one that comes with an ended context asks nobody.
		p.gate = make(chan struct{})
		for range 50 {
			wg.Go(func() { mustOpen(t, c, "k", "b", got[0]) })
		}
		synctest.Wait()
		if _, err := c.ForOpen(impatient, "k", "b2", got[0].Wrapped); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		close(p.gate)
		wg.Wait()
		if p.count() != 2 {
			t.Errorf("%d calls", p.count())
		}
	})
}

// A caller that has gone may change what it passed: the call goes on with what it was.
func TestCacheOwnsItsInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		c := newCache(t, keys.CacheConfig{Provider: p})
		first := mustSeal(t, c, "k", "b")
		c.Renew("k", "b")
		second := mustSeal(t, c, "k", "b")
		p.gate = make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		wrapped, failed := bytes.Clone(first.Wrapped), make(chan error, 1)
		go func() {
			_, err := c.ForOpen(ctx, "k", "b", wrapped)
			failed <- err
		}()
		synctest.Wait()
		leave()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		copy(wrapped, second.Wrapped)
		close(p.gate)
		synctest.Wait()
		mustOpen(t, c, "k", "b", first)
	})
}

// A key whose grace ends while the provider is asked does not outlive it.
func TestCacheGraceEndsInCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, clk := newProvider(), newClock()
		c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
		k := mustSeal(t, c, "k", "b")
		mustOpen(t, c, "k", "b", k)
		p.set(keys.ErrUnavailable)
		clk.Add(24*time.Hour - time.Second)
		p.gate = make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { sealFails(t, c, "b", keys.ErrUnavailable) })
		wg.Go(func() { openFails(t, c, "k", "b", k, keys.ErrUnavailable) })
		synctest.Wait()
		clk.Add(time.Second)
		close(p.gate)
		wg.Wait()
	})
}

// A provider that never answers is unavailable after ten seconds, and a cached key goes on.
func TestCacheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		c := newCache(t, keys.CacheConfig{Provider: p})
		k := mustSeal(t, c, "k", "b")
		p.gate = make(chan struct{})
		begin := time.Now()
		sealFails(t, c, "new", keys.ErrUnavailable)
		if _, err := c.ForSealObject(t.Context(), "k", "b", "o", nil); !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("two calls took %v", took)
		}
		// The end of a caller's own time is not the provider's fault.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.ForSealObject(ctx, "k", "b", "o", nil)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("error is %v", err)
		}
		time.Sleep(5 * time.Minute)
		if !cmp.Equal(mustSeal(t, c, "k", "b"), k) {
			t.Error("another key")
		}
	})
}

func TestCacheBoundsEntries(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now, Entries: 3})
	made := map[string]keys.Key{}
	for _, bucket := range []string{"a", "b", "c", "d"} {
		made[bucket] = mustSeal(t, c, "k", bucket)
		mustOpen(t, c, "k", bucket, made[bucket])
	}
	before := p.count()
	for _, bucket := range []string{"d", "c", "b"} {
		mustOpen(t, c, "k", bucket, made[bucket])
		mustSeal(t, c, "k", bucket)
	}
	if p.count() != before {
		t.Error("one of the last three was dropped")
	}
	mustOpen(t, c, "k", "a", made["a"])
	mustSeal(t, c, "k", "a")
	if p.count() != before+2 {
		t.Error("the least recently used was kept")
	}
}

// What nobody uses leaves memory once it is past its end.
func TestCacheForgets(t *testing.T) {
	clk := newClock()
	c := newCache(t, keys.CacheConfig{Provider: newProvider(), Now: clk.Now})
	for i := range 10 {
		bucket := fmt.Sprint("b", i)
		mustOpen(t, c, "k", bucket, mustSeal(t, c, "k", bucket))
	}
	clk.Add(24 * time.Hour)
	mustOpen(t, c, "k", "b", mustSeal(t, c, "k", "b"))
	if sealing, opening := c.Entries(); sealing != 1 || opening != 1 {
		t.Errorf("%d keys for sealing and %d for opening are held", sealing, opening)
	}
}

// What one caller does to its key is nothing to the next.
func TestCacheGivesCopies(t *testing.T) {
	c := newCache(t, keys.CacheConfig{Provider: newProvider(), Now: newClock().Now})
	k := mustSeal(t, c, "k", "b")
	want := cloneKey(k)
	for range 2 {
		clear(k.Plaintext)
		clear(k.Wrapped)
		k = mustSeal(t, c, "k", "b")
		if diff := cmp.Diff(want, k); diff != "" {
			t.Fatal(diff)
		}
	}
	for range 2 {
		mustOpen(t, c, "k", "b", want)
		k, err := c.ForOpen(t.Context(), "k", "b", want.Wrapped)
		if err != nil {
			t.Fatal(err)
		}
		clear(k.Plaintext)
		clear(k.Wrapped)
	}
}

// When the clock goes back, nothing is known of a key's age.
func TestCacheClockGoesBack(t *testing.T) {
	p, clk := newProvider(), newClock()
	c := newCache(t, keys.CacheConfig{Provider: p, Now: clk.Now})
	k := mustSeal(t, c, "k", "b")
	mustOpen(t, c, "k", "b", k)
	p.set(keys.ErrUnavailable)
	clk.Add(-time.Hour)
	sealFails(t, c, "b", keys.ErrUnavailable)
	openFails(t, c, "k", "b", k, keys.ErrUnavailable)
}

// weak is a provider that breaks its word.
type weak struct {
	keys.Provider
	key keys.Key
}

func (w weak) GenerateKey(context.Context, string, keys.Context) (keys.Key, error) { return w.key, nil }

func (w weak) UnwrapKey(context.Context, string, []byte, keys.Context) (keys.Key, error) {
	return w.key, nil
}

func TestCacheRefusesWeakKeys(t *testing.T) {
	strong := bytes.Repeat([]byte{1}, 32)
	for name, k := range map[string]keys.Key{
		"none":             {Wrapped: []byte("w")},
		"short":            {Plaintext: strong[:31], Wrapped: []byte("w")},
		"long":             {Plaintext: append(strong, 1), Wrapped: []byte("w")},
		"zero":             {Plaintext: make([]byte, 32), Wrapped: []byte("w")},
		"not wrapped":      {Plaintext: strong},
		"wrapped too long": {Plaintext: strong, Wrapped: make([]byte, 513)},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t, keys.CacheConfig{Provider: weak{key: k}})
			for range 2 {
				if _, err := c.ForSeal(t.Context(), "k", "b"); err == nil {
					t.Error("sealed")
				}
				if _, err := c.ForSealObject(t.Context(), "k", "b", "o", nil); err == nil {
					t.Error("sealed an object")
				}
				if _, err := c.ForOpen(t.Context(), "k", "b", []byte("w")); err == nil && name != "not wrapped" && name != "wrapped too long" {
					t.Error("opened")
				}
			}
		})
	}
}

func TestCacheObjects(t *testing.T) {
	p := newProvider()
	c := newCache(t, keys.CacheConfig{Provider: p})
	extra := keys.Context{"project": "blue"}
	k, err := c.ForSealObject(t.Context(), "k", "b", "folder/o", extra)
	if err != nil {
		t.Fatal(err)
	}
	want := keys.Context{"aws:s3:arn": "arn:aws:s3:::b/folder/o", "project": "blue"}
	if diff := cmp.Diff(want, p.made[string(k.Wrapped)].ec); diff != "" {
		t.Error(diff)
	}
	if len(extra) != 1 {
		t.Error("the caller's context was changed")
	}
	for range 2 {
		got, err := c.ForOpenObject(t.Context(), "k", "b", "folder/o", extra, k.Wrapped)
		if err != nil || !cmp.Equal(got, k) {
			t.Errorf("opening: %v", err)
		}
	}
	if p.count() != 3 {
		t.Errorf("%d calls", p.count())
	}
	for _, other := range []struct {
		bucket, key string
		extra       keys.Context
	}{{"b", "folder/p", extra}, {"c", "folder/o", extra}, {"b", "folder/o", nil}} {
		_, err := c.ForOpenObject(t.Context(), "k", other.bucket, other.key, other.extra, k.Wrapped)
		if !errors.Is(err, keys.ErrIntegrity) {
			t.Errorf("%v: %v", other, err)
		}
	}
	if _, err := c.ForOpenObject(t.Context(), "k", "b", "folder/o", extra, nil); !errors.Is(err, keys.ErrIntegrity) {
		t.Errorf("error is %v", err)
	}
	// A request may repeat the predefined pair, and not change it.
	if _, err := keys.ObjectContext("b", "o", keys.Context{"aws:s3:arn": "arn:aws:s3:::b/o"}); err != nil {
		t.Error(err)
	}
	for _, arn := range []string{"", "arn:aws:s3:::b", "arn:aws:s3:::b/p"} {
		if _, err := keys.ObjectContext("b", "o", keys.Context{"aws:s3:arn": arn}); err == nil {
			t.Errorf("accepted %q", arn)
		}
	}
	if ec, err := keys.BucketContext("b"); err != nil || !cmp.Equal(ec, keys.Context{"aws:s3:arn": "arn:aws:s3:::b"}) {
		t.Errorf("%v, %v", ec, err)
	}
}
