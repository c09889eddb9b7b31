// Package keys makes, wraps, unwraps and caches the keys between a key encryption key (KEK), which its provider never
// gives out, and the data key (DEK) of an object:
//
//	KEK (provider) → intermediate key → DEK
//
// An intermediate key is 32 random bytes; package envelope wraps the DEK under it, and its own wrapping under the KEK is
// stored beside the DEK's. AWS calls it an S3 Bucket Key: one serves many objects of a bucket, so that calls to the
// provider do not grow with the number of objects.
//
// A Provider holds the KEKs. Local is the embedded one, a keyring file. Cache stands in front of any provider.
package keys

import (
	"context"
	"errors"
)

const (
	// KeySize is the length of an intermediate key in bytes.
	KeySize = 32
	// MaxWrapped bounds a wrapped key in bytes, whatever the provider: it travels in object metadata.
	MaxWrapped = 512
)

// Errors of a Provider. Every failure wraps exactly one of them, or is the error of a context that ended; the names in
// brackets are what AWS answers to an S3 client.
var (
	// ErrNotFound: the provider has no such key, or no such version of it (KMS.NotFoundException).
	ErrNotFound = errors.New("key not found")
	// ErrDisabled: the key, or the version that is needed, is switched off (KMS.DisabledException).
	ErrDisabled = errors.New("key is disabled")
	// ErrInvalidState: the key cannot be used for another reason, such as a pending deletion (KMS.KMSInvalidStateException).
	ErrInvalidState = errors.New("key is in a state that forbids its use")
	// ErrDenied: the provider does not let us use the key (AccessDenied).
	ErrDenied = errors.New("use of the key is denied")
	// ErrUnavailable: the provider cannot be asked now, or throttles us; the one error that is worth a retry (SlowDown).
	ErrUnavailable = errors.New("key provider is unavailable")
	// ErrIntegrity: the wrapped key is not what the provider made for this key id and context.
	ErrIntegrity = errors.New("wrapped key failed its integrity check")
)

// Key is an intermediate key.
type Key struct {
	Plaintext []byte // KeySize bytes, secret
	Wrapped   []byte // under the KEK, opaque, 1 to MaxWrapped bytes
	Version   string // of the KEK that wrapped it, in the provider's terms, for audit and rewrapping; not secret
}

// Provider keeps KEKs and wraps intermediate keys under them. Its methods may be called at the same time, heed the end
// of ctx, and fail as the errors above say. The caller owns what it is given, and may change what it passed afterwards.
//
// The key id in an envelope comes from the store: the caller has checked it against its configuration.
type Provider interface {
	// GenerateKey makes a random key, wrapped under the current version of the KEK keyID and bound to ec.
	GenerateKey(ctx context.Context, keyID string, ec Context) (Key, error)

	// UnwrapKey opens a wrapped key. It fails with ErrIntegrity when keyID, ec or a byte of wrapped is not what
	// GenerateKey had, or with ErrNotFound or ErrDisabled when wrapped names a version that is missing or disabled.
	UnwrapKey(ctx context.Context, keyID string, wrapped []byte, ec Context) (Key, error)

	// Check returns the version that GenerateKey would wrap under now, or the error it would fail with.
	Check(ctx context.Context, keyID string) (version string, err error)
}
