package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/sseproxy/sseproxy/internal/config"
)

// lookForFiles is how often the files that say who may do what are looked at.
const lookForFiles = 2 * time.Second

// ServeHTTP serves with what the files say now. A request that has begun goes on with what they said then.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.current.Load().ServeHTTP(w, r) }

// watchFiles reads the files of identities, policies and encryption rules again when one of them is not what is known, until ctx ends. While
// what they say is refused, what they said before goes on, and the log says why.
func (s *server) watchFiles(ctx context.Context, environ []string, known [sha256.Size]byte) {
	if s.cfg.IdentitiesFile+s.cfg.PolicyFile+s.cfg.EncryptionFile == "" {
		return
	}
	tick := time.NewTicker(lookForFiles)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := digest(environ); now != known {
			known = now
			s.reload(environ)
		}
	}
}

// digest tells whether the files are those of before, and of the same modes: what others may write is refused.
func digest(environ []string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range []string{"SSEPROXY_IDENTITIES", "SSEPROXY_POLICY", "SSEPROXY_ENCRYPTION"} {
		path := lookUp(environ, name)
		content, err := os.ReadFile(path)
		mode := "none"
		if info, statErr := os.Stat(path); err == nil && statErr == nil {
			mode = info.Mode().String()
		}
		fmt.Fprintf(h, "%s %x\n", mode, sha256.Sum256(content))
	}
	h.Sum(sum[:0])
	return sum
}

func (s *server) reload(environ []string) {
	cfg, err := config.Load(environ)
	if err == nil {
		next, buildErr := s.current.Load().With(identities(cfg), cfg.Policy, rules(cfg))
		if err = buildErr; err == nil {
			s.current.Store(next)
			s.own.Store(ownKeys(cfg))
			s.log.Info("identities, policies and encryption rules were read again")
			s.warnOfBypass(cfg)
			return
		}
	}
	s.log.Error("the files that changed are refused; what they said before stays in use", zap.Error(err))
}
