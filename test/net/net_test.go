package net

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// asked are the names that the world's name server was asked for.
var asked list

type list struct {
	mu    sync.Mutex
	names []string
}

func (l *list) add(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, name)
}

func (l *list) has(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.names, name)
}

const none = "none\n"

// TestModes: what each mode reaches. The same from the host is the control.
func TestModes(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	url := "http://" + allowed4 + "/"
	if got := outside(t, url); !strings.HasPrefix(got, "world at "+allowed4) {
		t.Fatalf("the host gets %q: there is no world", got)
	}
	for _, tt := range []struct{ name, network, want string }{
		{"none", "mode = \"none\"", none},
		{"user, nothing allowed", "mode = \"user\"", none},
		{"user, the internet", "mode = \"user\"\ndefault = \"internet\"", "world at " + allowed4 + ":80 from " + hostsOwn + "\n"},
		{"user, by address", "mode = \"user\"\nallow = [\"" + allowed4 + ":80\"]", "world at " + allowed4 + ":80 from " + hostsOwn + "\n"},
		{"host", "mode = \"host\"", "world at " + allowed4 + ":80 from " + hostsOwn + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.run(p.Profile(t, "[network]\n"+tt.network+"\n"), get(url)); got.Out != tt.want || got.Code != 0 {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

// TestRules: who is reached by whom a rule names, by name and by address.
func TestRules(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	for _, tt := range []struct {
		name, rules, url string
		want             string // the beginning of the answer
	}{
		{"a name", `allow = ["allowed.example:80"]`, "http://allowed.example/", "world at "},
		{"another name", `allow = ["allowed.example:80"]`, "http://denied.example/", none},
		{"its address", `allow = ["allowed.example:80"]`, "http://" + denied4 + "/", none},
		{"another port", `allow = ["allowed.example:80"]`, "http://allowed.example:8443/", none},
		{"a scheme", `allow = ["http://allowed.example"]`, "http://allowed.example/", "world at "},
		{"all below a name", `allow = ["*.example:80"]`, "http://denied.example/", "world at " + denied4},
		{"a prefix", `allow = ["198.51.100.0/27:80"]`, "http://" + denied4 + "/", "world at " + denied4},
		{"IPv6", `allow = ["[2001:db8::]/64:80"]`, "http://[" + allowed6 + "]/", "world at [" + allowed6 + "]"},
		{"an exception", "allow = [\"@internet\"]\ndeny = [\"denied.example\"]", "http://denied.example/", none},
		{"a private address", `allow = ["@internet"]`, "http://" + lan + "/", none},
		{"a private address, allowed", `allow = ["@lan:80"]`, "http://" + lan + "/", "world at " + lan},
		{"metadata", `allow = ["@internet", "@lan", "@host"]`, "http://" + metadata + "/", none},
		{"the host's own address", `allow = ["@internet", "@lan"]`, "http://" + hostsOwn + ":18098/", none},
		{"the host's own address, allowed", `allow = ["@host:18098"]`, "http://" + hostsOwn + ":18098/", "host at " + hostsOwn},
		{"a name that leads to the host", `allow = ["@internet"]`, "http://rebind.example/", none},
		{"a name that leads to the LAN", `allow = ["corp.allowed.example:80"]`, "http://corp.allowed.example/", none},
		{"the same, meant so", `allow = ["@lan/corp.allowed.example:80"]`, "http://corp.allowed.example/", "world at " + lan},
		{"a name of the profile's own", "allow = [\"" + denied4 + ":80\"]\nhosts = [\"db:" + denied4 + "\"]", "http://db/", "world at " + denied4},
		{"a service of the host's loopback", "host_ports = [\"18097:80\"]", "http://host.sbx.internal/", "host at "},
		{"another of it", "host_ports = [\"18097:80\"]", "http://host.sbx.internal:18097/", none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.run(p.profile(tt.rules), get(tt.url)); !strings.HasPrefix(got.Out, tt.want) || got.Code != 0 {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

// TestBlocked: what is blocked fails at once, and sbx says what it was and what
// would allow it, once, and all of it at the end.
func TestBlocked(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	profile := p.profile("")
	got := p.run(profile, "curl -sS -m 30 http://secret.example/; curl -sS -m 30 http://"+denied4+"/ http://"+denied4+"/")
	for _, want := range []string{
		"sbx: blocked looking up secret.example (no rule allows the name); to allow it: network.allow = [\"secret.example\"] in " + profile + ", or --allow secret.example\n",
		"sbx: blocked " + denied4 + ":80 (no allowed name resolved to this address); to allow it: network.allow = [\"" + denied4 + ":80\"] in " + profile + ", or --allow " + denied4 + ":80\n",
	} {
		if n := strings.Count(got.Err, want); n != 1 {
			t.Errorf("it is said %d times: %s", n, want)
		}
	}
	if !regexp.MustCompile(`sbx: network: \d+ attempts blocked: .*` + regexp.QuoteMeta(denied4) + `:80 \(2\)`).MatchString(got.Err) {
		t.Errorf("no summary")
	}
	if strings.Contains(got.Err, "timed out") || t.Failed() {
		t.Errorf("stderr was\n%s", got.Err)
	}
	if asked.has("secret.example.") {
		t.Error("a name that no rule allows was asked for outside")
	}
	if got := p.run(profile, "curl -sS -m 30 http://denied.example/", "--quiet"); strings.Contains(got.Err, "sbx:") {
		t.Errorf("with --quiet it says %s", got.Err)
	}
}

// TestPublish: a port of the sandbox is found where it was published, and
// nowhere else.
func TestPublish(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	for i, backend := range []string{"pasta", "slirp4netns"} {
		t.Run(backend, func(t *testing.T) { publishBy(t, p, backend, 18200+i) })
	}
	script := "python3 -m http.server -b 0.0.0.0 80 2>/dev/null & trap 'kill $!' EXIT; echo served >index.html; read x"
	cmd := p.Command(p.Sbx, "run", "-p", "0:80", "-p", hostsOwn+":18100:80", p.profile(""), "--", "sh", "-c", script)
	s := begin(t, cmd)
	defer s.end()
	var match []string
	found := regexp.MustCompile(`sbx: port 80/tcp of the sandbox is published on (127\.0\.0\.1:\d+)`)
	for end := time.Now().Add(30 * time.Second); match == nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		match = found.FindStringSubmatch(s.err())
	}
	if match == nil {
		t.Fatalf("it said %q", s.err())
	}
	at := match[1]
	port := at[strings.LastIndexByte(at, ':')+1:]
	for _, tt := range []struct{ url, want string }{
		{"http://" + at + "/index.html", "served\n"},
		{"http://" + hostsOwn + ":18100/index.html", "served\n"},
		{"http://" + hostsOwn + ":" + port + "/", none},
		{"http://[::1]:" + port + "/", none},
		{"http://127.0.0.1:18100/", none},
	} {
		got := none
		for range 50 { // the server takes a moment to start
			if got = outside(t, tt.url); got == tt.want {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.url, got, tt.want)
		}
	}
	taken := p.Run(t, p.Sbx, "run", "-p", hostsOwn+":18098:80", p.profile(""), "--", "echo", "it ran")
	if taken.Code != 125 || taken.Out != "" || !strings.Contains(taken.Err, "18098") {
		t.Errorf("a port that is taken: %+v", taken)
	}
}

// TestListen: inside, every port can be listened on, and pings can be sent.
func TestListen(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	const script = `python3 -c 'import socket
socket.create_server(("", 80))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
print("ok")'`
	for _, as := range []string{"keep", "root"} {
		t.Run(as, func(t *testing.T) {
			if got := p.run(p.profile(""), script, "--user="+as); got.Out != "ok\n" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// publishBy is TestPublish for a backend that picks no port.
func publishBy(t *testing.T, p person, backend string, port int) {
	sbxtest.Require(t, sbxtest.Tool(backend))
	profile := func(publish string) string {
		return p.profile(fmt.Sprintf("backend = %q\npublish = [%q]", backend, publish))
	}
	script := "echo served >index.html; timeout 20 python3 -m http.server -b 0.0.0.0 80 2>/dev/null & read x; kill $!"
	cmd := p.Command(p.Sandboxed(profile(fmt.Sprintf("%d:80", port)), "sh", "-c", script)...)
	var said strings.Builder
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	got := none
	for end := time.Now().Add(10 * time.Second); got == none && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got = outside(t, fmt.Sprintf("http://127.0.0.1:%d/index.html", port))
	}
	elsewhere := outside(t, fmt.Sprintf("http://%s:%d/index.html", hostsOwn, port))
	stdin.Close()
	_ = cmd.Wait() // its server was killed
	if got != "served\n" || elsewhere != none {
		t.Errorf("on 127.0.0.1 %q, on the host's address %q; %s", got, elsewhere, said.String())
	}
	for _, tt := range []struct{ publish, want string }{
		{"0:80", backend + " picks no port"},
		{hostsOwn + ":18098:80", "18098"}, // which is taken
	} {
		if got := p.run(profile(tt.publish), "echo ran"); got.Code != 125 || got.Out != "" || !strings.Contains(got.Err, tt.want) {
			t.Errorf("%s: %+v", tt.publish, got)
		}
	}
	if names, err := filepath.Glob(p.Home + "/run/*"); err != nil || len(names) > 0 {
		t.Errorf("in the runtime directory are %v, %v", names, err)
	}
}

// TestLive: the rules of a sandbox that runs are seen and changed, and what was
// blocked is told.
func TestLive(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	url := "http://" + allowed4 + "/"
	script := "while read x; do " + get(url) + "; done"
	cmd := p.Command(p.Sbx, "run", "--name", "live", p.profile(""), "--", "sh", "-c", script)
	s := begin(t, cmd)
	defer s.end()
	tries := func(want string) {
		t.Helper()
		if _, err := s.in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		if line, err := s.out.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Errorf("%q, %v; want %q", line, err, want)
		}
	}
	orders := func(want string, args ...string) {
		t.Helper()
		if got := p.Run(t, append([]string{p.Sbx, "net"}, args...)...); got.Code != 0 || !strings.Contains(got.Out, want) {
			t.Errorf("sbx net %q: %+v, want %q", args, got, want)
		}
	}
	tries(none)
	orders("blocked "+allowed4+":80", "log", "live")
	orders(`"address":"`+allowed4+`"`, "log", "--json", "live")
	orders("", "allow", "live", allowed4+":80")
	orders("allow   "+allowed4+":80   by sbx net\n", "ls", "live")
	tries("world at ")
	orders("", "rm", "live", allowed4+":80")
	tries(none)
	orders("", "allow", "--for", "10m", "live", "@internet")
	orders(`"live": true`, "ls", "--format=json", "live")
	tries("world at ")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"allow", "live", "a b"}, 125, "there is a space"},
		{[]string{"rm", "live", "b.example"}, 125, "b.example"},
		{[]string{"ls", "nobody"}, 125, "nobody"},
		{[]string{"allow", "live"}, 2, "which rule?"},
	} {
		got := p.Run(t, append([]string{p.Sbx, "net"}, tt.args...)...)
		if got.Code != tt.code || !strings.Contains(got.Err, tt.want) {
			t.Errorf("sbx net %q: %+v, want %d, %q", tt.args, got, tt.code, tt.want)
		}
	}
}
