#include "textflag.h"

// entry is where the kernel starts sbx when it was linked with -E=sbx_entry
// (Makefile): before the Go runtime, in the process's only thread. For
// `sbx run`, and the `sbx shim` that wrapped programs are, without a terminal it
// starts the child whose namespaces most
// profiles ask for (early.go), so that the kernel makes them while the runtime
// starts and the profile is read. Whatever is out of the ordinary is left to
// Start: then nothing has happened here. In every case the runtime's own entry
// comes next, with the stack as the kernel made it. An `sbx exec` mostly does
// without it: ask.go.

#define HEAD_REPORT  16
#define EARLY_CLOSE_FD 264 // earlyCloseFD
#define EARLY_READ_FD  408 // earlyReadFD
#define CODE_SIZE    2048      // codeSize
#define BLOCK_SIZE   (4 << 20) // blockSize
#define PAGE         4096

#define SYS_close   3
#define SYS_mmap    9
#define SYS_munmap  11
#define SYS_rt_sigaction 13
#define SYS_ioctl   16
#define SYS_madvise 28
#define SYS_socketpair 53
#define SYS_arch_prctl 158
#define SYS_pipe2   293

#define ARCH_SET_FS   0x1002

#define TCGETS        0x5401
#define EBADF         9
#define SIGCHLD       17
#define AT_BASE       7
#define O_CLOEXEC     0x80000
#define SEQPACKET     0x80005 // with SOCK_CLOEXEC
#define MADV_DONTFORK 10
#define MADV_POPULATE_READ  22

// POPULATE gives the whole pages from DI to SI the advice in DX.
#define POPULATE \
	ANDQ $~(PAGE-1), DI; \
	ADDQ $(PAGE-1), SI; \
	ANDQ $~(PAGE-1), SI; \
	SUBQ DI, SI; \
	MOVQ $SYS_madvise, AX; \
	SYSCALL

TEXT sbx_entry(SB), NOSPLIT|NOFRAME, $0
	// argv[1] is "run", "exec" or "shim". More strings follow it, so four bytes can
	// be read, and a fifth of what begins with one of the longer ones.
	MOVQ $0, R15 // exec
	MOVQ 0(SP), CX
	CMPQ CX, $2
	JLT  runtime
	MOVQ 16(SP), SI
	MOVL (SI), AX
	CMPL AX, $0x006e7572
	JEQ  called
	CMPL AX, $0x6d696873
	JEQ  longer
	CMPL AX, $0x63657865
	JNE  runtime
	MOVQ $1, R15
longer:
	CMPB 4(SI), $0
	JNE  runtime
called:

	// No dynamic loader: see loaded. Past argv and the environment lie pairs of
	// the auxiliary vector (getauxval(3)), up to one of type 0.
	LEAQ 16(SP)(CX*8), SI
environment:
	MOVQ (SI), AX
	ADDQ $8, SI
	TESTQ AX, AX
	JNE  environment
auxiliary:
	MOVQ (SI), AX
	TESTQ AX, AX
	JEQ  streams
	CMPQ AX, $AT_BASE
	JNE  another
	CMPQ 8(SI), $0
	JNE  runtime
another:
	ADDQ $16, SI
	JMP  auxiliary

streams:
	TESTQ R15, R15
	JNE  exec

	// The standard descriptors are open, and none is a terminal.
	MOVQ $0, R12
stream:
	MOVQ $SYS_ioctl, AX
	MOVQ R12, DI
	MOVQ $TCGETS, SI
	LEAQ -128(SP), DX
	SYSCALL
	TESTQ AX, AX
	JEQ  runtime
	CMPQ AX, $-EBADF
	JEQ  runtime
	INCQ R12
	CMPQ R12, $3
	JNE  stream

	// The block, as Start makes it.
	MOVQ $SYS_mmap, AX
	MOVQ $0, DI
	MOVQ $BLOCK_SIZE, SI
	MOVQ $3, DX       // PROT_READ|PROT_WRITE
	MOVQ $0x4021, R10 // MAP_SHARED|MAP_ANONYMOUS|MAP_NORESERVE
	MOVQ $-1, R8
	MOVQ $0, R9
	SYSCALL
	CMPQ AX, $0xfffffffffffff001
	JCC  runtime
	MOVQ AX, BX
	MOVQ AX, ·early+0(SB)

	// Whoever started sbx may ignore SIGCHLD, and CLONE_CLEAR_SIGHAND leaves
	// that as it is: PID 1 would never hear of a process's end. The runtime takes
	// the signal for itself in any case. The block is all zeros, SIG_DFL.
	MOVQ $SYS_rt_sigaction, AX
	MOVQ $SIGCHLD, DI
	MOVQ BX, SI
	MOVQ $0, DX
	MOVQ $8, R10
	SYSCALL

	LEAQ ·early+16(SB), R12
pipe:
	MOVQ $SYS_pipe2, AX
	MOVQ R12, DI
	MOVQ $O_CLOEXEC, SI
	SYSCALL
	TESTQ AX, AX
	JNE  undo
	ADDQ $8, R12
	LEAQ ·early+32(SB), AX
	CMPQ R12, AX
	JNE  pipe
	MOVQ $SYS_socketpair, AX
	MOVQ $1, DI // AF_UNIX
	MOVQ $SEQPACKET, SI
	MOVQ $0, DX
	MOVQ R12, R10
	SYSCALL
	TESTQ AX, AX
	JNE  undo
	ADDQ $8, R12
more:
	MOVQ $SYS_pipe2, AX
	MOVQ R12, DI
	MOVQ $O_CLOEXEC, SI
	SYSCALL
	TESTQ AX, AX
	JNE  undo
	ADDQ $8, R12
	LEAQ ·early+56(SB), AX
	CMPQ R12, AX
	JNE  more

	LEAQ ·earlyBlock(SB), SI
	MOVQ BX, DI
	MOVQ ·earlySize(SB), CX
	CLD
	REP; MOVSB
	MOVL ·early+28(SB), AX // report, writing end
	MOVQ AX, HEAD_REPORT(BX)
	MOVL ·early+36(SB), AX // go, writing end
	MOVQ AX, EARLY_CLOSE_FD(BX)
	MOVL ·early+32(SB), AX // go, reading end
	MOVQ AX, EARLY_READ_FD(BX)

	// The child gets the pages of the interpreter and the block: see keepOnly.
	// The text of a program that no loader placed lies below all mappings.
	LEAQ ·start(SB), R12
	ANDQ $~(PAGE-1), R12
	LEAQ ·start+(CODE_SIZE+PAGE-1)(SB), R13
	ANDQ $~(PAGE-1), R13
	MOVQ $0x10000, DI
	MOVQ R12, SI
	SUBQ DI, SI
	MOVQ $MADV_DONTFORK, DX
	MOVQ $SYS_madvise, AX
	SYSCALL
	MOVQ R13, DI
	MOVQ BX, SI
	SUBQ DI, SI
	MOVQ $MADV_DONTFORK, DX
	MOVQ $SYS_madvise, AX
	SYSCALL
	LEAQ BLOCK_SIZE(BX), DI
	MOVQ $0x7ffffffff000, SI // userSpace
	SUBQ DI, SI
	MOVQ $MADV_DONTFORK, DX
	MOVQ $SYS_madvise, AX
	SYSCALL

	LEAQ ·early+56(SB), AX
	MOVQ AX, ·earlyClone+8(SB) // where the pidfd goes
	SUBQ $32, SP
	LEAQ ·earlyClone(SB), AX
	MOVQ AX, 0(SP)
	MOVQ $88, 8(SP)
	MOVQ BX, 16(SP)
	CALL ·start(SB)
	MOVQ 24(SP), AX
	ADDQ $32, SP
	CMPQ AX, $0xfffffffffffff001
	JCC  undo
	MOVQ AX, ·early+8(SB)
	LEAQ ·quick(SB), R12 // its start may be kept
	JMP  without

	// Whatever is not 0 was opened: the standard descriptors were there.
undo:
	LEAQ ·early+16(SB), R12
each:
	MOVLQSX (R12), DI
	TESTQ DI, DI
	JEQ  unmap
	MOVQ $SYS_close, AX
	SYSCALL
	MOVL $0, (R12)
	ADDQ $4, R12
	LEAQ ·early+56(SB), AX
	CMPQ R12, AX
	JNE  each
unmap:
	MOVQ $SYS_munmap, AX
	MOVQ BX, DI
	MOVQ $BLOCK_SIZE, SI
	SYSCALL
	MOVQ $0, ·early+0(SB)

	JMP  runtime

	// ask.go
exec:
	LEAQ ·ask(SB), R12

	// Go's code looks for g in front of where FS points: with one of zeros it never
	// runs out of stack. The runtime has both of its own.
without:
	MOVQ SP, ·entryStack(SB)
	LEAQ ·entryG(SB), AX
	MOVQ AX, ·entryTLS(SB)
	MOVQ $SYS_arch_prctl, AX
	MOVQ $ARCH_SET_FS, DI
	LEAQ ·entryTLS+8(SB), SI
	SYSCALL
	TESTQ AX, AX
	JNE  runtime
	CALL R12

	// The program is mapped in two calls, not in a hundred faults: nearly all of
	// it is near something that a run touches, and a fault maps sixteen pages.
	// That madvise(2) knows this only since Linux 5.14 does no harm.
runtime:
	LEAQ runtime·text(SB), DI
	LEAQ runtime·etext(SB), SI
	MOVQ $MADV_POPULATE_READ, DX
	POPULATE
	LEAQ runtime·rodata(SB), DI
	LEAQ runtime·epclntab(SB), SI
	MOVQ $MADV_POPULATE_READ, DX
	POPULATE
	JMP  _rt0_amd64_linux(SB)
