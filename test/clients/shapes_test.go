package clients_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// upload is an upload in parts, call by call.
type upload struct {
	front *front
	c     *s3.Client
	key   string
	id    *string
	parts []types.CompletedPart
	size  int64
}

func (f *front) upload(t *testing.T, key string) *upload {
	t.Helper()
	c := f.sdk(t)
	out := testbed.Must(c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &f.bucket, Key: &key}))(t)
	return &upload{front: f, c: c, key: key, id: out.UploadId}
}

// next gives the number of the next part.
func (u *upload) next() *int32 { return aws.Int32(int32(len(u.parts) + 1)) }

// add sends the next part.
func (u *upload) add(t *testing.T, body []byte) {
	t.Helper()
	number := u.next()
	out := testbed.Must(u.c.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: &u.front.bucket, Key: &u.key, UploadId: u.id, PartNumber: number, Body: bytes.NewReader(body),
	}))(t)
	u.parts = append(u.parts, types.CompletedPart{PartNumber: number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	u.size += int64(len(body))
}

// copyObject makes a whole object the next part.
func (u *upload) copyObject(t *testing.T, key string, size int64) {
	t.Helper()
	number := u.next()
	out := testbed.Must(u.c.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
		Bucket: &u.front.bucket, Key: &u.key, UploadId: u.id, PartNumber: number, CopySource: aws.String(u.front.bucket + "/" + key),
	}))(t)
	u.parts = append(u.parts, types.CompletedPart{PartNumber: number, ETag: out.CopyPartResult.ETag})
	u.size += size
}

// resume forgets what the parts were answered with and takes what is listed instead, as a client that starts again does.
func (u *upload) resume(t *testing.T) {
	t.Helper()
	u.parts = nil
	size := int64(0)
	in := &s3.ListPartsInput{Bucket: &u.front.bucket, Key: &u.key, UploadId: u.id, MaxParts: aws.Int32(2)}
	for pages := s3.NewListPartsPaginator(u.c, in); pages.HasMorePages(); {
		for _, p := range testbed.Must(pages.NextPage(t.Context()))(t).Parts {
			u.parts = append(u.parts, types.CompletedPart{PartNumber: p.PartNumber, ETag: p.ETag})
			size += *p.Size
		}
	}
	if size != u.size {
		t.Errorf("of %d bytes %d are listed in %d parts", u.size, size, len(u.parts))
	}
}

func (u *upload) complete(t *testing.T) {
	t.Helper()
	testbed.Must(u.c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &u.front.bucket, Key: &u.key, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	}))(t)
}

// TestPartShapes: parts of the sizes that programs send which do not run here.
func TestPartShapes(t *testing.T) {
	const mib = 1 << 20
	shapes := map[string][]int{
		// barman-cloud sends what its buffer has when the chunk is full: tar blocks of 512 bytes.
		"barman": {5*mib + 512, 5*mib + 19*512, 5*mib + 20*512, 5*mib + 512, 7 * 512},
		// goofys and geesefs: a ladder of 5, 25 and 125 MiB.
		"goofys": {5 * mib, 5 * mib, 25 * mib, 25 * mib, 125 * mib, 3*mib + 17},
		// Flink's recoverable writer and pgBackRest: parts that grow as the file does.
		"growing": {5 * mib, 5*mib + 333, 6*mib + 7, 9*mib + 1, 13*mib + 65535, 1},
		// The manager of aws-sdk-go, version 1, for a size that 10,000 parts must hold: equal parts of an odd size.
		"odd and equal": {5*mib + 1, 5*mib + 1, 5*mib + 1, 5*mib + 1},
		"short alone":   {1234},
		"ends full":     {5 * mib, 5 * mib, 5 * mib},
	}
	crossed(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		for _, name := range slices.Sorted(maps.Keys(shapes)) {
			u, sent := f.upload(t, name), 0
			for _, n := range shapes[name] {
				sent += n
			}
			body := text(sent, canary)
			rest := body
			for _, n := range shapes[name] {
				u.add(t, rest[:n])
				rest = rest[n:]
			}
			u.requireListed(t)
			u.complete(t)
			f.requireObject(t, name, body)
			f.requireParts(t, map[string]int{name: len(shapes[name])})
		}
		f.requireSealed(t, canary)
	})
}

// requireListed looks at the parts as a client that starts again would, but goes on with what it has.
func (u *upload) requireListed(t *testing.T) {
	t.Helper()
	again := *u
	again.resume(t)
	if len(again.parts) != len(u.parts) {
		t.Errorf("%s: %d of %d parts are listed", u.key, len(again.parts), len(u.parts))
	}
}

// TestFlushedParts: the registry of Docker, whose own test is TestRegistry, when it has to go on behind a short part: it completes,
// and begins anew with a copy of what there is, or with its bytes where they are too few for a part.
func TestFlushedParts(t *testing.T) {
	crossed(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		body := text(36<<20+99, canary)
		at := 0
		u := f.upload(t, "layer")
		send := func(n int) {
			u.add(t, body[at:at+n])
			at += n
		}
		send(3 << 20) // flushed
		u.resume(t)
		u.complete(t)
		f.requireObject(t, "layer", body[:at])
		u, at = f.upload(t, "layer"), 0
		send(10 << 20)
		send(10 << 20)
		send(1 << 20) // flushed
		for _, n := range []int{4<<20 + 1, 11<<20 + 98} {
			u.resume(t)
			u.complete(t)
			f.requireObject(t, "layer", body[:at])
			u = f.upload(t, "layer")
			u.copyObject(t, "layer", int64(at))
			send(n)
		}
		u.complete(t)
		f.requireObject(t, "layer", body)
		f.requireSealed(t, canary)
	})
}

// TestFlinkRecovers: Flink keeps the tail of a file that is too short for a part in an object of its own, and goes on with it after
// a failure, with the ETags from its checkpoint.
func TestFlinkRecovers(t *testing.T) {
	crossed(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		body := text(19<<20+4321, canary)
		u := f.upload(t, "file")
		u.add(t, body[:5<<20])
		u.add(t, body[5<<20:11<<20+77])
		tail := "file_tmp_1"
		testbed.Must(u.c.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &f.bucket, Key: &tail, Body: bytes.NewReader(body[11<<20+77 : 13<<20]),
		}))(t)
		u.add(t, body[11<<20+77:17<<20]) // after the checkpoint, and lost

		recovered := *u
		recovered.parts, recovered.c = u.parts[:2:2], f.sdk(t)
		out := testbed.Must(recovered.c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &f.bucket, Key: &tail}))(t)
		recovered.add(t, append(testbed.ReadBody(t, out.Body), body[13<<20:]...))
		recovered.complete(t)
		f.requireObject(t, "file", body)
		testbed.Must(recovered.c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &f.bucket, Key: &tail}))(t)
		if want := []string{"file"}; fmt.Sprint(f.keys(t)) != fmt.Sprint(want) {
			t.Errorf("the store has %q", f.keys(t))
		}
		f.requireSealed(t, canary)
	})
}
