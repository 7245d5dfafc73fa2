package publish

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// wantTarget has the kernel say to which of the host's addresses each datagram
// came, of a socket that is bound to all of them (ip(7), IP_PKTINFO). The answer
// must come from the same.
func wantTarget(c *net.UDPConn, a netip.Addr) error {
	conn, err := c.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if a.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	var set error
	if err := conn.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return set
}

// target reads that address; there is none unless it was wanted.
func target(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12:
			return netip.AddrFrom4([4]byte(m.Data[8:12])) // in_pktinfo.ipi_addr
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			return netip.AddrFrom16([16]byte(m.Data[:16])) // in6_pktinfo.ipi6_addr
		}
	}
	return netip.Addr{}
}

// source is the control message that sends from an address; none for none.
func source(a netip.Addr) []byte {
	switch {
	case a.Is4():
		b := a.As4()
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: b})
	case a.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
	}
	return nil
}
