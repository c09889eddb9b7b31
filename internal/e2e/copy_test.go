package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// copyFrom copies bucket/key to a key of the rig's bucket.
func (r *rig) copyFrom(t testing.TB, source, key string, change func(*s3.CopyObjectInput)) (*s3.CopyObjectOutput, error) {
	t.Helper()
	in := &s3.CopyObjectInput{Bucket: &r.bucket, Key: &key, CopySource: &source}
	if change != nil {
		change(in)
	}
	return r.client.CopyObject(t.Context(), in)
}

// TestCopyMovesNoBody: objects of every layout are copied, also to another bucket and onto themselves; what the proxy sends
// and gets for it is small. Source and copy open.
func TestCopyMovesNoBody(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		other := newRig(t, store, options{kit: r})
		other.bucket = testbed.Bucket(t, store)
		plain := map[string][]byte{"single": pattern(3*frame + 5), "empty": nil}
		for key, body := range plain {
			r.put(t, key, body)
		}
		for name, parts := range multipartLayouts {
			plain[name] = r.putMultipart(t, name, parts...)
		}
		for key, body := range plain {
			source := r.bucket + "/" + key
			r.wire.Reset()
			out, err := r.copyFrom(t, source, "copy of "+key, nil)
			if err != nil {
				t.Errorf("%s: %v", key, err)
				continue
			}
			for _, x := range r.wire.Requests() {
				if x.Size > 0 || x.ResponseSize > 1000 {
					t.Errorf("%s: %s %s moved %d bytes there and %d back", key, x.Method, x.Target, x.Size, x.ResponseSize)
				}
			}
			testbed.Must(other.copyFrom(t, source, key, nil))(t)
			testbed.Must(r.copyFrom(t, source, key, func(in *s3.CopyObjectInput) {
				in.MetadataDirective, in.Metadata = types.MetadataDirectiveReplace, map[string]string{"new": "yes"}
			}))(t)
			for _, from := range []struct {
				*rig
				key string
			}{{r, "copy of " + key}, {other, key}, {r, key}} {
				got, head, err := from.get(t, from.key, "")
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s as %s: %d bytes of %d, %v", key, from.key, len(got), len(body), err)
				}
				if from.key == "copy of "+key && *head.ETag != *out.CopyObjectResult.ETag {
					t.Errorf("%s: ETag %s after %s", key, *head.ETag, *out.CopyObjectResult.ETag)
				}
			}
			sealed, metadata := r.stored(t, "copy of "+key)
			r.putStored(t, "elsewhere", sealed, metadata)
			_, _, err = r.get(t, "elsewhere", "")
			wantCode(t, err, "InternalError")
		}
	})
}

// TestCopyLikeTheStore: directives, metadata, tags, conditions and errors, compared with the store for the same plaintext.
func TestCopyLikeTheStore(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		straight := &rig{client: r.direct, bucket: testbed.Bucket(t, store)}
		yesterday, tomorrow := time.Now().Add(-24*time.Hour), time.Now().Add(24*time.Hour)
		etags := map[*rig]*string{}
		for name, change := range map[string]func(*rig, *s3.CopyObjectInput){
			"as it is":        func(*rig, *s3.CopyObjectInput) {},
			"a leading slash": func(r *rig, in *s3.CopyObjectInput) { in.CopySource = ptr("/" + r.bucket + "/source%20%2B%C3%BC") },
			"ignored metadata": func(_ *rig, in *s3.CopyObjectInput) {
				in.ContentType, in.Metadata = ptr("text/new"), map[string]string{"new": "n"}
			},
			"replaced": func(_ *rig, in *s3.CopyObjectInput) {
				in.MetadataDirective, in.ContentType, in.Metadata = types.MetadataDirectiveReplace, ptr("text/new"), map[string]string{"new": "n"}
				in.CacheControl, in.ContentDisposition, in.ContentEncoding = ptr("no-store"), ptr("inline"), ptr("x-odd")
			},
			"replaced tags": func(_ *rig, in *s3.CopyObjectInput) {
				in.TaggingDirective, in.Tagging = types.TaggingDirectiveReplace, ptr("x=1&y=2")
			},
			"bad directive":         func(_ *rig, in *s3.CopyObjectInput) { in.MetadataDirective = "MOVE" },
			"bad tagging directive": func(_ *rig, in *s3.CopyObjectInput) { in.TaggingDirective = "MOVE" },
			"onto itself":           func(_ *rig, in *s3.CopyObjectInput) { in.Key = ptr("source +ü") },
			"no such key":           func(r *rig, in *s3.CopyObjectInput) { in.CopySource = ptr(r.bucket + "/none") },
			"no such bucket":        func(_ *rig, in *s3.CopyObjectInput) { in.CopySource = ptr("no-such-bucket-here/none") },
			"a matching ETag":       func(r *rig, in *s3.CopyObjectInput) { in.CopySourceIfMatch = etags[r] },
			"another ETag":          func(_ *rig, in *s3.CopyObjectInput) { in.CopySourceIfMatch = ptr(`"0123"`) },
			"not this ETag":         func(r *rig, in *s3.CopyObjectInput) { in.CopySourceIfNoneMatch = etags[r] },
			"not another ETag":      func(_ *rig, in *s3.CopyObjectInput) { in.CopySourceIfNoneMatch = ptr(`"0123"`) },
			"modified since":        func(_ *rig, in *s3.CopyObjectInput) { in.CopySourceIfModifiedSince = &yesterday },
			"not modified since":    func(_ *rig, in *s3.CopyObjectInput) { in.CopySourceIfModifiedSince = &tomorrow },
			"unmodified since":      func(_ *rig, in *s3.CopyObjectInput) { in.CopySourceIfUnmodifiedSince = &tomorrow },
			"not unmodified since":  func(_ *rig, in *s3.CopyObjectInput) { in.CopySourceIfUnmodifiedSince = &yesterday },
			"too much metadata": func(_ *rig, in *s3.CopyObjectInput) {
				in.MetadataDirective, in.Metadata = "REPLACE", map[string]string{"a": strings.Repeat("x", 2100)}
			},
			"a checksum of its own":    func(_ *rig, in *s3.CopyObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 },
			"the checksum that it has": func(_ *rig, in *s3.CopyObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32 },
		} {
			var seen []string
			for _, side := range []*rig{r, straight} {
				etags[side] = testbed.Must(side.client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &side.bucket, Key: ptr("source +ü"), Body: strings.NewReader("body"), ContentType: ptr("text/odd"), CacheControl: ptr("max-age=1"),
					ContentDisposition: ptr("attachment"), ContentLanguage: ptr("de"), Metadata: map[string]string{"m": "v ü"}, Tagging: ptr("a=b&c=d"),
				}))(t).ETag
				_, _ = side.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &side.bucket, Key: ptr("copy")})
				_, err := side.copyFrom(t, side.bucket+"/source%20%2B%C3%BC", "copy", func(in *s3.CopyObjectInput) { change(side, in) })
				seen = append(seen, side.describeCopy(t, err))
			}
			if seen[1] == "NotModified" {
				seen[1] = "PreconditionFailed" // what S3 says of a copy; versitygw takes it for a read
			}
			if diff := cmp.Diff(seen[1], seen[0]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
}

// describeCopy says what a client sees of "copy".
func (r *rig) describeCopy(t *testing.T, err error) string {
	t.Helper()
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	out := testbed.Must(r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("copy")}))(t)
	tags := testbed.Must(r.client.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &r.bucket, Key: ptr("copy")}))(t)
	text := fmt.Sprintf("%q type %q", testbed.ReadBody(t, out.Body), *out.ContentType)
	for _, h := range []*string{out.CacheControl, out.ContentDisposition, out.ContentEncoding, out.ContentLanguage} {
		if h != nil {
			text += ", " + *h
		}
	}
	labels := map[string]string{}
	for _, tag := range tags.TagSet {
		labels[*tag.Key] = *tag.Value
	}
	return fmt.Sprintf("%s, %v, tags %v", text, out.Metadata, labels)
}

// TestCopyVersions: a copy of an older version is that version's content, and says which it was.
func TestCopyVersions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		testbed.Must(r.client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
			Bucket: &r.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		}))(t)
		old := r.put(t, "key", []byte("old"))
		r.put(t, "key", []byte("newer"))
		for _, key := range []string{"copy", "key"} {
			out := testbed.Must(r.copyFrom(t, r.bucket+"/key?versionId="+*old.VersionId, key, nil))(t)
			got, head, err := r.get(t, key, "")
			if err != nil || string(got) != "old" || *out.CopySourceVersionId != *old.VersionId || *out.VersionId != *head.VersionId {
				t.Errorf("%s: %q, from version %s, %v", key, got, *out.CopySourceVersionId, err)
			}
		}
		_, err := r.copyFrom(t, r.bucket+"/key?versionId=none", "copy", nil)
		if err == nil {
			t.Error("a version that is not there was copied")
		}
		for _, source := range []string{r.bucket + "/key?other=x", r.bucket, "a..b/key", "%zz/key", "192.168.1.1/key", r.bucket + "/a/../../key"} {
			_, err = r.copyFrom(t, source, "copy", nil)
			wantCode(t, err, "InvalidArgument")
		}
		marker := testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
		_, err = r.copyFrom(t, r.bucket+"/key?versionId="+*marker.VersionId, "copy", nil)
		wantCode(t, err, "InvalidRequest")
	})
}

// TestCopyChecksum: a copy shows its source's checksum, or the one that is asked for, also where its trailer, which has the source's, is read first.
func TestCopyChecksum(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	body := pattern(2*frame + 1)
	testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: bytes.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmSha1}))(t)
	want := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key"), ChecksumMode: types.ChecksumModeEnabled}))(t)
	digest := sha256.Sum256(body)
	sum := base64.StdEncoding.EncodeToString(digest[:])
	strict := newRig(t, r.store, options{kit: r, proxy: func(c *proxy.Config) { c.Strict = true }})
	for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmSha256} {
		out := testbed.Must(r.copyFrom(t, r.bucket+"/key", "copy", func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = a }))(t)
		for _, reader := range []*rig{r, strict} {
			head := testbed.Must(reader.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("copy"), ChecksumMode: types.ChecksumModeEnabled}))(t)
			switch {
			case a == "" && (head.ChecksumSHA1 == nil || *head.ChecksumSHA1 != *want.ChecksumSHA1):
				t.Errorf("SHA1 %v, want %s", head.ChecksumSHA1, *want.ChecksumSHA1)
			case a != "" && (head.ChecksumSHA256 == nil || *head.ChecksumSHA256 != sum || out.CopyObjectResult.ChecksumSHA256 == nil || *out.CopyObjectResult.ChecksumSHA256 != sum):
				t.Errorf("SHA256 %v, want %s", head.ChecksumSHA256, sum)
			}
		}
	}
	r.putMultipart(t, "parts", multipartLayouts["regular"]...)
	_, err := r.copyFrom(t, r.bucket+"/parts", "copy", func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	wantCode(t, err, "NotImplemented")
}

// TestCopyOfPlaintext: it is refused, or sealed on its way, with its metadata and tags; a copy onto itself seals what is there.
func TestCopyOfPlaintext(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		deny := newRig(t, store, options{})
		allow := newRig(t, store, options{kit: deny, proxy: func(c *proxy.Config) { c.PlaintextReads = true }})
		for _, n := range []int{0, 10, frame, 3*frame + 1} {
			body := pattern(n)
			testbed.Must(deny.direct.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: &deny.bucket, Key: ptr("plain"), Body: bytes.NewReader(body), ContentType: ptr("text/odd"), Metadata: map[string]string{"m": "v"}, Tagging: ptr("a=b+c%2B"),
			}))(t)
			source := deny.bucket + "/plain"
			_, err := deny.copyFrom(t, source, "copy", nil)
			wantCode(t, err, "AccessDenied")
			testbed.Must(allow.copyFrom(t, source, "copy", func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 }))(t)
			got, head, err := deny.get(t, "copy", "")
			if err != nil || !bytes.Equal(got, body) || *head.ContentType != "text/odd" || head.Metadata["m"] != "v" {
				t.Errorf("%d bytes: %d bytes, %v", n, len(got), err)
			}
			tags := testbed.Must(deny.client.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &deny.bucket, Key: ptr("copy")}))(t)
			if len(tags.TagSet) != 1 || *tags.TagSet[0].Value != "b c+" {
				t.Errorf("%d bytes: tags %v", n, tags.TagSet)
			}
			testbed.Must(allow.copyFrom(t, source, "plain", func(in *s3.CopyObjectInput) { in.ServerSideEncryption = types.ServerSideEncryptionAes256 }))(t)
			if got, _, err := deny.get(t, "plain", ""); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, sealed in place: %d bytes, %v", n, len(got), err)
			}
		}
	})
}

// TestCopyRaces: a source that is replaced while it is copied is copied as it is then, or the copy fails; it never gets the
// envelope of another object.
func TestCopyRaces(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		writer := newRig(t, store, options{kit: r})
		r.put(t, "key", []byte("first"))
		for replaced := range 6 {
			left := replaced
			r.wire.AlterRequest(func(req *http.Request) error {
				if req.Method == http.MethodPut && left > 0 {
					left--
					writer.put(t, "key", fmt.Appendf(nil, "replaced %d", left))
				}
				return nil
			})
			_, err := r.copyFrom(t, r.bucket+"/key", "copy", nil)
			r.wire.AlterRequest(nil)
			if err != nil {
				wantCode(t, err, "OperationAborted")
			}
			if want, got := testbed.Must(first(r.get(t, "key", "")))(t), testbed.Must(first(r.get(t, "copy", "")))(t); err == nil && !bytes.Equal(got, want) {
				t.Errorf("replaced %d times: %q is the copy of %q", replaced, got, want)
			}
		}
	})
}

// TestCopyFailsLate: a store may find out that a copy failed when it has said 200. Then nothing was copied.
func TestCopyFailsLate(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", []byte("body"))
	r.wire.AlterResponse(func(resp *http.Response) error {
		if resp.Request.Method == http.MethodPut {
			resp.Body = io.NopCloser(strings.NewReader(" \n<Error><Code>SlowDown</Code><Message>Later.</Message></Error>"))
			resp.Header.Del("Content-Length")
			resp.TransferEncoding = []string{"chunked"}
		}
		return nil
	})
	m := message{method: http.MethodPut, target: "/" + r.bucket + "/copy", hash: sha256hex(""), body: text(""), header: map[string]string{"X-Amz-Copy-Source": r.bucket + "/key"}}
	if a := r.send(t, m); a.status != http.StatusServiceUnavailable || a.Code != "SlowDown" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
