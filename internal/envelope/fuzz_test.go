package envelope_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// FuzzEnvelope: what parses has one form only.
func FuzzEnvelope(f *testing.F) {
	for _, e := range sample() {
		wrappingKey, dek := keyFor(e)
		if err := e.Wrap(wrappingKey, dek, checksum.Value{}, bucket, key); err != nil {
			f.Fatal(err)
		}
		f.Add(e.String())
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := envelope.Parse(s)
		if err != nil {
			return
		}
		if e.String() != s {
			t.Errorf("re-encodes as %q", e.String())
		}
		for _, n := range []int{32, 64} {
			if _, _, err := e.Unwrap(pattern(int64(n)), bucket, key); err == nil {
				t.Error("opened under a key that nobody used")
			}
		}
	})
}

// FuzzTrailer: arbitrary bytes neither crash the parser nor pass it with a layout that their length contradicts.
func FuzzTrailer(f *testing.F) {
	dek := envelope.NewDEK()
	for _, parts := range [][]upload{{{1, 10, false}}, {{1, row, false}, {2, 9, true}}, {{3, 10, false}, {4, 70000, true}}, {{1, 0, false}}} {
		sealed, _, trailer := multipart(f, dek, parts...)
		var frames int64
		for _, p := range trailer.Parts {
			frames += envelope.SealedPartSize(p.Size)
		}
		f.Add(sealed[frames:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := envelope.NewDEK().OpenTrailer(b); err == nil {
			t.Error("opened under a key that nobody used")
		}
		trailer, err := envelope.ParseStructure(b)
		if err != nil {
			return
		}
		if p, length, err := envelope.ParseTail(b[len(b)-envelope.TailSize:]); err != nil || p != trailer.Size() || length != int64(len(b)) {
			t.Errorf("structure of %d bytes, tail of %d: %v", trailer.Size(), p, err)
		}
	})
}

// FuzzOpen alters a sealed object at will: it opens only where it is what was sealed.
func FuzzOpen(f *testing.F) {
	plain := pattern(2*frame + 100)
	deks := map[bool]*envelope.DEK{false: envelope.NewDEK(), true: envelope.NewDSSEKey()}
	objects := map[bool][]byte{false: seal(f, deks[false], plain), true: seal(f, deks[true], plain)}
	for layers, sealed := range objects {
		f.Add(layers, 0, []byte{1}, 0)
		f.Add(layers, frame, []byte{0, 0, 0}, 5)
		f.Add(layers, len(sealed)-1, []byte{0x80}, 0)
		f.Add(layers, len(sealed), []byte{0}, -1)
	}
	f.Fuzz(func(t *testing.T, layers bool, at int, mask []byte, shift int) {
		dek, sealed := deks[layers], objects[layers]
		altered := bytes.Clone(sealed)
		for i, m := range mask {
			if j := at + i; j >= 0 && j < len(altered) {
				altered[j] ^= m
			}
		}
		if shift > 0 && shift < len(altered) {
			altered = altered[:len(altered)-shift]
		} else if shift < 0 && shift > -1000 {
			altered = append(altered, make([]byte, -shift)...)
		}
		got, err := io.ReadAll(dek.Single(int64(len(plain))).NewWholeReader(bytes.NewReader(altered)))
		if (err == nil) != bytes.Equal(altered, sealed) || !bytes.HasPrefix(plain, got) {
			t.Errorf("%d bytes came out, %v", len(got), err)
		}
	})
}
