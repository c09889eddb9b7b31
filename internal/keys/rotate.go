package keys

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Rotation is a step of a key's rotation by age.
type Rotation struct {
	KeyID   string
	Version uint32
	Primary bool // it wraps new keys from now on; else it was only made
}

func (r Rotation) String() string {
	step := "has version %d, not yet in use for new objects"
	if r.Primary {
		step = "wraps under version %d now"
	}
	return "key " + r.KeyID + " " + fmt.Sprintf(step, r.Version)
}

// maxLead is the longest time by which a version is made before it is used.
const maxLead = 24 * time.Hour

// lead returns the time by which a version is made before it takes the place of one that may have the given age: every replica, and a backup,
// shall have it by then.
func lead(age time.Duration) time.Duration { return min(age/10, maxLead) }

var errNothingDue = errors.New("nothing is due")

// RotateDue takes the steps that are due so that no version of these keys wraps new ones when it is older than age. A version is made some time
// before it becomes primary; the old one stays enabled. A key whose primary version is disabled is left alone. Of several processes with one file
// one takes each step. Ids that the file does not have count for nothing. When nothing is due the file is only read; else it must be possible to change it, as EditKeyring does.
func RotateDue(path string, ids []string, age time.Duration, now time.Time) ([]Rotation, error) {
	r, err := ReadKeyring(path)
	if err != nil {
		return nil, err
	}
	due, err := r.rotateDue(ids, age, now)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	var done []Rotation
	err = EditKeyring(path, func(r *Keyring) (err error) {
		if done, err = r.rotateDue(ids, age, now); err == nil && len(done) == 0 {
			err = errNothingDue // another process was faster
		}
		return err
	})
	if errors.Is(err, errNothingDue) {
		return nil, nil
	}
	if err != nil {
		var names []string
		for _, step := range due {
			names = append(names, step.KeyID)
		}
		return nil, fmt.Errorf("due for rotation: %s: %w", strings.Join(names, ", "), err)
	}
	return done, nil
}

// rotateDue changes r and returns what it has changed.
func (r *Keyring) rotateDue(ids []string, age time.Duration, now time.Time) (done []Rotation, err error) {
	for _, id := range ids {
		k, err := r.find(id)
		if err != nil {
			continue // who needs it hears of it
		}
		primary, next := k.find(k.Primary), k.newest(now.Add(lead(age)))
		end := primary.Created.Add(age)
		switch {
		case primary.State != enabled:
		case next.Version == primary.Version && !now.Before(end.Add(-lead(age))):
			version, err := r.Add(id, now)
			if err != nil {
				return nil, err
			}
			done = append(done, Rotation{KeyID: id, Version: version})
		case next.Version != primary.Version && !now.Before(end) && !now.Before(next.Created.Add(lead(age))):
			k.Primary = next.Version
			done = append(done, Rotation{id, next.Version, true})
		}
	}
	return done, nil
}

// newest returns the last version that is enabled, from the primary one on. One that is dated behind the latest time that any clock may have had was
// made by one that was wrong: who waited for its time would never rotate again.
func (k *ringKey) newest(latest time.Time) *ringVersion {
	newest := k.find(k.Primary)
	for i := range k.Versions {
		if v := &k.Versions[i]; v.Version > newest.Version && v.State == enabled && !v.Created.After(latest) {
			newest = v
		}
	}
	return newest
}
