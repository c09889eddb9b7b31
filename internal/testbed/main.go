// Package testbed is the kit that tests share: real S3 stores, a wire that can be watched and cut, SDK clients,
// and a search for plaintext in what a store keeps. Only tests import it.
//
// Stores are processes of their own: the test program itself, started again (see Main). So they cannot move the
// working directory of the tests, nor add to their memory, goroutines and data races; and since each of them ends
// when its standard input does, none outlives the tests, however those end.
package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"testing"
)

// The environment of a store's process.
const (
	kindVar    = "SSEPROXY_TESTBED_STORE" // which store to be
	programVar = "SSEPROXY_TESTBED_PROGRAM"
)

// Main runs the tests of a package that uses stores, and ends the stores after them:
//
//	func TestMain(m *testing.M) { testbed.Main{M: m}.Run() }
//
// Beside testscript: testscript.Main(testbed.Main{M: m}, commands).
type Main struct{ *testing.M }

// Run runs the tests, or, in a process that Store or MinIO has started, the store.
func (m Main) Run() int {
	if kind := os.Getenv(kindVar); kind != "" { //nolint:forbidigo // the one reader of this variable
		if err := serve(kind); err != nil {
			fmt.Fprintf(os.Stderr, "testbed: %s: %v\n", kind, err)
			return 1
		}
		return 0
	}
	stores.ready = true
	code := m.M.Run()
	if err := stores.end(); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		code = max(code, 1)
	}
	return code
}

// serve runs a store in a fresh folder until standard input ends, and announces it on standard output.
func serve(kind string) error {
	signal.Ignore(os.Interrupt) // of the terminal, for the tests: they end this process when they end
	dir, err := os.MkdirTemp("", "sseproxy-"+kind+"-")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	store, wait, err := launchers[kind](ctx, dir)
	if err == nil {
		if err = json.NewEncoder(os.Stdout).Encode(store); err == nil {
			_, err = io.Copy(io.Discard, os.Stdin)
		}
		cancel()
		err = errors.Join(err, wait())
	}
	cancel()
	return errors.Join(err, os.RemoveAll(dir)) //nolint:gosec // made above
}

// launchers start a store in a folder; the store runs until its context ends, and wait waits for that.
var launchers = map[string]func(ctx context.Context, dir string) (store *S3Store, wait func() error, err error){
	"versitygw":   launchVersityGW,
	"small parts": launchSmallParts,
	"minio":       launchMinIO,
}

// stores are the processes of this test program.
var stores pool

type pool struct {
	ready   bool // Main runs the tests
	mu      sync.Mutex
	running map[string]*process
}

type process struct {
	S3Store
	cmd   *exec.Cmd
	stdin io.Closer
	err   error
}

// get gives the store of a kind, which it starts at the first call. A store that failed to start stays failed.
func (p *pool) get(t testing.TB, kind, program string) *S3Store {
	t.Helper()
	if !p.ready {
		t.Fatal("this package needs: func TestMain(m *testing.M) { testbed.Main{M: m}.Run() }")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[kind] == nil {
		if p.running == nil {
			p.running = map[string]*process{}
		}
		p.running[kind] = start(kind, program)
	}
	if err := p.running[kind].err; err != nil {
		t.Fatalf("starting the %s store: %v", kind, err)
	}
	store := p.running[kind].S3Store
	return &store
}

func start(kind, program string) *process {
	self, err := os.Executable()
	if err != nil {
		return &process{err: err}
	}
	cmd := exec.Command(self) //nolint:gosec,noctx // this program, until its standard input ends
	cmd.Env = bareEnv(kindVar+"="+kind, programVar+"="+program)
	cmd.Stderr = os.Stderr
	p := &process{cmd: cmd}
	p.err = func() error {
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		p.stdin = stdin
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		if err := json.NewDecoder(stdout).Decode(&p.S3Store); err != nil {
			return errors.Join(fmt.Errorf("reading its announcement: %w", err), cmd.Wait())
		}
		return nil
	}()
	return p
}

func (p *pool) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for kind, store := range p.running {
		if store.err != nil {
			continue // reported by get
		}
		if err := errors.Join(store.stdin.Close(), store.cmd.Wait()); err != nil {
			errs = append(errs, fmt.Errorf("ending the %s store: %w", kind, err))
		}
	}
	p.running = nil
	return errors.Join(errs...)
}

// bareEnv is what a program needs of this environment, and nothing that would change what it does: no AWS_*,
// MINIO_*, GODEBUG or proxy settings.
func bareEnv(more ...string) []string {
	env := []string{"HOME=" + filepath.Join(os.TempDir(), "no-home")}
	for _, name := range []string{"PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok { //nolint:forbidigo // handed on, not used
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}
