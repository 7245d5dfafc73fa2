package diagnosis

import (
	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/sandbox/host/doctor"
)

// ProbeCommand is the hidden verb by which doctor tries things.
func ProbeCommand() cli.Command {
	return cli.Command{
		Name: doctor.ProbeVerb, Args: "NAME", Hidden: true, Summary: "try one thing in a new namespace, for doctor",
		Long:    "Try what doctor asks about, in the namespaces that it was started in, and print the outcome.",
		Example: "sbx " + doctor.ProbeVerb + " namespaces",
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if len(inv.Args) != 1 {
					return cli.Usagef("usage: sbx %s NAME", doctor.ProbeVerb)
				}
				return doctor.Try(inv.Args[0], inv.Out)
			}
		},
	}
}
