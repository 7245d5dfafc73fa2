package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/docs"
)

func helpCommand() cli.Command {
	return cli.Command{
		Name: "help", Args: "[VERB | errors [KIND]]", Summary: "print help on sbx or on a verb",
		Long: "Print what the verbs are, or everything about one of them. sbx VERB -h is shorter. " +
			"After errors, what a kind of error means and what there is to do, or all kinds.",
		Example: "sbx help\nsbx help profile show\nsbx help errors trust",
		Words: func(args []string) []cli.Candidate {
			switch {
			case len(args) == 0:
				return append(verbWords(args), cli.Candidate{Word: errorsTopic, Doc: "what went wrong, by kind"})
			case len(args) == 1 && args[0] == errorsTopic:
				var list []cli.Candidate
				for _, p := range docs.Errors()[1:] {
					list = append(list, cli.Candidate{Word: p.Name})
				}
				return list
			}
			return verbWords(args)
		},
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				verbs := commands()
				if len(inv.Args) == 0 {
					return overview(inv.Out, verbs)
				}
				if inv.Args[0] == errorsTopic {
					return aboutErrors(inv, inv.Args[1:])
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

const errorsTopic = "errors"

// aboutErrors prints the section about the kind of error that is named, or all.
func aboutErrors(inv *cli.Invocation, kind []string) error {
	if len(kind) > 1 {
		return cli.Usagef("%q is one argument too many; usage: sbx help errors [KIND]", kind[1])
	}
	var b strings.Builder
	var known []string
	pages := docs.Errors()
	if len(kind) == 0 {
		b.WriteString(cli.Paragraphs(pages[0].Text))
	}
	for _, p := range pages[1:] {
		known = append(known, p.Name)
		switch {
		case len(kind) == 0:
			fmt.Fprintf(&b, "\n%s:\n%s", p.Name, cli.Paragraphs(p.Text))
		case kind[0] == p.Name:
			b.WriteString(cli.Paragraphs(p.Text))
		}
	}
	if b.Len() == 0 {
		return cli.Usagef("no kind of error is called %q%s; there are %s", kind[0], cli.Meant(kind[0], known), strings.Join(known, ", "))
	}
	_, err := io.WriteString(inv.Out, b.String())
	return err
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
