package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/confine"
	"github.com/sbx-sandbox/sbx/slirp/dns"
	"github.com/sbx-sandbox/sbx/slirp/engine"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/hostaddr"
	"github.com/sbx-sandbox/sbx/slirp/policy"
	"github.com/sbx-sandbox/sbx/slirp/proxy"
	"github.com/sbx-sandbox/sbx/slirp/publish"
)

// serve is a sandbox's network from start to end. Its exit code is 0 when the
// sandbox ended, 1 after an error, which is on the event pipe too.
func serve(mode string, in io.Reader, errs io.Writer) int {
	events := newEvents(os.NewFile(slirp.FDEvents, "event pipe"))
	oneProcessor()
	engine.Quiet()
	n := &network{events: events, mode: mode, filter: filter{fd: -1}}
	err := n.start(in)
	switch {
	case err != nil:
	case mode == slirp.ModeNames:
		err = n.serveNames()
	default:
		err = n.wait()
	}
	// Nothing may keep this process when the sandbox is gone.
	last := time.AfterFunc(stopTime, func() { os.Exit(1) })
	defer last.Stop()
	n.stop()
	if err != nil {
		events.send(slirp.Event{Event: slirp.EventError, Message: err.Error()})
		fmt.Fprintln(errs, "sbx-net:", err)
	}
	events.close()
	if err != nil {
		return 1
	}
	return 0
}

// oneProcessor keeps the process to one thread that runs at a time. A packet goes
// through several goroutines, and waking a thread for each takes longer than what
// it does: on one, half as many again connections are made in a second, with less
// of the host's time for each byte, and the rest of the host is the sandbox's.
// Who needs more sets GOMAXPROCS.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// stopTime is how long ending may take.
const stopTime = 3 * time.Second

// network is what serve has open.
type network struct {
	mode    string       // ModeEngine or ModeNames
	filter  filter       // of mode names
	host    []netip.Addr // the host's at the start, of mode names
	config  slirp.Config
	events  *events
	link    *os.File  // FDLink
	control *controls // nil: none
	hosts   *hostaddr.Table
	gate    *gate.Gate
	names   *dns.Server
	broken  chan error    // the device's
	dialer  engine.Dialer // nil: the host's own way

	mu     sync.Mutex // over what the control socket may change or need
	ports  []*publish.Port
	engine *engine.Engine
}

// start does everything that may fail before the sandbox's device is here. What
// needs rights comes before confine takes them away.
func (n *network) start(in io.Reader) error {
	if err := confine.Hidden(); err != nil {
		return err
	}
	if err := n.readConfig(in); err != nil {
		return err
	}
	c := &n.config
	if err := unix.SetNonblock(slirp.FDLink, true); err != nil {
		return fmt.Errorf("descriptor %d, the link to the sandbox: %w", slirp.FDLink, err)
	}
	n.link = os.NewFile(slirp.FDLink, "link")
	n.broken = make(chan error, 1)
	if err := n.events.audit(c.Audit); err != nil {
		return err
	}
	var err error
	if n.hosts, err = hostaddr.New(); err != nil {
		return err
	}
	n.gate = gate.New(gate.Options{
		Policy: c.Policy, HostPorts: c.HostPorts, Report: n.events.send, Networked: len(c.Networks) > 0, Members: c.Members,
		Own:     policy.Own{Subnets: subnets(c), Gateways: gateways(c), Host: n.hosts.Local},
		Changed: n.changed,
	})
	n.names = dns.New(c, n.gate)
	if n.mode == slirp.ModeNames {
		if n.host, err = hostAddresses(); err != nil {
			return err
		}
		n.names = dns.New(c, pinning{n.gate, n})
	}
	if err := n.hearMembers(); err != nil {
		return err
	}
	if c.Control {
		if n.control, err = newControl(os.NewFile(slirp.FDControl, "control socket"), n); err != nil {
			return err
		}
	}
	if n.mode != slirp.ModeNames { // where the other program does
		if err := n.listen(c.Publish); err != nil {
			return err
		}
	}
	if c.Proxy.Server != "" {
		if err := n.findProxy(c.Proxy); err != nil {
			return err
		}
	}
	limitMemory(c.Limits.WithDefaults())
	if err := n.confine(); err != nil {
		return err
	}
	n.events.send(slirp.Event{Event: slirp.EventReady})
	return nil
}

// maxConfig bounds what is read of a Config.
const maxConfig = 16 << 20

func (n *network) readConfig(in io.Reader) error {
	d := json.NewDecoder(io.LimitReader(in, maxConfig))
	d.DisallowUnknownFields()
	if err := d.Decode(&n.config); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if n.config.MTU == 0 {
		n.config.MTU = slirp.DefaultMTU
	}
	if err := n.config.Validate(); err != nil {
		return fmt.Errorf("the configuration: %w", err)
	}
	return nil
}

// listen opens what is to be published and tells of each port.
func (n *network) listen(list []slirp.Publish) error {
	for _, p := range list {
		ports, err := publish.Listen(p)
		if err != nil {
			return err
		}
		for _, port := range ports {
			is := port.Published()
			n.events.send(slirp.Event{Event: slirp.EventPublished, Publish: &is})
		}
		n.ports = append(n.ports, ports...)
	}
	return nil
}

// publishLive opens ports while the sandbox runs.
func (n *network) publishLive(p slirp.Publish) ([]slirp.Publish, error) {
	ports, err := publish.Listen(p)
	if err != nil {
		return nil, err
	}
	var list []slirp.Publish
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, port := range ports {
		is := port.Published()
		list = append(list, is)
		n.events.send(slirp.Event{Event: slirp.EventPublished, Publish: &is})
		n.ports = append(n.ports, port)
		go port.Serve(n.engine)
	}
	return list, nil
}

// published are the ports that listen.
func (n *network) published() []slirp.Publish {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := []slirp.Publish{}
	for _, port := range n.ports {
		list = append(list, port.Published())
	}
	return list
}

// publishAuto opens a port of the sandbox under the same number, or under any if
// that can't be had.
func (n *network) publishAuto(p *slirp.Publish) error {
	if p == nil {
		return errors.New("publish: nothing is named")
	}
	_, err := n.publishLive(*p)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EACCES) {
		free := *p
		free.HostPort = 0
		_, err = n.publishLive(free)
	}
	return err
}

// withdraw closes a port of the sandbox that was opened by publishAuto.
func (n *network) withdraw(p *slirp.Publish) {
	if p == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports = slices.DeleteFunc(n.ports, func(port *publish.Port) bool {
		is := port.Published()
		if is.From != p.From || is.Port != p.Port || is.Protocol != p.Protocol {
			return false
		}
		port.Close()
		return true
	})
}

// proxyTime is how long looking a proxy up may take.
const proxyTime = 10 * time.Second

// findProxy has connections go by a proxy, but for those that stay here.
func (n *network) findProxy(p slirp.Proxy) error {
	ctx, cancel := context.WithTimeout(context.Background(), proxyTime)
	defer cancel()
	d, err := proxy.New(ctx, p, func(a netip.Addr) bool {
		return policy.Classify(a, policy.Own{Host: n.hosts.Local}) != policy.Internet
	})
	if err != nil {
		return err
	}
	n.dialer = d
	return nil
}

// limitMemory has the garbage collector keep the process within what the
// connections may take and as much again.
func limitMemory(l slirp.Limits) { debug.SetMemoryLimit(2*l.Memory + 64<<20) }

// wait serves the sandbox until it ends.
func (n *network) wait() error {
	count := 1
	if len(n.config.Members) > 0 {
		count++
	}
	fds, err := receive(n.link, count)
	if errors.Is(err, io.EOF) {
		return nil // the sandbox ended before it began
	}
	if err != nil {
		return fmt.Errorf("waiting for the sandbox's TUN device: %w", err)
	}
	device, err := engine.NewDevice(fds[0], n.config.MTU, n.config.VNetHdr, func(err error) { n.broken <- err })
	if err != nil {
		return err
	}
	e, err := engine.New(device, engine.Options{Config: &n.config, Gate: n.gate, Names: n.names, Report: n.events.send, Dial: n.dialer})
	if err != nil {
		device.Close()
		return err
	}
	n.mu.Lock()
	n.engine = e
	n.mu.Unlock()
	n.events.send(slirp.Event{Event: slirp.EventAttached})
	if count > 1 {
		refused := os.NewFile(uintptr(fds[1]), "refused")
		defer refused.Close()
		n.startHearing(refused, n.refusedMember)
	}
	for _, p := range n.ports {
		go p.Serve(e)
	}
	if n.control != nil {
		go n.control.serve()
	}
	ended := make(chan struct{})
	go func() {
		n.orders()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case err := <-n.broken:
		select { // the device goes when the sandbox does
		case <-ended:
			return nil
		case <-time.After(time.Second):
			return err
		}
	}
}

// stop sends the summary and ends everything.
func (n *network) stop() {
	if n.control != nil {
		n.control.close()
	}
	if n.gate != nil { // before all that takes time: somebody waits for it
		n.events.send(slirp.Event{Event: slirp.EventSummary, Denied: n.gate.Denied()})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.ports {
		p.Close()
	}
	if n.engine != nil {
		n.engine.Close()
	}
}

// changed is called when the rules did.
func (n *network) changed() {
	if n.mode == slirp.ModeNames {
		if err := n.refilter(); err != nil {
			n.events.send(slirp.Event{Event: slirp.EventLimit, Message: err.Error()})
		}
		return
	}
	n.mu.Lock()
	e := n.engine
	n.mu.Unlock()
	if e != nil {
		e.Recheck()
	}
}

// receive waits for the message with count descriptors. It is io.EOF if the other
// side closed without one.
func receive(link *os.File, count int) ([]int, error) {
	conn, err := link.SyscallConn()
	if err != nil {
		return nil, err
	}
	var b [16]byte
	oob := make([]byte, unix.CmsgSpace(4*8))
	size, oobn := 0, 0
	var rerr error
	err = conn.Read(func(fd uintptr) bool {
		size, oobn, _, _, rerr = unix.Recvmsg(int(fd), b[:], oob, unix.MSG_CMSG_CLOEXEC)
		return rerr != unix.EAGAIN && rerr != unix.EINTR
	})
	if err = errors.Join(err, rerr); err != nil {
		return nil, err
	}
	if size == 0 && oobn == 0 {
		return nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, fmt.Errorf("its message: %w", err)
	}
	var fds []int
	for _, m := range messages {
		if list, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, list...)
		}
	}
	if len(fds) != count {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("its message has %d descriptors, not %d", len(fds), count)
	}
	return fds, nil
}

// orders takes the supervisor's Requests, a message each, until the other side is
// closed. Nobody waits for an answer to them.
func (n *network) orders() {
	b := make([]byte, 64<<10)
	for {
		size, err := n.link.Read(b)
		if size == 0 || err != nil {
			return
		}
		var r slirp.Request
		if json.Unmarshal(b[:size], &r) != nil {
			continue
		}
		switch r.Op {
		case slirp.OpAnswer:
			_ = n.reply(r) // it came too late, and has had its denial
		case slirp.OpPublish:
			if err := n.publishAuto(r.Publish); err != nil {
				n.events.send(slirp.Event{Event: slirp.EventLimit, Message: err.Error()})
			}
		case slirp.OpWithdraw:
			n.withdraw(r.Publish)
		}
	}
}

func subnets(c *slirp.Config) []netip.Prefix {
	var list []netip.Prefix
	for _, a := range []slirp.Addr{c.IPv4, c.IPv6} {
		if a.Enabled() {
			list = append(list, a.Address.Masked())
		}
	}
	// Members of named networks are reached by another way, or not at all.
	for _, n := range c.Networks {
		list = append(list, n.IPv4)
		if n.IPv6.IsValid() {
			list = append(list, n.IPv6)
		}
	}
	return list
}

func gateways(c *slirp.Config) []netip.Addr {
	var list []netip.Addr
	for _, a := range []slirp.Addr{c.IPv4, c.IPv6} {
		if a.Enabled() {
			list = append(list, a.Gateway)
		}
	}
	return list
}

// unixListener makes a listener of a descriptor.
func unixListener(f *os.File) (*net.UnixListener, error) {
	l, err := net.FileListener(f) // a duplicate
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, errors.New("the control socket is not a unix socket")
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}
