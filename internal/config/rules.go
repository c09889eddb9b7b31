package config

import (
	"errors"
	"fmt"
)

// Rule says how the objects of some buckets are encrypted, as the encryption file has it:
//
//	{"rules": [{
//	  "bucket": "logs", "prefix": "2026/",
//	  "algorithm": "aws:kms", "key": "logs", "bucket_key": true,
//	  "allow": ["SSE-C"], "keys": ["logs-2025"], "aliases": {"alias/logs": "logs"}
//	}]}
//
// Only bucket and key must be there; with "bypass": true, which leaves objects as they are, only the bucket, and a prefix may be. The
// proxy checks what the members say.
type Rule struct {
	Bucket    string            `json:"bucket"`
	Prefix    string            `json:"prefix"`
	Bypass    bool              `json:"bypass"`
	Algorithm string            `json:"algorithm"`
	Key       string            `json:"key"`
	BucketKey bool              `json:"bucket_key"`
	Allow     []string          `json:"allow"`
	Keys      []string          `json:"keys"`
	Aliases   map[string]string `json:"aliases"`
}

// readRules reads the encryption file. It holds no secrets, but who changes it decides about keys.
func readRules(path string) ([]Rule, error) {
	b, err := readFile(path, 0o022, 0o644, "change rules")
	if err != nil {
		return nil, fmt.Errorf("encryption file %s: %w", path, err)
	}
	var file struct {
		Rules []Rule `json:"rules"`
	}
	if err := decode(b, &file); err != nil {
		return nil, fmt.Errorf("encryption file %s: %w", path, err)
	}
	if len(file.Rules) == 0 {
		return nil, fmt.Errorf("encryption file %s: %w", path, errors.New("it has no rules"))
	}
	return file.Rules, nil
}
