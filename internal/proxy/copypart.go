package proxy

import (
	"encoding/xml"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
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
	write, err := p.partWriter(q, number)
	if err != nil {
		return err
	}
	asked, err := copyRange(q.header.Get("X-Amz-Copy-Source-Range"))
	if err != nil {
		return err
	}
	var done *copiedPart
	work := func() error {
		return whileReplaced(func() (err error) { done, err = p.copyPart(source, asked, write); return err })
	}
	if err := q.whileAlive(p.cfg.AlivePause, work); err != nil {
		return err
	}
	if done.protected != nil {
		done.protected.show(q.w.Header())
	}
	if done.sourceVersion != "" {
		q.w.Header().Set("X-Amz-Copy-Source-Version-Id", done.sourceVersion)
	}
	result := struct {
		XMLName      xml.Name `xml:"CopyPartResult"`
		Xmlns        string   `xml:"xmlns,attr"`
		LastModified string
		ETag         string
		Sum          *textElement
	}{Xmlns: s3Namespace, LastModified: p.cfg.Now().UTC().Format(documentTime), ETag: done.etag}
	if done.sum.Algorithm != 0 {
		result.Sum = sumElement(done.sum.Algorithm, done.sum.String())
	}
	return q.replyXML(result)
}

// copiedPart is what UploadPartCopy has made.
type copiedPart struct {
	etag          string         // the client's, quoted
	sum           checksum.Value // zero where the upload has none
	protected     *protection    // nil: it is left as it is
	sourceVersion string
}

// partWriter stores n bytes that it reads from src as a part.
type partWriter func(src io.Reader, n int64) (*copiedPart, error)

// partWriter returns what stores a part of q's upload.
func (p *Proxy) partWriter(q *request, number int) (partWriter, error) {
	if p.bypassed(q.target) {
		return p.plainPartWriter(q, number)
	}
	u, err := p.openUpload(q)
	if err != nil {
		return nil, err
	}
	return func(src io.Reader, n int64) (*copiedPart, error) { return p.sealPart(q, u, number, src, n) }, nil
}

func (p *Proxy) copyPart(source *request, asked *byteRange, write partWriter) (*copiedPart, error) {
	r, err := p.openRead(source, asked)
	if err != nil {
		return nil, copyRangeFailure(err, asked)
	}
	defer r.close()
	src, n, err := p.partSource(source, r, asked)
	if err != nil {
		return nil, err
	}
	done, err := write(src, n)
	if err != nil {
		return nil, err
	}
	r.drain()
	done.sourceVersion = r.header.Get("X-Amz-Version-Id")
	return done, nil
}

// sealPart stores what src reads, sealed, as a part.
func (p *Proxy) sealPart(q *request, u *upload, number int, src io.Reader, n int64) (*copiedPart, error) {
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
	etag, err := p.sendPart(q, u, envelope.Part{Number: number, Size: n, Attempt: sealer.Attempt()}, sealer)
	if err != nil {
		return nil, err
	}
	done := &copiedPart{protected: protectionOf(u.envelope, q.customer)}
	if digest != nil {
		done.sum = checksum.Value{Algorithm: u.state.Checksum, Sum: digest.Sum(nil)}
	}
	done.etag = `"` + newPartTag(etag, sealer.Attempt(), sealer.CRC(), done.sum).String() + `"`
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
