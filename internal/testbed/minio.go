package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	minioVar     = "SSEPROXY_TEST_MINIO"
	minioMissing = "MinIO is not installed: go install github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
)

// MinIO gives a MinIO store, one per test program: the program that SSEPROXY_TEST_MINIO names, or minio in PATH.
// Where there is none the test is skipped, and with CI=true fails. See Main for what it needs.
func MinIO(t testing.TB) *S3Store {
	t.Helper()
	program, err := findMinIO()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true": //nolint:forbidigo // where tests run, not how the product does
		t.Fatalf("%s (%v)", minioMissing, err)
	default:
		t.Skipf("%s (%v)", minioMissing, err)
	}
	return stores.get(t, "minio", program)
}

func findMinIO() (string, error) {
	name := os.Getenv(minioVar) //nolint:forbidigo // where tests run, not how the product does
	if name == "" {
		name = "minio"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(program)
}

// launchMinIO tries a few ports: MinIO does not tell which it has bound, so a free one may be gone when it comes.
func launchMinIO(ctx context.Context, dir string) (s *S3Store, wait func() error, err error) {
	for range 3 {
		if s, wait, err = runMinIO(ctx, dir); err == nil {
			return s, wait, nil
		}
	}
	return nil, nil, err
}

func runMinIO(ctx context.Context, dir string) (*S3Store, func() error, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	addr := l.Addr().String()
	closeAll(l)
	s := credential("minio", filepath.Join(dir, "data"))
	s.URL = "http://" + addr

	program := os.Getenv(programVar) //nolint:forbidigo // the one reader of this variable
	//nolint:gosec // the program that whoever runs the tests has chosen
	cmd := exec.CommandContext(ctx, program, "server", "--quiet", "--anonymous", "--address", addr, s.Dir)
	cmd.Dir = dir
	cmd.Env = append(bareEnv("HOME="+dir),
		"MINIO_ROOT_USER="+s.AccessKeyID, "MINIO_ROOT_PASSWORD="+s.SecretAccessKey, "MINIO_REGION="+s.Region,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off")
	var said bytes.Buffer // to be read after the end
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed with the context: how it ends says nothing
	}()
	if err := ready(ctx, s, ended); err != nil {
		_ = cmd.Process.Kill()
		<-ended
		return nil, nil, fmt.Errorf("%w; it said: %s", err, said.String())
	}
	return s, func() error { <-ended; return nil }, nil
}

// ready waits until a store answers a signed request, or has ended. MinIO's own health checks answer too early.
func ready(ctx context.Context, s *S3Store, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := s3.New(options(s.URL, s.AccessKeyID, s.SecretAccessKey, s.Region))
	for {
		_, err := c.ListBuckets(ctx, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errors.New("the server has ended")
		case <-ctx.Done():
			return fmt.Errorf("waiting until the server is ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
