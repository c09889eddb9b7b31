package conformance_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/devstore"
	"github.com/sseproxy/sseproxy/internal/testbed"
	"github.com/versity/versitygw/tests/integration"
)

// The store and the suite run in processes of their own, which are this test program, started again: versitygw allows one
// store per process, and a test of the suite may take its process down.
const (
	roleVar   = "CONFORMANCE_ROLE"
	dirVar    = "CONFORMANCE_DIR"    // the store's folder
	targetVar = "CONFORMANCE_TARGET" // the endpoint that the suite tests
)

// One identity for proxy and store, for some tests compare it with the owner that an answer names.
const (
	accessKeyID     = "AKIDCONFORMANCE"
	secretAccessKey = "conformance/secret+key"
	region          = "us-east-1" // as the suite has it
)

// most is the time that one test has. The suite's own is 30 seconds for a request.
const most = time.Minute

func TestMain(m *testing.M) {
	run := map[string]func() error{"store": serveStore, "suite": runSuite}[os.Getenv(roleVar)]
	if run == nil {
		flag.Parse()
		if err := flag.Set("test.parallel", strconv.Itoa(lanes)); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveStore runs a store until standard input ends, and tells its URL on standard output.
func serveStore() error {
	store, err := devstore.Start(context.Background(), devstore.Config{
		Dir: os.Getenv(dirVar), Listen: "127.0.0.1:0", Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey,
	})
	if err != nil {
		return err
	}
	fmt.Println(store.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, store.Close())
}

// verdict is what the suite's process says of a test: first that it begins, then how it ended.
type verdict struct {
	Name    string
	Ended   bool
	Failure string // empty: it passed
}

// runSuite runs the tests that standard input names. Verdicts go to file descriptor 3, for the suite writes on standard output.
func runSuite() error {
	conf := integration.NewS3Conf(integration.WithAccess(accessKeyID), integration.WithSecret(secretAccessKey),
		integration.WithRegion(region), integration.WithEndpoint(os.Getenv(targetVar)),
		integration.WithVersioningEnabled(), integration.WithSidecarMode())
	tests, out := integration.GetIntTests(), json.NewEncoder(os.NewFile(3, "verdicts"))
	for names := bufio.NewScanner(os.Stdin); names.Scan(); {
		v := verdict{Name: names.Text()}
		if err := out.Encode(v); err != nil {
			return err
		}
		v.Ended, v.Failure = true, try(tests[v.Name], conf)
		if err := out.Encode(v); err != nil {
			return err
		}
		if v.Failure != "" {
			// A test that fails leaves its buckets, and the next may count them.
			if err := empty(os.Getenv(dirVar)); err != nil {
				return err
			}
		}
	}
	return nil
}

func try(test integration.IntTest, conf *integration.S3Conf) (failure string) {
	late := time.AfterFunc(most, func() { panic(fmt.Sprintf("it did not end in %s", most)) })
	defer late.Stop()
	defer func() {
		if p := recover(); p != nil {
			failure = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := test(conf); err != nil {
		return err.Error()
	}
	return ""
}

// empty removes all buckets from a store's folder.
func empty(dir string) error {
	for _, part := range []string{devstore.ObjectsDir, devstore.MetadataDir, devstore.VersionsDir} {
		entries, err := os.ReadDir(filepath.Join(dir, part))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, part, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// role gives the command of a process of this program.
func role(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testbed.Must(os.Executable())(t))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), roleVar + "=" + name}, env...)
	return cmd
}

// store starts a store.
func store(t *testing.T) (url, dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := role(t, "store", dirVar+"="+dir)
	stdin, stdout := testbed.Must(cmd.StdinPipe())(t), testbed.Must(cmd.StdoutPipe())(t)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("the store: %v", err)
		}
	})
	url = testbed.Must(bufio.NewReader(stdout).ReadString('\n'))(t)
	return strings.TrimSpace(url), dir
}

// build builds sseproxy and gives the program's path.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "sseproxy")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-o", program, "./cmd/sseproxy").CombinedOutput(); err != nil {
		t.Fatalf("building sseproxy: %v\n%s", err, out)
	}
	return program
}

// proxy starts the program in front of a store.
func proxy(t *testing.T, program, store string) (url string) {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "keyring.json")
	if out, err := exec.CommandContext(t.Context(), program, "keys", "create", "--key", "default", "--keyring", keyring).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "serve")
	cmd.Env = []string{
		"SSEPROXY_LISTEN=127.0.0.1:0", "SSEPROXY_ADMIN_LISTEN=off", "SSEPROXY_KEYRING=" + keyring, "SSEPROXY_REGION=" + region,
		"SSEPROXY_ACCESS_KEY_ID=" + accessKeyID, "SSEPROXY_SECRET_ACCESS_KEY=" + secretAccessKey,
		"SSEPROXY_UPSTREAM=" + store, "SSEPROXY_UPSTREAM_REGION=" + region,
		"SSEPROXY_UPSTREAM_ACCESS_KEY_ID=" + accessKeyID, "SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=" + secretAccessKey,
	}
	lines := bufio.NewScanner(testbed.Must(cmd.StderrPipe())(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("sseproxy: %v", err)
		}
	})
	for lines.Scan() {
		var line struct{ Msg, Listen string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "serving" {
			go func() {
				defer close(ended)
				for lines.Scan() { // what it logs of the errors that the suite provokes is of no interest
				}
			}()
			return "http://" + line.Listen
		}
	}
	close(ended)
	t.Fatal("sseproxy does not start")
	return ""
}

// run runs tests against an endpoint on the store in dir, and gives for each why it failed, or "".
func run(t *testing.T, target, dir string, names []string) map[string]string {
	t.Helper()
	failures := make(map[string]string)
	for len(names) > 0 {
		before := len(names)
		names = runProcess(t, target, dir, names, failures)
		if err := empty(dir); err != nil || len(names) == before {
			t.Fatalf("the suite does not run: %v", err)
		}
	}
	return failures
}

// runProcess runs tests until one takes the process down, and gives those that are left.
func runProcess(t *testing.T, target, dir string, names []string, failures map[string]string) (left []string) {
	t.Helper()
	cmd := role(t, "suite", targetVar+"="+target, dirVar+"="+dir)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Join(names, "\n")), &said
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // read to its end
	cmd.ExtraFiles = []*os.File{w}
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	for verdicts := json.NewDecoder(r); ; {
		var v verdict
		if err := verdicts.Decode(&v); err != nil {
			break
		}
		if !v.Ended {
			v.Failure, names = "it ended the suite", names[1:]
		}
		failures[v.Name] = v.Failure
	}
	if err := cmd.Wait(); err != nil {
		t.Logf("the suite: %v\n%s", err, said.String())
	}
	return names
}
