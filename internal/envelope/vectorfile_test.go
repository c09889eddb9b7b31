package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// vector is the content of a file: docs/format.md, "Vectors".
type vector struct {
	header map[string]string
	body   []byte
}

var headers = []string{
	"comment", "expect", "bucket", "key-hex", "wrapping-key", "customer-key", "envelope", "frames-omitted", "zeros",
	"plaintext-length", "plaintext-sha256", "part-sizes", "unbound", "crc64nvme", "checksum", "part-checksums", "wrapped-checksum",
}

func (v vector) encode() []byte {
	body := v.body
	if at, n := longestZeros(body); n >= 1024 {
		v.header["zeros"] = fmt.Sprintf("%d+%d", at, n)
		body = slices.Delete(bytes.Clone(body), at, at+n)
	}
	var b bytes.Buffer
	for _, name := range headers {
		if value, ok := v.header[name]; ok {
			fmt.Fprintln(&b, strings.TrimSpace(name+": "+value))
		}
	}
	b.WriteByte('\n')
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(body)), 76) {
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.Bytes()
}

func longestZeros(b []byte) (at, n int) {
	run := 0
	for i, c := range b {
		run++
		if c != 0 {
			run = 0
		}
		if run > n {
			at, n = i+1-run, run
		}
	}
	return at, n
}

func decodeVector(t *testing.T, file []byte) vector {
	t.Helper()
	head, body, ok := strings.Cut(string(file), "\n\n")
	v := vector{header: make(map[string]string)}
	for line := range strings.Lines(head) {
		name, value, colon := strings.Cut(strings.TrimSpace(line), ":")
		if ok = ok && colon && slices.Contains(headers, name); ok {
			v.header[name] = strings.TrimSpace(value)
		}
	}
	var err error
	v.body, err = base64.StdEncoding.DecodeString(body)
	if !ok || err != nil {
		t.Fatalf("not a vector: %v", err)
	}
	if at, n, ok := strings.Cut(v.header["zeros"], "+"); ok {
		v.body = slices.Insert(v.body, int(number(t, at)), make([]byte, number(t, n))...)
	}
	return v
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// describe returns the headers that say what an object holds. trailer is nil of the empty single object.
func describe(trailer *Trailer, plain []byte, sum checksum.Value) map[string]string {
	digest := sha256.Sum256(plain)
	said := map[string]string{
		"plaintext-length": "0", "plaintext-sha256": hex.EncodeToString(digest[:]),
		"wrapped-checksum": strings.TrimSpace(name(sum.Algorithm) + " " + hex.EncodeToString(sum.Sum)),
	}
	if trailer != nil {
		describeTrailer(trailer, said)
	}
	maps.DeleteFunc(said, func(_, value string) bool { return value == "" })
	return said
}

func describeTrailer(trailer *Trailer, said map[string]string) {
	var sizes, unbound, sums []string
	slots := false
	for _, p := range trailer.Parts {
		sizes = append(sizes, fmt.Sprintf("%d:%d", p.Number, p.Size))
		if !p.Bound && !trailer.Single {
			unbound = append(unbound, strconv.Itoa(p.Number))
		}
		sum := "-"
		if p.Checksum != nil {
			sum, slots = hex.EncodeToString(p.Checksum), true
		}
		sums = append(sums, sum)
	}
	said["plaintext-length"] = strconv.FormatInt(trailer.Size(), 10)
	said["part-sizes"] = strings.Join(sizes, " ")
	said["unbound"] = strings.Join(unbound, " ")
	if slots {
		said["part-checksums"] = strings.Join(sums, " ")
	}
	if trailer.HasCRC {
		said["crc64nvme"] = fmt.Sprintf("%016x", trailer.CRC)
	}
	if trailer.Type != 0 {
		kind := map[ChecksumType]string{FullObject: "FULL_OBJECT", Composite: "COMPOSITE"}[trailer.Type]
		said["checksum"] = fmt.Sprintf("%v %s %x", trailer.Checksum.Algorithm, kind, trailer.Checksum.Sum)
	}
}

// name is S3's name of an algorithm, or nothing.
func name(a checksum.Algorithm) string {
	if a == 0 {
		return ""
	}
	return a.String()
}
