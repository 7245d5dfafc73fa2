package explanation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
)

// rule is one of whom a sandbox may talk to, and where.
func (pg page) rule(from string, allow bool, text, where string) {
	verb := "deny"
	if allow {
		verb = "allow"
	}
	pg.line(from, "%s %s%s", verb, text, where)
}

// userNetwork explains a network of the sandbox's own.
func (pg page) userNetwork(n *sandbox.Net) {
	c := &n.Config
	pg.line("network.mode", "user: one of its own, which %s leads out of", screen.Near(n.Helper))
	var own []string
	for _, a := range []slirp.Addr{c.IPv4, c.IPv6} {
		if a.Enabled() {
			own = append(own, a.Address.String())
		}
	}
	pg.line("", "its addresses are %s", strings.Join(own, " and "))
	for _, r := range c.Policy.Rules {
		pg.rule(r.From, r.Allow, r.Text, "")
	}
	pg.line("network.allow", "nothing else")
	if c.Policy.OnDeny == "ask" {
		pg.line("network.on_deny", "at a terminal: ask about what no rule is about, and deny it without an answer")
	}
	if len(c.DNS.Servers) > 0 {
		var list []string
		for _, s := range c.DNS.Servers {
			list = append(list, s.String())
		}
		pg.line("network.dns", "names are asked of %s", strings.Join(list, ", "))
	}
	pg.namedNetworks(n)
	for _, d := range c.DNS.Split {
		pg.line("network.dns", "names below %s are asked of %s", d.Domain, d.Servers[0])
	}
	if p := c.Proxy; p.Server != "" {
		pg.line("network.upstream_proxy", "TCP to the internet goes by %s://%s, which %s names", p.Scheme, p.Server, p.From)
	}
	for i, h := range c.DNS.Hosts {
		pg.line(fmt.Sprintf("network.hosts[%d]", i), "%s is %v", h.Name, h.Addresses[0])
	}
	for _, p := range c.Publish {
		pg.line(p.From, "publish %s", p)
	}
	if n.AutoPublish {
		pg.line("network.publish", "publish on 127.0.0.1 every TCP port that the command listens on")
	}
	for _, p := range c.HostPorts {
		pg.line(p.From, "port %d/%s of the host's loopback, as %s:%d", p.HostPort, p.Protocol, slirp.HostName, p.Port)
	}
	for _, r := range []struct {
		key, what string
		rate      int64
	}{{"network.rate", "out", c.Rate}, {"network.rate_in", "in", c.RateIn}} {
		if r.rate > 0 {
			pg.line(r.key, "at most %s a second %s", screen.BytesText(r.rate), r.what)
		}
	}
	if c.Audit.Mode != "off" {
		pg.line("network.audit", "%s connections are written to %s", c.Audit.Mode, screen.Near(c.Audit.Path))
	}
}

// namedNetworks explains the networks that a sandbox is in beside its way out.
func (pg page) namedNetworks(n *sandbox.Net) {
	for i, m := range n.Networks {
		text := fmt.Sprintf("in the network %s by %s, with an address of %s", m.Name, m.Device, n.Config.Networks[i].IPv4)
		if m.Internal {
			text += "; nothing leads out of it"
		}
		pg.line("network.mode", "%s", text)
		if m.Isolated {
			pg.line("network.isolated", "reaches none of %s that is isolated", m.Name)
		}
	}
	switch {
	case len(n.Networks) == 0:
	case len(n.Config.Members) == 0:
		pg.line("network.allow", "all members of its networks are reached; a rule about one, as db:5432, keeps it to those that rules allow")
	default:
		for _, r := range n.Config.Members {
			pg.rule(r.From, r.Allow, r.Text, ", in its networks")
		}
		pg.line("network.allow", "no other member of its networks")
	}
	if len(n.Networks) > 0 {
		quoted := []string{}
		for _, name := range n.Called {
			quoted = append(quoted, strconv.Quote(name))
		}
		pg.line("network.aliases", "others find it as %s", strings.Join(slices.Compact(quoted), ", "))
	}
}
