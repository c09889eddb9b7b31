// Package awskms is the key provider whose KEKs are symmetric keys of AWS KMS.
package awskms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// A call ends, with its retries, within 7 s: before the 10 s that the key cache gives it.
const (
	attempts       = 3
	attemptTimeout = 2 * time.Second
	maxBackoff     = 500 * time.Millisecond // the SDK waits a random part of it
)

// Provider asks AWS KMS. A key id is the ARN of a key, whose region is where it is asked for: an alias could move to
// another key, and an envelope's key id must mean the same for ever.
//
// A wrapped key is KMS's ciphertext of it, and its version is KMS's id of the key material, which changes when the key is
// rotated. Endpoints that do not tell it have one version, the ARN.
type Provider struct {
	client      *kms.Client
	credentials aws.CredentialsProvider
}

// New makes a Provider from the SDK's configuration. An endpoint, if not empty, is asked in place of the regions' own.
func New(cfg aws.Config, endpoint string) *Provider {
	client := kms.NewFromConfig(cfg, func(o *kms.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		if c, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
			o.HTTPClient = c.WithTimeout(attemptTimeout)
		}
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, maxBackoff })
	})
	return &Provider{client, cfg.Credentials}
}

// GenerateKey implements keys.Provider.
func (p *Provider) GenerateKey(ctx context.Context, keyID string, ec keys.Context) (keys.Key, error) {
	region, err := p.ready(ctx, keyID)
	if err != nil {
		return keys.Key{}, err
	}
	out, err := p.client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: &keyID, KeySpec: types.DataKeySpecAes256, EncryptionContext: ec,
	}, region)
	if err != nil {
		return keys.Key{}, failure(ctx, keyID, err)
	}
	return keys.Key{Plaintext: out.Plaintext, Wrapped: out.CiphertextBlob, Version: version(keyID, out.KeyMaterialId)}, nil
}

// UnwrapKey implements keys.Provider. KMS is told the key, so a wrapped key cannot name another one.
func (p *Provider) UnwrapKey(ctx context.Context, keyID string, wrapped []byte, ec keys.Context) (keys.Key, error) {
	region, err := p.ready(ctx, keyID)
	if err != nil {
		return keys.Key{}, err
	}
	if len(wrapped) == 0 || len(wrapped) > keys.MaxWrapped {
		return keys.Key{}, fmt.Errorf("key %s: %w: %d bytes", keyID, keys.ErrIntegrity, len(wrapped))
	}
	out, err := p.client.Decrypt(ctx, &kms.DecryptInput{KeyId: &keyID, CiphertextBlob: wrapped, EncryptionContext: ec}, region)
	if err != nil {
		return keys.Key{}, failure(ctx, keyID, err)
	}
	return keys.Key{
		Plaintext: out.Plaintext, Wrapped: append([]byte(nil), wrapped...), Version: version(keyID, out.KeyMaterialId),
	}, nil
}

// Check implements keys.Provider. KMS tells the key's state by DescribeKey, so a policy that takes away only
// kms:GenerateDataKey is found when the next key is made.
func (p *Provider) Check(ctx context.Context, keyID string) (string, error) {
	region, err := p.ready(ctx, keyID)
	if err != nil {
		return "", err
	}
	out, err := p.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &keyID}, region)
	if err != nil {
		return "", failure(ctx, keyID, err)
	}
	key := out.KeyMetadata
	if key.KeyState == types.KeyStateDisabled {
		return "", fmt.Errorf("key %s: %w", keyID, keys.ErrDisabled)
	}
	if key.KeyState != types.KeyStateEnabled {
		return "", fmt.Errorf("key %s: %w: %s", keyID, keys.ErrInvalidState, key.KeyState)
	}
	if key.KeySpec != types.KeySpecSymmetricDefault || key.KeyUsage != types.KeyUsageTypeEncryptDecrypt {
		return "", fmt.Errorf("key %s: %w: it is of %s for %s, not of SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT",
			keyID, keys.ErrInvalidState, key.KeySpec, key.KeyUsage)
	}
	return version(keyID, key.CurrentKeyMaterialId), nil
}

// Region returns the region of the key with an ARN.
func Region(keyID string) (string, error) {
	a, err := arn.Parse(keyID)
	if err != nil || a.Service != "kms" || a.Region == "" || !strings.HasPrefix(a.Resource, "key/") {
		return "", fmt.Errorf("key %q: %w: it is not a key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID", keyID, keys.ErrNotFound)
	}
	return a.Region, nil
}

// ready says where to ask for a key, once there are credentials. That they cannot be had says nothing about the key,
// whatever it is that their own provider answers.
func (p *Provider) ready(ctx context.Context, keyID string) (func(*kms.Options), error) {
	region, err := Region(keyID)
	if err != nil {
		return nil, err
	}
	if _, err := p.credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: no credentials for AWS KMS: %s", keys.ErrUnavailable, err.Error())
	}
	return func(o *kms.Options) { o.Region = region }, nil
}

func version(keyID string, material *string) string { return cmp.Or(aws.ToString(material), keyID) }

// failures are KMS's error codes. Any other is a fault or a limit of the moment.
var failures = map[string]error{
	"NotFoundException":           keys.ErrNotFound,
	"DisabledException":           keys.ErrDisabled,
	"KMSInvalidStateException":    keys.ErrInvalidState,
	"KeyUnavailableException":     keys.ErrInvalidState,
	"InvalidKeyUsageException":    keys.ErrInvalidState,
	"ValidationException":         keys.ErrInvalidState,
	"AccessDeniedException":       keys.ErrDenied,
	"UnrecognizedClientException": keys.ErrDenied,
	"InvalidCiphertextException":  keys.ErrIntegrity,
	"IncorrectKeyException":       keys.ErrIntegrity,
}

// failure puts an error of the SDK in the words of package keys. The SDK's own words stay in the text only: a timeout of
// one attempt must not look like the end of the caller's time.
func failure(ctx context.Context, keyID string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("key %s: %w", keyID, ctx.Err())
	}
	kind := keys.ErrUnavailable
	var said smithy.APIError
	if errors.As(err, &said) {
		kind = cmp.Or(failures[said.ErrorCode()], kind)
	}
	return fmt.Errorf("key %s: %w: %s", keyID, kind, err.Error())
}
