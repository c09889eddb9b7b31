package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestHeadOfNothingIgnoresSuffix: the last bytes of an empty object are no error in a HEAD.
func TestHeadOfNothingIgnoresSuffix(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		r.put(t, "empty", nil)
		for header, ok := range map[string]bool{"bytes=-1": true, "bytes=-0": false, "bytes=0-": false, "bytes=0-0": false} {
			out, err := r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("empty"), Range: &header})
			if (err == nil) != ok || ok && (*out.ContentLength != 0 || out.ContentRange != nil) {
				t.Errorf("%s: %v", header, err)
			}
		}
	})
}

// TestChunksAreForObjects: S3 takes a body in chunks for an object or a part alone.
func TestChunksAreForObjects(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.wire.Reset()
	for _, query := range []string{"cors", "tagging", "versioning", "policy"} {
		m := r.streamed("?"+query, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", []byte("<x/>"), checksum.CRC32)
		if a := r.send(t, m); a.status != http.StatusBadRequest || a.Code != "InvalidRequest" {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	if n := len(r.wire.Requests()); n != 0 {
		t.Errorf("%d requests went to the store", n)
	}
}

// TestCopyIsCheckedFirst: what is wrong with a copy by itself is told whether or not it would matter.
func TestCopyIsCheckedFirst(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", pattern(10))
	r.wire.Reset()
	_, err := r.copyFrom(t, r.bucket+"/key", "key", func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = "CRC16" })
	wantCode(t, err, "InvalidRequest")
	if !strings.Contains(err.Error(), "Checksum algorithm provided is unsupported") {
		t.Error(err)
	}
	_, err = r.copyFrom(t, r.bucket+"/key", "copy", func(in *s3.CopyObjectInput) { in.Metadata = map[string]string{"m": strings.Repeat("v", 2048)} })
	wantCode(t, err, "MetadataTooLarge")
	if n := len(r.wire.Requests()); n != 0 {
		t.Errorf("%d requests went to the store", n)
	}
}
