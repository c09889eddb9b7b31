package sigv4_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

// The credentials and the date of the examples in the Amazon S3 API Reference.
const (
	accessKeyID = "AKIAIOSFODNN7EXAMPLE"
	secret      = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	date        = "20130524T000000Z"
	scope       = "20130524/us-east-1/s3/aws4_request"
)

var now = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func verifier() *sigv4.Verifier {
	return &sigv4.Verifier{
		Secret: func(id, token string) (string, error) {
			switch {
			case id != accessKeyID:
				return "", errors.New("unknown")
			case token == "over":
				return "", sigv4.ErrExpiredToken
			case token != "" && token != "session":
				return "", sigv4.ErrToken
			}
			return secret, nil
		},
		Region: "us-east-1",
		Now:    func() time.Time { return now },
	}
}

// A message is a request as it stands on the wire.
type message struct {
	method, target string
	header         []field
	body           string
}

type field struct{ name, value string }

func (m message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", m.method, m.target)
	for _, f := range m.header {
		fmt.Fprintf(&b, "%s: %s\r\n", f.name, f.value)
	}
	return b.String() + "\r\n" + m.body
}

func (m message) clone() message {
	m.header = slices.Clone(m.header)
	return m
}

func (m message) get(name string) string {
	for _, f := range m.header {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// with returns the message with a header set or, if it has no value, removed.
func (m message) with(name, value string) message {
	m = m.clone()
	m.header = slices.DeleteFunc(m.header, func(f field) bool { return strings.EqualFold(f.name, name) })
	if value != "" {
		m.header = append(m.header, field{name, value})
	}
	return m
}

func (m message) withBody(body string) message {
	m.body = body
	return m.with("Content-Length", fmt.Sprint(len(body)))
}

// receive parses the message as a server does.
func (m message) receive() (*http.Request, error) { return receive(m.String()) }

func receive(wire string) (*http.Request, error) {
	return http.ReadRequest(bufio.NewReader(strings.NewReader(wire)))
}

// verify receives and verifies the message and reads its payload.
func (m message) verify() (*sigv4.Request, []byte, error) { return verify(m.String()) }

func verify(wire string) (*sigv4.Request, []byte, error) {
	r, err := receive(wire)
	if err != nil {
		return nil, nil, err
	}
	req, err := verifier().Verify(r)
	if err != nil {
		return nil, nil, err
	}
	payload, err := io.ReadAll(req.Body)
	return req, payload, err
}

// code returns the code of an *Error, or else its text.
func code(err error) string {
	var e *sigv4.Error
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &e):
		return e.Code
	}
	return err.Error()
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if code(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func sumOf(a checksum.Algorithm, payload string) checksum.Value {
	h := a.New()
	h.Write([]byte(payload))
	return checksum.Value{Algorithm: a, Sum: h.Sum(nil)}
}

// What follows signs as the specification says, apart from the code under test.

func hexSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

// sign signs a string to sign.
func sign(s string) string {
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, s))
}

// percent encodes every byte but the unreserved and those in keep.
func percent(s, keep string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b bytes.Buffer
	for i := range len(s) {
		if strings.IndexByte(unreserved+keep, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// canonical returns the canonical request, given path and query in the form to
// be signed, and the names that it signs.
func (m message) canonical(path, query, payload string) (request, signed string) {
	lines := make(map[string]string)
	var names []string
	for _, f := range m.header {
		name := strings.ToLower(f.name)
		value := strings.Join(strings.Fields(f.value), " ")
		if old, ok := lines[name]; ok {
			lines[name] = old + "," + value
			continue
		}
		lines[name] = value
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(s string) bool { return s == "content-length" || s == "transfer-encoding" })
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", m.method, path, query)
	for _, name := range names {
		fmt.Fprintf(&b, "%s:%s\n", name, lines[name])
	}
	signed = strings.Join(names, ";")
	fmt.Fprintf(&b, "\n%s\n%s", signed, payload)
	return b.String(), signed
}

func stringToSign(canonical string) string {
	return "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hexSHA256(canonical)
}

// signed returns the message with an Authorization header. Its target must be
// in canonical form.
func (m message) signed(payload string) message {
	m = m.with("X-Amz-Date", date).with("X-Amz-Content-Sha256", payload)
	path, query, _ := strings.Cut(m.target, "?")
	return m.authorized(path, query, payload)
}

// authorized adds the Authorization header for the given canonical path and
// query.
func (m message) authorized(path, query, payload string) message {
	canonical, signed := m.canonical(path, query, payload)
	return m.with("Authorization", "AWS4-HMAC-SHA256 Credential="+accessKeyID+"/"+scope+
		",SignedHeaders="+signed+",Signature="+sign(stringToSign(canonical)))
}

// signature returns the signature in the Authorization header.
func (m message) signature() string {
	_, s, _ := strings.Cut(m.get("Authorization"), "Signature=")
	return s
}

// presigned returns the message with the query of a presigned request that
// expires after the given seconds. Its target must be in canonical form.
func (m message) presigned(seconds string, extra ...string) message {
	path, query, _ := strings.Cut(m.target, "?")
	_, signed := m.canonical("", "", "")
	params := append(extra,
		"X-Amz-Algorithm=AWS4-HMAC-SHA256",
		"X-Amz-Credential="+percent(accessKeyID+"/"+scope, ""),
		"X-Amz-Date="+date,
		"X-Amz-Expires="+seconds,
		"X-Amz-SignedHeaders="+percent(signed, ""))
	if query != "" {
		params = append(params, strings.Split(query, "&")...)
	}
	slices.Sort(params)
	payload := unsigned
	for _, p := range params {
		if hash, ok := strings.CutPrefix(p, "X-Amz-Content-Sha256="); ok {
			payload = hash
		}
	}
	query = strings.Join(params, "&")
	canonical, _ := m.canonical(path, query, payload)
	m.target = path + "?" + query + "&X-Amz-Signature=" + sign(stringToSign(canonical))
	return m
}

// A framer frames a payload in signed or unsigned chunks.
type framer struct {
	previous string // signature; empty: not signed
	b        strings.Builder
}

func (f *framer) continues(kind string, hashes ...string) string {
	f.previous = sign(strings.Join(append([]string{kind, date, scope, f.previous}, hashes...), "\n"))
	return f.previous
}

func (f *framer) chunk(data string) {
	fmt.Fprintf(&f.b, "%x", len(data))
	if f.previous != "" {
		f.b.WriteString(";chunk-signature=" + f.continues("AWS4-HMAC-SHA256-PAYLOAD", hexSHA256(""), hexSHA256(data)))
	}
	f.b.WriteString("\r\n" + data)
	if data != "" {
		f.b.WriteString("\r\n")
	}
}

// trailer ends the stream after its empty chunk; line is a header line or empty.
func (f *framer) trailer(line, end string) {
	if line != "" {
		f.b.WriteString(line + end)
		if f.previous != "" {
			f.b.WriteString("x-amz-trailer-signature:" + f.continues("AWS4-HMAC-SHA256-TRAILER", hexSHA256(line+"\n")) + "\r\n")
		}
	}
	f.b.WriteString("\r\n")
}

// frame frames the payload in chunks of n bytes.
func frame(previous, payload string, n int, line string) string {
	f := framer{previous: previous}
	for chunk := range slices.Chunk([]byte(payload), n) {
		f.chunk(string(chunk))
	}
	f.chunk("")
	f.trailer(line, "\r\n")
	return f.b.String()
}
