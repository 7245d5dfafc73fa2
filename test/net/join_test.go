package net

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// up starts a sandbox in the background, and ends it with the test. The script
// says "up" on its standard output when others may come.
func (p person) up(name, profile, script string, flags ...string) {
	p.t.Helper()
	argv := append([]string{p.Sbx, "run", "-d", "--rm", "--name", name}, flags...)
	if got := p.Run(p.t, append(argv, profile, "--", "sh", "-c", script)...); got.Code != 0 {
		p.t.Fatalf("starting %s: %+v", name, got)
	}
	p.t.Cleanup(func() { p.Run(p.t, p.Sbx, "kill", name) }) // it may have ended
	world.Until(p.t, name+" is up", func() bool { return strings.Contains(p.Run(p.t, p.Sbx, "logs", name).Out, "up") })
}

// supervisor is the host's pid of the process that stands by a sandbox.
func (p person) supervisor(name string) int {
	p.t.Helper()
	got := p.Run(p.t, p.Sbx, "inspect", "--format={{.state.supervisor_pid}}", name)
	pid, err := strconv.Atoi(strings.TrimSpace(got.Out))
	if err != nil {
		p.t.Fatalf("inspect %s: %+v", name, got)
	}
	return pid
}

// serving answers on a port of the sandbox's loopback, once it is up.
const serving = `cd /tmp && echo served >index.html && python3 -m http.server --bind 127.0.0.1 8080 2>/dev/null &
until curl -s -o /dev/null http://127.0.0.1:8080/; do sleep 0.05; done; echo up; sleep 600`

const served = "curl -sS -m 5 http://127.0.0.1:8080/index.html 2>/dev/null || echo none"

// TestJoin: who is in another's network has its loopback, its way out and its
// rules, and none of it without.
func TestJoin(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	p := at(t)
	for _, tt := range []struct{ name, profile, url, want, denied string }{
		{"user", "[network]\nmode = \"user\"\ndns = [\"" + server + "\"]\nallow = [\"allowed.example:80\"]\n", "http://allowed.example/", "world at ", "http://" + denied4 + "/"},
		{"none", "[network]\nmode = \"none\"\n", "http://" + allowed4 + "/", none, "http://" + denied4 + "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := person{p.World, t}
			p.up("first", p.Profile(t, tt.profile), serving)
			plain, joined := p.Profile(t, "[network]\nmode = \"none\"\n"), "--network=sandbox:first"
			if got := p.run(plain, served); got.Out != none {
				t.Errorf("without the other's network: %+v", got)
			}
			if got := p.run(plain, served, joined); got.Out != "served\n" || got.Code != 0 {
				t.Errorf("its loopback: %+v", got)
			}
			if got := p.run(plain, served, "--network=container:first"); got.Out != "served\n" {
				t.Errorf("in docker's words: %+v", got)
			}
			if got := p.run(plain, get(tt.url), joined); !strings.HasPrefix(got.Out, tt.want) {
				t.Errorf("whom it may talk to: %+v", got)
			}
			if got := p.run(plain, get(tt.denied), joined); got.Out != none {
				t.Errorf("whom it may not: %+v", got)
			}
			var wg sync.WaitGroup
			for i := range 6 {
				wg.Go(func() {
					if got := p.run(plain, served, joined); got.Out != "served\n" {
						t.Errorf("one of six at once, %d: %+v", i, got)
					}
				})
			}
			wg.Wait()
			p.up("second", plain, "echo up; sleep 600", joined)
			if got := p.run(plain, served, "--network=sandbox:second"); got.Out != "served\n" {
				t.Errorf("by way of one that joined: %+v", got)
			}
			p.Run(t, p.Sbx, "kill", "first", "second")
		})
	}
}

// TestJoinedNamespaces: the other sandbox may make no more namespaces than before
// anybody joined it, and who joins has no right over the network.
func TestJoinedNamespaces(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	nested := "unshare --user true 2>/dev/null && echo made || echo refused"
	open := p.Profile(t, "[network]\nmode = \"none\"\n[security]\nseccomp = \"unconfined\"\nnested_userns = true\n")
	if got := p.run(open, nested); got.Out != "made\n" {
		t.Fatalf("control: %+v", got)
	}
	profile := p.Profile(t, "[network]\nmode = \"none\"\n[security]\nseccomp = \"unconfined\"\n")
	p.up("first", profile, "echo up; sleep 600")
	if got := p.run(profile, "ip link set lo down 2>/dev/null && echo changed || echo refused; "+nested, "--network=sandbox:first"); got.Out != "refused\nrefused\n" {
		t.Errorf("who joins: %+v", got)
	}
	p.up("second", profile, "echo up; sleep 600", "--network=sandbox:first")
	for _, name := range []string{"first", "second"} {
		if got := p.Run(t, p.Sbx, "exec", name, "sh", "-c", nested); got.Out != "refused\n" {
			t.Errorf("%s, once it was joined: %+v", name, got)
		}
	}
}

// TestJoinedEnd: when the sandbox whose network it is ends, the network is gone,
// and who was in it hears so, and ends if it is to.
func TestJoinedEnd(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	after := "echo in; read x; " + get("http://"+allowed4+"/")
	for _, tt := range []struct {
		name, require string
		end           func(pid int)
		code          int
		out, err      string
	}{
		{"killed", "", func(pid int) { _ = unix.Kill(pid, unix.SIGKILL) }, 0, none, "warning: the network is gone, and the command goes on without one: the sandbox first"},
		{"ended", "", func(int) { p.Run(t, p.Sbx, "kill", "first") }, 0, none, "warning: the network is gone"},
		{"required", "[policy]\nrequire = [\"network\"]\n", func(pid int) { _ = unix.Kill(pid, unix.SIGKILL) }, 125, "", "sbx: the network is gone: the sandbox first, whose it was, has ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := person{p.World, t}
			p.up("first", p.profile(`allow = ["@internet"]`), "echo up; sleep 600")
			profile := p.Profile(t, "[network]\nmode = \"sandbox:first\"\n"+tt.require)
			cmd := p.Command(p.Sbx, "run", profile, "--", "sh", "-c", after)
			s := begin(t, cmd)
			s.says("in\n")
			tt.end(p.supervisor("first"))
			world.Until(t, "it is told", func() bool { return strings.Contains(s.err(), "the network is gone") })
			s.enter()
			out, code := s.rest()
			if out != tt.out || code != tt.code || !strings.Contains(s.err(), tt.err) {
				t.Errorf("%q, %d, %q; want %q, %d, %q", out, code, s.err(), tt.out, tt.code, tt.err)
			}
		})
	}
}

// TestJoinRefused: whose network can't be shared.
func TestJoinRefused(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	p.up("hosts", p.Profile(t, "[network]\nmode = \"host\"\n"), "echo up; sleep 600")
	p.up("own", p.Profile(t, "[network]\nmode = \"none\"\n"), "echo up; sleep 600")
	for _, tt := range []struct{ mode, more, want string }{
		{"sandbox:nobody", "", "no sandbox is called nobody"},
		{"sandbox:hosts", "", `it has the host's network; network.mode = "host" gives the same`},
		{"sandbox:own", "[user]\nmap = \"range\"\n", "there is one id"},
		{"sandbox:own", "[root]\nsys = \"ro\"\n", "/sys shows a network"},
		{"sandbox:own\"\npublish = [\"8080\"]\n#", "", "has no effect with network.mode"},
	} {
		profile := p.Profile(t, fmt.Sprintf("[network]\nmode = \"%s\"\n%s", tt.mode, tt.more))
		if got := p.run(profile, "echo ran"); got.Code != 125 || got.Out != "" || !strings.Contains(got.Err, tt.want) {
			t.Errorf("%s %s: %+v, want %q", tt.mode, tt.more, got, tt.want)
		}
	}
}
