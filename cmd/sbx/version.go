package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// version is set by the Makefile.
var version = "devel"

func versionCommand() command {
	return command{
		name: "version", args: "[FLAGS]", summary: "print the version",
		long:    "Print the version of sbx, of the compiler that built it, and the platform.",
		example: "sbx version\nsbx version --json",
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			asJSON := false
			addSwitch(fs, &asJSON, "json", "", gOutput, "as JSON")
			return func(inv *invocation) error {
				if err := inv.max(0); err != nil {
					return err
				}
				if asJSON {
					return inv.printJSON(struct {
						Schema  int    `json:"schema"`
						Version string `json:"version"`
						Go      string `json:"go"`
						OS      string `json:"os"`
						Arch    string `json:"arch"`
						Plan    int    `json:"plan_version"`
					}{1, version, runtime.Version(), runtime.GOOS, runtime.GOARCH, sandbox.PlanVersion})
				}
				_, err := fmt.Fprintf(inv.out, "sbx %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return err
			}
		},
	}
}
