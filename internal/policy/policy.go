// Package policy decides who may do what. The operator's rules are Cedar policies, and Cedar evaluates them; the schema beside this
// file says what they speak of, and a policy that does not keep to it is refused.
//
// What no policy permits is denied, and so is what a policy cannot be evaluated for: Cedar alone would skip that policy, even
// one that forbids. A permit is for identities. To be for requests that nobody has signed it must say so in its head, so that nobody
// opens a bucket to the world by leaving a principal out.
package policy

import (
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

//go:embed schema.cedarschema
var schemaText []byte

// Action is what somebody wants to do.
type Action string

// The actions.
const (
	Read       Action = "read"       // an object, or what is kept with it
	Write      Action = "write"      // an object, or what is kept with it
	Delete     Action = "delete"     // an object
	List       Action = "list"       // what is in a bucket, or the buckets
	Inspect    Action = "inspect"    // a bucket's configuration
	Administer Action = "administer" // make, change and delete buckets; change who may do what, or when, with an object
	Encrypt    Action = "encrypt"    // under a key
	Decrypt    Action = "decrypt"    // what a key protects
)

// Set is the policies of one file. The zero value permits nothing.
type Set struct {
	known     *cedar.PolicySet // for identities
	anonymous *cedar.PolicySet
}

// place is where a parser's error says that it is. The rest of the error repeats the document, which may be another file, and secret.
var place = regexp.MustCompile(`[0-9]+:[0-9]+`)

// Parse reads policies in Cedar's language. A document without any policy is refused: it would deny everything.
func Parse(document []byte) (*Set, error) {
	policies, err := cedar.NewPolicyListFromBytes("", document)
	if err != nil {
		return nil, errors.New("it is not in Cedar's language, from " + place.FindString(err.Error()) + " on")
	}
	if len(policies) == 0 {
		return nil, errors.New("it has no policies")
	}
	rules, err := readSchema()
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	v := validate.New(rules, validate.WithStrict())
	s := &Set{known: cedar.NewPolicySet(), anonymous: cedar.NewPolicySet()}
	var problems []error
	for i, p := range policies {
		id := fmt.Sprintf("policy %d, in line %d", i+1, p.Position().Line)
		tree := (*ast.Policy)(p.AST())
		if err := errors.Join(v.Policy(id, tree), checkEntity(rules, tree.Principal), checkEntity(rules, tree.Resource)); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", id, err))
		}
		s.known.Add(cedar.PolicyID(id), p)
		if tree.Effect == ast.EffectForbid || namesAnonymous(tree.Principal) {
			s.anonymous.Add(cedar.PolicyID(id), p)
		}
	}
	return s, errors.Join(problems...)
}

func readSchema() (*resolved.Schema, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar(schemaText); err != nil {
		return nil, err
	}
	return s.Resolve()
}

// checkEntity refuses a head that names what there cannot be. The validator does not look at ids, and a forbid for nothing looks like one
// that forbids.
func checkEntity(rules *resolved.Schema, scope ast.IsScopeNode) error {
	var named cedar.EntityUID
	in := true
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		named, in = s.Entity, false
	case ast.ScopeTypeIn:
		named = s.Entity
	case ast.ScopeTypeIsIn:
		named = s.Entity
	default:
		return nil
	}
	bucket, key, isObject := strings.Cut(string(named.ID), "/")
	enum, isEnum := rules.Enums[named.Type]
	switch {
	case in && named.Type != bucketType:
		return fmt.Errorf("nothing is in %s but itself: say == %[1]s, or compare the key", named)
	case isEnum && !slices.Contains(enum.Values, named):
		return fmt.Errorf("there is no %s", named)
	case named.Type == bucketType && isObject:
		return fmt.Errorf("no bucket has the name of %s: say Bucket::%q, and compare the key", named, bucket)
	case named.Type == objectType && (bucket == "" || key == ""):
		return fmt.Errorf("no object has the id of %s: it is bucket/key", named)
	}
	return nil
}

const (
	anonymousType = "Anonymous"
	bucketType    = "Bucket"
	objectType    = "Object"
)

func namesAnonymous(principal ast.IsPrincipalScopeNode) bool {
	switch s := principal.(type) {
	case ast.ScopeTypeEq:
		return s.Entity.Type == anonymousType
	case ast.ScopeTypeIs:
		return s.Type == anonymousType
	}
	return false
}

// Asker is who asks, and how.
type Asker struct {
	Identity string // empty is nobody
	Secure   bool   // nobody on the way can have read the request
}

// Object reports whether a may do action with an object, in the version that the request names, if it does.
func (s *Set) Object(a Asker, action Action, bucket, key, version string) bool {
	object := entity(objectType, bucket+"/"+key, cedar.RecordMap{"bucket": cedar.String(bucket), "key": cedar.String(key)})
	in := bucketEntity(bucket)
	object.Parents = cedar.NewEntityUIDSet(in.UID)
	return s.allows(a, action, "", version, in, object)
}

// Bucket reports whether a may do action with a bucket. prefix is that of a listing.
func (s *Set) Bucket(a Asker, action Action, bucket, prefix string) bool {
	return s.allows(a, action, prefix, "", bucketEntity(bucket))
}

// Service reports whether a may do action with the buckets as a whole. prefix is that of a listing.
func (s *Set) Service(a Asker, action Action, prefix string) bool {
	return s.allows(a, action, prefix, "", entity("Service", "s3", nil))
}

// Key reports whether a may do action with the key id.
func (s *Set) Key(a Asker, action Action, id string) bool {
	return s.allows(a, action, "", "", entity("Key", id, cedar.RecordMap{"id": cedar.String(id)}))
}

// allows asks Cedar about the last of resources.
func (s *Set) allows(a Asker, action Action, prefix, version string, resources ...cedar.Entity) bool {
	policies, who := s.known, entity("Identity", a.Identity, cedar.RecordMap{"name": cedar.String(a.Identity)})
	if a.Identity == "" {
		policies, who = s.anonymous, entity(anonymousType, "anonymous", nil)
	}
	if policies == nil {
		return false
	}
	entities := cedar.EntityMap{who.UID: who}
	for _, r := range resources {
		entities[r.UID] = r
	}
	decision, diagnostic := cedar.Authorize(policies, entities, cedar.Request{
		Principal: who.UID,
		Action:    cedar.NewEntityUID("Action", cedar.String(action)),
		Resource:  resources[len(resources)-1].UID,
		Context: cedar.NewRecord(cedar.RecordMap{
			"prefix": cedar.String(prefix), "version": cedar.String(version), "secure": cedar.Boolean(a.Secure),
		}),
	})
	return decision == cedar.Allow && len(diagnostic.Errors) == 0
}

func entity(kind, id string, attributes cedar.RecordMap) cedar.Entity {
	return cedar.Entity{UID: cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(id)), Attributes: cedar.NewRecord(attributes)}
}

func bucketEntity(bucket string) cedar.Entity {
	return entity(bucketType, bucket, cedar.RecordMap{"name": cedar.String(bucket)})
}
