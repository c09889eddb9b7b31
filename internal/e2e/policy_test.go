package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/policy"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

const policies = `
permit (principal == Identity::"tester", action, resource);

// writes backups, and cannot read them back
permit (principal == Identity::"writer", action == Action::"write", resource is Object) when { resource.key like "team-a/*" };
permit (principal == Identity::"writer", action == Action::"list", resource is Bucket) when { context.prefix like "team-a/*" };
permit (principal == Identity::"writer", action == Action::"read", resource is Object) when { resource.key like "shared/*" };
permit (principal == Identity::"writer", action == Action::"delete", resource is Object) when { resource.key like "team-a/*" };
forbid (principal == Identity::"writer", action == Action::"delete", resource) when { context.version != "" };
permit (principal == Identity::"writer", action == Action::"encrypt", resource == Key::"default");

permit (principal == Identity::"reader", action == Action::"read", resource);
permit (principal == Identity::"reader", action == Action::"decrypt", resource == Key::"default");
permit (principal == Identity::"keyless", action in [Action::"read", Action::"write"], resource);

permit (principal is Anonymous, action == Action::"read", resource is Object) when { resource.key like "public/*" };
permit (principal is Anonymous, action == Action::"write", resource is Object) when { resource.key like "inbox/*" };
permit (principal is Anonymous, action in [Action::"encrypt", Action::"decrypt"], resource == Key::"default");
`

// newPolicyRig is a rig with the policies above, or others, and an identity for each name in them.
func newPolicyRig(t *testing.T, store *testbed.S3Store, text string, change func(*proxy.Config)) *rig {
	t.Helper()
	return newRig(t, store, options{more: []string{"other"}, proxy: func(c *proxy.Config) {
		c.Policy = testbed.Must(policy.Parse([]byte(text)))(t)
		for _, name := range []string{"writer", "reader", "keyless"} {
			c.Identities = append(c.Identities, proxy.Identity{Name: name, AccessKeyID: "AKID" + strings.ToUpper(name), SecretAccessKey: "secret of " + name})
		}
		c.Rules = []proxy.Rule{{Bucket: "*", KeyID: "default", KeyIDs: []string{"other"}, BucketKey: true}}
		if change != nil {
			change(c)
		}
	}})
}

// as returns an SDK client of an identity.
func (r *rig) as(t testing.TB, name string) *s3.Client {
	t.Helper()
	if name == "tester" {
		return r.client
	}
	return testbed.S3Client(t, r.url, "AKID"+strings.ToUpper(name), "secret of "+name, region)
}

// TestPolicy: each identity may do what a policy permits, and of anything else nothing reaches the store or the key provider.
func TestPolicy(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newPolicyRig(t, store, policies, nil)
		for _, key := range []string{"team-a/x", "team-b/x", "shared/x", "public/x"} {
			r.put(t, key, []byte("body of "+key))
		}
		if _, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &r.bucket, Key: ptr("shared/other"), Body: strings.NewReader("under another key"),
			ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: ptr("other"),
		}); err != nil {
			t.Fatal(err)
		}
		put := func(key string, change ...func(*s3.PutObjectInput)) func(*s3.Client) error {
			return func(c *s3.Client) error {
				in := &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: strings.NewReader("new")}
				for _, f := range change {
					f(in)
				}
				_, err := c.PutObject(t.Context(), in)
				return err
			}
		}
		get := func(key string) func(*s3.Client) error {
			return func(c *s3.Client) error {
				out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
				if err == nil {
					_, err = io.Copy(io.Discard, out.Body)
				}
				return err
			}
		}
		head := func(key string) func(*s3.Client) error {
			return func(c *s3.Client) error {
				return second(c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key}))
			}
		}
		list := func(prefix string) func(*s3.Client) error {
			return func(c *s3.Client) error {
				return second(c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket, Prefix: &prefix}))
			}
		}
		copyFrom := func(source, key string) func(*s3.Client) error {
			return func(c *s3.Client) error {
				return second(c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &r.bucket, Key: &key, CopySource: ptr(r.bucket + "/" + source)}))
			}
		}
		updateKey := func(key string) func(*s3.Client) error {
			return func(c *s3.Client) error {
				return second(c.UpdateObjectEncryption(t.Context(), &s3.UpdateObjectEncryptionInput{Bucket: &r.bucket, Key: &key, ObjectEncryption: &types.ObjectEncryptionMemberSSEKMS{
					Value: types.SSEKMSEncryption{KMSKeyArn: ptr("other")},
				}}))
			}
		}
		underOther := func(in *s3.PutObjectInput) {
			in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, ptr("other")
		}
		buckets := func(c *s3.Client) error { return second(c.ListBuckets(t.Context(), &s3.ListBucketsInput{})) }
		for _, step := range []struct {
			who, what string
			do        func(*s3.Client) error
			code      string
			asks      int // requests that the store gets although it is refused
		}{
			{"writer", "PUT of its own", put("team-a/x"), "", 0},
			{"writer", "PUT of another's", put("team-b/x"), "AccessDenied", 0},
			{"writer", "PUT that climbs", put("team-a/../team-b/x"), "AccessDenied", 0},
			{"writer", "PUT that climbs in", put("team-b/../team-a/x"), "AccessDenied", 0},
			{"writer", "PUT under another key", put("team-a/x", underOther), "AccessDenied", 0},
			{"writer", "GET of its own", get("team-a/x"), "AccessDenied", 0},
			{"writer", "HEAD of its own", head("team-a/x"), "Forbidden", 0},
			{"writer", "LIST of its own", list("team-a/"), "", 0},
			{"writer", "LIST of another's", list("team-b/"), "AccessDenied", 0},
			{"writer", "LIST that climbs", list("team-a/../team-b/"), "AccessDenied", 0},
			{"writer", "LIST of all", list(""), "AccessDenied", 0},
			{"writer", "LIST of buckets", buckets, "AccessDenied", 0},
			{"tester", "LIST of buckets", buckets, "", 0},
			{"writer", "copy of another's", copyFrom("team-b/x", "team-a/y"), "AccessDenied", 0},
			{"writer", "copy that climbs", copyFrom("shared/../team-b/x", "team-a/y"), "AccessDenied", 0},
			{"writer", "copy to another's", copyFrom("shared/x", "team-b/y"), "AccessDenied", 0},
			{"writer", "copy of what it may read without its key", copyFrom("shared/x", "team-a/y"), "AccessDenied", 0},
			{"writer", "another key for its own", updateKey("team-a/x"), "AccessDenied", 0},
			{"reader", "GET", get("team-b/x"), "", 0},
			{"reader", "HEAD", head("team-b/x"), "", 0},
			{"reader", "GET under another key", get("shared/other"), "AccessDenied", 1},
			{"reader", "PUT", put("team-a/x"), "AccessDenied", 0},
			{"keyless", "GET", get("team-b/x"), "AccessDenied", 0},
			{"keyless", "PUT", put("team-b/x"), "AccessDenied", 0},
			{"tester", "GET", get("shared/other"), "", 0},
		} {
			r.wire.Reset()
			before := r.provider.Calls.Load()
			err := step.do(r.as(t, step.who))
			if step.code == "" {
				if err != nil {
					t.Errorf("%s, %s: %v", step.who, step.what, err)
				}
				continue
			}
			wantCode(t, err, step.code)
			if asked := requests(r.wire); len(asked) != step.asks || r.provider.Calls.Load() != before {
				t.Errorf("%s, %s: the store was asked %v, the key provider %d times", step.who, step.what, asked, r.provider.Calls.Load()-before)
			}
			if t.Failed() {
				t.Fatalf("%s, %s", step.who, step.what)
			}
		}
	})
}

// TestPolicyRoot: a key of which nothing is left as a path is, to some stores, the bucket: rights to objects are not enough for it.
func TestPolicyRoot(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), `permit (principal == Identity::"tester", action, resource);
		permit (principal == Identity::"writer", action, resource is Object); permit (principal == Identity::"writer", action, resource is Key);`, nil)
	for _, key := range []string{"/", ".", "a/.."} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			m := message{method: method, target: "/" + r.bucket + "/" + key, hash: sha256hex(""), access: "AKIDWRITER", secret: "secret of writer"}
			if a := r.send(t, m); a.Code != "AccessDenied" || len(r.wire.Requests()) > 0 {
				t.Errorf("%s %q: %d %s, and the store was asked %v", method, key, a.status, a.Code, r.wire.Requests())
			}
		}
	}
	wantCode(t, second(r.as(t, "writer").CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &r.bucket, Key: ptr("x"), CopySource: ptr(r.bucket + "//")})), "AccessDenied")
}

// TestUnsignedSDK: an SDK without credentials reads and writes what it may, whatever checksum or framing it chooses.
func TestUnsignedSDK(t *testing.T) {
	for _, tls := range []bool{false, true} {
		r := newRig(t, testbed.Store(t), options{tls: tls, proxy: func(c *proxy.Config) { c.Policy = testbed.Must(policy.Parse([]byte(policies)))(t) }})
		nobody := r.newClient(t, func(o *s3.Options) { o.Credentials = aws.AnonymousCredentials{} })
		key := ptr("inbox/x")
		testbed.Must(nobody.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: key, Body: strings.NewReader("a letter")}))(t)
		if got, _, err := r.get(t, *key, ""); string(got) != "a letter" || err != nil {
			t.Errorf("tls %t: %q, %v", tls, got, err)
		}
		upload := testbed.Must(nobody.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: key}))(t)
		part := testbed.Must(nobody.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: &r.bucket, Key: key, UploadId: upload.UploadId, PartNumber: ptr(int32(1)), Body: strings.NewReader("in parts"),
		}))(t)
		testbed.Must(nobody.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: &r.bucket, Key: key, UploadId: upload.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: ptr(int32(1))}}},
		}))(t)
		if got, _, err := r.get(t, *key, ""); string(got) != "in parts" || err != nil {
			t.Errorf("tls %t: %q, %v", tls, got, err)
		}
		wantCode(t, second(nobody.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: key})), "AccessDenied")
	}
}

// TestPolicyUploads: who may write may upload in parts, with the right to encrypt alone; who may not gets nowhere.
func TestPolicyUploads(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), policies, nil)
	r.put(t, "team-b/x", pattern(5<<20))
	r.put(t, "shared/x", []byte("shared"))
	writer := r.as(t, "writer")
	key := ptr("team-a/parts")
	made := testbed.Must(writer.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: key}))(t)
	part := testbed.Must(writer.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: &r.bucket, Key: key, UploadId: made.UploadId, PartNumber: ptr(int32(1)), Body: strings.NewReader("part"),
	}))(t)
	for what, err := range map[string]error{
		"AccessDenied copy of another's": second(writer.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
			Bucket: &r.bucket, Key: key, UploadId: made.UploadId, PartNumber: ptr(int32(2)), CopySource: ptr(r.bucket + "/team-b/x"),
		})),
		"AccessDenied part of a reader": second(r.as(t, "reader").UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: &r.bucket, Key: key, UploadId: made.UploadId, PartNumber: ptr(int32(1)), Body: strings.NewReader("other"),
		})),
		"AccessDenied upload of a keyless one": second(r.as(t, "keyless").CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: key})),
	} {
		if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", what, err)
		}
	}
	done := types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: ptr(int32(1))}}}
	_, err := r.as(t, "keyless").CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &r.bucket, Key: key, UploadId: made.UploadId, MultipartUpload: &done,
	})
	wantCode(t, err, "AccessDenied")
	testbed.Must(writer.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &r.bucket, Key: key, UploadId: made.UploadId, MultipartUpload: &done,
	}))(t)
	if got, _, err := r.get(t, *key, ""); string(got) != "part" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPolicyDeletes: of many objects those go that may, and for each of the others the answer has an error.
func TestPolicyDeletes(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newPolicyRig(t, store, policies, nil)
		for _, key := range []string{"team-a/x", "team-a/y", "team-b/x"} {
			r.put(t, key, []byte(key))
		}
		outcome := func(entries ...types.ObjectIdentifier) (deleted, failed []string) {
			t.Helper()
			out := testbed.Must(r.as(t, "writer").DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{Objects: entries}}))(t)
			for _, d := range out.Deleted {
				deleted = append(deleted, *d.Key)
			}
			for _, e := range out.Errors {
				failed = append(failed, strings.TrimSpace(*e.Key+" "+aws.ToString(e.VersionId)+" "+*e.Code))
			}
			return deleted, failed
		}
		deleted, failed := outcome(
			types.ObjectIdentifier{Key: ptr("team-a/x")}, types.ObjectIdentifier{Key: ptr("team-b/x")}, types.ObjectIdentifier{Key: ptr(".sseproxy/encryption")},
			types.ObjectIdentifier{Key: ptr("team-a/y"), VersionId: ptr("null")}, types.ObjectIdentifier{Key: ptr("team-a/../team-b/x")},
		)
		if diff := cmp.Diff([]string{"team-a/x"}, deleted); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{
			"team-b/x  AccessDenied", ".sseproxy/encryption  AccessDenied", "team-a/y null AccessDenied", "team-a/../team-b/x  AccessDenied",
		}, failed); diff != "" {
			t.Error(diff)
		}
		r.wire.Reset()
		if deleted, failed := outcome(types.ObjectIdentifier{Key: ptr("team-b/x")}); len(deleted) != 0 || len(failed) != 1 || len(r.wire.Requests()) != 0 {
			t.Errorf("%q, %q, %v", deleted, failed, r.wire.Requests())
		}
		for key, want := range map[string]string{"team-a/y": "team-a/y", "team-b/x": "team-b/x"} {
			if got, _, err := r.get(t, key, ""); string(got) != want || err != nil {
				t.Errorf("%s: %q, %v", key, got, err)
			}
		}
		_, err := r.as(t, "writer").DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("team-a/y"), BypassGovernanceRetention: ptr(true)})
		wantCode(t, err, "AccessDenied")
		_, err = r.as(t, "writer").DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("team-a/y"), VersionId: ptr("null")})
		wantCode(t, err, "AccessDenied")
		_, err = r.as(t, "writer").DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: ptr("team-a/y")})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestPolicyForms: what a form would make must be permitted to who signed its policy.
func TestPolicyForms(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), policies, nil)
	writer := endpoint{r.url, r.bucket, "AKIDWRITER", "secret of writer", region}
	for key, status := range map[string]int{
		"team-a/form": 204, "team-b/form": 403, "team-b/${filename}": 403, "team-a/../team-b/form": 403, "": 403,
	} {
		r.wire.Reset()
		f := newForm(key, []byte("of a form"))
		f.header = map[string]string{"Origin": "https://example.com"}
		if a := f.post(t, writer); a.status != status || status == 403 && len(r.wire.Requests()) > 0 {
			t.Errorf("%q: %d %s, %v", key, a.status, a.Code, r.wire.Requests())
		}
	}
}

// TestUnsigned: requests that nobody has signed get what policies name them for, and no more; a signature that is wrong is no
// request without one.
func TestUnsigned(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newPolicyRig(t, store, policies, nil)
		r.put(t, "public/x", []byte("for everybody"))
		r.put(t, "team-a/x", []byte("for some"))
		ask := func(method, path string, body []byte, headers ...string) (int, string) {
			t.Helper()
			req := testbed.Must(http.NewRequestWithContext(t.Context(), method, r.url+"/"+r.bucket+path, bytes.NewReader(body)))(t)
			for _, line := range headers {
				name, value, _ := strings.Cut(line, ": ")
				req.Header.Set(name, value)
			}
			resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
			return resp.StatusCode, string(testbed.ReadBody(t, resp.Body))
		}
		for _, step := range []struct {
			method, path, body string
			headers            []string
			status             int
			says               string
		}{
			{"GET", "/public/x", "", nil, 200, "for everybody"},
			{"HEAD", "/public/x", "", nil, 200, ""},
			{"GET", "/public/x", "", []string{"Range: bytes=4-6"}, 206, "eve"},
			{"GET", "/public/x?response-content-type=text/html", "", nil, 400, "anonymous GET"},
			{"GET", "/team-a/x", "", nil, 403, "AccessDenied"},
			{"GET", "/public/../team-a/x", "", nil, 403, "AccessDenied"},
			{"GET", "/public/x?attributes", "", []string{"X-Amz-Object-Attributes: ObjectSize"}, 200, "<ObjectSize>13</ObjectSize>"},
			{"PUT", "/public/x", "mine", nil, 403, "AccessDenied"},
			{"PUT", "/public/x?acl", "", nil, 403, "AccessDenied"},
			{"DELETE", "/public/x", "", nil, 403, "AccessDenied"},
			{"GET", "", "", nil, 403, "AccessDenied"},
			{"GET", "?location", "", nil, 403, "AccessDenied"},
			{"POST", "?delete", "<Delete><Object><Key>public/x</Key></Object></Delete>", nil, 200, "<Code>AccessDenied</Code>"},
			{"PUT", "/inbox/x", "a letter", nil, 200, ""},
			{"PUT", "/inbox/y", "a letter", []string{"X-Amz-Checksum-Crc32: AAAAAA=="}, 400, "BadDigest"},
			{"PUT", "/inbox/y", "a letter", []string{"X-Amz-Content-Sha256: " + sha256hex("another")}, 400, "XAmzContentSHA256Mismatch"},
			{"PUT", "/inbox/y", "a letter", []string{"X-Amz-Meta-Sseproxy: 1"}, 400, "reserved"},
			{"PUT", "/inbox/y", "0;chunk-signature=" + strings.Repeat("0", 64) + "\r\n\r\n", []string{"X-Amz-Content-Sha256: " + signedChunks, "X-Amz-Decoded-Content-Length: 0"}, 403, "AccessDenied"},
			{"PUT", "/inbox/y", "", []string{"X-Amz-Copy-Source: " + r.bucket + "/team-a/x"}, 403, "AccessDenied"},
			{"PUT", "/.sseproxy/x", "", nil, 403, "AccessDenied"},
			{"GET", "/public/x", "", []string{"Authorization: x"}, 400, "Authorization"},
			{"GET", "/public/x?X-Amz-Signature=00", "", nil, 400, "AuthorizationQueryParametersError"},
			{"GET", "/public/x?x-amz-acl=private", "", nil, 403, "AccessDenied"},
			{"GET", "/public/x", "", []string{"X-Amz-Security-Token: x"}, 403, "AccessDenied"},
		} {
			status, body := ask(step.method, step.path, []byte(step.body), step.headers...)
			if status != step.status || !strings.Contains(body, step.says) {
				t.Errorf("%s %s %q: %d %s, want %d with %s", step.method, step.path, step.headers, status, body, step.status, step.says)
			}
		}
		if sealed, _ := r.stored(t, "inbox/x"); bytes.Contains(sealed, []byte("a letter")) {
			t.Error("an unsigned PUT is not sealed")
		}
		if got, _, err := r.get(t, "inbox/x", ""); string(got) != "a letter" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		m := message{method: "GET", target: "/" + r.bucket + "/public/x", hash: sha256hex("")}
		for name, m := range map[string]message{
			"SignatureDoesNotMatch": {method: m.method, target: m.target, hash: m.hash, access: accessKey, secret: "another"},
			"InvalidAccessKeyId":    {method: m.method, target: m.target, hash: m.hash, access: "AKIDNOBODY", secret: secretKey},
			"RequestTimeTooSkewed":  {method: m.method, target: m.target, hash: m.hash, at: time.Now().Add(-time.Hour)},
		} {
			if a := r.send(t, m); a.Code != name {
				t.Errorf("%s: %d %s", name, a.status, a.Code)
			}
		}
	})
}

// TestUnsignedNeedsPolicy: without a policy, and with one that is for everybody but does not name those who are not known, they get nothing.
func TestUnsignedNeedsPolicy(t *testing.T) {
	for name, text := range map[string]string{"no policy": "", "a policy for everybody": `permit (principal, action, resource);`} {
		var r *rig
		if text == "" {
			r = newRig(t, testbed.Store(t), options{})
		} else {
			r = newPolicyRig(t, testbed.Store(t), text, nil)
		}
		r.put(t, "x", []byte("x"))
		r.wire.Reset()
		req := testbed.Must(http.NewRequestWithContext(t.Context(), "GET", r.url+"/"+r.bucket+"/x", nil))(t)
		resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
		if body := testbed.ReadBody(t, resp.Body); resp.StatusCode != 403 || !bytes.Contains(body, []byte("AccessDenied")) || len(r.wire.Requests()) > 0 {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
}

// TestDeniedReachesNothing: whatever the SDK can ask for, of an identity that may do nothing, reaches neither store nor key provider.
func TestDeniedReachesNothing(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), `permit (principal == Identity::"writer", action, resource);`, nil)
	s := &side{store: r.store, url: r.url, bucket: r.bucket, vars: map[string]string{"bucket": r.bucket, "region": region}}
	before, asked := r.provider.Calls.Load(), 0
	for _, p := range sdkProbes(t) {
		if strings.Contains(p.name, " with ") {
			continue // the same operation once more
		}
		m := p.build(s)
		if m.method == "" {
			continue
		}
		a := r.send(t, m)
		refused := a.status == 403 || a.status == 501 || a.status == 400 || a.status == 405 || strings.Contains(m.target, "?delete") && a.status == 200
		if !refused || len(r.wire.Requests()) > 0 || r.provider.Calls.Load() != before {
			t.Errorf("%s: %d %s, and the store was asked %v", p.name, a.status, a.Code, r.wire.Requests())
		}
		if a.status == 403 {
			asked++
		}
		r.wire.Reset()
	}
	if asked < 80 {
		t.Errorf("only %d requests were denied", asked)
	}
}

// TestPolicyAudit: the use of a key that a policy denies is recorded like any other, and so is who wanted it.
func TestPolicyAudit(t *testing.T) {
	var log auditLog
	r := newPolicyRig(t, testbed.Store(t), policies, func(c *proxy.Config) { c.Audit = log.write })
	r.put(t, "shared/x", []byte("x"))
	testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &r.bucket, Key: ptr("shared/other"), Body: strings.NewReader("x"), ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: ptr("other"),
	}))(t)
	log.take()
	for key, who := range map[string]string{"shared/x": "keyless", "shared/other": "reader"} {
		_, err := r.as(t, who).GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
		wantCode(t, err, "AccessDenied")
	}
	got := log.take()
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"GetObject open shared/other aws:kms other AccessDenied", "GetObject open shared/x default AccessDenied",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// TestPolicyIsNotForTheOperator: the commands that an operator runs work under any policy.
func TestPolicyIsNotForTheOperator(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), policies, nil)
	r.put(t, "x", []byte("x"))
	done, err := r.proxy.Rewrap(t.Context(), proxy.Rewrapping{Walk: proxy.Walk{Bucket: r.bucket}, Keys: map[string]string{"default": "other"}})
	if err != nil || done.Done != 1 || done.Failed != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := r.proxy.CollectGarbage(t.Context(), r.bucket, time.Hour, false); err != nil {
		t.Error(err)
	}
	r.putPlain(t, "plain", []byte("y"), nil)
	r.wantInPlace(t, "under a policy", proxy.Encrypting{}, proxy.Tally{Done: 1, Current: 1})
	if got, err := r.verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got := fmt.Sprint(r.stored(t, "x")); !strings.Contains(got, "sseproxy") {
		t.Error(got)
	}
}

// TestPolicyKeys: the key that a bucket's default or the operator's rule puts in place of none must be permitted like one that is named; and
// who may use no key at all is told so before the store is asked for that default.
func TestPolicyKeys(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), policies, nil)
	put := func(who string) error {
		return second(r.as(t, who).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("team-a/x"), Body: strings.NewReader("x")}))
	}
	wantCode(t, put("keyless"), "AccessDenied")
	if asked := r.wire.Requests(); len(asked) > 0 {
		t.Errorf("the store was asked %v", asked)
	}
	if err := put("writer"); err != nil {
		t.Error(err)
	}
	testbed.Must(r.client.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{
		Bucket: &r.bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAwsKms, KMSMasterKeyID: ptr("other")},
		}}},
	}))(t)
	r.wire.Reset()
	wantCode(t, put("writer"), "AccessDenied")
	_, err := r.as(t, "writer").CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: ptr("team-a/x")})
	wantCode(t, err, "AccessDenied")
	if asked := requests(r.wire); len(asked) > 0 {
		t.Errorf("the store was asked %v", asked)
	}
}

// TestPolicySecure: what policies permit over a secure way alone is permitted over TLS, the source of a copy too, and not in the open.
func TestPolicySecure(t *testing.T) {
	const secretly = `permit (principal, action, resource) when { context.secure };`
	for _, secure := range []bool{true, false} {
		r := newRig(t, testbed.Store(t), options{tls: secure, proxy: func(c *proxy.Config) { c.Policy = testbed.Must(policy.Parse([]byte(secretly)))(t) }})
		_, put := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("key"), Body: strings.NewReader("body")})
		_, made := r.client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &r.bucket, Key: ptr("copy"), CopySource: ptr(r.bucket + "/key")})
		_, _, got := r.get(t, "copy", "")
		for what, err := range map[string]error{"PUT": put, "copy": made, "GET": got} {
			if secure && err != nil {
				t.Errorf("%s over TLS: %v", what, err)
			} else if !secure {
				wantCode(t, err, "AccessDenied")
			}
		}
	}
}

// TestPolicyPreflight: what a browser asks before a request is not asked of the policy, but of the store.
func TestPolicyPreflight(t *testing.T) {
	r := newPolicyRig(t, testbed.Store(t), `permit (principal == Identity::"tester", action, resource);`, nil)
	req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodOptions, r.url+"/"+r.bucket+"/key?response-content-type=text/html", nil))(t)
	req.Header.Set("Origin", "https://example.com")
	req.Header.Set("Access-Control-Request-Method", "GET")
	r.wire.Reset()
	resp := testbed.Must(testbed.HTTPClient(t).Do(req))(t)
	body := testbed.ReadBody(t, resp.Body)
	if asked := r.wire.Requests(); len(asked) != 1 || asked[0].Method != http.MethodOptions || bytes.Contains(body, []byte("policy of the proxy's operator")) {
		t.Errorf("the store was asked %v, and the browser told %s %s", asked, resp.Status, body)
	}
}
