package sigv4_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/sigv4"
)

// Messages are S3's, for some clients and many people read them.
func TestMessages(t *testing.T) {
	signedGet, presignedGet := get("/key").signed(emptySHA256), get("/key").presigned("60")
	authorized := func(from, to string) message {
		return signedGet.with("Authorization", strings.Replace(signedGet.get("Authorization"), from, to, 1))
	}
	asked := func(from, to string) message {
		m := presignedGet.clone()
		m.target = strings.Replace(m.target, from, to, 1)
		return m
	}
	for want, m := range map[string]message{
		"Authorization header is invalid -- one and only one ' ' (space) required.":   signedGet.with("Authorization", "AWS4-HMAC-SHA256"),
		"Unsupported Authorization Type":                                              authorized("AWS4-HMAC-SHA256", "AWS2-HMAC-SHA1"),
		"missing Credential.":                                                         authorized("Credential=", "Cred="),
		"missing SignedHeaders.":                                                      authorized("SignedHeaders=", "Headers="),
		"missing Signature.":                                                          authorized("Signature=", "Sig="),
		`the authorization component "Signature" is malformed.`:                       authorized("Signature="+signedGet.signature(), "Signature"),
		"requires three components":                                                   authorized("Signature="+signedGet.signature(), "a=b,c=d"),
		"the Credential is mal-formed":                                                authorized("/s3/", "/s3/extra/"),
		`incorrect date format "2013"`:                                                authorized("20130524", "2013"),
		`malformed; Invalid credential date "20130525"`:                               authorized("20130524", "20130525"),
		"or a valid sha256 value.":                                                    signedGet.with("X-Amz-Content-Sha256", "sha"),
		`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"`:                            asked("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
		`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"`: asked("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
		"X-Amz-Expires must be non-negative":                                          get("/key").presigned("-1"),
		"X-Amz-Expires should be a number":                                            get("/key").presigned("+1"),
		"X-Amz-Expires must be less than a week":                                      get("/key").presigned("604801"),
		"You must provide the Content-Length HTTP header.":                            put("/key", "").signed(streaming).framed("payload", 3),
		"The request body terminated unexpectedly":                                    stream(streaming, "payload", 3).withBody("seven\r\n"),
		"You did not provide the number of bytes specified by the Content-Length HTTP header": stream(streaming, "payload", 3).
			with("Authorization", "").with("X-Amz-Decoded-Content-Length", "6").signed(streaming).framed("payload", 3),
	} {
		_, _, err := m.verify()
		var e *sigv4.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, want) {
			t.Errorf("%v, want %q", err, want)
		}
	}

	// This one is S3's word for word.
	_, _, err := asked("20130524%2F", "20130525%2F").verify()
	var e *sigv4.Error
	if want := `Invalid credential date "20130525". This date is not the same as X-Amz-Date: "20130524".`; !errors.As(err, &e) || e.Message != want {
		t.Errorf("%v, want %q", err, want)
	}
}
