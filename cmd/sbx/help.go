package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The size of a terminal that help is written for.
const (
	helpWidth = 80
	helpLines = 24
)

func helpCommand() command {
	return command{
		name: "help", args: "[VERB]", summary: "print help on sbx or on a verb",
		long:    "Print what the verbs are, or everything about one of them. sbx VERB -h is shorter.",
		example: "sbx help\nsbx help run\nsbx help profile show",
		words: func(args []string) []candidate {
			return verbWords(args)
		},
		flags: func(*pflag.FlagSet) func(*invocation) error {
			return func(inv *invocation) error {
				verbs := commands()
				if len(inv.args) == 0 {
					return overview(inv.out, verbs)
				}
				c, rest := match(verbs, inv.args)
				if c != nil && len(rest) == 0 {
					fs, _ := c.set()
					return c.write(inv.out, describeFlags(fs))
				}
				if c != nil {
					return usagef("%q is one argument too many; usage: sbx help [VERB]", rest[0])
				}
				if shown := family(inv.out, verbs, inv.args); shown {
					return nil
				}
				return unknownVerb(verbs, inv.args)
			}
		},
	}
}

// overview lists the verbs.
func overview(w io.Writer, verbs []command) error {
	var b strings.Builder
	b.WriteString("sbx runs commands in rootless sandboxes that short TOML profiles describe.\n\n")
	for i := range verbs {
		if !verbs[i].hidden {
			fmt.Fprintf(&b, "  %-15s %s\n", verbs[i].name, verbs[i].summary)
		}
	}
	b.WriteString("\nsbx VERB -h explains a verb in short, sbx help VERB in full.\n" +
		"Try: sbx run -- ls; sbx explain; sbx doctor; sbx profile init\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// family lists the verbs of two words that begin with args.
func family(w io.Writer, verbs []command, args []string) bool {
	var b strings.Builder
	for i := range verbs {
		if len(args) == 1 && strings.HasPrefix(verbs[i].name, args[0]+" ") {
			fmt.Fprintf(&b, "  sbx %-15s %s\n", verbs[i].name, verbs[i].summary)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err == nil && b.Len() > 0
}

// help prints the short help of a verb: with a line for each flag if that fits
// on a screen, else with the flags alone.
func (c *command) help(w io.Writer) error {
	fs, _ := c.set()
	var b strings.Builder
	if err := c.write(&b, describeFlags(fs)); err != nil {
		return err
	}
	if strings.Count(b.String(), "\n") > helpLines {
		b.Reset()
		if err := c.write(&b, nameFlags(fs)); err != nil {
			return err
		}
		fmt.Fprintf(&b, "\nsbx help %s explains the flags.\n", c.name)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// write prints usage, description, flags and examples.
func (c *command) write(w io.Writer, flags string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: sbx %s\n\n%s\n", c.usage(), wrap(c.long, "", helpWidth))
	if flags != "" {
		b.WriteString("\n" + flags)
	}
	if c.example != "" {
		b.WriteString("\nExamples:\n")
		for line := range strings.SplitSeq(c.example, "\n") {
			b.WriteString("  " + line + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks text into lines of at most width columns, each after indent.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	col := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case col == 0:
			b.WriteString(indent)
			col = len(indent)
		case col+1+len(word) > width:
			b.WriteString("\n" + indent)
			col = len(indent)
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}

// group is a heading and its flags.
type group struct {
	name  string
	flags []*pflag.Flag
}

// groups sorts flags under their headings, in the order they were declared.
func groups(fs *pflag.FlagSet) []group {
	var list []group
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := strings.Join(f.Annotations[inGroup], "")
		i := slices.IndexFunc(list, func(g group) bool { return g.name == name })
		if i < 0 {
			list = append(list, group{name: name})
			i = len(list) - 1
		}
		list[i].flags = append(list[i].flags, f)
	})
	return list
}

// takesValue reports whether a flag is no switch.
func takesValue(f *pflag.Flag) bool { return f.Value.Type() != "bool" }

// spelled is a flag as usage shows it: "-m, --memory SIZE".
func spelled(f *pflag.Flag) string {
	s := "--" + f.Name
	if f.Shorthand != "" {
		s = "-" + f.Shorthand + ", " + s
	}
	switch {
	case !takesValue(f):
	case f.NoOptDefVal != "":
		s += "[=" + f.Value.Type() + "]"
	default:
		s += " " + f.Value.Type()
	}
	return s
}

// describeFlags gives each flag a line, or more.
func describeFlags(fs *pflag.FlagSet) string {
	var b strings.Builder
	list := groups(fs)
	for i, g := range list {
		switch {
		case len(list) > 1:
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(g.name + ":\n")
		default:
			b.WriteString("Flags:\n")
		}
		for _, f := range g.flags {
			const column = 30
			name := spelled(f)
			if f.Shorthand == "" {
				name = "    " + name
			}
			usage := wrap(f.Usage, strings.Repeat(" ", column), helpWidth)
			if len(name)+4 > column {
				fmt.Fprintf(&b, "  %s\n%s\n", name, usage)
			} else {
				fmt.Fprintf(&b, "  %-*s%s\n", column-2, name, strings.TrimLeft(usage, " "))
			}
		}
	}
	return b.String()
}

// nameFlags lists the flags of each heading in a line or two.
func nameFlags(fs *pflag.FlagSet) string {
	var b strings.Builder
	for _, g := range groups(fs) {
		col := 9
		fmt.Fprintf(&b, "%-9s", g.name)
		for i, f := range g.flags {
			s := "--" + f.Name
			if f.Shorthand != "" {
				s = "-" + f.Shorthand + "|" + s
			}
			if takesValue(f) {
				s += "=" + f.Value.Type()
			}
			if i > 0 && col+1+len(s) > helpWidth {
				b.WriteString("\n" + strings.Repeat(" ", 9))
				col = 9
			} else if i > 0 {
				b.WriteByte(' ')
				col++
			}
			b.WriteString(s)
			col += len(s)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
