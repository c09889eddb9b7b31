package testbed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3Client gives an SDK client with path-style addresses and no retries, so that a test sees every status.
// It takes nothing from the environment or from files. Connections close after the test.
//
// To trust a test's own CA, give it an HTTP client: func(o *s3.Options) { o.HTTPClient = server.Client() }.
func S3Client(t testing.TB, endpoint, accessKey, secret, region string, opts ...func(*s3.Options)) *s3.Client {
	t.Helper()
	o := options(endpoint, accessKey, secret, region)
	for _, set := range opts {
		set(&o)
	}
	if o.HTTPClient == nil {
		o.HTTPClient = HTTPClient(t)
	}
	return s3.New(o)
}

func options(endpoint, accessKey, secret, region string) s3.Options {
	return s3.Options{
		BaseEndpoint: aws.String(endpoint),
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(accessKey, secret, ""),
		UsePathStyle: true,
		Retryer:      aws.NopRetryer{},
	}
}

// ClearAWSEnv hides this machine's AWS settings from the SDK's default configuration for the rest of the test:
// every AWS_* variable, the files in the home directory, and the instance metadata service.
func ClearAWSEnv(t testing.TB) {
	t.Helper()
	for _, pair := range os.Environ() { //nolint:forbidigo // to take variables away, not to read them
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // restores it after the test
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}
