package e2e_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// clock is a time that a test sets.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// withClock gives a rig whose keys live by a clock of the test's, in the bucket and keyring of another.
func withClock(t *testing.T, kit *rig) (*rig, *clock) {
	c := new(clock)
	return newRig(t, kit.store, options{kit: kit, keys: func(cfg *keys.CacheConfig) {
		cfg.Now = c.now
		cfg.Provider = testbed.Must(keys.NewLocal(keys.LocalConfig{Path: kit.keyring, Now: c.now}))(t)
	}}), c
}

func editKeyring(t testing.TB, path string, edit func(*keys.Keyring) error) {
	t.Helper()
	if err := keys.EditKeyring(path, edit); err != nil {
		t.Fatal(err)
	}
}

// TestDisabledKey: when the cache's time-to-live is over, a disabled key neither seals nor opens, until it is enabled.
func TestDisabledKey(t *testing.T) {
	r, clock := withClock(t, newRig(t, testbed.Store(t), options{}))
	r.put(t, "key", []byte("body"))
	works := func(want string) {
		t.Helper()
		_, _, err := r.get(t, "key", "")
		_, putErr := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("new"), Body: bytes.NewReader(pattern(3 << 20))})
		for _, err := range []error{err, putErr} {
			if want == "" && err != nil {
				t.Error(err)
			} else if want != "" {
				wantCode(t, err, want)
			}
		}
		if _, err := r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}); (err == nil) != (want == "") {
			t.Errorf("HEAD: %v", err)
		}
	}
	works("")
	editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Disable("default", 1) })
	clock.advance(4 * time.Minute)
	works("")
	clock.advance(61 * time.Second)
	r.wire.Reset()
	works("KMS.DisabledException")
	for _, x := range r.wire.Requests() {
		if x.Method == http.MethodPut {
			t.Error("the store heard of a PUT that cannot be sealed")
		}
	}
	editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Enable("default", 1) })
	clock.advance(2 * time.Second)
	works("")
	testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t) // needs no key at any time
}

// TestRotation: after a rotation new objects use the new version, and old ones stay readable until theirs is disabled.
func TestRotation(t *testing.T) {
	r, clock := withClock(t, newRig(t, testbed.Store(t), options{}))
	version := func(key string) uint32 {
		_, metadata := r.stored(t, key)
		return binary.BigEndian.Uint32(testbed.Must(envelope.Parse(metadata["sseproxy"]))(t).WrappedKey)
	}
	r.put(t, "old", []byte("old"))
	editKeyring(t, r.keyring, func(k *keys.Keyring) error {
		v, err := k.Add("default", time.Now())
		if err != nil {
			return err
		}
		return k.SetPrimary("default", v)
	})
	clock.advance(6 * time.Minute)
	r.put(t, "new", []byte("new"))
	if o, n := version("old"), version("new"); o != 1 || n != 2 {
		t.Errorf("old object under version %d, new one under %d", o, n)
	}
	for _, key := range []string{"old", "new"} {
		if got, _, err := r.get(t, key, ""); err != nil || string(got) != key {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Disable("default", 1) })
	clock.advance(6 * time.Minute)
	_, _, err := r.get(t, "old", "")
	wantCode(t, err, "KMS.DisabledException")
	if got, _, err := r.get(t, "new", ""); err != nil || string(got) != "new" {
		t.Errorf("new: %q, %v", got, err)
	}
	r.put(t, "old", []byte("old again"))
}

// TestAnotherDeployment: with another keyring, be the key called the same or not, nothing opens.
func TestAnotherDeployment(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", pattern(3*frame))
	for _, name := range []string{"default", "other"} {
		keyring := filepath.Join(t.TempDir(), "keyring.json")
		createKey(t, keyring, name)
		other := newRig(t, r.store, options{kit: &rig{bucket: r.bucket, keyring: keyring}, proxy: func(c *proxy.Config) { c.KeyID = name }})
		for _, byteRange := range []string{"", "bytes=0-9", "bytes=-1"} {
			if got, _, err := other.get(t, "key", byteRange); statusOf(err) < 400 || len(got) > 0 {
				t.Errorf("key %s, %q: %d bytes, %v", name, byteRange, len(got), err)
			}
		}
		if _, err := other.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}); statusOf(err) < 400 {
			t.Errorf("key %s: HEAD %v", name, err)
		}
	}
	if got, _, err := r.get(t, "key", ""); err != nil || !bytes.Equal(got, pattern(3*frame)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestReplicas: what one replica has done another knows, at once and whatever it had seen before.
func TestReplicas(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		a := newRig(t, store, options{})
		b := newRig(t, store, options{kit: a})
		for i, n := range []int{0, 10, frame + 1, 3 << 20} {
			writer, reader := a, b
			if i%2 == 1 {
				writer, reader = b, a
			}
			plain := pattern(n)
			put := writer.put(t, "key", plain)
			for _, r := range []*rig{writer, reader} {
				got, out, err := r.get(t, "key", "")
				if err != nil || !bytes.Equal(got, plain) || *out.ETag != *put.ETag {
					t.Errorf("%d bytes: got %d, %v", n, len(got), err)
				}
				list := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
				if *list.Contents[0].Size != int64(n) || *list.Contents[0].ETag != *put.ETag {
					t.Errorf("%d bytes: listed %d", n, *list.Contents[0].Size)
				}
			}
			_, err := reader.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &a.bucket, Key: ptr("key"), Body: strings.NewReader(""), IfMatch: ptr(`"0123-sse"`)})
			wantCode(t, err, "PreconditionFailed")
		}
		presigned := testbed.Must(s3.NewPresignClient(a.client).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &a.bucket, Key: ptr("key")}))(t)
		u := testbed.Must(url.Parse(presigned.URL))(t)
		req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+u.RequestURI(), nil))(t)
		req.Host = u.Host // as behind one name
		resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
		if body := testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusOK || len(body) != 3<<20 {
			t.Errorf("a URL of one at the other: %d, %d bytes", resp.StatusCode, len(body))
		}
		var both sync.WaitGroup
		for i, r := range []*rig{a, b, a, b} {
			both.Go(func() {
				for j := range 10 {
					key := fmt.Sprintf("%d-%d", i, j)
					if _, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: strings.NewReader(key)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		both.Wait()
		for i, r := range []*rig{b, a, b, a} {
			for j := range 10 {
				key := fmt.Sprintf("%d-%d", i, j)
				if got, _, err := r.get(t, key, ""); err != nil || string(got) != key {
					t.Errorf("%s: %q, %v", key, got, err)
				}
			}
		}
	})
}
