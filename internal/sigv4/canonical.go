package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// checkSignature recomputes the signature of the request and compares.
func checkSignature(r *http.Request, t target, s signature, key []byte, payload string) error {
	headers, err := canonicalHeaders(r, s.signedHeaders)
	if err != nil {
		return err
	}
	var canonicals, texts []string
	for _, f := range t.forms() {
		canonical := canonicalRequest(r.Method, f, headers, s.signedHeaders, payload)
		text := stringToSign(s, canonical)
		if hmac.Equal([]byte(hex.EncodeToString(hmacSHA256(key, text))), []byte(s.hex)) {
			return nil
		}
		canonicals, texts = append(canonicals, canonical), append(texts, text)
	}
	return signatureMismatch(s, texts[0], canonicals[0])
}

// signatureMismatch shows the client what was signed here, so that it can
// compare. A canonical request with a customer's encryption key is not shown; a
// form has none.
func signatureMismatch(s signature, text, canonical string) error {
	fields := []Field{
		{"AWSAccessKeyId", s.accessKeyID},
		{"StringToSign", text},
		{"SignatureProvided", s.hex},
		{"StringToSignBytes", fmt.Sprintf("% x", text)},
	}
	if canonical != "" && !strings.Contains(strings.ToLower(canonical), "-customer-key") {
		fields = append(fields,
			Field{"CanonicalRequest", canonical},
			Field{"CanonicalRequestBytes", fmt.Sprintf("% x", canonical)})
	}
	return newError("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "+
		"Check your key and signing method.", fields...)
}

func canonicalRequest(method string, f form, headers string, signedHeaders []string, payload string) string {
	return strings.Join([]string{
		method, f.path, f.query, headers, strings.Join(signedHeaders, ";"), payload,
	}, "\n")
}

func stringToSign(s signature, canonical string) string {
	return strings.Join([]string{algorithm, s.date(), s.scope(), hexSHA256(canonical)}, "\n")
}

func signingKey(secret string, s signature) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.day, s.region, "s3", "aws4_request"} {
		key = hmacSHA256(key, part)
	}
	return key
}

func hmacSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func hexSHA256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// checkSigned checks that everything is signed that must be. The names of what
// is signed are in ascending order.
func checkSigned(h http.Header, signed []string) error {
	required := []string{"host"}
	for key := range h {
		name := strings.ToLower(key)
		// The hash of the payload is in every canonical request.
		if strings.HasPrefix(name, "x-amz-") && name != "x-amz-content-sha256" {
			required = append(required, name)
		}
	}
	missing := slices.DeleteFunc(required, func(name string) bool {
		_, ok := slices.BinarySearch(signed, name)
		return ok
	})
	return notSigned(missing)
}

// notSigned returns the error for headers that are not signed, if there are any.
func notSigned(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return newError("AccessDenied", "There were headers present in the request which were not signed",
		Field{"HeadersNotSigned", strings.Join(missing, ", ")})
}

// canonicalHeaders returns a line for each signed header.
func canonicalHeaders(r *http.Request, signed []string) (string, error) {
	var b strings.Builder
	for _, name := range signed {
		values := headerValues(r, name)
		if values == nil {
			return "", newError("SignatureDoesNotMatch", "A header that was signed is not present in the request: "+name)
		}
		for i, value := range values {
			// White space is what HTTP's is: spaces and tabs.
			values[i] = strings.Join(strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' }), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	return b.String(), nil
}

// headerValues returns the values of a header, nil if it is not present. Some
// that clients sign are no longer where http.Server found them.
func headerValues(r *http.Request, name string) []string {
	switch {
	case name == "host":
		return []string{r.Host}
	case name == "content-length" && r.ContentLength >= 0:
		return []string{strconv.FormatInt(r.ContentLength, 10)}
	case name == "transfer-encoding" && r.TransferEncoding != nil:
		return slices.Clone(r.TransferEncoding)
	case name == "expect" && r.Header["Expect"] == nil:
		return []string{"100-continue"} // HTTP/2 has taken it out
	}
	return slices.Clone(r.Header[http.CanonicalHeaderKey(name)])
}
