package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// EditKeyring changes the keyring file at path in one step: readers see the old one or the new one, and of two edits at
// once none is lost. When there is no file, edit is given an empty keyring, and the file is made with mode 0600;
// otherwise owner and mode stay. Nothing is written when edit fails.
func EditKeyring(path string, edit func(*Keyring) error) error {
	path, err := resolve(path)
	if err != nil {
		return err
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	r, old, err := readKeyring(path)
	if errors.Is(err, fs.ErrNotExist) {
		r, old = &Keyring{}, nil
	} else if err != nil {
		return err
	}
	if err := edit(r); err != nil {
		return err
	}
	return writeKeyring(path, r, old)
}

// resolve follows symbolic links, so that the file behind them is replaced and not the link.
func resolve(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil {
		return resolved, nil
	}
	if _, linkErr := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && errors.Is(linkErr, fs.ErrNotExist) {
		return path, nil
	}
	return "", fmt.Errorf("resolving keyring: %w", err)
}

// lockFolder takes an advisory lock on the keyring's folder, which unlike the file is not replaced, and unlike a lock
// file has no owner or leftovers of its own.
func lockFolder(path string) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the keyring's folder: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close() //nolint:errcheck // the lock's error is the one to tell
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil //nolint:errcheck // closing releases the lock
}

// writeKeyring replaces the file at path; old is what it was, or nil if there was none.
func writeKeyring(path string, r *Keyring, old fs.FileInfo) (err error) {
	data, err := json.MarshalIndent(ringFile{keyringFormat, r.keys}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding keyring: %w", err)
	}
	data = append(data, '\n')
	if _, err := parseKeyring(data); err != nil {
		return fmt.Errorf("refusing to write a keyring that could not be read: %w", err)
	}
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing keyring %s: %w", path, unnamed(err))
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name()) //nolint:errcheck // it holds keys; the first error is the one to tell
		}
	}()
	_, err = bytes.NewReader(data).WriteTo(f)
	if err == nil && old != nil {
		err = inherit(f, old)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing keyring %s: %w", path, unnamed(err))
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("replacing keyring %s: %w", path, unnamed(err))
	}
	return syncFolder(folder)
}

// unnamed takes the random name of the new file out of an error, so that one reason reads the same each time.
func unnamed(err error) error {
	var ofPath *fs.PathError
	var ofLink *os.LinkError
	switch {
	case errors.As(err, &ofPath):
		return ofPath.Err
	case errors.As(err, &ofLink):
		return ofLink.Err
	}
	return err
}

// inherit gives f the owner and mode of the file it will replace: a keyring that root rotates must stay readable for the
// proxy's user.
func inherit(f *os.File, old fs.FileInfo) error {
	if s, ok := old.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(s.Uid), int(s.Gid)); err != nil {
			return fmt.Errorf("keeping the file's owner (run as root or as the owner): %w", unnamed(err))
		}
	}
	return f.Chmod(old.Mode().Perm())
}

// syncFolder makes a rename in the folder durable.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the keyring's folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing the keyring's folder: %w", err)
	}
	return nil
}
