package sigv4_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

const (
	boundary = "----WebKitFormBoundaryAbC123"
	longFile = 100_000 // bytes, more than are read before a form is accepted
)

// A posted is a form as a browser makes it.
type posted struct {
	fields   []field // in front of the file
	filename string  // as it stands in the header; empty: no such parameter
	file     string
	end      string // behind the file
}

// newForm returns a form with what it must have, signed, and the conditions in its
// policy, as JSON with commas between them. Each of the fields must be in one.
func newForm(conditions string, fields ...field) posted {
	return posted{fields: fields, filename: `; filename="name.txt"`, file: "the file", end: "\r\n--" + boundary + "--\r\n"}.
		sign(policyOf(conditions))
}

// policyOf returns a policy with the conditions for what newForm adds.
func policyOf(conditions string) string {
	if conditions != "" {
		conditions += ","
	}
	return `{"expiration": "2013-05-24T01:00:00.000Z", "conditions": [` + conditions + `{"bucket": "bucket"}, ["starts-with", "$key", ""],` +
		`{"x-amz-algorithm": "AWS4-HMAC-SHA256"}, {"x-amz-credential": "` + accessKeyID + "/" + scope + `"}, {"x-amz-date": "` + date + `"}]}`
}

// sign adds the fields that authenticate a form, and a key if there is none.
func (p posted) sign(policy string) posted {
	if p.get("key") == "" {
		p = p.with("key", "user/key")
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(policy))
	return p.with("X-Amz-Algorithm", "AWS4-HMAC-SHA256").with("X-Amz-Credential", accessKeyID+"/"+scope).with("X-Amz-Date", date).
		with("Policy", encoded).with("X-Amz-Signature", sign(encoded))
}

func (p posted) get(name string) string {
	return message{header: p.fields}.get(name)
}

// with returns the form with a field set or, if it has no value, removed.
func (p posted) with(name, value string) posted {
	i := slices.IndexFunc(p.fields, func(f field) bool { return strings.EqualFold(f.name, name) })
	p.fields = slices.Clone(p.fields)
	switch {
	case value == "":
		p.fields = slices.Delete(p.fields, i, i+1)
	case i < 0:
		p.fields = append(p.fields, field{name, value})
	default:
		p.fields[i].value = value
	}
	return p
}

// named returns the form with that parameter in the header of its file.
func (p posted) named(parameter string) posted {
	p.filename = parameter
	return p
}

func (p posted) withFile(content string) posted {
	p.file = content
	return p
}

func (p posted) head() string {
	var b strings.Builder
	for _, f := range p.fields {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, f.name, f.value)
	}
	fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"file\"%s\r\nContent-Type: text/plain\r\n\r\n", boundary, p.filename)
	return b.String()
}

func (p posted) message() message { return post(p.head() + p.file + p.end) }

func post(body string) message {
	return message{method: "POST", target: "/bucket", header: []field{host, {"Content-Type", "multipart/form-data; boundary=" + boundary}}}.withBody(body)
}

// verify is message.verify for a form. What has been read of its file comes along with an error.
func (m message) verifyForm() (*sigv4.Request, string, error) {
	r, err := m.receive()
	if err != nil {
		return nil, "", err
	}
	v := verifier()
	v.Bucket = func(_, path string) string { return strings.Trim(path, "/") }
	req, err := v.Verify(r)
	if err != nil {
		return nil, "", err
	}
	content, err := io.ReadAll(req.Body)
	return req, string(content), err
}

// The example of "Browser-Based Upload using HTTP POST (Using AWS Signature
// Version 4)" in the Amazon S3 API Reference.
func TestPublishedForm(t *testing.T) {
	const policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"
	p := posted{filename: `; filename="C:\Documents\MyFile.jpg"`, file: "the picture", fields: []field{
		{"key", "user/user1/${filename}"},
		{"acl", "public-read"},
		{"success_action_redirect", "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
		{"Content-Type", "image/jpeg"},
		{"x-amz-meta-uuid", "14365123651274"},
		{"x-amz-server-side-encryption", "AES256"},
		{"X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
		{"X-Amz-Algorithm", "AWS4-HMAC-SHA256"},
		{"X-Amz-Date", "20151229T000000Z"},
		{"x-amz-meta-tag", ""},
		{"Policy", policy},
		{"X-Amz-Signature", "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"},
	}}
	p.end = "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload to Amazon S3\r\n--" + boundary + "--\r\n"
	r, err := p.message().receive()
	if err != nil {
		t.Fatal(err)
	}
	v := verifier()
	v.Bucket = func(string, string) string { return "sigv4examplebucket" }
	v.Now = func() time.Time { return time.Date(2015, 12, 30, 11, 59, 59, 0, time.UTC) }
	req, err := v.Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(req.Body)
	if err != nil || string(content) != p.file || req.Body.Length() != int64(len(p.file)) {
		t.Errorf("the file is %q, %v", content, err)
	}
	if req.AccessKeyID != accessKeyID || req.Form["key"] != "user/user1/MyFile.jpg" {
		t.Errorf("got %+v", req)
	}
	want := http.Header{
		"X-Amz-Acl": {"public-read"}, "Content-Type": {"image/jpeg"}, "X-Amz-Meta-Uuid": {"14365123651274"}, "X-Amz-Meta-Tag": {""},
		"X-Amz-Server-Side-Encryption": {"AES256"},
	}
	if !maps.EqualFunc(req.Header, want, slices.Equal) {
		t.Errorf("the header is %q, want %q", req.Header, want)
	}

	// It ends with its policy, and does not hold for another bucket.
	for name, change := range map[string]func(*sigv4.Verifier){
		"late": func(v *sigv4.Verifier) {
			v.Now = func() time.Time { return time.Date(2015, 12, 30, 12, 0, 0, 0, time.UTC) }
		},
		"other bucket":   func(v *sigv4.Verifier) { v.Bucket = func(string, string) string { return "sigv4examplebucke" } },
		"other identity": func(v *sigv4.Verifier) { v.Secret = func(string, string) (string, error) { return "other", nil } },
		"other region":   func(v *sigv4.Verifier) { v.Region = "us-west-1" },
		"no buckets":     func(v *sigv4.Verifier) { v.Bucket = nil },
	} {
		other := *v
		change(&other)
		if r, err = p.message().receive(); err != nil {
			t.Fatal(err)
		}
		if _, err = other.Verify(r); err == nil {
			t.Error(name, ": accepted")
		}
	}
}

// Each case differs in one thing from a form that is accepted.
func TestFormRefused(t *testing.T) {
	const denied, argument, document = "AccessDenied", "InvalidArgument", "InvalidPolicyDocument"
	good := newForm("")
	if _, _, err := good.message().verifyForm(); err != nil {
		t.Fatal(err)
	}
	with := func(m message, name, value string) message { return m.with(name, value) }
	raw := func(policy string) message { return good.sign(policy).message() }
	expiring := func(when string) message {
		return raw(strings.Replace(policyOf(""), "2013-05-24T01:00:00.000Z", when, 1))
	}
	dated := func(when string) message {
		return good.sign(strings.Replace(policyOf(""), date, when, 1)).with("X-Amz-Date", when).message()
	}
	swap := func(from, to string) message {
		m := good.message()
		return m.withBody(strings.Replace(m.body, from, to, 1))
	}
	nothing := posted{fields: []field{{"key", "user/key"}}, file: "x", end: good.end}
	for _, tt := range []struct {
		name, code string
		m          message
	}{
		// Who sends it.
		{"anonymous", denied, nothing.message()},
		{"no policy", argument, good.with("Policy", "").message()},
		{"no signature", argument, good.with("X-Amz-Signature", "").message()},
		{"no algorithm", argument, good.with("X-Amz-Algorithm", "").message()},
		{"no credential", argument, good.with("X-Amz-Credential", "").message()},
		{"no date", argument, good.with("X-Amz-Date", "").message()},
		{"only a signature", argument, nothing.with("x-amz-signature", good.get("X-Amz-Signature")).message()},
		{"signature behind the file", argument, func() message {
			p := good.with("X-Amz-Signature", "")
			p.end = "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"x-amz-signature\"\r\n\r\n" + good.get("X-Amz-Signature") + p.end
			return p.message()
		}()},
		{"version 2", "InvalidRequest", nothing.with("AWSAccessKeyId", accessKeyID).with("policy", good.get("policy")).with("signature", "c2ln").message()},
		{"version 2 as well", "InvalidRequest", good.with("AWSAccessKeyId", accessKeyID).message()},
		{"session token", "InvalidToken", newForm(`{"x-amz-security-token": "token"}`, field{"x-amz-security-token", "token"}).message()},
		{"session token that the policy does not name", "AccessDenied", newForm("").with("x-amz-security-token", "session").message()},
		{"session that is over", "ExpiredToken", newForm(`{"x-amz-security-token": "over"}`, field{"x-amz-security-token", "over"}).message()},
		{"other algorithm", argument, good.with("X-Amz-Algorithm", "AWS4-HMAC-SHA512").message()},
		{"version 4A", argument, good.with("X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256").message()},
		{"other key id", "InvalidAccessKeyId", good.with("X-Amz-Credential", "AKIAOTHER/"+scope).message()},
		{"other region", argument, good.with("X-Amz-Credential", accessKeyID+"/20130524/us-west-1/s3/aws4_request").message()},
		{"other service", argument, good.with("X-Amz-Credential", accessKeyID+"/20130524/us-east-1/sts/aws4_request").message()},
		{"no scope", argument, good.with("X-Amz-Credential", accessKeyID).message()},
		{"other day", argument, good.with("X-Amz-Date", "20130523T000000Z").message()},
		{"garbled date", argument, good.with("X-Amz-Date", "20130524").message()},
		{"future date", denied, dated("20130524T001501Z")},
		{"date off by a second", denied, good.with("X-Amz-Date", "20130524T000001Z").message()},
		{"other signature", "SignatureDoesNotMatch", good.with("X-Amz-Signature", emptySHA256).message()},
		{"upper-case signature", "SignatureDoesNotMatch", good.with("X-Amz-Signature", strings.ToUpper(good.get("X-Amz-Signature"))).message()},
		{"other policy", "SignatureDoesNotMatch", good.with("Policy", base64.StdEncoding.EncodeToString([]byte(policyOf(`{"acl": "private"}`)))).message()},
		{"shorter policy", "SignatureDoesNotMatch", good.with("Policy", good.get("Policy")[2:]).message()},
		{"two policies", "SignatureDoesNotMatch", swap("--"+boundary, "--"+boundary+"\r\nContent-Disposition: form-data; name=policy\r\n\r\ne30=\r\n--"+boundary)},

		// What is signed beside it, or not at all.
		{"header too", argument, with(good.message(), "Authorization", "AWS4-HMAC-SHA256 Credential=x")},
		{"header of version 2 too", argument, with(good.message(), "Authorization", "AWS AKID:c2ln")},
		{"x-amz header", denied, with(good.message(), "X-Amz-Acl", "public-read")},
		{"hash in the header", denied, with(good.message(), "X-Amz-Content-Sha256", unsigned)},
		{"query", denied, func() message { m := good.message(); m.target += "?delete"; return m }()},
		{"presigned query too", "AuthorizationQueryParametersError", func() message { m := good.message(); m.target += "?X-Amz-Signature=0"; return m }()},

		// The document.
		{"empty policy", document, func() message {
			p := good.with("Policy", "").with("X-Amz-Signature", sign(""))
			p.fields = append(p.fields, field{"policy", ""})
			return p.message()
		}()},
		{"expiration a number", document, raw(strings.Replace(policyOf(""), `"2013-05-24T01:00:00.000Z"`, "1", 1))},
		{"not base64", document, good.with("Policy", "{}").with("X-Amz-Signature", sign("{}")).message()},
		{"not JSON", document, raw("expiration")},
		{"comma at the end", document, raw(strings.Replace(policyOf(""), "}]}", "},]}", 1))},
		{"more than a document", document, raw(policyOf("") + policyOf(""))},
		{"null", document, raw("null")},
		{"a list", document, raw("[]")},
		{"no expiration", document, raw(`{"conditions": []}`)},
		{"no conditions", document, raw(`{"expiration": "2013-05-24T01:00:00Z"}`)},
		{"conditions no list", document, raw(`{"expiration": "2013-05-24T01:00:00Z", "conditions": {}}`)},
		{"expiration in upper case", document, raw(strings.Replace(policyOf(""), "expiration", "EXPIRATION", 1))},
		{"unknown member", document, raw(strings.Replace(policyOf(""), "{", `{"Version": "1", `, 1))},
		{"expiration with an offset", document, expiring("2013-05-24T01:00:00+02:00")},
		{"expiration with a space", document, expiring("2013-05-24 01:00:00Z")},
		{"expired", denied, expiring("2013-05-24T00:00:00Z")},
		{"condition a string", document, raw(policyOf(`"eq"`))},
		{"empty condition", document, raw(policyOf(`{}`))},
		{"two in a condition", document, raw(policyOf(`{"acl": "private", "tagging": ""}`))},
		{"number in a condition", document, raw(policyOf(`{"success_action_status": 201}`))},
		{"no operator", document, raw(policyOf(`[]`))},
		{"operator a number", document, raw(policyOf(`[1, "$acl", "private"]`))},
		{"unknown operator", document, raw(policyOf(`["ends-with", "$key", ""]`))},
		{"too few", document, raw(policyOf(`["eq", "$key"]`))},
		{"too many", document, raw(policyOf(`["eq", "$key", "user/key", "b"]`))},
		{"value a bool", document, raw(policyOf(`["eq", "$key", true]`))},
		{"range of one", document, raw(policyOf(`["content-length-range", 0]`))},

		// What the conditions say.
		{"no bucket condition", denied, raw(strings.Replace(policyOf(""), `{"bucket": "bucket"},`, "", 1))},
		{"other bucket", denied, raw(strings.Replace(policyOf(""), `"bucket": "bucket"`, `"bucket": "other"`, 1))},
		{"other bucket in the form", denied, good.with("bucket", "other").message()},
		{"other key", denied, raw(policyOf(`["eq", "$key", "user/kez"]`))},
		{"key in other case", denied, raw(policyOf(`["eq", "$key", "USER/KEY"]`))},
		{"other beginning", denied, raw(policyOf(`["starts-with", "$key", "user/kez"]`))},
		{"variable in the beginning", denied, newForm(`["starts-with", "$key", "${filename}"]`, field{"key", "${filename}"}).message()},
		{"without the dollar sign", denied, raw(policyOf(`["eq", "key", "user/key"]`))},
		{"field that is not there", denied, raw(policyOf(`["starts-with", "$acl", ""]`))},
		{"field behind the file", denied, func() message {
			p := newForm(`["starts-with", "$acl", ""]`)
			p.end = "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"acl\"\r\n\r\nprivate" + p.end
			return p.message()
		}()},
		{"field without a condition", denied, good.with("acl", "public-read").message()},
		{"unknown field without a condition", denied, good.with("filename", "x").message()},
		{"one of several conditions", denied, newForm(`["starts-with", "$acl", "p"], {"acl": "private"}`, field{"acl", "public-read"}).message()},
		{"type in a list", denied, newForm(`["starts-with", "$Content-Type", "image/"]`, field{"Content-Type", "image/png, text/html"}).message()},
		{"short file", "EntityTooSmall", raw(policyOf(`["content-length-range", 9, 10]`))},
		{"long file", "EntityTooLarge", raw(policyOf(`["content-length-range", 0, 7]`))},
		{"one of two ranges", "EntityTooLarge", raw(policyOf(`["content-length-range", 0, 7], ["content-length-range", 0, 70]`))},
		{"negative range", denied, raw(policyOf(`["content-length-range", -1, 70]`))},
		{"range with a fraction", document, raw(policyOf(`["content-length-range", 0, 70.0]`))},
		{"range of words", document, raw(policyOf(`["content-length-range", "a", "b"]`))},

		// The form.
		{"not a form", "PreconditionFailed", with(good.message(), "Content-Type", "application/json")},
		{"no type", "PreconditionFailed", with(good.message(), "Content-Type", "")},
		{"no boundary", "MalformedPOSTRequest", with(good.message(), "Content-Type", "multipart/form-data")},
		{"other boundary", "MalformedPOSTRequest", with(good.message(), "Content-Type", "multipart/form-data; boundary=b")},
		{"no length", "MissingContentLength", func() message {
			m := with(good.message(), "Content-Length", "").with("Transfer-Encoding", "chunked")
			m.body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(m.body), m.body)
			return m
		}()},
		{"no body", "MalformedPOSTRequest", post("")},
		{"for an object", "AccessDenied", func() message { m := good.message(); m.target += "/key"; return m }()},
		{"for nothing", "MethodNotAllowed", func() message { m := good.message(); m.target = "/"; return m }()},
		{"no key", argument, good.with("key", "").message()},
		{"no file", argument, swap(`name="file"`, `name="files"`)},
		{"file of no form", "MalformedPOSTRequest", swap(`form-data; name="file"`, `file; name="file"`)},
		{"field without a name", "MalformedPOSTRequest", swap(`; name="key"`, "")},
		{"field without a header", "MalformedPOSTRequest", swap("Content-Disposition: form-data; name=\"key\"\r\n", "")},
		{"name twice", "MalformedPOSTRequest", swap(`; name="key"`, `; name="key"; name="acl"`)},
		{"header of a field cut short", "MalformedPOSTRequest", post(good.head()[:100])},
		{"no last boundary", "MalformedPOSTRequest", post(good.head() + "file")},
		{"last boundary cut short", "MalformedPOSTRequest", post(good.head() + "file" + good.end[:len(good.end)-3])},
		{"body cut short", "IncompleteBody", with(good.message(), "Content-Length", "9999")},
		{"body of another length", "MalformedPOSTRequest", with(good.message(), "Content-Length", "999999")},
		{"file cut short", "IncompleteBody", with(post(good.head()+"file"), "Content-Length", "9999")},
		{"fields cut short", "IncompleteBody", with(post(good.head()[:300]), "Content-Length", "999999")},
		{"many bytes of fields", "MaxPostPreDataLengthExceeded", good.with("x-ignore-a", strings.Repeat("a", 20<<10)).message()},
		{"many fields", "MaxPostPreDataLengthExceeded", swap("--"+boundary, strings.Repeat("--"+boundary+"\r\nContent-Disposition: form-data; name=x-ignore-a\r\n\r\n\r\n", 300)+"--"+boundary)},
		{"many names of the file", "MaxPostPreDataLengthExceeded", good.with("x-ignore-a", strings.Repeat("${filename}", 150)).with("x-ignore-b", strings.Repeat("${filename}", 150)).named(`; filename="` + strings.Repeat("n", 100) + `"`).message()},
		{"much before the form", "MaxPostPreDataLengthExceeded", swap("--"+boundary, strings.Repeat("preamble\r\n", 3000)+"--"+boundary)},
		{"line break in a header", argument, newForm(`["starts-with", "$x-amz-meta-a", ""]`, field{"x-amz-meta-a", "a\r\nX-Amz-Acl: public-read"}).message()},
		{"name of no header", argument, newForm(`["starts-with", "$x-amz-meta-a b", ""]`, field{"x-amz-meta-a b", "a"}).message()},
		{"two names for a header", argument, newForm(`["starts-with", "$acl", ""], ["starts-with", "$x-amz-acl", ""]`, field{"acl", "private"}, field{"x-amz-acl", "private"}).message()},

		// The file.
		{"MD5 of another file", "BadDigest", newForm(`["starts-with", "$Content-MD5", ""]`, field{"Content-MD5", sumOf(checksum.MD5, "file").String()}).message()},
		{"no MD5", "InvalidDigest", newForm(`["starts-with", "$Content-MD5", ""]`, field{"Content-MD5", "MD5"}).message()},
		{"CRC of another file", "BadDigest", newForm(`["starts-with", "$x-amz-checksum-crc32", ""]`, field{"x-amz-checksum-crc32", sumOf(checksum.CRC32, "file").String()}).message()},
		{"SHA of another file", "XAmzContentSHA256Mismatch", newForm(`["starts-with", "$x-amz-content-sha256", ""]`, field{"x-amz-content-sha256", emptySHA256}).message()},
		{"chunks", "InvalidRequest", newForm(`["starts-with", "$x-amz-content-sha256", ""]`, field{"x-amz-content-sha256", streaming}).message()},
		{"two checksums", "InvalidRequest", newForm(`["starts-with", "$x-amz-checksum-crc32", ""], ["starts-with", "$x-amz-checksum-crc32c", ""]`,
			field{"x-amz-checksum-crc32", sumOf(checksum.CRC32, good.file).String()}, field{"x-amz-checksum-crc32c", sumOf(checksum.CRC32C, good.file).String()}).message()},
		{"algorithm without a checksum", "InvalidRequest", newForm(`["starts-with", "$x-amz-checksum-algorithm", ""]`, field{"x-amz-checksum-algorithm", "CRC32"}).message()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, content, err := tt.m.verifyForm()
			wantCode(t, err, tt.code)
			if content != "" {
				t.Errorf("of a short file %q was handed out", content)
			}
		})
	}
}

// What may differ without making a difference.
func TestFormAccepted(t *testing.T) {
	plain := newForm("")
	for _, tt := range []struct {
		name string
		p    posted
		want map[string]string // fields, beside those of newForm
	}{
		{"plain", plain, nil},
		{
			"names in other case", newForm(`["StArTs-WiTh", "$SUCCESS_action_STATUS", "20"], {"ACL": "private"}`, field{"Success_Action_Status", "201"}, field{"Acl", "private"}),
			map[string]string{"success_action_status": "201", "acl": "private"},
		},
		{"fields of one name", newForm(`{"x-amz-meta-tag": "Ninja,Stallman"}`, field{"x-amz-meta-tag", "Ninja"}, field{"x-amz-meta-TAG", "Stallman"}), map[string]string{"x-amz-meta-tag": "Ninja,Stallman"}},
		{
			"name of the file", newForm(`["starts-with", "$x-amz-meta-name", "na"], {"key": "user/name.txt-name.txt"}`, field{"key", "user/${filename}-${filename}"}, field{"x-amz-meta-name", "${filename}"}),
			map[string]string{"key": "user/name.txt-name.txt", "x-amz-meta-name": "name.txt"},
		},
		{"path of the file", newForm("", field{"key", "${filename}"}).named(`; filename="/tmp/C:\dir\übung.txt"`), map[string]string{"key": "übung.txt"}},
		{"no file chosen", newForm("", field{"key", "user/${filename}"}).named(`; filename=""`).withFile(""), map[string]string{"key": "user/"}},
		{"text for a file", newForm("", field{"key", "user/${filename}"}).named(""), map[string]string{"key": "user/${filename}"}},
		{"fields to ignore", plain.with("x-ignore-a", "a").with("X-Ignore-B", "b"), map[string]string{"x-ignore-a": "a", "x-ignore-b": "b"}},
		{"bucket in the form", plain.with("bucket", "bucket"), nil},
		{"field of nobody's", newForm(`{"Filename": ""}`, field{"Filename", ""}), map[string]string{"filename": ""}},
		{"number for a string", newForm(`["eq", "$success_action_status", 201]`, field{"success_action_status", "201"}), map[string]string{"success_action_status": "201"}},
		{"types in a list", newForm(`["starts-with", "$content-type", "image/"]`, field{"Content-Type", "image/png, image/gif"}), map[string]string{"content-type": "image/png, image/gif"}},
		{"exact range", newForm(`["content-length-range", 8, 8]`), nil},
		{"range of strings", newForm(`["content-length-range", "0", "10"]`), nil},
		{"policy in lines", func() posted {
			encoded := plain.get("Policy")
			encoded = encoded[:76] + "\r\n" + encoded[76:]
			return plain.with("Policy", encoded).with("X-Amz-Signature", sign(encoded))
		}(), nil},
		{"no line break at the end", func() posted { p := plain; p.end = strings.TrimSpace(p.end); p.end = "\r\n" + p.end; return p }(), nil},
		{"something behind the end", func() posted { p := plain; p.end += "epilogue"; return p }(), nil},
		{"button behind the file", func() posted {
			p := plain
			p.end = "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload" + p.end
			return p
		}(), nil},
		{"another file behind the file", func() posted {
			p := plain
			p.end = "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nanother" + p.end
			return p
		}(), nil},
		{"most of a boundary in the file", plain.withFile("\r\n--" + boundary[1:] + "\r\n--" + boundary + "x\r\n-"), nil},
		{"empty file", plain.withFile(""), nil},
		{"longest short file", plain.withFile(strings.Repeat("x", 64<<10)), nil},
		{"long file", plain.withFile(strings.Repeat("x\r\n-", longFile/4)), nil},
		{"all checksums", newForm(`{"Content-MD5": "`+sumOf(checksum.MD5, "the file").String()+`"}, ["starts-with", "$x-amz-checksum-sha256", ""], {"x-amz-checksum-algorithm": "SHA256"}, ["starts-with", "$x-amz-content-sha256", ""]`,
			field{"Content-MD5", sumOf(checksum.MD5, "the file").String()}, field{"x-amz-checksum-sha256", sumOf(checksum.SHA256, "the file").String()},
			field{"x-amz-checksum-algorithm", "SHA256"}, field{"x-amz-content-sha256", hexSHA256("the file")}), map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, content, err := tt.p.message().verifyForm()
			if err != nil || content != tt.p.file || req.Body.Length() != int64(len(content)) {
				t.Fatalf("got %d bytes, %v", len(content), err)
			}
			for name, want := range tt.want {
				if req.Form[name] != want {
					t.Errorf("%s is %q, want %q", name, req.Form[name], want)
				}
			}
			for name := range req.Header {
				if strings.Contains(name, "Checksum") || strings.Contains(name, "Md5") || strings.Contains(name, "Sha256") || req.Form[strings.ToLower(name)] != req.Header.Get(name) && name != "X-Amz-Acl" {
					t.Errorf("header %s: %q", name, req.Header[name])
				}
			}
			if sum, ok := req.Body.Checksum(); ok != (tt.name == "all checksums") || ok && sum.Algorithm != checksum.SHA256 {
				t.Errorf("checksum %v, %v", sum, ok)
			}
		})
	}
}

// A long file is handed out while its end is still to come. If that is not what
// was taken for granted, the last bytes are not, and the error says what to do.
func TestEndOfLongForm(t *testing.T) {
	plain := newForm("").withFile(strings.Repeat("y", longFile))
	last := plain.end
	for name, end := range map[string]string{
		"no line break": strings.TrimSuffix(last, "\r\n"), "epilogue": last + "x", "no boundary": "", "half a boundary": last[:10], "boundary of more": last[:len(last)-4] + "\r\n",
		"boundary of as many bytes": last[:len(last)-4] + "-\r\n\r", "white space": last[:len(last)-2] + " \r\n", "another field": "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=a\r\n\r\n" + last,
		"another field of nothing": last[:len(last)-4] + "\r\n\r\n" + last,
	} {
		p := plain
		p.end = end
		req, content, err := p.message().verifyForm()
		wantCode(t, err, "MalformedPOSTRequest")
		if req != nil && len(content) >= int(req.Body.Length()) {
			t.Errorf("%s: all of the file was handed out", name)
		}
	}
	m := plain.message()
	m.body = m.body[:len(m.body)-1]
	_, content, err := m.verifyForm()
	wantCode(t, err, "IncompleteBody")
	if len(content) >= longFile {
		t.Error("broken off: all of the file was handed out")
	}
}

// The length of a long file is known from what stands before it, to the byte.
func TestLengthOfLongForm(t *testing.T) {
	for n := 64 << 10; n < 64<<10+24_000; n += 1009 {
		p := newForm("").withFile(strings.Repeat("z", n)).with("x-ignore-a", strings.Repeat("i", n%4096+1))
		if req, content, err := p.message().verifyForm(); err != nil || len(content) != n || req.Body.Length() != int64(n) {
			t.Fatalf("%d bytes: got %d, %v", n, len(content), err)
		}
	}
}

// No byte of a form can be changed and the form still mean something else.
func TestMangledForm(t *testing.T) {
	p := newForm(`{"acl": "private"}, {"x-amz-meta-a": "b"}, {"content-type": "text/plain"}, {"key": "user/name.txt"}, ["starts-with", "$x-amz-checksum-crc32", ""]`,
		field{"key", "user/${filename}"}, field{"acl", "private"}, field{"x-amz-meta-a", "b"}, field{"Content-Type", "text/plain"}, field{"x-amz-checksum-crc32", sumOf(checksum.CRC32, "the file").String()})
	m := p.message()
	want, _, err := m.verifyForm()
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for i := range m.body {
		for _, change := range []string{"", "\x00", " ", "\r\n", "\"", "a", ";", "--", string(m.body[i] ^ 0x20), m.body[i:i+1] + m.body[i:i+1]} {
			mangled := m.body[:i] + change + m.body[i+1:]
			req, content, err := m.withBody(mangled).verifyForm()
			if err != nil {
				continue
			}
			accepted++
			if content != p.file || !maps.EqualFunc(req.Header, want.Header, slices.Equal) || req.Form["key"] != want.Form["key"] || req.Path != want.Path {
				t.Errorf("%q for byte %d: accepted as %q %q %q", change, i, req.Form, req.Header, content)
			}
		}
	}
	if accepted == 0 {
		t.Error("nothing was accepted; there are changes without a meaning")
	}
}

func TestFormErrorsTell(t *testing.T) {
	for _, tt := range []struct {
		p    posted
		want sigv4.Error
	}{
		{newForm("").with("X-Amz-Signature", ""), sigv4.Error{
			Code: "InvalidArgument", Message: "Bucket POST must contain a field named 'X-Amz-Signature'.  If it is specified, please check the order of the fields.",
			Fields: []sigv4.Field{{Name: "ArgumentName", Value: "X-Amz-Signature"}, {Name: "ArgumentValue"}},
		}},
		{newForm(`["eq", "$Acl", "private\"x"]`, field{"acl", "public"}), sigv4.Error{Code: "AccessDenied", Message: `Invalid according to Policy: Policy Condition failed: ["eq", "$Acl", "private\"x"]`}},
		{newForm(`{"acl": "private"}`, field{"acl", "public"}), sigv4.Error{Code: "AccessDenied", Message: `Invalid according to Policy: Policy Condition failed: ["eq", "$acl", "private"]`}},
		{newForm("").with("b", "1").with("a", "1"), sigv4.Error{Code: "AccessDenied", Message: "Invalid according to Policy: Extra input fields: a, b"}},
		{newForm("").with("X-Amz-Algorithm", "AWS4-HMAC-SHA1"), sigv4.Error{
			Code: "InvalidArgument", Message: "Only AWS4-HMAC-SHA256 is supported",
			Fields: []sigv4.Field{{Name: "ArgumentName", Value: "X-Amz-Algorithm"}, {Name: "ArgumentValue", Value: "AWS4-HMAC-SHA1"}},
		}},
		{newForm(`{"x-amz-checksum-crc": "0"}`, field{"x-amz-checksum-crc", "0"}), sigv4.Error{
			Code: "InvalidRequest", Message: "The algorithm type you specified in x-amz-checksum- header is invalid.",
		}},
		{newForm(`["content-length-range", "5", 7]`), sigv4.Error{
			Code: "EntityTooLarge", Message: "Your proposed upload exceeds the maximum allowed size",
			Fields: []sigv4.Field{{Name: "ProposedSize", Value: "8"}, {Name: "MaxSizeAllowed", Value: "7"}},
		}},
		{newForm("").with("X-Amz-Credential", accessKeyID+"/20130524/us-west-1/s3/aws4_request"), sigv4.Error{
			Code: "InvalidArgument", Message: "the region 'us-west-1' is wrong; expecting 'us-east-1'",
			Fields: []sigv4.Field{{Name: "ArgumentName", Value: "X-Amz-Credential"}, {Name: "Region", Value: "us-east-1"}},
		}},
	} {
		_, _, err := tt.p.message().verifyForm()
		var got *sigv4.Error
		if !errors.As(err, &got) || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
	// A signature that does not match shows what was signed, and has no canonical request to show.
	var names []string
	_, _, err := newForm("").with("X-Amz-Signature", emptySHA256).message().verifyForm()
	for _, f := range err.(*sigv4.Error).Fields { //nolint:errorlint,errcheck // it is one
		names = append(names, f.Name)
	}
	if want := []string{"AWSAccessKeyId", "StringToSign", "SignatureProvided", "StringToSignBytes"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

// A form is good for as long as its policy says, and at most for a week.
func TestFormExpires(t *testing.T) {
	week := newForm("").sign(strings.Replace(policyOf(""), "2013-05-24T01", "2014-05-24T01", 1))
	for _, tt := range []struct {
		p     posted
		after time.Duration
		ok    bool
	}{
		{newForm(""), -15 * time.Minute, true},
		{newForm(""), -15*time.Minute - time.Second, false},
		{newForm(""), time.Hour - time.Second, true},
		{newForm(""), time.Hour, false},
		{week, 7 * 24 * time.Hour, true},
		{week, 7*24*time.Hour + time.Second, false},
	} {
		r, err := tt.p.message().receive()
		if err != nil {
			t.Fatal(err)
		}
		v := verifier()
		v.Bucket = func(string, string) string { return "bucket" }
		v.Now = func() time.Time { return now.Add(tt.after) }
		if _, err := v.Verify(r); (err == nil) != tt.ok || err != nil && code(err) != "AccessDenied" {
			t.Errorf("after %v: %v", tt.after, err)
		}
	}
}

// Nothing behind a form's fields is read before its signature has proved genuine.
func TestFormIsReadNoFurther(t *testing.T) {
	p := newForm("").withFile(strings.Repeat("f", 32<<10))
	for name, p := range map[string]posted{"other signature": p.with("X-Amz-Signature", emptySHA256), "anonymous": {fields: []field{{"key", "k"}}, file: p.file, end: p.end}} {
		r, err := p.message().receive()
		if err != nil {
			t.Fatal(err)
		}
		left := &counter{Reader: r.Body}
		r.Body = io.NopCloser(left)
		v := verifier()
		v.Bucket = func(string, string) string { return "bucket" }
		if _, err := v.Verify(r); err == nil {
			t.Error(name, ": accepted")
		}
		if most := len(p.head()) + 4<<10; left.n > most {
			t.Errorf("%s: %d bytes read, of %d", name, left.n, len(p.head()))
		}
	}
}

type counter struct {
	io.Reader

	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}
