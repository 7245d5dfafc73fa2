package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// server is a name server of the host's.
type server struct {
	addr netip.AddrPort
	mu   sync.Mutex
	got  []string
	raw  [][]byte
}

func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// newServer answers by a function, by UDP and TCP.
func newServer(t testing.TB, answer func(q, r *mdns.Msg, tcp bool)) *server {
	t.Helper()
	s := &server{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenPacket("udp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		s.mu.Lock()
		s.got = append(s.got, mdns.Type(q.Question[0].Qtype).String()+" "+q.Question[0].Name)
		raw, _ := q.Pack()
		s.raw = append(s.raw, raw)
		s.mu.Unlock()
		r := new(mdns.Msg)
		r.SetReply(q)
		answer(q, r, w.LocalAddr().Network() == "tcp")
		_ = w.WriteMsg(r)
	})
	for _, x := range []*mdns.Server{{Listener: l, Handler: h}, {PacketConn: pc, Handler: h}} {
		started := make(chan struct{})
		x.NotifyStartedFunc = func() { close(started) }
		go func() { _ = x.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = x.Shutdown() })
	}
	return s
}

func rr(t testing.TB, text string) mdns.RR {
	t.Helper()
	r, err := mdns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// zone answers from records by name and type.
func zone(t testing.TB, records ...string) func(q, r *mdns.Msg, tcp bool) {
	all := map[string][]mdns.RR{}
	for _, text := range records {
		name, text, _ := strings.Cut(text, ": ")
		all[name] = append(all[name], rr(t, text))
	}
	return func(q, r *mdns.Msg, _ bool) {
		list, ok := all[q.Question[0].Name]
		if !ok {
			r.Rcode = mdns.RcodeNameError
			return
		}
		for _, x := range list {
			if x.Header().Rrtype == q.Question[0].Qtype || x.Header().Rrtype == mdns.TypeCNAME {
				r.Answer = append(r.Answer, x)
			}
		}
	}
}

func newDNS(t testing.TB, c slirp.Config, rules ...string) (*Server, *gate.Gate) {
	t.Helper()
	var list []policy.Rule
	for _, text := range rules {
		r, err := policy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	c.Policy = policy.New(list, nil)
	if c.IPv4 == (slirp.Addr{}) {
		c.IPv4, c.IPv6 = slirp.Default4, slirp.Default6
	}
	g := gate.New(gate.Options{Policy: c.Policy, Own: policy.Own{
		Subnets: []netip.Prefix{slirp.Default4.Address.Masked()}, Gateways: []netip.Addr{slirp.Default4.Gateway},
	}})
	return New(&c, g), g
}

// ask asks and says the answer in words.
func ask(t testing.TB, s *Server, name string, kind uint16) string {
	t.Helper()
	q := new(mdns.Msg)
	q.SetQuestion(mdns.Fqdn(name), kind)
	q.SetEdns0(4096, true)
	return say(t, s, q)
}

func say(t testing.TB, s *Server, q *mdns.Msg) string {
	t.Helper()
	out, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	in := s.Answer(context.Background(), out, true)
	if in == nil {
		return "nothing"
	}
	r := new(mdns.Msg)
	if err := r.Unpack(in); err != nil {
		t.Fatal(err)
	}
	if r.Id != q.Id || !r.Response {
		t.Errorf("id %d of %d, response %v", r.Id, q.Id, r.Response)
	}
	words := []string{mdns.RcodeToString[r.Rcode]}
	for _, a := range r.Answer {
		words = append(words, fmt.Sprintf("%s %d%s", a.Header().Name, a.Header().Ttl, strings.TrimPrefix(a.String(), a.Header().String()[:len(a.Header().String())-1])))
	}
	if o := r.IsEdns0(); o != nil {
		for _, x := range o.Option {
			if x, ok := x.(*mdns.EDNS0_EDE); ok {
				words = append(words, fmt.Sprintf("EDE %d", x.InfoCode))
			}
		}
	}
	return strings.ReplaceAll(strings.Join(words, ", "), "\t", " ")
}

func TestAnswer(t *testing.T) {
	up := newServer(t, zone(t,
		"allowed.example.: allowed.example. 60 IN A 198.51.100.10",
		"allowed.example.: allowed.example. 60 IN AAAA 2001:db8::10",
		"long.example.: long.example. 86400 IN A 198.51.100.11",
		"short.example.: short.example. 0 IN A 198.51.100.12",
		"alias.example.: alias.example. 30 IN CNAME a.cdn.example.",
		"alias.example.: a.cdn.example. 60 IN CNAME b.cdn.example.",
		"alias.example.: b.cdn.example. 60 IN A 198.51.100.13",
		"alias.example.: stray.example. 60 IN A 198.51.100.66",
		"rebind.example.: rebind.example. 60 IN A 127.0.0.1",
		"rebind.example.: rebind.example. 60 IN A 10.0.2.3",
		"rebind.example.: rebind.example. 60 IN AAAA ::ffff:10.1.1.1",
		"both.example.: both.example. 60 IN A 192.168.1.1",
		"both.example.: both.example. 60 IN A 198.51.100.14",
		"nas.example.: nas.example. 60 IN A 192.168.1.2",
		"mapped.example.: mapped.example. 60 IN AAAA ::ffff:198.51.100.10",
	))
	c := slirp.Config{DNS: slirp.DNS{
		Servers: []netip.AddrPort{up.addr}, Hostname: "box",
		Hosts: []slirp.Host{{Name: "db", Addresses: []netip.Addr{netip.MustParseAddr("10.9.8.7"), netip.MustParseAddr("fd00::7")}}},
	}}
	s, g := newDNS(t, c, "allowed.example", "long.example", "short.example", "alias.example", "rebind.example", "both.example",
		"nothere.example", "*.wild.example", "@lan/nas.example", "mapped.example")
	for _, tt := range []struct {
		name string
		kind uint16
		want string
	}{
		{"allowed.example", mdns.TypeA, "NOERROR, allowed.example. 60 198.51.100.10"},
		{"ALLOWED.example", mdns.TypeA, "NOERROR, ALLOWED.example. 60 198.51.100.10"},
		{"allowed.example", mdns.TypeAAAA, "NOERROR, allowed.example. 60 2001:db8::10"},
		{"long.example", mdns.TypeA, "NOERROR, long.example. 300 198.51.100.11"},
		{"short.example", mdns.TypeA, "NOERROR, short.example. 5 198.51.100.12"},
		{"alias.example", mdns.TypeA, "NOERROR, alias.example. 30 198.51.100.13"},
		{"rebind.example", mdns.TypeA, "NOERROR, EDE 18"},
		{"rebind.example", mdns.TypeAAAA, "NOERROR, EDE 18"},
		{"mapped.example", mdns.TypeAAAA, "NOERROR, EDE 18"},
		{"both.example", mdns.TypeA, "NOERROR, both.example. 60 198.51.100.14"},
		{"nas.example", mdns.TypeA, "NOERROR, nas.example. 60 192.168.1.2"},
		{"nothere.example", mdns.TypeA, "NXDOMAIN"},
		{"denied.example", mdns.TypeA, "NXDOMAIN, EDE 18"},
		{"allowed.example.evil.example", mdns.TypeA, "NXDOMAIN, EDE 18"},
		{"notallowed.example", mdns.TypeA, "NXDOMAIN, EDE 18"},
		{"wild.example", mdns.TypeA, "NXDOMAIN, EDE 18"},
		{"127.1", mdns.TypeA, "NXDOMAIN, EDE 18"},
		{`a\000.wild.example`, mdns.TypeA, "NXDOMAIN, EDE 18"},
		{`a\.b.wild.example`, mdns.TypeA, "NXDOMAIN, EDE 18"},
		{".", mdns.TypeNS, "NXDOMAIN, EDE 18"},
		{"allowed.example", mdns.TypeTXT, "NOERROR, EDE 18"},
		{"allowed.example", mdns.TypeANY, "NOERROR, EDE 18"},
		{"allowed.example", mdns.TypeHTTPS, "NOERROR"},
		{"allowed.example", mdns.TypeSVCB, "NOERROR"},
		{"denied.example", mdns.TypeHTTPS, "NXDOMAIN, EDE 18"},
		{slirp.HostName, mdns.TypeA, "NOERROR, host.sbx.internal. 5 10.0.2.2"},
		{slirp.HostName, mdns.TypeAAAA, "NOERROR, host.sbx.internal. 5 fd53:6278::2"},
		{"box", mdns.TypeA, "NOERROR, box. 5 10.0.2.100"},
		{"db", mdns.TypeA, "NOERROR, db. 5 10.9.8.7"},
		{"db", mdns.TypeAAAA, "NOERROR, db. 5 fd00::7"},
		{"db", mdns.TypeTXT, "NOERROR"},
		{"10.100.51.198.in-addr.arpa", mdns.TypePTR, "NOERROR, 10.100.51.198.in-addr.arpa. 5 allowed.example."},
		{"2.2.0.10.in-addr.arpa", mdns.TypePTR, "NOERROR, 2.2.0.10.in-addr.arpa. 5 host.sbx.internal."},
		{"0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", mdns.TypePTR,
			"NOERROR, 0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 5 allowed.example."},
		{"1.1.1.1.in-addr.arpa", mdns.TypePTR, "NXDOMAIN"},
		{"secret.in-addr.arpa", mdns.TypePTR, "NXDOMAIN"},
	} {
		if got := ask(t, s, tt.name, tt.kind); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.name, mdns.TypeToString[tt.kind], got, tt.want)
		}
	}
	for _, q := range up.asked() {
		if strings.Contains(q, "denied") || strings.Contains(q, "evil") || strings.Contains(q, "arpa") || !strings.HasPrefix(q, "A") {
			t.Errorf("the host's server was asked for %s", q)
		}
	}
	for a, want := range map[string]string{"198.51.100.13": "alias.example", "198.51.100.66": "", "192.168.1.1": "", "127.0.0.1": ""} {
		if got := strings.Join(g.Names(netip.MustParseAddr(a)), " "); got != want {
			t.Errorf("%s is pinned to %q, want %q", a, got, want)
		}
	}
}

// TestAliases: a name that leads to one that is denied is not answered, nor one that
// leads on for ever, in whatever order its aliases come.
func TestAliases(t *testing.T) {
	records := []string{
		"shop.example.: shop.example. 60 IN CNAME edge.tracker.example.",
		"shop.example.: edge.tracker.example. 60 IN A 198.51.100.20",
		"part.example.: part.example. 60 IN CNAME mail.example.",
		"part.example.: mail.example. 60 IN A 198.51.100.21",
	}
	for i := 700; i > 0; i-- {
		records = append(records, fmt.Sprintf("far.example.: c%d.example. 60 IN CNAME c%d.example.", i-1, i))
	}
	records = append(records, "far.example.: far.example. 60 IN CNAME c0.example.", "far.example.: c700.example. 60 IN A 198.51.100.22")
	all := zone(t, records...)
	up := newServer(t, func(q, r *mdns.Msg, tcp bool) {
		if all(q, r, tcp); !tcp && len(r.Answer) > 10 {
			r.Answer, r.Truncated = nil, true
		}
	})
	c := slirp.Config{DNS: slirp.DNS{Servers: []netip.AddrPort{up.addr}}, IPv4: slirp.Default4, IPv6: slirp.Default6}
	var lists [2][]policy.Rule
	for i, texts := range [][]string{{"@internet"}, {"*.tracker.example", "mail.example:25"}} {
		for _, text := range texts {
			r, err := policy.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			lists[i] = append(lists[i], r)
		}
	}
	c.Policy = policy.New(lists[0], lists[1])
	g := gate.New(gate.Options{Policy: c.Policy})
	s := New(&c, g)
	for name, want := range map[string]string{
		"shop.example": "NXDOMAIN, EDE 18", "part.example": "NOERROR, part.example. 60 198.51.100.21", "far.example": "NOERROR",
	} {
		if got := ask(t, s, name, mdns.TypeA); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if d := g.Denied(); len(d) != 1 || d[0].Name != "shop.example" || d[0].Rule != "*.tracker.example" || d[0].Reason != "it is an alias of edge.tracker.example" {
		t.Errorf("told is %+v", d)
	}
	if names := g.Names(netip.MustParseAddr("198.51.100.20")); len(names) > 0 {
		t.Errorf("what is denied is pinned to %q", names)
	}
}

// TestSearch: what a resolver makes of a name that was denied is not told again.
func TestSearch(t *testing.T) {
	up := newServer(t, zone(t, "git.corp.example.: git.corp.example. 60 IN A 198.51.100.1"))
	s, g := newDNS(t, slirp.Config{DNS: slirp.DNS{Servers: []netip.AddrPort{up.addr}, Search: []string{"Corp.example."}}}, "git.corp.example", "x.y.corp.example")
	for name, want := range map[string]string{
		"git.corp.example":            "NOERROR, git.corp.example. 60 198.51.100.1",
		"x.y.corp.example":            "NXDOMAIN", // allowed: asked, and unknown
		"denied.example":              "NXDOMAIN, EDE 18",
		"denied.example.corp.example": "NXDOMAIN, EDE 18",
		"wiki.corp.example":           "NXDOMAIN, EDE 18",
	} {
		if got := ask(t, s, name, mdns.TypeA); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var told []string
	for _, e := range g.Denied() {
		told = append(told, e.Name)
	}
	slices.Sort(told)
	if want := []string{"denied.example", "wiki.corp.example"}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

// TestFresh: nothing of a message but the name goes on.
func TestFresh(t *testing.T) {
	up := newServer(t, zone(t, "allowed.example.: allowed.example. 60 IN A 198.51.100.10"))
	s, _ := newDNS(t, slirp.Config{DNS: slirp.DNS{Servers: []netip.AddrPort{up.addr}}}, "allowed.example")
	q := new(mdns.Msg)
	q.SetQuestion("AlLoWeD.example.", mdns.TypeA)
	q.AuthenticatedData, q.CheckingDisabled = true, true
	o := &mdns.OPT{Hdr: mdns.RR_Header{Name: ".", Rrtype: mdns.TypeOPT}}
	o.SetUDPSize(4096)
	o.Option = append(o.Option, &mdns.EDNS0_LOCAL{Code: 65001, Data: []byte("smuggled")}, &mdns.EDNS0_COOKIE{Code: mdns.EDNS0COOKIE, Cookie: "24a5ac1122334455"})
	q.Extra = append(q.Extra, o, rr(t, "x.example. 1 IN TXT \"smuggled\""))
	q.Answer = append(q.Answer, rr(t, "y.example. 1 IN TXT \"smuggled\""))
	if got := say(t, s, q); got != "NOERROR, AlLoWeD.example. 60 198.51.100.10" {
		t.Errorf("%q", got)
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if len(up.raw) != 1 || strings.Contains(string(up.raw[0]), "smuggled") || up.got[0] != "A allowed.example." {
		t.Errorf("the host's server got %q", up.raw)
	}
}

func TestMessages(t *testing.T) {
	s, _ := newDNS(t, slirp.Config{DNS: slirp.DNS{Servers: []netip.AddrPort{}}}, "@internet")
	ctx := context.Background()
	for _, b := range [][]byte{nil, {1}, make([]byte, 11)} {
		if s.Answer(ctx, b, false) != nil {
			t.Errorf("an answer to %d bytes", len(b))
		}
	}
	r := new(mdns.Msg)
	if err := r.Unpack(s.Answer(ctx, append([]byte{7, 8, 1, 0, 0, 9, 0, 9, 0, 9, 0, 9}, 0xff), false)); err != nil || r.Rcode != mdns.RcodeFormatError || r.Id != 0x0708 {
		t.Errorf("%v, %v", r, err)
	}
	q := new(mdns.Msg)
	q.SetQuestion("x.example.", mdns.TypeA)
	q.Response = true
	if got := say(t, s, q); got != "nothing" {
		t.Errorf("an answer to an answer: %s", got)
	}
	for _, tt := range []struct {
		edit func(*mdns.Msg)
		want string
	}{
		{func(q *mdns.Msg) { q.Opcode = mdns.OpcodeUpdate }, "NOTIMP"},
		{func(q *mdns.Msg) { q.Question = nil }, "FORMERR"},
		{func(q *mdns.Msg) { q.Question = append(q.Question, q.Question[0]) }, "FORMERR"},
		{func(q *mdns.Msg) { q.Question[0].Qclass = mdns.ClassCHAOS }, "REFUSED"},
		{func(q *mdns.Msg) {}, "SERVFAIL"},
	} {
		q := new(mdns.Msg)
		q.SetQuestion("x.example.", mdns.TypeA)
		tt.edit(q)
		if got := say(t, s, q); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

// TestTruncated: what is long goes by TCP, on both sides.
func TestTruncated(t *testing.T) {
	up := newServer(t, func(q, r *mdns.Msg, tcp bool) {
		for i := range 100 {
			r.Answer = append(r.Answer, rr(t, fmt.Sprintf("big.example. 60 IN A 198.51.100.%d", i)))
		}
		if !tcp {
			r.Truncate(512)
		}
	})
	s, _ := newDNS(t, slirp.Config{DNS: slirp.DNS{Servers: []netip.AddrPort{up.addr}}}, "big.example")
	q := new(mdns.Msg)
	q.SetQuestion("big.example.", mdns.TypeA)
	out, _ := q.Pack()
	for _, tcp := range []bool{true, false} {
		in := s.Answer(context.Background(), out, tcp)
		r := new(mdns.Msg)
		if err := r.Unpack(in); err != nil {
			t.Fatal(err)
		}
		if r.Truncated == tcp || !tcp && len(in) > 512 || tcp && len(r.Answer) != 100 {
			t.Errorf("tcp %v: %d bytes, %d answers, truncated %v", tcp, len(in), len(r.Answer), r.Truncated)
		}
	}
}

func TestVersions(t *testing.T) {
	up := newServer(t, zone(t, "x.example.: x.example. 60 IN A 198.51.100.1", "x.example.: x.example. 60 IN AAAA 2001:db8::1"))
	s, _ := newDNS(t, slirp.Config{IPv4: slirp.Default4, DNS: slirp.DNS{Servers: []netip.AddrPort{up.addr}}}, "x.example")
	if got := ask(t, s, "x.example", mdns.TypeAAAA); got != "NOERROR" {
		t.Errorf("an IPv6 address without IPv6: %s", got)
	}
	if len(up.asked()) != 0 {
		t.Error("asked for nothing")
	}
}

// TestUpstream: the next server is asked when one fails, and split domains have
// their own.
func TestUpstream(t *testing.T) {
	bad := newServer(t, func(q, r *mdns.Msg, _ bool) { r.Rcode = mdns.RcodeServerFailure })
	liar := newServer(t, func(q, r *mdns.Msg, _ bool) {
		r.Question[0].Name = "other.example."
		r.Answer = append(r.Answer, rr(t, "other.example. 60 IN A 198.51.100.66"))
	})
	good := newServer(t, func(q, r *mdns.Msg, _ bool) {
		r.Answer = append(r.Answer, rr(t, q.Question[0].Name+" 60 IN A 198.51.100.1"))
	})
	corp := newServer(t, func(q, r *mdns.Msg, _ bool) {
		r.Answer = append(r.Answer, rr(t, q.Question[0].Name+" 60 IN A 198.51.100.2"))
	})
	s, _ := newDNS(t, slirp.Config{DNS: slirp.DNS{
		Servers: []netip.AddrPort{bad.addr, liar.addr, good.addr},
		Split:   []slirp.Split{{Domain: "example", Servers: []netip.AddrPort{bad.addr}}, {Domain: "corp.example", Servers: []netip.AddrPort{corp.addr}}},
	}}, "@internet")
	for name, want := range map[string]string{
		"x.test":           "NOERROR, x.test. 60 198.51.100.1",
		"git.corp.example": "NOERROR, git.corp.example. 60 198.51.100.2",
		"corp.example":     "NOERROR, corp.example. 60 198.51.100.2",
		"xcorp.example":    "SERVFAIL, EDE 23",
	} {
		if got := ask(t, s, name, mdns.TypeA); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if len(corp.asked()) != 2 {
		t.Errorf("the domain's server was asked %v", corp.asked())
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	u := newUpstream(&slirp.DNS{File: path})
	see := func(want string) {
		t.Helper()
		u.looked = time.Time{}
		if got := fmt.Sprint(u.current()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	see("[127.0.0.1:53]") // there is none
	write("# a comment\nnameserver 192.0.2.1\nsearch x.example\nnameserver\nnameserver bad\nnameserver 2001:db8::53\n")
	see("[192.0.2.1:53 [2001:db8::53]:53]")
	write("nameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nnameserver 192.0.2.5\n")
	see("[192.0.2.2:53 192.0.2.3:53 192.0.2.4:53]")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	see("[192.0.2.2:53 192.0.2.3:53 192.0.2.4:53]") // while somebody replaces it
	write("options edns0\n")
	see("[127.0.0.1:53]")
}

// FuzzAnswer: whatever the message, the answer can be read and has its number,
// and nothing is asked but for the name that is allowed.
func FuzzAnswer(f *testing.F) {
	up := newServer(f, func(q, r *mdns.Msg, _ bool) {
		if q.Question[0].Name != "allowed.example." {
			f.Errorf("asked for %q", q.Question[0].Name)
		}
		r.Answer = append(r.Answer, &mdns.A{Hdr: mdns.RR_Header{Name: q.Question[0].Name, Rrtype: mdns.TypeA, Class: 1, Ttl: 60}, A: net.IP{198, 51, 100, 10}})
	})
	s, _ := newDNS(f, slirp.Config{DNS: slirp.DNS{Servers: []netip.AddrPort{up.addr}}}, "allowed.example")
	for _, name := range []string{"allowed.example.", "denied.example.", ".", `a\000b.`, "1.0.0.127.in-addr.arpa."} {
		for _, kind := range []uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypePTR, mdns.TypeHTTPS, mdns.TypeANY} {
			q := new(mdns.Msg)
			q.SetQuestion(name, kind)
			q.SetEdns0(1232, true)
			b, _ := q.Pack()
			f.Add(b, true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		in := s.Answer(context.Background(), b, tcp)
		if in == nil {
			return
		}
		r := new(mdns.Msg)
		if err := r.Unpack(in); err != nil {
			t.Fatalf("the answer to %x: %v", b, err)
		}
		if r.Id != uint16(b[0])<<8|uint16(b[1]) || !r.Response || !tcp && len(in) > udpBytes {
			t.Fatalf("the answer to %x: %v", b, r)
		}
	})
}
