package config_test

import (
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"

	"github.com/sseproxy/sseproxy/internal/config"
)

// complete is the least that serve needs.
const complete = `
SSEPROXY_UPSTREAM=https://store.example:9000
SSEPROXY_ACCESS_KEY_ID=app
SSEPROXY_SECRET_ACCESS_KEY=secret-of-app
SSEPROXY_KEYRING=keyring.json
`

// withProvider is complete but for a key provider.
const (
	withProvider = `
SSEPROXY_UPSTREAM=https://store.example:9000
SSEPROXY_ACCESS_KEY_ID=app
SSEPROXY_SECRET_ACCESS_KEY=secret-of-app
`
	keyARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

// environ turns a text with one variable a line into an environment.
func environ(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// defaults are what the complete environment means.
func defaults() config.Config {
	return config.Config{
		Listen: ":8080", AdminListen: ":8081",
		Upstream: &url.URL{Scheme: "https", Host: "store.example:9000"}, Region: "us-east-1",
		UpstreamMinPartSize: 5 << 20,
		AccessKeyID:         "app", SecretAccessKey: "secret-of-app",
		CredentialsIdentity: "app",
		KeyProvider:         "local", Keyring: "keyring.json", Key: "default", KeyCacheTTL: 5 * time.Minute, KeyCacheGrace: 24 * time.Hour,
		VaultMount: "transit", VaultAuth: "token", PlaintextReads: "deny", Strict: "off",
		Audit: "off", AuditRequired: "off", AuditFileSize: 100 << 20, Profiles: "off", ClientTimeout: 5 * time.Minute, MaxRequests: 4096, DrainTimeout: 25 * time.Second, LogLevel: zapcore.InfoLevel,
		Identities: []config.Identity{{Name: "app", AccessKeyID: "app", SecretAccessKey: "secret-of-app"}},
	}
}

func TestLoad(t *testing.T) {
	for name, test := range map[string]struct {
		environ string
		change  func(*config.Config)
	}{
		"least": {complete, func(*config.Config) {}},
		"the rest": {complete + `
SSEPROXY_LISTEN=127.0.0.1:1
SSEPROXY_ADMIN_LISTEN=off
SSEPROXY_TLS_CERT=cert.pem
SSEPROXY_TLS_KEY=key.pem
SSEPROXY_REGION=eu-west-1
SSEPROXY_UPSTREAM_REGION=auto
SSEPROXY_UPSTREAM_ACCESS_KEY_ID=proxy
SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=secret-of-proxy
SSEPROXY_UPSTREAM_MIN_PART_SIZE=1
SSEPROXY_DOMAIN=s3.example,s3
SSEPROXY_KEY=new
SSEPROXY_READ_KEYS=default,older
SSEPROXY_DSSE_KEY=second
SSEPROXY_DSSE_READ_KEYS=second-2025
SSEPROXY_KEY_ROTATE_AFTER=2160h
SSEPROXY_KEY_CACHE_TTL=24h
SSEPROXY_PLAINTEXT_READS=allow
SSEPROXY_DRAIN_TIMEOUT=0s
SSEPROXY_LOG_LEVEL=error
`, func(c *config.Config) {
			c.Listen, c.AdminListen, c.TLSCert, c.TLSKey = "127.0.0.1:1", "off", "cert.pem", "key.pem"
			c.Region, c.UpstreamRegion, c.UpstreamMinPartSize = "eu-west-1", "auto", 1
			c.UpstreamAccessKeyID, c.UpstreamSecretAccessKey = "proxy", "secret-of-proxy"
			c.Domains, c.Key, c.ReadKeys = []string{"s3.example", "s3"}, "new", []string{"default", "older"}
			c.DSSEKey, c.DSSEReadKeys, c.KeyRotateAfter = "second", []string{"second-2025"}, 2160*time.Hour
			c.KeyCacheTTL, c.PlaintextReads, c.DrainTimeout, c.LogLevel = 24*time.Hour, "allow", 0, zapcore.ErrorLevel
		}},
		"a sidecar": {strings.NewReplacer("SSEPROXY_ACCESS_KEY_ID=", "#=", "SSEPROXY_SECRET_ACCESS_KEY=", "#=").Replace(complete) + `
SSEPROXY_CREDENTIALS_LISTEN=[::1]:8082
SSEPROXY_CREDENTIALS_TOKEN_FILE=/run/sseproxy/token
SSEPROXY_CREDENTIALS_IDENTITY=pod
`, func(c *config.Config) {
			c.AccessKeyID, c.SecretAccessKey, c.Identities = "", "", nil
			c.CredentialsListen, c.CredentialsTokenFile, c.CredentialsIdentity = "[::1]:8082", "/run/sseproxy/token", "pod"
		}},
		// Templates leave variables empty.
		"awskms": {withProvider + `
SSEPROXY_KEY_PROVIDER=awskms
SSEPROXY_KEY=` + keyARN + `
SSEPROXY_AWSKMS_ENDPOINT=http://kms.example:4599
SSEPROXY_KEY_CACHE_GRACE=0s
`, func(c *config.Config) {
			c.KeyProvider, c.Keyring, c.Key, c.KeyCacheGrace = "awskms", "", keyARN, 0
			c.AWSKMSEndpoint = &url.URL{Scheme: "http", Host: "kms.example:4599"}
		}},
		"vault": {withProvider + `
SSEPROXY_KEY_PROVIDER=vault
SSEPROXY_KEY=main-2026
SSEPROXY_VAULT_ADDR=https://vault.example:8200
SSEPROXY_VAULT_MOUNT=team/transit
SSEPROXY_VAULT_AUTH=kubernetes
SSEPROXY_VAULT_AUTH_MOUNT=cluster-1
SSEPROXY_VAULT_ROLE=sseproxy
`, func(c *config.Config) {
			c.KeyProvider, c.Keyring, c.Key, c.VaultMount = "vault", "", "main-2026", "team/transit"
			c.VaultAddr = &url.URL{Scheme: "https", Host: "vault.example:8200"}
			c.VaultAuth, c.VaultAuthMount, c.VaultRole = "kubernetes", "cluster-1", "sseproxy"
		}},
		"an empty variable is its default": {complete + `
SSEPROXY_LISTEN=
SSEPROXY_REGION=
SSEPROXY_KEY=
SSEPROXY_READ_KEYS=
SSEPROXY_DOMAIN=
SSEPROXY_KEY_CACHE_TTL=
SSEPROXY_PLAINTEXT_READS=
SSEPROXY_LOG_LEVEL=
SSEPROXY_IDENTITIES=
SSEPROXY_TLS_CERT=
`, func(*config.Config) {}},
		"others' variables": {complete + "PATH=/bin\nAWS_REGION=x\nsseproxy_listen=x\nXSSEPROXY_LISTEN=x\nnonsense\n", func(*config.Config) {}},
		// As Kubernetes makes them for Services called sseproxy and sseproxy-admin.
		"service links": {complete + `
SSEPROXY_SERVICE_HOST=10.0.0.1
SSEPROXY_SERVICE_PORT=80
SSEPROXY_SERVICE_PORT_HTTP=80
SSEPROXY_PORT=tcp://10.0.0.1:80
SSEPROXY_PORT_80_TCP=tcp://10.0.0.1:80
SSEPROXY_PORT_80_TCP_PROTO=tcp
SSEPROXY_PORT_80_TCP_PORT=80
SSEPROXY_PORT_80_TCP_ADDR=10.0.0.1
SSEPROXY_ADMIN_SERVICE_HOST=10.0.0.2
SSEPROXY_ADMIN_SERVICE_PORT=8081
SSEPROXY_ADMIN_PORT=udp://10.0.0.2:8081
SSEPROXY_ADMIN_PORT_8081_UDP_ADDR=10.0.0.2
`, func(*config.Config) {}},
	} {
		t.Run(name, func(t *testing.T) {
			want := defaults()
			test.change(&want)
			got, err := config.Load(environ(test.environ))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if got.AllowPlaintext() != (got.PlaintextReads == "allow") {
				t.Error("AllowPlaintext says otherwise")
			}
		})
	}
}

// Each environment is refused with all that is wrong in it, and nothing else.
func TestLoadRefuses(t *testing.T) {
	for name, test := range map[string]struct{ environ, problems string }{
		"words that are none": {complete + `
SSEPROXY_LISTEN=foo
SSEPROXY_ADMIN_LISTEN=:99999
SSEPROXY_REGION=a b
SSEPROXY_UPSTREAM_REGION=a/b
SSEPROXY_KEY=a key
SSEPROXY_READ_KEYS=good,a key
SSEPROXY_TRUSTED_FRONTS=10.0.0.1
SSEPROXY_PROFILES=yes
SSEPROXY_CLIENT_TIMEOUT=1ms
SSEPROXY_MAX_REQUESTS=0
`, `
SSEPROXY_LISTEN must be of the form :8080 or host:8080
SSEPROXY_ADMIN_LISTEN must be of the form :8081 or host:8081, or off
SSEPROXY_REGION must be letters, digits and dashes
SSEPROXY_UPSTREAM_REGION must be letters, digits and dashes
SSEPROXY_KEY must be a key id, with no spaces
SSEPROXY_READ_KEYS must be key ids separated by commas, with no spaces
SSEPROXY_PROFILES must be off or on
SSEPROXY_CLIENT_TIMEOUT must be at least 1s
SSEPROXY_MAX_REQUESTS must be at least 1
SSEPROXY_TRUSTED_FRONTS must be networks such as 10.0.0.0/8, separated by commas, with no spaces`},
		"credentials for other machines": {complete + `
SSEPROXY_CREDENTIALS_LISTEN=0.0.0.0:8082
`, `
SSEPROXY_CREDENTIALS_LISTEN must be a loopback address and port, such as 127.0.0.1:8082
SSEPROXY_CREDENTIALS_LISTEN and SSEPROXY_CREDENTIALS_TOKEN_FILE go together`},
		"one key for two layers": {complete + "SSEPROXY_DSSE_KEY=default\n", `
SSEPROXY_DSSE_KEY must be another key than SSEPROXY_KEY: two layers under one key would be one`},
		"second keys that are none": {complete + "SSEPROXY_DSSE_KEY=a key\nSSEPROXY_DSSE_READ_KEYS=a,b c\n", `
SSEPROXY_DSSE_KEY must be a key id, with no spaces
SSEPROXY_DSSE_READ_KEYS must be key ids separated by commas, with no spaces`},
		"a rotation too often": {complete + "SSEPROXY_KEY_ROTATE_AFTER=1h\n", `
SSEPROXY_KEY_ROTATE_AFTER must be 0 or at least 24h`},
		"a rotation that is another's": {withProvider + "SSEPROXY_KEY_PROVIDER=awskms\nSSEPROXY_KEY=" + keyARN + "\nSSEPROXY_KEY_ROTATE_AFTER=2160h\n", `
SSEPROXY_KEY_ROTATE_AFTER is for SSEPROXY_KEY_PROVIDER=local: AWS KMS and Vault rotate keys themselves`},
		"second keys to read alone": {complete + "SSEPROXY_DSSE_READ_KEYS=second\n", `
SSEPROXY_DSSE_READ_KEYS is for SSEPROXY_DSSE_KEY, which is not set`},
		"a second key that is no ARN": {withProvider + "SSEPROXY_KEY_PROVIDER=awskms\nSSEPROXY_KEY=" + keyARN + "\nSSEPROXY_DSSE_KEY=alias/second\nSSEPROXY_DSSE_READ_KEYS=second\n", `
SSEPROXY_DSSE_KEY must be a key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID for the key provider awskms
each of SSEPROXY_DSSE_READ_KEYS must be a key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID for the key provider awskms`},
		"nothing": {"", `
SSEPROXY_UPSTREAM is required: the store's endpoint, such as https://s3.eu-central-1.amazonaws.com
SSEPROXY_ACCESS_KEY_ID or SSEPROXY_IDENTITIES, one of them and not both, or SSEPROXY_CREDENTIALS_LISTEN must say who the clients are
SSEPROXY_KEYRING is required: make a file with "sseproxy keys create --key default --keyring FILE"`},
		"all at once": {`
SSEPROXY_UPSTREAM=store.example
SSEPROXY_KEY_CACHE_TTL=5
SSEPROXY_DRAIN_TIMEOUT=soon
SSEPROXY_LOG_LEVEL=loud
SSEPROXY_UPSTREAM_MIN_PART_SIZE=5MiB
SSEPROXY_UPSTREEM=http://store.example
SSEPROXY_KEYRINGS=x
SSEPROXY_TLS_CERT=cert.pem
SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=secret-of-proxy
SSEPROXY_SECRET_ACCESS_KEY=secret-of-app
SSEPROXY_DOMAIN=s3.example, s3
SSEPROXY_READ_KEYS=a,,b
SSEPROXY_PLAINTEXT_READS=yes
`, `
SSEPROXY_UPSTREAM: not of the form http://host[:port] or https://host[:port]
SSEPROXY_UPSTREAM_MIN_PART_SIZE: not a whole number
SSEPROXY_KEY_CACHE_TTL: unable to parse duration: time: missing unit in duration "5"
SSEPROXY_DRAIN_TIMEOUT: unable to parse duration: time: invalid duration "soon"
SSEPROXY_LOG_LEVEL: unrecognized level: "loud"
SSEPROXY_KEYRINGS is not a variable of sseproxy
SSEPROXY_UPSTREEM is not a variable of sseproxy
SSEPROXY_TLS_CERT and SSEPROXY_TLS_KEY go together
SSEPROXY_UPSTREAM_ACCESS_KEY_ID and SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY go together
SSEPROXY_ACCESS_KEY_ID and SSEPROXY_SECRET_ACCESS_KEY go together
SSEPROXY_ACCESS_KEY_ID or SSEPROXY_IDENTITIES, one of them and not both, or SSEPROXY_CREDENTIALS_LISTEN must say who the clients are
SSEPROXY_DOMAIN must be host names without port, separated by commas, with no spaces
SSEPROXY_KEYRING is required: make a file with "sseproxy keys create --key default --keyring FILE"
SSEPROXY_READ_KEYS must be key ids separated by commas, with no spaces
SSEPROXY_PLAINTEXT_READS must be deny or allow`},
		"out of range": {complete + "SSEPROXY_KEY_CACHE_TTL=0s\nSSEPROXY_DRAIN_TIMEOUT=-1s\nSSEPROXY_LOG_LEVEL=fatal\nSSEPROXY_UPSTREAM_MIN_PART_SIZE=0\n", `
SSEPROXY_KEY_CACHE_TTL must be more than 0 and at most 24h
SSEPROXY_UPSTREAM_MIN_PART_SIZE must be between 1 and 5368709120
SSEPROXY_DRAIN_TIMEOUT must not be negative
SSEPROXY_LOG_LEVEL must be debug, info, warn or error`},
		"no part is so large": {complete + "SSEPROXY_UPSTREAM_MIN_PART_SIZE=5368709121\n", `
SSEPROXY_UPSTREAM_MIN_PART_SIZE must be between 1 and 5368709120`},
		"over the key cache's limit": {complete + "SSEPROXY_KEY_CACHE_TTL=24h1ns\n", `
SSEPROXY_KEY_CACHE_TTL must be more than 0 and at most 24h`},
		"no grace is so long": {complete + "SSEPROXY_KEY_CACHE_GRACE=24h1ns\n", `
SSEPROXY_KEY_CACHE_GRACE must be between 0 and 24h`},
		"an unknown provider": {complete + "SSEPROXY_KEY_PROVIDER=kms\n", `
SSEPROXY_KEY_PROVIDER must be local, awskms or vault
SSEPROXY_KEYRING is for SSEPROXY_KEY_PROVIDER=local`},
		"other providers' variables": {complete + "SSEPROXY_AWSKMS_ENDPOINT=http://h\nSSEPROXY_VAULT_ADDR=http://h\n", `
SSEPROXY_AWSKMS_ENDPOINT is for SSEPROXY_KEY_PROVIDER=awskms
SSEPROXY_VAULT_ADDR is for SSEPROXY_KEY_PROVIDER=vault`},
		"awskms with an alias": {withProvider + "SSEPROXY_KEY_PROVIDER=awskms\nSSEPROXY_KEY=" + keyARN + `
SSEPROXY_READ_KEYS=arn:aws:kms:eu-central-1:111122223333:alias/app
`, `
each of SSEPROXY_READ_KEYS must be a key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID for the key provider awskms`},
		"awskms with no key": {withProvider + "SSEPROXY_KEY_PROVIDER=awskms\n", `
SSEPROXY_KEY must be a key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID for the key provider awskms`},
		"vault with nothing": {withProvider + "SSEPROXY_KEY_PROVIDER=vault\n", `
SSEPROXY_VAULT_ADDR is required: the address of Vault or OpenBao, such as https://vault.example:8200
SSEPROXY_VAULT_SECRET_FILE is required: the file with the token, or the secret id for approle`},
		"vault all at once": {withProvider + `
SSEPROXY_KEY_PROVIDER=vault
SSEPROXY_KEY=../main
SSEPROXY_VAULT_ADDR=https://vault.example/v1
SSEPROXY_VAULT_MOUNT=/transit
SSEPROXY_VAULT_AUTH=aws
SSEPROXY_VAULT_AUTH_MOUNT=a//b
`, `
SSEPROXY_VAULT_ADDR: not of the form http://host[:port] or https://host[:port]
SSEPROXY_VAULT_MOUNT must be a path such as transit, with no slash at its ends
SSEPROXY_VAULT_AUTH_MOUNT must be a path such as kubernetes, with no slash at its ends
SSEPROXY_VAULT_AUTH must be token, kubernetes or approle
SSEPROXY_VAULT_ROLE is required: the role for kubernetes, or the role id for approle
SSEPROXY_VAULT_SECRET_FILE is required: the file with the token, or the secret id for approle
SSEPROXY_KEY must be the name of a Transit key for the key provider vault`},
		"half a pair": {complete + "SSEPROXY_TLS_KEY=key.pem\nSSEPROXY_UPSTREAM_ACCESS_KEY_ID=proxy\nSSEPROXY_SECRET_ACCESS_KEY=\n", `
SSEPROXY_TLS_CERT and SSEPROXY_TLS_KEY go together
SSEPROXY_UPSTREAM_ACCESS_KEY_ID and SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY go together
SSEPROXY_ACCESS_KEY_ID and SSEPROXY_SECRET_ACCESS_KEY go together`},
		"a port in a domain": {complete + "SSEPROXY_DOMAIN=s3.example:8080\n", `
SSEPROXY_DOMAIN must be host names without port, separated by commas, with no spaces`},
		"a dot before a domain": {complete + "SSEPROXY_DOMAIN=.s3.example\n", `
SSEPROXY_DOMAIN must be host names without port, separated by commas, with no spaces`},
		// What only looks like a service link.
		"misspelled ports": {complete + "SSEPROXY_LISTEN_PORT=8080\nSSEPROXY_PORT=8080\nSSEPROXY_SERVICE=x\nSSEPROXY_=x\n", `
SSEPROXY_ is not a variable of sseproxy
SSEPROXY_LISTEN_PORT is not a variable of sseproxy
SSEPROXY_PORT is not a variable of sseproxy
SSEPROXY_SERVICE is not a variable of sseproxy`},
	} {
		t.Run(name, func(t *testing.T) { wantProblems(t, environ(test.environ), test.problems) })
	}
}

// wantProblems fails the test unless the environment is refused with those problems, one a line.
func wantProblems(t *testing.T, environ []string, problems string) {
	t.Helper()
	_, err := config.Load(environ)
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(strings.TrimPrefix(problems, "\n"), err.Error()); diff != "" {
		t.Error(diff)
	}
}

// TestUpstream: the endpoint is a scheme and a host, and what else was in it is not repeated.
func TestUpstream(t *testing.T) {
	load := func(value string) (config.Config, error) {
		return config.Load(environ(strings.Replace(complete, "https://store.example:9000", value, 1)))
	}
	for _, value := range []string{"http://h", "https://h:1", "https://h/", "http://[::1]:9000"} {
		if c, err := load(value); err != nil || c.Upstream.String() != value {
			t.Errorf("%s: %v, %v", value, c.Upstream, err)
		}
	}
	for _, value := range []string{
		"h", "h:9000", "//h", "ftp://h", "http://", "http://:9000", "https:h", "http://h/path", "http://h?hunter2", "http://h#hunter2",
		"https://user:hunter2@h", "https://hunter2@h", "https://user:hunter2@h:port", "https://user:hunter2 @h", "http://h/%hunter2",
	} {
		if _, err := load(value); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// Variables are documented, each once, and there is one for every field.
func TestVariables(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range config.Variables() {
		if !strings.HasPrefix(v.Name, "SSEPROXY_") || seen[v.Name] || v.Help == "" {
			t.Errorf("%+v", v)
		}
		seen[v.Name] = true
	}
	if fields := reflect.TypeFor[config.Config]().NumField() - 4; len(seen) != fields {
		t.Errorf("%d variables for %d fields", len(seen), fields)
	}
}

// TestNoSecretInErrors: a configuration in which every value is wrong, and every value that may be secret is hunter2.
func TestNoSecretInErrors(t *testing.T) {
	for _, file := range []string{
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": "hunter2"`,
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": "hunter2"}]} hunter2`,
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": "hunter2\x"}]}`,
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": ["hunter2"]}]}`,
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": {"a": "hunter2"}}]}`,
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": "a", "upstream": "hunter2"}]}`,
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": "hunter2", "upstream": {"secret_access_key": "hunter2"}}]}`,
		`{"identities": [{"name": "a", "access_key_id": "a", "secret_access_key": "hunter2", "secret_access_key": "hunter2"}]}`,
		`{"identities": ["hunter2"]}`,
		`"hunter2"`,
		`hunter2`,
	} {
		path := filepath.Join(t.TempDir(), "identities.json")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, v := range config.Variables() {
			all = append(all, v.Name+"=hunter2")
		}
		all = append(all, "SSEPROXY_UNKNOWN=hunter2", "SSEPROXY_IDENTITIES="+path, "SSEPROXY_ENCRYPTION="+path, "SSEPROXY_POLICY="+path, "SSEPROXY_UPSTREAM=https://user:hunter2@h:port",
			"SSEPROXY_KEY_CACHE_TTL=x", "SSEPROXY_KEY_CACHE_GRACE=x", "SSEPROXY_KEY_ROTATE_AFTER=x", "SSEPROXY_DRAIN_TIMEOUT=x", "SSEPROXY_CLIENT_TIMEOUT=x", "SSEPROXY_LOG_LEVEL=x", "SSEPROXY_UPSTREAM_ACCESS_KEY_ID=")
		if _, err := config.Load(all); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
