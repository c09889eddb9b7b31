// Package clients runs S3 clients, unmodified and with their own options, against sseproxy as it ships: the program,
// started by its environment, over http and https.
package clients_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sseproxy-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary.path = filepath.Join(dir, "sseproxy")
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			err = errors.Join(err, os.Unsetenv(name)) // what this machine says to SDKs is not for the tests
		}
	}
	code := testbed.Main{M: m}.Run()
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

const (
	frame = 64 << 10

	// most is the time that any program has. A client that waits for something that will not come waits forever.
	most = 4 * time.Minute
)

// sizes are those where something changes: nothing, one frame, frames, more than is buffered.
var sizes = []int{0, 1, 1000, frame - 1, frame, frame + 1, 3*frame + 5, 5<<20 + 1}

// program finds programs by name or path. Those that are the same file count once; where there are none the test is
// skipped, and with CI=true fails.
func programs(t *testing.T, names ...string) []string {
	t.Helper()
	var found []string
	seen := make(map[string]bool)
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if real := testbed.Must(filepath.EvalSymlinks(path))(t); !seen[real] {
			seen[real] = true
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		missing(t, strings.Join(names, " or ")+" is not installed; .ci/install does that")
	}
	return found
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// shell runs programs in a folder and an environment of their own.
type shell struct {
	dir string
	env []string
}

func newShell(t *testing.T, env ...string) *shell {
	t.Helper()
	dir := t.TempDir()
	return &shell{dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"}, env...)}
}

// try runs a program and gives what it wrote.
func (s *shell) try(t *testing.T, stdin io.Reader, args ...string) (out, errs []byte, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), most, fmt.Errorf("it did not end in %s", most))
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second // for what it has started itself
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, s.env, stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err = cmd.Run(); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return stdout.Bytes(), stderr.Bytes(), err
}

// run runs a program, which must succeed, and gives what it wrote to standard output.
func (s *shell) run(t *testing.T, args ...string) string { t.Helper(); return s.feed(t, nil, args...) }

// feed is run with standard input.
func (s *shell) feed(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	out, errs, err := s.try(t, stdin, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return string(out)
}

// write makes a file, and gives its path.
func (s *shell) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	// Of a minute ago: a store lists times in whole seconds, and "sync" sends again what is newer than that.
	age := time.Now().Add(-time.Minute)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600), os.Chtimes(path, age, age)); err != nil {
		t.Fatal(err)
	}
	return path
}

// tree describes the files below a folder, by path.
func (s *shell) tree(t *testing.T, name string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	root := filepath.Join(s.dir, name)
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found[strings.TrimPrefix(path, root+"/")] = describe(testbed.Must(os.ReadFile(path))(t))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func describe(b []byte) string { return fmt.Sprintf("%d bytes, SHA-256 %x", len(b), sha256.Sum256(b)) }

// text gives n bytes that do not repeat; from 1000 bytes on they hold the canary, once in each MiB.
func text(n int, canary []byte) []byte {
	b := make([]byte, n)
	var seed [32]byte
	copy(seed[:], canary)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	for at := min(n, 1<<20) / 2; n >= 1000 && at < n; at += 1 << 20 {
		copy(b[at:], canary)
	}
	return b
}

// writeTree makes a folder "up" with a file of each size, some with names that clients and proxies get wrong.
func (s *shell) writeTree(t *testing.T, canary []byte) {
	t.Helper()
	for _, n := range sizes {
		s.write(t, fmt.Sprintf("up/sizes/%d", n), text(n, canary))
	}
	for i, odd := range oddKeys {
		s.write(t, filepath.Join("up", odd), text(2000+i, canary))
	}
}

// oddKeys are keys that can be names of files. Those that cannot are in internal/e2e.
var oddKeys = []string{
	"odd/with space", "odd/+plus+", "odd/%2F%percent", "odd/ünï/çødé 漢字 🔑", "odd/a&b=c?d#e;f", "odd/(~'!*@:,$)", "odd/[x]{y}|^`", "odd/<tag>",
}

// get reads a URL.
func get(t *testing.T, client *http.Client, url string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))(t)
	for name, values := range header {
		req.Header[name] = values
	}
	resp := testbed.Must(client.Do(req))(t)
	return resp, testbed.ReadBody(t, resp.Body)
}
