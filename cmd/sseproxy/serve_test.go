package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// process is "sseproxy serve" as a process of its own, in front of a store that is reached through a wire.
type process struct {
	servingLine
	cmd     *exec.Cmd
	log     string // a file
	keyring string
	wire    *testbed.Wire
	bucket  string
	client  *s3.Client
}

// startServe starts a process; environ is in addition to what serve needs.
func startServe(t *testing.T, environ ...string) *process {
	t.Helper()
	store, dir := testbed.Store(t), t.TempDir()
	p := &process{log: filepath.Join(dir, "log"), keyring: filepath.Join(dir, "keyring.json"), bucket: testbed.Bucket(t, store)}
	if _, err := keysCommand(p.keyring, "create --key default"); err != nil {
		t.Fatal(err)
	}
	p.wire = testbed.NewWire(t, store.URL)
	p.cmd = exec.CommandContext(t.Context(), "sseproxy", "serve")
	p.cmd.Env = append(append(serveEnv(store, p.keyring), "SSEPROXY_UPSTREAM="+p.wire.URL), environ...)
	log := testbed.Must(os.Create(p.log))(t)
	p.cmd.Stderr = log
	if err := errors.Join(p.cmd.Start(), log.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Wait() }) // it ends with the test
	p.servingLine = testbed.Must(awaitServing(p.log))(t)
	p.client = testbed.S3Client(t, "http://"+p.Listen, clientID, clientSecret, "us-east-1")
	return p
}

// terminate asks for the end, as an orchestrator does.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// probe asks the admin address.
func (p *process) probe(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp := testbed.Must(testbed.HTTPClient(t).Get("http://" + p.AdminListen + path))(t)
	return resp.StatusCode, string(testbed.ReadBody(t, resp.Body))
}

// upload is a PutObject whose body comes as the test writes it.
type upload struct {
	body *io.PipeWriter
	done chan error // nil for 200
}

// startUpload begins a PutObject of size bytes. Once the first byte is written, the proxy has the request in hand: it
// has asked for the body.
func (p *process) startUpload(t *testing.T, key string, size int64) upload {
	t.Helper()
	presigner := s3.NewPresignClient(s3.New(p.client.Options(), func(o *s3.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired // of a body that is not known
	}))
	signed := testbed.Must(presigner.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: &key}))(t)
	body, w := io.Pipe()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPut, signed.URL, body))(t)
	req.ContentLength = size
	req.Header.Set("Expect", "100-continue")
	u := upload{w, make(chan error, 1)}
	go func() {
		resp, err := (&http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}).RoundTrip(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		if err == nil {
			err = resp.Body.Close()
		}
		u.done <- err
	}()
	return u
}

func (u upload) write(t *testing.T, b []byte) {
	t.Helper()
	if _, err := u.body.Write(b); err != nil {
		t.Fatal(err)
	}
}

// TestDrain: after SIGTERM the request under way finishes, no new one is accepted, and the exit status is 0.
func TestDrain(t *testing.T) {
	p := startServe(t)
	body := bytes.Repeat([]byte("drain"), 100_000)
	u := p.startUpload(t, "key", int64(len(body)))
	u.write(t, body[:100])

	p.terminate(t)
	wait(t, "draining", func() bool {
		status, why := p.probe(t, "/readyz")
		return status == http.StatusServiceUnavailable && why == "draining\n"
	})
	wait(t, "refusing connections", func() bool {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Listen)
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if status, _ := p.probe(t, "/livez"); status != http.StatusOK {
		t.Errorf("while it drains, /livez is %d", status)
	}
	u.write(t, body[100:])
	if err := <-u.done; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, testbed.Must(os.ReadFile(p.log))(t))
	}
	got, err := exec.CommandContext(t.Context(), "sseproxy", p.decryptArgs(t, "key")...).Output()
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("stored %d bytes of %d, %v", len(got), len(body), err)
	}
}

// decryptArgs are the command line that opens what the store has.
func (p *process) decryptArgs(t *testing.T, key string) []string {
	t.Helper()
	out := testbed.Must(testbed.Store(t).Client(t).GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: &key}))(t)
	file := filepath.Join(t.TempDir(), "sealed")
	if err := os.WriteFile(file, testbed.ReadBody(t, out.Body), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"decrypt", "--bucket", p.bucket, "--key", key, "--keyring", p.keyring, "--file", file, "--envelope", out.Metadata["sseproxy"]}
}

// TestDrainTimeout: what is not done in time is cut off and said, and leaves nothing at the store.
func TestDrainTimeout(t *testing.T) {
	p := startServe(t, "SSEPROXY_DRAIN_TIMEOUT=100ms")
	u := p.startUpload(t, "key", 1<<20)
	u.write(t, make([]byte, 1000))
	p.terminate(t)
	var exit *exec.ExitError
	if err := p.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("ended with %v", err)
	}
	_ = u.body.Close() // net/http waits for it
	if err := <-u.done; err == nil {
		t.Error("the upload succeeded")
	}
	if log := testbed.Must(os.ReadFile(p.log))(t); !bytes.Contains(log, []byte("draining: requests were cut off")) {
		t.Errorf("log:\n%s", log)
	}
	if out, err := testbed.Store(t).Client(t).HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &p.bucket, Key: aws.String("key")}); err == nil {
		t.Errorf("the store has %d bytes", *out.ContentLength)
	}
}

// TestBypassIsTold: at its start the proxy warns, once for each rule, of what it stores as it is, and again when the rules are others.
func TestBypassIsTold(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "encryption.json")
	if err := os.WriteFile(rules, []byte(`{"rules": [{"bucket": "*", "prefix": "public/", "bypass": true}, {"bucket": "logs", "bypass": true}, {"bucket": "*", "key": "default"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startServe(t, "SSEPROXY_ENCRYPTION="+rules)
	testbed.Must(p.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: aws.String("public/key"), Body: strings.NewReader("body")}))(t)
	log := string(testbed.Must(os.ReadFile(p.log))(t))
	for _, said := range []string{`"bucket":"*","prefix":"public/"`, `"bucket":"logs","prefix":""`} {
		if strings.Count(log, said) != 1 {
			t.Errorf("%s is not told once in %s", said, log)
		}
	}
	if n := strings.Count(log, "without any protection"); n != 2 {
		t.Errorf("%d warnings", n)
	}
	if err := os.WriteFile(rules, []byte(`{"rules": [{"bucket": "later", "bypass": true}, {"bucket": "*", "key": "default"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, "a warning of the new rule", func() bool {
		return bytes.Contains(testbed.Must(os.ReadFile(p.log))(t), []byte(`"bucket":"later","prefix":""`))
	})
}

// TestLimits: the operator's limits hold. A client that stops in the middle of its body has the one place that there is, and those who
// watch see it; the next is told to come again, until the first one is left.
func TestLimits(t *testing.T) {
	p := startServe(t, "SSEPROXY_MAX_REQUESTS=1", "SSEPROXY_CLIENT_TIMEOUT=2s")
	u := p.startUpload(t, "stopped", 1<<20)
	u.write(t, []byte("the beginning"))
	if n := value(p.scrape(t)["sseproxy_requests_in_flight"], map[string]string{}); n != 1 {
		t.Errorf("%v requests in flight", n)
	}
	once := s3.New(p.client.Options(), func(o *s3.Options) { o.RetryMaxAttempts = 1 })
	if _, err := once.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &p.bucket}); err == nil || !strings.Contains(err.Error(), "StatusCode: 503") {
		t.Errorf("a second request: %v", err)
	}
	wait(t, "a free place", func() bool {
		_, err := once.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &p.bucket})
		return err == nil
	})
	if err := errors.Join(u.body.Close(), <-u.done); err == nil {
		t.Error("half a body is stored")
	}
}

// TestReady: ready is who reaches the store and has a key for new objects. A keyring that cannot be read again does
// not change that; it is logged as an error.
func TestReady(t *testing.T) {
	p := startServe(t, "SSEPROXY_KEY_CACHE_TTL=1ms")
	ready := func() bool { status, _ := p.probe(t, "/readyz"); return status == http.StatusOK }
	if !ready() {
		t.Error("not ready")
	}
	good := testbed.Must(os.ReadFile(p.keyring))(t)
	if err := os.WriteFile(p.keyring, good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile(`"level":"error".*the last good one stays in use.*` + regexp.QuoteMeta(p.keyring))
	wait(t, "an error in the log", func() bool {
		if !ready() {
			t.Fatal("not ready because of the keyring")
		}
		return told.Match(testbed.Must(os.ReadFile(p.log))(t))
	})
	testbed.Must(p.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: aws.String("key"), Body: strings.NewReader("text")}))(t)
	testbed.Must(p.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: aws.String("key")}))(t)
	if !ready() {
		t.Error("not ready")
	}

	p.wire.AlterRequest(func(*http.Request) error { return testbed.ErrCut })
	if status, why := p.probe(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(why, "store cannot be reached") {
		t.Errorf("without a store: %d %s", status, why)
	}
	p.wire.AlterRequest(nil)
	if !ready() {
		t.Error("not ready with the store back")
	}
}

// TestServeTLS: https, and buckets in the host's name.
func TestServeTLS(t *testing.T) {
	ca, certFile, keyFile := certify(t)
	p := startServe(t, "SSEPROXY_TLS_CERT="+certFile, "SSEPROXY_TLS_KEY="+keyFile, "SSEPROXY_DOMAIN=other.example,example.com")
	client := ca.Client()
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", p.Listen)
	}
	for _, pathStyle := range []bool{false, true} {
		c := testbed.S3Client(t, "https://example.com", clientID, clientSecret, "us-east-1", func(o *s3.Options) {
			o.HTTPClient, o.UsePathStyle = client, pathStyle
		})
		testbed.Must(c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: aws.String("key"), Body: strings.NewReader("text")}))(t)
		out := testbed.Must(c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: aws.String("key")}))(t)
		if got := testbed.ReadBody(t, out.Body); string(got) != "text" {
			t.Errorf("got %q", got)
		}
	}
	resp := testbed.Must(testbed.HTTPClient(t).Get("http://" + p.Listen))(t)
	if testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain http: %s", resp.Status)
	}
}

// certify returns a server for its certificate, which is of 127.0.0.1, example.com and *.example.com, and the certificate and
// its key in files.
func certify(t *testing.T) (ca *httptest.Server, certFile, keyFile string) {
	t.Helper()
	ca = httptest.NewTLSServer(nil)
	t.Cleanup(ca.Close)
	cert, dir := ca.TLS.Certificates[0], t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	key := testbed.Must(x509.MarshalPKCS8PrivateKey(cert.PrivateKey))(t)
	if err := errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return ca, certFile, keyFile
}

// TestBrokenUpload: where an upload breaks off the store keeps what it had. versitygw takes the orderly end of a connection for
// the end of the body, so there must be none, neither TCP's nor TLS's.
func TestBrokenUpload(t *testing.T) {
	ca, certFile, _ := certify(t)
	for _, scheme := range []string{"http", "https"} {
		l := testbed.Must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
		t.Cleanup(func() { _ = l.Close() })
		address := l.Addr().String()
		if scheme == "https" {
			l = tls.NewListener(l, ca.TLS)
		}
		var r relay
		go r.run(l, strings.TrimPrefix(testbed.Store(t).URL, "http://"))
		p := startServe(t, "SSEPROXY_UPSTREAM="+scheme+"://"+address, "SSEPROXY_UPSTREAM_CA="+certFile)
		key := aws.String("key")
		testbed.Must(p.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: key, Body: strings.NewReader("what was there")}))(t)
		u := p.startUpload(t, *key, 4<<20)
		u.write(t, make([]byte, 3<<20))
		wait(t, "an upload at the store", func() bool { return r.carried.Load() > 2<<20 })
		_ = u.body.CloseWithError(errors.New("broken off")) // never fails
		if err := <-u.done; err == nil {
			t.Errorf("%s: the upload succeeded", scheme)
		}
		wait(t, "an end of the connection to the store", func() bool { return r.ended.Load() > 0 })
		out := testbed.Must(p.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: key}))(t)
		if got := testbed.ReadBody(t, out.Body); string(got) != "what was there" {
			t.Errorf("%s: the object has %d other bytes", scheme, len(got))
		}
	}
}

// relay hands the bytes of connections on to a store, and their end as it came: in order, or as a reset.
type relay struct {
	carried atomic.Int64 // bytes to the store
	ended   atomic.Int64 // connections of which both directions have ended
}

func (r *relay) run(l net.Listener, address string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go r.carry(client, address)
	}
}

func (r *relay) carry(client net.Conn, address string) {
	defer r.ended.Add(1)
	defer client.Close() //nolint:errcheck // as good as it gets
	store, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer store.Close() //nolint:errcheck // as good as it gets
	go func() {
		tcp, ok := store.(*net.TCPConn)
		if _, err := io.Copy(io.MultiWriter(store, r), client); err == nil && ok {
			_ = tcp.CloseWrite()
		} else if ok {
			_ = errors.Join(tcp.SetLinger(0), tcp.Close())
		}
	}()
	_, _ = io.Copy(client, store)
}

// Write counts.
func (r *relay) Write(b []byte) (int, error) {
	r.carried.Add(int64(len(b)))
	return len(b), nil
}

// wait fails the test unless it happens in time.
func wait(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no sign of %s", what)
		}
	}
}

// TestCredentials: an app with nothing but two variables in its environment gets credentials from the proxy beside it. Those that it has go on when
// the proxy starts again with the same file; one with another file does not know them.
func TestCredentials(t *testing.T) {
	testbed.ClearAWSEnv(t)
	token := filepath.Join(t.TempDir(), "token")
	sidecar := func(listen, token string) *process {
		return startServe(t, "SSEPROXY_ACCESS_KEY_ID=", "SSEPROXY_SECRET_ACCESS_KEY=", "SSEPROXY_LISTEN="+listen,
			"SSEPROXY_CREDENTIALS_LISTEN=127.0.0.1:0", "SSEPROXY_CREDENTIALS_TOKEN_FILE="+token, "SSEPROXY_CREDENTIALS_IDENTITY=pod")
	}
	p := sidecar("127.0.0.1:0", token)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", p.Credentials)
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	client := s3.NewFromConfig(testbed.Must(awsconfig.LoadDefaultConfig(t.Context()))(t), func(o *s3.Options) {
		o.BaseEndpoint, o.RetryMaxAttempts = aws.String("http://"+p.Listen), 1
	})
	put := func(p *process) error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: aws.String("key"), Body: strings.NewReader("body")})
		return err
	}
	if err := put(p); err != nil {
		t.Fatal(err)
	}
	signed := testbed.Must(s3.NewPresignClient(client).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: aws.String("key")}))(t)
	resp := testbed.Must(testbed.HTTPClient(t).Get(signed.URL))(t)
	if got := testbed.ReadBody(t, resp.Body); string(got) != "body" {
		t.Errorf("presigned: %s %s", resp.Status, got)
	}
	if log := string(testbed.Must(os.ReadFile(p.log))(t)); !strings.Contains(log, `"identity":"pod"`) || strings.Contains(log, string(testbed.Must(os.ReadFile(token))(t))) {
		t.Errorf("logged %s", log)
	}
	for name, file := range map[string]string{"the same file": token, "another file": filepath.Join(t.TempDir(), "token")} {
		p.terminate(t)
		if err := p.cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		p = sidecar(p.Listen, file)
		if err := put(p); (err == nil) != (file == token) || err != nil && !strings.Contains(err.Error(), "InvalidToken") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
