package proxy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// maxForward bounds the body, in bytes, of an operation that is passed on. S3's largest, a lifecycle configuration of 1000
// rules, stays below it.
const maxForward = 2 << 20

// forward passes an operation on as it is: signed again, with a body that has proved to be the client's.
func (p *Proxy) forward(q *request) error {
	body, err := q.readBody(maxForward)
	if err != nil {
		return err
	}
	return p.forwardBody(q, body)
}

func (p *Proxy) forwardBody(q *request, body []byte) error {
	resp, err := p.sendBuffered(q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	if err := q.expect(resp, http.StatusOK, http.StatusNoContent, http.StatusAccepted); err != nil {
		return err
	}
	body, err = checkNoListing(resp)
	if err != nil {
		return err
	}
	copyResponse(q.w.Header(), resp.Header, passResponse)
	if resp.ContentLength >= 0 && resp.StatusCode != http.StatusNoContent {
		q.w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	return q.reply(resp.StatusCode, io.MultiReader(bytes.NewReader(body), resp.Body))
}

// maxPeek is how far into an answer its root element is looked for, in bytes.
const maxPeek = 512

// checkNoListing reads the beginning of an answer. A store that does not know a sub-resource may list the bucket instead, with
// sealed sizes and the proxy's own keys.
func checkNoListing(resp *http.Response) ([]byte, error) {
	head := make([]byte, maxPeek)
	n, err := io.ReadFull(resp.Body, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: reading its answer: %w", errStore, err)
	}
	for _, root := range []string{"<ListBucketResult", "<ListVersionsResult"} {
		if bytes.Contains(head[:n], []byte(root)) {
			return nil, newError("NotImplemented", "The store does not know this operation: it lists the bucket instead.")
		}
	}
	return head[:n], nil
}

// restoreElements are those of a RestoreRequest that brings an archived object back as it is. The others (SelectParameters,
// OutputLocation) would have the store run a query on the sealed bytes.
var restoreElements = names("RestoreRequest RestoreRequest/Days RestoreRequest/Tier RestoreRequest/Description " +
	"RestoreRequest/GlacierJobParameters RestoreRequest/GlacierJobParameters/Tier")

// restoreObject passes on what does not look into the object.
func (p *Proxy) restoreObject(q *request) error {
	body, err := q.readBody(maxForward)
	if err != nil {
		return err
	}
	if len(body) > 0 { // S3 takes none at all for a copy of unlimited time
		var refused *apiError
		err := walk(body, func(path []string, el element) error {
			if !restoreElements.has(strings.Join(path, "/")) {
				return newError("NotImplemented", "The proxy does not implement "+el.name+" in RestoreObject: the store would read sealed bytes.")
			}
			return nil
		})
		if errors.As(err, &refused) {
			return refused
		}
		if err != nil {
			return newError("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
		}
	}
	return p.forwardBody(q, body)
}

// sendBuffered sends q on with a body that is whole in memory. Content-MD5 goes along: S3 demands a checksum for many of
// these operations, and every store knows this one.
func (p *Proxy) sendBuffered(q *request, body []byte) (*http.Response, error) {
	out := outgoing{method: q.method, target: q.target, query: storeQuery(q.query), header: q.op.storeHeader(q.header)}
	if len(body) > 0 || q.method == http.MethodPut || q.method == http.MethodPost {
		out.body, out.length, out.sha256 = bytes.NewReader(body), int64(len(body)), hexSHA256(body)
		out.header.Set("Content-Md5", checksumOf(checksum.MD5, body).String())
	}
	return p.send(q, out)
}

// deleteObject passes on, with If-Match in terms of the store's ETag.
func (p *Proxy) deleteObject(q *request) error {
	resp, err := p.sendBuffered(q, nil)
	if err != nil {
		return err
	}
	if err := q.expect(resp, http.StatusNoContent, http.StatusOK); err != nil {
		return err
	}
	copyResponse(q.w.Header(), resp.Header, writeResponse)
	return closing(resp, q.reply(http.StatusNoContent, nil))
}

// deleteObjects passes on what the client may delete, with each entry's ETag in terms of the store's.
func (p *Proxy) deleteObjects(q *request) error {
	body, err := q.readBody(maxDelete)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return newError("MissingRequestBodyError", "Request Body is empty")
	}
	d, err := rewriteDelete(body, func(key, version string) error {
		return p.mayDo(q, policy.Delete, target{q.target.bucket, key}, version)
	})
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/xml"}}
	if body = []byte(xml.Header + emptyDeleteResult); d.objects > 0 {
		resp, err := p.sendBuffered(q, d.body)
		if err != nil {
			return err
		}
		if body, err = q.readListing(resp); err != nil {
			return err
		}
		header = resp.Header
	}
	if body, err = mergeDeleteResult(body, d.refused); err != nil {
		return err
	}
	return q.replyListing(header, body)
}
