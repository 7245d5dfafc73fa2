package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/images"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/nets"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
)

func completeCommand() cli.Command {
	return cli.Command{
		Name: "__complete", Args: "-- WORD...", Hidden: true, Strict: true, Summary: "candidates for the last word of a command line",
		Long:    "Print what could stand in place of the last word, a line each, with a description after a tab. For the scripts of completion.",
		Example: "sbx __complete -- run --ne",
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				for _, c := range candidates(inv.Args) {
					if c.Doc == "" {
						fmt.Fprintln(inv.Out, screen.Printable(c.Word))
					} else {
						fmt.Fprintf(inv.Out, "%s\t%s\n", screen.Printable(c.Word), screen.Printable(c.Doc))
					}
				}
				return nil
			}
		},
	}
}

// candidates are those for the last of words; the ones before it stand.
func candidates(words []string) []cli.Candidate {
	if len(words) == 0 {
		return nil
	}
	before, word := words[:len(words)-1], words[len(words)-1]
	verbs := commands()
	var c *cli.Command
	if len(before) > 0 {
		c, before = match(verbs, before)
	}
	if c == nil {
		return starting(word, verbWords(before))
	}
	fs, _ := c.Set()
	pos := parse(fs, c.Strict, before)
	switch {
	case pos.command:
		return []cli.Candidate{{Word: fmt.Sprintf("@command %d", pos.start)}}
	case pos.value != nil:
		return flagValues(word, "", pos.value)
	case strings.HasPrefix(word, "--") && strings.Contains(word, "=") && !pos.ended:
		name, value, _ := strings.Cut(word, "=")
		if f := fs.Lookup(name[2:]); f != nil {
			return flagValues(value, name+"=", f)
		}
		return nil
	case strings.HasPrefix(word, "-") && !pos.ended:
		return starting(word, flagWords(fs))
	case c.Words != nil:
		return starting(word, c.Words(pos.args))
	}
	return nil
}

// position is where a cursor is on a command line.
type position struct {
	args    []string    // arguments before it
	value   *pflag.Flag // it is at this flag's value
	ended   bool        // no flag can follow
	command bool        // it is in the command line of another program,
	start   int         // of which so many words stand before it
}

// parse walks over the words before the cursor as pflag does.
func parse(fs *pflag.FlagSet, strict bool, words []string) (p position) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "--":
			if fs.Name() == "run" || fs.Name() == "explain" {
				p.command, p.start = true, len(words)-i-1
				return p
			}
			p.ended = true
		case !p.ended && len(w) > 1 && w[0] == '-':
			f := cli.ValueFlag(fs, w)
			if f == nil {
				continue
			}
			if i++; i == len(words) {
				p.value = f
				return p
			}
		default:
			p.args = append(p.args, w)
			if strict && len(words) > i+1 && words[i+1] != "--" {
				p.command, p.start = true, len(words)-i-1
				return p
			}
			p.ended = p.ended || strict
		}
	}
	return p
}

// starting are the candidates that begin with word; those for the shell stay.
func starting(word string, list []cli.Candidate) []cli.Candidate {
	return slices.DeleteFunc(slices.Clone(list), func(c cli.Candidate) bool { return c.Word[0] != '@' && !strings.HasPrefix(c.Word, word) })
}

// families say what the verbs of two words that begin with the same are for.
var families = map[string]string{
	"profile":  "list, print, make and check profiles",
	"overlay":  "list and remove the changes that are kept",
	"volume":   "list and remove named volumes",
	"image":    "take in, list, name, export and remove images",
	"network":  "make, list and remove networks that sandboxes share",
	"net":      "look at the network of a sandbox that runs, and change its rules",
	"wrap":     "have programs run in a sandbox by their own names",
	"editor":   "have an editor use the project's sandbox",
	"generate": "print or write what runs a sandbox elsewhere",
}

// verbWords are the verbs, or the second words of one.
func verbWords(before []string) []cli.Candidate {
	var list []cli.Candidate
	for _, c := range commands() {
		first, second, two := strings.Cut(c.Name, " ")
		switch {
		case c.Hidden || len(before) > 1:
		case len(before) == 1 && two && first == before[0]:
			list = append(list, cli.Candidate{Word: second, Doc: c.Summary})
		case len(before) == 0 && two:
			if !slices.ContainsFunc(list, func(h cli.Candidate) bool { return h.Word == first }) {
				list = append(list, cli.Candidate{Word: first, Doc: families[first]})
			}
		case len(before) == 0:
			list = append(list, cli.Candidate{Word: first, Doc: c.Summary})
		}
	}
	return list
}

func flagWords(fs *pflag.FlagSet) []cli.Candidate {
	var list []cli.Candidate
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			list = append(list, cli.Candidate{Word: "--" + f.Name, Doc: f.Usage})
		}
	})
	return append(list, cli.Candidate{Word: "--help", Doc: "help on this verb"})
}

// flagValues are the values of a flag; prefix is what stands before the value
// in the same word.
func flagValues(word, prefix string, f *pflag.Flag) []cli.Candidate {
	var list []cli.Candidate
	for _, w := range f.Annotations[cli.HasWords] {
		switch w {
		case "@env":
			for _, kv := range os.Environ() {
				name, _, _ := strings.Cut(kv, "=")
				list = append(list, cli.Candidate{Word: prefix + name, Doc: ""})
			}
		case "@image":
			for _, c := range images.Names() {
				list = append(list, cli.Candidate{Word: prefix + c.Word, Doc: c.Doc})
			}
		case "@network":
			for _, c := range sandboxes.Names(nil) {
				list = append(list, cli.Candidate{Word: prefix + "sandbox:" + c.Word, Doc: c.Doc})
			}
			for _, c := range nets.Names(nil) {
				list = append(list, cli.Candidate{Word: prefix + "network:" + c.Word, Doc: c.Doc})
			}
		case "@key":
			for _, k := range profiles.Keys() {
				if strings.HasPrefix(k.Name, "phase[") {
					continue // those of a file alone
				}
				list = append(list, cli.Candidate{Word: prefix + k.Name + "=", Doc: k.Doc})
			}
		case "@phase":
			names := []string{profiles.AllPhases}
			if p, err := (&cli.Invocation{}).Load(""); err == nil {
				names = append(names, p.Phases...)
			}
			for _, name := range names {
				list = append(list, cli.Candidate{Word: prefix + name, Doc: ""})
			}
		case "@overlay":
			for _, c := range overlays.Names(nil) {
				list = append(list, cli.Candidate{Word: prefix + c.Word, Doc: c.Doc})
			}
		default:
			if w[0] != '@' {
				w = prefix + w
			}
			list = append(list, cli.Candidate{Word: w, Doc: ""})
		}
	}
	return starting(prefix+word, list)
}
