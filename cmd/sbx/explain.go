package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

// The forms of sbx explain.
const (
	explainText  = "text"
	explainJSON  = "json"
	explainSteps = "steps"
	explainCalls = "seccomp"
)

// placeholder stands for the command where none is given.
const placeholder = "(the command)"

func explainCommand() command {
	return command{
		name: "explain", args: "[FLAGS] [PROFILE] [-- COMMAND [ARG...]]",
		summary: "print what a sandbox would be, and run nothing",
		long: "Print what run would do with the same flags: who the command is, what it sees, what it may use, and what enforces that on this host. " +
			"Each line says which file and line asked for it.",
		example: "sbx explain\nsbx explain --network=host build\nsbx explain --steps strict -- true",
		words:   runWords,
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			form := explainText
			add(fs, flagSpec{name: "json", group: gOutput, usage: "the plan as JSON, with the place of each key", set: func(string) error { form = explainJSON; return nil }})
			add(fs, flagSpec{name: "steps", group: gOutput, usage: "the steps that would build the sandbox", set: func(string) error { form = explainSteps; return nil }})
			add(fs, flagSpec{name: "seccomp", group: gOutput, usage: "the policy of system calls, whole", set: func(string) error { form = explainCalls; return nil }})
			o := runFlags(fs)
			return func(inv *invocation) error {
				inv.jsonErrs = o.jsonErrs
				if n := len(inv.args); n > 1 && inv.dash != 0 && inv.dash != 1 {
					return usagef("%q is one argument too many; a command stands after --, as in sbx explain %s -- %s", inv.args[1], inv.args[0], inv.args[1])
				}
				ref, argv, err := inv.profileAndCommand()
				if err != nil {
					return err
				}
				return inv.explain(ref, argv, o, form)
			}
		},
	}
}

// explained is what `sbx explain --json` prints.
type explained struct {
	Schema  int               `json:"schema"`
	Plan    *sandbox.Plan     `json:"plan"`
	Origins map[string]string `json:"origins"` // a key of the profile -> file:line:col, or the flag
	// Untrusted are what keeps run from running a project's profile.
	Untrusted []profiles.Grant `json:"untrusted,omitempty"`
}

// explain prints a plan. A profile that is not trusted is explained as well:
// that is how somebody decides whether to trust it.
func (inv *invocation) explain(ref string, argv []string, o *options, form string) error {
	prof, err := inv.load(ref)
	if err != nil {
		return err
	}
	var refused *profiles.UntrustedError
	if err := profiles.CheckTrust(prof, nil, inv.env); err != nil && !errors.As(err, &refused) {
		return err
	}
	if len(argv) == 0 && len(prof.Process.Command) == 0 {
		argv = []string{placeholder}
	}
	if prof, err = inv.override(prof, o); err != nil {
		return err
	}
	plan, err := inv.decide(prof, argv, o)
	if err != nil {
		return err
	}
	switch form {
	case explainSteps:
		p, err := program.Compile(plan)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(inv.out, printable(p.String()))
		return err
	case explainCalls:
		p, err := resolve.Policy(&prof.Security, plan.Security.Keep)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(inv.out, printable(p.String()))
		return err
	case explainJSON:
		x := explained{Schema: 1, Plan: plan, Origins: inv.origins(plan)}
		if refused != nil {
			x.Untrusted = refused.Grants
		}
		return inv.printJSON(x)
	}
	inv.explainText(plan, refused)
	return nil
}

// printJSON prints one object for programs.
func (inv *invocation) printJSON(v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := inv.out.Write(escape(text.Bytes()))
	return err
}

// escape writes what is not safe to print as \uXXXX, which JSON and TOML read
// back as it was. Outside of their strings neither has such characters.
func escape(text []byte) []byte {
	if !bytes.ContainsFunc(text, unsafe) {
		return text
	}
	var out []byte
	for _, r := range string(text) {
		if unsafe(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// origins says where the keys that the plan refers to were set.
func (inv *invocation) origins(p *sandbox.Plan) map[string]string {
	out := map[string]string{}
	note := func(key string) {
		if at := origin(inv.profile, key); at != "" {
			out[key] = at
		}
	}
	note(p.IDs.From)
	note(p.Root.From)
	for _, m := range p.Mounts {
		note(m.From)
	}
	for _, l := range p.Limits {
		note(l.From)
	}
	for _, u := range p.UCounts {
		note(u.From)
	}
	for _, f := range p.Features {
		note(f.From)
	}
	for _, n := range p.Notes {
		note(n.From)
	}
	for _, key := range plainKeys {
		note(key)
	}
	return out
}

// plainKeys are keys that fields of the plan without a From come from.
var plainKeys = []string{
	"name", "process.command", "process.working_dir", "process.tty", "process.hostname", "process.umask", "process.nice",
	"process.oom_score_adj", "process.timeout", "process.stop_timeout", "process.stop_signal", "user.as", "user.map",
	"environment.pass", "environment.unset", "namespaces.ipc", "namespaces.uts", "namespaces.cgroup", "namespaces.time",
	"root.read_only", "root.proc", "root.sys", "root.dev", "root.shm", "network.mode", "workspace.path", "workspace.audit", "workspace.unprotect", "security.nested_userns",
	"security.seccomp", "security.seccomp_allow", "security.seccomp_deny", "security.multiarch",
	"security.landlock",
}
