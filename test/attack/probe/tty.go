package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// terminalOf names the terminal at a path or descriptor by what can't be
// faked: the device number of its file system, and its own.
func terminalOf(fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return result(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(uint64(st.Rdev)) < 136 || unix.Major(uint64(st.Rdev)) > 143 {
		return "no terminal"
	}
	return fmt.Sprintf("%x:%x", st.Dev, st.Rdev)
}

// tty says which terminals this process has: on its standard descriptors, and
// the controlling one. On descriptors that were opened with O_PATH it opens
// what they lead to.
func tty([]string) {
	for fd := range 3 {
		at := fd
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_PATH != 0 {
			if n, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_NOCTTY, 0); err == nil {
				at = n
			}
		}
		fmt.Printf("%d: %s\n", fd, terminalOf(at))
	}
	fd, err := unix.Open("/dev/tty", unix.O_RDWR, 0)
	if err != nil {
		fmt.Printf("tty: %s\n", result(err))
		return
	}
	if n, err := unix.IoctlGetInt(fd, unix.TIOCGSID); err != nil {
		fmt.Printf("tty: %s\n", result(err))
	} else {
		fmt.Printf("tty: session %v\n", n > 0)
	}
}

// ttys looks for terminals behind every descriptor of every process.
func ttys([]string) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var list []string
	for _, l := range links {
		to, err := os.Readlink(l)
		if err == nil && strings.HasPrefix(to, "/dev/pts/") {
			fd, err := unix.Open(l, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
			if err == nil {
				list = append(list, terminalOf(fd))
				unix.Close(fd)
			}
		}
	}
	fmt.Println(strings.Join(list, " "))
}

// typeInto types a word on the terminals it has, as if on the keyboard
// (TIOCSTI, ioctl_tty(2)).
func typeInto(args []string) {
	for fd := range 3 {
		for _, c := range []byte(args[0]) {
			if err := unix.IoctlSetPointerInt(fd, unix.TIOCSTI, int(c)); err != nil {
				fmt.Printf("%d: %s\n", fd, result(err))
				break
			}
		}
	}
}

// inFlight leaves its standard output in a socket that only itself leads to,
// where it stays open after the last process that had it (unix(7)).
func inFlight([]string) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		fail("%v", err)
	}
	for _, fd := range p {
		if err := unix.Sendmsg(fd, []byte{0}, unix.UnixRights(1, p[0], p[1]), nil, 0); err != nil {
			fail("%v", err)
		}
	}
}
