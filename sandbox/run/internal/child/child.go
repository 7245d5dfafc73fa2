// Package child starts the process that becomes PID 1 of a sandbox and lets it
// run a Program's block.
//
// The child is forked from a process that has several threads, so it may not
// run Go code: no other thread exists in it that could release a lock or
// collect garbage. It runs the interpreter in assembly instead, which makes
// the block's system calls, does not use the stack and never returns to Go.
//
// What runs before the Go runtime is here, too: early.go, ask.go.
package child

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
)

// cloneArgs is the kernel's struct clone_args up to Linux 5.7, see clone(2).
type cloneArgs struct {
	Flags, PidFD, ChildTID, ParentTID, ExitSignal, Stack, StackSize, TLS, SetTID, SetTIDSize, Cgroup uint64
}

// start is clone3(2), with all signals blocked in the child, which runs the
// block. It returns a pid or a negative errno.
//
//go:noescape
func start(args *cloneArgs, size uintptr, block *byte) (pid uintptr)

// code is the address of the interpreter.
func code() uintptr

// codeSize is more than the interpreter's size in bytes.
const codeSize = 2048

// blockSize is what is set aside for a block: only pages that are used take
// memory.
const blockSize = 4 << 20

// Child is a started child.
type Child struct {
	PID   int
	PidFD int // close-on-exec, the caller's to close
	block []byte
}

// Start makes a child by clone3(2) (Linux 5.3) that runs prog. The error is
// clone3's own errno: see clone(2), ERRORS.
//
// The calling thread becomes the child's parent for PR_SET_PDEATHSIG
// (PR_SET_PDEATHSIG(2const)). The caller's memory is marked not to be copied to
// children, unless a dynamic loader placed it: none but those started here or by
// execve(2) may be made afterwards.
func Start(prog *program.Program, slots program.Slots) (*Child, error) {
	// Shared, so that the child's writes copy no pages and the rest of a program
	// can follow.
	at, err := unix.MmapPtr(-1, 0, nil, blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("getting memory for the child: %w", err)
	}
	c := &Child{block: unsafe.Slice((*byte)(at), blockSize)}
	block := c.block
	if err := encode(prog, block, slots); err != nil {
		c.Forget()
		return nil, err
	}
	if !loaded() {
		keepOnly(uintptr(unsafe.Pointer(&block[0])), blockSize, uintptr(os.Getpagesize()))
	}
	// The kernel writes the descriptor into the block.
	fd := (*int32)(unsafe.Pointer(&block[program.HeadStatus]))
	args := &cloneArgs{
		Flags:      prog.CloneFlags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		PidFD:      uint64(uintptr(unsafe.Pointer(fd))),
		ExitSignal: uint64(unix.SIGCHLD),
	}
	syscall.ForkLock.Lock() // no descriptor without close-on-exec is being made
	r := start(args, unsafe.Sizeof(*args), &block[0])
	syscall.ForkLock.Unlock()
	if r > ^uintptr(4095) {
		c.Forget()
		return nil, unix.Errno(-r)
	}
	c.PID, c.PidFD = int(r), int(*fd)
	if prog.Stem > 0 {
		return c, c.sprout(prog.Stem)
	}
	return c, nil
}

// sprout takes PID 1 in the place of the process that started it. One that failed
// to stays as it is, for its report to be read.
func (c *Child) sprout(stem int) error {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, c.PID, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for what starts PID 1: %w", err)
		}
		break
	}
	pid := int(c.Result(stem))
	if pid <= 0 {
		return nil
	}
	// Nobody has waited for it: the number is its own.
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("taking hold of PID 1: %w", err)
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		_, err = unix.Wait4(c.PID, nil, 0, nil)
	}
	unix.Close(c.PidFD)
	c.PID, c.PidFD = pid, fd
	return nil
}

// Extend puts prog, which begins with the program the child was started with,
// in that one's place.
//
// Precondition: that beginning ends in an operation that waits until the child
// is told to go on, and nobody has told it. Wherever the child is before that,
// what it reads is written over with the same words.
func (c *Child) Extend(prog *program.Program, slots program.Slots) error {
	return encode(prog, c.block, slots)
}

// Result is what operation op gave, as far as the child has come.
//
// Precondition: Forget was not called.
func (c *Child) Result(op int) int64 {
	return int64(binary.LittleEndian.Uint64(c.block[program.ResultOffset(op):]))
}

// Forget lets go of the block on this side.
func (c *Child) Forget() {
	if c.block != nil {
		_ = unix.MunmapPtr(unsafe.Pointer(&c.block[0]), blockSize)
		c.block = nil
	}
}

// Another places the Program of another command in the block, which PID 1's next
// fork runs. It lies in n chunks from number first on, and is run until that
// fork ends. The slots are program.AnotherSlots.
//
// Precondition: nobody runs what is in those chunks, and the fork before has
// begun to run its own or is gone.
func (c *Child) Another(prog *program.Program, first, n int) error {
	if c.block == nil || first < 0 || first+n > program.Chunks {
		return fmt.Errorf("BUG: no place for another command at chunk %d", first)
	}
	if size := prog.Size(); size > n*program.ChunkSize {
		return fmt.Errorf("BUG: another command takes %d bytes, more than %d", size, n*program.ChunkSize)
	}
	if err := prog.EncodeAt(c.block, program.ChunkOp(first), program.AnotherSlots()); err != nil {
		return err
	}
	program.EncodeJump(c.block, first)
	return nil
}

func encode(prog *program.Program, block []byte, slots program.Slots) error {
	if n := prog.Size(); n > program.AnotherAt {
		return fmt.Errorf("the steps of this sandbox take %d bytes, more than %d; it has too many mounts, masks or variables", n, program.AnotherAt)
	}
	return prog.Encode(block, slots)
}

// userSpace is where user space ends, but for the last page, with the usual
// 47 (amd64) or 48 (arm64) bits of address.
const userSpace = 1<<addressBits - 4096

// keepOnly marks all memory but the pages of the interpreter and of the block
// as not to be copied to children (madvise(2), MADV_DONTFORK). The child then
// has nothing of what this process knows, and neither side copies pages that
// the other writes. Holes in the ranges give ENOMEM after all else was marked;
// without the mark the child works as well, only with more memory.
func keepOnly(block, size, page uintptr) {
	interpreter := span{code() &^ (page - 1), (code() + codeSize + page - 1) &^ (page - 1)}
	for _, s := range between(interpreter, span{block, block + size}) {
		if s.from < s.to {
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTFORK)
		}
	}
}

// loaded says that a dynamic loader started this program, which it does when it
// is built with cgo or as PIE. That of glibc has the kernel keep a record in the
// thread's memory (rseq(2)); a child that has the registration and not the
// memory is killed by SIGSEGV.
func loaded() bool {
	const atBase = 7 // AT_BASE, the loader's address; getauxval(3)
	auxv, _ := unix.Auxv()
	for _, entry := range auxv {
		if entry[0] == atBase {
			return entry[1] != 0
		}
	}
	return false
}

// span is addresses from the first up to the second.
type span struct{ from, to uintptr }

// between is user space without a and b. Which of them lies lower depends on
// how the program was linked and on personality(2).
func between(a, b span) [3]span {
	if b.from < a.from {
		a, b = b, a
	}
	const first = 0x10000 // vm.mmap_min_addr
	return [3]span{{first, a.from}, {a.to, b.from}, {b.to, userSpace}}
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

// TermiosBytes is the struct termios in memory, as ioctl(2) takes it.
func TermiosBytes(t *unix.Termios) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(t)), unsafe.Sizeof(*t))
}
