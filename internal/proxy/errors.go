package proxy

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// apiError is an error as S3 tells it to a client. See "Error responses" in the Amazon S3 API Reference.
type apiError struct {
	Code    string
	Message string
	Fields  []errorField // further elements, in this order
	Status  int          // for a code that is not in errorStatus; 0 stands for 500
	Header  http.Header  // goes along with the answer; may be nil
	Detail  string       // for the proxy's log, never sent
}

// errorField is an element of an error's document besides Code, Message and the ids.
type errorField struct{ Name, Value string }

// errorStatus is the one table of codes: the proxy's own, and those that stores use. A store's code that is not here
// keeps the status it came with.
var errorStatus = map[string]int{
	"NotModified": http.StatusNotModified,

	"AccessControlListNotSupported":              http.StatusBadRequest,
	"AmbiguousGrantByEmailAddress":               http.StatusBadRequest,
	"AuthorizationHeaderMalformed":               http.StatusBadRequest,
	"AuthorizationQueryParametersError":          http.StatusBadRequest,
	"BadDigest":                                  http.StatusBadRequest,
	"BadRequest":                                 http.StatusBadRequest,
	"CredentialsNotSupported":                    http.StatusBadRequest,
	"EntityTooLarge":                             http.StatusBadRequest,
	"EntityTooSmall":                             http.StatusBadRequest,
	"ExpiredToken":                               http.StatusBadRequest,
	"IllegalLocationConstraintException":         http.StatusBadRequest,
	"IllegalVersioningConfigurationException":    http.StatusBadRequest,
	"IncompleteBody":                             http.StatusBadRequest,
	"InlineDataTooLarge":                         http.StatusBadRequest,
	"InvalidArgument":                            http.StatusBadRequest,
	"InvalidBucketAclWithBlockPublicAccessError": http.StatusBadRequest,
	"InvalidBucketAclWithObjectOwnership":        http.StatusBadRequest,
	"InvalidBucketName":                          http.StatusBadRequest,
	"InvalidChunkSizeError":                      http.StatusBadRequest,
	"InvalidDigest":                              http.StatusBadRequest,
	"InvalidEncryptionAlgorithmError":            http.StatusBadRequest,
	"InvalidLocationConstraint":                  http.StatusBadRequest,
	"InvalidPart":                                http.StatusBadRequest,
	"InvalidPartOrder":                           http.StatusBadRequest,
	"InvalidPolicyDocument":                      http.StatusBadRequest,
	"InvalidRequest":                             http.StatusBadRequest,
	"InvalidStorageClass":                        http.StatusBadRequest,
	"InvalidTag":                                 http.StatusBadRequest,
	"InvalidTargetBucketForLogging":              http.StatusBadRequest,
	"InvalidToken":                               http.StatusBadRequest,
	"InvalidURI":                                 http.StatusBadRequest,
	"KMS.DisabledException":                      http.StatusBadRequest,
	"KMS.KMSInvalidStateException":               http.StatusBadRequest,
	"KMS.NotFoundException":                      http.StatusBadRequest,
	"KeyTooLongError":                            http.StatusBadRequest,
	"MalformedACLError":                          http.StatusBadRequest,
	"MalformedPOSTRequest":                       http.StatusBadRequest,
	"MalformedPolicy":                            http.StatusBadRequest,
	"MalformedTrailerError":                      http.StatusBadRequest,
	"MalformedXML":                               http.StatusBadRequest,
	"MaxMessageLengthExceeded":                   http.StatusBadRequest,
	"MaxPostPreDataLengthExceeded":               http.StatusBadRequest,
	"MaxPostPreDataLengthExceededError":          http.StatusBadRequest,
	"MetadataTooLarge":                           http.StatusBadRequest,
	"MissingRequestBodyError":                    http.StatusBadRequest,
	"MissingSecurityHeader":                      http.StatusBadRequest,
	"RequestHeaderSectionTooLarge":               http.StatusBadRequest,
	"RequestIsNotMultiPartContent":               http.StatusBadRequest,
	"RequestTimeout":                             http.StatusBadRequest,
	"TokenRefreshRequired":                       http.StatusBadRequest,
	"TooManyBuckets":                             http.StatusBadRequest,
	"UnexpectedContent":                          http.StatusBadRequest,
	"UnresolvableGrantByEmailAddress":            http.StatusBadRequest,
	"UserKeyMustBeSpecified":                     http.StatusBadRequest,
	"XAmzContentChecksumMismatch":                http.StatusBadRequest,
	"XAmzContentSHA256Mismatch":                  http.StatusBadRequest,

	"AccessDenied":                   http.StatusForbidden,
	"AccountProblem":                 http.StatusForbidden,
	"AllAccessDisabled":              http.StatusForbidden,
	"CrossLocationLoggingProhibited": http.StatusForbidden,
	"InvalidAccessKeyId":             http.StatusForbidden,
	"InvalidObjectState":             http.StatusForbidden,
	"InvalidPayer":                   http.StatusForbidden,
	"InvalidSecurity":                http.StatusForbidden,
	"NotSignedUp":                    http.StatusForbidden,
	"RequestTimeTooSkewed":           http.StatusForbidden,
	"SignatureDoesNotMatch":          http.StatusForbidden,

	"NoSuchBucket":                                   http.StatusNotFound,
	"NoSuchBucketPolicy":                             http.StatusNotFound,
	"NoSuchCORSConfiguration":                        http.StatusNotFound,
	"NoSuchConfiguration":                            http.StatusNotFound,
	"NoSuchKey":                                      http.StatusNotFound,
	"NoSuchLifecycleConfiguration":                   http.StatusNotFound,
	"NoSuchObjectLockConfiguration":                  http.StatusNotFound,
	"NoSuchPublicAccessBlockConfiguration":           http.StatusNotFound,
	"NoSuchTagSet":                                   http.StatusNotFound,
	"NoSuchTagSetError":                              http.StatusNotFound,
	"NoSuchUpload":                                   http.StatusNotFound,
	"NoSuchVersion":                                  http.StatusNotFound,
	"NoSuchWebsiteConfiguration":                     http.StatusNotFound,
	"NotFound":                                       http.StatusNotFound,
	"ObjectLockConfigurationNotFoundError":           http.StatusNotFound,
	"OwnershipControlsNotFoundError":                 http.StatusNotFound,
	"ReplicationConfigurationNotFoundError":          http.StatusNotFound,
	"ServerSideEncryptionConfigurationNotFoundError": http.StatusNotFound,

	"MethodNotAllowed":           http.StatusMethodNotAllowed,
	"BucketAlreadyExists":        http.StatusConflict,
	"BucketAlreadyOwnedByYou":    http.StatusConflict,
	"BucketNotEmpty":             http.StatusConflict,
	"ConditionalRequestConflict": http.StatusConflict,
	"InvalidBucketState":         http.StatusConflict,
	"OperationAborted":           http.StatusConflict,
	"RestoreAlreadyInProgress":   http.StatusConflict,
	"MissingContentLength":       http.StatusLengthRequired,
	"PreconditionFailed":         http.StatusPreconditionFailed,
	"InvalidPartNumber":          http.StatusRequestedRangeNotSatisfiable,
	"InvalidRange":               http.StatusRequestedRangeNotSatisfiable,

	"InternalError":      http.StatusInternalServerError,
	"NotImplemented":     http.StatusNotImplemented,
	"ServiceUnavailable": http.StatusServiceUnavailable,
	"SlowDown":           http.StatusServiceUnavailable,
}

func newError(code, message string, fields ...errorField) *apiError {
	return &apiError{Code: code, Message: message, Fields: fields}
}

// internalError is the proxy's or the operator's fault: the client reads message, the log gets detail.
func internalError(message, detail string) *apiError {
	return &apiError{Code: "InternalError", Message: message, Detail: detail}
}

func (e *apiError) Error() string {
	if e.Detail != "" {
		return e.Code + ": " + e.Message + " (" + e.Detail + ")"
	}
	return e.Code + ": " + e.Message
}

func (e *apiError) status() int {
	if status, ok := errorStatus[e.Code]; ok {
		return status
	}
	if e.Status != 0 {
		return e.Status
	}
	return http.StatusInternalServerError
}

// element returns the error as S3's XML, without what stands before a document.
func (e *apiError) element(requestID, hostID string) []byte {
	var b bytes.Buffer
	b.WriteString("<Error>")
	fields := slices.Concat(
		[]errorField{{"Code", e.Code}, {"Message", e.Message}},
		e.Fields,
		[]errorField{{"RequestId", requestID}, {"HostId", hostID}},
	)
	for _, f := range fields {
		b.WriteString("<" + f.Name + ">")
		_ = xml.EscapeText(&b, []byte(f.Value)) // a Buffer takes every write
		b.WriteString("</" + f.Name + ">")
	}
	b.WriteString("</Error>")
	return b.Bytes()
}

// writeTo answers with e. As at S3, the answer to HEAD and a 304 have no body; a 412 has one.
func (e *apiError) writeTo(w http.ResponseWriter, method, requestID, hostID string) error {
	for name, values := range e.Header {
		w.Header()[name] = values
	}
	status := e.status()
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return nil
	}
	w.Header().Set("Content-Type", "application/xml")
	if method == http.MethodHead {
		w.WriteHeader(status)
		return nil
	}
	body := append([]byte(xml.Header), e.element(requestID, hostID)...)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

const (
	maxErrorBody  = 64 << 10 // bytes read of a store's error
	maxErrorValue = 2 << 10  // bytes kept of each of its elements
)

// storeFault has the codes by which a store refuses the proxy's half of a request (its credentials, clock, signature,
// digests and framing, the keys of the store's own encryption), in which the client had no part.
var storeFault = names("AccountProblem AuthorizationHeaderMalformed AuthorizationQueryParametersError BadDigest " +
	"CredentialsNotSupported ExpiredToken IncompleteBody InvalidAccessKeyId InvalidChunkSizeError InvalidClientTokenId " +
	"InvalidDigest InvalidSecurity InvalidToken MalformedTrailerError MissingAuthenticationToken " +
	"NotSignedUp RequestExpired RequestTimeTooSkewed SignatureDoesNotMatch TokenRefreshRequired " +
	"UnrecognizedClientException UserSuspended XAdminUserNotFound XAmzContentChecksumMismatch XAmzContentSHA256Mismatch KMS.*")

// errorFields has the elements of a store's error that mean the same to the client. All others are dropped: sizes,
// ETags, ranges and digests are the ciphertext's, ids and endpoints the store's.
var errorFields = names("AccessTier ArgumentName ArgumentValue BucketName Condition Header Key LocationConstraint " +
	"Method MissingHeaderName PartNumber ResourceType StorageClass TagKey TagValue UploadId VersionId additionalMessage")

// deniedByLock is the one message of AccessDenied that is for the client.
const deniedByLock = "Access Denied because object protected by object lock."

// statusCode has the code for a store's answer that names none, as that to a HEAD.
var statusCode = map[int]string{
	http.StatusBadRequest:                   "BadRequest",
	http.StatusForbidden:                    "AccessDenied",
	http.StatusNotFound:                     "NotFound",
	http.StatusMethodNotAllowed:             "MethodNotAllowed",
	http.StatusRequestTimeout:               "RequestTimeout",
	http.StatusConflict:                     "OperationAborted",
	http.StatusPreconditionFailed:           "PreconditionFailed",
	http.StatusRequestEntityTooLarge:        "EntityTooLarge",
	http.StatusRequestedRangeNotSatisfiable: "InvalidRange",
	http.StatusTooManyRequests:              "SlowDown",
	http.StatusInternalServerError:          "InternalError",
	http.StatusNotImplemented:               "NotImplemented",
	http.StatusBadGateway:                   "ServiceUnavailable",
	http.StatusServiceUnavailable:           "ServiceUnavailable",
	http.StatusGatewayTimeout:               "ServiceUnavailable",
}

// parseUpstreamError makes a store's answer into what the client is told: any status that is no success, or a 200 whose
// body is an error. Of body only the first 64 KiB are read, and that leniently: it may be cut short, or no XML at all.
func parseUpstreamError(status int, header http.Header, body []byte) *apiError {
	code, message, fields := parseErrorDocument(body)
	detail := fmt.Sprintf("the store answered %d %s: %s", status, code, message)
	e := &apiError{Code: code, Message: message, Fields: fields, Status: status, Header: make(http.Header), Detail: detail}
	switch {
	case status == http.StatusNotModified:
		e.Code, e.Message, e.Fields = "NotModified", "Not Modified", nil
		copyResponse(e.Header, header, notModifiedResponse)
		return e
	case status >= 300 && status < 400 || code == "PermanentRedirect" || code == "TemporaryRedirect" || code == "Redirect":
		return internalError("The store redirected the request. The operator must correct the endpoint or the region "+
			"that the proxy has for the store.", detail)
	case storeFault.has(code) || status == http.StatusUnauthorized || status == http.StatusProxyAuthRequired:
		return internalError("The store did not accept the proxy's side of the request. This is no fault of the client; "+
			"the operator must check the proxy's credentials, region and clock, and the store.", detail)
	case mentionsEnvelope(message, fields):
		return internalError("The store did not accept what the proxy keeps with the object.", detail)
	case status >= 600 || code == "NotModified":
		return internalError("The store gave an answer that the proxy does not understand.", detail)
	case code == "":
		e.Code, e.Message = statusCode[status], http.StatusText(status)
		if e.Code == "" {
			return internalError("The store gave an answer that the proxy does not understand.", detail)
		}
	case status < 300:
		e.Status = 0 // an unknown error in a 200 is a 500
	}
	if e.Code == "AccessDenied" && message != deniedByLock {
		e.Message = "Access Denied" // S3's own text; the store's may name the proxy's identity there
	}
	copyResponse(e.Header, header, errorResponse)
	return e
}

// parseErrorDocument reads <Error>, also inside <ErrorResponse>. What it cannot read it leaves out.
func parseErrorDocument(body []byte) (code, message string, fields []errorField) {
	dec := xml.NewDecoder(bytes.NewReader(body[:min(len(body), maxErrorBody)]))
	dec.Strict = false
	dec.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	var (
		open []string // elements
		text strings.Builder
		seen = make(map[string]bool)
	)
	for {
		token, err := dec.RawToken()
		if err != nil {
			return code, message, fields
		}
		switch t := token.(type) {
		case xml.StartElement:
			open = append(open, t.Name.Local)
			text.Reset()
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			name := t.Name.Local
			if len(open) == 0 || open[len(open)-1] != name {
				return code, message, fields
			}
			open = open[:len(open)-1]
			value := strings.ToValidUTF8(text.String()[:min(text.Len(), maxErrorValue)], "")
			text.Reset()
			if len(open) == 0 || len(open) > 2 || open[len(open)-1] != "Error" || seen[name] {
				continue
			}
			seen[name] = true
			switch {
			case name == "Code" && isErrorCode(value):
				code = value
			case name == "Message":
				message = value
			case errorFields.has(name):
				fields = append(fields, errorField{name, value})
			}
		}
	}
}

// isErrorCode reports whether s can be a code: letters, digits, and the dot of KMS.NotFoundException.
func isErrorCode(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// mentionsEnvelope reports whether an error is about the header that the proxy added.
func mentionsEnvelope(message string, fields []errorField) bool {
	mentions := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(reservedMetadata)) }
	return mentions(message) || slices.ContainsFunc(fields, func(f errorField) bool { return mentions(f.Value) })
}
