package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
)

// stub is a proxy that says whom it was asked for, as the connection's first data.
func stub(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

func httpProxy(c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	switch {
	case err != nil:
	case strings.HasPrefix(r.Host, "refused"):
		fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
	default:
		fmt.Fprintf(c, "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n%s %s", r.Method, r.Host)
	}
}

func socksProxy(c net.Conn) {
	b := make([]byte, 300)
	if n, err := c.Read(b); err != nil || n != 3 {
		return
	}
	c.Write([]byte{5, 0})
	n, err := c.Read(b)
	if err != nil {
		return
	}
	code := byte(0)
	if strings.Contains(string(b[:n]), "refused") {
		code = 2
	}
	c.Write(append([]byte{5, code, 0, 1, 127, 0, 0, 1, 0, 80}, fmt.Sprintf("%q", b[3:n])...))
}

func TestDialer(t *testing.T) {
	direct := stub(t, func(c net.Conn) { fmt.Fprint(c, "direct") })
	target := netip.MustParseAddrPort("198.51.100.7:443")
	for _, tt := range []struct {
		name, scheme string
		serve        func(net.Conn)
		to           netip.AddrPort
		by           string
		want, err    string
	}{
		{"a name", "http", httpProxy, target, "a.example", "CONNECT a.example:443", ""},
		{"an address", "http", httpProxy, target, "", "CONNECT 198.51.100.7:443", ""},
		{"refused", "http", httpProxy, target, "refused.example", "", `it answers "HTTP/1.1 403 Forbidden"`},
		{"no proxy", "http", func(c net.Conn) { fmt.Fprint(c, "220 mail\r\n\r\n") }, target, "", "", `it answers "220 mail"`},
		{"endless", "http", func(c net.Conn) { fmt.Fprint(c, strings.Repeat("x", maxAnswer+1)) }, target, "", "", "too great length"},
		{"ends", "http", func(net.Conn) {}, target, "", "", "by the proxy"},
		{"silent", "http", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, target, "", "", "by the proxy"},
		{"SOCKS, a name", "socks5", socksProxy, target, "a.example", `"\x03\ta.example\x01\xbb"`, ""},
		{"SOCKS, an address", "socks5", socksProxy, target, "", `"\x01\xc63d\a\x01\xbb"`, ""},
		{"SOCKS, refused", "socks5", socksProxy, target, "refused.example", "", "it answers with code 2"},
		{"SOCKS, a password", "socks5", func(c net.Conn) { c.Read(make([]byte, 3)); c.Write([]byte{5, 255}) }, target, "", "", "it wants a password"},
		{"the host's own", "http", httpProxy, netip.MustParseAddrPort(direct), "", "direct", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			if tt.name == "silent" {
				ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
			}
			defer cancel()
			d, err := New(ctx, slirp.Proxy{Scheme: tt.scheme, Server: stub(t, tt.serve)}, netip.Addr.IsLoopback)
			if err != nil {
				t.Fatal(err)
			}
			c, err := d.TCP(ctx, tt.to, tt.by)
			if err != nil {
				if tt.err == "" || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
				return
			}
			defer c.Close()
			got, err := io.ReadAll(c)
			if err != nil || string(got) != tt.want || tt.err != "" {
				t.Errorf("%q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
	if _, err := New(context.Background(), slirp.Proxy{Server: "no-port"}, nil); err == nil {
		t.Error("a proxy without a port")
	}
}

func TestExcepted(t *testing.T) {
	for _, tt := range []struct {
		list, name, addr string
		want             bool
	}{
		{"", "a.example", "192.0.2.1", false},
		{"example", "a.example", "192.0.2.1", true},
		{".example", "a.example", "192.0.2.1", true},
		{"*.a.example", "a.example", "192.0.2.1", true},
		{"xample", "a.example", "192.0.2.1", false},
		{"*", "", "192.0.2.1", true},
		{"192.0.2.0/24", "", "192.0.2.1", true},
		{"192.0.2.2,192.0.2.1", "", "192.0.2.1", true},
		{"192.0.2.2", "", "192.0.2.1", false},
	} {
		if got := Excepted(strings.Split(tt.list, ","), tt.name, netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%q with %q, %s: %t", tt.list, tt.name, tt.addr, got)
		}
	}
}
