package faults

import "golang.org/x/sys/unix"

// older are calls that have another name elsewhere.
var older = []ownCall{
	{unix.SYS_FSTATAT, "newfstatat", []unix.Errno{unix.EIO, unix.ENOMEM}, nil},
}
