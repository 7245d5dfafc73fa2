package main

import (
	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/changes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/userns"
)

func amongCommand() cli.Command {
	return cli.Command{
		Name: changes.AmongVerb, Args: "MODE VERB [ARG...]", Hidden: true, Strict: true, Raw: true, Summary: "another verb in a user namespace",
		Long:    "Do another verb in a user namespace that sbx has made for it.",
		Example: "sbx __among single diff",
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if len(inv.Args) < 2 {
					return cli.Usagef("which verb?")
				}
				if inv.Args[0] == "range" {
					if err := userns.Await(); err != nil {
						return err
					}
				}
				inv.Among = true
				return dispatch(inv, inv.Args[1:])
			}
		},
	}
}
