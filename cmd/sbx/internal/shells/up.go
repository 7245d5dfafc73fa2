package shells

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/project"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// defaultIdle is how long a project's sandbox is kept while nothing runs in it.
const defaultIdle = time.Hour

// resting is the command of a project's sandbox: the others are what it is for.
var resting = []string{"sleep", "infinity"}

// UpCommand is the verb up.
func UpCommand() cli.Command {
	return cli.Command{
		Name: "up", Args: "[FLAGS] [PROFILE]", Runs: true,
		Summary: "start the sandbox that a project has for all day",
		Long: "Start one sandbox for the project (the directory of the nearest .sbx.toml, else the current one), unless it is up: of PROFILE, without it of the project's, " +
			"else your default. It goes on in the background, and sbx exec without a name, sbx sh, sbx lsp and the shell hook use it until the profile changes.",
		Example: "sbx up --idle 8h agent\nsbx up --replace",
		Words:   cli.FirstProfile,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			o := options.RunFlags(fs)
			idle, replace := defaultIdle, false
			cli.AddFlag(fs, cli.Flag{Name: "idle", Arg: "TIME", Group: cli.GroupLife, Usage: "end it when nothing ran in it for so long, such as 30m; 0 is never; 1h without", Set: func(s string) (err error) {
				if idle, err = sandboxes.Patience(s); err == nil && idle < 0 {
					err = fmt.Errorf("%s is less than nothing; 0 is never", s)
				}
				return err
			}})
			cli.AddSwitch(fs, &replace, "replace", "", cli.GroupLife, "end the one that is up, and start it anew")
			return func(inv *cli.Invocation) error {
				inv.JSONErrs = o.JSONErrs
				ref, err := profileAlone(inv, "", "sbx up, then sbx exec -- COMMAND")
				if err != nil {
					return err
				}
				if inv.Back != nil {
					return stayUp(inv, ref, idle, o)
				}
				return up(inv, replace)
			}
		},
	}
}

// up starts the project's sandbox, if it is not up.
func up(inv *cli.Invocation, replace bool) error {
	if cli.InSandbox() {
		return errors.New("this is a sandbox already; sbx up is for outside")
	}
	env := profiles.HostEnv()
	p, err := project.At(env)
	if err != nil {
		return err
	}
	store, err := state.Open()
	if err != nil {
		return err
	}
	release, err := store.Exclusive()
	if err != nil {
		return err
	}
	defer release()
	r, err := store.Named(p.Name())
	switch {
	case errors.Is(err, os.ErrNotExist) || err == nil && !r.Alive():
	case err != nil:
		return err
	case r.Project == nil || r.Project.Dir != p.Dir:
		return fmt.Errorf("%s is the name of a sandbox that is not the project's; end that one first: sbx stop %s", r.Name, r.Name)
	case replace:
		if err := sandboxes.Stop(inv, &r, downRequest); err != nil {
			return err
		}
	default:
		if why := project.Outdated(p, &r, env); why != "" {
			return fmt.Errorf("%s is up, but %s; sbx up --replace ends it and what runs in it, and starts it anew", r.Name, why)
		}
		_, err := fmt.Fprintln(inv.Out, r.Name)
		return err
	}
	id, err := launch.Background(inv, append([]string{"up"}, inv.Raw...), -1)
	if err == nil && id != "" {
		_, err = fmt.Fprintln(inv.Out, p.Name())
	}
	return err
}

// stayUp is up in the supervisor.
func stayUp(inv *cli.Invocation, ref string, idle time.Duration, o *options.Options) error {
	env := profiles.HostEnv()
	p, err := project.At(env)
	if err != nil {
		return err
	}
	about := &state.Project{Dir: p.Dir, Ref: ref, Idle: idle}
	o.Life = &options.Life{Detach: true, Remove: "true", StatusFD: -1, LogMax: options.DefaultLog, Name: p.Name(), Project: about}
	return launch.Start(inv, ref, resting, o, func(*sandbox.Plan) {
		prof := inv.Profile
		about.Hash = profiles.Fingerprint(prof)
		about.Trusted, _ = profiles.OpenTrust(env).Trusted(prof) // where it must be, start has refused
		about.Pass, about.Unset = prof.Environment.Pass, prof.Environment.Unset
		about.Fixed = append(slices.Sorted(maps.Keys(prof.Environment.Set)), supplied...)
		for _, kv := range o.Env {
			name, _, _ := strings.Cut(kv, "=")
			about.Fixed = append(about.Fixed, name)
		}
		about.Fixed = append(about.Fixed, prof.SecretVariables()...)
	})
}

// supplied are the variables that sbx says itself.
var supplied = []string{"PATH", "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR", "container", "SBX", "SBX_NAME"}

// DownCommand is the verb down.
func DownCommand() cli.Command {
	return cli.Command{
		Name: "down", Args: "[FLAGS]", Summary: "end the project's sandbox",
		Long: "End the sandbox that sbx up started for the project, and all that runs in it: every process is asked to end by SIGTERM, and killed after the " +
			"profile's stop_timeout. It returns when nothing of it exists any more.",
		Example: "sbx down\nsbx down --all",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			all := false
			cli.AddSwitch(fs, &all, "all", "a", cli.GroupLife, "those of every project")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				return down(inv, all)
			}
		},
	}
}

func down(inv *cli.Invocation, all bool) error {
	store, err := state.OpenExisting()
	if err != nil {
		return err
	}
	var list []state.Record
	var unread error // it keeps no other one up
	if all {
		var records []state.Record
		records, unread = store.List()
		list = slices.DeleteFunc(records, func(r state.Record) bool { return r.Project == nil || !r.Alive() })
	} else {
		_, r, err := project.IsUp(profiles.HostEnv())
		if err != nil {
			return err
		}
		if r.ID != "" {
			list = append(list, r)
		}
	}
	if len(list) == 0 && unread == nil {
		return inv.Say("no sandbox is up here")
	}
	var awaits []func() error
	for i := range list { // all of them have their time at once
		await, err := sandboxes.BeginStop(inv, &list[i], downRequest)
		if err != nil {
			await = func() error { return err }
		}
		awaits = append(awaits, await)
	}
	errs := []error{unread}
	for i, await := range awaits {
		err := await()
		if err == nil {
			err = sandboxes.Done(inv, &list[i])
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// downRequest ends a project's sandbox.
func downRequest(r *state.Record) control.Request {
	return control.Request{Op: control.Down, Timeout: r.StopTimeout}
}
