package clients_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestS3FS: a bucket as a file system. s3fs writes large files in parts, makes those that change of copies and parts, and keeps
// times and modes in metadata, with copies onto themselves.
func TestS3FS(t *testing.T) {
	program := programs(t, "s3fs")[0]
	if file, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("this machine mounts no file systems of programs: %v", err)
	} else if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	crossed(t, func(t *testing.T, f *front) {
		s, canary := newShell(t, "CURL_CA_BUNDLE="+f.ca), testbed.Canary(t)
		body := text(43<<20+5, canary) // so large that s3fs changes its times and name by an upload of copies
		mounted := f.mount(t, s, program)

		small := s.write(t, "mnt/dir/small", text(1000, canary))
		s.write(t, "mnt/dir/empty", nil)
		large := s.write(t, "mnt/large", body)
		edit(t, large, func(file *os.File) error { _, err := file.WriteAt(canary, 11<<20+77); return err })
		copy(body[11<<20+77:], canary)
		edit(t, small, func(file *os.File) error { return file.Truncate(999) })
		if err := errors.Join(os.Chmod(small, 0o640), os.Rename(large, filepath.Join(s.dir, "mnt/renamed"))); err != nil {
			t.Error(err)
		}
		mounted()

		f.requireObject(t, "renamed", body)
		f.requireObject(t, "dir/small", text(1000, canary)[:999])
		mounted = f.mount(t, s, program)
		want := map[string]string{"dir/small": describe(text(1000, canary)[:999]), "dir/empty": describe(nil), "renamed": describe(body)}
		if diff := cmp.Diff(want, s.tree(t, "mnt")); diff != "" {
			t.Errorf("mounted again: %s", diff)
		}
		if mode := testbed.Must(os.Stat(small))(t).Mode(); mode != 0o640 {
			t.Errorf("the mode is %v", mode)
		}
		if err := os.RemoveAll(filepath.Join(s.dir, "mnt/dir")); err != nil {
			t.Error(err)
		}
		mounted()
		f.requireSealed(t, canary)
		if keys := fmt.Sprint(f.keys(t)); keys != "[renamed]" {
			t.Errorf("the store has %s", keys)
		}
	})
}

// mount mounts the bucket at "mnt" of a shell's folder, and gives what unmounts it, when all is written.
func (f *front) mount(t *testing.T, s *shell, program string) (unmount func()) {
	t.Helper()
	dir := filepath.Join(s.dir, "mnt")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, f.bucket, dir, "-f", "-o", "passwd_file="+s.write(t, "passwd", []byte(f.accessKeyID+":"+f.secretAccessKey)),
		"-o", "url="+f.url, "-o", "endpoint="+f.region, "-o", "use_path_request_style", "-o", "multipart_size=5", "-o", "use_cache=")
	cmd.Env = s.env
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = exec.Command("fusermount", "-u", "-z", dir).Run() // of a test that failed
		_ = cmd.Process.Kill()
	})
	for began := time.Now(); !isMount(t, dir); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("s3fs: %v\n%s", err, said.String())
		default:
		}
		if time.Since(began) > most {
			t.Fatal("s3fs mounts nothing")
		}
	}
	return func() {
		t.Helper()
		s.run(t, "fusermount", "-u", dir)
		if err := <-ended; err != nil {
			t.Errorf("s3fs: %v\n%s", err, said.String())
		}
	}
}

// edit changes a file in place.
func edit(t *testing.T, path string, change func(*os.File) error) {
	t.Helper()
	file := testbed.Must(os.OpenFile(path, os.O_RDWR, 0))(t)
	if err := errors.Join(change(file), file.Close()); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

func isMount(t *testing.T, dir string) bool {
	t.Helper()
	return bytes.Contains(testbed.Must(os.ReadFile("/proc/self/mounts"))(t), []byte(" "+dir+" "))
}
