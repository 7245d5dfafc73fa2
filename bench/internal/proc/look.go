package proc

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// parents returns the parent of every process, but of zombies. See proc_pid_stat(5).
func parents() map[int]int {
	of := map[int]int{}
	dir, err := os.Open("/proc")
	if err != nil {
		return of
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		if parent, state := parseStat(string(text)); state != "Z" && state != "X" && parent > 0 {
			of[pid] = parent
		}
	}
	return of
}

// parseStat returns fields 4 and 3 of a line of /proc/PID/stat. Field 2 is the
// program's name in parentheses, which may hold blanks and parentheses itself.
func parseStat(line string) (parent int, state string) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 2 {
		return 0, ""
	}
	parent, _ = strconv.Atoi(fields[1])
	return parent, fields[0]
}

// Children returns the living children of the calling process.
func Children() []int {
	var pids []int
	for pid, parent := range parents() {
		if parent == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// quickChildren is Children in microseconds, zombies included: it may miss one while
// another ends, see proc_tid_children(5). A child hangs from the thread that started
// it, which is the calling one, and an adopted child from the first thread.
func quickChildren() []int {
	var pids []int
	for _, tid := range []int{unix.Gettid(), os.Getpid()} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", tid))
		if err != nil {
			return Children() // a kernel without CONFIG_PROC_CHILDREN
		}
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			pids = append(pids, pid)
		}
	}
	return pids
}

// Descendants returns all living processes below the calling one, each with the
// child it hangs from.
func Descendants() map[int]int {
	of := parents()
	below := map[int]int{}
	for pid := range of {
		for at := pid; of[at] > 0; at = of[at] {
			if of[at] == os.Getpid() {
				below[pid] = at
				break
			}
		}
	}
	return below
}

// Argv returns the arguments of a process, nil if it is gone.
func Argv(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(text, []byte{0})), "\x00")
}

// WithArgv returns the processes, anybody's, that have exactly these arguments.
func WithArgv(argv []string) []int {
	var pids []int
	for pid := range parents() {
		if slices.Equal(Argv(pid), argv) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Memory is the memory of one process in bytes.
type Memory struct {
	PSS   int64 // proportional set size: shared pages divided by their users
	RSS   int64 // resident set size
	Table int64 // page tables
}

// MemoryOf reads smaps_rollup and status. The first is closed to everybody but root
// if the process is not dumpable (ptrace(2), access mode checks); then the error
// is fs.ErrPermission, and RSS and Table are valid.
func MemoryOf(pid int) (Memory, error) {
	var m Memory
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	m.RSS, m.Table = kilobytes(string(status), "VmRSS:"), kilobytes(string(status), "VmPTE:")
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	m.PSS = kilobytes(string(rollup), "Pss:")
	return m, nil
}

// kilobytes returns the value of the line "key  n kB" in bytes.
func kilobytes(text, key string) int64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n * 1024
		}
	}
	return 0
}

// lastLine returns the last line of text that is not blank, shortened.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if len(last) > 160 {
		last = last[:160] + "…"
	}
	return last
}
