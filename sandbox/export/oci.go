package export

import (
	"fmt"
	"path"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
)

// Bundle is a bundle of the OCI's runtime specification: config.json, and what its
// root file system and the directory beside it hold.
type Bundle struct {
	Config OCI
	Dirs   []string          // below rootfs, parents first
	Links  map[string]string // below rootfs, and what they lead to
	Files  map[string]string // beside rootfs, and their content
	Unsaid []string
}

// OCI is config.json, version 1.0.2 of the specification.
type OCI struct {
	Version  string     `json:"ociVersion"`
	Process  ociProcess `json:"process"`
	Root     ociRoot    `json:"root"`
	Hostname string     `json:"hostname,omitempty"`
	Mounts   []ociMount `json:"mounts"`
	Linux    ociLinux   `json:"linux"`
}

type ociProcess struct {
	Terminal   bool                `json:"terminal"`
	User       ociUser             `json:"user"`
	Args       []string            `json:"args"`
	Env        []string            `json:"env,omitempty"`
	Cwd        string              `json:"cwd"`
	Caps       map[string][]string `json:"capabilities"`
	Rlimits    []ociRlimit         `json:"rlimits,omitempty"`
	NoNewPrivs bool                `json:"noNewPrivileges"`
	OOM        *int                `json:"oomScoreAdj,omitempty"`
}

type ociUser struct {
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Umask uint32 `json:"umask"`
}

type ociRlimit struct {
	Type string `json:"type"`
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

type ociRoot struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"readonly"`
}

type ociMount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options,omitempty"`
}

type ociLinux struct {
	Namespaces []map[string]string `json:"namespaces"`
	UIDs       []ociIDs            `json:"uidMappings"`
	GIDs       []ociIDs            `json:"gidMappings"`
	Resources  *ociResources       `json:"resources,omitempty"`
	Masked     []string            `json:"maskedPaths,omitempty"`
	ReadOnly   []string            `json:"readonlyPaths,omitempty"`
}

type ociIDs struct {
	Container uint32 `json:"containerID"`
	Host      uint32 `json:"hostID"`
	Size      uint32 `json:"size"`
}

type ociResources struct {
	Memory *ociMemory `json:"memory,omitempty"`
	CPU    *ociCPU    `json:"cpu,omitempty"`
	Pids   *ociPids   `json:"pids,omitempty"`
}

type ociMemory struct {
	Limit int64 `json:"limit,omitempty"`
	// Swap is of memory and swap together.
	Swap        int64 `json:"swap,omitempty"`
	Reservation int64 `json:"reservation,omitempty"`
}

type ociCPU struct {
	Quota  int64  `json:"quota,omitempty"`
	Period uint64 `json:"period,omitempty"`
	CPUs   string `json:"cpus,omitempty"`
}

type ociPids struct {
	Limit int64 `json:"limit"`
}

// ToOCI writes a Plan as a bundle.
func ToOCI(p *sandbox.Plan) (*Bundle, error) {
	switch {
	case p.Bare.On():
		return nil, fmt.Errorf("a sandbox without namespaces is no container")
	case p.Root.InPlace:
		return nil, fmt.Errorf(`root.source = "/" can't be said: a container's root is a directory of its own; choose root.source = "host"`)
	case p.Root.OnImage():
		return nil, fmt.Errorf("the layers of the image %s are in sbx's store; sbx image export writes it for other engines", p.Root.Image.Name)
	}
	b := &Bundle{Links: map[string]string{}, Files: map[string]string{}}
	u := &unsaid{}
	u.common(p)
	b.Config = OCI{Version: "1.0.2", Hostname: p.Hostname, Root: ociRoot{"rootfs", p.Root.ReadOnly}}
	b.process(p, u)
	b.pseudo(p)
	for i := range p.Mounts {
		b.mount(&p.Mounts[i], i, u)
	}
	b.linux(p, u)
	if len(p.Health.Argv) > 0 {
		u.add("the health check")
	}
	if p.Process.Timeout > 0 {
		u.add("the timeout of %v", p.Process.Timeout)
	}
	if p.Process.Nice != 0 {
		u.add("the nice value %d", p.Process.Nice)
	}
	if len(p.Process.CPUs) > 0 {
		u.add("the processors it starts on")
	}
	b.Unsaid = u.list
	return b, nil
}

func (b *Bundle) process(p *sandbox.Plan, u *unsaid) {
	pr := &p.Process
	b.Config.Process = ociProcess{
		User: ociUser{p.IDs.UID, p.IDs.GID, pr.Umask}, Args: pr.Argv, Env: env(pr.Env, u), Cwd: pr.Dir, NoNewPrivs: p.Security.NoNewPrivs,
		Caps: map[string][]string{},
	}
	var keep []string
	for _, c := range p.Security.Keep {
		keep = append(keep, "CAP_"+c.String())
	}
	for _, set := range []string{"bounding", "effective", "inheritable", "permitted", "ambient"} {
		b.Config.Process.Caps[set] = append([]string{}, keep...)
	}
	if pr.OOMScoreAdj != 0 {
		b.Config.Process.OOM = &pr.OOMScoreAdj
	}
	for _, l := range p.Limits {
		if l.Name == "nproc" {
			u.add("limits.processes = %d by RLIMIT_NPROC: outside of sbx it counts all of the user's processes", l.Hard)
			continue
		}
		b.Config.Process.Rlimits = append(b.Config.Process.Rlimits, ociRlimit{"RLIMIT_" + strings.ToUpper(l.Name), l.Soft, l.Hard})
	}
}

// pseudo mounts the file systems that the kernel makes up.
func (b *Bundle) pseudo(p *sandbox.Plan) {
	add := func(dest, kind string, options ...string) {
		b.Config.Mounts = append(b.Config.Mounts, ociMount{dest, kind, kind, options})
	}
	switch p.Proc {
	case sandbox.ProcNew:
		add("/proc", "proc", "nosuid", "noexec", "nodev")
	case sandbox.ProcPid:
		add("/proc", "proc", "nosuid", "noexec", "nodev", "subset=pid")
	}
	if p.Pseudo.Dev {
		add("/dev", "tmpfs", "nosuid", "noexec", "mode=755", "size=64k")
		add("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
		if p.Pseudo.Shm > 0 {
			add("/dev/shm", "tmpfs", "nosuid", "nodev", "mode=1777", fmt.Sprintf("size=%d", p.Pseudo.Shm))
		}
		if p.Pseudo.Mqueue {
			add("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev")
		}
	}
	if p.Pseudo.Sys {
		add("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro")
	}
	if p.Proc != sandbox.ProcNone {
		for _, f := range p.Pseudo.ProcMasked {
			b.Config.Linux.Masked = append(b.Config.Linux.Masked, "/proc/"+f)
		}
		for _, f := range p.Pseudo.ProcReadOnly {
			b.Config.Linux.ReadOnly = append(b.Config.Linux.ReadOnly, "/proc/"+f)
		}
	}
}

// covered says whether something is mounted at or above a path.
func (b *Bundle) covered(target string) bool {
	for _, m := range b.Config.Mounts {
		if target == m.Destination || strings.HasPrefix(target, m.Destination+"/") {
			return true
		}
	}
	return false
}

func (b *Bundle) mount(m *sandbox.Mount, n int, u *unsaid) {
	access := "rw"
	if m.ReadOnly {
		access = "ro"
	}
	options := []string{access, "nosuid"}
	if !m.Dev {
		options = append(options, "nodev")
	}
	if m.NoExec {
		options = append(options, "noexec")
	}
	add := func(kind, source string, more ...string) {
		b.Config.Mounts = append(b.Config.Mounts, ociMount{m.Target, kind, source, append(more, options...)})
	}
	switch m.Kind {
	case sandbox.Bind:
		if !m.Grantable {
			add("bind", m.Source, "rbind", "rprivate")
		}
	case sandbox.Layers:
		u.add("what is written to %s is kept apart: it is read-only in the bundle", m.Target)
		if len(m.Lower) > 0 {
			u.add("the layers of %s below %s: %s", m.Target, m.Source, strings.Join(m.Lower, ", "))
		}
		options[0] = "ro"
		add("bind", m.Source, "rbind", "rprivate")
	case sandbox.Tmpfs:
		more := []string{fmt.Sprintf("size=%d", m.Size), fmt.Sprintf("mode=%04o", max(m.Mode, 0o700))}
		if m.Inodes > 0 {
			more = append(more, fmt.Sprintf("nr_inodes=%d", m.Inodes))
		}
		add("tmpfs", "tmpfs", more...)
	case sandbox.Cgroups:
		add("cgroup", "cgroup")
	case sandbox.File:
		name := fmt.Sprintf("files/%d", n)
		b.Files[name] = m.Content
		add("bind", name, "bind")
	case sandbox.Guard:
		if m.ReadOnly {
			b.Config.Linux.ReadOnly = append(b.Config.Linux.ReadOnly, m.Target)
		}
	case sandbox.Mask:
		b.Config.Linux.Masked = append(b.Config.Linux.Masked, m.Target)
	case sandbox.Symlink, sandbox.Dir:
		if b.covered(m.Target) {
			u.add("%s, which would be made in what is mounted there", m.Target)
			return
		}
		if m.Kind == sandbox.Dir {
			b.Dirs = append(b.Dirs, m.Target)
			return
		}
		b.Dirs = append(b.Dirs, path.Dir(m.Target))
		b.Links[m.Target] = m.Source
	}
}

func (b *Bundle) linux(p *sandbox.Plan, u *unsaid) {
	l := &b.Config.Linux
	for _, ns := range []struct {
		name string
		own  bool
	}{{"user", true}, {"mount", true}, {"pid", true}, {"ipc", p.Namespaces.IPC}, {"uts", p.Namespaces.UTS}, {"cgroup", p.Namespaces.Cgroup}, {"network", p.Namespaces.Net}} {
		if ns.own {
			l.Namespaces = append(l.Namespaces, map[string]string{"type": ns.name})
		}
	}
	if !p.Namespaces.UTS {
		b.Config.Hostname = ""
	}
	if p.Namespaces.Time {
		u.add("the time namespace")
	}
	if p.IDs.Mode == "range" {
		u.add("subordinate ids: the bundle maps the command's own id alone")
	}
	l.UIDs = []ociIDs{{p.IDs.UID, p.Caller.UID, 1}}
	l.GIDs = []ociIDs{{p.IDs.GID, p.Caller.GID, 1}}
	if !p.Cgroup.On() {
		return
	}
	g, r := &p.Cgroup.Limits, &ociResources{}
	if g.MemoryMax > 0 || g.MemoryHigh > 0 {
		r.Memory = &ociMemory{Limit: g.MemoryMax, Reservation: 0}
		switch {
		case g.SwapMax == cgroup.None:
			r.Memory.Swap = g.MemoryMax
		case g.SwapMax > 0:
			r.Memory.Swap = g.MemoryMax + g.SwapMax
		}
		if g.MemoryHigh > 0 {
			u.add("limits.memory_high")
		}
	}
	const period = 100_000 // µs
	if g.CPUMax > 0 || g.CPUs != "" {
		r.CPU = &ociCPU{CPUs: string(g.CPUs)}
		if g.CPUMax > 0 {
			r.CPU.Quota, r.CPU.Period = g.CPUMax*period/1000, period
		}
	}
	if g.PidsMax > 0 {
		r.Pids = &ociPids{g.PidsMax}
	}
	if len(g.IO) > 0 || g.CPUWeight > 0 {
		u.add("limits.io_* and limits.cpu_weight")
	}
	l.Resources = r
}
