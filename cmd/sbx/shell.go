package main

import (
	"os"
	"path"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/sandbox"
)

func shellCommand() command {
	return command{
		name: "shell", args: "[FLAGS] [PROFILE]", runs: true,
		summary: "start an interactive shell in a sandbox",
		long: "Start your shell, $SHELL if it can be seen inside and else /bin/sh, in the sandbox of PROFILE; " +
			"without it, in the profile \"shell\". The flags are those of run.",
		example: "sbx shell\nsbx shell --network=host\nsbx shell -v ~/data:/data:rw strict",
		words: func(args []string) []candidate {
			if len(args) == 0 {
				return profileNames()
			}
			return nil
		},
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			o := runFlags(fs)
			return func(inv *invocation) error {
				inv.jsonErrs = o.jsonErrs
				if inv.dash >= 0 || len(inv.args) > 1 {
					return usagef("shell takes no command; use sbx run PROFILE -- COMMAND")
				}
				ref := "shell"
				if len(inv.args) == 1 {
					ref = inv.args[0]
				}
				return inv.shell(ref, o)
			}
		},
	}
}

// shell runs the person's shell. Whether it can be seen inside only the plan
// can tell.
func (inv *invocation) shell(ref string, o *options) error {
	sh := os.Getenv("SHELL")
	if !strings.HasPrefix(sh, "/") {
		sh = "/bin/sh"
	}
	return inv.start(ref, []string{sh}, o, func(plan *sandbox.Plan) {
		if !visible(plan, sh) {
			plan.Process.Argv = []string{"/bin/sh"}
		}
	})
}

// visible reports whether the host's program at p is at p inside as well.
func visible(plan *sandbox.Plan, p string) bool {
	if st, err := os.Stat(p); err != nil || st.IsDir() {
		return false
	}
	at := plan.Root.InPlace
	for _, m := range plan.Mounts { // parents first: the last one that holds p counts
		t := m.Target
		if p != t && !strings.HasPrefix(p, strings.TrimSuffix(t, "/")+"/") {
			continue
		}
		switch m.Kind {
		case sandbox.Bind, sandbox.Guard:
			at = m.Source == "" || m.Source == t
		case sandbox.Symlink: // /bin -> usr/bin, as on the host
			to := m.Source
			if !path.IsAbs(to) {
				to = path.Join(path.Dir(t), to)
			}
			return visible(plan, path.Join(to, p[len(t):]))
		default:
			at = false
		}
	}
	return at
}
