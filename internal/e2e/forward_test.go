package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sseproxy/sseproxy/internal/proxy"
	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestLikeTheStore: what is passed on has the outcome that it has at the store itself: result, or code of the error.
func TestLikeTheStore(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		straight := testbed.Bucket(t, store)
		for _, c := range []struct {
			client *s3.Client
			bucket string
		}{{r.client, r.bucket}, {r.direct, straight}} {
			testbed.Must(c.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &c.bucket, Key: ptr("key"), Body: strings.NewReader("body")}))(t)
		}
		supported := 0
		for _, op := range passed(t) {
			r.wire.Reset()
			got, want := op.outcome(r.client, r.bucket), op.outcome(r.direct, straight)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", op.name, diff)
			}
			if strings.HasPrefix(want, "{") {
				supported++
			}
			signers := signersOf(r.wire.Requests())
			if op.name == "DeleteBucket" && len(signers) > 0 {
				signers = signers[:1] // then it looks for what keeps the bucket
			}
			if len(signers) != 1 || signers[0] != store.AccessKeyID {
				t.Errorf("%s: signed by %q", op.name, signers)
			}
		}
		if supported < 15 {
			t.Errorf("the store supports %d of these operations: too few to say anything", supported)
		}
		buckets := testbed.Must(r.client.ListBuckets(t.Context(), nil))(t)
		if direct := testbed.Must(r.direct.ListBuckets(t.Context(), nil))(t); len(buckets.Buckets) != len(direct.Buckets) || len(buckets.Buckets) < 2 {
			t.Errorf("%d buckets, the store has %d", len(buckets.Buckets), len(direct.Buckets))
		}
	})
}

// TestBucketLife: a bucket made, found and removed through the proxy.
func TestBucketLife(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		name := ptr(r.bucket + "-2")
		made := testbed.Must(r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{
			Bucket: name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(store.Region)},
		}))(t)
		if made.Location != nil && strings.Contains(*made.Location, "//") {
			t.Errorf("the client is led to %s", *made.Location)
		}
		testbed.Must(r.client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: name}))(t)
		testbed.Must(r.direct.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: name}))(t)
		_, err := r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: name})
		if statusOf(err) != http.StatusConflict && statusOf(err) != http.StatusBadRequest {
			t.Errorf("made twice: %v", err)
		}
		testbed.Must(r.client.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: name}))(t)
		if _, err := r.client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: name}); statusOf(err) != http.StatusNotFound {
			t.Errorf("removed: %v", err)
		}
	})
}

// TestBucketRegion: clients that ask for a bucket's region sign for what they hear. It is the proxy's, wherever the store is.
func TestBucketRegion(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		for front, location := range map[string]types.BucketLocationConstraint{"us-east-1": "", "eu-west-1": "eu-west-1"} {
			if front == store.Region {
				t.Fatalf("the store is in %s, too", front)
			}
			r := newRig(t, store, options{proxy: func(c *proxy.Config) { c.Region = front }})
			c := testbed.S3Client(t, r.url, accessKey, secretKey, front)
			found := testbed.Must(c.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: &r.bucket}))(t)
			if found.LocationConstraint != location {
				t.Errorf("%s: the location is %q", front, found.LocationConstraint)
			}
			head := testbed.Must(c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &r.bucket}))(t)
			if aws.ToString(head.BucketRegion) != front {
				t.Errorf("%s: the region is %q", front, aws.ToString(head.BucketRegion))
			}
			_, err := c.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: ptr(r.bucket + "-none")})
			wantCode(t, err, "NoSuchBucket")
		}
	})
}

// passing is an operation that goes to the store as it is.
type passing struct {
	name string
	do   func(c *s3.Client, bucket *string) (any, error)
}

// outcome is the result of an operation, or the error's code.
func (p passing) outcome(c *s3.Client, bucket string) string {
	out, err := p.do(c, &bucket)
	var api smithy.APIError
	if err != nil {
		if errors.As(err, &api) {
			return api.ErrorCode()
		}
		return err.Error()
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err.Error()
	}
	return strings.NewReplacer(bucket, "bucket", c.Options().Region, "region").Replace(string(b))
}

func tags(key, value string) *types.Tagging {
	return &types.Tagging{TagSet: []types.Tag{{Key: &key, Value: &value}}}
}

func bucketPolicy(bucket string) *string {
	return ptr(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::` + bucket + `/*"]}]}`)
}

func lifecycle() *types.BucketLifecycleConfiguration {
	return &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
		ID: ptr("old"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: ptr("tmp/")},
		Expiration: &types.LifecycleExpiration{Days: ptr(int32(30))},
	}}}
}

// passed lists operations in an order in which each finds what those before it have left.
func passed(t *testing.T) []passing {
	key := ptr("key")
	return []passing{
		{"HeadBucket", func(c *s3.Client, b *string) (any, error) {
			return c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: b})
		}},
		{"GetBucketVersioning", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: b})
		}},
		{"PutBucketVersioning", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: b, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		}},
		{"GetBucketVersioning", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: b})
		}},
		{"GetBucketTagging", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketTagging(t.Context(), &s3.GetBucketTaggingInput{Bucket: b})
		}},
		{"PutBucketTagging", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketTagging(t.Context(), &s3.PutBucketTaggingInput{Bucket: b, Tagging: tags("a", "b & <c>")})
		}},
		{"GetBucketTagging", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketTagging(t.Context(), &s3.GetBucketTaggingInput{Bucket: b})
		}},
		{"DeleteBucketTagging", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteBucketTagging(t.Context(), &s3.DeleteBucketTaggingInput{Bucket: b})
		}},
		{"GetBucketTagging", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketTagging(t.Context(), &s3.GetBucketTaggingInput{Bucket: b})
		}},
		{"GetBucketPolicy", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: b})
		}},
		{"PutBucketPolicy", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: b, Policy: bucketPolicy(*b)})
		}},
		{"GetBucketPolicy", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: b})
		}},
		{"GetBucketPolicyStatus", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketPolicyStatus(t.Context(), &s3.GetBucketPolicyStatusInput{Bucket: b})
		}},
		{"DeleteBucketPolicy", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteBucketPolicy(t.Context(), &s3.DeleteBucketPolicyInput{Bucket: b})
		}},
		{"GetBucketPolicy", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: b})
		}},
		{"PutBucketPolicy", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: b, Policy: ptr("not a policy")})
		}},
		{"GetBucketCors", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketCors(t.Context(), &s3.GetBucketCorsInput{Bucket: b})
		}},
		{"PutBucketCors", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketCors(t.Context(), &s3.PutBucketCorsInput{Bucket: b, CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{AllowedMethods: []string{"GET"}, AllowedOrigins: []string{"*"}}}}})
		}},
		{"GetBucketCors", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketCors(t.Context(), &s3.GetBucketCorsInput{Bucket: b})
		}},
		{"DeleteBucketCors", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteBucketCors(t.Context(), &s3.DeleteBucketCorsInput{Bucket: b})
		}},
		{"GetBucketLifecycleConfiguration", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketLifecycleConfiguration(t.Context(), &s3.GetBucketLifecycleConfigurationInput{Bucket: b})
		}},
		{"PutBucketLifecycleConfiguration", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketLifecycleConfiguration(t.Context(), &s3.PutBucketLifecycleConfigurationInput{Bucket: b, LifecycleConfiguration: lifecycle()})
		}},
		{"GetBucketLifecycleConfiguration", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketLifecycleConfiguration(t.Context(), &s3.GetBucketLifecycleConfigurationInput{Bucket: b})
		}},
		{"DeleteBucketLifecycle", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteBucketLifecycle(t.Context(), &s3.DeleteBucketLifecycleInput{Bucket: b})
		}},
		{"GetBucketAcl", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketAcl(t.Context(), &s3.GetBucketAclInput{Bucket: b})
		}},
		{"PutBucketAcl", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketAcl(t.Context(), &s3.PutBucketAclInput{Bucket: b, ACL: types.BucketCannedACLPrivate})
		}},
		{"GetBucketOwnershipControls", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketOwnershipControls(t.Context(), &s3.GetBucketOwnershipControlsInput{Bucket: b})
		}},
		{"PutBucketOwnershipControls", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketOwnershipControls(t.Context(), &s3.PutBucketOwnershipControlsInput{Bucket: b, OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipBucketOwnerPreferred}}}})
		}},
		{"GetBucketOwnershipControls", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketOwnershipControls(t.Context(), &s3.GetBucketOwnershipControlsInput{Bucket: b})
		}},
		{"PutBucketAcl", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketAcl(t.Context(), &s3.PutBucketAclInput{Bucket: b, ACL: types.BucketCannedACLPrivate})
		}},
		{"DeleteBucketOwnershipControls", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteBucketOwnershipControls(t.Context(), &s3.DeleteBucketOwnershipControlsInput{Bucket: b})
		}},
		{"GetPublicAccessBlock", func(c *s3.Client, b *string) (any, error) {
			return c.GetPublicAccessBlock(t.Context(), &s3.GetPublicAccessBlockInput{Bucket: b})
		}},
		{"PutPublicAccessBlock", func(c *s3.Client, b *string) (any, error) {
			return c.PutPublicAccessBlock(t.Context(), &s3.PutPublicAccessBlockInput{Bucket: b, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{BlockPublicAcls: ptr(true)}})
		}},
		{"DeletePublicAccessBlock", func(c *s3.Client, b *string) (any, error) {
			return c.DeletePublicAccessBlock(t.Context(), &s3.DeletePublicAccessBlockInput{Bucket: b})
		}},
		{"GetBucketWebsite", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketWebsite(t.Context(), &s3.GetBucketWebsiteInput{Bucket: b})
		}},
		{"PutBucketWebsite", func(c *s3.Client, b *string) (any, error) {
			return c.PutBucketWebsite(t.Context(), &s3.PutBucketWebsiteInput{Bucket: b, WebsiteConfiguration: &types.WebsiteConfiguration{IndexDocument: &types.IndexDocument{Suffix: ptr("index.html")}}})
		}},
		{"DeleteBucketWebsite", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteBucketWebsite(t.Context(), &s3.DeleteBucketWebsiteInput{Bucket: b})
		}},
		{"GetBucketNotificationConfiguration", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketNotificationConfiguration(t.Context(), &s3.GetBucketNotificationConfigurationInput{Bucket: b})
		}},
		{"GetBucketReplication", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketReplication(t.Context(), &s3.GetBucketReplicationInput{Bucket: b})
		}},
		{"GetBucketLogging", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketLogging(t.Context(), &s3.GetBucketLoggingInput{Bucket: b})
		}},
		{"GetBucketAccelerateConfiguration", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketAccelerateConfiguration(t.Context(), &s3.GetBucketAccelerateConfigurationInput{Bucket: b})
		}},
		{"GetBucketRequestPayment", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketRequestPayment(t.Context(), &s3.GetBucketRequestPaymentInput{Bucket: b})
		}},
		{"GetObjectLockConfiguration", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectLockConfiguration(t.Context(), &s3.GetObjectLockConfigurationInput{Bucket: b})
		}},
		{"ListBucketInventoryConfigurations", func(c *s3.Client, b *string) (any, error) {
			return c.ListBucketInventoryConfigurations(t.Context(), &s3.ListBucketInventoryConfigurationsInput{Bucket: b})
		}},
		{"ListBucketMetricsConfigurations", func(c *s3.Client, b *string) (any, error) {
			return c.ListBucketMetricsConfigurations(t.Context(), &s3.ListBucketMetricsConfigurationsInput{Bucket: b})
		}},
		{"ListBucketAnalyticsConfigurations", func(c *s3.Client, b *string) (any, error) {
			return c.ListBucketAnalyticsConfigurations(t.Context(), &s3.ListBucketAnalyticsConfigurationsInput{Bucket: b})
		}},
		{"ListBucketIntelligentTieringConfigurations", func(c *s3.Client, b *string) (any, error) {
			return c.ListBucketIntelligentTieringConfigurations(t.Context(), &s3.ListBucketIntelligentTieringConfigurationsInput{Bucket: b})
		}},
		{"GetBucketInventoryConfiguration", func(c *s3.Client, b *string) (any, error) {
			return c.GetBucketInventoryConfiguration(t.Context(), &s3.GetBucketInventoryConfigurationInput{Bucket: b, Id: ptr("x")})
		}},
		{"GetObjectAcl", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectAcl(t.Context(), &s3.GetObjectAclInput{Bucket: b, Key: key})
		}},
		{"PutObjectAcl", func(c *s3.Client, b *string) (any, error) {
			return c.PutObjectAcl(t.Context(), &s3.PutObjectAclInput{Bucket: b, Key: key, ACL: types.ObjectCannedACLPrivate})
		}},
		{"GetObjectTagging", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: b, Key: key})
		}},
		{"PutObjectTagging", func(c *s3.Client, b *string) (any, error) {
			return c.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: b, Key: key, Tagging: tags("k", "v")})
		}},
		{"GetObjectTagging", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: b, Key: key})
		}},
		{"PutObjectTagging", func(c *s3.Client, b *string) (any, error) {
			return c.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: b, Key: key, Tagging: tags(strings.Repeat("k", 200), "v")})
		}},
		{"DeleteObjectTagging", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteObjectTagging(t.Context(), &s3.DeleteObjectTaggingInput{Bucket: b, Key: key})
		}},
		{"GetObjectTagging", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: b, Key: key})
		}},
		{"GetObjectTagging", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: b, Key: ptr("none")})
		}},
		{"GetObjectLegalHold", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectLegalHold(t.Context(), &s3.GetObjectLegalHoldInput{Bucket: b, Key: key})
		}},
		{"PutObjectLegalHold", func(c *s3.Client, b *string) (any, error) {
			return c.PutObjectLegalHold(t.Context(), &s3.PutObjectLegalHoldInput{Bucket: b, Key: key, LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}})
		}},
		{"GetObjectRetention", func(c *s3.Client, b *string) (any, error) {
			return c.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: b, Key: key})
		}},
		{"DeleteBucket", func(c *s3.Client, b *string) (any, error) {
			return c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: b})
		}},
	}
}

// TestUnknownToTheStore: a store that does not know a sub-resource lists the bucket; its sizes and the proxy's keys do not go out.
func TestUnknownToTheStore(t *testing.T) {
	testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
		r := newRig(t, store, options{})
		r.startUpload(t, "upload", s3.CreateMultipartUploadInput{})
		for _, query := range []string{"abac", "metadataConfiguration", "metadataTable"} {
			a := r.send(t, message{method: http.MethodGet, target: "/" + r.bucket + "?" + query, hash: sha256hex(""), header: map[string]string{}})
			if a.status != http.StatusNotImplemented || a.Code != "NotImplemented" || bytes.Contains(a.body, []byte("sseproxy/")) {
				t.Errorf("%s: %d %s", query, a.status, a.body)
			}
		}
	})
}
