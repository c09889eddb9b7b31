package sigv4

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A policy is what the signer of a form allows it to say.
type policy struct {
	expiration time.Time
	conditions []condition
	min, max   int64 // bytes of the file
}

// A condition is on the value of a field.
type condition struct {
	operator    string // eq, starts-with
	name, value string // as the policy has them, with the dollar sign
}

// parsePolicy parses a policy as it stands in the form.
func parsePolicy(text string) (policy, error) {
	p := policy{max: math.MaxInt64}
	document, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return p, invalidPolicy("invalid Base64 encoding.")
	}
	if len(document) == 0 {
		return p, invalidPolicy("Expecting '{' but found End-of-Input")
	}
	var members map[string]any
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if !json.Valid(document) || decoder.Decode(&members) != nil {
		return p, invalidPolicy("Invalid JSON.")
	}
	for name := range members {
		if name != "expiration" && name != "conditions" {
			return p, invalidPolicy("Unexpected: %q", name)
		}
	}
	if p.expiration, err = parseExpiration(members["expiration"]); err != nil {
		return p, err
	}
	conditions, ok := members["conditions"].([]any)
	switch {
	case members["conditions"] == nil:
		return p, invalidPolicy("Policy missing conditions.")
	case !ok:
		return p, invalidPolicy("Invalid 'conditions' value: must be a List.")
	}
	for _, c := range conditions {
		if err := p.add(c); err != nil {
			return p, err
		}
	}
	return p, nil
}

// parseExpiration parses a date in UTC; S3 takes no other.
func parseExpiration(value any) (time.Time, error) {
	text, ok := value.(string)
	switch {
	case value == nil:
		return time.Time{}, invalidPolicy("Policy missing expiration.")
	case !ok:
		return time.Time{}, invalidPolicy("Invalid JSON.")
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !strings.HasSuffix(text, "Z") {
		return t, invalidPolicy("Invalid 'expiration' value: '%s'", text)
	}
	return t, nil
}

// add adds one of the conditions of the document.
func (p *policy) add(c any) error {
	switch c := c.(type) {
	case map[string]any:
		if len(c) != 1 {
			return invalidPolicy("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
		}
		for name, value := range c {
			text, ok := value.(string)
			if !ok {
				return invalidPolicy("Invalid Simple-Condition: value must be a string.")
			}
			p.conditions = append(p.conditions, condition{"eq", "$" + name, text})
		}
		return nil
	case []any:
		return p.addList(c)
	}
	return invalidPolicy("Invalid condition test: must be a List or Object.")
}

func (p *policy) addList(list []any) error {
	if len(list) == 0 {
		return invalidPolicy("Invalid Condition: missing operation identifier.")
	}
	operator, ok := list[0].(string)
	if !ok {
		return invalidPolicy("Invalid JSON.")
	}
	operator = strings.ToLower(operator)
	if !slices.Contains([]string{"eq", "starts-with", "content-length-range"}, operator) {
		return invalidPolicy("Invalid Condition: unknown operation '%s'.", operator)
	}
	if len(list) != 3 {
		return invalidPolicy("Invalid %s: wrong number of arguments.", operator)
	}
	first, ok1 := scalar(list[1])
	second, ok2 := scalar(list[2])
	if !ok1 || !ok2 {
		return invalidPolicy("Invalid JSON.")
	}
	if operator != "content-length-range" {
		p.conditions = append(p.conditions, condition{operator, first, second})
		return nil
	}
	low, err1 := strconv.ParseInt(first, 10, 64)
	high, err2 := strconv.ParseInt(second, 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		return invalidPolicy("Invalid JSON.")
	case low < 0 || high < 0:
		return conditionFailed(operator, first, second)
	}
	p.min, p.max = max(p.min, low), min(p.max, high)
	return nil
}

// scalar returns the text of a string or number.
func scalar(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	}
	return "", false
}

// check checks a form whose file has length bytes. Fields are by name in lower
// case, the bucket among them.
func (p policy) check(fields map[string]string, length int64, now time.Time) error {
	if !now.Before(p.expiration) {
		return errExpired
	}
	named := make(map[string]bool)
	for _, c := range p.conditions {
		if !c.holds(fields) {
			return conditionFailed(c.operator, c.name, c.value)
		}
		named[c.field()] = true
	}
	var extra []string
	for name := range fields {
		if !named[name] && name != "policy" && name != "x-amz-signature" && !strings.HasPrefix(name, "x-ignore-") {
			extra = append(extra, name)
		}
	}
	slices.Sort(extra)
	switch {
	case len(extra) > 0:
		return denied("Extra input fields: %s", strings.Join(extra, ", "))
	case length > p.max:
		return newError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
			Field{"ProposedSize", fmt.Sprint(length)}, Field{"MaxSizeAllowed", fmt.Sprint(p.max)})
	case length < p.min:
		return newError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
			Field{"ProposedSize", fmt.Sprint(length)}, Field{"MinSizeAllowed", fmt.Sprint(p.min)})
	}
	return nil
}

// field returns the name of the condition's field in lower case, empty if it is
// not written as one.
func (c condition) field() string {
	name, ok := strings.CutPrefix(c.name, "$")
	if !ok {
		return ""
	}
	return strings.ToLower(name)
}

// holds reports whether the field is there and has a value that is allowed. That
// of Content-Type may be a list, each entry of which must begin as it should.
func (c condition) holds(fields map[string]string) bool {
	value, ok := fields[c.field()]
	switch {
	case !ok:
		return false
	case c.operator == "eq":
		return value == c.value
	case c.field() != "content-type":
		return strings.HasPrefix(value, c.value)
	}
	for entry := range strings.SplitSeq(value, ",") {
		if !strings.HasPrefix(strings.TrimSpace(entry), c.value) {
			return false
		}
	}
	return true
}

var errExpired = denied("Policy expired.")

func invalidPolicy(format string, args ...any) error {
	return newError("InvalidPolicyDocument", "Invalid Policy: "+fmt.Sprintf(format, args...))
}

// denied returns the error for a form that its policy does not allow.
func denied(format string, args ...any) error {
	return newError("AccessDenied", "Invalid according to Policy: "+fmt.Sprintf(format, args...))
}

func conditionFailed(operator, name, value string) error {
	return denied("Policy Condition failed: [%q, %q, %q]", operator, name, value)
}
