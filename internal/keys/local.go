package keys

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// The material of a version is never a key itself; each use has a key derived under a label of its own.
	wrapLabel = "sseproxy/1 local wrap"

	versionSize  = 4
	localWrapped = versionSize + 12 + KeySize + 16

	// reloadEvery is how often a keyring file is looked at, at most.
	reloadEvery = time.Second
)

// LocalConfig configures NewLocal.
type LocalConfig struct {
	Path    string           // of the keyring file; see Keyring
	OnError func(error)      // told of each new reason why the file cannot be read again; may be nil
	Now     func() time.Time // nil is time.Now
}

// Local is the provider whose KEKs are in a keyring file:
//
//	wrapped = version(4, big-endian) ‖ nonce(12) ‖ ciphertext(32) ‖ tag(16)
//
// AES-256-GCM with a random nonce, under HKDF-SHA-256(material, no salt, "sseproxy/1 local wrap"). Additional data:
// that label, the key id behind its length, the number of pairs in the context, and each name and value behind its
// length, sorted by name; lengths and numbers have 4 bytes, big-endian. A version may wrap 2³² keys (NIST SP 800-38D,
// section 8.3), which only keys made for single objects could come near: rotate before.
//
// The file is read again when it changed, which is looked for at most once a second, on use; a Kubernetes Secret mount,
// which swaps a symbolic link, counts as a change. While the file is missing or cannot be read, the last good keyring
// goes on, Check included, and OnError is told: a bad update must not stop replicas that can still work.
type Local struct {
	cfg LocalConfig

	mu      sync.Mutex
	keks    map[string]localKey
	file    fs.FileInfo // what keks were read from
	looked  time.Time
	failure error // of the last look, told to OnError; nil when keks are what the file says
}

type localKey struct {
	primary  uint32
	versions map[uint32]localVersion
}

type localVersion struct {
	enabled bool
	wrap    cipher.AEAD
}

// NewLocal reads the keyring; it fails as ReadKeyring does.
func NewLocal(cfg LocalConfig) (*Local, error) {
	if cfg.OnError == nil {
		cfg.OnError = func(error) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Local{cfg: cfg, looked: cfg.Now()}
	return l, l.load()
}

// GenerateKey implements Provider.
func (l *Local) GenerateKey(ctx context.Context, keyID string, ec Context) (Key, error) {
	if err := ctx.Err(); err != nil {
		return Key{}, err
	}
	number, v, err := primary(l.current(), keyID)
	if err != nil {
		return Key{}, err
	}
	plaintext := make([]byte, KeySize)
	rand.Read(plaintext)
	wrapped := binary.BigEndian.AppendUint32(make([]byte, 0, localWrapped), number)
	wrapped = v.wrap.Seal(wrapped, nil, plaintext, Binding(wrapLabel, keyID, ec))
	return Key{plaintext, wrapped, formatVersion(number)}, nil
}

// UnwrapKey implements Provider.
func (l *Local) UnwrapKey(ctx context.Context, keyID string, wrapped []byte, ec Context) (Key, error) {
	if err := ctx.Err(); err != nil {
		return Key{}, err
	}
	keks := l.current()
	if _, ok := keks[keyID]; !ok {
		return Key{}, fmt.Errorf("key %q: %w", keyID, ErrNotFound)
	}
	if len(wrapped) != localWrapped {
		return Key{}, fmt.Errorf("key %q: %w: %d bytes, not %d", keyID, ErrIntegrity, len(wrapped), localWrapped)
	}
	number := binary.BigEndian.Uint32(wrapped)
	v, err := usable(keks[keyID], keyID, number)
	if err != nil {
		return Key{}, err
	}
	plaintext, err := v.wrap.Open(nil, nil, wrapped[versionSize:], Binding(wrapLabel, keyID, ec))
	if err != nil {
		return Key{}, fmt.Errorf("key %q version %d: %w", keyID, number, ErrIntegrity)
	}
	return Key{plaintext, append([]byte(nil), wrapped...), formatVersion(number)}, nil
}

// Check implements Provider.
func (l *Local) Check(ctx context.Context, keyID string) (version string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	number, _, err := primary(l.current(), keyID)
	if err != nil {
		return "", err
	}
	return formatVersion(number), nil
}

// current returns the last good KEKs.
func (l *Local) current() map[string]localKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	if since := now.Sub(l.looked); since >= 0 && since < reloadEvery {
		return l.keks
	}
	l.looked = now
	if info, err := os.Stat(l.cfg.Path); err == nil && l.failure == nil && same(info, l.file) {
		return l.keks
	}
	before := l.failure
	l.failure = l.load()
	if l.failure != nil && (before == nil || before.Error() != l.failure.Error()) {
		l.cfg.OnError(l.failure)
	}
	return l.keks
}

// load leaves l as it was when it fails.
func (l *Local) load() error {
	r, info, err := readKeyring(l.cfg.Path)
	if err != nil {
		return err
	}
	keks := make(map[string]localKey, len(r.keys))
	for _, k := range r.keys {
		versions := make(map[uint32]localVersion, len(k.Versions))
		for _, v := range k.Versions {
			versions[v.Version] = localVersion{v.State == enabled, newWrap(v.Material)}
		}
		keks[k.ID] = localKey{k.Primary, versions}
	}
	l.keks, l.file = keks, info
	return nil
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}

// primary returns the version that wraps new keys.
func primary(keks map[string]localKey, keyID string) (uint32, localVersion, error) {
	k, ok := keks[keyID]
	if !ok {
		return 0, localVersion{}, fmt.Errorf("key %q: %w", keyID, ErrNotFound)
	}
	v, err := usable(k, keyID, k.primary)
	return k.primary, v, err
}

func usable(k localKey, keyID string, number uint32) (localVersion, error) {
	v, ok := k.versions[number]
	switch {
	case !ok:
		return localVersion{}, fmt.Errorf("key %q version %d: %w", keyID, number, ErrNotFound)
	case !v.enabled:
		return localVersion{}, fmt.Errorf("key %q version %d: %w", keyID, number, ErrDisabled)
	}
	return v, nil
}

func formatVersion(number uint32) string { return strconv.FormatUint(uint64(number), 10) }

// newWrap returns AES-256-GCM that makes its own nonces, as FIPS 140-3 mode demands, under the material's wrapping key.
func newWrap(material []byte) cipher.AEAD {
	key, err := hkdf.Key(sha256.New, material, nil, wrapLabel, KeySize)
	if err == nil {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			var aead cipher.AEAD
			if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
				return aead
			}
		}
	}
	panic("keys: internal error: " + err.Error())
}
