package e2e_test

import (
	"strings"
	"testing"
)

// bucketProbes: buckets and their settings.
func bucketProbes(*testing.T) []probe {
	var probes []probe
	add := func(p ...probe) { probes = append(probes, p...) }
	const ns = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`
	add(put("key", "body of key"), head(""), get("?location"), get("@/").as("ListBuckets"),
		get("@/?max-buckets=1").as("ListBuckets 1"), get("@/?max-buckets=0"), get("@/?max-buckets=nonsense"),
		get("@/?prefix=none-such"), get("@/?unknown=x"), head("@/"), put("@/", ""), del("@/"), post("@/", ""))
	location := "<CreateBucketConfiguration" + ns + "><LocationConstraint>{{region}}</LocationConstraint></CreateBucketConfiguration>"
	for _, name := range []string{
		"{{bucket}}", "{{bucket}}-2", "{{bucket}}-2", "ab", "abc_def", "ABC", "-abc", "abc-", "a..b",
		"192.168.1.1", "xn--{{bucket}}", "{{bucket}}.-d", strings.Repeat("a", 64), "abc%20d", "abc%2Fd", "sthree-{{bucket}}",
		"{{bucket}}-s3alias", ".abc",
	} {
		add(put("@/"+name, location).as("CreateBucket "+name), head("@/"+name).as("HeadBucket "+name))
		if name != "{{bucket}}" && !strings.HasSuffix(name, "-2") {
			add(del("@/" + name))
		}
	}
	add(del("@/{{bucket}}-2").as("DeleteBucket"), del("@/{{bucket}}-2").as("DeleteBucket again"),
		del("").as("DeleteBucket with an object"), del("@/none-such-bucket"), del("@/ab"))
	for _, p := range []probe{
		put("@/{{bucket}}-3", ""), put("@/{{bucket}}-3", "nonsense"), put("@/{{bucket}}-3", "<Other/>"),
		put("@/{{bucket}}-3", strings.ReplaceAll(location, "{{region}}", "nowhere")),
		put("@/{{bucket}}-3", strings.ReplaceAll(location, "{{region}}", "")),
		put("@/{{bucket}}-3", location, "X-Amz-Acl: private"),
		put("@/{{bucket}}-3", location, "X-Amz-Acl: public-read"), put("@/{{bucket}}-3", location, "X-Amz-Acl: nonsense"),
		put("@/{{bucket}}-3", location, "X-Amz-Bucket-Object-Lock-Enabled: true"),
		put("@/{{bucket}}-3", location, "X-Amz-Bucket-Object-Lock-Enabled: nonsense"),
		put("@/{{bucket}}-3", location, "X-Amz-Object-Ownership: BucketOwnerEnforced"),
		put("@/{{bucket}}-3", location, "X-Amz-Object-Ownership: nonsense"),
		put("@/{{bucket}}-3", location, "X-Amz-Grant-Read: nonsense"), put("@/{{bucket}}-3", location, "X-Amz-Unknown: x"),
		put("@/{{bucket}}-3", location, "X-Amz-Bucket-Namespace: global"), put("@/{{bucket}}-3/", location),
		put("@/{{bucket}}-3?x-id=CreateBucket", location),
	} {
		add(p, get("@/{{bucket}}-3?object-lock").after(p.name), get("@/{{bucket}}-3?acl").after(p.name),
			del("@/{{bucket}}-3").quietly())
	}
	set := func(what string, bodies ...string) {
		add(get("?" + what))
		for _, body := range append(bodies, "", "nonsense", "<Other/>", "<Other>") {
			add(put("?"+what, body, "Content-MD5: {{md5}}").as("PUT ?"+what+"; "+shorten(body, 300)), get("?"+what))
		}
		add(put("?"+what, "<x/>", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==").as("PUT ?"+what+" wrong digest"),
			put("?"+what, bodies[0]).as("PUT ?"+what+" no digest"), get("?"+what),
			put("@/none-such-bucket?"+what, bodies[0], "Content-MD5: {{md5}}").as("PUT none-such-bucket ?"+what),
			del("@/none-such-bucket").quietly(), // a store may have made it
			get("@/none-such-bucket?"+what),
			del("?"+what), get("?"+what), post("?"+what, "x"), head("?"+what), get("?"+what+"&"+what), get("?"+what+"=x"),
			get("?"+what+"&unknown=x"))
	}
	tag := func(s string) string { return "<Tagging" + ns + "><TagSet>" + s + "</TagSet></Tagging>" }
	kv := func(k, v string) string { return "<Tag><Key>" + k + "</Key><Value>" + v + "</Value></Tag>" }
	tags := []string{
		tag(kv("a", "b &amp; &lt;c&gt; ü")), tag(""), tag(kv("", "v")), tag(kv("k", "")),
		tag(kv("a", "1") + kv("a", "2")), tag(kv(strings.Repeat("k", 129), "v")), tag(kv("k", strings.Repeat("v", 257))),
		tag(kv("aws:k", "v")), tag("<Tag><Key>k</Key></Tag>"), tag(strings.Repeat(kv("k", "v"), 51)), tag(kv("k?", "v*")),
		"<Tagging/>",
	}
	set("tagging", tags...)
	set("versioning", "<VersioningConfiguration"+ns+"/>")
	set("policy",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::{{bucket}}/*"]}]}`,
		`{"Version":"2012-10-17","Statement":[]}`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::other/*"}]}`,
		`{}`, `{"Statement":[{"Effect":"Nonsense","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::{{bucket}}"}]}`)
	set("policyStatus", "<x/>")
	set("cors",
		"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
		"<CORSConfiguration/>",
		"<CORSConfiguration><CORSRule><AllowedMethod>NONSENSE</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>")
	set("lifecycle",
		"<LifecycleConfiguration"+ns+"><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix>tmp/</Prefix></Filter><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>",
		"<LifecycleConfiguration/>",
		"<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Days>0</Days></Expiration></Rule></LifecycleConfiguration>")
	set("acl",
		"<AccessControlPolicy"+ns+`><Owner><ID>x</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>x</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`)
	add(put("?acl", "", "X-Amz-Acl: private"), put("?acl", "", "X-Amz-Acl: public-read"), put("?acl", "", "X-Amz-Acl: nonsense"),
		get("?acl"))
	set("ownershipControls",
		"<OwnershipControls"+ns+"><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>",
		"<OwnershipControls><Rule><ObjectOwnership>nonsense</ObjectOwnership></Rule></OwnershipControls>")
	set("publicAccessBlock",
		"<PublicAccessBlockConfiguration"+ns+"><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>")
	set("website", "<WebsiteConfiguration"+ns+"><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>")
	set("object-lock", "<ObjectLockConfiguration"+ns+"><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")
	set("notification", "<NotificationConfiguration"+ns+"/>")
	set("replication", "<ReplicationConfiguration"+ns+"><Role>x</Role></ReplicationConfiguration>")
	set("logging", "<BucketLoggingStatus"+ns+"/>")
	set("accelerate", "<AccelerateConfiguration"+ns+"><Status>Suspended</Status></AccelerateConfiguration>")
	set("requestPayment", "<RequestPaymentConfiguration"+ns+"><Payer>BucketOwner</Payer></RequestPaymentConfiguration>")
	set("encryption",
		"<ServerSideEncryptionConfiguration"+ns+"><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>")
	for _, what := range []string{"inventory", "metrics", "analytics", "intelligent-tiering"} {
		set(what+"&id=x", "<x/>")
		add(get("?" + what))
	}
	set("metadataConfiguration", "<x/>")
	set("metadataTable", "<x/>")
	set("abac", "<x/>")
	for _, body := range append(tags, "", "nonsense") {
		add(put("key?tagging", body, "Content-MD5: {{md5}}").as("PUT key?tagging; "+shorten(body, 300)), get("key?tagging"),
			head("key"))
	}
	add(put("none?tagging", tags[0], "Content-MD5: {{md5}}"), del("key?tagging"), get("key?tagging"), del("none?tagging"),
		post("key?tagging", "x"), head("key?tagging"))
	for _, what := range []string{"legal-hold", "retention"} {
		add(put("key?"+what, "<x/>", "Content-MD5: {{md5}}"), get("key?"+what), put("stray", "stray"), del("stray?"+what))
	}
	return probes
}
