package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/metrics"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/session"
)

const (
	headerTimeout    = 10 * time.Second // for a client to send its headers
	idleTimeout      = 2 * time.Minute  // of a client's connection between requests
	pingAfter        = 30 * time.Second // without a frame on an HTTP/2 connection
	pingTimeout      = 15 * time.Second // for the answer to that
	maxHeaders       = 64 << 10         // bytes of a client's headers; S3 takes 8 KB
	handshakeTimeout = 10 * time.Second // of TLS with the store
	readyTimeout     = 5 * time.Second  // for store and key provider to answer a readiness probe
	readyKeyTimeout  = 2 * time.Second  // for the key provider alone
)

// runServe is the command "sseproxy serve".
func runServe(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.Usage = func() { serveUsage(fs.Output()) }
	if err := parseFlags(fs, args, std); err != nil {
		return err
	}
	known := digest(std.environ) // before they are read, so that no change is missed
	cfg, err := config.Load(std.environ)
	if err != nil {
		return fmt.Errorf("%w: the configuration is refused:\n%w", errUsage, err)
	}
	s, err := newServer(ctx, cfg, loggerTo(std.err, cfg.LogLevel))
	if err != nil {
		return err
	}
	go s.watchFiles(ctx, std.environ, known)
	return s.run(ctx)
}

func serveUsage(w io.Writer) {
	fmt.Fprint(w, "Usage: sseproxy serve\n\nRuns the proxy until SIGTERM, then lets requests under way finish. It is configured by the environment:\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range config.Variables() {
		help := v.Help
		if v.Default != "" {
			help += " (default " + v.Default + ")"
		}
		fmt.Fprintf(t, "  %s\t%s\n", v.Name, help)
	}
	t.Flush() //nolint:errcheck // help text
}

// server is the proxy with its listeners.
type server struct {
	cfg config.Config
	log *zap.Logger
	assembly
	current  atomic.Pointer[proxy.Proxy] // the assembly's, with what files have said since
	heard    atomic.Pointer[time.Time]   // when the provider last vouched for the key for new objects
	sessions *session.Issuer             // nil: none
	overdue  atomic.Pointer[string]      // why a rotation that is due was not made; nil: nothing is due
	own      atomic.Pointer[[]string]    // keys that are rotated for their age

	clients     net.Listener
	admin       net.Listener // nil: off
	credentials net.Listener // nil: no sessions

	certificate *certificate // nil: clients speak http
}

// assembly is the handler and what it is made of.
type assembly struct {
	proxy    *proxy.Proxy
	provider keys.Provider
	metrics  *metrics.Metrics
}

// assemble builds the handler and all that it needs. sessions may be nil.
func assemble(ctx context.Context, cfg config.Config, sessions *session.Issuer, log *zap.Logger) (a assembly, err error) {
	a.provider, err = newProvider(ctx, cfg, log)
	if err != nil {
		return a, err
	}
	if _, err := a.provider.Check(ctx, cfg.Key); err != nil {
		return a, fmt.Errorf("key for new objects: %w", err)
	}
	if cfg.DSSEKey != "" {
		if _, err := a.provider.Check(ctx, cfg.DSSEKey); err != nil {
			return a, fmt.Errorf("key for second layers: %w", err)
		}
	}
	cache, err := keys.NewCache(keys.CacheConfig{Provider: a.provider, OpenTTL: cfg.KeyCacheTTL, Grace: grace(cfg)})
	if err != nil {
		return a, err
	}
	audit, err := auditor(cfg)
	if err != nil {
		return a, err
	}
	upstream, err := upstreamCredentials(ctx, cfg)
	if err != nil {
		return a, err
	}
	roots, err := authorities(cfg.UpstreamCA)
	if err != nil {
		return a, err
	}
	var sessionSecret func(accessKeyID, token string) (string, error)
	if sessions != nil {
		sessionSecret = sessions.Secret
	}
	a.metrics = metrics.New(version, &cache.Stats)
	a.proxy, err = proxy.New(proxy.Config{
		Upstream: cfg.Upstream, Region: cfg.Region, UpstreamRegion: cfg.UpstreamRegion, Domains: cfg.Domains,
		Identities: identities(cfg), SessionSecret: sessionSecret, Session: proxy.Identity{Name: cfg.CredentialsIdentity}, Policy: cfg.Policy, Credentials: upstream, Transport: newTransport(roots),
		Keys: cache, KeyID: cfg.Key, ReadKeyIDs: cfg.ReadKeys, DSSEKeyID: cfg.DSSEKey, DSSEReadKeyIDs: cfg.DSSEReadKeys,
		Rules: rules(cfg), Secure: isSecure(cfg.Fronts),
		PlaintextReads: cfg.AllowPlaintext(), Strict: cfg.IsStrict(), MinPartSize: cfg.UpstreamMinPartSize, Log: log,
		Audit: audit, AuditRequired: cfg.AuditRequired == "on", Observer: a.metrics, ClientTimeout: cfg.ClientTimeout, MaxRequests: cfg.MaxRequests,
	})
	if err != nil {
		return a, fmt.Errorf("%w: %w", errUsage, err)
	}
	return a, nil
}

// loadProxy assembles for commands beside "sseproxy serve", in the same environment.
func loadProxy(ctx context.Context, std stdio) (*proxy.Proxy, error) {
	cfg, err := config.Load(std.environ)
	if err != nil {
		return nil, fmt.Errorf("%w: the configuration is not complete:\n%w", errUsage, err)
	}
	nobody, err := session.NewIssuer(rand.Text(), time.Now) // such a command serves none of the clients
	if err != nil {
		return nil, err
	}
	a, err := assemble(ctx, cfg, nobody, loggerTo(std.err, cfg.LogLevel))
	return a.proxy, err
}

// newSessions returns who issues credentials to the app beside the proxy; nil if nobody does.
func newSessions(cfg config.Config) (*session.Issuer, error) {
	if cfg.CredentialsListen == "" {
		return nil, nil
	}
	token, err := session.ReadToken(cfg.CredentialsTokenFile)
	if err != nil {
		return nil, fmt.Errorf("token for session credentials: %w", err)
	}
	return session.NewIssuer(token, time.Now)
}

// newServer builds everything and listens, but serves nothing yet.
func newServer(ctx context.Context, cfg config.Config, log *zap.Logger) (*server, error) {
	sessions, err := newSessions(cfg)
	if err != nil {
		return nil, err
	}
	parts, err := assemble(ctx, cfg, sessions, log)
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, log: log, assembly: parts, sessions: sessions}
	s.current.Store(parts.proxy)
	s.heard.Store(new(time.Now()))
	s.own.Store(ownKeys(cfg))
	if cfg.TLSCert != "" {
		if s.certificate, err = newCertificate(cfg.TLSCert, cfg.TLSKey, func(err error) {
			log.Error("the certificate cannot be read again; the last good one stays in use", zap.Error(err))
		}); err != nil {
			return nil, err
		}
		s.metrics.CertificateExpiry(s.certificate.expiry)
	}
	for _, l := range []struct {
		at      *net.Listener
		address string
		wanted  bool
	}{
		{&s.clients, cfg.Listen, true},
		{&s.admin, cfg.AdminListen, cfg.AdminListen != "off"},
		{&s.credentials, cfg.CredentialsListen, sessions != nil},
	} {
		if !l.wanted {
			continue
		}
		if *l.at, err = listen(ctx, l.address); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// close ends the listeners of a server that does not run.
func (s *server) close() (err error) {
	for _, l := range []net.Listener{s.clients, s.admin, s.credentials} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	return l, nil
}

// upstreamCredentials returns the configured credentials, or the SDK's default chain: environment, shared files, IRSA,
// Pod Identity, instance.
func upstreamCredentials(ctx context.Context, cfg config.Config) (aws.CredentialsProvider, error) {
	if cfg.UpstreamAccessKeyID != "" {
		return credentials.NewStaticCredentialsProvider(cfg.UpstreamAccessKeyID, cfg.UpstreamSecretAccessKey, ""), nil
	}
	chain, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(cmp.Or(cfg.UpstreamRegion, cfg.Region)))
	if err != nil {
		return nil, fmt.Errorf("finding credentials for the store: %w", err)
	}
	return chain.Credentials, nil
}

func rules(cfg config.Config) []proxy.Rule {
	var all []proxy.Rule
	for _, r := range cfg.Rules {
		all = append(all, proxy.Rule{
			Bucket: r.Bucket, Prefix: r.Prefix, Bypass: r.Bypass, Algorithm: r.Algorithm, KeyID: r.Key, BucketKey: r.BucketKey,
			Allow: r.Allow, KeyIDs: r.Keys, Aliases: r.Aliases,
		})
	}
	return all
}

// isSecure believes those who end TLS in front of the proxy when they say that a request came by it.
func isSecure(fronts []netip.Prefix) func(*http.Request) bool {
	return func(r *http.Request) bool {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		proto := r.Header["X-Forwarded-Proto"]
		return err == nil && len(proto) == 1 && proto[0] == "https" &&
			slices.ContainsFunc(fronts, func(front netip.Prefix) bool { return front.Contains(peer.Addr().Unmap()) })
	}
}

func identities(cfg config.Config) []proxy.Identity {
	var all []proxy.Identity
	for _, id := range cfg.Identities {
		one := proxy.Identity{Name: id.Name, AccessKeyID: id.AccessKeyID, SecretAccessKey: id.SecretAccessKey}
		if id.Upstream != nil {
			one.Upstream = credentials.NewStaticCredentialsProvider(id.Upstream.AccessKeyID, id.Upstream.SecretAccessKey, "")
		}
		all = append(all, one)
	}
	return all
}

// dialStore connects to the store so that closing resets the connection. A store may take an orderly end in the middle of a
// body for the end of the body, and put the fragment in place of the object that it had.
func dialStore(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		err = tcp.SetLinger(0)
	}
	return conn, err
}

// dialStoreTLS is dialStore for https, with the authorities to trust. TLS has an orderly end of its own, which precedes the
// reset: it is left out.
func dialStoreTLS(ctx context.Context, roots *x509.CertPool, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := dialStore(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Client(raw, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: roots})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return abruptConn{conn}, nil
}

// abruptConn closes without a word.
type abruptConn struct{ *tls.Conn }

func (c abruptConn) Close() error { return c.NetConn().Close() }

// newTransport returns the connections to the store. HTTP/1.1 alone: it is what S3 speaks, and an incomplete upload
// ends with its connection.
func newTransport(roots *x509.CertPool) *http.Transport {
	var h1 http.Protocols
	h1.SetHTTP1(true)
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialStore,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialStoreTLS(ctx, roots, network, address)
		},
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, // through a proxy
		Protocols:             &h1,
		DisableCompression:    true, // bodies go through byte for byte
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   handshakeTimeout, // through a proxy
		ExpectContinueTimeout: time.Second,
		ResponseHeaderTimeout: 5 * time.Minute, // a store may work long on a large object before it answers
		ReadBufferSize:        64 << 10,
		WriteBufferSize:       64 << 10,
	}
}

// run serves until ctx ends, then drains.
func (s *server) run(ctx context.Context) error {
	clients := &http.Server{
		Handler: s.metrics.Count(s), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaders,
		DisableGeneralOptionsHandler: true, ErrorLog: zap.NewStdLog(s.log),
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: s.cfg.ClientTimeout},
	}
	if s.cfg.KeyRotateAfter > 0 {
		go s.rotateKeys(ctx)
	}
	failed := make(chan error, 3)
	go func() {
		if s.certificate != nil {
			clients.TLSConfig = s.certificate.config()
			failed <- clients.ServeTLS(s.clients, "", "")
			return
		}
		failed <- clients.Serve(s.clients)
	}()
	adminAddress, aside := "off", []*http.Server{}
	serve := func(l net.Listener, h http.Handler) {
		one := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout, ErrorLog: zap.NewStdLog(s.log)}
		aside = append(aside, one)
		go func() { failed <- one.Serve(l) }()
	}
	if s.admin != nil {
		adminAddress = s.admin.Addr().String()
		serve(s.admin, s.adminHandler(ctx))
	}
	credentialsURI := "off"
	if s.credentials != nil {
		credentialsURI = "http://" + s.credentials.Addr().String() + session.Path
		serve(s.credentials, s.sessions)
	}
	s.warnOfBypass(s.cfg)
	s.log.Info("serving", zap.String("listen", s.clients.Addr().String()), zap.String("admin_listen", adminAddress), zap.String("credentials", credentialsURI),
		zap.String("upstream", s.cfg.Upstream.String()), zap.String("key", s.cfg.Key),
		zap.Bool("tls", s.cfg.TLSCert != ""), zap.Bool("plaintext_reads", s.cfg.AllowPlaintext()))
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	s.log.Info("draining", zap.Duration("timeout", s.cfg.DrainTimeout))
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout)
	defer cancel()
	err := clients.Shutdown(drain)
	if err != nil {
		err = errors.Join(fmt.Errorf("draining: requests were cut off: %w", err), clients.Close())
	}
	for _, one := range aside {
		err = errors.Join(err, one.Close())
	}
	return err
}

// warnOfBypass tells what is stored without protection.
func (s *server) warnOfBypass(cfg config.Config) {
	for _, r := range cfg.Rules {
		if r.Bypass {
			s.log.Warn("objects are stored as they are, without any protection: the operator's rule is bypass", zap.String("bucket", r.Bucket), zap.String("prefix", r.Prefix))
		}
	}
}

// adminHandler answers those who watch the proxy. Once ctx has ended it is not ready, so that no new work comes.
func (s *server) adminHandler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n") // whoever asks may have gone
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		note, err := s.ready(ctx, r.Context())
		if err != nil {
			s.log.Warn("not ready", zap.Error(err))
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n"+note)
	})
	mux.Handle("GET /metrics", s.metrics.Handler())
	if s.cfg.Profiles == "on" {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// ready tells why the proxy cannot serve, or in a note what it cannot do for the moment.
func (s *server) ready(serving, asked context.Context) (note string, err error) {
	if serving.Err() != nil {
		return "", errors.New("draining")
	}
	asked, cancel := context.WithTimeout(asked, readyTimeout)
	defer cancel()
	if note, err = s.keyReady(asked); err != nil {
		return "", fmt.Errorf("key for new objects: %w", err)
	}
	if overdue := s.overdue.Load(); overdue != nil {
		note += *overdue + "\n"
	}
	return note, s.proxy.Reach(asked)
}

// keyReady asks for the key for new objects. While the provider cannot be reached, keys at hand go on, so a replica is ready for as
// long as they may: an outage of the provider must not stop every replica.
func (s *server) keyReady(ctx context.Context) (note string, err error) {
	limited, cancel := context.WithTimeout(ctx, readyKeyTimeout)
	defer cancel()
	now := time.Now()
	_, err = s.provider.Check(limited, s.cfg.Key)
	if err == nil {
		s.heard.Store(&now)
		return "", nil
	}
	away := errors.Is(err, keys.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
	if since := now.Sub(*s.heard.Load()); ctx.Err() != nil || !away || since >= s.cfg.KeyCacheGrace {
		return "", err
	}
	s.log.Warn("the key provider cannot be reached; keys at hand go on", zap.Error(err))
	return "the key provider cannot be reached; keys at hand go on\n", nil
}
