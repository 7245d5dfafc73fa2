package main

import (
	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/sandbox/host"
)

func probeCommand() command {
	return command{
		name: host.ProbeVerb, args: "NAME", hidden: true, summary: "try one thing in a new namespace, for doctor",
		long:    "Try what doctor asks about, in the namespaces that it was started in, and print the outcome.",
		example: "sbx " + host.ProbeVerb + " namespaces",
		flags: func(*pflag.FlagSet) func(*invocation) error {
			return func(inv *invocation) error {
				if len(inv.args) != 1 {
					return usagef("usage: sbx %s NAME", host.ProbeVerb)
				}
				return host.Try(inv.args[0], inv.out)
			}
		},
	}
}
