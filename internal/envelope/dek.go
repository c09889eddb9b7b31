package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

const (
	dekSize        = 32
	commitmentSize = 32
	saltSize       = 32
	checkSize      = 16
	maxChecksum    = 64
)

// DEK is the data key of one object or one multipart upload. In ModeDSSE it is two keys, independent of each other.
type DEK struct {
	key    [dekSize]byte
	second *[dekSize]byte // of the second layer; nil but in ModeDSSE
}

// NewDEK makes a random data key for an object in a mode with one layer.
func NewDEK() *DEK {
	d := new(DEK)
	rand.Read(d.key[:])
	return d
}

// NewDSSEKey makes a random data key for an object in ModeDSSE.
func NewDSSEKey() *DEK {
	d := NewDEK()
	d.second = new([dekSize]byte)
	rand.Read(d.second[:])
	return d
}

func (d *DEK) single() cipher.AEAD  { return d.aead("single") }
func (d *DEK) trailer() cipher.AEAD { return d.TrailerKey().aead() }

func (d *DEK) part(number int) cipher.AEAD {
	return d.aead(string(binary.BigEndian.AppendUint32([]byte("part"), uint32(number)))) //nolint:gosec // 1 … 10000
}

// aead returns the cipher for one purpose.
func (d *DEK) aead(purpose string) cipher.AEAD { return newLayers(d.keys(purpose)) }

// keys derives the key for one purpose; in ModeDSSE it has that of the second layer behind it.
func (d *DEK) keys(purpose string) []byte {
	k := derive(d.key[:], "sseproxy/1 "+purpose)
	if d.second != nil {
		k = append(k, derive(d.second[:], "sseproxy/1 second "+purpose)...)
	}
	return k
}

// commitment commits to every key that the DEK has.
func (d *DEK) commitment() []byte {
	if d.second != nil {
		return derive(slices.Concat(d.key[:], d.second[:]), "sseproxy/1 second commitment")
	}
	return derive(d.key[:], "sseproxy/1 commitment")
}

// TrailerKey seals an object's trailer, and opens nothing else of it.
type TrailerKey []byte

// TrailerKey returns the key of the object's trailer.
func (d *DEK) TrailerKey() TrailerKey { return d.keys("trailer") }

func (k TrailerKey) aead() cipher.AEAD { return newLayers(k) }

// derive is HKDF-Expand (RFC 5869) with SHA-256: DEKs are uniform, so there is nothing to extract.
func derive(key []byte, info string) []byte {
	k, err := hkdf.Expand(sha256.New, key, info, 32)
	if err != nil {
		panic("envelope: internal error: " + err.Error())
	}
	return k
}

// newAEAD returns AES-256-GCM that makes its own random nonces, the one form of GCM that is approved under FIPS
// 140-3 for any caller (SP 800-38D section 8.2.2).
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return aead
		}
	}
	panic("envelope: internal error: " + err.Error())
}

// Wrap puts dek into e, bound to bucket and key and to every other field of e. sum is the FULL_OBJECT checksum that is
// known before the body, or zero. The caller's fields of e must be final. In ModeDSSE wrappingKey is two keys, the second one behind
// the first.
func (e *Envelope) Wrap(wrappingKey []byte, dek *DEK, sum checksum.Value, bucket, key string) error {
	if err := e.checkWrap(wrappingKey, bucket, key); err != nil {
		return err
	}
	if (e.Mode == ModeDSSE) != (dek.second != nil) {
		return fmt.Errorf("%w: the data key is not one of mode %s", ErrEnvelope, e.Mode)
	}
	if !fits(sum.Algorithm, len(sum.Sum)) {
		return fmt.Errorf("%w: checksum of unknown form", ErrEnvelope)
	}
	copy(e.commitment[:], dek.commitment())
	if dek.second != nil {
		e.wrappedSecond = newAEAD(wrappingKey[dekSize:]).Seal(nil, nil, dek.second[:], e.binding("second dek", bucket, key))
	}
	secret := append(dek.key[:len(dek.key):len(dek.key)], byte(sum.Algorithm))
	secret = append(secret, sum.Sum...)
	e.wrappedDEK = dek.wrapper(wrappingKey).Seal(nil, nil, secret, e.binding("dek", bucket, key))
	return e.validate()
}

// Unwrap returns the data key and the checksum that Wrap was given. It fails with ErrUnwrap when any field of e, the
// bucket, the key or the wrapping key is not what it was.
func (e *Envelope) Unwrap(wrappingKey []byte, bucket, key string) (*DEK, checksum.Value, error) {
	if err := e.checkWrap(wrappingKey, bucket, key); err != nil {
		return nil, checksum.Value{}, err
	}
	dek := new(DEK)
	if e.Mode == ModeDSSE {
		second, err := newAEAD(wrappingKey[dekSize:]).Open(nil, nil, e.wrappedSecond, e.binding("second dek", bucket, key))
		if err != nil {
			return nil, checksum.Value{}, fmt.Errorf("%w: its second data key", ErrUnwrap)
		}
		dek.second = (*[dekSize]byte)(second)
	}
	secret, err := dek.wrapper(wrappingKey).Open(nil, nil, bytes.Clone(e.wrappedDEK), e.binding("dek", bucket, key))
	if err != nil {
		return nil, checksum.Value{}, ErrUnwrap
	}
	copy(dek.key[:], secret)
	if subtle.ConstantTimeCompare(dek.commitment(), e.commitment[:]) != 1 {
		return nil, checksum.Value{}, fmt.Errorf("%w: key commitment differs", ErrUnwrap)
	}
	algorithm, sum := checksum.Algorithm(secret[dekSize]), secret[dekSize+1:]
	if !fits(algorithm, len(sum)) {
		return nil, checksum.Value{}, fmt.Errorf("%w: checksum of unknown form", ErrUnwrap)
	}
	if algorithm == 0 {
		return dek, checksum.Value{}, nil
	}
	return dek, checksum.Value{Algorithm: algorithm, Sum: sum}, nil
}

// wrapper returns the cipher that wraps the first key, and the checksum beside it: under the second one, too, where there is one,
// for the checksum tells of the plaintext.
func (d *DEK) wrapper(wrappingKey []byte) cipher.AEAD {
	if d.second == nil {
		return newAEAD(wrappingKey)
	}
	return newLayers(append(wrappingKey[:dekSize:dekSize], derive(d.second[:], "sseproxy/1 second wrap")...))
}

// checkWrap refuses what would silently change the meaning of a wrap: AES-128, one key for two layers, or names that overflow their
// prefix.
func (e *Envelope) checkWrap(wrappingKey []byte, bucket, key string) error {
	size := 32
	if e.Mode == ModeDSSE {
		size = 64
	}
	switch {
	case len(wrappingKey) != size || len(bucket) > math.MaxUint16 || len(key) > math.MaxUint16:
		return fmt.Errorf("%w: a wrapping key has 32 bytes for each layer, names at most %d", ErrUnwrap, math.MaxUint16)
	case e.Mode == ModeDSSE && bytes.Equal(wrappingKey[:dekSize], wrappingKey[dekSize:]):
		return fmt.Errorf("%w: the wrapping keys of both layers are one", ErrUnwrap)
	}
	return nil
}

// binding returns the additional data of a DEK's wrapping.
func (e *Envelope) binding(label, bucket, key string) []byte {
	ad := append([]byte("sseproxy/1 "+label), e.head()...)
	ad = appendPrefixed(ad, []byte(bucket))
	return appendPrefixed(ad, []byte(key))
}

// fits reports whether n is the length of a checksum of the algorithm; none has length 0.
func fits(a checksum.Algorithm, n int) bool {
	if a == 0 {
		return n == 0
	}
	return a.Valid() && a.Size() == n
}

// NewCustomerKey derives the wrapping key of a new object from the customer's 256-bit key (SSE-C), and returns it with
// the envelope's WrappedKey: a random salt and a check value.
func NewCustomerKey(customerKey []byte) (wrappingKey, wrappedKey []byte, err error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	wrappingKey, check, err := customerKeys(customerKey, salt)
	return wrappingKey, append(salt, check...), err
}

// CustomerKey derives the wrapping key again from an envelope's WrappedKey. It fails with ErrCustomerKey when
// customerKey is not the one that NewCustomerKey had.
func CustomerKey(customerKey, wrappedKey []byte) ([]byte, error) {
	if len(wrappedKey) != customerSize {
		return nil, fmt.Errorf("%w: not a customer key's salt", ErrEnvelope)
	}
	wrappingKey, check, err := customerKeys(customerKey, wrappedKey[:saltSize])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check, wrappedKey[saltSize:]) != 1 {
		return nil, ErrCustomerKey
	}
	return wrappingKey, nil
}

func customerKeys(customerKey, salt []byte) (wrappingKey, check []byte, err error) {
	if len(customerKey) != 32 {
		return nil, nil, errors.New("a customer key has 32 bytes")
	}
	k, err := hkdf.Key(sha256.New, customerKey, salt, "sseproxy/1 customer key", 32+checkSize)
	if err != nil {
		return nil, nil, fmt.Errorf("deriving from the customer key: %w", err)
	}
	return k[:32], k[32:], nil
}
