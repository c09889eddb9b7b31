package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sseproxy/sseproxy/internal/devstore"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

const (
	clientID     = "AKIDCLIENT"
	clientSecret = "client/secret+key"
)

// TestScripts tells stories of the program as users run it: one in each file of testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"absent": absent, "await": await, "exits": exits, "flip": flip, "serving": serving, "stored": stored,
		},
	})
}

// setup gives a script a store, a bucket there that is $BUCKET, and an environment in which "sseproxy serve" and the
// client s3 find each other, but for the endpoint: see serving.
func setup(env *testscript.Env) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("not a test")
	}
	store := testbed.Store(t)
	env.Values["t"] = t
	env.Vars = append(env.Vars, append(serveEnv(store, filepath.Join(env.WorkDir, "keyring.json")),
		"BUCKET="+testbed.Bucket(t, store), "STORE="+store.Dir,
		"AWS_ACCESS_KEY_ID="+clientID, "AWS_SECRET_ACCESS_KEY="+clientSecret, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
		"GORACE=atexit_sleep_ms=0", // under the race detector every program would wait a second at its end
	)...)
	return nil
}

// serveEnv configures "sseproxy serve" in front of a store.
func serveEnv(store *testbed.S3Store, keyring string) []string {
	return []string{
		"SSEPROXY_LISTEN=127.0.0.1:0", "SSEPROXY_ADMIN_LISTEN=127.0.0.1:0", "SSEPROXY_KEYRING=" + keyring,
		"SSEPROXY_UPSTREAM=" + store.URL, "SSEPROXY_UPSTREAM_REGION=" + store.Region,
		"SSEPROXY_UPSTREAM_ACCESS_KEY_ID=" + store.AccessKeyID, "SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=" + store.SecretAccessKey,
		"SSEPROXY_ACCESS_KEY_ID=" + clientID, "SSEPROXY_SECRET_ACCESS_KEY=" + clientSecret,
	}
}

// absent FOLDER FILE fails if a line of the file is anywhere in the folder: as it is, in base64, or in hexadecimal.
func absent(ts *testscript.TestScript, _ bool, args []string) {
	t, ok := ts.Value("t").(testing.TB)
	if !ok {
		ts.Fatalf("no test")
	}
	for line := range bytes.Lines([]byte(ts.ReadFile(args[1]))) {
		testbed.RequireAbsent(t, ts.MkAbs(args[0]), bytes.TrimSpace(line))
	}
}

// await FILE REGEXP waits until the file has a match.
func await(ts *testscript.TestScript, _ bool, args []string) {
	_, err := awaitMatch(ts.MkAbs(args[0]), regexp.MustCompile(args[1]))
	ts.Check(err)
}

// awaitMatch returns what matches in a file, once it is there.
func awaitMatch(file string, want *regexp.Regexp) ([]byte, error) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(file)
		if m := want.Find(b); m != nil {
			return m, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s has no %v: %w\n%s", file, want, err, b)
		}
	}
}

// exits STATUS COMMAND... runs a command that must exit so.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	status := 0
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		status = exited.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if args[0] != strconv.Itoa(status) {
		ts.Fatalf("exit status %d, not %s", status, args[0])
	}
}

// flip FILE OFFSET flips a bit of a file. An offset below 0 counts from the end.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	b := []byte(ts.ReadFile(args[0]))
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// serving LOG waits until "sseproxy serve" serves, and points the client at it; $ADMIN is its other address.
func serving(ts *testscript.TestScript, _ bool, args []string) {
	line, err := awaitServing(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Setenv("AWS_ENDPOINT_URL", "http://"+line.Listen)
	ts.Setenv("ADMIN", "http://"+line.AdminListen)
}

// servingLine is what the log says when the proxy serves.
type servingLine struct {
	Listen      string `json:"listen"`
	AdminListen string `json:"admin_listen"`
	Credentials string `json:"credentials"` // where they are to be had
}

var servingForm = regexp.MustCompile(`(?m)^.*"msg":"serving".*\n`)

func awaitServing(log string) (line servingLine, err error) {
	b, err := awaitMatch(log, servingForm)
	if err != nil {
		return line, err
	}
	return line, json.Unmarshal(b, &line)
}

// stored KEY FILE copies what the store's files have of $BUCKET/KEY: the bytes to a file, the envelope to $ENVELOPE.
func stored(ts *testscript.TestScript, _ bool, args []string) {
	store, bucket := ts.Getenv("STORE"), ts.Getenv("BUCKET")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(ts.ReadFile(filepath.Join(store, devstore.ObjectsDir, bucket, args[0]))), 0o600))
	var metadata map[string]string
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(store, devstore.MetadataDir, bucket, args[0], "meta", "metadata"))), &metadata))
	if metadata["sseproxy"] == "" {
		ts.Fatalf("no envelope in %v", metadata)
	}
	ts.Setenv("ENVELOPE", metadata["sseproxy"])
}
