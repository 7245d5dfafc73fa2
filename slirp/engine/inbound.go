package engine

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
	"github.com/sbx-sandbox/sbx/slirp/publish"
)

// inboundTimeout is how long a port of the sandbox has to accept.
const inboundTimeout = 5 * time.Second

// ServeTCP connects a client of a published port to the sandbox. The sandbox sees
// the client's own address.
func (e *Engine) ServeTCP(client *net.TCPConn, port uint16) {
	from := unmapped(client.RemoteAddr().(*net.TCPAddr).AddrPort())
	source, target, ok := e.ends(from, port)
	f := &flow{conn: gate.Conn{Protocol: policy.TCP, Target: target}, source: from, rule: "publish", inbound: true}
	if !ok {
		client.Close()
		return
	}
	if !e.flows.add(f, e.limits.Flows, policy.TCP) {
		e.limit("TCP connections", e.limits.Flows)
		client.Close()
		return
	}
	defer e.flows.remove(f)
	ctx, cancel := context.WithTimeout(e.ctx, inboundTimeout)
	defer cancel()
	in, err := e.connect(ctx, f, source, target)
	if err != nil {
		_ = client.SetLinger(0) // a reset: the port is not served
		client.Close()
		return
	}
	e.splice(f, in, client)
}

// ends are the addresses of a connection to a port of the sandbox: where it is
// said to come from, and where it goes to.
func (e *Engine) ends(client netip.AddrPort, port uint16) (source, target netip.AddrPort, ok bool) {
	a := e.addrs[0]
	if client.Addr().Is6() && e.addrs[1].Enabled() || !a.Enabled() {
		a = e.addrs[1]
	}
	target = netip.AddrPortFrom(a.Address.Addr(), port)
	from := client.Addr()
	// What the sandbox would not send back to the client stands for the host.
	if from.Is4() != a.Gateway.Is4() || from.IsLoopback() || from.IsLinkLocalUnicast() || a.Address.Contains(from) {
		return netip.AddrPortFrom(a.Gateway, 0), target, a.Enabled()
	}
	return client, target, a.Enabled()
}

// connect makes a connection to the sandbox.
func (e *Engine) connect(ctx context.Context, f *flow, source, target netip.AddrPort) (inside, error) {
	in, err := e.connectFrom(ctx, f, source, target)
	if err == errTaken {
		// Two published ports, one client, one port of its: it gets another.
		return e.connectFrom(ctx, f, netip.AddrPortFrom(source.Addr(), 0), target)
	}
	return in, err
}

type stackError string

func (e stackError) Error() string { return string(e) }

const errTaken = stackError("the source port is in use")

func (e *Engine) connectFrom(ctx context.Context, f *flow, source, target netip.AddrPort) (inside, error) {
	in := inside{queue: new(waiter.Queue)}
	var terr tcpip.Error
	if in.ep, terr = e.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(target.Addr()), in.queue); terr != nil {
		return in, stackError(terr.String())
	}
	e.prepare(in.ep, f)
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	in.queue.EventRegister(&entry)
	defer in.queue.EventUnregister(&entry)
	fail := func(err error) (inside, error) {
		in.ep.Close()
		f.release()
		return inside{}, err
	}
	if terr := in.ep.Bind(full(source)); terr != nil {
		return fail(errTaken)
	}
	terr = in.ep.Connect(full(target))
	if _, ok := terr.(*tcpip.ErrConnectStarted); ok {
		select {
		case <-writable:
			terr = in.ep.LastError()
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
	switch terr.(type) {
	case nil:
		return in, nil
	case *tcpip.ErrPortInUse, *tcpip.ErrNoPortAvailable:
		return fail(errTaken)
	}
	return fail(stackError(terr.String()))
}

// session is a client's datagrams on their way to the sandbox.
type session struct {
	engine *Engine
	flow   *flow
	in     inside
	end    func()
	done   chan struct{}
	idle   *time.Timer
}

// DialUDP makes a session for a client of a published port.
func (e *Engine) DialUDP(client netip.AddrPort, port uint16, back func([]byte), ended func()) (publish.Session, error) {
	client = unmapped(client)
	source, target, ok := e.ends(client, port)
	f := &flow{conn: gate.Conn{Protocol: policy.UDP, Target: target}, source: client, rule: "publish", inbound: true}
	if !ok {
		return nil, stackError("the sandbox has no address that it could be reached at")
	}
	if !e.flows.add(f, e.limits.UDPFlows, policy.UDP) {
		e.limit("UDP flows", e.limits.UDPFlows)
		return nil, stackError("there are as many UDP flows as there may be")
	}
	in, err := e.connectUDP(source, target)
	if err != nil {
		e.flows.remove(f)
		return nil, err
	}
	var once sync.Once
	s := &session{engine: e, flow: f, in: in, done: make(chan struct{})}
	s.end = func() {
		once.Do(func() {
			close(s.done)
			in.ep.Close()
			e.flows.remove(f)
			ended()
		})
	}
	f.closer(s.end)
	s.idle = time.AfterFunc(e.limits.UDPIdle, s.end)
	go func() {
		defer s.end()
		defer s.idle.Stop()
		receive(in, s.done, func(b []byte) bool {
			s.idle.Reset(e.limits.UDPIdle)
			f.out.Add(int64(len(b)))
			back(b)
			return e.out.take(int64(len(b)), s.done)
		})
	}()
	return s, nil
}

func (e *Engine) connectUDP(source, target netip.AddrPort) (inside, error) {
	for {
		in := inside{queue: new(waiter.Queue)}
		var err tcpip.Error
		if in.ep, err = e.stack.NewEndpoint(udp.ProtocolNumber, protocolOf(target.Addr()), in.queue); err != nil {
			return in, stackError(err.String())
		}
		err = in.ep.Bind(full(source))
		if err == nil {
			err = in.ep.Connect(full(target))
		}
		if err == nil {
			return in, nil
		}
		in.ep.Close()
		if source.Port() == 0 {
			return inside{}, stackError(err.String())
		}
		source = netip.AddrPortFrom(source.Addr(), 0)
	}
}

// Send passes a datagram on.
func (s *session) Send(b []byte) {
	s.idle.Reset(s.engine.limits.UDPIdle)
	s.flow.in.Add(int64(len(b)))
	if s.engine.in.take(int64(len(b)), s.done) {
		_, _ = s.in.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{}) // lost, as datagrams may be
	}
}

// Close ends the session.
func (s *session) Close() { s.end() }

// unmapped is an address of IPv4 as that, which a socket of IPv6 has in its form.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
