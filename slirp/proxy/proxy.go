// Package proxy makes connections by way of the host's proxy, as its programs do
// by the variables HTTPS_PROXY, ALL_PROXY and NO_PROXY.
package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
)

// Dialer connects by way of a proxy to what is neither the host's own nor private,
// and directly to the rest.
type Dialer struct {
	proxy  slirp.Proxy
	at     []string // the proxy's addresses
	direct func(netip.Addr) bool
}

// New looks the proxy up. direct says which addresses are not the proxy's
// business.
func New(ctx context.Context, p slirp.Proxy, direct func(netip.Addr) bool) (*Dialer, error) {
	host, port, err := net.SplitHostPort(p.Server)
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", p.Server, err)
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", p.Server, err)
	}
	d := &Dialer{proxy: p, direct: direct}
	for _, a := range addrs {
		d.at = append(d.at, net.JoinHostPort(a, port))
	}
	return d, nil
}

// TCP connects to an address, which was asked for by a name or by none (""). The
// proxy is told the name, if there is one.
func (d *Dialer) TCP(ctx context.Context, to netip.AddrPort, name string) (*net.TCPConn, error) {
	var dialer net.Dialer
	if d.direct(to.Addr()) || Excepted(d.proxy.Except, name, to.Addr()) {
		return tcp(dialer.DialContext(ctx, "tcp", to.String()))
	}
	var first error
	for _, at := range d.at {
		c, err := tcp(dialer.DialContext(ctx, "tcp", at))
		if err == nil {
			if err = d.greet(ctx, c, to, name); err == nil {
				return c, nil
			}
			c.Close()
		}
		if first == nil {
			first = fmt.Errorf("by the proxy %s: %w", d.proxy.Server, err)
		}
	}
	return nil, first
}

// UDP connects directly: proxies pass no datagrams on.
func (d *Dialer) UDP(to netip.AddrPort) (*net.UDPConn, error) {
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
}

func tcp(c net.Conn, err error) (*net.TCPConn, error) {
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// greet asks the proxy for a connection. It reads no byte of what comes after.
func (d *Dialer) greet(ctx context.Context, c *net.TCPConn, to netip.AddrPort, name string) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // it is given up
	var err error
	if d.proxy.Scheme == "socks5" {
		err = socks(c, to, name)
	} else {
		err = connect(c, to, name)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// maxAnswer bounds what a proxy may say before it passes data on.
const maxAnswer = 16 << 10

// connect is the method CONNECT of HTTP (RFC 9110, section 9.3.6).
func connect(c io.ReadWriter, to netip.AddrPort, name string) error {
	target := to.String()
	if name != "" {
		target = net.JoinHostPort(name, strconv.Itoa(int(to.Port())))
	}
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return err
	}
	var said []byte
	var one [1]byte
	for !bytes.HasSuffix(said, []byte("\r\n\r\n")) {
		if len(said) >= maxAnswer {
			return errors.New("it answers at too great length")
		}
		if _, err := io.ReadFull(c, one[:]); err != nil {
			return err
		}
		said = append(said, one[0])
	}
	status, _, _ := strings.Cut(string(said), "\r\n")
	if f := strings.Fields(status); len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") || len(f[1]) != 3 || f[1][0] != '2' {
		return fmt.Errorf("it answers %q", status)
	}
	return nil
}

// socks is version 5 of SOCKS (RFC 1928), without authentication.
func socks(c io.ReadWriter, to netip.AddrPort, name string) error {
	if _, err := c.Write([]byte{5, 1, 0}); err != nil {
		return err
	}
	var method [2]byte
	if _, err := io.ReadFull(c, method[:]); err != nil {
		return err
	}
	if method != [2]byte{5, 0} {
		return errors.New("it wants a password, or does not speak SOCKS 5")
	}
	request := []byte{5, 1 /* CONNECT */, 0}
	switch {
	case name != "" && len(name) < 256:
		request = append(append(request, 3, byte(len(name))), name...)
	case to.Addr().Is4():
		request = append(append(request, 1), to.Addr().AsSlice()...)
	default:
		request = append(append(request, 4), to.Addr().AsSlice()...)
	}
	if _, err := c.Write(binary.BigEndian.AppendUint16(request, to.Port())); err != nil {
		return err
	}
	var head [5]byte // up to the first byte of the address
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if head[0] != 5 || head[1] != 0 {
		return fmt.Errorf("it answers with code %d", head[1])
	}
	rest := 3 + 2
	switch head[3] {
	case 1:
	case 3:
		rest = int(head[4]) + 2
	case 4:
		rest = 15 + 2
	default:
		return fmt.Errorf("it answers with an address of kind %d", head[3])
	}
	_, err := io.ReadFull(c, make([]byte, rest))
	return err
}

// Excepted reports whether one of the entries of NO_PROXY is about a target: *, a
// name with all below it, an address or a prefix.
func Excepted(list []string, name string, a netip.Addr) bool {
	for _, e := range list {
		if p, err := netip.ParsePrefix(e); err == nil && p.Contains(a) {
			return true
		}
		if own, err := netip.ParseAddr(e); err == nil && own == a {
			return true
		}
		e = strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(e, "*."), "."))
		if e == "*" || e != "" && name != "" && (name == e || strings.HasSuffix(name, "."+e)) {
			return true
		}
	}
	return false
}
