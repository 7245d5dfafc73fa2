package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

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

// signals tries every way to a signal but kill(2): those of calls with one that
// does nothing, and a death by a pipe that has the process for its owner.
func signals(args []string) {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		fail("%v", err)
	}
	var info [128]byte // siginfo_t: si_code comes third
	queue := int32(-1) // SI_QUEUE
	binary.NativeEndian.PutUint32(info[8:], uint32(queue))
	kept = append(kept, &info[0]) // it is a number below
	at, n := uintptr(unsafe.Pointer(&info[0])), uintptr(pid)
	for _, r := range []raw{
		{"tkill", unix.SYS_TKILL, [6]uintptr{n, 0}, nil},
		{"tgkill", unix.SYS_TGKILL, [6]uintptr{n, n, 0}, nil},
		{"rt_sigqueueinfo", unix.SYS_RT_SIGQUEUEINFO, [6]uintptr{n, 0, at}, nil},
		{"rt_tgsigqueueinfo", unix.SYS_RT_TGSIGQUEUEINFO, [6]uintptr{n, n, 0, at}, nil},
	} {
		fmt.Printf("%s: %s\n", r.name, result(r.try()))
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		err = unix.PidfdSendSignal(fd, 0, nil, 0)
	}
	fmt.Printf("pidfd: %s\n", result(err))
	fmt.Printf("owner: %s\n", result(killAsOwner(pid)))
}

// killAsOwner has a process be sent SIGKILL because of what comes through a pipe
// (fcntl(2), "Managing signals").
func killAsOwner(pid int) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	for _, set := range [][2]int{{unix.F_SETSIG, int(unix.SIGKILL)}, {unix.F_SETOWN, pid}, {unix.F_SETFL, unix.O_ASYNC | unix.O_NONBLOCK}} {
		if _, err := unix.FcntlInt(uintptr(p[0]), set[0], set[1]); err != nil {
			return err
		}
	}
	if _, err := unix.Write(p[1], []byte("x")); err != nil {
		return err
	}
	for range 50 {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if _, state, ok := strings.Cut(string(text), ") "); err != nil || ok && state[0] == 'Z' {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return unix.EPERM
}
