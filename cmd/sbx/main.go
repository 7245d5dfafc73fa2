// Command sbx runs programs in rootless sandboxes described by TOML profiles.
package main

import (
	"fmt"
	"os"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

func main() {
	p := &profiles.Profile{Name: "t",
		Process: profiles.Process{TTY: "auto", Umask: 022, StopTimeout: 1e10, StopSignal: "SIGTERM"},
		User:    profiles.User{As: "keep", Map: "auto"}, Environment: profiles.Environment{Pass: []string{"PATH", "TERM"}},
		Namespaces: profiles.Namespaces{IPC: "private", UTS: "private", Cgroup: "private", Time: "host"},
		Root:       profiles.Root{Source: "host", ReadOnly: true, Etc: "host", Proc: "new", Sys: "none", Dev: "minimal", Tmp: 1 << 30, Shm: 64 << 20},
		Home:       profiles.Home{Mode: "tmpfs", Size: 1 << 29}, Workspace: profiles.Workspace{Path: ".", Access: "rw"},
		Network:  profiles.Network{Mode: "none"},
		Limits:   profiles.Limits{Core: 0},
		Security: profiles.Security{AllowRoot: true}}
	args := os.Args[1:]
	if args[0] == "-equal" {
		args = args[1:]
		p.Root.Source, p.Home.Mode, p.Workspace.Access = "/", "none", "none"
	}
	if args[0] == "-root" {
		args = args[1:]
		p.User.As = "root"
	}
	if args[0] == "-range" {
		args = args[1:]
		p.User.Map = "range"
	}
	f, err := host.Probe(p.User.Map == "range")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	plan, err := resolve.Plan(resolve.Input{Profile: p, Facts: f, Argv: args})
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbx:", err)
		os.Exit(125)
	}
	if os.Getenv("STEPS") != "" {
		pr, _ := program.Compile(plan)
		fmt.Print(pr)
		os.Exit(0)
	}
	st, err := run.Run(plan)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbx:", err)
		os.Exit(125)
	}
	os.Exit(st.Code)
}
