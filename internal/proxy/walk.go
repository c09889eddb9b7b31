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

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Walk says which objects of a bucket a command of the operator goes over. Of each it sees the current version.
type Walk struct {
	Bucket, Prefix string
	// After is where to go on: keys up to this one are left alone.
	After string
	// Share and Shares split the work: of Shares shares, counted from 0, this is Share. Which share an object is in follows from its key alone.
	// 0 shares are one.
	Share, Shares uint64
	// Page hears of each page of the listing that is done, with its last key and what was found up to there. It may be nil.
	Page func(last string, sofar Tally)
}

// Tally counts objects by what became of them.
type Tally struct {
	Done     int // what the command is for, or would be
	Beside   int // the same, while what was there stays as an older version
	Current  int // needed nothing
	Customer int // with a customer's key, without which nothing can be done
	Plain    int // not sealed
	Exempt   int // not sealed where that is allowed
	Gone     int // deleted meanwhile
	Failed   int
}

// outcome is what became of an object.
type outcome int

const (
	treated outcome = iota
	beside
	current
	ofCustomer
	plain
	exempt
	gone
	failed
	outcomes
)

func (t *Tally) field(o outcome) *int {
	return [...]*int{&t.Done, &t.Beside, &t.Current, &t.Customer, &t.Plain, &t.Exempt, &t.Gone, &t.Failed}[o]
}

const walkWorkers = 8

// errUnnamable: the key that a listing has is not the object's.
var errUnnamable = errors.New("the store's listing does not tell its key, which has characters that XML has no form for")

// ownRequest returns what the operator asks for by a command, of a bucket.
func ownRequest(ctx context.Context, acting, bucket string) *request {
	return &request{ctx: ctx, identity: operator, acting: acting, target: target{bucket: bucket}, upstream: new(atomic.Int64), cors: new(corsHeaders), header: make(http.Header)}
}

// walk does to each object what the command acting is for, to several at once. It fails when the listing does. An object that do
// fails of is logged and counted; one that was replaced under it is tried again.
func (p *Proxy) walk(ctx context.Context, w Walk, acting string, do func(q *request) (outcome, error)) (Tally, error) {
	var sum Tally
	own := ownRequest(ctx, acting, w.Bucket)
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
		found, err := p.walkPage(own, w, page.Contents, do)
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

// has reports whether an object is in the share.
func (w Walk) has(key string) bool {
	return w.Shares == 0 || xxhash.Sum64String(key)%w.Shares == w.Share
}

func (p *Proxy) walkPage(own *request, w Walk, objects []listedVersion, do func(q *request) (outcome, error)) (found [outcomes]int, err error) {
	var counts [outcomes]atomic.Int64
	group, ctx := errgroup.WithContext(own.ctx)
	group.SetLimit(walkWorkers)
	for _, object := range objects {
		if strings.HasPrefix(object.Key, reservedPrefix) || !w.has(object.Key) {
			continue
		}
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			q := own.internal(ctx, target{own.target.bucket, object.Key})
			q.method, q.op, q.id = http.MethodGet, copySourceRead, newRequestID()
			o, err := walkObject(q, do)
			if ctx.Err() != nil {
				return ctx.Err() // that it was cut short says nothing of the object
			}
			if err != nil {
				p.cfg.Log.Error("object failed", zap.String("operation", own.acting), zap.String("bucket", q.target.bucket), zap.String("key", object.Key), zap.Error(err))
			}
			counts[o].Add(1)
			return nil
		})
	}
	err = group.Wait()
	for i := range counts {
		found[i] = int(counts[i].Load())
	}
	return found, err
}

// walkObject does it to one object.
func walkObject(q *request, do func(q *request) (outcome, error)) (o outcome, err error) {
	err = whileReplaced(func() (err error) { o, err = do(q); return err })
	switch absent := hasCode(err, "NoSuchKey") || hasCode(err, "NotFound"); {
	case absent && strings.ContainsRune(q.target.key, utf8.RuneError):
		return failed, errUnnamable
	case absent:
		return gone, nil
	case err != nil:
		return failed, err
	}
	return o, nil
}
