package sigv4_test

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

// specimens are signed requests of every kind.
func specimens() map[string]message {
	const payload = "the payload of the specimen"
	object := message{method: "PUT", target: "/bucket/a%20key/%C3%BC?partNumber=2&uploadId=u%2B1", header: []field{
		host,
		{"X-Amz-Meta-Color", "light blue"},
		{"X-Amz-Storage-Class", "STANDARD"},
		{"If-None-Match", "*"},
	}}
	read := message{method: "GET", target: "/bucket?list-type=2&max-keys=10&prefix=a%2Fb", header: []field{host, {"Range", "bytes=0-9"}}}
	streamed := func(form string) message {
		m := object.with("Content-Encoding", "aws-chunked").with("X-Amz-Decoded-Content-Length", "27")
		if form != streaming {
			m = m.with("X-Amz-Trailer", "x-amz-checksum-crc32c")
		}
		return m.signed(form).framed(payload, 10)
	}
	return map[string]message{
		"GET":               read.signed(emptySHA256),
		"presigned GET":     read.presigned("60", "X-Amz-Meta-A=b"),
		"PUT":               object.withBody(payload).signed(hexSHA256(payload)),
		"PUT with checksum": object.withBody(payload).with("X-Amz-Checksum-Crc32", sumOf(checksum.CRC32, payload).String()).signed(unsigned),
		"chunks":            streamed(streaming),
		"chunks, trailer":   streamed(streamingTrailer),
		"unsigned, trailer": streamed(streamingUnsigned),
	}
}

// meaning is all of a request that a signature must protect.
type meaning struct {
	path, query, payload string
	header               http.Header
}

func meaningOf(req *sigv4.Request, payload []byte) meaning {
	m := meaning{path: req.Path, query: req.Query.Encode(), payload: string(payload), header: make(http.Header)}
	for key, values := range req.Header {
		// A signature leaves white space open, and headers that are not signed.
		if strings.HasPrefix(key, "X-Amz-") || key == "If-None-Match" || key == "Range" {
			m.header[key] = []string{strings.Join(strings.Fields(strings.Join(values, ",")), " ")}
		}
	}
	return m
}

// Mangle every byte of every specimen: what is still accepted means the same.
func TestMangledBytes(t *testing.T) {
	mutations := map[string]func(s string, i int) string{
		"flip":      func(s string, i int) string { return s[:i] + string([]byte{s[i] ^ 1}) + s[i+1:] },
		"case":      func(s string, i int) string { return s[:i] + string([]byte{s[i] ^ 0x20}) + s[i+1:] },
		"delete":    func(s string, i int) string { return s[:i] + s[i+1:] },
		"double":    func(s string, i int) string { return s[:i+1] + s[i:] },
		"space":     func(s string, i int) string { return s[:i] + " " + s[i:] },
		"plus":      func(s string, i int) string { return s[:i] + "+" + s[i+1:] },
		"ampersand": func(s string, i int) string { return s[:i] + "&" + s[i:] },
		"end":       func(s string, i int) string { return s[:i] + "\r\n" + s[i:] },
		"swap": func(s string, i int) string {
			return s[:i] + s[min(i+1, len(s)-1):min(i+2, len(s))] + s[i:i+1] + s[min(i+2, len(s)):]
		},
	}
	for name, m := range specimens() {
		req, payload, err := m.verify()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := meaningOf(req, payload)
		check := func(kind string, i int, wire string) {
			req, payload, err := verify(wire)
			if err != nil {
				return
			}
			if got := meaningOf(req, payload); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s at %d: accepted as %+v\n%s", name, kind, i, got, wire)
			}
		}
		for kind, mutate := range mutations {
			wire := m.String()
			for i := range len(wire) {
				check(kind, i, mutate(wire, i))
			}
			for i := range len(m.body) { // and its length told
				check(kind+" in body", i, m.withBody(mutate(m.body, i)).String())
			}
		}
	}
}

// Every digit of a signature counts.
func TestMangledSignatures(t *testing.T) {
	for name, m := range specimens() {
		wire := m.String()
		at := strings.Index(wire, "Signature=") + len("Signature=")
		for i := at; i < at+64; i++ {
			other := "0"
			if wire[i] == '0' {
				other = "1"
			}
			_, _, err := verify(wire[:i] + other + wire[i+1:])
			if code(err) != "SignatureDoesNotMatch" {
				t.Errorf("%s, digit %d: %v", name, i-at, err)
			}
		}
	}
}

// Nothing of the bytes that carry signatures and framing may change at all.
func TestMangledFraming(t *testing.T) {
	for name, m := range specimens() {
		for i := range len(m.body) {
			for bit := range 8 {
				mangled := []byte(m.body)
				mangled[i] ^= 1 << bit
				// Hexadecimal sizes and trailer names may be in upper case.
				if strings.EqualFold(string(mangled), m.body) {
					continue
				}
				if _, _, err := m.withBody(string(mangled)).verify(); err == nil {
					t.Errorf("%s: bit %d of byte %d of the body", name, bit, i)
				}
			}
		}
	}
}

// Every header counts: each dropped, changed, doubled and added.
func TestMangledHeaders(t *testing.T) {
	for name, m := range specimens() {
		refuse := func(what string, mangled message) {
			t.Helper()
			if _, _, err := mangled.verify(); err == nil {
				t.Errorf("%s: accepted with %s", name, what)
			}
		}
		for i, f := range m.header {
			if f.name == "Content-Length" {
				continue // framing, tested elsewhere
			}
			dropped, changed, emptied, doubled := m.clone(), m.clone(), m.clone(), m.clone()
			dropped.header = slices.Delete(dropped.header, i, i+1)
			changed.header[i].value += "x"
			emptied.header[i].value = ""
			doubled.header = append(doubled.header, f)
			refuse(f.name+" dropped", dropped)
			refuse(f.name+" changed", changed)
			refuse(f.name+" emptied", emptied)
			refuse(f.name+" doubled", doubled)
		}
		for _, added := range []field{
			{"x-amz-copy-source", "/other/secret"},
			{"X-AMZ-ACL", "public-read"},
			{"x-amz-meta-", ""},
			{"x-amz-server-side-encryption", "AES256"},
			{"x-amz-checksum-crc32", "AAAAAA=="},
			{"x-amz-security-token", "t"},
			{"x-amz-decoded-content-length", "27"},
			{"x-amz-trailer", "x-amz-checksum-crc32"},
			{"X-Amz-Date", date},
			{"X-Amz-Content-Sha256", emptySHA256},
			{"Authorization", "AWS4-HMAC-SHA256"},
		} {
			mangled := m.clone()
			mangled.header = append(mangled.header, added)
			refuse(added.name+" added", mangled)
		}
	}
}

// Every parameter counts as well.
func TestMangledQuery(t *testing.T) {
	for name, m := range specimens() {
		path, query, _ := strings.Cut(m.target, "?")
		params := strings.Split(query, "&")
		refuse := func(what string, params []string) {
			t.Helper()
			mangled := m
			mangled.target = path + "?" + strings.Join(params, "&")
			if _, _, err := mangled.verify(); err == nil {
				t.Errorf("%s: accepted with %s", name, what)
			}
		}
		for i, p := range params {
			param, _, _ := strings.Cut(p, "=")
			changed := slices.Clone(params)
			changed[i] += "0"
			emptied := slices.Clone(params)
			emptied[i] = param
			renamed := slices.Clone(params)
			renamed[i] = "x" + p
			refuse(p+" dropped", slices.Delete(slices.Clone(params), i, i+1))
			refuse(p+" changed", changed)
			refuse(p+" emptied", emptied)
			refuse(p+" renamed", renamed)
			refuse(p+" doubled", append(slices.Clone(params), p))
		}
		for _, p := range []string{"acl", "x-amz-copy-source=%2Fother%2Fsecret", "X-Amz-Meta-Z=1", "versionId=1", "=", "a;b"} {
			refuse(p+" added", append(slices.Clone(params), p))
		}
		reversed := slices.Clone(params)
		slices.Reverse(reversed)
		mangled := m
		mangled.target = path + "?" + strings.Join(reversed, "&")
		if _, _, err := mangled.verify(); err != nil {
			t.Errorf("%s: the order of parameters counts: %v", name, err)
		}
	}
}

// A signature is of no use for another request.
func TestSignaturesDoNotTransfer(t *testing.T) {
	all := specimens()
	for from := range maps.Keys(all) {
		for to, m := range all {
			authorization := all[from].get("Authorization")
			if from == to || authorization == "" || m.get("Authorization") == "" {
				continue
			}
			if _, _, err := m.with("Authorization", authorization).verify(); err == nil {
				t.Errorf("the signature of %s is good for %s", from, to)
			}
		}
	}
}
