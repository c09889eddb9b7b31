package clients_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// mc is MinIO's client, to which a front is known as "proxy".
type mc struct {
	*shell
	program string
	front   *front
}

func (f *front) mc(t *testing.T) *mc {
	t.Helper()
	m := &mc{newShell(t, "MC_CONFIG_DIR=config"), programs(t, "mc")[0], f}
	if f.ca != "" {
		m.write(t, "config/certs/CAs/ca.pem", testbed.Must(os.ReadFile(f.ca))(t))
	}
	m.do(t, "alias", "set", "proxy", f.url, f.accessKeyID, f.secretAccessKey)
	return m
}

// remote gives mc's name of a key.
func (m *mc) remote(key string) string { return "proxy/" + m.front.bucket + "/" + key }

// mcSaid is a line of what mc says with --json.
type mcSaid struct {
	Key    string
	Source string
	ETag   string
	Size   int64
}

// do runs "mc --json", which must succeed, and gives what it says.
func (m *mc) do(t *testing.T, args ...string) (all []mcSaid) {
	t.Helper()
	for line := range strings.Lines(m.run(t, append([]string{m.program, "--json"}, args...)...)) {
		var one mcSaid
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("mc %s: %v: %s", strings.Join(args, " "), err, line)
		}
		all = append(all, one)
	}
	return all
}

// TestMC: MinIO's client, on trees of files, one of them in parts. Of two mirrors the second has nothing to do.
func TestMC(t *testing.T) {
	crossed(t, func(t *testing.T, f *front) {
		m, canary := f.mc(t), testbed.Canary(t)
		m.writeTree(t, canary)
		large := text(17<<20+7, canary)
		m.write(t, "up/large", large)
		want := m.tree(t, "up")

		m.do(t, "cp", "--recursive", "up/", m.remote("copied/"))
		f.requireSomeInParts(t)
		m.do(t, "cp", "--recursive", m.remote("copied/"), "down/")
		if diff := cmp.Diff(want, m.tree(t, "down")); diff != "" {
			t.Errorf("copied and back: %s", diff)
		}
		for _, n := range []int{len(want), 0} {
			sent := 0
			for _, one := range m.do(t, "mirror", "up", m.remote("mirrored")) {
				if one.Source != "" {
					sent++
				}
			}
			if sent != n {
				t.Errorf("mirror of %d files sends %d", n, sent)
			}
		}
		if differ := m.do(t, "diff", "up", m.remote("mirrored")); len(differ) > 0 {
			t.Errorf("mirrored differ %v", differ)
		}
		m.listed(t, "mirrored/", want)

		if got := m.run(t, m.program, "cat", m.remote("mirrored/large")); got != string(large) {
			t.Errorf("cat gives %d bytes of %d, or altered", len(got), len(large))
		}
		if got := m.run(t, m.program, "cat", "--offset", "5242870", m.remote("copied/large")); got != string(large[5242870:]) {
			t.Errorf("cat from the middle gives %d bytes of %d, or altered", len(got), len(large)-5242870)
		}
		m.feed(t, bytes.NewReader(large), m.program, "pipe", m.remote("stream"))
		f.requireObject(t, "stream", large)
		m.do(t, "mv", m.remote("stream"), m.remote("moved"))
		f.requireObject(t, "moved", large)
		f.requireSealed(t, canary)

		m.do(t, "rm", m.remote("moved"))
		m.do(t, "rm", "--recursive", "--force", m.remote("copied/"))
		if err := os.Remove(filepath.Join(m.dir, "up/large")); err != nil {
			t.Fatal(err)
		}
		if differ := m.do(t, "diff", "up", m.remote("mirrored")); len(differ) != 1 {
			t.Errorf("one file less differs %v", differ)
		}
		m.do(t, "mirror", "--remove", "up", m.remote("mirrored"))
		if left := f.keys(t); len(left) != len(want)-1 {
			t.Errorf("of %d files that should be left the store has %q", len(want)-1, left)
		}
	})
}

// listed fails the test unless "mc ls" and "mc stat" have the files' sizes, and one ETag for each.
func (m *mc) listed(t *testing.T, prefix string, want map[string]string) {
	t.Helper()
	all := m.do(t, "ls", "--recursive", m.remote(prefix))
	if len(all) != len(want) {
		t.Errorf("ls lists %d of %d files", len(all), len(want))
	}
	for _, one := range all {
		if !strings.HasPrefix(want[one.Key], fmt.Sprintf("%d bytes", one.Size)) {
			t.Errorf("%s is %s; ls says %d", one.Key, want[one.Key], one.Size)
		}
		if stat := m.do(t, "stat", m.remote(prefix+one.Key))[0]; stat.Size != one.Size || stat.ETag != one.ETag || one.ETag == "" {
			t.Errorf("%s is %+v by ls, and %+v by stat", one.Key, one, stat)
		}
	}
}
