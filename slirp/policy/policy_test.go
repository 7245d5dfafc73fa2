package policy

import (
	"net/netip"
	"strings"
	"testing"
)

var own = Own{
	Subnets:  []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("fd53:6278::/64")},
	Gateways: []netip.Addr{netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("fd53:6278::2")},
	Host: func(a netip.Addr) bool {
		return a == netip.MustParseAddr("192.168.7.7") || a == netip.MustParseAddr("203.0.113.7") || a == netip.MustParseAddr("2001:db8::7")
	},
}

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		addr string
		want Class
	}{
		{"198.51.100.10", Internet},
		{"2001:db8::10", Internet},
		{"8.8.8.8", Internet},
		{"10.0.2.2", Host},
		{"fd53:6278::2", Host},
		{"10.0.2.3", Never},
		{"10.0.2.255", Never},
		{"fd53:6278::3", Never},
		{"192.168.7.7", Host},
		{"203.0.113.7", Host},
		{"2001:db8::7", Host},
		{"192.168.7.8", LAN},
		{"10.1.2.3", LAN},
		{"172.31.255.255", LAN},
		{"172.32.0.1", Internet},
		{"100.64.0.1", LAN},
		{"100.128.0.1", Internet},
		{"fd00::1", LAN},
		{"fec0::1", LAN},
		{"240.0.0.1", LAN},
		{"198.18.0.1", LAN},
		{"127.0.0.1", Never},
		{"127.255.255.254", Never},
		{"::1", Never},
		{"::", Never},
		{"0.0.0.0", Never},
		{"0.1.2.3", Never},
		{"255.255.255.255", Never},
		{"169.254.169.254", Never},
		{"fe80::1", Never},
		{"fd00:ec2::254", Never},
		{"fd20:ce::254", Never},
		{"fd00:42::42", Never},
		{"fd00:42::43", LAN},
		{"fd00:c1::a9fe:a9fe", Never},
		{"fd00:a9fe:a9fe::1", Never},
		{"fd00:100::100:200", Never},
		{"168.63.129.16", Never},
		{"100.100.100.200", Never},
		{"224.0.0.251", Never},
		{"ff02::fb", Never},
		{"::ffff:127.0.0.1", Never},
		{"::ffff:198.51.100.10", Never},
		{"::127.0.0.1", Never},
		{"64:ff9b::7f00:1", Never},
		{"64:ff9b::a01:203", LAN},
		{"64:ff9b::a00:203", Never}, // the own subnet
		{"64:ff9b::a00:202", Host},  // the gateway
		{"64:ff9b::c0a8:707", Host},
		{"64:ff9b::808:808", Internet},
		{"64:ff9b:1::a01:203", LAN},
		{"2002:7f00:1::1", Never},
		{"2002:a9fe:a9fe::1", Never},
		{"2002:c0a8:708::1", LAN},
		{"fe80::1%eth0", Never},
		{"2001:0:5ef5:79fb::1", LAN},
		{"2001:db8::1", Internet},
	} {
		if got := Classify(netip.MustParseAddr(tt.addr), own); got != tt.want {
			t.Errorf("Classify(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
	if got := Classify(netip.Addr{}, own); got != Never {
		t.Errorf("Classify of nothing = %s", got)
	}
}

// rules parses a list: "-" before one denies.
func rules(t testing.TB, text string) Policy {
	t.Helper()
	p := Policy{TLSNames: true}
	for _, f := range strings.Fields(text) {
		f, deny := strings.CutPrefix(f, "-")
		r, err := Parse(f)
		if err != nil {
			t.Fatal(err)
		}
		r.Allow = !deny
		p.Rules = append(p.Rules, r)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		rules string
		query string // protocol address port names...
		want  string // the rule, or "" for none; "-" before a denial; "tls " before a check
	}{
		{"", "tcp 198.51.100.10 443", ""},
		{"github.com:443", "tcp 198.51.100.10 443 github.com", "tls github.com:443"},
		{"github.com:443", "tcp 198.51.100.10 443", ""},
		{"github.com:443", "tcp 198.51.100.10 22 github.com", ""},
		{"github.com:443", "udp 198.51.100.10 443 github.com", ""},
		{"github.com:443", "tcp 198.51.100.10 443 notgithub.com", ""},
		{"github.com:443", "tcp 198.51.100.10 443 github.com.evil.example", ""},
		{"github.com:443", "tcp 198.51.100.10 443 x.github.com", ""},
		{"github.com:443", "tcp 198.51.100.10 443 other.example github.com", "tls github.com:443"},
		{"github.com", "tcp 198.51.100.10 22 github.com", "github.com"},
		{"github.com", "udp 198.51.100.10 53 github.com", "github.com"},
		{"github.com", "udp 198.51.100.10 443 github.com", ""}, // QUIC
		{"github.com", "icmp 198.51.100.10 0 github.com", "github.com"},
		{"github.com:443", "icmp 198.51.100.10 0 github.com", ""},
		{"*.packages.example:443", "tcp 198.51.100.10 443 registry.packages.example", "tls *.packages.example:443"},
		{"*.packages.example:443", "tcp 198.51.100.10 443 a.b.packages.example", "tls *.packages.example:443"},
		{"*.packages.example:443", "tcp 198.51.100.10 443 packages.example", ""},
		{"*.packages.example:443", "tcp 198.51.100.10 443 evilpackages.example", ""},
		{"ssh://git.example.org", "tcp 198.51.100.10 22 git.example.org", "ssh://git.example.org"},
		{"ssh://git.example.org", "tcp 198.51.100.10 443 git.example.org", ""},
		{"ssh://git.example.org:2222", "tcp 198.51.100.10 2222 git.example.org", "ssh://git.example.org:2222"},
		{"-198.51.100.0/24 @internet", "tcp 64:ff9b::c633:640a 80", "-198.51.100.0/24"}, // by a translator
		{"-198.51.100.0/24 @internet", "tcp 2002:c633:640a::1 80", "-198.51.100.0/24"},
		{"-198.51.100.0/24 @internet", "tcp 64:ff9b::c633:650a 80", "@internet"},
		{"198.51.100.0/24", "tcp 64:ff9b::c633:640a 80", ""},
		{"udp://10.0.0.5:123", "udp 10.0.0.5 123", "udp://10.0.0.5:123"},
		{"udp://10.0.0.5:123", "tcp 10.0.0.5 123", ""},
		{"10.1.0.0/16:22", "tcp 10.1.255.1 22", "10.1.0.0/16:22"},
		{"10.1.0.0/16:22", "tcp 10.2.0.1 22", ""},
		{"[2001:db8::1]:443", "tcp 2001:db8::1 443", "[2001:db8::1]:443"},
		{"[2001:db8::]/32:443", "tcp 2001:db8::9 443", "[2001:db8::]/32:443"},
		{"198.51.100.10:443", "udp 198.51.100.10 443", ""},
		{"udp://198.51.100.10:443", "udp 198.51.100.10 443", "udp://198.51.100.10:443"},
		{"198.51.100.10:8000-8010,9000", "tcp 198.51.100.10 8010", "198.51.100.10:8000-8010,9000"},
		{"198.51.100.10:8000-8010,9000", "tcp 198.51.100.10 9000", "198.51.100.10:8000-8010,9000"},
		{"198.51.100.10:8000-8010,9000", "tcp 198.51.100.10 8011", ""},

		// What is wide opens only the internet.
		{"@internet", "tcp 198.51.100.10 443", "@internet"},
		{"@internet", "udp 198.51.100.10 443", "@internet"},
		{"@internet", "icmp 198.51.100.10 0", "@internet"},
		{"@internet", "tcp 10.1.2.3 443", ""},
		{"@internet", "tcp 192.168.7.7 443", ""},
		{"@internet", "tcp 203.0.113.7 443", ""}, // the host by its public address
		{"@internet", "tcp 10.0.2.2 443", ""},
		{"@internet", "tcp 127.0.0.1 443", ""},
		{"@internet", "tcp 169.254.169.254 80", ""},
		{"0.0.0.0/0", "tcp 198.51.100.10 443", "0.0.0.0/0"},
		{"0.0.0.0/0", "tcp 10.1.2.3 443", ""},
		{"0.0.0.0/0", "tcp 192.168.7.7 443", ""},
		{"0.0.0.0/0", "tcp 127.0.0.1 443", ""},
		{"0.0.0.0/0", "tcp 169.254.169.254 80", ""},
		{"::/0", "tcp fd00::1 443", ""},
		{"203.0.113.0/24", "tcp 203.0.113.7 443", ""},
		{"203.0.113.7", "tcp 203.0.113.7 443", "203.0.113.7"},
		{"192.168.0.0/16", "tcp 192.168.7.7 443", ""},
		{"192.168.7.7:443", "tcp 192.168.7.7 443", "192.168.7.7:443"},
		{"@lan", "tcp 10.1.2.3 443", "@lan"},
		{"@lan", "tcp 192.168.7.7 443", ""}, // the host's own
		{"@lan", "tcp 198.51.100.10 443", ""},
		{"@lan", "tcp 10.0.2.3 443", ""},
		{"@host:5432", "tcp 10.0.2.2 5432", "@host:5432"},
		{"@host:5432", "tcp 192.168.7.7 5432", "@host:5432"},
		{"@host:5432", "tcp 10.0.2.2 5433", ""},
		{"@host:5432", "tcp 127.0.0.1 5432", ""},

		// Names that point inwards.
		{"github.com:443", "tcp 10.1.2.3 443 github.com", ""},
		{"github.com:443", "tcp 192.168.7.7 443 github.com", ""},
		{"@lan/git.corp.example:443", "tcp 10.1.2.3 443 git.corp.example", "tls @lan/git.corp.example:443"},
		{"@lan/git.corp.example:443", "tcp 198.51.100.10 443 git.corp.example", "tls @lan/git.corp.example:443"},
		{"@lan/git.corp.example:443", "tcp 10.1.2.3 443", ""},
		{"@lan/git.corp.example:443", "tcp 192.168.7.7 443 git.corp.example", ""},

		// The first that is about it decides.
		{"-github.com:22 github.com", "tcp 198.51.100.10 22 github.com", "-github.com:22"},
		{"-github.com:22 github.com", "tcp 198.51.100.10 80 github.com", "github.com"},
		{"-198.51.0.0/16 @internet", "tcp 198.51.100.10 80", "-198.51.0.0/16"},
		{"-0.0.0.0/0:25 @internet @lan", "tcp 10.1.2.3 25", "-0.0.0.0/0:25"},
		{"@internet -198.51.0.0/16", "tcp 198.51.100.10 80", "@internet"},
		{"github.com 198.51.100.0/24", "udp 198.51.100.10 443 github.com", "198.51.100.0/24"},
	} {
		p := rules(t, tt.rules)
		f := strings.Fields(tt.query)
		a := netip.MustParseAddr(f[1])
		ports, _ := parsePorts(f[2])
		q := Query{Protocol: Protocol(f[0]), Address: a, Class: Classify(a, own), Names: f[3:]}
		if len(ports) > 0 {
			q.Port = ports[0].First
		}
		v := p.Decide(q)
		got := ""
		if v.Rule != nil {
			got = v.Rule.Text
			if !v.Allow {
				got = "-" + got
			}
			if v.CheckTLS {
				got = "tls " + got
			}
		}
		if got != tt.want {
			t.Errorf("%q, %s: %q (%s), want %q", tt.rules, tt.query, got, v.Reason, tt.want)
		}
		if !v.Allow && v.Reason == "" {
			t.Errorf("%q, %s: denied without a reason", tt.rules, tt.query)
		}
	}
}

func TestTLSNamesOff(t *testing.T) {
	p := rules(t, "github.com")
	p.TLSNames = false
	q := Query{Protocol: UDP, Address: netip.MustParseAddr("198.51.100.10"), Class: Internet, Port: 443, Names: []string{"github.com"}}
	if v := p.Decide(q); !v.Allow || v.CheckTLS {
		t.Errorf("QUIC with tls_names off: %+v", v)
	}
	q.Protocol = TCP
	if v := p.Decide(q); !v.Allow || v.CheckTLS {
		t.Errorf("TLS with tls_names off: %+v", v)
	}
}

func TestResolves(t *testing.T) {
	for _, tt := range []struct {
		rules, name string
		want        bool
	}{
		{"", "github.com", false},
		{"github.com:443", "github.com", true},
		{"github.com:443", "notgithub.com", false},
		{"*.github.com", "github.com", false},
		{"*.github.com", "api.github.com", true},
		{"10.1.0.0/16", "github.com", false},
		{"@lan", "github.com", false},
		{"@lan/nas.home.example", "nas.home.example", true},
		{"@internet", "github.com", true},
		{"-evil.example @internet", "evil.example", false},
		{"-*.evil.example @internet", "x.evil.example", false},
		{"-evil.example:25 @internet", "evil.example", true},
		{"-@internet github.com", "github.com", true},
	} {
		p := rules(t, tt.rules)
		if got := p.Resolves(tt.name); got.Allow != tt.want {
			t.Errorf("%q: Resolves(%s) = %v (%s)", tt.rules, tt.name, got.Allow, got.Reason)
		}
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		rules, addr string
		want        bool
	}{
		{"x.example", "198.51.100.1", true},
		{"x.example", "10.1.2.3", false},
		{"x.example", "127.0.0.1", false},
		{"x.example", "169.254.169.254", false},
		{"x.example", "192.168.7.7", false},
		{"x.example", "203.0.113.7", false},
		{"x.example 10.1.0.0/16:22", "10.1.2.3", true},
		{"x.example 0.0.0.0/0", "10.1.2.3", false},
		{"x.example @lan", "10.1.2.3", true},
		{"x.example @lan", "192.168.7.7", false},
		{"x.example @host:80", "192.168.7.7", true},
		{"@lan/x.example", "10.1.2.3", true},
		{"@lan/y.example x.example", "10.1.2.3", false},
	} {
		p := rules(t, tt.rules)
		a := netip.MustParseAddr(tt.addr)
		if got := p.Answers("x.example", a, Classify(a, own)); got != tt.want {
			t.Errorf("%q: Answers(%s) = %v", tt.rules, tt.addr, got)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "it is empty"},
		{"git hub.com", "a space"},
		{"a\x00b", "control character"},
		{"ftp://x.example", `the scheme "ftp" is unknown`},
		{"git@github.com:22", "not a user"},
		{"https://github.com/sbx", `write "github.com"`},
		{"github.com:0", `"0" is no port`},
		{"github.com:65536", "is no port"},
		{"github.com:", "is no port"},
		{"github.com:+1", "is no port"},
		{"github.com:https", "is no port"},
		{"github.com:90-80", "end before they begin"},
		{"icmp://x.example:80", "icmp has no ports"},
		{"*", "write @internet"},
		{"a.*.example", "only at the start"},
		{"*example.org", "only at the start"},
		{"a..example", "a dot too many"},
		{".example.org", "a dot too many"},
		{"bücher.example", "xn--"},
		{"x/y", "not a page"},
		{"127.1", "ends in a number"},
		{"0x7f000001", "ends in a number"},
		{"2130706433", "ends in a number"},
		{"0177.0.0.01", "ends in a number"},
		{"1.2.3.4.5", "ends in a number"},
		{"127.0.0.1:80", "@host"},
		{"localhost:5432", "as in @host:5432"},
		{"http://web.localhost", "@host"},
		{"a.example,b.example:443", "write one for each"},
		{"a.example 443", "example.org:443"},
		{"[::1]:80", "@host"},
		{"169.254.169.254", "metadata"},
		{"fe80::1%eth0", "link-local"},
		{"[::ffff:1.2.3.4]:80", "write it as IPv4: 1.2.3.4"},
		{"10.1.2.3/16", "write 10.1.0.0/16"},
		{"10.1.0.0/", "length in bits"},
		{"10.1.0.0/33", "length in bits"},
		{"2001:db8::1:443:x", "more than one colon"},
		{"[2001:db8::1", "not closed"},
		{"[2001:db8::1]443", "comes a colon"},
		{"[10.1.2.3]:80", "brackets are for IPv6"},
		{"@home", "no class @home"},
		{"@members/db", "a member is named without a class: write db"},
		{"@lan/10.1.2.3", "write 10.1.2.3"},
		{"udp://*:1", "write @internet"},
		{strings.Repeat("a", 64) + ".example", "63 are the most"},
		{strings.Repeat("a.", 130) + "example", "253 are the most"},
		{"a b\n", "a space"},
		{"ex%61mple.org", `"%" is in no name`},
	} {
		_, err := Parse(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q): %v; it should say %q", tt.text, err, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	p := Policy{TLSNames: true, OnDeny: "shout", Rules: []Rule{
		{Text: "nothing"},
		{Text: "both", Name: "x.example", Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		{Text: "class", Class: "moon"},
		{Text: "protocol", Class: LAN, Protocols: []Protocol{"sctp"}},
		{Text: "ports", Class: LAN, Ports: []Ports{{9, 8}}},
		{Text: "name", Name: "*.1"},
		{Text: "quic", Allow: true, Name: "x.example", Protocols: []Protocol{UDP}, Ports: []Ports{{443, 443}}},
	}}
	err := p.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 8 {
		t.Errorf("%d errors, want one for each of 8:\n%v", len(lines), err)
	}
}

func TestSuggest(t *testing.T) {
	for _, tt := range []struct {
		protocol   Protocol
		name, addr string
		port       uint16
		want       string
	}{
		{TCP, "x.example", "198.51.100.1", 443, "x.example:443"},
		{UDP, "x.example", "198.51.100.1", 53, "udp://x.example:53"},
		{TCP, "", "198.51.100.1", 443, "198.51.100.1:443"},
		{TCP, "", "2001:db8::1", 443, "[2001:db8::1]:443"},
		{TCP, "nas.example", "10.1.2.3", 443, "@lan/nas.example:443"},
		{TCP, "", "10.0.2.2", 5432, "@host:5432"},
		{ICMP, "", "2001:db8::1", 0, "icmp://2001:db8::1"},
		{TCP, "", "127.0.0.1", 1, ""},
	} {
		a := netip.MustParseAddr(tt.addr)
		c := Classify(a, own)
		got := Suggest(tt.protocol, tt.name, a, c, tt.port)
		if got != tt.want {
			t.Errorf("Suggest(%s %s %s %d) = %q, want %q", tt.protocol, tt.name, tt.addr, tt.port, got, tt.want)
		}
		if got == "" {
			continue
		}
		p := rules(t, got)
		q := Query{Protocol: tt.protocol, Address: a, Class: c, Port: tt.port}
		if tt.name != "" {
			q.Names = []string{tt.name}
		}
		if !p.Decide(q).Allow {
			t.Errorf("%s does not allow what it was suggested for", got)
		}
	}
}

func TestCautions(t *testing.T) {
	p := rules(t, "*.github.io *.packages.example *.com -*.netlify.app github.io")
	got := p.Cautions()
	if len(got) != 2 || !strings.Contains(got[0], "*.github.io") || !strings.Contains(got[1], "*.com") {
		t.Errorf("%q", got)
	}
}

// FuzzParse: what Parse takes is a valid rule that never allows what is never
// forwarded to, and reads the same from its target's own form.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"github.com:443", "*.packages.example:443", "ssh://git.example.org", "udp://10.0.0.5:123", "10.1.0.0/16:22", "[2001:db8::1]:443",
		"@host:5432", "@lan", "@internet", "@lan/git.corp.example:443", "0.0.0.0/0", "x:1-2,3", "[2001:db8::]/32:*",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		r.Allow = true
		p := Policy{Rules: []Rule{r}}
		if err := p.Validate(); err != nil {
			t.Fatalf("Parse took %q, which is not valid: %v", s, err)
		}
		for _, a := range []string{"127.0.0.1", "::1", "169.254.169.254", "10.0.2.3", "::ffff:127.0.0.1", "0.0.0.0"} {
			addr := netip.MustParseAddr(a)
			q := Query{Protocol: TCP, Address: addr, Class: Classify(addr, own), Port: 443, Names: []string{strings.TrimPrefix(r.Name, "*.")}}
			if p.Decide(q).Allow {
				t.Fatalf("%q allows %s", s, a)
			}
		}
	})
}
