package shells

import (
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/completions"
)

// CompletionCommand is the verb completion.
func CompletionCommand() cli.Command {
	return cli.Command{
		Name: "completion", Args: "SHELL", Summary: "print the completion script of a shell",
		Long: "Print the script that completes sbx's command line in bash, zsh or fish. For bash: append to ~/.bashrc the line " +
			"source <(sbx completion bash). For zsh: save it as _sbx in a directory of $fpath. " +
			"For fish: save it as ~/.config/fish/completions/sbx.fish.",
		Example: "sbx completion bash\nsbx completion fish",
		Words:   shells,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				script, err := shellScript(inv, completions.Script)
				if err != nil {
					return err
				}
				_, err = io.WriteString(inv.Out, script)
				return err
			}
		},
	}
}

// shells are those that there are scripts for, as the only argument of a verb.
func shells(args []string) []cli.Candidate {
	if len(args) > 0 {
		return nil
	}
	var list []cli.Candidate
	for _, name := range completions.Shells {
		list = append(list, cli.Candidate{Word: name})
	}
	return list
}

// shellScript finds the script for the shell that is the verb's only argument.
func shellScript(inv *cli.Invocation, find func(shell string) string) (string, error) {
	known := strings.Join(completions.Shells, ", ")
	if len(inv.Args) == 0 {
		return "", cli.Usagef("%s for which shell? one of %s", inv.Verb.Name, known)
	}
	if err := inv.Max(1); err != nil {
		return "", err
	}
	script := find(inv.Args[0])
	if script == "" {
		return "", cli.Usagef("no %s for %q%s; one of %s", inv.Verb.Name, inv.Args[0], cli.Meant(inv.Args[0], completions.Shells), known)
	}
	return script, nil
}
