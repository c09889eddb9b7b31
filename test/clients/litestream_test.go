package clients_test

import (
	"cmp"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestLitestream: an SQLite database is replicated and restored, also after Litestream was killed while an application wrote to it.
// The snapshot is large enough to go in parts.
func TestLitestream(t *testing.T) {
	program, python := programs(t, "litestream")[0], programs(t, "/usr/bin/python3", "python3")[0]
	crossed(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		s := newShell(t, "SSL_CERT_FILE="+f.ca)
		config := s.write(t, "litestream.yml", fmt.Appendf(nil, `
dbs:
  - path: %s/app.db
    replica:
      type: s3
      bucket: %s
      path: replica
      endpoint: %s
      region: %s
      access-key-id: %s
      secret-access-key: %s
      force-path-style: true
      sync-interval: 100ms
`, s.dir, f.bucket, f.url, f.region, f.accessKeyID, f.secretAccessKey))
		script := scriptFile(t, "sqlite.py")
		fill := func(mib int) []string {
			return []string{python, script, "fill", "app.db", string(canary), fmt.Sprint(mib)}
		}
		restored := 0
		requireRestored := func() {
			t.Helper()
			restored++
			out := fmt.Sprintf("restored-%d.db", restored)
			s.run(t, program, "restore", "-config", config, "-integrity-check", "full", "-o", out, filepath.Join(s.dir, "app.db"))
			want, got := s.run(t, python, script, "show", "app.db"), s.run(t, python, script, "show", out)
			if got != want || want == "" {
				t.Errorf("restored are %q, not %q", got, want)
			}
		}

		s.run(t, fill(20)...)
		s.run(t, program, "replicate", "-config", config, "-once", "-force-snapshot")
		requireRestored()
		f.requireSomeInParts(t)
		f.killLitestream(t, exec.Command(program, "replicate", "-config", config), s, fill(9))
		s.run(t, program, "replicate", "-config", config, "-once")
		requireRestored()
		f.requireSealed(t, canary)
	})
}

// killLitestream runs Litestream while an application writes, and kills it when it has stored something.
func (f *front) killLitestream(t *testing.T, cmd *exec.Cmd, s *shell, fill []string) {
	t.Helper()
	before := f.stored(t)
	cmd.Dir, cmd.Env = s.dir, s.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.run(t, fill...)
	for began := time.Now(); f.stored(t) == before; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > most {
			t.Error("Litestream stores nothing")
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
}

// requireSomeInParts fails the test unless the largest object was made of several parts.
func (f *front) requireSomeInParts(t *testing.T) {
	t.Helper()
	c := f.sdk(t)
	all := testbed.Must(c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &f.bucket}))(t).Contents
	largest := slices.MaxFunc(all, func(a, b types.Object) int { return cmp.Compare(*a.Size, *b.Size) })
	head := testbed.Must(c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &f.bucket, Key: largest.Key, PartNumber: aws.Int32(1)}))(t)
	if aws.ToInt32(head.PartsCount) < 2 {
		t.Errorf("no object is of several parts, not even %s, of %d bytes", *largest.Key, *largest.Size)
	}
}

// stored counts the objects that a client sees.
func (f *front) stored(t *testing.T) int {
	t.Helper()
	return len(testbed.Must(f.sdk(t).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &f.bucket}))(t).Contents)
}

// listedBytes adds up the sizes that a client sees.
func (f *front) listedBytes(t *testing.T) (n int64) {
	t.Helper()
	for _, o := range testbed.Must(f.sdk(t).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &f.bucket}))(t).Contents {
		n += *o.Size
	}
	return n
}
