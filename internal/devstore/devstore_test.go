package devstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/sseproxy/sseproxy/internal/devstore"
)

const (
	accessKey = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	region    = "eu-central-1"
)

func config(dir string) devstore.Config {
	return devstore.Config{
		Dir: dir, Listen: "127.0.0.1:0", AccessKeyID: accessKey, SecretAccessKey: secretKey, Region: region,
	}
}

func start(t *testing.T, cfg devstore.Config) *devstore.Store {
	t.Helper()
	s, err := devstore.Start(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(s *devstore.Store, secret string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.URL()), Region: region, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secret, ""),
	})
}

func workingDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// What the package comment says about the folder is what the folder holds.
func TestFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	s := start(t, config("store")) // a relative path, before the working directory changes
	dir := filepath.Dir(workingDir(t))
	c := client(s, secretKey)
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket:                  aws.String("bucket"),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	}); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"the first", "the second"} {
		if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("bucket"), Key: aws.String("folder/key"), Body: bytes.NewReader([]byte(body)),
			Metadata: map[string]string{"color": body + " is blue"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for folder, want := range map[string]string{
		filepath.Join(devstore.ObjectsDir, "bucket", "folder", "key"):            "the second",
		filepath.Join(devstore.MetadataDir, "bucket", "folder", "key", "meta"):   "the second is blue",
		filepath.Join(devstore.VersionsDir, "bucket"):                            "the first",
		filepath.Join(devstore.MetadataDir, dir, devstore.VersionsDir, "bucket"): "the first is blue",
	} {
		if !holds(t, filepath.Join(dir, folder), want) {
			t.Errorf("nothing in %s holds %q", folder, want)
		}
	}
}

func holds(t *testing.T, root, want string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, []byte(want))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func TestRestart(t *testing.T) {
	before, dir := workingDir(t), t.TempDir()
	s := start(t, config(dir))
	if workingDir(t) == before {
		t.Error("the store runs outside of its folder")
	}
	if _, err := client(s, secretKey).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("kept")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if now := workingDir(t); now != before {
		t.Errorf("the working directory is %s after Close", now)
	}
	again := start(t, config(dir))
	if _, err := client(again, secretKey).HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("kept")}); err != nil {
		t.Errorf("a bucket of the last run: %v", err)
	}
}

func TestSignature(t *testing.T) {
	s := start(t, config(t.TempDir()))
	_, err := client(s, "another secret").ListBuckets(t.Context(), nil)
	var answer smithy.APIError
	if !errors.As(err, &answer) || answer.ErrorCode() != "SignatureDoesNotMatch" {
		t.Errorf("a wrong secret: %v", err)
	}
}

// Whoever closes at once closes a store that serves, not one that is about to and would go on.
func TestCloseAtOnce(t *testing.T) {
	for range 20 {
		s := start(t, config(t.TempDir()))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr()); err == nil {
			_ = conn.Close()
			t.Fatal("the store listens after Close")
		}
	}
}

func TestContext(t *testing.T) {
	before := workingDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := devstore.Start(ctx, config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr()); err == nil {
		_ = conn.Close()
		t.Error("the store still listens")
	}
	if now := workingDir(t); now != before {
		t.Errorf("the working directory is %s", now)
	}
}

// A client that keeps its connections open does not hold up Close.
func TestCloseIsPrompt(t *testing.T) {
	s := start(t, config(t.TempDir()))
	if _, err := client(s, secretKey).ListBuckets(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestOneStore(t *testing.T) {
	start(t, config(t.TempDir()))
	at := workingDir(t)
	if _, err := devstore.Start(t.Context(), config(t.TempDir())); !errors.Is(err, devstore.ErrRunning) {
		t.Errorf("a second store: %v", err)
	}
	if workingDir(t) != at {
		t.Error("the second store moved the first one's working directory")
	}
}

// A Start that fails leaves the process as it was: in its directory, and free to start a store.
func TestStartFails(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	before := workingDir(t)
	for name, test := range map[string]struct {
		ctx   context.Context
		spoil func(*devstore.Config)
	}{
		"port taken":   {t.Context(), func(c *devstore.Config) { c.Listen = taken.Addr().String() }},
		"no port":      {t.Context(), func(c *devstore.Config) { c.Listen = "127.0.0.1" }},
		"no folder":    {t.Context(), func(c *devstore.Config) { c.Dir = "" }},
		"not a folder": {t.Context(), func(c *devstore.Config) { c.Dir = file }},
		"no secret":    {t.Context(), func(c *devstore.Config) { c.SecretAccessKey = "" }},
		"ended":        {ended, func(*devstore.Config) {}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir())
			test.spoil(&cfg)
			if s, err := devstore.Start(test.ctx, cfg); err == nil {
				_ = s.Close()
				t.Error("started")
			}
			if now := workingDir(t); now != before {
				t.Errorf("the working directory is %s", now)
			}
		})
	}
	start(t, config(t.TempDir()))
}

func TestQuiet(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = w, w
	s, err := devstore.Start(t.Context(), config(t.TempDir()))
	if err == nil {
		_, err = client(s, secretKey).ListBuckets(t.Context(), nil)
		err = errors.Join(err, s.Close())
	}
	os.Stdout, os.Stderr = stdout, stderr
	_ = w.Close()
	said, readErr := io.ReadAll(r)
	if err != nil || readErr != nil || len(said) > 0 {
		t.Errorf("said %q, %v, %v", said, err, readErr)
	}
}
