/* true0 is the smallest payload: it exits with 0. */
__asm__(".globl _start\n_start:\n"
#if defined(__x86_64__)
	"mov $231, %eax\n xor %edi, %edi\n syscall\n" /* exit_group */
#elif defined(__aarch64__)
	"mov x8, #94\n mov x0, #0\n svc #0\n"
#else
#error "no true0 for this machine"
#endif
);
