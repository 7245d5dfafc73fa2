// Package explain compares what a Plan says with what the kernel says inside
// the sandbox that was made from it. Where they differ `sbx explain` lies.
package explain

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// planOf resolves a profile in this process as sbx does in its own.
func planOf(t *testing.T, w *world.World, ref string, argv ...string) *sandbox.Plan {
	t.Helper()
	for _, kv := range w.Env {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	t.Chdir(w.Work)
	env := profiles.HostEnv()
	found, err := profiles.Find(ref, env)
	if err != nil {
		t.Fatal(err)
	}
	prof, err := profiles.Load(found, env)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := host.Probe(prof.User.Map == "range" || prof.User.Map == "explicit")
	if err != nil {
		t.Fatal(err)
	}
	// What is this process's and not sbx's.
	facts.Exe, facts.Environ, facts.Stdio = w.Sbx, w.Env, [3]host.Stdio{}
	plan, err := resolve.Plan(resolve.Input{Profile: prof, Facts: facts, Argv: argv, HomesDir: w.Home + "/.local/share/sbx/homes", RuntimeDirs: state.BasesIn(w.Home + "/run")})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlanHolds(t *testing.T) {
	type profile struct {
		name, ref, text string
		needs           []sbxtest.Feature
	}
	var all []profile
	for _, info := range profiles.List(profiles.HostEnv()) {
		if info.Ref.Builtin != "" {
			all = append(all, profile{name: info.Ref.String(), ref: info.Ref.String()})
		}
	}
	if len(all) < 3 {
		t.Errorf("there are only %d built-in profiles", len(all))
	}
	all = append(all,
		profile{name: "fake root", text: "[user]\nas = \"root\"\n"},
		profile{name: "range", text: "[user]\nmap = \"range\"\n", needs: []sbxtest.Feature{sbxtest.Subuid}},
		profile{name: "fake root of a range", text: "[user]\nas = \"root\"\nmap = \"range\"\n", needs: []sbxtest.Feature{sbxtest.Subuid}},
		profile{name: "host's tree", text: "[root]\nsource = \"/\"\n"},
		profile{name: "host's tree, writable", text: "[root]\nsource = \"/\"\nread_only = false\n"},
		profile{name: "all of /etc", text: "[root]\netc = \"host\"\n"},
		profile{name: "no dev, no tmp, sys", text: "[root]\ndev = \"none\"\ntmp = 0\nsys = \"ro\"\n"},
		profile{name: "host's namespaces", text: "[namespaces]\nipc = \"host\"\nuts = \"host\"\ncgroup = \"host\"\n[network]\nmode = \"host\"\n"},
		profile{name: "own time", text: "[namespaces]\ntime = \"private\"\ntime_offset_boottime = \"24h\"\n"},
		profile{name: "process", text: "[process]\nhostname = \"planned\"\numask = \"0077\"\nnice = 7\noom_score_adj = 900\nworking_dir = \"/usr\"\n"},
		profile{name: "limits", text: "[limits]\nmemory = \"2G\"\nprocesses = 77\nopen_files = 333\nfile_size = \"1G\"\ncpu_time = \"1h\"\nstack = \"4M\"\nlocked_memory = \"64K\"\ncore = \"1M\"\n"},
		profile{name: "kept home", text: "[home]\nmode = \"persistent\"\n[mounts.\"~/cache\"]\ntype = \"tmpfs\"\nexec = false\n"},
		profile{name: "host's home", text: "[home]\nmode = \"host\"\naccess = \"ro\"\n[workspace]\naccess = \"ro\"\n"},
		profile{name: "no filter", text: "[security]\nseccomp = \"unconfined\"\n"},
		profile{name: "changed filter", text: "[security]\nseccomp_deny = [\"swapon\"]\nseccomp_allow = [\"bpf\"]\n"},
		profile{name: "two filters", text: "[security]\nseccomp_deny = [\"setsid\"]\n"},
		profile{name: "mounts", text: "[mounts.\"/mnt/ro\"]\nsource = \"/usr/bin\"\n[mounts.\"/mnt/rw\"]\nsource = \"WORK\"\naccess = \"rw\"\nexec = false\n" +
			"[mounts.\"/mnt/t\"]\ntype = \"tmpfs\"\nsize = \"1M\"\nexec = false\n[mounts.\"/mnt/f\"]\ntype = \"file\"\ncontent = \"x\"\n[mounts.\"/mnt/l\"]\ntype = \"symlink\"\nsource = \"f\"\n[mounts.\"WORK/secret\"]\ntype = \"mask\"\n"},
	)
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			sbxtest.Require(t, p.needs...)
			w := world.New(t)
			sbxtest.Leftovers(t)
			w.Write(t, w.Work+"/secret", "s")
			w.Write(t, w.Home+"/.gitconfig", "[user]\n")
			ref := p.ref
			if ref == "" {
				ref = w.Profile(t, strings.ReplaceAll(p.text, "WORK", w.Work))
			}
			outside := facts(t, w.Run(t, w.Probe, "facts").Out)
			plan := planOf(t, w, ref, w.Probe, "facts")
			got := w.Run(t, w.Sandboxed(ref, w.Probe, "facts")...)
			if got.Code != 0 {
				t.Fatalf("status %d: %s", got.Code, got.Err)
			}
			inside := facts(t, got.Out)
			compare(t, plan, inside, outside)
			fds := w.Run(t, w.Sandboxed(ref, w.Probe, "fds")...)
			if fds.Out != "none\n" {
				t.Errorf("the command gets the descriptors %s", fds.Out)
			}
		})
	}
}

func compare(t testing.TB, plan *sandbox.Plan, inside, outside map[string]string) {
	t.Helper()
	checkMounts(t, plan, inside["mountinfo"], outside["mountinfo"])
	checkIDs(t, plan, inside)
	checkLimits(t, plan, inside, outside)
	checkNamespaces(t, plan, inside, outside)
	checkProcess(t, plan, inside, outside)
}

// facts are the sections of what the probe prints.
func facts(t *testing.T, text string) map[string]string {
	t.Helper()
	f := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]\n") {
			name = strings.Trim(line, "[]\n")
			continue
		}
		f[name] += line
	}
	if len(f) < 10 {
		t.Fatalf("the probe says %q", text)
	}
	return f
}

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	root, target, fstype string
	options, super       []string
}

func mounts(text string) []mount {
	var list []mount
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(f) < 6 {
			continue
		}
		dash := slices.Index(f[6:], "-") + 6
		if dash < 6 || len(f) < dash+4 {
			continue
		}
		list = append(list, mount{root: unescape.Replace(f[3]), target: unescape.Replace(f[4]), options: strings.Split(f[5], ","), fstype: f[dash+1], super: strings.Split(f[dash+3], ",")})
	}
	return list
}

// at is the uppermost mount at a target.
func at(list []mount, target string) (m mount, ok bool) {
	for _, c := range list {
		if c.target == target {
			m, ok = c, true
		}
	}
	return m, ok
}

// over is the mount that a path lies on.
func over(list []mount, p string) (m mount) {
	for ; ; p = path.Dir(p) {
		if m, ok := at(list, p); ok || p == "/" {
			return m
		}
	}
}

func within(p, dir string) bool { return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/") }

// expectation is what the plan says of one mount point.
type expectation struct {
	ro, noexec, dev bool
	device          bool   // a device of the host, of which no attribute matters
	fstype          string // "" for a bind
	source          string
	size            int64
}

// expected is every mount point that the plan accounts for.
func expected(plan *sandbox.Plan, inside []mount) map[string]expectation {
	want := map[string]expectation{}
	if plan.Root.InPlace {
		want["/"] = expectation{ro: plan.Root.ReadOnly, source: "/"}
	} else {
		want["/"] = expectation{ro: plan.Root.ReadOnly, fstype: "tmpfs", size: plan.Root.Size}
	}
	if plan.Pseudo.Dev {
		want["/dev"] = expectation{fstype: "tmpfs", noexec: true, dev: true}
		want["/dev/pts"] = expectation{fstype: "devpts", noexec: true, dev: true}
		want["/dev/shm"] = expectation{fstype: "tmpfs", size: plan.Pseudo.Shm}
		if _, ok := at(inside, "/dev/mqueue"); ok && plan.Pseudo.Mqueue { // a kernel may have none
			want["/dev/mqueue"] = expectation{fstype: "mqueue", noexec: true}
		}
		for _, d := range plan.Pseudo.Devices {
			want["/dev/"+d] = expectation{device: true, source: "/dev/" + d}
		}
	}
	if plan.Proc != sandbox.ProcNone {
		want["/proc"] = expectation{fstype: "proc", noexec: true}
		// The kernel may lack these: then there is nothing to cover.
		for _, f := range plan.Pseudo.ProcReadOnly {
			if _, ok := at(inside, "/proc/"+f); ok {
				want["/proc/"+f] = expectation{fstype: "proc", ro: true, noexec: true}
			}
		}
		for _, f := range plan.Pseudo.ProcMasked {
			if _, ok := at(inside, "/proc/"+f); ok {
				want["/proc/"+f] = expectation{device: true, source: "/dev/null"}
			}
		}
	}
	if plan.Pseudo.Sys {
		want["/sys"] = expectation{fstype: "sysfs", ro: true, noexec: true}
	}
	sealed := map[string]bool{}
	for _, m := range plan.Mounts {
		e := expectation{ro: m.ReadOnly, noexec: m.NoExec, dev: m.Dev, source: m.Source}
		for dir := range sealed {
			e.ro = e.ro || within(m.Target, dir)
		}
		switch m.Kind {
		case sandbox.Bind, sandbox.Guard:
		case sandbox.Tmpfs:
			e.fstype, e.size = "tmpfs", m.Size
			if m.ReadOnly {
				sealed[m.Target] = true
			}
		case sandbox.Mask:
			e = expectation{ro: true, noexec: true, dev: !m.IsDir, source: "/dev/null"}
			if m.IsDir {
				e = expectation{ro: true, noexec: true, fstype: "tmpfs"}
			}
		case sandbox.File:
			if _, ok := at(inside, m.Target); !ok && m.Own {
				continue // written where it lies
			}
			e.fstype = "tmpfs"
		default: // directories and links are no mount points
			continue
		}
		want[m.Target] = e
	}
	return want
}

func checkMounts(t testing.TB, plan *sandbox.Plan, text, outside string) {
	t.Helper()
	inside, host := mounts(text), mounts(outside)
	want := expected(plan, inside)
	for _, target := range slices.Sorted(maps.Keys(want)) {
		e := want[target]
		m, ok := at(inside, target)
		if !ok {
			t.Errorf("planned %s is no mount point", target)
			continue
		}
		for _, o := range []struct {
			name    string
			want    bool
			atLeast bool // what the host's mount has stays
		}{
			{"ro", e.ro, e.fstype == ""}, {"noexec", e.noexec, e.fstype == ""}, {"nodev", !e.dev, true}, {"nosuid", true, true},
		} {
			if e.device {
				continue
			}
			has := slices.Contains(m.options, o.name)
			inherited := o.atLeast && e.source != "" && slices.Contains(over(host, e.source).options, o.name)
			if has != o.want && !(has && inherited) {
				t.Errorf("%s: planned %s = %v; it has %v", target, o.name, o.want, m.options)
			}
		}
		if e.fstype != "" && m.fstype != e.fstype {
			t.Errorf("%s: planned a %s, it is a %s", target, e.fstype, m.fstype)
		}
		if e.size > 0 && !slices.Contains(m.super, fmt.Sprintf("size=%dk", (e.size+1023)/1024)) {
			t.Errorf("%s: planned %d bytes, it has %v", target, e.size, m.super)
		}
		if e.fstype == "" {
			h := over(host, e.source)
			if root := path.Join(h.root, strings.TrimPrefix(e.source, h.target)); m.root != root || m.fstype != h.fstype {
				t.Errorf("%s: planned %s, it is %s of a %s", target, e.source, m.root, m.fstype)
			}
		}
	}
	// What else is mounted has to be the host's, below what is bound.
	for _, m := range inside {
		if _, ok := want[m.target]; ok {
			continue
		}
		below := false
		for target, e := range want {
			if e.fstype == "" && within(m.target, target) {
				if _, ok := at(host, path.Join(e.source, strings.TrimPrefix(m.target, target))); ok {
					below = true
				}
			}
		}
		if !below {
			t.Errorf("%s is mounted, a %s, and the plan does not account for it", m.target, m.fstype)
		}
	}
	for _, m := range inside {
		if !slices.Contains(m.options, "nosuid") && !want[m.target].device {
			t.Errorf("%s lacks nosuid: %v", m.target, m.options)
		}
	}
}

func checkIDs(t testing.TB, plan *sandbox.Plan, inside map[string]string) {
	t.Helper()
	var keep uint64
	for _, c := range plan.Security.Keep {
		keep |= 1 << c
	}
	status := map[string]string{}
	for line := range strings.Lines(inside["status"]) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.Join(strings.Fields(value), " ")
	}
	want := map[string]string{
		"CapInh": fmt.Sprintf("%016x", 0), "CapPrm": fmt.Sprintf("%016x", keep), "CapEff": fmt.Sprintf("%016x", keep),
		"CapBnd": fmt.Sprintf("%016x", keep), "CapAmb": fmt.Sprintf("%016x", 0),
		"NoNewPrivs": map[bool]string{true: "1", false: "0"}[plan.Security.NoNewPrivs],
		"Uid":        strings.TrimSpace(strings.Repeat(fmt.Sprint(plan.IDs.UID, " "), 4)),
		"Gid":        strings.TrimSpace(strings.Repeat(fmt.Sprint(plan.IDs.GID, " "), 4)),
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if w := strings.Join(strings.Fields(want[name]), " "); status[name] != w {
			t.Errorf("%s: planned %q, it is %q", name, w, status[name])
		}
	}
	for name, m := range map[string]string{"uid_map": plan.IDs.InnerUIDs.String(), "gid_map": plan.IDs.InnerGIDs.String()} {
		if got, want := strings.Fields(inside[name]), strings.Fields(m); !slices.Equal(got, want) {
			t.Errorf("%s: planned %v, it is %v", name, want, got)
		}
	}
}

// limitNames are the names of /proc/PID/limits by the plan's.
var limitNames = map[string]string{
	"cpu": "Max cpu time", "fsize": "Max file size", "data": "Max data size", "stack": "Max stack size", "core": "Max core file size",
	"nproc": "Max processes", "nofile": "Max open files", "memlock": "Max locked memory",
	"sigpending": "Max pending signals", "msgqueue": "Max msgqueue size",
}

func limits(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Max ") && len(line) > 50 {
			m[strings.TrimSpace(line[:26])] = strings.Join(strings.Fields(line[26:68]), " ")
		}
	}
	return m
}

func checkLimits(t testing.TB, plan *sandbox.Plan, inside, outside map[string]string) {
	t.Helper()
	want := limits(outside["limits"])
	text := func(v uint64) string {
		if v == ^uint64(0) {
			return "unlimited"
		}
		return strconv.FormatUint(v, 10)
	}
	for _, l := range plan.Limits {
		name, ok := limitNames[l.Name]
		if !ok {
			t.Errorf("this test does not know the limit %s", l.Name)
		}
		soft := l.Soft
		if l.Name == "nofile" && soft+1 < l.Hard {
			soft = l.Hard - 1 // the probe is a Go program, whose runtime raises it
		}
		want[name] = text(soft) + " " + text(l.Hard)
	}
	got := limits(inside["limits"])
	if len(got) < 10 {
		t.Fatalf("limits: %q", inside["limits"])
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: planned, or the caller's, %s; it is %s", name, want[name], got[name])
		}
	}
}

func checkNamespaces(t testing.TB, plan *sandbox.Plan, inside, outside map[string]string) {
	t.Helper()
	links := func(text string) map[string]string {
		m := map[string]string{}
		for line := range strings.Lines(text) {
			kind, link, _ := strings.Cut(strings.TrimSpace(line), " ")
			m[kind] = link
		}
		return m
	}
	in, out := links(inside["ns"]), links(outside["ns"])
	n := plan.Namespaces
	for kind, own := range map[string]bool{"user": true, "mnt": true, "pid": true, "ipc": n.IPC, "uts": n.UTS, "cgroup": n.Cgroup, "net": n.Net, "time": n.Time} {
		if in[kind] == "" {
			t.Errorf("no namespace %s", kind)
		}
		if (in[kind] != out[kind]) != own {
			t.Errorf("%s: planned an own namespace: %v; inside %s, outside %s", kind, own, in[kind], out[kind])
		}
	}
}

func checkProcess(t testing.TB, plan *sandbox.Plan, inside, outside map[string]string) {
	t.Helper()
	number := func(s string) int { n, _ := strconv.Atoi(strings.TrimSpace(s)); return n }
	p := plan.Process
	oom := number(outside["oom_score_adj"])
	if p.OOMScoreAdj != 0 {
		oom = p.OOMScoreAdj
	}
	nice := number(outside["nice"])
	if p.Nice != 0 {
		nice = p.Nice
	}
	for _, f := range []struct{ name, want string }{
		{"hostname", plan.Hostname}, {"cwd", p.Dir}, {"umask", fmt.Sprintf("%04o", p.Umask)},
		{"nice", fmt.Sprint(nice)}, {"oom_score_adj", fmt.Sprint(oom)}, {"ids", fmt.Sprint(plan.IDs.UID, " ", plan.IDs.GID)},
	} {
		if got := strings.TrimSpace(inside[f.name]); got != f.want {
			t.Errorf("%s: planned %q, it is %q", f.name, f.want, got)
		}
	}
	env := strings.Split(strings.TrimSuffix(inside["environ"], "\n"), "\x01\n")
	slices.Sort(env)
	if want := slices.Sorted(slices.Values(p.Env)); !slices.Equal(env, want) {
		t.Errorf("environment: planned %q, it is %q", want, env)
	}
	checkFilter(t, plan, inside, outside)
	if plan.Pseudo.Dev {
		want := slices.Concat([]string{"fd", "ptmx", "pts", "shm", "stderr", "stdin", "stdout"}, plan.Pseudo.Devices)
		if plan.Pseudo.Mqueue {
			want = append(want, "mqueue")
		}
		slices.Sort(want)
		if got := strings.Fields(inside["dev"]); !slices.Equal(got, want) {
			t.Errorf("/dev: planned %v, it has %v", want, got)
		}
	}
}

// checkFilter compares the number of system call filters: the plan's, beside
// those that the host had on us already. Linux 5.9 counts them.
func checkFilter(t testing.TB, plan *sandbox.Plan, inside, outside map[string]string) {
	t.Helper()
	count := func(text string) (mode string, n int) {
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(line, ":")
			switch value = strings.TrimSpace(value); name {
			case "Seccomp":
				mode = value
			case "Seccomp_filters":
				n, _ = strconv.Atoi(value)
			}
		}
		return mode, n
	}
	s := &plan.Security.Seccomp
	_, before := count(outside["status"])
	mode, n := count(inside["status"])
	want := before
	if s.Filtered() {
		want++
	}
	if len(s.First) > 0 {
		want++
	}
	if n != want || (mode == "2") != (want > 0) {
		t.Errorf("system call filters: planned %d with %d outside, there are %d in mode %s", want-before, before, n, mode)
	}
}

// TestFails: the comparison notices a mount that is not as planned.
func TestFails(t *testing.T) {
	w := world.New(t)
	sbxtest.Leftovers(t)
	plan := planOf(t, w, "builtin:build", w.Probe, "facts")
	inside := facts(t, w.Run(t, w.Sandboxed("builtin:build", w.Probe, "facts")...).Out)
	outside := facts(t, w.Run(t, w.Probe, "facts").Out)
	if r := (&recorder{TB: t}); true {
		compare(r, plan, inside, outside)
		if r.failed != 0 {
			t.Fatalf("the plan as it is has %d faults", r.failed)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(p *sandbox.Plan)
	}{
		{"one mount less", func(p *sandbox.Plan) {
			p.Mounts = slices.DeleteFunc(slices.Clone(p.Mounts), func(m sandbox.Mount) bool { return m.Target == w.Work })
		}},
		{"one mount more", func(p *sandbox.Plan) {
			p.Mounts = append(slices.Clone(p.Mounts), sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/x"})
		}},
		{"writable", func(p *sandbox.Plan) {
			p.Mounts = slices.Clone(p.Mounts)
			for i := range p.Mounts {
				p.Mounts[i].ReadOnly = !p.Mounts[i].ReadOnly
			}
		}},
		{"another id", func(p *sandbox.Plan) { p.IDs.UID++ }},
		{"a capability", func(p *sandbox.Plan) { p.Security.Keep = sandbox.FakeRoot() }},
		{"a limit", func(p *sandbox.Plan) { p.Limits = p.Limits[:0] }},
		{"a namespace", func(p *sandbox.Plan) { p.Namespaces.IPC = false }},
		{"a variable", func(p *sandbox.Plan) { p.Process.Env = p.Process.Env[1:] }},
		{"a directory", func(p *sandbox.Plan) { p.Process.Dir = "/" }},
		{"no filter", func(p *sandbox.Plan) { p.Security.Seccomp.Policy = sandbox.Unconfined }},
		{"two filters", func(p *sandbox.Plan) { p.Security.Seccomp.First = make([]byte, 8) }},
		{"another device", func(p *sandbox.Plan) { p.Pseudo.Devices = append(slices.Clone(p.Pseudo.Devices), "kmsg") }},
	} {
		changed := *plan
		tt.change(&changed)
		r := &recorder{TB: t}
		compare(r, &changed, inside, outside)
		if r.failed == 0 {
			t.Errorf("%s is not noticed", tt.name)
		}
	}
}

// recorder counts failures instead of failing.
type recorder struct {
	testing.TB
	failed int
}

func (r *recorder) Errorf(string, ...any) { r.failed++ }
func (r *recorder) Fatalf(string, ...any) { panic("fatal") }
