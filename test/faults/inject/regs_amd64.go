package inject

import "golang.org/x/sys/unix"

func change(id int, by func(*unix.PtraceRegs)) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(id, &r); err != nil {
		return err
	}
	by(&r)
	return unix.PtraceSetRegs(id, &r)
}

func setCall(id, nr int) error {
	return change(id, func(r *unix.PtraceRegs) { r.Orig_rax = uint64(nr) })
}

func setResult(id int, v int64) error {
	return change(id, func(r *unix.PtraceRegs) { r.Rax = uint64(v) })
}

func jump(id int, to uint64) error {
	return change(id, func(r *unix.PtraceRegs) { r.Rip = to })
}
