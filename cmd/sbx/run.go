package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

func runCommand() command {
	return command{
		name: "run", args: "PROFILE [--] [COMMAND [ARG...]]",
		summary: "run a command in the sandbox of a profile",
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			return doRun
		},
	}
}

func doRun(inv *invocation) error {
	if len(inv.args) == 0 {
		return usageError{errors.New("which profile? usage: sbx run PROFILE [--] [COMMAND [ARG...]]")}
	}
	env := profiles.HostEnv()
	ref, err := profiles.Find(inv.args[0], env)
	if err != nil {
		return err
	}
	argv := inv.args[1:]
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	prof, err := profiles.Load(ref, env)
	if err != nil {
		return err
	}
	start, err := run.Begin(resolve.Shape(prof, host.Streams()))
	if err != nil {
		return err
	}
	plan, err := planOf(prof, argv)
	if err != nil {
		start.Abort()
		return err
	}
	for _, n := range plan.Notes {
		if n.Level == "warning" {
			fmt.Fprintln(inv.err, "sbx: warning:", n.Text)
		}
	}
	st, err := start.Run(plan)
	if err != nil {
		return err
	}
	inv.status = st.Code
	return nil
}

func planOf(prof *profiles.Profile, argv []string) (*sandbox.Plan, error) {
	facts, err := host.Probe(prof.User.Map == "range" || prof.User.Map == "explicit")
	if err != nil {
		return nil, err
	}
	return resolve.Plan(resolve.Input{
		Profile: prof, Facts: facts, Argv: argv,
		HomesDir: filepath.Join(os.Getenv("HOME"), ".local/share/sbx/homes"),
	})
}
