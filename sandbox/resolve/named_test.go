package resolve

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

func TestMemberships(t *testing.T) {
	gone := errors.New("no network is called it")
	known := map[string]Named{
		"dev":    {IPv4: netip.MustParsePrefix("10.89.0.0/24"), IPv6: netip.MustParsePrefix("fd53:6278:a59::/64")},
		"closed": {IPv4: netip.MustParsePrefix("10.89.1.0/24"), Internal: true},
		"gone":   {Err: gone},
	}
	for _, tt := range []struct {
		name, mode, more string
		devices          string
		rules            int
		faults           []string
	}{
		{name: "one", mode: "dev", more: `, allow = ["@internet", "a.example"]`, devices: "dev by eth0", rules: 2},
		{name: "two", mode: "dev,closed", more: `, allow = ["@internet"]`, devices: "dev by eth0, closed by eth1", rules: 1},
		{name: "internal", mode: "closed", more: `, allow = ["@internet"]`, devices: "closed by eth0"},
		{name: "none such", mode: "dev,gone", faults: []string{"network.mode: the network gone can't be joined: no network is called it"}},
		{
			name: "a port of an internal one", mode: "closed", more: `, publish = ["8080:80"], host_ports = ["5432"]`,
			faults: []string{
				"network.publish: the network is internal: nothing leads out of it, nor in; leave it out, or have the sandbox in another network as well",
				"network.host_ports: the network is internal: nothing leads out of it, nor in; leave it out, or have the sandbox in another network as well",
			},
		},
		{
			name: "without sbx-net", mode: "dev", more: `, backend = "pasta"`,
			faults: []string{`network.backend: with pasta there are no named networks; install sbx with all its programs, and set network.backend = "engine"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "network = { mode = \"network:"+tt.mode+"\""+tt.more+", aliases = [\"DB\", \"db\"] }")
			in.Networks = known
			if got := faults(t, in); len(got) > 0 || len(tt.faults) > 0 {
				same(t, "faults", got, tt.faults)
				return
			}
			p := planned(t, in)
			devices := ""
			for i, m := range p.Net.Networks {
				if i > 0 {
					devices += ", "
				}
				devices += m.Name + " by " + m.Device
			}
			same(t, "devices", devices, tt.devices)
			same(t, "rules", len(p.Net.Config.Policy.Rules), tt.rules)
			same(t, "mode", p.Network, sandbox.NetUser)
			if n := p.Net.Called; len(n) != 2 || n[1] != "db" {
				t.Errorf("names %q", n)
			}
		})
	}
}

// TestMemberRules: rules about members are parted from those of the way out, and
// with the first permission only those are reached that one names.
func TestMemberRules(t *testing.T) {
	for _, tt := range []struct {
		name, rules  string
		members, out string // texts of rules, a denial after a slash
	}{
		{name: "none"},
		{name: "of the way out", rules: `allow = ["a.example", "@internet", "@lan", "10.0.0.0/8"]`, out: "a.example @internet @lan 10.0.0.0/8"},
		{name: "a member", rules: `allow = ["db:5432", "a.example"]`, members: "db:5432", out: "a.example"},
		{name: "a denial", rules: `deny = ["udp://db"]`, members: "/udp://db @members"},
		{name: "both", rules: "deny = [\"db:22\"]\nallow = [\"db\"]", members: "/db:22 db"},
		{name: "all", rules: `deny = ["@members"]`, members: "/@members @members"},
		{name: "an address", rules: `allow = ["10.89.0.7:80"]`, members: "10.89.0.7:80", out: "10.89.0.7:80"},
		{name: "an address of IPv6", rules: `allow = ["[fd53:6278:a59::7]:80"]`, members: "[fd53:6278:a59::7]:80", out: "[fd53:6278:a59::7]:80"},
		{name: "a denial of more", rules: `deny = ["10.0.0.0/8"]`, members: "/10.0.0.0/8 @members", out: "/10.0.0.0/8"},
		{name: "a name with a private address", rules: `allow = ["@lan/db"]`, out: "@lan/db"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "[network]\nmode = \"network:dev\"\n"+tt.rules+"\n")
			in.Networks = map[string]Named{"dev": {IPv4: netip.MustParsePrefix("10.89.0.0/24"), IPv6: netip.MustParsePrefix("fd53:6278:a59::/64")}}
			c := planned(t, in).Net.Config
			texts := func(rules []policy.Rule) string {
				var list []string
				for _, r := range rules {
					if r.Allow {
						list = append(list, r.Text)
					} else {
						list = append(list, "/"+r.Text)
					}
				}
				return strings.Join(list, " ")
			}
			same(t, "members", texts(c.Members), tt.members)
			same(t, "the way out", texts(c.Policy.Rules), tt.out)
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
	in := input(t, userNet+"network.allow = [\"@members\"]")
	same(t, "in no network", faults(t, in), []string{
		`network.allow: these rules can't be had together: rule "@members": @members are those of the named networks that a sandbox is in, and this one is in none`,
	})
}

func TestJoin(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		faults     []string
	}{
		{name: "as it is", text: "network.mode = \"sandbox:db\"\n"},
		{
			name: "with a range of ids", text: "network.mode = \"sandbox:db\"\nuser.map = \"range\"\n",
			faults: []string{`user.map: in the network of another sandbox there is one id; set user.map = "single"; or have both in a named network, see sbx network create`},
		},
		{
			name: "with a network to look at", text: "network.mode = \"sandbox:db\"\nroot.sys = \"ro\"\n",
			faults: []string{`root.sys: /sys shows a network, and can't be had in that of another sandbox; set root.sys = "none"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			in.Joined = &sandbox.Join{Name: "db", UID: 7, GID: 8}
			in.Egress = "enforced"
			if got := faults(t, in); len(got) > 0 || len(tt.faults) > 0 {
				same(t, "faults", got, tt.faults)
				return
			}
			p := planned(t, in)
			if p.Namespaces.Net || p.Network != sandbox.NetSandbox || p.Join.UID != 7 || p.Join.From != "network.mode" {
				t.Errorf("%+v", p.Join)
			}
		})
	}
}
