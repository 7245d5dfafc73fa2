package resolve

import (
	"fmt"
	"path"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
)

// wall says whether Landlock judges files in this sandbox.
func (r *resolver) wall() bool {
	s := &r.prof.Security
	return s.Landlock != "off" && !s.NestedUserNS && r.facts.Landlock >= landlock.ABIRefer
}

// landlock derives the second wall from the mounts: what they promise is said
// once more, in rules. Rights add up on the way from a file to the root, so a
// rule is needed only where a place has rights that none above it gives.
func (r *resolver) landlock() {
	l := &r.plan.Security.Landlock
	l.ABI = r.facts.Landlock
	if r.prof.Security.Landlock == "off" {
		return
	}
	l.Scoped = l.ABI >= landlock.ABIScopes
	if !r.wall() {
		return
	}
	l.Handled = landlock.Files(l.ABI)
	r.allow("/", r.rootAccess())
	for i := range r.plan.Mounts {
		switch m := &r.plan.Mounts[i]; {
		case m.Kind == sandbox.Symlink, m.Kind == sandbox.Mask, m.Kind == sandbox.Guard && !m.ReadOnly:
		case m.Kind == sandbox.Guard: // it takes away, which only the mount can
			l.MountOnly = append(l.MountOnly, m.Target)
		default:
			r.allow(m.Target, r.mountAccess(m, i))
		}
	}
	r.allowPseudo()
	r.streamRules()
}

// streamRules let the command open its standard streams anew (/dev/stdin), for
// what they were opened for and no more.
func (r *resolver) streamRules() {
	l := &r.plan.Security.Landlock
	for fd, s := range r.facts.Stdio {
		if !s.File && !s.Device {
			continue
		}
		var access landlock.Access
		if s.Read {
			access |= landlock.ReadFile
		}
		if s.Write {
			access |= landlock.Write
		}
		if s.Device {
			access |= landlock.IoctlDev
		}
		l.Rules = append(l.Rules, sandbox.LandlockRule{FD: fd, Allow: access & l.Handled})
	}
}

// allow adds a rule for p, unless those above it give all of access. Where they
// give more, the mount is all that holds.
func (r *resolver) allow(p string, access landlock.Access) {
	l := &r.plan.Security.Landlock
	access &= l.Handled
	var above landlock.Access
	for _, rule := range l.Rules {
		if rule.Path != "" && within(p, rule.Path) {
			above |= rule.Allow
		}
	}
	if access&^above != 0 {
		l.Rules = append(l.Rules, sandbox.LandlockRule{Path: p, Allow: access})
	}
	if above&^access&(landlock.Execute|landlock.WriteFile) != 0 {
		l.MountOnly = append(l.MountOnly, p)
	}
}

// rootAccess is what the root itself gives: with the host's tree in place all of
// it is read, else it only holds what is mounted in it.
func (r *resolver) rootAccess() landlock.Access {
	access := landlock.ReadDir
	if r.plan.Root.InPlace || r.plan.Root.OnImage() {
		access = landlock.Read | landlock.Execute
	}
	if !r.plan.Root.ReadOnly {
		access |= landlock.Read | landlock.Execute | landlock.Write | landlock.Make
	}
	return access
}

// mountAccess is what the n-th mount promises.
func (r *resolver) mountAccess(m *sandbox.Mount, n int) landlock.Access {
	readOnly, access := m.ReadOnly, landlock.Read
	if m.Own && (m.Kind == sandbox.File || m.Kind == sandbox.Dir) { // it lies on what is there
		cover := r.covering(path.Dir(m.Target), n)
		readOnly = readOnly || cover == nil && r.plan.Root.ReadOnly || cover != nil && cover.ReadOnly
	}
	if !m.NoExec {
		access |= landlock.Execute
	}
	if !readOnly {
		access |= landlock.Write | landlock.Make
	}
	if m.Dev { // a device can be written on a read-only mount
		access |= landlock.WriteFile | landlock.IoctlDev
	}
	if r.sockets[m.Target] {
		access |= landlock.ResolveUnix
	}
	if !m.IsDir {
		access &= landlock.File
	}
	return access
}

// allowPseudo is for the file systems that the kernel makes up. In /dev nothing
// is made or removed; in /proc each process has files about itself to write.
func (r *resolver) allowPseudo() {
	p := r.plan
	if p.Pseudo.Dev {
		r.allow("/dev", landlock.Read|landlock.Write|landlock.IoctlDev)
		if p.Pseudo.Shm > 0 {
			r.allow("/dev/shm", landlock.Read|landlock.Execute|landlock.Write|landlock.Make)
		}
		if p.Pseudo.Mqueue { // mq_open(3) reaches the queues by a mount of the kernel's own, with this root
			l := &p.Security.Landlock
			l.Rules = append(l.Rules, sandbox.LandlockRule{Path: "/dev/mqueue", Allow: (landlock.Read | landlock.Write | landlock.Make) & l.Handled})
		}
	}
	if p.Proc != sandbox.ProcNone {
		r.allow("/proc", landlock.Read|landlock.Write)
		for _, f := range p.Pseudo.ProcReadOnly {
			r.allow("/proc/"+f, landlock.Read)
		}
	}
	if p.Pseudo.Sys {
		r.allow("/sys", landlock.Read)
	}
}

// landlockFeature says what became of the second wall.
func (r *resolver) landlockFeature(add addFeature) {
	const key = "security.landlock"
	l := &r.plan.Security.Landlock
	state, by, why := "enforced", fmt.Sprintf("ABI %d, %d rules", l.ABI, len(l.Rules)), ""
	lost := landlock.Lost(l.ABI)
	switch {
	case r.prof.Security.Landlock == "off":
		state, by, why = "off", "Landlock", "the profile does without"
	case l.ABI == 0:
		state, by, why = "missing", "Landlock", `this kernel has none or does not let sbx use it; security.landlock = "off" does without`
	case r.prof.Security.NestedUserNS:
		state, why = "degraded", "the profile allows namespaces of its own, in which Landlock would forbid every mount: files are left to the mounts"
	case l.ABI < landlock.ABIRefer:
		state, by, why = "missing", "Landlock", fmt.Sprintf("ABI %d: %s", l.ABI, lost[0])
	case len(lost) > 0:
		state, why = "degraded", "this kernel's Landlock does not hold "+strings.Join(lost, ", ")
	}
	if l.Scoped {
		by += ", signals and abstract sockets stay inside"
	}
	add("landlock", state, by, why, key)
	switch {
	case state == "enforced" || state == "off":
	case r.prof.Security.Landlock == "require":
		r.fail(&Error{Key: key, Msg: fmt.Sprintf("Landlock is required and is %s here: %s", state, why), Hint: "see sbx doctor"})
	case !r.prof.Security.NestedUserNS || l.ABI == 0:
		r.note("degraded", "landlock", key, "Landlock is %s: %s", state, why)
	}
	switch {
	case r.plan.Network == sandbox.NetSandbox:
		f := r.joinFeature()
		add(f.Name, f.State, f.By, f.Why, f.From)
	case r.plan.Namespaces.Net:
		add("abstract_sockets", "enforced", "network namespace", "", "network.mode")
	case l.Scoped:
		add("abstract_sockets", "enforced", "Landlock", "", key)
	case r.prof.Security.Landlock == "off":
		add("abstract_sockets", "off", "Landlock", "with the host's network, and without Landlock, the host's can be connected to", key)
	default:
		add("abstract_sockets", "missing", "Landlock", "with the host's network it takes Landlock's ABI 6 to keep the host's out of reach", "network.mode")
	}
}
