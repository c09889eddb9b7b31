// Package metrics counts what the proxy does, for Prometheus. docs/metrics.md explains each metric, and a test holds it to what is
// exported. No label has a value of a client's or a store's choosing, so their number is bounded.
package metrics

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
)

// Metrics implements proxy.Observer.
type Metrics struct {
	registry *prometheus.Registry
	inFlight prometheus.Gauge

	requests, received, sent                         *prometheus.CounterVec
	seconds                                          *prometheus.HistogramVec
	upstreamRequests, upstreamSent, upstreamReceived *prometheus.CounterVec
	upstreamSeconds                                  *prometheus.HistogramVec
	damaged                                          *prometheus.CounterVec
}

// seconds from a small object out of memory to a large one over a slow line.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// New returns the metrics of a process. stats are those of its key cache.
func New(version string, stats *keys.Stats) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.requests = m.counter("requests_total", "Clients' requests that have ended.", "operation", "status")
	m.received = m.counter("received_bytes_total", "Bytes of payload that clients have declared.", "operation")
	m.sent = m.counter("sent_bytes_total", "Bytes of answers' bodies that clients were sent.", "operation")
	m.seconds = m.histogram("request_duration_seconds", "Time from a request's headers to its end.")
	m.upstreamRequests = m.counter("upstream_requests_total", "Requests to the store, by the client's operation that they are a part of.", "operation", "status")
	m.upstreamSent = m.counter("upstream_sent_bytes_total", "Bytes of bodies that the store was sent.", "operation")
	m.upstreamReceived = m.counter("upstream_received_bytes_total", "Bytes of bodies that the store's answers have declared.", "operation")
	m.upstreamSeconds = m.histogram("upstream_request_duration_seconds", "Time from a request to the store to its answer's headers.")
	m.damaged = m.counter("damaged_objects_total", "Reads refused because a stored object is not what the proxy has sealed there.", "cause")
	for _, cause := range proxy.Damages {
		m.damaged.WithLabelValues(cause) // an alert needs the zero before the first one
	}
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sseproxy_requests_in_flight", Help: "Clients' requests under way."})
	m.registry.MustRegister(m.inFlight, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.constant("build_info", "1, with what this process is.", prometheus.Labels{"version": version})
	m.keyStats(stats)
	return m
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sseproxy_" + name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sseproxy_" + name, Help: help, Buckets: buckets}, []string{"operation"})
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) constant(name, help string, labels prometheus.Labels) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sseproxy_" + name, Help: help, ConstLabels: labels}, func() float64 { return 1 }))
}

// keyStats exports what the key cache counts by itself.
func (m *Metrics) keyStats(s *keys.Stats) {
	for _, c := range []struct {
		name, help string
		labels     prometheus.Labels
		count      *atomic.Uint64
	}{
		{"key_cache_hits_total", "Keys that were at hand.", prometheus.Labels{"use": "seal"}, &s.SealHits},
		{"key_cache_hits_total", "Keys that were at hand.", prometheus.Labels{"use": "open"}, &s.OpenHits},
		{"key_cache_misses_total", "Keys that the provider had to be asked for.", prometheus.Labels{"use": "seal"}, &s.SealMisses},
		{"key_cache_misses_total", "Keys that the provider had to be asked for.", prometheus.Labels{"use": "open"}, &s.OpenMisses},
		{"key_provider_calls_total", "Calls to the key provider.", nil, &s.Calls},
		{"key_provider_failures_total", "Calls to the key provider that failed.", nil, &s.Failures},
		{"key_graces_total", "Times that a key went on because its provider could not be reached.", nil, &s.Graces},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sseproxy_" + c.name, Help: c.help, ConstLabels: c.labels},
			func() float64 { return float64(c.count.Load()) }))
	}
}

// CertificateExpiry exports until when the certificate for clients is good.
func (m *Metrics) CertificateExpiry(notAfter func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sseproxy_certificate_expiry_timestamp_seconds", Help: "When the certificate for clients ends, in Unix time.",
	}, func() float64 { return float64(notAfter().Unix()) }))
}

// Request implements proxy.Observer.
func (m *Metrics) Request(o proxy.RequestOutcome) {
	m.requests.WithLabelValues(o.Operation, status(o.Status, o.Aborted)).Inc()
	m.received.WithLabelValues(o.Operation).Add(float64(o.Received))
	m.sent.WithLabelValues(o.Operation).Add(float64(o.Sent))
	m.seconds.WithLabelValues(o.Operation).Observe(o.Took.Seconds())
	if o.Damage != "" {
		m.damaged.WithLabelValues(o.Damage).Inc()
	}
}

// Upstream implements proxy.Observer.
func (m *Metrics) Upstream(o proxy.UpstreamOutcome) {
	m.upstreamRequests.WithLabelValues(o.Operation, status(o.Status, false)).Inc()
	m.upstreamSent.WithLabelValues(o.Operation).Add(float64(o.Sent))
	m.upstreamReceived.WithLabelValues(o.Operation).Add(float64(o.Received))
	m.upstreamSeconds.WithLabelValues(o.Operation).Observe(o.Took.Seconds())
}

// status is a label for an answer. The store chooses its statuses: those that HTTP does not have are one.
func status(code int, aborted bool) string {
	switch {
	case aborted:
		return "aborted"
	case code == 0:
		return "none"
	case http.StatusText(code) == "":
		return "other"
	}
	return strconv.Itoa(code)
}

// Count counts the requests that next has under way.
func (m *Metrics) Count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.inFlight.Inc()
		defer m.inFlight.Dec()
		next.ServeHTTP(w, r)
	})
}

// Handler shows the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
