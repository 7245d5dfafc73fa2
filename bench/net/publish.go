package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
)

// doors are the ways by which the caller's own loopback leads to a server in a
// sandbox. What is measured is seen from the host: "out" is into the sandbox.
var doors = []struct {
	name string
	open func(o options, p ports) (*sandbox, *exec.Cmd, error)
}{
	{"host loopback", func(_ options, p ports) (*sandbox, *exec.Cmd, error) {
		return within(false, serving("127.0.0.1", p), nil)
	}},
	{"engine", doorEngine},
	{"pasta", doorPasta},
	{"slirp4netns", doorSlirp},
	{"rootlesskit, builtin", doorRootlesskit},
}

// ports of the host's loopback stand for the server's.
type ports map[string]uint16

// at are where they are, at a host.
func (p ports) at(host string) map[string]string {
	at := map[string]string{}
	for port, number := range p {
		at[port] = net.JoinHostPort(host, strconv.Itoa(int(number)))
	}
	return at
}

// free finds ports that nobody has at the moment.
func free() (ports, error) {
	p := ports{}
	for port := range own {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are found, so that they differ
		p[port] = l.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	return p, nil
}

// publish measures every door.
func publish(o options) (rounds []round) {
	for i := range o.Rounds {
		for n := range doors {
			d := doors[(n+i)%len(doors)]
			r := round{Way: d.name}
			m, err := passDoor(o, d.open)
			if err != nil {
				r.Lost = err.Error()
				fmt.Fprintf(os.Stderr, "round %d, published by %s: %v\n", i+1, d.name, err)
			}
			r.measured = m
			rounds = append(rounds, r)
		}
	}
	return rounds
}

func passDoor(o options, open func(options, ports) (*sandbox, *exec.Cmd, error)) (m measured, err error) {
	p, err := free()
	if err != nil {
		return m, err
	}
	began := time.Now()
	s, helper, err := open(o, p)
	if err != nil {
		return m, err
	}
	defer func() {
		s.end()
		if helper != nil && helper != s.cmd {
			_ = helper.Process.Kill()
			_ = helper.Wait()
		}
	}()
	return figures(o, answer, p.at("127.0.0.1"), helper, began)
}

// serving is the order to serve.
func serving(host string, p ports) string {
	text, err := json.Marshal(p)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return "serve " + host + " " + string(text)
}

// beServer takes that order.
func beServer(args []string) (float64, error) {
	var p ports
	if err := json.Unmarshal([]byte(args[1]), &p); err != nil {
		return 0, err
	}
	return 0, serve(args[0], p)
}

// within starts a sandbox that serves, and what leads to it.
func within(alone bool, order string, start func(*sandbox) (*exec.Cmd, error), argv ...string) (*sandbox, *exec.Cmd, error) {
	s, err := begin(alone, argv...)
	if err != nil {
		return nil, nil, err
	}
	if _, err = s.ask(order); err != nil || start == nil {
		if err != nil {
			s.end()
		}
		return s, nil, err
	}
	helper, err := start(s)
	if err != nil {
		s.end()
	}
	return s, helper, err
}

func doorEngine(o options, p ports) (*sandbox, *exec.Cmd, error) {
	var list []slirp.Publish
	for port, host := range p {
		inner, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, slirp.Publish{Protocol: "tcp", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: host, Port: uint16(inner)})
	}
	return within(true, serving("0.0.0.0", own), func(s *sandbox) (*exec.Cmd, error) { return startEngine(o, s, true, list) })
}

func doorPasta(_ options, p ports) (*sandbox, *exec.Cmd, error) {
	var args []string
	for port, host := range p {
		args = append(args, "-t", fmt.Sprintf("127.0.0.1/%d:%s", host, port))
	}
	return within(true, serving("0.0.0.0", own), func(s *sandbox) (*exec.Cmd, error) { return pasta(s, args...) })
}

func doorSlirp(_ options, p ports) (*sandbox, *exec.Cmd, error) {
	dir, err := os.MkdirTemp("", "bench-net-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	return within(true, serving("0.0.0.0", own), func(s *sandbox) (*exec.Cmd, error) {
		api := filepath.Join(dir, "api")
		helper, err := slirp4netns(s, "--api-socket="+api)
		for port, host := range p {
			if err == nil {
				err = forward(api, port, host)
			}
		}
		return helper, err
	})
}

// forward has slirp4netns publish a port (slirp4netns(1), "API SOCKET").
func forward(api, port string, host uint16) error {
	c, err := net.Dial("unix", api)
	for end := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(end); c, err = net.Dial("unix", api) {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, `{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_addr":"127.0.0.1","host_port":%d,"guest_addr":"10.0.2.100","guest_port":%s}}`, host, port)
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		return err
	}
	var answer struct{ Error *struct{ Desc string } }
	if err := json.NewDecoder(c).Decode(&answer); err != nil {
		return fmt.Errorf("slirp4netns: %w", err)
	}
	if answer.Error != nil {
		return errors.New("slirp4netns: " + answer.Error.Desc)
	}
	return nil
}

// doorRootlesskit is rootlesskit as users have it: it makes the namespaces, and the
// sandbox is its command.
func doorRootlesskit(o options, p ports) (*sandbox, *exec.Cmd, error) {
	path, err := exec.LookPath(o.Rootlesskit)
	if err != nil {
		return nil, nil, errors.New("it is not installed")
	}
	argv := []string{path, "--net=slirp4netns", "--mtu=65520", "--disable-host-loopback", "--port-driver=builtin"}
	for port, host := range p {
		argv = append(argv, "--publish", fmt.Sprintf("127.0.0.1:%d:%s/tcp", host, port))
	}
	s, _, err := within(false, serving("127.0.0.1", own), nil, argv...)
	if err != nil {
		return nil, nil, err
	}
	return s, s.cmd, nil
}
