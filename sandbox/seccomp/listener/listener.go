// Package listener answers the calls about which a filter of seccomp.Notify asks,
// with the errno that the filter it was made of gives them. See seccomp_unotify(2).
package listener

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Call is a system call that waits for an answer, as the kernel's struct
// seccomp_notif has it.
type Call struct {
	ID    uint64
	TID   uint32 // of the thread, as this process sees it; 0 if it does not
	Flags uint32
	Nr    uint32
	Arch  uint32 // AUDIT_ARCH_* of linux/audit.h
	IP    uint64
	Args  [6]uint64
}

// answer is the kernel's struct seccomp_notif_resp.
type answer struct {
	id    uint64
	value int64
	errno int32 // negative
	flags uint32
}

// Waits says whether a call waits for an answer, and over that the filter has
// nobody left to ask for, and never will.
func Waits(fd int) (waits, over bool) {
	for {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, err := unix.Poll(p[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		waits = err == nil && p[0].Revents&unix.POLLIN != 0
		return waits, err != nil || !waits && p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	}
}

// Receive takes a call. The error is unix.ENOENT where the caller did not wait for
// it, and unix.EINTR where a signal came first.
//
// Precondition: Waits says that there is one, or this waits for it.
func Receive(fd int) (c Call, err error) {
	return c, control(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&c))
}

// Valid says that the caller still waits, so that what was read of its thread by
// number was not another's.
func (c *Call) Valid(fd int) bool {
	id := c.ID
	return control(fd, idValid, unsafe.Pointer(&id)) == nil
}

// idValid is SECCOMP_IOCTL_NOTIF_ID_VALID of linux/seccomp.h, as on all our
// architectures.
const idValid = 0x40082102

// Refuse answers a call with an errno, 0 for a success that did nothing. A caller
// that is gone is no error.
func (c *Call) Refuse(fd int, errno unix.Errno) error {
	a := answer{id: c.ID, errno: -int32(errno)}
	err := control(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINPROGRESS) {
		return nil
	}
	return err
}

func control(fd int, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	runtime.KeepAlive(arg)
	if errno != 0 {
		return errno
	}
	return nil
}

// Judge says what a filter does with a call. It is not for two at a time.
type Judge struct {
	vm   *bpf.VM
	data [64]byte // struct seccomp_data
}

// NewJudge is the judge of a filter: an array of the kernel's struct sock_filter.
func NewJudge(code []byte) (*Judge, error) {
	raw := make([]bpf.RawInstruction, 0, len(code)/8)
	for in := code; len(in) >= 8; in = in[8:] {
		raw = append(raw, bpf.RawInstruction{
			Op: binary.LittleEndian.Uint16(in), Jt: in[2], Jf: in[3], K: binary.LittleEndian.Uint32(in[4:]),
		})
	}
	program, known := bpf.Disassemble(raw)
	if !known {
		return nil, errors.New("the system call filter has an instruction that is not known here")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		return nil, fmt.Errorf("reading the system call filter: %w", err)
	}
	return &Judge{vm: vm}, nil
}

// Errno is what the filter refuses a call with. One that it does not refuse so is
// refused with EPERM, and ok is false: nobody should have asked.
func (j *Judge) Errno(c *Call) (errno unix.Errno, ok bool) {
	// The machine of x/net loads big-endian words, the kernel its own; an argument's
	// low word comes first all the same.
	word := binary.BigEndian.PutUint32
	word(j.data[0:], c.Nr)
	word(j.data[4:], c.Arch)
	word(j.data[8:], uint32(c.IP))
	word(j.data[12:], uint32(c.IP>>32))
	for i, a := range c.Args {
		word(j.data[16+8*i:], uint32(a))
		word(j.data[20+8*i:], uint32(a>>32))
	}
	ret, err := j.vm.Run(j.data[:])
	if err != nil || uint32(ret)&unix.SECCOMP_RET_ACTION_FULL != unix.SECCOMP_RET_ERRNO {
		return unix.EPERM, false
	}
	return unix.Errno(ret & unix.SECCOMP_RET_DATA), true
}
