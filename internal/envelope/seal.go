package envelope

import (
	"errors"
	"fmt"
	"io"

	"github.com/minio/crc64nvme"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// Sealer reads plaintext and yields the sealed bytes of one object, or of one part. It holds back the last frame until
// the source has returned io.EOF, so a source that verifies its content at the end (a signature, a checksum) decides
// whether the sealed stream is ever complete. Errors are final. It is not safe for concurrent use.
type Sealer struct {
	src      io.Reader
	empty    bool  // a single object without a byte: no frame, no trailer
	left     int64 // plaintext bytes still to come; negative when the last are sealed
	frames   frames
	crc      uint64
	trailer  func(crc uint64) ([]byte, error) // nil for a part
	buf      *buffers
	pending  []byte // sealed bytes not yet read
	trailing []byte // the trailer, when the last frame is sealed
	err      error
}

// NewSealer seals a single object of length bytes. sum is called once, when src has returned io.EOF: it returns the
// checksum that the client declared, or zero. The sealed length is SealedSize(length).
func (d *DEK) NewSealer(src io.Reader, length int64, sum func() checksum.Value) *Sealer {
	s := &Sealer{src: src, left: length, frames: frames{aead: d.single()}}
	s.trailer = func(crc uint64) ([]byte, error) {
		t := &Trailer{Single: true, Parts: []Part{{Number: 1, Size: length}}, HasCRC: true, CRC: crc}
		if t.Checksum = sum(); t.Checksum.Algorithm != 0 {
			t.Type = FullObject
		}
		return d.SealTrailer(t)
	}
	s.empty = length == 0
	return s.start()
}

// NewPartSealer seals one attempt of a part of length bytes. The sealed length is SealedPartSize(length).
func (d *DEK) NewPartSealer(src io.Reader, number int, length int64) *Sealer {
	s := &Sealer{src: src, left: length, frames: frames{aead: d.part(number), multipart: true}}
	return s.start()
}

func (s *Sealer) start() *Sealer {
	s.buf = bufferPool.Get().(*buffers) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	return s
}

// Prime seals the first frames, so that Attempt is known before Read.
func (s *Sealer) Prime() error {
	if len(s.pending) > 0 || s.err != nil || s.left < 0 {
		return s.Err()
	}
	out, err := s.fill(s.buf.sealed[:0])
	if err != nil {
		s.end(err)
		return s.Err()
	}
	s.pending = out
	return nil
}

// Attempt returns the nonce of frame 0 of a part; valid when the first byte has been read.
func (s *Sealer) Attempt() Attempt { return s.frames.attempt }

// CRC returns the CRC-64/NVME of the plaintext; valid after io.EOF.
func (s *Sealer) CRC() uint64 { return s.crc }

// Err returns the error that ended the stream, nil before the end and after io.EOF.
func (s *Sealer) Err() error {
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}

// Read implements io.Reader. A p that holds a sealed frame is sealed into directly.
func (s *Sealer) Read(p []byte) (int, error) {
	for len(s.pending) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		dst := s.buf.sealed[:0]
		if len(p) >= sealedFrame {
			dst = p[:0:len(p)]
		}
		out, err := s.fill(dst)
		if err != nil {
			s.end(err)
			continue
		}
		if len(p) >= sealedFrame {
			s.settle()
			return len(out), nil
		}
		s.pending = out
	}
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	s.settle()
	return n, nil
}

// settle moves on when nothing is pending: to the trailer, and from it to the end.
func (s *Sealer) settle() {
	if len(s.pending) == 0 {
		s.pending, s.trailing = s.trailing, nil
	}
	if len(s.pending) == 0 && s.left < 0 {
		s.end(io.EOF)
	}
}

// fill seals as many frames as dst has room for, and a batch at most.
func (s *Sealer) fill(dst []byte) ([]byte, error) {
	if s.empty {
		return nil, s.sourceEnd()
	}
	batch := s.buf.plain[:min(s.left, FrameSize*min(batchFrames, int64(cap(dst)/sealedFrame)))]
	if n, err := io.ReadFull(s.src, batch); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("sealing: the source ended %d bytes early: %w", s.left-int64(n), io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	s.left -= int64(len(batch))
	s.crc = crc64nvme.Update(s.crc, batch)
	last := s.left == 0
	if last {
		if err := s.sourceEnd(); !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	for more := true; more; more = len(batch) > 0 {
		frame := batch[:min(len(batch), FrameSize)]
		batch = batch[len(frame):]
		dst = s.frames.seal(dst, frame, last && len(batch) == 0)
	}
	if last {
		s.left = -1
		if s.trailer != nil {
			var err error
			if s.trailing, err = s.trailer(s.crc); err != nil {
				return nil, err
			}
		}
	}
	return dst, nil
}

// sourceEnd reads what must be the end of the source: io.EOF, or the error that it ends with. An end that is wrapped in
// another error is no end.
func (s *Sealer) sourceEnd() error {
	var one [1]byte
	for range 100 {
		switch n, err := s.src.Read(one[:]); {
		case n > 0:
			return errors.New("sealing: the source is longer than announced")
		case err == io.EOF:
			return io.EOF
		case errors.Is(err, io.EOF):
			return fmt.Errorf("sealing: the source failed at its end: %w: %s", io.ErrUnexpectedEOF, err.Error())
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// end makes err final and gives the buffers back.
func (s *Sealer) end(err error) {
	if s.err == nil {
		s.err, s.pending = err, nil
		bufferPool.Put(s.buf)
		s.buf = nil
	}
}
