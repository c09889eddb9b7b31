package testbed

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

// Must fails the test if err is an error, and else hands the value on: testbed.Must(os.ReadFile(name))(t).
func Must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// ReadBody reads a body to its end and closes it.
func ReadBody(t testing.TB, body io.ReadCloser) []byte {
	t.Helper()
	defer closeAll(body)
	var b bytes.Buffer
	if _, err := b.ReadFrom(body); err != nil {
		t.Fatalf("after %d bytes: %v", b.Len(), err)
	}
	return b.Bytes()
}

// HTTPClient gives a client with connections of its own, which close after the test. It neither follows
// redirects nor decompresses.
func HTTPClient(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// closeAll closes what nothing more hangs on.
func closeAll(closers ...io.Closer) {
	for _, c := range closers {
		_ = c.Close()
	}
}
