package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestConditions: the ETag that a client was shown works in every condition, and any other does not.
func TestConditions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		r.upstream.ExpectContinueTimeout = time.Minute // a busy store must not make a difference
		etag := *r.put(t, "key", []byte("one")).ETag
		bare := strings.Trim(etag, `"`)
		native := strings.TrimSuffix(bare, "-sse")
		if native == bare {
			t.Fatalf("ETag %s is not marked", etag)
		}
		get := func(in s3.GetObjectInput) error {
			in.Bucket, in.Key = &r.bucket, ptr("key")
			out, err := r.client.GetObject(t.Context(), &in)
			if err == nil {
				testbed.ReadBody(t, out.Body)
			}
			return err
		}
		for name, try := range map[string]struct {
			in   s3.GetObjectInput
			code string
		}{
			"If-Match":                   {s3.GetObjectInput{IfMatch: &etag}, ""},
			"If-Match another":           {s3.GetObjectInput{IfMatch: ptr(`"0123-sse"`)}, "PreconditionFailed"},
			"If-Match the store's ETag":  {s3.GetObjectInput{IfMatch: ptr(`"` + native + `"`)}, "PreconditionFailed"},
			"If-None-Match":              {s3.GetObjectInput{IfNoneMatch: &etag}, "NotModified"},
			"If-None-Match another":      {s3.GetObjectInput{IfNoneMatch: ptr(`"0123-sse"`)}, ""},
			"If-Unmodified-Since before": {s3.GetObjectInput{IfUnmodifiedSince: ptr(time.Now().Add(-time.Hour))}, "PreconditionFailed"},
		} {
			if err := get(try.in); try.code == "" && err != nil {
				t.Errorf("%s: %v", name, err)
			} else if try.code != "" {
				wantCode(t, err, try.code)
			}
		}
		put := func(in s3.PutObjectInput) error {
			in.Bucket, in.Body = &r.bucket, strings.NewReader("two")
			_, err := r.client.PutObject(t.Context(), &in)
			return err
		}
		wantCode(t, put(s3.PutObjectInput{Key: ptr("key"), IfNoneMatch: ptr("*")}), "PreconditionFailed")
		wantCode(t, put(s3.PutObjectInput{Key: ptr("key"), IfMatch: ptr(`"0123-sse"`)}), "PreconditionFailed")
		if store.Name == "minio" { // versitygw asks for a body before it looks at the conditions
			r.wire.Reset()
			large := r.putMessage("key", unsignedPayload, text(pattern(3<<20))).with("If-None-Match", "*")
			if a := r.send(t, large); a.Code != "PreconditionFailed" {
				t.Errorf("If-None-Match * with a large body: %d %s", a.status, a.body)
			}
			if x := r.wire.Requests(); len(x) != 1 || x[0].Size != 0 {
				t.Errorf("a body that the store refuses was sent to it: %d bytes", x[0].Size)
			}
		}
		if err := put(s3.PutObjectInput{Key: ptr("new"), IfNoneMatch: ptr("*")}); err != nil {
			t.Errorf("If-None-Match * on a new key: %v", err)
		}
		if err := put(s3.PutObjectInput{Key: ptr("key"), IfMatch: &etag}); err != nil {
			t.Errorf("If-Match: %v", err)
		}
		if got, _, err := r.get(t, "key", ""); err != nil || string(got) != "two" {
			t.Errorf("after the conditional PUT: %q, %v", got, err)
		}
	})
}

// TestOneWriterWins: of many writers with If-None-Match: *, exactly one makes the object, and it is readable.
func TestOneWriterWins(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("lock"), Body: strings.NewReader("mine"), IfNoneMatch: ptr("*")})
				if err == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d writers won", won.Load())
		}
		if got, _, err := r.get(t, "lock", ""); err != nil || string(got) != "mine" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestDelete: single and many, with conditions in terms of the client's ETags, versions and delete markers.
func TestDelete(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for _, key := range []string{"a", "b", "c&<>'ü"} {
			r.put(t, key, []byte(key))
		}
		testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("a")}))(t)
		out := testbed.Must(r.client.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{
			Objects: []types.ObjectIdentifier{{Key: ptr("b")}, {Key: ptr("c&<>'ü")}, {Key: ptr("never")}},
		}}))(t)
		if len(out.Deleted) != 3 || len(out.Errors) != 0 {
			t.Errorf("deleted %d, %d errors", len(out.Deleted), len(out.Errors))
		}
		if l := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t); *l.KeyCount != 0 {
			t.Errorf("%d keys are left", *l.KeyCount)
		}

		etag := r.put(t, "d", []byte("d")).ETag
		native := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("d")}))(t).ETag
		r.wire.Reset()
		_, _ = r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("d"), IfMatch: etag}) // not all stores have it
		if x := r.wire.Requests(); len(x) != 1 || x[0].Header.Get("If-Match") != *native {
			t.Errorf("If-Match %s became %v, the store's ETag is %s", *etag, x[0].Header["If-Match"], *native)
		}

		r.wire.AlterResponse(func(resp *http.Response) error {
			resp.Body = io.NopCloser(strings.NewReader("<Error><Code>SlowDown</Code><Message>Later.</Message></Error>"))
			resp.Header.Del("Content-Length")
			resp.TransferEncoding = []string{"chunked"}
			return nil
		})
		m := r.deleteMessage("d")
		m.method, m.target = http.MethodPost, "/"+r.bucket+"?delete"
		if a := r.send(t, m); a.status != http.StatusInternalServerError {
			t.Errorf("an error in a 200: %d %s", a.status, a.body)
		}
	})
}

// TestVersions: each version opens by its id, and listings show each one's own size.
func TestVersions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		testbed.Must(r.client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
			Bucket: &r.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		}))(t)
		want := map[string]string{}
		for _, body := range []string{"first", "second one", strings.Repeat("third", 30000)} {
			want[*r.put(t, "key", []byte(body)).VersionId] = body
		}
		marker := testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
		if marker.DeleteMarker == nil || !*marker.DeleteMarker {
			t.Error("no delete marker")
		}
		_, _, err := r.get(t, "key", "")
		wantCode(t, err, "NoSuchKey")
		list := testbed.Must(r.client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket}))(t)
		if len(list.Versions) != 3 || len(list.DeleteMarkers) != 1 {
			t.Fatalf("%d versions, %d markers", len(list.Versions), len(list.DeleteMarkers))
		}
		for _, v := range list.Versions {
			out := testbed.Must(r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key"), VersionId: v.VersionId}))(t)
			if got := string(testbed.ReadBody(t, out.Body)); got != want[*v.VersionId] || *v.Size != int64(len(got)) || *out.ETag != *v.ETag {
				t.Errorf("version %s: %d bytes, listed %d", *v.VersionId, len(got), *v.Size)
			}
		}
	})
}
