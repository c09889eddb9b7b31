package main

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/config"
	"github.com/sseproxy/sseproxy/internal/keys"
)

const rotateEvery = time.Minute // between looks at the ages of keys

// rotateKeys replaces old versions of the operator's keys until ctx ends.
func (s *server) rotateKeys(ctx context.Context) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		s.rotateDue()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// rotateDue takes what steps are due. Where it cannot, as with a Kubernetes Secret, the keys go on as they are: somebody must rotate them
// by hand, and is told so by the log and by the probe for readiness.
func (s *server) rotateDue() {
	done, err := keys.RotateDue(s.cfg.Keyring, *s.own.Load(), s.cfg.KeyRotateAfter, time.Now())
	for _, step := range done {
		s.log.Info("a key was rotated for its age: back the keyring up", zap.String("key", step.KeyID),
			zap.Uint32("version", step.Version), zap.Bool("primary", step.Primary))
	}
	if err == nil {
		s.overdue.Store(nil)
		return
	}
	note := "keys are not rotated for their age: " + err.Error()
	if before := s.overdue.Swap(&note); before == nil || *before != note {
		s.log.Warn("keys cannot be rotated for their age; they go on as they are", zap.Error(err))
	}
}

// ownKeys are the keys that new objects are sealed under unless a request names another.
func ownKeys(cfg config.Config) *[]string {
	ids := []string{cfg.Key}
	for _, r := range cfg.Rules {
		ids = append(ids, r.Key)
	}
	if cfg.DSSEKey != "" {
		ids = append(ids, cfg.DSSEKey)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return &ids
}
