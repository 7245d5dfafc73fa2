package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bad is no one's address: a call that the kernel gets with it says EFAULT.
const bad = 1

// high is a bit that the kernel does not read of an argument that is an int.
const high = 1 << 32

// raw is a system call by number. Some are here with arguments that no kernel
// takes, so that nothing happens: the errnos in reached are the kernel's own,
// and say that the call got there.
type raw struct {
	name    string
	nr      uintptr
	args    [6]uintptr
	reached []unix.Errno
}

func (r raw) try() error {
	_, _, e := unix.RawSyscall6(r.nr, r.args[0], r.args[1], r.args[2], r.args[3], r.args[4], r.args[5])
	if e == 0 || slices.Contains(r.reached, e) {
		return nil
	}
	return e
}

var minusOne = ^uintptr(0)

// rawCalls are what the filter refuses, in words of the same meaning on every
// architecture. Numbers that no table has are not here: without a filter the
// kernel says ENOSYS of them as well.
var rawCalls = []raw{
	{"socket netlink uevent", unix.SYS_SOCKET, [6]uintptr{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT}, nil},
	{"socket netlink uevent, bit 32", unix.SYS_SOCKET, [6]uintptr{unix.AF_NETLINK | high, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT | high}, nil},
	{"socket packet", unix.SYS_SOCKET, [6]uintptr{unix.AF_PACKET, unix.SOCK_RAW}, []unix.Errno{unix.EPERM}},
	{"socket packet, bit 32", unix.SYS_SOCKET, [6]uintptr{unix.AF_PACKET | high, unix.SOCK_RAW}, []unix.Errno{unix.EPERM}},
	{"ioctl TIOCSTI", unix.SYS_IOCTL, [6]uintptr{minusOne, unix.TIOCSTI}, []unix.Errno{unix.EBADF}},
	{"ioctl TIOCSTI, bit 32", unix.SYS_IOCTL, [6]uintptr{minusOne, unix.TIOCSTI | high}, []unix.Errno{unix.EBADF}},
	{"ioctl TIOCLINUX", unix.SYS_IOCTL, [6]uintptr{minusOne, 0x541c}, []unix.Errno{unix.EBADF}},
	{"ioctl TIOCSETD", unix.SYS_IOCTL, [6]uintptr{minusOne, unix.TIOCSETD}, []unix.Errno{unix.EBADF}},
	{"ioctl BTRFS_IOC_SNAP_CREATE", unix.SYS_IOCTL, [6]uintptr{minusOne, 0x50009401}, []unix.Errno{unix.EBADF}},
	{"ioctl BTRFS_IOC_SNAP_CREATE, bit 32", unix.SYS_IOCTL, [6]uintptr{minusOne, 0x50009401 | high}, []unix.Errno{unix.EBADF}},
	{"ioctl BTRFS_IOC_SUBVOL_CREATE_V2", unix.SYS_IOCTL, [6]uintptr{minusOne, 0x50009418}, []unix.Errno{unix.EBADF}},
	// A mount or user namespace and shared file system information exclude one another.
	{"clone NEWNS", unix.SYS_CLONE, [6]uintptr{unix.CLONE_NEWNS | unix.CLONE_FS}, []unix.Errno{unix.EINVAL}},
	{"clone NEWUSER", unix.SYS_CLONE, [6]uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS}, []unix.Errno{unix.EINVAL}},
	{"clone NEWUSER, bit 32", unix.SYS_CLONE, [6]uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS | high}, []unix.Errno{unix.EINVAL}},
	{"clone3", unix.SYS_CLONE3, [6]uintptr{}, []unix.Errno{unix.EINVAL}},
	{"unshare", unix.SYS_UNSHARE, [6]uintptr{}, nil},
	{"setns", unix.SYS_SETNS, [6]uintptr{minusOne}, []unix.Errno{unix.EBADF}},
	{"mount", unix.SYS_MOUNT, [6]uintptr{bad, bad, bad}, []unix.Errno{unix.EFAULT}},
	{"open_tree", unix.SYS_OPEN_TREE, [6]uintptr{minusOne, bad, 0x40000000}, []unix.Errno{unix.EINVAL}},
	{"keyctl", unix.SYS_KEYCTL, [6]uintptr{9999}, []unix.Errno{unix.EOPNOTSUPP}},
	{"add_key", unix.SYS_ADD_KEY, [6]uintptr{bad, bad, bad, 1}, []unix.Errno{unix.EFAULT}},
	{"request_key", unix.SYS_REQUEST_KEY, [6]uintptr{bad, bad, bad}, []unix.Errno{unix.EFAULT}},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [6]uintptr{bad}, []unix.Errno{unix.EFAULT}},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, [6]uintptr{1, bad}, []unix.Errno{unix.EFAULT, unix.EPERM}},
	{"userfaultfd", unix.SYS_USERFAULTFD, [6]uintptr{0x40000001}, []unix.Errno{unix.EINVAL}},
	{"personality READ_IMPLIES_EXEC", unix.SYS_PERSONALITY, [6]uintptr{0x400000}, nil},
}

// syscalls makes them all.
func syscalls([]string) {
	for _, r := range rawCalls {
		fmt.Printf("%s: %s\n", r.name, result(r.try()))
	}
}

// setids makes files that run as their owner or group at the path args[0] and
// others beside it, in every way that the kernel has.
func setids(args []string) {
	path := args[0]
	at := func(suffix string) uintptr { return pointer(path + suffix) }
	here := ^uintptr(99) // AT_FDCWD
	old := func() uintptr {
		fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o755)
		if err != nil {
			fail("%v", err)
		}
		return uintptr(fd)
	}
	fd := old()
	tries := append([]raw{
		{"fchmod", unix.SYS_FCHMOD, [6]uintptr{fd, 0o4755}, nil},
		{"fchmod group", unix.SYS_FCHMOD, [6]uintptr{fd, 0o2755}, nil},
		{"fchmodat", unix.SYS_FCHMODAT, [6]uintptr{here, at(""), 0o6755}, nil},
		{"fchmodat, bits 16 and 32", unix.SYS_FCHMODAT, [6]uintptr{here, at(""), 0o4755 | 1<<16 | high}, nil},
		{"mknodat", unix.SYS_MKNODAT, [6]uintptr{here, at(".mknodat"), unix.S_IFREG | 0o4755}, nil},
		{"openat", unix.SYS_OPENAT, [6]uintptr{here, at(".openat"), unix.O_CREAT | unix.O_WRONLY, 0o4755}, nil},
	}, oldSetIDs(at)...)
	for _, r := range tries {
		fmt.Printf("%s: %s\n", r.name, result(r.try()))
	}
	if len(args) > 1 && args[1] == "openat2" { // its mode is in memory, where no filter looks
		how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o4755}
		_, err := unix.Openat2(unix.AT_FDCWD, path+".openat2", &how)
		fmt.Printf("openat2: %s\n", result(err))
	}
}

var kept []*byte // strings whose addresses are numbers elsewhere

func pointer(s string) uintptr {
	b, err := unix.BytePtrFromString(s)
	if err != nil {
		fail("%v", err)
	}
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(b))
}

// typeHigh is typeInto with a bit set that the kernel does not read.
func typeHigh(args []string) {
	for fd := range 3 {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI|high, pointer(args[0]))
		var err error
		if e != 0 {
			err = e
		}
		fmt.Printf("%d: %s\n", fd, result(err))
	}
}

// compat makes a call of the 32-bit architecture, named by its number, with two
// arguments; the others are errnos that say that the kernel got it.
func compat(args []string) {
	var n []uintptr
	for _, a := range args {
		v, err := strconv.ParseUint(a, 0, 32)
		if err != nil {
			fail("%v", err)
		}
		n = append(n, uintptr(v))
	}
	err := compatCall(n[0], n[1], n[2])
	var e unix.Errno
	if errors.As(err, &e) && slices.Contains(n[3:], uintptr(e)) {
		err = nil
	}
	say(err)
}
