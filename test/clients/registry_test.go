package clients_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// registry is a registry of container images that keeps them at a front, and a client of its HTTP API.
type registry struct {
	*shell
	program string
	client  *http.Client
	cmd     *exec.Cmd
	url     string
}

func (f *front) registry(t *testing.T) *registry {
	t.Helper()
	s := newShell(t, "SSL_CERT_FILE="+f.ca, "OTEL_TRACES_EXPORTER=none")
	s.write(t, "config.yml", fmt.Appendf(nil, `
version: 0.1
storage:
  s3:
    accesskey: %s
    secretkey: %s
    region: %s
    regionendpoint: %s
    forcepathstyle: true
    bucket: %s
http:
  addr: 127.0.0.1:0
  secret: the-same-after-a-restart
  relativeurls: true
`, f.accessKeyID, f.secretAccessKey, f.region, f.url, f.bucket))
	r := &registry{shell: s, program: programs(t, "registry")[0], client: testbed.HTTPClient(t)}
	r.start(t)
	return r
}

var listeningOn = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// start starts the registry, again after a kill. It ends with the test.
func (r *registry) start(t *testing.T) {
	t.Helper()
	r.cmd = exec.Command(r.program, "serve", "config.yml")
	r.cmd.Dir, r.cmd.Env = r.dir, r.env
	stderr := testbed.Must(r.cmd.StderrPipe())(t)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening, ended := make(chan string, 1), make(chan struct{})
	var said bytes.Buffer
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if !bytes.Contains(lines.Bytes(), []byte("level=info")) {
				fmt.Fprintf(&said, "%s\n", lines.Bytes())
			}
			if m := listeningOn.FindSubmatch(lines.Bytes()); m != nil {
				listening <- string(m[1])
			}
		}
	}()
	cmd := r.cmd
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have been killed
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the registry said:\n%s", said.String())
		}
	})
	select {
	case address := <-listening:
		r.url = "http://" + address
	case <-ended:
		t.Fatalf("the registry does not start:\n%s", said.String())
	case <-time.After(most):
		t.Fatal("the registry does not listen")
	}
}

// request prepares a request of the API.
func (r *registry) request(t *testing.T, method, path string, body io.Reader, contentType string) *http.Request {
	t.Helper()
	req := testbed.Must(http.NewRequestWithContext(t.Context(), method, r.url+path, body))(t)
	req.Header = http.Header{"Content-Type": {contentType}, "Accept": {contentType}}
	return req
}

// do sends a request that must be answered with a status.
func (r *registry) do(t *testing.T, status int, method, path string, body io.Reader, contentType string) (http.Header, []byte) {
	t.Helper()
	resp := testbed.Must(r.client.Do(r.request(t, method, path, body, contentType)))(t)
	said := testbed.ReadBody(t, resp.Body)
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s, %.1000s", method, path, resp.Status, said)
	}
	return resp.Header, said
}

const (
	octets   = "application/octet-stream"
	ociImage = "application/vnd.oci.image.manifest.v1+json"
)

// push uploads a blob, a chunk in each request.
func (r *registry) push(t *testing.T, chunks ...[]byte) {
	t.Helper()
	h, _ := r.do(t, http.StatusAccepted, http.MethodPost, "/v2/app/blobs/uploads/", nil, octets)
	for _, chunk := range chunks {
		h, _ = r.do(t, http.StatusAccepted, http.MethodPatch, h.Get("Location"), bytes.NewReader(chunk), octets)
	}
	r.commit(t, h, bytes.Join(chunks, nil))
}

func (r *registry) commit(t *testing.T, h http.Header, blob []byte) {
	t.Helper()
	r.do(t, http.StatusCreated, http.MethodPut, h.Get("Location")+"&digest="+digest(blob), nil, octets)
}

func digest(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }

// TestRegistry: the registry of github.com/distribution/distribution stores an image layer that comes in chunks, whose ends it
// writes as short parts and later puts together, and goes on with it after it was killed. At the end of a push it moves the blob: up
// to 32 MiB by a copy, else by copies of parts. The image can be pulled.
func TestRegistry(t *testing.T) {
	crossed(t, func(t *testing.T, f *front) {
		r, canary := f.registry(t), testbed.Canary(t)
		layer, config, tiny := text(61<<20+5, canary), text(3000, canary), text(9<<20, canary)
		r.push(t, tiny[:1<<20], tiny[1<<20:4<<20], tiny[4<<20:]) // short parts only
		r.push(t, config)
		r.push(t) // nothing

		h, _ := r.do(t, http.StatusAccepted, http.MethodPost, "/v2/app/blobs/uploads/", nil, octets)
		at := 0
		for _, n := range []int{12 << 20, 11 << 20} { // 10 + 2 MiB; 12 as a copy + 10 + 1
			h, _ = r.do(t, http.StatusAccepted, http.MethodPatch, h.Get("Location"), bytes.NewReader(layer[at:at+n]), octets)
			at += n
		}
		f.killRegistry(t, r, h.Get("Location"), layer, at)
		r.start(t)
		h, _ = r.do(t, http.StatusNoContent, http.MethodGet, h.Get("Location"), nil, octets)
		var last int
		testbed.Must(fmt.Sscanf(h.Get("Range"), "0-%d", &last))(t)
		if last+1 != at+10<<20 {
			t.Fatalf("the registry has %d bytes of the layer", last+1)
		}
		h, _ = r.do(t, http.StatusAccepted, http.MethodPatch, h.Get("Location"), bytes.NewReader(layer[last+1:]), octets)
		r.commit(t, h, layer)

		manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"%s",`+
			`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},`+
			`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d}]}`,
			ociImage, digest(config), len(config), digest(layer), len(layer))
		r.do(t, http.StatusCreated, http.MethodPut, "/v2/app/manifests/latest", bytes.NewReader(manifest), ociImage)
		if _, got := r.do(t, http.StatusOK, http.MethodGet, "/v2/app/manifests/latest", nil, ociImage); !bytes.Equal(got, manifest) {
			t.Errorf("the manifest comes back as %s", got)
		}
		for _, blob := range [][]byte{layer, config, tiny, nil} {
			f.pull(t, r, blob)
		}
		f.requireSealed(t, canary)
	})
}

// killRegistry sends the registry 15 MiB more, and kills it when it has stored 10 of them.
func (f *front) killRegistry(t *testing.T, r *registry, location string, layer []byte, at int) {
	t.Helper()
	body, more := io.Pipe()
	ended := make(chan struct{})
	req := r.request(t, http.MethodPatch, location, body, octets)
	go func() {
		defer close(ended)
		if resp, err := r.client.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("a request that has not ended is answered: %s", resp.Status)
		}
	}()
	testbed.Must(more.Write(layer[at : at+15<<20]))(t)
	for began := time.Now(); !slices.Equal(f.partsInProgress(t), []int64{int64(at), 10 << 20}); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > most {
			t.Errorf("the parts in progress are %d", f.partsInProgress(t))
			break
		}
	}
	_ = r.cmd.Process.Kill()
	_ = more.CloseWithError(io.ErrUnexpectedEOF)
	<-ended
}

// partsInProgress gives the sizes of the parts of the one upload there is.
func (f *front) partsInProgress(t *testing.T) (sizes []int64) {
	t.Helper()
	c := f.sdk(t)
	uploads := testbed.Must(c.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &f.bucket}))(t).Uploads
	if len(uploads) != 1 {
		return nil
	}
	in := &s3.ListPartsInput{Bucket: &f.bucket, Key: uploads[0].Key, UploadId: uploads[0].UploadId}
	for _, p := range testbed.Must(c.ListParts(t.Context(), in))(t).Parts {
		sizes = append(sizes, *p.Size)
	}
	return sizes
}

// pull asks for a blob as a client does, which the registry sends to presigned URLs of the front, and for its second half.
func (f *front) pull(t *testing.T, r *registry, blob []byte) {
	t.Helper()
	path, half := "/v2/app/blobs/"+digest(blob), len(blob)/2
	type request struct {
		method, ranges string
		status         int
		want           []byte
	}
	requests := []request{{http.MethodHead, "", http.StatusOK, nil}, {http.MethodGet, "", http.StatusOK, blob}}
	if half > 0 {
		requests = append(requests, request{http.MethodGet, fmt.Sprintf("bytes=%d-", half), http.StatusPartialContent, blob[half:]})
	}
	for _, test := range requests {
		h, _ := r.do(t, http.StatusTemporaryRedirect, test.method, path, nil, octets)
		req := testbed.Must(http.NewRequestWithContext(t.Context(), test.method, h.Get("Location"), nil))(t)
		if test.ranges != "" {
			req.Header.Set("Range", test.ranges)
		}
		resp := testbed.Must(f.httpClient(t).Do(req))(t)
		got := testbed.ReadBody(t, resp.Body)
		if resp.StatusCode != test.status || !bytes.Equal(got, test.want) || test.want == nil && resp.ContentLength != int64(len(blob)) {
			t.Errorf("%s %s: %s, of a blob of %d bytes %d, or altered", test.method, test.ranges, resp.Status, len(blob), len(got))
		}
	}
}
