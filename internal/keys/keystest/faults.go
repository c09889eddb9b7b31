package keystest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/keys"
)

// Line is what stands between a provider and its server: a wire of package testbed.
type Line interface {
	AlterResponse(func(*http.Response) error)
}

// Answer puts a JSON document in place of the server's answer.
func Answer(status int, document string) func(*http.Response) error {
	return func(r *http.Response) error {
		r.StatusCode, r.Body, r.ContentLength = status, io.NopCloser(strings.NewReader(document)), int64(len(document))
		r.Header.Set("Content-Length", strconv.Itoa(len(document)))
		return nil
	}
}

// Slow is an answer that takes longer than a provider waits for one attempt.
func Slow(*http.Response) error {
	time.Sleep(3 * time.Second)
	return nil
}

// Faults tests a provider behind a line that fails: one fault of the moment is not seen, whatever it is; and one that stays is told before
// the key cache's ten seconds are over.
func Faults(t *testing.T, p keys.Provider, keyID string, line Line, faults map[string]func(*http.Response) error) {
	t.Helper()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			var seen, limit atomic.Int32
			limit.Store(1)
			line.AlterResponse(func(r *http.Response) error {
				if seen.Add(1) > limit.Load() {
					return nil
				}
				return fault(r)
			})
			if _, err := p.GenerateKey(t.Context(), keyID, ec); err != nil {
				t.Errorf("one fault: %v", err)
			}
			limit.Store(1000)
			begin := time.Now()
			_, err := p.GenerateKey(t.Context(), keyID, ec)
			if !errors.Is(err, keys.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a fault that stays: %v", err)
			}
			if took := time.Since(begin); took > 8*time.Second {
				t.Errorf("it took %v to tell", took)
			}
		})
	}
}
