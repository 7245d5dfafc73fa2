package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/pflag"
)

// version is set by the Makefile.
var version = "devel"

func versionCommand() command {
	return command{
		name: "version", summary: "print the version",
		flags: func(*pflag.FlagSet) func(*invocation) error {
			return func(inv *invocation) error {
				_, err := fmt.Fprintf(inv.out, "sbx %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return err
			}
		},
	}
}
