package proxy

import (
	"encoding/xml"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// copySource reads x-amz-copy-source: [/]bucket/key, percent-encoded, and perhaps ?versionId=….
func (p *Proxy) copySource(header string) (t target, version string, err error) {
	path, query, _ := strings.Cut(header, "?")
	malformed := newError("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
		errorField{"ArgumentName", "x-amz-copy-source"}, errorField{"ArgumentValue", header})
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return t, "", malformed
	}
	if query != "" {
		var ok bool
		if version, ok = strings.CutPrefix(query, "versionId="); !ok {
			return t, "", malformed
		}
		if version, err = url.QueryUnescape(version); err != nil {
			return t, "", malformed
		}
	}
	if t, err = parseTarget("", "/"+strings.TrimPrefix(decoded, "/"), nil); err == nil && t.level() != atObject {
		err = malformed
	}
	return t, version, err
}

// copyConditions has the conditions on a copy's source, and what they are called where the source is read.
var copyConditions = map[string]string{
	"X-Amz-Copy-Source-If-Match": "If-Match", "X-Amz-Copy-Source-If-None-Match": "If-None-Match",
	"X-Amz-Copy-Source-If-Modified-Since": "If-Modified-Since", "X-Amz-Copy-Source-If-Unmodified-Since": "If-Unmodified-Since",
}

// uploadPartCopy opens a source, or a range of it, and seals it as a part: parts of two objects have different keys, so the
// store cannot copy them by itself.
func (p *Proxy) uploadPartCopy(q *request) error {
	number, err := q.partNumber()
	if err != nil {
		return err
	}
	source, version, err := p.copySource(q.header.Get("X-Amz-Copy-Source"))
	if err != nil {
		return err
	}
	u, err := p.loadUpload(q)
	if err != nil {
		return err
	}
	own := q.internal(q.ctx, source)
	own.method, own.op, own.query, own.header = http.MethodGet, copySourceRead, make(url.Values), make(http.Header)
	if version != "" {
		own.query.Set("versionId", version)
	}
	for name, as := range copyConditions {
		if value := q.header.Get(name); value != "" {
			own.header.Set(as, value)
		}
	}
	asked, err := copyRange(q.header.Get("X-Amz-Copy-Source-Range"))
	if err != nil {
		return err
	}
	return whileReplaced(func() error { return p.copyPart(q, own, u, number, asked) })
}

// copySourceRead is how a source is read: conditions in terms of the store's ETags, and nothing else of the request.
var copySourceRead = &operation{name: "GetObject", headers: headerNames(conditionHeaders)}

func (p *Proxy) copyPart(q, own *request, u *upload, number int, asked *byteRange) error {
	r, err := p.openRead(own, asked)
	if err != nil {
		return copyFailure(err)
	}
	defer r.body.Close() //nolint:errcheck // read to its end, or given up
	if r.object == nil {
		return errPlaintext
	}
	if size := r.object.size(); asked != nil && asked.last >= size {
		return newError("InvalidArgument", fmt.Sprintf("Range specified is not valid for source object of size: %d", size),
			errorField{"ArgumentName", "x-amz-copy-source-range"}, errorField{"ArgumentValue", q.header.Get("X-Amz-Copy-Source-Range")})
	}
	if envelope.SealedPartSize(r.n) > envelope.MaxSealedPart {
		return newError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", errorField{"ProposedSize", strconv.FormatInt(r.n, 10)})
	}
	if err := r.reader.Prime(); err != nil {
		return err
	}
	var src io.Reader = r.reader
	var digest hash.Hash
	if u.state.Checksum != 0 {
		digest = u.state.Checksum.New()
		src = io.TeeReader(src, digest)
	}
	sealer := u.dek.NewPartSealer(src, number, r.n)
	if err := sealer.Prime(); err != nil {
		return err
	}
	etag, err := p.sendPart(q, u, number, sealer, r.n)
	if err != nil {
		return err
	}
	r.drain()
	var sum checksum.Value
	if digest != nil {
		sum = checksum.Value{Algorithm: u.state.Checksum, Sum: digest.Sum(nil)}
	}
	q.w.Header().Set(encryptionHeader, "AES256")
	if version := r.header.Get("X-Amz-Version-Id"); version != "" {
		q.w.Header().Set("X-Amz-Copy-Source-Version-Id", version)
	}
	result := struct {
		XMLName      xml.Name `xml:"CopyPartResult"`
		Xmlns        string   `xml:"xmlns,attr"`
		LastModified string
		ETag         string
		Sum          *textElement
	}{
		Xmlns: s3Namespace, LastModified: p.cfg.Now().UTC().Format(time.RFC3339),
		ETag: `"` + newPartTag(etag, sealer.Attempt(), sealer.CRC(), sum).String() + `"`,
	}
	if sum.Algorithm != 0 {
		result.Sum = sumElement(sum.Algorithm, sum.String())
	}
	return q.replyXML(result)
}

// copyRange reads x-amz-copy-source-range, which has one form only.
func copyRange(header string) (*byteRange, error) {
	if header == "" {
		return nil, nil
	}
	r := parseRange(header)
	if r == nil || r.first < 0 || r.last < 0 {
		return nil, newError("InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
			errorField{"ArgumentName", "x-amz-copy-source-range"}, errorField{"ArgumentValue", header})
	}
	return r, nil
}

// copyFailure tells a failed read of the source as S3 tells it of a copy.
func copyFailure(err error) error {
	e := asAPIError(err)
	switch e.Code {
	case "NotModified":
		return newError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", errorField{"Condition", "x-amz-copy-source-If-None-Match"})
	case "InvalidRange":
		return newError("InvalidArgument", "The requested range is not satisfiable", errorField{"ArgumentName", "x-amz-copy-source-range"})
	}
	return err
}
