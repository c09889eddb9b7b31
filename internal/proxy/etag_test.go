package proxy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestClientETag(t *testing.T) {
	tests := []struct{ native, client string }{
		{"d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e-sse"},
		{"d41d8cd98f00b204e9800998ecf8427e-38", "d41d8cd98f00b204e9800998ecf8427e-38"},
		{"d41d8cd98f00b204e9800998ecf8427e-sse", "d41d8cd98f00b204e9800998ecf8427e-sse-sse"}, // of a proxy behind this one
		{"a-2-sse", "a-2-sse-sse"},
		{"", "-sse"},
	}
	for _, tt := range tests {
		if got := clientETag(tt.native); got != tt.client {
			t.Errorf("clientETag(%q) = %q, want %q", tt.native, got, tt.client)
		}
		if got := storeETag(tt.client); got != tt.native {
			t.Errorf("storeETag(%q) = %q, want %q", tt.client, got, tt.native)
		}
	}
}

// A tag that no object has at the client must not match one at the store.
func TestForeignETag(t *testing.T) {
	for _, tag := range []string{
		"d41d8cd98f00b204e9800998ecf8427e", // the MD5 of the plaintext, which is the store's tag of some other object
		"a-2-sse",                          // would strip to a-2, which at the client is a-2
		"",
	} {
		got := storeETag(tag)
		if clientETag(got) == tag || !strings.HasSuffix(got, foreignSuffix) {
			t.Errorf("storeETag(%q) = %q", tag, got)
		}
		if strings.TrimSuffix(got, etagSuffix) != got {
			t.Errorf("storeETag(%q) = %q, which is a tag of a second proxy", tag, got)
		}
	}
}

func TestETagMapsOneToOne(t *testing.T) {
	tag := rapid.OneOf(rapid.StringMatching(`[a-f0-9]{0,4}(-[0-9]{1,2})?(-sse){0,3}(-foreign)?`), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		a, b := tag.Draw(t, "a"), tag.Draw(t, "b")
		if storeETag(clientETag(a)) != a {
			t.Fatalf("%q comes back as %q", a, storeETag(clientETag(a)))
		}
		if a != b && clientETag(a) == clientETag(b) {
			t.Fatalf("%q and %q are both %q", a, b, clientETag(a))
		}
		if !strings.Contains(clientETag(a), "-") {
			t.Fatalf("%q could be an MD5", clientETag(a))
		}
		// What a client sends matches at the store only what the client could have seen.
		if native := storeETag(a); clientETag(native) != a && !strings.HasSuffix(native, foreignSuffix) {
			t.Fatalf("%q becomes %q, which at the client is %q", a, native, clientETag(native))
		}
	})
}

func TestConditions(t *testing.T) {
	tests := []struct{ client, store string }{
		{`*`, `*`},
		{`"*"`, `"*-foreign"`},
		{`W/*`, `W/*-foreign`},
		{`"abc-sse"`, `"abc"`},
		{`abc-sse`, `abc`},
		{`abc`, `abc-foreign`},
		{`W/"abc-sse"`, `W/"abc"`},
		{`"abc-2"`, `"abc-2"`},
		{`"abc-sse", W/"def-sse" ,ghi-sse,*`, `"abc", W/"def" ,ghi,*`},
		{`"a,b-sse"`, `"a,b"`},
		{`"a"b`, `"a-foreign"b-foreign`},
		{`"abc-sse`, `"abc`},
		{`""`, `"-foreign"`},
		{``, ``},
		{`, ,`, `, ,`},
		{`W/`, `W/-foreign`},
	}
	for _, tt := range tests {
		if got := storeCondition(tt.client); got != tt.store {
			t.Errorf("storeCondition(%s) = %s, want %s", tt.client, got, tt.store)
		}
	}
}

func TestIfRange(t *testing.T) {
	tests := []struct{ client, store string }{
		{`"abc-sse"`, `"abc"`},
		{`abc-sse`, `abc`},
		{`Sat, 01 Aug 2026 00:00:00 GMT`, `Sat, 01 Aug 2026 00:00:00 GMT`},
		{`Saturday, 01-Aug-26 00:00:00 GMT`, `Saturday, 01-Aug-26 00:00:00 GMT`},
	}
	for _, tt := range tests {
		if got := storeIfRange(tt.client); got != tt.store {
			t.Errorf("storeIfRange(%s) = %s, want %s", tt.client, got, tt.store)
		}
	}
}

func FuzzETag(f *testing.F) {
	for _, seed := range []string{`"abc"`, `W/"abc-2", "x-sse"`, `*`, `a,b`, `"a`, `W/`, `"a"b"c`, " \t,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		// A client that returns what it was shown must ask the store for what the store has.
		if got := storeCondition(clientETagValue(value)); got != value {
			t.Errorf("%q comes back as %q", value, got)
		}
	})
}
