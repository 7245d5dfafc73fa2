package main

import (
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// tcp connects to an address.
func tcp(args []string) {
	c, err := net.Dial("tcp", args[0])
	if err == nil {
		c.Close()
	}
	say(err)
}

// pairTo sends to a socket by its path from one of a pair of datagram sockets.
func pairTo(args []string) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.Sendto(p[0], []byte("x"), 0, &unix.SockaddrUnix{Name: args[0]})
	}
	say(err)
}

// prlimit changes another process's limit to what it is.
func prlimit(args []string) {
	pid, _ := strconv.Atoi(args[0])
	var l unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &l)
	if err == nil {
		err = unix.Prlimit(pid, unix.RLIMIT_CORE, &l, nil)
	}
	say(err)
}

// renice lets another process yield more.
func renice(args []string) {
	pid, _ := strconv.Atoi(args[0])
	say(unix.Setpriority(unix.PRIO_PROCESS, pid, 19))
}

// shared makes a segment of System V shared memory, and removes it.
func shared([]string) {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
	if err == nil {
		_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
	say(err)
}

// truncates cuts a file without opening it.
func truncates(args []string) { say(unix.Truncate(args[0], 0)) }
