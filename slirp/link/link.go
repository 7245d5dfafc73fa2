// Package link makes interfaces by a socket (rtnetlink(7)) that may be of another
// network namespace than the caller's.
//
// Two namespaces that belong to different user namespaces can be wired by nobody
// inside either. Their common owner can, the user who made both, from the user
// namespace above them (user_namespaces(7), "Capabilities"): it needs no more than
// a socket that was opened in each. The kernel asks for the rights of who opened
// the socket as well, who has none over the other one, unless the message names
// its receiver (its net/netlink/af_netlink.c, __netlink_ns_capable): so every
// message here names the kernel.
package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Socket is an rtnetlink socket. It is for one goroutine.
type Socket struct {
	fd  int
	seq uint32
}

// New takes a socket (AF_NETLINK, NETLINK_ROUTE), which becomes its own.
func New(fd int) *Socket { return &Socket{fd: fd} }

// Open makes one in the network namespace of the calling thread.
func Open() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening an rtnetlink socket: %w", err)
	}
	return New(fd), nil
}

// FD is the descriptor.
func (s *Socket) FD() int { return s.fd }

// Close closes the socket.
func (s *Socket) Close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// Namespace opens the network namespace that the socket was made in. The caller
// must own the user namespace it belongs to.
func (s *Socket) Namespace() (int, error) {
	fd, err := unix.IoctlRetInt(s.fd, unix.SIOCGSKNS)
	if err != nil {
		return -1, fmt.Errorf("opening the namespace of a socket: %w", err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// Bridge makes a bridge, up and without any address, and returns its index. What
// it is asked to forward is of the interfaces that are added to it; the namespace
// itself has no part in it.
func (s *Socket) Bridge(name string) (int, error) {
	m := s.message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m.header(unix.AF_UNSPEC, 0, 0)
	m.text(unix.IFLA_IFNAME, name)
	m.nest(unix.IFLA_LINKINFO, func() { m.text(unix.IFLA_INFO_KIND, "bridge") })
	if err := s.send(m); err != nil {
		return 0, fmt.Errorf("making the bridge %s: %w", name, err)
	}
	return s.silentlyUp(name)
}

// silentlyUp brings an interface up to which the kernel is to give no address of
// IPv6 by itself. It returns its index.
func (s *Socket) silentlyUp(name string) (int, error) {
	index, err := s.Index(name)
	if err != nil {
		return 0, err
	}
	m := s.message(unix.RTM_NEWLINK, 0)
	m.header(unix.AF_UNSPEC, index, 0)
	m.nest(unix.IFLA_AF_SPEC, func() {
		m.nest(unix.AF_INET6, func() { m.add(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{1}) }) // IN6_ADDR_GEN_MODE_NONE
	})
	if err := s.send(m); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) { // the host has no IPv6
		return 0, fmt.Errorf("keeping addresses off %s: %w", name, err)
	}
	return index, s.Up(index)
}

// Veth makes a pair of interfaces (veth(4)): name, up and a port of the bridge with
// index master, and peer in the network namespace ns.
func (s *Socket) Veth(name string, master int, peer string, ns int) (int, error) {
	m := s.message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m.header(unix.AF_UNSPEC, 0, 0)
	m.text(unix.IFLA_IFNAME, name)
	m.number(unix.IFLA_MASTER, uint32(master))
	m.nest(unix.IFLA_LINKINFO, func() {
		m.text(unix.IFLA_INFO_KIND, "veth")
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.nest(vethInfoPeer, func() {
				m.header(unix.AF_UNSPEC, 0, 0)
				m.text(unix.IFLA_IFNAME, peer)
				m.number(unix.IFLA_NET_NS_FD, uint32(ns))
			})
		})
	})
	if err := s.send(m); err != nil {
		return 0, fmt.Errorf("making the interface %s: %w", peer, err)
	}
	return s.silentlyUp(name)
}

// vethInfoPeer is VETH_INFO_PEER of linux/veth.h.
const vethInfoPeer = 1

// brportIsolated is IFLA_BRPORT_ISOLATED of linux/if_link.h, from Linux 4.18 on.
const brportIsolated = 33

// Isolate has a port of a bridge reach those only that are not isolated.
func (s *Socket) Isolate(index int) error {
	m := s.message(unix.RTM_SETLINK, 0)
	m.header(unix.AF_BRIDGE, index, 0)
	m.nest(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, func() { m.add(brportIsolated, []byte{1}) })
	if err := s.send(m); err != nil {
		return fmt.Errorf("isolating an interface of the bridge: %w", err)
	}
	return nil
}

// Delete removes an interface, and with a veth its peer.
func (s *Socket) Delete(index int) error {
	m := s.message(unix.RTM_DELLINK, 0)
	m.header(unix.AF_UNSPEC, index, 0)
	if err := s.send(m); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing an interface: %w", err)
	}
	return nil
}

// Up brings an interface up.
func (s *Socket) Up(index int) error {
	m := s.message(unix.RTM_NEWLINK, 0)
	m.header(unix.AF_UNSPEC, index, unix.IFF_UP)
	if err := s.send(m); err != nil {
		return fmt.Errorf("bringing an interface up: %w", err)
	}
	return nil
}

// Address gives an interface an address and the route to its subnet. Nobody is
// asked whether it is free.
func (s *Socket) Address(index int, p netip.Prefix) error {
	m := s.message(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	family := byte(unix.AF_INET)
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	// struct ifaddrmsg: family, length of the prefix, flags, scope, interface.
	m.b = append(m.b, family, byte(p.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE)
	m.b = binary.NativeEndian.AppendUint32(m.b, uint32(index))
	m.add(unix.IFA_LOCAL, p.Addr().AsSlice())
	m.add(unix.IFA_ADDRESS, p.Addr().AsSlice())
	if err := s.send(m); err != nil {
		return fmt.Errorf("giving an interface the address %s: %w", p, err)
	}
	return nil
}

// Rate bounds what leaves by an interface, in bytes a second, by a bucket that holds a
// hundredth of a second or the largest packet (tc-tbf(8)). The kernel's own TCP fills
// the queue no further than it empties; little is dropped, as pasta takes long to
// recover from it.
func (s *Socket) Rate(index int, bytes int64) error {
	const largest = 68 << 10 // 64 KiB at once and its headers
	const queue = 8 << 20
	burst := uint32(min(max(bytes/100, largest), 1<<30))
	m := s.message(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	// struct tcmsg: family, interface, handle, parent (TC_H_ROOT), info.
	for _, v := range []uint32{unix.AF_UNSPEC, uint32(index), 0, 0xffffffff, 0} {
		m.b = binary.NativeEndian.AppendUint32(m.b, v)
	}
	m.text(unix.TCA_KIND, "tbf")
	m.nest(unix.TCA_OPTIONS, func() {
		m.nest(tbfParms, func() { // struct tc_tbf_qopt: two struct tc_ratespec, then queue, bucket, packet
			rate := make([]byte, 2*ratespec)
			rate[1] = 1 // TC_LINKLAYER_ETHERNET: no table of the caller's
			binary.NativeEndian.PutUint32(rate[8:], uint32(min(bytes, 1<<32-1)))
			m.b = append(m.b, rate...)
			for _, v := range []uint32{burst + queue, 0, 0} {
				m.b = binary.NativeEndian.AppendUint32(m.b, v)
			}
		})
		m.number(tbfBurst, burst)
		if bytes >= 1<<32-1 {
			m.add(tbfRate64, binary.NativeEndian.AppendUint64(nil, uint64(bytes)))
		}
	})
	if err := s.send(m); err != nil {
		return fmt.Errorf("bounding what leaves by an interface: %w", err)
	}
	return nil
}

// Attributes of tbf, and the size of struct tc_ratespec, of linux/pkt_sched.h.
const (
	tbfParms  = 1
	tbfRate64 = 4
	tbfBurst  = 6
	ratespec  = 12
)

// Index is the number of the interface with a name.
func (s *Socket) Index(name string) (int, error) {
	m := s.message(unix.RTM_GETLINK, 0)
	m.header(unix.AF_UNSPEC, 0, 0)
	m.text(unix.IFLA_IFNAME, name)
	answer, err := s.ask(m)
	if err != nil {
		return 0, fmt.Errorf("looking for the interface %s: %w", name, err)
	}
	if len(answer) < 8 {
		return 0, fmt.Errorf("looking for the interface %s: an answer of %d bytes", name, len(answer))
	}
	return int(int32(binary.NativeEndian.Uint32(answer[4:]))), nil // ifi_index of struct ifinfomsg
}

// send sends a message and waits for the kernel to have done what it says.
func (s *Socket) send(m *message) error {
	_, err := s.ask(m)
	return err
}

// ask sends a message and returns what the answer says, after its header.
func (s *Socket) ask(m *message) ([]byte, error) {
	binary.NativeEndian.PutUint32(m.b, uint32(len(m.b)))
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(s.fd, m.b, 0, kernel); err != nil {
		return nil, err
	}
	var answer []byte
	buf := make([]byte, 32<<10)
	for {
		// The kernel has answered when sendto(2) returns.
		n, _, err := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		said, over, err := answers(buf[:n], s.seq)
		if said != nil {
			answer = said
		}
		if err != nil {
			return nil, err
		}
		if over {
			return answer, nil
		}
	}
}

// answers reads what the kernel says to the message with a number: the last answer,
// and whether that is all, or why it did not do it (netlink(7), NLMSG_ERROR).
func answers(b []byte, seq uint32) (answer []byte, over bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return nil, false, fmt.Errorf("an answer of the kernel of %d bytes in %d", size, len(b))
		}
		kind, to, data := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:size]
		b = b[min(len(b), (size+3)&^3):]
		switch {
		case to != seq: // of what was given up
		case kind != unix.NLMSG_ERROR:
			answer = append([]byte{}, data...)
		case len(data) >= 4:
			if errno := int32(binary.NativeEndian.Uint32(data)); errno != 0 {
				return nil, false, unix.Errno(-errno)
			}
			return answer, true, nil
		}
	}
	return answer, false, nil
}

// Order sends messages by a netlink socket of whatever kind, of which one at least
// asks for an answer, and returns the first error among the kernel's answers
// (netlink(7)), which parse reads.
func Order(fd int, messages []byte, parse func([]byte) (answered bool, errno uint32)) error {
	if err := unix.Sendto(fd, messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 8192)
	answered := false
	var first error
	for {
		// The kernel has answered before sendto returns.
		size, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN) && answered:
			return first
		case err != nil:
			return err
		}
		more, errno := parse(b[:size])
		answered = answered || more
		if errno != 0 && first == nil {
			first = unix.Errno(errno)
		}
	}
}

// message is one that is being put together.
type message struct{ b []byte }

func (s *Socket) message(kind, flags uint16) *message {
	s.seq++
	m := &message{b: make([]byte, 4, 256)} // struct nlmsghdr; its length comes last
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = binary.NativeEndian.AppendUint16(m.b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m.b = binary.NativeEndian.AppendUint32(m.b, s.seq)
	m.b = binary.NativeEndian.AppendUint32(m.b, 0)
	return m
}

// header appends struct ifinfomsg. up is IFF_UP or 0.
func (m *message) header(family byte, index int, up uint32) {
	m.b = append(m.b, family, 0, 0, 0)
	m.b = binary.NativeEndian.AppendUint32(m.b, uint32(index))
	m.b = binary.NativeEndian.AppendUint32(m.b, up)
	m.b = binary.NativeEndian.AppendUint32(m.b, up)
}

// add appends an attribute.
func (m *message) add(kind uint16, value []byte) {
	m.nest(kind, func() { m.b = append(m.b, value...) })
}

func (m *message) text(kind uint16, value string) { m.add(kind, append([]byte(value), 0)) }

func (m *message) number(kind uint16, value uint32) {
	m.add(kind, binary.NativeEndian.AppendUint32(nil, value))
}

// nest appends an attribute that is made of others.
func (m *message) nest(kind uint16, fill func()) {
	at := len(m.b)
	m.b = append(m.b, 0, 0)
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	fill()
	binary.NativeEndian.PutUint16(m.b[at:], uint16(len(m.b)-at))
	for len(m.b)%4 != 0 {
		m.b = append(m.b, 0)
	}
}
