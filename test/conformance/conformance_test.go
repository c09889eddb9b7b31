// Package conformance compares what versitygw's suite of S3 tests says of a store with what it says of the proxy in front of it.
package conformance_test

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/versity/versitygw/tests/integration"
)

var update = flag.Bool("update", false, "write docs/conformance.md")

// lanes is how many tests run at a time, each lane with a store of its own, for some tests count buckets. They are more than
// there are processors, because many tests wait; TestMain sees to it that so many run.
const lanes = 12

// TestConformance: a test of the suite that passes against the store passes through the proxy, but for those in differences.txt.
func TestConformance(t *testing.T) {
	direct, proxied := runAll(t, suite())
	names := passed(direct)

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
		case failure != "":
			t.Logf("%s: %s", name, failure)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if failure, ok := direct[name]; failure != "" || !ok {
			t.Errorf("%s is in differences.txt and does not pass against the store: %s", name, failure)
		}
	}
	if !t.Failed() || *update {
		checkDocument(t, document(suiteVersion(t), len(names), len(passed(proxied)), groups))
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

// runAll runs tests against a store, and those that pass through the proxy on the same store. It gives for each why it failed, or "".
func runAll(t *testing.T, names []string) (direct, proxied map[string]string) {
	t.Helper()
	program := build(t)
	var mu sync.Mutex
	direct, proxied = make(map[string]string), make(map[string]string)
	t.Run("lanes", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				var mine []string
				for i := lane; i < len(names); i += lanes {
					mine = append(mine, names[i])
				}
				url, dir := store(t)
				straight := runTwice(t, url, dir, mine)
				through := runTwice(t, proxy(t, program, url), dir, passed(straight))
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(direct, straight)
				maps.Copy(proxied, through)
			})
		}
	})
	return direct, proxied
}

// runTwice runs tests, and those that fail once more: some of the suite are about who is first.
func runTwice(t *testing.T, target, dir string, names []string) map[string]string {
	t.Helper()
	failures := run(t, target, dir, names)
	again := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return failures[name] == "" })
	maps.Copy(failures, run(t, target, dir, again))
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
func document(suite string, direct, proxied int, groups []group) []byte {
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
`, suite, direct, proxied, direct-proxied)
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", g.title, g.reason)
		for _, name := range g.names {
			fmt.Fprintf(&b, "- `%s`\n", name)
		}
	}
	return b.Bytes()
}

func suiteVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "github.com/versity/versitygw").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func checkDocument(t *testing.T, want []byte) {
	t.Helper()
	const file = "../../docs/conformance.md"
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
		t.Errorf("%s is not what the tests say; run: go test -C test/conformance -update\n%s", file, want)
	}
}
