package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// gcmPlaintext decrypts what AES-256-GCM has made and does not look at its tag: NIST SP 800-38D, section 7.2, steps 5 and 6.
func gcmPlaintext(t *testing.T, key, sealed []byte) []byte {
	t.Helper()
	counter := append(bytes.Clone(sealed[:nonceSize]), 0, 0, 0, 2)
	plain := make([]byte, len(sealed)-FrameOverhead)
	cipher.NewCTR(must(aes.NewCipher(key))(t), counter).XORKeyStream(plain, sealed[nonceSize:len(sealed)-16])
	return plain
}

// blocksInCommon counts the cipher blocks that two texts have in the same place.
func blocksInCommon(a, b []byte) (n int) {
	for i := 0; i+aes.BlockSize <= min(len(a), len(b)); i += aes.BlockSize {
		if bytes.Equal(a[i:i+aes.BlockSize], b[i:i+aes.BlockSize]) {
			n++
		}
	}
	return n
}

// TestTwoLayers: either key of a DSSE object decrypts no block of a frame, of the box or of the wrapped DEK; both do. That is what makes
// two layers of it.
func TestTwoLayers(t *testing.T) {
	dek := NewDSSEKey()
	const size = 3*FrameSize + 100
	plain := pattern(size)
	e := &Envelope{Mode: ModeDSSE, OwnKey: true, Length: size, KeyID: "first", WrappedKey: random(64), SecondKeyID: "second", SecondWrappedKey: random(64)}
	wrapping := random(64)
	if err := e.Wrap(wrapping, dek, digest(checksum.SHA256, plain), "vectors", "object"); err != nil {
		t.Fatal(err)
	}
	sealed := must(io.ReadAll(dek.NewSealer(bytes.NewReader(plain), size, func() checksum.Value { return checksum.Value{} })))(t)
	trailer := sealed[SealedPartSize(size):]
	tail := len(trailer) - TailSize
	record := must(dek.trailer().Open(nil, nil, bytes.Clone(trailer[56+16:tail]), bytes.Join([][]byte{trailer[:56+16], trailer[tail:]}, nil)))(t)
	type box struct{ keys, sealed, plain []byte }
	boxes := map[string]box{
		"box":         {dek.keys("trailer"), trailer[56+16 : tail], record},
		"wrapped DEK": {append(bytes.Clone(wrapping[:32]), derive(dek.second[:], "sseproxy/1 second wrap")...), e.wrappedDEK, dek.key[:]},
	}
	for i, name := range []string{"frame 0", "frame 1", "frame 2", "last frame"} {
		end := min((i+1)*sealedFrame, int(SealedPartSize(size)))
		boxes[name] = box{dek.keys("single"), sealed[i*sealedFrame : end], plain[i*FrameSize : min((i+1)*FrameSize, size)]}
	}
	for name, b := range boxes {
		first, second := b.keys[:32], b.keys[32:]
		unmasked := bytes.Clone(b.sealed)
		layers{second: must(aes.NewCipher(second))(t)}.mask(unmasked)
		if n := blocksInCommon(gcmPlaintext(t, first, b.sealed), b.plain); n > 0 {
			t.Errorf("%s: the first key alone decrypts %d blocks", name, n)
		}
		if n := blocksInCommon(unmasked[nonceSize:], b.plain); n > 0 {
			t.Errorf("%s: the second key alone decrypts %d blocks", name, n)
		}
		if got := gcmPlaintext(t, first, unmasked); !bytes.HasPrefix(got, b.plain) {
			t.Errorf("%s: both keys do not decrypt it", name)
		}
	}
}

// TestEachKeyAloneOpensNothing: with a wrong key of either layer an object of every kind is an error, and no byte comes out.
func TestEachKeyAloneOpensNothing(t *testing.T) {
	dek := NewDSSEKey()
	const size = FrameSize + 1
	sealed := must(io.ReadAll(dek.NewSealer(bytes.NewReader(pattern(size)), size, func() checksum.Value { return checksum.Value{} })))(t)
	for name, wrong := range map[string]*DEK{
		"the first alone":  {key: dek.key},
		"another first":    {key: NewDEK().key, second: dek.second},
		"another second":   {key: dek.key, second: NewDSSEKey().second},
		"in another order": {key: *dek.second, second: &dek.key},
	} {
		got, err := io.ReadAll(wrong.Single(size).NewWholeReader(bytes.NewReader(sealed)))
		if len(got) > 0 || !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if _, err := wrong.OpenTrailer(sealed[SealedPartSize(size):]); !errors.Is(err, ErrTrailer) {
			t.Errorf("%s: trailer: %v", name, err)
		}
	}
}

// TestReadingLeavesSealedBytes: opening decrypts in place, but never in the caller's bytes.
func TestReadingLeavesSealedBytes(t *testing.T) {
	dek := NewDSSEKey()
	sealed := must(io.ReadAll(dek.NewSealer(bytes.NewReader(pattern(10)), 10, func() checksum.Value { return checksum.Value{} })))(t)
	before := bytes.Clone(sealed)
	for range 2 {
		must(io.ReadAll(dek.Single(10).NewWholeReader(bytes.NewReader(sealed))))(t)
		must(dek.OpenTrailer(sealed[SealedPartSize(10):]))(t)
	}
	if !bytes.Equal(sealed, before) {
		t.Error("the sealed bytes were changed")
	}
}

// TestCommitmentIsToBothKeys: envelopes of two DEKs that share one key commit to different ones.
func TestCommitmentIsToBothKeys(t *testing.T) {
	dek := NewDSSEKey()
	seen := make(map[string]bool)
	for _, d := range []*DEK{dek, {key: dek.key}, {key: *dek.second}, {key: *dek.second, second: &dek.key}, {key: dek.key, second: NewDSSEKey().second}, {key: NewDEK().key, second: dek.second}} {
		seen[string(d.commitment())] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d commitments of 6 keys", len(seen))
	}
}
