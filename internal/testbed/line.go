package testbed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	maxHead = 64 << 10 // bytes
	linger  = 500 * time.Millisecond
)

// line is one connection through a Wire: requests run one way and answers the other.
type line struct {
	wire           *Wire
	client, server net.Conn
	asked          chan *exchange // requests that wait for an answer
}

func newLine(w *Wire, client, server net.Conn) *line {
	return &line{wire: w, client: client, server: server, asked: make(chan *exchange, 16)}
}

// Errors that end a line, beside io.EOF: the side that reads has left, or the Wire cannot go on.
var (
	errGone      = errors.New("gone")
	errMalformed = errors.New("malformed")
)

func (l *line) carry() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := l.requests()
		l.check(err)
		if errors.Is(err, errGone) {
			// The server may have answered in the middle of a request, and closed. To close here with bytes unread
			// would reset the connection, and the client might lose the answer.
			_, _ = io.Copy(io.Discard, l.client)
		}
		closeAll(l.client, l.server)
	}()
	err := l.responses()
	l.check(err)
	if tcp, ok := l.client.(*net.TCPConn); ok && errors.Is(err, io.EOF) {
		_ = tcp.CloseWrite()
		_ = tcp.SetReadDeadline(time.Now().Add(linger))
	} else {
		closeAll(l.client)
	}
	<-done
}

func (l *line) check(err error) {
	if errors.Is(err, errMalformed) {
		l.wire.t.Errorf("wire to %s: %v", l.wire.target, err)
	}
}

// requests carries requests until the client closes, which is io.EOF.
//
//nolint:bodyclose // there are no responses here
func (l *line) requests() error {
	from := bufio.NewReaderSize(l.client, maxHead)
	for {
		head, err := readHead(from)
		if err != nil {
			return err
		}
		req, err := http.ReadRequest(from)
		if err != nil {
			return fmt.Errorf("%w request %.200q: %w", errMalformed, head, err)
		}
		x := l.wire.record(req)
		req.Body = readCloser{io.TeeReader(req.Body, x), req.Body}
		body := req.Body
		if alter, _ := l.wire.hooks(); alter != nil {
			if err := alter(req); err != nil {
				return err
			}
			head = requestHead(req)
		}
		l.asked <- x
		f := framingOf(req.Header, req.TransferEncoding)
		if f == toEnd {
			f = 0
		}
		if err := send(l.server, head, req.Body, f, &req.Trailer); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil { // where a hook has put another in its place
			return err
		}
	}
}

// responses carries answers until the server closes, which is io.EOF.
//
//nolint:bodyclose // send reads each body to its end
func (l *line) responses() error {
	from := bufio.NewReaderSize(l.server, maxHead)
	var x *exchange
	for {
		head, err := readHead(from)
		if err != nil {
			return err
		}
		if x == nil {
			select {
			case x = <-l.asked:
			default:
				return fmt.Errorf("%w: an answer without a request: %.200q", errMalformed, head)
			}
		}
		resp, err := http.ReadResponse(from, x.request)
		if err != nil {
			return fmt.Errorf("%w answer %.200q: %w", errMalformed, head, err)
		}
		if resp.StatusCode < 200 { // 100 Continue: the answer is still to come
			if _, err := l.client.Write(head); err != nil {
				return errGone
			}
			continue
		}
		if err := l.answer(x, head, resp); err != nil {
			return err
		}
		x = nil
	}
}

// answer carries one answer.
//
//nolint:bodyclose // as in responses
func (l *line) answer(x *exchange, head []byte, resp *http.Response) error {
	x.answered(resp)
	body := resp.Body
	if _, alter := l.wire.hooks(); alter != nil {
		if err := alter(resp); err != nil {
			return err
		}
		head = responseHead(resp)
	}
	f := framingOf(resp.Header, resp.TransferEncoding)
	if x.request.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		f, resp.Body = 0, http.NoBody
	}
	if err := send(l.client, head, io.TeeReader(resp.Body, answerSize{x}), f, &resp.Trailer); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, body) // as in requests
	return err
}

// readHead copies a message's first line and header, with the empty line after it, and leaves them to be read: one
// reader serves all that comes, so no body can swallow the head behind it.
func readHead(from *bufio.Reader) ([]byte, error) {
	for n := 1; ; n = from.Buffered() + 1 {
		_, err := from.Peek(n)
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%w: a head of more than %d bytes", errMalformed, maxHead)
		}
		if err != nil {
			return nil, err
		}
		came, _ := from.Peek(from.Buffered())
		for _, end := range []string{"\n\r\n", "\n\n"} {
			if i := bytes.Index(came, []byte(end)); i >= 0 {
				return bytes.Clone(came[:i+len(end)]), nil
			}
		}
	}
}

// framing says how a body ends: a length in bytes, or one of the two below.
type framing int64

const (
	chunked framing = -1
	toEnd   framing = -2 // of the connection
)

func framingOf(h http.Header, transferEncoding []string) framing {
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		return framing(n)
	}
	if slices.Contains(transferEncoding, "chunked") {
		return chunked
	}
	return toEnd
}

// send writes a message, each piece at once. The trailer is read after the body, which fills it. A body of another
// length than the head says, and one that ends with the connection, end with io.EOF.
func send(to io.Writer, head []byte, body io.Reader, f framing, trailer *http.Header) error {
	var out bytes.Buffer
	out.Write(head)
	buf, sent := make([]byte, 32<<10), int64(0)
	var end error
	for end == nil {
		if _, err := out.WriteTo(to); err != nil {
			return errGone
		}
		var n int
		n, end = body.Read(buf)
		sent += int64(n)
		if n > 0 && f == chunked {
			fmt.Fprintf(&out, "%x\r\n%s\r\n", n, buf[:n])
		} else {
			out.Write(buf[:n])
		}
	}
	whole := errors.Is(end, io.EOF)
	if whole && f == chunked {
		fmt.Fprint(&out, "0\r\n")
		_ = trailer.Write(&out)
		fmt.Fprint(&out, "\r\n")
	}
	if _, err := out.WriteTo(to); err != nil {
		return errGone
	}
	if whole && (f == chunked || int64(f) == sent) {
		return nil
	}
	return end
}

// requestHead and responseHead write heads anew, for messages that a test has altered.
func requestHead(r *http.Request) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Proto, r.Host)
	return finishHead(&b, r.Header, r.TransferEncoding, r.Trailer)
}

func responseHead(r *http.Response) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %03d %s\r\n", r.Proto, r.StatusCode, http.StatusText(r.StatusCode))
	return finishHead(&b, r.Header, r.TransferEncoding, r.Trailer)
}

func finishHead(b *bytes.Buffer, h http.Header, transferEncoding []string, trailer http.Header) []byte {
	if framingOf(h, transferEncoding) == chunked {
		fmt.Fprint(b, "Transfer-Encoding: chunked\r\n")
	}
	for name := range trailer {
		fmt.Fprintf(b, "Trailer: %s\r\n", name)
	}
	_ = h.Write(b)
	fmt.Fprint(b, "\r\n")
	return b.Bytes()
}

type readCloser struct {
	io.Reader
	io.Closer
}
