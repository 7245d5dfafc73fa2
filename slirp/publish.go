package slirp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Publish is a port of the sandbox, or a range of them, that the host offers.
type Publish struct {
	Protocol string     `json:"protocol"` // "tcp" or "udp"
	Address  netip.Addr `json:"address"`  // of the host
	HostPort uint16     `json:"host_port"`
	Port     uint16     `json:"port"`            // in the sandbox
	Count    int        `json:"count,omitempty"` // ports from these on; 0 is 1
	From     string     `json:"from,omitempty"`
}

// Ports is how many ports p is of.
func (p Publish) Ports() int { return max(p.Count, 1) }

// String is how ParsePublish reads it.
func (p Publish) String() string {
	ports := func(first uint16) string {
		if p.Ports() == 1 {
			return strconv.Itoa(int(first))
		}
		return fmt.Sprintf("%d-%d", first, int(first)+p.Ports()-1)
	}
	host := p.Address.String()
	if p.Address.Is6() {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%s:%s/%s", host, ports(p.HostPort), ports(p.Port), p.Protocol)
}

// ParsePublish reads [[ADDRESS:]HOSTPORT:]PORT[/PROTOCOL], where a port may be a
// range, FIRST-LAST. ADDRESS is 127.0.0.1 unless it is written, IPv6 in
// brackets; HOSTPORT is PORT unless it is written, and any free one if it is 0;
// PROTOCOL is tcp.
func ParsePublish(text string) (Publish, error) {
	p := Publish{Protocol: "tcp", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	bad := func(format string, args ...any) (Publish, error) {
		return Publish{}, fmt.Errorf("publish %q: %w", text, fmt.Errorf(format, args...))
	}
	rest, protocol, ok := strings.Cut(text, "/")
	if ok {
		p.Protocol = protocol
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" {
		return bad("the protocol is tcp or udp, not %q", p.Protocol)
	}
	host, ports, err := splitPublish(rest)
	if err != nil {
		return bad("%w", err)
	}
	if host != "" {
		if p.Address, err = netip.ParseAddr(host); err != nil {
			return bad("%q is no address of the host; write one in numbers, IPv6 in brackets", host)
		}
		if p.Address.Is4In6() || p.Address.Zone() != "" {
			return bad("%s: write it as IPv4, or without its zone", host)
		}
	}
	first, count, err := portRange(ports[len(ports)-1])
	if err != nil {
		return bad("%w", err)
	}
	if first == 0 {
		return bad("the sandbox's port can't be 0; only the host's can be any")
	}
	p.Port, p.HostPort, p.Count = first, first, count
	if len(ports) == 2 && ports[0] != "" {
		var n int
		if p.HostPort, n, err = portRange(ports[0]); err != nil {
			return bad("%w", err)
		}
		if n != count {
			return bad("%s are %d ports of the host for %d of the sandbox; write as many of either, as in 8000-8010:80-90", ports[0], n, count)
		}
	}
	if p.Count == 1 {
		p.Count = 0
	}
	return p, nil
}

// splitPublish parts ADDRESS from one or two ports.
func splitPublish(s string) (host string, ports []string, err error) {
	if after, ok := strings.CutPrefix(s, "["); ok {
		h, rest, ok := strings.Cut(after, "]:")
		if !ok {
			return "", nil, errors.New("after an address in brackets comes a colon and a port")
		}
		host, s = h, rest
		ports = strings.Split(s, ":")
		if len(ports) > 2 {
			return "", nil, errors.New("there is a colon too many")
		}
		return host, ports, nil
	}
	ports = strings.Split(s, ":")
	switch len(ports) {
	case 1, 2:
		return "", ports, nil
	case 3:
		if ports[0] == "" {
			return "", nil, errors.New("the address is empty; leave its colon out, or write 0.0.0.0 for all of the host's")
		}
		return ports[0], ports[1:], nil
	}
	return "", nil, errors.New("there is a colon too many; an IPv6 address stands in brackets")
}

// portRange reads PORT or FIRST-LAST.
func portRange(s string) (first uint16, count int, err error) {
	a, b, isRange := strings.Cut(s, "-")
	lo, err := port(a)
	if err != nil {
		return 0, 0, err
	}
	if !isRange {
		return lo, 1, nil
	}
	hi, err := port(b)
	if err != nil {
		return 0, 0, err
	}
	if lo == 0 || hi < lo {
		return 0, 0, fmt.Errorf("%q is no range of ports", s)
	}
	if hi-lo >= maxRange {
		return 0, 0, fmt.Errorf("%q are %d ports; %d can be published at once", s, int(hi-lo)+1, maxRange)
	}
	return lo, int(hi-lo) + 1, nil
}

// maxRange bounds the ports of one Publish; each takes a descriptor of sbx-net.
const maxRange = 1000

func port(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s[0] == '+' {
		return 0, fmt.Errorf("%q is no port; a port is a number up to 65535", s)
	}
	return uint16(n), nil
}

func checkPublish(c *Config) error {
	var errs []error
	for _, p := range c.Publish {
		switch {
		case p.Protocol != "tcp" && p.Protocol != "udp":
			errs = append(errs, fmt.Errorf("publish %s: protocol %q", p, p.Protocol))
		case !p.Address.IsValid() || p.Port == 0:
			errs = append(errs, fmt.Errorf("publish %s: it takes an address of the host and a port of the sandbox", p))
		case int(p.Port)+p.Ports() > 1<<16 || int(p.HostPort)+p.Ports() > 1<<16 || p.Ports() > maxRange || p.Count < 0:
			errs = append(errs, fmt.Errorf("publish %s: that are no ports", p))
		case p.Address.Is4() && !c.IPv4.Enabled(), p.Address.Is6() && !c.IPv6.Enabled() && !c.IPv4.Enabled():
			errs = append(errs, fmt.Errorf("publish %s: the sandbox has no address of that version", p))
		}
	}
	return errors.Join(errs...)
}

// AutoPublish is written in the place of a port: whatever the sandbox listens on
// is published on the host's loopback, while it does.
const AutoPublish = "auto"
