package envelope

import (
	"bytes"
	"crypto/cipher"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// Offsets in an envelope of newForge in ModeDSSE.
const (
	secondKeyIDAt      = wrappedDEKAt + 1 // where other modes have the wrapped DEK
	secondWrappedKeyAt = secondKeyIDAt + len("second")
	wrappedSecondAt    = secondWrappedKeyAt + 2 + 64
	dsseWrappedDEKAt   = wrappedSecondAt + wrappedSecondSize
)

// dsse returns a recipe in ModeDSSE.
func dsse(make func(*forge)) func(*forge) {
	return func(f *forge) { f.dsse(); make(f) }
}

// oneLayer returns the DEK without its second key.
func (f *forge) oneLayer() *DEK { return &DEK{key: f.dek.key} }

// otherSecond returns the DEK with another second key.
func (f *forge) otherSecond() *DEK { return &DEK{key: f.dek.key, second: NewDSSEKey().second} }

// committed returns a recipe for an envelope that commits to something else.
func committed(to func(f *forge) *DEK) func(*forge) {
	return dsse(func(f *forge) {
		f.single(10)
		f.head(func(head []byte) []byte { copy(head[commitmentAt:], to(f).commitment()); return head })
	})
}

// sealedBy returns a recipe for a single object of one byte whose frame another cipher has sealed.
func sealedBy(aead func(f *forge) cipher.AEAD) func(*forge) {
	return dsse(func(f *forge) { aSingle(f); f.frames = sealFrame(aead(f), 0, 1, Attempt{}, f.plain) })
}

func dsseVectors() []recipe {
	return slices.Concat(dsseOpenVectors(), dsseEnvelopeVectors(), dsseUnwrapVectors(), []recipe{
		{"trailer-dsse-one-layer", "mode DSSE: the box has the first layer alone", dsse(func(f *forge) {
			aSingle(f)
			layers := f.dek
			f.dek = f.oneLayer()
			f.end()
			f.dek = layers
		})},
		{"trailer-dsse-second", "mode DSSE: the box has another second layer", dsse(func(f *forge) {
			aSingle(f)
			key := f.dek.TrailerKey()
			f.trailer = must(append(key[:32:32], random(32)...).Seal(f.contents))(f.T)
		})},
		{"frames-dsse-one-layer", "mode DSSE: a frame with the first layer alone", sealedBy(func(f *forge) cipher.AEAD { return f.oneLayer().single() })},
		{"frames-dsse-second", "mode DSSE: a frame with another second layer", sealedBy(func(f *forge) cipher.AEAD { return f.otherSecond().single() })},
		{"frames-dsse-nonce", "mode DSSE: a bit of the nonce", dsse(damaged(aSingle, 0))},
		{"frames-dsse-ciphertext", "mode DSSE: a bit of the ciphertext", dsse(damaged(aSingle, nonceSize))},
		{"frames-dsse-tag", "mode DSSE: a bit of the tag", dsse(damaged(aSingle, -1))},
		{"frames-dsse-parts-swapped", "mode DSSE: parts of one length are swapped", dsse(func(f *forge) {
			f.multipart(unbound(1, 10), unbound(2, 10))
			half := len(f.frames) / 2
			f.frames = slices.Concat(f.frames[half:], f.frames[:half])
		})},
	})
}

func dsseOpenVectors() []recipe {
	return []recipe{
		{"open-dsse-empty", "mode DSSE: the empty object", dsse(func(f *forge) { f.single(0) })},
		{"open-dsse", "mode DSSE: a checksum in the trailer and in the wrapped DEK", dsse(func(f *forge) {
			f.declared = checksum.SHA256
			f.sum = digest(f.declared, pattern(10))
			f.single(10)
		})},
		{"open-dsse-2-frames", "mode DSSE: the second layer begins anew in each frame", dsse(func(f *forge) { f.single(FrameSize + 1) })},
		{"open-dsse-context", "mode DSSE: a context", dsse(func(f *forge) { f.e.Context = map[string]string{"a": "1"}; f.single(10) })},
		{"open-dsse-longest-envelope", "mode DSSE: an envelope of 1024 bytes", dsse(func(f *forge) {
			f.e.Context = map[string]string{"a": strings.Repeat("x", 706)}
			f.single(10)
		})},
		{"open-dsse-parts", "mode DSSE: parts of any sizes, one of them empty, with checksums", dsse(func(f *forge) {
			f.composite(checksum.SHA256, part(2, 10), part(3, 0), part(5, 200))
		})},
	}
}

func dsseEnvelopeVectors() []recipe {
	cut := func(n int) func(*forge) { return dsse(cut(n)) }
	field := func(change func(e *Envelope)) func(*forge) { return dsse(field(change)) }
	return []recipe{
		{"envelope-dsse-bucket-key", "mode DSSE without the flag own key", field(func(e *Envelope) { e.OwnKey = false })},
		{"envelope-dsse-one-key", "mode DSSE: both key ids are one", field(func(e *Envelope) { e.SecondKeyID = e.KeyID })},
		{"envelope-dsse-no-second-key-id", "mode DSSE without a second key id", field(func(e *Envelope) { e.SecondKeyID = "" })},
		{"envelope-dsse-second-key-id-space", "mode DSSE: a space in the second key id", field(func(e *Envelope) { e.SecondKeyID = "a b" })},
		{"envelope-dsse-second-wrapped-key-empty", "mode DSSE without a second wrapped wrapping key", field(func(e *Envelope) { e.SecondWrappedKey = nil })},
		{"envelope-dsse-second-wrapped-key-513", "mode DSSE: a second wrapped wrapping key of 513 bytes", field(func(e *Envelope) { e.SecondWrappedKey = random(513) })},
		{"envelope-dsse-cut-in-second-key-id", "mode DSSE: it ends in the second key id", cut(secondKeyIDAt + 1)},
		{"envelope-dsse-cut-in-second-wrapped-key", "mode DSSE: it ends in the second wrapped wrapping key", cut(wrappedSecondAt - 1)},
		{"envelope-dsse-cut-in-wrapped-second", "mode DSSE: it ends in the second wrapped DEK", cut(dsseWrappedDEKAt - 1)},
		{"envelope-dsse-cut-in-wrapped-dek", "mode DSSE: a wrapped DEK too short for a DEK", cut(dsseWrappedDEKAt + minWrappedDEK - 1)},
	}
}

func dsseUnwrapVectors() []recipe {
	flip := func(at int) func(*forge) { return dsse(flip(at, 1)) }
	wrong := func(change func(f *forge)) func(*forge) { return dsse(wrong(change)) }
	return []recipe{
		{"unwrap-dsse-first-wrapping-key", "mode DSSE: another first wrapping key", wrong(func(f *forge) { copy(f.wrappingKey, random(32)) })},
		{"unwrap-dsse-second-wrapping-key", "mode DSSE: another second wrapping key", wrong(func(f *forge) { copy(f.wrappingKey[32:], random(32)) })},
		{"unwrap-dsse-wrapping-keys-swapped", "mode DSSE: the wrapping keys are swapped", wrong(func(f *forge) {
			f.wrappingKey = slices.Concat(f.wrappingKey[32:], f.wrappingKey[:32])
		})},
		{"unwrap-dsse-one-wrapping-key", "mode DSSE: both wrapping keys are one", dsse(func(f *forge) {
			f.single(10)
			copy(f.wrappingKey[32:], f.wrappingKey)
			f.head(slices.Clone)
		})},
		{"unwrap-dsse-bucket", "mode DSSE: another bucket", wrong(func(f *forge) { f.bucket = "vectorz" })},
		{"unwrap-dsse-second-key-id-flipped", "mode DSSE: another second key id", flip(secondKeyIDAt)},
		{"unwrap-dsse-second-wrapped-key-flipped", "mode DSSE: another second wrapped wrapping key", flip(secondWrappedKeyAt + 2)},
		{"unwrap-dsse-second-nonce-flipped", "mode DSSE, second wrapped DEK: the nonce", flip(wrappedSecondAt)},
		{"unwrap-dsse-second-dek-flipped", "mode DSSE, second wrapped DEK: the ciphertext", flip(wrappedSecondAt + nonceSize)},
		{"unwrap-dsse-second-tag-flipped", "mode DSSE, second wrapped DEK: the tag", flip(dsseWrappedDEKAt - 1)},
		{"unwrap-dsse-nonce-flipped", "mode DSSE, wrapped DEK: the nonce", flip(dsseWrappedDEKAt)},
		{"unwrap-dsse-dek-flipped", "mode DSSE, wrapped DEK: the ciphertext", flip(dsseWrappedDEKAt + nonceSize)},
		{"unwrap-dsse-tag-flipped", "mode DSSE, wrapped DEK: the tag", flip(dsseWrappedDEKAt + minWrappedDEK - 1)},
		{"unwrap-dsse-second-of-another", "mode DSSE: the second wrapped DEK is another object's, under the same key", dsse(func(f *forge) {
			f.key = "another"
			f.single(0)
			other := bytes.Clone(f.e.wrappedSecond)
			f.key = "object"
			f.single(0)
			f.raw(func(b []byte) []byte { copy(b[wrappedSecondAt:], other); return b })
		})},
		{"unwrap-dsse-dek-one-layer", "mode DSSE: the wrapped DEK has the first layer alone", dsse(func(f *forge) {
			f.single(0)
			f.raw(func(b []byte) []byte {
				secret := append(f.dek.key[:len(f.dek.key):len(f.dek.key)], 0)
				return append(b[:dsseWrappedDEKAt], newAEAD(f.wrappingKey[:32]).Seal(nil, nil, secret, f.e.binding("dek", f.bucket, f.key))...)
			})
		})},
		{"unwrap-dsse-commitment", "mode DSSE: well wrapped, but the commitment is to another second DEK", committed(func(f *forge) *DEK { return f.otherSecond() })},
		{"unwrap-dsse-commitment-to-first", "mode DSSE: well wrapped, but the commitment is to the first DEK alone", committed(func(f *forge) *DEK { return f.oneLayer() })},
	}
}
