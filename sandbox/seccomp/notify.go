package seccomp

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Notify returns a filter that asks a listener (seccomp_unotify(2)) wherever code
// refuses a call with an errno; what code allows or kills it allows and kills.
// What to answer is what code says: see sandbox/seccomp/listener. The listener
// must not let a call go on: its arguments may have changed meanwhile.
//
// Of several filters a process is under, an errno of any other one is given
// without a question, and only one may have a listener.
func Notify(code []byte) []byte {
	code = bytes.Clone(code)
	for in := code; len(in) >= 8; in = in[8:] { // struct sock_filter: code (2 bytes), jt, jf, k (4)
		op, k := binary.LittleEndian.Uint16(in), binary.LittleEndian.Uint32(in[4:])
		if op == unix.BPF_RET|unix.BPF_K && k&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
			binary.LittleEndian.PutUint32(in[4:], unix.SECCOMP_RET_USER_NOTIF)
		}
	}
	return code
}
