package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// An upload of an object that is left as it is is the store's alone: it has neither envelope nor state, and its parts go to the store
// as they are. Which kind an upload is follows from its key, as for every object. One that was begun before the rule can only be
// aborted.

// plainUploads has uploads that are known to have no state.
type plainUploads = lru.Cache[uploadKey, bool]

func newPlainUploads() *plainUploads {
	c, err := lru.New[uploadKey, bool](uploadEntries)
	if err != nil {
		panic("proxy: internal error: " + err.Error())
	}
	return c
}

var errSealedUpload = newError("InvalidRequest", "The upload was begun when the operator of the proxy wanted this object sealed; now it is to be stored "+
	"as it is (bypass). Abort the upload, and begin another.")

// checkPlainUpload refuses to go on with an upload that was begun sealed.
func (p *Proxy) checkPlainUpload(q *request) error {
	if q.customer != nil {
		return uploadKeyFailure(errCustomerKeyNeedless)
	}
	k := uploadKey{q.target, q.query.Get("uploadId")}
	if p.plainUploads.Contains(k) {
		return nil
	}
	switch _, err := p.readState(q, k.stateTarget()); {
	case err == nil:
		return errSealedUpload
	case !errors.Is(err, errNoSuchUpload):
		return err
	}
	p.plainUploads.Add(k, true)
	return nil
}

func (p *Proxy) createPlainUpload(q *request) error {
	if err := p.refuseEncryption(q); err != nil {
		return err
	}
	out := outgoing{method: http.MethodPost, target: q.target, query: storeQuery(q.query), header: q.op.storeHeader(q.header)}
	for _, name := range []string{"X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Type"} {
		if values, ok := q.header[name]; ok {
			out.header[name] = values
		}
	}
	id, header, err := p.createAtStore(q, out)
	if err != nil {
		return err
	}
	p.plainUploads.Add(uploadKey{q.target, id}, true)
	copyResponse(q.w.Header(), header, writeResponse)
	copyResponse(q.w.Header(), header, checksumResponse)
	return q.replyInitiated(id)
}

func (p *Proxy) uploadPlainPart(q *request, number int) error {
	if err := q.checkPlainSize(); err != nil {
		return err
	}
	if err := p.checkPlainUpload(q); err != nil {
		return err
	}
	resp, err := p.sendClientBody(q, q.plainPart(number))
	if err != nil {
		return err
	}
	h := q.w.Header()
	copyResponse(h, resp.Header, writeResponse)
	copyResponse(h, resp.Header, checksumResponse)
	h.Set("Content-Length", "0")
	return closing(resp, q.reply(http.StatusOK, nil))
}

// plainPart returns the request that stores a part.
func (q *request) plainPart(number int) outgoing {
	return outgoing{method: http.MethodPut, target: q.target, query: partQuery(q.query.Get("uploadId"), number), header: q.op.storeHeader(q.header)}
}

// plainPartWriter is partWriter for an object that is left as it is. The store may want the checksum of each part, if the upload has one.
func (p *Proxy) plainPartWriter(q *request, number int) (partWriter, error) {
	if err := p.checkPlainUpload(q); err != nil {
		return nil, err
	}
	a, err := p.uploadAlgorithm(q)
	if err != nil {
		return nil, err
	}
	return func(src io.Reader, n int64) (*copiedPart, error) {
		if n > maxPlain {
			return nil, sourceTooLarge(maxPlain)
		}
		b := summedBody(src, n, a)
		resp, err := p.sendPlain(q, q.plainPart(number), b)
		if err != nil {
			return nil, err
		}
		done := &copiedPart{etag: clientETagValue(resp.Header.Get("Etag"))}
		if a != 0 {
			done.sum = b.late()
		}
		return done, resp.Body.Close()
	}, nil
}

// summedBody returns a body with its checksum behind it; a is 0 for none.
func summedBody(src io.Reader, n int64, a checksum.Algorithm) plainBody {
	if a == 0 {
		return plainBody{Reader: src, length: n}
	}
	digest := a.New()
	late := func() checksum.Value { return checksum.Value{Algorithm: a, Sum: digest.Sum(nil)} }
	return plainBody{Reader: io.TeeReader(src, digest), length: n, trailer: a, late: late}
}

// uploadAlgorithm asks the store which checksum the parts of an upload have; 0 is none.
func (p *Proxy) uploadAlgorithm(q *request) (checksum.Algorithm, error) {
	query := url.Values{"uploadId": {q.query.Get("uploadId")}, "max-parts": {"1"}}
	resp, err := p.send(q, outgoing{method: http.MethodGet, target: q.target, query: query, header: q.common()})
	if err != nil {
		return 0, err
	}
	if err := q.expect(resp, http.StatusOK); err != nil {
		return 0, err
	}
	var page struct{ ChecksumAlgorithm string }
	if err := closing(resp, decodeXML(resp.Body, maxListing, &page)); err != nil {
		return 0, err
	}
	a, _ := checksum.ByName(page.ChecksumAlgorithm)
	return a, nil
}

// completePlain passes on a CompleteMultipartUpload, with the parts' ETags in the store's terms.
func (p *Proxy) completePlain(q *request, body []byte) (*completed, error) {
	if err := p.checkPlainUpload(q); err != nil {
		return nil, err
	}
	body, err := rewriteTexts(body, map[string]func(string) string{"CompleteMultipartUpload/Part/ETag": storeCondition})
	if err != nil {
		return nil, errMalformedXML
	}
	out := outgoing{
		method: http.MethodPost, target: q.target, query: storeQuery(q.query), header: q.op.storeHeader(q.header),
		body: bytes.NewReader(body), length: int64(len(body)), sha256: hexSHA256(body),
	}
	for name, values := range q.header {
		if _, sum := checksum.ByHeader(name); sum || name == "X-Amz-Checksum-Type" || name == "X-Amz-Mp-Object-Size" {
			out.header[name] = values
		}
	}
	resp, err := p.send(q, out)
	if err != nil {
		return nil, err
	}
	var result plainResult
	if err := q.readResult(resp, "CompleteMultipartUploadResult", &result); err != nil {
		return nil, err
	}
	return &completed{etag: strings.Trim(result.ETag, `"`), header: resp.Header, sum: result.checksum()}, nil
}

// plainResult is what a store answers to what makes an object, of which the checksum is the client's.
type plainResult struct {
	ETag, LastModified string
	ChecksumType       string
	Others             []textElement `xml:",any"`
}

// checksum returns the headers that show the checksum.
func (r *plainResult) checksum() http.Header {
	h := make(http.Header)
	for _, e := range r.Others {
		name, _ := strings.CutPrefix(e.XMLName.Local, "Checksum")
		if a, ok := checksum.ByName(name); ok {
			h.Set(a.Header(), e.Text)
		}
	}
	if r.ChecksumType != "" {
		h.Set("X-Amz-Checksum-Type", r.ChecksumType)
	}
	return h
}

func (p *Proxy) listPlainParts(q *request) error {
	if err := p.checkPlainUpload(q); err != nil {
		return err
	}
	resp, err := p.send(q, outgoing{method: http.MethodGet, target: q.target, query: storeQuery(q.query), header: q.op.storeHeader(q.header)})
	if err != nil {
		return err
	}
	body, err := q.readListing(resp)
	if err != nil {
		return err
	}
	body, err = rewriteTexts(body, map[string]func(string) string{"ListPartsResult/Part/ETag": clientETagValue})
	if err != nil {
		return fmt.Errorf("rewriting the list of parts: %w", err)
	}
	return q.replyListing(resp.Header, body)
}
