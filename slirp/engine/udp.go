package engine

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// handleUDP takes a packet that belongs to no flow. False has the stack answer
// that the port is unreachable. It is called while packets wait, and so must not.
func (e *Engine) handleUDP(r *udp.ForwarderRequest) bool {
	source, c := connOf(policy.UDP, r.ID())
	if e.nameServer(c) {
		return e.serveNamesUDP(r, source, c)
	}
	ruling := e.gate.JudgeNow(c)
	if ruling.Waits {
		select {
		case e.udpWaits <- struct{}{}:
		default:
			return false
		}
		go func() {
			ruling := e.gate.Judge(e.ctx, c)
			<-e.udpWaits
			if !ruling.Allow || !e.startUDP(r, source, c, ruling) {
				e.udpError(source, c.Target)
			}
		}()
		return true
	}
	return ruling.Allow && e.startUDP(r, source, c, ruling)
}

// startUDP makes a flow of a packet that is allowed.
func (e *Engine) startUDP(r *udp.ForwarderRequest, source netip.AddrPort, c gate.Conn, ruling gate.Ruling) bool {
	f := &flow{conn: c, source: source, name: ruling.Name, rule: ruling.RuleText(), once: ruling.Once}
	if !e.flows.add(f, e.limits.UDPFlows, policy.UDP) {
		e.limit("UDP flows", e.limits.UDPFlows)
		return false
	}
	queue := new(waiter.Queue)
	ep, err := r.CreateEndpoint(queue)
	if err != nil {
		e.flows.remove(f)
		return false
	}
	go func() {
		defer e.flows.remove(f)
		out, err := e.dialer.UDP(ruling.Dial[0])
		if err != nil {
			ep.Close()
			e.udpError(source, c.Target)
			return
		}
		e.relay(f, inside{ep, queue}, out)
	}()
	return true
}

// relay moves the packets of a flow until there were none for a while.
func (e *Engine) relay(f *flow, in inside, out *net.UDPConn) {
	done := make(chan struct{})
	var once sync.Once
	end := func() {
		once.Do(func() {
			close(done)
			in.ep.Close()
			out.Close()
		})
	}
	f.closer(end)
	idle := time.AfterFunc(e.limits.UDPIdle, end)
	defer idle.Stop()
	alive := func() { idle.Reset(e.limits.UDPIdle) }
	var wg sync.WaitGroup
	wg.Go(func() {
		defer end()
		receive(in, done, func(b []byte) bool {
			alive()
			f.out.Add(int64(len(b)))
			_, err := out.Write(b)
			e.refused(f, err)
			return e.out.take(int64(len(b)), done)
		})
	})
	e.relayBack(f, in, out, alive, done)
	end()
	wg.Wait()
}

// relayBack passes on what comes for the sandbox.
func (e *Engine) relayBack(f *flow, in inside, out *net.UDPConn, alive func(), done <-chan struct{}) {
	conn, err := out.SyscallConn()
	if err != nil {
		return
	}
	for {
		n, b, err := readPacket(conn)
		if err == nil {
			alive()
			f.in.Add(int64(n))
			_, _ = in.ep.Write(bytes.NewReader((*b)[:n]), tcpip.WriteOptions{}) // full: lost
		}
		if b != nil {
			packets.put(b)
		}
		if err != nil && !e.refused(f, err) || !e.in.take(int64(n), done) {
			return
		}
	}
}

// refused passes an error on to the sandbox that means nobody listens. The flow
// lives on: somebody may.
func (e *Engine) refused(f *flow, err error) bool {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	e.udpError(f.source, f.conn.Target)
	return true
}

// receive hands each packet that comes from the sandbox to a function, until
// that is false, or done, or the endpoint is closed.
func receive(in inside, done <-chan struct{}, take func([]byte) bool) {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	in.queue.EventRegister(&entry)
	defer in.queue.EventUnregister(&entry)
	for {
		b := packets.get()
		w := tcpip.SliceWriter(*b)
		res, err := in.ep.Read(&w, tcpip.ReadOptions{})
		goOn := true
		if err == nil {
			goOn = take((*b)[:res.Count])
		}
		packets.put(b)
		switch err.(type) {
		case nil:
			if !goOn {
				return
			}
		case *tcpip.ErrWouldBlock:
			select {
			case <-readable:
			case <-done:
				return
			}
		case *tcpip.ErrConnectionRefused, *tcpip.ErrNetworkUnreachable, *tcpip.ErrHostUnreachable:
			// The sandbox closed its socket; one there may take its place.
		default:
			return
		}
	}
}

// readPacket waits for a packet and takes a buffer only when there is one.
func readPacket(conn syscall.RawConn) (n int, b *[]byte, err error) {
	closed := conn.Read(func(fd uintptr) bool {
		b = packets.get()
		n, err = unix.Read(int(fd), *b)
		if err == unix.EAGAIN || err == unix.EINTR {
			packets.put(b)
			b = nil
			return false
		}
		return true
	})
	if closed != nil {
		return 0, b, closed
	}
	return max(n, 0), b, err
}

// packets are buffers for one packet each.
var packets = pool{}

type pool struct{ p sync.Pool }

func (p *pool) get() *[]byte {
	if b, ok := p.p.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, maxPacket)
	return &b
}

func (p *pool) put(b *[]byte) { p.p.Put(b) }
