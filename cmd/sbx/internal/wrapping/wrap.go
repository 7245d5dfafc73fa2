// Package wrapping lets programs be run in sandboxes by their own names.
package wrapping

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/shim"
	"github.com/sbx-sandbox/sbx/profiles"
)

// shimsDir is where shims lie, "" without a home. It is in a directory of sbx's
// own: sandboxes can't write it, and it is left out of their PATH.
func shimsDir(env profiles.Env) string {
	dir := (&cli.Invocation{Env: env}).XDG("XDG_DATA_HOME", ".local/share")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "shims")
}

// wrapped are the profiles of programs that build or install what strangers wrote.
var wrapped = []struct {
	profile  string
	programs []string
}{
	{"node", []string{"node", "npm", "npx", "corepack", "bun", "deno", "tsc"}},
	{"pnpm", []string{"pnpm", "pnpx"}},
	{"yarn", []string{"yarn", "yarnpkg"}},
	{"python", []string{"python", "python3", "pip", "pip3", "uv", "uvx", "pytest", "tox", "poetry"}},
	{"rust", []string{"cargo", "rustc"}},
	{"go", []string{"go"}},
	{"make", []string{"make", "gmake", "cmake", "ctest", "ninja", "meson"}},
}

// profileFor is the profile that a program is wrapped with when none is named.
func profileFor(program string) string {
	for _, w := range wrapped {
		if slices.Contains(w.programs, program) {
			return "builtin:" + w.profile
		}
	}
	return "builtin:build"
}

// InstallCommand is the verb wrap install.
func InstallCommand() cli.Command {
	return cli.Command{
		Name: "wrap install", Args: "[FLAGS] PROGRAM...",
		Summary: "have programs run in a sandbox when called by name",
		Long: "Write a shim for each PROGRAM: a file of its name that runs it in a sandbox, with its arguments, standard streams, signals " +
			"and exit status as without. The sandbox is that of the nearest .sbx.toml, else of --profile, else of the built-in profile for " +
			"such programs. With --registry, verbs that fetch packages (npm install, pip install, cargo fetch, go mod) run in the phases of that profile: " +
			"first what downloads, with the registry in reach and scripts off, then what builds, without a network. What is printed then is the line that puts the shims before the rest of PATH. " +
			"In a sandbox a shim is the program itself, and with " + shim.Bypass + "=off outside too.",
		Example: "sbx wrap install npm pip cargo make\nsbx wrap install --profile=builtin:strict --flag=--timeout=10m make",
		Words: func([]string) []cli.Candidate {
			var list []cli.Candidate
			for _, w := range wrapped {
				for _, p := range w.programs {
					list = append(list, cli.Candidate{Word: p, Doc: "in the profile " + w.profile})
				}
			}
			return list
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			profile, flags, registry := "", []string(nil), ""
			cli.AddFlag(fs, cli.Flag{Name: "profile", Arg: "PROFILE", Group: cli.GroupProfile, Usage: "profile where a project has none of its own", Words: []string{"@profile"},
				Set: func(s string) error { profile = s; return nil }})
			cli.AddFlag(fs, cli.Flag{Name: "flag", Arg: "FLAG", Group: cli.GroupProfile, Usage: "flag of sbx run for it, as --flag=--memory=2G; again for more",
				Set: func(s string) error { flags = append(flags, s); return nil }})
			cli.AddFlag(fs, cli.Flag{Name: "registry", Arg: "WHERE", Bare: askedRegistry, Group: cli.GroupNetwork,
				Usage: "let it fetch packages from the registry that it is set to, or from addresses and hosts with commas between; nothing else is reached",
				Set:   func(s string) error { registry = s; return nil }})
			return func(inv *cli.Invocation) error { return wrapInstall(inv, profile, flags, registry) }
		},
	}
}

func wrapInstall(inv *cli.Invocation, profile string, flags []string, registry string) error {
	if len(inv.Args) == 0 {
		return cli.Usagef("wrap which programs? for example: sbx wrap install npm make")
	}
	env := profiles.HostEnv()
	dir := shimsDir(env)
	if dir == "" {
		return errors.New("there is no home directory to keep shims in; set HOME or XDG_DATA_HOME")
	}
	var list []shim.Shim
	for _, name := range inv.Args {
		if err := shim.CheckProgram(name); err != nil {
			return cli.WrongUsage(err)
		}
		s := shim.Shim{Command: name, Profile: profile, Flags: flags}
		if registry != "" {
			if err := goOnline(&s, registry, dir); err != nil {
				return err
			}
		}
		if s.Profile == "" {
			s.Profile = profileFor(name)
		}
		if _, err := profiles.Find(s.Profile, env); err != nil {
			return err
		}
		list = append(list, s)
	}
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	options.RunFlags(fs)
	if err := fs.Parse(flags); err != nil {
		return cli.FlagError(fs, err)
	}
	if fs.NArg() > 0 {
		return cli.Usagef("--flag: %q is no flag of sbx run", fs.Arg(0))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	self, err := ownPath()
	if err != nil {
		return err
	}
	for _, s := range list {
		if err := writeShim(dir, s, self); err != nil {
			return err
		}
		with := ""
		if s.Network != nil {
			with = ", and fetches with " + s.Network[0]
		} else if registry != "" {
			with = ", with " + s.Flags[0]
		}
		fmt.Fprintf(inv.Out, "%s runs in the profile %s%s\n", screen.Printable(s.Command), screen.Printable(s.Profile), screen.Printable(with))
		if cli.FindProgram(nil, s.Command, dir) == "" {
			inv.Warn("%s is in no directory of PATH; sbx wrap rm %s, if it is misspelled", s.Command, s.Command)
		}
	}
	adviseOnPath(inv, dir)
	return nil
}

// ownPath is where sbx is found again: the name on PATH it was called by, which
// an update replaces, before the file itself.
func ownPath() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	if found := cli.FindProgram(nil, "sbx"); found != "" && filepath.IsAbs(found) {
		a, err1 := os.Stat(found)
		b, err2 := os.Stat(exe)
		if err1 == nil && err2 == nil && os.SameFile(a, b) {
			return found, nil
		}
	}
	return exe, nil
}

// writeShim writes a shim in place of one that may be there. Other files are
// left alone.
func writeShim(dir string, s shim.Shim, self string) error {
	file := filepath.Join(dir, s.Command)
	if _, err := os.Lstat(file); err == nil {
		if _, err := shim.Read(nil, file); err != nil {
			return fmt.Errorf("there is something else already: %w", err)
		}
	}
	text, err := s.Text(self)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".shim-")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	if err == nil {
		err = tmp.Chmod(0o700)
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// adviseOnPath says how the shims come first in PATH, unless they do.
func adviseOnPath(inv *cli.Invocation, dir string) {
	if first, _, _ := strings.Cut(os.Getenv("PATH"), ":"); first == dir {
		return
	}
	fmt.Fprintf(inv.Out, "Put them first, at the end of\n  ~/.bashrc, ~/.zshrc:         export PATH=%s:\"$PATH\"\n  ~/.config/fish/config.fish:  fish_add_path --path --move %s\n",
		shellWord(dir), shellWord(dir))
}

// shellWord quotes s for a shell where that is needed.
func shellWord(s string) string {
	if cli.Typed([]string{s}) == s {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// LsCommand is the verb wrap ls.
func LsCommand() cli.Command {
	return cli.Command{
		Name: "wrap ls", Args: "[FLAGS]", Summary: "list the programs that run in a sandbox by name",
		Long:    "List the shims of sbx wrap install: the program, its profile, what it stands for and whether PATH leads to the shim.",
		Example: "sbx wrap ls\nsbx wrap ls --format=json",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, 0, wrapLs)
		},
	}
}

// wrapLine is what `wrap ls` says of one shim.
type wrapLine struct {
	Program string   `json:"program"`
	Profile string   `json:"profile,omitempty"`
	Flags   []string `json:"flags,omitempty"`
	// Network and Phases are as in the shim.
	Network   []string          `json:"network,omitempty"`
	Phases    map[string]string `json:"phases,omitempty"`
	StandsFor string            `json:"stands_for,omitempty"` // absolute; "" where it is not installed
	State     string            `json:"state"`                // or what is wrong with the file
}

func wrapLs(inv *cli.Invocation, asJSON bool) error {
	dir := shimsDir(profiles.HostEnv())
	names, err := shimNames(dir)
	if err != nil {
		return err
	}
	lines := []wrapLine{}
	for _, name := range names {
		lines = append(lines, wrapLineOf(dir, name))
	}
	if err := wrapTable(inv, lines, asJSON); err != nil || asJSON || len(lines) == 0 {
		return err
	}
	adviseOnPath(inv, dir)
	return nil
}

// inUse is the state of a shim by which its program is called.
const inUse = "in use"

// wrapLineOf looks at the shim called name in dir.
func wrapLineOf(dir, name string) wrapLine {
	l := wrapLine{Program: name, StandsFor: cli.FindProgram(nil, name, dir), State: inUse}
	s, err := shim.Read(nil, filepath.Join(dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.State = "not wrapped"
		return l
	case err != nil:
		return wrapLine{Program: name, State: err.Error()}
	}
	l.Profile, l.Flags, l.Network, l.Phases = s.Profile, s.Flags, s.Network, s.Phases
	switch {
	case l.StandsFor == "":
		l.State = "not installed"
	case cli.FindProgram(nil, name) != filepath.Join(dir, name):
		l.State = "PATH has another first"
	}
	return l
}

// wrapTable prints the lines.
func wrapTable(inv *cli.Invocation, lines []wrapLine, asJSON bool) error {
	if asJSON {
		return inv.PrintJSON(struct {
			Schema   int        `json:"schema"`
			Programs []wrapLine `json:"programs"`
		}{1, lines})
	}
	rows := [][]string{{"PROGRAM", "PROFILE", "STANDS FOR", "STATE"}}
	for _, l := range lines {
		with := strings.Join(append([]string{cmp.Or(l.Profile, "-")}, l.Flags...), " ")
		if len(l.Phases) > 0 {
			allowed := slices.DeleteFunc(slices.Clone(l.Network), func(flag string) bool { return !strings.HasPrefix(flag, "--allow=") })
			with += ", fetches with " + strings.Join(allowed, " ")
		}
		rows = append(rows, []string{l.Program, with, cmp.Or(l.StandsFor, "-"), l.State})
	}
	return inv.Table(rows)
}

// StatusCommand is the verb wrap status.
func StatusCommand() cli.Command {
	return cli.Command{
		Name: "wrap status", Args: "[FLAGS] [PROGRAM...]", Summary: "say whether programs called by name run in a sandbox",
		Long: "List the programs, or all that are wrapped, with the sandbox that each would run in. The exit status is 1 when one of them " +
			"would not: since it is not wrapped, PATH has another first, it is not installed, or " + shim.Bypass + "=off is set.",
		Example: "sbx wrap status\nsbx wrap status npm && npm install",
		Words:   func([]string) []cli.Candidate { return shimWords() },
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, cli.AnyNumber, wrapStatus)
		},
	}
}

func wrapStatus(inv *cli.Invocation, asJSON bool) error {
	dir := shimsDir(profiles.HostEnv())
	names := inv.Args
	for _, name := range names {
		if err := shim.CheckProgram(name); err != nil {
			return cli.WrongUsage(err)
		}
	}
	if len(names) == 0 {
		var err error
		if names, err = shimNames(dir); err != nil {
			return err
		}
	}
	without := ""
	switch {
	case cli.InSandbox():
		without = "a shim is the program itself in a sandbox, as here"
	case os.Getenv(shim.Bypass) == "off":
		without = "not in use: " + shim.Bypass + " is off"
	}
	lines := []wrapLine{}
	for _, name := range names {
		l := wrapLineOf(dir, name)
		if l.State == inUse && without != "" {
			l.State = without
		}
		if l.State != inUse {
			inv.Status = cli.ExitFound
		}
		lines = append(lines, l)
	}
	return wrapTable(inv, lines, asJSON)
}

// shimWords are the wrapped programs as candidates.
func shimWords() []cli.Candidate {
	names, _ := shimNames(shimsDir(profiles.HostEnv()))
	var list []cli.Candidate
	for _, n := range names {
		list = append(list, cli.Candidate{Word: n})
	}
	return list
}

// shimNames are the files in the shims' directory, sorted.
func shimNames(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// RmCommand is the verb wrap rm.
func RmCommand() cli.Command {
	return cli.Command{
		Name: "wrap rm", Args: "[--all | PROGRAM...]", Summary: "have programs run as they are again",
		Long:    "Remove the shims that sbx wrap install wrote.",
		Example: "sbx wrap rm npm\nsbx wrap rm --all",
		Words:   func([]string) []cli.Candidate { return shimWords() },
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			all := false
			cli.AddSwitch(fs, &all, "all", "", cli.GroupOutput, "every one")
			return func(inv *cli.Invocation) error { return wrapRm(inv, all) }
		},
	}
}

func wrapRm(inv *cli.Invocation, all bool) error {
	dir := shimsDir(profiles.HostEnv())
	names := inv.Args
	switch {
	case all && len(names) > 0:
		return cli.Usagef("--all takes no programs")
	case !all && len(names) == 0:
		return cli.Usagef("which programs? sbx wrap ls lists them")
	case all:
		var err error
		if names, err = shimNames(dir); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := shim.CheckProgram(name); err != nil {
			return cli.WrongUsage(err)
		}
		if _, err := shim.Read(nil, filepath.Join(dir, name)); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is not wrapped; sbx wrap ls lists what is", name)
			}
			return fmt.Errorf("not removed, as it is no shim of sbx's: %w", err)
		}
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
