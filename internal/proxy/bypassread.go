package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// getPlainPart passes on a read of a part of an object that is left as it is: the store knows its parts.
func (p *Proxy) getPlainPart(q *request) error {
	out := outgoing{method: q.method, target: q.target, query: storeQuery(q.query), header: q.op.storeHeader(q.header)}
	p.askChecksum(q, out.header)
	resp, err := p.send(q, out)
	if err != nil {
		return err
	}
	if err := q.expect(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return err
	}
	if len(resp.Header[reservedMetadata]) > 0 {
		return closing(resp, errReplaced)
	}
	q.describePlaintext(resp.Header, resp.ContentLength)
	copyResponse(q.w.Header(), resp.Header, partResponse)
	return closing(resp, q.reply(resp.StatusCode, resp.Body))
}

// getPlainAttributes passes on a GetObjectAttributes of such an object, of which header is what the store has just said.
func (p *Proxy) getPlainAttributes(q *request, asked map[string]bool, header http.Header) error {
	out := outgoing{method: http.MethodGet, target: q.target, query: storeQuery(q.query), header: q.common()}
	for _, name := range []string{"X-Amz-Object-Attributes", "X-Amz-Max-Parts", "X-Amz-Part-Number-Marker"} {
		if values, ok := q.header[name]; ok {
			out.header[name] = slices.Clone(values)
		}
	}
	if !asked["ETag"] { // which tells whether it still is the object that has no envelope
		out.header.Set("X-Amz-Object-Attributes", strings.Join(append(q.header["X-Amz-Object-Attributes"], "ETag"), ","))
	}
	resp, err := p.send(q, out)
	if err != nil {
		return err
	}
	body, err := q.readListing(resp)
	if err != nil {
		return err
	}
	var etag string
	show := func(text string) string {
		etag = text
		if !asked["ETag"] {
			return ""
		}
		return clientETagValue(text)
	}
	// MinIO writes the root with a small letter.
	body, err = rewriteTexts(body, map[string]func(string) string{"GetObjectAttributesResponse/ETag": show, "getObjectAttributesResponse/ETag": show})
	if err != nil {
		return fmt.Errorf("rewriting the object's attributes: %w", err)
	}
	if strings.Trim(etag, `"`) != strings.Trim(header.Get("Etag"), `"`) {
		return errReplaced
	}
	copyResponse(q.w.Header(), resp.Header, attributesResponse)
	return q.replyListing(resp.Header, body)
}

// rewriteTexts returns a document in which the texts of the elements at some paths, names joined by slashes, are replaced; an element
// that gets none is left out. Every other byte stays.
func rewriteTexts(body []byte, texts map[string]func(string) string) ([]byte, error) {
	var edits []edit
	err := walk(body, func(path []string, el element) error {
		replace := texts[strings.Join(path, "/")]
		if replace == nil {
			return nil
		}
		if text := replace(el.text); text != "" {
			edits = append(edits, edit{el.content, escapeXML(text)})
		} else {
			edits = append(edits, edit{span: el.span})
		}
		return requireLeaf(el)
	})
	if err != nil {
		return nil, err
	}
	return applyEdits(body, edits), nil
}
