package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
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

// TestNobodyIsLockedIn: an object opens from keyring, envelope and stored bytes, with this program and with one that was
// written from docs/format.md and docs/keys.md alone.
func TestNobodyIsLockedIn(t *testing.T) {
	const bucket, key = "backups", "grüße/a b"
	keyring := filepath.Join(t.TempDir(), "keyring.json")
	for _, id := range []string{"main", "second"} {
		if err := keys.EditKeyring(keyring, func(r *keys.Keyring) error { return r.Create(id, time.Now()) }); err != nil {
			t.Fatal(err)
		}
	}
	provider := testbed.Must(keys.NewLocal(keys.LocalConfig{Path: keyring}))(t)
	blue := keys.Context{"project": "blue", "Æ": ""}
	plain := bytes.Repeat([]byte("plaintext"), 10_000)
	for name, test := range map[string]struct {
		envelope envelope.Envelope
		context  keys.Context
	}{
		"of the bucket":                 {envelope.Envelope{Mode: envelope.ModeS3}, testbed.Must(keys.BucketContext(bucket))(t)},
		"of the bucket, with a context": {envelope.Envelope{Mode: envelope.ModeKMS, Context: blue}, testbed.Must(keys.BucketContext(bucket))(t)},
		"of the object, with a context": {envelope.Envelope{Mode: envelope.ModeKMS, OwnKey: true, Context: blue}, testbed.Must(keys.ObjectContext(bucket, key, blue))(t)},
		"for two layers":                {envelope.Envelope{Mode: envelope.ModeDSSE, OwnKey: true, Context: blue}, testbed.Must(keys.ObjectContext(bucket, key, blue))(t)},
	} {
		t.Run("key "+name, func(t *testing.T) {
			wrapping := testbed.Must(provider.GenerateKey(t.Context(), "main", test.context))(t)
			e, dek := &test.envelope, envelope.NewDEK()
			e.KeyID, e.WrappedKey, e.Length = "main", wrapping.Wrapped, int64(len(plain))
			if e.Mode == envelope.ModeDSSE {
				second := testbed.Must(provider.GenerateKey(t.Context(), "second", testbed.Must(keys.BucketContext(bucket))(t)))(t)
				dek, e.SecondKeyID, e.SecondWrappedKey = envelope.NewDSSEKey(), "second", second.Wrapped
				wrapping.Plaintext = append(wrapping.Plaintext, second.Plaintext...)
			}
			if err := e.Wrap(wrapping.Plaintext, dek, checksum.Value{}, bucket, key); err != nil {
				t.Fatal(err)
			}
			sealer := dek.NewSealer(bytes.NewReader(plain), e.Length, func() checksum.Value { return checksum.Value{} })
			sealed := testbed.Must(io.ReadAll(sealer))(t)
			args := []string{"--bucket", bucket, "--key", key, "--envelope", e.String(), "--keyring", keyring}

			var opened bytes.Buffer
			err := run(t.Context(), append([]string{"decrypt"}, args...), stdio{in: bytes.NewReader(sealed), out: &opened})
			if err != nil || !bytes.Equal(opened.Bytes(), plain) {
				t.Errorf("sseproxy decrypt: %d bytes, %v", opened.Len(), err)
			}
			other := exec.CommandContext(t.Context(), python(t), append([]string{"../../test/format/open.py"}, args...)...)
			other.Stdin, other.Stderr = bytes.NewReader(sealed), t.Output()
			if got, err := other.Output(); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("open.py: %d bytes, %v", len(got), err)
			}
		})
	}
}

// python returns an interpreter that open.py runs with. Without one the test is skipped, and with CI=true fails.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), name, "-c", "import cryptography").Run() == nil {
			return name
		}
	}
	const missing = "no python3 has the package cryptography; .ci/install does that"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}
