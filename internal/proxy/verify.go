package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"reflect"

	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// Verify opens every object as a GET of the whole would, reads all that is stored of it, and compares what it opens to with each
// checksum that the object has. Of an object with a customer's key nothing can be told.
//
// It fails when the listing does, when an object does not open, and when one is not sealed that clients may not read so. Each of them
// is logged.
func (p *Proxy) Verify(ctx context.Context, w Walk) (Tally, error) {
	sum, err := p.walk(ctx, w, "sseproxy verify", p.verifyOne)
	if err == nil && sum.Failed > 0 {
		err = fmt.Errorf("%d objects do not open; the log says which, and why", sum.Failed)
	}
	if err == nil && sum.Plain > 0 {
		err = fmt.Errorf("%d objects are not sealed; the log says which", sum.Plain)
	}
	return sum, err
}

func (p *Proxy) verifyOne(q *request) (outcome, error) {
	r, err := p.openRead(q, nil)
	switch {
	case errors.Is(err, errCustomerKeyMissing):
		return ofCustomer, nil
	case err != nil:
		return failed, err
	}
	defer r.close()
	switch {
	case r.object == nil && p.readsPlaintext(q.target):
		return exempt, nil
	case r.object == nil:
		p.cfg.Log.Error("object is not sealed", zap.String("operation", q.acts()), zap.String("bucket", q.target.bucket), zap.String("key", q.target.key))
		return plain, nil
	}
	_, err = p.verifyReading(q, r)
	return treated, err
}

// verifyReading reads an object to the end of what is stored, and returns the CRC-64/NVME of the plaintext. It fails where a frame or
// the trailer does not open, the lengths do not fit, or the plaintext is not that of the object's checksums.
func (p *Proxy) verifyReading(q *request, r *reading) (uint64, error) {
	if err := r.reader.Prime(); err != nil {
		return 0, err
	}
	t, err := p.trailerOf(q, r)
	if err != nil {
		return 0, err
	}
	s := newSums(t, r.object.sum)
	for _, part := range t.Parts {
		if err := s.readPart(r.reader, part); err != nil {
			return 0, err
		}
	}
	// What ends a single object is proved before its last frame is given out; there is nothing more of it.
	if n, err := io.Copy(io.Discard, r.reader); err != nil || n > 0 {
		return 0, errors.Join(fmt.Errorf("%w: %d bytes behind the last part", envelope.ErrSize, n), err)
	}
	if !t.Single {
		if err := r.verifyTrailer(t); err != nil {
			return 0, err
		}
	}
	return binary.BigEndian.Uint64(s.crc.Sum(nil)), s.check()
}

// trailerOf returns the trailer of what r has begun to read; an empty object has one that says nothing.
func (p *Proxy) trailerOf(q *request, r *reading) (*envelope.Trailer, error) {
	switch t := r.reader.Trailer(); {
	case r.object.trailer != nil:
		return r.object.trailer, nil
	case t != nil:
		return t, nil
	case r.object.stored.length == 0:
		return &envelope.Trailer{Single: true}, nil
	}
	return p.layout(q, r.object)
}

// verifyTrailer reads what stands behind a multipart object's frames, which must be the trailer by which they were opened.
func (r *reading) verifyTrailer(t *envelope.Trailer) error {
	b, err := io.ReadAll(io.LimitReader(r.body, envelope.MaxTrailer+1)) //nolint:forbidigo // limited
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	if int64(len(b)) != r.object.stored.length-r.object.object.FramesSize() {
		return fmt.Errorf("%w: %d bytes behind the last frame", envelope.ErrSize, len(b))
	}
	again, err := r.object.openTrailer(b)
	if err == nil && !reflect.DeepEqual(again, t) {
		err = fmt.Errorf("%w: it is another one than was read first", envelope.ErrTrailer)
	}
	return err
}

// sums adds up an object's plaintext for every checksum that the object has.
type sums struct {
	trailer *envelope.Trailer
	crc     hash.Hash
	whole   []wholeSum
	parts   hash.Hash // of the parts' checksums, for a COMPOSITE one; nil: none
}

// wholeSum is a checksum of a whole object, and what it is found to be.
type wholeSum struct {
	want checksum.Value
	hash hash.Hash
}

// newSums prepares for an object with a trailer and, where the envelope has one, the checksum there.
func newSums(t *envelope.Trailer, inEnvelope checksum.Value) *sums {
	s := &sums{trailer: t, crc: checksum.CRC64NVME.New()}
	add := func(want checksum.Value) {
		if want.Algorithm != 0 {
			s.whole = append(s.whole, wholeSum{want, want.Algorithm.New()})
		}
	}
	add(inEnvelope)
	if t.HasCRC {
		add(crcValue(t.CRC))
	}
	switch t.Type {
	case envelope.FullObject:
		add(t.Checksum)
	case envelope.Composite:
		s.parts = t.Checksum.Algorithm.New()
	}
	return s
}

// readPart reads the plaintext of the next part.
func (s *sums) readPart(src io.Reader, part envelope.Part) error {
	to := []io.Writer{s.crc}
	for _, w := range s.whole {
		to = append(to, w.hash)
	}
	var digest hash.Hash
	if part.Checksum != nil {
		digest = s.trailer.Checksum.Algorithm.New()
		to = append(to, digest)
	}
	if _, err := io.CopyN(io.MultiWriter(to...), src, part.Size); err != nil {
		return err
	}
	if digest != nil && !bytes.Equal(digest.Sum(nil), part.Checksum) {
		return fmt.Errorf("%w: part %d does not have its %s", errChecksum, part.Number, s.trailer.Checksum.Algorithm)
	}
	if s.parts != nil {
		s.parts.Write(part.Checksum)
	}
	return nil
}

// check compares the checksums of the whole.
func (s *sums) check() error {
	for _, w := range s.whole {
		if !bytes.Equal(w.hash.Sum(nil), w.want.Sum) {
			return fmt.Errorf("%w: the %s", errChecksum, w.want.Algorithm)
		}
	}
	if s.parts != nil && !bytes.Equal(s.parts.Sum(nil), s.trailer.Checksum.Sum) {
		return fmt.Errorf("%w: the composite %s", errChecksum, s.trailer.Checksum.Algorithm)
	}
	return nil
}

// errChecksum: every frame is authentic, and yet the plaintext is not what its writer declared.
var errChecksum = errors.New("the plaintext does not have the checksum that the object was stored with")
