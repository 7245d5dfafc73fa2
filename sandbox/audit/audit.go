// Package audit finds the files that the host runs later (sandbox/triggers)
// among those that are new or changed since a command was started. It looks at
// times that no ordinary process can set: an inode's change time, inode(7). So
// nothing has to be looked at before the start but the top of each tree.
//
// What it can't see: a trigger that was deleted, and what was changed by others
// in the meantime, which it reports as well.
package audit

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/triggers"
)

// The bounds of one audit. What lies beyond is said to be left out.
const (
	maxEntries  = 2_000_000
	maxTime     = 5 * time.Second
	maxDepth    = 200 // a descriptor each
	maxLinks    = 40  // as the kernel, path_resolution(7)
	maxFindings = 10_000
	maxGaps     = 20
)

// Report is what an audit found.
type Report struct {
	Findings []Finding `json:"findings"`
	// More is how many more there were than are kept.
	More int `json:"more,omitempty"`
	// Incomplete says what was not looked at, or can't be told, and why.
	Incomplete []string `json:"incomplete,omitempty"`
}

// Finding is one trigger that is new or changed.
type Finding struct {
	Path   string        `json:"path"`
	Change string        `json:"change"` // "new", "changed", "moved"
	Class  string        `json:"class"`
	Rule   triggers.Rule `json:"rule"`
	Who    string        `json:"who"` // who runs it
	// Alike is the name that it is taken for, where it has another.
	Alike string `json:"alike,omitempty"`
	// Files is how many of what is in it are new or changed; 0 for a file.
	Files int `json:"files,omitempty"`
}

// Fails reports whether f is more than what a build does.
func (f *Finding) Fails() bool { return f.Rule != triggers.Build }

// Fails reports whether anything is there that a build does not do, or may be.
func (r *Report) Fails() bool {
	return r.More > 0 || len(r.Incomplete) > 0 || slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Fails() })
}

// Mark is the moment an audit compares with.
type Mark struct {
	trees []marked
	start int64 // ns since the epoch, by the clock that file systems take times from
	set   setting
}

// marked is a tree at that moment.
type marked struct {
	sandbox.AuditTree
	fd  int // -1 for a file, or what can't be opened
	err error
	// top holds the inodes of the directories in it by their names, as far as one
	// look tells: what is still the same was not moved there.
	top map[string]uint64
}

// Begin takes the moment before a command starts. Either Look or Close follows.
func Begin(trees []sandbox.AuditTree) *Mark {
	m := &Mark{}
	for _, t := range trees {
		k := marked{AuditTree: t, fd: -1}
		if t.IsDir {
			if k.fd, k.err = openDir(unix.AT_FDCWD, t.Source, 0); k.err == nil {
				k.top = top(k.fd)
			}
		}
		m.trees = append(m.trees, k)
	}
	m.start, m.set = clocks()
	return m
}

// Taken is a Mark of one tree that was taken before the Go runtime was started: the
// tree's descriptor, the names in it as getdents64(2) gave them, and what the clocks
// CLOCK_REALTIME_COARSE, CLOCK_REALTIME, CLOCK_BOOTTIME and CLOCK_REALTIME once more
// said, in that order.
func Taken(t sandbox.AuditTree, fd int, names []byte, clocks [4]unix.Timespec) *Mark {
	coarse, before, boot, after := clocks[0].Nano(), clocks[1].Nano(), clocks[2].Nano(), clocks[3].Nano()
	return &Mark{
		trees: []marked{{AuditTree: t, fd: fd, top: directories(names)}},
		start: coarse, set: setting{before - boot, after - boot},
	}
}

// Close lets go of a Mark.
func (m *Mark) Close() {
	for i := range m.trees {
		if m.trees[i].fd >= 0 {
			unix.Close(m.trees[i].fd)
			m.trees[i].fd = -1
		}
	}
}

// setting is what the clock is set to: how far it is from the time since boot,
// between two bounds, since the one is read after the other.
type setting struct{ low, high int64 }

// clocks reads the clock that the kernel takes times of files from, which is
// behind by up to a tick, and what it is set to.
func clocks() (coarse int64, set setting) {
	read := func(clock int32) int64 {
		var ts unix.Timespec
		_ = unix.ClockGettime(clock, &ts) // these clocks always exist
		return ts.Nano()
	}
	coarse = read(unix.CLOCK_REALTIME_COARSE)
	before := read(unix.CLOCK_REALTIME)
	boot := read(unix.CLOCK_BOOTTIME)
	return coarse, setting{before - boot, read(unix.CLOCK_REALTIME) - boot}
}

// openDir opens a directory below another to be read, without following links
// or leaving its file system (openat2(2)).
func openDir(at int, name string, resolve uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: resolve | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	return beneath.Openat2(at, name, &how)
}

func top(fd int) map[string]uint64 {
	buf := make([]byte, 32<<10)
	n, err := unix.Getdents(fd, buf)
	if err != nil {
		return nil // nothing is known to be as it was
	}
	_, _ = unix.Seek(fd, 0, 0)
	return directories(buf[:n])
}

// directories are those among entries that getdents64(2) gave.
func directories(entries []byte) map[string]uint64 {
	known := map[string]uint64{}
	for _, e := range beneath.Entries(nil, entries) {
		if e.Kind == unix.DT_DIR {
			known[e.Name] = e.Ino
		}
	}
	return known
}

// Look finds what is new or changed since the mark. It is over early when stop
// says so. The mark is closed.
//
// Precondition: nothing of the sandbox runs any more.
func (m *Mark) Look(stop func() bool) *Report {
	defer m.Close()
	w := &walker{table: triggers.Load(), start: m.start, stop: stop, end: time.Now().Add(maxTime), report: &Report{}}
	if _, set := clocks(); set.high < m.set.low-int64(10*time.Millisecond) {
		// A change made since may bear an earlier time.
		back := m.set.high - set.low
		w.start -= back
		w.gap("the clock was set back by %v meanwhile; files from before the start may be among the findings", time.Duration(back).Round(time.Millisecond))
	}
	for i := range m.trees {
		w.tree(&m.trees[i])
	}
	slices.SortStableFunc(w.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(weight(a.Rule), weight(b.Rule)), strings.Compare(a.Path, b.Path))
	})
	if w.gaps > maxGaps {
		w.report.Incomplete = append(w.report.Incomplete, fmt.Sprintf("and %d more such places", w.gaps-maxGaps))
	}
	return w.report
}

// weight orders rules, the gravest first.
func weight(r triggers.Rule) int {
	switch r {
	case triggers.Guard:
		return 0
	case triggers.Audit:
		return 1
	}
	return 2
}

type walker struct {
	table  *triggers.Table
	start  int64
	stop   func() bool
	end    time.Time
	seen   int
	over   bool
	gaps   int
	report *Report
	root   *marked
	buf    [32 << 10]byte
}

// dir is a directory that is being looked at.
type dir struct {
	fd    int
	path  string
	names triggers.Dir
	depth int
	fresh bool // entries came or went, or it was moved
	// others says that it lies in other people's packages, link that a link led
	// here.
	others, link bool
	deep         *found // the trigger that it lies in
	moved        *moved // the directory that it may have come with
}

// found is a trigger that is a directory, while what is in it is looked at.
type found struct {
	tr    *triggers.Trigger
	rule  triggers.Rule
	files int
}

// moved is a directory that may have been moved to where it is, or that a link
// now leads to, with triggers in it that are themselves as they were.
type moved struct {
	path   string
	change string
	how    string
	what   []string
	count  int
	class  string
	rule   triggers.Rule
}

func (w *walker) gap(format string, args ...any) {
	if w.gaps++; w.gaps <= maxGaps {
		w.report.Incomplete = append(w.report.Incomplete, fmt.Sprintf(format, args...))
	}
}

func (w *walker) find(f Finding) {
	if len(w.report.Findings) == maxFindings {
		w.report.More++
		return
	}
	w.report.Findings = append(w.report.Findings, f)
}

// times is what a look at an inode tells.
type times struct {
	mode       uint16
	fresh, new bool
	written    bool // content, by the modification time, which anybody can set
}

func (w *walker) stat(fd int, name string) (times, error) {
	var st unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.Statx(fd, name, flags, unix.STATX_TYPE|unix.STATX_MODE|unix.STATX_CTIME|unix.STATX_MTIME|unix.STATX_BTIME, &st); err != nil {
		return times{}, err
	}
	ns := func(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }
	return times{
		mode: st.Mode, fresh: ns(st.Ctime) >= w.start, written: ns(st.Mtime) >= w.start,
		new: st.Mask&unix.STATX_BTIME != 0 && ns(st.Btime) >= w.start,
	}, nil
}

func (t times) change() string {
	if t.new {
		return "new"
	}
	return "changed"
}

func (w *walker) tree(m *marked) {
	names := triggers.Dir{Home: -1, Git: -1}
	switch rest, in := strings.CutPrefix(m.Source+"/", m.Home+"/"); {
	case m.Home == "":
	case in:
		names.Home, names.Prefix = 0, folded(rest)
	default:
		if strings.HasPrefix(m.Home, strings.TrimSuffix(m.Source, "/")+"/") {
			names.Home = notYet
		}
	}
	if m.Top != m.Source {
		names.Top = notYet
	}
	w.root = m
	if !m.IsDir {
		w.file(m, names)
		return
	}
	t, err := times{}, m.err
	if err == nil {
		t, err = w.stat(m.fd, "")
	}
	if err != nil {
		w.gap("%s: %v", m.Source, err)
		return
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(m.fd, &fs); err != nil || !ownClock(int64(fs.Type)) {
		w.gap("%s: its file system may have a clock of its own, so that times can't be compared", m.Source)
	}
	w.dir(&dir{fd: m.fd, path: m.Source, names: names, fresh: t.fresh})
}

// Comparable says whether times of files where path is come from this kernel's clock,
// and what the kernel says of a file there is how it is now.
func Comparable(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && ownClock(int64(fs.Type))
}

// ownClock reports whether a file system takes its times from this kernel's clock.
func ownClock(magic int64) bool {
	switch magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC,
		unix.F2FS_SUPER_MAGIC, unix.RAMFS_MAGIC, unix.NILFS_SUPER_MAGIC, unix.REISERFS_SUPER_MAGIC, unix.ECRYPTFS_SUPER_MAGIC,
		0x2fc12fc1, 0xca451a4e, 0x3153464a: // ZFS, bcachefs, JFS
		return true
	}
	return false
}

func folded(p string) (names []string) {
	for n := range strings.SplitSeq(p, "/") {
		if n != "" {
			names = append(names, triggers.Fold(n))
		}
	}
	return names
}

// file looks at a file that was given by itself.
func (w *walker) file(m *marked, names triggers.Dir) {
	t, err := w.stat(unix.AT_FDCWD, m.Source)
	if err != nil {
		w.gap("%s: %v", m.Source, err)
		return
	}
	name := path.Base(m.Source)
	if len(names.Prefix) > 0 {
		names.Prefix = names.Prefix[:len(names.Prefix)-1]
	}
	if tr := w.table.Match(names, name); tr != nil && t.fresh {
		w.find(finding(tr, tr.Rule, m.Source, name, t.change()))
	}
}

func finding(tr *triggers.Trigger, rule triggers.Rule, p, name, change string) Finding {
	f := Finding{Path: p, Change: change, Class: tr.Class, Rule: rule, Who: tr.Who}
	if tr.Alike(name) {
		f.Alike = tr.Pattern
	}
	return f
}

// enough says that the audit is over, and says so once.
func (w *walker) enough(p string) bool {
	switch {
	case w.over:
	case w.seen > maxEntries:
		w.over = true
		w.gap("stopped at %s, after %d entries", p, w.seen)
	case time.Now().After(w.end):
		w.over = true
		w.gap("stopped at %s, after %v", p, maxTime)
	case w.stop():
		w.over = true
		w.gap("stopped at %s, by a signal", p)
	}
	return w.over
}

func (w *walker) list(fd int) (list []beneath.Entry, err error) {
	for {
		n, err := unix.Getdents(fd, w.buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return list, err
		}
		list = beneath.Entries(list, w.buf[:n])
		if w.seen+len(list) > maxEntries {
			return list, nil // enough says so
		}
	}
}

// dir looks through d. Its descriptor remains the caller's.
func (w *walker) dir(d *dir) {
	if w.enough(d.path) {
		return
	}
	list, err := w.list(d.fd)
	if err != nil {
		w.gap("%s: %v", d.path, err)
	}
	w.seen += len(list)
	if repository(list) && d.names.Git != len(d.names.Names) {
		inside := d.names.Git >= 0
		d.names.Git = len(d.names.Names)
		w.lookalike(d, list, inside)
	}
	// Objects are many, and nobody goes there; but what is a repository only by what
	// is in it may be a directory of the project's that somebody enters.
	git := d.names.Git == len(d.names.Names) && slices.Contains(d.names.Names, ".git")
	for i, e := range list {
		if i&1023 == 1023 && w.enough(d.path) {
			return
		}
		if git && e.Name == "objects" && e.Kind == unix.DT_DIR {
			w.objects(d, e)
			continue
		}
		w.entry(d, e)
		if w.over {
			return
		}
	}
}

// repository reports whether git takes a directory with these entries for a
// repository (gitrepository-layout(5)).
func repository(list []beneath.Entry) bool {
	var head, objects, refs, common bool
	for _, e := range list {
		switch triggers.Fold(e.Name) {
		case "head":
			head = true
		case "objects":
			objects = true
		case "refs":
			refs = true
		case "commondir":
			common = true
		}
	}
	return head && (objects && refs || common)
}

// lookalike reports a directory that is a repository by what is in it, where
// that came to be so now.
func (w *walker) lookalike(d *dir, list []beneath.Entry, inside bool) {
	for _, e := range list {
		name := triggers.Fold(e.Name)
		if name != "objects" && name != "refs" && (inside || name != "head" && name != "commondir") {
			continue
		}
		if t, err := w.stat(d.fd, e.Name); err == nil && (t.new || t.fresh && !t.written) {
			w.find(Finding{Path: d.path, Change: t.change(), Class: triggers.Repository, Rule: triggers.Guard, Who: "git takes it for a repository, by what is in it, and runs what its config names"})
			return
		}
	}
	if d.moved != nil {
		d.moved.add(d.path, triggers.Repository, triggers.Guard)
	}
}

// objects looks at what is no object in a repository's store of them.
func (w *walker) objects(d *dir, e beneath.Entry) {
	w.subdir(d, e, nil, func(c *dir) {
		list, err := w.list(c.fd)
		if err != nil {
			w.gap("%s: %v", c.path, err)
		}
		w.seen += len(list)
		for _, e := range list {
			if e.Kind != unix.DT_DIR || len(e.Name) != 2 && e.Name != "pack" {
				w.entry(c, e)
			}
		}
	})
}

// at is the path of an entry of d.
func (d *dir) at(e beneath.Entry) string {
	if d.path == "/" {
		return "/" + e.Name
	}
	return d.path + "/" + e.Name
}

func (w *walker) entry(d *dir, e beneath.Entry) {
	tr := w.table.Match(d.names, e.Name)
	others := d.others
	if tr != nil && tr.Below() {
		others, tr = true, nil
	}
	if e.Kind == unix.DT_DIR || e.Kind == unix.DT_UNKNOWN {
		sub := *d
		sub.others = others
		if w.subdir(&sub, e, tr, w.dir) {
			return
		}
	}
	leads := (e.Kind == unix.DT_LNK || e.Kind == unix.DT_UNKNOWN) && !d.link && w.table.Leads(d.names, e.Name, 0)
	if tr == nil && !leads && d.deep == nil && e.Kind != unix.DT_REG && e.Kind != unix.DT_UNKNOWN {
		return
	}
	t, err := w.stat(d.fd, e.Name)
	if err != nil {
		if (tr != nil || leads) && !errors.Is(err, unix.ENOENT) {
			w.gap("%s: %v", d.at(e), err)
		}
		return
	}
	if tr != nil && d.deep != nil && weight(tr.RuleIn(others)) >= weight(d.deep.rule) {
		tr = nil
	}
	link := t.mode&unix.S_IFMT == unix.S_IFLNK
	if link && leads && (tr == nil || !t.fresh) {
		w.lead(d, e, t)
	}
	switch {
	case tr != nil && t.fresh:
		w.find(finding(tr, tr.RuleIn(others), d.at(e), e.Name, t.change()))
	case tr != nil:
		if link && !d.link {
			w.follow(d, e, tr)
		}
		d.moved.note(d.at(e), tr, tr.RuleIn(others))
	case d.deep != nil:
		if t.fresh {
			d.deep.files++
		}
	case t.fresh && !t.new && !t.written && t.mode&0o111 != 0 && t.mode&unix.S_IFMT == unix.S_IFREG:
		w.find(Finding{Path: d.at(e), Change: "changed", Class: "executable", Rule: triggers.Build, Who: "was made executable or moved, its text is as it was"})
	}
}

// subdir looks at the directory e of d with look. It is false where e is no directory.
func (w *walker) subdir(d *dir, e beneath.Entry, tr *triggers.Trigger, look func(*dir)) bool {
	p := d.at(e)
	fd, err := openDir(d.fd, e.Name, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV)
	at, name := fd, ""
	switch {
	case err == nil:
		defer unix.Close(fd)
	case errors.Is(err, unix.ENOENT):
		return true
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return false
	case errors.Is(err, unix.EXDEV):
		w.gap("%s: another file system is mounted there, which was not looked through", p)
		return true
	default:
		w.gap("%s: %v", p, err)
		at, name = d.fd, e.Name
	}
	t, staterr := w.stat(at, name)
	if staterr != nil {
		w.gap("%s: %v", p, staterr)
		return true
	}
	c := &dir{fd: fd, path: p, names: w.enter(d, e.Name), depth: d.depth + 1, fresh: t.fresh, others: d.others, link: d.link, deep: d.deep, moved: d.moved}
	w.judgeDir(d, c, e, tr, t, err == nil, look)
	return true
}

// notYet is an index into names that enter sets where they come so far.
const notYet = -2

// enter is d's names with one more.
func (w *walker) enter(d *dir, name string) triggers.Dir {
	n := d.names.Enter(name)
	if n.Home == notYet && d.at(beneath.Entry{Name: name}) == w.root.Home {
		n.Home = len(n.Names)
	}
	if n.Top == notYet && d.at(beneath.Entry{Name: name}) == w.root.Top {
		n.Top = len(n.Names)
	}
	return n
}

// judgeDir reports the directory c of d, and what look finds in it.
func (w *walker) judgeDir(d, c *dir, e beneath.Entry, tr *triggers.Trigger, t times, open bool, look func(*dir)) {
	if tr != nil && d.deep != nil && weight(tr.RuleIn(d.others)) >= weight(d.deep.rule) {
		tr = nil
	}
	if tr == nil && d.deep != nil && t.fresh {
		d.deep.files++
	}
	// A move changes the directory itself and both that hold it.
	came := t.fresh && !t.new && d.fresh && !slices.Contains(w.root.Pins, c.path)
	if ino, known := w.root.top[e.Name]; known && d.depth == 0 && ino == e.Ino {
		came = false
	}
	var mine *moved
	if came && (c.moved == nil || w.table.Leads(d.names, e.Name, 0)) {
		mine = &moved{path: c.path, change: "moved", how: "may have been moved there"}
		if !t.written {
			mine.how = "was moved there, or its mode changed"
		}
		c.moved = mine
	}
	var f *found
	if tr != nil && tr.Deep() {
		f = &found{tr: tr, rule: tr.RuleIn(d.others)}
		c.deep = f
	}
	if open {
		if c.depth > maxDepth {
			w.gap("%s: lies deeper than %d directories", c.path, maxDepth)
		} else {
			look(c)
		}
	}
	switch {
	case f != nil && (t.fresh || f.files > 0):
		change := t.change()
		if came && (f.files == 0 || !t.written) {
			change = "moved"
		}
		r := finding(tr, f.rule, c.path, e.Name, change)
		r.Files = f.files
		w.find(r)
	case tr != nil && !tr.Deep() && (t.new || came):
		change := "new"
		if came {
			change = "moved"
		}
		w.find(finding(tr, tr.RuleIn(d.others), c.path, e.Name, change))
	case tr != nil:
		d.moved.note(c.path, tr, tr.RuleIn(d.others))
	}
	if mine != nil && mine.count > 0 && (tr == nil || weight(tr.RuleIn(d.others)) > weight(mine.rule)) {
		w.find(mine.finding())
	}
}

// note adds the trigger at p if it matters that it came: it is to be guarded, or
// it is one only by the name of what it came with.
func (m *moved) note(p string, tr *triggers.Trigger, rule triggers.Rule) {
	if m == nil {
		return
	}
	below := strings.Count(strings.TrimPrefix(p, m.path), "/")
	if rule == triggers.Guard || rule == triggers.Audit && tr.Span() > below {
		m.add(p, tr.Class, rule)
	}
}

func (m *moved) add(p, class string, rule triggers.Rule) {
	if m.count++; m.count <= 3 {
		m.what = append(m.what, strings.TrimPrefix(p, m.path+"/"))
	}
	if m.class == "" || class == triggers.Repository {
		m.class = class
	}
	if m.rule == "" || weight(rule) < weight(m.rule) {
		m.rule = rule
	}
}

func (m *moved) finding() Finding {
	who := m.how + ", with " + strings.Join(m.what, ", ")
	if m.count > len(m.what) {
		who += fmt.Sprintf(" and %d more", m.count-len(m.what))
	}
	return Finding{Path: m.path, Change: m.change, Class: m.class, Rule: m.rule, Who: who + " in it", Files: m.count}
}

// follow looks at what a trigger that is a link leads to, in the same tree.
func (w *walker) follow(d *dir, e beneath.Entry, tr *triggers.Trigger) {
	p := d.at(e)
	rel, _ := w.rel(p)
	fd, _, t, err := w.target(p, rel)
	if err != nil {
		return // it leads to nothing, or to what is not of this tree
	}
	defer unix.Close(fd)
	f := &found{tr: tr, rule: tr.RuleIn(d.others)}
	if t.mode&unix.S_IFMT == unix.S_IFDIR && tr.Deep() {
		if in, err := openDir(fd, ".", 0); err == nil {
			defer unix.Close(in)
			w.dir(&dir{fd: in, path: p, names: w.enter(d, e.Name), depth: d.depth + 1, fresh: t.fresh, others: d.others, link: true, deep: f})
		} else {
			w.gap("%s: %v", p, err)
		}
	}
	if t.fresh || f.files > 0 {
		r := finding(tr, f.rule, p, e.Name, t.change())
		r.Files = f.files
		r.Who += "; it is a link, and what it leads to changed"
		w.find(r)
	}
}

// lead looks at what a link leads to whose name comes before others in a
// pattern, for what is a trigger only by that name: config.toml is one where
// .cargo leads to its directory. The rest is looked at by its own name.
func (w *walker) lead(d *dir, e beneath.Entry, link times) {
	rel, _ := w.rel(d.at(e))
	c := *d
	c.moved = &moved{path: d.at(e), change: link.change(), how: "is a link"}
	if !link.fresh {
		c.moved.how = "is a link, and may lead to something else than before"
	}
	w.led(&c, e, rel, link.fresh, 1)
	if c.moved.count > 0 {
		w.find(c.moved.finding())
	}
}

// led looks through e of d for lead, if it is a directory or leads to one. rel is
// where it is in the tree, back how many names there are from the link's on.
// What is in it may have come there if came says so, or if it is itself changed.
func (w *walker) led(d *dir, e beneath.Entry, rel string, came bool, back int) {
	p := d.at(e)
	fd, rel, t, err := w.target(p, rel)
	if err != nil {
		return // as in follow
	}
	defer unix.Close(fd)
	if t.mode&unix.S_IFMT != unix.S_IFDIR || w.enough(p) {
		return
	}
	in, err := openDir(fd, ".", 0)
	if err != nil {
		w.gap("%s: %v", p, err)
		return
	}
	defer unix.Close(in)
	list, err := w.list(in)
	if err != nil {
		w.gap("%s: %v", p, err)
	}
	w.seen += len(list)
	c := dir{fd: in, path: p, names: w.enter(d, e.Name), depth: d.depth + 1, fresh: t.fresh, others: d.others}
	came = came || t.fresh
	for _, e := range list {
		if tr := w.table.Match(c.names, e.Name); tr != nil && tr.Span() > back {
			one := c
			one.link = e.Kind != unix.DT_LNK // a link may be followed, nothing below that
			if came {
				one.moved = d.moved
			}
			w.entry(&one, e)
		}
		if w.table.Leads(c.names, e.Name, back) {
			next := c
			next.moved = d.moved
			w.led(&next, e, rel+"/"+e.Name, came, back+1)
		}
	}
}

// rel is the path p from the top of the tree, if p names something of it.
func (w *walker) rel(p string) (string, bool) {
	rest, in := strings.CutPrefix(p, strings.TrimSuffix(w.root.Source, "/"))
	return "." + rest, in && (rest == "" || rest[0] == '/')
}

// target opens what the path rel of the tree leads to, and says where in the
// tree that is. The kernel, told to stay beneath its top, refuses every absolute
// link; those that name the tree are followed here.
func (w *walker) target(p, rel string) (fd int, at string, t times, err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS}
	for range maxLinks {
		if fd, err = beneath.Openat2(w.root.fd, rel, &how); err == nil {
			if t, err = w.stat(fd, ""); err != nil {
				unix.Close(fd)
			}
			return fd, rel, t, err
		}
		if !errors.Is(err, unix.EXDEV) {
			return -1, rel, t, err
		}
		text, linkerr := w.text(rel, how)
		if errors.Is(linkerr, unix.EXDEV) && !strings.HasPrefix(path.Clean(rel), "..") {
			w.gap("%s: leads through an absolute link or a mount, and was not followed", p)
		}
		if linkerr != nil {
			return -1, rel, t, linkerr
		}
		if text[0] != '/' {
			rel = rel[:strings.LastIndexByte(rel, '/')+1] + text
		} else if in, ok := w.rel(text); ok {
			rel = in
		} else {
			return -1, rel, t, err
		}
	}
	return -1, rel, t, unix.ELOOP
}

// text is that of the link at rel.
func (w *walker) text(rel string, how unix.OpenHow) (string, error) {
	how.Flags |= unix.O_NOFOLLOW
	fd, err := beneath.Openat2(w.root.fd, rel, &how)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	if err != nil {
		return "", err
	}
	// The slashes at the end ask for a directory, and would make rel none.
	if s := strings.TrimRight(string(buf[:n]), "/"); s != "" {
		return s, nil
	}
	return "/", nil
}
