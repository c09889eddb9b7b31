package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// keysCommand runs a command line against the keyring at path.
func keysCommand(path, line string) (stdout string, err error) {
	var out, errs bytes.Buffer
	err = runKeys(strings.Fields(line), path, &out, &errs)
	return strings.ReplaceAll(out.String(), path, "FILE"), err
}

var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// One keyring's life, command by command.
func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	for _, step := range []struct{ line, out string }{
		{"create --key main", "FILE: key main made; back the file up: without it nothing sealed under it can be read\n"},
		{"create -key=other.key", "FILE: key other.key made; back the file up: without it nothing sealed under it can be read\n"},
		{"rotate --key main", "FILE: key main wraps under version 2 now\n"},
		{"rotate --key main --stage", "FILE: key main has version 3, not yet in use for new objects\n"},
		{"disable --key main --version 1", "FILE: key main version 1 is disabled\n"},
		{"list", `KEY        VERSION  STATE     PRIMARY  CREATED
main       1        disabled  -        TIME
main       2        enabled   yes      TIME
main       3        enabled   -        TIME
other.key  1        enabled   yes      TIME
`},
		{"rotate --key main --version 3", "FILE: key main wraps under version 3 now\n"},
		{"enable --key main --version 1", "FILE: key main version 1 is enabled\n"},
		{"disable --key other.key", "FILE: every version of key other.key is disabled\n"},
		{"list --key main", `KEY   VERSION  STATE    PRIMARY  CREATED
main  1        enabled  -        TIME
main  2        enabled  -        TIME
main  3        enabled  yes      TIME
`},
		{"disable --key main", "FILE: every version of key main is disabled\n"},
		{"list", `KEY        VERSION  STATE     PRIMARY  CREATED
main       1        disabled  -        TIME
main       2        disabled  -        TIME
main       3        disabled  yes      TIME
other.key  1        disabled  yes      TIME
`},
	} {
		out, err := keysCommand(path, step.line)
		if err != nil {
			t.Fatalf("%s: %v", step.line, err)
		}
		if diff := cmp.Diff(step.out, timestamp.ReplaceAllString(out, "TIME")); diff != "" {
			t.Errorf("%s: %s", step.line, diff)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestKeysErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	if _, err := keysCommand(path, "create --key main"); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line, message := range map[string]string{
		"":                                      `"" is not one of create`,
		"destroy":                               `"destroy" is not one of create`,
		"create":                                "give --key ID",
		"create --key":                          "flag needs an argument",
		"create --key main":                     "exists already; rotate",
		"create --key Main":                     "want 1 to 64",
		"create --key a b":                      `"b" is not expected`,
		"create --key a --version 1":            "not defined: -version",
		"create --key a --stage":                "not defined: -stage",
		"create --key a --keyring=":             "set SSEPROXY_KEYRING",
		"rotate --key none":                     `"create" makes a key`,
		"rotate --key main --version 2":         "version 2: key not found",
		"rotate --key main --version 0":         "a number from 1",
		"rotate --key main --version -1":        "invalid value",
		"rotate --key main --version x":         "invalid value",
		"rotate --key main --stage --version 1": "give one of them",
		"disable":                               "give --key ID",
		"disable --key main --version 9":        "version 9: key not found",
		"disable --key none":                    "key not found",
		// 2³² + 1 must not be taken for 1.
		"disable --key main --version 4294967297": "a number from 1",
		"enable --key main":                       "give --version N",
		"list --key none":                         "key not found",
		"list --key=":                             "give --key ID",
		"list --version 1":                        "not defined: -version",
		"list --keyring /nonexistent/file":        `"sseproxy keys create" makes one`,
		"rotate --key a --keyring /nonexistent/f": "no such file",
	} {
		out, err := keysCommand(path, line)
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error is %v, want %q", line, err, message)
		}
		if out != "" {
			t.Errorf("%s: printed %q", line, out)
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("a refused command changed the file")
	}
}

func TestKeysHelp(t *testing.T) {
	for _, line := range []string{"-h", "--help", "help", "rotate -h"} {
		var out, errs bytes.Buffer
		err := runKeys(strings.Fields(line), "", &out, &errs)
		if !errors.Is(err, flag.ErrHelp) || errs.String() != keysUsage || out.Len() != 0 {
			t.Errorf("%s: %v, %q", line, err, errs.String())
		}
	}
}

// What the command makes, the provider uses.
func TestKeysAndLocal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	if _, err := keysCommand(path, "create --key main"); err != nil {
		t.Fatal(err)
	}
	l, err := keys.NewLocal(keys.LocalConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	k, err := l.GenerateKey(t.Context(), "main", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keysCommand(path, "disable --key main"); err != nil {
		t.Fatal(err)
	}
	if l, err = keys.NewLocal(keys.LocalConfig{Path: path}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.UnwrapKey(t.Context(), "main", k.Wrapped, nil); !errors.Is(err, keys.ErrDisabled) {
		t.Errorf("error is %v", err)
	}
}
