package profiles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// checkNetworkText says what is wrong with an entry of a list of [network], ""
// if nothing.
func checkNetworkText(f form, s string) string {
	var err error
	switch f {
	case formRule:
		_, err = policy.Parse(s)
	case formPublish:
		if s == slirp.AutoPublish {
			return ""
		}
		_, err = slirp.ParsePublish(s)
	case formHostPort:
		_, err = slirp.ParseHostPort(s)
	case formServer:
		_, _, err = slirp.ParseDNS(s)
	case formHost:
		_, err = slirp.ParseHost(s)
	case formMember:
		if slirp.MemberName(s) == "" {
			err = fmt.Errorf("%q is no name of a member: use letters, digits and hyphens, and no dot", s)
		}
	case formDomain:
		if _, err = policy.ParseName(s); err != nil {
			err = fmt.Errorf("domain %q: %w", s, err)
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// Networks are the named networks that a network's mode names, if it does.
func Networks(mode string) (names []string, ok bool) {
	list, ok := strings.CutPrefix(mode, "network:")
	if !ok {
		return nil, false
	}
	return strings.Split(list, ","), true
}

// JoinedSandbox is the sandbox whose network a network's mode says to share, if it
// does.
func JoinedSandbox(mode string) (name string, ok bool) { return strings.CutPrefix(mode, "sandbox:") }

// Own says that a way out leads from the network by a program of the user's, as
// rules allow.
func (n *Network) Own() bool {
	_, ok := Networks(n.Mode)
	return ok || n.Mode == "user"
}

// Rules are the rules of what n allows, with the key and index of each:
// network.default has one of its own.
func (n *Network) Rules() (rules []string, key string) {
	if len(n.Allow) > 0 {
		return n.Allow, "network.allow"
	}
	if n.Default == "internet" {
		return []string{"@internet"}, "network.default"
	}
	return nil, "network.allow"
}

// networked compares a list of [network] of two profiles; with the host's network
// a base gives more than any list can.
func (c *comparison) networked(r *row, p, base []string) {
	if c.base.Network.Mode == "host" {
		return
	}
	if !c.base.Network.Own() {
		base = nil
	}
	switch r.wide {
	case wideRules:
		c.rules()
	case wideListed:
		for i, entry := range p {
			if !slices.Contains(base, entry) {
				c.grant(fmt.Sprintf("%s[%d]", r.path, i), "%s%s", listed[r.path], entry)
			}
		}
	}
}

// joined compares two modes of which one names a network, or a sandbox whose
// network it is: who is reached there, no other mode gives.
func (c *comparison) joined(r *row, p, base string) {
	names, named := Networks(p)
	have, _ := Networks(base)
	if _, ok := JoinedSandbox(p); ok || p == "host" || p == "user" && have == nil ||
		named && slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(have, n) }) {
		c.grant(r.path, "%q where your own profile has %q", p, base)
	}
}

// listed is what an entry of a list grants.
var listed = map[string]string{
	"network.aliases": "can be found by others, in the place of another, as ",
	"network.dns":     "asks the name server ", "network.hosts": "gives a name an address: ",
	"network.publish": "offers a port on the host: ", "network.host_ports": "reaches a service on the host's loopback: ",
}

// rules compares whom the two profiles allow. What a rule allows is not worked
// out: each must be the base's, word for word, or the base allow the internet,
// where a name without a class leads to nothing else.
func (c *comparison) rules() {
	var base []string
	if c.base.Network.Own() {
		base, _ = c.base.Network.Rules()
	}
	rules, key := c.p.Network.Rules()
	_, networked := Networks(c.p.Network.Mode)
	kept := slices.ContainsFunc(base, perhapsMembers) // to some members
	if networked && kept && !slices.ContainsFunc(rules, perhapsMembers) {
		c.grant("network.allow", "lets the command talk to all members of its networks, where your own profile names some")
	}
	if key == "network.default" && c.base.Network.Default != "internet" {
		return // which is said of that key
	}
	for i, text := range rules {
		if slices.Contains(base, text) {
			continue
		}
		if networked && aboutMembers(text) {
			if !kept { // all, so far
				continue
			}
		} else if slices.Contains(base, "@internet") && onlyInternet(text) {
			continue
		}
		at := key
		if key == "network.allow" {
			at = fmt.Sprintf("%s[%d]", key, i)
		}
		c.grant(at, "lets the command talk to %s", text)
	}
}

// aboutMembers says of a rule of a sandbox in named networks that it is about their
// members.
func aboutMembers(text string) bool {
	r, err := policy.Parse(text)
	return err == nil && r.Member()
}

// perhapsMembers is aboutMembers, or about addresses: which are those of a network's
// members is known only where the network is.
func perhapsMembers(text string) bool {
	r, err := policy.Parse(text)
	return err == nil && (r.Member() || r.Prefix.IsValid())
}

func onlyInternet(text string) bool {
	r, err := policy.Parse(text)
	return err == nil && (r.Class == policy.Internet || r.Class == "" && r.Name != "")
}
