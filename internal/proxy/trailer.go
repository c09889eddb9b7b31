package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// A checksum of the sealed bytes goes to the store only where S3 demands one, which it does of objects under Object Lock. In
// front of the body it is a header; behind one that is not known before, a trailer in S3's own framing.

const (
	storeChecksum   = "X-Amz-Checksum-Crc32"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

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

func crc32Base64(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// withTrailer frames a body as one chunk with its checksum behind it.
func withTrailer(out outgoing) outgoing {
	digest := crc32.NewIEEE()
	head := fmt.Sprintf("%x\r\n", out.length)
	tail := &trailerReader{digest: digest}
	out.header.Set("X-Amz-Trailer", strings.ToLower(storeChecksum))
	out.header.Set("X-Amz-Decoded-Content-Length", strconv.FormatInt(out.length, 10))
	encoding := "aws-chunked"
	if own := out.header.Get("Content-Encoding"); own != "" {
		encoding = own + ",aws-chunked"
	}
	out.header.Set("Content-Encoding", encoding)
	out.body = io.MultiReader(strings.NewReader(head), io.TeeReader(out.body, digest), tail)
	out.length += int64(len(head) + len(tail.text()))
	out.sha256 = unsignedTrailer
	return out
}

// trailerReader yields what stands behind a chunk, once the digest has seen the chunk.
type trailerReader struct {
	digest hash.Hash32
	rest   *bytes.Reader
}

func (t *trailerReader) text() string {
	return "\r\n0\r\n" + strings.ToLower(storeChecksum) + ":" + crc32Base64(t.digest.Sum32()) + "\r\n\r\n"
}

func (t *trailerReader) Read(p []byte) (int, error) {
	if t.rest == nil {
		t.rest = bytes.NewReader([]byte(t.text()))
	}
	return t.rest.Read(p)
}
