// Package conformance compares what versitygw's suite of S3 tests says of a store with what it says of the proxy in front of it.
package conformance_test

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/versity/versitygw/tests/integration"
)

var update = flag.Bool("update", false, "write docs/conformance.md")

// lanes is how many tests run at a time, each lane with a store of its own, for some tests count buckets. Many tests wait.
const lanes = 6

// TestConformance: a test of the suite that passes against the store passes through the proxy, but for those in differences.txt.
func TestConformance(t *testing.T) {
	direct := runAll(t, suite(), func(t *testing.T, store string) string { return store })
	names := passed(direct)
	program := build(t)
	proxied := runAll(t, names, func(t *testing.T, store string) string { return proxy(t, program, store) })

	listed := make(map[string]bool)
	groups := parseDifferences(t)
	for _, g := range groups {
		for _, name := range g.names {
			if listed[name] {
				t.Errorf("differences.txt has %s twice", name)
			}
			listed[name] = true
		}
	}
	for _, name := range names {
		switch failure := proxied[name]; {
		case failure != "" && !listed[name]:
			t.Errorf("%s passes against the store, and not through the proxy: %s", name, failure)
		case failure == "" && listed[name]:
			t.Errorf("%s passes through the proxy; take it out of differences.txt", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if failure, ok := direct[name]; failure != "" || !ok {
			t.Errorf("%s is in differences.txt and does not pass against the store: %s", name, failure)
		}
	}
	if !t.Failed() || *update {
		checkDocument(t, document(len(names), len(passed(proxied)), groups))
	}
}

// suite gives the names of the tests, but for those of the account services that versitygw has besides S3.
func suite() []string {
	names := slices.Sorted(maps.Keys(integration.GetIntTests()))
	return slices.DeleteFunc(names, func(name string) bool {
		iam, ok := strings.CutPrefix(name, "IAM")
		return ok && !strings.HasPrefix(iam, "_") || strings.HasPrefix(name, "S3IAM")
	})
}

// runAll runs tests against what front makes of each lane's store, those that fail a second time, and gives for each why it failed, or "".
func runAll(t *testing.T, names []string, front func(t *testing.T, store string) string) map[string]string {
	t.Helper()
	var mu sync.Mutex
	failures := make(map[string]string)
	t.Run("lanes", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				url, dir := store(t)
				target := front(t, url)
				var mine []string
				for i := lane; i < len(names); i += lanes {
					mine = append(mine, names[i])
				}
				got := run(t, target, dir, mine)
				again := slices.DeleteFunc(mine, func(name string) bool { return got[name] == "" })
				maps.Copy(got, run(t, target, dir, again))
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(failures, got)
			})
		}
	})
	return failures
}

func passed(failures map[string]string) []string {
	var names []string
	for name, failure := range failures {
		if failure == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// differences are the tests that may fail through the proxy, in groups below the reason that they have.
//
//go:embed differences.txt
var differences string

type group struct {
	title, reason string
	names         []string
}

func parseDifferences(t *testing.T) []group {
	t.Helper()
	var groups []group
	for paragraph := range strings.SplitSeq(strings.TrimSpace(differences), "\n\n") {
		var g group
		for line := range strings.SplitSeq(paragraph, "\n") {
			text, comment := strings.CutPrefix(line, "# ")
			switch {
			case comment && g.title == "":
				g.title = text
			case comment:
				g.reason = strings.TrimSpace(g.reason + " " + text)
			default:
				g.names = append(g.names, line)
			}
		}
		if g.title == "" || g.reason == "" || len(g.names) == 0 {
			t.Fatalf("differences.txt: a paragraph is two comments, a title and a reason, and names of tests, not:\n%s", paragraph)
		}
		groups = append(groups, g)
	}
	return groups
}

// document is docs/conformance.md.
func document(direct, proxied int, groups []group) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<!-- Made by the test in test/conformance. Do not edit. -->

# Conformance

The integration suite of [versitygw](https://github.com/versity/versitygw) %s has one test for nearly everything that an S3 client can
do or get wrong, with the status, code and message that AWS answers. It is run against the embedded store, with versioning, and
through the proxy in front of that store.

| | Tests |
| --- | --- |
| pass against the store | %d |
| of these, pass through the proxy | %d |
| of these, do not, for a reason below | %d |

No other test is lost: `+"`go test -C test/conformance`"+` fails if one is, and if one of those below passes. The suite's tests of accounts,
which are versitygw's and not S3's, and those that need several accounts do not pass against the embedded store either.
`, suiteVersion(), direct, proxied, direct-proxied)
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", g.title, g.reason)
		for _, name := range g.names {
			fmt.Fprintf(&b, "- `%s`\n", name)
		}
	}
	return b.Bytes()
}

func suiteVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "github.com/versity/versitygw" {
			return m.Version
		}
	}
	return ""
}

func checkDocument(t *testing.T, want []byte) {
	t.Helper()
	const file = "../../docs/conformance.md"
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the tests say; run: go test -C test/conformance -update\n%s", file, want)
	}
}
