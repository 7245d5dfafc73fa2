package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

// page is a plan being written for a person.
type page struct {
	inv  *invocation
	plan *sandbox.Plan
}

// explainText prints the plan in sections.
func (inv *invocation) explainText(p *sandbox.Plan, refused *profiles.UntrustedError) {
	pg := page{inv, p}
	fmt.Fprintf(inv.out, "%s, from %s\n", p.Name, printable(strings.Join(nearAll(p.Files), ", ")))
	if refused != nil {
		pg.trust(refused)
	}
	for _, section := range []func(){pg.who, pg.namespaces, pg.files, pg.audit, pg.network, pg.limits, pg.environment, pg.process, pg.calls, pg.landlock, pg.features, pg.notes} {
		section()
	}
}

func nearAll(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = near(p)
	}
	return out
}

func (pg page) section(name string) {
	fmt.Fprintf(pg.inv.out, "\n%s\n", paint(pg.inv.out, bold, printable(name)))
}

// line prints one fact, and in brackets the key that asked for it and where.
func (pg page) line(key, format string, args ...any) {
	s := "  " + printable(fmt.Sprintf(format, args...))
	if at := origin(pg.inv.profile, key); at != "" {
		at, _, _ = cutLast(at) // the column is of no use to a reader
		if strings.HasPrefix(origin(pg.inv.profile, key), "--") {
			at = origin(pg.inv.profile, key)
		}
		s = fmt.Sprintf("%-64s [%s %s]", s, printable(key), printable(near(at)))
	} else if key != "" {
		s = fmt.Sprintf("%-64s [%s]", s, printable(key))
	}
	fmt.Fprintln(pg.inv.out, s)
}

func (pg page) trust(e *profiles.UntrustedError) {
	pg.section("not trusted: run refuses until you run " + e.Command)
	for _, g := range e.Grants {
		pg.line(g.Key, "%s", g.Text)
	}
}

func (pg page) who() {
	pg.section("who")
	p := pg.plan
	pg.line("", "outside: %s, uid %d, gid %d", p.Caller.User, p.Caller.UID, p.Caller.GID)
	pg.line("user.as", "inside: uid %d, gid %d", p.IDs.UID, p.IDs.GID)
	pg.line(p.IDs.From, "ids that exist: %s", p.IDs.Mode)
	pg.line("", "outer map (inside outside count): uids %s; gids %s", oneLine(p.IDs.OuterUIDs.String()), oneLine(p.IDs.OuterGIDs.String()))
	pg.line("", "inner map, which owns nothing: uids %s; gids %s", oneLine(p.IDs.InnerUIDs.String()), oneLine(p.IDs.InnerGIDs.String()))
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.TrimSpace(s), func(r rune) bool { return r == '\n' }), ", ")
}

func (pg page) namespaces() {
	pg.section("namespaces")
	n := pg.plan.Namespaces
	own, shared := []string{"user", "mount", "pid"}, []string{}
	for _, x := range []struct {
		name string
		own  bool
	}{{"ipc", n.IPC}, {"uts", n.UTS}, {"cgroup", n.Cgroup}, {"network", n.Net}, {"time", n.Time}} {
		if x.own {
			own = append(own, x.name)
		} else {
			shared = append(shared, x.name)
		}
	}
	pg.line("", "of its own: %s", strings.Join(own, ", "))
	if len(shared) > 0 {
		pg.line("", "the host's: %s", strings.Join(shared, ", "))
	}
	if n.Monotonic != 0 || n.Boottime != 0 {
		pg.line("", "clocks: monotonic %+v, boot time %+v", n.Monotonic, n.Boottime)
	}
	pg.line("process.hostname", "host name: %s", pg.plan.Hostname)
}

func (pg page) files() {
	pg.section("files")
	p := pg.plan
	root := "/  memory of its own"
	if p.Root.InPlace {
		root = "/  the host's tree in place"
	}
	if p.Root.ReadOnly {
		root += ", read-only"
	}
	pg.line(p.Root.From, "%s", root)
	for _, m := range p.Mounts {
		pg.line(m.From, "%s", mountText(m))
	}
	pg.line("root.proc", "/proc  %s", map[sandbox.ProcMode]string{sandbox.ProcNew: "of its own processes", sandbox.ProcPid: "processes only", sandbox.ProcNone: "none"}[p.Proc])
	if p.Pseudo.Dev {
		queues := ""
		if p.Pseudo.Mqueue {
			queues = ", mqueue"
		}
		pg.line("root.dev", "/dev  %s, pts%s, shm %s", strings.Join(p.Pseudo.Devices, ", "), queues, bytesText(p.Pseudo.Shm))
	} else {
		pg.line("root.dev", "/dev  none")
	}
	for _, d := range p.Create {
		pg.line("", "made on the host before the start: %s", d)
	}
}

// mountText says what stands at a target.
func mountText(m sandbox.Mount) string {
	what := string(m.Kind)
	switch m.Kind {
	case sandbox.Bind:
		if what = "shows " + m.Source; m.Source == m.Target {
			what = "the host's"
		}
	case sandbox.Tmpfs:
		what = "memory, " + bytesText(m.Size)
	case sandbox.File:
		what = fmt.Sprintf("a file of %d bytes", len(m.Content))
	case sandbox.Symlink:
		what = "-> " + m.Source
	case sandbox.Mask:
		what = "hidden"
	case sandbox.Dir:
		what = "an empty directory"
	case sandbox.Guard:
		what = "kept as it is"
	}
	switch {
	case m.Kind == sandbox.Symlink, m.Kind == sandbox.Mask, m.Kind == sandbox.Dir:
	case m.ReadOnly:
		what += ", read-only"
	case m.Kind == sandbox.Bind, m.Kind == sandbox.Tmpfs:
		what += ", writable"
	}
	if m.NoExec {
		what += ", nothing on it runs"
	}
	if m.Dev {
		what += ", devices work"
	}
	if m.Why != "" {
		what += " (" + m.Why + ")"
	}
	return m.Target + "  " + what
}

// bytesText writes a size with the largest unit that divides it.
func bytesText(n int64) string {
	for i, unit := range []string{"", "K", "M", "G", "T"} {
		if n%1024 != 0 || n == 0 || i == 4 {
			return strconv.FormatInt(n, 10) + unit
		}
		n /= 1024
	}
	return ""
}

func (pg page) network() {
	pg.section("network")
	if pg.plan.Network == sandbox.NetHost {
		pg.line("network.mode", "the host's")
		return
	}
	pg.line("network.mode", "none: a loopback of its own and nothing else")
}

func (pg page) limits() {
	pg.section("limits")
	for _, l := range pg.plan.Limits {
		value := bytesText(int64(l.Hard))
		switch l.Name {
		case "nproc", "nofile", "sigpending":
			value = strconv.FormatUint(l.Hard, 10)
			if l.Soft != l.Hard {
				value = strconv.FormatUint(l.Soft, 10) + ", to be raised up to " + value
			}
		case "cpu":
			value = (time.Duration(l.Hard) * time.Second).String()
		}
		pg.line(l.From, "%s: %s", l.Name, value)
	}
	for _, u := range pg.plan.UCounts {
		pg.line(u.From, "%s: %d", u.Name, u.Value)
	}
	if t := pg.plan.Process.Timeout; t > 0 {
		pg.line("process.timeout", "time: %v, then %s and after %v SIGKILL", t, unix.SignalName(unix.Signal(pg.plan.Process.StopSignal)), pg.plan.Process.StopTimeout)
	}
}

// environment shows names, and values only where the profile writes them: what
// is passed on may be a secret.
func (pg page) environment() {
	pg.section("environment")
	var passed []string
	for _, kv := range pg.plan.Process.Env {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case pg.inv.profile.Environment.Set[name] == value && value != "":
			pg.line("environment.set."+name, "%s = %s", name, value)
		case slices.Contains([]string{"PATH", "HOME", "SBX", "SBX_NAME", "container", "XDG_RUNTIME_DIR", "USER", "LOGNAME"}, name):
			pg.line("", "%s = %s", name, value)
		default:
			passed = append(passed, name)
		}
	}
	if len(passed) > 0 {
		pg.line("environment.pass", "passed on or from the command line: %s", strings.Join(passed, " "))
	}
}

func (pg page) process() {
	pg.section("process")
	p := pg.plan.Process
	words := make([]string, len(p.Argv))
	for i, a := range p.Argv {
		if words[i] = a; a == "" || strings.ContainsAny(a, " \t\n'\"\\$`*?;&|<>()") && a != placeholder {
			words[i] = strconv.Quote(a)
		}
	}
	pg.line("", "command: %s", strings.Join(words, " "))
	pg.line("process.working_dir", "directory: %s", p.Dir)
	terminal := "no terminal"
	if p.Terminal != [3]bool{} {
		terminal = "of its own"
	} else if p.Pipe != [3]bool{} {
		terminal = "pipes in its place"
	}
	pg.line("process.tty", "terminal: %s", terminal)
	pg.line("", "umask %04o, nice %d, oom_score_adj %d", p.Umask, p.Nice, p.OOMScoreAdj)
	if caps := pg.plan.Security.Keep; len(caps) > 0 {
		pg.line("user.as", "capabilities, over its own ids only: %v", caps)
	}
}

// calls says what the system call filter is; all of it is for --seccomp.
func (pg page) calls() {
	s := &pg.plan.Security.Seccomp
	pg.section("system calls")
	if !s.Filtered() {
		pg.line("security.seccomp", "no filter")
		return
	}
	pg.line("security.seccomp", "policy: %s", s.Policy)
	for _, x := range []struct {
		key, what string
		list      []string
	}{{"security.seccomp_allow", "allowed beside it", s.Allow}, {"security.seccomp_deny", "refused", s.Deny}} {
		if len(x.list) > 0 {
			pg.line(x.key, "%s: %s", x.what, strings.Join(x.list, " "))
		}
	}
	p, err := resolve.Policy(&pg.inv.profile.Security, pg.plan.Security.Keep)
	if err != nil {
		return // it would have no plan
	}
	for _, a := range p.Arches {
		allowed, judged, refused := p.Counts(a)
		pg.line("", "%v: of %d calls %d are allowed, %d by their arguments, %d refused", a, allowed+judged+refused, allowed, judged, refused)
	}
	if s.Multiarch {
		pg.line("security.multiarch", "programs of any other architecture are killed")
	} else {
		pg.line("security.multiarch", "programs of other architectures are killed, those of 32 bits too")
	}
	if len(s.First) > 0 {
		pg.line("", "PID 1 has a filter of its own, with what starting the command takes")
	}
}

// landlock prints the second wall: what is allowed where, and where it is no
// help.
func (pg page) landlock() {
	l := &pg.plan.Security.Landlock
	if !l.On() {
		return
	}
	pg.section("second wall: what Landlock allows, should the mounts fail")
	for _, r := range l.Rules {
		if r.Path == "" {
			pg.line("", "descriptor %d, opened anew  %s", r.FD, r.Allow.Brief())
		} else {
			pg.line("", "%s  %s", r.Path, r.Allow.Brief())
		}
	}
	if l.Handled == 0 {
		pg.line("security.nested_userns", "files: not judged")
	}
	for _, p := range l.MountOnly {
		pg.line("", "%s  more than its mount does, since what is above it is allowed more", p)
	}
	if l.Scoped {
		pg.line("", "signals and abstract sockets: only of the sandbox's own processes")
	}
}

func (pg page) features() {
	pg.section("enforced by")
	for _, f := range pg.plan.Features {
		s := fmt.Sprintf("%-20s %-8s  %s", f.Name, f.State, f.By)
		if f.Why != "" {
			s += "; " + f.Why
		}
		fmt.Fprintln(pg.inv.out, "  "+printable(s))
	}
}

func (pg page) notes() {
	if len(pg.plan.Notes) == 0 {
		return
	}
	pg.section("notes")
	for _, n := range pg.plan.Notes {
		pg.line(n.From, "%s: %s", n.Level, n.Text)
	}
}
