package e2e_test

import (
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// decoded returns the key that a listing shows.
func decoded(t testing.TB, key string, encoding types.EncodingType) string {
	t.Helper()
	if encoding != types.EncodingTypeUrl {
		return key
	}
	s, err := url.QueryUnescape(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
