package proxy

import (
	"net/http"
	"strconv"
)

// errPlaintext refuses an object without an envelope: a store could otherwise put plaintext of its own in place of a
// sealed object.
var errPlaintext = newError("AccessDenied", "The object is not sealed: it has no sseproxy envelope. Reading such objects is "+
	"refused unless the operator allows it (SSEPROXY_PLAINTEXT_READS=allow).")

// getPlaintext passes an object on that has no envelope, where that is allowed.
func (p *Proxy) getPlaintext(q *request, r *reading) error {
	if err := p.readPlaintext(q, r); err != nil {
		return err
	}
	q.describePlaintext(r.header, r.length)
	if r.status == http.StatusOK {
		q.showStoredChecksum(r.header)
	}
	return q.reply(r.status, r.body)
}

// readPlaintext makes r a read of an object that has no envelope, where that is allowed. The range in sealed terms that was
// asked for does not fit it, so it is asked for again.
func (p *Proxy) readPlaintext(q *request, r *reading) error {
	if !p.readsPlaintext(q.target) {
		return errPlaintext
	}
	if r.asked == nil {
		return nil
	}
	if r.status == http.StatusPartialContent {
		whole, err := storedIn(&http.Response{StatusCode: r.status, Header: r.header})
		if err != nil {
			return err
		}
		if _, _, ok := r.asked.resolve(whole.length); !ok {
			return invalidRange(q, whole.length)
		}
	}
	resp, err := p.sendRead(q, http.MethodGet, r.asked)
	if err != nil {
		return err
	}
	if err := q.expect(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return err
	}
	if len(resp.Header[reservedMetadata]) > 0 {
		return closing(resp, errReplaced)
	}
	err = r.body.Close()
	r.status, r.header, r.length, r.body = resp.StatusCode, resp.Header, resp.ContentLength, resp.Body
	return err
}

// headPlaintext does the same for HEAD.
func (p *Proxy) headPlaintext(q *request, stored http.Header, length int64, asked *byteRange) error {
	if !p.readsPlaintext(q.target) {
		return errPlaintext
	}
	q.describePlaintext(stored, length)
	if length == 0 && asked != nil && asked.suffix > 0 {
		asked = nil // S3 ignores it in a HEAD of an empty object
	}
	if asked == nil {
		q.showStoredChecksum(stored)
		return q.reply(http.StatusOK, nil)
	}
	off, n, ok := asked.resolve(length)
	if !ok {
		return invalidRange(q, length)
	}
	q.w.Header().Set("Content-Range", contentRange(off, n, length))
	q.w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	return q.reply(http.StatusPartialContent, nil)
}

func (q *request) describePlaintext(stored http.Header, length int64) {
	copyObjectHeaders(q.w.Header(), stored)
	if length >= 0 {
		q.w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	}
	if r := stored.Get("Content-Range"); r != "" {
		q.w.Header().Set("Content-Range", r)
	}
}

// showStoredChecksum shows what the store says of the checksum of a whole object.
func (q *request) showStoredChecksum(stored http.Header) {
	if q.wantsChecksum() {
		copyResponse(q.w.Header(), stored, checksumResponse)
	}
}
