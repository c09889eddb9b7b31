package clients_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/parquet-go/parquet-go"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// remoteFile is an object as query engines read it: by ranges, as long as the listing says, and only while it has the listing's ETag.
type remoteFile struct {
	t      *testing.T
	c      *s3.Client
	bucket string
	key    *string
	etag   *string
	size   int64
	read   int64
}

// remoteFile finds an object by a listing, and by nothing else.
func (f *front) remoteFile(t *testing.T, key string) *remoteFile {
	t.Helper()
	c := f.sdk(t)
	list := testbed.Must(c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &f.bucket, Prefix: &key}))(t).Contents
	if len(list) != 1 {
		t.Fatalf("%d objects are listed", len(list))
	}
	return &remoteFile{t, c, f.bucket, list[0].Key, list[0].ETag, *list[0].Size, 0}
}

func (r *remoteFile) ReadAt(p []byte, at int64) (int, error) {
	n := min(int64(len(p)), r.size-at)
	if n <= 0 {
		return 0, io.EOF
	}
	out, err := r.c.GetObject(r.t.Context(), &s3.GetObjectInput{
		Bucket: &r.bucket, Key: r.key, IfMatch: r.etag, Range: aws.String(fmt.Sprintf("bytes=%d-%d", at, at+n-1)),
	})
	if err != nil {
		return 0, err
	}
	read, err := io.ReadFull(out.Body, p[:n])
	r.read += int64(read)
	if err = errors.Join(err, out.Body.Close()); err == nil && n < int64(len(p)) {
		err = io.EOF
	}
	return read, err
}

type measurement struct {
	ID    int64
	Note  string
	Value float64
}

// TestParquet: a columnar file, whose directory stands at its end. A reader that has only the listing and ranges finds it there,
// and reads of one column, or the last rows, not much more than those.
func TestParquet(t *testing.T) {
	const rows, group = 60_000, 7_000
	crossed(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		note := func(i int) string { return fmt.Sprintf("%s-%040d", canary, i) }
		var file bytes.Buffer
		w := parquet.NewGenericWriter[measurement](&file, parquet.MaxRowsPerRowGroup(group))
		for i := range rows {
			testbed.Must(w.Write([]measurement{{int64(i), note(i), float64(i) / 2}}))(t)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		testbed.Must(f.sdk(t).PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &f.bucket, Key: aws.String("one.parquet"), Body: bytes.NewReader(file.Bytes()),
		}))(t)
		u := f.upload(t, "parts.parquet")
		u.add(t, file.Bytes()[:5<<20+12345])
		u.add(t, file.Bytes()[5<<20+12345:])
		u.complete(t)

		for _, key := range []string{"one.parquet", "parts.parquet"} {
			remote := f.remoteFile(t, key)
			opened := testbed.Must(parquet.OpenFile(remote, remote.size, parquet.ReadBufferSize(frame)))(t)
			if opened.NumRows() != rows {
				t.Errorf("%s has %d rows", key, opened.NumRows())
			}
			sum := 0.0
			for _, row := range readRows[struct{ Value float64 }](t, opened, 0) {
				sum += row.Value
			}
			if want := float64(rows) * (rows - 1) / 4; sum != want || remote.read > remote.size/2 {
				t.Errorf("%s: the sum of a column is %v, not %v, for %d bytes of %d", key, sum, want, remote.read, remote.size)
			}
			last := readRows[measurement](t, opened, rows-10)
			if len(last) != 10 || last[9] != (measurement{rows - 1, note(rows - 1), float64(rows-1) / 2}) {
				t.Errorf("%s: the last rows are %v", key, last)
			}
		}
		f.requireSealed(t, canary)
	})
}

// readRows reads the columns that T has, from a row to the end.
func readRows[T any](t *testing.T, file *parquet.File, from int64) []T {
	t.Helper()
	r := parquet.NewGenericReader[T](file)
	if err := r.SeekToRow(from); err != nil {
		t.Fatal(err)
	}
	rows := make([]T, file.NumRows()-from)
	for n := 0; n < len(rows); {
		read, err := r.Read(rows[n:])
		if n += read; err != nil && (!errors.Is(err, io.EOF) || n < len(rows)) {
			t.Fatalf("after %d rows: %v", n, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	return rows
}
