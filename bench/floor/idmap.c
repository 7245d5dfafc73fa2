/* idmap is what mapping a subordinate range costs by itself: a child in a new user
 * namespace waits while newuidmap and newgidmap, started side by side, map its ids.
 *
 *   idmap NEWUIDMAP NEWGIDMAP UID GID SUBUID SUBGID COUNT
 *
 * The helpers do their real work: they read /etc/subuid, check the caller and write
 * the map. Inside, 0 is the caller and 1..COUNT are the subordinate ids. */
#include <linux/sched.h>
#include "nolibc.h"

static void start(long *stack)
{
	char **argv = (char **)(stack + 1), **envp = argv + stack[0] + 1;
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	int wait[2], st;
	char pid[24], c;

	if (stack[0] != 8)
		quit(125);
	must("pipe", sys(__NR_pipe2, wait, O_CLOEXEC));
	long child = must("clone3", sys(__NR_clone3, &args, sizeof args));
	if (child == 0) {
		sys(__NR_close, wait[1]);
		sys(__NR_read, wait[0], &c, 1);
		quit(0);
	}
	putnum(pid, child);
	char *uid[] = { argv[1], pid, "0", argv[3], "1", "1", argv[5], argv[7], 0 };
	char *gid[] = { argv[2], pid, "0", argv[4], "1", "1", argv[6], argv[7], 0 };
	long h1 = must("newuidmap", spawn(uid, envp)), h2 = must("newgidmap", spawn(gid, envp));
	must("wait4", sys(__NR_wait4, h1, &st));
	if (st)
		quit(1);
	must("wait4", sys(__NR_wait4, h2, &st));
	if (st)
		quit(1);
	sys(__NR_close, wait[1]);
	must("wait4", sys(__NR_wait4, child, &st));
	quit(st != 0);
}
