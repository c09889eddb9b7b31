package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// Objects of the operator's commands that no single request makes, and what they are to take the place of.

// abortTime is for giving an upload up, also when the command is to end.
const abortTime = 10 * time.Second

// partSize returns in which parts an object of n bytes is made. All but the last begin where a frame may.
func (p *Proxy) partSize(n int64) int64 {
	size := max(p.cfg.PartsAbove/10, p.cfg.MinPartSize, envelope.MinPartSize, (n+ownPart-2)/(ownPart-1))
	return (size + envelope.FrameSize - 1) / envelope.FrameSize * envelope.FrameSize
}

// storedNow returns what is at q's key.
func (p *Proxy) storedNow(q *request) (stored, error) {
	resp, err := p.sendRead(q, http.MethodHead, nil)
	if err != nil {
		return stored{}, err
	}
	if err := closing(resp, q.expect(resp, http.StatusOK)); err != nil {
		return stored{}, unlessReplaced(p.explain(q, err))
	}
	return storedIn(resp)
}

// unlessReplaced tells the failure of a condition on the object that is there: it is another one now, or none.
func unlessReplaced(err error) error {
	for _, code := range []string{"PreconditionFailed", "NoSuchKey", "NotFound", "ConditionalRequestConflict"} {
		if hasCode(err, code) {
			return errReplaced
		}
	}
	return err
}

// createOwn begins an upload of the proxy's own with the headers that its object is to have.
func (p *Proxy) createOwn(q *request, header http.Header) (string, error) {
	id, _, err := p.createAtStore(q, outgoing{method: http.MethodPost, target: q.target, query: url.Values{"uploads": {""}}, header: header})
	return id, tellBudget(err, header)
}

// giveUp ends an upload of the proxy's own and removes what was kept of it, also when its command is to end.
func (p *Proxy) giveUp(q *request, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.ctx), abortTime)
	defer cancel()
	q = q.with(ctx)
	if err := p.abortAtStore(q, id); err != nil && !hasCode(err, "NoSuchUpload") {
		return fmt.Errorf("aborting upload %s: %w", id, err)
	}
	return p.forgetUpload(q, id)
}

// with returns q in another context.
func (q *request) with(ctx context.Context) *request {
	again := *q
	again.ctx = ctx
	return &again
}
