package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sseproxy/sseproxy/internal/policy"
)

// parseCopySource reads x-amz-copy-source: [/]bucket/key, percent-encoded, and perhaps ?versionId=….
func parseCopySource(header string) (t target, version string, err error) {
	path, query, _ := strings.Cut(header, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return t, "", badCopySource("encoding")
	}
	if query != "" {
		var ok bool
		if version, ok = strings.CutPrefix(query, "versionId="); !ok {
			return t, "", badCopySource("object key")
		}
		if version, err = url.QueryUnescape(version); err != nil {
			return t, "", badCopySource("encoding")
		}
	}
	// The store gets what was parsed here, encoded anew, so that nobody reads another name than the one that was checked.
	t, err = parseTarget("", "/"+strings.TrimPrefix(decoded, "/"), nil)
	switch {
	case hasCode(err, "InvalidBucketName") || err == nil && t.level() == atService:
		return t, "", badCopySource("bucket name")
	case hasCode(err, "InvalidURI") || err == nil && t.level() == atBucket:
		return t, "", badCopySource("object key")
	}
	return t, version, err
}

func badCopySource(what string) error {
	return newError("InvalidArgument", "Invalid copy source "+what, errorField{"ArgumentName", "x-amz-copy-source"})
}

// copyConditions has the conditions on a copy's source, and what they are called where the source is read.
var copyConditions = map[string]string{
	"X-Amz-Copy-Source-If-Match": "If-Match", "X-Amz-Copy-Source-If-None-Match": "If-None-Match",
	"X-Amz-Copy-Source-If-Modified-Since": "If-Modified-Since", "X-Amz-Copy-Source-If-Unmodified-Since": "If-Unmodified-Since",
}

// copySourceRead is how a source is read: conditions in terms of the store's ETags, and nothing else of the request.
var copySourceRead = &operation{name: "GetObject", headers: headerNames(conditionHeaders)}

// sourceRequest returns the read of what x-amz-copy-source names, under the conditions that the client set on it.
func (p *Proxy) sourceRequest(q *request) (*request, error) {
	source, version, err := parseCopySource(q.header.Get("X-Amz-Copy-Source"))
	if err != nil {
		return nil, err
	}
	own := q.internal(q.ctx, source)
	if own.customer, err = readCustomerKey(q.header, copySourcePrefix, q.secure); err != nil {
		return nil, err
	}
	if err := p.mayDo(own, policy.Read, source, version); err != nil {
		return nil, err
	}
	own.method, own.op, own.query, own.header = http.MethodGet, copySourceRead, make(url.Values), make(http.Header)
	if !p.readsPlaintext(source) {
		if err := p.mayUseSome(own, source, policy.Decrypt); err != nil {
			return nil, err
		}
	}
	if version != "" {
		own.query.Set("versionId", version)
	}
	for name, as := range copyConditions {
		if value := q.header.Get(name); value != "" {
			own.header.Set(as, value)
		}
	}
	for name, as := range map[string]string{"X-Amz-Source-Expected-Bucket-Owner": "X-Amz-Expected-Bucket-Owner", "X-Amz-Request-Payer": "X-Amz-Request-Payer"} {
		if values, ok := q.header[name]; ok {
			own.header[as] = values
		}
	}
	return own, nil
}

// copyFailure tells a failed read of the source as S3 tells it of a copy.
func copyFailure(err error) error {
	e := asAPIError(err)
	switch e.Code {
	case "NotModified":
		return newError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", errorField{"Condition", "x-amz-copy-source-If-None-Match"})
	case "MethodNotAllowed":
		return newError("InvalidRequest", "The source of a copy request may not specifically refer to a delete marker by version id.")
	case "InvalidRange":
		return newError("InvalidArgument", "The requested range is not satisfiable", errorField{"ArgumentName", "x-amz-copy-source-range"})
	}
	return err
}
