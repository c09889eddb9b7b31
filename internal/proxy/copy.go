package proxy

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// copyObject lets the store copy an object's sealed bytes as they are, and gives the copy an envelope of its own: the data
// key, wrapped anew for the destination's bucket and key. No body moves, unless the copy has another number of layers.
func (p *Proxy) copyObject(q *request) error {
	source, err := p.sourceRequest(q)
	if err != nil {
		return err
	}
	if err := checkCopy(q, source); err != nil {
		return err
	}
	var done *copied
	work := func() error {
		return whileReplaced(func() (err error) { done, err = p.copyOnce(q, source); return err })
	}
	if err := q.whileAlive(p.cfg.AlivePause, work); err != nil {
		return err
	}
	h := q.w.Header()
	copyResponse(h, done.header, writeResponse)
	h.Del("Etag")
	if done.protected != nil {
		done.protected.showNew(h)
	}
	if done.sourceVersion != "" {
		h.Set("X-Amz-Copy-Source-Version-Id", done.sourceVersion)
	}
	return q.replyXML(done.result())
}

// copied is what CopyObject has made.
type copied struct {
	header        http.Header // of the store's answer
	etag          string      // the client's, quoted
	lastModified  string
	sourceVersion string
	protected     *protection // nil: it is left as it is
	sum           http.Header // headers that show the copy's checksum
}

// result is S3's CopyObjectResult.
func (c *copied) result() any {
	type result struct {
		XMLName      xml.Name `xml:"CopyObjectResult"`
		Xmlns        string   `xml:"xmlns,attr"`
		LastModified string
		ETag         string
		Sum          *textElement `xml:",omitempty"`
		Type         string       `xml:"ChecksumType,omitempty"`
	}
	r := result{Xmlns: s3Namespace, LastModified: c.lastModified, ETag: c.etag, Type: c.sum.Get("X-Amz-Checksum-Type")}
	for name := range c.sum {
		if a, ok := checksum.ByHeader(name); ok {
			r.Sum = sumElement(a, c.sum.Get(name))
		}
	}
	return r
}

const (
	metadataDirective = "X-Amz-Metadata-Directive"
	taggingDirective  = "X-Amz-Tagging-Directive"
)

// objectMetadata is what an object carries from its creation, and what CopyObject copies or replaces as a whole.
var objectMetadata = headerNames("cache-control content-disposition content-encoding content-language content-type expires x-amz-meta-*")

// checkCopy makes the checks for which S3 looks at the request alone.
func checkCopy(q, source *request) error {
	for name, kind := range map[string]string{metadataDirective: "metadata", taggingDirective: "tagging"} {
		if value := q.header.Get(name); value != "" && value != "COPY" && value != "REPLACE" {
			return newError("InvalidArgument", "Unknown "+kind+" directive.",
				errorField{"ArgumentName", strings.ToLower(name)}, errorField{"ArgumentValue", value})
		}
	}
	if name := q.header.Get("X-Amz-Checksum-Algorithm"); name != "" {
		if _, ok := checksum.ByName(name); !ok {
			return errNoSuchAlgorithm
		}
	}
	if err := checkMetadata(q.header); err != nil {
		return err // also where the source's is going to be copied
	}
	changes := q.replacesMetadata() || q.header.Get(encryptionHeader) != "" || q.customer != nil ||
		q.header.Get("X-Amz-Storage-Class") != "" || q.header.Get("X-Amz-Website-Redirect-Location") != ""
	if source.target == q.target && !source.query.Has("versionId") && !changes {
		return newError("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing "+
			"the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	return nil
}

func (q *request) replacesMetadata() bool { return q.header.Get(metadataDirective) == "REPLACE" }

// copyOnce copies the source as it is now. It fails with errReplaced when the source changes meanwhile.
func (p *Proxy) copyOnce(q, source *request) (*copied, error) {
	if p.bypassed(q.target) {
		return p.copyPlain(q, source)
	}
	protected, err := p.protect(q)
	if err != nil {
		return nil, err
	}
	o, header, _, err := p.head(source)
	if err != nil {
		return nil, copyFailure(err)
	}
	out := outgoing{method: http.MethodPut, target: q.target, header: q.copyHeader(header)}
	if err := checkMetadata(out.header); err != nil {
		return nil, err
	}
	var done *copied
	switch {
	case o == nil:
		done, err = p.copyPlaintext(q, source, protected, out)
	case (o.envelope.Mode == envelope.ModeDSSE) != (protected.mode == envelope.ModeDSSE):
		done, err = p.copyAnew(q, source, o, protected, out)
	default:
		done, err = p.copySealed(q, source, o, protected, out)
	}
	if err != nil {
		return nil, err
	}
	done.sourceVersion, done.protected = header.Get("X-Amz-Version-Id"), protected
	return done, nil
}

// copyHeader returns the headers of the copy: those that the client gives it, and the source's metadata unless the client
// replaces it.
func (q *request) copyHeader(source http.Header) http.Header {
	out := q.op.storeHeader(q.header)
	if q.replacesMetadata() {
		return out
	}
	for name := range out {
		if objectMetadata.has(name) {
			delete(out, name)
		}
	}
	for name, values := range source {
		if objectMetadata.has(name) && name != reservedMetadata {
			out[name] = slices.Clone(values)
		}
	}
	return out
}

// copySealed wraps the data key anew and lets the store copy exactly the object that was looked at.
func (p *Proxy) copySealed(q, source *request, o *sealedObject, protected *protection, out outgoing) (*copied, error) {
	if err := p.provideChecksum(q, source, o); err != nil {
		return nil, err
	}
	value, err := p.wrap(q, protected, &envelope.Envelope{Length: o.envelope.Length, Multipart: o.envelope.Multipart}, o.dek, o.sum)
	if err != nil {
		return nil, err
	}
	out.header.Set(reservedMetadata, value)
	out.header.Set("X-Amz-Copy-Source", source.copySourceHeader())
	out.header.Set("X-Amz-Copy-Source-If-Match", o.stored.etag)
	out.header.Set(metadataDirective, "REPLACE")
	resp, err := p.send(q, out)
	if err != nil {
		return nil, err
	}
	var result struct{ ETag, LastModified string }
	if err := q.readResult(resp, "CopyObjectResult", &result); err != nil {
		return nil, p.copyOvertaken(source, o.stored, tellBudget(err, out.header))
	}
	done := &copied{header: resp.Header, etag: clientETagValue(result.ETag), lastModified: result.LastModified, sum: make(http.Header)}
	o.showChecksum(done.sum)
	return done, nil
}

// copySourceHeader returns x-amz-copy-source, as the store reads it, for what q reads.
func (q *request) copySourceHeader() string {
	header := strings.TrimPrefix(q.target.escapedPath(), "/")
	if version := q.query.Get("versionId"); version != "" {
		header += "?versionId=" + url.QueryEscape(version)
	}
	return header
}

// copyOvertaken tells why a store failed a condition on a copy: it was the proxy's own, if the source is another object now.
func (p *Proxy) copyOvertaken(source *request, was stored, failure error) error {
	if !hasCode(failure, "PreconditionFailed") && !hasCode(failure, "NoSuchKey") {
		return failure
	}
	resp, err := p.sendRead(source, http.MethodHead, nil)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if now, err := storedIn(resp); err != nil || resp.StatusCode != http.StatusOK || now != was {
		return errReplaced
	}
	return failure
}

// provideChecksum sees to it that the copy shows a checksum of the algorithm that the client asks for. Where the source has
// another it takes reading it.
func (p *Proxy) provideChecksum(q, source *request, o *sealedObject) error {
	name := q.header.Get("X-Amz-Checksum-Algorithm")
	if name == "" {
		return nil
	}
	a, ok := checksum.ByName(name)
	if !ok || o.sum.Algorithm == a { // checkCopy knows it
		return nil
	}
	if o.envelope.Multipart {
		return newError("NotImplemented", "The proxy does not compute another checksum of an object that was uploaded in parts.",
			errorField{"Header", "x-amz-checksum-algorithm"})
	}
	r, err := p.openRead(source, nil)
	if err != nil {
		return copyFailure(err)
	}
	defer r.close()
	if r.object == nil || r.object.stored != o.stored {
		return errReplaced
	}
	digest := a.New()
	if _, err := io.Copy(digest, r.reader); err != nil {
		return err
	}
	o.sum = checksum.Value{Algorithm: a, Sum: digest.Sum(nil)}
	return nil
}

// copyPlaintext seals an object that has no envelope on its way to its new place, where reading such objects is allowed.
func (p *Proxy) copyPlaintext(q, source *request, protected *protection, out outgoing) (*copied, error) {
	if !p.readsPlaintext(source.target) {
		return nil, errPlaintext
	}
	r, err := p.openRead(source, nil)
	if err != nil {
		return nil, copyFailure(err)
	}
	defer r.close()
	switch {
	case r.object != nil:
		return nil, errReplaced
	case r.length < 0:
		return nil, fmt.Errorf("%w: it does not say how long the object is", errStore)
	}
	if err := checkCopySize(r.length); err != nil {
		return nil, err
	}
	if err := p.copyTags(q, source, r.header, out.header); err != nil {
		return nil, err
	}
	return p.sealCopy(q, protected, out, r.body, r.length, 0)
}

// checkCopySize refuses to seal a source that is too large for one object.
func checkCopySize(length int64) error {
	if envelope.SealedSize(length) <= envelope.MaxSealedPart {
		return nil
	}
	return sourceTooLarge(maxSinglePut)
}

// sealCopy stores length bytes of plaintext as a new object. The algorithm is that of its checksum where the client does not ask for
// one; 0 is none.
func (p *Proxy) sealCopy(q *request, protected *protection, out outgoing, src io.Reader, length int64, a checksum.Algorithm) (*copied, error) {
	if asked, ok := checksum.ByName(q.header.Get("X-Amz-Checksum-Algorithm")); ok {
		a = asked
	}
	sum := func() checksum.Value { return checksum.Value{} }
	if a != 0 {
		digest := a.New()
		src = io.TeeReader(src, digest)
		sum = func() checksum.Value { return checksum.Value{Algorithm: a, Sum: digest.Sum(nil)} }
	}
	var before checksum.Value
	if length == 0 {
		before = sum() // there is no trailer that could have it
	}
	dek := protected.newDEK()
	value, err := p.wrap(q, protected, &envelope.Envelope{Length: length}, dek, before)
	if err != nil {
		return nil, err
	}
	out.header.Set(reservedMetadata, value)
	sealer := dek.NewSealer(src, length, sum)
	resp, err := p.sendObject(q, out, sealer, length)
	if err != nil {
		return nil, err
	}
	done := &copied{
		header: resp.Header, etag: clientETagValue(resp.Header.Get("Etag")), lastModified: p.cfg.Now().UTC().Format(documentTime), sum: make(http.Header),
	}
	shown := sum()
	if shown.Algorithm == 0 {
		shown = crcValue(sealer.CRC())
	}
	showChecksum(done.sum, shown)
	return done, resp.Body.Close()
}

// copyTags gives a copy that the store does not make itself the source's tags, unless the client replaces them.
func (p *Proxy) copyTags(q, source *request, stored, out http.Header) error {
	out.Del(taggingDirective)
	if q.header.Get(taggingDirective) == "REPLACE" {
		return nil
	}
	out.Del("X-Amz-Tagging")
	if n := stored.Get("X-Amz-Tagging-Count"); n == "" || n == "0" {
		return nil
	}
	return p.giveTags(source, out)
}

// giveTags gives what is made with the headers out the source's tags.
func (p *Proxy) giveTags(source *request, out http.Header) error {
	query := url.Values{"tagging": {""}}
	if source.query.Has("versionId") {
		query["versionId"] = source.query["versionId"]
	}
	resp, err := p.send(source, outgoing{method: http.MethodGet, target: source.target, query: query, header: source.common()})
	if err != nil {
		return err
	}
	var document struct {
		Tag []struct{ Key, Value string } `xml:"TagSet>Tag"`
	}
	if err := source.readResult(resp, "Tagging", &document); hasCode(err, "NoSuchTagSet") || hasCode(err, "NoSuchTagSetError") {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading its tags: %w", err)
	}
	tags := make(url.Values)
	for _, t := range document.Tag {
		tags.Set(t.Key, t.Value)
	}
	if len(tags) > 0 {
		out.Set("X-Amz-Tagging", tags.Encode())
	}
	return nil
}
