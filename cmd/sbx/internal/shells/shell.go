// Package shells is sandboxes for interactive shells, and for what takes sbx for a
// shell.
package shells

import (
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/access"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/project"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// ShellCommand is the verb shell.
func ShellCommand() cli.Command {
	return cli.Command{
		Name: "shell", Args: "[FLAGS] [PROFILE]", Runs: true,
		Summary: "start an interactive shell in a sandbox",
		Long: "Start your shell, $SHELL if it can be seen inside and else /bin/sh, in the sandbox of PROFILE; " +
			"without it, in the profile \"shell\". The flags are those of run.",
		Example: "sbx shell\nsbx shell --network=host\nsbx shell -v ~/data:/data:rw strict",
		Words:   cli.FirstProfile,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			o := options.RunFlags(fs)
			enter := false
			cli.AddFlag(fs, cli.Flag{Name: "enter", Group: cli.GroupOutput, Usage: "say how to leave", Hidden: true,
				Set: func(string) error { enter = true; return nil }})
			return func(inv *cli.Invocation) error {
				inv.JSONErrs = o.JSONErrs
				ref, err := profileAlone(inv, "shell", "sbx run PROFILE -- COMMAND")
				if err != nil {
					return err
				}
				if enter {
					fmt.Fprintf(inv.Err, "sbx: %s: commands run inside from here on; exit leaves the sandbox\n", screen.Printable(screen.Near(ref)))
				}
				if enter {
					if r, ok := project.UpNow(profiles.HostEnv()); ok {
						return shellUp(inv, &r)
					}
				}
				return shell(inv, ref, o)
			}
		},
	}
}

// profileAlone is the profile that a verb's one argument names, without it fallback.
// The verb takes no command, and instead is what does.
func profileAlone(inv *cli.Invocation, fallback, instead string) (string, error) {
	switch {
	case inv.Dash >= 0 || len(inv.Args) > 1:
		return "", cli.Usagef("%s takes no command; use %s", inv.Verb.Name, instead)
	case len(inv.Args) == 1:
		return inv.Args[0], nil
	}
	return fallback, nil
}

// shellUp runs the person's shell in the project's sandbox.
func shellUp(inv *cli.Invocation, r *state.Record) error {
	plan, err := sandboxes.PlanOf(r)
	if err != nil {
		return err
	}
	o := &access.ExecOptions{Tty: "auto", Interactive: true}
	o.Env = marked()
	return access.ExecUp(inv, r, shellFor(plan, hostShell()), o)
}

// hostShell is what the person has for a shell.
func hostShell() string {
	if sh := os.Getenv("SHELL"); strings.HasPrefix(sh, "/") {
		return sh
	}
	return "/bin/sh"
}

// shellFor is how sh is started in the sandbox of plan, or what else is there.
func shellFor(plan *sandbox.Plan, sh string) []string {
	switch {
	case !visible(plan, sh):
		return []string{"/bin/sh"}
	case path.Base(sh) == "zsh" && !visible(plan, path.Join(plan.Caller.Home, ".zshrc")):
		// Where it has no settings, zsh asks who it takes for a new user about them;
		// in an empty home it would each time (zsh-newuser-install).
		return []string{sh, "-f"}
	}
	return []string{sh}
}

// shell runs the person's shell. Whether it can be seen inside only the plan
// can tell.
func shell(inv *cli.Invocation, ref string, o *options.Options) error {
	sh := hostShell()
	o.Env = append(marked(), o.Env...) // what the command line says is stronger
	return launch.Start(inv, ref, []string{sh}, o, func(plan *sandbox.Plan) { plan.Process.Argv = shellFor(plan, sh) })
}

// marked are variables that have an interactive shell say in its prompt where
// it is. bash runs the one before each prompt, zsh takes its prompt from the
// other unless a .zshrc sets it; other shells show the host's name, which inside
// is the sandbox's.
func marked() []string {
	return []string{`PROMPT_COMMAND=case $PS1 in "(sbx "*) ;; *) PS1="(sbx $SBX_NAME) $PS1" ;; esac`, "PROMPT=(sbx %m) %~ %# "}
}

// visible reports whether the host's program at p is at p inside as well.
func visible(plan *sandbox.Plan, p string) bool {
	st, err := os.Stat(p)
	return err == nil && !st.IsDir() && plan.Shows(p)
}
