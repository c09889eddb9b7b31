package proxy

import (
	"encoding/xml"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// uploadPartCopy opens a source, or a range of it, and seals it as a part: parts of two objects have different keys, so the
// store cannot copy them by itself.
func (p *Proxy) uploadPartCopy(q *request) error {
	number, err := q.partNumber()
	if err != nil {
		return err
	}
	source, err := p.sourceRequest(q)
	if err != nil {
		return err
	}
	u, err := p.openUpload(q)
	if err != nil {
		return err
	}
	asked, err := copyRange(q.header.Get("X-Amz-Copy-Source-Range"))
	if err != nil {
		return err
	}
	var done *copiedPart
	work := func() error {
		return whileReplaced(func() (err error) { done, err = p.copyPart(q, source, u, number, asked); return err })
	}
	if err := q.whileAlive(p.cfg.AlivePause, work); err != nil {
		return err
	}
	protectionOf(u.envelope, q.customer).show(q.w.Header())
	if done.sourceVersion != "" {
		q.w.Header().Set("X-Amz-Copy-Source-Version-Id", done.sourceVersion)
	}
	result := struct {
		XMLName      xml.Name `xml:"CopyPartResult"`
		Xmlns        string   `xml:"xmlns,attr"`
		LastModified string
		ETag         string
		Sum          *textElement
	}{Xmlns: s3Namespace, LastModified: p.cfg.Now().UTC().Format(documentTime), ETag: `"` + done.tag.String() + `"`}
	if done.sum.Algorithm != 0 {
		result.Sum = sumElement(done.sum.Algorithm, done.sum.String())
	}
	return q.replyXML(result)
}

// copiedPart is what UploadPartCopy has made.
type copiedPart struct {
	tag           partTag
	sum           checksum.Value // zero where the upload has none
	sourceVersion string
}

func (p *Proxy) copyPart(q, source *request, u *upload, number int, asked *byteRange) (*copiedPart, error) {
	r, err := p.openRead(source, asked)
	if err != nil {
		return nil, copyRangeFailure(err, asked)
	}
	defer r.close()
	src, n, err := p.partSource(source, r, asked)
	if err != nil {
		return nil, err
	}
	if err := checkPartSize(number, n); err != nil {
		return nil, err
	}
	var digest hash.Hash
	if u.state.Checksum != 0 {
		digest = u.state.Checksum.New()
		src = io.TeeReader(src, digest)
	}
	sealer := u.dek.NewPartSealer(src, number, n)
	if err := sealer.Prime(); err != nil {
		return nil, err
	}
	etag, err := p.sendPart(q, u, number, sealer, n)
	if err != nil {
		return nil, err
	}
	r.drain()
	done := &copiedPart{sourceVersion: r.header.Get("X-Amz-Version-Id")}
	if digest != nil {
		done.sum = checksum.Value{Algorithm: u.state.Checksum, Sum: digest.Sum(nil)}
	}
	done.tag = newPartTag(etag, sealer.Attempt(), sealer.CRC(), done.sum)
	return done, nil
}

// partSource returns what a part is copied from, and its length.
func (p *Proxy) partSource(source *request, r *reading, asked *byteRange) (io.Reader, int64, error) {
	size := int64(-1)
	if r.object != nil {
		size = r.object.size()
	} else if err := p.readPlaintext(source, r); err != nil {
		return nil, 0, copyFailure(err)
	} else if whole, err := storedIn(&http.Response{StatusCode: r.status, Header: r.header, ContentLength: r.length}); err == nil {
		size = whole.length
	}
	switch {
	case asked != nil && asked.last >= size:
		return nil, 0, outsideSource(strconv.FormatInt(size, 10), asked)
	case asked != nil && (r.asked == nil || r.object == nil && r.status != http.StatusPartialContent):
		return nil, 0, fmt.Errorf("%w: it gave the whole object for a range", errStore)
	case r.object == nil:
		return r.body, r.length, nil
	}
	return r.reader, r.n, r.reader.Prime()
}

// copyRangeFailure is copyFailure for a read of a range.
func copyRangeFailure(err error, asked *byteRange) error {
	e := asAPIError(err)
	for _, f := range e.Fields {
		if e.Code == "InvalidRange" && f.Name == "ActualObjectSize" {
			return outsideSource(f.Value, asked)
		}
	}
	return copyFailure(err)
}

func outsideSource(size string, asked *byteRange) error {
	return newError("InvalidArgument", "Range specified is not valid for source object of size: "+size,
		errorField{"ArgumentName", "x-amz-copy-source-range"}, errorField{"ArgumentValue", asked.String()})
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
