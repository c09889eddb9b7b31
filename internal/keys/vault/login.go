package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/sseproxy/sseproxy/internal/keys"
)

const (
	minPause = 5 * time.Second // before another login, when one failed or its token is refused
	maxPause = time.Minute     // when many failed
)

// Auth says how a Provider gets its token.
type Auth struct {
	Method string // "token", "kubernetes" or "approle"
	Mount  string // of the login method; not for "token"
	Role   string // of Kubernetes, or the role id
	File   string // with the token, the service account's token or the secret id; read again for each use
}

// session holds the token of the last login. Whoever has the lock may change it.
type session struct {
	lock  chan struct{}
	token string
	renew time.Time     // when to log in again; zero is never
	tried time.Time     // the last login
	pause time.Duration // after the last login, when it failed
	err   error         // of the last login
}

func newSession() session { return session{lock: make(chan struct{}, 1)} }

// token returns a token that is not the refused one, or for want of it that one. A login that fails is not repeated before a
// pause, which grows, and one is not made for the refusal of a token that is new: so neither makes a loop.
func (p *Provider) token(ctx context.Context, refused string) (string, error) {
	if p.cfg.Auth.Method == "token" {
		return p.secret()
	}
	s := &p.login
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := time.Now()
	young := s.token != "" && (s.renew.IsZero() || now.Before(s.renew))
	since := now.Sub(s.tried)
	switch {
	case young && s.token != refused:
		return s.token, nil
	case since < s.pause:
	case young && since < minPause: // refused though it is new: a policy denies
	default:
		s.tried = now
		s.err = p.logIn(ctx, now)
	}
	if s.err == nil || s.token != "" && s.token != refused {
		return s.token, nil
	}
	return "", s.err
}

// logIn gets a new token and notes when it is due: replicas that started together do not come together again.
func (p *Provider) logIn(ctx context.Context, now time.Time) error {
	s := &p.login
	token, lease, err := p.authenticate(ctx)
	if err != nil {
		if ctx.Err() == nil { // a caller who went away is no reason to wait
			s.pause = min(max(2*s.pause, minPause), maxPause)
		}
		return fmt.Errorf("logging in: %w", err)
	}
	s.token, s.pause, s.renew = token, 0, time.Time{}
	if lease > 0 {
		s.renew = now.Add(lease/2 + mathrand.N(lease/4)) //nolint:gosec // no secret
	}
	return nil
}

func (p *Provider) authenticate(ctx context.Context) (token string, lease time.Duration, err error) {
	secret, err := p.secret()
	if err != nil {
		return "", 0, err
	}
	in := map[string]string{"role": p.cfg.Auth.Role, "jwt": secret}
	if p.cfg.Auth.Method == "approle" {
		in = map[string]string{"role_id": p.cfg.Auth.Role, "secret_id": secret}
	}
	a, err := p.exchange(ctx, "", http.MethodPost, "auth/"+p.cfg.Auth.Mount+"/login", in)
	if err != nil {
		return "", 0, err
	}
	var auth struct {
		Token string `json:"client_token"`
		Lease int64  `json:"lease_duration"` // seconds
	}
	if err := json.Unmarshal(a.Auth, &auth); err != nil || auth.Token == "" {
		return "", 0, fmt.Errorf("%w: a login with no token", keys.ErrUnavailable)
	}
	return auth.Token, time.Duration(auth.Lease) * time.Second, nil
}

func (p *Provider) secret() (string, error) {
	b, err := os.ReadFile(p.cfg.Auth.File)
	if err == nil && len(bytes.TrimSpace(b)) == 0 {
		err = fmt.Errorf("%s is empty", p.cfg.Auth.File)
	}
	if err != nil {
		return "", fmt.Errorf("%w: no credentials for Vault: %w", keys.ErrUnavailable, err)
	}
	return string(bytes.TrimSpace(b)), nil
}
