package resolve

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// network decides the sandbox's own way out, if it has one.
func (r *resolver) network() {
	if r.plan.Network == sandbox.NetSandbox {
		r.join()
	}
	if r.plan.Network != sandbox.NetUser {
		return
	}
	n, ok := &r.plan.Net, true
	n.From = "network.mode"
	n.Vital = slices.ContainsFunc(r.prof.Policy.Require, func(f string) bool { return f == "network" || f == "egress_policy" || f == "all" })
	if n.Backend, n.Helper, ok = r.backend(); !ok {
		return
	}
	if err := r.facts.Net.Tun; err != nil {
		r.fail(&Error{Key: "network.mode", Msg: "a network of the sandbox's own takes /dev/net/tun", Hint: tunHint(err), Err: err})
		return
	}
	n.Config = r.networkConfig()
	r.memberships(n)
	if n.Backend != sandbox.BackendEngine {
		r.plainBackend(n)
	}
	for _, text := range n.Config.Policy.Cautions() {
		r.note("warning", "egress_policy", "network.allow", "%s", text)
	}
	if err := n.Config.Policy.Validate(); err != nil {
		r.fail(&Error{Key: "network.allow", Msg: "these rules can't be had together", Err: err})
	}
	r.networkFiles()
}

func tunHint(err error) string {
	if err == unix.ENOENT || err == unix.ENXIO || err == unix.ENODEV {
		return "an administrator can run: modprobe tun; in a container, pass the device in; see sbx doctor"
	}
	return "an administrator can run: chmod 0666 /dev/net/tun; see sbx doctor"
}

// backend picks the program. Only sbx-net holds names and ports of all protocols
// to the rules; what stands in for it is named.
func (r *resolver) backend() (b sandbox.Backend, helper string, ok bool) {
	have := r.facts.Net
	type program struct {
		backend sandbox.Backend
		path    string // "" where it is not there
		pkg     string // that has it
	}
	programs := []program{
		{sandbox.BackendEngine, have.Engine, ""},
		{sandbox.BackendPasta, have.Pasta, "passt"},
		{sandbox.BackendSlirp4netns, have.Slirp4netns, "slirp4netns"},
	}
	want := sandbox.Backend(r.prof.Network.Backend)
	for _, p := range programs {
		switch {
		case p.path == "" || want != "auto" && want != p.backend:
		case p.backend == sandbox.BackendEngine:
			return p.backend, p.path, true
		default:
			if want == "auto" {
				r.note("degraded", "network", "network.backend", "%v: the network is made by %s", have.EngineErr, p.backend)
			}
			return p.backend, p.path, true
		}
	}
	const key = "network.backend"
	switch want {
	case "auto":
		r.fail(&Error{Key: key, Msg: fmt.Sprintf("no program is there that could make the network: %v, and neither pasta nor slirp4netns is installed", have.EngineErr),
			Hint: `install sbx with all its programs; or set network.mode = "none"`})
	case sandbox.BackendEngine:
		r.fail(&Error{Key: key, Msg: fmt.Sprint(have.EngineErr), Hint: `install sbx with all its programs; or set network.backend = "auto"`})
	default:
		i := slices.IndexFunc(programs, func(p program) bool { return p.backend == want })
		r.fail(&Error{Key: key, Msg: fmt.Sprintf("%s is not installed", want), Hint: fmt.Sprintf(`an administrator can install the package %s; or set network.backend = "auto"`, programs[i].pkg)})
	}
	return "", "", false
}

// networkConfig is what the profile says, for the program that makes the network.
// Each text has been checked when the profile was read.
func (r *resolver) networkConfig() slirp.Config {
	n := &r.prof.Network
	c := slirp.Config{
		Protocol: slirp.Protocol, MTU: slirp.DefaultMTU, IPv4: slirp.Default4, IPv6: slirp.Default6, VNetHdr: true,
		Rate: n.Rate, RateIn: n.RateIn, Audit: slirp.Audit{Mode: n.Audit},
	}
	allow, key := n.Rules()
	c.Policy = policy.New(r.rules(allow, key), r.rules(n.Deny, "network.deny"))
	c.Policy.TLSNames = n.TLSNames
	if n.OnDeny == "ask" {
		c.Policy.OnDeny = n.OnDeny // run asks, if it has a terminal
	}
	c.DNS.Search, c.DNS.Hostname = n.DNSSearch, r.plan.Hostname
	for i, s := range n.DNS {
		domain, server, err := slirp.ParseDNS(s)
		r.unparsed("network.dns", i, err)
		if domain == "" {
			c.DNS.Servers = append(c.DNS.Servers, server)
		} else {
			c.DNS.Split = append(c.DNS.Split, slirp.Split{Domain: domain, Servers: []netip.AddrPort{server}})
		}
	}
	for i, s := range n.Hosts {
		host, err := slirp.ParseHost(s)
		r.unparsed("network.hosts", i, err)
		c.DNS.Hosts = append(c.DNS.Hosts, host)
	}
	for i, s := range n.Publish {
		if s == slirp.AutoPublish {
			r.plan.Net.AutoPublish = true
			continue
		}
		p, err := slirp.ParsePublish(s)
		r.unparsed("network.publish", i, err)
		p.From = fmt.Sprintf("network.publish[%d]", i)
		c.Publish = append(c.Publish, p)
		r.judgePublish(p)
	}
	for i, s := range n.HostPorts {
		p, err := slirp.ParseHostPort(s)
		r.unparsed("network.host_ports", i, err)
		p.From = fmt.Sprintf("network.host_ports[%d]", i)
		c.HostPorts = append(c.HostPorts, p)
	}
	if n.Upstream == "host" {
		c.Proxy = r.hostProxy()
	}
	if n.Audit != "off" {
		if !path.IsAbs(r.NetDir) {
			r.fail(&Error{Key: "network.audit", Msg: "there is no place to keep the record", Hint: "set HOME or XDG_STATE_HOME"})
		}
		c.Audit.Path = path.Join(r.NetDir, r.prof.Name+".jsonl")
		r.plan.Create = append(r.plan.Create, r.NetDir)
	}
	return c
}

// hostProxy is the proxy that the caller's environment names, in small letters or
// capitals, as curl(1) reads it. One that is named for http alone is asked for all, as
// where it is the only way out.
func (r *resolver) hostProxy() slirp.Proxy {
	look := func(names ...string) (value, name string) {
		for _, name := range names {
			for _, n := range []string{strings.ToLower(name), name} {
				for _, e := range r.facts.Environ {
					if v, ok := strings.CutPrefix(e, n+"="); ok && v != "" {
						return v, n
					}
				}
			}
		}
		return "", ""
	}
	const key = "network.upstream_proxy"
	text, name := look("HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY")
	if text == "" {
		r.note("info", "network", key, "neither HTTPS_PROXY nor ALL_PROXY nor HTTP_PROXY is set: connections go directly")
		return slirp.Proxy{}
	}
	p, err := slirp.ParseProxy(text)
	if err != nil {
		r.fail(&Error{Key: key, Msg: name, Hint: "unset it, or leave network.upstream_proxy out", Err: err})
		return slirp.Proxy{}
	}
	p.From = name
	except, _ := look("NO_PROXY")
	p.Except = strings.FieldsFunc(except, func(c rune) bool { return c == ',' || c == ' ' })
	return p
}

// unparsed is for texts of profiles that nobody has checked.
func (r *resolver) unparsed(key string, i int, err error) {
	if err != nil {
		r.fail(&Error{Key: fmt.Sprintf("%s[%d]", key, i), Msg: err.Error()})
	}
}

func (r *resolver) rules(texts []string, key string) []policy.Rule {
	var list []policy.Rule
	for i, text := range texts {
		rule, err := policy.Parse(text)
		r.unparsed(key, i, err)
		rule.From = key
		if key != "network.default" {
			rule.From = fmt.Sprintf("%s[%d]", key, i)
		}
		list = append(list, rule)
	}
	return list
}

// judgePublish says of a port what its author may not have meant.
func (r *resolver) judgePublish(p slirp.Publish) {
	if !p.Address.IsLoopback() {
		r.note("warning", "publish", p.From, "%s can be reached from outside this host, as far as its firewall lets that be", p)
	}
	if low := r.facts.LowPorts; p.HostPort != 0 && int(p.HostPort) < low && r.facts.UID != 0 {
		r.fail(&Error{Key: p.From, Msg: fmt.Sprintf("port %d of the host is only root's", p.HostPort),
			Hint: fmt.Sprintf("publish another, such as %d:%d; or an administrator can run: sysctl net.ipv4.ip_unprivileged_port_start=%d", 8000+int(p.HostPort)%1000, p.Port, p.HostPort)})
	}
}

// networkFiles places the sandbox's own resolv.conf and hosts. Nothing of the
// host's resolver is seen inside.
func (r *resolver) networkFiles() {
	if r.prof.Root.Etc == "none" && r.prof.Root.Source == "host" {
		return
	}
	c := &r.plan.Net.Config
	text := "# by sbx: the names that may be looked up are for network.allow to say\n"
	if len(c.DNS.Search) > 0 {
		text += "search " + strings.Join(c.DNS.Search, " ") + "\n"
	}
	for _, server := range r.nameServers() {
		text += "nameserver " + server.Addr().String() + "\n"
	}
	r.plan.Net.Resolv, r.plan.Net.Hosts = text, r.hostLines()
	r.etcFile("resolv.conf", text, "the sandbox's own name server")
	r.etcFile("hosts", r.hostsFile(), "names without a name server")
}

// hostsFile is /etc/hosts.
func (r *resolver) hostsFile() string {
	text := "127.0.0.1 localhost " + r.plan.Hostname + "\n::1 localhost\n"
	switch r.plan.Network {
	case sandbox.NetUser:
		return text + r.hostLines()
	case sandbox.NetSandbox:
		return text + r.plan.Join.Hosts
	}
	return text
}

// hostLines are the lines of hosts for whom a network of the sandbox's own leads to.
func (r *resolver) hostLines() (text string) {
	c := &r.plan.Net.Config
	if r.plan.Net.Backend == sandbox.BackendEngine {
		for _, a := range []slirp.Addr{c.IPv4, c.IPv6} {
			if a.Enabled() {
				text += a.Gateway.String() + " " + slirp.HostName + "\n"
			}
		}
	}
	for _, h := range c.DNS.Hosts {
		for _, a := range h.Addresses {
			text += a.String() + " " + h.Name + "\n"
		}
	}
	return text
}

// etcFile places a file of the sandbox's own in /etc. Where that is a tree of
// the host's nothing can be made: there it takes the place of what is there.
func (r *resolver) etcFile(name, text, why string) {
	m := sandbox.Mount{Kind: sandbox.File, Target: "/etc/" + name, Mode: 0o444, Content: text, From: "network.mode", Why: why}
	source := "/etc"
	if _, ok := r.image(); ok {
		r.imageFile(m)
		return
	}
	switch src := r.prof.Root.Source; {
	case src == "empty", src == "host" && r.prof.Root.Etc == "minimal":
		r.add(m)
		return
	case src != "host" && src != "/":
		source = path.Join(src, "etc")
	}
	m.ReadOnly = true
	at, err := r.standsAt(source, name)
	if err != nil {
		r.note("degraded", "network", "network.mode", "%s can't be placed: %v; make an empty file there", m.Target, err)
		return
	}
	if m.Target = at; within(at, "/run") && !r.plan.Root.InPlace {
		m.ReadOnly = false // in a directory of the sandbox's own
	}
	r.add(m)
}

// standsAt is where inside the sandbox the file is that programs find as
// /etc/NAME, of which source is the host's directory /etc, links followed.
func (r *resolver) standsAt(source, name string) (string, error) {
	at := "/etc/" + name
	src := path.Join(source, name)
	if e, err := r.facts.Files.Resolve(source, ""); err == nil {
		src = path.Join(e.Path, name)
	}
	e, err := r.facts.Files.Lstat(src)
	if err != nil {
		return "", err
	}
	if e.Type() != unix.S_IFLNK {
		return at, nil
	}
	to, err := r.facts.Files.Link(src)
	if err != nil {
		return "", err
	}
	if !path.IsAbs(to) {
		to = path.Join("/etc", to)
	}
	if to = path.Clean(to); within(to, "/run") && !r.plan.Root.InPlace {
		return to, nil
	}
	if source != "/etc" {
		return "", fmt.Errorf("%s is a link to %s", src, to)
	}
	e, err = r.facts.Files.Resolve(src, "")
	if err != nil {
		return "", err
	}
	return e.Path, nil
}

func (r *resolver) networkFeatures(add addFeature) {
	const mode, allow = "network.mode", "network.allow"
	p := r.plan
	n := &p.Net
	switch p.Network {
	case sandbox.NetHost:
		add("network", "off", "network namespace", "shared with the host", mode)
		add("egress_policy", "off", "network namespace", "the host's network knows no rules", mode)
	case sandbox.NetSandbox:
		add("network", "enforced", "network namespace of the sandbox "+p.Join.Name, "", mode)
		add("egress_policy", r.Egress, r.EgressBy, "as that sandbox has it", mode)
	case sandbox.NetUser:
		by := fmt.Sprintf("network namespace, which only %s leads out of", n.Backend.Program())
		for _, m := range n.Networks {
			by += ", to members of " + m.Name + " by " + m.Device
		}
		if len(n.Config.Members) > 0 {
			by += ", as rules of nftables let it"
		}
		add("network", "enforced", by, "", mode)
		if n.Backend == sandbox.BackendEngine {
			add("egress_policy", "enforced", rulesText(n), "", allow)
		} else {
			by, why := plainPolicy(n)
			add("egress_policy", "degraded", by, why, allow)
		}
		if len(n.Config.Publish) > 0 || n.AutoPublish {
			add("publish", "enforced", fmt.Sprintf("%s listens on the host", n.Backend.Program()), "", "network.publish")
		}
	default:
		add("network", "enforced", "network namespace with loopback only", "", mode)
		add("egress_policy", "enforced", "nothing leads out", "", mode)
	}
}

func rulesText(n *sandbox.Net) string {
	allowed := 0
	for _, rule := range n.Config.Policy.Rules {
		if rule.Allow {
			allowed++
		}
	}
	text := fmt.Sprintf("%s, nothing but what %d rules allow", n.Backend.Program(), allowed)
	switch allowed {
	case 0:
		text = fmt.Sprintf("%s, which lets nothing out", n.Backend.Program())
	case 1:
		text = fmt.Sprintf("%s, nothing but what one rule allows", n.Backend.Program())
	}
	return text
}
