package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
)

// Observer hears of what the proxy does. Its methods may be called at the same time, and must be quick.
type Observer interface {
	// Request hears of each client's request, once it has ended.
	Request(RequestOutcome)
	// Upstream hears of each request to the store, once its answer's headers are there.
	Upstream(UpstreamOutcome)
}

// RequestOutcome is what became of a client's request.
type RequestOutcome struct {
	Operation string // in the operations table, or "unknown"
	Status    int    // of the answer; 0 if there was none
	Aborted   bool   // the connection was cut, by the client or since the answer could not be ended well
	Received  int64  // bytes of the payload that the client declared
	Sent      int64  // bytes of the answer's body
	Took      time.Duration
	Damage    string // why a stored object was refused, one of Damages; empty if none was
}

// UpstreamOutcome is what the store said to a request.
type UpstreamOutcome struct {
	Operation string        // that the request is a part of
	Status    int           // of the answer; 0 if none came
	Sent      int64         // bytes of the request's body
	Received  int64         // bytes that the answer says it has, 0 if it does not
	Took      time.Duration // until the answer's headers
}

// Damages are the ways in which a stored object can fail to be what the proxy has sealed.
var Damages = []string{"envelope", "data_key", "trailer", "frame", "size", "wrapped_key", "foreign_key", "not_sealed"}

// damages tells them by their errors, in the same order.
var damages = []error{
	envelope.ErrEnvelope, envelope.ErrUnwrap, envelope.ErrTrailer, envelope.ErrFrame, envelope.ErrSize, keys.ErrIntegrity, errForeignKey, errPlaintext,
}

// damage returns which of Damages an error tells of; none if it tells of something else.
func damage(err error) string {
	for i, known := range damages {
		if errors.Is(err, known) {
			return Damages[i]
		}
	}
	return ""
}

// observe tells the observer of a request that has ended.
func (p *Proxy) observe(q *request, took time.Duration) {
	if p.cfg.Observer == nil {
		return
	}
	o := RequestOutcome{Operation: q.operation(), Status: q.w.status, Aborted: q.w.aborted, Sent: q.w.written, Took: took, Damage: damage(q.err)}
	if q.body != nil {
		o.Received = max(0, q.body.Length())
	}
	p.cfg.Observer.Request(o)
}

// observeUpstream tells the observer what the store said to a request; resp is nil if it said nothing.
func (p *Proxy) observeUpstream(q *request, out outgoing, resp *http.Response, took time.Duration) {
	if p.cfg.Observer == nil {
		return
	}
	o := UpstreamOutcome{Operation: q.acts(), Sent: out.length, Took: took}
	if resp != nil {
		o.Status = resp.StatusCode
	}
	if resp != nil && out.method != http.MethodHead {
		o.Received = max(0, resp.ContentLength)
	}
	p.cfg.Observer.Upstream(o)
}
