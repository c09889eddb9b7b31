package clients_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestRestic: a repository is made, fed twice, verified to the last byte, restored and pruned. What restic writes it has encrypted
// itself, but for the files with its keys: of these nothing may be seen in the store.
func TestRestic(t *testing.T) {
	program := programs(t, "restic")[0]
	crossed(t, func(t *testing.T, f *front) {
		s := newShell(t, append(f.awsEnv(), "RESTIC_REPOSITORY=s3:"+f.url+"/"+f.bucket+"/repository", "RESTIC_PASSWORD=correct horse")...)
		restic := func(args ...string) string {
			t.Helper()
			if f.ca != "" {
				args = append(args, "--cacert", f.ca)
			}
			return s.run(t, append([]string{program}, args...)...)
		}
		// backup backs up, and requires what restic says of the files.
		backup := func(added, changed, unmodified int) {
			t.Helper()
			var said struct {
				Added      int `json:"files_new"`
				Changed    int `json:"files_changed"`
				Unmodified int `json:"files_unmodified"`
			}
			out := strings.TrimSpace(restic("backup", "--json", "up"))
			if err := json.Unmarshal([]byte(out[strings.LastIndex(out, "\n")+1:]), &said); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if said.Added != added || said.Changed != changed || said.Unmodified != unmodified {
				t.Errorf("backed up are %+v; there were %d, %d and %d", said, added, changed, unmodified)
			}
		}
		canary := testbed.Canary(t)
		s.writeTree(t, canary)
		s.write(t, "up/large", text(20<<20, canary))
		n := len(s.tree(t, "up"))

		restic("init")
		backup(n, 0, 0)
		if err := os.Remove(filepath.Join(s.dir, "up/large")); err != nil {
			t.Fatal(err)
		}
		s.write(t, "up/sizes/1000", text(2000, canary))
		backup(0, 1, n-2)
		restic("check", "--read-data")
		restic("restore", "latest", "--target", "down")
		if diff := cmp.Diff(s.tree(t, "up"), s.tree(t, "down/up")); diff != "" {
			t.Errorf("restored: %s", diff)
		}
		f.requireSealed(t, []byte(`"kdf":"scrypt","N":`))

		before := f.listedBytes(t)
		restic("forget", "--keep-last", "1", "--prune")
		if after := f.listedBytes(t); after > before/2 {
			t.Errorf("of %d bytes %d are left when the large file is forgotten", before, after)
		}
		restic("check", "--read-data")
		f.requireSealed(t, canary)
	})
}
