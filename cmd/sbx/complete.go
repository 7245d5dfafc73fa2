package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
)

// candidate is one word that could stand where the cursor is. The words @file,
// @dir and @command ask the shell to complete what it knows better itself.
type candidate struct{ word, doc string }

func completeCommand() command {
	return command{
		name: "__complete", args: "-- WORD...", hidden: true, strict: true, summary: "candidates for the last word of a command line",
		long:    "Print what could stand in place of the last word, a line each, with a description after a tab. For the scripts of completion.",
		example: "sbx __complete -- run --ne",
		flags: func(*pflag.FlagSet) func(*invocation) error {
			return func(inv *invocation) error {
				for _, c := range candidates(inv.args) {
					if c.doc == "" {
						fmt.Fprintln(inv.out, printable(c.word))
					} else {
						fmt.Fprintf(inv.out, "%s\t%s\n", printable(c.word), printable(c.doc))
					}
				}
				return nil
			}
		},
	}
}

// candidates are those for the last of words; the ones before it stand.
func candidates(words []string) []candidate {
	if len(words) == 0 {
		return nil
	}
	before, word := words[:len(words)-1], words[len(words)-1]
	verbs := commands()
	var c *command
	if len(before) > 0 {
		c, before = match(verbs, before)
	}
	if c == nil {
		return starting(word, verbWords(before))
	}
	fs, _ := c.set()
	pos := parse(fs, c.strict, before)
	switch {
	case pos.command:
		return []candidate{{word: fmt.Sprintf("@command %d", pos.start)}}
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
	case c.words != nil:
		return starting(word, c.words(pos.args))
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
			f := valueFlag(fs, w)
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

// valueFlag is the flag of w if its value is the next word.
func valueFlag(fs *pflag.FlagSet, w string) *pflag.Flag {
	var f *pflag.Flag
	if name, ok := strings.CutPrefix(w, "--"); ok {
		f = fs.Lookup(name) // with "=" in it there is none
	} else {
		for i := 1; i < len(w); i++ {
			if f = fs.ShorthandLookup(w[i : i+1]); f == nil || f.NoOptDefVal == "" {
				if i < len(w)-1 {
					return nil // the rest is the value
				}
				break
			}
		}
	}
	if f == nil || f.NoOptDefVal != "" {
		return nil
	}
	return f
}

// starting are the candidates that begin with word; those for the shell stay.
func starting(word string, list []candidate) []candidate {
	return slices.DeleteFunc(slices.Clone(list), func(c candidate) bool { return c.word[0] != '@' && !strings.HasPrefix(c.word, word) })
}

// verbWords are the verbs, or the second words of one.
func verbWords(before []string) []candidate {
	var list []candidate
	for _, c := range commands() {
		first, second, two := strings.Cut(c.name, " ")
		switch {
		case c.hidden || len(before) > 1:
		case len(before) == 1 && two && first == before[0]:
			list = append(list, candidate{second, c.summary})
		case len(before) == 0 && two:
			if !slices.ContainsFunc(list, func(h candidate) bool { return h.word == first }) {
				list = append(list, candidate{first, "list, print, make and check profiles"})
			}
		case len(before) == 0:
			list = append(list, candidate{first, c.summary})
		}
	}
	return list
}

func flagWords(fs *pflag.FlagSet) []candidate {
	var list []candidate
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			list = append(list, candidate{"--" + f.Name, f.Usage})
		}
	})
	return append(list, candidate{"--help", "help on this verb"})
}

// flagValues are the values of a flag; prefix is what stands before the value
// in the same word.
func flagValues(word, prefix string, f *pflag.Flag) []candidate {
	var list []candidate
	for _, w := range f.Annotations[hasWords] {
		switch w {
		case "@env":
			for _, kv := range os.Environ() {
				name, _, _ := strings.Cut(kv, "=")
				list = append(list, candidate{prefix + name, ""})
			}
		case "@key":
			for _, k := range profiles.Keys() {
				list = append(list, candidate{prefix + k.Name + "=", k.Doc})
			}
		default:
			if w[0] != '@' {
				w = prefix + w
			}
			list = append(list, candidate{w, ""})
		}
	}
	return starting(prefix+word, list)
}

// runWords are the profiles for the first argument of run; the words after it
// are a command, which parse sees to.
func runWords(args []string) []candidate {
	if len(args) > 0 {
		return []candidate{{"@command 0", ""}}
	}
	return profileNames()
}

func firstProfile(args []string) []candidate {
	if len(args) > 0 {
		return nil
	}
	return profileNames()
}

func oneFile(args []string) []candidate {
	if len(args) > 0 {
		return nil
	}
	return []candidate{{"@file", ""}}
}

func profileNames() []candidate {
	var list []candidate
	for _, i := range profiles.List(profiles.HostEnv()) {
		list = append(list, candidate{i.Name, i.Description})
	}
	return append(list, candidate{"@file", ""})
}

func builtinNames() []candidate {
	var list []candidate
	for _, i := range profiles.List(profiles.Env{SystemDir: "/nonexistent"}) {
		list = append(list, candidate{i.Name, i.Description})
	}
	return list
}
