package keys_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/keys"
)

const day = 24 * time.Hour

// TestRotateDue: a version is made a day before the primary one is as old as it may be, takes its place then and not before, and the old one
// stays enabled. Nothing happens twice, or to another key.
func TestRotateDue(t *testing.T) {
	path := newKeyring(t)
	for _, step := range []struct {
		after time.Duration
		want  []keys.Rotation
	}{
		{0, nil},
		{89*day - time.Second, nil},
		{89 * day, []keys.Rotation{{KeyID: "main", Version: 2}}},
		{89 * day, nil},
		{90*day - time.Second, nil},
		{90 * day, []keys.Rotation{{KeyID: "main", Version: 2, Primary: true}}},
		{90 * day, nil},
		{(89+89)*day - time.Second, nil},
		{(89 + 89) * day, []keys.Rotation{{KeyID: "main", Version: 3}}},
		{(89 + 90) * day, []keys.Rotation{{KeyID: "main", Version: 3, Primary: true}}},
		// Nobody looked for a year: the version is made first, all the same.
		{600 * day, []keys.Rotation{{KeyID: "main", Version: 4}}},
		{601*day - time.Second, nil},
		{601 * day, []keys.Rotation{{KeyID: "main", Version: 4, Primary: true}}},
	} {
		got, err := keys.RotateDue(path, []string{"nobody's", "main"}, 90*day, created.Add(step.after))
		if diff := cmp.Diff(step.want, got); err != nil || diff != "" {
			t.Errorf("after %v: %v %s", step.after, err, diff)
		}
	}
	want := map[string]bool{"main 1": false, "main 2": false, "main 3": false, "main 4": true, "other 1": true}
	got := map[string]bool{}
	for _, v := range versionsOf(t, path) {
		if !v.Enabled {
			t.Errorf("%s version %d is disabled", v.KeyID, v.Version)
		}
		got[fmt.Sprint(v.KeyID, " ", v.Version)] = v.Primary
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRotateDueHeedsTheOperator: who has disabled a key's primary version has cut it off; a version that he disabled is not taken, and one that he
// has made is.
func TestRotateDueHeedsTheOperator(t *testing.T) {
	overdue := created.Add(200 * day)
	for name, test := range map[string]struct {
		edit func(*keys.Keyring) error
		want []keys.Rotation
	}{
		"the primary version is disabled": {func(r *keys.Keyring) error { return r.Disable("main", 1) }, nil},
		"a staged version":                {func(r *keys.Keyring) error { _, err := r.Add("main", created.Add(day)); return err }, []keys.Rotation{{KeyID: "main", Version: 2, Primary: true}}},
		"a staged version of now":         {func(r *keys.Keyring) error { _, err := r.Add("main", overdue.Add(-time.Hour)); return err }, nil},
		"a disabled staged version": {func(r *keys.Keyring) error {
			v, err := r.Add("main", created)
			if err != nil {
				return err
			}
			return r.Disable("main", v)
		}, []keys.Rotation{{KeyID: "main", Version: 3}}},
	} {
		path := newKeyring(t)
		edit(t, path, test.edit)
		got, err := keys.RotateDue(path, []string{"main"}, 90*day, overdue)
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

// TestRotateDueClockAhead: a version that a clock far ahead has dated does not put the rotation off until then: another one is made and used. One that
// a clock a little ahead has dated is waited for.
func TestRotateDueClockAhead(t *testing.T) {
	made, used := []keys.Rotation{{KeyID: "main", Version: 3}}, []keys.Rotation{{KeyID: "main", Version: 3, Primary: true}}
	for name, test := range map[string]struct {
		dated time.Duration
		steps map[time.Duration][]keys.Rotation
	}{
		"far":    {10 * 365 * day, map[time.Duration][]keys.Rotation{88 * day: nil, 90 * day: made, 91*day - 1: nil, 91 * day: used, 92 * day: nil}},
		"little": {91 * day, map[time.Duration][]keys.Rotation{91*day - time.Hour: nil, 92*day - 1: nil, 92 * day: {{KeyID: "main", Version: 2, Primary: true}}}},
	} {
		path := newKeyring(t)
		edit(t, path, func(r *keys.Keyring) error { _, err := r.Add("main", created.Add(test.dated)); return err })
		for _, after := range slices.Sorted(maps.Keys(test.steps)) {
			got, err := keys.RotateDue(path, []string{"main"}, 90*day, created.Add(after))
			if diff := cmp.Diff(test.steps[after], got); err != nil || diff != "" {
				t.Errorf("%s ahead, after %v: %v %s", name, after, err, diff)
			}
		}
	}
}

// TestRotateDueUnwritable: a keyring that cannot be changed stays as it is and can be read; the error says which key is due, and in the same words each time. Nothing is
// an error before.
func TestRotateDueUnwritable(t *testing.T) {
	// Beside a name as long as one may be there is no room for a file to take its place, be it root who tries.
	path := filepath.Join(t.TempDir(), strings.Repeat("k", 255))
	before := read(t, newKeyring(t))
	write(t, path, before)
	if done, err := keys.RotateDue(path, []string{"main"}, 90*day, created.Add(80*day)); done != nil || err != nil {
		t.Errorf("before it is due: %v, %v", done, err)
	}
	done, err := keys.RotateDue(path, []string{"main"}, 90*day, created.Add(91*day))
	if done != nil || err == nil || !strings.Contains(err.Error(), "due for rotation: main: ") {
		t.Errorf("%v, %v", done, err)
	}
	if _, again := keys.RotateDue(path, []string{"main"}, 90*day, created.Add(91*day)); again == nil || again.Error() != err.Error() {
		t.Errorf("one reason reads as %v and as %v: the log would have it each minute", err, again)
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("the file was changed")
	}
}

// TestRotateDueOnce: two processes, each with several goroutines, find a key due at once: there is one new version.
func TestRotateDueOnce(t *testing.T) {
	const processes, workers, rounds = 2, 4, 20
	if path := os.Getenv("SSEPROXY_TEST_ROTATE_DUE"); path != "" {
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range rounds {
					done, err := keys.RotateDue(path, []string{"main"}, 90*day, created.Add(100*day))
					if err != nil {
						t.Error(err)
					}
					for _, step := range done {
						fmt.Fprintf(os.Stdout, "\n%v\n", step)
					}
				}
			})
		}
		wg.Wait()
		return
	}
	path := newKeyring(t)
	var steps atomic.Int64
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRotateDueOnce$")
			self.Env = append(os.Environ(), "SSEPROXY_TEST_ROTATE_DUE="+path)
			out, err := self.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			steps.Add(int64(bytes.Count(out, []byte("\nkey main has version 2, not yet in use"))))
		})
	}
	wg.Wait()
	if n := steps.Load(); n != 1 {
		t.Errorf("%d took the step", n)
	}
	if n := len(versionsOf(t, path)); n != 3 {
		t.Errorf("%d versions of two keys, want 3", n)
	}
}

func versionsOf(t *testing.T, path string) []keys.KeyVersion {
	t.Helper()
	r, err := keys.ReadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	return r.Versions()
}
