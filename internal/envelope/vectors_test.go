package envelope

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"flag"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

const (
	vectorDir = "testdata/vectors"
	// maxVectors keeps the folder, in bytes, small enough to live in the repository.
	maxVectors = 3 << 19
)

// recipe makes one vector. Its name starts with what the vector expects: "open", or the layer that must refuse.
type recipe struct {
	name, comment string
	make          func(*forge)
}

// TestVectors checks that every recipe still gives its file, bit by bit, and that the file does what it says. The files
// are written anew with -update; a recipe's randomness depends on its name only.
func TestVectors(t *testing.T) {
	recipes := slices.Concat(openVectors(), envelopeVectors(), unwrapVectors(), trailerVectors(), recordVectors(), frameVectors(), sizeVectors(), dsseVectors())
	var names []string
	for _, r := range recipes {
		file := r.name + ".txt"
		names = append(names, file)
		t.Run(r.name, func(t *testing.T) {
			path := filepath.Join(vectorDir, file)
			if *update {
				write(t, path, r)
			}
			stored, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// The module of that version takes no randomness from a test.
			if fips140.Version() != "v1.0.0" && !bytes.Equal(stored, r.encode(t)) {
				t.Error("the recipe gives another file; see -update")
			}
			decodeVector(t, stored).check(t)
		})
	}
	slices.Sort(names)
	if *update {
		prune(t, names)
	}
	stored, total := listVectors(t)
	if diff := cmp.Diff(names, stored); diff != "" {
		t.Errorf("recipes and files differ:\n%s", diff)
	}
	if total > maxVectors {
		t.Errorf("%d bytes of vectors, more than %d", total, maxVectors)
	}
}

func write(t *testing.T, path string, r recipe) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(vectorDir, 0o755), os.WriteFile(path, r.encode(t), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// prune removes the files of recipes that are no more.
func prune(t *testing.T, names []string) {
	t.Helper()
	stored, _ := listVectors(t)
	for _, name := range stored {
		if !slices.Contains(names, name) {
			if err := os.Remove(filepath.Join(vectorDir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func listVectors(t *testing.T) (names []string, total int64) {
	t.Helper()
	entries, err := os.ReadDir(vectorDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, entry.Name())
		total += info.Size()
	}
	return names, total
}

// encode runs the recipe and returns its file.
func (r recipe) encode(t *testing.T) []byte {
	t.Helper()
	seed := fnv.New64a()
	seed.Write([]byte(r.name))
	cryptotest.SetGlobalRandom(t, seed.Sum64())
	f := newForge(t)
	r.make(f)
	v := f.vector()
	v.header["comment"] = r.comment
	v.header["expect"], _, _ = strings.Cut(r.name, "-")
	if v.header["expect"] == "open" {
		maps.Copy(v.header, describe(f.contents, f.plain, f.sum))
		if f.omitted > 0 {
			delete(v.header, "plaintext-sha256")
		}
	}
	return v.encode()
}

// check opens the vector and compares the outcome with what it expects.
func (v vector) check(t *testing.T) {
	t.Helper()
	got, err := v.open(t)
	var layers []string
	for layer, sentinels := range map[string][]error{
		"envelope": {ErrEnvelope}, "unwrap": {ErrUnwrap, ErrCustomerKey}, "trailer": {ErrTrailer}, "frames": {ErrFrame}, "size": {ErrSize},
	} {
		if slices.ContainsFunc(sentinels, func(sentinel error) bool { return errors.Is(err, sentinel) }) {
			layers = append(layers, layer)
		}
	}
	if err == nil {
		layers = []string{"open"}
	}
	if !slices.Equal(layers, []string{v.header["expect"]}) {
		t.Fatalf("got %v (%v), expected %s", layers, err, v.header["expect"])
	}
	if err != nil {
		return
	}
	said := maps.Clone(v.header)
	maps.DeleteFunc(said, func(name, _ string) bool {
		return slices.Index(headers, name) < slices.Index(headers, "plaintext-length")
	})
	if diff := cmp.Diff(said, got); diff != "" {
		t.Error(diff)
	}
}

// open does what the reader of a whole object does, and describes what it has opened.
func (v vector) open(t *testing.T) (map[string]string, error) {
	t.Helper()
	e, err := Parse(v.header["envelope"])
	if err != nil {
		return nil, err
	}
	wrappingKey := unhex(t, v.header["wrapping-key"])
	if e.Mode == ModeCustomer {
		if wrappingKey, err = CustomerKey(unhex(t, v.header["customer-key"]), e.WrappedKey); err != nil {
			return nil, err
		}
	}
	dek, sum, err := e.Unwrap(wrappingKey, v.header["bucket"], string(unhex(t, v.header["key-hex"])))
	if err != nil {
		return nil, err
	}
	omitted := int64(0)
	if n, ok := v.header["frames-omitted"]; ok {
		omitted = number(t, n)
	}
	var plain []byte
	var trailer *Trailer
	if e.Multipart {
		plain, trailer, err = v.openMultipart(dek, omitted)
	} else {
		plain, trailer, err = v.openSingle(dek, e.Length, omitted)
	}
	if err != nil {
		return nil, err
	}
	said := describe(trailer, plain, sum)
	if omitted > 0 {
		delete(said, "plaintext-sha256")
	}
	return said, nil
}

func (v vector) openSingle(dek *DEK, length, omitted int64) ([]byte, *Trailer, error) {
	if omitted+int64(len(v.body)) != SealedSize(length) {
		return nil, nil, ErrSize
	}
	if omitted > 0 {
		trailer, err := dek.OpenTrailer(v.body)
		if err == nil && (!trailer.Single || trailer.Size() != length) {
			err = ErrTrailer
		}
		return nil, trailer, err
	}
	r := dek.Single(length).NewWholeReader(bytes.NewReader(v.body))
	plain, err := io.ReadAll(r)
	return plain, r.Trailer(), err
}

func (v vector) openMultipart(dek *DEK, omitted int64) ([]byte, *Trailer, error) {
	sealed := omitted + int64(len(v.body))
	p, regular := PlaintextSize(sealed)
	if sealed == 0 || (!regular && !IsIrregularSize(sealed)) {
		return nil, nil, ErrSize
	}
	length := TrailerSize(p)
	if !regular {
		var err error
		if _, length, err = ParseTail(v.body[len(v.body)-TailSize:]); err != nil {
			return nil, nil, err
		}
	}
	if length > int64(len(v.body)) {
		return nil, nil, ErrTrailer
	}
	at := int64(len(v.body)) - length
	trailer, o, err := dek.OpenMultipart(v.body[at:], sealed)
	if err != nil || omitted > 0 {
		return nil, trailer, err
	}
	plain, err := io.ReadAll(o.NewReader(bytes.NewReader(v.body[:at]), 0, o.Size(), Attempt{}))
	return plain, trailer, err
}
