package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// Rewrapping is what Rewrap is to do.
type Rewrapping struct {
	Bucket, Prefix string
	// After is where to go on: keys up to this one are left alone.
	After string
	// Keys says which keys take the place of which. Another key stays, and its current version takes the place of older ones.
	Keys map[string]string
	// DryRun changes nothing.
	DryRun bool
	// Page hears of each page of the listing that is done, with its last key and what was found up to there. It may be nil.
	Page func(last string, sofar Rewrapped)
}

// Rewrapped counts objects.
type Rewrapped struct {
	Done     int // wrapped anew, or to be
	Current  int // under the right version of the right key already
	Customer int // with a customer's key, which only its owner can change
	Plain    int // not sealed
	Gone     int // deleted meanwhile
	Failed   int
}

const rewrapWorkers = 8

// Rewrap wraps the data keys of objects anew, under the current version of their key or under another key. The store copies each
// object onto itself with another envelope, if it has the same ETag as when it was looked at: no body moves, and headers, tags and checksums
// stay. Where the store keeps versions the copy is a new one, and older versions stay under the old key.
//
// It fails when the listing does. An object that could not be wrapped is logged and counted.
func (p *Proxy) Rewrap(ctx context.Context, w Rewrapping) (Rewrapped, error) {
	var sum Rewrapped
	own := &request{ctx: ctx, identity: operator, acting: "sseproxy rewrap", target: target{bucket: w.Bucket}, upstream: new(atomic.Int64), cors: new(corsHeaders), header: make(http.Header)}
	// XML has no form for some characters that keys may have, so the store is to encode them.
	query := url.Values{"list-type": {"2"}, "prefix": {w.Prefix}, "start-after": {w.After}, "encoding-type": {"url"}}
	for {
		page, err := p.listVersionPage(own, query)
		if err == nil {
			err = page.decodeKeys()
		}
		if err != nil {
			return sum, fmt.Errorf("listing bucket %s: %w", w.Bucket, err)
		}
		found, err := p.rewrapPage(own, w, page.Contents)
		for i, n := range found {
			*sum.field(outcome(i)) += n
		}
		if err != nil {
			return sum, err
		}
		last := ""
		if n := len(page.Contents); n > 0 {
			last = page.Contents[n-1].Key
		}
		if w.Page != nil && last != "" {
			w.Page(last, sum)
		}
		if !page.IsTruncated {
			return sum, nil
		}
		if last <= query.Get("start-after") {
			return sum, errEndless
		}
		query.Set("start-after", last)
	}
}

// outcome is what became of an object.
type outcome int

const (
	rewrapped outcome = iota
	current
	ofCustomer
	plain
	gone
	failed
	outcomes
)

func (r *Rewrapped) field(o outcome) *int {
	return [...]*int{&r.Done, &r.Current, &r.Customer, &r.Plain, &r.Gone, &r.Failed}[o]
}

func (p *Proxy) rewrapPage(own *request, w Rewrapping, objects []listedVersion) (found [outcomes]int, err error) {
	var counts [outcomes]atomic.Int64
	group, ctx := errgroup.WithContext(own.ctx)
	group.SetLimit(rewrapWorkers)
	for _, object := range objects {
		if strings.HasPrefix(object.Key, reservedPrefix) {
			continue
		}
		group.Go(func() error {
			q := own.internal(ctx, target{w.Bucket, object.Key})
			q.method, q.op, q.id = http.MethodGet, copySourceRead, newRequestID()
			o, err := failed, error(nil)
			if repeated := whileReplaced(func() error { o, err = p.rewrapOne(q, w); return err }); repeated != nil {
				p.cfg.Log.Error("an object was not wrapped anew", zap.String("bucket", w.Bucket), zap.String("key", object.Key), zap.Error(repeated))
				o = failed
			}
			counts[o].Add(1)
			return ctx.Err()
		})
	}
	err = group.Wait()
	for i := range counts {
		found[i] = int(counts[i].Load())
	}
	return found, err
}

// rewrapOne wraps the data key of q's object anew, if that changes anything.
func (p *Proxy) rewrapOne(q *request, w Rewrapping) (outcome, error) {
	o, header, _, err := p.head(q)
	switch {
	case errors.Is(err, errCustomerKeyMissing):
		return ofCustomer, nil
	case (hasCode(err, "NoSuchKey") || hasCode(err, "NotFound")) && strings.ContainsRune(q.target.key, utf8.RuneError):
		return failed, errors.New("the store's listing does not tell its key, which has characters that XML has no form for")
	case hasCode(err, "NoSuchKey") || hasCode(err, "NotFound"):
		return gone, nil
	case err != nil:
		return failed, err
	case o == nil:
		return plain, nil
	}
	wanted := protectionOf(o.envelope, nil)
	if to, ok := w.Keys[wanted.keyID]; ok {
		wanted.keyID = to
	}
	if !p.rule(q.target).has(wanted.keyID) {
		return failed, fmt.Errorf("key %q is not configured for it", wanted.keyID)
	}
	if same, err := p.isCurrent(q, o.envelope, wanted); same || err != nil {
		return current, err
	}
	if w.DryRun {
		return rewrapped, nil
	}
	return rewrapped, p.copyOnto(q, o, header, wanted)
}

// isCurrent reports whether an object's data key is wrapped as wanted, as far as a key's provider tells versions.
func (p *Proxy) isCurrent(q *request, e *envelope.Envelope, wanted *protection) (bool, error) {
	if e.KeyID != wanted.keyID {
		return false, nil
	}
	now, err := p.cfg.Keys.ForSeal(q.ctx, wanted.keyID, q.target.bucket)
	if err != nil {
		return false, fmt.Errorf("getting key %q to seal with: %w", wanted.keyID, err)
	}
	key, err := p.unwrapKey(q, e)
	if err != nil || key.Version != now.Version {
		return false, err
	}
	return p.isSecondCurrent(q, e)
}
