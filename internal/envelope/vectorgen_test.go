package envelope

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"strconv"
	"testing"

	"github.com/minio/crc64nvme"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// forge makes the object of one vector. A recipe sets fields, has a good object made by the package's own writers (single,
// multipart), and then bends one thing. What it bends inside an AEAD is sealed again under the right key, so that
// nothing but the one thing is wrong.
type forge struct {
	*testing.T

	bucket, key string // of the vector; the envelope is bound to what they are when it is wrapped
	e           *Envelope
	wrappingKey []byte
	customerKey []byte // wrappingKey is derived from it; nil but in ModeCustomer
	dek         *DEK
	sum         checksum.Value     // in the wrapped DEK
	declared    checksum.Algorithm // of the object's checksum in the trailer
	slots       checksum.Algorithm // of the parts' checksums: declared, or none

	contents *Trailer // nil of the empty object
	plain    []byte
	envelope string
	omitted  int64 // bytes of frames that the vector leaves out
	frames   []byte
	trailer  []byte
}

func newForge(t *testing.T) *forge {
	return &forge{
		T: t, bucket: "vectors", key: "object", wrappingKey: random(32), dek: NewDEK(),
		e: &Envelope{Mode: ModeS3, KeyID: "default", WrappedKey: random(64)},
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// pattern returns the plaintext of all vectors: docs/format.md, "Vectors".
func pattern(n int64) []byte {
	b := make([]byte, n)
	for x := range b {
		b[x] = byte(x*x + x/251)
	}
	return b
}

func digest(a checksum.Algorithm, b []byte) checksum.Value {
	if a == 0 {
		return checksum.Value{}
	}
	h := a.New()
	h.Write(b)
	return checksum.Value{Algorithm: a, Sum: h.Sum(nil)}
}

// customer puts the envelope into ModeCustomer.
func (f *forge) customer() {
	f.Helper()
	f.customerKey = random(32)
	f.e.Mode, f.e.KeyID = ModeCustomer, ""
	var err error
	if f.wrappingKey, f.e.WrappedKey, err = NewCustomerKey(f.customerKey); err != nil {
		f.Fatal(err)
	}
}

// dsse puts the envelope into ModeDSSE.
func (f *forge) dsse() {
	f.e.Mode, f.e.OwnKey = ModeDSSE, true
	f.e.SecondKeyID, f.e.SecondWrappedKey = "second", random(64)
	f.wrappingKey = append(f.wrappingKey, random(32)...)
	f.dek = NewDSSEKey()
}

// single makes a single object of n bytes.
func (f *forge) single(n int64) {
	f.Helper()
	f.plain, f.e.Length = pattern(n), n
	sum := func() checksum.Value { return digest(f.declared, f.plain) }
	sealed := must(io.ReadAll(f.dek.NewSealer(bytes.NewReader(f.plain), n, sum)))(f.T)
	if n > 0 {
		at := SealedPartSize(n)
		f.frames, f.trailer = sealed[:at:at], sealed[at:]
		f.contents = must(f.dek.OpenTrailer(f.trailer))(f.T)
	}
	f.wrap()
}

func part(number int, size int64) Part    { return Part{Number: number, Size: size, Bound: true} }
func unbound(number int, size int64) Part { return Part{Number: number, Size: size} }

// multipart makes a multipart object. An unbound part among its parts leaves the CRC unknown, as it is in practice.
func (f *forge) multipart(parts ...Part) {
	f.Helper()
	f.e.Multipart = true
	f.contents = &Trailer{Parts: parts, HasCRC: true, Token: [32]byte(random(32)), UploadIDHash: [32]byte(random(32))}
	f.plain = pattern(f.contents.Size())
	var at int64
	for i := range parts {
		p := &parts[i]
		plain := f.plain[at : at+p.Size]
		at += p.Size
		sealer := f.dek.NewPartSealer(bytes.NewReader(plain), p.Number, p.Size)
		f.frames = append(f.frames, must(io.ReadAll(sealer))(f.T)...)
		if p.Checksum = digest(f.slots, plain).Sum; p.Bound {
			p.Attempt = sealer.Attempt()
		}
		f.contents.HasCRC = f.contents.HasCRC && p.Bound
	}
	if f.contents.HasCRC {
		f.contents.CRC = crc64nvme.Checksum(f.plain)
	}
	if f.contents.Checksum = digest(f.declared, f.plain); f.declared != 0 {
		f.contents.Type = FullObject
	}
	f.end()
	f.wrap()
}

// longestPart is the greatest plaintext length of a part: docs/format.md, "Limits".
const longestPart = 5_366_416_312

// unmade makes a multipart object without its frames, which would be too many.
func (f *forge) unmade(parts ...Part) {
	f.Helper()
	f.e.Multipart = true
	f.contents = &Trailer{Parts: parts}
	f.omitted = f.contents.framesSize()
	f.end()
	f.wrap()
}

// composite is multipart with a checksum of each part, and the object's over them.
func (f *forge) composite(a checksum.Algorithm, parts ...Part) {
	f.Helper()
	f.declared, f.slots = a, a
	f.multipart(parts...)
	var sums []byte
	for _, p := range parts {
		sums = append(sums, p.Checksum...)
	}
	f.contents.Checksum, f.contents.Type = digest(a, sums), Composite
	f.end()
}

// end seals the trailer of contents.
func (f *forge) end() {
	f.Helper()
	f.trailer = must(f.dek.SealTrailer(f.contents))(f.T)
}

// omit leaves the frames out of the vector.
func (f *forge) omit() { f.omitted, f.frames = int64(len(f.frames)), nil }

// wrap puts the DEK into the envelope.
func (f *forge) wrap() {
	f.Helper()
	if err := f.e.Wrap(f.wrappingKey, f.dek, f.sum, f.bucket, f.key); err != nil {
		f.Fatal(err)
	}
	f.envelope = f.e.String()
}

// rewrap wraps again after an edit of what precedes the wrapped DEK, and of what is in it: DEK ‖ algorithm ‖ checksum.
func (f *forge) rewrap(edit func(head, secret []byte) ([]byte, []byte)) {
	head, secret := edit(f.e.head(), slices.Concat(f.dek.key[:], []byte{byte(f.sum.Algorithm)}, f.sum.Sum))
	ad := func(label string) []byte {
		return slices.Concat([]byte("sseproxy/1 "+label), head, pairs(f.bucket, f.key))
	}
	raw := slices.Clone(head)
	if second := f.dek.second; second != nil {
		raw = append(raw, newAEAD(f.wrappingKey[32:]).Seal(nil, nil, second[:], ad("second dek"))...)
	}
	raw = append(raw, f.dek.wrapper(f.wrappingKey).Seal(nil, nil, secret, ad("dek"))...)
	f.envelope = base64.RawURLEncoding.EncodeToString(raw)
}

// head is rewrap with an edit of the head.
func (f *forge) head(edit func(head []byte) []byte) {
	f.rewrap(func(head, secret []byte) ([]byte, []byte) { return edit(head), secret })
}

// secret is rewrap with another checksum field in the wrapped DEK.
func (f *forge) secret(sum ...byte) {
	f.rewrap(func(head, secret []byte) ([]byte, []byte) { return head, append(secret[:dekSize:dekSize], sum...) })
}

// raw edits the envelope's bytes and does not wrap again.
func (f *forge) raw(edit func(b []byte) []byte) {
	f.Helper()
	b := must(base64.RawURLEncoding.DecodeString(f.envelope))(f.T)
	f.envelope = base64.RawURLEncoding.EncodeToString(edit(b))
}

// pieces are what a trailer is made of.
type pieces struct{ structure, record, tail []byte }

// reseal edits the trailer and seals its box again.
func (f *forge) reseal(edit func(p *pieces)) {
	f.Helper()
	tail := len(f.trailer) - TailSize
	box := tail - f.contents.layout(f.contents.slot()).boxSize()
	p := &pieces{structure: bytes.Clone(f.trailer[:box]), tail: bytes.Clone(f.trailer[tail:])}
	p.record = must(f.dek.trailer().Open(nil, nil, bytes.Clone(f.trailer[box:tail]), slices.Concat(p.structure, p.tail)))(f.T)
	edit(p)
	sealed := f.dek.trailer().Seal(nil, nil, p.record, slices.Concat(p.structure, p.tail))
	f.trailer = slices.Concat(p.structure, sealed, p.tail)
}

// irregular makes the trailer one of kind 3, with slots of the given width, whether or not the parts call for it.
func (f *forge) irregular(slot int) {
	f.Helper()
	f.reseal(func(p *pieces) {
		n := len(f.contents.Parts)
		s := p.structure[:structureSize+rowSize*n]
		s[0], s[1] = kindIrregular, byte(slot)
		clear(s[16:24])
		for _, part := range f.contents.Parts {
			s = binary.BigEndian.AppendUint32(s, uint32(part.Number))
			s = binary.BigEndian.AppendUint64(s, uint64(part.Size))
		}
		p.structure, p.record = s, f.contents.record(layout{rows: n, slot: slot})
		need := f.contents.framesSize() + p.size()
		p.pad(irregularSize(need) - need)
	})
}

func (p *pieces) size() int64 {
	return int64(len(p.structure) + FrameOverhead + len(p.record) + len(p.tail))
}

// pad adds n zero bytes to the structure; a negative n takes them away.
func (p *pieces) pad(n int64) {
	p.structure = append(p.structure, make([]byte, max(n, 0))...)
	p.structure = p.structure[:int64(len(p.structure))+min(n, 0)]
	binary.BigEndian.PutUint32(p.tail[8:], uint32(p.size()))
}

// sealFrame seals one frame with any additional data.
func sealFrame(aead cipher.AEAD, index uint64, last byte, attempt Attempt, plain []byte) []byte {
	ad := append(binary.BigEndian.AppendUint64(nil, index), last)
	return aead.Seal(nil, nil, plain, append(ad, attempt[:]...))
}

// vector returns the file's content, but for comment and expectation.
func (f *forge) vector() vector {
	header := map[string]string{"bucket": f.bucket, "key-hex": hex.EncodeToString([]byte(f.key)), "envelope": f.envelope}
	if f.customerKey != nil {
		header["customer-key"] = hex.EncodeToString(f.customerKey)
	} else {
		header["wrapping-key"] = hex.EncodeToString(f.wrappingKey)
	}
	if f.omitted > 0 {
		header["frames-omitted"] = strconv.FormatInt(f.omitted, 10)
	}
	return vector{header: header, body: slices.Concat(f.frames, f.trailer)}
}

// must turns a result with an error into one that fails the test: must(f())(t).
func must[A any](a A, err error) func(*testing.T) A {
	return func(t *testing.T) A {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}
