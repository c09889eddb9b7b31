package proxy

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"pgregory.net/rapid"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/policy"
)

// requestFor returns a request in the form that a row describes, with only what it needs.
func requestFor(op *operation) (url.Values, http.Header) {
	query, header := url.Values{}, http.Header{}
	for key := range strings.FieldsSeq(op.keys) {
		switch {
		case key == idKey:
			query.Set(key, op.name)
		case slices.Contains(routingHeaders, key):
			header.Set(key, "x")
		case key == "list-type":
			query.Set(key, "2")
		default:
			query.Set(key, "")
		}
	}
	return query, header
}

func wantCode(t interface {
	Helper()
	Errorf(string, ...any)
}, err error, code string,
) {
	t.Helper()
	var e *apiError
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error is %v, want %s", err, code)
	}
}

func TestEveryRowIsReachedByItsOwnRequest(t *testing.T) {
	for i := range operations {
		op := &operations[i]
		query, header := requestFor(op)
		got, err := classify(op.method, op.level, query, header)
		if got != op {
			t.Errorf("%s %s %q leads to %v", op.name, op.method, op.keys, got)
		}
		if op.treatment == refuse {
			wantCode(t, err, "NotImplemented")
		} else if err != nil {
			t.Errorf("%s: %v", op.name, err)
		}

		query.Set("x-id", op.name)
		if got, _ := classify(op.method, op.level, query, header); got != op {
			t.Errorf("%s with its x-id leads to %v", op.name, got)
		}
		query.Set("x-id", "PutObjectRemix")
		got, err = classify(op.method, op.level, query, header)
		if got != nil || err == nil {
			t.Errorf("%s with a wrong x-id leads to %v, %v", op.name, got, err)
		}
	}
}

// TestEveryRowHasAnAction: a policy is asked about everything that a request can do, but for preflights.
func TestEveryRowHasAnAction(t *testing.T) {
	levels := map[policy.Action][]level{
		policy.Read: {atObject}, policy.Write: {atObject, atBucket}, policy.Delete: {atObject, atBucket}, policy.List: {atBucket, atService},
		policy.Inspect: {atBucket}, policy.Administer: {atBucket, atObject},
	}
	for _, op := range operations {
		switch {
		case op.treatment == refuse || op.name == "Preflight":
			if op.action != nothing {
				t.Errorf("%s has action %q", op.name, op.action)
			}
		case !slices.Contains(levels[op.action], op.level):
			t.Errorf("%s has action %q", op.name, op.action)
		case (op.action == policy.Write || op.action == policy.Delete) && op.level == atBucket && op.name != "PostObject" && op.name != "DeleteObjects":
			t.Errorf("%s has action %q, which is about objects, and no key", op.name, op.action)
		}
	}
}

func TestRowsWithTheSameRoutePanic(t *testing.T) {
	for name, table := range map[string][]operation{
		"same keys":       {{name: "A", method: "PUT", keys: "acl"}, {name: "B", method: "PUT", keys: "acl"}},
		"same row":        {{name: "A", method: "PUT", keys: "acl x-id"}, {name: "A", method: "PUT", keys: "acl"}},
		"keys in a tizzy": {{name: "A", method: "PUT", keys: "uploadId partNumber"}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			indexOperations(table)
		})
	}
}

// The store must never be asked to do what the proxy did not understand.
func TestClassifyRefuses(t *testing.T) {
	tests := []struct {
		name   string
		method string
		level  level
		query  string
		header http.Header
		code   string
	}{
		{"unknown sub-resource", "PUT", atObject, "newfeature", nil, "NotImplemented"},
		{"unknown sub-resource of a bucket", "PUT", atBucket, "newfeature", nil, "NotImplemented"},
		{"two sub-resources", "PUT", atObject, "acl&tagging", nil, "NotImplemented"},
		{"sub-resource of another level", "PUT", atObject, "policy", nil, "NotImplemented"},
		{"sub-resource in other case", "PUT", atObject, "Tagging", nil, "NotImplemented"},
		{"part number without upload", "PUT", atObject, "partNumber=1", nil, "MethodNotAllowed"},
		{"sub-resource twice", "PUT", atObject, "tagging&tagging=x", nil, "InvalidArgument"},
		{"x-id twice", "PUT", atObject, "x-id=PutObject&x-id=PutObject", nil, "InvalidArgument"},
		{"x-id of another operation", "PUT", atObject, "x-id=PutObjectAcl", nil, "InvalidArgument"},
		{"parameter twice", "GET", atBucket, "prefix=a&prefix=b", nil, "InvalidArgument"},
		{"parameter of another operation", "GET", atBucket, "list-type=2&marker=a", nil, "NotImplemented"},
		{"version of a write", "PUT", atObject, "versionId=1", nil, "NotImplemented"},
		{"metadata in a listing (MinIO)", "GET", atBucket, "list-type=2&metadata=true", nil, "NotImplemented"},
		{"other list type", "GET", atBucket, "list-type=3", nil, "InvalidArgument"},
		{"header left in the query", "PUT", atObject, "x-amz-copy-source=a%2Fb", nil, "NotImplemented"},
		{"signature left in the query", "GET", atObject, "X-Amz-Signature=a", nil, "NotImplemented"},
		{"signature left in the header", "GET", atObject, "", http.Header{"X-Amz-Date": {"20260101T000000Z"}}, "NotImplemented"},
		{"SigV2 query", "GET", atObject, "AWSAccessKeyId=a&Signature=b&Expires=1", nil, "NotImplemented"},

		{"wrong method for an object", "POST", atObject, "", nil, "MethodNotAllowed"},
		{"wrong method for a sub-resource", "DELETE", atObject, "acl", nil, "MethodNotAllowed"},
		{"unknown method", "PATCH", atObject, "", nil, "MethodNotAllowed"},
		{"wrong method for the service", "PUT", atService, "", nil, "MethodNotAllowed"},
		{"form for an object", "POST", atObject, "", http.Header{"Content-Type": {"multipart/form-data"}}, "MethodNotAllowed"},
		{"form with a copy source", "POST", atBucket, "", http.Header{"X-Amz-Copy-Source": {"a/b"}}, "NotImplemented"},
		{"form with reserved metadata", "POST", atBucket, "", http.Header{reservedMetadata: {"x"}}, "InvalidArgument"},

		{"copy source on a pass", "PUT", atObject, "acl", http.Header{"X-Amz-Copy-Source": {"a/b"}}, "NotImplemented"},
		{"range of a copied object", "PUT", atObject, "", http.Header{"X-Amz-Copy-Source": {"a/b"}, "X-Amz-Copy-Source-Range": {"bytes=0-1"}}, "NotImplemented"},
		{"copy source with a sub-resource", "PUT", atObject, "tagging", http.Header{"X-Amz-Copy-Source": {"a/b"}}, "NotImplemented"},
		{"unknown header", "PUT", atObject, "", http.Header{"X-Amz-New-Feature": {"1"}}, "NotImplemented"},
		{"unknown header of a pass", "PUT", atBucket, "tagging", http.Header{"X-Amz-New-Feature": {"1"}}, "NotImplemented"},
		{"unknown header of a read", "GET", atObject, "", http.Header{"X-Amz-New-Feature": {"1"}}, "NotImplemented"},
		{"unknown checksum", "PUT", atObject, "", http.Header{"X-Amz-Checksum-New": {"1"}}, "NotImplemented"},
		{"append", "PUT", atObject, "", http.Header{"X-Amz-Write-Offset-Bytes": {"1"}}, "NotImplemented"},
		{"an event hold", "PUT", atObject, "", http.Header{"X-Amz-Object-Lock-Event-Hold": {"ON"}}, "NotImplemented"},
		{"SSE twice", "PUT", atObject, "", http.Header{"X-Amz-Server-Side-Encryption": {"AES256", "AES256"}}, "InvalidArgument"},
		{"unknown SSE", "PUT", atObject, "", http.Header{"X-Amz-Server-Side-Encryption-New": {"1"}}, "NotImplemented"},
		{"SSE of a part", "PUT", atObject, "partNumber=1&uploadId=a", http.Header{"X-Amz-Server-Side-Encryption": {"AES256"}}, "InvalidArgument"},
		{"SSE-C of a deletion", "DELETE", atObject, "", http.Header{"X-Amz-Server-Side-Encryption-Customer-Key": {"1"}}, "NotImplemented"},
		{"SSE-C of a listing", "GET", atBucket, "list-type=2", http.Header{"X-Amz-Server-Side-Encryption-Customer-Key": {"1"}}, "NotImplemented"},
		{"SSE on GET", "GET", atObject, "", http.Header{"X-Amz-Server-Side-Encryption": {"AES256"}}, "InvalidArgument"},
		{"SSE on HEAD", "HEAD", atObject, "", http.Header{"X-Amz-Server-Side-Encryption": {"AES256"}}, "InvalidArgument"},
		{"SSE on a pass", "PUT", atObject, "acl", http.Header{"X-Amz-Server-Side-Encryption": {"AES256"}}, "NotImplemented"},
		{"reserved metadata", "PUT", atObject, "", http.Header{reservedMetadata: {"x"}}, "InvalidArgument"},
		{"reserved metadata, raw name", "PUT", atObject, "", http.Header{"x-amz-meta-SSEproxy": {"x"}}, "InvalidArgument"},
		{"reserved metadata, empty", "PUT", atObject, "", http.Header{reservedMetadata: nil}, "InvalidArgument"},
		{"reserved metadata, underscore", "PUT", atObject, "", http.Header{"X-Amz-Meta_sseproxy": {"x"}}, "NotImplemented"},
		{"metadata on a pass", "PUT", atObject, "acl", http.Header{"X-Amz-Meta-A": {"x"}}, "NotImplemented"},
		{"unpacking (MinIO)", "PUT", atObject, "", http.Header{"X-Amz-Meta-Snowball-Auto-Extract": {"true"}}, "NotImplemented"},
		{"extension (MinIO)", "PUT", atObject, "", http.Header{"X-Minio-Extract": {"true"}}, "NotImplemented"},
		{"size condition", "DELETE", atObject, "", http.Header{"X-Amz-If-Match-Size": {"1"}}, "NotImplemented"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			query, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			_, err = classify(tt.method, tt.level, query, tt.header)
			wantCode(t, err, tt.code)
		})
	}
}

func TestClassifyAccepts(t *testing.T) {
	tests := []struct {
		want   string
		method string
		level  level
		query  string
		header http.Header
	}{
		{"PutObject", "PUT", atObject, "x-id=PutObject", http.Header{
			"X-Amz-Server-Side-Encryption": {"AES256"}, "X-Amz-Meta-A": {"1"}, "X-Amz-Grant-Read": {"id=1"}, "X-Amz-Tagging": {"a=b"},
			"X-Amz-Checksum-Algorithm": {"CRC32"},
			"Amz-Sdk-Invocation-Id":    {"x"}, "Amz-Sdk-Request": {"x"}, "X-Amz-User-Agent": {"x"}, "X-Amzn-Trace-Id": {"x"},
			"X-Forwarded-For": {"x"},
		}},
		{"GetObject", "GET", atObject, "versionId=1&response-content-type=a", http.Header{
			"X-Amz-Te": {"append-md5"}, "X-Amz-Checksum-Mode": {"ENABLED"}, "X-Amz-Request-Payer": {"requester"},
		}},
		{"CreateMultipartUpload", "POST", atObject, "uploads", http.Header{"X-Amz-Metadata-Directive": {"REPLACE"}, "X-Amz-Meta-A": {"1"}}},
		{"ListObjects", "GET", atBucket, "prefix=a&delimiter=/&marker=&max-keys=1&encoding-type=url", nil},
		{"ListObjectsV2", "GET", atBucket, "list-type=2&prefix=a&start-after=b&fetch-owner=true", nil},
		{"GetBucketLifecycleConfiguration", "GET", atBucket, "lifecycle", nil},
		{"GetBucketLifecycle", "GET", atBucket, "lifecycle=&x-id=GetBucketLifecycle", nil},
		{"ListBuckets", "GET", atService, "", nil},
	}
	for _, tt := range tests {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		op, err := classify(tt.method, tt.level, query, tt.header)
		if err != nil || op.name != tt.want {
			t.Errorf("%s ?%s: %v, %v, want %s", tt.method, tt.query, op, err, tt.want)
		}
	}
}

func TestMethodNotAllowedNamesTheMethods(t *testing.T) {
	_, err := classify("PATCH", atObject, url.Values{"acl": {""}}, nil)
	var e *apiError
	if !errors.As(err, &e) || e.status() != http.StatusMethodNotAllowed || e.Header.Get("Allow") != "GET, PUT" {
		t.Errorf("%+v", e)
	}
}

// Whatever a request adds to an accepted one, either the table knows it or it is refused.
func TestUnknownAdditionsAreRefused(t *testing.T) {
	allowed := slices.Collect(maps.Keys(routingKeys))
	rapid.Check(t, func(t *rapid.T) {
		op := &operations[rapid.IntRange(0, len(operations)-1).Draw(t, "row")]
		query, header := requestFor(op)
		if rapid.Bool().Draw(t, "in the query") {
			key := rapid.OneOf(
				rapid.StringMatching(`[a-zA-Z-]{1,12}`),
				rapid.StringMatching(`[xX]-[aA]mz-[a-z-]{1,12}`),
				rapid.SampledFrom(allowed),
			).Draw(t, "key")
			if query.Has(key) || op.params.has(key) || key == idKey {
				return
			}
			query.Set(key, "")
		} else {
			name := http.CanonicalHeaderKey(rapid.StringMatching(`x-(amz|minio)-[a-z][a-z-]{0,12}[a-z]`).Draw(t, "header"))
			if op.headers.has(name) || ignoredHeaders.has(name) || commonHeaders.has(name) || len(header[name]) > 0 {
				return
			}
			header.Set(name, "x")
		}
		got, err := classify(op.method, op.level, query, header)
		if err == nil && (got == op || len(query) == 0) {
			t.Fatalf("%s accepts %v %v", got.name, query, header)
		}
		if err == nil && !sameKeys(got, query, header) {
			t.Fatalf("%v %v leads to %s", query, header, got.name)
		}
	})
}

// sameKeys reports whether an operation's keys are exactly those of a request.
func sameKeys(op *operation, query url.Values, header http.Header) bool {
	want := strings.Fields(op.keys)
	for key := range query {
		if !slices.Contains(want, key) && !op.params.has(key) {
			return false
		}
	}
	for _, key := range want {
		if !query.Has(key) && header.Get(key) == "" {
			return false
		}
	}
	return true
}

func TestStoreQuery(t *testing.T) {
	got := storeQuery(url.Values{"x-id": {"GetObject"}, "versionId": {"v"}, "acl": {""}})
	if want := "acl=&versionId=v"; got.Encode() != want {
		t.Errorf("%q, want %q", got.Encode(), want)
	}
}

// The model of August 2026 has four operations that the SDK leaves out as deprecated.
var deprecated = []string{"GetBucketLifecycle", "PutBucketLifecycle", "GetBucketNotification", "PutBucketNotification"}

func TestTableIsTheServiceModel(t *testing.T) {
	rows := make(map[string]bool)
	for _, op := range operations {
		rows[op.name] = true
	}
	model := slices.Clone(deprecated)
	for name := range sdkOperations() {
		model = append(model, name)
	}
	if len(model) != 116 {
		t.Errorf("the service model has %d operations, want 116", len(model))
	}
	for _, name := range model {
		if !rows[name] {
			t.Errorf("%s has no row", name)
		}
		delete(rows, name)
	}
	got := slices.Sorted(maps.Keys(rows))
	if want := []string{"AppendObject", "PostObject", "Preflight"}; !slices.Equal(got, want) {
		t.Errorf("rows outside of the model: %v, want %v", got, want)
	}
}

// sdkOperations returns the methods of the SDK's client that are operations.
func sdkOperations() map[string]reflect.Method {
	methods := make(map[string]reflect.Method)
	for m := range reflect.TypeFor[*s3.Client]().Methods() {
		if m.Name != "Options" {
			methods[m.Name] = m
		}
	}
	return methods
}

// refusedHeaders are those that the SDK can send with an operation that is not refused as a whole, and that are.
var refusedHeaders = map[string][]string{
	"PutObject":             append([]string{"X-Amz-Write-Offset-Bytes"}, eventHold...),
	"CreateMultipartUpload": eventHold,
	"CopyObject":            append([]string{"X-Amz-Object-Annotation-Directive"}, eventHold...),
	"DeleteObject":          {"X-Amz-If-Match-Size"},
}

var eventHold = []string{"X-Amz-Object-Lock-Event-Hold", "X-Amz-Object-Lock-Event-Hold-Duration-Days", "X-Amz-Object-Lock-Event-Hold-Duration-Years"}

// Every request that the SDK can make, with all it can say, leads to its operation's row, and the row takes it.
func TestSDKRequestsReachTheirRows(t *testing.T) {
	for name, method := range sdkOperations() {
		t.Run(name, func(t *testing.T) {
			r := sdkRequest(t, method)
			at, err := parseTarget(r.Host, r.URL.Path, nil)
			if err != nil {
				t.Fatal(err)
			}
			query, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil {
				t.Fatal(err)
			}
			header := frontDoor(r.Header)
			for _, name := range refusedHeaders[name] {
				if header.Get(name) == "" {
					t.Errorf("the SDK does not send %s", name)
				}
				alone := http.Header{name: header[name]}
				if source := header["X-Amz-Copy-Source"]; source != nil {
					alone["X-Amz-Copy-Source"] = source // it routes
				}
				_, err := classify(r.Method, at.level(), query, alone)
				wantCode(t, err, "NotImplemented")
				header.Del(name)
			}
			op, err := classify(r.Method, at.level(), query, header)
			if op == nil || op.name != name {
				t.Fatalf("%s %s leads to %v, %v", r.Method, r.URL, op, err)
			}
			if op.treatment == refuse {
				wantCode(t, err, "NotImplemented")
			} else if err != nil {
				t.Errorf("%s %s %v: %v", r.Method, r.URL, header, err)
			}
		})
	}
}

// frontDoor leaves out what has been dealt with before a request is classified.
func frontDoor(header http.Header) http.Header {
	out := header.Clone()
	for name := range header {
		if _, ok := checksum.ByHeader(name); ok {
			out.Del(name)
		}
	}
	for _, name := range []string{
		"X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Trailer", "X-Amz-Decoded-Content-Length",
	} {
		out.Del(name)
	}
	return out
}

var errCaptured = errors.New("captured")

// sdkRequest returns the request that the SDK sends for an input with every field set.
func sdkRequest(t *testing.T, method reflect.Method) *http.Request {
	t.Helper()
	var captured *http.Request
	client := s3.New(s3.Options{
		BaseEndpoint:                aws.String("http://127.0.0.1:1"),
		UsePathStyle:                true,
		Region:                      "us-east-1",
		Credentials:                 credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
		RetryMaxAttempts:            1,
		DisableS3ExpressSessionAuth: aws.Bool(true),
		HTTPClient: roundTripper(func(r *http.Request) (*http.Response, error) {
			captured = r
			return nil, errCaptured
		}),
	})
	input := reflect.New(method.Type.In(2).Elem())
	fill(t, input.Elem(), "")
	switch in := input.Interface().(type) {
	case *s3.GetObjectInput:
		in.PartNumber = nil // another row
	case *s3.HeadObjectInput:
		in.PartNumber = nil
	}
	result := method.Func.Call([]reflect.Value{reflect.ValueOf(client), reflect.ValueOf(t.Context()), input})
	if err, _ := result[1].Interface().(error); captured == nil || !errors.Is(err, errCaptured) {
		t.Fatalf("the SDK sent nothing: %v", err)
	}
	if captured.Host == "" {
		captured.Host = captured.URL.Host
	}
	return captured
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) Do(r *http.Request) (*http.Response, error) { return f(r) }

// fill sets every field of v, and of what it points to, to something that the SDK can send.
func fill(t *testing.T, v reflect.Value, field string) {
	t.Helper()
	switch v.Kind() { //nolint:exhaustive // what else there is, the default reports
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), field)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i), v.Type().Field(i).Name)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), field)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), reflect.ValueOf("x").Convert(v.Type().Elem()))
	case reflect.String:
		v.SetString(fillString(v.Type().Name(), field))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64, reflect.Uint8:
		v.Set(reflect.ValueOf(1).Convert(v.Type()))
	case reflect.Interface:
		fillUnion(t, v)
	default:
		t.Fatalf("do not know how to fill %s", v.Type())
	}
}

func fillString(typeName, field string) string {
	switch {
	case typeName == "ServerSideEncryption":
		return "AES256"
	case typeName == "ChecksumAlgorithm":
		return "CRC32"
	case field == "Bucket":
		return "bucket"
	case field == "RequestRoute":
		return "route"
	default:
		return "x"
	}
}

func fillUnion(t *testing.T, v reflect.Value) {
	t.Helper()
	for _, member := range []any{
		strings.NewReader("x"),
		&types.AnalyticsFilterMemberPrefix{Value: "x"},
		&types.MetricsFilterMemberPrefix{Value: "x"},
		&types.ObjectEncryptionMemberSSEKMS{Value: types.SSEKMSEncryption{KMSKeyArn: aws.String("x")}},
	} {
		if reflect.TypeOf(member).Implements(v.Type()) {
			v.Set(reflect.ValueOf(member))
			return
		}
	}
	t.Fatalf("do not know how to fill %s", v.Type())
}
