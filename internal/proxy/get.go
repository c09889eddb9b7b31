package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// replacedAttempts is how often a read begins anew because the object was replaced under it.
const replacedAttempts = 4

// getObject opens an object, or a range of it. Of a single object that takes one request to the store: a plaintext range
// maps to frames by arithmetic, and the answer's own headers carry the envelope. A multipart object's trailer is
// read besides, unless it is cached.
func (p *Proxy) getObject(q *request) error {
	return whileReplaced(func() error {
		r, err := p.openRead(q, parseRange(q.header.Get("Range")))
		if err != nil {
			return err
		}
		defer r.close()
		if r.object == nil {
			return p.getPlaintext(q, r)
		}
		// The first frames are verified before the answer begins; of a small object that is all of it.
		if err := r.reader.Prime(); err != nil {
			return err
		}
		if t := r.reader.Trailer(); t != nil && r.object.sum.Algorithm == 0 {
			r.object.sum = trailerChecksum(t)
		}
		if err := q.reply(q.describe(r.header, r.object, r.asked), r.reader); err != nil {
			return err
		}
		// The client has its answer before anything waits for what is left.
		if err := http.NewResponseController(q.w).Flush(); err != nil {
			return err
		}
		r.drain()
		return nil
	})
}

// whileReplaced runs a read again when the object was replaced under it, before anything of it went out.
func whileReplaced(read func() error) error {
	var err error
	for range replacedAttempts {
		if err = read(); !errors.Is(err, errReplaced) {
			break
		}
	}
	return err
}

// reading is an object that is being read.
type reading struct {
	status int
	header http.Header   // of the store's answer
	length int64         // of its body
	body   io.ReadCloser // to be closed
	object *sealedObject // nil: plaintext
	asked  *byteRange    // as it counts in the end; nil: the whole object
	off, n int64         // of the plaintext
	reader *envelope.Reader
}

// close ends a read that came to its end, or was given up.
func (r *reading) close() { _ = r.body.Close() }

// drain reads what is left of the answer, at most a trailer, so that the connection serves again. Nothing depends on it.
func (r *reading) drain() { _, _ = io.CopyN(io.Discard, r.body, maxTrailer) }

// openRead asks the store for q's object and opens it. Of an object without an envelope nothing is opened.
func (p *Proxy) openRead(q *request, asked *byteRange) (*reading, error) {
	resp, err := p.sendRead(q, http.MethodGet, asked.sealed())
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		if err := resp.Body.Close(); err != nil {
			return nil, fmt.Errorf("%w: %w", errStore, err)
		}
		return p.unsatisfiable(q, asked)
	}
	if err := q.expect(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return nil, err
	}
	r := &reading{status: resp.StatusCode, header: resp.Header, length: resp.ContentLength, body: resp.Body, asked: asked}
	if err := p.openReading(q, r, resp); err != nil {
		return nil, errors.Join(err, r.body.Close())
	}
	return r, nil
}

func (p *Proxy) openReading(q *request, r *reading, resp *http.Response) (err error) {
	if r.object, err = p.openEnvelope(q, resp); err != nil || r.object == nil {
		return err
	}
	if err := p.layOut(q, r.object); err != nil {
		return err
	}
	size := r.object.size()
	if r.status == http.StatusOK && !r.asked.isEmpty() {
		r.asked = nil // If-Range did not hold, or the store ignores ranges, as some do of an empty object
	}
	var ok bool
	if r.off, r.n, ok = r.asked.resolve(size); !ok {
		return invalidRange(q, size)
	}
	return p.openAnswer(q, r, resp)
}

// openAnswer sets r's reader: on the store's answer or, where an irregular object's frames are not where a regular one's
// would be, on another one.
func (p *Proxy) openAnswer(q *request, r *reading, resp *http.Response) error {
	o := r.object
	if r.asked == nil && o.trailer == nil {
		r.reader = o.object.NewWholeReader(r.body)
		return nil
	}
	if r.asked == nil {
		r.reader = o.object.NewReader(r.body, 0, r.n, envelope.Attempt{})
		return nil
	}
	at, err := r.asked.sealed().checkContentRange(resp, o.stored.length)
	if err != nil {
		return err
	}
	if o.trailer == nil && r.n == o.size() && at == 0 && r.length == o.stored.length {
		r.reader = o.object.NewWholeReader(r.body) // a range that is all of it
		return nil
	}
	start, length := o.object.Span(r.off, r.n)
	if start >= at && start+length <= at+r.length {
		if _, err := io.CopyN(io.Discard, r.body, start-at); err != nil {
			return fmt.Errorf("%w: %w", errStore, err)
		}
	} else {
		again, err := p.sendStored(q, o.stored, start, length)
		if err != nil {
			return err
		}
		if err := r.body.Close(); err != nil {
			return closing(again, err)
		}
		r.body = again.Body
	}
	attempt, err := p.attemptAt(q, o, r.off)
	r.reader = o.object.NewReader(r.body, r.off, r.n, attempt)
	return err
}

// attemptAt reads which attempt of a part that is not bound to one the store has, where a range starts within it.
func (p *Proxy) attemptAt(q *request, o *sealedObject, off int64) (attempt envelope.Attempt, err error) {
	if at, ok := o.object.Unbound(off); ok {
		b, err := p.readStored(q, o.stored, at, int64(len(attempt)))
		if err != nil {
			return attempt, err
		}
		copy(attempt[:], b)
	}
	return attempt, nil
}

// describe sets the headers of a successful answer about an object, and returns its status.
func (q *request) describe(header http.Header, o *sealedObject, asked *byteRange) int {
	h := q.w.Header()
	copyObjectHeaders(h, header)
	h.Set("Accept-Ranges", "bytes")
	protectionOf(o.envelope, q.customer).show(h)
	size := o.size()
	if asked == nil {
		if q.wantsChecksum() {
			o.showChecksum(h)
		}
		h.Set("Content-Length", strconv.FormatInt(size, 10))
		return http.StatusOK
	}
	off, n, _ := asked.resolve(size)
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	h.Set("Content-Range", contentRange(off, n, size))
	return http.StatusPartialContent
}

// headObject answers from one HEAD. The length of a single object is in its envelope, authenticated; that of a regular
// multipart object follows from the stored one by arithmetic.
func (p *Proxy) headObject(q *request) error {
	return whileReplaced(func() error { return p.tryHead(q, parseRange(q.header.Get("Range"))) })
}

func (p *Proxy) tryHead(q *request, asked *byteRange) error {
	o, header, length, err := p.head(q)
	if err != nil {
		return err
	}
	if o == nil {
		return p.headPlaintext(q, header, length, asked)
	}
	if asked == nil && q.wantsChecksum() && o.sum.Algorithm == 0 {
		if err := p.readChecksum(q, o); err != nil {
			return err
		}
	}
	if o.size() < 0 || p.cfg.Strict {
		if err := p.layOut(q, o); err != nil {
			return err
		}
	}
	if o.size() == 0 && asked != nil && asked.suffix > 0 {
		asked = nil // S3 ignores it in a HEAD of an empty object
	}
	if _, _, ok := asked.resolve(o.size()); !ok {
		return invalidRange(q, o.size())
	}
	return q.reply(q.describe(header, o, asked), nil)
}

// head asks the store about q's object, and returns the headers and the length that the store gives. The object is nil
// if it has no envelope.
func (p *Proxy) head(q *request) (o *sealedObject, header http.Header, length int64, err error) {
	resp, err := p.sendRead(q, http.MethodHead, nil)
	if err != nil {
		return nil, nil, 0, err
	}
	if err := closing(resp, q.expect(resp, http.StatusOK)); err != nil {
		return nil, nil, 0, p.explain(q, err)
	}
	o, err = p.openEnvelope(q, resp)
	return o, resp.Header, resp.ContentLength, err
}

// explain asks for the error again that an answer to HEAD could not tell, where the client's own request is no HEAD.
func (p *Proxy) explain(q *request, failure error) error {
	if q.method == http.MethodHead || asAPIError(failure).status() == http.StatusNotModified {
		return failure
	}
	resp, err := p.sendRead(q, http.MethodGet, &byteRange{first: 0, last: 0})
	if err != nil {
		return failure
	}
	if err := closing(resp, q.expect(resp, http.StatusOK, http.StatusPartialContent)); err != nil {
		return err
	}
	return failure
}

// sendRead sends q's read of an object on, with the given range of sealed bytes.
func (p *Proxy) sendRead(q *request, method string, sealed *byteRange) (*http.Response, error) {
	out := outgoing{method: method, target: q.target, query: storeQuery(q.query), header: q.op.storeHeader(q.header)}
	for key := range strings.FieldsSeq(q.op.keys) {
		out.query.Del(key) // the store is asked for the object alone: its parts and sizes are not the client's
	}
	p.askChecksum(q, out.header)
	if sealed != nil {
		out.header.Set("Range", sealed.String())
	}
	return p.send(q, out)
}

// readChecksum reads the checksum that only the trailer has: it came behind the body.
func (p *Proxy) readChecksum(q *request, o *sealedObject) error {
	switch {
	case o.envelope.Multipart:
		return p.layOut(q, o)
	case o.envelope.Length == 0:
		o.sum = checksumOf(checksum.CRC64NVME, nil)
		return nil
	}
	t, err := p.layout(q, o)
	if err == nil {
		o.sum = trailerChecksum(t)
	}
	return err
}

// unsatisfiable goes on where the store could not satisfy a range. Its answer carries no envelope, so the size for the error
// takes another request. Of an object that is not sealed the client's own range may be good: it is a smaller one.
func (p *Proxy) unsatisfiable(q *request, asked *byteRange) (*reading, error) {
	o, _, size, err := p.head(q)
	if err != nil {
		return nil, err
	}
	if o == nil {
		if _, _, ok := asked.resolve(size); !ok && p.readsPlaintext(q.target) {
			return nil, invalidRange(q, size)
		}
		return &reading{asked: asked, body: http.NoBody}, nil
	}
	if err := p.layOut(q, o); err != nil {
		return nil, err
	}
	if _, _, ok := asked.resolve(o.size()); ok {
		return nil, fmt.Errorf("%w: the store does not find a range that the object has", envelope.ErrSize)
	}
	return nil, invalidRange(q, o.size())
}

func invalidRange(q *request, size int64) error {
	e := newError("InvalidRange", "The requested range is not satisfiable",
		errorField{"ActualObjectSize", strconv.FormatInt(size, 10)}, errorField{"RangeRequested", q.header.Get("Range")})
	e.Header = http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", size)}}
	return e
}

// wantsChecksum reports whether the client asked for the object's checksum.
func (q *request) wantsChecksum() bool {
	return strings.EqualFold(q.header.Get("X-Amz-Checksum-Mode"), "ENABLED")
}
