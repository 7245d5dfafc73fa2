package inject

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// NT_PRSTATUS and NT_ARM_SYSTEM_CALL of elf.h.
const (
	general    = 1
	systemCall = 0x404
)

func regset(request int, id int, set uintptr, p unsafe.Pointer, size uintptr) error {
	iov := unix.Iovec{Base: (*byte)(p), Len: uint64(size)}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(id), set, uintptr(unsafe.Pointer(&iov)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func change(id int, by func(*unix.PtraceRegs)) error {
	var r unix.PtraceRegs
	if err := regset(unix.PTRACE_GETREGSET, id, general, unsafe.Pointer(&r), unsafe.Sizeof(r)); err != nil {
		return err
	}
	by(&r)
	return regset(unix.PTRACE_SETREGSET, id, general, unsafe.Pointer(&r), unsafe.Sizeof(r))
}

func setCall(id, nr int) error {
	n := int32(nr)
	return regset(unix.PTRACE_SETREGSET, id, systemCall, unsafe.Pointer(&n), unsafe.Sizeof(n))
}

func setResult(id int, v int64) error {
	return change(id, func(r *unix.PtraceRegs) { r.Regs[0] = uint64(v) })
}

func jump(id int, to uint64) error {
	return change(id, func(r *unix.PtraceRegs) { r.Pc = to })
}
