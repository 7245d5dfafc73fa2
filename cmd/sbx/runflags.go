package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
)

// options are what the command line adds to a profile.
type options struct {
	over     []profiles.Override
	env      []string // NAME=VALUE or NAME, in order
	readOnly bool
	quiet    bool
	explain  bool
	jsonErrs bool
}

// The headings of run's flags, in the order of help.
const (
	gFiles   = "Files"
	gProcess = "Process"
	gIDs     = "Ids"
	gNetwork = "Network"
	gLimits  = "Limits"
	gSystem  = "Security"
	gProfile = "Profile"
	gOutput  = "Output"
)

// keyFlag is a flag that stands for one key of the profile.
type keyFlag struct {
	flagSpec
	key string
	fix func(string) string // rewrites podman's spelling into the key's; may be nil
}

// keyFlags are run's flags that only give one key another value.
func keyFlags() []keyFlag {
	return []keyFlag{
		{flagSpec{name: "workdir", short: "w", arg: "DIR", group: gProcess, usage: "start the command in this directory", words: []string{"@dir"}}, "process.working_dir", profiles.Verbatim},
		{flagSpec{name: "hostname", arg: "NAME", group: gProcess, usage: "host name inside"}, "process.hostname", nil},
		{flagSpec{name: "tty", short: "t", arg: "WHEN", bare: "always", group: gProcess, usage: "a terminal of its own: auto, always (-t), never", words: []string{"auto", "always", "never"}}, "process.tty", nil},
		{flagSpec{name: "timeout", arg: "TIME", group: gProcess, usage: "end the sandbox after 90s, 5m, ... with status 124"}, "process.timeout", seconds},
		{flagSpec{name: "stop-timeout", arg: "TIME", group: gProcess, usage: "time from the stop signal to SIGKILL"}, "process.stop_timeout", seconds},
		{flagSpec{name: "user", short: "u", arg: "WHO", group: gIDs, usage: "run as yourself (keep) or as fake root (root)", words: []string{"keep", "root"}}, "user.as", nil},
		{flagSpec{name: "userns", arg: "MAP", group: gIDs, usage: "ids that exist inside: auto, single, range", words: []string{"auto", "single", "range"}}, "user.map", nil},
		{flagSpec{name: "uidmap", arg: "IN:OUT[:N]", group: gIDs, usage: "map user ids explicitly; with --gidmap"}, "user.uid_map", oneID},
		{flagSpec{name: "gidmap", arg: "IN:OUT[:N]", group: gIDs, usage: "map group ids explicitly; with --uidmap"}, "user.gid_map", oneID},
		{flagSpec{name: "network", arg: "MODE", group: gNetwork, usage: "none (loopback only) or host", words: []string{"none", "host"}}, "network.mode", nil},
		{flagSpec{name: "memory", short: "m", arg: "SIZE", group: gLimits, usage: "memory, such as 512M or 2G"}, "limits.memory", nil},
		{flagSpec{name: "pids-limit", arg: "N", group: gLimits, usage: "processes and threads; -1 is unlimited"}, "limits.processes", nil},
		{flagSpec{name: "name", arg: "NAME", group: gProfile, usage: "name of the sandbox and of its persistent home"}, "name", nil},
		{flagSpec{name: "workspace", arg: "DIR", group: gFiles, usage: "the project's directory, instead of the current", words: []string{"@dir"}}, "workspace.path", profiles.Verbatim},
		{flagSpec{name: "home", arg: "MODE", group: gFiles, usage: "tmpfs (empty), persistent, host or none", words: []string{"tmpfs", "persistent", "host", "none"}}, "home.mode", nil},
		{flagSpec{name: "require", arg: "FEATURE", group: gProfile, usage: "refuse to run where this can't be enforced; or all"}, "policy.require", nil},
	}
}

// runFlags declares the flags of run, which shell and explain share.
func runFlags(fs *pflag.FlagSet) *options {
	o := &options{}
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "net" {
			name = "network"
		}
		return pflag.NormalizedName(name)
	})
	for _, m := range mountFlags() {
		f := m.flagSpec
		f.set = func(s string) error {
			list, err := m.parse(s)
			o.over = append(o.over, list...)
			return err
		}
		add(fs, f)
	}
	addSwitch(fs, &o.readOnly, "read-only", "", gFiles, "nothing of the root and the workspace can be written")
	add(fs, flagSpec{name: "env", short: "e", arg: "NAME[=VALUE]", group: gProcess, usage: "set a variable, or pass the caller's", words: []string{"@env"}, set: o.addEnv})
	add(fs, flagSpec{name: "env-file", arg: "FILE", group: gProcess, usage: "as --env for each line of a file", words: []string{"@file"}, set: o.addEnvFile})
	for _, k := range keyFlags() {
		f := k.flagSpec
		f.set = func(s string) error {
			if k.fix != nil {
				s = k.fix(s)
			}
			o.over = append(o.over, profiles.Override{Key: k.key, Value: s, Flag: "--" + k.name})
			return nil
		}
		add(fs, f)
	}
	add(fs, flagSpec{name: "ulimit", arg: "NAME=N", group: gLimits, usage: "of each process: nofile, fsize, core, cpu, stack, memlock",
		words: []string{"nofile=", "fsize=", "core=", "cpu=", "stack=", "memlock="}, set: o.addUlimit})
	add(fs, flagSpec{name: "security-opt", arg: "seccomp=POLICY", group: gSystem, usage: "system calls: default, build, strict, unconfined, or a JSON file",
		words: []string{"seccomp=default", "seccomp=build", "seccomp=strict", "seccomp=unconfined"}, set: o.addSecurity})
	add(fs, flagSpec{name: "set", arg: "KEY=VALUE", group: gProfile, usage: "set any key of the profile, as limits.stack=8M", words: []string{"@key"}, set: o.addSet})
	addSwitch(fs, &o.quiet, "quiet", "q", gOutput, "no warnings")
	addSwitch(fs, &o.jsonErrs, "json-errors", "", gOutput, "a failure is one JSON object on stderr; no warnings")
	return o
}

// seconds lets a number without a unit be seconds, as podman and timeout(1) do.
func seconds(s string) string {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		return s + "s"
	}
	return s
}

// oneID lets a map of one id leave out the count.
func oneID(s string) string {
	if strings.Count(s, ":") == 1 {
		return s + ":1"
	}
	return s
}

func (o *options) addSet(s string) error {
	key, value, ok := cutSet(s)
	if !ok {
		return fmt.Errorf("%q is not KEY=VALUE, write for example limits.memory=2G", s)
	}
	o.over = append(o.over, profiles.Override{Key: key, Value: value, Flag: "--set"})
	return nil
}

// cutSet splits at the first "=" outside of quotes: a mount's target may hold one.
func cutSet(s string) (key, value string, ok bool) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '=' && !quoted:
			return s[:i], s[i+1:], i > 0
		}
	}
	return "", "", false
}

// ulimits are podman's names of the limits that a profile has keys for.
var ulimits = []struct{ name, key string }{
	{"nofile", "limits.open_files"}, {"fsize", "limits.file_size"}, {"core", "limits.core"},
	{"cpu", "limits.cpu_time"}, {"stack", "limits.stack"}, {"memlock", "limits.locked_memory"},
}

func (o *options) addUlimit(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || value == "" {
		return fmt.Errorf("%q is not NAME=N, write for example nofile=1024", s)
	}
	if soft, hard, two := strings.Cut(value, ":"); two {
		if soft != hard {
			return fmt.Errorf("%s: soft and hard limits can't differ, write %s=%s", name, name, hard)
		}
		value = soft
	}
	var names []string
	for _, u := range ulimits {
		if names = append(names, u.name); u.name != name {
			continue
		}
		if name == "cpu" {
			value = seconds(value)
		}
		o.over = append(o.over, profiles.Override{Key: u.key, Value: value, Flag: "--ulimit"})
		return nil
	}
	if name == "nproc" {
		return errors.New("for the number of processes use --pids-limit")
	}
	return fmt.Errorf("no limit %q%s, use %s", name, meant(name, names), strings.Join(names, ", "))
}

// addSecurity takes podman's --security-opt, as far as there is a choice here.
func (o *options) addSecurity(s string) error {
	key, value, _ := strings.Cut(s, "=")
	switch {
	case key == "seccomp" && value != "":
		if slices.Contains(policies, value) {
			o.over = append(o.over, profiles.Override{Key: "security.seccomp", Value: value, Flag: "--security-opt"})
			return nil
		}
		if !strings.ContainsAny(value, "./") { // a slip rather than a file
			return fmt.Errorf("no policy %q%s, use %s or a file such as ./%s.json", value, meant(value, policies), strings.Join(policies, ", "), value)
		}
		if !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "~/") {
			value = "./" + value
		}
		o.over = append(o.over, profiles.Override{Key: "security.seccomp", Value: profiles.Verbatim(value), Flag: "--security-opt"})
		return nil
	case key == "no-new-privileges":
		return errors.New("no-new-privileges always holds, leave it out")
	case key == "label" || key == "apparmor" || key == "mask" || key == "unmask":
		return fmt.Errorf("%s: there is no such choice here, leave it out", key)
	}
	return fmt.Errorf("%q is not seccomp=POLICY, write for example seccomp=strict", s)
}

// policies are the built-in policies of system calls.
var policies = []string{"default", "build", "strict", "unconfined"}

func (o *options) addEnv(s string) error {
	if err := checkEnv(s); err != nil {
		return err
	}
	o.env = append(o.env, s)
	return nil
}

func checkEnv(s string) error {
	name, _, _ := strings.Cut(s, "=")
	switch {
	case name == "":
		return fmt.Errorf("%q has no name, write NAME=VALUE, or NAME to pass the caller's", s)
	case strings.ContainsAny(name, " \t"):
		return fmt.Errorf("%q: a name has no spaces", name)
	}
	return nil
}

// addEnvFile reads lines NAME=VALUE and NAME; # begins a comment line.
func (o *options) addEnvFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(strings.TrimSuffix(lines.Text(), "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := checkEnv(line); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if strings.IndexByte(line, 0) >= 0 {
			return fmt.Errorf("%s:%d: contains a NUL byte", path, n)
		}
		o.env = append(o.env, line)
	}
	return lines.Err()
}

// overrides are the flags as keys of the profile p.
func (o *options) overrides(p *profiles.Profile) []profiles.Override {
	if !o.readOnly {
		return o.over
	}
	const flag = "--read-only"
	list := []profiles.Override{{Key: "root.read_only", Value: "true", Flag: flag}}
	if p.Workspace.Access == "rw" { // "none" stays none
		list = append(list, profiles.Override{Key: "workspace.access", Value: "ro", Flag: flag})
	}
	for _, m := range p.Mounts {
		if m.Type == "bind" && m.Access == "rw" && leadsInto(m.Source, p.Workspace.Path) {
			k := mountKeys{flag: flag, target: m.Target}
			k.set("access", "ro")
			list = append(list, k.list...)
		}
	}
	return append(list, o.over...) // a volume of the command line's own is as it says
}

// leadsInto reports whether path is in dir, links followed, or may be.
func leadsInto(path, dir string) bool {
	path, err := filepath.EvalSymlinks(path)
	real, err2 := filepath.EvalSymlinks(dir)
	return err != nil || err2 != nil || path == real || strings.HasPrefix(path, strings.TrimSuffix(real, "/")+"/")
}
