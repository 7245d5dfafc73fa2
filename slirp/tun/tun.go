// Package tun makes and sets up interfaces in the network namespace of the
// calling thread (netdevice(7), rtnetlink(7)). Measurements and tests use it; a
// sandbox's own device is made by its Program.
package tun

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Open makes a TUN device and returns its descriptor. With vnet every packet has
// a header before it (IFF_VNET_HDR).
func Open(name string, vnet bool) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	r, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("interface %q: %w", name, err)
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if vnet {
		flags |= unix.IFF_VNET_HDR
	}
	r.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("making interface %s: %w", name, err)
	}
	return fd, nil
}

// Index is an interface's number.
func Index(name string) (int, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, r); err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return int(r.Uint32()), nil
}

// Up switches an interface on, with an MTU unless that is 0.
func Up(index, mtu int) error {
	m := message{kind: unix.RTM_NEWLINK}
	m.bytes(unix.AF_UNSPEC, 0).u16(0).u32(uint32(index)).u32(unix.IFF_UP).u32(unix.IFF_UP) // struct ifinfomsg
	if mtu != 0 {
		m.attr(unix.IFLA_MTU, binary.NativeEndian.AppendUint32(nil, uint32(mtu)))
	}
	return m.do("switching an interface on")
}

// AddAddress gives an interface an address, at once usable.
func AddAddress(index int, p netip.Prefix) error {
	m := message{kind: unix.RTM_NEWADDR, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	m.bytes(family(p.Addr()), byte(p.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE).u32(uint32(index)) // struct ifaddrmsg
	m.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
	m.attr(unix.IFA_ADDRESS, p.Addr().AsSlice())
	return m.do("adding address " + p.String())
}

// AddRoute has what goes to a network leave by an interface, through a gateway if
// that is valid.
func AddRoute(index int, to netip.Prefix, gateway netip.Addr) error {
	m := message{kind: unix.RTM_NEWROUTE, flags: unix.NLM_F_CREATE}
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if !gateway.IsValid() && to.Addr().Is4() {
		scope = unix.RT_SCOPE_LINK
	}
	m.bytes(family(to.Addr()), byte(to.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, scope, unix.RTN_UNICAST).u32(0) // struct rtmsg
	if to.Bits() > 0 {
		m.attr(unix.RTA_DST, to.Addr().AsSlice())
	}
	if gateway.IsValid() {
		m.attr(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	m.attr(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index)))
	return m.do("adding the route to " + to.String())
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// message is a request of rtnetlink's.
type message struct {
	kind, flags uint16
	body        []byte
}

func (m *message) bytes(b ...byte) *message { m.body = append(m.body, b...); return m }
func (m *message) u16(v uint16) *message {
	m.body = binary.NativeEndian.AppendUint16(m.body, v)
	return m
}
func (m *message) u32(v uint32) *message {
	m.body = binary.NativeEndian.AppendUint32(m.body, v)
	return m
}

func (m *message) attr(kind uint16, value []byte) {
	m.u16(uint16(4 + len(value))).u16(kind).bytes(value...)
	for len(m.body)%4 != 0 {
		m.body = append(m.body, 0)
	}
}

// do sends the request and waits for its acknowledgement.
func (m *message) do(what string) error {
	if err := m.exchange(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (m *message) exchange() error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	head := message{}
	head.u32(uint32(16 + len(m.body))).u16(m.kind).u16(m.flags | unix.NLM_F_REQUEST | unix.NLM_F_ACK).u32(1).u32(0)
	if err := unix.Sendto(s, append(head.body, m.body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, b, 0)
	if err != nil {
		return err
	}
	if n < 20 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink: an answer of %d bytes", n)
	}
	if errno := -int32(binary.NativeEndian.Uint32(b[16:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// Values of linux/if_link.h and linux/veth.h that x/sys lacks.
const (
	linkInfoKind = 1 // IFLA_INFO_KIND
	linkInfoData = 2 // IFLA_INFO_DATA
	vethPeer     = 1 // VETH_INFO_PEER
)

// AddVeth makes a pair of interfaces: one here, its peer in the network namespace
// of a process.
func AddVeth(name, peer string, pid int) error {
	var p message
	p.bytes(make([]byte, 16)...) // struct ifinfomsg
	p.attr(unix.IFLA_IFNAME, append([]byte(peer), 0))
	p.attr(unix.IFLA_NET_NS_PID, binary.NativeEndian.AppendUint32(nil, uint32(pid)))
	var data, info message
	data.attr(vethPeer, p.body)
	info.attr(linkInfoKind, []byte("veth"))
	info.attr(linkInfoData, data.body)
	m := message{kind: unix.RTM_NEWLINK, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	m.bytes(make([]byte, 16)...)
	m.attr(unix.IFLA_IFNAME, append([]byte(name), 0))
	m.attr(unix.IFLA_LINKINFO, info.body)
	return m.do("making the interfaces " + name + " and " + peer)
}

// DeleteAddress takes an address from an interface.
func DeleteAddress(index int, p netip.Prefix) error {
	m := message{kind: unix.RTM_DELADDR}
	m.bytes(family(p.Addr()), byte(p.Bits()), 0, 0).u32(uint32(index))
	m.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
	return m.do("deleting address " + p.String())
}
