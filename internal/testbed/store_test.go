package testbed_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

func TestMain(m *testing.M) { testbed.Main{M: m}.Run() }

func put(t *testing.T, c *s3.Client, bucket, key, body string) *s3.PutObjectOutput {
	t.Helper()
	return testbed.Must(c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: strings.NewReader(body),
	}))(t)
}

func get(t *testing.T, c *s3.Client, in *s3.GetObjectInput) string {
	t.Helper()
	out := testbed.Must(c.GetObject(t.Context(), in))(t)
	return string(testbed.ReadBody(t, out.Body))
}

func code(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return ""
}

func TestObjects(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		c, bucket := store.Client(t), testbed.Bucket(t, store)
		put(t, c, bucket, "folder/käse + 🧀", "some text")
		put(t, c, bucket, "other", "more")
		if got := get(t, c, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("folder/käse + 🧀")}); got != "some text" {
			t.Errorf("read %q", got)
		}
		if got := get(t, c, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("other"), Range: aws.String("bytes=1-2")}); got != "or" {
			t.Errorf("range: %q", got)
		}
		list := testbed.Must(c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket}))(t)
		var keys []string
		for _, o := range list.Contents {
			keys = append(keys, *o.Key)
		}
		if diff := gocmp.Diff([]string{"folder/käse + 🧀", "other"}, keys); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConditions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		c, bucket, key := store.Client(t), testbed.Bucket(t, store), "key"
		etag := put(t, c, bucket, key, "one").ETag
		if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: strings.NewReader("two"), IfNoneMatch: aws.String("*"),
		}); code(err) != "PreconditionFailed" {
			t.Errorf("If-None-Match: %v", err)
		}
		if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: strings.NewReader("two"), IfMatch: etag,
		}); err != nil {
			t.Errorf("If-Match: %v", err)
		}
		if _, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, IfMatch: etag}); code(err) != "PreconditionFailed" {
			t.Errorf("GET If-Match an old ETag: %v", err)
		}
	})
}

func TestVersions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		c, bucket, key := store.Client(t), testbed.Bucket(t, store), "folder/key"
		testbed.Must(c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
			Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		}))(t)
		first := put(t, c, bucket, key, "first").VersionId
		second := put(t, c, bucket, key, "second").VersionId
		testbed.Must(c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}))(t)
		for id, want := range map[*string]string{first: "first", second: "second"} {
			if got := get(t, c, &s3.GetObjectInput{Bucket: &bucket, Key: &key, VersionId: id}); got != want {
				t.Errorf("version %s: %q, want %q", *id, got, want)
			}
		}
		list := testbed.Must(c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket}))(t)
		if len(list.Versions) != 2 || len(list.DeleteMarkers) != 1 {
			t.Errorf("%d versions, %d delete markers", len(list.Versions), len(list.DeleteMarkers))
		}
	})
}

func TestMultipart(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		c, bucket, key := store.Client(t), testbed.Bucket(t, store), "key"
		parts := [][]byte{bytes.Repeat([]byte("1"), 5<<20), []byte("the last")}
		upload := testbed.Must(c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
			Bucket: &bucket, Key: &key, Metadata: map[string]string{"color": "blue"},
		}))(t)
		var done []types.CompletedPart
		for i, number := range []int32{1, 10000} { // with a gap, as sseproxy's own part leaves it
			part := testbed.Must(c.UploadPart(t.Context(), &s3.UploadPartInput{
				Bucket: &bucket, Key: &key, UploadId: upload.UploadId, PartNumber: &number, Body: bytes.NewReader(parts[i]),
			}))(t)
			done = append(done, types.CompletedPart{PartNumber: &number, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32})
		}
		testbed.Must(c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: &bucket, Key: &key, UploadId: upload.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		}))(t)
		if get(t, c, &s3.GetObjectInput{Bucket: &bucket, Key: &key}) != string(bytes.Join(parts, nil)) {
			t.Error("the object is not its parts")
		}
		head := testbed.Must(c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key}))(t)
		if head.Metadata["color"] != "blue" {
			t.Errorf("metadata %v", head.Metadata)
		}
	})
}

// A bucket goes with all that a test can leave in it.
func TestBucketIsRemoved(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		c, bucket, key := store.Client(t), "", "key"
		t.Run("use", func(t *testing.T) {
			bucket = testbed.Bucket(t, store)
			testbed.Must(c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
				Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			}))(t)
			put(t, c, bucket, key, "first")
			put(t, c, bucket, key, "second")
			testbed.Must(c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}))(t)
			testbed.Must(c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key}))(t)
		})
		if _, err := c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &bucket}); code(err) != "NotFound" {
			t.Errorf("bucket %s after its test: %v", bucket, err)
		}
	})
}

func TestStoreIsAProcess(t *testing.T) {
	before := testbed.Must(os.Getwd())(t)
	store := testbed.Store(t)
	if now := testbed.Must(os.Getwd())(t); now != before {
		t.Errorf("the store moved the tests to %s", now)
	}
	if again := testbed.Store(t); again.URL != store.URL {
		t.Errorf("a second store at %s", again.URL)
	}
}

// A store goes, and its folder with it, however the tests end: here, killed in the middle.
func TestStoresDoNotOutlive(t *testing.T) {
	const inner = "SSEPROXY_TESTBED_INNER"
	if os.Getenv(inner) != "" {
		testbed.Stores(t, func(_ *testing.T, store *testbed.S3Store) { fmt.Println("STORE", store.URL, store.Dir) })
		select {}
	}
	tests := exec.CommandContext(t.Context(), testbed.Must(os.Executable())(t), "-test.run=^TestStoresDoNotOutlive$")
	tests.Env = append(os.Environ(), inner+"=yes")
	stdout := testbed.Must(tests.StdoutPipe())(t)
	if err := tests.Start(); err != nil {
		t.Fatal(err)
	}
	stores := map[string]string{}
	for lines := bufio.NewScanner(stdout); len(stores) < storesHere() && lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "STORE" {
			stores[f[1]] = f[2]
		}
	}
	if err := tests.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = tests.Wait() // killed
	if len(stores) != storesHere() {
		t.Fatalf("%d stores", len(stores))
	}
	for url, dir := range stores {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, err := os.Stat(dir)
			resp, answered := testbed.HTTPClient(t).Get(url)
			if errors.Is(err, os.ErrNotExist) && answered != nil {
				break
			}
			if answered == nil {
				_ = resp.Body.Close()
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s answers: %v; %s is there: %v", url, answered == nil, dir, err == nil)
			}
		}
	}
}

// storesHere counts the stores of this machine.
func storesHere() int {
	program := cmp.Or(os.Getenv("SSEPROXY_TEST_MINIO"), "minio")
	if _, err := exec.LookPath(program); err != nil {
		return 1
	}
	return 2
}

func TestWrongSecret(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		c := testbed.S3Client(t, store.URL, store.AccessKeyID, "another secret", store.Region)
		if _, err := c.ListBuckets(t.Context(), nil); code(err) != "SignatureDoesNotMatch" {
			t.Errorf("ListBuckets: %v", err)
		}
	})
}

// With no retries a test sees the first answer, and a store that is not there at once.
func TestNoRetries(t *testing.T) {
	l := testbed.Must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = l.Close() })
	dials := make(chan int)
	go func() {
		n := 0
		for {
			c, err := l.Accept()
			if err != nil {
				dials <- n
				return
			}
			n++
			_ = c.Close()
		}
	}()
	c := testbed.S3Client(t, "http://"+l.Addr().String(), "a", "b", "us-east-1")
	if _, err := c.ListBuckets(t.Context(), nil); err == nil {
		t.Error("a list from nowhere")
	}
	_ = l.Close()
	if n := <-dials; n != 1 {
		t.Errorf("%d attempts", n)
	}
}

func TestClearAWSEnv(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "/nowhere")
	t.Run("cleared", func(t *testing.T) {
		testbed.ClearAWSEnv(t)
		if v, ok := os.LookupEnv("AWS_CA_BUNDLE"); ok {
			t.Errorf("AWS_CA_BUNDLE=%q", v)
		}
	})
	if v := os.Getenv("AWS_CA_BUNDLE"); v != "/nowhere" {
		t.Errorf("AWS_CA_BUNDLE=%q after the test", v)
	}
}

func TestMissingMinIO(t *testing.T) {
	t.Setenv("SSEPROXY_TEST_MINIO", "/nowhere/minio")
	t.Setenv("CI", "")
	skipped := false
	t.Run("skips", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		testbed.MinIO(t)
	})
	if !skipped {
		t.Error("not skipped")
	}
}

func TestStoreURL(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		if u := testbed.Must(url.Parse(store.URL))(t); u.Hostname() != "127.0.0.1" {
			t.Errorf("%s listens for others", store.URL)
		}
	})
}
