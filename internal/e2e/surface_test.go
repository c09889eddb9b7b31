package e2e_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// row is a line of docs/operations.md, where every operation stands.
var row = regexp.MustCompile("(?m)^\\| (\\w+) \\| `(\\w+) ([^ `]+)(?: \\+ ([^`]+))?` \\| (\\w+) \\|")

// TestEveryOperation sends a request for each row of the table: what is refused the store never hears of, and what is passed
// on reaches it as it is, under the proxy's signature.
func TestEveryOperation(t *testing.T) {
	const status = http.StatusConflict
	wire := testbed.NewWire(t, fake(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, defaultEncryptionObject) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(status)
	}))
	r := newRig(t, testbed.Store(t), at(t, wire.URL))
	rows := row.FindAllStringSubmatch(string(testbed.Must(os.ReadFile("../../docs/operations.md"))(t)), -1)
	if len(rows) < 120 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, f := range rows {
		name, treatment := f[1], f[5]
		if ownRequests[name] || strings.Contains(f[3], "partNumber") {
			continue // it needs an upload, or asks in requests of its own: upload_test.go
		}
		m := message{method: f[2], target: strings.Replace(f[3], "/bucket", "/"+r.bucket, 1), hash: sha256hex(""), header: map[string]string{}}
		body := ""
		if m.method == http.MethodPut || m.method == http.MethodPost {
			body = "<body/>"
			m.hash, m.body = sha256hex(body), text(body)
		}
		if f[4] != "" {
			m = m.with(f[4], "a/b")
		}
		wire.Reset()
		a := r.send(t, m)
		sent := requests(wire)
		if treatment == "refuse" {
			if a.status != http.StatusNotImplemented || len(sent) != 0 || a.Code != "NotImplemented" && m.method != http.MethodHead {
				t.Errorf("%s: %d %s, %d requests to the store", name, a.status, a.Code, len(sent))
			}
			continue
		}
		if len(sent) == 0 && (name == "DeleteObjects" && a.Code == "MalformedXML" || name == "RestoreObject" && a.Code == "NotImplemented") {
			continue // they look into the body
		}
		if len(sent) != 1 || a.status != status {
			t.Errorf("%s: %d %s, %d requests to the store", name, a.status, a.body, len(sent))
			continue
		}
		x := sent[0]
		if x.Method != m.method || normal(x.Target) != normal(m.target) {
			t.Errorf("%s: %s %s became %s %s", name, m.method, m.target, x.Method, x.Target)
		}
		if signers := signersOf(sent); signers[0] != r.store.AccessKeyID {
			t.Errorf("%s: signed by %q", name, signers)
		}
		if treatment == "pass" && (string(x.Body) != body || body != "" && x.Header.Get("Content-Md5") != md5Of(body)) {
			t.Errorf("%s: body %q, Content-MD5 %s", name, x.Body, x.Header.Get("Content-Md5"))
		}
	}
}

// ownRequests are the operations that ask the store in other requests than the client's, or, of nobody, in an unsigned one.
var ownRequests = map[string]bool{
	"CreateMultipartUpload": true, "UploadPart": true, "UploadPartCopy": true, "CompleteMultipartUpload": true, "AbortMultipartUpload": true,
	"ListParts": true, "GetObjectAttributes": true, "CopyObject": true, "Preflight": true, "PostObject": true,
	"GetBucketEncryption": true, "PutBucketEncryption": true, "DeleteBucketEncryption": true, "UpdateObjectEncryption": true,
}

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// normal returns a target without the differences that do not matter: x-id, and "?acl" for "?acl=".
func normal(target string) string {
	path, query, _ := strings.Cut(target, "?")
	values, _ := url.ParseQuery(query)
	values.Del("x-id")
	return path + "?" + values.Encode()
}

// TestRefused: what the proxy does not do yet an SDK's client learns from a 501, and the store nothing.
func TestRefused(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", []byte("body"))
	b, k := &r.bucket, ptr("key")
	put := func(f func(*s3.PutObjectInput)) error {
		in := &s3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("another")}
		f(in)
		_, err := r.client.PutObject(t.Context(), in)
		return err
	}
	for name, do := range map[string]func() error{
		"SelectObjectContent": func() error {
			return second(r.client.SelectObjectContent(t.Context(), &s3.SelectObjectContentInput{
				Bucket: b, Key: k, Expression: ptr("SELECT * FROM s3object"), ExpressionType: types.ExpressionTypeSql,
				InputSerialization: &types.InputSerialization{CSV: &types.CSVInput{}}, OutputSerialization: &types.OutputSerialization{CSV: &types.CSVOutput{}},
			}))
		},
		"RenameObject": func() error {
			return second(r.client.RenameObject(t.Context(), &s3.RenameObjectInput{Bucket: b, Key: ptr("renamed"), RenameSource: ptr(r.bucket + "/key")}))
		},
		"PutObjectAnnotation": func() error {
			return second(r.client.PutObjectAnnotation(t.Context(), &s3.PutObjectAnnotationInput{Bucket: b, Key: k, AnnotationName: ptr("a"), AnnotationPayload: strings.NewReader("note")}))
		},
		"RestoreObject": func() error {
			return second(r.client.RestoreObject(t.Context(), &s3.RestoreObjectInput{Bucket: b, Key: k, RestoreRequest: &types.RestoreRequest{Days: ptr(int32(1)), Type: types.RestoreRequestTypeSelect}}))
		},
		"GetObjectTorrent": func() error {
			return second(r.client.GetObjectTorrent(t.Context(), &s3.GetObjectTorrentInput{Bucket: b, Key: k}))
		},
		"DSSE-KMS": func() error {
			return put(func(in *s3.PutObjectInput) { in.ServerSideEncryption = types.ServerSideEncryptionAwsKmsDsse })
		},
		"append": func() error { return put(func(in *s3.PutObjectInput) { in.WriteOffsetBytes = ptr(int64(4)) }) },
		"delete by size": func() error {
			return second(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: b, Key: k, IfMatchSize: ptr(int64(4))}))
		},
		"delete many by size": func() error {
			return second(r.client.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: k, Size: ptr(int64(4))}}}}))
		},
	} {
		r.wire.Reset()
		if err := do(); statusOf(err) != http.StatusNotImplemented {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(requests(r.wire)); n != 0 {
			t.Errorf("%s: %d requests to the store", name, n)
		}
	}
	if got, _, err := r.get(t, "key", ""); err != nil || string(got) != "body" {
		t.Errorf("the object is %q, %v", got, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestRestore: what brings an object back as it is goes to the store; what would read it there does not.
func TestRestore(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for body, passes := range map[string]bool{
		"": true,
		"<RestoreRequest><Days>1</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>": true,
		"<RestoreRequest><Type>SELECT</Type></RestoreRequest>":                                                          false,
		"<RestoreRequest><OutputLocation><S3/></OutputLocation></RestoreRequest>":                                       false,
		"<RestoreRequest><Days>1</Days>":                                                                                false,
	} {
		r.wire.Reset()
		a := r.send(t, message{
			method: http.MethodPost, target: "/" + r.bucket + "/key?restore", header: map[string]string{}, hash: sha256hex(body), body: text(body),
		})
		if requests := r.wire.Requests(); (len(requests) == 1) != passes || passes && string(requests[0].Body) != body {
			t.Errorf("%s: %d %s, %d requests to the store", body, a.status, a.Code, len(requests))
		}
	}
}

// TestUnknownRequests: nor does the store hear of what nobody knows, or of a form that has no policy.
func TestUnknownRequests(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	const unknown, bad = http.StatusNotImplemented, http.StatusBadRequest
	put := r.putMessage("key", sha256hex("plaintext"), text("plaintext"))
	to := func(m message, method, target string) message {
		m.method, m.target = method, "/"+r.bucket+target
		return m
	}
	form := "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nkey\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nplaintext\r\n--b--\r\n"
	post := message{method: http.MethodPost, target: "/" + r.bucket, hash: sha256hex(form), body: text(form), header: map[string]string{"Content-Type": "multipart/form-data; boundary=b"}}
	long := strings.Repeat("k", 1025)
	document := pattern(2<<20 + 1) // longer than any that is passed on
	large := r.putMessage("", sha256hex(document), text(document))
	endless := large
	endless.chunked = true
	for name, try := range map[string]spoiled{
		"a new sub-resource":            {to(put, "PUT", "/key?newfeature"), unknown, "NotImplemented"},
		"a new sub-resource and value":  {to(put, "PUT", "/key?newfeature=1"), unknown, "NotImplemented"},
		"a new bucket sub-resource":     {to(put, "PUT", "?newfeature"), unknown, "NotImplemented"},
		"a new x-amz header":            {put.with("X-Amz-New-Feature", "1"), unknown, "NotImplemented"},
		"a header of MinIO's":           {put.with("X-Minio-Source-Etag", "1"), unknown, "NotImplemented"},
		"unpacking":                     {put.with("X-Amz-Meta-Snowball-Auto-Extract", "true"), unknown, "NotImplemented"},
		"a version of a write":          {to(put, "PUT", "/key?versionId=1"), unknown, "NotImplemented"},
		"POST to a key":                 {to(put, "POST", "/key"), http.StatusMethodNotAllowed, "MethodNotAllowed"},
		"PATCH":                         {to(put, "PATCH", "/key"), bad, "InvalidRequest"},
		"PATCH without a body":          {message{method: "PATCH", target: put.target, hash: sha256hex("")}, http.StatusMethodNotAllowed, "MethodNotAllowed"},
		"a form, signed":                {post, bad, "InvalidArgument"},
		"a document, posted":            {post.with("Content-Type", "application/xml"), http.StatusPreconditionFailed, "PreconditionFailed"},
		"a form":                        {post.without("Authorization"), http.StatusForbidden, "AccessDenied"},
		"a key of 1025 bytes":           {to(put, "PUT", "/"+long), bad, "KeyTooLongError"},
		"a key of 1025 bytes, read":     {message{method: "GET", target: "/" + r.bucket + "/" + long, hash: sha256hex("")}, bad, "KeyTooLongError"},
		"a key of 513 letters ü":        {to(put, "PUT", "/"+strings.Repeat("%C3%BC", 513)), bad, "KeyTooLongError"},
		"2049 bytes of metadata":        {put.with("X-Amz-Meta-A", strings.Repeat("v", 2048)), bad, "MetadataTooLarge"},
		"much metadata":                 {put.with("X-Amz-Meta-A", strings.Repeat("v", 1024)).with("X-Amz-Meta-B", strings.Repeat("v", 1023)), bad, "MetadataTooLarge"},
		"a large document":              {to(large, "PUT", "?tagging"), bad, "MaxMessageLengthExceeded"},
		"a document in chunks":          {to(r.streamed("", unsignedTrailer, []byte("<Tagging/>"), checksum.CRC32), "PUT", "?tagging"), bad, "InvalidRequest"},
		"one that does not say so":      {to(endless, "PUT", "?tagging"), bad, "MaxMessageLengthExceeded"},
		"a NUL in the key":              {to(put, "PUT", "/a%00b"), bad, "InvalidURI"},
		"a bucket name that cannot be":  {message{method: "GET", target: "/a..b/key", hash: sha256hex("")}, bad, "InvalidBucketName"},
		"a bucket name with encoding":   {message{method: "GET", target: "/a%2Fb/key", hash: sha256hex("")}, bad, "InvalidBucketName"},
		"deletion of nothing":           {to(message{hash: sha256hex(""), body: text("")}, "POST", "?delete"), bad, "MissingRequestBodyError"},
		"deletion out of the bucket":    {to(r.deleteMessage("../x"), "POST", "?delete"), bad, "InvalidURI"},
		"attributes, none named":        {to(message{hash: sha256hex("")}, "GET", "/key?attributes"), bad, "InvalidRequest"},
		"deletion, not what S3 expects": {to(r.deleteMessage("a</Key><Evil/><Key>b"), "POST", "?delete"), bad, "MalformedXML"},
	} {
		r.wire.Reset()
		a := r.send(t, try.message)
		if a.status != try.status || a.Code != try.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, try.status, try.code)
		}
		a.requireS3Error(t, name, try.method)
		if n := len(requests(r.wire)); n != 0 {
			t.Errorf("%s: %d requests to the store", name, n)
		}
	}
	r.requireAbsentPlaintext(t)
}

func (r *rig) deleteMessage(key string) message {
	body := "<Delete><Object><Key>" + key + "</Key></Object></Delete>"
	return message{hash: sha256hex(body), body: text(body)}
}

// requireAbsentPlaintext fails the test if the bucket is not empty.
func (r *rig) requireAbsentPlaintext(t testing.TB) {
	t.Helper()
	if l := testbed.Must(r.direct.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t); *l.KeyCount != 0 {
		t.Errorf("%d objects are stored", *l.KeyCount)
	}
}

// requireS3Error fails the test if an answer does not have the form of S3's errors.
func (a answer) requireS3Error(t testing.TB, what, method string) {
	t.Helper()
	id := a.header.Get("X-Amz-Request-Id")
	if id == "" {
		t.Errorf("%s: no request id", what)
	}
	if method == http.MethodHead {
		if len(a.body) > 0 {
			t.Errorf("%s: a HEAD with a body: %q", what, a.body)
		}
		return
	}
	var doc struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
		HostID    string `xml:"HostId"`
	}
	if err := xml.Unmarshal(a.body, &doc); err != nil || doc.Code == "" || doc.Message == "" || doc.RequestID != id || doc.HostID == "" {
		t.Errorf("%s: %v in %q, request id %s", what, err, a.body, id)
	}
	if a.header.Get("Content-Type") != "application/xml" || a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
		t.Errorf("%s: headers %v", what, a.header)
	}
}

// TestErrorsLookLikeS3: also those that the store gave.
func TestErrorsLookLikeS3(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		r.put(t, "key", []byte("body"))
		for what, try := range map[string]struct {
			message
			status int
		}{
			"no key":         {message{method: "GET", target: "/" + r.bucket + "/none"}, 404},
			"no key, HEAD":   {message{method: "HEAD", target: "/" + r.bucket + "/none"}, 404},
			"no bucket":      {message{method: "GET", target: "/test-none?list-type=2"}, 404},
			"no bucket GET":  {message{method: "GET", target: "/test-none/key"}, 404},
			"no bucket HEAD": {message{method: "HEAD", target: "/test-none"}, 404},
			"no tags":        {message{method: "GET", target: "/" + r.bucket + "?tagging"}, 404},
			"no policy":      {message{method: "GET", target: "/" + r.bucket + "?policy"}, 404},
			"condition":      {message{method: "GET", target: "/" + r.bucket + "/key", header: map[string]string{"If-Match": `"x"`}}, 412},
			"condition HEAD": {message{method: "HEAD", target: "/" + r.bucket + "/key", header: map[string]string{"If-Match": `"x"`}}, 412},
			"range":          {message{method: "GET", target: "/" + r.bucket + "/key", header: map[string]string{"Range": "bytes=9-"}}, 416},
			"range HEAD":     {message{method: "HEAD", target: "/" + r.bucket + "/key", header: map[string]string{"Range": "bytes=9-"}}, 416},
			"bucket in use":  {message{method: "DELETE", target: "/" + r.bucket}, 409},
		} {
			m := try.message
			m.hash = sha256hex("")
			a := r.send(t, m)
			if a.status != try.status {
				t.Errorf("%s: %d %s", what, a.status, a.body)
			}
			a.requireS3Error(t, what, m.method)
		}
		m := message{method: "GET", target: "/" + r.bucket + "/key", hash: sha256hex(""), header: map[string]string{"If-None-Match": "*"}}
		if a := r.send(t, m); a.status != http.StatusNotModified || len(a.body) > 0 || a.header.Get("X-Amz-Request-Id") == "" {
			t.Errorf("not modified: %d %q %v", a.status, a.body, a.header)
		}
	})
}

// TestHTTP2: a client may speak HTTP/2, where a connection is not a request's own.
func TestHTTP2(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	server := httptest.NewUnstartedServer(r.server.Config.Handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	http2 := server.Client()
	http2.CheckRedirect = nil
	c := testbed.S3Client(t, server.URL, accessKey, secretKey, region, func(o *s3.Options) { o.HTTPClient = http2 })
	plain := pattern(3 << 20)
	get := func() ([]byte, error) {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key")})
		if err != nil {
			return nil, err
		}
		defer out.Body.Close() //nolint:errcheck // read to its end
		return io.ReadAll(out.Body)
	}
	testbed.Must(c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: bytes.NewReader(plain)}))(t)
	if got, err := get(); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	presigned := testbed.Must(s3.NewPresignClient(c).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
	resp := testbed.Must(http2.Get(presigned.URL))(t)
	if testbed.ReadBody(t, resp.Body); resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %d", resp.Proto, resp.StatusCode)
	}
	r.wire.AlterResponse(func(resp *http.Response) error { resp.Body = testbed.Flip(resp.Body, 2<<20); return nil })
	if got, err := get(); err == nil || !bytes.HasPrefix(plain, got) {
		t.Errorf("a flipped bit: %d bytes, %v", len(got), err)
	}
	r.wire.AlterResponse(nil)
	thief := testbed.S3Client(t, server.URL, accessKey, "wrong", region, func(o *s3.Options) { o.HTTPClient = http2 })
	_, err := thief.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: bytes.NewReader(plain)})
	wantCode(t, err, "SignatureDoesNotMatch")
	ctx, cancel := context.WithCancel(t.Context())
	r.wire.AlterRequest(func(req *http.Request) error {
		req.Body = io.NopCloser(io.TeeReader(req.Body, onWrite(cancel)))
		return nil
	})
	r.wire.Reset()
	_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: bytes.NewReader(pattern(16 << 20))})
	if err == nil {
		t.Error("a PUT of a client that had gone is a success")
	}
	r.upstream.rest(t)
	if x := r.wire.Requests(); len(x) != 1 || x[0].Status == http.StatusOK {
		t.Errorf("the store has %v", x)
	}
}

// onWrite is called when something is written, which takes its time.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	time.Sleep(time.Millisecond)
	return len(p), nil
}

// TestAppendMD5: the request for a trailing MD5 of the body, which would be that of sealed bytes, ends at the proxy.
func TestAppendMD5(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", []byte("body"))
	r.wire.Reset()
	a := r.send(t, message{method: "GET", target: "/" + r.bucket + "/key", hash: sha256hex(""), header: map[string]string{"X-Amz-Te": "append-md5"}})
	if a.status != http.StatusOK || string(a.body) != "body" || a.header.Get("X-Amz-Transfer-Encoding") != "" {
		t.Errorf("%d %q %v", a.status, a.body, a.header)
	}
	if x := r.wire.Requests(); len(x) != 1 || x[0].Header.Get("X-Amz-Te") != "" {
		t.Errorf("the store was asked for %v", x)
	}
}
