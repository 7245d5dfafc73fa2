package reach

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
)

// Addresses of the world. Those of documentation count as of the internet.
var (
	// Addresses are those of the services.
	Addresses = []string{
		"198.51.100.10/32", "198.51.100.11/32", "198.51.100.20/32", "198.51.100.53/32", "198.51.100.77/32",
		"192.168.50.5/32", "169.254.169.254/32", "100.64.7.7/32",
		"2001:db8::10/128", "2001:db8::20/128", "2001:db8::53/128", "fd77::5/128",
	}
	// WorldLink and HostLink are the ends of the cable between the world and what is
	// taken for the host.
	WorldLink = []string{"203.0.113.1/24", "2001:db8:ffff::1/64"}
	HostLink  = []string{HostOwn + "/24", HostOwn6 + "/64"}
)

// The host's own addresses.
const (
	HostOwn  = "203.0.113.2"
	HostOwn6 = "2001:db8:ffff::2"
)

// Zone is what the world's name server knows; every other name below
// allowed.example is 198.51.100.10.
var Zone = map[string][]string{
	"allowed.example.":        {"198.51.100.10", "2001:db8::10"},
	"denied.example.":         {"198.51.100.20", "2001:db8::20"},
	"neighbour.example.":      {"198.51.100.10"}, // shares the address, as on a content network
	"doh.example.":            {"198.51.100.53"},
	"rebind.allowed.example.": {"127.0.0.1", "169.254.169.254", "192.168.50.5", "203.0.113.2", "10.0.2.3"},
	"nas.example.":            {"192.168.50.5"},
	"six.allowed.example.":    {"2001:db8::10"},
}

// Attempts are what FewRules let through, and what not.
var Attempts = map[string]bool{
	"01 https by name":                          true,
	"02 https by a name that is not allowed":    false,
	"03 http by name":                           true,
	"04 address that is not allowed":            false,
	"05 other port of an allowed host":          false,
	"06 port of a prefix":                       true,
	"07 other port of the prefix":               false,
	"08 built-in server, allowed name, udp":     true,
	"09 built-in server, other name, udp":       false,
	"10 built-in server, other name, tcp":       false,
	"11 built-in server by IPv6, other name":    false,
	"12 tunnel by questions":                    false,
	"13 labels below an allowed wildcard, A":    true, // undecidable: the wildcard says so
	"14 labels below an allowed wildcard, TXT":  false,
	"15 DNS over HTTPS by address":              false,
	"16 https by name, IPv6":                    true,
	"17 IPv6 address that is not allowed":       false,
	"18 neighbour's name at an allowed address": false,
	"19 allowed name, neighbour's host header":  true, // undecidable without opening TLS
	"20 no name at an allowed address":          false,
	"21 no TLS at an allowed address":           false,
	"22 udp by name":                            true,
	"23 udp to an address that is not allowed":  false,
	"24 rebinding":                              false,
	"25 host's loopback by the gateway":         false,
	"26 another protocol":                       false,
	"27 resolve and connect at once":            true,
	"host's own address":                        false,
	"host's own address, IPv6":                  false,
	"loopback by a route":                       false,
	"metadata":                                  false,
	"private network":                           false,
	"carrier's private network":                 false,
	"unique local network":                      false,
	"private network by name":                   false,
	"QUIC by an allowed name":                   false,
	"name with a suffix":                        false,
	"name with a prefix":                        false,
	"name with a zero byte":                     false,
	"name with a dot at its end":                true,
	"name in capitals":                          true,
	"question of type HTTPS":                    false,
}

// NoControl are tries of which the world has nothing to find either.
var NoControl = []string{"name with a suffix", "name with a prefix", "question of type HTTPS"}

// FewRules are the rules that the tables of what is reached are about.
var FewRules = []string{
	"allowed.example:443", "allowed.example:80", "udp://allowed.example:4433", "*.allowed.example:443", "198.51.100.77:22",
}

// Services are what the world offers beside names and pages.
type Services struct {
	// Zone is names beside those of the variable of that name, and before them.
	Zone map[string][]string
	// Asked is told of each question to the name server: "A allowed.example.".
	Asked func(question string)
	// Certificate is that of port 443, and HTTPS answers there; nil: Hello does.
	Certificate tls.Certificate
	HTTPS       http.Handler
	// Pages are the ports of all addresses on which Hello answers.
	Pages []string
}

// Serve starts the services in the network namespace of the calling thread, which
// must stay in it.
func Serve(s Services) error {
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		s.Asked(mdns.TypeToString[q.Question[0].Qtype] + " " + q.Question[0].Name)
		_ = w.WriteMsg(s.answer(q)) // who asked may be gone
	})
	for _, a := range []string{"198.51.100.53:53", "[2001:db8::53]:53"} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		pc, err := net.ListenPacket("udp", a)
		if err != nil {
			return err
		}
		go func() { _ = (&mdns.Server{Listener: l, Handler: h}).ActivateAndServe() }()
		go func() { _ = (&mdns.Server{PacketConn: pc, Handler: h}).ActivateAndServe() }()
	}
	if s.HTTPS == nil {
		s.HTTPS = Hello
	}
	l, err := net.Listen("tcp", ":443")
	if err != nil {
		return err
	}
	// What is no TLS is answered too, so that the control of a try without TLS reaches something.
	go pages(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{s.Certificate}}), s.HTTPS)
	for _, port := range s.Pages {
		l, err := net.Listen("tcp", port)
		if err != nil {
			return err
		}
		go pages(l, Hello)
	}
	// Not on all addresses at once: an answer must come from the one that was asked.
	for _, at := range []string{"198.51.100.10", "198.51.100.20", "2001:db8::10"} {
		for _, port := range []string{"4433", "443"} {
			if err := echoUDP(net.JoinHostPort(at, port)); err != nil {
				return err
			}
		}
	}
	return nil
}

func pages(l net.Listener, h http.Handler) {
	_ = (&http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}).Serve(l) // until the test ends
}

// Hello says who was asked and by whom.
var Hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	sni := ""
	if r.TLS != nil {
		sni = r.TLS.ServerName
	}
	fmt.Fprintf(w, "hello host=%s sni=%s client=%s", r.Host, sni, r.RemoteAddr)
})

func echoUDP(at string) error {
	pc, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 65535)
		for {
			n, a, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append([]byte("echo "), b[:n]...), a)
		}
	}()
	return nil
}

func (s *Services) answer(q *mdns.Msg) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetReply(q)
	asked := q.Question[0]
	name := strings.ToLower(asked.Name)
	addrs, known := s.Zone[name]
	if !known {
		addrs, known = Zone[name]
	}
	switch {
	case asked.Qtype == mdns.TypeTXT:
		m.Answer = append(m.Answer, &mdns.TXT{Hdr: mdns.RR_Header{Name: asked.Name, Rrtype: mdns.TypeTXT, Class: 1, Ttl: 60}, Txt: []string{"tunnel"}})
		return m
	case !known && strings.HasSuffix(name, ".allowed.example."):
		addrs = []string{"198.51.100.10"}
	case !known:
		m.Rcode = mdns.RcodeNameError
	}
	for _, a := range addrs {
		ip := netip.MustParseAddr(a)
		h := mdns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: 1, Ttl: 60}
		switch {
		case ip.Is4() && asked.Qtype == mdns.TypeA:
			m.Answer = append(m.Answer, &mdns.A{Hdr: h, A: ip.AsSlice()})
		case ip.Is6() && asked.Qtype == mdns.TypeAAAA:
			m.Answer = append(m.Answer, &mdns.AAAA{Hdr: h, AAAA: ip.AsSlice()})
		}
	}
	return m
}
