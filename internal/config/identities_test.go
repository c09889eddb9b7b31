package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/config"
)

// withIdentities is an environment with an identities file of the given text and mode.
func withIdentities(t *testing.T, text string, mode os.FileMode) (environ []string, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "identities.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // WriteFile's mode is without the umask's bits
		t.Fatal(err)
	}
	return []string{"SSEPROXY_UPSTREAM=http://store", "SSEPROXY_KEYRING=keyring.json", "SSEPROXY_IDENTITIES=" + path}, path
}

const twoIdentities = `{"identities": [
	{"name": "app", "access_key_id": "APP", "secret_access_key": "secret-of-app"},
	{"name": "app", "access_key_id": "app", "secret_access_key": "secret-of-app",
	 "upstream": {"access_key_id": "STORE", "secret_access_key": "secret-of-store"}}
]}
`

func TestIdentities(t *testing.T) {
	for _, mode := range []os.FileMode{0o400, 0o440, 0o600, 0o640} {
		environ, _ := withIdentities(t, twoIdentities, mode)
		c, err := config.Load(environ)
		if err != nil {
			t.Fatal(err)
		}
		want := []config.Identity{
			{Name: "app", AccessKeyID: "APP", SecretAccessKey: "secret-of-app"},
			{
				Name: "app", AccessKeyID: "app", SecretAccessKey: "secret-of-app",
				Upstream: &config.Credentials{AccessKeyID: "STORE", SecretAccessKey: "secret-of-store"},
			},
		}
		if diff := cmp.Diff(want, c.Identities); diff != "" {
			t.Error(diff)
		}
	}
}

func TestIdentitiesMode(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o604, 0o602, 0o601, 0o620, 0o660, 0o666} {
		environ, path := withIdentities(t, twoIdentities, mode)
		if _, err := config.Load(environ); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestIdentitiesRefused(t *testing.T) {
	for text, problem := range map[string]string{
		``:                                       "EOF",
		`{`:                                      "unexpected EOF",
		`[]`:                                     "cannot unmarshal array",
		`{}`:                                     "it has no identities",
		`{"identities": null}`:                   "it has no identities",
		`{"identities": []}`:                     "it has no identities",
		`{"identities": [null]}`:                 "identity 1 needs name, access_key_id and secret_access_key",
		twoIdentities + `{}`:                     "something stands behind its end",
		twoIdentities + `x`:                      "something stands behind its end",
		strings.Repeat(" ", 4<<20) + "\n{}":      "it has more than 4194304 bytes",
		`{"identities": [], "policies": []}`:     `unknown field "policies"`,
		`{"identities": [], "identities": []}`:   `member "identities" is there twice`,
		`{"identities": [{"name": "app"}]}`:      "identity 1 needs name, access_key_id and secret_access_key",
		edited(`"app", "access`, `"", "access`):  "identity 1 needs name",
		edited(`"APP"`, `""`):                    "identity 1 needs name",
		edited(`"secret-of-app"`, `""`):          "identity 1 needs name",
		edited(`"APP"`, `"app"`):                 `access_key_id "app" is there twice`,
		edited(`"STORE"`, `""`):                  `upstream of identity "app" needs access_key_id and secret_access_key`,
		edited(`"secret-of-store"`, `null`):      `upstream of identity "app" needs access_key_id and secret_access_key`,
		edited(`"secret-of-store"`, `1`):         "cannot unmarshal number",
		edited(`"STORE"`, `"STORE", "role": ""`): `unknown field "role"`,
		edited(`"STORE"`, `"STORE", "Secret_Access_Key": "other"`): `member "secret_access_key" is there twice`,
	} {
		t.Run(text[:min(len(text), 80)], func(t *testing.T) {
			environ, path := withIdentities(t, text, 0o600)
			_, err := config.Load(environ)
			if err == nil || !strings.HasPrefix(err.Error(), "identities file "+path+": ") || !strings.Contains(err.Error(), problem) {
				t.Errorf("%v, want %q", err, problem)
			}
		})
	}
}

// edited is the text of two identities with the first place of old changed.
func edited(old, replacement string) string {
	return strings.Replace(twoIdentities, old, replacement, 1)
}

// The file's problem stands beside the variables'.
func TestIdentitiesAndVariables(t *testing.T) {
	environ, path := withIdentities(t, `{}`, 0o600)
	wantProblems(t, append(environ, "SSEPROXY_ACCESS_KEY_ID=app", "SSEPROXY_SECRET_ACCESS_KEY=secret-of-app", "SSEPROXY_KEYRING="), `
SSEPROXY_ACCESS_KEY_ID or SSEPROXY_IDENTITIES, one of them and not both, or SSEPROXY_CREDENTIALS_LISTEN must say who the clients are
SSEPROXY_KEYRING is required: make a file with "sseproxy keys create --key default --keyring FILE"
identities file `+path+`: it has no identities`)
	none := filepath.Join(t.TempDir(), "none")
	wantProblems(t, []string{"SSEPROXY_UPSTREAM=http://store", "SSEPROXY_KEYRING=keyring.json", "SSEPROXY_IDENTITIES=" + none}, `
identities file `+none+`: open `+none+`: no such file or directory`)
}
