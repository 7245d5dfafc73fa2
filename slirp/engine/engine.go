// Package engine is a sandbox's network in user space: a network stack (gVisor's)
// at the other end of the sandbox's TUN device, which takes every connection that
// the sandbox makes, has it judged, and makes it anew from the host.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/gate"
)

// Names answers the sandbox's questions for names; slirp/dns is one.
type Names interface {
	Answer(ctx context.Context, query []byte, tcp bool) []byte
}

// Options make an Engine.
type Options struct {
	Config *slirp.Config // valid
	Gate   *gate.Gate
	Names  Names
	// Report is told when a limit is met, and must not block.
	Report func(slirp.Event)
	// Dial makes the host's half of connections; nil is the host's own way.
	Dial Dialer
}

// Dialer makes connections from the host.
type Dialer interface {
	// TCP connects to an address that was asked for by a name, "" for none.
	TCP(ctx context.Context, to netip.AddrPort, name string) (*net.TCPConn, error)
	UDP(to netip.AddrPort) (*net.UDPConn, error) // connected: only its peer's packets come in, and its errors
}

// hostDialer is the way of a program on the host.
type hostDialer struct{}

func (hostDialer) TCP(ctx context.Context, to netip.AddrPort, _ string) (*net.TCPConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (hostDialer) UDP(to netip.AddrPort) (*net.UDPConn, error) {
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
}

// Engine is the network of one sandbox.
type Engine struct {
	gate   *gate.Gate
	names  Names
	dialer Dialer
	report func(slirp.Event)
	limits slirp.Limits
	addrs  [2]slirp.Addr // the sandbox's, of IPv4 and IPv6
	out    *bucket       // nil: no limit
	in     *bucket

	stack  *stack.Stack
	guard  *guard
	flows  *flows
	memory *budget
	pings  *pings
	// Connections that are being made from the host.
	pending *pending
	dnsTCP  chan struct{} // a slot for each connection to the name server
	// Slots for questions by UDP, and for packets that wait for an answer.
	questions, udpWaits chan struct{}
	limited             sync.Map // limits that were reported
	ctx                 context.Context
	stop                context.CancelFunc
}

// nic is the only interface of the stack.
const nic tcpip.NICID = 1

// New starts an engine on a link. It must not be closed but by Engine.Close.
func New(link stack.LinkEndpoint, o Options) (*Engine, error) {
	e := &Engine{
		gate: o.Gate, names: o.Names, dialer: o.Dial, report: o.Report, limits: o.Config.Limits.WithDefaults(),
		addrs: [2]slirp.Addr{o.Config.IPv4, o.Config.IPv6},
		out:   newBucket(o.Config.Rate), in: newBucket(o.Config.RateIn),
		dnsTCP: make(chan struct{}, 64), questions: make(chan struct{}, maxQuestions), udpWaits: make(chan struct{}, 64),
	}
	if e.dialer == nil {
		e.dialer = hostDialer{}
	}
	if e.report == nil {
		e.report = func(slirp.Event) {}
	}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.flows = newFlows()
	e.memory = newBudget(e.limits.Memory)
	e.pings = newPings(e)
	e.pending = newPending(e.limits.Connecting, func() { e.tell("connections being made", e.limits.Connecting, "the oldest give up") })
	e.guard = newGuard(link, e)
	e.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocol,
			// No neighbours and no routers are on this link: nobody is asked whether
			// an address is free, during which it could not be used.
			ipv6.NewProtocolWithOptions(ipv6.Options{}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := e.configure(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// configure makes the stack take whatever is sent to whatever address.
func (e *Engine) configure() error {
	if err := e.tcpOptions(); err != nil {
		return err
	}
	// Not Limits.Connecting: what is beyond this is dropped in silence.
	tcpIn := tcp.NewForwarder(e.stack, 0, e.limits.Flows, e.handleTCP)
	e.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcpIn.HandlePacket)
	udpIn := udp.NewForwarder(e.stack, e.handleUDP)
	e.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udpIn.HandlePacket)
	e.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	if err := e.stack.CreateNIC(nic, e.guard); err != nil {
		return fmt.Errorf("making the engine's interface: %s", err)
	}
	if err := e.stack.SetSpoofing(nic, true); err != nil {
		return errors.New(err.String())
	}
	if err := e.stack.SetPromiscuousMode(nic, true); err != nil {
		return errors.New(err.String())
	}
	for _, a := range e.addrs {
		if !a.Enabled() {
			continue
		}
		protocol := tcpip.ProtocolAddress{Protocol: protocolOf(a.Gateway), AddressWithPrefix: tcpip.AddrFromSlice(a.Gateway.AsSlice()).WithPrefix()}
		if err := e.stack.AddProtocolAddress(nic, protocol, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("the gateway's address %s: %s", a.Gateway, err)
		}
	}
	e.guard.start()
	return nil
}

// bufferSize is how much a TCP connection may have under way in each direction
// while there are few.
const bufferSize = 1 << 20

func (e *Engine) tcpOptions() error {
	sack := tcpip.TCPSACKEnabled(true)
	// The window is what the budget says and does not grow by itself.
	moderate := tcpip.TCPModerateReceiveBufferOption(false)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: bufferSize, Max: bufferSize}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: bufferSize, Max: bufferSize}
	// Nothing of an old connection is still on its way over this link.
	wait := tcpip.TCPTimeWaitTimeoutOption(time.Second)
	linger := tcpip.TCPLingerTimeoutOption(10 * time.Second)
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &receive, &send, &wait, &linger} {
		if err := e.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("setting %T: %s", o, err)
		}
	}
	return nil
}

// Close ends every connection and closes the link.
func (e *Engine) Close() {
	e.stop()
	e.flows.closeAll()
	e.pings.closeAll()
	e.stack.Close()
	e.guard.Close()
	e.guard.Wait() // but not for the stack: a handshake may take its time to fail
}

// Quiet keeps the network stack from writing to the standard error what a
// sandbox's packets have it say. It is called before there is an engine.
func Quiet() {
	// Not SetTarget: the stack's packages hold on to the logger that there is.
	log.Log().Emitter = log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}}
}

// Flows lists the connections that there are.
func (e *Engine) Flows() []slirp.Flow { return e.flows.list() }

// Recheck ends the connections that the policy, which changed, no longer allows.
func (e *Engine) Recheck() {
	for _, f := range e.flows.all() {
		if !f.inbound && !f.own && !f.once && !e.gate.Look(f.conn).Allow {
			f.close()
		}
	}
}

// limit reports that a limit was met, the first time.
func (e *Engine) limit(name string, n int) { e.tell(name, n, "more are refused") }

func (e *Engine) tell(name string, n int, then string) {
	if _, again := e.limited.LoadOrStore(name, true); !again {
		e.report(slirp.Event{Event: slirp.EventLimit, Time: time.Now(), Message: fmt.Sprintf("the sandbox has %d %s; %s", n, name, then)})
	}
}

// gateway reports whether a is the engine's own address.
func (e *Engine) gateway(a netip.Addr) bool {
	return a == e.addrs[0].Gateway || a == e.addrs[1].Gateway
}

// nameServer reports whether what goes to a port goes to the name server here:
// port 53 of the gateway, and of every address, unless a rule names that one.
// Programs with a server of their own built in then work, by the same rules.
func (e *Engine) nameServer(c gate.Conn) bool {
	return c.Target.Port() == 53 && e.names != nil && (e.gateway(c.Target.Addr()) || !e.gate.Named(c))
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// fromTCPIP is an address as netip has it.
func fromTCPIP(a tcpip.Address) netip.Addr {
	if a.Len() == 4 {
		return netip.AddrFrom4(a.As4())
	}
	return netip.AddrFrom16(a.As16())
}

// full is an address and port as the stack has them.
func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}
}
