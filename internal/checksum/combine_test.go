package checksum_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

func TestCombine(t *testing.T) {
	sum := func(a checksum.Algorithm, b []byte) []byte {
		h := a.New()
		h.Write(b)
		return h.Sum(nil)
	}
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]checksum.Algorithm{checksum.CRC32, checksum.CRC32C, checksum.CRC64NVME}).Draw(t, "algorithm")
		first, second := rapid.SliceOf(rapid.Byte()).Draw(t, "first"), rapid.SliceOf(rapid.Byte()).Draw(t, "second")
		got := checksum.Combine(a, sum(a, first), sum(a, second), int64(len(second)))
		if want := sum(a, append(first, second...)); !bytes.Equal(got, want) {
			t.Fatalf("%s: %x, want %x", a, got, want)
		}
	})
	for a := checksum.CRC32; a.Valid(); a++ {
		if want := a <= checksum.CRC64NVME; a.CanCombine() != want {
			t.Errorf("%s: CanCombine is %v", a, !want)
		}
	}
}
