package clients_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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
			crossed(t, func(t *testing.T, f *front) {
				a, canary := f.awsCLI(t, program), testbed.Canary(t)
				a.writeTree(t, canary)
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

				a.aws(t, "s3", "mv", "--recursive", "--quiet", "s3://BUCKET/synced", "s3://BUCKET/moved")
				a.aws(t, "s3", "cp", "--recursive", "--quiet", "s3://BUCKET/moved", "moved")
				if diff := cmp.Diff(want, a.tree(t, "moved")); diff != "" {
					t.Errorf("moved at the proxy: %s", diff)
				}
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

// TestAWSCLILarge: a large file in one PUT, read in one piece and in ranges at a time; and a larger one in parts, from a file
// and from standard input, whose length the program cannot know.
func TestAWSCLILarge(t *testing.T) {
	for name, program := range awsCLIs(t) {
		t.Run(name, func(t *testing.T) {
			crossed(t, func(t *testing.T, f *front) {
				a, canary := f.awsCLI(t, program), testbed.Canary(t)
				const whole = "[default]\ns3 =\n  multipart_threshold = 5GB\n"
				for _, test := range []struct {
					name, up, down string
					size           int
				}{{"one", whole, whole, 20<<20 + 1}, {"ranges", whole, "", 20<<20 + 1}, {"parts", "", "", 200 << 20}} {
					a.write(t, "config", []byte(test.up))
					body := text(test.size, canary)
					a.write(t, "up/"+test.name, body)
					a.aws(t, "s3", "cp", "--quiet", "up/"+test.name, "s3://BUCKET/"+test.name)
					a.write(t, "config", []byte(test.down))
					a.aws(t, "s3", "cp", "--quiet", "s3://BUCKET/"+test.name, "down/"+test.name)
				}
				if diff := cmp.Diff(a.tree(t, "up"), a.tree(t, "down")); diff != "" {
					t.Error(diff)
				}
				stream := text(20<<20+5, canary)
				a.write(t, "tree/stream", stream)
				a.sync(t, "tree", "s3://BUCKET/synced", 1)
				a.feed(t, bytes.NewReader(stream), a.args([]string{"s3", "cp", "-", "s3://BUCKET/stream"})...)
				f.requireObject(t, "stream", stream)
				a.aws(t, "s3", "cp", "--quiet", "s3://BUCKET/stream", "s3://BUCKET/copy")
				f.requireObject(t, "copy", stream)
				f.requireParts(t, map[string]int{"one": 1, "parts": 25, "synced/stream": 3, "stream": 3, "copy": 3})
				f.requireSealed(t, canary)
			})
		})
	}
}

// requireParts fails the test unless objects were made of so many parts.
func (f *front) requireParts(t *testing.T, want map[string]int) {
	t.Helper()
	for key, n := range want {
		in := &s3.HeadObjectInput{Bucket: &f.bucket, Key: &key, PartNumber: aws.Int32(1)}
		if got := aws.ToInt32(testbed.Must(f.sdk(t).HeadObject(t.Context(), in))(t).PartsCount); max(int(got), 1) != n {
			t.Errorf("%s is of %d parts, not %d", key, got, n)
		}
	}
}

// TestAWSCLIParts: an upload in parts by hand, as AWS's documentation teaches it, with the ETags that upload-part gave or with those
// that list-parts gives; a part is sent twice.
func TestAWSCLIParts(t *testing.T) {
	for name, program := range awsCLIs(t) {
		t.Run(name, func(t *testing.T) {
			crossed(t, func(t *testing.T, f *front) {
				a, canary := f.awsCLI(t, program), testbed.Canary(t)
				body := text(10<<20+77, canary)
				a.write(t, "1", body[:5<<20])
				a.write(t, "2", body[5<<20:10<<20])
				a.write(t, "3", body[10<<20:])
				a.parts(t, f.ca != "")
				f.requireObject(t, "key", body)
				a.api(t, nil, "get-object", "--key", "key", "--part-number", "2", "part")
				if got := testbed.Must(os.ReadFile(filepath.Join(a.dir, "part")))(t); !bytes.Equal(got, body[5<<20:10<<20]) {
					t.Errorf("part 2 has %d bytes, or is altered", len(got))
				}
				var left struct{ Uploads []any }
				if a.api(t, &left, "list-multipart-uploads"); len(left.Uploads) > 0 {
					t.Errorf("uploads are left: %v", left.Uploads)
				}
				f.requireSealed(t, canary)
			})
		})
	}
}

// api runs "aws s3api" with the bucket, and reads what it says.
func (a *awsCLI) api(t *testing.T, said any, args ...string) {
	t.Helper()
	out := a.aws(t, append([]string{"s3api", args[0], "--bucket", "BUCKET"}, args[1:]...)...)
	if said == nil || out == "" {
		return
	}
	if err := json.Unmarshal([]byte(out), said); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// parts uploads the files 1, 2 and 3 as parts, and completes with the ETags that are listed, or with those that each upload gave.
// The first attempt of part 2 is another file.
func (a *awsCLI) parts(t *testing.T, listed bool) {
	t.Helper()
	type part struct {
		PartNumber int
		ETag       string
		Size       int64 `json:",omitempty"`
	}
	type parts struct{ Parts []part }
	var up struct {
		ID string `json:"UploadId"`
	}
	a.api(t, &up, "create-multipart-upload", "--key", "key")
	send := func(number int, file string) part {
		one := part{PartNumber: number}
		a.api(t, &one, "upload-part", "--key", "key", "--upload-id", up.ID, "--part-number", strconv.Itoa(number), "--body", file)
		return one
	}
	third := send(3, "3")
	send(2, "1")
	done, want := parts{[]part{send(1, "1"), send(2, "2"), third}}, []int64{5 << 20, 5 << 20, 77}
	var all parts
	a.api(t, &all, "list-parts", "--key", "key", "--upload-id", up.ID)
	for i := range all.Parts {
		if i >= len(want) || all.Parts[i].Size != want[i] {
			t.Errorf("the parts listed are %v", all.Parts)
		}
		all.Parts[i].Size = 0
	}
	if listed {
		done = all
	}
	a.write(t, "parts.json", testbed.Must(json.Marshal(done))(t))
	a.api(t, nil, "complete-multipart-upload", "--key", "key", "--upload-id", up.ID, "--multipart-upload", "file://parts.json")
}
