package proxy

import (
	"net/http"
	"strconv"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// copyPlain is copyOnce for a copy that is left as it is. Where the source has no envelope either, the store copies by itself; one
// that is sealed is opened on its way.
func (p *Proxy) copyPlain(q, source *request) (*copied, error) {
	if err := p.refuseEncryption(q); err != nil {
		return nil, err
	}
	o, header, length, err := p.head(source)
	if err != nil {
		return nil, copyFailure(err)
	}
	var done *copied
	switch {
	case o != nil:
		done, err = p.copyOpened(q, source)
	case p.readsPlaintext(source.target):
		done, err = p.copyAtStore(q, source, stored{header.Get("Etag"), length})
	default:
		err = errPlaintext
	}
	if err != nil {
		return nil, err
	}
	done.sourceVersion = header.Get("X-Amz-Version-Id")
	return done, nil
}

// copyAtStore lets the store copy exactly the object that was looked at.
func (p *Proxy) copyAtStore(q, source *request, was stored) (*copied, error) {
	out := outgoing{method: http.MethodPut, target: q.target, header: q.op.storeHeader(q.header)}
	for name := range out.header {
		if objectMetadata.has(name) && !q.replacesMetadata() {
			delete(out.header, name)
		}
	}
	for _, name := range []string{metadataDirective, "X-Amz-Checksum-Algorithm"} {
		if values, ok := q.header[name]; ok {
			out.header[name] = values
		}
	}
	out.header.Set("X-Amz-Copy-Source", source.copySourceHeader())
	out.header.Set("X-Amz-Copy-Source-If-Match", was.etag)
	resp, err := p.send(q, out)
	if err != nil {
		return nil, err
	}
	var result plainResult
	if err := q.readResult(resp, "CopyObjectResult", &result); err != nil {
		return nil, p.copyOvertaken(source, was, err)
	}
	return &copied{header: resp.Header, etag: clientETagValue(result.ETag), lastModified: result.LastModified, sum: result.checksum()}, nil
}

// copyOpened stores what a sealed source holds as it is.
func (p *Proxy) copyOpened(q, source *request) (*copied, error) {
	r, err := p.openRead(source, nil)
	if err != nil {
		return nil, copyFailure(err)
	}
	defer r.close()
	switch {
	case r.object == nil:
		return nil, errReplaced
	case r.n > maxPlain:
		return nil, sourceTooLarge(maxPlain)
	}
	out := outgoing{method: http.MethodPut, target: q.target, header: q.copyHeader(r.header)}
	if err := checkMetadata(out.header); err != nil {
		return nil, err
	}
	if err := p.copyTags(q, source, r.header, out.header); err != nil {
		return nil, err
	}
	if err := r.reader.Prime(); err != nil {
		return nil, err
	}
	a, _ := checksum.ByName(q.header.Get("X-Amz-Checksum-Algorithm"))
	b := summedBody(r.reader, r.n, a)
	if a == 0 {
		b.sum = r.object.sum
	}
	resp, err := p.sendPlain(q, out, b)
	if err != nil {
		return nil, err
	}
	done := &copied{
		header: resp.Header, etag: clientETagValue(resp.Header.Get("Etag")), lastModified: p.cfg.Now().UTC().Format(documentTime), sum: make(http.Header),
	}
	copyResponse(done.sum, resp.Header, checksumResponse)
	return done, resp.Body.Close()
}

func sourceTooLarge(most int64) error {
	return newError("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: "+strconv.FormatInt(most, 10))
}
