package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strconv"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/keys"
)

// Where the operator's rule is bypass, objects go to the store as they are, and what has no envelope is read as it is. Whether that
// is so follows from the rules and an object's name alone: nothing that the store says has a part in it.

// bypassed reports whether the operator wants an object left as it is. It never is one that a store which takes keys for paths could
// keep under the name of another, with another rule.
func (p *Proxy) bypassed(t target) bool {
	r := p.firstRule(t)
	return r.Bypass && p.firstRule(target{t.bucket, folded(t.key)}) == r
}

// readsPlaintext reports whether an object may be read that has no envelope.
func (p *Proxy) readsPlaintext(t target) bool { return p.cfg.PlaintextReads || p.bypassed(t) }

// askChecksum has a read tell checksums, if the client wants them, where the store's can be the client's.
func (p *Proxy) askChecksum(q *request, out http.Header) {
	if p.bypassed(q.target) && q.wantsChecksum() {
		out.Set("X-Amz-Checksum-Mode", "ENABLED")
	}
}

// refuseEncryption refuses to leave an object as it is that the request wants encrypted.
func (p *Proxy) refuseEncryption(q *request) error {
	asks := q.customer != nil
	for _, name := range []string{encryptionHeader, kmsKeyHeader, kmsContextHeader, bucketKeyHeader} {
		_, ok := q.header[name]
		asks = asks || ok
	}
	if !asks {
		return nil
	}
	rule := p.rule(q.target)
	asked, err := askedProtection(q, rule, rule.byDefault())
	if err != nil {
		return err
	}
	return p.audit(q, sealing, asked.mode, asked.keyID, keys.Key{}, asked.context, deniedByBypass(asked))
}

func deniedByBypass(asked *protection) error {
	return newError("AccessDenied", "The operator of the proxy wants objects here stored as they are (bypass), and does not allow "+modeNames[asked.mode]+".")
}

// plainBody is a body of length bytes that the store gets as it is.
type plainBody struct {
	io.Reader
	length  int64
	sha256  string                // in hex, where it is known before
	sum     checksum.Value        // likewise
	trailer checksum.Algorithm    // of a sum that is known once the body is read; 0: none
	late    func() checksum.Value // that sum
}

// plainBody returns the request's body, with all that the client has declared of it.
func (q *request) plainBody() plainBody {
	b := plainBody{Reader: q.body, length: q.body.Length(), trailer: q.body.TrailerAlgorithm()}
	b.sha256, _ = q.body.SHA256()
	b.sum, _ = q.body.Declared()
	b.late = func() checksum.Value { sum, _ := q.body.Checksum(); return sum }
	return b
}

const maxPlain = 5 << 30 // bytes that S3 takes in one request

// checkPlainSize refuses a body that S3 would refuse.
func (q *request) checkPlainSize() error {
	switch length := q.body.Length(); {
	case length < 0:
		return newError("MissingContentLength", "You must provide the Content-Length HTTP header.")
	case length > maxPlain:
		return newError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
			errorField{"ProposedSize", strconv.FormatInt(length, 10)}, errorField{"MaxSizeAllowed", strconv.Itoa(maxPlain)})
	}
	return nil
}

// putPlain is put for an object that is left as it is. The store gets the last bytes of the body only when it has proved to be what
// the client declared.
func (p *Proxy) putPlain(q *request) (*http.Response, error) {
	if err := q.checkPlainSize(); err != nil {
		return nil, err
	}
	if err := checkMetadata(q.header); err != nil {
		return nil, err
	}
	if err := p.refuseEncryption(q); err != nil {
		return nil, err
	}
	resp, err := p.sendClientBody(q, outgoing{method: http.MethodPut, target: q.target, header: q.op.storeHeader(q.header)})
	if err != nil {
		return nil, err
	}
	copyResponse(q.w.Header(), resp.Header, writeResponse)
	copyResponse(q.w.Header(), resp.Header, checksumResponse)
	return resp, nil
}

// sendClientBody sends the request's body on with what the client has declared of it.
func (p *Proxy) sendClientBody(q *request, out outgoing) (*http.Response, error) {
	if sum, ok := q.body.ContentMD5(); ok {
		out.header.Set("Content-Md5", sum.String())
	}
	return p.sendPlain(q, out, q.plainBody())
}

// sendPlain sends a body as it is, and returns the answer if the store has it.
func (p *Proxy) sendPlain(q *request, out outgoing, b plainBody) (*http.Response, error) {
	if needsChecksum(out.header) && b.sum.Algorithm|b.trailer == 0 {
		b = summedBody(b, b.length, checksum.CRC32)
	}
	body := &sending{src: b}
	setChecksum(out.header, b.sum)
	out.body, out.length, out.sha256 = body, b.length, unsignedPayload
	switch {
	case b.length <= smallBody:
		// Whole in memory, so that a connection that proves stale costs a retry and not an error.
		var whole bytes.Buffer
		if _, err := whole.ReadFrom(body); err != nil {
			return nil, err
		}
		if b.trailer != 0 {
			setChecksum(out.header, b.late())
		}
		out.body, out.sha256 = bytes.NewReader(whole.Bytes()), hexSHA256(whole.Bytes())
	case b.trailer != 0:
		out = withTrailer(out, b.trailer, b.late)
	case b.sha256 != "":
		out.sha256 = b.sha256
	}
	return p.sendWhole(q, out, body, b.length)
}
