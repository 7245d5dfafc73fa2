#include "textflag.h"

// The handler: write(sink, &signal, 1). The kernel saved every register; the
// return address in R30 is the restorer's.
TEXT handler<>(SB), NOSPLIT|NOFRAME, $0
	SUB  $32, RSP
	MOVD R0, 16(RSP)
	MOVW ·sink(SB), R0
	ADD  $16, RSP, R1
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD  $32, RSP
	RET

TEXT restore<>(SB), NOSPLIT|NOFRAME, $0
	MOVD $139, R8 // rt_sigreturn
	SVC
	BRK

// func entry() uintptr
TEXT ·entry(SB), NOSPLIT, $0-8
	MOVD $handler<>(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func restorer() uintptr
TEXT ·restorer(SB), NOSPLIT, $0-8
	MOVD $restore<>(SB), R0
	MOVD R0, ret+0(FP)
	RET
