// Package sandboxes finds, lists and changes the state of sandboxes that run or have a
// record.
package sandboxes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// Verb is a verb that does one thing to each of the sandboxes it names.
type Verb struct {
	Name, Summary, Long, Example string
	Flags                        func(*pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error
	actions                      func(*pflag.FlagSet) action // in the place of Flags
	all                          bool                        // it has --all
	running                      bool                        // which is those that have not ended
}

// action is what a verb does to each sandbox.
type action struct {
	// begin does it, or begins it and returns what waits until it is done.
	begin func(*cli.Invocation, *state.Store, *state.Record) (wait func() error, err error)
	// lost, if it is not nil, is called for a word by which no sandbox was found.
	lost func(inv *cli.Invocation, store *state.Store, word string, why error) error
}

// Command is the verb.
func (v Verb) Command() cli.Command {
	return cli.Command{
		Name: v.Name, Args: "[FLAGS] NAME...", Summary: v.Summary, Long: v.Long, Example: v.Example, Words: Names,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			all := false
			if v.all {
				usage := "every sandbox"
				if v.running {
					usage += " that runs"
				}
				cli.AddSwitch(fs, &all, "all", "a", cli.GroupLife, usage)
			}
			var do action
			if v.actions != nil {
				do = v.actions(fs)
			} else {
				whole := v.Flags(fs)
				do.begin = func(inv *cli.Invocation, store *state.Store, r *state.Record) (func() error, error) {
					return nil, whole(inv, store, r)
				}
			}
			return func(inv *cli.Invocation) error {
				switch {
				case all && len(inv.Args) > 0:
					return cli.Usagef("--all and %q exclude each other", inv.Args[0])
				case !all && len(inv.Args) == 0:
					return cli.Usagef("which sandbox? usage: sbx %s", inv.Verb.Usage())
				}
				return each(inv, all, v.running, do)
			}
		},
	}
}

// each does something to each sandbox that is named, or to all, or to all that run.
// One that fails does not keep the others from their turn, nor does one that takes
// its time.
func each(inv *cli.Invocation, all, running bool, do action) error {
	store, err := state.OpenExisting()
	if err != nil {
		return err
	}
	var errs []error
	waits := map[int]func() error{} // by the place of their errors
	begin := func(r *state.Record) error {
		if store == nil { // one in the foreground is there without, and makes it when it is asked
			if store, err = state.Open(); err != nil {
				return err
			}
		}
		wait, err := do.begin(inv, store, r)
		if wait != nil {
			waits[len(errs)] = wait
		}
		return err
	}
	if all {
		records, err := store.List()
		errs = append(errs, err)
		for i := range records {
			if records[i].Alive() || !running {
				errs = append(errs, begin(&records[i]))
			}
		}
	}
	for _, word := range inv.Args {
		r, err := store.Find(word)
		switch {
		case err == nil:
			err = begin(&r)
		case do.lost != nil:
			err = do.lost(inv, store, word, err)
		}
		errs = append(errs, err)
	}
	for i := range errs {
		if wait := waits[i]; wait != nil {
			errs[i] = wait()
		}
	}
	return errors.Join(errs...)
}

// Done prints the name of a sandbox as it was given.
func Done(inv *cli.Invocation, r *state.Record) error {
	_, err := fmt.Fprintln(inv.Out, r.Name)
	return err
}

// NotRunning says why nothing can be asked of a sandbox.
func NotRunning(r *state.Record) error {
	return fmt.Errorf("%s does not run: %s", r.Name, strings.ToLower(StatusText(r)))
}

// Dial connects to a sandbox's supervisor, which is to answer: one that is stopped
// would not.
func Dial(r *state.Record) (*control.Conn, error) {
	if r.Alive() && r.Supervisor.Stopped() {
		return nil, stopped(r)
	}
	return DialAndWait(r)
}

func stopped(r *state.Record) error {
	pid := r.Supervisor.PID
	return fmt.Errorf("the supervisor of %s (process %d) is stopped and does not answer; continue it in its terminal with fg, or with kill -CONT %d", r.Name, pid, pid)
}

// DialAndWait is Dial for who waits for as long as it takes.
func DialAndWait(r *state.Record) (*control.Conn, error) {
	if !r.Alive() {
		return nil, NotRunning(r)
	}
	if r.Unrecorded {
		summoned, err := state.Summon(r)
		if err != nil {
			return nil, err
		}
		*r = summoned
	}
	path := filepath.Join(state.Dir(r.ID), state.SocketFile)
	c, err := control.Dial(path)
	if errors.Is(err, unix.ENOENT) && r.Supervisor.Lives() { // somebody removed it
		if again, err := state.Summon(r); err == nil {
			*r = again
			return control.Dial(path)
		}
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("%s has just ended, or its supervisor can't be reached: %w", r.Name, err)
	case err != nil:
		return nil, fmt.Errorf("reaching the supervisor of %s: %w", r.Name, err)
	}
	return c, nil
}

// ask sends one request and waits until it is done.
func ask(r *state.Record, q control.Request) error {
	c, err := Dial(r)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Ask(q); err != nil {
		return err
	}
	for !comes(c) { // it can have been stopped since
		if q.Op == control.Restart {
			r.Supervisor.Continue() // stopped, it would neither end nor start anything
		} else if r.Supervisor.Stopped() {
			return stopped(r)
		}
	}
	reply, _, err := c.Answer()
	if err == nil && reply.Event == control.Ended {
		return overtaken(r.Name, &reply)
	}
	return Closing(r, err)
}

// comes waits a while for a reply.
func comes(c *control.Conn) bool {
	const patience = 2000 // milliseconds
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.FD()), Events: unix.POLLIN}}, patience)
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}

// overtaken is the error of who asked for something, and got the sandbox's end. Its
// status is that of a command that could not be executed, if that was the end.
func overtaken(name string, reply *control.Reply) error {
	const notExecutable, notFound = 126, 127
	e := &control.RefusedError{Reason: fmt.Sprintf("%s has ended meanwhile, with the status %d", name, reply.Code), Status: cli.ExitSbx}
	if reply.Error != "" {
		e.Reason = fmt.Sprintf("%s has ended meanwhile: %s", name, reply.Error)
		if reply.Code == notExecutable || reply.Code == notFound {
			e.Status = reply.Code
		}
	}
	return e
}

// Closing words that a supervisor went away instead of an answer.
func Closing(r *state.Record, err error) error {
	if hungUp(err) {
		return fmt.Errorf("%s has ended meanwhile", r.Name)
	}
	return err
}

// parseSignal reads a signal's name, with or without SIG, or its number.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 {
			return 0, fmt.Errorf("no signal has the number %d", n)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("no signal is called %q", s)
}

// Patience is a time as docker writes it: seconds, or with a unit; negative is
// for ever.
func Patience(s string) (time.Duration, error) {
	text := s
	if _, err := strconv.Atoi(s); err == nil {
		text += "s"
	}
	d, err := time.ParseDuration(text) // which takes none that it has no room for
	if err != nil {
		return 0, fmt.Errorf("%q is no time, write seconds, or 500ms, 2m", s)
	}
	return d, nil
}

// stopFlags are those of stop and restart. They make a request of the kind op.
func stopFlags(fs *pflag.FlagSet, op control.Op) func(*state.Record) control.Request {
	var signal unix.Signal
	var timeout time.Duration
	given := false
	cli.AddFlag(fs, cli.Flag{Name: "time", Short: "t", Arg: "TIME", Group: cli.GroupLife, Usage: "until SIGKILL; without, the profile's stop_timeout; -1 is for ever", Set: func(s string) (err error) {
		timeout, err = Patience(s)
		given = true
		return err
	}})
	cli.AddFlag(fs, cli.Flag{Name: "signal", Short: "s", Arg: "SIGNAL", Group: cli.GroupLife, Usage: "instead of the profile's stop_signal", Set: func(s string) (err error) {
		signal, err = parseSignal(s)
		return err
	}})
	return func(r *state.Record) control.Request {
		q := control.Request{Op: op, Signal: int(signal), Timeout: timeout}
		if !given {
			q.Timeout = r.StopTimeout
		}
		return q
	}
}

// killed has a sandbox killed at once.
func killed(*state.Record) control.Request {
	return control.Request{Op: control.Stop, Signal: int(unix.SIGKILL)}
}

// StopCommand is the verb stop.
func StopCommand() cli.Command {
	return Verb{
		Name: "stop", Summary: "end sandboxes", all: true,
		Long: "Ask each sandbox's command to end, by the profile's stop_signal, and kill everything in the sandbox when it has not after the profile's stop_timeout. " +
			"It returns when nothing of the sandbox exists any more.",
		Example: "sbx stop web\nsbx stop -t 2 web db\nsbx stop --all",
		actions: func(fs *pflag.FlagSet) action {
			request := stopFlags(fs, control.Stop)
			return action{begin: func(inv *cli.Invocation, _ *state.Store, r *state.Record) (func() error, error) {
				if !r.Alive() { // as docker has it: that is what was wanted
					return func() error { return Done(inv, r) }, nil
				}
				await, err := BeginStop(inv, r, request)
				if err != nil {
					return nil, err
				}
				return func() error {
					if err := await(); err != nil {
						return err
					}
					return Done(inv, r)
				}, nil
			}}
		},
	}.Command()
}

// Stop ends a sandbox as a request says. That is made of the record as the supervisor
// has it: one in the foreground writes it when it is asked. A sandbox that ends by
// itself meanwhile has ended as well.
func Stop(inv *cli.Invocation, r *state.Record, request func(*state.Record) control.Request) error {
	await, err := BeginStop(inv, r, request)
	if err != nil {
		return err
	}
	return await()
}

// BeginStop asks for the end of a sandbox, and returns what waits for it.
func BeginStop(inv *cli.Invocation, r *state.Record, request func(*state.Record) control.Request) (await func() error, err error) {
	r.Supervisor.Continue() // stopped, it writes no record, and at last takes no connection
	c, err := DialAndWait(r)
	if Ended(err) {
		return func() error { _, err := settled(r); return err }, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.Ask(request(r)); err != nil {
		c.Close()
		return nil, err
	}
	return func() error {
		defer c.Close()
		rouse(c, r)
		_, err := Await(inv, c, r)
		return err
	}, nil
}

// rouse waits for a reply to whoever asked for a sandbox's end. A supervisor that is
// stopped goes on, as it would end nothing.
func rouse(c *control.Conn, r *state.Record) {
	for !comes(c) {
		r.Supervisor.Continue()
	}
}

// Ended says that an error of Dial is that nobody listens any more.
func Ended(err error) bool {
	var gone *state.NotFoundError
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) || errors.As(err, &gone) || hungUp(err)
}

// Await waits for the end of a sandbox, and prints what its supervisor says of it.
func Await(inv *cli.Invocation, c *control.Conn, r *state.Record) (int, error) {
	for {
		reply, fds, err := c.Answer()
		control.CloseAll(fds)
		if hungUp(err) {
			return settled(r)
		}
		if err != nil {
			return 0, err
		}
		if reply.Event == control.Ended {
			fmt.Fprint(inv.Err, screen.Printable(reply.Said))
			return reply.Code, nil
		}
	}
}

// hungUp says that nobody is at the other end any more.
func hungUp(err error) bool { return errors.Is(err, control.ErrClosed) }

// settled is the exit status of a sandbox whose supervisor has hung up: it is in
// the record when it ended just before it would have answered. Else the supervisor
// was killed, and the sandbox with it.
func settled(r *state.Record) (int, error) {
	const killed, patience = 128 + int(unix.SIGKILL), 5 * time.Second
	store, err := state.OpenExisting()
	if err != nil || store == nil {
		return killed, nil
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		now, err := store.Load(r.ID)
		if err != nil {
			return killed, nil
		}
		if !now.Alive() {
			return now.ExitCode, nil
		}
	}
	if r.Supervisor.Lives() {
		return 0, fmt.Errorf("the supervisor of %s (process %d) can't be reached and has not ended; kill %d ends both", r.Name, r.Supervisor.PID, r.Supervisor.PID)
	}
	return killed, nil
}

// KillCommand is the verb kill.
func KillCommand() cli.Command {
	return Verb{
		Name: "kill", Summary: "send a signal to sandboxes", all: true, running: true,
		Long:    "Send a signal to each sandbox's command: KILL, which ends the whole sandbox, or another one. What a terminal sends goes to the command's process group.",
		Example: "sbx kill web\nsbx kill -s HUP web",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			sig := unix.SIGKILL
			cli.AddFlag(fs, cli.Flag{Name: "signal", Short: "s", Arg: "SIGNAL", Group: cli.GroupLife, Usage: "a name or number; without, KILL", Set: func(s string) (err error) {
				sig, err = parseSignal(s)
				return err
			}})
			return func(inv *cli.Invocation, _ *state.Store, r *state.Record) error {
				if sig == unix.SIGKILL && r.Alive() {
					if err := Stop(inv, r, killed); err != nil {
						return err
					}
					return Done(inv, r)
				}
				if err := ask(r, control.Request{Op: control.Kill, Signal: int(sig)}); err != nil {
					return err
				}
				return Done(inv, r)
			}
		},
	}.Command()
}

// WaitCommand is the verb wait.
func WaitCommand() cli.Command {
	return Verb{
		Name: "wait", Summary: "wait for the end of sandboxes and print their exit statuses",
		Long:    "Wait until each sandbox has ended and print its command's exit status, a line each.",
		Example: "sbx wait web",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			return func(inv *cli.Invocation, store *state.Store, r *state.Record) error {
				code := r.ExitCode
				if r.Alive() {
					c, err := DialAndWait(r)
					if err != nil {
						// It may have ended since; then its record says how.
						if now, gone := store.Load(r.ID); gone == nil && !now.Alive() {
							_, err = fmt.Fprintln(inv.Out, now.ExitCode)
						}
						return err
					}
					defer c.Close()
					if err := c.Ask(control.Request{Op: control.Wait}); err != nil {
						return err
					}
					if code, err = Await(inv, c, r); err != nil {
						return err
					}
				}
				_, err := fmt.Fprintln(inv.Out, code)
				return err
			}
		},
	}.Command()
}

// RmCommand is the verb rm.
func RmCommand() cli.Command {
	return Verb{
		Name: "rm", Summary: "forget sandboxes that have ended",
		Long:    "Remove the record and the output of each sandbox. One that runs is refused; with --force it is killed first.",
		Example: "sbx rm web\nsbx rm -f web",
		all:     true,
		actions: func(fs *pflag.FlagSet) action {
			force, changes := false, false
			cli.AddSwitch(fs, &force, "force", "f", cli.GroupLife, "kill what runs, and let be what is not there")
			cli.AddSwitch(fs, &changes, "overlay", "", cli.GroupFiles, "discard the changes that it kept, too")
			return action{
				begin: func(inv *cli.Invocation, store *state.Store, r *state.Record) (func() error, error) {
					if r.Alive() && !force {
						return nil, fmt.Errorf("%s runs; stop it first: sbx stop %s, or use --force", r.Name, r.Name)
					}
					return nil, remove(inv, store, r, changes)
				},
				lost: func(inv *cli.Invocation, store *state.Store, word string, why error) error {
					if !force {
						return why
					}
					return removeLost(inv, store, word, why)
				},
			}
		},
	}.Command()
}

// remove forgets a sandbox, which it kills where it runs; with changes also the
// overlay that it kept.
func remove(inv *cli.Invocation, store *state.Store, r *state.Record, changes bool) error {
	kept := ""
	if changes { // the plan goes with a sandbox that is not kept
		p, err := PlanOf(r)
		if err != nil {
			return err
		}
		kept = p.Overlay.Name
	}
	gone := false
	if r.Alive() {
		if err := Stop(inv, r, killed); err != nil {
			return err
		}
		_, err := store.Load(r.ID)
		gone = errors.Is(err, os.ErrNotExist)
	}
	if err := overlays.DiscardKept(inv, kept); err != nil {
		return err
	}
	if !gone {
		if err := store.Remove(r); err != nil {
			return err
		}
	}
	return Done(inv, r)
}

// removeLost forgets, by its id or its name, a sandbox whose record can't be read. One
// that is not there is what was wanted, as docker has it.
func removeLost(inv *cli.Invocation, store *state.Store, word string, why error) error {
	var none *state.NotFoundError
	if errors.As(why, &none) {
		return inv.Say("%v", why)
	}
	id := store.Linked(word)
	if id == "" && state.ValidID(word) {
		id = word
	}
	if store == nil || id == "" {
		return why
	}
	if _, err := store.Load(id); err == nil || errors.Is(err, os.ErrNotExist) {
		return why
	}
	if err := store.Remove(&state.Record{ID: id, Name: linkedTo(store, id)}); err != nil {
		return err
	}
	return Done(inv, &state.Record{Name: word})
}

// linkedTo is the name whose link leads to an id, "" where there is none.
func linkedTo(store *state.Store, id string) string {
	links, _ := os.ReadDir(filepath.Join(store.Path(), "names"))
	for _, link := range links {
		if store.Linked(link.Name()) == id {
			return link.Name()
		}
	}
	return ""
}

// RestartCommand is the verb restart.
func RestartCommand() cli.Command {
	return Verb{
		Name: "restart", Summary: "end the commands of sandboxes and start them again",
		Long:    "Stop each sandbox's command as sbx stop does, and start it again in a new sandbox of the same profile as it was read, under the same name and id. A sandbox that has ended has nobody to start it again: use sbx run.",
		Example: "sbx restart web",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			request := stopFlags(fs, control.Restart)
			return func(inv *cli.Invocation, _ *state.Store, r *state.Record) error {
				if r.Alive() && !r.Detached {
					return fmt.Errorf("%s runs in the foreground of who started it", r.Name)
				}
				r.Supervisor.Continue() // stopped, it would neither end nor start anything
				if err := ask(r, request(r)); err != nil {
					return err
				}
				return Done(inv, r)
			}
		},
	}.Command()
}

// PauseCommand is the verb pause.
func PauseCommand() cli.Command {
	return freezeCommand("pause", "stop every process of sandboxes", control.Pause)
}

// UnpauseCommand is the verb unpause.
func UnpauseCommand() cli.Command {
	return freezeCommand("unpause", "let paused sandboxes go on", control.Unpause)
}

func freezeCommand(name, summary string, op control.Op) cli.Command {
	return Verb{
		Name: name, Summary: summary,
		Long: "Pause stops every process of a sandbox, unpause lets all go on: by its control group, if it has one (limits.cgroup), which no program notices; " +
			"else with SIGSTOP and SIGCONT, and a shell inside sees its jobs stop. While a sandbox is paused no command can be started in it; sbx stop ends the pause.",
		Example: "sbx " + name + " web",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			return func(inv *cli.Invocation, _ *state.Store, r *state.Record) error {
				if err := ask(r, control.Request{Op: op}); err != nil {
					return err
				}
				return Done(inv, r)
			}
		},
	}.Command()
}

// RenameCommand is the verb rename.
func RenameCommand() cli.Command {
	return cli.Command{
		Name: "rename", Args: "NAME NEW", Summary: "give a sandbox another name",
		Long:    "Give a sandbox another name, which no other has. What runs inside is not told.",
		Example: "sbx rename web old-web",
		Words:   FirstName,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if err := inv.Max(2); err != nil {
					return err
				}
				if len(inv.Args) < 2 {
					return cli.Usagef("usage: sbx %s", inv.Verb.Usage())
				}
				store, err := state.OpenExisting()
				if err != nil {
					return err
				}
				r, err := store.Find(inv.Args[0])
				if err != nil {
					return err
				}
				if err := state.CheckName(inv.Args[1]); err != nil {
					return err
				}
				if r.Alive() {
					return ask(&r, control.Request{Op: control.Rename, Name: inv.Args[1]})
				}
				old := r.Name
				if err := store.Rename(&r, inv.Args[1]); err != nil {
					return err
				}
				store.Note(&r, state.ActionRename, "old_name", old)
				return nil
			}
		},
	}
}

// Names are the sandboxes' names, for completion.
func Names([]string) []cli.Candidate {
	store, err := state.OpenExisting()
	if err != nil {
		return nil
	}
	records, _ := store.List()
	var list []cli.Candidate
	for i := range records {
		list = append(list, cli.Candidate{Word: records[i].Name, Doc: screen.Cut(strings.Join(records[i].Command, " "), 40)})
	}
	return list
}

// FirstName are the sandboxes' names, for a verb that takes one.
func FirstName(args []string) []cli.Candidate {
	if len(args) > 0 {
		return nil
	}
	return Names(nil)
}

// Only is one for a verb that takes nothing else.
func Only(inv *cli.Invocation) (state.Record, error) {
	if err := inv.Max(1); err != nil {
		return state.Record{}, err
	}
	return One(inv)
}

// One finds the sandbox that a verb's first argument means.
func One(inv *cli.Invocation) (state.Record, error) {
	if len(inv.Args) == 0 {
		return state.Record{}, cli.Usagef("which sandbox? usage: sbx %s", inv.Verb.Usage())
	}
	store, err := state.OpenExisting()
	if err != nil {
		return state.Record{}, err
	}
	return store.Find(inv.Args[0])
}
