#include "textflag.h"

// func getrlimit(l *[2]uint64) (errno uintptr)
TEXT ·getrlimit(SB), NOSPLIT, $0-16
	MOVQ $0, DI
	MOVQ $7, SI // RLIMIT_NOFILE
	MOVQ $0, DX
	MOVQ l+0(FP), R10
	MOVQ $302, AX // prlimit64
	SYSCALL
	MOVQ AX, errno+8(FP)
	RET
