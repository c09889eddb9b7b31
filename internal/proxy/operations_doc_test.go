package proxy

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/operations.md from the table")

func TestOperationsDocument(t *testing.T) {
	const file = "../../docs/operations.md"
	want := operationsDocument()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the table says; run: go test ./internal/proxy -run OperationsDocument -update", file)
	}
}

// operationsDocument renders the table for its readers.
func operationsDocument() []byte {
	var b bytes.Buffer
	b.WriteString(`<!-- Made from the table in internal/proxy/operations.go by its test. Do not edit. -->

# Operations

Every operation of S3, and what the proxy does with it:

| Treatment | Meaning |
| --- | --- |
| seal | The body is sealed on its way to the store. |
| open | The body, or its length, is opened on its way back. |
| rewrite | Forwarded; sizes, ETags and conditions are put in the other side's terms. |
| pass | Forwarded and signed again. The store sees what the client sent, and acts on sealed objects. |
| answer | Answered by the proxy alone. |
| refuse | 501 NotImplemented. |

Action is what a policy must permit, where the operator has one: see [policy.md](policy.md).

Of objects that the operator wants left as they are ([encryption.md](encryption.md#what-must-stay-plain)) bodies are not sealed, and what is refused here of
objects that are not sealed is passed on.

A request is matched exactly, by its method, by what it addresses, and by its sub-resources. One that matches no row, a
query parameter that its row does not take, and an ` + "`x-amz-*`" + ` header that its row does not allow are refused with
501 NotImplemented: what the proxy does not know may carry data that would reach the store in the clear.

`)
	for lv, title := range []string{"The service", "Buckets", "Objects"} {
		fmt.Fprintf(&b, "## %s\n\n| Operation | Request | Treatment | Action | Remarks |\n| --- | --- | --- | --- | --- |\n", title)
		for _, op := range operations {
			if op.level == level(lv) {
				fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", op.name, requestLine(op), op.treatment, op.action, op.remark)
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("## Query parameters\n\nBesides those that make it what it is, a request may have:\n\n" +
		"| Operation | Parameters |\n| --- | --- |\n")
	for _, op := range operations {
		if params := list(op.params); params != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", op.name, params)
		}
	}
	fmt.Fprintf(&b, `
## Request headers

With any operation these go to the store: %s.

These are accepted with any operation and end at the proxy: those of the signature and of the payload's framing,
Content-MD5 and checksums (the proxy checks them), and %s.

The header %s belongs to the proxy; a request with it is refused with 400 InvalidArgument.

On these the proxy acts itself, and the store does not see them:

| Operation | Headers |
| --- | --- |
`, strings.ToLower(list(commonHeaders)), strings.ToLower(list(ignoredHeaders)), strings.ToLower(reservedMetadata))
	for _, name := range slices.Sorted(maps.Keys(answeredHeaders)) {
		fmt.Fprintf(&b, "| %s | %s |\n", name, strings.ToLower(list(answeredHeaders[name])))
	}
	b.WriteString(`
Further headers that go to the store, by operation. Conditions on ETags are put in the store's terms.

| Operation | Headers |
| --- | --- |
`)
	for _, op := range operations {
		if headers := list(op.headers); headers != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", op.name, strings.ToLower(headers))
		}
	}
	return b.Bytes()
}

// requestLine shows an operation as its request.
func requestLine(op operation) string {
	line := op.method + " " + [...]string{"/", "/bucket", "/bucket/key"}[op.level]
	mark := "?"
	var headers string
	for key := range strings.FieldsSeq(op.keys) {
		switch {
		case strings.HasPrefix(key, "x-amz-"):
			headers += " + " + http.CanonicalHeaderKey(key)
			continue
		case key == idKey:
			key += "=" + op.name
		case key == "list-type":
			key += "=2"
		}
		line += mark + key
		mark = "&"
	}
	return line + headers
}

// list shows the names of a set; empty for an empty one.
func list(s nameSet) string {
	words := slices.Collect(maps.Keys(s.exact))
	for _, p := range s.prefixes {
		words = append(words, p+"*")
	}
	if len(words) == 0 {
		return ""
	}
	slices.Sort(words)
	return "`" + strings.Join(words, "`, `") + "`"
}
