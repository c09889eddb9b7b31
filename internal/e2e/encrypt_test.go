package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// partsAbove makes objects of more than 6 MiB in parts, so that a test needs no 5 GiB.
func partsAbove(c *proxy.Config) { c.PartsAbove = 6 << 20 }

// largePlain is how long an object is that is then made of three parts, the last of which is too short to stand before another.
const largePlain = 12<<20 + 3

// putPlain stores an object past the proxy, with all that an object may carry.
func (r *rig) putPlain(t testing.TB, key string, body []byte, change func(*s3.PutObjectInput)) {
	t.Helper()
	in := &s3.PutObjectInput{
		Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(body), ContentType: ptr("text/odd"), CacheControl: ptr("max-age=7"), ContentDisposition: ptr("inline"),
		ContentEncoding: ptr("x-odd"), ContentLanguage: ptr("tlh"), Metadata: map[string]string{"a": "b"}, Tagging: ptr("t=1&u=a%20b"),
	}
	if change != nil {
		change(in)
	}
	testbed.Must(r.direct.PutObject(t.Context(), in))(t)
}

// wantKept fails the test unless an object reads as putPlain has made it.
func (r *rig) wantKept(t testing.TB, key string, plain []byte) {
	t.Helper()
	got, out, err := r.get(t, key, "")
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%s: %d bytes of %d, %v", key, len(got), len(plain), err)
		return
	}
	header := []string{aws.ToString(out.ContentType), aws.ToString(out.CacheControl), aws.ToString(out.ContentDisposition), aws.ToString(out.ContentEncoding), aws.ToString(out.ContentLanguage), out.Metadata["a"]}
	if diff := cmp.Diff([]string{"text/odd", "max-age=7", "inline", "x-odd", "tlh", "b"}, header); diff != "" || len(out.Metadata) != 1 {
		t.Errorf("%s: metadata %v, %s", key, out.Metadata, diff)
	}
	tags := testbed.Must(r.client.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &r.bucket, Key: &key}))(t).TagSet
	slices.SortFunc(tags, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
	if len(tags) != 2 || *tags[0].Value != "1" || *tags[1].Value != "a b" {
		t.Errorf("%s: tags %v", key, tags)
	}
}

func (r *rig) encrypt(t testing.TB, e proxy.Encrypting) (proxy.Tally, error) {
	t.Helper()
	e.Bucket = r.bucket
	return r.proxy.Encrypt(t.Context(), e)
}

// wantInPlace fails the test unless the command finds just that.
func (r *rig) wantInPlace(t testing.TB, what string, e proxy.Encrypting, want proxy.Tally) {
	t.Helper()
	if got, err := r.encrypt(t, e); err != nil || got != want {
		t.Errorf("%s: %+v, want %+v, %v; log: %v", what, got, want, err, r.named())
	}
}

// TestEncrypt: objects of every size are sealed in their place, with all that they carry, under the bucket's default encryption; before, clients may
// not read them. A dry run changes nothing, a second run finds nothing to do, and of what the bucket had nothing is left at the store.
func TestEncrypt(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: partsAbove, more: []string{"other"}})
		r = newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) {
			partsAbove(c)
			c.Rules = []proxy.Rule{{Bucket: "*", KeyID: "default", KeyIDs: []string{"other"}, BucketKey: true}}
		}})
		canary := testbed.Canary(t)
		plain := map[string][]byte{"empty": nil, "folder/": nil, "a b+c%41/ü": canary, "small": canary, "frame": pattern(frame), "frames": append(pattern(3*frame), canary...), "large": append(canary, pattern(largePlain)[len(canary):]...)}
		for key, body := range plain {
			r.putPlain(t, key, body, nil)
		}
		r.put(t, "sealed", pattern(10))
		sealedBefore, _ := r.stored(t, "sealed")
		for key := range plain {
			_, _, err := r.get(t, key, "")
			wantCode(t, err, "AccessDenied")
		}
		testbed.Must(r.client.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{
			Bucket: &r.bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{{
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: ptr("other")},
			}}},
		}))(t)
		r.wire.Reset()
		r.wantInPlace(t, "dry run", proxy.Encrypting{DryRun: true}, proxy.Tally{Done: 7, Current: 1})
		for _, x := range r.wire.Requests() {
			if x.Method != http.MethodGet && x.Method != http.MethodHead {
				t.Errorf("the dry run: %s %s", x.Method, x.Target)
			}
		}
		if named := r.named(); len(named) != 7 {
			t.Errorf("the dry run named %v", named)
		}
		r.wantInPlace(t, "behind a key", proxy.Encrypting{Walk: proxy.Walk{Prefix: "sm", After: "small"}}, proxy.Tally{})
		r.wantInPlace(t, "first", proxy.Encrypting{}, proxy.Tally{Done: 7, Current: 1})
		for key, body := range plain {
			if key == "folder/" {
				r.want(t, key, key, nil) // versitygw keeps no headers of folders
			} else {
				r.wantKept(t, key, body)
			}
			head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key}))(t)
			if head.ServerSideEncryption != "aws:kms" || aws.ToString(head.SSEKMSKeyId) != "other" || *head.ContentLength != int64(len(body)) {
				t.Errorf("%s: %s under %v, %d bytes", key, head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId), *head.ContentLength)
			}
			if got, metadata := r.stored(t, key); len(body) > 0 && bytes.Contains(got, body[:min(len(body), 16)]) || metadata["sseproxy"] == "" {
				t.Errorf("%s is not sealed", key)
			}
		}
		if head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("large"), PartNumber: ptr(int32(3))}))(t); *head.PartsCount != 3 {
			t.Errorf("it was made of %d parts", *head.PartsCount)
		}
		if after, _ := r.stored(t, "sealed"); !bytes.Equal(after, sealedBefore) {
			t.Error("an object that was sealed has changed")
		}
		if store.Name == "versitygw" { // MinIO removes what is overwritten in its own time
			testbed.RequireAbsent(t, store.Dir, canary)
		}
		if got, err := newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) {
			c.Rules = []proxy.Rule{{Bucket: "*", KeyID: "default", KeyIDs: []string{"other"}, BucketKey: true}}
		}}).verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: 8}) {
			t.Errorf("afterwards: %+v, %v", got, err)
		}
		r.wantInPlace(t, "second", proxy.Encrypting{}, proxy.Tally{Current: 8})
		if left := r.left(t); len(left) != 1 || !strings.HasSuffix(left[0], defaultEncryptionObject[1:]) {
			t.Errorf("left: %q", left)
		}
	})
}

// TestEncryptKeepsChecksums: the checksum that the store shows of a whole object is checked against what it gives, and stays the object's.
func TestEncryptKeepsChecksums(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: partsAbove})
		sums := func(key string, client *s3.Client) []string {
			h := testbed.Must(client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key, ChecksumMode: "ENABLED"}))(t)
			return []string{aws.ToString(h.ChecksumCRC32), aws.ToString(h.ChecksumCRC32C), aws.ToString(h.ChecksumSHA256), aws.ToString(h.ChecksumCRC64NVME), string(h.ChecksumType)}
		}
		want := make(map[string][]string)
		for _, size := range []int{100, 3 * frame, largePlain} {
			for _, a := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "SHA256", "CRC64NVME"} {
				if a == "SHA256" && size == largePlain {
					continue // of an object in parts it would be COMPOSITE
				}
				key := fmt.Sprint(size, a)
				r.putPlain(t, key, pattern(size), func(in *s3.PutObjectInput) { in.ChecksumAlgorithm = a })
				want[key] = sums(key, r.direct)
				want[key][4] = "FULL_OBJECT" // MinIO keeps silent about it
			}
		}
		// Of an upload in parts with COMPOSITE checksums they cannot stay: it has no parts any more.
		id := testbed.Must(r.direct.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: ptr("parts"), ChecksumAlgorithm: "SHA256"}))(t).UploadId
		part := testbed.Must(r.direct.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: ptr("parts"), UploadId: id, PartNumber: ptr(int32(1)), Body: bytes.NewReader(pattern(50)), ChecksumAlgorithm: "SHA256"}))(t)
		testbed.Must(r.direct.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: &r.bucket, Key: ptr("parts"), UploadId: id,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: ptr(int32(1)), ETag: part.ETag, ChecksumSHA256: part.ChecksumSHA256}}},
		}))(t)

		r.wire.AlterResponse(func(resp *http.Response) error {
			if resp.Request.Method == http.MethodGet && strings.HasSuffix(resp.Request.URL.Path, "SHA256") {
				resp.Body = testbed.Flip(resp.Body, 77)
			}
			return nil
		})
		r.wantInPlace(t, "two altered on their way", proxy.Encrypting{}, proxy.Tally{Done: len(want) - 2 + 1, Failed: 2})
		r.wire.AlterResponse(nil)
		r.wantInPlace(t, "again", proxy.Encrypting{}, proxy.Tally{Done: 2, Current: len(want) - 2 + 1})
		for key, shown := range want {
			if diff := cmp.Diff(shown, sums(key, r.client)); diff != "" {
				t.Errorf("%s: %s", key, diff)
			}
		}
		r.want(t, "parts", "parts", pattern(50))
		if got, err := r.verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: len(want) + 1}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// atOnce calls f once, when the first request of the proxy that is told by is comes to the wire, before the store has it.
func (r *rig) atOnce(is func(*http.Request) bool, f func()) {
	var once sync.Once
	r.wire.AlterRequest(func(req *http.Request) error {
		if is(req) {
			once.Do(f)
		}
		return nil
	})
}

// TestEncryptLosesNoWrite: what a client writes or deletes at any moment of it stays, and what another writer puts there in plaintext is sealed.
func TestEncryptLosesNoWrite(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: partsAbove})
		beside := newRig(t, store, options{kit: r})
		mine := pattern(77)
		for _, size := range []int{0, 100, 3 * frame, largePlain} {
			moments := []string{"GET", "PUT"}
			if size == largePlain {
				moments = []string{"GET", "create", "part", "own part", "complete"}
			}
			for _, moment := range moments {
				for what, try := range map[string]struct {
					write func(key string)
					tally proxy.Tally
				}{
					"a client's write": {func(key string) { beside.put(t, key, mine) }, proxy.Tally{Current: 1}},
					"a deletion": {func(key string) {
						testbed.Must(beside.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
					}, proxy.Tally{Gone: 1}},
					"a plaintext write": {func(key string) { r.putPlain(t, key, mine, nil) }, proxy.Tally{Done: 1}},
				} {
					key := fmt.Sprintf("%d/%s/%s", size, moment, what)
					r.putPlain(t, key, pattern(size), nil)
					at := func(req *http.Request) bool {
						return kind(req) == moment && strings.HasPrefix(req.URL.Path, "/"+r.bucket+"/"+fmt.Sprint(size))
					}
					called := false
					r.atOnce(at, func() { called = true; try.write(key) })
					r.wantInPlace(t, key, proxy.Encrypting{Walk: proxy.Walk{Prefix: key}}, try.tally)
					r.wire.AlterRequest(nil)
					if !called {
						t.Errorf("%s: the moment did not come", key)
					}
					if try.tally.Gone == 0 {
						r.want(t, key, key, mine)
						continue
					}
					_, _, err := r.get(t, key, "")
					wantCode(t, err, "NoSuchKey")
				}
			}
		}
		r.wantNoUploads(t)
	})
}

// wantNoUploads fails the test if an upload is in progress, or has left something.
func (r *rig) wantNoUploads(t testing.TB) {
	t.Helper()
	if uploads := testbed.Must(r.direct.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &r.bucket}))(t).Uploads; len(uploads) > 0 {
		t.Errorf("%d uploads are left, of %s", len(uploads), *uploads[0].Key)
	}
	if left := r.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestEncryptIsOverridden: a client that writes behind the replacement, before it is read back, is no failure.
func TestEncryptIsOverridden(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{proxy: partsAbove})
	beside := newRig(t, r.store, options{kit: r})
	for _, size := range []int{100, largePlain} {
		key := fmt.Sprint(size)
		r.putPlain(t, key, pattern(size), nil)
		var gets atomic.Int64
		r.wire.AlterRequest(func(req *http.Request) error {
			if kind(req) == "GET" && strings.HasSuffix(req.RequestURI, "/"+key) && req.Header.Get("Range") == "" && gets.Add(1) == 1 {
				beside.put(t, key, []byte("mine"))
			}
			return nil
		})
		r.wantInPlace(t, key, proxy.Encrypting{Walk: proxy.Walk{Prefix: key}}, proxy.Tally{Done: 1})
		r.wire.AlterRequest(nil)
		r.want(t, key, key, []byte("mine"))
		if gets.Load() != 1 {
			t.Errorf("%s was read back %d times", key, gets.Load())
		}
	}
}

// TestEncryptCutOff: the proxy, or the store, ends at any moment: before the store has a request, or before the proxy has its answer. Each object
// is then as it was, or sealed and whole, and another run brings it to its end.
func TestEncryptCutOff(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: partsAbove})
		steps := map[string]int{"versitygw": 1, "minio": 3} // one of them at each moment is enough for the time that it takes
		for _, size := range []int{3 * frame, 6<<20 + 3} {
			for _, answered := range []bool{false, true} {
				for k := 1; ; k += steps[store.Name] {
					key := fmt.Sprintf("%d/%v/%d", size, answered, k)
					r.putPlain(t, key, pattern(size), nil)
					dying := newRig(t, store, options{kit: r, proxy: partsAbove})
					var seen atomic.Int64
					die := func() error {
						if seen.Add(1) > int64(k) {
							return io.ErrUnexpectedEOF
						}
						return nil
					}
					if answered {
						dying.wire.AlterResponse(func(*http.Response) error { return die() })
					} else {
						dying.wire.AlterRequest(func(*http.Request) error { return die() })
					}
					dying.encrypt(t, proxy.Encrypting{Walk: proxy.Walk{Prefix: key}}) //nolint:errcheck // it may fail
					if _, metadata := r.stored(t, key); metadata["sseproxy"] == "" {
						r.wantInPlace(t, key, proxy.Encrypting{Walk: proxy.Walk{Prefix: key}}, proxy.Tally{Done: 1})
					}
					r.wantKept(t, key, pattern(size))
					if seen.Load() <= int64(k) {
						break
					}
				}
			}
		}
		if got, err := r.verify(t, proxy.Walk{}); err != nil || got.Failed > 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestEncryptBodyCut: a body that breaks off on its way takes nothing's place, also at a store that takes its orderly end for the end of the body.
func TestEncryptBodyCut(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: partsAbove})
		for _, size := range []int{100, 3 * frame, 6<<20 + 3} {
			for _, after := range []int64{1, 90, 2 * frame, 3*frame + 90} {
				key := fmt.Sprintf("%d/%d", size, after)
				r.putPlain(t, key, pattern(size), nil)
				r.wire.AlterRequest(func(req *http.Request) error {
					if k := kind(req); k == "PUT" || k == "part" || k == "own part" {
						req.Body = testbed.CutAfter(req.Body, after)
					}
					return nil
				})
				_, err := r.encrypt(t, proxy.Encrypting{Walk: proxy.Walk{Prefix: key}})
				r.wire.AlterRequest(nil)
				if body, metadata := r.stored(t, key); metadata["sseproxy"] == "" && !bytes.Equal(body, pattern(size)) {
					t.Errorf("%s: %d bytes of %d are left, %v", key, len(body), size, err)
				}
				r.encrypt(t, proxy.Encrypting{Walk: proxy.Walk{Prefix: key}}) //nolint:errcheck // there may be nothing to do
				r.wantKept(t, key, pattern(size))
			}
		}
	})
}

// TestEncryptReadsBack: a store that keeps something else than it was sent is found out at once, as is one that loses the envelope.
func TestEncryptReadsBack(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{proxy: partsAbove})
	for _, size := range []int{100, 3 * frame, largePlain} {
		for _, at := range []int64{0, 20, envelope.SealedSize(100) - 1} {
			key := fmt.Sprintf("%d/%d", size, at)
			r.putPlain(t, key, pattern(size), nil)
			r.wire.AlterRequest(func(req *http.Request) error {
				if k := kind(req); req.URL.Path == "/"+r.bucket+"/"+key && (k == "PUT" || k == "part") {
					req.Body = testbed.Flip(req.Body, at)
				}
				return nil
			})
			r.wantInPlace(t, key, proxy.Encrypting{Walk: proxy.Walk{Prefix: key}}, proxy.Tally{Failed: 1})
			r.wire.AlterRequest(nil)
		}
	}
	r.putPlain(t, "envelope", pattern(100), nil)
	r.wire.AlterResponse(func(resp *http.Response) error { resp.Header.Del("X-Amz-Meta-Sseproxy"); return nil })
	r.wantInPlace(t, "envelope", proxy.Encrypting{Walk: proxy.Walk{Prefix: "envelope"}}, proxy.Tally{Failed: 1})
}

// TestEncryptNeedsConditions: where the store would overwrite what it was told not to, nothing is sealed.
func TestEncryptNeedsConditions(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.putPlain(t, "key", pattern(100), nil)
	for what, back := range map[string]func(*http.Response) error{"200": answers(200, ""), "501": says(501, "NotImplemented"), "403": says(403, "AccessDenied"), "no answer": cut} {
		r.wire.AlterResponse(func(resp *http.Response) error {
			if strings.Contains(resp.Request.URL.Path, "/.sseproxy/probe/") {
				return back(resp)
			}
			return nil
		})
		if got, err := r.encrypt(t, proxy.Encrypting{}); err == nil || got != (proxy.Tally{}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if body, metadata := r.stored(t, "key"); !bytes.Equal(body, pattern(100)) || metadata["sseproxy"] != "" {
		t.Error("it was sealed")
	}
}

// TestEncryptVersions: where the bucket keeps versions, the plaintext stays, and the command says so. A lock that lasts goes on to the sealed
// version; one that is over, which no store would set again, does not keep the object from being sealed or wrapped anew.
func TestEncryptVersions(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: partsAbove, more: []string{"other"}})
		r = newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) { partsAbove(c); c.ReadKeyIDs = []string{"other"} }})
		r.bucket += "-locked"
		testbed.Must(r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &r.bucket, ObjectLockEnabledForBucket: ptr(true)}))(t)
		until, over := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(2*time.Second)
		for name, size := range map[string]int{"small": 100, "large": largePlain} {
			r.putPlain(t, name+" for long", pattern(size), func(in *s3.PutObjectInput) { in.ObjectLockMode, in.ObjectLockRetainUntilDate = "GOVERNANCE", &until })
			r.putPlain(t, name+" over", pattern(size), func(in *s3.PutObjectInput) { in.ObjectLockMode, in.ObjectLockRetainUntilDate = "GOVERNANCE", &over })
		}
		time.Sleep(time.Until(over.Add(time.Second)))
		r.wantInPlace(t, "first", proxy.Encrypting{}, proxy.Tally{Beside: 4})
		r.wantRewrapped(t, proxy.Rewrapping{Keys: map[string]string{"default": "other"}}, proxy.Tally{Done: 4})
		for name, size := range map[string]int{"small": 100, "large": largePlain} {
			r.wantKept(t, name+" for long", pattern(size))
			r.wantKept(t, name+" over", pattern(size))
			if kept, _ := r.locks(t, name+" for long"); !kept.Equal(until) {
				t.Errorf("%s is retained until %v", name, kept)
			}
			list := testbed.Must(r.direct.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket, Prefix: ptr(name + " for")}))(t)
			oldest := list.Versions[len(list.Versions)-1] // versitygw copies an object onto itself without making one
			old := testbed.Must(r.direct.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: oldest.Key, VersionId: oldest.VersionId}))(t)
			if !bytes.Equal(testbed.ReadBody(t, old.Body), pattern(size)) {
				t.Errorf("%s: the oldest version is not the plaintext", name)
			}
		}
	})
}

// TestEncryptUnderRules: what a rule leaves as it is stays so, and is no finding; under a rule with two layers objects of any size get two, and
// keep them with another key.
func TestEncryptUnderRules(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{more: []string{"first", "another", "second"}, proxy: func(c *proxy.Config) {
		partsAbove(c)
		c.DSSEKeyID = "second"
		c.Rules = []proxy.Rule{{Bucket: "*", Prefix: "open/", Bypass: true}, {Bucket: "*", KeyID: "first", KeyIDs: []string{"another"}, Algorithm: "aws:kms:dsse"}}
	}})
	plain := map[string][]byte{"small": pattern(100), "frames": pattern(3 * frame), "large": pattern(largePlain)}
	for key, body := range plain {
		r.putPlain(t, key, body, nil)
	}
	r.putPlain(t, "open/x", pattern(50), nil)
	r.wantInPlace(t, "first", proxy.Encrypting{}, proxy.Tally{Done: 3, Exempt: 1})
	if body, _ := r.stored(t, "open/x"); !bytes.Equal(body, pattern(50)) {
		t.Error("what was to be left as it is was sealed")
	}
	r.wantRewrapped(t, proxy.Rewrapping{Keys: map[string]string{"first": "another"}}, proxy.Tally{Done: 3, Plain: 1})
	for key, body := range plain {
		r.wantKept(t, key, body)
		head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key}))(t)
		if head.ServerSideEncryption != "aws:kms:dsse" || aws.ToString(head.SSEKMSKeyId) != "another" {
			t.Errorf("%s: %s under %s", key, head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId))
		}
	}
	if got, err := r.verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: 3, Exempt: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
}
