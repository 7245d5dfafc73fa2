// Package net tests sandboxes' networks against real services: those of a small
// world in namespaces of the test's own, so that nothing ever leaves the machine.
//
//	host       a network namespace: what sbx takes for the host. 203.0.113.2 on a
//	           cable to the world, and services on its loopback
//	world      another: a router with all other addresses, and the services of
//	           test/reach and of services_test.go
package net

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/reach"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

const inside = "SBX_TEST_NET_WORLD"

// Addresses of the world.
const (
	allowed4 = "198.51.100.10"
	allowed6 = "2001:db8::10"
	denied4  = "198.51.100.20"
	server   = "198.51.100.53"
	lan      = "10.9.8.7" // of no other service
	metadata = "169.254.169.254"
	hostsOwn = reach.HostOwn
)

// names are what the world's name server knows beside reach.Zone.
var names = map[string][]string{
	"allowed.example.":      {allowed4, allowed6},
	"denied.example.":       {denied4},
	"rebind.example.":       {"127.0.0.1", lan, metadata, hostsOwn},
	"corp.allowed.example.": {lan},
	"modules.example.":      {"198.51.100.30"},
	"npm.example.":          {"198.51.100.31"},
	"pypi.example.":         {"198.51.100.32"},
	"git.example.":          {"198.51.100.33"},
	"web.example.":          {"198.51.100.34"},
}

// why says why there is no world, nil if there is one.
var why error

// TestMain runs the tests in the host's namespace of the world.
func TestMain(m *testing.M) {
	if code, did := payload(); did {
		os.Exit(code)
	}
	if os.Getenv(inside) == "" {
		os.Exit(enter(m))
	}
	if why = build(); why == nil {
		why = drop()
	}
	code := m.Run()
	_ = os.RemoveAll(repository)
	os.Exit(code)
}

// enter starts this binary again in a user and a network namespace of its own.
func enter(m *testing.M) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	uid, gid := os.Getuid(), os.Getgid()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil: // no user namespaces: the tests say so themselves
		why = err
		return m.Run()
	}
	return 0
}

// drop takes the rights over the namespaces away from all that follows.
func drop() error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); errno != 0 {
		return fmt.Errorf("clearing ambient capabilities: %w", errno)
	}
	return nil
}

// ip runs ip(8) in the network namespace of the calling thread.
func ip(script string) error {
	path := "/usr/sbin/ip"
	if _, err := os.Stat(path); err != nil {
		path = "/sbin/ip"
	}
	for line := range strings.Lines(script) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// build makes the world, and the cable to it.
func build() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
		return err
	}
	if err := ip("link set lo up"); err != nil {
		return err
	}
	made, wired := make(chan int), make(chan error)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in the world
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- 0
			done <- err
			return
		}
		made <- unix.Gettid()
		if err := <-wired; err != nil {
			done <- err
			return
		}
		script := "link set lo up\nlink set outside up\n"
		for _, a := range reach.WorldLink {
			script += "addr add " + a + " dev outside" + nodad(a) + "\n"
		}
		for _, a := range slices.Concat(reach.Addresses, services, []string{lan}) {
			script += "addr add " + a + " dev lo" + nodad(a) + "\n"
		}
		err := ip(script)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
		}
		if err == nil {
			err = serve()
		}
		done <- err
		select {} // a thread that ended would take the namespace with it
	}()
	tid := <-made
	if tid == 0 {
		return <-done
	}
	err := ip(fmt.Sprintf("link add eth0 type veth peer name outside netns %d", tid))
	if err == nil {
		script := "link set eth0 up\n"
		for _, a := range reach.HostLink {
			script += "addr add " + a + " dev eth0" + nodad(a) + "\n"
		}
		err = ip(script + `route add default via 203.0.113.1
			-6 route add default via 2001:db8:ffff::1`)
	}
	wired <- err
	if err := <-done; err != nil {
		return err
	}
	return local()
}

// nodad leaves out what an address of IPv6 otherwise waits for.
func nodad(a string) string {
	if strings.Contains(a, ":") {
		return " nodad"
	}
	return ""
}

// serve starts the world's services.
func serve() error {
	for _, addr := range []string{":80", ":8443", allowed4 + ":22", denied4 + ":22", "198.51.100.77:22", ":9999", ":5999"} {
		if err := web(addr, "world"); err != nil {
			return err
		}
	}
	udp, err := net.ListenPacket("udp", ":7")
	if err != nil {
		return err
	}
	go echo(udp)
	if err := serveClients(); err != nil {
		return err
	}
	return reach.Serve(reach.Services{
		Zone:        names,
		Asked:       func(question string) { asked.add(question[strings.IndexByte(question, ' ')+1:]) },
		Certificate: certificate, HTTPS: packages,
	})
}

// local starts the host's services: on its loopback, and on its address.
func local() error {
	for _, addr := range []string{"127.0.0.1:18097", "[::1]:18097", hostsOwn + ":18098", ":5999"} {
		if err := web(addr, "host"); err != nil {
			return err
		}
	}
	return nil
}

// much is how much is found at /much.
const much = 4 << 20

// web answers with what it is, to whom it was asked and who asks.
func web(addr, what string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.URL.Path == "/much" {
			_, _ = w.Write(make([]byte, much))
			return
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s at %v from %s\n", what, r.Context().Value(http.LocalAddrContextKey), host)
	}))
	return nil
}

func echo(c net.PacketConn) {
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		c.WriteTo(b[:n], from)
	}
}

// person is a world.World whose sbx asks the world's name server.
type person struct {
	*world.World
	t testing.TB
}

// at makes a person in the world. It skips the test where there is none.
func at(t *testing.T) person {
	t.Helper()
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tun, sbxtest.Tool("ip"), sbxtest.Tool("curl"))
	if why != nil {
		sbxtest.Require(t, sbxtest.Missing("network namespaces", why.Error()))
	}
	p := person{world.New(t), t}
	if _, err := os.Stat(filepath.Join(filepath.Dir(p.Sbx), "sbx-net")); err != nil {
		sbxtest.Require(t, sbxtest.Missing("sbx-net", err.Error()))
	}
	return p
}

// profile writes a profile with a network of the sandbox's own.
func (p person) profile(text string) string {
	return p.Profile(p.t, "[network]\nmode = \"user\"\ndns = [\""+server+"\"]\n"+text+"\n")
}

// run runs a shell script in the profile's sandbox.
func (p person) run(profile, script string, flags ...string) world.Result {
	p.t.Helper()
	argv := append(append([]string{p.Sbx, "run"}, flags...), profile, "--", "sh", "-c", script)
	return p.Run(p.t, argv...)
}

// get is a script that fetches an address in at most a few seconds, and says the
// answer or that there was none.
func get(url string) string {
	return "curl -sS -m 5 '" + url + "' 2>/dev/null || echo none"
}

// outside fetches what a program on the host would.
func outside(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "curl", "-sS", "-m", "5", url).Output()
	if err != nil {
		return "none\n"
	}
	return string(out)
}
