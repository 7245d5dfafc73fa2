package net

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestAutoPublish: what the command listens on appears on the host's loopback, and
// goes when it does; what it keeps to its own loopback does not.
func TestAutoPublish(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	taken, err := net.Listen("tcp", "127.0.0.1:18302")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	script := `echo served >index.html
		for at in 0.0.0.0:18301 0.0.0.0:18302 127.0.0.1:18303; do python3 -m http.server -b ${at%:*} ${at#*:} >/dev/null 2>&1 & pids="$pids $!"; done
		read x; kill $pids; wait; echo closed; read x`
	cmd := p.Command(p.Sandboxed(p.profile(`publish = ["auto"]`), "sh", "-c", script)...)
	var said text
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	other := regexp.MustCompile(`port 18302/tcp of the sandbox is published on (127\.0\.0\.1:\d+)`)
	world.Until(t, "both ports are published", func() bool {
		return strings.Contains(said.String(), "port 18301/tcp of the sandbox is published on 127.0.0.1:18301\n") && other.MatchString(said.String())
	})
	for _, tt := range []struct{ url, want string }{
		{"http://127.0.0.1:18301/index.html", "served\n"},
		{"http://" + other.FindStringSubmatch(said.String())[1] + "/index.html", "served\n"},
		{"http://" + hostsOwn + ":18301/index.html", none},
		{"http://127.0.0.1:18303/index.html", none},
	} {
		if got := outside(t, tt.url); got != tt.want {
			t.Errorf("%s: %q, want %q; %s", tt.url, got, tt.want, said.String())
		}
	}
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	world.Until(t, "the port is withdrawn", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:18301")
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for _, backend := range []string{"pasta", "slirp4netns"} {
		got := p.run(p.profile("backend = \""+backend+"\"\npublish = [\"auto\"]"), "echo ran")
		if got.Code != 125 || got.Out != "" {
			t.Errorf("%s: %+v", backend, got)
		}
	}
}
