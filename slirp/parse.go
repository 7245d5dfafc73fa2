package slirp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// ParseHostPort reads [HOSTPORT:]PORT[/PROTOCOL]: a port of the host's loopback
// and the one at the gateway by which the sandbox reaches it, the same unless
// both are written. PROTOCOL is tcp.
func ParseHostPort(text string) (HostPort, error) {
	h := HostPort{Protocol: "tcp"}
	bad := func(err error) (HostPort, error) { return HostPort{}, fmt.Errorf("host port %q: %w", text, err) }
	rest, protocol, ok := strings.Cut(text, "/")
	if ok {
		h.Protocol = protocol
	}
	if h.Protocol != "tcp" && h.Protocol != "udp" {
		return bad(fmt.Errorf("the protocol is tcp or udp, not %q", h.Protocol))
	}
	from, to, both := strings.Cut(rest, ":")
	var err error
	if h.HostPort, err = port(from); err != nil {
		return bad(err)
	}
	h.Port = h.HostPort
	if both {
		if h.Port, err = port(to); err != nil {
			return bad(err)
		}
	}
	switch {
	case h.Port == 0 || h.HostPort == 0:
		return bad(errors.New("a port is a number from 1 on"))
	case h.Port == 53:
		return bad(errors.New("port 53 of the gateway is the sandbox's name server; write HOSTPORT:PORT with another PORT"))
	}
	return h, nil
}

// ParseServer reads a name server: ADDRESS or ADDRESS:PORT, where an IPv6 address
// with a port stands in brackets. The port is 53.
func ParseServer(text string) (netip.AddrPort, error) {
	s, err := netip.ParseAddrPort(text)
	if err != nil {
		a, addrErr := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
		if addrErr != nil {
			return s, fmt.Errorf("name server %q: write an address in numbers, with a port as 192.0.2.1:5353 or [2001:db8::1]:5353", text)
		}
		s = netip.AddrPortFrom(a, 53)
	}
	if s.Port() == 0 || s.Addr().IsUnspecified() || s.Addr().IsMulticast() {
		return s, fmt.Errorf("name server %q: nothing listens there", text)
	}
	return s, nil
}

// ParseHost reads NAME:ADDRESS.
func ParseHost(text string) (Host, error) {
	name, address, ok := strings.Cut(text, ":")
	if !ok {
		return Host{}, fmt.Errorf("host %q: write NAME:ADDRESS, as in db:192.0.2.7", text)
	}
	name, err := policy.ParseName(name)
	if err != nil {
		return Host{}, fmt.Errorf("host %q: %w", text, err)
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"))
	switch {
	case err != nil && address == "host-gateway":
		return Host{}, fmt.Errorf("host %q: the host has a name already, %s; what of it can be reached is for host_ports or a rule for @host", text, HostName)
	case err != nil:
		return Host{}, fmt.Errorf("host %q: %q is no address in numbers", text, address)
	case name == HostName:
		return Host{}, fmt.Errorf("host %q: that name is the host's own", text)
	}
	return Host{Name: name, Addresses: []netip.Addr{a}}, nil
}

// ParseDNS reads an entry of network.dns: a name server as ParseServer does, or
// DOMAIN=SERVER for one that is asked for a domain and all below it.
func ParseDNS(text string) (domain string, server netip.AddrPort, err error) {
	domain, rest, split := strings.Cut(text, "=")
	if !split {
		server, err = ParseServer(text)
		return "", server, err
	}
	if domain, err = policy.ParseName(domain); err != nil {
		return "", server, fmt.Errorf("name server %q: %w", text, err)
	}
	server, err = ParseServer(rest)
	return domain, server, err
}

// ParseProxy reads the value of a variable such as HTTPS_PROXY: [SCHEME://]HOST[:PORT],
// where SCHEME is http, socks5 or socks5h.
func ParseProxy(text string) (Proxy, error) {
	p := Proxy{Scheme: "http"}
	rest := text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		p.Scheme, rest = strings.ToLower(scheme), after
	}
	rest = strings.TrimSuffix(rest, "/")
	port := "80"
	switch p.Scheme {
	case "http":
	case "socks5", "socks5h":
		p.Scheme, port = "socks5", "1080"
	default:
		return p, fmt.Errorf("a proxy of the scheme %q: sbx knows http and socks5", p.Scheme)
	}
	if strings.Contains(rest, "@") { // and is not repeated here
		return p, errors.New("a proxy with a password: plans are written down, so sbx takes none; a proxy on this host can add it")
	}
	host := rest
	if i := strings.LastIndexByte(rest, ':'); i == strings.IndexByte(rest, ':') && i >= 0 || i > 0 && rest[i-1] == ']' {
		host, port = rest[:i], rest[i+1:]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.ContainsAny(host, "/ \t") {
		return p, fmt.Errorf("proxy %q: write [http://]HOST:PORT or socks5://HOST:PORT", text)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	p.Server = host + ":" + port
	return p, nil
}
