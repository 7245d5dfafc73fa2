package resolve

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// own finds out on what each target's parent lies. On a file system of the
// sandbox's own a missing target is made; anywhere else it must exist, since
// nothing is ever made in a tree of the host's.
func (r *resolver) own() {
	r.belowLinks()
	// What a link leads to may be where the sandbox shows nothing of the host.
	r.plan.Mounts = slices.DeleteFunc(r.plan.Mounts, func(m sandbox.Mount) bool {
		if m.Kind != sandbox.Mask || !r.linked[m.Target] {
			return false
		}
		cover := r.covering(path.Dir(m.Target), len(r.plan.Mounts))
		return cover == nil && !r.plan.Root.InPlace || cover != nil && !showsHost(cover)
	})
	ms := r.plan.Mounts
	for i := range ms {
		m := &ms[i]
		cover := r.covering(path.Dir(m.Target), i)
		m.Own = cover == nil && !r.plan.Root.InPlace || cover != nil && (cover.Kind == sandbox.Tmpfs || cover.Kind == sandbox.Dir || cover.Private)
		if cover != nil && cover.Kind == sandbox.Dir { // it lies on what holds it
			m.Own = cover.Own
		}
		m.Direct = r.direct(m, cover)
		// A mount of the profile's may have taken the tmpfs's place.
		m.Sealed = m.Sealed && m.Direct && cover != nil && cover.Kind == sandbox.Tmpfs && cover.ReadOnly
		if m.Own {
			r.ownTarget(m)
		} else {
			r.hostTarget(m, cover)
		}
	}
	r.plan.Mounts = slices.DeleteFunc(ms, func(m sandbox.Mount) bool { return m.Kind == "" })
}

// belowLinks refuses what lies below a link that the sandbox itself has: the
// link is there before it, and while the tree is being built it leads to a
// place of the host's.
func (r *resolver) belowLinks() {
	for _, l := range r.plan.Mounts {
		if l.Kind != sandbox.Symlink {
			continue
		}
		for _, m := range r.plan.Mounts {
			if m.Target != l.Target && within(m.Target, l.Target) {
				r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s lies below %s, which is a link to %s inside", m.Target, l.Target, l.Source), Hint: "name the place that it leads to"})
			}
		}
	}
}

// direct says that the way to m's target is safe from others: it is made by
// this run, or it is a top-level name of the host's root, which is root's.
func (r *resolver) direct(m, cover *sandbox.Mount) bool {
	if within(m.Target, "/proc") || within(m.Target, "/dev") {
		return false // the kernel has links there, some out of the sandbox
	}
	if cover == nil {
		if r.plan.Root.OnImage() { // of whose topmost names the links are known, unless an earlier run could change them
			return r.plan.Root.Upper == "" && m.Kind == sandbox.Tmpfs && path.Dir(m.Target) == "/" && r.links[m.Target] == ""
		}
		return !r.plan.Root.InPlace || path.Dir(m.Target) == "/"
	}
	// A tmpfs is safe, but the way to it may lead through a tree of others.
	return m.Own && !cover.Private && cover.Direct
}

// covering is the mount, of the first n, that the path lies on.
func (r *resolver) covering(p string, n int) *sandbox.Mount {
	var best *sandbox.Mount
	for i := range n {
		m := &r.plan.Mounts[i]
		if m.Kind != sandbox.Symlink && m.Kind != sandbox.File && within(p, m.Target) && (best == nil || len(m.Target) >= len(best.Target)) {
			best = m
		}
	}
	return best
}

func (r *resolver) ownTarget(m *sandbox.Mount) {
	if m.Kind == sandbox.Mask {
		r.fail(&Error{Key: m.From, Msg: "there is nothing at " + m.Target + " to mask"})
	}
}

// hostTarget checks a target in a host's tree: there, and of the right type.
func (r *resolver) hostTarget(m *sandbox.Mount, cover *sandbox.Mount) {
	src := m.Target // the host's root in place
	holder := "the host's root"
	if cover != nil {
		src, holder = r.shownPath(cover, m.Target), cover.Target
		if !showsHost(cover) {
			r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s lies below %s, which is masked", m.Target, cover.Target)})
			return
		}
	}
	e, err := r.facts.Files.Lstat(src)
	switch {
	case err != nil && (m.Kind == sandbox.Guard || m.Kind == sandbox.Mask) && r.creates(src):
		m.IsDir = true // the run makes it before it starts
	case m.Kind == sandbox.Symlink, m.Kind == sandbox.Dir:
		r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s would have to be made in %s, which is the host's", m.Target, holder), Hint: "mount a tmpfs on its parent directory, or create it on the host"})
	case err != nil:
		r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s does not exist in %s, and sbx makes nothing in a host's tree", m.Target, holder),
			Hint: "create it on the host, choose an existing target, or mount a tmpfs on its parent directory"})
	case m.Kind == sandbox.File && r.plan.Root.InPlace && !r.plan.Pseudo.Dev:
		r.fail(&Error{Key: m.From, Msg: m.Target + " can't be made: with the host's tree as the root, files of the sandbox's own are kept in its /dev", Hint: `set root.dev = "minimal"`})
	case e.Type() == unix.S_IFLNK:
		r.fail(&Error{Key: m.From, Msg: m.Target + " is a symbolic link, and mounting stops at links", Hint: "name the place that it leads to"})
	case m.Kind == sandbox.Mask, m.Kind == sandbox.Guard:
		m.IsDir = e.IsDir
	case m.IsDir != e.IsDir:
		r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s is %s, what goes there is %s", m.Target, kindOf(e.IsDir), kindOf(m.IsDir))})
	}
}

// showsHost says that files of the host's are seen by m.
func showsHost(m *sandbox.Mount) bool {
	return m.Kind == sandbox.Bind || m.Kind == sandbox.Guard || m.Kind == sandbox.Layers
}

// creates reports whether the run makes the directory p, or one below it.
func (r *resolver) creates(p string) bool {
	return slices.ContainsFunc(r.plan.Create, func(dir string) bool { return within(dir, p) })
}

func kindOf(dir bool) string {
	if dir {
		return "a directory"
	}
	return "a file"
}

// guards keep sbx's own files out of the command's hands where a writable bind
// would give them: the profile that rules this run or the next, the trust
// store and configuration, the binary and what it starts, files of secrets. Each is bound
// read-only onto itself, and the directories above it are pinned, since only a mount
// point can't be renamed away. So are those above whatever else lies over a tree of the
// host's that the command can write.
func (r *resolver) guards() {
	guards := map[string]int{}
	r.keepPointed()
	r.protect(guards)
	written := slices.DeleteFunc(r.shown(), func(m sandbox.Mount) bool { return m.Kind != sandbox.Bind || m.ReadOnly || !m.IsDir })
	for _, m := range slices.Clone(r.plan.Mounts) {
		switch m.Kind {
		case sandbox.Mask:
			r.judgeLink(&m)
			if r.pin[m.Target] || strings.HasPrefix(m.From, "mounts.") || r.aside(m.Target, written) {
				r.keep(m.Target, true, written, guards)
			}
		case sandbox.Bind, sandbox.Tmpfs, sandbox.Layers, sandbox.File:
			r.keep(m.Target, false, written, guards)
		}
	}
	paths := slices.Clone(r.StateDirs)
	for _, f := range r.prof.Files {
		if strings.HasPrefix(f, "/") {
			paths = append(paths, f)
		}
	}
	for _, entry := range r.prof.Process.Secrets {
		if s := r.prof.Secret(entry); s.File != "" { // what it leads to is handed out
			paths = append(paths, s.File)
		}
	}
	if policy := r.prof.Security.Seccomp; profiles.SeccompFile(policy) {
		paths = append(paths, policy)
	}
	if r.space != "" { // it may rule another run
		own := path.Join(r.space, profiles.ProjectFile)
		if e, err := r.facts.Files.Lstat(own); err == nil && e.Type() == unix.S_IFREG {
			paths = append(paths, own)
		}
	}
	paths = append(paths, r.programs()...)
	paths = append(paths, r.linkedProfiles()...)
	for _, p := range paths {
		r.guard(p, guards)
	}
	r.keepRepository(guards)
	r.judgeWays()
}

// addGuard adds m unless its target has a guard already, and makes that one
// read-only if m is. guards has the guards' indexes by their targets.
func (r *resolver) addGuard(m sandbox.Mount, guards map[string]int) {
	i, ok := guards[m.Target]
	switch {
	case !ok:
		guards[m.Target] = len(r.plan.Mounts)
		r.add(m)
	case m.ReadOnly:
		r.plan.Mounts[i] = m
	}
}

// programs are the running binary and those of sbx's own that it starts, where a
// writable bind shows their directories: see host.Plumbing.
func (r *resolver) programs() []string {
	if r.facts.Exe == "" {
		return nil
	}
	list := []string{r.facts.Exe}
	dirs := host.PlumbingDirs(r.facts.Exe)
	given := func(p string) (from string) { // by which mount p can be written
		for _, m := range r.shown() {
			if m.Kind == sandbox.Bind && !m.ReadOnly && within(p, m.Source) && (m.Target != "/" || r.uncovered(p)) {
				return m.From
			}
		}
		return ""
	}
	if given(dirs[0]) == "" && given(dirs[1]) == "" || r.shut(r.facts.Exe) != "" { // guard says so of the binary
		return list
	}
	for _, name := range host.PlumbingNames {
		for _, dir := range dirs { // the first one is taken
			p := path.Join(dir, name)
			from := given(p)
			_, err := r.facts.Files.Lstat(p)
			if errors.Is(err, unix.ENOENT) && from != "" && r.canMake(dir) {
				if dir == dirs[0] && r.installed(dirs, name) {
					if !slices.Contains(list, dir) {
						r.note("info", "", from, "%s is read-only: sbx would run what the command makes there", dir)
						list = append(list, dir)
					}
					continue
				}
				r.fail(&Error{Key: from, Msg: p + " is not there, and the command could make it: sbx would run it", Hint: "put all of sbx's programs beside its binary, or leave that directory out"})
				break
			}
			if err == nil || from != "" {
				list = append(list, p) // one that can't be looked at is guard's to refuse
				break
			}
		}
	}
	return list
}

// installed says that a program of sbx's own lies where `make install` puts it, below the
// prefix that the binary is in, and that the binary's directory is nothing but a bin.
func (r *resolver) installed(dirs []string, name string) bool {
	_, err := r.facts.Files.Lstat(path.Join(dirs[1], name))
	return err == nil && path.Base(dirs[0]) == "bin" && !slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool {
		return m.Kind != sandbox.Guard && (within(m.Source, dirs[0]) || within(m.Target, dirs[0]))
	})
}

// judgeLink refuses what is hidden only since a link leads to it, where the command
// could remove the link: the next run would not hide it.
func (r *resolver) judgeLink(m *sandbox.Mount) {
	link := r.byLink[m.Target]
	if link == "" {
		return
	}
	links, _ := r.walk(link)
	for _, l := range links {
		if r.replaceable(l) && slices.ContainsFunc(r.plan.Mounts, func(b sandbox.Mount) bool { return writable(&b) && within(l, b.Source) }) {
			r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s is hidden since %s, a symbolic link that the command could replace, leads to it", m.Target, l), Hint: "name the place that it leads to as well"})
			return
		}
	}
}

// judgeWays refuses what is granted by a link that lies where the command can write, or
// where an earlier one could, and leads to what it does not have there: the command could
// have led it to anything of the host's, or to what is hidden from it or only read.
func (r *resolver) judgeWays() {
	for _, w := range r.ways {
		write := slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool { return m.From == w.key && m.Kind == sandbox.Bind && !m.ReadOnly })
		for i := range r.plan.Mounts {
			b := &r.plan.Mounts[i]
			if b.From != "workspace.access" && (b.Kind != sandbox.Bind || b.ReadOnly) {
				continue
			}
			at := slices.IndexFunc(w.links, func(l string) bool { return within(l, b.Source) && (b.From == "workspace.access" || r.replaceable(l)) })
			if at >= 0 && !r.gives(b, w.real, write) {
				r.fail(&Error{Key: w.key, Msg: fmt.Sprintf("%s leads to %s by %s, a symbolic link that the command could replace, and is not given to it there", w.path, w.real, w.links[at]), Hint: "name the place that it leads to"})
				break
			}
		}
	}
}

// gives says that the host's path real is seen by b, and can be written if that is asked,
// with nothing over it or over a part of it but what is over that in every place.
func (r *resolver) gives(b *sandbox.Mount, real string, write bool) bool {
	if !within(real, b.Source) {
		return false
	}
	t := path.Join(b.Target, real[len(b.Source):])
	cover := r.covering(t, len(r.plan.Mounts))
	if cover == nil || !showsHost(cover) || hostPath(*cover, t) != real || write && (cover.ReadOnly || cover.Kind == sandbox.Layers) {
		return false
	}
	return !slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool {
		everywhere := m.Kind == sandbox.Guard || m.Kind == sandbox.Mask && !strings.HasPrefix(m.From, "mounts.")
		return m.Target == t && m.Kind == sandbox.File || m.Target != t && within(m.Target, t) && !everywhere
	})
}

// linkedProfiles are the profiles in sbx's own directories that are links, and what is a
// link itself of what holds profiles, trust and overlays: what they lead to rules a later
// run and may lie in the project.
func (r *resolver) linkedProfiles() []string {
	var list []string
	for _, d := range r.StateDirs {
		for _, name := range []string{"profiles", "trust", "overlays"} {
			if e, err := r.facts.Files.Lstat(path.Join(d, name)); err == nil && e.Type() == unix.S_IFLNK {
				list = append(list, path.Join(d, name))
			}
		}
		dir := path.Join(d, "profiles")
		names, err := r.facts.Files.Names(dir)
		if r.unseen(dir, err) != nil {
			r.fail(&Error{Msg: "looking for your profiles, which are to stay as they are", Hint: "make the directory readable: chmod u+rx " + dir, Err: err})
		}
		for _, n := range names { // one that is not there has none
			if e, err := r.facts.Files.Lstat(path.Join(dir, n)); err == nil && e.Type() == unix.S_IFLNK {
				list = append(list, path.Join(dir, n))
			}
		}
	}
	return list
}

// keep pins the directories above a target in each of the writable binds that show its
// place: under another name it would not be found, and not be hidden, by the next run.
// In a directory of the sandbox's own that outlives it, which has nothing of the host's,
// only with private.
func (r *resolver) keep(target string, private bool, written []sandbox.Mount, guards map[string]int) {
	place, ok := r.placeOf(target)
	if !ok {
		return
	}
	for _, b := range written {
		if !within(place, b.Source) || place == b.Source || b.Private && !private {
			continue
		}
		for _, dir := range between(b.Target, path.Join(b.Target, place[len(b.Source):])) {
			at := r.covering(dir, len(r.plan.Mounts))
			if b.Target == "/" && !r.uncovered(dir) || b.Target != "/" && (at == nil || at.Kind != sandbox.Bind && at.Kind != sandbox.Guard || hostPath(*at, dir) != hostPath(b, dir)) {
				break // something else is there
			}
			if b.Target == "/" && !r.replaceable(dir) {
				continue
			}
			r.addGuard(sandbox.Mount{Kind: sandbox.Guard, Target: dir, Source: hostPath(b, dir), IsDir: true, Why: "so that what is put over it is found again"}, guards)
		}
	}
}

// placeOf is where on the host a target lies, or would if nothing were put there; ok is
// false where no bind and not the host's own tree shows that.
func (r *resolver) placeOf(target string) (place string, ok bool) {
	cover := r.covering(path.Dir(target), len(r.plan.Mounts))
	for cover != nil && cover.Kind == sandbox.Guard { // for another
		cover = r.covering(path.Dir(cover.Target), len(r.plan.Mounts))
	}
	switch {
	case cover == nil:
		return target, r.plan.Root.InPlace
	case cover.Kind != sandbox.Bind:
		return "", false
	}
	return hostPath(*cover, target), true
}

// aside says that what a mask lies over is to be seen by another mount once the command
// has moved a directory above it there: the mask stays behind. A mount that is in its
// own place takes nothing that is moved (rename(2), EXDEV).
func (r *resolver) aside(target string, written []sandbox.Mount) bool {
	place, ok := r.placeOf(target)
	if !ok {
		return false
	}
	for _, w := range written {
		if !within(place, w.Source) || w.Target == "/" && !r.uncovered(path.Dir(target)) {
			continue
		}
		for _, m := range r.plan.Mounts {
			if m.Kind != sandbox.Bind && m.Kind != sandbox.Layers {
				continue
			}
			for _, source := range append([]string{m.Source}, m.Lower...) {
				if source != w.Source && within(source, w.Source) && !within(place, source) && m.Target != path.Join(w.Target, source[len(w.Source):]) {
					return true
				}
			}
		}
	}
	return false
}

func (r *resolver) guard(p string, guards map[string]int) {
	links, real := r.walk(p)
	for _, cover := range r.shown() {
		if cover.Kind != sandbox.Bind || cover.ReadOnly {
			continue
		}
		root := cover.Target == "/"
		if !cover.Private && within(cover.Source, real) {
			r.fail(&Error{Key: cover.From, Msg: fmt.Sprintf("%s is sbx's own and can't be given to the command to write", cover.Source), Hint: `leave it out, or set access = "ro"`})
			continue
		}
		if !cover.IsDir {
			continue
		}
		if at := slices.IndexFunc(links, func(l string) bool {
			return within(l, cover.Source) && (cover.Private || !r.inOwn(l)) && (!root || r.uncovered(path.Dir(l)) && r.replaceable(l))
		}); at >= 0 {
			r.fail(&Error{Msg: fmt.Sprintf("%s is a symbolic link that the command could replace, and %s rules what it may do", links[at], p), Hint: "name the place that it leads to"})
			continue
		}
		if !within(real, cover.Source) || root && (!r.uncovered(real) || !r.changeable(real)) {
			continue
		}
		e, err := r.facts.Files.Resolve(real, "")
		if err != nil {
			if dir := r.shut(real); dir != "" {
				r.fail(&Error{Msg: fmt.Sprintf("looking for %s, which rules a later run and is to stay as it is", real), Hint: "make the directory searchable: chmod u+x " + dir, Err: err})
				continue
			}
			if !slices.Contains(r.StateDirs, p) {
				if real != path.Clean(p) && (cover.Private || !r.inOwn(real)) {
					r.fail(&Error{Msg: fmt.Sprintf("%s leads to %s, which is not there and could be made by the command; it would rule a later run", p, real), Hint: "make it, or remove the link"})
				}
				continue
			}
			r.plan.Create = append(r.plan.Create, real) // else it could be planted
			e = host.Entry{Path: real, IsDir: true}
		}
		if !within(e.Path, cover.Source) || e.Path == cover.Source {
			continue
		}
		r.guardIn(cover, sandbox.Mount{Source: e.Path, IsDir: e.IsDir, ReadOnly: true, Why: "sbx's own"}, notRenamed, guards)
	}
}

// inOwn says that p lies in one of sbx's own directories, which are read-only inside as a
// whole.
func (r *resolver) inOwn(p string) bool {
	return slices.ContainsFunc(r.StateDirs, func(d string) bool { return p != d && within(p, d) })
}

// shown are the mounts, and the host's own tree where that is the root, as a bind.
func (r *resolver) shown() []sandbox.Mount {
	list := slices.Clone(r.plan.Mounts)
	if root := &r.plan.Root; root.InPlace {
		list = append(list, sandbox.Mount{Kind: sandbox.Bind, Target: "/", Source: "/", IsDir: true, ReadOnly: root.ReadOnly, From: root.From})
	}
	return list
}

// uncovered says that the root itself shows p, and no mount but what keeps a part of the
// root in its place.
func (r *resolver) uncovered(p string) bool {
	cover := r.covering(p, len(r.plan.Mounts))
	for cover != nil && cover.Kind == sandbox.Guard && !cover.ReadOnly {
		cover = r.covering(path.Dir(cover.Target), len(r.plan.Mounts))
	}
	return cover == nil
}

// changeable says that the command may write p, or put something else in its place, as
// far as owners and modes tell.
func (r *resolver) changeable(p string) bool {
	e, err := r.facts.Files.Lstat(p)
	return err == nil && (r.commands(e.UID) || e.Mode&others != 0) || slices.ContainsFunc(append(between("/", p), p), r.replaceable)
}

// notRenamed is why the directories above a guard are pinned.
const notRenamed = "so that it can't be renamed away"

// guardIn binds g, of which all but the place is given, onto itself where bind
// shows its source, and pins the directories above it there, for the reason pin.
// Nothing is done where it is out of reach or read-only already.
func (r *resolver) guardIn(bind, g sandbox.Mount, pin string, guards map[string]int) {
	g.Kind, g.Target = sandbox.Guard, path.Join(bind.Target, g.Source[len(bind.Source):])
	at := r.covering(g.Target, len(r.plan.Mounts))
	if bind.Target == "/" && !r.uncovered(g.Target) ||
		bind.Target != "/" && (at == nil || at.ReadOnly || at.Kind != sandbox.Bind && at.Kind != sandbox.Guard || hostPath(*at, g.Target) != g.Source) {
		return
	}
	r.pinAbove(bind, g.Target, pin, guards)
	r.addGuard(g, guards)
}

// pinAbove makes mount points of the directories between bind and a path on it:
// those can't be renamed.
func (r *resolver) pinAbove(bind sandbox.Mount, p, why string, guards map[string]int) {
	for _, dir := range between(bind.Target, p) {
		if bind.Target == "/" && !r.replaceable(dir) {
			continue
		}
		r.addGuard(sandbox.Mount{Kind: sandbox.Guard, Target: dir, Source: hostPath(bind, dir), IsDir: true, Why: why}, guards)
	}
}

// hostPath is where a path inside, which lies on the bind, is on the host.
func hostPath(bind sandbox.Mount, inside string) string {
	return path.Join(bind.Source, strings.TrimPrefix(inside, bind.Target))
}

// shownPath is hostPath; on layers, of the topmost directory that has something there.
func (r *resolver) shownPath(m *sandbox.Mount, inside string) string {
	return layeredPath(*m, inside, func(p string) bool {
		_, err := r.facts.Files.Lstat(p)
		return err == nil
	})
}

// between lists the directories strictly between top and p, the upper first.
func between(top, p string) []string {
	var out []string
	for d := path.Dir(p); d != top && within(d, top); d = path.Dir(d) {
		out = append(out, d)
	}
	slices.Reverse(out)
	return out
}

// glob lists what matches pattern below root, in which an element may hold * ?
// and [], and ** stands for any number of directories. It follows no links. A
// directory that can't be looked into is an error, if the command could look:
// what is in it would not be hidden.
func (r *resolver) glob(root, pattern string) ([]string, error) {
	found := []string{root}
	for _, el := range strings.Split(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			list, err := r.step(dir, el)
			if err != nil {
				return nil, err
			}
			next = append(next, list...)
		}
		found = next
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// step is the part of glob that matches one element in one directory.
func (r *resolver) step(dir, el string) ([]string, error) {
	files := r.facts.Files
	if !strings.ContainsAny(el, "*?[\\") {
		p := path.Join(dir, el)
		if _, err := files.Lstat(p); err != nil {
			return nil, r.unseen(dir, err)
		}
		return []string{p}, nil
	}
	if e, err := files.Lstat(dir); err != nil || !e.IsDir {
		return nil, r.unseen(path.Dir(dir), err)
	}
	names, err := files.Names(dir)
	if err != nil {
		return nil, r.unseen(dir, err)
	}
	var out []string
	if el == "**" {
		out = append(out, dir)
		for _, n := range names {
			list, err := r.step(path.Join(dir, n), el)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
		return out, nil
	}
	for _, n := range names {
		if ok, err := path.Match(el, n); ok && err == nil {
			out = append(out, path.Join(dir, n))
		}
	}
	return out, nil
}

// unseen is err of looking into dir, or nil where nothing can be there: nothing
// is, or the directory is one that the command can't open to itself either.
func (r *resolver) unseen(dir string, err error) error {
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if e, lstat := r.facts.Files.Lstat(dir); errors.Is(err, unix.EACCES) && lstat == nil && !r.commands(e.UID) {
		return nil
	}
	return err
}
