package nets

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/slirp"
)

// NetTopCommand is the verb net top.
func NetTopCommand() cli.Command {
	return cli.Command{
		Name: "net top", Args: "[FLAGS] NAME", Summary: "show the connections of a sandbox and how fast they are, live",
		Long: "Show the connections that the sandbox NAME has, the fastest first, again and again on a terminal, else once. " +
			"Rates are of the last second. Only sbx-net knows connections: it is for networks that it makes (network.backend).",
		Example: "sbx net top web\nsbx net top --no-stream --format json web",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var format string
			once := false
			cli.AddSwitch(fs, &once, "no-stream", "", cli.GroupOutput, "once, and no more")
			cli.FormatFlag(fs, &format, "")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(1); err != nil {
					return err
				}
				return netTop(inv, once || !screen.IsTerminal(inv.Out), format)
			}
		},
	}
}

func netTop(inv *cli.Invocation, once bool, format string) error {
	c, err := Connect(inv)
	if err != nil {
		return err
	}
	defer c.Close()
	usage, err := c.Ask(slirp.Request{Op: slirp.OpUsage})
	if err != nil {
		return err
	}
	if usage.Usage == nil {
		return errors.New("this sandbox's network is made by a program that tells of no connections; with network.backend = \"engine\" there is sbx net top")
	}
	if _, err := c.Ask(slirp.Request{Op: slirp.OpFlows}); err != nil { // a rate takes two looks
		return err
	}
	for {
		time.Sleep(time.Second)
		answer, err := c.Ask(slirp.Request{Op: slirp.OpFlows})
		if err != nil {
			return err
		}
		flows := answer.Flows
		slices.SortStableFunc(flows, func(a, b slirp.Flow) int { return cmp.Compare(b.OutRate+b.InRate, a.OutRate+a.InRate) })
		if !once && format == "" {
			fmt.Fprint(inv.Out, "\x1b[H\x1b[2J") // ECMA-48: the cursor home, erase the page
		}
		if err := cli.List(inv, flows, format, flowsTable); err != nil || once {
			return err
		}
	}
}

func flowsTable(flows []slirp.Flow) [][]string {
	rows := [][]string{{"CONNECTION", "DESTINATION", "OUT/S", "IN/S", "OUT", "IN", "SINCE", "RULE"}}
	for _, f := range flows {
		rows = append(rows, []string{
			f.Protocol, flowTarget(f), screen.SizeText(f.OutRate), screen.SizeText(f.InRate), screen.SizeText(f.Out), screen.SizeText(f.In),
			time.Since(f.Since).Round(time.Second).String(), f.Rule,
		})
	}
	return rows
}

// flowTarget is where a connection leads to, or for one to a published port, where
// it comes from.
func flowTarget(f slirp.Flow) string {
	switch {
	case f.Inbound:
		return "from " + f.Source.String()
	case f.Name != "":
		return f.Name + " " + f.Target.String()
	}
	return f.Target.String()
}
