package proxy

import (
	"maps"
	"net/http"
	"strings"
	"sync"
)

// The store's CORS configuration of a bucket decides what a browser may do there, so the store is asked: its answer to a
// preflight goes to the browser, and with every other request that names an origin its Access-Control headers do.

// isCORS reports whether a header of the store's answer is for the browser.
func isCORS(name string) bool { return name == "Vary" || strings.HasPrefix(name, "Access-Control-") }

// preflightHeader returns what of a browser's preflight goes to the store. Nobody signs one (Fetch Standard, "CORS-preflight
// fetch"), and it carries nothing but an origin, a method and names of headers.
func preflightHeader(h http.Header) http.Header {
	out := make(http.Header)
	for _, name := range []string{"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"} {
		if values, ok := h[name]; ok {
			out[name] = values
		}
	}
	return out
}

// preflight asks the store whether a browser may send a request.
func (p *Proxy) preflight(q *request) error {
	if q.header.Get("Origin") == "" {
		return newError("BadRequest", "Insufficient information. Origin request header needed.")
	}
	resp, err := p.send(q, outgoing{method: q.method, target: q.target, header: q.header.Clone(), anonymous: true})
	if err != nil {
		return err
	}
	if err := q.expect(resp, http.StatusOK, http.StatusNoContent); err != nil {
		return err
	}
	q.w.Header().Set("Content-Length", "0")
	return closing(resp, q.reply(http.StatusOK, nil))
}

// corsHeaders are what the store says to the browser in its answers to one request.
type corsHeaders struct {
	mu     sync.Mutex
	header http.Header
}

func (c *corsHeaders) note(answer http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, values := range answer {
		if isCORS(name) {
			if c.header == nil {
				c.header = make(http.Header)
			}
			c.header[name] = values
		}
	}
}

// show adds them to the proxy's own answer.
func (c *corsHeaders) show(h http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(h, c.header)
}
