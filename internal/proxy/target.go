package proxy

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// level is what kind of thing a request addresses.
type level int

const (
	atService level = iota
	atBucket
	atObject
)

// String returns S3's name of the level, as MethodNotAllowed has it in ResourceType.
func (l level) String() string { return [...]string{"SERVICE", "BUCKET", "OBJECT"}[l] }

const (
	maxKey = 1024 // bytes of an object key (Amazon S3 User Guide, "Naming Amazon S3 objects")

	// Bucket names have 3 to 63 characters today; in us-east-1 there are buckets of before March 2018 with up to 255,
	// upper case and underscores among them ("General purpose bucket naming rules").
	minBucket = 3
	maxBucket = 255

	// reservedPrefix begins the keys of what the proxy itself keeps in a bucket.
	reservedPrefix = ".sseproxy/"
)

// target is what a request addresses. Key is opaque: bytes as they were in the path, decoded and never cleaned.
type target struct {
	bucket string
	key    string
}

// parseTarget reads the target from a request's Host and its percent-decoded path. A host bucket.domain, for one of
// domains, carries the bucket (of several domains that fit the longest counts); with any other host the path's first
// segment does. The error is an *apiError.
func parseTarget(host, decodedPath string, domains []string) (target, error) {
	rest, ok := strings.CutPrefix(decodedPath, "/")
	if !ok {
		return target{}, newError("InvalidURI", "Couldn't parse the specified URI.")
	}
	var t target
	if bucket, ok := hostBucket(host, domains); ok {
		t = target{bucket, rest}
	} else if rest == "" {
		return target{}, nil
	} else {
		t.bucket, t.key, _ = strings.Cut(rest, "/")
	}
	if !isBucketName(t.bucket) {
		return target{}, newError("InvalidBucketName", "The specified bucket is not valid.",
			errorField{"BucketName", t.bucket})
	}
	if err := checkKey(t.key); err != nil {
		return target{}, err
	}
	return t, nil
}

// checkKey refuses keys that S3 refuses, and those that are not the client's.
func checkKey(key string) error {
	switch {
	case len(key) > maxKey:
		return newError("KeyTooLongError", "Your key is too long",
			errorField{"Size", strconv.Itoa(len(key))}, errorField{"MaxSizeAllowed", strconv.Itoa(maxKey)})
	case strings.Contains(key, "\x00"):
		// S3 allows any Unicode character. But a store that ends names at a NUL would act on another key.
		return newError("InvalidURI", "Couldn't parse the specified URI.")
	case climbs(key):
		return newError("InvalidURI", "Couldn't parse the specified URI.")
	case isReservedKey(key):
		return newError("AccessDenied", "Keys that begin with "+reservedPrefix+" belong to the proxy.")
	}
	return nil
}

func (t target) level() level {
	switch {
	case t.bucket == "":
		return atService
	case t.key == "":
		return atBucket
	default:
		return atObject
	}
}

// escapedPath returns the path-style request path in the one form that S3 signs: unreserved characters and '/' as they
// are, every other byte as %XX ("Create a signed AWS API request", UriEncode).
func (t target) escapedPath() string {
	const hex = "0123456789ABCDEF"
	raw := "/" + t.bucket
	if t.key != "" {
		raw += "/" + t.key
	}
	if t.bucket == "" {
		raw = "/"
	}
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case isAlphanumeric(c) || strings.IndexByte("-_.~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// hostBucket splits the bucket off a virtual-hosted-style host. It reports false for any other host.
func hostBucket(host string, domains []string) (string, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	bucket, longest := "", 0
	for _, domain := range domains {
		domain = strings.ToLower(domain)
		if host == domain {
			return "", false
		}
		if b, ok := strings.CutSuffix(host, "."+domain); ok && len(domain) > longest {
			bucket, longest = b, len(domain)
		}
	}
	return bucket, longest > 0
}

// isBucketName reports whether a bucket of that name can exist. Whether one may be created the store decides.
func isBucketName(s string) bool {
	_, notIP := netip.ParseAddr(s)
	if len(s) < minBucket || len(s) > maxBucket || strings.Contains(s, "..") || notIP == nil {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("-_.", s[i]) < 0 {
			return false
		}
	}
	return true
}

// climbs reports whether a key's ".." segments would lead out of the bucket, at a store that takes keys for paths. S3
// refuses them, too.
func climbs(key string) bool {
	depth := 0
	for segment := range strings.SplitSeq(key, "/") {
		switch segment {
		case "..":
			depth--
		case "", ".":
		default:
			depth++
		}
		if depth < 0 {
			return true
		}
	}
	return false
}

// isReservedKey reports whether a key is the proxy's, or would be at a store that cleans paths.
func isReservedKey(key string) bool {
	return strings.HasPrefix(path.Clean("/"+key)+"/", "/"+reservedPrefix)
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
