// Package envelope is format 1 of a sealed object: the frames of its body, its trailer, and the envelope in its
// metadata. Bytes in, bytes out: it knows nothing of HTTP, S3 or key services. docs/format.md is the normative text.
//
//	sealed object = part ‖ … ‖ part ‖ trailer
//	part          = frame 0 ‖ frame 1 ‖ … ‖ last frame
//	frame         = nonce(12) ‖ ciphertext(≤ 65536) ‖ tag(16)
//	trailer       = structure (clear, authenticated) ‖ box ‖ tail
//
// A 32-byte data key, the DEK, belongs to one object or one multipart upload; frames, trailer and commitment have keys
// of their own, derived from it. The envelope carries the DEK, wrapped and bound to bucket and key. In ModeDSSE there are two
// DEKs, and everything is encrypted under both.
//
// Sizes are pure functions (SealedSize, PlaintextSize). Sealing and opening are readers with constant memory; an opening
// reader never returns a byte of a frame before the frame is verified, and its errors are final.
package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// One sentinel for each layer that can refuse. Every error of this package wraps exactly one of them.
var (
	// ErrEnvelope: the metadata value is not an envelope of this format.
	ErrEnvelope = errors.New("malformed envelope")
	// ErrUnwrap: the envelope does not open with this wrapping key for this bucket and key.
	ErrUnwrap = errors.New("envelope does not open for this object")
	// ErrCustomerKey: the customer's key is not the one that the object was sealed with.
	ErrCustomerKey = errors.New("wrong customer key")
	// ErrTrailer: the trailer is malformed or was altered.
	ErrTrailer = errors.New("trailer failed its integrity check")
	// ErrFrame: a frame was altered, moved, or is missing.
	ErrFrame = errors.New("frame failed its integrity check")
	// ErrSize: the sealed object has a length that contradicts its envelope or trailer.
	ErrSize = errors.New("impossible length")
)

// Mode says whose key wraps the data key.
type Mode uint8

// Modes of server-side encryption, in AWS's terms.
const (
	ModeS3       Mode = 1 // SSE-S3: a key of the service
	ModeKMS      Mode = 2 // SSE-KMS: a key that the user names
	ModeCustomer Mode = 3 // SSE-C: a key that comes with the request
	ModeDSSE     Mode = 4 // DSSE-KMS: a key that the user names, and a second one of the operator's for a second layer
)

// String returns the name that docs/format.md has for the mode.
func (m Mode) String() string {
	switch m {
	case ModeS3:
		return "S3"
	case ModeKMS:
		return "KMS"
	case ModeCustomer:
		return "C"
	case ModeDSSE:
		return "DSSE"
	}
	return "unknown"
}

const (
	version1 = 1

	flagMultipart = 1 << 0
	flagOwnKey    = 1 << 1
	knownFlags    = flagMultipart | flagOwnKey

	maxEnvelope   = 1024
	maxWrappedKey = 512
	customerSize  = saltSize + checkSize
	minWrappedDEK = FrameOverhead + dekSize + 1
	maxWrappedDEK = minWrappedDEK + maxChecksum

	wrappedSecondSize = FrameOverhead + dekSize
)

// Envelope is what an object's reserved metadata header says about it. Its fields come from the store, so nothing in
// it may be trusted, or acted on beyond a look-up among configured keys, before Unwrap has succeeded.
type Envelope struct {
	Mode       Mode
	Multipart  bool
	OwnKey     bool              // the wrapping key was made for this object alone
	Length     int64             // plaintext bytes; 0 when Multipart
	KeyID      string            // of the key that wraps the wrapping key; empty in ModeCustomer
	Context    map[string]string // encryption context of the request; nil if there is none
	WrappedKey []byte            // the wrapping key as the provider wrapped it; salt and check in ModeCustomer

	SecondKeyID      string // of the key that wraps the second wrapping key; empty but in ModeDSSE
	SecondWrappedKey []byte // the second wrapping key as the provider wrapped it

	commitment    [commitmentSize]byte
	wrappedSecond []byte // the second DEK
	wrappedDEK    []byte
}

// Commitment returns the commitment to the data key, as a string: an identity of the key that is not secret.
func (e *Envelope) Commitment() string { return string(e.commitment[:]) }

// String encodes e as base64url without padding, for a metadata header.
func (e *Envelope) String() string {
	return base64.RawURLEncoding.EncodeToString(slices.Concat(e.head(), e.wrappedSecond, e.wrappedDEK))
}

// head returns every byte before the wrapped DEKs.
func (e *Envelope) head() []byte {
	var flags byte
	if e.Multipart {
		flags |= flagMultipart
	}
	if e.OwnKey {
		flags |= flagOwnKey
	}
	b := []byte{version1, byte(e.Mode), flags}
	b = binary.BigEndian.AppendUint64(b, uint64(e.Length)) //nolint:gosec // validate holds lengths in 0 … 2⁴⁶
	b = append(b, e.commitment[:]...)
	b = appendKeyID(b, e.KeyID)
	b = appendPrefixed(b, encodeContext(e.Context))
	b = appendPrefixed(b, e.WrappedKey)
	if e.Mode == ModeDSSE {
		b = appendPrefixed(appendKeyID(b, e.SecondKeyID), e.SecondWrappedKey)
	}
	return b
}

func appendKeyID(b []byte, id string) []byte {
	b = append(b, byte(len(id))) //nolint:gosec // validate holds key ids to 255 bytes
	return append(b, id...)
}

// Parse decodes a metadata value. What it accepts re-encodes to the same text.
func Parse(s string) (*Envelope, error) {
	if len(s) > base64.RawURLEncoding.EncodedLen(maxEnvelope) {
		return nil, fmt.Errorf("%w: %d characters are too many", ErrEnvelope, len(s))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != s {
		return nil, fmt.Errorf("%w: not canonical base64url", ErrEnvelope)
	}
	d := decoder{b: b}
	if v := d.byte(); !d.bad && v != version1 {
		return nil, fmt.Errorf("%w: version %d is not known; a newer sseproxy may have written it", ErrEnvelope, v)
	}
	e := &Envelope{Mode: Mode(d.byte())}
	flags := d.byte()
	e.Multipart, e.OwnKey = flags&flagMultipart != 0, flags&flagOwnKey != 0
	length := d.uint64()
	e.Length = int64(min(length, maxSize+1))
	copy(e.commitment[:], d.take(commitmentSize))
	e.KeyID = string(d.take(int(d.byte())))
	context := d.prefixed()
	e.WrappedKey = bytes.Clone(d.prefixed())
	if e.Mode == ModeDSSE {
		e.SecondKeyID = string(d.take(int(d.byte())))
		e.SecondWrappedKey = bytes.Clone(d.prefixed())
		e.wrappedSecond = bytes.Clone(d.take(wrappedSecondSize))
	}
	e.wrappedDEK = bytes.Clone(d.b)
	if d.bad || flags&^byte(knownFlags) != 0 {
		return nil, fmt.Errorf("%w: truncated, or with unknown flags", ErrEnvelope)
	}
	if e.Context, err = decodeContext(context); err != nil {
		return nil, err
	}
	return e, e.validate()
}

// validate checks what the encoding itself does not enforce.
func (e *Envelope) validate() error {
	switch {
	case e.Mode < ModeS3 || e.Mode > ModeDSSE:
		return fmt.Errorf("%w: mode %d is not known", ErrEnvelope, e.Mode)
	case e.Length < 0 || e.Length > maxSize || (e.Multipart && e.Length != 0):
		return fmt.Errorf("%w: plaintext length out of range", ErrEnvelope)
	case e.Mode == ModeCustomer && (e.KeyID != "" || len(e.Context) > 0 || e.OwnKey || len(e.WrappedKey) != customerSize):
		return fmt.Errorf("%w: fields do not fit a customer key", ErrEnvelope)
	case e.Mode != ModeCustomer && !validKeyID(e.KeyID):
		return fmt.Errorf("%w: key id is not 1 to 255 printable ASCII characters", ErrEnvelope)
	case !e.validSecond():
		return fmt.Errorf("%w: fields do not fit two layers", ErrEnvelope)
	case !validContext(e.Context):
		return fmt.Errorf("%w: encryption context is not UTF-8", ErrEnvelope)
	case len(e.WrappedKey) == 0 || len(e.WrappedKey) > maxWrappedKey:
		return fmt.Errorf("%w: wrapped key of %d bytes", ErrEnvelope, len(e.WrappedKey))
	case len(e.wrappedDEK) < minWrappedDEK || len(e.wrappedDEK) > maxWrappedDEK:
		return fmt.Errorf("%w: wrapped data key of %d bytes", ErrEnvelope, len(e.wrappedDEK))
	case len(e.head())+len(e.wrappedSecond)+len(e.wrappedDEK) > maxEnvelope:
		return fmt.Errorf("%w: over %d bytes; use a shorter encryption context", ErrEnvelope, maxEnvelope)
	}
	return nil
}

// validSecond checks the fields of the second layer. Two layers under one key would be one.
func (e *Envelope) validSecond() bool {
	if e.Mode != ModeDSSE {
		return e.SecondKeyID == "" && e.SecondWrappedKey == nil && e.wrappedSecond == nil
	}
	return e.OwnKey && validKeyID(e.SecondKeyID) && e.SecondKeyID != e.KeyID &&
		len(e.SecondWrappedKey) >= 1 && len(e.SecondWrappedKey) <= maxWrappedKey && len(e.wrappedSecond) == wrappedSecondSize
}

func validKeyID(id string) bool {
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7e {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 255
}

func validContext(pairs map[string]string) bool {
	for name, value := range pairs {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return false
		}
	}
	return true
}

// encodeContext writes the pairs in ascending order of their names.
func encodeContext(pairs map[string]string) []byte {
	names := make([]string, 0, len(pairs))
	for name := range pairs {
		names = append(names, name)
	}
	slices.Sort(names)
	var b []byte
	for _, name := range names {
		b = appendPrefixed(b, []byte(name))
		b = appendPrefixed(b, []byte(pairs[name]))
	}
	return b
}

func decodeContext(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	pairs := make(map[string]string)
	d := decoder{b: b}
	previous := ""
	for len(d.b) > 0 {
		name, value := string(d.prefixed()), string(d.prefixed())
		ascending := len(pairs) == 0 || name > previous
		if d.bad || !ascending {
			return nil, fmt.Errorf("%w: encryption context is not canonical", ErrEnvelope)
		}
		pairs[name], previous = value, name
	}
	return pairs, nil
}

// appendPrefixed appends lp16(x). Callers bound x far below 64 KiB.
func appendPrefixed(b, x []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(x))) //nolint:gosec // bounded by callers
	return append(b, x...)
}

// decoder takes fields off b; after the first that is not there, bad is set and everything is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	field := d.b[:n:n]
	d.b = d.b[n:]
	return field
}

func (d *decoder) byte() byte {
	if f := d.take(1); f != nil {
		return f[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if f := d.take(4); f != nil {
		return binary.BigEndian.Uint32(f)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if f := d.take(8); f != nil {
		return binary.BigEndian.Uint64(f)
	}
	return 0
}

func (d *decoder) prefixed() []byte {
	if f := d.take(2); f != nil {
		return d.take(int(binary.BigEndian.Uint16(f)))
	}
	return nil
}
