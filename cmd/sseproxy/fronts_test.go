package main

import (
	"net/http"
	"net/netip"
	"testing"
)

// TestSecure: the word of what ends TLS in front of the proxy is taken from its own networks alone.
func TestSecure(t *testing.T) {
	isSecure := isSecure([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
	for _, test := range []struct {
		from  string
		proto []string
		want  bool
	}{
		{"10.1.2.3:4", []string{"https"}, true},
		{"[::ffff:10.1.2.3]:4", []string{"https"}, true},
		{"[fd00::1]:4", []string{"https"}, true},
		{"11.1.2.3:4", []string{"https"}, false},
		{"10.1.2.3:4", []string{"http"}, false},
		{"10.1.2.3:4", nil, false},
		{"10.1.2.3:4", []string{"https", "http"}, false},
		{"10.1.2.3:4", []string{"https,http"}, false},
		{"@", []string{"https"}, false},
	} {
		r := &http.Request{RemoteAddr: test.from, Header: http.Header{}}
		if test.proto != nil {
			r.Header["X-Forwarded-Proto"] = test.proto
		}
		if got := isSecure(r); got != test.want {
			t.Errorf("from %s, %q: %v", test.from, test.proto, got)
		}
	}
}
