package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/profiles"
)

// TestHelpWidth: the short help of every verb fits on a screen of 80x24, and
// no line of any help is wider.
func TestHelpWidth(t *testing.T) {
	verbs := commands()
	texts := map[string]string{}
	var b bytes.Buffer
	if err := overview(&b, verbs); err != nil {
		t.Fatal(err)
	}
	texts["help"] = b.String()
	for i := range verbs {
		var short bytes.Buffer
		if err := verbs[i].Help(&short); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(short.String(), "\n"); n > cli.HelpLines {
			t.Errorf("sbx %s -h has %d lines:\n%s", verbs[i].Name, n, &short)
		}
		texts[verbs[i].Name+" -h"] = short.String()
		if !verbs[i].Hidden {
			_, full, _ := call(append([]string{"help"}, strings.Fields(verbs[i].Name)...)...)
			texts["help "+verbs[i].Name] = full
		}
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > cli.HelpWidth {
				t.Errorf("sbx %s: wider than %d: %s", name, cli.HelpWidth, line)
			}
			if strings.HasSuffix(line, " \n") {
				t.Errorf("sbx %s: blanks at the end of %q", name, line)
			}
		}
	}
}

// TestTable: every verb says what it is, and its flags have headings.
func TestTable(t *testing.T) {
	for _, c := range commands() {
		if c.Name == "" || c.Summary == "" || c.Long == "" || c.Flags == nil || c.Example == "" {
			t.Errorf("%q is incomplete", c.Name)
		}
		if n := strings.Count(c.Example, "\n") + 1; n > 3 {
			t.Errorf("%s has %d examples", c.Name, n)
		}
		fs, run := c.Set()
		if run == nil {
			t.Errorf("%s does nothing", c.Name)
		}
		fs.VisitAll(func(f *pflag.Flag) {
			if len(f.Annotations[cli.InGroup]) == 0 || f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: group %q, usage %q", c.Name, f.Name, f.Annotations[cli.InGroup], f.Usage)
			}
		})
	}
}

// TestExamples: the examples of help parse, and name profiles that exist.
func TestExamples(t *testing.T) {
	alone(t)
	verbs := commands()
	for i := range verbs {
		for line := range strings.SplitSeq(verbs[i].Example, "\n") {
			words := strings.Fields(line)
			if words[0] != "sbx" {
				t.Errorf("%q is no call of sbx", line)
				continue
			}
			c, rest := match(verbs, words[1:])
			if c == nil || c.Name != verbs[i].Name {
				t.Errorf("%q is no example of %s", line, verbs[i].Name)
				continue
			}
			if c.Raw { // another program's arguments
				continue
			}
			fs, _ := c.Set()
			if err := fs.Parse(rest); err != nil {
				t.Errorf("%q: %v", line, cli.FlagError(fs, err))
			}
			if c.Name == "exec" || c.Name == "attach" || c.Name == "__supervise" || !c.Runs && c.Name != "explain" && c.Name != "profile show" {
				continue
			}
			inv := cli.Invocation{Args: fs.Args(), Dash: fs.ArgsLenAtDash(), Verb: c}
			ref, _, err := inv.ProfileAndCommand()
			if err != nil {
				t.Errorf("%q: %v", line, err)
			}
			if ref != "" {
				if _, err := profiles.Find(ref, profiles.HostEnv()); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
		}
	}
}

// TestForeign: advice is only for flags that run does not have.
func TestForeign(t *testing.T) {
	run := launch.RunCommand()
	fs, _ := run.Set()
	for _, f := range cli.Foreign {
		if fs.Lookup(f.Long) != nil || f.Short != "" && fs.ShorthandLookup(f.Short) != nil {
			t.Errorf("--%s, -%s is a flag of run", f.Long, f.Short)
		}
	}
}
