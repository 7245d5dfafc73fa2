package policy

import (
	"fmt"
	"slices"
	"strings"
)

// signatures are the parameters of calls that somebody may want to put a
// condition on, as the kernel's SYSCALL_DEFINE has them:
//
//	int    int, unsigned int, or a typedef of one: the kernel reads 32 bits
//	flags  unsigned long, of which the kernel reads the low 32 bits (clone only)
//	umode  umode_t: 16 bits
//	long   long, unsigned long, size_t or a pointer: all 64 bits
//
// Not here are calls with a 64-bit offset, which takes two arguments on the
// architectures of 32 bits, calls with user or group ids, of which 386 and arm
// have forms of 16 bits, and mmap, whose arguments are in memory on 386: what is
// right on one architecture would be wrong on another. A condition on a call
// that is not here needs an explicit Cond.Width.
var signatures = [...]string{
	"accept4(int fd, long addr, long addrlen, int flags)",
	"access(long path, int mode)",
	"add_key(long type, long description, long payload, long len, int keyring)",
	"arch_prctl(int option, long arg2)",
	"bind(int fd, long addr, int addrlen)",
	"bpf(int cmd, long attr, int size)",
	"capget(long header, long data)",
	"capset(long header, long data)",
	"chmod(long path, umode mode)",
	"clock_adjtime(int clock, long tx)",
	"clock_getres(int clock, long tp)",
	"clock_gettime(int clock, long tp)",
	"clock_nanosleep(int clock, int flags, long request, long remain)",
	"clock_settime(int clock, long tp)",
	"clone(flags flags, long stack, long parent_tid, long arg3, long arg4)",
	"clone3(long args, long size)",
	"close(int fd)",
	"close_range(int first, int last, int flags)",
	"connect(int fd, long addr, int addrlen)",
	"creat(long path, umode mode)",
	"dup(int fd)",
	"dup2(int oldfd, int newfd)",
	"dup3(int oldfd, int newfd, int flags)",
	"epoll_create1(int flags)",
	"eventfd2(int count, int flags)",
	"execveat(int dirfd, long path, long argv, long envp, int flags)",
	"faccessat(int dirfd, long path, int mode)",
	"faccessat2(int dirfd, long path, int mode, int flags)",
	"fchmod(int fd, umode mode)",
	"fchmodat(int dirfd, long path, umode mode)",
	"fchmodat2(int dirfd, long path, umode mode, int flags)",
	"fcntl(int fd, int cmd, long arg)",
	"fcntl64(int fd, int cmd, long arg)",
	"finit_module(int fd, long params, int flags)",
	"flock(int fd, int operation)",
	"fsopen(long fsname, int flags)",
	"futex(long addr, int op, int value, long timeout, long addr2, int value3)",
	"getpriority(int which, int who)",
	"getrandom(long buf, long len, int flags)",
	"getrlimit(int resource, long limit)",
	"getrusage(int who, long usage)",
	"getsockopt(int fd, int level, int option, long value, long len)",
	"inotify_init1(int flags)",
	"io_uring_enter(int fd, int to_submit, int min_complete, int flags, long arg, long size)",
	"io_uring_register(int fd, int opcode, long arg, int nr_args)",
	"io_uring_setup(int entries, long params)",
	"ioctl(int fd, int cmd, long arg)",
	"ioprio_get(int which, int who)",
	"ioprio_set(int which, int who, int ioprio)",
	"kcmp(int pid1, int pid2, int type, long idx1, long idx2)",
	"keyctl(int operation, long arg2, long arg3, long arg4, long arg5)",
	"kill(int pid, int signal)",
	"landlock_add_rule(int ruleset, int type, long attr, int flags)",
	"landlock_create_ruleset(long attr, long size, int flags)",
	"landlock_restrict_self(int ruleset, int flags)",
	"linkat(int olddirfd, long oldpath, int newdirfd, long newpath, int flags)",
	"listen(int fd, int backlog)",
	"madvise(long addr, long len, int advice)",
	"membarrier(int cmd, int flags, int cpu)",
	"memfd_create(long name, int flags)",
	"memfd_secret(int flags)",
	"mkdir(long path, umode mode)",
	"mkdirat(int dirfd, long path, umode mode)",
	"mknod(long path, umode mode, int dev)",
	"mknodat(int dirfd, long path, umode mode, int dev)",
	"mlock2(long addr, long len, int flags)",
	"mlockall(int flags)",
	"mount(long source, long target, long type, long flags, long data)",
	"mprotect(long addr, long len, long prot)",
	"mq_open(long name, int flags, umode mode, long attr)",
	"mremap(long addr, long oldlen, long newlen, long flags, long newaddr)",
	"msgctl(int id, int cmd, long buf)",
	"msgget(int key, int flags)",
	"msync(long addr, long len, int flags)",
	"open(long path, int flags, umode mode)",
	"openat(int dirfd, long path, int flags, umode mode)",
	"openat2(int dirfd, long path, long how, long size)",
	"perf_event_open(long attr, int pid, int cpu, int group, long flags)",
	"personality(int persona)",
	"pidfd_getfd(int pidfd, int fd, int flags)",
	"pidfd_open(int pid, int flags)",
	"pidfd_send_signal(int pidfd, int signal, long info, int flags)",
	"pipe2(long fds, int flags)",
	"pkey_alloc(long flags, long rights)",
	"pkey_mprotect(long addr, long len, long prot, int pkey)",
	"prctl(int option, long arg2, long arg3, long arg4, long arg5)",
	"prlimit64(int pid, int resource, long new, long old)",
	"ptrace(long request, long pid, long addr, long data)",
	"quotactl(int cmd, long special, int id, long addr)",
	"read(int fd, long buf, long count)",
	"reboot(int magic1, int magic2, int cmd, long arg)",
	"recvfrom(int fd, long buf, long len, int flags, long addr, long addrlen)",
	"recvmsg(int fd, long msg, int flags)",
	"renameat2(int olddirfd, long oldpath, int newdirfd, long newpath, int flags)",
	"rt_sigqueueinfo(int pid, int signal, long info)",
	"sched_setattr(int pid, long attr, int flags)",
	"sched_setscheduler(int pid, int policy, long param)",
	"seccomp(int operation, int flags, long args)",
	"semctl(int id, int num, int cmd, long arg)",
	"semget(int key, int count, int flags)",
	"sendmsg(int fd, long msg, int flags)",
	"sendto(int fd, long buf, long len, int flags, long addr, int addrlen)",
	"setns(int fd, int type)",
	"setpriority(int which, int who, int value)",
	"setrlimit(int resource, long limit)",
	"setsockopt(int fd, int level, int option, long value, int len)",
	"shmat(int id, long addr, int flags)",
	"shmctl(int id, int cmd, long buf)",
	"shmget(int key, long size, int flags)",
	"shutdown(int fd, int how)",
	"signalfd4(int fd, long mask, long size, int flags)",
	"socket(int family, int type, int protocol)",
	"socketcall(int call, long args)",
	"socketpair(int family, int type, int protocol, long fds)",
	"statx(int dirfd, long path, int flags, int mask, long buf)",
	"swapon(long path, int flags)",
	"syslog(int type, long buf, int len)",
	"tgkill(int tgid, int tid, int signal)",
	"timerfd_create(int clock, int flags)",
	"tkill(int tid, int signal)",
	"umask(int mask)",
	"umount2(long target, int flags)",
	"unlinkat(int dirfd, long path, int flags)",
	"unshare(long flags)",
	"userfaultfd(int flags)",
	"vmsplice(int fd, long iov, long count, int flags)",
	"wait4(int pid, long status, int options, long usage)",
	"waitid(int which, int pid, long info, int options, long usage)",
	"write(int fd, long buf, long count)",
}

// parameter finds a call's parameter: its type's word and its name.
func parameter(call string, index uint8) (word, name string, ok bool) {
	i, found := slices.BinarySearchFunc(signatures[:], call, func(s, call string) int {
		head, _, _ := strings.Cut(s, "(")
		return strings.Compare(head, call)
	})
	if !found {
		return "", "", false
	}
	_, list, _ := strings.Cut(strings.TrimSuffix(signatures[i], ")"), "(")
	all := strings.Split(list, ", ")
	if int(index) >= len(all) {
		return "", "", false
	}
	word, name, ok = strings.Cut(all[index], " ")
	return word, name, ok
}

// WidthIn is how many bits of c's argument the kernel reads in a call.
func (c Cond) WidthIn(call string) (Width, error) {
	if c.Width != 0 {
		return c.Width, nil
	}
	word, _, ok := parameter(call, c.Index)
	if !ok {
		return 0, fmt.Errorf("argument %d: how many bits of it the kernel reads is not known here", c.Index)
	}
	switch word {
	case "int", "flags":
		return Width32, nil
	case "umode":
		return Width16, nil
	default:
		return Width64, nil
	}
}
