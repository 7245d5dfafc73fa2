package engine

import (
	"bytes"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/sbx-sandbox/sbx/slirp/dns"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// Bounds on the name server.
const (
	namesIdle    = 10 * time.Second
	maxQuestions = 512 // by UDP, under way at once
	namesFlows   = 512 // sockets that ask by UDP
)

// protocolNames counts the flows to the name server apart, so that programs that
// ask much don't use up what is there for others.
const protocolNames = policy.Protocol("dns")

// serveNames answers questions by TCP (RFC 7766).
func (e *Engine) serveNames(r *tcp.ForwarderRequest) {
	select {
	case e.dnsTCP <- struct{}{}:
		defer func() { <-e.dnsTCP }()
	default:
		r.Complete(true)
		return
	}
	queue := new(waiter.Queue)
	ep, err := r.CreateEndpoint(queue)
	r.Complete(false)
	if err != nil {
		return
	}
	ep.SocketOptions().SetReceiveBufferSize(minBuffer, true)
	conn := gonet.NewTCPConn(queue, ep)
	defer conn.Close()
	dns.Stream(e.ctx, conn, e.names.Answer)
}

// serveNamesUDP answers the questions of one socket in the sandbox.
func (e *Engine) serveNamesUDP(r *udp.ForwarderRequest, source netip.AddrPort, c gate.Conn) bool {
	f := &flow{conn: gate.Conn{Protocol: protocolNames, Target: c.Target}, source: source, own: true}
	if !e.flows.add(f, namesFlows, protocolNames) {
		return true // dropped: it will ask again
	}
	queue := new(waiter.Queue)
	ep, err := r.CreateEndpoint(queue)
	if err != nil {
		e.flows.remove(f)
		return true
	}
	go func() {
		defer e.flows.remove(f)
		done := make(chan struct{})
		idle := time.AfterFunc(namesIdle, func() { close(done) })
		defer ep.Close()
		receive(inside{ep, queue}, done, func(b []byte) bool {
			if !idle.Reset(namesIdle) {
				return false
			}
			e.question(ep, bytes.Clone(b))
			return true
		})
		idle.Stop()
	}()
	return true
}

// question answers one question; many at once, since one may wait for another's
// server, or for a person.
func (e *Engine) question(ep tcpip.Endpoint, query []byte) {
	select {
	case e.questions <- struct{}{}:
	default:
		return // dropped: it will be asked again
	}
	go func() {
		defer func() { <-e.questions }()
		if answer := e.names.Answer(e.ctx, query, false); answer != nil {
			_, _ = ep.Write(bytes.NewReader(answer), tcpip.WriteOptions{}) // lost, or nobody waits any more
		}
	}()
}
