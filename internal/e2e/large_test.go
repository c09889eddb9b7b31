package e2e_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// content is bytes without end that can be read from anywhere; no two frames of it are alike.
type content struct{}

var contentFrame = pattern(frame)

func (content) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := (off + int64(n)) % frame
		copied := copy(p[n:], contentFrame[at:])
		number := binary.BigEndian.AppendUint64(nil, uint64((off+int64(n))/frame))
		copy(p[n:n+copied], number[min(at, 8):])
		n += copied
	}
	return len(p), nil
}

// checkContent reads r to its end, which must be the n bytes at off.
func checkContent(r io.Reader, off, n int64) error {
	got, want := make([]byte, 4*frame), make([]byte, 4*frame)
	for at := off; ; {
		read, err := io.ReadFull(r, got)
		if _, err := (content{}).ReadAt(want[:read], at); err != nil {
			return err
		}
		if !bytes.Equal(got[:read], want[:read]) {
			return fmt.Errorf("other bytes behind %d", at)
		}
		if at += int64(read); err == nil {
			continue
		}
		if at != off+n || err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("%d bytes of %d, %w", at-off, n, err)
		}
		return nil
	}
}

// TestParallelPartsInLittleMemory: 16 parts of 64 MiB at once, and as many under 5 MiB, which have a stash each.
func TestParallelPartsInLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 1 GiB; run without -short")
	}
	const parts, size, short = 16, 64 << 20, 4 << 20
	store := testbed.Store(t)
	bucket := testbed.Bucket(t, store)
	p := startProcess(t, store, buildBinary(t), newKeyring(t))
	r := &rig{store: store, client: p.client, bucket: bucket}
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
	done := make([]types.CompletedPart, 2*parts)
	var group errgroup.Group
	for i := range done {
		n := int64(size)
		if i >= parts {
			n = short
		}
		group.Go(func() (err error) {
			body := io.NewSectionReader(content{}, int64(i)*size, n)
			done[i], err = partOf{bucket, "key", id, i + 1}.stream(t.Context(), p.client, body, n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	testbed.Must(r.complete(t, "key", id, done[:parts+1]...))(t)
	p.checkPeak(t)
	out := testbed.Must(p.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: ptr("key")}))(t)
	if err := checkContent(out.Body, 0, parts*size+short); err != nil {
		t.Error(err)
	}
}

// TestOver5GiB: an object that no single request could carry, nor copy when it gets another key.
func TestOver5GiB(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("moves 7 GiB; run without -short")
	}
	const parts, size, last = 6, 900 << 20, 900<<20 - 12345
	const total = (parts-1)*size + last
	store := testbed.Store(t)
	needDisk(t, store.Dir, 3*total)
	keyring := newKeyring(t)
	r := &rig{store: store, client: startProcess(t, store, buildBinary(t), keyring).client, bucket: testbed.Bucket(t, store), keyring: keyring}
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
	done := make([]types.CompletedPart, parts)
	var group errgroup.Group
	group.SetLimit(2)
	for i := range done {
		n := min(size, total-int64(i)*size)
		group.Go(func() (err error) {
			done[i], err = partOf{r.bucket, "key", id, i + 1}.stream(t.Context(), r.client, io.NewSectionReader(content{}, int64(i)*size, n), n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	testbed.Must(r.complete(t, "key", id, done...))(t)

	head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
	list := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
	if *head.ContentLength != total || len(list.Contents) != 1 || *list.Contents[0].Size != total {
		t.Errorf("HEAD says %d, the listing %v", *head.ContentLength, list.Contents)
	}
	for _, at := range []int64{0, size - 3*frame/2, 3*size - 1, 5*size - frame, 5<<30 - 7, total - 3*frame} {
		checkRange(t, r, fmt.Sprintf("bytes=%d-%d", at, at+3*frame-1), at, 3*frame)
	}
	checkRange(t, r, "bytes=-100000", total-100000, 100000)
	checkRange(t, r, fmt.Sprintf("bytes=%d-", total-50<<20), total-50<<20, 50<<20)
	out := testbed.Must(r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key"), PartNumber: ptr(int32(parts))}))(t)
	if err := checkContent(out.Body, (parts-1)*size, last); err != nil || *out.PartsCount != parts {
		t.Errorf("the last part, of %d: %v", *out.PartsCount, err)
	}

	createKey(t, keyring, "other")
	again := newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.KeyID, c.ReadKeyIDs = "other", []string{"default"} }})
	again.upstream.ResponseHeaderTimeout = 5 * time.Minute
	again.wantRewrapped(t, proxy.Rewrapping{Keys: map[string]string{"default": "other"}}, proxy.Tally{Done: 1})
	if got, err := newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.KeyID = "other" }}).verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func checkRange(t *testing.T, r *rig, byteRange string, off, n int64) {
	t.Helper()
	out := testbed.Must(r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key"), Range: &byteRange}))(t)
	if err := checkContent(out.Body, off, n); err != nil {
		t.Errorf("%s: %v", byteRange, err)
	}
}

// needDisk skips the test where there are not so many bytes free.
func needDisk(t *testing.T, dir string, n uint64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Skipf("free disk is not known: %v", err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < n {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%d GiB are free, %d are needed", free>>30, n>>30)
		}
		t.Skipf("%d GiB are free, %d are needed", free>>30, n>>30)
	}
}

// TestTenThousandParts: an upload of exactly 10,000 parts, as the SDK for Go makes of what is larger than 10,000 of its parts:
// of total/10000 + 1 bytes each.
func TestTenThousandParts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("sends 10,000 parts; run without -short")
	}
	const parts, size = 10_000, 101
	plain := pattern((parts-1)*size + 7)
	store := testbed.SmallParts(t)
	r := newRig(t, store, options{proxy: func(c *proxy.Config) {
		c.MinPartSize, c.Transport = size, &http.Transport{MaxIdleConnsPerHost: 8} // the rig's own gives up early
	}})
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
	done, bodies := make([]types.CompletedPart, parts), slices.Collect(slices.Chunk(plain, size))
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < parts; i += 8 {
				done[i] = r.sendPart(t, "key", id, i+1, bodies[i], "")
			}
		})
	}
	wg.Wait()

	pages, listed := s3.NewListPartsPaginator(r.client, &s3.ListPartsInput{Bucket: &r.bucket, Key: ptr("key"), UploadId: &id}), 0
	for pages.HasMorePages() {
		for _, p := range testbed.Must(pages.NextPage(t.Context()))(t).Parts {
			if listed++; int(*p.PartNumber) != listed || *p.Size != int64(len(bodies[listed-1])) {
				t.Fatalf("part %d of %d bytes is listed as number %d", *p.PartNumber, *p.Size, listed)
			}
		}
	}
	for range 2 { // the second finds what the first has made
		testbed.Must(r.complete(t, "key", id, done...))(t)
	}

	fresh := newRig(t, store, options{kit: r})
	for _, r := range []*rig{r, fresh} {
		got, out, err := r.get(t, "key", "")
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes of %d, %v", len(got), len(plain), err)
		}
		list := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
		if len(list.Contents) != 1 || *list.Contents[0].Size != int64(len(plain)) || *list.Contents[0].ETag != *out.ETag {
			t.Errorf("listed: %v", list.Contents)
		}
		for _, number := range []int32{1, 2, 5000, 9999, 10_000} {
			out := testbed.Must(r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key"), PartNumber: &number}))(t)
			if got := testbed.ReadBody(t, out.Body); !bytes.Equal(got, bodies[number-1]) || *out.PartsCount != parts {
				t.Errorf("part %d of %d: %d bytes", number, *out.PartsCount, len(got))
			}
		}
		for _, at := range []int{0, 100, 9998*size - 1, 9999*size - 1, 5000*size + 50} {
			if got, _, err := r.get(t, "key", fmt.Sprintf("bytes=%d-%d", at, at+5)); err != nil || !bytes.Equal(got, plain[at:at+6]) {
				t.Errorf("6 bytes at %d: %d bytes, %v", at, len(got), err)
			}
		}
	}
}

// TestETagOfPart10000: a client's own part of the last number has a stash alone, and needs its ETag as any other.
func TestETagOfPart10000(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
		one := r.sendPart(t, "key", id, 1, pattern(mib5), "")
		last := r.sendPart(t, "key", id, 10_000, pattern(100), "")
		for _, etag := range []string{*one.ETag, `"00112233445566778899aabbccddeeff"`, `"00112233445566778899aabbccddeeff-sse"`} {
			_, err := r.complete(t, "key", id, one, types.CompletedPart{PartNumber: last.PartNumber, ETag: &etag})
			wantCode(t, err, "InvalidPart")
		}
		testbed.Must(r.complete(t, "key", id, one, last))(t)
	})
}

// TestNoMoreThanTheFramesOfParts: a range of a multipart object costs the frames that it touches, in whichever parts, and the first
// one a trailer. An irregular object is asked for twice: first where a regular one's frames would be. A suffix is asked for
// with room for a trailer behind it.
func TestNoMoreThanTheFramesOfParts(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for name, parts := range multipartLayouts {
		plain := r.putMultipart(t, "key", parts...)
		fresh := newRig(t, r.store, options{kit: r})
		irregular := envelope.IsIrregularSize(r.storedSize(t, "key"))
		trailer := int64(64 << 10)
		for at := 0; len(plain) > 0 && len(parts) > 0; at, parts = at+parts[0].size, parts[1:] {
			for _, byteRange := range [][2]int{{at, at}, {at - 1, at}, {at + frame, at + frame}, {at - frame - 1, at + 2*frame}, {at - 100, len(plain) - 1}} {
				from, to := max(0, byteRange[0]), min(byteRange[1], len(plain)-1)
				if from > to {
					continue
				}
				for _, suffix := range []bool{false, true} {
					header := fmt.Sprintf("bytes=%d-%d", from, to)
					most := touched(multipartLayouts[name], from, to)*sealedFrame + 12 + trailer // 12: the attempt of an unbound part
					if suffix {
						header, to = fmt.Sprintf("bytes=-%d", len(plain)-from), len(plain)-1
						most = touched(multipartLayouts[name], from, to)*sealedFrame + 12 + 2*sealedFrame + 50<<10 + trailer
					}
					if irregular {
						most += int64(to/frame-from/frame+1) * sealedFrame
					}
					trailer = 0
					fresh.wire.Reset()
					if got, _, err := fresh.get(t, "key", header); err != nil || !bytes.Equal(got, plain[from:to+1]) {
						t.Fatalf("%s, %s: %d bytes, %v", name, header, len(got), err)
					}
					total := int64(0)
					for _, x := range fresh.wire.Requests() {
						total += x.ResponseSize
					}
					if total > most {
						t.Errorf("%s, %s: %d bytes from the store, at most %d are needed", name, header, total, most)
					}
				}
			}
		}
	}
}

// touched counts the frames of parts that the bytes from one to another are in.
func touched(parts []part, from, to int) (n int64) {
	for _, p := range parts {
		if first, last := max(from, 0), min(to, p.size-1); first <= last {
			n += int64(last/frame - first/frame + 1)
		}
		from, to = from-p.size, to-p.size
	}
	return n
}

func (r *rig) storedSize(t *testing.T, key string) int64 {
	t.Helper()
	return *testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key}))(t).ContentLength
}
