package shells

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/access"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/project"
	"github.com/sbx-sandbox/sbx/profiles"
)

// Name is the name by which sbx is its verb sh: what wants a shell as one
// word (make's SHELL, npm's script-shell) has no room for two.
const Name = "sbx-sh"

// ShCommand is the verb sh.
func ShCommand() cli.Command {
	return cli.Command{
		Name: "sh", Args: "[-c STRING [NAME [ARG...]] | FILE [ARG...]]", Runs: true, Strict: true, Raw: true,
		Summary: "be the shell that another program runs its commands by",
		Long: "Take a shell's arguments and run /bin/sh with them in a sandbox: that of the nearest .sbx.toml, else of the profile " +
			"that SBX_SH_PROFILE names, else of your default. " + Name + ", a link to sbx that is installed beside it, is the same in one word, for a script's first line and for " +
			"make SHELL=\"$(command -v sbx-sh)\" or npm install --script-shell=\"$(command -v sbx-sh)\". A FILE that can't be seen inside is shown there read-only; one that is a program and no script is run itself, as for " +
			"go test -exec=\"$(command -v sbx-sh)\" and cargo's CARGO_TARGET_..._RUNNER. " +
			"Where sbx up has started the project's sandbox, it is that one. In a sandbox it is /bin/sh itself. Who runs commands by it is still outside: a stranger's Makefile is read by make itself, " +
			"so run all of make inside (sbx wrap install make).",
		Example: "sbx sh -c 'make -j2'\nsbx sh ./install.sh --prefix=/tmp/x",
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error { return sh(inv, inv.Args) }
		},
	}
}

// sh runs /bin/sh with args. They are not parsed but for what is the script: sh
// has options of its own.
func sh(inv *cli.Invocation, args []string) error {
	const shell = "/bin/sh"
	argv := append([]string{shell}, args...)
	if program := programOf(args); program != nil {
		argv = program
	}
	if cli.InSandbox() {
		return cli.BecomeProgram(argv[0], argv)
	}
	env := profiles.HostEnv()
	script := scriptOf(args)
	if shown := script == "" || inProject(script, env); shown {
		if r, ok := project.UpNow(env); ok {
			return access.ExecUp(inv, &r, argv, &access.ExecOptions{Interactive: true, Tty: "auto"})
		}
	}
	ref := ""
	if named := os.Getenv("SBX_SH_PROFILE"); named != "" {
		_, ok, err := profiles.Discover(env.Cwd, env)
		if err != nil {
			return err
		}
		if inv.Chosen = named; !ok {
			ref = named
		}
	}
	o := &options.Options{}
	if script != "" {
		if err := showScript(inv, o, script, env); err != nil {
			return err
		}
	}
	return launch.Start(inv, ref, argv, o, nil)
}

// programOf is args as a program's command line where they begin with a file that is
// one and no script, which is what `go test -exec` and cargo's runner have run. It is
// nil otherwise.
func programOf(args []string) []string {
	if len(args) == 0 || args[0] == "" || args[0][0] == '-' || args[0][0] == '+' {
		return nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil
	}
	defer f.Close()
	const elf = "\x7fELF" // elf(5)
	var magic [len(elf)]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != elf {
		return nil
	}
	argv := slices.Clone(args)
	if !strings.Contains(argv[0], "/") {
		argv[0] = "./" + argv[0] // as sh has it: a file, and not a name to be looked up
	}
	return argv
}

// scriptOf is the file that sh reads its commands from, "" if it is none: the
// first argument that is no option, unless there is -c or -s.
func scriptOf(args []string) string {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--" || a == "-":
			if i+1 < len(args) {
				return args[i+1]
			}
			return ""
		case len(a) < 2 || a[0] != '-' && a[0] != '+':
			return a
		case strings.HasPrefix(a, "--"):
		case strings.ContainsAny(a, "cs"):
			return ""
		case strings.HasSuffix(a, "o"): // its value follows
			i++
		}
	}
	return ""
}

// showScript binds a script that lies outside of the project read-only at its
// own place. Schedulers of clusters copy scripts to directories of their own.
func showScript(inv *cli.Invocation, o *options.Options, file string, env profiles.Env) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() || inProject(file, env) {
		return nil // sh says so
	}
	k := options.MountKeys{Flag: "FILE", Target: path}
	k.Set("type", "bind")
	k.Set("source", profiles.Verbatim(path))
	k.Set("access", "ro")
	o.Over = append(o.Over, k.List...)
	return nil
}

// inProject says whether a file lies in the project or among the system's, which
// are seen inside.
func inProject(file string, env profiles.Env) bool {
	path, err := filepath.Abs(file)
	if err != nil {
		return false
	}
	space := env.Cwd
	if project, ok, err := profiles.Discover(env.Cwd, env); err == nil && ok {
		space = filepath.Dir(project)
	}
	for _, dir := range []string{space, "/usr", "/bin", "/lib"} {
		if dir != "" && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}
