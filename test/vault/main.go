// The program vault is HashiCorp Vault in memory, of a version under the MPL, with what the tests of the key
// provider need: Transit, and logins by AppRole and by a service account's JWT. It prints its address and root token, and ends with
// its standard input. A module of its own: nothing of it is in the product.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/hashicorp/go-hclog"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	core, token, err := start(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core})
	go func() { log.Fatal(http.Serve(l, handler)) }()
	fmt.Printf("http://%s %s\n", l.Addr(), token)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// start makes a Vault, initializes and unseals it.
func start(ctx context.Context) (core *vault.Core, rootToken string, err error) {
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Warn})
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, "", err
	}
	core, err = vault.NewCore(&vault.CoreConfig{
		Physical: storage, Logger: logger, DisableMlock: true,
		LogicalBackends:    map[string]logical.Factory{"transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory, "jwt": jwt.Factory},
		AuditBackends:      map[string]audit.Factory{},
		BuiltinRegistry:    builtin{},
	})
	if err != nil {
		return nil, "", err
	}
	secrets, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return nil, "", err
	}
	for _, share := range secrets.SecretShares {
		if _, err := core.Unseal(share); err != nil {
			return nil, "", err
		}
	}
	return core, secrets.RootToken, nil
}

// builtin is a registry with no plugins but the backends above.
type builtin struct{}

func (builtin) Contains(string, consts.PluginType) bool { return true }

func (builtin) Get(string, consts.PluginType) (func() (any, error), bool) { return nil, false }

func (builtin) Keys(consts.PluginType) []string { return nil }

func (builtin) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}
