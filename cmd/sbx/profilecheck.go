package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

func profileCheckCommand() command {
	return command{
		name: "profile check", args: "[FLAGS] [PROFILE...]", summary: "check profiles and name every mistake",
		long: "Read profiles and everything they extend, and list what is wrong with them. " +
			"The exit status is 0 when nothing is and 1 when something is.",
		example: "sbx profile check\nsbx profile check build strict\nsbx profile check --format=json",
		words:   func([]string) []candidate { return profileNames() },
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			format := "text"
			addWord(fs, &format, "format", "FORM", gOutput, "text or json", "text", "json")
			return func(inv *invocation) error { return inv.checkProfiles(format == "json") }
		},
	}
}

func (inv *invocation) checkProfiles(asJSON bool) error {
	refs := inv.args
	if len(refs) == 0 {
		refs = []string{""}
	}
	found := []problem{}
	for _, ref := range refs {
		prof, err := inv.load(ref)
		if err == nil { // what can be told of system calls without a host
			_, err = resolve.Policy(&prof.Security, nil)
		}
		if err != nil {
			found = append(found, inv.problems(err)...)
		}
	}
	if len(found) > 0 {
		inv.status = exitFound
	}
	if asJSON {
		return inv.printJSON(failure{Schema: 1, Code: inv.status, Errors: found})
	}
	for _, p := range found {
		fmt.Fprintln(inv.out, p)
	}
	return nil
}
