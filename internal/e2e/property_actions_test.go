package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"pgregory.net/rapid"
)

// What TestAnySequence does: each of these draws one request, or a few, and does the same on both sides.

func (w *world) put(t *rapid.T) {
	o := &object{key: w.key(t), body: w.body(t, 0, 1, 1000, frame, 3*frame+1)}
	if w.same(t, "PutObject", func(i int, r *rig) string {
		out, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &r.bucket, Key: &o.key, Body: bytes.NewReader(o.body), Metadata: map[string]string{"m": "put"}, // or versitygw keeps that of the object before
		})
		if err != nil {
			return failed(err)
		}
		o.etag[i], o.version[i] = *out.ETag, deref(out.VersionId)
		return succeeded(out.ResultMetadata, "")
	}) {
		w.add(o)
	}
}

func (w *world) create(t *rapid.T) {
	u := &trial{key: w.key(t), parts: map[int][]attempt{}}
	if w.same(t, "CreateMultipartUpload", func(i int, r *rig) string {
		out, err := r.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
			Bucket: &r.bucket, Key: &u.key, ContentType: ptr("text/odd"), Metadata: map[string]string{"m": "v"},
		})
		if err != nil {
			return failed(err)
		}
		u.id[i] = *out.UploadId
		return succeeded(out.ResultMetadata, "%s", *out.Key)
	}) {
		w.uploads = append(w.uploads, u)
		w.call(u.id, fmt.Sprintf("upload %d", len(w.uploads)))
	}
}

// upload picks an upload, for the most part one that is not over.
func (w *world) upload(t *rapid.T) *trial {
	uploads := slices.DeleteFunc(slices.Clone(w.uploads), func(u *trial) bool { return u.over != "" })
	if len(uploads) == 0 || rapid.IntRange(0, 9).Draw(t, "which") == 0 {
		uploads = w.uploads
	}
	if len(uploads) == 0 {
		t.Skip("no upload")
	}
	return uploads[rapid.IntRange(0, len(uploads)-1).Draw(t, "upload")]
}

var (
	partNumbers = []int{1, 2, 3, 3, 7, 9999, 10000}
	partSizes   = []int{0, 1, 1000, frame, mib5 - 1, mib5, mib5, mib5, mib5 + 1, mib5 + 512, mib5 + frame}
)

func (w *world) part(t *rapid.T) {
	u := w.upload(t)
	a := attempt{number: rapid.SampledFrom(partNumbers).Draw(t, "number")}
	if u.over != "" {
		a.body = w.body(t, 10) // a store may close the connection on a large one before the client has the answer
	} else if before := u.parts[a.number]; len(before) > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
		a.body = before[len(before)-1].body
	} else {
		a.body = w.body(t, partSizes...)
	}
	if w.same(t, "UploadPart", func(i int, r *rig) string {
		out, err := r.client.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: &r.bucket, Key: &u.key, UploadId: &u.id[i], PartNumber: ptr(int32(a.number)), Body: bytes.NewReader(a.body),
		})
		if err != nil {
			return failed(err)
		}
		a.etag[i] = *out.ETag
		return succeeded(out.ResultMetadata, "")
	}) {
		w.sent(u, a)
	}
}

func (w *world) sent(u *trial, a attempt) {
	u.parts[a.number] = append(u.parts[a.number], a)
	for i, etag := range a.etag {
		w.names[i][w.partName(i, etag)] = "ETag of " + digest(a.body)
	}
}

func (w *world) partCopy(t *rapid.T) {
	u, o := w.upload(t), w.object(t)
	what, byVersion := "UploadPartCopy", w.versioned && rapid.Bool().Draw(t, "by version")
	if current := w.current(o.key); !byVersion && current != nil {
		o = current
	} else if !byVersion {
		o = &object{key: o.key}
	}
	a, byteRange := attempt{number: rapid.SampledFrom(partNumbers).Draw(t, "number"), body: o.body}, ""
	there := slices.Contains(w.objects, o) && !o.marker
	if o.marker && byVersion && slices.Contains(w.objects, o) {
		what += " of a delete marker"
	}
	if !there && u.over != "" {
		t.Skip("two things wrong")
	}
	if there && u.over == "" && rapid.Bool().Draw(t, "ranged") {
		from, to := w.within(t, len(a.body))
		if to >= len(a.body) {
			what += " from behind the end"
		}
		a.body, byteRange = a.body[min(from, len(a.body)):min(to+1, len(a.body))], fmt.Sprintf("bytes=%d-%d", from, to)
	}
	if len(a.body) > 2*mib5+frame {
		t.Skip("too large") // each copy of a copy would double
	}
	if w.same(t, what, func(i int, r *rig) string {
		in := &s3.UploadPartCopyInput{
			Bucket: &r.bucket, Key: &u.key, UploadId: &u.id[i], PartNumber: ptr(int32(a.number)), CopySource: ptr(r.bucket + "/" + escapeSource.Replace(o.key)),
		}
		if byVersion {
			*in.CopySource += "?versionId=" + o.version[i]
		}
		if byteRange != "" {
			in.CopySourceRange = &byteRange
		}
		out, err := r.client.UploadPartCopy(t.Context(), in)
		if err != nil {
			return failed(err)
		}
		a.etag[i] = *out.CopyPartResult.ETag
		return succeeded(out.ResultMetadata, "")
	}) {
		w.sent(u, a)
	}
}

var escapeSource = strings.NewReplacer("ü", "%C3%BC", " ", "%20")

// within picks a range of bytes, for the most part near a border.
func (w *world) within(t *rapid.T, n int) (from, to int) {
	near := []int{0, frame - 1, frame, mib5 - 1, mib5, mib5 + 1, mib5 + 512, max(0, n-1), n}
	from = rapid.OneOf(rapid.SampledFrom(near), rapid.IntRange(0, n)).Draw(t, "from")
	return from, from + rapid.SampledFrom([]int{0, 1, 100, frame, mib5, 3 * mib5}).Draw(t, "length")
}

// choice is a CompleteMultipartUpload in the making.
type choice struct {
	what     string
	parts    []attempt
	etags    func(side int, a attempt) string // nil: its own
	size     *int64
	ifMatch  pair
	ifAbsent bool
}

func (w *world) complete(t *rapid.T) {
	u := w.upload(t)
	c := w.choose(t, u)
	made := &object{key: u.key}
	for i, a := range c.parts {
		made.gaps = made.gaps || a.number != i+1
		made.body, made.parts = append(made.body, a.body...), append(made.parts, len(a.body))
	}
	if w.same(t, c.what, func(i int, r *rig) string {
		in := &s3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: &u.key, UploadId: &u.id[i], MpuObjectSize: c.size, MultipartUpload: &types.CompletedMultipartUpload{}}
		for _, a := range c.parts {
			etag := a.etag[i]
			if c.etags != nil {
				etag = c.etags(i, a)
			}
			in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, types.CompletedPart{PartNumber: ptr(int32(a.number)), ETag: &etag})
		}
		if c.ifMatch[i] != "" {
			in.IfMatch = &c.ifMatch[i]
		}
		if c.ifAbsent {
			in.IfNoneMatch = ptr("*")
		}
		out, err := r.client.CompleteMultipartUpload(t.Context(), in)
		if err != nil {
			return failed(err)
		}
		made.etag[i], made.version[i] = *out.ETag, deref(out.VersionId)
		return succeeded(out.ResultMetadata, "%s", *out.Key)
	}) {
		w.add(made)
		u.over, u.made, u.list, u.etags = "completed", made, c.parts, c.etags
		w.readAs(t, made, false, func(*s3.GetObjectInput) string { return "GetObject" })
	}
}

// choose picks a subset of an upload's parts, and at most one thing that is wrong or special about the request.
func (w *world) choose(t *rapid.T, u *trial) choice {
	c := choice{what: "Complete", parts: u.list}
	if u.over != "completed" {
		c.parts = u.latest(t)
	}
	switch {
	case len(c.parts) == 0:
		c.what = "Complete of no part"
		return c
	case u.over == "aborted":
		c.what = "Complete after abort"
		return c
	case u.over != "" && rapid.Bool().Draw(t, "other parts") && len(u.list) > 1:
		c.what, c.parts = "Complete again, other parts", u.list[1:]
		return c
	case u.over != "" && w.current(u.key) == u.made:
		c.what, c.etags = "Complete again, object there", u.etags
		return c
	case u.over != "":
		c.what = "Complete again, object gone"
		return c
	}
	for _, a := range c.parts[:max(0, len(c.parts)-1)] {
		if len(a.body) < mib5 {
			return c // that is what is wrong
		}
	}
	special := rapid.SampledFrom(append(slices.Repeat([]string{""}, 12), slices.Sorted(maps.Keys(specials))...)).Draw(t, "special")
	if special != "" {
		c.what += ", " + special
		specials[special](t, w, u, &c)
	}
	return c
}

// latest picks some of an upload's parts, of each the last attempt.
func (u *trial) latest(t *rapid.T) (list []attempt) {
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		if rapid.IntRange(0, 5).Draw(t, "use") > 0 {
			list = append(list, u.parts[n][len(u.parts[n])-1])
		}
	}
	return list
}

// specials are what can be wrong with a Complete, or special about it.
var specials = map[string]func(t *rapid.T, w *world, u *trial, c *choice){
	"another order": func(t *rapid.T, _ *world, _ *trial, c *choice) {
		if len(c.parts) < 2 || c.short() {
			t.Skip("one part, or a second thing wrong")
		}
		slices.Reverse(c.parts)
	},
	"a part twice": func(t *rapid.T, _ *world, _ *trial, c *choice) {
		if c.short() {
			t.Skip("a second thing wrong")
		}
		c.parts = append(c.parts, c.parts[len(c.parts)-1])
	},
	"a wrong ETag": func(_ *rapid.T, _ *world, _ *trial, c *choice) {
		c.etags = func(int, attempt) string { return `"00112233445566778899aabbccddeeff"` }
	},
	"no such part": func(t *rapid.T, _ *world, _ *trial, c *choice) {
		last := &c.parts[len(c.parts)-1]
		if last.number++; last.number > 10000 {
			t.Skip("no such number")
		}
	},
	"right size":    func(_ *rapid.T, _ *world, _ *trial, c *choice) { c.size = ptr(c.length()) },
	"wrong size":    func(_ *rapid.T, _ *world, _ *trial, c *choice) { c.size = ptr(c.length() + 1) },
	"If-None-Match": func(_ *rapid.T, _ *world, _ *trial, c *choice) { c.ifAbsent = true },
	"If-Match": func(t *rapid.T, w *world, u *trial, c *choice) {
		c.ifMatch = pair{`"00112233445566778899aabbccddeeff"`, `"00112233445566778899aabbccddeeff"`}
		if o := w.current(u.key); o != nil && rapid.Bool().Draw(t, "current") {
			c.ifMatch = o.etag
		}
	},
	"an earlier attempt": func(t *rapid.T, _ *world, u *trial, c *choice) {
		at := rapid.IntRange(0, len(c.parts)-1).Draw(t, "part")
		attempts := u.parts[c.parts[at].number]
		if len(attempts) < 2 {
			t.Skip("none")
		}
		before := attempts[len(attempts)-2]
		if before.number == 10000 {
			c.what = "Complete with the ETag of an earlier part 10000"
		} else if bytes.Equal(before.body, c.parts[at].body) {
			c.what = "Complete with the ETag of an earlier attempt, same bytes"
		}
		c.parts[at] = before
	},
	"listed ETags": func(t *rapid.T, w *world, u *trial, c *choice) {
		var listed [2]map[int]string
		for i, r := range w.sides {
			out, err := r.client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &r.bucket, Key: &u.key, UploadId: &u.id[i]})
			if err != nil {
				t.Fatal(err)
			}
			listed[i] = map[int]string{}
			for _, p := range out.Parts {
				listed[i][int(*p.PartNumber)] = *p.ETag
			}
		}
		c.etags = func(side int, a attempt) string { return listed[side][a.number] }
		if last := c.parts[len(c.parts)-1]; last.number == 10000 && len(u.parts[last.number]) > 1 {
			c.what = "Complete with listed ETags, part 10000 sent twice"
		}
	},
}

// short reports whether the last part could not stand before another.
func (c *choice) short() bool { return len(c.parts[len(c.parts)-1].body) < mib5 }

func (c *choice) length() (n int64) {
	for _, a := range c.parts {
		n += int64(len(a.body))
	}
	return n
}

func (w *world) abort(t *rapid.T) {
	u := w.upload(t)
	if rapid.IntRange(0, 3).Draw(t, "keep") > 0 && u.over == "" {
		t.Skip("let it live") // else few come to an end
	}
	w.abortOne(t, u)
}

func (w *world) abortOne(t *rapid.T, u *trial) {
	if w.same(t, "AbortMultipartUpload", func(i int, r *rig) string {
		out, err := r.client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &u.key, UploadId: &u.id[i]})
		if err != nil {
			return failed(err)
		}
		return succeeded(out.ResultMetadata, "")
	}) && u.over == "" {
		u.over = "aborted"
	}
}

func (w *world) listParts(t *rapid.T) {
	u, limit := w.upload(t), rapid.Int32Range(1, 5).Draw(t, "max-parts")
	what := "ListParts"
	if len(u.parts[10000]) > 1 && u.over == "" {
		what += ", part 10000 sent twice"
	}
	var marker pair
	for more := true; more; {
		more = false
		w.same(t, what, func(i int, r *rig) string {
			in := &s3.ListPartsInput{Bucket: &r.bucket, Key: &u.key, UploadId: &u.id[i], MaxParts: &limit}
			if marker[i] != "" {
				in.PartNumberMarker = &marker[i]
			}
			out, err := r.client.ListParts(t.Context(), in)
			if err != nil {
				return failed(err)
			}
			text := ""
			for _, p := range out.Parts {
				text += fmt.Sprintf(" %d: %d bytes, %s;", *p.PartNumber, *p.Size, w.partName(i, *p.ETag))
			}
			if more = *out.IsTruncated; more {
				marker[i] = *out.NextPartNumberMarker
			}
			return succeeded(out.ResultMetadata, "%s truncated %v, next %s", text, more, marker[i])
		})
	}
}

func (w *world) listUploads(t *rapid.T) {
	key := w.key(t) // MinIO lists the uploads of one key only
	w.same(t, "ListMultipartUploads", func(i int, r *rig) string {
		out, err := r.client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &r.bucket, Prefix: &key})
		if err != nil {
			return failed(err)
		}
		var list []string // not in order: that of ids decides
		for _, u := range out.Uploads {
			list = append(list, *u.Key+" "+w.name(i, u.UploadId))
		}
		slices.Sort(list)
		return succeeded(out.ResultMetadata, "%q %v", list, *out.IsTruncated)
	})
}

func (w *world) list(t *rapid.T) {
	limit, delimiter := rapid.Int32Range(1, 4).Draw(t, "max-keys"), rapid.SampledFrom([]*string{nil, ptr("/")}).Draw(t, "delimiter")
	w.same(t, "ListObjectsV2", func(i int, r *rig) string {
		text := ""
		pages := s3.NewListObjectsV2Paginator(r.client, &s3.ListObjectsV2Input{Bucket: &r.bucket, MaxKeys: &limit, Delimiter: delimiter})
		for n := 0; pages.HasMorePages(); n++ {
			if n > 100 {
				return "no end of pages"
			}
			out, err := pages.NextPage(t.Context())
			if err != nil {
				return failed(err)
			}
			for _, o := range out.Contents {
				text += fmt.Sprintf(" %s: %d bytes, %s;", *o.Key, *o.Size, w.name(i, o.ETag))
			}
			for _, p := range out.CommonPrefixes {
				text += " " + *p.Prefix
			}
			text += " |"
		}
		return "200" + text
	})
}

func (w *world) listVersions(t *rapid.T) {
	limit := rapid.Int32Range(1, 4).Draw(t, "max-keys")
	if !w.versioned {
		limit = 1000 // versitygw begins a page with the last version of the one before, and so never comes to an end
	}
	w.same(t, "ListObjectVersions", func(i int, r *rig) string {
		var versions, markers string
		pages := s3.NewListObjectVersionsPaginator(r.client, &s3.ListObjectVersionsInput{Bucket: &r.bucket, MaxKeys: &limit})
		for n := 0; pages.HasMorePages(); n++ {
			if n > 100 {
				return "no end of pages"
			}
			out, err := pages.NextPage(t.Context())
			if err != nil {
				return failed(err)
			}
			for _, v := range out.Versions {
				versions += fmt.Sprintf(" %s: %d bytes, %s, %s, latest %v;", *v.Key, *v.Size, w.name(i, v.ETag), w.name(i, v.VersionId), *v.IsLatest)
			}
			for _, m := range out.DeleteMarkers {
				markers += fmt.Sprintf(" %s: %s, latest %v;", *m.Key, w.name(i, m.VersionId), *m.IsLatest)
			}
			versions, markers = versions+" |", markers+" |"
		}
		return "200" + versions + " deleted:" + markers
	})
}

// object picks a version, which may be gone.
func (w *world) object(t *rapid.T) *object { return pick(t, slices.Concat(w.objects, w.gone)) }

func pick(t *rapid.T, all []*object) *object {
	if len(all) == 0 {
		t.Skip("no object")
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "object")]
}

func (w *world) read(t *rapid.T) {
	o := w.object(t)
	byVersion := w.versioned && rapid.Bool().Draw(t, "by version")
	if current := w.current(o.key); !byVersion && current != nil {
		o = current
	}
	n := len(o.body)
	from, to := w.within(t, n)
	forms := []string{"", fmt.Sprintf("bytes=%d-%d", from, to), fmt.Sprintf("bytes=%d-", from), fmt.Sprintf("bytes=-%d", max(1, n-from)), "part"}
	form := rapid.SampledFrom(forms).Draw(t, "form")
	number := rapid.Int32Range(1, 4).Draw(t, "number")
	w.readAs(t, o, byVersion, func(in *s3.GetObjectInput) string {
		switch {
		case form == "part":
			in.PartNumber = &number
			switch {
			case o.hasEmpty(int(number)) && slices.Contains(w.objects, o):
				return "empty part"
			case o.gaps:
				return "part of an object with gaps"
			case o.parts == nil && o.over:
				return "part of an object in place of an uploaded one"
			}
		case form != "":
			in.Range = &form
			if n == 0 && !o.marker {
				return "range of an empty object"
			}
		}
		return fmt.Sprintf("GetObject %s of %s, %s in parts of %v", form, o.key, digest(o.body), o.parts)
	})
}

// readAs compares GET and HEAD of an object, as the caller has it.
func (w *world) readAs(t *rapid.T, o *object, byVersion bool, form func(*s3.GetObjectInput) string) {
	request := func(i int, r *rig) (*s3.GetObjectInput, string) {
		in := &s3.GetObjectInput{Bucket: &r.bucket, Key: &o.key}
		what := form(in)
		if byVersion {
			in.VersionId = &o.version[i]
		}
		return in, what
	}
	_, what := request(0, w.sides[0])
	w.same(t, what, func(i int, r *rig) string {
		in, _ := request(i, r)
		out, err := r.client.GetObject(t.Context(), in)
		if err != nil {
			return failed(err)
		}
		defer out.Body.Close() //nolint:errcheck // read to its end
		body, err := io.ReadAll(out.Body)
		if err != nil {
			return err.Error()
		}
		return succeeded(out.ResultMetadata, "%s of %d, %s, %s, %s, parts %v, %v, %s", digest(body), *out.ContentLength, deref(out.ContentRange),
			w.name(i, out.ETag), w.name(i, out.VersionId), out.PartsCount != nil && *out.PartsCount > 1, out.Metadata, deref(out.ContentType))
	})
	if strings.HasPrefix(what, "GetObject") {
		what = strings.Replace(what, "Get", "Head", 1)
	}
	w.same(t, what, func(i int, r *rig) string {
		in, _ := request(i, r)
		out, err := r.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: in.Bucket, Key: in.Key, VersionId: in.VersionId, Range: in.Range, PartNumber: in.PartNumber})
		if err != nil {
			return failed(err)
		}
		return succeeded(out.ResultMetadata, "%d, %s, %s, parts %v, %v, %s", *out.ContentLength,
			w.name(i, out.ETag), w.name(i, out.VersionId), out.PartsCount != nil && *out.PartsCount > 1, out.Metadata, deref(out.ContentType))
	})
}

func (w *world) remove(t *rapid.T) {
	o := pick(t, w.objects)
	byVersion := w.versioned && rapid.Bool().Draw(t, "by version")
	marker := &object{key: o.key, marker: true}
	if !w.same(t, "DeleteObject", func(i int, r *rig) string {
		in := &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &o.key}
		if byVersion {
			in.VersionId = &o.version[i]
		}
		out, err := r.client.DeleteObject(t.Context(), in)
		if err != nil {
			return failed(err)
		}
		if !byVersion {
			marker.version[i] = deref(out.VersionId)
		}
		return succeeded(out.ResultMetadata, "marker %v", out.DeleteMarker != nil && *out.DeleteMarker)
	}) {
		return
	}
	if byVersion {
		if at := slices.Index(w.objects, o); at >= 0 {
			w.objects, w.gone = slices.Delete(w.objects, at, at+1), append(w.gone, o)
		}
		return
	}
	known := func(o *object) bool { return o.version == marker.version }
	if !w.versioned || !slices.ContainsFunc(w.objects, known) { // MinIO leaves one marker where S3 leaves two
		w.add(marker)
	}
}
