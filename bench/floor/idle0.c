/* idle0 is the smallest payload that stays: it waits until a signal ends it. */
__asm__(".globl _start\n_start:\n"
#if defined(__x86_64__)
	"1: mov $34, %eax\n syscall\n jmp 1b\n" /* pause */
#elif defined(__aarch64__)
	/* ppoll of nothing, without a timeout */
	"1: mov x8, #73\n mov x0, #0\n mov x1, #0\n mov x2, #0\n mov x3, #0\n svc #0\n b 1b\n"
#else
#error "no idle0 for this machine"
#endif
);
