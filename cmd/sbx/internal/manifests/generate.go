// Package manifests writes a sandbox in the words of systemd, Kubernetes and OCI.
package manifests

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// SystemdCommand is the verb generate systemd.
func SystemdCommand() cli.Command {
	return cli.Command{
		Name: "generate systemd", Args: "[FLAGS] NAME | PROFILE | -- RUN-ARGUMENT...", Summary: "print a unit of your systemd that runs a sandbox",
		Long: "Print a unit file for systemd --user that runs a sandbox as NAME runs now, or as sbx run with PROFILE, or the arguments after --, would from this directory. " +
			"systemd then starts it again, keeps its output in the journal, and starts it with your session. Put it in ~/.config/systemd/user/NAME.service, then: systemctl --user enable --now NAME. " +
			"A command that systemd is to pass sockets to takes --listen-fds, and a unit NAME.socket beside this one.",
		Example: "sbx generate systemd web\nsbx generate systemd -- --name web build python3 -m http.server\nsbx generate systemd -- --listen-fds build ./server",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			restart := "on-failure"
			cli.AddWord(fs, &restart, "restart", "POLICY", cli.GroupLife, "systemd's Restart=: no, on-failure or always", "no", "on-failure", "always")
			return func(inv *cli.Invocation) error {
				dir, args, err := unitArgs(inv)
				if err != nil {
					return err
				}
				exe, err := os.Readlink("/proc/self/exe")
				if err != nil {
					return err
				}
				return writeUnit(inv.Out, exe, dir, args, restart)
			}
		},
	}
}

// unitArgs are the arguments of sbx run, and the directory they are meant in.
func unitArgs(inv *cli.Invocation) (dir string, args []string, err error) {
	r, running, err := meant(inv)
	switch {
	case err != nil:
		return "", nil, err
	case !running:
		dir, err = os.Getwd()
		args = inv.Args
	default:
		if dir, args, err = startedAs(&r); err != nil {
			return "", nil, err
		}
	}
	if err != nil {
		return "", nil, err
	}
	fs := options.RunSet()
	if err := fs.Parse(args); err != nil {
		return "", nil, cli.FlagError(fs, err)
	}
	if fs.Changed("restart") || fs.Changed("json-status-fd") {
		return "", nil, cli.Usagef("--restart and --json-status-fd are not for a unit: systemd starts it again, and hears of its end")
	}
	return dir, undetached(fs, args, fs.Args()), nil
}

// startedAs is the command line of run that a sandbox was started with.
func startedAs(r *state.Record) (dir string, args []string, err error) {
	if !r.Alive() {
		return "", nil, sandboxes.NotRunning(r)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.Supervisor.PID))
	if err != nil || !r.Supervisor.Lives() {
		return "", nil, fmt.Errorf("%s has just ended", r.Name)
	}
	words := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	switch {
	case len(words) > 4 && words[1] == "__supervise" && words[3] == "run":
		return r.Dir, words[4:], nil
	case len(words) > 2 && words[1] == "run":
		return r.Dir, words[2:], nil
	}
	return "", nil, fmt.Errorf("%s was not started by sbx run", r.Name)
}

// undetached takes --detach, --interactive, --tty and --rm out of the flags: the unit's
// sandbox is in the foreground of systemd. rest is what follows the flags.
func undetached(fs *pflag.FlagSet, args, rest []string) []string {
	flags := args[:len(args)-len(rest)]
	var list []string
	for i := 0; i < len(flags); i++ {
		a := flags[i]
		valued := false // the next word is its value
		switch {
		case strings.HasPrefix(a, "--"):
			name, value, given := strings.Cut(a[2:], "=")
			f := fs.Lookup(name)
			if f != nil && (foreign(f.Shorthand, value) || name == "rm") {
				continue
			}
			valued = f != nil && f.NoOptDefVal == "" && !given
		case strings.HasPrefix(a, "-"):
			if a, valued = unclustered(fs, a[1:]); a == "" {
				continue
			}
			a = "-" + a
		}
		list = append(list, a)
		if valued && i+1 < len(flags) {
			i++
			list = append(list, flags[i])
		}
	}
	return append(list, slices.Clone(rest)...)
}

// foreign says whether a short flag is not for a unit: -d, -i, and -t without a value or
// with always, as systemd has no terminal.
func foreign(short, value string) bool {
	return short == "d" || short == "i" || short == "t" && (value == "" || value == "always")
}

// unclustered takes out of short flags that stand together what is not for a unit, and
// says whether the last of them has its value in the next word.
func unclustered(fs *pflag.FlagSet, cluster string) (left string, valued bool) {
	for i := range len(cluster) {
		short, rest := cluster[i:i+1], cluster[i+1:]
		f := fs.ShorthandLookup(short)
		value, given := strings.CutPrefix(rest, "=")
		switch {
		case f == nil || f.NoOptDefVal == "": // the rest is its value
			return left + cluster[i:], f != nil && rest == ""
		case given && foreign(short, value):
			return left, false
		case given:
			return left + cluster[i:], false
		case !foreign(short, ""):
			left += short
		}
	}
	return left, false
}

// unitDir writes a directory as systemd reads it back. It takes the line as it is,
// but for %, blanks at its end, and a backslash there, after which it goes on
// (systemd.syntax(7)); nothing stands for another character.
func unitDir(dir string) (string, error) {
	if strings.ContainsFunc(dir, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.HasSuffix(dir, `\`) || strings.HasSuffix(dir, " ") {
		return "", fmt.Errorf("a unit can't name the directory %q as WorkingDirectory=: systemd has no way to write control characters, or a blank or backslash at its end; start the sandbox from another directory, or rename this one", dir)
	}
	return strings.ReplaceAll(dir, "%", "%%"), nil
}

func writeUnit(w io.Writer, exe, dir string, args []string, restart string) error {
	dir, err := unitDir(dir)
	if err != nil {
		return err
	}
	fs := options.RunSet()
	if err := fs.Parse(args); err != nil {
		return err
	}
	words := []string{unitQuote(exe), "run"}
	if !fs.Changed("sdnotify") {
		words = append(words, "--sdnotify="+options.NotifyRuns)
	}
	for _, a := range args {
		words = append(words, unitQuote(a))
	}
	sockets := ""
	if fs.Changed("listen-fds") {
		sockets = "# The sockets come from the unit of the same name with .socket (systemd.socket(5)).\n"
	}
	const stop = 90 * time.Second // what systemd allows where a unit says nothing
	_, err = fmt.Fprintf(w, `[Unit]
Description=sbx: %s

[Service]
# It is started when the command runs, and not before the sandbox is built.
Type=notify
NotifyAccess=main
WorkingDirectory=%s
%sExecStart=%s
Restart=%s
# The supervisor passes SIGTERM on to the command; what is left is killed.
KillMode=mixed
TimeoutStopSec=%d
# A command that SIGTERM ends has not failed.
SuccessExitStatus=143

[Install]
WantedBy=default.target
`, strings.ReplaceAll(described(args), "%", "%%"), dir, sockets, strings.Join(words, " "), restart, int(stop.Seconds()))
	return err
}

// described are the arguments of run in a line, for a unit's description.
func described(args []string) string {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	line := strings.Join(strings.Fields(screen.Printable(strings.Join(args, " "))), " ")
	return strings.TrimRight(line, `\ `) // one at the end goes on in the next line
}

// unitQuote writes a word as systemd.service(5) reads it back, "Command lines".
func unitQuote(s string) string {
	var b strings.Builder
	plain := s != ""
	for _, c := range []byte(s) {
		switch {
		case c == '%' || c == '$':
			b.WriteByte(c)
			b.WriteByte(c)
			continue
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-_./:=,+@", rune(c)) {
			plain = false
		}
	}
	if plain {
		return b.String()
	}
	return `"` + b.String() + `"`
}
