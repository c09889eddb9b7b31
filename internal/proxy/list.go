package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// listObjects serves the three listings of objects with plaintext sizes. They follow from the stored ones by arithmetic,
// so a page costs no request but its own; only an irregular object must be looked at.
func (p *Proxy) listObjects(q *request) error {
	resp, err := p.sendBuffered(q, nil)
	if err != nil {
		return err
	}
	body, err := q.readListing(resp)
	if err != nil {
		return err
	}
	page, err := p.rewritePage(q, body)
	if err != nil {
		return err
	}
	if page, err = p.fillPage(q, page); err != nil {
		return err
	}
	return q.replyListing(resp.Header, page.body)
}

func (p *Proxy) rewritePage(q *request, body []byte) (*listingPage, error) {
	sizes, err := p.lookUpSizes(q, body)
	if err != nil {
		return nil, err
	}
	group, err := p.hiddenGroup(q)
	if err != nil {
		return nil, err
	}
	return rewriteListing(body, group, func(e listEntry) (int64, error) {
		if size, ok := sizes[e]; ok {
			return size, nil
		}
		return listedSize(e.Size), nil
	})
}

// hiddenGroup returns the common prefix of the listing that stands for nothing but keys of the proxy's, if there is one.
func (p *Proxy) hiddenGroup(q *request) (string, error) {
	group := ownGroup(q.query)
	if group == "" {
		return "", nil
	}
	only, err := p.onlyReserved(q.internal(q.ctx, q.target), group, q.op.name == "ListObjectVersions")
	if refused := (*apiError)(nil); errors.As(err, &refused) && refused.status() == http.StatusBadRequest {
		return "", nil // a prefix by which the store does not list, such as MinIO of "."
	}
	if err != nil || !only {
		return "", err
	}
	return group, nil
}

// ownGroup returns the common prefix in which a listing would gather the proxy's own keys, where that is shorter than
// reservedPrefix, so that a client's keys may be in it as well.
func ownGroup(query url.Values) string {
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	rest, ok := strings.CutPrefix(reservedPrefix, prefix)
	if !ok || delimiter == "" {
		return ""
	}
	before, _, ok := strings.Cut(rest, delimiter)
	if group := prefix + before + delimiter; ok && group != reservedPrefix {
		return group
	}
	return ""
}

// fills is how often a page is filled up. Once is enough at a store that sorts keys as S3 does.
const fills = 3

// fillPage makes up for entries that were the proxy's own with those that follow, since a client may take a page for the
// last that is shorter than it asked for.
func (p *Proxy) fillPage(q *request, page *listingPage) (*listingPage, error) {
	for range fills {
		if page.hidden == 0 || !page.truncated {
			break
		}
		query := storeQuery(q.query)
		maps.Copy(query, page.goOn(q.op.name))
		query.Set("max-keys", strconv.Itoa(page.hidden))
		resp, err := p.send(q, outgoing{method: http.MethodGet, target: q.target, query: query, header: q.op.storeHeader(q.header)})
		if err != nil {
			return nil, err
		}
		body, err := q.readListing(resp)
		if err != nil {
			return nil, err
		}
		rest, err := p.rewritePage(q, body)
		if err != nil {
			return nil, err
		}
		if page, err = page.join(rest); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// listedSize is what a listing shows for an object of sealed bytes: what it holds, or its length if no sealed object has
// that length.
func listedSize(sealed int64) int64 {
	if size, ok := envelope.PlaintextSize(sealed); ok {
		return size
	}
	return sealed
}

// readListing reads the document of a store's answer.
func (q *request) readListing(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	if err := q.expect(resp, http.StatusOK); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxListing+1)) //nolint:forbidigo // limited
	if err != nil {
		return nil, fmt.Errorf("%w: reading its answer: %w", errStore, err)
	}
	return body, nil
}

// replyListing answers with the store's document as it was rewritten.
func (q *request) replyListing(header http.Header, body []byte) error {
	copyResponse(q.w.Header(), header, listResponse)
	q.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	return q.reply(http.StatusOK, bytes.NewReader(body))
}

const (
	sizeCacheSize = 50_000  // entries of about 200 bytes, and maxSizeKey at most
	maxSizeKey    = 2 << 10 // bytes of key, version id and ETag, which the store chooses
	sizeLookUps   = 16      // requests of one listing at a time
)

// sizeCache remembers sizes that took a look, by everything that tells one object version from another. It serves
// listings only, whose sizes are the store's word; no read relies on it.
type sizeCache struct {
	sizes *lru.Cache[sizeKey, int64]
}

type sizeKey struct {
	bucket string
	entry  listEntry
}

func newSizeCache() *sizeCache {
	c, err := lru.New[sizeKey, int64](sizeCacheSize)
	if err != nil {
		panic("proxy: internal error: " + err.Error())
	}
	return &sizeCache{c}
}

// lookUpSizes returns the sizes of those objects of a page whose stored length does not tell: irregular ones and, where
// plaintext is read too, all that could be either. Each is asked for once.
func (p *Proxy) lookUpSizes(q *request, body []byte) (map[listEntry]int64, error) {
	var mu sync.Mutex
	sizes := make(map[listEntry]int64)
	group, ctx := errgroup.WithContext(q.ctx)
	group.SetLimit(sizeLookUps)
	_, err := rewriteListing(body, "", func(e listEntry) (int64, error) {
		t := target{q.target.bucket, e.Key}
		if !envelope.IsIrregularSize(e.Size) && (listedSize(e.Size) == e.Size || !p.readsPlaintext(t)) {
			return 0, nil
		}
		group.Go(func() error {
			size, err := p.lookUpSize(q.internal(ctx, t), e)
			mu.Lock()
			defer mu.Unlock()
			sizes[e] = size
			return err
		})
		return 0, nil
	})
	if waitErr := group.Wait(); err == nil {
		err = waitErr
	}
	return sizes, err
}

// lookUpSize reads a listed object's tail, and with it whether it has an envelope.
func (p *Proxy) lookUpSize(q *request, e listEntry) (int64, error) {
	key := sizeKey{q.target.bucket, e}
	if size, ok := p.sizes.sizes.Get(key); ok {
		return size, nil
	}
	tail := &byteRange{first: -1, suffix: envelope.TailSize}
	out := outgoing{method: http.MethodGet, target: q.target, header: q.common()}
	out.header.Set("Range", tail.String())
	if e.VersionID != "" {
		out.query = url.Values{"versionId": {e.VersionID}}
	}
	resp, err := p.send(q, out)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	switch resp.StatusCode {
	case http.StatusPartialContent, http.StatusOK:
	case http.StatusNotFound, http.StatusForbidden:
		return e.Size, nil // deleted since, or listed to who may not read it: the listing may still name it
	default:
		return 0, q.expect(resp)
	}
	size := e.Size
	if len(resp.Header[reservedMetadata]) > 0 {
		size = listedSize(e.Size)
		if envelope.IsIrregularSize(e.Size) {
			b := make([]byte, envelope.TailSize)
			if _, err := io.ReadFull(resp.Body, b); err != nil {
				return 0, fmt.Errorf("%w: %w", errStore, err)
			}
			if told, _, err := envelope.ParseTail(b); err == nil {
				size = told
			}
		}
	}
	if len(e.Key)+len(e.VersionID)+len(e.ETag) <= maxSizeKey {
		p.sizes.sizes.Add(key, size)
	}
	return size, nil
}
