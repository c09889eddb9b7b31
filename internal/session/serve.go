package session

import (
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
)

// Path is where credentials are to be had.
const Path = "/credentials"

// ServeHTTP implements http.Handler for an SDK's request. Who cannot read the file with the token gets nothing, nor does a request that
// somebody passes on (a header says so, or another host's name), which an app can be led to make for a stranger.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != Path:
		refuse(w, http.StatusNotFound, "NotFound", "Credentials are at "+Path+".")
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "Credentials are for GET alone.")
	case !isLoopback(r.Host), r.Header["Forwarded"] != nil, r.Header["X-Forwarded-For"] != nil, r.Header["Via"] != nil:
		refuse(w, http.StatusForbidden, "AccessDenied", "Credentials are for this host alone.")
	case subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(i.token)) != 1:
		refuse(w, http.StatusUnauthorized, "AccessDenied",
			"The Authorization header is not the token. Set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to the file that SSEPROXY_CREDENTIALS_TOKEN_FILE names.")
	default:
		reply(w, http.StatusOK, i.Issue())
	}
}

// isLoopback reports whether a Host header names this host by a loopback address, or by the name that cannot be another's (RFC 6761,
// section 6.3).
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// refuse answers with an error in the form that SDKs show.
func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asks may have gone
}
