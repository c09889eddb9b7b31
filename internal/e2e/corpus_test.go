package e2e_test

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// chapters is the corpus of TestDifferential.
var chapters = []chapter{
	{"objects", objectProbes},
	{"ranges", rangeProbes},
	{"conditions", conditionProbes},
	{"keys", keyProbes},
	{"digests", digestProbes},
	{"listings", listingProbes},
	{"deletions", deletionProbes},
	{"versions", versionProbes},
	{"uploads", uploadProbes},
	{"copies", copyProbes},
	{"buckets", bucketProbes},
	{"signatures", signatureProbes},
	{"targets", targetProbes},
	{"sdk", sdkProbes},
}

// ask is a request of the corpus. Target, headers ("Name: value") and body may have {{variables}}: what side.remember keeps,
// and md5, sha256 and crc32 of the body. A target is a key with its query or a query, of the side's own bucket; or, behind
// "@", all of a path.
func ask(method, target, body string, headers ...string) probe {
	headers = slices.DeleteFunc(slices.Clone(headers), func(line string) bool { return line == "" })
	build := func(s *side) message {
		sent := s.expand(body)
		if strings.Contains(strings.Join(headers, ""), "{{") {
			s.vars["md5"], s.vars["sha256"], s.vars["crc32"] = md5Of(sent), sumOf(checksum.SHA256, []byte(sent)), sumOf(checksum.CRC32, []byte(sent))
		}
		m := message{method: method, target: s.target(target), header: map[string]string{}, hash: sha256hex(sent)}
		if body != "" || method == http.MethodPut || method == http.MethodPost {
			m.body = text(sent)
		}
		for _, line := range headers {
			name, value, _ := strings.Cut(line, ":")
			value = s.expand(strings.TrimPrefix(value, " "))
			if strings.EqualFold(name, "x-amz-content-sha256") {
				m.hash = value
			} else {
				m = m.with(name, value)
			}
		}
		return m
	}
	name := []string{method + " " + target}
	if method == http.MethodPost && len(body) < 80 {
		name = append(name, body)
	}
	return probe{name: strings.ReplaceAll(strings.Join(append(name, headers...), "; "), " | ", " "), build: build}
}

func (s *side) target(target string) string {
	target = variable.ReplaceAllStringFunc(target, func(m string) string { return url.QueryEscape(s.expand(m)) })
	if path, ok := strings.CutPrefix(target, "@"); ok {
		return path
	}
	if target == "" || target[0] == '?' {
		return "/" + s.bucket + target
	}
	return "/" + s.bucket + "/" + target
}

func get(target string, headers ...string) probe  { return ask("GET", target, "", headers...) }
func head(target string, headers ...string) probe { return ask("HEAD", target, "", headers...) }
func del(target string, headers ...string) probe  { return ask("DELETE", target, "", headers...) }
func put(target, body string, headers ...string) probe {
	return ask("PUT", target, body, headers...)
}

func post(target, body string, headers ...string) probe {
	return ask("POST", target, body, headers...)
}

// as gives a probe a name of its own.
func (p probe) as(name string) probe {
	p.name = name
	return p
}

// after makes a probe one that looks at what another has done.
func (p probe) after(what string) probe {
	return probe{name: p.name + " after " + what, build: p.build, follows: true}
}

// quietly makes a probe one whose answers do not matter.
func (p probe) quietly() probe {
	p.quiet = true
	return p
}

// but changes the message.
func (p probe) but(name string, change func(s *side, m message) message) probe {
	build := p.build
	return probe{name: p.name + "; " + name, build: func(s *side) message { return change(s, build(s)) }}
}

// presigned has the signature in the query.
func (p probe) presigned(seconds int) probe {
	return p.but("presigned", func(_ *side, m message) message {
		m.expires, m.hash = seconds, unsignedPayload
		return m
	})
}

// escapedForXML writes text as an element's content.
func escapedForXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes every write
	return b.String()
}

// escapedKey writes a key as SDKs put it into a path.
func escapedKey(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(key), "+", "%20"), "%2F", "/")
}
