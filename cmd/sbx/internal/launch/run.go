// Package launch runs sandboxes, stands by them, and says what they left.
package launch

import (
	"errors"
	"slices"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/explanation"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// RunCommand is the verb run.
func RunCommand() cli.Command {
	return cli.Command{
		Name: options.RunVerb, Args: "[FLAGS] [PROFILE|-] [--] [COMMAND [ARG...]]", Runs: true, Strict: true,
		Summary: "run a command in a sandbox",
		Long: "Run COMMAND, or the profile's own command, in the sandbox that PROFILE describes: a name, a file, or - for standard input. " +
			"Without PROFILE it is the nearest .sbx.toml, else your profile \"default\", else builtin:build. " +
			"Flags stand before PROFILE; what follows it is the command's.",
		Example: "sbx run -- make test\nsbx run --network=host build -- git fetch\nsbx run -v ~/data:/data -m 2G strict -- ls /data",
		Words:   cli.RunWords,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			o := options.AllFlags(fs)
			return func(inv *cli.Invocation) error {
				inv.JSONErrs = o.JSONErrs
				ref, argv, err := inv.ProfileAndCommand()
				if err != nil {
					return err
				}
				if o.Explain {
					return explanation.Explain(inv, ref, argv, o, explanation.ExplainText)
				}
				if err := o.Life.Check(); err != nil {
					return err
				}
				if o.Life.Detach && inv.Back == nil {
					return detach(inv, append([]string{"run"}, inv.Raw...), o.Life)
				}
				return Start(inv, ref, argv, o, nil)
			}
		},
	}
}

// Start runs argv in the sandbox of a profile. The kernel makes the namespaces
// while the plan is being decided. adjust, if not nil, has the last word on it.
func Start(inv *cli.Invocation, ref string, argv []string, o *options.Options, adjust func(*sandbox.Plan)) error {
	if begun, plan, err := run.Resumed(); begun != nil || err != nil {
		if err != nil {
			return err
		}
		return resume(inv, ref, argv, o, begun, plan)
	}
	if adjust != nil || !keeps(inv, ref, o) {
		inv.Seen = nil
	} else if inv.Seen == nil {
		inv.Seen = &seen.Log{}
	}
	prof, err := inv.Load(ref)
	if err != nil {
		return err
	}
	if err := inv.CheckTrust(); err != nil {
		return err
	}
	inv.Silent = o.Quiet || o.JSONErrs
	list, err := decision.Steps(o, prof, argv)
	if err != nil {
		return err
	}
	r := &decision.Run{Invocation: inv, Called: prof.Name, Ref: ref} // --name changes the first
	return runSteps(r, list, o, adjust)
}

// runStep runs one sandbox.
func runStep(inv *decision.Run, s decision.Step, o *options.Options, adjust func(*sandbox.Plan)) error {
	prof, o, err := inv.Prepare(s, o)
	if err != nil {
		return err
	}
	err = once(inv, prof, s.Argv, o, adjust, nil)
	var refused *run.RefusedError
	if errors.As(err, &refused) { // nothing ran
		err = once(inv, prof, s.Argv, o, adjust, refused)
	}
	if err == nil {
		explanation.Remember(inv, o, inv.Status)
	}
	return err
}

// once decides and runs a sandbox, with refused one without namespaces: the
// kernel makes them while the plan is being decided.
func once(inv *decision.Run, prof *profiles.Profile, argv []string, o *options.Options, adjust func(*sandbox.Plan), refused *run.RefusedError) error {
	if err := inv.Join(prof, refused); err != nil {
		return err
	}
	defer inv.Joined.Close()
	var begun *run.Start
	var err error
	if refused == nil {
		if begun, err = run.BeginIn(resolve.Shape(prof, host.Streams()), inv.Joined.Joint()); err != nil {
			return err
		}
		inv.Foreseen = begun.Foresee
	}
	plan, err := inv.Decide(prof, argv, o, refused)
	inv.Foreseen = nil
	if err == nil && plan.Bare.On() && o.Life != nil && o.Life.Detach {
		err = &resolve.Error{Key: "security.fallback", Msg: "a sandbox without namespaces can't be detached", Hint: "run it in the foreground, or in a terminal multiplexer"}
	}
	if err == nil && begun == nil {
		begun, err = run.Begin(plan.Shape())
	}
	if err != nil {
		if begun != nil {
			begun.Abort()
		}
		return err
	}
	if adjust != nil {
		adjust(plan)
	}
	for _, text := range warnings(plan) {
		if !slices.Contains(inv.Warned, text) {
			inv.Warn("%s", text)
		}
		inv.Warned = append(inv.Warned, text)
	}
	if plan.Network == sandbox.NetUser {
		begun.Network = networkEvents(inv, plan)
	}
	if err := trace(inv, begun, plan); err != nil {
		begun.Abort()
		return err
	}
	if inv.Seen != nil && inv.Step.Only && len(inv.Warned) == 0 && run.Keepable(plan) {
		begun.Keep = &run.Keep{Base: startsBase, Seen: inv.Seen, Ask: host.Remember}
	}
	return supervised(inv, begun, plan, o)
}

// warnings are what the person should know before the command runs.
func warnings(p *sandbox.Plan) []string {
	var list []string
	for _, n := range p.Notes {
		if n.Level != "info" && !slices.Contains(list, n.Text) {
			list = append(list, n.Text)
		}
	}
	return list
}
