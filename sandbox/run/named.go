package run

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/slirp"
)

// Networks are the named networks that there are.
type Networks interface {
	// Connect connects to the holder of a network, and starts it if there is none.
	Connect(name string) (*control.Conn, error)
	// Sweep removes what a holder left behind that was killed. It may wait.
	Sweep(name string)
}

// membership is a named network that the sandbox is in as long as the connection
// to its holder is there.
type membership struct {
	n      *network
	plan   *sandbox.Membership
	conn   *control.Conn
	names  int // where the holder is to send the members, -1 once it has it
	joined bool
	watch  *other
}

// enter connects to the holders of the plan's named networks. It returns the
// descriptors by which sbx-net hears who is there.
func (n *network) enter() (members []int, err error) {
	for i := range n.plan.Networks {
		m := &membership{n: n, plan: &n.plan.Networks[i], names: -1}
		if m.conn, err = n.s.named.Connect(m.plan.Name); err != nil {
			return members, err
		}
		n.memberships = append(n.memberships, m)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return members, err
		}
		m.names, members = pair[0], append(members, pair[1])
		m.watch = &other{fd: m.conn.FD(), take: m.take}
		n.s.others = append(n.s.others, m.watch)
	}
	return members, nil
}

// join asks each holder for an interface, by sockets of the sandbox's network
// namespace, which stay the caller's.
func (n *network) join(sockets []int) error {
	for _, s := range sockets {
		kept, err := unix.FcntlInt(uintptr(s), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return fmt.Errorf("keeping a socket of the sandbox's network: %w", err)
		}
		n.sockets = append(n.sockets, kept)
	}
	return n.joinNext()
}

// joinNext asks the next holder that has not been asked. One at a time: of two that
// ask the kernel by the one socket, each would read the other's answers.
func (n *network) joinNext() error {
	for _, m := range n.memberships {
		if m.joined {
			continue
		}
		err := m.conn.Send(&slirp.NetworkRequest{
			Protocol: slirp.Protocol, Op: slirp.OpJoin, Name: n.s.plan.Name, Names: n.plan.Called, Device: m.plan.Device, Isolated: m.plan.Isolated,
			Rules: n.plan.Config.Members,
		}, append([]int{n.sockets[0], m.names}, n.sockets[1:]...)...)
		unix.Close(m.names)
		m.names = -1
		if err != nil {
			return fmt.Errorf("joining the network %s: %w", m.plan.Name, err)
		}
		return nil
	}
	n.closeSockets()
	return nil
}

func (n *network) closeSockets() {
	closeAll(n.sockets)
	n.sockets = nil
}

// joining says that the sandbox is not yet in all its networks.
func (n *network) joining() bool {
	for _, m := range n.memberships {
		if !m.joined {
			return true
		}
	}
	return false
}

// take hears that the network was joined, or is gone.
func (m *membership) take() error {
	var r slirp.NetworkReply
	fds, err := m.conn.Receive(&r)
	control.CloseAll(fds)
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	switch {
	case err == nil && !m.joined:
		m.joined = true
		if err := m.n.joinNext(); err != nil {
			return err
		}
		return m.n.goOn()
	case err == nil:
		return nil
	case !m.joined:
		return fmt.Errorf("joining the network %s: %w", m.plan.Name, err)
	}
	m.watch.fd = -1
	m.conn.Close()
	go m.n.s.named.Sweep(m.plan.Name)
	text := fmt.Sprintf("the network %s is gone, since its holder was ended; sandboxes that start now make it anew", m.plan.Name)
	if m.n.plan.Vital {
		return errors.New(text)
	}
	m.n.tell(slirp.Event{Event: slirp.EventLimit, Time: time.Now(), Message: text}, m.n.raw())
	return nil
}

// leave gives the places in all networks up.
func (n *network) leave() {
	n.closeSockets()
	for _, m := range n.memberships {
		m.conn.Close()
		if m.names >= 0 {
			unix.Close(m.names)
			m.names = -1
		}
	}
}
