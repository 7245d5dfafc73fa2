package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is a control group: the absolute path of its directory.
type Group string

// The names of groups below a sandbox's: the one that holds all of its processes,
// and in that, where the command may make groups of its own, the one it begins in.
const (
	PayloadLeaf = "payload"
	InitLeaf    = "init.scope"
)

// Payload returns the payload of the sandbox whose process is in group at, a path
// as Of returns it; "" for none. Below it the names are the command's choice, so
// that the outermost counts.
func Payload(at string) string {
	parts := strings.Split(at, "/")
	for i, name := range parts[:len(parts)-1] {
		if strings.HasPrefix(name, "sbx-") && parts[i+1] == PayloadLeaf {
			return strings.Join(parts[:i+2], "/")
		}
	}
	return ""
}

// Of returns the group of a process below the root of version 2's hierarchy,
// "/" for the root itself: the line of /proc/PID/cgroup that begins with "0::".
// "self" is the calling process.
func Of(pid string) (string, error) {
	path := "/proc/" + pid + "/cgroup"
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if at, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(strings.TrimSuffix(at, "\n"), " (deleted)"), nil
		}
	}
	return "", fmt.Errorf("%s names no group of version 2", path)
}

func (g Group) file(name string) string { return filepath.Join(string(g), name) }

func (g Group) read(name string) (string, error) {
	text, err := os.ReadFile(g.file(name))
	return string(bytes.TrimSpace(text)), err
}

// write puts text into one of the group's files in one write(2).
func (g Group) write(name, text string) error {
	f, err := os.OpenFile(g.file(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Make makes a group below g.
func (g Group) Make(name string) (Group, error) {
	below := Group(g.file(name))
	return below, os.Mkdir(string(below), 0o755)
}

// Add moves a process into the group, by its pid. See cgroups(7), "Cgroups
// delegation": the common ancestor of both groups must be writable too, else
// EACCES.
func (g Group) Add(pid int) error { return g.write("cgroup.procs", strconv.Itoa(pid)) }

// Prime has the kernel get ready to move processes between groups: the first move
// after a while waits for a grace period of RCU (6 to 15 ms on Linux 6.18 at 250 Hz
// with 2 processors; none before 6.0, or with the mount option favordynmods), those
// that follow soon do not. It takes as long. own is the group that this process is in
// and is moved to, so that nothing changes. Where that one can't be written, moving to
// other is tried instead, and refused: no group above both can be written then
// (cgroups(7), "Cgroups delegation: containment rules").
func Prime(own, other Group) {
	if errors.Is(own.Add(os.Getpid()), unix.EACCES) {
		_ = other.Add(os.Getpid())
	}
}

// Processes are the pids in the group itself. 0 is a process of another PID
// namespace.
func (g Group) Processes() ([]int, error) {
	text, err := g.read("cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(text) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no pid", g.file("cgroup.procs"), f)
		}
		pids = append(pids, n)
	}
	return pids, nil
}

// Controllers are those that g may use.
func (g Group) Controllers() ([]string, error) {
	text, err := g.read("cgroup.controllers")
	return strings.Fields(text), err
}

// Enabled are the controllers that the groups below g have.
func (g Group) Enabled() ([]string, error) {
	text, err := g.read("cgroup.subtree_control")
	return strings.Fields(text), err
}

// Enable gives controllers to the groups below g.
//
// Precondition: no process is in g itself (cgroups(7), "no internal processes"),
// else EBUSY.
func (g Group) Enable(controllers []string) error { return g.control("+", controllers) }

// Disable takes controllers away from the groups below g.
func (g Group) Disable(controllers []string) error { return g.control("-", controllers) }

func (g Group) control(sign string, controllers []string) error {
	if len(controllers) == 0 {
		return nil
	}
	return g.write("cgroup.subtree_control", sign+strings.Join(controllers, " "+sign))
}

// Set writes l into the group's files. A file that does not exist is a
// controller that the group lacks.
func (g Group) Set(l *Limits) error {
	for _, s := range l.Settings() {
		if err := g.write(s.File, s.Value); err != nil && !s.moot(err) {
			return fmt.Errorf("writing %q: %w", s.Value, err)
		}
	}
	return nil
}

// Check reads l back from the group's files. It names every limit that the
// kernel does not hold as it was asked to: systemd says nothing of a controller
// that is missing.
func (g Group) Check(l *Limits) error {
	var errs []error
	for _, s := range l.Settings() {
		text, err := g.read(s.File)
		switch {
		case s.moot(err):
		case errors.Is(err, unix.ENOENT):
			controller, _, _ := strings.Cut(s.File, ".")
			errs = append(errs, fmt.Errorf("%s is not there: the controller %s is missing", g.file(s.File), controller))
		case err != nil:
			errs = append(errs, err)
		case !s.holds(text):
			errs = append(errs, fmt.Errorf("%s holds %q instead of %q", g.file(s.File), text, s.Value))
		}
	}
	return errors.Join(errs...)
}

// moot tells whether a file that is missing leaves nothing to limit: a kernel without
// swap, or that does not count it (CONFIG_SWAP, swapaccount=0), on a machine that has
// none.
func (s Setting) moot(err error) bool {
	if s.File != "memory.swap.max" || s.Value != "0" || !errors.Is(err, unix.ENOENT) {
		return false
	}
	swaps, err := os.ReadFile("/proc/swaps") // a line for each, below a heading (proc_swaps(5))
	return errors.Is(err, unix.ENOENT) || err == nil && bytes.Count(swaps, []byte("\n")) <= 1
}

// KillTogether has the kernel kill all processes of the group at once when it
// is out of memory (memory.oom.group, Linux 4.19).
func (g Group) KillTogether() error { return g.write("memory.oom.group", "1") }

// Kill kills every process in g and below. Before Linux 5.14, which brought
// cgroup.kill, they are signalled one by one until none is left.
func (g Group) Kill() error {
	err := g.write("cgroup.kill", "1")
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	for range 100 {
		pids, err := g.tree()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("killing the processes of %s: there are always new ones", g)
}

// tree is the processes of g and of all groups below.
func (g Group) tree() ([]int, error) {
	var pids []int
	err := g.walk(func(one Group) error {
		list, err := one.Processes()
		pids = append(pids, list...)
		return err
	})
	return pids, err
}

// walk visits g and all groups below, those below first.
func (g Group) walk(visit func(Group) error) error {
	entries, err := os.ReadDir(string(g))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := Group(g.file(e.Name())).walk(visit); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	return visit(g)
}

// Bound lets at most n groups be below g, and none deeper than depth levels, whoever
// makes them (cgroup.max.descendants and cgroup.max.depth, Linux 4.14).
func (g Group) Bound(n, depth int) error {
	if err := g.write("cgroup.max.descendants", strconv.Itoa(n)); err != nil {
		return err
	}
	return g.write("cgroup.max.depth", strconv.Itoa(depth))
}

// Remove removes g and all groups below, which must have no processes: else
// EBUSY. One that is gone already is no error.
func (g Group) Remove() error {
	above, err := os.OpenRoot(filepath.Dir(string(g)))
	if err == nil {
		defer above.Close()
		err = remove(above, filepath.Base(string(g)))
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing the control group %s: %w", g, err)
	}
	return nil
}

// remove removes a group in a directory, and first those below: step by step, since
// names are the choice of whoever made them, and a path of them may be longer than
// the kernel takes.
func remove(above *os.Root, name string) error {
	g, err := above.OpenRoot(name)
	if err != nil {
		return err
	}
	defer g.Close()
	dir, err := g.Open(".")
	if err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if err = errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(g, e.Name()); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	// A process that has just died may still be counted.
	for range 50 {
		if err = above.Remove(name); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	return err
}

// ErrNotYet says that Freeze's patience was too short; the kernel goes on.
var ErrNotYet = errors.New("not all processes were frozen, or let go on,")

// Freeze stops every process in g and below, or lets them go on, and returns
// when that is so (cgroup.freeze, Linux 5.2). After patience it gives up
// waiting: a process in an uninterruptible sleep is frozen when that ends.
func (g Group) Freeze(on bool, patience time.Duration) error {
	want := "0"
	if on {
		want = "1"
	}
	if err := g.write("cgroup.freeze", want); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		n, err := g.number("cgroup.events", "frozen")
		if err != nil {
			return err
		}
		if strconv.FormatInt(n, 10) == want {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %w within %v", g, ErrNotYet, patience)
		}
	}
}

// FrozenFrom is the group, of g and those above it up to root, that stops the
// processes of g; "" for none.
func (g Group) FrozenFrom(root Group) Group {
	for _, at := range g.upTo(string(root)) {
		if text, err := at.read("cgroup.freeze"); err == nil && text == "1" {
			return at
		}
	}
	return ""
}

// number reads one line "KEY N" of a file.
func (g Group) number(file, key string) (int64, error) {
	text, err := g.read(file)
	if err != nil {
		return 0, err
	}
	return flat(text, key)
}

// flat finds a key in a file of lines "KEY N" ("flat keyed" in the kernel's
// documentation). One that is not there is 0: kernels differ.
func flat(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, nil
}

// upTo lists g and the groups above it, up to and with the root.
func (g Group) upTo(root string) []Group {
	var list []Group
	for at := filepath.Clean(string(g)); ; at = filepath.Dir(at) {
		list = append(list, Group(at))
		if at == filepath.Clean(root) || at == "/" {
			return list
		}
	}
}
