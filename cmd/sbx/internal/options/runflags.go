// Package options is what the command line says of a run: what it adds to a profile,
// and how long the sandbox lives.
package options

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// Options are what the command line adds to a profile.
type Options struct {
	Over     []profiles.Override
	Env      []string // NAME=VALUE or NAME, in order
	EnvFile  bool     // some of them came from a file
	ReadOnly bool
	Quiet    bool
	Explain  bool
	JSONErrs bool
	FromFile bool   // a file was read for them
	Phase    string // --phase; "" for none
	// VerbPhase is the phase that a shim's verb runs in, if the profile has it.
	VerbPhase string
	Online    *Options // for phases with a network alone; nil for none
	Life      *Life    // nil for a plain run
}

// KeyFlag is a flag that stands for one key of the profile.
type KeyFlag struct {
	cli.Flag
	Key string
	Fix func(string) string // rewrites podman's spelling into the key's; may be nil
}

// Add declares the flag, whose values go to o's overrides.
func (k KeyFlag) Add(fs *pflag.FlagSet, o *Options) {
	k.Set = func(s string) error {
		if k.Fix != nil {
			s = k.Fix(s)
		}
		o.Over = append(o.Over, profiles.Override{Key: k.Key, Value: s, Flag: "--" + k.Name})
		return nil
	}
	cli.AddFlag(fs, k.Flag)
}

// KeyFlags are run's flags that only give one key another value.
func KeyFlags() []KeyFlag {
	return []KeyFlag{
		{cli.Flag{Name: "workdir", Short: "w", Arg: "DIR", Group: cli.GroupProcess, Usage: "start the command in this directory", Words: []string{"@dir"}}, "process.working_dir", profiles.Verbatim},
		{cli.Flag{Name: "hostname", Arg: "NAME", Group: cli.GroupProcess, Usage: "host name inside"}, "process.hostname", nil},
		{cli.Flag{Name: "tty", Short: "t", Arg: "WHEN", Bare: "always", Group: cli.GroupProcess, Usage: "a terminal of its own: auto, always (-t), never", Words: []string{"auto", "always", "never"}}, "process.tty", nil},
		{cli.Flag{Name: "timeout", Arg: "TIME", Group: cli.GroupProcess, Usage: "end the sandbox after 90s, 5m, ... with status 124"}, "process.timeout", Seconds},
		{cli.Flag{Name: "stop-timeout", Arg: "TIME", Group: cli.GroupProcess, Usage: "time from the stop signal to SIGKILL"}, "process.stop_timeout", Seconds},
		{cli.Flag{Rare: true, Name: "stop-signal", Arg: "SIGNAL", Group: cli.GroupProcess, Usage: "what asks the command to end, such as SIGINT; SIGTERM without"}, "process.stop_signal", SignalName},
		{cli.Flag{Rare: true, Name: "listen-fds", Bare: "true", Arg: "BOOL", Group: cli.GroupProcess, Usage: "pass on the sockets that systemd passed to sbx (LISTEN_FDS)", Words: []string{"true", "false"}}, "process.listen_fds", nil},
		{cli.Flag{Rare: true, Name: "health-cmd", Arg: "COMMAND", Group: cli.GroupLife, Usage: "a shell's command line whose status 0 says that all is well"}, "health.command", shellLine},
		{cli.Flag{Rare: true, Name: "health-interval", Arg: "TIME", Group: cli.GroupLife, Usage: "between two of these checks; 30s without"}, "health.interval", Seconds},
		{cli.Flag{Rare: true, Name: "health-timeout", Arg: "TIME", Group: cli.GroupLife, Usage: "when a check has failed that has not ended; 30s without"}, "health.timeout", Seconds},
		{cli.Flag{Rare: true, Name: "health-start-period", Arg: "TIME", Group: cli.GroupLife, Usage: "in which failures do not count"}, "health.start_period", Seconds},
		{cli.Flag{Rare: true, Name: "health-retries", Arg: "N", Group: cli.GroupLife, Usage: "failures in a row that make it unhealthy; 3 without"}, "health.retries", nil},
		{cli.Flag{Name: "user", Short: "u", Arg: "WHO", Group: cli.GroupIDs, Usage: "run as yourself (keep), fake root (root) or an image's user (auto)", Words: []string{"keep", "root", "auto"}}, "user.as", nil},
		{cli.Flag{Name: "userns", Arg: "MAP", Group: cli.GroupIDs, Usage: "ids that exist inside: auto, single, range", Words: []string{"auto", "single", "range"}}, "user.map", nil},
		{cli.Flag{Name: "uidmap", Arg: "IN:OUT[:N]", Group: cli.GroupIDs, Usage: "map user ids explicitly; with --gidmap"}, "user.uid_map", oneID},
		{cli.Flag{Name: "gidmap", Arg: "IN:OUT[:N]", Group: cli.GroupIDs, Usage: "map group ids explicitly; with --uidmap"}, "user.gid_map", oneID},
		{cli.Flag{Name: "network", Arg: "MODE", Group: cli.GroupNetwork, Usage: "none (loopback only), user (out to whom the rules allow), host, sandbox:NAME (that sandbox's) or network:NAME (see sbx network)", Words: []string{"none", "user", "host", "@network"}}, "network.mode", networkMode},
		{cli.Flag{Name: "allow", Arg: "RULE", Group: cli.GroupNetwork, Usage: "let it talk to NAME[:PORTS], *.NAME, an address, @internet or @lan"}, "network.allow", nil},
		{cli.Flag{Name: "deny", Rare: true, Arg: "RULE", Group: cli.GroupNetwork, Usage: "an exception from --allow"}, "network.deny", nil},
		{cli.Flag{Name: "publish", Short: "p", Arg: "[HOST:]PORT", Group: cli.GroupNetwork, Usage: "offer a port of the sandbox on the host: [[IP:]HOST:]PORT[/udp], IP being 127.0.0.1"}, "network.publish", nil},
		{cli.Flag{Name: "add-host", Rare: true, Arg: "NAME:IP", Group: cli.GroupNetwork, Usage: "a name with an address of its own"}, "network.hosts", nil},
		{cli.Flag{Name: "network-alias", Rare: true, Arg: "NAME", Group: cli.GroupNetwork, Usage: "a name by which others in a named network find it"}, "network.aliases", nil},
		{cli.Flag{Name: "dns", Rare: true, Arg: "IP", Group: cli.GroupNetwork, Usage: "a name server to ask instead of the host's"}, "network.dns", nil},
		{cli.Flag{Name: "dns-search", Rare: true, Arg: "DOMAIN", Group: cli.GroupNetwork, Usage: "where short names are looked for"}, "network.dns_search", nil},
		{cli.Flag{Name: "memory", Short: "m", Arg: "SIZE", Group: cli.GroupLimits, Usage: "memory, such as 512M or 2G"}, "limits.memory", nil},
		{cli.Flag{Name: "cpus", Arg: "N", Group: cli.GroupLimits, Usage: "processors to keep busy, such as 1.5"}, "limits.cpus", nil},
		{cli.Flag{Name: "cpuset-cpus", Arg: "LIST", Rare: true, Group: cli.GroupLimits, Usage: "processors to run on, such as 0-3,8"}, "limits.cpuset", nil},
		{cli.Flag{Name: "cpu-shares", Arg: "N", Rare: true, Group: cli.GroupLimits, Usage: "share of busy processors; 1024 is as much as any other"}, "limits.cpu_weight", cpuWeight},
		{cli.Flag{Name: "device-read-bps", Arg: "PATH:SIZE", Rare: true, Group: cli.GroupLimits, Usage: "bytes read from a device each second"}, "limits.io_read_bps", withoutSecond},
		{cli.Flag{Name: "device-write-bps", Arg: "PATH:SIZE", Rare: true, Group: cli.GroupLimits, Usage: "bytes written to a device each second"}, "limits.io_write_bps", withoutSecond},
		{cli.Flag{Name: "device-read-iops", Arg: "PATH:N", Rare: true, Group: cli.GroupLimits, Usage: "reads of a device each second"}, "limits.io_read_iops", nil},
		{cli.Flag{Name: "device-write-iops", Arg: "PATH:N", Rare: true, Group: cli.GroupLimits, Usage: "writes to a device each second"}, "limits.io_write_iops", nil},
		{cli.Flag{Name: "shm-size", Arg: "SIZE", Rare: true, Group: cli.GroupLimits, Usage: "memory of /dev/shm"}, "root.shm", nil},
		{cli.Flag{Name: "pids-limit", Arg: "N", Group: cli.GroupLimits, Usage: "processes and threads; -1 is unlimited"}, "limits.processes", nil},
		{cli.Flag{Name: "name", Arg: "NAME", Group: cli.GroupProfile, Usage: "name of the sandbox and of its persistent home"}, "name", nil},
		{cli.Flag{Name: "workspace", Arg: "DIR", Group: cli.GroupFiles, Usage: "the project's directory, instead of the current", Words: []string{"@dir"}}, "workspace.path", profiles.Verbatim},
		{cli.Flag{Name: "image", Arg: "NAME", Group: cli.GroupFiles, Usage: "an image as the root, see sbx image ls", Words: []string{"@image"}}, "root.source", func(s string) string { return "image:" + s }},
		{cli.Flag{Name: "home", Arg: "MODE", Group: cli.GroupFiles, Usage: "tmpfs (empty), persistent, host or none", Words: []string{"tmpfs", "persistent", "host", "none"}}, "home.mode", nil},
		{cli.Flag{Name: "trace-denied", Bare: "true", Arg: "BOOL", Group: cli.GroupSystem, Usage: "report each system call that the filter refuses", Words: []string{"true", "false"}}, "security.trace_denied", nil},
		{cli.Flag{Name: "require", Arg: "FEATURE", Group: cli.GroupProfile, Usage: "refuse to run where this can't be enforced; or all"}, "policy.require", nil},
	}
}

// networkMode reads docker's and podman's word for another's network.
func networkMode(s string) string {
	if name, ok := strings.CutPrefix(s, "container:"); ok {
		return "sandbox:" + name
	}
	return s
}

// RunFlags declares the flags of run, which shell and explain share.
func RunFlags(fs *pflag.FlagSet) *Options {
	o := &Options{}
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "net" {
			name = "network"
		}
		return pflag.NormalizedName(name)
	})
	for _, m := range mountFlags() {
		f := m.Flag
		f.Set = func(s string) error {
			list, err := m.parse(s)
			o.Over = append(o.Over, list...)
			return err
		}
		cli.AddFlag(fs, f)
	}
	cli.AddFlag(fs, cli.Flag{Name: "overlay", Arg: "NAME", Bare: newOverlay, Group: cli.GroupFiles, Usage: "keep changes to the workspace apart from the host's files, under NAME or a new name", Words: []string{"@overlay"}, Set: o.addOverlay})
	cli.AddSwitch(fs, &o.ReadOnly, "read-only", "", cli.GroupFiles, "nothing of the root and the workspace can be written")
	cli.AddFlag(fs, cli.Flag{Name: "env", Short: "e", Arg: "NAME[=VALUE]", Group: cli.GroupProcess, Usage: "set a variable, or pass the caller's", Words: []string{"@env"}, Set: o.AddEnv})
	cli.AddFlag(fs, cli.Flag{Name: "env-file", Arg: "FILE", Group: cli.GroupProcess, Usage: "as --env for each line of a file", Words: []string{"@file"}, Set: o.AddEnvFile})
	for _, k := range KeyFlags() {
		k.Add(fs, o)
	}
	cli.AddFlag(fs, cli.Flag{Name: "ulimit", Arg: "NAME=N", Group: cli.GroupLimits, Usage: "of each process: nofile, fsize, core, cpu, stack, memlock",
		Words: []string{"nofile=", "fsize=", "core=", "cpu=", "stack=", "memlock="}, Set: o.addUlimit})
	cli.AddFlag(fs, cli.Flag{Name: "security-opt", Arg: "seccomp=POLICY", Group: cli.GroupSystem, Usage: "system calls: default, build, strict, unconfined, or a JSON file",
		Words: []string{"seccomp=default", "seccomp=build", "seccomp=strict", "seccomp=unconfined"}, Set: o.addSecurity})
	cli.AddFlag(fs, cli.Flag{Name: "set", Arg: "KEY=VALUE", Group: cli.GroupProfile, Usage: "set any key of the profile, as limits.stack=8M", Words: []string{"@key"}, Set: o.AddSet})
	cli.AddFlag(fs, cli.Flag{Name: "phase", Arg: "NAME", Group: cli.GroupProfile, Usage: "run in this phase of the profile's alone; all is each in order", Words: []string{"@phase"},
		Set: func(s string) error {
			if o.Phase = s; s == "" {
				return errors.New("the name is empty")
			}
			return nil
		}})
	cli.AddSwitch(fs, &o.Quiet, "quiet", "q", cli.GroupOutput, "no warnings")
	cli.AddSwitch(fs, &o.JSONErrs, "json-errors", "", cli.GroupOutput, "a failure is one JSON object on stderr; no warnings")
	return o
}

// newOverlay is what --overlay without a name stands for. It is no name itself.
const newOverlay = "-"

func (o *Options) addOverlay(s string) error {
	const flag = "--overlay"
	if s == "" {
		return errors.New("the name is empty; leave it out for a new one")
	}
	o.Over = append(o.Over, profiles.Override{Key: "workspace.access", Value: "overlay", Flag: flag})
	if s != newOverlay {
		o.Over = append(o.Over, profiles.Override{Key: "overlay.name", Value: s, Flag: flag})
	}
	return nil
}

// Seconds lets a number without a unit be seconds, as podman and timeout(1) do.
func Seconds(s string) string {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		return s + "s"
	}
	return s
}

// cpuWeight turns shares, of version 1 of control groups, into a weight as the
// OCI's runtimes do: 2, 1024 and 262144 are 1, 100 and 10000, and what lies
// between goes by the logarithm.
func cpuWeight(s string) string {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < 2 || n > 262144 {
		return s + " shares"
	}
	l := math.Log2(float64(n))
	return strconv.Itoa(int(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34) - 1e-9)))
}

// SignalName is what a profile calls a signal, which may be written without SIG, in
// small letters or as its number. What is no signal stays as it is.
func SignalName(s string) string {
	name := strings.ToUpper(s)
	if n, err := strconv.Atoi(s); err == nil {
		name = unix.SignalName(unix.Signal(n))
	} else if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if unix.SignalNum(name) == 0 {
		return s
	}
	return name
}

// shellLine is a list of a profile that has the shell read a command line.
func shellLine(s string) string {
	if s == "none" { // as docker has it
		return "[]"
	}
	q, _ := json.Marshal(profiles.Verbatim(s)) // a string of JSON is one of TOML
	return `["/bin/sh", "-c", ` + string(q) + `]`
}

// withoutSecond lets a rate be written as podman also takes it: "/dev/sda:1mb/s".
func withoutSecond(s string) string { return strings.TrimSuffix(s, "/s") }

// oneID lets a map of one id leave out the count.
func oneID(s string) string {
	if strings.Count(s, ":") == 1 {
		return s + ":1"
	}
	return s
}

// AddSet takes KEY=VALUE, any key of the profile.
func (o *Options) AddSet(s string) error {
	key, value, ok := cutSet(s)
	if !ok {
		return fmt.Errorf("%q is not KEY=VALUE, write for example limits.memory=2G", s)
	}
	o.Over = append(o.Over, profiles.Override{Key: key, Value: value, Flag: "--set"})
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

func (o *Options) addUlimit(s string) error {
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
			value = Seconds(value)
		}
		o.Over = append(o.Over, profiles.Override{Key: u.key, Value: value, Flag: "--ulimit"})
		return nil
	}
	if name == "nproc" {
		return errors.New("for the number of processes use --pids-limit")
	}
	return fmt.Errorf("no limit %q%s, use %s", name, cli.Meant(name, names), strings.Join(names, ", "))
}

// addSecurity takes podman's --security-opt, as far as there is a choice here.
func (o *Options) addSecurity(s string) error {
	key, value, _ := strings.Cut(s, "=")
	switch {
	case key == "seccomp" && value != "":
		if slices.Contains(Policies, value) {
			o.Over = append(o.Over, profiles.Override{Key: "security.seccomp", Value: value, Flag: "--security-opt"})
			return nil
		}
		if !strings.ContainsAny(value, "./") { // a slip rather than a file
			return fmt.Errorf("no policy %q%s, use %s or a file such as ./%s.json", value, cli.Meant(value, Policies), strings.Join(Policies, ", "), value)
		}
		if !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "~/") {
			value = "./" + value
		}
		o.Over = append(o.Over, profiles.Override{Key: "security.seccomp", Value: profiles.Verbatim(value), Flag: "--security-opt"})
		return nil
	case key == "no-new-privileges":
		return errors.New("no-new-privileges always holds, leave it out")
	case key == "label" || key == "apparmor" || key == "mask" || key == "unmask":
		return fmt.Errorf("%s: there is no such choice here, leave it out", key)
	}
	return fmt.Errorf("%q is not seccomp=POLICY, write for example seccomp=strict", s)
}

// Policies are the built-in policies of system calls.
var Policies = []string{"default", "build", "strict", "unconfined"}

// AddEnv takes NAME=VALUE, or NAME to pass the caller's.
func (o *Options) AddEnv(s string) error {
	if err := checkEnv(s); err != nil {
		return err
	}
	o.Env = append(o.Env, s)
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

// AddEnvFile reads lines NAME=VALUE and NAME; # begins a comment line.
func (o *Options) AddEnvFile(path string) error {
	o.EnvFile = true
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
		o.Env = append(o.Env, line)
	}
	return lines.Err()
}

// Overrides are the flags as keys of the profile p. What is looked at for that is
// remembered in log, which may be nil.
func (o *Options) Overrides(p *profiles.Profile, log *seen.Log) []profiles.Override {
	over := o.networked(p)
	if !o.ReadOnly {
		return over
	}
	const flag = "--read-only"
	list := []profiles.Override{{Key: "root.read_only", Value: "true", Flag: flag}}
	if p.Workspace.Access == "rw" { // "none" stays none
		list = append(list, profiles.Override{Key: "workspace.access", Value: "ro", Flag: flag})
	}
	for _, m := range p.Mounts {
		if m.Type == "bind" && m.Access == "rw" && leadsInto(log, m.Source, p.Workspace.Path) {
			k := MountKeys{Flag: flag, Target: m.Target}
			k.Set("access", "ro")
			list = append(list, k.List...)
		}
	}
	return append(list, over...) // a volume of the command line's own is as it says
}

// networked adds the network that a flag is about where the profile has none:
// whoever says whom to talk to, or which port to offer, wants one.
func (o *Options) networked(p *profiles.Profile) []profiles.Override {
	const mode = "network.mode"
	said := func(key string) bool {
		return slices.ContainsFunc(o.Over, func(v profiles.Override) bool { return v.Key == key })
	}
	if p.Network.Mode != "none" || said(mode) {
		return o.Over
	}
	for _, v := range o.Over {
		if v.Flag != "--set" && strings.HasPrefix(v.Key, "network.") {
			return append([]profiles.Override{{Key: mode, Value: "user", Flag: v.Flag}}, o.Over...)
		}
	}
	return o.Over
}

// leadsInto reports whether path is in dir, links followed, or may be.
func leadsInto(log *seen.Log, path, dir string) bool {
	path, err := log.EvalSymlinks(path)
	real, err2 := log.EvalSymlinks(dir)
	return err != nil || err2 != nil || path == real || strings.HasPrefix(path, strings.TrimSuffix(real, "/")+"/")
}
