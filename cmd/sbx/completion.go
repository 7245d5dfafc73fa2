package main

import (
	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/completions"
)

func completionCommand() command {
	return command{
		name: "completion", args: "SHELL", summary: "print the completion script of a shell",
		long: "Print the script that completes sbx's command line in bash, zsh or fish. For bash: append to ~/.bashrc the line " +
			"source <(sbx completion bash). For zsh: save it as _sbx in a directory of $fpath. " +
			"For fish: save it as ~/.config/fish/completions/sbx.fish.",
		example: "sbx completion bash\nsbx completion fish",
		words: func(args []string) []candidate {
			if len(args) > 0 {
				return nil
			}
			return []candidate{{"bash", ""}, {"zsh", ""}, {"fish", ""}}
		},
		flags: func(*pflag.FlagSet) func(*invocation) error {
			return func(inv *invocation) error {
				if len(inv.args) == 0 {
					return usagef("completion for which shell? bash, zsh or fish")
				}
				if err := inv.max(1); err != nil {
					return err
				}
				script := completions.Script(inv.args[0])
				if script == "" {
					return usagef("no completion for %q%s, use bash, zsh or fish", inv.args[0], meant(inv.args[0], []string{"bash", "zsh", "fish"}))
				}
				_, err := inv.out.Write([]byte(script))
				return err
			}
		},
	}
}
