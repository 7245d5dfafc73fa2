package state

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A sandbox in the foreground writes no record: making and removing one would
// cost every run some percent of its time, and few are ever looked at. They are
// found by their supervisors' processes instead, which make a record once
// somebody wants more of them (Summon).

// SignalRecord asks a supervisor for its record and its control socket. Go
// ignores it where nothing handles it, and so does an sbx that builds no sandbox.
const SignalRecord = unix.Signal(59)

// DerivedID is the id of a sandbox whose supervisor has not chosen one.
func DerivedID(supervisor Process, boot string) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %d", boot, supervisor.PID, supervisor.Start)
	return fmt.Sprintf("%016x", h.Sum64())[:IDLength]
}

// DerivedName is the name of a sandbox that was given none.
func DerivedName(id string) string { return "run-" + id[:6] }

// scan finds the supervisors among the caller's processes: those that run this
// very binary, in this user and PID namespace, and have a sandbox's PID 1 for a
// child. A sandboxed process is in another user namespace, whatever it looks
// like. Those that known has by their process are passed over, and those whose
// records would lie elsewhere.
func scan(at here, known []Record) ([]Record, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	starts := map[int]uint64{} // of all processes
	inits := map[int]Process{} // by their parents
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, err := readSmall("/proc/" + name + "/stat")
		if err != nil {
			continue // it is gone
		}
		comm, parent, start, err := parseStat(text)
		if err != nil {
			continue
		}
		if starts[pid] = start; comm == "sbx-init" {
			inits[parent] = Process{pid, start}
		}
	}
	recorded := make(map[Process]bool, len(known))
	for i := range known {
		recorded[known[i].Supervisor] = true
	}
	var list []Record
	for pid, init := range inits {
		c := Process{pid, starts[pid]}
		if recorded[c] || !ours(pid) || !sameBase(pid) {
			continue
		}
		r := Record{Version: Version, Status: Running, Supervisor: c, Init: init, Boot: at.boot, PIDNS: at.pidns}
		r.ID = DerivedID(c, at.boot)
		r.Name = DerivedName(r.ID)
		r.Created = startedAt(init)
		r.Started = r.Created
		if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil {
			r.Command = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
		}
		r.Dir, _ = os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
		r.Unrecorded = true
		list = append(list, r)
	}
	return list, nil
}

// parseStat reads the name, the parent and the start of proc_pid_stat(5).
func parseStat(text []byte) (comm string, parent int, start uint64, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return "", 0, 0, errors.New("it is not what proc_pid_stat(5) says")
	}
	f := bytes.Fields(text[end+1:])
	if len(f) < 2 {
		return "", 0, 0, errors.New("it is not what proc_pid_stat(5) says")
	}
	if parent, err = strconv.Atoi(string(f[1])); err == nil {
		start, err = startTime(text)
	}
	return string(text[open+1 : end]), parent, start, err
}

// ours says whether a process runs this binary beside this process.
func ours(pid int) bool {
	for _, what := range []string{"exe", "ns/user", "ns/pid"} {
		var theirs, own unix.Stat_t
		if unix.Stat("/proc/"+strconv.Itoa(pid)+"/"+what, &theirs) != nil || unix.Stat("/proc/self/"+what, &own) != nil {
			return false // another's, or gone
		}
		if theirs.Ino != own.Ino || theirs.Dev != own.Dev {
			return false
		}
	}
	return true
}

// sameBase says whether a process has its records where this one has.
func sameBase(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	dir := ""
	for kv := range bytes.SplitSeq(text, []byte{0}) {
		if value, ok := bytes.CutPrefix(kv, []byte("XDG_RUNTIME_DIR=")); ok {
			dir = string(value)
		}
	}
	return base(dir) == Base()
}

// startedAt is when a process began.
func startedAt(p Process) time.Time {
	const ticks = 100 // USER_HZ, the same on every architecture of Linux that Go knows
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}
	}
	began := time.Duration(p.Start) * (time.Second / ticks)
	return time.Now().Add(began - time.Duration(now.Nano())).Round(0)
}

// listens says whether a sandbox's control socket is there.
func (s *Store) listens(r *Record) bool {
	var st unix.Stat_t
	return unix.Lstat(filepath.Join(s.path(r.ID), SocketFile), &st) == nil
}

// Summon asks the supervisor of a sandbox that has no record for one, and waits
// for it.
func Summon(r *Record) (Record, error) {
	s, err := Open()
	if err != nil {
		return Record{}, err
	}
	fd, err := r.Supervisor.Open()
	if err != nil {
		return Record{}, &NotFoundError{r.Name}
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, SignalRecord, nil, 0); err != nil {
		return Record{}, fmt.Errorf("asking the supervisor of %s for its record: %w", r.Name, err)
	}
	var unread error
	for range 200 {
		records, err := s.records()
		i := slices.IndexFunc(records, func(have Record) bool { return have.Supervisor == r.Supervisor && have.Socket && s.listens(&have) })
		if i >= 0 {
			return records[i], nil
		}
		gone, pollErr := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10)
		if pollErr == nil && gone > 0 {
			return Record{}, &NotFoundError{r.Name}
		}
		unread = err // others' may never be readable; it may be this one's
	}
	return Record{}, errors.Join(fmt.Errorf("the supervisor of %s (process %d) gives no answer", r.Name, r.Supervisor.PID), unread)
}
