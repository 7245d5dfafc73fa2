package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
)

// Try finds out whether the host refuses the namespaces of a sandbox, by making
// them and ending the sandbox at once. The error is a *RefusedError where it does.
func Try(shape sandbox.Shape) error {
	st, err := Begin(shape)
	if err != nil {
		return err
	}
	defer st.Abort()
	// Its program ends here, after the namespaces: it says so, or that it
	// could not make them.
	for i, fd := range st.ends.ours {
		if fd == st.ends.program {
			unix.Close(fd)
			st.ends.ours[i] = -1
		}
	}
	var b [child.ReportSize]byte
	n, err := readFull(st.ends.report, b[:])
	if err != nil || n == 0 {
		return fmt.Errorf("trying to make namespaces: nothing was said of it: %w", errors.Join(err, unix.EIO))
	}
	rep, err := child.ParseReport(b[:n])
	if err != nil {
		return err
	}
	step, err := program.Prelude(shape).Step(program.OpIndex(rep.Offset))
	if err != nil || !step.Refusable {
		return err
	}
	return refusedStep(&StepError{Step: step, Errno: rep.Errno})
}

// findInit finds the process of a bare sandbox that signals are for. Its parent
// does not wait for it before its end, so that its number is its own.
func (s *sandboxed) findInit() {
	fd, err := unix.PidfdOpen(int(s.child.Result(s.prog.Init)), 0)
	if err != nil {
		fd = -1 // it is gone already
	}
	s.init = fd
}

// awaitInit waits until nothing of a bare sandbox is left, when its first process
// is gone: init may be ending the rest. Only those two hold the pipe's other end.
func (s *sandboxed) awaitInit() {
	var b [16]byte
	for n := 1; s.bare && n > 0; {
		n, _ = readFull(s.ends.status, b[:])
	}
	s.gone = true
}

// initKilled is the signal that ended PID 1, 0 for none. In a bare sandbox the
// first process says so of init.
func (s *sandboxed) initKilled(ws unix.WaitStatus) unix.Signal {
	switch {
	case ws.Signaled():
		return ws.Signal()
	case s.bare && ws.ExitStatus() == int(program.WardStatus):
		return unix.SIGKILL
	}
	return 0
}

// private is a bare sandbox's private directory. This process holds the lock on
// it: a directory whose lock nobody has is left over.
type private struct {
	dir  string
	lock int
}

// makePrivate makes the directory, its subdirectories and links, and removes
// those that sandboxes left whose sbx was killed.
func makePrivate(b *sandbox.Bare) (p *private, err error) {
	sweep(b.Private)
	for range 10 { // another sbx may sweep it away before it is locked
		if err = unix.Mkdir(b.Private, 0o700); err != nil {
			return nil, &os.PathError{Op: "mkdir", Path: b.Private, Err: err}
		}
		p = &private{dir: b.Private, lock: -1}
		if err = p.fill(b); err == nil {
			return p, nil
		}
		p.remove()
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, err
}

func (p *private) fill(b *sandbox.Bare) (err error) {
	if p.lock, err = lock(p.dir); err != nil {
		return fmt.Errorf("locking %s: %w", p.dir, err)
	}
	for _, d := range b.Dirs {
		if err := os.Mkdir(filepath.Join(p.dir, d), 0o700); err != nil {
			return err
		}
	}
	for _, l := range b.Links {
		if err := os.Symlink(l.To, filepath.Join(p.dir, l.Path)); err != nil {
			return err
		}
	}
	return nil
}

// lock opens a directory and takes its lock (flock(2)) if nobody has it.
func lock(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// remove removes the directory and all that is in it. What a program made
// read-only for its owner has to be made writable first. No link leads either out
// of it.
func (p *private) remove() {
	if os.RemoveAll(p.dir) != nil {
		if root, err := os.OpenRoot(p.dir); err == nil {
			_ = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
				if d != nil && d.IsDir() && err == nil {
					_ = root.Chmod(path, 0o700) // before it is read
				}
				return nil
			})
			root.Close()
		}
		_ = os.RemoveAll(p.dir)
	}
	if p.lock >= 0 {
		unix.Close(p.lock)
	}
}

// PrivatePrefix begins the names of private directories.
const PrivatePrefix = "sbx-private-"

// sweep removes private directories beside dir that no sandbox has any more.
func sweep(dir string) {
	base := filepath.Dir(dir)
	names, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, n := range names {
		if !strings.HasPrefix(n.Name(), PrivatePrefix) || !n.IsDir() {
			continue
		}
		path := filepath.Join(base, n.Name())
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || int(st.Uid) != unix.Getuid() {
			continue
		}
		if fd, err := lock(path); err == nil {
			(&private{path, fd}).remove()
		}
	}
}
