package policy

// groups are sets of calls for Allow and Deny. Most have the names of systemd's
// (systemd.exec(5), SystemCallFilter=) and roughly their meaning; the contents
// are our own. socketcall and ipc, which stand for many calls each, are in none.
var groups = [...]struct{ name, what, calls string }{
	{"@aio", "asynchronous input and output", `io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
		io_setup io_submit io_uring_enter io_uring_register io_uring_setup`},
	{"@basic-io", "reading and writing of open files", `_llseek close close_range dup dup2 dup3 lseek pread64 preadv
		preadv2 pwrite64 pwritev pwritev2 read readv write writev`},
	{"@bpf", "programs in the kernel", `bpf`},
	{"@chown", "owners of files", `chown chown32 fchown fchown32 fchownat lchown lchown32`},
	{"@clock", "setting the clock", `adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday stime`},
	{"@cpu-emulation", "segments and modes of old processors", `modify_ldt vm86 vm86old`},
	{"@debug", "watching programs", `kcmp lookup_dcookie perf_event_open pidfd_getfd process_vm_readv process_vm_writev
		ptrace`},
	{"@file-system", "files by their names", `access chdir chmod close creat faccessat faccessat2 fallocate fchdir fchmod
		fchmodat fchmodat2 fcntl fcntl64 fgetxattr file_getattr file_setattr flistxattr fremovexattr fsetxattr fstat
		fstat64 fstatat64 fstatfs fstatfs64 ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr
		getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lgetxattr link linkat listxattr
		listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat newfstatat open openat
		openat2 readlink readlinkat removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat
		stat64 statfs statfs64 statx symlink symlinkat truncate truncate64 unlink unlinkat utime utimensat
		utimensat_time64 utimes`},
	{"@handle", "files by handle, past the directories above them", `name_to_handle_at open_by_handle_at`},
	{"@io-event", "waiting for files", `_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait
		epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select`},
	{"@io-uring", "rings of operations", `io_uring_enter io_uring_register io_uring_setup`},
	{"@ipc", "System V and POSIX queues, semaphores and shared memory, pipes", `memfd_create mq_getsetattr mq_notify
		mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv
		msgsnd pipe pipe2 process_madvise semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget`},
	{"@keyring", "the kernel's keyrings", `add_key keyctl request_key`},
	{"@memlock", "memory that stays in memory", `mlock mlock2 mlockall munlock munlockall`},
	{"@module", "kernel modules", `create_module delete_module finit_module get_kernel_syms init_module query_module`},
	{"@mount", "mounting, and another root", `chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount
		open_tree open_tree_attr pivot_root umount umount2`},
	{"@namespace", "namespaces", `clone clone3 listns setns unshare`},
	{"@network-io", "sockets", `accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom
		recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketpair`},
	{"@numa", "placing of memory on nodes", `get_mempolicy mbind migrate_pages move_pages set_mempolicy
		set_mempolicy_home_node`},
	{"@obsolete", "what nothing uses any more", `_sysctl afs_syscall bdflush break create_module ftime get_kernel_syms
		getpmsg gtty idle lock mpx nfsservctl prof profil putpmsg query_module security sgetmask ssetmask stime stty
		sysfs tuxcall ulimit uselib ustat vserver`},
	{"@perf", "performance counters", `perf_event_open`},
	{"@pkey", "memory protection keys", `pkey_alloc pkey_free pkey_mprotect`},
	{"@process", "making processes, waiting for and signalling them", `arch_prctl capget clone clone3 execve execveat
		fork getrusage kill pidfd_open pidfd_send_signal prctl rt_sigqueueinfo rt_tgsigqueueinfo setns tgkill times
		tkill unshare vfork wait4 waitid waitpid`},
	{"@ptrace", "control over another process and its memory", `kcmp pidfd_getfd process_madvise process_vm_readv
		process_vm_writev ptrace`},
	{"@quota", "disk quotas and accounting", `acct quotactl quotactl_fd`},
	{"@raw-io", "ports of devices", `ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write`},
	{"@reboot", "restarting the machine", `kexec_file_load kexec_load reboot`},
	{"@resources", "scheduling, priorities and limits", `ioprio_set mbind migrate_pages move_pages nice prlimit64
		sched_setaffinity sched_setattr sched_setparam sched_setscheduler set_mempolicy set_mempolicy_home_node
		setpriority setrlimit`},
	{"@sandbox", "restricting oneself", `landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp`},
	{"@setuid", "changing user and groups", `setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
		setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32`},
	{"@signal", "handling of signals", `pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend
		rt_sigtimedwait rt_sigtimedwait_time64 sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask
		sigreturn sigsuspend`},
	{"@swap", "swap space", `swapoff swapon`},
	{"@sync", "writing out what is cached", `fdatasync fsync msync sync sync_file_range arm_sync_file_range syncfs`},
	{"@timer", "timers", `alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime
		timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
		timerfd_settime64 times`},
	{"@userfault", "page faults handled by the program", `userfaultfd`},
}

// Groups are the names that stand for many calls.
func Groups() []string {
	all := make([]string, len(groups))
	for i, g := range groups {
		all[i] = g.name
	}
	return all
}
