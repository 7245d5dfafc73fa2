package net

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// answering serves a file with a member's name on all of its addresses, once it is
// up.
func answering(name string) string {
	return "cd /tmp && echo " + name + ` >who && python3 -m http.server --bind :: 80 >/dev/null 2>&1 &
until curl -s -o /dev/null http://127.0.0.1/who; do sleep 0.05; done; echo up; sleep 600`
}

func who(host string) string { return get("http://" + host + "/who") }

// network makes a named network, which is removed with the test.
func (p person) network(name string, flags ...string) {
	p.t.Helper()
	if got := p.Run(p.t, append(append([]string{p.Sbx, "network", "create"}, flags...), name)...); got.Code != 0 {
		p.t.Fatalf("creating the network %s: %+v", name, got)
	}
	p.t.Cleanup(func() {
		world.Until(p.t, "nobody is in the network "+name, func() bool { return len(p.members(name)) == 0 })
		p.left(name)
		if got := p.Run(p.t, p.Sbx, "network", "rm", name); got.Code != 0 {
			p.t.Errorf("removing the network %s: %+v", name, got)
		}
	})
}

// left fails the test if anything of a network is left that nobody is in.
func (p person) left(name string) {
	p.t.Helper()
	world.Until(p.t, "the holder of "+name+" is gone", func() bool { return p.holder() == 0 })
	p.Run(p.t, p.Sbx, "ps") // where all who could were killed, the next one removes the socket
	if sockets, _ := filepath.Glob(p.Home + "/run/sbx/network-*"); len(sockets) > 0 {
		p.t.Errorf("sockets are left: %v", sockets)
	}
}

type member struct {
	Name     string
	Names    []string
	IPv4     string
	IPv6     string
	Isolated bool
}

func (p person) members(name string) []member {
	p.t.Helper()
	got := p.Run(p.t, p.Sbx, "network", "inspect", name)
	var list []struct{ Members []member }
	if err := json.Unmarshal([]byte(got.Out), &list); err != nil || len(list) != 1 {
		p.t.Fatalf("inspecting %s: %v, %+v", name, err, got)
	}
	return list[0].Members
}

// holder is the process of this user that keeps a network, 0 for none.
func (p person) holder() int {
	p.t.Helper()
	me := fmt.Sprintf("Uid:\t%d\t", os.Getuid())
	for _, x := range world.Processes(p.t) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", x.PID))
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.PID))
		if x.Name == "sbx-net" && x.State != 'Z' && strings.Contains(string(line), "\x00network\x00") && strings.Contains(string(status), me) {
			return x.PID
		}
	}
	return 0
}

// in is a profile in a named network.
func in(network, more string) string {
	return "[network]\nmode = \"network:" + network + "\"\ndns = [\"" + server + "\"]\n" + more
}

// TestNamed: members find one another by name, each has its own rules for the way
// out, and who is in no network reaches none of them.
func TestNamed(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	p.network("dev")
	p.up("db", p.Profile(t, in("dev", "aliases = [\"store\"]\nallow = [\"denied.example:80\"]\n")), answering("db"))
	first := p.members("dev")
	if len(first) != 1 || first[0].Name != "db" || !slices.Equal(first[0].Names, []string{"db", "store"}) {
		t.Fatalf("members are %+v", first)
	}
	web := p.Profile(t, in("dev", "allow = [\"allowed.example:80\"]\n"))
	for _, tt := range []struct{ name, script, want string }{
		{"by name", who("db"), "db\n"},
		{"by an alias", who("store"), "db\n"},
		{"in capitals", who("DB"), "db\n"},
		{"by address", who(first[0].IPv4), "db\n"},
		{"by address, IPv6", who("[" + first[0].IPv6 + "]"), "db\n"},
		{"a name that nobody has", who("nobody"), none},
		{"its own rules", get("http://allowed.example/"), "world at "},
		{"the other's", get("http://denied.example/"), none},
		{"the other's name for outside", who("db.example"), none},
	} {
		if got := p.run(web, tt.script); !strings.HasPrefix(got.Out, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
	}
	if got := p.Run(t, p.Sbx, "exec", "db", "sh", "-c", get("http://denied.example/")+"; "+get("http://allowed.example/")); !strings.HasPrefix(got.Out, "world at ") || !strings.HasSuffix(got.Out, none) {
		t.Errorf("of the member that is there: %+v", got)
	}
	for name, profile := range map[string]string{
		"user": p.profile("allow = [\"@internet\", \"@lan\", \"@host\"]"), "host": p.Profile(t, "[network]\nmode = \"host\"\n"),
	} {
		if got := p.run(profile, who(first[0].IPv4)); got.Out != none {
			t.Errorf("who is in no network, with the network %s: %+v", name, got)
		}
	}
	if got := outside(t, "http://"+first[0].IPv4+"/who"); got != none {
		t.Errorf("the host itself gets %q", got)
	}
	for filter, want := range map[string]string{"dev": "db network:dev\n", "user": "", "jobs": ""} {
		if got := p.Run(t, p.Sbx, "ps", "--filter=network="+filter, "--format={{.Name}} {{.Network}}"); got.Out != want {
			t.Errorf("ps --filter=network=%s: %+v, want %q", filter, got, want)
		}
	}
	if got := p.Run(t, p.Sbx, "network", "rm", "dev"); got.Code != 125 || !strings.Contains(got.Err, "the network dev is in use by db; stop them first") {
		t.Errorf("removing what is in use: %+v", got)
	}
}

// TestNamedRights: a member can change nothing of the network, even as its own
// root.
func TestNamedRights(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	p.network("dev")
	profile := p.Profile(t, in("dev", "[user]\nas = \"root\"\n"))
	for _, script := range []string{
		"ip link set eth0 down", "ip addr add 10.89.0.77/24 dev eth0", "ip route add 198.51.100.0/24 via 10.89.0.2", "ip neigh add 10.89.0.9 lladdr 02:00:00:00:00:09 dev eth0",
	} {
		if got := p.run(profile, "PATH=$PATH:/usr/sbin:/sbin; "+script+" 2>/dev/null && echo changed || echo refused"); got.Out != "refused\n" {
			t.Errorf("%s: %+v", script, got)
		}
	}
	if got := p.run(profile, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"); got.Out != "0\n0\n" {
		t.Errorf("forwarding: %+v", got)
	}
}

// TestNamedSources: a member sends from no address but its own, although any socket of
// IPv6 may be bound to any (IPV6_FREEBIND).
func TestNamedSources(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	p.network("dev")
	profile := p.Profile(t, in("dev", ""))
	p.up("ear", profile, `python3 -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 7777))
print("up", flush=True)
while True:
    said, who = s.recvfrom(100)
    open("/tmp/heard", "ab").write(said + b"\n")
'`)
	ear := p.members("dev")[0]
	own := netip.MustParseAddr(ear.IPv6).As16()
	own[15] = 0x77
	// Again and again: the first of IPv6 go before the neighbour is known.
	p.run(profile, `python3 -c '
import socket, time
for n in range(8):
    for said, version, source, freebind, to in (
        (b"forged", socket.AF_INET6, "`+netip.AddrFrom16(own).String()+`", (41, 78), "`+ear.IPv6+`"),
        (b"forged, IPv4", socket.AF_INET, "10.89.255.77", (0, 15), "`+ear.IPv4+`"),
        (b"own, IPv4", socket.AF_INET, "0.0.0.0", (0, 15), "`+ear.IPv4+`"),
        (b"own", socket.AF_INET6, "::", (41, 78), "`+ear.IPv6+`"),
    ):
        s = socket.socket(version, socket.SOCK_DGRAM)
        s.setsockopt(*freebind, 1)
        s.bind((source, 0))
        try:
            s.sendto(said, (to, 7777))
        except OSError:
            pass
    time.sleep(0.4)
'`)
	heard := strings.Split(p.Run(t, p.Sbx, "exec", "ear", "cat", "/tmp/heard").Out, "\n")
	for said, want := range map[string]bool{"own": true, "own, IPv4": true, "forged": false, "forged, IPv4": false} {
		if slices.Contains(heard, said) != want {
			t.Errorf("%q is heard: %t, want %t", said, !want, want)
		}
	}
}

// TestNamedTen: ten that start at once share one network, each with an address of
// its own, and each reaches all.
func TestNamedTen(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	p.network("dev")
	profile := p.Profile(t, in("dev", ""))
	const n = 10
	var wg sync.WaitGroup
	script := "for i in 0 1 2 3 4 5 6 7 8 9; do curl -sS -m 5 http://m$i/who; done"
	for i := range n {
		wg.Go(func() { p.up(fmt.Sprintf("m%d", i), profile, answering(fmt.Sprintf("m%d", i))) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	list := p.members("dev")
	addresses := map[string]bool{}
	for _, m := range list {
		addresses[m.IPv4], addresses[m.IPv6] = true, true
	}
	if len(list) != n || len(addresses) != 2*n {
		t.Errorf("%d members with %d addresses", len(list), len(addresses))
	}
	want := "m0\nm1\nm2\nm3\nm4\nm5\nm6\nm7\nm8\nm9\n"
	for i := range n {
		if got := p.Run(t, p.Sbx, "exec", fmt.Sprintf("m%d", i), "sh", "-c", script); got.Out != want {
			t.Errorf("m%d reaches %q; %s", i, got.Out, got.Err)
		}
	}
}

// TestNamedKilled: whoever is killed, in whatever order, the others go on as far as
// they can, and when all are gone nothing is left.
func TestNamedKilled(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	world.Adopt(t)
	profile := p.Profile(t, in("dev", ""))
	kill := func(pid int) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Errorf("killing %d: %v", pid, err)
		}
	}
	ordered := [][]string{
		{"a", "b", "holder"}, {"a", "holder", "b"}, {"holder", "a", "b"}, {"b", "a"}, {"net of a", "holder", "b", "a"}, {"init of a", "b", "holder"}, {"holder", "b", "net of a", "a"},
	}
	for _, order := range ordered {
		t.Run(strings.Join(order, ", "), func(t *testing.T) {
			p := person{p.World, t}
			p.network("dev")
			p.up("a", profile, answering("a"))
			p.up("b", profile, answering("b"))
			if got := p.Run(t, p.Sbx, "exec", "b", "sh", "-c", who("a")); got.Out != "a\n" {
				t.Fatalf("control: %+v", got)
			}
			pids := map[string]int{"a": p.supervisor("a"), "b": p.supervisor("b"), "holder": p.holder()}
			pids["init of a"], pids["net of a"] = p.init("a"), p.child(pids["a"], "sbx-net")
			dead := map[string]bool{}
			for _, victim := range order {
				if victim == "holder" && dead["a"] && dead["b"] {
					break // it ends by itself
				}
				kill(pids[victim])
				dead[victim], dead["a"] = true, dead["a"] || victim == "a" || victim == "init of a"
				switch {
				case dead["holder"] && !dead["b"]:
					world.Until(t, "b has no interface any more", func() bool {
						return !strings.Contains(p.Run(t, p.Sbx, "exec", "b", "cat", "/proc/net/dev").Out, "eth0")
					})
				case dead["a"] && !dead["b"]:
					world.Until(t, "a is nobody's name", func() bool { return p.Run(t, p.Sbx, "exec", "b", "sh", "-c", who("a")).Out == none })
				}
			}
			p.Run(t, p.Sbx, "kill", "a", "b") // those that are left
			p.Run(t, p.Sbx, "rm", "-f", "a", "b")
			if left := world.Gone(t); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			p.left("dev")
			if left := world.Runtime(p.Home); len(left) > 0 && !slices.Equal(left, quiet) {
				t.Errorf("files are left: %v", left)
			}
		})
	}
}

// quiet is what sbx keeps in its runtime directory when no sandbox is there.
var quiet = []string{"events", "lock", "names"}

// init is the host's pid of a sandbox's PID 1.
func (p person) init(name string) int {
	p.t.Helper()
	got := p.Run(p.t, p.Sbx, "inspect", "--format={{.state.pid}}", name)
	var pid int
	if _, err := fmt.Sscan(got.Out, &pid); err != nil {
		p.t.Fatalf("inspect %s: %+v", name, got)
	}
	return pid
}

// child is the child of a process with a name.
func (p person) child(parent int, name string) int {
	p.t.Helper()
	for _, x := range world.Processes(p.t) {
		if x.Parent == parent && x.Name == name {
			return x.PID
		}
	}
	p.t.Fatalf("process %d has no child %s", parent, name)
	return 0
}

// TestNamedAgain: a network whose holder was killed is made anew by who comes next.
func TestNamedAgain(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	world.Adopt(t)
	p.network("dev")
	p.Write(t, p.Home+"/profiles/strict.toml", "version = 1\n"+in("dev", "[policy]\nrequire = [\"network\"]\n"))
	profile := p.Profile(t, in("dev", ""))
	cmd := begin(t, p.Command(p.Sbx, "run", profile, "--", "sh", "-c", "echo in; read x; "+who("db")))
	vital := begin(t, p.Command(p.Sbx, "run", p.Home+"/profiles/strict.toml", "--", "sh", "-c", "echo in; sleep 600"))
	cmd.says("in\n")
	vital.says("in\n")
	if err := unix.Kill(p.holder(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	world.Until(t, "it is told", func() bool { return strings.Contains(cmd.err(), "the network dev is gone") })
	if out, code := vital.rest(); out != "" || code != 125 || !strings.Contains(vital.err(), "sbx: the network dev is gone") {
		t.Errorf("who needs it: %q, %d, %q", out, code, vital.err())
	}
	p.up("db", profile, answering("db"))
	if got := p.run(profile, who("db")); got.Out != "db\n" {
		t.Errorf("in the new one: %+v", got)
	}
	cmd.enter()
	if out, code := cmd.rest(); out != none || code != 0 {
		t.Errorf("who was in the old one: %q, %d", out, code)
	}
}

// TestNamedKinds: networks that nothing leads out of, members that don't reach one
// another, and sandboxes in several networks.
func TestNamedKinds(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	p.network("dev")
	p.network("closed", "--internal")
	p.network("apart", "--isolate", "--hub=hub")
	all := "allow = [\"@internet\"]\n"
	p.up("one", p.Profile(t, in("dev", all)), answering("one"))
	p.up("two", p.Profile(t, in("closed", all)), answering("two"))
	p.up("hub", p.Profile(t, in("apart", "")), answering("hub"))
	p.up("shut", p.Profile(t, in("apart,dev", "")), answering("shut"))
	p.up("alone", p.Profile(t, in("dev", "isolated = true\n")), answering("alone"))
	out := "http://" + allowed4 + "/"
	for _, tt := range []struct{ name, network, more, script, want string }{
		{"an internal network, inside", "closed", all, who("two"), "two\n"},
		{"an internal network, outside", "closed", all, get(out), none},
		{"with another beside it, outside", "closed,dev", all, get(out), "world at "},
		{"with another beside it, inside", "closed,dev", all, who("one") + "; " + who("two"), "one\ntwo\n"},
		{"another network", "dev", all, who("two"), none},
		{"an isolated network, a hub", "apart", "", who("hub"), "hub\n"},
		{"an isolated network, another", "apart", "", who("shut"), none},
		{"the same by another network", "apart,dev", "", who("shut"), "shut\n"},
		{"an isolated member, from others", "dev", "", who("alone"), "alone\n"},
		{"an isolated member, from one more", "dev", "isolated = true\n", who("alone"), none},
		{"an isolated member, to others", "dev", "isolated = true\n", who("one"), "one\n"},
	} {
		if got := p.run(p.Profile(t, in(tt.network, tt.more)), tt.script); !strings.HasPrefix(got.Out, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct{ network, more, want string }{
		{"closed", "publish = [\"8080:80\"]\n", "the network is internal: nothing leads out of it, nor in"},
		{"closed", "host_ports = [\"18097:80\"]\n", "the network is internal"},
		{"nobodys", "", "no network is called nobodys; sbx network ls lists them, and sbx network create nobodys makes it"},
		{"dev", "backend = \"pasta\"\n", "with pasta there are no named networks"},
		{"dev", "aliases = [\"a.example\"]\n", "is no name of a member"},
	} {
		if got := p.run(p.Profile(t, in(tt.network, tt.more)), "echo ran"); got.Code != 125 || got.Out != "" || !strings.Contains(got.Err, tt.want) {
			t.Errorf("%s %s: %+v, want %q", tt.network, tt.more, got, tt.want)
		}
	}
}

// TestNamedRules: with rules about members a sandbox talks to those, on those ports,
// and to no other, whoever comes to have the address; the others' own rules are
// theirs. What is refused is told.
func TestNamedRules(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	p.network("dev")
	p.network("apart")
	p.up("db", p.Profile(t, in("dev", "aliases = [\"store\"]\n")), answering("db"))
	p.up("web", p.Profile(t, in("dev,apart", "")), answering("web"))
	dev, apart := p.members("dev"), p.members("apart")
	at := func(list []member, name string) member {
		return list[slices.IndexFunc(list, func(m member) bool { return m.Name == name })]
	}
	db, web, webApart := at(dev, "db"), at(dev, "web"), at(apart, "web")
	link := who("[" + p.linkLocal("web") + "%25eth0]")
	for _, tt := range []struct{ name, network, rules, script, want string }{
		{"no rule", "dev", "", who("db") + "; " + who("web"), "db\nweb\n"},
		{"a rule about somebody else", "dev", "allow = [\"allowed.example:80\"]", who("db") + "; " + who("web"), "db\nweb\n"},
		{"allowed", "dev", "allow = [\"db:80\"]", who("db"), "db\n"},
		{"allowed by an alias", "dev", "allow = [\"store:80\"]", who("db"), "db\n"},
		{"allowed by address", "dev", "allow = [\"db:80\"]", who(db.IPv4) + "; " + who("["+db.IPv6+"]"), "db\ndb\n"},
		{"by an address in a rule", "dev", "allow = [\"" + db.IPv4 + ":80\"]", who(db.IPv4) + "; " + who(web.IPv4), "db\n" + none},
		{"another", "dev", "allow = [\"db:80\"]", who("web"), none},
		{"another by address", "dev", "allow = [\"db:80\"]", who(web.IPv4), none},
		{"another by IPv6", "dev", "allow = [\"db:80\"]", who("[" + web.IPv6 + "]"), none},
		{"by a link's address", "dev", "", link, "web\n"},
		{"by a link's address, with a rule about another", "dev", "allow = [\"db:80\"]", link, none},
		{"in another network", "dev,apart", "", who(webApart.IPv4), "web\n"},
		{"in another network, with a rule about another", "dev,apart", "allow = [\"db:80\"]", who(webApart.IPv4), none},
		{"to an address by another network's interface", "dev,apart", "allow = [\"db:80\"]", "curl -sS -m 5 --interface eth1 http://" + web.IPv4 + "/who 2>/dev/null || echo none", none},
		{"another port", "dev", "allow = [\"db:81\"]", who("db"), none},
		{"another protocol", "dev", "allow = [\"udp://db:80\"]", who("db"), none},
		{"denied", "dev", "deny = [\"db\"]", who("db") + "; " + who("web"), none + "web\n"},
		{"denied in part", "dev", "deny = [\"db:81\"]", who("db"), "db\n"},
		{"an address denied", "dev", "deny = [\"" + db.IPv4 + "\"]", who(db.IPv4) + "; " + who("web"), none + "web\n"},
		{"all denied", "dev", "deny = [\"@members\"]", who("db") + "; " + who("web"), none + none},
		{"all, by a rule", "dev", "allow = [\"@members:80\"]\ndeny = [\"web\"]", who("db") + "; " + who("web"), "db\n" + none},
		{"the way out beside it", "dev", "allow = [\"db:80\", \"allowed.example:80\"]", get("http://allowed.example/"), "world at "},
		{"all the internet opens no member", "dev", "allow = [\"db:80\", \"@internet\", \"@lan\", \"@host\"]", who(web.IPv4), none},
		{"its own loopback", "dev", "deny = [\"@members\"]", "python3 -m http.server --bind 127.0.0.1 8099 >/dev/null 2>&1 & until curl -s -o /dev/null http://127.0.0.1:8099/; do sleep 0.05; done; echo own", "own\n"},
	} {
		if got := p.run(p.Profile(t, in(tt.network, tt.rules+"\n")), tt.script); !strings.HasPrefix(got.Out, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
	}
	told := p.run(p.Profile(t, in("dev", "allow = [\"db:81\"]\ndeny = [\"web\"]\n")), who("db")+"; "+who("web")+"; "+who("nobody"))
	for _, want := range []string{
		"blocked db:80 (rules are about members of the network, and none allows it); to allow it: network.allow = [\"db:80\"]",
		"blocked web:80 (a rule denies it): the rule web denies it", "blocked looking up nobody (no member of the network is called that now)",
	} {
		if !strings.Contains(told.Err, want) {
			t.Errorf("%q is not told:\n%s", want, told.Err)
		}
	}
}

// linkLocal is the address that the kernel gave a sandbox's eth0 by itself, which it
// has a moment after the interface is up.
func (p person) linkLocal(name string) string {
	p.t.Helper()
	address := ""
	world.Until(p.t, name+" has an address of its link", func() bool {
		for line := range strings.Lines(p.Run(p.t, p.Sbx, "exec", name, "cat", "/proc/net/if_inet6").Out) {
			if f := strings.Fields(line); len(f) == 6 && f[5] == "eth0" && strings.HasPrefix(f[0], "fe80") {
				b, err := hex.DecodeString(f[0])
				if a, ok := netip.AddrFromSlice(b); err == nil && ok {
					address = a.String()
				}
			}
		}
		return address != ""
	})
	return address
}

// TestNamedRulesFollow: rules are about who is called so, and not about who has the
// address that one had. Who is there before it can reach whom it serves.
func TestNamedRulesFollow(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	p.network("dev")
	p.up("app", p.Profile(t, in("dev", "allow = [\"db:80\"]\n")), answering("app"))
	open := p.Profile(t, in("dev", ""))
	p.up("db", open, answering("db"))
	ask := func(script string) string { return p.Run(t, p.Sbx, "exec", "app", "sh", "-c", script).Out }
	if got := ask(who("db")); got != "db\n" {
		t.Fatalf("control: %q", got)
	}
	if got := p.Run(t, p.Sbx, "exec", "db", "sh", "-c", who("app")); got.Out != "app\n" {
		t.Errorf("who has no rules reaches who has: %+v", got)
	}
	had := p.members("dev")[1].IPv4
	if got := p.Run(t, p.Sbx, "rm", "-f", "db"); got.Code != 0 {
		t.Fatalf("%+v", got)
	}
	p.up("evil", open, answering("evil"))
	if now := p.members("dev")[1]; now.IPv4 != had || now.Name != "evil" {
		t.Fatalf("control: %+v has not the address %s", now, had)
	}
	if got := ask(who(had)); got != none {
		t.Errorf("whoever has the address of one that was allowed: %q", got)
	}
	p.up("db", open, answering("db"))
	if got := ask(who("db")); got != "db\n" {
		t.Errorf("with its new address: %q", got)
	}
	if got := p.Run(t, p.Sbx, "net", "allow", "app", "evil:80"); got.Code == 0 || !strings.Contains(got.Err, "rules are set when the sandbox starts") {
		t.Errorf("a rule about a member, later: %+v", got)
	}
}
