package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/dns"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/link"
	"github.com/sbx-sandbox/sbx/slirp/nft"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// serveNames is the name server of a sandbox whose network another program makes:
// it tells the packet filter there which addresses a name has, before the sandbox
// learns of them, and tells what the filter refused.
func (n *network) serveNames() error {
	fds, err := receive(n.link, 4)
	if errors.Is(err, io.EOF) {
		return nil // the sandbox ended before it began
	}
	if err != nil {
		return fmt.Errorf("waiting for the sandbox's name server: %w", err)
	}
	n.filter.set(fds[0])
	packets, err := net.FilePacketConn(os.NewFile(uintptr(fds[2]), "name server"))
	if err != nil {
		return fmt.Errorf("the sandbox's name server: %w", err)
	}
	defer packets.Close()
	streams, err := net.FileListener(os.NewFile(uintptr(fds[3]), "name server"))
	if err != nil {
		return fmt.Errorf("the sandbox's name server: %w", err)
	}
	defer streams.Close()
	refused := os.NewFile(uintptr(fds[1]), "refused")
	defer refused.Close()
	n.startHearing(refused, n.refused)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go n.names.ServePackets(ctx, packets)
	go n.names.ServeStreams(ctx, streams)
	if n.control != nil {
		go n.control.serve()
	}
	n.events.send(slirp.Event{Event: slirp.EventAttached})
	n.orders()
	n.drainRefused(fds[1])
	return nil
}

// filter is the packet filter in the sandbox's network namespace. The kernel takes
// its orders by a socket that was opened there, from the user to whom the owner
// of that namespace belongs (user_namespaces(7), "Capabilities").
type filter struct {
	mu sync.Mutex
	fd int // -1: not here yet
}

func (f *filter) set(fd int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fd = fd
}

// order sends messages and waits for what the kernel says to them.
func (f *filter) order(messages []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return unix.ENOTCONN
	}
	return link.Order(f.fd, messages, nft.Answers)
}

// pinning is a gate whose names are also in the packet filter's sets.
type pinning struct {
	*gate.Gate
	network *network
}

var _ dns.Gate = pinning{}

// Pin adds the address to the sets of the patterns that are for the name; what
// can't be added the sandbox does not learn of.
func (p pinning) Pin(name string, a netip.Addr) bool {
	if !p.Gate.Pin(name, a) {
		return false
	}
	patterns := p.Patterns(name)
	if len(patterns) == 0 {
		return true
	}
	if err := p.network.filter.order(nft.Add(patterns, a)); err != nil {
		p.network.events.send(slirp.Event{Event: slirp.EventLimit, Message: fmt.Sprintf("telling the packet filter the address of %s: %v", name, err)})
		return false
	}
	return true
}

// hostAddresses are those of the host's interfaces.
func hostAddresses() (list []netip.Addr, err error) {
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p.Addr().Unmap())
		}
	}
	return list, err
}

// refilter puts the rules as they are now into the packet filter.
func (n *network) refilter() error {
	p := n.gate.Policy()
	rules, err := nft.Rules(p, nft.Surroundings{
		Subnets: subnets(&n.config), Host: n.host, Servers: []netip.AddrPort{slirp.NameServer}, Inbound: len(n.config.Publish) > 0, Named: true,
	})
	if err != nil {
		return err
	}
	if err := n.filter.order(nft.Replace(rules)); err != nil {
		return fmt.Errorf("changing the packet filter: %w", err)
	}
	for a, names := range n.gate.Pinned() {
		for _, name := range names {
			if patterns := p.Patterns(name); len(patterns) > 0 {
				if err := n.filter.order(nft.Add(patterns, a)); err != nil {
					return fmt.Errorf("changing the packet filter: %w", err)
				}
			}
		}
	}
	return nil
}

// startHearing has the kernel tell what the packet filter refuses, by a socket to it.
func (n *network) startHearing(f *os.File, each func(gate.Conn)) {
	raw, err := f.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = link.Order(int(fd), nft.Listen(), nft.Answers) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		n.events.send(slirp.Event{Event: slirp.EventLimit, Message: "what the packet filter refuses is not told: " + err.Error()})
		return
	}
	go hearRefused(f, each)
}

// hearRefused tells of each packet that the filter refuses
// (linux/netfilter/nfnetlink_log.h).
func hearRefused(f *os.File, each func(gate.Conn)) {
	b := make([]byte, 64<<10)
	for {
		size, err := f.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS): // too many at once
			continue
		case err != nil:
			return
		}
		for _, to := range refusals(b[:size]) {
			each(to)
		}
	}
}

// drainRefused tells of those that came last.
func (n *network) drainRefused(fd int) {
	b := make([]byte, 64<<10)
	for range 64 {
		size, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		for _, to := range refusals(b[:size]) {
			n.refused(to)
		}
	}
}

func (n *network) refused(to gate.Conn) {
	if n.gate.JudgeNow(to).Allow {
		n.gate.Filtered(to, "the packet filter's list of the host's addresses is from the start, or it is no longer allowed by name")
	}
}

// refusals are the connections that packets in messages wanted.
func refusals(messages []byte) (list []gate.Conn) {
	for _, packet := range nft.Packets(messages) {
		if c, ok := wanted(packet); ok {
			list = append(list, c)
		}
	}
	return list
}

// wanted reads from the headers of a packet where it was to go.
func wanted(p []byte) (c gate.Conn, ok bool) {
	if len(p) < 20 {
		return c, false
	}
	var to netip.Addr
	protocol, rest := p[9], p[min(int(p[0]&15)*4, len(p)):]
	switch p[0] >> 4 {
	case 4:
		to = netip.AddrFrom4([4]byte(p[16:20]))
	case 6:
		if len(p) < 40 {
			return c, false
		}
		to, protocol, rest = netip.AddrFrom16([16]byte(p[24:40])), p[6], p[40:]
	default:
		return c, false
	}
	port := uint16(0)
	if len(rest) >= 4 {
		port = binary.BigEndian.Uint16(rest[2:])
	}
	switch protocol {
	case unix.IPPROTO_TCP:
		c.Protocol = policy.TCP
	case unix.IPPROTO_UDP:
		c.Protocol = policy.UDP
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		c.Protocol, port = policy.ICMP, 0
	default:
		return c, false
	}
	c.Target = netip.AddrPortFrom(to, port)
	return c, true
}
