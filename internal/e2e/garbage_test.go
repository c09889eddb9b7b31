package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// wholeUpload makes an object of a long part, a copied one, a short one that is sent twice, and the client's own part 10000.
func (r *rig) wholeUpload(t testing.TB, key string) {
	t.Helper()
	id := r.startUpload(t, key, s3.CreateMultipartUploadInput{})
	r.sendPart(t, key, id, 1, pattern(100), "")
	one := r.sendPart(t, key, id, 1, pattern(mib5), "")
	copied := testbed.Must(r.client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
		Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: ptr(int32(2)), CopySource: ptr(r.bucket + "/source"),
	}))(t)
	last := r.sendPart(t, key, id, 10000, pattern(200), "")
	testbed.Must(r.complete(t, key, id, one, types.CompletedPart{PartNumber: ptr(int32(2)), ETag: copied.CopyPartResult.ETag}, last))(t)
	r.want(t, key, key, slices.Concat(pattern(mib5), pattern(mib5), pattern(200)))

	id = r.startUpload(t, key, s3.CreateMultipartUploadInput{})
	r.sendPart(t, key, id, 1, pattern(100), "")
	one = r.sendPart(t, key, id, 1, pattern(300), "")
	testbed.Must(r.complete(t, key, id, one))(t)
	r.want(t, key, key, pattern(300))
}

// TestGarbageAtEachStep: a collection that takes everything it may, before and after each request of an upload, leaves the upload alone.
func TestGarbageAtEachStep(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		collector := newRig(t, store, options{kit: r})
		r.put(t, "source", pattern(mib5))
		runs := 0
		collect := func() error {
			runs++
			_, err := collector.proxy.CollectGarbage(t.Context(), r.bucket, 0, false)
			return err
		}
		r.wire.AlterRequest(func(*http.Request) error { return collect() })
		r.wire.AlterResponse(func(*http.Response) error { return collect() })
		r.wholeUpload(t, "key")
		r.under(fire{})
		if left := r.left(t); len(left) > 0 || runs < 40 {
			t.Errorf("after %d collections: left: %q", runs, left)
		}
	})
}

// TestGarbageWhileUploading: nor do collections that run all the time hurt any upload.
func TestGarbageWhileUploading(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		replicas := []*rig{r, newRig(t, store, options{kit: r})}
		r.put(t, "source", pattern(mib5))
		done := make(chan struct{})
		var uploads, collectors sync.WaitGroup
		for _, replica := range replicas {
			collectors.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
					}
					if _, err := replica.proxy.CollectGarbage(t.Context(), r.bucket, 0, false); err != nil {
						t.Errorf("collecting: %v", err)
					}
				}
			})
		}
		for i := range 4 {
			uploads.Go(func() { replicas[i%2].wholeUpload(t, fmt.Sprint("key", i)) })
		}
		uploads.Wait()
		close(done)
		collectors.Wait()
		if left := r.left(t); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// died makes an upload of which the store no longer knows, and which left its state and a stash.
func (r *rig) died(t testing.TB, key string) {
	t.Helper()
	id := r.startUpload(t, key, s3.CreateMultipartUploadInput{})
	r.sendPart(t, key, id, 1, pattern(100), "")
	testbed.Must(r.direct.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: &id}))(t)
}

// TestGarbageVersions: in a bucket with versioning all that a dead upload left goes for good, older versions and delete markers too, and
// what a live one has stays.
func TestGarbageVersions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		testbed.Must(r.direct.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
			Bucket: &r.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		}))(t)
		r.wholeUploadVersions(t)
		if left := r.left(t); len(left) > 0 {
			t.Errorf("an upload left %q", left)
		}
		r.died(t, "dead")
		r.died(t, "dead, of which all was deleted")
		for i, key := range r.left(t) {
			body, metadata := r.stored(t, key)
			testbed.Must(r.direct.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(body), Metadata: metadata}))(t)
			if i >= 2 {
				testbed.Must(r.direct.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
			}
		}
		if left := r.left(t); len(left) != 10 {
			t.Errorf("before: %d versions and markers: %q", len(left), left)
		}
		live := r.startUpload(t, "live", s3.CreateMultipartUploadInput{})
		part := r.sendPart(t, "live", live, 1, pattern(100), "")
		if found, err := r.proxy.CollectGarbage(t.Context(), r.bucket, 0, false); err != nil || found != (proxy.Garbage{Live: 1, Removed: 2}) {
			t.Errorf("%+v, %v", found, err)
		}
		if left := r.left(t); len(left) != 2 {
			t.Errorf("left: %q", left)
		}
		testbed.Must(newRig(t, store, options{kit: r}).complete(t, "live", live, part))(t)
		r.want(t, "live", "live", pattern(100))
		if left := r.left(t); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// wholeUploadVersions completes an upload, repeats the Complete, and aborts another, where there are versions.
func (r *rig) wholeUploadVersions(t testing.TB) {
	t.Helper()
	b := r.begin(t, "key", mib5, 100)
	out := testbed.Must(r.complete(t, b.key, b.id, b.parts...))(t)
	again := testbed.Must(r.complete(t, b.key, b.id, b.parts...))(t)
	if out.VersionId == nil || again.VersionId == nil || *out.VersionId != *again.VersionId {
		t.Errorf("version %v, again %v", out.VersionId, again.VersionId)
	}
	b = r.begin(t, "key", mib5, 100)
	testbed.Must(r.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id}))(t)
}

// TestGarbageInDoubt: what cannot be told to be dead stays: the state of another upload in a folder, one that does not open, and
// whatever the store answers but that it has no such upload. It is reported, and does not keep the rest from being removed.
func TestGarbageInDoubt(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.died(t, "dead")
	deadKeys := r.left(t)
	live := r.startUpload(t, "live", s3.CreateMultipartUploadInput{})
	part := r.sendPart(t, "live", live, 1, pattern(100), "")
	stateOf := func(keys []string) string {
		return keys[slices.IndexFunc(keys, func(key string) bool { return strings.HasSuffix(key, "/state") })]
	}
	dead := stateOf(deadKeys)
	mine := stateOf(slices.DeleteFunc(r.left(t), func(key string) bool { return slices.Contains(deadKeys, key) }))
	deadBody, deadMetadata := r.stored(t, dead)
	body, metadata := r.stored(t, mine)
	collect := func(what string, want proxy.Garbage, fails bool) {
		t.Helper()
		before := r.left(t)
		found, err := r.proxy.CollectGarbage(t.Context(), r.bucket, 0, false)
		if found != want || (err != nil) != fails {
			t.Errorf("%s: %+v, %v", what, found, err)
		}
		if left := r.left(t); want.Removed == 0 && len(left) != len(before) {
			t.Errorf("%s: left %q of %q", what, left, before)
		}
	}
	for what, back := range map[string]func(*http.Response) error{
		"500": says(500, "InternalError"), "403": says(403, "AccessDenied"), "404 of something else": says(404, "NoSuchBucket"),
		"a bare 404": answers(404, ""), "HTML": answers(404, "<html>not found</html>"), "no answer": cut,
	} {
		r.under(fire{"list parts", false, back})
		collect("the upload: "+what, proxy.Garbage{}, true)
	}
	for what, back := range map[string]func(*http.Response) error{"500": says(500, "InternalError"), "403": says(403, "AccessDenied"), "no answer": cut} {
		r.under(fire{"GET state", false, back})
		collect("the state: "+what, proxy.Garbage{}, true)
	}
	for what, lie := range map[string]func(l *listedVersions){
		"no times":          func(l *listedVersions) { each(l, func(v *storedVersion) { v.LastModified = "" }) },
		"a page to itself":  func(l *listedVersions) { l.IsTruncated = true },
		"pages without end": func(l *listedVersions) { l.IsTruncated, l.NextKeyMarker = true, "a" },
	} {
		r.under(fire{"list versions", false, versionsLie(lie)})
		collect("the listing: "+what, proxy.Garbage{}, true)
	}
	r.put(t, "important", []byte("important"))
	r.under(fire{"list versions", false, versionsLie(func(l *listedVersions) {
		l.Version = []storedVersion{{Key: "important", LastModified: "2001-01-01T00:00:00Z"}, {Key: ".sseproxy/uploads", LastModified: "2001-01-01T00:00:00Z"}}
	})})
	collect("keys outside", proxy.Garbage{}, false)
	r.under(fire{})
	r.want(t, "keys outside", "important", []byte("important"))

	for what, state := range map[string]struct {
		body     []byte
		metadata map[string]string
	}{"a dead one's state": {deadBody, deadMetadata}, "no envelope": {body, nil}, "garbage": {pattern(200), metadata}, "empty": {nil, nil}} {
		r.putStored(t, mine, state.body, state.metadata)
		r.putStored(t, dead, body, metadata)
		collect(what, proxy.Garbage{}, true)
	}
	r.putStored(t, mine, deadBody, deadMetadata)
	r.putStored(t, dead, deadBody, deadMetadata)
	collect("beside a dead one", proxy.Garbage{Removed: 1}, true)
	r.putStored(t, mine, body, metadata)
	collect("put back", proxy.Garbage{Live: 1}, false)
	testbed.Must(newRig(t, r.store, options{kit: r}).complete(t, "live", live, part))(t)
	r.want(t, "live", "live", pattern(100))
}
