#include "textflag.h"

#define SYS_rt_sigprocmask 14
#define SYS_dup2       33
#define SYS_clone      56
#define SYS_execve     59
#define SYS_exit_group 231

// func vexec(path *byte, argv, envp **byte, null int, mask *uint64) (pid int)
//
// It uses no stack in the child, which has the parent's.
TEXT ·vexec(SB), NOSPLIT|NOFRAME, $0-48
	MOVQ path+0(FP), R12
	MOVQ argv+8(FP), R13
	MOVQ envp+16(FP), R14
	MOVQ null+24(FP), R15
	MOVQ mask+32(FP), BX
	MOVQ $SYS_clone, AX
	MOVQ $0x4111, DI // CLONE_VM|CLONE_VFORK|SIGCHLD
	MOVQ $0, SI
	MOVQ $0, DX
	MOVQ $0, R10
	MOVQ $0, R8
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	MOVQ AX, pid+40(FP)
	RET

child:
	MOVQ $SYS_rt_sigprocmask, AX
	MOVQ $2, DI // SIG_SETMASK
	MOVQ BX, SI
	MOVQ $0, DX
	MOVQ $8, R10
	SYSCALL
	MOVQ $0, BX
standard:
	MOVQ $SYS_dup2, AX
	MOVQ R15, DI
	MOVQ BX, SI
	SYSCALL
	INCQ BX
	CMPQ BX, $3
	JNE  standard
	MOVQ $SYS_execve, AX
	MOVQ R12, DI
	MOVQ R13, SI
	MOVQ R14, DX
	SYSCALL
	MOVQ $SYS_exit_group, AX
	MOVQ $127, DI
	SYSCALL
	INT  $3
