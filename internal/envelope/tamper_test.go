package envelope_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// refuses checks the oracle of every attack on a whole object: an error, and no byte that is not the plaintext's.
func refuses(t *testing.T, o object, altered []byte, what string, args ...any) {
	t.Helper()
	got, err := o.open(altered, 0, -1)
	if err == nil {
		t.Errorf(what+": opened", args...)
	}
	if !bytes.HasPrefix(o.plain, got) {
		t.Errorf(what+": gave out wrong bytes", args...)
	}
	var layer error
	for _, e := range []error{envelope.ErrTrailer, envelope.ErrFrame, envelope.ErrSize} {
		if errors.Is(err, e) {
			layer = e
		}
	}
	if layer == nil {
		t.Errorf(what+": untyped error %v", append(args, err)...)
	}
}

// regions returns offsets in every region of a sealed object: each frame's nonce, ciphertext and tag, and every byte of a
// trailer (of a large one: a sample).
func regions(sealed []byte) []int {
	_, length, err := envelope.ParseTail(sealed[len(sealed)-envelope.TailSize:])
	if err != nil {
		panic(err)
	}
	trailer := len(sealed) - int(length)
	var at []int
	for f := 0; f < trailer; f += frame + envelope.FrameOverhead {
		end := min(f+frame+envelope.FrameOverhead, trailer)
		at = append(at, f, f+11, f+12, (f+end)/2, end-17, end-16, end-1)
	}
	for b := trailer; b < len(sealed); b += 1 + int(length)/600 {
		at = append(at, b)
	}
	return append(at, len(sealed)-1)
}

func TestFlips(t *testing.T) {
	for name, o := range map[string]object{
		"single":    singleObject(t, 3*frame+17),
		"regular":   multipartObject(t, upload{1, row, false}, upload{2, 100, false}),
		"irregular": multipartObject(t, upload{3, 100, false}, upload{5, frame + 1, true}, upload{6, 0, false}, upload{9, 20, false}),

		"single in two layers":    singleIn(t, envelope.NewDSSEKey(), frame+17),
		"irregular in two layers": multipartIn(t, envelope.NewDSSEKey(), upload{3, 100, false}, upload{5, frame + 1, true}),
	} {
		for _, at := range regions(o.sealed) {
			for _, bit := range []byte{1, 0x80} {
				altered := bytes.Clone(o.sealed)
				altered[at] ^= bit
				refuses(t, o, altered, "%s: bit %#x at %d of %d", name, bit, at, len(o.sealed))
			}
		}
	}
}

func TestTruncationAndExtension(t *testing.T) {
	for name, o := range layouts(t) {
		cuts := []int{0, 1, len(o.sealed) - 1, len(o.sealed) - envelope.TailSize, len(o.sealed) - envelope.TailSize - 1}
		for f := 0; f < len(o.sealed); f += frame + envelope.FrameOverhead {
			cuts = append(cuts, f, f+1, max(f-1, 0))
		}
		for _, cut := range cuts {
			if cut < len(o.sealed) {
				refuses(t, o, o.sealed[:cut], "%s: cut to %d of %d", name, cut, len(o.sealed))
			}
		}
		refuses(t, o, append(bytes.Clone(o.sealed), 0), "%s: a byte appended", name)
		refuses(t, o, append(bytes.Clone(o.sealed), o.sealed...), "%s: doubled", name)
		refuses(t, o, append([]byte{0}, o.sealed...), "%s: a byte in front", name)
	}
}

func TestFramesMoved(t *testing.T) {
	const sealedFrame = frame + envelope.FrameOverhead
	for name, o := range map[string]object{
		"single":  singleObject(t, 5*frame),
		"regular": multipartObject(t, upload{1, row, false}, upload{2, row, false}),
	} {
		rapid.Check(t, func(rt *rapid.T) {
			frames := len(o.plain) / frame
			i := rapid.IntRange(0, frames-1).Draw(rt, "i")
			j := rapid.IntRange(0, frames-1).Filter(func(j int) bool { return j != i }).Draw(rt, "j")
			altered := bytes.Clone(o.sealed)
			copy(altered[i*sealedFrame:(i+1)*sealedFrame], o.sealed[j*sealedFrame:(j+1)*sealedFrame])
			refuses(t, o, altered, "%s: frame %d in place of %d", name, j, i)
			if rapid.Bool().Draw(rt, "swap") {
				copy(altered[j*sealedFrame:(j+1)*sealedFrame], o.sealed[i*sealedFrame:(i+1)*sealedFrame])
				refuses(t, o, altered, "%s: frames %d and %d swapped", name, j, i)
			}
		})
		without := slices.Concat(o.sealed[:sealedFrame], o.sealed[2*sealedFrame:])
		refuses(t, o, without, "%s: a frame left out", name)
	}
}

// TestAttemptsDoNotMix: a part was sent twice; the store splices frames, or a whole attempt, of the other.
func TestAttemptsDoNotMix(t *testing.T) {
	dek := envelope.NewDEK()
	first, plain, trailer := multipart(t, dek, upload{1, 3 * frame, false})
	second, _, _ := multipart(t, dek, upload{1, 3 * frame, false})
	o := object{first, plain, func(sealed []byte, off, n int64) ([]byte, error) { return openMultipart(dek, sealed, off, n) }}
	const sealedFrame = frame + envelope.FrameOverhead
	for i := range 3 {
		altered := bytes.Clone(first)
		copy(altered[i*sealedFrame:(i+1)*sealedFrame], second[i*sealedFrame:])
		refuses(t, o, altered, "frame %d of another attempt", i)
	}
	altered := bytes.Clone(first)
	copy(altered, second[:3*sealedFrame])
	refuses(t, o, altered, "another attempt under this trailer")
	refuses(t, o, slices.Concat(first[:3*sealedFrame], second[3*sealedFrame:]), "another Complete's trailer")

	// Unbound, the other attempt is accepted as a whole, and only as a whole: this is what the format says.
	trailer.Parts[0].Bound, trailer.Parts[0].Attempt = false, envelope.Attempt{}
	loose := append(bytes.Clone(second[:3*sealedFrame]), must(dek.SealTrailer(trailer))(t)...)
	if got := must(openMultipart(dek, loose, 0, -1))(t); !bytes.Equal(got, plain) {
		t.Error("unbound: another attempt opened differently")
	}
	copy(loose, first[:sealedFrame])
	refuses(t, o, loose, "unbound: frame 0 of another attempt")
	copy(loose, second[:sealedFrame])
	copy(loose[sealedFrame:], first[sealedFrame:2*sealedFrame])
	refuses(t, o, loose, "unbound: frame 1 of another attempt")
}

// TestPartsSpliced: whole parts swapped, dropped, doubled, or taken from another object.
func TestPartsSpliced(t *testing.T) {
	dek := envelope.NewDEK()
	sealed, plain, trailer := multipart(t, dek, upload{1, row, true}, upload{2, row, true}, upload{3, row, true})
	o := object{sealed, plain, func(sealed []byte, off, n int64) ([]byte, error) { return openMultipart(dek, sealed, off, n) }}
	size := envelope.SealedPartSize(row)
	p1, p2, p3, end := sealed[:size], sealed[size:2*size], sealed[2*size:3*size], sealed[3*size:]
	refuses(t, o, slices.Concat(p2, p1, p3, end), "parts swapped")
	refuses(t, o, slices.Concat(p1, p1, p3, end), "part doubled")
	refuses(t, o, slices.Concat(p1, p2, end), "part dropped")
	short := *trailer
	short.Parts = trailer.Parts[:2]
	refuses(t, o, slices.Concat(p1, p2, p3, must(dek.SealTrailer(&short))(t)), "trailer of fewer parts")
	other, _, _ := multipart(t, envelope.NewDEK(), upload{1, row, true}, upload{2, row, true}, upload{3, row, true})
	refuses(t, o, other, "another object")
	refuses(t, o, slices.Concat(p1, p2, p3, other[3*size:]), "another object's trailer")
	refuses(t, o, slices.Concat(p1, other[size:2*size], p3, end), "another object's part")
}

// TestKindsDoNotMix: a single object's frames never open as a part, nor a part's as a single object.
func TestKindsDoNotMix(t *testing.T) {
	dek, plain := envelope.NewDEK(), pattern(100)
	single := object{seal(t, dek, plain), plain, func(s []byte, _, _ int64) ([]byte, error) { return openSingle(dek, s, 100) }}
	parts, _, _ := multipart(t, dek, upload{1, 100, true})
	refuses(t, single, parts, "a multipart object as a single one")
	refuses(t, single, append(bytes.Clone(parts[:128]), single.sealed[128:]...), "a part's frame in a single object")
	refuses(t, single, append(bytes.Clone(single.sealed[:128]), parts[128:]...), "a multipart trailer behind a single object")
	asParts := object{parts, plain, func(s []byte, _, _ int64) ([]byte, error) { return openMultipart(dek, s, 0, -1) }}
	refuses(t, asParts, single.sealed, "a single object as a multipart one")
	refuses(t, asParts, append(bytes.Clone(single.sealed[:128]), parts[128:]...), "a single object's frame as a part")
}

// TestLengthDecides: a single object of another length under the same key does not open, not even its ranges that both have.
func TestLengthDecides(t *testing.T) {
	dek := envelope.NewDEK()
	sealed := seal(t, dek, pattern(2*frame))
	for _, claimed := range []int64{1, frame, 2*frame - 1, 2*frame + 1, 3 * frame} {
		if _, err := openSingle(dek, sealed, claimed); err == nil {
			t.Errorf("%d bytes opened as %d", 2*frame, claimed)
		}
	}
}
