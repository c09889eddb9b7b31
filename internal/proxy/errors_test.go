package proxy

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestErrorElement(t *testing.T) {
	e := newError("NoSuchKey", `no "<key>" & nothing`, errorField{"Key", "a\x01b\r]]>"})
	want := `<Error><Code>NoSuchKey</Code><Message>no &#34;&lt;key&gt;&#34; &amp; nothing</Message>` +
		"<Key>a\uFFFDb&#xD;]]&gt;</Key><RequestId>R</RequestId><HostId>H</HostId></Error>"
	if diff := cmp.Diff(want, string(e.element("R", "H"))); diff != "" {
		t.Error(diff)
	}
}

func TestErrorAnswer(t *testing.T) {
	failed := newError("PreconditionFailed", "x", errorField{"Condition", "If-Match"})
	deleted := newError("NoSuchKey", "x")
	deleted.Header = http.Header{"X-Amz-Delete-Marker": {"true"}}
	tests := []struct {
		name     string
		err      *apiError
		method   string
		status   int
		body     bool
		typeName string
	}{
		{"GET", deleted, "GET", 404, true, "application/xml"},
		{"HEAD", deleted, "HEAD", 404, false, "application/xml"},
		{"412", failed, "GET", 412, true, "application/xml"},
		{"412 to HEAD", failed, "HEAD", 412, false, "application/xml"},
		{"304", newError("NotModified", "x"), "GET", 304, false, ""},
		{"304 to HEAD", newError("NotModified", "x"), "HEAD", 304, false, ""},
		{"a code of the store's", &apiError{Code: "XNew", Status: 418}, "GET", 418, true, "application/xml"},
		{"a code that nobody knows", &apiError{Code: "XNew"}, "GET", 500, true, "application/xml"},
		{"a known code from a store with another status", &apiError{Code: "NoSuchKey", Status: 400}, "GET", 404, true, "application/xml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := tt.err.writeTo(w, r.Method, "R", "H"); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			r, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close() //nolint:errcheck // nothing depends on it
			var body struct{ Code string }
			err = xml.NewDecoder(res.Body).Decode(&body)
			if (err == nil) != tt.body || tt.body && body.Code != tt.err.Code {
				t.Errorf("body is %q, %v", body.Code, err)
			}
			if res.StatusCode != tt.status || res.Header.Get("Content-Type") != tt.typeName {
				t.Errorf("%d %q", res.StatusCode, res.Header.Get("Content-Type"))
			}
			if tt.err == deleted && res.Header.Get("x-amz-delete-marker") != "true" {
				t.Error("no x-amz-delete-marker")
			}
		})
	}
}

func TestUpstreamError(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	tests := []struct {
		name   string
		status int
		body   string
		code   string
		want   int
		fields []errorField
	}{
		{
			"as S3 has it", 404, head + `<Error><Code>NoSuchKey</Code><Message>m</Message><Key>a&amp;b </Key><RequestId>1</RequestId><HostId>2</HostId></Error>`,
			"NoSuchKey", 404,
			[]errorField{{"Key", "a&b "}},
		},
		{
			"a condition", 412, `<Error><Code>PreconditionFailed</Code><Message>m</Message><Condition>If-Match</Condition></Error>`,
			"PreconditionFailed", 412,
			[]errorField{{"Condition", "If-Match"}},
		},
		{
			"what a client must mend", 400, `<Error><Code>InvalidTag</Code><Message>m</Message><TagValue>v</TagValue><MissingHeaderName>h</MissingHeaderName><additionalMessage>a</additionalMessage></Error>`,
			"InvalidTag", 400,
			[]errorField{{"TagValue", "v"}, {"MissingHeaderName", "h"}, {"additionalMessage", "a"}},
		},
		{"a body that the client left out", 411, `<Error><Code>MissingContentLength</Code></Error>`, "MissingContentLength", 411, nil},
		{"a header that the client left out", 400, `<Error><Code>MissingSecurityHeader</Code></Error>`, "MissingSecurityHeader", 400, nil},
		{
			"what is the ciphertext's", 416, `<Error><Code>InvalidRange</Code><Message>m</Message><RangeRequested>bytes=9-</RangeRequested>` +
				`<ActualObjectSize>93</ActualObjectSize><ETag>x</ETag><ProposedSize>1</ProposedSize><CalculatedDigest>x</CalculatedDigest>` +
				`<Endpoint>store</Endpoint><Region>r</Region><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>`,
			"InvalidRange", 416, nil,
		},
		{"inside another element", 404, `<ErrorResponse><Error><Code>NoSuchBucket</Code></Error><RequestId>1</RequestId></ErrorResponse>`, "NoSuchBucket", 404, nil},
		{"deeper than that", 404, `<a><b><Error><Code>NoSuchBucket</Code></Error></b></a>`, "NotFound", 404, nil},
		{"a code of the store's", 418, `<Error><Code>XTeapot</Code></Error>`, "XTeapot", 418, nil},
		{"a code of the store's in a 200", 200, `<Error><Code>XTeapot</Code></Error>`, "XTeapot", 500, nil},
		{"an error in a 200", 200, head + `<Error><Code>SlowDown</Code></Error>`, "SlowDown", 503, nil},
		{"a 200 without one", 200, `<CompleteMultipartUploadResult/>`, "InternalError", 500, nil},
		{"cut short", 404, head + `<Error><Code>NoSuchKey</Code><Message>mess`, "NoSuchKey", 404, nil},
		{"cut shorter", 404, head + `<Error><Code>NoSuch`, "NotFound", 404, nil},
		{"HTML", 502, `<html><head><title>502 Bad Gateway</title></head></html>`, "ServiceUnavailable", 503, nil},
		{"another encoding", 404, `<?xml version="1.0" encoding="ISO-8859-1"?><Error><Code>NoSuchKey</Code></Error>`, "NoSuchKey", 404, nil},
		{"an entity of its own", 404, `<!DOCTYPE a [<!ENTITY e "x">]><Error><Code>NoSuchKey</Code><Key>&e;</Key></Error>`, "NoSuchKey", 404, []errorField{{"Key", "&e;"}}},
		{"two codes", 404, `<Error><Code>NoSuchKey</Code><Code>AccessDenied</Code></Error>`, "NoSuchKey", 404, nil},
		{"a code that is none", 404, `<Error><Code>No Such<x/></Code></Error>`, "NotFound", 404, nil},
		{"no body, as to HEAD", 403, ``, "AccessDenied", 403, nil},
		{"no body 404", 404, ``, "NotFound", 404, nil},
		{"no body 412", 412, ``, "PreconditionFailed", 412, nil},
		{"too many requests", 429, ``, "SlowDown", 503, nil},
		{"unknown status", 499, ``, "InternalError", 500, nil},
		{"impossible status", 999, `<Error><Code>XNew</Code></Error>`, "InternalError", 500, nil},

		{"our signature", 403, `<Error><Code>SignatureDoesNotMatch</Code></Error>`, "InternalError", 500, nil},
		{"our key", 403, `<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>A</AWSAccessKeyId></Error>`, "InternalError", 500, nil},
		{"our token", 400, `<Error><Code>ExpiredToken</Code></Error>`, "InternalError", 500, nil},
		{"our region", 400, `<Error><Code>AuthorizationHeaderMalformed</Code><Region>x</Region></Error>`, "InternalError", 500, nil},
		{"our clock", 403, `<Error><Code>RequestTimeTooSkewed</Code></Error>`, "InternalError", 500, nil},
		{"our digest", 400, `<Error><Code>XAmzContentSHA256Mismatch</Code></Error>`, "InternalError", 500, nil},
		{"the store's keys", 400, `<Error><Code>KMS.DisabledException</Code></Error>`, "InternalError", 500, nil},
		{"401", 401, ``, "InternalError", 500, nil},
		{"407", 407, ``, "InternalError", 500, nil},
		{"our envelope", 400, `<Error><Code>InvalidArgument</Code><ArgumentName>X-Amz-Meta-SSEproxy</ArgumentName><ArgumentValue>AAAA</ArgumentValue></Error>`, "InternalError", 500, nil},
		{"301", 301, `<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.eu.amazonaws.com</Endpoint></Error>`, "InternalError", 500, nil},
		{"307", 307, ``, "InternalError", 500, nil},
		{"302", 302, `<Error><Code>NoSuchKey</Code></Error>`, "InternalError", 500, nil},
		{"a redirect in a 200", 200, `<Error><Code>TemporaryRedirect</Code></Error>`, "InternalError", 500, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := parseUpstreamError(tt.status, http.Header{"Location": {"http://store/"}}, []byte(tt.body))
			if e.Code != tt.code || e.status() != tt.want {
				t.Errorf("%s %d, want %s %d", e.Code, e.status(), tt.code, tt.want)
			}
			if diff := cmp.Diff(tt.fields, e.Fields); diff != "" {
				t.Error(diff)
			}
			if len(e.Header) > 0 {
				t.Errorf("headers %v", e.Header)
			}
		})
	}
}

func TestUpstreamErrorHeader(t *testing.T) {
	header := http.Header{
		"Etag": {`"abc"`}, "Last-Modified": {"then"}, "X-Amz-Delete-Marker": {"true"}, "X-Amz-Version-Id": {"v"},
		"Retry-After": {"3"}, "Allow": {"DELETE"}, "Server": {"store"}, "Content-Length": {"3"}, "X-Amz-Meta-Sseproxy": {"x"},
	}
	want := http.Header{
		"Last-Modified": {"then"}, "X-Amz-Delete-Marker": {"true"}, "X-Amz-Version-Id": {"v"},
		"Retry-After": {"3"}, "Allow": {"DELETE"},
	}
	if diff := cmp.Diff(want, parseUpstreamError(405, header, nil).Header); diff != "" {
		t.Error(diff)
	}
	e := parseUpstreamError(304, header, nil)
	want = http.Header{"Etag": {`"abc-sse"`}, "Last-Modified": {"then"}, "X-Amz-Version-Id": {"v"}}
	if diff := cmp.Diff(want, e.Header); diff != "" || e.Code != "NotModified" {
		t.Error(e.Code, diff)
	}
}

// What a store says about the proxy's identity is for the operator's log.
func TestUpstreamAccessDenied(t *testing.T) {
	e := parseUpstreamError(403, nil, []byte(
		`<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/proxy is not authorized</Message></Error>`))
	if e.Message != "Access Denied" || !strings.Contains(e.Error(), "arn:aws:iam::1:user/proxy") {
		t.Errorf("%q, %q", e.Message, e.Error())
	}
	if body := string(e.element("R", "H")); strings.Contains(body, "arn:") {
		t.Error(body)
	}
	if e := parseUpstreamError(403, nil, []byte("<Error><Code>AccessDenied</Code><Message>"+deniedByLock+"</Message></Error>")); e.Message != deniedByLock {
		t.Errorf("%q", e.Message)
	}
}

func TestUpstreamErrorIsBounded(t *testing.T) {
	long := strings.Repeat("ü", maxErrorValue)
	e := parseUpstreamError(400, nil, []byte(`<Error><Code>InvalidTag</Code><Message>`+long+`</Message><Key>`+long+`</Key></Error>`))
	if len(e.Message) > maxErrorValue || len(e.Fields) != 1 || len(e.Fields[0].Value) > maxErrorValue {
		t.Errorf("message of %d bytes, %d fields", len(e.Message), len(e.Fields))
	}
	e = parseUpstreamError(400, nil, []byte(`<Error>`+strings.Repeat(" ", maxErrorBody)+`<Code>InvalidTag</Code></Error>`))
	if e.Code != "BadRequest" {
		t.Errorf("read past the limit: %s", e.Code)
	}
}

func FuzzUpstreamError(f *testing.F) {
	f.Add(404, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>m</Message><Key>k</Key></Error>`)
	f.Add(200, `<Error><Code>InternalError</Code></Error>`)
	f.Add(403, `<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>`)
	f.Add(416, `<ErrorResponse><Error><Code>InvalidRange</Code><ActualObjectSize>9</ActualObjectSize></Error></ErrorResponse>`)
	f.Add(301, `<html>`)
	f.Add(304, ``)
	f.Fuzz(func(t *testing.T, status int, body string) {
		e := parseUpstreamError(status, http.Header{}, []byte(body))
		if s := e.status(); s != http.StatusNotModified && (s < 400 || s > 599) {
			t.Errorf("status %d", s)
		}
		if storeFault.has(e.Code) {
			t.Errorf("the client is told %s", e.Code)
		}
		for _, field := range e.Fields {
			if !errorFields.has(field.Name) {
				t.Errorf("the client is told %s", field.Name)
			}
		}
		var doc struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
		}
		if err := xml.Unmarshal(e.element("R", "H"), &doc); err != nil || doc.Code != e.Code {
			t.Errorf("the answer does not parse: %v", err)
		}
	})
}
