package run

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
)

// Joint is another sandbox's network, which a sandbox is to share.
type Joint struct {
	// User and Net are descriptors of its network namespace and of the user
	// namespace that this belongs to.
	User, Net int
	// Built is called when all namespaces were made and the command runs.
	Built func()
	// Gone is called when Lease can be read: that sandbox has ended, or says so. An
	// error ends this one as well.
	Lease int
	Gone  func() error
}

// NetNS gets a descriptor of the sandbox's network namespace, by a fork of PID 1.
// done is called once, unless there is an error: with the descriptor, which is
// then the callee's, or with why there is none.
func (b *Sandbox) NetNS(done func(fd int, err error)) error {
	prog, err := program.NetSocket(b.s.plan)
	if err != nil {
		return err
	}
	var pair [2]int
	if pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return fmt.Errorf("opening a channel to the sandbox: %w", err)
	}
	theirs := pair[1]
	defer unix.Close(theirs)
	err = b.s.errand(prog, theirs, func(err error) {
		fd := -1
		if err == nil {
			fd, err = netNS(pair[0])
		}
		unix.Close(pair[0])
		if err == nil && b.s.net != nil {
			b.s.net.shared = true
		}
		done(fd, err)
	})
	if err != nil {
		unix.Close(pair[0])
	}
	return err
}

// netNS receives a socket and opens the network namespace it was made in.
func netNS(from int) (int, error) {
	fds, err := receive(from, 1)
	if err == nil && len(fds) == 0 {
		err = unix.ESRCH
	}
	if err != nil {
		return -1, fmt.Errorf("hearing from the sandbox: %w", err)
	}
	defer closeAll(fds)
	ns, err := unix.IoctlRetInt(fds[0], unix.SIOCGSKNS)
	if err != nil {
		return -1, fmt.Errorf("opening the sandbox's network namespace: %w", err)
	}
	unix.CloseOnExec(ns)
	return ns, nil
}

// OwnerOf opens the user namespace that a namespace belongs to (ioctl_ns(2)).
func OwnerOf(ns int) (int, error) {
	fd, err := unix.IoctlRetInt(ns, unix.NS_GET_USERNS)
	if err != nil {
		return -1, fmt.Errorf("opening the user namespace of a network: %w", err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// SetMaxUserNS sets how many user namespaces there may be in one of the caller's.
func SetMaxUserNS(user int, n int64) error {
	return helped(func() (*program.Program, error) { return program.MaxUserNS(n) }, program.SlotUserNS, user)
}
