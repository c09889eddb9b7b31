package testbed_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// rawServer answers each connection with the same bytes after it has read as many bytes as were expected, and hands
// out what it has read.
func rawServer(t *testing.T, expect int, answer string) (url string, read <-chan string) {
	t.Helper()
	l := testbed.Must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = l.Close() })
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		b := make([]byte, expect)
		n, _ := io.ReadFull(conn, b)
		got <- string(b[:n])
		_, _ = io.WriteString(conn, answer)
	}()
	return "http://" + l.Addr().String(), got
}

// dial opens a connection to a URL, for ten seconds at most.
func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	conn := testbed.Must(new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://")))(t)
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func exchange(t *testing.T, url, request string) (answer string) {
	t.Helper()
	conn := dial(t, url)
	testbed.Must(io.WriteString(conn, request))(t)
	return string(testbed.Must(io.ReadAll(conn))(t))
}

// Heads and bodies pass as they are: nothing added, nothing cleaned, not even the case of a header's name.
func TestWireIsByteExact(t *testing.T) {
	const answer = "HTTP/1.1 200 Fine\r\netag:\"x\"\r\nx-Amz-Meta-a: 1\r\nx-amz-meta-a:  2 \r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
	for _, target := range []string{
		"/", "/b/a//b", "//b//", "/b/a%2Fb", "/b/a%2fb", "/b/../c", "/b/./c/..", "/b/%2e%2e/c", "/b/a%20b", "/b/a+b", "/b/a%2Bb",
		"/b/k%C3%A4se", "/b/käse", "/b/a?", "/b?list-type=2&prefix=a%2f&delimiter=/", "/b/a?versionId", "/b/a?x=%zz;y", "/b/a|b^`{}\"<>",
		"/b/a\\b", "/b/%00", "/b/a#b", "http://elsewhere/b/a", "/b/" + strings.Repeat("long/", 4000),
	} {
		for _, rest := range []string{
			"Host: bucket.example:8080\r\n\r\n",
			"host:  store \r\nauthorization: AWS4 a=b\r\nx-amz-date: 1\r\nX-AMZ-meta-A: 2\r\nx-amz-meta-a: 1\r\nUser-Agent:\r\nX-Empty: \r\nContent-Length: 5\r\n\r\n\x00\xff\r\n\x01",
			"Host: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\nTE: trailers\r\nConnection: keep-alive, x\r\n\r\n",
		} {
			for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "WEIRD"} {
				request := method + " " + target + " HTTP/1.1\r\n" + rest
				url, read := rawServer(t, len(request), answer)
				w := testbed.NewWire(t, url)
				if got := exchange(t, w.URL, request); got != answer {
					t.Errorf("%q: answered %q", request, got)
				}
				if got := <-read; got != request {
					t.Errorf("sent     %q\narrived  %q", request, got)
				}
				if seen := w.Requests(); len(seen) != 1 || seen[0].Target != target || seen[0].Method != method {
					t.Errorf("recorded %+v", seen)
				}
			}
		}
	}
}

// A signature made for the Wire's address verifies at the store.
func TestWireKeepsSignatures(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		bucket, wire := testbed.Bucket(t, store), testbed.NewWire(t, store.URL)
		c := testbed.S3Client(t, wire.URL, store.AccessKeyID, store.SecretAccessKey, store.Region)
		for _, key := range []string{"a b", "a+b", "a%2Fb", "käse/🧀", "a&b=c;d,e", "~-_.!*'()", "a\tb", "@:$"} {
			put(t, c, bucket, key, key)
			if got := get(t, c, &s3.GetObjectInput{Bucket: &bucket, Key: &key}); got != key {
				t.Errorf("%q holds %q", key, got)
			}
		}
		if seen := wire.Requests(); len(seen) != 16 || seen[4].Target != "/"+bucket+"/a%252Fb?x-id=PutObject" {
			t.Errorf("%d requests, %s", len(seen), seen[4].Target)
		}
	})
}

func TestWireRecords(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(body[:1000])
	}))
	defer server.Close()
	w, c := testbed.NewWire(t, server.URL), testbed.HTTPClient(t)
	for name, reader := range map[string]io.Reader{"length": bytes.NewReader(body), "chunked": io.MultiReader(bytes.NewReader(body))} {
		t.Run(name, func(t *testing.T) {
			w.Reset()
			req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL+"/b/k?x", reader))(t)
			req.Host = "elsewhere"
			req.Header.Set("X-Asked", "yes")
			resp := testbed.Must(c.Do(req))(t)
			if got := testbed.ReadBody(t, resp.Body); !bytes.Equal(got, body[:1000]) {
				t.Errorf("%d bytes of answer", len(got))
			}
			seen := w.Requests()
			if len(seen) != 1 {
				t.Fatalf("%d requests", len(seen))
			}
			x := seen[0]
			if x.Header.Get("X-Asked") != "yes" || x.ResponseHeader.Get("X-Answer") != "yes" {
				t.Errorf("headers %v, %v", x.Header, x.ResponseHeader)
			}
			if !bytes.Equal(x.Body, body[:1<<20]) {
				t.Errorf("%d bytes of body", len(x.Body))
			}
			x.Header, x.ResponseHeader, x.Body = nil, nil, nil
			want := testbed.Exchange{
				Method: "PUT", Target: "/b/k?x", Host: "elsewhere", Size: 4 << 20, SHA256: sha256.Sum256(body),
				Status: 202, ResponseSize: 1000,
			}
			if diff := cmp.Diff(want, x); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The trailer of a chunked body arrives.
func TestWireTrailer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-After")
		_, _ = fmt.Fprintf(w, "%s %s", b, r.Trailer.Get("X-Check"))
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-After", "after")
	}))
	defer server.Close()
	w := testbed.NewWire(t, server.URL)
	req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL, io.MultiReader(strings.NewReader("body"))))(t)
	req.Trailer = http.Header{"X-Check": {"sum"}}
	resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
	if got := string(testbed.ReadBody(t, resp.Body)); got != "body sum" || resp.Trailer.Get("X-After") != "after" {
		t.Errorf("%q, trailer %v", got, resp.Trailer)
	}
}

// Bodies stream both ways: the server has a byte before the client sends the next one, and the client likewise.
func TestWireStreams(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		for b := make([]byte, 1); ; {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = rc.Flush()
			if err != nil {
				return
			}
		}
	}))
	defer server.Close()
	w := testbed.NewWire(t, server.URL)
	r, client := io.Pipe()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL, r))(t)
	go func() { _, _ = client.Write([]byte("0")) }()
	resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
	b := make([]byte, 1)
	for i := range 100 {
		testbed.Must(io.ReadFull(resp.Body, b))(t)
		if b[0] != byte('0'+i%10) {
			t.Fatalf("echo %d is %q", i, b)
		}
		testbed.Must(client.Write([]byte{byte('0' + (i+1)%10)}))(t)
	}
	_ = client.Close()
	testbed.ReadBody(t, resp.Body)
}

// A large object through a store and back, with the stores' own framing of it.
func TestWireLargeBody(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		bucket, wire := testbed.Bucket(t, store), testbed.NewWire(t, store.URL)
		c := testbed.S3Client(t, wire.URL, store.AccessKeyID, store.SecretAccessKey, store.Region)
		const size = 64 << 20
		body := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
		testbed.Must(c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("large"), Body: bytes.NewReader(body)}))(t)
		out := testbed.Must(c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("large")}))(t)
		if !bytes.Equal(testbed.ReadBody(t, out.Body), body) {
			t.Error("it came back altered")
		}
		if seen := wire.Requests(); seen[0].SHA256 != sha256.Sum256(body) || seen[1].ResponseSize != size {
			t.Errorf("recorded %d bytes in, %d out", seen[0].Size, seen[1].ResponseSize)
		}
	})
}

// Answers without a body, and many requests on one connection.
func TestWireKeepsConnections(t *testing.T) {
	conns := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns[r.RemoteAddr] = true // one connection, one goroutine: else the race detector says so
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.WriteHeader(http.StatusNotModified)
		default:
			_, _ = io.Copy(w, r.Body)
			w.Header().Set("Content-Length", "7")
		}
	}))
	defer server.Close()
	w, c := testbed.NewWire(t, server.URL), testbed.HTTPClient(t)
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodPut} {
		for _, path := range []string{"/204", "/304", "/"} {
			req := testbed.Must(http.NewRequestWithContext(t.Context(), method, w.URL+path, strings.NewReader("content")))(t)
			resp := testbed.Must(c.Do(req))(t)
			testbed.ReadBody(t, resp.Body)
		}
	}
	if len(conns) != 1 || len(w.Requests()) != 9 {
		t.Errorf("%d requests on %d connections", len(w.Requests()), len(conns))
	}
}

// A client that waits for 100 Continue gets the server's word: to go on, or the answer.
func TestWireExpectContinue(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.Copy(w, r.Body)
	}))
	defer server.Close()
	w, transport := testbed.NewWire(t, server.URL), &http.Transport{ExpectContinueTimeout: 10 * time.Second}
	defer transport.CloseIdleConnections()
	for path, want := range map[string]int{"/": 200, "/refused": 403} {
		body := strings.NewReader("content")
		req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL+path, body))(t)
		req.Header.Set("Expect", "100-continue")
		began := time.Now()
		resp := testbed.Must(transport.RoundTrip(req))(t)
		testbed.ReadBody(t, resp.Body)
		if sent := body.Len() == 0; resp.StatusCode != want || sent != (want == 200) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %d, body sent: %v, after %v", path, resp.StatusCode, sent, time.Since(began))
		}
	}
}

// An answer in the middle of a request reaches a client that is still sending.
func TestWireEarlyAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer server.Close()
	w := testbed.NewWire(t, server.URL)
	for range 5 {
		conn := dial(t, w.URL)
		testbed.Must(io.WriteString(conn, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n"))(t)
		_, _ = io.CopyN(conn, zeros{}, 1<<20) // it may be refused already
		time.Sleep(20 * time.Millisecond)     // a reset would overtake the answer by now
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%v, %v", resp, err)
		}
		_ = conn.Close()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAlterResponse(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/chunked" {
			w.Header().Set("Content-Length", "16")
		}
		w.Header().Set("X-Gone", "yes")
		_, _ = io.WriteString(w, "0123456789")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "abcdef")
	}))
	defer server.Close()
	unexpected := io.ErrUnexpectedEOF
	for name, test := range map[string]struct {
		alter func(*http.Response) error
		body  string
		err   error // of reading the body
	}{
		"nothing":          {func(*http.Response) error { return nil }, "0123456789abcdef", nil},
		"a bit":            {func(r *http.Response) error { r.Body = testbed.Flip(r.Body, 12); return nil }, "0123456789abbdef", nil},
		"cut at the start": {func(r *http.Response) error { r.Body = testbed.CutAfter(r.Body, 0); return nil }, "", unexpected},
		"cut":              {func(r *http.Response) error { r.Body = testbed.CutAfter(r.Body, 11); return nil }, "0123456789a", unexpected},
		"cut at the end":   {func(r *http.Response) error { r.Body = testbed.CutAfter(r.Body, 16); return nil }, "0123456789abcdef", nil},
		"longer":           {func(r *http.Response) error { r.Header.Set("Content-Length", "17"); return nil }, "0123456789abcdef", unexpected},
		"shorter":          {func(r *http.Response) error { r.Header.Set("Content-Length", "3"); return nil }, "012", nil},
		"another body": {func(r *http.Response) error {
			r.Body = io.NopCloser(strings.NewReader("other"))
			r.Header.Set("Content-Length", "5")
			return nil
		}, "other", nil},
	} {
		for _, path := range []string{"/", "/chunked"} {
			t.Run(name+path, func(t *testing.T) {
				want := test.err
				if path == "/chunked" && name == "cut at the end" {
					want = unexpected // the last chunk is missing
				}
				w := testbed.NewWire(t, server.URL)
				w.AlterResponse(func(r *http.Response) error {
					r.StatusCode = http.StatusPartialContent
					r.Header.Del("X-Gone")
					r.Header.Set("Content-Range", "bytes 1-2/3")
					return test.alter(r)
				})
				req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+path, http.NoBody))(t)
				req.Close = name == "shorter" // what comes after the body is not the client's business
				resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if string(body) != test.body || !errors.Is(err, want) || (err == nil) != (want == nil) {
					t.Errorf("read %q, %v; want %q, %v", body, err, test.body, want)
				}
				if resp.StatusCode != 206 || resp.Header.Get("X-Gone") != "" || resp.Header.Get("Content-Range") != "bytes 1-2/3" {
					t.Errorf("%s, %v", resp.Status, resp.Header)
				}
				if x := w.Requests()[0]; x.Status != 200 || x.ResponseHeader.Get("X-Gone") != "yes" {
					t.Errorf("recorded %d, %v", x.Status, x.ResponseHeader)
				}
			})
		}
	}
}

// What a hook leaves of a body is not taken for the next one's, nor the next one for what is left.
func TestAlterInARow(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(bytes.Repeat([]byte("server"), 1000))
	}))
	defer server.Close()
	w, c := testbed.NewWire(t, server.URL), testbed.HTTPClient(t)
	for i := range 1000 {
		body := strings.Repeat("x", i%3)
		w.AlterResponse(func(r *http.Response) error {
			r.Body = io.NopCloser(strings.NewReader(body))
			r.Header.Set("Content-Length", fmt.Sprint(len(body)))
			return nil
		})
		req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL, strings.NewReader("content")))(t)
		resp := testbed.Must(c.Do(req))(t)
		if got := string(testbed.ReadBody(t, resp.Body)); got != body {
			t.Fatalf("answer %d is %q", i, got)
		}
	}
}

// An error from a hook breaks the connection before the first byte; nil takes the hook away.
func TestHookErrors(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	defer server.Close()
	w, c := testbed.NewWire(t, server.URL), testbed.HTTPClient(t)
	try := func() error {
		req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL, strings.NewReader("x")))(t)
		resp, err := c.Do(req)
		if err == nil {
			testbed.ReadBody(t, resp.Body)
		}
		return err
	}
	w.AlterResponse(func(*http.Response) error { return errors.New("no answer") })
	if err := try(); err == nil || calls != 1 {
		t.Errorf("without an answer: %v, %d calls", err, calls)
	}
	w.AlterResponse(nil)
	w.AlterRequest(func(*http.Request) error { return errors.New("no request") })
	if err := try(); err == nil || calls != 1 {
		t.Errorf("without a request: %v, %d calls", err, calls)
	}
	w.AlterRequest(nil)
	if err := try(); err != nil || calls != 2 {
		t.Errorf("without hooks: %v, %d calls", err, calls)
	}
}

func TestAlterRequest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintln(w, r.Method, r.RequestURI, r.Host, r.Header["X-Amz-Copy-Source"], r.Header["User-Agent"], string(body), err)
	}))
	defer server.Close()
	w := testbed.NewWire(t, server.URL)
	w.AlterRequest(func(r *http.Request) error {
		r.Method, r.RequestURI, r.Host = "POST", "/b//k?acl", "host"
		r.Header.Set("X-Amz-Copy-Source", "/b/other")
		r.Header.Del("User-Agent")
		r.Body = testbed.Flip(r.Body, 1)
		return nil
	})
	for _, body := range []io.Reader{strings.NewReader("body"), io.MultiReader(strings.NewReader("body"))} {
		w.Reset()
		req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL+"/a", body))(t)
		resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
		if got := string(testbed.ReadBody(t, resp.Body)); got != "POST /b//k?acl host [/b/other] [] bndy <nil>\n" {
			t.Errorf("%q", got)
		}
		if x := w.Requests()[0]; x.Method != "PUT" || x.Target != "/a" || string(x.Body) != "body" {
			t.Errorf("recorded %+v", x)
		}
	}
	w.AlterRequest(func(r *http.Request) error { r.Body = testbed.CutAfter(r.Body, 2); return nil })
	req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL+"/a", strings.NewReader("body")))(t)
	if resp, err := testbed.HTTPClient(t).Do(req); err == nil {
		t.Errorf("a cut request: %s, %s", resp.Status, testbed.ReadBody(t, resp.Body))
	}
}

// Many at once, with the hooks changing: for the race detector.
func TestWireConcurrency(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	defer server.Close()
	w, c := testbed.NewWire(t, server.URL), testbed.HTTPClient(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				body := strings.Repeat(string(rune('a'+i)), 100_000)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL, strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := c.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if string(got) != body || err != nil {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				w.Requests()
				w.AlterResponse(func(*http.Response) error { return nil })
			}
		})
	}
	wg.Wait()
	if n := len(w.Requests()); n != 320 {
		t.Errorf("%d requests", n)
	}
}

func TestWireToNowhere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	w := testbed.NewWire(t, server.URL)
	if resp, err := testbed.HTTPClient(t).Get(w.URL); err == nil {
		_ = resp.Body.Close()
		t.Errorf("an answer from nowhere: %s", resp.Status)
	}
}
