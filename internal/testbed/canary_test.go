package testbed_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// recorder is a test that may fail without failing this one.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(string, ...any) {
	r.failed = true
	panic(r)
}

// finds says whether RequireAbsent fails.
func finds(t *testing.T, dir string, canary []byte) (found bool) {
	t.Helper()
	r := &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != any(r) {
			panic(p)
		}
		found = r.failed
	}()
	testbed.RequireAbsent(r, dir, canary)
	return false
}

func TestRequireAbsentFinds(t *testing.T) {
	canary := testbed.Canary(t)
	files := map[string][]byte{
		"plain":     canary,
		"in a body": slices.Concat([]byte("before "), canary, []byte(" after")),
		"hex":       []byte(hex.EncodeToString(canary)),
		"HEX":       []byte(strings.ToUpper(hex.EncodeToString(canary))),
	}
	for n := range 6 {
		for after := range 3 {
			text := slices.Concat(bytes.Repeat([]byte{0xff}, n), canary, []byte("???"[:after]))
			files[fmt.Sprintf("base64-%d-%d", n, after)] = []byte(base64.StdEncoding.EncodeToString(text))
			files[fmt.Sprintf("base64url-%d-%d", n, after)] = []byte(base64.RawURLEncoding.EncodeToString(text))
		}
	}
	for name, content := range files {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "below", "file"), content)
			if !finds(t, dir, canary) {
				t.Error("not found")
			}
			if finds(t, dir, testbed.Canary(t)) {
				t.Error("another one found")
			}
		})
	}
	t.Run("across windows", func(t *testing.T) {
		dir := t.TempDir()
		for before := 2<<18 - 100; before < 2<<18+300; before += 5 { // around the end of the second window
			write(t, filepath.Join(dir, "file"), slices.Concat(make([]byte, before), canary, make([]byte, 1<<18)))
			if !finds(t, dir, canary) {
				t.Errorf("not found after %d bytes", before)
			}
		}
	})
	t.Run("file name", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "below", string(canary)+".txt"), nil)
		if !finds(t, dir, canary) {
			t.Error("not found")
		}
	})
	t.Run("folder name", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, string(canary), "file"), nil)
		if !finds(t, dir, canary) {
			t.Error("not found")
		}
	})
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A search that proves nothing fails: of nothing, of nowhere, for next to nothing.
func TestRequireAbsentProves(t *testing.T) {
	dir := t.TempDir()
	if !finds(t, dir, testbed.Canary(t)) {
		t.Error("an empty folder passes")
	}
	if !finds(t, filepath.Join(dir, "missing"), testbed.Canary(t)) || !finds(t, "", testbed.Canary(t)) {
		t.Error("a missing folder passes")
	}
	write(t, filepath.Join(dir, "file"), nil)
	if !finds(t, dir, nil) || !finds(t, dir, []byte("short")) {
		t.Error("a canary that is none passes")
	}
}

// What a client stores in the clear is found in the folder of each store, wherever a client can put it.
func TestStoreShows(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		c, bucket := store.Client(t), testbed.Bucket(t, store)
		body, metadata, key, never := testbed.Canary(t), testbed.Canary(t), testbed.Canary(t), testbed.Canary(t)
		large := slices.Concat(make([]byte, 3<<20), body)
		for name, content := range map[string][]byte{string(key): body, "large": large} {
			testbed.Must(c.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: &bucket, Key: &name, Body: bytes.NewReader(content),
				Metadata: map[string]string{"canary": string(metadata)},
			}))(t)
		}
		for what, canary := range map[string][]byte{"body": body, "metadata": metadata, "key": key} {
			if !finds(t, store.Dir, canary) {
				t.Errorf("%s not found", what)
			}
		}
		testbed.RequireAbsent(t, store.Dir, never)
	})
}
