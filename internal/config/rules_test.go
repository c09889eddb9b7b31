package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/config"
)

// loadRules loads a complete configuration with an encryption file of the given text and mode.
func loadRules(t *testing.T, text string, mode os.FileMode) (config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "encryption.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // WriteFile's mode is without the umask's bits
		t.Fatal(err)
	}
	return config.Load(append(environ(complete), "SSEPROXY_ENCRYPTION="+path))
}

func TestRules(t *testing.T) {
	c, err := loadRules(t, `{"rules": [
		{"bucket": "logs", "prefix": "2026/", "algorithm": "aws:kms", "key": "logs", "bucket_key": true, "allow": ["SSE-C"], "keys": ["old"], "aliases": {"alias/logs": "logs"}},
		{"bucket": "logs", "prefix": "public/", "bypass": true},
		{"bucket": "*", "key": "default", "allow": []}
	]}`, 0o644)
	want := []config.Rule{
		{
			Bucket: "logs", Prefix: "2026/", Algorithm: "aws:kms", Key: "logs", BucketKey: true,
			Allow: []string{"SSE-C"}, Keys: []string{"old"}, Aliases: map[string]string{"alias/logs": "logs"},
		},
		{Bucket: "logs", Prefix: "public/", Bypass: true},
		{Bucket: "*", Key: "default", Allow: []string{}}, // nil would allow everything
	}
	if diff := cmp.Diff(want, c.Rules); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestRulesRefused(t *testing.T) {
	const good = `{"rules": [{"bucket": "*", "key": "default"}]}`
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"others may write":  {good, 0o646, `lets others change rules: run "chmod 644`},
		"group may write":   {good, 0o664, `lets others change rules: run "chmod 644`},
		"nothing":           {``, 0o644, "EOF"},
		"no rules":          {`{"rules": []}`, 0o644, "it has no rules"},
		"unknown member":    {`{"rules": [{"bucket": "*", "key": "default", "enforce": true}]}`, 0o644, "enforce"},
		"member twice":      {`{"rules": [{"bucket": "*", "key": "default", "Key": "other"}]}`, 0o644, "is there twice"},
		"more behind":       {good + good, 0o644, "behind its end"},
		"list of one value": {`{"rules": [{"bucket": "*", "key": "default", "allow": "SSE-C"}]}`, 0o644, "allow"},
	} {
		if _, err := loadRules(t, test.text, test.mode); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrustedFronts(t *testing.T) {
	c, err := config.Load(append(environ(complete), "SSEPROXY_TRUSTED_FRONTS=10.0.0.0/8,fd00::/8"))
	if err != nil || len(c.Fronts) != 2 || c.Fronts[1].String() != "fd00::/8" {
		t.Errorf("%v, %v", c.Fronts, err)
	}
}
