package engine

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// packet is one of IP with a header and a body.
func packet(from, to string, protocol tcpip.TransportProtocolNumber, body []byte) []byte {
	return append(ipHeader(netip.MustParseAddr(from), netip.MustParseAddr(to), protocol, len(body)), body...)
}

// FuzzPacket: whatever the sandbox writes to its device, the engine lives, passes
// nothing on that the policy does not allow, and goes on answering.
func FuzzPacket(f *testing.F) {
	syn := make(header.TCP, header.TCPMinimumSize)
	syn.Encode(&header.TCPFields{SrcPort: 1000, DstPort: 80, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
	dgram := append(make(header.UDP, header.UDPMinimumSize), "hello"...)
	header.UDP(dgram).Encode(&header.UDPFields{SrcPort: 1000, DstPort: 80, Length: uint16(len(dgram))})
	ping := []byte{8, 0, 0, 0, 0, 1, 0, 1, 'h', 'i'}
	ping6 := []byte{128, 0, 0, 0, 0, 1, 0, 1, 'h', 'i'}
	for _, p := range [][]byte{
		packet("10.0.2.100", "198.51.100.1", header.TCPProtocolNumber, syn),
		packet("10.0.2.100", "198.51.100.1", header.UDPProtocolNumber, dgram),
		packet("10.0.2.100", "127.0.0.1", header.UDPProtocolNumber, dgram),
		packet("10.0.2.100", "10.0.2.2", header.ICMPv4ProtocolNumber, ping),
		packet("10.0.2.100", "198.51.100.1", header.ICMPv4ProtocolNumber, ping),
		packet("10.0.2.100", "198.51.100.1", 132, []byte{1, 2, 3, 4}),
		packet("fd53:6278::64", "2001:db8::1", header.TCPProtocolNumber, syn),
		packet("fd53:6278::64", "2001:db8::1", header.UDPProtocolNumber, dgram),
		packet("fd53:6278::64", "2001:db8::1", header.ICMPv6ProtocolNumber, ping6),
		packet("fd53:6278::64", "ff02::2", 0, []byte{58, 0, 5, 2, 0, 0, 1, 0, 131, 0, 0, 0}),
		packet("fd53:6278::64", "2001:db8::1", 44, append([]byte{17, 0, 0, 1, 0, 0, 0, 1}, dgram...)),
		{0x45}, {0x60}, {0}, {},
	} {
		f.Add(p)
	}
	c := slirp.Config{IPv4: slirp.Default4, IPv6: slirp.Default6}
	g := gate.New(gate.Options{Policy: policy.Policy{}, Own: policy.Own{
		Subnets:  []netip.Prefix{slirp.Default4.Address.Masked(), slirp.Default6.Address.Masked()},
		Gateways: []netip.Addr{slirp.Default4.Gateway, slirp.Default6.Gateway},
	}})
	link := channel.New(64, slirp.DefaultMTU, "")
	Quiet()
	e, err := New(link, Options{Config: &c, Gate: g})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(e.Close)
	f.Fuzz(func(t *testing.T, b []byte) {
		send(link, b)
		if n := len(e.flows.all()); n > 0 {
			t.Fatalf("%d flows without a rule", n)
		}
		link.Drain()
		send(link, packet("10.0.2.100", "10.0.2.2", header.ICMPv4ProtocolNumber, echoRequest()))
		for end := time.Now().Add(5 * time.Second); ; {
			if p := link.Read(); p != nil {
				v := p.ToView()
				p.DecRef()
				if s := v.AsSlice(); len(s) >= 28 && s[20] == 0 && bytes.HasSuffix(s, []byte("alive?")) {
					return
				}
			} else if time.Now().After(end) {
				t.Fatal("the engine does not answer any more")
			}
		}
	})
}

// echoRequest is one with its checksum.
func echoRequest() []byte {
	b := append([]byte{8, 0, 0, 0, 0, 9, 0, 9}, "alive?"...)
	binary.BigEndian.PutUint16(b[2:], header.ICMPv4Checksum(header.ICMPv4(b), 0))
	return b
}

// send hands over bytes as the device does what it reads.
func send(link *channel.Endpoint, b []byte) {
	if len(b) == 0 {
		return
	}
	deliver(injector{link}, buffer.NewViewWithData(bytes.Clone(b)))
}

// injector is a dispatcher that gives to a link what comes.
type injector struct{ link *channel.Endpoint }

func (i injector) DeliverNetworkPacket(p tcpip.NetworkProtocolNumber, b *stack.PacketBuffer) {
	i.link.InjectInbound(p, b)
}

func (injector) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// FuzzVNet: the header of every packet agrees with the packet.
func FuzzVNet(f *testing.F) {
	f.Add(uint16(20), uint16(20), uint16(1000), uint16(1460), byte(stack.GSOTCPv4), true)
	f.Add(uint16(40), uint16(32), uint16(60000), uint16(1440), byte(stack.GSOTCPv6), true)
	f.Add(uint16(20), uint16(8), uint16(10), uint16(0), byte(stack.GSONone), false)
	f.Fuzz(func(t *testing.T, network, transport, data, mss uint16, kind byte, sum bool) {
		network, transport = network%60, transport%60
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(network + transport), Payload: buffer.MakeWithData(make([]byte, data))})
		defer p.DecRef()
		p.TransportHeader().Push(int(transport))
		p.NetworkHeader().Push(int(network))
		p.GSOOptions = stack.GSO{Type: stack.GSOType(kind % 3), NeedsCsum: sum, CsumOffset: header.TCPChecksumOffset, MSS: mss}
		h := [vnetLen]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10} // of the packet before
		putVNet(&h, p)
		flags, gso := h[0], h[1]
		headers, size, start := binary.LittleEndian.Uint16(h[2:]), binary.LittleEndian.Uint16(h[4:]), binary.LittleEndian.Uint16(h[6:])
		none := p.GSOOptions.Type == stack.GSONone
		switch {
		case none && h != [vnetLen]byte{}:
			t.Errorf("a packet that is whole has header %v", h)
		case flags&vnetNeedsChecksum != 0 && start != network:
			t.Errorf("the checksum starts at %d of %d", start, network)
		case gso != 0 && (headers != network+transport || size != mss || data <= mss):
			t.Errorf("header %v for %d+%d+%d by %d", h, network, transport, data, mss)
		case gso == 0 && !none && data > mss:
			t.Errorf("%d bytes by %d are one packet", data, mss)
		}
	})
}
