package profiles

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Grant is one thing that a profile allows and another doesn't.
type Grant struct {
	Key    string `json:"key"`              // dotted
	Origin string `json:"origin,omitempty"` // file:line:col; "" = by default, or by leaving something out
	Text   string `json:"text"`
}

// String is the grant as one line of a message.
func (g Grant) String() string {
	if g.Origin == "" {
		return g.Key + ": " + g.Text
	}
	return g.Origin + ": " + g.Key + ": " + g.Text
}

// Widens lists what p grants beyond base, in the schema's order; an empty list
// means that p only tightens. Both must be loaded with the same workspace, see
// Base. The comparison fails closed: where it can't tell, it lists a grant. It
// follows symbolic links, so it must be repeated for every run.
func (p *Profile) Widens(base *Profile) []Grant {
	c := comparison{p: p, base: base}
	for i := range rows {
		if r := &rows[i]; !r.isMount() {
			c.row(r)
		}
	}
	c.unhidden()
	c.mounts()
	c.phases()
	return c.grants
}

// phases compares what each phase is granted with the same phase of the base, or
// else with the base itself.
func (c *comparison) phases() {
	for _, name := range c.p.Phases {
		p, err := c.p.Phase(name)
		base := c.base
		if err == nil && slices.Contains(base.Phases, name) {
			base, err = base.Phase(name)
		}
		if err != nil {
			c.grant("phase", "%v", err)
			continue
		}
		for _, g := range p.Widens(base) {
			if !slices.Contains(c.grants, g) {
				g.Text = "in the phase " + name + ", " + g.Text
				c.grants = append(c.grants, g)
			}
		}
	}
}

// secrets lists what is handed out and is not by the base, from the same source.
func (c *comparison) secrets(r *row) {
	for i, entry := range c.p.Process.Secrets {
		if s := c.p.Secret(entry); slices.Contains(c.base.Process.Secrets, entry) && c.base.Secret(entry) == s {
			continue
		} else if s.File != "" {
			c.grant(fmt.Sprintf("%s[%d]", r.path, i), "hands out what is in %s", s.File)
		} else {
			c.grant(fmt.Sprintf("%s[%d]", r.path, i), "hands out the caller's variable %s", s.Env)
		}
	}
}

// comparison collects grants of p over base.
type comparison struct {
	p, base *Profile
	grants  []Grant
}

func (c *comparison) grant(key, text string, args ...any) {
	c.grants = append(c.grants, Grant{Key: key, Origin: c.p.Origin(key), Text: fmt.Sprintf(text, args...)})
}

// row compares one key of the two profiles.
func (c *comparison) row(r *row) {
	if r.wide == wideNever || r.kind == kindMap || !r.applies(c.p, nil) {
		return
	}
	p, base := r.field(c.p, nil), r.field(c.base, nil)
	switch r.wide {
	case wideRank:
		c.rank(r, *p.(*string), *base.(*string))
	case wideTrue, wideFalse:
		if now, own := *p.(*bool), *base.(*bool); now != own && now == (r.wide == wideTrue) {
			c.grant(r.path, "%t where your own profile has %t", now, own)
		}
	case wideMore, wideLess, wideLimit:
		if a, b := magnitude(r, p), magnitude(r, base); a > b {
			now := literal(r, p)
			if r.unlimited && now == "0" {
				now = "no limit"
			}
			c.grant(r.path, "%s where your own profile has %s", now, literal(r, base))
		}
	case wideTmpfs:
		if size := *p.(*int64); c.overBudget() && size > shownSize(r, c.base) {
			c.grant(r.path, "%s, with which the memory file systems exceed your own profile's and %s", literal(r, p), formatSize(tmpfsBudget))
		}
	case wideAdded:
		c.added(r, p, base)
	case wideRemoved:
		c.removed(r, *p.(*[]string), *base.(*[]string))
	case wideEnvPass:
		c.passed(r)
	case wideName:
		c.named(r)
	case wideRoot:
		c.root(r)
	case widePolicy:
		c.policy(r)
	case wideCalls:
		c.calls(r, *p.(*[]string), *base.(*[]string))
	case wideRules, wideListed:
		c.networked(r, *p.(*[]string), *base.(*[]string))
	case wideRates:
		c.rates(r, *p.(*[]string), *base.(*[]string))
	case wideSecret:
		c.secrets(r)
	case wideCPUs:
		c.cpus(r, *p.(*string), *base.(*string))
	case widePlace:
		if to := *p.(*string); to != "" && to != *base.(*string) {
			c.grant(r.path, "keeps changes in %s", to)
		}
	case wideWorkspace:
		if c.p.Workspace.Access != "none" && !c.p.ownWorkspace() {
			c.grant(r.path, "the workspace %s is outside the project's own directory", c.p.Workspace.Path)
		}
	default:
		c.grant(r.path, "can't be compared with your own profile") // a row without a rule is a grant
	}
}

// named compares whose persistent home it is. A base with the host's home is wider,
// and yet keeps no sandbox's.
func (c *comparison) named(r *row) {
	if c.p.Home.Mode == "persistent" && (c.base.Home.Mode == "host" || c.base.Home.Mode == "persistent" && c.p.Name != c.base.Name) {
		c.grant(r.path, "uses the persistent home of %q", c.p.Name)
	}
}

// passed compares which of the caller's variables come in.
func (c *comparison) passed(r *row) {
	for i, glob := range c.p.Environment.Pass {
		if !covered(glob, c.base.Environment.Pass) || c.base.withholds(glob) {
			c.grant(fmt.Sprintf("%s[%d]", r.path, i), "passes the caller's %s", glob)
		}
	}
}

// withholds reports whether p keeps back a name that another profile writes
// out: a name is stronger than the patterns of unset, unless p writes it too.
func (p *Profile) withholds(name string) bool {
	e := &p.Environment
	return !strings.ContainsAny(name, "*?") && !slices.Contains(e.Pass, name) && covered(name, e.Unset)
}

// unhidden looks for a workspace that is not granted, and with it not hidden in
// and not guarded any more, but shown as a part of something else.
func (c *comparison) unhidden() {
	w := c.base.Workspace
	if c.p.Workspace.Access != "none" || w.Access == "none" || c.p.Root.Source != "/" && c.p.Home.Mode != "host" {
		return
	}
	if w.hides() {
		c.grant("workspace.access", "%q shows what your own profile hides in %s", "none", w.Path)
	}
	written := c.p.Root.Source == "/" && !c.p.Root.ReadOnly || c.p.Home.Mode == "host" && c.p.Home.Access == "rw"
	switch {
	case !written || w.hides(): // or it is said already
	case w.Access != "rw":
		c.grant("workspace.access", "%q gives up what keeps %s from being written", "none", w.Path)
	case w.Git != "rw":
		c.grant("workspace.access", "%q gives up what keeps the repository of %s from being written", "none", w.Path)
	}
}

// hides reports whether a part of the workspace is not shown.
func (w *Workspace) hides() bool { return len(w.Hide) > 0 || w.Git == "hide" }

func (c *comparison) rank(r *row, p, base string) {
	if r.path == "root.etc" && c.base.Root.Source == "/" {
		return // all of the host's tree has all of /etc
	}
	if r.path == "network.mode" && p != base && strings.Contains(p+base, ":") {
		c.joined(r, p, base)
		return
	}
	if r.rank(p) > r.rank(base) {
		c.grant(r.path, "%q where your own profile has %q", p, base)
	}
}

// rank is a word's place in r.order; a word that is not there is widest.
func (r *row) rank(word string) int {
	for i, words := range r.order {
		if slices.Contains(strings.Split(words, "="), word) {
			return i
		}
	}
	return len(r.order)
}

// magnitude is how much a number grants.
func magnitude(r *row, field any) int64 {
	var n int64
	switch f := field.(type) {
	case *int:
		n = int64(*f)
	case *int64:
		n = *f
	case *time.Duration:
		n = int64(*f)
	}
	switch {
	case r.wide == wideLess:
		return -n
	case n == -1 || r.wide == wideLimit && n == 0:
		return math.MaxInt64
	}
	return n
}

// tmpfsBudget is how much memory the sandbox's memory file systems may hold
// together before it counts as a grant, unless the base's hold more already.
const tmpfsBudget = 4 << 30

// inodeCost is about what the kernel needs for an inode of a tmpfs, in bytes.
const inodeCost = 1 << 10

// tmpfs is the size of a profile's memory file systems together.
func (p *Profile) tmpfs() int64 {
	sum := addSizes(p.Root.Tmp, p.Root.Shm)
	if _, ok := ImageName(p.Root.Source); ok && !p.Root.ReadOnly && p.Root.Upper != "disk" {
		sum = addSizes(sum, p.Root.Size)
	}
	if p.Home.Mode == "tmpfs" {
		sum = addSizes(sum, p.Home.Size)
	}
	for _, layers := range []bool{p.Workspace.Access == "overlay", p.HomeLayers()} {
		if layers && p.Overlay.Upper == "tmpfs" {
			size := p.Overlay.Size
			setDefault(&size, OverlayMemory)
			sum = addSizes(sum, size)
		}
	}
	for i := range p.Mounts {
		sum = addSizes(sum, p.Mounts[i].memory())
	}
	return sum
}

// memory is what a tmpfs can take up; zero for other mounts.
func (m *Mount) memory() int64 {
	if m.Type == "overlay" && m.Upper == "tmpfs" {
		return m.Size
	}
	if m.Type != "tmpfs" {
		return 0
	}
	if m.Inodes > math.MaxInt64/inodeCost {
		return math.MaxInt64
	}
	return max(m.Size, m.Inodes*inodeCost)
}

// addSizes adds without overflow.
func addSizes(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func (c *comparison) overBudget() bool {
	return c.p.tmpfs() > max(c.base.tmpfs(), tmpfsBudget)
}

// shownSize is a size of the profile, zero where it has no meaning.
func shownSize(r *row, p *Profile) int64 {
	if !r.applies(p, nil) {
		return 0
	}
	return *r.field(p, nil).(*int64)
}

func (c *comparison) added(r *row, p, base any) {
	switch list := p.(type) {
	case *[]string: // paths
		for i, path := range *list {
			shared := slices.ContainsFunc(*base.(*[]string), func(have string) bool { return within(path, have) })
			if !shared && !c.base.showsHome(path) {
				c.grant(fmt.Sprintf("%s[%d]", r.path, i), "shows %s", path)
			}
		}
	case *[]IDMap:
		for i, m := range *list {
			if !slices.Contains(*base.(*[]IDMap), m) {
				c.grant(fmt.Sprintf("%s[%d]", r.path, i), "maps the host's ids from %d on, %d of them", m.Outside, m.Count)
			}
		}
	}
}

// showsHome reports whether p shows all of a path of the home, because it shows
// the home and hides nothing at, above or below the path, and mounts nothing
// there.
func (p *Profile) showsHome(path string) bool {
	e := p.env()
	if p.Home.Mode != "host" || e.follow(path) != e.follow(filepath.Dir(path))+"/"+filepath.Base(path) {
		return false
	}
	over := func(place string) bool { return within(place, path) || within(path, place) }
	if w := p.Workspace; w.hides() && w.Access != "none" && over(w.Path) {
		return false
	}
	if slices.ContainsFunc(p.Mounts, func(m Mount) bool { return over(m.Target) }) {
		return false
	}
	parts := strings.Split(path, "/")
	return !slices.ContainsFunc(p.Home.Hide, func(glob string) bool {
		globs := strings.Split(glob, "/")
		for i := range min(len(parts), len(globs)) {
			if !matchGlob(globs[i], parts[i]) {
				return false
			}
		}
		return true
	})
}

func (c *comparison) removed(r *row, p, base []string) {
	if r.needs != "" && !r.applies(c.base, nil) {
		return
	}
	if r.path == "policy.require" && slices.Contains(p, "all") {
		return
	}
	var left []string
	for _, entry := range base {
		if !slices.Contains(p, entry) && (r.form != formEnvGlob || !covered(entry, p)) {
			left = append(left, strconv.Quote(entry))
		}
	}
	const most = 4 // are named
	switch n := len(left); {
	case n > most:
		c.grant(r.path, "leaves out %s and %d more of your own profile", strings.Join(left[:most], ", "), n-most)
	case n > 0:
		c.grant(r.path, "leaves out %s of your own profile", strings.Join(left, ", "))
	}
}

func (c *comparison) root(r *row) {
	p, base := c.p.Root.Source, c.base.Root.Source
	switch {
	case p == base, p == "empty", p == "host" && base == "/":
	case p != "host" && c.showsWorkspace(p, "ro"):
	default:
		c.grant(r.path, "%q where your own profile has %q", p, base)
	}
}

// policy compares policies of system calls. What a file says is not looked
// into: it is a grant, unless the base has no filter or the same file.
func (c *comparison) policy(r *row) {
	p, base := &c.p.Security, &c.base.Security
	switch {
	case base.Seccomp == "unconfined":
	case p.Seccomp == base.Seccomp && p.SeccompText == base.SeccompText:
	case SeccompFile(p.Seccomp):
		c.grant(r.path, "the policy of %s where your own profile has %q", p.Seccomp, base.Seccomp)
	case SeccompFile(base.Seccomp):
		c.grant(r.path, "%q where your own profile has the policy of %s", p.Seccomp, base.Seccomp)
	default:
		c.rank(r, p.Seccomp, base.Seccomp)
	}
}

func (c *comparison) calls(r *row, p, base []string) {
	if c.base.Security.Seccomp == "unconfined" {
		return // and what it denies nobody can leave out unseen
	}
	for i, call := range p {
		if !slices.Contains(base, call) {
			c.grant(fmt.Sprintf("%s[%d]", r.path, i), "allows the system call %s", call)
		}
	}
}

// rates wants each rate of the base to be kept to.
func (c *comparison) rates(r *row, p, base []string) {
	for _, entry := range base {
		path, most, _ := Rate(entry)
		if !slices.ContainsFunc(p, func(e string) bool { at, n, ok := Rate(e); return ok && at == path && n <= most }) {
			c.grant(r.path, "does not keep to %q of your own profile", entry)
		}
	}
}

// cpus compares lists of processors.
func (c *comparison) cpus(r *row, p, base string) {
	if base == "" || p == base {
		return
	}
	have, _ := parseCPUs(base)
	want, ok := parseCPUs(p)
	if p == "" || !ok {
		c.grant(r.path, "all processors where your own profile has %q", base)
		return
	}
	for n := range want {
		if want[n] && !have[n] {
			c.grant(r.path, "%q where your own profile has %q", p, base)
			return
		}
	}
}

// mounts compares the mounts, and then the memory that they take.
func (c *comparison) mounts() {
	for i := range c.p.Mounts {
		m := &c.p.Mounts[i]
		key := join("mounts", m.Target)
		have := c.base.mountOn(m.Target)
		switch m.Type {
		case "bind", "overlay":
			c.bind(key, m, have)
		case "volume":
			c.volume(key, m, have)
		case "symlink": // is no mount, so what a mount covered would be seen
			if have != nil && have.Type != "symlink" {
				c.grant(key, "leaves out the %s of your own profile", have.Type)
			}
		case "tmpfs", "file", "mask": // cover what is below and show nothing of the host
			if m.Type != "mask" && m.Exec && have.forbidsExec() {
				c.grant(key+".exec", "true where your own profile has false")
			}
		default:
			c.grant(key, "type %q can't be compared with your own profile", m.Type)
		}
		if m.memory() > 0 && c.overBudget() && (have == nil || m.memory() > have.memory()) {
			c.grant(key, "with it the memory file systems exceed your own profile's and %s", formatSize(tmpfsBudget))
		}
	}
	for i := range c.base.Mounts {
		// What stands below a mount that is gone might be seen, or be written.
		if m := &c.base.Mounts[i]; c.p.mountOn(m.Target) == nil {
			c.grant(join("mounts", m.Target), "leaves out the %s of your own profile", m.Type)
		}
	}
}

// forbidsExec reports whether nothing at the mount can be run; nil forbids
// nothing.
func (m *Mount) forbidsExec() bool {
	if m == nil {
		return false
	}
	return m.Type == "mask" || m.Type != "symlink" && !m.Exec
}

func (p *Profile) mountOn(target string) *Mount {
	for i := range p.Mounts {
		if p.Mounts[i].Target == target {
			return &p.Mounts[i]
		}
	}
	return nil
}

func (c *comparison) bind(key string, m, have *Mount) {
	// An overlay shows its source as a read-only bind does.
	same := have != nil && (have.Type == "bind" || have.Type == "overlay") && have.Source == m.Source
	if !same && !c.showsWorkspace(m.Source, m.Access) {
		how := "read-only"
		if m.Access == "rw" {
			how = "read-write"
		}
		c.grant(key, "shows %s %s", m.Source, how)
	} else if same && m.Access == "rw" && have.Access != "rw" {
		c.grant(key+".access", `"rw" where your own profile has "ro"`)
	}
	for _, l := range m.Lower {
		if had := have != nil && have.Type == "overlay" && slices.Contains(have.Lower, l); !had && !c.showsWorkspace(l, "ro") {
			c.grant(key+".lower", "shows %s read-only", l)
		}
	}
	if m.Optional && have != nil && !(same && have.Optional) {
		c.grant(key+".optional", "may leave out the %s of your own profile", have.Type)
	}
	switch {
	case have == nil || m.Grantable == have.Grantable:
	case m.Grantable: // what stands below it is seen until then
		c.grant(key+".grantable", "leaves out the %s of your own profile until it is granted", have.Type)
	case same:
		c.grant(key+".grantable", "false where your own profile has true: it is shown at once")
	}
	if m.Dev && !(same && have.Dev) {
		c.grant(key+".dev", "lets device nodes work")
	}
	if m.Exec && have.forbidsExec() {
		c.grant(key+".exec", "true where your own profile has false")
	}
}

// volume compares a named volume: others of the user's sandboxes may share it.
func (c *comparison) volume(key string, m, have *Mount) {
	same := have != nil && have.Type == "volume" && have.Source == m.Source
	switch {
	case !same:
		c.grant(key, "uses the volume %q, %s", m.Source, map[string]string{"ro": "read-only", "rw": "read-write", "overlay": "with changes kept apart"}[m.Access])
	case m.Access == "rw" && have.Access != "rw":
		c.grant(key+".access", `"rw" where your own profile has %q`, have.Access)
	}
	if m.Exec && have.forbidsExec() {
		c.grant(key+".exec", "true where your own profile has false")
	}
}

// showsWorkspace reports whether base grants path as a part of the workspace.
// That is so only if base shows the workspace as it is: another target would
// get around what base hides in it or mounts over it. Written to, it must be a
// part without hidden names, for those are the ones that programs on the host
// take orders from (.git, .envrc, .vscode), and that get extra protection
// under their usual path.
func (c *comparison) showsWorkspace(path, access string) bool {
	w := c.base.Workspace
	if w.Access == "none" || access == "rw" && w.Access != "rw" || w.hides() || w.Path != c.p.Workspace.Path {
		return false
	}
	for i := range c.base.Mounts {
		if within(c.base.Mounts[i].Target, w.Path) {
			return false
		}
	}
	e := c.p.env()
	path, dir := e.follow(path), e.follow(w.Path)
	if !within(path, dir) {
		return false
	}
	if access != "rw" {
		return true
	}
	rest := strings.Trim(path[len(dir):], "/")
	return rest != "" && !strings.HasPrefix(rest, ".") && !strings.Contains(rest, "/.")
}

// env is what p was loaded with.
func (p *Profile) env() Env {
	if p.merged == nil {
		return Env{}
	}
	return p.merged.env
}

// follow resolves the symbolic links of the part of path that exists.
func (e Env) follow(path string) string {
	path = filepath.Clean(path)
	for rest, dir := "", path; ; rest, dir = filepath.Join(filepath.Base(dir), rest), filepath.Dir(dir) {
		if real, err := e.Seen.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if _, err := e.Seen.Lstat(dir); err == nil {
			return "/" // a link that leads nowhere may lead anywhere later
		}
		if dir == "/" || dir == "." {
			return path
		}
	}
}

// ownWorkspace reports whether the workspace lies in the project's directory:
// that of a .sbx.toml; for another file, the one the user chose to stand in.
// The home is no project, wherever the user stands.
func (p *Profile) ownWorkspace() bool {
	m := p.merged
	if m == nil {
		return false
	}
	dir, last := m.env.Cwd, m.layers[len(m.layers)-1]
	if filepath.Base(last.path) == ProjectFile {
		dir = last.dir
	}
	if dir == "" {
		return false
	}
	dir = m.env.follow(dir)
	if home := m.env.Home; home != "" && within(m.env.follow(home), dir) {
		return false
	}
	return within(m.env.follow(p.Workspace.Path), dir)
}

// covered reports whether one of globs matches everything that glob matches.
func covered(glob string, globs []string) bool {
	return slices.ContainsFunc(globs, func(have string) bool { return matchGlob(have, glob) })
}

// matchGlob matches text against glob: * is any text, ? any one character. text may be a glob itself, then the
// answer is whether glob matches all that text does: a * of text is matched
// only by a * of glob. It takes time in proportion to both lengths, since both
// may be a stranger's: of several *, only the last that was met is tried anew.
func matchGlob(glob, text string) bool {
	g, t := 0, 0
	star, from := -1, 0 // the last *, and where what it matches ends so far
	for t < len(text) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, from = g, t
			g++
		case g < len(glob) && text[t] != '*' && (glob[g] == '?' || glob[g] == text[t]):
			g++
			t++
		case star >= 0:
			from++
			g, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
