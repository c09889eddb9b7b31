// Package checksum has S3's additional checksums: what the x-amz-checksum-*
// headers and trailers carry.
//
// A checksum is shown as the standard base64 of its sum, and sums that are
// numbers (the CRCs and the xxHash family, which S3 seeds with zero) are
// big-endian. See "Checking object integrity for data uploads in Amazon S3" in
// the Amazon S3 User Guide.
package checksum

import (
	"crypto/fips140"
	"crypto/md5"  //nolint:gosec // an S3 checksum, nothing rests on it
	"crypto/sha1" //nolint:gosec // an S3 checksum, nothing rests on it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"
)

// ErrEncoding is wrapped by the error for a checksum that is not the canonical
// standard base64 of as many bytes as its algorithm has.
var ErrEncoding = errors.New("not the base64 of a sum")

// Algorithm names a checksum function. The zero value is none.
//
// The numbers stand in stored objects and never change.
type Algorithm uint8

// The algorithms that S3 has.
const (
	CRC32     Algorithm = 1  // CRC-32/ISO-HDLC
	CRC32C    Algorithm = 2  // CRC-32/ISCSI
	CRC64NVME Algorithm = 3  // CRC-64/NVME
	SHA1      Algorithm = 4  // FIPS 180-4
	SHA256    Algorithm = 5  // FIPS 180-4
	SHA512    Algorithm = 6  // FIPS 180-4
	MD5       Algorithm = 7  // RFC 1321
	XXHASH64  Algorithm = 8  // XXH64, seed 0
	XXHASH3   Algorithm = 9  // XXH3, 64 bits, seed 0
	XXHASH128 Algorithm = 10 // XXH3, 128 bits, seed 0
)

const headerPrefix = "x-amz-checksum-"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// algorithms is indexed by Algorithm.
var algorithms = [...]struct {
	name string
	size int
	new  func() hash.Hash
}{
	CRC32:     {"CRC32", crc32.Size, func() hash.Hash { return crc32.NewIEEE() }},
	CRC32C:    {"CRC32C", crc32.Size, func() hash.Hash { return crc32.New(castagnoli) }},
	CRC64NVME: {"CRC64NVME", crc64nvme.Size, func() hash.Hash { return crc64nvme.New() }},
	SHA1:      {"SHA1", sha1.Size, func() hash.Hash { return unapproved(sha1.New) }},
	SHA256:    {"SHA256", sha256.Size, sha256.New},
	SHA512:    {"SHA512", sha512.Size, sha512.New},
	MD5:       {"MD5", md5.Size, func() hash.Hash { return unapproved(md5.New) }},
	XXHASH64:  {"XXHASH64", 8, func() hash.Hash { return xxhash.New() }},
	XXHASH3:   {"XXHASH3", 8, func() hash.Hash { return xxh3.New() }},
	XXHASH128: {"XXHASH128", 16, func() hash.Hash { return xxh3.New128() }},
}

// Valid reports whether a is one of the algorithms above.
func (a Algorithm) Valid() bool { return a > 0 && int(a) < len(algorithms) }

// String returns S3's name of the algorithm, such as "CRC32".
func (a Algorithm) String() string {
	if !a.Valid() {
		return fmt.Sprintf("Algorithm(%d)", uint8(a))
	}
	return algorithms[a].name
}

// Header returns the header that carries the checksum, in lower case, such as
// "x-amz-checksum-crc32".
func (a Algorithm) Header() string { return headerPrefix + strings.ToLower(a.String()) }

// Size returns the length of a sum in bytes. Like New it panics if a is not Valid.
func (a Algorithm) Size() int { return algorithms[a].size }

// New returns the hash function.
func (a Algorithm) New() hash.Hash { return algorithms[a].new() }

// ByName returns the algorithm with S3's name, in upper or lower case.
func ByName(name string) (Algorithm, bool) {
	for a := CRC32; a.Valid(); a++ {
		if strings.EqualFold(name, algorithms[a].name) {
			return a, true
		}
	}
	return 0, false
}

// ByHeader returns the algorithm whose checksum the header carries. It knows
// values only: x-amz-checksum-algorithm, -mode and -type carry none.
func ByHeader(name string) (Algorithm, bool) {
	if len(name) < len(headerPrefix) || !strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
		return 0, false
	}
	return ByName(name[len(headerPrefix):])
}

// Value is a sum and the function that made it. The zero value is none.
type Value struct {
	Algorithm Algorithm
	Sum       []byte
}

// Parse decodes a checksum as a header shows it. It accepts exactly what String
// returns; any other encoding or length is an ErrEncoding.
func Parse(a Algorithm, s string) (Value, error) {
	// Even strict decoding skips line breaks, so both lengths are checked.
	sum, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(sum) != a.Size() || len(s) != base64.StdEncoding.EncodedLen(a.Size()) {
		return Value{}, fmt.Errorf("parsing %s checksum: %w", a, ErrEncoding)
	}
	return Value{Algorithm: a, Sum: sum}, nil
}

// String returns the sum in base64, as headers show it.
func (v Value) String() string { return base64.StdEncoding.EncodeToString(v.Sum) }

// unapproved returns a hash function that also works where FIPS 140-3 is
// enforced (GODEBUG=fips140=only) and such functions panic. That is right for a
// checksum: it finds faults of transmission and is no security function.
func unapproved(fn func() hash.Hash) (h hash.Hash) {
	if !fips140.Enforced() {
		return fn()
	}
	fips140.WithoutEnforcement(func() { h = fn() })
	return unenforced{h}
}

type unenforced struct{ hash.Hash }

func (u unenforced) Write(p []byte) (n int, err error) {
	fips140.WithoutEnforcement(func() { n, err = u.Hash.Write(p) })
	return n, err
}

func (u unenforced) Sum(b []byte) (sum []byte) {
	fips140.WithoutEnforcement(func() { sum = u.Hash.Sum(b) })
	return sum
}
