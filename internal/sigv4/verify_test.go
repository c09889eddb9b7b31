package sigv4_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

const unsigned = "UNSIGNED-PAYLOAD"

var host = field{"Host", "bucket.example:9000"}

func get(target string) message {
	return message{method: "GET", target: target, header: []field{host}}
}

func put(target, body string) message {
	return message{method: "PUT", target: target, header: []field{host}}.withBody(body)
}

// Each case differs in one thing from a request that is accepted.
func TestRefused(t *testing.T) {
	signedGet := get("/key").signed(emptySHA256)
	presignedGet := get("/key").presigned("60")
	rescope := func(m message, from, to string) message {
		return m.with("Authorization", strings.Replace(m.get("Authorization"), from, to, 1))
	}
	retarget := func(m message, from, to string) message {
		m.target = strings.Replace(m.target, from, to, 1)
		return m
	}
	for _, m := range []message{signedGet, presignedGet} {
		if _, _, err := m.verify(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, code string
		m          message
	}{
		{"nothing", "AccessDenied", get("/key")},
		{"only a date", "AccessDenied", get("/key").with("X-Amz-Date", date)},

		// Other ways of authentication.
		{"version 2", "InvalidRequest", get("/key").with("Authorization", "AWS AKID:c2ln")},
		{"version 2 query", "InvalidRequest", get("/key?AWSAccessKeyId=AKID&Signature=c2ln&Expires=1")},
		{"version 4A", "NotImplemented", rescope(signedGet, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")},
		{"version 4A query", "AuthorizationQueryParametersError", retarget(presignedGet, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")},
		{"basic", "InvalidArgument", get("/key").with("Authorization", "Basic Zm9vOmJhcg==")},
		{"empty", "InvalidArgument", message{method: "GET", target: "/key", header: []field{host, {"Authorization", ""}}}},
		{"header and query", "InvalidArgument", presignedGet.with("Authorization", signedGet.get("Authorization"))},
		{"header and part of a query", "InvalidArgument", get("/key?X-Amz-Expires=60").signed(emptySHA256)},
		{"header and version 2 query", "InvalidArgument", get("/key?Signature=c2ln").signed(emptySHA256)},
		{"query of both versions", "InvalidArgument", get("/key?AWSAccessKeyId=AKID").presigned("60")},
		{"session token", "InvalidToken", get("/key").with("X-Amz-Security-Token", "token").signed(emptySHA256)},
		{"unsigned session token", "AccessDenied", signedGet.with("X-Amz-Security-Token", "session")},
		{"unsigned token of a presigned one", "InvalidToken", presignedGet.with("X-Amz-Security-Token", "session")},
		{"session token taken away", "SignatureDoesNotMatch", get("/key").with("X-Amz-Security-Token", "session").signed(emptySHA256).with("X-Amz-Security-Token", "")},
		{"session that is over", "ExpiredToken", get("/key").with("X-Amz-Security-Token", "over").signed(emptySHA256)},
		{"presigned session that is over", "ExpiredToken", get("/key").presigned("60", "X-Amz-Security-Token=over")},
		{"session token put in place of another", "SignatureDoesNotMatch", retarget(get("/key").presigned("60", "X-Amz-Security-Token=other"), "=other", "=session")},
		{"presigned session token", "InvalidToken", get("/key").presigned("60", "X-Amz-Security-Token=token")},
		{"express session", "InvalidToken", get("/key").with("X-Amz-S3session-Token", "token").signed(emptySHA256)},
		{"express service", "AuthorizationHeaderMalformed", rescope(signedGet, "/s3/", "/s3express/")},

		// The Authorization header.
		{"lower-case algorithm", "InvalidArgument", rescope(signedGet, "AWS4-HMAC-SHA256", "aws4-hmac-sha256")},
		{"no credential", "AuthorizationHeaderMalformed", rescope(signedGet, "Credential="+accessKeyID+"/"+scope+",", "")},
		{"two credentials", "AuthorizationHeaderMalformed", rescope(signedGet, "Credential=", "Credential=x,Credential=")},
		{"unknown component", "AuthorizationHeaderMalformed", rescope(signedGet, "SignedHeaders=", "Foo=bar,SignedHeaders=")},
		{"trailing comma", "AuthorizationHeaderMalformed", signedGet.with("Authorization", signedGet.get("Authorization")+",")},
		{"short credential", "AuthorizationHeaderMalformed", rescope(signedGet, accessKeyID+"/", "")},
		{"empty key id", "AuthorizationHeaderMalformed", rescope(signedGet, accessKeyID, "")},
		{"wrong terminal", "AuthorizationHeaderMalformed", rescope(signedGet, "aws4_request", "aws5_request")},
		{"wrong day", "AuthorizationHeaderMalformed", rescope(signedGet, "20130524", "20130525")},
		{"wrong region", "AuthorizationHeaderMalformed", rescope(signedGet, "us-east-1", "us-west-1")},
		{"empty region", "AuthorizationHeaderMalformed", rescope(signedGet, "us-east-1", "")},
		{"headers out of order", "AuthorizationHeaderMalformed", rescope(signedGet, "host;x-amz-content-sha256;x-amz-date", "x-amz-date;host")},
		{"header named twice", "AuthorizationHeaderMalformed", rescope(signedGet, "host;", "host;host;")},
		{"upper-case header", "AuthorizationHeaderMalformed", rescope(signedGet, "host;", "Host;")},
		{"upper-case signature", "AuthorizationHeaderMalformed", rescope(signedGet, signedGet.signature(), strings.ToUpper(signedGet.signature()))},
		{"short signature", "AuthorizationHeaderMalformed", rescope(signedGet, signedGet.signature(), signedGet.signature()[1:])},
		{"other signature", "SignatureDoesNotMatch", rescope(signedGet, signedGet.signature(), emptySHA256)},
		{"other key id", "InvalidAccessKeyId", rescope(signedGet, accessKeyID, "AKIAOTHER")},
		{"two Authorization headers", "InvalidArgument", message{
			method: "GET", target: "/key",
			header: append(signedGet.clone().header, field{"Authorization", signedGet.get("Authorization")}),
		}},

		// What is signed.
		{"host not signed", "AccessDenied", rescope(signedGet, "host;", "")},
		{"nothing signed", "AccessDenied", rescope(signedGet, "host;x-amz-content-sha256;x-amz-date", "")},
		{"date not signed", "AccessDenied", rescope(signedGet, ";x-amz-date", "")},
		{"header added", "AccessDenied", signedGet.with("X-Amz-Copy-Source", "/other/secret")},
		{"header added to presigned", "AccessDenied", presignedGet.with("X-Amz-Copy-Source", "/other/secret")},
		{"date added to presigned", "AccessDenied", presignedGet.with("X-Amz-Date", date)},
		{"signed header gone", "SignatureDoesNotMatch", get("/key").with("X-Amz-Meta-A", "1").signed(emptySHA256).with("X-Amz-Meta-A", "")},
		{"signed empty header gone", "SignatureDoesNotMatch", message{
			method: "GET", target: "/key", header: []field{host, {"X-Amz-Meta-A", ""}},
		}.signed(emptySHA256).with("X-Amz-Meta-A", "")},
		{"payload hash gone", "InvalidRequest", signedGet.with("X-Amz-Content-Sha256", "")},
		{"other payload hash", "SignatureDoesNotMatch", signedGet.with("X-Amz-Content-Sha256", unsigned)},
		{"parameter in a signed query", "InvalidRequest", get("/key?x-amz-acl=public-read").signed(emptySHA256)},

		// Dates.
		{"no date", "AccessDenied", signedGet.with("X-Amz-Date", "")},
		{"fractional date", "AccessDenied", signedGet.with("X-Amz-Date", "20130524T000000.0Z")},
		{"garbled date", "AccessDenied", signedGet.with("X-Amz-Date", "20130524T0000000")},
		{"other date", "RequestTimeTooSkewed", signedGet.with("X-Amz-Date", "20130524T001501Z")},
		{"date off by a second", "SignatureDoesNotMatch", signedGet.with("X-Amz-Date", "20130524T000001Z")},

		// The presigned query.
		{"expires missing", "AuthorizationQueryParametersError", retarget(presignedGet, "&X-Amz-Expires=60", "")},
		{"signature missing", "AuthorizationQueryParametersError", retarget(presignedGet, "&X-Amz-Signature=", "&x=")},
		{"only a signature", "AuthorizationQueryParametersError", get("/key?X-Amz-Signature=" + emptySHA256)},
		{"other algorithm", "AuthorizationQueryParametersError", retarget(presignedGet, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")},
		{"expires zero", "AuthorizationQueryParametersError", get("/key").presigned("0")},
		{"expires negative", "AuthorizationQueryParametersError", get("/key").presigned("-1")},
		{"expires signed number", "AuthorizationQueryParametersError", get("/key").presigned("%2B1")},
		{"expires too late", "AuthorizationQueryParametersError", get("/key").presigned("604801")},
		{"expires much too late", "AuthorizationQueryParametersError", get("/key").presigned("99999999999999999999")},
		{"presigned with bad date", "AuthorizationQueryParametersError", retarget(presignedGet, date, "20130524")},
		{"presigned for another region", "AuthorizationQueryParametersError", retarget(presignedGet, "us-east-1", "eu-west-1")},
		{"parameter twice", "InvalidArgument", retarget(presignedGet, "&X-Amz-Expires=60", "&X-Amz-Expires=60&x-amz-expires=600")},
		{"expiry changed", "SignatureDoesNotMatch", retarget(presignedGet, "&X-Amz-Expires=60", "&X-Amz-Expires=600")},
		{"line break in the scope", "AuthorizationQueryParametersError", retarget(presignedGet, "us-east-1", "us-east-1%0A")},
		{"other host", "SignatureDoesNotMatch", presignedGet.with("Host", "other.example:9000")},

		// The target.
		{"malformed query", "InvalidURI", retarget(signedGet, "/key", "/key?a=%zz")},
		{"malformed query name", "InvalidURI", retarget(signedGet, "/key", "/key?%=1")},
		{"absolute form", "InvalidURI", retarget(signedGet, "/key", "http://bucket.example:9000/key")},
		{"asterisk", "InvalidURI", retarget(signedGet, "/key", "*")},
		{"other path", "SignatureDoesNotMatch", retarget(signedGet, "/key", "/kez")},
		{"path with a slash more", "SignatureDoesNotMatch", retarget(signedGet, "/key", "//key")},
		{"parameter added", "SignatureDoesNotMatch", retarget(signedGet, "/key", "/key?acl")},
		{"much too long", "RequestHeaderSectionTooLarge", get("/" + strings.Repeat("k", 8<<10)).signed(emptySHA256)},
		{"too many headers", "RequestHeaderSectionTooLarge", get("/key").with("X-Amz-Meta-A", strings.Repeat("v", 8<<10)).signed(emptySHA256)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tt.m.verify()
			wantCode(t, err, tt.code)
		})
	}
}

// What net/http would not let through is refused all the same.
func TestMalformedTarget(t *testing.T) {
	for _, target := range []string{"", "/key%2", "/%", "/%zz", "/a b", "/a\nb", "/\x7f", "key", "//%", "/?a=%"} {
		r, err := get("/key").signed(emptySHA256).receive()
		if err != nil {
			t.Fatal(err)
		}
		r.RequestURI = target
		_, err = verifier().Verify(r)
		wantCode(t, err, "InvalidURI")
	}
}

func TestErrorFields(t *testing.T) {
	fields := func(m message) map[string]string {
		t.Helper()
		_, _, err := m.verify()
		var e *sigv4.Error
		if !errors.As(err, &e) {
			t.Fatalf("error is %v", err)
		}
		if strings.Contains(err.Error(), m.signature()) && m.signature() != "" {
			t.Errorf("the error tells the signature: %v", err)
		}
		f := make(map[string]string)
		for _, field := range e.Fields {
			f[field.Name] = field.Value
		}
		return f
	}

	m := get("/key").signed(emptySHA256).with("X-Amz-Meta-B", "1").with("X-Amz-Acl", "private")
	if f := fields(m); f["HeadersNotSigned"] != "x-amz-acl, x-amz-meta-b" {
		t.Errorf("headers not signed: %v", f)
	}

	m = get("/key").signed(emptySHA256)
	m.target = "/other"
	canonical, _ := m.with("Authorization", "").canonical("/other", "", emptySHA256)
	want := map[string]string{
		"AWSAccessKeyId": accessKeyID, "SignatureProvided": m.signature(),
		"CanonicalRequest": canonical, "CanonicalRequestBytes": fmt.Sprintf("% x", canonical),
		"StringToSign": stringToSign(canonical), "StringToSignBytes": fmt.Sprintf("% x", stringToSign(canonical)),
	}
	if f := fields(m); !reflect.DeepEqual(f, want) {
		t.Errorf("mismatch: %v, want %v", f, want)
	}

	// A customer's key must not come back, from a header or a query.
	m = get("/key").with("X-Amz-Server-Side-Encryption-Customer-Key", "c2VjcmV0").signed(emptySHA256)
	m.target = "/other"
	p := get("/key").presigned("60", "X-Amz-Server-Side-Encryption-Customer-Key=c2VjcmV0")
	p.target = "/other" + strings.TrimPrefix(p.target, "/key")
	for _, m := range []message{m, p} {
		if f := fields(m); f["StringToSign"] == "" || strings.Contains(fmt.Sprint(f), "c2VjcmV0") || f["CanonicalRequestBytes"] != "" {
			t.Errorf("mismatch: %v", f)
		}
	}

	m = get("/key").signed(emptySHA256)
	m = m.with("Authorization", strings.Replace(m.get("Authorization"), "us-east-1", "eu-west-1", 1))
	if f := fields(m); f["Region"] != "us-east-1" {
		t.Errorf("wrong region: %v", f)
	}
}

// The clock of the signer may be off by 15 minutes; a presigned request lives
// as long as it says.
func TestTimes(t *testing.T) {
	header, week, minute := get("/key").signed(emptySHA256), get("/key").presigned("604800"), get("/key").presigned("60")
	for _, tt := range []struct {
		name, code string
		m          message
		later      time.Duration
	}{
		{"header early", "accepted", header, -15 * time.Minute},
		{"header late", "accepted", header, 15 * time.Minute},
		{"header too early", "RequestTimeTooSkewed", header, -15*time.Minute - time.Second},
		{"header too late", "RequestTimeTooSkewed", header, 15*time.Minute + time.Second},
		{"header absurdly late", "RequestTimeTooSkewed", header, 200 * 365 * 24 * time.Hour},
		{"presigned early", "accepted", week, -15 * time.Minute},
		{"presigned too early", "AccessDenied", week, -15*time.Minute - time.Second},
		{"presigned late", "accepted", week, 7 * 24 * time.Hour},
		{"presigned too late", "AccessDenied", week, 7*24*time.Hour + time.Second},
		{"presigned short", "accepted", minute, time.Minute},
		{"presigned short, late", "AccessDenied", minute, time.Minute + time.Second},
	} {
		v := verifier()
		v.Now = func() time.Time { return now.Add(tt.later) }
		r, err := tt.m.receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, err = v.Verify(r); code(err) != tt.code {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.code)
		}
	}

	// Without Now it is the present that counts.
	v := verifier()
	v.Now = nil
	r, err := header.receive()
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(r)
	wantCode(t, err, "RequestTimeTooSkewed")
}

// A Date header serves where there is no x-amz-date.
func TestDateHeader(t *testing.T) {
	for _, value := range []string{date, "Fri, 24 May 2013 00:00:00 GMT"} {
		m := get("/key").with("Date", value).with("X-Amz-Content-Sha256", emptySHA256).authorized("/key", "", emptySHA256)
		if _, _, err := m.verify(); err != nil {
			t.Errorf("Date %s: %v", value, err)
		}
		_, _, err := m.with("Date", "Fri, 24 May 2013 00:00:01 GMT").verify()
		wantCode(t, err, "SignatureDoesNotMatch")
	}
}

func TestAnyRegion(t *testing.T) {
	v := verifier()
	v.Region = ""
	r, err := get("/key").signed(emptySHA256).receive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(r); err != nil {
		t.Error(err)
	}
}

// A key without a secret is not one that anybody could sign with.
func TestEmptySecret(t *testing.T) {
	v := verifier()
	v.Secret = func(string, string) (string, error) { return "", nil }
	r, err := get("/key").signed(emptySHA256).receive()
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(r)
	wantCode(t, err, "InvalidAccessKeyId")
}

// Access key IDs of other stores contain slashes.
func TestSlashInAccessKey(t *testing.T) {
	v := verifier()
	v.Secret = func(id, _ string) (string, error) {
		if id != "team/a" {
			return "", errors.New("unknown")
		}
		return secret, nil
	}
	m := get("/key").signed(emptySHA256)
	r, err := m.with("Authorization", strings.Replace(m.get("Authorization"), accessKeyID, "team/a", 1)).receive()
	if err != nil {
		t.Fatal(err)
	}
	req, err := v.Verify(r)
	if err != nil || req.AccessKeyID != "team/a" {
		t.Errorf("got %+v, %v", req, err)
	}
}

// Components may stand in any order, with or without spaces between.
func TestAuthorizationSpacing(t *testing.T) {
	m := get("/key").signed(emptySHA256)
	scheme, rest, _ := strings.Cut(m.get("Authorization"), " ")
	parts := strings.Split(rest, ",")
	for _, value := range []string{
		strings.Join(parts, ", "),
		strings.Join([]string{parts[2], parts[0], parts[1]}, " , "),
	} {
		if _, _, err := m.with("Authorization", scheme+" "+value).verify(); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// Clients write paths and queries in many ways. Each is accepted if what was
// signed has one meaning, and that is the one returned.
func TestForms(t *testing.T) {
	for _, tt := range []struct {
		name, wire         string // target as sent
		signPath, signText string // as signed
		code               string
		path               string
		query              url.Values
	}{
		{"canonical", "/a%2Bb?p=c%20d", "/a%2Bb", "p=c%20d", "accepted", "/a+b", url.Values{"p": {"c d"}}},
		{"lower-case escapes", "/a%2bb?p=%c3%bc", "/a%2Bb", "p=%C3%BC", "accepted", "/a+b", url.Values{"p": {"ü"}}},
		{"lower-case escapes signed as sent", "/a%2bb?p=%c3%bc", "/a%2bb", "p=%c3%bc", "accepted", "/a+b", url.Values{"p": {"ü"}}},
		{"raw characters", "/a=b@c,d?p=/x:y", "/a%3Db%40c%2Cd", "p=%2Fx%3Ay", "accepted", "/a=b@c,d", url.Values{"p": {"/x:y"}}},
		{"raw characters signed as sent", "/a=b@c,d?p=/x:y", "/a=b@c,d", "p=/x:y", "accepted", "/a=b@c,d", url.Values{"p": {"/x:y"}}},
		{"needless escapes", "/%61?%70=%62", "/a", "p=b", "accepted", "/a", url.Values{"p": {"b"}}},
		{"equals sign in a value", "/a?p=b=", "/a", "p=b%3D", "accepted", "/a", url.Values{"p": {"b="}}},
		{"plus in a path is a plus", "/a+b", "/a%2Bb", "", "accepted", "/a+b", url.Values{}},
		{"plus in a path is no space", "/a+b", "/a%20b", "", "SignatureDoesNotMatch", "", nil},
		{"plus in a path, signed as sent", "/a+b", "/a+b", "", "SignatureDoesNotMatch", "", nil},
		{"plus in a query is a space", "/a?p=b+c", "/a", "p=b%20c", "accepted", "/a", url.Values{"p": {"b c"}}},
		{"plus in a query is no plus", "/a?p=b+c", "/a", "p=b%2Bc", "SignatureDoesNotMatch", "", nil},
		{"plus in a query, signed as sent", "/a?p=b+c", "/a", "p=b+c", "SignatureDoesNotMatch", "", nil},
		{"escapes escaped again", "/a%20b", "/a%2520b", "", "SignatureDoesNotMatch", "", nil},
		{"dots", "/a/../b/./c//", "/a/../b/./c//", "", "accepted", "/a/../b/./c//", url.Values{}},
		{"dots cleaned", "/a/../b", "/b", "", "SignatureDoesNotMatch", "", nil},
		{"no value", "/?acl", "/", "acl=", "accepted", "/", url.Values{"acl": {""}}},
		{"no name", "/?=v", "/", "=v", "accepted", "/", url.Values{"": {"v"}}},
		{"empty parameters", "/?&a=1&&b=2&", "/", "a=1&b=2", "accepted", "/", url.Values{"a": {"1"}, "b": {"2"}}},
		{"semicolon is no separator", "/?a=1;b=2", "/", "a=1%3Bb%3D2", "accepted", "/", url.Values{"a": {"1;b=2"}}},
		{"sorted by name, then value", "/?%61-b=1&a=2&a=10", "/", "a=10&a=2&a-b=1", "accepted", "/", url.Values{"a": {"10", "2"}, "a-b": {"1"}}},
		{"not sorted", "/?b=1&a=2", "/", "b=1&a=2", "SignatureDoesNotMatch", "", nil},
		{"any bytes", "/%00%0A%ff?p=%00%0a", "/%00%0A%FF", "p=%00%0A", "accepted", "/\x00\n\xff", url.Values{"p": {"\x00\n"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := get(tt.wire).with("X-Amz-Date", date).with("X-Amz-Content-Sha256", emptySHA256).
				authorized(tt.signPath, tt.signText, emptySHA256)
			req, _, err := m.verify()
			wantCode(t, err, tt.code)
			if err == nil && (req.Path != tt.path || !reflect.DeepEqual(req.Query, tt.query)) {
				t.Errorf("got %q %q, want %q %q", req.Path, req.Query, tt.path, tt.query)
			}
		})
	}
}

// Headers that net/http moves or removes, and odd white space.
func TestSignedHeaders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		extra  []field // as sent
		signed []field // as signed; nil: as sent
	}{
		{"white space", []field{{"X-Amz-Meta-A", "  a \t  b  "}}, []field{{"X-Amz-Meta-A", "a b"}}},
		{"quotes", []field{{"X-Amz-Meta-A", `"a   b"`}}, []field{{"X-Amz-Meta-A", `"a b"`}}},
		{"repeated", []field{{"X-Amz-Meta-A", "1"}, {"X-Amz-Meta-A", " 2"}, {"x-amz-meta-a", "3"}}, nil},
		{"empty", []field{{"X-Amz-Meta-A", ""}}, nil},
		{"latin 1", []field{{"X-Amz-Meta-A", "\xe4"}}, nil},
		{"expect", []field{{"Expect", "100-continue"}}, nil},
		{"expect, removed by a server", nil, []field{{"Expect", "100-continue"}}},
		{"unsigned Content-Type", []field{{"Content-Type", "text/plain"}}, []field{}},
		{"unsigned trace", []field{{"X-Amzn-Trace-Id", "Root=1"}}, []field{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := put("/key", "payload")
			base = base.with("X-Amz-Date", date).with("X-Amz-Content-Sha256", unsigned)
			sent, signed := base.clone(), base.clone()
			sent.header = append(sent.header, tt.extra...)
			if tt.signed == nil {
				tt.signed = tt.extra
			}
			signed.header = append(signed.header, tt.signed...)
			m := sent.with("Authorization", signed.authorized("/key", "", unsigned).get("Authorization"))
			if _, _, err := m.verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Content-Length and Transfer-Encoding are not where they were sent.
func TestSignedFraming(t *testing.T) {
	payload := "chunked by HTTP"
	for _, framing := range []field{{"content-length", "15"}, {"transfer-encoding", "chunked"}} {
		m := message{method: "PUT", target: "/key", header: []field{
			host, {"X-Amz-Content-Sha256", hexSHA256(payload)}, {"X-Amz-Date", date}, {"Framing", framing.value},
		}}
		canonical, _ := m.canonical("/key", "", hexSHA256(payload))
		// The stand-in is renamed before it is signed, and sorted to its place.
		lines := strings.Split(canonical, "\n")
		var rest []string
		for _, line := range lines {
			if !strings.HasPrefix(line, "framing:") {
				rest = append(rest, line)
			}
		}
		line, names := framing.name+":"+framing.value, "content-length;host;x-amz-content-sha256;x-amz-date"
		if framing.name == "content-length" {
			rest = append(rest[:3], append([]string{line}, rest[3:]...)...)
			m = m.with("Framing", "").withBody(payload)
		} else {
			names = "host;transfer-encoding;x-amz-content-sha256;x-amz-date"
			rest = append(rest[:4], append([]string{line}, rest[4:]...)...)
			m = m.with("Framing", "").with("Transfer-Encoding", "chunked")
			m.body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(payload), payload)
		}
		rest[len(rest)-2] = names
		m = m.with("Authorization", "AWS4-HMAC-SHA256 Credential="+accessKeyID+"/"+scope+",SignedHeaders="+names+
			",Signature="+sign(stringToSign(strings.Join(rest, "\n"))))
		if _, got, err := m.verify(); err != nil || string(got) != payload {
			t.Errorf("%s: %q, %v", framing.name, got, err)
		}
	}
}

// What the operation sees.
func TestRequestHeader(t *testing.T) {
	m := put("/bucket/key?partNumber=1&uploadId=u", "payload")
	for _, f := range []field{
		{"Content-Type", "text/plain"},
		{"Content-Encoding", "deflate, gzip, AWS-Chunked"},
		{"Content-MD5", sumOf(checksum.MD5, "payload").String()},
		{"Range", "bytes=0-1"},
		{"X-Amz-Acl", "private"},
		{"X-Amz-Meta-A", "b"},
		{"X-Amz-Checksum-Algorithm", "CRC32"},
		{"X-Amz-Checksum-Type", "FULL_OBJECT"},
		{"X-Amz-Checksum-Mode", "ENABLED"},
		{"X-Amz-Checksum-Sha256", sumOf(checksum.SHA256, "payload").String()},
		{"X-Amz-Sdk-Checksum-Algorithm", "SHA256"},
	} {
		m = m.with(f.name, f.value)
	}
	m.header = append(m.header, field{"X-Amz-Meta-A", "c"}, field{"Accept", "x"}, field{"Accept", "y"})
	req, _, err := m.signed(unsigned).verify()
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Content-Type":             {"text/plain"},
		"Content-Encoding":         {"deflate, gzip"},
		"Range":                    {"bytes=0-1"},
		"X-Amz-Acl":                {"private"},
		"X-Amz-Meta-A":             {"b,c"},
		"X-Amz-Checksum-Algorithm": {"CRC32"},
		"X-Amz-Checksum-Type":      {"FULL_OBJECT"},
		"X-Amz-Checksum-Mode":      {"ENABLED"},
		"Accept":                   {"x", "y"},
	}
	if !reflect.DeepEqual(req.Header, want) {
		t.Errorf("header is %v, want %v", req.Header, want)
	}
	if want := (url.Values{"partNumber": {"1"}, "uploadId": {"u"}}); !reflect.DeepEqual(req.Query, want) {
		t.Errorf("query is %v, want %v", req.Query, want)
	}
}

// Content-Encoding less aws-chunked, as S3 keeps it.
func TestContentEncoding(t *testing.T) {
	for sent, want := range map[string]string{
		"gzip": "gzip", "deflate, gzip": "deflate, gzip", "gzip, aws-chunked": "gzip", "aws-chunked, gzip": "gzip",
		"aws-chunked": "", "aws-chunked, gzip, aws-chunked": "gzip", "aws-chunked,": "", "gzip,aws-chunked": "gzip",
	} {
		req, _, err := put("/key", "x").with("Content-Encoding", sent).signed(unsigned).verify()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(req.Header["Content-Encoding"], "|"); got != want {
			t.Errorf("%q becomes %q, want %q", sent, got, want)
		}
	}
}

// x-amz-* parameters of a presigned query are headers.
func TestHoisting(t *testing.T) {
	m := message{method: "PUT", target: "/key", header: []field{host, {"X-Amz-Tagging", "a=b"}}}
	base := m.presigned("60", "X-Amz-Tagging=a%3Db", "X-Amz-Meta-A=x%20%20y", "x-amz-copy-source=%2Fb%2Fk",
		"X-Amz-Checksum-Crc32=AAAAAA%3D%3D", "X-Amz-Sdk-Checksum-Algorithm=CRC32", "X-Amz-Checksum-Algorithm=CRC32")
	req, payload, err := base.withBody("not empty").verify()
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"X-Amz-Tagging": {"a=b"}, "X-Amz-Meta-A": {"x  y"}, "X-Amz-Copy-Source": {"/b/k"}, "X-Amz-Checksum-Algorithm": {"CRC32"},
	}
	if !reflect.DeepEqual(req.Header, want) || len(req.Query) != 0 || !req.Presigned || string(payload) != "not empty" {
		t.Errorf("header %v, query %v, payload %q", req.Header, req.Query, payload)
	}
	if sum, ok := req.Body.Checksum(); ok {
		t.Errorf("a checksum %v is enforced", sum)
	}

	object := message{method: "PUT", target: "/key", header: []field{host}}
	for name, tt := range map[string]struct {
		code string
		m    message
	}{
		"header and parameter differ": {"InvalidArgument", m.presigned("60", "X-Amz-Tagging=c%3Dd")},
		"line break in a value":       {"InvalidArgument", get("/key").presigned("60", "X-Amz-Meta-A=x%0D%0AX-Amz-Acl%3Apublic-read")},
		"line break in a name":        {"InvalidArgument", get("/key").presigned("60", "X-Amz-Meta-A%0A=x")},
		"space in a name":             {"InvalidArgument", get("/key").presigned("60", "X-Amz-Meta%20A=x")},
		"parameter twice":             {"InvalidArgument", get("/key").presigned("60", "X-Amz-Meta-A=x", "X-Amz-Meta-A=y")},
		"no such payload":             {"InvalidArgument", get("/key").presigned("60", "X-Amz-Content-Sha256=foo")},
		"chunks":                      {"InvalidRequest", object.presigned("60", "X-Amz-Content-Sha256="+streamingUnsigned).withBody("0\r\n\r\n")},
		"unknown checksum":            {"InvalidRequest", get("/key").presigned("60", "X-Amz-Checksum-Crc16=AAAA")},
		"trailer":                     {"InvalidRequest", get("/key").presigned("60", "X-Amz-Trailer=x-amz-checksum-crc32")},
		"express session":             {"InvalidToken", get("/key").presigned("60", "X-Amz-S3session-Token=token")},
	} {
		if _, _, err := tt.m.verify(); code(err) != tt.code {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
}

// The payload hash of a presigned request may stand in its query or a header.
func TestPresignedPayloadHash(t *testing.T) {
	sum := hexSHA256("payload")
	presign := func(m message, extra ...string) message {
		// presigned signs UNSIGNED-PAYLOAD, so sign again.
		m = m.presigned("60", extra...)
		path, query, _ := strings.Cut(m.target, "?")
		query, _, _ = strings.Cut(query, "&X-Amz-Signature=")
		canonical, _ := m.canonical(path, query, sum)
		m.target = path + "?" + query + "&X-Amz-Signature=" + sign(stringToSign(canonical))
		return m
	}
	m := message{method: "PUT", target: "/key", header: []field{host}}
	inHeader := presign(m).with("X-Amz-Content-Sha256", sum)
	inQuery := presign(m, "X-Amz-Content-Sha256="+sum)
	for _, m := range []message{inHeader, inQuery, inQuery.with("X-Amz-Content-Sha256", sum)} {
		if _, got, err := m.withBody("payload").verify(); err != nil || string(got) != "payload" {
			t.Errorf("%q, %v", got, err)
		}
		_, _, err := m.withBody("palyoad").verify()
		wantCode(t, err, "XAmzContentSHA256Mismatch")
	}
	_, _, err := inQuery.with("X-Amz-Content-Sha256", unsigned).withBody("payload").verify()
	wantCode(t, err, "InvalidArgument")
}

type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func (u untouchable) Close() error { return nil }

// No byte of a body is read before the client is known, and none by Verify.
func TestBodyUntouched(t *testing.T) {
	good := put("/key", "payload").signed(hexSHA256("payload"))
	for _, m := range []message{good, good.with("X-Amz-Meta-A", "1"), good.with("Authorization", "")} {
		r, err := m.receive()
		if err != nil {
			t.Fatal(err)
		}
		r.Body = untouchable{t}
		_, err = verifier().Verify(r)
		if err == nil && r.Body != http.NoBody {
			t.Error("the body can still be had from the request")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	m := put("/bucket/key", "payload").with("X-Amz-Meta-A", "b").signed(hexSHA256("payload"))
	r, err := m.receive()
	if err != nil {
		b.Fatal(err)
	}
	v, body := verifier(), r.Body
	b.ReportAllocs()
	for b.Loop() {
		r.Body = body
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestConcurrent(t *testing.T) {
	v := verifier()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			m := put(fmt.Sprintf("/key-%d", i), "payload").signed(hexSHA256("payload"))
			if i%2 == 0 {
				m.target = "/other"
			}
			r, err := m.receive()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err = v.Verify(r); (err == nil) != (i%2 == 1) {
				t.Errorf("%s: %v", m.target, err)
			}
		})
	}
	wg.Wait()
}

// A request that nobody has signed passes where that is wanted, and says so by having no access key ID. What pretends to be signed does not
// pass for one that is not.
func TestUnsigned(t *testing.T) {
	verify := func(m message, unsigned bool) (*sigv4.Request, string, error) {
		r, err := m.receive()
		if err != nil {
			t.Fatal(err)
		}
		v := verifier()
		v.Unsigned = unsigned
		req, err := v.Verify(r)
		if err != nil {
			return nil, "", err
		}
		payload, err := io.ReadAll(req.Body)
		return req, string(payload), err
	}
	good := put("/bucket/a%20key?tagging=", "payload").with("X-Amz-Meta-A", "1").with("X-Amz-Date", date)
	req, payload, err := verify(good, true)
	if err != nil || req.AccessKeyID != "" || req.Path != "/bucket/a key" || !req.Query.Has("tagging") || req.Header.Get("X-Amz-Meta-A") != "1" ||
		req.Header.Get("X-Amz-Date") != "" || payload != "payload" {
		t.Errorf("%+v, %q, %v", req, payload, err)
	}
	chunks := put("/key", "7\r\npayload\r\n0\r\nx-amz-checksum-crc32:"+sumOf(checksum.CRC32, "payload").String()+"\r\n\r\n").
		with("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER").with("X-Amz-Trailer", "x-amz-checksum-crc32").with("X-Amz-Decoded-Content-Length", "7")
	if req, payload, err := verify(chunks, true); err != nil || req.AccessKeyID != "" || payload != "payload" {
		t.Errorf("%+v, %q, %v", req, payload, err)
	}
	stranger := good.signed("UNSIGNED-PAYLOAD")
	stranger = stranger.with("Authorization", strings.Replace(stranger.get("Authorization"), accessKeyID, "AKIDSTRANGER", 1))
	for name, tt := range map[string]struct {
		code     string
		m        message
		unsigned bool
	}{
		"not wanted":           {"AccessDenied", good, false},
		"signed by a stranger": {"InvalidAccessKeyId", stranger, true},
		"spoiled":              {"SignatureDoesNotMatch", good.signed("UNSIGNED-PAYLOAD").with("X-Amz-Meta-A", "2"), true},
		"empty authorization":  {"InvalidArgument", message{method: "GET", target: "/key", header: []field{host, {"Authorization", ""}}}, true},
		"version 2":            {"InvalidRequest", get("/key").with("Authorization", "AWS AKID:c2ln"), true},
		"half presigned":       {"AuthorizationQueryParametersError", get("/key?X-Amz-Signature=00"), true},
		"header in the query":  {"AccessDenied", get("/key?x-amz-acl=private"), true},
		"token":                {"AccessDenied", get("/key").with("X-Amz-Security-Token", "x"), true},
		"signed chunks":        {"AccessDenied", chunks.with("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), true},
		"unknown framing":      {"InvalidArgument", good.with("X-Amz-Content-Sha256", "SIGNED"), true},
		"another payload":      {"XAmzContentSHA256Mismatch", good.with("X-Amz-Content-Sha256", emptySHA256), true},
		"another checksum":     {"BadDigest", good.with("X-Amz-Checksum-Crc32", "AAAAAA=="), true},
		"another trailer":      {"BadDigest", put("/key", strings.Replace(chunks.body, "7\r\npayload", "7\r\npayl0ad", 1)).with("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER").with("X-Amz-Trailer", "x-amz-checksum-crc32").with("X-Amz-Decoded-Content-Length", "7"), true},
	} {
		if _, payload, err := verify(tt.m, tt.unsigned); code(err) != tt.code {
			t.Errorf("%s: %q, %v, want %s", name, payload, err, tt.code)
		}
	}
}

// A session's token goes with its access key ID, in a header that is signed, a presigned query or a form, and no further.
func TestSession(t *testing.T) {
	for name, m := range map[string]message{
		"header":    get("/key").with("X-Amz-Security-Token", "session").signed(emptySHA256),
		"presigned": get("/key").presigned("60", "X-Amz-Security-Token=session"),
	} {
		req, _, err := m.verify()
		if err != nil || req.AccessKeyID != accessKeyID || len(req.Header["X-Amz-Security-Token"]) > 0 || len(req.Query) > 0 {
			t.Errorf("%s: %+v, %v", name, req, err)
		}
	}
	req, _, err := newForm(`{"x-amz-security-token": "session"}`, field{"x-amz-security-token", "session"}).message().verifyForm()
	if err != nil || req.AccessKeyID != accessKeyID || len(req.Header["X-Amz-Security-Token"]) > 0 {
		t.Errorf("form: %+v, %v", req, err)
	}
}
