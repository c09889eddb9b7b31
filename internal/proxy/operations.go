package proxy

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sseproxy/sseproxy/internal/policy"
)

// treatment is what the proxy does with an operation.
type treatment string

const (
	seal    treatment = "seal"    // the body is sealed on its way to the store
	open    treatment = "open"    // the body, or its length, is opened on its way back
	rewrite treatment = "rewrite" // forwarded; sizes, ETags or conditions are put in the other side's terms
	pass    treatment = "pass"    // forwarded and signed again
	answer  treatment = "answer"  // answered by the proxy alone
	refuse  treatment = "refuse"  // 501 NotImplemented
)

// operation is a row of the table.
type operation struct {
	name      string // in S3's service model
	method    string
	level     level
	keys      string // what tells it from others with this method and level: query keys and routingHeaders, in order
	treatment treatment
	action    policy.Action                // what the operator's policy must permit: see authorize
	handle    func(*Proxy, *request) error // nil exactly when it is refused
	params    nameSet                      // further query parameters that it takes
	headers   nameSet                      // request headers, besides the common ones, that go to the store
	remark    string                       // what the store learns, or what differs from S3
}

// nothing is permitted to everybody: what is refused anyway, and what nobody signs.
const nothing policy.Action = ""

// routingHeaders stand among an operation's keys: with them in the request it is another operation.
var routingHeaders = []string{"x-amz-copy-source", "x-amz-request-route"}

// idKey among an operation's keys: another row has the same ones, and only x-id=name in the query leads here.
const idKey = "x-id"

// Sets that rows share.
var (
	none = names("")

	version  = names("versionId")
	overlay  = names(overlayParams)
	next     = names("continuation-token")
	listV1   = names(listParams + " marker")
	listV2   = names(listParams + " continuation-token fetch-owner start-after")
	versions = names(listParams + " key-marker version-id-marker")

	access        = headerNames(accessHeaders)
	attributes    = headerNames("x-amz-optional-object-attributes")
	governance    = headerNames("x-amz-bypass-governance-retention")
	createHeaders = headerNames(createHeaderNames)
	lockToken     = headerNames("x-amz-bucket-object-lock-token")
)

const (
	listParams    = "delimiter encoding-type max-keys prefix"
	overlayParams = "versionId response-cache-control response-content-disposition response-content-encoding " +
		"response-content-language response-content-type response-expires"
	accessHeaders     = "x-amz-acl x-amz-grant-*"
	conditionHeaders  = "if-match if-modified-since if-none-match if-unmodified-since"
	createHeaderNames = "cache-control content-disposition content-encoding content-language expires " +
		"x-amz-meta-* x-amz-object-lock-legal-hold x-amz-object-lock-mode x-amz-object-lock-retain-until-date " +
		"x-amz-storage-class x-amz-tagging x-amz-website-redirect-location " + accessHeaders
	putHeaders = "if-match if-none-match " + createHeaderNames

	principal = "Speaks of the store's identities; the store sees the proxy, not the client."
	sealed    = "Reports sealed sizes and the store's ETags."
	onSealed  = "Would read the sealed bytes."
	express   = "Directory buckets only."
	noted     = "Annotations carry user data, which would not be sealed."
)

// operations lists every S3 operation and what the proxy does with it. A request that matches no row is refused.
var operations = []operation{
	// Objects whose bytes are sealed and opened.
	{"PutObject", "PUT", atObject, "", seal, policy.Write, (*Proxy).putObject, none, headerNames(putHeaders), "The store sees key, length, metadata and tags. Refused: x-amz-write-offset-bytes."},
	{"GetObject", "GET", atObject, "", open, policy.Read, (*Proxy).getObject, overlay, headerNames("if-range " + conditionHeaders), ""},
	{"HeadObject", "HEAD", atObject, "", open, policy.Read, (*Proxy).headObject, overlay, headerNames(conditionHeaders), ""},
	{"GetObject", "GET", atObject, "partNumber", open, policy.Read, (*Proxy).getPart, overlay, headerNames(conditionHeaders), "Parts are counted from 1."},
	{"HeadObject", "HEAD", atObject, "partNumber", open, policy.Read, (*Proxy).headPart, overlay, headerNames(conditionHeaders), "Parts are counted from 1."},
	{"PostObject", "POST", atBucket, "", seal, policy.Write, (*Proxy).postObject, none, createHeaders, "A browser's form; the store sees a PutObject. A file of more than 64 KiB must be the last field, and the form end with CRLF."},
	{"AppendObject", "POST", atObject, "append position", refuse, nothing, nil, none, none, "Not in S3: an extension of some stores."},
	{"AppendObject", "PUT", atObject, "append position", refuse, nothing, nil, none, none, "Not in S3: an extension of some stores."},

	// Copies and multipart uploads.
	{"CopyObject", "PUT", atObject, "x-amz-copy-source", seal, policy.Write, (*Proxy).copyObject, none, headerNames(putHeaders + " x-amz-tagging-directive"), "No body moves, but between one layer and two (aws:kms:dsse): the copy gets an envelope of its own. It keeps its parts and its checksum."},
	{"CreateMultipartUpload", "POST", atObject, "uploads", seal, policy.Write, (*Proxy).createMultipartUpload, none, createHeaders, "Its state is a small sealed object below the reserved prefix."},
	{"UploadPart", "PUT", atObject, "partNumber uploadId", seal, policy.Write, (*Proxy).uploadPart, none, none, "A part's ETag tells the attempt. The store sees lengths of parts."},
	{"UploadPartCopy", "PUT", atObject, "partNumber uploadId x-amz-copy-source", seal, policy.Write, (*Proxy).uploadPartCopy, none, none, "The body goes through the proxy. A source that is not sealed is refused."},
	{"CompleteMultipartUpload", "POST", atObject, "uploadId", rewrite, policy.Write, (*Proxy).completeMultipartUpload, none, headerNames("if-match if-none-match"), "The trailer goes to the store as part 10000."},
	{"AbortMultipartUpload", "DELETE", atObject, "uploadId", rewrite, policy.Write, (*Proxy).abortMultipartUpload, none, headerNames("x-amz-if-match-initiated-time"), ""},
	{"ListParts", "GET", atObject, "uploadId", rewrite, policy.Write, (*Proxy).listParts, names("encoding-type max-parts part-number-marker"), none, "ETags here do not tell the attempt."},
	{"ListMultipartUploads", "GET", atBucket, "uploads", pass, policy.List, (*Proxy).forward, names("delimiter encoding-type key-marker max-uploads prefix upload-id-marker"), none, ""},
	{"GetObjectAttributes", "GET", atObject, "attributes", open, policy.Read, (*Proxy).getObjectAttributes, version, none, "Of objects that are not sealed it is refused."},

	// Sizes, ETags and conditions.
	{"ListObjects", "GET", atBucket, "", rewrite, policy.List, (*Proxy).listObjects, listV1, attributes, "Checksum algorithms are left out."},
	{"ListObjectsV2", "GET", atBucket, "list-type", rewrite, policy.List, (*Proxy).listObjects, listV2, attributes, "Checksum algorithms are left out."},
	{"ListObjectVersions", "GET", atBucket, "versions", rewrite, policy.List, (*Proxy).listObjects, versions, attributes, "Checksum algorithms are left out."},
	{"DeleteObject", "DELETE", atObject, "", rewrite, policy.Delete, (*Proxy).deleteObject, version, headerNames("if-match x-amz-bypass-governance-retention x-amz-if-match-last-modified-time x-amz-mfa"), "Refused: x-amz-if-match-size."},
	{"DeleteObjects", "POST", atBucket, "delete", rewrite, policy.Delete, (*Proxy).deleteObjects, none, headerNames("x-amz-bypass-governance-retention x-amz-mfa"), "Refused: an expected Size. For a key that is the proxy's own, or denied by policy, the answer has an error."},

	// Objects, beside their bytes.
	{"GetObjectAcl", "GET", atObject, "acl", pass, policy.Read, (*Proxy).forward, version, none, ""},
	{"PutObjectAcl", "PUT", atObject, "acl", pass, policy.Administer, (*Proxy).forward, version, access, principal},
	{"GetObjectTagging", "GET", atObject, "tagging", pass, policy.Read, (*Proxy).forward, version, none, ""},
	{"PutObjectTagging", "PUT", atObject, "tagging", pass, policy.Write, (*Proxy).forward, version, none, "The store sees tags."},
	{"DeleteObjectTagging", "DELETE", atObject, "tagging", pass, policy.Write, (*Proxy).forward, version, none, ""},
	{"GetObjectLegalHold", "GET", atObject, "legal-hold", pass, policy.Read, (*Proxy).forward, version, none, ""},
	{"PutObjectLegalHold", "PUT", atObject, "legal-hold", pass, policy.Administer, (*Proxy).forward, version, none, ""},
	{"GetObjectRetention", "GET", atObject, "retention", pass, policy.Read, (*Proxy).forward, version, none, ""},
	{"PutObjectRetention", "PUT", atObject, "retention", pass, policy.Administer, (*Proxy).forward, version, governance, ""},
	{"RestoreObject", "POST", atObject, "restore", rewrite, policy.Write, (*Proxy).restoreObject, version, none, "Refused: a SELECT request, which would run on the sealed bytes."},
	{"UpdateObjectEncryption", "PUT", atObject, "encryption", rewrite, policy.Write, (*Proxy).updateObjectEncryption, version, none, "No body moves: the store copies the object onto itself, which makes a version where it keeps them, and resets its ACL. Refused: a versionId."},
	{"SelectObjectContent", "POST", atObject, "select select-type", refuse, nothing, nil, none, none, onSealed},
	{"GetObjectTorrent", "GET", atObject, "torrent", refuse, nothing, nil, none, none, onSealed},
	{"WriteGetObjectResponse", "POST", atBucket, "x-amz-request-route", refuse, nothing, nil, none, none, "Object Lambda would read the sealed bytes."},
	{"RenameObject", "PUT", atObject, "renameObject", refuse, nothing, nil, none, none, express + " An envelope is bound to its key."},
	{"PutObjectAnnotation", "PUT", atObject, "annotation annotationName", refuse, nothing, nil, none, none, noted},
	{"GetObjectAnnotation", "GET", atObject, "annotation annotationName", refuse, nothing, nil, none, none, noted},
	{"DeleteObjectAnnotation", "DELETE", atObject, "annotation annotationName", refuse, nothing, nil, none, none, noted},
	{"ListObjectAnnotations", "GET", atObject, "annotation", refuse, nothing, nil, none, none, noted},

	// Buckets.
	{"ListBuckets", "GET", atService, "", pass, policy.List, (*Proxy).forward, names("bucket-region continuation-token max-buckets prefix"), none, "The buckets that the proxy's credentials see."},
	{"ListDirectoryBuckets", "GET", atService, "x-id", refuse, nothing, nil, none, none, express},
	{"CreateSession", "GET", atBucket, "session", refuse, nothing, nil, none, none, express},
	{"CreateBucket", "PUT", atBucket, "", pass, policy.Administer, (*Proxy).forward, none, headerNames(accessHeaders + " x-amz-bucket-namespace x-amz-bucket-object-lock-enabled x-amz-object-ownership"), "The proxy's identity at the store owns it."},
	{"DeleteBucket", "DELETE", atBucket, "", rewrite, policy.Administer, (*Proxy).deleteBucket, none, none, "What uploads in progress keep in the bucket goes with it."},
	{"HeadBucket", "HEAD", atBucket, "", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"GetBucketLocation", "GET", atBucket, "location", rewrite, policy.Inspect, (*Proxy).bucketLocation, none, none, "The region that clients sign for."},
	{"GetBucketVersioning", "GET", atBucket, "versioning", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketVersioning", "PUT", atBucket, "versioning", pass, policy.Administer, (*Proxy).forward, none, headerNames("x-amz-mfa"), ""},
	{"GetBucketTagging", "GET", atBucket, "tagging", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketTagging", "PUT", atBucket, "tagging", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"DeleteBucketTagging", "DELETE", atBucket, "tagging", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"GetObjectLockConfiguration", "GET", atBucket, "object-lock", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutObjectLockConfiguration", "PUT", atBucket, "object-lock", pass, policy.Administer, (*Proxy).forward, none, lockToken, ""},
	{"GetBucketEncryption", "GET", atBucket, "encryption", answer, policy.Inspect, (*Proxy).getBucketEncryption, none, none, "The proxy's encryption, not the store's."},
	{"PutBucketEncryption", "PUT", atBucket, "encryption", answer, policy.Administer, (*Proxy).putBucketEncryption, none, none, "The proxy's encryption: a small sealed object below the reserved prefix. Other replicas know it within 30 seconds."},
	{"DeleteBucketEncryption", "DELETE", atBucket, "encryption", answer, policy.Administer, (*Proxy).deleteBucketEncryption, none, none, "The proxy's encryption, not the store's."},

	// Who may do what at the store.
	{"GetBucketAcl", "GET", atBucket, "acl", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketAcl", "PUT", atBucket, "acl", pass, policy.Administer, (*Proxy).forward, none, access, principal},
	{"GetBucketPolicy", "GET", atBucket, "policy", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketPolicy", "PUT", atBucket, "policy", pass, policy.Administer, (*Proxy).forward, none, headerNames("x-amz-confirm-remove-self-bucket-access"), principal},
	{"DeleteBucketPolicy", "DELETE", atBucket, "policy", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"GetBucketPolicyStatus", "GET", atBucket, "policyStatus", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"GetPublicAccessBlock", "GET", atBucket, "publicAccessBlock", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutPublicAccessBlock", "PUT", atBucket, "publicAccessBlock", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"DeletePublicAccessBlock", "DELETE", atBucket, "publicAccessBlock", pass, policy.Administer, (*Proxy).forward, none, none, "Who reads past the proxy gets sealed bytes."},
	{"GetBucketOwnershipControls", "GET", atBucket, "ownershipControls", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketOwnershipControls", "PUT", atBucket, "ownershipControls", pass, policy.Administer, (*Proxy).forward, none, none, principal},
	{"DeleteBucketOwnershipControls", "DELETE", atBucket, "ownershipControls", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"GetBucketAbac", "GET", atBucket, "abac", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketAbac", "PUT", atBucket, "abac", pass, policy.Administer, (*Proxy).forward, none, none, principal},

	// How the store serves, moves and reports on a bucket.
	{"GetBucketCors", "GET", atBucket, "cors", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketCors", "PUT", atBucket, "cors", pass, policy.Administer, (*Proxy).forward, none, none, "The store answers browsers by it, through the proxy."},
	{"DeleteBucketCors", "DELETE", atBucket, "cors", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"Preflight", "OPTIONS", atService, "", refuse, nothing, nil, none, none, "A bucket has a CORS configuration."},
	{"Preflight", "OPTIONS", atBucket, "", pass, nothing, (*Proxy).preflight, none, none, "Nobody signs it: the store answers by its own configuration, and hears what the browser would send."},
	{"Preflight", "OPTIONS", atObject, "", pass, nothing, (*Proxy).preflight, none, none, "Nobody signs it: the store answers by its own configuration, and hears what the browser would send."},
	{"GetBucketWebsite", "GET", atBucket, "website", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketWebsite", "PUT", atBucket, "website", pass, policy.Administer, (*Proxy).forward, none, none, "The store's website shows sealed bytes."},
	{"DeleteBucketWebsite", "DELETE", atBucket, "website", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"GetBucketLifecycleConfiguration", "GET", atBucket, "lifecycle", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketLifecycleConfiguration", "PUT", atBucket, "lifecycle", pass, policy.Administer, (*Proxy).forward, none, headerNames("x-amz-transition-default-minimum-object-size"), "Object sizes in its filters are sealed sizes; its rules reach what the proxy keeps in the bucket."},
	{"DeleteBucketLifecycle", "DELETE", atBucket, "lifecycle", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"GetBucketLifecycle", "GET", atBucket, "lifecycle x-id", pass, policy.Inspect, (*Proxy).forward, none, none, "Older form of GetBucketLifecycleConfiguration."},
	{"PutBucketLifecycle", "PUT", atBucket, "lifecycle x-id", pass, policy.Administer, (*Proxy).forward, none, none, "Older form of PutBucketLifecycleConfiguration."},
	{"GetBucketNotificationConfiguration", "GET", atBucket, "notification", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketNotificationConfiguration", "PUT", atBucket, "notification", pass, policy.Administer, (*Proxy).forward, none, headerNames("x-amz-skip-destination-validation"), sealed},
	{"GetBucketNotification", "GET", atBucket, "notification x-id", pass, policy.Inspect, (*Proxy).forward, none, none, "Older form of GetBucketNotificationConfiguration."},
	{"PutBucketNotification", "PUT", atBucket, "notification x-id", pass, policy.Administer, (*Proxy).forward, none, none, "Older form of PutBucketNotificationConfiguration."},
	{"GetBucketReplication", "GET", atBucket, "replication", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketReplication", "PUT", atBucket, "replication", pass, policy.Administer, (*Proxy).forward, none, lockToken, "Replicas are sealed, and bound to this bucket's name."},
	{"DeleteBucketReplication", "DELETE", atBucket, "replication", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"GetBucketLogging", "GET", atBucket, "logging", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketLogging", "PUT", atBucket, "logging", pass, policy.Administer, (*Proxy).forward, none, none, "Logs name the proxy as the requester. " + sealed},
	{"GetBucketAccelerateConfiguration", "GET", atBucket, "accelerate", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketAccelerateConfiguration", "PUT", atBucket, "accelerate", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"GetBucketRequestPayment", "GET", atBucket, "requestPayment", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketRequestPayment", "PUT", atBucket, "requestPayment", pass, policy.Administer, (*Proxy).forward, none, none, "The proxy's account is the requester."},
	{"GetBucketAnalyticsConfiguration", "GET", atBucket, "analytics id", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketAnalyticsConfiguration", "PUT", atBucket, "analytics id", pass, policy.Administer, (*Proxy).forward, none, none, sealed},
	{"DeleteBucketAnalyticsConfiguration", "DELETE", atBucket, "analytics id", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"ListBucketAnalyticsConfigurations", "GET", atBucket, "analytics", pass, policy.Inspect, (*Proxy).forward, next, none, ""},
	{"GetBucketIntelligentTieringConfiguration", "GET", atBucket, "id intelligent-tiering", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketIntelligentTieringConfiguration", "PUT", atBucket, "id intelligent-tiering", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"DeleteBucketIntelligentTieringConfiguration", "DELETE", atBucket, "id intelligent-tiering", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"ListBucketIntelligentTieringConfigurations", "GET", atBucket, "intelligent-tiering", pass, policy.Inspect, (*Proxy).forward, next, none, ""},
	{"GetBucketInventoryConfiguration", "GET", atBucket, "id inventory", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketInventoryConfiguration", "PUT", atBucket, "id inventory", pass, policy.Administer, (*Proxy).forward, none, none, sealed},
	{"DeleteBucketInventoryConfiguration", "DELETE", atBucket, "id inventory", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"ListBucketInventoryConfigurations", "GET", atBucket, "inventory", pass, policy.Inspect, (*Proxy).forward, next, none, ""},
	{"GetBucketMetricsConfiguration", "GET", atBucket, "id metrics", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"PutBucketMetricsConfiguration", "PUT", atBucket, "id metrics", pass, policy.Administer, (*Proxy).forward, none, none, sealed},
	{"DeleteBucketMetricsConfiguration", "DELETE", atBucket, "id metrics", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"ListBucketMetricsConfigurations", "GET", atBucket, "metrics", pass, policy.Inspect, (*Proxy).forward, next, none, ""},
	{"CreateBucketMetadataConfiguration", "POST", atBucket, "metadataConfiguration", pass, policy.Administer, (*Proxy).forward, none, none, sealed},
	{"GetBucketMetadataConfiguration", "GET", atBucket, "metadataConfiguration", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"DeleteBucketMetadataConfiguration", "DELETE", atBucket, "metadataConfiguration", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"CreateBucketMetadataTableConfiguration", "POST", atBucket, "metadataTable", pass, policy.Administer, (*Proxy).forward, none, none, sealed},
	{"GetBucketMetadataTableConfiguration", "GET", atBucket, "metadataTable", pass, policy.Inspect, (*Proxy).forward, none, none, ""},
	{"DeleteBucketMetadataTableConfiguration", "DELETE", atBucket, "metadataTable", pass, policy.Administer, (*Proxy).forward, none, none, ""},
	{"UpdateBucketMetadataInventoryTableConfiguration", "PUT", atBucket, "metadataInventoryTable", pass, policy.Administer, (*Proxy).forward, none, none, sealed},
	{"UpdateBucketMetadataJournalTableConfiguration", "PUT", atBucket, "metadataJournalTable", pass, policy.Administer, (*Proxy).forward, none, none, sealed},
	{"UpdateBucketMetadataAnnotationTableConfiguration", "PUT", atBucket, "metadataAnnotationTable", pass, policy.Administer, (*Proxy).forward, none, none, "There are no annotations to report."},
}

// route is what a request is looked up by. Exactly one row has it, or none.
type route struct {
	method string
	level  level
	keys   string // without idKey
	id     string // the value of x-id
}

var (
	routes      = indexOperations(operations)
	routingKeys = collectKeys(operations)
)

// indexOperations makes the table searchable: each row by its route with x-id and, unless it has idKey, without.
func indexOperations(table []operation) map[route]*operation {
	index := make(map[route]*operation)
	add := func(r route, op *operation) {
		if index[r] != nil {
			panic(fmt.Sprintf("proxy: operations %s and %s have the same route", index[r].name, op.name))
		}
		index[r] = op
	}
	for i := range table {
		op := &table[i]
		keys := strings.Fields(op.keys)
		if !slices.IsSorted(keys) {
			panic("proxy: keys of operation " + op.name + " are out of order")
		}
		unnamed := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key == idKey })
		r := route{op.method, op.level, strings.Join(unnamed, " "), ""}
		if len(unnamed) == len(keys) {
			add(r, op)
		}
		r.id = op.name
		add(r, op)
	}
	return index
}

// collectKeys returns every query key that tells operations apart.
func collectKeys(table []operation) map[string]bool {
	keys := make(map[string]bool)
	for _, op := range table {
		for key := range strings.FieldsSeq(op.keys) {
			keys[key] = key != idKey && !slices.Contains(routingHeaders, key)
		}
	}
	return keys
}

// classify finds the operation that a verified request asks for: query and header are as sigv4.Request has them,
// without what authenticates and what declares the payload, and with the x-amz-* parameters of a presigned query as
// headers. It is an allow-list: with an unknown sub-resource, parameter or x-amz-* header a request is refused, because
// it may carry data that would reach the store in the clear.
//
// The error is an *apiError; the operation is returned along with it where it is known.
func classify(method string, lv level, query url.Values, header http.Header) (*operation, error) {
	op, err := lookUp(method, lv, query, header)
	if err != nil {
		return nil, err
	}
	if op.treatment == refuse {
		return op, newError("NotImplemented", "The proxy does not implement "+op.name+".")
	}
	if err := op.checkQuery(query); err != nil {
		return op, err
	}
	return op, op.checkHeaders(header)
}

// lookUp routes a request by exact match.
func lookUp(method string, lv level, query url.Values, header http.Header) (*operation, error) {
	var keys []string
	for key, values := range query {
		if !routingKeys[key] && key != idKey {
			continue
		}
		if len(values) != 1 {
			return nil, repeatedParam(key)
		}
		if key != idKey {
			keys = append(keys, key)
		}
	}
	for _, name := range routingHeaders {
		if _, ok := header[http.CanonicalHeaderKey(name)]; ok {
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	r := route{method, lv, strings.Join(keys, " "), query.Get(idKey)}
	if op := routes[r]; op != nil {
		return op, nil
	}
	if r.id != "" {
		r.id = ""
		if op := routes[r]; op != nil {
			return nil, newError("InvalidArgument", "x-id does not name the operation that the request asks for.",
				errorField{"ArgumentName", idKey}, errorField{"ArgumentValue", query.Get(idKey)})
		}
	}
	if allowed := allowedMethods(r); len(allowed) > 0 {
		e := newError("MethodNotAllowed", "The specified method is not allowed against this resource.",
			errorField{"Method", method}, errorField{"ResourceType", lv.String()})
		e.Header = http.Header{"Allow": {strings.Join(allowed, ", ")}}
		return nil, e
	}
	return nil, newError("NotImplemented", "The proxy does not know this operation.")
}

// allowedMethods returns the methods that some operation has on a route's resource.
func allowedMethods(r route) []string {
	var methods []string
	for _, r.method = range []string{"DELETE", "GET", "HEAD", "POST", "PUT"} {
		if routes[r] != nil {
			methods = append(methods, r.method)
		}
	}
	return methods
}

// checkQuery refuses a parameter that the operation does not take, and one that is there twice: proxy and store might
// not read the same one.
func (op *operation) checkQuery(query url.Values) error {
	for key, values := range query {
		switch {
		case routingKeys[key] || key == idKey:
		case !op.params.has(key):
			return newError("NotImplemented", op.name+" does not take this query parameter.",
				errorField{"ArgumentName", key})
		case len(values) != 1:
			return repeatedParam(key)
		}
	}
	if query.Has("list-type") && query.Get("list-type") != "2" {
		return newError("InvalidArgument", "Invalid List Type specified in Request", errorField{"ArgumentName", "list-type"},
			errorField{"ArgumentValue", query.Get("list-type")})
	}
	return nil
}

// checkHeaders refuses x-amz-* headers that are not known to be harmless. x-minio-* are MinIO's extensions, and so is
// the metadata that asks it to unpack a body, which it could not do with a sealed one.
func (op *operation) checkHeaders(header http.Header) error {
	for name, values := range header {
		name = http.CanonicalHeaderKey(name)
		switch {
		case !strings.HasPrefix(name, "X-Amz-") && !strings.HasPrefix(name, "X-Minio-"):
		case name == reservedMetadata:
			return newError("InvalidArgument", "This metadata name is reserved for the proxy.",
				errorField{"ArgumentName", strings.ToLower(name)})
		case name == encryptionHeader && answeredHeaders[op.name].has(customerAlgorithmHeader) && !answeredHeaders[op.name].has(name):
			return newError("InvalidArgument", "x-amz-server-side-encryption header is not supported for this operation.",
				errorField{"ArgumentName", strings.ToLower(name)}, errorField{"ArgumentValue", strings.Join(values, ",")})
		case strings.Contains(name, "-Server-Side-Encryption") && len(values) != 1:
			return newError("InvalidArgument", "A header must not be given twice.", errorField{"ArgumentName", strings.ToLower(name)})
		case answeredHeaders[op.name].has(name):
		case name == "X-Amz-Meta-Snowball-Auto-Extract", !ignoredHeaders.has(name) && !commonHeaders.has(name) && !op.headers.has(name):
			return newError("NotImplemented", "A header you provided implies functionality that is not implemented",
				errorField{"Header", strings.ToLower(name)})
		}
	}
	return nil
}

func repeatedParam(key string) *apiError {
	return newError("InvalidArgument", "A query parameter must not be given twice.", errorField{"ArgumentName", key})
}

// versionOnly returns the parameter that tells which version of an object is meant, if there is one.
func versionOnly(query url.Values) url.Values {
	if !query.Has("versionId") {
		return nil
	}
	return url.Values{"versionId": query["versionId"]}
}

// storeQuery returns the parameters of a classified request that go to the store: all but x-id.
func storeQuery(query url.Values) url.Values {
	out := maps.Clone(query)
	delete(out, idKey)
	return out
}
