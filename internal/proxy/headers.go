package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// reservedMetadata is the metadata header that carries the envelope. A client can neither send nor see it.
const reservedMetadata = "X-Amz-Meta-Sseproxy"

// nameSet is an allow-list of names, written as words; a word that ends in '*' stands for every name that begins so.
type nameSet struct {
	exact    map[string]bool
	prefixes []string
}

func names(list string) nameSet { return newNameSet(strings.Fields(list)) }

// headerNames is names for headers: in any case here, looked up in canonical form.
func headerNames(list string) nameSet {
	words := strings.Fields(list)
	for i, word := range words {
		words[i] = http.CanonicalHeaderKey(word)
	}
	return newNameSet(words)
}

func newNameSet(words []string) nameSet {
	s := nameSet{exact: make(map[string]bool)}
	for _, word := range words {
		if prefix, ok := strings.CutSuffix(word, "*"); ok {
			s.prefixes = append(s.prefixes, prefix)
		} else {
			s.exact[word] = true
		}
	}
	return s
}

func (s nameSet) has(name string) bool {
	return s.exact[name] || slices.ContainsFunc(s.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Request headers. What a row of the operations table does not allow besides these is not sent to the store.
var (
	// commonHeaders go to the store with any operation.
	commonHeaders = headerNames("content-type x-amz-expected-bucket-owner x-amz-request-payer")

	// answeredHeaders are acted on by the proxy alone, by operation.
	answeredHeaders = map[string]nameSet{
		"PutObject":               headerNames(encryptionHeaders + customerHeaders),
		"PostObject":              headerNames(encryptionHeaders + customerHeaders),
		"CopyObject":              headerNames(encryptionHeaders + customerHeaders + copySourceHeaders + " x-amz-metadata-directive"),
		"CreateMultipartUpload":   headerNames(encryptionHeaders + customerHeaders + "x-amz-metadata-directive"), // of s3fs, for copies; it changes nothing
		"UploadPart":              headerNames(customerHeaders),
		"UploadPartCopy":          headerNames(customerHeaders + copySourceHeaders + " x-amz-copy-source-range"),
		"CompleteMultipartUpload": headerNames(customerHeaders + "x-amz-mp-object-size x-amz-checksum-*"),
		"ListParts":               headerNames(customerHeaders),
		"GetObject":               headerNames(customerHeaders),
		"HeadObject":              headerNames(customerHeaders),
		"GetObjectAttributes":     headerNames(customerHeaders + "x-amz-object-attributes x-amz-max-parts x-amz-part-number-marker"),
	}

	// ignoredHeaders are accepted with any operation and end at the proxy: what is said about checksums besides their
	// values, the marks of SDKs and of servers on the way, and x-amz-te, which asks for a trailing MD5 of the body and
	// is not answered (SDKs that send it then do without).
	ignoredHeaders = headerNames("x-amz-checksum-algorithm x-amz-checksum-mode x-amz-checksum-type x-amz-te " +
		"x-amz-user-agent x-amz-id-2 x-amz-request-id x-amz-cf-id")
)

// The headers of the encryption API, as lists to join with others.
const (
	encryptionHeaders = "x-amz-server-side-encryption x-amz-server-side-encryption-aws-kms-key-id " +
		"x-amz-server-side-encryption-context x-amz-server-side-encryption-bucket-key-enabled "
	customerHeaders = "x-amz-server-side-encryption-customer-algorithm x-amz-server-side-encryption-customer-key " +
		"x-amz-server-side-encryption-customer-key-md5 "
)

const copySourceHeaders = "x-amz-copy-source x-amz-copy-source-if-match x-amz-copy-source-if-modified-since " +
	"x-amz-copy-source-if-none-match x-amz-copy-source-if-unmodified-since x-amz-source-expected-bucket-owner " +
	"x-amz-copy-source-server-side-encryption-customer-algorithm x-amz-copy-source-server-side-encryption-customer-key " +
	"x-amz-copy-source-server-side-encryption-customer-key-md5"

// Response headers that a client gets from the store, by kind of answer. Everything else is dropped: what names or
// describes the store (Server, x-amz-request-id), and what is true of the ciphertext only (lengths, checksums, the
// store's own encryption). ETags are mapped on the way.
var (
	// objectResponse is for GetObject and HeadObject.
	objectResponse = headerNames("accept-ranges cache-control content-disposition content-encoding content-language " +
		"content-type etag expires last-modified x-amz-archive-status x-amz-delete-marker x-amz-expiration x-amz-meta-* " +
		"x-amz-missing-meta x-amz-object-lock-* x-amz-replication-status x-amz-request-charged x-amz-restore " +
		"x-amz-storage-class x-amz-tagging-count x-amz-version-id x-amz-website-redirect-location")

	// checksumResponse is for what is stored as the client has it: there the store's checksums are the client's.
	checksumResponse = headerNames("x-amz-checksum-*")

	// partResponse is for a part of such an object, besides objectResponse.
	partResponse = headerNames("x-amz-checksum-* x-amz-mp-parts-count")

	// attributesResponse is for GetObjectAttributes.
	attributesResponse = headerNames("last-modified x-amz-delete-marker x-amz-request-charged x-amz-version-id")

	// writeResponse is for PutObject and DeleteObject.
	writeResponse = headerNames("etag x-amz-delete-marker x-amz-expiration x-amz-request-charged x-amz-version-id")

	// listResponse is for the listings and DeleteObjects.
	listResponse = headerNames("content-type x-amz-bucket-region x-amz-request-charged")

	// passResponse is for what is forwarded as it stands.
	passResponse = headerNames("content-type location x-amz-access-point-alias x-amz-bucket-arn " +
		"x-amz-bucket-location-name x-amz-bucket-location-type x-amz-bucket-region x-amz-delete-marker " +
		"x-amz-object-lock-* x-amz-request-charged x-amz-restore-output-path " +
		"x-amz-transition-default-minimum-object-size x-amz-version-id")

	// errorResponse is for 4xx and 5xx answers, notModifiedResponse for 304.
	errorResponse       = headerNames("allow last-modified retry-after x-amz-delete-marker x-amz-version-id")
	notModifiedResponse = headerNames("cache-control etag expires last-modified x-amz-version-id")
)

// copyResponse copies to dst the headers of a store's answer that allow lists, with the client's view of the ETag. User
// metadata goes out in lower case, as S3 sends it: boto3 and others hand the names on as they come, and tell cases apart.
func copyResponse(dst, src http.Header, allow nameSet) {
	for name, values := range src {
		if !allow.has(name) || name == reservedMetadata {
			continue
		}
		values = slices.Clone(values)
		switch name {
		case "Etag":
			mapValues(values, clientETagValue)
		case "Content-Encoding":
			values = withoutFraming(values)
		case "Location":
			// S3 answers CreateBucket with a path, or with a URL that would lead the client past the proxy.
			values = slices.DeleteFunc(values, func(s string) bool {
				return !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//")
			})
		}
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			name = strings.ToLower(name)
		}
		if len(values) > 0 {
			dst[name] = values
		}
	}
}

// withoutFraming takes off a Content-Encoding what only framed the upload, which some stores keep. It changes values.
func withoutFraming(values []string) []string {
	values = slices.DeleteFunc(values, func(s string) bool { return s == "aws-chunked" })
	mapValues(values, func(s string) string { return strings.TrimSuffix(s, ",aws-chunked") })
	return values
}

// copyObjectHeaders is copyResponse for an object. Without a type from the store there is none: the server must not guess
// one from the plaintext.
func copyObjectHeaders(dst, src http.Header) {
	copyResponse(dst, src, objectResponse)
	if _, ok := dst["Content-Type"]; !ok {
		dst["Content-Type"] = nil
	}
}

// storeHeader returns the headers of a client's request that go to the store with op: the common ones and those of
// its row, conditions in terms of the store's ETags. The envelope, signature and length are the sender's to add.
func (op *operation) storeHeader(client http.Header) http.Header {
	out := make(http.Header)
	for name, values := range client {
		if (commonHeaders.has(name) || op.headers.has(name)) && name != reservedMetadata {
			out[name] = slices.Clone(values)
		}
	}
	mapValues(out["If-Match"], storeCondition)
	mapValues(out["If-None-Match"], storeCondition)
	mapValues(out["If-Range"], storeIfRange)
	return out
}

func mapValues(values []string, f func(string) string) {
	for i, value := range values {
		values[i] = f(value)
	}
}
