package e2e_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// signatureProbes: who asks, and how that is said.
func signatureProbes(t *testing.T) []probe {
	probes := []probe{put("key", "body of key", "Content-Type: text/plain", "X-Amz-Meta-A: 1")}
	change := func(name string, f func(s *side, m message) message) {
		probes = append(probes, get("key").but(name, f), head("key").but(name, f), put("key2", "body").but(name, f),
			get("?list-type=2").but(name, f), get("key").presigned(100).but(name, f),
			put("key3", "another body").presigned(100).but(name, f))
	}
	in := func(from, to string) func(*side, message) message {
		return func(s *side, m message) message { return m.replace(t, s.expand(from), s.expand(to)) }
	}
	change("right", func(_ *side, m message) message { return m })
	change("unknown access key", func(_ *side, m message) message { m.access, m.secret = "AKIDNOBODY", "secret"; return m })
	change("wrong secret", func(s *side, m message) message {
		m.access, m.secret = s.store.AccessKeyID, "wrong"
		return m
	})
	change("wrong region", func(_ *side, m message) message { m.region = "mars-north-1"; return m })
	change("a session token", func(_ *side, m message) message { m.token = "token"; return m })
	change("16 minutes old", func(_ *side, m message) message { m.at = time.Now().Add(-16 * time.Minute); return m })
	change("in 16 minutes", func(_ *side, m message) message { m.at = time.Now().Add(16 * time.Minute); return m })
	change("14 minutes old", func(_ *side, m message) message { m.at = time.Now().Add(-14 * time.Minute); return m })
	change("a header more", func(_ *side, m message) message { m.late = []string{"X-Amz-Meta-Late: 1"}; return m })
	change("another header more", func(_ *side, m message) message { m.late = []string{"Content-Language: de"}; return m })
	change("a copy source more", func(s *side, m message) message {
		m.late = []string{"X-Amz-Copy-Source: " + s.bucket + "/key"}
		return m
	})
	change("another path", in("/{{bucket}}", "/{{bucket}}x"))
	change("another method", func(_ *side, m message) message {
		m.alter = append(m.alter, func(head string) string {
			_, rest, _ := strings.Cut(head, " ")
			return "DELETE " + rest
		})
		return m
	})
	return append(probes,
		get("key").but("no authorization", func(_ *side, m message) message { return m.without("Authorization") }),
		put("key4", "body").but("no authorization", func(_ *side, m message) message { return m.without("Authorization") }),
		get("?list-type=2").but("no authorization", func(_ *side, m message) message { return m.without("Authorization") }),
		get("@/").but("no authorization", func(_ *side, m message) message { return m.without("Authorization") }),
		get("key").but("no hash", func(_ *side, m message) message { return m.without("X-Amz-Content-Sha256") }),
		get("key").but("no date", func(_ *side, m message) message { return m.without("X-Amz-Date") }),
		put("key4", "body").but("no hash", func(_ *side, m message) message { return m.without("X-Amz-Content-Sha256") }),
		get("key").but("signature cut", in("Signature=", "Signature=0")),
		get("key").but("basic", in("AWS4-HMAC-SHA256 ", "Basic ")),
		get("key").but("version 2", in("AWS4-HMAC-SHA256 Credential=", "AWS ")),
		get("key").but("another algorithm", in("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ")),
		get("key").but("no credential", in("Credential=", "Nothing=")),
		get("key").but("no signature", in("Signature=", "Nothing=")),
		get("key").but("no signed headers", in("SignedHeaders=", "Nothing=")),
		get("key").but("another service", in("/s3/aws4_request", "/ec2/aws4_request")),
		get("key").but("another terminator", in("/aws4_request", "/aws5_request")),
		get("key").but("scope cut", in("/s3/aws4_request", "")),
		get("key").but("host not signed", in("SignedHeaders=host;", "SignedHeaders=")),
		get("key").but("spaces left out", func(_ *side, m message) message {
			return m.replace(t, ", SignedHeaders", ",SignedHeaders").replace(t, ", Signature", ",Signature")
		}),
		get("key").but("two authorizations",
			func(_ *side, m message) message { m.late = []string{"Authorization: AWS4-HMAC-SHA256 x"}; return m }),
		get("key").presigned(100).but("and a header", func(_ *side, m message) message {
			m.late = []string{"Authorization: AWS4-HMAC-SHA256 x"}
			return m
		}),
		get("key").presigned(0).but("no expiry", func(_ *side, m message) message { m.expires = -0; return m }),
		get("key").presigned(-1), get("key").presigned(604800), get("key").presigned(604801),
		get("key").presigned(1).but("expired",
			func(_ *side, m message) message { m.at = time.Now().Add(-time.Hour); return m }),
		get("key").presigned(7200).but("an hour old",
			func(_ *side, m message) message { m.at = time.Now().Add(-time.Hour); return m }),
		get("key").presigned(100).but("expiry nonsense", in("X-Amz-Expires=100", "X-Amz-Expires=nonsense")),
		get("key").presigned(100).but("expiry changed", in("X-Amz-Expires=100", "X-Amz-Expires=101")),
		get("key").presigned(100).but("no expiry", in("X-Amz-Expires=100&", "")),
		get("key").presigned(100).but("no algorithm", in("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "")),
		get("key").presigned(100).but("another algorithm", in("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=Nonsense")),
		get("key").presigned(100).but("no signed headers", in("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=")),
		get("key").presigned(100).but("date nonsense", in("X-Amz-Date=2", "X-Amz-Date=x")),
		get("key").presigned(100).but("signature empty", in("X-Amz-Signature=", "X-Amz-Nothing=")),
		get("key?response-content-type=text/other&response-content-disposition=attachment").presigned(100),
		head("key?response-content-type=text/other").presigned(100), get("key", "Range: bytes=0-1").presigned(100),
		get("key?versionId=null").presigned(100), get("?list-type=2&prefix=none").presigned(100), del("key3").presigned(100),
		put("signed", "body", "Content-Type: text/plain", "X-Amz-Meta-B: 2", "X-Amz-Storage-Class: STANDARD",
			"Cache-Control: no-store").presigned(100),
		get("signed"), put("signed", "body 2", "X-Amz-Tagging: a=b", "X-Amz-Acl: private").presigned(100),
		get("signed?tagging"), put("signed", "", "X-Amz-Copy-Source: {{bucket}}/key").presigned(100), get("signed"),
		put("signed?x-amz-meta-hoisted=v&X-Amz-Tagging=h%3D1", "body 3").presigned(100), get("signed"), get("signed?tagging"),
		put("signed?x-amz-checksum-crc32=AAAAAA==", "body 4").presigned(100), get("signed"),
		put("signed?x-amz-sdk-checksum-algorithm=CRC32&x-amz-checksum-crc32=AAAAAA==", "body 6").presigned(100), get("signed"),
		put("signed", "body 7", "Content-MD5: {{md5}}").presigned(100),
		put("signed", "body 8", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==").presigned(100), post("mp?uploads", "").presigned(100),
		put("mp?partNumber=1&uploadId={{upload mp}}", "a part").presigned(100),
		get("mp?uploadId={{upload mp}}").presigned(100), del("mp?uploadId={{upload mp}}").presigned(100),
		get("key?X-Amz-Security-Token=x").presigned(100),
		get("key?AWSAccessKeyId=x&Signature=y&Expires=1").but("no authorization",
			func(_ *side, m message) message { return m.without("Authorization") }),
		get("@/none-such-bucket/key").presigned(100), get("none").presigned(100),
		ask(http.MethodOptions, "key", "", "Origin: http://example.com", "Access-Control-Request-Method: GET"),
		ask(http.MethodOptions, "", "", "Origin: http://example.com", "Access-Control-Request-Method: PUT"),
		ask(http.MethodOptions, "key", ""), ask(http.MethodOptions, "@/", ""), ask("PATCH", "key", ""),
		ask("TRACE", "key", ""), ask("get", "key", ""), ask("PROPFIND", "key", ""),
	)
}

// targetProbes: paths and queries of every kind, good and bad.
func targetProbes(t *testing.T) []probe {
	probes := []probe{put("key", "body of key"), put("a/b", "a body")}
	targets := []string{
		"key?", "key?&", "key?=", "key?acl&tagging", "key?tagging&acl", "key?tagging&tagging", "key?tagging=", "key?tagging=x",
		"key?TAGGING", "key?tagging&partNumber=1", "key?uploads", "key?uploadId", "key?partNumber", "key?versions",
		"key?list-type=2", "key?delete", "key?policy", "key?location", "key?cors", "key?lifecycle", "key?website",
		"key?versioning",
		"key?legal-hold&retention", "key?attributes&acl", "key?torrent&acl", "key?select", "key?restore", "key?append",
		"key?append&position=0", "key?x-id=PutObject", "key?x-id=GetObject", "key?x-id=nonsense",
		"key?x-id=GetObject&x-id=GetObject", "key?versionId=null&versionId=null",
		"key?response-content-type=a&response-content-type=b", "key?unknown", "key?unknown=x", "key?newfeature", "key?Acl",
		"key?;acl", "key?acl;tagging", "key?a=%00", "key?%61cl", "key?a+b", "?acl&policy", "?location&location", "?location=x",
		"?unknown", "?newfeature", "?newfeature=x", "?list-type=2&versions", "?versions&uploads", "?delete&list-type=2",
		"?session", "?x-id=ListObjectsV2", "?list-type=2&x-id=ListObjectsV2", "?list-type=2&x-id=GetObject",
		"@/{{bucket}}/", "@/{{bucket}}//", "@/{{bucket}}//key", "@//{{bucket}}/key", "@/{{bucket}}%2Fkey", "@/{{bucket}}/%6bey",
		"@/{{bucket}}/k%65y", "@/{{bucket}}/./key", "@/{{bucket}}/../{{bucket}}/key", "@/{{bucket}}/a/../key",
		"@/./{{bucket}}/key", "@/ab/key", "@/{{bucket}}.x/key", "@/UPPER/key", "@/.hidden/key", "@/a_b_c/key",
		"@/minio/health/live", "@/_/x", "@/favicon.ico", "@/none-such-bucket", "@/none-such-bucket/", "@/none-such-bucket/key",
		"@/none-such-bucket/key?tagging", "@/none-such-bucket/key?acl", "@/none-such-bucket?acl", "@/none-such-bucket?location",
		"@/none-such-bucket/key?uploadId=x", "a/b", "a%2Fb", "a%2fb", "key/", "key//", "key/x", "/key", "%20", "+", "%2B",
	}
	for _, target := range targets {
		probes = append(probes, get(target), head(target))
	}
	for i, target := range targets {
		if target == "@/none-such-bucket" || target == "@/none-such-bucket/" {
			continue // there is to be none
		}
		probes = append(probes, put(target, fmt.Sprintf("body %d", i)), del(target), post(target, "a body"),
			put("key", "body of key again"))
	}
	m := func(name string, f func(s *side, m message) message) {
		probes = append(probes, get("key").but(name, f), put("raw", "a body").but(name, f),
			post("?delete", "<Delete><Object><Key>none</Key></Object></Delete>", "Content-MD5: {{md5}}").but(name, f))
	}
	m("no host", func(_ *side, m message) message { return m.without("Host") })
	m("another host", func(_ *side, m message) message { return m.replace(t, "Host: ", "Host: x") })
	m("HTTP/1.0", func(_ *side, m message) message { return m.replace(t, "HTTP/1.1", "HTTP/1.0") })
	m("absolute target", func(s *side, m message) message { return m.replace(t, " /", " "+s.url+"/") })
	m("transfer-encoding chunked", func(_ *side, m message) message {
		if m.body != nil {
			m.chunked = true
		}
		return m
	})
	for _, target := range []string{"%", "%zz", "a b", "key#x", "key?a=%zz", "key?a b", "\xff", "key?\xff"} {
		m("of "+strconv.Quote(target),
			func(_ *side, m message) message { return m.replace(t, " HTTP/1.1", "/"+target+" HTTP/1.1") })
	}
	m("8 KB of headers", func(_ *side, m message) message { return m.with("X-Other", strings.Repeat("x", 8<<10)) })
	m("a long query", func(_ *side, m message) message { m.target += "?" + strings.Repeat("x", 4<<10); return m })
	probes = append(probes,
		put("raw", "a body").but("content-length too great", func(_ *side, m message) message { m.missing = 5; return m }),
		put("raw", "a body").but("no content-length", func(_ *side, m message) message { return m.without("Content-Length") }),
		put("raw", "a body").but("content-length nonsense",
			func(_ *side, m message) message { return m.replace(t, "Content-Length: 6", "Content-Length: x") }),
		put("raw", "a body").but("content-length negative",
			func(_ *side, m message) message { return m.replace(t, "Content-Length: 6", "Content-Length: -1") }),
		put("raw", "a body").but("content-length twice",
			func(_ *side, m message) message { m.late = []string{"Content-Length: 6"}; return m }),
		put("raw", "a body").but("content-length twice, not the same",
			func(_ *side, m message) message { m.late = []string{"Content-Length: 5"}; return m }),
		get("key").but("a body", func(_ *side, m message) message { m.body = text("a body"); return m }),
		del("key").but("a body", func(_ *side, m message) message { m.body = text("a body"); return m }),
		head("key").but("a body", func(_ *side, m message) message { m.body = text("a body"); return m }),
		get("key"),
	)
	return probes
}
