package envelope

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
)

// batchFrames is how many frames a reader handles at a time: enough to make reads and writes large, few enough that
// thousands of streams fit in a small sidecar.
const batchFrames = 2

// frames seals or opens the frames of one part, in order from the one at index.
type frames struct {
	aead      cipher.AEAD
	multipart bool
	attempt   Attempt // nonce of frame 0; zero in a single object, and until frame 0 has passed
	index     uint64
	ad        [21]byte
}

// additional returns the next frame's additional data: u64(index) ‖ u8(last) ‖ attempt. Frame 0 cannot name its own
// nonce, which GCM authenticates anyway.
func (f *frames) additional(last bool) []byte {
	binary.BigEndian.PutUint64(f.ad[:], f.index)
	f.ad[8] = 0
	if last {
		f.ad[8] = 1
	}
	if f.index == 0 {
		clear(f.ad[9:])
	} else {
		copy(f.ad[9:], f.attempt[:])
	}
	return f.ad[:]
}

func (f *frames) seal(dst, plaintext []byte, last bool) []byte {
	out := f.aead.Seal(dst, nil, plaintext, f.additional(last))
	if f.multipart && f.index == 0 {
		copy(f.attempt[:], out[len(dst):])
	}
	f.index++
	return out
}

// open overwrites sealed, but for its nonce.
func (f *frames) open(dst, sealed []byte, last bool) ([]byte, error) {
	out, err := f.aead.Open(dst, nil, sealed, f.additional(last))
	if err != nil {
		return nil, err
	}
	if f.multipart && f.index == 0 {
		copy(f.attempt[:], sealed)
	}
	f.index++
	return out, nil
}

// buffers are one stream's working memory.
type buffers struct {
	plain  [batchFrames * FrameSize]byte
	sealed [batchFrames * sealedFrame]byte
}

// bufferPool lends buffers to readers. A reader gives them back only from its own last Read, never from another
// goroutine: an HTTP transport may close a body while it still reads it.
var bufferPool = sync.Pool{New: func() any { return new(buffers) }}
