package proxy

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const xmlns = `xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

// lessTen stands for the inverse of sealing.
func lessTen(e listEntry) (int64, error) {
	if e.Size < 10 {
		return 0, fmt.Errorf("%d bytes cannot be sealed", e.Size)
	}
	return e.Size - 10, nil
}

func TestRewriteListing(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{
			"version 1, as S3 writes it",
			`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult ` + xmlns + `><Name>b</Name><Prefix></Prefix>` +
				`<Marker/><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>` +
				`<Contents><Key>a &amp; b</Key><LastModified>2026-08-01T00:00:00.000Z</LastModified><ETag>&quot;abc&quot;</ETag>` +
				`<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumAlgorithm>SHA1</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>` +
				`<Size>110</Size><Owner><ID>1</ID></Owner><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>`,
			`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult ` + xmlns + `><Name>b</Name><Prefix></Prefix>` +
				`<Marker/><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>` +
				`<Contents><Key>a &amp; b</Key><LastModified>2026-08-01T00:00:00.000Z</LastModified><ETag>&quot;abc-sse&quot;</ETag>` +
				`<Size>100</Size><Owner><ID>1</ID></Owner><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>`,
		},
		{
			"version 2, with the proxy's own keys and unknown elements",
			`<ListBucketResult><KeyCount>5</KeyCount><EncodingType></EncodingType><New a='1'><Size>7</Size><ETag>x</ETag></New>` +
				`<Contents><Size>11</Size><ETag>"abc-2"</ETag><Key>x</Key><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>` +
				`<Contents><Key>.sseproxy/a</Key><Size>1</Size><ETag>"abc"</ETag></Contents>` +
				`<Contents><Key>.sseproxyed</Key><Size>10</Size><ETag></ETag></Contents>` +
				`<CommonPrefixes><Prefix>.sseproxy/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>`,
			`<ListBucketResult><KeyCount>3</KeyCount><EncodingType></EncodingType><New a='1'><Size>7</Size><ETag>x</ETag></New>` +
				`<Contents><Size>1</Size><ETag>&quot;abc-2&quot;</ETag><Key>x</Key><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>` +
				`<Contents><Key>.sseproxyed</Key><Size>0</Size><ETag></ETag></Contents>` +
				`<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>`,
		},
		{
			"encoded keys, told of at the end",
			`<ListBucketResult><Contents><Key>.sseproxy%2Fa</Key><Size>11</Size></Contents>` +
				`<Contents><Key>a+b%2B</Key><Size>11</Size></Contents><EncodingType>url</EncodingType></ListBucketResult>`,
			`<ListBucketResult><Contents><Key>a+b%2B</Key><Size>1</Size></Contents><EncodingType>url</EncodingType></ListBucketResult>`,
		},
		{
			"keys encoded as the client asked for, in capitals",
			`<ListBucketResult><EncodingType>URL</EncodingType><Contents><Key>.sseproxy%2Fa</Key><Size>11</Size></Contents></ListBucketResult>`,
			`<ListBucketResult><EncodingType>URL</EncodingType></ListBucketResult>`,
		},
		{
			"keys that only look encoded",
			`<ListBucketResult><Contents><Key>.sseproxy%2Fa%</Key><Size>11</Size></Contents></ListBucketResult>`,
			`<ListBucketResult><Contents><Key>.sseproxy%2Fa%</Key><Size>1</Size></Contents></ListBucketResult>`,
		},
		{
			"a reserved key in disguise",
			`<ListBucketResult><Contents><Key>&#x2e;sse<![CDATA[proxy]]>/a</Key><Size>11</Size></Contents></ListBucketResult>`,
			`<ListBucketResult></ListBucketResult>`,
		},
		{
			"versions",
			`<ListVersionsResult>` +
				`<Version><Key>x</Key><VersionId>v1</VersionId><ETag>"abc"</ETag><Size>20</Size><ChecksumType>COMPOSITE</ChecksumType></Version>` +
				`<DeleteMarker><Key>x</Key><VersionId>v2</VersionId></DeleteMarker>` +
				`<DeleteMarker><Key>.sseproxy/x</Key><VersionId>v2</VersionId></DeleteMarker>` +
				`<Version><Key>.sseproxy/x</Key><VersionId>v1</VersionId><ETag>"abc"</ETag><Size>20</Size></Version></ListVersionsResult>`,
			`<ListVersionsResult>` +
				`<Version><Key>x</Key><VersionId>v1</VersionId><ETag>&quot;abc-sse&quot;</ETag><Size>10</Size></Version>` +
				`<DeleteMarker><Key>x</Key><VersionId>v2</VersionId></DeleteMarker></ListVersionsResult>`,
		},
		{
			"white space, comments and a namespace prefix",
			"<s3:ListBucketResult>\r\n <!-- a --> <s3:Contents>\n <s3:Key>x</s3:Key>\n<s3:Size >11</s3:Size ></s3:Contents><?pi?></s3:ListBucketResult>\n<!-- b -->\n",
			"<s3:ListBucketResult>\r\n <!-- a --> <s3:Contents>\n <s3:Key>x</s3:Key>\n<s3:Size >1</s3:Size ></s3:Contents><?pi?></s3:ListBucketResult>\n<!-- b -->\n",
		},
		{"nothing", `<ListBucketResult/>`, `<ListBucketResult/>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(tt.body)
			got, err := rewriteListing(body, "", lessTen)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got.body)); diff != "" {
				t.Error(diff)
			}
			if string(body) != tt.body {
				t.Error("the store's answer was overwritten")
			}
		})
	}
}

func TestRewriteListingTellsEntries(t *testing.T) {
	body := `<ListVersionsResult><Version><Key>a+b%2Bc</Key><VersionId>v</VersionId><ETag>"abc"</ETag><Size>20</Size></Version>` +
		`<Version><Key>%FF</Key><ETag>def</ETag><Size>30</Size></Version><EncodingType>url</EncodingType></ListVersionsResult>`
	var got []listEntry
	if _, err := rewriteListing([]byte(body), "", func(e listEntry) (int64, error) {
		got = append(got, e)
		return 0, nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []listEntry{{"a b+c", "v", "abc", 20}, {"\xff", "", "def", 30}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Pages are joined as if the store had given one: entries in order, the end where the second has it, keys counted.
func TestJoinListings(t *testing.T) {
	rewrite := func(body string) *listingPage {
		page, err := rewriteListing([]byte(body), "", lessTen)
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	first := rewrite(`<ListBucketResult><Name>b</Name><MaxKeys>3</MaxKeys><KeyCount>3</KeyCount><IsTruncated>true</IsTruncated>` +
		`<NextContinuationToken>one</NextContinuationToken><Contents><Key>-</Key><Size>11</Size></Contents>` +
		`<Contents><Key>.sseproxy/1</Key><Size>11</Size></Contents><Contents><Key>.sseproxy/2</Key><Size>11</Size></Contents></ListBucketResult>`)
	if diff := cmp.Diff(url.Values{"start-after": {".sseproxy/~"}, "continuation-token": nil}, first.goOn("ListObjectsV2")); diff != "" || first.hidden != 2 {
		t.Errorf("%d hidden, goes on at %s", first.hidden, diff)
	}
	joined, err := first.join(rewrite(`<ListBucketResult><Name>b</Name><MaxKeys>2</MaxKeys><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>` +
		`<NextContinuationToken>two</NextContinuationToken><Contents><Key>a</Key><Size>12</Size></Contents>` +
		`<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes></ListBucketResult>`))
	if err != nil {
		t.Fatal(err)
	}
	want := `<ListBucketResult><Name>b</Name><MaxKeys>3</MaxKeys><KeyCount>3</KeyCount><Contents><Key>-</Key><Size>1</Size></Contents>` +
		`<Contents><Key>a</Key><Size>2</Size></Contents><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>` +
		`<IsTruncated>true</IsTruncated><NextContinuationToken>two</NextContinuationToken></ListBucketResult>`
	if diff := cmp.Diff(want, string(joined.body)); diff != "" || joined.hidden != 0 || joined.last != "b/" {
		t.Errorf("%d hidden, last %q: %s", joined.hidden, joined.last, diff)
	}
	if diff := cmp.Diff(url.Values{"continuation-token": {"two"}}, joined.goOn("ListObjectsV2")); diff != "" {
		t.Error(diff)
	}
}

// What is not understood must not pass: it could show a sealed size for a plaintext one.
func TestRewriteListingRefuses(t *testing.T) {
	entry := func(s string) string { return `<ListBucketResult><Contents>` + s + `</Contents></ListBucketResult>` }
	tests := []struct{ name, body string }{
		{"nothing", ``},
		{"no XML", `{"Contents":[]}`},
		{"another document", `<Error><Code>SlowDown</Code></Error>`},
		{"another document around it", `<a><ListBucketResult></ListBucketResult></a>`},
		{"cut short", `<ListBucketResult><Contents><Key>x</Key><Size>11</Size></Contents>`},
		{"wrong nesting", entry(`<Key>x</Key><Size>11</Sized>`)},
		{"a second document", `<ListBucketResult/><ListBucketResult/>`},
		{"text behind it", `<ListBucketResult/>x`},
		{"document type", `<!DOCTYPE x [<!ENTITY e "1">]><ListBucketResult/>`},
		{"unknown entity", entry(`<Key>&e;</Key><Size>11</Size>`)},
		{"another encoding", `<?xml version="1.0" encoding="UTF-16"?><ListBucketResult/>`},
		{"bytes that are no UTF-8", entry("<Key>\xff</Key><Size>11</Size>")},
		{"no size", entry(`<Key>x</Key>`)},
		{"empty size", entry(`<Key>x</Key><Size/>`)},
		{"size with a sign", entry(`<Key>x</Key><Size>+11</Size>`)},
		{"negative size", entry(`<Key>x</Key><Size>-11</Size>`)},
		{"size in hex", entry(`<Key>x</Key><Size>0x11</Size>`)},
		{"size with white space", entry(`<Key>x</Key><Size> 11</Size>`)},
		{"huge size", entry(`<Key>x</Key><Size>9223372036854775808</Size>`)},
		{"two sizes", entry(`<Key>x</Key><Size>11</Size><Size>11</Size>`)},
		{"two sizes, one prefixed", entry(`<Key>x</Key><Size>11</Size><x:Size>11</x:Size>`)},
		{"size with an element", entry(`<Key>x</Key><Size>1<b/>1</Size>`)},
		{"size with a comment", entry(`<Key>x</Key><Size>1<!-- -->1</Size>`)},
		{"size that no object has", entry(`<Key>x</Key><Size>9</Size>`)},
		{"no key", entry(`<Size>11</Size>`)},
		{"two keys", entry(`<Key>.sseproxy/</Key><Key>a</Key><Size>11</Size>`)},
		{"two tags", entry(`<Key>x</Key><Size>11</Size><ETag>a</ETag><ETag>a</ETag>`)},
		{"unknown encoding of keys", `<ListBucketResult><EncodingType>base64</EncodingType><Contents><Key>x</Key><Size>11</Size></Contents></ListBucketResult>`},
		{"bad encoding of a key", `<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%</Key><Size>11</Size></Contents></ListBucketResult>`},
		{"two encodings", `<ListBucketResult><EncodingType>url</EncodingType><EncodingType></EncodingType></ListBucketResult>`},
		{"no number of keys", `<ListBucketResult><KeyCount>x</KeyCount><CommonPrefixes><Prefix>.sseproxy/</Prefix></CommonPrefixes></ListBucketResult>`},
		{"too few keys", `<ListBucketResult><KeyCount>0</KeyCount><CommonPrefixes><Prefix>.sseproxy/</Prefix></CommonPrefixes></ListBucketResult>`},
		{"two numbers of keys", `<ListBucketResult><KeyCount>1</KeyCount><KeyCount>1</KeyCount></ListBucketResult>`},
		{"too long", `<ListBucketResult>` + strings.Repeat(" ", maxListing) + `</ListBucketResult>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := rewriteListing([]byte(tt.body), "", lessTen); err == nil {
				t.Errorf("became %s", got.body)
			}
		})
	}
}

func TestRewriteDelete(t *testing.T) {
	body := `<?xml version="1.0" encoding="UTF-8"?><Delete ` + xmlns + `><Quiet>true</Quiet>` +
		`<Object><Key>a&#13;b</Key><VersionId>v</VersionId><ETag>&quot;abc-sse&quot;</ETag></Object>` + "\n" +
		`<Object><ETag>abc</ETag><Key> x </Key></Object><Object><Key>y</Key><ETag>*</ETag><LastModifiedTime>then</LastModifiedTime></Object>` +
		`<Object><Key>z</Key><ETag/></Object></Delete>`
	want := `<?xml version="1.0" encoding="UTF-8"?><Delete ` + xmlns + `><Quiet>true</Quiet>` +
		`<Object><Key>a&#13;b</Key><VersionId>v</VersionId><ETag>&quot;abc&quot;</ETag></Object>` + "\n" +
		`<Object><ETag>abc-foreign</ETag><Key> x </Key></Object><Object><Key>y</Key><ETag>*</ETag><LastModifiedTime>then</LastModifiedTime></Object>` +
		`<Object><Key>z</Key><ETag/></Object></Delete>`
	got, err := rewriteDelete([]byte(body), permitAll)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got.body)); diff != "" || got.objects != 4 || len(got.refused) != 0 {
		t.Error(diff, got.objects, got.refused)
	}
	full := `<Delete>` + strings.Repeat(`<Object><Key>x</Key></Object>`, maxDeletes) + `</Delete>`
	if _, err := rewriteDelete([]byte(full), permitAll); err != nil {
		t.Error(err)
	}
}

func permitAll(_, _ string) error { return nil }

// What is refused, or the proxy's own, does not get to the store, and the client hears of it beside the store's answer.
func TestRewriteDeleteLeavesOut(t *testing.T) {
	body := `<Delete ` + xmlns + `><Object><Key>a</Key><ETag>x-sse</ETag></Object><Object><ETag>y</ETag><Key>no&amp;</Key><VersionId>v1</VersionId></Object>` +
		`<Object><Key>/&#46;sse<![CDATA[proxy/]]></Key></Object><Object><Key>b</Key></Object></Delete>`
	want := `<Delete ` + xmlns + `><Object><Key>a</Key><ETag>x</ETag></Object><Object><Key>b</Key></Object></Delete>`
	var asked []string
	got, err := rewriteDelete([]byte(body), func(key, version string) error {
		asked = append(asked, key+" "+version)
		if version != "" {
			return newError("AccessDenied", "Not <this>.")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got.body)); diff != "" || got.objects != 2 {
		t.Error(diff, got.objects)
	}
	if diff := cmp.Diff([]string{"a ", "no& v1", "b "}, asked); diff != "" {
		t.Error(diff)
	}
	errs := `<Error><Key>no&amp;</Key><VersionId>v1</VersionId><Code>AccessDenied</Code><Message>Not &lt;this&gt;.</Message></Error>` +
		`<Error><Key>/.sseproxy/</Key><Code>AccessDenied</Code><Message>Keys that begin with .sseproxy/ belong to the proxy.</Message></Error>`
	for answer, want := range map[string]string{
		`<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>`: `<DeleteResult><Deleted><Key>a</Key></Deleted>` + errs + `</DeleteResult>`,
		`<DeleteResult/>`: `<DeleteResult ` + xmlns + `>` + errs + `</DeleteResult>`,
	} {
		merged, err := mergeDeleteResult([]byte(answer), got.refused)
		if diff := cmp.Diff(want, string(merged)); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
}

func TestRewriteDeleteRefuses(t *testing.T) {
	tests := []struct{ name, body, code string }{
		{"nothing", ``, "MalformedXML"},
		{"no objects", `<Delete></Delete>`, "MalformedXML"},
		{"too many objects", `<Delete>` + strings.Repeat(`<Object><Key>x</Key></Object>`, maxDeletes+1) + `</Delete>`, "MalformedXML"},
		{"too long", `<Delete><Object><Key>x</Key></Object>` + strings.Repeat(" ", maxDelete) + `</Delete>`, "MalformedXML"},
		{"another document", `<Remove><Object><Key>x</Key></Object></Remove>`, "MalformedXML"},
		{"no key", `<Delete><Object><Key>x</Key></Object><Object><ETag>x</ETag></Object></Delete>`, "MalformedXML"},
		{"two keys", `<Delete><Object><Key>x</Key><Key>.sseproxied</Key></Object></Delete>`, "MalformedXML"},
		{"two tags", `<Delete><Object><Key>x</Key><ETag>x</ETag><ETag>x</ETag></Object></Delete>`, "MalformedXML"},
		{"unknown condition", `<Delete><Object><Key>x</Key><ETagNew>x</ETagNew></Object></Delete>`, "MalformedXML"},
		{"condition in other case", `<Delete><Object><Key>x</Key><etag>x</etag></Object></Delete>`, "MalformedXML"},
		{"unknown element", `<Delete><Object><Key>x</Key></Object><New/></Delete>`, "MalformedXML"},
		{"element in a key", `<Delete><Object><Key>x<b/></Key></Object></Delete>`, "MalformedXML"},
		{"document type", `<!DOCTYPE Delete><Delete><Object><Key>x</Key></Object></Delete>`, "MalformedXML"},
		{"size", `<Delete><Object><Key>x</Key><Size>1</Size></Object></Delete>`, "NotImplemented"},
		{"key out of the bucket", `<Delete><Object><Key>a/../../b</Key></Object></Delete>`, "InvalidURI"},
		{"key of 1025 bytes", `<Delete><Object><Key>` + strings.Repeat("k", maxKey+1) + `</Key></Object></Delete>`, "KeyTooLongError"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rewriteDelete([]byte(tt.body), permitAll)
			wantCode(t, err, tt.code)
			if got != nil {
				t.Errorf("%s along with the error", got.body)
			}
		})
	}
}

func TestDeleteResult(t *testing.T) {
	const answer = `<DeleteResult><Deleted><Key>x</Key></Deleted><Error><Key>y</Key></Error></DeleteResult>`
	if got, err := mergeDeleteResult([]byte(answer), nil); string(got) != answer || err != nil {
		t.Error(string(got), err)
	}
	for _, body := range []string{``, `<Error><Code>SlowDown</Code></Error>`, `<DeleteResult>`, `<DeleteResult/>x`} {
		if _, err := mergeDeleteResult([]byte(body), nil); err == nil {
			t.Errorf("%q is accepted", body)
		}
	}
}

// node is a document as another reader of it sees it.
type node struct {
	Name     string
	Text     string
	Children []node
}

func parseNodes(dec *xml.Decoder) ([]node, string, error) {
	var nodes []node
	var text strings.Builder
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nodes, "", nil
		}
		if err != nil {
			return nil, "", err
		}
		switch t := token.(type) {
		case xml.StartElement:
			children, text, err := parseNodes(dec)
			if err != nil {
				return nil, "", err
			}
			nodes = append(nodes, node{t.Name.Local, text, children})
		case xml.EndElement:
			return nodes, text.String(), nil
		case xml.CharData:
			text.Write(t)
		}
	}
}

// rewriteNodes does to a document what rewriteListing does to its bytes.
func rewriteNodes(t *testing.T, root node) node {
	t.Helper()
	encoded := false
	for _, n := range root.Children {
		encoded = encoded || n.Name == "EncodingType" && n.Text == "url"
	}
	var kept []node
	hidden := 0
	for _, n := range root.Children {
		key := child(n, map[string]string{"Contents": "Key", "Version": "Key", "DeleteMarker": "Key", "CommonPrefixes": "Prefix"}[n.Name])
		if encoded {
			var err error
			if key, err = url.QueryUnescape(key); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(key, reservedPrefix) {
			hidden++
			continue
		}
		if n.Name == "Contents" || n.Name == "Version" {
			var own []node
			for _, c := range n.Children {
				switch c.Name {
				case "ChecksumAlgorithm", "ChecksumType":
					continue
				case "Size":
					size, err := strconv.ParseInt(c.Text, 10, 64)
					if err != nil {
						t.Fatalf("size %q", c.Text)
					}
					c.Text = strconv.FormatInt(size/2, 10)
				case "ETag":
					c.Text = clientETagValue(c.Text)
				}
				own = append(own, c)
			}
			n.Children = own
		}
		kept = append(kept, n)
	}
	for i, n := range kept {
		if n.Name == "KeyCount" && hidden > 0 {
			count, err := strconv.Atoi(n.Text)
			if err != nil {
				t.Fatalf("count %q", n.Text)
			}
			kept[i].Text = strconv.Itoa(count - hidden)
		}
	}
	root.Children = kept
	return root
}

func child(n node, name string) string {
	for _, c := range n.Children {
		if c.Name == name {
			return c.Text
		}
	}
	return ""
}

// forgetSpace drops the white space between elements, some of which goes with what is cut out.
func forgetSpace(n node) node {
	if len(n.Children) > 0 {
		n.Text = strings.Join(strings.Fields(n.Text), "")
	}
	var children []node
	for _, c := range n.Children {
		children = append(children, forgetSpace(c))
	}
	n.Children = children
	return n
}

// Whatever is accepted is, rewritten, the same document but for the edits, in the eyes of another parser.
func FuzzRewriteListing(f *testing.F) {
	f.Add(`<?xml version="1.0"?><ListBucketResult ` + xmlns + `><Contents><Key>a</Key><ETag>&quot;b&quot;</ETag><Size>12</Size>` +
		`<ChecksumType>x</ChecksumType></Contents><KeyCount>1</KeyCount></ListBucketResult>`)
	f.Add(`<ListBucketResult><KeyCount>2</KeyCount><EncodingType>url</EncodingType><Contents><Key>.sseproxy%2f</Key><Size>1</Size></Contents>` +
		`<CommonPrefixes><Prefix>.sseproxy/</Prefix></CommonPrefixes></ListBucketResult>`)
	f.Add(`<ListVersionsResult><Version><Key><![CDATA[<]]></Key><VersionId/><Size>8</Size></Version><DeleteMarker><Key>k</Key></DeleteMarker></ListVersionsResult>`)
	f.Add(`<x:ListBucketResult><x:Contents a="1"><Size>5</Size><Key>k</Key><Owner><Size>x</Size></Owner></x:Contents></x:ListBucketResult> <!--c-->`)
	f.Fuzz(func(t *testing.T, body string) {
		page, err := rewriteListing([]byte(body), "", func(e listEntry) (int64, error) { return e.Size / 2, nil })
		if err != nil {
			return
		}
		out := page.body
		before, _, err := parseNodes(xml.NewDecoder(strings.NewReader(body)))
		if err != nil {
			t.Skip("the other parser minds name spaces")
		}
		after, _, err := parseNodes(xml.NewDecoder(strings.NewReader(string(out))))
		if err != nil || len(before) != 1 || len(after) != 1 {
			t.Fatalf("%q becomes %q: %v", body, out, err)
		}
		if diff := cmp.Diff(forgetSpace(rewriteNodes(t, before[0])), forgetSpace(after[0])); diff != "" {
			t.Errorf("%q becomes %q: %s", body, out, diff)
		}
	})
}

func FuzzRewriteDelete(f *testing.F) {
	f.Add(`<Delete><Quiet>true</Quiet><Object><Key>a</Key><ETag>"b-sse"</ETag><VersionId>v</VersionId></Object></Delete>`)
	f.Add(`<?xml version="1.0"?><Delete ` + xmlns + `><Object><ETag>&quot;b&quot;</ETag><Key>&#46;sseproxy</Key></Object></Delete>`)
	f.Add(`<Delete><Object><ETag>a</ETag><Key>denied</Key></Object> <Object><Key>b</Key></Object></Delete>`)
	f.Fuzz(func(t *testing.T, body string) {
		denied := func(key string) bool { return strings.Contains(key, "denied") }
		d, err := rewriteDelete([]byte(body), func(key, _ string) error {
			if denied(key) {
				return newError("AccessDenied", "Denied")
			}
			return nil
		})
		if err != nil {
			return
		}
		out := d.body
		before, _, err := parseNodes(xml.NewDecoder(strings.NewReader(body)))
		if err != nil {
			t.Skip("the other parser minds name spaces")
		}
		after, _, err := parseNodes(xml.NewDecoder(strings.NewReader(string(out))))
		if err != nil || len(before) != 1 || len(after) != 1 {
			t.Fatalf("%q becomes %q: %v", body, out, err)
		}
		before[0].Children = slices.DeleteFunc(before[0].Children, func(object node) (refused bool) {
			for i, c := range object.Children {
				if c.Name == "ETag" {
					object.Children[i].Text = storeCondition(c.Text)
				}
				refused = refused || c.Name == "Key" && (isReservedKey(c.Text) || denied(c.Text))
			}
			return refused
		})
		if diff := cmp.Diff(before[0], after[0], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q becomes %q: %s", body, out, diff)
		}
	})
}
