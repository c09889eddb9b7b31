//go:build !nodev

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"go.uber.org/zap/zapcore"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/devstore"
	"github.com/sseproxy/sseproxy/internal/keys"
)

var devCommands = []command{{"dev", "run the proxy over a store of its own in a local folder, to try it", runDev}}

const (
	devRegion = "us-east-1"
	devBucket = "demo"
	devObject = "hello.txt"
	devText   = "Nobody who holds the store can read this line, or change it unseen.\n"
	devShown  = 64 // bytes of the stored object that are shown
)

// devSecrets are made once per folder, so that a second run finds what the first one stored.
type devSecrets struct {
	Client devCredentials `json:"client"`
	Store  devCredentials `json:"store"`
}

type devCredentials struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
}

// runDev is the command "sseproxy dev".
func runDev(ctx context.Context, args []string, std stdio) error {
	flags := flag.NewFlagSet("dev", flag.ContinueOnError)
	dir := flags.String("dir", "dev-store", "folder for the store, the keyring and the credentials; made if missing")
	listenOn := flags.String("listen", "127.0.0.1:8080", "address for clients")
	verbose := flags.Bool("verbose", false, "log each request to standard error")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "Usage: sseproxy dev [--dir FOLDER] [--listen ADDRESS] [--verbose]\n\n"+
			"Runs the proxy and an S3 store behind it in one process, over a local folder, until interrupted. Not for production.\n\n")
		flags.PrintDefaults()
	}
	if err := parseFlags(flags, args, std); err != nil {
		return err
	}
	// The store changes the working directory, so nothing below may rest on it.
	folder, err := filepath.Abs(*dir)
	if err != nil {
		return fmt.Errorf("resolving --dir: %w", err)
	}
	secrets, err := prepareDev(folder)
	if err != nil {
		return err
	}
	// It outlives ctx, so that the proxy can drain.
	store, err := devstore.Start(context.WithoutCancel(ctx), devstore.Config{
		Dir: filepath.Join(folder, "store"), Listen: "127.0.0.1:0", Region: devRegion,
		AccessKeyID: secrets.Store.AccessKeyID, SecretAccessKey: secrets.Store.SecretAccessKey,
	})
	if err != nil {
		return err
	}
	err = serveDev(ctx, folder, *listenOn, *verbose, secrets, store, std)
	return errors.Join(err, store.Close())
}

// serveDev runs the proxy in front of a running store.
func serveDev(ctx context.Context, folder, listenOn string, verbose bool, secrets devSecrets, store *devstore.Store, std stdio) error {
	upstream, err := url.Parse(store.URL())
	if err != nil {
		return fmt.Errorf("reading the store's address: %w", err)
	}
	cfg := config.Config{
		Listen: listenOn, AdminListen: "off", Upstream: upstream, Region: devRegion,
		UpstreamAccessKeyID: secrets.Store.AccessKeyID, UpstreamSecretAccessKey: secrets.Store.SecretAccessKey,
		Identities: []config.Identity{{Name: "dev", AccessKeyID: secrets.Client.AccessKeyID, SecretAccessKey: secrets.Client.SecretAccessKey}},
		Keyring:    filepath.Join(folder, "keyring.json"), Key: "default", KeyCacheTTL: 5 * time.Minute,
		PlaintextReads: "deny", Strict: "off", Audit: "off", AuditRequired: "off", DrainTimeout: 5 * time.Second, LogLevel: zapcore.ErrorLevel,
	}
	if verbose {
		cfg.LogLevel = zapcore.InfoLevel
	}
	s, err := newServer(ctx, cfg, loggerTo(std.err, cfg.LogLevel))
	if err != nil {
		return fmt.Errorf("%w (another --listen, perhaps?)", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	endpoint := "http://" + s.clients.Addr().String()
	if err := putDemo(ctx, endpoint, secrets.Client); err != nil {
		stop()
		return errors.Join(err, <-done)
	}
	if err := showDev(std.out, endpoint, folder, secrets.Client); err != nil {
		stop()
		return errors.Join(err, <-done)
	}
	return <-done
}

// prepareDev makes folder, keyring and credentials where they are missing.
func prepareDev(folder string) (devSecrets, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return devSecrets{}, fmt.Errorf("making the folder: %w", err)
	}
	keyring := filepath.Join(folder, "keyring.json")
	if _, err := os.Stat(keyring); errors.Is(err, fs.ErrNotExist) {
		if err := keys.EditKeyring(keyring, func(r *keys.Keyring) error { return r.Create("default", time.Now()) }); err != nil {
			return devSecrets{}, fmt.Errorf("making the keyring: %w", err)
		}
	}
	return devCredentialsIn(filepath.Join(folder, "credentials.json"))
}

func devCredentialsIn(path string) (secrets devSecrets, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if err = json.Unmarshal(b, &secrets); err != nil {
			return secrets, fmt.Errorf("reading %s: %w", path, err)
		}
		return secrets, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return secrets, fmt.Errorf("reading the credentials: %w", err)
	}
	secrets = devSecrets{newDevCredentials("DEV"), newDevCredentials("STORE")}
	if b, err = json.MarshalIndent(secrets, "", "  "); err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return secrets, fmt.Errorf("writing the credentials: %w", err)
	}
	return secrets, nil
}

func newDevCredentials(prefix string) devCredentials {
	return devCredentials{prefix + rand.Text()[:16], rand.Text() + rand.Text()}
}

// putDemo stores one object through the proxy.
func putDemo(ctx context.Context, endpoint string, c devCredentials) error {
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: devRegion, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
	})
	var exists *types.BucketAlreadyOwnedByYou
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(devBucket)}); err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("making the bucket %s: %w", devBucket, err)
	}
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(devBucket), Key: aws.String(devObject), Body: strings.NewReader(devText), ContentType: aws.String("text/plain"),
	})
	if err != nil {
		return fmt.Errorf("storing %s/%s: %w", devBucket, devObject, err)
	}
	return nil
}

// showDev tells how to use the proxy, and what the store has of it.
func showDev(w io.Writer, endpoint, folder string, c devCredentials) error {
	path := filepath.Join(folder, "store", devstore.ObjectsDir, devBucket, devObject)
	stored, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading what the store has: %w", err)
	}
	_, err = fmt.Fprintf(w, `sseproxy is running. For another shell:

export AWS_ENDPOINT_URL=%[1]s
export AWS_ACCESS_KEY_ID=%[2]s
export AWS_SECRET_ACCESS_KEY=%[3]s
export AWS_REGION=%[4]s

aws --endpoint-url %[1]s s3 cp README.md s3://%[5]s/
aws --endpoint-url %[1]s s3 cp s3://%[5]s/%[6]s -

A client stored %[7]d bytes as s3://%[5]s/%[6]s:

    %[12]s
The store has %[8]d bytes of it, in %[9]s:

%[10]s
Stop with Ctrl-C. What is stored stays in %[11]s.
`, endpoint, c.AccessKeyID, c.SecretAccessKey, devRegion, devBucket, devObject, len(devText), len(stored), path,
		hex.Dump(stored[:min(len(stored), devShown)]), folder, devText)
	return err
}
