package main

import (
	"net/netip"
	"testing"

	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// four and six are the headers of packets from a sandbox to port 443 of an address.
func four(protocol byte, options int) []byte {
	p := make([]byte, 20+4*options+4)
	p[0], p[9] = byte(0x45+options), protocol
	copy(p[16:], []byte{198, 51, 100, 7})
	copy(p[20+4*options:], []byte{1, 2, 1, 187})
	return p
}

func six(protocol byte) []byte {
	p := make([]byte, 44)
	p[0], p[6] = 0x60, protocol
	to := netip.MustParseAddr("2001:db8::7").As16()
	copy(p[24:], to[:])
	copy(p[40:], []byte{1, 2, 1, 187})
	return p
}

func TestWanted(t *testing.T) {
	to4, to6 := netip.MustParseAddrPort("198.51.100.7:443"), netip.MustParseAddrPort("[2001:db8::7]:443")
	for _, tt := range []struct {
		name string
		p    []byte
		want gate.Conn // the zero one: no connection
	}{
		{"tcp", four(6, 0), gate.Conn{Protocol: policy.TCP, Target: to4}},
		{"with options", four(17, 3), gate.Conn{Protocol: policy.UDP, Target: to4}},
		{"a ping", four(1, 0), gate.Conn{Protocol: policy.ICMP, Target: netip.AddrPortFrom(to4.Addr(), 0)}},
		{"by IPv6", six(6), gate.Conn{Protocol: policy.TCP, Target: to6}},
		{"a ping by IPv6", six(58), gate.Conn{Protocol: policy.ICMP, Target: netip.AddrPortFrom(to6.Addr(), 0)}},
		{"sctp", four(132, 0), gate.Conn{}},
		{"no version of IP", append([]byte{0x75}, make([]byte, 40)...), gate.Conn{}},
		{"half a header", four(6, 0)[:19], gate.Conn{}},
		{"half a header of IPv6", six(6)[:39], gate.Conn{}},
	} {
		if got, ok := wanted(tt.p); got != tt.want || ok != (tt.want != gate.Conn{}) {
			t.Errorf("%s: %+v, %t", tt.name, got, ok)
		}
	}
}

// FuzzWanted: whatever a sandbox sends, what is said of it is a connection to an
// address.
func FuzzWanted(f *testing.F) {
	for _, p := range [][]byte{four(6, 0), four(17, 3), four(1, 0), six(6), six(58), six(0), {0x4f}, {}} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		c, ok := wanted(p)
		if ok && (!c.Target.Addr().IsValid() || c.Protocol == policy.ICMP && c.Target.Port() != 0) {
			t.Errorf("%+v", c)
		}
	})
}
