package policy

import (
	"net/netip"
	"slices"
)

// Class is what kind of address one is.
type Class string

// The classes. A rule may be about all but Never.
const (
	Never    Class = "never" // forwarding to it would leave what an address means
	Host     Class = "host"  // the host's own, by whatever of its addresses
	LAN      Class = "lan"   // private to the networks the host is in
	Internet Class = "internet"
	// Members are those of the named networks that the sandbox is in, whom it reaches
	// by another way than all others: no Query is of that class.
	Members Class = "members"
)

// Own is what Classify must know of the sandbox and its host.
type Own struct {
	Subnets  []netip.Prefix // of the sandbox; nothing in them is forwarded
	Gateways []netip.Addr   // in those, what stands for the host's loopback
	// Host reports whether an address is the host's. It is asked each time: a
	// host's addresses come and go.
	Host func(netip.Addr) bool
}

// Classify says what an address is. An IPv6 address that holds one of IPv4
// (RFC 6052, RFC 3056) is what that one is.
func Classify(a netip.Addr, own Own) Class {
	if slices.Contains(own.Gateways, a) {
		return Host
	}
	if a.Is4In6() || a.Zone() != "" || !a.IsValid() {
		return Never
	}
	if slices.ContainsFunc(own.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return Never
	}
	if inner, ok := embedded(a); ok {
		if c := Classify(inner, own); c != Internet {
			return c
		}
	}
	if contains(neverPrefixes, a) {
		return Never
	}
	if own.Host != nil && own.Host(a) {
		return Host
	}
	if contains(lanPrefixes, a) {
		return LAN
	}
	return Internet
}

// neverPrefixes are loopback, unspecified, link-local (with the clouds' metadata
// services) and multicast addresses: RFC 6890 and the registries it began.
var neverPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/96"), // ::1, ::, and the IPv4-compatible addresses of old
	netip.MustParsePrefix("::ffff:0:0/96"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
	// Clouds' metadata services by IPv6: Amazon's, Google's, Oracle's, Scaleway's,
	// Linode's, Alibaba's.
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::/32"),
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"),
	netip.MustParsePrefix("fd00:42::42/128"),
	netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"),
	netip.MustParsePrefix("fd00:100::100:200/128"),
	// And by addresses of the internet: Azure's, Alibaba's, Oracle's.
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
}

var lanPrefixes = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared address space, RFC 6598: carriers, overlay networks
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), // RFC 6890
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),  // RFC 2544
	netip.MustParsePrefix("240.0.0.0/4"),    // reserved, and used as private by some
	netip.MustParsePrefix("2001::/32"),      // Teredo, RFC 4380: tunnels to an address of IPv4 that is in it
	netip.MustParsePrefix("64:ff9b:1::/48"), // local use translation, RFC 8215
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fec0::/10"), // site-local, RFC 3879
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// within reports whether all of p is in one of a list.
func within(list []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(list, func(l netip.Prefix) bool { return l.Bits() <= p.Bits() && l.Contains(p.Addr()) })
}

var (
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
	sixTo = netip.MustParsePrefix("2002::/16")
)

// embedded returns the IPv4 address to which a translator or a tunnel would
// send what is sent to a.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case !a.Is6():
		return a, false
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixTo.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return a, false
}

// never says what an address of class Never is.
func never(a netip.Addr) string {
	if inner, ok := embedded(a); ok {
		a = inner
	}
	switch {
	case a.IsLoopback():
		return "it is a loopback address; a service of the host's is at host.sbx.internal with a rule for @host"
	case a.IsLinkLocalUnicast():
		return "it is a link-local address, where clouds have their metadata services"
	case a.IsMulticast():
		return "it is a multicast address"
	case a.IsPrivate():
		return "it is in the sandbox's own subnet, or a metadata service"
	case a.IsGlobalUnicast():
		return "a cloud has its metadata service there"
	}
	return "it is no address of a single machine"
}
