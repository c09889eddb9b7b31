package proxy

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// partsPage is a page of ListParts, in S3's terms.
type partsPage struct {
	XMLName              xml.Name `xml:"ListPartsResult"`
	Xmlns                string   `xml:"xmlns,attr"`
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	Initiator            *inner `xml:",omitempty"`
	Owner                *inner `xml:",omitempty"`
	StorageClass         string `xml:",omitempty"`
	ChecksumAlgorithm    string `xml:",omitempty"`
	ChecksumType         string `xml:",omitempty"`
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Part                 []pagePart
}

type pagePart struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
}

// inner is an element that goes through as it is.
type inner struct {
	XML string `xml:",innerxml"`
}

// listParts shows the client's parts in plaintext terms. The proxy's own part is hidden, also from the paging; a client's
// part of that number is in a stash.
func (p *Proxy) listParts(q *request) error {
	if p.bypassed(q.target) {
		return p.listPlainParts(q)
	}
	u, err := p.loadUpload(q)
	if err != nil {
		return err
	}
	page, err := p.readPartsPage(q, storeQuery(q.query))
	if err != nil {
		return err
	}
	if page.IsTruncated {
		// Only the proxy's part may be left.
		ahead, err := p.readPartsPage(q, url.Values{
			"uploadId": {u.id}, "max-parts": {"1"}, "part-number-marker": {strconv.Itoa(page.NextPartNumberMarker)},
		})
		if err != nil {
			return err
		}
		page.IsTruncated = len(ahead.Part) > 0 && ahead.Part[0].PartNumber != ownPart
	}
	page.Part = slices.DeleteFunc(page.Part, func(part pagePart) bool { return part.PartNumber == ownPart })
	if !page.IsTruncated && page.PartNumberMarker < ownPart {
		if err := p.addStashedPart(q, u.id, page); err != nil {
			return err
		}
	}
	for i := range page.Part {
		part := &page.Part[i]
		size, ok := envelope.PartPlaintextSize(part.Size)
		if !ok {
			return internalError("The store lists a part of a length that no sealed part has.", "part "+strconv.Itoa(part.PartNumber))
		}
		part.Size, part.ETag = size, clientETagValue(part.ETag)
	}
	page.NextPartNumberMarker = page.PartNumberMarker
	if n := len(page.Part); n > 0 {
		page.NextPartNumberMarker = page.Part[n-1].PartNumber
	}
	if u.state.Checksum != 0 {
		page.ChecksumAlgorithm, page.ChecksumType = u.state.Checksum.String(), checksumTypeNames[u.state.Type]
	}
	page.XMLName, page.Xmlns = xml.Name{Local: "ListPartsResult"}, s3Namespace
	return q.replyXML(page)
}

func (p *Proxy) readPartsPage(q *request, query url.Values) (*partsPage, error) {
	resp, err := p.send(q, outgoing{method: http.MethodGet, target: q.target, query: query, header: q.op.storeHeader(q.header)})
	if err != nil {
		return nil, err
	}
	if err := q.expect(resp, http.StatusOK); err != nil {
		return nil, err
	}
	page := new(partsPage)
	return page, closing(resp, decodeXML(resp.Body, maxListing, page))
}

// addStashedPart adds the client's own part 10000, of which the last attempt counts, where the page has room for it.
func (p *Proxy) addStashedPart(q *request, id string, page *partsPage) error {
	k := uploadKey{q.target, id}
	entries, err := p.listVersions(q.internal(q.ctx, target{bucket: q.target.bucket}), k.folder()+"/"+strconv.Itoa(ownPart)+"-")
	if err != nil || len(entries) == 0 {
		return err
	}
	if page.MaxParts > 0 && len(page.Part) >= page.MaxParts {
		page.IsTruncated = true
		return nil
	}
	last := slices.MaxFunc(entries, func(a, b listedVersion) int { return strings.Compare(a.LastModified, b.LastModified) })
	page.Part = append(page.Part, pagePart{PartNumber: ownPart, LastModified: last.LastModified, ETag: last.ETag, Size: last.Size})
	return nil
}
