package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc64"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

const (
	large       = 1 << 30
	maxResident = 64 << 20 // bytes: what the design allows the whole process
)

// TestLargeObjectInLittleMemory: 1 GiB in and out through a proxy process of its own, whose peak of resident memory is
// then read from the kernel.
func TestLargeObjectInLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 2 GiB; run without -short")
	}
	store := testbed.Store(t)
	bucket := testbed.Bucket(t, store)
	url, pid := startBinary(t, store)
	client := testbed.S3Client(t, url, accessKey, secretKey, region)

	sent, presign := crc64.New(crc64.MakeTable(crc64.ECMA)), s3.NewPresignClient(client)
	u := testbed.Must(presign.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: ptr("large")}))(t)
	body := io.TeeReader(io.LimitReader(&counter{}, large), sent)
	req := testbed.Must(http.NewRequestWithContext(t.Context(), u.Method, u.URL, body))(t)
	req.ContentLength = large
	resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
	if answer := testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("PUT: %d %s", resp.StatusCode, answer)
	}
	out := testbed.Must(client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: ptr("large")}))(t)
	received := crc64.New(crc64.MakeTable(crc64.ECMA))
	n := testbed.Must(io.Copy(received, out.Body))(t)
	if n != large || received.Sum64() != sent.Sum64() {
		t.Errorf("GET: %d bytes, or other ones", n)
	}
	if peak := peakResident(t, pid); peak > maxResident {
		t.Errorf("the proxy's peak was %d MiB", peak>>20)
	} else {
		t.Logf("the proxy's peak was %d MiB", peak>>20)
	}
}

// counter yields bytes that differ from block to block.
type counter struct{ n uint64 }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c.n*c.n>>7) ^ byte(c.n)
		c.n++
	}
	return len(p), nil
}

// startBinary builds sseproxy as it ships and starts it in front of the store.
func startBinary(t *testing.T, store *testbed.S3Store) (url string, pid int) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "sseproxy")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "nodev", "-o", binary, "github.com/sseproxy/sseproxy/cmd/sseproxy")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	keyring := filepath.Join(dir, "keyring.json")
	createKey(t, keyring, "default")
	address := freeAddress(t)
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "serve")
	cmd.Stderr = &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = []string{
		"SSEPROXY_LISTEN=" + address, "SSEPROXY_ADMIN_LISTEN=off", "SSEPROXY_UPSTREAM=" + store.URL, "SSEPROXY_UPSTREAM_REGION=" + store.Region,
		"SSEPROXY_UPSTREAM_ACCESS_KEY_ID=" + store.AccessKeyID, "SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=" + store.SecretAccessKey,
		"SSEPROXY_ACCESS_KEY_ID=" + accessKey, "SSEPROXY_SECRET_ACCESS_KEY=" + secretKey, "SSEPROXY_KEYRING=" + keyring,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			return "http://" + address, cmd.Process.Pid
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not listen: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l := testbed.Must(new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0"))(t)
	defer l.Close() //nolint:errcheck // nothing came of it
	return l.Addr().String()
}

// peakResident returns a process's peak of resident memory in bytes.
func peakResident(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("no peak of memory on this system: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib := testbed.Must(strconv.ParseInt(strings.Fields(value)[0], 10, 64))(t)
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
