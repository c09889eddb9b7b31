package sigv4

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

const (
	// maxChunkHeader is the longest line before a chunk, in bytes with its end.
	maxChunkHeader = 1024
	// maxTrailerLine is the longest line of a trailer. It is also the size of
	// the only buffer.
	maxTrailerLine = 4096
)

var (
	errChunk   = incompleteBody("The request body terminated unexpectedly")
	errTrailer = newError("MalformedTrailerError", "The request contained trailing data "+
		"that was not well-formed or did not conform to our published schema.")
	errChunkSig = newError("SignatureDoesNotMatch", "The chunk signature we calculated "+
		"does not match the signature you provided.")
)

// A chunkReader reads the payload out of aws-chunked framing. It holds no chunk
// in memory: data is hashed on its way, and its signature verified at its end.
// After an error it must not be read again.
type chunkReader struct {
	r       *bufio.Reader
	signer  *chunkSigner       // nil: chunks are not signed
	trailer checksum.Algorithm // announced; 0: none
	left    int64              // bytes of the current chunk that are not read yet
	toCome  int64              // bytes of the payload in chunks to come; -1: not said

	signature string         // of the current chunk
	checksum  checksum.Value // from the trailer
}

func newChunkReader(r io.Reader, d declaration, s signature, key []byte) *chunkReader {
	c := &chunkReader{r: bufio.NewReaderSize(r, maxTrailerLine), trailer: d.trailer, toCome: d.length}
	if d.signed {
		c.signer = &chunkSigner{
			mac:      hmac.New(sha256.New, key),
			data:     sha256.New(),
			scope:    s.date() + "\n" + s.scope(),
			previous: s.hex,
		}
	}
	return c
}

// Read returns io.EOF when it has read the last chunk and the trailer, and
// nothing follows.
func (c *chunkReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.signer != nil {
		c.signer.data.Write(p[:n])
	}
	if err == nil && c.left == 0 {
		err = c.endChunk()
	}
	if err == io.EOF { //nolint:errorlint // as io.Reader returns it
		err = errChunk
	}
	return n, err
}

// nextChunk reads the header of a chunk, and after the last one the trailer. It
// returns io.EOF at the end.
func (c *chunkReader) nextChunk() error {
	line, err := c.line(maxChunkHeader, errChunk)
	if err != nil {
		return err
	}
	digits := line
	if c.signer != nil {
		var ok bool
		if digits, c.signature, ok = strings.Cut(line, ";chunk-signature="); !ok || len(c.signature) != 2*sha256.Size {
			return errChunk
		}
	}
	// 63 bits: a size is never negative.
	size, err := strconv.ParseUint(digits, 16, 63)
	if err != nil {
		return errChunk
	}
	c.left = int64(size)
	if c.toCome >= 0 {
		if c.toCome -= c.left; c.toCome < 0 {
			return errLength
		}
	}
	if c.left > 0 {
		return nil
	}
	return c.lastChunk()
}

// endChunk reads what follows the data of a chunk and verifies its signature.
func (c *chunkReader) endChunk() error {
	if err := c.crlf(errChunk); err != nil {
		return err
	}
	return c.verifyChunk()
}

func (c *chunkReader) verifyChunk() error {
	if c.signer != nil && !c.signer.verifyChunk(c.signature) {
		return errChunkSig
	}
	return nil
}

// lastChunk verifies the empty chunk and what follows it.
func (c *chunkReader) lastChunk() error {
	if err := c.verifyChunk(); err != nil {
		return err
	}
	if c.trailer != 0 {
		if err := c.readTrailer(); err != nil {
			return err
		}
	}
	if err := c.crlf(errTrailer); err != nil {
		return err
	}
	return expectEOF(c.r)
}

// readTrailer reads the checksum that was announced, and its signature.
func (c *chunkReader) readTrailer() error {
	// Some clients put a line feed before the end of this line.
	line, err := c.until("\n", maxTrailerLine, errTrailer)
	if err != nil {
		return err
	}
	line, ok := strings.CutSuffix(line, "\r")
	if !ok {
		if err := c.crlf(errTrailer); err != nil {
			return err
		}
	}
	name, value, _ := strings.Cut(line, ":")
	if !strings.EqualFold(name, c.trailer.Header()) {
		return errTrailer
	}
	if c.signer != nil {
		signed, err := c.line(maxTrailerLine, errChunk)
		if err != nil {
			return err
		}
		signature, ok := strings.CutPrefix(signed, "x-amz-trailer-signature:")
		if !ok || len(signature) != 2*sha256.Size {
			return errChunk
		}
		if !c.signer.verifyTrailer(c.trailer.Header()+":"+value+"\n", signature) {
			return errChunkSig
		}
	}
	if c.checksum, err = checksum.Parse(c.trailer, value); err != nil {
		return invalidRequest("Value for " + c.trailer.Header() + " trailing header is invalid.")
	}
	return nil
}

// line reads a line that ends in CR LF and returns it without.
func (c *chunkReader) line(limit int, malformed error) (string, error) {
	return c.until("\r\n", limit, malformed)
}

// until reads a line of at most limit bytes. It returns it without its end, which
// must be as given.
func (c *chunkReader) until(end string, limit int, malformed error) (string, error) {
	line, err := c.r.ReadSlice('\n')
	switch {
	case err == io.EOF:
		return "", errChunk
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > limit:
		return "", malformed
	case err != nil:
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), end)
	if !ok {
		return "", malformed
	}
	return text, nil
}

// crlf reads an empty line.
func (c *chunkReader) crlf(malformed error) error {
	line, err := c.line(maxTrailerLine, malformed)
	if err == nil && line != "" {
		err = malformed
	}
	return err
}

// A chunkSigner computes the signatures of chunks and trailer, each of which
// continues the one before.
type chunkSigner struct {
	mac      hash.Hash // under the signing key
	data     hash.Hash // of the current chunk
	scope    string    // date and scope
	previous string
}

// verifyChunk verifies the signature of the current chunk.
func (c *chunkSigner) verifyChunk(signature string) bool {
	sum := hex.EncodeToString(c.data.Sum(nil))
	c.data.Reset()
	return c.verify("AWS4-HMAC-SHA256-PAYLOAD", signature, hexSHA256(""), sum)
}

// verifyTrailer verifies the signature of the trailer.
func (c *chunkSigner) verifyTrailer(trailer, signature string) bool {
	return c.verify("AWS4-HMAC-SHA256-TRAILER", signature, hexSHA256(trailer))
}

func (c *chunkSigner) verify(kind, signature string, hashes ...string) bool {
	c.mac.Reset()
	c.mac.Write([]byte(strings.Join(append([]string{kind, c.scope, c.previous}, hashes...), "\n")))
	c.previous = hex.EncodeToString(c.mac.Sum(nil))
	return hmac.Equal([]byte(c.previous), []byte(signature))
}
