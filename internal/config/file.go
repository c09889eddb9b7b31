package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const maxFile = 4 << 20 // bytes

// readFile reads a file that is part of the configuration. Others must not have the permissions in forbidden, which let them do what
// risk says; the mode good would do.
func readFile(path string, forbidden, good fs.FileMode, risk string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return nil, fmt.Errorf("mode %04o lets others %s: run \"chmod %o %s\", or set defaultMode 0440 on its Kubernetes volume", mode, risk, good, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1)) //nolint:forbidigo // limited
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return b, err
}

// decode reads JSON in which nothing may be unknown, given twice, or behind the end.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind its end")
	}
	return repeated(json.NewDecoder(bytes.NewReader(b)))
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
