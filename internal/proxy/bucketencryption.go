package proxy

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// defaultEncryption is how a bucket's new objects are encrypted where a request does not say: what S3 calls the bucket's default
// encryption. The proxy keeps what a client has set in a small object of its own in the bucket, so that every replica has it.
type defaultEncryption struct {
	Algorithm      string `json:"algorithm"`       // AES256, aws:kms or aws:kms:dsse
	KeyID          string `json:"key_id"`          // as the operator's rule has it
	Named          bool   `json:"named,omitempty"` // the client named the key
	BucketKey      bool   `json:"bucket_key,omitempty"`
	BlocksCustomer bool   `json:"blocks_sse_c,omitempty"`
}

func (u *defaultEncryption) mode() envelope.Mode {
	switch u.Algorithm {
	case algorithmKMS:
		return envelope.ModeKMS
	case algorithmDSSE:
		return envelope.ModeDSSE
	}
	return envelope.ModeS3
}

// ownKey reports whether each object has a wrapping key of its own.
func (u *defaultEncryption) ownKey() bool {
	return u.Algorithm == algorithmDSSE || u.Algorithm == algorithmKMS && !u.BucketKey
}

const (
	defaultName           = reservedPrefix + "encryption"
	defaultAge            = 30 * time.Second // for which a replica goes on with what it has read
	defaultEntries        = 10_000
	maxEncryptionDocument = 64 << 10 // bytes of a client's document
)

// defaultsCache has what clients have set for buckets.
type defaultsCache = lru.Cache[string, knownDefault]

// knownDefault is what was read at a time; nothing is set where it is nil.
type knownDefault struct {
	set  *defaultEncryption
	when time.Time
}

func newDefaultsCache() *defaultsCache {
	c, err := lru.New[string, knownDefault](defaultEntries)
	if err != nil {
		panic("proxy: internal error: " + err.Error())
	}
	return c
}

func defaultTarget(bucket string) target { return target{bucket, defaultName} }

// defaultFor returns how q's object is encrypted if the request does not say.
func (p *Proxy) defaultFor(q *request, rule *Rule) (*defaultEncryption, error) {
	known, ok := p.defaults.Get(q.target.bucket)
	if age := p.cfg.Now().Sub(known.when); !ok || age < 0 || age > defaultAge {
		known.when = p.cfg.Now()
		var err error
		if known.set, err = p.readDefault(q); err != nil {
			return nil, err
		}
		p.defaults.Add(q.target.bucket, known)
	}
	set := known.set
	operator := rule.byDefault()
	if set == nil {
		return operator, nil
	}
	byDefault := *set
	if !byDefault.Named {
		byDefault.KeyID = rule.KeyID
	}
	// What the operator has forbidden since, or for a part of the bucket, is not used.
	if !rule.has(byDefault.KeyID) || !rule.allows(byDefault.mode()) {
		operator.BlocksCustomer = byDefault.BlocksCustomer
		return operator, nil
	}
	return &byDefault, nil
}

// readDefault reads what is set for q's bucket; nil if nothing is.
func (p *Proxy) readDefault(q *request) (*defaultEncryption, error) {
	b, err := p.readOwn(q, defaultTarget(q.target.bucket))
	if err != nil || b == nil {
		return nil, err
	}
	var set *defaultEncryption
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("decoding the encryption of bucket %s: %w", q.target.bucket, err)
	}
	return set, nil
}

// encryptionDocument is S3's ServerSideEncryptionConfiguration.
type encryptionDocument struct {
	XMLName xml.Name         `xml:"ServerSideEncryptionConfiguration"`
	Xmlns   string           `xml:"xmlns,attr,omitempty"`
	Rules   []encryptionRule `xml:"Rule"`
}

type encryptionRule struct {
	Default   *encryptionDefault `xml:"ApplyServerSideEncryptionByDefault"`
	BucketKey *bool              `xml:"BucketKeyEnabled"`
	Blocked   *blockedTypes      `xml:"BlockedEncryptionTypes"`
}

type encryptionDefault struct {
	Algorithm string `xml:"SSEAlgorithm"`
	KeyID     string `xml:"KMSMasterKeyID,omitempty"`
}

type blockedTypes struct {
	Types []string `xml:"EncryptionType"`
}

// getBucketEncryption answers for a bucket of which nothing is set, too, as S3 does since 2023.
func (p *Proxy) getBucketEncryption(q *request) error {
	if p.bypassed(q.target) {
		return newError("ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found")
	}
	set, err := p.readDefault(q)
	if err != nil {
		return err
	}
	if set == nil {
		rule := p.rule(q.target)
		set = &defaultEncryption{Algorithm: rule.algorithm(), KeyID: rule.KeyID, BucketKey: rule.BucketKey && rule.algorithm() == algorithmKMS}
		set.Named = set.Algorithm != algorithmS3
	}
	rule := encryptionRule{Default: &encryptionDefault{Algorithm: set.Algorithm}, BucketKey: &set.BucketKey}
	if set.Named {
		rule.Default.KeyID = set.KeyID
	}
	if set.BlocksCustomer {
		rule.Blocked = &blockedTypes{[]string{customerAlgorithm}}
	}
	return q.replyXML(&encryptionDocument{Xmlns: s3Namespace, Rules: []encryptionRule{rule}})
}

// putBucketEncryption keeps the document's meaning; other replicas know of it within defaultAge.
func (p *Proxy) putBucketEncryption(q *request) error {
	body, err := q.readBody(maxEncryptionDocument)
	if err != nil {
		return err
	}
	set, err := parseEncryption(body, p.rule(q.target))
	if err != nil {
		return err
	}
	if p.bypassed(q.target) {
		return deniedByBypass(&protection{mode: set.mode()})
	}
	if err := p.checkLayers(&protection{mode: set.mode(), keyID: set.KeyID}); err != nil {
		return err
	}
	b, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("encoding the encryption of bucket %s: %w", q.target.bucket, err)
	}
	if err := p.saveOwn(q, defaultTarget(q.target.bucket), b); err != nil {
		return err
	}
	p.defaults.Add(q.target.bucket, knownDefault{set, p.cfg.Now()})
	return q.reply(http.StatusOK, nil)
}

// deleteBucketEncryption leaves an object that says so, where there was one: in a bucket with a default retention it may not go.
func (p *Proxy) deleteBucketEncryption(q *request) error {
	set, err := p.readDefault(q)
	if err == nil && set != nil {
		err = p.saveOwn(q, defaultTarget(q.target.bucket), []byte("null"))
	}
	if err != nil {
		return err
	}
	p.defaults.Add(q.target.bucket, knownDefault{nil, p.cfg.Now()})
	return q.reply(http.StatusNoContent, nil)
}

// parseEncryption reads a client's document.
func parseEncryption(body []byte, rule *Rule) (*defaultEncryption, error) {
	var doc encryptionDocument
	d := xml.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&doc); err != nil {
		return nil, errMalformedXML
	}
	if len(bytes.TrimSpace(body[d.InputOffset():])) > 0 || len(doc.Rules) != 1 {
		return nil, errMalformedXML
	}
	r := doc.Rules[0]
	set := &defaultEncryption{Algorithm: rule.algorithm(), KeyID: rule.KeyID, BucketKey: r.BucketKey != nil && *r.BucketKey}
	if r.Default == nil && r.Blocked == nil {
		return nil, errMalformedXML
	}
	if err := set.readDefault(r.Default, rule); err != nil {
		return nil, err
	}
	if r.Blocked != nil {
		for _, name := range r.Blocked.Types {
			if name != customerAlgorithm && name != "NONE" {
				return nil, errMalformedXML
			}
		}
		set.BlocksCustomer = slices.Contains(r.Blocked.Types, customerAlgorithm)
	}
	return set, rule.permit(&protection{mode: set.mode()}, &defaultEncryption{})
}

// readDefault reads the part of a document that names an algorithm and a key. It may be nil.
func (u *defaultEncryption) readDefault(d *encryptionDefault, rule *Rule) (err error) {
	if d == nil {
		return nil
	}
	switch u.Algorithm = d.Algorithm; {
	case d.Algorithm != algorithmS3 && d.Algorithm != algorithmKMS && d.Algorithm != algorithmDSSE:
		return errMalformedXML
	case d.KeyID == "":
		return nil
	case d.Algorithm == algorithmS3:
		return newError("InvalidArgument", "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
			errorField{"ArgumentName", "ApplyServerSideEncryptionByDefault"})
	}
	u.Named = true
	u.KeyID, err = rule.find(d.KeyID)
	return err
}
