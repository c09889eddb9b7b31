package clients_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// sdk gives a client of aws-sdk-go-v2 with the SDK's own defaults, retries and checksums among them.
func (f *front) sdk(t *testing.T) *s3.Client {
	t.Helper()
	cfg := testbed.Must(config.LoadDefaultConfig(t.Context(),
		config.WithRegion(f.region), config.WithHTTPClient(f.httpClient(t)),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(f.accessKeyID, f.secretAccessKey, ""))))(t)
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle, o.DisableLogOutputChecksumValidationSkipped = &f.url, true, true
	})
}

// requireObject fails the test unless an object is what it should be, wherever a client looks: in a GET, whose checksum the
// SDK verifies, in a HEAD, and in a listing.
func (f *front) requireObject(t *testing.T, key string, want []byte) {
	t.Helper()
	c := f.sdk(t)
	out := testbed.Must(c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &f.bucket, Key: &key}))(t)
	if got := testbed.ReadBody(t, out.Body); !bytes.Equal(got, want) {
		t.Errorf("%s of %d bytes comes back with %d, or altered", key, len(want), len(got))
	}
	head := testbed.Must(c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &f.bucket, Key: &key}))(t)
	list := testbed.Must(c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &f.bucket, Prefix: &key}))(t)
	i := slices.IndexFunc(list.Contents, func(o types.Object) bool { return *o.Key == key })
	if i < 0 {
		t.Fatalf("%s is not listed", key)
	}
	if n, listed := *head.ContentLength, *list.Contents[i].Size; n != int64(len(want)) || listed != n {
		t.Errorf("%s of %d bytes has %d by HEAD and %d in a listing", key, len(want), n, listed)
	}
	if get, listed := *out.ETag, *list.Contents[i].ETag; get != *head.ETag || listed != get {
		t.Errorf("%s has the ETags %s, %s by HEAD, and %s in a listing", key, get, *head.ETag, listed)
	}
}

// TestAWSSDK: aws-sdk-go-v2 as it comes. What it sends of a body differs by scheme, by kind of body and by option: hashed,
// unsigned, and chunked with a trailer.
func TestAWSSDK(t *testing.T) {
	fronts(t, func(t *testing.T, f *front) {
		c, canary := f.sdk(t), testbed.Canary(t)
		for _, n := range sizes {
			body := text(n, canary)
			put := func(kind string, body io.Reader, in s3.PutObjectInput, opts ...func(*s3.Options)) {
				key := fmt.Sprintf("%s/%d", kind, n)
				in.Bucket, in.Key, in.Body = &f.bucket, &key, body
				if _, err := c.PutObject(t.Context(), &in, opts...); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
			put("seekable", bytes.NewReader(body), s3.PutObjectInput{})
			put("unsigned", bytes.NewReader(body), s3.PutObjectInput{}, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
			kinds := []string{"seekable", "unsigned"}
			for _, a := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"} { // the SDK computes no others
				put(string(a), bytes.NewReader(body), s3.PutObjectInput{ChecksumAlgorithm: a})
				kinds = append(kinds, string(a))
			}
			if f.ca != "" { // over http the SDK must read a body twice
				put("stream", io.MultiReader(bytes.NewReader(body)), s3.PutObjectInput{ContentLength: aws.Int64(int64(n))})
				kinds = append(kinds, "stream")
			}
			for _, kind := range kinds {
				f.requireObject(t, fmt.Sprintf("%s/%d", kind, n), body)
			}
		}
		t.Run("listing", func(t *testing.T) { f.sdkListing(t, c) })
		t.Run("conditions", func(t *testing.T) { f.sdkConditions(t, c) })
		t.Run("presigned", func(t *testing.T) { f.sdkPresigned(t, c, canary) })
		t.Run("parts", func(t *testing.T) { f.sdkParts(t, c, canary) })
		f.requireSealed(t, canary)
	})
}

// sdkListing reads the listing page by page, and deletes what it lists.
func (f *front) sdkListing(t *testing.T, c *s3.Client) {
	n := 0
	for pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &f.bucket, MaxKeys: aws.Int32(7)}); pages.HasMorePages(); {
		for _, o := range testbed.Must(pages.NextPage(t.Context()))(t).Contents {
			if n++; !strings.HasSuffix(*o.Key, fmt.Sprintf("/%d", *o.Size)) {
				t.Errorf("%s is listed with %d bytes", *o.Key, *o.Size)
			}
		}
	}
	if n < 3*len(sizes) {
		t.Errorf("%d objects are listed", n)
	}
	gone := []types.ObjectIdentifier{{Key: aws.String("seekable/0")}, {Key: aws.String("seekable/1")}}
	testbed.Must(c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &f.bucket, Delete: &types.Delete{Objects: gone}}))(t)
	_, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &f.bucket, Key: gone[0].Key})
	if none := new(types.NotFound); !errors.As(err, &none) {
		t.Errorf("a deleted object: %v", err)
	}
}

func (f *front) sdkConditions(t *testing.T, c *s3.Client) {
	key, ctx := "conditions", t.Context()
	first := testbed.Must(c.PutObject(ctx, &s3.PutObjectInput{Bucket: &f.bucket, Key: &key, Body: strings.NewReader("one")}))(t)
	failed := func(err error) bool {
		var e smithy.APIError
		return errors.As(err, &e) && e.ErrorCode() == "PreconditionFailed"
	}
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &f.bucket, Key: &key, IfNoneMatch: aws.String("*")}); !failed(err) {
		t.Errorf("If-None-Match: *, and it is there: %v", err)
	}
	testbed.Must(c.PutObject(ctx, &s3.PutObjectInput{Bucket: &f.bucket, Key: &key, Body: strings.NewReader("two"), IfMatch: first.ETag}))(t)
	if _, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.bucket, Key: &key, IfMatch: first.ETag}); !failed(err) {
		t.Errorf("If-Match of what is gone: %v", err)
	}
	f.requireObject(t, key, []byte("two"))
	testbed.Must(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &f.bucket, Key: &key}))(t)
}

// sdkPresigned uses URLs as a browser does, which knows nothing of S3.
func (f *front) sdkPresigned(t *testing.T, c *s3.Client, canary []byte) {
	key, body, p := "presigned by ü", text(3*frame+5, canary), s3.NewPresignClient(c)
	put := testbed.Must(p.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &f.bucket, Key: &key}))(t)
	req := testbed.Must(http.NewRequestWithContext(t.Context(), put.Method, put.URL, bytes.NewReader(body)))(t)
	resp := testbed.Must(f.httpClient(t).Do(req))(t)
	if said := testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, said)
	}
	read := testbed.Must(p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &f.bucket, Key: &key}))(t)
	resp, got := get(t, f.httpClient(t), read.URL, http.Header{"Range": {"bytes=65535-65536"}})
	if resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, body[65535:65537]) {
		t.Errorf("%s, %x", resp.Status, got)
	}
	f.requireObject(t, key, body)
}

// sdkParts makes an object of parts call by call, and looks at the upload on the way.
func (f *front) sdkParts(t *testing.T, c *s3.Client, canary []byte) {
	key, body, ctx := "made of parts/ü", text(10<<20+777, canary), t.Context()
	up := testbed.Must(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &f.bucket, Key: &key}))(t)
	var done []types.CompletedPart
	for i, piece := range [][]byte{body[:5<<20], body[5<<20 : 10<<20], body[10<<20:]} {
		number := aws.Int32(int32(i + 1))
		out := testbed.Must(c.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &f.bucket, Key: &key, UploadId: up.UploadId, PartNumber: number, Body: bytes.NewReader(piece),
		}))(t)
		done = append(done, types.CompletedPart{PartNumber: number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	}
	uploads := testbed.Must(c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &f.bucket, Prefix: &key}))(t).Uploads
	if len(uploads) != 1 || *uploads[0].Key != key || *uploads[0].UploadId != *up.UploadId {
		t.Errorf("the uploads are %v", uploads)
	}
	var listed []int64
	for _, p := range testbed.Must(c.ListParts(ctx, &s3.ListPartsInput{Bucket: &f.bucket, Key: &key, UploadId: up.UploadId}))(t).Parts {
		listed = append(listed, *p.Size)
	}
	if !slices.Equal(listed, []int64{5 << 20, 5 << 20, 777}) {
		t.Errorf("the parts listed have %d bytes", listed)
	}
	out := testbed.Must(c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &f.bucket, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	}))(t)
	if want := f.url + "/" + f.bucket + "/" + strings.ReplaceAll(url.PathEscape(key), "%2F", "/"); *out.Location != want {
		t.Errorf("the object is at %s, says the answer, not %s", *out.Location, want)
	}
	f.requireObject(t, key, body)
	second := testbed.Must(c.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.bucket, Key: &key, PartNumber: aws.Int32(2)}))(t)
	if got := testbed.ReadBody(t, second.Body); !bytes.Equal(got, body[5<<20:10<<20]) || *second.PartsCount != 3 {
		t.Errorf("part 2 of %d has %d bytes", *second.PartsCount, len(got))
	}
}
