package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refusals makes a call that a filter refuses, unshare(2) of nothing, from several
// threads as often as each is told, 0 for ever, while a timer interrupts them and
// the process calls itself by ever new names. It says how often that was answered
// with what.
func refusals(args []string) {
	threads, err := strconv.Atoi(args[0])
	if err != nil {
		fail("%v", err)
	}
	each, err := strconv.Atoi(args[1])
	if err != nil {
		fail("%v", err)
	}
	alarms := make(chan os.Signal, 1)
	signal.Notify(alarms, unix.SIGALRM)
	every := unix.Itimerval{Interval: unix.Timeval{Usec: 500}, Value: unix.Timeval{Usec: 500}}
	if _, err := unix.Setitimer(unix.ITIMER_REAL, every); err != nil {
		fail("a timer: %v", err)
	}
	fmt.Println("up")
	var got [2]atomic.Int64 // successes, EPERM
	var other atomic.Int64
	var done atomic.Bool
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			for i := 0; each == 0 || i < each; i++ {
				switch _, _, errno := unix.RawSyscall(unix.SYS_UNSHARE, 0, 0, 0); errno {
				case 0:
					got[0].Add(1)
				case unix.EPERM:
					got[1].Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	renamed := make(chan struct{})
	go func() {
		defer close(renamed)
		for i := 0; !done.Load(); i++ {
			_ = os.WriteFile("/proc/self/comm", fmt.Appendf(nil, "n\x1b%d", i), 0)
		}
	}()
	wg.Wait()
	done.Store(true)
	<-renamed
	fmt.Printf("reached %d, EPERM %d, other %d\n", got[0].Load(), got[1].Load(), other.Load())
}

// listener puts this thread under a filter that has a listener, and allows all. With
// arguments it executes them, with the listener open.
func listener(args []string) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fail("no_new_privs: %v", err)
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	prog := unix.SockFprog{Len: 1, Filter: &allow}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if len(args) == 0 || errno != 0 {
		var err error
		if errno != 0 {
			err = errno
		}
		say(err)
		return
	}
	if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
		fail("%v", err)
	}
	fail("%v", unix.Exec(args[0], args, os.Environ()))
}
