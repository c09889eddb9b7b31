package proxy

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// sealedObject is a stored object whose envelope has opened.
type sealedObject struct {
	envelope *envelope.Envelope
	dek      *envelope.DEK
	stored   stored
	sum      checksum.Value    // FULL_OBJECT, from the envelope or the trailer; zero if it is not known yet
	trailer  *envelope.Trailer // of a multipart object, once layOut has read it
	object   *envelope.Object  // how it opens; nil before layOut
}

// openEnvelope opens the envelope in a store's answer about q's object. It returns nil if there is none. The object's
// stored length has been held against what the envelope says of it.
func (p *Proxy) openEnvelope(q *request, resp *http.Response) (*sealedObject, error) {
	values := resp.Header[reservedMetadata]
	if len(values) == 0 && q.customer != nil {
		return nil, errCustomerKeyNeedless
	}
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 {
		return nil, fmt.Errorf("%w: the store gave two", envelope.ErrEnvelope)
	}
	o := &sealedObject{}
	var err error
	if o.envelope, o.dek, o.sum, err = p.unwrap(q, values[0], policy.Decrypt); err != nil {
		return nil, err
	}
	if o.stored, err = storedIn(resp); err != nil {
		return nil, err
	}
	if o.envelope.Multipart {
		return o, nil
	}
	if o.stored.length != envelope.SealedSize(o.envelope.Length) {
		return nil, fmt.Errorf("%w: the store has %d bytes of it", envelope.ErrSize, o.stored.length)
	}
	o.object = o.dek.Single(o.envelope.Length)
	return o, nil
}

// layOut reads what a multipart object's envelope does not say: parts, length and checksum. A single object needs it not;
// where Config.Strict is set its trailer is read all the same, as proof that its upload came to a good end.
func (p *Proxy) layOut(q *request, o *sealedObject) error {
	if o.object != nil && (!p.cfg.Strict || o.stored.length == 0) {
		return nil
	}
	t, err := p.layout(q, o)
	if err != nil {
		return err
	}
	if t.Single && o.sum.Algorithm == 0 {
		o.sum = trailerChecksum(t)
	}
	if t.Single {
		return nil
	}
	o.trailer, o.object = t, o.dek.Multipart(t.Parts)
	return nil
}

// size returns the plaintext length in bytes, or -1 where only the trailer has it.
func (o *sealedObject) size() int64 {
	if o.object != nil {
		return o.object.Size()
	}
	if size, ok := envelope.PlaintextSize(o.stored.length); ok {
		return size
	}
	return -1
}

// showChecksum sets the response headers of the object's checksum, as far as it is known.
func (o *sealedObject) showChecksum(h http.Header) {
	switch {
	case o.sum.Algorithm != 0:
		showChecksum(h, o.sum)
	case o.trailer == nil:
	case o.trailer.Type == envelope.Composite:
		sum := o.trailer.Checksum
		h.Set(sum.Algorithm.Header(), sum.String()+"-"+strconv.Itoa(len(o.trailer.Parts)))
		h.Set("X-Amz-Checksum-Type", "COMPOSITE")
	case o.trailer.Checksum.Algorithm != 0 || o.trailer.HasCRC:
		showChecksum(h, trailerChecksum(o.trailer))
	}
}

// showChecksum sets the response headers of a checksum over the whole object.
func showChecksum(h http.Header, sum checksum.Value) {
	if sum.Algorithm != 0 {
		h.Set(sum.Algorithm.Header(), sum.String())
		h.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
}

// trailerChecksum returns the checksum that S3 shows for a single object: the client's, or else the CRC64NVME that S3
// computes by itself.
func trailerChecksum(t *envelope.Trailer) checksum.Value {
	if t.Checksum.Algorithm != 0 {
		return t.Checksum
	}
	return crcValue(t.CRC)
}
