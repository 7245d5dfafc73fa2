package run

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/companion"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/backend"
	"github.com/sbx-sandbox/sbx/slirp/link"
)

// network is the program that makes the sandbox's network, as long as it lives.
// The command doesn't wait for it: what it sends at first waits in the
// interface. Only ports that are to be published are there before it starts.
type network struct {
	s         *sandboxed
	plan      *sandbox.Net
	program   *companion.Companion
	tell      func(slirp.Event, bool)
	engine    *speaker // program, if that is sbx-net
	names     *speaker // the sbx-net that answers for names beside another program
	link      int      // its end ends slirp4netns
	tun       int      // the interface; it is gone when nobody has it any more
	events    int      // by which the program is known to be ready, if it is not sbx-net
	ready     bool     // it said so
	named     bool     // names is in service
	offered   bool     // the child has offered the interface
	taken     bool     // the child was told that it may go on
	ended     bool
	denied    bool // something was
	shared    bool // another sandbox may be in it
	failure   string
	watched   []*other
	questions questions
	// memberships are of named networks.
	memberships []*membership
	sockets     []int           // of the sandbox's network namespace, while they are joined: for links, and for rules if there are any
	listening   map[uint16]bool // ports that were published since somebody listens; nil: nobody looks
	clock       int             // a timer by which that is looked at
	patience    time.Time       // until when ports of the host's are waited for
	// Of slirp4netns, which is told by a socket what to publish.
	orders  string // its directory
	forward *companion.Companion
}

// startNet starts the program, or prepares for it, and has the poll loop look
// after it.
func (s *sandboxed) startNet() error {
	n := &network{s: s, plan: &s.plan.Net, tell: s.tell, link: -1, events: -1, tun: -1, questions: questions{keys: [2]int{-1, -1}}, clock: -1}
	if n.tell == nil {
		n.tell = func(slirp.Event, bool) {}
	}
	s.net = n
	n.watched = []*other{
		{fd: -1, take: n.over}, {fd: -1, take: n.hear}, {fd: -1, take: n.stderr}, {fd: -1, take: n.forwarded},
		{fd: -1, take: n.namesOver}, {fd: -1, take: n.hearNames}, {fd: -1, take: n.namesStderr}, {fd: -1, take: n.hearKeys}, {fd: -1, take: n.tick}, {fd: s.ends.status, take: n.offer},
	}
	s.others = append(s.others, n.watched...)
	var err error
	if n.plan.Backend == sandbox.BackendEngine {
		err = n.startEngine()
	} else if n.plan.Names != "" { // the other program takes what the child offers
		err = n.startNames()
	}
	if err != nil {
		return fmt.Errorf("the network can't be had: %w", err)
	}
	return nil
}

// startEngine starts sbx-net.
func (n *network) startEngine() (err error) {
	if n.engine, err = n.speak(n.plan.Helper, slirp.ModeEngine); err != nil {
		return err
	}
	n.watchProgram(n.engine.program, n.engine.events)
	return nil
}

// listen makes a socket at path, in the place of one that is there.
func listen(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// That of the run before, if the sandbox is restarted, goes.
	_ = unix.Unlink(path)
	if err := unix.Fchmod(fd, 0o600); err != nil { // the mode that the file gets (unix(7))
		unix.Close(fd)
		return -1, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listening on %s: %w", path, err)
	}
	return fd, nil
}

// startPlain starts a program that makes the interface by itself, in the
// namespaces of the child, which waits for it.
func (n *network) startPlain() error {
	target := backend.Target{PID: n.s.pid, Device: sandbox.NetDevice, Exit: 3, Ready: 4}
	spec := companion.Spec{Name: string(n.plan.Backend), Env: []string{"LC_ALL=C"}}
	if n.plan.Backend == sandbox.BackendPasta {
		spec.Args = backend.Pasta(&n.plan.Config, target, n.plan.Resolve)
		return n.start(spec)
	}
	var exit [2]int
	if err := unix.Pipe2(exit[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(exit[0])
	n.link = exit[1]
	if len(n.plan.Config.Publish) > 0 {
		dir, err := os.MkdirTemp(os.Getenv("XDG_RUNTIME_DIR"), "sbx-slirp-")
		if err != nil {
			return err
		}
		n.orders, target.Socket = dir, filepath.Join(dir, "api")
	}
	spec.Args = backend.Slirp4netns(target, n.plan.Resolve)
	spec.Files = []int{companion.Null, companion.Null, companion.Captured, exit[0], companion.Ready}
	if err := n.start(spec); err != nil {
		return err
	}
	// The interface is there before that: the program looks at the child once more.
	n.watched[watchEvents].fd = n.program.Ready
	return nil
}

func (n *network) start(spec companion.Spec) error {
	spec.Path = n.plan.Helper
	program, err := companion.Start(spec)
	if err != nil {
		return err
	}
	n.watchProgram(program, n.events)
	return nil
}

func (n *network) watchProgram(program *companion.Companion, events int) {
	n.program = program
	n.watched[watchEnd].fd, n.watched[watchEvents].fd, n.watched[watchStderr].fd = program.PidFD, events, program.Stderr
}

// Places in network.watched.
const (
	watchEnd = iota
	watchEvents
	watchStderr
	watchForward
	watchNamesEnd
	watchNamesEvents
	watchNamesStderr
	watchKeys
	watchClock
	watchOffer
)

// memory is a file in memory with v as JSON, to be read from its start.
func memory(v any) (int, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return -1, err
	}
	fd, err := unix.MemfdCreate("sbx-net", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	if !writeAll(fd, text) {
		unix.Close(fd)
		return -1, errors.New("writing to a file in memory")
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// offer takes what the child offers, by the numbers of descriptors in the child,
// and passes it on to the program: the interface or, where another program than
// sbx-net makes that, what hears of it, and what names needs.
func (n *network) offer() error {
	n.watched[watchOffer].fd = -1
	b := make([]byte, 4*program.Offered(n.plan))
	size, err := readFull(n.s.ends.status, b)
	if err != nil {
		return fmt.Errorf("taking hold of the sandbox's network: %w", err)
	}
	if size != len(b) {
		return nil // the child is gone, and has reported why
	}
	var taken []int
	defer func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
	}()
	for i := 0; i < len(b); i += 4 {
		fd, err := unix.PidfdGetfd(n.s.fd, int(binary.LittleEndian.Uint32(b[i:])), 0)
		if err != nil {
			return fmt.Errorf("taking hold of the sandbox's network: %w; a security module, or kernel.yama.ptrace_scope = 3, forbids sbx what it takes to look after its own child", err)
		}
		taken = append(taken, fd)
	}
	n.offered = true
	told := []int{taken[0]} // to sbx-net
	if len(n.memberships) > 0 {
		ours := []int{taken[len(taken)-1]}
		if len(n.plan.Config.Members) > 0 {
			ours, told = append(ours, taken[1]), append(told, taken[2])
		}
		if err := n.join(ours); err != nil {
			return err
		}
	}
	first := taken[0]
	taken = taken[1:]
	if n.plan.Backend != sandbox.BackendEngine {
		n.events = first
		if n.names != nil {
			if err := n.names.give(taken...); err != nil {
				return fmt.Errorf("passing on the sandbox's name server: %w", err)
			}
		}
		return n.startPlain()
	}
	n.tun = first
	if err := n.engine.give(told...); err != nil {
		return fmt.Errorf("passing on the sandbox's interface: %w", err)
	}
	return n.goOn()
}

// goOn lets the child start the command, once all that it is to find is there.
func (n *network) goOn() error {
	waits := n.plan.Backend != sandbox.BackendEngine || len(n.plan.Config.Publish) > 0
	if n.taken || !n.offered || waits && !n.ready || n.names != nil && !n.named || n.joining() {
		return nil
	}
	n.taken = true
	if rate := n.plan.Config.Rate; rate > 0 && n.plan.Backend != sandbox.BackendEngine {
		if err := n.slow(rate); err != nil {
			return fmt.Errorf("network.rate can't be had: %w", err)
		}
	}
	if n.plan.AutoPublish {
		if err := n.startLooking(); err != nil {
			return fmt.Errorf("publishing what the command listens on: %w", err)
		}
	}
	if err := n.s.say(wordNetwork); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("letting the sandbox go on: %w", err)
	}
	return nil
}

// slow bounds what leaves the sandbox, by the socket of its namespace that has heard
// of the interface.
func (n *network) slow(rate int64) error {
	s := link.New(n.events)
	index, err := s.Index(sandbox.NetDevice)
	if err != nil {
		return err
	}
	return s.Rate(index, rate)
}

// hear reads what the program says.
func (n *network) hear() error {
	switch n.plan.Backend {
	case sandbox.BackendSlirp4netns:
		return n.slirpReady()
	case sandbox.BackendEngine:
		more, err := n.engine.hear(n.event)
		if !more {
			n.watched[watchEvents].fd = -1
		}
		return err
	}
	var b [4096]byte
	for {
		size, err := unix.Read(n.events, b[:])
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS): // of what was too much, more follows
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil || size <= 0:
			n.watched[watchEvents].fd = -1
			return nil
		}
		if err := n.routed(b[:size]); err != nil {
			return err
		}
	}
}

// slirpReady is for when slirp4netns says that it is ready, or has ended.
func (n *network) slirpReady() error {
	if n.watched[watchEvents].fd < 0 {
		return nil
	}
	n.watched[watchEvents].fd = -1
	if err := n.program.IsReady(); err != nil {
		return fmt.Errorf("the network can't be had: %w", err)
	}
	if n.orders != "" {
		return n.startForward()
	}
	n.ready = true
	return n.goOn()
}

// startForward has sbx-net tell slirp4netns which ports to publish. The command
// waits until they are.
func (n *network) startForward() error {
	order, err := memory(slirp.Forward{Socket: filepath.Join(n.orders, "api"), Address: n.plan.Config.IPv4.Address.Addr(), Publish: n.plan.Config.Publish})
	if err != nil {
		return err
	}
	defer unix.Close(order)
	n.forward, err = companion.Start(companion.Spec{
		Name: "sbx-net", Path: n.plan.Forwarder, Args: []string{slirp.ModeForward, "--protocol", strconv.Itoa(slirp.Protocol)}, Env: []string{},
		Files: []int{order, companion.Null, companion.Captured},
	})
	if err != nil {
		return err
	}
	n.watched[watchForward].fd = n.forward.PidFD
	return nil
}

// forwarded is for when sbx-net has done so. Nobody gives orders after that.
func (n *network) forwarded() error {
	n.watched[watchForward].fd = -1
	status, _ := n.forward.Ended()
	if status != 0 {
		n.forward.Take()
		if said := n.forward.Said(); said != "" {
			return errors.New(said)
		}
		return n.forward.Failure()
	}
	n.noOrders()
	n.ready = true
	return n.goOn()
}

// noOrders removes the socket by which slirp4netns takes orders.
func (n *network) noOrders() {
	if n.orders != "" {
		_ = os.RemoveAll(n.orders) // a directory of this run's own
		n.orders = ""
	}
}

// routed reads what the kernel says of routes in the sandbox (rtnetlink(7)). By
// the default route the program has set all up.
func (n *network) routed(b []byte) error {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil // a part of one; more follow
	}
	for _, m := range messages {
		// struct rtmsg: the family, then how many bits of the destination count.
		if m.Header.Type == unix.RTM_NEWROUTE && len(m.Data) >= 2 && m.Data[0] == unix.AF_INET && m.Data[1] == 0 {
			if len(n.plan.Config.HostPorts) > 0 {
				return n.awaitHostPorts()
			}
			n.ready = true
			return n.goOn()
		}
	}
	return nil
}

func (n *network) event(e slirp.Event) error {
	switch e.Event {
	case slirp.EventReady:
		n.ready = true
		return n.goOn()
	case slirp.EventError:
		n.failure = e.Message
		if !n.taken {
			return errors.New(e.Message)
		}
		return nil // its end follows
	case slirp.EventDenied:
		n.denied = true
		n.late(e)
	case slirp.EventAsk:
		return n.ask(e)
	}
	n.tell(e, n.raw())
	return nil
}

// raw reports whether what is written to the caller's terminal appears there as
// it is.
func (n *network) raw() bool { return n.s.term != nil && n.s.term.isRaw() }

func (n *network) stderr() error {
	n.program.Take()
	n.watched[watchStderr].fd = n.program.Stderr
	return nil
}

// over is for a program that has ended before the sandbox. The interface is gone
// with it, so that nothing leads out any more.
func (n *network) over() error {
	n.ended = true
	unix.Close(n.tun)
	n.tun = -1
	if err := n.hear(); err != nil { // its last words
		return err
	}
	for _, o := range n.watched {
		if o.fd != n.s.ends.status {
			o.fd = -1
		}
	}
	failure := n.program.Failure()
	if n.failure != "" {
		failure = errors.New(n.failure)
	}
	if n.plan.Vital || !n.taken {
		return fmt.Errorf("the network can't be had: %w", failure)
	}
	n.tell(slirp.Event{Event: slirp.EventError, Time: time.Now(), Message: failure.Error()}, n.raw())
	return nil
}

// Patience with a program that is to end, and to say what it has denied.
const (
	netSummary = time.Second
	netGrace   = 200 * time.Millisecond
)

// finish lets the program sum up. It is for when the sandbox has ended.
func (n *network) finish() {
	if n == nil {
		return
	}
	audited := n.plan.Config.Audit.Mode != "" && n.plan.Config.Audit.Mode != "off"
	if n.names != nil && n.names.link >= 0 {
		n.names.finish(true, n.nameEvent) // the filter refuses first, and tells then
	}
	if n.ended || n.engine == nil {
		return
	}
	// The interface goes with its namespace, later and without holding anybody up;
	// to close it as it is takes the kernel some ten milliseconds.
	if !n.shared { // for who is in it still, a network without an interface fails at once
		_ = unix.IoctlSetInt(n.tun, unix.TUNSETPERSIST, 1)
	}
	_, _ = n.engine.hear(n.event) // what the command was refused last
	n.engine.finish(n.denied || audited, n.event)
}

// stop ends the programs in any case.
func (n *network) stop() {
	if n == nil {
		return
	}
	grace := time.Duration(0)
	if n.plan.Config.Audit.Mode != "" && n.plan.Config.Audit.Mode != "off" {
		grace = netGrace
	}
	n.forward.Stop(0)
	if n.engine != nil {
		n.engine.stop(grace)
	} else {
		n.program.Stop(0)
	}
	n.names.stop(grace)
	n.questions.close(n.s.term)
	n.noOrders()
	n.close()
}

func (n *network) close() {
	for _, fd := range []int{n.link, n.events, n.tun, n.clock} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	n.link, n.events, n.tun, n.clock = -1, -1, -1, -1
	n.leave()
}
