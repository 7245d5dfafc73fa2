package profiles

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// slot is the merged value of one key.
type slot struct {
	set   bool
	val   value
	from  int    // index of the layer that set it last
	sub   string // as that layer wrote it
	items []item // for a list: where each entry stands
}

// item is the place of one entry of a list.
type item struct{ layer, index int }

// mountSlots is one mount while it is merged.
type mountSlots struct {
	target string // expanded
	raw    string // as the last layer that touched it wrote it
	from   int    // that layer
	slots  []slot // by row, from merged.mountLow
}

// envSlot is one entry of a table of NAME = "value": environment.set, secrets.
type envSlot struct {
	key, name, text string
	from            int
}

// merged is a profile between its files and its struct.
type merged struct {
	layers    []*layer
	env       Env
	workspace string
	forced    bool // the workspace came from the caller
	slots     []slot
	vars      []envSlot
	mounts    []*mountSlots
	mountLow  int // rows[mountLow:mountHigh] are a mount's
	mountHigh int
	policy    string // the text of the file that security.seccomp names
	phase     string // the phase that this is the sandbox of, "" for none
	phaseAt   int    // where its layers begin among layers
	problems  []problem
}

// fail notes a problem at a key of a layer.
func (m *merged) fail(layer int, key, msg string) {
	m.problems = append(m.problems, problem{layer: m.layers[layer], key: key, msg: msg})
}

// merge applies the layers in order.
func (m *merged) merge() {
	m.slots = make([]slot, len(rows))
	m.mountLow = find("mounts.*.type")
	for m.mountHigh = m.mountLow; rows[m.mountHigh].isMount(); m.mountHigh++ {
	}
	m.findWorkspace()
	for i := range m.layers {
		if m.phase != "" && i == m.phaseAt {
			m.slots[find("process.secrets")] = slot{} // each phase names its own
		}
		m.apply(i)
	}
	slices.SortFunc(m.mounts, func(a, b *mountSlots) int { return strings.Compare(a.target, b.target) })
	m.check()
	m.readPolicy()
}

// readPolicy reads the file that security.seccomp names.
func (m *merged) readPolicy() {
	const key = "security.seccomp"
	path := m.text(key)
	if !SeccompFile(path) {
		return
	}
	var err error
	if m.policy, err = m.env.readFile(path); err != nil {
		m.problems = append(m.problems, problem{layer: m.layers[m.slots[find(key)].from], key: key, msg: fmt.Sprintf("reading %s: %v", path, err), value: true})
	}
}

// findWorkspace settles workspace.path, which other keys refer to.
func (m *merged) findWorkspace() {
	if m.workspace != "" {
		m.forced = true
		return
	}
	last := m.layers[len(m.layers)-1]
	m.workspace = m.env.Cwd
	if filepath.Base(last.path) == ProjectFile {
		m.workspace = last.dir
	}
	for i, l := range slices.Backward(m.layers) {
		text := l.own("workspace.path")
		if text == "" {
			continue
		}
		dir := l.dir
		if dir == "" {
			dir = m.env.Cwd
		}
		path, msg := scope{env: m.env, dir: dir}.expandPath(text, dir)
		if msg != "" {
			m.problems = append(m.problems, problem{layer: m.layers[i], key: "workspace.path", msg: msg, value: true})
			return
		}
		m.workspace = filepath.Clean(path)
		return
	}
}

// scope gives variables the values that they have in a layer.
func (m *merged) scope(at int) scope {
	sc := scope{env: m.env, dir: m.layers[at].dir, workspace: m.workspace}
	if sc.dir == "" {
		sc.dir = m.workspace
	}
	return sc
}

// apply merges one layer into the slots.
func (m *merged) apply(at int) {
	l, sc := m.layers[at], m.scope(at)
	for i := range l.settings {
		s := &l.settings[i]
		ri := find(s.key)
		r := &rows[ri]
		switch {
		case s.key == "name" || s.key == "description":
			if at != len(m.layers)-1 {
				continue // each profile has its own
			}
		case s.key == "workspace.path":
			m.slots[ri] = slot{set: !m.forced && s.val.s != "", val: value{s: m.workspace}, from: at}
			continue
		case r.kind == kindMap:
			m.setVariable(at, s, sc)
			continue
		case r.isMount():
			m.setMount(at, ri, s, sc)
			continue
		}
		v, ok := m.expand(at, r, s, sc)
		if ok {
			m.slots[ri] = m.slots[ri].with(r, v, at)
		}
	}
	m.dropMounts(at)
}

// with returns the slot after a layer set it to v: lists grow by what is new,
// everything else is replaced.
func (s slot) with(r *row, v value, at int) slot {
	if r.kind != kindList && r.kind != kindIDMap {
		return slot{set: true, val: v, from: at}
	}
	var list []string // nil when empty, so that equal profiles are deeply equal
	var items []item
	if s.set && !r.replaces() {
		list, items = s.val.l, s.items
	}
	for i, entry := range v.l {
		if r.replaces() || !slices.Contains(list, entry) {
			list = append(list, entry)
			items = append(items, item{at, i})
		}
	}
	return slot{set: true, val: value{l: list}, from: at, items: items}
}

// expand puts the variables' values and absolute paths into a setting.
func (m *merged) expand(at int, r *row, s *setting, sc scope) (value, bool) {
	if !r.vars {
		return s.val, true
	}
	if r.kind != kindList {
		text, msg := expandText(r, s.val.s, sc)
		if msg != "" {
			m.problems = append(m.problems, problem{layer: m.layers[at], key: r.id(s.sub), msg: msg, value: true})
		}
		return value{s: text}, msg == ""
	}
	list, ok := make([]string, len(s.val.l)), true
	for i, entry := range s.val.l {
		if entry == ArgsEntry && m.layers[at].phase != "" && r.path == "process.command" {
			list[i] = entry
			continue
		}
		text, msg := expandText(r, entry, sc)
		if msg != "" {
			m.problems = append(m.problems, problem{layer: m.layers[at], key: fmt.Sprintf("%s[%d]", r.id(s.sub), i), msg: msg, value: true})
			ok = false
		}
		list[i] = text
	}
	return value{l: list}, ok
}

// expandText expands one text of r as its form asks.
func expandText(r *row, text string, sc scope) (string, string) {
	switch r.form {
	case formPath, formRoot, formPolicy:
		if text == "" || r.form != formPath && !isPathText(text) {
			return text, ""
		}
		path, msg := sc.expandPath(text, sc.dir)
		if msg != "" {
			return "", msg
		}
		if !filepath.IsAbs(path) {
			return "", "the current directory is not known, write an absolute path"
		}
		return filepath.Clean(path), ""
	case formHomePath, formHomeGlob:
		path, msg := sc.expandPath(text, sc.env.Home)
		if msg != "" {
			return "", msg
		}
		path = filepath.Clean(path)
		if !within(path, sc.env.Home) || path == sc.env.Home {
			return "", fmt.Sprintf("%s is not below the home directory %s, use [mounts] for it", path, sc.env.Home)
		}
		return path, ""
	case formSource:
		return sc.expandPath(text, "") // made absolute when the mount's type is known
	}
	return expand(text, sc.lookup)
}

// within reports whether path is dir or below it; both are clean.
func within(path, dir string) bool {
	if dir == "/" {
		return strings.HasPrefix(path, "/")
	}
	return dir != "" && strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

func (m *merged) setVariable(at int, s *setting, sc scope) {
	text, msg := expand(s.val.s, sc.lookup)
	if msg != "" {
		m.problems = append(m.problems, problem{layer: m.layers[at], key: join(s.key, s.sub), msg: msg, value: true})
		return
	}
	if find(s.key) == find("secrets") {
		if text, msg = secretSource(text, sc); msg != "" {
			m.problems = append(m.problems, problem{layer: m.layers[at], key: join(s.key, s.sub), msg: msg, value: true})
			return
		}
	}
	now := envSlot{s.key, s.sub, text, at}
	for i := range m.vars {
		if m.vars[i].key == s.key && m.vars[i].name == s.sub {
			m.vars[i] = now
			return
		}
	}
	m.vars = append(m.vars, now)
}

// setMount merges one key of a mount.
func (m *merged) setMount(at, ri int, s *setting, sc scope) {
	key := join("mounts", s.sub)
	if m.layers[at].bad[key] {
		return
	}
	target, msg := sc.expandPath(s.sub, "")
	if msg == "" {
		msg = checkExpandedTarget(target)
	}
	if msg != "" {
		m.fail(at, key, msg) // once per key of the mount; equal problems are folded
		return
	}
	mount := m.mountAt(target)
	if mount.from == at && mount.raw != "" && mount.raw != s.sub {
		m.fail(at, key, fmt.Sprintf("same target as %s, keep one of them", join("mounts", mount.raw)))
		return
	}
	mount.raw, mount.from = s.sub, at
	if v, ok := m.expand(at, &rows[ri], s, sc); ok {
		mount.slots[ri-m.mountLow] = slot{set: true, val: v, from: at, sub: s.sub}
	}
}

func checkExpandedTarget(target string) string {
	switch clean := filepath.Clean(target); {
	case !filepath.IsAbs(target):
		return fmt.Sprintf("target %q is not absolute, begin it with \"/\"", target)
	case clean == "/":
		return `target is "/", set root.source instead`
	case clean != target:
		return fmt.Sprintf("target is not clean, write %q", clean)
	}
	return ""
}

// mountAt returns the mount on target, a new one if there is none yet.
func (m *merged) mountAt(target string) *mountSlots {
	for _, mount := range m.mounts {
		if mount.target == target {
			return mount
		}
	}
	mount := &mountSlots{target: target, from: -1, slots: make([]slot, m.mountHigh-m.mountLow)}
	m.mounts = append(m.mounts, mount)
	return mount
}

// dropMounts takes away the inherited mounts that a layer sets to "none".
func (m *merged) dropMounts(at int) {
	m.mounts = slices.DeleteFunc(m.mounts, func(mount *mountSlots) bool {
		if mount.slots[0].from != at || mount.slots[0].val.s != "none" {
			return false
		}
		inherited := false
		for i := range m.layers[:at] {
			inherited = inherited || m.mentions(i, mount.target)
		}
		key := join("mounts", mount.raw)
		if !inherited {
			m.fail(at, key+".type", `drops an inherited mount, and none is inherited for this target`)
		}
		for i, s := range mount.slots[1:] {
			if s.set && s.from == at {
				m.fail(at, rows[m.mountLow+1+i].id(mount.raw), `has no effect with type = "none", remove it`)
			}
		}
		return true
	})
}

// mentions reports whether a layer has a mount on target.
func (m *merged) mentions(at int, target string) bool {
	l, sc := m.layers[at], m.scope(at)
	for i := range l.settings {
		if s := &l.settings[i]; strings.HasPrefix(s.key, mountPrefix) {
			if path, msg := sc.expandPath(s.sub, ""); msg == "" && path == target {
				return true
			}
		}
	}
	return false
}

// text returns the merged text of a key, or its default.
func (m *merged) text(key string) string {
	i := find(key)
	if m.slots[i].set {
		return m.slots[i].val.s
	}
	return rows[i].def
}

// profile builds the struct from the slots.
func (m *merged) profile() *Profile {
	last := m.layers[len(m.layers)-1]
	p := &Profile{merged: m}
	for i := range rows {
		if r := &rows[i]; r.kind != kindMap && !r.isMount() {
			assign(r, r.field(p, nil), m.slots[i])
		}
	}
	if p.Name == "" {
		p.Name = last.stem
	}
	p.Workspace.Path = m.workspace
	p.Security.SeccompText = m.policy
	if _, ok := ImageName(p.Root.Source); ok {
		m.imageRoot(&p.Root, p.Overlay.Name != "")
	}
	if p.Home.Mode == "persistent" && !m.slots[find("home.access")].set {
		p.Home.Access = "rw"
	}
	if len(p.User.UIDMap) > 0 || len(p.User.GIDMap) > 0 {
		p.User.Map = "explicit"
	}
	for _, v := range m.vars {
		set := rows[find(v.key)].field(p, nil).(*map[string]string)
		if *set == nil {
			*set = make(map[string]string, len(m.vars))
		}
		(*set)[v.name] = v.text
	}
	if m.phase == "" {
		p.Phases = m.phaseNames()
	}
	for _, mount := range m.mounts {
		p.Mounts = append(p.Mounts, m.mount(mount))
	}
	for _, l := range m.layers {
		if l.phase == "" {
			p.Files = append(p.Files, l.name)
		}
	}
	return p
}

// imageRoot sets the defaults that are others on an image. named says that
// changes are kept under a name.
func (m *merged) imageRoot(root *Root, named bool) {
	set := func(key string) bool { return m.slots[find(key)].set }
	if !set("root.read_only") {
		root.ReadOnly = false
	}
	if !set("root.upper") && named {
		root.Upper = "disk"
	}
	if root.Upper == "disk" && !set("root.size") {
		root.Size = 0
	}
}

// mount builds one mount, with the defaults that depend on its type.
func (m *merged) mount(from *mountSlots) Mount {
	mount := Mount{Target: from.target}
	for i, s := range from.slots {
		r := &rows[m.mountLow+i]
		assign(r, r.field(nil, &mount), s)
	}
	switch mount.Type {
	case "bind", "overlay":
		if mount.Source == "" {
			mount.Source = mount.Target
		}
		if !filepath.IsAbs(mount.Source) {
			dir := m.layers[from.slots[find("mounts.*.source")-m.mountLow].from].dir
			if dir == "" {
				dir = m.workspace
			}
			mount.Source = filepath.Join(dir, mount.Source)
		}
		mount.Source = filepath.Clean(mount.Source)
		if mount.Type == "bind" {
			setDefault(&mount.Access, "ro")
			break
		}
		if setDefault(&mount.Upper, "disk"); mount.Upper == "tmpfs" {
			setDefault(&mount.Size, OverlayMemory)
		}
	case "volume":
		setDefault(&mount.Access, "rw")
	case "tmpfs":
		setDefault(&mount.Access, "rw")
		if !from.slots[find("mounts.*.mode")-m.mountLow].set { // "0000" is a mode too
			mount.Mode = 0o755
		}
		setDefault(&mount.Size, 64<<20)
		setDefault(&mount.Inodes, max(1, mount.Size/4096))
	case "file":
		setDefault(&mount.Access, "ro")
		if !from.slots[find("mounts.*.mode")-m.mountLow].set {
			mount.Mode = 0o644
		}
	}
	return mount
}

// setDefault gives a field that is zero the value v.
func setDefault[T comparable](field *T, v T) {
	var zero T
	if *field == zero {
		*field = v
	}
}

// assign puts a slot's value, or the row's default, into a field.
func assign(r *row, field any, s slot) {
	v := s.val
	if !s.set {
		v = r.defaultValue()
	}
	switch f := field.(type) {
	case *string:
		*f = v.s
	case *bool:
		*f = v.n != 0
	case *int:
		*f = int(v.n)
	case *int64:
		*f = v.n
	case *uint32:
		*f = uint32(v.n)
	case *time.Duration:
		*f = time.Duration(v.n)
	case *[]string:
		*f = v.l
	case *[]IDMap:
		for _, text := range v.l {
			id, _ := parseIDMap(text) // checked when it was decoded
			*f = append(*f, id)
		}
	default:
		panic(fmt.Sprintf("profiles: key %s has a field of type %T", r.path, field))
	}
}

// defaultValue is the value of a key that no file sets.
func (r *row) defaultValue() value {
	if r.def == "" {
		return value{}
	}
	var v any = r.def
	switch r.kind {
	case kindBool:
		v = r.def == "true"
	case kindInt:
		n, err := strconv.ParseInt(r.def, 10, 64)
		if err != nil {
			panic("profiles: default of " + r.path + ": " + err.Error())
		}
		v = n
	}
	val, msg := r.scalar(v)
	if msg != "" {
		panic("profiles: default of " + r.path + ": " + msg)
	}
	return val
}
