package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

const (
	// trailerGuess is what is read from the end of an irregular object, whose trailer's length is not known before.
	trailerGuess = 64 << 10
	// maxCachedParts bounds the trailer cache: parts of all its entries together, about 100 bytes each.
	maxCachedParts = 200_000
)

// errReplaced: the object is no longer the one that was asked about.
var errReplaced = errors.New("object was replaced while it was read")

// stored is one version of an object at the store, as an answer about it says.
type stored struct {
	etag   string // as the store gave it
	length int64  // sealed bytes
}

// storedIn reads what an answer to GET or HEAD says about the whole object.
func storedIn(resp *http.Response) (stored, error) {
	s := stored{etag: resp.Header.Get("Etag"), length: resp.ContentLength}
	if resp.StatusCode == http.StatusPartialContent {
		_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		n, err := strconv.ParseInt(total, 10, 64)
		if err != nil {
			return s, fmt.Errorf("%w: the store answered with range %q", envelope.ErrSize, resp.Header.Get("Content-Range"))
		}
		s.length = n
	}
	return s, nil
}

// layoutKey is everything that the trailer of an object version depends on.
type layoutKey struct {
	commitment string // of the data key
	stored     stored
}

// layoutCache holds verified trailers of multipart objects. It holds no key: to use an entry its object's envelope must
// have opened.
type layoutCache struct {
	mu      sync.Mutex
	entries *simplelru.LRU[layoutKey, *envelope.Trailer]
	parts   int
}

func newLayoutCache() *layoutCache {
	c := &layoutCache{}
	entries, err := simplelru.NewLRU(maxCachedParts, func(_ layoutKey, t *envelope.Trailer) { c.parts -= len(t.Parts) })
	if err != nil {
		panic("proxy: internal error: " + err.Error())
	}
	c.entries = entries
	return c
}

func (c *layoutCache) get(k layoutKey) *envelope.Trailer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, _ := c.entries.Get(k)
	return t
}

func (c *layoutCache) add(k layoutKey, t *envelope.Trailer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(k)
	c.entries.Add(k, t)
	for c.parts += len(t.Parts); c.parts > maxCachedParts; {
		c.entries.RemoveOldest()
	}
}

// layout returns the verified trailer of an object that is not empty: from the cache, or with one read of the object's end (two
// where it is irregular with very many parts). It fails with errReplaced when the object is no longer the stored one.
func (p *Proxy) layout(q *request, o *sealedObject) (*envelope.Trailer, error) {
	s := o.stored
	key := layoutKey{o.envelope.Commitment(), s}
	if t := p.layouts.get(key); t != nil {
		return t, nil
	}
	length := int64(trailerGuess)
	if size, ok := envelope.PlaintextSize(s.length); ok && size > 0 {
		length = envelope.TrailerSize(size)
	} else if !envelope.IsIrregularSize(s.length) {
		return nil, fmt.Errorf("%w: no sealed object has %d bytes", envelope.ErrSize, s.length)
	}
	b, err := p.readEnd(q, s, min(length, s.length))
	if err != nil {
		return nil, err
	}
	_, want, err := envelope.ParseTail(b[len(b)-envelope.TailSize:])
	if err != nil {
		return nil, err
	}
	if want > s.length || want > envelope.MaxTrailer {
		return nil, fmt.Errorf("%w: its tail claims %d bytes", envelope.ErrTrailer, want)
	}
	if want > int64(len(b)) {
		if b, err = p.readEnd(q, s, want); err != nil {
			return nil, err
		}
	}
	t, err := o.openTrailer(b[int64(len(b))-want:])
	if err != nil {
		return nil, err
	}
	p.layouts.add(key, t)
	return t, nil
}

// openTrailer verifies the object's trailer, and that it is of this object's kind and length.
func (o *sealedObject) openTrailer(b []byte) (*envelope.Trailer, error) {
	if o.envelope.Multipart {
		t, _, err := o.dek.OpenMultipart(b, o.stored.length)
		return t, err
	}
	t, err := o.dek.OpenTrailer(b)
	if err == nil && (!t.Single || t.Size() != o.envelope.Length) {
		err = fmt.Errorf("%w: it describes another plaintext", envelope.ErrTrailer)
	}
	return t, err
}

// readEnd reads the last n bytes of the stored object.
func (p *Proxy) readEnd(q *request, s stored, n int64) ([]byte, error) {
	return p.readStored(q, s, s.length-n, n)
}

// readStored reads n bytes at off of exactly the stored object.
func (p *Proxy) readStored(q *request, s stored, off, n int64) ([]byte, error) {
	resp, err := p.sendStored(q, s, off, n)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	b := make([]byte, n)
	if _, err := io.ReadFull(resp.Body, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errStore, err)
	}
	return b, nil
}

// sendStored asks for n bytes at off of exactly the stored object.
func (p *Proxy) sendStored(q *request, s stored, off, n int64) (*http.Response, error) {
	asked := &byteRange{first: off, last: off + n - 1}
	out := outgoing{method: http.MethodGet, target: q.target, query: versionOnly(q.query), header: q.common()}
	out.header.Set("Range", asked.String())
	out.header.Set("If-Match", s.etag)
	resp, err := p.send(q, out)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusPreconditionFailed || resp.StatusCode == http.StatusNotFound {
		return nil, closing(resp, errReplaced)
	}
	if err := q.expect(resp, http.StatusPartialContent); err != nil {
		return nil, err
	}
	if _, err := asked.checkContentRange(resp, s.length); err != nil {
		return nil, closing(resp, err)
	}
	return resp, nil
}
