package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Text is a flag's value that a function takes as it stands on the command
// line, so that the order among different flags is kept.
type Text struct {
	Arg  string // what the value is, for usage
	Take func(string) error
}

// String implements pflag.Value.
func (t *Text) String() string { return "" }

// Type implements pflag.Value.
func (t *Text) Type() string { return t.Arg }

// Set implements pflag.Value.
func (t *Text) Set(s string) error { return t.Take(s) }

// Flag is a flag with what help and completion say of it.
type Flag struct {
	Name, Short string
	Arg         string // what its value is; "" for a switch
	Bare        string // the value when it is given without one; "" = it needs one
	Group       string // the heading it stands under
	Usage       string
	Words       []string // values for completion; "@file" and the like, see Candidate
	Hidden      bool
	Rare        bool // only in the full help
	Set         func(string) error
}

// Annotations of a flag that help and completion read.
const (
	InGroup  = "group"
	HasWords = "words"
	isRare   = "rare"
)

// AddFlag declares a flag.
func AddFlag(fs *pflag.FlagSet, f Flag) {
	flag := fs.VarPF(&Text{f.Arg, f.Set}, f.Name, f.Short, f.Usage)
	flag.NoOptDefVal = f.Bare
	flag.Hidden = f.Hidden
	if f.Arg == "" {
		flag.NoOptDefVal = "true"
		flag.Value = &Text{"bool", func(s string) error {
			if s != "true" {
				return fmt.Errorf("takes no value")
			}
			return f.Set(s)
		}}
	}
	flag.Annotations = map[string][]string{InGroup: {f.Group}, HasWords: f.Words}
	if f.Rare {
		flag.Annotations[isRare] = nil
	}
}

// AddSwitch declares a flag that is on when it is given.
func AddSwitch(fs *pflag.FlagSet, into *bool, name, short, group, usage string) {
	AddFlag(fs, Flag{Name: name, Short: short, Group: group, Usage: usage, Set: func(string) error { *into = true; return nil }})
}

// AddWord declares a flag with one of a few values.
func AddWord(fs *pflag.FlagSet, into *string, name, arg, group, usage string, words ...string) {
	AddFlag(fs, Flag{Name: name, Arg: arg, Group: group, Usage: usage, Words: words, Set: func(s string) error {
		for _, w := range words {
			if s == w {
				*into = s
				return nil
			}
		}
		return fmt.Errorf("unknown value %q%s, use %s", s, Meant(s, words), strings.Join(words, " or "))
	}})
}

// FlagError words what pflag has to say about a command line.
func FlagError(fs *pflag.FlagSet, err error) error {
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
	cluster := e.GetSpecifiedShortnames()
	if cluster != "" {
		name, shown = name[:1], "-"+name[:1]
		if len(cluster) > 1 {
			shown += " in -" + cluster
		}
	}
	switch {
	case name == "format" && fs.Lookup("json") != nil:
		return Usagef("no flag --format; use --json")
	case name == "json" && fs.Lookup("format") != nil:
		return Usagef("no flag --json; use --format=json")
	case cluster != "" && '0' <= name[0] && name[0] <= '9' && fs.Lookup("signal") != nil:
		return Usagef("no flag -%s; a signal is given as -s %s", cluster, cluster)
	}
	for _, f := range Foreign {
		if name == f.Long || name == f.Short {
			return Usagef("no flag %s: %s", shown, f.instead)
		}
	}
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := nearFlag(name, names); near != "" {
		return Usagef("no flag %s (did you mean --%s?); sbx help %s lists them", shown, near, fs.Name())
	}
	return Usagef("no flag %s; sbx help %s lists them", shown, fs.Name())
}

// FileName takes a value that is not empty.
func FileName(into *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("the name of the file is empty")
		}
		*into = s
		return nil
	}
}

// The headings of run's flags, in the order of help.
const (
	GroupFiles   = "Files"
	GroupProcess = "Process"
	GroupIDs     = "Ids"
	GroupNetwork = "Network"
	GroupLimits  = "Limits"
	GroupSystem  = "Security"
	GroupProfile = "Profile"
	GroupOutput  = "Output"
	GroupLife    = "Life"
)
