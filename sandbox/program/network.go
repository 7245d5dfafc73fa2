package program

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/nft"
	"github.com/sbx-sandbox/sbx/userns"
)

// network sets up the network namespace: its loopback, and the interface that
// leads out, of which the starter takes the other end.
func (b *builder) network(p *sandbox.Plan) {
	if !p.Namespaces.Net {
		return
	}
	b.step("lo", "", "bring up the loopback interface")
	s := b.call(unix.SYS_SOCKET, c(unix.AF_INET), c(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), c(0))
	b.call(unix.SYS_IOCTL, res(s), c(unix.SIOCSIFFLAGS), addr(b.ifreq("lo", unix.IFF_UP)))
	if p.Network == sandbox.NetUser {
		b.ports(p)
		var offered []int
		if p.Net.Backend == sandbox.BackendEngine {
			offered = []int{b.interfaceFor(p, s)}
		} else {
			b.netFilter(p)
			offered = append([]int{b.routes(p)}, b.names(p)...)
		}
		if len(p.Net.Config.Members) > 0 {
			b.step("", p.Net.From, "open sockets to the packet filter, for %d rules about members", len(p.Net.Config.Members))
			offered = append(offered, b.filterSockets()...)
		}
		if len(p.Net.Networks) > 0 {
			offered = append(offered, b.links(p))
		}
		b.notify(p, offered)
		if p.Net.Backend != sandbox.BackendEngine {
			b.awaitTaken(p) // it joins the namespaces that this process is in now
		}
	}
	b.call(unix.SYS_CLOSE, res(s))
}

// ifreq is struct ifreq with ifr_name and two bytes of its union, netdevice(7).
func (b *builder) ifreq(name string, v uint16) uint64 {
	r := make([]byte, 40)
	copy(r, name)
	binary.LittleEndian.PutUint16(r[16:], v)
	return b.bytes(r)
}

// ports lets the command listen on every port and send pings, in the sandbox's
// own network: both ask for a right over the namespace's owner otherwise. A host
// whose /proc/sys can't be written, as in a container, keeps them from it.
func (b *builder) ports(p *sandbox.Plan) {
	b.step("/proc/sys/net/ipv4", "", "open all ports and pings to the command")
	low, high := hostRange(p.IDs.OuterGIDs)
	b.sysctl("ipv4/ip_unprivileged_port_start", "0")
	b.sysctl("ipv4/ping_group_range", fmt.Sprintf("%d %d", low, high))
}

// sysctl sets a parameter of the network, if it is there and can be written.
func (b *builder) sysctl(name, value string) {
	f := b.op(Op{Nr: unix.SYS_OPENAT, Opt: Ignore}, atCWD, b.str("/proc/sys/net/"+name), c(unix.O_WRONLY|unix.O_CLOEXEC), c(0))
	b.op(Op{Nr: unix.SYS_WRITE, Opt: Ignore}, res(f), b.str(value), ci(len(value)))
	b.op(Op{Nr: unix.SYS_CLOSE, Opt: Ignore}, res(f))
}

// links opens a socket by which the holders of named networks make the interfaces
// that lead there. Nobody gets from one to another by way of this sandbox, whatever
// a new namespace takes over of the host's settings
// (net.core.devconf_inherit_init_net).
func (b *builder) links(p *sandbox.Plan) int {
	b.step("", p.Net.From, "forward nothing between networks, and open a socket by which %d of them are joined", len(p.Net.Networks))
	b.sysctl("ipv4/ip_forward", "0")
	b.sysctl("ipv6/conf/all/forwarding", "0")
	return b.call(unix.SYS_SOCKET, c(unix.AF_NETLINK), c(unix.SOCK_RAW|unix.SOCK_CLOEXEC), c(unix.NETLINK_ROUTE))
}

// hostRange is the ids inside that are the lowest and the highest outside: the
// kernel compares those (its net/ipv4/ping.c).
func hostRange(m userns.Map) (low, high uint32) {
	if len(m) == 0 {
		return 1, 0
	}
	first, last := m[0], m[0]
	for _, e := range m {
		if e.Outside < first.Outside {
			first = e
		}
		if e.Outside > last.Outside {
			last = e
		}
	}
	return first.Inside, last.Inside + last.Count - 1
}

// interfaceFor makes and sets up the interface. It returns the operation that
// opened it; s is one that opened a socket. It comes while the host's /dev is
// there, and before any process of the sandbox's could see it half done.
func (b *builder) interfaceFor(p *sandbox.Plan, s int) (tun int) {
	n := &p.Net
	const dev = "/dev/net/tun"
	b.step(dev, n.From, "open %s", dev)
	tun = b.call(unix.SYS_OPENAT, atCWD, b.str(dev), c(unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC), c(0))
	b.step(sandbox.NetDevice, n.From, "make the interface %s", sandbox.NetDevice)
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if n.Config.VNetHdr {
		flags |= unix.IFF_VNET_HDR
	}
	b.call(unix.SYS_IOCTL, res(tun), c(unix.TUNSETIFF), addr(b.ifreq(sandbox.NetDevice, flags)))
	if mtu := n.Config.MTU; mtu != 0 && mtu != 1500 { // what the kernel gives it
		b.call(unix.SYS_IOCTL, res(s), c(unix.SIOCSIFMTU), addr(b.ifreq(sandbox.NetDevice, uint16(mtu))))
	}
	if a := n.Config.IPv4; a.Enabled() {
		b.ipv4(n, s, a)
	}
	b.step(sandbox.NetDevice, n.From, "bring up the interface %s", sandbox.NetDevice)
	b.call(unix.SYS_IOCTL, res(s), c(unix.SIOCSIFFLAGS), addr(b.ifreq(sandbox.NetDevice, unix.IFF_UP)))
	if a := n.Config.IPv4; a.Enabled() {
		b.route4(n, s, a)
	}
	if a := n.Config.IPv6; a.Enabled() {
		b.ipv6(n, s, a)
	}
	return tun
}

// sockaddr4 is struct sockaddr_in, ip(7).
func sockaddr4(a []byte) []byte {
	s := make([]byte, 16)
	binary.LittleEndian.PutUint16(s, unix.AF_INET)
	copy(s[4:], a)
	return s
}

func (b *builder) ipv4(n *sandbox.Net, s int, a slirp.Addr) {
	b.step(sandbox.NetDevice, n.From, "give %s the address %s", sandbox.NetDevice, a.Address)
	own := a.Address.Addr().As4()
	mask := binary.BigEndian.AppendUint32(nil, uint32(^uint64(0)<<(32-a.Address.Bits())))
	for _, x := range []struct {
		call uint64
		addr []byte
	}{{unix.SIOCSIFADDR, own[:]}, {unix.SIOCSIFNETMASK, mask}} {
		r := make([]byte, 40) // struct ifreq
		copy(r, sandbox.NetDevice)
		copy(r[16:], sockaddr4(x.addr))
		b.call(unix.SYS_IOCTL, res(s), c(x.call), addr(b.bytes(r)))
	}
}

func (b *builder) route4(n *sandbox.Net, s int, a slirp.Addr) {
	b.step(sandbox.NetDevice, n.From, "route by %s", a.Gateway)
	gateway := a.Gateway.As4()
	// struct rtentry (linux/route.h): rt_dst, rt_gateway, rt_genmask, rt_flags.
	r := make([]byte, 120)
	copy(r[8:], sockaddr4(nil))
	copy(r[24:], sockaddr4(gateway[:]))
	copy(r[40:], sockaddr4(nil))
	binary.LittleEndian.PutUint16(r[56:], unix.RTF_UP|unix.RTF_GATEWAY)
	b.call(unix.SYS_IOCTL, res(s), c(unix.SIOCADDRT), addr(b.bytes(r)))
}

// ipv6 passes over a kernel without IPv6, or where it is switched off. A TUN
// interface has no neighbours, so that no address is tentative on it.
func (b *builder) ipv6(n *sandbox.Net, s int, a slirp.Addr) {
	b.step(sandbox.NetDevice, n.From, "give %s the address %s", sandbox.NetDevice, a.Address)
	index := b.ifreq(sandbox.NetDevice, 0)
	b.call(unix.SYS_IOCTL, res(s), c(unix.SIOCGIFINDEX), addr(index))
	index += 16 // ifr_ifindex; the bytes after it are zero
	six := b.op(Op{Nr: unix.SYS_SOCKET, Tolerate: uint8(unix.EAFNOSUPPORT), Opt: Skip}, c(unix.AF_INET6), c(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), c(0))
	own, gateway := a.Address.Addr().As16(), a.Gateway.As16()
	// struct in6_ifreq (linux/ipv6.h): address, length of the prefix, interface.
	r := make([]byte, 32)
	copy(r, own[:])
	binary.LittleEndian.PutUint32(r[16:], uint32(a.Address.Bits()))
	req := b.bytes(r)
	b.op(Op{Nr: OpStore}, addr(req+20), Arg{Word, index})
	off := b.op(Op{Nr: unix.SYS_IOCTL, Tolerate: uint8(unix.EACCES), Opt: Skip}, res(six), c(unix.SIOCSIFADDR), addr(req))
	b.step(sandbox.NetDevice, n.From, "route by %s", a.Gateway)
	// struct in6_rtmsg (linux/ipv6_route.h): destination, source, gateway, then
	// metric at 56, flags at 72, interface at 76.
	r = make([]byte, 88)
	copy(r[32:], gateway[:])
	binary.LittleEndian.PutUint32(r[56:], 1024)
	binary.LittleEndian.PutUint32(r[72:], unix.RTF_UP|unix.RTF_GATEWAY)
	req = b.bytes(r)
	b.op(Op{Nr: OpStore}, addr(req+76), Arg{Word, index})
	b.call(unix.SYS_IOCTL, res(six), c(unix.SIOCADDRT), addr(req))
	b.land(off)
	b.call(unix.SYS_CLOSE, res(six))
	b.land(six)
}

// netFilter holds what leaves the sandbox to the rules, before there is a way out.
func (b *builder) netFilter(p *sandbox.Plan) {
	b.step("", "network.allow", "filter what leaves, by %d rules of nftables", len(p.Net.Filter))
	s := b.call(unix.SYS_SOCKET, c(unix.AF_NETLINK), c(unix.SOCK_RAW|unix.SOCK_CLOEXEC), c(unix.NETLINK_NETFILTER))
	kernel := b.words(unix.AF_NETLINK, 0) // struct sockaddr_nl, netlink(7)
	answer := b.space(4096)
	must := func(batch []byte) {
		b.call(unix.SYS_SENDTO, res(s), addr(b.bytes(batch)), ci(len(batch)), c(0), addr(kernel), c(12))
		// The first answer: struct nlmsghdr, the errno, what it is about.
		b.call(unix.SYS_RECVFROM, res(s), addr(answer), c(4096), c(unix.MSG_DONTWAIT), c(0), c(0))
		b.op(Op{Nr: OpExpect}, addr(answer+16), c(0xffffffff), c(0), c(uint64(unix.EOPNOTSUPP)))
	}
	must(nft.Batch(p.Net.Filter))
	if rate := p.Net.Config.RateIn; rate > 0 {
		b.step("", "network.rate_in", "drop what comes in beyond %d bytes a second", rate)
		must(nft.Limit(rate))
	}
	if p.Net.Names != "" { // without them less is told, and other name servers are refused
		for _, batch := range [][]byte{nft.Tell(), nft.Redirect(p.Net.Config.Policy.AsksDirectly())} {
			b.op(Op{Nr: unix.SYS_SENDTO, Opt: Ignore}, res(s), addr(b.bytes(batch)), ci(len(batch)), c(0), addr(kernel), c(12))
		}
	}
	b.call(unix.SYS_CLOSE, res(s))
}

// routes opens a socket that hears of new routes in this namespace: by the default
// one the starter knows that the program has set the interface up.
func (b *builder) routes(p *sandbox.Plan) int {
	b.step("", p.Net.From, "listen for routes")
	s := b.call(unix.SYS_SOCKET, c(unix.AF_NETLINK), c(unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), c(unix.NETLINK_ROUTE))
	const group = uint64(unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	own := b.words(unix.AF_NETLINK, group) // struct sockaddr_nl: family, number, groups
	b.call(unix.SYS_BIND, res(s), addr(own), c(12))
	return s
}

// names opens what sbx-net needs to answer for names beside another program: two
// sockets to the packet filter, one for orders and one for what was refused, and
// the name server's own.
func (b *builder) names(p *sandbox.Plan) []int {
	if p.Net.Names == "" {
		return nil
	}
	b.step("", p.Net.From, "open the sandbox's name server")
	fds := b.filterSockets()
	server := slirp.NameServer.Addr().As4()
	at := sockaddr4(server[:])
	binary.BigEndian.PutUint16(at[2:], slirp.NameServer.Port())
	own := b.bytes(at)
	for _, kind := range []uint64{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		s := b.call(unix.SYS_SOCKET, c(unix.AF_INET), c(kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), c(0))
		b.call(unix.SYS_BIND, res(s), addr(own), c(16))
		fds = append(fds, s)
	}
	b.call(unix.SYS_LISTEN, res(fds[3]), c(64))
	return fds
}

// filterSockets opens two sockets to the packet filter: by the first it takes orders,
// by the second it tells what it refused.
func (b *builder) filterSockets() []int {
	orders := b.call(unix.SYS_SOCKET, c(unix.AF_NETLINK), c(unix.SOCK_RAW|unix.SOCK_CLOEXEC), c(unix.NETLINK_NETFILTER))
	refused := b.call(unix.SYS_SOCKET, c(unix.AF_NETLINK), c(unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), c(unix.NETLINK_NETFILTER))
	return []int{orders, refused}
}

// Offered is how many descriptors a Program offers of a sandbox's network.
func Offered(n *sandbox.Net) int {
	count := 1
	if n.Names != "" {
		count += 4
	}
	if len(n.Config.Members) > 0 {
		count += 2
	}
	if len(n.Networks) > 0 {
		count++ // the last
	}
	return count
}

// notify tells the starter, by the pipe that later has the command's status, the
// numbers of the descriptors that are there for it, which it takes by
// pidfd_getfd(2). This process is still open to it then: see taken.
func (b *builder) notify(p *sandbox.Plan, offered []int) {
	b.step(sandbox.NetDevice, p.Net.From, "tell the starter, which takes hold of the network")
	fds := b.space(4*len(offered) + 4) // each is stored as a word, of which the next covers half
	for i, op := range offered {
		b.op(Op{Nr: OpStore}, addr(fds+uint64(4*i)), res(op))
	}
	b.call(unix.SYS_WRITE, slot(SlotStatus), addr(fds), ci(4*len(offered)))
}

// taken waits for the starter to have what notify offered, before this process
// gets out of its reach.
func (b *builder) taken(p *sandbox.Plan) {
	if p.Network == sandbox.NetUser && p.Net.Backend == sandbox.BackendEngine {
		b.awaitTaken(p)
	}
}

func (b *builder) awaitTaken(p *sandbox.Plan) {
	b.step(sandbox.NetDevice, p.Net.From, "wait until the starter has taken hold of it")
	b.answered(SlotGo)
}
