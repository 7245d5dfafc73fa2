package engine

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
)

// TestPending: whoever comes when there are as many as may be takes the oldest
// place of those who have most.
func TestPending(t *testing.T) {
	full := 0
	p := newPending(3, func() { full++ })
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	a1, endA1 := p.begin(context.Background(), at("192.0.2.1:1"))
	b1, _ := p.begin(context.Background(), at("192.0.2.2:1"))
	b2, _ := p.begin(context.Background(), at("192.0.2.2:1"))
	c1, _ := p.begin(context.Background(), at("192.0.2.3:1"))
	if a1.Err() != nil || b1.Err() == nil || b2.Err() != nil || c1.Err() != nil || full != 1 {
		t.Errorf("%v %v %v %v, full %d times", a1.Err(), b1.Err(), b2.Err(), c1.Err(), full)
	}
	endA1()
	if d1, _ := p.begin(context.Background(), at("192.0.2.4:1")); d1.Err() != nil || b2.Err() != nil || len(p.list) != 3 || len(p.count) != 3 {
		t.Errorf("after an end: %v, %v; %v", d1.Err(), b2.Err(), p.count)
	}
	if _, _ = p.begin(context.Background(), at("192.0.2.5:1")); b2.Err() == nil || c1.Err() != nil {
		t.Errorf("of equals the oldest has to go: %v, %v", b2.Err(), c1.Err())
	}
}

// silent never answers on one port.
type silent struct {
	loopDialer
	port uint16
}

func (s silent) TCP(ctx context.Context, to netip.AddrPort, name string) (*net.TCPConn, error) {
	if to.Port() == s.port {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.loopDialer.TCP(ctx, to, name)
}

// TestSilentPeers: peers that don't answer keep nobody else from connecting,
// however many there are.
func TestSilentPeers(t *testing.T) {
	port := serve(t, echo)
	c := slirp.Config{IPv4: slirp.Default4, IPv6: slirp.Default6}
	c.Limits.Connecting = 8
	b := newBox(t, c, "@internet")
	b.engine.dialer = silent{port: 9}
	for range 40 {
		go func() {
			if c, err := b.dial("198.51.100.66:9"); err == nil {
				c.Close()
			}
		}()
	}
	for end := time.Now().Add(10 * time.Second); !b.has(slirp.EventLimit, "the oldest give up"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the limit was not met")
		}
	}
	begun := time.Now()
	b.mustDial("198.51.100.10:" + port)
	if took := time.Since(begun); took > dialTimeout/2 {
		t.Errorf("another waited %v for them", took)
	}
}
