package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"io"
	"testing"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// All move the same 1 MiB, small enough to stay in the cache: the subject is the frame path, not the memory bus.
const benchSize = 1 << 20

// BenchmarkRawSeal and BenchmarkRawOpen are the baselines: crypto/aes GCM over 64 KiB buffers, nothing else.
func BenchmarkRawSeal(b *testing.B) {
	aead, nonce, plain, out := rawGCM(b)
	b.SetBytes(benchSize)
	for b.Loop() {
		for range benchSize / frame {
			aead.Seal(out, nonce, plain, nil)
		}
	}
}

func BenchmarkRawOpen(b *testing.B) {
	aead, nonce, plain, out := rawGCM(b)
	sealed := aead.Seal(nil, nonce, plain, nil)
	b.SetBytes(benchSize)
	for b.Loop() {
		for range benchSize / frame {
			if _, err := aead.Open(out, nonce, sealed, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func rawGCM(b *testing.B) (aead cipher.AEAD, nonce, plain, out []byte) {
	b.Helper()
	block := must(aes.NewCipher(make([]byte, 32)))(b)
	return must(cipher.NewGCM(block))(b), make([]byte, 12), make([]byte, frame), make([]byte, 0, frame+16)
}

func BenchmarkSeal(b *testing.B)          { benchmarkSeal(b, envelope.NewDEK()) }
func BenchmarkSealTwoLayers(b *testing.B) { benchmarkSeal(b, envelope.NewDSSEKey()) }

func benchmarkSeal(b *testing.B, dek *envelope.DEK) {
	plain, buf := pattern(frame), make([]byte, 128<<10+64)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		s := dek.NewSealer(io.LimitReader(repeat(plain), benchSize), benchSize, noChecksum)
		for err := error(nil); err == nil; {
			_, err = s.Read(buf)
		}
		if s.Err() != nil {
			b.Fatal(s.Err())
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dek := envelope.NewDEK()
	sealed := seal(b, dek, pattern(benchSize))
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.Copy(discard{}, dek.Single(benchSize).NewWholeReader(bytes.NewReader(sealed))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenRange is one 4 KiB read in the middle, with everything that a request makes anew.
func BenchmarkOpenRange(b *testing.B) {
	dek := envelope.NewDEK()
	sealed := seal(b, dek, pattern(benchSize))
	b.ReportAllocs()
	for b.Loop() {
		o := dek.Single(benchSize)
		start, span := o.Span(benchSize/2, 4096)
		if _, err := io.Copy(discard{}, o.NewReader(bytes.NewReader(sealed[start:start+span]), benchSize/2, 4096, envelope.Attempt{})); err != nil {
			b.Fatal(err)
		}
	}
}

// repeat is a source that yields its bytes again and again, from the cache.
type repeat []byte

func (r repeat) Read(p []byte) (int, error) { return copy(p, r), nil }

// discard is io.Discard without ReadFrom, so that io.Copy moves bytes as it does into a connection.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
