package faults

import "golang.org/x/sys/unix"

// older are calls that only older architectures have.
var older = []ownCall{
	{unix.SYS_POLL, "poll", []unix.Errno{unix.ENOMEM, unix.EINTR}, nil},
	{unix.SYS_NEWFSTATAT, "newfstatat", []unix.Errno{unix.EIO, unix.ENOMEM}, nil},
	{unix.SYS_STAT, "stat", []unix.Errno{unix.EIO}, nil},
	{unix.SYS_LSTAT, "lstat", []unix.Errno{unix.EIO}, nil},
	{unix.SYS_READLINK, "readlink", []unix.Errno{unix.EIO}, nil},
	{unix.SYS_ARCH_PRCTL, "arch_prctl", nil, nil},
	{unix.SYS_GETRLIMIT, "getrlimit", []unix.Errno{unix.EPERM}, nil},
}
