package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// text is a flag's value that a function takes as it stands on the command
// line, so that the order among different flags is kept.
type text struct {
	arg string // what the value is, for usage
	set func(string) error
}

func (t *text) String() string     { return "" }
func (t *text) Type() string       { return t.arg }
func (t *text) Set(s string) error { return t.set(s) }

// flagSpec is a flag with what help and completion say of it.
type flagSpec struct {
	name, short string
	arg         string // what its value is; "" for a switch
	bare        string // the value when it is given without one; "" = it needs one
	group       string // the heading it stands under
	usage       string
	words       []string // values for completion; "@file" and the like, see complete.go
	hidden      bool
	set         func(string) error
}

// Annotations of a flag that help and completion read.
const (
	inGroup  = "group"
	hasWords = "words"
)

// add declares a flag.
func add(fs *pflag.FlagSet, f flagSpec) {
	flag := fs.VarPF(&text{f.arg, f.set}, f.name, f.short, f.usage)
	flag.NoOptDefVal = f.bare
	flag.Hidden = f.hidden
	if f.arg == "" {
		flag.NoOptDefVal = "true"
		flag.Value = &text{"bool", func(s string) error {
			if s != "true" {
				return fmt.Errorf("takes no value")
			}
			return f.set(s)
		}}
	}
	flag.Annotations = map[string][]string{inGroup: {f.group}, hasWords: f.words}
}

// addSwitch declares a flag that is on when it is given.
func addSwitch(fs *pflag.FlagSet, into *bool, name, short, group, usage string) {
	add(fs, flagSpec{name: name, short: short, group: group, usage: usage, set: func(string) error { *into = true; return nil }})
}

// addWord declares a flag with one of a few values.
func addWord(fs *pflag.FlagSet, into *string, name, arg, group, usage string, words ...string) {
	add(fs, flagSpec{name: name, arg: arg, group: group, usage: usage, words: words, set: func(s string) error {
		for _, w := range words {
			if s == w {
				*into = s
				return nil
			}
		}
		return fmt.Errorf("unknown value %q%s, use %s", s, meant(s, words), strings.Join(words, " or "))
	}})
}

// flagError words what pflag has to say about a command line.
func flagError(fs *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	var lacks *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(fs, unknown)
	case errors.As(err, &lacks):
		f := lacks.GetFlag()
		return keyedUsage{"--" + f.Name, fmt.Errorf("needs a value, as in --%s=%s", f.Name, f.Value.Type())}
	case errors.As(err, &invalid):
		return keyedUsage{"--" + invalid.GetFlag().Name, errors.Unwrap(invalid)}
	}
	return usageError{err}
}

// keyedUsage is a wrong value of one flag.
type keyedUsage struct {
	flag string
	err  error
}

func (e keyedUsage) Error() string { return e.flag + ": " + e.err.Error() }
func (e keyedUsage) Unwrap() error { return e.err }

// unknownFlag says what a flag that is none may have meant.
func unknownFlag(fs *pflag.FlagSet, e *pflag.NotExistError) error {
	name, shown := e.GetSpecifiedName(), "--"+e.GetSpecifiedName()
	if cluster := e.GetSpecifiedShortnames(); cluster != "" {
		name, shown = name[:1], "-"+name[:1]
		if len(cluster) > 1 {
			shown += " in -" + cluster
		}
	}
	for _, f := range foreign {
		if name == f.long || name == f.short {
			return usagef("no flag %s: %s", shown, f.instead)
		}
	}
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := nearFlag(name, names); near != "" {
		return usagef("no flag %s (did you mean --%s?); sbx help %s lists them", shown, near, fs.Name())
	}
	return usagef("no flag %s; sbx help %s lists them", shown, fs.Name())
}
