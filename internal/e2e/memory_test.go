package e2e_test

import (
	"fmt"
	"hash/crc64"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

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
	p := startProcess(t, store, buildBinary(t), newKeyring(t))
	client := p.client

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
	p.checkPeak(t)
}

// checkPeak holds the process's peak of resident memory against the bound.
func (p *process) checkPeak(t *testing.T) {
	t.Helper()
	peak := peakResident(t, p.cmd.Process.Pid)
	t.Logf("the proxy's peak was %d MiB", peak>>20)
	if peak > maxResident {
		t.Errorf("more than %d MiB", maxResident>>20)
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
