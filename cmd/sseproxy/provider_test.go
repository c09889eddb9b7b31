package main

import (
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestAWSKMS: objects are sealed under a key of AWS KMS. While KMS is away, what the replica holds a key for is served, anything else
// is SlowDown, and readiness tells; a key that was disabled ends readiness.
func TestAWSKMS(t *testing.T) {
	const region = "eu-central-1"
	cmd := exec.Command("local-kms")
	cmd.Env = []string{"PORT=0", "KMS_REGION=" + region, "KMS_DATA_PATH=" + t.TempDir()}
	wire := testbed.NewWire(t, "http://127.0.0.1:"+testbed.Server(t, cmd, "run .ci/install", regexp.MustCompile(`Local KMS started on 0\.0\.0\.0:(\d+)`)))
	admin := kms.New(kms.Options{
		BaseEndpoint: &wire.URL, Region: region, Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
	})
	key := testbed.Must(admin.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: types.KeySpecSymmetricDefault}))(t).KeyMetadata.Arn
	p := startServe(t, "SSEPROXY_KEYRING=", "SSEPROXY_KEY_PROVIDER=awskms", "SSEPROXY_KEY="+*key, "SSEPROXY_AWSKMS_ENDPOINT="+wire.URL,
		"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret")

	put := func(name string, sse s3types.ServerSideEncryption) {
		t.Helper()
		testbed.Must(p.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &p.bucket, Key: &name, Body: strings.NewReader("plaintext"), ServerSideEncryption: sse,
		}))(t)
	}
	get := func(name string) error {
		out, err := p.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: &name})
		if err == nil && string(testbed.ReadBody(t, out.Body)) != "plaintext" {
			t.Errorf("%s is altered", name)
		}
		return err
	}
	put("shared", "")
	put("own", s3types.ServerSideEncryptionAwsKms)
	for _, name := range []string{"shared", "own"} {
		if err := get(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.decryptWith(t, "own", "SSEPROXY_KEY_PROVIDER=awskms", "SSEPROXY_AWSKMS_ENDPOINT="+wire.URL,
		"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret")
	calls := len(wire.Requests())
	for range 20 {
		put("shared", "")
	}
	if n := len(wire.Requests()) - calls; n != 0 {
		t.Errorf("%d calls to KMS for objects of a bucket whose key is at hand", n)
	}

	wire.AlterResponse(func(*http.Response) error { return testbed.ErrCut })
	if err := get("shared"); err != nil {
		t.Errorf("in the outage: %v", err)
	}
	if err := get("own"); err == nil || !strings.Contains(err.Error(), "SlowDown") {
		t.Errorf("a key that is not at hand, in the outage: %v", err)
	}
	if status, why := p.probe(t, "/readyz"); status != http.StatusOK || !strings.Contains(why, "cannot be reached") {
		t.Errorf("in the outage: %d %s", status, why)
	}

	wire.AlterResponse(nil)
	wait(t, "the provider to be asked again", func() bool { return get("own") == nil })
	testbed.Must(admin.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String((*key)[strings.LastIndex(*key, "/")+1:])}))(t)
	if err := get("own"); err == nil || !strings.Contains(err.Error(), "KMS.DisabledException") {
		t.Errorf("a disabled key: %v", err)
	}
	if status, why := p.probe(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(why, "disabled") {
		t.Errorf("disabled: %d %s", status, why)
	}
}

// decryptWith opens an object of the store with "sseproxy decrypt" and a key provider from the environment.
func (p *process) decryptWith(t *testing.T, key string, environ ...string) {
	t.Helper()
	out := testbed.Must(testbed.Store(t).Client(t).GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: &key}))(t)
	cmd := exec.CommandContext(t.Context(), "sseproxy", "decrypt", "--bucket", p.bucket, "--key", key, "--envelope", out.Metadata["sseproxy"])
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdin = out.Body
	if b, err := cmd.CombinedOutput(); err != nil || string(b) != "plaintext" {
		t.Errorf("decrypting: %s (%v)", b, err)
	}
}
