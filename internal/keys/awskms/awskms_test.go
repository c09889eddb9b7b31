package awskms_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/keys/awskms"
	"github.com/sseproxy/sseproxy/internal/keys/keystest"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// A region that is not the one of the SDK's configuration: it must be the key's ARN that decides.
const region = "eu-south-2"

// server is a KMS to test with.
type server struct {
	url   string
	admin *kms.Client
}

// localKMS runs local-kms.
func localKMS(t *testing.T) *server {
	t.Helper()
	cmd := exec.Command("local-kms")
	cmd.Env = []string{"PORT=0", "KMS_REGION=" + region, "KMS_DATA_PATH=" + t.TempDir()}
	port := testbed.Server(t, cmd, "run .ci/install", regexp.MustCompile(`Local KMS started on 0\.0\.0\.0:(\d+)`))
	return newServer(t, "http://127.0.0.1:"+port)
}

// moto runs moto's server, where it is wanted: it is slow.
func moto(t *testing.T) *server {
	t.Helper()
	program := os.Getenv("SSEPROXY_TEST_MOTO")
	if program == "" {
		t.Skip("SSEPROXY_TEST_MOTO does not name moto_server; .ci/providers sets it")
	}
	url := testbed.Server(t, exec.Command(program, "-p", "0"), "pip install 'moto[server]==5.2.1'",
		regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`))
	return newServer(t, url)
}

func newServer(t *testing.T, url string) *server {
	t.Helper()
	return &server{url, kms.NewFromConfig(sdkConfig(t), func(o *kms.Options) { o.BaseEndpoint, o.Region = &url, region })}
}

func sdkConfig(t *testing.T) aws.Config {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "")))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// key makes a key and gives its ARN.
func (s *server) key(t *testing.T, edit ...func(*kms.CreateKeyInput)) string {
	t.Helper()
	in := &kms.CreateKeyInput{KeyUsage: types.KeyUsageTypeEncryptDecrypt, KeySpec: types.KeySpecSymmetricDefault}
	for _, edit := range edit {
		edit(in)
	}
	out, err := s.admin.CreateKey(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

func (s *server) disable(t *testing.T, arn string) {
	t.Helper()
	if _, err := s.admin.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &arn}); err != nil {
		t.Fatal(err)
	}
}

func (s *server) subject(t *testing.T) keystest.Subject {
	t.Helper()
	arn := s.key(t)
	return keystest.Subject{
		Provider: awskms.New(sdkConfig(t), s.url), KeyID: arn, OtherID: s.key(t), Missing: arn[:len(arn)-12] + "000000000000",
		Disable: func(t *testing.T) { s.disable(t, arn) },
		Enable: func(t *testing.T) {
			if _, err := s.admin.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &arn}); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// local-kms stands for AWS KMS, and moto for what local-kms lacks. That the boundary between a context's name and value is bound,
// neither shows.
func TestLocalKMS(t *testing.T) {
	s := localKMS(t)
	keystest.Run(t, func(t *testing.T) keystest.Subject {
		subject := s.subject(t)
		// It writes the key's ARN in front, behind its length, and does not look at it when the request names the key.
		subject.Loose = 1 + len(subject.KeyID)
		subject.Waived = map[string]string{
			"moved boundary":                "local-kms runs names and values of a context together",
			"every other length is refused": "local-kms drops the connection on a ciphertext that ends in its nonce",
		}
		return subject
	})
}

func TestMoto(t *testing.T) {
	s := moto(t)
	keystest.Run(t, func(t *testing.T) keystest.Subject {
		subject := s.subject(t)
		subject.Waived = map[string]string{
			"moved boundary":                                  "moto runs names and values of a context together",
			"another key id is refused":                       "moto denies access, as KMS does not",
			"every flipped bit is refused":                    "moto denies access, as KMS does not, if the bit is in the key's id",
			"a disabled key does nothing until it is enabled": "moto goes on with disabled keys",
		}
		return subject
	})
}

// An alias can be moved to another key, and an id alone means another key in another account: neither may get into an envelope.
func TestKeyIDs(t *testing.T) {
	t.Parallel()
	p := awskms.New(sdkConfig(t), "http://127.0.0.1:1")
	for _, id := range []string{
		"", "1234abcd-12ab-34cd-56ef-1234567890ab", "alias/app", "arn:aws:kms:eu-south-2:111122223333:alias/app",
		"arn:aws:kms::111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:s3:::bucket/key/1",
	} {
		_, generateErr := p.GenerateKey(t.Context(), id, nil)
		_, unwrapErr := p.UnwrapKey(t.Context(), id, []byte("wrapped"), nil)
		_, checkErr := p.Check(t.Context(), id)
		for _, err := range []error{generateErr, unwrapErr, checkErr} {
			if !errors.Is(err, keys.ErrNotFound) {
				t.Errorf("%q: %v", id, err)
			}
		}
	}
}

func TestStates(t *testing.T) {
	s := localKMS(t)
	p, arn := awskms.New(sdkConfig(t), s.url), s.key(t)
	made, err := p.GenerateKey(t.Context(), arn, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &arn}); err != nil {
		t.Fatal(err)
	}
	_, generateErr := p.GenerateKey(t.Context(), arn, nil)
	_, unwrapErr := p.UnwrapKey(t.Context(), arn, made.Wrapped, nil)
	_, checkErr := p.Check(t.Context(), arn)
	for _, err := range []error{generateErr, unwrapErr, checkErr} {
		if !errors.Is(err, keys.ErrInvalidState) {
			t.Errorf("pending deletion: %v", err)
		}
	}
	rsa := s.key(t, func(in *kms.CreateKeyInput) { in.KeySpec = types.KeySpecRsa2048 })
	if _, err := p.Check(t.Context(), rsa); !errors.Is(err, keys.ErrInvalidState) {
		t.Errorf("a key pair: %v", err)
	}
}

// answer puts an error in place of the server's answer.
func answer(status int, code string) func(*http.Response) error {
	return keystest.Answer(status, `{"__type":"`+code+`","message":"injected"}`)
}

// onWire gives a provider behind a wire, and a key with a wrapping under it.
func onWire(t *testing.T) (p *awskms.Provider, w *testbed.Wire, arn string, made keys.Key) {
	t.Helper()
	s := localKMS(t)
	w = testbed.NewWire(t, s.url)
	p, arn = awskms.New(sdkConfig(t), w.URL), s.key(t)
	made, err := p.GenerateKey(t.Context(), arn, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, w, arn, made
}

func TestErrors(t *testing.T) {
	p, w, arn, made := onWire(t)
	for _, test := range []struct {
		status int
		code   string
		want   error
	}{
		{400, "NotFoundException", keys.ErrNotFound},
		{400, "DisabledException", keys.ErrDisabled},
		{400, "KMSInvalidStateException", keys.ErrInvalidState},
		{400, "AccessDeniedException", keys.ErrDenied},
		{400, "UnrecognizedClientException", keys.ErrDenied},
		{400, "IncorrectKeyException", keys.ErrIntegrity},
		{400, "InvalidCiphertextException", keys.ErrIntegrity},
		{400, "ThrottlingException", keys.ErrUnavailable},
		{400, "ExpiredTokenException", keys.ErrUnavailable},
		{500, "DependencyTimeoutException", keys.ErrUnavailable},
		{500, "KMSInternalException", keys.ErrUnavailable},
		{503, "", keys.ErrUnavailable},
	} {
		w.AlterResponse(answer(test.status, test.code))
		_, generateErr := p.GenerateKey(t.Context(), arn, nil)
		_, unwrapErr := p.UnwrapKey(t.Context(), arn, made.Wrapped, nil)
		_, checkErr := p.Check(t.Context(), arn)
		for _, err := range []error{generateErr, unwrapErr, checkErr} {
			if !errors.Is(err, test.want) {
				t.Errorf("%d %s: %v, want %v", test.status, test.code, err, test.want)
			}
		}
	}
}

func TestFaults(t *testing.T) {
	p, w, arn, _ := onWire(t)
	keystest.Faults(t, p, arn, w, map[string]func(*http.Response) error{
		"cut":       func(*http.Response) error { return testbed.ErrCut },
		"throttled": answer(400, "ThrottlingException"),
		"busy":      answer(503, ""),
		"slow":      keystest.Slow,
	})
}

// The version is the id of the key material, where KMS tells it, so that a rotation is seen.
func TestRotation(t *testing.T) {
	p, w, arn, made := onWire(t)
	if made.Version != arn {
		t.Errorf("version %q", made.Version)
	}
	w.AlterResponse(func(r *http.Response) error {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		text := strings.Replace(string(b), `{`, `{"KeyMaterialId":"material",`, 1)
		text = strings.Replace(text, `"KeyMetadata":{`, `"KeyMetadata":{"CurrentKeyMaterialId":"material",`, 1)
		r.Body = io.NopCloser(strings.NewReader(text))
		r.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return nil
	})
	again, generateErr := p.GenerateKey(t.Context(), arn, nil)
	opened, unwrapErr := p.UnwrapKey(t.Context(), arn, again.Wrapped, nil)
	checked, checkErr := p.Check(t.Context(), arn)
	if err := errors.Join(generateErr, unwrapErr, checkErr); err != nil {
		t.Fatal(err)
	}
	if again.Version != "material" || opened.Version != "material" || checked != "material" {
		t.Errorf("versions %q, %q, %q", again.Version, opened.Version, checked)
	}
}

// Requests are signed for the region in the key's ARN, and name the key, the context and AES-256.
func TestRequests(t *testing.T) {
	p, w, arn, made := onWire(t)
	if _, err := p.UnwrapKey(t.Context(), arn, made.Wrapped, nil); err != nil {
		t.Fatal(err)
	}
	for _, x := range w.Requests() {
		if auth := x.Header.Get("Authorization"); !strings.Contains(auth, "/"+region+"/kms/") {
			t.Errorf("signed as %s", auth)
		}
		if !strings.Contains(string(x.Body), arn) {
			t.Errorf("%s without the key", x.Header.Get("X-Amz-Target"))
		}
	}
}

// Credentials that cannot be had are no word about the key, whoever refuses them.
func TestNoCredentials(t *testing.T) {
	t.Parallel()
	cfg := sdkConfig(t)
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, &types.DisabledException{}
	})
	_, err := awskms.New(cfg, "http://127.0.0.1:1").Check(t.Context(), "arn:aws:kms:eu-south-2:111122223333:key/1")
	if !errors.Is(err, keys.ErrUnavailable) {
		t.Error(err)
	}
}
