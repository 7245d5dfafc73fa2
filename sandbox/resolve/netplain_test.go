package resolve

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

var errNone = errors.New("there is no sbx-net")

func TestPlainBackend(t *testing.T) {
	const pasta, slirp = userNet + "network.backend = \"pasta\"\n", userNet + "network.backend = \"slirp4netns\"\n"
	const engine = `; leave it out, or set network.backend = "engine"`
	for _, tt := range []struct {
		name, text string
		names      bool // sbx-net is there
		faults     []string
		resolves   bool
		servers    string
	}{
		{name: "nothing allowed", text: pasta, names: true, servers: "127.0.0.1"},
		{name: "names", text: pasta + `network.allow = ["example.org:443"]`, names: true, servers: "127.0.0.1"},
		{name: "servers of sbx-net's", text: pasta + `network.dns = ["192.0.2.53:5353"]`, names: true, servers: "127.0.0.1"},
		{name: "what was blocked", text: slirp + `network.audit = "denied"`, names: true, servers: "127.0.0.1"},
		{name: "alone, nothing allowed", text: pasta},
		{name: "the internet, and its names", text: pasta + `network.allow = ["@internet"]`, resolves: true, servers: "10.0.2.3"},
		{name: "a part of it, and no names", text: pasta + `network.allow = ["192.0.2.0/24", "@lan"]`},
		{name: "servers of the profile's", text: pasta + "network.allow = [\"@lan\"]\nnetwork.dns = [\"192.0.2.53\"]", servers: "192.0.2.53"},
		{name: "a port of slirp4netns", text: slirp + `network.publish = ["8080:80"]`, names: true, servers: "127.0.0.1"},
		{
			name: "ports that it has not", names: true, text: slirp + `network.publish = ["0:80", "[::1]:8080:80"]`,
			faults: []string{
				`network.publish[1]: slirp4netns publishes on addresses of IPv4 only; write one; or set network.backend = "engine"`,
				`network.publish[0]: slirp4netns picks no port of the host by itself; write one; or set network.backend = "engine"`,
			},
		},
		{name: "a port", text: pasta + `network.publish = ["8080:80"]`},
		{
			name: "a name", text: slirp + "network.allow = [\"@lan\", \"example.org\"]",
			faults: []string{"network.allow: with slirp4netns and without sbx-net rules are about addresses: the rule example.org is about a name; name addresses, @internet or @lan; or install sbx with all its programs"},
		},
		{
			name: "what only sbx-net does", names: true, text: slirp + "network.host_ports = [\"5432\"]\nnetwork.audit = \"all\"",
			faults: []string{
				"network.host_ports: slirp4netns can't do that" + engine, "network.audit: slirp4netns can't do that" + engine,
			},
		},
		{
			name: "a server's port", text: pasta + `network.dns = ["192.0.2.53:5353"]`,
			faults: []string{"network.dns[0]: pasta leaves names to the command's resolver, which asks port 53 only; leave the port out"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			in.Facts.Net.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
			if !tt.names {
				in.Facts.Net.Engine, in.Facts.Net.EngineErr = "", errNone
			}
			if got := faults(t, in); len(got) > 0 || len(tt.faults) > 0 {
				same(t, "faults", got, tt.faults)
				return
			}
			p := planned(t, in)
			same(t, "names", p.Net.Names != "", tt.names)
			same(t, "resolves", p.Net.Resolve, tt.resolves)
			_, servers, _ := strings.Cut(at(p, "/etc/resolv.conf").Content, "nameserver ")
			same(t, "servers", strings.TrimSpace(servers), tt.servers)
			same(t, "rules", len(p.Net.Filter) > 30, true)
		})
	}
	// The outer user namespace's root is for slirp4netns, the command is who it was.
	for _, as := range []string{"keep", "root"} {
		keep, root := planned(t, input(t, "user.as = \""+as+"\"\n"+pasta)), planned(t, input(t, "user.as = \""+as+"\"\n"+slirp))
		if got, want := root.IDs.UID, keep.IDs.UID; got != want || root.IDs.OuterUIDs.String() != "0 1000 1" {
			t.Errorf("%s: uid %d, want %d; outer map %q", as, got, want, root.IDs.OuterUIDs.String())
		}
	}
	without := input(t, "[policy]\nrequire = [\"egress_policy\"]\n[network]\nmode = \"user\"\nallow = [\"@internet\"]")
	without.Facts.Net.Engine, without.Facts.Net.EngineErr = "", errNone
	same(t, "required", faults(t, without), []string{
		"policy.require[0]: egress_policy is required and is degraded here: by addresses, and those of the host are what they were at the start; see sbx doctor"})
	without = input(t, "network = { mode = \"user\", allow = [\"@internet\"] }")
	without.Facts.Net.Engine, without.Facts.Net.EngineErr = "", errNone
	p := planned(t, without)
	same(t, "instead of sbx-net", p.Net.Backend, sandbox.BackendPasta)
	same(t, "degraded", notes(p, "degraded"), []string{"network.backend: there is no sbx-net: the network is made by pasta"})
}
