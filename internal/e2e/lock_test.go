package e2e_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestObjectLock: locks on uploads, copies and by their own operations hold at the store and show to the client; the store
// gets the checksum that S3 demands for them, and nothing of its framing shows.
func TestObjectLock(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		r.bucket += "-locked"
		testbed.Must(r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &r.bucket, ObjectLockEnabledForBucket: ptr(true)}))(t)
		until := time.Now().Add(time.Hour).Truncate(time.Second)
		for _, n := range []int{0, 10, frame, 3 << 20} {
			r.wire.Reset()
			testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: &r.bucket, Key: ptr("key"), Body: bytes.NewReader(pattern(n)), ContentEncoding: ptr("x-odd"),
				ObjectLockMode: types.ObjectLockModeGovernance, ObjectLockRetainUntilDate: &until, ObjectLockLegalHoldStatus: types.ObjectLockLegalHoldStatusOn,
			}))(t)
			for _, x := range requests(r.wire) {
				if x.Header.Get("X-Amz-Checksum-Crc32") == "" && x.Header.Get("X-Amz-Trailer") == "" {
					t.Errorf("%d bytes: %s %s without a checksum", n, x.Method, x.Target)
				}
			}
			got, out, err := r.get(t, "key", "")
			if err != nil || !bytes.Equal(got, pattern(n)) || *out.ContentEncoding != "x-odd" {
				t.Fatalf("%d bytes: %d bytes, %v", n, len(got), err)
			}
			if kept, hold := r.locks(t, "key"); !kept.Equal(until) || hold != types.ObjectLockLegalHoldStatusOn {
				t.Errorf("%d bytes: retained until %v, hold %s", n, kept, hold)
			}
			_, err = r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("key"), VersionId: out.VersionId})
			if err == nil {
				t.Errorf("%d bytes: a locked version was deleted", n)
			}
			testbed.Must(r.client.PutObjectLegalHold(t.Context(), &s3.PutObjectLegalHoldInput{
				Bucket: &r.bucket, Key: ptr("key"), VersionId: out.VersionId, LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOff},
			}))(t)
			testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{
				Bucket: &r.bucket, Key: ptr("key"), VersionId: out.VersionId, BypassGovernanceRetention: ptr(true),
			}))(t)
		}
		id := r.startUpload(t, "parts", s3.CreateMultipartUploadInput{ObjectLockMode: types.ObjectLockModeGovernance, ObjectLockRetainUntilDate: &until})
		testbed.Must(r.complete(t, "parts", id, r.sendPart(t, "parts", id, 1, pattern(1000), "")))(t)
		testbed.Must(r.copyFrom(t, r.bucket+"/parts", "copy", func(in *s3.CopyObjectInput) {
			in.ObjectLockMode, in.ObjectLockRetainUntilDate = types.ObjectLockModeGovernance, &until
		}))(t)
		for _, key := range []string{"parts", "copy"} {
			got, _, err := r.get(t, key, "")
			if kept, _ := r.locks(t, key); err != nil || !bytes.Equal(got, pattern(1000)) || !kept.Equal(until) {
				t.Errorf("%s: %d bytes, retained until %v, %v", key, len(got), kept, err)
			}
		}
	})
}

// locks asks for an object's retention and hold.
func (r *rig) locks(t *testing.T, key string) (until time.Time, hold types.ObjectLockLegalHoldStatus) {
	t.Helper()
	retention := testbed.Must(r.client.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: &r.bucket, Key: &key}))(t)
	if out, err := r.client.GetObjectLegalHold(t.Context(), &s3.GetObjectLegalHoldInput{Bucket: &r.bucket, Key: &key}); err == nil {
		hold = out.LegalHold.Status
	}
	return *retention.Retention.RetainUntilDate, hold
}
