package sigv4

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

const unsignedPayload = "UNSIGNED-PAYLOAD"

// A framing is how the payload is sent.
type framing struct{ chunked, signed, trailer bool }

// framings are the values of x-amz-content-sha256 other than a hash.
var framings = map[string]framing{
	unsignedPayload:                              {},
	"STREAMING-UNSIGNED-PAYLOAD-TRAILER":         {chunked: true, trailer: true},
	"STREAMING-AWS4-HMAC-SHA256-PAYLOAD":         {chunked: true, signed: true},
	"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": {chunked: true, signed: true, trailer: true},
}

// A declaration is what the head of a request says about its payload.
type declaration struct {
	framing
	sha256     []byte             // nil: not hashed as a whole
	length     int64              // of the payload itself; -1: not said
	contentMD5 checksum.Value     // of Content-MD5
	checksum   checksum.Value     // of x-amz-checksum-*
	trailer    checksum.Algorithm // that x-amz-trailer announces
}

// parseDeclaration reads all that is said about the payload. It refuses what is
// malformed, what contradicts itself and what could not be verified.
func parseDeclaration(r *http.Request, h http.Header, payload string, presigned, complete bool) (d declaration, err error) {
	if d.framing, d.sha256, err = parsePayload(payload); err != nil {
		return d, err
	}
	if d.chunked && (r.Method != http.MethodPut || presigned) {
		return d, invalidRequest("The value of x-amz-content-sha256 header is invalid.")
	}
	if d.length, err = parseLength(r, h, d.framing); err != nil {
		return d, err
	}
	if md5 := h["Content-Md5"]; md5 != nil {
		if d.contentMD5, err = checksum.Parse(checksum.MD5, md5[0]); err != nil {
			return d, newError("InvalidDigest", "The Content-MD5 you specified was invalid.", Field{"Content-MD5", md5[0]})
		}
	}
	if d.trailer, err = parseTrailer(h, d.framing); err != nil {
		return d, err
	}
	sums, err := checksumHeaders(h)
	if err != nil || complete {
		return d, err
	}
	if len(sums) > 1 || len(sums) == 1 && d.trailer != 0 {
		return d, invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	for _, a := range sums {
		if d.checksum, err = checksum.Parse(a, h.Get(a.Header())); err != nil {
			return d, invalidHeader(a.Header())
		}
	}
	return d, d.checkAlgorithm(h)
}

// parsePayload reads x-amz-content-sha256.
func parsePayload(payload string) (f framing, sum []byte, err error) {
	if f, ok := framings[payload]; ok {
		return f, nil, nil
	}
	if strings.HasPrefix(payload, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") {
		return f, nil, newError("NotImplemented", "Signature Version 4A is not supported. Please use AWS4-HMAC-SHA256.")
	}
	sum, err = hex.DecodeString(payload)
	if err != nil || len(payload) != 64 {
		return f, nil, invalidArgument("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "+
			"STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, "+
			"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
			"x-amz-content-sha256", payload)
	}
	return f, sum, nil
}

// parseLength returns the length of the payload, -1 if the client does not say.
func parseLength(r *http.Request, h http.Header, f framing) (int64, error) {
	if r.ContentLength != 0 && r.Method != http.MethodPut && r.Method != http.MethodPost {
		return 0, invalidRequest("A " + r.Method + " request must not have a body.")
	}
	decoded := h["X-Amz-Decoded-Content-Length"]
	switch {
	case decoded == nil && f.signed:
		return 0, errNoLength
	case decoded == nil && f.chunked:
		return -1, nil
	case decoded == nil:
		return r.ContentLength, nil
	}
	length, err := strconv.ParseUint(decoded[0], 10, 63)
	switch {
	case err != nil:
		return 0, errNoLength
	case !f.chunked && int64(length) != r.ContentLength:
		return 0, invalidHeader("x-amz-decoded-content-length")
	}
	return int64(length), nil
}

var errNoLength = newError("MissingContentLength", "You must provide the Content-Length HTTP header.")

// checksumHeaders returns the algorithms of the x-amz-checksum-* headers that
// carry a checksum.
func checksumHeaders(h http.Header) ([]checksum.Algorithm, error) {
	var sums []checksum.Algorithm
	for key := range h {
		name, ok := strings.CutPrefix(strings.ToLower(key), "x-amz-checksum-")
		if !ok || name == "algorithm" || name == "mode" || name == "type" {
			continue
		}
		a, ok := checksum.ByName(name)
		if !ok {
			return nil, invalidRequest("The algorithm type you specified in x-amz-checksum- header is invalid.")
		}
		sums = append(sums, a)
	}
	return sums, nil
}

// parseTrailer returns the algorithm that x-amz-trailer announces, 0 if none.
func parseTrailer(h http.Header, f framing) (checksum.Algorithm, error) {
	names := h["X-Amz-Trailer"]
	if names == nil {
		if f.signed && f.trailer {
			return 0, errTrailer
		}
		return 0, nil
	}
	a, ok := checksum.ByHeader(names[0])
	if !ok || !f.trailer {
		return 0, invalidRequest("The value specified in the x-amz-trailer header is not supported")
	}
	return a, nil
}

// checkAlgorithm checks that the algorithm that an SDK says it has used is the
// one whose checksum it sends.
func (d declaration) checkAlgorithm(h http.Header) error {
	name := h["X-Amz-Sdk-Checksum-Algorithm"]
	if name == nil {
		return nil
	}
	sent := d.checksum.Algorithm | d.trailer // one of them is 0
	if sent == 0 {
		return invalidRequest("x-amz-sdk-checksum-algorithm specified, " +
			"but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	if a, ok := checksum.ByName(name[0]); !ok || a != sent {
		return invalidHeader("x-amz-sdk-checksum-algorithm")
	}
	return nil
}

func invalidHeader(name string) error {
	return invalidRequest("Value for " + name + " header is invalid.")
}
