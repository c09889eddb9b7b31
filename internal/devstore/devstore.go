// Package devstore is an S3 store inside the process: the upstream behind "sseproxy dev" and behind the tests.
// It is versitygw (github.com/versity/versitygw, Apache-2.0) over a folder, for development only: one root
// credential, plain HTTP, and the limits of a file system as an S3 namespace (see Start).
//
// A store folder shows what the store knows, as plain files that any tool can read:
//
//	objects/<bucket>/<key>                          the stored body of an object, byte for byte
//	objects/<bucket>/.sgwtmp/multipart/             the parts of uploads in progress
//	metadata/<bucket>/<key>/meta/<attribute>        its metadata: etag, content-type, metadata (the user's, as JSON), ...
//	metadata/<bucket>/meta/<attribute>              the bucket's: acl, policy, versioning, ...
//	versions/<bucket>/<aa>/<bb>/<cc>/<hash>/<id>    the bodies of older versions, under the SHA-256 of the key
//	metadata/<path of versions>/<bucket>/...        their metadata
//
// Metadata is in files, not in extended attributes, so any file system of Linux and macOS will do.
package devstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
)

// The folders in a store folder; see the package comment.
const (
	ObjectsDir  = "objects"
	MetadataDir = "metadata"
	VersionsDir = "versions"
)

const (
	maxConnections = 16384
	maxParts       = 10000   // S3's own limit
	maxCopy        = 5 << 30 // bytes; S3's own limit of CopyObject
	bindAttempts   = 5
	startTimeout   = 10 * time.Second
)

// ErrRunning says that this process has a store already; versitygw allows one.
var ErrRunning = errors.New("devstore: a store is already running in this process")

var running atomic.Bool

// Config says what Start starts.
type Config struct {
	Dir             string // the store folder; made where it is missing, kept when the store stops
	Listen          string // host:port; no host is 127.0.0.1, port 0 takes a free one
	AccessKeyID     string
	SecretAccessKey string
	Region          string // empty is us-east-1

	// Wrap puts a backend around the store's; nil for none. It is for tests.
	Wrap func(*posix.Posix) backend.Backend
}

// Store is a running store.
type Store struct {
	addr string
	stop context.CancelFunc
	done chan struct{}
	err  error // of the run; read after done
}

// Start starts the store and returns when it accepts connections. It runs until ctx ends or Close is called;
// call Close also after ctx has ended, to wait for the end.
//
// The process works in the store folder while the store runs, because versitygw names buckets by relative paths:
// make your own paths absolute before Start. The old working directory is back once the store has stopped.
//
// Keys are paths: "a" and "a/b" cannot both be objects, "a//b", "a/./b" and "c/../a/b" are "a/b", what leads out of the bucket is
// refused, a key that ends in a slash has no body, and a segment has at most 255 bytes.
func Start(ctx context.Context, cfg Config) (*Store, error) {
	if !running.CompareAndSwap(false, true) {
		return nil, ErrRunning
	}
	before, err := os.Getwd()
	if err != nil {
		running.Store(false)
		return nil, fmt.Errorf("reading the working directory: %w", err)
	}
	leave := func() error {
		defer running.Store(false)
		return os.Chdir(before)
	}
	s, err := start(ctx, cfg, leave)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the development store: %w", err), leave())
	}
	return s, nil
}

// start runs versitygw. A free port is found by binding and letting go, for versitygw does not tell which one it
// has bound, so another process may take it in between: then the next is tried.
func start(ctx context.Context, cfg Config, leave func() error) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := makeDirs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("reading the address to listen on: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if port != "0" {
		return run(ctx, cfg, dir, net.JoinHostPort(host, port), leave)
	}
	var s *Store
	for range bindAttempts {
		var addr string
		if addr, err = freeAddr(ctx, host); err != nil {
			return nil, err
		}
		if s, err = run(ctx, cfg, dir, addr, leave); err == nil {
			break
		}
	}
	return s, err
}

func makeDirs(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no store folder given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolving the store folder: %w", err)
	}
	for _, sub := range []string{ObjectsDir, MetadataDir, VersionsDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return "", fmt.Errorf("making the store folder: %w", err)
		}
	}
	return dir, nil
}

func freeAddr(ctx context.Context, host string) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func run(ctx context.Context, cfg Config, dir, addr string, leave func() error) (*Store, error) {
	files, err := newBackend(dir)
	if err != nil {
		return nil, err
	}
	var be backend.Backend = files
	if cfg.Wrap != nil {
		be = cfg.Wrap(files)
	}
	// It cannot be stopped before it serves, only after: the caller's context comes in then.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{addr: addr, stop: stop, done: make(chan struct{})}
	bound := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- embedgw.RunVersityGW(serving, be, &embedgw.Config{
			RootUserAccess:    cfg.AccessKeyID,
			RootUserSecret:    cfg.SecretAccessKey,
			Region:            cfg.Region,
			Ports:             []string{addr},
			MaxConnections:    maxConnections,
			MaxRequests:       maxConnections,
			MultipartMaxParts: maxParts,
			Quiet:             true,
			KeepAlive:         true,
			// The service that versitygw would choose by itself, and announce on standard output.
			IAMService: auth.NewIAMServiceSingle(auth.Account{
				Access: cfg.AccessKeyID, Secret: cfg.SecretAccessKey, Role: auth.RoleAdmin,
			}),
			S3Options: []s3api.Option{s3api.WithOnListen(func() { close(bound) })},
		})
	}()
	select {
	case err := <-ended:
		stop()
		return nil, err
	case <-bound:
	}
	if err := ask(serving, addr); err != nil {
		stop()
		return nil, errors.Join(err, <-ended)
	}
	unhook := context.AfterFunc(ctx, stop)
	go func() {
		defer close(s.done)
		defer unhook()
		s.err = errors.Join(<-ended, leave())
	}()
	return s, nil
}

// ask waits for an answer, whichever it is: versitygw says that it listens a moment before it serves.
func ask(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+addr, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("waiting for an answer: %w", err)
	}
	return resp.Body.Close()
}

// newBackend makes the file backend. posix.New announces the versions folder on standard output, which belongs to
// the program: os.Stdout points elsewhere for that moment.
func newBackend(dir string) (*posix.Posix, error) {
	sidecar, err := meta.NewSideCar(filepath.Join(dir, MetadataDir))
	if err != nil {
		return nil, fmt.Errorf("opening the metadata folder: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the null device: %w", err)
	}
	stdout := os.Stdout
	os.Stdout = null
	defer func() {
		os.Stdout = stdout
		_ = null.Close()
	}()

	opts := posix.PosixOpts{
		VersioningDir:       filepath.Join(dir, VersionsDir),
		ForceNoObjLockFile:  true, // one process: no lock files among the objects
		CopyObjectThreshold: maxCopy,
	}
	opts.SetNewDirPerm(0o700)
	opts.SetNewFilePerm(0o600)
	return posix.New(filepath.Join(dir, ObjectsDir), sidecar, opts)
}

// Addr is the host and port that the store listens on.
func (s *Store) Addr() string { return s.addr }

// URL is the store's endpoint.
func (s *Store) URL() string { return "http://" + s.addr }

// Close stops the store, waits until it has stopped, and restores the working directory.
func (s *Store) Close() error {
	s.stop()
	<-s.done
	return s.err
}
