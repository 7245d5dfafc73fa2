package access

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// defaultKeys are docker's.
const defaultKeys = "ctrl-p,ctrl-q"

// AttachCommand is the verb attach.
func AttachCommand() cli.Command {
	return cli.Command{
		Name: "attach", Args: "[FLAGS] NAME", Runs: true, Summary: "look at, and type into, a detached sandbox",
		Long: "Show what a detached sandbox's command writes from now on, and pass on what is typed if it was started with --interactive or --tty. " +
			"The keys of --detach-keys end that and leave the sandbox running. Without --tty what is typed is passed on in lines, ctrl-d ends the command's input, and ctrl-c is passed on as SIGINT. " +
			"Of a sandbox that was started with neither, the keys and ctrl-c end the look at it. The exit status is the command's when it ends meanwhile.",
		Example: "sbx attach web\nsbx attach --no-stdin --detach-keys=ctrl-x web",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			keys, _ := parseKeys(defaultKeys)
			noInput := false
			cli.AddFlag(fs, cli.Flag{Name: "detach-keys", Arg: "KEYS", Group: cli.GroupProcess, Usage: "as ctrl-p,ctrl-q, which is the default; empty for none", Set: func(s string) (err error) {
				keys, err = parseKeys(s)
				return err
			}})
			cli.AddSwitch(fs, &noInput, "no-stdin", "", cli.GroupProcess, "pass nothing on")
			return func(inv *cli.Invocation) error {
				r, err := sandboxes.Only(inv)
				if err != nil {
					return err
				}
				return attach(inv, &r, keys, noInput)
			}
		},
	}
}

// parseKeys reads docker's notation of keys: letters, and ctrl- with a letter or
// one of @ [ \ ] ^ _.
func parseKeys(s string) ([]byte, error) {
	var keys []byte
	if s == "" {
		return nil, nil
	}
	for _, k := range strings.Split(s, ",") {
		c, ctrl := strings.CutPrefix(k, "ctrl-")
		if len(c) != 1 || ctrl && (c[0] < '@' || c[0] > '_') && (c[0] < 'a' || c[0] > 'z') {
			return nil, fmt.Errorf("%q is no key, write for example ctrl-p,ctrl-q", k)
		}
		if ctrl {
			keys = append(keys, c[0]&0x1f)
		} else {
			keys = append(keys, c[0])
		}
	}
	return keys, nil
}

func attach(inv *cli.Invocation, r *state.Record, keys []byte, noInput bool) error {
	if noInput {
		keys = nil // nobody would see them
	}
	c, err := sandboxes.Dial(r)
	if err != nil {
		return err
	}
	defer c.Close()
	lines, err := lineTerminal(r, keys, noInput)
	if err != nil {
		return err
	}
	if lines != nil {
		defer lines.Restore()
	}
	if err := c.Ask(control.Request{Op: control.Attach}); err != nil {
		return err
	}
	_, fds, err := c.Answer()
	if err != nil {
		return sandboxes.Closing(r, err)
	}
	if len(fds) < 2 {
		control.CloseAll(fds)
		return errors.New("the supervisor gave no pipes")
	}
	a := &attached{inv: inv, conn: c, out: [2]int{fds[0], fds[1]}, in: -1, keys: keys}
	defer func() { control.CloseAll([]int{a.out[0], a.out[1], a.in}) }()
	switch {
	case len(fds) > 2 && !noInput:
		a.in, a.fed = fds[2], true
	case len(fds) > 2:
		unix.Close(fds[2])
	}
	return a.relay(r, lines)
}

// attached passes on between this process's descriptors and a sandbox's.
type attached struct {
	inv  *cli.Invocation
	conn *control.Conn
	out  [2]int
	from int    // what is typed comes from it
	in   int    // -1 for none, and after its end
	fed  bool   // what is typed is the command's, or was until its end
	keys []byte // that detach, one after the other
	seen int    // how many of them were typed
	// raw says that all that is typed is passed on as it comes, lines that a terminal
	// makes lines of it first.
	raw, lines bool
	reads      bool   // standard input is read, if only for the keys
	typing     []byte // typed, and not passed on yet
	ended      bool   // nothing more that is typed is the command's
}

// lineTerminal prepares the terminal that is typed on, where the command is known to
// have none of its own, which would make lines of what is typed and signals of its
// keys. It comes before the command's input is here: the process that restores the
// terminal's mode would hold that open.
func lineTerminal(r *state.Record, keys []byte, noInput bool) (*run.Raw, error) {
	plan, err := sandboxes.PlanOf(r)
	if err != nil || plan.Process.Terminal[0] || noInput || !screen.IsTerminal(os.Stdin) {
		return nil, nil // relay sees to it
	}
	return run.LineTerminal(0, keys)
}

// relay passes on until the sandbox ends, or this side leaves. raw is the terminal where
// lineTerminal has prepared it.
func (a *attached) relay(r *state.Record, raw *run.Raw) error {
	raw, err := a.prepare(raw)
	if err != nil {
		return err
	}
	defer raw.Restore()
	defer func() {
		if a.from > 0 {
			unix.Close(a.from)
		}
	}()
	a.resize(raw)
	buf := make([]byte, mostTyped)
	for {
		fds := a.waitFor(raw)
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return err
		}
		for i, w := range []*os.File{os.Stdout, os.Stderr} {
			if fds[i].Revents&unix.POLLIN == 0 {
				continue
			}
			if n, err := unix.Read(a.out[i], buf); err == nil && n > 0 {
				if _, err := w.Write(buf[:n]); err != nil {
					return err
				}
			}
		}
		if fds[4].Revents != 0 {
			end := raw.Took()
			if (end == unix.SIGINT || end == unix.SIGQUIT) && a.lines && a.fed {
				_ = a.conn.Ask(control.Request{Op: control.Kill, Signal: int(end)}) // a key of the command's
			} else if end != 0 {
				return a.left(r, raw) // it was for this process
			}
			a.resize(raw)
		}
		if fds[5].Revents != 0 {
			a.write()
		}
		if fds[3].Revents != 0 {
			if detach := a.input(buf, fds[3].Revents&unix.POLLHUP != 0); detach {
				return a.left(r, raw)
			}
		}
		if fds[2].Revents != 0 && fds[0].Revents&unix.POLLIN == 0 && fds[1].Revents&unix.POLLIN == 0 {
			if ended, err := a.heard(); err != nil || ended {
				return err
			}
		}
	}
}

// prepare sets the terminal's mode, unless that was done, and says what is read of it.
func (a *attached) prepare(raw *run.Raw) (*run.Raw, error) {
	var err error
	switch {
	case raw != nil:
		a.lines = true
	case a.fed:
		if raw, err = run.RawTerminal(0, true); err == nil {
			a.raw = raw.Is
		}
	default:
		a.lines = true
		raw, err = run.LineTerminal(0, a.keys)
	}
	if err != nil {
		return nil, err
	}
	if raw.Is {
		// ctrl-c drops what was typed: a read of what poll(2) has seen could wait, and keep
		// the signal from being noticed. The caller's descriptor may be others', too.
		if fd, err := unix.Open("/proc/self/fd/0", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
			a.from = fd
		}
	}
	a.reads = a.fed || raw.Is // for the keys alone: what is piped in is another's
	return raw, nil
}

// mostTyped is how much of what is typed waits to be passed on, in bytes.
const mostTyped = 32 << 10

// waitFor is what poll(2) waits for: output and error output, the supervisor, what is
// typed, signals, and room for it in the command's input.
func (a *attached) waitFor(raw *run.Raw) []unix.PollFd {
	fds := []unix.PollFd{
		{Fd: int32(a.out[0]), Events: unix.POLLIN}, {Fd: int32(a.out[1]), Events: unix.POLLIN},
		{Fd: int32(a.conn.FD()), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}, {Fd: int32(raw.Signals), Events: unix.POLLIN},
		{Fd: -1, Events: unix.POLLOUT},
	}
	if a.reads && len(a.typing) < mostTyped { // the keys that detach are to be seen, too
		fds[3].Fd = int32(a.from)
	}
	if len(a.typing) > 0 {
		fds[5].Fd = int32(a.in)
	}
	return fds
}

// left is for who leaves while the sandbox goes on.
func (a *attached) left(r *state.Record, raw *run.Raw) error {
	raw.Restore()
	fmt.Fprintln(a.inv.Err, "sbx: detached from "+screen.Printable(r.Name))
	return nil
}

// heard takes what the supervisor says. ended says that the command has ended,
// with the status that is this process's own then.
func (a *attached) heard() (ended bool, err error) {
	reply, got, err := a.conn.Answer()
	control.CloseAll(got)
	switch {
	case errors.Is(err, control.ErrClosed):
		a.inv.Status = 128 + int(unix.SIGKILL)
		return true, nil
	case err == nil && reply.Event == control.Ended:
		a.inv.Status = reply.Code
		return true, nil
	}
	return false, err
}

// input takes what there is on standard input, a terminal or not. hungUp says that
// nobody is at the other side of it.
func (a *attached) input(buf []byte, hungUp bool) (detach bool) {
	n, err := unix.Read(a.from, buf)
	switch {
	case err == nil && n > 0:
		return a.typed(buf[:n])
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		return false
	}
	if !a.ended { // what might have been the beginning of the keys is all that there is
		a.typing = append(a.typing, a.keys[:a.seen]...)
	}
	a.ended, a.seen = true, 0
	a.reads = a.lines && err == nil && !hungUp // after ctrl-d the keys can come still
	a.write()
	return false
}

// typed passes on what was typed, up to the keys that detach.
func (a *attached) typed(b []byte) (detach bool) {
	add := func(b ...byte) {
		if !a.ended { // else only the keys count
			a.typing = append(a.typing, b...)
		}
	}
	for _, c := range b {
		switch {
		case len(a.keys) > 0 && c == a.keys[a.seen]:
			if a.seen++; a.seen == len(a.keys) {
				a.write()
				return true
			}
			continue
		case a.seen > 0: // they were only the beginning of something else
			add(a.keys[:a.seen]...)
			a.seen = 0
			if c == a.keys[0] {
				a.seen = 1
				continue
			}
		}
		add(c)
	}
	a.write()
	return false
}

// write passes on what the command's pipe has room for, and the input's end after it.
// It does not wait: a command that reads nothing is no reason not to be heard, nor to
// be left.
func (a *attached) write() {
	if a.in < 0 {
		a.typing = nil
		return
	}
	for len(a.typing) > 0 {
		n, err := unix.Write(a.in, a.typing)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return // who else is attached may have filled it
		case err != nil && !errors.Is(err, unix.EINTR):
			n = len(a.typing) // nobody reads it any more
		}
		a.typing = a.typing[max(n, 0):]
	}
	if !a.ended {
		return
	}
	unix.Close(a.in)
	a.in = -1
	if !a.raw { // what is piped in has an end, as a command expects of it
		_ = a.conn.Ask(control.Request{Op: control.EOF})
	}
}

func (a *attached) resize(raw *run.Raw) {
	if rows, cols, ok := raw.Size(); ok {
		_ = a.conn.Ask(control.Request{Op: control.Resize, Rows: rows, Cols: cols})
	}
}
