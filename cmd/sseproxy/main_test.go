package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

var update = flag.Bool("update", false, "write the README's table of variables")

// TestMain also makes this program be sseproxy, and the clients of the scripts, when it is called by their names.
func TestMain(m *testing.M) {
	testscript.Main(testbed.Main{M: m}, map[string]func(){"sseproxy": main, "s3": s3Main, "http": httpMain})
}

func TestGeneratedReadme(t *testing.T) {
	const (
		file  = "../../README.md"
		begin = "<!-- variables: made by \"make generate\" -->\n"
		end   = "<!-- end of variables -->\n"
	)
	text := string(testbed.Must(os.ReadFile(file))(t))
	head, rest, found := strings.Cut(text, begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("the README has no place for the table")
	}
	var table strings.Builder
	table.WriteString("| Variable | Default | Meaning |\n| --- | --- | --- |\n")
	for _, v := range config.Variables() {
		value := v.Default
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", v.Name, value, v.Help)
	}
	want := head + begin + table.String() + end + tail
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != want {
		t.Errorf("%s is not what internal/config says; run: make generate", file)
	}
}

func TestServeHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if err := run(t.Context(), []string{"serve", "--help"}, stdio{out: &out, err: &errs}); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, v := range config.Variables() {
		if !strings.Contains(errs.String(), v.Name+" ") || !strings.Contains(errs.String(), v.Help) {
			t.Errorf("%s is not in the help", v.Name)
		}
	}
}
