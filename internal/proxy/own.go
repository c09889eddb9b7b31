package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// maxOwn bounds the small objects that the proxy keeps for itself below the reserved prefix, in bytes. Each is sealed and bound to
// its own key, like any other object, under the operator's key for new objects.
const maxOwn = 16 << 10

// saveOwn writes an object of the proxy's own.
func (p *Proxy) saveOwn(q *request, t target, b []byte) error {
	own := q.internal(q.ctx, t)
	dek := envelope.NewDEK()
	e := &envelope.Envelope{Length: int64(len(b))}
	value, err := p.wrap(own, &protection{mode: envelope.ModeS3, keyID: p.rule(t).KeyID}, e, dek, checksumOf(checksum.CRC64NVME, b))
	if err != nil {
		return err
	}
	sealer := dek.NewSealer(bytes.NewReader(b), int64(len(b)), func() checksum.Value { return checksum.Value{} })
	sealed, err := io.ReadAll(sealer) //nolint:forbidigo // of our own few bytes
	if err != nil {
		return fmt.Errorf("sealing %s: %w", t.key, err)
	}
	header := own.common()
	header.Set(reservedMetadata, value)
	resp, err := p.send(own, outgoing{
		method: http.MethodPut, target: t, header: header,
		body: bytes.NewReader(sealed), length: int64(len(sealed)), sha256: unsignedPayload,
	})
	if err != nil {
		return err
	}
	return closing(resp, own.expect(resp, http.StatusOK))
}

// readOwn reads an object of the proxy's own. It is nil where there is none.
func (p *Proxy) readOwn(q *request, t target) ([]byte, error) {
	own := q.internal(q.ctx, t)
	resp, err := p.send(own, outgoing{method: http.MethodGet, target: t, header: own.common()})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	if err := own.expect(resp, http.StatusOK); hasCode(err, "NoSuchKey") || hasCode(err, "NotFound") {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	o, err := p.openEnvelope(own, resp)
	if err != nil {
		return nil, err
	}
	if o == nil || o.object == nil || o.object.Size() == 0 || o.object.Size() > maxOwn {
		return nil, fmt.Errorf("%w: of the proxy's own object %s", envelope.ErrEnvelope, t.key)
	}
	return io.ReadAll(o.object.NewWholeReader(resp.Body)) //nolint:forbidigo // its size is known
}
