package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

var sizes = []int{0, 1, 100, frame - 1, frame, frame + 1, 2 * frame, 3*frame + 5, 5<<20 + 1}

// TestRoundTrip: the SDK with its defaults, over http (signed payloads) and https (unsigned chunks with a trailer), on every
// store; what comes back is what went in, and the store has nothing of it in plain.
func TestRoundTrip(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		for _, tls := range []bool{false, true} {
			t.Run(fmt.Sprintf("tls=%v", tls), func(t *testing.T) {
				r := newRig(t, store, options{tls: tls})
				canary := testbed.Canary(t)
				for _, n := range sizes {
					key, body := fmt.Sprintf("dir/object %d+ü", n), pattern(n)
					if n > 100 {
						copy(body[n/2:], canary)
					}
					put := r.put(t, key, body)
					got, out, err := r.get(t, key, "")
					if err != nil || !bytes.Equal(got, body) || *out.ContentLength != int64(n) || *out.ETag != *put.ETag {
						t.Fatalf("%d bytes: got %d, length %d, %v", n, len(got), *out.ContentLength, err)
					}
					head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key}))(t)
					if *head.ContentLength != int64(n) || *head.ETag != *put.ETag {
						t.Fatalf("%d bytes: HEAD says %d, ETag %s after %s", n, *head.ContentLength, *head.ETag, *put.ETag)
					}
					if sealed, _ := r.stored(t, key); int64(len(sealed)) != envelope.SealedSize(int64(n)) {
						t.Fatalf("%d bytes: %d are stored", n, len(sealed))
					}
				}
				testbed.RequireAbsent(t, store.Dir, canary)
				testbed.RequireAbsent(t, store.Dir, []byte(secretKey))
			})
		}
	})
}

// TestOneRequest: whatever a client reads of an object, and whatever page it lists, the store sees one request.
func TestOneRequest(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	body := pattern(5*frame + 17)
	r.put(t, "key", body)
	for i := range 5 {
		r.put(t, fmt.Sprintf("more/%d", i), body[:i*1000])
	}
	count := func(what string, f func()) {
		t.Helper()
		r.wire.Reset()
		f()
		if n := len(r.wire.Requests()); n != 1 {
			t.Errorf("%s: %d requests to the store", what, n)
		}
	}
	for _, byteRange := range []string{"", "bytes=0-0", "bytes=65535-65536", "bytes=100-", "bytes=-1", "bytes=-70000", "bytes=0-9999999", "bytes=327696-", "bytes=-9999999"} {
		count("GET "+byteRange, func() { testbed.Must(first(r.get(t, "key", byteRange)))(t) })
	}
	count("HEAD", func() {
		testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
	})
	count("GET of nothing", func() { _, _, err := r.get(t, "none", ""); wantCode(t, err, "NoSuchKey") })
	count("ListObjectsV2", func() {
		testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
	})
	count("ListObjects", func() {
		testbed.Must(r.client.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: &r.bucket}))(t)
	})
	count("ListObjectVersions", func() {
		testbed.Must(r.client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket}))(t)
	})
	count("PUT", func() { r.put(t, "key", body) })
	count("HEAD with checksum of a small object", func() {
		testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("more/1"), ChecksumMode: types.ChecksumModeEnabled}))(t)
	})
}

func first(b []byte, _ *s3.GetObjectOutput, err error) ([]byte, error) { return b, err }

// TestNoMoreThanTheFrames: a range costs the frames that it touches, and for an open or suffix range a trailer.
func TestNoMoreThanTheFrames(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", pattern(40*frame))
	for byteRange, most := range map[string]int64{"bytes=0-0": frame + 28, "bytes=70000-70001": frame + 28, "bytes=65535-65536": 2 * (frame + 28), "bytes=-1": 2*(frame+28) + 50<<10} {
		r.wire.Reset()
		testbed.Must(first(r.get(t, "key", byteRange)))(t)
		if got := r.wire.Requests()[0].ResponseSize; got > most {
			t.Errorf("%s: %d bytes from the store, at most %d are needed", byteRange, got, most)
		}
	}
}

// TestListings: every listing shows plaintext sizes and the ETag that PUT, HEAD and GET show.
func TestListings(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		type object struct {
			Size int64
			ETag string
		}
		want := make(map[string]object)
		for _, n := range sizes {
			key := fmt.Sprintf("a&b/%d <ü>", n)
			want[key] = object{int64(n), *r.put(t, key, pattern(n)).ETag}
		}
		for _, encoding := range []types.EncodingType{"", types.EncodingTypeUrl} {
			v2, v1, versions := map[string]object{}, map[string]object{}, map[string]object{}
			l2 := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket, EncodingType: encoding}))(t)
			for _, o := range l2.Contents {
				v2[decoded(t, *o.Key, encoding)] = object{*o.Size, *o.ETag}
			}
			l1 := testbed.Must(r.client.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: &r.bucket, EncodingType: encoding}))(t)
			for _, o := range l1.Contents {
				v1[decoded(t, *o.Key, encoding)] = object{*o.Size, *o.ETag}
			}
			lv := testbed.Must(r.client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket, EncodingType: encoding}))(t)
			for _, o := range lv.Versions {
				versions[decoded(t, *o.Key, encoding)] = object{*o.Size, *o.ETag}
			}
			for name, got := range map[string]map[string]object{"ListObjectsV2": v2, "ListObjects": v1, "ListObjectVersions": versions} {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, encoding %q: %s", name, encoding, diff)
				}
			}
		}
	})
}

// TestHeadersSurvive: what a client says about an object comes back byte for byte, and nothing that is not its own.
func TestHeadersSurvive(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &r.bucket, Key: ptr("key"), Body: strings.NewReader("body"), ContentType: ptr("text/x-odd; charset=utf-8"),
			CacheControl: ptr("no-cache, max-age=7"), ContentDisposition: ptr(`attachment; filename="a b.txt"`), ContentEncoding: ptr("gzip"),
			ContentLanguage: ptr("de, en"), Expires: &expires, Metadata: map[string]string{"one": "1  two", "x-y_z": "=?UTF-8?B?w7w=?="},
		}))(t)
		_, got, err := r.get(t, "key", "")
		if err != nil {
			t.Fatal(err)
		}
		head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
		direct := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
		delete(direct.Metadata, "sseproxy")
		for name, h := range map[string]map[string]string{"GET": got.Metadata, "HEAD": head.Metadata} {
			if diff := cmp.Diff(direct.Metadata, h); diff != "" || len(h) != 2 {
				t.Errorf("%s: metadata %s", name, diff)
			}
		}
		for _, pair := range [][2]*string{
			{got.ContentType, ptr("text/x-odd; charset=utf-8")},
			{got.CacheControl, ptr("no-cache, max-age=7")},
			{got.ContentDisposition, ptr(`attachment; filename="a b.txt"`)},
			{got.ContentEncoding, ptr("gzip")},
			{got.ContentLanguage, ptr("de, en")},
			{head.ContentType, got.ContentType},
			{head.CacheControl, got.CacheControl},
			{head.ExpiresString, got.ExpiresString},
		} {
			if pair[0] == nil || pair[1] == nil || *pair[0] != *pair[1] {
				t.Errorf("header %v, want %v", pair[0], *pair[1])
			}
		}
		if got.ServerSideEncryption != types.ServerSideEncryptionAes256 {
			t.Errorf("server-side encryption %q", got.ServerSideEncryption)
		}
		overridden := testbed.Must(r.client.GetObject(t.Context(), &s3.GetObjectInput{
			Bucket: &r.bucket, Key: ptr("key"), ResponseContentType: ptr("application/x-other"), ResponseCacheControl: ptr("private"),
		}))(t)
		testbed.ReadBody(t, overridden.Body)
		if *overridden.ContentType != "application/x-other" || *overridden.CacheControl != "private" {
			t.Errorf("overrides: %s, %s", *overridden.ContentType, *overridden.CacheControl)
		}
	})
}

// TestNothingOfTheStoreShows: no answer carries the envelope, sealed sizes, the store's ETag or its ids.
func TestNothingOfTheStoreShows(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", pattern(1000))
	_, metadata := r.stored(t, "key")
	native := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
	secrets := []string{metadata["sseproxy"], strings.Trim(*native.ETag, `"`) + `"`, fmt.Sprint(envelope.SealedSize(1000)), r.store.AccessKeyID, "versity", "VERSITY"}
	for name, send := range map[string]func(*s3.PresignClient, context.Context) (string, string){
		"GET": func(p *s3.PresignClient, ctx context.Context) (string, string) {
			u := testbed.Must(p.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
			return u.Method, u.URL
		},
		"HEAD": func(p *s3.PresignClient, ctx context.Context) (string, string) {
			u := testbed.Must(p.PresignHeadObject(ctx, &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
			return u.Method, u.URL
		},
		"bad range": func(p *s3.PresignClient, ctx context.Context) (string, string) {
			u := testbed.Must(p.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key"), Range: ptr("bytes=5000-6000")}))(t)
			return u.Method, u.URL
		},
		"no key": func(p *s3.PresignClient, ctx context.Context) (string, string) {
			u := testbed.Must(p.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("none")}))(t)
			return u.Method, u.URL
		},
	} {
		method, url := send(s3.NewPresignClient(r.client), t.Context())
		req := testbed.Must(http.NewRequestWithContext(t.Context(), method, url, nil))(t)
		if name == "bad range" {
			req.Header.Set("Range", "bytes=5000-6000")
		}
		resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
		var answer bytes.Buffer
		if err := resp.Header.Write(&answer); err != nil {
			t.Fatal(err)
		}
		answer.Write(testbed.ReadBody(t, resp.Body))
		for _, secret := range secrets {
			if bytes.Contains(answer.Bytes(), []byte(secret)) {
				t.Errorf("%s shows %q:\n%s", name, secret, answer.String())
			}
		}
		if name == "bad range" && !strings.Contains(answer.String(), "<ActualObjectSize>1000</ActualObjectSize>") {
			t.Errorf("bad range: %s", answer.String())
		}
	}
}

// TestChecksums: what a client declares, and the CRC64NVME of one that declares nothing, come back where S3 shows them.
func TestChecksums(t *testing.T) {
	for _, tls := range []bool{false, true} {
		r := newRig(t, testbed.Store(t), options{tls: tls})
		for _, algorithm := range types.ChecksumAlgorithm("").Values() {
			for _, n := range []int{0, 10, 3 * frame} {
				key := fmt.Sprintf("%s-%d", algorithm, n)
				put, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(pattern(n)), ChecksumAlgorithm: algorithm})
				if err != nil {
					if strings.Contains(err.Error(), "unknown checksum algorithm") || strings.Contains(err.Error(), "not supported") {
						continue // this SDK cannot compute it
					}
					t.Errorf("%s: %v", key, err)
					continue
				}
				head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}))(t)
				sent := []*string{put.ChecksumCRC32, put.ChecksumCRC32C, put.ChecksumCRC64NVME, put.ChecksumSHA1, put.ChecksumSHA256}
				shown := []*string{head.ChecksumCRC32, head.ChecksumCRC32C, head.ChecksumCRC64NVME, head.ChecksumSHA1, head.ChecksumSHA256}
				if diff := cmp.Diff(sent, shown); diff != "" || head.ChecksumType != types.ChecksumTypeFullObject {
					t.Errorf("%s: %s, type %q", key, diff, head.ChecksumType)
				}
			}
		}
		quiet := r.newClient(t, func(o *s3.Options) { o.RequestChecksumCalculation = 2 })
		put := testbed.Must(quiet.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("none"), Body: strings.NewReader("123456789")}))(t)
		if put.ChecksumCRC64NVME == nil || *put.ChecksumCRC64NVME != "rosUhgp5mIg=" {
			t.Errorf("CRC64NVME of 123456789 is %s", *put.ChecksumCRC64NVME)
		}
	}
}

// TestPresigned: presigned URLs work for reading and writing, without any SDK.
func TestPresigned(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	p := s3.NewPresignClient(r.client)
	body := pattern(3*frame + 1)
	u := testbed.Must(p.PresignPutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &r.bucket, Key: ptr("a//b c+d%2Fe"), ContentType: ptr("text/plain"), Metadata: map[string]string{"m": "v"},
	}, s3.WithPresignExpires(7*24*time.Hour)))(t)
	req := testbed.Must(http.NewRequestWithContext(t.Context(), u.Method, u.URL, bytes.NewReader(body)))(t)
	req.Header = u.SignedHeader
	resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
	if answer := testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusOK {
		// versitygw keeps keys as file names, and refuses or folds an empty segment.
		t.Logf("PUT of an odd key: %d %s", resp.StatusCode, answer)
	}
	r.put(t, "plain", body)
	g := testbed.Must(p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("plain")}))(t)
	resp = testbed.Must(testbed.HTTPClient(t).Get(g.URL))(t)
	if got := testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusOK || !bytes.Equal(got, body) {
		t.Errorf("GET: %d, %d bytes", resp.StatusCode, len(got))
	}
	resp = testbed.Must(testbed.HTTPClient(t).Get(strings.Replace(g.URL, "plain?", "other?", 1)))(t)
	if testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusForbidden {
		t.Errorf("URL of another key: %d", resp.StatusCode)
	}
}

// TestMetadataBudget: user metadata that leaves no room for the envelope is refused with S3's code and the reason; what fits
// comes back whole.
func TestMetadataBudget(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for n := 1500; n <= 2100; n += 100 {
			key, value := fmt.Sprint(n), strings.Repeat("x", n)
			_, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: strings.NewReader("body"), Metadata: map[string]string{"m": value}})
			if err != nil {
				wantCode(t, err, "MetadataTooLarge")
				if n < 2048 && !strings.Contains(err.Error(), "envelope") {
					t.Errorf("%d bytes: %v", n, err)
				}
				_, err = r.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &key, Metadata: map[string]string{"m": value}})
				wantCode(t, err, "MetadataTooLarge")
				continue
			}
			if _, out, err := r.get(t, key, ""); err != nil || out.Metadata["m"] != value {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	})
}
