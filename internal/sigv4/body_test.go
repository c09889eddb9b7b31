package sigv4_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

const (
	streaming         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamingUnsigned = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// stream returns a signed PUT of the payload in chunks of n bytes, with a CRC32
// trailer where the form has one.
func stream(form, payload string, n int) message {
	m := put("/key", "").with("Content-Length", "").with("Content-Encoding", "aws-chunked").
		with("X-Amz-Decoded-Content-Length", fmt.Sprint(len(payload)))
	if form != streaming {
		m = m.with("X-Amz-Trailer", "x-amz-checksum-crc32")
	}
	return m.signed(form).framed(payload, n)
}

// framed frames the payload as the head of the message says.
func (m message) framed(payload string, n int) message {
	var previous, line string
	if form := m.get("X-Amz-Content-Sha256"); form != streamingUnsigned {
		previous = m.signature()
	}
	if name := m.get("X-Amz-Trailer"); name != "" {
		a, _ := checksum.ByHeader(name)
		line = name + ":" + sumOf(a, payload).String()
	}
	return m.withBody(frame(previous, payload, n, line))
}

// chunkedByHTTP sends the body of the message in HTTP's chunks instead.
func (m message) chunkedByHTTP() message {
	body := m.body
	m = m.with("Content-Length", "").with("Transfer-Encoding", "chunked")
	m.body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	return m
}

func TestStreaming(t *testing.T) {
	payloads := []string{"", "x", "hello world", strings.Repeat("0123456789abcdef", 10000)}
	for _, form := range []string{streaming, streamingTrailer, streamingUnsigned} {
		for _, payload := range payloads {
			for _, n := range []int{1000, 8192, 65536, 1 << 20} {
				m := stream(form, payload, n)
				for _, m := range []message{m, m.chunkedByHTTP()} {
					req, got, err := m.verify()
					if err != nil || string(got) != payload {
						t.Fatalf("%s, %d bytes in %d: got %d bytes, %v", form, len(payload), n, len(got), err)
					}
					if req.Body.Length() != int64(len(payload)) || len(req.Header) != 0 {
						t.Errorf("%s: length %d, header %v", form, req.Body.Length(), req.Header)
					}
					want := sumOf(checksum.CRC32, payload).String()
					if sum, ok := req.Body.Checksum(); ok != (form != streaming) || ok && sum.String() != want {
						t.Errorf("%s: checksum %v, %v", form, sum, ok)
					}
				}
			}
		}
	}
}

// Clients that do not know the length leave it out; unsigned only.
func TestStreamingUnknownLength(t *testing.T) {
	m := put("/key", "").with("X-Amz-Trailer", "x-amz-checksum-sha256").signed(streamingUnsigned).framed("payload", 3).chunkedByHTTP()
	req, got, err := m.verify()
	if err != nil || string(got) != "payload" || req.Body.Length() != -1 {
		t.Errorf("got %q, %v", got, err)
	}
	_, _, err = put("/key", "").signed(streaming).framed("payload", 3).verify()
	wantCode(t, err, "MissingContentLength")
}

// An announced trailer may be missing from the head where nothing is signed,
// but then none may come.
func TestStreamingWithoutTrailer(t *testing.T) {
	m := put("/key", "").with("X-Amz-Checksum-Crc32", sumOf(checksum.CRC32, "payload").String()).signed(streamingUnsigned)
	req, got, err := m.framed("payload", 3).verify()
	if err != nil || string(got) != "payload" {
		t.Errorf("got %q, %v", got, err)
	}
	if sum, ok := req.Body.Checksum(); !ok || sum.Algorithm != checksum.CRC32 {
		t.Errorf("checksum %v", sum)
	}
	_, _, err = m.withBody("3\r\npay\r\n4\r\nload\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n").verify()
	wantCode(t, err, "MalformedTrailerError")
	_, _, err = put("/key", "").with("X-Amz-Decoded-Content-Length", "7").signed(streamingTrailer).framed("payload", 3).verify()
	wantCode(t, err, "MalformedTrailerError")
}

// One client ends the line of the checksum with LF CR LF.
func TestTrailerWithLineFeed(t *testing.T) {
	for _, form := range []string{streamingTrailer, streamingUnsigned} {
		m := stream(form, "payload", 100)
		f := framer{}
		if form == streamingTrailer {
			f.previous = m.signature()
		}
		f.chunk("payload")
		f.chunk("")
		f.trailer("x-amz-checksum-crc32:"+sumOf(checksum.CRC32, "payload").String(), "\n\r\n")
		if _, got, err := m.withBody(f.b.String()).verify(); err != nil || string(got) != "payload" {
			t.Errorf("%s: %q, %v", form, got, err)
		}
	}
}

// A trailer's name is signed in lower case, however it is sent.
func TestTrailerInUpperCase(t *testing.T) {
	for _, form := range []string{streamingTrailer, streamingUnsigned} {
		m := stream(form, "payload", 100)
		m = m.withBody(strings.Replace(m.body, "x-amz-checksum-crc32:", "X-Amz-Checksum-CRC32:", 1))
		if _, got, err := m.verify(); err != nil || string(got) != "payload" {
			t.Errorf("%s: %q, %v", form, got, err)
		}
	}
}

// Framings that are not what S3's clients send, though some parsers read them.
func TestMalformedFraming(t *testing.T) {
	const crc = "x-amz-checksum-crc32:AAAAAA==\r\n" // of nothing
	good := "0\r\n" + crc + "\r\n"
	m := put("/key", "").with("X-Amz-Trailer", "x-amz-checksum-crc32").signed(streamingUnsigned)
	if _, _, err := m.withBody(good).verify(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, body, code string }{
		{"nothing", "", "IncompleteBody"},
		{"no chunk header", "\r\n" + good, "IncompleteBody"},
		{"sign", "+0\r\n" + crc + "\r\n", "IncompleteBody"},
		{"minus", "-0\r\n" + crc + "\r\n", "IncompleteBody"},
		{"prefix", "0x0\r\n" + crc + "\r\n", "IncompleteBody"},
		{"underscore", "0_0\r\n" + crc + "\r\n", "IncompleteBody"},
		{"space", "0 \r\n" + crc + "\r\n", "IncompleteBody"},
		{"leading space", " 0\r\n" + crc + "\r\n", "IncompleteBody"},
		{"extension", "0;foo=bar\r\n" + crc + "\r\n", "IncompleteBody"},
		{"signature", "0;chunk-signature=" + emptySHA256 + "\r\n" + crc + "\r\n", "IncompleteBody"},
		{"63 bits and one", "8000000000000000\r\n" + crc + "\r\n", "IncompleteBody"},
		{"64 bits and one", "10000000000000000\r\n" + crc + "\r\n", "IncompleteBody"},
		{"long header", strings.Repeat("0", 1023) + "\r\n" + crc + "\r\n", "IncompleteBody"},
		{"very long header", strings.Repeat("0", 1<<20) + "\r\n" + crc + "\r\n", "IncompleteBody"},
		{"bare LF after size", "0\n" + crc + "\r\n", "IncompleteBody"},
		{"bare CR after size", "0\r" + crc + "\r\n", "IncompleteBody"},
		{"bare LF after data", "1\r\nx\n" + good, "IncompleteBody"},
		{"chunk too short", "2\r\nx\r\n" + good, "IncompleteBody"},
		{"chunk too long", "1\r\nxy\r\n" + good, "IncompleteBody"},
		{"no trailer", "0\r\n\r\n", "MalformedTrailerError"},
		{"other trailer", "0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n", "MalformedTrailerError"},
		{"two trailers", "0\r\n" + crc + crc + "\r\n", "MalformedTrailerError"},
		{"another trailer", "0\r\n" + crc + "x-amz-meta-a:b\r\n\r\n", "MalformedTrailerError"},
		{"signature of a trailer", "0\r\n" + crc + "x-amz-trailer-signature:" + emptySHA256 + "\r\n\r\n", "MalformedTrailerError"},
		{"no colon", "0\r\nx-amz-checksum-crc32\r\n\r\n", "InvalidRequest"},
		{"space before value", "0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n", "InvalidRequest"},
		{"short value", "0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n", "InvalidRequest"},
		{"loose value", "0\r\nx-amz-checksum-crc32:AAAAAB==\r\n\r\n", "InvalidRequest"},
		{"wrong value", "0\r\nx-amz-checksum-crc32:AAAAAQ==\r\n\r\n", "BadDigest"},
		{"long line", "0\r\nx-amz-checksum-crc32:" + strings.Repeat("A", 5000) + "\r\n\r\n", "MalformedTrailerError"},
		{"bare LF after trailer", "0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n", "IncompleteBody"}, // LF CR LF needs one more
		{"bare LF at the end", "0\r\n" + crc + "\n", "MalformedTrailerError"},
		{"more behind the end", good + "x", "IncompleteBody"},
		{"an empty line behind the end", good + "\r\n", "IncompleteBody"},
		{"a stream behind the end", good + good, "IncompleteBody"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, m := range []message{m.withBody(tt.body), m.withBody(tt.body).chunkedByHTTP()} {
				_, _, err := m.verify()
				wantCode(t, err, tt.code)
			}
		})
	}
}

// The sum of the chunks must be what was declared, and a chunk that would exceed
// it is refused before its data.
func TestDecodedLength(t *testing.T) {
	for _, form := range []string{streaming, streamingTrailer, streamingUnsigned} {
		for declared, want := range map[string]string{
			"6": "IncompleteBody", "8": "IncompleteBody", "0": "IncompleteBody", "9223372036854775807": "IncompleteBody",
			"9223372036854775808": "MissingContentLength", "-1": "MissingContentLength", "+7": "MissingContentLength", "07": "accepted",
			"7.0": "MissingContentLength", "seven": "MissingContentLength", "7": "accepted",
		} {
			m := stream(form, "payload", 3).with("X-Amz-Decoded-Content-Length", declared).with("Authorization", "")
			_, _, err := m.signed(form).framed("payload", 3).verify()
			if code(err) != want {
				t.Errorf("%s, declared %s: %v, want %s", form, declared, err, want)
			}
		}
	}
}

// No beginning of a framed payload is taken for the whole.
func TestTruncation(t *testing.T) {
	payload := strings.Repeat("payload ", 20)
	for _, form := range []string{streaming, streamingTrailer, streamingUnsigned} {
		m := stream(form, payload, 50)
		for i := range len(m.body) {
			for _, m := range []message{m.withBody(m.body[:i]), m.withBody(m.body[:i]).chunkedByHTTP()} {
				if _, _, err := m.verify(); code(err) != "IncompleteBody" && code(err) != "MalformedTrailerError" {
					t.Errorf("%s, %d of %d bytes: %v", form, i, len(m.body), err)
				}
			}
		}
	}
	// Nor where there is nothing else to tell.
	m := put("/key", "").signed(streamingUnsigned).framed(payload, 50)
	for i := range len(m.body) {
		_, _, err := m.withBody(m.body[:i]).verify()
		wantCode(t, err, "IncompleteBody")
	}
	// Nor where HTTP's own framing ends early.
	for _, form := range []string{streaming, streamingTrailer, streamingUnsigned, hexSHA256(payload), unsigned} {
		m := put("/key", payload).signed(form)
		if strings.HasPrefix(form, "STREAMING") {
			m = stream(form, payload, 50)
		}
		for _, m := range []message{m, m.chunkedByHTTP()} {
			for i := range len(m.body) {
				short := m
				short.body = m.body[:i]
				if _, _, err := short.verify(); err == nil {
					t.Errorf("%s, %d of %d bytes: accepted", form, i, len(m.body))
				}
			}
		}
	}
}

// Each chunk's signature holds its data, its place and its length.
func TestChunkSignatures(t *testing.T) {
	seed := stream(streaming, "aabb", 2)
	chunks := func(data ...string) string {
		f := framer{previous: seed.signature()}
		for _, d := range data {
			f.chunk(d)
		}
		f.chunk("")
		f.trailer("", "")
		return f.b.String()
	}
	if _, _, err := seed.withBody(chunks("aa", "bb")).verify(); err != nil {
		t.Fatal(err)
	}
	good := chunks("aa", "bb")
	const n = len("2;chunk-signature=\r\naa\r\n") + 64
	for name, body := range map[string]string{
		"swapped":     good[n:2*n] + good[:n] + good[2*n:],
		"repeated":    good[:n] + good[:n] + good[2*n:],
		"one dropped": strings.Replace(good[:n]+good[2*n:], "2;", "4;", 1),
		"other data":  strings.Replace(good, "aa\r\n", "ab\r\n", 1),
		"other seed":  stream(streaming, "aabbc", 2).body,
		"unsigned":    "2\r\naa\r\n2\r\nbb\r\n0\r\n\r\n",
		"last one's signature wrong": strings.Replace(good, good[2*n+len("0;chunk-signature="):],
			strings.Repeat("0", 64)+"\r\n\r\n", 1),
	} {
		if _, _, err := seed.withBody(body).verify(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, _, err := seed.withBody(strings.Replace(good, "signature=", "signature=0", 1)).verify()
	wantCode(t, err, "IncompleteBody") // for S3 this is no signature at all
	trailing := stream(streamingTrailer, "aabb", 2)
	for _, body := range []string{
		strings.Replace(trailing.body, "x-amz-trailer-signature:", "x-amz-trailer-signature: ", 1),
		strings.Replace(trailing.body, sumOf(checksum.CRC32, "aabb").String(), "AAAAAA==", 1),
		trailing.body[:strings.Index(trailing.body, "x-amz-trailer-signature")] + "\r\n",
	} {
		if _, _, err := trailing.withBody(body).verify(); err == nil {
			t.Errorf("accepted %q", body)
		}
	}
}

func TestDeclarations(t *testing.T) {
	const payload = "payload"
	md5, crc, sha := sumOf(checksum.MD5, payload).String(), sumOf(checksum.CRC32, payload).String(), sumOf(checksum.SHA256, payload).String()
	empty := sumOf(checksum.CRC32, "").String()
	headers := func(m message, pairs ...string) message {
		for i := 0; i < len(pairs); i += 2 {
			m.header = append(m.clone().header, field{pairs[i], pairs[i+1]})
		}
		return m
	}
	object, read := put("/key", payload), get("/key")
	complete := message{method: "POST", target: "/key?uploadId=u", header: []field{host}}.withBody(payload)
	for _, tt := range []struct {
		name, code, form string
		m                message
	}{
		{"sha256", "accepted", hexSHA256(payload), object},
		{"sha256 in upper case", "accepted", strings.ToUpper(hexSHA256(payload)), object},
		{"wrong sha256", "XAmzContentSHA256Mismatch", emptySHA256, object},
		{"wrong sha256 of nothing", "XAmzContentSHA256Mismatch", hexSHA256("x"), read},
		{"short sha256", "InvalidArgument", hexSHA256(payload)[2:], object},
		{"no hexadecimal", "InvalidArgument", strings.Repeat("g", 64), object},
		{"unknown form", "InvalidArgument", "STREAMING-FOO", object},
		{"version 4A", "NotImplemented", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", object},
		{"version 4A with trailer", "NotImplemented", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", object},
		{"streaming POST", "InvalidRequest", streamingUnsigned, complete},
		{"streaming GET", "InvalidRequest", streamingUnsigned, read},

		{"Content-MD5", "accepted", unsigned, headers(object, "Content-MD5", md5)},
		{"wrong Content-MD5", "BadDigest", unsigned, headers(object, "Content-MD5", sumOf(checksum.MD5, "").String())},
		{"short Content-MD5", "InvalidDigest", unsigned, headers(object, "Content-MD5", crc)},
		{"empty Content-MD5", "InvalidDigest", unsigned, headers(object, "Content-MD5", "")},
		{"two Content-MD5", "InvalidArgument", unsigned, headers(object, "Content-MD5", md5, "Content-MD5", md5)},

		{"checksum", "accepted", unsigned, headers(object, "x-amz-checksum-crc32", crc)},
		{"wrong checksum", "BadDigest", unsigned, headers(object, "x-amz-checksum-crc32", empty)},
		{"wrong checksum, right sha256", "BadDigest", hexSHA256(payload), headers(object, "x-amz-checksum-crc32", empty)},
		{"malformed checksum", "InvalidRequest", unsigned, headers(object, "x-amz-checksum-crc32", "foo")},
		{"empty checksum", "InvalidRequest", unsigned, headers(object, "x-amz-checksum-crc32", "")},
		{"checksum of another length", "InvalidRequest", unsigned, headers(object, "x-amz-checksum-crc32", sha)},
		{"two checksums", "InvalidRequest", unsigned, headers(object, "x-amz-checksum-crc32", crc, "x-amz-checksum-sha256", sha)},
		{"a checksum twice", "InvalidRequest", unsigned, headers(object, "x-amz-checksum-crc32", crc, "x-amz-checksum-crc32", crc)},
		{"unknown checksum", "InvalidRequest", unsigned, headers(object, "x-amz-checksum-crc16", "AAA=")},
		{"no value", "accepted", unsigned, headers(object, "x-amz-checksum-algorithm", "CRC32", "x-amz-checksum-type", "COMPOSITE", "x-amz-checksum-mode", "ENABLED")},
		{"checksum of nothing", "accepted", emptySHA256, headers(read, "x-amz-checksum-crc32", empty)},
		{"checksum of something, nothing sent", "BadDigest", emptySHA256, headers(read, "x-amz-checksum-crc32", crc)},
		{"Content-MD5 of something, nothing sent", "BadDigest", emptySHA256, headers(read, "Content-MD5", md5)},
		{"GET with a body", "InvalidRequest", unsigned, get("/key").withBody("x")},
		{"DELETE with a body", "InvalidRequest", unsigned, message{method: "DELETE", target: "/key", header: []field{host}}.withBody("x")},
		{"HEAD with a body of unknown length", "InvalidRequest", unsigned, message{method: "HEAD", target: "/key", header: []field{host}}.withBody("").chunkedByHTTP()},

		{"SDK algorithm", "accepted", unsigned, headers(object, "x-amz-sdk-checksum-algorithm", "CRC32", "x-amz-checksum-crc32", crc)},
		{"SDK algorithm in lower case", "accepted", unsigned, headers(object, "x-amz-sdk-checksum-algorithm", "crc32", "x-amz-checksum-crc32", crc)},
		{"SDK algorithm alone", "InvalidRequest", unsigned, headers(object, "x-amz-sdk-checksum-algorithm", "CRC32")},
		{"other SDK algorithm", "InvalidRequest", unsigned, headers(object, "x-amz-sdk-checksum-algorithm", "SHA256", "x-amz-checksum-crc32", crc)},
		{"unknown SDK algorithm", "InvalidRequest", unsigned, headers(object, "x-amz-sdk-checksum-algorithm", "CRC16", "x-amz-checksum-crc32", crc)},
		{"SDK algorithm alone on a GET", "InvalidRequest", emptySHA256, headers(read, "x-amz-sdk-checksum-algorithm", "CRC32")},

		{"trailer without framing", "InvalidRequest", unsigned, headers(object, "x-amz-trailer", "x-amz-checksum-crc32")},
		{"trailer in a form without", "InvalidRequest", streaming, headers(object, "x-amz-decoded-content-length", "7", "x-amz-trailer", "x-amz-checksum-crc32")},
		{"unknown trailer", "InvalidRequest", streamingUnsigned, headers(object, "x-amz-trailer", "x-amz-meta-a")},
		{"empty trailer", "InvalidRequest", streamingUnsigned, headers(object, "x-amz-trailer", "")},
		{"two trailers", "InvalidRequest", streamingUnsigned, headers(object, "x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-sha256")},
		{"two trailer headers", "InvalidArgument", streamingUnsigned, headers(object, "x-amz-trailer", "x-amz-checksum-crc32", "x-amz-trailer", "x-amz-checksum-crc32")},
		{"header and trailer", "InvalidRequest", streamingUnsigned, headers(object, "x-amz-trailer", "x-amz-checksum-crc32", "x-amz-checksum-crc32", crc)},
		{"SDK algorithm other than the trailer", "InvalidRequest", streamingUnsigned, headers(object, "x-amz-trailer", "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm", "SHA256")},

		{"decoded length, not framed", "accepted", unsigned, headers(object, "x-amz-decoded-content-length", "7")},
		{"wrong decoded length, not framed", "InvalidRequest", unsigned, headers(object, "x-amz-decoded-content-length", "8")},

		{"checksum of a completed object", "accepted", hexSHA256(payload), headers(complete, "x-amz-checksum-crc32", empty)},
		{"composite checksum of a completed object", "accepted", hexSHA256(payload), headers(complete, "x-amz-checksum-sha256", sha+"-3")},
		{"unknown checksum of a completed object", "InvalidRequest", hexSHA256(payload), headers(complete, "x-amz-checksum-crc16", "AAA=")},
		{"trailer of a Complete", "InvalidRequest", hexSHA256(payload), headers(complete, "x-amz-trailer", "x-amz-checksum-crc32")},
		{"Content-MD5 of Complete's own payload", "BadDigest", hexSHA256(payload), headers(complete, "Content-MD5", sumOf(checksum.MD5, "").String())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, got, err := tt.m.signed(tt.form).verify()
			wantCode(t, err, tt.code)
			if err != nil {
				return
			}
			if want := tt.m.body; string(got) != want || req.Body.Length() != int64(len(want)) {
				t.Errorf("payload %q of length %d", got, req.Body.Length())
			}
		})
	}
}

// CompleteMultipartUpload's checksum is the object's, so it goes to the handler.
func TestCompleteKeepsChecksum(t *testing.T) {
	m := message{method: "POST", target: "/key?uploadId=u", header: []field{host, {"X-Amz-Checksum-Sha256", "AAAA-2"}}}
	req, _, err := m.withBody("<xml/>").signed(unsigned).verify()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := req.Body.Declared(); ok || req.Header.Get("X-Amz-Checksum-Sha256") != "AAAA-2" {
		t.Errorf("header %v", req.Header)
	}
	m.header = m.header[:1]
	req, _, err = m.presigned("60", "X-Amz-Checksum-Crc32=AAAAAA%3D%3D").withBody("<xml/>").verify()
	if err != nil || req.Header.Get("X-Amz-Checksum-Crc32") != "AAAAAA==" {
		t.Errorf("presigned: %+v, %v", req, err)
	}
}

// What is known to be empty is verified by Verify: nobody reads it.
func TestEmptyVerifiedAtOnce(t *testing.T) {
	crc := sumOf(checksum.CRC32, "payload").String()
	for want, m := range map[string]message{
		"BadDigest":                 get("/key").with("X-Amz-Checksum-Crc32", crc).signed(emptySHA256),
		"XAmzContentSHA256Mismatch": get("/key").signed(hexSHA256("payload")),
		"IncompleteBody":            put("/key", "").signed(streamingUnsigned),
		"accepted":                  put("/key", "").signed(emptySHA256),
	} {
		r, err := m.receive()
		if err != nil {
			t.Fatal(err)
		}
		_, err = verifier().Verify(r)
		wantCode(t, err, want)
	}
}

// Every algorithm, in a header and in a trailer, right and wrong.
func TestEveryAlgorithm(t *testing.T) {
	payload := strings.Repeat("payload", 1000)
	for a := checksum.CRC32; a.Valid(); a++ {
		m := put("/key", payload).with(a.Header(), sumOf(a, payload).String())
		req, _, err := m.signed(unsigned).verify()
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		if v, ok := req.Body.Declared(); !ok || v.String() != sumOf(a, payload).String() {
			t.Errorf("%s: declared %v", a, v)
		}
		_, _, err = m.with(a.Header(), sumOf(a, "").String()).signed(unsigned).verify()
		wantCode(t, err, "BadDigest")

		m = put("/key", "").with("X-Amz-Trailer", a.Header()).signed(streamingUnsigned).framed(payload, 1000)
		req, _, err = m.verify()
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		if v, ok := req.Body.Checksum(); !ok || v.String() != sumOf(a, payload).String() || req.Body.TrailerAlgorithm() != a {
			t.Errorf("%s: checksum %v", a, v)
		}
		_, _, err = m.withBody(strings.Replace(m.body, sumOf(a, payload).String(), sumOf(a, "").String(), 1)).verify()
		wantCode(t, err, "BadDigest")
	}
}

// Who counts bytes and does not wait for io.EOF gets too few of a bad payload.
func TestLastBytesHeldBack(t *testing.T) {
	const payload = "payload"
	for name, m := range map[string]message{
		"sha256":   put("/key", "palyoad").signed(hexSHA256(payload)),
		"checksum": put("/key", "palyoad").with("x-amz-checksum-crc32", sumOf(checksum.CRC32, payload).String()).signed(unsigned),
		"trailer": stream(streamingUnsigned, payload, 100).
			withBody("7\r\npalyoad\r\n0\r\nx-amz-checksum-crc32:" + sumOf(checksum.CRC32, payload).String() + "\r\n\r\n"),
		"no end": stream(streamingUnsigned, payload, 100).withBody("7\r\npayload\r\n"),
	} {
		r, err := m.receive()
		if err != nil {
			t.Fatal(err)
		}
		req, err := verifier().Verify(r)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, req.Body.Length())
		n, err := io.ReadFull(req.Body, got)
		if err == nil || n == len(payload) {
			t.Errorf("%s: %q, %v", name, got[:n], err)
		}
		_, again := req.Body.Read(got)
		var e *sigv4.Error
		if !errors.As(again, &e) {
			t.Errorf("%s: the next error is %v", name, again)
		}
		if _, ok := req.Body.Checksum(); ok {
			t.Errorf("%s: there is a checksum", name)
		}
	}
}

// The body behaves as a reader, however the connection delivers it.
func TestBodyIsReader(t *testing.T) {
	payload := strings.Repeat("0123456789", 500)
	for _, form := range []string{streaming, streamingTrailer, streamingUnsigned, hexSHA256(payload), unsigned} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"plain":    func(r io.Reader) io.Reader { return r },
			"one byte": iotest.OneByteReader,
			"half":     iotest.HalfReader,
			"data err": iotest.DataErrReader,
		} {
			m := put("/key", payload).signed(form)
			if strings.HasPrefix(form, "STREAMING") {
				m = stream(form, payload, 64)
			}
			r, err := m.receive()
			if err != nil {
				t.Fatal(err)
			}
			r.Body = io.NopCloser(wrap(strings.NewReader(m.body)))
			req, err := verifier().Verify(r)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := req.Body.Read(nil); n != 0 || err != nil {
				t.Errorf("reading nothing: %d, %v", n, err)
			}
			if err := iotest.TestReader(req.Body, []byte(payload)); err != nil {
				t.Errorf("%s, %s: %v", form, name, err)
			}
		}
	}
}

// A fault of the connection is not the client's error, and lasts.
func TestConnectionFault(t *testing.T) {
	fault := errors.New("connection reset")
	payload := strings.Repeat("x", 5000)
	for _, form := range []string{streaming, streamingTrailer, streamingUnsigned, hexSHA256(payload), unsigned} {
		m := put("/key", payload).signed(form)
		if strings.HasPrefix(form, "STREAMING") {
			m = stream(form, payload, 1000)
		}
		for i := 0; i < len(m.body); i += 7 {
			r, err := m.receive()
			if err != nil {
				t.Fatal(err)
			}
			r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, int64(i)), iotest.ErrReader(fault)))
			req, err := verifier().Verify(r)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, req.Body)
			_, again := req.Body.Read(make([]byte, 1))
			var e *sigv4.Error
			if !errors.Is(err, fault) || !errors.Is(again, fault) || errors.As(err, &e) {
				t.Fatalf("%s after %d bytes: %v, then %v", form, i, err, again)
			}
		}
	}
}

// A wrapped end is no end.
func TestWrappedEOF(t *testing.T) {
	m := put("/key", "payload").signed(unsigned).chunkedByHTTP()
	r, err := m.receive()
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(iotest.ErrReader(fmt.Errorf("gone: %w", io.EOF)))
	req, err := verifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	_, err = req.Body.Read(make([]byte, 1))
	wantCode(t, err, "IncompleteBody")
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A chunk of 5 GiB takes no more memory than one of 5 bytes.
func TestConstantMemory(t *testing.T) {
	for _, form := range []string{streamingUnsigned, streaming} {
		m := put("/key", "x").with("X-Amz-Decoded-Content-Length", fmt.Sprint(5<<30)).signed(form)
		r, err := m.receive()
		if err != nil {
			t.Fatal(err)
		}
		head := "140000000"
		if form == streaming {
			head += ";chunk-signature=" + emptySHA256
		}
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(head+"\r\n"), zeros{}))
		r.ContentLength = -1
		req, err := verifier().Verify(r)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 32<<10)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 64 << 20 / len(buf) {
			if _, err := io.ReadFull(req.Body, buf); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes allocated for 64 MiB", form, n)
		}
	}
}

// A client that waits for 100 Continue is not asked for a body that is refused.
func TestExpectContinue(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := verifier().Verify(r)
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer server.Close()
	good := put("/key", "payload").with("Expect", "100-continue").signed(hexSHA256("payload"))
	for want, m := range map[string]message{
		"HTTP/1.1 100": good,
		"HTTP/1.1 403": good.with("X-Amz-Acl", "private"),
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		m.body = ""
		if _, err := io.WriteString(conn, m.String()); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("answer %q, %v, want %q", got, err, want)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever the payload and the chunks, what is framed comes out again.
func TestFramingProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		form := rapid.SampledFrom([]string{streaming, streamingTrailer, streamingUnsigned}).Draw(t, "form")
		chunks := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 300), 0, 10).Draw(t, "chunks")
		payload := string(bytes.Join(chunks, nil))
		m := stream(form, payload, 1)
		f := framer{}
		if form != streamingUnsigned {
			f.previous = m.signature()
		}
		for _, chunk := range chunks {
			f.chunk(string(chunk))
		}
		f.chunk("")
		line := ""
		if form != streaming {
			line = "x-amz-checksum-crc32:" + sumOf(checksum.CRC32, payload).String()
		}
		f.trailer(line, "\r\n")
		if _, got, err := m.withBody(f.b.String()).verify(); err != nil || string(got) != payload {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func BenchmarkBody(b *testing.B) {
	const size = 8 << 20
	payload := strings.Repeat("0123456789abcdef", size/16)
	for name, m := range map[string]message{
		"unsigned": put("/key", payload).signed(unsigned),
		"sha256":   put("/key", payload).signed(hexSHA256(payload)),
		"chunks":   stream(streaming, payload, 64<<10),
		"trailer":  stream(streamingUnsigned, payload, size),
	} {
		b.Run(name, func(b *testing.B) {
			r, err := m.receive()
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 64<<10)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(strings.NewReader(m.body))
				req, err := verifier().Verify(r)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = req.Body.Read(buf)
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
}
