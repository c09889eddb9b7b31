package e2e_test

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestLongComplete: while a store takes its time, the client hears white space; then the result or S3's error, which SDKs
// find in the body of the 200.
func TestLongComplete(t *testing.T) {
	r := newRig(t, testbed.Store(t), options{proxy: func(c *proxy.Config) { c.AlivePause = 10 * time.Millisecond }})
	refused := false
	r.wire.AlterRequest(func(req *http.Request) error {
		if req.Method != http.MethodPost || !strings.Contains(req.RequestURI, "uploadId") {
			return nil
		}
		time.Sleep(300 * time.Millisecond)
		if refused {
			// Another upload is not there: the store says so itself.
			req.RequestURI = strings.Replace(req.RequestURI, "uploadId=", "uploadId=x", 1)
		}
		return nil
	})
	id := r.startUpload(t, "sdk", s3.CreateMultipartUploadInput{})
	part := r.sendPart(t, "sdk", id, 1, pattern(1000), "")
	refused = true
	if _, err := r.complete(t, "sdk", id, part); err == nil {
		t.Error("an error behind white space passes for success")
	}
	refused = false
	out := testbed.Must(r.complete(t, "sdk", id, part))(t)
	got, head, err := r.get(t, "sdk", "")
	if err != nil || !bytes.Equal(got, pattern(1000)) || *head.ETag != *out.ETag {
		t.Errorf("%d bytes, ETag %s after %s, %v", len(got), *head.ETag, *out.ETag, err)
	}

	id = r.startUpload(t, "raw", s3.CreateMultipartUploadInput{})
	part = r.sendPart(t, "raw", id, 1, pattern(1000), "")
	body := `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>` + *part.ETag + `</ETag></Part></CompleteMultipartUpload>`
	a := r.send(t, message{
		method: http.MethodPost, target: "/" + r.bucket + "/raw?uploadId=" + id, header: map[string]string{}, hash: sha256hex(body), body: text(body),
	})
	space, rest, ok := strings.Cut(strings.TrimPrefix(string(a.body), xml.Header), "<")
	if a.status != http.StatusOK || !ok || len(space) < 3 || strings.Trim(space, " ") != "" || !strings.HasPrefix(rest, "CompleteMultipartUploadResult") {
		t.Errorf("%d %q", a.status, a.body)
	}
}
