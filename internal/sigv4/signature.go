package sigv4

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	isoTime   = "20060102T150405Z" // the form of X-Amz-Date

	// maxExpires is the longest life of a presigned request, in seconds.
	maxExpires = 7 * 24 * 60 * 60
)

// A signature is what a client claims: who signed what, when and for what
// scope, and with what outcome.
type signature struct {
	presigned     bool
	form          bool // of a form's policy; it signs no headers
	accessKeyID   string
	token         string // of a session; empty: a lasting key
	day, region   string
	signedHeaders []string // in lower case, ascending
	hex           string   // 64 lower-case digits
	time          time.Time
	expires       time.Duration // after time, unless it is in a header
}

// date returns the time as it was signed.
func (s signature) date() string { return s.time.Format(isoTime) }

func (s signature) scope() string { return s.day + "/" + s.region + "/s3/aws4_request" }

// malformed returns the error for a component of a signature that makes no
// sense.
func (s signature) malformed(component, format string, args ...any) *Error {
	problem := fmt.Sprintf(format, args...)
	switch {
	case s.presigned:
		return &Error{
			Code:    "AuthorizationQueryParametersError",
			Message: "Error parsing the X-Amz-" + component + " parameter; " + problem,
		}
	case s.form:
		return &Error{Code: "InvalidArgument", Message: problem, Fields: []Field{{"ArgumentName", "X-Amz-" + component}}}
	}
	return &Error{
		Code:    "AuthorizationHeaderMalformed",
		Message: "The authorization header is malformed; " + problem,
	}
}

// queryAuth are the parameters of a presigned query, all of which it has.
var queryAuth = []string{
	"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signature", "x-amz-signedheaders",
}

var (
	errVersion2 = invalidRequest("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	errToken    = newError("InvalidToken", "The provided token is malformed or otherwise invalid.")
)

// errUnsigned: the request has no signature, and does not pretend to.
var errUnsigned = newError("AccessDenied", "Access Denied")

// parseSignature finds the one signature of the request. Without any the error is errUnsigned.
func parseSignature(h http.Header, t target) (signature, error) {
	authorization := h.Get("Authorization")
	inHeader := h["Authorization"] != nil
	inQuery := slices.ContainsFunc(queryAuth, func(name string) bool { _, ok := t.amz[name]; return ok })
	version2 := t.has("AWSAccessKeyId") || t.has("Signature")
	_, session := t.amz["x-amz-s3session-token"]
	switch {
	case inHeader && (inQuery || version2) || inQuery && version2:
		return signature{}, invalidArgument("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "+
			"Signature query string parameter or the Authorization header should be specified", "Authorization")
	case version2 || strings.HasPrefix(authorization, "AWS "):
		return signature{}, errVersion2
	case !inHeader && !inQuery:
		return signature{}, errUnsigned
	case session || h["X-Amz-S3session-Token"] != nil || inQuery && h["X-Amz-Security-Token"] != nil:
		return signature{}, errToken
	case inQuery:
		return parsePresigned(t.amz)
	case len(t.amz) > 0:
		return signature{}, invalidRequest("x-amz-* query parameters are for presigned requests only.")
	}
	return parseAuthorization(authorization, h)
}

// parseAuthorization parses the Authorization header, and the date beside it.
func parseAuthorization(authorization string, h http.Header) (signature, error) {
	var s signature
	scheme, rest, ok := strings.Cut(authorization, " ")
	switch {
	case !ok:
		return s, invalidArgument("Authorization header is invalid -- one and only one ' ' (space) required.", "Authorization", authorization)
	case strings.HasPrefix(scheme, "AWS4-ECDSA-P256-SHA256"):
		return s, newError("NotImplemented", "Signature Version 4A is not supported. Please use AWS4-HMAC-SHA256.")
	case scheme != algorithm:
		return s, invalidArgument("Unsupported Authorization Type", "Authorization", scheme)
	}
	parts := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parts[name]; twice || !ok {
			return s, s.malformed("Authorization", "the authorization component %q is malformed.", name)
		}
		parts[name] = value
	}
	if len(parts) != 3 {
		return s, s.malformed("Authorization",
			"the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if _, ok := parts[name]; !ok {
			return s, s.malformed("Authorization", "missing %s.", name)
		}
	}
	var err error
	if s.time, err = headerTime(h); err != nil {
		return s, err
	}
	s.token = h.Get("X-Amz-Security-Token")
	return s.parse(parts["Credential"], parts["SignedHeaders"], parts["Signature"])
}

// parsePresigned parses the parameters of a presigned query.
func parsePresigned(params map[string]string) (signature, error) {
	s := signature{presigned: true}
	fail := func(problem string) (signature, error) {
		return s, newError("AuthorizationQueryParametersError", problem)
	}
	for _, name := range queryAuth {
		if params[name] == "" {
			return fail("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, " +
				"X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
		}
	}
	if name := params["x-amz-algorithm"]; strings.HasPrefix(name, "AWS4-ECDSA-P256-SHA256") {
		return fail(`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"`)
	} else if name != algorithm {
		return fail(`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"`)
	}
	var err error
	if s.time, err = parseISO(params["x-amz-date"]); err != nil {
		return fail(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	seconds, err := strconv.ParseInt(params["x-amz-expires"], 10, 32)
	switch {
	case err != nil || strings.HasPrefix(params["x-amz-expires"], "+"):
		return fail("X-Amz-Expires should be a number")
	case seconds < 0:
		return fail("X-Amz-Expires must be non-negative")
	case seconds < 1:
		return fail("X-Amz-Expires must be at least one second")
	case seconds > maxExpires:
		return fail("X-Amz-Expires must be less than a week (in seconds); that is, " +
			"the given X-Amz-Expires must be less than 604800 seconds")
	}
	s.expires, s.token = time.Duration(seconds)*time.Second, params["x-amz-security-token"]
	return s.parse(params["x-amz-credential"], params["x-amz-signedheaders"], params["x-amz-signature"])
}

// parse fills in what signatures of requests have, checking its form.
func (s signature) parse(credential, signedHeaders, hex string) (signature, error) {
	s, err := s.parseCredential(credential)
	if err != nil {
		return s, err
	}
	s.signedHeaders = strings.Split(signedHeaders, ";")
	ascending := slices.Equal(s.signedHeaders, slices.Compact(slices.Sorted(slices.Values(s.signedHeaders))))
	if !ascending || signedHeaders != strings.ToLower(signedHeaders) || strings.ContainsFunc(signedHeaders, notVisible) {
		return s, s.malformed("SignedHeaders", "SignedHeaders must be lower-case header names in ascending order.")
	}
	if len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return s, s.malformed("Signature", "the Signature must be 64 lower-case hexadecimal digits.")
	}
	s.hex = hex
	return s, nil
}

// parseCredential fills in who signed for what scope, checking that it is meant
// for the service and for the day of its date.
func (s signature) parseCredential(credential string) (signature, error) {
	// An access key ID may contain slashes, the scope's four parts cannot.
	parts := strings.Split(credential, "/")
	scope := len(parts) - 4
	if scope < 1 || slices.Contains(parts, "") || strings.ContainsFunc(credential, notVisible) || scope > 1 && parts[scope+2] != "s3" {
		return s, s.malformed("Credential", `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`)
	}
	s.accessKeyID = strings.Join(parts[:scope], "/")
	s.day, s.region = parts[scope], parts[scope+1]
	if service := parts[scope+2]; service != "s3" {
		return s, s.malformed("Credential", `incorrect service %q. This endpoint belongs to "s3".`, service)
	}
	if terminal := parts[scope+3]; terminal != "aws4_request" {
		return s, s.malformed("Credential", `incorrect terminal %q. This endpoint uses "aws4_request".`, terminal)
	}
	if _, err := time.Parse("20060102", s.day); err != nil {
		return s, s.malformed("Credential", `incorrect date format %q. This date in the credential must be in the format "yyyyMMdd".`, s.day)
	}
	if day := s.time.Format("20060102"); s.day != day {
		err := s.malformed("Credential", "Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", s.day, day)
		if s.presigned {
			_, err.Message, _ = strings.Cut(err.Message, "; ") // the one error that S3 does not lay at the parameter's door
		}
		return s, err
	}
	return s, nil
}

func notVisible(r rune) bool { return r <= ' ' || r >= 0x7f }

// headerTime returns the date of a request that is signed in its header.
func headerTime(h http.Header) (time.Time, error) {
	date := h.Get("X-Amz-Date")
	if date == "" {
		date = h.Get("Date")
		if t, err := http.ParseTime(date); err == nil {
			return t.UTC(), nil
		}
	}
	t, err := parseISO(date)
	if err != nil {
		return t, newError("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
	}
	return t, nil
}

// parseISO parses a date in exactly the form of isoTime: time.Parse alone also
// accepts fractions of a second.
func parseISO(date string) (time.Time, error) {
	if len(date) != len(isoTime) {
		return time.Time{}, fmt.Errorf("parsing date %q: wrong length", date)
	}
	return time.Parse(isoTime, date)
}

// checkClaims checks that the signature, if it is genuine, is for here and now.
func (v *Verifier) checkClaims(s signature) error {
	if v.Region != "" && s.region != v.Region {
		err := s.malformed("Credential", "the region '%s' is wrong; expecting '%s'", s.region, v.Region)
		err.Fields = append(err.Fields, Field{"Region", v.Region})
		return err
	}
	server := v.now()
	age := server.Sub(s.time)
	inHeader := !s.presigned && !s.form
	switch {
	case inHeader && age.Abs() > maxSkew:
		return newError("RequestTimeTooSkewed",
			"The difference between the request time and the current time is too large.",
			Field{"RequestTime", s.date()},
			Field{"ServerTime", server.Format(time.RFC3339)},
			Field{"MaxAllowedSkewMilliseconds", strconv.FormatInt(maxSkew.Milliseconds(), 10)})
	case age < -maxSkew:
		return newError("AccessDenied", "Request is not valid yet",
			Field{"ServerTime", server.Format(time.RFC3339)})
	case s.form && age > s.expires:
		return errExpired
	case s.presigned && age > s.expires:
		return newError("AccessDenied", "Request has expired",
			Field{"X-Amz-Expires", strconv.FormatInt(int64(s.expires/time.Second), 10)},
			Field{"Expires", s.time.Add(s.expires).Format(time.RFC3339)},
			Field{"ServerTime", server.Format(time.RFC3339)})
	}
	return nil
}
