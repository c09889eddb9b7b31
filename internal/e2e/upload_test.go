package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// startUpload begins a multipart upload through the proxy.
func (r *rig) startUpload(t testing.TB, key string, in s3.CreateMultipartUploadInput) string {
	t.Helper()
	in.Bucket, in.Key = &r.bucket, &key
	return *testbed.Must(r.client.CreateMultipartUpload(t.Context(), &in))(t).UploadId
}

// sendPart sends a part and returns what Complete needs of it.
func (r *rig) sendPart(t testing.TB, key, id string, number int, body []byte, a types.ChecksumAlgorithm) types.CompletedPart {
	t.Helper()
	out := testbed.Must(r.client.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: ptr(int32(number)), Body: bytes.NewReader(body), ChecksumAlgorithm: a,
	}))(t)
	return types.CompletedPart{
		PartNumber: ptr(int32(number)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C,
		ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256,
	}
}

func (r *rig) complete(t testing.TB, key, id string, parts ...types.CompletedPart) (*s3.CompleteMultipartUploadOutput, error) {
	t.Helper()
	return r.client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &r.bucket, Key: &key, UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
}

// TestUploads: parts in random order, some twice with other content, of every kind of layout; the object is right, nothing
// of the upload is left in the bucket, and every listing shows the object alone.
func TestUploads(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for name, layout := range map[string][]part{
			"one small part": {{1, 1000, false}},
			"one empty part": {{1, 0, false}},
			"regular":        {{1, mib5, false}, {2, mib5, false}, {3, 100, false}},
			"regular, full":  {{1, mib5, false}, {2, mib5, false}},
			"irregular":      {{1, mib5 + 512, false}, {2, mib5 + 1, false}, {3, 3, false}},
			"gaps":           {{2, mib5, false}, {5, mib5 + 7, false}, {9, 1, false}},
			"number 10000":   {{1, mib5, false}, {10000, 12, false}},
			"10000, large":   {{9999, mib5, false}, {10000, mib5 + 3, false}},
			"10000 alone":    {{10000, 5, false}},
			"bare":           {{1, mib5, true}, {2, mib5, true}, {3, 100, true}},
			"bare, 10000":    {{1, mib5, true}, {10000, 100, true}},
		} {
			total := 0
			for _, p := range layout {
				total += p.size
			}
			plain := pattern(total)
			id := r.startUpload(t, name, s3.CreateMultipartUploadInput{ContentType: ptr("text/odd"), Metadata: map[string]string{"m": "v"}})
			done := make([]types.CompletedPart, len(layout))
			for _, i := range rand.Perm(len(layout)) {
				at := 0
				for _, p := range layout[:i] {
					at += p.size
				}
				p := layout[i]
				if !p.loose && i%2 == 0 {
					r.sendPart(t, name, id, p.number, pattern(p.size + 1)[1:], "")
				}
				done[i] = r.sendPart(t, name, id, p.number, plain[at:at+p.size], "")
			}
			list := testbed.Must(r.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &name, UploadId: &id}))(t)
			if len(list.Parts) != len(layout) || *list.IsTruncated {
				t.Errorf("%s: %d parts listed, truncated %v", name, len(list.Parts), *list.IsTruncated)
			}
			for i, p := range list.Parts {
				if int(*p.PartNumber) != layout[i].number || *p.Size != int64(layout[i].size) {
					t.Errorf("%s: listed part %d of %d bytes", name, *p.PartNumber, *p.Size)
				}
				if layout[i].loose {
					done[i].ETag = p.ETag
				}
			}
			out, err := r.complete(t, name, id, done...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			got, head, err := r.get(t, name, "")
			if err != nil || !bytes.Equal(got, plain) || *head.ETag != *out.ETag || *head.ContentType != "text/odd" || head.Metadata["m"] != "v" {
				t.Errorf("%s: %d bytes of %d, ETag %s after %s, %v", name, len(got), total, *head.ETag, *out.ETag, err)
			}
			again, err := r.complete(t, name, id, done...)
			if err != nil || *again.ETag != *out.ETag {
				t.Errorf("%s: a repeated Complete: %v", name, err)
			}
			if len(done) > 1 {
				_, err = r.complete(t, name, id, done[1:]...)
				wantCode(t, err, "NoSuchUpload")
			}
		}
		everything := testbed.Must(r.direct.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket}))(t)
		for _, v := range everything.Versions {
			if len(*v.Key) > 10 && (*v.Key)[:10] == ".sseproxy/" {
				t.Errorf("left: %s", *v.Key)
			}
		}
	})
}

// TestUploadRefusals: S3's checks and codes at Complete, in plaintext terms.
func TestUploadRefusals(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
	one := r.sendPart(t, "key", id, 1, pattern(mib5-1), "")
	two := r.sendPart(t, "key", id, 2, pattern(mib5), "")
	old := r.sendPart(t, "key", id, 3, pattern(11), "")
	three := r.sendPart(t, "key", id, 3, pattern(10), "")
	wrong := three
	wrong.ETag = ptr("0123")
	missing := types.CompletedPart{PartNumber: ptr(int32(7)), ETag: two.ETag}
	for name, try := range map[string]struct {
		parts []types.CompletedPart
		code  string
	}{
		"5 MiB less one":    {[]types.CompletedPart{one, two}, "EntityTooSmall"},
		"descending":        {[]types.CompletedPart{two, one}, "InvalidPartOrder"},
		"twice":             {[]types.CompletedPart{two, two}, "InvalidPartOrder"},
		"no such part":      {[]types.CompletedPart{two, missing}, "InvalidPart"},
		"wrong ETag":        {[]types.CompletedPart{two, wrong}, "InvalidPart"},
		"an earlier upload": {[]types.CompletedPart{two, old}, "InvalidPart"},
	} {
		if _, err := r.complete(t, "key", id, try.parts...); err == nil {
			t.Errorf("%s: completed", name)
		} else {
			wantCode(t, err, try.code)
		}
	}
	_, err := r.client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &r.bucket, Key: ptr("key"), UploadId: &id, MpuObjectSize: ptr(int64(5)), MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{two}},
	})
	wantCode(t, err, "InvalidRequest")
	_, err = r.complete(t, "key", "unknown", two)
	wantCode(t, err, "NoSuchUpload")
	if a := r.send(t, message{method: "GET", target: "/" + r.bucket + "/key?uploadId=unknown", hash: sha256hex("")}); !bytes.Contains(a.body, []byte("<UploadId>unknown</UploadId>")) {
		t.Errorf("the error does not say which upload there is not: %s", a.body)
	}
	r.wire.Reset()
	_, err = r.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: ptr("key"), UploadId: ptr("unknown"), PartNumber: ptr(int32(1)), Body: bytes.NewReader(pattern(10))})
	wantCode(t, err, "NoSuchUpload")
	for _, x := range r.wire.Requests() {
		if x.Method == "PUT" {
			t.Errorf("without state, %s %s went to the store", x.Method, x.Target)
		}
	}
	if _, err := r.complete(t, "key", id, two, three); err != nil {
		t.Errorf("a subset: %v", err)
	}
	if got, _, err := r.get(t, "key", ""); err != nil || !bytes.Equal(got, append(pattern(mib5), pattern(10)...)) {
		t.Errorf("a subset: %d bytes, %v", len(got), err)
	}
}

// TestUploadChecksums: every algorithm and type, as S3 shows them.
func TestUploadChecksums(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	straight := testbed.Bucket(t, r.store)
	direct := &rig{client: r.direct, bucket: straight}
	for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
		for _, kind := range []types.ChecksumType{"", types.ChecksumTypeFullObject, types.ChecksumTypeComposite} {
			name := fmt.Sprintf("%s-%s", a, kind)
			shown := map[string]string{}
			for what, r := range map[string]*rig{"proxy": r, "store": direct} {
				created, err := r.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &name, ChecksumAlgorithm: a, ChecksumType: kind})
				if err != nil {
					shown[what] = "refused"
					continue
				}
				one := r.sendPart(t, name, *created.UploadId, 1, pattern(mib5), a)
				two := r.sendPart(t, name, *created.UploadId, 2, pattern(100), a)
				out, err := r.complete(t, name, *created.UploadId, one, two)
				if err != nil {
					t.Errorf("%s, %s: %v", what, name, err)
					continue
				}
				head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &name, ChecksumMode: types.ChecksumModeEnabled}))(t)
				for _, sum := range []*string{head.ChecksumCRC32, head.ChecksumCRC32C, head.ChecksumCRC64NVME, head.ChecksumSHA1, head.ChecksumSHA256, (*string)(&head.ChecksumType), out.ChecksumCRC32, out.ChecksumSHA256} {
					if sum != nil {
						shown[what] += " " + *sum
					}
				}
			}
			if shown["proxy"] != shown["store"] && a != "" {
				t.Errorf("%s: %q, at the store %q", name, shown["proxy"], shown["store"])
			}
		}
	}
}

// TestPartWithoutChecksum: where the object's checksum is made of its parts', each must have one.
func TestPartWithoutChecksum(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for kind, status := range map[types.ChecksumType]int{types.ChecksumTypeComposite: http.StatusBadRequest, types.ChecksumTypeFullObject: http.StatusOK} {
		id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: kind})
		m := r.putMessage("key?partNumber=1&uploadId="+url.QueryEscape(id), sha256hex("a part"), text("a part"))
		if a := r.send(t, m); a.status != status || status != http.StatusOK && a.Code != "InvalidRequest" {
			t.Errorf("%s: %d %s", kind, a.status, a.body)
		}
	}
}

// describe reduces an answer to what both sides must agree on.
func describePart(out *s3.GetObjectOutput, body []byte, err error) string {
	if err != nil {
		var api smithy.APIError
		if errors.As(err, &api) {
			return api.ErrorCode()
		}
		return err.Error()
	}
	deref := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	count := int32(0)
	if out.PartsCount != nil {
		count = *out.PartsCount
	}
	return fmt.Sprintf("%d bytes, %s, %d parts, sum %x", *out.ContentLength, deref(out.ContentRange), count, sum(body))
}

// TestPartsLikeTheStore: reads by part number, attributes, copies of parts and their errors, compared with the store for the
// same plaintext.
func TestPartsLikeTheStore(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	direct := &rig{client: r.direct, bucket: testbed.Bucket(t, r.store)}
	both := []*rig{r, direct}
	for _, side := range both {
		side.put(t, "single", pattern(1000))
		side.put(t, "empty", nil)
		id := side.startUpload(t, "multi", s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
		one := side.sendPart(t, "multi", id, 1, pattern(mib5), types.ChecksumAlgorithmSha256)
		two := side.sendPart(t, "multi", id, 2, pattern(mib5 + 9)[3:], types.ChecksumAlgorithmSha256)
		testbed.Must(side.complete(t, "multi", id, one, two))(t)
	}
	for _, key := range []string{"single", "empty", "multi", "none"} {
		for _, number := range []int32{1, 2, 3} {
			var seen []string
			for _, side := range both {
				out, err := side.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &side.bucket, Key: &key, PartNumber: &number})
				var body []byte
				if err == nil {
					body = testbed.ReadBody(t, out.Body)
				}
				seen = append(seen, describePart(out, body, err))
			}
			if seen[0] != seen[1] {
				t.Errorf("%s, part %d: %s; at the store: %s", key, number, seen[0], seen[1])
			}
		}
	}
	attributes := func(side *rig, key string) string {
		out, err := side.client.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: &side.bucket, Key: &key, ObjectAttributes: types.ObjectAttributes("").Values()})
		if err != nil {
			return describePart(nil, nil, err)
		}
		text := fmt.Sprintf("%d bytes, %s", *out.ObjectSize, out.StorageClass)
		if out.Checksum != nil && out.Checksum.ChecksumSHA256 != nil {
			text += ", " + *out.Checksum.ChecksumSHA256 + " " + string(out.Checksum.ChecksumType)
		}
		if out.ObjectParts != nil {
			text += fmt.Sprintf(", %d parts", *out.ObjectParts.TotalPartsCount)
		}
		return text
	}
	for _, key := range []string{"single", "empty", "multi", "none"} {
		// versitygw counts no parts.
		if got, want := attributes(r, key), attributes(direct, key); !strings.HasPrefix(got, want) {
			t.Errorf("attributes of %s: %s; at the store: %s", key, got, want)
		}
	}
	out := testbed.Must(r.client.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{
		Bucket: &r.bucket, Key: ptr("multi"), ObjectAttributes: types.ObjectAttributes("").Values(), MaxParts: ptr(int32(1)),
	}))(t)
	if p := out.ObjectParts; p == nil || *p.TotalPartsCount != 2 || len(p.Parts) != 1 || !*p.IsTruncated || *p.Parts[0].Size != mib5 || p.Parts[0].ChecksumSHA256 == nil {
		t.Errorf("parts of multi: %+v", p)
	}
}

// TestUploadPartCopy: whole sources and ranges, single and multipart, and S3's errors.
func TestUploadPartCopy(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	single := pattern(1000)
	r.put(t, "single", single)
	r.put(t, "empty", nil)
	multi := r.putMultipart(t, "multi", part{1, mib5, false}, part{2, mib5 + 6, true})
	for _, from := range []struct {
		source, byteRange string
		want              []byte
		code              string
	}{
		{"single", "", single, ""},
		{"single", "bytes=10-19", single[10:20], ""},
		{"single", "bytes=0-999", single, ""},
		{"single", "bytes=0-1000", nil, "InvalidArgument"},
		{"single", "bytes=1000-1001", nil, "InvalidArgument"},
		{"single", "bytes=5-2", nil, "InvalidArgument"},
		{"single", "0-1", nil, "InvalidArgument"},
		{"multi", "", multi, ""},
		{"multi", "bytes=5242870-5242890", multi[5242870:5242891], ""},
		{"multi", "bytes=5300000-10000000", multi[5300000:10000001], ""},
		{"empty", "", nil, ""},
		{"none", "", nil, "NoSuchKey"},
	} {
		id := r.startUpload(t, "copy", s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c, ChecksumType: types.ChecksumTypeFullObject})
		in := &s3.UploadPartCopyInput{Bucket: &r.bucket, Key: ptr("copy"), UploadId: &id, PartNumber: ptr(int32(1)), CopySource: ptr(r.bucket + "/" + from.source)}
		if from.byteRange != "" {
			in.CopySourceRange = &from.byteRange
		}
		out, err := r.client.UploadPartCopy(t.Context(), in)
		if from.code != "" {
			wantCode(t, err, from.code)
			continue
		}
		if err != nil {
			t.Errorf("copy of %s %s: %v", from.source, from.byteRange, err)
			continue
		}
		done := types.CompletedPart{PartNumber: ptr(int32(1)), ETag: out.CopyPartResult.ETag, ChecksumCRC32C: out.CopyPartResult.ChecksumCRC32C}
		testbed.Must(r.complete(t, "copy", id, done))(t)
		if got, _, err := r.get(t, "copy", ""); err != nil || !bytes.Equal(got, from.want) {
			t.Errorf("copy of %s %s: %d bytes of %d, %v", from.source, from.byteRange, len(got), len(from.want), err)
		}
	}
}

// TestUploadThroughReplicas: parts of one upload go to two replicas at once, in random order and some twice with other
// bytes; a third replica that saw nothing of it completes. Every ETag means its own attempt.
func TestUploadThroughReplicas(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		first := newRig(t, store, options{})
		replicas := []*rig{first, newRig(t, store, options{kit: first}), newRig(t, store, options{kit: first})}
		sizes := []int{mib5 + 17, mib5, mib5 + 512, 70000}
		id := first.startUpload(t, "key", s3.CreateMultipartUploadInput{})
		done := make([]types.CompletedPart, len(sizes))
		bodies := make([][]byte, len(sizes))
		var wg sync.WaitGroup
		for i, size := range sizes {
			wg.Go(func() {
				for attempt := range 2 {
					bodies[i] = pattern(size + attempt + i)[attempt+i:]
					done[i] = replicas[rand.IntN(2)].sendPart(t, "key", id, i+1, bodies[i], "")
				}
			})
		}
		wg.Wait()
		testbed.Must(replicas[2].complete(t, "key", id, done...))(t)
		want := slices.Concat(bodies...)
		for _, r := range replicas {
			if got, _, err := r.get(t, "key", ""); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
			}
		}
	})
}

// TestCompleteAtOnce: of two Completes at once, each ends with the object there or with an S3 error, and the object is
// right.
func TestCompleteAtOnce(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for range 5 {
			id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
			one := r.sendPart(t, "key", id, 1, pattern(mib5), "")
			two := r.sendPart(t, "key", id, 2, pattern(100), "")
			var wg sync.WaitGroup
			var ok atomic.Int64
			for range 3 {
				wg.Go(func() {
					_, err := r.complete(t, "key", id, one, two)
					var api smithy.APIError
					switch {
					case err == nil:
						ok.Add(1)
					case !errors.As(err, &api):
						t.Errorf("not an S3 error: %v", err)
					}
				})
			}
			wg.Wait()
			if ok.Load() == 0 {
				t.Error("no Complete succeeded")
			}
			if got, _, err := r.get(t, "key", ""); err != nil || !bytes.Equal(got, append(pattern(mib5), pattern(100)...)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
	})
}

// TestCollectGarbage: what an upload left that ended without the proxy goes; a live upload's state stays, and works.
func TestCollectGarbage(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		live := r.startUpload(t, "live", s3.CreateMultipartUploadInput{})
		one := r.sendPart(t, "live", live, 1, pattern(100), "")
		dead := r.startUpload(t, "dead", s3.CreateMultipartUploadInput{})
		r.sendPart(t, "dead", dead, 1, pattern(100), "")
		testbed.Must(r.direct.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: ptr("dead"), UploadId: &dead}))(t)

		for _, step := range []struct {
			age    time.Duration
			dryRun bool
			want   proxy.Garbage
		}{
			{time.Hour, false, proxy.Garbage{Live: 2}},
			{0, true, proxy.Garbage{Live: 1, Removed: 1}},
			{0, false, proxy.Garbage{Live: 1, Removed: 1}},
			{0, false, proxy.Garbage{Live: 1}},
		} {
			got, err := r.proxy.CollectGarbage(t.Context(), r.bucket, step.age, step.dryRun)
			if err != nil || got != step.want {
				t.Errorf("age %v: %+v, %v; want %+v", step.age, got, err, step.want)
			}
		}
		fresh := newRig(t, store, options{kit: r})
		testbed.Must(fresh.complete(t, "live", live, one))(t)
		if got, _, err := r.get(t, "live", ""); err != nil || !bytes.Equal(got, pattern(100)) {
			t.Errorf("the live upload: %d bytes, %v", len(got), err)
		}
	})
}
