package e2e_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// digestProbes: what a client says about its bytes, true and not.
func digestProbes(*testing.T) []probe {
	const body = "the body of an object"
	wrong := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 16)))
	var probes []probe
	n := 0
	try := func(headers ...string) {
		n++
		key := fmt.Sprintf("digest%d", n)
		probes = append(probes, put(key, body, headers...).as("PUT; "+strings.Join(headers, "; ")),
			head(key, "X-Amz-Checksum-Mode: ENABLED").as("HEAD").after(strings.Join(headers, "; ")))
	}
	try("Content-MD5: {{md5}}")
	for _, md5 := range []string{wrong, "nonsense", "", "AAAA", strings.TrimRight(wrong, "="), " " + wrong} {
		try("Content-MD5: " + md5)
	}
	for _, sum := range []string{
		"UNSIGNED-PAYLOAD", sha256hex("another body"), strings.ToUpper(sha256hex(body)), "nonsense", "", strings.Repeat("0", 63),
		"STREAMING-NONSENSE", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
		"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
	} {
		try("X-Amz-Content-Sha256: " + sum)
	}
	for a := checksum.CRC32; a.Valid(); a++ {
		name, right := a.Header(), sumOf(a, []byte(body))
		try(name + ": " + right)
		try(name+": "+right, "X-Amz-Sdk-Checksum-Algorithm: "+a.String())
		try(name + ": " + sumOf(a, []byte("another body")))
		try(name + ": nonsense")
		try(name+": "+right, "X-Amz-Checksum-Algorithm: "+a.String())
		try("X-Amz-Checksum-Algorithm: " + a.String())
		try("X-Amz-Sdk-Checksum-Algorithm: " + a.String())
		try(name+": "+right, "X-Amz-Checksum-Type: COMPOSITE")
	}
	crc := "X-Amz-Checksum-Crc32: " + sumOf(checksum.CRC32, []byte(body))
	try(crc, "X-Amz-Checksum-Crc32c: "+sumOf(checksum.CRC32C, []byte(body)))
	try(crc, "X-Amz-Sdk-Checksum-Algorithm: SHA256")
	try(crc, "X-Amz-Sdk-Checksum-Algorithm: nonsense")
	try(crc, "Content-MD5: "+wrong)
	try(crc, "Content-MD5: {{md5}}")
	try("X-Amz-Checksum-Crc32:")
	try("X-Amz-Checksum-Nonsense: AAAA")
	try("X-Amz-Checksum-Algorithm: nonsense")
	try(crc, "X-Amz-Trailer: x-amz-checksum-crc32")
	try("X-Amz-Decoded-Content-Length: 3")
	try("X-Amz-Decoded-Content-Length: " + fmt.Sprint(len(body)))
	probes = append(probes,
		get("digest1", "Content-MD5: "+wrong), get("digest1", "X-Amz-Content-Sha256: "+sha256hex("x")),
		get("digest1", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD"), get("digest1", "X-Amz-Content-Sha256: nonsense"),
		get("digest1", "X-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
		get("digest1", "X-Amz-Checksum-Crc32: AAAAAA=="),
		put("digest1?tagging", "<Tagging><TagSet/></Tagging>", "Content-MD5: "+wrong),
		put("digest1?tagging", "<Tagging><TagSet/></Tagging>", "Content-MD5: nonsense"),
		put("digest1?tagging", "<Tagging><TagSet/></Tagging>", "X-Amz-Checksum-Crc32: AAAAAA=="),
		put("digest1?tagging", "<Tagging><TagSet/></Tagging>", "X-Amz-Checksum-Crc32: {{crc32}}"),
		put("digest1?tagging", "<Tagging><TagSet/></Tagging>", "X-Amz-Content-Sha256: "+sha256hex("x")),
		post("?delete", "<Delete><Object><Key>none</Key></Object></Delete>", "Content-MD5: "+wrong),
		post("?delete", "<Delete><Object><Key>none</Key></Object></Delete>", "X-Amz-Checksum-Crc32: AAAAAA=="),
		post("?delete", "<Delete><Object><Key>none</Key></Object></Delete>"),
		post("?delete", "<Delete><Object><Key>none</Key></Object></Delete>", "X-Amz-Checksum-Crc32: {{crc32}}"),
		put("?versioning", "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>", "Content-MD5: "+wrong),
	)
	return append(probes, chunkProbes()...)
}

// chunkProbes: bodies in aws-chunked framing, right and spoiled.
func chunkProbes() []probe {
	plain := pattern(150_000)
	crc, sha := sumOf(checksum.CRC32, plain), sumOf(checksum.SHA256, plain)
	var probes []probe
	n := 0
	try := func(name, hash string, f framing, headers map[string]string, spoil func(string) string) {
		n++
		key := fmt.Sprintf("chunked%d", n)
		probes = append(probes, probe{name: "PUT " + name, build: func(s *side) message {
			f.secret, f.region, f.at, f.size = s.store.SecretAccessKey, s.store.Region, time.Now(), 70_000
			m := message{
				method: "PUT", target: s.target(key), hash: hash, at: f.at,
				header: map[string]string{
					"Content-Encoding":             "aws-chunked",
					"X-Amz-Decoded-Content-Length": fmt.Sprint(len(plain)),
				},
			}
			for name, value := range headers {
				if m.header[name] = value; value == "" {
					delete(m.header, name)
				}
			}
			if m.body = f.frames(plain); spoil != nil {
				m.body = m.body.spoil(spoil)
			}
			return m
		}}, get(key).as("GET").after(name), head(key, "X-Amz-Checksum-Mode: ENABLED").as("HEAD").after(name))
	}
	signed, trailed, unsigned := framing{signed: true}, framing{signed: true, trailer: "x-amz-checksum-crc32:" + crc},
		framing{trailer: "x-amz-checksum-crc32:" + crc}
	announced := map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32"}
	with := func(name, value string) map[string]string {
		return map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32", name: value}
	}
	replace := func(from, to string) func(string) string {
		return func(s string) string { return strings.Replace(s, from, to, 1) }
	}
	flip := func(s string) string { return s[:200] + string(s[200]^1) + s[201:] }
	try("signed chunks", signedChunks, signed, nil, nil)
	try("signed chunks, content-encoding gzip,aws-chunked", signedChunks, signed,
		map[string]string{"Content-Encoding": "gzip,aws-chunked"}, nil)
	try("signed chunks, no content-encoding", signedChunks, signed, map[string]string{"Content-Encoding": ""}, nil)
	try("signed chunks, a byte flipped", signedChunks, signed, nil, flip)
	try("signed chunks, no decoded length", signedChunks, signed, map[string]string{"X-Amz-Decoded-Content-Length": ""}, nil)
	try("signed chunks, decoded length too small", signedChunks, signed,
		map[string]string{"X-Amz-Decoded-Content-Length": "149999"}, nil)
	try("signed chunks, decoded length too great", signedChunks, signed,
		map[string]string{"X-Amz-Decoded-Content-Length": "150001"}, nil)
	try("signed chunks, decoded length nonsense", signedChunks, signed,
		map[string]string{"X-Amz-Decoded-Content-Length": "nonsense"}, nil)
	try("signed chunks, signature of another", signedChunks, signed, nil, replace("chunk-signature=", "chunk-signature=0"))
	try("signed chunks, no signatures", signedChunks, framing{}, nil, nil)
	try("signed chunks, size nonsense", signedChunks, signed, nil, replace("11170;", "zzzzz;"))
	try("signed chunks, a checksum header", signedChunks, signed, map[string]string{"X-Amz-Checksum-Crc32": crc}, nil)
	try("signed chunks, a wrong checksum header", signedChunks, signed, map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}, nil)
	try("signed trailer", signedTrailer, trailed, announced, nil)
	try("signed trailer, flipped", signedTrailer, trailed, announced, flip)
	try("signed trailer, not announced", signedTrailer, trailed, nil, nil)
	try("signed trailer, another announced", signedTrailer, trailed, map[string]string{"X-Amz-Trailer": "x-amz-checksum-sha256"},
		nil)
	try("signed trailer, wrong checksum", signedTrailer, framing{signed: true, trailer: "x-amz-checksum-crc32:AAAAAA=="}, announced,
		nil)
	try("signed trailer, wrong trailer signature", signedTrailer, trailed, announced,
		replace("trailer-signature:", "trailer-signature:0"))
	try("unsigned trailer", unsignedTrailer, unsigned, announced, nil)
	try("unsigned trailer, sha256", unsignedTrailer, framing{trailer: "x-amz-checksum-sha256:" + sha},
		map[string]string{"X-Amz-Trailer": "x-amz-checksum-sha256"}, nil)
	try("unsigned trailer, of SDK algorithm", unsignedTrailer, unsigned, with("X-Amz-Sdk-Checksum-Algorithm", "CRC32"), nil)
	try("unsigned trailer, of another SDK algorithm", unsignedTrailer, unsigned, with("X-Amz-Sdk-Checksum-Algorithm", "SHA256"),
		nil)
	try("unsigned trailer, not announced", unsignedTrailer, unsigned, nil, nil)
	try("unsigned trailer, announced and missing", unsignedTrailer, framing{}, announced, nil)
	try("unsigned trailer, another announced", unsignedTrailer, unsigned,
		map[string]string{"X-Amz-Trailer": "x-amz-checksum-sha256"}, nil)
	try("unsigned trailer, nonsense announced", unsignedTrailer, unsigned, map[string]string{"X-Amz-Trailer": "x-amz-nonsense"},
		nil)
	try("unsigned trailer, flipped", unsignedTrailer, unsigned, announced, flip)
	try("unsigned trailer, wrong checksum", unsignedTrailer,
		framing{trailer: fmt.Sprintf("x-amz-checksum-crc32:%s", sumOf(checksum.CRC32, []byte("x")))}, announced, nil)
	try("unsigned trailer, nonsense checksum", unsignedTrailer, framing{trailer: "x-amz-checksum-crc32:nonsense"}, announced, nil)
	try("unsigned trailer, two", unsignedTrailer,
		framing{trailer: "x-amz-checksum-crc32:" + crc + "\r\nx-amz-checksum-sha256:" + sha}, announced, nil)
	try("unsigned trailer, and a checksum header", unsignedTrailer, unsigned, with("X-Amz-Checksum-Crc32", crc), nil)
	try("unsigned trailer, and Content-MD5", unsignedTrailer, unsigned,
		with("Content-MD5", base64.StdEncoding.EncodeToString(make([]byte, 16))), nil)
	try("unsigned trailer, cut", unsignedTrailer, unsigned, announced, func(s string) string { return s[:len(s)-2] })
	try("unsigned trailer, no last chunk", unsignedTrailer, unsigned, announced,
		func(s string) string { return s[:strings.LastIndex(s, "0\r\nx-amz")] })
	try("unsigned trailer, more behind", unsignedTrailer, unsigned, announced, func(s string) string { return s + "more" })
	try("unsigned trailer, no decoded length", unsignedTrailer, unsigned, with("X-Amz-Decoded-Content-Length", ""), nil)
	try("unsigned trailer, small chunks", unsignedTrailer, unsigned, announced, func(string) string {
		b := fmt.Sprintf("%x\r\n%s\r\n", 5, "small")
		small := append([]byte("small"), plain[5:]...)
		return b + fmt.Sprintf("%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n", len(plain)-5, plain[5:],
			sumOf(checksum.CRC32, small))
	})
	return probes
}
