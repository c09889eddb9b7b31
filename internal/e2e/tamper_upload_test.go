package e2e_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// tap keeps the bodies of all parts that go to the store.
type tap struct {
	mu   sync.Mutex
	sent map[string][]*bytes.Buffer // by part number, in the order in which they came
}

func (r *rig) tap(t testing.TB) *tap {
	p := &tap{sent: map[string][]*bytes.Buffer{}}
	r.wire.AlterRequest(func(req *http.Request) error {
		if k := kind(req); k == "part" || k == "own part" {
			u := testbed.Must(url.ParseRequestURI(req.RequestURI))(t)
			p.mu.Lock()
			defer p.mu.Unlock()
			b := new(bytes.Buffer)
			number := u.Query().Get("partNumber")
			p.sent[number] = append(p.sent[number], b)
			req.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(req.Body, tapped{p, b}), req.Body}
		}
		return nil
	})
	return p
}

type tapped struct {
	*tap
	to *bytes.Buffer
}

func (w tapped) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// attempt returns the sealed bytes of the i-th attempt of a part.
func (p *tap) attempt(number, i int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.sent[fmt.Sprint(number)][i].Bytes())
}

// trailer returns the trailer at the end of the i-th attempt of part 10000.
func (p *tap) trailer(t testing.TB, i int) []byte { return trailerOf(t, p.attempt(10000, i)) }

func trailerOf(t testing.TB, sealed []byte) []byte {
	_, n, err := envelope.ParseTail(sealed[len(sealed)-envelope.TailSize:])
	if err != nil {
		t.Fatal(err)
	}
	return sealed[int64(len(sealed))-n:]
}

// loot is what an adversary has who has seen everything that went to the store: a multipart object, the earlier attempts of its parts,
// the trailers of its earlier Completes, and another upload to the same key with parts of the same sizes.
type loot struct {
	plain, first    []byte   // plaintext of the object, and of the first attempts
	parts, firsts   [][]byte // sealed
	trailer         []byte
	firstTrailer    []byte // of a Complete of the first attempts that a condition refused
	shorterTrailer  []byte // and of one of the first two parts
	foreign         [][]byte
	foreignTrailer  []byte
	metadata        map[string]string
	foreignMetadata map[string]string
}

// collect makes them. With bare the object is completed with ETags from a listing.
func (r *rig) collect(t *testing.T, bare bool, sizes ...int) *loot {
	t.Helper()
	l := &loot{}
	foreign := r.begin(t, "key", sizes...)
	testbed.Must(r.complete(t, "key", foreign.id, foreign.parts...))(t)
	sealed, metadata := r.stored(t, "key")
	l.foreignMetadata, l.foreignTrailer = metadata, trailerOf(t, sealed)
	for _, size := range sizes {
		n := envelope.SealedPartSize(int64(size))
		l.foreign, sealed = append(l.foreign, sealed[:n]), sealed[n:]
	}

	p := r.tap(t)
	defer r.wire.AlterRequest(nil)
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
	var done []types.CompletedPart
	send := func(shift int) (plain []byte, sealed [][]byte) {
		done = nil
		for i, size := range sizes {
			body := pattern(size + shift + i)[shift+i:]
			plain = append(plain, body...)
			done = append(done, r.sendPart(t, "key", id, i+1, body, ""))
			sealed = append(sealed, p.attempt(i+1, len(p.sent[fmt.Sprint(i+1)])-1))
		}
		return plain, sealed
	}
	refused := func(parts ...types.CompletedPart) {
		_, err := r.client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: &r.bucket, Key: ptr("key"), UploadId: &id, IfNoneMatch: ptr("*"), MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		wantCode(t, err, "PreconditionFailed")
	}
	l.first, l.firsts = send(100)
	refused(done...)
	refused(done[:2]...)
	l.plain, l.parts = send(200)
	if bare {
		list := testbed.Must(r.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: ptr("key"), UploadId: &id}))(t)
		for i := range done {
			done[i].ETag = list.Parts[i].ETag
		}
	}
	testbed.Must(r.complete(t, "key", id, done...))(t)
	l.firstTrailer, l.shorterTrailer, l.trailer = p.trailer(t, 0), p.trailer(t, 1), p.trailer(t, 2)
	sealed, l.metadata = r.stored(t, "key")
	if !bytes.Equal(sealed, join(l.parts, l.trailer)) {
		t.Fatal("the object is not what went to the store")
	}
	return l
}

func join(parts [][]byte, more ...[]byte) []byte {
	return slices.Concat(slices.Concat(parts...), slices.Concat(more...))
}

const sealedFrame = frame + envelope.FrameOverhead

// splice returns part with frames from to to of another.
func splice(part, other []byte, from, to int) []byte {
	b := bytes.Clone(part)
	copy(b[min(from*sealedFrame, len(b)):], other[min(from*sealedFrame, len(b)):min(to*sealedFrame, len(b))])
	return b
}

// tampered has what the store may make of an object. Nothing of it opens whole.
func (l *loot) tampered() map[string][]byte {
	p, first, foreign, t := l.parts, l.firsts, l.foreign, l.trailer
	frames := (len(p[1]) + sealedFrame - 1) / sealedFrame
	all := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	return map[string][]byte{
		"the first part is left out":               all(p[1], p[2], t),
		"the middle part is left out":              all(p[0], p[2], t),
		"the last part is left out":                all(p[0], p[1], t),
		"only the trailer":                         t,
		"two parts are swapped":                    all(p[1], p[0], p[2], t),
		"a part stands in another's place":         all(p[0], p[0], p[2], t),
		"a part is there twice":                    all(p[0], p[1], p[1], p[2], t),
		"the last part is there twice":             all(p[0], p[1], p[2], p[2], t),
		"a part of another upload":                 all(p[0], foreign[1], p[2], t),
		"the first part of another upload":         all(foreign[0], p[1], p[2], t),
		"the last part of another upload":          all(p[0], p[1], foreign[2], t),
		"all parts of another upload":              join(foreign, t),
		"another upload":                           join(foreign, l.foreignTrailer),
		"the trailer of another upload":            join(p, l.foreignTrailer),
		"the last part's older attempt":            all(p[0], p[1], first[2], t),
		"all older attempts":                       join(first, t),
		"the first frame of the older attempt":     all(p[0], splice(p[1], first[1], 0, 1), p[2], t),
		"one frame of the older attempt":           all(p[0], splice(p[1], first[1], 40, 41), p[2], t),
		"the last frame of the older attempt":      all(p[0], splice(p[1], first[1], frames-1, frames), p[2], t),
		"the end of the older attempt":             all(p[0], splice(p[1], first[1], 40, frames), p[2], t),
		"all of the older attempt but its first":   all(p[0], splice(p[1], first[1], 1, frames), p[2], t),
		"a frame of another part":                  all(p[0], splice(p[1], p[0], 40, 41), p[2], t),
		"a frame of another upload":                all(p[0], splice(p[1], foreign[1], 40, 41), p[2], t),
		"the trailer of an earlier Complete":       join(p, l.firstTrailer),
		"the trailer of a Complete of fewer parts": join(p, l.shorterTrailer),
		"that trailer behind other attempts":       join(p[:2], l.shorterTrailer),
		"no trailer":                               join(p),
		"the trailer twice":                        join(p, t, t),
		"the trailer in front":                     all(t, join(p)),
		"the trailer without its last byte":        join(p, t[:len(t)-1]),
		"the trailer without its first byte":       join(p, t[1:]),
		"zeros for a trailer":                      join(p, make([]byte, len(t))),
		"a part behind the trailer":                all(p[0], p[1], t, p[2]),
	}
}

// read reads an object, a range of it or a part.
func (r *rig) read(t testing.TB, in s3.GetObjectInput) ([]byte, error) {
	in.Bucket = &r.bucket
	out, err := r.client.GetObject(t.Context(), &in)
	if err != nil {
		return nil, err
	}
	defer out.Body.Close() //nolint:errcheck // read to its end
	return io.ReadAll(out.Body)
}

// probe reads an object in every way: what comes is what one of the plaintexts has there, or the beginning of it and then an error.
// It returns the errors: of the whole, and of all ranges and parts.
func (r *rig) probe(t testing.TB, what, key string, sizes []int, plains ...[]byte) (whole, pieces error) {
	t.Helper()
	check := func(how string, got []byte, err error, off, n int) {
		if how != "GET" {
			pieces = errors.Join(pieces, err)
		}
		for _, plain := range plains {
			if want := plain[off : off+n]; bytes.Equal(got, want) || err != nil && bytes.HasPrefix(want, got) {
				return
			}
		}
		t.Errorf("%s: %s gave %d bytes, %v", what, how, len(got), err)
	}
	size, off := len(plains[0]), 0
	got, whole := r.read(t, s3.GetObjectInput{Key: &key})
	check("GET", got, whole, 0, size)
	for i, n := range sizes {
		got, err := r.read(t, s3.GetObjectInput{Key: &key, PartNumber: ptr(int32(i + 1))})
		check(fmt.Sprintf("GET of part %d", i+1), got, err, off, n)
		for _, at := range []int{off, off + 40*frame + 17, off + n - 10} {
			to := min(at+20, size-1)
			if at > to {
				continue
			}
			got, err := r.read(t, s3.GetObjectInput{Key: &key, Range: ptr(fmt.Sprintf("bytes=%d-%d", at, to))})
			check(fmt.Sprintf("GET of bytes %d to %d", at, to), got, err, at, to+1-at)
		}
		off += n
	}
	for _, n := range []int{10, sizes[len(sizes)-1] + 10} {
		got, err := r.read(t, s3.GetObjectInput{Key: &key, Range: ptr(fmt.Sprintf("bytes=-%d", n))})
		check(fmt.Sprintf("GET of the last %d bytes", n), got, err, size-n, n)
	}
	return whole, pieces
}

// unconditional takes the condition out of a request of the proxy's, as a store does that heeds none.
func (r *rig) unconditional(req *http.Request) error {
	plain, err := http.NewRequestWithContext(req.Context(), req.Method, "http://"+req.Host+req.RequestURI, nil)
	if err != nil {
		return err
	}
	req.Header.Del("If-Match")
	req.Header.Del("Authorization")
	plain.Header = req.Header
	who := aws.Credentials{AccessKeyID: r.store.AccessKeyID, SecretAccessKey: r.store.SecretAccessKey}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return signer.SignHTTP(req.Context(), who, plain, req.Header.Get("X-Amz-Content-Sha256"), "s3", r.store.Region, time.Now())
}

// choices returns what the object may be where the store can choose among the attempts of all parts but the last, which its stash binds.
func (l *loot) choices(sizes []int) (plains [][]byte) {
	a, b := sizes[0], sizes[0]+sizes[1]
	for _, one := range [][]byte{l.plain, l.first} {
		for _, two := range [][]byte{l.plain, l.first} {
			plains = append(plains, slices.Concat(one[:a], two[a:b], l.plain[b:]))
		}
	}
	return plains
}

var tamperedLayouts = map[string]struct {
	bare  bool
	sizes []int
}{
	"regular":   {false, []int{mib5, mib5, 70_000}},
	"irregular": {false, []int{mib5 + 512, mib5 + 512, 70_000}},
	"unbound":   {true, []int{mib5, mib5, 70_000}},
}

// TestPartsTampered: whatever the store makes of the parts, attempts and trailers that it has seen, no wrong byte comes out, and the
// object does not pass for whole: for a reader that has never seen it, and for one that has its trailer in memory and is told that
// nothing has changed.
func TestPartsTampered(t *testing.T) {
	for name, layout := range tamperedLayouts {
		if testing.Short() && name != "unbound" {
			continue // the race detector has nothing to find in the others
		}
		t.Run(name, func(t *testing.T) {
			cold := newRig(t, testbed.Store(t), options{})
			warm := newRig(t, cold.store, options{kit: cold})
			warm.wire.AlterRequest(warm.unconditional)
			warm.wire.AlterResponse(func(resp *http.Response) error { resp.Header.Set("Etag", `"the same"`); return nil })
			l := cold.collect(t, layout.bare, layout.sizes...)
			for _, r := range []*rig{cold, warm} {
				if whole, pieces := r.probe(t, "untouched", "key", layout.sizes, l.plain); whole != nil || pieces != nil {
					t.Fatal(whole, pieces)
				}
			}
			attack := func(what string, body []byte, metadata map[string]string, plains ...[]byte) {
				cold.putStored(t, "key", body, metadata)
				if err, _ := cold.probe(t, what, "key", layout.sizes, plains...); err == nil {
					t.Errorf("%s: it passes for whole", what)
				}
				_, _ = warm.probe(t, what+", with its trailer in memory", "key", layout.sizes, plains...)
			}
			plains := [][]byte{l.plain}
			if layout.bare {
				plains = l.choices(layout.sizes)
			}
			for what, body := range l.tampered() {
				attack(what, body, l.metadata, plains...)
			}
			attack("the envelope of another upload", join(l.parts, l.trailer), l.foreignMetadata, l.plain)
			// A rollback to the Complete that was refused, but for one part.
			attack("an earlier Complete, but one newer part", slices.Concat(l.firsts[0], l.parts[1], l.firsts[2], l.firstTrailer), l.metadata, append(plains, l.first)...)
			older := slices.Concat(l.parts[0], l.firsts[1], l.parts[2], l.trailer)
			if !layout.bare {
				attack("an older attempt", older, l.metadata, l.plain)
			}
			cold.putStored(t, "key", older, l.metadata)
			_, _ = warm.probe(t, "an older attempt, with its trailer in memory", "key", layout.sizes, plains...)
			cold.putStored(t, "key", join(l.parts, l.trailer), l.metadata)
			if whole, pieces := warm.probe(t, "put back", "key", layout.sizes, l.plain); whole != nil || pieces != nil {
				t.Error(whole, pieces)
			}
		})
	}
}

// TestTamperedCopySource: nor does a part that is copied from such an object.
func TestTamperedCopySource(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	l := r.collect(t, false, mib5, mib5, 70_000)
	id := r.startUpload(t, "copy", s3.CreateMultipartUploadInput{})
	for what, body := range l.tampered() {
		r.putStored(t, "key", body, l.metadata)
		_, err := r.client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
			Bucket: &r.bucket, Key: ptr("copy"), UploadId: &id, PartNumber: ptr(int32(1)), CopySource: ptr(r.bucket + "/key"),
		})
		if err == nil {
			t.Errorf("%s: copied", what)
		}
	}
}

// TestETagOfAnotherVersion: a store that answers one request of a read from one version and the next from another, under one ETag, gets
// no mixture out.
func TestETagOfAnotherVersion(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	sizes := []int{mib5 + 512, mib5 + 512, 70_000}
	l := r.collect(t, false, sizes...)
	r.putStored(t, "key", join(l.foreign, l.foreignTrailer), l.foreignMetadata)
	foreign, _, err := r.get(t, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	sealed, other := join(l.parts, l.trailer), newRig(t, r.store, options{kit: r})
	other.wire.AlterRequest(other.unconditional)
	for mask := range 16 { // which of four requests are answered from the other version
		n := 0
		other.wire.AlterResponse(func(resp *http.Response) error {
			resp.Header.Set("Etag", `"the same"`)
			if n++; mask>>(n%4)&1 == 0 {
				return nil
			}
			resp.Header.Set("X-Amz-Meta-Sseproxy", l.metadata["sseproxy"])
			from, to := 0, len(sealed)-1
			if byteRange := resp.Header.Get("Content-Range"); byteRange != "" {
				testbed.Must(fmt.Sscanf(byteRange, "bytes %d-%d/", &from, &to))(t)
			}
			setBody(resp, sealed[from:to+1])
			return nil
		})
		whole, pieces := other.probe(t, fmt.Sprintf("mask %04b", mask), "key", sizes, foreign, l.plain)
		if one := mask == 0 || mask == 15; one && (whole != nil || pieces != nil) {
			t.Errorf("all from one version: %v, %v", whole, pieces)
		}
	}
}

// TestReplacedWhileRead: an object that is replaced between the requests of one read is read as it then is, whole; and one that is
// replaced each time is an error.
func TestReplacedWhileRead(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	other := newRig(t, r.store, options{kit: r})
	for _, byteRange := range []string{"", "bytes=5242880-5243000"} {
		for what, replace := range map[string]func() []byte{
			"a multipart object": func() []byte { return other.putMultipart(t, "key", part{1, mib5 + 1, false}, part{2, mib5, false}) },
			"one of the same length": func() []byte {
				return other.putMultipart(t, "key", part{1, mib5 + 512, false}, part{2, mib5 + 1, true}, part{3, 3, false})
			},
			"a single object": func() []byte { other.put(t, "key", pattern(6<<20)); return pattern(6 << 20) },
		} {
			r.putMultipart(t, "key", multipartLayouts["irregular"]...)
			var now []byte
			r.wire.AlterRequest(func(req *http.Request) error {
				if now == nil && req.Header.Get("If-Match") != "" {
					now = replace()
				}
				return nil
			})
			want := func() []byte {
				if byteRange == "" {
					return now
				}
				return now[5242880:5243001]
			}
			if got, _, err := r.get(t, "key", byteRange); err != nil || now == nil || !bytes.Equal(got, want()) {
				t.Errorf("%s, %q: %d bytes, %v", what, byteRange, len(got), err)
			}
			r.wire.AlterRequest(nil)
		}
	}
	r.putMultipart(t, "key", multipartLayouts["irregular"]...)
	r.wire.AlterRequest(func(req *http.Request) error {
		if req.Header.Get("If-Match") != "" {
			other.putMultipart(t, "key", multipartLayouts["irregular"]...)
		}
		return nil
	})
	_, _, err := r.get(t, "key", "")
	wantCode(t, err, "OperationAborted")
	r.wire.AlterRequest(nil)
}

// listedParts is a store's ListParts.
type listedParts struct {
	XMLName              xml.Name `xml:"ListPartsResult"`
	IsTruncated          bool
	NextPartNumberMarker int64
	Part                 []storedPart
}

type storedPart struct {
	PartNumber int64
	ETag       string
	Size       int64
}

// partsLie changes a ListParts.
func partsLie(f func(l *listedParts)) func(*http.Response) error {
	return func(resp *http.Response) error {
		var l listedParts
		if err := xml.NewDecoder(resp.Body).Decode(&l); err != nil {
			return err
		}
		if len(l.Part) >= 3 { // a page behind the first has nothing to lie about
			f(&l)
		}
		b, err := xml.Marshal(l)
		setBody(resp, b)
		return err
	}
}

// listedVersions is a store's ListObjectVersions.
type listedVersions struct {
	XMLName             xml.Name `xml:"ListVersionsResult"`
	IsTruncated         bool
	NextKeyMarker       string
	NextVersionIDMarker string `xml:"NextVersionIdMarker"`
	Version             []storedVersion
}

type storedVersion struct {
	Key, VersionID, ETag string
	Size                 int64
	LastModified         string
}

// versionsLie changes a listing of stashes.
func versionsLie(f func(l *listedVersions)) func(*http.Response) error {
	return func(resp *http.Response) error {
		var l listedVersions
		if err := xml.NewDecoder(resp.Body).Decode(&l); err != nil {
			return err
		}
		f(&l)
		b, err := xml.Marshal(l)
		setBody(resp, b)
		return err
	}
}

func partSize(i int, n int64) func(*listedParts) { return func(l *listedParts) { l.Part[i].Size = n } }

func moreThan(i int, n int64) func(*listedParts) { return func(l *listedParts) { l.Part[i].Size += n } }

// listLies has what a store may say of an upload's parts: [mib5, mib5, 70_000].
var listLies = map[string]func(l *listedParts){
	"one byte more":                  moreThan(0, 1),
	"one byte less":                  moreThan(1, -1),
	"one frame's overhead more":      moreThan(0, envelope.FrameOverhead),
	"one byte less at the end":       moreThan(2, -1),
	"a frame more at the end":        moreThan(2, sealedFrame),
	"a frame less, a frame more":     func(l *listedParts) { l.Part[0].Size -= sealedFrame; l.Part[1].Size += sealedFrame },
	"a frame from one to the next":   func(l *listedParts) { l.Part[0].Size += sealedFrame; l.Part[1].Size -= sealedFrame },
	"a long last part":               func(l *listedParts) { l.Part[2].Size = l.Part[0].Size },
	"a short first part":             func(l *listedParts) { l.Part[0].Size = l.Part[2].Size },
	"size 0":                         partSize(0, 0),
	"size 28":                        partSize(2, 28),
	"a negative size":                partSize(0, -1),
	"the least size":                 partSize(1, math.MinInt64),
	"the greatest size":              partSize(0, math.MaxInt64),
	"a petabyte":                     partSize(1, 1<<50),
	"ETags swapped":                  func(l *listedParts) { l.Part[0].ETag, l.Part[1].ETag = l.Part[1].ETag, l.Part[0].ETag },
	"no ETags":                       func(l *listedParts) { l.Part[0].ETag, l.Part[1].ETag, l.Part[2].ETag = "", "", "" },
	"numbers swapped":                func(l *listedParts) { l.Part[0].PartNumber, l.Part[1].PartNumber = 2, 1 },
	"all of them number 1":           func(l *listedParts) { l.Part[1].PartNumber, l.Part[2].PartNumber = 1, 1 },
	"in reverse":                     func(l *listedParts) { slices.Reverse(l.Part) },
	"the first left out":             func(l *listedParts) { l.Part = l.Part[1:] },
	"the last left out":              func(l *listedParts) { l.Part = l.Part[:2] },
	"none":                           func(l *listedParts) { l.Part = nil },
	"each twice":                     func(l *listedParts) { l.Part = append(l.Part, l.Part...) },
	"each twice, of different sizes": func(l *listedParts) { l.Part = append(l.Part, l.Part...); l.Part[0].Size, l.Part[4].Size = 28, 29 },
	"numbers that there are not": func(l *listedParts) {
		for _, n := range []int64{0, -1, 10_001, math.MaxInt64} {
			l.Part = append(l.Part, storedPart{n, l.Part[0].ETag, l.Part[0].Size})
		}
	},
	"a page that leads to itself":      func(l *listedParts) { l.IsTruncated, l.NextPartNumberMarker = true, 3 },
	"a page that leads to the first":   func(l *listedParts) { l.IsTruncated, l.NextPartNumberMarker = true, 0 },
	"a page that leads behind the end": func(l *listedParts) { l.IsTruncated, l.NextPartNumberMarker = true, math.MaxInt32 },
	"pages without end":                func(l *listedParts) { l.IsTruncated, l.NextPartNumberMarker = true, l.NextPartNumberMarker+1000 },
	"a huge page":                      func(l *listedParts) { l.Part = slices.Repeat(l.Part, 40_000) },
}

// stashLies has what it may say of stashes.
var stashLies = map[string]func(l *listedVersions){
	"none":          func(l *listedVersions) { l.Version = nil },
	"each twice":    func(l *listedVersions) { l.Version = append(l.Version, l.Version...) },
	"one byte more": func(l *listedVersions) { each(l, func(v *storedVersion) { v.Size++ }) },
	"no size":       func(l *listedVersions) { each(l, func(v *storedVersion) { v.Size = 0 }) },
	"another ETag":  func(l *listedVersions) { each(l, func(v *storedVersion) { v.ETag = `"0123"` }) },
	"another number": func(l *listedVersions) {
		each(l, func(v *storedVersion) { v.Key = strings.Replace(v.Key, "/3-", "/2-", 1) })
	},
	"another folder":   func(l *listedVersions) { each(l, func(v *storedVersion) { v.Key = "x" + v.Key }) },
	"another attempt":  func(l *listedVersions) { each(l, func(v *storedVersion) { v.Key = v.Key[:len(v.Key)-2] + "00" }) },
	"no attempt":       func(l *listedVersions) { each(l, func(v *storedVersion) { v.Key = v.Key[:len(v.Key)-1] }) },
	"a page to itself": func(l *listedVersions) { l.IsTruncated, l.NextKeyMarker = true, "" },
	"a page to a page": func(l *listedVersions) { l.IsTruncated, l.NextKeyMarker = true, "a" },
	"a huge page": func(l *listedVersions) {
		l.Version = append(l.Version, slices.Repeat([]storedVersion{{Key: strings.Repeat("k", 1000)}}, 10_000)...)
	},
}

func each(l *listedVersions, f func(*storedVersion)) {
	for i := range l.Version {
		f(&l.Version[i])
	}
}

// TestStoreLiesOfUploads: a store that lies while an upload is completed gets no wrong object out of it: what is then there is the old
// one, or the right one, or one that does not open.
func TestStoreLiesOfUploads(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	lies := map[string]fire{}
	for what, f := range listLies {
		lies["parts: "+what] = fire{"list parts", false, partsLie(f)}
	}
	for what, f := range stashLies {
		lies["stashes: "+what] = fire{"list versions", false, versionsLie(f)}
	}
	for what, body := range map[string]string{"nothing": "", "garbage": "\x00<", "another document": "<ListBucketResult/>", "nested": strings.Repeat("<a>", 100_000)} {
		lies["parts: "+what] = fire{"list parts", false, answers(200, body)}
		lies["stashes: "+what] = fire{"list versions", false, answers(200, body)}
	}
	for what, f := range map[string]func([]byte){
		"flipped": func(b []byte) { b[70] ^= 1 },
		"zeros":   func(b []byte) { clear(b) },
		"turned":  slices.Reverse[[]byte],
	} {
		lies["a stash: "+what] = fire{"GET stash", false, func(resp *http.Response) error {
			b, err := io.ReadAll(resp.Body)
			f(b)
			setBody(resp, b)
			return err
		}}
	}
	lies["part 10000: another ETag"] = fire{"own part", false, func(resp *http.Response) error { resp.Header.Set("Etag", `"0123"`); return nil }}
	lies["part 10000: no ETag"] = fire{"own part", false, func(resp *http.Response) error { resp.Header.Del("Etag"); return nil }}
	sizes := []int{mib5, mib5, 70_000}
	var b *begun
	var earlier []byte
	for what, lie := range lies {
		for _, bare := range []bool{false, true} {
			if b == nil {
				b = r.begin(t, "key", sizes...)
				earlier = bytes.Clone(b.new)
				copy(b.new[2*mib5:], pattern(70_050)[50:])
				b.parts[2] = r.sendPart(t, b.key, b.id, 3, b.new[2*mib5:], "")
			}
			what, parts := fmt.Sprintf("%s (bare: %v)", what, bare), b.parts
			if bare {
				parts = r.bare(t, b)
			}
			liar := newRig(t, r.store, options{kit: r})
			liar.under(lie)
			_, err := liar.complete(t, b.key, b.id, parts...)
			liar.under(fire{})
			if err != nil {
				wantS3(t, what, err)
				r.want(t, what, b.key, b.old)
				continue
			}
			plains := [][]byte{b.new}
			if bare {
				plains = append(plains, earlier)
			}
			_, _ = r.probe(t, what, b.key, sizes, plains...) // it need not open
			b = nil
		}
	}
}

// TestStashesOfOnePart: a bare ETag of a short part that was sent twice means the attempt that has it. Where a store's ETags are no
// digests of the bytes, it means the one stash that there is; of two it could be either, and neither is taken.
func TestStashesOfOnePart(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for _, digests := range []bool{true, false} {
		for _, attempts := range []int{1, 2} {
			b := r.begin(t, "key", mib5, 100)
			if attempts == 2 {
				r.sendPart(t, b.key, b.id, 2, pattern(109)[9:], "")
				b.new = append(b.new[:mib5], pattern(109)[9:]...)
			}
			if !digests {
				r.under(fire{"list versions", false, versionsLie(func(l *listedVersions) { each(l, func(v *storedVersion) { v.ETag = `"0123"` }) })})
			}
			_, err := r.complete(t, b.key, b.id, r.bare(t, b)...)
			r.under(fire{})
			if !digests && attempts == 2 {
				wantCode(t, err, "InvalidPart")
				r.want(t, "two stashes without digests", b.key, b.old)
				continue
			}
			if err != nil {
				t.Errorf("digests: %v, %d attempts: %v", digests, attempts, err)
			}
			r.want(t, fmt.Sprintf("digests: %v, %d attempts", digests, attempts), b.key, b.new)
		}
	}
}

// TestFragments: what a store kept of a part that broke off is no part, also for a client that takes its ETags from a listing.
func TestFragments(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	b := r.begin(t, "key", mib5, mib5, 100)
	sealed := make([]byte, envelope.SealedPartSize(mib5)+10) // and ten bytes of the next frame
	parts := r.bare(t, b)
	out := testbed.Must(r.direct.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id, PartNumber: ptr(int32(2)), Body: bytes.NewReader(sealed)}))(t)
	parts[1].ETag = ptr(strings.TrimSuffix(*out.ETag, `"`) + `-sse"`)
	_, err := r.complete(t, b.key, b.id, parts...)
	wantCode(t, err, "InvalidPart")
	r.want(t, "a fragment", b.key, b.old)
}

// TestStashReplaced: a stash of another attempt, of another part or of another upload in place of the one that is asked for gives an
// object that does not open.
func TestStashReplaced(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	const n = 70_000
	for _, replace := range []string{"another attempt", "another number", "another upload"} {
		foreign := r.begin(t, "key", mib5, n)
		victim := r.begin(t, "key", mib5, n)
		r.sendPart(t, "key", victim.id, 3, pattern(n), "")
		first := victim.parts[1]
		victim.parts[1] = r.sendPart(t, "key", victim.id, 2, pattern(n + 60)[60:], "")
		victim.new = append(victim.new[:mib5], pattern(n + 60)[60:]...)
		attempt := func(p types.CompletedPart) string { return strings.Split(strings.Trim(*p.ETag, `"`), "-")[1][:24] }
		stashes := map[string]string{}
		for _, key := range r.left(t) {
			switch {
			case strings.HasSuffix(key, "/2-"+attempt(first)):
				stashes["another attempt"] = key
			case strings.HasSuffix(key, "/2-"+attempt(victim.parts[1])):
				stashes["mine"] = key
			case strings.HasSuffix(key, "/2-"+attempt(foreign.parts[1])):
				stashes["another upload"] = key
			case strings.Contains(key, "/3-"):
				stashes["another number"] = key
			}
		}
		body, _ := r.stored(t, stashes[replace])
		if _, err := r.direct.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr(stashes["mine"]), Body: bytes.NewReader(body)}); err != nil {
			t.Fatal(err)
		}
		sizes := []int{mib5, n}
		if _, err := r.complete(t, "key", victim.id, victim.parts...); err != nil {
			wantS3(t, replace, err)
			r.want(t, replace, "key", victim.old)
		} else if err, _ := r.probe(t, replace, "key", sizes, victim.new); err == nil {
			t.Errorf("%s: it passes for whole", replace)
		}
		for _, b := range []*begun{foreign, victim} {
			_, _ = r.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id})
		}
	}
}

// TestStateReplaced: under the state of another upload, an altered one or none, nothing goes to the store.
func TestStateReplaced(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	states := func() (found []string) {
		for _, key := range r.left(t) {
			if strings.HasSuffix(key, "/state") {
				found = append(found, key)
			}
		}
		return found
	}
	r.begin(t, "key", 100)
	same := states()
	r.begin(t, "other", 100)
	other := slices.DeleteFunc(states(), func(key string) bool { return slices.Contains(same, key) })
	before := states()
	b := r.begin(t, "key", mib5, 100)
	mine := slices.DeleteFunc(states(), func(key string) bool { return slices.Contains(before, key) })[0]
	body, metadata := r.stored(t, mine)
	sameBody, sameMetadata := r.stored(t, same[0])
	otherBody, otherMetadata := r.stored(t, other[0])
	flipped := bytes.Clone(body)
	flipped[40] ^= 1
	r.put(t, "object", body)
	objectBody, objectMetadata := r.stored(t, "object")
	for what, state := range map[string]struct {
		body     []byte
		metadata map[string]string
	}{
		"of another upload to the key":   {sameBody, sameMetadata},
		"of an upload to another key":    {otherBody, otherMetadata},
		"another's bytes":                {sameBody, metadata},
		"another's envelope":             {body, sameMetadata},
		"altered":                        {flipped, metadata},
		"cut":                            {body[:len(body)-1], metadata},
		"empty":                          {nil, metadata},
		"without an envelope":            {body, nil},
		"in the clear":                   {[]byte(`{"key":"key"}`), nil},
		"an object":                      {objectBody, objectMetadata},
		"a huge object without envelope": {make([]byte, 1<<20), nil},
	} {
		r.putStored(t, mine, state.body, state.metadata)
		fresh := newRig(t, r.store, options{kit: r})
		_, err := fresh.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id, PartNumber: ptr(int32(1)), Body: bytes.NewReader(pattern(100))})
		wantCode(t, err, "InternalError")
		_, err = fresh.complete(t, b.key, b.id, b.parts...)
		wantCode(t, err, "InternalError")
		_, err = fresh.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id})
		wantCode(t, err, "InternalError")
		for _, x := range fresh.wire.Requests() {
			if x.Method != http.MethodGet && x.Method != http.MethodHead {
				t.Errorf("%s: %s %s went to the store", what, x.Method, x.Target)
			}
		}
		if t.Failed() {
			t.Fatalf("%s: see above", what)
		}
	}
	r.putStored(t, mine, body, metadata)
	testbed.Must(newRig(t, r.store, options{kit: r}).complete(t, b.key, b.id, b.parts...))(t)
	r.want(t, "the right one", b.key, b.new)
}

// TestWrongUploadID: a store that answers CreateMultipartUpload with the id of another upload gets no mixture of the two out, and none
// of either as the other.
func TestWrongUploadID(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	sizes := []int{mib5, mib5, 100}
	for what, id := range map[string]func() (string, *begun){
		"of another upload to the key": func() (string, *begun) { b := r.begin(t, "key", sizes...); return b.id, b },
		"of an upload to another key":  func() (string, *begun) { b := r.begin(t, "other", sizes...); return b.id, b },
		"of an upload that is over": func() (string, *begun) {
			b := r.begin(t, "key", sizes...)
			testbed.Must(r.complete(t, b.key, b.id, b.parts...))(t)
			return b.id, nil
		},
		"of none":        func() (string, *begun) { return "none", nil },
		"a long one":     func() (string, *begun) { return strings.Repeat("a", 60_000), nil },
		"a path":         func() (string, *begun) { return "../../etc", nil },
		"with a newline": func() (string, *begun) { return "a\r\nb: c", nil },
	} {
		wrong, victim := id()
		r.under(fire{"create", false, answers(200, "<InitiateMultipartUploadResult><UploadId>"+wrong+"</UploadId></InitiateMultipartUploadResult>")})
		created, err := r.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: ptr("key")})
		r.under(fire{})
		if err != nil {
			wantS3(t, what, err)
			continue
		}
		old := []byte("the object before")
		r.put(t, "key", old)
		fresh := newRig(t, r.store, options{kit: r})
		var parts []types.CompletedPart
		var plain []byte
		for i, n := range sizes {
			body := pattern(n + 77)[77:]
			out, err := []*rig{r, fresh}[i%2].client.UploadPart(t.Context(), &s3.UploadPartInput{
				Bucket: &r.bucket, Key: ptr("key"), UploadId: created.UploadId, PartNumber: ptr(int32(i + 1)), Body: bytes.NewReader(body),
			})
			if err != nil {
				break
			}
			plain = append(plain, body...)
			parts = append(parts, types.CompletedPart{PartNumber: ptr(int32(i + 1)), ETag: out.ETag})
		}
		if victim != nil && len(parts) > 0 {
			mixed := append(slices.Clone(parts[:len(parts)-1]), victim.parts[len(parts)-1])
			if _, err := fresh.complete(t, victim.key, victim.id, mixed...); err == nil {
				t.Errorf("%s: completed with parts of both", what)
			}
		}
		if _, err := r.complete(t, "key", *created.UploadId, parts...); err == nil {
			_, _ = fresh.probe(t, what, "key", sizes, plain) // it need not open
		} else if len(parts) > 0 {
			r.want(t, what, "key", old)
		}
		if victim == nil {
			continue
		}
		if _, err := fresh.complete(t, victim.key, victim.id, victim.parts...); err == nil {
			_, _ = r.probe(t, what, victim.key, sizes, victim.new)
		}
	}
}
