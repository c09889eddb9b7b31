package proxy

import (
	"net/http"
	"strconv"
)

// errPlaintext refuses an object without an envelope: a store could otherwise put plaintext of its own in place of a
// sealed object.
var errPlaintext = newError("AccessDenied", "The object is not sealed: it has no sseproxy envelope. Reading such objects is "+
	"refused unless the operator allows it (SSEPROXY_PLAINTEXT_READS=allow).")

// getPlaintext passes an object on that has no envelope, where that is allowed. The range in sealed terms that was
// asked for does not fit it, so it is asked for again.
func (p *Proxy) getPlaintext(q *request, r *reading) error {
	if !p.cfg.PlaintextReads {
		return errPlaintext
	}
	if r.asked == nil {
		q.describePlaintext(r.header, r.length)
		return q.reply(r.status, r.body)
	}
	resp, err := p.sendRead(q, http.MethodGet, r.asked)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	if err := q.expect(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return err
	}
	if len(resp.Header[reservedMetadata]) > 0 {
		return errReplaced
	}
	q.describePlaintext(resp.Header, resp.ContentLength)
	return q.reply(resp.StatusCode, resp.Body)
}

// headPlaintext does the same for HEAD.
func (p *Proxy) headPlaintext(q *request, stored http.Header, length int64, asked *byteRange) error {
	if !p.cfg.PlaintextReads {
		return errPlaintext
	}
	q.describePlaintext(stored, length)
	if asked == nil {
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
