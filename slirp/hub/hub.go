// Package hub keeps a named network: a bridge in a network namespace of its own,
// to which members' interfaces are wired, and who is called what in it. Nothing of
// it outlives the process: the namespace is there as long as its sockets are open.
package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/link"
)

// bridge is the name of the bridge.
const bridge = "bridge0"

// Bounds of a network: its members, and who is connected at the same time, some of them
// only to look.
const (
	mostMembers = 512
	mostConns   = mostMembers + 64
)

// Hub is a named network. It is for one goroutine.
type Hub struct {
	network slirp.Network
	links   *link.Socket // of the network's own namespace
	sources sources
	bridge  int
	listen  int
	peers   *control.Peers
	lock    int // the lock's file
	conns   []*conn
	made    int // interfaces so far
}

// conn is who is connected, and a member once it has joined.
type conn struct {
	*control.Conn
	member *slirp.Member // nil for none
	port   int           // its interface on the bridge
	names  int           // where it hears of the members, -1 for nowhere
	filter *filter       // holds it to its rules; nil: it has none
	stale  bool          // it has not heard of the last change
}

// New makes the network by sockets of a namespace of its own, of rtnetlink and of
// NETLINK_NETFILTER. listen is the socket where members come, non-blocking.
func New(n slirp.Network, links *link.Socket, filters, listen int) (*Hub, error) {
	h := &Hub{network: n, links: links, listen: listen, peers: control.OpenPeers()}
	var err error
	if h.lock, err = unix.Open(n.Lock, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: n.Lock, Err: err}
	}
	h.sources = newSources(filters)
	if h.bridge, err = links.Bridge(bridge); err != nil {
		return nil, err
	}
	return h, nil
}

// lingering is how often an empty network looks whether it may end, while somebody
// is about to join it.
const lingering = 50 * time.Millisecond

// Serve returns when nobody is connected any more.
func (h *Hub) Serve() error {
	for {
		wait := -1
		if len(h.conns) == 0 {
			if h.end() {
				return nil
			}
			wait = int(lingering / time.Millisecond)
		}
		fds := []unix.PollFd{{Fd: int32(h.listen), Events: unix.POLLIN}}
		conns := slices.Clone(h.conns)
		for _, c := range conns {
			fds = append(fds, unix.PollFd{Fd: int32(c.FD()), Events: unix.POLLIN}, unix.PollFd{Fd: int32(c.waiting()), Events: unix.POLLOUT})
		}
		if _, err := unix.Poll(fds, wait); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for members: %w", err)
		}
		for i, c := range conns {
			if !slices.Contains(h.conns, c) {
				continue // it had to go when another came or went
			}
			if fds[2+2*i].Revents != 0 {
				h.tell(c)
			}
			if fds[1+2*i].Revents != 0 {
				h.take(c)
			}
		}
		if fds[0].Revents != 0 {
			h.accept()
		}
	}
}

// waiting is the socket on which a member waits to hear of others, -1 for none.
func (c *conn) waiting() int {
	if !c.stale {
		return -1
	}
	return c.names
}

// end ends the network, unless somebody is about to join it: then that one has the
// lock, or is waiting in the socket.
func (h *Hub) end() bool {
	if unix.Flock(h.lock, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	if h.accept(); len(h.conns) > 0 {
		_ = unix.Flock(h.lock, unix.LOCK_UN)
		return false
	}
	_ = unix.Unlinkat(unix.AT_FDCWD, h.network.Socket, 0) // who finds it dead removes it as well
	return true
}

// accept takes all connections that wait.
func (h *Hub) accept() {
	for {
		c, err := control.AcceptIf(h.listen, h.peers.May)
		if err != nil {
			return
		}
		if c == nil {
			var fds = []unix.PollFd{{Fd: int32(h.listen), Events: unix.POLLIN}}
			if control.Look(fds) {
				continue // somebody else's was turned away
			}
			return
		}
		if len(h.conns) >= mostConns {
			c.Close()
			continue
		}
		h.conns = append(h.conns, &conn{Conn: c, names: -1})
	}
}

// take answers a request, or lets go of who is gone.
func (h *Hub) take(c *conn) {
	var r slirp.NetworkRequest
	fds, err := c.Receive(&r)
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	if err != nil {
		h.leave(c)
		return
	}
	reply := slirp.NetworkReply{}
	switch {
	case r.Protocol != slirp.Protocol:
		err = fmt.Errorf("protocol %d is asked for, and this sbx-net speaks %d; use one version of sbx", r.Protocol, slirp.Protocol)
	case r.Op == slirp.OpMembers:
		reply.Members = h.members()
	case r.Op == slirp.OpJoin:
		if err = h.join(c, &r, fds); err == nil {
			reply.Members = []slirp.Member{*c.member}
		} else if c.member == nil { // it has no rules to be held to
			c.filter.close()
			c.filter = nil
		}
	default:
		err = fmt.Errorf("there is no request %q", r.Op)
	}
	control.CloseAll(fds)
	if err != nil {
		reply.Error = err.Error()
	}
	if err := c.Send(&reply); err != nil { // too long perhaps; who does not read answers gets none
		_ = c.Send(&slirp.NetworkReply{Error: "answering: " + err.Error()})
	}
}

// members lists them, in the order of their addresses.
func (h *Hub) members() []slirp.Member {
	var list []slirp.Member
	for _, c := range h.conns {
		if c.member != nil {
			list = append(list, *c.member)
		}
	}
	slices.SortFunc(list, func(a, b slirp.Member) int { return a.IPv4.Compare(b.IPv4) })
	return list
}

// join makes who is connected a member.
func (h *Hub) join(c *conn, r *slirp.NetworkRequest, fds []int) error {
	if c.member != nil {
		return errors.New("this connection has joined already")
	}
	want := 2
	if len(r.Rules) > 0 {
		want++
	}
	if len(fds) != want || r.Device == "" || len(r.Device) >= unix.IFNAMSIZ {
		return errors.New("with a request to join come a name for the interface, a socket of the member's network, one for names, and one for rules")
	}
	there := h.members()
	if len(there) >= mostMembers {
		return fmt.Errorf("the network %s has %d members, as many as one may have; end some, or put this sandbox into another network", h.network.Name, len(there))
	}
	m := slirp.Member{Name: r.Name, Names: slirp.MemberNames(r.Names...), Device: r.Device, Isolated: h.isolated(r)}
	var err error
	if m.IPv4, err = h.free(); err != nil {
		return err
	}
	if h.network.IPv6.IsValid() {
		m.IPv6 = beside(m.IPv4, h.network.IPv4, h.network.IPv6)
	}
	if len(r.Rules) > 0 { // before there is a way to anybody
		if c.filter, err = newFilter(fds[2], r, there); err != nil {
			return err
		}
	}
	if c.port, err = h.wire(&m, fds[0]); err != nil {
		return err
	}
	if err = h.sources.allow(c.port, &m); err == nil {
		if c.names, err = keep(fds[1]); err == nil {
			c.member = &m
			h.changed()
			return nil
		}
		err = fmt.Errorf("keeping the socket for names: %w", err)
		h.sources.forget(c.port, &m)
	}
	_ = h.links.Delete(c.port) // it goes with its namespace at the latest
	return err
}

// isolated decides whether a member reaches other isolated ones.
func (h *Hub) isolated(r *slirp.NetworkRequest) bool {
	hub := slices.ContainsFunc(r.Names, func(name string) bool { return slices.Contains(h.network.Hubs, slirp.MemberName(name)) })
	return r.Isolated || h.network.Isolated && !hub
}

// free is the lowest address that nobody has. The first is left for the network.
func (h *Hub) free() (netip.Addr, error) {
	taken := h.members()
	first := h.network.IPv4.Addr().Next()
	for a := first.Next(); h.network.IPv4.Contains(a.Next()); a = a.Next() { // the last is for broadcasts
		if !slices.ContainsFunc(taken, func(m slirp.Member) bool { return m.IPv4 == a }) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the network %s has no address left in %s; sbx network create --subnet makes one with more, as 172.20.0.0/16 is", h.network.Name, h.network.IPv4)
}

// beside is the address of IPv6 that has the same place in its subnet.
func beside(a netip.Addr, four, six netip.Prefix) netip.Addr {
	b, base, to := a.As4(), four.Addr().As4(), six.Addr().As16()
	for i := range b {
		to[12+i] |= b[i] &^ base[i]
	}
	return netip.AddrFrom16(to)
}

// wire makes a member's interface, by a socket of its network namespace.
func (h *Hub) wire(m *slirp.Member, socket int) (port int, err error) {
	theirs := link.New(socket) // the caller closes it
	ns, err := theirs.Namespace()
	if err != nil {
		return 0, err
	}
	defer unix.Close(ns)
	h.made++
	if port, err = h.links.Veth(fmt.Sprintf("port%d", h.made), h.bridge, m.Device, ns); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = h.links.Delete(port)
		}
	}()
	if m.Isolated {
		if err := h.links.Isolate(port); err != nil {
			return 0, err
		}
	}
	index, err := theirs.Index(m.Device)
	if err != nil {
		return 0, err
	}
	if err := theirs.Up(index); err != nil {
		return 0, err
	}
	if err := theirs.Address(index, netip.PrefixFrom(m.IPv4, h.network.IPv4.Bits())); err != nil {
		return 0, err
	}
	if !m.IPv6.IsValid() {
		return port, nil
	}
	switch err := theirs.Address(index, netip.PrefixFrom(m.IPv6, h.network.IPv6.Bits())); {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EOPNOTSUPP): // the host has switched it off
		m.IPv6 = netip.Addr{}
	case err != nil:
		return 0, err
	}
	return port, nil
}

// leave lets go of who is gone.
func (h *Hub) leave(c *conn) {
	h.conns = slices.DeleteFunc(h.conns, func(x *conn) bool { return x == c })
	c.Close()
	if c.names >= 0 {
		unix.Close(c.names)
		c.names = -1
	}
	c.filter.close()
	c.filter = nil
	if c.member != nil {
		_ = h.links.Delete(c.port) // gone with the member's namespace, perhaps
		h.sources.forget(c.port, c.member)
		h.changed()
	}
}

// changed holds all members to who is there now, and tells them.
func (h *Hub) changed() {
	members := h.members()
	for _, c := range slices.Clone(h.conns) {
		if err := c.filter.renew(members); err != nil { // it might reach whom no rule allows
			h.leave(c)
			return
		}
	}
	for _, c := range h.conns {
		h.tell(c)
	}
}

// tell tells a member whom it can reach. One that does not listen hears it later.
func (h *Hub) tell(c *conn) {
	if c.names < 0 {
		return
	}
	list := slices.DeleteFunc(h.members(), func(m slirp.Member) bool { return m.Isolated && c.member.Isolated && m.IPv4 != c.member.IPv4 })
	text, err := json.Marshal(slirp.Members{Members: list})
	if err == nil {
		err = unix.Sendmsg(c.names, text, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	c.stale = errors.Is(err, unix.EAGAIN)
	if err != nil && !c.stale { // its name server is gone
		unix.Close(c.names)
		c.names = -1
	}
}
