#include "textflag.h"

// The entry before the Go runtime; entry_amd64.s has the comments.

#define HEAD_REPORT    16
#define EARLY_CLOSE_FD 264
#define EARLY_READ_FD  408
#define CODE_SIZE      2048
#define BLOCK_SIZE     (4 << 20)
#define PAGE           65536 // the largest there is

#define SYS_ioctl   29
#define SYS_close   57
#define SYS_pipe2   59
#define SYS_rt_sigaction 134
#define SYS_socketpair 199
#define SYS_munmap  215
#define SYS_mmap    222
#define SYS_madvise 233

#define TCGETS        0x5401
#define EBADF         9
#define SIGCHLD       17
#define AT_BASE       7
#define O_CLOEXEC     0x80000
#define SEQPACKET     0x80005
#define MADV_DONTFORK 10
#define MADV_POPULATE_READ  22

// POPULATE gives the whole pages from R0 to R1 the advice in R2.
#define POPULATE \
	ADD $(PAGE-1), R1, R1; \
	AND $~(PAGE-1), R0, R0; \
	AND $~(PAGE-1), R1, R1; \
	SUB R0, R1, R1; \
	MOVD $SYS_madvise, R8; \
	SVC

TEXT sbx_entry(SB), NOSPLIT|NOFRAME, $0
	MOVD 0(RSP), R9
	CMP  $2, R9
	BLT  runtime
	MOVD 16(RSP), R10
	MOVWU (R10), R11
	MOVD $0x006e7572, R12
	CMP  R12, R11
	BEQ  called
	MOVD $0x6d696873, R12
	CMP  R12, R11
	BNE  runtime
	MOVBU 4(R10), R11
	CBNZ R11, runtime
called:

	ADD  $16, RSP, R10
	ADD  R9<<3, R10, R10
environment:
	MOVD.P 8(R10), R11
	CBNZ R11, environment
auxiliary:
	MOVD.P 16(R10), R11
	CBZ  R11, streams
	CMP  $AT_BASE, R11
	BNE  auxiliary
	MOVD -8(R10), R12
	CBNZ R12, runtime
	B    auxiliary

streams:
	MOVD $0, R22
stream:
	MOVD R22, R0
	MOVD $TCGETS, R1
	SUB  $128, RSP, R2
	MOVD $SYS_ioctl, R8
	SVC
	CBZ  R0, runtime
	CMN  $EBADF, R0
	BEQ  runtime
	ADD  $1, R22
	CMP  $3, R22
	BNE  stream

	MOVD $0, R0
	MOVD $BLOCK_SIZE, R1
	MOVD $3, R2
	MOVD $0x4021, R3
	MOVD $-1, R4
	MOVD $0, R5
	MOVD $SYS_mmap, R8
	SVC
	CMN  $4095, R0
	BHS  runtime
	MOVD R0, R19
	MOVD $·early(SB), R20
	MOVD R19, 0(R20)

	MOVD $SIGCHLD, R0
	MOVD R19, R1
	MOVD $0, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigaction, R8
	SVC

	ADD  $16, R20, R22
pipe:
	MOVD R22, R0
	MOVD $O_CLOEXEC, R1
	MOVD $SYS_pipe2, R8
	SVC
	CBNZ R0, undo
	ADD  $8, R22
	ADD  $32, R20, R9
	CMP  R9, R22
	BNE  pipe
	MOVD $1, R0
	MOVD $SEQPACKET, R1
	MOVD $0, R2
	MOVD R22, R3
	MOVD $SYS_socketpair, R8
	SVC
	CBNZ R0, undo
	ADD  $8, R22
more:
	MOVD R22, R0
	MOVD $O_CLOEXEC, R1
	MOVD $SYS_pipe2, R8
	SVC
	CBNZ R0, undo
	ADD  $8, R22
	ADD  $56, R20, R9
	CMP  R9, R22
	BNE  more

	MOVD $·earlyBlock(SB), R9
	MOVD R19, R10
	MOVD ·earlySize(SB), R11
	ADD  R9, R11, R11
copy:
	MOVD.P 8(R9), R12
	MOVD.P R12, 8(R10)
	CMP  R11, R9
	BLO  copy
	MOVWU 28(R20), R9
	MOVD R9, HEAD_REPORT(R19)
	MOVWU 36(R20), R9
	MOVD R9, EARLY_CLOSE_FD(R19)
	MOVWU 32(R20), R9
	MOVD R9, EARLY_READ_FD(R19)

	MOVD $·start(SB), R22
	MOVD $(CODE_SIZE+PAGE-1), R9
	ADD  R9, R22, R23
	AND  $~(PAGE-1), R22, R22
	AND  $~(PAGE-1), R23, R23
	MOVD $0x10000, R0
	SUB  R0, R22, R1
	MOVD $MADV_DONTFORK, R2
	MOVD $SYS_madvise, R8
	SVC
	MOVD R23, R0
	SUB  R0, R19, R1
	MOVD $MADV_DONTFORK, R2
	MOVD $SYS_madvise, R8
	SVC
	MOVD $BLOCK_SIZE, R9
	ADD  R9, R19, R0
	MOVD $0xfffffffff000, R1 // userSpace
	SUB  R0, R1, R1
	MOVD $MADV_DONTFORK, R2
	MOVD $SYS_madvise, R8
	SVC

	MOVD $·earlyClone(SB), R9
	ADD  $56, R20, R10
	MOVD R10, 8(R9)
	SUB  $48, RSP
	MOVD R9, 8(RSP)
	MOVD $88, R10
	MOVD R10, 16(RSP)
	MOVD R19, 24(RSP)
	CALL ·start(SB)
	MOVD 32(RSP), R9
	ADD  $48, RSP
	CMN  $4095, R9
	BHS  undo
	MOVD R9, 8(R20)
	B    runtime

undo:
	ADD  $16, R20, R22
each:
	MOVW (R22), R0
	CBZ  R0, unmap
	MOVD $SYS_close, R8
	SVC
	MOVW ZR, (R22)
	ADD  $4, R22
	ADD  $56, R20, R9
	CMP  R9, R22
	BNE  each
unmap:
	MOVD R19, R0
	MOVD $BLOCK_SIZE, R1
	MOVD $SYS_munmap, R8
	SVC
	MOVD ZR, 0(R20)

	// See entry_amd64.s.
runtime:
	MOVD $runtime·text(SB), R0
	MOVD $runtime·etext(SB), R1
	MOVD $MADV_POPULATE_READ, R2
	POPULATE
	MOVD $runtime·rodata(SB), R0
	MOVD $runtime·epclntab(SB), R1
	MOVD $MADV_POPULATE_READ, R2
	POPULATE
	B    _rt0_arm64_linux(SB)
