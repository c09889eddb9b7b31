package clients_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// s3cmd gives a shell and the start of a command line.
func (f *front) s3cmd(t *testing.T) (*shell, func(args ...string) []string) {
	t.Helper()
	s, program := newShell(t), programs(t, "s3cmd")[0]
	command := []string{
		program, "--config=" + s.write(t, "s3cfg", nil), "--access_key=" + f.accessKeyID, "--secret_key=" + f.secretAccessKey,
		"--region=" + f.region, "--host=" + f.host(), "--host-bucket=" + f.host(), "--no-progress", "--multipart-chunk-size-mb=5",
	}
	if f.ca == "" {
		command = append(command, "--no-ssl")
	} else {
		command = append(command, "--ssl", "--ca-certs="+f.ca)
	}
	return s, func(args ...string) []string {
		all := append([]string(nil), command...)
		for _, arg := range args {
			all = append(all, strings.ReplaceAll(arg, "BUCKET", f.bucket))
		}
		return all
	}
}

// TestS3cmd: s3cmd compares the ETag of what it has sent with an MD5, of each part too, unless the ETag has a dash.
func TestS3cmd(t *testing.T) {
	crossed(t, func(t *testing.T, f *front) {
		s, command := f.s3cmd(t)
		canary := testbed.Canary(t)
		s.writeTree(t, canary)
		s.write(t, "up/parts", text(16<<20+3, canary))
		want := s.tree(t, "up")

		for _, n := range []int{len(want), 0} {
			said := s.run(t, command("sync", "up/", "s3://BUCKET/tree/")...)
			if strings.Count(said, "upload: ") < n || n == 0 && strings.Contains(said, "upload: ") || strings.Contains(said, "WARNING") {
				t.Errorf("sync of %d files:\n%s", n, said)
			}
		}
		if err := os.Mkdir(filepath.Join(s.dir, "down"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.run(t, command("get", "--recursive", "s3://BUCKET/tree/", "down/")...)
		if diff := cmp.Diff(want, s.tree(t, "down")); diff != "" {
			t.Errorf("got back: %s", diff)
		}
		line := regexp.MustCompile(`^\S+ \S+ +(\d+) +s3://[^/]+/tree/(.*)\n$`)
		listed := 0
		for one := range strings.Lines(s.run(t, command("ls", "--recursive", "s3://BUCKET/tree/")...)) {
			m := line.FindStringSubmatch(one)
			if listed++; m == nil || !strings.HasPrefix(want[m[2]], m[1]+" bytes") {
				t.Errorf("ls says %q", one)
			}
		}
		if listed != len(want) {
			t.Errorf("ls lists %d of %d files", listed, len(want))
		}
		f.requireParts(t, map[string]int{"tree/parts": 4})

		s.run(t, command("mv", "s3://BUCKET/tree/parts", "s3://BUCKET/moved")...)
		s.run(t, command("modify", "--add-header=Cache-Control: no-cache", "s3://BUCKET/moved")...)
		f.requireObject(t, "moved", testbed.Must(os.ReadFile(filepath.Join(s.dir, "up/parts")))(t))
		f.requireSealed(t, canary)

		body := testbed.Must(os.ReadFile(filepath.Join(s.dir, "up/parts")))(t)
		s.feed(t, strings.NewReader(string(body)), command("put", "-", "s3://BUCKET/stream")...)
		f.requireObject(t, "stream", body)
		s.run(t, command("del", "--recursive", "--force", "s3://BUCKET/")...)
		if keys := f.keys(t); len(keys) > 0 {
			t.Errorf("del leaves %q", keys)
		}
	})
}
