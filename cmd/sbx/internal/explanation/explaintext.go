package explanation

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

// page is a plan being written for a person.
type page struct {
	inv  *cli.Invocation
	plan *sandbox.Plan
}

// explainText prints the plan in sections.
func explainText(inv *cli.Invocation, p *sandbox.Plan, refused *profiles.UntrustedError) {
	pg := page{inv, p}
	name := p.Name
	if p.Phase != "" {
		name += ", phase " + p.Phase
	}
	fmt.Fprintf(inv.Out, "%s, from %s\n", screen.Printable(name), screen.Printable(strings.Join(nearAll(p.Files), ", ")))
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
		out[i] = screen.Near(p)
	}
	return out
}

func (pg page) section(name string) {
	fmt.Fprintf(pg.inv.Out, "\n%s\n", screen.Paint(pg.inv.Out, screen.Bold, screen.Printable(name)))
}

// line prints one fact, and in brackets the key that asked for it and where.
func (pg page) line(key, format string, args ...any) {
	s := "  " + screen.Printable(fmt.Sprintf(format, args...))
	if at := cli.Origin(pg.inv.Profile, key); at != "" {
		at, _, _ = cli.CutLast(at) // the column is of no use to a reader
		if strings.HasPrefix(cli.Origin(pg.inv.Profile, key), "--") {
			at = cli.Origin(pg.inv.Profile, key)
		}
		s = fmt.Sprintf("%-64s [%s %s]", s, screen.Printable(key), screen.Printable(screen.Near(at)))
	} else if key != "" {
		s = fmt.Sprintf("%-64s [%s]", s, screen.Printable(key))
	}
	fmt.Fprintln(pg.inv.Out, s)
}

func (pg page) trust(e *profiles.UntrustedError) {
	pg.section("not trusted: run refuses until you run " + e.Command)
	for _, g := range e.Grants {
		pg.line(g.Key, "%s", g.Text)
	}
}

func (pg page) who() {
	p := pg.plan
	if p.Bare.On() {
		pg.section("without namespaces")
		pg.line("security.fallback", "this host refuses user namespaces: %s", p.Bare.Why)
		pg.line("", "Landlock alone stands between the command and the host; what is lost is below, under \"enforced by\" and \"notes\"")
		pg.line("", "%s  of its own, removed afterwards: for TMPDIR and XDG_RUNTIME_DIR%s", p.Bare.Private, map[bool]string{true: ", and for HOME"}[p.Bare.Home])
		for _, l := range p.Bare.Links {
			pg.line("", "%s  -> %s", filepath.Join(p.Bare.Private, l.Path), l.To)
		}
	}
	pg.section("who")
	pg.line("", "outside: %s, uid %d, gid %d", p.Caller.User, p.Caller.UID, p.Caller.GID)
	pg.line("user.as", "inside: uid %d, gid %d", p.IDs.UID, p.IDs.GID)
	if p.Bare.On() {
		return
	}
	pg.line(p.IDs.From, "ids that exist: %s", p.IDs.Mode)
	pg.line("", "outer map (inside outside count): uids %s; gids %s", oneLine(p.IDs.OuterUIDs.String()), oneLine(p.IDs.OuterGIDs.String()))
	pg.line("", "inner map, which owns nothing: uids %s; gids %s", oneLine(p.IDs.InnerUIDs.String()), oneLine(p.IDs.InnerGIDs.String()))
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.TrimSpace(s), func(r rune) bool { return r == '\n' }), ", ")
}

func (pg page) namespaces() {
	if pg.plan.Bare.On() {
		return
	}
	pg.section("namespaces")
	n := pg.plan.Namespaces
	own, shared := []string{"user", "mount", "pid"}, []string{}
	for _, x := range []struct {
		name string
		own  bool
	}{{"ipc", n.IPC}, {"uts", n.UTS}, {"cgroup", n.Cgroup}, {"network", n.Net}, {"time", n.Time}} {
		if x.own {
			own = append(own, x.name)
		} else if x.name != "network" || pg.plan.Network != sandbox.NetSandbox {
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
	p := pg.plan
	if p.Bare.On() {
		return // what is seen of them is what Landlock allows
	}
	pg.section("files")
	root := "/  memory of its own"
	if p.Root.InPlace {
		root = "/  the host's tree in place"
	}
	if img := &p.Root.Image; p.Root.OnImage() {
		root = fmt.Sprintf("/  the image %s, %d layers", img.Name, len(img.Layers))
		switch {
		case p.Root.Upper != "":
			root += ", changes kept as " + p.Overlay.Name
		case !p.Root.ReadOnly:
			root += fmt.Sprintf(", writable, %s in memory", screen.BytesText(p.Root.Size))
		}
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
		pg.line("root.dev", "/dev  %s, pts%s, shm %s", strings.Join(p.Pseudo.Devices, ", "), queues, screen.BytesText(p.Pseudo.Shm))
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
		what = "memory, " + screen.BytesText(m.Size)
	case sandbox.File:
		if what = fmt.Sprintf("a file of %d bytes", len(m.Content)); strings.HasPrefix(m.From, "process.secrets") {
			what = "a file"
		}
	case sandbox.Symlink:
		what = "-> " + m.Source
	case sandbox.Mask:
		what = "hidden"
	case sandbox.Dir:
		what = "an empty directory"
	case sandbox.Guard:
		what = "kept as it is"
	case sandbox.Cgroups:
		what = "the sandbox's control group, writable"
	case sandbox.Layers:
		if what = "over " + strings.Join(append([]string{m.Source}, m.Lower...), " over "); m.Source == m.Target && len(m.Lower) == 0 {
			what = "over the host's"
		}
		switch {
		case m.Upper == "" && m.Size > 0:
			what += ", changes in memory, " + screen.BytesText(m.Size)
		case m.Size > 0:
			what += ", changes on disk, about " + screen.BytesText(m.Size)
		case m.Upper != "":
			what += ", changes on disk"
		}
	}
	switch {
	case m.Kind == sandbox.Symlink, m.Kind == sandbox.Mask, m.Kind == sandbox.Dir:
	case m.Grantable && m.ReadOnly:
		what += ", when it is granted, read-only"
	case m.Grantable:
		what += ", when it is granted"
	case m.ReadOnly:
		what += ", read-only"
	case m.Kind == sandbox.Bind, m.Kind == sandbox.Tmpfs, m.Kind == sandbox.Layers:
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

func (pg page) network() {
	pg.section("network")
	switch pg.plan.Network {
	case sandbox.NetHost:
		pg.line("network.mode", "the host's")
	case sandbox.NetSandbox:
		pg.line("network.mode", "that of the sandbox %s, with its rules, and gone when that ends", pg.plan.Join.Name)
	case sandbox.NetUser:
		pg.userNetwork(&pg.plan.Net)
	default:
		what := "a loopback of its own and nothing else"
		if pg.plan.Bare.On() {
			what = "no socket can be made"
		}
		pg.line("network.mode", "none: %s", what)
	}
}

func (pg page) limits() {
	pg.section("limits")
	pg.group()
	for _, l := range pg.plan.Limits {
		value := screen.BytesText(int64(l.Hard))
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
	if h := &pg.plan.Health; len(h.Argv) > 0 {
		pg.line("health.command", "health: %s, every %v, at most %v; %d failures in a row make it unhealthy", strings.Join(h.Argv, " "), h.Interval, h.Timeout, h.Retries)
	}
	if t := pg.plan.Process.Timeout; t > 0 {
		pg.line("process.timeout", "time: %v, then %s and after %v SIGKILL", t, unix.SignalName(unix.Signal(pg.plan.Process.StopSignal)), pg.plan.Process.StopTimeout)
	}
}

// group prints what holds for all processes together.
func (pg page) group() {
	g := &pg.plan.Cgroup
	if !g.On() {
		if cpus := pg.plan.Process.CPUs; cpus != "" {
			pg.line("limits.cpuset", "processors to start on: %s", cpus)
		}
		return
	}
	by := "a scope of your systemd, in sbx.slice below " + g.Parent
	if g.By == sandbox.CgroupSubtree {
		by = "made in " + g.Parent + ", which was delegated to you"
	}
	pg.line(g.From, "control group: %s", by)
	if g.Delegate {
		list := "none"
		if len(g.Controllers) > 0 {
			list = strings.Join(g.Controllers, ", ")
		}
		pg.line("limits.delegate", "control groups of the command's own, below that; their controllers: %s", list)
	}
	l := &g.Limits
	size := func(n int64) string {
		if n == cgroup.None {
			return "none"
		}
		return screen.BytesText(n)
	}
	cpus := func(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) }
	above := allowed(g)
	for _, x := range []struct {
		key, what string
		n, above  int64
		text      func(int64) string
	}{
		{"limits.memory", "memory of all together", l.MemoryMax, above.Memory, size},
		{"limits.memory_high", "memory of all together, slowed down from", l.MemoryHigh, above.MemoryHigh, size},
		{"limits.swap", "swap of all together", l.SwapMax, above.Swap, size},
		{"limits.cpus", "processors kept busy by all together", l.CPUMax, above.CPU, cpus},
		{"limits.cpu_weight", "weight among what else you run", l.CPUWeight, cgroup.Max, func(n int64) string { return decimal(n) + " of 100" }},
		{"limits.processes", "processes and threads of all together", l.PidsMax, above.Pids, decimal},
	} {
		switch {
		case x.n == 0:
		case x.above < x.n:
			pg.line(x.key, "%s: %s, of which the groups above allow %s", x.what, x.text(x.n), x.text(x.above))
		default:
			pg.line(x.key, "%s: %s", x.what, x.text(x.n))
		}
	}
	if l.CPUs != "" {
		pg.line("limits.cpuset", "processors: %s", l.CPUs)
	}
	for _, io := range l.IO {
		for _, x := range []struct {
			key, what string
			n         uint64
			text      func(int64) string
		}{
			{"limits.io_read_bps", "bytes read from", io.ReadBPS, screen.BytesText}, {"limits.io_write_bps", "bytes written to", io.WriteBPS, screen.BytesText},
			{"limits.io_read_iops", "reads of", io.ReadIOPS, decimal}, {"limits.io_write_iops", "writes to", io.WriteIOPS, decimal},
		} {
			if x.n != 0 {
				pg.line(x.key, "%s %s each second: %s", x.what, io.Path, x.text(int64(x.n)))
			}
		}
	}
}

// allowed is what the groups that the sandbox's is to be made in let have.
func allowed(g *sandbox.Cgroup) cgroup.Effective {
	at := g.Parent
	if g.By == sandbox.CgroupSystemd {
		at += "/sbx.slice" // which may not be there yet
	}
	e, err := cgroup.Group(at).Effective(g.Root)
	if err != nil { // then nothing is known of them
		return cgroup.Effective{Memory: cgroup.Max, MemoryHigh: cgroup.Max, Swap: cgroup.Max, CPU: cgroup.Max, Pids: cgroup.Max}
	}
	return e
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// environment shows names, and values only where the profile writes them: what
// is passed on may be a secret.
func (pg page) environment() {
	pg.section("environment")
	var passed []string
	for _, kv := range pg.plan.Process.Env {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case slices.ContainsFunc(pg.plan.Secrets, func(s sandbox.Secret) bool { return s.Variable == name }):
			continue // below
		case pg.inv.Profile.Environment.Set[name] == value && value != "":
			pg.line("environment.set."+name, "%s = %s", name, value)
		case slices.Contains([]string{"PATH", "HOME", "SBX", "SBX_NAME", "container", "XDG_RUNTIME_DIR", "TMPDIR", "USER", "LOGNAME"}, name):
			pg.line("", "%s = %s", name, value)
		default:
			passed = append(passed, name)
		}
	}
	if len(passed) > 0 {
		pg.line("environment.pass", "passed on or from the command line: %s", strings.Join(passed, " "))
	}
	for _, s := range pg.plan.Secrets {
		where := s.Target
		if s.Variable != "" {
			where = "the variable " + s.Variable
		}
		pg.line(s.From, "the secret %s, from %s, in %s", s.Name, s.Source, where)
	}
}

func (pg page) process() {
	pg.section("process")
	p := pg.plan.Process
	words := make([]string, len(p.Argv))
	for i, a := range p.Argv {
		if words[i] = a; a == "" || strings.ContainsAny(a, " \t\n'\"\\$`*?;&|<>()") && a != decision.Placeholder {
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
	p, err := resolve.Policy(&pg.inv.Profile.Security, pg.plan.Security.Keep)
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
	if s.Trace {
		pg.line("security.trace_denied", "each call that is refused is reported, and no program inside can have a listener of its own")
	}
	if len(s.Untraced) > 0 {
		pg.line("", "not reported, as starting the command takes them: %s", strings.Join(s.Untraced, " "))
	}
	if len(s.First) > 0 && !pg.plan.Bare.On() {
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
	if pg.plan.Bare.On() {
		pg.section("files: what Landlock allows of the host's")
	} else {
		pg.section("second wall: what Landlock allows, should the mounts fail")
	}
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
		fmt.Fprintln(pg.inv.Out, "  "+screen.Printable(s))
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

// audit says what is protected, and what is looked for afterwards.
func (pg page) audit() {
	pg.section("what the host runs later")
	n := 0
	for _, m := range pg.plan.Mounts {
		if m.Kind == sandbox.Guard && m.ReadOnly && strings.HasPrefix(m.From, "workspace.protect") {
			n++
		}
	}
	pg.line("workspace.protect", "protected, since it is there: %d of the workspace's files and directories, see files", n)
	a := &pg.plan.Audit
	switch {
	case a.Mode == sandbox.AuditOff:
		pg.line("workspace.audit", "nothing is looked for afterwards")
		return
	case len(a.Trees) == 0:
		pg.line("workspace.audit", "nothing of the host's can be written, so nothing is looked for afterwards")
		return
	}
	what := "reported"
	if a.Mode == sandbox.AuditFail {
		what = fmt.Sprintf("reported, and exit status %d if the command's own is 0", cli.ExitAudit)
	}
	for _, t := range a.Trees {
		pg.line("workspace.audit", "new or changed afterwards in %s: %s", t.Source, what)
	}
	pg.line("", "looked for by name: repositories, settings of version control, shells, editors, agents, packages, builds; the list can't be complete")
	pg.line("", "not seen: what is deleted, and what programs run that is on no list")
}
