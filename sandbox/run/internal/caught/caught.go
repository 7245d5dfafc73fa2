// Package caught turns signals into bytes on a pipe.
//
// Package os/signal does the same with goroutines, and switching it on takes
// some twenty thread switches, which is a tenth of a whole run. Here a handler
// in assembly writes the signal's number to a pipe; the one thread that waits
// for the sandbox anyway polls it beside what else it waits for.
package caught

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sink is the descriptor that the handler writes to.
//
//lint:ignore U1000 the assembly reads it
var sink int32

// action is the kernel's struct sigaction (rt_sigaction(2)), the same on amd64
// and arm64.
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64 // what waits until the handler is done
}

const (
	saRestart  = 0x10000000
	saOnStack  = 0x08000000 // on Go's signal stack; the goroutine's may be too small
	saRestorer = 0x04000000
)

// entry and restorer are the addresses of the handler and of what it returns to.
func entry() uintptr
func restorer() uintptr

// Catch makes a pipe and writes the number of each of the signals to it, a
// byte each, from now on and for the whole process. It returns the end to read
// from, which does not block. A signal that is ignored already, as nohup(1)
// does with SIGHUP, stays ignored; of most others than SIGHUP and SIGINT Go's
// runtime has taken over the handling and with it the trace that they were.
//
// Precondition: it is called once, and not beside package os/signal.
func Catch(signals ...unix.Signal) (pipe int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, fmt.Errorf("opening a pipe for signals: %w", err)
	}
	sink = int32(p[1])
	for _, s := range signals {
		var old action
		if err := sigaction(s, nil, &old); err != nil {
			return -1, fmt.Errorf("catching %s: %w", unix.SignalName(s), err)
		}
		const ignored = 1 // SIG_IGN
		if old.handler == ignored {
			continue
		}
		a := action{handler: entry(), flags: saRestart | saOnStack | saRestorer, restorer: restorer(), mask: ^uint64(0)}
		if err := sigaction(s, &a, nil); err != nil {
			return -1, fmt.Errorf("catching %s: %w", unix.SignalName(s), err)
		}
	}
	return p[0], nil
}

func sigaction(s unix.Signal, a, old *action) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(a)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
