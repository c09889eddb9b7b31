package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/proxy"
)

// TestAuditFile: a line for each record, behind what the file has, for its owner alone; a file that cannot be written is known at the start.
func TestAuditFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for range 2 {
		audit, err := auditor(config.Config{Audit: path, AuditFileSize: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := audit(proxy.AuditRecord{Operation: "GetObject", Object: "a\nb"}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), "\n") != 2 || strings.Count(string(b), `"object":"a\nb"`) != 2 {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := auditor(config.Config{Audit: filepath.Join(path, "none")}); err == nil {
		t.Error("a file below a file was opened")
	}
}
