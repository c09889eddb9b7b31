package envelope_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/minio/crc64nvme"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// pattern returns n bytes, the byte at x being (x·x + x/251) mod 256: no two frames are alike.
func pattern(n int64) []byte {
	b := make([]byte, n)
	for x := range b {
		b[x] = byte(x*x + x/251)
	}
	return b
}

func noChecksum() checksum.Value { return checksum.Value{} }

// seal returns the sealed bytes of a single object.
func seal(t testing.TB, dek *envelope.DEK, plain []byte) []byte {
	t.Helper()
	return must(io.ReadAll(dek.NewSealer(bytes.NewReader(plain), int64(len(plain)), noChecksum)))(t)
}

// upload is what a test sends as one part.
type upload struct {
	number int
	size   int64
	loose  bool // the client did not say which attempt it means
}

// multipart seals the parts of pattern in order, and returns the object with its trailer.
func multipart(t testing.TB, dek *envelope.DEK, uploads ...upload) (sealed, plain []byte, trailer *envelope.Trailer) {
	t.Helper()
	var total int64
	for _, u := range uploads {
		total += u.size
	}
	plain = pattern(total)
	trailer = &envelope.Trailer{HasCRC: true, CRC: crc64nvme.Checksum(plain), UploadIDHash: [32]byte{1}, Token: [32]byte{2}}
	rest := plain
	for _, u := range uploads {
		s := dek.NewPartSealer(bytes.NewReader(rest[:u.size]), u.number, u.size)
		sealed = append(sealed, must(io.ReadAll(s))(t)...)
		rest = rest[u.size:]
		part := envelope.Part{Number: u.number, Size: u.size}
		if !u.loose {
			part.Bound, part.Attempt = true, s.Attempt()
		}
		trailer.Parts = append(trailer.Parts, part)
	}
	return append(sealed, must(dek.SealTrailer(trailer))(t)...), plain, trailer
}

// openMultipart does what a reader of a multipart object does: tail, trailer, then the frames of [off, off+n).
func openMultipart(dek *envelope.DEK, sealed []byte, off, n int64) ([]byte, error) {
	if len(sealed) < envelope.TailSize {
		return nil, envelope.ErrSize
	}
	_, length, err := envelope.ParseTail(sealed[len(sealed)-envelope.TailSize:])
	if err != nil {
		return nil, err
	}
	if length > int64(len(sealed)) {
		return nil, envelope.ErrSize
	}
	_, o, err := dek.OpenMultipart(sealed[int64(len(sealed))-length:], int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = o.Size()
	}
	if n == 0 {
		return nil, nil
	}
	start, span := o.Span(off, n)
	var attempt envelope.Attempt
	if at, ok := o.Unbound(off); ok {
		copy(attempt[:], sealed[at:])
	}
	return io.ReadAll(o.NewReader(bytes.NewReader(sealed[start:start+span]), off, n, attempt))
}

// openSingle opens all of a single object.
func openSingle(dek *envelope.DEK, sealed []byte, length int64) ([]byte, error) {
	return io.ReadAll(dek.Single(length).NewWholeReader(bytes.NewReader(sealed)))
}

// must turns a result with an error into one that fails the test: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
