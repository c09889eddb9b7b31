// Package session gives the app beside the proxy credentials that last an hour, so that it needs no secret of its own. It speaks the
// protocol of the AWS SDKs' container credential provider ("Container credential provider" in the AWS SDKs and Tools Reference Guide).
//
// Nothing is remembered of what was issued. Access key ID and end of the session go into a MAC, which is the session token, and into
// another, which is the secret access key; the key of both is made of a token in a file, which the app must show to get
// credentials. So a proxy that starts again with the same file knows what it has issued before.
package session

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/sseproxy/sseproxy/internal/sigv4"
)

// lifetime is how long credentials last. SDKs ask for new ones some minutes before.
const lifetime = time.Hour

// Issuer issues credentials, and knows its own again. Its methods may be called concurrently.
type Issuer struct {
	token string // that the app must show
	key   []byte // of 32 bytes
	now   func() time.Time
}

// NewIssuer returns the issuer for who shows token. now returns the current time.
func NewIssuer(token string, now func() time.Time) (*Issuer, error) {
	key, err := hkdf.Key(sha256.New, []byte(token), nil, "sseproxy session credentials 1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of session credentials: %w", err)
	}
	return &Issuer{token, key, now}, nil
}

// Credentials are what an SDK signs with.
type Credentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// Issue returns new credentials.
func (i *Issuer) Issue() Credentials {
	var id [10]byte
	rand.Read(id[:])
	accessKeyID := "SSEP" + base32.StdEncoding.EncodeToString(id[:])
	end := i.now().Add(lifetime).UTC().Truncate(time.Second)
	stamp := binary.BigEndian.AppendUint64(nil, uint64(end.Unix())) //nolint:gosec // after 1970
	return Credentials{
		AccessKeyID:     accessKeyID,
		SecretAccessKey: base64.RawURLEncoding.EncodeToString(i.mac("secret", accessKeyID, stamp)),
		Token:           base64.RawURLEncoding.EncodeToString(append(stamp, i.mac("token", accessKeyID, stamp)...)),
		Expiration:      end,
	}
}

// Secret returns the secret access key that goes with an access key ID and a session token. The error is sigv4.ErrToken if they are not
// the issuer's, and sigv4.ErrExpiredToken if their time is over.
func (i *Issuer) Secret(accessKeyID, token string) (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != 8+sha256.Size {
		return "", sigv4.ErrToken
	}
	stamp, sum := b[:8], b[8:]
	if !hmac.Equal(sum, i.mac("token", accessKeyID, stamp)) {
		return "", sigv4.ErrToken
	}
	if i.now().Unix() >= int64(binary.BigEndian.Uint64(stamp)) { //nolint:gosec // as Issue has made it
		return "", sigv4.ErrExpiredToken
	}
	return base64.RawURLEncoding.EncodeToString(i.mac("secret", accessKeyID, stamp)), nil
}

// mac authenticates an access key ID and the end of its session, for one purpose.
func (i *Issuer) mac(purpose, accessKeyID string, stamp []byte) []byte {
	h := hmac.New(sha256.New, i.key)
	for _, field := range []string{purpose, accessKeyID, string(stamp)} {
		fmt.Fprintf(h, "%d:%s", len(field), field)
	}
	return h.Sum(nil)
}
