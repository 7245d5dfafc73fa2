package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The size of a terminal that help is written for.
const (
	HelpWidth = 80
	HelpLines = 24
)

// Help prints the short help of a verb: with a line for each flag if that fits
// on a screen, else with the flags alone.
func (c *Command) Help(w io.Writer) error {
	fs, _ := c.Set()
	var b strings.Builder
	if err := c.Write(&b, DescribeFlags(fs)); err != nil {
		return err
	}
	if strings.Count(b.String(), "\n") > HelpLines {
		b.Reset()
		if err := c.Write(&b, nameFlags(fs)); err != nil {
			return err
		}
		more := ""
		fs.VisitAll(func(f *pflag.Flag) {
			if rare(f) && !f.Hidden {
				more = ", and has more of them"
			}
		})
		fmt.Fprintf(&b, "\nsbx help %s explains the flags%s.\n", c.Name, more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Write prints usage, description, flags and examples.
func (c *Command) Write(w io.Writer, flags string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: sbx %s\n\n%s\n", c.Usage(), wrap(c.Long, "", HelpWidth))
	if flags != "" {
		b.WriteString("\n" + flags)
	}
	if c.Example != "" {
		b.WriteString("\nExamples:\n")
		for line := range strings.SplitSeq(c.Example, "\n") {
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

// Paragraphs is text in lines of a screen's width. An empty line parts paragraphs.
func Paragraphs(text string) string {
	var list []string
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		list = append(list, wrap(p, "", HelpWidth))
	}
	return strings.Join(list, "\n\n") + "\n"
}

// Group is a heading and its flags.
type Group struct {
	Name  string
	Flags []*pflag.Flag
}

// Groups sorts flags under their headings, in the order they were declared.
func Groups(fs *pflag.FlagSet) []Group {
	var list []Group
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := strings.Join(f.Annotations[InGroup], "")
		i := slices.IndexFunc(list, func(g Group) bool { return g.Name == name })
		if i < 0 {
			list = append(list, Group{Name: name})
			i = len(list) - 1
		}
		list[i].Flags = append(list[i].Flags, f)
	})
	return list
}

// takesValue reports whether a flag is no switch.
func takesValue(f *pflag.Flag) bool { return f.Value.Type() != "bool" }

// Spelled is a flag as usage shows it: "-m, --memory SIZE".
func Spelled(f *pflag.Flag) string {
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

// DescribeFlags gives each flag a line, or more.
func DescribeFlags(fs *pflag.FlagSet) string {
	var b strings.Builder
	list := Groups(fs)
	for i, g := range list {
		switch {
		case len(list) > 1:
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(g.Name + ":\n")
		default:
			b.WriteString("Flags:\n")
		}
		for _, f := range g.Flags {
			const column = 30
			name := Spelled(f)
			if f.Shorthand == "" {
				name = "    " + name
			}
			usage := wrap(f.Usage, strings.Repeat(" ", column), HelpWidth)
			if len(name)+4 > column {
				fmt.Fprintf(&b, "  %s\n%s\n", name, usage)
			} else {
				fmt.Fprintf(&b, "  %-*s%s\n", column-2, name, strings.TrimLeft(usage, " "))
			}
		}
	}
	return b.String()
}

// rare reports whether a flag is only in the full help.
func rare(f *pflag.Flag) bool {
	_, ok := f.Annotations[isRare]
	return ok
}

// nameFlags lists the flags of each heading in a line or two, but for the rare.
func nameFlags(fs *pflag.FlagSet) string {
	var b strings.Builder
	for _, g := range Groups(fs) {
		common := slices.DeleteFunc(slices.Clone(g.Flags), rare)
		if len(common) == 0 {
			continue
		}
		col := 9
		fmt.Fprintf(&b, "%-9s", g.Name)
		for i, f := range common {
			s := "--" + f.Name
			if f.Shorthand != "" {
				s = "-" + f.Shorthand + "|" + s
			}
			if takesValue(f) {
				s += "=" + f.Value.Type()
			}
			if i > 0 && col+1+len(s) > HelpWidth {
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
