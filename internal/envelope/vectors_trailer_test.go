package envelope

import (
	"encoding/binary"
	"fmt"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// Offsets in a structure.
const (
	slotLengthAt = 1
	reservedAt   = 2
	partsAt      = 4
	lengthEndAt  = 15 // least byte of the plaintext length
	partSizeAt   = 16
	tokenAt      = 24
	rowsAt       = structureSize
)

// resealed returns a recipe that makes a good object and seals its trailer again after the edit.
func resealed(object func(*forge), edit func(p *pieces)) func(*forge) {
	return func(f *forge) { object(f); f.reseal(edit) }
}

// structure is resealed with one byte of the structure.
func structure(object func(*forge), at int, value byte) func(*forge) {
	return resealed(object, func(p *pieces) { p.structure[at] = value })
}

// bent returns a recipe that makes a good object and flips a bit of its trailer.
func bent(object func(*forge), at int) func(*forge) {
	return func(f *forge) { object(f); f.trailer[(at+len(f.trailer))%len(f.trailer)] ^= 1 }
}

// The objects that the recipes bend, as small as can be.
func aSingle(f *forge)     { f.single(1) }
func aRegular(f *forge)    { f.multipart(unbound(1, 1)) }
func anIrregular(f *forge) { f.multipart(part(2, 10), part(4, 20)) }
func twoRows(f *forge)     { f.multipart(part(1, MinPartSize+1)); f.omit() }

func trailerVectors() []recipe {
	recipes := []recipe{
		{"trailer-magic", "another magic", resealed(aSingle, func(p *pieces) { p.tail[15] = '2' })},
		{"trailer-tail-length", "the tail has another length of the trailer", resealed(aSingle, func(p *pieces) { p.tail[11]++ })},
		{"trailer-tail-length-huge", "the tail has a length greater than the object", tailLength(1 << 31)},
		{"trailer-tail-length-15", "the tail has a length smaller than itself", tailLength(15)},
		{"trailer-tail-length-71", "the tail has a length smaller than a structure", tailLength(71)},
		{"trailer-tail-plaintext", "the tail has another plaintext length", resealed(aSingle, func(p *pieces) { p.tail[7]++ })},
		{"trailer-plaintext", "the structure has another plaintext length than the tail", structure(aSingle, lengthEndAt, 2)},
		{"trailer-plaintext-irregular", "the plaintext length is not that of the parts", resealed(anIrregular, func(p *pieces) {
			p.structure[lengthEndAt]++
			p.tail[7]++
		})},
		{"trailer-of-2-bytes", "the trailer is that of two bytes, the envelope that of one", resealed(aSingle, func(p *pieces) {
			p.structure[lengthEndAt], p.structure[partSizeAt+7], p.tail[7] = 2, 2, 2
		})},
		{"trailer-kind-0", "kind 0", structure(aSingle, 0, 0)},
		{"trailer-kind-4", "kind 4", structure(aRegular, 0, 4)},
		{"trailer-regular-in-single", "kind 2, but the envelope is not multipart", structure(aSingle, 0, kindRegular)},
		{"trailer-single-in-multipart", "kind 1, but the envelope is multipart", func(f *forge) {
			f.multipart(part(1, 1))
			f.contents = &Trailer{Single: true, Parts: []Part{{Number: 1, Size: 1}}, HasCRC: true, CRC: f.contents.CRC}
			f.end()
		}},
		{"trailer-slot-length-0", "slots of no bytes", structure(aSingle, slotLengthAt, 0)},
		{"trailer-slot-length-64-single", "wide slots in a single object", structure(aSingle, slotLengthAt, wideSlotSize)},
		{"trailer-slot-length-64-regular", "wide slots in a regular object", structure(aRegular, slotLengthAt, wideSlotSize)},
		{"trailer-slot-length-64-unused", "wide slots without a SHA-512", func(f *forge) { anIrregular(f); f.irregular(wideSlotSize) }},
		{"trailer-slot-length-48", "slots of 48 bytes", func(f *forge) { anIrregular(f); f.irregular(48) }},
		{"trailer-reserved-2", "reserved byte 2 of the structure", structure(aSingle, reservedAt, 1)},
		{"trailer-reserved-3", "reserved byte 3 of the structure", structure(aSingle, reservedAt+1, 1)},
		{"trailer-parts-0", "no parts", structure(aRegular, partsAt+3, 0)},
		{"trailer-parts-single", "a single object of two parts", structure(aSingle, partsAt+3, 2)},
		{"trailer-parts-regular", "a regular object of more parts than rows", structure(aRegular, partsAt+3, 2)},
		{"trailer-parts-irregular", "an irregular object of more parts than rows", structure(anIrregular, partsAt+3, 3)},
		{"trailer-parts-huge", "more than 10000 parts", structure(anIrregular, partsAt, 0xff)},
		{"trailer-part-size-single", "a part size that is not the length of a single object", structure(aSingle, partSizeAt+7, 2)},
		{"trailer-part-size-one-part", "a part size that is not the length of the one part", structure(aRegular, partSizeAt+7, 2)},
		{"trailer-part-size-irregular", "a part size in an irregular object", structure(anIrregular, partSizeAt+7, 1)},
		{"trailer-part-size-0", "regular: parts of no bytes", structure(twoParts, partSizeAt+5, 0)},
		{"trailer-part-size-off-grid", "regular: parts that are no multiple of the frame size", structure(twoParts, partSizeAt+7, 1)},
		{"trailer-part-size-small", "regular: parts of less than 5 MiB", structure(twoParts, partSizeAt+5, 0x4f)},
		{"trailer-part-size-great", "regular: nothing is left for the last part", structure(twoParts, partSizeAt+5, 0x80)},
		{"trailer-token", "a completion token in a single object", structure(aSingle, tokenAt, 1)},
		{"trailer-row-single", "a single object whose row is bound", resealed(aSingle, func(p *pieces) { p.structure[rowsAt], p.structure[rowsAt+15] = 1, rowBound })},
		{"trailer-row-unbound-nonce", "an unbound row with a nonce", structure(aRegular, rowsAt, 1)},
		{"trailer-row-flag-2", "reserved bit 2 of a row's flags", structure(aRegular, rowsAt+15, 1<<2)},
		{"trailer-row-flag-31", "reserved bit 31 of a row's flags", structure(aRegular, rowsAt+12, 1<<7)},
		{"trailer-row-beyond-flags", "flags in a row beyond the last part", structure(twoRows, rowsAt+rowSize+15, rowSlotUsed)},
		{"trailer-row-beyond-nonce", "a nonce in a row beyond the last part", structure(twoRows, rowsAt+rowSize, 1)},
		{"trailer-row-beyond-single", "flags in the second row of a single object", structure(
			func(f *forge) { f.single(MinPartSize + 1); f.omit() }, rowsAt+rowSize+15, rowSlotUsed)},
		{"trailer-box-nonce", "the box: a bit of the nonce", bent(aSingle, rowsAt+rowSize)},
		{"trailer-box-ciphertext", "the box: a bit of the ciphertext", bent(aSingle, rowsAt+rowSize+nonceSize)},
		{"trailer-box-tag", "the box: a bit of the tag", bent(aSingle, -TailSize-1)},
		{"trailer-token-flipped", "a structure that is well-formed, but not what was sealed", bent(aRegular, tokenAt)},
		{"trailer-tail-not-sealed", "the box was sealed without the tail", func(f *forge) {
			aSingle(f)
			box := f.trailer[rowsAt+rowSize : len(f.trailer)-TailSize]
			record := must(f.dek.trailer().Open(nil, nil, box, append(f.trailer[:72:72], f.trailer[len(f.trailer)-TailSize:]...)))(f.T)
			copy(box, f.dek.trailer().Seal(nil, nil, record, f.trailer[:72]))
		}},
		{"trailer-of-another-object", "the trailer of an object with another DEK", func(f *forge) {
			aSingle(f)
			f.trailer = must(NewDEK().SealTrailer(f.contents))(f.T)
		}},
		{"trailer-crc", "the CRC of another plaintext", resealed(aSingle, func(p *pieces) { p.record[40]++ })},
		{"trailer-byte-appended", "a byte behind a regular object: a length that another object has, but no tail at its end", resized(aRegular, appendByte)},
		{"trailer-byte-appended-to-frame", "a byte behind a regular object of one full frame: an irregular object's length, but no tail", func(f *forge) {
			f.multipart(part(1, FrameSize))
			f.omit()
			f.trailer = append(f.trailer, 0)
		}},
		{"trailer-byte-missing", "an irregular object without its first byte: its length is a regular one's, but not its trailer's", func(f *forge) {
			anIrregular(f)
			f.omit()
			f.omitted--
		}},
	}
	return append(recipes, irregularVectors()...)
}

// twoParts has a part of 5 MiB and another of 3 MiB: enough that other part sizes fit in the same plaintext length.
func twoParts(f *forge) { f.multipart(part(1, MinPartSize), part(2, 3<<20)); f.omit() }

// tailLength returns a recipe for an irregular object whose tail has another length of the trailer.
func tailLength(n uint32) func(*forge) {
	return resealed(anIrregular, func(p *pieces) { binary.BigEndian.PutUint32(p.tail[8:], n) })
}

// placed returns a recipe for an irregular object of parts 2 and 4 of which the table says something else.
func placed(at int, value uint32) func(*forge) {
	return resealed(anIrregular, func(p *pieces) { binary.BigEndian.PutUint32(p.structure[rowsAt+2*rowSize+at:], value) })
}

func irregularVectors() []recipe {
	return []recipe{
		{"trailer-number-0", "part number 0", placed(0, 0)},
		{"trailer-number-10001", "part number 10001", placed(placeSize, MaxParts+1)},
		{"trailer-numbers-equal", "a part number stands twice", placed(placeSize, 2)},
		{"trailer-numbers-descend", "part numbers descend", placed(placeSize, 1)},
		{"trailer-part-length", "parts longer than the object", placed(8, 11)},
		{"trailer-part-too-long", "a part of a byte more than seals to 5 GiB", func(f *forge) {
			f.unmade(unbound(2, longestPart))
			f.reseal(func(p *pieces) {
				for _, b := range [][]byte{p.structure[8:], p.structure[rowsAt+rowSize+4:], p.tail} {
					binary.BigEndian.PutUint64(b, longestPart+1)
				}
				p.structure = p.structure[:rowsAt+rowSize+placeSize]
				f.omitted = SealedPartSize(longestPart + 1)
				need := f.omitted + p.size()
				p.pad(irregularSize(need) - need)
			})
		}},
		{"trailer-part-lengths-wrap", "part lengths that add up only modulo 2⁶⁴", resealed(anIrregular, func(p *pieces) {
			places := p.structure[rowsAt+2*rowSize:]
			places[4], places[placeSize+4] = 0x80, 0x80
		})},
		{"trailer-could-be-regular", "irregular, though one part numbered 1 is regular", func(f *forge) { f.multipart(part(1, 10)); f.irregular(slotSize) }},
		{"trailer-could-be-regular-2", "irregular, though the parts are regular", func(f *forge) { twoParts(f); f.irregular(slotSize) }},
		{"trailer-padding-not-zero", "padding that is not zero", resealed(anIrregular, func(p *pieces) { p.structure[len(p.structure)-1] = 1 })},
		{"trailer-padding-long", "padding up to the next length of irregular objects", func(f *forge) {
			anIrregular(f)
			f.reseal(func(p *pieces) { p.pad(irregularSize(irregularSize(1)+1) - irregularSize(1)) })
		}},
		{"trailer-padding-short", "a byte of padding is missing, and another stands before the trailer", func(f *forge) {
			anIrregular(f)
			f.omit()
			f.reseal(func(p *pieces) { p.pad(-1) })
			f.omitted++
		}},
	}
}

// record is resealed with one byte of the record.
func record(object func(*forge), at int, value byte) func(*forge) {
	return resealed(object, func(p *pieces) { p.record[at] = value })
}

// Objects with a checksum, or with checksums of parts.
func aSum(f *forge)  { f.declared = checksum.SHA256; f.single(1) }
func aSlot(f *forge) { f.composite(checksum.CRC32, part(1, 1)) }

func recordVectors() []recipe {
	recipes := []recipe{
		{"trailer-upload-id", "an upload id in a single object", record(aSingle, 0, 1)},
		{"trailer-crc-missing", "a single object without a CRC", resealed(
			func(f *forge) { aSingle(f); f.omit() }, func(p *pieces) { p.record[32] = 0; clear(p.record[40:48]) })},
		{"trailer-crc-not-valid", "a CRC that is said to be not valid", record(aRegular, 47, 1)},
		{"trailer-algorithm-11", "checksum algorithm 11", resealed(aSum, func(p *pieces) { p.record[33] = 11; clear(p.record[48:112]) })},
		{"trailer-algorithm-without-type", "an algorithm without a type", record(aSum, 34, 0)},
		{"trailer-type-without-algorithm", "a type without an algorithm", record(aSingle, 34, byte(FullObject))},
		{"trailer-type-3", "checksum type 3", record(aSum, 34, 3)},
		{"trailer-type-composite-single", "a COMPOSITE checksum in a single object", record(aSum, 34, byte(Composite))},
		{"trailer-checksum-of-none", "a checksum without an algorithm", record(aSingle, 48, 1)},
		{"trailer-checksum-long", "a byte beyond the checksum", record(aSum, 48+32, 1)},
		{"trailer-slot-long", "a byte beyond the checksum in a slot", record(aSlot, recordSize+4, 1)},
		{"trailer-slot-unused", "a byte in a slot that is not used", record(aRegular, recordSize, 1)},
		{"trailer-slot-single", "a byte in the slot of a single object", record(aSum, recordSize, 1)},
		{"trailer-slot-beyond", "a byte in a slot beyond the last part", record(twoRows, recordSize+slotSize, 1)},
		{"trailer-slot-of-none", "a slot is used, but there is no algorithm", structure(aRegular, rowsAt+15, rowSlotUsed)},
		{"trailer-slot-single-used", "the slot of a single object is used", structure(aSum, rowsAt+15, rowSlotUsed)},
		{"trailer-slot-narrow", "a SHA-512 of a part, but slots of 32 bytes", func(f *forge) {
			f.declared = checksum.SHA512
			f.multipart(part(1, 1))
			f.reseal(func(p *pieces) { p.structure[rowsAt+15] |= rowSlotUsed })
		}},
	}
	for at := 35; at < 40; at++ {
		recipes = append(recipes, recipe{fmt.Sprintf("trailer-record-reserved-%d", at), fmt.Sprintf("reserved byte %d of the record", at), record(aSingle, at, 1)})
	}
	for bit := 1; bit < 8; bit++ {
		recipes = append(recipes, recipe{
			fmt.Sprintf("trailer-record-flag-%d", bit), fmt.Sprintf("reserved bit %d of the record's flags", bit), record(aRegular, 32, 1<<bit),
		})
	}
	return recipes
}
