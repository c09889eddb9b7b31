package envelope

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// Offsets in an envelope of newForge.
const (
	modeAt       = 1
	flagsAt      = 2
	lengthAt     = 3
	commitmentAt = 11
	keyIDAt      = 44
	contextAt    = keyIDAt + len("default")
	wrappedKeyAt = contextAt + 2
	wrappedDEKAt = wrappedKeyAt + 2 + 64
)

// set returns a recipe that has an envelope with another byte in its head, wrapped as such.
func set(at int, value byte) func(*forge) {
	return func(f *forge) {
		f.single(0)
		f.head(func(head []byte) []byte { head[at] = value; return head })
	}
}

// field returns a recipe for an envelope that Wrap would refuse.
func field(change func(e *Envelope)) func(*forge) {
	return func(f *forge) {
		f.single(0)
		change(f.e)
		f.head(slices.Clone)
	}
}

// context returns a recipe for an envelope with these bytes as its encryption context.
func context(raw ...byte) func(*forge) {
	return func(f *forge) {
		f.e.Mode = ModeKMS
		f.single(0)
		f.head(func(head []byte) []byte {
			return slices.Replace(head, contextAt, contextAt+2, appendPrefixed(nil, raw)...)
		})
	}
}

// pairs encodes an encryption context in the order given.
func pairs(texts ...string) (raw []byte) {
	for _, s := range texts {
		raw = appendPrefixed(raw, []byte(s))
	}
	return raw
}

// cut returns a recipe for an envelope of its first n bytes.
func cut(n int) func(*forge) {
	return func(f *forge) { f.single(0); f.raw(func(b []byte) []byte { return b[:n] }) }
}

// text returns a recipe for an envelope whose base64 is altered. It has a byte more than a multiple of three.
func text(edit func(s string) string) func(*forge) {
	return func(f *forge) {
		f.e.KeyID += "1"
		f.single(0)
		good := f.envelope
		if f.envelope = edit(good); f.envelope == good || len(good)%4 != 2 {
			f.Error("not altered")
		}
	}
}

func envelopeVectors() []recipe {
	recipes := []recipe{
		{"envelope-no-text", "an empty value", func(f *forge) { f.single(0); f.envelope = "" }},
		{"envelope-version-0", "version 0", set(0, 0)},
		{"envelope-version-2", "version 2", set(0, 2)},
		{"envelope-mode-0", "mode 0", set(modeAt, 0)},
		{"envelope-mode-4", "mode 4", set(modeAt, 4)},
		{"envelope-padding", "base64 with padding", text(func(s string) string { return s + "==" })},
		{"envelope-trailing-bits", "base64 whose unused bits are not zero", text(func(s string) string {
			alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			return s[:len(s)-1] + string(alphabet[strings.IndexByte(alphabet, s[len(s)-1])+1])
		})},
		{"envelope-standard-alphabet", "base64 with + and /", text(strings.NewReplacer("-", "+", "_", "/").Replace)},
		{"envelope-white-space", "a space in the middle", text(func(s string) string { return s[:100] + " " + s[100:] })},
		{"envelope-cut-in-head", "it ends in the commitment", cut(commitmentAt + 10)},
		{"envelope-cut-in-key-id", "it ends in the key id", cut(keyIDAt + 1)},
		{"envelope-cut-in-context", "it ends in the length of the context", cut(contextAt + 1)},
		{"envelope-cut-in-wrapped-key", "it ends in the wrapped wrapping key", cut(wrappedDEKAt - 1)},
		{"envelope-cut-in-wrapped-dek", "a wrapped DEK too short for a DEK", cut(wrappedDEKAt + minWrappedDEK - 1)},
		{"envelope-long-wrapped-dek", "a wrapped DEK too long for any checksum", func(f *forge) {
			f.single(0)
			f.secret(append([]byte{byte(checksum.SHA512)}, random(65)...)...)
		}},
		{"envelope-1025-bytes", "a byte too long", func(f *forge) {
			f.e.Mode = ModeKMS
			f.single(0)
			f.e.Context = map[string]string{"a": strings.Repeat("x", 840)}
			f.head(slices.Clone)
		}},
		{"envelope-multipart-length", "multipart, but with a plaintext length", func(f *forge) {
			f.multipart(part(1, 10))
			f.e.Length = 10
			f.head(slices.Clone)
		}},
		{"envelope-length", "a plaintext length that no object has", set(lengthAt, 0x80)},
		{"envelope-key-id-empty", "no key id", field(func(e *Envelope) { e.KeyID = "" })},
		{"envelope-key-id-space", "a space in the key id", set(keyIDAt, 0x20)},
		{"envelope-key-id-delete", "a delete character in the key id", set(keyIDAt, 0x7f)},
		{"envelope-key-id-not-ascii", "a byte beyond ASCII in the key id", set(keyIDAt, 0xe9)},
		{"envelope-context-unsorted", "names of the context descend", context(pairs("b", "1", "a", "2")...)},
		{"envelope-context-by-length", "names of the context are sorted by length first", context(pairs("b", "1", "aa", "2")...)},
		{"envelope-context-duplicate", "a name of the context stands twice", context(pairs("a", "1", "a", "2")...)},
		{"envelope-context-duplicate-empty", "the empty name stands twice", context(pairs("", "1", "", "2")...)},
		{"envelope-context-name-only", "a name without a value", context(pairs("a")...)},
		{"envelope-context-cut", "a value shorter than its length", context(append(pairs("a"), 0, 2, 'x')...)},
		{"envelope-context-left-over", "a byte behind the last pair", context(append(pairs("a", "1"), 0)...)},
		{"envelope-context-name-utf8", "a name that is not UTF-8", context(pairs("\xff", "1")...)},
		{"envelope-context-value-utf8", "a value that is not UTF-8: a surrogate", context(pairs("a", "\xed\xa0\x80")...)},
		{"envelope-wrapped-key-empty", "no wrapped wrapping key", field(func(e *Envelope) { e.WrappedKey = nil })},
		{"envelope-wrapped-key-513", "a wrapped wrapping key of 513 bytes", field(func(e *Envelope) { e.WrappedKey = random(513) })},
		{"envelope-mode-c-key-id", "mode C with a key id", func(f *forge) { f.customer(); field(func(e *Envelope) { e.KeyID = "k" })(f) }},
		{"envelope-mode-c-own-key", "mode C with the flag own key", func(f *forge) { f.customer(); field(func(e *Envelope) { e.OwnKey = true })(f) }},
		{"envelope-mode-c-context", "mode C with a context", func(f *forge) {
			f.customer()
			field(func(e *Envelope) { e.Context = map[string]string{"a": "1"} })(f)
		}},
		{"envelope-mode-c-salt", "mode C with 47 bytes of salt and check", func(f *forge) {
			f.customer()
			field(func(e *Envelope) { e.WrappedKey = e.WrappedKey[:47] })(f)
		}},
	}
	for bit := 2; bit < 8; bit++ {
		recipes = append(recipes, recipe{fmt.Sprintf("envelope-flag-%d", bit), fmt.Sprintf("reserved bit %d of the flags", bit), set(flagsAt, 1<<bit)})
	}
	return recipes
}

// flip returns a recipe that alters a byte of a good envelope.
func flip(at int, mask byte) func(*forge) {
	return func(f *forge) {
		f.single(0)
		f.raw(func(b []byte) []byte { b[at] ^= mask; return b })
	}
}

// wrong returns a recipe for a good object, of which the vector then says something else.
func wrong(change func(f *forge)) func(*forge) {
	return func(f *forge) { f.single(0); change(f) }
}

// customerFlip is flip in mode C.
func customerFlip(at int) func(*forge) {
	return func(f *forge) { f.customer(); flip(at, 1)(f) }
}

func unwrapVectors() []recipe {
	const customerAt = keyIDAt + 2 + 2 // of the salt; there is neither key id nor context
	return []recipe{
		{"unwrap-wrapping-key", "another wrapping key", wrong(func(f *forge) { f.wrappingKey = random(32) })},
		{"unwrap-bucket", "another bucket", wrong(func(f *forge) { f.bucket = "vectorz" })},
		{"unwrap-key", "another key", wrong(func(f *forge) { f.key = "objects" })},
		{"unwrap-no-key", "no key", wrong(func(f *forge) { f.key = "" })},
		{"unwrap-split", "bucket and key joined are the same, but split elsewhere", wrong(func(f *forge) { f.bucket, f.key = "vector", "sobject" })},
		{"unwrap-key-escaped", "the key as it stands in a URL", func(f *forge) { f.key = "a b"; f.single(0); f.key = "a%20b" }},

		{"unwrap-mode-flipped", "S3 became KMS", flip(modeAt, byte(ModeS3^ModeKMS))},
		{"unwrap-multipart-flipped", "a single object became multipart", flip(flagsAt, flagMultipart)},
		{"unwrap-own-key-flipped", "own key became set", flip(flagsAt, flagOwnKey)},
		{"unwrap-length-flipped", "another plaintext length", flip(lengthAt+7, 1)},
		{"unwrap-commitment-flipped", "another commitment", flip(commitmentAt, 1)},
		{"unwrap-key-id-flipped", "another key id", flip(keyIDAt, 1)},
		{"unwrap-context-flipped", "another value in the context", func(f *forge) {
			f.e.Mode, f.e.Context = ModeKMS, map[string]string{"a": "1"}
			flip(contextAt+2+2+1+2, 1)(f)
		}},
		{"unwrap-wrapped-key-flipped", "another wrapped wrapping key", flip(wrappedKeyAt+2, 1)},
		{"unwrap-nonce-flipped", "wrapped DEK: the nonce", flip(wrappedDEKAt, 1)},
		{"unwrap-dek-flipped", "wrapped DEK: the ciphertext", flip(wrappedDEKAt+nonceSize, 1)},
		{"unwrap-tag-flipped", "wrapped DEK: the tag", flip(wrappedDEKAt+minWrappedDEK-1, 1)},
		{"unwrap-cut", "a wrapped DEK with a checksum lost its last byte", func(f *forge) {
			f.sum = digest(checksum.CRC32, nil)
			f.single(0)
			f.raw(func(b []byte) []byte { return b[:len(b)-1] })
		}},

		{"unwrap-commitment", "well wrapped, but the commitment is to another DEK", func(f *forge) {
			f.single(0)
			f.head(func(head []byte) []byte { copy(head[commitmentAt:], NewDEK().commitment()); return head })
		}},
		{"unwrap-label", "wrapped under another label", func(f *forge) {
			f.single(0)
			ad := slices.Concat([]byte("sseproxy/2 dek"), f.e.head(), pairs(f.bucket, f.key))
			sealed := newAEAD(f.wrappingKey).Seal(nil, nil, append(f.dek.key[:], 0), ad)
			f.envelope = base64.RawURLEncoding.EncodeToString(append(f.e.head(), sealed...))
		}},
		{"unwrap-checksum-unknown", "well wrapped, but with a checksum of algorithm 11", func(f *forge) { f.single(0); f.secret(11, 1, 2, 3, 4) }},
		{"unwrap-checksum-short", "well wrapped, but with a CRC32 of 3 bytes", func(f *forge) { f.single(0); f.secret(byte(checksum.CRC32), 1, 2, 3) }},
		{"unwrap-checksum-long", "well wrapped, but with a CRC32 of 5 bytes", func(f *forge) { f.single(0); f.secret(byte(checksum.CRC32), 1, 2, 3, 4, 5) }},
		{"unwrap-checksum-missing", "well wrapped, but with an algorithm and no checksum", func(f *forge) { f.single(0); f.secret(byte(checksum.CRC32)) }},
		{"unwrap-checksum-of-none", "well wrapped, but with a checksum of no algorithm", func(f *forge) { f.single(0); f.secret(0, 0, 0, 0, 0) }},

		{"unwrap-customer-key", "another customer's key", func(f *forge) { f.customer(); f.single(0); f.customerKey = random(32) }},
		{"unwrap-salt-flipped", "mode C: the salt", customerFlip(customerAt)},
		{"unwrap-check-flipped", "mode C: the check value", customerFlip(customerAt + saltSize)},
		{"unwrap-check", "mode C: well wrapped, but with another check value", func(f *forge) {
			f.customer()
			f.single(0)
			f.head(func(head []byte) []byte { head[customerAt+saltSize] ^= 1; return head })
		}},
		{"unwrap-mode-c-dek-flipped", "mode C: the wrapped DEK", customerFlip(customerAt + customerSize + nonceSize)},
	}
}
