package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestIdentities: each client's requests go to the store under its own credentials, or else the proxy's; the log names it.
func TestIdentities(t *testing.T) {
	store := testbed.Store(t)
	r := newRig(t, store, options{proxy: func(c *proxy.Config) {
		c.Identities = append(c.Identities,
			proxy.Identity{Name: "own", AccessKeyID: "AKIDOWN", SecretAccessKey: "own secret", Upstream: c.Credentials},
			proxy.Identity{
				Name: "stranger", AccessKeyID: "AKIDSTRANGER", SecretAccessKey: "strange secret",
				Upstream: credentials.NewStaticCredentialsProvider("AKUPSTREAM", "unknown to the store", "upstream token"),
			},
		)
		c.Credentials = credentials.NewStaticCredentialsProvider("AKPROXY", "also unknown", "")
	}})
	for _, try := range []struct{ name, access, secret, upstream, code string }{
		{"own", "AKIDOWN", "own secret", store.AccessKeyID, ""},
		{"tester", accessKey, secretKey, "AKPROXY", "InternalError"},
		{"stranger", "AKIDSTRANGER", "strange secret", "AKUPSTREAM", "InternalError"},
		{"", "AKIDNOBODY", "own secret", "", "InvalidAccessKeyId"},
		{"", "AKIDOWN", secretKey, "", "SignatureDoesNotMatch"},
		{"", "AKUPSTREAM", "unknown to the store", "", "InvalidAccessKeyId"},
	} {
		client := testbed.S3Client(t, r.url, try.access, try.secret, region)
		for what, do := range map[string]func() error{
			"PUT": func() error {
				_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: strings.NewReader("body")})
				return err
			},
			"LIST": func() error {
				_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket})
				return err
			},
		} {
			r.wire.Reset()
			r.logs.TakeAll()
			if err := do(); try.code == "" && err != nil {
				t.Errorf("%s, %s: %v", try.name, what, err)
			} else if try.code != "" {
				wantCode(t, err, try.code)
			}
			signers := signersOf(requests(r.wire))
			if want := strings.Fields(try.upstream); !cmp.Equal(signers, want) && len(signers)+len(want) > 0 {
				t.Errorf("%s, %s: signed by %q, want %q", try.access, what, signers, want)
			}
			for _, x := range r.wire.Requests() {
				if token := x.Header.Get("X-Amz-Security-Token"); (token == "upstream token") != (try.name == "stranger") {
					t.Errorf("%s, %s: session token %q", try.name, what, token)
				}
			}
			if lines := r.logs.TakeAll(); len(lines) != 1 || lines[0].ContextMap()["identity"] != any(try.name) && try.name != "" {
				t.Errorf("%s, %s: logged %v", try.name, what, lines)
			}
		}
	}
}

// signersOf returns the access keys under which requests were signed.
func signersOf(requests []testbed.Exchange) (signers []string) {
	for _, x := range requests {
		_, credential, _ := strings.Cut(x.Header.Get("Authorization"), "Credential=")
		access, _, _ := strings.Cut(credential, "/")
		signers = append(signers, access)
	}
	return signers
}

// TestVirtualHosts: a bucket in the host is the bucket; the store is asked path-style all the same.
func TestVirtualHosts(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{proxy: func(c *proxy.Config) { c.Domains = []string{"s3.example.test", "example.test"} }})
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, r.server.Listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	plain := pattern(frame + 1)
	for _, endpoint := range []string{"http://s3.example.test", "http://S3.Example.TEST:8080", "http://example.test", "http://localhost:9"} {
		for _, pathStyle := range []bool{true, false} {
			if !pathStyle && strings.Contains(endpoint, "localhost") {
				continue // no domain of the proxy's
			}
			c := testbed.S3Client(t, endpoint, accessKey, secretKey, region, func(o *s3.Options) {
				o.UsePathStyle, o.HTTPClient = pathStyle, &http.Client{Transport: transport}
			})
			r.wire.Reset()
			key := "a b//c/+%ü"
			if r.store.Name == "versitygw" {
				key = "a b/c/+%ü"
			}
			testbed.Must(c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(plain)}))(t)
			out := testbed.Must(c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: &key}))(t)
			if got := testbed.ReadBody(t, out.Body); !bytes.Equal(got, plain) {
				t.Errorf("%s, path style %v: %d bytes", endpoint, pathStyle, len(got))
			}
			list := testbed.Must(c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
			if len(list.Contents) != 1 || *list.Contents[0].Key != key || *list.Contents[0].Size != int64(len(plain)) {
				t.Errorf("%s, path style %v: listed %d", endpoint, pathStyle, len(list.Contents))
			}
			for _, x := range r.wire.Requests() {
				if !strings.HasPrefix(x.Target, "/"+r.bucket) || "http://"+x.Host != r.wire.URL {
					t.Errorf("%s, path style %v: asked for %s at %s", endpoint, pathStyle, x.Target, x.Host)
				}
			}
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr(".sseproxy/x"), Body: strings.NewReader("")})
			wantCode(t, err, "AccessDenied")
			testbed.Must(c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
			testbed.Must(c.ListBuckets(t.Context(), nil))(t)
		}
	}
}

// plainSizes are sizes of plaintext objects; some are lengths that sealed objects have.
var plainSizes = []int{
	0, 1, 1000, frame, 3*frame + 17, int(envelope.SealedSize(1)), int(envelope.SealedSize(1000)), int(envelope.SealedSize(2*frame + 1)),
}

// TestPlaintextDenied: an object without an envelope cannot be read, and the refusal says why; but written over and deleted.
func TestPlaintextDenied(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for _, n := range plainSizes {
			key := fmt.Sprint(n)
			r.putStored(t, key, pattern(n), map[string]string{"a": "b"})
			for _, byteRange := range []string{"", "bytes=0-0", "bytes=-5", "bytes=100000-", "bytes=9999999-"} {
				_, _, err := r.get(t, key, byteRange)
				wantCode(t, err, "AccessDenied")
				if err != nil && !strings.Contains(err.Error(), "SSEPROXY_PLAINTEXT_READS") {
					t.Errorf("%d bytes, %q: %v", n, byteRange, err)
				}
			}
			if _, err := r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key}); statusOf(err) != http.StatusForbidden {
				t.Errorf("%d bytes, HEAD: %v", n, err)
			}
		}
		list := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
		for _, o := range list.Contents {
			want := testbed.Must(r.direct.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: o.Key}))(t).ContentLength
			if size, ok := envelope.PlaintextSize(*want); ok {
				want = &size
			}
			if *o.Size != *want {
				t.Errorf("%s is listed with %d bytes, want %d", *o.Key, *o.Size, *want)
			}
		}
		r.put(t, "1000", []byte("sealed"))
		if got, _, err := r.get(t, "1000", ""); err != nil || string(got) != "sealed" {
			t.Errorf("written over: %q, %v", got, err)
		}
		testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("1")}))(t)
		_, _, err := r.get(t, "1", "")
		wantCode(t, err, "NoSuchKey")
	})
}

// TestPlaintextAllowed: while it is allowed, plaintext objects read as at the store, and listings tell both kinds apart.
func TestPlaintextAllowed(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: func(c *proxy.Config) { c.PlaintextReads = true }})
		sizes := map[string]int64{}
		for _, n := range plainSizes {
			key := fmt.Sprintf("plain %d", n)
			sizes[key], sizes[fmt.Sprintf("sealed %d", n)] = int64(n), int64(n)
			r.putStored(t, key, pattern(n), map[string]string{"a": "b"})
			r.put(t, fmt.Sprintf("sealed %d", n), pattern(n))
			for _, header := range []string{"", "bytes=0-0", "bytes=5-", "bytes=-5", "bytes=60000-70000", "bytes=0-999999", "bytes=9999999-"} {
				if n == 0 && header != "" {
					continue
				}
				if got, want := rawGet(t, r.client, r.bucket, key, header), rawGet(t, r.direct, r.bucket, key, header); got != want {
					t.Errorf("%d bytes, %q:\n got %s\nwant %s", n, header, got, want)
				}
			}
			head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key}))(t)
			_, get, err := r.get(t, key, "")
			if err != nil || *head.ContentLength != int64(n) || head.Metadata["a"] != "b" || *head.ETag != *get.ETag || head.ServerSideEncryption != "" {
				t.Errorf("%d bytes: HEAD %d %v %s, GET %s, %v", n, *head.ContentLength, head.Metadata, *head.ETag, *get.ETag, err)
			}
			m := message{method: "HEAD", target: "/" + r.bucket + "/" + strings.ReplaceAll(key, " ", "%20"), hash: sha256hex(""), header: map[string]string{"Range": "bytes=9999999-"}}
			if a := r.send(t, m); a.status != http.StatusRequestedRangeNotSatisfiable || a.header.Get("Etag") != "" || a.header.Get("Content-Length") == fmt.Sprint(n) {
				t.Errorf("%d bytes, HEAD of a range that it does not have: %d %v", n, a.status, a.header)
			}
		}
		listed := func() (requests int) {
			r.wire.Reset()
			got := map[string]int64{}
			for _, o := range testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t).Contents {
				got[*o.Key] = *o.Size
			}
			if diff := cmp.Diff(sizes, got); diff != "" {
				t.Errorf("listing: %s", diff)
			}
			return len(r.wire.Requests())
		}
		if n := listed(); n > 1+len(sizes) {
			t.Errorf("%d requests for a first listing of %d", n, len(sizes))
		}
		if n := listed(); n != 1 {
			t.Errorf("%d requests for a second listing", n)
		}
		r.putStored(t, "sealed 1", pattern(int(envelope.SealedSize(1))), nil)
		sizes["sealed 1"] = envelope.SealedSize(1)
		if n := listed(); n != 2 {
			t.Errorf("%d requests for a listing with one object changed", n)
		}

		r.putStored(t, "sealed 1", pattern(int(envelope.SealedSize(2))), nil)
		r.wire.AlterResponse(func(resp *http.Response) error {
			if resp.Request.Header.Get("Range") != "" {
				resp.StatusCode = http.StatusServiceUnavailable
			}
			return nil
		})
		if _, err := r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}); statusOf(err) != http.StatusServiceUnavailable {
			t.Errorf("a listing with an object that the store does not tell about: %v", err)
		}
		r.wire.AlterResponse(nil)

		r.put(t, "key", pattern(1000))
		r.wire.AlterResponse(func(resp *http.Response) error { resp.Body = testbed.Flip(resp.Body, 500); return nil })
		for _, byteRange := range []string{"", "bytes=0-9"} {
			if got, _, err := r.get(t, "key", byteRange); err == nil {
				t.Errorf("a sealed object with a flipped bit, %q: %d bytes and no error", byteRange, len(got))
			}
		}
		var asked atomic.Int64
		r.wire.AlterResponse(func(resp *http.Response) error {
			if asked.Add(1) == 1 {
				resp.Header.Del("X-Amz-Meta-Sseproxy") // as of an object that is replaced by the sealed one
			}
			return nil
		})
		if got, _, err := r.get(t, "key", "bytes=0-9"); err != nil || !bytes.Equal(got, pattern(10)) {
			t.Errorf("replaced by a sealed object while it is read: %x, %v", got, err)
		}
	})
}
