package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"syscall"
	"time"
)

const (
	keyringFormat = "sseproxy keyring 1"
	maxKeyring    = 1 << 20 // bytes, as a Kubernetes Secret

	enabled  = "enabled"
	disabled = "disabled"

	// forbiddenMode: nobody but the owner writes, and nobody outside the group reads. The group may read because
	// Kubernetes gives a Secret volume to a non-root process by its group (fsGroup).
	forbiddenMode fs.FileMode = 0o027
)

var validKeyID = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

// Keyring is the content of a keyring file: named keys, each with numbered versions.
//
//	{
//	  "format": "sseproxy keyring 1",
//	  "keys": [
//	    {
//	      "id": "main",
//	      "primary": 2,
//	      "versions": [
//	        {"created": "2026-11-23T10:00:00Z", "material": "…", "state": "enabled", "version": 1},
//	        {"created": "2026-12-23T10:00:00Z", "material": "…", "state": "enabled", "version": 2}
//	      ]
//	    }
//	  ]
//	}
//
// An id has 1 to 64 characters of a-z, 0-9, dot, dash and underscore. Versions ascend from 1. The primary one wraps new
// keys; any enabled one unwraps. The material is 32 random bytes in base64 (RFC 4648, section 4), nowhere the same. Members stand in
// alphabetical order, once each, and there are no others; white space is free. A file has at most 1 MiB.
type Keyring struct {
	keys []ringKey
}

// The members of these structs are in alphabetical order, the file's canonical one.
type (
	ringFile struct {
		Format string    `json:"format"`
		Keys   []ringKey `json:"keys"`
	}
	ringKey struct {
		ID       string        `json:"id"`
		Primary  uint32        `json:"primary"`
		Versions []ringVersion `json:"versions"`
	}
	ringVersion struct {
		Created  time.Time `json:"created"`
		Material []byte    `json:"material"`
		State    string    `json:"state"`
		Version  uint32    `json:"version"`
	}
)

// KeyVersion describes one version of a key in a keyring, without its secret.
type KeyVersion struct {
	KeyID   string
	Version uint32
	Created time.Time
	Enabled bool
	Primary bool
}

// ReadKeyring reads the file at path. It refuses a file that others than its owner can write or others than its group can
// read, and one that is not exactly of the form above.
func ReadKeyring(path string) (*Keyring, error) {
	r, _, err := readKeyring(path)
	return r, err
}

// readKeyring also returns what the file was when it was read.
func readKeyring(path string) (*Keyring, fs.FileInfo, error) {
	// O_NONBLOCK: opening a FIFO must not wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening keyring: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("inspecting keyring: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("keyring %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&forbiddenMode != 0 {
		return nil, nil, fmt.Errorf("keyring %s has mode %04o, which lets others in: run \"chmod 600 %s\", "+
			"or set defaultMode 0440 on its Kubernetes volume", path, mode, path)
	}
	var data bytes.Buffer
	if _, err := data.ReadFrom(io.LimitReader(f, maxKeyring+1)); err != nil {
		return nil, nil, fmt.Errorf("reading keyring: %w", err)
	}
	r, err := parseKeyring(data.Bytes())
	if err != nil {
		return nil, nil, fmt.Errorf("keyring %s: %w", path, err)
	}
	return r, info, nil
}

func parseKeyring(data []byte) (*Keyring, error) {
	if len(data) > maxKeyring {
		return nil, fmt.Errorf("more than %d bytes", maxKeyring)
	}
	var file ringFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	if file.Format != keyringFormat {
		return nil, fmt.Errorf("format is %q, not %q", file.Format, keyringFormat)
	}
	// The decoder lets pass a member that comes twice or in other case, loose base64, and bytes behind the end. What was
	// understood must therefore be all that was written.
	again, err := json.Marshal(file)
	if err != nil {
		return nil, fmt.Errorf("encoding again: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil || !bytes.Equal(compact.Bytes(), again) {
		return nil, errors.New("not in canonical form: members in alphabetical order, each once, and nothing behind the end")
	}
	r := &Keyring{keys: file.Keys}
	return r, r.validate()
}

func (r *Keyring) validate() error {
	if len(r.keys) == 0 {
		return errors.New("no keys")
	}
	ids, materials := map[string]bool{}, map[string]bool{string(make([]byte, KeySize)): true}
	for _, k := range r.keys {
		if !validKeyID.MatchString(k.ID) {
			return fmt.Errorf("key id %q: want 1 to 64 of a-z, 0-9, dot, dash, underscore", k.ID)
		}
		if ids[k.ID] {
			return fmt.Errorf("key %q stands twice", k.ID)
		}
		ids[k.ID] = true
		if k.find(k.Primary) == nil {
			return fmt.Errorf("key %q has no version %d, its primary", k.ID, k.Primary)
		}
		var last uint32
		for _, v := range k.Versions {
			if err := v.validate(); err != nil {
				return fmt.Errorf("key %q version %d: %w", k.ID, v.Version, err)
			}
			if v.Version <= last {
				return fmt.Errorf("key %q: version %d stands behind %d", k.ID, v.Version, last)
			}
			last = v.Version
			if materials[string(v.Material)] {
				return fmt.Errorf("key %q version %d: material is all zero or stands twice", k.ID, v.Version)
			}
			materials[string(v.Material)] = true
		}
	}
	return nil
}

func (v *ringVersion) validate() error {
	switch {
	case len(v.Material) != KeySize:
		return fmt.Errorf("material has %d bytes, not %d", len(v.Material), KeySize)
	case v.State != enabled && v.State != disabled:
		return fmt.Errorf("state is %q, not %q or %q", v.State, enabled, disabled)
	case v.Created.IsZero():
		return errors.New("created is missing")
	}
	return nil
}

// Versions lists every version of every key, in the file's order.
func (r *Keyring) Versions() []KeyVersion {
	var list []KeyVersion
	for _, k := range r.keys {
		for _, v := range k.Versions {
			list = append(list, KeyVersion{k.ID, v.Version, v.Created, v.State == enabled, v.Version == k.Primary})
		}
	}
	return list
}

// Create adds a key with a first version.
func (r *Keyring) Create(id string, now time.Time) error {
	if !validKeyID.MatchString(id) {
		return fmt.Errorf("key id %q: want 1 to 64 of a-z, 0-9, dot, dash, underscore", id)
	}
	if _, err := r.find(id); err == nil {
		return fmt.Errorf("key %q exists already; rotate it for a new version", id)
	}
	r.keys = append(r.keys, ringKey{ID: id, Primary: 1, Versions: []ringVersion{newVersion(1, now)}})
	return nil
}

// Add gives a key a new version, enabled but not primary, and returns its number.
func (r *Keyring) Add(id string, now time.Time) (version uint32, err error) {
	k, err := r.find(id)
	if err != nil {
		return 0, err
	}
	last := k.Versions[len(k.Versions)-1].Version
	if last+1 == 0 {
		return 0, fmt.Errorf("key %q has no version numbers left", id)
	}
	k.Versions = append(k.Versions, newVersion(last+1, now))
	return last + 1, nil
}

// SetPrimary makes an enabled version the one that wraps new keys.
func (r *Keyring) SetPrimary(id string, version uint32) error {
	k, v, err := r.findVersion(id, version)
	if err != nil {
		return err
	}
	if v.State != enabled {
		return fmt.Errorf("key %q version %d: %w; enable it first", id, version, ErrDisabled)
	}
	k.Primary = version
	return nil
}

// Enable lets a version be used again.
func (r *Keyring) Enable(id string, version uint32) error { return r.setState(id, version, enabled) }

// Disable forbids any use of a version until it is enabled again. Of a disabled primary no other takes the place.
func (r *Keyring) Disable(id string, version uint32) error { return r.setState(id, version, disabled) }

func (r *Keyring) setState(id string, version uint32, state string) error {
	_, v, err := r.findVersion(id, version)
	if err != nil {
		return err
	}
	v.State = state
	return nil
}

func (r *Keyring) find(id string) (*ringKey, error) {
	i := slices.IndexFunc(r.keys, func(k ringKey) bool { return k.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("key %q: %w", id, ErrNotFound)
	}
	return &r.keys[i], nil
}

func (r *Keyring) findVersion(id string, version uint32) (*ringKey, *ringVersion, error) {
	k, err := r.find(id)
	if err != nil {
		return nil, nil, err
	}
	v := k.find(version)
	if v == nil {
		return nil, nil, fmt.Errorf("key %q version %d: %w", id, version, ErrNotFound)
	}
	return k, v, nil
}

// find returns nil when there is no such version.
func (k *ringKey) find(version uint32) *ringVersion {
	i := slices.IndexFunc(k.Versions, func(v ringVersion) bool { return v.Version == version })
	if i < 0 {
		return nil
	}
	return &k.Versions[i]
}

func newVersion(number uint32, now time.Time) ringVersion {
	material := make([]byte, KeySize)
	rand.Read(material)
	return ringVersion{now.UTC().Truncate(time.Second), material, enabled, number}
}
