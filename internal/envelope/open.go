package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/minio/crc64nvme"
)

// Object opens the sealed bytes of one object whose layout is verified: from the envelope of a single object, or from
// the trailer of a multipart one. It is safe for concurrent use.
type Object struct {
	dek    *DEK
	single bool
	parts  []Part
	plain  []int64 // plaintext offset at which each part starts; one more entry than parts
	sealed []int64 // the same of its frames
}

// Single returns an object of length plaintext bytes that one PutObject made.
func (d *DEK) Single(length int64) *Object {
	o := &Object{dek: d, single: true}
	if length > 0 {
		o.parts = []Part{{Number: 1, Size: length}}
	}
	return o.index()
}

// Multipart returns an object with the given parts, from an opened trailer.
func (d *DEK) Multipart(parts []Part) *Object {
	return (&Object{dek: d, parts: parts}).index()
}

func (o *Object) index() *Object {
	o.plain = make([]int64, len(o.parts)+1)
	o.sealed = make([]int64, len(o.parts)+1)
	for i, p := range o.parts {
		o.plain[i+1] = o.plain[i] + p.Size
		o.sealed[i+1] = o.sealed[i] + SealedPartSize(p.Size)
	}
	return o
}

// Size returns the plaintext length in bytes.
func (o *Object) Size() int64 { return o.plain[len(o.parts)] }

// FramesSize returns the length of all frames: where the trailer starts.
func (o *Object) FramesSize() int64 { return o.sealed[len(o.parts)] }

// Span returns where the frames that a reader of the plaintext [off, off+n) opens stand in the sealed object; 0 ≤ off,
// n > 0 or all of an empty object, off+n ≤ Size.
func (o *Object) Span(off, n int64) (start, length int64) {
	if len(o.parts) == 0 {
		return 0, 0
	}
	first, last := o.frames(off, n)
	return first.sealedAt, last.sealedAt + last.sealedLen - first.sealedAt
}

// frames returns the first and the last frame of a range. One that begins at the object's start, or reaches its end, has
// the frames of the empty parts there, too.
func (o *Object) frames(off, n int64) (first, last place) {
	end := len(o.parts) - 1
	last = o.frame(end, frameCount(o.parts[end].Size)-1)
	if off+n < o.Size() {
		last = o.locate(off + n - 1)
	}
	if off == 0 {
		return o.frame(0, 0), last
	}
	return o.locate(off), last
}

// Unbound returns the sealed offset of the 12 bytes that name the attempt, when a reader of [off, …) starts inside a
// part that is not bound to one; else false.
func (o *Object) Unbound(off int64) (at int64, ok bool) {
	f := o.locate(off)
	return o.sealed[f.part], !o.single && f.index > 0 && !o.parts[f.part].Bound
}

// place is one frame's position.
type place struct {
	part      int   // index in parts
	index     int64 // of the frame in its part
	last      bool  // of its part
	sealedAt  int64
	sealedLen int64
	plainAt   int64 // plaintext offset of the frame's first byte
}

// locate returns the frame that holds the plaintext byte at off.
func (o *Object) locate(off int64) place {
	part := sort.Search(len(o.parts), func(i int) bool { return o.plain[i+1] > off })
	return o.frame(part, (off-o.plain[part])/FrameSize)
}

func (o *Object) frame(part int, index int64) place {
	size := o.parts[part].Size
	rest := size - index*FrameSize
	return place{
		part: part, index: index, last: index == frameCount(size)-1,
		sealedAt: o.sealed[part] + index*sealedFrame, sealedLen: min(rest, FrameSize) + FrameOverhead,
		plainAt: o.plain[part] + index*FrameSize,
	}
}

// Reader yields verified plaintext. It never returns a byte of a frame whose tag has not been verified, and no
// byte at all after a failure. It is not safe for concurrent use.
type Reader struct {
	o       *Object
	src     io.Reader
	next    place // the next frame to open
	last    place // and the last one
	done    bool  // it is opened
	frames  frames
	given   Attempt // for an unbound part that the range starts within
	skip    int64   // plaintext bytes of the next frame that are before the range
	left    int64   // plaintext bytes of the range still to come
	whole   bool
	crc     uint64
	buf     *buffers
	pending []byte // plaintext not yet read
	err     error
	trailer *Trailer
}

// NewReader opens the plaintext [off, off+n) from src, which yields the bytes of Span(off, n). attempt is what stands
// at Unbound(off), where that asks for it.
func (o *Object) NewReader(src io.Reader, off, n int64, attempt Attempt) *Reader {
	r := &Reader{o: o, src: src, left: n, given: attempt}
	r.buf = bufferPool.Get().(*buffers) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	if len(o.parts) == 0 {
		r.end(io.EOF)
		return r
	}
	r.next, r.last = o.frames(off, n)
	r.skip = off - r.next.plainAt
	if r.next.index > 0 {
		r.enter(r.next)
	}
	return r
}

// NewWholeReader opens all of a single object from src, which yields the whole sealed object. It verifies the trailer,
// the plaintext's CRC and that src ends there, before it releases the last frame.
func (o *Object) NewWholeReader(src io.Reader) *Reader {
	r := o.NewReader(src, 0, o.Size(), Attempt{})
	r.whole = true
	if o.Size() == 0 {
		r.err = r.sourceEnd()
	}
	return r
}

// Trailer returns the trailer that NewWholeReader's reader has verified; nil until its last frame is, and of an empty
// object.
func (r *Reader) Trailer() *Trailer { return r.trailer }

// enter prepares for the frames of at's part, from at on.
func (r *Reader) enter(at place) {
	r.frames = frames{index: uint64(at.index)} //nolint:gosec // not negative
	if r.o.single {
		r.frames.aead = r.o.dek.single()
		return
	}
	part := r.o.parts[at.part]
	r.frames.aead, r.frames.multipart = r.o.dek.part(part.Number), true
	r.frames.attempt = part.Attempt
	if !part.Bound {
		r.frames.attempt = r.given
	}
}

// Prime opens the first frames, so that a failure in them shows before anything is read. Of an object of up to 128 KiB
// that is all.
func (r *Reader) Prime() error {
	if len(r.pending) == 0 && r.err == nil {
		r.fill()
	}
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return r.err
	}
	return nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.pending) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.pending)
	r.pending = r.pending[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: it saves io.Copy a buffer and a copy.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(r.pending) > 0 {
			n, err := w.Write(r.pending)
			total += int64(n)
			r.pending = r.pending[n:]
			if err != nil {
				return total, err
			}
		}
		if errors.Is(r.err, io.EOF) {
			return total, nil
		}
		if r.err != nil {
			return total, r.err
		}
		r.fill()
	}
}

// fill opens the next batch. It is called with nothing pending and no error.
func (r *Reader) fill() {
	if r.done {
		r.end(io.EOF)
		return
	}
	out, err := r.openBatch()
	if err == nil && r.done && r.whole {
		err = r.finish()
	}
	if err != nil {
		r.end(err)
		return
	}
	r.pending = out
}

// openBatch reads and opens up to batchFrames frames.
func (r *Reader) openBatch() ([]byte, error) {
	out := r.buf.plain[:0]
	var batch [batchFrames]place
	count, length := 0, int64(0)
	for ; count < batchFrames && !r.done; count++ {
		batch[count] = r.next
		length += r.next.sealedLen
		r.advance()
	}
	sealed := r.buf.sealed[:length]
	if _, err := io.ReadFull(r.src, sealed); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: truncated", ErrFrame)
		}
		return nil, err
	}
	for _, at := range batch[:count] {
		var err error
		if out, err = r.openFrame(out, sealed[:at.sealedLen], at); err != nil {
			return nil, err
		}
		sealed = sealed[at.sealedLen:]
	}
	if r.whole {
		r.crc = crc64nvme.Update(r.crc, out)
	}
	out = out[r.skip:]
	out = out[:min(int64(len(out)), r.left)]
	r.skip = 0
	r.left -= int64(len(out))
	return out, nil
}

// advance moves next to the frame behind it. Empty parts have a frame, too, and it must open.
func (r *Reader) advance() {
	switch {
	case r.next == r.last:
		r.done = true
	case !r.next.last:
		r.next = r.o.frame(r.next.part, r.next.index+1)
	default:
		r.next = r.o.frame(r.next.part+1, 0)
	}
}

func (r *Reader) openFrame(out, sealed []byte, at place) ([]byte, error) {
	part := r.o.parts[at.part]
	if at.index == 0 {
		r.enter(at)
		if part.Bound && !bytes.Equal(sealed[:nonceSize], part.Attempt[:]) {
			return nil, fmt.Errorf("%w: part %d is another attempt", ErrFrame, part.Number)
		}
	}
	out, err := r.frames.open(out, sealed, at.last)
	if err != nil {
		return nil, fmt.Errorf("%w: frame %d of part %d", ErrFrame, at.index, part.Number)
	}
	return out, nil
}

// finish verifies what stands behind the frames of a single object.
func (r *Reader) finish() error {
	b := make([]byte, TrailerSize(r.o.Size()))
	if _, err := io.ReadFull(r.src, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: truncated", ErrTrailer)
		}
		return err
	}
	t, err := r.o.dek.OpenTrailer(b)
	if err != nil {
		return err
	}
	if !t.Single || t.Size() != r.o.Size() || t.CRC != r.crc {
		return fmt.Errorf("%w: it describes another plaintext", ErrTrailer)
	}
	if err := r.sourceEnd(); !errors.Is(err, io.EOF) {
		return err
	}
	r.trailer = t
	return nil
}

// sourceEnd reads what must be the end of the source.
func (r *Reader) sourceEnd() error {
	n, err := io.ReadFull(r.src, make([]byte, 1))
	if n > 0 {
		return fmt.Errorf("%w: bytes behind the end", ErrSize)
	}
	return err
}

// end makes err final and gives the buffers back.
func (r *Reader) end(err error) {
	if r.err == nil {
		r.err, r.pending = err, nil
		bufferPool.Put(r.buf)
		r.buf = nil
	}
}

// OpenMultipart opens the trailer of a multipart object and checks that the object is as long as its parts and trailer make it.
func (d *DEK) OpenMultipart(trailer []byte, sealed int64) (*Trailer, *Object, error) {
	t, err := d.OpenTrailer(trailer)
	if err != nil {
		return nil, nil, err
	}
	if t.Single {
		return nil, nil, fmt.Errorf("%w: of a single object", ErrTrailer)
	}
	o := d.Multipart(t.Parts)
	if o.FramesSize()+int64(len(trailer)) != sealed {
		return nil, nil, fmt.Errorf("%w: %d bytes are stored", ErrSize, sealed)
	}
	return t, o, nil
}
