// What sbx does itself is not parallel; the runtime need not go on looking
// whether the limits of its cgroup changed.
//
//go:debug updatemaxprocs=0

// Command sbx runs programs in rootless sandboxes described by TOML profiles.
package main

import (
	"os"
	"path"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/shells"
)

func main() {
	args := os.Args[1:]
	if path.Base(os.Args[0]) == shells.Name {
		args = append([]string{"sh"}, args...)
	}
	os.Exit(sbx(args, os.Stdout, os.Stderr))
}
