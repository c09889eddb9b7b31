package keys_test

import (
	"bytes"
	"strconv"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/keys/keystest"
)

// costs is a keyring behind a count of what it is asked, and objects that are sealed and opened at an even pace.
type costs struct {
	provider *keystest.Counting
	clock    *clock
	objects  []keys.Key // by what each is under
}

const costObjects = 100_000

func newCosts(t *testing.T) *costs {
	c := newClock()
	l, _ := newLocal(t, newKeyring(t), c)
	return &costs{&keystest.Counting{Provider: l}, c, make([]keys.Key, costObjects)}
}

// over does something with each object within a span of time, and returns how often the provider was asked.
func (c *costs) over(span time.Duration, do func(i int)) int64 {
	before := c.provider.Calls.Load()
	for i := range costObjects {
		do(i)
		c.clock.Add(span / costObjects)
	}
	return c.provider.Calls.Load() - before
}

// TestCallsWithBucketKeys: 100,000 objects of one bucket cost fewer than 20 calls to the key provider, written by one replica and read by
// another. What calls grow with is time: no key seals for more than 24 hours.
func TestCallsWithBucketKeys(t *testing.T) {
	for name, test := range map[string]struct {
		span, ttl time.Duration // of each of writing and reading; 0 is the default
		most      int64
	}{
		"half an hour":                     {30 * time.Minute, 0, 19},
		"three days, confirmed once a day": {72 * time.Hour, 24 * time.Hour, 19},
		"three days":                       {72 * time.Hour, 0, 2*72*60/5 + 19},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCosts(t)
			writer := newCache(t, keys.CacheConfig{Provider: c.provider, Now: c.clock.Now, OpenTTL: test.ttl})
			began := map[string]time.Time{}
			calls := c.over(test.span, func(i int) {
				c.objects[i] = mustSeal(t, writer, "main", "bucket")
				wrapped, now := string(c.objects[i].Wrapped), c.clock.Now()
				if _, ok := began[wrapped]; !ok {
					began[wrapped] = now
				}
				if age := now.Sub(began[wrapped]); age > 24*time.Hour {
					t.Fatalf("a key seals after %v", age)
				}
			})
			reader := newCache(t, keys.CacheConfig{Provider: c.provider, Now: c.clock.Now, OpenTTL: test.ttl})
			calls += c.over(test.span, func(i int) {
				k, err := reader.ForOpen(t.Context(), "main", "bucket", c.objects[i].Wrapped)
				if err != nil || !bytes.Equal(k.Plaintext, c.objects[i].Plaintext) {
					t.Fatalf("object %d does not open: %v", i, err)
				}
			})
			if calls > test.most || len(began) < 1+int(test.span/(24*time.Hour+1)) {
				t.Errorf("%d calls, %d keys", calls, len(began))
			}
		})
	}
}

// TestCallsWithoutBucketKeys: with a key of its own each object costs one call to write it, and one to read it.
func TestCallsWithoutBucketKeys(t *testing.T) {
	c := newCosts(t)
	cache := newCache(t, keys.CacheConfig{Provider: c.provider, Now: c.clock.Now})
	calls := c.over(30*time.Minute, func(i int) {
		var err error
		if c.objects[i], err = cache.ForSealObject(t.Context(), "main", "bucket", strconv.Itoa(i), nil); err != nil {
			t.Fatal(err)
		}
	})
	if calls != costObjects {
		t.Errorf("%d calls to write %d objects", calls, costObjects)
	}
	calls = c.over(30*time.Minute, func(i int) {
		k, err := cache.ForOpenObject(t.Context(), "main", "bucket", strconv.Itoa(i), nil, c.objects[i].Wrapped)
		if err != nil || !bytes.Equal(k.Plaintext, c.objects[i].Plaintext) {
			t.Fatalf("object %d does not open: %v", i, err)
		}
	})
	if calls != costObjects {
		t.Errorf("%d calls to read %d objects", calls, costObjects)
	}
}
