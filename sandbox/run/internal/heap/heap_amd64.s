#include "textflag.h"

// func populate(object []byte, n uintptr) (errno uintptr)
TEXT ·populate(SB), NOSPLIT, $0-40
	MOVQ object_base+0(FP), DI
	ADDQ $4095, DI
	ANDQ $~4095, DI
	MOVQ n+24(FP), SI
	MOVQ $23, DX // MADV_POPULATE_WRITE
	MOVQ $28, AX // madvise
	SYSCALL
	MOVQ AX, errno+32(FP)
	RET
