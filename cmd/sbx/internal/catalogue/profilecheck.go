package catalogue

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

// CheckCommand is the verb profile check.
func CheckCommand() cli.Command {
	return cli.Command{
		Name: "profile check", Args: "[FLAGS] [PROFILE...]", Summary: "check profiles and name every mistake",
		Long: "Read profiles and everything they extend, and list what is wrong with them. " +
			"The exit status is 0 when nothing is and 1 when something is.",
		Example: "sbx profile check\nsbx profile check build strict\nsbx profile check --format=json",
		Words:   func([]string) []cli.Candidate { return cli.ProfileNames() },
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, cli.AnyNumber, checkProfiles)
		},
	}
}

func checkProfiles(inv *cli.Invocation, asJSON bool) error {
	refs := inv.Args
	if len(refs) == 0 {
		refs = []string{""}
	}
	found := []cli.Problem{}
	for _, ref := range refs {
		prof, err := inv.Load(ref)
		if err == nil { // what can be told of system calls without a host
			_, err = resolve.Policy(&prof.Security, nil)
		}
		if err != nil {
			found = append(found, inv.Problems(err)...)
		}
	}
	if len(found) > 0 {
		inv.Status = cli.ExitFound
	}
	if asJSON {
		return inv.PrintJSON(cli.Failure{Schema: 1, Code: inv.Status, Errors: found})
	}
	for _, p := range found {
		fmt.Fprintln(inv.Out, p)
	}
	return nil
}
