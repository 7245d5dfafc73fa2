package program

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// Dial compiles the Program that connects to a port of the sandbox's loopback, by
// IPv4 and else by IPv6, and hands the connection out by the socket in
// SlotTerminal. It is run by a fork of PID 1, as HandOut's is: in the sandbox's
// network and under its filter, without anything of the sandbox's files.
func Dial(p *sandbox.Plan, port uint16) (*Program, error) {
	switch {
	case p.Bare.On() || !p.Namespaces.Net:
		return nil, errors.New("the sandbox has the host's network: its ports are the host's own")
	case port == 0:
		return nil, errors.New("there is no port 0")
	}
	b := &builder{}
	b.leaveInit()
	b.step("", "", "connect to port %d of the sandbox's loopback", port)
	four := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	four = binary.BigEndian.AppendUint16(four, port)
	four = append(four, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0) // struct sockaddr_in, ip(7)
	six := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	six = binary.BigEndian.AppendUint16(six, port)
	six = append(six, make([]byte, 24)...) // struct sockaddr_in6, ipv6(7)
	six[23] = 1
	s := b.call(unix.SYS_SOCKET, c(unix.AF_INET), c(unix.SOCK_STREAM|unix.SOCK_CLOEXEC), c(0))
	sockaddr := addr(b.bytes(four))
	refused := b.op(Op{Nr: unix.SYS_CONNECT, Tolerate: uint8(unix.ECONNREFUSED), Opt: Skip}, res(s), sockaddr, c(uint64(len(four))))
	b.handOut(SlotTerminal, res(s))
	b.op(Op{Nr: OpExit}, c(0))
	b.land(refused)
	other := b.op(Op{Nr: unix.SYS_SOCKET, Tolerate: uint8(unix.EAFNOSUPPORT), Opt: Skip}, c(unix.AF_INET6), c(unix.SOCK_STREAM|unix.SOCK_CLOEXEC), c(0))
	b.call(unix.SYS_CONNECT, res(other), addr(b.bytes(six)), c(uint64(len(six))))
	b.handOut(SlotTerminal, res(other))
	b.op(Op{Nr: OpExit}, c(0))
	b.land(other) // without IPv6 the failure to report is that of IPv4
	b.call(unix.SYS_CONNECT, res(s), sockaddr, c(uint64(len(four))))
	b.handOut(SlotTerminal, res(s))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}
