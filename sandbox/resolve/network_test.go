package resolve

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

const userNet = "network.mode = \"user\"\n"

func TestBackend(t *testing.T) {
	gone := errors.New("sbx-net is installed nowhere")
	without := func(n host.Network, names ...string) func(*host.Facts) {
		return func(f *host.Facts) {
			f.Net = n
			if n.Engine == "" {
				f.Net.EngineErr = gone
			}
		}
	}
	all := facts(tree(usual)).Net
	noEngine := host.Network{Pasta: all.Pasta, Slirp4netns: all.Slirp4netns}
	noTun := func(err error) func(*host.Facts) { return func(f *host.Facts) { f.Net.Tun = err } }
	for _, tt := range []struct {
		name, backend string
		change        func(*host.Facts)
		want          sandbox.Backend
		helper        string
		faults, notes []string
	}{
		{name: "auto", want: "engine", helper: all.Engine},
		{name: "engine", backend: "engine", want: "engine", helper: all.Engine},
		{
			name: "no engine", backend: "engine", change: without(noEngine),
			faults: []string{`network.backend: sbx-net is installed nowhere; install sbx with all its programs; or set network.backend = "auto"`},
		},
		{
			name: "none at all", change: without(host.Network{}),
			faults: []string{`network.backend: no program is there that could make the network: sbx-net is installed nowhere, and neither pasta nor slirp4netns is installed; install sbx with all its programs; or set network.mode = "none"`},
		},
		{
			name: "no pasta", backend: "pasta", change: without(host.Network{Engine: all.Engine}),
			faults: []string{`network.backend: pasta is not installed; an administrator can install the package passt; or set network.backend = "auto"`},
		},
		{
			name: "no TUN device", change: noTun(unix.ENOENT),
			faults: []string{"network.mode: a network of the sandbox's own takes /dev/net/tun: no such file or directory; an administrator can run: modprobe tun; in a container, pass the device in; see sbx doctor"},
		},
		{
			name: "a TUN device for root", change: noTun(unix.EACCES),
			faults: []string{"network.mode: a network of the sandbox's own takes /dev/net/tun: permission denied; an administrator can run: chmod 0666 /dev/net/tun; see sbx doctor"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := userNet
			if tt.backend != "" {
				text += "network.backend = \"" + tt.backend + "\"\n"
			}
			in := input(t, text)
			if tt.change != nil {
				tt.change(&in.Facts)
			}
			if len(tt.faults) > 0 {
				same(t, "faults", faults(t, in), tt.faults)
				return
			}
			p := planned(t, in)
			same(t, "backend", p.Net.Backend, tt.want)
			same(t, "program", p.Net.Helper, tt.helper)
			same(t, "degraded", notes(p, "degraded"), tt.notes)
		})
	}
}

func TestNetworkRules(t *testing.T) {
	const open = "extends = [\"builtin:open\"]\nworkspace.access = \"none\"\n"
	for _, tt := range []struct {
		name, text string
		rules      string // what is allowed, and after a slash denied
		warnings   []string
		faults     []string
	}{
		{name: "nothing is allowed", text: userNet},
		{name: "the internet, for trusted code", text: open + userNet, rules: "@internet"},
		{name: "no more than is named", text: open + userNet + "network.allow = [\"example.org\"]", rules: "example.org"},
		{
			name: "denials first", text: userNet + "network.allow = [\"@internet\", \"@lan\"]\nnetwork.deny = [\"192.0.2.1\"]",
			rules: "/192.0.2.1 @internet @lan",
		},
		{
			name: "names that anybody can have", text: userNet + "network.allow = [\"*.github.io:443\"]", rules: "*.github.io:443",
			warnings: []string{"network.allow: *.github.io:443: anybody can have a name below github.io, so this allows sending to anybody"},
		},
		{
			name: "QUIC by name", text: userNet + "network.allow = [\"udp://example.org:443\"]",
			faults: []string{"network.allow: these rules can't be had together: rule \"udp://example.org:443\": QUIC hides the name it asks for, so a rule by name never allows UDP port 443; name addresses, or switch tls_names off"},
		},
		{
			name: "a port for all to reach", text: userNet + "network.publish = [\"0.0.0.0:8080:80\"]",
			warnings: []string{"network.publish[0]: 0.0.0.0:8080:80/tcp can be reached from outside this host, as far as its firewall lets that be"},
		},
		{
			name: "a port of root's", text: userNet + "network.publish = [\"80\"]",
			faults: []string{"network.publish[0]: port 80 of the host is only root's; publish another, such as 8080:80; or an administrator can run: sysctl net.ipv4.ip_unprivileged_port_start=80"},
		},
		{name: "any port", text: userNet + "network.publish = [\"0:80\"]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			if got := faults(t, in); len(got) > 0 || len(tt.faults) > 0 {
				same(t, "faults", got, tt.faults)
				return
			}
			p := planned(t, in)
			var rules []string
			for _, r := range p.Net.Config.Policy.Rules {
				if r.Allow {
					rules = append(rules, r.Text)
				} else {
					rules = append(rules, "/"+r.Text)
				}
			}
			same(t, "rules", strings.Join(rules, " "), tt.rules)
			same(t, "warnings", notes(p, "warning"), tt.warnings)
		})
	}
}

// TestNetworkFiles: the sandbox has a resolv.conf and a hosts of its own where
// its root has room for them, and nothing is made in a host's tree.
func TestNetworkFiles(t *testing.T) {
	const image = "root.source = \"/srv/image\"\n"
	stub := "/run/systemd/resolve/stub-resolv.conf"
	for _, tt := range []struct {
		name, text, host string
		resolv, hosts    string // where they are, "" for nowhere
		degraded         []string
	}{
		{name: "minimal", resolv: "/etc/resolv.conf", hosts: "/etc/hosts"},
		{name: "no etc", text: "root.etc = \"none\""},
		{name: "empty", text: "root.source = \"empty\"", resolv: "/etc/resolv.conf", hosts: "/etc/hosts"},
		{name: "the host's", text: "root.etc = \"host\"", resolv: stub, hosts: "/etc/hosts"},
		{name: "the host's, a file", text: "root.etc = \"host\"", host: "/etc/resolv.conf", resolv: "/etc/resolv.conf", hosts: "/etc/hosts"},
		{name: "the host's tree", text: "root.source = \"/\"", resolv: stub, hosts: "/etc/hosts"},
		{name: "a directory", text: image, host: "/srv/image/etc/resolv.conf\n/srv/image/etc/hosts", resolv: "/etc/resolv.conf", hosts: "/etc/hosts"},
		{
			name: "a directory without", text: image, host: "/srv/image/etc/hosts", hosts: "/etc/hosts",
			degraded: []string{"network.mode: /etc/resolv.conf can't be placed: lstat /srv/image/etc/resolv.conf: no such file or directory; make an empty file there"},
		},
		{name: "a directory with a link", text: image, host: "/srv/image/etc/resolv.conf -> ../run/resolv.conf\n/srv/image/etc/hosts", resolv: "/run/resolv.conf", hosts: "/etc/hosts"},
		{
			name: "a directory with a link elsewhere", text: image, host: "/srv/image/etc/resolv.conf -> /usr/x\n/srv/image/etc/hosts", hosts: "/etc/hosts",
			degraded: []string{"network.mode: /etc/resolv.conf can't be placed: /srv/image/etc/resolv.conf is a link to /usr/x; make an empty file there"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, userNet+"network.hosts = [\"db:192.0.2.7\"]\nnetwork.dns_search = [\"corp.example\"]\nworkspace.access = \"none\"\n"+tt.text, tt.host))
			var resolv, hosts string
			for _, m := range p.Mounts {
				if m.Kind != sandbox.File || m.From != "network.mode" {
					continue
				}
				switch {
				case strings.Contains(m.Content, "nameserver 10.0.2.2\n") && strings.Contains(m.Content, "search corp.example\n"):
					resolv = m.Target
				case strings.Contains(m.Content, "192.0.2.7 db\n") && strings.Contains(m.Content, "10.0.2.2 host.sbx.internal\n"):
					hosts = m.Target
				}
			}
			same(t, "resolv.conf", resolv, tt.resolv)
			same(t, "hosts", hosts, tt.hosts)
			same(t, "degraded", notes(p, "degraded"), tt.degraded)
		})
	}
	own := planned(t, input(t, userNet+"[mounts.\"/etc/resolv.conf\"]\ntype = \"file\"\ncontent = \"own\""))
	same(t, "the profile's own", at(own, "/etc/resolv.conf").Content, "own")
}
