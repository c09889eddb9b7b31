package sigv4

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A target is a request target, decoded and as sent.
type target struct {
	path    string
	rawPath string
	params  []param           // sorted as in a canonical query
	amz     map[string]string // those named x-amz-*, by name in lower case
}

// A param is a query parameter.
type param struct {
	name, value       string
	rawName, rawValue string // as sent
	encName, encValue string // as in a canonical query
}

// canonicalQuery and canonicalPath turn what url.QueryEscape leaves into S3's
// percent-encoding.
var (
	canonicalQuery = strings.NewReplacer("+", "%20")
	canonicalPath  = strings.NewReplacer("+", "%20", "%2F", "/")
)

// parseTarget splits and decodes a request target. The path is not cleaned:
// empty, "." and ".." segments are parts of object keys.
func parseTarget(uri string) (target, error) {
	malformed := newError("InvalidURI", "Couldn't parse the specified URI.")
	if !strings.HasPrefix(uri, "/") || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return target{}, malformed
	}
	rawPath, rawQuery, _ := strings.Cut(uri, "?")
	path, err := url.PathUnescape(rawPath)
	if err != nil {
		return target{}, malformed
	}
	t := target{path: path, rawPath: rawPath, amz: make(map[string]string)}
	for raw := range strings.SplitSeq(rawQuery, "&") {
		if raw == "" {
			continue
		}
		p, err := parseParam(raw)
		if err != nil {
			return target{}, malformed
		}
		t.params = append(t.params, p)
		name := strings.ToLower(p.name)
		if !strings.HasPrefix(name, "x-amz-") {
			continue
		}
		if _, ok := t.amz[name]; ok {
			return target{}, invalidArgument("A query parameter must not be repeated.", p.name)
		}
		t.amz[name] = p.value
	}
	slices.SortFunc(t.params, func(a, b param) int {
		return cmp.Or(strings.Compare(a.encName, b.encName), strings.Compare(a.encValue, b.encValue))
	})
	return t, nil
}

// parseParam decodes one parameter. Unlike url.ParseQuery's, its only separator
// is the ampersand, already gone, and what is malformed is no less an error.
func parseParam(raw string) (param, error) {
	p := param{}
	p.rawName, p.rawValue, _ = strings.Cut(raw, "=")
	var err error
	if p.name, err = url.QueryUnescape(p.rawName); err != nil {
		return param{}, err
	}
	if p.value, err = url.QueryUnescape(p.rawValue); err != nil {
		return param{}, err
	}
	p.encName = canonicalQuery.Replace(url.QueryEscape(p.name))
	p.encValue = canonicalQuery.Replace(url.QueryEscape(p.value))
	return p, nil
}

// query returns the parameters that are the operation's.
func (t target) query() url.Values {
	values := make(url.Values)
	for _, p := range t.params {
		if _, amz := t.amz[strings.ToLower(p.name)]; !amz {
			values.Add(p.name, p.value)
		}
	}
	return values
}

// has reports whether there is a parameter of that name.
func (t target) has(name string) bool {
	return slices.ContainsFunc(t.params, func(p param) bool { return p.name == name })
}

// isComplete reports whether the request is a CompleteMultipartUpload.
func isComplete(method string, t target) bool {
	return method == http.MethodPost && t.has("uploadId")
}

// A form is a path and query as a canonical request has them.
type form struct{ path, query string }

// forms returns the forms that a client may have signed: the canonical one, and
// what it sent. The latter only without plus signs, which have two meanings.
func (t target) forms() []form {
	canonical := form{path: canonicalPath.Replace(url.QueryEscape(t.path))}
	sent := form{path: t.rawPath}
	signed := slices.DeleteFunc(slices.Clone(t.params), func(p param) bool {
		return strings.EqualFold(p.name, "X-Amz-Signature")
	})
	canonical.query = joinParams(signed, func(p param) string { return p.encName + "=" + p.encValue })
	slices.SortStableFunc(signed, func(a, b param) int {
		return cmp.Or(strings.Compare(a.rawName, b.rawName), strings.Compare(a.rawValue, b.rawValue))
	})
	sent.query = joinParams(signed, func(p param) string { return p.rawName + "=" + p.rawValue })
	if sent == canonical || strings.Contains(sent.path+sent.query, "+") {
		return []form{canonical}
	}
	return []form{canonical, sent}
}

func joinParams(params []param, text func(param) string) string {
	texts := make([]string, len(params))
	for i, p := range params {
		texts[i] = text(p)
	}
	return strings.Join(texts, "&")
}
