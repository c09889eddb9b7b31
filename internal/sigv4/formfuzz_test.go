package sigv4_test

import (
	"encoding/json"
	"io"
	"maps"
	"math"
	"mime/multipart"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// splitForm reads a form with the standard library, as a whole and in order.
func splitForm(body string) (fields map[string]string, file, filename string, ok bool) {
	fields = make(map[string]string)
	r := multipart.NewReader(strings.NewReader(body), boundary)
	for {
		part, err := r.NextRawPart()
		if err != nil {
			return nil, "", "", false
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, "", "", false
		}
		name := strings.ToLower(part.FormName())
		if name == "file" {
			return fields, string(content), part.FileName(), true
		}
		if old, ok := fields[name]; ok {
			content = []byte(old + "," + string(content))
		}
		fields[name] = string(content)
	}
}

// FuzzForm: a form that is accepted says what the standard library finds in it,
// and its file has the length that was told before.
func FuzzForm(f *testing.F) {
	p := newForm(`["starts-with", "$x-amz-meta-a", ""]`, field{"x-amz-meta-a", "b"})
	for _, long := range []bool{false, true} {
		f.Add(p.head(), p.file, p.end, long)
		f.Add(p.named("").head(), "", p.end, long)
		f.Add("preamble\r\n"+p.head(), "\r\n--"+boundary+"x", p.end[:len(p.end)-2], long)
		f.Add(strings.ReplaceAll(p.head(), "\r\n", "\n"), "\n", "\n--"+boundary+"--\n", long)
		f.Add(strings.Replace(p.head(), boundary, boundary+" \t", 1), "\r", p.end+"epilogue", long)
		f.Add(p.head(), "--"+boundary, "\r\n--"+boundary+"\r\nContent-Disposition: form-data; name=submit\r\n\r\n"+p.end, long)
		f.Add(strings.Replace(p.head(), `name="x-amz-meta-a"`, `name=X-Amz-Meta-A; filename*=UTF-8''a`, 1), "x", p.end, long)
		f.Add(strings.Replace(p.head(), "\r\n\r\nb", "\r\n: \r\n\r\n", 1), "x", p.end, long)
	}
	f.Fuzz(func(t *testing.T, head, file, end string, long bool) {
		if long {
			file = strings.Repeat("f", longFile) + file
		}
		body := head + file + end
		req, got, err := post(body).verifyForm()
		if err != nil {
			return
		}
		fields, want, filename, ok := splitForm(body)
		if !ok || got != want || req.Body.Length() != int64(len(want)) {
			t.Fatalf("got %d bytes of a file of %d, told were %d", len(got), len(want), req.Body.Length())
		}
		fields["bucket"] = "bucket"
		for name, value := range fields {
			if !strings.Contains(value, "${filename}") && req.Form[name] != value {
				t.Errorf("%s is %q, want %q", name, req.Form[name], value)
			}
		}
		if len(fields) != len(req.Form) {
			t.Errorf("fields %q, want %q (file %q)", slices.Collect(maps.Keys(req.Form)), slices.Collect(maps.Keys(fields)), filename)
		}
		if req.Header.Get("X-Amz-Meta-A") != req.Form["x-amz-meta-a"] {
			t.Errorf("header %q", req.Header)
		}
	})
}

// allows is the policy language in another way: it reads the document as what it
// is, with no thought for errors.
func allows(policy string, fields map[string]string, size int64) bool {
	var doc map[string]any
	if json.Unmarshal([]byte(policy), &doc) != nil || len(doc) != 2 {
		return false
	}
	expiration, _ := doc["expiration"].(string)
	until, err := time.Parse("2006-01-02T15:04:05Z", expiration)
	if err != nil || !until.After(now) {
		return false
	}
	conditions, ok := doc["conditions"].([]any)
	named := map[string]bool{"policy": true, "x-amz-signature": true}
	matches := func(name, value string, match func(a, b string) bool) bool {
		got, there := fields[strings.ToLower(name)]
		named[strings.ToLower(name)] = true
		return there && match(got, value)
	}
	for _, c := range conditions {
		switch c := c.(type) {
		case map[string]any:
			ok = ok && len(c) == 1
			for name, value := range c {
				text, is := value.(string)
				ok = ok && is && matches(name, text, func(a, b string) bool { return a == b })
			}
		case []any:
			ok = ok && len(c) == 3 && allowsList(c, size, matches)
		default:
			return false
		}
	}
	for name := range fields {
		ok = ok && (named[name] || strings.HasPrefix(name, "x-ignore-"))
	}
	return ok
}

func allowsList(c []any, size int64, matches func(name, value string, match func(a, b string) bool) bool) bool {
	text := func(v any) string {
		switch v := v.(type) {
		case string:
			return v
		case float64:
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
		return ""
	}
	name, dollar := strings.CutPrefix(text(c[1]), "$")
	switch strings.ToLower(text(c[0])) {
	case "eq":
		return dollar && matches(name, text(c[2]), func(a, b string) bool { return a == b })
	case "starts-with":
		return dollar && matches(name, text(c[2]), func(a, b string) bool {
			if !strings.EqualFold(name, "Content-Type") {
				return strings.HasPrefix(a, b)
			}
			for _, entry := range strings.Split(a, ",") {
				if !strings.HasPrefix(strings.TrimSpace(entry), b) {
					return false
				}
			}
			return true
		})
	case "content-length-range":
		low, err1 := strconv.ParseFloat(text(c[1]), 64)
		high, err2 := strconv.ParseFloat(text(c[2]), 64)
		return err1 == nil && err2 == nil && low >= 0 && math.Max(low, float64(size)) <= high && low <= float64(size)
	}
	return false
}

// FuzzPolicy: what a policy does not allow is refused, however it is written.
func FuzzPolicy(f *testing.F) {
	for _, conditions := range []string{
		"", `{"acl": "private"}`, `["eq", "$acl", "private"], ["starts-with", "$Content-Type", "image/"], {"x-amz-meta-a": ""}`, `["content-length-range", 0, 8]`,
		`["content-length-range", "9", 1e1]`, `["starts-with", "$Content-Type", "text/"], ["EQ", "acl", 1]`, `{}, [], 1, null`, `{"acl": "private", "acl": "public-read"}`,
		`["starts-with", "$x-amz-meta-a", ""], ["starts-with", "$CONTENT-TYPE", "image/g"]`, `{"ACL": "priv\u0061te"}`, `["eq", "$acl", "private", ""]`,
	} {
		f.Add(policyOf(conditions))
		f.Add(policyOf(`["starts-with", "$acl", ""], {"content-type": "image/png,image/gif"}, ["starts-with", "$x-amz-meta-a", ""],` + conditions))
	}
	for _, policy := range []string{"{}", "null", `{"expiration": "2013-05-24T01:00:00Z", "conditions": []}`, `{"expiration": "2013-05-24T01:00:00Z", "Conditions": []}`, "[]", ""} {
		f.Add(policy)
	}
	p := newForm("", field{"acl", "private"}, field{"Content-Type", "image/png,image/gif"}, field{"x-amz-meta-a", ""}, field{"x-ignore-a", "a"})
	f.Fuzz(func(t *testing.T, policy string) {
		p := p.sign(policy)
		fields := map[string]string{"bucket": "bucket"}
		for _, f := range p.fields {
			fields[strings.ToLower(f.name)] = f.value
		}
		_, _, err := p.message().verifyForm()
		if ok := allows(policy, fields, int64(len(p.file))); err == nil && !ok {
			t.Errorf("accepted under %q", policy)
		} else if want := policy == policyOf(`["starts-with", "$acl", ""], {"content-type": "image/png,image/gif"}, ["starts-with", "$x-amz-meta-a", ""]`); want && err != nil {
			t.Errorf("refused: %v", err)
		}
	})
}
