package main

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// examined runs the doctor in front of a store, with what is given besides, and returns what it said.
func examined(t *testing.T, store *testbed.S3Store, bucket string, environ ...string) (said string, err error) {
	t.Helper()
	testbed.ClearAWSEnv(t)
	keyring := filepath.Join(t.TempDir(), "keyring.json")
	if _, err := keysCommand(keyring, "create --key default"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = run(t.Context(), []string{"doctor", "--bucket", bucket}, stdio{out: &out, err: &out, environ: append(serveEnv(store, keyring), environ...)})
	return out.String(), err
}

// TestDoctorFindsNothing: with stores that the proxy works with everything is good, and nothing is left there.
func TestDoctorFindsNothing(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		bucket := testbed.Bucket(t, store)
		said, err := examined(t, store, bucket)
		if err != nil || strings.Contains(said, "failed ") || strings.Contains(said, "warning ") || strings.Count(said, "\nok ") < 9 {
			t.Errorf("%v\n%s", err, said)
		}
		left := testbed.Must(store.Client(t).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket}))(t)
		if len(left.Contents) > 0 {
			t.Errorf("%d objects are left", len(left.Contents))
		}
		for _, secret := range []string{store.SecretAccessKey, clientSecret} {
			if strings.Contains(said, secret) {
				t.Errorf("a secret is told:\n%s", said)
			}
		}
	})
}

// TestDoctorFinds: what is wrong is named, with what to do, and the exit status tells.
func TestDoctorFinds(t *testing.T) {
	store := testbed.Store(t)
	answer := func(when func(*http.Response) bool, status int) func(*http.Response) error {
		return func(resp *http.Response) error {
			if when(resp) {
				resp.StatusCode, resp.Body, resp.ContentLength = status, http.NoBody, 0
				resp.Header.Set("Content-Length", "0")
			}
			return nil
		}
	}
	for name, tt := range map[string]struct {
		environ []string
		alter   func(*http.Response) error
		bucket  string
		says    string
		fails   bool
	}{
		"a variable that is wrong":        {environ: []string{"SSEPROXY_STRICT=maybe"}, says: "failed   configuration            SSEPROXY_STRICT must be off or on", fails: true},
		"a key that is not there":         {environ: []string{"SSEPROXY_KEY=other"}, says: "Create it, or correct its id", fails: true},
		"a second key of DSSE, not there": {environ: []string{"SSEPROXY_DSSE_KEY=second"}, says: "failed   key second", fails: true},
		"no store":                        {environ: []string{"SSEPROXY_UPSTREAM=http://127.0.0.1:1"}, says: "See whether SSEPROXY_UPSTREAM is right", fails: true},
		"a wrong secret":                  {environ: []string{"SSEPROXY_UPSTREAM_SECRET_ACCESS_KEY=wrong"}, says: "See whether key and secret are those of this store", fails: true},
		"a bucket that is not there":      {bucket: "not-there", says: "Create it, or let the proxy's credentials use it", fails: true},
		"plaintext reads":                 {environ: []string{"SSEPROXY_PLAINTEXT_READS=allow"}, says: "warning  plaintext reads"},
		"clients in the open":             {environ: []string{"SSEPROXY_LISTEN=0.0.0.0:0"}, says: "warning  clients"},
		"a clock that is wrong": {alter: func(resp *http.Response) error {
			resp.Header.Set("Date", time.Now().Add(-20*time.Minute).UTC().Format(http.TimeFormat))
			return nil
		}, says: "failed   clock", fails: true},
		"conditions that are ignored": {
			alter: answer(func(r *http.Response) bool { return r.StatusCode == http.StatusPreconditionFailed }, http.StatusOK), says: "the store ignores If-None-Match",
		},
		"metadata that is lost": {alter: func(resp *http.Response) error {
			resp.Header.Del("X-Amz-Meta-Sseproxy-Doctor")
			return nil
		}, says: "do not come back as they were written", fails: true},
		"no part 10000": {
			alter: answer(func(r *http.Response) bool { return r.Request.URL.Query().Get("partNumber") == "10000" }, http.StatusBadRequest),
			says:  "Multipart uploads do not work through the proxy with this store", fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wire := testbed.NewWire(t, store.URL)
			wire.AlterResponse(tt.alter)
			bucket := tt.bucket
			if bucket == "" {
				bucket = testbed.Bucket(t, store)
			}
			said, err := examined(t, store, bucket, append([]string{"SSEPROXY_UPSTREAM=" + wire.URL}, tt.environ...)...)
			if !strings.Contains(said, tt.says) || (err != nil) != tt.fails {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}

// TestDoctorNeedsItsOutput: what cannot be told is no success.
func TestDoctorNeedsItsOutput(t *testing.T) {
	in, out := io.Pipe()
	_ = in.Close()
	if err := run(t.Context(), []string{"doctor"}, stdio{out: out, err: io.Discard, environ: []string{"SSEPROXY_STRICT=maybe"}}); err == nil {
		t.Error("it succeeds")
	}
}
