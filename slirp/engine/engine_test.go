package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/dns"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// box is a sandbox's network stack, joined to an engine by memory. The engine's
// connections go to this host's loopback, whatever the address: who listens on a
// port there has that port on every address of the world.
type box struct {
	t      testing.TB
	stack  *stack.Stack
	engine *Engine
	gate   *gate.Gate

	mu     sync.Mutex
	events []slirp.Event
}

type loopDialer struct{}

func (loopDialer) TCP(ctx context.Context, to netip.AddrPort, name string) (*net.TCPConn, error) {
	return hostDialer{}.TCP(ctx, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port()), name)
}

func (loopDialer) UDP(to netip.AddrPort) (*net.UDPConn, error) {
	return hostDialer{}.UDP(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port()))
}

// nameTable is a name server that knows some names and pins them.
type nameTable struct {
	gate  *gate.Gate
	names map[string]string
}

func (n nameTable) Answer(ctx context.Context, query []byte, tcp bool) []byte {
	q := new(mdns.Msg)
	if q.Unpack(query) != nil {
		return nil
	}
	r := new(mdns.Msg)
	r.SetReply(q)
	name := strings.TrimSuffix(q.Question[0].Name, ".")
	a, ok := n.names[name]
	if !ok || !n.gate.Resolves(ctx, name, "A").Allow || !n.gate.Pin(name, netip.MustParseAddr(a)) {
		r.Rcode = mdns.RcodeNameError
	} else {
		r.Answer = []mdns.RR{&mdns.A{Hdr: mdns.RR_Header{Name: q.Question[0].Name, Rrtype: mdns.TypeA, Class: 1, Ttl: 5}, A: net.ParseIP(a)}}
	}
	out, _ := r.Pack()
	return out
}

var worldNames = map[string]string{"allowed.example": "198.51.100.10", "other.example": "198.51.100.10", "lan.example": "192.168.1.1"}

// newBox makes a sandbox with a policy.
func newBox(t testing.TB, c slirp.Config, rules ...string) *box {
	t.Helper()
	var list []policy.Rule
	for _, text := range rules {
		r, err := policy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	b := &box{t: t}
	c.Protocol, c.IPv4, c.IPv6, c.MTU = slirp.Protocol, slirp.Default4, slirp.Default6, slirp.DefaultMTU
	onDeny := c.Policy.OnDeny
	c.Policy = policy.New(list, nil)
	c.Policy.OnDeny = onDeny
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b.gate = gate.New(gate.Options{
		Policy: c.Policy, HostPorts: c.HostPorts, Report: b.report, Hold: 300 * time.Millisecond,
		Own: policy.Own{
			Subnets:  []netip.Prefix{c.IPv4.Address.Masked(), c.IPv6.Address.Masked()},
			Gateways: []netip.Addr{c.IPv4.Gateway, c.IPv6.Gateway},
		},
		Changed: func() { b.engine.Recheck() },
	})
	ours, theirs := pipe.New("", "", slirp.DefaultMTU)
	var err error
	b.engine, err = New(theirs, Options{Config: &c, Gate: b.gate, Names: nameTable{b.gate, worldNames}, Report: b.report, Dial: loopDialer{}})
	if err != nil {
		t.Fatal(err)
	}
	b.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := b.stack.CreateNIC(1, ours); err != nil {
		t.Fatal(err)
	}
	for _, a := range []slirp.Addr{c.IPv4, c.IPv6} {
		p := tcpip.ProtocolAddress{Protocol: protocolOf(a.Gateway), AddressWithPrefix: tcpip.AddressWithPrefix{
			Address: tcpip.AddrFromSlice(a.Address.Addr().AsSlice()), PrefixLen: a.Address.Bits()}}
		if err := b.stack.AddProtocolAddress(1, p, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	b.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
	t.Cleanup(func() {
		b.engine.Close()
		b.stack.Close()
	})
	return b
}

func (b *box) report(e slirp.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// has reports whether there was such an event.
func (b *box) has(kind slirp.EventKind, text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Event == kind && strings.Contains(e.Reason+e.Message+" "+e.Add+" "+e.Rule, text) {
			return true
		}
	}
	return false
}

func (b *box) dial(to string) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	a := netip.MustParseAddrPort(to)
	return gonet.DialContextTCP(ctx, b.stack, full(a), protocolOf(a.Addr()))
}

func (b *box) mustDial(to string) *gonet.TCPConn {
	b.t.Helper()
	c, err := b.dial(to)
	if err != nil {
		b.t.Fatalf("dial %s: %v", to, err)
	}
	b.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *box) dialUDP(to string) *gonet.UDPConn {
	b.t.Helper()
	a := netip.MustParseAddrPort(to)
	at := full(a)
	c, err := gonet.DialUDP(b.stack, nil, &at, protocolOf(a.Addr()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// resolve asks the name server, so that the name is pinned.
func (b *box) resolve(name string) {
	b.t.Helper()
	q := new(mdns.Msg)
	q.SetQuestion(name+".", mdns.TypeA)
	out, _ := q.Pack()
	c := b.dialUDP("10.0.2.2:53")
	if _, err := c.Write(out); err != nil {
		b.t.Fatal(err)
	}
	in := make([]byte, 1500)
	n, err := c.Read(in)
	if err != nil {
		b.t.Fatalf("asking for %s: %v", name, err)
	}
	r := new(mdns.Msg)
	if err := r.Unpack(in[:n]); err != nil || len(r.Answer) == 0 {
		b.t.Fatalf("asking for %s: %v %v", name, r, err)
	}
}

// serve listens on this host and returns the port.
func serve(t testing.TB, do func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				do(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// early is a link on which a packet came before anybody read.
type early struct {
	*channel.Endpoint
	first []byte
}

func (l early) Attach(d stack.NetworkDispatcher) {
	l.Endpoint.Attach(d)
	if d != nil {
		deliver(d, buffer.NewViewWithData(l.first))
	}
}

// TestEarly: what waits in the device when the engine comes is answered.
func TestEarly(t *testing.T) {
	c := slirp.Config{IPv4: slirp.Default4, IPv6: slirp.Default6}
	syn := make(header.TCP, header.TCPMinimumSize)
	syn.Encode(&header.TCPFields{SrcPort: 1000, DstPort: 80, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
	for _, to := range []string{"198.51.100.1", "2001:db8::1"} {
		from := "10.0.2.100"
		if strings.Contains(to, ":") {
			from = "fd53:6278::64"
		}
		link := early{channel.New(8, slirp.DefaultMTU, ""), packet(from, to, header.TCPProtocolNumber, syn)}
		link.LinkEPCapabilities = stack.CapabilityRXChecksumOffload // the packet has no checksum
		e, err := New(link, Options{Config: &c, Gate: gate.New(gate.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		p := link.ReadContext(ctx)
		cancel()
		if p == nil {
			t.Errorf("the first packet to %s is not answered", to)
		} else {
			p.DecRef()
		}
		e.Close()
	}
}

func echo(c *net.TCPConn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

func TestTCP(t *testing.T) {
	port := serve(t, echo)
	b := newBox(t, slirp.Config{}, "198.51.100.0/24:"+port, "[2001:db8::]/32:"+port)
	for _, a := range []string{"198.51.100.10:", "[2001:db8::10]:"} {
		c := b.mustDial(a + port)
		sent := make([]byte, 3<<20)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: %d bytes of %d came back, %v", a, len(got), len(sent), err)
		}
	}
	began := time.Now()
	for _, a := range []string{"198.51.101.10:" + port, "198.51.100.10:1", "10.0.2.2:" + port, "10.0.2.3:" + port, "[2001:db9::1]:" + port} {
		if c, err := b.dial(a); err == nil {
			c.Close()
			t.Errorf("%s was reached", a)
		} else if !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v, want a refusal", a, err)
		}
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("five refusals took %s", d)
	}
	if !b.has(slirp.EventDenied, "198.51.101.10:"+port) || !b.has(slirp.EventDenied, "@host:"+port) {
		t.Errorf("events: %+v", b.events)
	}
}

// TestPingInFragments: an echo request in fragments is not answered in the place of
// whom it asks. (Of IPv4 it is dropped as well; TestUDP has fragments that pass.)
func TestPingInFragments(t *testing.T) {
	c := slirp.Config{IPv4: slirp.Default4, IPv6: slirp.Default6}
	link := channel.New(64, slirp.DefaultMTU, "")
	e, err := New(link, Options{Config: &c, Gate: gate.New(gate.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const from, to = "fd53:6278::64", "2001:db8::1"
	ping := append([]byte{byte(header.ICMPv6EchoRequest), 0, 0, 0, 0, 1, 0, 1}, make([]byte, 16)...)
	address := func(a string) tcpip.Address { return tcpip.AddrFromSlice(netip.MustParseAddr(a).AsSlice()) }
	sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, address(from), address(to), uint16(len(ping)))
	binary.BigEndian.PutUint16(ping[2:], ^checksum.Checksum(ping, sum))
	fragment := func(id byte, offset uint16, more byte, part []byte) []byte {
		head := []byte{byte(header.ICMPv6ProtocolNumber), 0, byte(offset >> 8), byte(offset) | more, 0, 0, 0, id}
		return packet(from, to, tcpip.TransportProtocolNumber(header.IPv6FragmentExtHdrIdentifier), append(head, part...))
	}
	send(link, fragment(1, 0, 1, ping[:16]))
	send(link, fragment(1, 16, 0, ping[16:]))
	send(link, fragment(2, 0, 0, ping)) // all of it in one
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		p := link.Read()
		if p == nil {
			continue
		}
		b := p.ToView()
		p.DecRef()
		if s := b.AsSlice(); len(s) > 40 && s[40] == byte(header.ICMPv6EchoReply) {
			t.Fatalf("%s is said to have answered", to)
		}
	}
}

// TestHalfClose: each side may end its half and go on hearing the other.
func TestHalfClose(t *testing.T) {
	port := serve(t, func(c *net.TCPConn) {
		_ = c.CloseWrite() // first the host's half
		got, _ := io.ReadAll(c)
		if string(got) != "after the end" {
			t.Errorf("the host got %q", got)
		}
	})
	port2 := serve(t, func(c *net.TCPConn) {
		got, _ := io.ReadAll(c)
		_, _ = c.Write(append([]byte("heard "), got...))
	})
	b := newBox(t, slirp.Config{}, "198.51.100.0/24")
	c := b.mustDial("198.51.100.10:" + port)
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if _, err := c.Write([]byte("after the end")); err != nil {
		t.Error(err)
	}
	c.Close()
	c = b.mustDial("198.51.100.10:" + port2)
	if _, err := c.Write([]byte("you")); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "heard you" {
		t.Errorf("%q, %v", got, err)
	}
	waitFlows(t, b, 0)
}

// TestReset: a reset of one side is one for the other.
func TestReset(t *testing.T) {
	heard := make(chan error, 1)
	port := serve(t, func(c *net.TCPConn) {
		b := make([]byte, 10)
		_, _ = c.Read(b)
		if b[0] == 'r' {
			_ = c.SetLinger(0)
			return
		}
		_, _ = c.Write(b[:1])
		_, err := c.Read(b)
		heard <- err
	})
	b := newBox(t, slirp.Config{}, "198.51.100.0/24")
	c := b.mustDial("198.51.100.10:" + port)
	if _, err := c.Write([]byte("r")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the sandbox heard %v, want a reset", err)
	}
	c = b.mustDial("198.51.100.10:" + port)
	if _, err := c.Write([]byte("w")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	waitFlows(t, b, 1)
	b.engine.flows.all()[0].close() // as a rule does that forbids it
	if err := <-heard; err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the host heard %v, want a reset", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the sandbox heard %v, want a reset", err)
	}
}

// TestResetAfterEnd: who has ended its half and is then gone altogether holds nothing,
// however long the other side says nothing and does not end.
func TestResetAfterEnd(t *testing.T) {
	ended, leave := make(chan struct{}), make(chan struct{})
	port := serve(t, func(c *net.TCPConn) {
		_, _ = io.ReadAll(c)
		close(ended)
		<-leave
	})
	defer close(leave)
	b := newBox(t, slirp.Config{}, "198.51.100.0/24")
	queue := new(waiter.Queue)
	ep, err := b.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, queue)
	if err != nil {
		t.Fatal(err)
	}
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&entry)
	_ = ep.Connect(full(netip.MustParseAddrPort("198.51.100.10:" + port)))
	<-writable
	if err := ep.Shutdown(tcpip.ShutdownWrite); err != nil {
		t.Fatal(err)
	}
	<-ended
	waitFlows(t, b, 1)
	ep.Abort()
	waitFlows(t, b, 0)
}

func waitFlows(t *testing.T, b *box, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); len(b.engine.Flows()) != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there are %d flows, want %d: %+v", len(b.engine.Flows()), n, b.engine.Flows())
		}
	}
}

// clientHello is what a TLS client sends first.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go func() { _ = tls.Client(b, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake() }()
	head := make([]byte, 5)
	if _, err := io.ReadFull(a, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(a, body); err != nil {
		t.Fatal(err)
	}
	b.Close()
	return append(head, body...)
}

func TestTLSNames(t *testing.T) {
	// Port 443 is not ours to listen on: the dialler of this box knows better.
	port := serve(t, echo)
	b := newBox(t, slirp.Config{}, "allowed.example:443", "198.51.100.99:443")
	b.engine.dialer = portDialer(port)
	b.resolve("allowed.example")
	good, bad, none := clientHello(t, "allowed.example"), clientHello(t, "other.example"), clientHello(t, "198.51.100.10")
	for _, tt := range []struct {
		name   string
		to     string
		pieces [][]byte
		want   bool
	}{
		{"allowed", "198.51.100.10:443", [][]byte{good}, true},
		{"allowed in pieces", "198.51.100.10:443", [][]byte{good[:3], good[3:50], good[50:]}, true},
		{"another name", "198.51.100.10:443", [][]byte{bad}, false},
		{"no name", "198.51.100.10:443", [][]byte{none}, false},
		{"no TLS", "198.51.100.10:443", [][]byte{[]byte("GET / HTTP/1.0\r\n\r\n")}, false},
		{"an address that is allowed itself", "198.51.100.99:443", [][]byte{bad}, true},
	} {
		c := b.mustDial(tt.to)
		for _, p := range tt.pieces {
			if _, err := c.Write(p); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		whole := bytes.Join(tt.pieces, nil)
		got := make([]byte, len(whole))
		_, err := io.ReadFull(c, got)
		if (err == nil) != tt.want || tt.want && !bytes.Equal(got, whole) {
			t.Errorf("%s: %v", tt.name, err)
		}
		c.Close()
	}
	if !b.has(slirp.EventDenied, "other.example:443") {
		t.Errorf("events: %+v", b.events)
	}
}

// portDialer goes to one port of this host, whatever the address.
type portDialer string

func (p portDialer) TCP(ctx context.Context, _ netip.AddrPort, name string) (*net.TCPConn, error) {
	return hostDialer{}.TCP(ctx, netip.MustParseAddrPort("127.0.0.1:"+string(p)), name)
}

func (p portDialer) UDP(netip.AddrPort) (*net.UDPConn, error) {
	return hostDialer{}.UDP(netip.MustParseAddrPort("127.0.0.1:" + string(p)))
}

func echoUDP(t testing.TB) string {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 65535)
		for {
			n, a, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], a)
		}
	}()
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	return port
}

func TestUDP(t *testing.T) {
	port := echoUDP(t)
	b := newBox(t, slirp.Config{Limits: slirp.Limits{UDPIdle: 200 * time.Millisecond, UDPFlows: 2}}, "udp://198.51.100.0/24", "udp://[2001:db8::]/32")
	for _, a := range []string{"198.51.100.10:", "[2001:db8::10]:"} {
		c := b.dialUDP(a + port)
		for _, size := range []int{0, 1, 1400, 9000, 60000} { // the larger in fragments
			sent := bytes.Repeat([]byte{7}, size)
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 65535)
			n, err := c.Read(got)
			if err != nil || n != size {
				t.Errorf("%s: %d bytes: %d came back, %v", a, size, n, err)
			}
		}
	}
	waitFlows(t, b, 0)                                                        // idle
	for _, to := range []string{"198.51.101.10:" + port, "198.51.100.10:1"} { // denied, and nobody there
		c := b.dialUDP(to)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // gonet's Read does not wake for an error
		if _, err := c.Read(make([]byte, 10)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v, want a refusal", to, err)
		}
	}
	waitFlows(t, b, 0)
	for i := range 3 {
		c := b.dialUDP("198.51.100.10:" + port)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 10)); (err == nil) != (i < 2) {
			t.Errorf("flow %d of two: %v", i+1, err)
		}
	}
	if !b.has(slirp.EventLimit, "2 UDP flows") {
		t.Errorf("events: %+v", b.events)
	}
}

func TestNames(t *testing.T) {
	port := serve(t, echo)
	b := newBox(t, slirp.Config{}, "allowed.example:"+port)
	if c, err := b.dial("198.51.100.10:" + port); err == nil {
		c.Close()
		t.Error("reached before it was resolved")
	}
	b.resolve("allowed.example")
	b.mustDial("198.51.100.10:" + port)
	// By TCP, and of a server that is no server of ours.
	c := b.mustDial("203.0.113.53:53")
	q := new(mdns.Msg)
	q.SetQuestion("other.example.", mdns.TypeA)
	conn := &mdns.Conn{Conn: tcpNet{c}}
	if err := conn.WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	r, err := conn.ReadMsg()
	if err != nil || r.Rcode != mdns.RcodeNameError {
		t.Errorf("%v, %v", r, err)
	}
}

// tcpNet has mdns see that it is TCP.
type tcpNet struct{ *gonet.TCPConn }

func TestFlowLimit(t *testing.T) {
	port := serve(t, echo)
	b := newBox(t, slirp.Config{Limits: slirp.Limits{Flows: 3}}, "198.51.100.0/24")
	var list []*gonet.TCPConn
	for range 3 {
		list = append(list, b.mustDial("198.51.100.10:"+port))
	}
	if c, err := b.dial("198.51.100.10:" + port); err == nil {
		c.Close()
		t.Error("a fourth connection of three")
	}
	if !b.has(slirp.EventLimit, "3 TCP connections") {
		t.Errorf("events: %+v", b.events)
	}
	for _, c := range list {
		c.Close()
	}
	waitFlows(t, b, 0)
	b.mustDial("198.51.100.10:" + port)
}

// TestRules: rules that come later allow at once, and end what they forbid.
func TestRules(t *testing.T) {
	port := serve(t, echo)
	b := newBox(t, slirp.Config{})
	if _, err := b.dial("198.51.100.10:" + port); err == nil {
		t.Error("reached without a rule")
	}
	rule := "198.51.100.10:" + port
	if err := b.gate.Add(rule, true, 0); err != nil {
		t.Fatal(err)
	}
	c := b.mustDial("198.51.100.10:" + port)
	waitFlows(t, b, 1)
	if f := b.engine.Flows()[0]; f.Rule != rule || f.Protocol != "tcp" || f.Target.String() != rule {
		t.Errorf("flow %+v", f)
	}
	if err := b.gate.Add(rule, false, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("what is now denied goes on")
	}
	waitFlows(t, b, 0)
	if err := b.gate.Add(rule, true, 150*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	c = b.mustDial("198.51.100.10:" + port)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("what was allowed for a while goes on")
	}
}

func TestAsk(t *testing.T) {
	port := serve(t, echo)
	b := newBox(t, slirp.Config{Policy: policy.Policy{OnDeny: "ask"}})
	began := time.Now()
	if _, err := b.dial("198.51.100.10:" + port); err == nil {
		t.Error("reached without an answer")
	}
	if d := time.Since(began); d < 250*time.Millisecond {
		t.Errorf("nobody was waited for: %s", d)
	}
	go func() {
		for range 100 {
			time.Sleep(5 * time.Millisecond)
			b.mu.Lock()
			last := b.events[len(b.events)-1]
			b.mu.Unlock()
			if last.Event == slirp.EventAsk && last.Add == "198.51.100.11:"+port {
				_ = b.gate.Answer(last.ID, true)
				return
			}
		}
	}()
	b.mustDial("198.51.100.11:" + port)
	b.mustDial("198.51.100.11:" + port) // not asked again
}

// TestAskPing: of echo requests only so many wait for an answer, however many come.
func TestAskPing(t *testing.T) {
	b := newBox(t, slirp.Config{Policy: policy.Policy{OnDeny: "ask"}})
	const to = "198.51.100.10"
	message := []byte{byte(header.ICMPv4Echo), 0, 0, 0, 0, 7, 0, 1}
	before := runtime.NumGoroutine()
	for range 20 * maxPings {
		b.engine.pings.request(packet("10.0.2.100", to, header.ICMPv4ProtocolNumber, message), header.IPv4MinimumSize, netip.MustParseAddr(to))
	}
	if n := runtime.NumGoroutine() - before; n > maxPings {
		t.Errorf("%d goroutines wait for one answer", n)
	}
	for end := time.Now().Add(20 * time.Second); !b.has(slirp.EventAsk, ""); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody is asked")
		}
	}
}

// TestHostPorts: a service of the host's at the gateway.
func TestHostPorts(t *testing.T) {
	port := serve(t, echo)
	n := netip.MustParseAddrPort("127.0.0.1:" + port).Port()
	b := newBox(t, slirp.Config{HostPorts: []slirp.HostPort{{Protocol: "tcp", Port: 7777, HostPort: n}}})
	b.mustDial("10.0.2.2:7777")
	b.mustDial("[fd53:6278::2]:7777")
	if c, err := b.dial("10.0.2.2:" + port); err == nil {
		c.Close()
		t.Error("another port of the host's was reached")
	}
}

// TestPublish: clients of the host reach the sandbox, which sees who they are.
func TestPublish(t *testing.T) {
	b := newBox(t, slirp.Config{})
	l, err := gonet.ListenTCP(b.stack, tcpip.FullAddress{Port: 80}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from <- c.RemoteAddr().String()
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	clients := make(chan *net.TCPConn, 1)
	at := serve(t, func(c *net.TCPConn) { clients <- c; time.Sleep(time.Second) })
	c, err := net.Dial("tcp", "127.0.0.1:"+at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go b.engine.ServeTCP(<-clients, 80)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if a := <-from; !strings.HasPrefix(a, "10.0.2.2:") {
		t.Errorf("a client on the host's loopback is seen as %s", a)
	}
	for _, tt := range []struct{ client, source, target string }{
		{"192.0.2.7:1234", "192.0.2.7:1234", "10.0.2.100:80"},
		{"10.0.2.15:1234", "10.0.2.2:0", "10.0.2.100:80"}, // an address that the sandbox takes for its neighbour's
		{"127.0.0.1:1", "10.0.2.2:0", "10.0.2.100:80"},
		{"[::1]:1", "[fd53:6278::2]:0", "[fd53:6278::64]:80"},
		{"[2001:db8::7]:99", "[2001:db8::7]:99", "[fd53:6278::64]:80"},
	} {
		source, target, ok := b.engine.ends(netip.MustParseAddrPort(tt.client), 80)
		if !ok || source.String() != tt.source || target.String() != tt.target {
			t.Errorf("%s is seen as %s at %s", tt.client, source, target)
		}
	}
	// The address is kept.
	f := &flow{}
	in, err := b.engine.connect(context.Background(), f, netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("10.0.2.100:80"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.ep.Abort()
	if a := <-from; a != "192.0.2.7:1234" {
		t.Errorf("192.0.2.7:1234 is seen as %s", a)
	}
	if _, err := b.engine.connect(context.Background(), &flow{}, netip.MustParseAddrPort("192.0.2.7:1"), netip.MustParseAddrPort("10.0.2.100:81")); err == nil {
		t.Error("a port where nobody listens accepts")
	}
}

func TestPublishUDP(t *testing.T) {
	b := newBox(t, slirp.Config{Limits: slirp.Limits{UDPIdle: 200 * time.Millisecond}})
	at := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(slirp.Default4.Address.Addr().AsSlice()), Port: 53}
	s, err := gonet.DialUDP(b.stack, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		buf := make([]byte, 1000)
		for {
			n, a, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = s.WriteTo(append([]byte(a.String()+" "), buf[:n]...), a)
		}
	}()
	got := make(chan string, 1)
	ended := make(chan struct{})
	x, err := b.engine.DialUDP(netip.MustParseAddrPort("192.0.2.7:1234"), 53, func(b []byte) { got <- string(b) }, func() { close(ended) })
	if err != nil {
		t.Fatal(err)
	}
	x.Send([]byte("hi"))
	if s := <-got; s != "192.0.2.7:1234 hi" {
		t.Errorf("%q", s)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the session is still there")
	}
}

// TestNothingLeft: connections, however they end, leave no goroutine.
func TestNothingLeft(t *testing.T) {
	port := serve(t, echo)
	b := newBox(t, slirp.Config{}, "198.51.100.0/24")
	b.mustDial("198.51.100.10:" + port).Close()
	waitFlows(t, b, 0)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			c, err := b.dial("198.51.100.10:" + port)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = c.Write([]byte("x"))
			if i%2 == 0 {
				_, _ = c.Read(make([]byte, 1))
			}
			c.Close()
		})
	}
	wg.Wait()
	waitFlows(t, b, 0)
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before+5; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	b.engine.memory.mu.Lock()
	defer b.engine.memory.mu.Unlock()
	if left := b.engine.memory.left; left != b.engine.limits.Memory {
		t.Errorf("%d bytes of the budget are not given back", b.engine.limits.Memory-left)
	}
}

func TestBudget(t *testing.T) {
	b := newBudget(128 << 20)
	var total int64
	var sizes []int64
	for range 4096 {
		s := b.take()
		sizes = append(sizes, s)
		total += 2 * s
	}
	if sizes[0] != bufferSize || sizes[4095] != minBuffer {
		t.Errorf("the first gets %d, the last %d", sizes[0], sizes[4095])
	}
	if total > 128<<20+4096*2*minBuffer {
		t.Errorf("%d connections get %d bytes", len(sizes), total)
	}
	for _, s := range sizes {
		b.give(s)
	}
	if b.left != 128<<20 {
		t.Errorf("%d bytes are left", b.left)
	}
}

func TestBucket(t *testing.T) {
	if newBucket(0).pay(1<<30) != 0 {
		t.Error("no limit is one")
	}
	b := newBucket(1000)
	if d := b.pay(500); d < 450*time.Millisecond || d > 500*time.Millisecond {
		t.Errorf("500 bytes at 1000 a second take %s", d)
	}
	if d := b.pay(500); d < 900*time.Millisecond || d > time.Second {
		t.Errorf("500 more take %s", d)
	}
	done := make(chan struct{})
	close(done)
	if b.take(1000, done) {
		t.Error("done is not heard")
	}
}

func TestRate(t *testing.T) {
	port := serve(t, echo)
	b := newBox(t, slirp.Config{Rate: 1 << 20}, "198.51.100.0/24")
	c := b.mustDial("198.51.100.10:" + port)
	sent := make([]byte, 512<<10)
	began := time.Now()
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || len(got) != len(sent) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("half a MiB at one MiB a second took %s", d)
	}
}

// The name server proper is a Names.
var _ Names = (*dns.Server)(nil)
