package access

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/project"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// forwarding is one port of the host's loopback and the port inside that it leads
// to.
type forwarding struct {
	local, inside uint16
	listen        int
}

// ForwardCommand is the verb forward.
func ForwardCommand() cli.Command {
	return cli.Command{
		Name: "forward", Args: "[FLAGS] [NAME] [LOCAL:]PORT...", Summary: "lead ports of the host's loopback to a sandbox's",
		Long: "Listen on 127.0.0.1 and lead each connection to the same port, or from LOCAL to PORT, of the loopback of the sandbox NAME, without one of the project's (sbx up). " +
			"It needs no network: programs inside are reached as if they were called from inside, and reach nothing by it. A LOCAL of 0 is any free port. " +
			"It ends with sbx, or with --detach with the sandbox. --stdio is for one connection, over standard input and output, as debug adapters and ssh want it.",
		Example: "sbx forward 8000\nsbx forward -d web 8080:80\nsbx forward --stdio 4711",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var detach, stdio, serve bool
			cli.AddSwitch(fs, &detach, "detach", "d", cli.GroupLife, "go on in the background until the sandbox ends")
			cli.AddSwitch(fs, &stdio, "stdio", "", cli.GroupNetwork, "one connection, over standard input and output")
			cli.AddFlag(fs, cli.Flag{Name: "serve", Group: cli.GroupLife, Usage: "the listening sockets are descriptors 3 and up", Hidden: true, Set: func(string) error { serve = true; return nil }})
			return func(inv *cli.Invocation) error {
				r, list, err := forwardings(inv)
				if err != nil {
					return err
				}
				switch {
				case serve:
					cli.Rename()
					for i := range list {
						list[i].listen = 3 + i
						unix.CloseOnExec(3 + i)
					}
					return forward(inv, r, list)
				case stdio && (detach || len(list) != 1):
					return cli.Usagef("--stdio is for one port, and nothing else")
				case stdio:
					return forwardStdio(r, list[0].inside)
				}
				return startForwarding(inv, r, list, detach)
			}
		},
	}
}

// forwardings reads the command line.
func forwardings(inv *cli.Invocation) (*state.Record, []forwarding, error) {
	args := inv.Args
	var r state.Record
	var err error
	if len(args) > 0 {
		if _, noPort := parseForwarding(args[0]); noPort != nil {
			if r, err = sandboxes.One(inv); err != nil {
				if args[0] != "" && strings.Trim(args[0], "0123456789:") == "" {
					err = noPort
				}
				return nil, nil, err
			}
			args = args[1:]
		}
	}
	if len(args) == 0 {
		return nil, nil, cli.Usagef("which port? usage: sbx %s", inv.Verb.Usage())
	}
	var list []forwarding
	for _, a := range args {
		f, err := parseForwarding(a)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, f)
	}
	if r.ID == "" {
		var p project.Project
		if p, r, err = project.IsUp(profiles.HostEnv()); err == nil && r.ID == "" {
			err = fmt.Errorf("no sandbox is up for %s; start it with sbx up, or name another one", p.Dir)
		}
	}
	if err == nil && !r.Alive() {
		err = sandboxes.NotRunning(&r)
	}
	return &r, list, err
}

func parseForwarding(s string) (forwarding, error) {
	from, to, two := strings.Cut(s, ":")
	if !two {
		to = from
	}
	local, err := strconv.ParseUint(from, 10, 16)
	inside, err2 := strconv.ParseUint(to, 10, 16)
	if err != nil || err2 != nil || inside == 0 {
		return forwarding{}, cli.Usagef("%q is no port, write 8000, or 8080:80 for another one inside", s)
	}
	return forwarding{local: uint16(local), inside: uint16(inside), listen: -1}, nil
}

// startForwarding listens, so that what is wrong is said at once, and serves here
// or in a process of its own.
func startForwarding(inv *cli.Invocation, r *state.Record, list []forwarding, detach bool) error {
	args := []string{"sbx", "forward", "--serve", r.ID}
	files := []*os.File{nil, nil, nil}
	for i := range list {
		f := &list[i]
		if err := f.bind(); err != nil {
			return err
		}
		args = append(args, fmt.Sprintf("%d:%d", f.local, f.inside))
		files = append(files, os.NewFile(uintptr(f.listen), "listener"))
	}
	for _, f := range list {
		fmt.Fprintf(inv.Out, "127.0.0.1:%d -> %s:%d\n", f.local, r.Name, f.inside)
	}
	if !detach {
		return forward(inv, r, list)
	}
	p, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return fmt.Errorf("starting the forwarder: %w", err)
	}
	return p.Release()
}

// bind listens on the host's loopback.
func (f *forwarding) bind() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	at := &unix.SockaddrInet4{Port: int(f.local), Addr: [4]byte{127, 0, 0, 1}}
	if err == nil {
		err = unix.Bind(fd, at)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		return fmt.Errorf("listening on 127.0.0.1:%d: %w", f.local, err)
	}
	if name, err := unix.Getsockname(fd); err == nil {
		if in, ok := name.(*unix.SockaddrInet4); ok {
			f.local = uint16(in.Port)
		}
	}
	f.listen = fd
	return nil
}

// forward serves until the sandbox has ended.
func forward(inv *cli.Invocation, r *state.Record, list []forwarding) error {
	c, err := sandboxes.Dial(r)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Ask(control.Request{Op: control.Wait}); err != nil {
		return err
	}
	for _, f := range list {
		go accept(inv, r, f)
	}
	_, err = sandboxes.Await(inv, c, r)
	return err
}

func accept(inv *cli.Invocation, r *state.Record, f forwarding) {
	for {
		fd, _, err := unix.Accept4(f.listen, unix.SOCK_CLOEXEC)
		if err != nil {
			if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) {
				inv.Warn("taking a connection to port %d: %v", f.local, err)
				unix.Poll(nil, 100) // no descriptor is free, say
			}
			continue
		}
		go func() {
			own := *r // which Dial may write, where the record had to be made again
			inside, err := fetch(&own, control.Request{Op: control.Connect, Port: f.inside})
			if err != nil {
				inv.Warn("%v", err)
				unix.Close(fd)
				return
			}
			a, b := stream(fd), stream(inside)
			relayBoth(a, b)
			a.Close()
			b.Close()
		}()
	}
}

func forwardStdio(r *state.Record, port uint16) error {
	fd, err := fetch(r, control.Request{Op: control.Connect, Port: port})
	if err != nil {
		return err
	}
	b := stream(fd)
	go pump(b, os.Stdin)
	// The end of the connection is the end, whatever may still be typed.
	_, err = io.Copy(os.Stdout, b)
	return err
}

// stream is a connection for the runtime's poller.
func stream(fd int) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "connection")
}

// relayBoth passes on both directions until both have ended.
func relayBoth(a, b *os.File) {
	done := make(chan struct{})
	go func() {
		pump(b, a)
		close(done)
	}()
	pump(a, b)
	<-done
}

// pump copies until the end, and passes the end on.
func pump(to *os.File, from io.Reader) {
	_, _ = io.Copy(to, from) // who is gone is told by the other side's end
	if raw, err := to.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}
