package e2e_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	signedChunks    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	signedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

// message is a request by hand, for what no SDK would send. The AWS signer signs its head.
type message struct {
	method, target string            // target in S3's own encoding
	header         map[string]string // signed
	hash           string            // x-amz-content-sha256
	body           body

	chunked bool     // Transfer-Encoding in place of Content-Length
	missing int64    // bytes that Content-Length counts and that do not come
	late    []string // header lines that the signature does not know

	at      time.Time // zero: now
	expires int       // seconds; not zero: presigned
	access  string    // access key and secret, if they are not the rig's
	secret  string
	token   string
	region  string
	alter   []func(head string) string // after signing
}

// body makes the bytes behind a head from the head's signature.
type body func(signature string) string

func text[T string | []byte](b T) body { return func(string) string { return string(b) } }

// spoil changes a body when it is done.
func (b body) spoil(f func(string) string) body {
	return func(signature string) string { return f(b(signature)) }
}

// putMessage returns a PUT of an object that nothing is wrong with but what the caller adds.
func (r *rig) putMessage(key, hash string, b body) message {
	return message{method: http.MethodPut, target: "/" + r.bucket + "/" + key, header: map[string]string{}, hash: hash, body: b}
}

func (m message) with(name, value string) message {
	m.header = maps.Clone(m.header)
	m.header[name] = value
	return m
}

// replace changes the head behind the signature's back.
func (m message) replace(t testing.TB, from, to string) message {
	m.alter = append(slices.Clone(m.alter), func(head string) string {
		if !strings.Contains(head, from) {
			t.Errorf("no %q in %q", from, head)
		}
		return strings.Replace(head, from, to, 1)
	})
	return m
}

// without takes a header out of the head.
func (m message) without(name string) message {
	m.alter = append(slices.Clone(m.alter), func(head string) string {
		before, rest, _ := strings.Cut(head, "\r\n"+name+": ")
		_, after, _ := strings.Cut(rest, "\r\n")
		return before + "\r\n" + after
	})
	return m
}

// wire returns the message as it goes out.
func (m message) wire(t testing.TB, url string) (head, sent string) {
	t.Helper()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), m.method, url+m.target, nil))(t)
	for name, value := range m.header {
		req.Header.Set(name, value)
	}
	if m.at.IsZero() {
		m.at = time.Now()
	}
	who := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey, SessionToken: m.token}
	if m.access != "" {
		who.AccessKeyID, who.SecretAccessKey = m.access, m.secret
	}
	if m.region == "" {
		m.region = region
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if m.expires != 0 {
		query := req.URL.Query()
		query.Set("X-Amz-Expires", fmt.Sprint(m.expires))
		req.URL.RawQuery = query.Encode()
		signed, _, err := signer.PresignHTTP(t.Context(), who, req, m.hash, "s3", m.region, m.at)
		if err != nil {
			t.Fatal(err)
		}
		req.URL = testbed.Must(req.URL.Parse(signed))(t)
	} else {
		req.Header.Set("X-Amz-Content-Sha256", m.hash)
		if err := signer.SignHTTP(t.Context(), who, req, m.hash, "s3", m.region, m.at); err != nil {
			t.Fatal(err)
		}
	}
	_, signature, _ := strings.Cut(req.Header.Get("Authorization"), "Signature=")
	if m.body != nil {
		sent = m.body(signature)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", m.method, req.URL.RequestURI(), req.URL.Host)
	_ = req.Header.Write(&b)
	if m.chunked {
		b.WriteString("Transfer-Encoding: chunked\r\n")
		sent = httpChunks(sent)
	} else if m.body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", int64(len(sent))+m.missing)
	}
	for _, line := range m.late {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	head = b.String()
	for _, alter := range m.alter {
		head = alter(head)
	}
	return head, sent
}

// httpChunks frames a body for Transfer-Encoding: chunked.
func httpChunks(s string) string {
	var b strings.Builder
	for s != "" {
		n := min(len(s), 10_000)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, s[:n])
		s = s[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// answer is what came back; its status is 0 when the connection ended without.
type answer struct {
	status int
	header http.Header
	body   []byte
	Code   string `xml:"Code"`
}

// send sends a message over a connection of its own. Where bytes are missing the client's side of the connection ends
// behind those that came.
func (r *rig) send(t testing.TB, m message) answer {
	t.Helper()
	head, sent := m.wire(t, r.url)
	return exchange(t, r.dial(t), m, head, sent)
}

// exchange sends a message as wire gave it, and reads the answer.
func exchange(t testing.TB, c net.Conn, m message, head, sent string) answer {
	t.Helper()
	go func() {
		_, err := io.WriteString(c, head+sent)
		if tcp, ok := c.(*net.TCPConn); ok && err == nil && m.missing > 0 {
			_ = tcp.CloseWrite()
		}
	}()
	return readAnswer(t, bufio.NewReader(c), m.method)
}

func (r *rig) dial(t testing.TB) net.Conn {
	t.Helper()
	c := testbed.Must(new(net.Dialer).DialContext(t.Context(), "tcp", r.server.Listener.Addr().String()))(t)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func readAnswer(t testing.TB, from *bufio.Reader, method string) answer {
	t.Helper()
	resp, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		if nerr, ok := err.(net.Error); ok && nerr.Timeout() { //nolint:errorlint // as net/http returns it
			t.Error("no answer in 20 seconds")
		}
		return answer{}
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: testbed.ReadBody(t, resp.Body)}
	_ = xml.Unmarshal(a.body, &a) // of an error; other answers have no code
	return a
}

// framing says how frames are made.
type framing struct {
	size    int    // bytes of a chunk
	trailer string // a header line, or empty
	signed  bool
	at      time.Time
	secret  string // and region, if they are not the rig's
	region  string
}

// frames returns a body in aws-chunked framing. See "Signature calculations for the Authorization header: Transferring a
// payload in multiple chunks" and "... with trailing headers" in the Amazon S3 API Reference.
func (f framing) frames(plain []byte) body {
	return func(signature string) string {
		var b strings.Builder
		chunk := func(data []byte) {
			fmt.Fprintf(&b, "%x", len(data))
			if f.signed {
				signature = f.sign("AWS4-HMAC-SHA256-PAYLOAD", signature, sha256hex(""), sha256hex(data))
				b.WriteString(";chunk-signature=" + signature)
			}
			b.WriteString("\r\n")
			b.Write(data)
		}
		for at := 0; at < len(plain); at += f.size {
			chunk(plain[at:min(at+f.size, len(plain))])
			b.WriteString("\r\n")
		}
		chunk(nil)
		if f.trailer != "" {
			b.WriteString(f.trailer + "\r\n")
			if f.signed {
				b.WriteString("x-amz-trailer-signature:" + f.sign("AWS4-HMAC-SHA256-TRAILER", signature, sha256hex(f.trailer+"\n")) + "\r\n")
			}
		}
		return b.String() + "\r\n"
	}
}

// sign continues a signature.
func (f framing) sign(kind, previous string, hashes ...string) string {
	at := f.at.UTC()
	scope := at.Format("20060102") + "/" + cmp.Or(f.region, region) + "/s3/aws4_request"
	key := []byte("AWS4" + cmp.Or(f.secret, secretKey))
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, strings.Join(append([]string{kind, at.Format("20060102T150405Z"), scope, previous}, hashes...), "\n")))
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

func sha256hex[T string | []byte](b T) string {
	sum := sha256.Sum256([]byte(b))
	return hex.EncodeToString(sum[:])
}

func sumOf(a checksum.Algorithm, b []byte) string {
	h := a.New()
	h.Write(b)
	return checksum.Value{Algorithm: a, Sum: h.Sum(nil)}.String()
}

// streamed returns a PUT in one of the framings above, right in every way.
func (r *rig) streamed(key, hash string, plain []byte, a checksum.Algorithm) message {
	f := framing{size: 70_000, signed: hash != unsignedTrailer, at: time.Now()}
	m := r.putMessage(key, hash, nil).with("Content-Encoding", "aws-chunked").with("X-Amz-Decoded-Content-Length", fmt.Sprint(len(plain)))
	if hash != signedChunks {
		f.trailer = a.Header() + ":" + sumOf(a, plain)
		m = m.with("X-Amz-Trailer", a.Header())
	}
	m.at, m.body = f.at, f.frames(plain)
	return m
}

// eventually waits for what happens soon.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !f() {
		select {
		case <-ctx.Done():
			t.Errorf("%s: not in 10 seconds", what)
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}
