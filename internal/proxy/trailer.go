package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// A checksum of the sealed bytes goes to the store only where S3 demands one, which it does of objects under Object Lock, and where they take
// the place of what is nowhere else; of bytes that are not sealed the client's goes there. In front of the body it is a header; behind one that is
// not known before, a trailer in S3's own framing.

const unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

// needsChecksum reports whether S3 demands a checksum with these headers of a PutObject ("Object Lock considerations" in the
// Amazon S3 User Guide).
func needsChecksum(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-Object-Lock-") {
			return true
		}
	}
	return false
}

// setChecksum puts a checksum into the header of a request to the store. The zero value is none.
func setChecksum(h http.Header, sum checksum.Value) {
	if sum.Algorithm != 0 {
		h.Set(sum.Algorithm.Header(), sum.String())
	}
}

// withTrailer frames a body as one chunk with its checksum behind it, which sum gives once the body is read.
func withTrailer(out outgoing, a checksum.Algorithm, sum func() checksum.Value) outgoing {
	head := fmt.Sprintf("%x\r\n", out.length)
	tail := &trailerReader{algorithm: a, sum: sum}
	out.header.Set("X-Amz-Trailer", a.Header())
	out.header.Set("X-Amz-Decoded-Content-Length", strconv.FormatInt(out.length, 10))
	encoding := "aws-chunked"
	if own := out.header.Get("Content-Encoding"); own != "" {
		encoding = own + ",aws-chunked"
	}
	out.header.Set("Content-Encoding", encoding)
	out.body = io.MultiReader(strings.NewReader(head), out.body, tail)
	out.length += int64(len(head) + len(tail.text(checksum.Value{Sum: make([]byte, a.Size())})))
	out.sha256 = unsignedTrailer
	return out
}

// trailerReader yields what stands behind a chunk, once that is read.
type trailerReader struct {
	algorithm checksum.Algorithm
	sum       func() checksum.Value
	rest      *strings.Reader
}

func (t *trailerReader) text(sum checksum.Value) string {
	return "\r\n0\r\n" + t.algorithm.Header() + ":" + sum.String() + "\r\n\r\n"
}

func (t *trailerReader) Read(p []byte) (int, error) {
	if t.rest == nil {
		t.rest = strings.NewReader(t.text(t.sum()))
	}
	return t.rest.Read(p)
}
