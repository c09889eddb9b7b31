package proxy

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/sseproxy/sseproxy/internal/checksum"
	"github.com/sseproxy/sseproxy/internal/envelope"
)

// TestProve: what opens goes to the store whole, and what does not open ends before the store has the last of it.
func TestProve(t *testing.T) {
	for _, n := range []int{0, 1, envelope.FrameSize, 5*envelope.FrameSize + 7} {
		for _, right := range []bool{true, false} {
			plain := bytes.Repeat([]byte("x"), n)
			dek := envelope.NewDEK()
			sealer := dek.NewSealer(bytes.NewReader(plain), int64(n), func() checksum.Value { return checksum.Value{} })
			opened := dek.Single(int64(n)).NewWholeReader
			if !right {
				opened = envelope.NewDEK().Single(int64(n)).NewWholeReader
			}
			size := envelope.SealedSize(int64(n))
			var got bytes.Buffer
			err := prove(t.Context(), sealer, size, opened, func(_ context.Context, body io.Reader) error {
				_, err := io.Copy(&got, body)
				return err
			})
			if right && (err != nil || int64(got.Len()) != size) {
				t.Errorf("%d bytes: %d of %d sent, %v", n, got.Len(), size, err)
			}
			if !right && n > 0 && (err == nil || int64(got.Len()) >= size) {
				t.Errorf("%d bytes that do not open: %d of %d sent, %v", n, got.Len(), size, err)
			}
		}
	}
}
