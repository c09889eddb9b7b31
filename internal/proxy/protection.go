package proxy

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// Headers of the encryption API; see "Using server-side encryption" in the Amazon S3 User Guide.
const (
	encryptionHeader        = "X-Amz-Server-Side-Encryption"
	kmsKeyHeader            = encryptionHeader + "-Aws-Kms-Key-Id"
	kmsContextHeader        = encryptionHeader + "-Context"
	bucketKeyHeader         = encryptionHeader + "-Bucket-Key-Enabled"
	customerAlgorithmHeader = encryptionHeader + "-Customer-Algorithm"
	customerKeyHeader       = encryptionHeader + "-Customer-Key"
	customerMD5Header       = encryptionHeader + "-Customer-Key-Md5"

	copySourcePrefix = "X-Amz-Copy-Source-Server-Side-Encryption" // in place of encryptionHeader, for a copy's source
)

// Algorithms that a request names.
const (
	algorithmS3  = "AES256"
	algorithmKMS = "aws:kms"

	algorithmDSSE = "aws:kms:dsse"
)

// protection is how one object is encrypted at rest: its server-side encryption, in AWS's terms.
type protection struct {
	mode     envelope.Mode
	keyID    string       // empty with a customer's key
	context  keys.Context // of the request, for aws:kms and aws:kms:dsse
	ownKey   bool         // aws:kms without a bucket key, and aws:kms:dsse
	customer *customerKey // exactly in ModeCustomer
}

// protectionOf returns how a stored object is encrypted.
func protectionOf(e *envelope.Envelope, customer *customerKey) *protection {
	return &protection{mode: e.Mode, keyID: e.KeyID, context: e.Context, ownKey: e.OwnKey, customer: customer}
}

// show sets the response headers that tell how an object is encrypted.
func (s *protection) show(h http.Header) {
	switch s.mode {
	case envelope.ModeS3:
		h.Set(encryptionHeader, algorithmS3)
	case envelope.ModeKMS, envelope.ModeDSSE:
		h.Set(encryptionHeader, modeNames[s.mode])
		h.Set(kmsKeyHeader, s.keyID)
		if !s.ownKey {
			h.Set(bucketKeyHeader, "true")
		}
	case envelope.ModeCustomer:
		if s.customer != nil {
			h.Set(customerAlgorithmHeader, algorithmS3)
			h.Set(customerMD5Header, s.customer.md5)
		}
	}
}

// showNew is show for the answer to what has made the object: there the encryption context stands, too.
func (s *protection) showNew(h http.Header) {
	s.show(h)
	if len(s.context) > 0 {
		b, err := json.Marshal(s.context)
		if err != nil {
			panic("proxy: internal error: " + err.Error()) // a map of strings has a form in JSON
		}
		h.Set(kmsContextHeader, base64.StdEncoding.EncodeToString(b))
	}
}

// protect decides how the object that q makes is encrypted: as the request asks, or else by the default of its bucket.
func (p *Proxy) protect(q *request) (*protection, error) {
	if err := p.checkFolded(q.target); err != nil {
		return nil, err
	}
	rule := p.rule(q.target)
	byDefault, err := p.defaultFor(q, rule)
	if err != nil {
		return nil, err
	}
	asked, err := askedProtection(q, rule, byDefault)
	if err != nil {
		return nil, err
	}
	if err := asked.checkContext(q); err != nil {
		return nil, err
	}
	if err := rule.permit(asked, byDefault); err != nil {
		return nil, p.audit(q, sealing, asked.mode, asked.keyID, keys.Key{}, asked.context, err)
	}
	return asked, nil
}

// checkContext refuses a key of its own for an object that has no encryption context.
func (s *protection) checkContext(q *request) error {
	if !s.ownKey {
		return nil
	}
	if _, err := keys.ObjectContext(q.target.bucket, q.target.key, s.context); err != nil {
		return invalidEncryption(kmsContextHeader, q.header.Get(kmsContextHeader), "The object cannot have a key of its own: "+err.Error()+".")
	}
	return nil
}

// askedProtection reads what a request's headers say of encryption.
func askedProtection(q *request, rule *Rule, byDefault *defaultEncryption) (*protection, error) {
	algorithm := q.header.Get(encryptionHeader)
	if q.customer != nil {
		if algorithm != "" {
			return nil, invalidEncryption(encryptionHeader, algorithm,
				"Server Side Encryption with Customer provided key is incompatible with the encryption method specified")
		}
		return &protection{mode: envelope.ModeCustomer, customer: q.customer}, nil
	}
	s := &protection{mode: byDefault.mode(), keyID: byDefault.KeyID, ownKey: byDefault.ownKey()}
	switch algorithm {
	case "":
	case algorithmS3:
		s.mode, s.keyID, s.ownKey = envelope.ModeS3, rule.KeyID, false
	case algorithmKMS:
		s.mode = envelope.ModeKMS
		s.ownKey = !byDefault.BucketKey || byDefault.Algorithm != algorithmKMS // AWS's default for a request that names the algorithm itself
	case algorithmDSSE:
		s.mode, s.ownKey = envelope.ModeDSSE, true
	default:
		return nil, invalidEncryption(encryptionHeader, algorithm, "The encryption method specified is not supported")
	}
	return s, s.readKMS(q.header, rule, algorithm)
}

// hasKMSKey reports whether the key is one that a client may name.
func (s *protection) hasKMSKey() bool {
	return s.mode == envelope.ModeKMS || s.mode == envelope.ModeDSSE
}

// readKMS reads the headers that belong to aws:kms and aws:kms:dsse alone.
func (s *protection) readKMS(h http.Header, rule *Rule, algorithm string) error {
	for _, name := range []string{kmsKeyHeader, kmsContextHeader, bucketKeyHeader} {
		value := h.Get(name)
		needless := name == bucketKeyHeader && value == "false"
		if _, ok := h[name]; ok && !needless && (!s.hasKMSKey() || name == kmsKeyHeader && algorithm == "") {
			return invalidEncryption(name, value, "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
	}
	if !s.hasKMSKey() {
		return nil
	}
	switch value := h.Get(bucketKeyHeader); value {
	case "":
	case "true", "false":
		s.ownKey = value == "false" || s.mode == envelope.ModeDSSE // where S3 takes the header and does not heed it
	default:
		return invalidEncryption(bucketKeyHeader, value, "The value of the header is neither true nor false.")
	}
	if _, ok := h[kmsKeyHeader]; ok {
		var err error
		if s.keyID, err = rule.find(h.Get(kmsKeyHeader)); err != nil {
			return err
		}
	}
	if value, ok := h[kmsContextHeader]; ok {
		var err error
		if s.context, err = parseContext(strings.Join(value, ",")); err != nil {
			return err
		}
		// The provider must see the context, and a bucket key has one of its own.
		s.ownKey = s.ownKey || len(s.context) > 0
	}
	return nil
}

const maxContext = 512 // bytes of names and values, so that the envelope leaves room for user metadata

// parseContext reads x-amz-server-side-encryption-context: base64 of a JSON object of strings.
func parseContext(value string) (keys.Context, error) {
	bad := func(why string) (keys.Context, error) {
		return nil, invalidEncryption(kmsContextHeader, value, "The header must be the base64 of a JSON object whose values are strings: "+why)
	}
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil || !utf8.Valid(b) {
		return bad("it is no base64 of UTF-8 text.")
	}
	var pairs map[string]*string
	if err := json.Unmarshal(b, &pairs); err != nil {
		return bad("it is no such object.")
	}
	ec, size := make(keys.Context), 0
	for name, text := range pairs {
		if name == "" || text == nil {
			return bad("a name is empty, or a value null.")
		}
		ec[name] = *text
		size += len(name) + len(*text)
	}
	if size > maxContext {
		return bad(fmt.Sprintf("it has %d bytes, and may have %d.", size, maxContext))
	}
	return ec, nil
}

func invalidEncryption(header, value, message string) error {
	return newError("InvalidArgument", message, errorField{"ArgumentName", strings.ToLower(header)}, errorField{"ArgumentValue", value})
}

// wrap completes e for a new object, wraps dek into it and returns the metadata value.
func (p *Proxy) wrap(q *request, s *protection, e *envelope.Envelope, dek *envelope.DEK, sum checksum.Value) (string, error) {
	if err := p.checkLayers(s); err != nil {
		return "", err
	}
	e.Mode, e.KeyID, e.Context, e.OwnKey = s.mode, s.keyID, maps.Clone(s.context), s.ownKey
	wrapping, err := p.sealingKey(q, s, e)
	if err != nil {
		return "", err
	}
	if s.mode == envelope.ModeDSSE {
		second, err := p.sealSecond(q, s, e)
		if err != nil {
			return "", err
		}
		wrapping = append(wrapping, second...)
	}
	err = e.Wrap(wrapping, dek, sum, q.target.bucket, q.target.key)
	if errors.Is(err, envelope.ErrEnvelope) && len(s.context) > 0 {
		return "", invalidEncryption(kmsContextHeader, q.header.Get(kmsContextHeader), "The encryption context does not fit into what the proxy keeps with the object. Use fewer or shorter pairs.")
	}
	if err != nil {
		return "", fmt.Errorf("wrapping the data key: %w", err)
	}
	return e.String(), nil
}

// sealingKey returns the key to wrap a data key under, and puts its own wrapping into e.
func (p *Proxy) sealingKey(q *request, s *protection, e *envelope.Envelope) ([]byte, error) {
	key, err := p.newKey(q, s)
	if err = p.audit(q, sealing, s.mode, s.keyID, key, s.context, err); err != nil {
		return nil, fmt.Errorf("getting key %q to seal with: %w", s.keyID, err)
	}
	e.WrappedKey = key.Wrapped
	return key.Plaintext, nil
}

// newKey gets a wrapping key for a new object, if q may have it.
func (p *Proxy) newKey(q *request, s *protection) (key keys.Key, err error) {
	if err := p.mayUse(q, policy.Encrypt, s.mode, s.keyID); err != nil {
		return key, err
	}
	switch {
	case s.mode == envelope.ModeCustomer:
		key.Plaintext, key.Wrapped, err = envelope.NewCustomerKey(s.customer.key)
	case s.ownKey:
		key, err = p.cfg.Keys.ForSealObject(q.ctx, s.keyID, q.target.bucket, q.target.key, s.context)
	default:
		key, err = p.cfg.Keys.ForSeal(q.ctx, s.keyID, q.target.bucket)
	}
	return key, err
}

// unwrap opens an envelope of q's object, for what q does with its key.
func (p *Proxy) unwrap(q *request, value string, action policy.Action) (e *envelope.Envelope, dek *envelope.DEK, sum checksum.Value, err error) {
	if e, err = envelope.Parse(value); err != nil {
		return nil, nil, sum, err
	}
	wrapping, err := p.openingKey(q, e, action)
	if err != nil {
		return nil, nil, sum, err
	}
	if e.Mode == envelope.ModeDSSE {
		second, err := p.openSecond(q, e)
		if err != nil {
			return nil, nil, sum, err
		}
		wrapping = append(wrapping, second...)
	}
	dek, sum, err = e.Unwrap(wrapping, q.target.bucket, q.target.key)
	return e, dek, sum, err
}

// openingKey returns the key that an envelope's data key is wrapped under.
func (p *Proxy) openingKey(q *request, e *envelope.Envelope, action policy.Action) ([]byte, error) {
	switch {
	case e.Mode == envelope.ModeCustomer && q.customer == nil:
		return nil, errCustomerKeyMissing
	case e.Mode != envelope.ModeCustomer && q.customer != nil:
		return nil, errCustomerKeyNeedless
	}
	key, err := p.findKey(q, e, action)
	if err = p.audit(q, opening, e.Mode, e.KeyID, key, e.Context, err); err != nil {
		return nil, err
	}
	return key.Plaintext, nil
}

var errForeignKey = newError("AccessDenied", "The object names an encryption key that is not configured for this bucket.")

// findKey gets an object's wrapping key: from the customer's, or from those that the operator configured.
func (p *Proxy) findKey(q *request, e *envelope.Envelope, action policy.Action) (key keys.Key, err error) {
	if e.Mode == envelope.ModeCustomer {
		key.Plaintext, err = envelope.CustomerKey(q.customer.key, e.WrappedKey)
		return key, err
	}
	// The name of the key is the store's word. Nothing is asked about a key that the operator did not configure.
	if !p.rule(q.target).has(e.KeyID) || !p.hasSecond(e) {
		return key, fmt.Errorf("%w (mode %s, key %q, second key %q)", errForeignKey, e.Mode, e.KeyID, e.SecondKeyID)
	}
	if err := p.mayUse(q, action, e.Mode, e.KeyID); err != nil {
		return key, err
	}
	return p.unwrapKey(q, e)
}

// unwrapKey gets the wrapping key of an object from its provider, or of late.
func (p *Proxy) unwrapKey(q *request, e *envelope.Envelope) (key keys.Key, err error) {
	if e.OwnKey {
		key, err = p.cfg.Keys.ForOpenObject(q.ctx, e.KeyID, q.target.bucket, q.target.key, e.Context, e.WrappedKey)
	} else {
		key, err = p.cfg.Keys.ForOpen(q.ctx, e.KeyID, q.target.bucket, e.WrappedKey)
	}
	if err != nil {
		return key, fmt.Errorf("getting the object's key %q: %w", e.KeyID, err)
	}
	return key, nil
}
