package gate

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// told is what a gate reports.
type told struct {
	mu     sync.Mutex
	events []slirp.Event
}

func (t *told) report(e slirp.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

func (t *told) last() slirp.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 {
		return slirp.Event{}
	}
	return t.events[len(t.events)-1]
}

func newGate(t testing.TB, o Options, rules ...string) (*Gate, *told) {
	t.Helper()
	var list, deny []policy.Rule
	for _, text := range rules {
		text, denies := strings.CutPrefix(text, "-")
		r, err := policy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		r.From = "x.toml:1"
		if denies {
			deny = append(deny, r)
			continue
		}
		list = append(list, r)
	}
	onDeny := o.Policy.OnDeny
	o.Policy = policy.New(list, deny)
	o.Policy.OnDeny = onDeny
	o.Own = policy.Own{
		Subnets:  []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.0.2.2")},
		Host:     func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.7") },
	}
	seen := &told{}
	o.Report = seen.report
	return New(o), seen
}

func conn(to string) Conn { return Conn{Protocol: policy.TCP, Target: netip.MustParseAddrPort(to)} }

func TestJudge(t *testing.T) {
	g, seen := newGate(t, Options{HostPorts: []slirp.HostPort{{Protocol: "tcp", Port: 80, HostPort: 8080, From: "x.toml:2"}}},
		"allowed.example:443", "@host:5432", "203.0.113.7:22")
	ctx := context.Background()
	if !g.Pin("allowed.example", netip.MustParseAddr("198.51.100.10")) {
		t.Fatal("not pinned")
	}
	for _, tt := range []struct {
		to    string
		allow bool
		dial  string
		rule  string
		from  string
		add   string
		name  string
	}{
		{to: "198.51.100.10:443", allow: true, dial: "[198.51.100.10:443]", rule: "allowed.example:443", from: "x.toml:1", name: "allowed.example"},
		{to: "198.51.100.10:80", add: "allowed.example:80", name: "allowed.example"},
		{to: "198.51.100.20:443", add: "198.51.100.20:443"},
		{to: "10.0.2.2:5432", allow: true, dial: "[127.0.0.1:5432 [::1]:5432]", rule: "@host:5432"},
		{to: "10.0.2.2:5433", add: "@host:5433"},
		{to: "10.0.2.2:80", allow: true, dial: "[127.0.0.1:8080 [::1]:8080]", rule: "host_ports", from: "x.toml:2", name: slirp.HostName},
		{to: "10.0.2.2:8080", add: "@host:8080"},
		{to: "203.0.113.7:5432", allow: true, dial: "[203.0.113.7:5432]", rule: "@host:5432"},
		{to: "203.0.113.7:22", allow: true, dial: "[203.0.113.7:22]", rule: "203.0.113.7:22"},
		{to: "127.0.0.1:5432"},
		{to: "169.254.169.254:80"},
		{to: "192.168.1.1:80", add: "192.168.1.1:80"},
	} {
		r := g.Judge(ctx, conn(tt.to))
		dial := ""
		if len(r.Dial) > 0 {
			dial = fmt.Sprint(r.Dial)
		}
		if r.Allow != tt.allow || dial != tt.dial || r.RuleText() != tt.rule {
			t.Errorf("%s: %v by %q, dial %s", tt.to, r.Allow, r.RuleText(), dial)
		}
		e := seen.last()
		if !r.CheckTLS && (e.Address.String() != netip.MustParseAddrPort(tt.to).Addr().String() || e.Add != tt.add || e.Name != tt.name) {
			t.Errorf("%s: told %+v", tt.to, e)
		}
		if tt.from != "" && !r.CheckTLS && e.From != tt.from {
			t.Errorf("%s: from %q", tt.to, e.From)
		}
		if (e.Event == slirp.EventAllowed) != tt.allow && !r.CheckTLS {
			t.Errorf("%s: told %s", tt.to, e.Event)
		}
	}
}

// TestHostPortDenied: a denial goes before host_ports as before all else that is
// allowed, that of a running sandbox too.
func TestHostPortDenied(t *testing.T) {
	ports := Options{HostPorts: []slirp.HostPort{{Protocol: "tcp", Port: 80, HostPort: 8080}, {Protocol: "tcp", Port: 81, HostPort: 81}}}
	g, _ := newGate(t, ports, "-@host:80")
	if r := g.Look(conn("10.0.2.2:80")); r.Allow || len(r.Dial) > 0 || r.RuleText() != "@host:80" {
		t.Errorf("a port that the profile denies: %+v", r)
	}
	if r := g.Look(conn("10.0.2.2:81")); !r.Allow {
		t.Errorf("another: %+v", r)
	}
	if err := g.Add("host.sbx.internal", false, 0); err != nil {
		t.Fatal(err)
	}
	if r := g.Look(conn("10.0.2.2:81")); r.Allow || r.Waits {
		t.Errorf("denied while it runs: %+v", r)
	}
}

// TestDenied: each destination is told first once, and counted.
func TestDenied(t *testing.T) {
	g, seen := newGate(t, Options{})
	for range 3 {
		g.JudgeNow(conn("198.51.100.20:443"))
	}
	g.JudgeNow(conn("198.51.100.20:80"))
	g.Resolves(context.Background(), "x.example", "A")
	g.Resolves(context.Background(), "x.example", "AAAA")
	firsts := 0
	for _, e := range seen.events {
		if e.First {
			firsts++
		}
	}
	if len(seen.events) != 6 || firsts != 3 {
		t.Errorf("%d events, %d of them first", len(seen.events), firsts)
	}
	list := g.Denied()
	if len(list) != 3 || list[0].Count != 3 || list[1].Count != 1 || list[2].Count != 2 || list[2].Add != "x.example" {
		t.Errorf("%+v", list)
	}
	for i := range 3 * maxDenied {
		g.JudgeNow(Conn{Protocol: policy.TCP, Target: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.20"), uint16(i+1000))})
	}
	if list := g.Denied(); len(list) != maxDenied+1 {
		t.Errorf("%d destinations are counted apart", len(list))
	} else if last := list[maxDenied]; last.Protocol != "more" || last.Count < maxDenied {
		t.Errorf("the rest is %+v", last)
	}
}

// TestWatched: with a rule that denies a name, TLS may not ask for it at the
// address of another, and what is no TLS is not held up.
func TestWatched(t *testing.T) {
	g, seen := newGate(t, Options{}, "@internet", "-denied.example", "-port.example:80")
	if r := g.Look(Conn{Protocol: policy.UDP, Target: netip.MustParseAddrPort("198.51.100.10:443")}); r.Allow || !strings.Contains(r.Reason, "QUIC") {
		t.Errorf("QUIC: %+v", r)
	}
	if r := g.Look(conn("198.51.100.10:8443")); !r.Allow || r.WatchTLS {
		t.Errorf("another port: %+v", r)
	}
	c := conn("198.51.100.10:443")
	r := g.Look(c)
	if !r.Allow || !r.WatchTLS || r.CheckTLS {
		t.Fatalf("%+v", r)
	}
	for _, tt := range []struct {
		name, why string
		allow     bool
	}{
		{"allowed.example", "", true},
		{"port.example", "", true},
		{"", "", true},
		{"denied.example", "", false},
		{"", "it did not send a ClientHello in time", false},
	} {
		got := g.TLSName(c, r, tt.name, tt.why)
		if got.Allow != tt.allow || got.Allow != (len(got.Dial) == 1) || got.WatchTLS {
			t.Errorf("%q %q: %+v", tt.name, tt.why, got)
		}
		if e := seen.last(); !tt.allow && (e.Event != slirp.EventDenied || e.Reason == "" || e.Add != "") {
			t.Errorf("%q %q: told %+v", tt.name, tt.why, e)
		}
	}
	plain, _ := newGate(t, Options{}, "@internet")
	if r := plain.Look(c); !r.Allow || r.WatchTLS {
		t.Errorf("without such a rule: %+v", r)
	}
}

// TestOnce: what is allowed once begins soon, and leaves no rule.
func TestOnce(t *testing.T) {
	g, seen := newGate(t, Options{Policy: policy.Policy{OnDeny: "ask"}})
	answers := func(want Conn) Ruling {
		t.Helper()
		done := make(chan Ruling)
		before := seen.last().ID
		go func() { done <- g.Judge(context.Background(), want) }()
		for seen.last().ID == before {
			time.Sleep(time.Millisecond)
		}
		if err := g.AnswerOnce(seen.last().ID); err != nil {
			t.Fatal(err)
		}
		return <-done
	}
	c := conn("198.51.100.10:80")
	if r := answers(c); !r.Allow || !r.Once || len(r.Dial) != 1 {
		t.Errorf("%+v", r)
	}
	if r := g.Look(conn("198.51.100.11:80")); r.Allow || len(g.Rules()) > 0 {
		t.Errorf("another: %+v; rules %v", r, g.Rules())
	}
	named := make(chan policy.Verdict)
	before := seen.last().ID
	go func() { named <- g.Resolves(context.Background(), "a.example", "A") }()
	for seen.last().ID == before || seen.last().Event != slirp.EventAsk {
		time.Sleep(time.Millisecond)
	}
	if err := g.AnswerOnce(seen.last().ID); err != nil {
		t.Fatal(err)
	}
	if v := <-named; !v.Allow || !g.Resolves(context.Background(), "a.example", "AAAA").Allow {
		t.Errorf("a name: %+v", v)
	}
	if g.Pin("a.example", netip.MustParseAddr("192.168.1.1")) || !g.Pin("a.example", netip.MustParseAddr("198.51.100.20")) {
		t.Error("the name's addresses: only those of the internet are meant")
	}
	if r := g.Look(conn("198.51.100.20:443")); !r.Allow || !r.Once {
		t.Errorf("a connection by that name: %+v", r)
	}
	g.mu.Lock()
	for k := range g.once {
		g.once[k] = time.Now().Add(-time.Second)
	}
	g.mu.Unlock()
	if r := g.Look(c); r.Allow || !r.Waits {
		t.Errorf("later: %+v", r)
	}
	if err := g.AnswerOnce(99); err == nil {
		t.Error("a question that nobody asked is answered")
	}
}

func TestTLSName(t *testing.T) {
	g, seen := newGate(t, Options{}, "allowed.example:443", "other.example:443", "third.example:80")
	g.Pin("allowed.example", netip.MustParseAddr("198.51.100.10"))
	c := conn("198.51.100.10:443")
	r := g.Look(c)
	if !r.CheckTLS {
		t.Fatalf("%+v", r)
	}
	for _, tt := range []struct {
		name, why string
		allow     bool
	}{
		{"allowed.example", "", true},
		{"other.example", "", true},
		{"third.example", "", false},
		{"evil.example", "", false},
		{"", "", false},
		{"", "it does not begin with a TLS ClientHello", false},
	} {
		got := g.TLSName(c, r, tt.name, tt.why)
		if got.Allow != tt.allow || got.Allow != (len(got.Dial) == 1) || got.CheckTLS {
			t.Errorf("%q %q: %+v", tt.name, tt.why, got)
		}
		if e := seen.last(); !tt.allow && (e.Event != slirp.EventDenied || e.Reason == "" || tt.why != "" && !strings.Contains(e.Reason, tt.why)) {
			t.Errorf("%q %q: told %+v", tt.name, tt.why, e)
		}
	}
}

func TestLive(t *testing.T) {
	changed := 0
	var mu sync.Mutex
	g, _ := newGate(t, Options{Changed: func() { mu.Lock(); changed++; mu.Unlock() }}, "198.51.100.10:443")
	c, other := conn("198.51.100.10:443"), conn("198.51.100.20:443")
	for _, tt := range []struct {
		what string
		do   func() error
		want [2]bool
	}{
		{"nothing", func() error { return nil }, [2]bool{true, false}},
		{"allow", func() error { return g.Add("198.51.100.20", true, time.Hour) }, [2]bool{true, true}},
		{"deny", func() error { return g.Add("198.51.100.0/24", false, 0) }, [2]bool{false, false}},
		{"allow again", func() error { return g.Add("198.51.100.20", true, 0) }, [2]bool{false, true}},
		{"remove", func() error { return g.Remove("198.51.100.0/24") }, [2]bool{true, true}},
		{"remove the other", func() error { return g.Remove("198.51.100.20") }, [2]bool{true, false}},
	} {
		if err := tt.do(); err != nil {
			t.Fatalf("%s: %v", tt.what, err)
		}
		if got := [2]bool{g.Look(c).Allow, g.Look(other).Allow}; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
	if changed != 5 {
		t.Errorf("told of %d changes of 5", changed)
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{g.Remove("198.51.100.10:443"), "is the profile's"},
		{g.Remove("x.example"), "there is no rule"},
		{g.Add("x y", true, 0), "a space"},
		{g.Add("x.example", true, -1), "is over already"},
		{g.Add("udp://x.example:443", true, 0), "QUIC"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%v; it should say %q", tt.err, tt.want)
		}
	}
	if err := g.Add("198.51.100.20", true, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if rules := g.Rules(); len(rules) != 2 || !rules[0].Live || rules[0].Expires.IsZero() || rules[1].Live {
		t.Errorf("%+v", rules)
	}
	if !g.Look(other).Allow {
		t.Error("not yet allowed")
	}
	time.Sleep(150 * time.Millisecond)
	if g.Look(other).Allow || len(g.Rules()) != 1 {
		t.Error("still allowed")
	}
}

func TestAsk(t *testing.T) {
	o := Options{Hold: 200 * time.Millisecond}
	o.Policy.OnDeny = "ask"
	g, seen := newGate(t, o)
	ctx := context.Background()
	if r := g.JudgeNow(conn("198.51.100.10:443")); !r.Waits || len(seen.events) != 0 {
		t.Errorf("%+v, %+v", r, seen.events)
	}
	var wg sync.WaitGroup
	for range 5 { // one question for all
		wg.Go(func() {
			if !g.Judge(ctx, conn("198.51.100.10:443")).Allow {
				t.Error("denied")
			}
		})
	}
	for seen.last().Event != slirp.EventAsk {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	if err := g.Answer(seen.last().ID, true); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := g.Answer(1, true); err == nil {
		t.Error("answered twice")
	}
	if r := g.Judge(ctx, conn("198.51.100.11:443")); r.Allow || !strings.Contains(r.Reason, "nobody answered in time") {
		t.Errorf("%+v", r)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if v := g.Resolves(short, "x.example", "A"); v.Allow {
		t.Errorf("%+v", v)
	}
	go func() {
		for seen.last().Event != slirp.EventAsk || seen.last().Name != "y.example" {
			time.Sleep(time.Millisecond)
		}
		_ = g.Answer(seen.last().ID, true)
	}()
	if v := g.Resolves(ctx, "y.example", "A"); !v.Allow {
		t.Errorf("%+v", v)
	}
	if r := g.Judge(ctx, conn("127.0.0.1:80")); r.Allow || r.Waits || !r.Final {
		t.Errorf("asked about what never is allowed: %+v", r)
	}
}

func TestPins(t *testing.T) {
	var p pins
	a := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}) }
	for i := range maxPins + 10 {
		p.add(a(i), "x.example")
	}
	if len(p.byAddr) != maxPins || p.names(a(0)) != nil || p.names(a(maxPins+9)) == nil {
		t.Errorf("%d pins", len(p.byAddr))
	}
	for i := range maxNames + 5 {
		p.add(a(100), fmt.Sprintf("n%d.example", i))
	}
	if n := p.names(a(100)); len(n) != maxNames || n[maxNames-1] != fmt.Sprintf("n%d.example", maxNames+4) {
		t.Errorf("%d names", len(n))
	}
}

func TestNamed(t *testing.T) {
	g, _ := newGate(t, Options{}, "udp://198.51.100.53:53", "@internet", "198.51.100.54")
	for to, want := range map[string]bool{"198.51.100.53:53": true, "198.51.100.54:53": false, "198.51.100.55:53": false} {
		if got := g.Named(Conn{policy.UDP, netip.MustParseAddrPort(to)}); got != want {
			t.Errorf("Named(%s) = %v", to, got)
		}
	}
	if g.Named(conn("198.51.100.53:53")) {
		t.Error("the rule is for UDP")
	}
}
