// Program probe does things to files and says how they went: the same on the
// bare file system and in an overlay.
//
//	probe plant DIR    makes each case's directory in DIR
//	probe act DIR      runs each case in its directory, and tells it
//	probe tell DIR     tells each case's directory
//	probe raw DIR      tells the whole tree as the kernel has it, for comparing
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: probe plant|act|tell|raw DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(what, top string) error {
	if what == "raw" {
		return raw(top)
	}
	for _, c := range cases {
		dir := filepath.Join(top, c.name)
		if what == "plant" {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		if err := os.Chdir(dir); err != nil {
			return err
		}
		say := func(format string, args ...any) { fmt.Printf("%s: %s\n", c.name, fmt.Sprintf(format, args...)) }
		switch what {
		case "plant":
			if c.plant != nil {
				c.plant()
			}
			old(".")
			if err := os.Chdir(top); err != nil {
				return err
			}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, dir, []unix.Timespec{fixtureTime, fixtureTime}, 0); err != nil {
				return err
			}
			continue
		case "act":
			c.act(say)
		}
		tell(".", func(line string) { say("%s", line) })
	}
	return nil
}

// word is how something went: "ok", or the errno's name.
func word(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// must is for what only prepares.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
