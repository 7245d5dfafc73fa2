package main

import (
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue sends a signal that says to come from nobody of this PID namespace, as
// one from outside does: rt_sigqueueinfo(2) lets the sender of a queued signal
// say anything.
func queue(args []string) {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		fail("%v", err)
	}
	sig, err := strconv.Atoi(args[1])
	if err != nil {
		fail("%v", err)
	}
	const siQueue = -1 // SI_QUEUE
	var info [128]byte
	*(*int32)(unsafe.Pointer(&info[0])) = int32(sig)
	code := int32(siQueue)
	*(*int32)(unsafe.Pointer(&info[8])) = code // si_pid, at 16, stays 0
	for range 3 {
		if _, _, e := unix.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(sig), uintptr(unsafe.Pointer(&info))); e != 0 {
			fail("rt_sigqueueinfo: %v", e)
		}
	}
	fmt.Println("sent")
}
