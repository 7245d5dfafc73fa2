package engine

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// pings passes echo requests on through the host's ping sockets (icmp(7)), if
// the host lets its users have them (net.ipv4.ping_group_range).
type pings struct {
	engine *Engine
	waits  chan struct{} // a slot for each request that waits for an answer

	mu   sync.Mutex
	open map[pingKey]*ping
	told bool // that the host has none
}

// pingKey is one run of ping(8): who is asked, and the number it chose.
type pingKey struct {
	to netip.Addr
	id uint16
}

type ping struct {
	file  *os.File
	conn  syscall.RawConn
	timer *time.Timer
}

// Bounds of pings.
const (
	maxPings = 64
	pingIdle = 15 * time.Second
)

func newPings(e *Engine) *pings {
	return &pings{engine: e, waits: make(chan struct{}, maxPings), open: map[pingKey]*ping{}}
}

// request takes an echo request, a whole packet of which it becomes the owner.
func (p *pings) request(packet []byte, headers int, to netip.Addr) {
	c := gate.Conn{Protocol: policy.ICMP, Target: netip.AddrPortFrom(to, 0)}
	ruling := p.engine.gate.JudgeNow(c)
	switch {
	case ruling.Waits: // this one is lost; the next will find what was answered
		select {
		case p.waits <- struct{}{}:
			go func() {
				p.engine.gate.Judge(p.engine.ctx, c)
				<-p.waits
			}()
		default:
		}
	case ruling.Allow:
		p.send(packet[headers:], to)
	default:
		p.engine.icmpError(packet, prohibited)
	}
}

// send passes a request on. Where it can't, the request is lost, as on any net.
func (p *pings) send(message []byte, to netip.Addr) {
	k := pingKey{to, binary.BigEndian.Uint16(message[4:])}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.open[k]
	if s == nil {
		if len(p.open) >= maxPings {
			p.engine.limit("pings", maxPings)
			return
		}
		var err error
		if s, err = newPing(to); err != nil {
			if !p.told {
				p.told = true
				p.engine.report(slirp.Event{
					Event: slirp.EventLimit, Time: time.Now(),
					Message: "ping is allowed, but the host gives its users no ping sockets: " + err.Error() + " (sysctl net.ipv4.ping_group_range)",
				})
			}
			return
		}
		s.timer = time.AfterFunc(pingIdle, func() { p.close(k, s) })
		p.open[k] = s
		go p.receive(k, s)
	}
	s.timer.Reset(pingIdle)
	_ = s.conn.Write(func(fd uintptr) bool {
		_, _ = unix.Write(int(fd), message) // lost
		return true
	})
}

// newPing makes a socket connected to an address.
func newPing(to netip.Addr) (*ping, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	var sa unix.Sockaddr
	if to.Is4() {
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	} else {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "ping socket")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &ping{file: file, conn: conn}, nil
}

// receive passes answers back until the socket is closed.
func (p *pings) receive(k pingKey, s *ping) {
	defer p.close(k, s)
	for {
		b := packets.get()
		n := 0
		var err error
		closed := s.conn.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), *b)
			return err != unix.EAGAIN
		})
		if closed == nil && err == nil && n >= header.ICMPv4MinimumSize {
			message := append([]byte(nil), (*b)[:n]...)
			binary.BigEndian.PutUint16(message[4:], k.id)
			p.engine.sendICMP(k.to, message)
		}
		packets.put(b)
		if closed != nil {
			return
		}
		if err != nil && err != unix.EINTR && err != unix.EHOSTUNREACH && err != unix.ENETUNREACH && err != unix.ECONNREFUSED {
			return
		}
	}
}

func (p *pings) close(k pingKey, s *ping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.timer.Stop()
	s.file.Close()
	if p.open[k] == s {
		delete(p.open, k)
	}
}

func (p *pings) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, s := range p.open {
		s.timer.Stop()
		s.file.Close()
		delete(p.open, k)
	}
}

// icmpCode is why something can't be reached, in both versions of ICMP.
type icmpCode struct{ four, six byte }

var (
	prohibited  = icmpCode{byte(header.ICMPv4AdminProhibited), byte(header.ICMPv6Prohibited)}
	portMissing = icmpCode{byte(header.ICMPv4PortUnreachable), byte(header.ICMPv6PortUnreachable)}
)

// icmpError has the gateway tell the sandbox that what it sent did not get there.
// packet is the start of what it sent.
func (e *Engine) icmpError(packet []byte, code icmpCode) {
	from, kind, c, most := e.addrs[0].Gateway, byte(header.ICMPv4DstUnreachable), code.four, 60+8
	if header.IPVersion(packet) == header.IPv6Version {
		from, kind, c, most = e.addrs[1].Gateway, byte(header.ICMPv6DstUnreachable), code.six, 512
	}
	message := append([]byte{kind, c, 0, 0, 0, 0, 0, 0}, packet[:min(len(packet), most)]...)
	e.sendICMP(from, message)
}

// udpError tells the sandbox that nobody listens where it sent a datagram to. Of
// the datagram only what identifies it is made up again.
func (e *Engine) udpError(source, target netip.AddrPort) {
	udp := make(header.UDP, header.UDPMinimumSize)
	udp.Encode(&header.UDPFields{SrcPort: source.Port(), DstPort: target.Port(), Length: header.UDPMinimumSize})
	e.icmpError(append(ipHeader(source.Addr(), target.Addr(), header.UDPProtocolNumber, len(udp)), udp...), portMissing)
}

// sendICMP sends a message to the sandbox, with its checksum made anew.
func (e *Engine) sendICMP(from netip.Addr, message []byte) {
	to, number, protocol := e.addrs[0].Address.Addr(), header.ICMPv4ProtocolNumber, header.IPv4ProtocolNumber
	if from.Is6() {
		to, number, protocol = e.addrs[1].Address.Addr(), header.ICMPv6ProtocolNumber, header.IPv6ProtocolNumber
	}
	message[2], message[3] = 0, 0
	var sum uint16
	if from.Is6() {
		sum = header.PseudoHeaderChecksum(number, tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(to.AsSlice()), uint16(len(message)))
	}
	binary.BigEndian.PutUint16(message[2:], ^checksum.Checksum(message, sum))
	packet := append(ipHeader(from, to, number, len(message)), message...)
	if len(packet) > int(e.guard.MTU()) {
		return
	}
	b := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer b.DecRef()
	b.NetworkProtocolNumber = protocol
	var list stack.PacketBufferList
	list.PushBack(b)
	_, _ = e.guard.WritePackets(list) // a link that is full drops it
}

// ipHeader is the header of a packet with n bytes after it.
func ipHeader(from, to netip.Addr, protocol tcpip.TransportProtocolNumber, n int) []byte {
	source, target := tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(to.AsSlice())
	if from.Is4() {
		ip := make(header.IPv4, header.IPv4MinimumSize)
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(header.IPv4MinimumSize + n), TTL: 64, Protocol: uint8(protocol), SrcAddr: source, DstAddr: target,
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		return ip
	}
	ip := make(header.IPv6, header.IPv6MinimumSize)
	ip.Encode(&header.IPv6Fields{PayloadLength: uint16(n), TransportProtocol: protocol, HopLimit: 64, SrcAddr: source, DstAddr: target})
	return ip
}
