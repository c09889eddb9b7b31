package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

const maxKeyID = 255 // bytes; an envelope holds no longer one

func objectInputs(keyID, bucket, key string, extra Context) (Context, error) {
	if _, err := entryID(keyID, bucket, nil); err != nil {
		return nil, err
	}
	return ObjectContext(bucket, key, extra)
}

// entryID encodes the inputs of a cached key so that two have the same id only if they are equal.
func entryID(keyID, bucket string, wrapped []byte) (string, error) {
	if keyID == "" || len(keyID) > maxKeyID {
		return "", fmt.Errorf("a key id has 1 to %d bytes, not %d: %w", maxKeyID, len(keyID), ErrNotFound)
	}
	return string(append(appendField(appendField(nil, keyID), bucket), wrapped...)), nil
}

func checkWrapped(wrapped []byte) error {
	if len(wrapped) == 0 || len(wrapped) > MaxWrapped {
		return fmt.Errorf("%w: %d bytes, not 1 to %d", ErrIntegrity, len(wrapped), MaxWrapped)
	}
	return nil
}

// share runs do once for every caller that asks for id at the same time. It goes on, within the limit of a provider call,
// when the caller that began it has gone.
func (c *Cache) share(ctx context.Context, t *table, id string,
	do func(context.Context) (*entry, error),
) (*entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	done := t.calls.DoChan(id, func() (any, error) { return do(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if e, ok := r.Val.(*entry); ok && r.Err == nil {
			return e, nil
		}
		return nil, r.Err
	}
}

func (c *Cache) generate(ctx context.Context, keyID string, ec Context) (Key, error) {
	return call(ctx, c, "generating a key", func(ctx context.Context) (Key, error) {
		key, err := c.cfg.Provider.GenerateKey(ctx, keyID, ec)
		if err != nil {
			return Key{}, err
		}
		return key, key.validate()
	})
}

func (c *Cache) unwrap(ctx context.Context, keyID string, wrapped []byte, ec Context) (Key, error) {
	return call(ctx, c, "unwrapping a key", func(ctx context.Context) (Key, error) {
		key, err := c.cfg.Provider.UnwrapKey(ctx, keyID, wrapped, ec)
		if err != nil {
			return Key{}, err
		}
		key.Wrapped = bytes.Clone(wrapped)
		return key, key.validate()
	})
}

func (c *Cache) check(ctx context.Context, keyID string) (version string, err error) {
	return call(ctx, c, "checking a key", func(ctx context.Context) (string, error) {
		return c.cfg.Provider.Check(ctx, keyID)
	})
}

// call counts one provider call and limits its time. When that is over, and not the caller's own, the provider is
// ErrUnavailable.
func call[T any](ctx context.Context, c *Cache, doing string, f func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c.Stats.Calls.Add(1)
	answer, err := f(limited)
	if err == nil {
		return answer, nil
	}
	c.Stats.Failures.Add(1)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: no answer within %v: %w", ErrUnavailable, callTimeout, err)
	}
	var none T
	return none, fmt.Errorf("%s: %w", doing, err)
}

// validate holds a provider to its word: under a short or empty key everything would still seem to work.
func (k Key) validate() error {
	if len(k.Plaintext) != KeySize || bytes.Equal(k.Plaintext, make([]byte, KeySize)) {
		return fmt.Errorf("the key provider gave a weak key or one of %d bytes, not %d", len(k.Plaintext), KeySize)
	}
	if len(k.Wrapped) == 0 || len(k.Wrapped) > MaxWrapped {
		return fmt.Errorf("the key provider gave a wrapped key of %d bytes, not 1 to %d", len(k.Wrapped), MaxWrapped)
	}
	return nil
}

func (k Key) clone() Key {
	return Key{bytes.Clone(k.Plaintext), bytes.Clone(k.Wrapped), k.Version}
}
