/* floor is what a sandbox costs when nothing but the kernel is paid: the system
 * calls of the equal-isolation profile in a row, from a program without a C
 * library, without configuration, options or error recovery. It is the bound
 * sbx is measured against, not a tool to use.
 *
 *   floor [-e] [-T] COMMAND ARGUMENT...
 *
 * COMMAND is an absolute path. -e returns as soon as the command has ended, before
 * the namespaces are torn down, as bubblewrap does; without it floor waits for
 * the end of the sandbox's first process, as sbx does. -T prints a clock table.
 *
 * The sandbox: new user, mount, pid, ipc, uts, cgroup and network namespaces; the
 * host's tree read-only, nosuid, nodev; own /dev with six devices, devpts, /proc,
 * /tmp; loopback up; new session; no capability, empty bounding set, no_new_privs;
 * an inner user namespace that owns nothing; a non-dumpable first process that
 * reaps; and nothing of it outlives the process that was started. */
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include "nolibc.h"

/* The clock table: memory shared by the three processes. */
static struct trace {
	int n;
	struct {
		const char *what;
		unsigned long at;
	} row[64];
} *trace;

static void step(const char *what)
{
	struct { long s, ns; } t;
	int i;
	if (!trace)
		return;
	sys(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &t);
	i = __sync_fetch_and_add(&trace->n, 1);
	trace->row[i].what = what;
	trace->row[i].at = t.s * 1000000000ul + t.ns;
}

/* Columns: microseconds since the start, and since the row above. */
static void print_trace(void)
{
	char b[160], *p;
	for (int i = 0; trace && i < trace->n; i++) {
		p = put(putnum(b, (trace->row[i].at - trace->row[0].at) / 1000), "\t");
		p = put(putnum(p, i ? (trace->row[i].at - trace->row[i - 1].at) / 1000 : 0), "\t");
		p = put(put(p, trace->row[i].what), "\n");
		sys(__NR_write, 2, b, p - b);
	}
}

static void write_file(const char *path, const char *text, long n)
{
	long fd = must(path, sys(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC));
	must(path, sys(__NR_write, fd, text, n));
	sys(__NR_close, fd);
}

/* map_self maps one id to itself. */
static void map_self(const char *path, unsigned long id)
{
	char b[64], *p;
	p = put(putnum(b, id), " ");
	p = put(putnum(p, id), " 1");
	write_file(path, b, p - b);
}

static void loopback_up(void)
{
	struct { char name[16]; short flags; char rest[22]; } lo = { "lo", 1 /* IFF_UP */, "" };
	long s = must("socket", sys(__NR_socket, 2 /* AF_INET */, 2 | O_CLOEXEC));
	must("lo up", sys(__NR_ioctl, s, 0x8914 /* SIOCSIFFLAGS */, &lo));
	sys(__NR_close, s);
}

static void symlink(const char *text, const char *path)
{
	must(path, sys(__NR_symlinkat, text, AT_FDCWD, path));
}

static void make_dev(void)
{
	static const char *const device[] = { "null", "zero", "full", "random", "urandom", "tty" };
	static const struct mount_attr dev = { .attr_clr = MOUNT_ATTR_NODEV };
	char from[64], to[64], *p;
	long fd;

	/* The host's devices are bound from below the new tmpfs, so their mount has to
	 * allow devices again; nobody can reach it once the tmpfs covers it. */
	must("/dev", sys(__NR_mount_setattr, AT_FDCWD, "/dev", 0, &dev, sizeof dev));
	fd = must("/dev", sys(__NR_openat, AT_FDCWD, "/dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
	must("tmpfs on /dev", sys(__NR_mount, "tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=0755"));
	p = put(putnum(put(from, "/proc/self/fd/"), fd), "/");
	for (int i = 0; i < 6; i++) {
		put(p, device[i]);
		put(put(to, "/dev/"), device[i]);
		must(to, sys(__NR_mknodat, AT_FDCWD, to, 0100644, 0));
		must(to, sys(__NR_mount, from, to, 0, MS_BIND));
	}
	sys(__NR_close, fd);
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	symlink("/proc/kcore", "/dev/core");
	symlink("pts/ptmx", "/dev/ptmx");
	must("/dev/shm", sys(__NR_mkdirat, AT_FDCWD, "/dev/shm", 01777));
	must("/dev/pts", sys(__NR_mkdirat, AT_FDCWD, "/dev/pts", 0755));
	step("dev");
	must("devpts", sys(__NR_mount, "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
			   "newinstance,ptmxmode=0666,mode=620"));
	step("devpts");
}

static void drop_privileges(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	for (int c = 0; sys(__NR_prctl, PR_CAPBSET_DROP, c) == 0; c++)
		;
	must("no_new_privs", sys(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1));
	must("capset", sys(__NR_capset, &header, none));
}

/* reap waits for the command and for whatever was orphaned inside. */
static int reap(long command)
{
	int st;
	for (;;) {
		long pid = must("wait4", sys(__NR_wait4, -1, &st));
		if (pid == command)
			return st & 127 ? 128 + (st & 127) : st >> 8 & 255;
	}
}

/* first is the sandbox's first process. life is the write end of a pipe whose read
 * end only the process outside holds; the ids are the caller's. */
static void first(int life, int early, unsigned long uid, unsigned long gid, char **argv, char **envp)
	__attribute__((noreturn));
static void first(int life, int early, unsigned long uid, unsigned long gid, char **argv, char **envp)
{
	static const struct mount_attr root = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
		.propagation = MS_PRIVATE,
	};
	struct { int fd; short events, revents; } alive = { life, 0, 0 };
	char cwd[4096];
	unsigned char code;

	step("first instruction inside");
	/* The signal first, then the look: a parent that died before the signal was
	 * asked for is seen as a pipe without reader. */
	must("pdeathsig", sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL));
	if (sys(__NR_poll, &alive, 1, 0) != 0)
		quit(125);

	write_file("/proc/self/setgroups", "deny", 4);
	map_self("/proc/self/uid_map", uid);
	map_self("/proc/self/gid_map", gid);
	step("id maps");
	loopback_up();
	step("loopback");

	must("getcwd", sys(__NR_getcwd, cwd, sizeof cwd));
	must("read-only root", sys(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &root, sizeof root));
	step("read-only root");
	make_dev();
	must("proc", sys(__NR_mount, "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
	step("proc");
	must("tmp", sys(__NR_mount, "tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=1g"));
	step("tmp");
	if (sys(__NR_chdir, cwd) < 0) /* anew: the old one lies below the mounts */
		must("chdir", sys(__NR_chdir, "/"));

	must("setsid", sys(__NR_setsid));
	must("inner user namespace", sys(__NR_unshare, CLONE_NEWUSER));
	map_self("/proc/self/uid_map", uid);
	map_self("/proc/self/gid_map", gid);
	step("inner user namespace");
	must("close_range", sys(__NR_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */));
	must("dumpable", sys(__NR_prctl, PR_SET_DUMPABLE, 0)); /* closes /proc/self to us: after the maps */
	drop_privileges();
	step("privileges");

	code = reap(must("clone", spawn(argv, envp)));
	step("command reaped");
	if (early)
		sys(__NR_write, life, &code, 1);
	quit(code);
}

static void start(long *stack)
{
	char **argv = (char **)(stack + 1), **envp = argv + stack[0] + 1;
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
			 CLONE_NEWCGROUP | CLONE_NEWNET | CLONE_CLEAR_SIGHAND,
		.exit_signal = SIGCHLD,
	};
	int early = 0, life[2], st = 0;
	unsigned char code;
	unsigned long uid = sys(__NR_getuid), gid = sys(__NR_getgid);
	long pid;

	for (argv++; *argv && **argv == '-'; argv++) {
		if ((*argv)[1] == 'e')
			early = 1;
		if ((*argv)[1] == 'T')
			trace = (void *)must("mmap", sys(__NR_mmap, 0, 4096, 3, 0x21 /* shared, anonymous */, -1));
	}
	if (!*argv)
		quit(125);
	step("start");
	must("pipe", sys(__NR_pipe2, life, O_CLOEXEC));
	pid = must("clone3", sys(__NR_clone3, &args, sizeof args));
	if (pid == 0) {
		sys(__NR_close, life[0]);
		first(life[1], early, uid, gid, argv, envp);
	}
	sys(__NR_close, life[1]);
	step("clone3 outside");
	if (!early || sys(__NR_read, life[0], &code, 1) != 1) {
		must("wait4", sys(__NR_wait4, pid, &st));
		code = st & 127 ? 128 + (st & 127) : st >> 8 & 255;
	}
	step("end");
	print_trace();
	quit(code);
}
