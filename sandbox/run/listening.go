package run

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
)

// listenEvery is how often it is looked whether the command listens on ports.
const listenEvery = 500 * time.Millisecond

// maxListening bounds the ports that are published by themselves.
const maxListening = 256

// startLooking has the poll loop look.
func (n *network) startLooking() error {
	n.listening = map[uint16]bool{}
	return n.startClock(listenEvery)
}

// startClock has the poll loop look at who listens, again and again.
func (n *network) startClock(every time.Duration) (err error) {
	if n.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	each := unix.NsecToTimespec(int64(every))
	if err := unix.TimerfdSettime(n.clock, 0, &unix.ItimerSpec{Interval: each, Value: each}, nil); err != nil {
		return err
	}
	n.watched[watchClock].fd = n.clock
	return nil
}

func (n *network) tick() error {
	var b [8]byte
	if _, err := unix.Read(n.clock, b[:]); errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if n.plan.Backend == sandbox.BackendEngine {
		return n.look()
	}
	return n.lookHostPorts()
}

// Times in which pasta has the ports of the host's loopback on the sandbox's: it says
// nothing of it, and makes them after the default route.
const (
	hostPortsEvery    = 2 * time.Millisecond
	hostPortsPatience = 10 * time.Second
)

// awaitHostPorts has the command wait until pasta listens on them.
func (n *network) awaitHostPorts() error {
	if n.clock >= 0 {
		return nil // there are several default routes
	}
	n.patience = time.Now().Add(hostPortsPatience)
	return n.startClock(hostPortsEvery)
}

func (n *network) lookHostPorts() error {
	now := map[string]map[uint16]bool{"tcp": {}, "udp": {}}
	n.eachListener([]string{"tcp", "tcp6", "udp", "udp6"}, func(file string, at netip.AddrPort) {
		now[file[:3]][at.Port()] = true
	})
	for _, p := range n.plan.Config.HostPorts {
		if now[p.Protocol][p.Port] {
			continue
		}
		if time.Now().After(n.patience) {
			return fmt.Errorf("network.host_ports: pasta does not listen on port %d/%s of the sandbox's loopback", p.Port, p.Protocol)
		}
		return nil
	}
	unix.Close(n.clock)
	n.clock, n.watched[watchClock].fd = -1, -1
	n.ready = true
	return n.goOn()
}

// eachListener hands over the addresses in the sandbox's network that are listened on,
// by the name of their file in /proc/net.
func (n *network) eachListener(files []string, each func(file string, at netip.AddrPort)) {
	for _, file := range files {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", n.s.pid, file))
		if err != nil {
			continue // it is ending, or there is no IPv6
		}
		for _, at := range listeners(string(text)) {
			each(file, at)
		}
	}
}

// look publishes the ports on which somebody listens now, and withdraws those on
// which nobody does any more.
func (n *network) look() error {
	c := &n.plan.Config
	now := map[uint16]bool{}
	n.eachListener([]string{"tcp", "tcp6"}, func(_ string, at netip.AddrPort) {
		// Connections come to the sandbox's own address.
		own := at.Addr() == c.IPv4.Address.Addr() || at.Addr() == c.IPv6.Address.Addr()
		if (own || at.Addr().IsUnspecified()) && len(now) < maxListening && !n.published(at.Port()) {
			now[at.Port()] = true
		}
	})
	for port := range n.listening {
		if !now[port] {
			if err := n.engine.order(slirp.Request{Op: slirp.OpWithdraw, Publish: automatic(port)}); err != nil {
				return err
			}
		}
	}
	for port := range now {
		if !n.listening[port] {
			if err := n.engine.order(slirp.Request{Op: slirp.OpPublish, Publish: automatic(port)}); err != nil {
				return err
			}
		}
	}
	n.listening = now
	return nil
}

// published reports whether the profile names the port.
func (n *network) published(port uint16) bool {
	for _, p := range n.plan.Config.Publish {
		if p.Protocol == "tcp" && p.Port <= port && int(port) < int(p.Port)+p.Ports() {
			return true
		}
	}
	return false
}

// automatic is how a port is published that somebody listens on.
func automatic(port uint16) *slirp.Publish {
	return &slirp.Publish{
		Protocol: "tcp", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: port, Port: port, From: "network.publish: " + slirp.AutoPublish,
	}
}

// listeners are the addresses that are listened on, in the text of /proc/net/tcp and
// its like (proc_pid_net(5)), of which UDP's sockets are all closed: the address is in words of the host's byte order.
func listeners(text string) (list []netip.AddrPort) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		const listen, closed = "0A", "07"
		if len(f) < 4 || f[3] != listen && f[3] != closed {
			continue
		}
		addr, port, _ := strings.Cut(f[1], ":")
		b, err := hex.DecodeString(addr)
		number, portErr := strconv.ParseUint(port, 16, 16)
		if err != nil || portErr != nil || len(b)%4 != 0 {
			continue
		}
		for i := 0; i < len(b); i += 4 { // little-endian, as both architectures are
			b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
		}
		if a, ok := netip.AddrFromSlice(b); ok {
			list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(number)))
		}
	}
	return list
}
