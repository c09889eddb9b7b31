package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// partTag is the ETag of an uploaded part as a client sees it: the store's own, and behind a dash, in hexadecimal, what
// CompleteMultipartUpload must know of the attempt: nonce of frame 0 (12), CRC-64/NVME (8), algorithm of the declared
// checksum (1) and its first bytes (8). So the client itself carries to any replica which attempt it means.
//
// A client that takes its ETags from ListParts has a bare tag, the store's alone.
type partTag struct {
	native    string
	bare      bool
	attempt   envelope.Attempt
	crc       uint64
	algorithm checksum.Algorithm // 0: the client declared none
	digest    [8]byte            // first bytes of the declared checksum; of a CRC all
}

const partTagSize = 12 + 8 + 1 + 8

func (t partTag) String() string {
	b := append([]byte(nil), t.attempt[:]...)
	b = binary.BigEndian.AppendUint64(b, t.crc)
	b = append(b, byte(t.algorithm))
	return t.native + "-" + hex.EncodeToString(append(b, t.digest[:]...))
}

// newPartTag describes an attempt whose checksum is sum; zero if none was declared.
func newPartTag(native string, attempt envelope.Attempt, crc uint64, sum checksum.Value) partTag {
	t := partTag{native: native, attempt: attempt, crc: crc, algorithm: sum.Algorithm}
	copy(t.digest[:], sum.Sum)
	return t
}

// parsePartTag reads an ETag from a CompleteMultipartUpload, without its quotes.
func parsePartTag(s string) partTag {
	native, suffix, ok := cutLast(s, "-")
	b, err := hex.DecodeString(suffix)
	if !ok || err != nil || len(b) != partTagSize || suffix != strings.ToLower(suffix) {
		return partTag{native: storeETag(s), bare: true}
	}
	t := partTag{native: native, crc: binary.BigEndian.Uint64(b[12:]), algorithm: checksum.Algorithm(b[20])}
	copy(t.attempt[:], b)
	copy(t.digest[:], b[21:])
	return t
}

// matches reports whether sum is the checksum that the part was sent with, as far as the tag can tell.
func (t partTag) matches(sum checksum.Value) bool {
	return newPartTag(t.native, t.attempt, t.crc, sum) == t
}

// decodeAttempt reads an attempt in hexadecimal.
func decodeAttempt(a *envelope.Attempt, s string) bool {
	n, err := hex.Decode(a[:], []byte(s[:min(len(s), 2*len(a))]))
	return err == nil && n == len(a) && len(s) == 2*len(a)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
