package checksum

import "encoding/binary"

// polynomials has the CRCs' generators in reflected form, and their widths in bits. A CRC of a whole follows from those of
// its parts; hashes have no such way.
var polynomials = map[Algorithm]struct {
	poly  uint64
	width int
}{
	CRC32:     {0xedb88320, 32},
	CRC32C:    {0x82f63b78, 32},
	CRC64NVME: {0x9a6c9329ac4bc9b5, 64},
}

// CanCombine reports whether the algorithm is a CRC, which Combine works with.
func (a Algorithm) CanCombine() bool {
	_, ok := polynomials[a]
	return ok
}

// Combine returns the checksum of two pieces of data joined, from the checksum of each and the length in bytes of the
// second. It appends n zero bytes to the first by repeated squaring of a matrix over GF(2), as zlib's crc32_combine does;
// initial value and final xor cancel out. It panics if the algorithm is not a CRC.
func Combine(a Algorithm, first, second []byte, n int64) []byte {
	p := polynomials[a]
	if p.width == 0 {
		panic("checksum: " + a.String() + " does not combine")
	}
	crc := toUint(first)
	if n > 0 {
		crc = shift(crc, n, p.poly, p.width)
	}
	return fromUint(crc^toUint(second), p.width)
}

// matrix maps CRC registers; its columns are the images of the single bits.
type matrix []uint64

func (m matrix) times(v uint64) (sum uint64) {
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			sum ^= m[i]
		}
	}
	return sum
}

func (m matrix) square() matrix {
	s := make(matrix, len(m))
	for i := range m {
		s[i] = m.times(m[i])
	}
	return s
}

// shift returns the register after n zero bytes.
func shift(crc uint64, n int64, poly uint64, width int) uint64 {
	m := make(matrix, width) // of one zero bit
	m[0] = poly
	for i := 1; i < width; i++ {
		m[i] = 1 << (i - 1)
	}
	for range 3 { // of one zero byte
		m = m.square()
	}
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			crc = m.times(crc)
		}
		m = m.square()
	}
	return crc
}

func toUint(b []byte) uint64 {
	var padded [8]byte
	copy(padded[8-len(b):], b)
	return binary.BigEndian.Uint64(padded[:])
}

func fromUint(v uint64, width int) []byte {
	b := binary.BigEndian.AppendUint64(nil, v)
	return b[8-width/8:]
}
