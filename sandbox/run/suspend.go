package run

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// suspends is where in what was typed the key is that stops the whole job (^Z),
// -1 for nowhere. The kernel stops nothing inside by that key unless a shell there
// has put the command into a job: the command leads the session of the sandbox's
// terminal, and there is nobody in it who could let it go on (signal(7), on
// orphaned process groups). So the job of the caller's shell is stopped, if there
// is one, and if the command has left the key to the system.
func (t *terminal) suspends(typed []byte) int {
	m, err := unix.IoctlGetTermios(t.master, unix.TCGETS)
	if err != nil || m.Lflag&unix.ISIG == 0 || m.Cc[unix.VSUSP] == 0 {
		return -1
	}
	i := bytes.IndexByte(typed, m.Cc[unix.VSUSP])
	if i < 0 || t.host < 0 || !resumable() {
		return -1
	}
	group, err1 := unix.IoctlGetInt(t.master, unix.TIOCGPGRP)
	session, err2 := unix.IoctlGetInt(t.master, unix.TIOCGSID)
	if err1 != nil || err2 != nil || group != session || !leaves(group, unix.SIGTSTP) {
		return -1
	}
	return i
}

// leaves says whether a process leaves a signal to the system (proc_pid_status(5)).
func leaves(pid int, sig unix.Signal) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "SigBlk", "SigIgn", "SigCgt":
			if set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err != nil || set>>(sig-1)&1 != 0 {
				return false
			}
		}
	}
	return true
}

// resumable says whether somebody can let this process's job go on: the first
// process above it that is in another job is one of the same session, a shell.
func resumable() bool {
	session, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	for pid := os.Getppid(); pid > 1; {
		group, err1 := unix.Getpgid(pid)
		of, err2 := unix.Getsid(pid)
		if err1 != nil || err2 != nil || of != session {
			return false
		}
		if group != unix.Getpgrp() {
			return true
		}
		if pid = parent(pid); pid == 0 {
			return false
		}
	}
	return false
}

// parent is the process above another, 0 for none that can be seen.
func parent(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	above, _ := strconv.Atoi(string(fields[1]))
	return above
}
