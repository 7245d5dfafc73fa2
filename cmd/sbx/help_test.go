package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

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
		if err := verbs[i].help(&short); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(short.String(), "\n"); n > helpLines {
			t.Errorf("sbx %s -h has %d lines:\n%s", verbs[i].name, n, &short)
		}
		texts[verbs[i].name+" -h"] = short.String()
		if !verbs[i].hidden {
			_, full, _ := call(append([]string{"help"}, strings.Fields(verbs[i].name)...)...)
			texts["help "+verbs[i].name] = full
		}
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > helpWidth {
				t.Errorf("sbx %s: wider than %d: %s", name, helpWidth, line)
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
		if c.name == "" || c.summary == "" || c.long == "" || c.flags == nil || c.example == "" {
			t.Errorf("%q is incomplete", c.name)
		}
		if n := strings.Count(c.example, "\n") + 1; n > 3 {
			t.Errorf("%s has %d examples", c.name, n)
		}
		fs, run := c.set()
		if run == nil {
			t.Errorf("%s does nothing", c.name)
		}
		fs.VisitAll(func(f *pflag.Flag) {
			if len(f.Annotations[inGroup]) == 0 || f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: group %q, usage %q", c.name, f.Name, f.Annotations[inGroup], f.Usage)
			}
		})
	}
}

// TestExamples: the examples of help parse, and name profiles that exist.
func TestExamples(t *testing.T) {
	alone(t)
	verbs := commands()
	for i := range verbs {
		for line := range strings.SplitSeq(verbs[i].example, "\n") {
			words := strings.Fields(line)
			if words[0] != "sbx" {
				t.Errorf("%q is no call of sbx", line)
				continue
			}
			c, rest := match(verbs, words[1:])
			if c == nil || c.name != verbs[i].name {
				t.Errorf("%q is no example of %s", line, verbs[i].name)
				continue
			}
			fs, _ := c.set()
			if err := fs.Parse(rest); err != nil {
				t.Errorf("%q: %v", line, flagError(fs, err))
			}
			if !c.runs && c.name != "explain" && c.name != "profile show" {
				continue
			}
			inv := invocation{args: fs.Args(), dash: fs.ArgsLenAtDash(), verb: c}
			ref, _, err := inv.profileAndCommand()
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
	run := runCommand()
	fs, _ := run.set()
	for _, f := range foreign {
		if fs.Lookup(f.long) != nil || f.short != "" && fs.ShorthandLookup(f.short) != nil {
			t.Errorf("--%s, -%s is a flag of run", f.long, f.short)
		}
	}
}

func TestWrap(t *testing.T) {
	if got, want := wrap("aa bb  cc\ndd", "  ", 8), "  aa bb\n  cc dd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
