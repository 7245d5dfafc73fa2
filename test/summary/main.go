// Command summary reads what go test -json writes and prints what a person
// wants to know of it: the output of each failure, the slowest tests, every
// skip with its reason, and at the very end, alone on its line,
//
//	N passed, N failed, N skipped
//
// It fails when a test failed, a package did not build, or no test ran. With
// SBX_MUST_WORK=1 it also fails on a skip that test/allowed-skips.txt does not
// list.
//
// With -said it prints what tests that passed have logged as well.
//
// With -wrap NAME it runs a command as if it were a test of that name and
// writes its events, so that a check which is no Go test is counted too.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/sbx-sandbox/sbx/test"
)

func main() { os.Exit(run()) }

func run() int {
	name := flag.String("wrap", "", "run the command after -- as the test `NAME`")
	said := flag.Bool("said", false, "print what tests that passed have logged")
	flag.Parse()
	if *name != "" {
		if err := wrap(os.Stdout, *name, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "summary:", err)
			return 1
		}
		return 0
	}
	allowed := func(string) bool { return true }
	if test.MustWork() {
		allowed = test.Allowed
	}
	s := newSummary(os.Stdout, allowed)
	s.said = *said
	if err := s.read(os.Stdin); err != nil {
		s.broken("reading the events: " + err.Error())
	}
	if !s.report() {
		return 1
	}
	return 0
}
