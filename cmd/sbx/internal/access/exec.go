// Package access leads into a sandbox that runs, and out of it: commands, terminals,
// files, ports, output.
package access

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/project"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// ExecOptions are what exec is told.
type ExecOptions struct {
	options.Options
	Interactive, detach bool
	Tty                 string
	dir, user, cwd      string
}

// ExecCommand is the verb exec.
func ExecCommand() cli.Command {
	return cli.Command{
		Name: "exec", Args: "[FLAGS] [NAME] [--] COMMAND [ARG...]", Runs: true, Strict: true,
		Summary: "run another command in a running sandbox",
		Long: "Run COMMAND in the sandbox NAME; without one, in that of the project (sbx up), in the same directory. It is a child of the sandbox's own PID 1 and under the very same restrictions: namespaces, system call filter, " +
			"Landlock, limits, no rights. It has the environment of the sandbox's command, and what --env adds. The exit status is COMMAND's, as with sbx run; " +
			"when sbx exec is ended, COMMAND is. Where standard input and output are a terminal, it gets one of its own.",
		Example: "sbx exec -- make test\nsbx exec -it web sh\nsbx exec -e LEVEL=debug -w /srv web ./reload",
		Words: func(args []string) []cli.Candidate {
			if len(args) > 0 {
				return []cli.Candidate{{Word: "@command 1", Doc: ""}}
			}
			return sandboxes.FirstName(args)
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			o := &ExecOptions{Tty: "auto"}
			cli.AddSwitch(fs, &o.Interactive, "interactive", "i", cli.GroupProcess, "pass standard input on; always so with a terminal")
			cli.AddFlag(fs, cli.Flag{Name: "tty", Short: "t", Arg: "WHEN", Bare: "always", Group: cli.GroupProcess, Usage: "a terminal of its own: auto, always (-t), never", Words: []string{"auto", "always", "never"}, Set: func(s string) error {
				if s != "auto" && s != "always" && s != "never" {
					return fmt.Errorf("unknown value %q, use auto, always or never", s)
				}
				o.Tty = s
				return nil
			}})
			cli.AddSwitch(fs, &o.detach, "detach", "d", cli.GroupProcess, "do not wait for it; its output is lost")
			cli.AddFlag(fs, cli.Flag{Name: "env", Short: "e", Arg: "NAME[=VALUE]", Group: cli.GroupProcess, Usage: "set a variable, or pass the caller's", Words: []string{"@env"}, Set: o.AddEnv})
			cli.AddFlag(fs, cli.Flag{Name: "env-file", Arg: "FILE", Group: cli.GroupProcess, Usage: "as --env for each line of a file", Words: []string{"@file"}, Set: o.AddEnvFile})
			cli.AddFlag(fs, cli.Flag{Name: "workdir", Short: "w", Arg: "DIR", Group: cli.GroupProcess, Usage: "start in this directory inside", Set: cli.FileName(&o.dir)})
			cli.AddFlag(fs, cli.Flag{Name: "user", Short: "u", Arg: "WHO", Group: cli.GroupIDs, Usage: "who the sandbox's command is: there is nobody else inside that it could be", Set: cli.FileName(&o.user)})
			cli.AddSwitch(fs, &o.JSONErrs, "json-errors", "", cli.GroupOutput, "a failure is one JSON object on stderr")
			return func(inv *cli.Invocation) error {
				inv.JSONErrs = o.JSONErrs
				return exec(inv, o)
			}
		},
	}
}

// exec runs a command in the sandbox that is named first, or in the project's.
func exec(inv *cli.Invocation, o *ExecOptions) error {
	args := inv.Args
	if j, conn, err := run.Asked(); j != nil || err != nil {
		if err != nil {
			return err
		}
		defer j.Close()
		c := control.Over(conn)
		defer c.Close()
		return attend(inv, c, &state.Record{Name: args[0]}, j)
	}
	if inv.Dash != 0 {
		if len(args) == 0 {
			return cli.Usagef("which sandbox, and what command? usage: sbx %s", inv.Verb.Usage())
		}
		store, err := state.OpenExisting()
		if err != nil {
			return err
		}
		r, err := store.Find(args[0])
		var none *state.NotFoundError
		if err != nil && !errors.As(err, &none) {
			return err
		}
		if err == nil {
			if args = args[1:]; len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			if len(args) == 0 {
				return cli.Usagef("what command? usage: sbx %s", inv.Verb.Usage())
			}
			return execIn(inv, &r, args, o)
		}
		if _, up, err := project.IsUp(profiles.HostEnv()); err != nil || up.ID == "" {
			return none
		}
	}
	if len(args) == 0 {
		return cli.Usagef("what command? usage: sbx %s", inv.Verb.Usage())
	}
	env := profiles.HostEnv()
	p, r, err := project.IsUp(env)
	if err != nil {
		return err
	}
	if r.ID == "" {
		return fmt.Errorf("no sandbox is up for %s; start it with sbx up, or name another one", p.Dir)
	}
	if why := project.Outdated(p, &r, env); why != "" {
		return fmt.Errorf("%s is up, but %s; sbx up --replace starts it anew, and sbx exec %s -- ... runs a command in the old one", r.Name, why, r.Name)
	}
	return ExecUp(inv, &r, args, o)
}

// ExecUp is execIn for a project's sandbox: the command is in the caller's
// directory, and has those of the caller's variables that the profile lets in.
func ExecUp(inv *cli.Invocation, r *state.Record, argv []string, o *ExecOptions) error {
	o.cwd, _ = os.Getwd() // without it, the command is where the sandbox's is
	o.Env = append(project.PassedOn(r.Project, os.Environ()), o.Env...)
	return execIn(inv, r, argv, o)
}

// execIn runs a command in a sandbox.
func execIn(inv *cli.Invocation, r *state.Record, argv []string, o *ExecOptions) error {
	if err := o.check(r); err != nil {
		return err
	}
	terminal, piped, closed := o.streams(host.Streams())
	p := &control.Process{Argv: argv, Dir: o.dir, Cwd: o.cwd, Terminal: terminal, Detach: o.detach}
	var err error
	if p.Env, err = passed(inv, o); err != nil {
		return err
	}
	if terminal != [3]bool{} {
		if term := os.Getenv("TERM"); term != "" && !hasEnv(p.Env, "TERM") {
			p.Env = append(p.Env, "TERM="+term)
		}
	}
	c, err := sandboxes.Dial(r)
	if err != nil {
		return err
	}
	defer c.Close()
	j, err := run.NewJoin(terminal, piped)
	if err != nil {
		return err
	}
	defer j.Close()
	if err := begin(inv, c, r, j, control.Request{Op: control.Exec, Process: p}, closed); err != nil {
		return err
	}
	if o.detach {
		return begun(inv, c, r, j)
	}
	return attend(inv, c, r, j)
}

// attend stands by the command that was asked for until it has ended.
func attend(inv *cli.Invocation, c *control.Conn, r *state.Record, j *run.Join) error {
	early := j.Own() // that it runs is worth no waiting for: its end says so too
	if !early {
		if err := begun(inv, c, r, j); err != nil {
			return err
		}
	}
	st, err := j.Wait()
	if err == nil && early && (st.InitKilled != 0 || st.Code == cli.ExitSbx) {
		err = begun(inv, c, r, j) // its process ends so where the command can't be executed, too
	}
	if err != nil {
		return err
	}
	if st.InitKilled != 0 {
		inv.Late("the sandbox ended, or was killed, and the command with it")
	}
	inv.Status = st.Code
	return nil
}

// begin asks for the command.
func begin(inv *cli.Invocation, c *control.Conn, r *state.Record, j *run.Join, q control.Request, closed [3]bool) error {
	files, done, err := instead(j.Files(), closed)
	if err != nil {
		return err
	}
	err = c.Ask(q, files...)
	done()
	j.Sent()
	if err != nil {
		return sandboxes.Closing(r, err)
	}
	return j.Terminal()
}

// begun waits until the command runs.
func begun(inv *cli.Invocation, c *control.Conn, r *state.Record, j *run.Join) error {
	if err := j.Until(c.FD()); err != nil {
		return err
	}
	_, _, err := c.Answer()
	return sandboxes.Closing(r, err)
}

// check refuses what can't be had.
func (o *ExecOptions) check(r *state.Record) error {
	if o.detach && (o.Interactive || o.Tty == "always") {
		return cli.Usagef("--detach leaves nobody to read or write: leave --interactive and --tty out")
	}
	if o.dir != "" && !strings.HasPrefix(o.dir, "/") {
		return cli.Usagef("--workdir: %q is no absolute path inside", o.dir)
	}
	switch o.user {
	case "", "keep", os.Getenv("USER"), fmt.Sprint(os.Getuid()):
		return nil
	}
	return fmt.Errorf("--user: in %s there is nobody but who its command is; start it with sbx run --user to choose", r.Name)
}

// streams says which of the standard descriptors are a terminal inside, which
// are relayed by pipes, and which are not passed on at all. A file or a pipe is
// passed as it is; whatever else it may be, the sandbox does not get it.
func (o *ExecOptions) streams(std [3]host.Stdio) (terminal, piped, closed [3]bool) {
	if o.detach {
		return terminal, piped, [3]bool{true, true, true}
	}
	both := std[0].Terminal && std[1].Terminal
	for fd, d := range std {
		switch {
		case o.Tty == "always", o.Tty == "auto" && both && d.Terminal:
			terminal[fd] = true
		case d.Null, fd == 0 && !o.Interactive && !both:
			closed[fd] = true
		case d.Terminal, d.Directory, d.Path, d.Device:
			piped[fd] = true
		}
	}
	return terminal, piped, closed
}

// instead puts /dev/null in the place of descriptors that are not passed on.
func instead(files []int, closed [3]bool) (list []int, done func(), err error) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", os.DevNull, err)
	}
	list = append(list, files...)
	for fd, is := range closed {
		if is {
			list[fd] = null
		}
	}
	return list, func() { unix.Close(null) }, nil
}

// passed are the variables of --env.
func passed(inv *cli.Invocation, o *ExecOptions) ([]string, error) {
	var list []string
	for _, kv := range o.Env {
		if strings.IndexByte(kv, 0) >= 0 {
			return nil, errors.New("--env: a variable holds a NUL byte")
		}
		if !strings.Contains(kv, "=") {
			value, ok := os.LookupEnv(kv)
			if !ok {
				inv.Warn("-e %s: there is no such variable to pass on", kv)
				continue
			}
			kv += "=" + value
		}
		list = append(list, kv)
	}
	return list, nil
}

func hasEnv(env []string, name string) bool {
	for _, kv := range env {
		if strings.HasPrefix(kv, name+"=") {
			return true
		}
	}
	return false
}
