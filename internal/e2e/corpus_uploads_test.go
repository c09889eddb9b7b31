package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// uploadProbes: multipart uploads and what can go wrong with them.
func uploadProbes(*testing.T) []probe {
	var probes []probe
	add := func(p ...probe) { probes = append(probes, p...) }
	start := func(key string, headers ...string) { add(post(key+"?uploads", "", headers...)) }
	part := func(key string, n int, body string, headers ...string) {
		add(put(fmt.Sprintf("%s?partNumber=%d&uploadId={{upload %s}}", key, n, key), body, headers...))
	}
	finish := func(key, body string, headers ...string) {
		add(post(key+"?uploadId={{upload "+key+"}}", body,
			headers...).as("complete " + key + "; " + shorten(strings.Join(append(headers, body), "; "), 200)))
	}
	list := func(key, query string) { add(get(key + "?uploadId={{upload " + key + "}}" + query)) }
	five := func(from int) string { return string(pattern(mib5 + from)[from:]) }

	// One of three parts, with all that an object can have, looked at on its way.
	start("key", "Content-Type: text/odd", "Cache-Control: no-store", "Content-Disposition: inline", "Content-Encoding: gzip",
		"Content-Language: de", "Expires: Fri, 01 Jan 2038 00:00:00 GMT", "X-Amz-Meta-A: 1", "X-Amz-Tagging: a=b",
		"X-Amz-Website-Redirect-Location: /x")
	list("key", "")
	add(get("?uploads"), get("key"), head("key"), get("?list-type=2"))
	part("key", 2, five(1))
	part("key", 1, "to be replaced")
	part("key", 1, five(0))
	part("key", 7, "the last part")
	for _, q := range []string{
		"", "&max-parts=0", "&max-parts=1", "&max-parts=2", "&max-parts=3", "&max-parts=1000",
		"&max-parts=1001", "&max-parts=-1", "&max-parts=nonsense", "&max-parts=", "&part-number-marker=0",
		"&part-number-marker=1", "&part-number-marker=2", "&part-number-marker=7",
		"&part-number-marker=10001", "&part-number-marker=-1", "&part-number-marker=nonsense", "&part-number-marker=1&max-parts=1",
		"&encoding-type=url", "&encoding-type=nonsense", "&unknown=x", "&partNumber=1",
	} {
		list("key", q)
	}
	finish("key", complete("key", 1, 2))
	add(get("?uploads"), get("key"), head("key"), get("?list-type=2"), get("key?tagging"), get("key?uploadId={{upload key}}"),
		get("key", "Range: bytes=5242870-5242890"), get("key", "Range: bytes=-5"), head("key", "X-Amz-Checksum-Mode: ENABLED"))
	for _, n := range []string{"1", "2", "3", "7", "0", "10001", "-1"} {
		add(get("key?partNumber="+n), head("key?partNumber="+n), head("key?partNumber="+n, "X-Amz-Checksum-Mode: ENABLED"))
	}
	for _, headers := range [][]string{
		{"X-Amz-Max-Parts: 1"},
		{"X-Amz-Part-Number-Marker: 1"},
		{"X-Amz-Max-Parts: 0"},
		{"X-Amz-Max-Parts: nonsense"},
		{"X-Amz-Part-Number-Marker: nonsense"},
		nil,
	} {
		add(get("key?attributes", append(headers, "X-Amz-Object-Attributes: ETag,Checksum,ObjectParts,StorageClass,ObjectSize")...))
	}
	finish("key", complete("key", 1, 2))
	part("key", 1, "after its end")
	add(del("key?uploadId={{upload key}}"))

	// Bad lists of parts.
	bad := func(body string, headers ...string) {
		start("bad")
		part("bad", 1, "one, too small")
		part("bad", 2, "two")
		part("bad", 3, "three")
		finish("bad", body, headers...)
		add(del("bad?uploadId={{upload}}").quietly())
	}
	one := "<Part><PartNumber>1</PartNumber><ETag>{{etag bad part 1}}</ETag></Part>"
	for _, body := range []string{
		complete("bad", 1, 2), complete("bad", 2, 1), complete("bad", 1, 1), complete("bad", 4), complete("bad"),
		complete("bad", 0), complete("bad", 10001), complete("bad", 1, 4), "", "nonsense", "<CompleteMultipartUpload>",
		"<Other>" + one + "</Other>",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"0123\"</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><ETag>{{etag bad part 1}}</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>{{etag bad part 1}}</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{{etag bad part 2}}</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{{etag bad part 1}}</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Unknown/>" + strings.ReplaceAll(one, "1</P", "9</P") + "</CompleteMultipartUpload>",
	} {
		bad(body)
	}
	for _, headers := range []string{
		"X-Amz-Mp-Object-Size: 5", "X-Amz-Mp-Object-Size: nonsense", `If-Match: "0123"`, "If-Match: *",
		"X-Amz-Checksum-Crc32: AAAAAA==", "X-Amz-Checksum-Type: COMPOSITE", "X-Amz-Checksum-Type: nonsense",
		"X-Amz-Content-Sha256: " + sha256hex("x"), "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		bad(complete("bad", 3), headers)
	}
	start("bad")
	list("bad", "")
	add(put("there", "there"), post("there?uploads", ""), put("there?partNumber=1&uploadId={{upload there}}", "a part"))
	finish("there", complete("there", 1), "If-None-Match: *")
	finish("there", complete("there", 1), `If-Match: "0123"`)
	finish("there", complete("there", 1), `If-None-Match: "0123"`)
	finish("there", complete("there", 1), "If-Match: {{etag there}}")
	add(get("there"), head("there"), post("there?uploads", ""), put("there?partNumber=1&uploadId={{upload there}}", "another part"))
	finish("there", complete("there", 1), "If-None-Match: *", "X-Amz-Mp-Object-Size: 12")
	finish("there", complete("there", 1), "X-Amz-Mp-Object-Size: 12")
	start("whole")
	part("whole", 3, "the only part")
	finish("whole", complete("whole", 3), "X-Amz-Mp-Object-Size: 13")
	add(get("whole"), head("whole"), get("whole?partNumber=1"), get("whole?partNumber=3"),
		get("whole?attributes", "X-Amz-Object-Attributes: ObjectParts,ObjectSize"))
	start("empty")
	part("empty", 1, "")
	list("empty", "")
	finish("empty", complete("empty", 1))
	add(get("empty"), head("empty"), get("?list-type=2&prefix=empty"))
	start("odd")
	part("odd", 1, five(3))
	part("odd", 2, five(0)+"more")
	part("odd", 10000, "the end")
	list("odd", "")
	list("odd", "&max-parts=2")
	list("odd", "&part-number-marker=2")
	finish("odd", complete("odd", 1, 2, 10000))
	add(get("odd"), head("odd"), get("odd", "Range: bytes=10485755-"), get("odd?partNumber=2"), get("odd?partNumber=3"),
		get("?list-type=2&prefix=odd"))

	// Parts.
	start("parts")
	for _, query := range []string{
		"partNumber=0", "partNumber=10001", "partNumber=-1", "partNumber=x", "partNumber=",
		"partNumber=1.5", "partNumber=+1", "partNumber=01", "partNumber=1&unknown=x",
	} {
		add(put("parts?"+query+"&uploadId={{upload parts}}", "a part under "+query))
	}
	add(put("parts?partNumber=1&uploadId=nonsense", "x"), put("parts?partNumber=1&uploadId=", "x"), put("parts?partNumber=1", "x"),
		put("parts?uploadId={{upload parts}}", "x"), put("other?partNumber=1&uploadId={{upload parts}}", "x"),
		post("parts?partNumber=1&uploadId={{upload parts}}", "x"))
	for _, headers := range [][]string{
		{"Content-MD5: {{md5}}"},
		{"Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="},
		{"Content-MD5: nonsense"},
		{"X-Amz-Checksum-Crc32: {{crc32}}"},
		{"X-Amz-Checksum-Crc32: AAAAAA=="},
		{"X-Amz-Checksum-Sha256: {{sha256}}"},
		{"X-Amz-Content-Sha256: " + sha256hex("x")},
		{"X-Amz-Content-Sha256: UNSIGNED-PAYLOAD"},
		{"X-Amz-Meta-A: 1"},
		{"X-Amz-Server-Side-Encryption: AES256"},
		{"X-Amz-Server-Side-Encryption-Customer-Algorithm: AES256"},
		{"Content-Type: text/plain"},
		{"If-Match: *"},
		{"If-None-Match: *"},
		{"X-Amz-Storage-Class: STANDARD"},
		{"X-Amz-Unknown: x"},
	} {
		part("parts", 1, "a part with "+strings.Trim(headers[0], "{}"), headers...)
	}
	list("parts", "")
	for _, q := range []string{
		"", "&prefix=p", "&prefix=parts", "&prefix=none", "&delimiter=a", "&delimiter=%2F", "&max-uploads=0",
		"&max-uploads=1", "&max-uploads=1001", "&max-uploads=-1", "&max-uploads=nonsense", "&key-marker=bad",
		"&key-marker=parts", "&key-marker=zzz", "&upload-id-marker=x", "&key-marker=bad&upload-id-marker={{upload bad}}",
		"&key-marker={{NextKeyMarker}}&upload-id-marker={{NextUploadIdMarker}}", "&encoding-type=url", "&encoding-type=nonsense",
		"&unknown=x", "&max-keys=1",
	} {
		add(get("?uploads" + q))
	}
	add(del("parts?uploadId=nonsense"), del("parts?uploadId="), del("other?uploadId={{upload parts}}"),
		del("parts?uploadId={{upload parts}}", "X-Amz-If-Match-Initiated-Time: Fri, 01 Jan 2010 00:00:00 GMT"),
		del("parts?uploadId={{upload parts}}"), del("parts?uploadId={{upload parts}}").as("abort again"),
		get("parts?uploadId={{upload parts}}"),
		del("bad?uploadId={{upload bad}}"), post("parts?uploadId=nonsense", complete("bad", 1)),
		post("parts?uploadId=", complete("bad", 1)), post("none?uploadId={{upload bad}}", complete("bad", 1)),
		get("parts?uploadId=nonsense"), get("parts?uploadId="))

	// Creation.
	for _, headers := range [][]string{
		{"X-Amz-Storage-Class: STANDARD"},
		{"X-Amz-Storage-Class: NONSENSE"},
		{"X-Amz-Acl: private"},
		{"X-Amz-Acl: nonsense"},
		{"X-Amz-Tagging: a=b&a=c"},
		{"X-Amz-Tagging: a"},
		{"X-Amz-Server-Side-Encryption: AES256"},
		{"X-Amz-Server-Side-Encryption: aws:kms"},
		{"X-Amz-Meta-A: " + strings.Repeat("v", 2048)},
		{"X-Amz-Checksum-Algorithm: nonsense"},
		{"X-Amz-Checksum-Type: COMPOSITE"},
		{"X-Amz-Checksum-Algorithm: CRC32", "X-Amz-Checksum-Type: nonsense"},
		{"X-Amz-Object-Lock-Legal-Hold: ON"},
		{"If-None-Match: *"},
		{"X-Amz-Unknown: x"},
		{"Content-Encoding: aws-chunked"},
		{"X-Amz-Website-Redirect-Location: nonsense"},
		{"X-Amz-Grant-Read: nonsense"},
	} {
		start("made", headers...)
		add(del("made?uploadId={{upload}}").quietly())
	}
	add(post("made?uploads=x", ""), post("made?uploads", "a body"), post("made?uploads&uploads", ""),
		post("made?uploads&uploadId=x", ""), post("made?uploads&versionId=x", ""), post("@/none-such-bucket/key?uploads", ""))
	return append(probes, checksumUploads(five)...)
}

// checksumUploads: each algorithm and type, with sums that are right, wrong and missing.
func checksumUploads(five func(int) string) []probe {
	var probes []probe
	add := func(p ...probe) { probes = append(probes, p...) }
	for _, kind := range []struct {
		a checksum.Algorithm
		t string
	}{
		{checksum.CRC32, ""},
		{checksum.CRC32, "COMPOSITE"},
		{checksum.CRC32, "FULL_OBJECT"},
		{checksum.CRC32C, ""},
		{checksum.CRC64NVME, ""},
		{checksum.CRC64NVME, "COMPOSITE"},
		{checksum.SHA1, ""},
		{checksum.SHA256, "COMPOSITE"},
		{checksum.SHA256, "FULL_OBJECT"},
		{checksum.MD5, ""},
		{checksum.SHA512, ""},
		{checksum.XXHASH64, ""},
	} {
		key := strings.ToLower(kind.a.String() + kind.t)
		headers := []string{"X-Amz-Checksum-Algorithm: " + kind.a.String()}
		if kind.t != "" {
			headers = append(headers, "X-Amz-Checksum-Type: "+kind.t)
		}
		first, second := five(len(key)), "the end of "+key
		one, two := sumOf(kind.a, []byte(first)), sumOf(kind.a, []byte(second))
		element := "Checksum" + kind.a.String()
		doc := func(one, two string) string {
			sum := func(s string) string {
				if s == "" {
					return ""
				}
				return "<" + element + ">" + s + "</" + element + ">"
			}
			return fmt.Sprintf("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{{etag %[1]s part 1}}</ETag>%[2]s</Part><Part><PartNumber>2</PartNumber><ETag>{{etag %[1]s part 2}}</ETag>%[3]s</Part></CompleteMultipartUpload>",
				key, sum(one), sum(two))
		}
		at := func(n int) string { return fmt.Sprintf("%s?partNumber=%d&uploadId={{upload %s}}", key, n, key) }
		add(post(key+"?uploads", "", headers...),
			put(at(1), first, kind.a.Header()+": "+one),
			put(at(2), second, kind.a.Header()+": "+one), put(at(2), second, "X-Amz-Checksum-Crc32: {{crc32}}"), put(at(2), second),
			put(at(2), second, kind.a.Header()+": "+two),
			get(key+"?uploadId={{upload "+key+"}}"), get("?uploads&prefix="+key))
		for name, body := range [...]string{
			doc(two, two), doc("nonsense", two), doc("", two), doc("", ""), doc(one, two),
			doc(one, two),
		} {
			add(post(key+"?uploadId={{upload "+key+"}}", body).as(fmt.Sprintf("complete %s (%d)", key, name)))
		}
		add(head(key, "X-Amz-Checksum-Mode: ENABLED"), get(key, "X-Amz-Checksum-Mode: ENABLED"), get(key),
			get(key+"?attributes", "X-Amz-Object-Attributes: Checksum,ObjectParts"),
			head(key+"?partNumber=1", "X-Amz-Checksum-Mode: ENABLED"), get("?list-type=2&prefix="+key),
			del(key+"?uploadId={{upload "+key+"}}").quietly())
	}
	return probes
}

// copyProbes: CopyObject and UploadPartCopy.
func copyProbes(*testing.T) []probe {
	var probes []probe
	add := func(p ...probe) { probes = append(probes, p...) }
	source := "X-Amz-Copy-Source: {{bucket}}/source"
	fresh := put("source", "the source", "Content-Type: text/odd", "Cache-Control: max-age=1", "Content-Disposition: attachment",
		"Content-Language: de", "Content-Encoding: gzip", "Expires: Fri, 01 Jan 2038 00:00:00 GMT", "X-Amz-Meta-M: v",
		"X-Amz-Tagging: a=b&c=d", "X-Amz-Checksum-Crc32: {{crc32}}").as("PUT source")
	add(fresh,
		put(escapedKey("s p+ü%"), "an odd source"), put("empty", ""), put("large", string(pattern(3*frame+1))))
	try := func(headers ...string) {
		what := strings.Join(headers, "; ")
		add(put("copy", "", headers...).as("copy "+what), get("copy").as("GET").after(what),
			head("copy", "X-Amz-Checksum-Mode: ENABLED").as("HEAD").after(what), get("copy?tagging").as("tags").after(what),
			del("copy").as("clean").quietly())
	}
	for _, h := range [][]string{
		nil,
		{"Content-Type: text/new", "X-Amz-Meta-New: n"},
		{"X-Amz-Metadata-Directive: COPY", "Content-Type: text/new", "X-Amz-Meta-New: n"},
		{"X-Amz-Metadata-Directive: REPLACE", "Content-Type: text/new", "X-Amz-Meta-New: n", "Cache-Control: no-store"},
		{"X-Amz-Metadata-Directive: REPLACE"},
		{"X-Amz-Metadata-Directive: nonsense"},
		{"X-Amz-Metadata-Directive:"},
		{"X-Amz-Metadata-Directive: replace"},
		{"X-Amz-Tagging-Directive: REPLACE", "X-Amz-Tagging: x=1"},
		{"X-Amz-Tagging-Directive: REPLACE"},
		{"X-Amz-Tagging-Directive: COPY", "X-Amz-Tagging: x=1"},
		{"X-Amz-Tagging: x=1"},
		{"X-Amz-Tagging-Directive: nonsense"},
		{"X-Amz-Tagging-Directive: REPLACE", "X-Amz-Tagging: x"},
		{"X-Amz-Copy-Source-If-Match: {{etag source}}"},
		{`X-Amz-Copy-Source-If-Match: "0123"`},
		{"X-Amz-Copy-Source-If-Match: *"},
		{"X-Amz-Copy-Source-If-None-Match: {{etag source}}"},
		{`X-Amz-Copy-Source-If-None-Match: "0123"`},
		{"X-Amz-Copy-Source-If-None-Match: *"},
		{"X-Amz-Copy-Source-If-Modified-Since: Fri, 01 Jan 2010 00:00:00 GMT"},
		{"X-Amz-Copy-Source-If-Modified-Since: Fri, 01 Jan 2038 00:00:00 GMT"},
		{"X-Amz-Copy-Source-If-Unmodified-Since: Fri, 01 Jan 2010 00:00:00 GMT"},
		{"X-Amz-Copy-Source-If-Unmodified-Since: Fri, 01 Jan 2038 00:00:00 GMT"},
		{"X-Amz-Copy-Source-If-Modified-Since: nonsense"},
		{"X-Amz-Copy-Source-If-Match: {{etag source}}", "X-Amz-Copy-Source-If-Unmodified-Since: Fri, 01 Jan 2010 00:00:00 GMT"},
		{
			"X-Amz-Copy-Source-If-None-Match: {{etag source}}",
			"X-Amz-Copy-Source-If-Modified-Since: Fri, 01 Jan 2010 00:00:00 GMT",
		},
		{"If-None-Match: *"},
		{`If-Match: "0123"`},
		{`If-None-Match: "0123"`},
		{"If-Match: *"},
		{"X-Amz-Storage-Class: STANDARD"},
		{"X-Amz-Storage-Class: NONSENSE"},
		{"X-Amz-Acl: private"},
		{"X-Amz-Acl: nonsense"},
		{"X-Amz-Website-Redirect-Location: /x"},
		{"X-Amz-Server-Side-Encryption: AES256"},
		{"X-Amz-Server-Side-Encryption: aws:kms"},
		{"X-Amz-Checksum-Algorithm: SHA256"},
		{"X-Amz-Checksum-Algorithm: CRC32"},
		{"X-Amz-Checksum-Algorithm: CRC64NVME"},
		{"X-Amz-Checksum-Algorithm: nonsense"},
		{"X-Amz-Metadata-Directive: REPLACE", "X-Amz-Meta-A: " + strings.Repeat("v", 2048)},
		{"X-Amz-Copy-Source-Range: bytes=0-1"},
		{"X-Amz-Source-Expected-Bucket-Owner: 111122223333"},
		{"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm: AES256"},
		{"X-Amz-Unknown: x"},
		{"X-Amz-Request-Payer: requester"},
		{"Content-MD5: {{md5}}"},
		{"X-Amz-Object-Lock-Legal-Hold: ON"},
	} {
		try(append([]string{source}, h...)...)
	}
	for _, from := range []string{
		"/{{bucket}}/source", "//{{bucket}}/source", "{{bucket}}/none", "{{bucket}}/", "{{bucket}}", "none-such-bucket/source", "",
		"/", "{{bucket}}/s%20p%2B%C3%BC%25", "{{bucket}}/s p+ü%25", "{{bucket}}/s%20p+%C3%BC%25", "{{bucket}}%2Fsource",
		"{{bucket}}/%73ource", "{{bucket}}/source?versionId=null", "{{bucket}}/source?versionId=nonsense",
		"{{bucket}}/source?versionId=", "{{bucket}}/source?other=x", "{{bucket}}/source?", "{{bucket}}/../{{bucket}}/source",
		"{{bucket}}/a/../source", "{{bucket}}/./source", "{{bucket}}//source", "{{bucket}}/%zz",
		"arn:aws:s3:{{region}}:1:accesspoint/x/object/source", "../source", "{{bucket}}/empty", "{{bucket}}/large",
		"{{bucket}}/source#x",
	} {
		try("X-Amz-Copy-Source: " + from)
	}
	for _, h := range [][]string{
		nil,
		{"X-Amz-Metadata-Directive: REPLACE", "X-Amz-Meta-New: n"},
		{"X-Amz-Storage-Class: STANDARD"},
		{"X-Amz-Server-Side-Encryption: AES256"},
		{"X-Amz-Tagging-Directive: REPLACE", "X-Amz-Tagging: x=1"},
		{"X-Amz-Website-Redirect-Location: /x"},
		{"X-Amz-Copy-Source-If-Match: {{etag source}}"},
		{"Content-Type: text/new"},
		{"X-Amz-Checksum-Algorithm: SHA256"},
	} {
		add(fresh, put("source", "", append([]string{source}, h...)...).as("copy onto itself "+strings.Join(h, "; ")),
			get("source").after(strings.Join(h, "; ")), get("source?tagging").after(strings.Join(h, "; ")))
	}
	add(put("copy", "a body", source), put("copy?tagging", "", source), put("copy?versionId=null", "", source),
		get("source", source), post("copy", "", source), put("@/none-such-bucket/copy", "", source), put("", "", source))

	add(post("up?uploads", ""), post("stray?uploads", ""), post("sum?uploads", "", "X-Amz-Checksum-Algorithm: CRC32"))
	part := func(headers ...string) {
		add(put("stray?partNumber=1&uploadId={{upload stray}}", "", headers...).as("copy part " + strings.Join(headers, "; ")))
	}
	large := "X-Amz-Copy-Source: {{bucket}}/large"
	add(put("up?partNumber=1&uploadId={{upload up}}", "", large),
		put("up?partNumber=2&uploadId={{upload up}}", "", large, "X-Amz-Copy-Source-Range: bytes=65530-65540"))
	for _, r := range []string{
		"bytes=0-0", "bytes=0-65535", "bytes=65535-65536", "bytes=196608-196608", "bytes=196608-196609",
		"bytes=196609-196700", "bytes=5-2", "bytes=0-", "bytes=-1", "0-1", "bytes=0-1,3-4", "nonsense", "",
	} {
		part(large, "X-Amz-Copy-Source-Range: "+r)
	}
	for _, h := range []string{
		`X-Amz-Copy-Source-If-Match: "0123"`, "X-Amz-Copy-Source-If-Match: {{etag large}}",
		"X-Amz-Copy-Source-If-None-Match: {{etag large}}",
		"X-Amz-Copy-Source-If-Modified-Since: Fri, 01 Jan 2038 00:00:00 GMT",
		"X-Amz-Copy-Source-If-Unmodified-Since: Fri, 01 Jan 2010 00:00:00 GMT",
		"X-Amz-Metadata-Directive: REPLACE", "If-Match: *", "X-Amz-Server-Side-Encryption-Customer-Algorithm: AES256",
		"X-Amz-Unknown: x",
	} {
		part(large, h)
	}
	part("X-Amz-Copy-Source: {{bucket}}/none")
	part("X-Amz-Copy-Source: none-such-bucket/x")
	part("X-Amz-Copy-Source: {{bucket}}/empty")
	part("X-Amz-Copy-Source: {{bucket}}/empty", "X-Amz-Copy-Source-Range: bytes=0-0")
	part("X-Amz-Copy-Source: {{bucket}}/s%20p%2B%C3%BC%25")
	part("X-Amz-Copy-Source: nonsense")
	part("X-Amz-Copy-Source: {{bucket}}/large?versionId=nonsense")
	add(put("up?partNumber=1&uploadId=nonsense", "", large), put("up?partNumber=0&uploadId={{upload up}}", "", large),
		put("up?partNumber=10001&uploadId={{upload up}}", "", large), put("sum?partNumber=1&uploadId={{upload sum}}", "", large),
		get("sum?uploadId={{upload sum}}"), get("up?uploadId={{upload up}}"),
		post("up?uploadId={{upload up}}", complete("up", 1)), get("up"), put("copy", "", "X-Amz-Copy-Source: {{bucket}}/up"),
		get("copy"), head("copy?partNumber=1"), del("sum?uploadId={{upload sum}}"))
	return probes
}
