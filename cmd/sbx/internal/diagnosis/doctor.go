// Package diagnosis says what this host can do.
package diagnosis

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/host/doctor"
)

// DoctorCommand is the verb doctor.
func DoctorCommand() cli.Command {
	return cli.Command{
		Name: "doctor", Args: "[FLAGS]", Summary: "say what this host can enforce, and how to mend what it can't",
		Long: "Try each capability of the host that sandboxes need or may use, and print what was found, why, and the exact fix. " +
			"The exit status is 0 if a sandbox can be started and 1 if not.",
		Example: "sbx doctor\nsbx doctor --json\nsbx doctor --fix-text",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			asJSON, asScript := false, false
			cli.AddSwitch(fs, &asJSON, "json", "", cli.GroupOutput, "as JSON")
			cli.AddSwitch(fs, &asScript, "fix-text", "", cli.GroupOutput, "print the commands that an administrator would run for what is missing, and run none")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				if asScript {
					return remedy(inv)
				}
				return report(inv, asJSON)
			}
		},
	}
}

// remedy prints what an administrator would do.
func remedy(inv *cli.Invocation) error {
	facts, err := host.Probe(true)
	if err == nil {
		_, err = fmt.Fprint(inv.Out, screen.Printable(doctor.Remedy(doctor.Examine(facts), doctor.Installer())))
	}
	return err
}

func report(inv *cli.Invocation, asJSON bool) error {
	facts, err := host.Probe(true)
	if err != nil {
		return err
	}
	checks := doctor.Examine(facts)
	startable := doctor.Startable(checks)
	if !startable {
		inv.Status = cli.ExitFound
	}
	if asJSON {
		return inv.PrintJSON(struct {
			Schema    int            `json:"schema"`
			Startable bool           `json:"startable"`
			Checks    []doctor.Check `json:"checks"`
		}{1, startable, checks})
	}
	for _, c := range checks {
		check(inv, c)
	}
	verdict := "sandboxes can be started here"
	if !startable {
		verdict = "no sandbox can be started here: mend what is required and missing"
		if doctor.Falls(checks) {
			verdict = "no sandbox with namespaces can be started here: mend what is required and missing, " +
				"or set security.fallback = \"landlock\" in a profile that can do without; sbx explain then says what is lost"
		}
	}
	_, err = fmt.Fprintln(inv.Out, "\n"+verdict)
	return err
}

// check prints one capability, and below it how to get it.
func check(inv *cli.Invocation, c doctor.Check) {
	colour := map[string]string{doctor.CheckOK: screen.Green, doctor.CheckDegraded: screen.Yellow, doctor.CheckMissing: screen.Red}[c.State]
	name := c.Name
	if c.Required && c.State != doctor.CheckOK {
		name += " (required)"
	}
	line := screen.Paint(inv.Out, colour, fmt.Sprintf("%-9s", c.State)) + name
	if c.Why != "" {
		line += ": " + screen.Printable(c.Why)
	}
	fmt.Fprintln(inv.Out, line)
	if c.State == doctor.CheckOK || c.Fix == "" {
		return
	}
	for i, l := range strings.Split(strings.TrimSpace(c.Fix), "\n") {
		if i == 0 {
			l = "fix: " + l
		}
		fmt.Fprintf(inv.Out, "         %s\n", screen.Printable(l))
	}
}
