package proxy

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	maxListing = 8 << 20 // bytes of a listing; S3's pages of 1000 entries stay below 4 MiB
	maxDepth   = 10      // elements within each other; S3's documents have 4
	maxDelete  = 4 << 20 // bytes of a DeleteObjects request: 1000 keys and version ids of 1024 bytes, and markup
	maxDeletes = 1000    // objects in one
)

// listEntry is an object in a store's listing.
type listEntry struct {
	Key       string // decoded
	VersionID string // empty in ListObjects
	ETag      string // the store's, without quotes
	Size      int64  // sealed, in bytes
}

// listingPage is a store's answer to ListObjects, ListObjectsV2 or ListObjectVersions, in the client's terms.
type listingPage struct {
	body      []byte
	hidden    int               // entries that were the proxy's own
	truncated bool              // there are entries behind it
	last      string            // the greatest key or prefix that shows
	next      map[string]string // the elements that say where the next page begins, decoded
}

// rewriteListing turns a store's page into the client's: sizes as size gives them, ETags mapped, checksum algorithms left
// out (they are over the sealed bytes), the proxy's own keys hidden and taken off KeyCount, and so the common prefix group,
// if it is not empty. Every other byte stays. What it does not understand is an error, never an answer.
func rewriteListing(body []byte, group string, size func(listEntry) (int64, error)) (*listingPage, error) {
	l, err := parseListing(body)
	if err != nil {
		return nil, err
	}
	page := &listingPage{truncated: l.head["IsTruncated"].text == "true", next: make(map[string]string)}
	edits, err := l.edits(page, group, size)
	if err != nil {
		return nil, fmt.Errorf("rewriting listing: %w", err)
	}
	for _, name := range nextElements {
		if page.next[name], err = l.decodeNext(name); err != nil {
			return nil, fmt.Errorf("rewriting listing: %w", err)
		}
	}
	page.body = applyEdits(body, edits)
	return page, nil
}

// nextElements say where the page behind a truncated one begins.
var nextElements = []string{"NextContinuationToken", "NextKeyMarker", "NextMarker", "NextVersionIdMarker"}

// pastReserved sorts behind every key that the proxy has in a bucket, and before every client's key behind those.
const pastReserved = reservedPrefix + "~"

// goOn returns the parameters with which an operation lists what comes behind the page. Where the page ends among the
// proxy's own keys that is behind the last of them.
func (page *listingPage) goOn(op string) url.Values {
	past := page.last < reservedPrefix
	switch {
	case op == "ListObjectsV2" && past:
		return url.Values{"start-after": {pastReserved}, "continuation-token": nil}
	case op == "ListObjectsV2":
		return url.Values{"continuation-token": {page.next["NextContinuationToken"]}}
	case op == "ListObjectVersions" && past:
		return url.Values{"key-marker": {pastReserved}, "version-id-marker": nil}
	case op == "ListObjectVersions":
		return url.Values{"key-marker": {page.next["NextKeyMarker"]}, "version-id-marker": {page.next["NextVersionIdMarker"]}}
	case past:
		return url.Values{"marker": {pastReserved}}
	}
	return url.Values{"marker": {cmp.Or(page.next["NextMarker"], page.last)}}
}

// join puts the entries of the page that follows behind those of page, which then ends where rest does.
func (page *listingPage) join(rest *listingPage) (*listingPage, error) {
	first, err := parseListing(page.body)
	if err != nil {
		return nil, err
	}
	second, err := parseListing(rest.body)
	if err != nil {
		return nil, err
	}
	var tail strings.Builder
	for _, item := range second.entries {
		tail.Write(rest.body[item.span.start:item.span.end])
	}
	var edits []edit
	for _, name := range append([]string{"IsTruncated"}, nextElements...) {
		if el, ok := first.head[name]; ok {
			edits = append(edits, edit{span: el.span})
		}
		if el, ok := second.head[name]; ok {
			tail.Write(rest.body[el.span.start:el.span.end])
		}
	}
	if count, ok := first.head["KeyCount"]; ok {
		one, err := parseSize(count.text)
		two, err2 := parseSize(second.head["KeyCount"].text)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("joining listings: %w", err)
		}
		edits = append(edits, edit{count.content, strconv.FormatInt(one+two, 10)})
	}
	end := first.root.content.end
	edits = append(edits, edit{span{end, end}, tail.String()})
	joined := *rest
	joined.body, joined.last = applyEdits(page.body, edits), max(page.last, rest.last)
	return &joined, nil
}

// listing collects what rewriteListing acts on. The encoding of the keys may be told after them.
type listing struct {
	root    element
	head    map[string]element // EncodingType, KeyCount, IsTruncated and nextElements
	entries []listItem
	open    listItem // the one being read
}

func parseListing(body []byte) (*listing, error) {
	if len(body) > maxListing {
		return nil, fmt.Errorf("listing of %d bytes is too long", len(body))
	}
	l := &listing{head: make(map[string]element)}
	if err := walk(body, l.visit); err != nil {
		return nil, fmt.Errorf("reading listing: %w", err)
	}
	return l, nil
}

// listItem is a Contents, Version, DeleteMarker or CommonPrefixes element and those of its children that matter.
type listItem struct {
	kind     string
	span     span
	children []element
}

// itemChildren has, by kind of item, the children that matter; the first, the key, must be there, and each only once.
var itemChildren = map[string][]string{
	"Contents":       {"Key", "Size", "ETag"},
	"Version":        {"Key", "Size", "ETag", "VersionId"},
	"DeleteMarker":   {"Key"},
	"CommonPrefixes": {"Prefix"},
}

func (l *listing) visit(path []string, el element) error {
	switch {
	case len(path) == 1 && el.name != "ListBucketResult" && el.name != "ListVersionsResult":
		return fmt.Errorf("document is a %q", el.name)
	case len(path) == 1:
		l.root = el
	case len(path) == 2 && itemChildren[el.name] != nil:
		l.open.kind, l.open.span = el.name, el.span
		l.entries = append(l.entries, l.open)
		l.open = listItem{}
	case len(path) == 2 && isHead(el.name):
		if _, twice := l.head[el.name]; twice || !el.leaf {
			return fmt.Errorf("%s is no single text", el.name)
		}
		l.head[el.name] = el
	case len(path) == 3 && itemChildren[path[1]] != nil:
		if slices.Contains(itemChildren[path[1]], el.name) || isChecksumNote(el.name) {
			l.open.children = append(l.open.children, el)
		}
	}
	return nil
}

func isHead(name string) bool {
	return name == "EncodingType" || name == "KeyCount" || name == "IsTruncated" || slices.Contains(nextElements, name)
}

func isChecksumNote(name string) bool { return name == "ChecksumAlgorithm" || name == "ChecksumType" }

// edits returns what makes the store's page the client's, and notes in page what it shows.
func (l *listing) edits(page *listingPage, group string, size func(listEntry) (int64, error)) ([]edit, error) {
	var edits []edit
	for _, item := range l.entries {
		of, err := item.index()
		if err != nil {
			return nil, err
		}
		key, err := l.decodeKey(of[itemChildren[item.kind][0]].text)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(key, reservedPrefix) || item.kind == "CommonPrefixes" && key == group {
			page.hidden++
			edits = append(edits, edit{span: item.span})
			continue
		}
		page.last = max(page.last, key)
		if item.kind == "Contents" || item.kind == "Version" {
			own, err := item.edits(key, of, size)
			if err != nil {
				return nil, err
			}
			edits = append(edits, own...)
		}
	}
	if keyCount, ok := l.head["KeyCount"]; ok && page.hidden > 0 {
		count, err := parseSize(keyCount.text)
		if err != nil || count < int64(page.hidden) {
			return nil, fmt.Errorf("KeyCount %q is not the number of keys", keyCount.text)
		}
		edits = append(edits, edit{keyCount.content, strconv.FormatInt(count-int64(page.hidden), 10)})
	}
	return edits, nil
}

// decodeKey undoes encoding-type=url, in which S3 writes a space as '+'.
func (l *listing) decodeKey(s string) (string, error) {
	switch encoding := l.head["EncodingType"].text; strings.ToLower(encoding) { // MinIO takes and repeats it in any case
	case "":
		return s, nil
	case "url":
		return url.QueryUnescape(s)
	default:
		return "", fmt.Errorf("keys are encoded as %q", encoding)
	}
}

// decodeNext returns the text of an element that says where the next page begins.
func (l *listing) decodeNext(name string) (string, error) {
	if name == "NextContinuationToken" || name == "NextVersionIdMarker" {
		return l.head[name].text, nil // no key: S3 encodes neither
	}
	return l.decodeKey(l.head[name].text)
}

// index returns an item's children by name. Those that are left out of the listing may be there more than once.
func (item listItem) index() (map[string]element, error) {
	of := make(map[string]element)
	for _, el := range item.children {
		if isChecksumNote(el.name) {
			continue
		}
		if _, twice := of[el.name]; twice || !el.leaf {
			return nil, fmt.Errorf("%s of %s is no single text", el.name, item.kind)
		}
		of[el.name] = el
	}
	if key := itemChildren[item.kind][0]; of[key].text == "" {
		return nil, fmt.Errorf("%s without %s", item.kind, key)
	}
	return of, nil
}

// edits returns the edits of an object's entry.
func (item listItem) edits(key string, of map[string]element, size func(listEntry) (int64, error)) ([]edit, error) {
	entry := listEntry{Key: key, VersionID: of["VersionId"].text, ETag: strings.Trim(of["ETag"].text, `"`)}
	var err error
	if entry.Size, err = parseSize(of["Size"].text); err != nil {
		return nil, fmt.Errorf("size of %q: %w", key, err)
	}
	plain, err := size(entry)
	if err != nil {
		return nil, fmt.Errorf("size of %q: %w", key, err)
	}
	edits := []edit{{of["Size"].content, strconv.FormatInt(plain, 10)}}
	if etag := of["ETag"]; etag.text != "" {
		edits = append(edits, edit{etag.content, escapeXML(clientETagValue(etag.text))})
	}
	for _, el := range item.children {
		if isChecksumNote(el.name) {
			edits = append(edits, edit{span: el.span})
		}
	}
	return edits, nil
}

// parseSize takes digits only.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// deletion is a client's DeleteObjects request in the store's terms.
type deletion struct {
	body    []byte
	objects int // that the store is asked for
	refused []refusedDelete
}

// refusedDelete is an object that the store is not asked for.
type refusedDelete struct {
	key, version string
	cause        *apiError
}

// rewriteDelete turns a client's DeleteObjects request into the store's: the expected ETags are mapped, objects that permit refuses are
// left out, and every other byte stays as it is. The error is an *apiError.
func rewriteDelete(body []byte, permit func(key, version string) error) (*deletion, error) {
	if len(body) > maxDelete {
		return nil, errMalformedXML
	}
	d := deleteReader{seen: make(map[string]string), permit: permit}
	err := walk(body, d.visit)
	var refused *apiError
	switch {
	case errors.As(err, &refused):
		return nil, refused
	case err != nil || d.objects == 0:
		return nil, errMalformedXML
	}
	return &deletion{applyEdits(body, d.edits), d.objects - len(d.refused), d.refused}, nil
}

// deleteReader walks through a Delete document.
type deleteReader struct {
	permit  func(key, version string) error
	edits   []edit
	objects int
	refused []refusedDelete
	seen    map[string]string // children of the Object being read, and their texts
	tag     []edit            // of its ETag
}

func (d *deleteReader) visit(path []string, el element) error {
	switch strings.Join(path, "/") {
	case "Delete":
		return nil
	case "Delete/Quiet":
		return requireLeaf(el)
	case "Delete/Object":
		return d.object(el)
	case "Delete/Object/ETag":
		d.tag = []edit{{el.content, escapeXML(storeCondition(el.text))}}
	case "Delete/Object/Size":
		return newError("NotImplemented", "The proxy does not implement an expected size in DeleteObjects.")
	case "Delete/Object/Key", "Delete/Object/LastModifiedTime", "Delete/Object/VersionId":
	default:
		return fmt.Errorf("unknown element %q", el.name)
	}
	if _, twice := d.seen[el.name]; twice {
		return fmt.Errorf("%s is there twice", el.name)
	}
	d.seen[el.name] = el.text
	return requireLeaf(el)
}

// object ends an Object.
func (d *deleteReader) object(el element) error {
	key, ok := d.seen["Key"]
	if d.objects++; d.objects > maxDeletes || !ok {
		return errors.New("too many objects, or one without a key")
	}
	err := checkKey(key)
	if err != nil && !hasCode(err, "AccessDenied") {
		return err
	}
	if version := d.seen["VersionId"]; err == nil {
		err = d.permit(key, version)
	}
	if err != nil {
		d.refused = append(d.refused, refusedDelete{key, d.seen["VersionId"], asAPIError(err)})
		d.tag = []edit{{el.span, ""}}
	}
	d.edits, d.tag = append(d.edits, d.tag...), nil
	clear(d.seen)
	return nil
}

// mergeDeleteResult adds what was refused here to a store's answer to DeleteObjects, and refuses an answer that is none. One needs no other
// rewriting: it has keys and versions, but neither sizes nor ETags.
func mergeDeleteResult(body []byte, refused []refusedDelete) ([]byte, error) {
	if len(body) > maxListing {
		return nil, fmt.Errorf("result of %d bytes is too long", len(body))
	}
	var errs strings.Builder
	for _, r := range refused {
		errs.WriteString("<Error><Key>" + escapeXML(r.key) + "</Key>")
		if r.version != "" {
			errs.WriteString("<VersionId>" + escapeXML(r.version) + "</VersionId>")
		}
		errs.WriteString("<Code>" + r.cause.Code + "</Code><Message>" + escapeXML(r.cause.Message) + "</Message></Error>")
	}
	var edits []edit
	err := walk(body, func(path []string, el element) error {
		switch {
		case len(path) > 1 || len(refused) == 0 && el.name == "DeleteResult":
		case el.name != "DeleteResult":
			return fmt.Errorf("document is a %q", el.name)
		case el.content.start == el.span.end: // <DeleteResult/>
			edits = []edit{{el.span, emptyDeleteResult[:len(emptyDeleteResult)-len("</DeleteResult>")] + errs.String() + "</DeleteResult>"}}
		default:
			edits = []edit{{span{el.content.end, el.content.end}, errs.String()}}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return applyEdits(body, edits), nil
}

const emptyDeleteResult = `<DeleteResult xmlns="` + s3Namespace + `"></DeleteResult>`

// span is a place in a document, in bytes.
type span struct{ start, end int }

// edit replaces what is at span.
type edit struct {
	span
	text string
}

// applyEdits returns a copy of body with edits, which do not overlap.
func applyEdits(body []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	var out bytes.Buffer
	out.Grow(len(body))
	at := 0
	for _, e := range edits {
		out.Write(body[at:e.start])
		out.WriteString(e.text)
		at = e.end
	}
	out.Write(body[at:])
	return out.Bytes()
}

// escapeXML writes text as S3 does in its answers.
var escapeXML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\r", "&#13;").Replace

// element is an element of a document and where it stands in it.
type element struct {
	name    string
	span    span   // with its tags
	content span   // between its tags
	text    string // of a leaf, decoded
	leaf    bool   // has nothing but text
}

func requireLeaf(el element) error {
	if !el.leaf {
		return fmt.Errorf("%s has more than text", el.name)
	}
	return nil
}

// walk calls visit at the end of each element of a well-formed document, with the names of the elements that it is in
// and its own. Documents that define entities, or are in another encoding than UTF-8, are not accepted.
func walk(body []byte, visit func(path []string, el element) error) error {
	dec := xml.NewDecoder(bytes.NewReader(body))
	w := walker{visit: visit}
	for {
		start := int(dec.InputOffset())
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) && w.done {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.step(token, span{start, int(dec.InputOffset())}); err != nil {
			return err
		}
	}
}

type walker struct {
	visit func(path []string, el element) error
	path  []string
	open  []element
	text  []byte // of the innermost element
	done  bool   // with the root element
}

func (w *walker) step(token xml.Token, at span) error {
	switch t := token.(type) {
	case xml.StartElement:
		if w.done {
			return errors.New("a second root element")
		}
		if len(w.open) >= maxDepth {
			return errors.New("too deep")
		}
		w.markInner()
		w.path = append(w.path, t.Name.Local)
		w.open = append(w.open, element{name: t.Name.Local, span: at, content: span{start: at.end}, leaf: true})
		w.text = w.text[:0]
	case xml.EndElement:
		return w.end(t.Name.Local, at)
	case xml.CharData:
		if len(w.open) == 0 && len(bytes.TrimSpace(t)) > 0 {
			return errors.New("text outside of the root element")
		}
		w.text = append(w.text, t...)
	case xml.Comment, xml.ProcInst:
		w.markInner()
	default:
		return errors.New("document type is not accepted")
	}
	return nil
}

// markInner notes that the innermost element has more than text.
func (w *walker) markInner() {
	if n := len(w.open); n > 0 {
		w.open[n-1].leaf = false
	}
}

func (w *walker) end(name string, at span) error {
	n := len(w.open) - 1
	if n < 0 || w.open[n].name != name {
		return fmt.Errorf("unexpected </%s>", name)
	}
	el := w.open[n]
	el.span.end, el.content.end = at.end, at.start
	if el.leaf {
		el.text = string(w.text)
	}
	if err := w.visit(w.path, el); err != nil {
		return err
	}
	w.path, w.open = w.path[:n], w.open[:n]
	w.done = n == 0
	return nil
}
