package proxy

import (
	"net/http"
	"sync"
	"time"
)

// patience bounds how long a client may neither send nor take a byte that the proxy waits for. It is for HTTP/1; the server's own timeouts
// are for HTTP/2, where a stream's deadline would also run while nobody reads from it.
type patience struct {
	most       time.Duration
	connection *http.ResponseController // nil: no bound

	mu               sync.Mutex // the body may be read while the answer is written, and longer
	over             bool       // the connection is the server's again
	reading, writing time.Time  // when the deadlines were last set
}

func newPatience(w http.ResponseWriter, r *http.Request, most time.Duration) *patience {
	p := &patience{most: most}
	if most > 0 && r.ProtoMajor == 1 {
		p.connection = http.NewResponseController(w)
		_ = p.connection.SetWriteDeadline(time.Time{}) // that of the request before, if there is a connection at all
	}
	return p
}

// read is called before a read of the body. A deadline that was set a moment ago is good enough.
func (p *patience) read() { p.await(&p.reading, (*http.ResponseController).SetReadDeadline) }

// write is called before a write of the answer.
func (p *patience) write() { p.await(&p.writing, (*http.ResponseController).SetWriteDeadline) }

func (p *patience) await(last *time.Time, set func(*http.ResponseController, time.Time) error) {
	if p.connection == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); !p.over && now.Sub(*last) > p.most/8 {
		_ = set(p.connection, now.Add(p.most))
		*last = now
	}
}

// readAll is called at the end of the body: from there on the server listens for the client's going away.
func (p *patience) readAll() {
	if p.connection == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = p.connection.SetReadDeadline(time.Time{})
	}
}

// end gives the connection back to the server, which may have to write the end of the answer.
func (p *patience) end() {
	if p.connection == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.connection.SetWriteDeadline(time.Now().Add(p.most))
	p.over = true
}
