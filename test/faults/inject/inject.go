// Package inject runs a program under ptrace(2) and breaks one moment of it:
// one system call of one process fails with an errno and is not made, or the
// process is killed at it, or it crashes there.
//
// It asks nothing of the program: processes are told apart by who started whom,
// calls by their number in their process. A set-user-ID helper would lose its
// rights under a tracer, so a child of the first process is let go of when it
// executes something, and so is the sandbox's command.
package inject

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is a system call that was made.
type Call struct {
	Nr   int
	Args [6]uint64
	Ret  int64 // a negative errno for a failure
	Done bool  // it returned
}

// Errno is the errno the call failed with, 0 for none.
func (c Call) Errno() unix.Errno {
	if c.Ret < 0 && c.Ret > -4096 {
		return unix.Errno(-c.Ret)
	}
	return 0
}

// Kind is how something is broken.
type Kind int

// The kinds.
const (
	Fail  Kind = iota // the call is not made and fails with Errno
	Kill              // SIGKILL before the call is made
	Crash             // a jump to address 0 after the call
)

// Fault is one moment and what happens then.
type Fault struct {
	Kind  Kind
	Errno unix.Errno
	Who   string // "0" is the process that is run, "0.1" its first child
	N     int    // the call's number in that process, from 0
	// Nr makes N count only the calls of this number, where it is not Any, and
	// of those the ones that Arg, where it is not nil, says yes to.
	Nr  int
	Arg func([6]uint64) bool
}

// Any is the Nr that counts every call.
const Any = -1

// Report is how a run went.
type Report struct {
	Calls    map[string][]Call // what each process called, with Record
	Executed map[string]bool   // the processes that executed a program
	Fired    bool              // the fault's moment came
	Before   bool              // it came before the sandbox's command was executed
	Status   unix.WaitStatus   // of the process that was run
	Stuck    string            // it took too long and was killed: what each of its threads waited for
}

// Code is the exit status as a shell shows it.
func (r *Report) Code() int {
	if r.Status.Signaled() {
		return 128 + int(r.Status.Signal())
	}
	return r.Status.ExitStatus()
}

// Record as the fault records all calls and breaks nothing.
var Record *Fault

// patience is how long a run may take.
const patience = 20 * time.Second

// Run starts cmd, whose Std* are files or nil, and stays until it and all that
// is still traced has ended.
func Run(cmd *exec.Cmd, f *Fault) (*Report, error) {
	// A tracer is a thread (ptrace(2)), and wait4(2) below is to see no children
	// but its own.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := make([]uintptr, 3)
	for i, v := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		files[i] = null.Fd()
		if f, ok := v.(*os.File); ok {
			files[i] = f.Fd()
		} else if v != nil {
			return nil, fmt.Errorf("descriptor %d of the traced program is no file", i)
		}
	}
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Ptrace = true
	pid, err := syscall.ForkExec(cmd.Path, cmd.Args, &syscall.ProcAttr{Dir: cmd.Dir, Env: cmd.Env, Files: files, Sys: &attr})
	if err != nil {
		return nil, &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: err}
	}
	t := &tracer{fault: f, threads: map[int]*thread{}, early: map[int]bool{}}
	t.report.Calls, t.report.Executed = map[string][]Call{}, map[string]bool{}
	late := time.AfterFunc(patience, t.stuck)
	defer late.Stop()
	err = t.trace(pid)
	return &t.report, err
}

// process is one that is traced.
type process struct {
	name     string
	id       int
	parent   *process
	children int
	calls    int  // all, or those that the fault counts
	sandbox  bool // it makes namespaces, so it is no helper
}

// mayHelp says that it is a child of the first process that may execute a
// set-user-ID program.
func (p *process) mayHelp() bool { return p.parent != nil && p.parent.parent == nil && !p.sandbox }

type thread struct {
	*process
	inside bool // a system call
	index  int  // of the call in the report
	broken bool // the call it is in is the fault's
}

type tracer struct {
	fault  *Fault
	report Report
	early  map[int]bool // threads that stopped before their starter's event

	mu      sync.Mutex // of threads, for stuck
	threads map[int]*thread
}

func (t *tracer) stuck() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.threads) == 0 {
		t.report.Stuck = "; every process is gone"
	}
	for id, th := range t.threads {
		t.report.Stuck += fmt.Sprintf("; process %s %s", th.name, waits(id))
	}
	for id := range t.threads {
		_ = unix.Kill(id, unix.SIGKILL)
	}
}

// waits says in which state a thread is, and in which function and call of the kernel's.
func waits(id int) string {
	read := func(name string) string {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", id, name))
		return string(text)
	}
	_, state, _ := strings.Cut(read("status"), "\nState:\t")
	state, _, _ = strings.Cut(state, "\n")
	call, _, _ := strings.Cut(read("syscall"), "\n")
	return fmt.Sprintf("%s in %s, call %s", state, read("wchan"), call)
}

func (t *tracer) add(id int, p *process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.threads[id] = &thread{process: p}
}

func (t *tracer) remove(id int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.threads, id)
}

func (t *tracer) trace(pid int) error {
	var ws unix.WaitStatus
	if _, err := wait(pid, &ws); err != nil {
		return err
	}
	if !ws.Stopped() {
		return fmt.Errorf("the traced program ended with %#x before it began", ws)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACECLONE |
		unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return err
	}
	t.add(pid, &process{name: "0", id: pid})
	t.resume(pid, 0)
	for len(t.threads) > 0 {
		id, err := wait(-1, &ws)
		if errors.Is(err, unix.ECHILD) {
			return nil
		}
		if err != nil {
			return err
		}
		th := t.threads[id]
		if ws.Exited() || ws.Signaled() {
			if id == pid {
				t.report.Status = ws
			}
			t.remove(id)
			continue
		}
		if th == nil {
			t.early[id] = true
			continue
		}
		if err := t.stopped(id, th, ws); err != nil && !errors.Is(err, unix.ESRCH) { // it was killed meanwhile
			return fmt.Errorf("tracing process %s: %w", th.name, err)
		}
	}
	t.release()
	return nil
}

// release lets those go on whose starter was killed before it could tell of them.
// They are traced from their first moment, and stand still.
func (t *tracer) release() {
	for id := range t.early {
		_ = unix.PtraceDetach(id)
	}
	for range 1000 {
		var ws unix.WaitStatus
		id, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // there is none
			return
		case id == 0: // one has not come to its first stop yet
			time.Sleep(time.Millisecond)
		case ws.Stopped():
			_ = unix.PtraceDetach(id)
		}
	}
}

// wait is wait4(2) for this thread's children and tracees.
func wait(id int, ws *unix.WaitStatus) (int, error) {
	for {
		id, err := unix.Wait4(id, ws, unix.WALL|unix.WNOTHREAD, nil)
		if !errors.Is(err, unix.EINTR) {
			return id, err
		}
	}
}

// stopped handles one stop and lets the thread go on.
func (t *tracer) stopped(id int, th *thread, ws unix.WaitStatus) error {
	sig := ws.StopSignal()
	switch {
	case sig == unix.SIGTRAP|0x80:
		return t.call(id, th)
	case sig != unix.SIGTRAP:
		t.resume(id, sig)
		return nil
	}
	switch ws.TrapCause() {
	case unix.PTRACE_EVENT_CLONE, unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK:
		msg, err := unix.PtraceGetEventMsg(id)
		if err != nil {
			return err
		}
		t.born(int(msg), th.process)
	case unix.PTRACE_EVENT_EXEC:
		t.report.Executed[th.name] = true
		if th.parent != nil {
			t.remove(id)
			return unix.PtraceDetach(id)
		}
	}
	t.resume(id, 0)
	return nil
}

// born takes in a new thread, or process.
func (t *tracer) born(id int, by *process) {
	p := by
	if group(id) != by.id {
		by.children++
		p = &process{name: fmt.Sprintf("%s.%d", by.name, by.children), id: id, parent: by}
	}
	t.add(id, p)
	if !t.early[id] {
		var ws unix.WaitStatus
		if _, err := wait(id, &ws); err != nil || !ws.Stopped() {
			t.remove(id)
			return
		}
	}
	delete(t.early, id)
	t.resume(id, 0) // without the SIGSTOP it begins with
}

// group is the process that thread id is of.
func group(id int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
	_, rest, _ := strings.Cut(string(text), "\nTgid:\t")
	n := 0
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// resume lets a thread go on to its next event. Calls are stopped at only where
// they matter, since a stop takes long.
func (t *tracer) resume(id int, sig unix.Signal) {
	th := t.threads[id]
	f := t.fault
	if f == nil || th.broken || !t.report.Fired && f.Who == th.name || th.mayHelp() {
		_ = unix.PtraceSyscall(id, int(sig))
		return
	}
	_ = unix.PtraceCont(id, int(sig))
}

// syscallInfo is the kernel's struct ptrace_syscall_info, see ptrace(2).
type syscallInfo struct {
	op     uint8
	_      [7]uint8
	ip, sp uint64
	data   [8]uint64 // nr and arguments, or result
}

func info(id int) (syscallInfo, error) {
	var i syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(id), unsafe.Sizeof(i), uintptr(unsafe.Pointer(&i)), 0, 0)
	if errno != 0 {
		return i, errno
	}
	return i, nil
}

func (t *tracer) call(id int, th *thread) error {
	i, err := info(id)
	if err != nil {
		return err
	}
	switch i.op {
	case unix.PTRACE_SYSCALL_INFO_ENTRY:
		th.inside = true
		switch nr := int(int32(i.data[0])); {
		case nr == unix.SYS_UNSHARE:
			th.sandbox = true
		case nr == unix.SYS_EXECVE && th.mayHelp() && !t.breaks(th):
			if t.fault == nil {
				_ = t.enters(id, th, i)
			}
			t.remove(id)
			return unix.PtraceDetach(id)
		}
		err = t.enters(id, th, i)
	case unix.PTRACE_SYSCALL_INFO_EXIT:
		th.inside = false
		err = t.leaves(id, th, i)
	}
	if err != nil {
		return err
	}
	t.resume(id, 0)
	return nil
}

// breaks says that the fault's moment in the thread's process is yet to come.
func (t *tracer) breaks(th *thread) bool {
	return t.fault != nil && !t.report.Fired && t.fault.Who == th.name
}

func (t *tracer) enters(id int, th *thread, i syscallInfo) error {
	c := Call{Nr: int(int32(i.data[0])), Args: [6]uint64(i.data[1:7])}
	f := t.fault
	if f == nil {
		th.index = len(t.report.Calls[th.name])
		t.report.Calls[th.name] = append(t.report.Calls[th.name], c)
		return nil
	}
	if t.report.Fired || f.Who != th.name || f.Nr != Any && f.Nr != c.Nr || f.Arg != nil && !f.Arg(c.Args) {
		return nil
	}
	th.calls++
	if th.calls != f.N+1 {
		return nil
	}
	if f.Kind == Fail && c.Nr == unix.SYS_EXIT_GROUP {
		return nil // which can't: PID 1 comes to it earlier where two of its children end at once
	}
	t.report.Fired, t.report.Before = true, len(t.report.Executed) == 0
	switch f.Kind {
	case Kill:
		return unix.Kill(th.id, unix.SIGKILL)
	case Fail:
		// A call that does nothing, and that every filter allows, in its place.
		if err := setCall(id, unix.SYS_GETPID); err != nil {
			return err
		}
	}
	th.broken = true
	return nil
}

func (t *tracer) leaves(id int, th *thread, i syscallInfo) error {
	if t.fault == nil {
		c := &t.report.Calls[th.name][th.index]
		c.Ret, c.Done = int64(i.data[0]), true
		return nil
	}
	if !th.broken {
		return nil
	}
	th.broken = false
	if t.fault.Kind == Crash {
		return jump(id, 0)
	}
	return setResult(id, -int64(t.fault.Errno))
}
