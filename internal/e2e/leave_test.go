package e2e_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// upstream is the proxy's transport. It counts the open connections to the store, and ends them with a reset: to a store
// that takes the end of a connection for the end of a body (versitygw does) an upload that is cut off must look like a fault.
type upstream struct {
	*http.Transport
	open atomic.Int64
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{Transport: &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: time.Second, ResponseHeaderTimeout: 5 * time.Second,
	}}
	u.DialContext = u.dial
	t.Cleanup(u.CloseIdleConnections)
	return u
}

func (u *upstream) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	u.open.Add(1)
	return &upstreamConn{Conn: c, closed: sync.OnceFunc(func() { u.open.Add(-1) })}, nil
}

type upstreamConn struct {
	net.Conn
	closed func()
}

func (c *upstreamConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// rest waits until the proxy has nothing more to do with the store.
func (u *upstream) rest(t testing.TB) {
	t.Helper()
	eventually(t, "the proxy's requests to the store end", func() bool {
		u.CloseIdleConnections()
		return u.open.Load() == 0
	})
}

// hangUp closes a connection, by a reset or in order.
func hangUp(c net.Conn, reset bool) {
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// TestClientLeavesPut: the store sees no end of an upload whose client has gone, and is let go at once.
func TestClientLeavesPut(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		r.put(t, "key", []byte("what was there"))
		r.upstream.rest(t)
		plain := pattern(5 << 20)
		for _, after := range []int{0, 100, frame, 1 << 20, len(plain) - 1} {
			for _, reset := range []bool{false, true} {
				r.wire.Reset()
				head, sent := r.putMessage("key", unsignedPayload, text(plain)).wire(t, r.url)
				c := r.dial(t)
				testbed.Must(io.WriteString(c, head+sent[:after]))(t)
				if after >= 1<<20 {
					eventually(t, "the upload is under way", func() bool {
						return slices.ContainsFunc(r.wire.Requests(), func(x testbed.Exchange) bool { return x.Size > 500_000 })
					})
				}
				hangUp(c, reset)
				r.upstream.rest(t)
				for _, x := range r.wire.Requests() {
					if x.Size >= envelope.SealedSize(int64(len(plain))) || x.Status == http.StatusOK {
						t.Errorf("gone after %d bytes: the store was sent %d and answered %d", after, x.Size, x.Status)
					}
				}
			}
		}
		if store.Name == "versitygw" {
			return // the wire does not pass resets on, and this store takes the end of a connection for the end of a body
		}
		if got, _, err := r.get(t, "key", ""); err != nil || string(got) != "what was there" {
			t.Errorf("the old object is %q, %v", got, err)
		}
	})
}

// TestClientLeavesGet: nothing more is fetched for a client that has gone.
func TestClientLeavesGet(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", pattern(8<<20))
	r.upstream.rest(t)
	r.wire.AlterResponse(func(resp *http.Response) error { resp.Body = &trickle{resp.Body}; return nil })
	for _, reset := range []bool{false, true} {
		r.wire.Reset()
		head, _ := message{method: http.MethodGet, target: "/" + r.bucket + "/key", hash: sha256hex("")}.wire(t, r.url)
		c := r.dial(t)
		testbed.Must(io.WriteString(c, head))(t)
		testbed.Must(io.ReadFull(c, make([]byte, 100_000)))(t)
		hangUp(c, reset)
		r.upstream.rest(t)
		if x := r.wire.Requests(); len(x) != 1 || x[0].ResponseSize > 6<<20 {
			t.Errorf("%d requests, %d bytes came", len(x), x[0].ResponseSize)
		}
	}
}

// TestClientLeavesEarly: nor does the proxy wait for a store's answer for one that has gone.
func TestClientLeavesEarly(t *testing.T) {
	asked := make(chan bool)
	r := newRig(t, testbed.Store(t), at(t, fake(t, func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, defaultEncryptionObject) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		asked <- true
		<-req.Context().Done()
	})))
	r.upstream.ResponseHeaderTimeout = time.Minute
	for _, m := range []message{
		{method: http.MethodGet, target: "/" + r.bucket + "/key", hash: sha256hex("")},
		{method: http.MethodGet, target: "/" + r.bucket + "?list-type=2", hash: sha256hex("")},
		r.putMessage("key", unsignedPayload, text(pattern(10))),
		r.putMessage("key", unsignedPayload, text(pattern(3<<20))),
	} {
		for _, reset := range []bool{false, true} {
			head, sent := m.wire(t, r.url)
			c := r.dial(t)
			testbed.Must(io.WriteString(c, head+sent))(t)
			<-asked
			hangUp(c, reset)
			r.upstream.rest(t)
		}
	}
}

// trickle is a body that comes slowly: 8 MiB in some 2 seconds.
type trickle struct{ io.ReadCloser }

func (s *trickle) Read(p []byte) (int, error) {
	time.Sleep(2 * time.Millisecond)
	return s.ReadCloser.Read(p[:min(len(p), 8<<10)])
}

// TestNothingLeaks: after hundreds of faults there are no more goroutines than before.
func TestNothingLeaks(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	body := pattern(3 << 20)
	r.put(t, "key", body)
	count := func() int {
		r.upstream.rest(t)
		r.server.CloseClientConnections()
		return runtime.NumGoroutine()
	}
	before := count()
	for i := range 50 {
		r.wire.AlterRequest(func(req *http.Request) error { req.Body = testbed.CutAfter(req.Body, int64(i)*50_000); return nil })
		_, _ = r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("new"), Body: bytes.NewReader(body)})
		r.wire.AlterRequest(nil)
		r.wire.AlterResponse(func(resp *http.Response) error { resp.Body = testbed.CutAfter(resp.Body, int64(i)*50_000); return nil })
		_, _, _ = r.get(t, "key", "")
		r.wire.AlterResponse(nil)
		head, sent := r.putMessage("new", unsignedPayload, text(body)).wire(t, r.url)
		c := r.dial(t)
		_, _ = io.WriteString(c, head+sent[:i*50_000])
		hangUp(c, i%2 == 0)
		head, _ = message{method: http.MethodGet, target: "/" + r.bucket + "/key", hash: sha256hex("")}.wire(t, r.url)
		c = r.dial(t)
		_, _ = io.WriteString(c, head)
		_, _ = io.ReadFull(c, make([]byte, i*1000))
		hangUp(c, i%2 == 0)
	}
	eventually(t, "there are no more goroutines than before", func() bool { return count() <= before })
	if t.Failed() {
		stacks := make([]byte, 1<<20)
		t.Logf("%d before:\n%s", before, stacks[:runtime.Stack(stacks, true)])
	}
}
