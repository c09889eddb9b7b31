package e2e_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// differences are the cases in which the proxy may answer otherwise than the store does. The store is not asked then, and the
// proxy's answer must begin with want; where that is empty, neither is asked.
var differences = []struct{ store, what, want, why string }{
	{"", "Complete again, object there", "200", "S3 repeats its answer; versitygw gives one for any upload of a key that has an object, MinIO none"},
	{"", "Complete again, object gone", "404 NoSuchUpload", "nobody keeps what a Complete answered once its object is gone"},
	{"", "Complete again, other parts", "404 NoSuchUpload", "an upload is completed once; versitygw does not compare the parts"},
	{"", "Complete after abort", "404 NoSuchUpload", "versitygw answers 200 where the key has an object"},
	{"", "Complete with the ETag of an earlier attempt, same bytes", "400 InvalidPart", "equal bytes are sealed differently each time; the ETag means the attempt, not the bytes"},
	{"", "Complete with the ETag of an earlier part 10000", "", "it has its stash still, and the client asks for exactly that"},
	{"", "Complete with listed ETags, part 10000 sent twice", "", "its stashes may be of the same second, and then nothing tells which was the last"},
	{"", "Complete of no part", "400 InvalidRequest", "as S3 has it; stores call it MalformedXML"},
	{"", "ListParts, part 10000 sent twice", "200", "its stashes may be of the same second, and then nothing tells which was the last"},
	{"versitygw", "part of an object in place of an uploaded one", "", "with metadata in files, versitygw keeps the old one's parts"},
	{"minio", "UploadPartCopy of a delete marker", "400 InvalidRequest", "as S3 has it; MinIO says 405"},
	{"minio", "UploadPartCopy from behind the end", "400 InvalidArgument", "as S3 has it; MinIO says 416"},
	{"minio", "Complete, a part twice", "400 InvalidPartOrder", "as S3 has it; MinIO takes it twice"},
	{"minio", "Complete, wrong size", "400 InvalidRequest", "MinIO does not look at x-amz-mp-object-size"},
	{"", "empty part", "", "there is no range to tell, and so no 206; stores send one that ends before it begins"},
	{"minio", "part of an object with gaps", "", "S3 counts the parts of an object; MinIO keeps the numbers of the upload"},
	{"", "range of an empty object", "", "S3 has 416 for each; stores have answers of their own"},
}

// TestAnySequence: any sequence of requests about uploads, and about the objects that come of them, has through the proxy
// the answers that it has straight from the store: bytes, sizes, statuses and error codes, apart from the differences above.
// The gate has the same sequences each time; there are others with -rapid.seed=2 -rapid.checks=1000.
func TestAnySequence(t *testing.T) {
	t.Parallel()
	if seed := flag.Lookup("rapid.seed").Value; seed.String() == "0" {
		testbed.Must(0, seed.Set("1"))(t)
		t.Cleanup(func() { _ = seed.Set("0") })
	}
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{proxy: func(c *proxy.Config) { c.Log = nil }}) // it would say too much
		plain := &rig{store: store, direct: r.direct, client: r.direct, bucket: testbed.Bucket(t, store)}
		worlds := []world{{store: store.Name, sides: [2]*rig{r, plain}}}
		if store.Name != "versitygw" { // with its metadata in files, it mixes up that of versions, and what comes over a delete marker stays deleted
			worlds = append(worlds, world{store: store.Name, sides: [2]*rig{r.versioned(t), plain.versioned(t)}, versioned: true})
		}
		rapid.Check(t, func(t *rapid.T) {
			w := worlds[rapid.IntRange(0, len(worlds)-1).Draw(t, "world")]
			w.names = [2]map[string]string{{}, {}}
			w.empty(t)
			t.Repeat(map[string]func(*rapid.T){
				"put": w.put, "create": w.create, "part 1": w.part, "part 2": w.part, "part 3": w.part, "copy": w.partCopy,
				"complete 1": w.complete, "complete 2": w.complete, "abort": w.abort, "parts": w.listParts, "uploads": w.listUploads,
				"list": w.list, "versions": w.listVersions, "read 1": w.read, "read 2": w.read, "delete": w.remove,
			})
			w.end(t)
		})
	})
}

// versioned gives a rig like r with another bucket, which keeps versions.
func (r *rig) versioned(t *testing.T) *rig {
	other := *r
	other.bucket = testbed.Bucket(t, r.store)
	testbed.Must(r.direct.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &other.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	}))(t)
	return &other
}

// pair is a name that each side has of its own for the same thing.
type pair [2]string

// world is what both sides must agree on.
type world struct {
	store     string
	versioned bool
	sides     [2]*rig // through the proxy, and straight to another bucket of the same store
	uploads   []*trial
	objects   []*object            // every version there is, and every delete marker; the last of a key is the current one
	gone      []*object            // by version
	names     [2]map[string]string // what the ETags and version ids of each side stand for
	bodies    uint64               // made so far
}

// trial is an upload.
type trial struct {
	key   string
	id    pair
	parts map[int][]attempt // by number, in order
	over  string            // how it ended
	made  *object
	list  []attempt                        // that made it
	etags func(side int, a attempt) string // with which; nil: their own
}

type attempt struct {
	number int
	body   []byte
	etag   pair
}

type object struct {
	key     string
	body    []byte
	parts   []int // sizes
	gaps    bool  // in their numbers
	version pair
	etag    pair
	marker  bool
	over    bool // an uploaded one that was not removed before
}

// hasEmpty reports whether the part of a number, counted from 1, is there and empty.
func (o *object) hasEmpty(number int) bool {
	if o.parts == nil {
		return number == 1 && len(o.body) == 0 && !o.marker
	}
	return number <= len(o.parts) && o.parts[number-1] == 0
}

var keysOfWorld = []string{"a", "d/b", "d/ü c"}

// same does something on both sides and compares what they say. It reports whether that was a success.
func (w *world) same(t *rapid.T, what string, do func(side int, r *rig) string) bool {
	t.Helper()
	for _, d := range differences {
		if d.what != what || d.store != "" && d.store != w.store {
			continue
		}
		if d.want == "" {
			t.Skip(d.why)
		}
		if said := do(0, w.sides[0]); !strings.HasPrefix(said, d.want) {
			t.Fatalf("%s: %s; want %s, for %s", what, said, d.want, d.why)
		}
		return false
	}
	var said pair
	for i, r := range w.sides {
		said[i] = do(i, r)
	}
	if said[0] != said[1] {
		t.Fatalf("%s:\n  %s\nat the store:\n  %s", what, said[0], said[1])
	}
	t.Logf("%s: %s", what, said[0])
	return said[0][0] == '2'
}

func failed(err error) string {
	var resp *awshttp.ResponseError
	var api smithy.APIError
	if !errors.As(err, &resp) || !errors.As(err, &api) {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.HTTPStatusCode(), api.ErrorCode())
}

func succeeded(m middleware.Metadata, format string, args ...any) string {
	resp, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response)
	if !ok {
		return "no answer"
	}
	return fmt.Sprintf("%d "+format, append([]any{resp.StatusCode}, args...)...)
}

// name tells what an ETag or a version id stands for.
func (w *world) name(side int, id *string) string {
	if id == nil {
		return "-"
	}
	s := strings.Trim(*id, `"`)
	if name := w.names[side][s]; name != "" {
		return name
	}
	return s
}

// partName is name for the ETag of a part, be it from UploadPart or from ListParts: what the proxy adds stands behind a dash.
func (w *world) partName(side int, etag string) string {
	native, _, _ := strings.Cut(strings.Trim(etag, `"`), "-")
	return w.name(side, ptr("part "+native))
}

func (w *world) call(ids pair, name string) {
	for i, id := range ids {
		w.names[i][strings.Trim(id, `"`)] = name
	}
}

// body makes bytes that no other body has.
func (w *world) body(t *rapid.T, sizes ...int) []byte {
	n := rapid.SampledFrom(sizes).Draw(t, "size")
	b := bytes.Clone(largest[:n])
	w.bodies++
	copy(b, binary.BigEndian.AppendUint64(nil, w.bodies))
	return b
}

var largest = pattern(mib5 + frame)

func digest(b []byte) string { return fmt.Sprintf("%d bytes %08x", len(b), crc32.ChecksumIEEE(b)) }

func (w *world) key(t *rapid.T) string { return rapid.SampledFrom(keysOfWorld).Draw(t, "key") }

// versions returns what a key has, the current one last.
func (w *world) versions(key string) []*object {
	return slices.DeleteFunc(slices.Clone(w.objects), func(o *object) bool { return o.key != key })
}

// current returns what a GET of a key returns.
func (w *world) current(key string) *object {
	if all := w.versions(key); len(all) > 0 && !all[len(all)-1].marker {
		return all[len(all)-1]
	}
	return nil
}

// add takes note of a new version.
func (w *world) add(o *object) {
	if !w.versioned {
		w.objects = slices.DeleteFunc(w.objects, func(old *object) bool {
			o.over = o.over || old.key == o.key && (old.parts != nil || old.over)
			return old.key == o.key
		})
	}
	w.bodies++
	w.call(o.etag, fmt.Sprintf("ETag of %s in parts of %v", digest(o.body), o.parts))
	if w.versioned {
		w.call(o.version, fmt.Sprintf("version %d", w.bodies))
	}
	if w.versioned || !o.marker {
		w.objects = append(w.objects, o)
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// end ends what is left, and sees that nothing of an upload stays behind.
func (w *world) end(t *rapid.T) {
	for _, u := range w.uploads {
		if u.over == "" {
			w.abortOne(t, u)
		}
	}
	r := w.sides[0]
	out, err := r.direct.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket, Prefix: ptr(".sseproxy/")})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Versions)+len(out.DeleteMarkers) > 0 {
		t.Fatalf("left of uploads that are over: %v %v", out.Versions, out.DeleteMarkers)
	}
}

// empty removes what an earlier run left in the buckets.
func (w *world) empty(t *rapid.T) {
	direct := w.sides[0].direct
	for _, r := range w.sides {
		for _, key := range keysOfWorld {
			uploads, err := direct.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &r.bucket, Prefix: &key})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range uploads.Uploads {
				if _, err := direct.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: u.Key, UploadId: u.UploadId}); err != nil {
					t.Fatal(err)
				}
			}
		}
		out, err := direct.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket})
		if err != nil {
			t.Fatal(err)
		}
		var ids []types.ObjectIdentifier
		for _, v := range out.Versions {
			ids = append(ids, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range out.DeleteMarkers {
			ids = append(ids, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if len(ids) == 0 {
			continue
		}
		if _, err := direct.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{Objects: ids}}); err != nil {
			t.Fatal(err)
		}
	}
}
