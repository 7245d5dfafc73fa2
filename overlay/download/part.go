package download

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// part is the beginning of a blob, in a file that is called as the blob and locked
// by the process that fetches it.
type part struct {
	file *os.File
	size int64
}

// claim locks what there is of b, as soon as no other process does; it is empty
// where there is nothing. nil is one that another process holds and does not fetch
// on with.
func claim(ctx context.Context, b Blob) (*part, error) {
	path := filepath.Join(b.Keep, b.Digest.Algorithm().String()+"-"+b.Digest.Encoded())
	var last int64 = -1
	var since time.Time
	for {
		p, err := lock(path)
		if p != nil || err != nil {
			return p, err
		}
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist): // it was finished right now
		case err != nil:
			return nil, err
		case last < 0:
			b.Note("another pull fetches the same layer: waiting for it")
			fallthrough
		case st.Size() != last:
			last, since = st.Size(), time.Now()
		case time.Since(since) > Patience: // stopped, or it unpacks at leisure
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lock opens and locks the file, or returns nil if another process has it.
func lock(path string) (*part, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// Whoever had it before may have removed it.
	have, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && os.SameFile(have, there) {
			return &part{f, have.Size()}, nil
		}
	}
	f.Close()
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return nil, err
}

func (p *part) add(b []byte, at int64) error {
	n, err := p.file.WriteAt(b, at)
	p.size = at + int64(n)
	return err
}

// close lets go of it. One in which there is nothing is removed.
func (p *part) close() {
	if p.size == 0 {
		_ = os.Remove(p.file.Name())
	}
	p.file.Close()
}

func (p *part) remove() {
	_ = os.Remove(p.file.Name()) // while it is locked, so that nobody goes on with it
	p.file.Close()
}

// Sweep removes what was kept in dir before the time given, and is not being
// fetched. It returns the bytes.
func Sweep(dir string, before time.Time) (freed int64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.ModTime().Before(before) {
			continue // gone, or young
		}
		p, err := lock(filepath.Join(dir, e.Name()))
		if err != nil {
			return freed, err
		}
		if p != nil {
			freed += p.size
			p.remove()
		}
	}
	return freed, nil
}
