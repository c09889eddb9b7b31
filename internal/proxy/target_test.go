package proxy

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseTarget(t *testing.T) {
	domains := []string{"s3.example.com", "example.com", "eu.s3.example.com"}
	long := strings.Repeat("k", maxKey)
	tests := []struct {
		host, path  string
		bucket, key string
		level       level
	}{
		{"s3.example.com", "/", "", "", atService},
		{"s3.example.com", "/bucket", "bucket", "", atBucket},
		{"s3.example.com", "/bucket/", "bucket", "", atBucket},
		{"s3.example.com", "/bucket/key", "bucket", "key", atObject},
		{"s3.example.com:8080", "/bucket/key", "bucket", "key", atObject},
		{"127.0.0.1:8080", "/bucket/key", "bucket", "key", atObject},
		{"[::1]:8080", "/bucket/key", "bucket", "key", atObject},
		{"[::1]", "/bucket/key", "bucket", "key", atObject},
		{"", "/bucket/key", "bucket", "key", atObject},
		{"sseproxy.ns.svc", "/bucket/key", "bucket", "key", atObject},
		{"mybucket.s3.example.com", "/", "mybucket", "", atBucket},
		{"mybucket.s3.example.com", "/key/", "mybucket", "key/", atObject},
		{"MyBucket.S3.Example.com.:443", "/key", "mybucket", "key", atObject},
		{"my.dotted.bucket.s3.example.com", "/key", "my.dotted.bucket", "key", atObject},
		{"mybucket.eu.s3.example.com", "/key", "mybucket", "key", atObject},      // the longest domain
		{"eu.s3.example.com", "/mybucket/key", "mybucket", "key", atObject},      // a domain itself
		{"evil-example.com", "/mybucket/key", "mybucket", "key", atObject},       // no domain of ours
		{"other.example.com", "/key", "other", "key", atObject},                  // the short domain
		{"mybucket.s3.example.com.evil.org", "/buc/key", "buc", "key", atObject}, // nor here

		{"h", "/bucket//", "bucket", "/", atObject},
		{"h", "/bucket//a//b/", "bucket", "/a//b/", atObject},
		{"h", "/bucket/a/../b/./c/..", "bucket", "a/../b/./c/..", atObject},
		{"h", "/bucket/a b+c%ü\xff\n", "bucket", "a b+c%ü\xff\n", atObject},
		{"h", "/bucket/" + long, "bucket", long, atObject},
		{"h", "/bucket/.sseproxyed/a", "bucket", ".sseproxyed/a", atObject},
		{"h", "/bucket/a/.sseproxy/b", "bucket", "a/.sseproxy/b", atObject},
		{"h", "/Old_Bucket.1/a", "Old_Bucket.1", "a", atObject},
		{"h", "/" + strings.Repeat("b", maxBucket) + "/a", strings.Repeat("b", maxBucket), "a", atObject},
	}
	for _, tt := range tests {
		got, err := parseTarget(tt.host, tt.path, domains)
		if err != nil || got.bucket != tt.bucket || got.key != tt.key || got.level() != tt.level {
			t.Errorf("%s %q: %q, %v, %v", tt.host, tt.path, got, got.level(), err)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	tests := []struct{ host, path, code string }{
		{"h", "", "InvalidURI"},
		{"h", "*", "InvalidURI"},
		{"h", "bucket/key", "InvalidURI"},
		{"h", "/bucket/a\x00b", "InvalidURI"},
		{"h", "//key", "InvalidBucketName"},
		{"h", "/ab/key", "InvalidBucketName"},
		{"h", "/./key", "InvalidBucketName"},
		{"h", "/../key", "InvalidBucketName"},
		{"h", "/.../key", "InvalidBucketName"},
		{"h", "/a..b/key", "InvalidBucketName"},
		{"h", "/192.168.1.1/key", "InvalidBucketName"},
		{"h", "/buc\x01ket/key", "InvalidBucketName"},
		{"h", "/buc\x00ket/key", "InvalidBucketName"},
		{"h", "/bückét/key", "InvalidBucketName"},
		{"h", "/buc ket/key", "InvalidBucketName"},
		{"h", "/buc%2fket/key", "InvalidBucketName"},
		{"h", "/arn:aws:s3:::b/key", "InvalidBucketName"},
		{"h", "/" + strings.Repeat("b", maxBucket+1), "InvalidBucketName"},
		{".s3.example.com", "/key", "InvalidBucketName"},
		{"a/b.s3.example.com", "/key", "InvalidBucketName"},
		{"h", "/bucket/" + strings.Repeat("k", maxKey+1), "KeyTooLongError"},
		{"h", "/bucket/" + strings.Repeat("ü", maxKey/2) + "k", "KeyTooLongError"},
		{"h", "/bucket/.sseproxy/state", "AccessDenied"},
		{"h", "/bucket/.sseproxy/", "AccessDenied"},
		{"h", "/bucket/.sseproxy", "AccessDenied"},
		{"b.s3.example.com", "/.sseproxy/state", "InvalidBucketName"},
		{"buc.s3.example.com", "/.sseproxy/state", "AccessDenied"},
		// These are other keys at S3. A store that cleans paths takes them for the proxy's.
		{"h", "/bucket//.sseproxy/state", "AccessDenied"},
		{"h", "/bucket/./.sseproxy/state", "AccessDenied"},
		{"h", "/bucket/a/../.sseproxy/state", "AccessDenied"},
		{"h", "/bucket/../../.sseproxy/state", "InvalidURI"},
		{"h", "/bucket/a/../../bucket/.sseproxy/state", "InvalidURI"},
		{"h", "/bucket/..", "InvalidURI"},
		{"h", "/bucket/./../a", "InvalidURI"},
	}
	for _, tt := range tests {
		got, err := parseTarget(tt.host, tt.path, []string{"s3.example.com"})
		wantCode(t, err, tt.code)
		if got != (target{}) {
			t.Errorf("%s %q: %q along with the error", tt.host, tt.path, got)
		}
	}
}

func TestEscapedPath(t *testing.T) {
	tests := []struct {
		target target
		want   string
	}{
		{target{}, "/"},
		{target{"bucket", ""}, "/bucket"},
		{target{"bucket", "a/b"}, "/bucket/a/b"},
		{target{"bucket", "/../a//"}, "/bucket//../a//"},
		{target{"bucket", "A-Za-z0-9-_.~"}, "/bucket/A-Za-z0-9-_.~"},
		{target{"bucket", "a b+c=d&e?f#g%2Fh"}, "/bucket/a%20b%2Bc%3Dd%26e%3Ff%23g%252Fh"},
		{target{"bucket", "ü\xff\n!'()*:@$,;"}, "/bucket/%C3%BC%FF%0A%21%27%28%29%2A%3A%40%24%2C%3B"},
	}
	for _, tt := range tests {
		if got := tt.target.escapedPath(); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.target, got, tt.want)
		}
	}
}

// The store, decoding what it gets, finds the key's bytes.
func TestEscapedPathDecodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := target{"bucket", string(rapid.SliceOf(rapid.Byte()).Draw(t, "key"))}
		if strings.Contains(want.key, "\x00") || len(want.key) > maxKey || isReservedKey(want.key) {
			return
		}
		escaped := want.escapedPath()
		decoded, err := url.PathUnescape(escaped)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseTarget("h", decoded, nil); err != nil || got != want {
			t.Fatalf("%q becomes %q, %v", want, got, err)
		}
		// And no client library on the way there finds anything to change.
		if u, err := url.Parse("http://store" + escaped); err != nil || u.EscapedPath() != escaped {
			t.Fatalf("%s becomes %v, %v", escaped, u, err)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	f.Add("bucket.s3.example.com:80", "/key")
	f.Add("s3.example.com", "/bucket//a/../b\xff")
	f.Add("[::1]:80", "/bucket/.sseproxy/x")
	f.Add("..s3.example.com", "//")
	f.Fuzz(func(t *testing.T, host, path string) {
		got, err := parseTarget(host, path, []string{"s3.example.com"})
		if err != nil {
			var e *apiError
			if !errors.As(err, &e) || got != (target{}) {
				t.Errorf("%q, %v", got, err)
			}
			return
		}
		if len(got.key) > maxKey || strings.HasPrefix(got.key, reservedPrefix) || strings.ContainsAny(got.bucket, "/\x00%") {
			t.Errorf("%q", got)
		}
		// Path and bucket are all there is, none of it changed.
		if rest := "/" + got.key; path != rest && path != "/"+got.bucket && path != "/"+got.bucket+rest {
			t.Errorf("%q becomes %q", path, got)
		}
	})
}
