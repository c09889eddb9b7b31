package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// named returns the keys that a command has named in the log, with the reasons that it gave, and empties it.
func (r *rig) named() map[string]string {
	reasons := make(map[string]string)
	for _, e := range r.logs.TakeAll() {
		fields := e.ContextMap()
		key, ok := fields["key"].(string)
		if reason, _ := fields["error"].(string); ok {
			reasons[key] = e.Message + ": " + reason
		}
	}
	return reasons
}

func (r *rig) verify(t testing.TB, w proxy.Walk) (proxy.Tally, error) {
	t.Helper()
	w.Bucket = r.bucket
	return r.proxy.Verify(t.Context(), w)
}

// putSums uploads parts with checksums, and returns what the client declares of them in Complete.
func (r *rig) putSums(t testing.TB, key string, a types.ChecksumAlgorithm, kind types.ChecksumType, parts ...[]byte) (id string, done []types.CompletedPart) {
	t.Helper()
	id = r.startUpload(t, key, s3.CreateMultipartUploadInput{ChecksumAlgorithm: a, ChecksumType: kind})
	for i, part := range parts {
		done = append(done, r.sendPart(t, key, id, i+1, part, a))
	}
	return id, done
}

// TestVerify: objects of every size, layout, encryption and checksum open; those that have no envelope are a finding unless clients may
// read such ones, and those of customers are skipped. It reads every sealed byte once, writes none, and goes on behind a key.
func TestVerify(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newEncryptionRig(t, store, nil)
		n := 0
		for name, size := range map[string]int{"0": 0, "1": 1, "frame": frame, "frames": 3*frame + 17} {
			for _, a := range []types.ChecksumAlgorithm{"", "SHA256", "CRC32C", "CRC64NVME"} {
				testbed.Must(r.client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &r.bucket, Key: ptr("single/" + name + "/of " + string(a)), Body: bytes.NewReader(pattern(size)), ChecksumAlgorithm: a,
				}))(t)
				n++
			}
		}
		for name, parts := range multipartLayouts {
			r.putMultipart(t, "multi/"+name, parts...)
			n++
		}
		for a, kind := range map[types.ChecksumAlgorithm]types.ChecksumType{"SHA256": "COMPOSITE", "CRC32": "COMPOSITE", "CRC32C": "FULL_OBJECT", "CRC64NVME": "FULL_OBJECT"} {
			key := "sums/" + string(a)
			id, done := r.putSums(t, key, a, kind, pattern(mib5), pattern(100))
			testbed.Must(r.complete(t, key, id, done...))(t)
			n++
		}
		testbed.Must(r.copyFrom(t, r.bucket+"/single/frames/of%20SHA256", "copy", func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = "SHA1" }))(t)
		r.ask(t, "PUT", "kms", pattern(frame+1), encryptions["with context"].headers(encryptionName))
		n += 2
		fresh := newRig(t, store, options{kit: r})
		fresh.wire.Reset()
		if got, err := fresh.verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: n}) {
			t.Fatalf("%+v of %d, %v, %v", got, n, err, fresh.named())
		}
		for _, x := range fresh.wire.Requests() {
			if x.Method != http.MethodGet {
				t.Errorf("%s %s", x.Method, x.Target)
			}
		}

		r.ask(t, "PUT", "of a customer", []byte("x"), encryptions["SSE-C"].headers(encryptionName))
		testbed.Must(r.direct.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &r.bucket, Key: ptr("plain"), Body: bytes.NewReader([]byte("x"))}))(t)
		got, err := fresh.verify(t, proxy.Walk{})
		if want := (proxy.Tally{Done: n, Customer: 1, Plain: 1}); err == nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		if named := fresh.named(); len(named) != 1 || named["plain"] == "" {
			t.Errorf("named: %v", named)
		}
		allowing := newRig(t, store, options{kit: r, proxy: func(c *proxy.Config) { c.PlaintextReads = true }})
		if got, err := allowing.verify(t, proxy.Walk{Prefix: "plain"}); err != nil || got != (proxy.Tally{Exempt: 1}) {
			t.Errorf("where plaintext may be read: %+v, %v", got, err)
		}
		if got, err := fresh.verify(t, proxy.Walk{Prefix: "sums/", After: "sums/CRC32C"}); err != nil || got != (proxy.Tally{Done: 2}) {
			t.Errorf("behind a key: %+v, %v", got, err)
		}
	})
}

// TestVerifyShares: shares together see each object once, and none of them all.
func TestVerifyShares(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	const objects, shares = 60, 3
	for n := range objects {
		r.put(t, fmt.Sprintf("object/%d", n), []byte("x"))
	}
	r.putStored(t, "plain", []byte("x"), nil)
	var all proxy.Tally
	for share := range uint64(shares) {
		got, err := r.verify(t, proxy.Walk{Share: share, Shares: shares})
		if (err != nil) != (got.Plain > 0) || got.Done == 0 || got.Done == objects {
			t.Errorf("share %d: %+v, %v", share, got, err)
		}
		all.Done, all.Plain = all.Done+got.Done, all.Plain+got.Plain
	}
	if want := (proxy.Tally{Done: objects, Plain: 1}); all != want {
		t.Errorf("together %+v, want %+v", all, want)
	}
}

// TestVerifyFinds: whatever the store does to an object is found, the object is named, and no other is.
func TestVerifyFinds(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		const size, sf = 3*frame + 17, frame + envelope.FrameOverhead
		makers := map[string]func(key string){
			"single": func(key string) { r.put(t, key, pattern(size)) },
			"multi":  func(key string) { r.putMultipart(t, key, part{1, size, false}) },
			"gaps":   func(key string) { r.putMultipart(t, key, part{2, size - 10, true}, part{7, 10, false}) },
		}
		end := envelope.SealedPartSize(size) // of a single part's frames
		flip := func(at int64) func(b []byte) []byte {
			return func(b []byte) []byte {
				i := at
				if i < 0 {
					i += int64(len(b))
				}
				b[i] ^= 1
				return b
			}
		}
		bends := map[string]func(b []byte) []byte{
			"nonce": flip(3), "first frame": flip(100), "frame within": flip(2*sf + 5), "last frame": flip(3*sf + 14), "its tag": flip(end - 1),
			"trailer": flip(-20), "box": flip(-40), "tail": flip(-1), "length in the tail": flip(-10),
			"cut":             func(b []byte) []byte { return b[:len(b)-1] },
			"cut at a frame":  func(b []byte) []byte { return b[:2*sf] },
			"no trailer":      func(b []byte) []byte { return b[:end] },
			"a byte more":     func(b []byte) []byte { return append(b, 0) },
			"empty":           func([]byte) []byte { return nil },
			"frames swapped":  func(b []byte) []byte { return slices.Concat(b[sf:2*sf], b[:sf], b[2*sf:]) },
			"a frame doubled": func(b []byte) []byte { return slices.Concat(b[:sf], b[:sf], b[2*sf:]) },
		}
		bad := make(map[string]bool)
		for kind, make := range makers {
			make(kind + "/as it was")
			body, metadata := r.stored(t, kind+"/as it was")
			r.putStored(t, kind+"/as it was", body, metadata)
			for what, bend := range bends {
				key := kind + "/" + what
				make(key)
				body, metadata := r.stored(t, key)
				r.putStored(t, key, bend(body), metadata)
				bad[key] = true
			}
			for _, what := range []string{"garbage", "a letter changed", "of another object", "swapped"} {
				key := kind + "/envelope " + what
				make(key)
				make(key + "'")
				body, metadata := r.stored(t, key)
				other, otherMetadata := r.stored(t, key+"'")
				bad[key] = true
				switch what {
				case "garbage":
					r.putStored(t, key, body, map[string]string{"sseproxy": "AQEA"})
				case "a letter changed":
					r.putStored(t, key, body, map[string]string{"sseproxy": changeLetter(metadata["sseproxy"], 20)})
				case "of another object":
					r.putStored(t, key, body, otherMetadata)
				default:
					r.putStored(t, key, other, otherMetadata)
					r.putStored(t, key+"'", body, metadata)
					bad[key+"'"] = true
				}
			}
		}
		// Every frame is authentic, but the client's checksum was never that of the body.
		r.putMultipartWith(t, "wrong/CRC", func(t *envelope.Trailer) { t.CRC++ }, part{1, size, false})
		wrong := sha256.Sum256([]byte("another"))
		r.putMultipartWith(t, "wrong/whole", func(t *envelope.Trailer) {
			t.Checksum, t.Type = checksum.Value{Algorithm: checksum.SHA256, Sum: wrong[:]}, envelope.FullObject
		}, part{1, size, false})
		r.putMultipartWith(t, "wrong/part", func(t *envelope.Trailer) {
			composite := sha256.Sum256(wrong[:])
			t.Checksum, t.Type = checksum.Value{Algorithm: checksum.SHA256, Sum: composite[:]}, envelope.Composite
			t.Parts[0].Checksum = wrong[:]
		}, part{1, size, false})
		r.putMultipartWith(t, "wrong/composite", func(t *envelope.Trailer) {
			of := sha256.Sum256(pattern(size))
			t.Checksum, t.Type = checksum.Value{Algorithm: checksum.SHA256, Sum: wrong[:]}, envelope.Composite
			t.Parts[0].Checksum = of[:]
		}, part{1, size, false})
		for _, key := range []string{"wrong/CRC", "wrong/whole", "wrong/part", "wrong/composite"} {
			bad[key] = true
		}

		fresh := newRig(t, store, options{kit: r})
		got, err := fresh.verify(t, proxy.Walk{})
		good := len(makers) * (1 + 3) // as it was, and the neighbours of what was given another's
		if want := (proxy.Tally{Done: good, Failed: len(bad)}); err == nil || got != want {
			t.Errorf("%+v, want %+v, %v", got, want, err)
		}
		named := fresh.named()
		keys := make(map[string]bool)
		for key, reason := range named {
			keys[key] = true
			if strings.HasPrefix(key, "wrong/") != strings.Contains(reason, "does not have the checksum") && !strings.Contains(reason, "part 1 does not have") {
				t.Errorf("%s: %s", key, reason)
			}
		}
		if diff := cmp.Diff(bad, keys); diff != "" {
			t.Error(diff)
		}

		// Without an envelope nothing tells that it ever was sealed.
		body, _ := r.stored(t, "single/as it was")
		r.putStored(t, "single/as it was", body, nil)
		if got, err := fresh.verify(t, proxy.Walk{Prefix: "single/as"}); err == nil || got != (proxy.Tally{Plain: 1}) {
			t.Errorf("without its envelope: %+v, %v", got, err)
		}
	})
}

// TestVerifyReadsTheEnd: what a GET of a multipart object takes from another request, or drops, is read as it stands behind the frames.
func TestVerifyReadsTheEnd(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.putMultipart(t, "key", part{1, 3 * frame, false})
	size := r.storedSize(t, "key")
	for what, back := range map[string]func(*http.Response) error{
		"a bit of the trailer": func(resp *http.Response) error { resp.Body = testbed.Flip(resp.Body, size-100); return nil },
		"cut there":            func(resp *http.Response) error { resp.Body = testbed.CutAfter(resp.Body, size-100); return nil },
	} {
		r.wire.AlterResponse(func(resp *http.Response) error {
			if resp.Request.Header.Get("Range") == "" && strings.HasSuffix(resp.Request.URL.Path, "/key") {
				return back(resp)
			}
			return nil
		})
		if got, err := r.verify(t, proxy.Walk{}); err == nil || got != (proxy.Tally{Failed: 1}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	r.wire.AlterResponse(nil)
	if got, err := r.verify(t, proxy.Walk{}); err != nil || got != (proxy.Tally{Done: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestVerifyInDoubt: a store that does not answer is no proof that objects are good, and one whose listing does not end ends the command.
func TestVerifyInDoubt(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "key", pattern(frame))
	for what, back := range map[string]func(*http.Response) error{"500": says(500, "InternalError"), "403": says(403, "AccessDenied"), "no answer": cut} {
		r.wire.AlterResponse(func(resp *http.Response) error {
			if strings.HasSuffix(resp.Request.URL.Path, "/key") {
				return back(resp)
			}
			return nil
		})
		if got, err := r.verify(t, proxy.Walk{}); err == nil || got != (proxy.Tally{Failed: 1}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		r.wire.AlterResponse(back)
		if got, err := r.verify(t, proxy.Walk{}); err == nil || got != (proxy.Tally{}) {
			t.Errorf("%s, the listing: %+v, %v", what, got, err)
		}
	}
}
