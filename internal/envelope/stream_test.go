package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

var lengths = []int64{
	0, 1, 2, 100, frame - 1, frame, frame + 1, 2*frame - 1, 2 * frame, 2*frame + 1, 3*frame + 5,
	row - 1, row, row + 1, 2*row + frame + 1,
}

func TestSingleRoundTrip(t *testing.T) {
	for _, n := range lengths {
		dek, plain := envelope.NewDEK(), pattern(n)
		sealed := seal(t, dek, plain)
		if got := int64(len(sealed)); got != envelope.SealedSize(n) {
			t.Fatalf("%d bytes sealed to %d, want %d", n, got, envelope.SealedSize(n))
		}
		if n > 16 && bytes.Contains(sealed, plain[:16]) {
			t.Fatalf("%d bytes: plaintext in the sealed object", n)
		}
		if got := must(openSingle(dek, sealed, n))(t); !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: opened differently", n)
		}
	}
}

func TestReadersKeepTheContractOfIO(t *testing.T) {
	dek, plain := envelope.NewDEK(), pattern(frame+100)
	sealed := seal(t, dek, plain)
	o := dek.Single(int64(len(plain)))
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"plain": func(r io.Reader) io.Reader { return r }, "one byte": iotest.OneByteReader, "half": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
	} {
		if err := iotest.TestReader(o.NewWholeReader(wrap(bytes.NewReader(sealed))), plain); err != nil {
			t.Errorf("%s: opening: %v", name, err)
		}
		got := must(io.ReadAll(iotest.OneByteReader(dek.NewSealer(wrap(bytes.NewReader(plain)), int64(len(plain)), noChecksum))))(t)
		if got := must(openSingle(dek, got, int64(len(plain))))(t); !bytes.Equal(got, plain) {
			t.Errorf("%s: sealing gave another object", name)
		}
	}
	for _, size := range []int{frame + 27, frame + 28, frame + 29, 2*frame + 56, 1 << 20} {
		s := dek.NewSealer(bytes.NewReader(plain), int64(len(plain)), noChecksum)
		got := must(openSingle(dek, must(readWith(s, size))(t), int64(len(plain))))(t)
		if !bytes.Equal(got, plain) {
			t.Errorf("sealing into %d bytes at a time gave another object", size)
		}
	}
	var buf bytes.Buffer
	if n, err := io.Copy(&buf, o.NewWholeReader(bytes.NewReader(sealed))); err != nil || n != int64(len(plain)) || !bytes.Equal(buf.Bytes(), plain) {
		t.Errorf("WriteTo: %d bytes, %v", n, err)
	}
}

// TestSourceDecides: a source that fails at its end never lets the last frame out, whatever its length, so a store that
// was promised SealedSize bytes stores nothing.
func TestSourceDecides(t *testing.T) {
	refused := errors.New("signature does not match")
	for _, n := range lengths {
		for name, src := range map[string]io.Reader{
			"error at the end": io.MultiReader(bytes.NewReader(pattern(n)), iotest.ErrReader(refused)),
			"error on the way": io.MultiReader(bytes.NewReader(pattern(n/2)), iotest.ErrReader(refused)),
			"wrapped end":      io.MultiReader(bytes.NewReader(pattern(n)), iotest.ErrReader(fmt.Errorf("connection: %w", io.EOF))),
			"too long":         bytes.NewReader(pattern(n + 1)),
			"too short":        bytes.NewReader(pattern(max(n, 1) - 1)),
		} {
			if name == "too short" && n == 0 {
				continue
			}
			s := envelope.NewDEK().NewSealer(src, n, noChecksum)
			got, err := io.ReadAll(s)
			if err == nil || s.Err() == nil || (strings.HasPrefix(name, "error") && !errors.Is(err, refused)) {
				t.Fatalf("%s, %d bytes: err = %v", name, n, err)
			}
			if n > 0 && int64(len(got)) > envelope.SealedPartSize(n)-envelope.FrameOverhead {
				t.Fatalf("%s, %d bytes: %d sealed bytes went out", name, n, len(got))
			}
			if again, err2 := s.Read(make([]byte, 1)); again != 0 || !errors.Is(err2, err) {
				t.Fatalf("%s: the error is not final: %d, %v", name, again, err2)
			}
		}
	}
}

// TestChecksumThatIsNone: an object whose trailer cannot be sealed has no last frame, either.
func TestChecksumThatIsNone(t *testing.T) {
	for _, size := range []int{100, 1 << 20} {
		s := envelope.NewDEK().NewSealer(bytes.NewReader(pattern(frame+1)), frame+1, func() checksum.Value {
			return checksum.Value{Algorithm: checksum.CRC32, Sum: []byte{1, 2, 3}}
		})
		if got, err := readWith(s, size); !errors.Is(err, envelope.ErrTrailer) || len(got) > 0 {
			t.Errorf("%d bytes went out, %v", len(got), err)
		}
	}
}

func TestChecksumStandsInTheTrailer(t *testing.T) {
	dek, plain := envelope.NewDEK(), pattern(3*frame)
	sum := checksum.Value{Algorithm: checksum.SHA256, Sum: bytes.Repeat([]byte{7}, 32)}
	asked := false
	src := io.MultiReader(bytes.NewReader(plain), readerFunc(func([]byte) (int, error) { asked = true; return 0, io.EOF }))
	sealed := must(io.ReadAll(dek.NewSealer(src, int64(len(plain)), func() checksum.Value {
		if !asked {
			t.Error("the checksum was asked for before the source had ended")
		}
		return sum
	})))(t)
	r := dek.Single(int64(len(plain))).NewWholeReader(bytes.NewReader(sealed))
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	if got := r.Trailer(); got.Checksum.Algorithm != sum.Algorithm || !bytes.Equal(got.Checksum.Sum, sum.Sum) || got.Type != envelope.FullObject {
		t.Errorf("trailer holds %+v", got.Checksum)
	}
}

// TestPrime: what is wrong with the first frames, or with a source that ends in them, shows before anything is read; and
// nothing is lost, or read twice, if all is well.
func TestPrime(t *testing.T) {
	dek, plain := envelope.NewDEK(), pattern(3*frame)
	sealed := seal(t, dek, plain)
	r := dek.Single(3 * frame).NewWholeReader(bytes.NewReader(sealed))
	for range 2 {
		if err := r.Prime(); err != nil {
			t.Fatal(err)
		}
	}
	if got := must(io.ReadAll(r))(t); !bytes.Equal(got, plain) || r.Prime() != nil {
		t.Error("opened differently when primed")
	}
	for _, at := range []int{0, 2*(frame+envelope.FrameOverhead) - 1, len(sealed) - 1} {
		altered := bytes.Clone(sealed)
		altered[at] ^= 1
		r := dek.Single(3 * frame).NewWholeReader(bytes.NewReader(altered))
		if err := r.Prime(); (err != nil) != (at < len(sealed)-1) || err != nil && !errors.Is(err, envelope.ErrFrame) {
			t.Errorf("byte %d altered: %v", at, err)
		}
	}

	refused := errors.New("signature does not match")
	for _, n := range []int64{0, 100, 2 * frame} {
		s := dek.NewPartSealer(bytes.NewReader(plain[:n]), 1, n)
		if err := errors.Join(s.Prime(), s.Prime()); err != nil || s.Attempt() == (envelope.Attempt{}) {
			t.Errorf("%d bytes: attempt %x, %v", n, s.Attempt(), err)
		}
		attempt := s.Attempt()
		if got := must(io.ReadAll(s))(t); int64(len(got)) != envelope.SealedPartSize(n) || !bytes.HasPrefix(got, attempt[:]) {
			t.Errorf("%d bytes: sealed to %d when primed, as attempt %x", n, len(got), attempt)
		}
		if err := s.Prime(); err != nil {
			t.Errorf("%d bytes: primed behind the end: %v", n, err)
		}
		s = dek.NewPartSealer(io.MultiReader(bytes.NewReader(plain[:n]), iotest.ErrReader(refused)), 1, n)
		for range 2 {
			if err := s.Prime(); !errors.Is(err, refused) {
				t.Errorf("%d bytes, refused: %v", n, err)
			}
		}
	}
}

// TestFailuresAreFinal: behind a frame that fails there is nothing more, whatever the source still has.
func TestFailuresAreFinal(t *testing.T) {
	dek, plain := envelope.NewDEK(), pattern(8*frame)
	sealed := seal(t, dek, plain)
	sealed[4*(frame+envelope.FrameOverhead)] ^= 1
	for _, read := range []func(*envelope.Reader) ([]byte, error){
		func(r *envelope.Reader) ([]byte, error) { return readWith(r, 1000) },
		func(r *envelope.Reader) (got []byte, err error) {
			var b bytes.Buffer
			_, err = r.WriteTo(&b)
			return b.Bytes(), err
		},
	} {
		r := dek.Single(8 * frame).NewWholeReader(bytes.NewReader(sealed))
		if got, err := read(r); !errors.Is(err, envelope.ErrFrame) || !bytes.Equal(got, plain[:4*frame]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if got, err := read(r); !errors.Is(err, envelope.ErrFrame) || len(got) > 0 || !errors.Is(r.Prime(), envelope.ErrFrame) || r.Trailer() != nil {
			t.Errorf("%d more bytes, %v", len(got), err)
		}
	}
}

// TestWriterFails: WriteTo ends with its writer, and what the writer did not take is not lost.
func TestWriterFails(t *testing.T) {
	full := errors.New("no space left")
	dek, plain := envelope.NewDEK(), pattern(5*frame)
	r := dek.Single(5 * frame).NewWholeReader(bytes.NewReader(seal(t, dek, plain)))
	var got bytes.Buffer
	for range 2 {
		room := 1000
		n, err := r.WriteTo(writerFunc(func(p []byte) (int, error) {
			n, _ := got.Write(p[:min(len(p), room)])
			room -= n
			return n, full
		}))
		if !errors.Is(err, full) || n != 1000 {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if n, err := r.WriteTo(&got); err != nil || n != int64(len(plain)-2000) || !bytes.Equal(got.Bytes(), plain) {
		t.Errorf("%d bytes, %v; %d in all", n, err, got.Len())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestSourceErrors: what a source fails with is its own fault and not the object's; that it ends early is the object's.
func TestSourceErrors(t *testing.T) {
	broken := errors.New("connection reset")
	dek, plain := envelope.NewDEK(), pattern(3*frame+5)
	sealed := seal(t, dek, plain)
	frames := int(envelope.SealedPartSize(3*frame + 5))
	for cut, want := range map[int]error{
		0: envelope.ErrFrame, 1: envelope.ErrFrame, 2 * (frame + 28): envelope.ErrFrame, frames - 1: envelope.ErrFrame,
		frames: envelope.ErrTrailer, frames + 1: envelope.ErrTrailer, len(sealed) - 1: envelope.ErrTrailer, len(sealed): nil,
	} {
		o := dek.Single(int64(len(plain)))
		if _, err := io.ReadAll(o.NewWholeReader(bytes.NewReader(sealed[:cut]))); !errors.Is(err, want) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut to %d: %v, want %v", cut, err, want)
		}
		got, err := io.ReadAll(o.NewWholeReader(io.MultiReader(bytes.NewReader(sealed[:cut]), iotest.ErrReader(broken))))
		if !errors.Is(err, broken) || errors.Is(err, envelope.ErrFrame) || errors.Is(err, envelope.ErrTrailer) || !bytes.HasPrefix(plain, got) || len(got) > 2*frame {
			t.Errorf("broken at %d: %d bytes, %v", cut, len(got), err)
		}
	}
}

// TestEmptyObject: it has no byte, and what a store gives instead is refused.
func TestEmptyObject(t *testing.T) {
	broken := errors.New("connection reset")
	o := envelope.NewDEK().Single(0)
	for _, test := range []struct {
		src  io.Reader
		want error
	}{{bytes.NewReader(nil), nil}, {bytes.NewReader([]byte{0}), envelope.ErrSize}, {iotest.ErrReader(broken), broken}} {
		r := o.NewWholeReader(test.src)
		if err := r.Prime(); !errors.Is(err, test.want) {
			t.Errorf("primed: %v, want %v", err, test.want)
		}
		if got, err := io.ReadAll(r); !errors.Is(err, test.want) || len(got) > 0 {
			t.Errorf("%d bytes, %v, want %v", len(got), err, test.want)
		}
	}
	if got, err := io.ReadAll(o.NewReader(bytes.NewReader(nil), 0, 0, envelope.Attempt{})); err != nil || len(got) > 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// readWith reads r to its end with reads of size bytes.
func readWith(r io.Reader, size int) (all []byte, err error) {
	for p := make([]byte, size); ; {
		n, err := r.Read(p)
		all = append(all, p[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// object is a sealed object of either kind, with the way to open a range of it.
type object struct {
	sealed, plain []byte
	open          func(sealed []byte, off, n int64) ([]byte, error)
}

func singleObject(t testing.TB, n int64) object { return singleIn(t, envelope.NewDEK(), n) }

func singleIn(t testing.TB, dek *envelope.DEK, n int64) object {
	plain := pattern(n)
	return object{seal(t, dek, plain), plain, func(sealed []byte, off, n int64) ([]byte, error) {
		o := dek.Single(int64(len(plain)))
		if n < 0 {
			return io.ReadAll(o.NewWholeReader(bytes.NewReader(sealed)))
		}
		start, span := o.Span(off, n)
		return io.ReadAll(o.NewReader(bytes.NewReader(sealed[min(start, int64(len(sealed))):min(start+span, int64(len(sealed)))]), off, n, envelope.Attempt{}))
	}}
}

func multipartObject(t testing.TB, uploads ...upload) object {
	return multipartIn(t, envelope.NewDEK(), uploads...)
}

func multipartIn(t testing.TB, dek *envelope.DEK, uploads ...upload) object {
	sealed, plain, _ := multipart(t, dek, uploads...)
	return object{sealed, plain, func(sealed []byte, off, n int64) ([]byte, error) { return openMultipart(dek, sealed, off, n) }}
}

// layouts are objects of every kind.
func layouts(t testing.TB) map[string]object {
	return map[string]object{
		"single":              singleObject(t, 3*frame+17),
		"one small part":      multipartObject(t, upload{1, 1000, false}),
		"regular":             multipartObject(t, upload{1, row, false}, upload{2, row, false}, upload{3, 100, false}),
		"regular, full last":  multipartObject(t, upload{1, row, false}, upload{2, row, false}),
		"regular, unbound":    multipartObject(t, upload{1, row, true}, upload{2, row, false}, upload{3, row - 1, true}),
		"irregular sizes":     multipartObject(t, upload{1, row + 512, false}, upload{2, row + 1, true}, upload{3, 3, false}),
		"gaps":                multipartObject(t, upload{2, row, false}, upload{7, row, false}, upload{10000, 1, false}),
		"growing":             multipartObject(t, upload{1, frame, false}, upload{2, 2 * frame, false}, upload{3, 3 * frame, true}),
		"empty part in front": multipartObject(t, upload{1, 0, false}, upload{2, 0, true}, upload{4, frame + 3, true}),
		"empty parts":         multipartObject(t, upload{1, 0, false}, upload{2, 5, false}, upload{3, 0, false}),
		"one empty part":      multipartObject(t, upload{1, 0, false}),
		"two layers":          singleIn(t, envelope.NewDSSEKey(), 3*frame+17),
		"parts in two layers": multipartIn(t, envelope.NewDSSEKey(), upload{1, row + 512, false}, upload{2, row + 1, true}, upload{3, 0, false}),
	}
}

func TestRanges(t *testing.T) {
	for name, o := range layouts(t) {
		t.Run(name, func(t *testing.T) {
			if got := must(o.open(o.sealed, 0, -1))(t); !bytes.Equal(got, o.plain) {
				t.Fatal("whole object opened differently")
			}
			size := int64(len(o.plain))
			rapid.Check(t, func(t *rapid.T) {
				if size == 0 {
					return
				}
				near := rapid.OneOf(rapid.Int64Range(0, size-1), rapid.Map(rapid.Int64Range(0, size/frame), func(k int64) int64 { return min(k*frame, size-1) }))
				off := near.Draw(t, "off")
				n := rapid.OneOf(rapid.Int64Range(1, size-off), rapid.Int64Range(1, min(size-off, 3))).Draw(t, "n")
				got, err := o.open(o.sealed, off, n)
				if err != nil || !bytes.Equal(got, o.plain[off:off+n]) {
					t.Fatalf("[%d, +%d): %d bytes, %v", off, n, len(got), err)
				}
			})
		})
	}
}

// TestSpan: a range is read from the frames that it lies in, and from no others but those of empty parts at the object's
// ends. Only what starts within an unbound part needs to know the attempt.
func TestSpan(t *testing.T) {
	const sealedFrame = frame + envelope.FrameOverhead
	dek := envelope.NewDEK()
	single := dek.Single(2*frame + 10)
	parts := dek.Multipart([]envelope.Part{
		{Number: 1}, {Number: 2, Size: 2*frame + 10, Bound: true}, {Number: 3, Size: frame + 10}, {Number: 4, Size: 5, Bound: true}, {Number: 5},
	})
	const part2, part3, part4, part5 = 28, 28 + 2*sealedFrame + 38, 28 + 3*sealedFrame + 76, 28 + 3*sealedFrame + 109
	for _, test := range []struct {
		o             *envelope.Object
		off, n        int64
		start, length int64
		unbound       int64 // where its attempt stands; -1: none is needed
	}{
		{dek.Single(0), 0, 0, 0, 0, -1},
		{single, 0, 1, 0, sealedFrame, -1},
		{single, frame - 1, 1, 0, sealedFrame, -1},
		{single, frame - 1, 2, 0, 2 * sealedFrame, -1},
		{single, frame, frame, sealedFrame, sealedFrame, -1},
		{single, 2 * frame, 1, 2 * sealedFrame, 38, -1},
		{single, 0, 2*frame + 10, 0, 2*sealedFrame + 38, -1},
		{parts, 0, 1, 0, part2 + sealedFrame, -1},
		{parts, 1, 1, part2, sealedFrame, -1},
		{parts, frame, 1, part2 + sealedFrame, sealedFrame, -1},
		{parts, 2*frame + 9, 1, part2 + 2*sealedFrame, 38, -1},
		{parts, 2*frame + 9, 2, part2 + 2*sealedFrame, 38 + sealedFrame, -1},
		{parts, 2*frame + 10, 1, part3, sealedFrame, -1},
		{parts, 3*frame + 10, 1, part3 + sealedFrame, 38, part3},
		{parts, 3*frame + 20, 4, part4, 33, -1},
		{parts, 3*frame + 20, 5, part4, 33 + 28, -1},
		{parts, 3*frame + 15, 10, part3 + sealedFrame, part5 + 28 - part3 - sealedFrame, part3},
	} {
		if start, length := test.o.Span(test.off, test.n); start != test.start || length != test.length {
			t.Errorf("[%d, +%d): at %d, %d bytes; want %d, %d", test.off, test.n, start, length, test.start, test.length)
		}
		if test.n == 0 {
			continue
		}
		if at, ok := test.o.Unbound(test.off); ok != (test.unbound >= 0) || ok && at != test.unbound {
			t.Errorf("[%d, +%d): attempt at %d, %v; want %d", test.off, test.n, at, ok, test.unbound)
		}
	}
}

// TestKindsAndLengths: the length alone tells kinds apart, and every trailer survives a round trip.
func TestKindsAndLengths(t *testing.T) {
	all := layouts(t)
	for name, irregular := range map[string]bool{
		"single": false, "one small part": false, "regular": false, "regular, full last": false, "regular, unbound": false,
		"irregular sizes": true, "gaps": true, "growing": true, "empty parts": true, "empty part in front": true, "one empty part": true,
	} {
		o := all[name]
		n := int64(len(o.sealed))
		if got := envelope.IsIrregularSize(n); got != irregular {
			t.Errorf("%s: irregular = %v", name, got)
		}
		p, ok := envelope.PlaintextSize(n)
		if ok == irregular || (ok && p != int64(len(o.plain))) {
			t.Errorf("%s: PlaintextSize = %d, %v", name, p, ok)
		}
		p, _, err := envelope.ParseTail(o.sealed[n-envelope.TailSize:])
		if err != nil || p != int64(len(o.plain)) {
			t.Errorf("%s: tail says %d, %v", name, p, err)
		}
	}
}
