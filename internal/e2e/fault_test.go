package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// at gives the options of a rig whose store is another than that of its bucket.
func at(t testing.TB, store string) options {
	return options{proxy: func(c *proxy.Config) { c.Upstream = testbed.Must(url.Parse(store))(t) }}
}

// fake starts a store that does what no real one would.
func fake(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// TestStoreLeaves: a store that goes away, or is not there, is a 503 that SDKs try again, and a GET that has begun is cut.
func TestStoreLeaves(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	body := pattern(3 << 20)
	r.put(t, "key", body)
	put := func(n int) error {
		_, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("new"), Body: bytes.NewReader(body[:n])})
		return err
	}
	for _, after := range []int64{0, 1, 1000, frame, 1 << 20, 3 << 20} {
		r.wire.AlterRequest(func(req *http.Request) error { req.Body = testbed.CutAfter(req.Body, after); return nil })
		wantCode(t, put(len(body)), "ServiceUnavailable")
	}
	r.wire.AlterRequest(func(*http.Request) error { return io.EOF })
	r.everyOperation(t, r.bucket, func(what string, err error) { r.wantUnavailable(t, "no request gets through: "+what, err) })
	r.wire.AlterRequest(nil)
	r.wire.AlterResponse(func(*http.Response) error { return io.EOF })
	r.everyOperation(t, r.bucket, func(what string, err error) { r.wantUnavailable(t, "no answer gets through: "+what, err) })
	r.wire.AlterResponse(nil)

	gone := newRig(t, testbed.Store(t), at(t, "http://"+freeAddress(t)))
	gone.everyOperation(t, gone.bucket, func(what string, err error) { r.wantUnavailable(t, "no store: "+what, err) })

	silent := newRig(t, testbed.Store(t), at(t, fake(t, func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		<-req.Context().Done()
	})))
	silent.upstream.ResponseHeaderTimeout, silent.upstream.ExpectContinueTimeout = 50*time.Millisecond, 10*time.Millisecond
	silent.everyOperation(t, silent.bucket, func(what string, err error) { r.wantUnavailable(t, "no answer: "+what, err) })
}

// everyOperation tries one operation of each kind: without a body and with a small, a middle and a large one.
func (r *rig) everyOperation(t testing.TB, bucket string, check func(what string, err error)) {
	t.Helper()
	transport := &http.Transport{ExpectContinueTimeout: time.Second} // as the SDK's own
	t.Cleanup(transport.CloseIdleConnections)
	client, key := r.newClient(t, func(o *s3.Options) { o.HTTPClient = &http.Client{Transport: transport} }), ptr("key")
	_, _, err := r.get(t, *key, "")
	check("GET", err)
	_, _, err = r.get(t, *key, "bytes=0-9")
	check("GET of a range", err)
	_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: key})
	check("HEAD", err)
	_, err = client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	check("LIST", err)
	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: ptr("none")})
	check("DELETE", err)
	_, err = client.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: &bucket})
	check("GetBucketLocation", err)
	for _, n := range []int{0, 10, 1 << 20, 3 << 20} {
		_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: ptr("new"), Body: bytes.NewReader(pattern(n))})
		check(fmt.Sprintf("PUT of %d bytes", n), err)
	}
}

func (r *rig) wantUnavailable(t testing.TB, what string, err error) {
	t.Helper()
	if statusOf(err) != http.StatusServiceUnavailable {
		t.Errorf("%s: %v", what, err)
	}
}

// statusOf returns the status of an SDK's error, 0 if it has none.
func statusOf(err error) int {
	var resp interface{ HTTPStatusCode() int }
	if errors.As(err, &resp) {
		return resp.HTTPStatusCode()
	}
	return 0
}

// TestStoreAnswersEarly: what a store says while the body is still on its way is what the client is told, whether either
// of them waits for 100 Continue or not. Where the store resets the connection behind its answer the answer may be lost, and
// the client is told to try again.
func TestStoreAnswersEarly(t *testing.T) {
	for status, code := range map[int]string{403: "AccessDenied", 412: "PreconditionFailed", 503: "SlowDown"} {
		for _, reads := range []int64{0, 1, 100_000} {
			for _, drains := range []bool{true, false} {
				r := newRig(t, testbed.Store(t), at(t, fake(t, func(w http.ResponseWriter, req *http.Request) {
					if drains {
						_ = http.NewResponseController(w).EnableFullDuplex()
					}
					_, _ = io.CopyN(io.Discard, req.Body, reads)
					body := "<Error><Code>" + code + "</Code><Message>No.</Message></Error>"
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
					w.WriteHeader(status)
					_, _ = io.WriteString(w, body)
					_ = http.NewResponseController(w).Flush()
					if drains {
						_, _ = io.Copy(io.Discard, req.Body)
					}
				})))
				for _, n := range []int{10, frame + 1, 3 << 20, 16 << 20} {
					for _, waits := range []bool{false, true} {
						a := r.sendPolitely(t, r.putMessage("key", unsignedPayload, text(pattern(n))), waits)
						if lost := !drains && reads > 0 && a.Code == "ServiceUnavailable"; !lost && (a.status != status || a.Code != code) {
							t.Errorf("%d bytes, expect=%v, %d after %d bytes, drained=%v: %d %q", n, waits, status, reads, drains, a.status, a.Code)
						}
					}
				}
				r.upstream.rest(t)
			}
		}
	}
}

// TestAnswerWhileSending: a client that sends without waiting, as the AWS SDK for Go does also where it says that it waits,
// reads the refusal and not a reset; one that has stopped sending is not waited for.
func TestAnswerWhileSending(t *testing.T) {
	r := newRig(t, testbed.Store(t), at(t, "http://"+freeAddress(t)))
	thief := testbed.S3Client(t, r.url, accessKey, "wrong", region)
	for range 10 {
		for _, n := range []int{1 << 20, 3 << 20, 16 << 20} {
			in := &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: bytes.NewReader(pattern(n))}
			_, err := thief.PutObject(t.Context(), in)
			wantCode(t, err, "SignatureDoesNotMatch")
			_, err = r.client.PutObject(t.Context(), in)
			wantCode(t, err, "ServiceUnavailable")
			in.WriteOffsetBytes = ptr(int64(1))
			_, err = r.client.PutObject(t.Context(), in)
			wantCode(t, err, "NotImplemented")
		}
	}
	refusing := newRig(t, testbed.Store(t), at(t, fake(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.CopyN(io.Discard, req.Body, 100_000)
		w.WriteHeader(http.StatusForbidden)
	})))
	m := refusing.putMessage("key", unsignedPayload, text(pattern(2<<20)))
	m.missing = 30 << 20
	head, sent := m.wire(t, refusing.url)
	c := refusing.dial(t)
	testbed.Must(io.WriteString(c, head+sent))(t)
	started := time.Now()
	a := readAnswer(t, bufio.NewReader(c), m.method)
	if a.status != http.StatusForbidden && a.status != http.StatusServiceUnavailable || time.Since(started) > 5*time.Second {
		t.Errorf("%d after %v: %s", a.status, time.Since(started), a.body)
	}
}

// sendPolitely sends a message while it reads the answer, and if it waits its body only when it is asked for.
func (r *rig) sendPolitely(t testing.TB, m message, waits bool) answer {
	t.Helper()
	if !waits {
		return r.send(t, m)
	}
	head, sent := m.with("Expect", "100-continue").wire(t, r.url)
	c := r.dial(t)
	testbed.Must(io.WriteString(c, head))(t)
	from := bufio.NewReader(c)
	if first, err := from.Peek(len("HTTP/1.1 100")); err != nil || !bytes.HasSuffix(first, []byte("100")) {
		return readAnswer(t, from, m.method)
	}
	if _, err := http.ReadResponse(from, nil); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(c, sent) }()
	return readAnswer(t, from, m.method)
}

// TestStoreAnswersTooSoon: a 200 that comes before the store has the object, or the part, is no success, and ends the request.
func TestStoreAnswersTooSoon(t *testing.T) {
	store := testbed.Store(t)
	to := testbed.Must(url.Parse(store.URL))(t)
	past := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }}
	r := newRig(t, store, at(t, fake(t, func(w http.ResponseWriter, req *http.Request) {
		if !strings.HasSuffix(req.URL.Path, "/key") || req.Method != http.MethodPut { // the beginning of an upload, and its stashes
			past.ServeHTTP(w, req)
			return
		}
		_, _ = io.CopyN(io.Discard, req.Body, 100_000)
		w.Header().Set("Etag", `"0123"`)
	})))
	part := "key?partNumber=1&uploadId=" + url.QueryEscape(r.startUpload(t, "key", s3.CreateMultipartUploadInput{}))
	for what, m := range map[string]message{
		"an object":    r.putMessage("key", unsignedPayload, text(pattern(32<<20))),
		"a part":       r.putMessage(part, unsignedPayload, text(pattern(32<<20))),
		"a short part": r.putMessage(part, unsignedPayload, text(pattern(4<<20))),
	} {
		if a := r.send(t, m); a.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	r.upstream.rest(t)
}

// TestStoreAnswersInChunks: that an answer comes in chunks changes nothing where its length says nothing; where a length
// is all that tells whether the object is whole, it is refused.
func TestStoreAnswersInChunks(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", pattern(2*frame))
	r.wire.AlterResponse(func(resp *http.Response) error {
		resp.Header.Del("Content-Length")
		resp.TransferEncoding = []string{"chunked"}
		return nil
	})
	r.put(t, "new", []byte("body"))
	if l := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t); *l.KeyCount != 2 {
		t.Errorf("%d keys", *l.KeyCount)
	}
	testbed.Must(r.client.GetBucketAcl(t.Context(), &s3.GetBucketAclInput{Bucket: &r.bucket}))(t)
	for _, byteRange := range []string{"", "bytes=0-9", "bytes=-1"} {
		_, _, err := r.get(t, "key", byteRange)
		wantCode(t, err, "InternalError")
	}
	_, _, err := r.get(t, "none", "")
	wantCode(t, err, "NoSuchKey")
}

// TestStoreTalksNonsense: what is not S3 becomes an error of S3's form, and none of it shows.
func TestStoreTalksNonsense(t *testing.T) {
	var status atomic.Int64
	var header atomic.Pointer[http.Header]
	var body atomic.Pointer[string]
	r := newRig(t, testbed.Store(t), at(t, fake(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		for name, values := range *header.Load() {
			w.Header()[name] = values
		}
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, *body.Load())
	})))
	const page = "<html><body><h1>502 Bad Gateway</h1><p>nginx at 10.1.2.3</body></html>"
	for what, try := range map[string]struct {
		status int
		body   string
		header http.Header
		want   int
	}{
		"HTML":               {502, page, nil, 503},
		"an empty 500":       {500, "", nil, 500},
		"an empty 403":       {403, "", nil, 403},
		"an unknown status":  {666, page, nil, 500},
		"a login page":       {200, page, http.Header{"Content-Type": {"text/html"}}, 500},
		"an empty 200":       {200, "", nil, 500},
		"moved for good":     {301, page, http.Header{"Location": {"http://10.1.2.3/secret"}}, 500},
		"moved for now":      {307, "<Error><Code>TemporaryRedirect</Code><Endpoint>secret.example</Endpoint></Error>", http.Header{"Location": {"http://secret.example/"}}, 500},
		"credentials wanted": {401, page, http.Header{"Www-Authenticate": {"Basic"}}, 500},
		"our signature":      {403, "<Error><Code>SignatureDoesNotMatch</Code><Message>secret</Message></Error>", nil, 500},
		"XML without an end": {404, "<Error><Code>NoSuchKey</Code><Message>cut", nil, 404},
		"a bomb":             {400, "<Error><Code>" + strings.Repeat("A", 1<<20), nil, 400},
	} {
		h := try.header
		status.Store(int64(try.status))
		header.Store(&h)
		body.Store(&try.body)
		r.everyOperation(t, r.bucket, func(op string, err error) {
			want := try.want
			switch {
			case try.status == http.StatusOK && (strings.HasPrefix(op, "PUT") || op == "DELETE" || op == "GetBucketLocation"):
				return // a 200 is the store's word that it has done it
			case try.status == http.StatusOK && op != "LIST", try.status == http.StatusForbidden && op == "HEAD":
				want = http.StatusForbidden // an object without an envelope; an error without its document
			}
			switch {
			case statusOf(err) != want:
				t.Errorf("%s, %s: %v, want %d", what, op, err, want)
			case strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "10.1.2.3"):
				t.Errorf("%s, %s: %v", what, op, err)
			}
		})
	}
	if a := r.send(t, message{method: http.MethodGet, target: "/" + r.bucket + "/key", hash: sha256hex("")}); a.header.Get("Location") != "" || a.header.Get("Www-Authenticate") != "" {
		t.Errorf("shown: %v", a.header)
	}
}

// TestStoreAnswersWithoutEnd: of an answer that has no end, only so much is read as such an answer can have.
func TestStoreAnswersWithoutEnd(t *testing.T) {
	var status atomic.Int64
	r := newRig(t, testbed.Store(t), at(t, fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		for {
			if _, err := w.Write(make([]byte, frame)); err != nil {
				return
			}
		}
	})))
	for _, n := range []int64{200, 404, 503} {
		status.Store(n)
		for _, target := range []string{"?list-type=2", "/key?uploadId=x", "/key"} {
			a := r.send(t, message{method: "GET", target: "/" + r.bucket + target, hash: sha256hex("")})
			if a.Code == "" || n > 200 && a.status != int(n) {
				t.Errorf("%s, %d: %d %s", target, n, a.status, a.body)
			}
		}
	}
	r.upstream.rest(t)
}

// TestStoreSpeaksNoHTTP: nor does anything else hang or crash.
func TestStoreSpeaksNoHTTP(t *testing.T) {
	for what, line := range map[string]string{
		"nothing":          "",
		"another protocol": "220 mail ready\r\n",
		"a bad length":     "HTTP/1.1 500 No\r\nContent-Length: -5\r\n\r\n",
		"a cut error":      "HTTP/1.1 404 No\r\nContent-Length: 5000\r\n\r\n<Error><Code>NoSuchKey</Code>",
		"endless heads":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("a", 1000)+"\r\n", 20_000),
		"only informs":     strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10),
	} {
		l := testbed.Must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close() //nolint:errcheck // it speaks no HTTP
					req, err := http.ReadRequest(bufio.NewReader(c))
					if err != nil {
						return
					}
					head, body, _ := strings.Cut(line, "\r\n\r\n")
					_, _ = io.WriteString(c, head)
					if req.Method != http.MethodHead {
						_, _ = io.WriteString(c, "\r\n\r\n"+body)
					}
				}()
			}
		}()
		r := newRig(t, testbed.Store(t), at(t, "http://"+l.Addr().String()))
		r.upstream.ExpectContinueTimeout = 10 * time.Millisecond
		r.everyOperation(t, r.bucket, func(op string, err error) {
			if statusOf(err) < 500 && (what != "a cut error" || statusOf(err) != http.StatusNotFound) {
				t.Errorf("%s, %s: %v", what, op, err)
			}
		})
		_ = l.Close()
	}
}
