package envelope

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

const (
	structureSize = 56 // without rows
	rowSize       = nonceSize + 4
	placeSize     = 4 + 8 // number and length of an irregular object's part
	recordSize    = 112   // without slots
	slotSize      = 32
	wideSlotSize  = 64 // where a part's checksum does not fit 32 bytes

	kindSingle    = 1
	kindRegular   = 2
	kindIrregular = 3

	rowBound    = 1 << 0
	rowSlotUsed = 1 << 1

	recordHasCRC = 1 << 0

	tailMagic = "SSE1"
)

// ChecksumType says what an object's checksum is over, in S3's terms.
type ChecksumType uint8

// The checksum is over the whole object, or over the parts' checksums.
const (
	FullObject ChecksumType = 1
	Composite  ChecksumType = 2
)

// Attempt is the nonce of a part's frame 0, the identity of one upload of that part.
type Attempt [nonceSize]byte

// Part is one part of an object, as the trailer describes it.
type Part struct {
	Number   int
	Size     int64 // plaintext bytes
	Bound    bool  // Attempt is the only one that may be opened
	Attempt  Attempt
	Checksum []byte // of this part, under the object's algorithm; nil if there is none
}

// Trailer is what stands behind an object's frames.
type Trailer struct {
	Single       bool // made by PutObject; else by a multipart upload
	Parts        []Part
	Token        [32]byte // completion token; zero when Single
	UploadIDHash [32]byte // SHA-256; zero when Single
	HasCRC       bool
	CRC          uint64         // CRC-64/NVME of the plaintext
	Checksum     checksum.Value // as the client declared it; zero if it did not
	Type         ChecksumType   // 0 exactly when Checksum is zero
}

// Size returns the object's plaintext length in bytes.
func (t *Trailer) Size() int64 {
	var n int64
	for _, p := range t.Parts {
		n += p.Size
	}
	return n
}

// framesSize returns the length of all parts' frames.
func (t *Trailer) framesSize() int64 {
	var n int64
	for _, p := range t.Parts {
		n += SealedPartSize(p.Size)
	}
	return n
}

// layout is what the parts of an object and the width of its checksum slots decide about its trailer.
type layout struct {
	kind     byte
	slot     int   // bytes of a checksum slot
	rows     int   // rows, and checksum slots
	partSize int64 // as the structure gives it
	size     int64 // of the whole trailer
}

func (t *Trailer) layout(slot int) layout {
	p := t.Size()
	l := layout{kind: kindSingle, slot: slot, rows: int(rowCount(p)), partSize: p, size: TrailerSize(p)}
	switch {
	case t.Single:
		return l
	case slot == slotSize && regular(t.Parts):
		l.kind, l.partSize = kindRegular, t.Parts[0].Size
		return l
	}
	l.kind, l.rows, l.partSize = kindIrregular, len(t.Parts), 0
	unpadded := structureSize + l.rows*(rowSize+placeSize) + l.boxSize() + TailSize
	frames := t.framesSize()
	l.size = irregularSize(frames+int64(unpadded)) - frames
	return l
}

func (l layout) boxSize() int { return FrameOverhead + recordSize + l.rows*l.slot }

// slot returns the width of checksum slot that the parts need.
func (t *Trailer) slot() int {
	for _, p := range t.Parts {
		if len(p.Checksum) > slotSize {
			return wideSlotSize
		}
	}
	return slotSize
}

// regular reports whether a multipart object's frames lie on one linear grid and its parts need no more rows than
// every object of that size reserves.
func regular(parts []Part) bool {
	first, last := parts[0].Size, parts[len(parts)-1].Size
	if last == 0 || last > first {
		return false
	}
	for i, p := range parts {
		if p.Number != i+1 || (i < len(parts)-1 && p.Size != first) {
			return false
		}
	}
	return len(parts) == 1 || (first%FrameSize == 0 && first >= MinPartSize)
}

// SealTrailer returns the trailer's bytes. The empty single object has none.
func (d *DEK) SealTrailer(t *Trailer) ([]byte, error) { return d.TrailerKey().Seal(t) }

// Seal returns the trailer's bytes, as SealTrailer does.
func (k TrailerKey) Seal(t *Trailer) ([]byte, error) {
	if err := t.validate(); err != nil {
		return nil, err
	}
	l := t.layout(t.slot())
	b := make([]byte, l.size-int64(l.boxSize()+TailSize), l.size)
	b[0], b[1] = l.kind, byte(l.slot)                       //nolint:gosec // 32 or 64
	binary.BigEndian.PutUint32(b[4:], uint32(len(t.Parts))) //nolint:gosec // at most MaxParts
	binary.BigEndian.PutUint64(b[8:], uint64(t.Size()))     //nolint:gosec // not negative
	binary.BigEndian.PutUint64(b[16:], uint64(l.partSize))  //nolint:gosec // not negative
	copy(b[24:], t.Token[:])
	for i, p := range t.Parts {
		row := b[structureSize+i*rowSize:]
		copy(row, p.Attempt[:])
		binary.BigEndian.PutUint32(row[nonceSize:], p.rowFlags())
		if l.kind == kindIrregular {
			place := b[structureSize+l.rows*rowSize+i*placeSize:]
			binary.BigEndian.PutUint32(place, uint32(p.Number))   //nolint:gosec // at most MaxParts
			binary.BigEndian.PutUint64(place[4:], uint64(p.Size)) //nolint:gosec // not negative
		}
	}
	tail := make([]byte, 0, TailSize)
	tail = binary.BigEndian.AppendUint64(tail, uint64(t.Size())) //nolint:gosec // not negative
	tail = binary.BigEndian.AppendUint32(tail, uint32(l.size))   //nolint:gosec // under 2 MiB
	tail = append(tail, tailMagic...)

	b = k.aead().Seal(b, nil, t.record(l), append(bytes.Clone(b), tail...))
	return append(b, tail...), nil
}

func (p *Part) rowFlags() (flags uint32) {
	if p.Bound {
		flags |= rowBound
	}
	if p.Checksum != nil {
		flags |= rowSlotUsed
	}
	return flags
}

// record returns the box's plaintext.
func (t *Trailer) record(l layout) []byte {
	r := make([]byte, recordSize+l.rows*l.slot)
	copy(r, t.UploadIDHash[:])
	if t.HasCRC {
		r[32] = recordHasCRC
	}
	r[33], r[34] = byte(t.Checksum.Algorithm), byte(t.Type)
	binary.BigEndian.PutUint64(r[40:], t.CRC)
	copy(r[48:], t.Checksum.Sum)
	for i, p := range t.Parts {
		copy(r[recordSize+i*l.slot:], p.Checksum)
	}
	return r
}

// validate refuses a trailer that the format cannot express; writers and readers share it.
func (t *Trailer) validate() error {
	if n := len(t.Parts); n < 1 || n > MaxParts {
		return fmt.Errorf("%w: %d parts", ErrTrailer, n)
	}
	if t.Single && (!t.HasCRC || t.Type == Composite || t.UploadIDHash != [32]byte{}) {
		return fmt.Errorf("%w: fields do not fit a single object", ErrTrailer)
	}
	if !t.HasCRC && t.CRC != 0 {
		return fmt.Errorf("%w: CRC set but not valid", ErrTrailer)
	}
	if !fits(t.Checksum.Algorithm, len(t.Checksum.Sum)) || t.Type > Composite || (t.Type == 0) != (t.Checksum.Algorithm == 0) {
		return fmt.Errorf("%w: checksum of unknown form", ErrTrailer)
	}
	for _, p := range t.Parts {
		if p.Checksum != nil && (t.Checksum.Algorithm == 0 || !fits(t.Checksum.Algorithm, len(p.Checksum))) {
			return fmt.Errorf("%w: checksum of part %d is of unknown form", ErrTrailer, p.Number)
		}
	}
	return t.validateParts()
}

// validateParts is the half of validate that needs no key.
func (t *Trailer) validateParts() error {
	if t.Single && (len(t.Parts) > 1 || t.Parts[0].Number != 1 || t.Parts[0].Size == 0 || t.Parts[0].rowFlags() != 0 || t.Token != [32]byte{}) {
		return fmt.Errorf("%w: parts do not fit a single object", ErrTrailer)
	}
	previous := 0
	for _, p := range t.Parts {
		switch {
		case p.Number <= previous || p.Number > MaxParts:
			return fmt.Errorf("%w: part numbers are not ascending in 1 to %d", ErrTrailer, MaxParts)
		case p.Size < 0 || SealedPartSize(p.Size) > MaxSealedPart:
			return fmt.Errorf("%w: part %d has an impossible size", ErrTrailer, p.Number)
		case !p.Bound && p.Attempt != Attempt{}:
			return fmt.Errorf("%w: part %d names an attempt but is not bound", ErrTrailer, p.Number)
		}
		previous = p.Number
	}
	return nil
}

// ParseTail reads an object's last TailSize bytes: its plaintext length and the length of its trailer. They are the
// store's word until OpenTrailer has verified the trailer.
func ParseTail(b []byte) (size int64, trailer int64, err error) {
	if len(b) != TailSize || string(b[12:]) != tailMagic {
		return 0, 0, fmt.Errorf("%w: no tail at the end", ErrTrailer)
	}
	p := binary.BigEndian.Uint64(b)
	if p > maxSize {
		return 0, 0, fmt.Errorf("%w: plaintext length out of range", ErrTrailer)
	}
	return int64(p), int64(binary.BigEndian.Uint32(b[8:])), nil
}

// ParseStructure reads the clear part of a trailer without a key. Nothing of it is verified: it is for looking, and for
// OpenTrailer. Part checksums that stand in the box are empty, non-nil slices.
func ParseStructure(b []byte) (*Trailer, error) {
	t, _, err := parseStructure(b)
	return t, err
}

// OpenTrailer verifies and decodes a trailer; b is exactly its bytes.
func (d *DEK) OpenTrailer(b []byte) (*Trailer, error) {
	t, l, err := parseStructure(b)
	if err != nil {
		return nil, err
	}
	tail := len(b) - TailSize
	box := tail - l.boxSize()
	record, err := d.trailer().Open(nil, nil, bytes.Clone(b[box:tail]), append(bytes.Clone(b[:box]), b[tail:]...))
	if err != nil {
		return nil, ErrTrailer
	}
	t.readRecord(record, l)
	if err := t.validate(); err != nil {
		return nil, err
	}
	// Whatever was decoded must encode to the same bytes: no field has two forms.
	if t.slot() != l.slot || !bytes.Equal(t.record(l), record) {
		return nil, fmt.Errorf("%w: record is not canonical", ErrTrailer)
	}
	return t, nil
}

func (t *Trailer) readRecord(r []byte, l layout) {
	copy(t.UploadIDHash[:], r)
	t.HasCRC = r[32] == recordHasCRC
	t.Type = ChecksumType(r[34])
	t.CRC = binary.BigEndian.Uint64(r[40:])
	algorithm := checksum.Algorithm(r[33])
	if algorithm == 0 {
		return
	}
	size := 0 // of an unknown algorithm: validate refuses it
	if algorithm.Valid() {
		size = algorithm.Size()
	}
	t.Checksum = checksum.Value{Algorithm: algorithm, Sum: r[48 : 48+size : 48+size]}
	size = min(size, l.slot)
	for i := range t.Parts {
		if t.Parts[i].Checksum != nil {
			slot := r[recordSize+i*l.slot:]
			t.Parts[i].Checksum = slot[:size:size]
		}
	}
}

// parseStructure checks everything that needs no key: fields in range, reserved bytes zero, and a layout that is the
// one its parts call for.
func parseStructure(b []byte) (*Trailer, layout, error) {
	malformed := func(what string) (*Trailer, layout, error) {
		return nil, layout{}, fmt.Errorf("%w: %s", ErrTrailer, what)
	}
	if len(b) < structureSize+TailSize {
		return malformed("too short")
	}
	size, length, err := ParseTail(b[len(b)-TailSize:])
	if err != nil {
		return nil, layout{}, err
	}
	d := decoder{b: b}
	kind, slot, reserved := d.byte(), int(d.byte()), d.take(2)
	n, p, partSize := int(d.uint32()), int64(min(d.uint64(), maxSize+1)), int64(min(d.uint64(), maxSize+1))
	if length != int64(len(b)) || size != p || n < 1 || n > MaxParts || n*rowSize > len(b) || !zero(reserved) || (slot != slotSize && slot != wideSlotSize) {
		return malformed("structure and tail do not agree, or a field is out of range")
	}
	t := &Trailer{Single: kind == kindSingle, Parts: make([]Part, n)}
	copy(t.Token[:], d.take(len(t.Token)))
	rows := n
	if kind != kindIrregular {
		rows = max(n, int(rowCount(p)))
		t.placeEvenly(p, partSize)
	}
	if !t.readRows(&d, rows) {
		return malformed("a row is not canonical")
	}
	if kind == kindIrregular {
		t.readPlaces(&d)
	}
	if d.bad {
		return malformed("truncated")
	}
	if err := t.validateParts(); err != nil {
		return nil, layout{}, err
	}
	l := t.layout(slot)
	if l.kind != kind || l.rows != rows || l.partSize != partSize || l.size != length || t.Size() != p || (kind != kindIrregular && slot != slotSize) {
		return malformed("structure does not fit its parts")
	}
	if padding := d.take(len(d.b) - l.boxSize() - TailSize); d.bad || !zero(padding) {
		return malformed("padding is not zero")
	}
	return t, l, nil
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// placeEvenly fills in numbers and sizes of a single or regular object's parts.
func (t *Trailer) placeEvenly(size, partSize int64) {
	for i := range t.Parts {
		t.Parts[i] = Part{Number: i + 1, Size: min(partSize, size)}
		size -= t.Parts[i].Size
	}
}

// readRows reads the parts' rows; those beyond the last part must be zero.
func (t *Trailer) readRows(d *decoder, rows int) bool {
	for i := range rows {
		nonce, flags := d.take(nonceSize), d.uint32()
		if i >= len(t.Parts) {
			if flags != 0 || !zero(nonce) {
				return false
			}
			continue
		}
		p := &t.Parts[i]
		copy(p.Attempt[:], nonce)
		p.Bound = flags&rowBound != 0
		if flags&rowSlotUsed != 0 {
			p.Checksum = []byte{}
		}
		if p.rowFlags() != flags {
			return false
		}
	}
	return !d.bad
}

// readPlaces reads an irregular object's part numbers and sizes.
func (t *Trailer) readPlaces(d *decoder) {
	for i := range t.Parts {
		t.Parts[i].Number = int(d.uint32())
		t.Parts[i].Size = int64(min(d.uint64(), maxSize))
	}
}
