package e2e_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

var (
	dsse        = encryption{algorithm: "aws:kms:dsse", shows: map[string]string{"": "aws:kms:dsse", "-Aws-Kms-Key-Id": "default"}}
	dsseNamed   = encryption{algorithm: "aws:kms:dsse", keyID: "alias/mine", shows: map[string]string{"": "aws:kms:dsse", "-Aws-Kms-Key-Id": "other"}}
	dsseContext = encryption{algorithm: "aws:kms:dsse", context: contextText, shows: dsse.shows}
	dsseOddly   = encryption{algorithm: "aws:kms:dsse", bucketKey: aws.Bool(true), shows: dsse.shows} // S3 takes it, and does not heed it
)

// newDSSERig is newEncryptionRig with a key for second layers, and one to take its place.
func newDSSERig(t *testing.T, o options) *rig {
	t.Helper()
	return newDSSERigAt(t, testbed.Store(t), o)
}

func newDSSERigAt(t *testing.T, store *testbed.S3Store, o options) *rig {
	t.Helper()
	change := o.proxy
	o.tls, o.more = true, []string{"other", "second", "third"}
	o.proxy = func(c *proxy.Config) {
		c.Rules = []proxy.Rule{{Bucket: "*", KeyID: "default", KeyIDs: []string{"other"}, BucketKey: true, Aliases: map[string]string{"alias/mine": "other"}}}
		c.DSSEKeyID = "second"
		if change != nil {
			change(c)
		}
	}
	return newRig(t, store, o)
}

// TestDSSE: objects in two layers, in one piece and in parts of any sizes, behave as those in one; so do copies, of which those from two layers
// to two move no body. Stored lengths are those of one layer.
func TestDSSE(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newDSSERigAt(t, store, options{})
		single, multi := pattern(2*frame+7), pattern(5<<20+3)
		plain := map[string][]byte{"single": single, "multi": multi}
		for name, e := range map[string]encryption{"usual": dsse, "named": dsseNamed, "context": dsseContext, "odd": dsseOddly} {
			put := r.ask(t, "PUT", name+"/single", single, e.headers(encryptionName))
			e.wantShown(t, name+": PUT", put.Header)
			if got := put.Header.Get(encryptionName + "-Context"); got != e.context {
				t.Errorf("%s: PUT shows context %q", name, got)
			}
			r.putEncrypted(t, name+"/multi", e, multi[:5<<20], multi[5<<20:])
			for kind, body := range plain {
				r.wantEncrypted(t, name+"/"+kind, e, body)
				if sealed, _ := r.stored(t, name+"/"+kind); int64(len(sealed)) != envelope.SealedSize(int64(len(body))) {
					t.Errorf("%s/%s: %d bytes are stored", name, kind, len(sealed))
				}
			}
		}
		r.ask(t, "PUT", "one/single", single, encryptions["SSE-C"].headers(encryptionName))
		r.putEncrypted(t, "one/multi", encryptions["SSE-C"], multi[:5<<20], multi[5<<20:])
		for _, c := range []struct {
			from, to string
			source   encryption
			e        encryption
			moves    bool
		}{
			{"usual", "same", dsse, dsseNamed, false},
			{"context", "to one", dsseContext, encryptions["SSE-S3"], true},
			{"one", "to two", encryptions["SSE-C"], dsse, true},
		} {
			for kind, body := range plain {
				key := c.to + "/" + kind
				r.wire.Reset()
				out := r.ask(t, "PUT", key, nil, c.e.headers(encryptionName), c.source.headers("X-Amz-Copy-Source-Server-Side-Encryption"),
					http.Header{"X-Amz-Copy-Source": {r.bucket + "/" + c.from + "/" + kind}})
				c.e.wantShown(t, "copy "+key, out.Header)
				if moved := slices.ContainsFunc(r.wire.Requests(), func(x testbed.Exchange) bool { return x.Size > 0 }); out.StatusCode != 200 || moved != c.moves {
					t.Errorf("copy %s: %s, a body moved: %v", key, out.Status, moved)
				}
				r.wantEncrypted(t, key, c.e, body)
			}
		}
		listed := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
		for _, o := range listed.Contents {
			if *o.Size != int64(len(single)) && *o.Size != int64(len(multi)) {
				t.Errorf("%s is listed with %d bytes", *o.Key, *o.Size)
			}
		}
	})
}

// TestDSSEParts: parts of a copied range, a short one sent twice, an empty one and part 10000 in one upload of two layers; a form; and the
// empty object.
func TestDSSEParts(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newDSSERigAt(t, store, options{})
		body := pattern(6 << 20)
		r.ask(t, "PUT", "source", body, dsse.headers(encryptionName))
		id := r.startUpload(t, "parts", s3.CreateMultipartUploadInput{ServerSideEncryption: "aws:kms:dsse", ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
		out := testbed.Must(r.client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
			Bucket: &r.bucket, Key: ptr("parts"), UploadId: &id, PartNumber: ptr(int32(2)), CopySource: ptr(r.bucket + "/source"), CopySourceRange: ptr("bytes=70000-6000000"),
		}))(t)
		if out.ServerSideEncryption != "aws:kms:dsse" {
			t.Errorf("a copied part shows %q", out.ServerSideEncryption)
		}
		copied := types.CompletedPart{PartNumber: ptr(int32(2)), ETag: out.CopyPartResult.ETag, ChecksumSHA256: out.CopyPartResult.ChecksumSHA256}
		r.sendPart(t, "parts", id, 10000, []byte("another attempt"), types.ChecksumAlgorithmSha256)
		last := r.sendPart(t, "parts", id, 10000, body[:1000], types.ChecksumAlgorithmSha256)
		testbed.Must(r.complete(t, "parts", id, copied, last))(t)
		want := slices.Concat(body[70000:6000001], body[:1000])
		r.wantEncrypted(t, "parts", dsse, want)

		one := testbed.Must(r.copyFrom(t, r.bucket+"/parts", "one layer", nil))(t)
		if got, _, err := r.get(t, "one layer", ""); err != nil || !bytes.Equal(got, want) {
			t.Errorf("its copy in one layer: %d bytes, %v", len(got), err)
		}
		if sum := sha256.Sum256(want); aws.ToString(one.CopyObjectResult.ChecksumSHA256) != base64.StdEncoding.EncodeToString(sum[:]) {
			t.Error("the copy has not the checksum of the whole that S3 gives it")
		}
		form := newForm("form", body[:100], [2]string{"x-amz-server-side-encryption", "aws:kms:dsse"}, [2]string{"x-amz-server-side-encryption-aws-kms-key-id", "other"})
		a := form.postWith(t, r.front(), r.server.Client())
		dsseNamed.wantShown(t, "form", a.header)
		if got, _, err := r.get(t, "form", ""); err != nil || !bytes.Equal(got, body[:100]) {
			t.Errorf("form: %d %s, %d bytes, %v", a.status, a.body, len(got), err)
		}
		dsse.wantShown(t, "empty", r.ask(t, "PUT", "empty", nil, dsse.headers(encryptionName)).Header)
		if got, _, err := r.get(t, "empty", ""); err != nil || len(got) > 0 {
			t.Errorf("empty: %d bytes, %v", len(got), err)
		}
	})
}

// TestDSSECopyKeeps: a copy with another number of layers has what any copy has of its source: headers, tags, checksum; and the conditions on it hold.
func TestDSSECopyKeeps(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newDSSERigAt(t, store, options{})
		body := pattern(3*frame + 1)
		sum := sha256.Sum256(body)
		put := testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &r.bucket, Key: ptr("source"), Body: bytes.NewReader(body), ContentType: ptr("text/x"), Metadata: map[string]string{"a": "b"}, Tagging: ptr("t=1"),
			ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		}))(t)
		toTwo := func(in *s3.CopyObjectInput) { in.ServerSideEncryption = "aws:kms:dsse" }
		for _, key := range []string{"copy", "source"} {
			out := testbed.Must(r.copyFrom(t, r.bucket+"/source", key, toTwo))(t)
			if got := aws.ToString(out.CopyObjectResult.ChecksumSHA256); got != base64.StdEncoding.EncodeToString(sum[:]) {
				t.Errorf("%s: checksum %q", key, got)
			}
			got := testbed.Must(r.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &r.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}))(t)
			if !bytes.Equal(testbed.ReadBody(t, got.Body), body) || *got.ContentType != "text/x" || got.Metadata["a"] != "b" || aws.ToInt32(got.TagCount) != 1 || got.ServerSideEncryption != "aws:kms:dsse" {
				t.Errorf("%s: %v, %v, %v tags, %v", key, *got.ContentType, got.Metadata, got.TagCount, got.ServerSideEncryption)
			}
		}
		_, err := r.copyFrom(t, r.bucket+"/source", "never", func(in *s3.CopyObjectInput) { in.CopySourceIfMatch = put.ETag })
		wantCode(t, err, "PreconditionFailed")
		if _, err := r.copyFrom(t, r.bucket+"/source", "copy", func(in *s3.CopyObjectInput) { in.IfNoneMatch = ptr("*") }); err == nil {
			t.Error("a copy took the place of an object that it was not to replace")
		}
	})
}

// openedByHand is what docs/format.md says of the keys of an object in two layers.
type openedByHand struct{ dek, second []byte }

// openByHand unwraps the data keys of a stored object from its envelope, with a CRC64NVME in the wrapped DEK.
func (r *rig) openByHand(t testing.TB, key, value string) openedByHand {
	t.Helper()
	e := testbed.Must(envelope.Parse(value))(t)
	raw := testbed.Must(base64.RawURLEncoding.DecodeString(value))(t)
	wrapped := raw[len(raw)-69:]
	head, wrappedSecond := raw[:len(raw)-69-60], raw[len(raw)-69-60:len(raw)-69]
	lp16 := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	ad := func(label string) []byte { return slices.Concat([]byte(label), head, lp16(r.bucket), lp16(key)) }
	of := testbed.Must(keys.ObjectContext(r.bucket, key, e.Context))(t)
	first := testbed.Must(r.provider.UnwrapKey(t.Context(), e.KeyID, e.WrappedKey, of))(t)
	of = testbed.Must(keys.BucketContext(r.bucket))(t)
	other := testbed.Must(r.provider.UnwrapKey(t.Context(), e.SecondKeyID, e.SecondWrappedKey, of))(t)
	second := testbed.Must(gcm(t, other.Plaintext).Open(nil, wrappedSecond[:12], wrappedSecond[12:], ad("sseproxy/1 second dek")))(t)
	unmasked := keyStream(t, expand(t, second, "sseproxy/1 second wrap"), wrapped, 0)
	secret := testbed.Must(gcm(t, first.Plaintext).Open(nil, wrapped[:12], unmasked, ad("sseproxy/1 dek")))(t)
	return openedByHand{secret[:32], second}
}

func gcm(t testing.TB, key []byte) cipher.AEAD {
	return testbed.Must(cipher.NewGCM(testbed.Must(aes.NewCipher(key))(t)))(t)
}

func expand(t testing.TB, key []byte, info string) []byte {
	return testbed.Must(hkdf.Expand(sha256.New, key, info, 32))(t)
}

// keyStream removes AES-256-CTR from what stands behind a nonce.
func keyStream(t testing.TB, key, sealed []byte, counter byte) []byte {
	out := make([]byte, len(sealed)-12)
	iv := append(bytes.Clone(sealed[:12]), 0, 0, 0, counter)
	cipher.NewCTR(testbed.Must(aes.NewCipher(key))(t), iv).XORKeyStream(out, sealed[12:])
	return out
}

// TestDSSEIsTwoLayers: what is stored is under two keys. Who has the first data key of an object, and decrypts its frames with it, has no
// plaintext; with the second alone he has none; with both he has all.
func TestDSSEIsTwoLayers(t *testing.T) {
	r := newDSSERig(t, options{})
	body := bytes.Repeat([]byte("a canary sings. "), 100)
	r.ask(t, "PUT", "key", body, dsse.headers(encryptionName))
	sealed, metadata := r.stored(t, "key")
	k := r.openByHand(t, "key", metadata["sseproxy"])
	first, second := expand(t, k.dek, "sseproxy/1 single"), expand(t, k.second, "sseproxy/1 second single")
	frame := sealed[:12+len(body)+16]
	const gcmCounter = 2 // NIST SP 800-38D, section 7.1: the first block of the text
	canary := []byte("canary")
	if bytes.Contains(keyStream(t, first, frame, gcmCounter), canary) {
		t.Error("the first key alone decrypts the frame")
	}
	if _, err := gcm(t, first).Open(nil, frame[:12], frame[12:], append(make([]byte, 8), append([]byte{1}, make([]byte, 12)...)...)); err == nil {
		t.Error("the first key alone opens the frame")
	}
	unmasked := keyStream(t, second, frame, 0)
	if bytes.Contains(unmasked, canary) {
		t.Error("the second key alone decrypts the frame")
	}
	if got := keyStream(t, first, append(bytes.Clone(frame[:12]), unmasked...), gcmCounter); !bytes.HasPrefix(got, body) {
		t.Error("both keys do not decrypt the frame")
	}
}

// TestDSSENeedsBothKeys: an object opens with both keys and with neither alone, be the other one disabled or gone. The first has effect at once, the
// second, which is a bucket's, when the time-to-live is over.
func TestDSSENeedsBothKeys(t *testing.T) {
	r := newDSSERig(t, options{})
	r.ask(t, "PUT", "key", []byte("body"), dsseNamed.headers(encryptionName))
	for _, id := range []string{"other", "second"} {
		var c clock
		replica := newDSSERig(t, options{kit: r, keys: func(cfg *keys.CacheConfig) {
			cfg.Now = c.now
			cfg.Provider = testbed.Must(keys.NewLocal(keys.LocalConfig{Path: r.keyring, Now: c.now}))(t)
		}})
		works := func(what string, want int, code string) {
			t.Helper()
			get, put := replica.ask(t, "GET", "key", nil), replica.ask(t, "PUT", "key", []byte("body"), dsseNamed.headers(encryptionName))
			for _, got := range []*http.Response{get, put} {
				if b := testbed.ReadBody(t, got.Body); got.StatusCode != want || !strings.Contains(string(b), code) {
					t.Errorf("%s with key %s %s: %s %s", got.Request.Method, id, what, got.Status, b)
				}
			}
		}
		works("as it was", 200, "")
		editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Disable(id, 1) })
		c.advance(5 * time.Minute)
		works("disabled", 400, "<Code>KMS.DisabledException</Code>")
		editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Enable(id, 1) })
		c.advance(5 * time.Minute)
		works("enabled again", 200, "")
	}
	for _, gone := range []string{"other", "second", ""} {
		replica := newDSSERig(t, options{kit: &rig{bucket: r.bucket, keyring: without(t, r.keyring, gone)}})
		got := replica.ask(t, "GET", "key", nil)
		if b := testbed.ReadBody(t, got.Body); bytes.Equal(b, []byte("body")) != (gone == "") {
			t.Errorf("without key %q: %s %s", gone, got.Status, b)
		}
	}
}

// without returns a copy of a keyring file that lacks a key.
func without(t testing.TB, keyring, id string) string {
	t.Helper()
	var file struct {
		Format string            `json:"format"`
		Keys   []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(testbed.Must(os.ReadFile(keyring))(t), &file); err != nil {
		t.Fatal(err)
	}
	file.Keys = slices.DeleteFunc(file.Keys, func(k json.RawMessage) bool { return bytes.Contains(k, []byte(`"`+id+`"`)) })
	path := filepath.Join(t.TempDir(), "keyring.json")
	if err := os.WriteFile(path, testbed.Must(json.Marshal(file))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDSSEEnvelopesDoNotMix: the store puts the second wrapped data key, the second wrapped wrapping key, or all of the second layer of one object
// into the envelope of another. Nothing opens.
func TestDSSEEnvelopesDoNotMix(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newDSSERigAt(t, store, options{})
		var raw [2][]byte
		var sealed [2][]byte
		for i := range raw {
			key := fmt.Sprint(i)
			r.ask(t, "PUT", key, pattern(100), dsse.headers(encryptionName))
			bytesStored, metadata := r.stored(t, key)
			sealed[i], raw[i] = bytesStored, testbed.Must(base64.RawURLEncoding.DecodeString(metadata["sseproxy"]))(t)
		}
		end := len(raw[0])
		for name, span := range map[string][2]int{
			"second wrapped DEK":          {end - 69 - 60, end - 69},
			"second wrapped wrapping key": {end - 69 - 60 - 64, end - 69 - 60},
			"second layer":                {end - 69 - 60 - 64, end - 69},
			"wrapped DEK":                 {end - 69, end},
			"both wrapped DEKs":           {end - 69 - 60, end},
		} {
			for i := range raw {
				mixed := bytes.Clone(raw[i])
				copy(mixed[span[0]:span[1]], raw[1-i][span[0]:span[1]])
				if bytes.Equal(mixed, raw[i]) {
					continue // a bucket's second wrapping key is one for both
				}
				r.putStored(t, fmt.Sprint(i), sealed[i], map[string]string{"sseproxy": base64.RawURLEncoding.EncodeToString(mixed)})
				got := r.ask(t, "GET", fmt.Sprint(i), nil)
				if b := testbed.ReadBody(t, got.Body); got.StatusCode != 500 || bytes.Contains(b, pattern(100)[:16]) {
					t.Errorf("object %d with the %s of the other: %s", i, name, got.Status)
				}
			}
		}
		for i := range raw {
			r.putStored(t, fmt.Sprint(i), sealed[i], map[string]string{"sseproxy": base64.RawURLEncoding.EncodeToString(raw[i])})
			if got, _, err := r.get(t, fmt.Sprint(i), ""); err != nil || !bytes.Equal(got, pattern(100)) {
				t.Errorf("object %d as it was: %d bytes, %v", i, len(got), err)
			}
		}
	})
}

// TestDSSESecondKeyIsConfigured: a second key that the operator does not name is refused before its provider is asked; one that he names for reading
// opens objects and seals none.
func TestDSSESecondKeyIsConfigured(t *testing.T) {
	r := newDSSERig(t, options{})
	r.ask(t, "PUT", "key", []byte("body"), dsse.headers(encryptionName))
	for name, change := range map[string]func(*proxy.Config){
		"another":  func(c *proxy.Config) { c.DSSEKeyID = "third" },
		"none":     func(c *proxy.Config) { c.DSSEKeyID = "" },
		"in first": func(c *proxy.Config) { c.DSSEKeyID = "third"; c.Rules[0].KeyIDs = append(c.Rules[0].KeyIDs, "second") },
	} {
		replica := newDSSERig(t, options{kit: r, proxy: change})
		before := replica.provider.Calls.Load()
		got := replica.ask(t, "GET", "key", nil)
		if got.StatusCode != 403 || replica.provider.Calls.Load() != before {
			t.Errorf("%s: %s, after %d provider calls", name, got.Status, replica.provider.Calls.Load()-before)
		}
	}
	replica := newDSSERig(t, options{kit: r, proxy: func(c *proxy.Config) { c.DSSEKeyID, c.DSSEReadKeyIDs = "third", []string{"second"} }})
	replica.wantEncryptedWhole(t, "key", []byte("body"))
	replica.ask(t, "PUT", "new", []byte("body"), dsse.headers(encryptionName))
	if e := replica.envelopeOf(t, "new"); e.SecondKeyID != "third" || e.KeyID != "default" || !e.OwnKey {
		t.Errorf("a new object has keys %q and %q", e.KeyID, e.SecondKeyID)
	}
	if got := r.ask(t, "GET", "new", nil); got.StatusCode != 403 {
		t.Errorf("the new object where its second key is not configured: %s", got.Status)
	}
}

func (r *rig) envelopeOf(t testing.TB, key string) *envelope.Envelope {
	t.Helper()
	_, metadata := r.stored(t, key)
	return testbed.Must(envelope.Parse(metadata["sseproxy"]))(t)
}

func (r *rig) wantEncryptedWhole(t testing.TB, key string, want []byte) {
	t.Helper()
	if got, _, err := r.get(t, key, ""); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, %v", key, len(got), err)
	}
}

// TestDSSERefusals: what would be one layer under the name of two, and what AWS does not have either.
func TestDSSERefusals(t *testing.T) {
	asks := func(h ...string) []http.Header {
		headers := dsse.headers(encryptionName)
		for i := 0; i < len(h); i += 2 {
			headers.Set(encryptionName+h[i], h[i+1])
		}
		return []http.Header{headers}
	}
	r := newDSSERig(t, options{proxy: func(c *proxy.Config) {
		c.Rules[0].KeyIDs = append(c.Rules[0].KeyIDs, "second")
		c.Rules = append([]proxy.Rule{
			{Bucket: "*", Prefix: "kms/", Algorithm: "aws:kms", KeyID: "default", Allow: []string{}},
			{Bucket: "*", Prefix: "two/", Algorithm: "aws:kms:dsse", KeyID: "other", Allow: []string{"AES256"}},
		}, c.Rules...)
	}})
	long := base64.StdEncoding.EncodeToString([]byte(`{"a":"` + strings.Repeat("x", 500) + `"}`))
	pairs := make([]string, 120)
	for i := range pairs {
		pairs[i] = fmt.Sprintf(`"%03d":"x"`, i)
	}
	many := base64.StdEncoding.EncodeToString([]byte("{" + strings.Join(pairs, ",") + "}"))
	r.ask(t, "PUT", "object", []byte("x"), dsse.headers(encryptionName))
	update := "<ObjectEncryption><SSE-KMS><KMSKeyArn>other</KMSKeyArn></SSE-KMS></ObjectEncryption>"
	r.wantRefused(t, []refusal{
		{"the second layer's key", "PUT", "a", asks("-Aws-Kms-Key-Id", "second"), 400, "Two layers under one key would be one"},
		{"the second layer's key, in parts", "POST", "a?uploads", asks("-Aws-Kms-Key-Id", "second"), 400, "<Code>InvalidArgument</Code>"},
		{"an unknown key", "PUT", "a", asks("-Aws-Kms-Key-Id", "nobody's"), 400, "<Code>KMS.NotFoundException</Code>"},
		{"not allowed", "PUT", "kms/a", asks(), 403, "<Code>AccessDenied</Code>"},
		{"no context for a key that is no text", "PUT", "%FF", asks(), 400, "<Code>InvalidArgument</Code>"},
		{"a context of many pairs", "PUT", "a", asks("-Context", many), 400, "does not fit"},
		{"a context of many pairs, in one layer", "PUT", "a", []http.Header{encryption{algorithm: "aws:kms", context: many}.headers(encryptionName)}, 400, "does not fit"},
	})
	if got := r.ask(t, "PUT", "long", []byte("x"), asks("-Context", long)...); got.StatusCode != 200 {
		t.Errorf("a context that fits: %s %s", got.Status, testbed.ReadBody(t, got.Body))
	}
	if got := r.ask(t, "PUT", "object?encryption", []byte(update)); got.StatusCode != 400 || !strings.Contains(string(testbed.ReadBody(t, got.Body)), "<Code>InvalidRequest</Code>") {
		t.Errorf("UpdateObjectEncryption: %s", got.Status)
	}
	usual := encryption{shows: map[string]string{"": "aws:kms:dsse", "-Aws-Kms-Key-Id": "other"}}
	usual.wantShown(t, "by rule", r.ask(t, "PUT", "two/a", []byte("x")).Header)
	encryptions["none"].wantShown(t, "allowed by rule", r.ask(t, "PUT", "two/b", []byte("x"), only(encryptionName, "AES256")).Header)
}

// TestDSSEUploadIsHeldAgainstTheRule: where the operator demands two layers, nothing more goes to the store of an upload whose state says one, be it that
// it was begun before the rule, or that the store has put the state of another upload in its place. It can be listed and aborted.
func TestDSSEUploadIsHeldAgainstTheRule(t *testing.T) {
	for _, name := range []string{"SSE-S3", "SSE-KMS", "SSE-C"} {
		e := encryptions[name]
		one := newDSSERig(t, options{})
		one.ask(t, "PUT", "source", pattern(100), dsse.headers(encryptionName))
		var made struct {
			UploadID string `xml:"UploadId"`
		}
		created := one.ask(t, "POST", "key?uploads", nil, e.headers(encryptionName))
		if err := xml.Unmarshal(testbed.ReadBody(t, created.Body), &made); err != nil {
			t.Fatal(err)
		}
		of, own := "key?uploadId="+url.QueryEscape(made.UploadID), e.customerOnly().headers(encryptionName)
		part := one.ask(t, "PUT", of+"&partNumber=1", pattern(100), own)
		list := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + part.Header.Get("Etag") + "</ETag></Part></CompleteMultipartUpload>"
		var log auditLog
		r := newDSSERig(t, options{kit: one, proxy: func(c *proxy.Config) {
			c.Audit, c.Rules = log.write, []proxy.Rule{{Bucket: "*", Algorithm: "aws:kms:dsse", KeyID: "default", Allow: []string{}}}
		}})
		for what, got := range map[string]*http.Response{
			"a part":        r.ask(t, "PUT", of+"&partNumber=2", pattern(100), own),
			"a copied part": r.ask(t, "PUT", of+"&partNumber=2", nil, own, only("X-Amz-Copy-Source", r.bucket+"/source")),
			"Complete":      r.ask(t, "POST", of, []byte(list)),
		} {
			if b := testbed.ReadBody(t, got.Body); got.StatusCode != 403 || !strings.Contains(string(b), "does not allow") {
				t.Errorf("%s: %s: %s %s", name, what, got.Status, b)
			}
		}
		for _, x := range r.wire.Requests() {
			if x.Method != http.MethodGet && x.Method != http.MethodHead {
				t.Errorf("%s: %s %s went to the store", name, x.Method, x.Target)
			}
		}
		if records := log.take(); len(records) != 3 || !strings.HasSuffix(records[0], " AccessDenied") {
			t.Errorf("%s: records %q", name, records)
		}
		if listed, aborted := r.ask(t, "GET", of, nil), r.ask(t, "DELETE", of, nil); listed.StatusCode != 200 || aborted.StatusCode != 204 {
			t.Errorf("%s: ListParts: %s, Abort: %s", name, listed.Status, aborted.Status)
		}
	}
}

// TestDSSERulesAreChecked: a proxy does not start with a rule that no object could be made by.
func TestDSSERulesAreChecked(t *testing.T) {
	arn := func(region, id string) string { return "arn:aws:kms:" + region + ":111122223333:key/" + id }
	for name, c := range map[string]struct{ second, key string }{
		"no second key":                     {"", "default"},
		"one key":                           {"default", "default"},
		"one multi-Region key in two":       {arn("us-east-1", "mrk-1"), arn("eu-west-1", "mrk-1")},
		"two keys with bucket keys":         {"second", "default"},
		"two keys":                          {"second", "default"},
		"two multi-Region keys":             {arn("us-east-1", "mrk-1"), arn("us-east-1", "mrk-2")},
		"keys of one id that is no replica": {arn("us-east-1", "1"), arn("eu-west-1", "1")},
	} {
		_, err := proxy.New(proxy.Config{
			Upstream: testbed.Must(http.NewRequestWithContext(t.Context(), "GET", "http://localhost", nil))(t).URL, Region: region,
			Identities:  []proxy.Identity{{Name: "tester", AccessKeyID: accessKey, SecretAccessKey: secretKey}},
			Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), Transport: http.DefaultTransport,
			Keys: testbed.Must(keys.NewCache(keys.CacheConfig{}))(t), KeyID: "default", DSSEKeyID: c.second,
			Rules: []proxy.Rule{{Bucket: "*", Algorithm: "aws:kms:dsse", KeyID: c.key, BucketKey: strings.HasSuffix(name, "bucket keys")}},
		})
		if good := !strings.Contains(name, "bucket keys") && (strings.HasPrefix(name, "two ") || strings.HasPrefix(name, "keys ")); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDSSEByDefault: a bucket's default encryption may be two layers.
func TestDSSEByDefault(t *testing.T) {
	r := newDSSERig(t, options{proxy: func(c *proxy.Config) { c.Rules[0].KeyIDs = append(c.Rules[0].KeyIDs, "second") }})
	set := func(keyID string) error {
		_, err := r.client.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{Bucket: &r.bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
			Rules: []types.ServerSideEncryptionRule{{
				BucketKeyEnabled:                   aws.Bool(true),
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms:dsse", KMSMasterKeyID: &keyID},
			}},
		}})
		return err
	}
	wantCode(t, set("second"), "InvalidArgument")
	if err := set("other"); err != nil {
		t.Fatal(err)
	}
	got := testbed.Must(r.client.GetBucketEncryption(t.Context(), &s3.GetBucketEncryptionInput{Bucket: &r.bucket}))(t).ServerSideEncryptionConfiguration.Rules[0]
	if by := got.ApplyServerSideEncryptionByDefault; by.SSEAlgorithm != "aws:kms:dsse" || *by.KMSMasterKeyID != "other" || !*got.BucketKeyEnabled {
		t.Errorf("GetBucketEncryption: %+v", got)
	}
	usual := encryption{shows: map[string]string{"": "aws:kms:dsse", "-Aws-Kms-Key-Id": "other"}}
	usual.wantShown(t, "PUT", r.ask(t, "PUT", "usual", []byte("x")).Header)
	usual.wantShown(t, "upload", r.ask(t, "POST", "usual?uploads", nil).Header)
	usual.wantShown(t, "with a context", r.ask(t, "PUT", "context", []byte("x"), only(encryptionName+"-Context", contextText)).Header)
	encryptions["SSE-S3"].wantShown(t, "AES256", r.ask(t, "PUT", "asked", []byte("x"), only(encryptionName, "AES256")).Header)
	encryptions["SSE-KMS"].wantShown(t, "aws:kms", r.ask(t, "PUT", "kms", []byte("x"), only(encryptionName, "aws:kms"), only(encryptionName+"-Aws-Kms-Key-Id", "default")).Header)

	// Without a second key the bucket's wish is not met by less.
	replica := newDSSERig(t, options{kit: r, proxy: func(c *proxy.Config) { c.DSSEKeyID = "" }})
	replica.wantRefused(t, []refusal{{"no second key", "PUT", "a", nil, 501, "SSEPROXY_DSSE_KEY"}})
}

// TestDSSERewrap: each of the two keys is replaced, and each is rotated, without a body; what is current is found so.
func TestDSSERewrap(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newDSSERigAt(t, store, options{})
		multi := pattern(5<<20 + 1)
		r.ask(t, "PUT", "single", []byte("body"), dsse.headers(encryptionName))
		r.putEncrypted(t, "multi", dsse, multi[:5<<20], multi[5<<20:])
		check := func(first, second string, replica *rig) {
			t.Helper()
			for key, plain := range map[string][]byte{"single": []byte("body"), "multi": multi} {
				replica.wantEncryptedWhole(t, key, plain)
				if e := r.envelopeOf(t, key); e.KeyID != first || e.SecondKeyID != second {
					t.Errorf("%s has keys %q and %q", key, e.KeyID, e.SecondKeyID)
				}
			}
		}
		r.wantRewrapped(t, proxy.Rewrapping{}, proxy.Tally{Current: 2})
		r.wantRewrapped(t, proxy.Rewrapping{Keys: map[string]string{"default": "other"}}, proxy.Tally{Done: 2})
		check("other", "second", r)
		third := newDSSERigAt(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.DSSEKeyID, c.DSSEReadKeyIDs = "third", []string{"second"} }})
		third.wire.Reset()
		third.wantRewrapped(t, proxy.Rewrapping{}, proxy.Tally{Done: 2})
		for _, x := range third.wire.Requests() {
			if x.Size > 0 || x.ResponseSize > 20_000 {
				t.Errorf("%s %s moved %d bytes there and %d back", x.Method, x.Target, x.Size, x.ResponseSize)
			}
		}
		check("other", "third", third)
		for _, id := range []string{"other", "third"} {
			editKeyring(t, r.keyring, func(k *keys.Keyring) error {
				v, err := k.Add(id, time.Now())
				if err != nil {
					return err
				}
				return k.SetPrimary(id, v)
			})
			fresh := newDSSERigAt(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.DSSEKeyID = "third" }})
			fresh.wantRewrapped(t, proxy.Rewrapping{}, proxy.Tally{Done: 2})
			fresh.wantRewrapped(t, proxy.Rewrapping{}, proxy.Tally{Current: 2})
			editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Disable(id, 1) })
		}
		check("other", "third", newDSSERigAt(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.DSSEKeyID = "third" }}))
	})
}

// TestDSSERewrapToOneKey: objects in two layers are not given the second layer's key for their first, and a dry run says so. They stay as they are.
func TestDSSERewrapToOneKey(t *testing.T) {
	r := newDSSERig(t, options{proxy: func(c *proxy.Config) { c.Rules[0].KeyIDs = append(c.Rules[0].KeyIDs, "second") }})
	r.ask(t, "PUT", "key", []byte("body"), dsse.headers(encryptionName))
	for _, dry := range []bool{true, false} {
		r.wantRewrapped(t, proxy.Rewrapping{Keys: map[string]string{"default": "second"}, DryRun: dry}, proxy.Tally{Failed: 1})
	}
	r.wantEncryptedWhole(t, "key", []byte("body"))
}

// TestDSSEAudit: each of the two keys has a record for each use, also where it is refused.
func TestDSSEAudit(t *testing.T) {
	var log auditLog
	r := newDSSERig(t, options{proxy: func(c *proxy.Config) { c.Audit = log.write }})
	r.ask(t, "PUT", "a", []byte("x"), dsse.headers(encryptionName))
	r.ask(t, "GET", "a", nil)
	want := []string{
		"PutObject seal a aws:kms:dsse default 1", "PutObject seal a aws:kms:dsse second 1",
		"GetObject open a aws:kms:dsse default 1", "GetObject open a aws:kms:dsse second 1",
	}
	if diff := cmp.Diff(want, log.take()); diff != "" {
		t.Error(diff)
	}
	replica := newDSSERig(t, options{kit: r, proxy: func(c *proxy.Config) { c.Audit, c.DSSEKeyID = log.write, "third" }})
	replica.ask(t, "GET", "a", nil)
	if diff := cmp.Diff([]string{"GetObject open a aws:kms:dsse default AccessDenied"}, log.take()); diff != "" {
		t.Error(diff)
	}
}
