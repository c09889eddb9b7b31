package clients_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestSidecar: an app beside the proxy has no secret. Its SDK gets credentials for an hour from where a variable says, and with AWS_ENDPOINT_URL_S3
// it needs no more, if it is of 2024 or later.
func TestSidecar(t *testing.T) {
	f, canary := newSidecar(t, testbed.Store(t)), testbed.Canary(t)
	env := append(f.awsEnv(), "AWS_ENDPOINT_URL_S3="+f.url, "AWS_REGION="+f.region,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN="+f.secretAccessKey) // for SDKs of before 2024, which do not read the file
	for name, program := range awsCLIs(t) {
		t.Run(name, func(t *testing.T) {
			a := &awsCLI{newShell(t, append(env, "AWS_PAGER=", "AWS_CONFIG_FILE=config")...), program, f}
			a.write(t, "config", nil)
			a.writeTree(t, canary)
			a.aws(t, "s3", "cp", "--recursive", "--quiet", "up", "s3://BUCKET/tree")
			a.aws(t, "s3", "cp", "--recursive", "--quiet", "s3://BUCKET/tree", "down")
			if diff := cmp.Diff(a.tree(t, "up"), a.tree(t, "down")); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, python := range pythons(t) {
		t.Run(name, func(t *testing.T) {
			newShell(t, append(env, "ONLY=check_presigned")...).run(t, python, scriptFile(t, "boto3_check.py"), f.url, testbed.Bucket(t, f.store), string(canary))
		})
	}
	t.Run("Node SDK", func(t *testing.T) {
		program, script := nodeScript(t, "sdk.js")
		newShell(t, env...).run(t, program, script, f.url, testbed.Bucket(t, f.store), string(canary))
	})
	f.requireSealed(t, canary)
}
