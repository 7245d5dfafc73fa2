package resolve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// usualWeight is that of every group that has none of its own.
const usualWeight = 100

// GroupLimits is what a profile wants of a control group.
func GroupLimits(p *profiles.Profile) cgroup.Limits {
	var l cgroup.Limits
	in := &p.Limits
	if in.Cgroup == "never" {
		return l
	}
	l.MemoryMax, l.MemoryHigh = max(in.Memory, 0), max(in.MemoryHigh, 0)
	l.SwapMax = max(in.Swap, 0)
	if in.Swap == 0 && l.MemoryMax > 0 {
		l.SwapMax = cgroup.None // else the limit would be as much more as there is swap
	}
	l.OOMGroup = l.MemoryMax > 0 && in.OOMKill == "sandbox"
	l.CPUMax = max(in.CPUs, 0)
	if in.CPUWeight != usualWeight {
		l.CPUWeight = in.CPUWeight
	}
	l.CPUs = cgroup.CPUs(in.CPUSet)
	l.PidsMax = max(in.Processes, 0)
	l.IO = rates(in)
	return l
}

// rates collects what the profile says of each device.
func rates(in *profiles.Limits) []cgroup.IO {
	var list []cgroup.IO
	for _, x := range []struct {
		texts []string
		field func(*cgroup.IO) *uint64
	}{
		{in.IOReadBPS, func(io *cgroup.IO) *uint64 { return &io.ReadBPS }},
		{in.IOWriteBPS, func(io *cgroup.IO) *uint64 { return &io.WriteBPS }},
		{in.IOReadIOPS, func(io *cgroup.IO) *uint64 { return &io.ReadIOPS }},
		{in.IOWriteIOPS, func(io *cgroup.IO) *uint64 { return &io.WriteIOPS }},
	} {
		for _, text := range x.texts {
			path, n, _ := profiles.Rate(text)
			i := slices.IndexFunc(list, func(io cgroup.IO) bool { return io.Path == path })
			if i < 0 {
				i, list = len(list), append(list, cgroup.IO{Path: path})
			}
			if at := x.field(&list[i]); *at == 0 || n < *at {
				*at = n
			}
		}
	}
	return list
}

// disks finds the device of each path; of two paths on one the smaller rates
// hold.
func (r *resolver) disks(list []cgroup.IO) []cgroup.IO {
	var out []cgroup.IO
	for _, io := range list {
		var err error
		if io.Device, err = r.facts.Files.Disk(io.Path); err != nil {
			r.fail(&Error{Key: ioKey(io), Msg: "limiting " + io.Path, Err: err})
			continue
		}
		i := slices.IndexFunc(out, func(o cgroup.IO) bool { return o.Device == io.Device })
		if i < 0 {
			out = append(out, io)
			continue
		}
		o := &out[i]
		for _, x := range [...][2]*uint64{{&o.ReadBPS, &io.ReadBPS}, {&o.WriteBPS, &io.WriteBPS}, {&o.ReadIOPS, &io.ReadIOPS}, {&o.WriteIOPS, &io.WriteIOPS}} {
			if *x[0] == 0 || *x[1] != 0 && *x[1] < *x[0] {
				*x[0] = *x[1]
			}
		}
	}
	return out
}

// ioKey is the key that an entry comes from, or one of them.
func ioKey(io cgroup.IO) string {
	switch {
	case io.ReadBPS != 0:
		return "limits.io_read_bps"
	case io.WriteBPS != 0:
		return "limits.io_write_bps"
	case io.ReadIOPS != 0:
		return "limits.io_read_iops"
	}
	return "limits.io_write_iops"
}

// needed are the controllers for which a group is made. The number of processes
// is none of them: RLIMIT_NPROC does as well in a user namespace of its own,
// but for the host's root.
func needed(l cgroup.Limits, root bool) []string {
	return slices.DeleteFunc(l.Controllers(), func(c string) bool { return c == "pids" && !root })
}

// WantsCgroup says that p has limits that take a control group: then Plan needs
// what Facts.FindCgroup finds.
func WantsCgroup(p *profiles.Profile, uid uint32) bool {
	return anyGroup(p) || len(needed(GroupLimits(p), uid == 0)) > 0
}

// anyGroup says that a group is of use whatever controllers it has.
func anyGroup(p *profiles.Profile) bool {
	return p.Limits.Cgroup == "always" || p.Limits.Delegate && p.Limits.Cgroup != "never"
}

// cgroup decides who makes the sandbox's control group, if there is to be one,
// and which of the limits it can hold.
func (r *resolver) cgroup() {
	if !WantsCgroup(r.prof, r.facts.UID) {
		return
	}
	f, want := &r.facts.Cgroup, GroupLimits(r.prof)
	need := needed(want, r.facts.UID == 0)
	by := r.maker(need)
	if by == "" {
		if r.prof.Limits.Cgroup == "always" {
			r.note("degraded", "cgroup", "limits.cgroup", "the sandbox has no control group of its own: %v", r.noMaker(nil))
		}
		return
	}
	g := &r.plan.Cgroup
	*g = sandbox.Cgroup{By: by, Root: f.Root, From: r.cgroupKey(want)}
	m := &f.Subtree
	if by == sandbox.CgroupSystemd {
		m, g.Socket, g.Helper = &f.Systemd, f.Socket, f.Scope
	} else {
		g.Leave = f.Leave
	}
	g.Parent, g.Limits = m.Group, want.Only(m.Controllers)
	g.Limits.IO = r.disks(g.Limits.IO)
	if r.prof.Limits.Delegate && r.plan.Namespaces.Cgroup {
		g.Delegate, g.Controllers = true, slices.Clone(m.Controllers)
		r.add(sandbox.Mount{Kind: sandbox.Cgroups, Target: sandbox.CgroupDir, IsDir: true, NoExec: true, From: delegateKey, Why: "control groups of the command's own"})
	}
}

const delegateKey = "limits.delegate"

// maker is the first who has all of the controllers, else the first who has some
// of them, else nobody, or whoever can make a group that is wanted without any: the
// order of docs/RESOURCES.md.
func (r *resolver) maker(need []string) sandbox.CgroupBy {
	f := &r.facts.Cgroup
	all := []struct {
		by sandbox.CgroupBy
		m  *host.Maker
	}{{sandbox.CgroupSystemd, &f.Systemd}, {sandbox.CgroupSubtree, &f.Subtree}}
	for _, a := range all {
		if a.m.Err == nil && len(a.m.Lacks(need)) == 0 {
			return a.by
		}
	}
	for _, a := range all {
		if a.m.Err == nil && len(a.m.Lacks(need)) < len(need) {
			return a.by
		}
	}
	if anyGroup(r.prof) {
		for _, a := range all {
			if a.m.Err == nil {
				return a.by
			}
		}
	}
	return ""
}

// noMaker says why a controller, or with nil any group, can't be had.
func (r *resolver) noMaker(controllers []string) string {
	f := &r.facts.Cgroup
	why := func(who string, m *host.Maker) string {
		if m.Err != nil {
			return m.Err.Error()
		}
		return fmt.Sprintf("%s has no %s to give (it has %s)", who, strings.Join(m.Lacks(controllers), ", "), orNone(m.Controllers))
	}
	first, second := why("your systemd", &f.Systemd), why("the group "+f.Subtree.Group, &f.Subtree)
	if first == second {
		return first
	}
	return first + "; " + second
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// cgroupKey is the key of the most telling limit that a group holds.
func (r *resolver) cgroupKey(l cgroup.Limits) string {
	switch {
	case r.prof.Limits.Cgroup == "always":
		return "limits.cgroup"
	case l.MemoryMax != 0:
		return "limits.memory"
	case l.MemoryHigh != 0:
		return "limits.memory_high"
	case l.SwapMax != 0:
		return "limits.swap"
	case l.CPUMax != 0:
		return "limits.cpus"
	case l.CPUs != "":
		return "limits.cpuset"
	case l.CPUWeight != 0:
		return "limits.cpu_weight"
	case len(l.IO) > 0:
		return ioKey(l.IO[0])
	case r.prof.Limits.Delegate:
		return delegateKey
	}
	return "limits.processes"
}

// guardCgroups keeps the command from the files by which the limits are set. The
// group's are the caller's own, so that whoever sees them can lift what they
// say. Usually nothing of them is seen.
func (r *resolver) guardCgroups() {
	if !r.plan.Cgroup.On() {
		return
	}
	root := r.plan.Cgroup.Root
	guard := func(target string) {
		r.plan.Mounts = append(r.plan.Mounts, sandbox.Mount{Kind: sandbox.Guard, Target: target, Source: root, ReadOnly: true,
			Why: "the sandbox's limits are set there", From: r.plan.Cgroup.From})
	}
	if r.plan.Root.InPlace && !r.plan.Root.ReadOnly && r.covering(root, len(r.plan.Mounts)) == nil {
		guard(root)
	}
	for i := range len(r.plan.Mounts) {
		m := &r.plan.Mounts[i]
		switch {
		case m.Kind != sandbox.Bind || m.ReadOnly:
		case within(m.Source, root):
			m.ReadOnly = true
			r.note("warning", "cgroup", m.From, "%s is shown read-only: the sandbox's limits are set there", m.Source)
		case within(root, m.Source):
			guard(strings.TrimSuffix(m.Target, "/") + root[len(strings.TrimSuffix(m.Source, "/")):])
		}
	}
}

// groupFeatures says what of the limits a group holds, and what becomes of the
// others.
func (r *resolver) groupFeatures(add addFeature) {
	in, got, want := &r.prof.Limits, &r.plan.Cgroup.Limits, GroupLimits(r.prof)
	lost := func(name, key, controller, state, by, instead string) {
		why := instead + r.noGroup([]string{controller})
		add(name, state, by, why, key)
		r.note("degraded", name, key, "%s: %s", key, why)
	}
	for _, x := range []struct {
		name, key, file, controller string
		asked, held                 bool
	}{
		{"memory-limit", "limits.memory", "memory.max", "memory", in.Memory > 0, got.MemoryMax != 0},
		{"memory-high", "limits.memory_high", "memory.high", "memory", in.MemoryHigh > 0, got.MemoryHigh != 0},
		{"swap-limit", "limits.swap", "memory.swap.max", "memory", in.Swap > 0 || in.Swap == 0 && in.Memory > 0, got.SwapMax != 0},
		{"cpu-limit", "limits.cpus", "cpu.max", "cpu", in.CPUs > 0, got.CPUMax != 0},
		{"cpu-weight", "limits.cpu_weight", "cpu.weight", "cpu", in.CPUWeight != usualWeight, got.CPUWeight != 0},
		{"cpuset", "limits.cpuset", "cpuset.cpus", "cpuset", in.CPUSet != "", got.CPUs != ""},
	} {
		switch {
		case !x.asked:
		case x.held:
			add(x.name, "enforced", x.file+" of "+r.groupText(), "", x.key)
		case x.name == "memory-limit":
			lost(x.name, x.key, x.controller, "degraded", "RLIMIT_DATA", "it holds for each process, not for all together, since ")
		case x.name == "cpuset":
			lost(x.name, x.key, x.controller, "degraded", "sched_setaffinity", "the command can choose other processors, since ")
		case x.name == "swap-limit" && in.Swap == 0: // said by the limit on memory
		default:
			lost(x.name, x.key, x.controller, "missing", x.file, "it does not hold, since ")
		}
	}
	if len(want.IO) > 0 {
		key := ioKey(want.IO[0])
		if len(got.IO) > 0 {
			add("io-limit", "enforced", "io.max of "+r.groupText(), "", key)
		} else {
			lost("io-limit", key, "io", "missing", "io.max", "it does not hold, since ")
		}
	}
	r.pidsFeature(add, want.PidsMax != 0 && got.PidsMax != 0)
	switch {
	case in.Cgroup == "never" && !r.plan.Bare.On():
		add("cgroup", "off", "a control group", `limits.cgroup is "never"`, "limits.cgroup")
	case !WantsCgroup(r.prof, r.facts.UID):
	case r.plan.Cgroup.On():
		add("cgroup", "enforced", r.groupText(), "", "limits.cgroup")
	case in.Cgroup == "always":
		add("cgroup", "missing", "a control group", r.noMaker(nil), "limits.cgroup")
	default: // what that takes from each limit is said with the limit
		add("cgroup", "degraded", "a control group", r.noGroup(needed(want, r.facts.UID == 0)), "limits.cgroup")
	}
	if in.Delegate {
		r.delegateFeature(add)
	}
}

// noGroup says why the sandbox has no control group with the controllers.
func (r *resolver) noGroup(controllers []string) string {
	switch {
	case r.plan.Bare.On():
		return "a sandbox without namespaces has no control group"
	case r.prof.Limits.Cgroup == "never":
		return `limits.cgroup is "never"`
	}
	return r.noMaker(controllers)
}

// delegateFeature says whether the command may make control groups, and why not.
func (r *resolver) delegateFeature(add addFeature) {
	const name, by = "cgroup-delegation", "control groups of the command's own in " + sandbox.CgroupDir
	g, why := &r.plan.Cgroup, ""
	switch {
	case g.Delegate:
		have := "without controllers"
		if len(g.Controllers) > 0 {
			have = "with " + strings.Join(g.Controllers, ", ")
		}
		add(name, "enforced", by+", "+have, "", delegateKey)
		return
	case r.plan.Bare.On():
		why = "a sandbox without namespaces has no control group"
	case r.prof.Limits.Cgroup == "never":
		why = `limits.cgroup is "never"`
	case !r.plan.Namespaces.Cgroup:
		why = `namespaces.cgroup is "host": with the host's groups in sight the limits could be lifted`
	default:
		why = r.noMaker(nil)
	}
	add(name, "missing", by, why, delegateKey)
	r.note("degraded", name, delegateKey, "limits.delegate: the command can make no control groups: %s", why)
}

func (r *resolver) pidsFeature(add addFeature, group bool) {
	const name, key = "pids-limit", "limits.processes"
	switch {
	case r.prof.Limits.Processes <= 0:
	case group:
		add(name, "enforced", "pids.max of "+r.groupText(), "", key)
	case r.plan.Bare.On():
		add(name, "degraded", "RLIMIT_NPROC", "it counts all of the user's processes, the host's with them", key)
	case r.facts.UID == 0:
		add(name, "degraded", "RLIMIT_NPROC", "the kernel does not apply it to the host's root", key)
	default:
		add(name, "enforced", "RLIMIT_NPROC in the sandbox's user namespace", "", key)
	}
}

// groupText names the sandbox's group and who makes it.
func (r *resolver) groupText() string {
	if r.plan.Cgroup.By == sandbox.CgroupSystemd {
		return "a scope of your systemd in sbx.slice"
	}
	return "a control group in " + r.plan.Cgroup.Parent
}

// affinity chooses processors where no group binds the command to them.
func (r *resolver) affinity() {
	want := cgroup.CPUs(r.prof.Limits.CPUSet)
	if want == "" {
		return
	}
	list, err := want.List()
	if err != nil { // the profile was checked
		r.fail(&Error{Key: "limits.cpuset", Msg: err.Error()})
		return
	}
	may := r.facts.Cgroup.CPUs
	if may != nil && !slices.ContainsFunc(list, func(n int) bool { return slices.Contains(may, n) }) {
		r.fail(&Error{Key: "limits.cpuset", Msg: fmt.Sprintf("none of the processors %s can be had here", want), Hint: fmt.Sprintf("choose among %v", may)})
		return
	}
	if r.plan.Cgroup.Limits.CPUs == "" {
		r.plan.Process.CPUs = want
	}
}
