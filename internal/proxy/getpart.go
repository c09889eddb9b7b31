package proxy

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// getPart reads the part of an object that partNumber names, counting from 1: whoever reads parts 1 to
// x-amz-mp-parts-count has the whole object. An object of one PutObject is its own part 1.
func (p *Proxy) getPart(q *request) error {
	return whileReplaced(func() error {
		part, err := p.findPart(q)
		if errors.Is(err, errPlaintextPart) && p.bypassed(q.target) {
			return p.getPlainPart(q)
		}
		if err != nil {
			return err
		}
		if part.n == 0 {
			return q.reply(part.describe(q), nil)
		}
		start, length := part.object.object.Span(part.off, part.n)
		resp, err := p.sendStored(q, part.object.stored, start, length)
		if err != nil {
			return err
		}
		defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
		reader := part.object.object.NewReader(resp.Body, part.off, part.n, envelope.Attempt{})
		if err := reader.Prime(); err != nil {
			return err
		}
		return q.reply(part.describe(q), reader)
	})
}

func (p *Proxy) headPart(q *request) error {
	return whileReplaced(func() error {
		part, err := p.findPart(q)
		if errors.Is(err, errPlaintextPart) && p.bypassed(q.target) {
			return p.getPlainPart(q)
		}
		if err != nil {
			return err
		}
		return q.reply(part.describe(q), nil)
	})
}

// objectPart is a part of an object, in plaintext terms.
type objectPart struct {
	object *sealedObject
	header http.Header // of the store's answer
	off, n int64
	count  int            // of parts; 0 for an object of one PutObject
	sum    checksum.Value // of the part; zero if it has none of its own
}

// findPart asks the store for the object and finds the part in its layout.
func (p *Proxy) findPart(q *request) (*objectPart, error) {
	number, err := q.partNumber()
	if err != nil {
		return nil, err
	}
	if q.header.Get("Range") != "" {
		return nil, newError("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
	}
	o, header, _, err := p.head(q)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errPlaintextPart
	}
	if err := p.layOut(q, o); err != nil {
		return nil, err
	}
	part := &objectPart{object: o, header: header, n: o.size()}
	count := 1
	if o.trailer != nil {
		part.count, count = len(o.trailer.Parts), len(o.trailer.Parts)
	}
	if number > count {
		return nil, newError("InvalidPartNumber", "The requested partnumber is not satisfiable",
			errorField{"ActualPartCount", strconv.Itoa(count)}, errorField{"PartNumberRequested", strconv.Itoa(number)})
	}
	if o.trailer != nil {
		for _, before := range o.trailer.Parts[:number-1] {
			part.off += before.Size
		}
		this := o.trailer.Parts[number-1]
		part.n = this.Size
		if this.Checksum != nil {
			part.sum = checksum.Value{Algorithm: o.trailer.Checksum.Algorithm, Sum: this.Checksum}
		}
	}
	return part, nil
}

// errPlaintextPart refuses what only the layout of a sealed object answers.
var errPlaintextPart = newError("AccessDenied", "The object is not sealed: it has no sseproxy envelope, so the proxy does not know its parts.")

// describe sets the headers of an answer about the part, and returns its status.
func (part *objectPart) describe(q *request) int {
	h := q.w.Header()
	status := q.describe(part.header, part.object, nil)
	h.Set("Content-Length", strconv.FormatInt(part.n, 10))
	if part.count > 0 {
		h.Set("X-Amz-Mp-Parts-Count", strconv.Itoa(part.count))
	}
	if part.n != part.object.size() {
		for a := checksum.CRC32; a.Valid(); a++ {
			h.Del(a.Header())
		}
		h.Del("X-Amz-Checksum-Type")
		if q.wantsChecksum() && part.sum.Algorithm != 0 {
			h.Set(part.sum.Algorithm.Header(), part.sum.String())
			h.Set("X-Amz-Checksum-Type", checksumTypeNames[part.object.trailer.Type])
		}
	}
	if part.n == 0 {
		return status
	}
	h.Set("Content-Range", contentRange(part.off, part.n, part.object.size()))
	return http.StatusPartialContent
}

// objectAttributes is S3's GetObjectAttributesOutput.
type objectAttributes struct {
	XMLName      xml.Name         `xml:"GetObjectAttributesResponse"`
	Xmlns        string           `xml:"xmlns,attr"`
	ETag         string           `xml:",omitempty"`
	Checksum     *checksumElement `xml:",omitempty"`
	ObjectParts  *objectParts     `xml:",omitempty"`
	StorageClass string           `xml:",omitempty"`
	ObjectSize   *int64           `xml:",omitempty"`
}

type checksumElement struct {
	Sum  *textElement
	Type string `xml:"ChecksumType,omitempty"`
}

type objectParts struct {
	TotalPartsCount      int             `xml:"PartsCount"`
	PartNumberMarker     *int            `xml:",omitempty"`
	NextPartNumberMarker *int            `xml:",omitempty"`
	MaxParts             *int            `xml:",omitempty"`
	IsTruncated          *bool           `xml:",omitempty"`
	Part                 []attributePart `xml:",omitempty"`
}

type attributePart struct {
	PartNumber int
	Size       int64
	Sum        *textElement
}

// getObjectAttributes answers from HEAD and, for what that does not tell, the trailer.
func (p *Proxy) getObjectAttributes(q *request) error {
	asked, err := askedAttributes(q.header)
	if err != nil {
		return err
	}
	return whileReplaced(func() error {
		o, header, _, err := p.head(q)
		if err != nil {
			return err
		}
		if o == nil && p.bypassed(q.target) {
			return p.getPlainAttributes(q, asked, header)
		}
		if o == nil {
			return errPlaintextPart
		}
		if o.object == nil || asked["Checksum"] && o.sum.Algorithm == 0 {
			if err := p.readChecksum(q, o); err != nil {
				return err
			}
		}
		result, err := q.attributes(o, asked, header)
		if err != nil {
			return err
		}
		copyResponse(q.w.Header(), header, attributesResponse)
		return q.replyXML(result)
	})
}

// askedAttributes reads which attributes a client asks for.
func askedAttributes(h http.Header) (map[string]bool, error) {
	list := strings.Join(h["X-Amz-Object-Attributes"], ",")
	if list == "" {
		return nil, newError("InvalidRequest", "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	asked := make(map[string]bool)
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); name {
		case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
			asked[name] = true
		default:
			return nil, newError("InvalidArgument", "Invalid attribute name specified.", errorField{"ArgumentName", "x-amz-object-attributes"}, errorField{"ArgumentValue", name})
		}
	}
	return asked, nil
}

// attributes returns what was asked of an object.
func (q *request) attributes(o *sealedObject, asked map[string]bool, header http.Header) (*objectAttributes, error) {
	result := &objectAttributes{Xmlns: s3Namespace}
	if asked["ETag"] {
		result.ETag = strings.Trim(clientETagValue(o.stored.etag), `"`)
	}
	if asked["Checksum"] {
		result.Checksum = o.checksumElement()
	}
	if asked["ObjectParts"] && o.trailer != nil {
		var err error
		if result.ObjectParts, err = q.attributeParts(o.trailer); err != nil {
			return nil, err
		}
	}
	if asked["StorageClass"] {
		result.StorageClass = cmp.Or(header.Get("X-Amz-Storage-Class"), "STANDARD")
	}
	if asked["ObjectSize"] {
		size := o.size()
		result.ObjectSize = &size
	}
	return result, nil
}

// checksumElement returns the object's checksum as an element; nil if it has none.
func (o *sealedObject) checksumElement() *checksumElement {
	h := make(http.Header)
	o.showChecksum(h)
	for name := range h {
		if a, ok := checksum.ByHeader(name); ok {
			return &checksumElement{Sum: sumElement(a, h.Get(name)), Type: h.Get("X-Amz-Checksum-Type")}
		}
	}
	return nil
}

func sumElement(a checksum.Algorithm, text string) *textElement {
	return &textElement{XMLName: xml.Name{Local: "Checksum" + a.String()}, Text: text}
}

// attributeParts lists a page of parts. As at S3, parts without checksums of their own are counted and not listed.
func (q *request) attributeParts(t *envelope.Trailer) (*objectParts, error) {
	list := &objectParts{TotalPartsCount: len(t.Parts)}
	if t.Parts[0].Checksum == nil {
		return list, nil
	}
	limit, err := q.number("X-Amz-Max-Parts", 1000)
	if err != nil {
		return nil, err
	}
	marker, err := q.number("X-Amz-Part-Number-Marker", 0)
	if err != nil {
		return nil, err
	}
	next, truncated := marker, false
	for _, part := range t.Parts {
		if part.Number <= marker {
			continue
		}
		if truncated = len(list.Part) >= limit; truncated {
			break
		}
		next = part.Number
		listed := attributePart{PartNumber: part.Number, Size: part.Size}
		if part.Checksum != nil {
			listed.Sum = sumElement(t.Checksum.Algorithm, checksum.Value{Sum: part.Checksum}.String())
		}
		list.Part = append(list.Part, listed)
	}
	list.PartNumberMarker, list.NextPartNumberMarker, list.MaxParts, list.IsTruncated = &marker, &next, &limit, &truncated
	return list, nil
}

// number reads a header that is a number up to the greatest page, or returns the default.
func (q *request) number(name string, otherwise int) (int, error) {
	text := q.header.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, newError("InvalidArgument", fmt.Sprintf("Provided %s not an integer or within integer range", strings.ToLower(name)),
			errorField{"ArgumentName", strings.ToLower(name)}, errorField{"ArgumentValue", text})
	}
	return n, nil
}
