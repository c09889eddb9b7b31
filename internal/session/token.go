package session

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const tokenBytes = 32 // of randomness

// ReadToken returns the token in a file, which it makes if there is none. Who may read the file is for its folder to say: the app may run as
// another user.
func ReadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeToken(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	token := string(b)
	// SDKs send the file as it is, and refuse one with a line's end.
	if random, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(random) < tokenBytes || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("%s does not hold a token that the proxy has made: remove it, and a new one is made", path)
	}
	return token, nil
}

// makeToken makes the file as a whole or not at all; somebody else may be faster.
func makeToken(path string) error {
	random := make([]byte, tokenBytes)
	rand.Read(random)
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the link stays
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(random))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}
