package testbed

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/posix"

	"github.com/sseproxy/sseproxy/internal/devstore"
)

// S3Store is an S3 endpoint and a credential that may do everything there.
type S3Store struct {
	Name            string // "versitygw", "minio"
	URL             string
	AccessKeyID     string
	SecretAccessKey string
	Region          string
	Dir             string // the folder with all that the store keeps; empty where it is not on this machine
}

// Store gives the embedded store, versitygw, one per test program. Its keys are paths of files; package devstore
// says what follows, and where in Dir things are. See Main for what it needs.
func Store(t testing.TB) *S3Store {
	t.Helper()
	return stores.get(t, "versitygw", "")
}

// Stores runs a test against every store there is.
func Stores(t *testing.T, test func(t *testing.T, store *S3Store)) {
	t.Helper()
	t.Run("versitygw", func(t *testing.T) { test(t, Store(t)) })
	t.Run("minio", func(t *testing.T) { test(t, MinIO(t)) })
}

func launchVersityGW(ctx context.Context, dir string) (*S3Store, func() error, error) {
	return runVersityGW(ctx, dir, nil)
}

func runVersityGW(ctx context.Context, dir string, wrap func(*posix.Posix) backend.Backend) (*S3Store, func() error, error) {
	s := credential("versitygw", dir)
	running, err := devstore.Start(ctx, devstore.Config{
		Dir: dir, Listen: "127.0.0.1:0", Wrap: wrap,
		AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, Region: s.Region,
	})
	if err != nil {
		return nil, nil, err
	}
	s.URL = running.URL()
	return s, running.Close, nil
}

// credential makes a store's description with a new credential.
func credential(name, dir string) *S3Store {
	return &S3Store{
		Name: name, Dir: dir, Region: "eu-central-1",
		AccessKeyID: "AK" + rand.Text()[:18], SecretAccessKey: rand.Text() + rand.Text(),
	}
}

// Client gives an SDK client of the store; see S3Client.
func (s *S3Store) Client(t testing.TB, opts ...func(*s3.Options)) *s3.Client {
	t.Helper()
	return S3Client(t, s.URL, s.AccessKeyID, s.SecretAccessKey, s.Region, opts...)
}

// Bucket makes a bucket with a name of its own, and removes it after the test with all that is in it.
func Bucket(t testing.TB, store *S3Store) string {
	t.Helper()
	c, bucket := store.Client(t), "test-"+strings.ToLower(rand.Text())
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: &bucket,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(store.Region),
		},
	}); err != nil {
		t.Fatalf("making a bucket: %v", err)
	}
	t.Cleanup(func() {
		// A test may have damaged the store's files, so a bucket that stays is no failure; the store goes soon.
		if err := removeBucket(context.WithoutCancel(t.Context()), c, bucket); err != nil {
			t.Logf("removing bucket %s: %v", bucket, err)
		}
	})
	return bucket
}

func removeBucket(ctx context.Context, c *s3.Client, bucket string) error {
	uploads, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		return err
	}
	for _, u := range uploads.Uploads {
		if _, err := c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
			Bucket: &bucket, Key: u.Key, UploadId: u.UploadId,
		}); err != nil {
			return err
		}
	}
	pages := s3.NewListObjectVersionsPaginator(c, &s3.ListObjectVersionsInput{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if err := removeVersions(ctx, c, bucket, page); err != nil {
			return err
		}
	}
	_, err = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
	return err
}

func removeVersions(ctx context.Context, c *s3.Client, bucket string, page *s3.ListObjectVersionsOutput) error {
	var ids []types.ObjectIdentifier
	for _, v := range page.Versions {
		ids = append(ids, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
	}
	for _, m := range page.DeleteMarkers {
		ids = append(ids, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	})
	return err
}
