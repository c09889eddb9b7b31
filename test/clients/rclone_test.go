package clients_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// rclone is the program with a remote for a front, named "remote".
type rclone struct {
	*shell
	program string
	front   *front
}

func (f *front) rclone(t *testing.T, options ...string) *rclone {
	t.Helper()
	s := newShell(t)
	config := fmt.Sprintf("[remote]\ntype = s3\naccess_key_id = %s\nsecret_access_key = %s\nregion = %s\nendpoint = %s\n"+
		"upload_cutoff = 5M\nchunk_size = 5M\n%s\n", f.accessKeyID, f.secretAccessKey, f.region, f.url, strings.Join(options, "\n"))
	s.env = append(s.env, "RCLONE_CONFIG="+s.write(t, "rclone.conf", []byte(config)), "RCLONE_RETRIES=1", "RCLONE_LOW_LEVEL_RETRIES=1")
	if f.ca != "" {
		s.env = append(s.env, "RCLONE_CA_CERT="+f.ca)
	}
	return &rclone{s, programs(t, "rclone")[0], f}
}

// remote gives rclone's name of a key.
func (r *rclone) remote(key string) string { return "remote:" + r.front.bucket + "/" + key }

// do runs "rclone -v", which must succeed, and gives what it says that it did.
func (r *rclone) do(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := r.try(t, nil, append([]string{r.program, "-v"}, args...)...)
	if err != nil {
		t.Fatalf("rclone %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return string(errs)
}

// TestRclone: trees of files, whole and in parts of 5 MiB, by the providers that users choose for an endpoint of their own. That of
// MinIO has listings URL-encoded, which versitygw cannot do.
func TestRclone(t *testing.T) {
	t.Run("Other", func(t *testing.T) {
		crossed(t, func(t *testing.T, f *front) { f.rclone(t, "provider = Other").trees(t) })
	})
	t.Run("Minio", func(t *testing.T) {
		newFront(t, testbed.MinIO(t), false).rclone(t, "provider = Minio", "use_multipart_etag = false").trees(t)
	})
}

// trees syncs a tree, checks it, copies it back, and moves it at the proxy. Of two syncs the second has nothing to do.
func (r *rclone) trees(t *testing.T) {
	t.Helper()
	canary := testbed.Canary(t)
	r.writeTree(t, canary)
	r.write(t, "up/parts", text(21<<20, canary))
	want := r.tree(t, "up")

	for _, n := range []int{len(want), 0} {
		if said := r.do(t, "sync", "up", r.remote("tree")); strings.Count(said, ": Copied") != n || strings.Contains(said, ": Updated") {
			t.Errorf("sync of %d files:\n%s", n, said)
		}
	}
	r.do(t, "check", "up", r.remote("tree"))
	r.do(t, "check", "--download", "up", r.remote("tree"))
	r.do(t, "copy", r.remote("tree"), "down")
	if diff := cmp.Diff(want, r.tree(t, "down")); diff != "" {
		t.Errorf("copied back: %s", diff)
	}
	listed := make(map[string]bool)
	for line := range strings.Lines(r.run(t, r.program, "ls", r.remote("tree"))) {
		size, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if listed[name] = true; !strings.HasPrefix(want[name], size+" bytes") {
			t.Errorf("%s is %s; ls says %s", name, want[name], size)
		}
	}
	if len(listed) != len(want) {
		t.Errorf("ls lists %d of %d files", len(listed), len(want))
	}
	if said := r.do(t, "move", r.remote("tree"), r.remote("moved")); strings.Count(said, "server-side copy") != len(want) {
		t.Errorf("moved at the proxy:\n%s", said)
	}
	r.do(t, "copy", "--update", r.remote("moved"), r.remote("tree"))
	r.do(t, "check", "--download", "up", r.remote("tree"))
	r.streams(t, canary)
	r.front.requireParts(t, map[string]int{"tree/parts": 5, "tree/sizes/1000": 1})
	r.front.requireSealed(t, canary)
	r.do(t, "purge", r.remote("moved"))
	r.do(t, "purge", r.remote("tree"))
	if keys := r.front.keys(t); len(keys) != 1 {
		t.Errorf("purge leaves %q", keys)
	}
}

// streams copies standard input, whose length rclone cannot know, and reads from the middle of it.
func (r *rclone) streams(t *testing.T, canary []byte) {
	t.Helper()
	body := text(12<<20+7, canary)
	r.feed(t, bytes.NewReader(body), r.program, "rcat", r.remote("stream"))
	r.front.requireObject(t, "stream", body)
	if got := r.run(t, r.program, "cat", "--offset", "5242870", "--count", "20", r.remote("stream")); got != string(body[5242870:5242890]) {
		t.Errorf("20 bytes at 5242870 are %q", got)
	}
}

// TestRcloneETag: README.md tells users of some providers to set use_multipart_etag. Else this happens.
func TestRcloneETag(t *testing.T) {
	r := newFront(t, testbed.Store(t), false).rclone(t, "provider = Minio")
	r.write(t, "up/parts", text(11<<20, testbed.Canary(t)))
	if _, errs, err := r.try(t, nil, r.program, "copy", "up", r.remote("tree")); err == nil || !bytes.Contains(errs, []byte("Etag differ")) {
		t.Errorf("%v, %s", err, errs)
	}
}
