package profiles

import (
	"fmt"
	"strings"
)

// Origin says which place of which file gave a key its value, as
// "file:line:col", or the flag of an Override; "" if the key has its default or
// there is no such key. A mount's key is `mounts."TARGET"` or
// `mounts."TARGET".size`, a list's entry `environment.pass[2]`, a variable
// `environment.set.NAME`.
func (p *Profile) Origin(key string) string {
	m := p.merged
	if m == nil {
		return ""
	}
	layer, at, value := m.origin(key)
	if layer < 0 {
		return ""
	}
	l := m.layers[layer]
	if strings.HasPrefix(l.name, "--") {
		return l.name // the command line, see With
	}
	pos := l.position(at, value)
	return fmt.Sprintf("%s:%d:%d", l.name, pos.line, pos.col)
}

// origin finds the layer that set a key, and the key as that layer wrote it.
func (m *merged) origin(key string) (layer int, at string, value bool) {
	base, index := key, -1
	if strings.HasSuffix(key, "]") {
		base = parent(key)
		if _, err := fmt.Sscanf(key[len(base):], "[%d]", &index); err != nil {
			return -1, "", false
		}
	}
	if i := find(base); i >= 0 && !rows[i].isMount() {
		s := m.slots[i]
		switch {
		case !s.set:
			return -1, "", false
		case index < 0:
			return s.from, base, false
		case index < len(s.items):
			it := s.items[index]
			return it.layer, fmt.Sprintf("%s[%d]", base, it.index), true
		}
		return -1, "", false
	}
	for _, v := range m.vars {
		if at := join(v.key, v.name); at == key {
			return v.from, at, false
		}
	}
	for _, mount := range m.mounts {
		if join("mounts", mount.target) == key {
			return mount.from, join("mounts", mount.raw), false
		}
		for i, s := range mount.slots {
			if r := &rows[m.mountLow+i]; s.set && r.id(mount.target) == key {
				return s.from, r.id(s.sub), false
			}
		}
	}
	return -1, "", false
}
