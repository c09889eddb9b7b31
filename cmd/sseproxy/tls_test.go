package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// writeCertificate makes a certificate with a serial number, good for as many hours, and writes it and its key over the files.
func writeCertificate(t *testing.T, serial int64, certFile, keyFile string) {
	t.Helper()
	key := testbed.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(serial) * time.Hour), DNSNames: []string{"localhost"}}
	cert := testbed.Must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
	der := testbed.Must(x509.MarshalPKCS8PrivateKey(key))(t)
	if err := errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// TestCertificateIsReadAgain: a renewed certificate is shown without a restart, and its end to those who watch; while the files are no good the last one is.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, 1, certFile, keyFile)
	p := startServe(t, "SSEPROXY_TLS_CERT="+certFile, "SSEPROXY_TLS_KEY="+keyFile)
	shown := func() (serial int64, protocol string) {
		conn := testbed.Must(tls.Dial("tcp", p.Listen, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}))(t)
		defer conn.Close() //nolint:errcheck // it has said what it should
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), conn.ConnectionState().NegotiatedProtocol
	}
	if serial, protocol := shown(); serial != 1 || protocol != "h2" {
		t.Errorf("certificate %d, protocol %q", serial, protocol)
	}
	writeCertificate(t, 2, certFile, keyFile)
	wait(t, "the second certificate", func() bool { serial, _ := shown(); return serial == 2 })

	if err := os.WriteFile(keyFile, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, "a complaint", func() bool {
		if serial, _ := shown(); serial != 2 {
			t.Errorf("certificate %d with a bad key", serial)
		}
		return bytes.Contains(testbed.Must(os.ReadFile(p.log))(t), []byte("the certificate cannot be read again"))
	})
	writeCertificate(t, 3, certFile, keyFile)
	wait(t, "the third certificate", func() bool { serial, _ := shown(); return serial == 3 })
	ends := time.Unix(int64(value(p.scrape(t)["sseproxy_certificate_expiry_timestamp_seconds"], map[string]string{})), 0)
	if left := time.Until(ends); left > 3*time.Hour || left < 2*time.Hour {
		t.Errorf("its end is exported as %v", ends)
	}
}

// TestAuthorities: a file without a certificate is refused, since nothing would be trusted by it.
func TestAuthorities(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if _, err := authorities(file); err == nil {
		t.Error("a file that is not there")
	}
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := authorities(file); err == nil {
		t.Error("a file without a certificate")
	}
	if pool, err := authorities(""); pool != nil || err != nil {
		t.Errorf("no file: %v, %v", pool, err)
	}
}
