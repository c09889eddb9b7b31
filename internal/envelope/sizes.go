package envelope

const (
	// FrameSize is the plaintext length, in bytes, of every frame but a part's last.
	FrameSize = 64 << 10
	// FrameOverhead is what sealing adds to a frame: nonce and tag.
	FrameOverhead = nonceSize + tagSize
	// MinPartSize is S3's least size, in bytes, of a part that is not the last; a trailer reserves one row for each.
	MinPartSize = 5 << 20
	// MaxParts is the greatest part number, and number of parts, of a multipart upload.
	MaxParts = 10000
	// MaxSealedPart is the greatest sealed length, in bytes, that a store takes in one request (S3: 5 GiB).
	MaxSealedPart = 5 << 30
	// MaxTrailer bounds the length of a trailer: of 10000 irregular parts with SHA-512 checksums, and its padding.
	MaxTrailer = 1 << 20
	// TailSize is the length of the fixed end of every sealed object but the empty one.
	TailSize = 16

	nonceSize   = 12
	tagSize     = 16
	sealedFrame = FrameSize + FrameOverhead
	maxSize     = MaxParts * MaxSealedPart // no object is longer; keeps the arithmetic below far from overflow
)

// SealedSize returns C(p): the length of a single or regular object that holds p bytes of plaintext.
func SealedSize(p int64) int64 {
	if p == 0 {
		return 0
	}
	return SealedPartSize(p) + TrailerSize(p)
}

// SealedPartSize returns the length of the frames of one part of p bytes.
func SealedPartSize(p int64) int64 {
	return p + FrameOverhead*frameCount(p)
}

// PartPlaintextSize inverts SealedPartSize. It reports false for a length that no part has.
func PartPlaintextSize(sealed int64) (int64, bool) {
	if sealed < FrameOverhead || sealed > MaxSealedPart {
		return 0, false
	}
	p := least(sealed, func(p int64) bool { return SealedPartSize(p) >= sealed })
	return p, SealedPartSize(p) == sealed
}

// PlaintextSize inverts SealedSize. It reports false for a length that no single or regular object has.
func PlaintextSize(sealed int64) (int64, bool) {
	if sealed < 0 || sealed > SealedSize(maxSize) {
		return 0, false
	}
	p := least(sealed, func(p int64) bool { return SealedSize(p) >= sealed })
	return p, SealedSize(p) == sealed
}

// IsIrregularSize reports whether sealed is a length that irregular objects have, and no others: their
// plaintext length stands in their tail.
func IsIrregularSize(sealed int64) bool {
	p, ok := PlaintextSize(sealed - 1)
	return ok && p > 0 && p%FrameSize == 0
}

// irregularSize returns the length of an irregular object whose parts and unpadded trailer take need bytes.
func irregularSize(need int64) int64 {
	k := 1 + least(maxSize/FrameSize, func(i int64) bool { return SealedSize(FrameSize*(i+1))+1 >= need })
	return SealedSize(FrameSize*k) + 1
}

// frameCount returns how many frames a part of p bytes has: an empty part has one.
func frameCount(p int64) int64 {
	return max(1, ceilDiv(p, FrameSize))
}

// rowCount returns R(p), the rows that the trailer of a single or regular object of p bytes reserves.
func rowCount(p int64) int64 {
	return min(ceilDiv(p, MinPartSize), MaxParts)
}

// TrailerSize returns T(p), the length of the trailer of a single or regular object of p > 0 bytes.
func TrailerSize(p int64) int64 {
	return rowCount(p)*(rowSize+slotSize) + structureSize + FrameOverhead + recordSize + TailSize
}

// least returns the least x in 0 … n-1 for which reached holds, or n: sort.Search for lengths, which an int need not hold.
func least(n int64, reached func(x int64) bool) int64 {
	low := int64(0)
	for low < n {
		if mid := low + (n-low)/2; reached(mid) {
			n = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

func ceilDiv(a, b int64) int64 {
	return (a + b - 1) / b
}
