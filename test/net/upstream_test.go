package net

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// proxied starts a proxy on the host's loopback. What it was asked for is in the
// list.
func proxied(t *testing.T) (at string, got *list) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	got = &list{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				got.add(r.Method + " " + r.Host)
				out, err := net.Dial("tcp", strings.Replace(r.Host, "allowed.example", allowed4, 1))
				if err != nil {
					fmt.Fprint(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
					return
				}
				defer out.Close()
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
				go func() {
					io.Copy(out, c)
					out.Close()
				}()
				io.Copy(c, out)
			})
		}
	}()
	return l.Addr().String(), got
}

// TestUpstreamProxy: what is allowed goes by the host's proxy where the profile
// wants that, by its name, and nothing else changes.
func TestUpstreamProxy(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	for _, tt := range []struct {
		name, rules, env, url string
		want, asked           string // what came, and what the proxy was asked for
	}{
		{"by name", `upstream_proxy = "host"`, "HTTPS_PROXY=http://PROXY", "http://allowed.example/", "world at ", "CONNECT allowed.example:80"},
		{"by address", `upstream_proxy = "host"`, "all_proxy=PROXY", "http://198.51.100.77:22/", "world at ", "CONNECT 198.51.100.77:22"},
		{"one for http alone", `upstream_proxy = "host"`, "HTTP_PROXY=http://PROXY", "http://allowed.example/", "world at ", "CONNECT allowed.example:80"},
		{"excepted", "upstream_proxy = \"host\"", "HTTPS_PROXY=http://PROXY NO_PROXY=example", "http://allowed.example/", "world at ", ""},
		{"not wanted", "", "HTTPS_PROXY=http://PROXY", "http://allowed.example/", "world at ", ""},
		{"not allowed", `upstream_proxy = "host"`, "HTTPS_PROXY=http://PROXY", "http://denied.example/", none, ""},
		{"a private address", `upstream_proxy = "host"`, "HTTPS_PROXY=http://PROXY", "http://" + lan + "/", "world at " + lan, ""},
		{"nobody there", `upstream_proxy = "host"`, "HTTPS_PROXY=http://127.0.0.1:1", "http://allowed.example/", none, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at, got := proxied(t)
			p := person{p.World, t}
			w := *p.World
			p.World = &w
			p.Env = append(append([]string(nil), p.Env...), strings.Fields(strings.ReplaceAll(tt.env, "PROXY=http://PROXY", "PROXY=http://"+at))...)
			for i, e := range p.Env {
				p.Env[i] = strings.Replace(e, "all_proxy=PROXY", "all_proxy="+at, 1)
			}
			r := p.run(p.profile(tt.rules+"\nallow = [\"allowed.example:80\", \"198.51.100.77:22\", \"@lan:80\"]"), get(tt.url))
			if !strings.HasPrefix(r.Out, tt.want) {
				t.Errorf("%+v, want %q", r, tt.want)
			}
			if len(got.names) > 0 && tt.asked == "" || tt.asked != "" && !got.has(tt.asked) {
				t.Errorf("the proxy was asked for %q, want %q", got.names, tt.asked)
			}
		})
	}
	for _, env := range []string{"HTTPS_PROXY=http://me:secret@127.0.0.1:1", "HTTPS_PROXY=https://127.0.0.1:1"} {
		w := *p.World
		w.Env = append(append([]string(nil), w.Env...), env)
		got := person{&w, t}.run(p.profile(`upstream_proxy = "host"`), "echo ran")
		if got.Code != 125 || got.Out != "" || strings.Contains(got.Err, "secret") || !strings.Contains(got.Err, "network.upstream_proxy") {
			t.Errorf("%s: %+v", env, got)
		}
	}
}

// TestSplit: a domain's own name server is asked for it, and for nothing else.
func TestSplit(t *testing.T) {
	sbxtest.Leftovers(t)
	withBackends(t, func(t *testing.T, p person, set, _ string) {
		const nobody = "198.51.100.10" // answers no questions
		for _, tt := range []struct{ dns, want string }{
			{`["` + nobody + `", "example=` + server + `"]`, "world at "},
			{`["` + nobody + `", "other.example=` + server + `"]`, none},
		} {
			profile := p.Profile(t, "[network]\nmode = \"user\"\nallow = [\"allowed.example:80\"]\n"+set+"dns = "+tt.dns+"\n")
			if got := p.run(profile, get("http://allowed.example/")); !strings.HasPrefix(got.Out, tt.want) {
				t.Errorf("%s: %+v, want %q", tt.dns, got, tt.want)
			}
		}
	})
}

// TestResolver: the only way to names is the sandbox's own name server: neither
// the host's nor a socket of it or of sbx is there.
func TestResolver(t *testing.T) {
	sbxtest.Leftovers(t)
	own := map[string]string{"sbx-net": "nameserver 10.0.2.2\n", "pasta": "nameserver 127.0.0.1\n", "slirp4netns": "nameserver 127.0.0.1\n"}
	withBackends(t, func(t *testing.T, p person, set, process string) {
		script := `grep -v '^#' /etc/resolv.conf; find / -type s -not -path '/proc/*' 2>/dev/null; ls -d /run/systemd /run/dbus /run/nscd 2>/dev/null; echo looked`
		if got := p.run(p.profile(set+"allow = [\"@internet\"]\npublish = [\"18310:80\"]"), script); got.Out != own[process]+"looked\n" {
			t.Errorf("%+v", got)
		}
	})
}
