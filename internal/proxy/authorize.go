package proxy

import (
	"path"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// Without a policy whoever is known may do everything. With one every request is asked about before anything of it goes to the
// store: what it does with its object or bucket, and whether a key that it needs may be used. Which key an object has only the store
// tells: that one is asked about before its provider is.

// operator is who the commands beside "sseproxy serve" act for. No policy is about them: who runs them has keys and credentials.
var operator = new(Identity)

// authorize asks the operator's policy about a classified request.
func (p *Proxy) authorize(q *request) error {
	if q.identity == nil {
		if err := checkUnsigned(q); err != nil {
			return err
		}
	}
	if p.cfg.Policy == nil || q.op.action == nothing {
		return nil
	}
	var allowed bool
	switch t := q.target; {
	case t.level() == atService:
		allowed = p.cfg.Policy.Service(q.asker(), q.op.action, q.query.Get("prefix"))
	case t.level() == atObject:
		return p.authorizeObject(q, t)
	case q.form["key"] != "":
		return p.authorizeObject(q, target{t.bucket, q.form["key"]})
	case q.op.action == policy.Delete:
		return nil // deleteObjects asks for each
	default:
		allowed = !slices.ContainsFunc(readings(q.query.Get("prefix")), func(prefix string) bool {
			return !p.cfg.Policy.Bucket(q.asker(), q.op.action, t.bucket, prefix)
		})
	}
	if !allowed {
		return notPermitted(q.op.action)
	}
	return nil
}

// authorizeObject asks about what a request's operation does with an object, and what follows from that.
func (p *Proxy) authorizeObject(q *request, t target) error {
	if err := p.mayDo(q, q.op.action, t, q.query.Get("versionId")); err != nil {
		return err
	}
	switch {
	case q.op.treatment == seal && !p.bypassed(t):
		return p.mayUseSome(q, t, policy.Encrypt)
	case q.op.treatment == open && !p.readsPlaintext(t):
		return p.mayUseSome(q, t, policy.Decrypt)
	}
	return nil
}

// mayDo asks about one object. To a store that takes keys for paths another key may be the same, so that one must be permitted, too.
func (p *Proxy) mayDo(q *request, action policy.Action, t target, version string) error {
	if p.cfg.Policy == nil || q.identity == operator {
		return nil
	}
	actions := []policy.Action{action}
	if q.header.Get("X-Amz-Bypass-Governance-Retention") != "" {
		actions = append(actions, policy.Administer)
	}
	for _, action := range actions {
		for _, key := range readings(t.key) {
			if !p.permitsObject(q, action, target{t.bucket, key}, version) {
				return notPermitted(action)
			}
		}
	}
	return nil
}

// permitsObject asks about one name. A path of which nothing is left is the bucket's.
func (p *Proxy) permitsObject(q *request, action policy.Action, t target, version string) bool {
	if t.key == "" {
		return p.cfg.Policy.Bucket(q.asker(), policy.Administer, t.bucket, "")
	}
	return p.cfg.Policy.Object(q.asker(), action, t.bucket, t.key, version)
}

// mayUse asks about a key. What the proxy keeps for itself is no client's business, and a customer's key is the customer's.
func (p *Proxy) mayUse(q *request, action policy.Action, mode envelope.Mode, keyID string) error {
	if p.cfg.Policy == nil || q.identity == operator || mode == envelope.ModeCustomer || strings.HasPrefix(q.target.key, reservedPrefix) {
		return nil
	}
	if !p.cfg.Policy.Key(q.asker(), action, keyID) {
		return notPermitted(action)
	}
	return nil
}

// mayUseSome refuses a request for an object of which nothing can come, since every key that the object may have is denied; or
// the one that the request names.
func (p *Proxy) mayUseSome(q *request, t target, action policy.Action) error {
	if q.customer != nil {
		return nil
	}
	rule := p.rule(t)
	ids := append([]string{rule.KeyID}, rule.KeyIDs...)
	if id, err := rule.find(q.header.Get(kmsKeyHeader)); err == nil {
		ids = []string{id}
	}
	var err error
	for _, id := range ids {
		if err = p.mayUse(q, action, 0, id); err == nil {
			return nil
		}
	}
	purpose := map[policy.Action]string{policy.Encrypt: sealing, policy.Decrypt: opening}[action]
	about := q.internal(q.ctx, t)
	return p.audit(about, purpose, 0, ids[0], keys.Key{}, nil, err)
}

// asker is who asks, in the policy's terms.
func (q *request) asker() policy.Asker {
	a := policy.Asker{Secure: q.secure}
	if q.identity != nil {
		a.Identity = q.identity.Name
	}
	return a
}

// checkUnsigned refuses what S3 refuses to those that it does not know.
func checkUnsigned(q *request) error {
	for name := range q.query {
		if strings.HasPrefix(name, "response-") {
			return newError("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
		}
	}
	return nil
}

func notPermitted(action policy.Action) error {
	return newError("AccessDenied", "Access Denied: the policy of the proxy's operator does not permit you to "+string(action)+" this.")
}

// readings are a key, or a prefix, and what a store that takes keys for paths would make of it.
func readings(key string) []string { return slices.Compact([]string{key, folded(key)}) }

// folded is the key that a store which takes keys for paths would make of one.
func folded(key string) string {
	out := strings.TrimPrefix(path.Clean("/"+key), "/")
	if strings.HasSuffix(key, "/") && out != "" {
		out += "/"
	}
	return out
}
