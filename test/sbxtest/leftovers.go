package sbxtest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long what is ending may take to be gone after the test.
const grace = 3 * time.Second

// Leftovers fails the test if, when it ends, there is anything that was not
// there when Leftovers was called: a process the test started at whatever
// depth, a mount, an entry in $XDG_RUNTIME_DIR/sbx, or an open file. Such a
// process is ended, so that the next test doesn't meet it.
//
// Call it first, so that it looks after the test's other cleanups. It must not
// be used in tests that run beside each other: they'd see one another. For
// parallel subtests call it in their parent.
func Leftovers(t testing.TB) {
	t.Helper()
	watch(t, grace)
}

func watch(t testing.TB, grace time.Duration) {
	t.Helper()
	// Orphans become this process's children instead of init's, so that they
	// are found by their parent whoever they run as; see PR_SET_CHILD_SUBREAPER.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatalf("becoming the reaper of orphans: %v", err)
	}
	startPoller(t)
	before := look(t)
	t.Cleanup(func() {
		t.Helper()
		var now state
		var added []string
		for end := time.Now().Add(grace); ; time.Sleep(20 * time.Millisecond) {
			now = look(t)
			added = before.added(now)
			if len(added) == 0 || time.Now().After(end) {
				break
			}
		}
		for _, a := range added {
			t.Errorf("left behind: %s", a)
			if pid := now[a]; pid != 0 {
				_ = unix.Kill(pid, unix.SIGKILL) // of another user, it stays
			}
		}
	})
}

// startPoller makes the Go runtime open the files of its poller now, so that
// they don't look like the test's.
func startPoller(t testing.TB) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
}

// state is a set of things by a name that a person can act on; of a process it
// has the number.
type state map[string]int

// added lists what is in now and not in s.
func (s state) added(now state) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(now)), func(k string) bool { _, ok := s[k]; return ok })
}

func look(t testing.TB) state {
	t.Helper()
	s := state{}
	for _, add := range []func(state) error{addProcesses, addMounts, addRuntime, addFiles} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// addProcesses adds the descendants of this process that live.
func addProcesses(s state) error {
	type process struct{ name, began string }
	children := map[int][]int{}
	seen := map[int]process{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it is gone
		}
		// proc_pid_stat(5): the name stands in parentheses and may hold any byte.
		text := string(stat)
		open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		if open < 0 || end < open {
			return fmt.Errorf("%s/stat: %q", dir, text)
		}
		f := strings.Fields(text[end+1:]) // f[0] is field 3
		if len(f) < 20 {
			return fmt.Errorf("%s/stat: %q", dir, text)
		}
		if f[0] == "Z" || f[0] == "X" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return err
		}
		parent, err := strconv.Atoi(f[1])
		if err != nil {
			return err
		}
		children[parent] = append(children[parent], pid)
		seen[pid] = process{name: text[open+1 : end], began: f[19]}
	}
	for todo := slices.Clone(children[os.Getpid()]); len(todo) > 0; {
		pid := todo[0]
		todo = append(todo[1:], children[pid]...)
		// The start time tells it from a later process of the same number.
		s[fmt.Sprintf("process %d (%s, started at tick %s)", pid, seen[pid].name, seen[pid].began)] = pid
	}
	return nil
}

func addMounts(s state) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		s["mount "+strings.TrimSpace(line)] = 0
	}
	return nil
}

func addRuntime(s state) error {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return nil
	}
	return filepath.WalkDir(filepath.Join(dir, "sbx"), func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no such directory, or it went meanwhile
		}
		if err != nil {
			return err
		}
		if path != filepath.Join(dir, "sbx") { // the directory itself may stay
			s["file "+path] = 0
		}
		return nil
	})
}

func addFiles(s state) error {
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil {
			continue // the descriptor Glob read the directory with
		}
		s[fmt.Sprintf("open file %s: %s", filepath.Base(fd), target)] = 0
	}
	return nil
}
