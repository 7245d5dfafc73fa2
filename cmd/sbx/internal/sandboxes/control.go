// Package sandboxes finds, lists and changes the state of sandboxes that run or have a
// record.
package sandboxes

import (
	"errors"
	"fmt"
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
	all                          bool // it has --all
}

// Command is the verb.
func (v Verb) Command() cli.Command {
	return cli.Command{
		Name: v.Name, Args: "[FLAGS] NAME...", Summary: v.Summary, Long: v.Long, Example: v.Example, Words: Names,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			all := false
			if v.all {
				cli.AddSwitch(fs, &all, "all", "a", cli.GroupLife, "every sandbox")
			}
			do := v.Flags(fs)
			return func(inv *cli.Invocation) error {
				switch {
				case all && len(inv.Args) > 0:
					return cli.Usagef("--all and %q exclude each other", inv.Args[0])
				case !all && len(inv.Args) == 0:
					return cli.Usagef("which sandbox? usage: sbx %s", inv.Verb.Usage())
				}
				return each(inv, all, do)
			}
		},
	}
}

// each does something to each sandbox that is named. One that fails does not
// keep the others from their turn.
func each(inv *cli.Invocation, all bool, do func(*cli.Invocation, *state.Store, *state.Record) error) error {
	store, err := state.OpenExisting()
	if err != nil {
		return err
	}
	var errs []error
	if all {
		records, err := store.List()
		errs = append(errs, err)
		for i := range records {
			errs = append(errs, do(inv, store, &records[i]))
		}
		return errors.Join(errs...)
	}
	for _, word := range inv.Args {
		r, err := store.Find(word)
		if err == nil {
			err = do(inv, store, &r)
		}
		errs = append(errs, err)
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

// Dial connects to a sandbox's supervisor.
func Dial(r *state.Record) (*control.Conn, error) {
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
	_, _, err = c.Answer()
	return Closing(r, err)
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
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
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
func killed() control.Request {
	return control.Request{Op: control.Stop, Signal: int(unix.SIGKILL)}
}

// StopCommand is the verb stop.
func StopCommand() cli.Command {
	return Verb{
		Name: "stop", Summary: "end sandboxes", all: true,
		Long: "Ask each sandbox's command to end, by the profile's stop_signal, and kill everything in the sandbox when it has not after the profile's stop_timeout. " +
			"It returns when nothing of the sandbox exists any more.",
		Example: "sbx stop web\nsbx stop -t 2 web db\nsbx stop --all",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			request := stopFlags(fs, control.Stop)
			return func(inv *cli.Invocation, _ *state.Store, r *state.Record) error {
				if !r.Alive() {
					return Done(inv, r) // as docker has it: that is what was wanted
				}
				if _, err := Stop(inv, r, request(r)); err != nil {
					return err
				}
				return Done(inv, r)
			}
		},
	}.Command()
}

// Stop ends a sandbox as a request says and returns its command's exit status.
func Stop(inv *cli.Invocation, r *state.Record, q control.Request) (int, error) {
	c, err := Dial(r)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Ask(q); err != nil {
		return 0, err
	}
	if _, _, err := c.Answer(); err != nil {
		return 0, Closing(r, err)
	}
	return Await(inv, c, r)
}

// Await waits for the end of a sandbox, and prints what its supervisor says of it.
func Await(inv *cli.Invocation, c *control.Conn, r *state.Record) (int, error) {
	for {
		reply, fds, err := c.Answer()
		control.CloseAll(fds)
		if hungUp(err) {
			return settled(r), nil
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
func hungUp(err error) bool {
	return errors.Is(err, control.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// settled is the exit status of a sandbox whose supervisor has hung up: it is in
// the record when it ended just before it would have answered. Else the supervisor
// was killed, and the sandbox with it.
func settled(r *state.Record) int {
	const killed, patience = 128 + int(unix.SIGKILL), 5 * time.Second
	store, err := state.OpenExisting()
	if err != nil {
		return killed
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		now, err := store.Load(r.ID)
		if err != nil {
			return killed
		}
		if !now.Alive() {
			return now.ExitCode
		}
	}
	return killed
}

// KillCommand is the verb kill.
func KillCommand() cli.Command {
	return Verb{
		Name: "kill", Summary: "send a signal to sandboxes", all: true,
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
					if _, err := Stop(inv, r, killed()); err != nil {
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
					c, err := Dial(r)
					if err != nil {
						// It may have ended since; then its record says how.
						if now, gone := store.Load(r.ID); gone == nil && !now.Alive() {
							_, err = fmt.Fprintln(inv.Out, now.ExitCode)
						}
						return err
					}
					defer c.Close()
					if err := c.Ask(control.Request{Op: control.Wait}); err != nil && !hungUp(err) {
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
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			force, changes := false, false
			cli.AddSwitch(fs, &force, "force", "f", cli.GroupLife, "kill what runs")
			cli.AddSwitch(fs, &changes, "overlay", "", cli.GroupFiles, "discard the changes that it kept, too")
			return func(inv *cli.Invocation, store *state.Store, r *state.Record) error {
				if r.Alive() && !force {
					return fmt.Errorf("%s runs; stop it first: sbx stop %s, or use --force", r.Name, r.Name)
				}
				if r.Alive() {
					if _, err := Stop(inv, r, killed()); err != nil {
						return err
					}
				}
				kept := ""
				if changes {
					p, err := PlanOf(r)
					if err != nil {
						return err
					}
					kept = p.Overlay.Name
				}
				if err := overlays.DiscardKept(inv, kept); err != nil {
					return err
				}
				if err := store.Remove(r); err != nil {
					return err
				}
				return Done(inv, r)
			}
		},
	}.Command()
}

// RestartCommand is the verb restart.
func RestartCommand() cli.Command {
	return Verb{
		Name: "restart", Summary: "end the commands of sandboxes and start them again",
		Long:    "Stop each sandbox's command as sbx stop does, and start it again in a new sandbox of the same plan, under the same name and id. A sandbox that has ended has nobody to start it again: use sbx run.",
		Example: "sbx restart web",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			request := stopFlags(fs, control.Restart)
			return func(inv *cli.Invocation, _ *state.Store, r *state.Record) error {
				if r.Alive() && !r.Detached {
					return fmt.Errorf("%s runs in the foreground of who started it", r.Name)
				}
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
