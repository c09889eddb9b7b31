package envelope_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

const bucket, key = "backups", "base/2026/data.tar"

var wrappingKey = bytes.Repeat([]byte{0x42}, 32)

// sample returns one envelope of each mode and form.
func sample() map[string]*envelope.Envelope {
	return map[string]*envelope.Envelope{
		"S3":           {Mode: envelope.ModeS3, Length: 12345, KeyID: "default", WrappedKey: bytes.Repeat([]byte{1}, 64)},
		"S3 multipart": {Mode: envelope.ModeS3, Multipart: true, KeyID: "default", WrappedKey: bytes.Repeat([]byte{1}, 64)},
		"KMS": {
			Mode: envelope.ModeKMS, OwnKey: true, Length: 0, KeyID: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
			Context: map[string]string{"app": "grüße", "": "x", "z": ""}, WrappedKey: bytes.Repeat([]byte{2}, 184),
		},
		"C": {Mode: envelope.ModeCustomer, Length: 5 << 30, WrappedKey: bytes.Repeat([]byte{3}, 48)},
		"DSSE": {
			Mode: envelope.ModeDSSE, OwnKey: true, Length: 7, KeyID: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
			WrappedKey: bytes.Repeat([]byte{4}, 184), SecondKeyID: "arn:aws:kms:us-east-1:111122223333:key/5678abcd-12ab-34cd-56ef-1234567890ab",
			SecondWrappedKey: bytes.Repeat([]byte{5}, 184),
		},
	}
}

// keyFor returns the wrapping key that goes with an envelope of sample, and a data key for it.
func keyFor(e *envelope.Envelope) ([]byte, *envelope.DEK) {
	if e.Mode == envelope.ModeDSSE {
		return append(bytes.Clone(wrappingKey), bytes.Repeat([]byte{0x24}, 32)...), envelope.NewDSSEKey()
	}
	return wrappingKey, envelope.NewDEK()
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for name, e := range sample() {
		for _, sum := range []checksum.Value{{}, {Algorithm: checksum.CRC32, Sum: []byte{1, 2, 3, 4}}, {Algorithm: checksum.SHA512, Sum: make([]byte, 64)}} {
			wrappingKey, dek := keyFor(e)
			if err := e.Wrap(wrappingKey, dek, sum, bucket, key); err != nil {
				t.Fatal(err)
			}
			parsed := must(envelope.Parse(e.String()))(t)
			if diff := cmp.Diff(e, parsed, cmpopts.IgnoreUnexported(envelope.Envelope{})); diff != "" || parsed.String() != e.String() {
				t.Fatalf("%s: %s", name, diff)
			}
			got, gotSum, err := parsed.Unwrap(wrappingKey, bucket, key)
			if err != nil || !cmp.Equal(got, dek, cmp.AllowUnexported(envelope.DEK{})) || !cmp.Equal(gotSum, sum) {
				t.Fatalf("%s: %v, checksum %v", name, err, gotSum)
			}
		}
	}
}

// TestEnvelopeFitsTheBudget: 700 characters with an AWS KMS key, as the design promises; 1000 with two.
func TestEnvelopeFitsTheBudget(t *testing.T) {
	for name, most := range map[string]int{"KMS": 700, "DSSE": 1000} {
		e := sample()[name]
		e.Context = nil
		wrappingKey, dek := keyFor(e)
		if err := e.Wrap(wrappingKey, dek, checksum.Value{Algorithm: checksum.SHA256, Sum: make([]byte, 32)}, bucket, key); err != nil {
			t.Fatal(err)
		}
		if n := len(e.String()); n > most {
			t.Errorf("%s: %d characters", name, n)
		}
	}
}

// TestBinding: an envelope opens for its own bucket, key and wrapping key, and for nothing else; the split between
// bucket and key counts.
func TestBinding(t *testing.T) {
	for name, e := range sample() {
		wrappingKey, dek := keyFor(e)
		if err := e.Wrap(wrappingKey, dek, checksum.Value{}, bucket, key); err != nil {
			t.Fatal(err)
		}
		for what, try := range map[string]struct {
			wrappingKey []byte
			bucket, key string
		}{
			"another key":           {wrappingKey, bucket, key + "x"},
			"another bucket":        {wrappingKey, bucket + "x", key},
			"split elsewhere":       {wrappingKey, bucket + key[:4], key[4:]},
			"no key":                {wrappingKey, bucket, ""},
			"another wrapping key":  {append(bytes.Repeat([]byte{0x43}, 32), wrappingKey[32:]...), bucket, key},
			"a short wrapping key":  {wrappingKey[:16], bucket, key},
			"a name that overflows": {wrappingKey, bucket, key + strings.Repeat("x", 1<<16)},
		} {
			if _, _, err := e.Unwrap(try.wrappingKey, try.bucket, try.key); !errors.Is(err, envelope.ErrUnwrap) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// TestEveryBitOfAnEnvelopeCounts: whatever still parses after a flip does not unwrap.
func TestEveryBitOfAnEnvelopeCounts(t *testing.T) {
	for name, e := range sample() {
		wrappingKey, dek := keyFor(e)
		if err := e.Wrap(wrappingKey, dek, checksum.Value{Algorithm: checksum.CRC32, Sum: []byte{1, 2, 3, 4}}, bucket, key); err != nil {
			t.Fatal(err)
		}
		raw := must(base64.RawURLEncoding.DecodeString(e.String()))(t)
		for bit := range 8 * len(raw) {
			altered := bytes.Clone(raw)
			altered[bit/8] ^= 1 << (bit % 8)
			parsed, err := envelope.Parse(base64.RawURLEncoding.EncodeToString(altered))
			if err != nil {
				if !errors.Is(err, envelope.ErrEnvelope) {
					t.Fatalf("%s: bit %d: untyped error %v", name, bit, err)
				}
				continue
			}
			if _, _, err := parsed.Unwrap(wrappingKey, bucket, key); !errors.Is(err, envelope.ErrUnwrap) {
				t.Fatalf("%s: bit %d flipped: %v", name, bit, err)
			}
		}
		for n := range len(raw) {
			if parsed, err := envelope.Parse(base64.RawURLEncoding.EncodeToString(raw[:n])); err == nil {
				if _, _, err := parsed.Unwrap(wrappingKey, bucket, key); err == nil {
					t.Fatalf("%s: cut to %d of %d bytes, it opened", name, n, len(raw))
				}
			}
		}
	}
}

func TestWrapRefuses(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for name, mangle := range map[string]func(*envelope.Envelope){
		"no mode":                  func(e *envelope.Envelope) { e.Mode = 0 },
		"unknown mode":             func(e *envelope.Envelope) { e.Mode = 9 },
		"no key id":                func(e *envelope.Envelope) { e.KeyID = "" },
		"key id with a space":      func(e *envelope.Envelope) { e.KeyID = "a b" },
		"long key id":              func(e *envelope.Envelope) { e.KeyID = long[:256] },
		"negative length":          func(e *envelope.Envelope) { e.Length = -1 },
		"multipart with a length":  func(e *envelope.Envelope) { e.Multipart = true },
		"no wrapped key":           func(e *envelope.Envelope) { e.WrappedKey = nil },
		"long wrapped key":         func(e *envelope.Envelope) { e.WrappedKey = make([]byte, 513) },
		"1025 bytes":               func(e *envelope.Envelope) { e.Context = map[string]string{"a": long[:840]} },
		"long context":             func(e *envelope.Envelope) { e.Context = map[string]string{"a": long} },
		"name not UTF-8":           func(e *envelope.Envelope) { e.Context = map[string]string{"\xff": "a"} },
		"value not UTF-8":          func(e *envelope.Envelope) { e.Context = map[string]string{"a": "\xff"} },
		"customer key with key id": func(e *envelope.Envelope) { e.Mode = envelope.ModeCustomer; e.WrappedKey = make([]byte, 48) },
		"customer key without salt": func(e *envelope.Envelope) {
			e.Mode = envelope.ModeCustomer
			e.KeyID = ""
			e.WrappedKey = make([]byte, 47)
		},
		"second key id":      func(e *envelope.Envelope) { e.SecondKeyID = "second" },
		"second wrapped key": func(e *envelope.Envelope) { e.SecondWrappedKey = make([]byte, 64) },
	} {
		e := sample()["S3"]
		mangle(e)
		if err := e.Wrap(wrappingKey, envelope.NewDEK(), checksum.Value{}, bucket, key); err == nil {
			t.Errorf("%s: wrapped", name)
		}
	}
}

// TestWrapRefusesOneLayerForTwo: what would be called two layers and is one.
func TestWrapRefusesOneLayerForTwo(t *testing.T) {
	both, dek := keyFor(sample()["DSSE"])
	for name, try := range map[string]struct {
		mangle      func(*envelope.Envelope)
		wrappingKey []byte
		dek         *envelope.DEK
	}{
		"one data key":                   {nil, both, envelope.NewDEK()},
		"one wrapping key":               {nil, both[:32], dek},
		"the same wrapping key twice":    {nil, append(both[:32:32], both[:32]...), dek},
		"the same key id twice":          {func(e *envelope.Envelope) { e.SecondKeyID = e.KeyID }, both, dek},
		"no second key id":               {func(e *envelope.Envelope) { e.SecondKeyID = "" }, both, dek},
		"no second wrapped key":          {func(e *envelope.Envelope) { e.SecondWrappedKey = nil }, both, dek},
		"a bucket's wrapping key":        {func(e *envelope.Envelope) { e.OwnKey = false }, both, dek},
		"two data keys in a mode of one": {func(e *envelope.Envelope) { *e = *sample()["S3"] }, both[:32], dek},
	} {
		e := sample()["DSSE"]
		if try.mangle != nil {
			try.mangle(e)
		}
		if err := e.Wrap(try.wrappingKey, try.dek, checksum.Value{}, bucket, key); err == nil {
			t.Errorf("%s: wrapped", name)
		}
	}
}

// TestWrapRefusesInputs: each alone, and what it would otherwise mean.
func TestWrapRefusesInputs(t *testing.T) {
	crc := checksum.Value{Algorithm: checksum.CRC32, Sum: make([]byte, 4)}
	long := strings.Repeat("x", 1<<16)
	for name, in := range map[string]struct {
		wrappingKey []byte
		sum         checksum.Value
		bucket, key string
	}{
		"AES-128":                    {wrappingKey[:16], crc, bucket, key},
		"a bucket like none":         {wrappingKey, crc, long, key},
		"a key like none":            {wrappingKey, crc, bucket, long},
		"a checksum of no bytes":     {wrappingKey, checksum.Value{Algorithm: checksum.CRC32}, bucket, key},
		"a checksum that is short":   {wrappingKey, checksum.Value{Algorithm: checksum.CRC32, Sum: crc.Sum[:3]}, bucket, key},
		"a checksum of no algorithm": {wrappingKey, checksum.Value{Sum: crc.Sum}, bucket, key},
		"an unknown algorithm":       {wrappingKey, checksum.Value{Algorithm: 11, Sum: crc.Sum}, bucket, key},
	} {
		if err := sample()["S3"].Wrap(in.wrappingKey, envelope.NewDEK(), in.sum, in.bucket, in.key); err == nil {
			t.Errorf("%s: wrapped", name)
		}
	}
}

// TestLineBreaks: decoders of base64 skip them, also strict ones.
func TestLineBreaks(t *testing.T) {
	e := sample()["S3"]
	if err := e.Wrap(wrappingKey, envelope.NewDEK(), checksum.Value{}, bucket, key); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"\n" + e.String(), e.String()[:100] + "\r\n" + e.String()[100:], e.String() + "\n"} {
		if _, err := envelope.Parse(s); !errors.Is(err, envelope.ErrEnvelope) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestCustomerKey(t *testing.T) {
	customer := bytes.Repeat([]byte{9}, 32)
	wrapping, wrapped, err := envelope.NewCustomerKey(customer)
	if err != nil {
		t.Fatal(err)
	}
	if got := must(envelope.CustomerKey(customer, wrapped))(t); !bytes.Equal(got, wrapping) {
		t.Error("derived another wrapping key")
	}
	_, second, _ := envelope.NewCustomerKey(customer)
	if bytes.Equal(wrapped, second) {
		t.Error("two objects have one salt")
	}
	for i := range wrapped {
		altered := bytes.Clone(wrapped)
		altered[i] ^= 1
		if _, err := envelope.CustomerKey(customer, altered); !errors.Is(err, envelope.ErrCustomerKey) {
			t.Fatalf("byte %d altered: %v", i, err)
		}
	}
	if _, err := envelope.CustomerKey(bytes.Repeat([]byte{8}, 32), wrapped); !errors.Is(err, envelope.ErrCustomerKey) {
		t.Errorf("another customer's key: %v", err)
	}
	if _, _, err := envelope.NewCustomerKey(customer[:16]); err == nil {
		t.Error("a 128-bit customer key was taken")
	}
	for _, n := range []int{0, 32, 47, 49} {
		if _, err := envelope.CustomerKey(customer, append(wrapped, 0)[:n]); !errors.Is(err, envelope.ErrEnvelope) {
			t.Errorf("a salt and check of %d bytes: %v", n, err)
		}
	}
}

// TestTrailerRoundTrip: every trailer that can be written reads back the same.
func TestTrailerRoundTrip(t *testing.T) {
	algorithms := []checksum.Algorithm{0, checksum.CRC32, checksum.SHA256, checksum.SHA512, checksum.XXHASH128}
	rapid.Check(t, func(t *rapid.T) {
		dek := envelope.NewDEK()
		want := &envelope.Trailer{HasCRC: rapid.Bool().Draw(t, "has CRC"), Token: [32]byte{1}, UploadIDHash: [32]byte{2}}
		if want.HasCRC {
			want.CRC = rapid.Uint64().Draw(t, "CRC")
		}
		a := rapid.SampledFrom(algorithms).Draw(t, "algorithm")
		if a != 0 {
			want.Type = envelope.ChecksumType(rapid.IntRange(1, 2).Draw(t, "type"))
			want.Checksum = checksum.Value{Algorithm: a, Sum: bytes.Repeat([]byte{7}, a.Size())}
		}
		number, uniform := 0, rapid.Bool().Draw(t, "uniform")
		for range rapid.IntRange(1, 40).Draw(t, "parts") {
			number += rapid.IntRange(1, 2).Draw(t, "step")
			p := envelope.Part{Number: number, Size: row}
			if !uniform {
				p.Size = rapid.Int64Range(0, 3*row).Draw(t, "size")
			}
			if rapid.Bool().Draw(t, "bound") {
				p.Bound, p.Attempt = true, envelope.Attempt{byte(number), 1}
			}
			if a != 0 && rapid.Bool().Draw(t, "slot") {
				p.Checksum = bytes.Repeat([]byte{byte(number)}, a.Size())
			}
			want.Parts = append(want.Parts, p)
		}
		if want.Size() == 0 {
			want.Parts[0].Size = 1
		}
		sealed, err := dek.SealTrailer(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dek.OpenTrailer(sealed)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		total := int64(len(sealed))
		for _, p := range got.Parts {
			total += envelope.SealedPartSize(p.Size)
		}
		if p, ok := envelope.PlaintextSize(total); ok != !envelope.IsIrregularSize(total) || (ok && p != got.Size()) {
			t.Fatalf("an object of %d bytes has an impossible length, %d", got.Size(), total)
		}
	})
}

func TestSealTrailerRefuses(t *testing.T) {
	good := func() *envelope.Trailer {
		return &envelope.Trailer{Parts: []envelope.Part{{Number: 1, Size: 5}, {Number: 3, Size: 5}}}
	}
	for name, mangle := range map[string]func(*envelope.Trailer){
		"no parts":                  func(t *envelope.Trailer) { t.Parts = nil },
		"descending numbers":        func(t *envelope.Trailer) { t.Parts[0].Number = 3 },
		"number 0":                  func(t *envelope.Trailer) { t.Parts[0].Number = 0 },
		"number 10001":              func(t *envelope.Trailer) { t.Parts[1].Number = 10001 },
		"negative size":             func(t *envelope.Trailer) { t.Parts[1].Size = -1 },
		"attempt of an unbound row": func(t *envelope.Trailer) { t.Parts[1].Attempt[3] = 1 },
		"CRC not valid but set":     func(t *envelope.Trailer) { t.CRC = 1 },
		"slot without algorithm":    func(t *envelope.Trailer) { t.Parts[0].Checksum = []byte{1, 2, 3, 4} },
		"checksum without type": func(t *envelope.Trailer) {
			t.Checksum = checksum.Value{Algorithm: checksum.CRC32, Sum: make([]byte, 4)}
		},
		"unknown algorithm": func(t *envelope.Trailer) { t.Checksum, t.Type = checksum.Value{Algorithm: 99, Sum: make([]byte, 4)}, 1 },
		"single of no bytes": func(t *envelope.Trailer) {
			t.Single, t.HasCRC, t.Parts = true, true, []envelope.Part{{Number: 1}}
		},
		"single numbered 2": func(t *envelope.Trailer) {
			t.Single, t.HasCRC, t.Parts = true, true, []envelope.Part{{Number: 2, Size: 5}}
		},
		"a part over 5 GiB":     func(t *envelope.Trailer) { t.Parts[1].Size = 5_366_416_313 },
		"single with two parts": func(t *envelope.Trailer) { t.Single, t.HasCRC = true, true },
	} {
		trailer := good()
		mangle(trailer)
		if _, err := envelope.NewDEK().SealTrailer(trailer); !errors.Is(err, envelope.ErrTrailer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMostParts: 10000 parts, of the longest checksums and sizes too, have a trailer that every reader takes.
func TestMostParts(t *testing.T) {
	for name, size := range map[string]int64{"regular": row, "irregular": 5_366_416_312} {
		want := &envelope.Trailer{Checksum: checksum.Value{Algorithm: checksum.SHA512, Sum: make([]byte, 64)}, Type: envelope.Composite}
		for i := range envelope.MaxParts {
			part := envelope.Part{Number: i + 1, Size: size, Bound: true, Attempt: envelope.Attempt{1}}
			if name == "irregular" {
				part.Checksum = make([]byte, 64)
			}
			want.Parts = append(want.Parts, part)
		}
		dek := envelope.NewDEK()
		sealed := must(dek.SealTrailer(want))(t)
		got, o, err := dek.OpenMultipart(sealed, envelope.MaxParts*envelope.SealedPartSize(size)+int64(len(sealed)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(want, got) || o.Size() != want.Size() {
			t.Errorf("%s: opened differently", name)
		}
		if size, n, err := envelope.ParseTail(sealed[len(sealed)-envelope.TailSize:]); size != want.Size() || n != int64(len(sealed)) || n > envelope.MaxTrailer || err != nil {
			t.Errorf("%s: the tail says %d, %d, %v", name, size, n, err)
		}
	}
}

// TestParseTail: a listing shows what a tail says, so it says nothing impossible.
func TestParseTail(t *testing.T) {
	const most = envelope.MaxParts * envelope.MaxSealedPart
	tail := func(size uint64) []byte {
		return append(binary.BigEndian.AppendUint64(nil, size), 0, 0, 1, 0, 'S', 'S', 'E', '1')
	}
	for _, size := range []uint64{0, 1, most} {
		if got, n, err := envelope.ParseTail(tail(size)); err != nil || got != int64(size) || n != 256 {
			t.Errorf("%d: %d, %d, %v", size, got, n, err)
		}
	}
	for _, b := range [][]byte{nil, tail(most + 1), tail(1 << 63), tail(1<<64 - 1), tail(1)[1:], append(tail(1), 0), make([]byte, 16)} {
		if _, _, err := envelope.ParseTail(b); !errors.Is(err, envelope.ErrTrailer) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// TestTrailerOfTooManyBytes: parts so long, and so many, that no length of an irregular object holds them. A store can write
// such a trailer, if not one that opens; what its tail claims to be is shorter than what its rows and slots take.
func TestTrailerOfTooManyBytes(t *testing.T) {
	const parts, size, wide = envelope.MaxParts, envelope.MaxSealedPart, 64
	b := make([]byte, 545_777)
	b[0], b[1] = 3, wide
	binary.BigEndian.PutUint32(b[4:], parts)
	binary.BigEndian.PutUint64(b[8:], parts*size)
	for i := range parts {
		place := b[56+16*parts+12*i:]
		binary.BigEndian.PutUint32(place, uint32(i+1))
		binary.BigEndian.PutUint64(place[4:], size)
	}
	tail := b[len(b)-envelope.TailSize:]
	binary.BigEndian.PutUint64(tail, parts*size)
	binary.BigEndian.PutUint32(tail[8:], uint32(len(b)))
	copy(tail[12:], "SSE1")
	if _, err := envelope.NewDEK().OpenTrailer(b); !errors.Is(err, envelope.ErrTrailer) {
		t.Errorf("opening: %v", err)
	}
	if _, err := envelope.ParseStructure(b); !errors.Is(err, envelope.ErrTrailer) {
		t.Errorf("parsing: %v", err)
	}
}

func TestContextIsNotShared(t *testing.T) {
	e := sample()["KMS"]
	if err := e.Wrap(wrappingKey, envelope.NewDEK(), checksum.Value{}, bucket, key); err != nil {
		t.Fatal(err)
	}
	other := must(envelope.Parse(e.String()))(t)
	other.Context = maps.Clone(other.Context)
	other.Context["app"] = "grusse"
	if _, _, err := other.Unwrap(wrappingKey, bucket, key); !errors.Is(err, envelope.ErrUnwrap) {
		t.Errorf("another context: %v", err)
	}
}
