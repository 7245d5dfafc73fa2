package resolve

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// gitRules are the names in a repository's directory by which git runs
// something or finds its settings elsewhere: settings and hooks (git-config(1),
// githooks(5)), where these lie otherwise, submodules' and worktrees' own
// repositories, what names filters, and where more objects are
// (gitrepository-layout(5)). Where open is set, one that is not there yet has an
// effect as soon as it is made, and nothing keeps it from being made.
var gitRules = []gitRule{
	{"config", true}, {"config.worktree", true}, {"commondir", true}, {"gitdir", false}, {"hooks", true}, {"info/attributes", false},
	{"modules", false}, {"worktrees", false}, {"objects/info/alternates", true}, {"objects/info/http-alternates", false},
}

// worktreeRules are those of a linked worktree's own part.
var worktreeRules = []gitRule{{"config.worktree", true}, {"commondir", false}, {"gitdir", false}, {"modules", false}}

type gitRule struct {
	name string
	open bool
}

// gitFileSize bounds what is read of files that only hold a path, and
// gitConfigSize a repository's settings.
const gitFileSize, gitConfigSize = unix.PathMax + 64, 1 << 20

// kept is a path of the repository that stays as it is: under its name, and
// with its content if it is read-only.
type kept struct {
	path     string
	readOnly bool
}

// git decides what of the workspace's repository can be seen and changed. What
// is to be kept is noted for guards, after the tree is known.
func (r *resolver) git() {
	w := &r.prof.Workspace
	at := path.Join(r.space, ".git")
	e, err := r.facts.Files.Lstat(at)
	switch {
	case errors.Is(err, unix.ENOENT):
		r.noRepository(at)
		return
	case err != nil:
		r.fail(&Error{Key: "workspace.git", Msg: "looking for the workspace's repository", Hint: `make the directory searchable`, Err: err})
		return
	}
	guarded := w.Access == "rw" && w.Git != "rw"
	switch {
	case e.Type() == unix.S_IFLNK && guarded:
		r.fail(&Error{Key: "workspace.git", Msg: at + " is a symbolic link, which the command could replace", Hint: `move the repository to its place, or set workspace.git = "rw"`})
	case w.Git == "hide":
		r.hide(r.space, ".git", "workspace.git")
	case e.IsDir && guarded && w.Git == "guard":
		r.keepRules(at, gitRules)
	case guarded:
		r.kept = append(r.kept, kept{at, true})
	}
	if e.Type() == unix.S_IFREG {
		r.gitFile(at)
	}
}

// noRepository says what it means that there is none: one that is made inside
// is the command's, and one further up is not the workspace's.
func (r *resolver) noRepository(at string) {
	if r.prof.Workspace.Access == "rw" && r.prof.Workspace.Git != "rw" {
		r.note("info", "workspace", "workspace.git", "%s is not there and can't be kept from being made; the host's git runs what a new one says", at)
	}
	for dir := path.Dir(r.space); dir != "/" && dir != r.facts.Home && dir != path.Dir(dir); dir = path.Dir(dir) {
		if _, err := r.facts.Files.Lstat(path.Join(dir, ".git")); err == nil {
			r.note("info", "workspace", "workspace.git", "the repository of %s lies above the workspace and is not shown; name that directory as the workspace to have it", dir)
			return
		}
	}
}

// keepRules keeps a repository's directory in its place and what rules git in
// it as it is.
func (r *resolver) keepRules(dir string, rules []gitRule) {
	r.kept = append(r.kept, kept{dir, false})
	var open []string
	for _, rule := range rules {
		p := path.Join(dir, rule.name)
		e, err := r.facts.Files.Lstat(p)
		switch {
		case err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR):
			// The command could open to itself what is closed, and it would be kept from nothing.
			r.fail(&Error{Key: "workspace.git", Msg: "looking for what is to stay as it is in the repository", Hint: "make the directory searchable: chmod u+rwx " + path.Dir(p), Err: err})
			return
		case err != nil && rule.open:
			open = append(open, rule.name)
		case err != nil:
		case e.Type() == unix.S_IFLNK:
			r.fail(&Error{Key: "workspace.git", Msg: p + " is a symbolic link, which the command could replace", Hint: `put the file itself there, or set workspace.git = "ro"`})
		default:
			if r.otherNames(e) {
				r.note("warning", "workspace", "workspace.git", "%s is read-only, but the file has %d names: it can be written by another of them that is granted", p, e.Links)
			}
			r.kept = append(r.kept, kept{p, true})
		}
	}
	if len(open) > 0 {
		r.note("info", "workspace", "workspace.git", "in %s are not there and can't be kept from being made: %s", dir, strings.Join(open, ", "))
	}
}

// repository is what a .git file names.
type repository struct {
	dir    string // the workspace's own part
	common string // of a linked worktree, the part it shares; else ""
}

// gitFile shows the repository that a .git file names, if it lies outside of the
// workspace and says itself that the workspace is its own. Any other is for keepPointed.
// Anybody may have written the file: it came with the project, or an earlier command
// left it.
func (r *resolver) gitFile(file string) {
	var repo repository
	dir, err := r.pointer(file)
	if r.prof.Workspace.Git == "hide" {
		r.pointed = dir
		r.hidePointed(file)
		return
	}
	if err == nil {
		_, real := r.walk(dir) // where git gets by it
		clean := path.Clean(dir)
		switch {
		case within(real, r.space):
			r.pointed = dir
			return
		case clean != real:
			err = fmt.Errorf("%s leads to %s by a symbolic link", clean, real)
		default:
			repo, err = r.named(file, real)
		}
	}
	if err != nil {
		r.pointed = dir
		r.note("warning", "workspace", "workspace.git", "%s names a repository that is not shown, so git does not work inside: %v", file, err)
		return
	}
	git := r.prof.Workspace.Git
	if r.prof.Workspace.Access != "rw" {
		git = "ro"
	}
	top := repo.dir
	if repo.common != "" {
		top = repo.common
	}
	r.add(sandbox.Mount{Kind: sandbox.Bind, Target: top, Source: top, IsDir: true, ReadOnly: git == "ro", From: "workspace.git", Why: "the workspace's repository"})
	if git == "ro" && r.prof.Workspace.Access == "rw" { // whatever else shows it
		r.kept = append(r.kept, kept{top, true})
	}
	if git != "guard" {
		return
	}
	if repo.common == "" {
		r.keepRules(top, gitRules)
		return
	}
	// Deleting a branch takes a lock beside packed-refs, so the directory itself
	// has to be writable and not only objects and refs.
	r.keepRules(top, slices.DeleteFunc(slices.Clone(gitRules), func(g gitRule) bool { return g.name == "worktrees" }))
	others, err := r.facts.Files.Names(path.Dir(repo.dir))
	if err != nil {
		r.fail(&Error{Key: "workspace.git", Msg: "looking for the other worktrees", Hint: `make the directory readable, or set workspace.git = "ro"`, Err: err})
	}
	for _, name := range others {
		if p := path.Join(path.Dir(repo.dir), name); p != repo.dir {
			r.kept = append(r.kept, kept{p, true})
		}
	}
	r.keepRules(repo.dir, worktreeRules)
}

// keepPointed keeps a repository that the workspace's .git file names and that is not
// shown for it, where the command could write it, or a link on the way there: whoever's
// it says that it is, the host's git believes the file. It comes after all mounts.
func (r *resolver) keepPointed() {
	w := &r.prof.Workspace
	if r.pointed == "" || w.Access != "rw" || w.Git == "rw" {
		return
	}
	given := func(p string) bool {
		return slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool { return writable(&m) && within(p, m.Source) })
	}
	file := path.Join(r.space, ".git")
	links, real := r.walk(r.pointed)
	if at := slices.IndexFunc(links, given); at >= 0 {
		r.fail(&Error{Key: "workspace.git", Msg: fmt.Sprintf("%s is a symbolic link, which the command could replace, and %s names a repository by it", links[at], file), Hint: `name its place in the file, or set workspace.git = "rw"`})
		return
	}
	if !given(real) && !given(path.Dir(path.Dir(real))) { // that of which it is a worktree
		return
	}
	places, err := r.gitPlaces(real)
	switch {
	case err != nil:
		r.fail(r.unreadable(file, err))
	case places == nil:
		r.note("info", "workspace", "workspace.git", "%s names %s, where no repository is and none can be kept from being made; the host's git runs what a new one says", file, real)
	}
	for _, place := range places {
		whole := w.Git != "guard" && place != r.space && r.looksLike(places[len(places)-1], real) == nil
		switch {
		case !given(place), whole && w.Git == "hide" && within(place, r.space): // which is hidden
		case whole:
			r.kept = append(r.kept, kept{place, true})
		default:
			r.keepRules(place, gitRules)
		}
	}
}

// hidePointed hides a repository in the workspace that its hidden .git file names.
func (r *resolver) hidePointed(file string) {
	if r.pointed == "" {
		return
	}
	_, real := r.walk(r.pointed)
	places, err := r.gitPlaces(real)
	if err != nil {
		r.fail(r.unreadable(file, err))
		return
	}
	for _, place := range places {
		if place != r.space && within(place, r.space) && r.looksLike(places[len(places)-1], real) == nil {
			r.add(sandbox.Mount{Kind: sandbox.Mask, Target: place, IsDir: true, From: "workspace.git"})
			r.pin[place] = true
		}
	}
}

// unreadable is the error where it can't be seen what repository a .git file names.
func (r *resolver) unreadable(file string, err error) *Error {
	return &Error{Key: "workspace.git", Msg: "looking at the repository that " + file + " names", Hint: `make it readable, or set workspace.git = "rw"`, Err: err}
}

// gitPlaces are the directories of the repository in dir, and last the part of it that a
// linked worktree shares; none where no directory is.
func (r *resolver) gitPlaces(dir string) ([]string, error) {
	e, err := r.facts.Files.Resolve(dir, "")
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG), err == nil && !e.IsDir:
		return nil, nil
	case err != nil:
		return nil, err
	}
	common, err := r.gitPath(path.Join(dir, "commondir"), "", dir)
	switch {
	case errors.Is(err, unix.ENOENT):
		return []string{dir}, nil
	case err != nil:
		return nil, err
	}
	if _, common = r.walk(common); common == dir {
		return []string{dir}, nil
	}
	return []string{dir, common}, nil
}

// pointer is the directory that a .git file names (gitrepository-layout(5)).
func (r *resolver) pointer(file string) (dir string, err error) {
	return r.gitPath(file, "gitdir: ", r.space)
}

// gitPath is the path that a file of git's holds after a prefix, from the directory dir
// where it is relative: as git reads it, which takes much for a path. It may lead over
// links, also before a "..".
func (r *resolver) gitPath(file, prefix, dir string) (string, error) {
	const most = 1 << 20 // git's own bound on a .git file
	text, err := r.facts.Files.Text(file, most)
	if err != nil {
		return "", err
	}
	text, _, _ = strings.Cut(text, "\x00")
	text, ok := strings.CutPrefix(strings.TrimRight(text, "\r\n"), prefix)
	if !ok || text == "" {
		return "", fmt.Errorf("it is no line %q", prefix+"PATH")
	}
	if !path.IsAbs(text) {
		text = dir + "/" + text
	}
	if len(text) >= unix.PathMax { // nothing gets by it, git included
		return "", fmt.Errorf("%s names a path of %d bytes: %w", file, len(text), unix.ENAMETOOLONG)
	}
	return text, nil
}

// named judges the repository in dir, which a .git file names: it wants to see that it
// is one of the caller's and names the workspace back.
func (r *resolver) named(file, dir string) (repo repository, err error) {
	if err := r.callers(dir); err != nil {
		return repo, err
	}
	repo.dir = dir
	common, err := r.line(path.Join(dir, "commondir"))
	switch {
	case errors.Is(err, unix.ENOENT):
		return repo, r.ownRepository(dir)
	case err != nil:
		return repo, err
	}
	repo.common = absolute(common, dir)
	if repo.common != path.Dir(path.Dir(dir)) || path.Base(path.Dir(dir)) != "worktrees" {
		return repo, fmt.Errorf("%s is not one of the worktrees of %s", dir, repo.common)
	}
	if err := r.callers(repo.common); err != nil {
		return repo, err
	}
	if err := r.looksLike(repo.common, dir); err != nil {
		return repo, err
	}
	back, err := r.line(path.Join(dir, "gitdir"))
	if err != nil {
		return repo, err
	}
	if back = absolute(back, dir); back != file {
		return repo, fmt.Errorf("%s is the worktree of %s (git worktree repair mends it after a move)", dir, back)
	}
	return repo, nil
}

// ownRepository judges a whole repository, such as a submodule's: it names the
// workspace as its work tree.
func (r *resolver) ownRepository(dir string) error {
	if err := r.looksLike(dir, dir); err != nil {
		return err
	}
	config := path.Join(dir, "config")
	text, err := r.facts.Files.Text(config, gitConfigSize)
	if err != nil {
		return err
	}
	tree, ok := workTree(text)
	if !ok {
		return fmt.Errorf("%s names no work tree", config)
	}
	if tree = absolute(tree, dir); tree != r.space {
		return fmt.Errorf("%s is the repository of %s", dir, tree)
	}
	return nil
}

// callers says why dir is not a directory to be shown because a file names it.
func (r *resolver) callers(dir string) error {
	e, err := r.facts.Files.Resolve(dir, "")
	switch {
	case err != nil:
		return err
	case e.Path != dir:
		return fmt.Errorf("%s leads to %s by a symbolic link", dir, e.Path)
	case !e.IsDir:
		return fmt.Errorf("%s is not a directory", dir)
	case within(r.space, dir):
		return fmt.Errorf("%s holds the workspace", dir)
	case within(r.facts.Home, dir):
		return fmt.Errorf("%s holds your whole home directory", dir)
	case e.UID != r.facts.UID:
		return fmt.Errorf("%s belongs to another user", dir)
	}
	for _, d := range r.StateDirs {
		if within(dir, d) || within(d, dir) {
			return fmt.Errorf("%s is sbx's own", dir)
		}
	}
	return nil
}

// looksLike says why common, with the HEAD of dir, is no repository.
func (r *resolver) looksLike(common, dir string) error {
	for _, part := range []struct {
		path string
		typ  uint32
	}{{path.Join(dir, "HEAD"), unix.S_IFREG}, {path.Join(common, "HEAD"), unix.S_IFREG}, {path.Join(common, "objects"), unix.S_IFDIR}, {path.Join(common, "refs"), unix.S_IFDIR}} {
		e, err := r.facts.Files.Lstat(part.path)
		if err != nil || e.Type() != part.typ {
			return fmt.Errorf("%s is no repository: it has no %s", common, path.Base(part.path))
		}
	}
	return nil
}

// line reads a file of one line, as git writes paths.
func (r *resolver) line(file string) (string, error) {
	text, err := r.facts.Files.Text(file, gitFileSize)
	if err != nil {
		return "", err
	}
	text = strings.TrimRight(text, "\r\n")
	if text == "" || strings.ContainsAny(text, "\x00\r\n") {
		return "", fmt.Errorf("%s is not one line", file)
	}
	return text, nil
}

// absolute is p, taken from dir if it is relative. Where no link is on the way,
// which callers looks for, the kernel comes to the same.
func absolute(p, dir string) string {
	if !path.IsAbs(p) {
		p = path.Join(dir, p)
	}
	return path.Clean(p)
}

// workTree finds core.worktree in a repository's settings (git-config(1),
// "Syntax"). Of all there is to that syntax it knows what git itself writes;
// with anything else on the way, such as a setting that is continued on the next
// line, it finds nothing. The last one counts.
func workTree(config string) (tree string, ok bool) {
	core := false
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if strings.HasSuffix(line, "\\") {
			return "", false
		}
		if line[0] == '[' {
			core = strings.EqualFold(line, "[core]")
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if !core || !strings.EqualFold(strings.TrimSpace(key), "worktree") {
			continue
		}
		value = strings.TrimSpace(value)
		if strings.ContainsAny(value, "\"\\#;\x00") {
			if value, ok = unquote(value); !ok {
				return "", false
			}
		}
		tree, ok = value, value != ""
	}
	return tree, ok
}

// unquote reads a value that is quoted as a whole, as git writes one that holds
// a # or a ; or begins or ends with a space.
func unquote(value string) (string, bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", false
	}
	value = value[1 : len(value)-1]
	return value, !strings.ContainsAny(value, "\"\\\x00")
}

// keepRepository guards what git noted, wherever a writable bind shows it.
func (r *resolver) keepRepository(guards map[string]int) {
	for _, k := range r.kept {
		e, err := r.facts.Files.Lstat(k.path)
		if err != nil {
			r.fail(&Error{Key: "workspace.git", Msg: "guarding " + k.path, Hint: "try again", Err: err})
			continue
		}
		for _, cover := range r.plan.Mounts {
			if cover.Kind != sandbox.Bind || cover.ReadOnly || !cover.IsDir || !within(k.path, cover.Source) || k.path == cover.Source {
				continue
			}
			why := "commits reach it, settings and hooks stay as they are"
			if k.readOnly {
				why = "what git takes orders from"
			}
			r.guardIn(cover, sandbox.Mount{Source: k.path, IsDir: e.IsDir, ReadOnly: k.readOnly, From: "workspace.git", Why: why}, notRenamed, guards)
		}
	}
}
