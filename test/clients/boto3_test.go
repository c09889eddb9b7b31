package clients_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestBoto3: what applications do with boto3; testdata/boto3_check.py says what.
func TestBoto3(t *testing.T) {
	for name, python := range pythons(t) {
		t.Run(name, func(t *testing.T) {
			crossed(t, func(t *testing.T, f *front) {
				canary := testbed.Canary(t)
				newShell(t, f.awsEnv()...).run(t, python, scriptFile(t, "boto3_check.py"), f.url, f.bucket, string(canary))
				f.requireSealed(t, canary)
			})
		})
	}
}

func scriptFile(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(testbed.Must(os.Getwd())(t), "testdata", name)
}

// pythons finds interpreters that have boto3, by its version.
func pythons(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, python := range programs(t, "python3", "/usr/bin/python3") {
		if version, _, err := newShell(t).try(t, nil, python, "-c", "import boto3; print(end=boto3.__version__)"); err == nil {
			found["boto3 "+string(version)] = python
		}
	}
	if len(found) == 0 {
		missing(t, "no python3 has boto3; .ci/install does that")
	}
	return found
}

// awsEnv is what SDKs and programs of AWS are configured by.
func (f *front) awsEnv() []string {
	env := []string{
		"AWS_ACCESS_KEY_ID=" + f.accessKeyID, "AWS_SECRET_ACCESS_KEY=" + f.secretAccessKey, "AWS_DEFAULT_REGION=" + f.region,
		"AWS_EC2_METADATA_DISABLED=true",
	}
	if f.credentials != "" {
		env = append(env[2:], "AWS_CONTAINER_CREDENTIALS_FULL_URI="+f.credentials, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+f.token)
	}
	if f.ca != "" {
		env = append(env, "AWS_CA_BUNDLE="+f.ca)
	}
	return env
}
