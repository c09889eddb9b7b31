package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

const formBoundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"

// webForm is a form that a browser posts. Its policy names the fields as they are, but for those that more is said of.
type webForm struct {
	fields     [][2]string
	conditions []any // in place of those for the fields that they name
	file       []byte
	filename   string
	end        string // behind the file; empty: as a browser has it

	expiration time.Duration                        // zero: an hour
	spoil      func(fields [][2]string) [][2]string // when they are signed
	header     map[string]string
}

func newForm(key string, file []byte, fields ...[2]string) webForm {
	return webForm{fields: append([][2]string{{"key", key}}, fields...), file: file, filename: "name.txt"}
}

// endpoint is where a form can be posted, and by whom.
type endpoint struct{ url, bucket, accessKey, secret, region string }

func (r *rig) front() endpoint { return endpoint{r.url, r.bucket, accessKey, secretKey, region} }

// past is the store itself.
func (r *rig) past() endpoint {
	return endpoint{r.store.URL, r.bucket, r.store.AccessKeyID, r.store.SecretAccessKey, r.store.Region}
}

// signed returns the form's fields with those that authenticate it.
func (f webForm) signed(t testing.TB, e endpoint) [][2]string {
	t.Helper()
	now := time.Now().UTC()
	day, lifetime := now.Format("20060102"), time.Hour
	if f.expiration != 0 {
		lifetime = f.expiration
	}
	fields := append(slices.Clone(f.fields),
		[2]string{"x-amz-algorithm", "AWS4-HMAC-SHA256"},
		[2]string{"x-amz-credential", strings.Join([]string{e.accessKey, day, e.region, "s3", "aws4_request"}, "/")},
		[2]string{"x-amz-date", now.Format("20060102T150405Z")})
	said := string(testbed.Must(json.Marshal(f.conditions))(t))
	conditions := append([]any{map[string]string{"bucket": e.bucket}}, f.conditions...)
	for _, field := range fields {
		if !strings.Contains(said, `"$`+field[0]+`"`) && !strings.HasPrefix(field[0], "x-ignore-") {
			conditions = append(conditions, []string{"eq", "$" + field[0], strings.ReplaceAll(field[1], "${filename}", f.filename)})
		}
	}
	policy := base64.StdEncoding.EncodeToString(testbed.Must(json.Marshal(map[string]any{
		"expiration": now.Add(lifetime).Format("2006-01-02T15:04:05.000Z"), "conditions": conditions,
	}))(t))
	key := []byte("AWS4" + e.secret)
	for _, part := range []string{day, e.region, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	fields = append(fields, [2]string{"policy", policy}, [2]string{"x-amz-signature", hex.EncodeToString(mac(key, policy))})
	if f.spoil != nil {
		fields = f.spoil(fields)
	}
	return fields
}

// body returns the form as it goes out.
func (f webForm) body(t testing.TB, e endpoint) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, field := range f.signed(t, e) {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", formBoundary, field[0], field[1])
	}
	fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\nContent-Type: text/plain\r\n\r\n%s", formBoundary, f.filename, f.file)
	if f.end == "" {
		f.end = "\r\n--" + formBoundary + "--\r\n"
	}
	b.WriteString(f.end)
	return b.Bytes()
}

// post posts a form.
func (f webForm) post(t testing.TB, e endpoint) answer {
	t.Helper()
	return f.postWith(t, e, testbed.HTTPClient(t))
}

func (f webForm) postWith(t testing.TB, e endpoint, client *http.Client) answer {
	t.Helper()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodPost, e.url+"/"+e.bucket, bytes.NewReader(f.body(t, e))))(t)
	req.Header.Set("Content-Type", "multipart/form-data; boundary="+formBoundary)
	for name, value := range f.header {
		req.Header.Set(name, value)
	}
	if host := f.header["Host"]; host != "" {
		req.Host, req.URL.Path = host, "/"
	}
	resp := testbed.Must(client.Do(req))(t)
	a := answer{status: resp.StatusCode, header: resp.Header, body: testbed.ReadBody(t, resp.Body)}
	_ = xml.Unmarshal(a.body, &a)
	return a
}

// TestForms: what a browser gets for a form, and what is stored of it, is what it is at the store.
func TestForms(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for name, f := range forms() {
			want := f.outcome(t, r.past(), r.direct)
			got := f.outcome(t, r.front(), r.client)
			for _, d := range formDifferences[store.Name] {
				if d.form != "" && d.form != name {
					continue
				}
				if cmp.Equal(got, want) && d.form != "" {
					t.Errorf("%s: no difference where one is allowed, as %s", name, d.reason)
				}
				for field := range strings.FieldsSeq(d.fields) {
					delete(got, field)
					delete(want, field)
				}
				if d.fields == "" {
					got = want
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: at the store, and through the proxy: %s", name, diff)
			}
		}
	})
}

// forms returns forms of all kinds, by name.
func forms() map[string]webForm {
	file := pattern(1000)
	all := map[string]webForm{
		"plain":                    newForm("key", file),
		"empty":                    newForm("key", nil),
		"large":                    newForm("key", pattern(3*frame+5)),
		"name of the file":         newForm("dir/${filename}", file),
		"key of all kinds":         newForm("a b/ü%2F+&=?.txt", file),
		"ignored fields":           newForm("key", file, [2]string{"x-ignore-a", "a"}),
		"status 200":               newForm("key", file, [2]string{"success_action_status", "200"}),
		"status 201":               newForm("dir/key ü", file, [2]string{"success_action_status", "201"}),
		"status 204":               newForm("key", file, [2]string{"success_action_status", "204"}),
		"status 404":               newForm("key", file, [2]string{"success_action_status", "404"}),
		"redirect":                 newForm("dir/key ü", file, [2]string{"success_action_redirect", "http://example.com/done"}),
		"redirect with a query":    newForm("dir/key", file, [2]string{"success_action_redirect", "https://example.com/done?a=b&c"}, [2]string{"success_action_status", "201"}),
		"redirect to a path":       newForm("key", file, [2]string{"success_action_redirect", "/done"}),
		"redirect, the older name": newForm("key", file, [2]string{"redirect", "http://example.com/done"}),
		"headers": newForm("key", file, [2]string{"Content-Type", "image/png"}, [2]string{"Cache-Control", "max-age=1, private"},
			[2]string{"Content-Disposition", `attachment; filename="a b.png"`}, [2]string{"Content-Encoding", "gzip"}, [2]string{"Content-Language", "de"},
			[2]string{"Expires", "Fri, 21 Mar 2036 00:00:00 GMT"}, [2]string{"x-amz-meta-a", "b"}, [2]string{"x-amz-meta-Upper", "C d"}, [2]string{"x-amz-meta-empty", ""}),
		"website redirect":       newForm("key", file, [2]string{"x-amz-website-redirect-location", "/other"}),
		"no type":                newForm("key", file, [2]string{"Content-Type", ""}),
		"storage class":          newForm("key", file, [2]string{"x-amz-storage-class", "STANDARD"}),
		"tags":                   newForm("key", file, [2]string{"tagging", "<Tagging><TagSet><Tag><Key>a b+c</Key><Value>d+e/f=</Value></Tag><Tag><Key>g</Key><Value></Value></Tag></TagSet></Tagging>"}),
		"tags that are no XML":   newForm("key", file, [2]string{"tagging", "a=b"}),
		"a tag twice":            newForm("key", file, [2]string{"tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>a</Key><Value>c</Value></Tag></TagSet></Tagging>"}),
		"private":                newForm("key", file, [2]string{"acl", "private"}),
		"server-side encryption": newForm("key", file, [2]string{"x-amz-server-side-encryption", "AES256"}),
		"MD5":                    newForm("key", file, [2]string{"Content-MD5", sumOf(checksum.MD5, file)}),
		"MD5 of another file":    newForm("key", file, [2]string{"Content-MD5", sumOf(checksum.MD5, nil)}),
		"no MD5":                 newForm("key", file, [2]string{"Content-MD5", "MD5"}),
		"much metadata":          newForm("key", file, [2]string{"x-amz-meta-a", strings.Repeat("a", 2048)}),
		"anonymous": func() webForm {
			f := newForm("key", file)
			f.spoil = func([][2]string) [][2]string { return f.fields }
			return f
		}(),
	}
	for a := checksum.CRC32; a.Valid(); a++ {
		all["checksum "+a.String()] = newForm("key", file, [2]string{strings.ToLower(a.Header()), sumOf(a, file)})
	}
	all["checksum of another file"] = newForm("key", file, [2]string{"x-amz-checksum-crc32", sumOf(checksum.CRC32, nil)})
	for name, conditions := range map[string][]any{
		"starts with":             {[]string{"starts-with", "$key", "k"}},
		"starts with other":       {[]string{"starts-with", "$key", "x"}},
		"other key":               {[]string{"eq", "$key", "other"}},
		"field that is not there": {[]string{"eq", "$acl", "private"}},
		"range":                   {[]any{"content-length-range", 1000, 1000}},
		"too short":               {[]any{"content-length-range", 1001, 2000}},
		"too long":                {[]any{"content-length-range", 0, 999}},
		"unknown operator":        {[]any{"ends-with", "$key", "y"}},
		"two in a condition":      {map[string]string{"acl": "private", "x-amz-meta-a": "b"}},
	} {
		f := newForm("key", file)
		f.conditions = conditions
		all[name] = f
	}
	for name, spoil := range map[string]func(fields [][2]string) [][2]string{
		"field too many": func(f [][2]string) [][2]string { return append(f, [2]string{"x-amz-meta-more", "1"}) },
		"other signature": func(f [][2]string) [][2]string {
			return append(f[:len(f)-1:len(f)-1], [2]string{"x-amz-signature", sha256hex("")})
		},
		"no signature": func(f [][2]string) [][2]string { return f[:len(f)-1] },
		"no key":       func(f [][2]string) [][2]string { return f[1:] },
		"other acl":    func(f [][2]string) [][2]string { return append(f, [2]string{"acl", "public-read"}) },
	} {
		f := newForm("key", file)
		f.spoil = spoil
		all[name] = f
	}
	expired := newForm("key", file)
	expired.expiration = -time.Minute
	all["expired"] = expired
	return all
}

// formDifference is where the proxy answers a form as S3 does and a store does not.
type formDifference struct {
	form   string // empty: any
	fields string // of the outcome; empty: all
	reason string
}

var formDifferences = map[string][]formDifference{
	"versitygw": {
		{"name of the file", "", "it does not know ${filename}"},
		{"MD5 of another file", "", "it does not know the field"},
		{"no MD5", "", "it does not know the field"},
		{"a tag twice", "code", "it has another for the header, in which it gets the tags from the proxy"},
		{"redirect to a path", "status location", "S3 goes on to no URL that is not absolute"},
		{"redirect, the older name", "status location", "it does not know the field"},
	},
	"minio": {
		{"", "type", "it guesses one from the key, and else has another default"},
		{"anonymous", "status code", "it reads the credential first"},
		{"no signature", "status code", "it compares it with none"},
		{"no key", "code", "it has one for all that is wrong with a form"},
		{"a tag twice", "code", "it has one for all that is wrong with a form"},
		{"tags that are no XML", "code", "it has one for all that is wrong with a form"},
		{"checksum of another file", "code", "it has one of its own"},
		{"two in a condition", "status code", "it takes them for two conditions"},
		{"unknown operator", "status code", "it has one of its own"},
		{"much metadata", "", "it has no limit for forms"},
		{"server-side encryption", "", "it has no keys"},
		{"redirect to a path", "status location", "S3 goes on to no URL that is not absolute"},
		{"redirect, the older name", "status location", "it does not know the field"},
	},
}

// outcome is what a browser sees of a form's way, and a client of what is stored.
func (f webForm) outcome(t testing.TB, e endpoint, client *s3.Client) map[string]string {
	t.Helper()
	key := strings.ReplaceAll(f.fields[0][1], "${filename}", f.filename)
	testbed.Must(client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &e.bucket, Key: &key}))(t)
	a := f.post(t, e)
	out := map[string]string{"status": fmt.Sprint(a.status), "code": a.Code}
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &e.bucket, Key: &key})
	if err != nil {
		out["object"] = fmt.Sprint(statusOf(err))
		return out
	}
	if etag := a.header.Get("Etag"); etag != *head.ETag && etag != "" {
		t.Errorf("ETag %s, of the object %s", etag, *head.ETag)
	}
	location := testbed.Must(url.Parse(a.header.Get("Location")))(t) // of which S3 escapes more than others, and the query has an order
	out["location"] = strings.NewReplacer(e.url, "http://host", url.QueryEscape(*head.ETag), "ETAG").Replace(
		location.Scheme + "://" + location.Host + location.Path + "?" + location.Query().Encode())
	if a.status == http.StatusCreated {
		var created struct{ Location, Bucket, Key, ETag string }
		if err := xml.Unmarshal(a.body, &created); err != nil || created.Location != a.header.Get("Location") || created.ETag != *head.ETag {
			t.Errorf("%+v, %v", created, err)
		}
		out["created"] = created.Bucket + "/" + created.Key
	}
	got := testbed.Must(client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &e.bucket, Key: &key}))(t)
	out["object"] = sha256hex(testbed.ReadBody(t, got.Body))
	tags := testbed.Must(client.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &e.bucket, Key: &key}))(t)
	slices.SortFunc(tags.TagSet, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
	for name, v := range map[string]any{
		"tags": tags.TagSet, "metadata": head.Metadata, "type": head.ContentType, "cache": head.CacheControl, "disposition": head.ContentDisposition,
		"encoding": head.ContentEncoding, "language": head.ContentLanguage, "expires": head.ExpiresString, "website": head.WebsiteRedirectLocation, "class": head.StorageClass,
	} {
		out[name] = string(testbed.Must(json.Marshal(v))(t))
	}
	return out
}

// TestFormIsSealed: of a form's file the store sees nothing in plain, whatever its size, and it comes back; one request is
// enough.
func TestFormIsSealed(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		for _, tls := range []bool{false, true} {
			r := newRig(t, store, options{tls: tls})
			canary := testbed.Canary(t)
			for _, n := range append(sizes, 64<<10+20<<10, 64<<10+20<<10+1, 20<<20) {
				file := pattern(n)
				if n > 100 {
					copy(file[n/2:], canary)
				}
				r.wire.Reset()
				f := newForm(fmt.Sprintf("object %d", n), file, [2]string{"x-amz-meta-a", "b"}, [2]string{"x-amz-server-side-encryption", "AES256"})
				a := f.postWith(t, r.front(), r.server.Client())
				if location := fmt.Sprintf("%s/%s/object%%20%d", r.url, r.bucket, n); a.header.Get("Location") != location {
					t.Errorf("%d bytes: Location %q, want %q", n, a.header.Get("Location"), location)
				}
				if a.status != http.StatusNoContent || a.header.Get("X-Amz-Server-Side-Encryption") != "AES256" || a.header.Get("X-Amz-Checksum-Crc64nvme") != sumOf(checksum.CRC64NVME, file) {
					t.Fatalf("%d bytes: %d %s %v", n, a.status, a.body, a.header)
				}
				if sent := requests(r.wire); len(sent) != 1 || sent[0].Method != http.MethodPut || sent[0].Size != envelope.SealedSize(int64(n)) {
					t.Errorf("%d bytes: %d requests", n, len(sent))
				}
				got, out, err := r.get(t, fmt.Sprintf("object %d", n), "")
				if err != nil || !bytes.Equal(got, file) || *out.ETag != a.header.Get("Etag") || out.Metadata["a"] != "b" || len(out.Metadata) != 1 {
					t.Fatalf("%d bytes: got %d, %v, metadata %v", n, len(got), err, out.Metadata)
				}
			}
			testbed.RequireAbsent(t, store.Dir, canary)
		}
	})
}

// TestFormAtBucketHost: a form may be posted to the bucket's own host; the policy's bucket is that one.
func TestFormAtBucketHost(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{proxy: func(c *proxy.Config) { c.Domains = []string{"s3.test"} }})
	f := newForm("dir/key", []byte("file"))
	f.header = map[string]string{"Host": r.bucket + ".s3.test"}
	if a := f.post(t, r.front()); a.status != http.StatusNoContent || a.header.Get("Location") != "http://"+r.bucket+".s3.test/dir%2Fkey" {
		t.Errorf("%d %s, at %q", a.status, a.body, a.header.Get("Location"))
	}
	if got, _, err := r.get(t, "dir/key", ""); err != nil || string(got) != "file" {
		t.Errorf("got %q, %v", got, err)
	}
	f.header["Host"] = "other.s3.test"
	if a := f.post(t, r.front()); a.Code != "AccessDenied" {
		t.Errorf("to another bucket: %d %s", a.status, a.body)
	}
}

// TestRefusedForms: of a form that is refused nothing is stored; one that is wrong before its file begins the store never
// hears of.
func TestRefusedForms(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, at(t, store.URL))
		counted := newRig(t, store, options{})
		r.put(t, "old", []byte("what was there"))
		before, _ := r.stored(t, "old")
		for _, n := range []int{10, 2<<20 + 5} {
			for name, try := range refusedForms(pattern(n)) {
				for _, key := range []string{"old", "new"} {
					f := try.webForm
					f.fields = append([][2]string{{"key", strings.Replace(f.fields[0][1], "KEY", key, 1)}}, f.fields[1:]...)
					a := f.post(t, r.front())
					if a.status != try.status || a.Code != try.code {
						t.Errorf("%s, %d bytes: %d %s, want %d %s", name, n, a.status, a.body, try.status, try.code)
					}
					if a.status != 0 {
						a.requireS3Error(t, name, http.MethodPost)
					}
				}
				counted.wire.Reset()
				if try.post(t, counted.front()); len(requests(counted.wire)) != 0 && (!try.late || n < frame) {
					t.Errorf("%s, %d bytes: the store has heard of it", name, n)
				}
			}
		}
		r.upstream.rest(t)
		if after, _ := r.stored(t, "old"); !bytes.Equal(before, after) {
			t.Error("the old object is another")
		}
		list := testbed.Must(r.direct.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
		if *list.KeyCount != 1 {
			t.Errorf("%d objects", *list.KeyCount)
		}
	})
}

// refusedForm is a form for the key KEY, and what is said of it.
type refusedForm struct {
	webForm

	status int
	code   string
	late   bool // what is wrong with it shows behind its file
}

func refusedForms(file []byte) map[string]refusedForm {
	const bad, denied, unknown = http.StatusBadRequest, http.StatusForbidden, http.StatusNotImplemented
	plain := func(fields ...[2]string) webForm { return newForm("KEY", file, fields...) }
	spoilt := func(spoil func([][2]string) [][2]string) webForm {
		f := plain()
		f.spoil = spoil
		return f
	}
	under := func(conditions ...any) webForm {
		f := plain()
		f.conditions = conditions
		return f
	}
	named := func(key, filename string) webForm {
		f := newForm(key, file)
		f.filename = filename
		return f
	}
	headed := func(name, value string) webForm {
		f := plain()
		f.header = map[string]string{name: value}
		return f
	}
	expired := plain()
	expired.expiration = -time.Second
	all := map[string]refusedForm{
		"anonymous":       {spoilt(func([][2]string) [][2]string { return [][2]string{{"key", "new"}} }), denied, "AccessDenied", false},
		"expired":         {expired, denied, "AccessDenied", false},
		"other signature": {spoilt(func(f [][2]string) [][2]string { f[len(f)-1][1] = sha256hex(""); return f }), denied, "SignatureDoesNotMatch", false},
		"version 2": {spoilt(func(f [][2]string) [][2]string {
			return append(f, [2]string{"AWSAccessKeyId", accessKey}, [2]string{"signature", "c2ln"})
		}), bad, "InvalidRequest", false},
		"session token":      {plain([2]string{"x-amz-security-token", "token"}), bad, "InvalidToken", false},
		"other key":          {under([]string{"eq", "$key", "other"}), denied, "AccessDenied", false},
		"too long":           {under([]any{"content-length-range", 0, len(file) - 1}), bad, "EntityTooLarge", false},
		"too short":          {under([]any{"content-length-range", len(file) + 1, 1 << 30}), bad, "EntityTooSmall", false},
		"field too many":     {spoilt(func(f [][2]string) [][2]string { return append(f, [2]string{"x-amz-meta-a", "b"}) }), denied, "AccessDenied", false},
		"header and form":    {headed("Authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"), bad, "InvalidArgument", false},
		"header of nobody's": {headed("X-Amz-Acl", "public-read"), denied, "AccessDenied", false},
		"not a form":         {headed("Content-Type", "application/octet-stream"), http.StatusPreconditionFailed, "PreconditionFailed", false},
		"20 KiB of fields":   {plain([2]string{"x-ignore-a", strings.Repeat("a", 20<<10)}), bad, "MaxPostPreDataLengthExceeded", false},

		"the envelope's name":         {plain([2]string{"x-amz-meta-sseproxy", "x"}), bad, "InvalidArgument", false},
		"the envelope's name, raised": {plain([2]string{"X-AMZ-META-SSEPROXY", ""}), bad, "InvalidArgument", false},
		"key of the proxy":            {named(".sseproxy/KEY", "x"), denied, "AccessDenied", false},
		"key of the proxy, folded":    {named("a/../.sseproxy/KEY", "x"), denied, "AccessDenied", false},
		"key of the proxy, by parts":  {named(".sseproxy/${filename}", "KEY"), denied, "AccessDenied", false},
		"key that climbs":             {named("../KEY", "x"), bad, "InvalidURI", false},
		"key that is too long":        {named(strings.Repeat("k", 1025), "x"), bad, "KeyTooLongError", false},
		"empty key":                   {named("${filename}", ""), bad, "UserKeyMustBeSpecified", false},
		"tags that are no XML":        {plain([2]string{"tagging", "a=b"}), bad, "MalformedXML", false},
		"much metadata":               {plain([2]string{"x-amz-meta-a", strings.Repeat("v", 2048)}), bad, "MetadataTooLarge", false},
		"a copy":                      {plain([2]string{"x-amz-copy-source", "a/b"}), unknown, "NotImplemented", false},
		"unknown x-amz field":         {plain([2]string{"x-amz-new-feature", "1"}), unknown, "NotImplemented", false},
		"unpacking":                   {plain([2]string{"x-amz-meta-snowball-auto-extract", "true"}), unknown, "NotImplemented", false},
		"DSSE-KMS":                    {plain([2]string{"x-amz-server-side-encryption", "aws:kms:dsse"}), unknown, "NotImplemented", false},
		"SSE-C":                       {plain([2]string{"x-amz-server-side-encryption-customer-algorithm", "AES256"}), bad, "InvalidRequest", false},

		"MD5 of another file": {plain([2]string{"Content-MD5", sumOf(checksum.MD5, nil)}), bad, "BadDigest", true},
	}
	for a := checksum.CRC32; a.Valid(); a++ {
		all[a.String()+" of another file"] = refusedForm{plain([2]string{strings.ToLower(a.Header()), sumOf(a, nil)}), bad, "BadDigest", true}
	}
	const last = "\r\n--" + formBoundary + "--\r\n"
	for name, end := range map[string]string{"no last boundary": "\r\n", "last boundary cut short": last[:len(last)-4]} {
		f := plain()
		f.end = end
		all[name] = refusedForm{f, bad, "MalformedPOSTRequest", true}
	}
	if len(file) > frame {
		all["other boundary"] = refusedForm{headed("Content-Type", "multipart/form-data; boundary=b"), bad, "MaxPostPreDataLengthExceeded", false}
		for name, end := range map[string]string{
			"no line break at the end": last[:len(last)-2], "a field behind the file": "\r\n--" + formBoundary + "\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload" + last, "an epilogue": last + "x",
		} {
			f := plain()
			f.end = end
			all[name] = refusedForm{f, bad, "MalformedPOSTRequest", true}
		}
	}
	return all
}

// TestFormOrigin: whether the page that posted a form may read the answer, the store's rule for POST decides.
func TestFormOrigin(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	const page, other = "https://page.example.com", "https://other.example.com"
	testbed.Must(r.client.PutBucketCors(t.Context(), &s3.PutBucketCorsInput{Bucket: &r.bucket, CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{
		{AllowedOrigins: []string{page}, AllowedMethods: []string{"POST"}, ExposeHeaders: []string{"ETag"}},
		{AllowedOrigins: []string{other}, AllowedMethods: []string{"PUT"}},
	}}}))(t)
	for origin, want := range map[string]string{page: page, other: "", "": ""} {
		f := newForm("key", []byte("file"))
		f.header = map[string]string{}
		if origin != "" {
			f.header["Origin"] = origin
		}
		a := f.post(t, r.front())
		if got := a.header.Get("Access-Control-Allow-Origin"); a.status != http.StatusNoContent || got != want {
			t.Errorf("from %q: %d, allowed is %q, want %q", origin, a.status, got, want)
		}
	}
}

// TestCurlForm: curl makes its forms in its own way.
func TestCurlForm(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	r := newRig(t, testbed.Store(t), options{})
	for _, n := range []int{0, 10, 3 << 20} {
		file := filepath.Join(t.TempDir(), `a "file".bin`)
		if err := os.WriteFile(file, pattern(n), 0o600); err != nil {
			t.Fatal(err)
		}
		f := newForm("dir/${filename}", nil, [2]string{"success_action_status", "201"})
		f.conditions = []any{[]string{"starts-with", "$key", "dir/"}}
		args := []string{"--silent", "--show-error", "--max-time", "20", r.url + "/" + r.bucket}
		for _, field := range f.signed(t, r.front()) {
			args = append(args, "--form-string", field[0]+"="+field[1])
		}
		args = append(args, "--form", `file=@"`+strings.ReplaceAll(file, `"`, `\"`)+`"`)
		out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
		var created struct{ Key string }
		if err != nil || xml.Unmarshal(out, &created) != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Older versions escape a quotation mark by a backslash, others by %22.
		if created.Key != `dir/a "file".bin` && created.Key != `dir/a %22file%22.bin` {
			t.Errorf("the key is %q", created.Key)
		}
		if got, _, err := r.get(t, created.Key, ""); err != nil || !bytes.Equal(got, pattern(n)) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

// TestSlowForm: nobody holds a connection for long with a form that does not come.
func TestSlowForm(t *testing.T) {
	keyring := filepath.Join(t.TempDir(), "keyring.json")
	createKey(t, keyring, "default")
	local := testbed.Must(keys.NewLocal(keys.LocalConfig{Path: keyring}))(t)
	synctest.Test(t, func(t *testing.T) {
		p := testbed.Must(proxy.New(proxy.Config{
			Upstream: &url.URL{Scheme: "http", Host: "localhost:1"}, Region: region, Transport: &http.Transport{},
			Identities:  []proxy.Identity{{Name: "tester", AccessKeyID: accessKey, SecretAccessKey: secretKey}},
			Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), Keys: testbed.Must(keys.NewCache(keys.CacheConfig{Provider: local}))(t), KeyID: "default",
		}))(t)
		client, served := net.Pipe()
		l := &oneConn{addr: served.LocalAddr(), conn: make(chan net.Conn, 1)}
		l.conn <- served
		server := &http.Server{Handler: p, ReadHeaderTimeout: time.Second}
		go func() { _ = server.Serve(l) }()
		started := time.Now()
		body := newForm("key", []byte("file")).body(t, endpoint{"", "bucket", accessKey, secretKey, region})
		go func() {
			_, _ = fmt.Fprintf(client, "POST /bucket HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n%s", formBoundary, len(body), body[:100])
		}()
		if answer, err := io.ReadAll(client); err != nil || len(answer) != 0 || time.Since(started) > 2*time.Minute {
			t.Errorf("%q after %v, %v", answer, time.Since(started), err)
		}
		close(l.conn)
		_ = server.Close()
	})
}

// oneConn is a listener with one connection.
type oneConn struct {
	addr net.Addr
	conn chan net.Conn
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.addr }
