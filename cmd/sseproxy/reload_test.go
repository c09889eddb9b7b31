package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestFilesAreReadAgain: a client that is added, or whose rights are taken away, is so without a restart; a file that is refused changes
// nothing, and a request that has begun ends as it would have.
func TestFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	identities, policies := filepath.Join(dir, "identities.json"), filepath.Join(dir, "policy.cedar")
	write := func(path, text string) {
		t.Helper()
		// As Kubernetes does: another file in its place.
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	const one = `{"name": "one", "access_key_id": "AKIDONE", "secret_access_key": "secret of one"}`
	const two = `{"name": "two", "access_key_id": "AKIDTWO", "secret_access_key": "secret of two"}`
	write(identities, `{"identities": [`+one+`]}`)
	write(policies, `permit (principal, action, resource);`)
	p := startServe(t, "SSEPROXY_ACCESS_KEY_ID=", "SSEPROXY_SECRET_ACCESS_KEY=", "SSEPROXY_IDENTITIES="+identities, "SSEPROXY_POLICY="+policies)
	put := func(name string) error {
		client := testbed.S3Client(t, "http://"+p.Listen, "AKID"+strings.ToUpper(name), "secret of "+name, "us-east-1")
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: aws.String("key"), Body: strings.NewReader("body")})
		return err
	}
	logged := func(text string) bool { return bytes.Contains(testbed.Must(os.ReadFile(p.log))(t), []byte(text)) }
	if err := put("one"); err != nil {
		t.Fatal(err)
	}
	if err := put("two"); err == nil {
		t.Fatal("a stranger is known")
	}
	write(identities, `{"identities": [`+one+`, `+two+`]}`)
	wait(t, "a second client", func() bool { return put("two") == nil })

	write(policies, `permit (principal, action, resource`)
	wait(t, "a complaint", func() bool { return logged("it is not in Cedar's language") })
	if err := errors.Join(put("one"), put("two")); err != nil {
		t.Error(err)
	}

	write(policies, `permit (principal == Identity::"two", action, resource);`)
	wait(t, "the policy", func() bool { return put("one") != nil })
	if err := put("two"); err != nil {
		t.Error(err)
	}
	p.client = testbed.S3Client(t, "http://"+p.Listen, "AKIDTWO", "secret of two", "us-east-1")
	begun := p.startUpload(t, "begun", 6)
	begun.write(t, []byte("abc"))
	write(identities, `{"identities": [`+one+`]}`)
	wait(t, "the second client's end", func() bool { return put("two") != nil })
	begun.write(t, []byte("def"))
	if err := errors.Join(begun.body.Close(), <-begun.done); err != nil {
		t.Errorf("a request that had begun: %v", err)
	}
	if logged("secret of") {
		t.Error("a secret is in the log")
	}
}
