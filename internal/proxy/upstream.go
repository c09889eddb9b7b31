package proxy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	emptySHA256     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	// expectAbove is the body size in bytes above which the store is asked first: what it refuses from the headers alone
	// (a failed condition, no permission) then costs no transfer. The AWS SDK for Go has the same threshold.
	expectAbove = 2 << 20
)

// soon is the time in which a request must have failed to be made once more.
const soon = 5 * time.Second

// regionHeader has a bucket's region.
const regionHeader = "X-Amz-Bucket-Region"

// errStore: no answer came from the store.
var errStore = errors.New("store cannot be reached")

// store sends requests to the S3-compatible store behind the proxy.
type store struct {
	endpoint    *url.URL
	region      string
	credentials aws.CredentialsProvider
	transport   http.RoundTripper
	signer      *v4.Signer
	now         func() time.Time
}

func newStore(cfg Config) (*store, error) {
	u := cfg.Upstream
	if u == nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("upstream %q is not of the form http://host:port or https://host", u)
	}
	if cfg.Credentials == nil || cfg.Transport == nil {
		return nil, errors.New("no credentials or transport for the store")
	}
	// S3 signs the path as it is on the wire: encoded once, never cleaned.
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return &store{u, cmp.Or(cfg.UpstreamRegion, cfg.Region), cfg.Credentials, cfg.Transport, signer, cfg.Now}, nil
}

// outgoing is a request to the store.
type outgoing struct {
	method string
	target target
	query  url.Values
	header http.Header // changed by send
	body   io.Reader   // nil: none
	length int64       // of body
	sha256 string      // of body in hex, or UNSIGNED-PAYLOAD: for sealed bytes, which authenticate themselves

	anonymous bool // not signed: a browser's preflight
	checked   bool // of sendObject: the store is to compare a checksum of what it gets
}

// send signs and sends out for a client's request, and returns the store's answer, whose body the caller closes. An
// error is errStore, or what reading out.body failed with.
func (p *Proxy) send(q *request, out outgoing) (*http.Response, error) {
	credentials := p.store.credentials
	if q.identity != nil && q.identity.Upstream != nil {
		credentials = q.identity.Upstream
	}
	started := p.cfg.Now()
	origin := q.header["Origin"]
	if origin != nil {
		if out.header == nil {
			out.header = make(http.Header)
		}
		out.header["Origin"] = origin
	}
	resp, err := p.store.send(q.ctx, credentials, out)
	if errors.Is(err, errStore) && out.body == nil && (out.method == http.MethodGet || out.method == http.MethodHead) && q.ctx.Err() == nil && p.cfg.Now().Sub(started) < soon {
		resp, err = p.store.send(q.ctx, credentials, out) // it changes nothing, and a store that starts again closes connections
	}
	took := p.cfg.Now().Sub(started)
	q.upstream.Add(int64(took))
	p.observeUpstream(q, out, resp, took)
	if err != nil {
		return nil, err
	}
	if origin != nil {
		q.cors.note(resp.Header)
	}
	if resp.Header.Get(regionHeader) != "" {
		resp.Header.Set(regionHeader, p.cfg.Region) // clients take it for the one to sign for
	}
	return resp, nil
}

func (s *store) send(ctx context.Context, credentials aws.CredentialsProvider, out outgoing) (*http.Response, error) {
	escaped := out.target.escapedPath()
	decoded, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, fmt.Errorf("building the store's URL: %w", err)
	}
	u := &url.URL{Scheme: s.endpoint.Scheme, Host: s.endpoint.Host, Path: decoded, RawPath: escaped, RawQuery: out.query.Encode()}
	req, err := http.NewRequestWithContext(ctx, out.method, u.String(), out.body)
	if err != nil {
		return nil, fmt.Errorf("building the store's request: %w", err)
	}
	if out.header != nil {
		req.Header = out.header
	}
	req.Header.Set("User-Agent", "sseproxy")
	req.ContentLength = out.length
	if out.length == 0 {
		req.Body = http.NoBody
	}
	if out.length > expectAbove {
		req.Header.Set("Expect", "100-continue")
	}
	if !out.anonymous {
		if err := s.sign(ctx, credentials, req, cmp.Or(out.sha256, emptySHA256)); err != nil {
			return nil, err
		}
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStore, err)
	}
	return resp, nil
}

// sign signs a request whose body has the hash payload.
func (s *store) sign(ctx context.Context, credentials aws.CredentialsProvider, req *http.Request, payload string) error {
	req.Header.Set("X-Amz-Content-Sha256", payload)
	c, err := credentials.Retrieve(ctx)
	if err != nil {
		return internalError("The proxy has no credentials for the store. The operator must provide them.", err.Error())
	}
	if err := s.signer.SignHTTP(ctx, c, req, payload, "s3", s.region, s.now()); err != nil {
		return fmt.Errorf("signing for the store: %w", err)
	}
	return nil
}

// reach asks the store for anything at all: any answer will do, since credentials may not be allowed to list buckets.
func (s *store) reach(ctx context.Context) error {
	resp, err := s.send(ctx, s.credentials, outgoing{method: http.MethodHead})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// expect returns the error that a store's answer stands for, nil if its status is one of want. It closes the body of
// an answer that is an error.
func (q *request) expect(resp *http.Response, want ...int) error {
	for _, status := range want {
		if resp.StatusCode == status {
			return nil
		}
	}
	defer resp.Body.Close()                                          //nolint:errcheck // the answer is an error already
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) //nolint:forbidigo // limited
	if err != nil {
		body = nil // the status alone tells enough
	}
	return parseUpstreamError(resp.StatusCode, resp.Header, body)
}

// readResult reads the document of an answer into v. A store may answer 200 first and find out later that it failed: then
// the document is an error.
func (q *request) readResult(resp *http.Response, root string, v any) error {
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	if err := q.expect(resp, http.StatusOK); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) //nolint:forbidigo // limited
	if err != nil {
		return fmt.Errorf("%w: reading its answer: %w", errStore, err)
	}
	answer = bytes.TrimSpace(answer) // that kept the connection alive
	var name struct{ XMLName xml.Name }
	if err := xml.Unmarshal(answer, &name); err != nil || name.XMLName.Local != root {
		return parseUpstreamError(resp.StatusCode, resp.Header, answer)
	}
	if err := xml.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("%w: reading its answer: %w", errStore, err)
	}
	return nil
}

// readBody reads a verified request body of at most limit bytes.
func (q *request) readBody(limit int64) ([]byte, error) {
	if q.body.Length() > limit {
		return nil, tooLong(limit)
	}
	b, err := io.ReadAll(io.LimitReader(q.body, limit+1)) //nolint:forbidigo // limited
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, tooLong(limit)
	}
	return b, nil
}

func tooLong(limit int64) error {
	return newError("MaxMessageLengthExceeded", fmt.Sprintf("Your request was too big: its body may have %d bytes.", limit))
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
