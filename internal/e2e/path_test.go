package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// oddKeys are keys that routers, URL libraries and file systems like to change.
func oddKeys() []string {
	keys := []string{
		"a//b", "a/../b", "a/./b", "./a", ".", "a/..", "a/.", "/a", "//a", "a/", "a//", "/", "//", "a b+c%2F", "a%2fb", "a%20b", "a+b",
		"%", "%%", "%zz", "a?b", "a#b", "a&b=c", "ü", "日本語/キー", "é", "e\u0301", "\U0001F600", "a\nb", "a\tb", "a\x7fb", "a\x01b", "\xff\xfe", "a\\b", "a;b", "a:b@c",
		"https://example.com/a?b=c", "?acl", "?uploads", "acl", strings.Repeat("k/", 512), strings.Repeat("ü", 512),
		".sseprox/a", ".sseproxyy/a", "a/.sseproxy/b", ".SSEPROXY/a",
	}
	var ascii strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		ascii.WriteByte(c)
		keys = append(keys, "a"+string(c)+"b")
	}
	return append(keys, ascii.String())
}

// TestOddKeys: whatever bytes a key has, it is these that the store is asked for, in every operation; and where the store
// keeps such a key, it keeps the object.
func TestOddKeys(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for _, key := range oddKeys() {
			check := func(what string, err error) {
				t.Helper()
				for _, x := range requests(r.wire) {
					path, _, _ := strings.Cut(x.Target, "?")
					if got, unescapeErr := url.PathUnescape(path); unescapeErr != nil || got != "/"+r.bucket+"/"+key {
						t.Errorf("%s %q: the store was asked for %q", what, key, x.Target)
					}
				}
				if n := len(requests(r.wire)); n != 1 {
					t.Errorf("%s %q: %d requests to the store, %v", what, key, n, err)
				}
				r.wire.Reset()
			}
			r.wire.Reset()
			_, putErr := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: strings.NewReader(key)})
			check("PUT", putErr)
			got, _, err := r.get(t, key, "")
			check("GET", err)
			if putErr == nil && !strings.HasSuffix(key, "/") && (err != nil || string(got) != key) {
				t.Errorf("GET %q: %q, %v", key, got, err)
			}
			_, err = r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key})
			check("HEAD", err)
			_, err = r.client.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &r.bucket, Key: &key})
			check("GetObjectTagging", err)
			_, err = r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key})
			check("DELETE", err)

			if a := r.send(t, message{method: "GET", target: "/" + r.bucket + "/" + everyByte(key), hash: sha256hex("")}); a.status == http.StatusForbidden {
				t.Errorf("GET %q, all of it encoded: %s", key, a.body)
			}
			check("GET, all of it encoded,", nil)
		}
	})
}

// everyByte encodes every byte of a key, slashes too.
func everyByte(key string) string {
	var b strings.Builder
	for i := range len(key) {
		fmt.Fprintf(&b, "%%%02x", key[i])
	}
	return b.String()
}
