package proxy

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
)

// AuditRecord is one use of a key: the fields of a line of the audit log, which docs/audit.md explains.
type AuditRecord struct {
	Time       time.Time         `json:"time"`
	RequestID  string            `json:"request_id"`
	Identity   string            `json:"identity,omitempty"`
	Client     string            `json:"client,omitempty"` // address and port of the connection
	Operation  string            `json:"operation"`
	Purpose    string            `json:"purpose"` // seal or open
	Bucket     string            `json:"bucket"`
	Object     string            `json:"object"`
	Encryption string            `json:"encryption"` // AES256, aws:kms, aws:kms:dsse or SSE-C
	KeyID      string            `json:"key_id,omitempty"`
	KeyVersion string            `json:"key_version,omitempty"`
	Context    map[string]string `json:"context,omitempty"`
	Allowed    bool              `json:"allowed"`
	Cause      string            `json:"cause,omitempty"` // why not
}

const (
	sealing = "seal"
	opening = "open"
)

// errAudit: a key's use could not be recorded, and the operator wants none without a record.
var errAudit = errors.New("the use of a key could not be recorded")

// audit records that q uses a key, or wants to, before anything comes of it. It returns failure or, where a record is required and
// there is none, errAudit.
func (p *Proxy) audit(q *request, purpose string, mode envelope.Mode, keyID string, key keys.Key, ec map[string]string, failure error) error {
	if p.cfg.Audit == nil {
		return failure
	}
	r := AuditRecord{
		Time: p.cfg.Now().UTC(), RequestID: q.id, Client: q.client, Operation: q.acts(), Purpose: purpose, Bucket: q.target.bucket, Object: q.target.key,
		Encryption: modeNames[mode], KeyID: keyID, KeyVersion: key.Version, Context: ec, Allowed: failure == nil,
	}
	if q.identity != nil {
		r.Identity = q.identity.Name
	}
	if failure != nil {
		r.Cause = asAPIError(failure).Code
	}
	err := p.cfg.Audit(r)
	switch {
	case err == nil:
		return failure
	case p.cfg.AuditRequired:
		return errors.Join(failure, fmt.Errorf("%w: %w", errAudit, err))
	}
	p.cfg.Log.Error("the use of a key was not recorded", zap.String("request_id", q.id), zap.Error(err))
	return failure
}
