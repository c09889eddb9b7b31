package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Identity is a client, as the identities file has it:
//
//	{"identities": [{
//	  "name": "backup",
//	  "access_key_id": "AKEXAMPLE",
//	  "secret_access_key": "...",
//	  "upstream": {"access_key_id": "...", "secret_access_key": "..."}
//	}]}
//
// With upstream, which may be left out, its requests to the store are signed with credentials of its own.
type Identity struct {
	Name            string       `json:"name"`
	AccessKeyID     string       `json:"access_key_id"`
	SecretAccessKey string       `json:"secret_access_key"`
	Upstream        *Credentials `json:"upstream,omitempty"`
}

// Credentials are an access key and its secret.
type Credentials struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
}

const maxIdentities = 4 << 20 // bytes of the file

// readIdentities reads the identities file. Nothing in it may be unknown, missing, or given twice, and no other user of
// the machine may read it.
func readIdentities(path string) ([]Identity, error) {
	refuse := func(err error) ([]Identity, error) { return nil, fmt.Errorf("identities file %s: %w", path, err) }
	f, err := os.Open(path)
	if err != nil {
		return refuse(err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return refuse(err)
	}
	if info.Mode().Perm()&0o027 != 0 {
		return refuse(fmt.Errorf("mode %04o lets others read or change secrets: run \"chmod 600 %s\", "+
			"or set defaultMode 0440 on its Kubernetes volume", info.Mode().Perm(), path))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxIdentities+1)) //nolint:forbidigo // limited
	if err != nil {
		return refuse(err)
	}
	if len(b) > maxIdentities {
		return refuse(fmt.Errorf("it has more than %d bytes", maxIdentities))
	}
	identities, err := parseIdentities(b)
	if err != nil {
		return refuse(err)
	}
	return identities, nil
}

func parseIdentities(b []byte) ([]Identity, error) {
	var file struct {
		Identities []Identity `json:"identities"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands behind its end")
	}
	if err := repeated(json.NewDecoder(bytes.NewReader(b))); err != nil {
		return nil, err
	}
	if len(file.Identities) == 0 {
		return nil, errors.New("it has no identities")
	}
	seen := make(map[string]bool)
	for i, id := range file.Identities {
		switch {
		case id.Name == "" || id.AccessKeyID == "" || id.SecretAccessKey == "":
			return nil, fmt.Errorf("identity %d needs name, access_key_id and secret_access_key", i+1)
		case seen[id.AccessKeyID]:
			return nil, fmt.Errorf("access_key_id %q is there twice", id.AccessKeyID)
		case id.Upstream != nil && (id.Upstream.AccessKeyID == "" || id.Upstream.SecretAccessKey == ""):
			return nil, fmt.Errorf("upstream of identity %q needs access_key_id and secret_access_key", id.Name)
		}
		seen[id.AccessKeyID] = true
	}
	return file.Identities, nil
}

// repeated refuses an object with a member that stands twice, in whatever case: of those the decoder takes the last.
func repeated(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	begin, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := make(map[string]bool)
	for d.More() {
		if begin == '{' {
			t, err := d.Token()
			if err != nil {
				return err
			}
			name := strings.ToLower(fmt.Sprint(t))
			if seen[name] {
				return fmt.Errorf("member %q is there twice in one object", name)
			}
			seen[name] = true
		}
		if err := repeated(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
