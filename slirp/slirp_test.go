package slirp

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/slirp/policy"
)

func good(t testing.TB) Config {
	t.Helper()
	r, err := policy.Parse("github.com:443")
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Protocol: Protocol, IPv4: Default4, IPv6: Default6, VNetHdr: true,
		Policy: policy.New([]policy.Rule{r}, nil),
		DNS:    DNS{Hosts: []Host{{Name: "db", Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}}},
	}
}

func TestRoundTrip(t *testing.T) {
	c := good(t)
	c.Publish = []Publish{{Protocol: "tcp", Address: netip.MustParseAddr("127.0.0.1"), Port: 80}}
	c.Limits = Limits{}.WithDefaults()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, back) {
		t.Errorf("came back as %+v\nof %s", back, text)
	}
	e := Event{Event: EventDenied, Time: time.Unix(1, 0).UTC(), Protocol: "tcp", Port: 1}
	text, err = json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"event":"denied","time":"1970-01-01T00:00:01Z","protocol":"tcp","port":1}`; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
}

func TestValidate(t *testing.T) {
	c := good(t)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want string
		edit func(*Config)
	}{
		{"protocol 2", func(c *Config) { c.Protocol = 2 }},
		{"mtu 1000", func(c *Config) { c.MTU = 1000 }},
		{"needs an IPv4 or an IPv6", func(c *Config) { c.IPv4, c.IPv6 = Addr{}, Addr{} }},
		{"not in 10.0.2.0/24", func(c *Config) { c.IPv4.Gateway = netip.MustParseAddr("10.0.3.2") }},
		{"not of that version", func(c *Config) { c.IPv4.Gateway = Default6.Gateway }},
		{"the gateway's address and", func(c *Config) { c.IPv4.Gateway = c.IPv4.Address.Addr() }},
		{"a gateway", func(c *Config) { c.IPv6.Address = netip.Prefix{} }},
		{"not a private address", func(c *Config) {
			c.IPv4 = Addr{netip.MustParsePrefix("8.8.8.8/24"), netip.MustParseAddr("8.8.8.1")}
		}},
		{`host "1.2"`, func(c *Config) { c.DNS.Hosts[0].Name = "1.2" }},
		{"has no address", func(c *Config) { c.DNS.Hosts[0].Addresses = nil }},
		{"has no server", func(c *Config) { c.DNS.Split = []Split{{Domain: "corp.example"}} }},
		{"split domain", func(c *Config) { c.DNS.Split = []Split{{Domain: "a..b"}} }},
		{"host port 53", func(c *Config) { c.HostPorts = []HostPort{{Protocol: "udp", Port: 53, HostPort: 53}} }},
		{"two ports and tcp or udp", func(c *Config) { c.HostPorts = []HostPort{{Protocol: "sctp", Port: 5, HostPort: 5}} }},
		{`audit "some"`, func(c *Config) { c.Audit.Mode = "some" }},
		{"without a path", func(c *Config) { c.Audit.Mode = "all" }},
		{"not negative", func(c *Config) { c.Rate = -1 }},
		{"8 MiB", func(c *Config) { c.Limits.Memory = 1 }},
		{`on_deny "x"`, func(c *Config) { c.Policy.OnDeny = "x" }},
		{"that are no ports", func(c *Config) {
			c.Publish = []Publish{{Protocol: "tcp", Address: netip.MustParseAddr("::1"), Port: 65535, Count: 2}}
		}},
		{"no address of that version", func(c *Config) {
			c.IPv4 = Addr{}
			c.Publish = []Publish{{Protocol: "tcp", Address: netip.MustParseAddr("127.0.0.1"), Port: 1}}
		}},
	} {
		c := good(t)
		tt.edit(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v; it should say %q", err, tt.want)
		}
	}
}

func TestParsePublish(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"80", "127.0.0.1:80:80/tcp"},
		{"8080:80", "127.0.0.1:8080:80/tcp"},
		{"0:80", "127.0.0.1:0:80/tcp"},
		{":80", "127.0.0.1:80:80/tcp"},
		{"8080:80/udp", "127.0.0.1:8080:80/udp"},
		{"0.0.0.0:8080:80", "0.0.0.0:8080:80/tcp"},
		{"[::1]:8080:80/tcp", "[::1]:8080:80/tcp"},
		{"[::]:80", "[::]:80:80/tcp"},
		{"8000-8010:9000-9010", "127.0.0.1:8000-8010:9000-9010/tcp"},
		{"8000-8010", "127.0.0.1:8000-8010:8000-8010/tcp"},
		{"127.0.0.1::80", "127.0.0.1:80:80/tcp"},
	} {
		p, err := ParsePublish(tt.text)
		if err != nil || p.String() != tt.want {
			t.Errorf("ParsePublish(%q) = %s, %v; want %s", tt.text, p, err, tt.want)
			continue
		}
		if again, err := ParsePublish(p.String()); err != nil || again != p {
			t.Errorf("%s reads as %+v, %v", p, again, err)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{"", "is no port"},
		{"x", "is no port"},
		{"0", "can't be 0"},
		{"80:0", "can't be 0"},
		{"65536:80", "is no port"},
		{"-1:80", "is no port"},
		{"80/sctp", "tcp or udp"},
		{"localhost:80:80", "in numbers"},
		{"::1:80:80", "in brackets"},
		{":80:80", "the address is empty"},
		{"[::1]80", "a colon and a port"},
		{"[::1]:1:2:3", "a colon too many"},
		{"[::ffff:1.2.3.4]:80:80", "write it as IPv4"},
		{"8000-8001:80", "2 ports of the host for 1"},
		{"90-80", "no range"},
		{"1-2000", "can be published at once"},
		{"0-5:1-6", "no range"},
	} {
		if p, err := ParsePublish(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParsePublish(%q) = %s, %v; it should say %q", tt.text, p, err, tt.want)
		}
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"80", "127.0.0.1:8080:80/tcp", "[::1]:1-2:3-4/udp", "0:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePublish(s)
		if err != nil {
			return
		}
		c := good(t)
		c.Publish = []Publish{p}
		if err := c.Validate(); err != nil {
			t.Fatalf("ParsePublish took %q, which is not valid: %v", s, err)
		}
		if again, err := ParsePublish(p.String()); err != nil || again != p {
			t.Fatalf("%q is %s, which reads as %+v, %v", s, p, again, err)
		}
	})
}

func TestParseProxy(t *testing.T) {
	for _, tt := range []struct{ text, want, bad string }{
		{text: "proxy.example", want: "http proxy.example:80"},
		{text: "http://proxy.example:3128/", want: "http proxy.example:3128"},
		{text: "socks5h://192.0.2.1", want: "socks5 192.0.2.1:1080"},
		{text: "SOCKS5://[2001:db8::1]:99", want: "socks5 [2001:db8::1]:99"},
		{text: "2001:db8::1", want: "http [2001:db8::1]:80"},
		{text: "[2001:db8::1]", want: "http [2001:db8::1]:80"},
		{text: "https://proxy.example", bad: "sbx knows http and socks5"},
		{text: "http://me:word@proxy.example", bad: "a proxy with a password"},
		{text: "http://:80", bad: "write [http://]HOST:PORT"},
		{text: "http://a/b", bad: "write [http://]HOST:PORT"},
	} {
		p, err := ParseProxy(tt.text)
		switch {
		case tt.bad == "" && (err != nil || p.Scheme+" "+p.Server != tt.want):
			t.Errorf("%q: %+v, %v", tt.text, p, err)
		case tt.bad != "" && (err == nil || !strings.Contains(err.Error(), tt.bad)):
			t.Errorf("%q: %+v, %v", tt.text, p, err)
		}
	}
}
