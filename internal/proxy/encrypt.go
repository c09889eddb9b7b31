package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// Encrypting is what Encrypt is to do.
type Encrypting struct {
	Walk
	// DryRun changes nothing.
	DryRun bool
}

// Encrypt seals objects in their place that are not sealed, as a client's PutObject without a word about encryption would. Of each the sealed
// bytes are opened again before the store has the last of them, and once more as the store gives them back. An object takes the
// other's place only if that is still the one that was read: what a client writes or deletes meanwhile stays so.
//
// It fails when the listing does, and where the store does not heed such a condition. An object that could not be sealed is logged and counted.
func (p *Proxy) Encrypt(ctx context.Context, e Encrypting) (Tally, error) {
	if !e.DryRun {
		if err := p.checkHeedsIfMatch(ownRequest(ctx, "sseproxy encrypt", e.Bucket)); err != nil {
			return Tally{}, err
		}
	}
	return p.walk(ctx, e.Walk, "sseproxy encrypt", func(q *request) (outcome, error) { return p.encryptOne(q, e.DryRun) })
}

// checkHeedsIfMatch asks the store to replace an object that is not there, which it must refuse.
func (p *Proxy) checkHeedsIfMatch(own *request) error {
	t := target{own.target.bucket, reservedPrefix + "probe/" + newRequestID()}
	header := http.Header{"If-Match": {`"00000000000000000000000000000000"`}}
	resp, err := p.send(own, outgoing{method: http.MethodPut, target: t, header: header})
	if err == nil {
		err = closing(resp, own.expect(resp, http.StatusOK))
	}
	switch {
	case errors.Is(unlessReplaced(err), errReplaced):
		return nil
	case err != nil:
		return fmt.Errorf("asking the store for a conditional write in bucket %s: %w", own.target.bucket, err)
	}
	entries, err := p.listVersions(own, t.key)
	if err == nil {
		err = p.removeVersions(own, entries)
	}
	return errors.Join(errors.New("the store does not heed If-Match, so what a client writes meanwhile could be lost; nothing was sealed"), err)
}

// encryptOne seals q's object, if it is not.
func (p *Proxy) encryptOne(q *request, dryRun bool) (outcome, error) {
	from, err := p.lookAt(q)
	if err != nil {
		return failed, err
	}
	if len(from.header[reservedMetadata]) > 0 {
		return current, nil
	}
	if p.bypassed(q.target) {
		return exempt, nil
	}
	p.cfg.Log.Info("object is not sealed", zap.String("operation", q.acts()), zap.String("bucket", q.target.bucket), zap.String("key", q.target.key))
	if dryRun {
		return treated, nil
	}
	made, err := p.encrypt(q, from)
	if err != nil {
		return failed, err
	}
	if err := p.readBack(q, made); err != nil {
		return failed, fmt.Errorf("it has been sealed, but reading it back failed: %w", err)
	}
	if made.header.Get(versionHeader) != from.header.Get(versionHeader) {
		return beside, nil
	}
	return treated, nil
}

const versionHeader = "X-Amz-Version-Id"

// original is an object that is to be sealed, as the store describes it.
type original struct {
	stored stored
	header http.Header
	sum    checksum.Value // that the store keeps of the whole object; zero if none
}

// sealedCopy is what has taken its place.
type sealedCopy struct {
	header http.Header // of the store's answer
	etag   string      // the store's, without quotes
	crc    uint64      // of the plaintext
}

// lookAt asks what is at q's key.
func (p *Proxy) lookAt(q *request) (*original, error) {
	header := q.common()
	header.Set("X-Amz-Checksum-Mode", "ENABLED")
	resp, err := p.send(q, outgoing{method: http.MethodHead, target: q.target, header: header})
	if err != nil {
		return nil, err
	}
	if err := closing(resp, q.expect(resp, http.StatusOK)); err != nil {
		return nil, p.explain(q, err)
	}
	from := &original{header: resp.Header, sum: wholeChecksumIn(resp.Header)}
	if from.stored, err = storedIn(resp); err == nil && (from.stored.etag == "" || from.stored.length < 0) {
		err = fmt.Errorf("%w: it tells no ETag or length", errStore) // without which it could not be replaced safely
	}
	return from, err
}

// encrypt reads an object and puts a sealed one in its place.
func (p *Proxy) encrypt(q *request, from *original) (*sealedCopy, error) {
	if err := checkKey(q.target.key); err != nil {
		return nil, err // no client could ask for it
	}
	protected, err := p.protect(q)
	if err != nil {
		return nil, err
	}
	header := p.keptHeaders(q, from.header)
	if header["Content-Encoding"] = withoutFraming(header["Content-Encoding"]); len(header["Content-Encoding"]) == 0 {
		delete(header, "Content-Encoding")
	}
	if err := p.giveTags(q, header); err != nil {
		return nil, err
	}
	if envelope.SealedSize(from.stored.length) > p.cfg.PartsAbove {
		return p.encryptInParts(q, from, protected, header)
	}
	return p.encryptWhole(q, from, protected, header)
}

// read asks for n bytes at off of exactly the object. What comes last ends with an error where the whole, of which digest has had the rest, does
// not have the object's checksum.
func (p *Proxy) read(q *request, from *original, off, n int64, digest hash.Hash) (io.Reader, func() error, error) {
	if n == 0 {
		return http.NoBody, http.NoBody.Close, nil
	}
	resp, err := p.sendStored(q, from.stored, off, n) //nolint:bodyclose // for the caller to close
	if err != nil {
		return nil, nil, err
	}
	var src io.Reader = resp.Body
	if digest != nil {
		src = io.TeeReader(src, digest)
	}
	if digest != nil && off+n == from.stored.length {
		src = &checkedReader{src, from.sum, digest}
	}
	return src, resp.Body.Close, nil
}

// digest returns what adds up an object's checksum; nil if there is none.
func (from *original) digest() hash.Hash {
	if from.sum.Algorithm == 0 {
		return nil
	}
	return from.sum.Algorithm.New()
}

// wholeChecksumIn returns the checksum of the whole object that an answer of the store shows.
func wholeChecksumIn(h http.Header) checksum.Value {
	for name := range h {
		a, ok := checksum.ByHeader(name)
		if !ok || strings.Contains(h.Get(name), "-") || h.Get("X-Amz-Checksum-Type") == checksumTypeNames[envelope.Composite] {
			continue
		}
		if sum, err := checksum.Parse(a, h.Get(name)); err == nil {
			return sum
		}
	}
	return checksum.Value{}
}

// checkedReader ends with an error where what was read does not have the checksum.
type checkedReader struct {
	io.Reader
	want checksum.Value
	hash hash.Hash // of all that was read
}

func (c *checkedReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if errors.Is(err, io.EOF) && !bytes.Equal(c.hash.Sum(nil), c.want.Sum) {
		err = fmt.Errorf("%w: what it gives does not have the %s that it shows", errStore, c.want.Algorithm)
	}
	return n, err
}

// encryptWhole makes the sealed object by one PutObject.
func (p *Proxy) encryptWhole(q *request, from *original, protected *protection, header http.Header) (*sealedCopy, error) {
	length := from.stored.length
	src, release, err := p.read(q, from, 0, length, from.digest())
	if err != nil {
		return nil, err
	}
	defer release() //nolint:errcheck // read to its end, or given up
	dek := protected.newDEK()
	value, err := p.wrap(q, protected, &envelope.Envelope{Length: length}, dek, from.sum)
	if err != nil {
		return nil, err
	}
	header.Set(reservedMetadata, value)
	header.Set("If-Match", from.stored.etag)
	made := new(sealedCopy)
	sealer := dek.NewSealer(src, length, func() checksum.Value { return from.sum })
	err = prove(q.ctx, sealer, envelope.SealedSize(length), dek.Single(length).NewWholeReader, func(ctx context.Context, sealed io.Reader) error {
		resp, err := p.sendObject(q.with(ctx), outgoing{method: http.MethodPut, target: q.target, header: header, checked: true}, sealed, length)
		if err != nil {
			return unlessReplaced(err)
		}
		made.header, made.etag = resp.Header, strings.Trim(resp.Header.Get("Etag"), `"`)
		return resp.Body.Close()
	})
	if err != nil {
		return nil, err
	}
	made.crc = sealer.CRC()
	return made, nil
}

// encryptInParts makes it by an upload like a client's, but that it completes only in the place of what was read.
func (p *Proxy) encryptInParts(q *request, from *original, protected *protection, header http.Header) (*sealedCopy, error) {
	u := &upload{envelope: &envelope.Envelope{Multipart: true}, dek: protected.newDEK()}
	if from.sum.Algorithm != 0 && from.sum.Algorithm.CanCombine() {
		u.state.Checksum, u.state.Type = from.sum.Algorithm, envelope.FullObject
	}
	var err error
	if u.state.Envelope, err = p.wrap(q, protected, u.envelope, u.dek, checksum.Value{}); err != nil {
		return nil, err
	}
	header.Set(reservedMetadata, u.state.Envelope)
	if u.id, err = p.createOwn(q, header); err != nil {
		return nil, err
	}
	made, err := p.encryptUpload(q, from, u)
	if err != nil {
		return nil, errors.Join(err, p.giveUp(q, u.id))
	}
	return made, nil
}

func (p *Proxy) encryptUpload(q *request, from *original, u *upload) (*sealedCopy, error) {
	if err := p.saveUpload(q, u.id, u.state); err != nil {
		return nil, err
	}
	length, size, digest := from.stored.length, p.partSize(from.stored.length), from.digest()
	var listed []listedPart
	for off := int64(0); off < length; off += size {
		part, err := p.encryptPart(q, from, u, envelope.Part{Number: len(listed) + 1, Size: min(size, length-off)}, off, digest)
		if err != nil {
			return nil, err
		}
		listed = append(listed, part)
	}
	if now, err := p.storedNow(q); err != nil || now != from.stored {
		return nil, cmp.Or(err, errReplaced)
	}
	q = q.internal(q.ctx, q.target)
	q.op, q.query = completeInPlace, map[string][]string{"uploadId": {u.id}}
	q.header = http.Header{"If-Match": {clientETagValue(from.stored.etag)}}
	done, err := p.complete(q, saidWhole{size: from.stored.length}, listed)
	if err != nil {
		return nil, unlessReplaced(err)
	}
	return &sealedCopy{done.header, done.etag, done.trailer.CRC}, nil
}

// completeInPlace is a CompleteMultipartUpload of the proxy's own.
var completeInPlace = &operation{name: "CompleteMultipartUpload", headers: headerNames(conditionHeaders)}

// encryptPart seals a part of the object.
func (p *Proxy) encryptPart(q *request, from *original, u *upload, part envelope.Part, off int64, whole hash.Hash) (listedPart, error) {
	src, release, err := p.read(q, from, off, part.Size, whole)
	if err != nil {
		return listedPart{}, err
	}
	defer release() //nolint:errcheck // read to its end, or given up
	var digest hash.Hash
	if u.state.Checksum != 0 {
		digest = u.state.Checksum.New()
		src = io.TeeReader(src, digest)
	}
	sealer := u.dek.NewPartSealer(src, part.Number, part.Size)
	if err := sealer.Prime(); err != nil {
		return listedPart{}, err
	}
	part.Bound, part.Attempt = true, sealer.Attempt()
	alone := u.dek.Multipart([]envelope.Part{part})
	opened := func(sealed io.Reader) *envelope.Reader {
		return alone.NewReader(sealed, 0, part.Size, envelope.Attempt{})
	}
	var etag string
	err = prove(q.ctx, sealer, envelope.SealedPartSize(part.Size), opened, func(ctx context.Context, sealed io.Reader) (err error) {
		etag, err = p.sendPart(q.with(ctx), u, part, sealed)
		return err
	})
	if err != nil {
		return listedPart{}, err
	}
	listed := listedPart{PartNumber: part.Number}
	if digest != nil {
		listed.sum = checksum.Value{Algorithm: u.state.Checksum, Sum: digest.Sum(nil)}
	}
	listed.ETag = newPartTag(etag, part.Attempt, sealer.CRC(), listed.sum).String()
	return listed, nil
}

// prove lets send have what sealer yields, size bytes, but the last of them only when all have opened to what was sealed.
func prove(ctx context.Context, sealer *envelope.Sealer, size int64, opened func(io.Reader) *envelope.Reader, send func(context.Context, io.Reader) error) error {
	group, ctx := errgroup.WithContext(ctx)
	reader, writer := io.Pipe()
	proven := make(chan struct{})
	body := &tee{src: sealer, left: size, copy: writer, stored: proven, ctx: ctx}
	group.Go(func() error {
		err := send(ctx, body)
		_ = writer.CloseWithError(cmp.Or(err, errEarly)) // never fails; nothing hears it behind the end
		return err
	})
	group.Go(func() error {
		crc := checksum.CRC64NVME.New()
		_, err := io.Copy(crc, opened(reader))
		if err == nil && binary.BigEndian.Uint64(crc.Sum(nil)) != sealer.CRC() {
			err = errors.New("what was sealed does not open to what was read")
		}
		if err == nil {
			close(proven)
		}
		_ = reader.CloseWithError(errors.Join(io.ErrClosedPipe, err)) // never fails
		return err
	})
	return group.Wait()
}

// readBack reads what has taken an object's place to its end, unless a client has written since.
func (p *Proxy) readBack(q *request, made *sealedCopy) error {
	q = q.internal(q.ctx, q.target)
	q.method, q.op, q.header = http.MethodGet, copySourceRead, http.Header{"If-Match": {`"` + clientETag(made.etag) + `"`}}
	r, err := p.openRead(q, nil)
	if errors.Is(unlessReplaced(err), errReplaced) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.close()
	if r.object == nil {
		return errors.New("the store has not kept its envelope")
	}
	crc, err := p.verifyReading(q, r)
	if errors.Is(err, errReplaced) {
		return nil
	}
	if err == nil && crc != made.crc {
		err = errChecksum
	}
	return err
}
