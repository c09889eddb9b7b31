package e2e_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestSlowClients: a client that stops in the middle of its body, or of taking an answer, is left after a while, and stores nothing. One that
// is slow but goes on is served, and so is the next request on a connection that was idle for longer.
func TestSlowClients(t *testing.T) {
	const most = 400 * time.Millisecond
	r := newRig(t, testbed.Store(t), options{proxy: func(c *proxy.Config) { c.ClientTimeout = most }})
	body := pattern(32 << 20)
	r.put(t, "large", body)

	m := r.putMessage("stopped", unsignedPayload, text(body[:100_000]))
	m.missing = 1 << 20
	head, sent := m.wire(t, r.url)
	c := r.dial(t)
	testbed.Must(io.WriteString(c, head+sent))(t)
	began := time.Now()
	if rest, _ := io.ReadAll(c); strings.Contains(string(rest), "200 OK") || time.Since(began) < most/2 {
		t.Errorf("after %v: %q", time.Since(began), rest)
	}
	if _, err := r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("stopped")}); err == nil {
		t.Error("half a body is stored")
	}

	m = r.putMessage("slow", unsignedPayload, text(body[:200_000]))
	head, sent = m.wire(t, r.url)
	c = r.dial(t)
	testbed.Must(io.WriteString(c, head))(t)
	for at := 0; at < len(sent); at += 50_000 {
		time.Sleep(most / 2)
		testbed.Must(io.WriteString(c, sent[at:at+50_000]))(t)
	}
	m.method = http.MethodGet
	for range 2 {
		a := exchange(t, c, message{method: "PUT"}, "", "")
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		time.Sleep(2 * most) // idle
		head, sent = r.putMessage("slow", unsignedPayload, text("again")).wire(t, r.url)
		testbed.Must(io.WriteString(c, head+sent))(t)
	}
	if got, _, err := r.get(t, "slow", ""); string(got) != "again" || err != nil {
		t.Errorf("%q, %v", got, err)
	}

	c = r.dial(t)
	head, _ = message{method: "GET", target: "/" + r.bucket + "/large", hash: sha256hex("")}.wire(t, r.url)
	testbed.Must(io.WriteString(c, head))(t)
	eventually(t, "an answer that is cut", func() bool {
		for _, line := range r.logs.All() {
			if f := line.ContextMap(); f["operation"] == "GetObject" && f["aborted"] == true {
				return true
			}
		}
		return false
	})
	if n, err := io.Copy(io.Discard, c); n >= int64(len(body)) {
		t.Errorf("%d bytes came, %v", n, err)
	}
}

// TestTooManyRequests: what is beyond the limit is told to come again, at once and without a request to the store; the others are served, and
// when they have ended so is the next.
func TestTooManyRequests(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{proxy: func(c *proxy.Config) { c.MaxRequests = 2 }})
	r.put(t, "key", []byte("body"))
	release, held := make(chan struct{}), make(chan struct{}, 2)
	r.wire.AlterResponse(func(*http.Response) error {
		held <- struct{}{}
		<-release
		return nil
	})
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := r.get(t, "key", "")
			done <- err
		}()
	}
	for range 2 {
		<-held
	}
	r.wire.Reset()
	_, _, err := r.get(t, "key", "")
	wantCode(t, err, "SlowDown")
	_, err = r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("more"), Body: strings.NewReader("more")})
	wantCode(t, err, "SlowDown")
	if asked := r.wire.Requests(); len(asked) > 0 {
		t.Errorf("the store was asked %v", asked)
	}
	close(release)
	r.wire.AlterResponse(nil)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, _, err := r.get(t, "key", ""); err != nil {
		t.Error(err)
	}
}

// TestReadsAreTriedOnceMore: a store that closes a connection on a read is asked once more, and not again; a write is not repeated.
func TestReadsAreTriedOnceMore(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", []byte("body"))
	var left atomic.Int64
	r.wire.AlterRequest(func(*http.Request) error {
		if left.Add(-1) >= 0 {
			return errors.New("closed")
		}
		return nil
	})
	for failures, want := range map[int64]string{1: "", 1000: "ServiceUnavailable"} {
		left.Store(failures)
		got, _, err := r.get(t, "key", "")
		if want == "" && (err != nil || string(got) != "body") {
			t.Errorf("%d failures: %q, %v", failures, got, err)
		} else if want != "" {
			wantCode(t, err, want)
		}
	}
	left.Store(0)
	r.put(t, "key", []byte("body")) // so that what it needs is at hand
	r.wire.Reset()
	left.Store(1000)
	_, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: strings.NewReader(strings.Repeat("x", 100_000))})
	wantCode(t, err, "ServiceUnavailable")
	if tried := 1000 - left.Load(); tried != 1 {
		t.Errorf("a write was tried %d times", tried)
	}
}
