package proxy

import (
	"strings"
	"testing"
)

// TestBypassed: the first rule that fits decides, by the name alone; a name that a store could take for one under another rule, and what
// the proxy keeps for itself, is never left as it is.
func TestBypassed(t *testing.T) {
	p := &Proxy{cfg: Config{Rules: []Rule{
		{Bucket: "mixed", Prefix: "public/secret/", KeyID: "k"},
		{Bucket: "mixed", Prefix: "public/", Bypass: true},
		{Bucket: "mixed", Prefix: "public/late/", KeyID: "late"},
		{Bucket: "open", Bypass: true},
		{Bucket: "*", KeyID: "k"},
	}}}
	for _, test := range []struct {
		bucket, key string
		want        bool
	}{
		{"mixed", "public/a", true},
		{"mixed", "public/", true},
		{"mixed", "public//a", true},
		{"mixed", "public/./a", true},
		{"mixed", "public/b/../a", true},
		{"mixed", "public", false},
		{"mixed", "publicly", false},
		{"mixed", "a/public/b", false},
		{"mixed", "public/secret/a", false},
		{"mixed", "public/../a", false},
		{"mixed", "public/.", false},
		{"mixed", "public/b/../secret/a", false},
		{"mixed", "public//secret/a", false},
		{"mixed", "./public/a", false},
		{"mixed", "/public/a", false},
		{"mixed", "a/../public/b", false},
		{"mixed", "", false},
		{"open", "a", true},
		{"open", "", true},
		{"open", ".sseproxy/uploads/x", false},
		{"open", "a/../.sseproxy/x", false},
		{"other", "public/a", false},
	} {
		t.Run(test.bucket+"/"+test.key, func(t *testing.T) {
			name := target{test.bucket, test.key}
			if got := p.bypassed(name); got != test.want {
				t.Errorf("left as it is: %v", got)
			}
			if p.rule(name).Bypass {
				t.Error("the rule for its key is one that has none")
			}
		})
	}
	if id := p.rule(target{"mixed", "public/late/a"}).KeyID; id != "late" {
		t.Errorf("what is sealed already is under key %q", id)
	}
}

// TestBypassRules: a rule that leaves objects as they are says nothing else, and is about clients' keys.
func TestBypassRules(t *testing.T) {
	for _, r := range []Rule{{Bucket: "b", Bypass: true}, {Bucket: "*", Prefix: "a/", Bypass: true}} {
		if err := r.check(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for says, r := range map[string]Rule{
		"names no bucket": {Bypass: true}, "always sealed": {Bucket: "b", Prefix: ".sseproxy/uploads/", Bypass: true},
	} {
		if err := r.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []Rule{{KeyID: "k"}, {Algorithm: "AES256"}, {BucketKey: true}, {Allow: []string{}}, {KeyIDs: []string{"k"}}, {Aliases: map[string]string{"a": "k"}}} {
		r.Bucket, r.Bypass = "b", true
		if err := r.check(); err == nil || !strings.Contains(err.Error(), "a bucket and a prefix alone") {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
