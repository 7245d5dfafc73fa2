// Package landlock is Landlock as data (landlock(7)): the rights that it knows
// about, and what each version of its interface has.
package landlock

import (
	"fmt"
	"strconv"
	"strings"
)

// The versions of the interface, ABIs, that brought something.
const (
	ABIFiles    = 1  // Linux 5.13
	ABIRefer    = 2  // 5.19: files can be moved between directories
	ABITruncate = 3  // 6.2
	ABITCP      = 4  // 6.7
	ABIIoctl    = 5  // 6.10: ioctl(2) on devices
	ABIScopes   = 6  // 6.12: signals and abstract sockets
	ABIUnix     = 9  // 7.1: sockets with a path
	ABIUDP      = 10 // 7.2
)

// Access is a set of rights to files, LANDLOCK_ACCESS_FS_*.
type Access uint64

// The rights to files, as linux/landlock.h numbers them.
const (
	Execute Access = 1 << iota
	WriteFile
	ReadFile
	ReadDir
	RemoveDir
	RemoveFile
	MakeChar
	MakeDir
	MakeReg
	MakeSock
	MakeFifo
	MakeBlock
	MakeSym
	Refer
	Truncate
	IoctlDev
	ResolveUnix
	end
)

// The rights by what they are good for.
const (
	Read  = ReadFile | ReadDir
	Write = WriteFile | Truncate
	// Make is to make, remove and move everything but devices, which nobody
	// makes in a sandbox.
	Make = RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSock | MakeFifo | MakeSym | Refer
	// File are those that a rule for a file may hold; the others are about
	// directories.
	File = Execute | Write | ReadFile | IoctlDev | ResolveUnix
)

// names are the rights by their bits.
var names = [...]string{
	"execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir", "make_reg",
	"make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev", "resolve_unix",
}

// Files are the rights to files that an ABI knows. What it does not know it
// does not judge.
func Files(abi int) Access {
	switch {
	case abi < ABIFiles:
		return 0
	case abi < ABIRefer:
		return Refer - 1
	case abi < ABITruncate:
		return Truncate - 1
	case abi < ABIIoctl:
		return IoctlDev - 1
	case abi < ABIUnix:
		return ResolveUnix - 1
	}
	return end - 1
}

// Net is a set of rights to the network, LANDLOCK_ACCESS_NET_*.
type Net uint64

// The rights to the network.
const (
	BindTCP Net = 1 << iota
	ConnectTCP
	BindUDP
	SendUDP
)

// Nets are the rights to the network that an ABI knows.
func Nets(abi int) Net {
	switch {
	case abi < ABITCP:
		return 0
	case abi < ABIUDP:
		return BindTCP | ConnectTCP
	}
	return BindTCP | ConnectTCP | BindUDP | SendUDP
}

// Lost is what an ABI does not hold of what a second wall behind the mounts is
// to hold, nil for nothing.
func Lost(abi int) []string {
	if abi < ABIRefer {
		return []string{"it can't allow that a file is moved to another directory, so it is not used"}
	}
	var lost []string
	for _, l := range []struct {
		since int
		what  string
	}{
		{ABITruncate, "truncating files"},
		{ABIIoctl, "ioctl on devices"},
		{ABIScopes, "signals and abstract sockets"},
	} {
		if abi < l.since {
			lost = append(lost, fmt.Sprintf("%s (ABI %d)", l.what, l.since))
		}
	}
	return lost
}

// String lists the rights, as landlock(7) calls them; what it does not name is
// a number.
func (a Access) String() string {
	var list []string
	for i, n := range names {
		if a&(1<<i) != 0 {
			list = append(list, n)
		}
	}
	if rest := a &^ (end - 1); rest != 0 {
		list = append(list, fmt.Sprintf("%#x", uint64(rest)))
	}
	return strings.Join(list, " ")
}

// MarshalText is String.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what String writes.
func (a *Access) UnmarshalText(text []byte) error {
	*a = 0
words:
	for _, w := range strings.Fields(string(text)) {
		for i, n := range names {
			if n == w {
				*a |= 1 << i
				continue words
			}
		}
		if n, err := strconv.ParseUint(w, 0, 64); err == nil {
			*a |= Access(n)
			continue
		}
		return fmt.Errorf("no right to files is called %q", w)
	}
	return nil
}

// Brief says in a few words what a rule allows.
func (a Access) Brief() string {
	var list []string
	for _, x := range []struct {
		some Access
		word string
	}{
		{ReadFile, "read"}, {Execute, "execute"}, {WriteFile, "write"}, {Make, "make and remove"},
		{IoctlDev, "ioctl on devices"}, {ResolveUnix, "connect to the socket"},
	} {
		if a&x.some != 0 {
			list = append(list, x.word)
		}
	}
	if a&Read == ReadDir {
		list = append([]string{"list directories"}, list...)
	}
	return strings.Join(list, ", ")
}
