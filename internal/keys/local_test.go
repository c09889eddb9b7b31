package keys_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/keys/keystest"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: created} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newLocal opens the keyring; failures gets what OnError is told.
func newLocal(t *testing.T, path string, c *clock) (l *keys.Local, failures *[]error) {
	t.Helper()
	failures = new([]error)
	l, err := keys.NewLocal(keys.LocalConfig{
		Path: path, Now: c.Now,
		OnError: func(err error) { *failures = append(*failures, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, failures
}

func TestLocal(t *testing.T) {
	keystest.Run(t, func(t *testing.T) keystest.Subject {
		path, c := newKeyring(t), newClock()
		l, _ := newLocal(t, path, c)
		state := func(change func(*keys.Keyring) error) func(*testing.T) {
			return func(t *testing.T) {
				edit(t, path, change)
				c.Add(time.Second)
			}
		}
		return keystest.Subject{
			Provider: l, KeyID: "main", OtherID: "other", Missing: "missing",
			Disable: state(func(r *keys.Keyring) error { return r.Disable("main", 1) }),
			Enable:  state(func(r *keys.Keyring) error { return r.Enable("main", 1) }),
		}
	})
}

// Of key "main" in the keyring good, with a key of 32 bytes 0x42. Made by another program from the description of Local:
// testdata/local.py.
const localVector = "00000002000102030405060708090a0bd172c007250f177b145e9252db69578e" +
	"aa9354ae641a9ad8fd79955114ea93f75f4a16ff6e4c07c81404f46227186476"

func TestLocalVector(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	write(t, path, []byte(good))
	l, _ := newLocal(t, path, newClock())
	wrapped, err := hex.DecodeString(localVector)
	if err != nil {
		t.Fatal(err)
	}
	ec := keys.Context{"project": "blue", "aws:s3:arn": "arn:aws:s3:::bucket"}
	k, err := l.UnwrapKey(t.Context(), "main", wrapped, ec)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Repeat([]byte{0x42}, 32); !bytes.Equal(k.Plaintext, want) || k.Version != "2" {
		t.Errorf("opened version %s to %x", k.Version, k.Plaintext)
	}
}

func TestLocalVersions(t *testing.T) {
	path, c := newKeyring(t), newClock()
	l, _ := newLocal(t, path, c)
	first, err := l.GenerateKey(t.Context(), "main", nil)
	if err != nil || first.Version != "1" {
		t.Fatalf("version %q, %v", first.Version, err)
	}
	unwrap := func(k keys.Key, want error) {
		t.Helper()
		got, err := l.UnwrapKey(t.Context(), "main", k.Wrapped, nil)
		if !errors.Is(err, want) || (want == nil && !bytes.Equal(got.Plaintext, k.Plaintext)) {
			t.Errorf("unwrapping version %s: %v, want %v", k.Version, err, want)
		}
	}
	// A version that is added wraps nothing before it is primary.
	edit(t, path, func(r *keys.Keyring) error { _, err := r.Add("main", created); return err })
	c.Add(time.Second)
	if k, err := l.GenerateKey(t.Context(), "main", nil); err != nil || k.Version != "1" {
		t.Errorf("version %q, %v", k.Version, err)
	}
	edit(t, path, func(r *keys.Keyring) error { return r.SetPrimary("main", 2) })
	c.Add(time.Second)
	second, err := l.GenerateKey(t.Context(), "main", nil)
	if err != nil || second.Version != "2" {
		t.Fatalf("version %q, %v", second.Version, err)
	}
	unwrap(first, nil)
	unwrap(second, nil)
	// A disabled old version opens nothing, and the new one goes on.
	edit(t, path, func(r *keys.Keyring) error { return r.Disable("main", 1) })
	c.Add(time.Second)
	unwrap(first, keys.ErrDisabled)
	unwrap(second, nil)
	// A wrapped key is bound to its version, and one of a version that is not there is not found.
	moved := keys.Key{Wrapped: bytes.Clone(second.Wrapped), Version: "2 as 3"}
	moved.Wrapped[3] = 3
	unwrap(moved, keys.ErrNotFound)
	edit(t, path, func(r *keys.Keyring) error { _, err := r.Add("main", created); return err })
	c.Add(time.Second)
	unwrap(moved, keys.ErrIntegrity)
}

func TestLocalFlippedBytes(t *testing.T) {
	l, _ := newLocal(t, newKeyring(t), newClock())
	k, err := l.GenerateKey(t.Context(), "main", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range k.Wrapped {
		altered := bytes.Clone(k.Wrapped)
		altered[i] ^= 0x80
		want := keys.ErrIntegrity
		if i < 4 {
			want = keys.ErrNotFound
		}
		if _, err := l.UnwrapKey(t.Context(), "main", altered, nil); !errors.Is(err, want) {
			t.Errorf("byte %d: %v, want %v", i, err, want)
		}
	}
}

func TestLocalReload(t *testing.T) {
	path, c := newKeyring(t), newClock()
	l, failures := newLocal(t, path, c)
	check := func(version string) {
		t.Helper()
		if got, err := l.Check(t.Context(), "main"); got != version || err != nil {
			t.Errorf("version %q, %v; want %q", got, err, version)
		}
	}
	edit(t, path, rotate)
	c.Add(time.Second - 1)
	check("1") // not looked for yet
	c.Add(1)
	check("2")
	// An edit in place, of the same length and time, is seen by neither; one of another time is.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte(strings.Replace(string(read(t, path)), `"primary": 2`, `"primary": 1`, 1)))
	if err := os.Chtimes(path, time.Time{}, info.ModTime().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	c.Add(time.Second)
	check("1")
	// A clock that goes back makes it look again.
	edit(t, path, rotate)
	c.Add(-time.Hour)
	check("3")
	if len(*failures) != 0 {
		t.Errorf("failures: %v", *failures)
	}
}

// A failed reload keeps the last good keyring, says so once for each reason, and mends itself.
func TestLocalReloadFails(t *testing.T) {
	path, c := newKeyring(t), newClock()
	content := read(t, path)
	l, failures := newLocal(t, path, c)
	made, err := l.GenerateKey(t.Context(), "main", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range map[string]func() error{
		"deleted":   func() error { return os.Remove(path) },
		"half":      func() error { return os.WriteFile(path, content[:len(content)/2], 0o600) },
		"empty":     func() error { return os.Truncate(path, 0) },
		"world":     func() error { return os.Chmod(path, 0o644) },
		"no folder": func() error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+".away") },
	} {
		t.Run(name, func(t *testing.T) {
			*failures = nil
			if err := breakIt(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				c.Add(time.Second)
				if version, err := l.Check(t.Context(), "main"); version != "1" || err != nil {
					t.Errorf("Check says %q, %v", version, err)
				}
				if _, err := l.Check(t.Context(), "missing"); !errors.Is(err, keys.ErrNotFound) {
					t.Errorf("Check of a missing key says %v", err)
				}
				if _, err := l.UnwrapKey(t.Context(), "main", made.Wrapped, nil); err != nil {
					t.Errorf("unwrapping: %v", err)
				}
				if _, err := l.GenerateKey(t.Context(), "main", nil); err != nil {
					t.Errorf("generating: %v", err)
				}
			}
			if len(*failures) != 1 {
				t.Errorf("%d failures told: %v", len(*failures), *failures)
			}
			if err := os.Rename(filepath.Dir(path)+".away", filepath.Dir(path)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			write(t, path, content)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			c.Add(time.Second)
			if _, err := l.Check(t.Context(), "main"); err != nil || len(*failures) != 1 {
				t.Errorf("mended, and Check says %v; failures: %v", err, *failures)
			}
		})
	}
}

// A Kubernetes Secret mount: keyring.json → ..data/keyring.json, and ..data is a link that is swapped.
func TestLocalSymlinkSwap(t *testing.T) {
	mount, c := t.TempDir(), newClock()
	publish := func(folder string, content []byte) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(mount, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(mount, folder, "keyring.json")
		if err := os.WriteFile(file, content, 0o440); err != nil {
			t.Fatal(err)
		}
		// The same time and length: the inode alone must tell.
		if err := os.Chtimes(file, created, created); err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(mount, "..data_tmp")
		if err := errors.Join(os.Symlink(folder, next), os.Rename(next, filepath.Join(mount, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", []byte(good))
	path := filepath.Join(mount, "keyring.json")
	if err := os.Symlink(filepath.Join("..data", "keyring.json"), path); err != nil {
		t.Fatal(err)
	}
	l, failures := newLocal(t, path, c)
	if version, err := l.Check(t.Context(), "main"); version != "2" || err != nil {
		t.Fatalf("version %q, %v", version, err)
	}
	publish("..2", []byte(strings.Replace(good, `"version": 2`, `"version": 3`, 1)))
	c.Add(time.Second)
	if version, err := l.Check(t.Context(), "main"); version != "2" || err != nil || len(*failures) != 1 {
		t.Errorf("the second keyring lacks its primary: version %q, %v; failures: %v", version, err, *failures)
	}
	swapped := strings.NewReplacer(`"primary": 2`, `"primary": 3`, `"version": 2`, `"version": 3`).Replace(good)
	publish("..3", []byte(swapped))
	c.Add(time.Second)
	if version, err := l.Check(t.Context(), "main"); version != "3" || err != nil {
		t.Errorf("version %q, %v", version, err)
	}
}

// What mends a file may leave it just as it was when it was read; what breaks it again is told again.
func TestLocalModeMended(t *testing.T) {
	path, c := newKeyring(t), newClock()
	l, failures := newLocal(t, path, c)
	for _, step := range []struct {
		mode os.FileMode
		told int
	}{{0o644, 1}, {0o600, 1}, {0o644, 2}} {
		if err := os.Chmod(path, step.mode); err != nil {
			t.Fatal(err)
		}
		c.Add(time.Second)
		for range 2 {
			if _, err := l.Check(t.Context(), "main"); err != nil || len(*failures) != step.told {
				t.Errorf("mode %04o: %v; failures: %v, want %d", step.mode, err, *failures, step.told)
			}
		}
	}
}

func TestNewLocalFails(t *testing.T) {
	path := newKeyring(t)
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, path + ".none"} {
		if _, err := keys.NewLocal(keys.LocalConfig{Path: path}); err == nil {
			t.Error("opened")
		}
	}
}

// Rotations and uses at the same time: nothing that was wrapped is ever refused.
func TestLocalConcurrentReload(t *testing.T) {
	path, c := newKeyring(t), newClock()
	l, err := keys.NewLocal(keys.LocalConfig{Path: path, Now: c.Now, OnError: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				k, err := l.GenerateKey(t.Context(), "main", nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := l.UnwrapKey(t.Context(), "main", k.Wrapped, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		edit(t, path, rotate)
		c.Add(time.Second)
	}
	wg.Wait()
}

// Two contexts encode alike only if they are equal.
func TestContextCanonical(t *testing.T) {
	pairs := rapid.MapOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00")), 0, 3, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00")), 0, 3, -1), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		a, b := keys.Context(pairs.Draw(t, "a")), keys.Context(pairs.Draw(t, "b"))
		if equal := fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b); equal != bytes.Equal(a.Canonical(), b.Canonical()) {
			t.Errorf("%q and %q", a, b)
		}
	})
}

// No bytes open but those that were wrapped.
func FuzzUnwrap(f *testing.F) {
	path := filepath.Join(f.TempDir(), "keyring.json")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		f.Fatal(err)
	}
	l, err := keys.NewLocal(keys.LocalConfig{Path: path})
	if err != nil {
		f.Fatal(err)
	}
	genuine, err := hex.DecodeString(localVector)
	if err != nil {
		f.Fatal(err)
	}
	ec := keys.Context{"project": "blue", "aws:s3:arn": "arn:aws:s3:::bucket"}
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add(append([]byte{0, 0, 0, 1}, genuine[4:]...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		k, err := l.UnwrapKey(t.Context(), "main", wrapped, ec)
		if (err == nil) != bytes.Equal(wrapped, genuine) || (err != nil && k.Plaintext != nil) {
			t.Errorf("%x: %v", wrapped, err)
		}
	})
}
