// Package engine tests a sandbox's network against the kernel: the engine with a
// TUN device in network namespaces of the test's own.
package engine

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
	"github.com/sbx-sandbox/sbx/test/reach"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

func TestMain(m *testing.M) {
	if code, played := play(); played {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// sbxNet is the path of sbx-net, which is built beside sbx.
func sbxNet(t *testing.T) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(sbxtest.Sbx(t)), "sbx-net")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; make build makes it", err)
	}
	return path
}

// config is a Config with rules; "-" before one denies.
func config(t *testing.T, rules ...string) slirp.Config {
	t.Helper()
	var allow, deny []policy.Rule
	for _, text := range rules {
		text, denies := strings.CutPrefix(text, "-")
		r, err := policy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if denies {
			deny = append(deny, r)
		} else {
			allow = append(allow, r)
		}
	}
	return slirp.Config{
		Protocol: slirp.Protocol, IPv4: slirp.Default4, IPv6: slirp.Default6, VNetHdr: true,
		DNS:    slirp.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.53:53")}, Hostname: "box"},
		Policy: policy.New(allow, deny),
	}
}

// do runs a job in namespaces of its own.
func do(t *testing.T, j job) outcome {
	t.Helper()
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tun)
	j.Program = sbxNet(t)
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	c := again("host", unix.CLONE_NEWUSER|unix.CLONE_NEWNET)
	c.Stdin = bytes.NewReader(text)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	late := time.AfterFunc(2*time.Minute, func() { _ = c.Process.Kill() })
	defer late.Stop()
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var o outcome
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	if o.Error != "" || o.Exit != "" || o.Stderr != "" {
		t.Fatalf("error %q, exit %q, stderr %q %s\nevents %+v", o.Error, o.Exit, o.Stderr, &stderr, o.Events)
	}
	return o
}

// TestBypass: what is not allowed is not reached, however it is tried, and each
// of the tries reaches something where no engine is in the way.
func TestBypass(t *testing.T) {
	o := do(t, job{Config: config(t, reach.FewRules...), Tries: slices.Sorted(maps.Keys(reach.Attempts))})
	for _, name := range slices.Sorted(maps.Keys(reach.Attempts)) {
		in, out := o.Inside[name], o.Host[name]
		if in.Took+out.Took > time.Second {
			t.Logf("%s: took %s, the control %s", name, in.Took, out.Took)
		}
		if in.Reached() != reach.Attempts[name] {
			t.Errorf("%s: reached is %v: %q %s", name, in.Reached(), in.Text, in.Error)
		}
		if !out.Reached() && !slices.Contains(reach.NoControl, name) {
			t.Errorf("%s: the control does not reach it: %s", name, out.Error)
		}
		if !in.Reached() && in.Took > reach.Patience {
			t.Errorf("%s: it took %s to fail", name, in.Took)
		}
	}
	for _, q := range questionsAfterControl(o) {
		if strings.Contains(q, "evil") || strings.HasPrefix(q, "TXT") || strings.Contains(q, "denied") {
			t.Errorf("the world's name server was asked: %s", q)
		}
	}
	checkDenials(t, o)
}

// questionsAfterControl are those that came by the engine: the control asks all
// of them before, so a second time is one.
func questionsAfterControl(o outcome) []string {
	seen := map[string]int{}
	for _, q := range o.Questions {
		seen[strings.ToLower(q)]++
	}
	var list []string
	for q, n := range seen {
		if n > controlAsks[q] && controlAsks[q] > 0 {
			list = append(list, q)
		}
	}
	return list
}

// controlAsks is how often the control asks what must not be asked for inside.
var controlAsks = map[string]int{
	"txt c2vjcmv0.evil.example.": 1, "txt c2vjcmv0.allowed.example.": 1, "a denied.example.": 5, "aaaa denied.example.": 2,
	"a allowed.example.evil.example.": 1,
}

// checkDenials: each is told once, with what would allow it.
func checkDenials(t *testing.T, o outcome) {
	t.Helper()
	told := map[string]int{}
	var summary slirp.Event
	for _, e := range o.Events {
		switch e.Event {
		case slirp.EventDenied:
			told[e.Protocol+" "+e.Name+" "+e.Add]++
			if !e.First || e.Reason == "" {
				t.Errorf("denial %+v", e)
			}
		case slirp.EventSummary:
			summary = e
		case slirp.EventError, slirp.EventLimit:
			t.Errorf("event %+v", e)
		}
	}
	for _, want := range []string{
		"dns denied.example denied.example", "tcp  198.51.100.20:443", "tcp allowed.example allowed.example:9999",
		"tcp neighbour.example neighbour.example:443", "udp  udp://198.51.100.20:4433", "tcp  @host:5999",
		"tcp  192.168.50.5:80", "tcp  [fd77::5]:80", "tcp  ", "dns rebind.allowed.example ",
	} {
		if told[want] == 0 {
			t.Errorf("no denial %q; there are %v", want, slices.Sorted(maps.Keys(told)))
		}
	}
	if len(summary.Denied) == 0 {
		t.Error("there is no summary")
	}
}

// TestConfined: the engine's process has given up what it does not need.
func TestConfined(t *testing.T) {
	o := do(t, job{Config: config(t), Tries: []string{"04 address that is not allowed"}})
	for k, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2"} {
		if o.Status[k] != want {
			t.Errorf("%s of sbx-net is %q, want %s", k, o.Status[k], want)
		}
	}
	if o.Inside["04 address that is not allowed"].Took > reach.Patience/2 {
		t.Errorf("being denied took %s", o.Inside["04 address that is not allowed"].Took)
	}
}

// TestGrants: what rules open is open.
func TestGrants(t *testing.T) {
	o := do(t, job{
		Config: config(t, "@host:5999", "@lan:80", "@internet", "-*.evil.example", "@lan/nas.example"),
		Tries: []string{
			"25 host's loopback by the gateway", "host's own address", "private network", "private network by name", "gateway by name",
			"02 https by a name that is not allowed", "15 DNS over HTTPS by address", "23 udp to an address that is not allowed",
			"12 tunnel by questions", "metadata", "loopback by a route", "20 no name at an allowed address", "gateway's own name server, tcp",
		},
	})
	for _, name := range slices.Sorted(maps.Keys(o.Inside)) {
		want := !slices.Contains([]string{"12 tunnel by questions", "metadata", "loopback by a route"}, name)
		if r := o.Inside[name]; r.Reached() != want {
			t.Errorf("%s: reached is %v: %q %s", name, r.Reached(), r.Text, r.Error)
		}
	}
}

// TestPing: echo requests pass if a rule allows them and the host has sockets for
// them, and never does the engine answer for somebody else.
func TestPing(t *testing.T) {
	names := []string{"ping", "ping, IPv6", "ping the gateway", "ping elsewhere", "ping in vain"}
	with := do(t, job{Config: config(t, "icmp://198.51.100.10", "icmp://2001:db8::10"), Tries: names, Pings: true})
	without := do(t, job{Config: config(t, "icmp://198.51.100.10", "icmp://2001:db8::10"), Tries: []string{"ping in vain", "ping the gateway"}})
	for name, want := range map[string][2]bool{
		"ping": {true, false}, "ping, IPv6": {true, false}, "ping the gateway": {true, true}, "ping elsewhere": {false, false}, "ping in vain": {true, false},
	} {
		for i, o := range []outcome{with, without} {
			if r, tried := o.Inside[name]; tried && r.Reached() != want[i] {
				t.Errorf("%s, with ping sockets %v: %v %s", name, i == 0, r.Reached(), r.Error)
			}
		}
	}
	if !slices.ContainsFunc(without.Events, func(e slirp.Event) bool {
		return e.Event == slirp.EventLimit && strings.Contains(e.Message, "ping_group_range")
	}) {
		t.Errorf("nothing says why there are no pings: %+v", without.Events)
	}
	if d := with.Inside["ping elsewhere"].Took; d > reach.Patience/2 {
		t.Errorf("a ping that is denied was told after %s", d)
	}
}

// TestPublished: ports of the host lead to the sandbox, which sees the client's
// own address.
func TestPublished(t *testing.T) {
	c := config(t)
	for _, text := range []string{"0:8080", "[::1]:0:8080", "0.0.0.0:0:8080", "0:8080/udp", "[::1]:0:8080/udp", "0.0.0.0:0:8080/udp", "0:8081"} {
		p, err := slirp.ParsePublish(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Publish = append(c.Publish, p)
	}
	live, err := slirp.ParsePublish("127.0.0.1:0:8080")
	if err != nil {
		t.Fatal(err)
	}
	o := do(t, job{Config: c, Control: true, Requests: []slirp.Request{{Op: "publish", Publish: &live}}})
	want := []string{
		"tcp 127.0.0.1: 10.0.2.2", "tcp ::1: fd53:6278::2", "tcp 0.0.0.0: 203.0.113.2",
		"udp 127.0.0.1: 10.0.2.2", "udp ::1: fd53:6278::2", "udp 0.0.0.0: 203.0.113.2",
	}
	if len(o.Published) != 7 || !slices.Equal(o.Published[:6], want) {
		t.Errorf("%q\nwant %q", o.Published, want)
	}
	if last := o.Published[len(o.Published)-1]; !strings.Contains(last, "reset") && !strings.Contains(last, "EOF") {
		t.Errorf("a port that nobody serves: %s", last)
	}
	if len(o.Responses) != 1 || len(o.Responses[0].Publish) != 1 || o.Responses[0].Publish[0].HostPort == 0 {
		t.Errorf("publishing later: %+v", o.Responses)
	}
}

// TestControl: rules change while the sandbox runs.
func TestControl(t *testing.T) {
	o := do(t, job{
		Config: config(t, "198.51.100.77:22"), Control: true,
		Tries: []string{"allowed later", "denied later", "06 port of a prefix"},
		Requests: []slirp.Request{
			{Op: "allow", Rule: "198.51.100.20:9999", For: time.Minute}, {Op: "deny", Rule: "198.51.100.77"}, {Op: "rules"},
			{Op: "allow", Rule: "x y"}, {Op: "remove", Rule: "198.51.100.77:22"}, {Op: "answer", ID: 7}, {Op: "dance"}, {Op: "usage"}, {Op: "flows"},
		},
		After: []slirp.Request{{Op: "log"}},
	})
	for name, want := range map[string]bool{"allowed later": true, "denied later": false, "06 port of a prefix": false} {
		if r := o.Inside[name]; r.Reached() != want {
			t.Errorf("%s: %v %s", name, r.Reached(), r.Error)
		}
	}
	if rules := o.Responses[2].Rules; len(rules) != 3 || rules[0].Text != "198.51.100.77" || rules[0].Allow || rules[1].Expires.IsZero() || rules[2].Live {
		t.Errorf("%+v", rules)
	}
	for i, want := range map[int]string{3: "a space", 4: "is the profile's", 5: "not open", 6: `no request "dance"`} {
		if !strings.Contains(o.Responses[i].Error, want) {
			t.Errorf("%+v should say %q", o.Responses[i], want)
		}
	}
	if u := o.Responses[7].Usage; u == nil || u.Descriptors < 5 || u.Descriptors > 100 {
		t.Errorf("usage %+v", u)
	}
	log := slices.DeleteFunc(o.Responses[9].Events, func(e slirp.Event) bool { return e.Port == 1 }) // of settling
	if len(log) != 1 || log[0].Count != 2 || log[0].Rule != "198.51.100.77" {
		t.Errorf("log %+v", log)
	}
}

// TestVersions: with one version of IP there is the other nowhere, and without
// offloading all is the same.
func TestVersions(t *testing.T) {
	tries := []string{"03 http by name", "16 https by name, IPv6", "22 udp by name", "06 port of a prefix", "a megabyte"}
	for _, tt := range []struct {
		name string
		edit func(*slirp.Config)
		lost []string
	}{
		{"IPv4 only", func(c *slirp.Config) { c.IPv6 = slirp.Addr{} }, []string{"16 https by name, IPv6"}},
		{"IPv6 only", func(c *slirp.Config) { c.IPv4 = slirp.Addr{} }, []string{"06 port of a prefix", "a megabyte"}},
		{"no offloading", func(c *slirp.Config) { c.VNetHdr = false }, nil},
		{"large packets", func(c *slirp.Config) { c.MTU = 9000 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, append(reach.FewRules, "udp://198.51.100.10:4433")...)
			tt.edit(&c)
			o := do(t, job{Config: c, Tries: tries})
			for _, name := range tries {
				if r := o.Inside[name]; r.Reached() == slices.Contains(tt.lost, name) {
					t.Errorf("%s: %v %s", name, r.Reached(), r.Error)
				}
			}
		})
	}
}

// TestMany: many connections at once, and very many one after the other, leave
// nothing behind in the engine.
func TestMany(t *testing.T) {
	o := do(t, job{
		Config: config(t, "198.51.100.0/24", "[2001:db8::]/32"), Control: true,
		Tries:    []string{"06 port of a prefix", "2000 at once", "20000 one by one", "01 https by name"},
		Requests: []slirp.Request{{Op: "usage"}}, After: []slirp.Request{{Op: "usage"}, {Op: "flows"}},
	})
	for _, name := range []string{"06 port of a prefix", "2000 at once", "20000 one by one"} {
		if r := o.Inside[name]; !r.Reached() {
			t.Errorf("%s: %s", name, r.Error)
		}
		t.Logf("%s: %s", name, o.Inside[name].Took)
	}
	before, after := o.Responses[0].Usage, o.Responses[1].Usage
	t.Logf("before %+v, after %+v, at most %s", *before, *after, o.Status["VmHWM"])
	if after.Flows > 0 || after.Descriptors > before.Descriptors+2 || after.Goroutines > before.Goroutines+10 {
		t.Errorf("before %+v, after %+v; %+v", *before, *after, o.Responses[2].Flows)
	}
	if after.Memory > 200<<20 {
		t.Errorf("%d MiB of memory", after.Memory>>20)
	}
}
