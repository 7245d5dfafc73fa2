// Package policy is whom a sandbox may talk to: rules as data, how they are
// written, and what follows from them for a connection or a name. It is pure;
// who asks knows which addresses are the host's and which names they had.
package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Policy is an ordered list of rules. The first that is about a connection
// decides; when none is, it is denied. Denials are to stand before what they
// take an exception from: New orders them so.
type Policy struct {
	Rules []Rule `json:"rules"`
	// TLSNames: what a rule allows by name on TCP port 443 must be TLS, and its
	// ClientHello must ask for a name that is allowed too. UDP port 443, which is
	// QUIC, is then not allowed by name at all. Where a rule denies names, no
	// ClientHello may ask for one of them, whoever else has the address, and QUIC is
	// not allowed.
	TLSNames bool `json:"tls_names"`
	// OnDeny is "report" (also if empty), or "ask": a connection that no rule
	// is about waits until somebody decides.
	OnDeny string `json:"on_deny,omitempty"`
}

// New is the policy of two lists: what is denied goes first.
func New(allow, deny []Rule) Policy {
	p := Policy{TLSNames: true}
	for _, r := range deny {
		r.Allow = false
		p.Rules = append(p.Rules, r)
	}
	for _, r := range allow {
		r.Allow = true
		p.Rules = append(p.Rules, r)
	}
	return p
}

// Rule is about connections to some targets by some protocols on some ports.
// Parse reads one.
type Rule struct {
	Text  string `json:"text"`           // as it was written
	From  string `json:"from,omitempty"` // where: "project.toml:12"
	Allow bool   `json:"allow"`

	// The target: a name (exact, or *.example.org for all below it), addresses,
	// or a class. A name with a class is a name whose addresses may be of that
	// class; without one they must be of the internet.
	Name   string       `json:"name,omitempty"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
	Class  Class        `json:"class,omitempty"`

	Protocols []Protocol `json:"protocols,omitempty"` // none: all
	Ports     []Ports    `json:"ports,omitempty"`     // none: all
}

// Protocol is what a connection is made by.
type Protocol string

// The protocols.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	ICMP Protocol = "icmp" // echo requests
)

// Ports is a range of ports, both ends in it.
type Ports struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// Query is a connection to be judged.
type Query struct {
	Protocol Protocol
	Address  netip.Addr
	Port     uint16
	// Class is what Address is, as Classify says.
	Class Class
	// Names are those that resolved to Address inside the sandbox.
	Names []string
}

// Verdict is what a policy says to a Query.
type Verdict struct {
	Allow bool
	// Rule is the one that decided; nil when none did.
	Rule *Rule
	// Name is the one of Query.Names that Rule is about.
	Name string
	// CheckTLS: it is allowed if its ClientHello asks for a name that is allowed.
	CheckTLS bool
	// WatchTLS: it is allowed unless its ClientHello, if that is what it sends, asks
	// for a name that a rule denies.
	WatchTLS bool
	// Reason says in words why it is not allowed.
	Reason string
	// Final: no rule could allow it.
	Final bool
}

// Decide judges a connection.
func (p *Policy) Decide(q Query) Verdict {
	if q.Class == Never {
		return Verdict{Final: true, Reason: "nothing is ever sent there: " + never(q.Address)}
	}
	quic := false
	for i := range p.Rules {
		r := &p.Rules[i]
		name, ok := r.about(q)
		if !ok {
			continue
		}
		if r.Allow && r.Name != "" && p.TLSNames && q.Port == 443 && q.Protocol == UDP {
			quic = true // go on: a rule for the address may allow it
			continue
		}
		v := Verdict{Allow: r.Allow, Rule: r, Name: name}
		if !r.Allow {
			v.Reason = "a rule denies it"
		}
		if r.Allow && r.Name == "" && p.TLSNames && q.Port == 443 && p.deniesNames(i) {
			if q.Protocol == UDP {
				quic = true
				continue
			}
			v.WatchTLS = q.Protocol == TCP
		}
		v.CheckTLS = r.Allow && r.Name != "" && p.TLSNames && q.Port == 443 && q.Protocol == TCP
		return v
	}
	return Verdict{Name: first(q.Names), Reason: p.why(q, quic)}
}

// deniesNames reports whether one of the first n rules denies a name on port 443.
func (p *Policy) deniesNames(n int) bool {
	return slices.ContainsFunc(p.Rules[:n], func(r Rule) bool {
		return !r.Allow && r.Name != "" && r.onPort(443) && (len(r.Protocols) == 0 || slices.Contains(r.Protocols, TCP))
	})
}

// why says what a connection lacks that no rule is about.
func (p *Policy) why(q Query, quic bool) string {
	switch {
	case quic:
		return "QUIC hides the name it asks for; over TCP it would be allowed"
	case q.Class == Host:
		return "it is the host itself, which takes a rule for @host"
	case q.Class == LAN:
		return "it is a private address, which takes a rule for it or for @lan"
	}
	for _, r := range p.Rules {
		if _, ok := r.target(q); ok && r.Allow {
			return "the rule " + r.Text + " is for other ports or protocols"
		}
	}
	if len(q.Names) == 0 {
		return "no allowed name resolved to this address"
	}
	return "no rule allows it"
}

// About reports whether the rule is about q.
func (r *Rule) About(q Query) bool {
	_, ok := r.about(q)
	return ok
}

// about reports whether the rule is about q, and by which of its names.
func (r *Rule) about(q Query) (name string, ok bool) {
	if len(r.Protocols) > 0 && !slices.Contains(r.Protocols, q.Protocol) {
		return "", false
	}
	if q.Protocol != ICMP && !r.onPort(q.Port) || q.Protocol == ICMP && len(r.Ports) > 0 {
		return "", false
	}
	return r.target(q)
}

// Member reports whether the rule, of a sandbox in named networks, is about their
// other members: about all of them, or by a name without a dot.
func (r *Rule) Member() bool {
	return r.Class == Members || r.Name != "" && r.Class == "" && !strings.Contains(r.Name, ".")
}

func (r *Rule) onPort(port uint16) bool {
	return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p Ports) bool { return p.First <= port && port <= p.Last })
}

// target reports whether the rule is for q's address, whatever the port. A
// denial holds for every address that it names, a permission only for those
// that its author must have meant: 0.0.0.0/0 opens neither the LAN nor the host.
func (r *Rule) target(q Query) (name string, ok bool) {
	switch {
	case r.Name != "":
		i := slices.IndexFunc(q.Names, func(n string) bool { return MatchName(r.Name, n) })
		if i < 0 {
			return "", false
		}
		if r.Allow && q.Class != Internet && q.Class != r.Class && (q.Class != Members || !r.Member()) {
			return "", false
		}
		return q.Names[i], true
	case r.Prefix.IsValid():
		if !r.Prefix.Contains(q.Address) && (r.Allow || !r.leadsInto(q.Address)) {
			return "", false
		}
		return first(q.Names), !r.Allow || r.means(q.Class)
	case r.Class != "":
		return first(q.Names), r.Class == q.Class
	}
	return "", false
}

// leadsInto reports whether a translator or a tunnel would send what is sent to a into
// the rule's prefix.
func (r *Rule) leadsInto(a netip.Addr) bool {
	inner, ok := embedded(a)
	return ok && r.Prefix.Contains(inner)
}

// means reports whether a permission by addresses is for those of class c.
func (r *Rule) means(c Class) bool {
	switch c {
	case Internet:
		return true
	case LAN:
		return r.Prefix.IsSingleIP() || within(lanPrefixes, r.Prefix)
	case Host:
		return r.Prefix.IsSingleIP()
	}
	return false
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// Resolves says whether the sandbox may ask for the addresses of a name, and by
// which rule. What it asks for leaves the host, so it may ask for names that a
// rule is about, and for all of them only if it may talk to all the internet.
func (p *Policy) Resolves(name string) Verdict {
	for i := range p.Rules {
		r := &p.Rules[i]
		switch {
		case r.Name != "" && MatchName(r.Name, name):
			if !r.Allow && (len(r.Ports) > 0 || len(r.Protocols) > 0) {
				continue // it is denied in part
			}
			if !r.Allow {
				return Verdict{Rule: r, Name: name, Reason: "a rule denies it"}
			}
			return Verdict{Allow: true, Rule: r, Name: name}
		case r.Name == "" && r.Class == Internet && r.Allow:
			return Verdict{Allow: true, Rule: r, Name: name}
		}
	}
	return Verdict{Name: name, Reason: "no rule allows the name"}
}

// Answers reports whether an address may be the answer to a question for name:
// only one that the sandbox could connect to on some port. So a name that is
// allowed can't be pointed at the host or at the LAN (DNS rebinding).
func (p *Policy) Answers(name string, a netip.Addr, c Class) bool {
	q := Query{Address: a, Class: c, Names: []string{name}}
	for i := range p.Rules {
		r := &p.Rules[i]
		if _, ok := r.target(q); ok && r.Allow {
			return c != Never
		}
	}
	return false
}

// With returns the policy with a rule before all others.
func (p Policy) With(r Rule) Policy {
	p.Rules = append([]Rule{r}, p.Rules...)
	return p
}

// Validate reports all that is wrong with a policy that did not come from Parse.
func (p *Policy) Validate() error {
	var errs []error
	if !slices.Contains([]string{"", "report", "ask"}, p.OnDeny) {
		errs = append(errs, fmt.Errorf("on_deny %q: it is report or ask", p.OnDeny))
	}
	for _, r := range p.Rules {
		if err := r.validate(p.TLSNames); err != nil {
			errs = append(errs, fmt.Errorf("rule %q: %w", r.Text, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Rule) validate(tlsNames bool) error {
	switch {
	case r.Name == "" && !r.Prefix.IsValid() && r.Class == "":
		return errors.New("it is about nothing")
	case r.Prefix.IsValid() && (r.Name != "" || r.Class != ""):
		return errors.New("it is about addresses and something else")
	case r.Class == Members:
		return errors.New("@members are those of the named networks that a sandbox is in, and this one is in none")
	case !slices.Contains([]Class{"", Host, LAN, Internet}, r.Class):
		return fmt.Errorf("there is no class %q", r.Class)
	}
	for _, p := range r.Protocols {
		if !slices.Contains([]Protocol{TCP, UDP, ICMP}, p) {
			return fmt.Errorf("there is no protocol %q", p)
		}
	}
	for _, p := range r.Ports {
		if p.First == 0 || p.Last < p.First {
			return fmt.Errorf("%s is no range of ports", p)
		}
	}
	if r.Name != "" {
		if _, err := ParseName(strings.TrimPrefix(r.Name, "*.")); err != nil {
			return err
		}
	}
	if tlsNames && r.onlyQUIC() {
		return errors.New("QUIC hides the name it asks for, so a rule by name never allows UDP port 443; name addresses, or switch tls_names off")
	}
	return nil
}

// onlyQUIC reports whether nothing is left of a rule by name that checks names.
func (r *Rule) onlyQUIC() bool {
	return r.Allow && r.Name != "" && slices.Equal(r.Protocols, []Protocol{UDP}) &&
		slices.Equal(r.Ports, []Ports{{443, 443}})
}

// Cautions are what is true of a policy that its author may not have meant.
func (p *Policy) Cautions() []string {
	var list []string
	for _, r := range p.Rules {
		suffix, wild := strings.CutPrefix(r.Name, "*.")
		if !r.Allow || !wild {
			continue
		}
		if slices.Contains(sharedZones, suffix) {
			list = append(list, fmt.Sprintf("%s: anybody can have a name below %s, so this allows sending to anybody", r.Text, suffix))
		} else if !strings.Contains(suffix, ".") {
			list = append(list, fmt.Sprintf("%s: anybody can register a name below %s, so this allows sending to anybody", r.Text, suffix))
		}
	}
	return list
}

// sharedZones are domains below which strangers get names.
var sharedZones = []string{
	"amazonaws.com", "appspot.com", "azureedge.net", "azurewebsites.net", "blob.core.windows.net", "blogspot.com", "cloudfront.net",
	"fastly.net", "firebaseapp.com", "fly.dev", "github.io", "gitlab.io", "googleusercontent.com", "herokuapp.com",
	"netlify.app", "ngrok.io", "ngrok-free.app", "onrender.com", "pages.dev", "repl.co", "run.app", "s3.amazonaws.com", "sslip.io",
	"storage.googleapis.com", "trycloudflare.com", "vercel.app", "web.app", "workers.dev", "nip.io",
}
