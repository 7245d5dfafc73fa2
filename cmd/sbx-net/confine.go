package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/confine"
	"github.com/sbx-sandbox/sbx/slirp/dns"
)

// confine takes from this process what the network of a sandbox does not need.
func (n *network) confine() error {
	limits := confine.Limits{Calls: calls()}
	if n.config.DNS.Servers == nil {
		path := n.config.DNS.File
		if path == "" {
			path = dns.ResolvConf
		}
		limits.Read = confine.Directories(path)
	}
	if n.control != nil {
		limits.Read = append(limits.Read, control.PeersDir)
	}
	return confineTo(limits, n.events)
}

// confineTo takes from this process what is beyond limits, and tells of what it has to
// leave.
func confineTo(limits confine.Limits, events *events) error {
	lost, err := confine.Process(limits)
	for _, why := range lost {
		events.send(slirp.Event{Event: slirp.EventLimit, Message: "sbx-net is not confined as it should be: " + why})
	}
	if err != nil {
		return fmt.Errorf("confining sbx-net: %w", err)
	}
	return nil
}

func allow(why string, names ...string) policy.Rule {
	return policy.Rule{Names: names, Action: policy.Allow, Why: why}
}

func when(why, name string, conds ...policy.Cond) policy.Rule {
	return policy.Rule{Names: []string{name}, Action: policy.Allow, Args: conds, Why: why}
}

// openRead lets files be opened that are only read.
func openRead(why string) policy.Rule {
	return when(why, "openat", policy.Cond{Index: 2, Op: policy.MaskedEq, Value: unix.O_RDONLY, Mask: unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC})
}

// calls are the system calls of a Go program that has sockets and threads and
// nothing else: none that executes, forks, traces, mounts, or names a file to be
// written.
func calls() []policy.Rule {
	family := func(value uint64) policy.Cond { return policy.Cond{Index: 0, Op: policy.Eq, Value: value} }
	return append(runtimeCalls(),
		allow("data", "read", "write", "readv", "writev", "close", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
			"shutdown", "ioctl", "fcntl", "lseek"),
		allow("sockets", "connect", "bind", "listen", "accept4", "getsockname", "getpeername", "setsockopt", "getsockopt"),
		when("sockets", "socket", family(unix.AF_INET)),
		when("sockets", "socket", family(unix.AF_INET6)),
		openRead("resolv.conf"),
		allow("who asks", "pidfd_open"),
		allow("resolv.conf", "fstat", "newfstatat", "statx", "readlinkat"),
	)
}

// runtimeCalls are those of any Go program that has threads.
func runtimeCalls() []policy.Rule {
	return []policy.Rule{
		allow("data", "read", "write", "close"),
		allow("waiting", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "pipe2", "poll", "ppoll",
			"pselect6", "futex", "nanosleep", "clock_nanosleep", "restart_syscall"),
		allow("memory", "mmap", "munmap", "mremap", "madvise", "brk", "mincore"),
		when("memory", "mprotect", policy.Cond{Index: 2, Op: policy.MaskedEq, Value: 0, Mask: unix.PROT_EXEC}),
		when("threads", "clone", policy.Cond{Index: 0, Op: policy.MaskedEq, Value: unix.CLONE_THREAD, Mask: unix.CLONE_THREAD}),
		allow("threads", "exit", "exit_group", "gettid", "getpid", "tgkill", "sched_yield", "sched_getaffinity", "set_robust_list", "rseq",
			"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "getrandom", "clock_gettime", "gettimeofday", "getuid",
			"prlimit64", "uname", "sysinfo"),
	}
}
