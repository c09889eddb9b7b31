package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// listingProbes: every parameter of the three listings, good and bad, on folders of keys.
func listingProbes(*testing.T) []probe {
	var probes []probe
	for _, q := range []string{"?list-type=2", "?list-type=2&prefix=a&delimiter=%2F", "", "?versions", "?uploads"} {
		probes = append(probes, get(q).as("GET "+q+", of nothing"))
	}
	for i, key := range []string{
		"a", "a/1", "a/2", "a/b/1", "a/b/2", "a/c d+e/1", "b", "b c", "b+c", "c%2Fd", "d/", "ü/ö",
		"z<&>\"'",
	} {
		probes = append(probes, put(escapedKey(key), fmt.Sprintf("%0*d", 100*i+1, 0)))
	}
	queries := []string{
		"", "prefix=", "prefix=a", "prefix=a%2F", "prefix=none", "prefix=%C3%BC", "prefix=b%20", "prefix=b+c", "prefix=b%2Bc",
		"delimiter=%2F", "delimiter=", "delimiter=b", "delimiter=%2Fb%2F", "delimiter=%20",
		"prefix=a%2F&delimiter=%2F", "prefix=a%2F&delimiter=b", "prefix=a&delimiter=a", "prefix=%2F", "prefix=%2F&delimiter=%2F",
		"prefix=.sseproxy", "prefix=.sseproxy%2F",
		"max-keys=0", "max-keys=1", "max-keys=3", "max-keys=13", "max-keys=1000", "max-keys=1001", "max-keys=2147483647",
		"max-keys=2147483648", "max-keys=99999999999999999999", "max-keys=-1", "max-keys=nonsense", "max-keys=",
		"max-keys=1.5", "max-keys=+1",
		"max-keys=2&delimiter=%2F", "max-keys=1&delimiter=%2F&prefix=a%2F", "encoding-type=url", "encoding-type=",
		"encoding-type=nonsense", "encoding-type=URL", "encoding-type=url&delimiter=%2F", "encoding-type=url&prefix=b%20c",
		"encoding-type=url&delimiter=%20&max-keys=3",
		"prefix=a&prefix=b", "max-keys=1&max-keys=2", "unknown=x", "prefix=" + strings.Repeat("p", 1025), "prefix=%00",
		"prefix=%FF", "prefix=..%2F", "versionId=x", "partNumber=1",
	}
	for _, kind := range []struct {
		base string
		more []string
	}{
		{"?", []string{
			"marker=", "marker=a", "marker=a%2F1", "marker=none", "marker=zzz", "marker=b%20c", "marker=a&delimiter=%2F",
			"marker=a%2F&delimiter=%2F", "marker=a%2Fb%2F&delimiter=%2F&prefix=a%2F", "marker=.sseproxy%2F",
			"marker=%C3%BC&encoding-type=url",
			"marker={{NextMarker}}", "marker=a&start-after=b", "marker=%FF", "list-type=1", "list-type=3", "list-type=",
			"list-type=nonsense", "list-type=2&list-type=2", "fetch-owner=true",
		}},
		{"?list-type=2&", []string{
			"start-after=", "start-after=a", "start-after=a%2F1", "start-after=none", "start-after=zzz", "start-after=b%20c",
			"start-after=a&delimiter=%2F", "start-after=a%2F&delimiter=%2F", "start-after=a%2Fb%2F&delimiter=%2F&prefix=a%2F",
			"start-after=.sseproxy%2F",
			"fetch-owner=true", "fetch-owner=false", "fetch-owner=nonsense", "fetch-owner=", "continuation-token=",
			"continuation-token=nonsense", "continuation-token=%00", "max-keys=4",
			"continuation-token={{NextContinuationToken}}", "continuation-token={{NextContinuationToken}}&start-after=z",
			"max-keys=2&delimiter=%2F", "continuation-token={{NextContinuationToken}}&delimiter=%2F&max-keys=2", "marker=a",
			"encoding-type=url&start-after=%C3%BC", "encoding-type=url&max-keys=6",
		}},
		{"?versions&", []string{
			"key-marker=", "key-marker=a", "key-marker=a%2F1", "key-marker=zzz", "key-marker=a&delimiter=%2F",
			"key-marker=.sseproxy%2F", "version-id-marker=null", "version-id-marker=x", "key-marker=a&version-id-marker=null",
			"key-marker=a&version-id-marker=nonsense", "key-marker=a&version-id-marker=",
			"max-keys=2", "key-marker={{NextKeyMarker}}&version-id-marker={{NextVersionIdMarker}}",
			"encoding-type=url&key-marker=%C3%BC", "marker=a", "list-type=2",
		}},
	} {
		for _, q := range append(queries, kind.more...) {
			probes = append(probes, get(strings.TrimRight(kind.base+q, "?&")))
		}
	}
	for _, headers := range []string{
		"X-Amz-Optional-Object-Attributes: RestoreStatus", "X-Amz-Optional-Object-Attributes: nonsense",
		"X-Amz-Request-Payer: requester", "X-Amz-Expected-Bucket-Owner: 111122223333", "If-None-Match: *", "Range: bytes=0-1",
		"X-Amz-Unknown: x",
	} {
		probes = append(probes, get("?list-type=2&max-keys=1", headers))
	}
	return append(probes, head(""), head("?list-type=2"), get("@/none-such-bucket?list-type=2"), get("@/none-such-bucket"),
		get("@/none-such-bucket?versions"), get("@/none-such-bucket?uploads"))
}

// deletionProbes: DeleteObjects with bodies of every kind.
func deletionProbes(*testing.T) []probe {
	object := func(s string) string { return "<Delete><Object>" + s + "</Object></Delete>" }
	many := func(n int) string {
		var b strings.Builder
		b.WriteString("<Delete>")
		for i := range n {
			fmt.Fprintf(&b, "<Object><Key>many%d</Key></Object>", i)
		}
		return b.String() + "</Delete>"
	}
	var probes []probe
	for i, body := range []string{
		object("<Key>a</Key>"), object("<Key>none</Key>"),
		"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object><Object><Key>none</Key></Object></Delete>",
		"<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>",
		"<Delete><Object><Key>a</Key></Object><Quiet>false</Quiet></Delete>",
		"<Delete><Quiet>nonsense</Quiet><Object><Key>a</Key></Object></Delete>",
		"<Delete><Quiet></Quiet><Object><Key>a</Key></Object></Delete>",
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n  <Object>\n    <Key>a</Key>\n  </Object>\n</Delete>\n",
		object("<Key>a</Key><VersionId>null</VersionId>"), object("<Key>a</Key><VersionId>nonsense</VersionId>"),
		object("<Key>a</Key><VersionId></VersionId>"), object("<VersionId>null</VersionId>"), object("<Key></Key>"),
		object(""),
		object("<Key>a</Key><Key>b</Key>"), object("<Key>a</Key><Unknown>x</Unknown>"),
		"<Delete><Unknown/><Object><Key>a</Key></Object></Delete>", "<Delete/>", "<Delete></Delete>", "", "nonsense",
		"<Delete><Object><Key>a</Key></Object>", "<Other><Object><Key>a</Key></Object></Other>",
		"<!DOCTYPE x [<!ENTITY e \"a\">]><Delete><Object><Key>&e;</Key></Object></Delete>", object("<Key>&#97;</Key>"),
		object("<Key><![CDATA[a]]></Key>"), object("<Key> a </Key>"), object("<Key>&lt;&amp;</Key>"),
		object("<Key>" + strings.Repeat("k", 1025) + "</Key>"),
		object("<Key>a</Key><ETag>{{etag a}}</ETag>"), object("<Key>a</Key><ETag>\"0123\"</ETag>"),
		object("<Key>none</Key><ETag>\"0123\"</ETag>"), object("<Key>a</Key><ETag>*</ETag>"),
		object("<Key>a</Key><Size>4</Size>"),
		object("<Key>a</Key><LastModifiedTime>Fri, 01 Jan 2010 00:00:00 GMT</LastModifiedTime>"),
		"<Delete><Object><Key>a</Key></Object><Object><Key>a</Key></Object></Delete>", object("<Key>../x</Key>"),
		object("<Key>d/</Key>"), many(1001),
	} {
		probes = append(probes, put("a", "body of a").as("PUT"), put("b", "body of b").as("PUT"),
			post("?delete", body,
				"Content-MD5: {{md5}}").as(fmt.Sprintf("POST ?delete; %s", shorten(strings.ReplaceAll(body, "\n", ""), 120))),
			get("?list-type=2").as("list").after(fmt.Sprint(i)))
	}
	body := object("<Key>none</Key>")
	return append(probes,
		post("?delete=x", body, "Content-MD5: {{md5}}"), post("?delete&x-id=DeleteObjects", body, "Content-MD5: {{md5}}"),
		post("?delete&versionId=x", body, "Content-MD5: {{md5}}"), post("?delete&delete", body, "Content-MD5: {{md5}}"),
		post("?delete", body, "Content-MD5: {{md5}}", "X-Amz-Bypass-Governance-Retention: true"),
		post("?delete", body, "Content-MD5: {{md5}}", "X-Amz-Mfa: serial 123456"),
		post("?delete", body, "Content-MD5: {{md5}}", "X-Amz-Expected-Bucket-Owner: 111122223333"),
		post("?delete", body, "Content-MD5: {{md5}}", "Content-Type: text/plain"),
		post("@/none-such-bucket?delete", body, "Content-MD5: {{md5}}"), get("?delete"), put("?delete", body), del("?delete"),
	)
}

// versionProbes: objects with versions, delete markers, and the null version.
func versionProbes(*testing.T) []probe {
	status := func(s string) probe {
		return put("?versioning",
			"<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>"+s+"</Status></VersioningConfiguration>",
			"Content-MD5: {{md5}}").as("PUT ?versioning " + s)
	}
	var probes []probe
	look := func(when string) {
		for _, p := range []probe{
			get("key"), head("key"), get("?versions"), get("?versions&prefix=key&max-keys=1"), get("?list-type=2"), get(""),
			get("key?versionId=null"), head("key?versionId=null"),
			get("key?versionId={{version key 1}}"), head("key?versionId={{version key 1}}"), get("key?versionId={{version key}}"),
			head("key?versionId={{version key}}"), get("key?versionId={{version key}}", "Range: bytes=1-2"),
			get("key?tagging&versionId={{version key 1}}"),
			get("key?attributes&versionId={{version key 1}}", "X-Amz-Object-Attributes: ETag,ObjectSize"),
			get("key?partNumber=1&versionId={{version key 1}}"), get("key?acl&versionId={{version key 1}}"),
			get("key", "If-Match: {{etag key}}"), get("key", "If-None-Match: *"),
		} {
			probes = append(probes, p.as(p.name+" "+when))
		}
	}
	probes = append(probes, get("?versioning"), put("key", "before versioning"))
	look("before versioning")
	probes = append(probes, status("Enabled"), get("?versioning"), put("key", "one", "X-Amz-Tagging: n=1"),
		put("key", "two, longer"), put("key", "three"), put("other", "other"))
	look("with three versions")
	for _, q := range []string{
		"max-keys=1", "max-keys=2", "max-keys=1&key-marker={{NextKeyMarker}}&version-id-marker={{NextVersionIdMarker}}",
		"key-marker=key&version-id-marker={{version key 2}}", "key-marker=key&version-id-marker={{version key 1}}&max-keys=1",
		"key-marker=key", "key-marker=key&version-id-marker=null",
		"max-keys=0", "delimiter=e", "prefix=key&delimiter=y",
	} {
		probes = append(probes, get("?versions&"+q))
	}
	for _, version := range []string{"nonsense", "", "00000000000000000000000000", "{{version other}}", "null%00"} {
		probes = append(probes, get("key?versionId="+version), head("key?versionId="+version), del("key?versionId="+version),
			get("key?tagging&versionId="+version))
	}
	probes = append(probes,
		put("key?tagging&versionId={{version key 1}}",
			"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", "Content-MD5: {{md5}}"),
		get("key?tagging&versionId={{version key 1}}"), del("key?tagging&versionId={{version key 1}}"),
		put("copied", "", "X-Amz-Copy-Source: {{bucket}}/key?versionId={{version key 1}}"), get("copied"),
		put("copied", "", "X-Amz-Copy-Source: {{bucket}}/key?versionId=nonsense"),
		put("key", "", "X-Amz-Copy-Source: {{bucket}}/key?versionId={{version key 1}}"), get("key"),
		del("key").as("DELETE, a marker"),
	)
	look("behind a delete marker")
	probes = append(probes,
		del("key").as("DELETE, a second marker"), get("key?versionId={{version key}}"), head("key?versionId={{version key}}"),
		get("key?tagging"), put("key?tagging", "<Tagging><TagSet/></Tagging>"),
		get("key?attributes", "X-Amz-Object-Attributes: ETag"),
		del("key?versionId={{version key}}").as("DELETE the second marker"), head("key"),
		put("key", "if none", "If-None-Match: *").as("PUT if none, behind a marker"), head("key"),
		del("key", "If-Match: {{etag key}}"), del("key?versionId={{version key 1}}").as("DELETE version 1"),
		del("key?versionId={{version key 1}}").as("DELETE version 1 again"),
		get("key?versionId={{version key 1}}").as("GET version 1 after"), del("key?versionId=null").as("DELETE null"),
		post("?delete",
			"<Delete><Object><Key>key</Key></Object><Object><Key>other</Key><VersionId>{{version other}}</VersionId></Object><Object><Key>key</Key><VersionId>{{version key 2}}</VersionId></Object></Delete>",
			"Content-MD5: {{md5}}").as("POST ?delete of versions"),
	)
	look("after deletions")
	probes = append(probes, status("Suspended"), get("?versioning"), put("key", "null version"))
	look("suspended")
	probes = append(probes, put("key", "null version again"), del("key").as("DELETE while suspended"))
	look("deleted while suspended")
	probes = append(probes, status("Nonsense"), status("enabled"), status(""), put("?versioning", "nonsense"),
		put("?versioning", ""),
		put("?versioning",
			"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>"),
		status("Enabled").as("PUT ?versioning again"),
		post("mp?uploads", ""), put("mp?partNumber=1&uploadId={{upload mp}}", "a part"),
		post("mp?uploadId={{upload mp}}", complete("mp", 1)), get("mp"), head("mp?versionId={{version mp}}"),
		get("?versions&prefix=mp"),
		put("stray", "stray"), put("stray?versionId={{version stray}}", "nonsense"), del("stray"),
		put("copied", "", "X-Amz-Copy-Source: {{bucket}}/stray").as("copy, behind a marker"),
		put("copied", "", "X-Amz-Copy-Source: {{bucket}}/stray?versionId={{version stray}}").as("copy of a marker"),
		put("copied", "",
			"X-Amz-Copy-Source: {{bucket}}/stray?versionId={{version stray 1}}").as("copy, behind a marker, of a version"))
	return probes
}

// complete makes the body of CompleteMultipartUpload.
func complete(key string, parts ...int) string {
	var b strings.Builder
	b.WriteString("<CompleteMultipartUpload>")
	for _, n := range parts {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>{{etag %s part %d}}</ETag></Part>", n, key, n)
	}
	return b.String() + "</CompleteMultipartUpload>"
}
