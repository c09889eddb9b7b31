// Package sigv4 verifies requests signed with AWS Signature Version 4 in the
// form that Amazon S3 defines: in the Authorization header or in a presigned
// query, over a whole payload, over a stream of chunks, or over none; and forms
// that browsers post, by their signed policy.
//
// # Verifying
//
// [Verifier.Verify] takes a request as a server received it and returns what
// the client asked for, or an [*Error]. It reads nothing of a body but a form's
// fields, so that a client that waits for 100 Continue sends none before it is
// known. The payload is then read through [Body], which ends with io.EOF only
// when all that the client said about it has proved true.
//
// # The signature
//
// A client signs a canonical request, the lines of which are
//
//	method
//	path         every byte but A-Z a-z 0-9 - . _ ~ / percent-encoded; never cleaned
//	query        name=value&…, encoded likewise and / too, sorted; less X-Amz-Signature
//	name:value   one line per signed header: values trimmed, inner white space one
//	             space, repeated headers joined by a comma
//	             (empty)
//	names        of the signed headers in lower case, sorted, joined by semicolons
//	payload      x-amz-content-sha256 as sent, or UNSIGNED-PAYLOAD
//
// then hashes it into the string to sign and keys an HMAC-SHA-256 with a key
// that is bound to day, region and service:
//
//	scope     = yyyymmdd/region/s3/aws4_request
//	string    = AWS4-HMAC-SHA256 ⏎ yyyymmddThhmmssZ ⏎ scope ⏎ hex(SHA-256(canonical request))
//	key       = HMAC(HMAC(HMAC(HMAC("AWS4"+secret, yyyymmdd), region), "s3"), "aws4_request")
//	signature = hex(HMAC(key, string))
//
// Verify does the same with what it received and compares in constant time.
// Clients differ in how they write a path or query on the wire, and some sign
// those bytes instead of the canonical ones. Both are accepted: whichever
// string was signed, it decodes to the path and query that Verify returns, so a
// signature never stands for two meanings. The one character with two meanings,
// a plus sign, is a plus in a path and a space in a query, and what a client
// that signs bare plus signs means by them is not known, so that is refused.
//
// # What must be signed
//
// The host, and every x-amz-* header that is present, or anyone who sees a
// signed request could add x-amz-copy-source to it. (x-amz-content-sha256 is
// signed as the canonical request's last line.) Content-Type and others may be
// unsigned, as S3 allows. A presigned query may carry x-amz-* parameters, which
// mean the same as headers; Verify returns them as such. Checksums among them
// are dropped: SDKs put there the checksum of the empty body that they had.
//
// Signed in the header, a request is good for 15 minutes around its date;
// presigned, from 15 minutes before its date until X-Amz-Expires seconds after
// it, at most a week.
//
// # The payload
//
// x-amz-content-sha256 says how the payload is sent and signed:
//
//	64 hexadecimal digits                        the SHA-256 of the payload
//	UNSIGNED-PAYLOAD                             nothing
//	STREAMING-AWS4-HMAC-SHA256-PAYLOAD           chunks, each with a signature
//	STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER   and a signed checksum behind them
//	STREAMING-UNSIGNED-PAYLOAD-TRAILER           chunks, and a checksum behind them
//
// Chunks (Content-Encoding: aws-chunked; a framing of S3's own, below HTTP's)
// are allowed for PUT and look like this, sizes in hexadecimal, the
// chunk-signature and x-amz-trailer-signature only where chunks are signed:
//
//	size;chunk-signature=signature ⏎
//	data ⏎
//	…
//	0;chunk-signature=signature ⏎
//	x-amz-checksum-crc32:base64 ⏎
//	x-amz-trailer-signature:signature ⏎
//	⏎
//
// with each signature taking up the one before it, the first the request's:
//
//	chunk:   AWS4-HMAC-SHA256-PAYLOAD ⏎ date ⏎ scope ⏎ previous ⏎ hex(SHA-256("")) ⏎ hex(SHA-256(data))
//	trailer: AWS4-HMAC-SHA256-TRAILER ⏎ date ⏎ scope ⏎ previous ⏎ hex(SHA-256("name:value\n"))
//
// Independently a payload may be declared by Content-MD5, and by one
// x-amz-checksum-* header or, where there are trailers, trailer.
//
// # Forms
//
// A form is the multipart/form-data body of an unsigned POST without a query. Its
// fields are the request, up to the one named file, which is the payload. What
// is signed is the field policy, as it is sent:
//
//	signature = hex(HMAC(key, policy))
//
// It is a JSON document in base64 that says until when the form is good, and what
// its fields, its file and the bucket must be:
//
//	{"expiration": "2015-12-30T12:00:00.000Z", "conditions": [
//	  {"bucket": "name"}, ["eq", "$acl", "private"], ["starts-with", "$key", "user/"],
//	  ["content-length-range", 0, 1048576], …
//	]}
//
// All conditions must hold, and each field must be in one, but for policy,
// x-amz-signature and those named x-ignore-*. The variable ${filename} in a field
// is replaced before. Like the key, a form is good for a week at most.
//
// # What is refused
//
// Signature versions 2 and 4A, S3 Express sessions, more than
// one way of authentication in a request, and everything that is malformed,
// ambiguous or unknown.
//
// The rules are those of "Authenticating Requests (AWS Signature Version 4)" in
// the Amazon S3 API Reference, with its chapters on the Authorization header,
// query parameters, chunked uploads, trailing headers and browser-based uploads.
package sigv4

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxSkew is how far a client's clock may be from ours.
	maxSkew = 15 * time.Minute
	// maxHead bounds the bytes of request target and headers, as S3 does.
	maxHead = 8 << 10
)

// A Verifier verifies requests. Its methods may be called concurrently if its
// functions may.
type Verifier struct {
	// Secret returns the secret access key that belongs to an access key ID and,
	// if it is for a session alone, to the session's token. The error may be
	// ErrToken or ErrExpiredToken; any other, or an empty secret, is that there is no such key.
	// Where FIPS 140-3 is enforced a secret must have 10 bytes or more.
	Secret func(accessKeyID, token string) (secret string, err error)
	// Region is the region that clients must sign for. If empty, any is
	// accepted.
	Region string
	// Bucket returns the bucket that a host and a decoded path address, an empty
	// name if they address something else. Without it no form is accepted.
	Bucket func(host, path string) string
	// Unsigned lets requests pass that nobody has signed, and that do not pretend
	// to be signed. They have no access key ID. A form always needs its signed policy.
	Unsigned bool
	// Now returns the current time. If nil, time.Now is used.
	Now func() time.Time
}

// A Request is what a client asks for. If it has an access key ID all of it is covered by
// the signature, but for headers whose names do not begin with X-Amz-; of a form,
// all is what the signed policy allows.
type Request struct {
	AccessKeyID string // empty: nobody has signed it
	Presigned   bool
	// Path is the path, percent-decoded. It begins with a slash and is
	// otherwise any bytes; nothing in it has been cleaned.
	Path string
	// Query has the decoded query parameters, less those that authenticate and
	// those that became headers. The values of a repeated one are sorted, since
	// a signature does not cover their order.
	Query url.Values
	// Header has the headers, and the x-amz-* parameters of a presigned query.
	// Repeated x-amz-* headers are joined by commas. Left out are those that
	// authenticate and those that declare the payload, which Body answers for;
	// aws-chunked is taken out of Content-Encoding.
	//
	// In a CompleteMultipartUpload (POST with the parameter uploadId)
	// x-amz-checksum-* stays here: it declares the object, not the payload.
	Header http.Header
	// Form has the fields of a form, by name in lower case, the bucket among them.
	// It is nil if the request is none. The Header of a form has those fields that
	// stand for headers (acl is X-Amz-Acl), and Origin.
	Form map[string]string
	Body *Body
}

// Verify authenticates r, which must be as an [http.Server] made it; its
// RequestURI, not its URL, tells what was sent. Of the body nothing is read,
// unless it is known to be empty or is a form. Once Verify has succeeded the payload is to be
// had from the returned Body alone, and r.Body is empty.
//
// If the request is not acceptable the error is an *Error.
func (v *Verifier) Verify(r *http.Request) (*Request, error) {
	if err := checkHead(r); err != nil {
		return nil, err
	}
	t, err := parseTarget(r.RequestURI)
	if err != nil {
		return nil, err
	}
	if isForm(r, t) {
		return v.verifyForm(r, t)
	}
	sig, err := parseSignature(r.Header, t)
	if errors.Is(err, errUnsigned) && v.Unsigned {
		return unsigned(r, t)
	}
	if err != nil {
		return nil, err
	}
	if err := v.checkClaims(sig); err != nil {
		return nil, err
	}
	if err := checkSigned(r.Header, sig.signedHeaders); err != nil {
		return nil, err
	}
	header, err := operationHeader(r.Header, t, isComplete(r.Method, t))
	if err != nil {
		return nil, err
	}
	payload, err := payloadHash(header, sig.presigned)
	if err != nil {
		return nil, err
	}
	key, err := v.signingKey(sig)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(r, t, sig, key, payload); err != nil {
		return nil, err
	}
	return newRequest(r, t, header, payload, sig, key)
}

// unsigned returns what a request asks for that nobody has signed. What it says about its payload is verified all the same.
func unsigned(r *http.Request, t target) (*Request, error) {
	if len(t.amz) > 0 || r.Header["X-Amz-Security-Token"] != nil || r.Header["X-Amz-S3session-Token"] != nil {
		return nil, errUnsigned // it pretends to be somebody's
	}
	header, err := operationHeader(r.Header, t, isComplete(r.Method, t))
	if err != nil {
		return nil, err
	}
	payload := cmp.Or(header.Get("X-Amz-Content-Sha256"), unsignedPayload)
	if framings[payload].signed {
		return nil, errUnsigned
	}
	return newRequest(r, t, header, payload, signature{}, nil)
}

// newRequest returns what an authenticated request asks for.
func newRequest(r *http.Request, t target, header http.Header, payload string, sig signature, key []byte) (*Request, error) {
	complete := isComplete(r.Method, t)
	declared, err := parseDeclaration(r, header, payload, sig.presigned, complete)
	if err != nil {
		return nil, err
	}
	body, err := newBody(r, declared, sig, key)
	if err != nil {
		return nil, err
	}
	r.Body = http.NoBody
	operationOnly(header, complete)
	return &Request{
		AccessKeyID: sig.accessKeyID,
		Presigned:   sig.presigned,
		Path:        t.path,
		Query:       t.query(),
		Header:      header,
		Body:        body,
	}, nil
}

// What can be wrong with a session.
var (
	ErrToken        = errors.New("the session token does not belong to the access key ID")
	ErrExpiredToken = errors.New("the session token has expired")
)

// signingKey returns the key that a signature must have been made with.
func (v *Verifier) signingKey(s signature) ([]byte, error) {
	secret, err := v.Secret(s.accessKeyID, s.token)
	switch {
	case errors.Is(err, ErrToken):
		return nil, errToken
	case errors.Is(err, ErrExpiredToken):
		return nil, newError("ExpiredToken", "The provided token has expired.")
	case err != nil || secret == "":
		return nil, newError("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
			Field{"AWSAccessKeyId", s.accessKeyID})
	}
	return signingKey(secret, s), nil
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now().UTC()
	}
	return time.Now().UTC()
}
