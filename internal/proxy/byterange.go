package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

const (
	sealedFrame = envelope.FrameSize + envelope.FrameOverhead
	// maxOffset bounds what a range may name; every object is shorter. It keeps the arithmetic from overflow.
	maxOffset = 1 << 50
	// maxTrailer is the longest trailer, in bytes, of a single object: what a suffix range asks for besides frames.
	maxTrailer = 50 << 10
)

// byteRange is a Range header that S3 heeds: one range of bytes in the plaintext. Forms that S3 ignores (RFC 9110 section
// 14.2 allows it) are no byteRange: several ranges, other units, a first byte behind the last.
type byteRange struct {
	first, last int64 // last < 0: to the end
	suffix      int64 // last bytes of the object, when first < 0
}

// parseRange returns nil if there is no range to heed.
func parseRange(header string) *byteRange {
	spec, ok := strings.CutPrefix(header, "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	if !ok || !dash || strings.Contains(spec, ",") {
		return nil
	}
	if from == "" {
		n, ok := parseOffset(to)
		if !ok {
			return nil
		}
		return &byteRange{first: -1, suffix: n}
	}
	first, ok := parseOffset(from)
	if !ok {
		return nil
	}
	if to == "" {
		return &byteRange{first: first, last: -1}
	}
	last, ok := parseOffset(to)
	if !ok || last < first {
		return nil
	}
	return &byteRange{first: first, last: last}
}

// parseOffset reads digits alone, of a number below 2⁶³; what exceeds every object is cut to maxOffset.
func parseOffset(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	return min(n, maxOffset), true
}

// isEmpty reports whether r is "bytes=-0", which no object satisfies.
func (r *byteRange) isEmpty() bool { return r != nil && r.first < 0 && r.suffix == 0 }

// resolve returns the range's place in an object of size bytes; false if it has none.
func (r *byteRange) resolve(size int64) (off, n int64, ok bool) {
	if r == nil {
		return 0, size, true
	}
	if r.first < 0 {
		n = min(r.suffix, size)
		return size - n, n, n > 0
	}
	end := size
	if r.last >= 0 {
		end = min(r.last+1, size)
	}
	return r.first, end - r.first, r.first < size
}

// sealed returns the range of sealed bytes that surely holds the frames of r, for an object whose size is not known.
func (r *byteRange) sealed() *byteRange {
	switch {
	case r == nil:
		return nil
	case r.first < 0:
		frames := r.suffix/envelope.FrameSize + 2
		return &byteRange{first: -1, suffix: frames*sealedFrame + maxTrailer}
	}
	s := &byteRange{first: r.first / envelope.FrameSize * sealedFrame, last: -1}
	if r.last >= 0 {
		s.last = (r.last/envelope.FrameSize+1)*sealedFrame - 1
	}
	return s
}

// String returns the header's value.
func (r *byteRange) String() string {
	switch {
	case r.first < 0:
		return "bytes=-" + strconv.FormatInt(r.suffix, 10)
	case r.last < 0:
		return fmt.Sprintf("bytes=%d-", r.first)
	}
	return fmt.Sprintf("bytes=%d-%d", r.first, r.last)
}

// contentRange formats Content-Range for n bytes at off of size.
func contentRange(off, n, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size)
}

// checkContentRange holds a store's 206 against what was asked of an object of size sealed bytes. It returns the offset
// of the answer's first byte.
func (r *byteRange) checkContentRange(resp *http.Response, size int64) (int64, error) {
	off, n, ok := r.resolve(size)
	if got := resp.Header.Get("Content-Range"); !ok || got != contentRange(off, n, size) || resp.ContentLength != n {
		return 0, fmt.Errorf("%w: the store answered with range %q, %d bytes, of an object of %d", envelope.ErrSize, got, resp.ContentLength, size)
	}
	return off, nil
}
