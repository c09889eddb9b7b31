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
