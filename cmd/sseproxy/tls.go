package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// lookAgain is how long a certificate is used before its files are looked at again.
const lookAgain = time.Second

// certificate is what clients see, from two files. They are read again while the proxy runs, on a handshake and at most once a
// second, since whoever renews a certificate replaces them in place (cert-manager, a Kubernetes Secret). While they are
// missing or do not go together, which they do not for a moment, the last good certificate stays in use.
type certificate struct {
	certFile, keyFile string
	onError           func(error) // told of each new reason why the files cannot be used

	mu        sync.Mutex
	looked    time.Time
	pem       []byte // what the certificate was made from
	current   *tls.Certificate
	complaint string
}

// newCertificate reads the files, which must be good at the start.
func newCertificate(certFile, keyFile string, onError func(error)) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, onError: onError, looked: time.Now()}
	return c, c.load()
}

// expiry returns until when the certificate is good.
func (c *certificate) expiry() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current.Leaf.NotAfter
}

// config is the configuration of a server that shows it.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookAgain {
		return c.current, nil
	}
	c.looked = time.Now()
	complaint := ""
	if err := c.load(); err != nil {
		if complaint = err.Error(); complaint != c.complaint {
			c.onError(err)
		}
	}
	c.complaint = complaint
	return c.current, nil
}

// load leaves c as it was when it fails.
func (c *certificate) load() error {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("reading the certificate's key: %w", err)
	}
	pem := append(cert[:len(cert):len(cert)], key...)
	if bytes.Equal(pem, c.pem) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.pem = &pair, pem
	return nil
}

// authorities returns the system's authorities and those in the file; nil, which stands for the system's, without a file.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the store's authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a minimal image has none
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the store's authorities: %s has no certificate in PEM", file)
	}
	return pool, nil
}
