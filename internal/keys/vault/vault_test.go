package vault_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/keys/keystest"
	"github.com/sseproxy/sseproxy/internal/keys/vault"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// server is a Vault with Transit, and its root token.
type server struct{ url, root string }

// start runs Vault, where it is wanted: it takes minutes to build.
func start(t *testing.T) *server {
	t.Helper()
	program := os.Getenv("SSEPROXY_TEST_VAULT")
	if program == "" {
		t.Skip("SSEPROXY_TEST_VAULT does not name the program in test/vault; .ci/providers sets it")
	}
	said := testbed.Server(t, exec.Command(program), "run .ci/providers", regexp.MustCompile(`^(http://\S+ \S+)$`))
	s := new(server)
	s.url, s.root, _ = strings.Cut(said, " ")
	s.do(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	return s
}

// do makes a request as root and gives the answer's members.
func (s *server) do(t *testing.T, method, path string, in any) map[string]any {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+"/v1/"+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", s.root)
	resp, err := new(http.Client).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s (%v)", method, path, resp.Status, b, err)
	}
	out := map[string]any{}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// key makes a Transit key with a name of its own.
func (s *server) key(t *testing.T, options map[string]any) string {
	t.Helper()
	name := "key-" + strings.ToLower(rand.Text())
	s.do(t, "POST", "transit/keys/"+name, options)
	return name
}

// allow sets the policy of docs/keys.md, for some keys.
func (s *server) allow(t *testing.T, policy string, names ...string) {
	t.Helper()
	text := `path "auth/token/lookup-self" { capabilities = ["read"] }` + "\n"
	for _, name := range names {
		text += fmt.Sprintf(`path "transit/keys/%s" { capabilities = ["read"] }
			path "transit/encrypt/%s" { capabilities = ["update"] }
			path "transit/decrypt/%s" { capabilities = ["update"] }
		`, name, name, name)
	}
	s.do(t, "PUT", "sys/policies/acl/"+policy, map[string]any{"policy": text})
}

// tokenFile makes a token with a policy, in a file.
func (s *server) tokenFile(t *testing.T, policy string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	writeToken(t, path, s.do(t, "POST", "auth/token/create", map[string]any{"policies": []string{policy}}))
	return path
}

func writeToken(t *testing.T, path string, created map[string]any) {
	t.Helper()
	token, _ := created["auth"].(map[string]any)["client_token"].(string)
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *server) provider(url string, auth vault.Auth) *vault.Provider {
	return vault.New(vault.Config{Address: url, Mount: "transit", Auth: auth})
}

func TestVault(t *testing.T) {
	s := start(t)
	keystest.Run(t, func(t *testing.T) keystest.Subject {
		name, other, policy := s.key(t, nil), s.key(t, nil), strings.ToLower(rand.Text())
		s.allow(t, policy, name, other, "missing")
		return keystest.Subject{
			Provider: s.provider(s.url, vault.Auth{Method: "token", File: s.tokenFile(t, policy)}),
			KeyID:    name, OtherID: other, Missing: "missing",
			// Transit has no switch for a key; its policy is the switch.
			Disable:  func(t *testing.T) { s.allow(t, policy, other, "missing") },
			Enable:   func(t *testing.T) { s.allow(t, policy, name, other, "missing") },
			Disabled: keys.ErrDenied,
		}
	})
}

func mustGenerate(t *testing.T, p keys.Provider, keyID string) keys.Key {
	t.Helper()
	k, err := p.GenerateKey(t.Context(), keyID, keys.Context{"name": "value"})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func unwrap(t *testing.T, p keys.Provider, keyID string, k keys.Key) error {
	t.Helper()
	got, err := p.UnwrapKey(t.Context(), keyID, k.Wrapped, keys.Context{"name": "value"})
	if err == nil && (!bytes.Equal(got.Plaintext, k.Plaintext) || got.Version != k.Version) {
		t.Error("unwrapped to another key")
	}
	return err
}

// asRoot gives a provider that may do everything, so that what it does not do is its own doing.
func (s *server) asRoot(t *testing.T, url string) *vault.Provider {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(s.root), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.provider(url, vault.Auth{Method: "token", File: path})
}

func TestRotation(t *testing.T) {
	s := start(t)
	p, name := s.asRoot(t, s.url), s.key(t, nil)
	first := mustGenerate(t, p, name)
	s.do(t, "POST", "transit/keys/"+name+"/rotate", nil)
	if version, err := p.Check(t.Context(), name); version != "2" || err != nil {
		t.Errorf("version %q, %v", version, err)
	}
	second := mustGenerate(t, p, name)
	if first.Version != "1" || second.Version != "2" {
		t.Errorf("versions %q, %q", first.Version, second.Version)
	}
	if err := errors.Join(unwrap(t, p, name, first), unwrap(t, p, name, second)); err != nil {
		t.Error(err)
	}
	s.do(t, "POST", "transit/keys/"+name+"/config", map[string]any{"min_decryption_version": 2})
	if err := unwrap(t, p, name, first); !errors.Is(err, keys.ErrDisabled) {
		t.Errorf("below min_decryption_version: %v", err)
	}
	if err := unwrap(t, p, name, second); err != nil {
		t.Error(err)
	}
	// A key that was deleted does not come back by being used, whatever the policy allows.
	s.do(t, "POST", "transit/keys/"+name+"/config", map[string]any{"deletion_allowed": true})
	s.do(t, "DELETE", "transit/keys/"+name, nil)
	_, generateErr := p.GenerateKey(t.Context(), name, nil)
	_, checkErr := p.Check(t.Context(), name)
	for _, err := range []error{generateErr, checkErr, unwrap(t, p, name, second)} {
		if !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
	}
}

// Keys that cannot bind a context, or bind it in another way, are refused before anything is wrapped under them; so is a name that
// would lead elsewhere.
func TestOtherKeys(t *testing.T) {
	s := start(t)
	p := s.asRoot(t, s.url)
	for _, options := range []map[string]any{{"type": "rsa-4096"}, {"type": "aes128-gcm96"}, {"type": "aes256-gcm96", "derived": true}} {
		if _, err := p.GenerateKey(t.Context(), s.key(t, options), nil); !errors.Is(err, keys.ErrInvalidState) {
			t.Errorf("%v: %v", options, err)
		}
	}
	for _, name := range []string{"", ".", "..", "../keys/main", "a/b", "a?b", "a%2fb", "-a", "a b"} {
		if _, err := p.Check(t.Context(), name); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A wrapped key has one form, though Transit would read others: what is stored cannot be altered and still open.
func TestOneForm(t *testing.T) {
	s := start(t)
	p, name := s.asRoot(t, s.url), s.key(t, nil)
	k := mustGenerate(t, p, name)
	text := string(k.Wrapped)
	for _, altered := range []string{text + "\n", text[:20] + "\r\n" + text[20:], strings.Replace(text, "v1", "v01", 1), strings.Replace(text, "v1", "v+1", 1)} {
		k.Wrapped = []byte(altered)
		if err := unwrap(t, p, name, k); !errors.Is(err, keys.ErrIntegrity) {
			t.Errorf("%q: %v", altered, err)
		}
	}
}

// A server that ignores associated data is found out before a key is given to anybody.
func TestIgnoredAssociatedData(t *testing.T) {
	s := start(t)
	w := testbed.NewWire(t, s.url)
	w.AlterRequest(func(r *http.Request) error {
		b, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(b, []byte(`"associated_data"`), []byte(`"associated_dat_"`), 1)))
		return err
	})
	if _, err := s.asRoot(t, w.URL).GenerateKey(t.Context(), s.key(t, nil), nil); !errors.Is(err, keys.ErrInvalidState) {
		t.Error(err)
	}
}

// answer puts a refusal in place of the server's answer.
func answer(status int) func(*http.Response) error {
	return keystest.Answer(status, `{"errors":["injected"]}`)
}

func TestFaults(t *testing.T) {
	s := start(t)
	w := testbed.NewWire(t, s.url)
	keystest.Faults(t, s.asRoot(t, w.URL), s.key(t, nil), w, map[string]func(*http.Response) error{
		"cut":       func(*http.Response) error { return testbed.ErrCut },
		"throttled": answer(429),
		"sealed":    answer(503),
		"broken":    answer(500),
		"slow":      keystest.Slow,
	})
}

// A token is read again when its file changes: who renews it there needs no restart.
func TestTokenFile(t *testing.T) {
	s := start(t)
	name := s.key(t, nil)
	s.allow(t, "one", name)
	path := s.tokenFile(t, "one")
	p := s.provider(s.url, vault.Auth{Method: "token", File: path})
	k := mustGenerate(t, p, name)
	token, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.do(t, "POST", "auth/token/revoke", map[string]any{"token": strings.TrimSpace(string(token))})
	if err := unwrap(t, p, name, k); !errors.Is(err, keys.ErrDenied) {
		t.Errorf("revoked: %v", err)
	}
	writeToken(t, path, s.do(t, "POST", "auth/token/create", map[string]any{"policies": []string{"one"}}))
	if err := unwrap(t, p, name, k); err != nil {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unwrap(t, p, name, k); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("no file: %v", err)
	}
}

// approle makes a role whose tokens live for ttl, and gives what logs in with it.
func (s *server) approle(t *testing.T, policy, ttl string) vault.Auth {
	t.Helper()
	mount := "approle-" + strings.ToLower(rand.Text())
	s.do(t, "POST", "sys/auth/"+mount, map[string]any{"type": "approle"})
	role := "auth/" + mount + "/role/proxy"
	s.do(t, "POST", role, map[string]any{"token_policies": []string{policy}, "token_ttl": ttl, "token_max_ttl": ttl})
	id, _ := s.do(t, "GET", role+"/role-id", nil)["data"].(map[string]any)["role_id"].(string)
	secret, _ := s.do(t, "POST", role+"/secret-id", nil)["data"].(map[string]any)["secret_id"].(string)
	path := filepath.Join(t.TempDir(), "secret-id")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return vault.Auth{Method: "approle", Mount: mount, Role: id, File: path}
}

func logins(w *testbed.Wire) (n int) {
	for _, x := range w.Requests() {
		if strings.HasSuffix(x.Target, "/login") {
			n++
		}
	}
	return n
}

// Tokens end after two seconds, and nobody notices; logins are no more than must be.
func TestLogin(t *testing.T) {
	s := start(t)
	name := s.key(t, nil)
	s.allow(t, "app", name)
	w := testbed.NewWire(t, s.url)
	p := s.provider(w.URL, s.approle(t, "app", "2s"))
	k := mustGenerate(t, p, name)
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err := unwrap(t, p, name, k); err != nil {
			t.Fatal(err)
		}
	}
	if n := logins(w); n < 5 || n > 9 { // at the end of each token it would be 4
		t.Errorf("%d logins in 8 s", n)
	}
}

// While logins fail for the moment the old token goes on until its end; after that the provider is unavailable, and no key is taken for
// denied. It comes back when logins do.
func TestLoginOutage(t *testing.T) {
	s := start(t)
	name := s.key(t, nil)
	s.allow(t, "app5", name)
	w := testbed.NewWire(t, s.url)
	p := s.provider(w.URL, s.approle(t, "app5", "4s"))
	k := mustGenerate(t, p, name)
	begin := time.Now()
	w.AlterResponse(func(r *http.Response) error {
		if strings.HasSuffix(r.Request.URL.Path, "/login") {
			return answer(503)(r)
		}
		return nil
	})
	for ; time.Since(begin) < 6*time.Second; time.Sleep(100 * time.Millisecond) {
		err := unwrap(t, p, name, k)
		if since := time.Since(begin); err != nil && (since < 3500*time.Millisecond || !errors.Is(err, keys.ErrUnavailable)) {
			t.Fatalf("after %v: %v", since, err)
		}
	}
	if err := unwrap(t, p, name, k); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("after the token's end: %v", err)
	}
	w.AlterResponse(nil)
	for unwrap(t, p, name, k) != nil {
		if time.Since(begin) > 20*time.Second {
			t.Fatal("it does not come back")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A policy that denies, a login that is refused and one that cannot be made do not make a loop of logins.
func TestNoLoginLoop(t *testing.T) {
	s := start(t)
	name := s.key(t, nil)
	s.allow(t, "app2", name)
	w := testbed.NewWire(t, s.url)
	auth := s.approle(t, "app2", "1h")
	p := s.provider(w.URL, auth)
	k := mustGenerate(t, p, name)

	s.allow(t, "app2")
	for range 50 {
		if err := unwrap(t, p, name, k); !errors.Is(err, keys.ErrDenied) {
			t.Fatal(err)
		}
	}
	s.allow(t, "app2", name)
	if err := unwrap(t, p, name, k); err != nil {
		t.Errorf("allowed again: %v", err)
	}
	if n := logins(w); n > 2 {
		t.Errorf("%d logins while a policy denied", n)
	}

	w.Reset()
	if err := os.WriteFile(auth.File, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	p = s.provider(w.URL, auth)
	for range 50 {
		if err := unwrap(t, p, name, k); !errors.Is(err, keys.ErrDenied) {
			t.Fatal(err)
		}
	}
	if n := logins(w); n != 1 {
		t.Errorf("%d logins with a wrong secret id", n)
	}
}

// A revoked token is replaced by a new login, once the last one is a while ago.
func TestRevokedToken(t *testing.T) {
	s := start(t)
	name := s.key(t, nil)
	s.allow(t, "app3", name)
	auth := s.approle(t, "app3", "1h")
	p := s.provider(s.url, auth)
	k := mustGenerate(t, p, name)
	time.Sleep(5 * time.Second)
	s.do(t, "POST", "sys/leases/revoke-force/auth/"+auth.Mount, nil)
	if err := unwrap(t, p, name, k); err != nil {
		t.Error(err)
	}
}

// A service account's token logs in. The server is Vault's method jwt, which takes the same request as its method kubernetes: that one
// would ask a Kubernetes API server about the token.
func TestServiceAccount(t *testing.T) {
	s := start(t)
	name := s.key(t, nil)
	s.allow(t, "app4", name)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	s.do(t, "POST", "sys/auth/jwt", map[string]any{"type": "jwt"})
	s.do(t, "POST", "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": []string{string(public)}})
	s.do(t, "POST", "auth/jwt/role/proxy", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"vault"}, "token_policies": []string{"app4"},
		"bound_subject": "system:serviceaccount:apps:sseproxy",
	})
	path := filepath.Join(t.TempDir(), "token")
	p := s.provider(s.url, vault.Auth{Method: "kubernetes", Mount: "jwt", Role: "proxy", File: path})
	if err := os.WriteFile(path, []byte(serviceAccountToken(t, private)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unwrap(t, p, name, mustGenerate(t, p, name)); err != nil {
		t.Error(err)
	}
}

func serviceAccountToken(t *testing.T, private *ecdsa.PrivateKey) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil,
		`{"sub":"system:serviceaccount:apps:sseproxy","aud":["vault"],"nbf":%d,"exp":%d}`, time.Now().Unix()-60, time.Now().Unix()+3600))
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}
