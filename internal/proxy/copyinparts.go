package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// copyWorkers is how many parts of one object the store copies at a time.
const copyWorkers = 4

// copyInParts is copyOnto for an object that is too large for CopyObject: the store copies ranges of it as parts of an upload. The sealed
// bytes stay as they are, since the format does not know the store's parts; the store gives them another ETag.
func (p *Proxy) copyInParts(q *request, o *sealedObject, stored http.Header, protected *protection) error {
	value, err := p.wrap(q, protected, &envelope.Envelope{Length: o.envelope.Length, Multipart: o.envelope.Multipart}, o.dek, o.sum)
	if err != nil {
		return err
	}
	header := p.keptHeaders(q, stored)
	header.Set(reservedMetadata, value)
	if err := p.giveTags(q, header); err != nil {
		return err
	}
	id, err := p.createOwn(q, header)
	if err != nil {
		return err
	}
	etag, err := p.copyParts(q, o.stored, id)
	if err != nil {
		return errors.Join(p.replacedOr(q, o.stored, err), p.giveUp(q, id))
	}
	return p.checkCopied(q, o, etag)
}

// copyParts copies the stored object as the parts of an upload, and completes it if the object is still there. It returns the new ETag.
func (p *Proxy) copyParts(q *request, s stored, id string) (string, error) {
	size := p.partSize(s.length)
	parts := make([]namedPart, (s.length+size-1)/size)
	group, ctx := errgroup.WithContext(q.ctx)
	group.SetLimit(copyWorkers)
	for i := range parts {
		from := int64(i) * size
		group.Go(func() (err error) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// What has begun may end: a store does not stop when nobody waits for it, and some do not abort an upload meanwhile.
			parts[i], err = p.copyStored(q, s, id, i+1, &byteRange{first: from, last: min(from+size, s.length) - 1})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return p.joinInPlace(q, s, id, parts)
}

// copyStored lets the store copy a range of exactly the stored object as a part.
func (p *Proxy) copyStored(q *request, s stored, id string, number int, span *byteRange) (namedPart, error) {
	out := outgoing{method: http.MethodPut, target: q.target, query: partQuery(id, number), header: q.common()}
	out.header.Set("X-Amz-Copy-Source", q.copySourceHeader())
	out.header.Set("X-Amz-Copy-Source-Range", span.String())
	out.header.Set("X-Amz-Copy-Source-If-Match", s.etag)
	resp, err := p.send(q, out)
	if err != nil {
		return namedPart{}, err
	}
	var result struct{ ETag string }
	if err := q.readResult(resp, "CopyPartResult", &result); err != nil {
		return namedPart{}, err
	}
	return namedPart{number, result.ETag}, nil
}

// joinInPlace completes an upload in the place of the stored object. A store that does not heed the condition may still lose what is
// written between the look and the Complete.
func (p *Proxy) joinInPlace(q *request, s stored, id string, parts []namedPart) (string, error) {
	now, err := p.storedNow(q)
	if err != nil {
		return "", err
	}
	if now != s {
		return "", errReplaced
	}
	header := q.common()
	header.Set("If-Match", s.etag)
	etag, _, err := p.joinParts(q, id, header, parts)
	return etag, err
}

// checkCopied holds what the store has made against what it was to be, unless another has written since.
func (p *Proxy) checkCopied(q *request, was *sealedObject, etag string) error {
	o, header, _, err := p.head(q)
	switch {
	case hasCode(err, "NoSuchKey") || hasCode(err, "NotFound"):
		return nil
	case err != nil:
		return err
	case strings.Trim(header.Get("Etag"), `"`) != etag:
		return nil
	case o == nil:
		return fmt.Errorf("%w: the store has not kept it", envelope.ErrEnvelope)
	case o.stored.length != was.stored.length || o.envelope.Commitment() != was.envelope.Commitment():
		return fmt.Errorf("%w: the store made %d bytes of %d", envelope.ErrSize, o.stored.length, was.stored.length)
	}
	_, err = p.layout(q, o)
	return err
}

// replacedOr tells why the stored object could not be copied: it may be another one by now, of which a range is not there either.
func (p *Proxy) replacedOr(q *request, s stored, failure error) error {
	now, err := p.storedNow(q)
	if errors.Is(err, errReplaced) || err == nil && now != s {
		return errReplaced
	}
	return failure
}
