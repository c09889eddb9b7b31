package proxy

import (
	"context"
	"sync"
	"testing"
)

// TestTurns: one at a time for an upload, others besides; who stops waiting keeps nobody, and nothing is left.
func TestTurns(t *testing.T) {
	var all turns
	key := func(id string) uploadKey { return uploadKey{target{"b", "k"}, id} }
	release, err := all.take(t.Context(), key("1"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := all.take(t.Context(), key("2"))
	if err != nil {
		t.Fatal(err)
	}
	other()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := all.take(gone, key("1")); err == nil {
		t.Error("two are in")
	}
	in, most := 0, 0
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			release, err := all.take(t.Context(), key("1"))
			if err != nil {
				t.Error(err)
				return
			}
			in++ // not guarded by anything else: the race detector sees it
			most = max(most, in)
			in--
			release()
		})
	}
	release()
	group.Wait()
	if most != 1 || len(all.open) != 0 {
		t.Errorf("%d at once; %d left", most, len(all.open))
	}
}
