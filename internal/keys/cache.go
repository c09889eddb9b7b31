package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

const (
	// sealAge and sealWraps end the use of an intermediate key for sealing. The envelope wraps DEKs with random 96-bit
	// nonces, for which NIST SP 800-38D, section 8.3, allows 2³² under one key.
	sealAge   = 24 * time.Hour
	sealWraps = 1 << 30

	// maxGrace bounds how long a key may go on without its provider's word.
	maxGrace = 24 * time.Hour

	defaultOpenTTL = 5 * time.Minute
	defaultEntries = 10_000

	callTimeout = 10 * time.Second // of one provider call
	retryEvery  = 15 * time.Second // between attempts to confirm one key while the provider is unavailable
)

// CacheConfig configures NewCache.
type CacheConfig struct {
	Provider Provider

	// OpenTTL is how long a key is used on the provider's last word: a KEK that is disabled or denied opens and seals
	// nothing more after this time. 0 is 5 minutes, 24 hours is the most.
	OpenTTL time.Duration

	// Grace is how long, since the provider's last word, a key goes on while the provider is ErrUnavailable. 0 is 24
	// hours, the most; less than OpenTTL (as a negative value) is no grace.
	Grace time.Duration

	// Entries bounds the keys held for opening, and those held for sealing: 0 is 10,000. One takes under 2 KiB.
	Entries int

	Now func() time.Time // nil is time.Now
}

// Stats counts what a Cache did since it was made.
type Stats struct {
	SealHits   atomic.Uint64 // ForSeal answered at once
	SealMisses atomic.Uint64 // ForSeal waited for the provider
	OpenHits   atomic.Uint64 // ForOpen answered at once
	OpenMisses atomic.Uint64 // ForOpen waited for the provider
	Calls      atomic.Uint64 // calls to the provider, of every kind
	Failures   atomic.Uint64 // those of them that failed
	Graces     atomic.Uint64 // times a key went on because the provider was unavailable
}

// Cache holds intermediate keys, so that calls to the provider grow with buckets and time and not with objects.
//
// A key for sealing is made once per KEK and bucket and used for at most 24 hours and 2³⁰ objects; once half of
// either is over a new one is tried, so that an outage of the provider finds time left. A key that came from the
// store is used for opening only. Both are confirmed with the provider when OpenTTL is over, and dropped when it refuses;
// a failed unwrap is never remembered.
//
// Callers that miss the same key at once share one call, which none of them can cancel for the others.
type Cache struct {
	Stats Stats

	cfg      CacheConfig
	sealing  table
	opening  table
	maxWraps uint64
}

// table holds entries by an unambiguous encoding of every input that they depend on, and the calls under way for them.
type table struct {
	entries *lru.Cache[string, *entry]
	calls   singleflight.Group
}

// entry is never changed, but for its count.
type entry struct {
	key      Key
	made     time.Time
	verified time.Time      // when the provider last vouched for key
	next     time.Time      // when it must be asked again
	end      time.Time      // of any use
	wraps    *atomic.Uint64 // DEKs wrapped under key
}

// NewCache refuses a configuration that would exceed a documented bound.
func NewCache(cfg CacheConfig) (*Cache, error) {
	if cfg.OpenTTL == 0 {
		cfg.OpenTTL = defaultOpenTTL
	}
	if cfg.Grace == 0 {
		cfg.Grace = maxGrace
	}
	if cfg.Entries == 0 {
		cfg.Entries = defaultEntries
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OpenTTL < 0 || cfg.OpenTTL > maxGrace || cfg.Grace > maxGrace {
		return nil, fmt.Errorf("key cache: a time-to-live of %v or a grace of %v is not within 24h", cfg.OpenTTL, cfg.Grace)
	}
	c := &Cache{cfg: cfg, maxWraps: sealWraps}
	for _, t := range []*table{&c.sealing, &c.opening} {
		var err error
		if t.entries, err = lru.New[string, *entry](cfg.Entries); err != nil {
			return nil, fmt.Errorf("key cache of %d entries: %w", cfg.Entries, err)
		}
	}
	return c, nil
}

// ForSeal returns the key to wrap one object's DEK under, and counts that wrap. Each call allows one.
func (c *Cache) ForSeal(ctx context.Context, keyID, bucket string) (Key, error) {
	ec, err := BucketContext(bucket)
	if err != nil {
		return Key{}, err
	}
	id, err := entryID(keyID, bucket, nil)
	if err != nil {
		return Key{}, err
	}
	e := c.fresh(&c.sealing, id)
	if e != nil && e.take(c.maxWraps) {
		c.Stats.SealHits.Add(1)
		return e.key.clone(), nil
	}
	c.Stats.SealMisses.Add(1)
	for {
		e, err := c.share(ctx, &c.sealing, id, func(ctx context.Context) (*entry, error) {
			return c.confirm(ctx, id, keyID, ec)
		})
		if err != nil {
			return Key{}, err
		}
		if e.take(c.maxWraps) {
			return e.key.clone(), nil
		}
	}
}

// ForOpen returns the key that wrapped is the wrapping of.
func (c *Cache) ForOpen(ctx context.Context, keyID, bucket string, wrapped []byte) (Key, error) {
	ec, err := BucketContext(bucket)
	if err != nil {
		return Key{}, err
	}
	if err := checkWrapped(wrapped); err != nil {
		return Key{}, err
	}
	id, err := entryID(keyID, bucket, wrapped)
	if err != nil {
		return Key{}, err
	}
	if e := c.fresh(&c.opening, id); e != nil {
		c.Stats.OpenHits.Add(1)
		return e.key.clone(), nil
	}
	c.Stats.OpenMisses.Add(1)
	wrapped = bytes.Clone(wrapped) // the call may outlive this caller
	e, err := c.share(ctx, &c.opening, id, func(ctx context.Context) (*entry, error) {
		return c.reopen(ctx, id, keyID, wrapped, ec)
	})
	if err != nil {
		return Key{}, err
	}
	return e.key.clone(), nil
}

// ForSealObject makes a key for one object alone, as AWS does for aws:kms without a bucket key. It is not cached. extra
// is the request's own encryption context; see ObjectContext.
func (c *Cache) ForSealObject(ctx context.Context, keyID, bucket, key string, extra Context) (Key, error) {
	ec, err := objectInputs(keyID, bucket, key, extra)
	if err != nil {
		return Key{}, err
	}
	return c.generate(ctx, keyID, ec)
}

// ForOpenObject opens what ForSealObject wrapped. It is not cached.
func (c *Cache) ForOpenObject(ctx context.Context, keyID, bucket, key string, extra Context, wrapped []byte) (Key, error) {
	ec, err := objectInputs(keyID, bucket, key, extra)
	if err != nil {
		return Key{}, err
	}
	if err := checkWrapped(wrapped); err != nil {
		return Key{}, err
	}
	return c.unwrap(ctx, keyID, wrapped, ec)
}

// Renew ends the use of the present sealing key of keyID and bucket: the next ForSeal makes a new one.
func (c *Cache) Renew(keyID, bucket string) {
	id, err := entryID(keyID, bucket, nil)
	if err != nil {
		return // no such entry can be
	}
	if e, ok := c.sealing.entries.Peek(id); ok {
		e.wraps.Store(c.maxWraps) // rather than remove it: a confirmation under way could put it back
	}
}

// confirm returns a sealing key that the provider vouches for: the present one if it is young and its KEK version is
// still the one to wrap under, or else a new one.
func (c *Cache) confirm(ctx context.Context, id, keyID string, ec Context) (*entry, error) {
	old, now := c.usable(&c.sealing, id), c.cfg.Now()
	if old != nil && old.wraps.Load() >= c.maxWraps {
		old = nil
	}
	if old != nil && old.isFresh(now) {
		return old, nil // of a call that ended just before this one
	}
	if old != nil && now.Sub(old.made) < sealAge/2 && old.wraps.Load() < c.maxWraps/2 {
		version, err := c.check(ctx, keyID)
		if err != nil {
			return c.settle(&c.sealing, id, old, err)
		}
		if version == old.key.Version {
			return c.keep(&c.sealing, id, old, now), nil
		}
	}
	key, err := c.generate(ctx, keyID, ec)
	if err != nil {
		return c.settle(&c.sealing, id, old, err)
	}
	return c.keep(&c.sealing, id, &entry{key: key, made: now, wraps: new(atomic.Uint64)}, now), nil
}

// reopen returns the opened key that wrapped stands for, on the provider's word of now.
func (c *Cache) reopen(ctx context.Context, id, keyID string, wrapped []byte, ec Context) (*entry, error) {
	old, now := c.usable(&c.opening, id), c.cfg.Now()
	if old != nil && old.isFresh(now) {
		return old, nil // of a call that ended just before this one
	}
	key, err := c.unwrap(ctx, keyID, wrapped, ec)
	if err != nil {
		return c.settle(&c.opening, id, old, err)
	}
	return c.keep(&c.opening, id, &entry{key: key, made: now, wraps: new(atomic.Uint64)}, now), nil
}

// keep stores e as vouched for at the time now, which is from before the provider was asked.
func (c *Cache) keep(t *table, id string, e *entry, now time.Time) *entry {
	kept := *e
	kept.verified = now
	kept.next = now.Add(c.cfg.OpenTTL)
	kept.end = now.Add(max(c.cfg.OpenTTL, c.cfg.Grace))
	if t == &c.sealing {
		kept.end = earlier(kept.end, e.made.Add(sealAge))
		kept.next = earlier(kept.next, kept.end)
	}
	t.entries.Add(id, &kept)
	for {
		// What nobody used until its end leaves memory with the next addition.
		oldest, idle, ok := t.entries.GetOldest()
		if !ok || idle.isUsable(c.cfg.Now()) {
			return &kept
		}
		t.entries.Remove(oldest)
	}
}

// settle decides what a failed call leaves. When the provider could not be asked, a key goes on until its end, and the
// next attempt waits a little; any other failure ends it.
func (c *Cache) settle(t *table, id string, old *entry, err error) (*entry, error) {
	now := c.cfg.Now()
	if old == nil || !old.isUsable(now) || !errors.Is(err, ErrUnavailable) {
		t.entries.Remove(id)
		return nil, err
	}
	c.Stats.Graces.Add(1)
	kept := *old
	kept.next = earlier(now.Add(retryEvery), old.end)
	t.entries.Add(id, &kept)
	return &kept, nil
}

// fresh returns the entry that may be used without asking, or nil.
func (c *Cache) fresh(t *table, id string) *entry {
	if e, ok := t.entries.Get(id); ok && e.isFresh(c.cfg.Now()) {
		return e
	}
	return nil
}

// usable returns the entry that has not reached its end, or nil.
func (c *Cache) usable(t *table, id string) *entry {
	if e, ok := t.entries.Peek(id); ok && e.isUsable(c.cfg.Now()) {
		return e
	}
	return nil
}

// A clock that went back proves nothing about an entry's age, so such an entry is neither fresh nor usable.
func (e *entry) isFresh(now time.Time) bool  { return !now.Before(e.verified) && now.Before(e.next) }
func (e *entry) isUsable(now time.Time) bool { return !now.Before(e.verified) && now.Before(e.end) }

// take counts one wrap under the key, or reports that it has done its work.
func (e *entry) take(limit uint64) bool { return e.wraps.Add(1) <= limit }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
