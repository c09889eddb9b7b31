package sigv4_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

// A front is a server that verifies what an SDK sends.
type front struct {
	client *s3.Client
	server *httptest.Server

	// Of the last request:
	proto   string
	form    string // x-amz-content-sha256
	req     *sigv4.Request
	payload []byte
	err     error
}

// modes are how clients connect: in the clear an SDK signs payloads, else not.
var modes = []string{"http", "https", "http2"}

func newFront(t *testing.T, mode string) *front {
	f := new(front)
	v := &sigv4.Verifier{
		Secret: verifier().Secret,
		Region: "us-east-1",
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.proto, f.form = r.Proto, r.Header.Get("X-Amz-Content-Sha256")
		f.payload = nil
		if f.req, f.err = v.Verify(r); f.err == nil {
			f.payload, f.err = io.ReadAll(f.req.Body)
		}
		if f.err != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	f.server = httptest.NewUnstartedServer(handler)
	f.server.EnableHTTP2 = mode == "http2"
	if mode == "http" {
		f.server.Start()
	} else {
		f.server.StartTLS()
	}
	t.Cleanup(f.server.Close)
	f.client = s3.New(s3.Options{
		Region:           "us-east-1",
		BaseEndpoint:     aws.String(f.server.URL),
		Credentials:      credentials.NewStaticCredentialsProvider(accessKeyID, secret, ""),
		HTTPClient:       f.server.Client(),
		RetryMaxAttempts: 1,
		UsePathStyle:     true,

		// As a loaded configuration has it.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	})
	return f
}

// oddKeys are keys that others have broken.
func oddKeys() []string {
	every := make([]byte, 0, 255)
	for i := 1; i < 256; i++ {
		every = append(every, byte(i))
	}
	return []string{
		"plain", "a b", "a+b", "a%2Fb", "a%20b", "%", "%zz", "a//b", "//a", "/a", "a/", "a//", "/", ".", "..", "../a",
		"a/../b", "a/./b", "./a", "a/..", "ключ/鍵/😀", "e\u0301", "a?b", "a#b", "a;b", "a:b", "a=b&c", "a\\b", "*'()!~",
		"$,@", "\"<>`{}|^[]", "a\nb", "a\tb", " ", " a ", strings.Repeat("k", 1024), strings.Repeat("ü", 512), string(every),
	}
}

func TestSDKKeys(t *testing.T) {
	for _, mode := range modes {
		f := newFront(t, mode)
		presign := s3.NewPresignClient(f.client)
		for _, key := range oddKeys() {
			path := "/bucket/" + key
			check := func(form, payload string) {
				t.Helper()
				if f.err != nil {
					t.Errorf("%s, %q: %v", mode, key, f.err)
				} else if f.req.Path != path || string(f.payload) != payload || f.form != form {
					t.Errorf("%s, %q: path %q, payload %q, form %q", mode, key, f.req.Path, f.payload, f.form)
				}
			}
			body := "the payload"
			form := hexSHA256(body)
			if mode != "http" {
				form = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
			}
			_, _ = f.client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: aws.String("bucket"), Key: aws.String(key), Body: strings.NewReader(body),
			})
			check(form, body)
			if (mode == "http2") != (f.proto == "HTTP/2.0") {
				t.Fatalf("%s is %s", mode, f.proto)
			}
			_, _ = f.client.GetObject(t.Context(), &s3.GetObjectInput{
				Bucket: aws.String("bucket"), Key: aws.String(key), Range: aws.String("bytes=1-2"),
			})
			check(emptySHA256, "")
			put, err := presign.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String(key)})
			f.send(t, put, err, body)
			check("", body)
		}
	}
}

// send sends a presigned request.
func (f *front) send(t *testing.T, p *v4.PresignedHTTPRequest, err error, body string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), p.Method, p.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range p.SignedHeader {
		r.Header[key] = values
	}
	r.Host = p.SignedHeader.Get("Host")
	resp, err := f.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// A presigned query carries parameters that are headers, and the checksum of a
// payload that was not there yet.
func TestSDKPresignedHoisting(t *testing.T) {
	f := newFront(t, "https")
	in := &s3.PutObjectInput{
		Bucket: aws.String("bucket"), Key: aws.String("key"),
		Metadata:     map[string]string{"color": "light  blue"},
		StorageClass: types.StorageClassStandardIa, Tagging: aws.String("a=b&c=d"),
		ACL: types.ObjectCannedACLPrivate, ContentType: aws.String("text/plain"),
	}
	p, err := s3.NewPresignClient(f.client).PresignPutObject(t.Context(), in)
	f.send(t, p, err, "not empty")
	if f.err != nil {
		t.Fatal(f.err)
	}
	for name, want := range map[string]string{
		"X-Amz-Meta-Color": "light  blue", "X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Tagging": "a=b&c=d",
		"X-Amz-Acl": "private", "Content-Type": "text/plain",
		"X-Amz-Date": "", "X-Amz-Checksum-Crc32": "", "X-Amz-Sdk-Checksum-Algorithm": "", "X-Amz-Credential": "",
	} {
		if got := f.req.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if want := (url.Values{"x-id": {"PutObject"}}); !reflect.DeepEqual(f.req.Query, want) {
		t.Errorf("query is %v, want %v", f.req.Query, want)
	}
	if string(f.payload) != "not empty" || f.req.Body.Length() != 9 {
		t.Errorf("payload %q of length %d", f.payload, f.req.Body.Length())
	}
}

func TestSDKMetadata(t *testing.T) {
	for _, mode := range modes {
		f := newFront(t, mode)
		metadata := map[string]string{
			"empty": "", "spaces": "a   b", "comma": "a,b", "quoted": `"a  b"`, "semicolon": "a;b:c=d", "utf8": "größe", "dash-under_score": "x",
		}
		for i := range 50 {
			metadata[fmt.Sprint("many-", i)] = strings.Repeat("v", i)
		}
		_, _ = f.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("bucket"), Key: aws.String("key"), Body: strings.NewReader("x"), Metadata: metadata,
			ContentEncoding: aws.String("gzip"),
		})
		if f.err != nil {
			t.Fatal(f.err)
		}
		for name, want := range metadata {
			if got := f.req.Header.Get("X-Amz-Meta-" + name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got := f.req.Header["Content-Encoding"]; !reflect.DeepEqual(got, []string{"gzip"}) {
			t.Errorf("Content-Encoding is %q", got)
		}
	}
}

// Every algorithm that the SDK knows, in headers and trailers, of payloads that
// can and cannot be rewound.
func TestSDKChecksums(t *testing.T) {
	payloads := []string{"", "x", strings.Repeat("0123456789", 20000)}
	for _, mode := range modes {
		f := newFront(t, mode)
		for _, name := range types.ChecksumAlgorithm("").Values() {
			a, ok := checksum.ByName(string(name))
			if !ok {
				t.Errorf("the SDK knows a checksum %q", name)
				continue
			}
			for _, payload := range payloads {
				want := sumOf(a, payload)
				sum := md5.Sum([]byte(payload))
				in := &s3.PutObjectInput{
					Bucket: aws.String("bucket"), Key: aws.String("key"), Body: strings.NewReader(payload),
					ChecksumAlgorithm: name, ContentMD5: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
				}
				f.req, f.err = nil, nil
				_, err := f.client.PutObject(t.Context(), in)
				if f.req == nil && strings.Contains(fmt.Sprint(err), "unknown checksum algorithm") {
					continue // it does not compute all that it knows
				}
				if f.err != nil || string(f.payload) != payload {
					t.Errorf("%s, %s, %d bytes: %v", mode, name, len(payload), f.err)
					continue
				}
				if got, ok := f.req.Body.Checksum(); !ok || !reflect.DeepEqual(got, want) {
					t.Errorf("%s, %s, %d bytes: checksum %v, want %v", mode, name, len(payload), got, want)
				}
				if got, ok := f.req.Body.ContentMD5(); !ok || !bytes.Equal(got.Sum, sum[:]) {
					t.Errorf("Content-MD5 is %v", got)
				}
				inTrailer := f.form == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
				if _, declared := f.req.Body.Declared(); declared == inTrailer || (f.req.Body.TrailerAlgorithm() == a) != inTrailer {
					t.Errorf("form %s: declared %v, announced %v", f.form, declared, f.req.Body.TrailerAlgorithm())
				}
			}
		}
		// A stream of unknown length.
		_, err := f.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("bucket"), Key: aws.String("key"), Body: io.LimitReader(strings.NewReader("streamed"), 100),
		})
		if mode != "http" && (f.err != nil || string(f.payload) != "streamed") {
			t.Errorf("a stream: payload %q, %v, %v", f.payload, f.err, err)
		}
	}
}

// TestSDKOperations calls every operation that the SDK has.
func TestSDKOperations(t *testing.T) {
	for _, mode := range modes {
		f := newFront(t, mode)
		client := reflect.ValueOf(f.client)
		var sent int
		for i := range client.NumMethod() {
			method, name := client.Method(i), client.Type().Method(i).Name
			if method.Type().NumIn() != 3 || method.Type().In(0) != reflect.TypeFor[context.Context]() ||
				name == "WriteGetObjectResponse" { // has a host of its own
				continue
			}
			in := reflect.New(method.Type().In(1).Elem())
			fill(in.Elem(), "")
			f.req, f.err = nil, nil
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			out := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
			cancel()
			switch {
			case f.err != nil:
				t.Errorf("%s, %s: %v", mode, name, f.err)
			case f.req == nil:
				t.Logf("%s sent nothing: %v", name, out[1])
			default:
				sent++
			}
		}
		if sent < 100 {
			t.Errorf("%s: only %d operations were sent", mode, sent)
		}
	}
}

// fill sets what an operation may require, and leaves out what excludes others.
func fill(v reflect.Value, name string) {
	switch {
	case strings.HasPrefix(name, "Checksum"), strings.HasPrefix(name, "SSE"), strings.Contains(name, "SSECustomer"),
		name == "ContentMD5", name == "ContentLength", name == "IfNoneMatch":
		return
	case v.Type() == reflect.TypeFor[io.Reader]():
		v.Set(reflect.ValueOf(strings.NewReader("body")))
		return
	case v.Type() == reflect.TypeFor[*time.Time]():
		v.Set(reflect.ValueOf(aws.Time(now)))
		return
	}
	switch v.Kind() { //nolint:exhaustive // inputs have no other
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), v.Type().Field(i).Name)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), "")
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": "v"}))
	case reflect.String:
		v.SetString("name")
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	}
}

// Whatever the SDK's signer signs, with its own encoding of path and query, is
// accepted and decoded to what was meant.
func TestSignerProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + rapid.String().Draw(t, "path")
		query := make(url.Values)
		for range rapid.IntRange(0, 5).Draw(t, "params") {
			name := "p" + rapid.StringN(0, 10, -1).Draw(t, "name")
			query.Add(name, rapid.StringN(0, 20, -1).Draw(t, "value"))
		}
		metadata := rapid.MapOfN(rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`), rapid.StringMatching(`([!-~]([ -~]{0,20}[!-~])?)?`), 0, 5).
			Draw(t, "metadata")
		body := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "body")
		presign := rapid.Bool().Draw(t, "presign")

		u := &url.URL{
			Scheme: "http", Host: "h:9000", Path: path,
			RawPath:  percent(path, "/"),
			RawQuery: strings.ReplaceAll(query.Encode(), "+", "%20"),
		}
		out, err := http.NewRequestWithContext(context.Background(), http.MethodPut, "http://h:9000", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		out.URL = u
		for name, value := range metadata {
			out.Header.Set("X-Amz-Meta-"+name, value)
		}
		payload := hexSHA256(string(body))
		creds := aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secret}
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if presign {
			u.RawQuery += "&X-Amz-Expires=60"
			out.Header = nil
			signed, _, err := signer.PresignHTTP(t.Context(), creds, out, "UNSIGNED-PAYLOAD", "s3", "us-east-1", now)
			if err != nil {
				t.Fatal(err)
			}
			out, err = http.NewRequestWithContext(context.Background(), http.MethodPut, signed, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			metadata = nil
		} else {
			out.Header.Set("X-Amz-Content-Sha256", payload)
			if err := signer.SignHTTP(t.Context(), creds, out, payload, "s3", "us-east-1", now); err != nil {
				t.Fatal(err)
			}
		}

		var wire bytes.Buffer
		if err := out.Write(&wire); err != nil {
			t.Fatal(err)
		}
		req, got, err := verify(wire.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, wire.String())
		}
		for _, values := range query {
			slices.SortFunc(values, func(a, b string) int { return strings.Compare(percent(a, ""), percent(b, "")) })
		}
		if req.Path != path || !reflect.DeepEqual(req.Query, query) || !bytes.Equal(got, body) || req.Presigned != presign {
			t.Fatalf("got %q %v %q, want %q %v %q", req.Path, req.Query, got, path, query, body)
		}
		for name, value := range metadata {
			if got := req.Header.Get("X-Amz-Meta-" + name); got != value {
				t.Fatalf("%s is %q, want %q", name, got, value)
			}
		}
	})
}
