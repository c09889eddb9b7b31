package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// vector is a vector of the format (docs/format.md) as files and flags.
type vector struct {
	header map[string]string
	sealed string // file
	key    string
}

// vectors gives the vectors whose names match, but for those without their frames.
func vectors(t *testing.T, pattern string) map[string]vector {
	t.Helper()
	all := map[string]vector{}
	for _, path := range testbed.Must(filepath.Glob("../../internal/envelope/testdata/vectors/" + pattern))(t) {
		head, body, _ := strings.Cut(string(testbed.Must(os.ReadFile(path))(t)), "\n\n")
		v := vector{header: map[string]string{}}
		for line := range strings.Lines(head) {
			name, value, _ := strings.Cut(line, ":")
			v.header[name] = strings.TrimSpace(value)
		}
		if v.header["frames-omitted"] != "" {
			continue
		}
		sealed := testbed.Must(base64.StdEncoding.DecodeString(body))(t)
		if at, n, ok := strings.Cut(v.header["zeros"], "+"); ok {
			from := testbed.Must(strconv.Atoi(at))(t)
			sealed = bytes.Join([][]byte{sealed[:from], make([]byte, testbed.Must(strconv.Atoi(n))(t)), sealed[from:]}, nil)
		}
		v.key = string(testbed.Must(hex.DecodeString(v.header["key-hex"]))(t))
		v.sealed = filepath.Join(t.TempDir(), "sealed")
		if err := os.WriteFile(v.sealed, sealed, 0o600); err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = v
	}
	return all
}

// TestDecryptVectors: the vectors under a customer's key, which need no provider.
func TestDecryptVectors(t *testing.T) {
	tried := map[string]int{}
	for name, v := range vectors(t, "*.txt") {
		if v.header["customer-key"] == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			tried[v.header["expect"]]++
			dir := t.TempDir()
			keyFile, opened := filepath.Join(dir, "key"), filepath.Join(dir, "opened")
			if err := os.WriteFile(keyFile, []byte(v.header["customer-key"]+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := run(t.Context(), []string{
				"decrypt", "--bucket", v.header["bucket"], "--key", v.key, "--envelope", v.header["envelope"],
				"--customer-key-file", keyFile, "--file", v.sealed, "--out", opened,
			}, stdio{})
			info, missing := os.Stat(opened)
			if v.header["expect"] != "open" {
				if err == nil || missing == nil {
					t.Errorf("opened: %v", err)
				}
				return
			}
			if err != nil || strconv.FormatInt(info.Size(), 10) != v.header["plaintext-length"] {
				t.Errorf("%v", err)
			}
		})
	}
	if tried["open"] < 2 || tried["unwrap"] < 2 {
		t.Errorf("tried %v", tried)
	}
}

// TestInspectVectors: what a trailer says is shown for every sealed object, and no malformed one gets past.
func TestInspectVectors(t *testing.T) {
	for name, v := range vectors(t, "open-*.txt") {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"inspect", "--envelope", v.header["envelope"], "--file", v.sealed}, stdio{out: &out}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(out.String(), " "+v.header["plaintext-length"]+" bytes") {
			t.Errorf("%s: %s", name, out.String())
		}
	}
	for name, v := range vectors(t, "envelope-*.txt") {
		if err := run(t.Context(), []string{"inspect", "--envelope=" + v.header["envelope"]}, stdio{out: new(bytes.Buffer), err: new(bytes.Buffer)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
