package envelope_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

const (
	frame = envelope.FrameSize
	row   = envelope.MinPartSize
)

// borders returns every plaintext length near a frame or row border up to limit.
func borders(limit int64) []int64 {
	var all []int64
	for _, step := range []int64{frame, row} {
		for at := int64(0); at <= limit; at += step {
			for d := int64(-3); d <= 3; d++ {
				if p := at + d; p >= 0 {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

// TestSealedSizeByExhaustion walks every sealed length over the first borders: each is regular for exactly one
// plaintext length, or irregular for exactly the lengths C(64 KiB·k) + 1, or impossible.
func TestSealedSizeByExhaustion(t *testing.T) {
	limit := envelope.SealedSize(row + 2*frame)
	p, irregular := int64(0), 0
	for c := int64(0); c <= limit; c++ {
		for envelope.SealedSize(p) < c {
			if envelope.SealedSize(p+1) <= envelope.SealedSize(p) {
				t.Fatalf("C(%d) is not above C(%d)", p+1, p)
			}
			p++
		}
		isRegular := envelope.SealedSize(p) == c
		got, ok := envelope.PlaintextSize(c)
		if ok != isRegular || (ok && got != p) {
			t.Fatalf("PlaintextSize(%d) = %d, %v; want %d, %v", c, got, ok, p, isRegular)
		}
		isIrregular := p > 1 && (p-1)%frame == 0 && c == envelope.SealedSize(p-1)+1
		if got := envelope.IsIrregularSize(c); got != isIrregular || (got && isRegular) {
			t.Fatalf("IsIrregularSize(%d) = %v, want %v", c, got, isIrregular)
		}
		if isIrregular {
			irregular++
		}
	}
	if irregular != row/frame+2-1 {
		t.Errorf("%d irregular lengths", irregular)
	}
}

func TestSealedSizeAtBorders(t *testing.T) {
	for _, p := range borders(1 << 30) {
		c := envelope.SealedSize(p)
		if got, ok := envelope.PlaintextSize(c); !ok || got != p {
			t.Fatalf("PlaintextSize(C(%d)) = %d, %v", p, got, ok)
		}
	}
}

func TestSealedSizeAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.Int64Range(0, envelope.MaxParts*envelope.MaxSealedPart).Draw(t, "p")
		c := envelope.SealedSize(p)
		if got, ok := envelope.PlaintextSize(c); !ok || got != p {
			t.Fatalf("PlaintextSize(C(%d)) = %d, %v", p, got, ok)
		}
		if got, ok := envelope.PlaintextSize(c + 1); ok && got != p+1 {
			t.Fatalf("PlaintextSize(C(%d)+1) = %d", p, got)
		}
	})
	for _, c := range []int64{-1, 1, 288, 1 << 62} {
		if p, ok := envelope.PlaintextSize(c); ok {
			t.Errorf("PlaintextSize(%d) = %d, want none", c, p)
		}
	}
}

// TestSealedSizeOfGreatObjects: figures of docs/format.md's formula around the row that is the last, which another program
// computed.
func TestSealedSizeOfGreatObjects(t *testing.T) {
	for p, want := range map[int64]int64{
		9999 * row:             52_446_435_044,
		9999*row + 1:           52_446_435_121,
		10000 * row:            52_451_680_212,
		10000*row + 1:          52_451_680_241,
		10001 * row:            52_456_925_332,
		10000 * 1024 * row:     53_710_029_280_212,
		10000*1024*row - 1:     53_710_029_280_211,
		10000*1024*row - frame: 53_710_029_214_648,
	} {
		if got := envelope.SealedSize(p); got != want {
			t.Errorf("C(%d) = %d, want %d", p, got, want)
		}
	}
}

// TestPartSizes: a part's length is exactly invertible, up to the longest part that a store takes.
func TestPartSizes(t *testing.T) {
	p := int64(0)
	for c := int64(-1); c <= 3*(frame+28); c++ {
		for p < 3*frame && envelope.SealedPartSize(p) < c {
			p++
		}
		got, ok := envelope.PartPlaintextSize(c)
		if want := envelope.SealedPartSize(p) == c; ok != want || ok && got != p {
			t.Fatalf("PartPlaintextSize(%d) = %d, %v; want %d, %v", c, got, ok, p, want)
		}
	}
	const longest = 5_366_416_312 // docs/format.md states it
	if p, ok := envelope.PartPlaintextSize(envelope.MaxSealedPart); !ok || p != longest {
		t.Errorf("PartPlaintextSize(5 GiB) = %d, %v", p, ok)
	}
	if p, ok := envelope.PartPlaintextSize(envelope.SealedPartSize(longest + 1)); ok {
		t.Errorf("a part that seals to more than 5 GiB has %d bytes", p)
	}
}

// TestLargestPut holds the figure that docs/format.md states.
func TestLargestPut(t *testing.T) {
	const largest = 5_366_366_976
	if got := envelope.SealedSize(largest); got > envelope.MaxSealedPart {
		t.Errorf("%d bytes seal to %d", int64(largest), got)
	}
	if got := envelope.SealedSize(largest + 1); got <= envelope.MaxSealedPart {
		t.Errorf("%d bytes would fit, too: they seal to %d", int64(largest+1), got)
	}
}
