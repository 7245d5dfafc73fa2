// Package publish listens on ports of the host and passes what comes there on to
// a sandbox.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
)

// Sandbox is where connections go to; slirp/engine has one.
type Sandbox interface {
	// ServeTCP connects to a port of the sandbox and moves data until both sides
	// are at their end. It owns the client's connection.
	ServeTCP(client *net.TCPConn, port uint16)
	// DialUDP makes a session for a client. back is called with each datagram
	// that comes for it, and may not keep it; ended once, when the session was
	// idle for too long or the sandbox is gone.
	DialUDP(client netip.AddrPort, port uint16, back func([]byte), ended func()) (Session, error)
}

// Session is what passes datagrams of one client on.
type Session interface {
	Send([]byte)
	Close()
}

// Port is one port of the host that is listened on.
type Port struct {
	publish slirp.Publish // of this one port; HostPort is never 0
	tcp     *net.TCPListener
	udp     *net.UDPConn
}

// Published is what the port is.
func (p *Port) Published() slirp.Publish { return p.publish }

// Close stops listening.
func (p *Port) Close() {
	if p.tcp != nil {
		p.tcp.Close()
	} else {
		p.udp.Close()
	}
}

// Listen opens all ports of a Publish, or none.
func Listen(p slirp.Publish) ([]*Port, error) {
	var list []*Port
	for i := range p.Ports() {
		one := p
		one.Count, one.Port = 0, p.Port+uint16(i)
		if p.HostPort != 0 {
			one.HostPort = p.HostPort + uint16(i)
		}
		port, err := listen(one)
		if err != nil {
			for _, l := range list {
				l.Close()
			}
			return nil, explain(one, err)
		}
		list = append(list, port)
	}
	return list, nil
}

// listen opens one port. "tcp4" and "tcp6" say which version is meant: "tcp"
// would be both for an unspecified address.
func listen(p slirp.Publish) (*Port, error) {
	version := "4"
	if p.Address.Is6() {
		version = "6"
	}
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	at := netip.AddrPortFrom(p.Address, p.HostPort).String()
	if p.Protocol == "tcp" {
		l, err := c.Listen(context.Background(), "tcp"+version, at)
		if err != nil {
			return nil, err
		}
		p.HostPort = uint16(l.Addr().(*net.TCPAddr).Port)
		return &Port{publish: p, tcp: l.(*net.TCPListener)}, nil
	}
	l, err := c.ListenPacket(context.Background(), "udp"+version, at)
	if err != nil {
		return nil, err
	}
	p.HostPort = uint16(l.LocalAddr().(*net.UDPAddr).Port)
	conn := l.(*net.UDPConn)
	if p.Address.IsUnspecified() {
		if err := wantTarget(conn, p.Address); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return &Port{publish: p, udp: conn}, nil
}

// explain says what to do about a port that can't be had.
func explain(p slirp.Publish, err error) error {
	what := fmt.Sprintf("publishing %s: port %d on %s", p, p.HostPort, p.Address)
	if p.From != "" {
		what = p.From + ": " + what
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another program; choose another, or 0 for any that is free: %w", what, syscall.EADDRINUSE)
	case errors.Is(err, fs.ErrPermission) && p.HostPort != 0 && int(p.HostPort) < unprivileged():
		return fmt.Errorf("%s is privileged: ports below %d are root's here (sysctl net.ipv4.ip_unprivileged_port_start); choose a higher one: %w",
			what, unprivileged(), syscall.EACCES)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: the host has no such address: %w", what, syscall.EADDRNOTAVAIL)
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%s: the host has no IPv6: %w", what, syscall.EAFNOSUPPORT)
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call
	}
	return fmt.Errorf("%s: %w", what, err)
}

// unprivileged is the first port that anybody may listen on.
func unprivileged() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return 1024
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 1024
	}
	return n
}

// Serve passes on what comes, until the port is closed.
func (p *Port) Serve(s Sandbox) {
	if p.tcp != nil {
		p.serveTCP(s)
		return
	}
	p.serveUDP(s)
}

func (p *Port) serveTCP(s Sandbox) {
	for {
		c, err := p.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many files: some will be closed
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go s.ServeTCP(c, p.publish.Port)
	}
}

// client is who sends datagrams: its address, and the one of ours that it sent to.
type client struct {
	from netip.AddrPort
	to   netip.Addr // only of a port on an unspecified address
}

func (p *Port) serveUDP(s Sandbox) {
	var mu sync.Mutex
	sessions := map[client]Session{}
	defer func() {
		mu.Lock()
		list := sessions
		sessions = map[client]Session{}
		mu.Unlock()
		for _, x := range list {
			x.Close()
		}
	}()
	buf := make([]byte, 65535)
	oob := make([]byte, 128)
	for {
		n, oobn, _, from, err := p.udp.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an answer that did not arrive
		}
		c := client{from: from, to: target(oob[:oobn])}
		mu.Lock()
		x := sessions[c]
		mu.Unlock()
		if x == nil {
			back := func(b []byte) { p.send(c, b) }
			over := false // it may be before it is in the list
			ended := func() {
				mu.Lock()
				over = true
				delete(sessions, c)
				mu.Unlock()
			}
			if x, err = s.DialUDP(from, p.publish.Port, back, ended); err != nil {
				continue // as many as there may be, or the sandbox has no such port
			}
			mu.Lock()
			if !over {
				sessions[c] = x
			}
			mu.Unlock()
		}
		x.Send(buf[:n])
	}
}

// send answers a client from the address that it sent to.
func (p *Port) send(c client, b []byte) {
	_, _, _ = p.udp.WriteMsgUDPAddrPort(b, source(c.to), c.from) // lost, as datagrams may be
}
