package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// ownPart is the part number that belongs to the proxy at the store: the trailer, behind a last part that is too short
// to stand before another one. A client's own part of that number is kept in a stash alone.
const ownPart = envelope.MaxParts

const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// documentTime is the form of times in S3's documents.
const documentTime = "2006-01-02T15:04:05.000Z"

// createMultipartUpload makes the data key, gives the store the envelope as the upload's metadata, and writes the state.
func (p *Proxy) createMultipartUpload(q *request) error {
	if err := checkMetadata(q.header); err != nil {
		return err
	}
	s, err := declaredChecksum(q.header)
	if err != nil {
		return err
	}
	if p.bypassed(q.target) {
		return p.createPlainUpload(q)
	}
	protected, err := p.protect(q)
	if err != nil {
		return err
	}
	dek := protected.newDEK()
	if s.Envelope, err = p.wrap(q, protected, &envelope.Envelope{Multipart: true}, dek, checksum.Value{}); err != nil {
		return err
	}
	if protected.mode == envelope.ModeCustomer {
		s.TrailerKey = dek.TrailerKey()
	}
	out := outgoing{method: http.MethodPost, target: q.target, query: storeQuery(q.query), header: q.op.storeHeader(q.header)}
	out.header.Set(reservedMetadata, s.Envelope)
	id, header, err := p.createAtStore(q, out)
	if err != nil {
		return tellBudget(err, out.header)
	}
	if err := p.saveUpload(q, id, s); err != nil {
		return errors.Join(err, p.abortAtStore(q, id))
	}
	h := q.w.Header()
	copyResponse(h, header, writeResponse)
	protected.showNew(h)
	if s.Checksum != 0 {
		h.Set("X-Amz-Checksum-Algorithm", s.Checksum.String())
		h.Set("X-Amz-Checksum-Type", checksumTypeNames[s.Type])
	}
	return q.replyInitiated(id)
}

// createAtStore has the store begin an upload, and returns its id and the headers of the store's answer.
func (p *Proxy) createAtStore(q *request, out outgoing) (id string, header http.Header, err error) {
	resp, err := p.send(q, out)
	if err != nil {
		return "", nil, err
	}
	if err := q.expect(resp, http.StatusOK); err != nil {
		return "", nil, err
	}
	var made struct {
		UploadID string `xml:"UploadId"`
	}
	if err := closing(resp, decodeXML(resp.Body, maxErrorBody, &made)); err != nil {
		return "", nil, err
	}
	if made.UploadID == "" {
		return "", nil, fmt.Errorf("%w: it gave no upload id", errStore)
	}
	return made.UploadID, resp.Header, nil
}

// replyInitiated answers a CreateMultipartUpload.
func (q *request) replyInitiated(id string) error {
	return q.replyXML(struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Xmlns    string   `xml:"xmlns,attr"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{Xmlns: s3Namespace, Bucket: q.target.bucket, Key: q.target.key, UploadID: id})
}

var checksumTypeNames = map[envelope.ChecksumType]string{envelope.FullObject: "FULL_OBJECT", envelope.Composite: "COMPOSITE"}

// declaredChecksum reads which checksum the parts of an upload will have. S3's defaults: COMPOSITE, but FULL_OBJECT for
// CRC64NVME, which has no other; hashes have no FULL_OBJECT.
func declaredChecksum(h http.Header) (s uploadState, err error) {
	kind, err := checksumType(h)
	if err != nil {
		return s, err
	}
	name := h.Get("X-Amz-Checksum-Algorithm")
	if name == "" {
		if kind != "" {
			return s, newError("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return s, nil
	}
	a, ok := checksum.ByName(name)
	if !ok {
		return s, errNoSuchAlgorithm
	}
	s.Checksum, s.Type = a, envelope.Composite
	if kind == "FULL_OBJECT" || kind == "" && a == checksum.CRC64NVME {
		s.Type = envelope.FullObject
	}
	if s.Type == envelope.FullObject && !a.CanCombine() || s.Type == envelope.Composite && a == checksum.CRC64NVME {
		return s, newError("InvalidRequest", fmt.Sprintf("The %s checksum type cannot be used with the %s checksum algorithm.", kind, strings.ToLower(name)))
	}
	return s, nil
}

var errNoSuchAlgorithm = newError("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "+
	"[CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64]")

// checksumType reads x-amz-checksum-type, in upper or lower case.
func checksumType(h http.Header) (string, error) {
	kind := strings.ToUpper(h.Get("X-Amz-Checksum-Type"))
	if kind != "" && kind != "FULL_OBJECT" && kind != "COMPOSITE" {
		return "", invalidHeader("x-amz-checksum-type")
	}
	return kind, nil
}

// uploadPart seals one attempt of a part. Nothing is shared with other parts, replicas or attempts but the upload's state.
func (p *Proxy) uploadPart(q *request) error {
	number, err := q.partNumber()
	if err != nil {
		return err
	}
	if p.bypassed(q.target) {
		return p.uploadPlainPart(q, number)
	}
	length := q.body.Length()
	if length < 0 {
		return newError("MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	if err := checkPartSize(number, length); err != nil {
		return err
	}
	u, err := p.openUpload(q)
	if err != nil {
		return err
	}
	if err := u.checkAlgorithm(q); err != nil {
		return err
	}
	summed := u.newSummed(q)
	sealer := u.dek.NewPartSealer(summed, number, length)
	if err := sealer.Prime(); err != nil {
		return err
	}
	etag, err := p.sendPart(q, u, envelope.Part{Number: number, Size: length, Attempt: sealer.Attempt()}, sealer)
	if err != nil {
		return err
	}
	sum := summed.checksum(q)
	h := q.w.Header()
	h.Set("Etag", `"`+newPartTag(etag, sealer.Attempt(), sealer.CRC(), sum).String()+`"`)
	protectionOf(u.envelope, q.customer).show(h)
	h.Set("Content-Length", "0")
	if sum.Algorithm != 0 {
		h.Set(sum.Algorithm.Header(), sum.String())
	}
	return q.reply(http.StatusOK, nil)
}

func (q *request) partNumber() (int, error) {
	number, err := strconv.Atoi(q.query.Get("partNumber"))
	if err != nil || number < 1 || number > envelope.MaxParts {
		return 0, newError("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive",
			errorField{"ArgumentName", "partNumber"}, errorField{"ArgumentValue", q.query.Get("partNumber")})
	}
	return number, nil
}

// checkPartSize refuses a part whose sealed form exceeds what the store takes in one request: with the trailer behind it, where it
// becomes the proxy's own.
func checkPartSize(number int, length int64) error {
	most := int64(envelope.MaxSealedPart)
	if number == ownPart {
		most -= envelope.MaxTrailer
	}
	if envelope.SealedPartSize(length) > most {
		return newError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
			errorField{"ProposedSize", strconv.FormatInt(length, 10)})
	}
	return nil
}

// checkAlgorithm refuses a part whose checksum is not the upload's. A part without one is good where the upload's is that of the
// whole object: the proxy then adds it up itself.
func (u *upload) checkAlgorithm(q *request) error {
	want, got, name := u.state.Checksum, declaredAlgorithm(q), "null"
	if got != 0 {
		name = strings.ToLower(got.String())
	}
	if want == 0 || got == want || got == 0 && u.state.Type == envelope.FullObject {
		return nil
	}
	return newError("InvalidRequest", fmt.Sprintf("Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
		strings.ToLower(want.String()), name))
}

func declaredAlgorithm(q *request) checksum.Algorithm {
	sum, _ := q.body.Declared()
	return sum.Algorithm | q.body.TrailerAlgorithm() // one of them is 0
}

// summed is a part's body that is added up in the upload's algorithm, if the client has left that out.
type summed struct {
	io.Reader
	algorithm checksum.Algorithm // 0: none
	hash      hash.Hash
}

func (u *upload) newSummed(q *request) *summed {
	s := &summed{Reader: q.body}
	if declaredAlgorithm(q) == 0 && u.state.Checksum != 0 {
		s.algorithm, s.hash = u.state.Checksum, u.state.Checksum.New()
		s.Reader = io.TeeReader(q.body, s.hash)
	}
	return s
}

// checksum returns the part's checksum, once it is read.
func (s *summed) checksum(q *request) checksum.Value {
	if s.hash != nil {
		return checksum.Value{Algorithm: s.algorithm, Sum: s.hash.Sum(nil)}
	}
	sum, _ := q.body.Checksum()
	return sum
}

// sendPart sends a part's frames to the store and returns the store's ETag. A short part, which may prove to be the last,
// goes to a stash at the same time: Complete may need it again. The proxy's own part number has a stash alone.
func (p *Proxy) sendPart(q *request, u *upload, of envelope.Part, sealed io.Reader) (string, error) {
	body := &sending{src: sealed}
	size := envelope.SealedPartSize(of.Size)
	k := uploadKey{q.target, u.id}
	part := outgoing{
		method: http.MethodPut, target: q.target, query: partQuery(u.id, of.Number), header: q.op.storeHeader(q.header),
		body: body, length: size, sha256: unsignedPayload,
	}
	stash := outgoing{method: http.MethodPut, target: k.stashTarget(of.Number, of.Attempt), header: q.common(), length: size, sha256: unsignedPayload}
	var err error
	var etag string
	switch {
	case of.Number == ownPart:
		// The store gets no part, so it would not say that the upload is over.
		if err := p.checkUpload(q, u.id); err != nil {
			return "", err
		}
		stash.body = body
		etag, err = p.sendFrames(q, stash)
	case of.Size >= p.cfg.MinPartSize:
		etag, err = p.sendFrames(q, part)
	default:
		etag, err = p.sendBoth(q, part, stash)
	}
	if bodyErr := body.failed.Load(); bodyErr != nil {
		return "", *bodyErr
	}
	if err == nil && body.sent.Load() != size {
		err = errEarly
	}
	return etag, err
}

var (
	errEarly   = fmt.Errorf("%w: it answered before it had the whole part", errStore)
	errNoETag  = fmt.Errorf("%w: it gave no ETag", errStore)
	errEndless = fmt.Errorf("%w: its list does not go on", errStore)
)

// checkUpload fails where the store has no such upload.
func (p *Proxy) checkUpload(q *request, id string) error {
	resp, err := p.send(q, outgoing{method: http.MethodGet, target: q.target, query: url.Values{"uploadId": {id}, "max-parts": {"1"}}, header: q.common()})
	if err != nil {
		return err
	}
	return closing(resp, q.expect(resp, http.StatusOK))
}

func partQuery(id string, number int) url.Values {
	return url.Values{"uploadId": {id}, "partNumber": {strconv.Itoa(number)}}
}

// sendFrames sends sealed bytes and returns the ETag that the store gives them, without quotes.
func (p *Proxy) sendFrames(q *request, out outgoing) (string, error) {
	resp, err := p.send(q, out)
	if err != nil {
		return "", err
	}
	if err := q.expect(resp, http.StatusOK); err != nil {
		return "", err
	}
	etag := strings.Trim(resp.Header.Get("Etag"), `"`)
	if etag == "" {
		return "", closing(resp, errNoETag)
	}
	return etag, resp.Body.Close()
}

// sendBoth streams part's body to two places at the pace of the slower. If one fails both do. The part gets its last bytes when the
// stash is stored, so that the store never lists a short part without its stash.
func (p *Proxy) sendBoth(q *request, part, stash outgoing) (etag string, err error) {
	group, ctx := errgroup.WithContext(q.ctx)
	reader, writer := io.Pipe()
	stored := make(chan struct{})
	part.body = &tee{src: part.body, left: part.length, copy: writer, stored: stored, ctx: ctx}
	stash.body = reader
	group.Go(func() error {
		var err error
		etag, err = p.sendFrames(q.internal(ctx, q.target), part)
		_ = writer.CloseWithError(cmp.Or(err, errEarly)) // never fails; nothing hears it behind the end
		return err
	})
	group.Go(func() error {
		_, err := p.sendFrames(q.internal(ctx, stash.target), stash)
		if err == nil {
			close(stored)
		}
		_ = reader.CloseWithError(errors.Join(io.ErrClosedPipe, err)) // never fails
		return err
	})
	return etag, group.Wait()
}

// tee is a body of left bytes that goes to a copy as well. It keeps its last bytes back until the copy is stored.
type tee struct {
	src    io.Reader
	left   int64
	copy   *io.PipeWriter
	stored <-chan struct{}
	ctx    context.Context //nolint:containedctx // of the one request that reads it
}

func (t *tee) Read(b []byte) (int, error) {
	n, err := t.src.Read(b)
	if n > 0 {
		if _, writeErr := t.copy.Write(b[:n]); writeErr != nil {
			return 0, writeErr
		}
	}
	if err != nil {
		_ = t.copy.CloseWithError(err) // never fails
		return n, err
	}
	if t.left -= int64(n); t.left > 0 {
		return n, nil
	}
	_ = t.copy.Close() // never fails
	select {
	case <-t.stored:
		return n, nil
	case <-t.ctx.Done():
		return 0, t.ctx.Err()
	}
}

// abortMultipartUpload ends an upload, and removes what the proxy kept of it: also of one that is over, of which an earlier Abort
// may have left something.
func (p *Proxy) abortMultipartUpload(q *request) error {
	id := q.query.Get("uploadId")
	err := p.abortAtStore(q, id)
	if err != nil && !hasCode(err, "NoSuchUpload") {
		return err
	}
	if err := cmp.Or(err, p.forgetUpload(q, id)); err != nil {
		return err
	}
	return q.reply(http.StatusNoContent, nil)
}

func (p *Proxy) abortAtStore(q *request, id string) error {
	out := outgoing{method: http.MethodDelete, target: q.target, query: url.Values{"uploadId": {id}}, header: q.common()}
	if q.op.name == "AbortMultipartUpload" {
		out.header = q.op.storeHeader(q.header)
	}
	resp, err := p.send(q, out)
	if err != nil {
		return err
	}
	return closing(resp, q.expect(resp, http.StatusNoContent, http.StatusOK))
}

// storedPart is a part as the store lists it.
type storedPart struct {
	PartNumber int
	ETag       string
	Size       int64
}

// listStored returns every part that the store has of an upload, by number.
func (p *Proxy) listStored(q *request, id string) (map[int]storedPart, error) {
	parts := make(map[int]storedPart)
	query := url.Values{"uploadId": {id}}
	for marker := 0; ; {
		resp, err := p.send(q, outgoing{method: http.MethodGet, target: q.target, query: query, header: q.common()})
		if err != nil {
			return nil, err
		}
		if err := q.expect(resp, http.StatusOK); err != nil {
			return nil, err
		}
		var page struct {
			IsTruncated          bool
			NextPartNumberMarker int
			Part                 []storedPart
		}
		if err := closing(resp, decodeXML(resp.Body, maxListing, &page)); err != nil {
			return nil, err
		}
		for _, part := range page.Part {
			part.ETag = strings.Trim(part.ETag, `"`)
			if part.PartNumber >= 1 && part.PartNumber <= envelope.MaxParts {
				parts[part.PartNumber] = part
			}
		}
		if !page.IsTruncated {
			return parts, nil
		}
		if page.NextPartNumberMarker <= marker || page.NextPartNumberMarker > envelope.MaxParts {
			return nil, errEndless
		}
		marker = page.NextPartNumberMarker
		query.Set("part-number-marker", strconv.Itoa(marker))
	}
}

// decodeXML reads a document of the store's of at most limit bytes.
func decodeXML(r io.Reader, limit int64, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1)) //nolint:forbidigo // limited
	if err == nil && int64(len(b)) > limit {
		err = errors.New("it is too long")
	}
	if err == nil {
		err = xml.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("%w: reading its answer: %w", errStore, err)
	}
	return nil
}

// replyXML answers 200 with a document.
func (q *request) replyXML(v any) error {
	b, err := xml.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	if q.alive {
		_, err := q.w.Write(b)
		return err
	}
	b = append([]byte(xml.Header), b...)
	q.w.Header().Set("Content-Type", "application/xml")
	q.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	return q.reply(http.StatusOK, bytes.NewReader(b))
}
