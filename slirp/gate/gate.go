// Package gate applies a policy to what a sandbox does: it knows which names
// resolved to which addresses, holds rules that came while the sandbox runs,
// asks where the policy says so, and counts what it denied. It moves no data.
package gate

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// Options make a Gate.
type Options struct {
	Policy    policy.Policy
	Own       policy.Own
	HostPorts []slirp.HostPort
	// Networked says that names without a dot are those of members of named networks,
	// which another holds to its rules: Members, for lists.
	Networked bool
	Members   []policy.Rule
	// Report is told of every denial and permission and of each question, and
	// must not block. Nil: nobody.
	Report func(slirp.Event)
	// Changed is called after the rules changed, when the gate holds no lock.
	Changed func()
	// Hold is how long a connection waits for an answer; 0 is 30 s.
	Hold time.Duration
}

// Gate judges the connections and the names of one sandbox. It may be used by
// any number of goroutines.
type Gate struct {
	opts Options

	mu     sync.Mutex
	policy policy.Policy // the live rules, then the profile's
	live   []liveRule
	timer  *time.Timer // of the live rule that expires next
	pins   pins
	denied denials
	asks   map[askKey]*ask
	once   map[askKey]time.Time // what was allowed once, and until when it may begin
	lastID int64
}

// New makes a Gate.
func New(o Options) *Gate {
	if o.Report == nil {
		o.Report = func(slirp.Event) {}
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Hold == 0 {
		o.Hold = 30 * time.Second
	}
	return &Gate{opts: o, policy: o.Policy, asks: map[askKey]*ask{}, once: map[askKey]time.Time{}}
}

// Conn is a connection that the sandbox wants.
type Conn struct {
	Protocol policy.Protocol
	Target   netip.AddrPort
}

// Ruling is what becomes of a Conn.
type Ruling struct {
	policy.Verdict
	Class policy.Class
	// Dial is where to connect to instead of the Conn's target, the first that
	// answers. It is empty if the connection is not allowed.
	Dial []netip.AddrPort
	// Waits: nobody has decided yet; Judge will ask.
	Waits bool
	// Once: somebody allowed it, without a rule.
	Once bool
}

// RuleText is the text of the rule that decided, "" for none.
func (r Ruling) RuleText() string {
	if r.Rule == nil {
		return ""
	}
	return r.Rule.Text
}

// Judge decides about a connection and reports it. With on_deny = "ask" it may
// take until somebody answers, or until ctx is done, which denies.
func (g *Gate) Judge(ctx context.Context, c Conn) Ruling {
	r := g.Look(c)
	if r.Waits {
		r = g.wait(ctx, c, r)
	}
	g.report(c, r)
	return r
}

// JudgeNow is Judge, but it does not wait: while Waits is set, nothing has been
// reported.
func (g *Gate) JudgeNow(c Conn) Ruling {
	r := g.Look(c)
	if !r.Waits {
		g.report(c, r)
	}
	return r
}

// Look decides about a connection and tells nobody.
func (g *Gate) Look(c Conn) Ruling {
	a := c.Target.Addr()
	class := policy.Classify(a, g.opts.Own)
	if r, ok := g.hostPort(c); ok {
		return r
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	q := policy.Query{Protocol: c.Protocol, Address: a, Port: c.Target.Port(), Class: class, Names: g.pins.names(a)}
	v := g.policy.Decide(q)
	r := Ruling{Verdict: v, Class: class}
	switch {
	case v.Allow:
		r.Dial = g.dial(c)
	case v.Rule == nil && !v.Final && g.onceFor(c, class, q.Names):
		r.Allow, r.Once, r.Reason, r.Dial = true, true, "", g.dial(c)
	case v.Rule == nil && !v.Final && g.policy.OnDeny == "ask":
		r.Waits = true
	}
	return r
}

// TLSName decides about a connection that was allowed if it asks for a name
// that is, now that its ClientHello is known. name is "" for none; why is what
// was wrong with the ClientHello. It reports what it denies.
func (g *Gate) TLSName(c Conn, allowed Ruling, name, why string) Ruling {
	if allowed.WatchTLS {
		return g.watched(c, allowed, name, why)
	}
	r := allowed
	r.Allow, r.Dial, r.CheckTLS = false, nil, false
	switch {
	case why != "":
		r.Reason = why + "; a rule by name allows only TLS on port 443 (tls_names = false lifts that)"
	case name == "":
		r.Reason = "its ClientHello names no server, and the rule is for a name"
	default:
		g.mu.Lock()
		q := policy.Query{Protocol: c.Protocol, Address: c.Target.Addr(), Port: c.Target.Port(), Class: r.Class, Names: []string{name}}
		v := g.policy.Decide(q)
		if v.Allow {
			allowed.Rule, allowed.Name, allowed.CheckTLS = v.Rule, name, false
			g.mu.Unlock()
			return allowed
		}
		g.mu.Unlock()
		r.Name, r.Reason = name, "TLS asks for this name, which no rule allows, at the address of one that is allowed"
	}
	r.Rule = nil
	g.report(c, r)
	return r
}

// watched is TLSName for what is allowed by its address, and not by a name: it
// may be no TLS, but if it is it must be readable, since a rule denies names.
func (g *Gate) watched(c Conn, r Ruling, name, why string) Ruling {
	r.WatchTLS = false
	deny := func(rule *policy.Rule, reason string) {
		r.Allow, r.Dial, r.Rule, r.Final, r.Reason = false, nil, rule, true, reason
	}
	switch {
	case why != "":
		deny(nil, why+"; a rule denies names, and which it asks for can't be known")
	case name != "":
		g.mu.Lock()
		v := g.policy.Decide(policy.Query{Protocol: c.Protocol, Address: c.Target.Addr(), Port: c.Target.Port(), Class: r.Class, Names: []string{name}})
		g.mu.Unlock()
		if r.Name = name; !v.Allow && v.Rule != nil {
			deny(v.Rule, "TLS asks for this name, which a rule denies")
		}
	}
	g.report(c, r)
	return r
}

// hostPort says whether c is to a service of the host's that Options name.
func (g *Gate) hostPort(c Conn) (Ruling, bool) {
	if !slices.Contains(g.opts.Own.Gateways, c.Target.Addr()) {
		return Ruling{}, false
	}
	for _, p := range g.opts.HostPorts {
		if p.Protocol != string(c.Protocol) || p.Port != c.Target.Port() {
			continue
		}
		if v := g.decideHost(c); v.Rule != nil && !v.Allow { // a denial goes before every permission
			return Ruling{Verdict: v, Class: policy.Host}, true
		}
		rule := policy.Rule{Text: "host_ports", From: p.From, Allow: true}
		return Ruling{
			Verdict: policy.Verdict{Allow: true, Rule: &rule, Name: slirp.HostName},
			Class:   policy.Host,
			Dial:    loopback(c.Target.Addr(), p.HostPort),
		}, true
	}
	return Ruling{}, false
}

// decideHost is what the rules say of a service of the host's.
func (g *Gate) decideHost(c Conn) policy.Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy.Decide(policy.Query{
		Protocol: c.Protocol, Address: c.Target.Addr(), Port: c.Target.Port(), Class: policy.Host, Names: []string{slirp.HostName},
	})
}

// dial is where a connection that is allowed goes to.
func (g *Gate) dial(c Conn) []netip.AddrPort {
	if slices.Contains(g.opts.Own.Gateways, c.Target.Addr()) {
		return loopback(c.Target.Addr(), c.Target.Port())
	}
	return []netip.AddrPort{c.Target}
}

// loopback is the host's loopback, the version that was asked for first: a
// service may listen on one only.
func loopback(gateway netip.Addr, port uint16) []netip.AddrPort {
	four := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	six := netip.AddrPortFrom(netip.IPv6Loopback(), port)
	if gateway.Is6() {
		return []netip.AddrPort{six, four}
	}
	return []netip.AddrPort{four, six}
}

// Resolves decides whether the sandbox may ask for a name, and reports if not.
// question is the type that it asked for. It may wait as Judge does.
func (g *Gate) Resolves(ctx context.Context, name, question string) policy.Verdict {
	g.mu.Lock()
	v := g.policy.Resolves(name)
	asks := g.policy.OnDeny == "ask"
	if !v.Allow && v.Rule == nil && g.onceName(name) {
		v.Allow = true
	}
	g.mu.Unlock()
	if !v.Allow && v.Rule == nil && asks {
		v = g.waitName(ctx, name, v)
	}
	if !v.Allow {
		g.reportName(name, question, v)
	}
	return v
}

// Allowed reports whether the sandbox may ask for a name, and tells nobody.
func (g *Gate) Allowed(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy.Resolves(name).Allow
}

// Refuse reports a question about a name that is not answered although the name
// is allowed, or an answer that is dropped (with its address).
func (g *Gate) Refuse(name, question string, a netip.Addr, reason string) {
	e := slirp.Event{Event: slirp.EventDenied, Protocol: "dns", Name: name, Question: question, Address: a, Reason: reason}
	if a.IsValid() {
		if c := policy.Classify(a, g.opts.Own); c == policy.LAN {
			e.Add = "@lan/" + name
		}
	}
	g.deny(denyKey{protocol: "dns " + question, name: name, address: a}, e)
}

// Pin takes an answer to a question for name: it is false if the sandbox may
// not have it. After Pin, connections to the address are judged by the name.
func (g *Gate) Pin(name string, a netip.Addr) bool {
	class := policy.Classify(a, g.opts.Own)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.policy.Answers(name, a, class) && (class != policy.Internet || !g.onceName(name)) {
		return false
	}
	g.pins.add(a, name)
	return true
}

// Names are those that resolved to an address.
func (g *Gate) Names(a netip.Addr) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.pins.names(a))
}

// RefuseAlias says whether a rule denies what a name is an alias of (CNAME), and
// reports it then: whoever points a name of theirs at one that is denied does not
// open it.
func (g *Gate) RefuseAlias(name, question, alias string) (refused bool) {
	g.mu.Lock()
	v := g.policy.Resolves(alias)
	g.mu.Unlock()
	if v.Allow || v.Rule == nil {
		return false
	}
	v.Reason = "it is an alias of " + alias
	g.reportName(name, question, v)
	return true
}

// Named reports whether a rule is about an address itself on a port: then what
// goes there is not taken for something else.
func (g *Gate) Named(c Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.policy.Rules {
		if !r.Allow || !r.Prefix.IsValid() || !r.Prefix.Contains(c.Target.Addr()) || len(r.Ports) == 0 {
			continue
		}
		on := func(p policy.Ports) bool { return p.First <= c.Target.Port() && c.Target.Port() <= p.Last }
		if slices.ContainsFunc(r.Ports, on) && (len(r.Protocols) == 0 || slices.Contains(r.Protocols, c.Protocol)) {
			return true
		}
	}
	return false
}

// Patterns are those of the rules by name that are about a name.
func (g *Gate) Patterns(name string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy.Patterns(name)
}

// Policy is what holds now.
func (g *Gate) Policy() policy.Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy
}

// Pinned are the names of each address that the sandbox learned of.
func (g *Gate) Pinned() map[netip.Addr][]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.pins.byAddr) // its lists are never changed
}

// RefusedMember reports a connection to another member of a named network that was
// refused, by a rule or for want of one. name is "" for who is none.
func (g *Gate) RefusedMember(c Conn, name string, by *policy.Rule) {
	r := Ruling{Verdict: policy.Verdict{Rule: by, Name: name, Reason: "rules are about members of the network, and none allows it"}, Class: policy.Internet}
	switch {
	case by != nil:
		r.Reason = "a rule denies it"
	case name == "":
		r.Final, r.Reason = true, "no member of the network has this address"
	}
	g.report(c, r)
}

// Filtered reports a connection that somebody else refused.
func (g *Gate) Filtered(c Conn, reason string) {
	g.report(c, Ruling{Verdict: policy.Verdict{Final: true, Reason: reason}})
}
