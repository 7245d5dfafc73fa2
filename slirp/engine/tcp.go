package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/hello"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// Times of a connection that is being made.
const (
	dialTimeout  = 30 * time.Second
	helloTimeout = 10 * time.Second
)

// handleTCP takes a connection's first packet. It runs in a goroutine of its own.
func (e *Engine) handleTCP(r *tcp.ForwarderRequest) {
	source, c := connOf(policy.TCP, r.ID())
	if e.nameServer(c) {
		e.serveNames(r)
		return
	}
	ruling := e.gate.Judge(e.ctx, c)
	if !ruling.Allow {
		r.Complete(true) // a reset: who connects knows at once
		return
	}
	f := &flow{conn: c, source: source, name: ruling.Name, rule: ruling.RuleText(), once: ruling.Once}
	if !e.flows.add(f, e.limits.Flows, policy.TCP) {
		e.limit("TCP connections", e.limits.Flows)
		r.Complete(true)
		return
	}
	defer e.flows.remove(f)
	if ruling.CheckTLS || ruling.WatchTLS {
		e.acceptFirst(r, f, ruling)
		return
	}
	// Dialling first, the sandbox's connect succeeds exactly if there is somebody.
	out, err := e.dial(ruling)
	if err != nil {
		r.Complete(true)
		return
	}
	in, ok := e.accept(r, f)
	if !ok {
		out.Close()
		return
	}
	e.splice(f, in, out)
}

// acceptFirst accepts, reads the ClientHello, and only then knows whether to dial.
func (e *Engine) acceptFirst(r *tcp.ForwarderRequest, f *flow, ruling gate.Ruling) {
	in, ok := e.accept(r, f)
	if !ok {
		return
	}
	conn := gonet.NewTCPConn(in.queue, in.ep)
	if err := conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		in.ep.Abort()
		return
	}
	f.closer(func() { in.ep.Abort() })
	taken, name, err := hello.Read(conn)
	why := ""
	if err != nil && !(ruling.WatchTLS && errors.Is(err, hello.ErrNot)) {
		why = err.Error()
	}
	ruling = e.gate.TLSName(f.conn, ruling, name, why)
	if !ruling.Allow {
		in.ep.Abort()
		return
	}
	f.setName(ruling.Name)
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		in.ep.Abort()
		return
	}
	out, err := e.dial(ruling)
	if err != nil {
		in.ep.Abort()
		return
	}
	if err = out.SetWriteDeadline(time.Now().Add(helloTimeout)); err == nil {
		_, err = out.Write(taken)
	}
	if err != nil {
		in.ep.Abort()
		out.Close()
		return
	}
	_ = out.SetWriteDeadline(time.Time{}) // the next call says so too
	f.out.Add(int64(len(taken)))
	in.spoke()
	e.splice(f, in, out)
}

// dial connects to the first address of a ruling that answers.
func (e *Engine) dial(ruling gate.Ruling) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
	defer cancel()
	var first error
	for _, a := range ruling.Dial {
		trying, done := e.pending.begin(ctx, a)
		c, err := e.dialer.TCP(trying, a, ruling.Name)
		done()
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// inside is the sandbox's half of a connection.
type inside struct {
	ep    tcpip.Endpoint
	queue *waiter.Queue
}

// accept makes the sandbox's half of a connection; its handshake may fail.
func (e *Engine) accept(r *tcp.ForwarderRequest, f *flow) (inside, bool) {
	queue := new(waiter.Queue)
	ep, err := r.CreateEndpoint(queue)
	r.Complete(false)
	if err != nil {
		return inside{}, false
	}
	e.prepare(ep, f)
	return inside{ep, queue}, true
}

// Keepalives find out that a socket in the sandbox is gone of which no packet
// tells: one that was closed while the other side had still to say something, or
// whose reset was lost, as some are when very many end at once. Who has never said
// anything is asked sooner.
const (
	keepFirst = tcpip.KeepaliveIdleOption(10 * time.Second)
	keepIdle  = tcpip.KeepaliveIdleOption(60 * time.Second)
	keepEvery = tcpip.KeepaliveIntervalOption(15 * time.Second)
)

// prepare gives a connection its share of memory.
func (e *Engine) prepare(ep tcpip.Endpoint, f *flow) {
	size := f.reserve(e.memory)
	o := ep.SocketOptions()
	if size < bufferSize {
		o.SetReceiveBufferSize(size, true)
		o.SetSendBufferSize(size, true)
	}
	o.SetKeepAlive(true)
	idle, every := keepFirst, keepEvery
	_ = ep.SetSockOpt(&idle) // there is no stack that lacks them
	_ = ep.SetSockOpt(&every)
}

// spoke is for when the sandbox has said something.
func (in inside) spoke() {
	idle := keepIdle
	_ = in.ep.SetSockOpt(&idle)
}

// connOf reads the ends of a connection: what is local to the stack is what the
// sandbox wants to reach.
func connOf(p policy.Protocol, id stack.TransportEndpointID) (source netip.AddrPort, c gate.Conn) {
	return netip.AddrPortFrom(fromTCPIP(id.RemoteAddress), id.RemotePort),
		gate.Conn{Protocol: p, Target: netip.AddrPortFrom(fromTCPIP(id.LocalAddress), id.LocalPort)}
}
