package e2e_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestBucketEncryptionReachesReplicas: within 30 seconds, and not only where it was not asked for before.
func TestBucketEncryptionReachesReplicas(t *testing.T) {
	var late atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	r := newEncryptionRig(t, testbed.Store(t), nil)
	replica := newRig(t, r.store, options{kit: r, tls: true, proxy: func(c *proxy.Config) { c.Now = now }})
	encryptions["none"].wantShown(t, "before", replica.ask(t, "PUT", "key", []byte("x")).Header)
	testbed.Must(r.client.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{
		Bucket: &r.bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms"},
		}}},
	}))(t)
	late.Store(int64(31 * time.Second))
	encryptions["SSE-KMS"].wantShown(t, "after", replica.ask(t, "PUT", "key", []byte("x")).Header)
	testbed.Must(r.client.DeleteBucketEncryption(t.Context(), &s3.DeleteBucketEncryptionInput{Bucket: &r.bucket}))(t)
	late.Store(int64(62 * time.Second))
	encryptions["none"].wantShown(t, "after its deletion", replica.ask(t, "PUT", "key", []byte("x")).Header)
}

// TestCustomerKeyIsNotLogged: neither where it is used nor where it is refused.
func TestCustomerKeyIsNotLogged(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), nil)
	h := encryptions["SSE-C"].headers(encryptionName)
	r.ask(t, "PUT", "key", []byte("x"), h)
	r.ask(t, "GET", "key", nil, h)
	r.ask(t, "GET", "key", nil, encryptions["another SSE-C"].headers(encryptionName))
	r.ask(t, "PUT", "key", []byte("x"), but(h, encryptionName+"-Customer-Algorithm", "AES128"))
	lines := r.logs.All()
	if len(lines) != 4 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		text := fmt.Sprint(line.Message, line.ContextMap())
		for _, secret := range []string{string(customer('a')), base64.StdEncoding.EncodeToString(customer('a')), base64.StdEncoding.EncodeToString(customer('b')), customerMD5(customer('a'))} {
			if strings.Contains(text, secret) {
				t.Errorf("a customer's key in %s", text)
			}
		}
	}
}

// TestCompleteWithCustomerKeyAgain: what a Complete has made is known again by the customer's key; without it nothing tells.
func TestCompleteWithCustomerKeyAgain(t *testing.T) {
	r := newEncryptionRig(t, testbed.Store(t), nil)
	e := encryptions["SSE-C"]
	secret, sum := ptr(base64.StdEncoding.EncodeToString(e.customer)), ptr(customerMD5(e.customer))
	id := r.startUpload(t, "key", s3.CreateMultipartUploadInput{SSECustomerAlgorithm: ptr("AES256"), SSECustomerKey: secret, SSECustomerKeyMD5: sum})
	part := testbed.Must(r.client.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: &r.bucket, Key: ptr("key"), UploadId: &id, PartNumber: ptr(int32(1)), Body: strings.NewReader("x"),
		SSECustomerAlgorithm: ptr("AES256"), SSECustomerKey: secret, SSECustomerKeyMD5: sum,
	}))(t)
	parts := []types.CompletedPart{{PartNumber: ptr(int32(1)), ETag: part.ETag}}
	testbed.Must(r.complete(t, "key", id, parts...))(t)
	_, err := r.complete(t, "key", id, parts...)
	wantCode(t, err, "NoSuchUpload")
	testbed.Must(r.client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &r.bucket, Key: ptr("key"), UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		SSECustomerAlgorithm: ptr("AES256"), SSECustomerKey: secret, SSECustomerKeyMD5: sum,
	}))(t)
	if got := r.ask(t, http.MethodGet, "key", nil, e.headers(encryptionName)); string(testbed.ReadBody(t, got.Body)) != "x" {
		t.Errorf("the object is %s", got.Status)
	}
}
