package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

func runCommand() command {
	return command{
		name: "run", args: "[FLAGS] [PROFILE|-] [--] [COMMAND [ARG...]]", runs: true, strict: true,
		summary: "run a command in a sandbox",
		long: "Run COMMAND, or the profile's own command, in the sandbox that PROFILE describes: a name, a file, or - for standard input. " +
			"Without PROFILE it is the nearest .sbx.toml, else your profile \"default\", else builtin:build. " +
			"Flags stand before PROFILE; what follows it is the command's.",
		example: "sbx run -- make test\nsbx run --network=host build -- git fetch\nsbx run -v ~/data:/data -m 2G strict -- ls /data",
		words:   runWords,
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			o := runFlags(fs)
			addSwitch(fs, &o.explain, "explain", "", gOutput, "print what would be done and run nothing")
			return func(inv *invocation) error {
				inv.jsonErrs = o.jsonErrs
				ref, argv, err := inv.profileAndCommand()
				if err != nil {
					return err
				}
				if o.explain {
					return inv.explain(ref, argv, o, explainText)
				}
				return inv.start(ref, argv, o, nil)
			}
		},
	}
}

// profileAndCommand splits the arguments of run and explain. ref is "" when no
// profile is named.
func (inv *invocation) profileAndCommand() (ref string, argv []string, err error) {
	args := inv.args
	if len(args) == 0 || inv.dash == 0 {
		return "", args, nil
	}
	ref, argv = args[0], args[1:]
	switch {
	case ref == "":
		return "", nil, usagef("the profile's name is empty; leave it out for the default, as in sbx run -- COMMAND")
	case len(argv) > 0 && argv[0] == "--":
		return ref, argv[1:], nil
	case inv.verb.strict && len(argv) > 0 && len(argv[0]) > 1 && argv[0][0] == '-':
		env := profiles.HostEnv()
		var none *profiles.NotFoundError
		if _, err := profiles.Find(ref, env); errors.As(err, &none) && inPath(ref) {
			return "", nil, usagef("no profile %q; to run the command %s: sbx run -- %s", ref, ref, typed(args))
		}
		return "", nil, usagef("%s stands after the profile %s, where the command begins; flags stand before it, and a command that begins with a dash after --", argv[0], ref)
	}
	return ref, argv, nil
}

// typed is how args are typed, up to the first that a shell would read otherwise.
func typed(args []string) string {
	plain := func(r rune) bool {
		return r < 0x7f && (r == '_' || r >= '-' && r <= ':' || r == '=' || r >= '@' && r <= 'Z' || r >= 'a' && r <= 'z')
	}
	for i, a := range args {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return !plain(r) }) {
			return strings.Join(append(slices.Clone(args[:i]), "..."), " ")
		}
	}
	return strings.Join(args, " ")
}

// start runs argv in the sandbox of a profile. The kernel makes the namespaces
// while the plan is being decided. adjust, if not nil, has the last word on it.
func (inv *invocation) start(ref string, argv []string, o *options, adjust func(*sandbox.Plan)) error {
	prof, err := inv.load(ref)
	if err != nil {
		return err
	}
	if err := profiles.CheckTrust(prof, nil, inv.env); err != nil {
		return err
	}
	if prof, err = inv.override(prof, o); err != nil {
		return err
	}
	begun, err := run.Begin(resolve.Shape(prof, host.Streams()))
	if err != nil {
		return err
	}
	plan, err := inv.decide(prof, argv, o)
	if err != nil {
		begun.Abort()
		return err
	}
	if adjust != nil {
		adjust(plan)
	}
	inv.silent = o.quiet || o.jsonErrs
	for _, text := range warnings(plan) {
		inv.warn("%s", text)
	}
	st, err := begun.Run(plan)
	if err != nil {
		return err
	}
	switch {
	case st.TimedOut:
		inv.late("ended by the timeout of %v", plan.Process.Timeout)
	case st.InitKilled != 0:
		inv.late("the sandbox was killed by %s", unix.SignalName(st.InitKilled))
	case st.Killed == unix.SIGSYS && plan.Security.Seccomp.Filtered():
		inv.late("the command ended by SIGSYS, as the system call filter ends programs of another architecture; one of 32 bits needs security.multiarch = true")
	}
	inv.status = inv.audit(plan.Audit.Mode, st.Audit, st.Code, o.quiet)
	return nil
}

// load reads the profile that ref means; "" is the nearest .sbx.toml, else the
// user's default, else the built-in one.
func (inv *invocation) load(ref string) (*profiles.Profile, error) {
	inv.env = profiles.HostEnv()
	var r profiles.Ref
	var err error
	if ref == "" {
		r, err = defaultProfile(inv.env)
	} else {
		r, err = profiles.Find(ref, inv.env)
	}
	var none *profiles.NotFoundError
	if errors.As(err, &none) && inPath(ref) {
		args := []string{ref}
		if inv.verb != nil && inv.verb.runs && len(inv.args) > 0 && inv.args[0] == ref {
			args = inv.args
		}
		return nil, fmt.Errorf("%w; to run the command %s: sbx run -- %s", err, ref, typed(args))
	}
	if err != nil {
		return nil, err
	}
	inv.profile, err = profiles.Load(r, inv.env)
	return inv.profile, err
}

func defaultProfile(env profiles.Env) (profiles.Ref, error) {
	if env.Cwd != "" {
		path, ok, err := profiles.Discover(env.Cwd, env)
		if ok || err != nil {
			return profiles.Ref{Path: path}, err
		}
	}
	return profiles.Default(env)
}

// inPath reports whether a word is the name of a program; only a hint hangs on it.
func inPath(word string) bool {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if st, err := os.Stat(filepath.Join(dir, word)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return !strings.Contains(word, "/")
		}
	}
	return false
}

// override puts the flags on the profile.
func (inv *invocation) override(prof *profiles.Profile, o *options) (*profiles.Profile, error) {
	prof, err := prof.With(o.overrides(prof))
	if err == nil {
		inv.profile = prof
	}
	return prof, err
}

// decide resolves a profile against this host.
func (inv *invocation) decide(prof *profiles.Profile, argv []string, o *options) (*sandbox.Plan, error) {
	inv.given = len(argv) > 0
	facts, err := host.Probe(prof.User.Map == "range" || prof.User.Map == "explicit")
	if err != nil {
		return nil, err
	}
	config, state, data := inv.xdg("XDG_CONFIG_HOME", ".config"), inv.xdg("XDG_STATE_HOME", ".local/state"), inv.xdg("XDG_DATA_HOME", ".local/share")
	in := resolve.Input{Profile: prof, Facts: facts, Argv: argv, Env: o.env}
	in.StateDirs = slices.DeleteFunc([]string{config, state, data}, func(dir string) bool { return dir == "" })
	if data == "" && prof.Home.Mode == "persistent" {
		return nil, &resolve.Error{Key: "home.mode", Msg: "there is no home directory to keep the sandbox's in", Hint: "set HOME or XDG_DATA_HOME"}
	}
	in.HomesDir = filepath.Join(data, "homes")
	return resolve.Plan(in)
}

// xdg is sbx's directory in one of the base directories of the XDG
// specification, which says to ignore relative values; "" = there is no home.
func (inv *invocation) xdg(variable, fallback string) string {
	dir := os.Getenv(variable)
	if !filepath.IsAbs(dir) {
		if inv.env.Home == "" {
			return ""
		}
		dir = filepath.Join(inv.env.Home, fallback)
	}
	return filepath.Join(dir, "sbx")
}

// warnings are what the person should know before the command runs.
func warnings(p *sandbox.Plan) []string {
	var list []string
	for _, n := range p.Notes {
		if n.Level != "info" && !slices.Contains(list, n.Text) {
			list = append(list, n.Text)
		}
	}
	return list
}

// late is warn once the command has ended. What nobody takes within a second is
// dropped: the command may have filled the pipe that is this process's stderr
// too, and is not to keep it by that.
func (inv *invocation) late(format string, args ...any) {
	if f, ok := inv.err.(*os.File); ok {
		err := error(unix.EINTR)
		n := 0
		for end := time.Now().Add(time.Second); errors.Is(err, unix.EINTR); {
			left := max(time.Until(end), 0) / time.Millisecond
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLOUT}}, int(left))
		}
		if err == nil && n == 0 {
			return
		}
	}
	inv.warn(format, args...)
}

// warn prints one line, unless it is not wanted.
func (inv *invocation) warn(format string, args ...any) {
	if !inv.silent {
		fmt.Fprintf(inv.err, "%s %s\n", paint(inv.err, yellow, "sbx: warning:"), printable(fmt.Sprintf(format, args...)))
	}
}
