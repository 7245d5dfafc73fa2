//go:build !cgo

// Package store keeps images: it takes them in from files and registries,
// layer by layer, and gives them out again. It is the adapter to
// containers/storage and is linked by sbx-store alone.
//
// It runs as root of a user namespace in which the caller is 0 and the
// subordinate ids, if there are any, follow. Layers are unpacked by
// containers/storage in a process of its own that has changed its root
// directory to the layer's; before that, package archive has judged every byte.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// Store is the directory of images, open.
type Store struct {
	dir  string
	kept upper.Store // overlays, some of which lie over images
	ids  image.IDs
	st   storage.Store
	say  func(image.Message)
}

// Options are what Open needs to know.
type Options struct {
	// Dir is the directory of images, absolute; it is made if it is not there.
	Dir string
	// Overlays is the directory of overlays, "" for none.
	Overlays string
	// IDs are the maps of the user namespace this process is root of.
	IDs image.IDs
	// Say takes notes and progress. It must not be nil.
	Say func(image.Message)
}

// Open opens the store. Close must follow.
//
// Precondition: reexec.Init was called first in main, since layers are unpacked
// by this program, started anew.
func Open(o Options) (*Store, error) {
	s := &Store{dir: o.Dir, kept: upper.Store{Root: o.Overlays}, ids: o.IDs, say: o.Say}
	if err := s.makeDirs(); err != nil {
		return nil, fmt.Errorf("making the directory of images: %w", err)
	}
	if err := mendLinks(filepath.Join(s.dir, image.Layers)); err != nil {
		return nil, fmt.Errorf("mending the store of images: %w", Explain(err))
	}
	opts := []string{}
	if o.IDs.Mode != "range" {
		opts = append(opts, "overlay.ignore_chown_errors=true")
	}
	st, err := storage.GetStore(storage.StoreOptions{
		GraphRoot:          filepath.Join(s.dir, image.Storage),
		RunRoot:            filepath.Join(s.dir, "run"),
		GraphDriverName:    "overlay",
		GraphDriverOptions: opts,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the store of images in %s: %w", s.dir, Explain(err))
	}
	s.st = st
	return s, nil
}

// partial is the directory of what came of layers whose pull did not end.
const partial = "partial"

// makeDirs makes what is not there yet. Nobody but the caller may look into it:
// layers hold setuid files of the caller's and of subordinate ids.
func (s *Store) makeDirs() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if st, err := os.Lstat(s.dir); err != nil || !st.IsDir() {
		return fmt.Errorf("%s is no directory", s.dir)
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.freshRun(); err != nil {
		return err
	}
	for _, d := range []string{image.Scratch, "tmp", partial, image.Layers} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			return err
		}
	}
	// Which program mounts is remembered in this file, for ever, from the first
	// attempt on; a failed one would have fuse-overlayfs mount what the kernel
	// mounts as well.
	flag := filepath.Join(s.dir, image.Layers, ".has-mount-program")
	if text, err := os.ReadFile(flag); err == nil && string(text) == "false" {
		return nil
	}
	return os.WriteFile(flag, []byte("false"), 0o600)
}

// freshRun empties the directory of what is lost at a reboot.
func (s *Store) freshRun() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	run := filepath.Join(s.dir, "run")
	file := filepath.Join(run, "boot")
	if have, err := os.ReadFile(file); err == nil && string(have) == string(boot) {
		return nil
	}
	unlock, err := s.lock("lock", unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, boot, 0o600)
}

// lock takes a lock file of the directory, with flock(2)'s flags. It is let go
// by the function that comes back, and by this process's end.
func (s *Store) lock(name string, how int) (unlock func(), err error) {
	path := filepath.Join(s.dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// Close lets go of the store.
func (s *Store) Close() error {
	_, err := s.st.Shutdown(false)
	return err
}

// note warns of something.
func (s *Store) note(format string, args ...any) {
	s.say(image.Message{Kind: "note", Text: fmt.Sprintf(format, args...)})
}

// tell says what is no reason to worry.
func (s *Store) tell(format string, args ...any) {
	s.say(image.Message{Kind: "info", Text: fmt.Sprintf(format, args...)})
}

// Hint is an error with what to do about it.
type Hint struct {
	Err  error
	Next string
}

func (h *Hint) Error() string { return h.Err.Error() }
func (h *Hint) Unwrap() error { return h.Err }

// Explain adds what to do to the errors whose text says too little.
func Explain(err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, unix.ENOSPC) || strings.Contains(text, "no space left on device"):
		return &Hint{err, "make room, sbx image prune removes images without a name; nothing of this one was kept"}
	case strings.Contains(text, "insufficient UIDs or GIDs"):
		return &Hint{errors.New("the image has files of ids beyond your subordinate ones"), "an administrator can give you more in /etc/subuid and /etc/subgid"}
	case strings.Contains(text, "is not supported over"):
		return &Hint{err, "move the images to another file system: set XDG_DATA_HOME"}
	}
	return err
}

// free is the bytes that are free where the images are.
func (s *Store) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", s.dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// notThere reports whether err says that something does not exist.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, storage.ErrImageUnknown) || errors.Is(err, storage.ErrLayerUnknown) || errors.Is(err, storage.ErrNotAnImage)
}
