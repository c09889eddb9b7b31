// Package e2e tests the proxy as a whole: real S3 stores behind it, real S3 clients in front, and between proxy and
// store a wire that counts, alters and cuts.
package e2e_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/keys/keystest"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

const (
	accessKey = "AKIDCLIENT"
	secretKey = "client/secret+key"
	region    = "us-east-1"
	frame     = 64 << 10
)

func TestMain(m *testing.M) { testbed.Main{M: m}.Run() }

// rig is one proxy in front of a store.
type rig struct {
	store    *testbed.S3Store
	wire     *testbed.Wire // between proxy and store
	url      string        // of the proxy
	client   *s3.Client    // through the proxy
	direct   *s3.Client    // past it
	bucket   string
	keyring  string
	provider *keystest.Counting
	logs     *observer.ObservedLogs
	server   *httptest.Server
	proxy    *proxy.Proxy
	upstream *upstream
}

// options change a rig before it starts.
type options struct {
	tls   bool
	proxy func(*proxy.Config)
	keys  func(*keys.CacheConfig)
	kit   *rig     // share keyring and bucket with another rig
	more  []string // keys besides "default"
}

func newRig(t *testing.T, store *testbed.S3Store, o options) *rig {
	t.Helper()
	r := &rig{store: store, wire: testbed.NewWire(t, store.URL), direct: store.Client(t)}
	if o.kit != nil {
		r.bucket, r.keyring = o.kit.bucket, o.kit.keyring
	} else {
		r.bucket, r.keyring = testbed.Bucket(t, store), filepath.Join(t.TempDir(), "keyring.json")
		for _, id := range append(o.more, "default") {
			createKey(t, r.keyring, id)
		}
	}
	local := testbed.Must(keys.NewLocal(keys.LocalConfig{Path: r.keyring}))(t)
	r.provider = &keystest.Counting{Provider: local}
	cacheConfig := keys.CacheConfig{Provider: r.provider}
	if o.keys != nil {
		o.keys(&cacheConfig)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	r.logs = logs
	r.upstream = newUpstream(t)
	cfg := proxy.Config{
		Upstream: testbed.Must(url.Parse(r.wire.URL))(t), Region: region, UpstreamRegion: store.Region,
		Identities:  []proxy.Identity{{Name: "tester", AccessKeyID: accessKey, SecretAccessKey: secretKey}},
		Credentials: credentials.NewStaticCredentialsProvider(store.AccessKeyID, store.SecretAccessKey, ""),
		Transport:   r.upstream,
		Keys:        testbed.Must(keys.NewCache(cacheConfig))(t), KeyID: "default", Log: zap.New(core),
	}
	if o.proxy != nil {
		o.proxy(&cfg)
	}
	r.proxy = testbed.Must(proxy.New(cfg))(t)
	r.server = httptest.NewUnstartedServer(r.proxy)
	r.server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	if o.tls {
		r.server.EnableHTTP2 = true
		r.server.StartTLS()
	} else {
		r.server.Start()
	}
	t.Cleanup(r.server.Close)
	t.Cleanup(func() {
		for _, e := range logs.FilterLevelExact(zapcore.WarnLevel).All() {
			if t.Failed() {
				t.Logf("proxy: %v", e.ContextMap())
			}
		}
	})
	r.url = r.server.URL
	r.client = r.newClient(t)
	return r
}

// newClient returns another SDK client through the proxy.
func (r *rig) newClient(t testing.TB, opts ...func(*s3.Options)) *s3.Client {
	if r.server.TLS != nil {
		client := r.server.Client()
		if tr, ok := client.Transport.(*http.Transport); ok {
			tr.TLSClientConfig.MinVersion = tls.VersionTLS12
		}
		opts = append([]func(*s3.Options){func(o *s3.Options) { o.HTTPClient = client }}, opts...)
	}
	return testbed.S3Client(t, r.url, accessKey, secretKey, region, opts...)
}

func createKey(t testing.TB, keyring, id string) {
	t.Helper()
	if err := keys.EditKeyring(keyring, func(k *keys.Keyring) error { return k.Create(id, time.Now()) }); err != nil {
		t.Fatal(err)
	}
}

// requests returns what the store was asked, but for the bucket's default encryption: a replica reads that twice a minute.
func requests(w *testbed.Wire) []testbed.Exchange {
	return slices.DeleteFunc(w.Requests(), func(x testbed.Exchange) bool { return strings.HasSuffix(x.Target, defaultEncryptionObject) })
}

const defaultEncryptionObject = "/.sseproxy/encryption"

// pattern returns n bytes of which no two frames are alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	for x := range b {
		b[x] = byte(x*x + x/251)
	}
	return b
}

// put stores an object through the proxy.
func (r *rig) put(t testing.TB, key string, body []byte) *s3.PutObjectOutput {
	t.Helper()
	return testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(body)}))(t)
}

// get reads an object, or a range of it, through the proxy. The error is of the request or of its body.
func (r *rig) get(t testing.TB, key, byteRange string) ([]byte, *s3.GetObjectOutput, error) {
	t.Helper()
	in := &s3.GetObjectInput{Bucket: &r.bucket, Key: &key}
	if byteRange != "" {
		in.Range = &byteRange
	}
	out, err := r.client.GetObject(t.Context(), in)
	if err != nil {
		return nil, nil, err
	}
	defer out.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(out.Body)
	return b, out, err
}

// stored returns the sealed bytes and metadata, past the proxy.
func (r *rig) stored(t testing.TB, key string) ([]byte, map[string]string) {
	t.Helper()
	out := testbed.Must(r.direct.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: &key}))(t)
	return testbed.ReadBody(t, out.Body), out.Metadata
}

// putStored replaces what the store has, past the proxy.
func (r *rig) putStored(t testing.TB, key string, body []byte, metadata map[string]string) {
	t.Helper()
	// versitygw keeps the metadata of an object that is overwritten by one that has none.
	testbed.Must(r.direct.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
	testbed.Must(r.direct.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(body), Metadata: metadata}))(t)
}

// wantCode fails the test unless err is S3's error with that code.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("error %v, want code %s", err, code)
	}
}

func ptr[T any](v T) *T { return &v }
