// Package config reads the configuration of sseproxy: the environment, and the files that it may name. It is
// the one place that does, and it reports every problem at once.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"go.uber.org/zap/zapcore"

	"github.com/sseproxy/sseproxy/internal/policy"
)

// Config is the configuration of "sseproxy serve". The tags are the documentation: --help and the README's table are
// made from them.
type Config struct {
	Listen      string `env:"SSEPROXY_LISTEN" envDefault:":8080" help:"address for clients"`
	AdminListen string `env:"SSEPROXY_ADMIN_LISTEN" envDefault:":8081" help:"address for probes (/livez, /readyz) and metrics (/metrics); \"off\" for none"`
	TLSCert     string `env:"SSEPROXY_TLS_CERT" help:"file with the certificate chain for clients, PEM; without it clients speak http"`
	TLSKey      string `env:"SSEPROXY_TLS_KEY" help:"file with the certificate's private key, PEM"`

	Upstream                *url.URL `env:"SSEPROXY_UPSTREAM" help:"the store's endpoint, such as https://s3.eu-central-1.amazonaws.com; required"`
	Region                  string   `env:"SSEPROXY_REGION" envDefault:"us-east-1" help:"region that clients sign for"`
	UpstreamRegion          string   `env:"SSEPROXY_UPSTREAM_REGION" help:"region that requests to the store are signed for, if it is another"`
	UpstreamAccessKeyID     string   `env:"SSEPROXY_UPSTREAM_ACCESS_KEY_ID" help:"credentials for the store; without them the AWS SDK's default chain is used"`
	UpstreamSecretAccessKey string   `env:"SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY" help:"their secret"`
	UpstreamCA              string   `env:"SSEPROXY_UPSTREAM_CA" help:"file with authorities to trust for the store's certificate besides the system's, PEM"`
	UpstreamMinPartSize     int64    `env:"SSEPROXY_UPSTREAM_MIN_PART_SIZE" envDefault:"5242880" help:"least size in bytes that the store takes of a part that is not the last"`

	AccessKeyID          string `env:"SSEPROXY_ACCESS_KEY_ID" help:"credentials of the one client"`
	SecretAccessKey      string `env:"SSEPROXY_SECRET_ACCESS_KEY" help:"their secret"`
	IdentitiesFile       string `env:"SSEPROXY_IDENTITIES" help:"file with several clients, instead: see docs/configuration.md"`
	CredentialsListen    string `env:"SSEPROXY_CREDENTIALS_LISTEN" help:"loopback address, such as 127.0.0.1:8082, where an app beside the proxy gets credentials for an hour by the AWS container-credentials protocol: see docs/sidecar.md"`
	CredentialsTokenFile string `env:"SSEPROXY_CREDENTIALS_TOKEN_FILE" help:"file with the token that the app shows for them; made if there is none; required with the address"`
	CredentialsIdentity  string `env:"SSEPROXY_CREDENTIALS_IDENTITY" envDefault:"app" help:"name of who signs with them, in logs and to the policy"`

	PolicyFile    string   `env:"SSEPROXY_POLICY" help:"file with Cedar policies that say which client may do what, and what those may who sign nothing: see docs/policy.md; without it each client may do everything"`
	TrustedFronts []string `env:"SSEPROXY_TRUSTED_FRONTS" help:"addresses (CIDR) of what ends TLS for clients, separated by commas; its X-Forwarded-Proto is believed, so that SSE-C works behind it"`
	Domains       []string `env:"SSEPROXY_DOMAIN" help:"hosts below which buckets are addressed as bucket.host, separated by commas"`

	KeyProvider    string        `env:"SSEPROXY_KEY_PROVIDER" envDefault:"local" help:"who keeps the keys: local (a keyring file), awskms (AWS KMS) or vault (Transit of HashiCorp Vault or OpenBao): see docs/keys.md"`
	Keyring        string        `env:"SSEPROXY_KEYRING" help:"keyring file of the key provider local; required for it"`
	Key            string        `env:"SSEPROXY_KEY" envDefault:"default" help:"key id for new objects; for awskms a key's ARN"`
	ReadKeys       []string      `env:"SSEPROXY_READ_KEYS" help:"further key ids that stored objects may use, separated by commas"`
	DSSEKey        string        `env:"SSEPROXY_DSSE_KEY" help:"key id for the second layer of objects with aws:kms:dsse, another than their own; without it there are none"`
	DSSEReadKeys   []string      `env:"SSEPROXY_DSSE_READ_KEYS" help:"further key ids that the second layer of stored objects may use, separated by commas"`
	KeyCacheTTL    time.Duration `env:"SSEPROXY_KEY_CACHE_TTL" envDefault:"5m" help:"time after which a disabled key opens and seals nothing more; at most 24h"`
	KeyCacheGrace  time.Duration `env:"SSEPROXY_KEY_CACHE_GRACE" envDefault:"24h" help:"time that keys at hand go on for while the key provider cannot be reached; at most 24h, 0 is none"`
	KeyRotateAfter time.Duration `env:"SSEPROXY_KEY_ROTATE_AFTER" envDefault:"0s" help:"age at which the proxy replaces the primary version of its own keys in the keyring file, such as 2160h; at least 24h, 0 is never: see docs/keys.md"`
	EncryptionFile string        `env:"SSEPROXY_ENCRYPTION" help:"file with rules for keys and kinds of encryption, by bucket and prefix: see docs/encryption.md"`
	PlaintextReads string        `env:"SSEPROXY_PLAINTEXT_READS" envDefault:"deny" help:"deny or allow reading objects that are not sealed; allow is for migration only"`

	AWSKMSEndpoint *url.URL `env:"SSEPROXY_AWSKMS_ENDPOINT" help:"endpoint of AWS KMS, if it is not that of the region in the key's ARN; the AWS SDK's default chain has the credentials"`

	VaultAddr       *url.URL `env:"SSEPROXY_VAULT_ADDR" help:"address of Vault or OpenBao, such as https://vault.example:8200; required for the key provider vault"`
	VaultMount      string   `env:"SSEPROXY_VAULT_MOUNT" envDefault:"transit" help:"where Transit is mounted"`
	VaultNamespace  string   `env:"SSEPROXY_VAULT_NAMESPACE" help:"namespace, if there is one"`
	VaultCA         string   `env:"SSEPROXY_VAULT_CA" help:"file with authorities to trust for Vault's certificate besides the system's, PEM"`
	VaultAuth       string   `env:"SSEPROXY_VAULT_AUTH" envDefault:"token" help:"how to log in: token, kubernetes or approle"`
	VaultAuthMount  string   `env:"SSEPROXY_VAULT_AUTH_MOUNT" help:"where the login method is mounted, if not at its name"`
	VaultRole       string   `env:"SSEPROXY_VAULT_ROLE" help:"role for kubernetes, or the role id for approle"`
	VaultSecretFile string   `env:"SSEPROXY_VAULT_SECRET_FILE" help:"file with the token, or the secret id for approle; for kubernetes the service account's token unless given"`

	Strict string `env:"SSEPROXY_STRICT" envDefault:"off" help:"on makes the first read of each object, HEAD too, verify its trailer, with one request more: see docs/threat-model.md"`

	Audit         string `env:"SSEPROXY_AUDIT" envDefault:"off" help:"where each use of a key is recorded: off, stdout, or a file; see docs/audit.md"`
	AuditRequired string `env:"SSEPROXY_AUDIT_REQUIRED" envDefault:"off" help:"on refuses the use of a key that cannot be recorded"`
	AuditFileSize int64  `env:"SSEPROXY_AUDIT_FILE_SIZE" envDefault:"104857600" help:"size in bytes at which the audit file is set aside, with the time in its name, and a new one begun"`

	Profiles string `env:"SSEPROXY_PROFILES" envDefault:"off" help:"on serves Go's profiles below /debug/pprof/ at the address for probes"`

	ClientTimeout time.Duration `env:"SSEPROXY_CLIENT_TIMEOUT" envDefault:"5m" help:"time for which a client may neither send nor take a byte that the proxy waits for, over HTTP/1.1"`
	MaxRequests   int64         `env:"SSEPROXY_MAX_REQUESTS" envDefault:"4096" help:"requests that may be under way; those beyond are answered 503 SlowDown, and SDKs try again"`

	DrainTimeout time.Duration `env:"SSEPROXY_DRAIN_TIMEOUT" envDefault:"25s" help:"time that requests under way have after SIGTERM"`
	LogLevel     zapcore.Level `env:"SSEPROXY_LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error; info has one line for each request"`

	// Identities are the clients, from the two variables or from the file.
	Identities []Identity `env:"-"`
	// Rules are those of the encryption file.
	Rules []Rule `env:"-"`
	// Policy is that of the policy file, nil without one.
	Policy *policy.Set `env:"-"`
	// Fronts are the TrustedFronts.
	Fronts []netip.Prefix `env:"-"`
}

// IsStrict reports whether every read begins with the trailer.
func (c Config) IsStrict() bool { return c.Strict == "on" }

// AllowPlaintext reports whether objects without an envelope may be read.
func (c Config) AllowPlaintext() bool { return c.PlaintextReads == "allow" }

// Load reads the configuration from an environment ("NAME=value" lines, as os.Environ has them) and the files that it
// names. The error lists every problem, and has no value that may be secret.
func Load(environ []string) (Config, error) {
	vars := env.ToMap(environ)
	var c Config
	unparsed, problems := c.parse(vars)
	problems = append(problems, unknown(vars)...)
	problems = append(problems, c.check(unparsed)...)
	if c.IdentitiesFile != "" {
		var err error
		if c.Identities, err = readIdentities(c.IdentitiesFile); err != nil {
			problems = append(problems, err)
		}
	} else if c.AccessKeyID != "" {
		c.Identities = []Identity{{Name: c.AccessKeyID, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey}}
	}
	if c.EncryptionFile != "" {
		var err error
		if c.Rules, err = readRules(c.EncryptionFile); err != nil {
			problems = append(problems, err)
		}
	}
	if c.PolicyFile != "" {
		var err error
		if c.Policy, err = readPolicy(c.PolicyFile); err != nil {
			problems = append(problems, err)
		}
	}
	problems = append(problems, c.checkKeyIDs()...)
	for _, text := range c.TrustedFronts {
		front, err := netip.ParsePrefix(text)
		if err != nil {
			problems = append(problems, errors.New("SSEPROXY_TRUSTED_FRONTS must be networks such as 10.0.0.0/8, separated by commas, with no spaces"))
			break
		}
		c.Fronts = append(c.Fronts, front)
	}
	return c, errors.Join(problems...)
}

// LoadProvider reads what concerns the key provider alone, for the key keyID.
func LoadProvider(environ []string, keyID string) (Config, error) {
	var c Config
	unparsed, problems := c.parse(env.ToMap(environ))
	c.Key, c.ReadKeys, c.DSSEKey, c.DSSEReadKeys = keyID, nil, "", nil
	c.checkProvider(func(bad bool, name, problem string) {
		if bad && !unparsed[name] {
			problems = append(problems, errors.New(name+" "+problem))
		}
	})
	return c, errors.Join(append(problems, c.checkKeyIDs()...)...)
}

// parse sets the fields from their variables. It tells which it could not, by name, and why.
func (c *Config) parse(vars map[string]string) (unparsed map[string]bool, problems []error) {
	err := env.ParseWithOptions(c, env.Options{
		Environment: vars,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[url.URL](): parseUpstream, reflect.TypeFor[int64](): parseNumber},
	})
	if err == nil {
		return nil, nil
	}
	var several env.AggregateError
	if !errors.As(err, &several) {
		return nil, []error{err}
	}
	unparsed = make(map[string]bool)
	for _, err := range several.Errors {
		var wrong env.ParseError
		if errors.As(err, &wrong) {
			field, _ := reflect.TypeFor[Config]().FieldByName(wrong.Name)
			name := field.Tag.Get("env")
			unparsed[name] = true
			err = fmt.Errorf("%s: %w", name, wrong.Err)
		}
		problems = append(problems, err)
	}
	return unparsed, problems
}

// parseUpstream takes a scheme and a host. What else stands in an URL may be secret, so the error does not repeat it.
func parseUpstream(value string) (any, error) {
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") ||
		u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("not of the form http://host[:port] or https://host[:port]")
	}
	return *u, nil
}

// parseNumber takes a whole number. Its error does not repeat what may have come here from another variable.
func parseNumber(value string) (any, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return nil, errors.New("not a whole number")
	}
	return n, nil
}

const maxMinPartSize = 5 << 30 // bytes: no part is larger

// check refuses what cannot work together. What is wrong with a variable that was not parsed is known already.
func (c Config) check(unparsed map[string]bool) []error {
	var problems []error
	refuse := func(bad bool, name, problem string) {
		if bad && !unparsed[name] {
			problems = append(problems, errors.New(name+" "+problem))
		}
	}
	refuse(c.Upstream == nil, "SSEPROXY_UPSTREAM", "is required: the store's endpoint, such as https://s3.eu-central-1.amazonaws.com")
	refuse((c.TLSCert == "") != (c.TLSKey == ""), "SSEPROXY_TLS_CERT", "and SSEPROXY_TLS_KEY go together")
	refuse((c.UpstreamAccessKeyID == "") != (c.UpstreamSecretAccessKey == ""),
		"SSEPROXY_UPSTREAM_ACCESS_KEY_ID", "and SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY go together")
	refuse((c.AccessKeyID == "") != (c.SecretAccessKey == ""), "SSEPROXY_ACCESS_KEY_ID", "and SSEPROXY_SECRET_ACCESS_KEY go together")
	refuse(c.AccessKeyID != "" && c.IdentitiesFile != "" || c.AccessKeyID == "" && c.IdentitiesFile == "" && c.CredentialsListen == "",
		"SSEPROXY_ACCESS_KEY_ID", "or SSEPROXY_IDENTITIES, one of them and not both, or SSEPROXY_CREDENTIALS_LISTEN must say who the clients are")
	refuse(c.CredentialsListen != "" && !loopback(c.CredentialsListen), "SSEPROXY_CREDENTIALS_LISTEN", "must be a loopback address and port, such as 127.0.0.1:8082")
	refuse((c.CredentialsListen == "") != (c.CredentialsTokenFile == ""), "SSEPROXY_CREDENTIALS_LISTEN", "and SSEPROXY_CREDENTIALS_TOKEN_FILE go together")
	refuse(c.CredentialsIdentity == "", "SSEPROXY_CREDENTIALS_IDENTITY", "must not be empty")
	refuse(!address(c.Listen), "SSEPROXY_LISTEN", "must be of the form :8080 or host:8080")
	refuse(c.AdminListen != "off" && !address(c.AdminListen), "SSEPROXY_ADMIN_LISTEN", "must be of the form :8081 or host:8081, or off")
	refuse(!all([]string{c.Region}, region), "SSEPROXY_REGION", "must be letters, digits and dashes")
	refuse(c.UpstreamRegion != "" && !all([]string{c.UpstreamRegion}, region), "SSEPROXY_UPSTREAM_REGION", "must be letters, digits and dashes")
	refuse(!all([]string{c.Key}, keyID), "SSEPROXY_KEY", "must be a key id, with no spaces")
	refuse(!all(c.Domains, hostName), "SSEPROXY_DOMAIN", "must be host names without port, separated by commas, with no spaces")
	c.checkProvider(refuse)
	refuse(!all(c.ReadKeys, keyID), "SSEPROXY_READ_KEYS", "must be key ids separated by commas, with no spaces")
	refuse(c.DSSEKey != "" && !keyID.MatchString(c.DSSEKey), "SSEPROXY_DSSE_KEY", "must be a key id, with no spaces")
	refuse(c.DSSEKey != "" && c.DSSEKey == c.Key, "SSEPROXY_DSSE_KEY", "must be another key than SSEPROXY_KEY: two layers under one key would be one")
	refuse(!all(c.DSSEReadKeys, keyID), "SSEPROXY_DSSE_READ_KEYS", "must be key ids separated by commas, with no spaces")
	refuse(c.DSSEKey == "" && len(c.DSSEReadKeys) > 0, "SSEPROXY_DSSE_READ_KEYS", "is for SSEPROXY_DSSE_KEY, which is not set")
	refuse(c.KeyCacheTTL <= 0 || c.KeyCacheTTL > 24*time.Hour, "SSEPROXY_KEY_CACHE_TTL", "must be more than 0 and at most 24h")
	refuse(c.KeyCacheGrace < 0 || c.KeyCacheGrace > 24*time.Hour, "SSEPROXY_KEY_CACHE_GRACE", "must be between 0 and 24h")
	refuse(c.PlaintextReads != "deny" && c.PlaintextReads != "allow", "SSEPROXY_PLAINTEXT_READS", "must be deny or allow")
	refuse(c.UpstreamMinPartSize < 1 || c.UpstreamMinPartSize > maxMinPartSize, "SSEPROXY_UPSTREAM_MIN_PART_SIZE", "must be between 1 and 5368709120")
	refuse(c.Strict != "off" && c.Strict != "on", "SSEPROXY_STRICT", "must be off or on")
	refuse(c.AuditRequired != "off" && c.AuditRequired != "on", "SSEPROXY_AUDIT_REQUIRED", "must be off or on")
	refuse(c.AuditRequired == "on" && c.Audit == "off", "SSEPROXY_AUDIT_REQUIRED", "is on, and SSEPROXY_AUDIT off")
	refuse(c.AuditFileSize < 1<<20, "SSEPROXY_AUDIT_FILE_SIZE", "must be at least 1048576")
	refuse(c.Profiles != "off" && c.Profiles != "on", "SSEPROXY_PROFILES", "must be off or on")
	refuse(c.ClientTimeout < time.Second, "SSEPROXY_CLIENT_TIMEOUT", "must be at least 1s")
	refuse(c.MaxRequests < 1, "SSEPROXY_MAX_REQUESTS", "must be at least 1")
	refuse(c.DrainTimeout < 0, "SSEPROXY_DRAIN_TIMEOUT", "must not be negative")
	refuse(c.LogLevel > zapcore.ErrorLevel, "SSEPROXY_LOG_LEVEL", "must be debug, info, warn or error")
	return problems
}

// The key providers.
const (
	Local  = "local"
	AWSKMS = "awskms"
	Vault  = "vault"
)

// checkProvider refuses what a key provider lacks, and what is for another one: who sets that believes it counts.
func (c Config) checkProvider(refuse func(bad bool, name, problem string)) {
	refuse(!slices.Contains([]string{Local, AWSKMS, Vault}, c.KeyProvider), "SSEPROXY_KEY_PROVIDER", "must be local, awskms or vault")
	refuse(c.KeyProvider == Local && c.Keyring == "", "SSEPROXY_KEYRING",
		"is required: make a file with \"sseproxy keys create --key default --keyring FILE\"")
	refuse(c.KeyProvider != Local && c.Keyring != "", "SSEPROXY_KEYRING", "is for SSEPROXY_KEY_PROVIDER=local")
	refuse(c.KeyRotateAfter != 0 && c.KeyRotateAfter < 24*time.Hour, "SSEPROXY_KEY_ROTATE_AFTER", "must be 0 or at least 24h")
	refuse(c.KeyProvider != Local && c.KeyRotateAfter != 0, "SSEPROXY_KEY_ROTATE_AFTER",
		"is for SSEPROXY_KEY_PROVIDER=local: AWS KMS and Vault rotate keys themselves")
	refuse(c.KeyProvider != AWSKMS && c.AWSKMSEndpoint != nil, "SSEPROXY_AWSKMS_ENDPOINT", "is for SSEPROXY_KEY_PROVIDER=awskms")
	if c.KeyProvider != Vault {
		refuse(c.VaultAddr != nil, "SSEPROXY_VAULT_ADDR", "is for SSEPROXY_KEY_PROVIDER=vault")
		return
	}
	refuse(c.VaultAddr == nil, "SSEPROXY_VAULT_ADDR", "is required: the address of Vault or OpenBao, such as https://vault.example:8200")
	refuse(!mount.MatchString(c.VaultMount), "SSEPROXY_VAULT_MOUNT", "must be a path such as transit, with no slash at its ends")
	refuse(c.VaultAuthMount != "" && !mount.MatchString(c.VaultAuthMount), "SSEPROXY_VAULT_AUTH_MOUNT",
		"must be a path such as kubernetes, with no slash at its ends")
	refuse(c.VaultAuth != "token" && c.VaultAuth != "kubernetes" && c.VaultAuth != "approle", "SSEPROXY_VAULT_AUTH", "must be token, kubernetes or approle")
	refuse(c.VaultAuth != "token" && c.VaultRole == "", "SSEPROXY_VAULT_ROLE", "is required: the role for kubernetes, or the role id for approle")
	refuse(c.VaultAuth != "kubernetes" && c.VaultSecretFile == "", "SSEPROXY_VAULT_SECRET_FILE", "is required: the file with the token, or the secret id for approle")
}

// keyIDs are the forms of key ids, by provider. An alias of AWS KMS is none: it can be moved to another key.
var keyIDs = map[string]struct {
	form *regexp.Regexp
	is   string
}{
	AWSKMS: {regexp.MustCompile(`^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$`), "a key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID"},
	Vault:  {regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`), "the name of a Transit key"},
}

// checkKeyIDs holds every key id that is configured to the form that its provider has.
func (c Config) checkKeyIDs() []error {
	ids, ok := keyIDs[c.KeyProvider]
	if !ok {
		return nil
	}
	var problems []error
	check := func(where string, names ...string) {
		if !all(names, ids.form) {
			problems = append(problems, fmt.Errorf("%s must be %s for the key provider %s", where, ids.is, c.KeyProvider))
		}
	}
	check("SSEPROXY_KEY", c.Key)
	check("each of SSEPROXY_READ_KEYS", c.ReadKeys...)
	if c.DSSEKey != "" {
		check("SSEPROXY_DSSE_KEY", c.DSSEKey)
	}
	check("each of SSEPROXY_DSSE_READ_KEYS", c.DSSEReadKeys...)
	for n, r := range c.Rules {
		if r.Bypass {
			continue // it has none
		}
		check(fmt.Sprintf("encryption file %s: rule %d: each key", c.EncryptionFile, n+1), append(slices.Clone(r.Keys), r.Key)...)
	}
	return problems
}

var (
	mount    = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)
	keyID    = regexp.MustCompile(`^[!-~]{1,255}$`) // as an envelope holds it
	region   = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
)

// address reports whether something can listen there.
func address(s string) bool {
	_, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil && n <= 65535
}

// loopback reports whether something can listen there whom other machines do not reach.
func loopback(s string) bool {
	a, err := netip.ParseAddrPort(s)
	return err == nil && a.Addr().IsLoopback()
}

func all(list []string, form *regexp.Regexp) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !form.MatchString(s) })
}

// serviceLink is a variable that Kubernetes puts into every pod for a Service whose name begins with sseproxy.
var serviceLink = regexp.MustCompile(`^SSEPROXY_([A-Z0-9_]+_)?(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|` +
	`PORT=(tcp|udp|sctp)://|PORT_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?=)`)

// unknown finds variables of ours that nothing reads: most likely a misspelled name, which must not pass in silence.
func unknown(vars map[string]string) []error {
	known := make(map[string]bool)
	for _, v := range Variables() {
		known[v.Name] = true
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		ours := strings.HasPrefix(name, "SSEPROXY_") && !strings.HasPrefix(name, "SSEPROXY_TEST_")
		if ours && !known[name] && !serviceLink.MatchString(name+"="+vars[name]) {
			problems = append(problems, fmt.Errorf("%s is not a variable of sseproxy", name))
		}
	}
	return problems
}

// Variable documents one environment variable.
type Variable struct{ Name, Default, Help string }

// Variables returns every variable, in the order of Config.
func Variables() []Variable {
	var all []Variable
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		if name := tag.Get("env"); name != "-" {
			all = append(all, Variable{name, tag.Get("envDefault"), tag.Get("help")})
		}
	}
	return all
}
