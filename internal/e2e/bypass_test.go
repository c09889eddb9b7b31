package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// bypassing changes options so that what begins with "plain/" is left as it is.
func bypassing(o options) options {
	o.more = []string{"other"}
	o.proxy = func(c *proxy.Config) {
		c.Rules = []proxy.Rule{
			{Bucket: "*", Prefix: "plain/", Bypass: true},
			{Bucket: "*", Prefix: "plain/of-other/", KeyID: "other"},
			{Bucket: "*", KeyID: "default"},
		}
	}
	return o
}

// wantPlain fails the test unless the store has an object as it is, and every read through the proxy gives it as one past the proxy.
func (r *rig) wantPlain(t testing.TB, key string, body []byte) {
	t.Helper()
	got, metadata := r.stored(t, key)
	if _, sealed := metadata["sseproxy"]; sealed || !bytes.Equal(got, body) {
		t.Errorf("%s: the store has %d bytes with %v, want %d as they are", key, len(got), metadata, len(body))
	}
	for _, header := range []string{"", "bytes=0-0", "bytes=5-", "bytes=-5", "bytes=60000-70000", "bytes=0-99999999", "bytes=99999999-"} {
		if len(body) == 0 && header != "" {
			continue // stores do not agree on ranges of nothing
		}
		if got, want := rawGet(t, r.client, r.bucket, key, header), rawGet(t, r.direct, r.bucket, key, header); got != want {
			t.Errorf("%s, %q:\n got %s\nwant %s", key, header, got, want)
		}
	}
	head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}))(t)
	want := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}))(t)
	if head.ServerSideEncryption != "" || *head.ContentLength != int64(len(body)) {
		t.Errorf("%s: HEAD gives %d bytes, encrypted with %q", key, *head.ContentLength, head.ServerSideEncryption)
	}
	if got, want := sumsOf(head), sumsOf(want); got != want {
		t.Errorf("%s: HEAD shows checksums %s, the store has %s", key, got, want)
	}
}

// wantSealed fails the test unless the store has an object sealed that reads as body.
func (r *rig) wantSealed(t testing.TB, key string, body []byte) {
	t.Helper()
	stored, metadata := r.stored(t, key)
	if metadata["sseproxy"] == "" || len(body) >= 16 && bytes.Contains(stored, body[:16]) {
		t.Errorf("%s is not sealed", key)
	}
	if got, _, err := r.get(t, key, ""); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%s: %d bytes, want %d, %v", key, len(got), len(body), err)
	}
}

// sumsOf returns the checksums that an answer shows.
func sumsOf(head *s3.HeadObjectOutput) string {
	var all []string
	for name, sum := range map[string]*string{
		"CRC32": head.ChecksumCRC32, "CRC32C": head.ChecksumCRC32C, "CRC64NVME": head.ChecksumCRC64NVME, "SHA1": head.ChecksumSHA1, "SHA256": head.ChecksumSHA256,
	} {
		if sum != nil {
			all = append(all, name+" "+*sum)
		}
	}
	slices.Sort(all)
	return fmt.Sprint(all, head.ChecksumType)
}

// TestBypassPut: under the rule an object is at the store byte for byte, however it was sent, with the digests that the client has
// declared; everywhere else it is sealed, and no plaintext leaves the proxy.
func TestBypassPut(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, bypassing(options{}))
		for _, n := range []int{0, 10, frame, frame + 1, 3 << 20} {
			body := pattern(n)
			for _, key := range []string{"plain/key", "sealed/plain/key", "plainly"} {
				for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha256} {
					r.wire.Reset()
					testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
					put := testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{
						Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: a, ContentType: ptr("text/odd"), Metadata: map[string]string{"m": "v"},
					}))(t)
					if key != "plain/key" {
						r.wantSealed(t, key, body)
						continue
					}
					r.wantPlain(t, key, body)
					_, get, _ := r.get(t, key, "")
					if put.ServerSideEncryption != "" || *put.ETag != *get.ETag || !strings.HasSuffix(*put.ETag, `-sse"`) || *get.ContentType != "text/odd" || get.Metadata["m"] != "v" {
						t.Errorf("%d bytes: PUT %+v, GET %+v", n, put, get)
					}
				}
			}
		}
		list := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
		for _, o := range list.Contents {
			if *o.Size != 3<<20 {
				t.Errorf("%s is listed with %d bytes", *o.Key, *o.Size)
			}
		}
	})
}

// TestBypassFramings: every form in which a body may be signed goes to the store as it was before it was framed, with its checksum; one
// that is not what it was declared to be leaves the old object.
func TestBypassFramings(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: func(c *proxy.Config) { c.Rules = []proxy.Rule{{Bucket: "*", Bypass: true}} }})
		unwired := newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) {
			c.Rules = []proxy.Rule{{Bucket: "*", Bypass: true}}
			c.Upstream = testbed.Must(url.Parse(store.URL))(t) // the wire does not pass resets on
		}})
		for _, n := range []int{10, 3*frame + 7} {
			body, wrong := pattern(n), pattern(n)
			wrong[n-1] ^= 1
			signed := func(b []byte) message { return r.putMessage("key", sha256hex(body), text(b)) }
			unsigned := func(b []byte) message { return r.putMessage("key", unsignedPayload, text(b)) }
			for name, send := range map[string]func(b []byte) message{
				"signed":           signed,
				"MD5":              func(b []byte) message { return unsigned(b).with("Content-MD5", sumOf(checksum.MD5, body)) },
				"checksum":         func(b []byte) message { return unsigned(b).with("X-Amz-Checksum-Sha1", sumOf(checksum.SHA1, body)) },
				"signed chunks":    func(b []byte) message { return r.reframed(signedChunks, body, b) },
				"unsigned trailer": func(b []byte) message { return r.reframed(unsignedTrailer, body, b) },
				"signed trailer":   func(b []byte) message { return r.reframed(signedTrailer, body, b) },
			} {
				r.wire.Reset()
				if a := r.send(t, send(body)); a.status != http.StatusOK || a.header.Get("X-Amz-Server-Side-Encryption") != "" {
					t.Fatalf("%d bytes, %s: %d %s", n, name, a.status, a.body)
				}
				for _, x := range requests(r.wire) {
					if got := x.Header.Get("X-Amz-Content-Sha256"); name == "signed" && got != sha256hex(body) {
						t.Errorf("%d bytes, %s: signed to the store as %s", n, name, got)
					}
					if name == "MD5" && x.Header.Get("Content-Md5") != sumOf(checksum.MD5, body) {
						t.Errorf("%d bytes: no Content-MD5 to the store", n)
					}
				}
				r.wantPlain(t, "key", body)
				head := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key"), ChecksumMode: types.ChecksumModeEnabled}))(t)
				if sums := sumsOf(head); name == "checksum" && !strings.Contains(sums, "SHA1 "+sumOf(checksum.SHA1, body)) ||
					strings.HasSuffix(name, "trailer") && !strings.Contains(sums, "CRC32C "+sumOf(checksum.CRC32C, body)) {
					t.Errorf("%d bytes, %s: the store knows %s", n, name, sums)
				}
				if a := unwired.send(t, send(wrong)); a.status != http.StatusBadRequest && a.status != http.StatusForbidden {
					t.Errorf("%d bytes, %s, altered: %d %s", n, name, a.status, a.body)
				}
				r.wantPlain(t, "key", body)
			}
		}
	})
}

// reframed is streamed for a body other than the one that it declares.
func (r *rig) reframed(hash string, declared, sent []byte) message {
	m := r.streamed("key", hash, declared, checksum.CRC32C)
	right := m.body
	m.body = func(signature string) string {
		return strings.Replace(right(signature), string(declared[len(declared)-1:])+"\r\n0", string(sent[len(sent)-1:])+"\r\n0", 1)
	}
	return m
}

// TestBypassReadsBoth: what was sealed before the rule opens as always, under the keys of the rules behind it; listings show every size
// right, also those of pages that only partly lie within the rule; and what is written over is as it is.
func TestBypassReadsBoth(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		before := newRig(t, store, options{more: []string{"other"}, proxy: func(c *proxy.Config) {
			c.Rules = []proxy.Rule{{Bucket: "*", Prefix: "plain/of-other/", KeyID: "other"}, {Bucket: "*", KeyID: "default"}}
		}})
		r := newRig(t, store, bypassing(options{kit: before}))
		sizes := map[string]int64{}
		for _, n := range plainSizes {
			for _, prefix := range []string{"a/", "plain/", "plain/of-other/", "z/"} {
				key := fmt.Sprintf("%ssealed-%d", prefix, n)
				before.put(t, key, pattern(n))
				r.wantSealed(t, key, pattern(n))
				sizes[key] = int64(n)
			}
			for _, prefix := range []string{"plain/", "plain/of-other/"} {
				key := fmt.Sprintf("%splain-%d", prefix, n)
				r.put(t, key, pattern(n))
				r.wantPlain(t, key, pattern(n))
				sizes[key] = int64(n)
			}
		}
		sizes["plain/parts"] = int64(len(before.putMultipart(t, "plain/parts", multipartLayouts["irregular"]...)))
		for _, prefix := range []string{"", "p", "plain/", "plain/of-other/plain", "z"} {
			want := maps.Clone(sizes)
			maps.DeleteFunc(want, func(key string, _ int64) bool { return !strings.HasPrefix(key, prefix) })
			got := map[string]int64{}
			pages := s3.NewListObjectsV2Paginator(r.client, &s3.ListObjectsV2Input{Bucket: &r.bucket, Prefix: &prefix, MaxKeys: ptr(int32(7))})
			for pages.HasMorePages() {
				for _, o := range testbed.Must(pages.NextPage(t.Context()))(t).Contents {
					got[*o.Key] = *o.Size
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("ListObjectsV2 of %q: %s", prefix, diff)
			}
			for _, o := range testbed.Must(r.client.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: &r.bucket, Prefix: &prefix}))(t).Contents {
				if *o.Size != sizes[*o.Key] {
					t.Errorf("ListObjects: %s has %d bytes", *o.Key, *o.Size)
				}
			}
			for _, o := range testbed.Must(r.client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket, Prefix: &prefix}))(t).Versions {
				if *o.Size != sizes[*o.Key] {
					t.Errorf("ListObjectVersions: %s has %d bytes", *o.Key, *o.Size)
				}
			}
		}
		r.wire.Reset()
		testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket, Prefix: ptr("z/")}))(t)
		if n := len(r.wire.Requests()); n != 1 {
			t.Errorf("%d requests for a listing outside the rule", n)
		}
		for _, n := range plainSizes {
			key := fmt.Sprintf("plain/sealed-%d", n)
			if store.Name == "versitygw" { // it keeps the metadata of an object that is written over by one that has none
				testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
			}
			r.put(t, key, pattern(n+1))
			r.wantPlain(t, key, pattern(n+1))
		}
		_, _, err := before.get(t, "plain/plain-1000", "")
		wantCode(t, err, "AccessDenied")
	})
}

// TestBypassUpload: parts are at the store as they are, without state or stash, and every operation of the upload answers as the store
// does; so do reads by part and GetObjectAttributes of what it has made.
func TestBypassUpload(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, bypassing(options{}))
		replica := newRig(t, store, bypassing(options{kit: r}))
		replica.bucket = r.bucket
		body := pattern(2*mib5 + 1000)
		for name, in := range map[string]s3.CreateMultipartUploadInput{
			"no checksum":      {},
			"CRC32":            {ChecksumAlgorithm: types.ChecksumAlgorithmCrc32},
			"CRC32, whole":     {ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			"SHA256":           {ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			"CRC64NVME, whole": {ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject},
		} {
			key := "plain/" + name
			in.ContentType, in.Metadata = ptr("text/odd"), map[string]string{"m": "v"}
			id := r.startUpload(t, key, in)
			parts := []types.CompletedPart{
				replica.sendPart(t, key, id, 1, body[:mib5], in.ChecksumAlgorithm),
				r.sendPart(t, key, id, 3, body[mib5:2*mib5], in.ChecksumAlgorithm),
				r.sendPart(t, key, id, 10000, body[2*mib5:], in.ChecksumAlgorithm),
			}
			list := testbed.Must(replica.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &key, UploadId: &id}))(t)
			if len(list.Parts) != 3 || *list.Parts[2].Size != 1000 || *list.Parts[0].ETag != *parts[0].ETag || !strings.HasSuffix(*list.Parts[0].ETag, `-sse"`) {
				t.Errorf("%s: ListParts gives %+v", name, list.Parts)
			}
			if left := r.left(t); len(left) > 0 {
				t.Errorf("%s: the bucket has %q", name, left)
			}
			done := testbed.Must(replica.complete(t, key, id, parts...))(t)
			r.wantPlain(t, key, body)
			head := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}))(t)
			if *done.ETag != *head.ETag || done.ServerSideEncryption != "" || *head.ContentType != "text/odd" || head.Metadata["m"] != "v" {
				t.Errorf("%s: Complete gives %+v, the store %+v", name, done, head)
			}
			if in.ChecksumAlgorithm == types.ChecksumAlgorithmSha256 && (done.ChecksumSHA256 == nil || *done.ChecksumSHA256 != *head.ChecksumSHA256) {
				t.Errorf("%s: Complete gives SHA256 %v, the store %v", name, done.ChecksumSHA256, head.ChecksumSHA256)
			}
			for _, number := range []int{1, 2, 4} {
				for _, method := range []string{"GET", "HEAD"} {
					target := fmt.Sprintf("/%s/%s?partNumber=%d", r.bucket, escapedKey(key), number)
					through, straight := r.readAt(t, r.front(), method, target), r.readAt(t, r.past(), method, target)
					if diff := cmp.Diff(straight, through); diff != "" {
						t.Errorf("%s: %s part %d: %s", name, method, number, diff)
					}
				}
			}
			for _, list := range []string{"ETag,ObjectSize,ObjectParts,Checksum,StorageClass", "ObjectSize"} {
				target := fmt.Sprintf("/%s/%s?attributes", r.bucket, escapedKey(key))
				through, straight := r.readAt(t, r.front(), "GET", target, list), r.readAt(t, r.past(), "GET", target, list)
				if diff := cmp.Diff(straight, through); diff != "" {
					t.Errorf("%s: attributes %s: %s", name, list, diff)
				}
			}
		}
		key := "plain/aborted"
		id := r.startUpload(t, key, s3.CreateMultipartUploadInput{})
		r.sendPart(t, key, id, 1, body[:10], "")
		testbed.Must(replica.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: &id}))(t)
		_, err := r.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: ptr(int32(1)), Body: strings.NewReader("x")})
		wantCode(t, err, "NoSuchUpload")
	})
}

// readAt asks for something, perhaps attributes, and returns what matters of the answer, with ETags as the client sees them.
func (r *rig) readAt(t *testing.T, e endpoint, method, target string, attributes ...string) []string {
	t.Helper()
	m := message{method: method, target: target, hash: sha256hex(""), header: map[string]string{"X-Amz-Checksum-Mode": "ENABLED"}, access: e.accessKey, secret: e.secret, region: e.region}
	if len(attributes) > 0 {
		m.header = map[string]string{"X-Amz-Object-Attributes": attributes[0]}
	}
	head, sent := m.wire(t, e.url)
	c := testbed.Must(new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(e.url, "http://")))(t)
	defer c.Close() //nolint:errcheck // the answer has been read
	a := exchange(t, c, m, head, sent)
	seen := []string{fmt.Sprint(a.status), a.Code}
	for name, values := range a.header {
		if strings.HasPrefix(name, "X-Amz-Checksum") || slices.Contains([]string{"Etag", "Content-Range", "X-Amz-Mp-Parts-Count", "Content-Type"}, name) {
			seen = append(seen, name+": "+strings.Join(values, ","))
		}
	}
	slices.Sort(seen)
	if a.status < 300 {
		seen = append(seen, string(a.body))
	}
	return seen
}

// TestBypassUploadOfAnotherRule: an upload goes on as what it was begun as, or not at all: one begun sealed is not continued in plain, one
// begun in plain is not continued where objects are sealed, nor believed by a store that claims so. Each can be aborted.
func TestBypassUploadOfAnotherRule(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		sealing := newRig(t, store, options{more: []string{"other"}})
		r := newRig(t, store, bypassing(options{kit: sealing}))
		key, body := "plain/key", pattern(1000)
		for name, try := range map[string]struct {
			begun, then *rig
			code        string
		}{
			"begun sealed": {sealing, r, "InvalidRequest"},
			"begun plain":  {r, sealing, "NoSuchUpload"},
		} {
			id := try.begun.startUpload(t, key, s3.CreateMultipartUploadInput{})
			part := try.begun.sendPart(t, key, id, 1, body, "")
			try.then.wire.Reset()
			_, err := try.then.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: ptr(int32(2)), Body: bytes.NewReader(body)})
			wantCode(t, err, try.code)
			_, err = try.then.client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: ptr(int32(2)), CopySource: ptr(r.bucket + "/none")})
			wantCode(t, err, try.code)
			_, err = try.then.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &key, UploadId: &id})
			wantCode(t, err, try.code)
			_, err = try.then.complete(t, key, id, part)
			wantCode(t, err, try.code)
			for _, x := range try.then.wire.Requests() {
				if x.Method != http.MethodGet && x.Method != http.MethodHead {
					t.Errorf("%s: the store got %s %s", name, x.Method, x.Target)
				}
			}
			testbed.Must(try.begun.complete(t, key, id, part))(t)
			id = try.begun.startUpload(t, key, s3.CreateMultipartUploadInput{})
			testbed.Must(try.then.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: &id}))(t)
			if left := r.left(t); len(left) > 0 {
				t.Errorf("%s: aborted, it leaves %q", name, left)
			}
		}
		// Of a key outside the rule the store cannot make believe that its upload is a plain one.
		id := r.startUpload(t, "sealed", s3.CreateMultipartUploadInput{})
		replica := newRig(t, store, bypassing(options{kit: sealing}))
		replica.wire.AlterResponse(func(resp *http.Response) error {
			if strings.HasSuffix(resp.Request.URL.Path, "/state") {
				resp.StatusCode = http.StatusNotFound
				setBody(resp, []byte(errorXML("NoSuchKey")))
			}
			return nil
		})
		_, err := replica.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: ptr("sealed"), UploadId: &id, PartNumber: ptr(int32(1)), Body: bytes.NewReader(body)})
		wantCode(t, err, "NoSuchUpload")
		for _, x := range replica.wire.Requests() {
			if x.Method == http.MethodPut {
				t.Errorf("the store got %s %s", x.Method, x.Target)
			}
		}
	})
}

// TestBypassCopy: a copy is as the rule for its own key says, with all that a copy carries: plain of plain by the store itself, sealed of
// plain and plain of sealed through the proxy. So are copies as parts.
func TestBypassCopy(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, bypassing(options{}))
		for _, n := range []int{0, 10, frame, 3*frame + 1} {
			body := pattern(n)
			for from, to := range map[string]string{"plain/a": "plain/b", "plain/c": "sealed/b", "sealed/a": "plain/d", "sealed/c": "sealed/d"} {
				testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &r.bucket, Key: &from, Body: bytes.NewReader(body), ContentType: ptr("text/odd"), Metadata: map[string]string{"m": "v"}, Tagging: ptr("a=b+c%2B"),
					ChecksumAlgorithm: types.ChecksumAlgorithmSha1,
				}))(t)
				for kind, change := range map[string]func(*s3.CopyObjectInput){
					"": nil,
					"replaced": func(in *s3.CopyObjectInput) {
						in.MetadataDirective, in.TaggingDirective = types.MetadataDirectiveReplace, types.TaggingDirectiveReplace
						in.ContentType, in.Metadata, in.Tagging = ptr("text/new"), map[string]string{"n": "w"}, ptr("c=d")
					},
					"with SHA256": func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 },
				} {
					what := fmt.Sprintf("%d bytes, %s to %s, %s", n, from, to, kind)
					testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &to}))(t)
					r.wire.Reset()
					out := testbed.Must(r.copyFrom(t, r.bucket+"/"+from, to, change))(t)
					for _, x := range r.wire.Requests() {
						if moved := x.Size > 0; moved && from[0] == to[0] {
							t.Errorf("%s: %s %s moved %d bytes", what, x.Method, x.Target, x.Size)
						}
					}
					if to[0] == 'p' {
						r.wantPlain(t, to, body)
					} else {
						r.wantSealed(t, to, body)
					}
					_, head, err := r.get(t, to, "")
					if err != nil || *head.ETag != *out.CopyObjectResult.ETag || (head.ServerSideEncryption == "") != (to[0] == 'p') || head.ServerSideEncryption != out.ServerSideEncryption {
						t.Errorf("%s: %+v, %+v, %v", what, out, head, err)
						continue
					}
					contentType, metadata, tag := "text/odd", map[string]string{"m": "v"}, "b c+"
					if kind == "replaced" {
						contentType, metadata, tag = "text/new", map[string]string{"n": "w"}, "d"
					}
					tags := testbed.Must(r.client.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &r.bucket, Key: &to}))(t)
					if *head.ContentType != contentType || !maps.Equal(head.Metadata, metadata) || len(tags.TagSet) != 1 || *tags.TagSet[0].Value != tag {
						t.Errorf("%s: %s %v %v", what, *head.ContentType, head.Metadata, tags.TagSet)
					}
					sums := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &to, ChecksumMode: types.ChecksumModeEnabled}))(t)
					want := "SHA256 " + sumOf(checksum.SHA256, body)
					if kind != "with SHA256" {
						want = "SHA1 " + sumOf(checksum.SHA1, body)
					}
					if !strings.Contains(sumsOf(sums), want) && (kind == "with SHA256" || from != "plain/c") { // its checksum is not looked up
						t.Errorf("%s: %s, want %s", what, sumsOf(sums), want)
					}
				}
			}
		}
		body := pattern(mib5 + 70_000)
		r.put(t, "plain/a", body)
		r.put(t, "sealed/a", body)
		for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32} {
			for _, to := range []string{"plain/parts", "sealed/parts"} {
				id := r.startUpload(t, to, s3.CreateMultipartUploadInput{ChecksumAlgorithm: a})
				var parts []types.CompletedPart
				for i, from := range []struct{ key, byteRange string }{{"plain/a", "bytes=0-5242899"}, {"sealed/a", "bytes=0-5242879"}, {"plain/a", ""}, {"sealed/a", "bytes=5-9"}} {
					in := &s3.UploadPartCopyInput{Bucket: &r.bucket, Key: &to, UploadId: &id, PartNumber: ptr(int32(i + 1)), CopySource: ptr(r.bucket + "/" + from.key)}
					if from.byteRange != "" {
						in.CopySourceRange = &from.byteRange
					}
					done := testbed.Must(r.client.UploadPartCopy(t.Context(), in))(t)
					if (done.ServerSideEncryption == "") != (to[0] == 'p') {
						t.Errorf("a part of %s is encrypted with %q", to, done.ServerSideEncryption)
					}
					parts = append(parts, types.CompletedPart{PartNumber: in.PartNumber, ETag: done.CopyPartResult.ETag, ChecksumCRC32: done.CopyPartResult.ChecksumCRC32})
				}
				testbed.Must(r.complete(t, to, id, parts...))(t)
				want := slices.Concat(body[:mib5+20], body[:mib5], body, body[5:10])
				if to[0] == 'p' {
					r.wantPlain(t, to, want)
				} else {
					r.wantSealed(t, to, want)
				}
			}
		}
		testbed.Must(r.copyFrom(t, r.bucket+"/sealed/parts", "plain/parts", nil))(t)
		r.wantPlain(t, "plain/parts", slices.Concat(body[:mib5+20], body[:mib5], body, body[5:10]))
		before := newRig(t, store, options{kit: r})
		before.put(t, "plain/before", body)
		onto := func(in *s3.CopyObjectInput) {
			in.MetadataDirective, in.Metadata = types.MetadataDirectiveReplace, map[string]string{"m": "v"}
		}
		testbed.Must(r.copyFrom(t, r.bucket+"/plain/before", "plain/before", onto))(t)
		r.wantPlain(t, "plain/before", body)
	})
}

// TestBypassRefusesEncryption: what a request asks for and does not get is refused, and no answer tells of encryption that is not there.
func TestBypassRefusesEncryption(t *testing.T) {
	var audit auditLog
	o := bypassing(options{tls: true})
	rules := o.proxy
	o.proxy = func(c *proxy.Config) {
		rules(c)
		c.Rules = append([]proxy.Rule{{Bucket: "whole-bucket", Bypass: true}}, c.Rules...)
		c.Audit = audit.write
	}
	r := newRig(t, testbed.Store(t), o)
	r.put(t, "plain/key", []byte("body"))
	id := r.startUpload(t, "plain/up", s3.CreateMultipartUploadInput{})
	copied := http.Header{"X-Amz-Copy-Source": {r.bucket + "/plain/key"}}
	customer := encryptions["SSE-C"].headers(encryptionName)
	var tests []refusal
	for name, headers := range map[string]http.Header{
		"AES256": only(encryptionName, "AES256"), "aws:kms": only(encryptionName, "aws:kms"), "SSE-C": customer,
		"bucket key": but(only(encryptionName, "aws:kms"), encryptionName+"-Bucket-Key-Enabled", "true"),
	} {
		tests = append(tests, refusal{name, "PUT", "plain/new", []http.Header{headers}, 403, "<Code>AccessDenied</Code><Message>The operator of the proxy wants objects here stored as they are (bypass)"},
			refusal{name, "POST", "plain/new?uploads", []http.Header{headers}, 403, "<Code>AccessDenied</Code>"},
			refusal{name, "PUT", "plain/new", []http.Header{headers, copied}, 403, "<Code>AccessDenied</Code>"})
	}
	tests = append(tests,
		refusal{"unknown algorithm", "PUT", "plain/new", []http.Header{only(encryptionName, "aes")}, 400, "<Code>InvalidArgument</Code>"},
		refusal{"key without algorithm", "PUT", "plain/new", []http.Header{only(encryptionName+"-Aws-Kms-Key-Id", "default")}, 400, "<Code>InvalidArgument</Code>"},
		refusal{"a part with SSE-C", "PUT", "plain/up?partNumber=1&uploadId=" + id, []http.Header{customer}, 400, "The multipart upload initiate did not request encryption."},
		refusal{"GET with SSE-C", "GET", "plain/key", []http.Header{customer}, 400, "The encryption parameters are not applicable to this object."},
		refusal{"the proxy's own metadata", "PUT", "plain/new", []http.Header{only("X-Amz-Meta-Sseproxy", "x")}, 400, "<Code>InvalidArgument</Code>"},
		refusal{"a path into the rule", "PUT", "x/%2E%2E/plain/new", nil, 403, "<Code>AccessDenied</Code>"},
		refusal{"a path out of the rule", "PUT", "plain/%2E%2E/new", nil, 403, "<Code>AccessDenied</Code>"},
		refusal{"an upload on a path out of the rule", "POST", "plain/%2E%2E/new?uploads", nil, 403, "<Code>AccessDenied</Code>"},
		refusal{"a copy on a path into the rule", "PUT", "/plain/new", []http.Header{copied}, 403, "<Code>AccessDenied</Code>"},
		refusal{"a key of the proxy's", "PUT", "plain/%2E%2E/.sseproxy/x", nil, 403, "<Code>AccessDenied</Code>"},
	)
	r.wire.Reset()
	audit.take()
	r.wantRefused(t, tests)
	for _, x := range r.wire.Requests() {
		if x.Method == http.MethodPut || x.Method == http.MethodPost {
			t.Errorf("the store heard of %s %s", x.Method, x.Target)
		}
	}
	if lines := audit.take(); !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "SSE-C") }) {
		t.Errorf("the refusals' records are %q", lines)
	}
	document := []byte("<ObjectEncryption><SSE-KMS><KMSKeyArn>default</KMSKeyArn><BucketKeyEnabled>true</BucketKeyEnabled></SSE-KMS></ObjectEncryption>")
	if got := r.ask(t, "PUT", "plain/key?encryption", document); !strings.Contains(string(testbed.ReadBody(t, got.Body)), "(bypass)") {
		t.Errorf("UpdateObjectEncryption: %s", got.Status)
	}
	if got := testbed.Must(r.client.GetBucketEncryption(t.Context(), &s3.GetBucketEncryptionInput{Bucket: &r.bucket}))(t); len(got.ServerSideEncryptionConfiguration.Rules) != 1 {
		t.Errorf("GetBucketEncryption of a bucket that is not left as it is: %+v", got)
	}
	whole := "whole-bucket"
	testbed.Must(r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &whole}))(t)
	t.Cleanup(func() {
		_, _ = r.direct.DeleteBucket(context.WithoutCancel(t.Context()), &s3.DeleteBucketInput{Bucket: &whole})
	})
	_, err := r.client.GetBucketEncryption(t.Context(), &s3.GetBucketEncryptionInput{Bucket: &whole})
	wantCode(t, err, "ServerSideEncryptionConfigurationNotFoundError")
	_, err = r.client.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{Bucket: &whole, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
		Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "AES256"}}},
	}})
	wantCode(t, err, "AccessDenied")
	testbed.Must(r.client.DeleteBucketEncryption(t.Context(), &s3.DeleteBucketEncryptionInput{Bucket: &whole}))(t)
}

// TestBypassEndsWithItsKeys: what a store moves out of the rule's keys is refused there, and so is what it moves in from elsewhere sealed.
// Within, there is no protection: what it puts there is given out, also a sealed object whose envelope it has taken off.
func TestBypassEndsWithItsKeys(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		before := newRig(t, store, options{more: []string{"other"}})
		r := newRig(t, store, bypassing(options{kit: before}))
		r.put(t, "plain/key", pattern(100))
		before.put(t, "plain/sealed", pattern(100))
		r.put(t, "sealed/key", pattern(100))
		plain, _ := r.stored(t, "plain/key")
		sealed, metadata := r.stored(t, "sealed/key")
		own, _ := r.stored(t, "plain/sealed")
		for _, key := range []string{"sealed/key", "plainly", "a/plain/key", "Plain/key", "plain./key"} {
			r.putStored(t, key, plain, nil)
			_, _, err := r.get(t, key, "")
			wantCode(t, err, "AccessDenied")
			_, _, err = r.get(t, key, "bytes=0-9")
			wantCode(t, err, "AccessDenied")
			_, err = r.client.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: &r.bucket, Key: &key, ObjectAttributes: []types.ObjectAttributes{"ObjectSize"}})
			wantCode(t, err, "AccessDenied")
			_, err = r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: &key, PartNumber: ptr(int32(1))})
			wantCode(t, err, "AccessDenied")
			for _, to := range []string{"copy", "plain/copy"} {
				_, err = r.copyFrom(t, r.bucket+"/"+key, to, nil)
				wantCode(t, err, "AccessDenied")
			}
			testbed.Must(r.direct.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
		}
		r.putStored(t, "plain/key", sealed, metadata)
		_, _, err := r.get(t, "plain/key", "")
		wantCode(t, err, "InternalError")
		r.putStored(t, "plain/sealed", own, nil)
		if got, _, err := r.get(t, "plain/sealed", ""); err != nil || !bytes.Equal(got, own) {
			t.Errorf("without its envelope an object reads as %d bytes, %v", len(got), err)
		}
	})
}

// TestBypassRaces: an object that becomes sealed while it is read, or copied, is not given out as it lies there.
func TestBypassRaces(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		before := newRig(t, store, options{more: []string{"other"}})
		r := newRig(t, store, bypassing(options{kit: before}))
		plain, sealed := pattern(3*frame), pattern(4*frame)
		for name, read := range map[string]func() ([]byte, error){
			"range": func() ([]byte, error) { return first(r.get(t, "plain/key", "bytes=5-14")) },
			"part": func() ([]byte, error) {
				out, err := r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("plain/key"), PartNumber: ptr(int32(1))})
				if err != nil {
					return nil, err
				}
				return testbed.ReadBody(t, out.Body)[5:15], nil
			},
			"copy": func() ([]byte, error) {
				if _, err := r.copyFrom(t, r.bucket+"/plain/key", "plain/copy", nil); err != nil {
					return nil, err
				}
				return first(r.get(t, "plain/copy", "bytes=5-14"))
			},
			"attributes": func() ([]byte, error) {
				out, err := r.client.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: &r.bucket, Key: ptr("plain/key"), ObjectAttributes: []types.ObjectAttributes{"ObjectSize"}})
				if err == nil && *out.ObjectSize != int64(len(sealed)) {
					err = fmt.Errorf("%d bytes", *out.ObjectSize)
				}
				return sealed[5:15], err
			},
		} {
			r.putStored(t, "plain/key", plain, nil)
			asked := 0
			r.wire.AlterRequest(func(*http.Request) error {
				if asked++; asked == 2 {
					before.put(t, "plain/key", sealed)
				}
				return nil
			})
			got, err := read()
			r.wire.AlterRequest(nil)
			if err != nil || !bytes.Equal(got, sealed[5:15]) {
				t.Errorf("%s: %x, %v", name, got, err)
			}
		}
	})
}

// TestBypassForm: what a browser posts is left as it is, too, wherever the form's key leads; the form's checksum goes along.
func TestBypassForm(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, bypassing(options{}))
		for _, n := range []int{0, 1000, 3*frame + 5} {
			file := pattern(n)
			a := newForm("plain/${filename}", file, [2]string{"x-amz-checksum-sha1", sumOf(checksum.SHA1, file)}, [2]string{"success_action_status", "201"}).post(t, r.front())
			if a.status != http.StatusCreated || a.header.Get("X-Amz-Server-Side-Encryption") != "" {
				t.Fatalf("%d bytes: %d %v %s", n, a.status, a.header, a.body)
			}
			r.wantPlain(t, "plain/name.txt", file)
			head := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("plain/name.txt"), ChecksumMode: types.ChecksumModeEnabled}))(t)
			if head.ChecksumSHA1 == nil || *head.ChecksumSHA1 != sumOf(checksum.SHA1, file) {
				t.Errorf("%d bytes: the store knows %s", n, sumsOf(head))
			}
			if a := newForm("sealed/key", file).post(t, r.front()); a.status != http.StatusNoContent || a.header.Get("X-Amz-Server-Side-Encryption") != "AES256" {
				t.Errorf("%d bytes, outside the rule: %d %v", n, a.status, a.header)
			}
			r.wantSealed(t, "sealed/key", file)
		}
		if a := newForm("plain/new", nil, [2]string{"x-amz-server-side-encryption", "AES256"}).post(t, r.front()); a.Code != "AccessDenied" {
			t.Errorf("a form that asks for encryption: %d %s", a.status, a.body)
		}
	})
}

// TestBypassObjectLock: the store gets the checksum that S3 demands of locked objects, also where the client has sent none.
func TestBypassObjectLock(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, bypassing(options{}))
		r.bucket += "-locked"
		testbed.Must(r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &r.bucket, ObjectLockEnabledForBucket: ptr(true)}))(t)
		r.put(t, "sealed", pattern(3*frame))
		for _, n := range []int{0, 10, 3 * frame} {
			m := r.putMessage("plain/key", unsignedPayload, text(pattern(n))).with("X-Amz-Object-Lock-Legal-Hold", "ON")
			r.wire.Reset()
			if a := r.send(t, m); a.status != http.StatusOK {
				t.Fatalf("%d bytes: %d %s", n, a.status, a.body)
			}
			for _, x := range r.wire.Requests() {
				if x.Header.Get("X-Amz-Checksum-Crc32") == "" && x.Header.Get("X-Amz-Trailer") == "" {
					t.Errorf("%d bytes: %s %s without a checksum", n, x.Method, x.Target)
				}
			}
			r.wantPlain(t, "plain/key", pattern(n))
		}
		testbed.Must(r.copyFrom(t, r.bucket+"/sealed", "plain/copy", func(in *s3.CopyObjectInput) { in.ObjectLockLegalHoldStatus = types.ObjectLockLegalHoldStatusOn }))(t)
		r.wantPlain(t, "plain/copy", pattern(3*frame))
		for _, key := range []string{"plain/key", "plain/copy"} {
			for _, c := range []*s3.Client{r.client, r.direct} {
				if hold := testbed.Must(c.GetObjectLegalHold(t.Context(), &s3.GetObjectLegalHoldInput{Bucket: &r.bucket, Key: &key}))(t); hold.LegalHold.Status != types.ObjectLockLegalHoldStatusOn {
					t.Errorf("%s: hold %s", key, hold.LegalHold.Status)
				}
			}
			testbed.Must(r.client.PutObjectLegalHold(t.Context(), &s3.PutObjectLegalHoldInput{Bucket: &r.bucket, Key: &key, LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOff}}))(t)
		}
	})
}

// TestBypassPolicy: who may read and write objects, and use no key, can do so under the rule and nowhere else, also with copies.
func TestBypassPolicy(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), policies, func(c *proxy.Config) {
		c.Rules = append([]proxy.Rule{{Bucket: "*", Prefix: "plain/", Bypass: true}}, c.Rules...)
	})
	r.put(t, "sealed", []byte("body"))
	c := r.as(t, "keyless")
	put := func(key string) error {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: strings.NewReader("body")})
		return err
	}
	get := func(key string) error {
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
		return err
	}
	upload := func(key string) error {
		_, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &key})
		return err
	}
	copied := func(from, to string) error {
		_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &r.bucket, Key: &to, CopySource: ptr(r.bucket + "/" + from)})
		return err
	}
	for name, err := range map[string]error{"PUT": put("plain/a"), "GET": get("plain/a"), "upload": upload("plain/b"), "copy": copied("plain/a", "plain/c")} {
		if err != nil {
			t.Errorf("%s under the rule: %v", name, err)
		}
	}
	for _, err := range []error{put("a"), get("sealed"), upload("a"), copied("plain/a", "a"), copied("sealed", "plain/c")} {
		wantCode(t, err, "AccessDenied")
	}
	_, err := r.as(t, "reader").PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("plain/a"), Body: strings.NewReader("")})
	wantCode(t, err, "AccessDenied")
}
