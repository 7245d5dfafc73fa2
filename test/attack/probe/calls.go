package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connect connects to a Unix socket by its path, of any length, or by its
// abstract name, which begins with @.
func connect(args []string) {
	path := args[0]
	if !strings.HasPrefix(path, "@") {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			say(err)
			return
		}
		defer dir.Close()
		path = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	say(err)
}

// calls makes system calls that open parts of the kernel most programs have no
// use for. One that gets as far as its arguments was reached.
func calls([]string) {
	vsock := uintptr(unix.AF_VSOCK)
	try := func(name string, nr, a, b, c uintptr) {
		fd, _, errno := unix.Syscall(nr, a, b, c)
		switch errno {
		case 0:
			if nr == unix.SYS_SOCKET || nr == unix.SYS_USERFAULTFD {
				unix.Close(int(fd))
			}
			fmt.Printf("%s: reached\n", name)
		case unix.EPERM, unix.ENOSYS, unix.EACCES, unix.EAFNOSUPPORT:
			fmt.Printf("%s: denied: %s\n", name, unix.ErrnoName(errno))
		default: // it looked at its arguments
			fmt.Printf("%s: reached\n", name)
		}
	}
	var b [8]byte
	try("io_uring_setup", unix.SYS_IO_URING_SETUP, 0, 0, 0)
	try("userfaultfd", unix.SYS_USERFAULTFD, 1, 0, 0) // UFFD_USER_MODE_ONLY
	try("socket AF_VSOCK", unix.SYS_SOCKET, vsock, unix.SOCK_STREAM, 0)
	try("socket AF_VSOCK and a high bit", unix.SYS_SOCKET, vsock|1<<32, unix.SOCK_STREAM, 0)
	try("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(0)-2, 0)
	try("add_key", unix.SYS_ADD_KEY, uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&b)), 0)
	try("unshare NEWUSER", unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_NEWNS|1, 0, 0)
}

// accept takes one connection at a socket that listens, a descriptor, and sends a
// text there.
func accept(args []string) {
	listen, err := strconv.Atoi(args[0])
	if err != nil {
		fail("%v", err)
	}
	fd, _, err := unix.Accept4(listen, unix.SOCK_CLOEXEC)
	if err == nil {
		_, err = unix.Write(fd, []byte(args[1]))
	}
	say(err)
}
