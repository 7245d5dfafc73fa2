package main

import (
	"os"
	"runtime"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/shells"
)

// superviseCommand is what detach starts.
func superviseCommand() cli.Command {
	return cli.Command{
		Name: "__supervise", Args: "FD VERB ARG...", Hidden: true, Strict: true, Runs: true, Summary: "stand by a detached sandbox",
		Long:    "Run a sandbox in the background of who started it. For sbx run --detach and sbx up, which follow the descriptor that the id is written to.",
		Example: "sbx __supervise 3 run -- true",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				report := -1
				c := launch.RunCommand()
				if len(inv.Args) > 1 {
					if inv.Args[1] == "up" {
						c = shells.UpCommand()
					}
					if fd, err := strconv.Atoi(inv.Args[0]); err == nil && fd > 2 {
						report = fd
					}
				}
				if report < 0 || inv.Args[1] != c.Name {
					return cli.Usagef("this verb is for sbx run --detach and sbx up")
				}
				var err error
				if inv.Back, err = launch.NewBackground(report, inv.Args[2:]); err != nil {
					return err
				}
				inv.Err = os.NewFile(uintptr(inv.Back.Stderr), "stderr")
				// All that a supervisor does happens on one thread. With room for more, the
				// runtime wakes another at each system call that took a while, which was a
				// third of what sbx exec took.
				runtime.GOMAXPROCS(1)
				inv.Verb = &c
				return c.Call(inv.Args[2:], inv)
			}
		},
	}
}
