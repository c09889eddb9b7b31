package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// auditLog keeps records, or fails to.
type auditLog struct {
	mu      sync.Mutex
	records []proxy.AuditRecord
	failure error
}

func (l *auditLog) write(r proxy.AuditRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return l.failure
}

// take returns what was recorded since, in short, but for the proxy's own objects.
func (l *auditLog) take() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if strings.HasPrefix(r.Object, ".sseproxy/") {
			continue
		}
		words := []string{r.Operation, r.Purpose, r.Object, r.Encryption, r.KeyID, r.KeyVersion, r.Cause}
		all = append(all, strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " "))
	}
	l.records = nil
	return all
}

// TestAudit: each use of a key is recorded once, and each that is refused; no secret is in a record.
func TestAudit(t *testing.T) {
	var log auditLog
	r := newEncryptionRig(t, testbed.Store(t), func(c *proxy.Config) { c.Audit = log.write })
	own, source := encryptions["SSE-C"].headers(encryptionName), encryptions["SSE-C"].headers("X-Amz-Copy-Source-Server-Side-Encryption")
	for _, step := range []struct {
		method, path string
		headers      []http.Header
		want         []string
	}{
		{"PUT", "a", nil, []string{"PutObject seal a AES256 default 1"}},
		{"GET", "a", nil, []string{"GetObject open a AES256 default 1"}},
		{"HEAD", "a", nil, []string{"HeadObject open a AES256 default 1"}},
		{"PUT", "k", []http.Header{encryptions["with context"].headers(encryptionName)}, []string{"PutObject seal k aws:kms default 1"}},
		{"PUT", "c", []http.Header{own}, []string{"PutObject seal c SSE-C"}},
		{"GET", "c", []http.Header{own}, []string{"GetObject open c SSE-C"}},
		{"GET", "c", nil, nil}, // no key to use
		{"GET", "c", []http.Header{encryptions["another SSE-C"].headers(encryptionName)}, []string{"GetObject open c SSE-C AccessDenied"}},
		{"PUT", "copy", []http.Header{source, {"X-Amz-Copy-Source": {r.bucket + "/c"}}}, []string{"CopyObject open c SSE-C", "CopyObject seal copy AES256 default 1"}},
		{"GET", "?list-type=2", nil, nil},
		{"DELETE", "a", nil, nil},
	} {
		if got := r.ask(t, step.method, step.path, nil, step.headers...); got.StatusCode >= 500 {
			t.Errorf("%s %s: %s", step.method, step.path, got.Status)
		}
		for _, record := range log.records {
			if record.Identity != "tester" || record.RequestID == "" || !strings.HasPrefix(record.Client, "127.0.0.1:") || record.Bucket != r.bucket || record.Allowed != (record.Cause == "") {
				t.Errorf("%s %s: %+v", step.method, step.path, record)
			}
			line := testbed.Must(json.Marshal(record))(t)
			if bytes.Contains(line, customer('a')) || bytes.Contains(line, []byte(base64.StdEncoding.EncodeToString(customer('a')))) || bytes.Contains(line, []byte(secretKey)) {
				t.Errorf("%s %s: a secret in %s", step.method, step.path, line)
			}
			if record.Object == "k" && !cmp.Equal(record.Context, map[string]string{"project": "x"}) {
				t.Errorf("context %v", record.Context)
			}
		}
		if diff := cmp.Diff(step.want, log.take()); diff != "" {
			t.Errorf("%s %s: %s", step.method, step.path, diff)
		}
	}
	r.putEncrypted(t, "m", encryptions["named key"], pattern(5<<20), []byte("x"))
	uses := []string{
		"CreateMultipartUpload seal m aws:kms other 1", "UploadPart open m aws:kms other 1", "UploadPart open m aws:kms other 1",
		"CompleteMultipartUpload open m aws:kms other 1",
	}
	if diff := cmp.Diff(uses, log.take()); diff != "" {
		t.Error(diff)
	}
	editKeyring(t, r.keyring, func(k *keys.Keyring) error { return k.Disable("other", 1) })
	eventually(t, "the disabled key is refused", func() bool {
		r.ask(t, "GET", "m", nil)
		return slices.Contains(log.take(), "GetObject open m aws:kms other KMS.DisabledException")
	})
	// The store names a key that is not configured.
	sealed, _ := r.stored(t, "copy")
	foreign := newRig(t, testbed.Store(t), options{more: []string{"foreign"}, proxy: func(c *proxy.Config) { c.KeyID = "foreign" }})
	foreign.put(t, "x", []byte("x"))
	_, metadata := foreign.stored(t, "x")
	r.putStored(t, "copy", sealed, metadata)
	r.ask(t, "GET", "copy", nil)
	if got := log.take(); len(got) != 1 || got[0] != "GetObject open copy AES256 foreign AccessDenied" {
		t.Errorf("a foreign key: %q", got)
	}
}

// TestAuditRequired: where the operator wants it, nothing is sealed or opened that cannot be recorded.
func TestAuditRequired(t *testing.T) {
	for _, required := range []bool{false, true} {
		var log auditLog
		r := newEncryptionRig(t, testbed.Store(t), func(c *proxy.Config) { c.Audit, c.AuditRequired = log.write, required })
		r.put(t, "key", []byte("body"))
		log.failure = errors.New("the disk is full")
		status := map[bool]int{false: http.StatusOK, true: http.StatusServiceUnavailable}[required]
		r.wire.Reset()
		get, put := r.ask(t, "GET", "key", nil), r.ask(t, "PUT", "new", []byte("x"))
		if get.StatusCode != status || put.StatusCode != status {
			t.Errorf("required %v: GET %s, PUT %s", required, get.Status, put.Status)
		}
		if b := testbed.ReadBody(t, get.Body); required == bytes.Equal(b, []byte("body")) {
			t.Errorf("required %v: the body is %q", required, b)
		}
		for _, x := range r.wire.Requests() {
			if required && x.Method == http.MethodPut {
				t.Error("the store heard of an object whose key is not recorded")
			}
		}
	}
}
