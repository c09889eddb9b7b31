package session_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/session"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

const token = "a token of forty-three bytes, at the least."

func issuer(t *testing.T, token string, now func() time.Time) *session.Issuer {
	t.Helper()
	i, err := session.NewIssuer(token, now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Credentials are known until their hour is over, also to a proxy that starts again with the same token; no others are.
func TestSecret(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	first, again, stranger := issuer(t, token, clock), issuer(t, token, clock), issuer(t, token+"x", clock)
	a, b := first.Issue(), first.Issue()
	if a.AccessKeyID == b.AccessKeyID || a.SecretAccessKey == b.SecretAccessKey || a.Token == b.Token || len(a.SecretAccessKey) < 40 || !a.Expiration.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v, %+v", a, b)
	}
	for _, i := range []*session.Issuer{first, again} {
		if got, err := i.Secret(a.AccessKeyID, a.Token); got != a.SecretAccessKey || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(a.Token)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		if _, err := first.Secret(a.AccessKeyID, base64.RawURLEncoding.EncodeToString(raw)); !errors.Is(err, sigv4.ErrToken) {
			t.Fatalf("bit %d is not noticed: %v", bit, err)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
	for name, try := range map[string]struct {
		by        *session.Issuer
		id, token string
	}{
		"another's token":       {first, a.AccessKeyID, b.Token},
		"another access key id": {first, a.AccessKeyID + "A", a.Token},
		"another proxy":         {stranger, a.AccessKeyID, a.Token},
		"none":                  {first, a.AccessKeyID, ""},
		"garbage":               {first, a.AccessKeyID, "garbage!"},
		"longer":                {first, a.AccessKeyID, a.Token + "AAAA"},
		"other encoding":        {first, a.AccessKeyID, a.Token + "="},
	} {
		if got, err := try.by.Secret(try.id, try.token); !errors.Is(err, sigv4.ErrToken) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	now = now.Add(time.Hour - time.Second)
	if _, err := first.Secret(a.AccessKeyID, a.Token); err != nil {
		t.Errorf("in the last second: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := first.Secret(a.AccessKeyID, a.Token); !errors.Is(err, sigv4.ErrExpiredToken) {
		t.Errorf("after an hour: %v", err)
	}
}

// Credentials are for who shows the token, asks at this host, and asks for himself.
func TestServe(t *testing.T) {
	i := issuer(t, token, time.Now)
	ask := func(method, path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:8082"+path, nil)
		r.Header.Set("Authorization", token)
		for n := 0; n < len(header); n += 2 {
			if header[n] == "Host" {
				r.Host = header[n+1]
			}
			r.Header.Set(header[n], header[n+1])
		}
		w := httptest.NewRecorder()
		i.ServeHTTP(w, r)
		return w
	}
	for _, host := range []string{"127.0.0.1:8082", "127.0.0.1", "[::1]:8082", "localhost:8082", "127.9.9.9"} {
		w := ask("GET", "/credentials", "Host", host)
		var c struct {
			AccessKeyID                        string `json:"AccessKeyId"`
			SecretAccessKey, Token, Expiration string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s %v", host, w.Code, w.Body, err)
		}
		if secret, err := i.Secret(c.AccessKeyID, c.Token); err != nil || secret != c.SecretAccessKey {
			t.Errorf("%s: %q, %v", host, secret, err)
		}
		if end, err := time.Parse(time.RFC3339, c.Expiration); err != nil || time.Until(end) > time.Hour || time.Until(end) < time.Hour-time.Minute {
			t.Errorf("%s: %q, %v", host, c.Expiration, err)
		}
	}
	for name, tt := range map[string]struct {
		w      *httptest.ResponseRecorder
		status int
	}{
		"no token":      {ask("GET", "/credentials", "Authorization", ""), http.StatusUnauthorized},
		"another token": {ask("GET", "/credentials", "Authorization", token+"x"), http.StatusUnauthorized},
		"bearer":        {ask("GET", "/credentials", "Authorization", "Bearer "+token), http.StatusUnauthorized},
		"another path":  {ask("GET", "/"), http.StatusNotFound},
		"POST":          {ask("POST", "/credentials"), http.StatusMethodNotAllowed},
		"another host":  {ask("GET", "/credentials", "Host", "localhost.example.com"), http.StatusForbidden},
		"passed on":     {ask("GET", "/credentials", "X-Forwarded-For", "10.0.0.1"), http.StatusForbidden},
	} {
		if tt.w.Code != tt.status || strings.Contains(tt.w.Body.String(), "SecretAccessKey") || strings.Contains(tt.w.Body.String(), token) {
			t.Errorf("%s: %d %s", name, tt.w.Code, tt.w.Body)
		}
	}
}

// The token's file is made once, whoever is first, for an app of any user; one that is there stays, if it is a token.
func TestReadToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	var wait sync.WaitGroup
	tokens := make([]string, 8)
	for n := range tokens {
		wait.Go(func() {
			var err error
			if tokens[n], err = session.ReadToken(path); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	again, err := session.ReadToken(path)
	for _, one := range append(tokens, again) {
		if one != tokens[0] || len(one) < 43 || strings.ContainsAny(one, "\r\n") || err != nil {
			t.Errorf("%q and %q, %v", one, tokens[0], err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("an app of another user cannot read it: %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); len(left) != 1 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
	for _, bad := range []string{"", "short", again + "\n", "not base64, but of forty-three bytes or more"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := session.ReadToken(path); err == nil || strings.Contains(err.Error(), again) {
			t.Errorf("%q is taken: %q, %v", bad, got, err)
		}
	}
	if _, err := session.ReadToken(filepath.Join(t.TempDir(), "no folder", "token")); err == nil {
		t.Error("a folder that is not there")
	}
}
