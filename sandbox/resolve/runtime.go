package resolve

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// runtime hides the records and the control sockets of all sandboxes: whoever
// can connect to one commands that sandbox, and records are believed. A place that
// is missing is made where it may come while the sandbox runs, or by the command.
func (r *resolver) runtime() {
	for _, dir := range r.RuntimeDirs {
		r.hideRecords(dir)
	}
}

func (r *resolver) hideRecords(dir string) {
	// A link in the place itself leads nobody to records: sbx takes none.
	links, above := r.walk(path.Dir(dir))
	real := path.Join(above, path.Base(dir))
	_, err := r.facts.Files.Resolve(above, "")
	if err == nil {
		if _, denied := r.facts.Files.Lstat(real); errors.Is(denied, unix.EACCES) {
			err = denied
		}
	}
	shut := ""
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
	case errors.Is(err, unix.ENAMETOOLONG):
		return // nor can anybody else
	case errors.Is(err, unix.EACCES):
		if shut = r.shut(real); shut == "" {
			return // the command comes no further
		}
	default:
		r.fail(&Error{Msg: "looking for the records of sandboxes in " + above + ", which are hidden", Err: err})
		return
	}
	var targets []string
	for _, m := range r.shown() {
		below := slices.IndexFunc(m.Lower, func(layer string) bool { return within(real, layer) })
		switch {
		case m.Kind != sandbox.Bind && m.Kind != sandbox.Layers:
		case slices.ContainsFunc(append([]string{m.Source}, m.Lower...), func(layer string) bool { return within(layer, real) }):
			r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s holds records of sandboxes and is given to none", m.Source), Hint: "leave it out"})
		case below >= 0:
			r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s holds a place of records of sandboxes, %s, and can't be a lower layer", m.Lower[below], real), Hint: "name a directory in it"})
		case m.Upper != "" && within(real, m.Source):
			// What is hidden there could still be renamed or written over, and be taken over
			// later.
			r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s holds a place of records of sandboxes, %s, and no changes over that are kept", m.Source, real),
				Hint: `name a directory in it, or keep the changes in memory (upper = "tmpfs")`})
		case !m.IsDir:
		default:
			if r.judgeWay(&m, links, shut, real) && err == nil || within(real, m.Source) && r.mayCome(&m, above, err) {
				targets = append(targets, path.Join(m.Target, real[len(m.Source):]))
			}
		}
	}
	for _, t := range targets {
		r.hideAt(t, real)
	}
}

// judgeWay says that m shows where records lie, and refuses it where the command
// could change the way there: links on it, or a directory that nobody can search.
func (r *resolver) judgeWay(m *sandbox.Mount, links []string, shut, real string) bool {
	if m.ReadOnly {
		return within(real, m.Source)
	}
	if at := slices.IndexFunc(links, func(l string) bool { return within(l, m.Source) && r.replaceable(l) }); at >= 0 {
		r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s is a symbolic link that the command could replace, and leads to the records of sandboxes", links[at]),
			Hint: "have XDG_RUNTIME_DIR name the place that it leads to"})
		return false
	}
	if shut != "" && within(shut, m.Source) {
		r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s can't be searched, the command could change that, and the records of sandboxes would lie in it", shut),
			Hint: "make it searchable: chmod u+x " + shut})
		return false
	}
	return within(real, m.Source)
}

// mayCome says that the directory above records, which is missing as err says, may be
// made in m while the sandbox runs: by the command, or by the caller outside. What
// only root can make is said and no more, as sbx can't make it either.
func (r *resolver) mayCome(m *sandbox.Mount, above string, err error) bool {
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return false
	}
	if r.canMake(above) {
		return true
	}
	r.note("info", "mounts", m.From, "%s is missing; records of sandboxes that come to lie there while this one runs can be seen in it", above)
	return false
}

// others is who else can write, beside the owner: the group, or by access control lists
// (acl(5)) whoever they name, and everybody.
const others = 0o022

// commands says that files of the user uid belong to the command, or can be made its own:
// they are the caller's, or of an id that exists inside.
func (r *resolver) commands(uid uint32) bool {
	_, mapped := r.plan.IDs.OuterUIDs.Inside(uid)
	return mapped || uid == r.facts.UID
}

// canMake says that the caller can make something in the directory p, or the first one
// above it that is there.
func (r *resolver) canMake(p string) bool {
	for {
		if e, err := r.facts.Files.Lstat(p); err == nil {
			return e.UID == r.facts.UID || e.Mode&others != 0
		}
		if p == "/" {
			return false
		}
		p = path.Dir(p)
	}
}

// shut is the directory on the way to p, which no link leads over, that can't be
// searched although the command could change that; "" for none.
func (r *resolver) shut(p string) string {
	for _, at := range append(between("/", p), p) {
		if _, err := r.facts.Files.Lstat(at); err != nil {
			if dir := path.Dir(at); r.unseen(dir, err) != nil {
				return dir
			}
			return ""
		}
	}
	return ""
}

// replaceable says that the command may put something else in the place of p, which is
// there, as far as owners and modes tell (inode(7), "The file type and mode").
func (r *resolver) replaceable(p string) bool {
	const sticky = unix.S_ISVTX
	dir, err := r.facts.Files.Lstat(path.Dir(p))
	if err != nil || r.commands(dir.UID) {
		return true
	}
	e, err := r.facts.Files.Lstat(p)
	return dir.Mode&others != 0 && (dir.Mode&sticky == 0 || err != nil || r.commands(e.UID))
}

// hideAt hides the place of records real where it is shown at the target t.
func (r *resolver) hideAt(t, real string) {
	cover := r.covering(t, len(r.plan.Mounts))
	shown := cover == nil && r.plan.Root.InPlace || cover != nil && (cover.Kind == sandbox.Bind || cover.Kind == sandbox.Layers) && hostPath(*cover, t) == real
	if !shown || slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool { return m.Target == t }) {
		return
	}
	e, err := r.facts.Files.Lstat(real)
	if err == nil && e.Type() == unix.S_IFLNK {
		if !r.replaceable(real) { // nobody comes to records by it
			return
		}
		r.fail(&Error{Msg: real + " is a symbolic link, and records of sandboxes lie in its place", Hint: "remove it"})
		return
	}
	if err != nil && !r.canMake(path.Dir(real)) {
		return // another user's directory, as XDG_RUNTIME_DIR may name after su(1)
	}
	if err != nil && !slices.Contains(r.plan.Create, real) {
		r.plan.Create = append(r.plan.Create, real)
	}
	r.add(sandbox.Mount{Kind: sandbox.Mask, Target: t, IsDir: true, Why: "records of sandboxes"})
	r.pin[t] = true
}
