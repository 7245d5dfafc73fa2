package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/tun"
	"github.com/sbx-sandbox/sbx/test/reach"
)

// The tests of the engine have three network namespaces in a user namespace of
// their own:
//
//	world ──veth── host ──sbx-net── inside
//
// The test binary is the process in each of them. Host makes the others and
// tells the test what they found, as JSON.

// role says, in the environment, which of them a process is.
const role = "SBX_TEST_NET_ROLE"

// job is what host is to do, on its standard input.
type job struct {
	Program string       `json:"program"` // sbx-net
	Config  slirp.Config `json:"config"`
	Tries   []string     `json:"tries"` // by name; inside has them and, as a control, host
	Control bool         `json:"control,omitempty"`
	// Requests go to the control socket after the engine is attached.
	Requests []slirp.Request `json:"requests,omitempty"`
	// After go there when inside has tried.
	After []slirp.Request `json:"after,omitempty"`
	Pings bool            `json:"pings,omitempty"` // the host gives its users ping sockets
}

// outcome is what host says on its standard output.
type outcome struct {
	Inside    map[string]reach.Result `json:"inside"`
	Host      map[string]reach.Result `json:"host"`
	Events    []slirp.Event           `json:"events"`
	Questions []string                `json:"questions"` // that the world's name server got
	Responses []slirp.Response        `json:"responses"`
	Published []string                `json:"published"` // whom the sandbox saw at each port
	Status    map[string]string       `json:"status"`    // of sbx-net, from proc_pid_status(5)
	Exit      string                  `json:"exit"`
	Stderr    string                  `json:"stderr"`
	Error     string                  `json:"error"`
}

// play is what the process does if it has a role.
func play() (code int, played bool) {
	var err error
	switch os.Getenv(role) {
	case "":
		return 0, false
	case "world":
		err = playWorld()
	case "host":
		err = playHost()
	case "inside":
		err = playInside()
	default:
		err = errors.New("no such role")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Getenv(role)+":", err)
		return 1, true
	}
	return 0, true
}

// again starts this binary in a role, with new namespaces.
func again(as string, flags uintptr) *exec.Cmd {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), role+"="+as)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if flags&unix.CLONE_NEWUSER != 0 {
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return c
}

// configure switches an interface on and gives it addresses.
func configure(name string, addrs []string) (int, error) {
	i, err := tun.Index(name)
	if err != nil {
		return 0, err
	}
	if err := tun.Up(i, 0); err != nil {
		return 0, err
	}
	for _, a := range addrs {
		if err := tun.AddAddress(i, netip.MustParsePrefix(a)); err != nil {
			return 0, err
		}
	}
	return i, nil
}

// playWorld serves until its standard input ends. A line there says that the
// link is ready, a line of its own that it serves; then it writes each question.
func playWorld() error {
	var one [1]byte
	if _, err := os.Stdin.Read(one[:]); err != nil {
		return err
	}
	if _, err := configure("lo", reach.Addresses); err != nil {
		return err
	}
	if _, err := configure("veth0", reach.WorldLink); err != nil {
		return err
	}
	certificate, _, err := reach.Certificate("allowed.example")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	asked := func(question string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(question)
	}
	err = reach.Serve(reach.Services{Asked: asked, Certificate: certificate, Pages: []string{":80", ":22", ":9999", ":5999"}})
	if err != nil {
		return err
	}
	fmt.Println("serving")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// playHost makes the world, runs sbx-net and inside, and says what came of it.
func playHost() error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return err
	}
	o := outcome{Status: map[string]string{}}
	if err := runJob(&j, &o); err != nil {
		o.Error = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

func runJob(j *job, o *outcome) error {
	stop, err := startWorld(o)
	if err != nil {
		return fmt.Errorf("world: %w", err)
	}
	defer stop()
	for _, at := range []string{"127.0.0.1:5999", "[::1]:5999", "203.0.113.2:5999", "[2001:db8:ffff::2]:5999"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		go func() {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the host") }))
		}()
	}
	if j.Pings {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
			return err
		}
	}
	env := &reach.Env{Resolver: "198.51.100.53:53"}
	if err := env.Settle(); err != nil {
		return err
	}
	o.Host = env.Run(j.Tries)
	return runEngine(j, o)
}

// startWorld makes the world and a link to it.
func startWorld(o *outcome) (stop func(), err error) {
	w := again("world", unix.CLONE_NEWNET)
	in, err := w.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := w.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.Start(); err != nil {
		return nil, err
	}
	if err := tun.AddVeth("veth0", "veth0", w.Process.Pid); err != nil {
		return nil, err
	}
	if _, err := configure("lo", nil); err != nil {
		return nil, err
	}
	i, err := configure("veth0", reach.HostLink)
	if err != nil {
		return nil, err
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		return nil, err
	}
	lines := newLines(out)
	if first := lines.next(); first != "serving" {
		return nil, fmt.Errorf("it says %q", first)
	}
	for to, gateway := range map[string]string{"0.0.0.0/0": "203.0.113.1", "::/0": "2001:db8:ffff::1"} {
		if err := tun.AddRoute(i, netip.MustParsePrefix(to), netip.MustParseAddr(gateway)); err != nil {
			return nil, err
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for l := lines.next(); l != ""; l = lines.next() {
			o.Questions = append(o.Questions, l)
		}
	}()
	return func() {
		in.Close()
		<-done
		_ = w.Wait()
	}, nil
}

// runEngine runs sbx-net and inside with it.
func runEngine(j *job, o *outcome) error {
	link, other, err := socketPair()
	if err != nil {
		return err
	}
	defer other.Close()
	events, eventsIn, err := os.Pipe()
	if err != nil {
		return err
	}
	n := exec.Command(j.Program, "engine", "--protocol", "1")
	n.ExtraFiles = []*os.File{link, eventsIn}
	controlPath := ""
	if j.Control {
		j.Config.Control = true
		dir, err := os.MkdirTemp("", "sbx-net-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		controlPath = dir + "/net.sock"
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: controlPath})
		if err != nil {
			return err
		}
		f, err := l.File()
		if err != nil {
			return err
		}
		n.ExtraFiles = append(n.ExtraFiles, f)
	}
	config, err := json.Marshal(j.Config)
	if err != nil {
		return err
	}
	n.Stdin = strings.NewReader(string(config))
	var stderr strings.Builder
	n.Stderr = &stderr
	if err := n.Start(); err != nil {
		return err
	}
	link.Close()
	eventsIn.Close()
	got := make(chan slirp.Event, 10000)
	go func() {
		defer close(got)
		for d := json.NewDecoder(events); ; {
			var e slirp.Event
			if d.Decode(&e) != nil {
				return
			}
			got <- e
		}
	}()
	ierr := runInside(j, o, other, got, controlPath)
	readStatus(n.Process.Pid, o)
	other.Close()
	for e := range got {
		o.Events = append(o.Events, e)
	}
	werr := n.Wait()
	if werr != nil {
		o.Exit = werr.Error()
	}
	o.Stderr = stderr.String()
	return ierr
}

// runInside starts inside once the engine is ready, and does the control
// socket's requests before it tries anything.
func runInside(j *job, o *outcome, link *os.File, got <-chan slirp.Event, control string) error {
	for e := range got {
		o.Events = append(o.Events, e)
		if e.Event == slirp.EventReady {
			break
		}
		if e.Event == slirp.EventError {
			return errors.New(e.Message)
		}
	}
	i := again("inside", unix.CLONE_NEWUSER|unix.CLONE_NEWNET)
	i.ExtraFiles = []*os.File{link}
	in, err := i.StdinPipe()
	if err != nil {
		return err
	}
	out, err := i.StdoutPipe()
	if err != nil {
		return err
	}
	if err := i.Start(); err != nil {
		return err
	}
	if err := json.NewEncoder(in).Encode(j); err != nil {
		return err
	}
	for e := range got {
		o.Events = append(o.Events, e)
		if e.Event == slirp.EventAttached {
			break
		}
	}
	if err := request(j.Requests, o, control); err != nil {
		return err
	}
	o.Published = visitPublished(o.Events)
	in.Close() // go
	if err := json.NewDecoder(out).Decode(&o.Inside); err != nil {
		return fmt.Errorf("inside: %w", err)
	}
	if err := request(j.After, o, control); err != nil {
		return err
	}
	return i.Wait()
}

// visitPublished is a client of each port that is published.
func visitPublished(events []slirp.Event) []string {
	var list []string
	for _, e := range events {
		if e.Event != slirp.EventPublished {
			continue
		}
		to := e.Publish.Address
		if to.IsUnspecified() && to.Is4() {
			to = netip.MustParseAddr("203.0.113.2")
		}
		list = append(list, fmt.Sprintf("%s %s: %s", e.Publish.Protocol, e.Publish.Address, visit(e.Publish.Protocol, netip.AddrPortFrom(to, e.Publish.HostPort))))
	}
	return list
}

// visit says whom a port of the sandbox took it for.
func visit(protocol string, to netip.AddrPort) string {
	c, err := net.DialTimeout(protocol, to.String(), reach.Patience)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(reach.Patience)); err != nil {
		return err.Error()
	}
	if _, err := c.Write([]byte("who?")); err != nil {
		return err.Error()
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		return err.Error()
	}
	host, _, err := net.SplitHostPort(string(b[:n]))
	if err != nil {
		return err.Error()
	}
	return host
}

// serveInside tells each client of port 8080 who it is.
func serveInside() error {
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Read(make([]byte, 10))
				fmt.Fprint(c, c.RemoteAddr())
				c.Close()
			}()
		}
	}()
	for _, at := range []string{"0.0.0.0:8080", "[::]:8080"} {
		pc, err := net.ListenPacket("udp"+map[bool]string{true: "4", false: "6"}[at[0] == '0'], at)
		if err != nil {
			return err
		}
		go func() {
			b := make([]byte, 100)
			for {
				_, a, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo([]byte(a.String()), a)
			}
		}()
	}
	return nil
}

func request(list []slirp.Request, o *outcome, path string) error {
	if len(list) == 0 {
		return nil
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	to, from := json.NewEncoder(c), json.NewDecoder(c)
	for _, r := range list {
		if err := to.Encode(r); err != nil {
			return err
		}
		var a slirp.Response
		if err := from.Decode(&a); err != nil {
			return err
		}
		// What has just ended takes a moment to be gone.
		for end := time.Now().Add(2 * reach.Patience); a.Usage != nil && a.Usage.Flows > 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			a = slirp.Response{}
			if err := errors.Join(to.Encode(r), from.Decode(&a)); err != nil {
				return err
			}
		}
		o.Responses = append(o.Responses, a)
	}
	return nil
}

// readStatus reads what says how a process is confined.
func readStatus(pid int, o *outcome) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		o.Status["error"] = err.Error()
		return
	}
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		o.Status[k] = strings.TrimSpace(v)
	}
	_, err = os.ReadDir(fmt.Sprintf("/proc/%d/root", pid))
	o.Status["root"] = fmt.Sprint(err)
}

func socketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b"), nil
}

// playInside is the sandbox: it makes the device, gives it away, and tries.
func playInside() error {
	var j job
	d := json.NewDecoder(os.Stdin)
	if err := d.Decode(&j); err != nil {
		return err
	}
	fd, err := tun.Open("sbx0", j.Config.VNetHdr)
	if err != nil {
		return err
	}
	if _, err := configure("lo", nil); err != nil {
		return err
	}
	var addrs []string
	for _, a := range []slirp.Addr{j.Config.IPv4, j.Config.IPv6} {
		if a.Enabled() {
			addrs = append(addrs, a.Address.String())
		}
	}
	i, err := configure("sbx0", addrs)
	if err != nil {
		return err
	}
	for _, a := range []slirp.Addr{j.Config.IPv4, j.Config.IPv6} {
		if a.Enabled() {
			all := netip.PrefixFrom(a.Gateway, 0).Masked()
			if err := tun.AddRoute(i, all, a.Gateway); err != nil {
				return err
			}
		}
	}
	if err := serveInside(); err != nil {
		return err
	}
	if err := unix.Sendmsg(3, []byte("t"), unix.UnixRights(fd), nil, 0); err != nil {
		return err
	}
	unix.Close(fd)
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is to go
	env := &reach.Env{Resolver: net.JoinHostPort(j.Config.IPv4.Gateway.String(), "53"), Inside: true, Device: i}
	if !j.Config.IPv4.Enabled() {
		env.Resolver = net.JoinHostPort(j.Config.IPv6.Gateway.String(), "53")
	}
	for _, a := range []slirp.Addr{j.Config.IPv4, j.Config.IPv6} {
		if a.Enabled() {
			env.Gateways = append(env.Gateways, net.JoinHostPort(a.Gateway.String(), "1"))
		}
	}
	if err := env.Settle(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(env.Run(j.Tries))
}

// lines reads lines.
type lines struct{ r io.Reader }

func newLines(r io.Reader) *lines { return &lines{r} }

// next is "" at the end.
func (l *lines) next() string {
	var b strings.Builder
	var one [1]byte
	for {
		if n, err := l.r.Read(one[:]); n == 0 || err != nil {
			return b.String()
		}
		if one[0] == '\n' {
			return b.String()
		}
		b.WriteByte(one[0])
	}
}
