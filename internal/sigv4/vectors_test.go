package sigv4_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// The examples of "Signature Calculations for the Authorization Header:
// Transferring Payload in a Single Chunk" and of "Authenticating Requests: Using
// Query Parameters" in the Amazon S3 API Reference.
func TestPublishedExamples(t *testing.T) {
	authorization := func(signed, signature string) field {
		return field{"Authorization", "AWS4-HMAC-SHA256 Credential=" + accessKeyID + "/" + scope +
			",SignedHeaders=" + signed + ",Signature=" + signature}
	}
	host := field{"Host", "examplebucket.s3.amazonaws.com"}
	for name, m := range map[string]message{
		"GET object": {method: "GET", target: "/test.txt", header: []field{
			host,
			authorization("host;range;x-amz-content-sha256;x-amz-date",
				"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
			{"Range", "bytes=0-9"},
			{"x-amz-content-sha256", emptySHA256},
			{"x-amz-date", date},
		}},
		"PUT object": {method: "PUT", target: "/test$file.text", body: "Welcome to Amazon S3.", header: []field{
			host,
			{"Content-Length", "21"},
			{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
			authorization("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
				"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
			{"x-amz-date", date},
			{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
			{"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
		}},
		"GET bucket lifecycle": {method: "GET", target: "/?lifecycle", header: []field{
			host,
			authorization("host;x-amz-content-sha256;x-amz-date",
				"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
			{"x-amz-date", date},
			{"x-amz-content-sha256", emptySHA256},
		}},
		"list objects": {method: "GET", target: "/?max-keys=2&prefix=J", header: []field{
			host,
			authorization("host;x-amz-content-sha256;x-amz-date",
				"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
			{"x-amz-date", date},
			{"x-amz-content-sha256", emptySHA256},
		}},
		"presigned GET": {
			method: "GET",
			target: "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
				"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
				"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
				"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
			header: []field{host},
		},
	} {
		t.Run(name, func(t *testing.T) {
			req, payload, err := m.verify()
			if err != nil {
				t.Fatal(err)
			}
			if string(payload) != m.body || req.AccessKeyID != accessKeyID || req.Presigned != (name == "presigned GET") {
				t.Errorf("got %+v with payload %q", req, payload)
			}
		})
	}
}

// The examples of the chapters on chunked uploads: 66560 bytes 'a' in chunks of
// 64 KiB, without and with a trailing checksum.
func TestPublishedChunkedExamples(t *testing.T) {
	base := message{method: "PUT", target: "/examplebucket/chunkObject.txt", header: []field{
		{"Host", "s3.amazonaws.com"},
		{"x-amz-date", date},
		{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
		{"Content-Encoding", "aws-chunked"},
		{"x-amz-decoded-content-length", "66560"},
	}}
	chunks := func(first, second, last string) string {
		return fmt.Sprintf("10000;chunk-signature=%s\r\n%s\r\n400;chunk-signature=%s\r\n%s\r\n0;chunk-signature=%s\r\n",
			first, strings.Repeat("a", 65536), second, strings.Repeat("a", 1024), last)
	}

	plain := base.withBody(chunks(
		"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
		"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")+"\r\n").
		with("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD").
		with("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"+
			"SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,"+
			"Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
	trailing := base.withBody(chunks(
		"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
		"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
		"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992")+
		"x-amz-checksum-crc32c:sOO8/Q==\r\n"+
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n").
		with("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER").
		with("x-amz-trailer", "x-amz-checksum-crc32c").
		with("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"+
			"SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,"+
			"Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")

	if n := plain.get("Content-Length"); n != "66824" {
		t.Errorf("the example has 66824 bytes, not %s", n)
	}
	for name, m := range map[string]message{"plain": plain, "trailing": trailing} {
		t.Run(name, func(t *testing.T) {
			req, payload, err := m.verify()
			if err != nil {
				t.Fatal(err)
			}
			if string(payload) != strings.Repeat("a", 66560) {
				t.Errorf("payload has %d bytes", len(payload))
			}
			if sum, ok := req.Body.Checksum(); ok != (name == "trailing") || ok && sum.String() != "sOO8/Q==" {
				t.Errorf("checksum is %v", sum)
			}
			if a := req.Body.TrailerAlgorithm(); name == "trailing" && a != checksum.CRC32C {
				t.Errorf("announced checksum is %v", a)
			}
			if req.Body.Length() != 66560 || req.Header.Get("Content-Encoding") != "" {
				t.Errorf("length %d, header %v", req.Body.Length(), req.Header)
			}
		})
	}
}
