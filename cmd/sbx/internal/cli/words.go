package cli

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
)

// Candidate is one word that could stand where the cursor is. The words @file,
// @dir and @command ask the shell to complete what it knows better itself.
type Candidate struct{ Word, Doc string }

// ValueFlag is the flag of w if its value is the next word.
func ValueFlag(fs *pflag.FlagSet, w string) *pflag.Flag {
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

// RunWords are the profiles for the first argument of run; the words after it
// are a command, which parse sees to.
func RunWords(args []string) []Candidate {
	if len(args) > 0 {
		return []Candidate{{"@command 0", ""}}
	}
	return ProfileNames()
}

// FirstProfile are profiles, for a verb that takes one.
func FirstProfile(args []string) []Candidate {
	if len(args) > 0 {
		return nil
	}
	return ProfileNames()
}

// OneFile is a file, for a verb that takes one.
func OneFile(args []string) []Candidate {
	if len(args) > 0 {
		return nil
	}
	return []Candidate{{"@file", ""}}
}

// ProfileNames are the profiles that can be named, and files.
func ProfileNames() []Candidate {
	var list []Candidate
	for _, i := range profiles.List(profiles.HostEnv()) {
		list = append(list, Candidate{i.Name, i.Description})
	}
	return append(list, Candidate{"@file", ""})
}

// BuiltinNames are the profiles that come with sbx.
func BuiltinNames() []Candidate {
	var list []Candidate
	for _, i := range profiles.List(profiles.Env{SystemDir: "/nonexistent"}) {
		list = append(list, Candidate{i.Name, i.Description})
	}
	return list
}
