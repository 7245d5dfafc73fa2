package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
	"github.com/sbx-sandbox/sbx/slirp/tun"
)

// ways are the networks that are compared.
var ways = []struct {
	name  string
	start func(o options, s *sandbox) (*exec.Cmd, error)
}{
	{"host loopback", nil},
	{"engine", func(o options, s *sandbox) (*exec.Cmd, error) { return startEngine(o, s, true, nil) }},
	{"engine, no offload", func(o options, s *sandbox) (*exec.Cmd, error) { return startEngine(o, s, false, nil) }},
	{"slirp4netns", startSlirp},
	{"pasta", startPasta},
}

// server is one of the server's addresses, which are the host's own. Each
// measurement has another: a port that is in TIME_WAIT with one slows down
// connections to that one only.
func server(n int, six bool) string {
	if six {
		return fmt.Sprintf("2001:db8::%x", n%servers+1)
	}
	return fmt.Sprintf("198.51.100.%d", n%servers+1)
}

const servers = 100

// host makes the network of a host, measures every way, and prints rounds.
func host(text string) error {
	var o options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	if err := network(); err != nil {
		return err
	}
	if err := drop(); err != nil {
		return err
	}
	if err := serve("", own); err != nil {
		return err
	}
	var rounds []round
	for i := range o.Rounds {
		for n := range ways {
			w := ways[(n+i)%len(ways)] // none always comes after the same other
			r := round{Way: w.name}
			m, err := measure(o, server(i*len(ways)+n, o.IPv6), w.start)
			if err != nil {
				r.Lost = err.Error()
				fmt.Fprintf(os.Stderr, "round %d, %s: %v\n", i+1, w.name, err)
			}
			r.measured = m
			rounds = append(rounds, r)
		}
	}
	starts, err := starts(o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(results{Ways: rounds, Starts: starts})
}

// drop takes the rights over the namespaces away from all that follows.
func drop() error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); errno != 0 {
		return fmt.Errorf("clearing ambient capabilities: %w", errno)
	}
	return nil
}

// network is a host's: pasta wants an interface with a default route.
func network() error {
	lo, err := tun.Index("lo")
	if err != nil {
		return err
	}
	if err := tun.Up(lo, 0); err != nil {
		return err
	}
	for n := range servers {
		for _, a := range []string{server(n, false) + "/32", server(n, true) + "/128"} {
			if err := tun.AddAddress(lo, netip.MustParsePrefix(a)); err != nil {
				return err
			}
		}
	}
	if err := tun.AddVeth("eth0", "peer0", os.Getpid()); err != nil {
		return err
	}
	for name, addrs := range map[string][]string{"peer0": nil, "eth0": {"203.0.113.2/24", "2001:db8:ffff::2/64"}} {
		i, err := tun.Index(name)
		if err != nil {
			return err
		}
		if err := tun.Up(i, 0); err != nil {
			return err
		}
		for _, a := range addrs {
			if err := tun.AddAddress(i, netip.MustParsePrefix(a)); err != nil {
				return err
			}
		}
		if name == "eth0" {
			for to, gateway := range map[string]string{"0.0.0.0/0": "203.0.113.1", "::/0": "2001:db8:ffff::1"} {
				if err := tun.AddRoute(i, netip.MustParsePrefix(to), netip.MustParseAddr(gateway)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Ports of the server: one takes what comes, one sends, one answers.
const (
	sink   = "7001"
	source = "7002"
	echo   = "7003"
)

// own are the server's ports as they are.
var own = ports{sink: 7001, source: 7002, echo: 7003}

const block = 128 << 10

// serve has the server listen on a host's ports, of which each stands for one of its
// own.
func serve(host string, as ports) error {
	for port, do := range map[string]func(net.Conn){
		sink: func(c net.Conn) {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, block))
		},
		source: func(c net.Conn) {
			b := make([]byte, block)
			for _, err := c.Write(b); err == nil; _, err = c.Write(b) {
			}
		},
		echo: func(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) },
	} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(as[port]))))
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
					defer c.Close()
					do(c)
				}()
			}
		}()
	}
	return nil
}

// sandbox is the process in a network namespace of its own, or in the host's.
type sandbox struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	link *os.File
}

func (s *sandbox) ask(question string) (float64, error) {
	if _, err := fmt.Fprintln(s.in, question); err != nil {
		return 0, err
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("%s: the sandbox ended", question)
	}
	line = strings.TrimSpace(line)
	v, err := strconv.ParseFloat(line, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %s", question, line)
	}
	return v, nil
}

// begin starts a sandbox: a process that answers questions, in namespaces of its own
// if it is to have a network of its own. argv goes before it.
func begin(alone bool, argv ...string) (s *sandbox, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv = append(argv, self, "inside")
	s = &sandbox{cmd: exec.Command(argv[0], argv[1:]...)}
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if alone {
		s.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
		s.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		s.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(fds[0]), "link")
	defer theirs.Close()
	s.link = os.NewFile(uintptr(fds[1]), "link")
	defer func() {
		if err != nil {
			s.link.Close()
		}
	}()
	s.cmd.ExtraFiles = []*os.File{theirs}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	return s, s.cmd.Start()
}

func (s *sandbox) end() {
	s.link.Close()
	s.in.Close()
	_ = s.cmd.Wait()
}

// measure makes a sandbox with a network and has it measure.
func measure(o options, at string, start func(options, *sandbox) (*exec.Cmd, error)) (m measured, err error) {
	s, err := begin(start != nil)
	if err != nil {
		return m, err
	}
	defer s.end()
	if start == nil {
		return figures(o, s.ask, own.at(at), nil, time.Now())
	}
	began := time.Now()
	helper, err := start(o, s)
	if err != nil {
		return m, err
	}
	defer func() {
		_ = helper.Process.Kill()
		_ = helper.Wait()
	}()
	return figures(o, s.ask, own.at(at), helper, began)
}

// figures has somebody measure against the server's ports, each at its address.
func figures(o options, ask func(string) (float64, error), at map[string]string, helper *exec.Cmd, began time.Time) (m measured, err error) {
	if _, err = ask("first " + at[echo]); err != nil {
		return m, err
	}
	m.First = float64(time.Since(began).Microseconds()) / 1000
	for _, f := range []struct {
		to       *float64
		question string
	}{
		{&m.Connect, "connect " + at[echo]},
		{&m.RTT, "rtt " + at[echo]},
	} {
		if *f.to, err = ask(f.question); err != nil {
			return m, err
		}
	}
	before := cpu(helper)
	moved := 0.0
	for _, f := range []struct {
		to       *float64
		question string
	}{
		{&m.TX, "tx " + at[sink] + " " + o.Time.String()},
		{&m.RX, "rx " + at[source] + " " + o.Time.String()},
	} {
		if *f.to, err = ask(f.question); err != nil {
			return m, err
		}
		moved += *f.to * o.Time.Seconds() / 8 // GB
	}
	if moved > 0 {
		m.CPU = (cpu(helper) - before) / moved
	}
	m.RSS = rss(helper)
	return m, nil
}

// cpu is what a process used, in seconds (proc_pid_stat(5)).
func cpu(c *exec.Cmd) float64 {
	if c == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}

// rss is the most that a process had in memory, in MB.
func rss(c *exec.Cmd) float64 {
	if c == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return n / 1024
		}
	}
	return 0
}

// startEngine starts sbx-net for a TUN device that the sandbox makes.
func startEngine(o options, s *sandbox, offload bool, publish []slirp.Publish) (*exec.Cmd, error) {
	rules := make([]policy.Rule, 0, 2)
	for _, text := range []string{"@host", "@internet"} {
		r, err := policy.Parse(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	config, err := json.Marshal(slirp.Config{
		Protocol: slirp.Protocol, IPv4: slirp.Default4, IPv6: slirp.Default6, VNetHdr: offload,
		DNS: slirp.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}}, Policy: policy.New(rules, nil),
		Publish: publish,
	})
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := exec.Command(o.SbxNet, "engine", "--protocol", "1")
	c.Stdin, c.Stderr = bytes.NewReader(config), os.Stderr
	c.ExtraFiles = []*os.File{s.link, w}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	w.Close()
	go func() {
		_, _ = io.Copy(io.Discard, r)
		r.Close()
	}()
	_, err = s.ask(fmt.Sprintf("tun %v", offload))
	return c, err
}

func startSlirp(_ options, s *sandbox) (*exec.Cmd, error) { return slirp4netns(s, "--enable-ipv6") }

func slirp4netns(s *sandbox, more ...string) (*exec.Cmd, error) {
	args := append([]string{"--configure", "--mtu=65520", "--disable-host-loopback", "--enable-seccomp", "--ready-fd=3"}, more...)
	return helper(s, "slirp4netns", append(args, strconv.Itoa(s.cmd.Process.Pid), "tap0")...)
}

func startPasta(_ options, s *sandbox) (*exec.Cmd, error) {
	return pasta(s, "-i", "eth0", "-t", "none")
}

func pasta(s *sandbox, more ...string) (*exec.Cmd, error) {
	args := append([]string{"-f", "-q", "--config-net", "-I", "tap0", "--no-map-gw", "-u", "none", "-T", "none", "-U", "none"}, more...)
	return helper(s, "pasta", append(args, strconv.Itoa(s.cmd.Process.Pid))...)
}

// helper starts a program and waits until the sandbox has its interface.
func helper(s *sandbox, name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, errors.New("it is not installed")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c := exec.Command(path, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	c.ExtraFiles = []*os.File{w}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	w.Close()
	if _, err := s.ask("interface tap0"); err != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return c, nil
}
