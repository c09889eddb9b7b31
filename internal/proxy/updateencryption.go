package proxy

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// keptByUpdate is what UpdateObjectEncryption carries over besides the metadata: what a copy at the store would reset.
var keptByUpdate = headerNames("x-amz-storage-class x-amz-website-redirect-location x-amz-object-lock-*")

// updateObjectEncryption wraps an object's data key anew, under the key that the request names. The store copies the object onto
// itself for it, so no body moves; where it keeps versions, that makes a new one.
func (p *Proxy) updateObjectEncryption(q *request) error {
	if q.query.Has("versionId") {
		return newError("NotImplemented", "The proxy does not change a version in its place.", errorField{"ArgumentName", "versionId"})
	}
	body, err := q.readBody(maxEncryptionDocument)
	if err != nil {
		return err
	}
	protected, err := p.parseUpdate(q, body)
	if err != nil {
		return err
	}
	source := q.internal(q.ctx, q.target)
	source.method, source.op, source.header = http.MethodGet, copySourceRead, q.common()
	if err := whileReplaced(func() error { return p.updateOnce(source, protected) }); err != nil {
		return err
	}
	q.w.Header().Set("Content-Length", "0")
	return q.reply(http.StatusOK, nil)
}

// parseUpdate reads S3's ObjectEncryption, of which there is one kind.
func (p *Proxy) parseUpdate(q *request, body []byte) (*protection, error) {
	var doc struct {
		XMLName xml.Name `xml:"ObjectEncryption"`
		KMS     *struct {
			KeyID     string `xml:"KMSKeyArn"`
			BucketKey bool   `xml:"BucketKeyEnabled"`
		} `xml:"SSE-KMS"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil || doc.KMS == nil {
		return nil, errMalformedXML
	}
	if err := p.checkFolded(q.target); err != nil {
		return nil, err
	}
	rule := p.rule(q.target)
	id, err := rule.find(doc.KMS.KeyID)
	if err != nil {
		return nil, err
	}
	s := &protection{mode: envelope.ModeKMS, keyID: id, ownKey: !doc.KMS.BucketKey}
	if err := s.checkContext(q); err != nil {
		return nil, err
	}
	if p.bypassed(q.target) {
		return nil, deniedByBypass(s)
	}
	if err := rule.permit(s, &defaultEncryption{}); err != nil {
		return nil, err
	}
	if err := p.mayUse(q, policy.Encrypt, s.mode, id); err != nil {
		return nil, p.audit(q, sealing, s.mode, id, keys.Key{}, nil, err)
	}
	return s, nil
}

func (p *Proxy) updateOnce(source *request, protected *protection) error {
	o, header, _, err := p.head(source)
	switch {
	case errors.Is(err, errCustomerKeyMissing):
		return newError("InvalidRequest", "An object with a customer's key keeps it: copy it onto itself with that key to give it another.")
	case err != nil:
		return err
	case o == nil:
		return errPlaintext
	case o.envelope.Mode == envelope.ModeDSSE:
		return newError("InvalidRequest", "An object with aws:kms:dsse keeps its two layers: copy it onto itself to encrypt it in another way.")
	}
	return p.copyOnto(source, o, header, protected)
}

// copyOnto lets the store copy q's object onto itself, with an envelope for another key: header is what the store said of the object.
func (p *Proxy) copyOnto(q *request, o *sealedObject, header http.Header, protected *protection) error {
	var err error
	if o.stored.length > p.cfg.PartsAbove {
		err = p.copyInParts(q, o, header, protected)
	} else {
		_, err = p.copySealed(q, q, o, protected, outgoing{method: http.MethodPut, target: q.target, header: p.keptHeaders(q, header)})
	}
	if err != nil {
		return fmt.Errorf("wrapping the data key anew: %w", err)
	}
	return nil
}

// keptHeaders returns what an object that takes another's place keeps of its headers. A retention that is over cannot be set again.
func (p *Proxy) keptHeaders(q *request, header http.Header) http.Header {
	kept := q.common()
	for name, values := range header {
		if (objectMetadata.has(name) || keptByUpdate.has(name)) && name != reservedMetadata {
			kept[name] = slices.Clone(values)
		}
	}
	if until, err := time.Parse(time.RFC3339, kept.Get(retainUntilHeader)); err == nil && !until.After(p.cfg.Now()) {
		kept.Del(retainUntilHeader)
		kept.Del("X-Amz-Object-Lock-Mode")
	}
	return kept
}

const retainUntilHeader = "X-Amz-Object-Lock-Retain-Until-Date"
