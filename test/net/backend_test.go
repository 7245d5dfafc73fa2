package net

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// backends are the programs that make a network, and the name of their process.
var backends = []struct{ name, process string }{{"engine", "sbx-net"}, {"pasta", "pasta"}, {"slirp4netns", "slirp4netns"}}

// withBackends runs a test with each.
func withBackends(t *testing.T, test func(t *testing.T, p person, set, process string)) {
	p := at(t)
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			if b.name != "engine" {
				sbxtest.Require(t, sbxtest.Tool(b.name))
			}
			p.t = t
			test(t, p, "backend = \""+b.name+"\"\n", b.process)
		})
	}
}

// TestAddresses: rules by address mean the same whatever makes the network.
func TestAddresses(t *testing.T) {
	sbxtest.Leftovers(t)
	withBackends(t, func(t *testing.T, p person, set, _ string) {
		for _, tt := range []struct {
			name, rules, url string
			want             string // the beginning of the answer
		}{
			{"nothing allowed", "", "http://" + allowed4 + "/", none},
			{"an address", `allow = ["` + allowed4 + `:80"]`, "http://" + allowed4 + "/", "world at " + allowed4},
			{"another", `allow = ["` + allowed4 + `:80"]`, "http://" + denied4 + "/", none},
			{"another port", `allow = ["` + allowed4 + `:80"]`, "http://" + allowed4 + ":8443/", none},
			{"a prefix", `allow = ["198.51.100.0/27"]`, "http://" + denied4 + ":8443/", "world at " + denied4},
			{"an exception", "allow = [\"@internet\"]\ndeny = [\"" + denied4 + "\"]", "http://" + denied4 + "/", none},
			{"a name", `allow = ["@internet"]`, "http://denied.example/", "world at " + denied4},
			{"a private address", `allow = ["@internet"]`, "http://" + lan + "/", none},
			{"a private address, allowed", `allow = ["@lan:80"]`, "http://" + lan + "/", "world at " + lan},
			{"metadata", `allow = ["@internet", "@lan", "@host"]`, "http://" + metadata + "/", none},
			{"the host's own address", `allow = ["@internet", "@lan"]`, "http://" + hostsOwn + ":18098/", none},
			{"the host's own address, allowed", `allow = ["@host:18098"]`, "http://" + hostsOwn + ":18098/", "host at " + hostsOwn},
			{"a name that leads to the host", `allow = ["@internet"]`, "http://rebind.example/", none},
		} {
			t.Run(tt.name, func(t *testing.T) {
				begun := time.Now()
				got := p.run(p.profile(set+tt.rules), get(tt.url))
				if !strings.HasPrefix(got.Out, tt.want) || got.Code != 0 {
					t.Errorf("got %+v, want %q", got, tt.want)
				}
				if took := time.Since(begun); tt.want == none && took > 4*time.Second {
					t.Errorf("it took %v: nobody said at once that it is blocked", took)
				}
			})
		}
	})
}

// TestTold: what was blocked is told, whatever makes the network, and so is what
// to add.
func TestTold(t *testing.T) {
	sbxtest.Leftovers(t)
	withBackends(t, func(t *testing.T, p person, set, _ string) {
		got := p.run(p.profile(set), "curl -sS -m 30 http://secret.example/; curl -sS -m 30 http://"+denied4+"/ http://"+denied4+"/")
		for _, want := range []string{
			"sbx: blocked looking up secret.example (no rule allows the name); to allow it: ",
			"sbx: blocked " + denied4 + ":80 (no allowed name resolved to this address); to allow it: ", "or --allow " + denied4 + ":80\n",
		} {
			if n := strings.Count(got.Err, want); n != 1 {
				t.Errorf("it is said %d times: %s", n, want)
			}
		}
		if !strings.Contains(got.Err, "attempts blocked: ") || !strings.Contains(got.Err, denied4+":80 (2)") || strings.Contains(got.Err, "timed out") {
			t.Errorf("stderr was\n%s", got.Err)
		}
		if asked.has("secret.example.") {
			t.Error("a name that no rule allows was asked for outside")
		}
	})
}

// TestNames: a rule by name means the same whatever makes the network, and what is
// changed while the sandbox runs holds at once.
func TestNames(t *testing.T) {
	sbxtest.Leftovers(t)
	withBackends(t, func(t *testing.T, p person, set, _ string) {
		for _, tt := range []struct{ name, rules, url, want string }{
			{"a name", `allow = ["allowed.example:80"]`, "http://allowed.example/", "world at "},
			{"another name", `allow = ["allowed.example:80"]`, "http://denied.example/", none},
			{"another port", `allow = ["allowed.example:80"]`, "http://allowed.example:8443/", none},
			{"its address, unasked", `allow = ["allowed.example:80"]`, "http://" + allowed4 + "/", none},
			{"all below a name", `allow = ["*.example:80"]`, "http://denied.example/", "world at " + denied4},
			{"an exception", "allow = [\"@internet\"]\ndeny = [\"denied.example\"]", "http://denied.example/", none},
			{"an exception for a port", "allow = [\"@internet\"]\ndeny = [\"denied.example:80\"]", "http://denied.example/", none},
			{"and not for others", "allow = [\"@internet\"]\ndeny = [\"denied.example:80\"]", "http://denied.example:8443/", "world at " + denied4},
			{"a name that leads to the LAN", `allow = ["corp.allowed.example:80"]`, "http://corp.allowed.example/", none},
			{"the same, meant so", `allow = ["@lan/corp.allowed.example:80"]`, "http://corp.allowed.example/", "world at " + lan},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if got := p.run(p.profile(set+tt.rules), get(tt.url)); !strings.HasPrefix(got.Out, tt.want) || got.Code != 0 {
					t.Errorf("got %+v, want %q", got, tt.want)
				}
			})
		}
		t.Run("changed", func(t *testing.T) { changed(t, p, set) })
		for name, more := range map[string]string{"held": "", "held beside a published port": "publish = [\"18299:80\"]\n"} {
			t.Run(name, func(t *testing.T) { held(t, p, set+more) })
		}
	})
}

// held takes the permission away from a connection that is there.
func held(t *testing.T, p person, set string) {
	p.t = t
	script := `trap "" PIPE; exec 3<>/dev/tcp/` + allowed4 + `/80; while read x; do
		printf 'HEAD / HTTP/1.1\r\nHost: allowed.example\r\n\r\n' >&3; first=
		while IFS= read -t 5 -r line <&3 && [ "$line" != $'\r' ]; do first=${first:-$line}; done
		echo "${first:-none}"; done 2>/dev/null`
	s := begin(t, p.Command(p.Sbx, "run", "--name", "held", p.profile(set+`allow = ["`+allowed4+`:80"]`), "--", "bash", "-c", script))
	defer s.end()
	for _, want := range []string{"HTTP/1.1 ", "HTTP/1.1 ", none} {
		if want == none {
			if got := p.Run(t, p.Sbx, "net", "deny", "held", allowed4); got.Code != 0 {
				t.Errorf("sbx net deny: %+v", got)
			}
		}
		s.enter()
		if line, err := s.out.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Errorf("got %q, %v; want %q; %s", line, err, want, s.err())
		}
	}
}

// changed changes the rules of a sandbox that runs.
func changed(t *testing.T, p person, set string) {
	p.t = t
	script := "while read x; do " + strings.Replace(get("http://allowed.example/"), "curl", "curl -4", 1) + "; done"
	s := begin(t, p.Command(p.Sbx, "run", "--name", "changed", p.profile(set), "--", "sh", "-c", script))
	defer s.end()
	for _, step := range []struct {
		args []string // of sbx net
		want string
	}{
		{nil, none},
		{[]string{"allow", "changed", "allowed.example:80"}, "world at "},
		{[]string{"deny", "changed", allowed4}, none},
		{[]string{"rm", "changed", allowed4}, "world at "},
		{[]string{"rm", "changed", "allowed.example:80"}, none},
	} {
		if step.args != nil {
			if got := p.Run(t, append([]string{p.Sbx, "net"}, step.args...)...); got.Code != 0 {
				t.Errorf("sbx net %q: %+v", step.args, got)
			}
		}
		s.enter()
		if line, err := s.out.ReadString('\n'); err != nil || !strings.HasPrefix(line, step.want) {
			t.Errorf("after sbx net %q: %q, %v; want %q; %s", step.args, line, err, step.want, s.err())
		}
	}
}

// TestLoopback: no service of the host's loopback is reached, by a command that
// is root inside either, whatever it does to its network. The host's own request
// is the control.
func TestLoopback(t *testing.T) {
	sbxtest.Leftovers(t)
	at(t)
	for _, url := range []string{"http://127.0.0.1:18097/", "http://[::1]:18097/"} {
		if !strings.HasPrefix(outside(t, url), "host at ") {
			t.Fatalf("%s is not served to the host itself", url)
		}
	}
	withBackends(t, func(t *testing.T, p person, set, _ string) {
		for _, as := range []string{"keep", "root"} {
			t.Run(as, func(t *testing.T) {
				script := `PATH=$PATH:/usr/sbin:/sbin
					ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 10.0.2.2; ip route add local default dev lo; ip link set lo down
					nft flush ruleset; sysctl -w net.ipv4.conf.all.route_localnet=1
					for host in 127.0.0.1 127.0.0.2 '[::1]' 10.0.2.2 10.0.2.3 10.0.2.1 '[fd53:6278::2]' host.sbx.internal 169.254.0.1; do
						curl -sS -m 3 http://$host:18097/ && echo reached by $host
					done
					echo tried`
				if got := p.run(p.profile(set+`allow = ["@internet", "@lan"]`), script, "--user="+as); got.Out != "tried\n" || got.Code != 0 {
					t.Errorf("%+v", got)
				}
			})
		}
	})
}

// TestHostPorts: a service of the host's loopback that is named is reached, and no
// other. slirp4netns refuses.
func TestHostPorts(t *testing.T) {
	sbxtest.Leftovers(t)
	withBackends(t, func(t *testing.T, p person, set, process string) {
		if process == "slirp4netns" {
			return // TestRefused
		}
		for _, tt := range []struct{ name, ports, url, want string }{
			{"the same port", "18097", "http://host.sbx.internal:18097/", "host at "},
			{"another port", "18097:8080", "http://host.sbx.internal:8080/", "host at "},
			{"what is not named", "18097:8080", "http://host.sbx.internal:18097/", none},
			{"the host's address", "18098", "http://host.sbx.internal:18098/", none}, // listens on no loopback
		} {
			if got := p.run(p.profile(set+"host_ports = [\""+tt.ports+"\"]"), get(tt.url)); !strings.HasPrefix(got.Out, tt.want) {
				t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
			}
		}
	})
}

// TestRates: no more passes than the profile says, in either direction. How long it
// takes at least follows from that: a bucket may be full at first.
func TestRates(t *testing.T) {
	sbxtest.Leftovers(t)
	const rate = 1 << 20
	least := 0.6 * (much/rate - 1)
	withBackends(t, func(t *testing.T, p person, set, _ string) {
		for _, tt := range []struct{ name, key, script string }{
			{"out", "rate", "head -c " + strconv.Itoa(much) + " /dev/zero >much; curl -sS -m 60 -H Expect: -T much -o out -w '%{time_total} %{size_upload}' http://" + allowed4 + "/"},
			{"in", "rate_in", "curl -sS -m 60 -o out -w '%{time_total} %{size_download}' http://" + allowed4 + "/much"},
		} {
			rules := set + "allow = [\"" + allowed4 + ":80\"]\n"
			for _, limit := range []string{"", tt.key + " = \"1M\""} {
				got := p.run(p.profile(rules+limit), "cd /tmp && "+tt.script)
				var seconds float64
				var size int
				if _, err := fmt.Sscan(got.Out, &seconds, &size); err != nil || size != much {
					t.Errorf("%s, %q: %+v, %v", tt.name, limit, got, err)
				} else if limit != "" && seconds < least {
					t.Errorf("%s: %d bytes took %.2f s, at %d bytes a second", tt.name, size, seconds, rate)
				}
				t.Logf("%s, %q: %.2f s", tt.name, limit, seconds)
			}
		}
	})
}

// TestRefused: what a backend can't do it does not pretend to.
func TestRefused(t *testing.T) {
	p := at(t)
	for _, tt := range []struct{ backend, set, want string }{
		{"slirp4netns", `publish = ["0:80"]`, "slirp4netns picks no port of the host by itself; write one; or set network.backend = \"engine\""},
		{"slirp4netns", `host_ports = ["18097"]`, "network.host_ports: slirp4netns can't do that; leave it out, or set network.backend = \"engine\""},
		{"slirp4netns", `publish = ["auto"]`, "network.publish: slirp4netns can't do that"},
		{"slirp4netns", `on_deny = "ask"`, "network.on_deny: slirp4netns can't do that"},
		{"pasta", `audit = "all"`, "network.audit: pasta can't do that"},
		{"pasta", `publish = ["auto"]`, "network.publish: pasta can't do that"},
		{"pasta", `on_deny = "ask"`, "network.on_deny: pasta can't do that"},
		{"pasta", `upstream_proxy = "host"`, "network.upstream_proxy: pasta can't do that"},
	} {
		t.Run(tt.backend+" "+tt.set, func(t *testing.T) {
			sbxtest.Require(t, sbxtest.Tool(tt.backend))
			got := p.run(p.profile("backend = \""+tt.backend+"\"\n"+tt.set), "echo ran")
			if got.Code != 125 || got.Out != "" || !strings.Contains(got.Err, tt.want) {
				t.Errorf("%+v; want %q", got, tt.want)
			}
		})
	}
}

// TestHelperKilled: when the network's program dies the command goes on without
// a network and sbx says so; where it must be there the sandbox ends.
func TestHelperKilled(t *testing.T) {
	sbxtest.Leftovers(t)
	script := "echo up; read x; " + get("http://"+allowed4+"/") + "; grep -c sbx0 /proc/net/dev; echo went on"
	withBackends(t, func(t *testing.T, p person, set, process string) {
		for _, tt := range []struct {
			name, rules string
			code        int
			out, err    string
		}{
			{"goes on", "", 0, "none\n0\nwent on\n", "sbx: warning: the network is gone, and the command goes on without one: " + process + " was killed by SIGKILL"},
			{"must hold", "\n[policy]\nrequire = [\"network\"]", 125, "", "sbx: the network can't be had: " + process + " was killed by SIGKILL"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				cmd := p.Command(p.Sandboxed(p.profile(set+"allow = [\""+allowed4+"\"]"+tt.rules), "sh", "-c", script)...)
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				var said text
				cmd.Stderr = &said
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewReader(out)
				if line, err := lines.ReadString('\n'); err != nil || line != "up\n" {
					_ = cmd.Wait() // it has failed
					t.Fatalf("%q, %v: %s", line, err, said.String())
				}
				if killed := kill(t, cmd.Process.Pid, process); killed == 0 { // pasta forks for a moment
					t.Fatal("there is no program of the network")
				}
				for end := time.Now().Add(10 * time.Second); !strings.Contains(said.String(), tt.err) && time.Now().Before(end); {
					time.Sleep(10 * time.Millisecond)
				}
				stdin.Close()
				rest, err := io.ReadAll(lines)
				if err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // its status is looked at below
				if code := world.Code(cmd); code != tt.code || string(rest) != tt.out || !strings.Contains(said.String(), tt.err) {
					t.Errorf("status %d, %q, stderr %q; want %d, %q, %q", code, rest, said.String(), tt.code, tt.out, tt.err)
				}
			})
		}
	})
}

// TestNamesKilled: without the program that answers for names no more of them
// resolve, and what was allowed by address still is; where it must hold the
// sandbox ends.
func TestNamesKilled(t *testing.T) {
	sbxtest.Leftovers(t)
	script := get("http://allowed.example/") + "; read x; " + get("http://denied.example/") + "; " + get("http://"+allowed4+":8443/")
	for _, backend := range []string{"pasta", "slirp4netns"} {
		for _, tt := range []struct {
			name, rules string
			code        int
			out, err    string // out is how what comes after begins
		}{
			{"goes on", "", 0, none + "world at ", "sbx: warning: network: names are not answered any more: sbx-net was killed by SIGKILL"},
			{"must hold", "\n[policy]\nrequire = [\"network\"]", 125, "", "sbx: the network can't be had: sbx-net was killed by SIGKILL"},
		} {
			t.Run(backend+" "+tt.name, func(t *testing.T) {
				sbxtest.Require(t, sbxtest.Tool(backend))
				p := at(t)
				profile := p.profile("backend = \"" + backend + "\"\nallow = [\"*.example:80\", \"" + allowed4 + ":8443\"]" + tt.rules)
				cmd := p.Command(p.Sandboxed(profile, "sh", "-c", script)...)
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				var said text
				cmd.Stderr = &said
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewReader(out)
				if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "world at ") {
					t.Errorf("%q, %v: %s", line, err, said.String())
				}
				if killed := kill(t, cmd.Process.Pid, "sbx-net"); killed != 1 {
					t.Errorf("%d programs answered for names", killed)
				}
				world.Until(t, "sbx says so", func() bool { return strings.Contains(said.String(), tt.err) })
				stdin.Close()
				rest, err := io.ReadAll(lines)
				if err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // its status is looked at
				if code := world.Code(cmd); code != tt.code || !strings.HasPrefix(string(rest), tt.out) || tt.out == "" && len(rest) > 0 {
					t.Errorf("status %d, %q, stderr %q; want %d, %q", code, rest, said.String(), tt.code, tt.out)
				}
			})
		}
	}
}

// text is what a command writes, while it does.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// kill kills the processes of a name below pid and returns how many.
func kill(t *testing.T, pid int, name string) (killed int) {
	t.Helper()
	for _, c := range world.Below(t, pid) {
		if isProcess(c.Name, name) {
			killed++
			if err := unix.Kill(c.PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	return killed
}

// isProcess reports whether a process's name is a program's. Pasta executes the
// one of its builds that is for this processor.
func isProcess(got, name string) bool {
	return got == name || name == "pasta" && (strings.HasPrefix(got, "passt.") || strings.HasPrefix(got, "pasta."))
}

// TestKilled: SIGKILL of sbx at any moment leaves nothing, of the network neither.
func TestKilled(t *testing.T) {
	sbxtest.Leftovers(t)
	withBackends(t, func(t *testing.T, p person, set, process string) {
		profile := p.profile(set + "allow = [\"@internet\"]")
		for i := range 12 {
			cmd := p.Command(p.Sandboxed(profile, "sh", "-c", get("http://"+allowed4+"/")+"; sleep 60")...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i*i) * time.Millisecond)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed, as asked
		}
		var left []string
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			left = nil
			for _, q := range world.Below(t, unix.Getpid()) {
				left = append(left, q.String())
			}
			if len(left) == 0 {
				return
			}
		}
		slices.Sort(left)
		t.Errorf("left behind: %v", left)
	})
}

// TestConfined: the program that takes packets from the sandbox can do little
// itself. The test's own process, which is not confined, is the control.
func TestConfined(t *testing.T) {
	sbxtest.Leftovers(t)
	if own := status(t, unix.Getpid()); own["Seccomp"] != "0" || own["NoNewPrivs"] != "0" {
		t.Skip("this process is confined itself: its own filter is not told from another")
	}
	withBackends(t, func(t *testing.T, p person, set, process string) {
		cmd := p.Command(p.Sandboxed(p.profile(set+"allow = [\"@internet\"]"), "sh", "-c", get("http://"+allowed4+"/")+"; read x")...)
		s := begin(t, cmd)
		defer s.end()
		if line, err := s.out.ReadString('\n'); !strings.HasPrefix(line, "world at ") {
			t.Fatalf("%q, %v", line, err)
		}
		found := false
		for _, c := range world.Below(t, cmd.Process.Pid) {
			if !isProcess(c.Name, process) && c.Name != "sbx-net" { // which is beside the others for names
				continue
			}
			found = found || isProcess(c.Name, process)
			s := status(t, c.PID)
			if s["NoNewPrivs"] != "1" || s["Seccomp"] != "2" {
				t.Errorf("%s: %v", c, s)
			}
			if c.Name == "sbx-net" && strings.Trim(s["CapPrm"]+s["CapEff"]+s["CapAmb"], "0") != "" {
				t.Errorf("%s has capabilities: %s, %s, %s", c, s["CapPrm"], s["CapEff"], s["CapAmb"])
			}
		}
		if !found {
			t.Error("there is no such process")
		}
	})
}

// status is what the kernel says of a process, proc_pid_status(5).
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}
