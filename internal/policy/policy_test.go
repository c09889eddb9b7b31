package policy_test

import (
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/policy"
)

const rules = `
permit (principal == Identity::"a", action in [Action::"read", Action::"write"], resource in Bucket::"data")
when { resource.key like "team-a/*" };
permit (principal == Identity::"a", action == Action::"list", resource == Bucket::"data") when { context.prefix like "team-a/*" };
permit (principal == Identity::"a", action, resource == Key::"k1");
permit (principal is Anonymous, action == Action::"read", resource in Bucket::"public") when { context.secure };
permit (principal, action == Action::"read", resource in Bucket::"shared");
permit (principal == Identity::"b", action == Action::"list", resource == Service::"s3") when { context.prefix like "team-a-*" };
permit (principal == Identity::"root", action, resource);
forbid (principal, action == Action::"delete", resource) when { context.version != "" };
forbid (principal, action, resource == Key::"retired");
`

func parse(t *testing.T, text string) *policy.Set {
	t.Helper()
	s, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a policy permits is allowed, and nothing besides.
func TestOnlyWhatIsPermitted(t *testing.T) {
	s := parse(t, rules)
	a, b, root, nobody, secretly := policy.Asker{Identity: "a"}, policy.Asker{Identity: "b"}, policy.Asker{Identity: "root"}, policy.Asker{}, policy.Asker{Secure: true}
	for what, allowed := range map[string]struct{ got, want bool }{
		"own object":          {s.Object(a, policy.Read, "data", "team-a/x", ""), true},
		"old version":         {s.Object(a, policy.Read, "data", "team-a/x", "v1"), true},
		"other action":        {s.Object(a, policy.Delete, "data", "team-a/x", ""), false},
		"other prefix":        {s.Object(a, policy.Read, "data", "team-ab/x", ""), false},
		"other bucket":        {s.Object(a, policy.Read, "data2", "team-a/x", ""), false},
		"other identity":      {s.Object(b, policy.Read, "data", "team-a/x", ""), false},
		"nobody":              {s.Object(nobody, policy.Read, "data", "team-a/x", ""), false},
		"own prefix":          {s.Bucket(a, policy.List, "data", "team-a/"), true},
		"whole bucket":        {s.Bucket(a, policy.List, "data", ""), false},
		"administration":      {s.Bucket(a, policy.Administer, "data", ""), false},
		"own key":             {s.Key(a, policy.Decrypt, "k1"), true},
		"other key":           {s.Key(a, policy.Decrypt, "k2"), false},
		"other's key":         {s.Key(b, policy.Encrypt, "k1"), false},
		"some buckets":        {s.Service(b, policy.List, "team-a-"), true},
		"other buckets":       {s.Service(b, policy.List, "team-"), false},
		"buckets":             {s.Service(a, policy.List, ""), false},
		"public, securely":    {s.Object(secretly, policy.Read, "public", "x", ""), true},
		"public, in the open": {s.Object(nobody, policy.Read, "public", "x", ""), false},
		"public, an identity": {s.Object(policy.Asker{Identity: "b", Secure: true}, policy.Read, "public", "x", ""), false},
		"shared":              {s.Object(b, policy.Read, "shared", "x", ""), true},
		"shared, nobody":      {s.Object(secretly, policy.Read, "shared", "x", ""), false},
		"all, object":         {s.Object(root, policy.Delete, "data", "x", ""), true},
		"all, version":        {s.Object(root, policy.Delete, "data", "x", "v1"), false},
		"all, bucket":         {s.Bucket(root, policy.Administer, "data", ""), true},
		"all, buckets":        {s.Service(root, policy.List, ""), true},
		"all, key":            {s.Key(root, policy.Encrypt, "k9"), true},
		"all, forbidden key":  {s.Key(root, policy.Encrypt, "retired"), false},
		"no policies":         {new(policy.Set).Object(root, policy.Read, "data", "x", ""), false},
	} {
		if allowed.got != allowed.want {
			t.Errorf("%s: allowed %t", what, allowed.got)
		}
	}
}

// A forbid is for everybody whom its head does not leave out, also for those that have signed nothing.
func TestForbidReachesNobody(t *testing.T) {
	s := parse(t, `permit (principal == Anonymous::"anonymous", action, resource); forbid (principal, action, resource) when { !context.secure };`)
	if s.Object(policy.Asker{}, policy.Read, "data", "x", "") || !s.Object(policy.Asker{Secure: true}, policy.Read, "data", "x", "") {
		t.Error("a forbid for everybody does not hold for unsigned requests")
	}
}

// A policy that cannot be evaluated denies, also if another one permits.
func TestEvaluationErrorDenies(t *testing.T) {
	s := parse(t, `permit (principal, action, resource); forbid (principal, action == Action::"read", resource) when { 9223372036854775807 + 1 == 0 };`)
	a := policy.Asker{Identity: "a"}
	if s.Object(a, policy.Read, "data", "x", "") {
		t.Error("allowed past a forbid that failed")
	}
	if !s.Object(a, policy.Write, "data", "x", "") {
		t.Error("denied by a policy that is not about it")
	}
}

// What is no policy, what names something that is not there, and a file without any policy, are refused at once; the error says where.
func TestParseRefuses(t *testing.T) {
	for text, told := range map[string]string{
		"": "no policies",
		`forbid (principal == Anonymous::"anyone", action, resource);`:              "anyone",
		`permit (principal, action, resource == Service::"S3");`:                    "S3",
		`forbid (principal in Anonymous::"anyone", action, resource);`:              "anyone",
		`forbid (principal, action, resource in Service::"S3");`:                    "S3",
		`permit (principal in Anonymous::"anonymous", action, resource);`:           "==",
		`permit (principal is Identity in Identity::"a", action, resource);`:        "==",
		`forbid (principal, action, resource in Object::"data/secret/");`:           "==",
		`forbid (principal, action, resource is Object in Object::"data/secret/");`: "==",
		`forbid (principal, action, resource in Bucket::"data/secret");`:            "Bucket::\"data\"",
		`forbid (principal, action, resource == Bucket::"data/");`:                  "Bucket::\"data\"",
		`forbid (principal, action, resource == Object::"data");`:                   "bucket/key",
		`forbid (principal, action, resource == Object::"/data/x");`:                "bucket/key",
		"// nothing":                           "no policies",
		"permit hunter2":                       "1:",
		"permit (principal, action, resource)": "1:",
		"\n" + `permit (principal, action == Action::"raed", resource);`:                                       "line 2",
		`permit (principal == User::"a", action, resource);`:                                                   "line 1",
		`permit (principal, action, resource in Buckets::"a");`:                                                "line 1",
		`permit (principal == Anonymous::"anyone", action, resource);`:                                         "line 1",
		`permit (principal, action, resource) when { resource.key like "a/*" };`:                               "key",
		`permit (principal, action == Action::"read", resource) when { resource.kye like "a/*" };`:             "kye",
		`permit (principal, action == Action::"list", resource) when { context.perfix == "a" };`:               "perfix",
		`permit (principal, action == Action::"read", resource == Key::"k");`:                                  "line 1",
		`permit (principal, action == Action::"read", resource is Object) when { resource.key == true };`:      "line 1",
		`permit (principal == Identity::"a", action, resource); permit (principal, action, resource) whne {};`: "1:",
	} {
		if _, err := policy.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), told) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
