package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

// Exit codes of sbx itself. A command's own come through unchanged.
const (
	exitFound = 1   // a check found something: doctor, profile check
	exitUsage = 2   // wrong usage of a verb other than run and shell
	exitSbx   = 125 // sbx could not do it; run and shell were used wrongly
)

// command is one verb.
type command struct {
	name    string // one word, or two: "profile show"
	args    string // what follows the flags, as usage shows it
	summary string // one line
	long    string // paragraphs for help and the manual page
	example string // command lines that work as they stand, one a line
	hidden  bool   // for scripts of sbx's own
	runs    bool   // it starts a command: its wrong usage is 125, as podman's
	// strict ends the flags at the first word that is none: what follows is
	// another program's command line.
	strict bool
	// words says what can stand at an argument, given those before it.
	words func(args []string) []candidate
	// flags declares the verb's flags and returns what runs it once they are
	// parsed.
	flags func(*pflag.FlagSet) func(*invocation) error
}

// invocation is one call of a verb.
type invocation struct {
	args   []string // after the flags
	dash   int      // how many of args stood before "--", -1 without one
	out    io.Writer
	err    io.Writer
	status int // exit status to leave with when there is no error

	verb     *command
	env      profiles.Env      // of load
	profile  *profiles.Profile // once it is loaded: it knows where its keys stand
	given    bool              // the command came from the command line
	jsonErrs bool              // --json-errors
	silent   bool              // no warnings
}

// commands are in the order that help lists them. It is a function, so that
// nothing is built at start-up for verbs that are not called.
func commands() []command {
	return []command{
		runCommand(), shellCommand(), explainCommand(), doctorCommand(),
		profileLsCommand(), profileShowCommand(), profileInitCommand(), profileCheckCommand(), profileSchemaCommand(),
		trustCommand(), untrustCommand(),
		completionCommand(), completeCommand(), probeCommand(), versionCommand(), helpCommand(),
	}
}

// usageError is a wrong command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// sbx is the program: it finds the verb, parses its flags and runs it.
func sbx(args []string, out, errw io.Writer) (code int) {
	defer run.Settle()
	defer func() {
		if bug := recover(); bug != nil {
			code = crashed(errw, bug)
		}
	}()
	inv := &invocation{out: out, err: errw}
	if err := inv.call(args); err != nil {
		return inv.report(err)
	}
	return inv.status
}

// crashed reports a panic. The status is sbx's own, as 2 could be the command's;
// the sandbox ends with this process.
func crashed(errw io.Writer, bug any) int {
	stack := make([]byte, 64<<10)
	fmt.Fprintf(errw, "sbx: BUG: %v; please report it with what follows\n%s", bug, stack[:runtime.Stack(stack, false)])
	return exitSbx
}

// call finds the verb in args and runs it.
func (inv *invocation) call(args []string) error {
	if len(args) == 0 {
		return usagef("which verb? try sbx help")
	}
	switch args[0] {
	case "-h", "--help":
		args = append([]string{"help"}, args[1:]...)
	case "-V", "--version":
		args = append([]string{"version"}, args[1:]...)
	}
	verbs := commands()
	c, rest := match(verbs, args)
	if c == nil && len(args) == 2 && (args[1] == "-h" || args[1] == "--help") && family(inv.out, verbs, args[:1]) {
		return nil
	}
	if c == nil {
		return unknownVerb(verbs, args)
	}
	inv.verb = c
	return c.call(rest, inv)
}

// match finds the verb that args begin with, and what follows it.
func match(verbs []command, args []string) (*command, []string) {
	for i := range verbs {
		first, second, two := strings.Cut(verbs[i].name, " ")
		switch {
		case args[0] != first:
		case !two:
			return &verbs[i], args[1:]
		case len(args) > 1 && args[1] == second:
			return &verbs[i], args[2:]
		}
	}
	return nil, args
}

// unknownVerb says what is wrong with args, which no verb matches. The first
// word of a verb of two words asks for the second.
func unknownVerb(verbs []command, args []string) error {
	var names, seconds []string
	for i := range verbs {
		if verbs[i].hidden {
			continue
		}
		first, second, two := strings.Cut(verbs[i].name, " ")
		names = append(names, first)
		if two && first == args[0] {
			seconds = append(seconds, second)
		}
	}
	if len(seconds) > 0 {
		if len(args) == 1 {
			return usagef("sbx %s what? one of %s", args[0], strings.Join(seconds, ", "))
		}
		return usagef("no such verb: %s %s%s; one of %s", args[0], args[1], meant(args[1], seconds), strings.Join(seconds, ", "))
	}
	if strings.HasPrefix(args[0], "-") {
		return usagef("no such flag: %s; flags follow the verb, as in sbx run %s", args[0], args[0])
	}
	for _, v := range verbs {
		if strings.HasSuffix(v.name, " "+args[0]) && !v.hidden {
			return usagef("no such verb: %s (did you mean %s?); try sbx help", args[0], v.name)
		}
	}
	if strings.HasSuffix(args[0], ".toml") {
		return usagef("no such verb: %s; try sbx help, or sbx run %s", args[0], args[0])
	}
	if near := profiles.Nearest(args[0], names); near != "" {
		return usagef("no such verb: %s (did you mean %s?); try sbx help", args[0], near)
	}
	return usagef("no such verb: %s; try sbx help, or sbx run -- %s", args[0], args[0])
}

func meant(word string, candidates []string) string {
	if near := profiles.Nearest(word, candidates); near != "" {
		return fmt.Sprintf(" (did you mean %s?)", near)
	}
	return ""
}

// set declares the flags of c.
func (c *command) set() (*pflag.FlagSet, func(*invocation) error) {
	fs := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	fs.SetInterspersed(!c.strict)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	return fs, c.flags(fs)
}

func (c *command) call(args []string, inv *invocation) error {
	fs, run := c.set()
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return c.help(inv.out)
		}
		inv.jsonErrs = wantsJSON(args)
		return flagError(fs, err)
	}
	inv.args, inv.dash = fs.Args(), fs.ArgsLenAtDash()
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

// max refuses more than n arguments.
func (inv *invocation) max(n int) error {
	if len(inv.args) > n {
		return usagef("%q is one argument too many; usage: sbx %s", inv.args[n], inv.verb.usage())
	}
	return nil
}

// usage is the verb with its arguments.
func (c *command) usage() string {
	return strings.TrimSpace(c.name + " " + c.args)
}
