package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// schemes are the words before "://": protocols and the port they imply.
var schemes = map[string]struct {
	protocols []Protocol
	port      uint16
}{
	"tcp":   {protocols: []Protocol{TCP}},
	"udp":   {protocols: []Protocol{UDP}},
	"icmp":  {protocols: []Protocol{ICMP}},
	"ping":  {protocols: []Protocol{ICMP}},
	"http":  {[]Protocol{TCP}, 80},
	"https": {[]Protocol{TCP}, 443},
	"ssh":   {[]Protocol{TCP}, 22},
	"git":   {[]Protocol{TCP}, 9418},
	"ws":    {[]Protocol{TCP}, 80},
	"wss":   {[]Protocol{TCP}, 443},
}

// Parse reads a rule as people write it:
//
//	[SCHEME://]TARGET[:PORTS]
//
// TARGET is a name (github.com), all names below one (*.packages.example), an address
// or a prefix (10.1.0.0/16, [2001:db8::1]), a class (@host, @lan, @internet,
// @members), or a name whose addresses may be of a class (@lan/git.corp.example). PORTS are
// 443, 8000-8010, 80,443 or *. SCHEME is tcp, udp, icmp, or one that implies tcp
// and a port: https, http, ssh, git, ws, wss. With ports and without a scheme it
// is tcp; with neither it is everything.
//
// Whether the rule allows is the caller's to set.
func Parse(text string) (Rule, error) {
	r := Rule{Text: text}
	if err := r.parse(text); err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", text, err)
	}
	return r, nil
}

func (r *Rule) parse(text string) error {
	if text == "" {
		return errors.New("it is empty; write a name, an address or @internet")
	}
	if i := strings.IndexFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }); i >= 0 {
		return fmt.Errorf("there is a space or a control character in it, at byte %d; a port stands after a colon, as in example.org:443, and each rule by itself", i)
	}
	rest := text
	implied := uint16(0)
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		s, known := schemes[scheme]
		if !known {
			return fmt.Errorf("the scheme %q is unknown; there are tcp, udp, icmp, https, http, ssh, git, ws, wss", scheme)
		}
		r.Protocols, implied, rest = s.protocols, s.port, after
	}
	if strings.Contains(rest, "@") && !strings.HasPrefix(rest, "@") {
		return errors.New("a rule names a machine, not a user on it: leave what is before the @ out")
	}
	target, ports, hasPorts, err := splitTarget(rest)
	if err != nil {
		return err
	}
	if err := r.parseTarget(target); err != nil {
		return err
	}
	switch {
	case hasPorts && slices.Equal(r.Protocols, []Protocol{ICMP}):
		return errors.New("icmp has no ports")
	case hasPorts:
		if r.Ports, err = parsePorts(ports); err != nil {
			return err
		}
		if r.Protocols == nil {
			r.Protocols = []Protocol{TCP}
		}
	case implied != 0:
		r.Ports = []Ports{{implied, implied}}
	}
	return nil
}

// splitTarget parts TARGET from PORTS. Brackets may be around an IPv6 address,
// or around a whole prefix.
func splitTarget(s string) (target, ports string, hasPorts bool, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false, errors.New("a bracket is not closed")
		}
		target, s = s[1:end], s[end+1:]
		if !strings.Contains(target, ":") {
			return "", "", false, errors.New("brackets are for IPv6 addresses")
		}
		if strings.HasPrefix(s, "/") { // [2001:db8::]/32:443
			bits, _, _ := strings.Cut(s, ":")
			target += bits
			s = s[len(bits):]
		}
		if s == "" {
			return target, "", false, nil
		}
		if s[0] != ':' {
			return "", "", false, fmt.Errorf("after the bracket comes a colon and a port, not %q", s)
		}
		return target, s[1:], true, nil
	}
	if strings.Count(s, ":") > 1 {
		if _, err := netip.ParseAddr(s); err == nil {
			return s, "", false, nil
		}
		if _, err := netip.ParsePrefix(s); err == nil {
			return s, "", false, nil
		}
		return "", "", false, errors.New("it has more than one colon; an IPv6 address with ports stands in brackets")
	}
	target, ports, hasPorts = strings.Cut(s, ":")
	return target, ports, hasPorts, nil
}

func (r *Rule) parseTarget(s string) error {
	if class, name, hasName := strings.Cut(s, "/"); strings.HasPrefix(s, "@") {
		switch c := Class(class[1:]); c {
		case Host, LAN, Internet, Members:
			r.Class = c
		default:
			return fmt.Errorf("there is no class %s; there are @host, @lan, @internet and @members", class)
		}
		if !hasName {
			return nil
		}
		if r.Class == Members {
			return fmt.Errorf("a member is named without a class: write %s", name)
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return fmt.Errorf("an address needs no class before it: write %s", name)
		}
		return r.parseName(name)
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return r.setPrefix(p)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return errors.New("an address with a zone is link-local, and nothing is ever sent there")
		}
		return r.setPrefix(netip.PrefixFrom(a, a.BitLen()))
	}
	if host, _, ok := strings.Cut(s, "/"); ok {
		if _, err := netip.ParseAddr(host); err == nil {
			return errors.New("after the slash comes the prefix's length in bits, as in 10.1.0.0/16")
		}
		return fmt.Errorf("a rule names a machine, not a page on it: write %q", host)
	}
	return r.parseName(s)
}

func (r *Rule) setPrefix(p netip.Prefix) error {
	a := p.Addr()
	switch {
	case a.Is4In6():
		return fmt.Errorf("write it as IPv4: %s", a.Unmap())
	case p.Masked() != p:
		return fmt.Errorf("%s has bits beyond its prefix; write %s", p, p.Masked())
	case a.IsLoopback():
		return errLoopback
	case within(neverPrefixes, p):
		return errors.New("nothing is ever sent there: " + never(a))
	}
	r.Prefix = p
	return nil
}

var errLoopback = errors.New("loopback is each machine's own: the host's is reached by a rule for @host, as in @host:5432")

func (r *Rule) parseName(s string) error {
	if s == "*" {
		return errors.New("write @internet for all names and addresses of the internet")
	}
	if s == "localhost" || strings.HasSuffix(s, ".localhost") {
		return errLoopback
	}
	if strings.Contains(s, ",") {
		return errors.New("a rule names one target; write one for each")
	}
	base, wild := strings.CutPrefix(s, "*.")
	if strings.Contains(base, "*") {
		return errors.New("a * stands only at the start, for all names below a domain: *.example.org")
	}
	name, err := ParseName(base)
	if err != nil {
		return err
	}
	if wild {
		name = "*." + name
	}
	r.Name = name
	return nil
}

// ParseName returns a name as names are compared: in lower case, without a dot
// at its end. It refuses what is no name of a machine, above all addresses in
// forms that some programs take for one (127.1, 0x7f000001).
func ParseName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" {
		return "", errors.New("the name is empty")
	}
	if len(name) > 253 {
		return "", fmt.Errorf("the name has %d bytes; 253 are the most", len(name))
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" {
			return "", errors.New("the name has a dot too many")
		}
		if len(l) > 63 {
			return "", fmt.Errorf("a part of the name has %d bytes; 63 are the most", len(l))
		}
		for _, c := range []byte(l) {
			switch {
			case c >= 0x80:
				return "", errors.New("write the name in its ASCII form, which begins with xn--")
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return "", fmt.Errorf("%q is in no name", string(c))
			}
		}
	}
	if last := labels[len(labels)-1]; numeric(last) {
		return "", errors.New("it ends in a number, so it is no name, and not an IPv4 address of four numbers either")
	}
	return name, nil
}

// numeric reports whether inet_aton(3) would take s for a number.
func numeric(s string) bool {
	_, err := strconv.ParseUint(s, 0, 64)
	if err == nil {
		return true
	}
	return strings.Trim(s, "0123456789") == ""
}

// MatchName reports whether a name is the pattern's, or for *.example.org below
// it. Both are as ParseName returns them.
func MatchName(pattern, name string) bool {
	if below, ok := strings.CutPrefix(pattern, "*"); ok { // ".example.org"
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return pattern == name
}

func parsePorts(s string) ([]Ports, error) {
	if s == "*" {
		return nil, nil
	}
	var list []Ports
	for part := range strings.SplitSeq(s, ",") {
		a, b, isRange := strings.Cut(part, "-")
		lo, err := parsePort(a)
		if err != nil {
			return nil, err
		}
		hi := lo
		if isRange {
			if hi, err = parsePort(b); err != nil {
				return nil, err
			}
		}
		if hi < lo {
			return nil, fmt.Errorf("the ports %s end before they begin", part)
		}
		list = append(list, Ports{lo, hi})
	}
	return list, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q is no port; ports are 443, 8000-8010, 80,443 or *, from 1 to 65535", s)
	}
	return uint16(n), nil
}

// Suggest is the rule that would allow a connection, as people write it.
func Suggest(protocol Protocol, name string, a netip.Addr, c Class, port uint16) string {
	target := name
	switch {
	case c == Never:
		return ""
	case c == Host:
		target = "@host"
	case c == LAN && name != "":
		target = "@lan/" + name
	case name == "":
		target = a.String()
		if a.Is6() && protocol != ICMP {
			target = "[" + target + "]"
		}
	}
	switch protocol {
	case ICMP:
		return "icmp://" + target
	case UDP:
		target = "udp://" + target
	}
	return fmt.Sprintf("%s:%d", target, port)
}
