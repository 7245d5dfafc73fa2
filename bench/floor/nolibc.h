/* What a program without a C library needs here: system calls by number, an
 * entry point, and text without stdio. amd64 only. */
#ifndef __x86_64__
#error "the floor is written for amd64"
#endif

#include <asm/unistd.h>

#define O_WRONLY 01
#define O_DIRECTORY 0200000
#define O_CLOEXEC 02000000
#define O_PATH 010000000
#define AT_FDCWD (-100)
#define AT_RECURSIVE 0x8000
#define SIGKILL 9
#define SIGCHLD 17

static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#define sys_(n, a, b, c, d, e, f, ...) \
	sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(...) sys_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static inline void quit(int code) __attribute__((noreturn));
static inline void quit(int code)
{
	for (;;)
		sys(__NR_exit_group, code);
}

/* put copies s to p and returns the end, where it leaves a zero. */
static inline char *put(char *p, const char *s)
{
	while ((*p = *s++))
		p++;
	return p;
}

static inline char *putnum(char *p, unsigned long v)
{
	char b[24];
	int n = 0;
	do
		b[n++] = '0' + v % 10;
	while (v /= 10);
	while (n)
		*p++ = b[--n];
	*p = 0;
	return p;
}

/* must ends the process with "what errno" and exit status 125 if r is an error. */
static inline long must(const char *what, long r)
{
	char b[160], *p;
	if (r >= 0)
		return r;
	p = put(put(b, what), ": errno ");
	p = put(putnum(p, -r), "\n");
	sys(__NR_write, 2, b, p - b);
	quit(125);
}

/* The kernel's entry: argc, argv and envp lie on the stack. */
static void start(long *stack) __attribute__((noreturn, used));
__attribute__((naked, used)) void _start(void)
{
	__asm__("xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n hlt");
}

/* execute runs in a child that shares memory with its parent, which stands
 * still until the child has called execve: vfork(2), on a stack of its own. */
static struct {
	char **argv, **envp;
} job;
static char job_stack[4096] __attribute__((aligned(16)));

static void execute(void) __attribute__((noreturn, used));
static void execute(void)
{
	must(job.argv[0], sys(__NR_execve, job.argv[0], job.argv, job.envp));
	quit(127);
}

static inline long spawn(char **argv, char **envp)
{
	long r;
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	job.argv = argv;
	job.envp = envp;
	__asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n"
			 "xor %%ebp, %%ebp\n call execute\n hlt\n1:"
			 : "=a"(r)
			 : "a"(__NR_clone), "D"(0x4100 | SIGCHLD) /* CLONE_VM|CLONE_VFORK */,
			   "S"(job_stack + sizeof job_stack), "d"(0), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return r;
}
