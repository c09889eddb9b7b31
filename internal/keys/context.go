package keys

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// contextARN is the name, and arnPrefix the beginning of the value, of the pair that AWS S3 puts into every
	// encryption context: the ARN of the bucket for a bucket key, of the object otherwise.
	contextARN = "aws:s3:arn"
	arnPrefix  = "arn:aws:s3:::"

	maxBucket = 255 // bytes; names of old AWS buckets have up to 255
)

// Context is the encryption context in AWS KMS's sense: pairs of UTF-8 strings, authenticated with the wrapped key and
// not secret. Order has no meaning; nil and empty are the same.
type Context map[string]string

// BucketContext returns the encryption context of a bucket's intermediate keys.
func BucketContext(bucket string) (Context, error) {
	// With a slash, a bucket's context could be that of an object.
	if bucket == "" || len(bucket) > maxBucket || strings.Contains(bucket, "/") || !utf8.ValidString(bucket) {
		return nil, fmt.Errorf("%q cannot be a bucket's name", bucket)
	}
	return Context{contextARN: arnPrefix + bucket}, nil
}

// ObjectContext returns the encryption context of a key for one object: the request's own pairs, and aws:s3:arn, which
// the request may only repeat.
func ObjectContext(bucket, key string, extra Context) (Context, error) {
	ec, err := BucketContext(bucket)
	if err != nil {
		return nil, err
	}
	if key == "" || !utf8.ValidString(key) {
		return nil, fmt.Errorf("%q cannot be an object's key in an encryption context", key)
	}
	arn := ec[contextARN] + "/" + key
	if given, ok := extra[contextARN]; ok && given != arn {
		return nil, fmt.Errorf("encryption context names %s %q, not %q", contextARN, given, arn)
	}
	maps.Copy(ec, extra)
	ec[contextARN] = arn
	return ec, nil
}

// Binding encodes what the wrapping of a key is bound to, for a cipher that takes additional data: no two are the same under a label
// unless key id and context are equal.
func Binding(label, keyID string, ec Context) []byte {
	return append(appendField([]byte(label), keyID), ec.canonical()...)
}

// canonical encodes ec so that two contexts have the same bytes only if they are equal.
func (ec Context) canonical() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(ec))) //nolint:gosec // a context is bounded far below 2³²
	for _, k := range slices.Sorted(maps.Keys(ec)) {
		b = appendField(b, k)
		b = appendField(b, ec[k])
	}
	return b
}

// appendField appends s behind its length.
func appendField(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // keys and contexts are bounded far below 2³²
	return append(b, s...)
}
