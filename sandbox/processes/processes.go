// Package processes finds the processes of a sandbox: PID 1 and what descends
// from it. Whoever loses its parent in a PID namespace becomes PID 1's child
// (pid_namespaces(7)), so nothing of a sandbox is missed.
package processes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one process as it was found, see proc_pid_stat(5).
type Process struct {
	PID     int      `json:"pid"`    // as the host knows it
	Inside  int      `json:"inside"` // as the sandbox knows it, 0 where it can't be found out
	Parent  int      `json:"parent"`
	Session int      `json:"-"`     // of the host
	TTY     int      `json:"-"`     // its controlling terminal, 0 for none
	State   string   `json:"state"` // R, S, D, T, Z, ...
	Start   uint64   `json:"start"` // ticks after boot
	CPU     uint64   `json:"cpu"`   // ticks of user and system time
	RSS     int64    `json:"rss"`   // bytes in memory
	Threads int      `json:"threads"`
	UID     uint32   `json:"uid"` // of the host
	Name    string   `json:"name"`
	Command []string `json:"command,omitempty"` // "" where it has none, as sbx's own
}

// List returns PID 1 of a sandbox, by its number on the host, and all that
// descends from it, parents first.
func List(init int) ([]Process, error) {
	all, err := Scan()
	if err != nil {
		return nil, err
	}
	return all.Below(init)
}

// Snapshot is all processes of the host, as they were found one after another.
type Snapshot struct {
	children map[int][]Process
	byPID    map[int]Process
}

// Scan looks at all processes, once for as many sandboxes as one likes.
func Scan() (*Snapshot, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	s := &Snapshot{children: map[int][]Process{}, byPID: map[int]Process{}}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, err := look(pid)
		if err != nil {
			continue // it is gone
		}
		s.byPID[pid] = p
		s.children[p.Parent] = append(s.children[p.Parent], p)
	}
	return s, nil
}

// Below is List in what was found.
func (s *Snapshot) Below(init int) ([]Process, error) {
	first, ok := s.byPID[init]
	if !ok {
		return nil, fmt.Errorf("process %d: %w", init, unix.ESRCH)
	}
	list := []Process{first}
	for i := 0; i < len(list); i++ {
		below := s.children[list[i].PID]
		slices.SortFunc(below, func(a, b Process) int { return a.PID - b.PID })
		list = append(list, below...)
	}
	return list, nil
}

var pageSize = int64(os.Getpagesize())

// look reads what is cheap: one file.
func look(pid int) (Process, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, err
	}
	p, err := parse(pid, text)
	if err == nil && p.State == "Z" && p.Threads > 1 {
		p.headless()
	}
	return p, err
}

// headless is for a process whose first thread has ended, of which alone proc_pid_stat(5)
// tells: it is as one of the others is, which runs if any of them does.
func (p *Process) headless() {
	dir := "/proc/" + strconv.Itoa(p.PID) + "/task/"
	threads, _ := os.ReadDir(dir)
	for _, e := range threads {
		text, err := os.ReadFile(dir + e.Name() + "/stat")
		if err != nil {
			continue
		}
		t, err := parse(p.PID, text)
		if err != nil || t.State == "Z" || t.State == "X" {
			continue
		}
		if p.State, p.RSS = t.State, t.RSS; !t.Stopped() {
			return
		}
	}
}

// parse reads proc_pid_stat(5). The name stands in parentheses and may hold any
// byte.
func parse(pid int, text []byte) (Process, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	bad := errors.New("it is not what proc_pid_stat(5) says")
	if open < 0 || end < open {
		return Process{}, bad
	}
	f := strings.Fields(string(text[end+1:])) // f[0] is field 3
	if len(f) < 22 {
		return Process{}, bad
	}
	p := Process{PID: pid, State: f[0], Name: string(text[open+1 : end])}
	number := func(field int) uint64 {
		v, err := strconv.ParseUint(f[field-3], 10, 64)
		if err != nil {
			bad = fmt.Errorf("field %d of proc_pid_stat(5): %w", field, err)
			return 0
		}
		return v
	}
	was := bad
	p.Parent, p.Threads = int(number(4)), int(number(20))
	p.Session, p.TTY = int(number(6)), int(int32(number(7)))
	p.CPU, p.Start = number(14)+number(15), number(22)
	p.RSS = int64(number(24)) * pageSize
	if bad != was {
		return Process{}, bad
	}
	return p, nil
}

// Detail adds what takes more files: the number inside, the owner, the command
// line. What can't be read stays empty.
func (p *Process) Detail() {
	base := "/proc/" + strconv.Itoa(p.PID)
	if text, err := os.ReadFile(base + "/status"); err == nil {
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			f := strings.Fields(value)
			switch {
			case key == "NSpid" && len(f) > 1:
				p.Inside, _ = strconv.Atoi(f[len(f)-1])
			case key == "Uid" && len(f) > 1:
				if uid, err := strconv.ParseUint(f[1], 10, 32); err == nil {
					p.UID = uint32(uid)
				}
			}
		}
	}
	if text, err := os.ReadFile(base + "/cmdline"); err == nil && len(text) > 0 {
		p.Command = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	}
}

// Signal sends a signal to this process and no other, whatever has become of its
// number.
func (p *Process) Signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, err := look(p.PID); err != nil || now.Start != p.Start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// Stopped says that it does not run, and will not before it is told to.
func (p *Process) Stopped() bool {
	return p.State == "T" || p.State == "t" || p.State == "Z" || p.State == "X"
}

// SignalAll sends SIGSTOP or SIGCONT to every process of a sandbox but PID 1,
// once to each, and looks again until it finds no new one: who has SIGSTOP
// pending makes none, since fork(2) begins anew after the signal. With SIGSTOP it
// then waits until all stand; whoever is in an uninterruptible sleep stops at the end
// of that.
func SignalAll(init int, sig unix.Signal) error {
	const rounds = 200
	told := map[identity]bool{}
	for range rounds {
		list, err := List(init)
		if err != nil {
			return err
		}
		found, err := signalNew(list[1:], sig, told)
		if err != nil {
			return err
		}
		if found {
			continue
		}
		if sig == unix.SIGSTOP {
			return stand(init, time.Now().Add(patience))
		}
		return nil
	}
	return errors.New("the sandbox makes processes faster than they can be stopped")
}

// patience is how long SignalAll waits until all stand.
const patience = 2 * time.Second

// EndSession kills, below PID 1 of a sandbox, every process of the session that a
// child of parent leads, and looks again until it finds no new one.
func EndSession(init, parent int) error {
	const rounds = 50
	session, told := 0, map[identity]bool{}
	for range rounds {
		list, err := List(init)
		if err != nil {
			return err
		}
		if session == 0 {
			leads := func(p Process) bool { return p.Parent == parent && p.Session == p.PID }
			i := slices.IndexFunc(list, leads)
			if i < 0 {
				return nil
			}
			session = list[i].PID
		}
		found := false
		for i := range list {
			p := &list[i]
			who := identity{p.PID, p.Start}
			if p.Session != session || told[who] || p.State == "Z" || p.State == "X" {
				continue
			}
			found, told[who] = true, true
			if err := p.Signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("killing process %d of the sandbox: %w", p.PID, err)
			}
		}
		if !found {
			return nil
		}
	}
	return errors.New("the sandbox makes processes faster than they can be killed")
}

// identity is a process, whoever has its number later.
type identity struct {
	pid   int
	start uint64
}

// signalNew signals those that the signal would change and that were not told
// yet, and says whether there were any.
func signalNew(list []Process, sig unix.Signal, told map[identity]bool) (found bool, err error) {
	for i := range list {
		p := &list[i]
		who := identity{p.PID, p.Start}
		if told[who] || p.Stopped() == (sig == unix.SIGSTOP) || p.State == "Z" || p.State == "X" {
			continue
		}
		found, told[who] = true, true
		if err := p.Signal(sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return found, fmt.Errorf("signalling process %d of the sandbox: %w", p.PID, err)
		}
	}
	return found, nil
}

// stand waits for processes that were told to stop, until a moment. Who goes on is told
// again: before it was stopped itself, another one can have let it go on.
func stand(init int, end time.Time) error {
	for {
		list, err := List(init)
		if err != nil {
			return err
		}
		runs := 0
		for i := range list[1:] {
			p := &list[1+i]
			if p.Stopped() || p.State == "D" {
				continue
			}
			runs = p.PID
			if err := p.Signal(unix.SIGSTOP); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("stopping process %d of the sandbox: %w", p.PID, err)
			}
		}
		if runs == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("process %d of the sandbox does not stop, or others let it go on faster than they can be stopped; with a control group (limits.cgroup = \"always\") none can", runs)
		}
		time.Sleep(time.Millisecond)
	}
}
