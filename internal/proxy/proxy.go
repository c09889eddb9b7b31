// Package proxy is the S3 face of sseproxy: it verifies a client's request, finds the operation in one table, seals or
// opens what the operation carries, and signs again for the store.
//
// A request flows one way: ServeHTTP authenticates it (package sigv4, the only way to a body), classifies it
// (operations.go), asks the operator's policy about it (authorize.go), and calls the row's handler, which talks to the store
// through one function (upstream.go). An error is a value until respond.go turns it into S3's XML, or, behind the first byte of an answer, aborts the connection.
package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/policy"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

// Config is what New needs.
type Config struct {
	// Upstream is the store's endpoint: scheme and host, no path.
	Upstream *url.URL
	// UpstreamRegion is what requests to the store are signed for. Empty is Region.
	UpstreamRegion string
	// Region is what clients must sign for.
	Region string
	// Domains are the hosts below which buckets are addressed in virtual-hosted style. Without them, and for any other
	// host, addressing is path-style.
	Domains []string
	// Identities are the clients.
	Identities []Identity
	// SessionSecret returns the secret access key that goes with an access key ID and a session token: see sigv4.Verifier. Those who sign with
	// it are Session. nil knows no sessions.
	SessionSecret func(accessKeyID, token string) (secret string, err error)
	// Session is whoever signs with credentials of a session; it has none of its own.
	Session Identity
	// Policy says what they may do, and what those may who sign nothing. nil lets each of Identities do everything, and nobody else
	// anything.
	Policy *policy.Set
	// Credentials sign requests to the store for every identity that has none of its own.
	Credentials aws.CredentialsProvider
	// Transport sends to the store. It must not follow redirects, decompress, or send to a proxy that alters requests.
	Transport http.RoundTripper
	// Keys gives the keys that wrap data keys.
	Keys *keys.Cache
	// KeyID names the key for new objects that no rule is about.
	KeyID string
	// ReadKeyIDs names further keys that those objects may use. An object that names any other is refused before its
	// key's provider is asked, since the name comes from the store.
	ReadKeyIDs []string
	// DSSEKeyID names the key of the second layer of objects with aws:kms:dsse. Empty is none, and no such objects.
	DSSEKeyID string
	// DSSEReadKeyIDs names further keys that a stored object's second layer may have.
	DSSEReadKeyIDs []string
	// Rules say how objects are encrypted, the first that fits an object.
	Rules []Rule
	// Secure tells of a request that did not come by TLS whether its way to the proxy is secure all the same. nil is never. Only
	// then may it have a customer's key in it.
	Secure func(*http.Request) bool
	// PlaintextReads lets clients read objects that carry no envelope. It is for migration: while it is on, a store can put
	// an object of its own in place of a sealed one.
	PlaintextReads bool
	// Strict makes every read of an object begin with its trailer, which only a complete and verified upload has: one
	// request more for the first read of each object. Without it a range that does not reach the end, and HEAD, believe the
	// store that the upload was completed; and HEAD believes it the length of a multipart object.
	Strict bool
	// ClientTimeout is how long a client may neither send nor take a byte that the proxy waits for. 0 is without end.
	ClientTimeout time.Duration
	// MaxRequests is how many requests may be under way; those beyond are SlowDown. 0 is any number.
	MaxRequests int64
	// AlivePause is how long a client hears nothing while its CompleteMultipartUpload goes on. 0 is 10 seconds.
	AlivePause time.Duration
	// MinPartSize is the least size, in bytes, that the store takes of a part that is not the last. It must be the store's own:
	// the proxy refuses smaller ones in its place, and keeps them twice, since it puts a part of its own behind the client's
	// last one. 0 is S3's 5 MiB.
	MinPartSize int64
	// PartsAbove is the size, in sealed bytes, above which Rewrap and Encrypt let the store make an object of several parts. 0 is S3's
	// 5 GiB, above which no single request does.
	PartsAbove int64
	// Audit gets a record of each use of a key, or attempt at one, before anything comes of it; it may be called at the same time. nil
	// records nothing.
	Audit func(AuditRecord) error
	// AuditRequired refuses a use of a key that Audit fails to record.
	AuditRequired bool
	// Observer hears of each request, and of each request to the store. It may be nil.
	Observer Observer
	// Log gets one line for each request. nil logs nothing.
	Log *zap.Logger
	// Now returns the current time. nil is time.Now.
	Now func() time.Time
}

// Identity is a client of the proxy.
type Identity struct {
	Name            string // in logs and to the policy; not empty if there is one
	AccessKeyID     string
	SecretAccessKey string
	// Upstream signs this identity's requests to the store, so that the store's own policies tell identities apart.
	// nil is Config.Credentials.
	Upstream aws.CredentialsProvider
}

// Proxy is the HTTP handler. It keeps nothing between requests but caches.
type Proxy struct {
	cfg        Config
	verifier   sigv4.Verifier
	identities map[string]*Identity // by access key ID
	fallback   Rule
	store      *store
	*memory
}

// memory is what is kept between requests.
type memory struct {
	sizes      *sizeCache
	layouts    *layoutCache
	uploads    *uploadCache
	defaults   *defaultsCache
	completing turns
	underWay   atomic.Int64 // requests

	plainUploads *plainUploads
}

// New checks cfg and returns the handler.
func New(cfg Config) (*Proxy, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MinPartSize == 0 {
		cfg.MinPartSize = envelope.MinPartSize
	}
	cfg.AlivePause = cmp.Or(cfg.AlivePause, alivePause)
	cfg.PartsAbove = cmp.Or(cfg.PartsAbove, envelope.MaxSealedPart)
	if cfg.Keys == nil || cfg.KeyID == "" {
		return nil, errors.New("no key for new objects")
	}
	upstream, err := newStore(cfg)
	if err != nil {
		return nil, err
	}
	return build(cfg, upstream, &memory{sizes: newSizeCache(), layouts: newLayoutCache(), uploads: newUploadCache(), defaults: newDefaultsCache(), plainUploads: newPlainUploads()})
}

// With returns a handler that differs in who its clients are, what they may do and how objects are encrypted. It remembers what p does, and may
// serve beside it. p stays as it is.
func (p *Proxy) With(identities []Identity, policies *policy.Set, rules []Rule) (*Proxy, error) {
	cfg := p.cfg
	cfg.Identities, cfg.Policy, cfg.Rules = identities, policies, rules
	return build(cfg, p.store, p.memory)
}

// build checks what With can change, and makes the handler.
func build(cfg Config, upstream *store, m *memory) (*Proxy, error) {
	p := &Proxy{cfg: cfg, identities: make(map[string]*Identity), store: upstream, memory: m}
	for i := range cfg.Identities {
		id := cfg.Identities[i]
		switch {
		case id.AccessKeyID == "" || id.SecretAccessKey == "":
			return nil, fmt.Errorf("identity %q needs an access key ID and a secret", id.Name)
		case id.Name == "" && cfg.Policy != nil:
			return nil, fmt.Errorf("access key ID %q has no name for the policy", id.AccessKeyID)
		case p.identities[id.AccessKeyID] != nil:
			return nil, fmt.Errorf("access key ID %q belongs to two identities", id.AccessKeyID)
		}
		p.identities[id.AccessKeyID] = &id
	}
	if len(p.identities) == 0 && cfg.SessionSecret == nil {
		return nil, errors.New("no identity: nobody could sign a request")
	}
	if cfg.SessionSecret != nil && cfg.Session.Name == "" {
		return nil, errors.New("who signs with a session's credentials has no name")
	}
	p.fallback = Rule{Bucket: "*", KeyID: cfg.KeyID, KeyIDs: cfg.ReadKeyIDs, BucketKey: true}
	for i := range cfg.Rules {
		if err := p.checkRule(&cfg.Rules[i]); err != nil {
			return nil, fmt.Errorf("encryption rule %d: %w", i+1, err)
		}
	}
	p.verifier = sigv4.Verifier{Secret: p.secret, Region: cfg.Region, Bucket: p.bucketOf, Unsigned: cfg.Policy != nil, Now: cfg.Now}
	return p, nil
}

// secret is for sigv4.Verifier.
func (p *Proxy) secret(accessKeyID, token string) (string, error) {
	id := p.identities[accessKeyID]
	switch {
	case id != nil && token == "":
		return id.SecretAccessKey, nil
	case id != nil || token != "" && p.cfg.SessionSecret == nil:
		return "", sigv4.ErrToken
	case token != "":
		return p.cfg.SessionSecret(accessKeyID, token)
	}
	return "", errUnknownKey
}

var errUnknownKey = errors.New("no identity has this access key id")

// identify returns whose access key ID a verified request has; nobody's if it has none.
func (p *Proxy) identify(accessKeyID string) *Identity {
	if id := p.identities[accessKeyID]; id != nil || accessKeyID == "" {
		return id
	}
	return &p.cfg.Session
}

// bucketOf returns the bucket that a request to host and path is for, if it is for one and no object.
func (p *Proxy) bucketOf(host, path string) string {
	t, err := parseTarget(host, path, p.cfg.Domains)
	if err != nil || t.level() != atBucket {
		return ""
	}
	return t.bucket
}

// Reach reports whether the store answers.
func (p *Proxy) Reach(ctx context.Context) error { return p.store.reach(ctx) }

// request is one client request on its way through.
type request struct {
	w        *responseWriter
	ctx      context.Context //nolint:containedctx // a request's own, for its life only
	id       string
	method   string
	url      string // as the client has addressed it, without the query
	target   target
	op       *operation
	acting   string // the operation of which an own request is a part
	identity *Identity
	client   string      // address and port of its connection
	query    url.Values  // verified, as sigv4.Request has it
	header   http.Header // verified, likewise
	body     *sigv4.Body
	secure   bool              // nobody on the way has read it
	customer *customerKey      // that came with it, for its own object
	form     map[string]string // likewise
	alive    bool              // the answer has begun with white space: status 200, and the document is still to come
	upstream *atomic.Int64     // nanoseconds spent waiting for the store's answers, also to requests of the proxy's own
	cors     *corsHeaders      // for a browser, as the store answers it
	err      error             // what ended it
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := p.cfg.Now()
	if r.ContentLength == 0 && r.ProtoAtLeast(1, 1) && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		// The server says it only where a body is to come, as RFC 9110, section 10.1.1, allows. But botocore asks with every
		// file, also an empty one, and if it is not told so it cannot read the next answer on the connection.
		w.WriteHeader(http.StatusContinue)
	}
	q := &request{ctx: r.Context(), id: newRequestID(), method: r.Method, url: addressed(r), client: r.RemoteAddr, upstream: new(atomic.Int64), cors: new(corsHeaders)}
	patience := newPatience(w, r, p.cfg.ClientTimeout)
	defer patience.end()
	q.w = &responseWriter{ResponseWriter: w, patience: patience, cors: q.cors}
	q.w.Header().Set("X-Amz-Request-Id", q.id)
	q.w.Header().Set("X-Amz-Id-2", hostID)
	defer func() {
		took := p.cfg.Now().Sub(started)
		p.log(q, took)
		p.observe(q, took)
	}()
	body := &clientBody{ReadCloser: r.Body, patience: patience}
	r.Body = body
	if q.err = p.admit(q, r); q.err != nil {
		if r.ContentLength != 0 && !body.ended.Load() {
			q.w.leave()
		}
		q.fail()
	}
}

var errFull = newError("SlowDown", "The proxy has as many requests under way as its operator allows. Please reduce your request rate.")

// admit serves a request if there are not too many under way.
func (p *Proxy) admit(q *request, r *http.Request) error {
	defer p.underWay.Add(-1)
	if n := p.underWay.Add(1); p.cfg.MaxRequests > 0 && n > p.cfg.MaxRequests {
		return errFull
	}
	return p.serve(q, r)
}

// addressed gives the URL that a request is for, as its client knows it, without the query.
func addressed(r *http.Request) string {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host + r.URL.EscapedPath()
}

// serve is the one way into a handler: whoever gets there is known, or permitted to be nobody, and asks for an operation of the table that
// is permitted. A preflight alone is not asked about: it is of nobody, and does nothing.
func (p *Proxy) serve(q *request, r *http.Request) error {
	path := r.URL.Path
	if r.Method == http.MethodOptions {
		q.header = preflightHeader(r.Header)
	} else {
		verified, err := p.verify(q, r)
		if err != nil {
			return err
		}
		path, q.query, q.header, q.body = verified.Path, verified.Query, verified.Header, verified.Body
		q.form = verified.Form
		q.identity = p.identify(verified.AccessKeyID)
	}
	var err error
	if q.target, err = parseTarget(r.Host, path, p.cfg.Domains); err != nil {
		return err
	}
	if q.op, err = classify(r.Method, q.target.level(), q.query, q.header); err != nil {
		return err
	}
	q.secure = r.TLS != nil || p.cfg.Secure != nil && p.cfg.Secure(r)
	if q.customer, err = readCustomerKey(q.header, encryptionHeader, q.secure); err != nil {
		return err
	}
	if err := p.authorize(q); err != nil {
		return err
	}
	if q.body != nil && q.body.Chunked() && q.op.name != "PutObject" && q.op.name != "UploadPart" {
		return newError("InvalidRequest", "The value of x-amz-content-sha256 header is invalid.")
	}
	return q.op.handle(p, q)
}

// formTime is how long a client may take to send a form's fields, and a short file, before it is known.
const formTime = time.Minute

// verify turns a request into what an identity asks for.
func (p *Proxy) verify(q *request, r *http.Request) (*sigv4.Request, error) {
	if r.Method == http.MethodPost {
		connection := http.NewResponseController(q.w)
		_ = connection.SetReadDeadline(time.Now().Add(formTime)) // where there is one
		defer func() { _ = connection.SetReadDeadline(time.Time{}) }()
	}
	return p.verifier.Verify(r)
}

// log writes the one line of a request. It has no key, query or header of it: those may be secret.
func (p *Proxy) log(q *request, took time.Duration) {
	fields := []zap.Field{
		zap.String("request_id", q.id), zap.String("operation", q.operation()), zap.String("bucket", q.target.bucket),
		zap.Int("status", q.w.status), zap.Int64("bytes_out", q.w.written), zap.Duration("took", took), zap.Duration("upstream", time.Duration(q.upstream.Load())),
	}
	if q.body != nil {
		fields = append(fields, zap.Int64("bytes_in", max(0, q.body.Length())))
	}
	if q.identity != nil {
		fields = append(fields, zap.String("identity", q.identity.Name))
	}
	if q.err == nil {
		p.cfg.Log.Info("request", fields...)
		return
	}
	fields = append(fields, zap.NamedError("cause", q.err))
	if q.w.aborted {
		fields = append(fields, zap.Bool("aborted", true))
	}
	p.cfg.Log.Warn("request", fields...)
}

// acts returns the operation that a request is a part of.
func (q *request) acts() string { return cmp.Or(q.acting, q.operation()) }

func (q *request) operation() string {
	if q.op == nil {
		return "unknown"
	}
	return q.op.name
}

// newRequestID returns an id of the form that S3's have: 16 hexadecimal digits.
func newRequestID() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}
