package shells

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/completions"
	"github.com/sbx-sandbox/sbx/profiles"
)

// HookCommand is the verb hook.
func HookCommand() cli.Command {
	return cli.Command{
		Name: "hook", Args: "SHELL", Summary: "print what has a shell go into projects' sandboxes",
		Long: "Print the lines that have bash, zsh or fish look for a .sbx.toml whenever the directory has changed. In a project whose profile " +
			"is trusted, or asks for nothing, they start sbx shell there; exit leaves it, and nosbx stays outside until the project " +
			"is left. In one whose profile is new or has changed they say so and do nothing. For bash and zsh: " +
			"eval \"$(sbx hook bash)\" at the end of ~/.bashrc or ~/.zshrc; for fish: sbx hook fish | source in config.fish.",
		Example: "sbx hook bash\nsbx hook fish",
		Words:   shells,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if len(inv.Args) == 1 && inv.Args[0] == "state" {
					return hookState(inv)
				}
				script, err := shellScript(inv, completions.Hook)
				if err != nil || cli.InSandbox() {
					return err
				}
				_, err = io.WriteString(inv.Out, script)
				return err
			}
		},
	}
}

// hookState prints, for the scripts, what there is at the current directory:
// none, trusted or untrusted, and in a second line the project's directory. What
// is to be agreed to, or mended, is said on standard error.
func hookState(inv *cli.Invocation) error {
	env := profiles.HostEnv()
	path, ok, err := profiles.Discover(env.Cwd, env)
	if err != nil || !ok || cli.InSandbox() || strings.ContainsAny(path, "\n\r") { // the scripts read lines
		_, _ = fmt.Fprint(inv.Out, "none\n\n")
		return err
	}
	state := "trusted"
	p, err := profiles.Load(profiles.Ref{Path: path}, env)
	if err == nil {
		inv.Profile = p
		err = profiles.CheckTrust(p, nil, env)
	}
	var untrusted *profiles.UntrustedError
	switch {
	case errors.As(err, &untrusted):
		state = "untrusted"
		err = inv.Say("%s asks for more than your own profile grants, and commands run outside; sbx trust --show lists what, sbx trust agrees", screen.Near(path))
	case err != nil:
		state = "untrusted"
	}
	_, _ = fmt.Fprintf(inv.Out, "%s\n%s\n", state, filepath.Dir(path))
	return err
}
