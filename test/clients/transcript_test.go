package clients_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestSeesTheSame: what boto3 is told by the proxy is what the store behind it would tell.
func TestSeesTheSame(t *testing.T) {
	for name, python := range pythons(t) {
		t.Run(name, func(t *testing.T) {
			testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
				t.Parallel()
				direct(t, store).transcript(t, python)
				newFront(t, store, true).transcript(t, python)
			})
		})
	}
}

func (f *front) transcript(t *testing.T, python string) []map[string]any {
	t.Helper()
	var all []map[string]any
	out := newShell(t, f.awsEnv()...).run(t, python, scriptFile(t, "boto3_transcript.py"), f.url, f.bucket)
	name := "proxy"
	if f.ca == "" {
		name = "direct"
	}
	os.WriteFile("/tmp/tr-"+strings.ReplaceAll(f.store.Name+"-"+filepath.Base(filepath.Dir(python))+"-"+name, "/", "_"), []byte(out), 0o600)
	for line := range strings.Lines(out) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}
