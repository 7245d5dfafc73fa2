package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/sandbox"
)

// version is set by the Makefile.
var version = "devel"

func versionCommand() cli.Command {
	return cli.Command{
		Name: "version", Args: "[FLAGS]", Summary: "print the version",
		Long:    "Print the version of sbx, of the compiler that built it, and the platform.",
		Example: "sbx version\nsbx version --json",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			asJSON := false
			cli.AddSwitch(fs, &asJSON, "json", "", cli.GroupOutput, "as JSON")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				if asJSON {
					return inv.PrintJSON(struct {
						Schema  int    `json:"schema"`
						Version string `json:"version"`
						Go      string `json:"go"`
						OS      string `json:"os"`
						Arch    string `json:"arch"`
						Plan    int    `json:"plan_version"`
					}{1, version, runtime.Version(), runtime.GOOS, runtime.GOARCH, sandbox.PlanVersion})
				}
				_, err := fmt.Fprintf(inv.Out, "sbx %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return err
			}
		},
	}
}
