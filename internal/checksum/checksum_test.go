package checksum_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// digits is the input of the CRC catalogue's check values.
const digits = "123456789"

// sanity is the beginning of the buffer of xxHash's own test vectors.
func sanity(n int) string {
	const prime32, prime64 = 2654435761, 11400714785074694797
	b := make([]byte, n)
	gen := uint64(prime32)
	for i := range b {
		b[i] = byte(gen >> 56)
		gen *= prime64
	}
	return string(b)
}

var knownAnswers = []struct {
	algorithm checksum.Algorithm
	in, sum   string
}{
	// Catalogue of parametrised CRC algorithms.
	{checksum.CRC32, digits, "cbf43926"},
	{checksum.CRC32C, digits, "e3069283"},
	{checksum.CRC64NVME, digits, "ae8b14860a799888"},
	{checksum.CRC32, "", "00000000"},
	// RFC 3720, B.4, which shows the bytes in reverse.
	{checksum.CRC32C, strings.Repeat("\x00", 32), "8a9136aa"},
	{checksum.CRC32C, strings.Repeat("\xff", 32), "62a8ab43"},
	// FIPS 180-4 examples.
	{checksum.SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
	{checksum.SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{
		checksum.SHA512, "abc", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" +
			"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	},
	// RFC 1321, A.5.
	{checksum.MD5, "", "d41d8cd98f00b204e9800998ecf8427e"},
	{checksum.MD5, "abc", "900150983cd24fb0d6963f7d28e17f72"},
	// xxHash's sanity checks, seed 0.
	{checksum.XXHASH64, "", "ef46db3751d8e999"},
	{checksum.XXHASH64, sanity(1), "e934a84adb052768"},
	{checksum.XXHASH64, sanity(14), "8282dcc4994e35c8"},
	{checksum.XXHASH64, sanity(222), "b641ae8cb691c174"},
	{checksum.XXHASH3, "", "2d06800538d394c2"},
	{checksum.XXHASH3, sanity(1), "c44bdff4074eecdb"},
	{checksum.XXHASH3, sanity(195), "cd94217ee362ec3a"},
	{checksum.XXHASH3, sanity(2367), "cb37aeb9e5d361ed"},
	{checksum.XXHASH128, "", "99aa06d3014798d86001c324468d497f"},
	{checksum.XXHASH128, sanity(1), "a6cd5e9392000f6ac44bdff4074eecdb"},
	{checksum.XXHASH128, sanity(222), "337e09641b948717f1aebd597cec6b3a"},
	{checksum.XXHASH128, sanity(2367), "e89c0f6ff369b427cb37aeb9e5d361ed"},
	// The byte order of AWS's own library (aws-checksums).
	{checksum.XXHASH64, "Hello world", "c500b0c912b376d8"},
	{checksum.XXHASH3, "Hello world", "b6acb9d84a38ff74"},
	{checksum.XXHASH128, "Hello world", "7351f89812f97382b91d05b31e04dd7f"},
}

func TestKnownAnswers(t *testing.T) {
	seen := make(map[checksum.Algorithm]bool)
	for _, tt := range knownAnswers {
		seen[tt.algorithm] = true
		whole, split := tt.algorithm.New(), tt.algorithm.New()
		whole.Write([]byte(tt.in))
		for i := range len(tt.in) {
			split.Write([]byte{tt.in[i]})
		}
		if got := hex.EncodeToString(whole.Sum(nil)); got != tt.sum {
			t.Errorf("%s of %d bytes: %s, want %s", tt.algorithm, len(tt.in), got, tt.sum)
		}
		if got := hex.EncodeToString(split.Sum(nil)); got != tt.sum {
			t.Errorf("%s of %d single bytes: %s, want %s", tt.algorithm, len(tt.in), got, tt.sum)
		}
		if n := whole.Size(); n != tt.algorithm.Size() {
			t.Errorf("%s: Size is %d, the hash has %d", tt.algorithm, tt.algorithm.Size(), n)
		}
	}
	if len(seen) != 10 {
		t.Errorf("known answers for %d algorithms, want 10", len(seen))
	}
}

// MD5 and SHA-1 must neither panic nor change where FIPS 140-3 is enforced.
func TestKnownAnswersFIPS(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestKnownAnswers$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with GODEBUG=fips140=only: %v\n%s", err, out)
	}
}

// The ids stand in stored objects, the names in S3's API.
func TestNames(t *testing.T) {
	names := []string{
		"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128",
	}
	for i, name := range names {
		want := checksum.Algorithm(i + 1)
		if want.String() != name {
			t.Errorf("algorithm %d is %s, want %s", i+1, want, name)
		}
		header := "x-amz-checksum-" + strings.ToLower(name)
		if want.Header() != header {
			t.Errorf("header of %s is %s, want %s", name, want.Header(), header)
		}
		for _, s := range []string{name, strings.ToLower(name)} {
			if got, ok := checksum.ByName(s); !ok || got != want {
				t.Errorf("ByName(%q) = %v, %v", s, got, ok)
			}
		}
		for _, s := range []string{header, "X-Amz-Checksum-" + name} {
			if got, ok := checksum.ByHeader(s); !ok || got != want {
				t.Errorf("ByHeader(%q) = %v, %v", s, got, ok)
			}
		}
	}
	for _, s := range []string{"", "CRC", "CRC32 ", "SHA-256", "ALGORITHM", "TYPE", "MODE", "Algorithm(0)"} {
		if got, ok := checksum.ByName(s); ok {
			t.Errorf("ByName(%q) = %v", s, got)
		}
		if got, ok := checksum.ByHeader("x-amz-checksum-" + s); ok {
			t.Errorf("ByHeader(%q) = %v", "x-amz-checksum-"+s, got)
		}
	}
	for _, s := range []string{"", "crc32", "x-amz-checksum", "x-amz-meta-checksum-crc32", "x-abc-checksum-crc32", "content-md5"} {
		if got, ok := checksum.ByHeader(s); ok {
			t.Errorf("ByHeader(%q) = %v", s, got)
		}
	}
	for _, a := range []checksum.Algorithm{0, 11, 255} {
		if a.Valid() || a.String() != fmt.Sprintf("Algorithm(%d)", a) {
			t.Errorf("%v is valid", a)
		}
	}
}

func TestParse(t *testing.T) {
	for _, s := range []string{
		"",
		"AAAA",             // three bytes
		"AAAAAA",           // no padding
		"AAAAAA=",          // half of it
		"AAAAAB==",         // bits behind the end
		"AAAAAAA=",         // five bytes
		"AAAAAA==AAAAAA==", // twice
		"AAAA\nAA==",       // a line break, which base64 decoders skip
		"AAA\r\nAA==",      // and one that keeps the length
		" AAAAAA==",
		"AAAAAA== ",
		"AAAA_w==", // the URL alphabet
	} {
		if v, err := checksum.Parse(checksum.CRC32, s); !errors.Is(err, checksum.ErrEncoding) {
			t.Errorf("Parse(%q) = %v, %v", s, v, err)
		}
	}
}

func TestParseRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := checksum.Algorithm(rapid.Uint8Range(1, 10).Draw(t, "algorithm"))
		sum := rapid.SliceOfN(rapid.Byte(), a.Size(), a.Size()).Draw(t, "sum")
		text := checksum.Value{Algorithm: a, Sum: sum}.String()
		if text != base64.StdEncoding.EncodeToString(sum) {
			t.Fatalf("String() = %q", text)
		}
		v, err := checksum.Parse(a, text)
		if err != nil || v.Algorithm != a || !bytes.Equal(v.Sum, sum) {
			t.Fatalf("Parse(%q) = %v, %v", text, v, err)
		}
	})
}

// What parses is what String shows: one text for one sum.
func FuzzParse(f *testing.F) {
	for _, tt := range knownAnswers {
		sum, err := hex.DecodeString(tt.sum)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(tt.algorithm), base64.StdEncoding.EncodeToString(sum))
	}
	f.Add(uint8(1), "AAAA\nAA==")
	f.Add(uint8(1), "AAAAAB==")
	f.Fuzz(func(t *testing.T, id uint8, text string) {
		a := checksum.Algorithm(id)
		if !a.Valid() {
			return
		}
		v, err := checksum.Parse(a, text)
		if err == nil && (v.String() != text || len(v.Sum) != a.Size()) {
			t.Errorf("%q parses and shows as %q", text, v)
		}
	})
}
