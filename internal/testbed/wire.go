package testbed

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// bodyKept is how much of a request's body a Wire keeps, in bytes.
const bodyKept = 1 << 20

// Wire is a stretch of network in front of an HTTP/1.1 server. It passes heads on as they came, byte for byte, so
// that a signature over the client's Host and path still verifies; bodies too, but for where a chunked body is cut
// into chunks. Each connection from a client is one connection to the server, and ends with it.
//
// It keeps a record of every request, and can alter what it carries.
type Wire struct {
	URL string // what clients take for the server

	t      testing.TB
	target string
	lines  sync.WaitGroup

	mu            sync.Mutex
	listener      net.Listener
	open          map[net.Conn]bool // nil after the end
	exchanges     []*exchange
	alterRequest  func(*http.Request) error
	alterResponse func(*http.Response) error
}

// Exchange is what a Wire saw of a request and its answer. Everything about the request is there when the client has
// the answer's head, if the server has read the request first; ResponseSize, when it has the answer's body.
type Exchange struct {
	Method string
	Target string // path and query as they came, undecoded
	Host   string
	Header http.Header

	Size   int64 // of the body, without the framing of chunked transfer
	SHA256 [sha256.Size]byte
	Body   []byte // its first MiB

	Status         int // 0 until there is an answer
	ResponseHeader http.Header
	ResponseSize   int64
}

// NewWire starts a Wire to a server, given by its URL: a store, or sseproxy itself. It ends with the test.
func NewWire(t testing.TB, target string) *Wire {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" || u.Port() == "" {
		t.Fatalf("a Wire leads to an http:// URL with a port, not to %q (%v)", target, err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{URL: "http://" + l.Addr().String(), t: t, target: u.Host, listener: l, open: map[net.Conn]bool{}}
	w.lines.Go(w.accept)
	t.Cleanup(w.end)
	return w
}

// Requests lists what came through since the start or the last Reset, in the order of arrival.
func (w *Wire) Requests() []Exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]Exchange, len(w.exchanges))
	for i, x := range w.exchanges {
		list[i] = x.Exchange
		list[i].Body = slices.Clip(x.Body) // what comes is written behind it
		x.sum.Sum(list[i].SHA256[:0])
	}
	return list
}

// Reset empties the list of requests.
func (w *Wire) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exchanges = nil
}

// AlterRequest sets what happens to every request from now on, before it goes to the server; nil for nothing.
// The function may change method, RequestURI, Host, Header and Body. An error from it, or from a body that it has put in
// place, cuts the connection. It is called from several goroutines, and may wait.
//
// The record shows the request as it came.
func (w *Wire) AlterRequest(f func(*http.Request) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alterRequest = f
}

// AlterResponse is AlterRequest for answers: StatusCode, Header and Body can be changed. The head goes out
// as the function leaves it, so it may lie: with a Content-Length that is not the body's, the connection ends
// after the body. Response.Request is the request, its body consumed.
//
// The record shows the status and header as they came, and the size as it went out.
func (w *Wire) AlterResponse(f func(*http.Response) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alterResponse = f
}

func (w *Wire) hooks() (func(*http.Request) error, func(*http.Response) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alterRequest, w.alterResponse
}

func (w *Wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // the end
		}
		w.lines.Go(func() { w.carry(client) })
	}
}

// carry serves one connection.
func (w *Wire) carry(client net.Conn) {
	defer closeAll(client)
	server, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", w.target)
	if err != nil {
		return // the client sees what it would see of a server that is not there: nothing
	}
	defer closeAll(server)
	if !w.hold(client, server) {
		return
	}
	defer w.release(client, server)
	newLine(w, client, server).carry()
}

func (w *Wire) hold(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		return false
	}
	for _, c := range conns {
		w.open[c] = true
	}
	return true
}

func (w *Wire) release(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.open, c)
	}
}

func (w *Wire) end() {
	w.mu.Lock()
	for c := range w.open {
		closeAll(c)
	}
	w.open = nil
	w.mu.Unlock()
	closeAll(w.listener)
	w.lines.Wait()
}

// exchange is a record in the making. Its fields are guarded by the wire's mutex.
type exchange struct {
	Exchange
	wire    *Wire
	request *http.Request
	sum     hash.Hash
}

func (w *Wire) record(req *http.Request) *exchange {
	x := &exchange{wire: w, request: req, sum: sha256.New()}
	x.Method, x.Target, x.Host, x.Header = req.Method, req.RequestURI, req.Host, req.Header.Clone()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exchanges = append(w.exchanges, x)
	return x
}

// Write takes note of bytes of the request's body.
func (x *exchange) Write(p []byte) (int, error) {
	x.wire.mu.Lock()
	defer x.wire.mu.Unlock()
	x.Size += int64(len(p))
	x.Body = append(x.Body, p[:min(len(p), bodyKept-len(x.Body))]...)
	return x.sum.Write(p)
}

func (x *exchange) answered(resp *http.Response) {
	x.wire.mu.Lock()
	defer x.wire.mu.Unlock()
	x.Status, x.ResponseHeader = resp.StatusCode, resp.Header.Clone()
}

// answerSize takes note of bytes of the answer's body.
type answerSize struct{ *exchange }

func (a answerSize) Write(p []byte) (int, error) {
	a.wire.mu.Lock()
	defer a.wire.mu.Unlock()
	a.ResponseSize += int64(len(p))
	return len(p), nil
}

// ErrCut is the error of a body that CutAfter has cut.
var ErrCut = errors.New("testbed: cut")

// CutAfter gives a body that fails after n bytes: in a Wire, the connection breaks there.
func CutAfter(body io.ReadCloser, n int64) io.ReadCloser {
	return &cut{ReadCloser: body, left: n}
}

type cut struct {
	io.ReadCloser
	left int64
}

func (c *cut) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.left == 0 {
		return n, ErrCut
	}
	return n, err
}

// Flip gives a body with one bit of the byte at an offset flipped.
func Flip(body io.ReadCloser, at int64) io.ReadCloser {
	return &flip{ReadCloser: body, left: at}
}

type flip struct {
	io.ReadCloser
	left int64 // bytes before the one to flip; negative after it
}

func (f *flip) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.left >= 0 && f.left < int64(n) {
		p[f.left] ^= 1
	}
	f.left -= int64(n)
	return n, err
}
