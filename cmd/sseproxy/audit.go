package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/proxy"
)

// auditor returns what writes the audit log: a line of JSON for each use of a key. It is nil where there is none.
func auditor(cfg config.Config) (func(proxy.AuditRecord) error, error) {
	switch cfg.Audit {
	case "off", "":
		return nil, nil
	case "stdout":
		return auditTo(os.Stdout), nil
	}
	// The file is opened with the first record; whether it can be is better known now.
	f, err := os.OpenFile(cfg.Audit, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	return auditTo(&lumberjack.Logger{Filename: cfg.Audit, MaxSize: int(cfg.AuditFileSize >> 20)}), nil
}

func auditTo(w io.Writer) func(proxy.AuditRecord) error {
	var mu sync.Mutex
	return func(r proxy.AuditRecord) error {
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encoding an audit record: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err := w.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("writing the audit log: %w", err)
		}
		return nil
	}
}
