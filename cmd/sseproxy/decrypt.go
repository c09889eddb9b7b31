package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
)

const decryptUsage = `Usage: sseproxy decrypt --bucket NAME --key KEY --envelope VALUE [--file FILE] [--out FILE] [--keyring FILE]

Opens an object from its stored bytes (FILE, or standard input) and its envelope, with no proxy and no store running.
The key comes from a keyring file; without one, from AWS KMS or Vault, set as for "sseproxy serve" by SSEPROXY_KEY_PROVIDER
and the variables that go with it.
VALUE is the object's metadata x-amz-meta-sseproxy; "aws s3api head-object" at the store shows it.
An object under a customer's key (SSE-C) needs --customer-key-file, a file with the key's 64 hexadecimal digits.
With --out the file appears only when all of it is verified. On standard output verified bytes come before the end is:
heed the exit status.

`

// decryptOptions are the flags of decrypt.
type decryptOptions struct {
	bucket, key, envelope, file, out, keyring, customerKey string

	environ []string
}

// runDecrypt is the command "sseproxy decrypt".
func runDecrypt(ctx context.Context, args []string, std stdio) error {
	o := decryptOptions{environ: std.environ}
	fs := flag.NewFlagSet("decrypt", flag.ContinueOnError)
	fs.StringVar(&o.bucket, "bucket", "", "bucket that the object was stored in")
	fs.StringVar(&o.key, "key", "", "key that it was stored under")
	fs.StringVar(&o.envelope, "envelope", "", "its envelope")
	fs.StringVar(&o.file, "file", "-", "its stored bytes; \"-\" is standard input")
	fs.StringVar(&o.out, "out", "-", "where the plaintext goes; \"-\" is standard output")
	fs.StringVar(&o.keyring, "keyring", lookUp(std.environ, "SSEPROXY_KEYRING"), "keyring file")
	fs.StringVar(&o.customerKey, "customer-key-file", "", "file with the customer's key")
	fs.Usage = func() { fmt.Fprint(fs.Output(), decryptUsage); fs.PrintDefaults() }
	if err := parseFlags(fs, args, std); err != nil {
		return err
	}
	if o.bucket == "" || o.key == "" || o.envelope == "" {
		return fmt.Errorf("%w: decrypt needs --bucket, --key and --envelope", errUsage)
	}
	e, err := envelope.Parse(o.envelope)
	if err != nil {
		return err
	}
	wrapping, err := o.wrappingKey(ctx, e)
	if err != nil {
		return err
	}
	dek, _, err := e.Unwrap(wrapping, o.bucket, o.key)
	if err != nil {
		return err
	}
	plain, closeSealed, err := o.open(e, dek, std.in)
	if err != nil {
		return err
	}
	defer closeSealed() //nolint:errcheck // only read
	return o.write(plain, std.out)
}

// wrappingKey gets the key that the object's data key is wrapped under; with two layers it is two.
func (o decryptOptions) wrappingKey(ctx context.Context, e *envelope.Envelope) ([]byte, error) {
	if e.Mode == envelope.ModeCustomer {
		if o.customerKey == "" {
			return nil, fmt.Errorf("%w: the object is under a customer's key: --customer-key-file is needed", errUsage)
		}
		text, err := os.ReadFile(o.customerKey)
		if err != nil {
			return nil, fmt.Errorf("reading the customer's key: %w", err)
		}
		key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
		if err != nil {
			return nil, fmt.Errorf("%w: the customer's key is not in hexadecimal digits", errUsage)
		}
		return envelope.CustomerKey(key, e.WrappedKey)
	}
	provider, err := o.provider(ctx, e.KeyID)
	if err != nil {
		return nil, err
	}
	var ec keys.Context
	if e.OwnKey {
		ec, err = keys.ObjectContext(o.bucket, o.key, e.Context)
	} else {
		ec, err = keys.BucketContext(o.bucket)
	}
	if err != nil {
		return nil, err
	}
	key, err := provider.UnwrapKey(ctx, e.KeyID, e.WrappedKey, ec)
	if err != nil {
		return nil, fmt.Errorf("unwrapping the object's key: %w", err)
	}
	if e.Mode != envelope.ModeDSSE {
		return key.Plaintext, nil
	}
	if ec, err = keys.BucketContext(o.bucket); err != nil {
		return nil, err
	}
	second, err := provider.UnwrapKey(ctx, e.SecondKeyID, e.SecondWrappedKey, ec)
	if err != nil {
		return nil, fmt.Errorf("unwrapping the object's second key: %w", err)
	}
	return append(key.Plaintext, second.Plaintext...), nil
}

// provider gives the keyring file, or the provider of the environment.
func (o decryptOptions) provider(ctx context.Context, keyID string) (keys.Provider, error) {
	if o.keyring != "" {
		provider, err := keys.NewLocal(keys.LocalConfig{Path: o.keyring})
		if err != nil {
			return nil, fmt.Errorf("reading the keyring: %w", err)
		}
		return provider, nil
	}
	if kind := lookUp(o.environ, "SSEPROXY_KEY_PROVIDER"); kind == "" || kind == config.Local {
		return nil, fmt.Errorf("%w: decrypt needs --keyring or SSEPROXY_KEYRING", errUsage)
	}
	cfg, err := config.LoadProvider(o.environ, keyID)
	if err != nil {
		return nil, fmt.Errorf("%w: the key provider's configuration is refused:\n%w", errUsage, err)
	}
	return newProvider(ctx, cfg, zap.NewNop())
}

// open returns the reader of the whole plaintext.
func (o decryptOptions) open(e *envelope.Envelope, dek *envelope.DEK, in io.Reader) (io.Reader, func() error, error) {
	if !e.Multipart && o.file == "-" {
		return dek.Single(e.Length).NewWholeReader(in), func() error { return nil }, nil
	}
	f, size, err := openSealed(o.file, in)
	if err != nil {
		return nil, nil, err
	}
	if !e.Multipart {
		return dek.Single(e.Length).NewWholeReader(io.NewSectionReader(f, 0, size)), f.Close, nil
	}
	b, err := readTrailer(f, size)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	_, object, err := dek.OpenMultipart(b, size)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return object.NewReader(io.NewSectionReader(f, 0, size), 0, object.Size(), envelope.Attempt{}), f.Close, nil
}

// write puts the plaintext where it is wanted; a file only when it is whole.
func (o decryptOptions) write(plain io.Reader, out io.Writer) error {
	if o.out == "-" {
		_, err := io.Copy(out, plain)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(o.out), ".sseproxy-*")
	if err != nil {
		return fmt.Errorf("making the output file: %w", err)
	}
	_, err = io.Copy(f, plain)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), o.out)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
