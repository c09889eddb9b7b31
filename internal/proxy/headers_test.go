package proxy

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestObjectResponse(t *testing.T) {
	src := http.Header{
		"Content-Type": {"text/plain"}, "Cache-Control": {"no-cache"}, "Expires": {"0"}, "Last-Modified": {"then"},
		"X-Amz-Meta-A": {"1"}, "X-Amz-Meta-B": {"2", "3"}, "X-Amz-Version-Id": {"v"}, "Etag": {`"abc"`},
		"X-Amz-Object-Lock-Mode": {"GOVERNANCE"}, "X-Amz-Missing-Meta": {"1"}, "X-Amz-Storage-Class": {"GLACIER"},

		reservedMetadata: {"envelope"}, "x-amz-meta-sseproxy": {"envelope"},
		"Content-Length": {"93"}, "Content-Range": {"bytes 0-92/93"}, "Content-Md5": {"x"},
		"X-Amz-Checksum-Crc32": {"x"}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}, "X-Amz-Object-Size": {"93"},
		"X-Amz-Mp-Parts-Count": {"2"}, "X-Amz-Server-Side-Encryption": {"AES256"}, "Server": {"store"},
		"X-Amz-Request-Id": {"1"}, "X-Amz-Id-2": {"2"}, "Set-Cookie": {"a=b"}, "Location": {"http://store/"},
		"Access-Control-Allow-Origin": {"*"}, "X-New": {"1"}, "Transfer-Encoding": {"chunked"},
	}
	dst := http.Header{"Date": {"now"}}
	copyResponse(dst, src, objectResponse)
	want := http.Header{
		"Date": {"now"}, "Content-Type": {"text/plain"}, "Cache-Control": {"no-cache"}, "Expires": {"0"},
		"Last-Modified": {"then"}, "x-amz-meta-a": {"1"}, "x-amz-meta-b": {"2", "3"}, "X-Amz-Version-Id": {"v"},
		"Etag": {`"abc-sse"`}, "X-Amz-Object-Lock-Mode": {"GOVERNANCE"}, "X-Amz-Missing-Meta": {"1"},
		"X-Amz-Storage-Class": {"GLACIER"},
	}
	if diff := cmp.Diff(want, dst); diff != "" {
		t.Error(diff)
	}
	if got := src.Get("ETag"); got != `"abc"` {
		t.Errorf("the store's header became %s", got)
	}
}

// No answer of any kind shows the envelope, or what is true of the sealed bytes only.
func TestResponsesLeaveOut(t *testing.T) {
	for kind, allow := range map[string]nameSet{
		"object": objectResponse, "write": writeResponse, "list": listResponse, "pass": passResponse,
		"error": errorResponse, "not modified": notModifiedResponse,
	} {
		src := http.Header{
			reservedMetadata: {"x"}, "X-Amz-Checksum-Crc64nvme": {"x"}, "X-Amz-Server-Side-Encryption": {"x"},
			"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": {"x"}, "Content-Length": {"1"}, "X-Amz-Object-Size": {"1"},
			"Server": {"x"}, "X-Amz-Request-Id": {"x"}, "X-Amz-Id-2": {"x"}, "Connection": {"close"}, "Set-Cookie": {"x"},
		}
		dst := http.Header{}
		if copyResponse(dst, src, allow); len(dst) > 0 {
			t.Errorf("%s answers have %v", kind, dst)
		}
	}
}

func TestLocationStaysOnTheProxy(t *testing.T) {
	for location, want := range map[string]string{
		"/bucket": "/bucket", "http://bucket.store/": "", "//store/bucket": "", "": "",
	} {
		dst := http.Header{}
		copyResponse(dst, http.Header{"Location": {location}}, passResponse)
		if got := dst.Get("Location"); got != want {
			t.Errorf("%q becomes %q, want %q", location, got, want)
		}
	}
}

func TestStoreHeader(t *testing.T) {
	client := http.Header{
		"Content-Type": {"text/plain"}, "Cache-Control": {"no-cache"}, "Content-Encoding": {"gzip"},
		"X-Amz-Meta-A": {"1"}, "X-Amz-Tagging": {"a=b"}, "X-Amz-Expected-Bucket-Owner": {"1"}, "X-Amz-Grant-Read": {"id=1"},
		"If-None-Match": {"*"}, "If-Match": {`"abc-sse"`, `"def"`},

		reservedMetadata: {"x"}, "X-Amz-Server-Side-Encryption": {"AES256"}, "X-Amz-Te": {"append-md5"},
		"X-Amz-Checksum-Mode": {"ENABLED"}, "Range": {"bytes=0-1"}, "Authorization": {"x"}, "Cookie": {"x"}, "Origin": {"x"},
		"X-Forwarded-For": {"x"}, "Expect": {"100-continue"}, "Connection": {"x"}, "X-Amz-New": {"x"}, "User-Agent": {"x"},
	}
	op, err := lookUp("PUT", atObject, url.Values{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Content-Type": {"text/plain"}, "Cache-Control": {"no-cache"}, "Content-Encoding": {"gzip"},
		"X-Amz-Meta-A": {"1"}, "X-Amz-Tagging": {"a=b"}, "X-Amz-Expected-Bucket-Owner": {"1"}, "X-Amz-Grant-Read": {"id=1"},
		"If-None-Match": {"*"}, "If-Match": {`"abc"`, `"def-foreign"`},
	}
	if diff := cmp.Diff(want, op.storeHeader(client)); diff != "" {
		t.Error(diff)
	}
	if got := client.Get("If-Match"); got != `"abc-sse"` {
		t.Errorf("the client's header became %s", got)
	}

	op, err = lookUp("GET", atObject, url.Values{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := op.storeHeader(http.Header{"If-Range": {`"abc-sse"`}, "X-Amz-Meta-A": {"1"}, "Range": {"bytes=0-1"}})
	if diff := cmp.Diff(http.Header{"If-Range": {`"abc"`}}, got); diff != "" {
		t.Error(diff)
	}
}
