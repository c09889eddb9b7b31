package e2e_test

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestDifferential: whatever a client asks for, through the proxy it gets the answer that the store itself gives for the
// plaintext: status, headers and document, field by field. What differs is listed in testdata/differences.txt, each with its
// reason, and nothing is listed there that does not differ.
//
// A request of the corpus goes to both sides, each of which has a bucket of its own that the same requests have filled. Of
// the answers only that is taken out which cannot be the same; see normalizer.
func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("the corpus is long")
	}
	list := readDifferences(t, "differences.txt")
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newDifferentialRig(t, store, nil)
		var ran atomic.Int64
		t.Run("chapters", func(t *testing.T) {
			for _, c := range chapters {
				t.Run(c.name, func(t *testing.T) {
					if c.name != "buckets" { // it lists them all
						t.Parallel()
					}
					ran.Add(1)
					straight, through := newSide(t, store, store.URL), newSide(t, store, r.url)
					play(t, c, straight, through, list)
				})
			}
		})
		if int(ran.Load()) == len(chapters) {
			list.played[store.Name] = true
		}
	})
	list.requireUsed(t)
}

// newDifferentialRig has the same client as the store, so that errors about it read the same.
func newDifferentialRig(t *testing.T, store *testbed.S3Store, rules []proxy.Rule) *rig {
	t.Helper()
	return newRig(t, store, options{proxy: func(c *proxy.Config) {
		c.Region = store.Region
		c.Upstream = testbed.Must(url.Parse(store.URL))(t) // past the wire, which does not pass resets on
		c.Log = nil
		c.Identities = []proxy.Identity{{Name: "tester", AccessKeyID: store.AccessKeyID, SecretAccessKey: store.SecretAccessKey}}
		c.Rules = rules
	}})
}

// TestDifferentialBypass: where the operator wants objects left as they are, nothing differs but what differs of sealed ones, or is listed
// in testdata/differences_bypass.txt.
func TestDifferentialBypass(t *testing.T) {
	if testing.Short() {
		t.Skip("the corpus is long")
	}
	list, own := readDifferences(t, "differences.txt"), readDifferences(t, "differences_bypass.txt")
	list.lines = append(list.lines, own.lines...)
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newDifferentialRig(t, store, []proxy.Rule{{Bucket: "*", Bypass: true}})
		own.played[store.Name] = true
		t.Run("chapters", func(t *testing.T) {
			for _, c := range chapters {
				if slices.Contains([]string{"objects", "ranges", "conditions", "digests", "uploads", "copies"}, c.name) {
					t.Run(c.name, func(t *testing.T) {
						t.Parallel()
						play(t, c, newSide(t, store, store.URL), newSide(t, store, r.url), list)
					})
				}
			}
		})
	})
	own.requireUsed(t)
}

// chapter is a part of the corpus that begins with an empty bucket.
type chapter struct {
	name   string
	probes func(t *testing.T) []probe
}

// probe is a request of the corpus.
type probe struct {
	name    string
	build   func(s *side) message
	follows bool // it looks at what the one before has done, which the sides must have taken alike
	quiet   bool // it only cleans up
}

// side is one of two ways to a store.
type side struct {
	store  *testbed.S3Store
	url    string
	bucket string
	vars   map[string]string // what answers have told, for later requests
}

func newSide(t *testing.T, store *testbed.S3Store, url string) *side {
	s := &side{store: store, url: url, bucket: testbed.Bucket(t, store)}
	s.vars = map[string]string{"bucket": s.bucket, "region": store.Region}
	return s
}

var variable = regexp.MustCompile(`\{\{([^{}]+)\}\}`)

// expand puts what earlier answers have told in place of {{name}}. What none has told stays.
func (s *side) expand(text string) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	return variable.ReplaceAllStringFunc(text, func(m string) string { return cmp.Or(s.vars[m[2:len(m)-2]], m) })
}

func (s *side) send(t *testing.T, m message) answer {
	t.Helper()
	m.access, m.secret, m.region = cmp.Or(m.access, s.store.AccessKeyID), cmp.Or(m.secret, s.store.SecretAccessKey), cmp.Or(m.region, s.store.Region)
	head, sent := m.wire(t, s.url)
	c := testbed.Must(new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://")))(t)
	defer c.Close() //nolint:errcheck // the answer has been read
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return exchange(t, c, m, head, sent)
}

// play sends a chapter's requests to both sides and reports what differs and is not listed.
func play(t *testing.T, c chapter, straight, through *side, list *differenceList) {
	n := &normalizer{straight: straight, through: through, etags: map[string]string{}, ids: map[string]string{}}
	names := map[string]int{}
	var unlisted strings.Builder
	parted := false // the sides do not have the same
	for _, p := range c.probes(t) {
		if names[p.name]++; names[p.name] > 1 {
			p.name += fmt.Sprintf(" (%d)", names[p.name])
		}
		name := c.name + ": " + p.name
		asked := [2]message{p.build(straight), p.build(through)}
		if asked[0].method == "" {
			continue // the SDK does not send such a thing
		}
		if p.follows && parted {
			continue
		}
		answers := [2]answer{straight.send(t, asked[0]), through.send(t, asked[1])}
		want, got := readFields(answers[0], asked[0].method), readFields(answers[1], asked[1].method)
		if asked[0].method != http.MethodGet && asked[0].method != http.MethodHead {
			n.learn(want, got)
		}
		straight.remember(asked[0], want, got)
		through.remember(asked[1], got, want)
		n.normalize(want, got)
		if !p.follows {
			parted = want[outcome] != got[outcome]
		}
		for _, d := range compare(name, want, got) {
			if d.store = straight.store.Name; !p.quiet && !list.allows(d) {
				fmt.Fprintln(&unlisted, d)
			}
		}
	}
	if unlisted.Len() > 0 {
		t.Errorf("not in differences.txt:\n%s", unlisted.String())
	}
}

// fields are what an answer consists of, by name: "outcome", "header X", "body", and the elements and attributes of a
// document by their paths, such as "ListBucketResult/Contents[2]/Key".
type fields map[string]string

const outcome = "outcome"

func readFields(a answer, method string) fields {
	f := fields{outcome: strconv.Itoa(a.status)}
	if a.status == 0 {
		f[outcome] = "connection cut"
	}
	for name, values := range a.header {
		f["header "+name] = strings.Join(values, ", ")
	}
	switch document, ok := readDocument(a.body); {
	case ok:
		maps.Copy(f, document)
		if method != http.MethodHead {
			f["header Content-Length"] = strings.ReplaceAll(f["header Content-Length"], strconv.Itoa(len(a.body)), "{length}")
		}
	case len(a.body) > 200:
		f["body"] = fmt.Sprintf("%d bytes, sha256 %s", len(a.body), sha256hex(a.body)[:16])
	case len(a.body) > 0:
		f["body"] = strconv.Quote(string(a.body))
	}
	if code := f["Error/Code"]; code != "" {
		f[outcome] += " " + code
	}
	return f
}

// readDocument reads an XML document; false if a body is none.
func readDocument(body []byte) (fields, bool) {
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		return nil, false
	}
	f := fields{"declaration": fmt.Sprint(bytes.HasPrefix(body, []byte("<?xml")))}
	var path []string
	var count []map[string]int
	var text strings.Builder
	dec := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && len(path) == 0 {
			return f, true
		}
		if err != nil {
			return nil, false
		}
		switch token := token.(type) {
		case xml.StartElement:
			name := token.Name.Local
			if len(count) > 0 {
				siblings := count[len(count)-1]
				if siblings[name]++; siblings[name] > 1 {
					name += fmt.Sprintf("[%d]", siblings[name])
				}
			}
			path, count = append(path, name), append(count, map[string]int{})
			for _, a := range token.Attr {
				f[strings.Join(path, "/")+"/@"+a.Name.Local] = a.Value
			}
			text.Reset()
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if len(count[len(count)-1]) == 0 {
				f[strings.Join(path, "/")] = text.String()
			}
			path, count = path[:len(path)-1], count[:len(count)-1]
			text.Reset()
		}
	}
}

// element returns the value of a document's element, wherever it is, if there is one only.
func (f fields) element(name string) string {
	value := ""
	for path, v := range f {
		if strings.HasSuffix(path, "/"+name) {
			if value != "" && value != v {
				return ""
			}
			value = v
		}
	}
	return value
}

// remember keeps what later requests may want: an object's ETag and version, an upload's id, where a next page begins.
func (s *side) remember(m message, f, other fields) {
	if !strings.HasPrefix(f[outcome], "2") {
		return
	}
	if id := f["InitiateMultipartUploadResult/UploadId"]; id != "" {
		s.vars["upload"] = id
	}
	if f[outcome] != other[outcome] {
		return
	}
	path, rawQuery, _ := strings.Cut(m.target, "?")
	query, _ := url.ParseQuery(rawQuery)
	key, _ := url.PathUnescape(strings.TrimPrefix(path, "/"+s.bucket+"/"))
	if n := query.Get("partNumber"); n != "" {
		key += " part " + n
	}
	keep := func(what, value string) {
		if value != "" {
			s.vars[what] = value
		}
	}
	if m.method == http.MethodPut || m.method == http.MethodPost {
		keep("etag "+key, cmp.Or(f["header Etag"], f.element("ETag")))
	}
	if version := f["header X-Amz-Version-Id"]; version != "" && m.method != http.MethodGet && m.method != http.MethodHead {
		keep("version "+key, version)
		for n := 1; ; n++ {
			if name := fmt.Sprintf("version %s %d", key, n); s.vars[name] == "" {
				keep(name, version)
				break
			}
		}
	}
	keep("modified "+key, f["header Last-Modified"])
	keep("upload "+key, f["InitiateMultipartUploadResult/UploadId"])
	for name, value := range f {
		if _, element, _ := strings.Cut(name, "/"); strings.HasPrefix(element, "Next") {
			keep(element, value)
		}
	}
}

// normalizer takes out of two answers what cannot be the same: names of buckets and hosts, ids of requests, times of now, and
// ETags and ids of versions and uploads, which are put in the terms of the other side as they were learned when they appeared.
type normalizer struct {
	straight, through *side
	etags             map[string]string // the proxy's: the store's
	ids               map[string]string // of versions and uploads: a name that is the same for both sides
}

// learn notes the ETags of a write that has succeeded on both sides.
func (n *normalizer) learn(want, got fields) {
	if want[outcome] != got[outcome] || !strings.HasPrefix(want[outcome], "2") {
		return
	}
	for name, theirs := range want {
		if ours := got[name]; isETag(name) && ours != "" {
			theirs, ours = strings.Trim(theirs, `"`), strings.Trim(ours, `"`)
			n.etags[ours] = theirs
			// Without the attempt, as ListParts has it.
			if native, _, ok := strings.Cut(ours, "-"); ok && len(ours) > 60 {
				n.etags[native+"-sse"] = theirs
			}
		}
	}
}

func isETag(field string) bool { return field == "header Etag" || strings.HasSuffix(field, "/ETag") }

func (n *normalizer) normalize(want, got fields) {
	sortTags(want)
	sortTags(got)
	onlyOwnBucket(want, n.straight.bucket)
	onlyOwnBucket(got, n.through.bucket)
	n.pairIDs(want, got)
	for name, value := range got {
		if bare := strings.Trim(value, `"`); isETag(name) && n.etags[bare] != "" {
			got[name] = strings.Replace(value, bare, n.etags[bare], 1)
		}
	}
	for s, f := range map[*side]fields{n.straight: want, n.through: got} {
		names := strings.NewReplacer(n.straight.bucket, "{bucket}", n.through.bucket, "{bucket}", strings.TrimPrefix(s.url, "http://"), "{host}")
		for name, value := range f {
			f[name] = n.normal(name, names.Replace(value))
		}
		for _, name := range []string{"Date", "Server", "Connection"} {
			delete(f, "header "+name)
		}
	}
}

// pairIDs notes the ids that two answers show in the same place for the first time: they are of the same thing.
func (n *normalizer) pairIDs(want, got fields) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		theirs, ours := want[name], got[name]
		if opaque.MatchString(name) && want[outcome] == got[outcome] && len(theirs) > 8 && len(ours) > 8 && n.ids[theirs] == "" && n.ids[ours] == "" {
			n.ids[theirs] = fmt.Sprintf("{id %d}", len(n.ids)/2+1)
			n.ids[ours] = n.ids[theirs]
		}
	}
}

// sortTags puts an object's or a bucket's tags in order, of which there is none: a store may have them in a map.
func sortTags(f fields) {
	const tag = "Tagging/TagSet/Tag"
	var tags []string
	for name, value := range f {
		if tail, ok := strings.CutPrefix(name, tag); ok && strings.HasSuffix(tail, "/Key") {
			place := strings.TrimSuffix(name, "/Key")
			tags = append(tags, value+"\x00"+f[place+"/Value"])
			delete(f, name)
			delete(f, place+"/Value")
		}
	}
	slices.Sort(tags)
	for i, text := range tags {
		f[fmt.Sprintf("%s[%d]", tag, i+1)] = strings.ReplaceAll(text, "\x00", "=")
	}
}

// onlyOwnBucket leaves of a listing of buckets the one that has the name, and of a page of one nothing: other tests make and remove theirs
// meanwhile.
func onlyOwnBucket(f fields, own string) {
	const result, listed = "ListAllMyBucketsResult/", "ListAllMyBucketsResult/Buckets/Bucket"
	kept := make(map[string]string)
	for name, value := range f {
		tail, ok := strings.CutPrefix(name, listed)
		place, element, _ := strings.Cut(tail, "/")
		if ok && f[listed+place+"/Name"] == own && f[result+"ContinuationToken"] == "" {
			kept[listed+"/"+element] = value
		}
	}
	if f[result+"Owner/ID"] != "" {
		delete(f, "header Content-Length")
	}
	maps.DeleteFunc(f, func(name, _ string) bool { return strings.HasPrefix(name, listed) })
	maps.Copy(f, kept)
}

// opaque are elements and headers whose values only the store understands.
var opaque = regexp.MustCompile(`(/(VersionId|DeleteMarkerVersionId|UploadId|ContinuationToken|NextContinuationToken|(Next)?VersionIdMarker|(Next)?UploadIdMarker)(\[\d+\])?|^header X-Amz-(Copy-Source-)?Version-Id)$`)

// hash is what a signature, or a hash over a host's name, is.
var hash = regexp.MustCompile(`\b[0-9a-f]{64}$`)

// stamp is when a request was signed, within what was signed.
var stamp = regexp.MustCompile(`\b\d{8}T\d{6}Z`)

// layouts are the forms of times in S3's answers, and in those of stores.
var layouts = []string{http.TimeFormat, "2006-01-02T15:04:05Z", "2006-01-02T15:04:05.000Z", time.RFC3339Nano, "20060102T150405Z", time.ANSIC}

func (n *normalizer) normal(field, value string) string {
	switch {
	case value == "":
	case field == "header X-Amz-Request-Id" || field == "header X-Amz-Id-2" || field == "Error/RequestId" || field == "Error/HostId":
		return "{id}"
	case n.ids[value] != "":
		return n.ids[value]
	case strings.HasSuffix(field, "/Bucket/CreationDate") && value == "0001-01-01T00:00:00.000Z":
		return "{now as 2006-01-02T15:04:05.000Z}" // MinIO says so of a bucket that another test is making at the moment
	case field == "Error/SignatureProvided" || field == "Error/StringToSign":
		return hash.ReplaceAllString(stamp.ReplaceAllString(value, "{now}"), "{hash}")
	case field == "Error/CanonicalRequest":
		return stamp.ReplaceAllString(value, "{now}")
	case field == "Error/StringToSignBytes" || field == "Error/CanonicalRequestBytes":
		return "{bytes}"
	}
	for _, layout := range layouts {
		if at, err := time.Parse(layout, value); err == nil && at.Format(layout) == value && time.Since(at).Abs() < time.Hour {
			return "{now as " + layout + "}"
		}
	}
	return value
}

// compare returns what differs. Of answers with different outcomes that is all there is to say.
func compare(name string, want, got fields) []difference {
	both := slices.Sorted(maps.Keys(want))
	if want[outcome] != got[outcome] {
		both = []string{outcome}
	} else {
		for field := range got {
			if _, ok := want[field]; !ok {
				both = append(both, field)
			}
		}
	}
	var found []difference
	for _, field := range both {
		theirs, inWant := want[field]
		ours, inGot := got[field]
		if theirs == ours && inWant == inGot {
			continue
		}
		d := difference{request: name, field: index.ReplaceAllString(field, ""), want: absent, got: absent}
		if inWant {
			d.want = oneLine(theirs)
		}
		if inGot {
			d.got = oneLine(ours)
		}
		found = append(found, d)
	}
	return found
}

// index is the place of an element among others of its name, which does not matter to the list.
var index = regexp.MustCompile(`\[\d+\]`)

const absent = "-"

// oneLine writes a value so that it fits into a line of the list.
func oneLine(s string) string {
	if s == "" {
		return `""`
	}
	quoted := strconv.Quote(strings.ReplaceAll(s, separator, " "))
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// difference is a field that differs, in an answer to a request at a store.
type difference struct {
	store, request, field string
	want, got             string // the field's values, at the store and through the proxy
}

func (d difference) String() string {
	return strings.Join([]string{d.store, d.request, d.field, d.want, d.got}, separator)
}

const separator = " | "

// differenceList is testdata/differences.txt.
type differenceList struct {
	lines  []*listedDifference
	played map[string]bool // stores at which the whole corpus was played
}

// listedDifference is a line of the list: a difference whose parts may have * for anything.
type listedDifference struct {
	difference
	used atomic.Bool
}

// readDifferences reads a list. Above each line, or those before it, there is a reason.
func readDifferences(t *testing.T, file string) *differenceList {
	t.Helper()
	list := &differenceList{played: map[string]bool{}}
	reason := false
	for line := range strings.Lines(string(testbed.Must(os.ReadFile(filepath.Join("testdata", file)))(t))) {
		line = strings.Trim(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			reason = line != ""
			continue
		}
		parts := strings.Split(line, separator)
		if len(parts) != 5 || !reason {
			t.Fatalf("a line of differences has store | request | field | the store's value | the proxy's, and a reason above it: %s", line)
		}
		list.lines = append(list.lines, &listedDifference{difference: difference{parts[0], parts[1], parts[2], parts[3], parts[4]}})
	}
	return list
}

// allows reports whether a difference is listed. The first line that it fits counts, so that no line is there in vain.
func (l *differenceList) allows(d difference) bool {
	for _, line := range l.lines {
		if fits(line.field, d.field) && fits(line.store, d.store) && fits(line.request, d.request) && fits(line.want, d.want) && fits(line.got, d.got) {
			line.used.Store(true)
			return true
		}
	}
	return false
}

// fits reports whether s is what a pattern says, in which * stands for anything.
func fits(pattern, s string) bool {
	head, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, head)
	for ok && more {
		if head, rest, more = strings.Cut(rest, "*"); more {
			_, s, ok = strings.Cut(s, head)
		}
	}
	return ok && strings.HasSuffix(s, head)
}

// requireUsed fails the test for what is listed and did not occur, at the store or, if it is listed for any, at none.
func (l *differenceList) requireUsed(t *testing.T) {
	for _, line := range l.lines {
		if !line.used.Load() && (l.played[line.store] || line.store == "*" && len(l.played) > 0) {
			t.Errorf("no longer differs, so it must go from the list: %s", line)
		}
	}
}
