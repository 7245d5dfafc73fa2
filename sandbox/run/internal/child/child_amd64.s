#include "textflag.h"

// The interpreter of a Program's block. Layout and numbers are those of
// sandbox/program (encode.go, program.go).
//
// Registers of the child: BX the block, R13 the operation, R15 its flags. No
// stack is used, so that a child that shares memory with its waiting parent
// (CLONE_VM|CLONE_VFORK) can run here too.

#define HEAD_ALL     0
#define HEAD_OLD     8
#define HEAD_REPORT  16
#define HEAD_MESSAGE 24
#define HEAD_KEPT    32
#define HEAD_STATUS  40
#define HEAD_SIGINFO 48
#define SI_PID       64 // HEAD_SIGINFO + 16, sigaction(2)
#define FIRST_OP     176
#define OP_SIZE      72

#define SYS_write           1
#define SYS_rt_sigprocmask  14
#define SYS_wait4           61
#define SYS_kill            62
#define SYS_ptrace          101
#define SYS_rt_sigtimedwait 128
#define SYS_exit_group      231
#define SYS_clone3          435

// ARG loads argument i into reg.
#define ARG(i, reg) \
	MOVQ (16+8*i)(R13), reg; \
	BTL  $(8+i), R15; \
	JCC  2(PC); \
	MOVQ (BX)(reg*1), reg; \
	BTL  $(16+i), R15; \
	JCC  2(PC); \
	ADDQ BX, reg

// func start(args *CloneArgs, size uintptr, block *byte) (pid uintptr)
TEXT ·start(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ block+16(FP), BX

	// All signals wait until the child has its own handlers' table and the
	// parent is past the call.
	MOVQ $SYS_rt_sigprocmask, AX
	MOVQ $0, DI // SIG_BLOCK
	LEAQ HEAD_ALL(BX), SI
	LEAQ HEAD_OLD(BX), DX
	MOVQ $8, R10
	SYSCALL

	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ $SYS_clone3, AX
	SYSCALL
	TESTQ AX, AX
	JEQ  child

	MOVQ AX, R12
	MOVQ $SYS_rt_sigprocmask, AX
	MOVQ $2, DI // SIG_SETMASK
	LEAQ HEAD_OLD(BX), SI
	MOVQ $0, DX
	MOVQ $8, R10
	SYSCALL
	MOVQ R12, pid+24(FP)
	RET

child:
	LEAQ FIRST_OP(BX), R13

run:
	MOVL 4(R13), R15
	ARG(0, DI)
	ARG(1, SI)
	ARG(2, DX)
	ARG(3, R10)
	ARG(4, R8)
	ARG(5, R9)
	MOVLQSX 0(R13), AX
	TESTQ AX, AX
	JLT  own
	SYSCALL
	TESTQ AX, AX
	JNE  keep
	BTL  $1, R15 // Fork
	JCS  jump    // the block is the parent's too, which keeps its own result

keep:
	MOVQ AX, 64(R13)
	CMPQ AX, $0xfffffffffffff001
	JCC  failed
	BTL  $3, R15 // Zero
	JCC  next
	TESTQ AX, AX
	JEQ  next
	MOVQ $3, AX // ESRCH
	JMP  report

jump:
	MOVLQSX 8(R13), R13
	ADDQ BX, R13
	JMP  run

next:
	ADDQ $OP_SIZE, R13
	JMP  run

failed:
	BTL  $0, R15 // Ignore
	JCS  next
	NEGQ AX
	BTL  $4, R15 // Search
	JCC  tolerate
	CMPQ AX, $13 // EACCES
	JNE  2(PC)
	MOVQ AX, HEAD_KEPT(BX)
	CMPQ AX, $13
	JEQ  next
	CMPQ AX, $2 // ENOENT
	JEQ  next
	CMPQ AX, $20 // ENOTDIR
	JEQ  next

tolerate:
	MOVLQSX 12(R13), CX
	CMPQ AX, CX
	JNE  report
	BTL  $2, R15 // Skip
	JCS  jump
	JMP  next

report: // AX is the errno
	MOVQ R13, CX
	SUBQ BX, CX
	SHLQ $32, AX
	ORQ  AX, CX
	MOVQ CX, HEAD_MESSAGE(BX)
	MOVQ HEAD_REPORT(BX), DI
	LEAQ HEAD_MESSAGE(BX), SI
	MOVQ $8, DX
	MOVQ $SYS_write, AX
	SYSCALL
	MOVQ $125, DI

exit: // DI is the status
	MOVQ $SYS_exit_group, AX
	SYSCALL
	INT  $3

own:
	CMPQ AX, $-1
	JEQ  store
	CMPQ AX, $-2
	JEQ  relocate
	CMPQ AX, $-3
	JEQ  expect
	CMPQ AX, $-4
	JEQ  init
	CMPQ AX, $-6
	JEQ  exit
	CMPQ AX, $-7
	JEQ  jump
	CMPQ AX, $-8
	JEQ  decimal

	// OpFail
	MOVQ HEAD_KEPT(BX), AX
	TESTQ AX, AX
	JNE  report
	MOVQ $2, AX // ENOENT
	JMP  report

store:
	MOVQ SI, (DI)
	JMP  next

relocate:
	TESTQ SI, SI
	JEQ  next
	ADDQ BX, (DI)
	ADDQ $8, DI
	DECQ SI
	JMP  relocate

decimal: // SI is less than 10^10
	MOVQ $1000000000, CX
	MOVQ $10, R8

scale: // CX becomes the value of the first digit's place
	CMPQ CX, $1
	JEQ  digit
	CMPQ SI, CX
	JCC  digit
	MOVQ CX, AX
	MOVQ $0, DX
	DIVQ R8
	MOVQ AX, CX
	JMP  scale

digit:
	MOVQ SI, AX
	MOVQ $0, DX
	DIVQ CX
	ADDQ $48, AX // '0'
	MOVB AX, (DI)
	INCQ DI
	MOVQ DX, SI
	MOVQ CX, AX
	MOVQ $0, DX
	DIVQ R8
	MOVQ AX, CX
	TESTQ CX, CX
	JNE  digit
	JMP  next

expect:
	MOVQ (DI), AX
	ANDQ SI, AX
	CMPQ AX, DX
	JEQ  next
	MOVQ R10, AX
	JMP  report

init:
	MOVQ DI, R12 // the command
	MOVQ SI, R14 // status descriptor
	MOVQ DX, R15 // signals for the whole group
	MOVQ R10, R9 // the signal by which the starter wants what comes next

wait:
	MOVQ $SYS_rt_sigtimedwait, AX
	LEAQ HEAD_ALL(BX), DI
	LEAQ HEAD_SIGINFO(BX), SI
	MOVQ $0, DX
	MOVQ $8, R10
	SYSCALL
	TESTQ AX, AX
	JLT  wait
	CMPQ AX, $17 // SIGCHLD
	JEQ  reap
	CMPQ AX, 56(R13) // argument 5, the signal that ends this
	JEQ  next
	MOVL SI_PID(BX), CX
	CMPL CX, 48(R13) // argument 4, who commands: 0 is somebody outside
	JNE  wait
	CMPQ AX, R9
	JEQ  next
	MOVQ R12, DI
	BTQ  AX, R15
	JCC  2(PC)
	NEGQ DI
	CMPQ AX, $20 // SIGTSTP has no effect on an orphaned group; SIGSTOP has
	JNE  2(PC)
	MOVQ $19, AX
	MOVQ AX, SI
	MOVQ $SYS_kill, AX
	SYSCALL
	JMP  wait

reap:
	MOVQ $SYS_wait4, AX
	MOVQ $-1, DI
	LEAQ HEAD_STATUS(BX), SI
	MOVQ $1, DX // WNOHANG
	MOVQ $0, R10
	SYSCALL
	TESTQ AX, AX
	JEQ  wait
	CMPQ AX, $-4 // EINTR
	JEQ  reap
	TESTQ AX, AX
	JLT  lost
	CMPB HEAD_STATUS(BX), $0x7f
	JEQ  traced
	CMPQ AX, R12
	JNE  reap

	MOVQ R14, DI
	LEAQ HEAD_STATUS(BX), SI
	MOVQ $4, DX
	MOVQ $SYS_write, AX
	SYSCALL
	MOVQ $0, DI
	JMP  ended

traced: // it stopped: it asked its parent to trace it (ptrace(2), PTRACE_TRACEME)
	MOVQ AX, SI
	MOVBQZX (HEAD_STATUS+1)(BX), R10 // the signal it is to have
	CMPQ R10, $5 // SIGTRAP, which tells a tracer of execve
	JNE  2(PC)
	MOVQ $0, R10
	MOVQ $SYS_ptrace, AX
	MOVQ $17, DI // PTRACE_DETACH
	MOVQ $0, DX
	SYSCALL
	JMP  reap

lost: // there is no telling how the command ended
	MOVQ $125, DI

ended:
	CMPQ 56(R13), $0 // with a signal that ends this, the program goes on
	JEQ  exit
	JMP  next

// func code() uintptr
TEXT ·code(SB), NOSPLIT, $0-8
	LEAQ ·start(SB), AX
	MOVQ AX, ret+0(FP)
	RET
