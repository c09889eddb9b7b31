package config

import (
	"errors"
	"fmt"
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

// readIdentities reads the identities file, which holds secrets. Nothing in it may be unknown, missing, or given twice, and no other
// user of the machine may read it.
func readIdentities(path string) ([]Identity, error) {
	b, err := readFile(path, 0o027, 0o600, "read or change secrets")
	if err != nil {
		return nil, fmt.Errorf("identities file %s: %w", path, err)
	}
	identities, err := parseIdentities(b)
	if err != nil {
		return nil, fmt.Errorf("identities file %s: %w", path, err)
	}
	return identities, nil
}

func parseIdentities(b []byte) ([]Identity, error) {
	var file struct {
		Identities []Identity `json:"identities"`
	}
	if err := decode(b, &file); err != nil {
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
