package clients_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// front is an S3 endpoint, with a bucket, as a client sees it.
type front struct {
	url             string
	accessKeyID     string
	secretAccessKey string
	region          string
	bucket          string
	ca              string // a file with the certificate to trust; empty with http
	credentials     string // where a sidecar gives credentials; then there is no lasting key
	token           string // the file with the token for them
	store           *testbed.S3Store
}

// fronts runs a test against sseproxy over http and https, in front of each store.
func fronts(t *testing.T, test func(t *testing.T, f *front)) {
	t.Helper()
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		for _, https := range []bool{false, true} {
			t.Run(fmt.Sprintf("https=%v", https), func(t *testing.T) {
				t.Parallel()
				test(t, newFront(t, store, https))
			})
		}
	})
}

// crossed is fronts for tests that move much: http in front of one store, https in front of the other.
func crossed(t *testing.T, test func(t *testing.T, f *front)) {
	t.Helper()
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		t.Parallel()
		test(t, newFront(t, store, store.Name == "minio"))
	})
}

// direct is a store without a proxy, for comparison.
func direct(t *testing.T, store *testbed.S3Store) *front {
	t.Helper()
	return &front{url: store.URL, accessKeyID: store.AccessKeyID, secretAccessKey: store.SecretAccessKey, region: store.Region, bucket: testbed.Bucket(t, store), store: store}
}

// binary is the program, built at first use.
var binary struct {
	path  string
	build sync.Once
	err   error
}

func sseproxy(t *testing.T) string {
	t.Helper()
	binary.build.Do(func() {
		if out, err := exec.Command("go", "build", "-C", "../..", "-o", binary.path, "./cmd/sseproxy").CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("building sseproxy: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// newFront starts sseproxy. When the test ends it must drain, whatever the clients have left open.
func newFront(t *testing.T, store *testbed.S3Store, https bool) *front {
	t.Helper()
	f := &front{
		accessKeyID: "AKIDCLIENT", secretAccessKey: "client/secret+key", region: "us-east-1", bucket: testbed.Bucket(t, store), store: store,
	}
	scheme, environ := "http://", []string{"SSEPROXY_ACCESS_KEY_ID=" + f.accessKeyID, "SSEPROXY_SECRET_ACCESS_KEY=" + f.secretAccessKey}
	if https {
		var cert, key string
		f.ca, cert, key = newCA(t, t.TempDir())
		scheme, environ = "https://", append(environ, "SSEPROXY_TLS_CERT="+cert, "SSEPROXY_TLS_KEY="+key)
	}
	f.url = scheme + f.serve(t, environ...).Listen
	return f
}

// newSidecar starts sseproxy with no clients but the app beside it, which has no secret.
func newSidecar(t *testing.T, store *testbed.S3Store) *front {
	t.Helper()
	f := &front{region: "us-east-1", bucket: testbed.Bucket(t, store), store: store, token: filepath.Join(t.TempDir(), "token")}
	said := f.serve(t, "SSEPROXY_CREDENTIALS_LISTEN=127.0.0.1:0", "SSEPROXY_CREDENTIALS_TOKEN_FILE="+f.token)
	f.url, f.credentials = "http://"+said.Listen, said.Credentials
	f.secretAccessKey = string(testbed.Must(os.ReadFile(f.token))(t)) // all the secret that there is
	return f
}

// serve runs the program in front of the store.
func (f *front) serve(t *testing.T, environ ...string) said {
	t.Helper()
	program, dir, store := sseproxy(t), t.TempDir(), f.store
	keyring := filepath.Join(dir, "keyring.json")
	if out, err := exec.CommandContext(t.Context(), program, "keys", "create", "--key", "default", "--keyring", keyring).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "serve")
	cmd.Env = append([]string{
		"SSEPROXY_LISTEN=127.0.0.1:0", "SSEPROXY_ADMIN_LISTEN=off", "SSEPROXY_KEYRING=" + keyring,
		"SSEPROXY_REGION=" + f.region, "SSEPROXY_UPSTREAM=" + store.URL, "SSEPROXY_UPSTREAM_REGION=" + store.Region,
		"SSEPROXY_UPSTREAM_ACCESS_KEY_ID=" + store.AccessKeyID, "SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=" + store.SecretAccessKey,
	}, environ...)
	return start(t, cmd)
}

// said is what a proxy says at its start of where it is.
type said struct {
	Listen      string // address for clients
	Credentials string // URI
}

// start starts a proxy and waits until it says that it serves. What it warns of is in the log of a failed test.
func start(t *testing.T, cmd *exec.Cmd) (where said) {
	t.Helper()
	stderr := testbed.Must(cmd.StderrPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var warnings bytes.Buffer
	serving, ended := make(chan said, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			var line struct {
				Level, Msg string
				said
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Level != "info" {
				fmt.Fprintf(&warnings, "%s\n", lines.Bytes())
			}
			if line.Msg == "serving" {
				serving <- line.said
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("sseproxy: %v", err)
		}
		if t.Failed() {
			t.Logf("sseproxy said:\n%s", warnings.String())
		}
	})
	select {
	case where = <-serving:
	case <-ended:
		t.Fatal("sseproxy does not start")
	case <-time.After(most):
		t.Fatal("sseproxy does not serve")
	}
	return where
}

// newCA makes an authority and a certificate of this host from it, as files.
func newCA(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sseproxy test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	host := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey := testbed.Must(ecdsa.GenerateKey(elliptic.P256(), crand.Reader))(t)
	hostKey := testbed.Must(ecdsa.GenerateKey(elliptic.P256(), crand.Reader))(t)
	caDER := testbed.Must(x509.CreateCertificate(crand.Reader, authority, authority, &caKey.PublicKey, caKey))(t)
	hostDER := testbed.Must(x509.CreateCertificate(crand.Reader, host, authority, &hostKey.PublicKey, caKey))(t)
	return file("ca.pem", "CERTIFICATE", caDER), file("cert.pem", "CERTIFICATE", hostDER),
		file("key.pem", "PRIVATE KEY", testbed.Must(x509.MarshalPKCS8PrivateKey(hostKey))(t))
}

// httpClient trusts the front's certificate.
func (f *front) httpClient(t *testing.T) *http.Client {
	t.Helper()
	c := testbed.HTTPClient(t)
	if tr, ok := c.Transport.(*http.Transport); ok && f.ca != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(testbed.Must(os.ReadFile(f.ca))(t)) {
			t.Fatal("no certificate")
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return c
}

// host is the front's host and port.
func (f *front) host() string {
	_, host, _ := strings.Cut(f.url, "://")
	return host
}

// requireSealed fails the test unless what the clients wrote is in the store, and nothing of it in plain.
func (f *front) requireSealed(t *testing.T, canary []byte) {
	t.Helper()
	out := testbed.Must(f.store.Client(t).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &f.bucket}))(t)
	if len(out.Contents) == 0 {
		t.Error("the store has no object")
	}
	testbed.RequireAbsent(t, f.store.Dir, canary)
	testbed.RequireAbsent(t, f.store.Dir, []byte(f.secretAccessKey))
}

// keys lists what the store has.
func (f *front) keys(t *testing.T) []string {
	t.Helper()
	var keys []string
	for _, o := range testbed.Must(f.store.Client(t).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &f.bucket}))(t).Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}
