package e2e_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// encryption is what a client asks for, and what it must be told.
type encryption struct {
	algorithm types.ServerSideEncryption
	keyID     string
	context   string // base64
	bucketKey *bool
	customer  []byte // 32 bytes

	shows map[string]string // response headers by the end of their names; all others must not be there
}

const encryptionName = "X-Amz-Server-Side-Encryption"

// context is {"project":"x"}.
const contextText = "eyJwcm9qZWN0IjoieCJ9"

var encryptions = map[string]encryption{
	"none":         {shows: map[string]string{"": "AES256"}},
	"SSE-S3":       {algorithm: "AES256", shows: map[string]string{"": "AES256"}},
	"SSE-KMS":      {algorithm: "aws:kms", shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "default"}},
	"named key":    {algorithm: "aws:kms", keyID: "other", shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "other"}},
	"alias":        {algorithm: "aws:kms", keyID: "alias/mine", shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "other"}},
	"bucket key":   {algorithm: "aws:kms", bucketKey: aws.Bool(true), shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "default", "-Bucket-Key-Enabled": "true"}},
	"with context": {algorithm: "aws:kms", context: contextText, shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "default"}},
	"bucket key and context": { // the provider sees the context: a key of the object's own
		algorithm: "aws:kms", context: contextText, bucketKey: aws.Bool(true), shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "default"},
	},
	"SSE-C":         {customer: customer('a'), shows: map[string]string{"-Customer-Algorithm": "AES256", "-Customer-Key-Md5": customerMD5(customer('a'))}},
	"another SSE-C": {customer: customer('b'), shows: map[string]string{"-Customer-Algorithm": "AES256", "-Customer-Key-Md5": customerMD5(customer('b'))}},
}

func customer(c byte) []byte { return bytes.Repeat([]byte{c}, 32) }

func customerMD5(key []byte) string {
	sum := md5.Sum(key)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// newEncryptionRig has two keys, one of them with an alias, and speaks TLS as SSE-C demands.
func newEncryptionRig(t *testing.T, store *testbed.S3Store, change func(*proxy.Config)) *rig {
	t.Helper()
	r := newRig(t, store, options{tls: true, more: []string{"other"}, proxy: func(c *proxy.Config) {
		c.Rules = []proxy.Rule{{Bucket: "*", KeyID: "default", KeyIDs: []string{"other"}, BucketKey: true, Aliases: map[string]string{"alias/mine": "other"}}}
		if change != nil {
			change(c)
		}
	}})
	return r
}

// headers returns what a request has for e. prefix is encryptionName, or the one for a copy's source.
func (e encryption) headers(prefix string) http.Header {
	h := make(http.Header)
	set := func(name, value string) {
		if value != "" {
			h.Set(prefix+name, value)
		}
	}
	if prefix == encryptionName {
		set("", string(e.algorithm))
		set("-Aws-Kms-Key-Id", e.keyID)
		set("-Context", e.context)
		if e.bucketKey != nil {
			set("-Bucket-Key-Enabled", fmt.Sprint(*e.bucketKey))
		}
	}
	if e.customer != nil {
		set("-Customer-Algorithm", "AES256")
		set("-Customer-Key", base64.StdEncoding.EncodeToString(e.customer))
		set("-Customer-Key-Md5", customerMD5(e.customer))
	}
	return h
}

// wantShown fails the test unless an answer tells of e, and of nothing else.
func (e encryption) wantShown(t testing.TB, what string, h http.Header) {
	t.Helper()
	for name := range h {
		if end, ok := strings.CutPrefix(name, encryptionName); ok && h.Get(name) != e.shows[end] && end != "-Context" {
			t.Errorf("%s: header %s is %q, want %q", what, name, h.Get(name), e.shows[end])
		}
	}
	for end, value := range e.shows {
		if h.Get(encryptionName+end) != value {
			t.Errorf("%s: header %s is %q, want %q", what, encryptionName+end, h.Get(encryptionName+end), value)
		}
	}
}

// ask sends a request of a client that signs with its key, and returns the answer.
func (r *rig) ask(t testing.TB, method, path string, body []byte, headers ...http.Header) *http.Response {
	t.Helper()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), method, r.url+"/"+r.bucket+"/"+path, bytes.NewReader(body)))(t)
	for _, h := range headers {
		for name, values := range h {
			req.Header[name] = values
		}
	}
	return r.sign(t, req, body)
}

// customerOnly leaves of e what goes with requests that make nothing.
func (e encryption) customerOnly() encryption {
	return encryption{customer: e.customer, shows: e.shows}
}

// TestEncryptions: an object of every kind of encryption, in one piece and in parts, is read whole, in ranges and by part, described and
// listed as S3 does it, on a store that has no encryption of its own; a copy from each kind to each moves no body. Neither plaintext nor
// a customer's key is on the way to the store.
func TestEncryptions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, nil)
		body := pattern(2*frame + 7)
		big := pattern(5<<20 + 3)
		secrets := [][]byte{customer('a'), customer('b')}
		r.wire.AlterRequest(func(req *http.Request) error {
			for name, values := range req.Header {
				for _, secret := range secrets {
					if v := strings.Join(values, ","); strings.Contains(v, base64.StdEncoding.EncodeToString(secret)) || strings.Contains(name, "Customer") {
						t.Errorf("the store gets header %s", name)
					}
				}
			}
			return nil
		})
		for name, e := range encryptions {
			single, multi := name+"/single", name+"/multi"
			put := r.ask(t, "PUT", single, body, e.headers(encryptionName))
			e.wantShown(t, name+": PUT", put.Header)
			if got := put.Header.Get(encryptionName + "-Context"); got != e.context {
				t.Errorf("%s: PUT shows context %q", name, got)
			}
			r.putEncrypted(t, multi, e, big[:5<<20], big[5<<20:])
			for key, plain := range map[string][]byte{single: body, multi: big} {
				r.wantEncrypted(t, key, e, plain)
			}
		}
		kinds := []string{"SSE-S3", "with context", "bucket key", "SSE-C", "another SSE-C"}
		for _, from := range kinds {
			for _, to := range kinds {
				source, e := encryptions[from], encryptions[to]
				for kind, plain := range map[string][]byte{"single": body, "multi": big} {
					key := "copies/" + from + "/" + to + "/" + kind
					r.wire.Reset()
					out := r.ask(t, "PUT", key, nil, e.headers(encryptionName), source.headers("X-Amz-Copy-Source-Server-Side-Encryption"),
						http.Header{"X-Amz-Copy-Source": {strings.ReplaceAll(r.bucket+"/"+from+"/"+kind, " ", "%20")}})
					if out.StatusCode != http.StatusOK {
						t.Errorf("copy %s: %s %s", key, out.Status, testbed.ReadBody(t, out.Body))
						continue
					}
					e.wantShown(t, "copy "+key, out.Header)
					for _, x := range r.wire.Requests() {
						if x.Size > 0 || x.ResponseSize > 2000 {
							t.Errorf("copy %s: %s %s moved %d bytes there and %d back", key, x.Method, x.Target, x.Size, x.ResponseSize)
						}
					}
					if got := r.ask(t, "GET", key, nil, e.customerOnly().headers(encryptionName)); !bytes.Equal(testbed.ReadBody(t, got.Body), plain) {
						t.Errorf("copy %s does not read as its source", key)
					}
				}
			}
		}
		listed := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
		for _, o := range listed.Contents {
			if *o.Size != int64(len(body)) && *o.Size != int64(len(big)) {
				t.Errorf("%s is listed with %d bytes", *o.Key, *o.Size)
			}
		}
	})
}

// putEncrypted uploads an object in parts.
func (r *rig) putEncrypted(t testing.TB, key string, e encryption, parts ...[]byte) {
	t.Helper()
	in := s3.CreateMultipartUploadInput{ServerSideEncryption: e.algorithm, BucketKeyEnabled: e.bucketKey}
	if e.keyID != "" {
		in.SSEKMSKeyId = &e.keyID
	}
	if e.context != "" {
		in.SSEKMSEncryptionContext = &e.context
	}
	var algorithm, secret, sum *string
	if e.customer != nil {
		algorithm, secret, sum = ptr("AES256"), ptr(base64.StdEncoding.EncodeToString(e.customer)), ptr(customerMD5(e.customer))
	}
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = algorithm, secret, sum
	id := r.startUpload(t, key, in)
	var done []types.CompletedPart
	for i, part := range parts {
		number := int32(i + 1)
		out := testbed.Must(r.client.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: &number, Body: bytes.NewReader(part),
			SSECustomerAlgorithm: algorithm, SSECustomerKey: secret, SSECustomerKeyMD5: sum,
		}))(t)
		done = append(done, types.CompletedPart{PartNumber: &number, ETag: out.ETag})
	}
	testbed.Must(r.complete(t, key, id, done...))(t) // without the customer's key, as S3 allows it
}

// wantEncrypted reads an object in every way.
func (r *rig) wantEncrypted(t testing.TB, key string, e encryption, plain []byte) {
	t.Helper()
	own := e.customerOnly().headers(encryptionName)
	for _, read := range []struct {
		method, query string
		header        http.Header
		status        int
		want          []byte
	}{
		{"GET", "", nil, 200, plain},
		{"GET", "", http.Header{"Range": {"bytes=65530-65540"}}, 206, plain[65530:65541]},
		{"GET", "", http.Header{"Range": {"bytes=-3"}}, 206, plain[len(plain)-3:]},
		{"HEAD", "", nil, 200, nil},
		{"HEAD", "?partNumber=1", nil, 206, nil},
		{"GET", "?attributes", http.Header{"X-Amz-Object-Attributes": {"ObjectSize"}}, 200, nil},
	} {
		what := fmt.Sprintf("%s: %s %s%s %v", t.Name(), read.method, key, read.query, read.header)
		got := r.ask(t, read.method, key+read.query, nil, own, read.header)
		b := testbed.ReadBody(t, got.Body)
		switch {
		case got.StatusCode != read.status:
			t.Errorf("%s: %s %s", what, got.Status, b)
		case read.want != nil && !bytes.Equal(b, read.want):
			t.Errorf("%s: %d bytes, want %d others", what, len(b), len(read.want))
		case read.query == "?attributes":
			if !strings.Contains(string(b), fmt.Sprintf("<ObjectSize>%d</ObjectSize>", len(plain))) {
				t.Errorf("%s: %s", what, b)
			}
			continue
		}
		e.wantShown(t, what, got.Header)
	}
	if e.customer == nil {
		return
	}
	for _, method := range []string{"GET", "HEAD"} {
		if got := r.ask(t, method, key, nil); got.StatusCode != 400 {
			t.Errorf("%s %s without its key: %s", method, key, got.Status)
		}
		if got := r.ask(t, method, key, nil, encryption{customer: customer('x')}.headers(encryptionName)); got.StatusCode != 403 {
			t.Errorf("%s %s with another key: %s", method, key, got.Status)
		}
	}
}

// TestProviderCalls: objects that share a bucket key cost a few provider calls together, others one each, and a client is told which it is.
func TestProviderCalls(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), nil)
	const objects = 50
	for name, test := range map[string]struct {
		e           encryption
		least, most int64
	}{
		"SSE-S3":     {encryptions["SSE-S3"], 0, 2},
		"bucket key": {encryptions["bucket key"], 0, 2},
		"own key":    {encryptions["SSE-KMS"], objects, objects},
	} {
		before := r.provider.Calls.Load()
		for i := range objects {
			r.ask(t, "PUT", fmt.Sprintf("%s/%d", name, i), []byte("x"), test.e.headers(encryptionName))
		}
		if calls := r.provider.Calls.Load() - before; calls < test.least || calls > test.most {
			t.Errorf("%s: %d provider calls for %d objects", name, calls, objects)
		}
	}
}

// TestDisabledOwnKey: a key of which no intermediate key is held opens nothing as soon as it is disabled, and a client is told so in S3's words.
func TestDisabledOwnKey(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), nil)
	for _, name := range []string{"named key", "SSE-S3"} {
		r.ask(t, "PUT", name, []byte("x"), encryptions[name].headers(encryptionName))
	}
	editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Disable("other", 1) })
	eventually(t, "the disabled key opens nothing", func() bool {
		got := r.ask(t, "GET", "named key", nil)
		return got.StatusCode == 400 && strings.Contains(string(testbed.ReadBody(t, got.Body)), "<Code>KMS.DisabledException</Code>")
	})
	if put := r.ask(t, "PUT", "more", nil, encryptions["named key"].headers(encryptionName)); put.StatusCode != 400 {
		t.Errorf("PUT under a disabled key: %s", put.Status)
	}
	if got := r.ask(t, "GET", "SSE-S3", nil); got.StatusCode != 200 {
		t.Errorf("GET of an object under another key: %s", got.Status)
	}
}

// sign signs a request as the client does, and sends it.
func (r *rig) sign(t testing.TB, req *http.Request, body []byte) *http.Response {
	t.Helper()
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	who := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
	req.Header.Set("X-Amz-Content-Sha256", sha256hex(body))
	if err := signer.SignHTTP(t.Context(), who, req, sha256hex(body), "s3", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp := testbed.Must(r.server.Client().Do(req))(t)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// refusal is a request and what S3 says of it.
type refusal struct {
	name, method, path string
	headers            []http.Header
	status             int
	says               string // in the answer
}

func (r *rig) wantRefused(t *testing.T, tests []refusal) {
	t.Helper()
	for _, test := range tests {
		got := r.ask(t, test.method, test.path, nil, test.headers...)
		if b := testbed.ReadBody(t, got.Body); got.StatusCode != test.status || !strings.Contains(html.UnescapeString(string(b)), test.says) {
			t.Errorf("%s: %s\n%s\nwant %d with %s", test.name, got.Status, b, test.status, test.says)
		}
	}
}

func only(name, value string) http.Header { return http.Header{http.CanonicalHeaderKey(name): {value}} }

// but returns headers with one replaced, or left out where the value is empty.
func but(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h.Del(name)
	if value != "" {
		h.Set(name, value)
	}
	return h
}

// TestCustomerKeyErrors: AWS's codes and texts for what is wrong with a customer's key. Nothing of it reaches the store.
func TestCustomerKeyErrors(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), nil)
	a, b := encryptions["SSE-C"].headers(encryptionName), encryptions["another SSE-C"].headers(encryptionName)
	r.ask(t, "PUT", "mine", []byte("x"), a)
	r.put(t, "plain", []byte("x"))
	mine, plain := r.startUpload(t, "up", s3.CreateMultipartUploadInput{
		SSECustomerAlgorithm: ptr("AES256"), SSECustomerKey: ptr(a.Get(encryptionName + "-Customer-Key")), SSECustomerKeyMD5: ptr(a.Get(encryptionName + "-Customer-Key-Md5")),
	}), r.startUpload(t, "up", s3.CreateMultipartUploadInput{})
	const algorithm, key, sum = encryptionName + "-Customer-Algorithm", encryptionName + "-Customer-Key", encryptionName + "-Customer-Key-Md5"
	const provide = "Requests specifying Server Side Encryption with Customer provided keys must provide "
	r.wire.Reset()
	r.wantRefused(t, []refusal{
		{"with SSE-S3", "PUT", "new", []http.Header{a, only(encryptionName, "AES256")}, 400, "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"},
		{"other algorithm", "PUT", "new", []http.Header{but(a, algorithm, "AES128")}, 400, "<Code>InvalidEncryptionAlgorithmError</Code><Message>The Encryption request you specified is not valid. Supported value: AES256."},
		{"no algorithm", "PUT", "new", []http.Header{but(a, algorithm, "")}, 400, "<Code>InvalidArgument</Code><Message>" + provide + "a valid encryption algorithm."},
		{"no key", "PUT", "new", []http.Header{but(a, key, "")}, 400, "<Code>InvalidArgument</Code><Message>" + provide + "an appropriate secret key."},
		{"no MD5", "PUT", "new", []http.Header{but(a, sum, "")}, 400, "<Code>InvalidArgument</Code><Message>" + provide + "the client calculated MD5 of the secret key."},
		{"short key", "PUT", "new", []http.Header{but(a, key, "YWJj")}, 400, "<Code>InvalidArgument</Code><Message>The secret key was invalid for the specified algorithm."},
		{"key that is no base64", "PUT", "new", []http.Header{but(a, key, "***")}, 400, "<Code>InvalidArgument</Code><Message>The secret key was invalid for the specified algorithm."},
		{"wrong MD5", "PUT", "new", []http.Header{but(a, sum, b.Get(sum))}, 400, "<Code>InvalidArgument</Code><Message>The calculated MD5 hash of the key did not match the hash that was provided."},
	})
	for _, x := range r.wire.Requests() {
		if x.Method == http.MethodPut {
			t.Errorf("the store heard of %s %s", x.Method, x.Target)
		}
	}
	source := http.Header{"X-Amz-Copy-Source": {r.bucket + "/mine"}}
	const retrieve = "<Code>InvalidRequest</Code><Message>The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
	const wrong = "<Code>AccessDenied</Code><Message>" + provide + "the correct secret key."
	r.wantRefused(t, []refusal{
		{"GET without", "GET", "mine", nil, 400, retrieve},
		{"HEAD without", "HEAD", "mine", nil, 400, ""},
		{"attributes without", "GET", "mine?attributes", []http.Header{only("X-Amz-Object-Attributes", "ETag")}, 400, retrieve},
		{"copy without", "PUT", "copy", []http.Header{source}, 400, retrieve},
		{"GET with another", "GET", "mine", []http.Header{b}, 403, wrong},
		{"range with another", "GET", "mine", []http.Header{b, only("Range", "bytes=0-0")}, 403, wrong},
		{"copy with another", "PUT", "copy", []http.Header{source, encryptions["another SSE-C"].headers("X-Amz-Copy-Source-Server-Side-Encryption")}, 403, wrong},
		{"needless", "GET", "plain", []http.Header{a}, 400, "<Code>InvalidRequest</Code><Message>The encryption parameters are not applicable to this object."},
		{"SSE of a read", "GET", "plain", []http.Header{only(encryptionName, "AES256")}, 400, "x-amz-server-side-encryption header is not supported for this operation."},
		{"part without", "PUT", "up?partNumber=1&uploadId=" + mine, nil, 400, "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."},
		{"part with another", "PUT", "up?partNumber=1&uploadId=" + mine, []http.Header{b}, 400, "The provided encryption parameters did not match the ones used originally."},
		{"part with needless", "PUT", "up?partNumber=1&uploadId=" + plain, []http.Header{a}, 400, "The multipart upload initiate did not request encryption. Please resend the request without sending encryption parameters."},
		{"part copied without", "PUT", "up?partNumber=1&uploadId=" + mine, []http.Header{{"X-Amz-Copy-Source": {r.bucket + "/plain"}}}, 400, "The multipart upload initiate requested encryption."},
	})
	for _, key := range []string{"mine", "plain"} {
		if got := r.ask(t, "DELETE", key, nil); got.StatusCode != http.StatusNoContent {
			t.Errorf("DELETE %s: %s", key, got.Status)
		}
	}
}

// TestCustomerKeyNeedsTLS: a customer's key that came in the clear is refused, unless the operator vouches for the way.
func TestCustomerKeyNeedsTLS(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	h := encryptions["SSE-C"].headers(encryptionName)
	const text = "<Code>InvalidRequest</Code><Message>Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection."
	r.wantRefused(t, []refusal{
		{"PUT", "PUT", "new", []http.Header{h}, 400, text},
		{"GET", "GET", "new", []http.Header{h}, 400, text},
		{"copy source", "PUT", "new", []http.Header{encryptions["SSE-C"].headers("X-Amz-Copy-Source-Server-Side-Encryption"), {"X-Amz-Copy-Source": {r.bucket + "/a"}}}, 400, text},
	})
	front := newRig(t, testbed.Store(t), options{proxy: func(c *proxy.Config) {
		c.Secure = func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }
	}})
	if got := front.ask(t, "PUT", "new", []byte("x"), h, only("X-Forwarded-Proto", "https")); got.StatusCode != http.StatusOK {
		t.Errorf("behind a front that is trusted: %s", got.Status)
	}
}

// TestEncryptionErrors: AWS's codes for what is wrong with the other headers.
func TestEncryptionErrors(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), nil)
	kms := only(encryptionName, "aws:kms")
	const keyID, context, bucketKey = encryptionName + "-Aws-Kms-Key-Id", encryptionName + "-Context", encryptionName + "-Bucket-Key-Enabled"
	var tests []refusal
	for _, test := range []refusal{
		{"unknown algorithm", "", "", []http.Header{only(encryptionName, "aes:kms")}, 400, "<Code>InvalidArgument</Code>"},
		{"other case", "", "", []http.Header{only(encryptionName, "aes256")}, 400, "<Code>InvalidArgument</Code>"},
		{"two layers", "", "", []http.Header{only(encryptionName, "aws:kms:dsse")}, 501, "<Code>NotImplemented</Code>"},
		{"key without algorithm", "", "", []http.Header{only(keyID, "other")}, 400, "<Code>InvalidArgument</Code>"},
		{"key with AES256", "", "", []http.Header{only(encryptionName, "AES256"), only(keyID, "other")}, 400, "<Code>InvalidArgument</Code>"},
		{"context with AES256", "", "", []http.Header{only(encryptionName, "AES256"), only(context, contextText)}, 400, "<Code>InvalidArgument</Code>"},
		{"bucket key with AES256", "", "", []http.Header{only(encryptionName, "AES256"), only(bucketKey, "true")}, 400, "<Code>InvalidArgument</Code>"},
		{"bucket key that is no answer", "", "", []http.Header{kms, only(bucketKey, "yes")}, 400, "<Code>InvalidArgument</Code>"},
		{"unknown key", "", "", []http.Header{kms, only(keyID, "fake-key-id")}, 400, "<Code>KMS.NotFoundException</Code><Message>Invalid keyId 'fake-key-id'</Message>"},
		{"unknown ARN", "", "", []http.Header{kms, only(keyID, "arn:aws:kms:us-east-1:000000000000:key/x")}, 400, "<Code>KMS.NotFoundException</Code><Message>Key 'arn:aws:kms:us-east-1:000000000000:key/x' does not exist</Message>"},
		{"empty key", "", "", []http.Header{kms, only(keyID, "")}, 400, "<Code>KMS.NotFoundException</Code>"},
		{"context that is no base64", "", "", []http.Header{kms, only(context, "{}")}, 400, "<Code>InvalidArgument</Code>"},
		{"context that is no JSON", "", "", []http.Header{kms, only(context, "eA==")}, 400, "<Code>InvalidArgument</Code>"},
		{"context of numbers", "", "", []http.Header{kms, only(context, base64.StdEncoding.EncodeToString([]byte(`{"a":1}`)))}, 400, "<Code>InvalidArgument</Code>"},
		{"context that is too long", "", "", []http.Header{kms, only(context, base64.StdEncoding.EncodeToString([]byte(`{"a":"`+strings.Repeat("x", 600)+`"}`)))}, 400, "<Code>InvalidArgument</Code>"},
		{"context with another ARN", "", "", []http.Header{kms, only(context, base64.StdEncoding.EncodeToString([]byte(`{"aws:s3:arn":"arn:aws:s3:::other/key"}`)))}, 400, "<Code>InvalidArgument</Code>"},
	} {
		for method, path := range map[string]string{"PUT": "new", "POST": "new?uploads"} {
			test.method, test.path = method, path
			tests = append(tests, test)
		}
	}
	r.wantRefused(t, tests)
}

// TestBucketEncryption: a bucket's default encryption is what a client has set, on every replica, and S3's own default without it.
func TestBucketEncryption(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, nil)
		replica := newRig(t, store, options{kit: r, tls: true, proxy: func(c *proxy.Config) {
			c.Rules = []proxy.Rule{{Bucket: "*", KeyID: "default", KeyIDs: []string{"other"}, BucketKey: true}}
		}})
		get := func() types.ServerSideEncryptionRule {
			t.Helper()
			out := testbed.Must(r.client.GetBucketEncryption(t.Context(), &s3.GetBucketEncryptionInput{Bucket: &r.bucket}))(t)
			return out.ServerSideEncryptionConfiguration.Rules[0]
		}
		set := func(rule types.ServerSideEncryptionRule) error {
			_, err := r.client.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{
				Bucket: &r.bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{rule}},
			})
			return err
		}
		if got := get(); got.ApplyServerSideEncryptionByDefault.SSEAlgorithm != "AES256" || aws.ToBool(got.BucketKeyEnabled) {
			t.Errorf("of a new bucket: %+v", got)
		}
		kms := types.ServerSideEncryptionRule{
			ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: ptr("other")}, BucketKeyEnabled: ptr(true),
			BlockedEncryptionTypes: &types.BlockedEncryptionTypes{EncryptionType: []types.EncryptionType{"SSE-C"}},
		}
		if err := set(kms); err != nil {
			t.Fatal(err)
		}
		if got := get(); *got.ApplyServerSideEncryptionByDefault.KMSMasterKeyID != "other" || !*got.BucketKeyEnabled || got.BlockedEncryptionTypes == nil {
			t.Errorf("of a bucket with a key: %+v", got)
		}
		want := encryption{shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "other", "-Bucket-Key-Enabled": "true"}}
		for _, through := range []*rig{r, replica} {
			want.wantShown(t, "PUT", through.ask(t, "PUT", "usual", []byte("x")).Header)
			want.wantShown(t, "GET", through.ask(t, "GET", "usual", nil).Header)
			want.wantShown(t, "upload", through.ask(t, "POST", "usual?uploads", nil).Header)
			encryptions["SSE-S3"].wantShown(t, "PUT with AES256", through.ask(t, "PUT", "asked", []byte("x"), only(encryptionName, "AES256")).Header)
			through.wantRefused(t, []refusal{{"SSE-C", "PUT", "c", []http.Header{encryptions["SSE-C"].headers(encryptionName)}, 403, "<Code>AccessDenied</Code>"}})
		}
		if listed := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t); len(listed.Contents) != 2 {
			t.Errorf("a listing shows %d objects", len(listed.Contents))
		}
		testbed.Must(r.client.DeleteBucketEncryption(t.Context(), &s3.DeleteBucketEncryptionInput{Bucket: &r.bucket}))(t)
		testbed.Must(r.client.DeleteBucketEncryption(t.Context(), &s3.DeleteBucketEncryptionInput{Bucket: &r.bucket}))(t)
		if got := get(); got.ApplyServerSideEncryptionByDefault.SSEAlgorithm != "AES256" {
			t.Errorf("after DeleteBucketEncryption: %+v", got)
		}
		encryptions["none"].wantShown(t, "PUT", r.ask(t, "PUT", "usual", []byte("x")).Header)
		for name, rule := range map[string]types.ServerSideEncryptionRule{
			"MalformedXML":          {},
			"InvalidArgument":       {ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "AES256", KMSMasterKeyID: ptr("other")}},
			"KMS.NotFoundException": {ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: ptr("nobody's")}},
			"NotImplemented":        {ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms:dsse"}},
		} {
			wantCode(t, set(rule), name)
		}
	})
}

// TestBucketEncryptionEndsWithBucket: a new bucket has nothing of one of the same name that was deleted a moment ago.
func TestBucketEncryptionEndsWithBucket(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), nil)
	document := "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>" +
		"<KMSMasterKeyID>other</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
	if got := r.ask(t, "PUT", "?encryption", []byte(document+"<Rule/>")); got.StatusCode != http.StatusBadRequest {
		t.Errorf("PutBucketEncryption with something behind the document: %s", got.Status)
	}
	if got := r.ask(t, "PUT", "?encryption", []byte(document+"\r\n")); got.StatusCode != http.StatusOK {
		t.Fatalf("PutBucketEncryption: %s", got.Status)
	}
	testbed.Must(r.client.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: &r.bucket}))(t)
	testbed.Must(r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &r.bucket}))(t)
	encryptions["none"].wantShown(t, "PUT", r.ask(t, "PUT", "new", []byte("x")).Header)
}

// TestRules: what the operator has set is usual where a request names nothing, and what he does not allow is refused, before anything is sent.
func TestRules(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), func(c *proxy.Config) {
		c.Rules = []proxy.Rule{
			{Bucket: "*", Prefix: "kms/", Algorithm: "aws:kms", KeyID: "other", BucketKey: true, Allow: []string{}},
			{Bucket: "*", Prefix: "c/", KeyID: "default", Allow: []string{"SSE-C"}},
			{Bucket: "elsewhere", Algorithm: "aws:kms", KeyID: "other"},
		}
	})
	usual := encryption{shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "other", "-Bucket-Key-Enabled": "true"}}
	usual.wantShown(t, "PUT kms/", r.ask(t, "PUT", "kms/a", nil).Header)
	encryptions["none"].wantShown(t, "PUT", r.ask(t, "PUT", "a", nil).Header)
	usual.wantShown(t, "PUT a path within the rule", r.ask(t, "PUT", "kms/x/%2E%2E/c", nil).Header)
	encryptions["SSE-C"].wantShown(t, "PUT c/", r.ask(t, "PUT", "c/a", nil, encryptions["SSE-C"].headers(encryptionName)).Header)
	r.wire.Reset()
	r.wantRefused(t, []refusal{
		{"AES256 where it is not allowed", "PUT", "kms/b", []http.Header{only(encryptionName, "AES256")}, 403, "<Code>AccessDenied</Code>"},
		{"SSE-C where it is not allowed", "PUT", "kms/b", []http.Header{encryptions["SSE-C"].headers(encryptionName)}, 403, "<Code>AccessDenied</Code>"},
		{"aws:kms where it is not allowed", "PUT", "c/b", []http.Header{only(encryptionName, "aws:kms")}, 403, "<Code>AccessDenied</Code>"},
		{"a path to another rule", "PUT", "x/%2E%2E/kms/b", nil, 403, "<Code>AccessDenied</Code>"},
		{"an upload on a path to another rule", "POST", "%2E/kms/b?uploads", nil, 403, "<Code>AccessDenied</Code>"},
		{"a copy on a path to another rule", "PUT", "/kms/b", []http.Header{{"X-Amz-Copy-Source": {r.bucket + "/a"}}}, 403, "<Code>AccessDenied</Code>"},
		{"a path out of a rule", "PUT", "kms/%2E%2E/b", nil, 403, "<Code>AccessDenied</Code>"},
		{"another rule's key", "PUT", "kms/b", []http.Header{only(encryptionName, "aws:kms"), only(encryptionName+"-Aws-Kms-Key-Id", "default")}, 400, "<Code>KMS.NotFoundException</Code>"},
	})
	for _, x := range r.wire.Requests() {
		if x.Method == http.MethodPut {
			t.Errorf("the store heard of %s", x.Target)
		}
	}
	// An object that another rule's key has sealed does not open.
	sealed, metadata := r.stored(t, "a")
	r.putStored(t, "kms/moved", sealed, metadata)
	calls := r.provider.Calls.Load()
	_, _, err := r.get(t, "kms/moved", "")
	wantCode(t, err, "AccessDenied")
	if r.provider.Calls.Load() != calls {
		t.Error("the provider was asked about a key of another rule")
	}
}

// TestUpdateObjectEncryption: an object gets another key in its place, with all that it carries, and without its body going anywhere.
func TestUpdateObjectEncryption(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, nil)
		body := pattern(2*frame + 1)
		carried := http.Header{"Content-Type": {"text/x"}, "X-Amz-Meta-A": {"b"}, "Cache-Control": {"no-cache"}, "X-Amz-Tagging": {"t=1"}}
		put := r.ask(t, "PUT", "single", body, carried)
		parts := pattern(5<<20 + 9)
		r.putEncrypted(t, "multi", encryption{}, parts[:5<<20], parts[5<<20:])
		document := func(key string) []byte {
			return []byte("<ObjectEncryption><SSE-KMS><KMSKeyArn>" + key + "</KMSKeyArn><BucketKeyEnabled>true</BucketKeyEnabled></SSE-KMS></ObjectEncryption>")
		}
		want := encryption{shows: map[string]string{"": "aws:kms", "-Aws-Kms-Key-Id": "other", "-Bucket-Key-Enabled": "true"}}
		for key, plain := range map[string][]byte{"single": body, "multi": parts} {
			r.wire.Reset()
			if got := r.ask(t, "PUT", key+"?encryption", document("other")); got.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s %s", key, got.Status, testbed.ReadBody(t, got.Body))
			}
			for _, x := range r.wire.Requests() {
				if x.Size > 0 || x.ResponseSize > 2000 {
					t.Errorf("%s: %s %s moved %d bytes there and %d back", key, x.Method, x.Target, x.Size, x.ResponseSize)
				}
			}
			r.wantEncrypted(t, key, want, plain)
		}
		got := r.ask(t, "GET", "single", nil)
		for name, values := range carried {
			if name != "X-Amz-Tagging" && got.Header.Get(name) != values[0] {
				t.Errorf("header %s is %q behind it", name, got.Header.Get(name))
			}
		}
		if sum := "X-Amz-Checksum-Crc64nvme"; r.ask(t, "HEAD", "single", nil, only("X-Amz-Checksum-Mode", "ENABLED")).Header.Get(sum) != put.Header.Get(sum) {
			t.Error("the checksum is another")
		}
		if tags := r.ask(t, "GET", "single?tagging", nil); !strings.Contains(string(testbed.ReadBody(t, tags.Body)), "<Key>t</Key>") {
			t.Error("the tags are gone")
		}
		r.ask(t, "PUT", "c", body, encryptions["SSE-C"].headers(encryptionName))
		for name, test := range map[string]struct{ path, document, code string }{
			"unknown key":    {"single?encryption", string(document("nobody's")), "KMS.NotFoundException"},
			"no document":    {"single?encryption", "x", "MalformedXML"},
			"other document": {"single?encryption", "<ObjectEncryption><SSE-S3/></ObjectEncryption>", "MalformedXML"},
			"no object":      {"none?encryption", string(document("other")), "NoSuchKey"},
			"version":        {"single?encryption&versionId=null", string(document("other")), "NotImplemented"},
			"customer's key": {"c?encryption", string(document("other")), "InvalidRequest"},
			"no context":     {"%FF?encryption", "<ObjectEncryption><SSE-KMS><KMSKeyArn>other</KMSKeyArn></SSE-KMS></ObjectEncryption>", "InvalidArgument"},
		} {
			if got := r.ask(t, "PUT", test.path, []byte(test.document)); !strings.Contains(string(testbed.ReadBody(t, got.Body)), "<Code>"+test.code+"</Code>") {
				t.Errorf("%s: %s", name, got.Status)
			}
		}
	})
}
