package testbed

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// Server runs a program until the test ends, and gives what announces matches in its output: the first group. Where there
// is no such program the test is skipped, saying how to install it, and with CI=true fails.
func Server(t testing.TB, cmd *exec.Cmd, install string, announces *regexp.Regexp) string {
	t.Helper()
	switch {
	case cmd.Err == nil:
	case os.Getenv("CI") == "true": //nolint:forbidigo // where tests run, not how the product does
		t.Fatalf("%v: %s", cmd.Err, install)
	default:
		t.Skipf("%v: %s", cmd.Err, install)
	}
	dir := t.TempDir()
	cmd.Dir, cmd.Env = dir, append(bareEnv("HOME="+dir), cmd.Env...)
	in, err := cmd.StdinPipe() // open until the end
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		closeAll(in)
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait() // it was killed: how it ended says nothing
	})
	announced := make(chan string, 1)
	var said bytes.Buffer // to be read after the end
	go func() {
		defer close(ended)
		defer close(announced)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := announces.FindSubmatch(lines.Bytes()); m != nil && len(announced) == 0 {
				announced <- string(m[1])
			}
			said.Write(append(lines.Bytes(), '\n'))
		}
	}()
	select {
	case where, ok := <-announced:
		if ok {
			return where
		}
		t.Fatalf("%s has ended; it said: %s", cmd.Path, said.String())
	case <-time.After(time.Minute):
		t.Fatalf("%s does not tell where it is", cmd.Path)
	}
	return ""
}
