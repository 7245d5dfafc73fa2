package wrapping

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/shim"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// ShimCommand is the verb shim.
func ShimCommand() cli.Command {
	return cli.Command{
		Name: options.ShimVerb, Args: "FILE [ARG...]", Hidden: true, Runs: true, Strict: true, Raw: true,
		Summary: "run the program that a shim stands for",
		Long:    "The interpreter of the files that sbx wrap install makes.",
		Example: "sbx shim ~/.local/share/sbx/shims/npm install",
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if len(inv.Args) == 0 {
					return cli.Usagef("shim needs the file")
				}
				return runShim(inv, inv.Args[0], inv.Args[1:])
			}
		},
	}
}

// runShim runs the program that the file stands for, with args.
func runShim(inv *cli.Invocation, file string, args []string) error {
	if launch.Resumes() {
		return resumeShim(inv, file, args)
	}
	inv.Seen = &seen.Log{}
	s, err := shim.Read(inv.Seen, file)
	if err != nil {
		return err
	}
	program := realProgram(inv.Seen, s.Command, filepath.Dir(file), shimsDir(profiles.HostEnvSeen(inv.Seen)))
	if program == "" {
		inv.Status = 127
		return inv.Say("%s: not found: it is wrapped, and no other directory of PATH has it", s.Command)
	}
	if os.Getenv(shim.Bypass) == "off" || cli.InSandboxSeen(inv.Seen) {
		return cli.BecomeProgram(program, append([]string{s.Command}, args...))
	}
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o := options.RunFlags(fs)
	if err := fs.Parse(s.Flags); err != nil {
		return fmt.Errorf("%s: flags: %w", file, cli.FlagError(fs, err))
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%s: flags: %q is no flag", file, fs.Arg(0))
	}
	inv.JSONErrs = o.JSONErrs
	more := pflag.NewFlagSet("run", pflag.ContinueOnError)
	more.SetOutput(io.Discard)
	o.Online, o.VerbPhase = options.RunFlags(more), s.Phase(args)
	if err := more.Parse(s.Network); err != nil {
		return fmt.Errorf("%s: network: %w", file, cli.FlagError(more, err))
	}
	ref, err := shimProfile(inv.Seen, s)
	if err != nil {
		return err
	}
	if ref == "" && s.Profile != profileFor(s.Command) {
		inv.Chosen = s.Profile
	}
	return launch.Start(inv, ref, append([]string{s.Command}, args...), o, nil)
}

// resumeShim goes on with a sandbox that was started from what was kept. The file
// only says whose keys to name: it may be gone.
func resumeShim(inv *cli.Invocation, file string, args []string) error {
	ref, command := "", filepath.Base(file)
	if s, err := shim.Read(nil, file); err == nil {
		command = s.Command
		if ref, err = shimProfile(nil, s); err != nil {
			ref = s.Profile
		}
	}
	return launch.Start(inv, ref, append([]string{command}, args...), &options.Options{}, nil)
}

// realProgram looks name up in PATH, past the directories in skip and whatever
// else is a shim: copies of one would send one another round in circles.
func realProgram(log *seen.Log, name string, skip ...string) string {
	for {
		found := cli.FindProgram(log, name, skip...)
		if found == "" {
			return ""
		}
		if _, err := shim.Read(log, found); err != nil {
			return found
		}
		skip = append(skip, filepath.Dir(found))
	}
}

// shimProfile is the profile of a shim's sandbox: a project's own comes first,
// "" then, as for run.
func shimProfile(log *seen.Log, s shim.Shim) (string, error) {
	env := profiles.HostEnvSeen(log)
	if env.Cwd != "" {
		if _, ok, err := profiles.Discover(env.Cwd, env); ok || err != nil {
			return "", err
		}
	}
	return s.Profile, nil
}
