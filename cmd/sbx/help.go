package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
)

func helpCommand() cli.Command {
	return cli.Command{
		Name: "help", Args: "[VERB]", Summary: "print help on sbx or on a verb",
		Long:    "Print what the verbs are, or everything about one of them. sbx VERB -h is shorter.",
		Example: "sbx help\nsbx help run\nsbx help profile show",
		Words: func(args []string) []cli.Candidate {
			return verbWords(args)
		},
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				verbs := commands()
				if len(inv.Args) == 0 {
					return overview(inv.Out, verbs)
				}
				c, rest := match(verbs, inv.Args)
				if c != nil && len(rest) == 0 {
					fs, _ := c.Set()
					return c.Write(inv.Out, cli.DescribeFlags(fs))
				}
				if c != nil {
					return cli.Usagef("%q is one argument too many; usage: sbx help [VERB]", rest[0])
				}
				if shown := family(inv.Out, verbs, inv.Args); shown {
					return nil
				}
				return unknownVerb(verbs, inv.Args)
			}
		},
	}
}

// parts are the headings of the overview, and the verbs that each comes before.
var parts = []struct{ heading, first string }{
	{"Sandboxes", "run"}, {"Sandboxes that run", "ps"}, {"Profiles and this host", "explain"}, {"Changes that are kept apart", "diff"},
	{"Volumes", "volume ls"}, {"Images", "image import"}, {"Networks", "net ls"}, {"Trust in a project's profile", "trust"},
	{"Every day", "wrap install"},
}

// overview lists the verbs.
func overview(w io.Writer, verbs []cli.Command) error {
	var b strings.Builder
	b.WriteString("sbx runs commands in rootless sandboxes that short TOML profiles describe.\n")
	for i := range verbs {
		if verbs[i].Hidden {
			continue
		}
		for _, p := range parts {
			if p.first == verbs[i].Name {
				fmt.Fprintf(&b, "\n%s:\n", p.heading)
			}
		}
		fmt.Fprintf(&b, "  %-16s %s\n", verbs[i].Name, verbs[i].Summary)
	}
	b.WriteString("\nsbx VERB -h explains a verb in short, sbx help VERB in full.\n" +
		"Try: sbx run -- ls; sbx explain; sbx doctor; sbx profile init\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// family lists the verbs of two words that begin with args.
func family(w io.Writer, verbs []cli.Command, args []string) bool {
	var b strings.Builder
	for i := range verbs {
		if len(args) == 1 && strings.HasPrefix(verbs[i].Name, args[0]+" ") {
			fmt.Fprintf(&b, "  sbx %-16s %s\n", verbs[i].Name, verbs[i].Summary)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err == nil && b.Len() > 0
}
