package resolve

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/backend"
	"github.com/sbx-sandbox/sbx/slirp/nft"
	"github.com/sbx-sandbox/sbx/userns"
)

// plainBackend decides what is different with a program that makes a network and
// knows no rules. They are held by the kernel then, by address: sbx-net, if it is
// there, is the name server, and tells the kernel which addresses a name has. What
// only sbx-net's own network can do is refused, so that nobody relies on it.
func (r *resolver) plainBackend(n *sandbox.Net) {
	c, prof := &n.Config, &r.prof.Network
	c.VNetHdr, c.MTU = false, 65520
	can := func(key string, set bool) {
		if set {
			r.fail(&Error{Key: key, Msg: fmt.Sprintf("%s can't do that", n.Backend), Hint: `leave it out, or set network.backend = "engine"`})
		}
	}
	can("network.host_ports", len(prof.HostPorts) > 0 && n.Backend != sandbox.BackendPasta)
	n.Names = r.facts.Net.Engine
	can("network.audit", prof.Audit == "all" || prof.Audit != "off" && n.Names == "")
	can("network.on_deny", prof.OnDeny == "ask")
	can("network.upstream_proxy", prof.Upstream != "none" && prof.Upstream != "")
	for i, text := range prof.DNS {
		can(fmt.Sprintf("network.dns[%d]", i), n.Names == "" && strings.Contains(text, "="))
	}
	can("network.publish", n.AutoPublish)
	if len(c.HostPorts) > 0 { // pasta has them on the sandbox's own loopback
		c.DNS.Hosts = append(c.DNS.Hosts, slirp.Host{Name: slirp.HostName, Addresses: []netip.Addr{slirp.NameServer.Addr()}})
	}
	if n.Backend == sandbox.BackendSlirp4netns {
		r.forwarder(n)
		c.IPv6 = slirp.Addr{}
		r.note("info", "network", "network.backend", "slirp4netns gives the sandbox no IPv6")
		r.asRootOutside()
	}
	for i, p := range c.Publish {
		if p.HostPort == 0 {
			r.fail(&Error{Key: fmt.Sprintf("network.publish[%d]", i), Msg: fmt.Sprintf("%s picks no port of the host by itself", n.Backend), Hint: `write one; or set network.backend = "engine"`})
		}
	}
	for i, s := range c.DNS.Servers {
		if s.Port() != 53 && n.Names == "" {
			r.fail(&Error{Key: fmt.Sprintf("network.dns[%d]", i), Msg: fmt.Sprintf("%s leaves names to the command's resolver, which asks port 53 only", n.Backend), Hint: "leave the port out"})
		}
	}
	// Whoever may ask for all names could send data by them: only those may who can
	// send it to all the internet anyway.
	n.Resolve = n.Names == "" && len(c.DNS.Servers) == 0 && c.Policy.Resolves("name.example").Allow
	var own []netip.Prefix
	for _, a := range []slirp.Addr{c.IPv4, c.IPv6} {
		if a.Enabled() {
			own = append(own, a.Address)
		}
	}
	var err error
	n.Filter, err = nft.Rules(c.Policy, nft.Surroundings{
		Subnets: own, Host: r.facts.Net.Addresses, Servers: r.nameServers(), Inbound: len(c.Publish) > 0, Named: n.Names != "",
	})
	if err != nil {
		r.fail(&Error{Key: "network.allow", Msg: fmt.Sprintf("with %s and without sbx-net rules are about addresses", n.Backend),
			Hint: `name addresses, @internet or @lan; or install sbx with all its programs`, Err: err})
	}
	if n.Names == "" {
		r.note("info", "egress_policy", "network.backend", "with %s what is blocked is refused, but not told: %v", n.Backend, r.facts.Net.EngineErr)
	}
}

// plainPolicy says what a policy lacks that a program holds which knows no rules.
func plainPolicy(n *sandbox.Net) (by, why string) {
	if n.Names == "" {
		return "nftables in the sandbox's network namespace", "by addresses, and those of the host are what they were at the start"
	}
	return "nftables in the sandbox's network namespace, and sbx-net for names",
		"a name stands for its addresses: whoever else is there is reached too, and TLS is not looked into; addresses of the host are what they were at the start"
}

// forwarder decides who tells slirp4netns which ports to publish.
func (r *resolver) forwarder(n *sandbox.Net) {
	if len(n.Config.Publish) == 0 {
		return
	}
	if n.Forwarder = r.facts.Net.Engine; n.Forwarder == "" {
		r.fail(&Error{Key: "network.publish", Msg: fmt.Sprintf("slirp4netns publishes ports with the help of sbx-net: %v", r.facts.Net.EngineErr), Hint: "install sbx with all its programs"})
	}
	for i, p := range n.Config.Publish {
		if p.Address.Is6() {
			r.fail(&Error{Key: fmt.Sprintf("network.publish[%d]", i), Msg: "slirp4netns publishes on addresses of IPv4 only", Hint: `write one; or set network.backend = "engine"`})
		}
	}
}

// nameServers are those of the sandbox's resolv.conf.
func (r *resolver) nameServers() []netip.AddrPort {
	n := &r.plan.Net
	c := &n.Config
	switch {
	case n.Backend == sandbox.BackendEngine && c.IPv4.Enabled():
		return []netip.AddrPort{netip.AddrPortFrom(c.IPv4.Gateway, 53)}
	case n.Backend == sandbox.BackendEngine:
		return []netip.AddrPort{netip.AddrPortFrom(c.IPv6.Gateway, 53)}
	case n.Names != "":
		return []netip.AddrPort{slirp.NameServer}
	case len(c.DNS.Servers) > 0:
		return c.DNS.Servers
	case n.Resolve:
		return []netip.AddrPort{netip.AddrPortFrom(backend.Server, 53)}
	}
	return nil
}

// asRootOutside makes the caller's one id the outer user namespace's root, as
// which slirp4netns acts; the inner one, which the command is in, is as before.
func (r *resolver) asRootOutside() {
	ids := &r.plan.IDs
	if ids.Mode != "single" {
		return // a range has one
	}
	ids.OuterUIDs, ids.OuterGIDs = userns.Self(0, r.facts.UID), userns.Self(0, r.facts.GID)
	ids.InnerUIDs, ids.InnerGIDs = userns.Self(ids.UID, 0), userns.Self(ids.GID, 0)
}
