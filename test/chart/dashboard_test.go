package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDashboard: the dashboard asks for metrics that the documentation has, which a test of the program holds to what it exports, by labels that
// they have; and each panel says what it is of.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(chart, "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Description string
			Targets            []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{} // by metric
	for _, row := range regexp.MustCompile("(?m)^\\| `(sseproxy_[a-z_]+)` \\| (\\w+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(document), -1) {
		known := regexp.MustCompile(`[a-z]+`).FindAllString(row[3], -1)
		labels[row[1]] = append(known, "job", "pod", "instance")
		if row[2] == "histogram" {
			labels[row[1]+"_bucket"] = append(known, "job", "le")
		}
	}
	metric, by := regexp.MustCompile(`(sseproxy_[a-z_]+)\{([^}]*)\}`), regexp.MustCompile(`by \(([a-z, ]+)\)`)
	if len(dashboard.Panels) < 10 {
		t.Errorf("%d panels", len(dashboard.Panels))
	}
	for _, p := range dashboard.Panels {
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q does not say what it is of", p.Title)
		}
		for _, target := range p.Targets {
			var grouped []string
			for _, m := range by.FindAllStringSubmatch(target.Expr, -1) {
				grouped = append(grouped, strings.Split(strings.ReplaceAll(m[1], " ", ""), ",")...)
			}
			for _, m := range metric.FindAllStringSubmatch(target.Expr, -1) {
				has, ok := labels[m[1]]
				if !ok {
					t.Errorf("%s: %s is no metric of the proxy", p.Title, m[1])
				}
				for _, selector := range strings.Split(m[2], ",") {
					if name := strings.TrimRight(strings.SplitN(selector, `"`, 2)[0], "=!~"); !slices.Contains(has, name) {
						t.Errorf("%s: %s has no label %q", p.Title, m[1], name)
					}
				}
				for _, name := range grouped {
					if !slices.Contains(has, name) {
						t.Errorf("%s: %s has no label %q", p.Title, m[1], name)
					}
				}
			}
		}
	}
}
