package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// Exit codes of sbx itself. A command's own come through unchanged.
const (
	exitUsage    = 2   // wrong usage of a verb other than run
	exitTimeout  = 124 // the profile's timeout ended the command
	exitSbx      = 125 // sbx could not do it, or was used wrongly
	exitNoExec   = 126 // the command can't be executed
	exitNotFound = 127 // the command was not found
)

// command is one verb.
type command struct {
	name    string
	args    string // what follows the flags, as usage shows it
	summary string // one line
	long    string // paragraphs for help and the manual page
	example string // command lines that work as they stand
	// flags declares the verb's flags and returns what runs it once they are
	// parsed.
	flags func(*pflag.FlagSet) func(*invocation) error
}

// invocation is one call of a verb.
type invocation struct {
	args   []string // after the flags
	out    io.Writer
	err    io.Writer
	status int // exit status to leave with when there is no error
}

// commands are sorted as help lists them. It is a function, so that nothing is
// built at start-up for verbs that are not called.
func commands() []command {
	return []command{runCommand(), versionCommand()}
}

// usageError is a wrong command line.
type usageError struct{ error }

// sbx is the program: it finds the verb, parses its flags and runs it.
func sbx(args []string, out, errw io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(errw, "sbx: which verb? try sbx help")
		return exitUsage
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		inv := &invocation{out: out, err: errw}
		err := c.call(args[1:], inv)
		if err == nil {
			return inv.status
		}
		return report(errw, c.name, err)
	}
	fmt.Fprintf(errw, "sbx: no such verb: %s; try sbx help\n", args[0])
	return exitUsage
}

func (c *command) call(args []string, inv *invocation) error {
	fs := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	fs.SetInterspersed(false)
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	run := c.flags(fs)
	if err := fs.Parse(args); err != nil {
		return usageError{err}
	}
	inv.args = fs.Args()
	return run(inv)
}

// coder is an error that knows its exit status.
type coder interface{ Code() int }

// report prints err and gives the exit status for it.
func report(w io.Writer, verb string, err error) int {
	fmt.Fprintln(w, "sbx:", err)
	var c coder
	var u usageError
	switch {
	case errors.As(err, &c):
		return c.Code()
	case errors.As(err, &u) && verb != "run":
		return exitUsage
	}
	return exitSbx
}
