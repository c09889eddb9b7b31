package config

import (
	"fmt"

	"github.com/sseproxy/sseproxy/internal/policy"
)

// readPolicy reads the policy file. It holds no secrets, but who changes it decides who may do what.
func readPolicy(path string) (*policy.Set, error) {
	b, err := readFile(path, 0o022, 0o644, "change policies")
	if err != nil {
		return nil, fmt.Errorf("policy file %s: %w", path, err)
	}
	set, err := policy.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("policy file %s: %w", path, err)
	}
	return set, nil
}
