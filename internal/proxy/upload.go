package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// An upload's state is what a replica must know to seal its parts, and what S3 gives back to nobody before the upload is
// complete: its metadata. It is a small object like any other, sealed and bound to its own key, in a folder of its own
// below the reserved prefix; stashes of parts stand beside it. All of it goes when the upload ends.
const (
	uploadsPrefix = reservedPrefix + "uploads/"
	stateName     = "/state"
	uploadEntries = 10_000 // states in memory, of about 1 KiB
)

// uploadState is the content of a state object.
type uploadState struct {
	Key        string                `json:"key"`
	UploadID   string                `json:"upload_id"`
	Envelope   string                `json:"envelope"`              // of the object to be
	TrailerKey envelope.TrailerKey   `json:"trailer_key,omitempty"` // secret; of an upload with a customer's key alone
	Checksum   checksum.Algorithm    `json:"checksum,omitempty"`
	Type       envelope.ChecksumType `json:"type,omitempty"`
}

// upload is a multipart upload that a request belongs to.
type upload struct {
	id       string // the store's
	state    uploadState
	envelope *envelope.Envelope
	dek      *envelope.DEK // nil before openUpload
}

// uploadKey is an upload's identity: nothing of one is ever used for another.
type uploadKey struct {
	target target
	id     string
}

// folder returns where state and stashes are, in the upload's own bucket.
func (k uploadKey) folder() string {
	h := sha256.New()
	for _, s := range []string{k.target.bucket, k.target.key, k.id} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return uploadsPrefix + hex.EncodeToString(h.Sum(nil))
}

func (k uploadKey) stateTarget() target { return target{k.target.bucket, k.folder() + stateName} }

// stashTarget returns where the sealed bytes of one attempt of a part are kept besides.
func (k uploadKey) stashTarget(number int, attempt envelope.Attempt) target {
	return target{k.target.bucket, fmt.Sprintf("%s/%d-%s", k.folder(), number, hex.EncodeToString(attempt[:]))}
}

var errNoSuchUpload = newError("NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")

type uploadCache = lru.Cache[uploadKey, uploadState]

func newUploadCache() *uploadCache {
	c, err := lru.New[uploadKey, uploadState](uploadEntries)
	if err != nil {
		panic("proxy: internal error: " + err.Error())
	}
	return c
}

// internal returns a request of the proxy's own on behalf of q, that may run beside it.
func (q *request) internal(ctx context.Context, t target) *request {
	return &request{
		ctx: ctx, identity: q.identity, client: q.client, secure: q.secure, acting: q.acts(), target: t, id: q.id, header: q.header,
		upstream: q.upstream, cors: q.cors,
	}
}

// common returns the headers of the client's that go with every request to the store on its behalf.
func (q *request) common() http.Header {
	h := make(http.Header)
	for _, name := range []string{"X-Amz-Expected-Bucket-Owner", "X-Amz-Request-Payer"} {
		if values, ok := q.header[name]; ok {
			h[name] = slices.Clone(values)
		}
	}
	return h
}

// saveUpload writes an upload's state. Without it no part can be sealed, so a failure ends the upload.
func (p *Proxy) saveUpload(q *request, id string, s uploadState) error {
	k := uploadKey{q.target, id}
	s.Key, s.UploadID = q.target.key, id
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding upload state: %w", err)
	}
	if err := p.saveOwn(q, k.stateTarget(), b); err != nil {
		return err
	}
	p.uploads.Add(k, s)
	return nil
}

// loadUpload returns the upload that q's uploadId names. Without its state nothing may go to the store.
func (p *Proxy) loadUpload(q *request) (*upload, error) {
	k := uploadKey{q.target, q.query.Get("uploadId")}
	s, ok := p.uploads.Get(k)
	if !ok {
		var err error
		if s, err = p.readState(q, k.stateTarget()); err != nil {
			return nil, err
		}
		p.uploads.Add(k, s)
	}
	e, err := envelope.Parse(s.Envelope)
	return &upload{id: k.id, state: s, envelope: e}, err
}

// openUpload is loadUpload for what seals a part: it opens the data key, too.
func (p *Proxy) openUpload(q *request) (*upload, error) {
	u, err := p.loadUpload(q)
	if err == nil {
		err = p.permitUpload(q, u)
	}
	if err != nil {
		return nil, err
	}
	if _, u.dek, _, err = p.unwrap(q, u.state.Envelope, policy.Encrypt); err != nil {
		return nil, uploadKeyFailure(err)
	}
	return u, nil
}

// permitUpload refuses to seal for an upload that the operator's rule would not let begin. The rule may be younger; or the store, which gives out
// the ids of uploads, gave that of an older one twice, and now its state, which may be of fewer layers than the client asked for.
func (p *Proxy) permitUpload(q *request, u *upload) error {
	err := p.rule(q.target).permit(protectionOf(u.envelope, nil), &defaultEncryption{})
	if err != nil {
		return p.audit(q, opening, u.envelope.Mode, u.envelope.KeyID, keys.Key{}, u.envelope.Context, err)
	}
	return nil
}

// uploadKeyFailure tells what is wrong with a customer's key as S3 tells it of a part.
func uploadKeyFailure(err error) error {
	switch {
	case errors.Is(err, errCustomerKeyMissing):
		return newError("InvalidRequest", "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.")
	case errors.Is(err, errCustomerKeyNeedless):
		return newError("InvalidRequest", "The multipart upload initiate did not request encryption. Please resend the request without sending encryption parameters.")
	case errors.Is(err, envelope.ErrCustomerKey):
		return newError("InvalidRequest", "The provided encryption parameters did not match the ones used originally.")
	}
	return err
}

// trailerKey returns the key that an upload's trailer is sealed with. A client sends its own key with the parts, and need not
// with Complete.
func (p *Proxy) trailerKey(q *request, u *upload) (key envelope.TrailerKey, err error) {
	if err := p.permitUpload(q, u); err != nil {
		return key, err
	}
	if u.envelope.Mode == envelope.ModeCustomer && q.customer == nil && u.state.TrailerKey != nil {
		return u.state.TrailerKey, nil
	}
	_, dek, _, err := p.unwrap(q, u.state.Envelope, policy.Encrypt)
	if err != nil {
		return key, uploadKeyFailure(err)
	}
	return dek.TrailerKey(), nil
}

func (p *Proxy) readState(q *request, t target) (s uploadState, err error) {
	b, err := p.readOwn(q, t)
	if err != nil {
		return s, err
	}
	if b == nil {
		return s, errNoSuchUpload
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decoding upload state: %w", err)
	}
	return s, nil
}

// forgetUpload removes what an upload has below the reserved prefix, with all versions. What it leaves, gc finds.
func (p *Proxy) forgetUpload(q *request, id string) error {
	k := uploadKey{q.target, id}
	p.uploads.Remove(k)
	own := q.internal(q.ctx, target{bucket: q.target.bucket})
	entries, err := p.listVersions(own, k.folder()+"/")
	if err != nil {
		return err
	}
	return p.removeVersions(own, entries)
}

// removeVersions deletes objects of own's bucket for good.
func (p *Proxy) removeVersions(own *request, entries []listedVersion) (err error) {
	for _, e := range entries {
		out := outgoing{method: http.MethodDelete, target: target{own.target.bucket, e.Key}, header: own.common()}
		if e.VersionID != "" {
			out.query = url.Values{"versionId": {e.VersionID}}
		}
		resp, failure := p.send(own, out)
		if failure == nil {
			failure = closing(resp, own.expect(resp, http.StatusNoContent, http.StatusOK))
		}
		if hasCode(failure, "NoSuchKey") || hasCode(failure, "NoSuchVersion") || hasCode(failure, "NotFound") {
			failure = nil // another replica was faster, and versitygw says so
		}
		err = errors.Join(err, failure)
	}
	return err
}

// listVersions returns all objects below a prefix, with their versions.
func (p *Proxy) listVersions(own *request, prefix string) ([]listedVersion, error) {
	query := url.Values{"versions": {""}, "prefix": {prefix}}
	var all []listedVersion
	for {
		page, err := p.listVersionPage(own, query)
		if err != nil {
			return nil, err
		}
		for _, v := range page.entries() {
			if strings.HasPrefix(v.Key, prefix) {
				all = append(all, v)
			}
		}
		if !page.IsTruncated {
			return all, nil
		}
		if page.NextKeyMarker == query.Get("key-marker") && page.NextVersionIDMarker == query.Get("version-id-marker") {
			return nil, errEndless
		}
		query.Set("key-marker", page.NextKeyMarker)
		query.Set("version-id-marker", page.NextVersionIDMarker)
	}
}

// versionPage is a page of ListObjectVersions or ListObjectsV2.
type versionPage struct {
	EncodingType        string
	IsTruncated         bool
	NextKeyMarker       string
	NextVersionIDMarker string `xml:"NextVersionIdMarker"`
	Contents            []listedVersion
	Version             []listedVersion
	DeleteMarker        []listedVersion
}

func (page *versionPage) entries() []listedVersion {
	return slices.Concat(page.Contents, page.Version, page.DeleteMarker)
}

// decodeKeys undoes encoding-type=url in a page of ListObjectsV2; a store may not know it.
func (page *versionPage) decodeKeys() error {
	if page.EncodingType == "" {
		return nil
	}
	for i := range page.Contents {
		key, err := url.QueryUnescape(page.Contents[i].Key)
		if err != nil {
			return fmt.Errorf("%w: a listing has key %q, which is not encoded as it says", errStore, page.Contents[i].Key)
		}
		page.Contents[i].Key = key
	}
	return nil
}

func (p *Proxy) listVersionPage(own *request, query url.Values) (*versionPage, error) {
	resp, err := p.send(own, outgoing{method: http.MethodGet, target: own.target, query: query, header: own.common()})
	if err != nil {
		return nil, err
	}
	if err := own.expect(resp, http.StatusOK); err != nil {
		return nil, err
	}
	page := new(versionPage)
	return page, closing(resp, decodeXML(resp.Body, maxListing, page))
}

type listedVersion struct {
	Key          string
	VersionID    string `xml:"VersionId"`
	ETag         string
	Size         int64
	LastModified string
}
