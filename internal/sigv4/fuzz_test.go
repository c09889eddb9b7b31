package sigv4_test

import (
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// FuzzAuthorization: a header that is accepted says exactly what the genuine one
// says.
func FuzzAuthorization(f *testing.F) {
	m := get("/key").signed(emptySHA256)
	genuine := m.get("Authorization")
	for _, s := range []string{
		genuine, strings.ReplaceAll(genuine, ",", ", "), strings.Replace(genuine, accessKeyID, "a/b/c", 1),
		strings.Replace(genuine, "host;", "", 1), genuine + ",", "AWS4-HMAC-SHA256", "AWS AKID:c2ln", "", "Credential=////",
		"AWS4-HMAC-SHA256 Credential=AKID/20130524/us-east-1/s3/aws4_request, SignedHeaders=, Signature=",
	} {
		f.Add(s)
	}
	components := func(s string) map[string]string {
		parts := make(map[string]string)
		scheme, rest, _ := strings.Cut(s, " ")
		for part := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			parts[name] += "=" + value
		}
		parts[""] = scheme
		return parts
	}
	f.Fuzz(func(t *testing.T, authorization string) {
		r, err := m.receive()
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Authorization"] = []string{authorization}
		if _, err = verifier().Verify(r); err == nil && !reflect.DeepEqual(components(authorization), components(genuine)) {
			t.Errorf("accepted %q", authorization)
		}
	})
}

// reference decodes percent-encoding, and reports whether it is well formed.
func reference(s string, plus bool) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%':
			n, ok := new(big.Int).SetString(s[min(i+1, len(s)):min(i+3, len(s))], 16)
			if !ok || i+3 > len(s) || strings.ContainsAny(s[i:i+3], "+-_") {
				return "", false
			}
			b.WriteByte(byte(n.Int64()))
			i += 2
		case s[i] == '+' && plus:
			b.WriteByte(' ')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), true
}

// FuzzTarget: any well-formed target, signed in its canonical form, is accepted
// and decoded; any other is refused. Signed as it is written it is accepted only
// with the same meaning.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"/", "/key", "/a%20b?p=c%2Bd", "/a+b?c+d=e+f", "/%2e%2E/..//?&&=&a&a=&a=b;c", "/k?p=%C3%BC&p=%c3%bc&P=x", "/%zz", "/?%", "/?x-amz-acl=private",
		"/?X-Amz-Signature=0", "/k?uploadId=1&partNumber=2", "/?a-b=1&a=2", "http://h/k", "*", "/?a==b=", "/\xff?\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if len(target) > 10_000 {
			return
		}
		rawPath, rawQuery, _ := strings.Cut(target, "?")
		path, ok := reference(rawPath, false)
		ok = ok && strings.HasPrefix(target, "/") && !strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f })
		query := make(url.Values)
		var amz bool
		for pair := range strings.SplitSeq(rawQuery, "&") {
			if pair == "" {
				continue
			}
			rawName, rawValue, _ := strings.Cut(pair, "=")
			name, ok1 := reference(rawName, true)
			value, ok2 := reference(rawValue, true)
			ok = ok && ok1 && ok2
			query[name] = append(query[name], value)
			amz = amz || strings.HasPrefix(strings.ToLower(name), "x-amz-") || name == "AWSAccessKeyId" || name == "Signature"
		}
		names := slices.Collect(maps.Keys(query))
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(percent(a, ""), percent(b, "")) })
		var canonical []string
		for _, name := range names {
			slices.SortFunc(query[name], func(a, b string) int { return strings.Compare(percent(a, ""), percent(b, "")) })
			for _, value := range query[name] {
				canonical = append(canonical, percent(name, "")+"="+percent(value, ""))
			}
		}

		m := get("/").with("X-Amz-Date", date).with("X-Amz-Content-Sha256", emptySHA256)
		for form, m := range map[string]message{
			"canonical": m.authorized(percent(path, "/"), strings.Join(canonical, "&"), emptySHA256),
			"as sent":   m.authorized(rawPath, rawQuery, emptySHA256),
		} {
			r, err := m.receive()
			if err != nil {
				t.Fatal(err)
			}
			r.RequestURI = target
			req, err := verifier().Verify(r)
			switch {
			case err == nil && (!ok || amz):
				t.Errorf("%q, signed %s: accepted", target, form)
			case err == nil && (req.Path != path || !reflect.DeepEqual(req.Query, query)):
				t.Errorf("%q, signed %s: accepted as %q %q, want %q %q", target, form, req.Path, req.Query, path, query)
			case err != nil && ok && !amz && form == "canonical":
				t.Errorf("%q, signed %s: %v", target, form, err)
			}
		}
	})
}

var (
	unsignedChunk = regexp.MustCompile(`^([0-9a-fA-F]+)\r\n`)
	signedChunk   = regexp.MustCompile(`^([0-9a-fA-F]+);chunk-signature=([0-9a-f]{64})\r\n`)
	trailerLine   = regexp.MustCompile(`^(?i:x-amz-checksum-crc32):([A-Za-z0-9+/]{6}==)\n?\r\n`)
	trailerEnd    = regexp.MustCompile(`^x-amz-trailer-signature:([0-9a-f]{64})\r\n`)
)

// unframe is a strict decoder of a whole framed payload.
func unframe(body, form, seed string, length int64) (string, bool) {
	f := framer{previous: seed}
	header := unsignedChunk
	if form != streamingUnsigned {
		header = signedChunk
	}
	var payload strings.Builder
	for {
		match := header.FindStringSubmatch(body)
		if match == nil || len(match[0]) > 1024 {
			return "", false
		}
		body = body[len(match[0]):]
		size, _ := new(big.Int).SetString(match[1], 16)
		if size.Cmp(big.NewInt(int64(len(body)))) > 0 {
			return "", false
		}
		data := body[:size.Int64()]
		if form != streamingUnsigned && match[2] != f.continues("AWS4-HMAC-SHA256-PAYLOAD", hexSHA256(""), hexSHA256(data)) {
			return "", false
		}
		payload.WriteString(data)
		body = body[len(data):]
		if data == "" {
			break
		}
		if !strings.HasPrefix(body, "\r\n") {
			return "", false
		}
		body = body[2:]
	}
	if form != streaming {
		match := trailerLine.FindStringSubmatch(body)
		if match == nil || match[1] != sumOf(checksum.CRC32, payload.String()).String() {
			return "", false
		}
		body = body[len(match[0]):]
		if form == streamingTrailer {
			end := trailerEnd.FindStringSubmatch(body)
			if end == nil || end[1] != f.continues("AWS4-HMAC-SHA256-TRAILER", hexSHA256("x-amz-checksum-crc32:"+match[1]+"\n")) {
				return "", false
			}
			body = body[len(end[0]):]
		}
	}
	return payload.String(), body == "\r\n" && (length < 0 || length == int64(payload.Len()))
}

// FuzzChunked: the reader agrees with a strict decoder on what is well framed
// and what is in it.
func FuzzChunked(f *testing.F) {
	const payload = "some payload"
	forms := []string{streaming, streamingTrailer, streamingUnsigned}
	heads := make([]message, len(forms))
	for i, form := range forms {
		heads[i] = stream(form, payload, 5)
		f.Add(i, heads[i].body, false)
		f.Add(i, heads[i].body+"\r\n", false)
		f.Add(i, heads[i].body[:len(heads[i].body)-2], true)
	}
	for _, s := range []string{
		"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "0\r\nX-Amz-Checksum-CRC32:AAAAAA==\n\r\n\r\n", "1\r\nx\r\n0\r\n\r\n",
		"00000c\r\nsome payload\r\n0\r\nx-amz-checksum-crc32:" + sumOf(checksum.CRC32, payload).String() + "\r\n\r\n",
		"ffffffffffffffff\r\n", "-1\r\n", "+0\r\n", "0;a=b\r\n", "\r\n", "0\n\n", "5\r\nhello\n0\r\n",
	} {
		f.Add(2, s, true)
		f.Add(2, s, false)
	}
	noLength := heads[2].with("X-Amz-Decoded-Content-Length", "").with("Authorization", "").signed(streamingUnsigned)
	f.Fuzz(func(t *testing.T, i int, body string, unknown bool) {
		if i < 0 || i >= len(forms) {
			return
		}
		m, length := heads[i], int64(len(payload))
		if unknown && forms[i] == streamingUnsigned {
			m, length = noLength, -1
		}
		seed := m.signature()
		if forms[i] == streamingUnsigned {
			seed = ""
		}
		want, ok := unframe(body, forms[i], seed, length)
		_, got, err := m.withBody(body).verify()
		if (err == nil) != ok || ok && string(got) != want {
			t.Errorf("%s, length %d, %q: got %q, %v; want %q, %v", forms[i], length, body, got, err, want, ok)
		}
	})
}

// The strict decoder itself agrees with the examples.
func TestUnframe(t *testing.T) {
	for _, form := range []string{streaming, streamingTrailer, streamingUnsigned} {
		m := stream(form, "payload", 3)
		seed := m.signature()
		if form == streamingUnsigned {
			seed = ""
		}
		if got, ok := unframe(m.body, form, seed, 7); !ok || got != "payload" {
			t.Errorf("%s: %q, %v", form, got, ok)
		}
		if _, ok := unframe(m.body, form, seed, 8); ok {
			t.Error(fmt.Sprint(form, ": length ignored"))
		}
	}
}
