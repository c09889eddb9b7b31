package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
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

// recipe is the command with which the Dockerfile builds the program, as a shell reads it.
func recipe(t *testing.T) string {
	t.Helper()
	dockerfile, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 (?:.*\\\n)+.*) -o /sseproxy \./cmd/sseproxy$`).FindSubmatch(dockerfile)
	if command == nil {
		t.Fatal("the Dockerfile has no command that builds the program")
	}
	return string(command[1]) + ` -o "$BINARY" .`
}

// TestProductionBuild builds as the Dockerfile does, for each platform of the image, and with the FIPS 140-3 module: programs that need no other
// file, since the image has none. What is for this machine runs, and tells what it is.
func TestProductionBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary three times")
	}
	for _, c := range []struct{ arch, fips, tells string }{
		{"amd64", "off", "sseproxy 1.2.3 (0123abc, " + runtime.Version() + ")\n"},
		{"arm64", "off", "sseproxy 1.2.3 (0123abc, " + runtime.Version() + ")\n"},
		{runtime.GOARCH, "certified", "sseproxy 1.2.3 (0123abc, " + runtime.Version() + ", FIPS 140-3 module v1.0.0"},
	} {
		t.Run(c.arch+"/fips "+c.fips, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "sseproxy")
			build := exec.CommandContext(t.Context(), "sh", "-c", recipe(t))
			build.Env = append(build.Environ(), "TARGETOS=linux", "TARGETARCH="+c.arch, "VERSION=1.2.3", "COMMIT=0123abc", "GOFIPS140="+c.fips, "BINARY="+binary)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			checkStatic(t, binary)
			if goTool(t, nil, "env", "GOHOSTOS", "GOHOSTARCH") != "linux\n"+c.arch+"\n" {
				return
			}
			help, err := exec.CommandContext(t.Context(), binary, "help").Output()
			if err != nil || !strings.Contains(string(help), "\n  serve ") || strings.Contains(string(help), "dev") {
				t.Errorf("%v\n%s", err, help)
			}
			version, err := exec.CommandContext(t.Context(), binary, "version").Output()
			if err != nil || !strings.HasPrefix(string(version), c.tells) {
				t.Errorf("%v\n%s", err, version)
			}
		})
	}
}

// checkStatic checks that a program needs neither a dynamic loader nor libraries.
func checkStatic(t *testing.T, binary string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("it needs libraries: %v, %v", libraries, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it needs a dynamic loader")
		}
	}
}
