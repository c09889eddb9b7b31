package envelope

import "slices"

// damaged returns a recipe that makes a good object and flips a bit of its frames.
func damaged(object func(*forge), at int) func(*forge) {
	return func(f *forge) { object(f); f.frames[(at+len(f.frames))%len(f.frames)] ^= 1 }
}

// framed returns a recipe for a single object of one byte whose frame has other additional data.
func framed(index uint64, last byte, attempt Attempt) func(*forge) {
	return func(f *forge) { aSingle(f); f.frames = sealFrame(f.dek.single(), index, last, attempt, f.plain) }
}

func frameVectors() []recipe {
	return []recipe{
		{"frames-nonce", "a bit of the nonce", damaged(aSingle, 0)},
		{"frames-ciphertext", "a bit of the ciphertext", damaged(aSingle, nonceSize)},
		{"frames-tag", "a bit of the tag", damaged(aSingle, -1)},
		{"frames-index", "the first frame was sealed as the second", framed(1, 1, Attempt{})},
		{"frames-not-last", "the last frame was sealed as not the last", framed(0, 0, Attempt{})},
		{"frames-attempt", "a single object's frame names an attempt", framed(0, 1, Attempt{1})},
		{"frames-swapped", "the first two of three frames are swapped", func(f *forge) {
			f.single(2*FrameSize + 1)
			first, second, last := f.frames[:sealedFrame], f.frames[sealedFrame:2*sealedFrame], f.frames[2*sealedFrame:]
			f.frames = slices.Concat(second, first, last)
		}},
		{"frames-doubled", "the first of three frames stands in place of the second, too", func(f *forge) {
			f.single(2*FrameSize + 1)
			copy(f.frames[sealedFrame:], f.frames[:sealedFrame])
		}},
		{"frames-truncated", "the first frame of a longer object, with envelope and trailer of one that ends there", func(f *forge) {
			f.single(FrameSize + 1)
			frame := f.frames[:sealedFrame]
			f.single(FrameSize)
			f.frames = frame
		}},
		{"frames-of-another-object", "a frame of an object with another DEK", func(f *forge) {
			aSingle(f)
			f.frames = sealFrame(NewDEK().single(), 0, 1, Attempt{}, f.plain)
		}},
		{"frames-part-in-single", "a part's frame in a single object", func(f *forge) {
			aSingle(f)
			f.frames = sealFrame(f.dek.part(1), 0, 1, Attempt{}, f.plain)
		}},
		{"frames-single-in-part", "a single object's frame in a part", func(f *forge) {
			aRegular(f)
			f.frames = sealFrame(f.dek.single(), 0, 1, Attempt{}, f.plain)
		}},
		{"frames-part-number", "a part that was sealed as number 2 stands as number 3", func(f *forge) {
			f.multipart(unbound(2, 10))
			f.contents.Parts[0].Number = 3
			f.end()
		}},
		{"frames-parts-swapped", "two parts of one size are swapped", func(f *forge) {
			f.multipart(unbound(2, 10), unbound(3, 10))
			n := SealedPartSize(10)
			f.frames = slices.Concat(f.frames[n:], f.frames[:n])
		}},
		{"frames-another-attempt", "another attempt of a bound part", func(f *forge) {
			f.multipart(part(1, 10))
			f.frames = sealFrame(f.dek.part(1), 0, 1, Attempt{}, f.plain)
		}},
		{"frames-two-attempts", "a part's second frame is of another attempt", func(f *forge) {
			f.multipart(part(1, FrameSize+1))
			f.frames = append(f.frames[:sealedFrame], sealFrame(f.dek.part(1), 1, 1, Attempt(random(nonceSize)), f.plain[FrameSize:])...)
		}},
		{"frames-empty-part", "a bit of the frame of an empty part", damaged(
			func(f *forge) { f.multipart(part(1, 10), part(2, 0), part(3, 10)) }, int(SealedPartSize(10))+nonceSize)},
		{"frames-empty-part-in-front", "a bit of the frame of an empty part, which no byte of plaintext is behind", damaged(
			func(f *forge) { f.multipart(part(1, 0), part(2, 10)) }, nonceSize)},
		{"frames-empty-part-at-end", "a bit of the frame of an empty part, which no byte of plaintext is before", damaged(
			func(f *forge) { f.multipart(part(1, 10), part(2, 0)) }, -1)},
	}
}

// resized returns a recipe that makes a good object and then alters how long it is.
func resized(object, change func(*forge)) func(*forge) {
	return func(f *forge) { object(f); change(f) }
}

func appendByte(f *forge) { f.trailer = append(f.trailer, 0) }
func dropByte(f *forge)   { f.trailer = f.trailer[:len(f.trailer)-1] }
func dropAll(f *forge)    { f.frames, f.trailer = nil, nil }

func sizeVectors() []recipe {
	return []recipe{
		{"size-byte-appended", "a byte behind a single object", resized(aSingle, appendByte)},
		{"size-byte-missing", "a single object without its last byte", resized(aSingle, dropByte)},
		{"size-trailer-missing", "a single object without its trailer", resized(aSingle, func(f *forge) { f.trailer = nil })},
		{"size-nothing", "an empty body, but the envelope says one byte", resized(aSingle, dropAll)},
		{"size-of-empty", "a body, but the envelope says no bytes", resized(aSingle, func(f *forge) { f.e.Length = 0; f.wrap() })},
		{"size-envelope", "the envelope says two bytes, the body has one", resized(aSingle, func(f *forge) { f.e.Length = 2; f.wrap() })},
		{"size-envelope-greater", "the envelope says more bytes than a store holds", resized(aSingle, func(f *forge) { f.e.Length = maxSize; f.wrap() })},
		{"size-multipart-nothing", "an empty body of a multipart object", resized(aRegular, dropAll)},
		{"size-multipart-frame-only", "a multipart object without its trailer", resized(aRegular, func(f *forge) { f.trailer = nil })},
		{"size-multipart-byte-missing", "a regular object without its last byte", resized(aRegular, dropByte)},
		{"size-irregular-byte-appended", "a byte behind an irregular object", resized(anIrregular, appendByte)},
		{"size-byte-in-front", "a byte before a regular object of one frame: its length is an irregular object's", resized(
			func(f *forge) { f.multipart(part(1, FrameSize)) }, func(f *forge) { f.omit(); f.omitted++ })},
		{"size-irregular-longer", "bytes before an irregular object, so many that its length is again an irregular object's", resized(
			anIrregular, func(f *forge) { f.omit(); f.omitted += irregularSize(irregularSize(1)+1) - irregularSize(1) })},
	}
}
