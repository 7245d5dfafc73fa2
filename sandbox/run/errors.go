package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
)

// StepError is a step of the Program that failed. The command did not run.
type StepError struct {
	Step   program.Step
	Errno  unix.Errno
	IsExec bool // it was the execution of the command itself
	Plan   *sandbox.Plan
}

func (e *StepError) Error() string {
	s := fmt.Sprintf("%s: %s", e.Step.Doc(), e.Errno)
	if h := e.Hint(); h != "" {
		s += "; " + h
	}
	return s
}

// Unwrap gives the errno.
func (e *StepError) Unwrap() error { return e.Errno }

// Code is sbx's exit status: 127 when the command was not found, 126 when it
// could not be executed, 125 for anything else.
func (e *StepError) Code() int {
	switch {
	case !e.IsExec:
		return 125
	case e.Errno == unix.ENOENT || e.Errno == unix.ENOTDIR:
		return 127
	}
	return 126
}

// Hint says what to do next, for the errnos that mislead.
func (e *StepError) Hint() string {
	if e.IsExec {
		return execHint(e.Errno, e.Plan)
	}
	if e.Step.From == "security.seccomp" {
		return `the kernel, or a container around sbx, does not take the filter; see sbx doctor, or set security.seccomp = "unconfined" to run without`
	}
	if e.Step.From == "security.trace_denied" {
		return traceHint(e.Errno)
	}
	if e.Step.From == "process.tty" && e.Errno == unix.ENOSPC {
		return "as many terminals are open as there may be, in this sandbox or on this host (sysctl kernel.pty.max); close some, or do without one: --tty=never"
	}
	if e.Step.From == "network.allow" {
		return `this kernel filters no packets in a user namespace (nf_tables); set network.backend = "engine", which needs no filter`
	}
	switch e.Errno {
	case unix.ELOOP:
		return "a symbolic link appeared on the path after it was checked; name the real place"
	case unix.ENOSYS:
		return "this kernel is too old; sbx needs Linux 5.12, see sbx doctor"
	case unix.ENOSPC:
		return "a limit of this host is used up: fs.mount-max, user.max_*_namespaces, or the size of the file system; see sbx doctor"
	case unix.EDQUOT:
		return "your quota on this host is used up; of keys (/proc/key-users, sysctl kernel.keys.maxkeys) each sandbox takes one until it ends and is waited for"
	case unix.EXDEV:
		return "the directory is not part of the sandbox"
	case unix.ECANCELED:
		return "the id maps were not written"
	case unix.EPERM, unix.EACCES:
		return permissionHint(e.Step)
	}
	return ""
}

func traceHint(errno unix.Errno) string {
	if errno == unix.EBUSY {
		return "a process has one listener, and what is around sbx has taken it: a sandbox with security.trace_denied, or a container whose manager looks at system calls; run without"
	}
	return "the kernel, or a container around sbx, does not take a filter that asks; see sbx doctor, or run without security.trace_denied"
}

func permissionHint(s program.Step) string {
	if s.From == "user.map" || s.Path == "" {
		return "user namespaces are restricted on this host; see sbx doctor"
	}
	return ""
}

func execHint(errno unix.Errno, p *sandbox.Plan) string {
	switch errno {
	case unix.ENOENT:
		if p != nil && len(p.Process.Argv) > 0 && !strings.Contains(p.Process.Argv[0], "/") {
			return "no directory of PATH has it inside, or the interpreter it names is not visible; sbx explain lists what is"
		}
		return "it is not visible inside, or the interpreter it names is not; sbx explain lists what is"
	case unix.EACCES:
		return "it is not executable for you, or lies on a noexec mount"
	case unix.ENOEXEC:
		return "it is neither a program of this machine nor a script with a #! line"
	}
	return ""
}

// cloneError explains why the child could not even be made.
func cloneError(err error) error {
	hint := "see sbx doctor"
	switch {
	case errors.Is(err, unix.EPERM):
		hint = "unprivileged user namespaces are switched off on this host (kernel.unprivileged_userns_clone), a container around sbx forbids them, or sbx runs in a chroot, where the kernel gives none; see sbx doctor"
	case errors.Is(err, unix.EACCES):
		hint = "a security module (AppArmor, SELinux) forbids user namespaces to sbx; see sbx doctor"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		hint = "the limit on namespaces is reached or zero (sysctl user.max_user_namespaces and its siblings); see sbx doctor"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		hint = "this kernel lacks clone3 or a kind of namespace; sbx needs Linux 5.12, see sbx doctor"
	}
	err = fmt.Errorf("making the sandbox's namespaces: %w; %s", err, hint)
	var errno unix.Errno
	if errors.As(err, &errno) && slices.Contains(append(refusals, unix.EINVAL), errno) { // EINVAL: a kernel without them
		return &RefusedError{Err: err, Errno: errno}
	}
	return err
}

// RefusedError is a host that refuses user namespaces to its users, or what takes
// rights in them. Nothing was changed, and a Plan without namespaces may do.
type RefusedError struct {
	Err   error
	Errno unix.Errno
	// Step is what could not be done in the user namespace, "" where there was none.
	Step string
}

func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap gives the failure itself.
func (e *RefusedError) Unwrap() error { return e.Err }

// refusals are the errnos of a refusal: of a sysctl or a container, a security
// module, a limit.
var refusals = []unix.Errno{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS}

// refusedStep makes a *RefusedError of the failure of a step by which a host
// refuses user namespaces, and returns any other error as it is.
func refusedStep(err error) error {
	var failed *StepError
	if errors.As(err, &failed) && failed.Step.Refusable && slices.Contains(refusals, failed.Errno) {
		return &RefusedError{Err: err, Errno: failed.Errno, Step: failed.Step.Doc()}
	}
	return err
}
