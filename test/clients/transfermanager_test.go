package clients_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	tm "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestTransferManager: the transfer manager of aws-sdk-go-v2 uploads bodies of known and unknown length in parts, of sizes that
// suit sealing and that do not, and reads them by part numbers, which is its default, and by ranges.
func TestTransferManager(t *testing.T) {
	crossed(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		for _, part := range []int64{5 << 20, 5<<20 + 1} {
			m := tm.New(f.sdk(t), func(o *tm.Options) { o.PartSizeBytes, o.MultipartUploadThreshold = part, part })
			for _, n := range []int64{0, 1000, 3*part + 17, 4 * part} {
				body := text(int(n), canary)
				for kind, reader := range map[string]io.Reader{
					"known": bytes.NewReader(body), "unknown": io.MultiReader(bytes.NewReader(body)),
				} {
					key := fmt.Sprintf("%s/%d/%d", kind, part, n)
					if _, err := m.UploadObject(t.Context(), &tm.UploadObjectInput{Bucket: &f.bucket, Key: &key, Body: reader}); err != nil {
						t.Errorf("%s: %v", key, err)
						continue
					}
					f.requireObject(t, key, body)
					f.download(t, m, key, body)
				}
			}
		}
		f.requireSealed(t, canary)
	})
}

// download reads an object in both ways, into a buffer and as a stream.
func (f *front) download(t *testing.T, m *tm.Client, key string, want []byte) {
	t.Helper()
	for _, how := range []types.GetObjectType{types.GetObjectParts, types.GetObjectRanges} {
		got := types.NewWriteAtBuffer(nil)
		in := &tm.DownloadObjectInput{Bucket: &f.bucket, Key: &key, WriterAt: got}
		if _, err := m.DownloadObject(t.Context(), in, func(o *tm.Options) { o.GetObjectType = how }); err != nil {
			t.Errorf("%s, by %s: %v", key, how, err)
		} else if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s, by %s: %d bytes, or altered", key, how, len(got.Bytes()))
		}
		out, err := m.GetObject(t.Context(), &tm.GetObjectInput{Bucket: &f.bucket, Key: &key}, func(o *tm.Options) { o.GetObjectType = how })
		if err != nil {
			t.Errorf("a stream of %s, by %s: %v", key, how, err)
			continue
		}
		if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, want) {
			t.Errorf("a stream of %s, by %s: %d bytes, or altered; %v", key, how, len(got), err)
		}
	}
}

// TestTransferManagerDirectory: a folder, up and down.
func TestTransferManagerDirectory(t *testing.T) {
	fronts(t, func(t *testing.T, f *front) {
		s, m, canary := newShell(t), tm.New(f.sdk(t)), testbed.Canary(t)
		s.writeTree(t, canary)
		s.write(t, "up/parts", text(20<<20+3, canary)) // above the default threshold
		up, down := filepath.Join(s.dir, "up"), filepath.Join(s.dir, "down")
		if err := os.Mkdir(down, 0o700); err != nil {
			t.Fatal(err)
		}
		testbed.Must(m.UploadDirectory(t.Context(), &tm.UploadDirectoryInput{
			Bucket: &f.bucket, Source: &up, KeyPrefix: aws.String("tree"), Recursive: aws.Bool(true),
		}))(t)
		testbed.Must(m.DownloadDirectory(t.Context(), &tm.DownloadDirectoryInput{
			Bucket: &f.bucket, Destination: &down, KeyPrefix: aws.String("tree/"),
		}))(t)
		if diff := cmp.Diff(s.tree(t, "up"), s.tree(t, "down")); diff != "" {
			t.Error(diff)
		}
		f.requireSealed(t, canary)
	})
}
