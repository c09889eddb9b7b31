package e2e_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// sdkProbes: every operation of the SDK's client: with no more than it must have, and with each thing more that it can say.
// Between them the object that they are about is made anew.
func sdkProbes(t *testing.T) []probe {
	probes := []probe{put("other", "body of other")}
	methods := map[string]reflect.Method{}
	for m := range reflect.TypeFor[*s3.Client]().Methods() {
		if m.Name != "Options" {
			methods[m.Name] = m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		m := methods[name]
		probes = append(probes, put("key", "body of key", "X-Amz-Meta-A: 1").as("PUT before "+name), sdkProbe(t, name, m, nil))
		input := m.Type.In(2).Elem()
		for i := range input.NumField() {
			field := input.Field(i)
			if !field.IsExported() || field.Name == "Bucket" || field.Name == "Key" || field.Name == "ResultMetadata" {
				continue
			}
			for n, value := range sdkValues(t, field) {
				label := name + " with " + field.Name
				if n > 0 {
					label += " " + value.String()
				}
				probes = append(probes, sdkProbe(t, label, m, func(in reflect.Value) {
					in.Field(i).Set(sdkValues(t, field)[n]) // anew: it may be a reader
				}))
				if name == "CreateMultipartUpload" {
					probes = append(probes, del("key?uploadId={{upload}}").quietly())
				}
			}
		}
	}
	return probes
}

// sdkProbe makes the SDK's request for an input that has what the operation demands, and what set adds.
func sdkProbe(t *testing.T, name string, method reflect.Method, set func(in reflect.Value)) probe {
	return probe{name: name, build: func(s *side) message {
		input := reflect.New(method.Type.In(2).Elem())
		if set != nil {
			set(input.Elem())
		}
		for {
			m, err := capture(t, method, input, s)
			var missing smithy.InvalidParamsError
			if !errors.As(err, &missing) {
				return m // none at all, if the SDK refuses it
			}
			before := input.Elem().Interface()
			provide(t, name, input.Elem(), missing)
			if reflect.DeepEqual(before, input.Elem().Interface()) {
				t.Fatalf("%s: do not know what to provide: %v", name, err)
			}
		}
	}}
}

var errCaptured = errors.New("captured")

// capture returns the message that the SDK would send; or an error, if the input is not enough.
func capture(t *testing.T, method reflect.Method, input reflect.Value, s *side) (captured message, err error) {
	for name, value := range map[string]string{"Bucket": s.bucket, "CopySource": s.bucket + "/other"} {
		if field := input.Elem().FieldByName(name); field.IsValid() && field.Type() == reflect.TypeFor[*string]() && !field.IsNil() {
			field.Set(reflect.ValueOf(&value))
		}
	}
	client := testbed.S3Client(t, s.url, s.store.AccessKeyID, s.store.SecretAccessKey, s.store.Region, func(o *s3.Options) {
		o.DisableS3ExpressSessionAuth = aws.Bool(true)
		o.HTTPClient = roundTripper(func(r *http.Request) (*http.Response, error) {
			captured = messageOf(t, r)
			return nil, errCaptured
		})
	})
	result := method.Func.Call([]reflect.Value{reflect.ValueOf(client), reflect.ValueOf(t.Context()), input})
	err, _ = result[1].Interface().(error)
	return captured, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) Do(r *http.Request) (*http.Response, error) { return f(r) }

// messageOf returns the message to send for a request of the SDK's.
func messageOf(t *testing.T, r *http.Request) message {
	m := message{
		method: r.Method, target: r.URL.RequestURI(), header: map[string]string{},
		hash: r.Header.Get("X-Amz-Content-Sha256"),
	}
	for name, values := range r.Header {
		switch name {
		case "Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "User-Agent", "Amz-Sdk-Invocation-Id", "Content-Length",
			"Expect":
		default:
			m.header[name] = strings.Join(values, ",")
		}
	}
	if r.Body != nil && r.Body != http.NoBody {
		m.body = text(testbed.Must(io.ReadAll(r.Body))(t))
	} else if r.Method == http.MethodPut || r.Method == http.MethodPost {
		m.body = text("")
	}
	return m
}

// provide fills in what an operation demands.
func provide(t *testing.T, operation string, in reflect.Value, missing smithy.InvalidParamsError) {
	for _, err := range missing.Errs() {
		e, ok := err.(interface{ Field() string })
		if !ok {
			t.Fatalf("%s: %v", operation, err)
		}
		path := strings.Split(e.Field(), ".") // of the input's type, then of what it has
		field, _, _ := strings.Cut(path[1], "[")
		structField, ok := in.Type().FieldByName(field)
		if !ok {
			t.Fatalf("%s has no field %s", operation, e.Field())
		}
		if value := in.FieldByName(field); value.IsZero() || len(path) > 2 {
			value.Set(sdkValues(t, structField)[0])
		}
	}
}

// sdkValues returns values for a field of an input: each that its type has names for, or one that makes sense.
func sdkValues(t *testing.T, field reflect.StructField) []reflect.Value {
	if known, ok := sdkKnown[field.Name]; ok && reflect.TypeOf(known) == field.Type {
		return []reflect.Value{reflect.ValueOf(known)}
	}
	if values := field.Type; values.Kind() == reflect.String {
		if m := reflect.Zero(values).MethodByName("Values"); m.IsValid() {
			list := m.Call(nil)[0]
			var all []reflect.Value
			for i := range list.Len() {
				all = append(all, list.Index(i))
			}
			return all
		}
	}
	v := reflect.New(field.Type).Elem()
	sdkFill(t, v, field.Name)
	return []reflect.Value{v}
}

// sdkKnown are values that lead further than "x".
var sdkKnown = map[string]any{
	"Bucket": ptr("bucket"), "Key": ptr("key"), "CopySource": ptr("source"), "Range": ptr("bytes=1-3"),
	"IfMatch": ptr("*"), "IfNoneMatch": ptr("*"), "Prefix": ptr("k"), "Delimiter": ptr("e"), "Marker": ptr("key"),
	"StartAfter": ptr("key"), "Tagging": ptr("a=b"),
	"PartNumber": ptr(int32(1)), "MaxKeys": ptr(int32(1)), "ContentLength": ptr(int64(1)), "VersionId": ptr("null"),
	"UploadId": ptr("none-such-upload"), "Policy": ptr(`{"Version":"2012-10-17","Statement":[]}`),
	"ObjectAttributes": types.ObjectAttributes("").Values(), "ExpectedBucketOwner": ptr("111122223333"),
	"ACL": types.ObjectCannedACLPrivate, "SSECustomerKey": ptr("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
	"WriteOffsetBytes": ptr(int64(11)), "ContentMD5": ptr("AAAAAAAAAAAAAAAAAAAAAA=="),
	"Expires": ptr(time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)),
}

// sdkFill sets v, and every field of what it has, to something that the SDK can send.
func sdkFill(t *testing.T, v reflect.Value, field string) {
	t.Helper()
	if known, ok := sdkKnown[field]; ok && reflect.TypeOf(known) == v.Type() {
		v.Set(reflect.ValueOf(known))
		return
	}
	switch v.Kind() { //nolint:exhaustive // what else there is, the default reports
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		sdkFill(t, v.Elem(), field)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				sdkFill(t, v.Field(i), v.Type().Field(i).Name)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		sdkFill(t, v.Index(0), field)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), reflect.ValueOf("x").Convert(v.Type().Elem()))
	case reflect.String:
		if m := v.MethodByName("Values"); m.IsValid() {
			v.Set(m.Call(nil)[0].Index(0))
			return
		}
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64, reflect.Uint8:
		v.Set(reflect.ValueOf(1).Convert(v.Type()))
	case reflect.Interface:
		sdkFillUnion(t, v)
	default:
		t.Fatalf("do not know how to fill %s", v.Type())
	}
}

func sdkFillUnion(t *testing.T, v reflect.Value) {
	t.Helper()
	for _, member := range []any{
		strings.NewReader("a body"),
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
