// Package test holds what the suite's helpers share: the list of the skips
// that are allowed where everything has to work.
package test

import (
	_ "embed"
	"fmt"
	"os"
	"strings"
)

// AllowedFile is the list's place in the checkout, for messages.
const AllowedFile = "test/allowed-skips.txt"

//go:embed allowed-skips.txt
var allowed string

// MustWork reports whether the caller promised that the host can do
// everything, so that a skip not in the list is a failure.
func MustWork() bool { return os.Getenv("SBX_MUST_WORK") == "1" }

// Allowed reports whether a skip with this reason is in the list.
func Allowed(reason string) bool {
	rows, err := parse(allowed)
	if err != nil {
		panic(err) // the list is part of the program, and TestParse reads it
	}
	for _, row := range rows {
		if strings.HasPrefix(reason, row) {
			return true
		}
	}
	return false
}

// parse returns the beginnings of reasons in a list. A line that doesn't say
// why it is there is an error.
func parse(list string) ([]string, error) {
	var rows []string
	for i, line := range strings.Split(list, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		begin, why, _ := strings.Cut(line, " # ")
		begin, why = strings.TrimSpace(begin), strings.TrimSpace(why)
		if begin == "" || why == "" {
			return nil, fmt.Errorf("%s:%d: want a reason, ' # ', and why it is allowed", AllowedFile, i+1)
		}
		rows = append(rows, begin)
	}
	return rows, nil
}
