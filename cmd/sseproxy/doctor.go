package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/keys"
)

const doctorUsage = `Usage: sseproxy doctor [--bucket NAME]

Looks at what "sseproxy serve" would start with in the same environment: configuration, key provider, store, credentials and clocks. With
--bucket it tries in that bucket what the proxy needs of a store: it writes a few small objects and two parts of 5 MiB below .sseproxy/, and
removes them. Each line says what was found and, where it is not good, what to do. The exit status is 1 if something failed.

`

// runDoctor is the command "sseproxy doctor".
func runDoctor(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("doctor", flag.ContinueOnError)
	bucket := fs.String("bucket", "", "bucket to try things in")
	fs.Usage = func() { fmt.Fprint(fs.Output(), doctorUsage); fs.PrintDefaults() }
	if err := parseFlags(fs, args, std); err != nil {
		return err
	}
	d := &doctor{out: std.out, bucket: *bucket}
	d.examine(ctx, std.environ)
	switch {
	case d.broken != nil:
		return d.broken
	case d.failures > 0:
		return fmt.Errorf("%d of %d checks failed", d.failures, d.checks)
	}
	return nil
}

// doctor looks at one thing after the other, and says what it found.
type doctor struct {
	out              io.Writer
	bucket           string
	cfg              config.Config
	store            *s3.Client
	checks, failures int
	broken           error // of out
}

func (d *doctor) say(level, subject, text string) {
	d.checks++
	if level == "failed" {
		d.failures++
	}
	if _, err := fmt.Fprintf(d.out, "%-8s %-24s %s\n", level, subject, text); err != nil {
		d.broken = err
	}
}

func (d *doctor) ok(subject, format string, args ...any) {
	d.say("ok", subject, fmt.Sprintf(format, args...))
}

func (d *doctor) warn(subject, format string, args ...any) {
	d.say("warning", subject, fmt.Sprintf(format, args...))
}

func (d *doctor) fail(subject, format string, args ...any) {
	d.say("failed", subject, fmt.Sprintf(format, args...))
}

func (d *doctor) examine(ctx context.Context, environ []string) {
	var err error
	if d.cfg, err = config.Load(environ); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			d.fail("configuration", "%s", line)
		}
		return
	}
	d.ok("configuration", "complete; clients sign for region %s", d.cfg.Region)
	d.examineWire()
	d.examineKeys(ctx)
	if d.examineStore(ctx) && d.bucket != "" {
		d.examineBucket(ctx)
	}
}

// examineWire looks at what goes over wires in the open.
func (d *doctor) examineWire() {
	if host := d.cfg.Upstream.Hostname(); d.cfg.Upstream.Scheme == "http" && !isLocal(host) {
		d.warn("upstream", "http to %s: who sees that wire sees names, sizes and metadata, though no object. Use https, or trust the wire", host)
	}
	if host, _, err := net.SplitHostPort(d.cfg.Listen); err == nil && d.cfg.TLSCert == "" && !isLocal(host) {
		d.warn("clients", "they speak http on %s: who sees that wire sees every object. Set SSEPROXY_TLS_CERT, listen on 127.0.0.1, or let something in front end TLS", d.cfg.Listen)
	}
	if d.cfg.AllowPlaintext() {
		d.warn("plaintext reads", "SSEPROXY_PLAINTEXT_READS=allow lets the store put objects of its own in place of sealed ones. It is for migration: set deny when that is over")
	}
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// examineKeys makes a key under each of the operator's keys and opens it again.
func (d *doctor) examineKeys(ctx context.Context) {
	provider, err := newProvider(ctx, d.cfg, zap.NewNop())
	if err != nil {
		d.fail("key provider", "%s: %v. docs/keys.md says how it is set up", d.cfg.KeyProvider, err)
		return
	}
	ec, err := keys.BucketContext(cmp.Or(d.bucket, "sseproxy-doctor"))
	if err != nil {
		d.fail("bucket", "%v", err)
		return
	}
	for _, id := range d.keyIDs() {
		subject := "key " + id
		key, err := provider.GenerateKey(ctx, id, ec)
		if err == nil {
			_, err = provider.UnwrapKey(ctx, id, key.Wrapped, ec)
		}
		if err != nil {
			d.fail(subject, "%v. %s", err, keyAdvice(err))
			continue
		}
		d.ok(subject, "seals and opens; version %s", key.Version)
	}
}

// keyIDs are the keys that new objects may be sealed under, each once.
func (d *doctor) keyIDs() []string {
	ids := []string{d.cfg.Key, d.cfg.DSSEKey}
	for _, r := range d.cfg.Rules {
		ids = append(append(ids, r.Key), r.Keys...)
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
}

// keyAdvice says what to do about a key that cannot be used.
func keyAdvice(err error) string {
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return "Create it, or correct its id"
	case errors.Is(err, keys.ErrDisabled), errors.Is(err, keys.ErrInvalidState):
		return "Enable it, or name another"
	case errors.Is(err, keys.ErrDenied):
		return "Let the proxy's role make and open keys under it: docs/keys.md has the policies"
	case errors.Is(err, keys.ErrUnavailable):
		return "See whether the provider's address is right, and can be reached from here"
	}
	return "docs/keys.md says how keys are set up"
}

const maxSkew = 5 * time.Minute // S3 refuses 15

// examineStore reports whether the store can be asked further.
func (d *doctor) examineStore(ctx context.Context) bool {
	roots, err := authorities(d.cfg.UpstreamCA)
	if err != nil {
		d.fail("upstream", "%v", err)
		return false
	}
	client := &http.Client{Transport: newTransport(roots), Timeout: readyTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if !d.examineClock(ctx, client) {
		return false
	}
	credentials, err := upstreamCredentials(ctx, d.cfg)
	if err == nil {
		_, err = credentials.Retrieve(ctx)
	}
	if err != nil {
		d.fail("upstream credentials", "there are none: %v. Set SSEPROXY_UPSTREAM_ACCESS_KEY_ID and its secret, or what the AWS SDK's default chain reads", err)
		return false
	}
	client.Timeout = time.Minute
	d.store = s3.New(s3.Options{
		BaseEndpoint: aws.String(d.cfg.Upstream.String()), UsePathStyle: true, Region: cmp.Or(d.cfg.UpstreamRegion, d.cfg.Region),
		Credentials: credentials, HTTPClient: client, RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
	out, err := d.store.ListBuckets(ctx, &s3.ListBucketsInput{})
	switch code := errorCode(err); {
	case err == nil:
		d.ok("upstream credentials", "accepted; %d buckets", len(out.Buckets))
	case code == "AccessDenied":
		d.ok("upstream credentials", "accepted; they may not list buckets, which only clients that ask for it need")
	case code == "RequestTimeTooSkewed":
		d.fail("upstream credentials", "%v. Set this machine's clock", err)
	case code == "AuthorizationHeaderMalformed", code == "PermanentRedirect":
		d.fail("upstream credentials", "%v. Set SSEPROXY_UPSTREAM_REGION to the store's region", err)
	default:
		d.fail("upstream credentials", "%v. See whether key and secret are those of this store", err)
	}
	return err == nil || errorCode(err) == "AccessDenied"
}

// examineClock asks the store for anything at all, and compares the time that it says it is.
func (d *doctor) examineClock(ctx context.Context, client *http.Client) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, d.cfg.Upstream.String(), nil)
	if err != nil {
		d.fail("upstream", "%v", err)
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		d.fail("upstream", "%v. See whether SSEPROXY_UPSTREAM is right, and can be reached from here; for a private authority set SSEPROXY_UPSTREAM_CA", err)
		return false
	}
	_ = resp.Body.Close() // of a HEAD
	date, err := http.ParseTime(resp.Header.Get("Date"))
	skew := time.Since(date).Round(time.Second)
	switch {
	case err != nil:
		d.warn("upstream", "%s answers, and does not say what time it is", d.cfg.Upstream)
	case skew.Abs() > maxSkew:
		d.fail("clock", "the store's is %v behind this machine's. Set the clocks: signatures are refused from 15 minutes on", skew)
	default:
		d.ok("upstream", "%s answers; its clock is within %v", d.cfg.Upstream, skew.Abs()+time.Second)
	}
	return true
}

// errorCode is S3's code of an error; empty for another error.
func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
