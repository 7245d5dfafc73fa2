package resolve

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// Named is what is known of a named network.
type Named struct {
	IPv4, IPv6 netip.Prefix
	Internal   bool
	Isolated   bool
	Err        error // why it can't be joined
}

// memberships decides about the named networks of the profile: each is an interface
// beside that of the sandbox's own way out.
func (r *resolver) memberships(n *sandbox.Net) {
	names, ok := profiles.Networks(r.prof.Network.Mode)
	if !ok {
		return
	}
	const key = "network.mode"
	if n.Backend != sandbox.BackendEngine {
		r.fail(&Error{Key: "network.backend", Msg: fmt.Sprintf("with %s there are no named networks", n.Backend), Hint: `install sbx with all its programs, and set network.backend = "engine"`})
		return
	}
	closed := true // nothing leads out of any
	for i, name := range names {
		net := r.Networks[name]
		if net.Err != nil || !net.IPv4.IsValid() {
			r.fail(&Error{Key: key, Msg: "the network " + name + " can't be joined", Err: net.Err})
			return
		}
		closed = closed && net.Internal
		n.Networks = append(n.Networks, sandbox.Membership{Name: name, Device: fmt.Sprintf("eth%d", i), Internal: net.Internal, Isolated: r.prof.Network.Isolated})
		n.Config.Networks = append(n.Config.Networks, slirp.InNetwork{Name: name, IPv4: net.IPv4, IPv6: net.IPv6})
	}
	r.memberRules(n)
	n.Called = slirp.MemberNames(append([]string{r.plan.Name, r.plan.Hostname}, r.prof.Network.Aliases...)...)
	if len(n.Called) == 0 {
		r.note("warning", "network", key, "nobody finds this sandbox by its name, %s, which others might take for one on the internet; network.aliases gives it another", r.plan.Name)
	}
	if closed {
		r.closeWay(n)
	}
}

// memberRules parts the rules about other members from those of the way out. Members
// reach all others as long as no rule is about one; with a permission only those that
// rules allow, with denials alone all but those.
func (r *resolver) memberRules(n *sandbox.Net) {
	c := &n.Config
	var own []netip.Prefix // subnets
	for _, net := range c.Networks {
		own = append(own, net.IPv4)
		if net.IPv6.IsValid() {
			own = append(own, net.IPv6)
		}
	}
	out, allowed := c.Policy.Rules[:0:0], false
	for _, rule := range c.Policy.Rules {
		inside := slices.ContainsFunc(own, func(p netip.Prefix) bool {
			return rule.Prefix.IsValid() && p.Overlaps(rule.Prefix) && (!rule.Allow || p.Bits() <= rule.Prefix.Bits())
		})
		if inside || rule.Member() {
			c.Members, allowed = append(c.Members, rule), allowed || rule.Allow
		}
		if !rule.Member() { // an address may be one on the way out as well
			out = append(out, rule)
		}
	}
	c.Policy.Rules = out
	if len(c.Members) > 0 && !allowed {
		c.Members = append(c.Members, policy.Rule{Text: "@" + string(policy.Members), From: "network.mode", Allow: true, Class: policy.Members})
	}
}

// closeWay takes the way out from who is in internal networks alone.
func (r *resolver) closeWay(n *sandbox.Net) {
	for _, k := range []struct {
		key string
		set bool
	}{{"network.publish", len(r.prof.Network.Publish) > 0}, {"network.host_ports", len(r.prof.Network.HostPorts) > 0}} {
		if k.set {
			r.fail(&Error{Key: k.key, Msg: "the network is internal: nothing leads out of it, nor in", Hint: "leave it out, or have the sandbox in another network as well"})
		}
	}
	if len(n.Config.Policy.Rules) > 0 {
		r.note("info", "egress_policy", "network.mode", "the network is internal: nothing leads out of it, and what network.allow says is not in force")
	}
	tls := n.Config.Policy.TLSNames
	n.Config.Policy = policy.New(nil, nil)
	n.Config.Policy.TLSNames = tls
}
