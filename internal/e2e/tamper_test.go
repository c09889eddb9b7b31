package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// attack reads an object whole and in ranges while the store misbehaves. The oracle: the right bytes, or an error that the
// client notices; a whole read must be an error.
func (r *rig) attack(t *testing.T, what string, plain []byte) {
	t.Helper()
	for _, byteRange := range []string{"", "bytes=0-9", "bytes=70000-140000", "bytes=100-", "bytes=-10"} {
		got, out, err := r.get(t, "key", byteRange)
		want := plain
		if byteRange != "" && err == nil {
			var from, to int
			if _, scanErr := fmt.Sscanf(*out.ContentRange, "bytes %d-%d/", &from, &to); scanErr != nil || to >= len(plain) || int64(len(got)) != *out.ContentLength {
				t.Errorf("%s: %s answered %q", what, byteRange, *out.ContentRange)
				continue
			}
			want = plain[from : to+1]
		}
		if err == nil && (byteRange == "" || !bytes.Equal(got, want)) {
			t.Errorf("%s: GET %q gave %d bytes and no error", what, byteRange, len(got))
		}
		if err != nil && byteRange == "" && !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: GET %q gave wrong bytes before the error", what, byteRange)
		}
	}
}

// TestStoreAltersBytes flips a bit in each region of the stored object, on the wire.
func TestStoreAltersBytes(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for _, n := range []int{10, 3*frame + 17} {
		plain := pattern(n)
		r.put(t, "key", plain)
		size := envelope.SealedSize(int64(n))
		data := envelope.SealedPartSize(int64(n))
		for _, at := range []int64{0, 11, 12, 20, data / 2, data - 17, data - 1, data, data + 30, data + 60, data + 200, size - 20, size - 10, size - 1} {
			r.wire.AlterResponse(func(resp *http.Response) error {
				if resp.Request.Header.Get("Range") == "" && resp.StatusCode == http.StatusOK {
					resp.Body = testbed.Flip(resp.Body, at)
				}
				return nil
			})
			if got, _, err := r.get(t, "key", ""); err == nil {
				t.Errorf("%d bytes, bit at %d of %d flipped: %d bytes and no error", n, at, size, len(got))
			} else if !bytes.HasPrefix(plain, got) {
				t.Errorf("%d bytes, bit at %d flipped: wrong bytes before the error", n, at)
			}
		}
		// In a range, every byte of the frames that it touches counts.
		for at := range int64(60) {
			r.wire.AlterResponse(func(resp *http.Response) error {
				resp.Body = testbed.Flip(resp.Body, at*(min(data, frame+28)-1)/60)
				return nil
			})
			if got, _, err := r.get(t, "key", "bytes=0-3"); err == nil {
				t.Errorf("%d bytes, range, byte %d flipped: %q and no error", n, at, got)
			}
		}
		r.wire.AlterResponse(nil)
	}
}

// TestStoreReplacesObjects: what the store has under the key is replaced as a whole or in parts, with a right length.
func TestStoreReplacesObjects(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	plain := pattern(3*frame + 17)
	r.put(t, "other", pattern(3*frame + 17)[1:])
	r.put(t, "same", plain)
	r.put(t, "key", plain)
	sealed, metadata := r.stored(t, "key")
	same, sameMetadata := r.stored(t, "same")
	other, otherMetadata := r.stored(t, "other")
	const sf = frame + envelope.FrameOverhead
	for what, replaced := range map[string]struct {
		body     []byte
		metadata map[string]string
	}{
		"another object's bytes and envelope": {same, sameMetadata},
		"another object's bytes":              {same, metadata},
		"another object's envelope":           {sealed, sameMetadata},
		"another length":                      {other, otherMetadata},
		"frames swapped":                      {slices.Concat(sealed[sf:2*sf], sealed[:sf], sealed[2*sf:]), metadata},
		"a frame doubled":                     {slices.Concat(sealed[:sf], sealed[:sf], sealed[2*sf:]), metadata},
		"a frame left out":                    {slices.Concat(sealed[:sf], sealed[2*sf:]), metadata},
		"a frame of another object":           {slices.Concat(same[:sf], sealed[sf:]), metadata},
		"cut at a frame":                      {sealed[:2*sf], metadata},
		"cut in a frame":                      {sealed[:2*sf+5], metadata},
		"cut before the trailer":              {sealed[:envelope.SealedPartSize(int64(len(plain)))], metadata},
		"the last byte missing":               {sealed[:len(sealed)-1], metadata},
		"a byte behind the end":               {append(bytes.Clone(sealed), 0), metadata},
		"empty":                               {nil, metadata},
		"plaintext":                           {plain, nil},
		"plaintext of the sealed length":      {pattern(len(sealed)), nil},
		"no envelope":                         {sealed, nil},
		"an empty envelope":                   {sealed, map[string]string{"sseproxy": ""}},
		"garbage for an envelope":             {sealed, map[string]string{"sseproxy": "AQEA"}},
		"an envelope with a changed letter":   {sealed, map[string]string{"sseproxy": changeLetter(metadata["sseproxy"], 20)}},
	} {
		r.putStored(t, "key", replaced.body, replaced.metadata)
		r.attack(t, what, plain)
		if _, err := r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}); err == nil &&
			what != "another object's bytes" && !strings.HasPrefix(what, "a frame") && what != "frames swapped" {
			t.Errorf("%s: HEAD gave no error", what)
		}
	}
	r.putStored(t, "key", sealed, metadata)
	if got, _, err := r.get(t, "key", ""); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("put back as it was: %v", err)
	}
}

// changeLetter returns s with the letter at i changed.
func changeLetter(s string, i int) string {
	c := byte('A')
	if s[i] == 'A' {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

// TestStoreLies: false lengths, ranges and statuses, and answers that end early.
func TestStoreLies(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	plain := pattern(3*frame + 17)
	r.put(t, "key", plain)
	setLength := func(resp *http.Response, n int64) { resp.Header.Set("Content-Length", strconv.FormatInt(n, 10)) }
	for what, lie := range map[string]func(*http.Response) error{
		"Content-Length less":             func(resp *http.Response) error { setLength(resp, 1000); return nil },
		"Content-Length of the plaintext": func(resp *http.Response) error { setLength(resp, int64(len(plain))); return nil },
		"Content-Length more":             func(resp *http.Response) error { setLength(resp, 1<<20); return nil },
		"no Content-Length":               func(resp *http.Response) error { resp.Header.Del("Content-Length"); return nil },
		"an empty body": func(resp *http.Response) error {
			setLength(resp, 0)
			resp.Body = io.NopCloser(strings.NewReader(""))
			return nil
		},
		"204":              func(resp *http.Response) error { resp.StatusCode = http.StatusNoContent; return nil },
		"envelope removed": func(resp *http.Response) error { resp.Header.Del("X-Amz-Meta-Sseproxy"); return nil },
		"envelope twice": func(resp *http.Response) error {
			resp.Header["X-Amz-Meta-Sseproxy"] = append(resp.Header["X-Amz-Meta-Sseproxy"], resp.Header["X-Amz-Meta-Sseproxy"]...)
			return nil
		},
	} {
		r.wire.AlterResponse(lie)
		r.attack(t, what, plain)
	}
	for _, after := range []int64{0, 1, 1000, frame + 28, 2 * (frame + 28), envelope.SealedPartSize(int64(len(plain))), envelope.SealedSize(int64(len(plain))) - 1} {
		r.wire.AlterResponse(func(resp *http.Response) error { resp.Body = testbed.CutAfter(resp.Body, after); return nil })
		if got, _, err := r.get(t, "key", ""); err == nil || !bytes.HasPrefix(plain, got) {
			t.Errorf("cut after %d: %d bytes, %v", after, len(got), err)
		}
	}
	for _, contentRange := range []string{"bytes 0-9/10", "bytes 65564-131127/196985", "bytes 0-65563/999999", "bytes 1-65564/196985", "", "garbage"} {
		r.wire.AlterResponse(func(resp *http.Response) error { resp.Header.Set("Content-Range", contentRange); return nil })
		if got, _, err := r.get(t, "key", "bytes=0-9"); err == nil {
			t.Errorf("Content-Range %q: %q and no error", contentRange, got)
		}
	}
	// Another part of the object in place of the one that was asked for, in a truthful answer.
	r.wire.AlterResponse(nil)
	r.wire.AlterRequest(func(req *http.Request) error { req.Header.Set("Range", "bytes=65564-131127"); return nil })
	if got, _, err := r.get(t, "key", "bytes=0-9"); err == nil {
		t.Errorf("another range: %q and no error", got)
	}
	r.wire.AlterRequest(nil)
	if got, _, err := r.get(t, "key", ""); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("without lies: %v", err)
	}
}

// TestForeignKeyIsNotAskedFor: an envelope that names a key outside the configured set is refused before any provider is
// asked, even where the provider has the key; and another KEK of the same name opens nothing.
func TestForeignKeyIsNotAskedFor(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	createKey(t, r.keyring, "attacker")
	foreign := newRig(t, r.store, options{kit: r, proxy: func(c *proxy.Config) { c.KeyID = "attacker" }})
	foreign.put(t, "key", []byte("forged"))
	before := r.provider.Calls.Load()
	_, _, err := r.get(t, "key", "")
	wantCode(t, err, "AccessDenied")
	if _, err := r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: ptr("key")}); err == nil {
		t.Error("HEAD gave no error")
	}
	if n := r.provider.Calls.Load() - before; n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
	allowed := newRig(t, r.store, options{kit: r, proxy: func(c *proxy.Config) { c.ReadKeyIDs = []string{"attacker"} }})
	if got, _, err := allowed.get(t, "key", ""); err != nil || string(got) != "forged" {
		t.Errorf("configured for reading: %q, %v", got, err)
	}

	r.put(t, "mine", []byte("mine"))
	other := newRig(t, r.store, options{})
	_, _, err = (&rig{client: other.client, bucket: r.bucket}).get(t, "mine", "")
	wantCode(t, err, "InternalError")
}
