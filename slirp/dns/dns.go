// Package dns is the sandbox's name server. It answers for the names that the
// policy allows, from fresh questions of its own to the host's servers, and for
// nothing else: no byte of the sandbox's messages but a name leaves the host,
// and each address is pinned to its name before the sandbox learns it.
package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// Gate decides about names; slirp/gate is one.
type Gate interface {
	Allowed(name string) bool // tells nobody and asks nobody
	Resolves(ctx context.Context, name, question string) policy.Verdict
	Pin(name string, a netip.Addr) bool
	Refuse(name, question string, a netip.Addr, reason string)
	RefuseAlias(name, question, alias string) (refused bool)
	Names(a netip.Addr) []string
}

// Server answers questions. Make it with New.
type Server struct {
	gate     Gate
	upstream *upstream
	search   []string                // domains that a resolver appends by itself
	own      map[string][]netip.Addr // names that need no asking
	reverse  map[netip.Addr]string
	four     bool // the sandbox has addresses of that version
	six      bool
	busy     chan struct{} // a slot for each question under way
	// networked: the sandbox is in named networks, where names without a dot are.
	networked bool
	before    func() // nil: nothing

	mu      sync.Mutex
	members [][]slirp.Member // of each named network that the sandbox is in
}

// Bounds on questions.
const (
	maxBusy = 256
	minTTL  = 5   // seconds
	maxTTL  = 300 // so that a change is seen, and nobody is asked all the time
	ownTTL  = 5
	// maxAliases is after how many a name leads nowhere. Resolvers give up sooner.
	maxAliases = 32
	// memberTTL is for names of members of a named network, who come and go.
	memberTTL = 0
	udpBytes  = 1232 // what passes everywhere in one packet (DNS flag day 2020)
)

// New makes the server of a sandbox.
func New(c *slirp.Config, g Gate) *Server {
	s := &Server{
		gate: g, upstream: newUpstream(&c.DNS), own: map[string][]netip.Addr{}, reverse: map[netip.Addr]string{},
		four: c.IPv4.Enabled(), six: c.IPv6.Enabled(), busy: make(chan struct{}, maxBusy), networked: len(c.Networks) > 0,
	}
	for _, d := range c.DNS.Search {
		if name, err := policy.ParseName(d); err == nil {
			s.search = append(s.search, "."+name)
		}
	}
	add := func(name string, a netip.Addr) {
		s.own[name] = append(s.own[name], a)
		s.reverse[a] = name
	}
	for _, h := range c.DNS.Hosts {
		if name, err := policy.ParseName(h.Name); err == nil { // checked by Config.Validate
			s.own[name] = append(s.own[name], h.Addresses...)
		}
	}
	for _, v := range []slirp.Addr{c.IPv4, c.IPv6} {
		if !v.Enabled() {
			continue
		}
		if !slices.ContainsFunc(c.DNS.Hosts, func(h slirp.Host) bool { return h.Name == slirp.HostName }) {
			add(slirp.HostName, v.Gateway)
		}
		if name, err := policy.ParseName(c.DNS.Hostname); err == nil {
			add(name, v.Address.Addr())
		}
	}
	return s
}

// noMember is why a name without a dot is not known in a named network.
const noMember = "no member of the network is called that now"

// Answer answers one message of the sandbox's; nil: not at all.
func (s *Server) Answer(ctx context.Context, query []byte, tcp bool) []byte {
	q := new(mdns.Msg)
	if err := q.Unpack(query); err != nil {
		return formatError(query)
	}
	if q.Response {
		return nil
	}
	r := s.answer(ctx, q)
	r.Compress = true
	if !tcp {
		size := mdns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = min(max(int(o.UDPSize()), mdns.MinMsgSize), udpBytes)
		}
		r.Truncate(size)
	}
	out, err := r.Pack()
	if err != nil {
		return formatError(query)
	}
	return out
}

// formatError answers what could not be read, if it has a header.
func formatError(query []byte) []byte {
	if len(query) < 12 || query[2]&0x80 != 0 {
		return nil
	}
	r := new(mdns.Msg)
	r.Id = uint16(query[0])<<8 | uint16(query[1])
	r.Response, r.Rcode = true, mdns.RcodeFormatError
	out, err := r.Pack()
	if err != nil {
		return nil
	}
	return out
}

// answer answers a message that could be read.
func (s *Server) answer(ctx context.Context, q *mdns.Msg) *mdns.Msg {
	r := new(mdns.Msg)
	r.SetReply(q)
	r.RecursionAvailable = true
	switch {
	case q.Opcode != mdns.OpcodeQuery:
		r.Rcode = mdns.RcodeNotImplemented
		return r
	case len(q.Question) != 1:
		r.Rcode = mdns.RcodeFormatError
		return r
	case q.Question[0].Qclass != mdns.ClassINET:
		r.Rcode = mdns.RcodeRefused
		return r
	}
	if o := q.IsEdns0(); o != nil {
		r.SetEdns0(udpBytes, false)
	}
	asked := q.Question[0]
	if asked.Qtype == mdns.TypePTR {
		s.pointer(asked, r)
		return r
	}
	kind := mdns.Type(asked.Qtype).String()
	name, err := policy.ParseName(asked.Name)
	if err != nil {
		s.gate.Refuse(printable(asked.Name), kind, netip.Addr{}, "it is no name of a machine")
		return refuse(r, mdns.RcodeNameError, "no name of a machine")
	}
	if s.known(asked, name, r) {
		return r
	}
	if s.networked && !strings.Contains(name, ".") && !s.gate.Allowed(name) {
		s.gate.Refuse(name, "", netip.Addr{}, noMember)
		return refuse(r, mdns.RcodeNameError, noMember)
	}
	if s.appended(name) && !s.gate.Allowed(name) {
		return refuse(r, mdns.RcodeNameError, "no rule allows the name")
	}
	if v := s.gate.Resolves(ctx, name, kind); !v.Allow {
		return refuse(r, mdns.RcodeNameError, v.Reason)
	}
	return s.pass(ctx, asked, name, r)
}

// known answers for a name that needs no asking, and reports whether it is one.
func (s *Server) known(asked mdns.Question, name string, r *mdns.Msg) bool {
	if list, ok := s.own[name]; ok {
		for _, a := range list {
			add(r, asked, a, ownTTL)
		}
		return true
	}
	if s.before != nil && !strings.Contains(name, ".") {
		s.before()
	}
	list := s.member(name)
	for _, a := range list {
		add(r, asked, a, memberTTL)
	}
	return len(list) > 0
}

// pass passes on a question about a name that a rule allows, if it is one for
// addresses that the sandbox can reach.
func (s *Server) pass(ctx context.Context, asked mdns.Question, name string, r *mdns.Msg) *mdns.Msg {
	switch {
	case asked.Qtype == mdns.TypeA && s.four, asked.Qtype == mdns.TypeAAAA && s.six:
		s.forward(ctx, asked, name, r)
	case asked.Qtype == mdns.TypeA, asked.Qtype == mdns.TypeAAAA:
		// The sandbox has no addresses of that version: there is no such data.
	case asked.Qtype == mdns.TypeHTTPS, asked.Qtype == mdns.TypeSVCB:
		// No keys of ECH, which would hide the name, and no addresses that go
		// round the pins. Clients then go on without.
	default:
		// Not NXDOMAIN, which would be said of the name (RFC 8020).
		s.gate.Refuse(name, mdns.Type(asked.Qtype).String(), netip.Addr{}, "only questions for addresses are passed on")
		return refuse(r, mdns.RcodeSuccess, "only questions for addresses are passed on")
	}
	return r
}

// appended reports whether nobody asked for a name but a resolver that appends its
// search domains to what was not found as it is (resolv.conf(5)): that was told
// already.
func (s *Server) appended(name string) bool {
	return slices.ContainsFunc(s.search, func(suffix string) bool {
		base, ok := strings.CutSuffix(name, suffix)
		return ok && strings.Contains(base, ".")
	})
}

// refuse says why in the answer too, if the client understands that (RFC 8914).
func refuse(r *mdns.Msg, code int, why string) *mdns.Msg {
	r.Rcode = code
	r.Answer = nil
	if o := r.IsEdns0(); o != nil {
		o.Option = append(o.Option, &mdns.EDNS0_EDE{InfoCode: mdns.ExtendedErrorCodeProhibited, ExtraText: "sbx: " + why})
	}
	return r
}

// forward asks the host's servers, and answers what may be answered.
func (s *Server) forward(ctx context.Context, asked mdns.Question, name string, r *mdns.Msg) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		r.Rcode = mdns.RcodeServerFailure
		return
	}
	up, err := s.upstream.ask(ctx, name, asked.Qtype)
	if err != nil {
		refuse(r, mdns.RcodeServerFailure, fmt.Sprintf("the host's name servers do not answer: %v", err))
		if o := r.IsEdns0(); o != nil {
			o.Option[len(o.Option)-1].(*mdns.EDNS0_EDE).InfoCode = mdns.ExtendedErrorCodeNetworkError
		}
		return
	}
	r.Rcode = up.Rcode
	kind := mdns.Type(asked.Qtype).String()
	dropped := false
	list, aliases := addresses(up, asked)
	for _, alias := range aliases {
		if s.gate.RefuseAlias(name, kind, alias) {
			refuse(r, mdns.RcodeNameError, "it is an alias of a name that a rule denies")
			return
		}
	}
	for _, found := range list {
		if !s.gate.Pin(name, found.addr) {
			s.gate.Refuse(name, kind, found.addr, "the answer is an address that no rule allows: private, or the host's own")
			dropped = true
			continue
		}
		add(r, asked, found.addr, min(max(found.ttl, minTTL), maxTTL))
	}
	if dropped && len(r.Answer) == 0 {
		refuse(r, mdns.RcodeSuccess, "the answer is an address that no rule allows")
	}
}

type found struct {
	addr netip.Addr
	ttl  uint32
}

// addresses are those that a message has for a question, by whatever aliases, and
// these, as policy.ParseName returns them.
func addresses(m *mdns.Msg, asked mdns.Question) (list []found, aliases []string) {
	owners := []string{strings.ToLower(asked.Name)}
	ttl := uint32(maxTTL)
	for range maxAliases { // they may stand in any order
		grown := false
		for _, rr := range m.Answer {
			c, ok := rr.(*mdns.CNAME)
			if !ok || !slices.Contains(owners, strings.ToLower(c.Hdr.Name)) {
				continue
			}
			if target := strings.ToLower(c.Target); !slices.Contains(owners, target) {
				owners, grown = append(owners, target), true
				ttl = min(ttl, c.Hdr.Ttl)
				if name, err := policy.ParseName(target); err == nil { // else no rule is for it
					aliases = append(aliases, name)
				}
			}
		}
		if !grown {
			break
		}
	}
	for _, rr := range m.Answer {
		h := rr.Header()
		if h.Rrtype != asked.Qtype || h.Class != mdns.ClassINET || !slices.Contains(owners, strings.ToLower(h.Name)) {
			continue
		}
		var a netip.Addr
		var ok bool
		switch x := rr.(type) {
		case *mdns.A:
			a, ok = netip.AddrFromSlice(x.A.To4())
		case *mdns.AAAA:
			a, ok = netip.AddrFromSlice(x.AAAA.To16()) // one of IPv4 in IPv6 stays that, and is refused
		}
		if ok {
			list = append(list, found{a, min(ttl, h.Ttl)})
		}
	}
	return list, aliases
}

// add adds an address to an answer, if it is of the version that was asked for.
func add(r *mdns.Msg, asked mdns.Question, a netip.Addr, ttl uint32) {
	h := mdns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: mdns.ClassINET, Ttl: ttl}
	switch {
	case asked.Qtype == mdns.TypeA && a.Is4():
		r.Answer = append(r.Answer, &mdns.A{Hdr: h, A: a.AsSlice()})
	case asked.Qtype == mdns.TypeAAAA && a.Is6():
		r.Answer = append(r.Answer, &mdns.AAAA{Hdr: h, AAAA: a.AsSlice()})
	}
}

// pointer answers with the name that the sandbox knows an address by. It never
// asks anybody: what an address is called is no reason to tell others of it.
func (s *Server) pointer(asked mdns.Question, r *mdns.Msg) {
	name := ""
	if a, ok := reverseAddr(asked.Name); ok {
		if name = s.reverse[a]; name == "" {
			name = s.MemberAt(a)
		}
		if names := s.gate.Names(a); name == "" && len(names) > 0 {
			name = names[0]
		}
	}
	if name == "" {
		r.Rcode = mdns.RcodeNameError
		return
	}
	r.Answer = append(r.Answer, &mdns.PTR{
		Hdr: mdns.RR_Header{Name: asked.Name, Rrtype: mdns.TypePTR, Class: mdns.ClassINET, Ttl: ownTTL},
		Ptr: mdns.Fqdn(name),
	})
}

// reverseAddr reads the name under which an address is looked for (RFC 1035,
// section 3.5, and RFC 3596, section 2.5).
func reverseAddr(name string) (netip.Addr, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if four, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(four, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	six, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	nibbles := strings.Split(six, ".")
	if len(nibbles) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(nibbles)
	var b strings.Builder
	for i, n := range nibbles {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(n)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}

// printable bounds a name that goes into a message. In miekg/dns's form it has
// no control characters; they are escaped.
func printable(name string) string {
	if len(name) > 100 {
		name = name[:100] + "…"
	}
	return strings.TrimSuffix(name, ".")
}

// timeout is how long one server has for an answer.
const timeout = 3 * time.Second
