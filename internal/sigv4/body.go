package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// A Body is the payload of a request. It verifies while it is read all that the
// client said about it: length, SHA-256, the signatures of chunks and trailer,
// Content-MD5, and the checksum of a header or trailer.
//
// Bytes are handed out before all of that is known, so nothing may be committed
// before Read has returned io.EOF. To be on the safe side, if the length is
// known the last of the bytes are held back until all is verified: who counts
// bytes instead of waiting for io.EOF gets too few of a payload that is wrong.
type Body struct {
	declaration
	src     io.Reader
	chunks  *chunkReader // src, if the payload is framed
	digests []digest
	read    int64
	err     error // of every further Read
}

// A digest is a hash that the payload must have.
type digest struct {
	hash.Hash
	check func(sum []byte) error
}

// newBody returns the body of r. If it is known to be empty it is verified at
// once: handlers of bodiless requests need not read it.
func newBody(r *http.Request, d declaration, s signature, key []byte) (*Body, error) {
	b := &Body{declaration: d, src: r.Body}
	if b.src == nil {
		b.src = http.NoBody
	}
	if d.chunked {
		b.chunks = newChunkReader(b.src, d, s, key)
		b.src = b.chunks
	}
	b.addDigests()
	if r.ContentLength == 0 {
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	return b, nil
}

// addDigests makes the hashes that b's declaration asks for.
func (b *Body) addDigests() {
	if b.sha256 != nil {
		b.digests = append(b.digests, digest{sha256.New(), b.checkSHA256})
	}
	if b.contentMD5.Sum != nil {
		b.digests = append(b.digests, digest{checksum.MD5.New(), b.checkContentMD5})
	}
	if a := b.checksum.Algorithm | b.trailer; a != 0 { // one of them is 0
		b.digests = append(b.digests, digest{a.New(), b.checkChecksum})
	}
}

// Length returns the length of the payload in bytes, or -1 if the client did
// not say.
func (b *Body) Length() int64 { return b.length }

// Chunked reports whether the payload came in aws-chunked framing.
func (b *Body) Chunked() bool { return b.chunks != nil }

// SHA256 returns, in hexadecimal, the hash that the payload is signed with as a
// whole, if it is.
func (b *Body) SHA256() (string, bool) { return hex.EncodeToString(b.sha256), b.sha256 != nil }

// ContentMD5 returns the value of the Content-MD5 header, if there is one.
func (b *Body) ContentMD5() (checksum.Value, bool) { return b.contentMD5, b.contentMD5.Sum != nil }

// Declared returns the checksum that is declared in a header, and so is known
// before the payload.
func (b *Body) Declared() (checksum.Value, bool) { return b.checksum, b.checksum.Sum != nil }

// TrailerAlgorithm returns the algorithm of the checksum that is to follow the
// payload, or 0 if none was announced.
func (b *Body) TrailerAlgorithm() checksum.Algorithm { return b.trailer }

// Checksum returns the checksum from header or trailer, if there is one. It
// has been verified, and so is only known after Read has returned io.EOF.
func (b *Body) Checksum() (checksum.Value, bool) {
	if !errors.Is(b.err, io.EOF) {
		return checksum.Value{}, false
	}
	v := b.expected()
	return v, v.Sum != nil
}

// expected returns the checksum that the payload must have. That of a trailer
// is there when the chunks are at their end.
func (b *Body) expected() checksum.Value {
	if b.trailer != 0 {
		return b.chunks.checksum
	}
	return b.checksum
}

// Read reads from the payload. It returns io.EOF when the payload is complete
// and everything about it has been verified. If it proves wrong the error is an
// *Error; any other is a fault of the connection. Errors last.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.read += int64(n)
	for _, d := range b.digests {
		d.Write(p[:n])
	}
	switch {
	case b.length >= 0 && b.read > b.length:
		err = errLength
	case err == nil && b.read == b.length:
		err = expectEOF(b.src)
	}
	if err == io.EOF { //nolint:errorlint // a wrapped end is a fault
		if err = b.verify(); err == nil {
			b.err = io.EOF
			if n == 0 {
				return 0, io.EOF
			}
		}
	}
	if err != nil {
		b.err = readError(err)
		return 0, b.err
	}
	return n, nil
}

// verify compares the payload, now read to its end, with what it was said to be.
func (b *Body) verify() error {
	if b.length >= 0 && b.read != b.length {
		return errLength
	}
	for _, d := range b.digests {
		if err := d.check(d.Sum(nil)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Body) checkSHA256(sum []byte) error {
	if bytes.Equal(sum, b.sha256) {
		return nil
	}
	return newError("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
		Field{"ClientComputedContentSHA256", hex.EncodeToString(b.sha256)},
		Field{"S3ComputedContentSHA256", hex.EncodeToString(sum)})
}

func (b *Body) checkContentMD5(sum []byte) error {
	if bytes.Equal(sum, b.contentMD5.Sum) {
		return nil
	}
	return newError("BadDigest", "The Content-MD5 you specified did not match what we received.",
		Field{"ExpectedDigest", hex.EncodeToString(b.contentMD5.Sum)}, // so S3 has it, and the other in base64
		Field{"CalculatedDigest", checksum.Value{Algorithm: checksum.MD5, Sum: sum}.String()})
}

func (b *Body) checkChecksum(sum []byte) error {
	want := b.expected()
	// There is no trailer to an end that the chunks have not reached.
	if want.Sum != nil && bytes.Equal(sum, want.Sum) {
		return nil
	}
	return newError("BadDigest", fmt.Sprintf("The %s you specified did not match the calculated checksum.", want.Algorithm))
}

// errLength is S3's for a payload that is shorter than it was said to be, or longer.
var errLength = incompleteBody("You did not provide the number of bytes specified by the Content-Length HTTP header")

// expectEOF returns io.EOF if there is nothing more to read.
func expectEOF(r io.Reader) error {
	if n, err := io.ReadFull(r, make([]byte, 1)); n == 0 {
		return err
	}
	return errLength
}

// readError tells what the client got wrong from a fault of the connection. It
// never is io.EOF, wrapped or not.
func readError(err error) error {
	var wrong *Error
	switch {
	case errors.As(err, &wrong):
		own := *wrong // the caller may add to it
		return &own
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return readError(errLength)
	}
	return fmt.Errorf("reading request body: %w", err)
}
