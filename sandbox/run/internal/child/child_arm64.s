#include "textflag.h"

// The interpreter of a Program's block; child_amd64.s has the comments.
//
// Registers of the child: R19 the block, R20 the operation, R21 its flags.

#define HEAD_ALL     0
#define HEAD_OLD     8
#define HEAD_REPORT  16
#define HEAD_MESSAGE 24
#define HEAD_KEPT    32
#define HEAD_STATUS  40
#define HEAD_SIGINFO 48
#define SI_PID       64
#define FIRST_OP     176
#define OP_SIZE      72

#define SYS_write           64
#define SYS_exit_group      94
#define SYS_ptrace          117
#define SYS_kill            129
#define SYS_rt_sigprocmask  135
#define SYS_rt_sigtimedwait 137
#define SYS_wait4           260
#define SYS_clone3          435

#define ARG(i, reg) \
	MOVD (16+8*i)(R20), reg; \
	TBZ  $(8+i), R21, 3(PC); \
	ADD  R19, reg; \
	MOVD (reg), reg; \
	TBZ  $(16+i), R21, 2(PC); \
	ADD  R19, reg

// func start(args *CloneArgs, size uintptr, block *byte) (pid uintptr)
TEXT ·start(SB), NOSPLIT|NOFRAME, $0-32
	MOVD block+16(FP), R19

	MOVD $SYS_rt_sigprocmask, R8
	MOVD $0, R0
	ADD  $HEAD_ALL, R19, R1
	ADD  $HEAD_OLD, R19, R2
	MOVD $8, R3
	SVC

	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD $SYS_clone3, R8
	SVC
	CBZ  R0, child

	MOVD R0, R22
	MOVD $SYS_rt_sigprocmask, R8
	MOVD $2, R0
	ADD  $HEAD_OLD, R19, R1
	MOVD $0, R2
	MOVD $8, R3
	SVC
	MOVD R22, pid+24(FP)
	RET

child:
	ADD  $FIRST_OP, R19, R20

run:
	MOVWU 4(R20), R21
	ARG(0, R0)
	ARG(1, R1)
	ARG(2, R2)
	ARG(3, R3)
	ARG(4, R4)
	ARG(5, R5)
	MOVW 0(R20), R8
	TBNZ $63, R8, own
	SVC
	CBNZ R0, keep
	TBNZ $1, R21, jump

keep:
	MOVD R0, 64(R20)
	CMN  $4095, R0
	BHS  failed
	TBZ  $3, R21, next
	CBZ  R0, next
	MOVD $3, R0
	B    report

jump:
	MOVW 8(R20), R20
	ADD  R19, R20
	B    run

next:
	ADD  $OP_SIZE, R20
	B    run

failed:
	TBNZ $0, R21, next
	NEG  R0, R0
	TBZ  $4, R21, tolerate
	CMP  $13, R0
	BNE  notaccess
	MOVD R0, HEAD_KEPT(R19)
	B    next

notaccess:
	CMP  $2, R0
	BEQ  next
	CMP  $20, R0
	BEQ  next

tolerate:
	MOVW 12(R20), R9
	CMP  R9, R0
	BNE  report
	TBNZ $2, R21, jump
	B    next

report:
	SUB  R19, R20, R9
	LSL  $32, R0, R0
	ORR  R0, R9, R9
	MOVD R9, HEAD_MESSAGE(R19)
	MOVD HEAD_REPORT(R19), R0
	ADD  $HEAD_MESSAGE, R19, R1
	MOVD $8, R2
	MOVD $SYS_write, R8
	SVC
	MOVD $125, R0

exit:
	MOVD $SYS_exit_group, R8
	SVC
	BRK

own:
	CMN  $1, R8
	BEQ  store
	CMN  $2, R8
	BEQ  relocate
	CMN  $3, R8
	BEQ  expect
	CMN  $4, R8
	BEQ  init
	CMN  $6, R8
	BEQ  exit
	CMN  $7, R8
	BEQ  jump
	CMN  $8, R8
	BEQ  decimal

	MOVD HEAD_KEPT(R19), R0
	CBNZ R0, report
	MOVD $2, R0
	B    report

store:
	MOVD R1, (R0)
	B    next

relocate:
	CBZ  R1, next
	MOVD (R0), R9
	ADD  R19, R9
	MOVD R9, (R0)
	ADD  $8, R0
	SUB  $1, R1
	B    relocate

decimal: // R1 is less than 10^10
	MOVD $1000000000, R9
	MOVD $10, R10

scale: // R9 becomes the value of the first digit's place
	CMP  $1, R9
	BEQ  digit
	CMP  R9, R1
	BHS  digit
	UDIV R10, R9, R9
	B    scale

digit:
	UDIV R9, R1, R11
	MSUB R9, R1, R11, R1 // the rest
	ADD  $48, R11, R11 // '0'
	MOVB R11, (R0)
	ADD  $1, R0
	UDIV R10, R9, R9
	CBNZ R9, digit
	B    next

expect:
	MOVD (R0), R9
	AND  R1, R9
	CMP  R2, R9
	BEQ  next
	MOVD R3, R0
	B    report

init:
	MOVD R0, R22
	MOVD R1, R23
	MOVD R2, R24
	MOVD R3, R25 // the signal by which the starter wants what comes next

wait:
	MOVD $SYS_rt_sigtimedwait, R8
	ADD  $HEAD_ALL, R19, R0
	ADD  $HEAD_SIGINFO, R19, R1
	MOVD $0, R2
	MOVD $8, R3
	SVC
	TBNZ $63, R0, wait
	CMP  $17, R0
	BEQ  reap
	MOVD 56(R20), R9 // argument 5, the signal that ends this
	CMP  R9, R0
	BEQ  next
	MOVWU SI_PID(R19), R9
	MOVWU 48(R20), R10 // argument 4, who commands: 0 is somebody outside
	CMPW R10, R9
	BNE  wait
	CMP  R25, R0
	BEQ  next
	MOVD R0, R1
	MOVD R22, R0
	LSR  R1, R24, R9
	TBZ  $0, R9, 2(PC)
	NEG  R0, R0
	CMP  $20, R1
	BNE  2(PC)
	MOVD $19, R1
	MOVD $SYS_kill, R8
	SVC
	B    wait

reap:
	MOVD $SYS_wait4, R8
	MOVD $-1, R0
	ADD  $HEAD_STATUS, R19, R1
	MOVD $1, R2
	MOVD $0, R3
	SVC
	CBZ  R0, wait
	CMN  $4, R0
	BEQ  reap
	TBNZ $63, R0, lost
	MOVBU HEAD_STATUS(R19), R9
	CMP  $0x7f, R9
	BEQ  traced
	CMP  R22, R0
	BNE  reap

	MOVD R23, R0
	ADD  $HEAD_STATUS, R19, R1
	MOVD $4, R2
	MOVD $SYS_write, R8
	SVC
	MOVD $0, R0
	B    ended

traced: // it stopped: it asked its parent to trace it (ptrace(2), PTRACE_TRACEME)
	MOVD R0, R1
	MOVBU (HEAD_STATUS+1)(R19), R3
	CMP  $5, R3
	BNE  2(PC)
	MOVD $0, R3
	MOVD $SYS_ptrace, R8
	MOVD $17, R0
	MOVD $0, R2
	SVC
	B    reap

lost: // there is no telling how the command ended
	MOVD $125, R0

ended:
	MOVD 56(R20), R9 // with a signal that ends this, the program goes on
	CBZ  R9, exit
	B    next

// func code() uintptr
TEXT ·code(SB), NOSPLIT, $0-8
	MOVD $·start(SB), R0
	MOVD R0, ret+0(FP)
	RET
