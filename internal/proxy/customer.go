package proxy

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/sseproxy/sseproxy/internal/checksum"
)

// customerKey is a key that comes with a request and is forgotten with it: SSE-C. It is never logged, stored or sent on.
type customerKey struct {
	key []byte // 32 bytes
	md5 string // base64, as the client gave it
}

const customerKeySize = 32

// Texts of S3.
const (
	customerProvide = "Requests specifying Server Side Encryption with Customer provided keys must provide "
	customerFailed  = customerProvide + "the correct secret key."
)

var (
	errCustomerKeyMissing = newError("InvalidRequest", "The object was stored using a form of Server Side Encryption. "+
		"The correct parameters must be provided to retrieve the object.")
	errCustomerKeyNeedless = newError("InvalidRequest", "The encryption parameters are not applicable to this object.")
	errNotSecure           = newError("InvalidRequest", "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.")
)

// readCustomerKey reads the three headers of SSE-C that begin with prefix: encryptionHeader or copySourcePrefix. It returns nil if
// there are none.
func readCustomerKey(h http.Header, prefix string, secure bool) (*customerKey, error) {
	algorithm, text, sum := h[prefix+"-Customer-Algorithm"], h[prefix+"-Customer-Key"], h[prefix+"-Customer-Key-Md5"]
	if algorithm == nil && text == nil && sum == nil {
		return nil, nil
	}
	name := strings.ToLower(prefix) + "-customer-"
	refuse := func(header, message string) (*customerKey, error) {
		return nil, newError("InvalidArgument", message, errorField{"ArgumentName", name + header}, errorField{"ArgumentValue", "null"})
	}
	if !secure {
		return nil, errNotSecure
	}
	switch {
	case len(algorithm) != 1 || algorithm[0] == "":
		return refuse("algorithm", customerProvide+"a valid encryption algorithm.")
	case algorithm[0] != algorithmS3:
		return nil, newError("InvalidEncryptionAlgorithmError", "The Encryption request you specified is not valid. Supported value: AES256.",
			errorField{"ArgumentName", name + "algorithm"}, errorField{"ArgumentValue", algorithm[0]})
	case len(text) != 1 || text[0] == "":
		return refuse("key", customerProvide+"an appropriate secret key.")
	}
	key, err := base64.StdEncoding.DecodeString(text[0])
	if err != nil || len(key) != customerKeySize {
		return refuse("key", "The secret key was invalid for the specified algorithm.")
	}
	if len(sum) != 1 || sum[0] == "" {
		return refuse("key-MD5", customerProvide+"the client calculated MD5 of the secret key.")
	}
	digest, err := base64.StdEncoding.DecodeString(sum[0])
	if err != nil || !bytes.Equal(digest, checksumOf(checksum.MD5, key).Sum) {
		return refuse("key-MD5", "The calculated MD5 hash of the key did not match the hash that was provided.")
	}
	return &customerKey{key: key, md5: sum[0]}, nil
}
