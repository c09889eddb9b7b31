package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestRewrap: after a rotation, or with another key, objects of every kind get envelopes under it, and keep all else; then the old version
// is not needed any more, and it alone opens nothing. What a second run, a dry run, or one behind a key finds is counted.
func TestRewrap(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, nil)
		plain := map[string][]byte{}
		for _, name := range []string{"none", "SSE-KMS", "bucket key", "with context", "named key"} {
			single, multi := pattern(frame+len(name)), pattern(5<<20+len(name))
			r.ask(t, "PUT", name+"/single", single, encryptions[name].headers(encryptionName), http.Header{"X-Amz-Meta-A": {"b"}, "X-Amz-Tagging": {"t=1"}})
			r.putEncrypted(t, name+"/multi", encryptions[name], multi[:5<<20], multi[5<<20:])
			plain[name+"/single"], plain[name+"/multi"] = single, multi
		}
		r.ask(t, "PUT", "empty", nil)
		plain["empty"] = nil
		r.ask(t, "PUT", "of a customer", []byte("x"), encryptions["SSE-C"].headers(encryptionName))
		testbed.Must(r.direct.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("plain"), Body: bytes.NewReader([]byte("x"))}))(t)
		old := filepath.Join(t.TempDir(), "old.json")
		if err := os.WriteFile(old, testbed.Must(os.ReadFile(r.keyring))(t), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"default", "other"} {
			editKeyring(t, r.keyring, func(k *keys.Keyring) error {
				v, err := k.Add(id, time.Now())
				if err != nil {
					return err
				}
				return k.SetPrimary(id, v)
			})
		}
		replica := func(keyring string) *rig {
			return newRig(t, store, options{kit: &rig{bucket: r.bucket, keyring: keyring}, tls: true, proxy: func(c *proxy.Config) {
				c.Rules = []proxy.Rule{{Bucket: "*", KeyID: "default", KeyIDs: []string{"other"}, BucketKey: true}}
			}})
		}
		fresh := replica(r.keyring) // its cache holds no intermediate key of the version before
		fresh.wantRewrapped(t, proxy.Rewrapping{DryRun: true}, proxy.Tally{Done: 11, Customer: 1, Plain: 1})
		fresh.wantRewrapped(t, proxy.Rewrapping{Walk: proxy.Walk{Prefix: "none/", After: "none/multi"}}, proxy.Tally{Done: 1})
		fresh.wire.Reset()
		fresh.wantRewrapped(t, proxy.Rewrapping{}, proxy.Tally{Done: 10, Current: 1, Customer: 1, Plain: 1})
		for _, x := range fresh.wire.Requests() {
			if x.Size > 0 || x.ResponseSize > 20_000 {
				t.Errorf("%s %s moved %d bytes there and %d back", x.Method, x.Target, x.Size, x.ResponseSize)
			}
		}
		fresh.wantRewrapped(t, proxy.Rewrapping{}, proxy.Tally{Current: 11, Customer: 1, Plain: 1})
		for _, id := range []string{"default", "other"} {
			editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Disable(id, 1) })
		}
		after, before := replica(r.keyring), replica(old)
		for key, want := range plain {
			got, head, err := after.get(t, key, "")
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s without the old version: %d bytes of %d, %v", key, len(got), len(want), err)
			}
			if err == nil && bytes.HasSuffix([]byte(key), []byte("/single")) && (head.Metadata["a"] != "b" || aws.ToInt32(head.TagCount) != 1) {
				t.Errorf("%s: metadata %v, %v tags", key, head.Metadata, head.TagCount)
			}
			if _, _, err := before.get(t, key, ""); err == nil {
				t.Errorf("%s opens with the old version alone", key)
			}
		}
		after.wantRewrapped(t, proxy.Rewrapping{Walk: proxy.Walk{Prefix: "none/"}, Keys: map[string]string{"default": "other"}}, proxy.Tally{Done: 2})
		if got, _, err := after.get(t, "none/single", ""); err != nil || !bytes.Equal(got, plain["none/single"]) {
			t.Errorf("under another key: %d bytes, %v", len(got), err)
		}
		after.wantRewrapped(t, proxy.Rewrapping{Walk: proxy.Walk{Prefix: "SSE-KMS/"}, Keys: map[string]string{"default": "nobody's"}}, proxy.Tally{Failed: 2})
	})
}

// TestRewrapInParts: what is too large for one copy is copied in parts. Its sealed bytes stay as they are, and so do parts, headers, tags and
// locks; no body moves.
func TestRewrapInParts(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, partsAbove)
		plain := make(map[string][]byte)
		for key, parts := range map[string][]int{"even": {mib5, mib5, mib5}, "short end": {mib5, mib5, 7}, "odd": {mib5 + 1, mib5 + 70_000, 3}} {
			id := r.startUpload(t, key, s3.CreateMultipartUploadInput{
				ContentType: ptr("text/odd"), CacheControl: ptr("max-age=7"), ContentDisposition: ptr("inline"), ContentEncoding: ptr("x-odd"), ContentLanguage: ptr("tlh"),
				Metadata: map[string]string{"a": "b"}, Tagging: ptr("t=1&u=a%20b"),
			})
			var done []types.CompletedPart
			for i, size := range parts {
				body := pattern(size + i)[i:]
				plain[key] = append(plain[key], body...)
				done = append(done, r.sendPart(t, key, id, i+1, body, ""))
			}
			testbed.Must(r.complete(t, key, id, done...))(t)
		}
		r.put(t, "single", pattern(7<<20))
		sealed := make(map[string][]byte)
		for key := range plain {
			sealed[key], _ = r.stored(t, key)
		}
		r.wire.Reset()
		r.wantRewrapped(t, proxy.Rewrapping{Keys: map[string]string{"default": "other"}}, proxy.Tally{Done: 4})
		ranges := 0
		for _, x := range r.wire.Requests() {
			if x.Size > 2000 || x.ResponseSize > frame {
				t.Errorf("%s %s moved %d bytes there and %d back", x.Method, x.Target, x.Size, x.ResponseSize)
			}
			if x.Header.Get("X-Amz-Copy-Source-Range") != "" {
				ranges++
			}
		}
		if ranges < 2*4 {
			t.Errorf("%d ranges were copied", ranges)
		}
		r.wantNoUploads(t)
		fresh := newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.KeyID = "other" }}) // has no other key
		for key, body := range plain {
			fresh.wantKept(t, key, body)
			if now, _ := r.stored(t, key); !bytes.Equal(now, sealed[key]) {
				t.Errorf("%s: other sealed bytes", key)
			}
			head := testbed.Must(fresh.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key, PartNumber: ptr(int32(2))}))(t)
			if *head.PartsCount != 3 {
				t.Errorf("%s has %d parts", key, *head.PartsCount)
			}
		}
		fresh.want(t, "single", "single", pattern(7<<20))
		if got, err := fresh.verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: 4}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestRewrapInPartsLosesNoWrite: what is written or deleted at any moment of it stays.
func TestRewrapInPartsLosesNoWrite(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, partsAbove)
		beside := newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.KeyID = "other" }})
		for _, moment := range []string{"create", "part", "complete"} {
			for what, try := range map[string]struct {
				write func(key string)
				tally proxy.Tally
			}{
				"a write":         {func(key string) { beside.put(t, key, []byte("mine")) }, proxy.Tally{Current: 1}},
				"another as long": {func(key string) { beside.put(t, key, pattern(7<<20 + 1)[1:]) }, proxy.Tally{Current: 1}},
				"a deletion": {func(key string) {
					testbed.Must(r.direct.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
				}, proxy.Tally{Gone: 1}},
			} {
				key := moment + "/" + what
				r.put(t, key, pattern(7<<20))
				r.atOnce(func(req *http.Request) bool { return kind(req) == moment }, func() { try.write(key) })
				r.wantRewrapped(t, proxy.Rewrapping{Walk: proxy.Walk{Prefix: key}, Keys: map[string]string{"default": "other"}}, try.tally)
				r.wire.AlterRequest(nil)
				switch what {
				case "a write":
					beside.want(t, key, key, []byte("mine"))
				case "another as long":
					beside.want(t, key, key, pattern(7<<20 + 1)[1:])
				default:
					_, _, err := r.get(t, key, "")
					wantCode(t, err, "NoSuchKey")
				}
			}
		}
		r.wantNoUploads(t)
	})
}

// TestRewrapInPartsFails: where the store fails at any step, the object stays as it was or is wrapped anew, no upload is left where it may be
// aborted, and another run brings it to its end.
func TestRewrapInPartsFails(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, partsAbove)
		again := proxy.Rewrapping{Keys: map[string]string{"default": "other"}}
		for _, moment := range []string{"create", "part", "complete"} {
			for what, f := range map[string]fire{
				"503":               {moment, true, says(503, "SlowDown")},
				"no answer":         {moment, true, cut},
				"an error in a 200": {moment, true, says(200, "InternalError")},
				"done, no answer":   {moment, false, cut},
			} {
				key := moment + "/" + what
				r.put(t, key, pattern(7<<20))
				again.Prefix = key
				r.under(f)
				_, err := r.proxy.Rewrap(t.Context(), proxy.Rewrapping{Walk: proxy.Walk{Bucket: r.bucket, Prefix: key}, Keys: again.Keys})
				r.under(fire{})
				if err != nil {
					t.Errorf("%s: %v", key, err)
				}
				r.want(t, key, key, pattern(7<<20))
				if key != "create/done, no answer" {
					r.wantNoUploads(t)
				}
				for range 2 { // one of them has nothing to do
					if got, err := r.proxy.Rewrap(t.Context(), proxy.Rewrapping{Walk: proxy.Walk{Bucket: r.bucket, Prefix: key}, Keys: again.Keys}); err != nil || got.Failed > 0 {
						t.Errorf("%s: %+v, %v", key, got, err)
					}
				}
				r.want(t, key, key, pattern(7<<20))
				for _, u := range testbed.Must(r.direct.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &r.bucket}))(t).Uploads {
					testbed.Must(r.direct.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: u.Key, UploadId: u.UploadId}))(t)
				}
			}
		}
	})
}

// TestRewrapOddKeys: a key with characters that XML has no form for, or that look encoded, is found like any other; where the store does
// not encode keys in listings, it is not taken for gone.
func TestRewrapOddKeys(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, nil)
		for _, path := range []string{"a%01b", "c%20d%2Be", "f%2541"} {
			if got := r.ask(t, "PUT", path, []byte("x")); got.StatusCode != http.StatusOK {
				t.Fatalf("PUT %s: %s", path, got.Status)
			}
		}
		defer r.ask(t, "DELETE", "a%01b", nil) // the store's own cleaning does not find it
		want := proxy.Tally{Done: 3}
		if listed := testbed.Must(r.direct.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket, EncodingType: "url"}))(t); listed.EncodingType == "" {
			want = proxy.Tally{Done: 2, Failed: 1}
		}
		r.wantRewrapped(t, proxy.Rewrapping{Keys: map[string]string{"default": "other"}}, want)
	})
}

func (r *rig) wantRewrapped(t testing.TB, w proxy.Rewrapping, want proxy.Tally) {
	t.Helper()
	w.Bucket = r.bucket
	got, err := r.proxy.Rewrap(t.Context(), w)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(fmt.Sprintf("%+v: %v ", w.Keys, err) + diff)
	}
}
