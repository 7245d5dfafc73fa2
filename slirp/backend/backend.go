// Package backend knows how pasta and slirp4netns are called: with the host's
// loopback closed in both directions, which neither does unless it is told to,
// and in the foreground, so that who started them can end them.
//
// They get a network namespace that has no interface but its loopback, and make
// and set up one in it.
package backend

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/sbx-sandbox/sbx/slirp"
)

// Target is where a program is to make the interface.
type Target struct {
	// PID is a process in the network namespace, which is owned by the process's
	// user namespace, as whose root slirp4netns must be able to act.
	PID    int
	Device string // the interface's name
	// Exit and Ready are descriptors of slirp4netns: the first's other end closes
	// with its starter, to the second it writes when all is set up. Pasta has no
	// such thing.
	Exit, Ready int
	// Socket is where slirp4netns takes orders, "" for nowhere: a path in a
	// directory of the caller's alone.
	Socket string
}

// Server is where the sandbox finds the host's name server, if it may: the
// address that slirp4netns always has for it.
var Server = netip.AddrFrom4([4]byte{10, 0, 2, 3})

// Pasta is the arguments of pasta (since version 2023_03_09) for a Config, of
// which it takes addresses, published ports, and the name server if resolve is
// set. Ports of the host's loopback are on the sandbox's own.
//
// Without -T none and -U none every service on the host's loopback would appear
// on the sandbox's, and without --no-map-gw at the gateway's address (pasta(1)).
func Pasta(c *slirp.Config, t Target, resolve bool) []string {
	proc := fmt.Sprintf("/proc/%d/ns", t.PID)
	args := []string{
		"--foreground", "--quiet", "--config-net", "--netns", proc + "/net", "--userns", proc + "/user", "--ns-ifname", t.Device,
		"--no-map-gw",
		"--no-dhcp", "--no-dhcpv6", "--no-ra",
		"--mtu", "65520",
	}
	switch {
	case !c.IPv6.Enabled():
		args = append(args, "--ipv4-only")
	case !c.IPv4.Enabled():
		args = append(args, "--ipv6-only")
	}
	if a := c.IPv4; a.Enabled() {
		args = append(args, "--address", a.Address.Addr().String(), "--netmask", strconv.Itoa(a.Address.Bits()), "--gateway", a.Gateway.String())
	}
	if a := c.IPv6; a.Enabled() {
		args = append(args, "--address", a.Address.Addr().String(), "--gateway", a.Gateway.String())
	}
	if resolve {
		args = append(args, "--dns-forward", Server.String())
	}
	for _, proto := range []struct{ name, flag, host string }{{"tcp", "--tcp-ports", "--tcp-ns"}, {"udp", "--udp-ports", "--udp-ns"}} {
		closed := true
		for _, p := range c.HostPorts {
			if p.Protocol == proto.name {
				args, closed = append(args, proto.host, fmt.Sprintf("%d:%d", p.Port, p.HostPort)), false
			}
		}
		if closed {
			args = append(args, proto.host, "none")
		}
		none := true
		for _, p := range c.Publish {
			if p.Protocol == proto.name {
				args, none = append(args, proto.flag, pastaPorts(p)), false
			}
		}
		if none {
			args = append(args, proto.flag, "none")
		}
	}
	return args
}

// pastaPorts is a published port as pasta's -t and -u take it.
func pastaPorts(p slirp.Publish) string {
	ports := func(first uint16) string {
		if p.Ports() == 1 {
			return strconv.Itoa(int(first))
		}
		return fmt.Sprintf("%d-%d", first, int(first)+p.Ports()-1)
	}
	return fmt.Sprintf("%s/%s:%s", p.Address, ports(p.HostPort), ports(p.Port))
}

// Slirp4netns is the arguments of slirp4netns (since version 1.0), which has the
// addresses of slirp.Default4. It publishes what it is told by Target.Socket.
func Slirp4netns(t Target, resolve bool) []string {
	args := []string{
		"--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
		"--exit-fd=" + strconv.Itoa(t.Exit), "--ready-fd=" + strconv.Itoa(t.Ready),
	}
	if !resolve {
		args = append(args, "--disable-dns")
	}
	if t.Socket != "" {
		args = append(args, "--api-socket="+t.Socket)
	}
	// Not by paths: version 1.2.0 then looks for the user namespace of process 0.
	return append(args, strconv.Itoa(t.PID), t.Device)
}
