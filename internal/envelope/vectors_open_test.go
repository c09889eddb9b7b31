package envelope

import (
	"fmt"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

func openVectors() []recipe {
	return append(openChecksums(), []recipe{
		{"open-empty", "the empty object: no frame, no trailer", func(f *forge) { f.single(0) }},
		{"open-1-byte", "one byte", func(f *forge) { f.single(1) }},
		{"open-65535-bytes", "a frame that is not full", func(f *forge) { f.single(FrameSize - 1) }},
		{"open-65536-bytes", "a full frame, and no empty one behind it", func(f *forge) { f.single(FrameSize) }},
		{"open-65537-bytes", "a second frame of one byte", func(f *forge) { f.single(FrameSize + 1) }},
		{"open-3-frames", "a frame that is neither first nor last", func(f *forge) { f.single(2*FrameSize + 1) }},
		{"open-2-rows", "a single object of 5 MiB and a byte has a trailer with two rows", func(f *forge) { f.single(MinPartSize + 1); f.omit() }},

		{"open-wrapped-checksum", "a checksum known before the body: in the wrapped DEK too", func(f *forge) {
			f.declared = checksum.CRC32
			f.sum = digest(f.declared, pattern(10))
			f.single(10)
		}},
		{"open-wrapped-checksum-64", "the longest checksum in the wrapped DEK", func(f *forge) {
			f.declared = checksum.SHA512
			f.sum = digest(f.declared, pattern(10))
			f.single(10)
		}},
		{"open-mode-c", "a customer's key", func(f *forge) { f.customer(); f.single(10) }},
		{"open-mode-c-multipart", "a customer's key, multipart", func(f *forge) { f.customer(); f.multipart(part(1, 10)) }},
		{"open-mode-kms", "a KMS key with an encryption context; names ascend by bytes", func(f *forge) {
			f.e.Mode, f.e.KeyID = ModeKMS, "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
			f.e.Context = map[string]string{"b": "2", "B": "1", "grüße": "née", "bb": "3"}
			f.single(10)
		}},
		{"open-context-empty-strings", "a context whose one name and value are empty", func(f *forge) {
			f.e.Mode, f.e.Context = ModeKMS, map[string]string{"": ""}
			f.single(10)
		}},
		{"open-own-key", "a wrapping key made for this object alone", func(f *forge) { f.e.Mode, f.e.OwnKey = ModeKMS, true; f.single(10) }},
		{"open-shortest-envelope", "key id and wrapped wrapping key of one byte each", func(f *forge) {
			f.e.KeyID, f.e.WrappedKey = "k", random(1)
			f.single(10)
		}},
		{"open-longest-key-id", "a key id of 255 bytes, from the first character allowed to the last", func(f *forge) {
			f.e.KeyID = "!" + strings.Repeat("k", 253) + "~"
			f.single(10)
		}},
		{"open-longest-wrapped-key", "a wrapped wrapping key of 512 bytes", func(f *forge) { f.e.WrappedKey = random(512); f.single(10) }},
		{"open-longest-envelope", "an envelope of 1024 bytes", func(f *forge) {
			f.e.Context = map[string]string{"a": strings.Repeat("x", 839)}
			f.single(10)
		}},
		{"open-key-utf8", "a key with characters of several bytes", func(f *forge) { f.key = "grüße/日本.txt"; f.single(10) }},
		{"open-key-binary", "a key that is not UTF-8, with bytes that URLs escape", func(f *forge) { f.key = "\x00\xff\x80 %20+/../"; f.single(10) }},

		{"open-one-part", "regular: one part", func(f *forge) { f.multipart(part(1, 10)) }},
		{"open-one-part-2-frames", "frames of a part name the nonce of its first", func(f *forge) { f.multipart(part(1, FrameSize+1)) }},
		{"open-one-part-2-rows", "regular: one part of 5 MiB and a byte, and a row that stays zero", func(f *forge) {
			f.multipart(part(1, MinPartSize+1))
			f.omit()
		}},
		{"open-two-parts", "regular: two parts, the last of one byte", func(f *forge) { f.multipart(part(1, MinPartSize), part(2, 1)); f.omit() }},
		{"open-equal-parts", "regular: two parts of one size", func(f *forge) { f.multipart(part(1, MinPartSize), part(2, MinPartSize)); f.omit() }},
		{"open-irregular", "parts of any sizes", func(f *forge) { f.multipart(part(1, 10), part(2, 200), part(3, 3)) }},
		{"open-irregular-last-greater", "irregular: only the last part is greater", func(f *forge) {
			f.multipart(part(1, MinPartSize), part(2, MinPartSize+1))
			f.omit()
		}},
		{"open-irregular-off-grid", "irregular: a part is no multiple of the frame size", func(f *forge) {
			f.multipart(part(1, MinPartSize+1), part(2, 1))
			f.omit()
		}},
		{"open-irregular-small-parts", "irregular: parts of full frames, but under 5 MiB", func(f *forge) {
			f.multipart(part(1, MinPartSize-FrameSize), part(2, 1))
			f.omit()
		}},
		{"open-irregular-growing", "irregular: the parts but the last are not of one size", func(f *forge) {
			f.multipart(part(1, MinPartSize), part(2, MinPartSize+FrameSize), part(3, 1))
			f.omit()
		}},
		{"open-gaps", "part numbers with gaps, up to the greatest", func(f *forge) { f.multipart(part(2, 10), part(5, 10), part(MaxParts, 10)) }},
		{"open-from-part-2", "irregular: one part, but not numbered 1", func(f *forge) { f.multipart(part(2, 10)) }},
		{"open-empty-part", "an empty part is one empty frame", func(f *forge) { f.multipart(part(1, 10), part(2, 0), part(3, 10)) }},
		{"open-empty-part-in-front", "empty parts in front of the first byte, and behind the last", func(f *forge) {
			f.multipart(part(1, 0), part(2, 10), part(3, 0))
		}},
		{"open-only-empty-part", "a multipart object of no bytes", func(f *forge) { f.multipart(part(1, 0)) }},
		{"open-longest-part", "a part that seals to 5 GiB", func(f *forge) { f.unmade(unbound(2, longestPart)) }},
		{"open-no-padding", "irregular: the trailer needs no padding", func(f *forge) {
			f.multipart(part(2, 65525))
			if len(f.trailer) != 272 {
				f.Errorf("a trailer of %d bytes", len(f.trailer))
			}
			f.omit()
		}},
		{"open-most-padding", "irregular: one byte too many for k = 1", func(f *forge) { f.multipart(part(2, 65526)); f.omit() }},
		{"open-unbound", "a part whose attempt the trailer does not say, and no CRC", func(f *forge) { f.multipart(part(1, 10), unbound(2, 10)) }},
		{"open-unbound-regular", "regular and unbound", func(f *forge) { f.multipart(unbound(1, 10)) }},

		{"open-sha256-slots", "a SHA-256 of each part, COMPOSITE", func(f *forge) { f.composite(checksum.SHA256, part(1, 10), part(2, 5)) }},
		{"open-sha512-slots", "SHA-512 needs wide slots, so also one part numbered 1 is irregular", func(f *forge) {
			f.composite(checksum.SHA512, part(1, 10))
		}},
		{"open-sha512-without-slots", "a SHA-512 of the object alone needs no wide slots", func(f *forge) {
			f.declared = checksum.SHA512
			f.multipart(part(1, 10))
		}},
		{"open-one-slot", "only one of the parts has a checksum", func(f *forge) {
			f.declared, f.slots = checksum.CRC32C, checksum.CRC32C
			f.multipart(part(1, 10), part(2, 10))
			f.contents.Parts[0].Checksum = nil
			f.end()
		}},
	}...)
}

// openChecksums has a vector for each algorithm.
func openChecksums() (recipes []recipe) {
	for a := checksum.CRC32; a.Valid(); a++ {
		recipes = append(recipes, recipe{
			"open-checksum-" + strings.ToLower(a.String()), fmt.Sprintf("%v in the trailer", a),
			func(f *forge) { f.declared = a; f.single(10) },
		})
	}
	return recipes
}
