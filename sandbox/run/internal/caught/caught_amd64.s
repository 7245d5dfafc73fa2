#include "textflag.h"

// The handler: write(sink, &signal, 1). The kernel saved every register.
TEXT handler<>(SB), NOSPLIT|NOFRAME, $0
	SUBQ $24, SP
	MOVQ DI, 8(SP)
	MOVL ·sink(SB), DI
	LEAQ 8(SP), SI
	MOVQ $1, DX
	MOVQ $1, AX // write
	SYSCALL
	ADDQ $24, SP
	RET

TEXT restore<>(SB), NOSPLIT|NOFRAME, $0
	MOVQ $15, AX // rt_sigreturn
	SYSCALL
	INT  $3

// func entry() uintptr
TEXT ·entry(SB), NOSPLIT, $0-8
	LEAQ handler<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func restorer() uintptr
TEXT ·restorer(SB), NOSPLIT, $0-8
	LEAQ restore<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET
