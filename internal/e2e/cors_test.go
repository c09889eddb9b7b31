package e2e_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// browse sends a request that a browser makes by itself, and gives its status and the headers that a browser heeds.
func browse(t *testing.T, method, url string, header map[string]string) (status int, heeded map[string]string) {
	t.Helper()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), method, url, nil))(t)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
	testbed.ReadBody(t, resp.Body)
	heeded = map[string]string{}
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
			heeded[name] = strings.Join(resp.Header[name], ", ")
		}
	}
	return resp.StatusCode, heeded
}

// TestCORS: preflights and the requests behind them are answered as the store's configuration of the bucket has it, also
// where the proxy makes the answer, and the store hears no credentials with a preflight.
func TestCORS(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		if store.Name == "versitygw" { // MinIO has one configuration for all buckets
			testbed.Must(r.client.PutBucketCors(t.Context(), &s3.PutBucketCorsInput{Bucket: &r.bucket, CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{
				AllowedOrigins: []string{"https://*.example.com"}, AllowedMethods: []string{"GET", "PUT"}, AllowedHeaders: []string{"*"}, ExposeHeaders: []string{"ETag"}, MaxAgeSeconds: ptr(int32(5)),
			}}}}))(t)
		}
		r.put(t, "key", []byte("body"))
		for _, path := range []string{"/" + r.bucket + "/key", "/" + r.bucket, "/no-such-bucket/key"} {
			for _, origin := range []string{"https://a.example.com", "https://example.org", ""} {
				for _, method := range []string{"GET", "DELETE", ""} {
					header := map[string]string{"Access-Control-Request-Headers": "x-amz-date,authorization"}
					if origin != "" {
						header["Origin"] = origin
					}
					if method != "" {
						header["Access-Control-Request-Method"] = method
					}
					r.wire.Reset()
					status, heeded := browse(t, http.MethodOptions, r.url+path, header)
					wantStatus, want := browse(t, http.MethodOptions, store.URL+path, header)
					if wantStatus == http.StatusNoContent {
						wantStatus = http.StatusOK // as at S3
					}
					if diff := cmp.Diff(want, heeded); diff != "" && origin != "" || status != wantStatus && origin != "" {
						t.Errorf("%s from %q for %q: %d, at the store %d: %s", path, origin, method, status, wantStatus, diff)
					}
					if origin == "" && status != http.StatusBadRequest {
						t.Errorf("%s without an origin: %d", path, status)
					}
					if signers := signersOf(r.wire.Requests()); slices.ContainsFunc(signers, func(s string) bool { return s != "" }) {
						t.Errorf("%s: signed by %q", path, signers)
					}
				}
			}
		}
		presign := s3.NewPresignClient(r.client)
		get := testbed.Must(presign.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
		none := testbed.Must(presign.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: ptr("none")}))(t)
		for _, url := range []string{get.URL, none.URL} {
			_, heeded := browse(t, http.MethodGet, url, map[string]string{"Origin": "https://a.example.com"})
			if heeded["Access-Control-Allow-Origin"] == "" {
				t.Errorf("no origin is allowed: %v", slices.Collect(maps.Keys(heeded)))
			}
			if _, heeded = browse(t, http.MethodGet, url, nil); heeded["Access-Control-Allow-Origin"] != "" {
				t.Errorf("no browser: %v", heeded)
			}
		}
	})
}

// TestPreflightCarriesNothing: of a request that nobody signed the store hears what a preflight is made of, and no more; and of
// the proxy's own keys it hears nothing.
func TestPreflightCarriesNothing(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	header := map[string]string{
		"Origin": "https://a.example.com", "Access-Control-Request-Method": "PUT", "Authorization": "AWS4-HMAC-SHA256 Credential=x",
		"Cookie": "a=b", "X-Amz-Copy-Source": "/" + r.bucket + "/secret", "X-Amz-Meta-Sseproxy": "x", "If-Match": `"x"`, "Content-Type": "text/xml",
	}
	browse(t, http.MethodOptions, r.url+"/"+r.bucket+"/key?acl&x-amz-acl=public-read", header)
	x := r.wire.Requests()
	if len(x) != 1 || x[0].Target != "/"+r.bucket+"/key" || x[0].Size != 0 {
		t.Fatalf("the store was asked %v", x)
	}
	got := slices.Sorted(maps.Keys(x[0].Header))
	if diff := cmp.Diff([]string{"Access-Control-Request-Method", "Origin", "User-Agent"}, got); diff != "" {
		t.Error(diff)
	}
	for _, key := range []string{".sseproxy/x", "a/../.sseproxy/x", "a/../../x"} {
		r.wire.Reset()
		status, _ := browse(t, http.MethodOptions, r.url+"/"+r.bucket+"/"+strings.ReplaceAll(key, "/", "%2F"), header)
		if n := len(r.wire.Requests()); n != 0 || status < 400 {
			t.Errorf("%s: %d, %d requests to the store", key, status, n)
		}
	}
}
