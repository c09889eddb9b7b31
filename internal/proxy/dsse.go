package proxy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
)

// An object with aws:kms:dsse has two layers: one under the key that the request names, as with aws:kms, and another under a second key,
// which is the operator's and no client's choice.

var errOneLayer = newError("NotImplemented", "Dual-layer encryption (aws:kms:dsse) needs a second key. The operator of the proxy sets it with SSEPROXY_DSSE_KEY.")

// checkLayers refuses two layers where there is no second key, or no other one than the first.
func (p *Proxy) checkLayers(s *protection) error {
	switch {
	case s.mode != envelope.ModeDSSE:
		return nil
	case p.cfg.DSSEKeyID == "":
		return errOneLayer
	case sameKey(s.keyID, p.cfg.DSSEKeyID):
		return invalidEncryption(kmsKeyHeader, s.keyID, "The key is that of the second layer of aws:kms:dsse. Two layers under one key would be one: use another key.")
	}
	return nil
}

// checkRule refuses a rule that makes no sense, or that no object could be made by.
func (p *Proxy) checkRule(r *Rule) error {
	if err := r.check(); err != nil || r.Algorithm != algorithmDSSE {
		return err
	}
	return p.checkLayers(&protection{mode: envelope.ModeDSSE, keyID: r.KeyID})
}

// sameKey reports whether two ids are of one key. In AWS the replicas of a multi-Region key have one material, and one id but for the Region.
func sameKey(a, b string) bool {
	_, first, _ := strings.Cut(a, ":key/mrk-")
	_, second, _ := strings.Cut(b, ":key/mrk-")
	return a == b || first != "" && first == second
}

// newDEK makes the data key of an object that is to be encrypted so.
func (s *protection) newDEK() *envelope.DEK {
	if s.mode == envelope.ModeDSSE {
		return envelope.NewDSSEKey()
	}
	return envelope.NewDEK()
}

// sealSecond returns the key to wrap the second data key under, and puts its own wrapping into e.
func (p *Proxy) sealSecond(q *request, s *protection, e *envelope.Envelope) ([]byte, error) {
	e.SecondKeyID = p.cfg.DSSEKeyID
	key, err := p.cfg.Keys.ForSeal(q.ctx, e.SecondKeyID, q.target.bucket)
	if err = p.audit(q, sealing, s.mode, e.SecondKeyID, key, nil, err); err != nil {
		return nil, fmt.Errorf("getting key %q to seal with: %w", e.SecondKeyID, err)
	}
	e.SecondWrappedKey = key.Wrapped
	return key.Plaintext, nil
}

// openSecond returns the key that the second data key is wrapped under.
func (p *Proxy) openSecond(q *request, e *envelope.Envelope) ([]byte, error) {
	key, err := p.unwrapSecond(q, e)
	if err = p.audit(q, opening, e.Mode, e.SecondKeyID, key, nil, err); err != nil {
		return nil, err
	}
	return key.Plaintext, nil
}

// hasSecond reports whether an envelope names a second key that the operator configured, or has none.
func (p *Proxy) hasSecond(e *envelope.Envelope) bool {
	id := e.SecondKeyID
	return e.Mode != envelope.ModeDSSE || id == p.cfg.DSSEKeyID || slices.Contains(p.cfg.DSSEReadKeyIDs, id)
}

func (p *Proxy) unwrapSecond(q *request, e *envelope.Envelope) (key keys.Key, err error) {
	if key, err = p.cfg.Keys.ForOpen(q.ctx, e.SecondKeyID, q.target.bucket, e.SecondWrappedKey); err != nil {
		return key, fmt.Errorf("getting the object's second key %q: %w", e.SecondKeyID, err)
	}
	return key, nil
}

// isSecondCurrent reports whether an object's second data key is wrapped as that of a new object would be.
func (p *Proxy) isSecondCurrent(q *request, e *envelope.Envelope) (bool, error) {
	if e.Mode != envelope.ModeDSSE {
		return true, nil
	}
	if e.SecondKeyID != p.cfg.DSSEKeyID {
		return false, nil
	}
	now, err := p.cfg.Keys.ForSeal(q.ctx, p.cfg.DSSEKeyID, q.target.bucket)
	if err != nil {
		return false, fmt.Errorf("getting key %q to seal with: %w", p.cfg.DSSEKeyID, err)
	}
	key, err := p.unwrapSecond(q, e)
	return key.Version == now.Version, err
}

// copyAnew seals an object once more on its way to its new place: the copy is to have another number of layers than the source.
func (p *Proxy) copyAnew(q, source *request, o *sealedObject, protected *protection, out outgoing) (*copied, error) {
	if o.sum.Algorithm == 0 && !o.envelope.Multipart {
		if err := p.readChecksum(source, o); err != nil {
			return nil, err
		}
	}
	r, err := p.openRead(source, nil)
	if err != nil {
		return nil, copyFailure(err)
	}
	defer r.close()
	if r.object == nil || r.object.stored != o.stored {
		return nil, errReplaced
	}
	if err := checkCopySize(r.n); err != nil {
		return nil, err
	}
	if err := p.copyTags(q, source, r.header, out.header); err != nil {
		return nil, err
	}
	a := o.sum.Algorithm
	if t := r.object.trailer; t != nil {
		a = t.Checksum.Algorithm
	}
	return p.sealCopy(q, protected, out, r.reader, r.n, a)
}
