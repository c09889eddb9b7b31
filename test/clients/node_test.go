package clients_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestNodeSDK: the AWS SDK for JavaScript with lib-storage, as applications on Node use it; node/sdk.js says how.
func TestNodeSDK(t *testing.T) {
	program, script := nodeScript(t, "sdk.js")
	crossed(t, func(t *testing.T, f *front) {
		canary := testbed.Canary(t)
		f.nodeShell(t).run(t, program, script, f.url, f.bucket, string(canary))
		f.requireSealed(t, canary)
	})
}

// nodeScript gives Node's program, and a script that finds its packages.
func nodeScript(t *testing.T, name string) (program, script string) {
	t.Helper()
	program = programs(t, "node")[0]
	if major, _, _ := strings.Cut(newShell(t).run(t, program, "--version"), "."); len(major) < 3 || major < "v20" {
		missing(t, "Node is "+major+"; the AWS SDK needs v20")
	}
	dir := filepath.Join(testbed.Must(os.Getwd())(t), "node")
	for _, needed := range []string{"node_modules", name} {
		if _, err := os.Stat(filepath.Join(dir, needed)); err != nil {
			missing(t, fmt.Sprintf("node/%s: %v; .ci/install installs Node's packages", needed, err))
		}
	}
	return program, filepath.Join(dir, name)
}

func (f *front) nodeShell(t *testing.T) *shell {
	t.Helper()
	return newShell(t, append(f.awsEnv(), "AWS_REGION="+f.region, "NODE_EXTRA_CA_CERTS="+f.ca)...)
}
