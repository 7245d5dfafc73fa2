// Package child starts the process that becomes PID 1 of a sandbox and lets it
// run a Program's block.
//
// The child is forked from a process that has several threads, so it may not
// run Go code: no other thread exists in it that could release a lock or
// collect garbage. It runs the interpreter in assembly instead, which makes
// the block's system calls, does not use the stack and never returns to Go.
package child

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
)

// CloneArgs is the kernel's struct clone_args up to Linux 5.7, see clone(2).
type CloneArgs struct {
	Flags, PidFD, ChildTID, ParentTID, ExitSignal, Stack, StackSize, TLS, SetTID, SetTIDSize, Cgroup uint64
}

//go:noescape
func start(args *CloneArgs, size uintptr, block *byte) (pid uintptr)

// Start makes the child by clone3(2) (Linux 5.3) with the given flags and
// returns its pid and a descriptor for it. The error is clone3's own errno:
// see clone(2), ERRORS.
//
// The caller's thread becomes the child's parent for PR_SET_PDEATHSIG
// (PR_SET_PDEATHSIG(2const)): it must be locked to its goroutine and live as
// long as the child does.
func Start(flags uint64, block []byte) (pid, pidfd int, err error) {
	// The kernel writes the descriptor into the block, which lies on the heap
	// and so stays where it is.
	fd := (*int32)(unsafe.Pointer(&block[program.HeadStatus]))
	args := &CloneArgs{
		Flags:      flags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		PidFD:      uint64(uintptr(unsafe.Pointer(fd))),
		ExitSignal: uint64(unix.SIGCHLD),
	}
	syscall.ForkLock.Lock() // no descriptor without close-on-exec is being made
	r := start(args, unsafe.Sizeof(*args), &block[0])
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(block)
	if r > ^uintptr(4095) {
		return 0, -1, unix.Errno(-r)
	}
	return int(r), int(*fd), nil
}

// Report is a failure as the child wrote it.
type Report struct {
	Offset uint32 // of the failed operation in the block
	Errno  unix.Errno
}

// ReportSize is how many bytes a Report takes on the pipe.
const ReportSize = 8

// ParseReport reads a Report.
func ParseReport(b []byte) (Report, error) {
	if len(b) != ReportSize {
		return Report{}, fmt.Errorf("a report of %d bytes instead of %d", len(b), ReportSize)
	}
	return Report{
		Offset: uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24,
		Errno:  unix.Errno(uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24),
	}, nil
}
