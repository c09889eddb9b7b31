package proxy

import (
	"context"
	"sync"
)

// turns lets those who ask for the same upload at once in one after the other. Replicas know nothing of each other's, so nothing is
// right only by it: it spares the store what it may not bear, and the client an error.
type turns struct {
	mu   sync.Mutex
	open map[uploadKey]*turn
}

type turn struct {
	free  chan struct{} // has an element while nobody is in
	users int           // in or waiting
}

// take waits for the upload to be free, and returns what frees it again.
func (t *turns) take(ctx context.Context, k uploadKey) (release func(), err error) {
	t.mu.Lock()
	if t.open == nil {
		t.open = make(map[uploadKey]*turn)
	}
	this := t.open[k]
	if this == nil {
		this = &turn{free: make(chan struct{}, 1)}
		this.free <- struct{}{}
		t.open[k] = this
	}
	this.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if this.users--; this.users == 0 {
			delete(t.open, k)
		}
	}
	select {
	case <-this.free:
		return func() { this.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
