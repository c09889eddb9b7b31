package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

const (
	maxComplete      = 8 << 20 // bytes: 10,000 parts with an ETag and a checksum each
	completeAttempts = 8       // of writing part 10000 anew, when another Complete of the same upload wrote it in between
	completePause    = 10 * time.Millisecond
	longestPause     = 10 * time.Second
)

// listedPart is a part as CompleteMultipartUpload names it.
type listedPart struct {
	PartNumber int
	ETag       string
	Checksums  []textElement  `xml:",any"`
	sum        checksum.Value // that they declare; zero if none
}

// textElement is an XML element with text.
type textElement struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
}

// parseSum reads the checksum that the part declares, of which there may be one.
func (l *listedPart) parseSum() error {
	var said string
	for _, e := range l.Checksums {
		name, _ := strings.CutPrefix(e.XMLName.Local, "Checksum")
		a, ok := checksum.ByName(name)
		if !ok {
			continue
		}
		more := l.sum.Algorithm != 0
		text := strings.TrimSpace(e.Text)
		said += a.String() + ":" + text + ";"
		var err error
		if l.sum, err = checksum.Parse(a, text); more {
			return invalidPartSum(said)
		} else if err != nil {
			return invalidPartSum(text)
		}
	}
	return nil
}

func invalidPartSum(said string) error {
	return newError("InvalidArgument", "Invalid Base64 or multiple checksums present in request",
		errorField{"ArgumentName", "Checksum"}, errorField{"ArgumentValue", said})
}

// completion gathers what CompleteMultipartUpload decides.
type completion struct {
	upload  *upload
	key     envelope.TrailerKey
	said    saidWhole
	listed  []listedPart
	tags    []partTag
	trailer envelope.Trailer
	stash   *target // of the last part, where it must be joined with the trailer
}

// completeMultipartUpload checks what S3 checks, in plaintext terms, and lets the store put the parts together with the
// trailer behind them.
func (p *Proxy) completeMultipartUpload(q *request) error {
	body, err := q.readBody(maxComplete)
	if err != nil {
		return err
	}
	listed, err := parseComplete(body)
	if err != nil {
		return err
	}
	said, err := parseSaid(q.header)
	if err != nil {
		return err
	}
	var done *completed
	work := func() (err error) { done, err = p.completeOnce(q, said, listed); return err }
	if p.bypassed(q.target) {
		work = func() (err error) { done, err = p.completePlain(q, body); return err }
	}
	if err := q.whileAlive(p.cfg.AlivePause, work); err != nil {
		return err
	}
	copyResponse(q.w.Header(), done.header, writeResponse)
	q.w.Header().Del("Etag")
	if done.envelope != nil {
		protectionOf(done.envelope, nil).show(q.w.Header())
		done.sum = make(http.Header)
		(&sealedObject{trailer: done.trailer}).showChecksum(done.sum)
	}
	return q.replyCompleted(done)
}

// completed is what CompleteMultipartUpload has made.
type completed struct {
	etag     string             // the store's, without quotes
	header   http.Header        // of the store's answer
	envelope *envelope.Envelope // nil: the object is left as it is
	trailer  *envelope.Trailer  // likewise
	sum      http.Header        // headers that show the object's checksum; of a sealed one the trailer has it
}

// completeOnce completes an upload, or finds that this very request has completed it before.
func (p *Proxy) completeOnce(q *request, said saidWhole, listed []listedPart) (*completed, error) {
	release, err := p.completing.take(q.ctx, uploadKey{q.target, q.query.Get("uploadId")})
	if err != nil {
		return nil, err
	}
	defer release()
	done, failure := p.complete(q, said, listed)
	if !hasCode(failure, "NoSuchUpload") && !hasCode(failure, "InvalidPart") && !errors.Is(failure, errBusy) {
		return done, failure
	}
	// Another Complete of the same upload may have been faster, now or before, and have removed what this one needs; or an Abort.
	err = whileReplaced(func() (err error) { done, err = p.completedBefore(q, listed); return err })
	if !errors.Is(err, errNoSuchUpload) {
		return done, err
	}
	if hasCode(failure, "InvalidPart") {
		if err := p.checkUpload(q, q.query.Get("uploadId")); hasCode(err, "NoSuchUpload") {
			return nil, err
		}
	}
	return nil, failure
}

// errBusy: the store's answers contradict each other, as they do when another Complete comes between.
var errBusy = newError("SlowDown", "Another CompleteMultipartUpload of the same upload is under way. Please try again.")

func (p *Proxy) complete(q *request, said saidWhole, listed []listedPart) (*completed, error) {
	u, err := p.loadUpload(q)
	if err != nil {
		return nil, err
	}
	seal, err := p.trailerKey(q, u)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		began := time.Now()
		c := &completion{upload: u, key: seal, said: said, listed: listed}
		if err := p.checkParts(q, c); err != nil {
			return nil, err
		}
		if err := c.checkWhole(q); err != nil {
			return nil, err
		}
		before := p.etagNow(q)
		done := &completed{envelope: u.envelope, trailer: &c.trailer}
		if done.etag, done.header, err = p.completeAtStore(q, c); err == nil {
			return p.settle(q, listed, before, done)
		}
		// The client's parts were there a moment ago, so it is the proxy's own that another Complete has written anew.
		if !hasCode(err, "InvalidPart") {
			return nil, err
		}
		if attempt == completeAttempts {
			return nil, errBusy
		}
		// Sooner or later one waits for longer than all others need.
		pause := min(max(completePause, time.Since(began))<<attempt, longestPause)
		if err := sleep(q.ctx, rand.N(pause)); err != nil { //nolint:gosec // for spreading only
			return nil, err
		}
	}
}

// settle holds the store's word that an upload is complete against the object that is there now.
func (p *Proxy) settle(q *request, listed []listedPart, before string, done *completed) (*completed, error) {
	now := p.etagNow(q)
	if before != "" && before != done.etag && now == before {
		// versitygw says so of every upload that is gone, and while another Complete has it in its hands, if only the key has
		// some object: then that is still there.
		return nil, errBusy
	}
	if now != "" && now != done.etag {
		// The store gave a false one, or another writer came behind.
		if found, err := p.completedBefore(q, listed); err == nil {
			return found, nil
		}
	}
	p.forgetCompleted(q, q.query.Get("uploadId"))
	return done, nil
}

// etagNow returns the store's ETag of the object at q's key; empty if there is none, or the store does not tell.
func (p *Proxy) etagNow(q *request) string {
	resp, err := p.send(q.internal(q.ctx, q.target), outgoing{method: http.MethodHead, target: q.target, header: q.common()})
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return strings.Trim(resp.Header.Get("Etag"), `"`)
}

// hasCode reports whether an error is S3's error with the code.
func hasCode(err error, code string) bool {
	var api *apiError
	return errors.As(err, &api) && api.Code == code
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// parseComplete reads the list of parts and checks what needs no look at the store.
func parseComplete(body []byte) ([]listedPart, error) {
	var doc struct {
		XMLName xml.Name     `xml:"CompleteMultipartUpload"`
		Part    []listedPart `xml:"Part"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil {
		return nil, errMalformedXML
	}
	if len(doc.Part) == 0 {
		return nil, newError("InvalidRequest", "You must specify at least one part")
	}
	previous := 0
	for i := range doc.Part {
		part := &doc.Part[i]
		switch {
		case part.ETag == "" || part.PartNumber == 0:
			return nil, errMalformedXML
		case part.PartNumber < 1 || part.PartNumber > envelope.MaxParts:
			return nil, badPartNumber(part.PartNumber)
		case part.PartNumber <= previous:
			return nil, newError("InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.")
		}
		if err := part.parseSum(); err != nil {
			return nil, err
		}
		previous = part.PartNumber
	}
	return doc.Part, nil
}

var errMalformedXML = newError("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")

func badPartNumber(number int) error {
	message := "PartNumber must be >= 1"
	if number > envelope.MaxParts {
		message += " and <= 10000"
	}
	return newError("InvalidArgument", message, errorField{"ArgumentName", "PartNumber"}, errorField{"ArgumentValue", strconv.Itoa(number)})
}

// saidWhole is what the headers of a CompleteMultipartUpload say of the whole object.
type saidWhole struct {
	size int64          // -1: nothing
	kind string         // FULL_OBJECT, COMPOSITE, or nothing
	sum  checksum.Value // zero: nothing
	of   string         // the number of parts, which stands behind a COMPOSITE checksum
}

func parseSaid(h http.Header) (s saidWhole, err error) {
	s.size = -1
	if size := h.Get("X-Amz-Mp-Object-Size"); size != "" {
		if s.size, err = strconv.ParseInt(size, 10, 64); err != nil {
			return s, newError("InvalidRequest", "Value for x-amz-mp-object-size header is invalid: '"+size+"'")
		}
		if s.size < 0 {
			return s, newError("InvalidRequest", "Value for x-amz-mp-object-size header is less than zero: '"+size+"'")
		}
	}
	if s.kind, err = checksumType(h); err != nil {
		return s, err
	}
	for name := range h {
		a, ok := checksum.ByHeader(name)
		if !ok {
			continue
		}
		if s.sum.Algorithm != 0 {
			return s, newError("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		sum, of, composite := strings.Cut(h.Get(name), "-")
		if s.sum, err = checksum.Parse(a, sum); err != nil || composite && !isPartCount(of) {
			return s, invalidHeader(a.Header())
		}
		s.of = of
	}
	return s, nil
}

func isPartCount(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == s
}

func invalidHeader(name string) error {
	return newError("InvalidRequest", "Value for "+name+" header is invalid.")
}

// checkParts compares the list with what the store has, and fills in sizes and attempts.
func (p *Proxy) checkParts(q *request, c *completion) error {
	stored, err := p.listStored(q, c.upload.id)
	if err != nil {
		return err
	}
	for i, l := range c.listed {
		if err := p.checkPart(q, c, l, stored[l.PartNumber], i == len(c.listed)-1); err != nil {
			return err
		}
	}
	return nil
}

// checkPart compares one part. The proxy's own part number has a stash alone, and so has, besides its part, one that is too
// short to stand before another.
func (p *Proxy) checkPart(q *request, c *completion, l listedPart, sealed storedPart, last bool) (err error) {
	k := uploadKey{q.target, c.upload.id}
	tag := parsePartTag(strings.Trim(l.ETag, `"`))
	if l.PartNumber == ownPart {
		if sealed, err = p.findStash(q, k, l, &tag); err != nil {
			return err
		}
	}
	size, ok := envelope.PartPlaintextSize(sealed.Size)
	if !ok || sealed.ETag == "" || sealed.ETag != tag.native {
		return invalidPart(q, l)
	}
	short := size < p.cfg.MinPartSize
	if short && !last {
		return newError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
			errorField{"ETag", strings.Trim(l.ETag, `"`)}, errorField{"MinSizeAllowed", strconv.FormatInt(p.cfg.MinPartSize, 10)},
			errorField{"PartNumber", strconv.Itoa(l.PartNumber)}, errorField{"ProposedSize", strconv.FormatInt(size, 10)})
	}
	if short && l.PartNumber != ownPart {
		if _, err := p.findStash(q, k, l, &tag); err != nil {
			return err
		}
	}
	if short || l.PartNumber == ownPart {
		t := k.stashTarget(l.PartNumber, tag.attempt)
		c.stash = &t
	}
	part := envelope.Part{Number: l.PartNumber, Size: size}
	if tag.attempt != (envelope.Attempt{}) {
		part.Bound, part.Attempt = true, tag.attempt
	}
	c.trailer.Parts = append(c.trailer.Parts, part)
	c.tags = append(c.tags, tag)
	return nil
}

func invalidPart(q *request, l listedPart) error {
	return newError("InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, "+
		"or the specified entity tag may not match the part's entity tag.",
		errorField{"ETag", strings.Trim(l.ETag, `"`)}, errorField{"PartNumber", strconv.Itoa(l.PartNumber)}, errorField{"UploadId", q.query.Get("uploadId")})
}

// findStash finds the stash of a part: of the attempt that its tag names or, for a bare tag, the one whose attempt it then is. That
// is the one with the part's ETag, which at most stores is a digest of the bytes; or else the only one there is, since a part that the
// store lists always has its own.
func (p *Proxy) findStash(q *request, k uploadKey, l listedPart, tag *partTag) (storedPart, error) {
	prefix := fmt.Sprintf("%s/%d-", k.folder(), l.PartNumber)
	if !tag.bare {
		prefix = k.stashTarget(l.PartNumber, tag.attempt).key
	}
	entries, err := p.listVersions(q.internal(q.ctx, target{bucket: q.target.bucket}), prefix)
	if err != nil {
		return storedPart{}, err
	}
	if tag.bare {
		other := func(e listedVersion) bool { return strings.Trim(e.ETag, `"`) != tag.native }
		if same := slices.DeleteFunc(slices.Clone(entries), other); len(same) > 0 {
			entries = same
		}
	}
	if len(entries) != 1 {
		return storedPart{}, invalidPart(q, l)
	}
	if tag.bare && !decodeAttempt(&tag.attempt, entries[0].Key[strings.LastIndexByte(entries[0].Key, '-')+1:]) {
		return storedPart{}, invalidPart(q, l)
	}
	return storedPart{PartNumber: l.PartNumber, ETag: strings.Trim(entries[0].ETag, `"`), Size: entries[0].Size}, nil
}

// checkWhole checks what the client says of the whole object, and completes the trailer.
func (c *completion) checkWhole(q *request) error {
	if size := c.trailer.Size(); c.said.size >= 0 && c.said.size != size {
		return newError("InvalidRequest", fmt.Sprintf("The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d", c.said.size, size))
	}
	c.trailer.UploadIDHash = sha256.Sum256([]byte(c.upload.id))
	c.combineCRC()
	a := c.upload.state.Checksum
	if a == 0 {
		return c.checkDeclared(crcValue(c.trailer.CRC), c.trailer.HasCRC)
	}
	for i, l := range c.listed {
		if err := c.checkSum(q, i); err != nil {
			return err
		}
		c.trailer.Parts[i].Checksum = l.sum.Sum
	}
	whole, known := c.wholeChecksum(a)
	if known {
		c.trailer.Checksum, c.trailer.Type = whole, c.upload.state.Type
	} else {
		for i := range c.trailer.Parts {
			c.trailer.Parts[i].Checksum = nil
		}
	}
	return c.checkDeclared(whole, known)
}

// checkSum compares the checksum that the list has for a part.
func (c *completion) checkSum(q *request, i int) error {
	l, a := c.listed[i], c.upload.state.Checksum
	switch {
	case l.sum.Sum == nil && c.upload.state.Type == envelope.Composite:
		return newError("InvalidRequest", fmt.Sprintf("The upload was created using a %s checksum. The complete request must include the checksum for each part. "+
			"It was missing for part %d in the request.", strings.ToLower(a.String()), l.PartNumber))
	case l.sum.Sum == nil:
		return nil
	case l.sum.Algorithm != a:
		return newError("BadDigest", fmt.Sprintf("The %s you specified for part %d did not match what we received.", strings.ToLower(l.sum.Algorithm.String()), l.PartNumber))
	case !c.tags[i].bare && !c.tags[i].matches(l.sum):
		return invalidPart(q, l)
	}
	return nil
}

// combineCRC computes the object's CRC from those of its parts, where all are known.
func (c *completion) combineCRC() {
	crc := make([]byte, 8)
	for i, tag := range c.tags {
		if tag.bare {
			return
		}
		crc = checksum.Combine(checksum.CRC64NVME, crc, binary.BigEndian.AppendUint64(nil, tag.crc), c.trailer.Parts[i].Size)
	}
	c.trailer.HasCRC, c.trailer.CRC = true, binary.BigEndian.Uint64(crc)
}

// wholeChecksum returns the object's checksum in the upload's algorithm, if the parts tell it.
func (c *completion) wholeChecksum(a checksum.Algorithm) (checksum.Value, bool) {
	if c.upload.state.Type == envelope.Composite {
		h := a.New()
		for _, l := range c.listed {
			h.Write(l.sum.Sum)
		}
		return checksum.Value{Algorithm: a, Sum: h.Sum(nil)}, true
	}
	if a == checksum.CRC64NVME {
		return crcValue(c.trailer.CRC), c.trailer.HasCRC
	}
	whole := make([]byte, a.Size())
	for i, tag := range c.tags {
		if tag.bare || tag.algorithm != a {
			return checksum.Value{}, false
		}
		whole = checksum.Combine(a, whole, tag.digest[:a.Size()], c.trailer.Parts[i].Size)
	}
	return checksum.Value{Algorithm: a, Sum: whole}, true
}

// checkDeclared compares a checksum of the whole object that came with the request.
func (c *completion) checkDeclared(whole checksum.Value, known bool) error {
	kind := checksumTypeNames[c.upload.state.Type]
	if c.upload.state.Checksum == 0 {
		kind = checksumTypeNames[envelope.FullObject] // of the CRC64NVME that S3 computes then
	}
	if c.said.kind != "" && c.said.kind != kind {
		return newError("InvalidRequest", "The upload was created using the "+kind+" checksum mode. The complete request must use the same checksum mode.")
	}
	if c.said.sum.Sum == nil {
		return nil
	}
	a := c.said.sum.Algorithm
	if c.said.of != "" && c.upload.state.Type != envelope.Composite {
		return invalidHeader(a.Header())
	}
	counted := c.said.of == "" || c.said.of == strconv.Itoa(len(c.listed))
	if !known || whole.Algorithm != a || !bytes.Equal(whole.Sum, c.said.sum.Sum) || !counted {
		return newError("BadDigest", fmt.Sprintf("The %s you specified did not match the calculated checksum.", a))
	}
	return nil
}

// completeAtStore writes the proxy's own part, and completes. It returns the store's ETag and headers.
func (p *Proxy) completeAtStore(q *request, c *completion) (string, http.Header, error) {
	own, err := p.sendOwnPart(q, c)
	if err != nil {
		return "", nil, err
	}
	var parts []namedPart
	for i, part := range c.trailer.Parts {
		if c.stash == nil || i < len(c.trailer.Parts)-1 {
			parts = append(parts, newNamedPart(part.Number, c.tags[i].native))
		}
	}
	return p.joinParts(q, c.upload.id, q.op.storeHeader(q.header), append(parts, newNamedPart(ownPart, own)))
}

// namedPart is a part as the store's CompleteMultipartUpload names it.
type namedPart struct {
	PartNumber int
	ETag       string
}

func newNamedPart(number int, etag string) namedPart { return namedPart{number, `"` + etag + `"`} }

// joinParts lets the store make the object of an upload's parts. It returns the store's ETag and headers.
func (p *Proxy) joinParts(q *request, id string, header http.Header, parts []namedPart) (string, http.Header, error) {
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Xmlns   string   `xml:"xmlns,attr"`
		Part    []namedPart
	}{Xmlns: s3Namespace, Part: parts})
	if err != nil {
		return "", nil, fmt.Errorf("encoding the list of parts: %w", err)
	}
	resp, err := p.send(q, outgoing{
		method: http.MethodPost, target: q.target, query: url.Values{"uploadId": {id}}, header: header,
		body: bytes.NewReader(body), length: int64(len(body)), sha256: hexSHA256(body),
	})
	if err != nil {
		return "", nil, err
	}
	var result struct{ ETag string }
	if err := q.readResult(resp, "CompleteMultipartUploadResult", &result); err != nil {
		return "", nil, err
	}
	etag := strings.Trim(result.ETag, `"`)
	if etag == "" {
		return "", nil, errNoETag
	}
	return etag, resp.Header, nil
}

// sendOwnPart writes part 10000: the trailer, behind a last part that cannot stand before another. Writing it again is
// harmless.
func (p *Proxy) sendOwnPart(q *request, c *completion) (etag string, err error) {
	trailer, err := c.key.Seal(&c.trailer)
	if err != nil {
		return "", err
	}
	out := outgoing{
		method: http.MethodPut, target: q.target, query: partQuery(c.upload.id, ownPart), header: q.common(),
		body: bytes.NewReader(trailer), length: int64(len(trailer)), sha256: unsignedPayload,
	}
	if c.stash == nil {
		return p.sendFrames(q, out)
	}
	size := envelope.SealedPartSize(c.trailer.Parts[len(c.trailer.Parts)-1].Size)
	stash, err := p.send(q, outgoing{method: http.MethodGet, target: *c.stash, header: q.common()})
	if err != nil {
		return "", err
	}
	defer stash.Body.Close() //nolint:errcheck // read to its end, or given up
	if stash.StatusCode == http.StatusNotFound {
		return "", errNoSuchUpload // it was found before, and goes only with the upload
	}
	if err := q.expect(stash, http.StatusOK); err != nil {
		return "", err
	}
	if stash.ContentLength != size {
		return "", fmt.Errorf("%w: a stash of %d bytes", envelope.ErrSize, stash.ContentLength)
	}
	out.body, out.length = io.MultiReader(stash.Body, bytes.NewReader(trailer)), size+out.length
	return p.sendFrames(q, out)
}

// forgetCompleted removes what was kept of an upload that is complete. That the object is there does not hang on it.
func (p *Proxy) forgetCompleted(q *request, id string) {
	if err := p.forgetUpload(q, id); err != nil {
		p.cfg.Log.Warn("an upload's state is left to gc", zap.String("request_id", q.id), zap.Error(err))
	}
}

// replyCompleted answers a CompleteMultipartUpload with the result.
func (q *request) replyCompleted(done *completed) error {
	result := struct {
		XMLName  xml.Name `xml:"CompleteMultipartUploadResult"`
		Xmlns    string   `xml:"xmlns,attr"`
		Location string
		Bucket   string
		Key      string
		ETag     string
		Sum      *textElement `xml:",omitempty"`
		Type     string       `xml:"ChecksumType,omitempty"`
	}{Xmlns: s3Namespace, Location: q.url, Bucket: q.target.bucket, Key: q.target.key, ETag: `"` + clientETag(done.etag) + `"`}
	for name := range done.sum {
		if a, ok := checksum.ByHeader(name); ok {
			result.Sum = sumElement(a, done.sum.Get(name))
			result.Type = done.sum.Get("X-Amz-Checksum-Type")
		}
	}
	return q.replyXML(result)
}

// completedBefore answers a Complete of an upload that is gone: with its result, if the object there is what this very
// request would have made. If it is not the error is errNoSuchUpload, and any other where that cannot be found out now.
func (p *Proxy) completedBefore(q *request, listed []listedPart) (*completed, error) {
	own := q.internal(q.ctx, q.target)
	own.customer = q.customer
	resp, err := p.send(own, outgoing{method: http.MethodHead, target: q.target, header: own.common()})
	if err != nil {
		return nil, err
	}
	if err := closing(resp, own.expect(resp, http.StatusOK)); err != nil {
		return nil, unlessUndecided(err)
	}
	o, err := p.openEnvelope(own, resp)
	if err != nil {
		return nil, unlessUndecided(err)
	}
	if o == nil || !o.envelope.Multipart {
		return nil, errNoSuchUpload
	}
	t, err := p.layout(own, o)
	if err != nil {
		return nil, unlessUndecided(err)
	}
	if t.UploadIDHash != sha256.Sum256([]byte(q.query.Get("uploadId"))) || len(t.Parts) != len(listed) {
		return nil, errNoSuchUpload
	}
	for i, l := range listed {
		if !l.isRow(t.Parts[i], i == len(listed)-1) {
			return nil, errNoSuchUpload
		}
	}
	p.forgetCompleted(q, q.query.Get("uploadId")) // whoever completed it may not have come so far
	return &completed{etag: strings.Trim(o.stored.etag, `"`), header: resp.Header, envelope: o.envelope, trailer: t}, nil
}

// isRow reports whether l would have become this row of the trailer. A bare tag becomes one that is not bound or, through its
// stash, one that is.
func (l listedPart) isRow(row envelope.Part, last bool) bool {
	tag := parsePartTag(strings.Trim(l.ETag, `"`))
	switch {
	case l.PartNumber != row.Number:
		return false
	case tag.bare:
		return !row.Bound || last
	}
	return row.Attempt == tag.attempt
}

// unlessUndecided returns errNoSuchUpload in place of an error that is an answer: there is no object, or none of ours. A failure to
// get one it returns as it is, for then the client must ask again.
func unlessUndecided(err error) error {
	e := asAPIError(err)
	if errors.Is(err, errReplaced) || e.status() >= http.StatusInternalServerError && e.Message != damaged {
		return err
	}
	return errNoSuchUpload
}
