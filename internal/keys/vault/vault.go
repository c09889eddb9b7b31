// Package vault is the key provider whose KEKs are in Transit, the encryption engine of HashiCorp Vault and of OpenBao.
package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// A call ends, with its retries, within 7 s: before the 10 s that the key cache gives it.
const (
	attempts       = 3
	attemptTimeout = 2 * time.Second
	maxBackoff     = 500 * time.Millisecond // a random part of it is waited

	maxAnswer = 1 << 20 // bytes
	wrapLabel = "sseproxy/1 vault wrap"
)

// Config configures New.
type Config struct {
	Address   string         // of the server, such as https://vault.example:8200
	Namespace string         // of Vault Enterprise and OpenBao; empty for none
	Mount     string         // of Transit, such as transit
	Roots     *x509.CertPool // to trust for the server; nil is the system's
	Auth      Auth
}

// Provider asks Transit. A key id is the name of a Transit key of type aes256-gcm96 or chacha20-poly1305, not derived.
//
// A wrapped key is Transit's ciphertext of it, a text that names the version. The context is bound as associated data, which the
// cipher authenticates. Transit's own parameter context is another thing: only derived keys heed it. For want of associated data
// Transit's data keys cannot be used, so the key is made here and Transit encrypts it.
type Provider struct {
	cfg    Config
	client *http.Client
	login  session
	bound  atomic.Bool // the server heeds associated data
}

// New makes a Provider.
func New(cfg Config) *Provider {
	return &Provider{cfg: cfg, login: newSession(), client: &http.Client{
		Timeout: attemptTimeout,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     90 * time.Second,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 || r.URL.Scheme != via[0].URL.Scheme {
				return errors.New("redirected too often, or away from TLS")
			}
			return nil // from a standby to the active node
		},
	}}
}

// GenerateKey implements keys.Provider.
func (p *Provider) GenerateKey(ctx context.Context, keyID string, ec keys.Context) (keys.Key, error) {
	// Encrypting under a key that is missing would make it, if the policy allows that.
	if _, err := p.Check(ctx, keyID); err != nil {
		return keys.Key{}, err
	}
	plaintext := make([]byte, keys.KeySize)
	rand.Read(plaintext)
	var out struct {
		Ciphertext string `json:"ciphertext"`
	}
	in := map[string]string{"plaintext": encode(plaintext), "associated_data": encode(keys.Binding(wrapLabel, keyID, ec))}
	if err := p.call(ctx, http.MethodPost, "/encrypt/", keyID, in, &out); err != nil {
		return keys.Key{}, err
	}
	wrapped := []byte(out.Ciphertext)
	version, err := parse(keyID, wrapped)
	if err != nil {
		return keys.Key{}, err
	}
	if err := p.prove(ctx, keyID, wrapped); err != nil {
		return keys.Key{}, err
	}
	return keys.Key{Plaintext: plaintext, Wrapped: wrapped, Version: version}, nil
}

// prove makes sure, once, that the server heeds associated data: one that does not know the parameter ignores it.
func (p *Provider) prove(ctx context.Context, keyID string, wrapped []byte) error {
	if p.bound.Load() {
		return nil
	}
	_, err := p.open(ctx, keyID, wrapped, []byte("of nothing"))
	if err == nil {
		return fmt.Errorf("key %s: %w: the server ignores associated_data; Vault 1.13 or OpenBao is needed", keyID, keys.ErrInvalidState)
	}
	if !errors.Is(err, keys.ErrIntegrity) {
		return err
	}
	p.bound.Store(true)
	return nil
}

// UnwrapKey implements keys.Provider.
func (p *Provider) UnwrapKey(ctx context.Context, keyID string, wrapped []byte, ec keys.Context) (keys.Key, error) {
	version, err := parse(keyID, wrapped)
	if err != nil {
		return keys.Key{}, err
	}
	plaintext, err := p.open(ctx, keyID, wrapped, keys.Binding(wrapLabel, keyID, ec))
	if err != nil {
		return keys.Key{}, err
	}
	return keys.Key{Plaintext: plaintext, Wrapped: bytes.Clone(wrapped), Version: version}, nil
}

func (p *Provider) open(ctx context.Context, keyID string, wrapped, binding []byte) ([]byte, error) {
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	in := map[string]string{"ciphertext": string(wrapped), "associated_data": encode(binding)}
	err := p.call(ctx, http.MethodPost, "/decrypt/", keyID, in, &out)
	return out.Plaintext, err
}

// Check implements keys.Provider.
func (p *Provider) Check(ctx context.Context, keyID string) (string, error) {
	var key struct {
		Type    string `json:"type"`
		Derived bool   `json:"derived"`
		Latest  int    `json:"latest_version"`
	}
	if err := p.call(ctx, http.MethodGet, "/keys/", keyID, nil, &key); err != nil {
		return "", err
	}
	if (key.Type != "aes256-gcm96" && key.Type != "chacha20-poly1305") || key.Derived {
		return "", fmt.Errorf("key %s: %w: its type is %q (derived: %t), not aes256-gcm96 or chacha20-poly1305, not derived",
			keyID, keys.ErrInvalidState, key.Type, key.Derived)
	}
	return strconv.Itoa(key.Latest), nil
}

var (
	keyName    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)
	ciphertext = regexp.MustCompile(`^vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]{80}$`) // nonce(12), key(32), tag(16)
)

// parse holds a wrapped key to its one form: Transit reads base64 with line ends in it. It returns the version.
func parse(keyID string, wrapped []byte) (string, error) {
	m := ciphertext.FindSubmatch(wrapped)
	if m == nil {
		return "", fmt.Errorf("key %s: %w: not a ciphertext of Transit for a key", keyID, keys.ErrIntegrity)
	}
	return string(m[1]), nil
}

// call asks for a key, again when the server cannot answer now.
func (p *Provider) call(ctx context.Context, method, operation, keyID string, in, out any) error {
	if !keyName.MatchString(keyID) {
		return fmt.Errorf("key %q: %w: it is not a name of Transit", keyID, keys.ErrNotFound)
	}
	path := p.cfg.Mount + operation + keyID
	for n := 1; ; n++ {
		err := p.authorized(ctx, method, path, in, out)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("key %s: %w", keyID, ctx.Err())
		case n == attempts || !errors.Is(err, keys.ErrUnavailable):
			return fmt.Errorf("key %s: %w", keyID, err)
		}
		if err := pause(ctx, mathrand.N(maxBackoff)); err != nil { //nolint:gosec // no secret
			return fmt.Errorf("key %s: %w", keyID, err)
		}
	}
}

// authorized sends a request with a token. A refusal may mean that the token is gone: then it is sent once more with a new one, if
// one can be had.
func (p *Provider) authorized(ctx context.Context, method, path string, in, out any) error {
	token, err := p.token(ctx, "")
	if err != nil {
		return err
	}
	err = p.send(ctx, token, method, path, in, out)
	if !errors.Is(err, keys.ErrDenied) {
		return err
	}
	again, loginErr := p.token(ctx, token)
	if loginErr != nil {
		return loginErr
	}
	if again == token {
		return err
	}
	return p.send(ctx, again, method, path, in, out)
}

// answer is the frame of what the server says.
type answer struct {
	Data   json.RawMessage `json:"data"`
	Auth   json.RawMessage `json:"auth"`
	Errors []string        `json:"errors"`
}

// send makes one request and decodes the data of its answer.
func (p *Provider) send(ctx context.Context, token, method, path string, in, out any) error {
	a, err := p.exchange(ctx, token, method, path, in)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.Data, out); err != nil {
		return fmt.Errorf("%w: %s: %s", keys.ErrUnavailable, path, err.Error())
	}
	return nil
}

func (p *Provider) exchange(ctx context.Context, token, method, path string, in any) (answer, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return answer{}, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, p.cfg.Address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("X-Vault-Request", "true") // what an agent in between may demand
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	if p.cfg.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", p.cfg.Namespace)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		// In words only: a timeout of one attempt must not look like the end of the caller's time.
		return answer{}, fmt.Errorf("%w: %s", keys.ErrUnavailable, err.Error())
	}
	defer resp.Body.Close()                                    //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) //nolint:forbidigo // limited
	if err != nil {
		return answer{}, fmt.Errorf("%w: %s: %s", keys.ErrUnavailable, path, err.Error())
	}
	var a answer
	err = json.Unmarshal(b, &a)
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%w: %s: %s", kind(resp.StatusCode, path, a.Errors), path, strings.Join(append(a.Errors, resp.Status), "; "))
	}
	if err != nil {
		return answer{}, fmt.Errorf("%w: %s: %s", keys.ErrUnavailable, path, err.Error())
	}
	return a, nil
}

// kind puts a refusal in the words of package keys. Of what is wrong with a request Transit tells in prose alone.
func kind(status int, path string, said []string) error {
	text := strings.Join(said, "; ")
	switch {
	case status == http.StatusNotFound, strings.Contains(text, "key not found"), strings.Contains(text, "version is too new"):
		return keys.ErrNotFound
	case strings.Contains(text, "too old"): // below min_decryption_version
		return keys.ErrDisabled
	case status == http.StatusForbidden:
		return keys.ErrDenied
	case strings.HasSuffix(path, "/login") && (status == http.StatusBadRequest || strings.Contains(text, "invalid secret id")):
		return keys.ErrDenied // some versions call it a fault of theirs
	case status == http.StatusBadRequest && strings.Contains(path, "/decrypt/"):
		return keys.ErrIntegrity
	case status == http.StatusBadRequest:
		return keys.ErrInvalidState
	}
	return keys.ErrUnavailable
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
