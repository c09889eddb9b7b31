package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// objectProbes: what an object is stored with, and what of it is shown.
func objectProbes(*testing.T) []probe {
	long := strings.Repeat("v", 1000)
	var probes []probe
	for i, headers := range [][]string{
		nil,
		{"Content-Type: text/plain"},
		{"Content-Type: TEXT/Plain; charset=\"utf-8\""},
		{"Content-Type: nonsense"},
		{"Content-Type:"},
		{
			"Cache-Control: max-age=1, private", "Content-Disposition: attachment; filename=\"a b.txt\"",
			"Content-Language: de-CH, en",
		},
		{"Content-Disposition: inline; filename*=UTF-8''na%C3%AFve.txt"},
		{"Content-Disposition: attachment; filename=naïve.txt"},
		{"Content-Encoding: gzip"},
		{"Content-Encoding: gzip, br"},
		{"Content-Encoding: aws-chunked"},
		{"Content-Encoding: gzip,aws-chunked"},
		{"Content-Encoding: aws-chunked, gzip"},
		{"Content-Encoding: x-odd"},
		{"Expires: Fri, 01 Jan 2038 00:00:00 GMT"},
		{"Expires: 0"},
		{"Expires: 2038-01-01T00:00:00Z"},
		{"X-Amz-Meta-A: 1"},
		{"X-Amz-Meta-Mixed-Case: MiXed"},
		{"X-Amz-Meta-Empty:"},
		{"X-Amz-Meta-Spaces:   two  spaces  "},
		{"X-Amz-Meta-Comma: a,b, c"},
		{"X-Amz-Meta-Dot.And_underscore: v"},
		{"X-Amz-Meta-Utf8: grüße 日本"},
		{"X-Amz-Meta-Latin1: gr\xfc\xdfe"},
		{"X-Amz-Meta-Rfc2047: =?UTF-8?B?Z3LDvMOfZQ==?="},
		{"X-Amz-Meta-Rfc2047: =?UTF-8?Q?gr=C3=BC=C3=9Fe?="},
		{"X-Amz-Meta-Rfc2047: =?UTF-8?B?YXNjaWk=?="},
		{"X-Amz-Meta-Quotes: \"a\" <b> &amp; c"},
		{"X-Amz-Meta-" + strings.Repeat("n", 200) + ": v"},
		{"X-Amz-Meta-A: " + long},
		{"X-Amz-Meta-A: " + long + long + strings.Repeat("v", 48)},
		{"X-Amz-Meta-A: " + long, "X-Amz-Meta-B: " + long + strings.Repeat("v", 47)},
		{"X-Amz-Meta-: v"},
		{"X-Amz-Storage-Class: STANDARD"},
		{"X-Amz-Storage-Class: REDUCED_REDUNDANCY"},
		{"X-Amz-Storage-Class: STANDARD_IA"},
		{"X-Amz-Storage-Class: GLACIER"},
		{"X-Amz-Storage-Class: NONSENSE"},
		{"X-Amz-Storage-Class: standard"},
		{"X-Amz-Tagging: a=b"},
		{"X-Amz-Tagging: a=b&c=d%20e+f&g=%C3%BC"},
		{"X-Amz-Tagging: a"},
		{"X-Amz-Tagging: a=&b="},
		{"X-Amz-Tagging: =b"},
		{"X-Amz-Tagging:"},
		{"X-Amz-Tagging: a=b&a=c"},
		{"X-Amz-Tagging: a=%zz"},
		{"X-Amz-Tagging: a=b=c"},
		{"X-Amz-Tagging: aws:x=y"},
		{"X-Amz-Tagging: a=b?<>"},
		{"X-Amz-Tagging: " + manyTags(10)},
		{"X-Amz-Tagging: " + manyTags(11)},
		{"X-Amz-Tagging: " + strings.Repeat("k", 129) + "=v"},
		{"X-Amz-Tagging: k=" + strings.Repeat("v", 257)},
		{"X-Amz-Website-Redirect-Location: /other"},
		{"X-Amz-Website-Redirect-Location: https://example.com/"},
		{"X-Amz-Website-Redirect-Location: nonsense"},
		{"X-Amz-Acl: private"},
		{"X-Amz-Acl: public-read"},
		{"X-Amz-Acl: bucket-owner-full-control"},
		{"X-Amz-Acl: nonsense"},
		{"X-Amz-Grant-Read: id=someone"},
		{"X-Amz-Grant-Read: nonsense"},
		{"X-Amz-Grant-Read: uri=http://acs.amazonaws.com/groups/global/AllUsers", "X-Amz-Acl: private"},
		{"X-Amz-Server-Side-Encryption: AES256"},
		{"X-Amz-Server-Side-Encryption: aws:kms"},
		{"X-Amz-Server-Side-Encryption: nonsense"},
		{"X-Amz-Server-Side-Encryption-Customer-Algorithm: AES256"},
		{"X-Amz-Request-Payer: requester"},
		{"X-Amz-Expected-Bucket-Owner: 111122223333"},
		{"X-Amz-Object-Lock-Mode: GOVERNANCE", "X-Amz-Object-Lock-Retain-Until-Date: 2038-01-01T00:00:00Z"},
		{"X-Amz-Object-Lock-Mode: GOVERNANCE"},
		{"X-Amz-Object-Lock-Legal-Hold: ON"},
		{"X-Amz-Object-Lock-Legal-Hold: nonsense"},
		{"X-Amz-Write-Offset-Bytes: 0"},
		{"X-Amz-Unknown: v"},
		{
			"X-Unknown: v", "Accept: text/html", "Accept-Encoding: gzip", "Accept-Language: de", "Referer: http://example.com/",
			"Cookie: a=b", "Via: 1.1 x", "Origin: http://example.com",
		},
		{"If-Modified-Since: Fri, 01 Jan 2038 00:00:00 GMT"},
		{"Range: bytes=0-1"},
	} {
		key := fmt.Sprintf("object%d", i)
		what := shorten(strings.Join(headers, "; "), 70)
		probes = append(probes,
			put(key, "body of "+key, headers...).as("PUT; "+what),
			get(key).as("GET").after(what), head(key).as("HEAD").after(what), get(key+"?tagging").as("GET ?tagging").after(what),
		)
	}
	const key = "object5"
	for _, query := range []string{
		"response-content-type=text/other", "response-content-type=", "response-content-language=fr",
		"response-expires=Thu,%2001%20Jan%202037%2000:00:00%20GMT",
		"response-expires=nonsense", "response-cache-control=no-store",
		"response-content-disposition=attachment%3B%20filename%3D%22%C3%BC.txt%22",
		"response-content-encoding=gzip", "response-cache-control=a%0Ab", "response-content-type=a&response-cache-control=b",
		"response-unknown=x",
		"versionId=null", "versionId=", "versionId=nonsense", "partNumber=1", "partNumber=2", "partNumber=0", "partNumber=x",
		"partNumber=", "x-id=GetObject", "unknown=x",
	} {
		probes = append(probes, get(key+"?"+query), head(key+"?"+query))
	}
	for _, headers := range [][]string{
		{"X-Amz-Checksum-Mode: ENABLED"},
		{"X-Amz-Checksum-Mode: nonsense"},
		{"X-Amz-Checksum-Mode: ENABLED", "Range: bytes=0-1"},
		{"X-Amz-Te: append-md5"},
		{"X-Amz-Request-Payer: requester"},
		{"X-Amz-Expected-Bucket-Owner: 111122223333"},
		{"X-Amz-Server-Side-Encryption: AES256"},
		{"X-Amz-Server-Side-Encryption-Customer-Algorithm: AES256"},
		{"Accept-Encoding: gzip"},
		{"Origin: http://example.com"},
		{"X-Amz-Unknown: v"},
		{"Content-Type: text/plain"},
		{"X-Amz-Meta-A: v"},
	} {
		probes = append(probes, get(key, headers...), head(key, headers...))
	}
	for _, attributes := range []string{
		"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize",
		"ETag,Checksum,ObjectParts,StorageClass,ObjectSize", "ETag, ObjectSize", "Nonsense", "", "etag",
	} {
		probes = append(probes, get(key+"?attributes", "X-Amz-Object-Attributes: "+attributes))
	}
	return append(probes,
		get(key+"?attributes"),
		get("none?attributes", "X-Amz-Object-Attributes: ETag"),
		put("empty", ""), get("empty"), head("empty"), head("empty", "X-Amz-Checksum-Mode: ENABLED"), get("empty?partNumber=1"),
		put("frame", string(pattern(frame))), get("frame"), head("frame"), get("frame", "X-Amz-Checksum-Mode: ENABLED"),
		put("large", string(pattern(3*frame+17))), get("large"), head("large"), head("large", "X-Amz-Checksum-Mode: ENABLED"),
		get("large?partNumber=1"),
		get("none"), head("none"), del("none"), get("none?tagging"), get("none?acl"), get("none?versionId=nonsense"),
		get("none?partNumber=1"),
		get(key+"?acl"), put(key+"?acl", "", "X-Amz-Acl: private"), put(key+"?acl", "", "X-Amz-Acl: nonsense"), put(key+"?acl", ""),
		put(key+"?acl", "<AccessControlPolicy/>"),
		put(key+"?acl", "nonsense"), put("none?acl", "", "X-Amz-Acl: private"),
		get(key+"?legal-hold"), get(key+"?retention"), get(key+"?torrent"),
		post(key+"?restore", "<RestoreRequest><Days>1</Days></RestoreRequest>"),
		post(key+"?select&select-type=2", "<SelectObjectContentRequest/>"), get(key+"?uploadId=none"),
		put(key+"?encryption", "<ObjectEncryption/>"),
		put(key+"?annotation&annotationName=x", "note"), get(key+"?annotation"),
		put(key+"?renameObject", "", "X-Amz-Rename-Source: {{bucket}}/large"),
		put(key, "overwritten"), get(key), del(key), get(key), head(key), del(key),
	)
}

func manyTags(n int) string {
	var tags []string
	for i := range n {
		tags = append(tags, fmt.Sprintf("k%d=v", i))
	}
	return strings.Join(tags, "&")
}

func shorten(s string, n int) string { return s[:min(n, len(s))] }

// rangeProbes: every form of range, on objects of no, one and several frames.
func rangeProbes(*testing.T) []probe {
	var probes []probe
	for _, n := range []int{0, 1, 1000, 3*frame + 17} {
		key := fmt.Sprint(n)
		probes = append(probes, put(key, string(pattern(n))))
		for _, r := range []string{
			"bytes=0-", "bytes=0-0", "bytes=0-1", "bytes=1-", "bytes=999-", "bytes=999-999", "bytes=1000-", "bytes=999-1000",
			"bytes=65535-65536", "bytes=196624-", "bytes=196625-",
			"bytes=-1", "bytes=-0", "bytes=-1000", "bytes=-1001", "bytes=-99999999999", "bytes=999999999-", "bytes=0-99999999999",
			"bytes=0-99999999999999999999", "bytes=99999999999999999999-",
			"bytes=5-2", "bytes=a-b", "bytes=1", "bytes=", "bytes=-", "bytes", "items=0-1", "bytes=0-1,3-4", "bytes=0-1,",
			"bytes= 0-1", "bytes=0 - 1", "Bytes=0-1", "bytes=0--1", "bytes=--1", "bytes=+1-2",
			"bytes=00-01", "bytes=0x0-0x1", "", "0-1",
		} {
			probes = append(probes, get(key, "Range: "+r), head(key, "Range: "+r))
		}
	}
	const key = "1000"
	for _, condition := range []string{
		`If-Range: {{etag 1000}}`, `If-Range: "0123"`, `If-Range: W/{{etag 1000}}`, "If-Range: Fri, 01 Jan 2038 00:00:00 GMT",
		"If-Range: Fri, 01 Jan 2010 00:00:00 GMT", "If-Range: nonsense",
		`If-Match: {{etag 1000}}`, `If-Match: "0123"`, `If-None-Match: {{etag 1000}}`, `If-None-Match: "0123"`,
	} {
		probes = append(probes, get(key, "Range: bytes=1-2", condition), head(key, "Range: bytes=1-2", condition),
			get(key, "Range: bytes=1000-", condition))
	}
	return append(probes, get("none", "Range: bytes=0-1"), head("none", "Range: bytes=0-1"),
		get(key+"?partNumber=1", "Range: bytes=0-1"))
}

// conditionProbes: conditions of every kind on reads, writes and deletions.
func conditionProbes(*testing.T) []probe {
	const past, future = "Fri, 01 Jan 2010 00:00:00 GMT", "Fri, 01 Jan 2038 00:00:00 GMT"
	one := []string{""}
	for _, name := range []string{"If-Match: ", "If-None-Match: "} {
		for _, tag := range []string{
			`{{etag key}}`, `"0123"`, "*", `W/{{etag key}}`, `"0123", {{etag key}}`, `"0123","4567"`, "", `"`,
			`""`, "0123", `"*"`, "d41d8cd98f00b204e9800998ecf8427e", `"0123" "4567"`,
		} {
			one = append(one, name+tag)
		}
	}
	for _, name := range []string{"If-Modified-Since: ", "If-Unmodified-Since: "} {
		for _, date := range []string{
			past, future, "{{modified key}}", "nonsense", "", "Fri Jan  1 00:00:00 2010",
			"Friday, 01-Jan-10 00:00:00 GMT", "2010-01-01T00:00:00Z", "1262304000",
		} {
			one = append(one, name+date)
		}
	}
	probes := []probe{put("key", "body"), head("key")}
	for _, c := range one[1:] {
		probes = append(probes, get("key", c), head("key", c))
	}
	// Of two conditions the tag's counts.
	for _, match := range []string{
		"If-Match: {{etag key}}", `If-Match: "0123"`, "If-None-Match: {{etag key}}",
		`If-None-Match: "0123"`,
	} {
		for _, since := range []string{
			"If-Modified-Since: " + past, "If-Modified-Since: " + future, "If-Unmodified-Since: " + past,
			"If-Unmodified-Since: " + future,
		} {
			probes = append(probes, get("key", match, since), head("key", match, since))
		}
	}
	probes = append(probes, get("key", "If-Match: {{etag key}}", "If-None-Match: {{etag key}}"),
		get("key", `If-Match: "0123"`, "If-None-Match: {{etag key}}"),
		get("key", "If-Modified-Since: "+past, "If-Unmodified-Since: "+past))
	for i, c := range one {
		if strings.HasPrefix(c, "If-") && strings.Contains(c, "Since") {
			continue // no condition of a write
		}
		fresh := fmt.Sprintf("new%d", i)
		probes = append(probes,
			put("key", fmt.Sprint("old ", i)).as("PUT"),
			put("key", fmt.Sprint("replaced ", i), c), get("key").after(c),
			put(fresh, fmt.Sprint("created ", i), c), get(fresh).after(c),
		)
	}
	probes = append(probes, put("key", "a", "If-Match: {{etag key}}", "If-None-Match: *"),
		put("key", "b", "If-Unmodified-Since: "+past), put("key", "c", "If-Modified-Since: "+future))
	for i, c := range one {
		key := fmt.Sprintf("gone%d", i)
		c = strings.ReplaceAll(c, "{{etag key}}", "{{etag "+key+"}}")
		probes = append(probes, put(key, "body of "+key), del(key, c), head(key).after(c))
	}
	for _, c := range []string{
		`If-Match: "0123"`, "If-Match: *", "X-Amz-If-Match-Last-Modified-Time: " + past,
		"X-Amz-If-Match-Last-Modified-Time: " + future, "X-Amz-If-Match-Last-Modified-Time: nonsense",
		"X-Amz-If-Match-Size: 4", "X-Amz-If-Match-Size: 5", "X-Amz-If-Match-Size: nonsense",
	} {
		probes = append(probes, put("sized", "body under "+c), del("sized", c), head("sized").after(c), del("none", c))
	}
	return probes
}

// keyProbes: keys that routers, URL libraries and file systems like to change.
func keyProbes(*testing.T) []probe {
	var probes []probe
	for i, key := range append(oddKeys(), strings.Repeat("k", 255), strings.Repeat("k", 256), strings.Repeat("k/", 513), "a/../../b",
		"../a", "..", "\x00", "a\x00b") {
		path := escapedKey(key)
		what := fmt.Sprintf("%q", shorten(key, 30))
		most := []probe{
			put(path, fmt.Sprintf("body %d", i)).as("PUT"), get(path).as("GET"), head(path).as("HEAD"),
			get(path, "Range: bytes=0-1").as("GET range"), get(everyByte(key)).as("GET, all of it encoded"),
			get("?list-type=2&encoding-type=url").as("list encoded"),
			put("copy", "", "X-Amz-Copy-Source: {{bucket}}/"+path).as("copy from"), del(path).as("DELETE"),
		}
		all := []probe{
			put(path+"?tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>").as("PUT tagging"),
			get(path + "?tagging").as("GET tagging"),
			put(path, fmt.Sprintf("body %d once more", i)).as("PUT once more"), get("?list-type=2").as("list"),
			get("?list-type=2&delimiter=%2F&encoding-type=url").as("list folders"),
			get("?versions&encoding-type=url").as("list versions"),
			get("?list-type=2&encoding-type=url&prefix=" + path).as("list that prefix"),
			get("copy").as("GET copy"), put("source", "source"),
			put(path, "", "X-Amz-Copy-Source: {{bucket}}/source").as("copy to"),
			post("?delete", "<Delete><Object><Key>"+escapedForXML(key)+"</Key></Object></Delete>",
				"Content-MD5: {{md5}}").as("DeleteObjects"),
			put(path, fmt.Sprintf("body %d again", i)).as("PUT again"), del(path).as("DELETE"), get(path).as("GET after"),
			post(path+"?uploads", "").as("create upload"), get("?uploads&encoding-type=url").as("list uploads"),
			put(path+"?partNumber=1&uploadId={{upload}}", "part").as("part"),
			get(path + "?uploadId={{upload}}").as("list parts"), del(path + "?uploadId={{upload}}").as("abort"),
			del("copy").as("clean").quietly(), del("source").as("clean").quietly(), del(path).as("clean").quietly(),
		}
		if len(key) == 3 && key[0] == 'a' && key[2] == 'b' || len(key) > 500 || strings.Contains(key, "\x00") {
			all = nil // one of the many with an odd byte, for which the rest says no more
		}
		for _, p := range append(most, all...) {
			probes = append(probes, p.as(p.name+" "+what))
		}
	}
	return probes
}
