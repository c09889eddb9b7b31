package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Garbage is what CollectGarbage found in a bucket.
type Garbage struct {
	Live    int // folders of uploads that are in progress, or too young to tell
	Removed int // folders of uploads that are over
}

// CollectGarbage removes what uploads that ended without the proxy (aborted by a lifecycle rule, or interrupted) left below
// the reserved prefix of a bucket. A folder is kept while the store knows its upload, and while anything in it is younger
// than age. Several may run at once. With dryRun nothing is removed.
func (p *Proxy) CollectGarbage(ctx context.Context, bucket string, age time.Duration, dryRun bool) (Garbage, error) {
	var found Garbage
	own := ownRequest(ctx, "sseproxy gc", bucket)
	entries, err := p.listVersions(own, uploadsPrefix)
	if err != nil {
		return found, fmt.Errorf("listing %s of bucket %s: %w", uploadsPrefix, bucket, err)
	}
	folders := make(map[string][]listedVersion)
	for _, e := range entries {
		folder, _, _ := strings.Cut(strings.TrimPrefix(e.Key, uploadsPrefix), "/")
		folders[uploadsPrefix+folder] = append(folders[uploadsPrefix+folder], e)
	}
	var failures []error
	for folder, entries := range folders {
		over, err := p.isOver(own, folder, entries, age)
		switch {
		case err != nil:
			failures = append(failures, fmt.Errorf("looking at %s: %w", folder, err))
		case !over:
			found.Live++
		case dryRun:
			found.Removed++
		default:
			if err := p.removeVersions(own, entries); err != nil {
				failures = append(failures, fmt.Errorf("removing %s: %w", folder, err))
				continue
			}
			found.Removed++
		}
	}
	return found, errors.Join(failures...)
}

// isOver reports whether nobody can need the folder again: nothing in it is young, and the store does not know the upload
// that its state names. Without a state no replica can go on with the upload.
func (p *Proxy) isOver(own *request, folder string, entries []listedVersion, age time.Duration) (bool, error) {
	for _, e := range entries {
		modified, err := time.Parse(time.RFC3339, e.LastModified)
		if err != nil {
			return false, fmt.Errorf("reading its age: %w", err)
		}
		if p.cfg.Now().Sub(modified) < age {
			return false, nil
		}
	}
	s, err := p.readState(own, target{own.target.bucket, folder + stateName})
	if errors.Is(err, errNoSuchUpload) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	of := own.internal(own.ctx, target{own.target.bucket, s.Key})
	if (uploadKey{of.target, s.UploadID}).folder() != folder {
		return false, fmt.Errorf("its state is of another upload")
	}
	err = p.checkUpload(of, s.UploadID)
	if hasCode(err, "NoSuchUpload") || hasCode(err, "NoSuchKey") {
		return true, nil
	}
	return false, err
}
