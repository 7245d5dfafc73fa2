package program

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// What it takes to let another sandbox into this one's network. Nobody outside can
// open the network namespace by way of PID 1, which is not dumpable, so a fork of
// it makes a socket there and hands it out: by a socket its namespace can be had
// (SIOCGSKNS, linux/sockios.h).

// NetSocket compiles the Program of a fork of PID 1 that sends a socket of the
// sandbox's network namespace to who asked. Its descriptors are those of Another,
// of which it uses the report pipe and the socket.
func NetSocket(p *sandbox.Plan) (*Program, error) {
	if p.Bare.On() || !p.Namespaces.Net && p.Network != sandbox.NetSandbox {
		return nil, fmt.Errorf("it has the host's network; network.mode = \"host\" gives the same")
	}
	b := &builder{}
	b.step("", "", "open a socket in the sandbox's network")
	b.call(unix.SYS_CLOSE, c(fdStatus))
	b.call(unix.SYS_CLOSE, c(fdStarter))
	s := b.call(unix.SYS_SOCKET, c(unix.AF_UNIX), c(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), c(0))
	b.step("", "", "hand it to the starter")
	b.handOut(SlotTerminal, res(s))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}

// MaxUserNS compiles the Program of a child that sets how many user namespaces
// there may be in the one at SlotUserNS, whose owner its starter is
// (namespaces(7), "The /proc/sys/user directory").
func MaxUserNS(n int64) (*Program, error) {
	b := &builder{}
	b.step("", "", "enter the sandbox's user namespace")
	b.call(unix.SYS_SETNS, slot(SlotUserNS), c(unix.CLONE_NEWUSER))
	const path = "/proc/sys/user/max_user_namespaces"
	b.step(path, "", "let it have %d user namespaces", n)
	b.write(atCWD, path, fmt.Sprint(n))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}
