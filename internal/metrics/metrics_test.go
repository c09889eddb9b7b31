package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/metrics"
	"github.com/sseproxy/sseproxy/internal/proxy"
)

// What has no status, or one of a store's own making, has a label all the same; the causes of damage are there before the first of them.
func TestLabels(t *testing.T) {
	m := metrics.New("1", new(keys.Stats))
	m.Request(proxy.RequestOutcome{Operation: "GetObject", Status: 200, Aborted: true})
	m.Request(proxy.RequestOutcome{Operation: "GetObject"})
	m.Upstream(proxy.UpstreamOutcome{Operation: "GetObject", Status: 799})
	m.Upstream(proxy.UpstreamOutcome{Operation: "GetObject"})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	want := []string{
		`sseproxy_requests_total{operation="GetObject",status="aborted"} 1`, `sseproxy_requests_total{operation="GetObject",status="none"} 1`,
		`sseproxy_upstream_requests_total{operation="GetObject",status="other"} 1`, `sseproxy_upstream_requests_total{operation="GetObject",status="none"} 1`,
	}
	for _, cause := range proxy.Damages {
		want = append(want, `sseproxy_damaged_objects_total{cause="`+cause+`"} 0`)
	}
	for _, line := range want {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("there is no %s in\n%s", line, w.Body)
		}
	}
}
