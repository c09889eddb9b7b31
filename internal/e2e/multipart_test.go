package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// part is one part of a multipart object that a test seals by itself.
type part struct {
	number, size int
	loose        bool // not bound to its attempt
}

// putMultipart stores a multipart object past the proxy, as any writer of the format could, and returns its plaintext.
func (r *rig) putMultipart(t *testing.T, key string, parts ...part) []byte {
	t.Helper()
	return r.putMultipartWith(t, key, func(*envelope.Trailer) {}, parts...)
}

// putMultipartWith is putMultipart with a change to what the trailer says.
func (r *rig) putMultipartWith(t *testing.T, key string, change func(*envelope.Trailer), parts ...part) []byte {
	t.Helper()
	local := testbed.Must(keys.NewLocal(keys.LocalConfig{Path: r.keyring}))(t)
	ec := testbed.Must(keys.BucketContext(r.bucket))(t)
	wrapping := testbed.Must(local.GenerateKey(t.Context(), "default", ec))(t)
	dek := envelope.NewDEK()
	e := &envelope.Envelope{Mode: envelope.ModeS3, Multipart: true, KeyID: "default", WrappedKey: wrapping.Wrapped}
	if err := e.Wrap(wrapping.Plaintext, dek, checksum.Value{}, r.bucket, key); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, p := range parts {
		total += p.size
	}
	plain := pattern(total)
	trailer := &envelope.Trailer{HasCRC: true, CRC: crc64nvme.Checksum(plain)}
	var sealed bytes.Buffer
	rest := plain
	for _, p := range parts {
		s := dek.NewPartSealer(bytes.NewReader(rest[:p.size]), p.number, int64(p.size))
		testbed.Must(io.Copy(&sealed, s))(t)
		rest = rest[p.size:]
		described := envelope.Part{Number: p.number, Size: int64(p.size)}
		if !p.loose {
			described.Bound, described.Attempt = true, s.Attempt()
		}
		trailer.Parts = append(trailer.Parts, described)
	}
	change(trailer)
	sealed.Write(testbed.Must(dek.SealTrailer(trailer))(t))
	r.putStored(t, key, sealed.Bytes(), map[string]string{"sseproxy": e.String()})
	return plain
}

const mib5 = 5 << 20

var multipartLayouts = map[string][]part{
	"one part":           {{1, 1000, false}},
	"regular":            {{1, mib5, false}, {2, mib5, false}, {3, 100, false}},
	"regular, unbound":   {{1, mib5, true}, {2, mib5, true}, {3, 100, true}},
	"irregular":          {{1, mib5 + 512, false}, {2, mib5 + 1, false}, {3, 3, false}},
	"irregular, unbound": {{1, mib5 + 512, true}, {2, mib5 + 1, true}, {3, 3, true}},
	"gaps":               {{3, 70000, false}, {10000, 1, false}},
	"empty":              {{1, 0, false}},
}

// TestReadMultipart: whole objects and ranges of every layout, with the number of requests that the design allows.
func TestReadMultipart(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for name, parts := range multipartLayouts {
			plain := r.putMultipart(t, "key", parts...)
			got, out, err := r.get(t, "key", "")
			if err != nil || !bytes.Equal(got, plain) || *out.ContentLength != int64(len(plain)) {
				t.Fatalf("%s: %d bytes of %d, %v", name, len(got), len(plain), err)
			}
			head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key"), ChecksumMode: types.ChecksumModeEnabled}))(t)
			if *head.ContentLength != int64(len(plain)) || head.ChecksumCRC64NVME == nil {
				t.Errorf("%s: HEAD says %d, checksum %v", name, *head.ContentLength, head.ChecksumCRC64NVME)
			}
			if len(plain) == 0 {
				continue
			}
			rapid.Check(t, func(rt *rapid.T) {
				from := rapid.IntRange(0, len(plain)-1).Draw(rt, "from")
				to := min(from+rapid.IntRange(0, 200_000).Draw(rt, "length"), len(plain)-1)
				form := rapid.SampledFrom([]string{fmt.Sprintf("bytes=%d-%d", from, to), fmt.Sprintf("bytes=-%d", len(plain)-from)}).Draw(rt, "form")
				want := plain[from : to+1]
				if form[6] == '-' {
					want = plain[from:]
				}
				r.wire.Reset()
				if got, _, err := r.get(t, "key", form); err != nil || !bytes.Equal(got, want) {
					rt.Fatalf("%s, %s: %d bytes of %d, %v", name, form, len(got), len(want), err)
				}
				if n := len(r.wire.Requests()); n > 3 {
					rt.Fatalf("%s, %s: %d requests with the trailer cached", name, form, n)
				}
			})
		}
	})
}

// TestTrailerIsReadOnce: the first read of a multipart object costs one request more, and later ones none.
func TestTrailerIsReadOnce(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.putMultipart(t, "key", multipartLayouts["regular"]...)
	for i, want := range []int{2, 1, 1} {
		r.wire.Reset()
		testbed.Must(first(r.get(t, "key", "bytes=5242000-5243000")))(t)
		if n := len(r.wire.Requests()); n != want {
			t.Errorf("read %d: %d requests, want %d", i+1, n, want)
		}
	}
	r.wire.Reset()
	testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
	if n := len(r.wire.Requests()); n != 1 {
		t.Errorf("HEAD: %d requests", n)
	}
}

// TestMultipartTampering: flips in every region, on the wire, for a reader without and with a cached trailer.
func TestMultipartTampering(t *testing.T) {
	for name, parts := range multipartLayouts {
		if name == "empty" {
			continue
		}
		r := newRig(t, testbed.Store(t), options{})
		plain := r.putMultipart(t, "key", parts...)
		sealed, metadata := r.stored(t, "key")
		_, trailer, err := envelope.ParseTail(sealed[len(sealed)-envelope.TailSize:])
		if err != nil {
			t.Fatal(err)
		}
		data := len(sealed) - int(trailer)
		for _, at := range []int{0, 12, data / 2, data - 1, data, data + 30, data + 60, len(sealed) - 200, len(sealed) - 10, len(sealed) - 1} {
			altered := bytes.Clone(sealed)
			altered[at] ^= 4
			r.putStored(t, "key", altered, metadata)
			if got, _, err := r.get(t, "key", ""); err == nil || !bytes.HasPrefix(plain, got) {
				t.Errorf("%s: bit at %d of %d flipped: %d bytes, %v", name, at, len(sealed), len(got), err)
			}
		}
		r.putStored(t, "key", sealed, metadata)
		testbed.Must(first(r.get(t, "key", "")))(t)
		r.wire.AlterResponse(func(resp *http.Response) error { resp.Body = testbed.Flip(resp.Body, int64(data/2)); return nil })
		if got, _, err := r.get(t, "key", ""); err == nil || !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: flipped with the trailer cached: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestStrictProvesTheUpload: the store keeps what it got of an upload that was refused, and makes it up to the announced
// length. Ranges of it open, for its frames are genuine; strict, nothing does.
func TestStrictProvesTheUpload(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	strict := newRig(t, r.store, options{kit: r, proxy: func(c *proxy.Config) { c.Strict = true }})
	n := 4 << 20
	r.put(t, "key", pattern(n))
	sealed, metadata := r.stored(t, "key")
	clear(sealed[int64(len(sealed))-envelope.TrailerSize(int64(n))-frame-envelope.FrameOverhead:])
	r.putStored(t, "key", sealed, metadata)
	for _, byteRange := range []string{"bytes=0-99", "bytes=70000-80000", "bytes=4190000-", "bytes=-1", ""} {
		if _, _, err := strict.get(t, "key", byteRange); err == nil {
			t.Errorf("strict: %q opened", byteRange)
		}
	}
	if _, err := strict.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}); err == nil {
		t.Error("strict: HEAD gave no error")
	}
	for _, byteRange := range []string{"bytes=4190000-", "bytes=-1", ""} {
		if _, _, err := r.get(t, "key", byteRange); err == nil {
			t.Errorf("%q opened", byteRange)
		}
	}
	r.put(t, "good", pattern(n))
	for i, want := range []int{2, 1} {
		strict.wire.Reset()
		testbed.Must(first(strict.get(t, "good", "bytes=0-99")))(t)
		if requests := len(strict.wire.Requests()); requests != want {
			t.Errorf("strict, read %d: %d requests, want %d", i+1, requests, want)
		}
	}
}

// TestStrictSizes: HEAD of a regular multipart object believes the stored length, unless told not to.
func TestStrictSizes(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	strict := newRig(t, r.store, options{kit: r, proxy: func(c *proxy.Config) { c.Strict = true }})
	plain := r.putMultipart(t, "key", multipartLayouts["regular"]...)
	sealed, metadata := r.stored(t, "key")
	r.putStored(t, "key", sealed[:envelope.SealedSize(int64(len(plain)-1))], metadata)
	head := testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}))(t)
	if *head.ContentLength != int64(len(plain)-1) {
		t.Errorf("HEAD says %d", *head.ContentLength)
	}
	if _, err := strict.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}); err == nil {
		t.Error("strict: HEAD gave no error")
	}
	_, _, err := r.get(t, "key", "")
	wantCode(t, err, "InternalError")
}

// TestIrregularListing: listings show the plaintext size of an irregular object, which takes one small read, once.
func TestIrregularListing(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		want := map[string]int64{}
		for name, parts := range multipartLayouts {
			want[name] = int64(len(r.putMultipart(t, name, parts...)))
		}
		r.putStored(t, "like an irregular one", pattern(int(envelope.SealedSize(frame))+1), nil)
		want["like an irregular one"] = envelope.SealedSize(frame) + 1
		for i, requests := range []int{6, 1} {
			r.wire.Reset()
			list := testbed.Must(r.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &r.bucket}))(t)
			for _, o := range list.Contents {
				if *o.Size != want[*o.Key] {
					t.Errorf("%s: listed with %d bytes, not %d", *o.Key, *o.Size, want[*o.Key])
				}
			}
			if n := len(r.wire.Requests()); n != requests || len(list.Contents) != len(want) {
				t.Errorf("listing %d: %d requests, want %d; %d entries", i+1, n, requests, len(list.Contents))
			}
		}
	})
}

// TestPlaintextRangesNearTheEnd: where plaintext is read, each range of it is, also one whose sealed counterpart lies
// behind its end.
func TestPlaintextRangesNearTheEnd(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{proxy: func(c *proxy.Config) { c.PlaintextReads = true }})
	plain := pattern(2*frame + 13)
	r.putStored(t, "key", plain, nil)
	for _, try := range []struct {
		byteRange string
		want      []byte
	}{{"bytes=131072-131080", plain[131072:131081]}, {"bytes=131072-", plain[131072:]}, {"bytes=-5", plain[len(plain)-5:]}, {"bytes=131084-", plain[131084:]}} {
		if got, _, err := r.get(t, "key", try.byteRange); err != nil || !bytes.Equal(got, try.want) {
			t.Errorf("%s: %d bytes, %v", try.byteRange, len(got), err)
		}
	}
	_, _, err := r.get(t, "key", "bytes=131085-")
	wantCode(t, err, "InvalidRange")
}

// TestNoGuessedType: an object without a type at the store gets none from its plaintext.
func TestNoGuessedType(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", []byte("<html><script>alert(1)</script></html>"))
	r.wire.AlterResponse(func(resp *http.Response) error { resp.Header.Del("Content-Type"); return nil })
	if _, out, err := r.get(t, "key", ""); err != nil || out.ContentType != nil && *out.ContentType != "" {
		t.Errorf("type %q, %v", *out.ContentType, err)
	}
}
