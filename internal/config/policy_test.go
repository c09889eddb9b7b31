package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// loadPolicy loads a complete configuration with a policy file of the given text and mode.
func loadPolicy(t *testing.T, text string, mode os.FileMode) (config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.cedar")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // WriteFile's mode is without the umask's bits
		t.Fatal(err)
	}
	return config.Load(append(environ(complete), "SSEPROXY_POLICY="+path))
}

func TestPolicy(t *testing.T) {
	c, err := loadPolicy(t, `permit (principal == Identity::"a", action == Action::"list", resource);`, 0o644)
	if err != nil || c.Policy == nil || !c.Policy.Service(policy.Asker{Identity: "a"}, policy.List, "") || c.Policy.Service(policy.Asker{Identity: "b"}, policy.List, "") {
		t.Errorf("%v, %v", c.Policy, err)
	}
	if c, err := config.Load(environ(complete)); err != nil || c.Policy != nil {
		t.Errorf("without a file there is a policy %v, %v", c.Policy, err)
	}
}

func TestPolicyRefused(t *testing.T) {
	const good = `permit (principal, action, resource);`
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"others may write":  {good, 0o646, `lets others change policies: run "chmod 644`},
		"group may write":   {good, 0o664, `lets others change policies: run "chmod 644`},
		"nothing":           {``, 0o644, "it has no policies"},
		"misspelled action": {"\n" + `permit (principal, action == Action::"raed", resource);`, 0o644, "policy 1, in line 2"},
	} {
		if c, err := loadPolicy(t, test.text, test.mode); err == nil || !strings.Contains(err.Error(), test.says) || c.Policy != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
