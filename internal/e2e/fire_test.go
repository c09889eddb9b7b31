package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// kind tells what one of the proxy's requests to the store is for.
func kind(req *http.Request) string {
	u, err := url.ParseRequestURI(req.RequestURI)
	if err != nil {
		return err.Error()
	}
	query := u.Query()
	internal := strings.Contains(u.Path, "/.sseproxy/uploads/")
	switch {
	case internal && strings.HasSuffix(u.Path, "/state"):
		return req.Method + " state"
	case internal:
		return req.Method + " stash"
	case query.Has("versions"):
		return "list versions"
	case query.Has("uploads"):
		return "create"
	case query.Get("partNumber") == "10000":
		return "own part"
	case query.Has("partNumber"):
		return "part"
	case query.Has("uploadId"):
		return map[string]string{http.MethodGet: "list parts", http.MethodPost: "complete", http.MethodDelete: "abort"}[req.Method]
	}
	return req.Method
}

// fire is what happens to the proxy's requests of one kind.
type fire struct {
	on   string
	lost bool // the store does not do what they ask
	back func(*http.Response) error
}

// under puts a rig's wire under fire, until it is called with none.
func (r *rig) under(f fire) {
	if f.on == "" {
		r.wire.AlterRequest(nil)
		r.wire.AlterResponse(nil)
		return
	}
	r.wire.AlterRequest(func(req *http.Request) error {
		if f.lost && kind(req) == f.on {
			req.Header.Set("Authorization", "lost")
		}
		return nil
	})
	r.wire.AlterResponse(func(resp *http.Response) error {
		if kind(resp.Request) == f.on {
			return f.back(resp)
		}
		return nil
	})
}

// answers gives an answer in place of the store's.
func answers(status int, body string) func(*http.Response) error {
	return func(resp *http.Response) error {
		resp.StatusCode = status
		setBody(resp, []byte(body))
		return nil
	}
}

func setBody(resp *http.Response, body []byte) {
	resp.Body, resp.TransferEncoding = io.NopCloser(bytes.NewReader(body)), nil
	resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
}

// says gives an error of S3's form.
func says(status int, code string) func(*http.Response) error {
	return answers(status, errorXML(code))
}

func errorXML(code string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>" + code + "</Code><Message>No.</Message></Error>"
}

const falseResult = "<CompleteMultipartUploadResult><ETag>0123-2</ETag></CompleteMultipartUploadResult>"

func cut(*http.Response) error { return io.EOF }

// errorStatuses has the codes that a client may see in these tests.
var errorStatuses = map[string]int{
	"PreconditionFailed": 412, "ConditionalRequestConflict": 409, "InvalidPart": 400, "EntityTooSmall": 400, "NoSuchUpload": 404, "AccessDenied": 403,
	"InternalError": 500, "SlowDown": 503, "ServiceUnavailable": 503,
}

// wantS3 fails the test unless err is one that S3 has, with its status.
func wantS3(t testing.TB, what string, err error) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || errorStatuses[api.ErrorCode()] == 0 || errorStatuses[api.ErrorCode()] != statusOf(err) {
		t.Errorf("%s: not an error of S3's: %v", what, err)
	}
}

// left lists what a bucket has below the reserved prefix.
func (r *rig) left(t testing.TB) (keys []string) {
	t.Helper()
	list := testbed.Must(r.direct.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &r.bucket, Prefix: ptr(".sseproxy/")}))(t)
	for _, v := range list.Versions {
		keys = append(keys, *v.Key)
	}
	for _, m := range list.DeleteMarkers {
		keys = append(keys, *m.Key+" (delete marker)")
	}
	return keys
}

// want reads an object whole and compares.
func (r *rig) want(t testing.TB, what, key string, plain []byte) (etag string) {
	t.Helper()
	got, out, err := r.get(t, key, "")
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%s: %d bytes of %d, %v", what, len(got), len(plain), err)
		return ""
	}
	return *out.ETag
}

// begun is an upload that waits for its Complete, over an object that is there.
type begun struct {
	key, id  string
	old, new []byte
	parts    []types.CompletedPart
}

// begin uploads parts of the given sizes to a key that has an object.
func (r *rig) begin(t testing.TB, key string, sizes ...int) *begun {
	t.Helper()
	b := &begun{key: key, old: []byte("the old object at " + key)}
	r.put(t, key, b.old)
	b.id = r.startUpload(t, key, s3.CreateMultipartUploadInput{})
	for i, size := range sizes {
		body := pattern(size + i)[i:]
		b.new = append(b.new, body...)
		b.parts = append(b.parts, r.sendPart(t, key, b.id, i+1, body, ""))
	}
	return b
}

// bare returns an upload's parts as a client has them that took its ETags from a listing.
func (r *rig) bare(t testing.TB, b *begun) (parts []types.CompletedPart) {
	list := testbed.Must(r.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id}))(t)
	for _, p := range list.Parts {
		parts = append(parts, types.CompletedPart{PartNumber: p.PartNumber, ETag: p.ETag})
	}
	return parts
}

const kept = "" // in place of a code: the fire does no harm

// fires has what can happen to Complete's own requests, and what the client is told.
var fires = map[string]struct {
	fire
	code string
}{
	"Complete is refused by a condition":      {fire{"complete", true, says(412, "PreconditionFailed")}, "PreconditionFailed"},
	"Complete meets another writer":           {fire{"complete", true, says(409, "ConditionalRequestConflict")}, "ConditionalRequestConflict"},
	"Complete is denied":                      {fire{"complete", true, says(403, "AccessDenied")}, "AccessDenied"},
	"Complete gets 500":                       {fire{"complete", true, says(500, "InternalError")}, "InternalError"},
	"Complete gets 503":                       {fire{"complete", true, says(503, "SlowDown")}, "SlowDown"},
	"Complete gets a page of a proxy":         {fire{"complete", true, answers(502, "<html>Bad Gateway</html>")}, "ServiceUnavailable"},
	"Complete gets no answer":                 {fire{"complete", true, cut}, "ServiceUnavailable"},
	"Complete: 200 with an error":             {fire{"complete", true, says(200, "InternalError")}, "InternalError"},
	"Complete: 200 and SlowDown":              {fire{"complete", true, says(200, "SlowDown")}, "SlowDown"},
	"Complete: 200, space, an error":          {fire{"complete", true, answers(200, strings.Repeat(" \n", 5000)+errorXML("InternalError"))}, "InternalError"},
	"Complete: 200 with nothing":              {fire{"complete", true, answers(200, "")}, "InternalError"},
	"Complete: 200 with space":                {fire{"complete", true, answers(200, strings.Repeat(" ", 100))}, "InternalError"},
	"Complete: 200 with garbage":              {fire{"complete", true, answers(200, "\x00\x01 done")}, "InternalError"},
	"Complete: 200, cut short":                {fire{"complete", true, answers(200, "<CompleteMultipartUploadResult><ETag>abc")}, "InternalError"},
	"Complete: 200 with another document":     {fire{"complete", true, answers(200, "<ListPartsResult><ETag>abc</ETag></ListPartsResult>")}, "InternalError"},
	"Complete: 200 without an ETag":           {fire{"complete", true, answers(200, "<CompleteMultipartUploadResult/>")}, "ServiceUnavailable"},
	"Complete: 200, huge":                     {fire{"complete", true, answers(200, "<CompleteMultipartUploadResult>"+strings.Repeat(" ", 1<<20))}, "InternalError"},
	"Complete is told of a wrong part":        {fire{"complete", true, says(400, "InvalidPart")}, "SlowDown"},
	"done, but 500":                           {fire{"complete", false, says(500, "InternalError")}, "InternalError"},
	"done, but 503":                           {fire{"complete", false, says(503, "SlowDown")}, "SlowDown"},
	"done, no answer":                         {fire{"complete", false, cut}, "ServiceUnavailable"},
	"done, half an answer":                    {fire{"complete", false, func(resp *http.Response) error { resp.Body = testbed.CutAfter(resp.Body, 20); return nil }}, "ServiceUnavailable"},
	"done, but 200 with an error":             {fire{"complete", false, says(200, "InternalError")}, "InternalError"},
	"done, but 200 with nothing":              {fire{"complete", false, answers(200, "")}, "InternalError"},
	"done, but the condition":                 {fire{"complete", false, says(412, "PreconditionFailed")}, "PreconditionFailed"},
	"done, but a wrong part":                  {fire{"complete", false, says(400, "InvalidPart")}, kept},
	"done, but no such upload":                {fire{"complete", false, says(404, "NoSuchUpload")}, kept},
	"done, but another ETag":                  {fire{"complete", false, answers(200, falseResult)}, kept},
	"not done, but 200":                       {fire{"complete", true, answers(200, falseResult)}, "SlowDown"},
	"done, but nobody may look":               {fire{http.MethodHead, true, says(403, "AccessDenied")}, kept},
	"done, but nobody can look":               {fire{http.MethodHead, true, cut}, kept},
	"done, behind white space":                {fire{"complete", false, spaced}, kept},
	"part 10000 gets 500":                     {fire{"own part", true, says(500, "InternalError")}, "InternalError"},
	"part 10000 gets 503":                     {fire{"own part", true, says(503, "SlowDown")}, "SlowDown"},
	"part 10000 gets no answer":               {fire{"own part", true, cut}, "ServiceUnavailable"},
	"part 10000 is there, but 500":            {fire{"own part", false, says(500, "InternalError")}, "InternalError"},
	"part 10000 is there, no answer":          {fire{"own part", false, cut}, "ServiceUnavailable"},
	"part 10000 has a wrong ETag":             {fire{"own part", false, func(resp *http.Response) error { resp.Header.Set("Etag", `"0123"`); return nil }}, "SlowDown"},
	"the list of parts gets 500":              {fire{"list parts", true, says(500, "InternalError")}, "InternalError"},
	"the list of parts gets no answer":        {fire{"list parts", true, cut}, "ServiceUnavailable"},
	"the list of parts is cut":                {fire{"list parts", false, func(resp *http.Response) error { resp.Body = testbed.CutAfter(resp.Body, 300); return nil }}, "ServiceUnavailable"},
	"the state is not removed":                {fire{"DELETE state", true, says(500, "InternalError")}, kept},
	"nobody hears that the state was removed": {fire{"DELETE state", false, cut}, kept},
}

// stashFires is the same for uploads whose last part is short.
var stashFires = map[string]struct {
	fire
	code string
}{
	"the stash gets 500":        {fire{"GET stash", true, says(500, "InternalError")}, "InternalError"},
	"the stash gets no answer":  {fire{"GET stash", true, cut}, "ServiceUnavailable"},
	"the stash is gone":         {fire{"GET stash", true, says(404, "NoSuchKey")}, "NoSuchUpload"},
	"the stash breaks off":      {fire{"GET stash", false, func(resp *http.Response) error { resp.Body = testbed.CutAfter(resp.Body, 50_000); return nil }}, "ServiceUnavailable"},
	"the stash is short":        {fire{"GET stash", false, answers(200, "short")}, "InternalError"},
	"stashes are not listed":    {fire{"list versions", true, says(500, "InternalError")}, "InternalError"},
	"the stash is not removed":  {fire{"DELETE stash", true, says(503, "SlowDown")}, kept},
	"the list of stashes is no": {fire{"list versions", true, answers(200, "no")}, "ServiceUnavailable"},
}

// spaced puts the white space before an answer that S3 sends while it works.
func spaced(resp *http.Response) error {
	resp.Header.Del("Content-Length")
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(strings.Repeat(" \n", 500)), resp.Body), resp.Body}
	return nil
}

// TestCompleteUnderFire: whatever happens between proxy and store while an upload is completed, the client gets an error of S3's or
// the truth, the object is the old one or the new one and whole, and a second try at another replica ends well.
func TestCompleteUnderFire(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		other := newRig(t, store, options{kit: r})
		try := func(what string, f fire, code string, sizes ...int) {
			b := r.begin(t, "key", sizes...)
			r.under(f)
			out, err := r.complete(t, b.key, b.id, b.parts...)
			r.under(fire{})
			done := f.on == "complete" && !f.lost || code == kept
			switch {
			case code == kept && err != nil:
				t.Errorf("%s: %v", what, err)
			case code != kept && err == nil:
				t.Errorf("%s: no error", what)
			case code != kept:
				wantCode(t, err, code)
				wantS3(t, what, err)
			}
			if done {
				other.want(t, what, b.key, b.new)
			} else {
				other.want(t, what, b.key, b.old)
			}
			again, err := other.complete(t, b.key, b.id, b.parts...)
			if err != nil {
				t.Errorf("%s: again: %v", what, err)
				return
			}
			if etag := r.want(t, what+", again", b.key, b.new); etag != *again.ETag || out != nil && etag != *out.ETag {
				t.Errorf("%s: ETag %s, after %s", what, etag, *again.ETag)
			}
			if left := r.left(t); len(left) > 0 {
				t.Errorf("%s: left: %q", what, left)
			}
		}
		for what, f := range fires {
			try(what, f.fire, f.code, mib5)
		}
		for what, f := range stashFires {
			try(what, f.fire, f.code, mib5, 100_000)
		}
		for _, what := range []string{"Complete gets no answer", "done, no answer", "part 10000 gets no answer", "part 10000 is there, but 500"} {
			try(what+", with a stash", fires[what].fire, fires[what].code, mib5, 100_000)
		}
	})
}

// TestCompleteTimesOut: a store that answers too late has done it or not. The client is told to try again, and then it ends well.
func TestCompleteTimesOut(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.upstream.ResponseHeaderTimeout = time.Second
	for _, lost := range []bool{true, false} {
		b := r.begin(t, "key", mib5, 100)
		r.under(fire{"complete", lost, func(*http.Response) error { time.Sleep(1500 * time.Millisecond); return io.EOF }})
		_, err := r.complete(t, b.key, b.id, b.parts...)
		r.under(fire{})
		wantCode(t, err, "ServiceUnavailable")
		if lost {
			r.want(t, "timed out", b.key, b.old)
		}
		testbed.Must(r.complete(t, b.key, b.id, b.parts...))(t)
		r.want(t, "again", b.key, b.new)
	}
}

// TestStateUnderFire: a replica that must read the state first, and cannot, says so. What it says is final only where the state is gone.
func TestStateUnderFire(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	b := r.begin(t, "key", mib5, 100)
	for what, f := range map[string]struct {
		back func(*http.Response) error
		code string
	}{
		"500":       {says(500, "InternalError"), "InternalError"},
		"503":       {says(503, "SlowDown"), "SlowDown"},
		"no answer": {cut, "ServiceUnavailable"},
		"cut":       {func(resp *http.Response) error { resp.Body = testbed.CutAfter(resp.Body, 30); return nil }, "InternalError"},
	} {
		other := newRig(t, r.store, options{kit: r})
		other.under(fire{"GET state", false, f.back})
		_, err := other.complete(t, b.key, b.id, b.parts...)
		wantCode(t, err, f.code)
		wantS3(t, what, err)
		_, err = other.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id, PartNumber: ptr(int32(1)), Body: strings.NewReader("body")})
		wantCode(t, err, f.code)
		other.under(fire{})
		other.want(t, what, b.key, b.old)
	}
	testbed.Must(newRig(t, r.store, options{kit: r}).complete(t, b.key, b.id, b.parts...))(t)
	r.want(t, "without fire", b.key, b.new)
}

// TestCompleteAgain: a Complete that is repeated because its answer was lost is answered from the object, as long as that is the one
// it made; and where nobody can tell now, the client is told to ask again.
func TestCompleteAgain(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		other := newRig(t, store, options{kit: r})
		conditional := func(r *rig, b *begun, in s3.CompleteMultipartUploadInput) error {
			in.Bucket, in.Key, in.UploadId, in.MultipartUpload = &r.bucket, &b.key, &b.id, &types.CompletedMultipartUpload{Parts: b.parts}
			_, err := r.client.CompleteMultipartUpload(t.Context(), &in)
			return err
		}
		lose := func(b *begun, in s3.CompleteMultipartUploadInput) {
			r.under(fire{"complete", false, cut})
			wantCode(t, conditional(r, b, in), "ServiceUnavailable")
			r.under(fire{})
		}

		b := r.begin(t, "if none", mib5, 100)
		testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &b.key}))(t)
		in := s3.CompleteMultipartUploadInput{IfNoneMatch: ptr("*")}
		lose(b, in)
		for _, r := range []*rig{r, other} {
			if err := conditional(r, b, in); err != nil {
				t.Errorf("If-None-Match, again: %v", err)
			}
		}
		rival := r.begin(t, "if none", mib5)
		wantCode(t, conditional(r, rival, in), "PreconditionFailed")
		r.want(t, "If-None-Match of another upload", rival.key, rival.old)

		b = r.begin(t, "if match", mib5, 100)
		in = s3.CompleteMultipartUploadInput{IfMatch: ptr(r.want(t, "before", b.key, b.old))}
		lose(b, in)
		for _, r := range []*rig{r, other} {
			if err := conditional(r, b, in); err != nil {
				t.Errorf("If-Match, again: %v", err)
			}
		}
		r.want(t, "If-Match", b.key, b.new)

		b = r.begin(t, "overwritten", mib5, 100)
		lose(b, s3.CompleteMultipartUploadInput{})
		r.put(t, b.key, []byte("newer"))
		for _, r := range []*rig{r, other} {
			_, err := r.complete(t, b.key, b.id, b.parts...)
			wantCode(t, err, "NoSuchUpload")
		}
		r.want(t, "overwritten", b.key, []byte("newer"))

		b = r.begin(t, "deleted", mib5, 100)
		lose(b, s3.CompleteMultipartUploadInput{})
		testbed.Must(r.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &b.key}))(t)
		for _, r := range []*rig{r, other} {
			_, err := r.complete(t, b.key, b.id, b.parts...)
			wantCode(t, err, "NoSuchUpload")
		}

		b = r.begin(t, "replaced", mib5, 100)
		lose(b, s3.CompleteMultipartUploadInput{})
		sealed, metadata := r.stored(t, b.key)
		damaged := bytes.Clone(sealed)
		damaged[len(damaged)-100] ^= 1
		for what, state := range map[string]struct {
			body     []byte
			metadata map[string]string
		}{"plaintext": {b.new, nil}, "damaged": {damaged, metadata}, "cut": {sealed[:len(sealed)-1], metadata}, "no envelope": {sealed, map[string]string{"sseproxy": "AQ"}}} {
			r.putStored(t, b.key, state.body, state.metadata)
			if _, err := r.complete(t, b.key, b.id, b.parts...); err == nil {
				t.Errorf("replaced by %s: completed", what)
			} else {
				wantCode(t, err, "NoSuchUpload")
			}
		}
		r.putStored(t, b.key, sealed, metadata)
		testbed.Must(other.complete(t, b.key, b.id, b.parts...))(t)

		b = r.begin(t, "replaced meanwhile", mib5, 100)
		lose(b, s3.CompleteMultipartUploadInput{})
		r.during(http.MethodGet, func() { other.put(t, b.key, []byte("newer")) })
		_, err := r.complete(t, b.key, b.id, b.parts...)
		wantCode(t, err, "NoSuchUpload")
		r.under(fire{})
		r.want(t, "replaced meanwhile", b.key, []byte("newer"))

		b = r.begin(t, "blind", mib5, 100)
		lose(b, s3.CompleteMultipartUploadInput{})
		for what, back := range map[string]func(*http.Response) error{"no answer": cut, "503": says(503, ""), "500": says(500, "")} {
			for _, on := range []string{http.MethodHead, http.MethodGet} {
				blind := newRig(t, store, options{kit: r})
				blind.under(fire{on, false, back})
				_, err := blind.complete(t, b.key, b.id, b.parts...)
				if statusOf(err) < http.StatusInternalServerError {
					t.Errorf("%s to a %s: %v", what, on, err)
				}
				wantS3(t, what, err)
			}
		}
		testbed.Must(r.complete(t, b.key, b.id, b.parts...))(t)
		r.want(t, "blind, again", b.key, b.new)
	})
}

// TestCompleteOfOtherParts: a list that is not the one which was completed is no repeated Complete, whoever's ETags it has.
func TestCompleteOfOtherParts(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	first, second := r.begin(t, "twins", mib5, mib5), r.begin(t, "twins", mib5, mib5)
	lists := [][]types.CompletedPart{r.bare(t, first), r.bare(t, second)}
	for i, b := range []*begun{first, second} {
		testbed.Must(r.complete(t, b.key, b.id, lists[i]...))(t)
	}
	_, err := r.complete(t, first.key, first.id, lists[0]...)
	wantCode(t, err, "NoSuchUpload")

	for _, last := range []int{mib5, 100} {
		for _, completedBare := range []bool{false, true} {
			b := r.begin(t, "key", mib5, mib5, last)
			before := b.parts
			resent := r.sendPart(t, b.key, b.id, 2, pattern(mib5 + 9)[9:], "")
			b.parts = []types.CompletedPart{before[0], resent, before[2]}
			listed := r.bare(t, b)
			done, undone := b.parts, listed
			if completedBare {
				done, undone = listed, b.parts
			}
			out := testbed.Must(r.complete(t, b.key, b.id, done...))(t)
			if again, err := r.complete(t, b.key, b.id, done...); err != nil || *again.ETag != *out.ETag {
				t.Errorf("the same list (bare: %v): %v", completedBare, err)
			}
			for what, parts := range map[string][]types.CompletedPart{
				"an earlier attempt": before, "fewer parts": done[:2], "another number": {done[0], done[1], {PartNumber: ptr(int32(4)), ETag: done[2].ETag}},
				"other ETags": undone,
			} {
				_, err := r.complete(t, b.key, b.id, parts...)
				if err == nil {
					t.Errorf("%s (bare: %v, last %d): completed", what, completedBare, last)
				} else {
					wantCode(t, err, "NoSuchUpload")
				}
			}
		}
	}
}

// TestCompletesAtOnce: two Completes of one upload at once, of the same list or of different ones, at two replicas. The object is one
// of those that were asked for, whoever was told of success asked for it, and a repeated Complete says the same.
//
// versitygw writes a part and its ETag one after the other, and moves an upload's files while it puts them together. So with different
// lists it may take the trailer of one for that of the other; and with the same it may miss parts, and no Complete succeed.
func TestCompletesAtOnce(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		replicas := []*rig{r, newRig(t, store, options{kit: r})}
		atomic := store.Name != "versitygw"
		for round := range 12 {
			b := r.begin(t, "key", mib5, mib5, 70_000)
			lists := [][]types.CompletedPart{b.parts, b.parts}
			wants := [][]byte{b.new, b.new}
			switch {
			case round%3 == 1 && atomic:
				lists[1], wants[1] = b.parts[:2], b.new[:2*mib5]
			case round%3 == 2 && atomic:
				lists[1], wants[1] = b.parts[1:], b.new[mib5:]
			}
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for i, replica := range replicas {
				wg.Go(func() { _, errs[i] = replica.complete(t, b.key, b.id, lists[i]...) })
			}
			wg.Wait()
			if errs[0] != nil && errs[1] != nil {
				if atomic {
					t.Errorf("round %d: no Complete succeeded: %v", round, errs)
				}
				r.want(t, "no Complete succeeded", b.key, b.old)
				continue
			}
			got, _, err := r.get(t, b.key, "")
			if err != nil || !bytes.Equal(got, wants[0]) && !bytes.Equal(got, wants[1]) {
				t.Errorf("round %d: %d bytes, %v; Completes: %v", round, len(got), err, errs)
				continue
			}
			for i, replica := range replicas {
				same := bytes.Equal(got, wants[i])
				if errs[i] != nil {
					wantS3(t, fmt.Sprint("round ", round), errs[i])
				} else if !same {
					t.Errorf("round %d: Complete %d of what is not there succeeded", round, i)
				}
				if _, err := replica.complete(t, b.key, b.id, lists[i]...); (err == nil) != same {
					t.Errorf("round %d: again: %v", round, err)
				}
			}
		}
	})
}

// during calls f once, while the proxy's first request of a kind waits on its way to the store.
func (r *rig) during(on string, f func()) {
	var once sync.Once
	r.wire.AlterRequest(func(req *http.Request) error {
		if kind(req) == on {
			once.Do(f)
		}
		return nil
	})
}

// after calls f once, while the answer to the proxy's first request of a kind waits on its way back.
func (r *rig) after(on string, f func()) {
	var once sync.Once
	r.wire.AlterResponse(func(resp *http.Response) error {
		if kind(resp.Request) == on {
			once.Do(f)
		}
		return nil
	})
}

// steps are the requests of a Complete, of which some other request may come before or after each.
var steps = []string{"list parts", "list versions", "GET stash", "own part", "complete", "DELETE state"}

// TestAbortDuringComplete: an Abort at another replica, at each step of a Complete: one of them wins.
func TestAbortDuringComplete(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		other := newRig(t, store, options{kit: r})
		for _, on := range steps {
			for when, interrupt := range map[string]func(string, func()){"before": r.during, "after": r.after} {
				what := when + " " + on
				b := r.begin(t, "key", mib5, 100)
				var aborted error
				interrupt(on, func() {
					_, aborted = other.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id})
				})
				_, err := r.complete(t, b.key, b.id, b.parts...)
				r.under(fire{})
				won := on == "complete" && when == "after" || on == "DELETE state"
				if won {
					if err != nil {
						t.Errorf("%s: the Complete failed: %v", what, err)
					}
					other.want(t, what, b.key, b.new)
				} else {
					if store.Name == "versitygw" && statusOf(err) == http.StatusServiceUnavailable {
						_, err = other.complete(t, b.key, b.id, b.parts...) // it took the upload for one that is being completed
					}
					wantCode(t, err, "NoSuchUpload")
					other.want(t, what, b.key, b.old)
					if aborted != nil {
						t.Errorf("%s: the Abort failed: %v", what, aborted)
					}
				}
				if aborted != nil {
					wantCode(t, aborted, "NoSuchUpload")
				}
				if left := r.left(t); len(left) > 0 {
					t.Errorf("%s: left: %q", what, left)
				}
			}
		}
	})
}

// TestResendDuringComplete: a part that is sent again, at each step of a Complete: the object has what the client's ETag means,
// or is the old one and the client is told which part is no more what it was.
func TestResendDuringComplete(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		other := newRig(t, store, options{kit: r})
		for _, on := range steps {
			for when, interrupt := range map[string]func(string, func()){"before": r.during, "after": r.after} {
				for number, size := range map[int]int{1: mib5, 2: 100} {
					what := fmt.Sprintf("part %d %s %s", number, when, on)
					b := r.begin(t, "key", mib5, 100)
					interrupt(on, func() {
						_, _ = other.client.UploadPart(t.Context(), &s3.UploadPartInput{
							Bucket: &r.bucket, Key: &b.key, UploadId: &b.id, PartNumber: ptr(int32(number)), Body: bytes.NewReader(pattern(size + 1)[1:]),
						})
					})
					_, err := r.complete(t, b.key, b.id, b.parts...)
					r.under(fire{})
					if err == nil {
						other.want(t, what, b.key, b.new)
						continue
					}
					wantCode(t, err, "InvalidPart")
					if strings.Contains(err.Error(), "10000") {
						t.Errorf("%s: %v", what, err)
					}
					other.want(t, what, b.key, b.old)
				}
			}
		}
	})
}

// TestLostPartAnswer: a part whose answer was lost is sent again; each ETag the client may hold then means its own bytes, and the
// list that the store gives means what is there.
func TestLostPartAnswer(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for _, size := range []int{100, mib5} {
		for _, f := range []fire{
			{"part", false, cut},
			{"part", true, says(500, "InternalError")},
			{"PUT stash", false, cut},
			{"PUT stash", true, says(500, "InternalError")},
		} {
			if f.on == "PUT stash" && size == mib5 {
				continue
			}
			what := fmt.Sprintf("%d bytes, %s, lost %v", size, f.on, f.lost)
			b := r.begin(t, "key", mib5)
			good := r.sendPart(t, b.key, b.id, 2, pattern(size), "")
			r.under(f)
			_, err := r.client.UploadPart(t.Context(), &s3.UploadPartInput{
				Bucket: &r.bucket, Key: &b.key, UploadId: &b.id, PartNumber: ptr(int32(2)), Body: bytes.NewReader(pattern(size + 3)[3:]),
			})
			r.under(fire{})
			wantS3(t, what, err)
			list := testbed.Must(r.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id}))(t)
			resent := !strings.HasPrefix(*good.ETag, strings.TrimSuffix(strings.TrimSuffix(*list.Parts[1].ETag, `"`), "-sse"))
			_, err = r.complete(t, b.key, b.id, types.CompletedPart{PartNumber: ptr(int32(1)), ETag: list.Parts[0].ETag}, types.CompletedPart{PartNumber: ptr(int32(2)), ETag: list.Parts[1].ETag})
			got, _, getErr := r.get(t, b.key, "")
			want := append(bytes.Clone(b.new), pattern(size)...)
			if resent {
				want = append(bytes.Clone(b.new), pattern(size + 3)[3:]...)
			}
			switch {
			case getErr != nil:
				t.Errorf("%s: %v", what, getErr)
			case err == nil && !bytes.Equal(got, want):
				t.Errorf("%s: completed with another attempt than the listed one", what)
			case err != nil && !bytes.Equal(got, b.old):
				t.Errorf("%s: %v, but the object is another", what, err)
			case err != nil:
				wantCode(t, err, "InvalidPart") // which of the two it is nobody can tell
			}
		}
	}
}

// TestLargestPart: a part is refused from its length where its sealed form does not fit one request; the client's part 10000 must
// leave room for the trailer.
func TestLargestPart(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
	const largest = 5_366_366_976 + envelope.FrameOverhead // bytes of plaintext in 5 GiB, near enough
	for _, try := range []struct {
		number int
		length int64
		code   string
	}{{1, largest + frame, "EntityTooLarge"}, {10000, largest - frame, "EntityTooLarge"}, {10000, largest - 2<<20, ""}, {1, largest - frame, ""}} {
		m := r.putMessage(fmt.Sprintf("key?partNumber=%d&uploadId=%s", try.number, id), unsignedPayload, text("x"))
		m.missing = try.length - 1
		if a := r.send(t, m); a.Code != try.code && (try.code != "" || a.Code == "EntityTooLarge") {
			t.Errorf("part %d of %d bytes: %d %s", try.number, try.length, a.status, a.Code)
		}
	}
}

// TestPartAnsweredTooSoon: a 200 that comes before the store has the part, or its stash, is no success, and nothing waits for ever.
func TestPartAnsweredTooSoon(t *testing.T) {
	for _, try := range []struct {
		soon string
		size int
	}{{"part", 4 << 20}, {"PUT stash", 4 << 20}, {"part", 8 << 20}} {
		answered := make(chan struct{})
		r := newRig(t, testbed.Store(t), options{})
		store := httputil.NewSingleHostReverseProxy(testbed.Must(url.Parse(r.store.URL))(t))
		store.ErrorLog = log.New(io.Discard, "", 0)
		eager := newRig(t, r.store, options{kit: r, proxy: at(t, fake(t, func(w http.ResponseWriter, req *http.Request) {
			if kind(req) != try.soon {
				store.ServeHTTP(w, req)
				return
			}
			w.Header().Set("Etag", `"0123"`)
			_ = http.NewResponseController(w).Flush()
			close(answered)
		})).proxy})
		id := eager.startUpload(t, "key", s3.CreateMultipartUploadInput{})
		m := eager.putMessage("key?partNumber=1&uploadId="+id, unsignedPayload, text(pattern(try.size)))
		head, sent := m.wire(t, eager.url)
		c := eager.dial(t)
		testbed.Must(io.WriteString(c, head+sent[:1<<20]))(t)
		<-answered
		time.Sleep(100 * time.Millisecond) // until it has arrived
		go func() { _, _ = io.WriteString(c, sent[1<<20:]) }()
		if a := readAnswer(t, bufio.NewReader(c), m.method); a.status != http.StatusServiceUnavailable {
			t.Errorf("%+v: %d %s", try, a.status, a.body)
		}
		eager.upstream.rest(t)
	}
}

// TestFailedPartsLeakNothing: of a part that goes to two places and fails at one, nothing waits for the other.
func TestFailedPartsLeakNothing(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{})
	count := func() int {
		r.upstream.rest(t)
		r.server.CloseClientConnections()
		return runtime.NumGoroutine()
	}
	before := count()
	for range 10 {
		for _, f := range []fire{
			{"part", true, says(403, "AccessDenied")},
			{"PUT stash", true, says(403, "AccessDenied")},
			{"part", false, cut},
			{"PUT stash", false, cut},
			{"part", false, func(resp *http.Response) error { resp.Header.Del("Etag"); return nil }},
		} {
			r.under(f)
			_, err := r.client.UploadPart(t.Context(), &s3.UploadPartInput{
				Bucket: &r.bucket, Key: ptr("key"), UploadId: &id, PartNumber: ptr(int32(1)), Body: bytes.NewReader(pattern(3 << 20)),
			})
			wantS3(t, f.on, err)
		}
	}
	r.under(fire{})
	eventually(t, "there are no more goroutines than before", func() bool { return count() <= before })
}

// TestOwnPartNumber: the client's own part 10000 keeps S3's rules, though the store does not have it as a part.
func TestOwnPartNumber(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		other := newRig(t, store, options{kit: r})
		send := func(r *rig, id string) error {
			_, err := r.client.UploadPart(t.Context(), &s3.UploadPartInput{
				Bucket: &r.bucket, Key: ptr("key"), UploadId: &id, PartNumber: ptr(int32(10000)), Body: strings.NewReader("body"),
			})
			return err
		}
		b := r.begin(t, "key", mib5)
		if err := send(r, b.id); err != nil {
			t.Fatal(err)
		}
		_, err := r.complete(t, b.key, b.id, b.parts[0], types.CompletedPart{PartNumber: ptr(int32(10000)), ETag: ptr("0123")})
		wantCode(t, err, "InvalidPart")
		r.want(t, "a wrong ETag of part 10000", b.key, b.old)
		testbed.Must(other.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id}))(t)
		wantCode(t, send(r, b.id), "NoSuchUpload")
		if left := r.left(t); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// TestAbortAgain: an Abort whose answer was lost, or that could not remove what the proxy keeps, is repeated: then it is gone.
func TestAbortAgain(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for _, f := range []fire{{"abort", false, cut}, {"abort", false, says(500, "InternalError")}, {"DELETE state", true, says(503, "SlowDown")}, {"list versions", true, cut}} {
		b := r.begin(t, "key", mib5, 100)
		abort := func() error {
			_, err := r.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id})
			return err
		}
		r.under(f)
		wantS3(t, f.on, abort())
		r.under(fire{})
		wantCode(t, abort(), "NoSuchUpload")
		if left := r.left(t); len(left) > 0 {
			t.Errorf("%s: left: %q", f.on, left)
		}
		_, err := r.complete(t, b.key, b.id, b.parts...)
		wantCode(t, err, "NoSuchUpload")
		r.want(t, f.on, b.key, b.old)
	}
}

// TestCreateUnderFire: an upload whose state cannot be written is none: the client gets an error, and the store is left without it.
func TestCreateUnderFire(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	for what, f := range map[string]fire{
		"500": {"PUT state", true, says(500, "InternalError")}, "no answer": {"PUT state", true, cut}, "there, but no answer": {"PUT state", false, cut},
		"no upload": {"create", true, says(503, "SlowDown")}, "no id": {"create", true, answers(200, "<InitiateMultipartUploadResult/>")},
		"garbage": {"create", true, answers(200, "done")},
	} {
		r.under(f)
		_, err := r.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: ptr("key")})
		r.under(fire{})
		wantS3(t, what, err)
		list := testbed.Must(r.direct.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &r.bucket}))(t)
		if len(list.Uploads) > 0 {
			t.Errorf("%s: %d uploads are left", what, len(list.Uploads))
		}
	}
	if found, err := r.proxy.CollectGarbage(t.Context(), r.bucket, 0, false); err != nil || found.Live > 0 || found.Removed > 1 {
		t.Errorf("%+v, %v", found, err)
	}
	if left := r.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestNoState: without an upload's state nothing of it goes to the store: no part, no copy, no Complete.
func TestNoState(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	r.put(t, "source", pattern(1000))
	past := *testbed.Must(r.direct.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: ptr("key")}))(t).UploadId
	b := r.begin(t, "key", mib5, 100)
	for _, key := range r.left(t) {
		if strings.HasSuffix(key, "/state") {
			testbed.Must(r.direct.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key}))(t)
		}
	}
	for what, id := range map[string]string{"no upload": "unknown", "an upload past the proxy": past, "its state removed": b.id} {
		fresh := newRig(t, r.store, options{kit: r})
		tries := map[string]func() error{
			"CompleteMultipartUpload": func() error { _, err := fresh.complete(t, b.key, id, b.parts...); return err },
			"ListParts": func() error {
				_, err := fresh.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &b.key, UploadId: &id})
				return err
			},
		}
		for _, number := range []int32{1, 9999, 10000} {
			tries[fmt.Sprint("UploadPart ", number)] = func() error {
				_, err := fresh.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: &b.key, UploadId: &id, PartNumber: &number, Body: bytes.NewReader(pattern(100))})
				return err
			}
			tries[fmt.Sprint("UploadPartCopy ", number)] = func() error {
				_, err := fresh.client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: &r.bucket, Key: &b.key, UploadId: &id, PartNumber: &number, CopySource: ptr(r.bucket + "/source")})
				return err
			}
		}
		for op, try := range tries {
			err := try()
			if err == nil {
				t.Errorf("%s, %s: no error", what, op)
				continue
			}
			wantCode(t, err, "NoSuchUpload")
		}
		for _, x := range fresh.wire.Requests() {
			if x.Method != http.MethodGet && x.Method != http.MethodHead {
				t.Errorf("%s: %s %s went to the store", what, x.Method, x.Target)
			}
		}
		fresh.want(t, what, b.key, b.old)
	}
	testbed.Must(r.direct.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: ptr("key"), UploadId: &past}))(t)
}

// TestUploadDeclares: what a client says at Complete, of parts and of the whole, is held against what it sent; and what nobody can
// know is not shown.
func TestUploadDeclares(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	plain := append(pattern(mib5), pattern(100)...)
	composite := sumOf(checksum.CRC32, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(plain[:mib5])), crc32.ChecksumIEEE(plain[mib5:])))
	type input = s3.CompleteMultipartUploadInput
	for what, try := range map[string]struct {
		create s3.CreateMultipartUploadInput
		change func(in *input, parts []types.CompletedPart)
		code   string
	}{
		"a part's wrong SHA-256": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(_ *input, parts []types.CompletedPart) { parts[0].ChecksumSHA256 = parts[1].ChecksumSHA256 }, "InvalidPart",
		},
		"a part's malformed SHA-256": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(_ *input, parts []types.CompletedPart) { parts[1].ChecksumSHA256 = ptr("AAAA") }, "InvalidArgument",
		},
		"two checksums of a part": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(_ *input, parts []types.CompletedPart) { parts[1].ChecksumCRC32 = ptr("AAAAAA==") }, "InvalidArgument",
		},
		"a part's checksum in another algorithm": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(_ *input, parts []types.CompletedPart) {
				parts[1].ChecksumSHA256, parts[1].ChecksumCRC32 = nil, ptr(sumOf(checksum.CRC32, plain[mib5:]))
			}, "BadDigest",
		},
		"no ETag": {
			s3.CreateMultipartUploadInput{},
			func(_ *input, parts []types.CompletedPart) { parts[0].ETag = nil }, "MalformedXML",
		},
		"no number": {
			s3.CreateMultipartUploadInput{},
			func(_ *input, parts []types.CompletedPart) { parts[0].PartNumber = nil }, "MalformedXML",
		},
		"a number below 1": {
			s3.CreateMultipartUploadInput{},
			func(_ *input, parts []types.CompletedPart) { parts[0].PartNumber = ptr(int32(-1)) }, "InvalidArgument",
		},
		"the right size": {
			s3.CreateMultipartUploadInput{},
			func(in *input, _ []types.CompletedPart) { in.MpuObjectSize = ptr(int64(len(plain))) }, "",
		},
		"another size": {
			s3.CreateMultipartUploadInput{},
			func(in *input, _ []types.CompletedPart) { in.MpuObjectSize = ptr(int64(len(plain) + 1)) }, "InvalidRequest",
		},
		"a size below 0": {
			s3.CreateMultipartUploadInput{},
			func(in *input, _ []types.CompletedPart) { in.MpuObjectSize = ptr(int64(-1)) }, "InvalidRequest",
		},
		"no such type": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(in *input, _ []types.CompletedPart) { in.ChecksumType = "HALF_OBJECT" }, "InvalidRequest",
		},
		"a type in lower case": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: "crc32", ChecksumType: "full_object"},
			func(in *input, _ []types.CompletedPart) { in.ChecksumType = "Full_Object" }, "",
		},
		"two checksums of the whole": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			func(in *input, _ []types.CompletedPart) {
				in.ChecksumCRC32, in.ChecksumCRC32C = ptr(sumOf(checksum.CRC32, plain)), ptr(sumOf(checksum.CRC32C, plain))
			}, "InvalidRequest",
		},
		"a whole's checksum of parts": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32 = ptr(sumOf(checksum.CRC32, plain) + "-2") }, "InvalidRequest",
		},
		"a checksum of parts": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32 = ptr(composite + "-2") }, "",
		},
		"a checksum of another number of parts": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32 = ptr(composite + "-3") }, "BadDigest",
		},
		"a checksum of no number of parts": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32 = ptr(composite + "-x") }, "InvalidRequest",
		},
		"a part's SHA-256 left out": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(_ *input, parts []types.CompletedPart) { parts[1].ChecksumSHA256 = nil }, "InvalidRequest",
		},
		"another type": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(in *input, _ []types.CompletedPart) { in.ChecksumType = types.ChecksumTypeFullObject }, "InvalidRequest",
		},
		"the same type": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256},
			func(in *input, _ []types.CompletedPart) { in.ChecksumType = types.ChecksumTypeComposite }, "",
		},
		"a type that the CRC-64 which S3 computes itself does not have": {
			s3.CreateMultipartUploadInput{},
			func(in *input, _ []types.CompletedPart) { in.ChecksumType = types.ChecksumTypeComposite }, "InvalidRequest",
		},
		"a wrong CRC-32": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32 = ptr("AAAAAA==") }, "BadDigest",
		},
		"a malformed CRC-32": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32 = ptr("AAA") }, "InvalidRequest",
		},
		"a right CRC-32": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32 = ptr(sumOf(checksum.CRC32, plain)) }, "",
		},
		"another algorithm than the upload's": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32C = ptr(sumOf(checksum.CRC32C, plain)) }, "BadDigest",
		},
		"the sum under another algorithm's name": {
			s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC32C = ptr(sumOf(checksum.CRC32, plain)) }, "BadDigest",
		},
		"a wrong CRC-64": {
			s3.CreateMultipartUploadInput{},
			func(in *input, _ []types.CompletedPart) { in.ChecksumCRC64NVME = ptr("AAAAAAAAAAA=") }, "BadDigest",
		},
		"a right CRC-64": {
			s3.CreateMultipartUploadInput{},
			func(in *input, _ []types.CompletedPart) {
				in.ChecksumCRC64NVME = ptr(sumOf(checksum.CRC64NVME, plain))
			}, "",
		},
		"a CRC-64 that the ETags do not tell": {
			s3.CreateMultipartUploadInput{},
			func(in *input, parts []types.CompletedPart) {
				parts[0].ETag = ptr(strings.Split(*parts[0].ETag, "-")[0] + `-sse"`)
				in.ChecksumCRC64NVME = ptr(sumOf(checksum.CRC64NVME, plain))
			}, "BadDigest",
		},
		"zero for it": {
			s3.CreateMultipartUploadInput{},
			func(in *input, parts []types.CompletedPart) {
				parts[0].ETag = ptr(strings.Split(*parts[0].ETag, "-")[0] + `-sse"`)
				in.ChecksumCRC64NVME = ptr("AAAAAAAAAAA=")
			}, "BadDigest",
		},
		"no parts": {
			s3.CreateMultipartUploadInput{},
			func(in *input, _ []types.CompletedPart) { in.MultipartUpload.Parts = nil }, "InvalidRequest",
		},
		"part 0": {
			s3.CreateMultipartUploadInput{},
			func(_ *input, parts []types.CompletedPart) { parts[0].PartNumber = ptr(int32(0)) }, "MalformedXML",
		},
		"part 10001": {
			s3.CreateMultipartUploadInput{},
			func(_ *input, parts []types.CompletedPart) { parts[1].PartNumber = ptr(int32(10001)) }, "InvalidArgument",
		},
	} {
		id := r.startUpload(t, what, try.create)
		a := try.create.ChecksumAlgorithm
		parts := []types.CompletedPart{r.sendPart(t, what, id, 1, plain[:mib5], a), r.sendPart(t, what, id, 2, plain[mib5:], a)}
		in := &input{Bucket: &r.bucket, Key: &what, UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}
		try.change(in, parts)
		if _, err := r.client.CompleteMultipartUpload(t.Context(), in); try.code != "" {
			wantCode(t, err, try.code)
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
		} else {
			r.want(t, what, what, plain)
		}
	}

	// The ETags that ListParts shows tell no checksum.
	b := &begun{key: "bare ETags"}
	b.id = r.startUpload(t, b.key, s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject})
	r.sendPart(t, b.key, b.id, 1, plain, "")
	testbed.Must(r.complete(t, b.key, b.id, r.bare(t, b)...))(t)
	if head := r.headSums(t, b.key); head.ChecksumCRC32 != nil || head.ChecksumCRC64NVME != nil {
		t.Errorf("%s: shown %v, %v", b.key, head.ChecksumCRC32, head.ChecksumCRC64NVME)
	}
}

func (r *rig) headSums(t testing.TB, key string) *s3.HeadObjectOutput {
	t.Helper()
	return testbed.Must(r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}))(t)
}

// TestUploadOfPartsWithoutChecksum: the proxy adds up a checksum of the whole object by itself; of a composite one, each part must bring its own.
func TestUploadOfPartsWithoutChecksum(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{})
	silent := r.newClient(t, func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	send := func(key string, create s3.CreateMultipartUploadInput, number int, body []byte) (string, *s3.UploadPartOutput, error) {
		id := r.startUpload(t, key, create)
		out, err := silent.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: ptr(int32(number)), Body: bytes.NewReader(body)})
		return id, out, err
	}
	plain := pattern(mib5)
	for _, number := range []int{1, 10000} {
		id, out, err := send("whole", s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c, ChecksumType: types.ChecksumTypeFullObject}, number, plain)
		if err != nil {
			t.Fatal(err)
		}
		want := sumOf(checksum.CRC32C, plain)
		if out.ChecksumCRC32C == nil || *out.ChecksumCRC32C != want {
			t.Errorf("part %d: shown %v, want %s", number, out.ChecksumCRC32C, want)
		}
		testbed.Must(r.complete(t, "whole", id, types.CompletedPart{PartNumber: ptr(int32(number)), ETag: out.ETag}))(t)
		if head := r.headSums(t, "whole"); head.ChecksumCRC32C == nil || *head.ChecksumCRC32C != want {
			t.Errorf("the object: shown %v, want %s", head.ChecksumCRC32C, want)
		}
	}
	_, _, err := send("composite", s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c}, 1, plain)
	wantCode(t, err, "InvalidRequest")
	for _, kind := range []types.ChecksumType{"HALF_OBJECT", ""} {
		_, err := r.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: ptr("key"), ChecksumType: kind, ChecksumAlgorithm: "CRC16"})
		wantCode(t, err, "InvalidRequest")
	}
}

// TestPartsAreVerified: what is not what its client declared is no part, wherever it would go.
func TestPartsAreVerified(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32} {
			id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{ChecksumAlgorithm: a})
			for _, number := range []int{1, 10000} {
				for _, size := range []int{0, 100, 200_000, mib5 + 1} {
					plain := pattern(size)
					wrong := map[string]string{"X-Amz-Checksum-Crc32": "AAAAAQ==", "Content-Md5": sumOf(checksum.MD5, []byte("other"))}
					want := "BadDigest"
					if a != "" {
						wrong = map[string]string{"X-Amz-Checksum-Sha256": sumOf(checksum.SHA256, plain)} // right, but not what the upload has
						want = "InvalidRequest"
					}
					for header, value := range wrong {
						m := r.putMessage(fmt.Sprintf("key?partNumber=%d&uploadId=%s", number, id), unsignedPayload, text(plain)).with(header, value)
						if a := r.send(t, m); a.Code != want {
							t.Errorf("part %d of %d bytes, %s: %d %s", number, size, header, a.status, a.Code)
						}
					}
				}
			}
			// The wire does not pass resets on, and versitygw takes the end of a connection for the end of a part.
			if parts := r.bare(t, &begun{key: "key", id: id}); len(parts) > 0 && store.Name != "versitygw" {
				t.Errorf("%d parts", len(parts))
			}
		}
	})
}

// TestListPartsPages: pages of any size list the client's parts and no other, also behind a Complete that was refused: then the
// proxy's part 10000 is there. Of the client's own the last attempt counts.
func TestListPartsPages(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		b := r.begin(t, "key", mib5, mib5, 100)
		r.under(fire{"complete", true, says(412, "PreconditionFailed")})
		_, err := r.complete(t, b.key, b.id, b.parts...)
		wantCode(t, err, "PreconditionFailed")
		r.under(fire{})
		pages := func(size int32) (list string) {
			in := &s3.ListPartsInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id, MaxParts: &size}
			for n := range 10 {
				out := testbed.Must(r.client.ListParts(t.Context(), in))(t)
				for _, p := range out.Parts {
					list += fmt.Sprintf("%d: %d, ", *p.PartNumber, *p.Size)
				}
				if full := len(out.Parts) == int(size); len(out.Parts) > int(size) || *out.IsTruncated && !full || n > 0 && len(out.Parts) == 0 {
					t.Errorf("pages of %d: page %d has %d parts, truncated: %v", size, n, len(out.Parts), *out.IsTruncated)
					return list
				}
				if !*out.IsTruncated {
					return list
				}
				in.PartNumberMarker = out.NextPartNumberMarker
			}
			return list
		}
		want := "1: 5242880, 2: 5242880, 3: 100, "
		for _, own := range []int{0, 11, 12, 13, 14} {
			if own > 0 {
				r.sendPart(t, b.key, b.id, 10000, pattern(own), "")
				time.Sleep(1100 * time.Millisecond) // versitygw's times are in seconds
			}
			for size := range int32(5) {
				last := ""
				if own > 0 {
					last = fmt.Sprintf("10000: %d, ", own)
				}
				if got := pages(size + 1); got != want+last {
					t.Errorf("pages of %d: %s", size+1, got)
				}
			}
		}
		behind := testbed.Must(r.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id, PartNumberMarker: ptr("10000")}))(t)
		if len(behind.Parts) > 0 {
			t.Errorf("%d parts behind the last", len(behind.Parts))
		}
		// A part that broke off at a store which keeps what it has is no part.
		r.under(fire{"list parts", false, partsLie(func(l *listedParts) { l.Part[1].Size = 65570 })})
		_, err = r.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &b.key, UploadId: &b.id})
		wantCode(t, err, "InternalError")
		r.under(fire{})
	})
}
