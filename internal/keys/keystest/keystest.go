// Package keystest holds the promises that every keys.Provider keeps, as one test suite.
package keystest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// Subject is a provider under test, with two keys that are enabled and a way to switch the first off and on.
type Subject struct {
	Provider keys.Provider
	KeyID    string
	OtherID  string
	Missing  string // the id of a key that does not exist
	Disable  func(t *testing.T)
	Enable   func(t *testing.T)

	// Disabled is what a use of the key fails with while it is off; nil is ErrDisabled.
	Disabled error

	// Waived are the promises, or cases of one, that the server in the test cannot show though the service that it stands for
	// keeps them, with the reason.
	Waived map[string]string

	// Loose is the number of bytes at the beginning of a wrapped key that the server in the test, unlike that service, does
	// not authenticate.
	Loose int
}

var ec = keys.Context{"aws:s3:arn": "arn:aws:s3:::bucket", "project": "blue"}

// Run tests a provider; start makes a fresh one for every test.
func Run(t *testing.T, start func(t *testing.T) Subject) {
	t.Helper()
	for _, promise := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"round trip", roundTrip},
		{"the context has no order", contextOrder},
		{"another context is refused", otherContext},
		{"another key id is refused", otherID},
		{"every flipped bit is refused", flipped},
		{"every other length is refused", otherLength},
		{"an unknown key is not found", unknown},
		{"a disabled key does nothing until it is enabled", disabled},
		{"an ended context is heeded", ended},
		{"keys are distinct", distinct},
		{"calls may be concurrent", concurrent},
		{"the caller owns its bytes", owned},
	} {
		t.Run(promise.name, func(t *testing.T) {
			s := start(t)
			s.mayWaive(t, promise.name)
			promise.test(t, s)
		})
	}
}

func (s Subject) mayWaive(t *testing.T, name string) {
	t.Helper()
	if reason, ok := s.Waived[name]; ok {
		t.Skip(reason)
	}
}

func roundTrip(t *testing.T, s Subject) {
	for _, ec := range []keys.Context{ec, {}, nil, {"naïve name": "käse 🧀"}} {
		made := generate(t, s, ec)
		if len(made.Plaintext) != keys.KeySize || len(made.Wrapped) == 0 || len(made.Wrapped) > keys.MaxWrapped {
			t.Errorf("%d bytes wrapped in %d", len(made.Plaintext), len(made.Wrapped))
		}
		if bytes.Contains(made.Wrapped, made.Plaintext[:8]) {
			t.Error("the wrapped key shows the plaintext")
		}
		mustUnwrap(t, s, made, ec)
		version, err := s.Provider.Check(t.Context(), s.KeyID)
		if err != nil || version != made.Version {
			t.Errorf("Check says version %q, %v; the key was wrapped under %q", version, err, made.Version)
		}
	}
	mustUnwrap(t, s, generate(t, s, nil), keys.Context{})
}

func contextOrder(t *testing.T, s Subject) {
	forward, backward := keys.Context{}, keys.Context{}
	const n = 20
	for i := range n {
		forward[fmt.Sprint("name", i)] = fmt.Sprint(i)
		backward[fmt.Sprint("name", n-1-i)] = fmt.Sprint(n - 1 - i)
	}
	for range 10 {
		mustUnwrap(t, s, generate(t, s, forward), backward)
	}
}

func otherContext(t *testing.T, s Subject) {
	made := generate(t, s, ec)
	for name, other := range map[string]keys.Context{
		"none":           nil,
		"a pair less":    {"aws:s3:arn": "arn:aws:s3:::bucket"},
		"a pair more":    {"aws:s3:arn": "arn:aws:s3:::bucket", "project": "blue", "more": "x"},
		"another bucket": {"aws:s3:arn": "arn:aws:s3:::bucket2", "project": "blue"},
		"another name":   {"aws:s3:arn": "arn:aws:s3:::bucket", "Project": "blue"},
		"values swapped": {"aws:s3:arn": "blue", "project": "arn:aws:s3:::bucket"},
		"name and value": {"aws:s3:arn": "arn:aws:s3:::bucket", "blue": "project"},
		"moved boundary": {"aws:s3:arn": "arn:aws:s3:::bucket", "projectb": "lue"},
	} {
		t.Run(name, func(t *testing.T) {
			s.mayWaive(t, name)
			refused(t, s, s.KeyID, made.Wrapped, other, keys.ErrIntegrity)
		})
	}
}

func otherID(t *testing.T, s Subject) {
	refused(t, s, s.OtherID, generate(t, s, ec).Wrapped, ec, keys.ErrIntegrity)
}

// A flipped bit may name another version, which may be missing or disabled; anywhere else it is an integrity failure.
func flipped(t *testing.T, s Subject) {
	made := generate(t, s, ec)
	integrity := 0
	for i := s.Loose; i < len(made.Wrapped); i++ {
		altered := bytes.Clone(made.Wrapped)
		altered[i] ^= 1 << (i % 8)
		k, err := s.Provider.UnwrapKey(t.Context(), s.KeyID, altered, ec)
		switch {
		case err == nil || k.Plaintext != nil:
			t.Errorf("byte %d flipped: opened, %v", i, err)
		case errors.Is(err, keys.ErrIntegrity):
			integrity++
		case !errors.Is(err, keys.ErrNotFound) && !errors.Is(err, keys.ErrDisabled):
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	if all := len(made.Wrapped) - s.Loose; integrity < all/2 {
		t.Errorf("%d of %d flipped bytes were integrity failures", integrity, all)
	}
}

func otherLength(t *testing.T, s Subject) {
	made := generate(t, s, ec)
	for n := range made.Wrapped {
		refused(t, s, s.KeyID, made.Wrapped[:n], ec, keys.ErrIntegrity)
	}
	refused(t, s, s.KeyID, nil, ec, keys.ErrIntegrity)
	refused(t, s, s.KeyID, append(bytes.Clone(made.Wrapped), 0), ec, keys.ErrIntegrity)
	refused(t, s, s.KeyID, append(bytes.Clone(made.Wrapped), made.Wrapped...), ec, keys.ErrIntegrity)
	refused(t, s, s.KeyID, make([]byte, keys.MaxWrapped+1), ec, keys.ErrIntegrity)
}

func unknown(t *testing.T, s Subject) {
	refused(t, s, s.Missing, generate(t, s, ec).Wrapped, ec, keys.ErrNotFound)
	unusable(t, s, s.Missing, keys.ErrNotFound)
}

func disabled(t *testing.T, s Subject) {
	made, want := generate(t, s, ec), s.Disabled
	if want == nil {
		want = keys.ErrDisabled
	}
	s.Disable(t)
	refused(t, s, s.KeyID, made.Wrapped, ec, want)
	unusable(t, s, s.KeyID, want)
	if _, err := s.Provider.GenerateKey(t.Context(), s.OtherID, ec); err != nil {
		t.Errorf("the other key: %v", err)
	}
	s.Enable(t)
	mustUnwrap(t, s, made, ec)
	generate(t, s, ec)
}

func ended(t *testing.T, s Subject) {
	made := generate(t, s, ec)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, generateErr := s.Provider.GenerateKey(ctx, s.KeyID, ec)
	_, unwrapErr := s.Provider.UnwrapKey(ctx, s.KeyID, made.Wrapped, ec)
	_, checkErr := s.Provider.Check(ctx, s.KeyID)
	for _, err := range []error{generateErr, unwrapErr, checkErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	}
}

func distinct(t *testing.T, s Subject) {
	seen := map[string]bool{}
	for range 1000 {
		made := generate(t, s, ec)
		if seen[string(made.Plaintext)] || seen[string(made.Wrapped)] {
			t.Fatal("a key came twice")
		}
		seen[string(made.Plaintext)], seen[string(made.Wrapped)] = true, true
	}
}

func concurrent(t *testing.T, s Subject) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ec := keys.Context{"worker": fmt.Sprint(i)}
			for range 25 {
				made, err := s.Provider.GenerateKey(t.Context(), s.KeyID, ec)
				if err != nil {
					t.Errorf("generating: %v", err)
					return
				}
				got, err := s.Provider.UnwrapKey(t.Context(), s.KeyID, made.Wrapped, ec)
				if err != nil || !bytes.Equal(got.Plaintext, made.Plaintext) {
					t.Errorf("unwrapping: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func owned(t *testing.T, s Subject) {
	mine := keys.Context{"name": "value"}
	made := generate(t, s, mine)
	mine["name"] = "changed"
	want := keys.Key{Plaintext: bytes.Clone(made.Plaintext), Wrapped: bytes.Clone(made.Wrapped), Version: made.Version}
	clear(made.Plaintext)
	clear(made.Wrapped)
	got := mustUnwrap(t, s, want, keys.Context{"name": "value"})
	clear(got.Plaintext)
	clear(got.Wrapped)
	mustUnwrap(t, s, want, keys.Context{"name": "value"})
}

func generate(t *testing.T, s Subject, ec keys.Context) keys.Key {
	t.Helper()
	k, err := s.Provider.GenerateKey(t.Context(), s.KeyID, ec)
	if err != nil {
		t.Fatalf("generating: %v", err)
	}
	return k
}

func mustUnwrap(t *testing.T, s Subject, made keys.Key, ec keys.Context) keys.Key {
	t.Helper()
	wrapped := bytes.Clone(made.Wrapped)
	got, err := s.Provider.UnwrapKey(t.Context(), s.KeyID, wrapped, ec)
	if err != nil {
		t.Fatalf("unwrapping: %v", err)
	}
	if !bytes.Equal(got.Plaintext, made.Plaintext) || !bytes.Equal(got.Wrapped, made.Wrapped) || got.Version != made.Version {
		t.Fatal("unwrapped to another key")
	}
	if !bytes.Equal(wrapped, made.Wrapped) {
		t.Fatal("unwrapping changed its argument")
	}
	return got
}

func refused(t *testing.T, s Subject, keyID string, wrapped []byte, ec keys.Context, want error) {
	t.Helper()
	k, err := s.Provider.UnwrapKey(t.Context(), keyID, wrapped, ec)
	if !errors.Is(err, want) || k.Plaintext != nil {
		t.Errorf("unwrapping gave %d bytes, error %v; want %v", len(k.Plaintext), err, want)
	}
}

func unusable(t *testing.T, s Subject, keyID string, want error) {
	t.Helper()
	if k, err := s.Provider.GenerateKey(t.Context(), keyID, ec); !errors.Is(err, want) || k.Plaintext != nil {
		t.Errorf("generating: %v, want %v", err, want)
	}
	if _, err := s.Provider.Check(t.Context(), keyID); !errors.Is(err, want) {
		t.Errorf("checking: %v, want %v", err, want)
	}
}
