// Package nft holds a policy by nftables, in the network namespace of the
// sandbox: for networks whose program knows no rules. It knows addresses, ports
// and protocols; a name is a set of those addresses that the sandbox was told it
// has. It makes rules as data, and of those the messages that the kernel takes; it
// sends nothing.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// Rule is one rule of the chain that everything passes which leaves the sandbox.
// The first whose action is Accept or Refuse decides; at the end all is refused.
type Rule struct {
	// What it is about; zero values are about everything.
	Loopback    bool         `json:"loopback,omitempty"`    // leaves by lo
	Beside      string       `json:"beside,omitempty"`      // leaves by another interface than this
	Established bool         `json:"established,omitempty"` // answers what came in; what went out is judged anew
	Prefix      netip.Prefix `json:"prefix,omitzero"`       // of the destination
	Names       string       `json:"names,omitempty"`       // the destination is in the set for this pattern
	Six         bool         `json:"six,omitempty"`         // that for IPv6
	Protocol    uint8        `json:"protocol,omitempty"`    // IPPROTO_*
	First       uint16       `json:"first,omitempty"`       // ports, both ends in it; for ICMPv6 types
	Last        uint16       `json:"last,omitempty"`
	Class       Mark         `json:"class,omitempty"` // as an earlier rule's Mark says

	Action Action `json:"action"`
	Mark   Mark   `json:"mark,omitempty"` // of the action Classify
}

// Action is what becomes of a packet.
type Action string

// The actions.
const (
	Accept   Action = "accept"
	Refuse   Action = "refuse" // with an answer, so that nobody waits
	Classify Action = "classify"
)

// Mark is a class of addresses as the number of a packet's mark.
type Mark uint32

// The marks; 0 is none.
const (
	Internet Mark = 1 + iota
	LAN
	Host
)

// Protocols, ip(7).
const (
	icmp   = 1
	tcp    = 6
	udp    = 17
	icmpv6 = 58
)

// Surroundings are what a policy does not say of the sandbox.
type Surroundings struct {
	Subnets []netip.Prefix // its own; nothing in them is reached but Servers
	Host    []netip.Addr   // the host's addresses
	Servers []netip.AddrPort
	Inbound bool // connections come in, and are answered
	// Named says that somebody fills the sets for names. Otherwise what is allowed or
	// denied by name can't be held, and is an error.
	Named bool
}

// Rules turns a policy into rules.
func Rules(p policy.Policy, s Surroundings) ([]Rule, error) {
	list := []Rule{
		{Loopback: true, Action: Accept},
		// Neighbours are found by these, RFC 4861.
		{Protocol: icmpv6, First: 133, Last: 137, Action: Accept},
	}
	if s.Inbound {
		list = append(list, Rule{Established: true, Action: Accept})
	}
	for _, server := range s.Servers {
		a := server.Addr()
		for _, protocol := range []uint8{udp, tcp} {
			list = append(list, Rule{Prefix: netip.PrefixFrom(a, a.BitLen()), Protocol: protocol, First: server.Port(), Last: server.Port(), Action: Accept})
		}
	}
	for _, never := range slices.Concat(s.Subnets, policy.NeverPrefixes()) {
		list = append(list, Rule{Prefix: never.Masked(), Action: Refuse})
	}
	list = append(list, Rule{Action: Classify, Mark: Internet})
	for _, lan := range policy.LANPrefixes() {
		list = append(list, Rule{Prefix: lan, Action: Classify, Mark: LAN})
	}
	for _, a := range s.Host {
		list = append(list, Rule{Prefix: netip.PrefixFrom(a, a.BitLen()), Action: Classify, Mark: Host})
	}
	var errs []error
	for _, r := range p.Rules {
		if r.Name != "" && !s.Named {
			errs = append(errs, fmt.Errorf("the rule %s is about a name", r.Text))
			continue
		}
		list = append(list, translate(r, p.TLSNames)...)
	}
	return list, errors.Join(errs...)
}

// Members turns the rules of whom a sandbox may talk to in a named network, which
// device leads to, into rules. Who is called by a name at the moment is in the sets of
// MemberSet, which FillOf fills.
func Members(device string, rules []policy.Rule) []Rule {
	list := []Rule{
		{Beside: device, Action: Accept},
		{Established: true, Action: Accept},
		{Protocol: icmpv6, First: 133, Last: 137, Action: Accept}, // neighbours, RFC 4861
	}
	for _, r := range rules {
		action := Refuse
		if r.Allow {
			action = Accept
		}
		versions := []bool{false}
		if !r.Prefix.IsValid() {
			versions = []bool{false, true} // a set for each
		}
		for _, m := range protocols(r) {
			for _, six := range versions {
				m.Prefix, m.Names, m.Six, m.Action = r.Prefix, MemberSet(r), six, action
				list = append(list, m)
			}
		}
	}
	return list
}

// MemberSet is the name of the set for a rule of Members, "" for one about addresses.
func MemberSet(r policy.Rule) string {
	if r.Class != "" {
		return "@" + string(r.Class)
	}
	return r.Name
}

// translate is one rule of the policy as rules here.
func translate(r policy.Rule, tlsNames bool) (list []Rule) {
	one := Rule{Prefix: r.Prefix, Names: r.Name, Action: Accept}
	if !r.Allow {
		one.Action = Refuse
	}
	var classes []Mark
	for _, c := range []struct {
		class policy.Class
		mark  Mark
	}{{policy.Internet, Internet}, {policy.LAN, LAN}, {policy.Host, Host}} {
		if r.Opens(c.class) {
			classes = append(classes, c.mark)
		}
	}
	if len(classes) == 3 || !r.Allow && (r.Prefix.IsValid() || r.Name != "") {
		classes = []Mark{0} // a denial holds for every address that it names
	}
	protocols := protocols(r)
	if r.Allow && r.Name != "" && tlsNames {
		protocols = withoutQUIC(protocols)
	}
	versions := []bool{false}
	if r.Name != "" {
		versions = []bool{false, true} // a set for each
	}
	for _, class := range classes {
		for _, m := range protocols {
			for _, six := range versions {
				m.Prefix, m.Names, m.Six, m.Class, m.Action = one.Prefix, one.Names, six, class, one.Action
				list = append(list, m)
			}
		}
	}
	return list
}

// withoutQUIC leaves UDP port 443 out: policy.Policy.TLSNames does not allow it by
// name.
func withoutQUIC(list []Rule) (without []Rule) {
	const quic = 443
	for _, r := range list {
		switch {
		case r.Protocol == 0:
			without = append(without, Rule{Protocol: tcp}, Rule{Protocol: icmp}, Rule{Protocol: icmpv6})
			r = Rule{Protocol: udp, First: 0, Last: 65535}
		case r.Protocol == udp && r.First == 0 && r.Last == 0:
			r.Last = 65535
		}
		if r.Protocol != udp || r.First > quic || r.Last < quic {
			without = append(without, r)
			continue
		}
		if r.First < quic {
			without = append(without, Rule{Protocol: udp, First: r.First, Last: quic - 1})
		}
		if r.Last > quic {
			without = append(without, Rule{Protocol: udp, First: quic + 1, Last: r.Last})
		}
	}
	return without
}

// protocols are the protocols and ports of a rule.
func protocols(r policy.Rule) (list []Rule) {
	want := r.Protocols
	if len(want) == 0 {
		if len(r.Ports) == 0 {
			return []Rule{{}}
		}
		want = []policy.Protocol{policy.TCP, policy.UDP}
	}
	for _, p := range want {
		switch p {
		case policy.ICMP:
			if len(r.Ports) == 0 {
				list = append(list, Rule{Protocol: icmp}, Rule{Protocol: icmpv6})
			}
			continue
		case policy.TCP, policy.UDP:
		}
		number := uint8(tcp)
		if p == policy.UDP {
			number = udp
		}
		if len(r.Ports) == 0 {
			list = append(list, Rule{Protocol: number})
		}
		for _, ports := range r.Ports {
			list = append(list, Rule{Protocol: number, First: ports.First, Last: ports.Last})
		}
	}
	return list
}
