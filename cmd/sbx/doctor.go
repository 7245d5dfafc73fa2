package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/sandbox/host"
)

func doctorCommand() command {
	return command{
		name: "doctor", args: "[FLAGS]", summary: "say what this host can enforce, and how to mend what it can't",
		long: "Try each capability of the host that sandboxes need or may use, and print what was found, why, and the exact fix. " +
			"The exit status is 0 if a sandbox can be started and 1 if not.",
		example: "sbx doctor\nsbx doctor --json",
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			asJSON := false
			addSwitch(fs, &asJSON, "json", "", gOutput, "as JSON")
			return func(inv *invocation) error {
				if err := inv.max(0); err != nil {
					return err
				}
				return inv.doctor(asJSON)
			}
		},
	}
}

func (inv *invocation) doctor(asJSON bool) error {
	facts, err := host.Probe(true)
	if err != nil {
		return err
	}
	checks := host.Doctor(facts)
	startable := host.Startable(checks)
	if !startable {
		inv.status = exitFound
	}
	if asJSON {
		return inv.printJSON(struct {
			Schema    int          `json:"schema"`
			Startable bool         `json:"startable"`
			Checks    []host.Check `json:"checks"`
		}{1, startable, checks})
	}
	for _, c := range checks {
		inv.check(c)
	}
	verdict := "sandboxes can be started here"
	if !startable {
		verdict = "no sandbox can be started here: mend what is required and missing"
	}
	_, err = fmt.Fprintln(inv.out, "\n"+verdict)
	return err
}

// check prints one capability, and below it how to get it.
func (inv *invocation) check(c host.Check) {
	colour := map[string]string{host.CheckOK: green, host.CheckDegraded: yellow, host.CheckMissing: red}[c.State]
	name := c.Name
	if c.Required && c.State != host.CheckOK {
		name += " (required)"
	}
	line := paint(inv.out, colour, fmt.Sprintf("%-9s", c.State)) + name
	if c.Why != "" {
		line += ": " + printable(c.Why)
	}
	fmt.Fprintln(inv.out, line)
	if c.State == host.CheckOK || c.Fix == "" {
		return
	}
	for i, l := range strings.Split(strings.TrimSpace(c.Fix), "\n") {
		if i == 0 {
			l = "fix: " + l
		}
		fmt.Fprintf(inv.out, "         %s\n", printable(l))
	}
}
