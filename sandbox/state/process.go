package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
)

// here is what the pids of a record are relative to.
type here struct {
	boot  string
	pidns uint64
}

func lookHere() (here, error) {
	boot, err := readSmall("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return here{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return here{}, &os.PathError{Op: "stat", Path: "/proc/self/ns/pid", Err: err}
	}
	return here{boot: strings.TrimSpace(string(boot)), pidns: st.Ino}, nil
}

// readSmall reads a file of a page at most. It makes three system calls where
// os.ReadFile makes seven.
func readSmall(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return b[:n], nil
}

// Look identifies the process pid as it is now.
func Look(pid int) (Process, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	text, err := readSmall(path)
	if err != nil {
		return Process{}, err
	}
	start, err := startTime(text)
	if err != nil {
		return Process{}, fmt.Errorf("%s: %w", path, err)
	}
	return Process{PID: pid, Start: start}, nil
}

// startTime is field 22 of proc_pid_stat(5). The process's name is in
// parentheses and may hold any byte.
func startTime(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	const field = 22 - 3
	if end < 0 || len(fields) <= field {
		return 0, errors.New("it is not what proc_pid_stat(5) says")
	}
	return strconv.ParseUint(string(fields[field]), 10, 64)
}

// Open returns a descriptor of the process (pidfd_open(2)), by which no other
// one can be signalled, or ESRCH where it is gone and its number is perhaps
// another's.
func (p Process) Open() (pidfd int, err error) {
	if p.PID <= 0 {
		return -1, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return -1, fmt.Errorf("opening process %d: %w", p.PID, err)
	}
	// Now that the descriptor holds a process, see which one. If it ended in
	// between, the number may be another's already, with another start.
	if now, err := Look(p.PID); err != nil || now != p {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// Lives says whether the process has not ended.
func (p Process) Lives() bool {
	fd, err := p.Open()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	return !control.Look(fds) // one that is dead and not yet waited for is readable
}

// Stopped says whether the process is stopped, as by SIGSTOP or a terminal's Ctrl-Z
// (proc_pid_stat(5), state T).
func (p Process) Stopped() bool {
	text, err := readSmall("/proc/" + strconv.Itoa(p.PID) + "/stat")
	if err != nil {
		return false
	}
	start, err := startTime(text)
	_, state, _ := bytes.Cut(text[bytes.LastIndexByte(text, ')')+1:], []byte(" "))
	return err == nil && start == p.Start && bytes.HasPrefix(state, []byte("T"))
}

// Continue lets the process go on if it is stopped. One that is gone needs nothing.
func (p Process) Continue() {
	if !p.Stopped() {
		return
	}
	if fd, err := p.Open(); err == nil {
		_ = unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0)
		unix.Close(fd)
	}
}
