package envelope

import (
	"crypto/aes"
	"crypto/cipher"
)

// newLayers returns the cipher for a key of 32 bytes, or for two, one behind the other: then what AES-256-GCM under the first has
// made is encrypted once more under the second.
func newLayers(keys []byte) cipher.AEAD {
	first := newAEAD(keys[:32])
	if len(keys) == 32 {
		return first
	}
	block, err := aes.NewCipher(keys[32:])
	if err != nil {
		panic("envelope: internal error: " + err.Error())
	}
	return layers{first, block}
}

// layers encrypts twice: what the AEAD makes, nonce ‖ ciphertext ‖ tag, goes through AES-256-CTR but for its nonce. So it is no longer than with
// one layer, whatever names a nonce finds it, and every bit counts as before. The second layer is the outer one, since a FIPS module tells a
// nonce only with what it has sealed.
type layers struct {
	cipher.AEAD

	second cipher.Block
}

func (l layers) Seal(dst, nonce, plaintext, additional []byte) []byte {
	out := l.AEAD.Seal(dst, nonce, plaintext, additional)
	l.mask(out[len(dst):])
	return out
}

// Open overwrites sealed.
func (l layers) Open(dst, nonce, sealed, additional []byte) ([]byte, error) {
	if len(sealed) > nonceSize {
		l.mask(sealed)
	}
	return l.AEAD.Open(dst, nonce, sealed, additional)
}

// mask puts the second layer on, or takes it off. Its counter begins with the nonce of the first, behind which 32 bits are left to count
// blocks: the keys are independent, so that a nonce serves both.
func (l layers) mask(sealed []byte) {
	var counter [aes.BlockSize]byte
	copy(counter[:], sealed[:nonceSize])
	cipher.NewCTR(l.second, counter[:]).XORKeyStream(sealed[nonceSize:], sealed[nonceSize:])
}
