package clients_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// awsCLI runs the AWS CLI against a front.
type awsCLI struct {
	*shell
	program string
	front   *front
}

// awsCLIs finds the versions there are: Debian's, and what else is in PATH.
func awsCLIs(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, program := range programs(t, "aws", "/usr/bin/aws") {
		version, _, _ := strings.Cut(newShell(t).run(t, program, "--version"), " ")
		found[strings.ReplaceAll(version, "/", " ")] = program
	}
	return found
}

func (f *front) awsCLI(t *testing.T, program string) *awsCLI {
	t.Helper()
	a := &awsCLI{newShell(t, append(f.awsEnv(), "AWS_PAGER=", "AWS_CONFIG_FILE=config")...), program, f}
	a.write(t, "config", nil)
	return a
}

func (a *awsCLI) args(args []string) []string {
	out := []string{a.program, "--endpoint-url", a.front.url}
	for _, arg := range args {
		out = append(out, strings.ReplaceAll(arg, "BUCKET", a.front.bucket))
	}
	return out
}

// aws runs "aws", which must succeed. BUCKET in an argument stands for the bucket.
func (a *awsCLI) aws(t *testing.T, args ...string) string {
	t.Helper()
	return a.run(t, a.args(args)...)
}

// TestAWSCLI: the commands of "aws s3", on trees of files.
func TestAWSCLI(t *testing.T) {
	for name, program := range awsCLIs(t) {
		t.Run(name, func(t *testing.T) {
			fronts(t, func(t *testing.T, f *front) {
				a, canary := f.awsCLI(t, program), testbed.Canary(t)
				a.writeTree(t, "up", canary)
				want := a.tree(t, "up")

				a.aws(t, "s3", "cp", "--recursive", "--quiet", "up", "s3://BUCKET/copied")
				a.aws(t, "s3", "cp", "--recursive", "--quiet", "s3://BUCKET/copied", "down")
				if diff := cmp.Diff(want, a.tree(t, "down")); diff != "" {
					t.Errorf("copied and back: %s", diff)
				}
				listed := make(map[string]string)
				for line := range strings.Lines(a.aws(t, "s3", "ls", "--recursive", "s3://BUCKET/copied/")) {
					m := regexp.MustCompile(`^\S+ \S+ +(\d+) copied/(.*)\n$`).FindStringSubmatch(line)
					listed[m[2]] = m[1]
				}
				for name, what := range want {
					if !strings.HasPrefix(what, listed[name]+" bytes") {
						t.Errorf("%s is %s; ls says %s", name, what, listed[name])
					}
				}

				a.sync(t, "up", "s3://BUCKET/synced", len(want))
				a.sync(t, "s3://BUCKET/synced", "synced", len(want))
				if diff := cmp.Diff(want, a.tree(t, "synced")); diff != "" {
					t.Errorf("synced and back: %s", diff)
				}
				a.streams(t, canary)
				f.requireSealed(t, canary)

				a.aws(t, "s3", "rm", "s3://BUCKET/stream")
				a.aws(t, "s3", "rm", "--recursive", "--quiet", "s3://BUCKET/")
				if keys := f.keys(t); len(keys) > 0 {
					t.Errorf("rm has left %q", keys)
				}
			})
		})
	}
}

// sync runs "aws s3 sync" twice. Of the two only the first has something to do.
func (a *awsCLI) sync(t *testing.T, from, to string, n int) {
	t.Helper()
	for _, n := range []int{n, 0} {
		if said := a.aws(t, "s3", "sync", "--no-progress", from, to); strings.Count(said, "\n") != n {
			t.Errorf("sync %s %s, of %d files:\n%s", from, to, n, said)
		}
	}
}

// streams copies from standard input and to standard output.
func (a *awsCLI) streams(t *testing.T, canary []byte) {
	t.Helper()
	body := text(3*frame, canary)
	a.feed(t, bytes.NewReader(body), a.args([]string{"s3", "cp", "-", "s3://BUCKET/stream"})...)
	if got := a.aws(t, "s3", "cp", "s3://BUCKET/stream", "-"); got != string(body) {
		t.Errorf("a stream of %d bytes comes back with %d", len(body), len(got))
	}
}

// TestAWSCLILarge: one PUT of 100 MiB, read in one piece and in ranges at a time; and the same in parts.
func TestAWSCLILarge(t *testing.T) {
	for name, program := range awsCLIs(t) {
		t.Run(name, func(t *testing.T) {
			for _, https := range []bool{false, true} {
				f := newFront(t, testbed.Store(t), https)
				a, canary := f.awsCLI(t, program), testbed.Canary(t)
				want := describe(testbed.Must(os.ReadFile(a.write(t, "up", text(100<<20+1, canary))))(t))
				const whole = "[default]\ns3 =\n  multipart_threshold = 5GB\n"
				for _, config := range []struct{ name, up, down string }{{"one", whole, whole}, {"ranges", whole, ""}, {"parts", "", ""}} {
					a.write(t, "config", []byte(config.up))
					a.aws(t, "s3", "cp", "--quiet", "up", "s3://BUCKET/"+config.name)
					a.write(t, "config", []byte(config.down))
					a.aws(t, "s3", "cp", "--quiet", "s3://BUCKET/"+config.name, "down/"+config.name)
					if got := a.tree(t, "down")[config.name]; got != want {
						t.Errorf("https=%v, %s: %s comes back as %s", https, config.name, want, got)
					}
				}
				f.requireSealed(t, canary)
			}
		})
	}
}
