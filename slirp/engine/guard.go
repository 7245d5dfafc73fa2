package engine

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// guard stands between the link and the stack. It drops what does not come from
// the sandbox's own address, and takes echo requests out, which the stack would
// answer itself, for every address there is.
type guard struct {
	stack.LinkEndpoint
	engine *Engine
	up     stack.NetworkDispatcher
}

func newGuard(link stack.LinkEndpoint, e *Engine) *guard {
	return &guard{LinkEndpoint: link, engine: e}
}

// GSOMaxSize is the link's.
func (g *guard) GSOMaxSize() uint32 {
	if l, ok := g.LinkEndpoint.(stack.GSOEndpoint); ok {
		return l.GSOMaxSize()
	}
	return 0
}

// SupportedGSO is the link's.
func (g *guard) SupportedGSO() stack.SupportedGSO {
	if l, ok := g.LinkEndpoint.(stack.GSOEndpoint); ok {
		return l.SupportedGSO()
	}
	return stack.GSONotSupported
}

// Attach puts the guard before the stack. Nothing is read until start: what the
// sandbox has sent already waits in the device, and must not find a stack that
// does not yet take it.
func (g *guard) Attach(up stack.NetworkDispatcher) {
	g.up = up
	if up == nil {
		g.LinkEndpoint.Attach(nil)
	}
}

// IsAttached reports whether there is a stack.
func (g *guard) IsAttached() bool { return g.up != nil }

// start begins to read. Precondition: the stack is set up.
func (g *guard) start() { g.LinkEndpoint.Attach(g) }

// DeliverLinkPacket does nothing: there are no packet sockets in the stack.
func (*guard) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// DeliverNetworkPacket takes a packet of the sandbox's.
func (g *guard) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, p *stack.PacketBuffer) {
	if g.pass(protocol, p) {
		g.up.DeliverNetworkPacket(protocol, p)
	}
}

func (g *guard) pass(protocol tcpip.NetworkProtocolNumber, p *stack.PacketBuffer) bool {
	switch protocol {
	case header.IPv4ProtocolNumber:
		b, ok := p.Data().PullUp(header.IPv4MinimumSize)
		if !ok {
			return false
		}
		ip := header.IPv4(b)
		if !g.own(ip.SourceAddress()) {
			return false
		}
		if martian(fromTCPIP(ip.DestinationAddress())) {
			g.refuse(p, int(ip.HeaderLength()), ip.TransportProtocol(), fromTCPIP(ip.DestinationAddress()))
			return false
		}
		if ip.TransportProtocol() == header.ICMPv4ProtocolNumber {
			return g.passICMP(p, int(ip.HeaderLength()), ip.More() || ip.FragmentOffset() != 0, fromTCPIP(ip.DestinationAddress()))
		}
		return g.passProtocol(p, ip.TransportProtocol())
	case header.IPv6ProtocolNumber:
		b, ok := p.Data().PullUp(header.IPv6MinimumSize)
		if !ok {
			return false
		}
		ip := header.IPv6(b)
		if !g.own(ip.SourceAddress()) {
			return false
		}
		next := tcpip.TransportProtocolNumber(ip.NextHeader())
		if martian(fromTCPIP(ip.DestinationAddress())) {
			g.refuse(p, header.IPv6MinimumSize, next, fromTCPIP(ip.DestinationAddress()))
			return false
		}
		switch next {
		case header.ICMPv6ProtocolNumber:
			return g.passICMP(p, header.IPv6MinimumSize, false, fromTCPIP(ip.DestinationAddress()))
		case tcpip.TransportProtocolNumber(header.IPv6FragmentExtHdrIdentifier):
			return g.passFragment(p)
		default: // other extension headers have no use here
			return g.passProtocol(p, next)
		}
	}
	return false
}

// passProtocol lets TCP and UDP pass, and says that nothing else does.
func (g *guard) passProtocol(p *stack.PacketBuffer, protocol tcpip.TransportProtocolNumber) bool {
	if protocol == header.TCPProtocolNumber || protocol == header.UDPProtocolNumber {
		return true
	}
	if whole, ok := p.Data().PullUp(p.Data().Size()); ok && protocol != tcpip.TransportProtocolNumber(header.IPv6HopByHopOptionsExtHdrIdentifier) {
		g.engine.icmpError(whole, prohibited)
	}
	return false
}

// passFragment lets the fragments of TCP and UDP pass, as of IPv4. Of what else there
// is the stack would put together an echo request, and answer it.
func (g *guard) passFragment(p *stack.PacketBuffer) bool {
	b, ok := p.Data().PullUp(header.IPv6MinimumSize + header.IPv6FragmentHeaderSize)
	if !ok {
		return false
	}
	next := tcpip.TransportProtocolNumber(b[header.IPv6MinimumSize]) // the first field (RFC 8200, section 4.5)
	return next == header.TCPProtocolNumber || next == header.UDPProtocolNumber
}

// own reports whether the sandbox has the address.
func (g *guard) own(a tcpip.Address) bool {
	have := fromTCPIP(a)
	return have == g.engine.addrs[0].Address.Addr() || have == g.engine.addrs[1].Address.Addr()
}

// martian reports whether an address has no business on a link. The stack drops
// what is sent there; the sandbox is to hear of it.
func martian(a netip.Addr) bool { return a.IsLoopback() || a.IsUnspecified() || a.Is4In6() }

// refuse has a packet judged that the stack would drop, and answers it.
func (g *guard) refuse(p *stack.PacketBuffer, headers int, protocol tcpip.TransportProtocolNumber, to netip.Addr) {
	b, ok := p.Data().PullUp(headers + 4)
	if !ok {
		return
	}
	c := gate.Conn{Protocol: policy.TCP, Target: netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[headers+2:]))}
	switch protocol {
	case header.TCPProtocolNumber:
	case header.UDPProtocolNumber:
		c.Protocol = policy.UDP
	default:
		return
	}
	if g.engine.gate.JudgeNow(c).Allow { // nothing that is never forwarded to is
		return
	}
	if whole, ok := p.Data().PullUp(p.Data().Size()); ok {
		g.engine.icmpError(whole, prohibited)
	}
}

// passICMP lets the stack have what belongs to its connections, and requests to
// the gateway.
func (g *guard) passICMP(p *stack.PacketBuffer, headers int, fragment bool, to netip.Addr) bool {
	b, ok := p.Data().PullUp(headers + header.ICMPv4MinimumSize)
	if !ok || fragment {
		return false
	}
	kind := b[headers]
	if to.Is4() {
		switch header.ICMPv4Type(kind) {
		case header.ICMPv4DstUnreachable, header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
			return true
		case header.ICMPv4Echo:
		default:
			return false
		}
	} else {
		switch header.ICMPv6Type(kind) {
		case header.ICMPv6DstUnreachable, header.ICMPv6PacketTooBig, header.ICMPv6TimeExceeded, header.ICMPv6ParamProblem:
			return true
		case header.ICMPv6EchoRequest:
		default:
			return false // neighbours and routers there are none; a TUN has no link
		}
	}
	if g.engine.gateway(to) {
		return true
	}
	whole, ok := p.Data().PullUp(p.Data().Size())
	if ok {
		g.engine.pings.request(append([]byte(nil), whole...), headers, to)
	}
	return false
}
