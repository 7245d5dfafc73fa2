package profiles

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TOML renders the profile as one file that extends nothing and loads to the
// same Profile, on a host with the same home. Each line says in a comment
// where its value came from.
func (p *Profile) TOML() []byte {
	w := writer{profile: p}
	w.b.WriteString("version = 1\nextends = []\n")
	table := ""
	for i := range rows {
		r := &rows[i]
		if r.isMount() || r.kind == kindMap || !r.applies(p, nil) {
			continue
		}
		if t := parent(r.path); t != table {
			w.finish(table)
			table = t
			fmt.Fprintf(&w.b, "\n[%s]\n", t)
		}
		w.key(r, r.leaf(), r.path, r.field(p, nil))
	}
	w.finish(table)
	for i := range p.Mounts {
		w.mount(&p.Mounts[i])
	}
	for _, name := range p.Phases {
		w.phase(name)
	}
	return []byte(w.b.String())
}

// writer builds the text of a profile.
type writer struct {
	profile *Profile
	b       strings.Builder
}

// finish writes what stands below the keys of a table.
func (w *writer) finish(table string) {
	for _, t := range []struct {
		after, key string
		set        map[string]string
	}{{"environment", "environment.set", w.profile.Environment.Set}, {"policy", "secrets", w.profile.Secrets}} {
		if table != t.after || len(t.set) == 0 {
			continue
		}
		fmt.Fprintf(&w.b, "\n[%s]\n", t.key)
		for _, name := range slices.Sorted(maps.Keys(t.set)) {
			w.line(join("", name)+" = "+quote(escapeVars(t.set[name])), join(t.key, name))
		}
	}
}

// phase writes what a phase has otherwise than the profile.
func (w *writer) phase(name string) {
	p, err := w.profile.Phase(name)
	if err != nil {
		return // it would not have been loaded
	}
	base := w.profile
	fmt.Fprintf(&w.b, "\n[[phase]]\nname = %s\n", quote(name))
	in := writer{profile: p}
	for i := range rows {
		r := &rows[i]
		if r.isMount() || r.kind == kindMap || !r.applies(p, nil) {
			continue
		}
		if a, b := r.field(p, nil), r.field(base, nil); !reflect.DeepEqual(a, b) && r.path != "process.secrets" || r.path == "process.secrets" && len(p.Process.Secrets) > 0 {
			in.key(r, r.path, r.path, a)
		}
	}
	for _, v := range slices.Sorted(maps.Keys(p.Environment.Set)) {
		if have, ok := base.Environment.Set[v]; !ok || have != p.Environment.Set[v] {
			key := join("environment.set", v)
			in.line(key+" = "+quote(escapeVars(p.Environment.Set[v])), key)
		}
	}
	for i := range p.Mounts {
		m := &p.Mounts[i]
		if slices.ContainsFunc(base.Mounts, func(have Mount) bool { return reflect.DeepEqual(have, *m) }) {
			continue
		}
		key := join("mounts", m.Target)
		for i := range rows {
			if r := &rows[i]; r.isMount() && r.applies(nil, m) {
				in.key(r, join("mounts", escapeVars(m.Target))+"."+r.leaf(), key+"."+r.leaf(), r.field(nil, m))
			}
		}
	}
	for _, m := range base.Mounts {
		if !slices.ContainsFunc(p.Mounts, func(have Mount) bool { return have.Target == m.Target }) {
			in.b.WriteString(join("mounts", escapeVars(m.Target)) + ".type = \"none\"\n")
		}
	}
	w.b.WriteString(in.b.String())
}

func (w *writer) mount(m *Mount) {
	key := join("mounts", m.Target)
	fmt.Fprintf(&w.b, "\n[%s]\n", join("mounts", escapeVars(m.Target)))
	for i := range rows {
		if r := &rows[i]; r.isMount() && r.applies(nil, m) {
			w.key(r, r.leaf(), key+"."+r.leaf(), r.field(nil, m))
		}
	}
}

// applies reports whether r has a meaning beside the profile's other values.
func (r *row) applies(p *Profile, m *Mount) bool {
	if r.isMount() {
		return r.in == nil || slices.Contains(r.in, m.Type)
	}
	if r.needs == "" {
		return true
	}
	other := rows[find(r.needs)].field(p, nil).(*string)
	return r.meant(*other)
}

// key writes one key; id is its dotted name for Origin.
func (w *writer) key(r *row, name, id string, field any) {
	list, isList := texts(r, field)
	switch {
	case !isList:
		w.line(name+" = "+literal(r, field), id)
	case len(list) < 2:
		w.line(name+" = ["+strings.Join(list, "")+"]", id)
	default:
		w.b.WriteString(name + " = [\n")
		for i, text := range list {
			w.line("  "+text+",", fmt.Sprintf("%s[%d]", id, i))
		}
		w.b.WriteString("]\n")
	}
}

// line writes text and where it came from.
func (w *writer) line(text, id string) {
	w.b.WriteString(text)
	if w.profile.merged != nil {
		from := w.profile.Origin(id)
		if from == "" {
			from = "default"
		}
		w.b.WriteString(" # ")
		w.b.WriteString(strings.Map(printable, from))
	}
	w.b.WriteByte('\n')
}

// printable replaces what may not stand in a TOML comment.
func printable(r rune) rune {
	if r < 0x20 || r == 0x7f || r == '\uFFFD' {
		return '?'
	}
	return r
}

// texts renders the entries of a list.
func texts(r *row, field any) (list []string, ok bool) {
	switch f := field.(type) {
	case *[]string:
		for _, s := range *f {
			list = append(list, r.quoted(s))
		}
		return list, true
	case *[]IDMap:
		for _, m := range *f {
			list = append(list, quote(m.String()))
		}
		return list, true
	}
	return nil, false
}

// quoted renders a text of r, so that reading it gives the text again.
func (r *row) quoted(s string) string {
	if r.vars && s != ArgsEntry {
		s = escapeVars(s)
	}
	return quote(s)
}

// String is the map as a profile writes it.
func (m IDMap) String() string {
	return fmt.Sprintf("%d:%d:%d", m.Inside, m.Outside, m.Count)
}

// literal renders a value that is not a list.
func literal(r *row, field any) string {
	switch f := field.(type) {
	case *string:
		return r.quoted(*f)
	case *bool:
		return strconv.FormatBool(*f)
	case *uint32:
		return fmt.Sprintf("\"%04o\"", *f)
	case *int:
		return strconv.Itoa(*f)
	case *int64:
		return r.number(*f)
	case *time.Duration:
		if r.unlimited && *f == -1 {
			return `"unlimited"`
		}
		return quote(f.String())
	}
	panic(fmt.Sprintf("profiles: key %s has a field of type %T", r.path, field))
}

func (r *row) number(n int64) string {
	switch {
	case r.unlimited && n == -1:
		return `"unlimited"`
	case r.kind == kindSize:
		return formatSize(n)
	case r.kind == kindThousandths:
		return formatThousandths(n)
	}
	return strconv.FormatInt(n, 10)
}
