// Package cli is what every verb of sbx is made of: the command line, a call of it, and
// what is said of it: help, listings, errors.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// ExitAudit is the status of a command that succeeded and left files that the
// host runs later, where the profile has workspace.audit = "fail".
const ExitAudit = 3

// Exit codes of sbx itself. A command's own come through unchanged.
const (
	ExitFound = 1   // a check found something: doctor, profile check
	exitUsage = 2   // wrong usage of a verb other than run and shell
	ExitSbx   = 125 // sbx could not do it; run and shell were used wrongly
)

// Command is one verb.
type Command struct {
	Name    string // one word, or two: "profile show"
	Args    string // what follows the flags, as usage shows it
	Summary string // one line
	Long    string // paragraphs for help and the manual page
	Example string // command lines that work as they stand, one a line
	Hidden  bool   // for scripts of sbx's own
	Runs    bool   // it starts a command: its wrong usage is 125, as podman's
	// Strict ends the flags at the first word that is none: what follows is
	// another program's command line.
	Strict bool
	// Raw leaves all arguments to the verb, which has no flags: they are another
	// program's.
	Raw bool
	// Words says what can stand at an argument, given those before it.
	Words func(args []string) []Candidate
	// Flags declares the verb's flags and returns what runs it once they are
	// parsed.
	Flags func(*pflag.FlagSet) func(*Invocation) error
}

// Invocation is one call of a verb.
type Invocation struct {
	Args   []string // after the flags
	Typed  []string // all that follows the verb
	Dash   int      // how many of args stood before "--", -1 without one
	Out    io.Writer
	Err    io.Writer
	Status int // exit status to leave with when there is no error

	Verb     *Command
	Words    []string          // the whole command line
	Among    bool              // it runs among the ids of an overlay
	Env      profiles.Env      // of load
	Seen     *seen.Log         // remembers what the profile and the plan were made from; nil = nobody does
	Profile  *profiles.Profile // once it is loaded: it knows where its keys stand
	Given    bool              // the command came from the command line
	Chosen   string            // the profile the user has named for it where a project has none, "" for the usual one
	JSONErrs bool              // --json-errors
	Silent   bool              // no warnings
	Raw      []string          // the verb's whole command line
	Back     *Background       // of a supervisor that nobody sits in front of
}

// usageError is a wrong command line.
type usageError struct{ error }

// WrongUsage makes err one about the command line.
func WrongUsage(err error) error { return usageError{err} }

// Usagef says what is wrong about the command line.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Meant is a question for the candidate that word is nearly, "" for none.
func Meant(word string, candidates []string) string {
	if near := profiles.Nearest(word, candidates); near != "" {
		return fmt.Sprintf(" (did you mean %s?)", near)
	}
	return ""
}

// Set declares the flags of c.
func (c *Command) Set() (*pflag.FlagSet, func(*Invocation) error) {
	fs := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
	fs.SetInterspersed(!c.Strict)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	return fs, c.Flags(fs)
}

// Call parses args and runs the verb with them.
func (c *Command) Call(args []string, inv *Invocation) error {
	inv.Typed = args
	fs, run := c.Set()
	if c.Raw && !(len(args) > 0 && args[0] == "--help") {
		inv.Args, inv.Dash = args, -1
		return run(inv)
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return c.Help(inv.Out)
		}
		inv.JSONErrs = wantsJSON(args)
		return FlagError(fs, err)
	}
	inv.Args, inv.Dash, inv.Raw = fs.Args(), fs.ArgsLenAtDash(), args
	return run(inv)
}

// wantsJSON looks for --json-errors on a command line that can't be parsed.
func wantsJSON(args []string) bool {
	for _, a := range args {
		if a == "--json-errors" {
			return true
		}
		if a == "--" {
			break
		}
	}
	return false
}

// Max refuses more than n arguments.
func (inv *Invocation) Max(n int) error {
	if len(inv.Args) > n {
		return Usagef("%q is one argument too many; usage: sbx %s", inv.Args[n], inv.Verb.Usage())
	}
	return nil
}

// Usage is the verb with its arguments.
func (c *Command) Usage() string {
	return strings.TrimSpace(c.Name + " " + c.Args)
}
