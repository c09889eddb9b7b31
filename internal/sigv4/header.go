package sigv4

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// signatureHeaders are spent when the signature is verified, payloadHeaders
// when the Body is made. None is the operation's, nor may one be repeated.
var (
	signatureHeaders = []string{"Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token"}
	payloadHeaders   = []string{
		"Content-Length", "Content-Md5", "X-Amz-Decoded-Content-Length", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Trailer",
	}
)

// checkHead refuses what would be too much work, and headers that must not be
// repeated because only one of them could be meant.
func checkHead(r *http.Request) error {
	size := len(r.RequestURI)
	for key, values := range r.Header {
		for _, value := range values {
			size += len(key) + len(value)
		}
	}
	if size > maxHead {
		return newError("RequestHeaderSectionTooLarge",
			"Your request header section exceeds the maximum allowed size.",
			Field{"MaxSizeAllowed", strconv.Itoa(maxHead)})
	}
	for _, keys := range [][]string{signatureHeaders, payloadHeaders, {"Date"}} {
		for _, key := range keys {
			if len(r.Header[key]) > 1 {
				return invalidArgument("A header must not be repeated.", key)
			}
		}
	}
	return nil
}

// operationHeader returns the headers as the operation understands them: those
// received, and the x-amz-* parameters of a presigned query. A parameter and a
// header of one name must agree.
//
// SDKs that presign an upload know no payload yet. What they put in the query
// about its checksum is that of an empty one; S3 does not enforce it.
func operationHeader(h http.Header, t target, complete bool) (http.Header, error) {
	merged := make(http.Header, len(h)+len(t.amz))
	for key, values := range h {
		if strings.HasPrefix(strings.ToLower(key), "x-amz-") {
			values = []string{strings.Join(values, ",")}
		}
		merged[key] = values
	}
	for name, value := range t.amz {
		key := http.CanonicalHeaderKey(name)
		if _, ok := merged[key]; ok && merged.Get(key) != value {
			return nil, invalidArgument("The header and the query parameter of this name differ.", name)
		}
		if strings.ContainsFunc(name, notToken) || strings.ContainsFunc(value, notText) {
			return nil, invalidArgument("The query parameter cannot be a header.", name)
		}
		_, sum := checksum.ByHeader(name)
		if sum && !complete || name == "x-amz-sdk-checksum-algorithm" || slices.Contains(queryAuth, name) {
			continue
		}
		merged[key] = []string{value}
	}
	return merged, nil
}

// notToken reports whether r cannot be in a header's name (RFC 9110, 5.6.2).
func notToken(r rune) bool {
	return notVisible(r) || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// notText reports whether r cannot be in a header's value (RFC 9110, 5.5).
func notText(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// payloadHash returns the last line of the canonical request.
func payloadHash(h http.Header, presigned bool) (string, error) {
	hash := h.Get("X-Amz-Content-Sha256")
	switch {
	case hash != "":
		_, _, err := parsePayload(hash)
		return hash, err
	case presigned:
		return unsignedPayload, nil
	}
	return "", invalidRequest("Missing required header for this request: x-amz-content-sha256")
}

// operationOnly removes the headers that Request.Header leaves out.
func operationOnly(h http.Header, complete bool) {
	for _, keys := range [][]string{signatureHeaders, payloadHeaders} {
		for _, key := range keys {
			delete(h, key)
		}
	}
	for key := range h {
		if _, ok := checksum.ByHeader(key); ok && !complete {
			delete(h, key)
		}
	}
	removeChunked(h)
}

// removeChunked takes aws-chunked out of the content encodings: it is S3's
// framing of the payload and not the object's.
func removeChunked(h http.Header) {
	encodings := strings.Split(strings.Join(h["Content-Encoding"], ","), ",")
	kept := slices.DeleteFunc(slices.Clone(encodings), func(s string) bool {
		return strings.EqualFold(strings.TrimSpace(s), "aws-chunked")
	})
	if len(kept) == len(encodings) {
		return
	}
	delete(h, "Content-Encoding")
	if value := strings.TrimSpace(strings.Join(kept, ",")); value != "" {
		h.Set("Content-Encoding", value)
	}
}
