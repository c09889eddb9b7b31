package proxy

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// alivePause is how long a client hears nothing of work that goes on. Clients give up on a silent connection after a minute
// (botocore) or less, and load balancers do likewise.
const alivePause = 10 * time.Second

// whileAlive does work that may take minutes. When it does, the client gets status 200, the beginning of a document and then
// white space, as S3 sends it ("CompleteMultipartUpload" in the Amazon S3 API Reference); what comes of the work is told
// behind that. Work must leave the answer alone.
func (q *request) whileAlive(pause time.Duration, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if err := q.stayAlive(); err != nil {
				return errors.Join(err, <-done)
			}
		}
	}
}

// stayAlive sends the beginning of a document, and more white space each time.
func (q *request) stayAlive() error {
	text := " "
	if q.w.status == 0 {
		text = xml.Header
		q.w.Header().Set("Content-Type", "application/xml")
		q.w.WriteHeader(http.StatusOK)
		q.alive = true
	}
	if _, err := io.WriteString(q.w, text); err != nil {
		return fmt.Errorf("telling the client that its request goes on: %w", err)
	}
	return http.NewResponseController(q.w).Flush()
}
