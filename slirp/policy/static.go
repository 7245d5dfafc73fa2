package policy

import (
	"net/netip"
	"slices"
)

// What follows is for those who hold a policy without a stack of their own, by
// addresses alone: package nft.

// NeverPrefixes are the addresses of class Never that are so everywhere, and
// those that hold an IPv4 address of whatever class.
func NeverPrefixes() []netip.Prefix { return append(slices.Clone(neverPrefixes), nat64, sixTo) }

// LANPrefixes are the addresses of class LAN.
func LANPrefixes() []netip.Prefix { return slices.Clone(lanPrefixes) }

// Opens reports whether a permission is for addresses of class c.
func (r *Rule) Opens(c Class) bool {
	if r.Name != "" {
		return c == Internet || c == r.Class
	}
	if r.Prefix.IsValid() {
		return r.means(c)
	}
	return r.Class == c
}

// Patterns are those of the rules by name that are about a name.
func (p *Policy) Patterns(name string) []string {
	var list []string
	for _, r := range p.Rules {
		if r.Name != "" && MatchName(r.Name, name) && !slices.Contains(list, r.Name) {
			list = append(list, r.Name)
		}
	}
	return list
}

// AsksDirectly are the prefixes that a rule allows on port 53 by address: what
// goes there is meant for that server, and for no other.
func (p *Policy) AsksDirectly() []netip.Prefix {
	var list []netip.Prefix
	for _, r := range p.Rules {
		if r.Allow && r.Prefix.IsValid() && len(r.Ports) > 0 && r.onPort(53) {
			list = append(list, r.Prefix)
		}
	}
	return list
}
