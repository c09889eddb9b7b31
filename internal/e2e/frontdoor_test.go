package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// bodySizes are below and above what the proxy verifies before it asks the store anything.
var bodySizes = []int{10, frame, frame + 1, 1<<20 + frame + 5}

// TestFramings: every way to send a body stores it; so what the tests below spoil was right before.
func TestFramings(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for _, n := range append([]int{0, 1}, bodySizes...) {
			plain := pattern(n)
			forms := map[string]message{
				"hash":     r.putMessage("key", sha256hex(plain), text(plain)),
				"unsigned": r.putMessage("key", unsignedPayload, text(plain)).with("Content-Md5", sumOf(checksum.MD5, plain)),
			}
			for _, hash := range []string{unsignedTrailer, signedChunks, signedTrailer} {
				m := r.streamed("key", hash, plain, checksum.CRC64NVME)
				forms[hash] = m
				m.chunked = true
				forms[hash+", chunked"] = m
			}
			for name, m := range forms {
				testbed.Must(r.direct.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
				if a := r.send(t, m); a.status != http.StatusOK {
					t.Errorf("%d bytes, %s: %d %s", n, name, a.status, a.body)
				} else if got, _, err := r.get(t, "key", ""); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%d bytes, %s: got %d bytes, %v", n, name, len(got), err)
				}
			}
		}
	})
}

// spoiled is a PUT whose body is not what its head says, and the answer to it. The status is 0 where the client's side of
// the connection has ended, so that nobody is there to be told.
type spoiled struct {
	message
	status int
	code   string
}

// spoiledBodies returns every way that a body can be wrong, by name.
func (r *rig) spoiledBodies(plain []byte) map[string]spoiled {
	const key, bad, denied = "", http.StatusBadRequest, http.StatusForbidden
	other := append([]byte("x"), plain[1:]...)
	longer := append(bytes.Clone(plain), "more"...)
	n := int64(len(plain))
	all := map[string]spoiled{
		"SHA-256 of another body": {r.putMessage(key, sha256hex(other), text(plain)), bad, "XAmzContentSHA256Mismatch"},
		"Content-MD5 of another body": {
			r.putMessage(key, unsignedPayload, text(plain)).with("Content-Md5", sumOf(checksum.MD5, other)), bad, "BadDigest",
		},
		"longer than announced": {
			r.putMessage(key, sha256hex(longer), text(longer)), bad, "XAmzContentSHA256Mismatch",
		},
		"no length": {message: r.putMessage(key, unsignedPayload, text(plain)), status: http.StatusLengthRequired, code: "MissingContentLength"},
	}
	for a := checksum.CRC32; a.Valid(); a++ {
		all[a.String()+" header of another body"] = spoiled{
			r.putMessage(key, unsignedPayload, text(plain)).with(a.Header(), sumOf(a, other)), bad, "BadDigest",
		}
	}
	change := func(name string, f func(*message)) {
		s := all[name]
		f(&s.message)
		all[name] = s
	}
	change("longer than announced", func(m *message) { m.missing = -4 })
	change("no length", func(m *message) { m.chunked = true })
	for _, missing := range []int64{1, 4, n/2 + 1, 1 << 40} {
		m := r.putMessage(key, unsignedPayload, text(plain))
		if m.missing = missing; missing > n {
			all["longer than S3 allows"] = spoiled{m, bad, "EntityTooLarge"}
			continue
		}
		all[fmt.Sprintf("%d bytes do not come", missing)] = spoiled{message: m}
	}

	for _, hash := range []string{unsignedTrailer, signedChunks, signedTrailer} {
		add := func(name string, m message, status int, code string) {
			all[hash+", "+name] = spoiled{m, status, code}
			m.chunked = true
			all[hash+", "+name+", chunked"] = spoiled{m, status, code}
		}
		right := r.streamed(key, hash, plain, checksum.CRC32)
		changed := func(f func(string) string) message {
			m := right
			m.body = m.body.spoil(f)
			return m
		}
		framed := right.body(strings.Repeat("0", 64))
		data := strings.Index(framed, "\r\n") + 3 // the second byte
		flip := func(at int) func(string) string {
			return func(s string) string { return s[:at] + string([]byte{s[at] ^ 1}) + s[at+1:] }
		}
		unlengthed := right
		unlengthed.header = right.with("X-Amz-Decoded-Content-Length", "").header
		delete(unlengthed.header, "X-Amz-Decoded-Content-Length")
		add("no decoded length", unlengthed, http.StatusLengthRequired, "MissingContentLength")
		for _, off := range []int64{-1, 1, -n, 1 << 20} {
			add(fmt.Sprintf("decoded length off by %d", off), right.with("X-Amz-Decoded-Content-Length", fmt.Sprint(n+off)), bad, "IncompleteBody")
		}
		add("no framing", changed(func(string) string { return string(plain) }), bad, "IncompleteBody")
		add("a size that is no number", changed(func(s string) string { return "g" + s[1:] }), bad, "IncompleteBody")
		add("a negative size", changed(func(s string) string { return "-" + s }), bad, "IncompleteBody")
		add("a huge size", changed(func(s string) string { return "ffffffffffffffff" + s }), bad, "IncompleteBody")
		add("bytes behind the end", changed(func(s string) string { return s + "0\r\n\r\n" }), bad, "IncompleteBody")
		add("no last chunk", changed(func(s string) string { return s[:strings.LastIndex(s, "\r\n0")+2] }), bad, "IncompleteBody")
		if hash != signedChunks {
			wrong := r.streamed(key, hash, other, checksum.CRC32)
			lies := framing{size: 70_000, signed: hash == signedTrailer, at: right.at, trailer: checksum.CRC32.Header() + ":" + sumOf(checksum.CRC32, other)}
			wrong.at, wrong.body = right.at, lies.frames(plain)
			add("checksum of another body", wrong, bad, "BadDigest")
			nothing := framing{size: 70_000, signed: lies.signed, at: right.at}
			silent := right
			silent.body = nothing.frames(plain)
			add("no checksum", silent, bad, "MalformedTrailerError")
		}
		if hash == unsignedTrailer {
			add("a flipped byte", changed(flip(data)), bad, "BadDigest")
		} else {
			add("a flipped byte", changed(flip(data)), denied, "SignatureDoesNotMatch")
			add("a flipped byte before the end", changed(func(s string) string { i := strings.LastIndex(s, "\r\n0;"); return flip(i - 1)(s) }), denied, "SignatureDoesNotMatch")
			add("a chunk's signature", changed(func(s string) string { return flip(strings.Index(s, "=") + 10)(s) }), denied, "SignatureDoesNotMatch")
			add("the last chunk's signature", changed(func(s string) string { return flip(strings.LastIndex(s, "chunk-signature=") + 20)(s) }), denied, "SignatureDoesNotMatch")
			add("chunks of another request", func() message {
				m := r.streamed(key, hash, plain, checksum.CRC32)
				m.body = func(string) string { return right.body(strings.Repeat("0", 64)) }
				return m
			}(), denied, "SignatureDoesNotMatch")
		}
		if hash == signedTrailer {
			add("the trailer's signature", changed(func(s string) string { return flip(len(s) - 6)(s) }), denied, "SignatureDoesNotMatch")
		}
		whole := len(framed)
		for _, at := range []int{0, 1, 3, data, whole / 2, whole - 100, whole - 60, whole - 5, whole - 2, whole - 1} {
			at = max(0, min(at, whole-1))
			cut := changed(func(s string) string { return s[:at] })
			add(fmt.Sprintf("cut at %d of %d", at, whole), cut, bad, "IncompleteBody")
			cut.missing = int64(whole - at)
			all[fmt.Sprintf("%s, connection ends at %d of %d", hash, at, whole)] = spoiled{message: cut}
		}
	}
	return all
}

// TestSpoiledBodies: a body that is not what its head says is refused, and the store is never sent the whole of it. If it
// is small the store does not even hear of it.
func TestSpoiledBodies(t *testing.T) {
	for _, n := range bodySizes {
		r := newRig(t, testbed.Store(t), options{})
		r.sendSpoiled(t, n)
		for _, x := range requests(r.wire) {
			announced := testbed.Must(strconv.ParseInt(x.Header.Get("Content-Length"), 10, 64))(t)
			if announced <= envelope.SealedSize(frame) || x.Size >= announced {
				t.Errorf("%d bytes, %s: the store was sent %d of %d bytes", n, x.Header.Get("X-Amz-Meta-Case"), x.Size, announced)
			}
		}
	}
}

// sendSpoiled sends all that spoiledBodies has, half of it to a key with an object and half to one without.
func (r *rig) sendSpoiled(t *testing.T, n int) {
	t.Helper()
	cases := r.spoiledBodies(pattern(n))
	for i, name := range slices.Sorted(maps.Keys(cases)) {
		s := cases[name]
		s.target += []string{"old", "new"}[i%2]
		a := r.send(t, s.with("X-Amz-Meta-Case", name))
		if a.status != s.status || a.Code != s.code {
			t.Errorf("%d bytes, %s: %d %q, want %d %q", n, name, a.status, a.Code, s.status, s.code)
		}
	}
	r.upstream.rest(t)
}

// TestSpoiledBodiesAtTheStore: where there was no object there is none, and what was there stays. Nothing is between proxy and
// store here: it is the reset of the connection that keeps versitygw from storing what it has got so far.
func TestSpoiledBodiesAtTheStore(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, at(t, store.URL))
		r.put(t, "old", []byte("what was there"))
		before, metadata := r.stored(t, "old")
		r.sendSpoiled(t, 2<<20+5)
		if after, m := r.stored(t, "old"); !bytes.Equal(before, after) || m["sseproxy"] != metadata["sseproxy"] {
			t.Error("the old object is another")
		}
		list := testbed.Must(r.direct.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
		if *list.KeyCount != 1 {
			t.Errorf("%d objects", *list.KeyCount)
		}
	})
}

// TestRefusedAtTheDoor: what is not signed, not for here or not for now never gets to the store.
func TestRefusedAtTheDoor(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", []byte("body"))
	const bad, denied = http.StatusBadRequest, http.StatusForbidden
	body := []byte("another")
	put := r.putMessage("key", sha256hex(body), text(body))
	get := message{method: http.MethodGet, target: put.target, hash: sha256hex("")}
	presigned := put
	presigned.hash, presigned.expires = unsignedPayload, 60
	change := func(m message, f func(*message)) message { f(&m); return m }
	at := func(m message, key string) message {
		m.target = "/" + r.bucket + "/" + key
		return m
	}
	late := func(m message, line string) message { m.late = []string{line}; return m }
	signedAt := func(m message, ago time.Duration) message { m.at = time.Now().Add(-ago); return m }
	for name, try := range map[string]spoiled{
		"anonymous PUT":                   {put.without("Authorization"), denied, "AccessDenied"},
		"anonymous GET":                   {get.without("Authorization"), denied, "AccessDenied"},
		"unknown access key":              {change(put, func(m *message) { m.access, m.secret = "AKIDNOBODY", secretKey }), denied, "InvalidAccessKeyId"},
		"the store's access key":          {change(put, func(m *message) { m.access, m.secret = r.store.AccessKeyID, r.store.SecretAccessKey }), denied, "InvalidAccessKeyId"},
		"wrong secret":                    {change(put, func(m *message) { m.access, m.secret = accessKey, "another" }), denied, "SignatureDoesNotMatch"},
		"empty secret":                    {change(put, func(m *message) { m.access, m.secret = accessKey, "" }), denied, "SignatureDoesNotMatch"},
		"session token":                   {change(put, func(m *message) { m.token = "token" }), bad, "InvalidToken"},
		"session token, presigned":        {change(presigned, func(m *message) { m.token = "token" }), bad, "InvalidToken"},
		"another region":                  {change(put, func(m *message) { m.region = "mars-north-1" }), bad, "AuthorizationHeaderMalformed"},
		"another region, presigned":       {change(presigned, func(m *message) { m.region = "mars-north-1" }), bad, "AuthorizationQueryParametersError"},
		"signature version 2":             {put.replace(t, "AWS4-HMAC-SHA256 ", "AWS "+accessKey+":"), bad, "InvalidRequest"},
		"signature version 2, presigned":  {get.without("Authorization").replace(t, " HTTP/1.1", "?AWSAccessKeyId="+accessKey+"&Expires=9999999999&Signature=x HTTP/1.1"), bad, "InvalidRequest"},
		"signature version 4A":            {put.replace(t, "AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "), http.StatusNotImplemented, "NotImplemented"},
		"two signatures":                  {presigned.replace(t, "\r\n\r\n", "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a\r\n\r\n"), bad, "InvalidArgument"},
		"another method":                  {put.replace(t, "PUT ", "DELETE "), denied, "SignatureDoesNotMatch"},
		"another key":                     {put.replace(t, "/key ", "/other "), denied, "SignatureDoesNotMatch"},
		"a sub-resource added":            {put.replace(t, "/key ", "/key?acl "), denied, "SignatureDoesNotMatch"},
		"a parameter added, presigned":    {presigned.replace(t, " HTTP/1.1", "&versionId=1 HTTP/1.1"), denied, "SignatureDoesNotMatch"},
		"another host":                    {put.replace(t, "Host: ", "Host: x"), denied, "SignatureDoesNotMatch"},
		"a longer life":                   {presigned.replace(t, "Expires=60", "Expires=6000"), denied, "SignatureDoesNotMatch"},
		"no hash of the body":             {put.without("X-Amz-Content-Sha256"), bad, "InvalidRequest"},
		"a hash that is none":             {change(put, func(m *message) { m.hash = "UNSIGNED" }), bad, "InvalidArgument"},
		"copy source not signed":          {late(put, "x-amz-copy-source: /"+r.bucket+"/secret"), denied, "AccessDenied"},
		"copy source on a presigned URL":  {late(presigned, "x-amz-copy-source: /"+r.bucket+"/secret"), denied, "AccessDenied"},
		"metadata not signed":             {late(put, "X-Amz-Meta-A: 1"), denied, "AccessDenied"},
		"metadata on a presigned URL":     {late(presigned, "X-Amz-Meta-A: 1"), denied, "AccessDenied"},
		"tags not signed":                 {late(put, "X-AMZ-TAGGING: a=b"), denied, "AccessDenied"},
		"ACL on a presigned URL":          {late(presigned, "x-amz-acl: public-read"), denied, "AccessDenied"},
		"another length of the body":      {late(presigned, "X-Amz-Decoded-Content-Length: 1"), denied, "AccessDenied"},
		"reserved metadata":               {put.with("X-Amz-Meta-Sseproxy", "x"), bad, "InvalidArgument"},
		"reserved metadata, presigned":    {at(presigned, "key?x-amz-meta-sseproxy=x"), bad, "InvalidArgument"},
		"reserved metadata in upper case": {at(presigned, "key?X-AMZ-META-SSEPROXY=x"), bad, "InvalidArgument"},
		"16 minutes late":                 {signedAt(put, 16*time.Minute), denied, "RequestTimeTooSkewed"},
		"16 minutes early":                {signedAt(put, -16*time.Minute), denied, "RequestTimeTooSkewed"},
		"presigned, 16 minutes early":     {signedAt(presigned, -16*time.Minute), denied, "AccessDenied"},
		"presigned, a second over":        {signedAt(presigned, 61*time.Second), denied, "AccessDenied"},
		"presigned, a year over":          {signedAt(presigned, 365*24*time.Hour), denied, "AccessDenied"},
		"presigned for more than a week":  {change(presigned, func(m *message) { m.expires = 604801 }), bad, "AuthorizationQueryParametersError"},
		"presigned for no time":           {change(presigned, func(m *message) { m.expires = -1 }), bad, "AuthorizationQueryParametersError"},
		"PUT of the proxy's key":          {at(put, ".sseproxy/key"), denied, "AccessDenied"},
		"GET of the proxy's key":          {at(get, ".sseproxy/key"), denied, "AccessDenied"},
		"HEAD of the proxy's key":         {at(change(get, func(m *message) { m.method = http.MethodHead }), ".sseproxy/key"), denied, ""},
		"DELETE of the proxy's key":       {at(change(get, func(m *message) { m.method = http.MethodDelete }), ".sseproxy/key"), denied, "AccessDenied"},
		"ACL of the proxy's key":          {at(get, ".sseproxy/key?acl"), denied, "AccessDenied"},
		"the proxy's key, encoded":        {at(put, "%2Esseproxy%2Fkey"), denied, "AccessDenied"},
		"the proxy's key, by a detour":    {at(put, "a/../.sseproxy/key"), denied, "AccessDenied"},
		"the proxy's key, doubled slash":  {at(put, "/.sseproxy//key"), denied, "AccessDenied"},
	} {
		r.wire.Reset()
		a := r.send(t, try.message)
		if a.status != try.status || a.Code != try.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, try.status, try.code)
		}
		if a.header.Get("X-Amz-Request-Id") == "" {
			t.Errorf("%s: no request id", name)
		}
		if n := len(r.wire.Requests()); n != 0 {
			t.Errorf("%s: %d requests to the store", name, n)
		}
	}
	if got, _, err := r.get(t, "key", ""); err != nil || string(got) != "body" {
		t.Errorf("the object is %q, %v", got, err)
	}
}

// TestPresignedLife: a presigned URL is good from 15 minutes before its date (clocks differ) to the second of its end: no
// earlier because the 15 minutes are over, and no later because they are not.
func TestPresignedLife(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for name, m := range map[string]message{
		"an hour, 59 minutes old": {at: time.Now().Add(-59 * time.Minute), expires: 3600},
		"a week, 6 days old":      {at: time.Now().Add(-6 * 24 * time.Hour), expires: 604800},
		"14 minutes early":        {at: time.Now().Add(14 * time.Minute), expires: 1},
		"a minute, 50 s old":      {at: time.Now().Add(-50 * time.Second), expires: 60},
	} {
		m.method, m.target, m.hash, m.body = http.MethodPut, "/"+r.bucket+"/key", unsignedPayload, text("body")
		if a := r.send(t, m); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// TestContinue: who is refused is never asked for a body, whatever is wrong; who is not, is.
func TestContinue(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	body := pattern(3 << 20)
	right := r.putMessage("key", sha256hex(body), text(body)).with("Expect", "100-continue")
	change := func(f func(*message)) message { m := right; f(&m); return m }
	for name, try := range map[string]struct {
		message
		status int
	}{
		"right":           {right, http.StatusContinue},
		"empty":           {r.putMessage("empty", sha256hex(""), text("")).with("Expect", "100-continue"), http.StatusContinue},
		"anonymous":       {right.without("Authorization"), http.StatusForbidden},
		"wrong secret":    {change(func(m *message) { m.access, m.secret = accessKey, "x" }), http.StatusForbidden},
		"unknown":         {change(func(m *message) { m.access, m.secret = "x", "x" }), http.StatusForbidden},
		"header unsigned": {change(func(m *message) { m.late = []string{"X-Amz-Meta-A: 1"} }), http.StatusForbidden},
		"expired":         {change(func(m *message) { m.at, m.expires, m.hash = time.Now().Add(-time.Hour), 60, unsignedPayload }), http.StatusForbidden},
		"refused":         {change(func(m *message) { m.target += "?newfeature" }), http.StatusNotImplemented},
		"a copy":          {right.with("X-Amz-Copy-Source", "a/b"), http.StatusBadRequest},
		"too large":       {change(func(m *message) { m.missing = 6 << 30 }), http.StatusBadRequest},
		"no length":       {change(func(m *message) { m.chunked, m.hash = true, unsignedPayload }), http.StatusLengthRequired},
		"reserved key":    {change(func(m *message) { m.target = "/" + r.bucket + "/.sseproxy/x" }), http.StatusForbidden},
	} {
		head, sent := try.wire(t, r.url)
		c := r.dial(t)
		testbed.Must(io.WriteString(c, head))(t)
		from := bufio.NewReader(c)
		first, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if first.StatusCode != try.status {
			t.Errorf("%s: %d, want %d", name, first.StatusCode, try.status)
		}
		if try.status == http.StatusContinue && first.StatusCode == http.StatusContinue {
			testbed.Must(io.WriteString(c, sent))(t)
			if a := readAnswer(t, from, http.MethodPut); a.status != http.StatusOK {
				t.Errorf("%s: in the end %d %s", name, a.status, a.body)
			}
		}
		_ = c.Close()
	}
}

// TestBodyOfNobody: no byte of a body is read before its sender is known.
func TestBodyOfNobody(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	m := r.putMessage("key", unsignedPayload, text("")).with("Content-Type", "text/plain")
	m.missing, m.access, m.secret = 1<<30, accessKey, "wrong"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	head, _ := m.wire(t, r.url)
	c := r.dial(t)
	testbed.Must(io.WriteString(c, head))(t)
	done := make(chan answer, 1)
	go func() { done <- readAnswer(t, bufio.NewReader(c), http.MethodPut) }()
	select {
	case a := <-done:
		if a.status != http.StatusForbidden {
			t.Errorf("%d %s", a.status, a.body)
		}
	case <-ctx.Done():
		t.Error("no answer while the body does not come")
	}
}
