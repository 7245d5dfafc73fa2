package publish

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
)

// echoes is a sandbox that says what it hears, with the port's number.
type echoes struct{ ended chan func() }

func (echoes) ServeTCP(c *net.TCPConn, port uint16) {
	defer c.Close()
	fmt.Fprintf(c, "%d ", port)
	_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
}

type echoSession struct {
	port uint16
	back func([]byte)
}

func (s echoSession) Send(b []byte) { s.back([]byte(fmt.Sprintf("%d %s", s.port, b))) }
func (s echoSession) Close()        {}

func (e echoes) DialUDP(_ netip.AddrPort, port uint16, back func([]byte), ended func()) (Session, error) {
	if port == 99 {
		return nil, errors.New("nobody there")
	}
	e.ended <- ended
	return echoSession{port, back}, nil
}

func publish(t *testing.T, text string) []*Port {
	t.Helper()
	p, err := slirp.ParsePublish(text)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := Listen(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		t.Cleanup(p.Close)
		go p.Serve(echoes{ended: make(chan func(), 100)})
	}
	return ports
}

func TestServe(t *testing.T) {
	for _, text := range []string{"127.0.0.1:0:80", "[::1]:0:80", "0.0.0.0:0:80", "[::]:0:80", "127.0.0.1:0:80/udp", "[::1]:0:80/udp", "0.0.0.0:0:80/udp", "[::]:0:80/udp"} {
		p := publish(t, text)[0].Published()
		if p.HostPort == 0 {
			t.Errorf("%s: no port", text)
		}
		to := p.Address.String()
		if p.Address.IsUnspecified() { // another address of the host's: the answer must come from it
			to = map[bool]string{true: "127.0.0.5", false: "::1"}[p.Address.Is4()]
		}
		c, err := net.Dial(p.Protocol, net.JoinHostPort(to, fmt.Sprint(p.HostPort)))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		b := make([]byte, 8)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "80 hello" {
			t.Errorf("%s: %q, %v", text, b, err)
		}
		c.Close()
	}
}

// fleeting is a sandbox whose first session is over before anybody has it.
type fleeting struct {
	echoes
	sessions int
}

func (f *fleeting) DialUDP(_ netip.AddrPort, port uint16, back func([]byte), ended func()) (Session, error) {
	if f.sessions++; f.sessions == 1 {
		ended()
		return echoSession{port, func([]byte) {}}, nil
	}
	return echoSession{port, back}, nil
}

// TestSessionOver: a session that is over takes no more of its client's datagrams.
func TestSessionOver(t *testing.T) {
	p, err := slirp.ParsePublish("0:80/udp")
	if err != nil {
		t.Fatal(err)
	}
	ports, err := Listen(p)
	if err != nil {
		t.Fatal(err)
	}
	defer ports[0].Close()
	go ports[0].Serve(&fleeting{})
	c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", ports[0].Published().HostPort))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"lost", "hello"} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 20)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "80 hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// TestOne: IPv4 is not IPv6.
func TestOne(t *testing.T) {
	p := publish(t, "0.0.0.0:0:80")[0].Published()
	if c, err := net.Dial("tcp6", fmt.Sprintf("[::1]:%d", p.HostPort)); err == nil {
		c.Close()
		t.Error("0.0.0.0 listens on ::1")
	}
	p = publish(t, "[::]:0:80")[0].Published()
	if c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", p.HostPort)); err == nil {
		c.Close()
		t.Error("[::] listens on 127.0.0.1")
	}
}

func TestRange(t *testing.T) {
	p, err := slirp.ParsePublish("0:80-82")
	if err == nil {
		t.Errorf("%v: any port is one", p)
	}
	// A range with a port in it that is taken opens none. What is free now another
	// program may take at any time, so a port that was found taken is no proof yet.
	for try := 1; ; try++ {
		first := publish(t, "0:80")[0].Published().HostPort
		if first > 65000 {
			t.Skip("no room for a range")
		}
		p, err = slirp.ParsePublish(fmt.Sprintf("%d-%d:80-90", first-5, first+5))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(p); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("%v, want that one is taken", err)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first-5))
		if err == nil {
			l.Close()
			return
		}
		if try == 5 {
			t.Fatalf("the first of the range is still open: %v", err)
		}
	}
}

func TestErrors(t *testing.T) {
	taken := publish(t, "0:80")[0].Published().HostPort
	for _, tt := range []struct {
		text, want string
		is         error
	}{
		{fmt.Sprintf("%d:80", taken), fmt.Sprintf("port %d on 127.0.0.1 is taken by another program; choose another, or 0", taken), syscall.EADDRINUSE},
		{"192.0.2.1:0:80", "the host has no such address", syscall.EADDRNOTAVAIL},
		{"1:80", "ports below", syscall.EACCES},
	} {
		if tt.is == syscall.EACCES && (unprivileged() <= 1 || syscall.Getuid() == 0) {
			continue // here it is nobody's privilege
		}
		p, err := slirp.ParsePublish(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		p.From = "x.toml:3"
		_, err = Listen(p)
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.toml:3: publishing ") {
			t.Errorf("%s: %v; it should say %q", tt.text, err, tt.want)
		}
	}
}
