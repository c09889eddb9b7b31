package main

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// scrape reads a process's metrics.
func (p *process) scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	resp := testbed.Must(testbed.HTTPClient(t).Get("http://" + p.AdminListen + "/metrics"))(t)
	defer resp.Body.Close() //nolint:errcheck // read to its end
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return testbed.Must(parser.TextToMetricFamilies(resp.Body))(t)
}

// value returns a counter's or gauge's sample with these labels, or the number of a histogram's; 0 if there is none.
func value(family *dto.MetricFamily, labels map[string]string) float64 {
	for _, m := range family.GetMetric() {
		has := make(map[string]string)
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		if maps.Equal(has, labels) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return 0
}

// TestMetrics: what clients and store do is counted by operation and status, and a stored object that was altered is seen.
func TestMetrics(t *testing.T) {
	p := startServe(t)
	body := bytes.Repeat([]byte("x"), 100_000)
	for _, key := range []string{"a", "b"} {
		testbed.Must(p.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.bucket, Key: &key, Body: bytes.NewReader(body)}))(t)
	}
	get := func(key string) error {
		out, err := p.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket, Key: &key})
		if err == nil {
			_ = testbed.ReadBody(t, out.Body)
		}
		return err
	}
	if err := get("a"); err != nil {
		t.Fatal(err)
	}
	if err := get("missing"); err == nil {
		t.Fatal("a missing object is there")
	}
	p.wire.AlterResponse(func(resp *http.Response) error {
		if value := resp.Header.Get("X-Amz-Meta-Sseproxy"); value != "" {
			resp.Header.Set("X-Amz-Meta-Sseproxy", value[:len(value)-4]+"AAAA")
		}
		return nil
	})
	if err := get("a"); err == nil {
		t.Fatal("an altered envelope opens")
	}
	got := p.scrape(t)
	for _, want := range []struct {
		name   string
		labels map[string]string
		value  float64
	}{
		{"requests_total", map[string]string{"operation": "PutObject", "status": "200"}, 2},
		{"requests_total", map[string]string{"operation": "GetObject", "status": "200"}, 1},
		{"requests_total", map[string]string{"operation": "GetObject", "status": "404"}, 1},
		{"requests_total", map[string]string{"operation": "GetObject", "status": "500"}, 1},
		{"request_duration_seconds", map[string]string{"operation": "GetObject"}, 3},
		{"received_bytes_total", map[string]string{"operation": "PutObject"}, 200_000},
		{"upstream_requests_total", map[string]string{"operation": "PutObject", "status": "200"}, 2},
		{"upstream_request_duration_seconds", map[string]string{"operation": "GetObject"}, 3},
		{"upstream_sent_bytes_total", map[string]string{"operation": "PutObject"}, 2 * float64(envelope.SealedSize(100_000))},
		{"damaged_objects_total", map[string]string{"cause": "data_key"}, 1},
		{"damaged_objects_total", map[string]string{"cause": "frame"}, 0},
		{"key_cache_misses_total", map[string]string{"use": "seal"}, 1},
		{"key_cache_hits_total", map[string]string{"use": "seal"}, 1},
		{"requests_in_flight", map[string]string{}, 0},
		{"build_info", map[string]string{"version": version}, 1},
	} {
		if n := value(got["sseproxy_"+want.name], want.labels); n != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, n, want.value)
		}
	}
	if n := value(got["sseproxy_sent_bytes_total"], map[string]string{"operation": "GetObject"}); n < 100_000 || n > 102_000 {
		t.Errorf("%v bytes sent", n)
	}
	if n := value(got["sseproxy_key_provider_calls_total"], map[string]string{}); n < 1 {
		t.Errorf("%v calls to the key provider", n)
	}
}

// TestMetricsAreDocumented: docs/metrics.md has every metric and no other, also in its alerts.
func TestMetricsAreDocumented(t *testing.T) {
	p := startServe(t)
	if err := headBucket(t, p); err != nil {
		t.Fatal(err)
	}
	document := string(testbed.Must(os.ReadFile("../../docs/metrics.md"))(t))
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(sseproxy_[a-z_]+)` \\| (\\w+) \\|").FindAllStringSubmatch(document, -1) {
		if row[1] != "sseproxy_certificate_expiry_timestamp_seconds" { // which is there with TLS alone: see TestCertificateIsReadAgain
			documented = append(documented, row[1]+" "+row[2])
		}
	}
	var exported []string
	for name, family := range p.scrape(t) {
		if strings.HasPrefix(name, "sseproxy_") {
			exported = append(exported, name+" "+strings.ToLower(family.GetType().String()))
		}
	}
	slices.Sort(documented)
	slices.Sort(exported)
	if diff := cmp.Diff(documented, exported); diff != "" {
		t.Error(diff)
	}
	for _, name := range regexp.MustCompile(`sseproxy_[a-z_]+`).FindAllString(document, -1) {
		if !strings.Contains(document, "| `"+name+"` |") {
			t.Errorf("%s is used and not explained", name)
		}
	}
}

func headBucket(t *testing.T, p *process) error {
	t.Helper()
	_, err := p.client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(p.bucket)})
	return err
}

// TestProfiles: profiles are served where the operator wants it, and never to clients.
func TestProfiles(t *testing.T) {
	for _, on := range []bool{true, false} {
		var environ []string
		if on {
			environ = []string{"SSEPROXY_PROFILES=on"}
		}
		p := startServe(t, environ...)
		if status, body := p.probe(t, "/debug/pprof/heap"); (status == http.StatusOK) != on {
			t.Errorf("on=%t: %d %.80s", on, status, body)
		}
		if status, _ := p.probe(t, "/debug/pprof/cmdline"); on && status == http.StatusOK {
			t.Error("the command line is shown")
		}
		resp := testbed.Must(testbed.HTTPClient(t).Get("http://" + p.Listen + "/debug/pprof/heap"))(t)
		if testbed.ReadBody(t, resp.Body); resp.StatusCode != http.StatusForbidden {
			t.Errorf("clients get %s", resp.Status)
		}
	}
}
