package hostaddr

import (
	"net"
	"net/netip"
	"testing"
)

func TestLocal(t *testing.T) {
	table, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for a, want := range map[string]bool{
		"127.0.0.1":   true,
		"127.9.8.7":   true, // nobody configured it, and still it is the host's
		"192.0.2.200": false,
		"2001:db8::1": false,
		"224.0.0.1":   true,
	} {
		if got := table.Local(netip.MustParseAddr(a)); got != want {
			t.Errorf("Local(%s) = %v", a, got)
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().Zone() != "" || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if !table.Local(p.Addr()) {
			t.Errorf("Local(%s) = false, and an interface has it", p.Addr())
		}
	}
	table.Close()
	if !table.Local(netip.MustParseAddr("192.0.2.200")) {
		t.Error("without an answer an address counts as the host's")
	}
}

func BenchmarkLocal(b *testing.B) {
	table, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer table.Close()
	a := netip.MustParseAddr("192.0.2.200")
	for b.Loop() {
		table.Local(a)
	}
}

// FuzzAnswer: whatever comes is an answer or an error.
func FuzzAnswer(f *testing.F) {
	f.Add(request(netip.MustParseAddr("198.51.100.1"), 7))
	f.Add(append(make([]byte, 4), 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := answer(b); err == nil && len(b) < headerLen+routeLen {
			t.Errorf("%d bytes are a route", len(b))
		}
	})
}
