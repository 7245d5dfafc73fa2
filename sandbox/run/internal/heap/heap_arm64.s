#include "textflag.h"

// func populate(object []byte, n uintptr) (errno uintptr)
TEXT ·populate(SB), NOSPLIT, $0-40
	MOVD object_base+0(FP), R0
	MOVD $65535, R9 // the largest pages there are
	ADD  R9, R0
	AND  $~65535, R0
	MOVD n+24(FP), R1
	MOVD $23, R2  // MADV_POPULATE_WRITE
	MOVD $233, R8 // madvise
	SVC
	MOVD R0, errno+32(FP)
	RET
