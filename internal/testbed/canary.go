package testbed

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Canary gives a text that occurs nowhere else: a prefix that the eye finds and 26 random characters, all of them
// letters, digits and dashes, so that it can be a body, a key, a tag and a header.
func Canary(t testing.TB) []byte {
	t.Helper()
	return []byte("sseproxy-canary-" + rand.Text())
}

// RequireAbsent fails if a canary occurs in a store's folder, in a file or a file's name: as it is, or in base64 or
// hexadecimal. An empty folder fails too, for it proves nothing.
func RequireAbsent(t testing.TB, dir string, canary []byte) {
	t.Helper()
	found, files, err := search(dir, canary)
	switch {
	case err != nil:
		t.Fatalf("searching %s: %v", dir, err)
	case files == 0:
		t.Fatalf("%s holds no file", dir)
	case len(found) > 0:
		t.Fatalf("the canary is in the store:\n%s", strings.Join(found, "\n"))
	}
}

// search lists where a canary occurs below a folder, and counts the files.
func search(dir string, canary []byte) (found []string, files int, err error) {
	if len(canary) < 16 {
		return nil, 0, fmt.Errorf("a canary of %d bytes may occur by chance", len(canary))
	}
	disguises := disguised(canary)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil // a temporary file of the store
		}
		if err != nil {
			return err
		}
		for name, pattern := range disguises {
			if bytes.Contains([]byte(d.Name()), pattern) {
				found = append(found, fmt.Sprintf("%s: in the name, %s", path, name))
			}
		}
		if !d.Type().IsRegular() {
			return nil
		}
		files++
		names, err := searchFile(path, disguises)
		for _, name := range names {
			found = append(found, fmt.Sprintf("%s: %s", path, name))
		}
		return err
	})
	return found, files, err
}

// disguised gives what a text may look like. In base64 it depends on the text's place, modulo 3, and on its
// neighbors in the outer characters, which are left out.
func disguised(text []byte) map[string][]byte {
	forms := map[string][]byte{
		"plain":             text,
		"hexadecimal":       []byte(hex.EncodeToString(text)),
		"upper hexadecimal": bytes.ToUpper([]byte(hex.EncodeToString(text))),
	}
	for shift := range 3 {
		whole := len(text) - (shift+len(text))%3 // the bytes up to a multiple of three
		shifted := append(make([]byte, shift), text[:whole]...)
		skip := (shift*8 + 5) / 6 // the characters that hold a bit of what stands before
		forms[fmt.Sprintf("base64, shifted by %d", shift)] = []byte(base64.StdEncoding.EncodeToString(shifted)[skip:])
		forms[fmt.Sprintf("base64url, shifted by %d", shift)] = []byte(base64.URLEncoding.EncodeToString(shifted)[skip:])
	}
	return forms
}

// searchFile reads a file in windows that overlap by the longest pattern.
func searchFile(path string, patterns map[string][]byte) (found []string, err error) {
	overlap := 0
	for _, pattern := range patterns {
		overlap = max(overlap, len(pattern))
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closeAll(f)
	window, seen := make([]byte, overlap+1<<18), map[string]bool{}
	for kept := 0; ; {
		n, err := io.ReadFull(f, window[kept:])
		text := window[:kept+n]
		for name, pattern := range patterns {
			if !seen[name] && bytes.Contains(text, pattern) {
				seen[name] = true
				found = append(found, name)
			}
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		kept = copy(window, text[len(text)-overlap:])
	}
}
