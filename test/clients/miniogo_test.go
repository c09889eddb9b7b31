package clients_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

func (f *front) minioGo(t *testing.T, trailers bool) *minio.Client {
	t.Helper()
	return testbed.Must(minio.New(f.host(), &minio.Options{
		Creds:  credentials.NewStaticV4(f.accessKeyID, f.secretAccessKey, ""),
		Secure: f.ca != "", Transport: f.httpClient(t).Transport, TrailingHeaders: trailers,
	}))(t)
}

// TestMinIOGo: minio-go, which signs each chunk of a body over http and none over https; with trailers, as mc has it, and
// without; of known and of unknown length, which it sends in parts.
func TestMinIOGo(t *testing.T) {
	fronts(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		for _, trailers := range []bool{false, true} {
			c := f.minioGo(t, trailers)
			for _, n := range sizes {
				body := text(n, canary)
				for kind, put := range map[string]struct {
					length int
					body   io.Reader
					minio.PutObjectOptions
				}{
					"known":    {n, bytes.NewReader(body), minio.PutObjectOptions{}},
					"md5":      {n, bytes.NewReader(body), minio.PutObjectOptions{SendContentMd5: true}},
					"unsigned": {n, bytes.NewReader(body), minio.PutObjectOptions{DisableContentSha256: true}},
					"unknown":  {-1, io.MultiReader(bytes.NewReader(body)), minio.PutObjectOptions{PartSize: 5 << 20}},
				} {
					key := fmt.Sprintf("%s/trailers=%v/%d", kind, trailers, n)
					if _, err := c.PutObject(t.Context(), f.bucket, key, put.body, int64(put.length), put.PutObjectOptions); err != nil {
						t.Errorf("%s: %v", key, err)
						continue
					}
					f.requireObject(t, key, body)
				}
			}
		}
		t.Run("listing", func(t *testing.T) { f.minioListing(t, f.minioGo(t, false)) })
		t.Run("seeking", func(t *testing.T) { f.minioSeeking(t, f.minioGo(t, false), canary) })
		f.requireSealed(t, canary)
	})
}

// minioListing lists all objects by minio-go, removes them, and finds none.
func (f *front) minioListing(t *testing.T, c *minio.Client) {
	n, doomed := 0, make(chan minio.ObjectInfo)
	go func() {
		defer close(doomed)
		for o := range c.ListObjects(t.Context(), f.bucket, minio.ListObjectsOptions{Recursive: true, MaxKeys: 7}) {
			if n++; o.Err != nil || !strings.HasSuffix(o.Key, fmt.Sprintf("/%d", o.Size)) {
				t.Errorf("%s is listed with %d bytes (%v)", o.Key, o.Size, o.Err)
			}
			doomed <- o
		}
	}()
	for failed := range c.RemoveObjects(t.Context(), f.bucket, doomed, minio.RemoveObjectsOptions{}) {
		t.Error(failed.Err)
	}
	if left := f.keys(t); n < 8*len(sizes) || len(left) > 0 {
		t.Errorf("%d objects are listed; when they are removed %q are left", n, left)
	}
}

// minioSeeking reads here and there: minio-go asks for each piece with the ETag of the first.
func (f *front) minioSeeking(t *testing.T, c *minio.Client, canary []byte) {
	body := text(11<<20, canary)
	testbed.Must(c.PutObject(t.Context(), f.bucket, "seeking", bytes.NewReader(body), -1, minio.PutObjectOptions{PartSize: 5 << 20}))(t)
	o := testbed.Must(c.GetObject(t.Context(), f.bucket, "seeking", minio.GetObjectOptions{}))(t)
	piece := make([]byte, 1000)
	for _, at := range []int64{0, 5<<20 - 500, 10<<20 - 1, 11<<20 - 1000, 77} {
		testbed.Must(o.Seek(at, io.SeekStart))(t)
		if _, err := io.ReadFull(o, piece); err != nil || !bytes.Equal(piece, body[at:at+1000]) {
			t.Errorf("at %d: altered; %v", at, err)
		}
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

// TestMinIOGoParts: files in parts up and down, and an object composed of others at the proxy.
func TestMinIOGoParts(t *testing.T) {
	crossed(t, func(t *testing.T, f *front) {
		c, s, canary := f.minioGo(t, true), newShell(t), testbed.Canary(t)
		body := text(40<<20+1, canary)
		up, down := s.write(t, "up", body), filepath.Join(s.dir, "down")
		testbed.Must(c.FPutObject(t.Context(), f.bucket, "file", up, minio.PutObjectOptions{PartSize: 8 << 20, ConcurrentStreamParts: true, NumThreads: 4}))(t)
		f.requireObject(t, "file", body)
		if err := c.FGetObject(t.Context(), f.bucket, "file", down, minio.GetObjectOptions{}); err != nil {
			t.Error(err)
		} else if got := testbed.Must(os.ReadFile(down))(t); !bytes.Equal(got, body) {
			t.Errorf("%d bytes, or altered", len(got))
		}

		testbed.Must(c.PutObject(t.Context(), f.bucket, "other", bytes.NewReader(body[:6<<20+9]), 6<<20+9, minio.PutObjectOptions{}))(t)
		dst := minio.CopyDestOptions{Bucket: f.bucket, Object: "composed"}
		testbed.Must(c.ComposeObject(t.Context(), dst,
			minio.CopySrcOptions{Bucket: f.bucket, Object: "other"},
			minio.CopySrcOptions{Bucket: f.bucket, Object: "file", MatchRange: true, Start: 77, End: 30 << 20},
			minio.CopySrcOptions{Bucket: f.bucket, Object: "file"}))(t)
		testbed.Must(c.CopyObject(t.Context(), minio.CopyDestOptions{Bucket: f.bucket, Object: "copy", ReplaceMetadata: true, UserMetadata: map[string]string{"A": "1"}},
			minio.CopySrcOptions{Bucket: f.bucket, Object: "file"}))(t)
		f.requireObject(t, "copy", body)
		if got := testbed.Must(c.StatObject(t.Context(), f.bucket, "copy", minio.StatObjectOptions{}))(t).UserMetadata; got["A"] != "1" {
			t.Errorf("the copy has the metadata %v", got)
		}
		f.requireObject(t, "composed", bytes.Join([][]byte{body[:6<<20+9], body[77 : 30<<20+1], body}, nil))
		f.requireSealed(t, canary)
	})
}
