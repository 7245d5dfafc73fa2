// Package explanation says what a sandbox would be, and why it hides or denies what it
// does.
package explanation

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

// The forms of sbx explain.
const (
	ExplainText  = "text"
	explainJSON  = "json"
	explainSteps = "steps"
	explainCalls = "seccomp"
)

// ExplainCommand is the verb explain.
func ExplainCommand() cli.Command {
	return cli.Command{
		Name: "explain", Args: "[FLAGS] [PROFILE] [-- COMMAND [ARG...]]",
		Summary: "print what a sandbox would be, and run nothing",
		Long: "Print what run would do with the same flags: who the command is, what it sees, what it may use, and what enforces that on this host. " +
			"Each line says which file and line asked for it.",
		Example: "sbx explain\nsbx explain --network=host build\nsbx explain --steps strict -- true",
		Words:   cli.RunWords,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			form := ExplainText
			cli.AddFlag(fs, cli.Flag{Name: "json", Group: cli.GroupOutput, Usage: "the plan as JSON, with the place of each key", Set: func(string) error { form = explainJSON; return nil }})
			cli.AddFlag(fs, cli.Flag{Name: "steps", Group: cli.GroupOutput, Usage: "the steps that would build the sandbox", Set: func(string) error { form = explainSteps; return nil }})
			cli.AddFlag(fs, cli.Flag{Name: "seccomp", Group: cli.GroupOutput, Usage: "the policy of system calls, whole", Set: func(string) error { form = explainCalls; return nil }})
			o := options.RunFlags(fs)
			return func(inv *cli.Invocation) error {
				inv.JSONErrs = o.JSONErrs
				if n := len(inv.Args); n > 1 && inv.Dash != 0 && inv.Dash != 1 {
					return cli.Usagef("%q is one argument too many; a command stands after --, as in sbx explain %s -- %s", inv.Args[1], inv.Args[0], inv.Args[1])
				}
				ref, argv, err := inv.ProfileAndCommand()
				if err != nil {
					return err
				}
				return Explain(inv, ref, argv, o, form)
			}
		},
	}
}

// explained is what `sbx explain --json` prints.
type explained struct {
	Schema  int               `json:"schema"`
	Plan    *sandbox.Plan     `json:"plan"`
	Origins map[string]string `json:"origins"` // a key of the profile -> file:line:col, or the flag
	// Phases are the plans of the profile's phases, in the order they run; Plan is
	// that of a command of the command line then.
	Phases []explainedPhase `json:"phases,omitempty"`
	// Untrusted are what keeps run from running a project's profile.
	Untrusted []profiles.Grant `json:"untrusted,omitempty"`
}

// explainedPhase is the plan of one phase.
type explainedPhase struct {
	Name    string            `json:"name"`
	Plan    *sandbox.Plan     `json:"plan"`
	Origins map[string]string `json:"origins"`
}

// Explain prints a plan. A profile that is not trusted is explained as well:
// that is how somebody decides whether to trust it.
func Explain(inv *cli.Invocation, ref string, argv []string, o *options.Options, form string) error {
	prof, err := inv.Load(ref)
	if err != nil {
		return err
	}
	var refused *profiles.UntrustedError
	if err := profiles.CheckTrust(prof, nil, inv.Env); err != nil && !errors.As(err, &refused) {
		return err
	}
	list, err := decision.Steps(o, prof, argv)
	if err != nil {
		return err
	}
	r := &decision.Run{Invocation: inv}
	if form == explainJSON {
		return printPlans(r, prof, argv, list, o, refused)
	}
	for _, s := range list {
		plan, err := r.ForeseeStep(s, o)
		if err != nil {
			return err
		}
		if s.Phase != "" && form != ExplainText {
			fmt.Fprintf(inv.Out, "# the phase %s\n", s.Phase)
		}
		if err := explainStep(inv, plan, form, refused); err != nil {
			return err
		}
		if !s.Last {
			fmt.Fprintln(inv.Out)
		}
	}
	return nil
}

// printPlans prints the plans of the steps as one object.
func printPlans(inv *decision.Run, prof *profiles.Profile, argv []string, list []decision.Step, o *options.Options, refused *profiles.UntrustedError) error {
	own := decision.Step{Prof: prof, Argv: argv, Given: len(argv) > 0, Last: true, Only: true}
	if len(list) == 1 {
		own = list[0]
	}
	plan, err := inv.ForeseeStep(own, o)
	if err != nil {
		return err
	}
	x := explained{Schema: 1, Plan: plan, Origins: origins(inv.Invocation, plan)}
	if refused != nil {
		x.Untrusted = refused.Grants
	}
	for _, s := range list {
		if s.Only {
			break
		}
		if plan, err = inv.ForeseeStep(s, o); err != nil {
			return err
		}
		x.Phases = append(x.Phases, explainedPhase{s.Phase, plan, origins(inv.Invocation, plan)})
	}
	return inv.PrintJSON(x)
}

// explainStep prints the plan of one step for people.
func explainStep(inv *cli.Invocation, plan *sandbox.Plan, form string, refused *profiles.UntrustedError) error {
	switch form {
	case explainSteps:
		p, err := program.Compile(plan)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(inv.Out, screen.Printable(p.String()))
		return err
	case explainCalls:
		p, err := resolve.Policy(&inv.Profile.Security, plan.Security.Keep)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(inv.Out, screen.Printable(p.String()))
		return err
	}
	explainText(inv, plan, refused)
	return nil
}

// origins says where the keys that the plan refers to were set.
func origins(inv *cli.Invocation, p *sandbox.Plan) map[string]string {
	out := map[string]string{}
	note := func(key string) {
		if at := cli.Origin(inv.Profile, key); at != "" {
			out[key] = at
		}
	}
	note(p.IDs.From)
	note(p.Root.From)
	for _, m := range p.Mounts {
		note(m.From)
	}
	for _, s := range p.Secrets {
		note(s.From)
	}
	for _, l := range p.Limits {
		note(l.From)
	}
	for _, u := range p.UCounts {
		note(u.From)
	}
	for _, f := range p.Features {
		note(f.From)
	}
	for _, n := range p.Notes {
		note(n.From)
	}
	for _, key := range plainKeys {
		note(key)
	}
	return out
}

// plainKeys are keys that fields of the plan without a From come from.
var plainKeys = []string{
	"name", "process.command", "process.working_dir", "process.tty", "process.hostname", "process.umask", "process.nice",
	"process.oom_score_adj", "process.timeout", "process.listen_fds", "process.stop_timeout", "process.stop_signal", "user.as", "user.map",
	"environment.pass", "environment.unset", "namespaces.ipc", "namespaces.uts", "namespaces.cgroup", "namespaces.time",
	"root.read_only", "root.proc", "root.sys", "root.dev", "root.shm", "network.mode", "workspace.path", "workspace.audit", "workspace.exclusive", "workspace.unprotect", "security.nested_userns",
	"security.seccomp", "security.seccomp_allow", "security.seccomp_deny", "security.multiarch",
	"security.landlock", "security.fallback",
}
