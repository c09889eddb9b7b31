package keys_test

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/keys"
)

var created = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// edit changes the keyring at path, and fails the test when that fails.
func edit(t *testing.T, path string, change func(*keys.Keyring) error) {
	t.Helper()
	if err := keys.EditKeyring(path, change); err != nil {
		t.Fatal(err)
	}
}

// newKeyring makes a keyring file with keys "main" and "other".
func newKeyring(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring.json")
	edit(t, path, func(r *keys.Keyring) error {
		return errors.Join(r.Create("main", created), r.Create("other", created))
	})
	return path
}

func rotate(r *keys.Keyring) error {
	version, err := r.Add("main", created)
	if err != nil {
		return err
	}
	return r.SetPrimary("main", version)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	material1 = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	material2 = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
	good      = `{
  "format": "sseproxy keyring 1",
  "keys": [
    {
      "id": "main",
      "primary": 2,
      "versions": [
        {"created": "2026-11-23T10:00:00Z", "material": "` + material1 + `", "state": "disabled", "version": 1},
        {"created": "2026-11-24T10:00:00Z", "material": "` + material2 + `", "state": "enabled", "version": 2}
      ]
    }
  ]
}
`
)

func TestReadKeyring(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	write(t, path, []byte(good))
	r, err := keys.ReadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []keys.KeyVersion{
		{KeyID: "main", Version: 1, Created: created},
		{KeyID: "main", Version: 2, Created: created.Add(24 * time.Hour), Enabled: true, Primary: true},
	}
	if diff := cmp.Diff(want, r.Versions()); diff != "" {
		t.Error(diff)
	}
}

// Each case is the good keyring with one change.
func TestReadKeyringRefuses(t *testing.T) {
	zero := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct{ old, new, message string }{
		"empty file":             {good, "", "EOF"},
		"another format":         {"keyring 1", "keyring 2", "format is"},
		"no keys":                {good, `{"format":"sseproxy keyring 1","keys":[]}`, "no keys"},
		"null keys":              {good, `{"format":"sseproxy keyring 1","keys":null}`, "no keys"},
		"unknown member":         {`"id"`, `"note": "", "id"`, "unknown field"},
		"member twice":           {`"id": "main"`, `"id": "main", "id": "main"`, "canonical"},
		"keys twice":             {`"keys": [`, `"keys": [], "keys": [`, "canonical"},
		"member in other case":   {`"id"`, `"ID"`, "canonical"},
		"members in other order": {`"state": "enabled", "version": 2`, `"version": 2, "state": "enabled"`, "canonical"},
		"missing member":         {`, "state": "enabled"`, "", "canonical"},
		"bytes behind the end":   {good, good + "{}", "canonical"},
		"escaped text":           {`"main"`, `"\u006dain"`, "canonical"},
		"empty id":               {`"main"`, `""`, "key id"},
		"id in capitals":         {`"main"`, `"Main"`, "key id"},
		"id with a slash":        {`"main"`, `"a/b"`, "key id"},
		"id with a line end":     {`"main"`, `"main\n"`, "key id"},
		"id of 65 bytes":         {`"main"`, `"` + strings.Repeat("m", 65) + `"`, "key id"},
		"primary missing":        {`"primary": 2`, `"primary": 3`, "primary"},
		"primary zero":           {`"primary": 2`, `"primary": 0`, "primary"},
		"version zero":           {`"version": 1`, `"version": 0`, "stands behind"},
		"version negative":       {`"version": 1`, `"version": -1`, "decoding"},
		"version past 32 bits":   {`"version": 1`, `"version": 4294967296`, "decoding"},
		"version twice":          {`"version": 1`, `"version": 2`, "stands behind"},
		"versions descending":    {`"version": 1`, `"version": 7`, "stands behind"},
		"unknown state":          {`"disabled"`, `"Disabled"`, "state is"},
		"no time":                {"2026-11-23T10:00:00Z", "0001-01-01T00:00:00Z", "created"},
		"odd time":               {"2026-11-23T10:00:00Z", "2026-11-23 10:00", "decoding"},
		"31 bytes":               {material1, base64.StdEncoding.EncodeToString(make([]byte, 31)), "31 bytes"},
		"33 bytes":               {material1, base64.StdEncoding.EncodeToString(make([]byte, 33)), "33 bytes"},
		"no material":            {`"` + material1 + `"`, `null`, "0 bytes"},
		"all-zero material":      {material1, zero, "all zero"},
		"same material":          {material1, material2, "stands twice"},
		"base64 not canonical":   {material1, strings.Replace(material1, "E=", "F=", 1), "canonical"},
		"base64 with line end":   {material1, `\n` + material1, "canonical"},
		"base64url":              {material1, "_" + material1[1:], "illegal base64"},
		"too large":              {good, good + strings.Repeat(" ", 1<<20), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyring.json")
			bad := strings.Replace(good, c.old, c.new, 1)
			if bad == good {
				t.Fatal("the case changes nothing")
			}
			write(t, path, []byte(bad))
			_, err := keys.ReadKeyring(path)
			if err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("error is %v, want %q", err, c.message)
			}
			if err != nil && (strings.Contains(err.Error(), material1[:20]) || strings.Contains(err.Error(), material2[:20])) {
				t.Errorf("the error shows material: %v", err)
			}
			// What cannot be read is never overwritten.
			if err := keys.EditKeyring(path, func(r *keys.Keyring) error { return r.Create("new", created) }); err == nil {
				t.Error("edited")
			}
			if got := string(read(t, path)); got != bad {
				t.Error("the file changed")
			}
		})
	}
}

func TestTwoKeysOfOneID(t *testing.T) {
	path := newKeyring(t)
	write(t, path, []byte(strings.Replace(string(read(t, path)), `"other"`, `"main"`, 1)))
	if _, err := keys.ReadKeyring(path); err == nil || !strings.Contains(err.Error(), "stands twice") {
		t.Errorf("error is %v", err)
	}
}

func TestKeyringMode(t *testing.T) {
	path := newKeyring(t)
	for mode := range fs.FileMode(0o1000) {
		if mode&0o400 == 0 {
			continue // not for us to read; as root we could all the same
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keys.ReadKeyring(path)
		if allowed := mode&0o007 == 0 && mode&0o020 == 0; allowed != (err == nil) {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
}

func TestKeyringIsRegularFile(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, pipe} {
		if _, err := keys.ReadKeyring(path); err == nil || !strings.Contains(err.Error(), "regular") {
			t.Errorf("error is %v", err)
		}
	}
	if _, err := keys.ReadKeyring(filepath.Join(folder, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestEditKeyring(t *testing.T) {
	path := newKeyring(t)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	before := string(read(t, path))
	for name, c := range map[string]struct {
		edit func(*keys.Keyring) error
		want error
	}{
		"create again":         {func(r *keys.Keyring) error { return r.Create("main", created) }, nil},
		"bad id":               {func(r *keys.Keyring) error { return r.Create("Main", created) }, nil},
		"add to none":          {func(r *keys.Keyring) error { _, err := r.Add("none", created); return err }, keys.ErrNotFound},
		"primary of none":      {func(r *keys.Keyring) error { return r.SetPrimary("none", 1) }, keys.ErrNotFound},
		"primary none":         {func(r *keys.Keyring) error { return r.SetPrimary("main", 2) }, keys.ErrNotFound},
		"disable none":         {func(r *keys.Keyring) error { return r.Disable("main", 2) }, keys.ErrNotFound},
		"enable none":          {func(r *keys.Keyring) error { return r.Enable("main", 0) }, keys.ErrNotFound},
		"disabled for primary": {disabledPrimary, keys.ErrDisabled},
	} {
		t.Run(name, func(t *testing.T) {
			err := keys.EditKeyring(path, c.edit)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			if got := string(read(t, path)); got != before {
				t.Error("a failed edit changed the file")
			}
		})
	}
	edit(t, path, rotate)
	edit(t, path, func(r *keys.Keyring) error { return r.Disable("main", 1) })
	r, err := keys.ReadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []keys.KeyVersion{
		{KeyID: "main", Version: 1, Created: created},
		{KeyID: "main", Version: 2, Created: created, Enabled: true, Primary: true},
		{KeyID: "other", Version: 1, Created: created, Enabled: true, Primary: true},
	}
	if diff := cmp.Diff(want, r.Versions()); diff != "" {
		t.Error(diff)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("the folder holds %v, %v", files, err)
	}
}

func disabledPrimary(r *keys.Keyring) error {
	version, err := r.Add("main", created)
	return errors.Join(err, r.Disable("main", version), r.SetPrimary("main", version))
}

func TestEditNothingIntoBeing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	if err := keys.EditKeyring(path, func(*keys.Keyring) error { return nil }); err == nil {
		t.Error("an empty keyring was written")
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 0 {
		t.Errorf("the folder holds %v, %v", files, err)
	}
}

// A write that fails leaves no copy of the keys behind.
func TestEditCleansUp(t *testing.T) {
	path := newKeyring(t)
	err := keys.EditKeyring(path, func(r *keys.Keyring) error {
		return errors.Join(rotate(r), os.Remove(path), os.Mkdir(path, 0o700)) // a folder cannot be replaced by a file
	})
	if err == nil {
		t.Error("a folder was replaced")
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("the folder holds %v, %v", files, err)
	}
}

func TestEditKeepsOwnerModeAndLink(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := newKeyring(t)
	if err := errors.Join(os.Chmod(path, 0o440), os.Chown(path, 4711, 4712)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	edit(t, link, rotate)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode() != 0o440 || s.Uid != 4711 || s.Gid != 4712 {
		t.Errorf("mode %v, owner %+v", info.Mode(), s)
	}
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}

func TestEditRefusesDanglingLink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink("nowhere.json", link); err != nil {
		t.Fatal(err)
	}
	if err := keys.EditKeyring(link, func(r *keys.Keyring) error { return r.Create("main", created) }); err == nil {
		t.Error("the link was replaced")
	}
}

// Two processes, each with several goroutines, rotate at once; every version must be there.
func TestConcurrentRotation(t *testing.T) {
	const processes, workers, rotations = 2, 4, 5
	if path := os.Getenv("SSEPROXY_TEST_ROTATE"); path != "" {
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range rotations {
					if err := keys.EditKeyring(path, rotate); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return
	}
	path := newKeyring(t)
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConcurrentRotation$")
			self.Env = append(os.Environ(), "SSEPROXY_TEST_ROTATE="+path)
			if out, err := self.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	r, err := keys.ReadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	versions := 0
	for _, v := range r.Versions() {
		if v.KeyID == "main" {
			versions++
		}
	}
	if want := 1 + processes*workers*rotations; versions != want {
		t.Errorf("%d versions, want %d", versions, want)
	}
}

func FuzzKeyring(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(strings.ReplaceAll(good, "\n", "")))
	f.Add([]byte(strings.Replace(good, "main", "other", 1)))
	f.Add([]byte(strings.Replace(good, `"id"`, `"ID"`, 1)))
	f.Add([]byte(`{"format":"sseproxy keyring 1","keys":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "keyring.json")
		write(t, path, data)
		r, err := keys.ReadKeyring(path)
		if err != nil {
			return
		}
		// What is accepted can be edited, and reads back as the same with the edit.
		want := append(r.Versions(), keys.KeyVersion{
			KeyID: "fuzz-new-key", Version: 1, Created: created, Enabled: true, Primary: true,
		})
		err = keys.EditKeyring(path, func(r *keys.Keyring) error { return r.Create("fuzz-new-key", created) })
		if err != nil {
			return // the fuzzer found the id
		}
		if r, err = keys.ReadKeyring(path); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, r.Versions()); diff != "" {
			t.Error(diff)
		}
	})
}
