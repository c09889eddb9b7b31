package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/keys/awskms"
	"github.com/sseproxy/sseproxy/internal/keys/vault"
)

const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

// newProvider makes the key provider.
func newProvider(ctx context.Context, cfg config.Config, log *zap.Logger) (keys.Provider, error) {
	switch cfg.KeyProvider {
	case config.AWSKMS:
		return newAWSKMS(ctx, cfg)
	case config.Vault:
		return newVault(cfg)
	}
	provider, err := keys.NewLocal(keys.LocalConfig{Path: cfg.Keyring, OnError: func(err error) {
		log.Error("the keyring cannot be read again; the last good one stays in use", zap.Error(err))
	}})
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	return provider, nil
}

// newAWSKMS takes credentials from the SDK's default chain, also when those for the store are given: they are for another service.
func newAWSKMS(ctx context.Context, cfg config.Config) (keys.Provider, error) {
	region, err := awskms.Region(cfg.Key)
	if err != nil {
		return nil, err
	}
	chain, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region))
	if err != nil {
		return nil, fmt.Errorf("finding credentials for AWS KMS: %w", err)
	}
	endpoint := ""
	if cfg.AWSKMSEndpoint != nil {
		endpoint = cfg.AWSKMSEndpoint.String()
	}
	return keys.NewBreaker(awskms.New(chain, endpoint), nil), nil
}

func newVault(cfg config.Config) (keys.Provider, error) {
	roots, err := authorities(cfg.VaultCA)
	if err != nil {
		return nil, err
	}
	auth := vault.Auth{
		Method: cfg.VaultAuth, Mount: cmp.Or(cfg.VaultAuthMount, cfg.VaultAuth), Role: cfg.VaultRole, File: cfg.VaultSecretFile,
	}
	if auth.Method == "kubernetes" {
		auth.File = cmp.Or(auth.File, serviceAccountToken)
	}
	return keys.NewBreaker(vault.New(vault.Config{
		Address: cfg.VaultAddr.Scheme + "://" + cfg.VaultAddr.Host, Namespace: cfg.VaultNamespace, Mount: cfg.VaultMount, Roots: roots, Auth: auth,
	}), nil), nil
}

// grace puts the configured grace in the key cache's words, in which 0 is the default.
func grace(cfg config.Config) time.Duration {
	if cfg.KeyCacheGrace == 0 {
		return -1
	}
	return cfg.KeyCacheGrace
}
