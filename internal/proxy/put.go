package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

const (
	// smallBody is the most bytes of a body that is read and verified before anything is sent to the store.
	smallBody = envelope.FrameSize
	// maxMetadata is the most user metadata that S3 takes, in bytes of names and values.
	maxMetadata = 2 << 10
)

// putObject seals the body on its way to the store, unless it is to be left as it is.
func (p *Proxy) putObject(q *request) error {
	resp, err := p.put(q)
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Length", "0")
	return closing(resp, q.reply(http.StatusOK, nil))
}

// put makes an object of the request's body, and sets the headers that tell the client so.
func (p *Proxy) put(q *request) (*http.Response, error) {
	if p.bypassed(q.target) {
		return p.putPlain(q)
	}
	return p.putSealed(q)
}

// putSealed is put for an object that is sealed. The store gets the last frame only when the body has proved to be what the
// client declared; until then the request it sees is incomplete, and it stores nothing.
func (p *Proxy) putSealed(q *request) (*http.Response, error) {
	length := q.body.Length()
	switch {
	case length < 0:
		return nil, newError("MissingContentLength", "You must provide the Content-Length HTTP header.")
	case envelope.SealedSize(length) > envelope.MaxSealedPart:
		return nil, newError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
			errorField{"ProposedSize", strconv.FormatInt(length, 10)}, errorField{"MaxSizeAllowed", strconv.FormatInt(maxSinglePut, 10)})
	}
	if err := checkMetadata(q.header); err != nil {
		return nil, err
	}
	var src io.Reader = q.body
	sum, _ := q.body.Declared()
	if length <= smallBody {
		plain, err := q.readBody(length)
		if err != nil {
			return nil, err
		}
		if sum, _ = q.body.Checksum(); sum.Algorithm == 0 {
			sum = checksumOf(checksum.CRC64NVME, plain)
		}
		src = bytes.NewReader(plain)
	}
	protected, err := p.protect(q)
	if err != nil {
		return nil, err
	}
	dek := protected.newDEK()
	value, err := p.wrap(q, protected, &envelope.Envelope{Length: length}, dek, sum)
	if err != nil {
		return nil, err
	}
	sealer := dek.NewSealer(src, length, func() checksum.Value {
		declared, _ := q.body.Checksum()
		return declared
	})
	out := outgoing{method: http.MethodPut, target: q.target, header: q.op.storeHeader(q.header)}
	out.header.Set(reservedMetadata, value)
	resp, err := p.sendObject(q, out, sealer, length)
	if err != nil {
		return nil, err
	}
	if sum, _ = q.body.Checksum(); sum.Algorithm == 0 {
		sum = crcValue(sealer.CRC())
	}
	copyResponse(q.w.Header(), resp.Header, writeResponse)
	protected.showNew(q.w.Header())
	showChecksum(q.w.Header(), sum)
	return resp, nil
}

// sendObject sends a sealed object of length plaintext bytes to the store, and returns the answer if it has it.
func (p *Proxy) sendObject(q *request, out outgoing, sealed io.Reader, length int64) (*http.Response, error) {
	body := &sending{src: sealed}
	checked := out.checked || needsChecksum(out.header)
	out.body, out.length, out.sha256 = body, envelope.SealedSize(length), unsignedPayload
	if length <= smallBody {
		// Whole in memory, so that a connection that proves stale costs a retry and not an error.
		whole := bytes.NewBuffer(make([]byte, 0, out.length+bytes.MinRead))
		if _, err := whole.ReadFrom(body); err != nil {
			return nil, err
		}
		out.body = bytes.NewReader(whole.Bytes())
		if checked {
			setChecksum(out.header, checksumOf(checksum.CRC32, whole.Bytes()))
		}
	}
	size := out.length
	if length > smallBody && checked {
		digest := checksum.CRC32.New()
		out.body = io.TeeReader(out.body, digest)
		out = withTrailer(out, checksum.CRC32, func() checksum.Value { return checksum.Value{Algorithm: checksum.CRC32, Sum: digest.Sum(nil)} })
	}
	resp, err := p.sendWhole(q, out, body, size)
	return resp, tellBudget(err, out.header)
}

// sendWhole sends out, whose body is length bytes of the given one, and returns the answer if the store has it all.
func (p *Proxy) sendWhole(q *request, out outgoing, body *sending, length int64) (*http.Response, error) {
	resp, err := p.send(q, out)
	if bodyErr := body.failed.Load(); bodyErr != nil {
		return nil, *bodyErr
	}
	if err != nil {
		return nil, err
	}
	if err := q.expect(resp, http.StatusOK); err != nil {
		return nil, err
	}
	if body.sent.Load() != length {
		return nil, closing(resp, fmt.Errorf("%w: it answered before it had the whole object", errStore))
	}
	return resp, nil
}

// sending is a body on its way to the store. The transport reads it in a goroutine that may outlive the answer, so what
// the handler wants to know of it is atomic.
type sending struct {
	src    io.Reader
	sent   atomic.Int64          // bytes read from it
	failed atomic.Pointer[error] // what reading it ended with, if not io.EOF
}

func (u *sending) Read(p []byte) (int, error) {
	n, err := u.src.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.failed.Store(&err)
	}
	u.sent.Add(int64(n))
	return n, err
}

// maxSinglePut is the largest plaintext whose sealed form fits one request; docs/format.md has the figure.
const maxSinglePut = 5_366_366_976

// checkMetadata refuses user metadata that S3 would refuse. Whether the envelope fits beside it, the store decides.
func checkMetadata(h http.Header) error {
	size := 0
	for name, values := range h {
		if rest, ok := strings.CutPrefix(name, "X-Amz-Meta-"); ok {
			size += len(rest) + len(strings.Join(values, ","))
		}
	}
	if size > maxMetadata {
		return newError("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
			errorField{"Size", strconv.Itoa(size)}, errorField{"MaxSizeAllowed", strconv.Itoa(maxMetadata)})
	}
	return nil
}

// tellBudget explains a store's refusal of metadata: the envelope is a part of it, which the client does not see.
func tellBudget(err error, sent http.Header) error {
	if !hasCode(err, "MetadataTooLarge") {
		return err
	}
	envelope := len(reservedMetadata) - len("X-Amz-Meta-") + len(sent.Get(reservedMetadata))
	return newError("MetadataTooLarge", fmt.Sprintf("Your metadata headers exceed the maximum allowed metadata size: of the %d bytes "+
		"that the store takes, the proxy's envelope needs %d.", maxMetadata, envelope), errorField{"MaxSizeAllowed", strconv.Itoa(maxMetadata - envelope)})
}

func crcValue(crc uint64) checksum.Value {
	return checksum.Value{Algorithm: checksum.CRC64NVME, Sum: binary.BigEndian.AppendUint64(nil, crc)}
}

func checksumOf(a checksum.Algorithm, b []byte) checksum.Value {
	h := a.New()
	h.Write(b)
	return checksum.Value{Algorithm: a, Sum: h.Sum(nil)}
}

// closing closes an answer's body behind what was done with it.
func closing(resp *http.Response, err error) error {
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	return err
}
