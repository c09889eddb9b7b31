package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// Rule says how the operator wants the objects of some buckets encrypted.
type Rule struct {
	// Bucket is a bucket's name, or "*" for every one.
	Bucket string
	// Prefix is what the objects' keys begin with; empty is every key.
	Prefix string
	// Bypass keeps the objects out of encryption: they are stored and read as they are. Such a rule has nothing else; what lies there
	// sealed, from before the rule, is opened by the rules behind it.
	Bypass bool
	// Algorithm is for requests and buckets that name none: AES256, aws:kms or aws:kms:dsse. Empty is AES256.
	Algorithm string
	// KeyID names the key for AES256, and for aws:kms and aws:kms:dsse where no other is named.
	KeyID string
	// BucketKey lets objects with aws:kms share a bucket's intermediate key, which saves calls to the key provider.
	BucketKey bool
	// Allow lists what requests and buckets may ask for instead: AES256, aws:kms, aws:kms:dsse, SSE-C. nil is all of them; the rule's
	// own Algorithm is always allowed.
	Allow []string
	// KeyIDs names further keys that requests may ask for and that stored objects may name.
	KeyIDs []string
	// Aliases are further names of the rule's keys, by which requests may ask for them.
	Aliases map[string]string
}

// customerAlgorithm is what Allow calls SSE-C.
const customerAlgorithm = "SSE-C"

// check refuses a rule that makes no sense.
func (r *Rule) check() error {
	switch {
	case r.Bucket == "":
		return errors.New("it names no bucket")
	case r.Bypass:
		return r.checkBypass()
	case r.KeyID == "":
		return errors.New("it names no key")
	case r.Algorithm != "" && r.Algorithm != algorithmS3 && r.Algorithm != algorithmKMS && r.Algorithm != algorithmDSSE:
		return fmt.Errorf("algorithm %q is none of AES256, aws:kms and aws:kms:dsse", r.Algorithm)
	case r.Algorithm == algorithmDSSE && r.BucketKey:
		return errors.New("aws:kms:dsse has no bucket keys")
	}
	for _, name := range r.Allow {
		if name != algorithmS3 && name != algorithmKMS && name != algorithmDSSE && name != customerAlgorithm {
			return fmt.Errorf("it allows %q, which is none of AES256, aws:kms, aws:kms:dsse and SSE-C", name)
		}
	}
	for alias, id := range r.Aliases {
		if !r.has(id) {
			return fmt.Errorf("alias %q is of key %q, which is not the rule's", alias, id)
		}
	}
	return nil
}

// checkBypass refuses a rule with bypass that says more, which would not hold, or is about what the proxy keeps for itself.
func (r *Rule) checkBypass() error {
	switch {
	case r.Algorithm != "" || r.KeyID != "" || r.BucketKey || r.Allow != nil || r.KeyIDs != nil || r.Aliases != nil:
		return errors.New("with bypass it may have a bucket and a prefix alone: nothing is encrypted, and what is sealed already is opened by the rules behind it")
	case strings.HasPrefix(r.Prefix, reservedPrefix):
		return fmt.Errorf("keys that begin with %s belong to the proxy, and are always sealed", reservedPrefix)
	}
	return nil
}

// firstRule returns the first of the operator's rules that fits an object. What the proxy keeps for itself is under its own key.
func (p *Proxy) firstRule(t target) *Rule { return p.findRule(t, true) }

// rule returns the first rule that says how an object is encrypted or, where bypass comes first, how it was before.
func (p *Proxy) rule(t target) *Rule { return p.findRule(t, false) }

func (p *Proxy) findRule(t target, bypass bool) *Rule {
	if !strings.HasPrefix(t.key, reservedPrefix) {
		for i := range p.cfg.Rules {
			r := &p.cfg.Rules[i]
			if (bypass || !r.Bypass) && (r.Bucket == "*" || r.Bucket == t.bucket) && strings.HasPrefix(t.key, r.Prefix) {
				return r
			}
		}
	}
	return &p.fallback
}

// checkFolded refuses to make an object under one rule where a store that cleans paths would keep it under the name of another.
func (p *Proxy) checkFolded(t target) error {
	if as := (target{t.bucket, folded(t.key)}); p.firstRule(as) != p.firstRule(t) || p.rule(as) != p.rule(t) {
		return newError("AccessDenied", "The operator's rule for this key is another one when the key is read as a path.")
	}
	return nil
}

// has reports whether objects may name the key.
func (r *Rule) has(keyID string) bool { return keyID == r.KeyID || slices.Contains(r.KeyIDs, keyID) }

// find returns the id of the key that a client names: the id itself, an alias or, where the id is an ARN, the part of it that
// AWS calls the key id.
func (r *Rule) find(name string) (string, error) {
	if id, ok := r.Aliases[name]; ok {
		return id, nil
	}
	for _, id := range append([]string{r.KeyID}, r.KeyIDs...) {
		if _, short, ok := strings.Cut(id, ":key/"); id == name || ok && short == name {
			return id, nil
		}
	}
	message := fmt.Sprintf("Invalid keyId '%s'", name)
	if strings.HasPrefix(name, "arn:") {
		message = fmt.Sprintf("Key '%s' does not exist", name)
	}
	return "", newError("KMS.NotFoundException", message)
}

// permit refuses what the operator or the bucket's owner does not want.
func (r *Rule) permit(s *protection, byDefault *defaultEncryption) error {
	if !r.allows(s.mode) {
		return newError("AccessDenied", "The operator of the proxy does not allow "+modeNames[s.mode]+" for this object.")
	}
	if s.mode == envelope.ModeCustomer && byDefault.BlocksCustomer {
		return newError("AccessDenied", "Access Denied because object encryption with customer-provided keys is blocked for this bucket.")
	}
	return nil
}

var modeNames = map[envelope.Mode]string{
	envelope.ModeS3: algorithmS3, envelope.ModeKMS: algorithmKMS, envelope.ModeDSSE: algorithmDSSE, envelope.ModeCustomer: customerAlgorithm,
}

// allows reports whether objects may be encrypted so.
func (r *Rule) allows(mode envelope.Mode) bool {
	return r.Allow == nil || modeNames[mode] == r.algorithm() || slices.Contains(r.Allow, modeNames[mode])
}

// byDefault returns how objects are encrypted where neither request nor bucket says.
func (r *Rule) byDefault() *defaultEncryption {
	return &defaultEncryption{Algorithm: r.algorithm(), KeyID: r.KeyID, BucketKey: r.BucketKey}
}

func (r *Rule) algorithm() string {
	if r.Algorithm == "" {
		return algorithmS3
	}
	return r.Algorithm
}
