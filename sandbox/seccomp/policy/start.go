package policy

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ending is what the command's process does under its own filter: it becomes
// the command, or it says why it can't and ends.
const ending = "execve write exit_group"

// starting are the calls, beside those of ending, that PID 1 and the command's
// process make from the moment that PID 1 has a filter until the command is
// executed, and PID 1 to its end; and those of further commands' processes.
// TestStarting of sandbox/program compares them with what it emits.
func starting() []Rule {
	const why = "starting the command, and PID 1"
	clone := func(flags uint64) Rule {
		return Rule{Names: calls("clone"), Action: Allow, Args: []Cond{{Index: 0, Op: Eq, Value: flags}}, Why: why}
	}
	ioctl := func(request uint64) Rule {
		return Rule{Names: calls("ioctl"), Action: Allow, Args: []Cond{{Index: 1, Op: Eq, Value: request}}, Why: why}
	}
	return []Rule{
		{Names: calls(`capset chdir close close_range dup dup3 getcwd getpid getppid kill prlimit64 read recvmsg rt_sigprocmask rt_sigtimedwait
			seccomp sendmsg setsid umask wait4 ` + ending), Action: Allow, Why: why},
		clone(unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)),
		clone(uint64(unix.SIGCHLD)),
		clone(unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | uint64(unix.SIGCHLD)),
		clone(unix.CLONE_PIDFD | uint64(unix.SIGCHLD)),
		ioctl(unix.TIOCSCTTY), ioctl(unix.TIOCSPTLCK), ioctl(unix.TIOCGPTPEER),
		// A terminal for another command.
		{Names: calls("openat"), Action: Allow, Args: []Cond{{Index: 2, Op: Eq, Value: unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC}, {Index: 3, Op: Eq, Value: 0}}, Why: why},
		{Names: calls("prctl"), Action: Allow, Args: []Cond{{Index: 0, Op: Eq, Value: unix.PR_SET_PDEATHSIG}}, Why: why},
	}
}

// Start returns the policy of PID 1 where p is the command's: p, and the calls
// that PID 1 and the command's process make until the command is executed. same
// says that p allows all of them, so that one filter does for both.
//
// A policy that does not allow execve, write and exit_group is an error: no
// command could be started under it, or nobody would hear why not.
func (p Policy) Start() (first Policy, same bool, err error) {
	var lacks []string
	for _, call := range calls(ending) {
		if p.refuses(call) || p.conditional(call) {
			lacks = append(lacks, call)
		}
	}
	if len(lacks) > 0 {
		return Policy{}, false, fmt.Errorf("%s must be allowed, or no command could be started", strings.Join(lacks, ", "))
	}
	more := p.lacking()
	first = p.clone()
	first.Rules = append(more, first.Rules...)
	return first, len(more) == 0, nil
}

// lacking are the rules of starting, for the calls that p does not allow.
func (p Policy) lacking() []Rule {
	var more []Rule
	for _, r := range starting() {
		r.Names = slices.DeleteFunc(r.Names, func(call string) bool { return p.permits(call, r.Args) })
		if len(r.Names) > 0 {
			more = append(more, r)
		}
	}
	return more
}

// Remainder is what is left to be refused on top of Start's first policy: it says
// what p says of the calls that Start adds, which it names, and allows all others.
// Whatever a call is, the stricter word of the two is p's.
func (p Policy) Remainder() (rest Policy, names []string) {
	for _, r := range p.lacking() {
		names = append(names, r.Names...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	rest = p.clone()
	rest.Default, rest.Unknown, rest.Foreign, rest.X32 = Allow, Allow, Allow, Allow
	for i := range rest.Rules {
		rest.Rules[i].Names = slices.DeleteFunc(rest.Rules[i].Names, func(call string) bool { return !slices.Contains(names, call) })
	}
	rest.Rules = slices.DeleteFunc(rest.Rules, func(r Rule) bool { return len(r.Names) == 0 })
	if len(names) > 0 {
		rest.Rules = append(rest.Rules, Rule{Names: names, Action: p.Default})
	}
	return rest, names
}

// permits reports whether p allows a call wherever the conditions of when hold:
// each says what one argument is equal to.
func (p Policy) permits(call string, when []Cond) bool {
	for _, r := range p.Rules {
		if !slices.Contains(r.Names, call) {
			continue
		}
		never, maybe := false, false
		for _, c := range r.Args {
			i := slices.IndexFunc(when, func(w Cond) bool { return w.Index == c.Index })
			switch {
			case i < 0:
				maybe = true // an argument that can be anything
			case !c.holds(c.cut(when[i].Value, call)):
				never = true
			}
		}
		switch {
		case never, maybe && r.Action.lets():
		default:
			return !maybe && r.Action.lets()
		}
	}
	return p.Default.lets()
}

// cut is what of a value c's width in a call leaves.
func (c Cond) cut(v uint64, call string) uint64 {
	if w, err := c.WidthIn(call); err == nil && w < Width64 {
		return v & (1<<w - 1)
	}
	return v
}
