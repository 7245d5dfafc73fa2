package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// self starts this program again.
func self(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// attackPID tries to get hold of another process: "child" for one of its own,
// which has to work outside, or a number.
func attackPID(args []string) {
	pid := args[0]
	if pid == "child" {
		cmd := self("wait", "60s")
		if err := cmd.Start(); err != nil {
			fail("%v", err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		pid = strconv.Itoa(cmd.Process.Pid)
		time.Sleep(100 * time.Millisecond) // until it has executed
	}
	n, _ := strconv.Atoi(pid)
	dir := "/proc/" + pid + "/"
	link := func(name string) error {
		_, err := os.Readlink(dir + name)
		return err
	}
	for _, try := range []struct {
		name string
		err  error
	}{
		{"environ", readFile(dir + "environ")},
		{"maps", readFile(dir + "maps")},
		{"auxv", readFile(dir + "auxv")},
		{"mem", open(dir+"mem", unix.O_RDWR)},
		{"exe", link("exe")},
		{"open exe", open(dir+"exe", unix.O_RDONLY)},
		{"root", link("root")},
		{"in root", open(dir+"root/", unix.O_RDONLY)},
		{"cwd", link("cwd")},
		{"fd", link("fd/0")},
		{"open fd", open(dir+"fd/0", unix.O_RDONLY)},
		{"mnt", open(dir+"ns/mnt", unix.O_RDONLY)},
		{"user", open(dir+"ns/user", unix.O_RDONLY)},
		{"getfd", getfd(n)},
		{"vm", vm(n)},
		{"ptrace", ptrace(n)},
	} {
		fmt.Printf("%s: %s\n", try.name, result(try.err))
	}
}

func getfd(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	got, err := unix.PidfdGetfd(fd, 0, 0)
	if err != nil {
		return err
	}
	return unix.Close(got)
}

// vm reads another process's memory at an address that is there or not: EFAULT
// comes after the check of permission.
func vm(pid int) error {
	var b [1]byte
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 4096, Len: 1}}, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil
	}
	return err
}

func ptrace(pid int) error {
	if err := unix.PtraceSeize(pid); err != nil {
		return err
	}
	return nil // it ends with this process
}

// overwrite writes to the program another process runs: it takes hold of the
// file by /proc/PID/exe, waits until nothing runs it and opens it for writing
// (CVE-2019-5736). With "child" it runs a copy of itself at args[1].
func overwrite(args []string) {
	if args[0] == "child" {
		cmd := exec.Command(args[1], "wait", "60s")
		if err := cmd.Start(); err != nil {
			fail("%v", err)
		}
		time.Sleep(100 * time.Millisecond)
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid), unix.O_PATH, 0)
		cmd.Process.Kill()
		cmd.Wait()
		if err == nil {
			err = open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY)
		}
		say(err)
		return
	}
	fd, err := unix.Open("/proc/"+args[0]+"/exe", unix.O_PATH, 0)
	if err == nil {
		err = open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY)
	}
	say(err)
}

var namespaces = []struct {
	name string
	flag uintptr
}{
	{"user", 0}, {"mnt", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"net", unix.CLONE_NEWNET},
	{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP},
}

// clone makes a process in new namespaces: each kind along with a user
// namespace, which needs no right outside. With "raise" it first writes to the
// limits on them.
func clone(args []string) {
	if len(args) > 0 && args[0] == "raise" {
		for _, n := range namespaces {
			file := "/proc/sys/user/max_" + n.name + "_namespaces"
			err := os.WriteFile(file, []byte("999"), 0)
			fmt.Printf("raise %s: %s\n", n.name, result(err))
		}
	}
	for _, n := range namespaces {
		cmd := self("exit")
		cmd.Args = []string{"probe", "env"}
		cmd.Stdout = nil
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | n.flag}
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = nil
		}
		fmt.Printf("%s: %s\n", n.name, result(err))
	}
}

// forks starts n processes that wait, says how many it could, and keeps them
// while the file at args[1] is there. "some" stands for fewer than n.
func forks(args []string) {
	n, _ := strconv.Atoi(args[0])
	threads(8)
	runtime.LockOSThread() // with which the forked die
	var last error
	var pids []int
	for len(pids) < n {
		pid, err := fork()
		if last = err; err != nil {
			break
		}
		pids = append(pids, pid)
	}
	fmt.Printf("%d: %s\n", len(pids), result(last))
	hold(args[1])
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGKILL)
		unix.Wait4(pid, nil, 0, nil)
	}
}

// fork makes a process that does nothing until it is killed, or its parent is. It has
// one thread, and Go's runtime knows nothing of it: it makes system calls only.
func fork() (int, error) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid != 0 {
		return int(pid), nil
	}
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	for {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// threads has Go's runtime make n threads, which it keeps: once no more can be
// made it would end this process for want of one.
func threads(n int) {
	var all sync.WaitGroup
	all.Add(n)
	for range n {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait() // each is held until there are n
		}()
	}
	all.Wait()
}

// hold says on standard error that it holds what it took, until path is gone.
func hold(path string) {
	if path == "-" {
		return
	}
	fmt.Fprintln(os.Stderr, "holding")
	for open(path, unix.O_RDONLY) == nil {
		time.Sleep(10 * time.Millisecond)
	}
}

// inotify takes as many instances as it can get, at most n.
func inotify(args []string) {
	n, _ := strconv.Atoi(args[0])
	var last error
	var i int
	for i = 0; i < n; i++ {
		if _, last = unix.InotifyInit1(unix.IN_CLOEXEC); last != nil {
			break
		}
	}
	fmt.Printf("%d: %s\n", i, result(last))
	hold(args[1])
}

// timers takes as many timers as it can get, at most n. Each holds one of the
// user's pending signals (timer_create(2)).
func timers(args []string) {
	n, _ := strconv.Atoi(args[0])
	var last error
	var i int
	for i = 0; i < n; i++ {
		var id int32
		if _, _, e := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&id))); e != 0 {
			last = e
			break
		}
	}
	fmt.Printf("%d: %s\n", i, result(last))
	hold(args[1])
}

// queues makes as many message queues as it can get, at most n (mq_overview(7)).
func queues(args []string) {
	n, _ := strconv.Atoi(args[0])
	var last error
	var i int
	for i = 0; i < n; i++ {
		name, err := unix.BytePtrFromString(fmt.Sprintf("sbx-attack-%d-%d", unix.Getpid(), i))
		if err != nil {
			fail("%v", err)
		}
		if _, _, e := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0); e != 0 {
			last = e
			break
		}
		defer unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0)
	}
	fmt.Printf("%d: %s\n", i, result(last))
	hold(args[1])
}

// terminals opens as many terminals as it can get, at most n (pty(7)).
func terminals(args []string) {
	n, _ := strconv.Atoi(args[0])
	var last error
	var i int
	for i = 0; i < n; i++ {
		if _, last = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); last != nil {
			break
		}
	}
	fmt.Printf("%d: %s\n", i, result(last))
	hold(args[1])
}

// segv dies of a signal whose action is a core dump, in a child whose limit is
// raised as far as it may be.
func segv([]string) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &lim); err != nil {
		fail("%v", err)
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &lim); err != nil {
		fail("%v", err)
	}
	err := exec.Command("/bin/sh", "-c", "kill -SEGV $$").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		fail("%v", err)
	}
	ws := exit.Sys().(syscall.WaitStatus)
	fmt.Printf("signal %d, dumped %v\n", ws.Signal(), ws.CoreDump())
}

// die kills this process with a signal that can be ignored by nobody outside.
func die(args []string) {
	n, _ := strconv.Atoi(args[0])
	sig := unix.Signal(n)
	signal.Reset(sig)
	unix.Kill(unix.Getpid(), sig)
	time.Sleep(time.Second)
	fmt.Println("alive")
}

// wait lives for a while.
func wait(args []string) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		fail("%v", err)
	}
	time.Sleep(d)
}

// ignores prints the signals that are ignored, and those that are blocked.
func ignores([]string) {
	out, err := exec.Command("/bin/cat", "/proc/self/status").Output()
	if err != nil {
		fail("%v", err)
	}
	for line := range bytes.Lines(out) {
		if s := string(line); strings.HasPrefix(s, "SigIgn") || strings.HasPrefix(s, "SigBlk") {
			fmt.Print(strings.Join(strings.Fields(s), " "), "\n")
		}
	}
}

// marker makes a file, and so proves that it ran.
func marker(args []string) { say(open(args[0], unix.O_WRONLY|unix.O_CREAT)) }
