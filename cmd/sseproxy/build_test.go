package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goTool runs the go command with more in its environment.
func goTool(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(cmd.Environ(), environ...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestProductionDependencies: a production build has none of the development store's code.
func TestProductionDependencies(t *testing.T) {
	deps := goTool(t, nil, "list", "-deps", "-tags", "nodev", ".")
	if !strings.Contains(deps, "github.com/sseproxy/sseproxy/internal/proxy\n") {
		t.Errorf("not the dependencies:\n%s", deps)
	}
	for dep := range strings.Lines(deps) {
		for _, word := range []string{"versity", "fiber", "fasthttp", "azure", "Azure", "/devstore", "/testbed", "testing"} {
			if strings.Contains(dep, word) {
				t.Errorf("it links %s", dep)
			}
		}
	}
}

// TestProductionBuild builds as the Dockerfile does, for each platform; that of this machine runs.
func TestProductionBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary twice")
	}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "sseproxy")
			goTool(t, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
				"build", "-tags", "nodev", "-trimpath", "-ldflags", "-s -w -X main.version=1.2.3", "-o", binary, ".")
			if goTool(t, nil, "env", "GOHOSTOS", "GOHOSTARCH") != "linux\n"+arch+"\n" {
				return
			}
			help, err := exec.CommandContext(t.Context(), binary, "help").Output()
			if err != nil || !strings.Contains(string(help), "\n  serve ") || strings.Contains(string(help), "dev") {
				t.Errorf("%v\n%s", err, help)
			}
			version, err := exec.CommandContext(t.Context(), binary, "version").Output()
			if err != nil || !strings.HasPrefix(string(version), "sseproxy 1.2.3 (") {
				t.Errorf("%v\n%s", err, version)
			}
		})
	}
}
