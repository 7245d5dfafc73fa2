package profiles

import (
	"fmt"
	"slices"
)

// check looks for keys that contradict one another. A key that has no effect
// is an error in the file that writes it; one that was inherited, and that a
// later file made meaningless, is dropped.
func (m *merged) check() {
	for i := range rows {
		if r := &rows[i]; r.needs != "" && m.slots[i].set {
			m.checkNeeds(i, r)
		}
	}
	m.checkIDs()
	m.checkSecrets()
	m.checkGit()
	for _, mount := range m.mounts {
		m.checkMount(mount)
	}
}

func (m *merged) checkNeeds(i int, r *row) {
	have := m.text(r.needs)
	if r.meant(have) {
		return
	}
	cond := m.slots[find(r.needs)]
	from := m.slots[i].from
	if cond.set && from < cond.from {
		m.slots[i] = slot{}
		return
	}
	if m.layers[from].bad[r.needs] {
		return
	}
	instead := fmt.Sprintf("set %s = %s", r.needs, either(r.in))
	if r.not != nil {
		instead = "set another " + r.needs
	}
	m.fail(from, r.path, fmt.Sprintf("has no effect with %s = %q, remove it or %s", r.needs, have, instead))
	m.slots[i] = slot{}
}

// meant reports whether r has a meaning while the key it needs holds a value.
func (r *row) meant(value string) bool {
	if r.not != nil {
		return !slices.Contains(r.not, value)
	}
	if _, ok := ImageName(value); ok && slices.Contains(r.in, anyImage) {
		return true
	}
	if _, ok := Networks(value); ok && slices.Contains(r.in, anyNetwork) {
		return true
	}
	return slices.Contains(r.in, value)
}

// checkGit refuses a repository that is to be written in a workspace that is
// not; one that was inherited says nothing then.
func (m *merged) checkGit() {
	git, access := m.slots[find("workspace.git")], m.slots[find("workspace.access")]
	if m.text("workspace.access") != "ro" || git.val.s != "guard" && git.val.s != "rw" {
		return
	}
	m.slots[find("workspace.git")] = slot{}
	if git.from < access.from || m.layers[git.from].bad["workspace.access"] {
		return
	}
	m.fail(git.from, "workspace.git", fmt.Sprintf("%q has no effect with workspace.access = \"ro\", remove it or set workspace.access = \"rw\"", git.val.s))
}

// checkIDs checks the explicit id maps.
func (m *merged) checkIDs() {
	uid, gid, how := m.slots[find("user.uid_map")], m.slots[find("user.gid_map")], m.slots[find("user.map")]
	for _, one := range []struct {
		key, other string
		s, o       slot
	}{{"user.uid_map", "user.gid_map", uid, gid}, {"user.gid_map", "user.uid_map", gid, uid}} {
		if len(one.s.val.l) == 0 {
			continue
		}
		if len(one.o.val.l) == 0 && !m.layers[one.s.from].bad[one.other] {
			m.fail(one.s.from, one.key, "needs "+one.other+" as well")
		}
		m.checkOverlap(one.key, one.s)
	}
	if how.val.s == "explicit" && len(uid.val.l) == 0 && len(gid.val.l) == 0 {
		if bad := m.layers[how.from].bad; !bad["user.uid_map"] && !bad["user.gid_map"] {
			m.fail(how.from, "user.map", `"explicit" needs user.uid_map and user.gid_map`)
		}
	}
}

// checkOverlap refuses maps that give one id two meanings.
func (m *merged) checkOverlap(key string, s slot) {
	var maps []IDMap
	for i, text := range s.val.l {
		id, _ := parseIDMap(text)
		for j, have := range maps {
			side := ""
			if overlap(id.Inside, have.Inside, id.Count, have.Count) {
				side = "inside"
			} else if overlap(id.Outside, have.Outside, id.Count, have.Count) {
				side = "outside"
			}
			if side != "" {
				at := s.items[i]
				m.problems = append(m.problems, problem{layer: m.layers[at.layer], key: fmt.Sprintf("%s[%d]", key, at.index), value: true,
					msg: fmt.Sprintf("%q overlaps %q %s, use separate ranges", text, s.val.l[j], side)})
			}
		}
		maps = append(maps, id)
	}
}

func overlap(a, b, countA, countB uint32) bool {
	return uint64(a) < uint64(b)+uint64(countB) && uint64(b) < uint64(a)+uint64(countA)
}

// checkMount checks one mount after all files had their say.
func (m *merged) checkMount(mount *mountSlots) {
	typ := mount.slots[0]
	name := "bind"
	if typ.set {
		name = typ.val.s
	}
	key := join("mounts", mount.raw)
	if m.layers[mount.from].bad[key+".type"] {
		return
	}
	for i := range mount.slots {
		s, r := &mount.slots[i], &rows[m.mountLow+i]
		if !s.set || r.in == nil || slices.Contains(r.in, name) {
			continue
		}
		if !typ.set || s.from >= typ.from {
			m.fail(s.from, r.id(s.sub), fmt.Sprintf("has no effect with type = %q, remove it or set type = %s", name, either(r.in)))
		}
		*s = slot{}
	}
	source := mount.slots[find("mounts.*.source")-m.mountLow]
	if name == "symlink" && source.val.s == "" && !m.layers[mount.from].bad[key+".source"] {
		m.fail(mount.from, key, "a symlink needs a source, the text of the link")
	}
	m.checkLayers(name, key, mount)
	dev := mount.slots[find("mounts.*.dev")-m.mountLow].val.n != 0
	switch {
	case name == "mask":
	case within(mount.target, "/proc"):
		m.fail(mount.from, key, `target is under /proc, where only type = "mask" may be`)
	case within(mount.target, "/dev") && !(name == "bind" && dev) && !m.layers[mount.from].bad[key+".dev"]:
		m.fail(mount.from, key, "target is under /dev, where only a bind with dev = true may be")
	}
}

// checkLayers checks what only volumes and overlays have, and others must not.
func (m *merged) checkLayers(typ, key string, mount *mountSlots) {
	leaf := func(name string) slot { return mount.slots[find(mountPrefix+name)-m.mountLow] }
	source, access, size := leaf("source"), leaf("access"), leaf("size")
	switch {
	case typ != "volume":
	case m.layers[mount.from].bad[key+".source"]:
	case source.val.s == "":
		m.fail(mount.from, key, "a volume needs a source, its name")
	case !validName(source.val.s):
		m.fail(source.from, key+".source", fmt.Sprintf("%q is not a volume's name, %s", source.val.s, nameRule))
	}
	if access.val.s == "overlay" && typ != "volume" {
		m.fail(access.from, key+".access", fmt.Sprintf("\"overlay\" has no meaning with type = %q, set type = \"overlay\"", typ))
	}
	if size.set && size.val.n == 0 && typ == "tmpfs" {
		m.fail(size.from, key+".size", "0 is out of range, use 1 or more")
	}
}
