package clients_test

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestBrowser: a page in Chromium, of another origin than the proxy's, sends a file with a form, and reads and writes by presigned
// URLs where the bucket's CORS configuration lets it; node/browser.js drives it. A page of a third origin hears nothing.
func TestBrowser(t *testing.T) {
	browser := programs(t, "chromium-headless-shell")[0]
	program, script := nodeScript(t, "browser.js")
	crossed(t, func(t *testing.T, f *front) {
		s, canary := f.nodeShell(t), testbed.Canary(t)
		body, key := text(6<<20+1, canary), aws.String("presigned")
		page := f.uploadPage(t)
		sign := s3.NewPresignClient(f.sdk(t))
		input := testbed.Must(json.Marshal(map[string]string{
			"browser": browser, "page": page, "otherPage": strings.Replace(page, "127.0.0.1", "localhost", 1),
			"file": s.write(t, "file.bin", body), "text": string(canary),
			"put": testbed.Must(sign.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &f.bucket, Key: key}))(t).URL,
			"get": testbed.Must(sign.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &f.bucket, Key: key}))(t).URL,
		}))(t)
		var saw struct {
			Stored, Page, Other string
			Fetched             struct {
				Sent                     int
				ETag, Whole, Type, Range string
				SameETag                 bool
			}
		}
		if err := json.Unmarshal([]byte(s.run(t, program, script, string(input))), &saw); err != nil {
			t.Fatal(err)
		}
		if q := testbed.Must(url.Parse(saw.Stored))(t).Query(); q.Get("bucket") != f.bucket || q.Get("key") != "form" || q.Get("etag") == "" {
			t.Errorf("after the form the browser is at %s, with %s", saw.Stored, saw.Page)
		}
		f.requireObject(t, "form", body)
		got := saw.Fetched
		if got.Sent != http.StatusOK || got.ETag == "" || got.Whole != string(canary) || !got.SameETag || got.Type != "text/x-canary" || got.Range != string(canary[3:6]) {
			t.Errorf("the page saw %+v", got)
		}
		if f.hasCORS() && saw.Other != "Failed to fetch" {
			t.Errorf("a page of a third origin: %s", saw.Other)
		}
		f.requireObject(t, *key, canary)
		f.requireSealed(t, canary)
	})
}

// hasCORS reports whether the store has CORS configurations. MinIO answers every page.
func (f *front) hasCORS() bool { return f.store.Name != "minio" }

// uploadPage is a page with a form, for which the bucket's CORS configuration is, and where the form leads.
func (f *front) uploadPage(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	post := testbed.Must(s3.NewPresignClient(f.sdk(t)).PresignPostObject(t.Context(), &s3.PutObjectInput{
		Bucket: &f.bucket, Key: aws.String("form"),
	}, func(o *s3.PresignPostOptions) {
		o.Conditions = []any{map[string]string{"success_action_redirect": server.URL + "/stored"}, []any{"content-length-range", 1, 10 << 20}}
	}))(t)
	post.Values["success_action_redirect"] = server.URL + "/stored"
	form := template.Must(template.New("").Parse(`<!doctype html><form action="{{.URL}}" method="post" enctype="multipart/form-data">
{{range $name, $value := .Values}}<input type="hidden" name="{{$name}}" value="{{$value}}">
{{end}}<input type="file" name="file"><input type="submit"></form>`))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		if err := form.Execute(w, post); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/stored", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "stored") })
	if f.hasCORS() {
		testbed.Must(f.sdk(t).PutBucketCors(t.Context(), &s3.PutBucketCorsInput{Bucket: &f.bucket, CORSConfiguration: &types.CORSConfiguration{
			CORSRules: []types.CORSRule{{
				AllowedOrigins: []string{server.URL}, AllowedMethods: []string{"GET", "PUT"}, AllowedHeaders: []string{"*"}, ExposeHeaders: []string{"ETag"},
			}},
		}}))(t)
	}
	return server.URL + "/"
}
