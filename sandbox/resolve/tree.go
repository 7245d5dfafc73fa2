package resolve

import (
	"cmp"
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

// systemDirs are what `root.source = "host"` shows of the host, where it
// exists: programs and libraries. Nothing a person keeps lies in them.
var systemDirs = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix"}

// minimalEtc is what programs of /usr read of /etc and what says nothing about
// the host's people, services or keys (`root.etc = "minimal"`).
var minimalEtc = []string{
	"alternatives", "bash.bashrc", "ca-certificates", "crypto-policies", "debian_version", "fonts",
	"gai.conf", "groff", "host.conf", "inputrc", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
	// Debian's Java has its security properties here and does not start without them.
	"java-8-openjdk", "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "java-25-openjdk",
	"locale.alias", "locale.conf", "localtime", "lsb-release", "magic", "man_db.conf", "manpath.config",
	"mime.types", "networks",
	"nsswitch.conf", "os-release", "pki", "profile", "profile.d", "protocols", "python3", "rpc",
	"services", "shells", "ssl", "terminfo", "timezone", "vim", "xattr.conf",
}

// imageSkip are the top-level names of a directory used as root whose place
// the sandbox fills itself.
var imageSkip = map[string]bool{"dev": true, "proc": true, "sys": true, "run": true, "tmp": true, "home": true, "lost+found": true, "boot": true}

// varTmp leads to /tmp, unless what is granted lies in it.
const varTmp = "/var/tmp"

const rootSize, rootInodes = 1 << 20, 4096

func (r *resolver) add(m sandbox.Mount) { r.plan.Mounts = append(r.plan.Mounts, m) }

func (r *resolver) root() {
	rt := &r.prof.Root
	r.links, r.pin, r.linked, r.byLink, r.sockets = map[string]string{}, map[string]bool{}, map[string]bool{}, map[string]string{}, map[string]bool{}
	r.plan.Root = sandbox.Root{ReadOnly: rt.ReadOnly, Size: rootSize, Inodes: rootInodes, From: "root.source"}
	r.pseudo()
	switch {
	case rt.Source == "/":
		r.plan.Root.InPlace = true
		r.talks(host.Entry{Path: "/run", IsDir: true}, "/run", true, "root.source") // the rest is covered by default
	case rt.Source == "host":
		for _, d := range systemDirs {
			r.rootEntry("/", d, true)
		}
		r.etc()
		r.add(sandbox.Mount{Kind: sandbox.Symlink, Target: varTmp, Source: "/tmp", Why: "one place for temporary files"})
	case r.imageNamed():
	case rt.Source != "empty":
		r.directoryRoot(rt.Source)
	}
	if rt.Tmp > 0 {
		r.add(sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/tmp", IsDir: true, Size: rt.Tmp, Inodes: inodes(rt.Tmp), Mode: 0o1777, From: "root.tmp", Why: "own temporary files"})
	}
	if !r.plan.Root.InPlace {
		r.add(sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/run", IsDir: true, Size: 16 << 20, Inodes: 4096, Mode: 0o755, Why: "none of the host's sockets"})
		if r.foreign() { // who could not enter it
			return
		}
		r.add(sandbox.Mount{Kind: sandbox.Dir, Target: r.runtimeDir(), IsDir: true, Mode: 0o700, Why: "XDG_RUNTIME_DIR"})
	}
}

func (r *resolver) runtimeDir() string { return fmt.Sprintf("/run/user/%d", r.plan.IDs.UID) }

// inodes bounds a tmpfs's files as the kernel's own default does, one for each
// page of its size.
func inodes(size int64) int64 { return max(size/4096, 64) }

func (r *resolver) pseudo() {
	rt := &r.prof.Root
	r.plan.Proc = sandbox.ProcMode(rt.Proc)
	ps := &r.plan.Pseudo
	ps.PtyGID = -1
	if rt.Dev == "minimal" {
		ps.Dev, ps.Shm, ps.Mqueue = true, rt.Shm, r.prof.Namespaces.IPC == "private"
		ps.Devices = []string{"full", "null", "random", "tty", "urandom", "zero"}
		const ttyGroup = 5 // of every Linux distribution's /etc/group
		if _, ok := r.plan.IDs.OuterGIDs.Outside(ttyGroup); ok {
			ps.PtyGID = ttyGroup
		}
	}
	if rt.Proc == "new" {
		// What an unprivileged reader learns too much from, and what root of the
		// host could write: the kernel guards those by uid, not by capability.
		ps.ProcMasked, ps.ProcReadOnly = []string{"keys", "key-users"}, []string{"sys"}
		if r.facts.UID == 0 {
			ps.ProcMasked = append(ps.ProcMasked, "kcore", "timer_list", "sched_debug")
			ps.ProcReadOnly = append(ps.ProcReadOnly, "sysrq-trigger", "irq", "bus", "fs")
		}
	}
	if rt.Sys == "ro" {
		if r.plan.Namespaces.Net {
			ps.Sys = true // sysfs belongs to the network namespace's owner
		} else {
			r.add(sandbox.Mount{Kind: sandbox.Bind, Target: "/sys", Source: "/sys", IsDir: true, ReadOnly: true, From: "root.sys"})
		}
	}
}

// rootEntry shows dir/name as /name: a link as a link, anything else bound.
func (r *resolver) rootEntry(dir, name string, readOnly bool) {
	src := path.Join(dir, name)
	e, err := r.facts.Files.Lstat(src)
	if err != nil {
		r.leftOut(src, "root.source", err)
		return
	}
	target := "/" + name
	switch e.Type() {
	case unix.S_IFLNK:
		text, err := r.facts.Files.Link(src)
		if err != nil {
			r.fail(&Error{Key: "root.source", Msg: "reading the link " + src, Err: err})
			return
		}
		r.links[target] = path.Join("/", text)
		r.add(sandbox.Mount{Kind: sandbox.Symlink, Target: target, Source: text, From: "root.source"})
	case unix.S_IFDIR, unix.S_IFREG:
		r.add(sandbox.Mount{Kind: sandbox.Bind, Target: target, Source: src, IsDir: e.IsDir, ReadOnly: readOnly, System: dir == "/" && rootsOwn(e), From: "root.source", Why: "system files"})
	}
}

// rootsOwn says that nobody but root can put something else in e's place, as
// far as e itself shows; its parent is / or /etc.
func rootsOwn(e host.Entry) bool {
	const overflow = 65534 // root of the host, seen from a user namespace
	return (e.UID == 0 || e.UID == overflow) && e.Mode&0o022 == 0
}

// imageNamed makes an image the root, if the profile names one.
func (r *resolver) imageNamed() bool {
	name, ok := r.image()
	if ok {
		r.imageRoot(name)
	}
	return ok
}

// directoryRoot shows what is in a directory of the host's as the root.
func (r *resolver) directoryRoot(dir string) {
	e, err := r.granted(dir, "root.source")
	if err == nil && !e.IsDir {
		err = unix.ENOTDIR
	}
	var names []string
	if err == nil {
		names, err = r.facts.Files.Names(e.Path)
	}
	if err != nil {
		r.fail(&Error{Key: "root.source", Msg: "using a directory as root", Hint: `name an existing directory, "host" or "empty"`, Err: err})
		return
	}
	for _, n := range names {
		if !imageSkip[n] {
			r.rootEntry(e.Path, n, r.prof.Root.ReadOnly)
		}
	}
}

func (r *resolver) etc() {
	switch r.prof.Root.Etc {
	case "host":
		r.rootEntry("/", "etc", true)
		r.resolvConf()
		if !r.facts.Known {
			r.accountFiles()
		}
	case "minimal":
		r.add(sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/etc", IsDir: true, ReadOnly: true, Mode: 0o755, Size: 1 << 20, Inodes: 256, From: "root.etc"})
		for _, n := range minimalEtc {
			r.etcEntry(n)
		}
		if r.plan.Network == sandbox.NetHost {
			r.etcEntry("resolv.conf") // the host's name servers
		}
		r.accountFiles()
		r.add(sandbox.Mount{Kind: sandbox.File, Target: "/etc/hosts", Mode: 0o444, From: "root.etc",
			Content: r.hostsFile()})
	}
}

// leftOut says that a part of the system is not shown, unless the system is one
// without it.
func (r *resolver) leftOut(src, from string, err error) {
	for _, without := range []unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EACCES} { // or the caller's is
		if errors.Is(err, without) {
			return
		}
	}
	r.note("warning", "root", from, "%s is left out: %v", src, err)
}

// etcEntry shows one name of /etc, its link followed.
func (r *resolver) etcEntry(name string) {
	src := "/etc/" + name
	e, err := r.facts.Files.Lstat(src)
	if err == nil && e.Type() == unix.S_IFLNK {
		e, err = r.facts.Files.Resolve(src, "")
		if err == nil && within(e.Path, "/usr") { // which is there inside as well
			r.add(sandbox.Mount{Kind: sandbox.Symlink, Target: src, Source: e.Path, From: "root.etc"})
			return
		}
	}
	if err != nil {
		r.leftOut(src, "root.etc", err)
		return
	}
	if t := e.Type(); t == unix.S_IFDIR || t == unix.S_IFREG {
		r.add(sandbox.Mount{Kind: sandbox.Bind, Target: src, Source: e.Path, IsDir: e.IsDir, ReadOnly: true, System: e.Path == src && rootsOwn(e), Sealed: e.Path == src && rootsOwn(e), From: "root.etc"})
	}
}

// resolvConf puts the file where /etc/resolv.conf leads, when that is in /run,
// which is the sandbox's own.
func (r *resolver) resolvConf() {
	if r.plan.Network != sandbox.NetHost {
		return
	}
	e, err := r.facts.Files.Resolve("/etc/resolv.conf", "")
	if err == nil && strings.HasPrefix(e.Path, "/run/") && e.Type() == unix.S_IFREG {
		r.add(sandbox.Mount{Kind: sandbox.Bind, Target: e.Path, Source: e.Path, ReadOnly: true, From: "network.mode", Why: "the host's name servers"})
	}
}

// accountFiles writes the names of the ids that exist inside.
func (r *resolver) accountFiles() {
	f, ids := r.facts, &r.plan.IDs
	passwd, group := "", ""
	if ids.UID != 0 {
		passwd, group = "root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n"
		group += fmt.Sprintf("%s:x:%d:\n", f.User, ids.GID)
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", f.User, ids.UID, ids.GID, f.Home)
	} else {
		passwd, group = fmt.Sprintf("root:x:0:0:root:%s:/bin/sh\n", f.Home), "root:x:0:\n"
	}
	passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group += "tty:x:5:\nnogroup:x:65534:\n"
	for _, file := range []struct{ name, text string }{{"/etc/passwd", passwd}, {"/etc/group", group}} {
		r.add(sandbox.Mount{Kind: sandbox.File, Target: file.name, Mode: 0o444, Content: file.text, ReadOnly: r.prof.Root.Etc == "host", From: "root.etc", Why: "names of the ids inside"})
	}
}

func (r *resolver) home() {
	h, f := &r.prof.Home, r.facts
	if r.foreign() {
		r.note("info", "home", "home.mode", "the home is the image's, %s: the command is not you on the host", r.Image.Record.Account.Home)
		return
	}
	if h.Mode == "none" {
		if r.plan.Root.InPlace && f.Home != "/" { // which has it
			r.add(sandbox.Mount{Kind: sandbox.Tmpfs, Target: f.Home, IsDir: true, Size: 64 << 10, Inodes: 64, Mode: 0o555, From: "home.mode", Why: "no home"})
		}
		return
	}
	if f.Home == "/" {
		r.note("info", "home", "home.mode", "HOME is /, which is no home of its own; none is made")
		return
	}
	switch h.Mode {
	case "tmpfs":
		r.add(sandbox.Mount{Kind: sandbox.Tmpfs, Target: f.Home, IsDir: true, Size: h.Size, Inodes: inodes(h.Size), Mode: 0o700, From: "home.mode", Why: "an empty home, gone afterwards"})
	case "persistent":
		if !path.IsAbs(r.HomesDir) {
			r.fail(&Error{Key: "home.mode", Msg: "there is no place to keep a home", Hint: "set HOME to your home directory"})
			return
		}
		dir := path.Join(r.HomesDir, r.prof.Name)
		r.plan.Create = append(r.plan.Create, dir)
		if h.Access == "overlay" {
			_, dir = r.walk(dir)
			r.homeLayers(host.Entry{Path: dir, Mode: 0o700}, "this sandbox's own home, changes kept apart")
			r.plan.Mounts[len(r.plan.Mounts)-1].Private = true
			break
		}
		r.add(sandbox.Mount{Kind: sandbox.Bind, Target: f.Home, Source: dir, IsDir: true, ReadOnly: h.Access == "ro", Private: true, From: "home.mode", Why: "this sandbox's own home, kept"})
	case "host":
		if h.Access == "overlay" {
			e, err := f.Files.Resolve(f.Home, "")
			if err != nil {
				r.fail(&Error{Key: "home.access", Msg: "using " + f.Home + " as the home", Err: err})
				return
			}
			r.homeLayers(e, "the host's home, changes kept apart")
			break
		}
		r.add(sandbox.Mount{Kind: sandbox.Bind, Target: f.Home, Source: f.Home, IsDir: true, ReadOnly: h.Access != "rw", From: "home.access", Why: "the host's home"})
	}
	for i, p := range h.Share {
		r.share(p, fmt.Sprintf("home.share[%d]", i))
	}
	if h.Mode == "host" {
		r.hideInHome()
	}
}

// hideInHome hides what home.hide names.
func (r *resolver) hideInHome() {
	text, _ := lookup(r.facts.Environ, "HOME") // which may lead to the home by a link
	for i, p := range r.prof.Home.Hide {
		root, pattern := "/", p
		for _, home := range []string{r.facts.Home, path.Clean(text)} {
			if home != "." && within(p, home) {
				root, pattern = r.facts.Home, p[len(home):]
			}
		}
		r.hide(root, pattern, fmt.Sprintf("home.hide[%d]", i))
	}
}

// homeLayers puts a layer for changes over the home.
func (r *resolver) homeLayers(e host.Entry, why string) {
	o := &r.prof.Overlay
	r.addLayers(r.facts.Home, e, o.Upper, o.Size, "home.access", why)
}

// share shows a file of the host's home read-only, if there is one.
func (r *resolver) share(p, key string) {
	if r.prof.Home.Mode == "host" {
		return
	}
	e, err := r.granted(p, key)
	if errors.Is(err, unix.ENOENT) {
		r.note("info", "home", key, "%s is not there and was left out", p)
		return
	}
	if err != nil {
		r.note("info", "home", key, "%s was left out: %v", p, err)
		return
	}
	r.talks(e, p, true, key)
	r.add(sandbox.Mount{Kind: sandbox.Bind, Target: p, Source: e.Path, IsDir: e.IsDir, ReadOnly: true, From: key})
}

// talks warns of sockets and FIFOs that a grant shows: the kernel lets them be
// talked to whatever the mount's attributes are; Landlock keeps a FIFO from being
// written. target is where e will be. Of a directory it looks at the names in it,
// and only where services are known to listen: most grants are data, in trees that
// are too large to be looked through.
func (r *resolver) talks(e host.Entry, target string, readOnly bool, key string) {
	switch {
	case e.Type() == unix.S_IFSOCK && r.plan.Bare.On() && !r.unixJudged():
		r.sockets[target] = true // of which none can be used
	case e.Type() == unix.S_IFSOCK:
		r.sockets[target] = true
		r.note("warning", "mounts", key, "%s is a socket: who listens on it can be talked to from inside, read-only or not", e.Path)
	case e.Type() == unix.S_IFIFO && !readOnly:
		r.note("warning", "mounts", key, "%s is a FIFO: it can be written from inside", e.Path)
	case e.Type() == unix.S_IFIFO && !r.wall():
		r.note("warning", "mounts", key, "%s is a FIFO: it can be written from inside, read-only or not", e.Path)
	case e.IsDir && !(r.plan.Bare.On() && !r.unixJudged()):
		places := []string{"/run", "/tmp", path.Join(r.facts.Home, ".gnupg"), path.Join(r.facts.Home, ".docker/run")}
		if dir, ok := lookup(r.facts.Environ, "XDG_RUNTIME_DIR"); ok && path.IsAbs(dir) {
			places = append(places, path.Clean(dir))
		}
		var look []string
		for _, place := range places {
			switch {
			case within(place, e.Path):
				look = append(look, place)
			case place == "/tmp" && path.Dir(e.Path) != place: // what lies deeper there is data
			case within(e.Path, place):
				look = append(look, e.Path)
			}
		}
		slices.Sort(look)
		for _, dir := range slices.Compact(look) {
			r.talksIn(dir, key)
		}
	}
}

// talksIn is talks for the names in a directory.
func (r *resolver) talksIn(dir, key string) {
	names, err := r.facts.Files.Names(dir)
	if err != nil {
		return // the command can't look into it either
	}
	var found []string
	for _, n := range names {
		if e, err := r.facts.Files.Lstat(path.Join(dir, n)); err == nil && (e.Type() == unix.S_IFSOCK || e.Type() == unix.S_IFIFO) {
			found = append(found, n)
		}
	}
	if len(found) > 0 {
		r.note("warning", "mounts", key, "%s holds sockets or FIFOs (%s): who listens on them can be talked to from inside, read-only or not", dir, strings.Join(found, ", "))
	}
}

// hide masks what matches pattern below root. A link is not masked but what it
// leads to is, in the workspace only where that lies in it too: there anybody
// may have placed the link.
func (r *resolver) hide(root, pattern, key string) {
	matches, err := r.glob(root, pattern)
	if err != nil {
		r.fail(&Error{Key: key, Msg: "looking for what is to be hidden", Hint: "make the directory readable, or remove it", Err: err})
		return
	}
	for _, match := range matches {
		e, err := r.facts.Files.Resolve(match, "")
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a link to nothing
		}
		if err != nil {
			r.fail(&Error{Key: key, Msg: "hiding " + match, Hint: "remove it, or make it readable", Err: err})
			continue
		}
		if e.Path != match && root == r.space && !within(e.Path, r.space) || within(root, e.Path) {
			continue
		}
		if r.otherNames(e) {
			r.note("warning", "mounts", key, "%s is hidden, but the file has %d names: it can be read by another of them that is granted", e.Path, e.Links)
		}
		r.add(sandbox.Mount{Kind: sandbox.Mask, Target: e.Path, IsDir: e.IsDir, From: key})
		if e.Path == match {
			r.byLink[e.Path] = ""
		} else if _, known := r.byLink[e.Path]; !known {
			r.byLink[e.Path] = match
		}
		r.linked[e.Path] = r.linked[e.Path] || e.Path != match
		if rest, any := strings.CutPrefix(pattern, "**/"); !any || strings.Contains(rest, "/") {
			r.pin[e.Path] = true
		}
	}
}

// hideAliases hides what workspace.hide, workspace.git = "hide" and home.hide name in
// whatever other place a bind or layers show it. What is granted itself stays.
func (r *resolver) hideAliases() {
	binds := slices.DeleteFunc(slices.Clone(r.plan.Mounts), func(m sandbox.Mount) bool { return m.Kind != sandbox.Bind && m.Kind != sandbox.Layers })
	for _, m := range slices.Clone(r.plan.Mounts) {
		key, _, _ := strings.Cut(m.From, "[")
		if m.Kind != sandbox.Mask || key != "workspace.hide" && key != "workspace.git" && key != "home.hide" {
			continue
		}
		place := m.Target // it was looked for on the host; imageTargets comes later
		for _, b := range binds {
			for _, source := range append([]string{b.Source}, b.Lower...) {
				if !within(place, source) || place == source {
					continue
				}
				t := path.Join(b.Target, strings.TrimPrefix(place, source))
				if slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool { return m.Target == t }) {
					continue
				}
				cover := r.covering(t, len(r.plan.Mounts))
				if cover == nil || !showsHost(cover) || r.shownPath(cover, t) != place {
					continue
				}
				r.add(sandbox.Mount{Kind: sandbox.Mask, Target: t, IsDir: m.IsDir, From: m.From})
				r.pin[t] = r.pin[place]
			}
		}
	}
}

func (r *resolver) workspace() {
	w := &r.prof.Workspace
	if w.Access == "none" {
		return
	}
	if w.Path == "" && r.facts.Cwd == "" {
		return // said by caller
	}
	e, err := r.facts.Files.Resolve(w.Path, "")
	if err == nil && !e.IsDir {
		err = unix.ENOTDIR
	}
	if err == nil {
		err = r.spaceByLink(e.Path)
	}
	if err != nil {
		r.fail(&Error{Key: "workspace.path", Msg: "using " + w.Path + " as workspace", Hint: "name an existing directory", Err: err})
		return
	}
	if within(r.facts.Home, e.Path) || e.Path == "/" {
		r.fail(&Error{Key: "workspace.path", Msg: fmt.Sprintf("the workspace %s holds your whole home directory", e.Path),
			Hint: `change to a project's directory, or set workspace.access = "none"`})
		return
	}
	for _, d := range r.StateDirs {
		if within(e.Path, d) {
			r.fail(&Error{Key: "workspace.path", Msg: fmt.Sprintf("the workspace %s lies in sbx's own directory %s", e.Path, d), Hint: "work on a copy elsewhere"})
			return
		}
	}
	if e.Mode&0o002 != 0 {
		r.note("warning", "workspace", "workspace.path", "every user of this host can write in the workspace %s", e.Path)
	}
	r.space = e.Path
	if w.Access == "overlay" {
		o := &r.prof.Overlay
		r.addLayers(e.Path, e, o.Upper, o.Size, "workspace.access", "the workspace, changes kept apart")
	} else {
		r.add(sandbox.Mount{Kind: sandbox.Bind, Target: e.Path, Source: e.Path, IsDir: true, ReadOnly: w.Access != "rw", From: "workspace.access", Why: "the workspace"})
	}
	if w.Access == "rw" {
		r.plan.Claim = sandbox.Claim{Dir: e.Path, Exclusive: w.Exclusive}
	}
	for i, g := range w.Hide {
		r.hide(e.Path, g, fmt.Sprintf("workspace.hide[%d]", i))
	}
	r.git()
}

// spaceByLink refuses a workspace that a link in the project of the profile leads to from
// there: anybody may have placed that, also since the profile was judged. found is where
// it was found.
func (r *resolver) spaceByLink(found string) error {
	p := r.prof.Workspace.Path
	links, real := r.walk(p)
	if real != found {
		return fmt.Errorf("%s led to %s, and then to %s", p, found, real)
	}
	var dirs []string // of projects that files of the profile came with
	for _, f := range r.prof.Files {
		switch {
		case path.Base(f) == profiles.ProjectFile:
			_, dir := r.walk(path.Dir(f))
			dirs = append(dirs, dir)
		case r.facts.Cwd != "" && within(f, r.facts.Cwd) && !within(r.facts.Home, r.facts.Cwd):
			dirs = append(dirs, r.facts.Cwd)
		}
	}
	for _, dir := range dirs {
		if !within(found, dir) && slices.ContainsFunc(links, func(l string) bool { return l != dir && within(l, dir) }) {
			return fmt.Errorf("%s leads out of %s by a symbolic link", p, dir)
		}
	}
	return nil
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

func (r *resolver) mounts() {
	for i := range r.prof.Mounts {
		r.profileMount(&r.prof.Mounts[i])
	}
	r.secrets()
}

// secretsDir is where secrets are that the command gets as files, as with podman.
const secretsDir = "/run/secrets"

// secrets puts in place what the profile hands out.
func (r *resolver) secrets() {
	for i, entry := range r.prof.Process.Secrets {
		key := fmt.Sprintf("process.secrets[%d]", i)
		s := r.prof.Secret(entry)
		out := sandbox.Secret{Name: s.Name, Variable: s.Variable, Source: "env:" + s.Env, From: key}
		if s.File != "" {
			out.Source = "file:" + s.File
			r.judgeSecret(i, s.File, key)
			if r.visible(s.File) != "" {
				r.note("warning", "secrets", key, "%s, which the secret %s comes from, can be read inside anyway; hide it with workspace.hide or a mask", s.File, s.Name)
			}
		}
		if s.Variable == "" {
			out.Target = path.Join(r.follow(secretsDir), s.Name)
			if r.plan.Root.InPlace || r.facts.Refused.Why != "" {
				r.fail(&Error{Key: key, Msg: "there is no place for the file " + out.Target + " in the host's own tree", Hint: fmt.Sprintf("write %q for a variable", s.Name+":VARIABLE")})
				continue
			}
			r.add(sandbox.Mount{Kind: sandbox.File, Target: out.Target, Content: r.secret(i), Mode: 0o400, ReadOnly: true, NoExec: true, From: key, Why: "the secret " + s.Name})
		}
		r.plan.Secrets = append(r.plan.Secrets, out)
	}
}

// judgeSecret refuses a secret that is read from what a link in the project leads to
// elsewhere, or was read from another place than file is.
func (r *resolver) judgeSecret(i int, file, key string) {
	if within(file, "/dev") || within(file, "/proc") {
		return // links there are the kernel's, as that of /dev/stdin
	}
	e, err := r.granted(file, key)
	switch {
	case errors.Is(err, unix.ENOENT) && i >= len(r.SecretFiles): // it is not to be read
		return
	case err == nil && i < len(r.SecretFiles) && e.Path != r.SecretFiles[i]:
		err = fmt.Errorf("it was read from %s, and now leads to %s", r.SecretFiles[i], e.Path)
	}
	if err != nil {
		r.fail(&Error{Key: key, Msg: "handing out " + file, Hint: "name the place that it leads to", Err: err})
	}
}

// secret is what the i-th entry of process.secrets holds, "" where it is not to
// be read.
func (r *resolver) secret(i int) string {
	if i >= len(r.Secrets) {
		return ""
	}
	return r.Secrets[i]
}

func (r *resolver) profileMount(m *profiles.Mount) {
	key := "mounts." + m.Target
	out := sandbox.Mount{Target: r.follow(m.Target), NoExec: !m.Exec, Mode: m.Mode, From: key, ReadOnly: m.Access == "ro"}
	switch m.Type {
	case "bind":
		if m.Grantable && r.facts.Refused.Why != "" {
			r.note("degraded", "grants", key, "%s can't be granted later: there are no mounts in a sandbox without namespaces", m.Target)
			return
		}
		e, ok := r.source(m, key)
		if !ok {
			return
		}
		out.Kind, out.Source, out.IsDir, out.Dev, out.Grantable = sandbox.Bind, e.Path, e.IsDir, m.Dev, m.Grantable
		r.judgeBind(m, e, key)
		if e.Path == "/" { // as for /proc itself, which judgeBind refuses
			for _, dir := range []string{"proc", "sys"} {
				r.add(sandbox.Mount{Kind: sandbox.Mask, Target: path.Join(out.Target, dir), IsDir: true, From: key, Why: "the host's kernel, and its processes"})
			}
		}
	case "overlay":
		e, ok := r.source(m, key)
		if !ok {
			return
		}
		if !e.IsDir {
			r.fail(&Error{Key: key, Msg: e.Path + " is no directory, and layers are made of directories", Hint: "name the directory that holds it"})
			return
		}
		r.talks(e, out.Target, false, key)
		lower, ok := r.lowers(m, e, out.Target, key+".lower")
		if !ok {
			return
		}
		r.addLayers(out.Target, e, m.Upper, m.Size, key, "changes kept apart")
		added := &r.plan.Mounts[len(r.plan.Mounts)-1]
		added.Lower, added.NoExec = lower, out.NoExec
		return
	case "volume":
		r.volume(m, out, key)
		return
	case "tmpfs":
		out.Kind, out.IsDir, out.Size, out.Inodes = sandbox.Tmpfs, true, m.Size, m.Inodes
		if out.Inodes == 0 {
			out.Inodes = inodes(m.Size)
		}
	case "file":
		out.Kind, out.Content = sandbox.File, m.Content
	case "symlink":
		out.Kind, out.Source = sandbox.Symlink, m.Source
	case "mask":
		out.Kind = sandbox.Mask
	}
	if l := out.Target; l != m.Target && m.Type != "mask" && (within(l, "/proc") || within(l, "/dev") || within(l, "/sys")) {
		// The profile's own check of targets knows nothing of the root's links.
		r.fail(&Error{Key: key, Msg: fmt.Sprintf("%s leads to %s by a link of the root, where nothing may be put", m.Target, l), Hint: "choose another target"})
		return
	}
	r.add(out)
}

// lowers finds the directories below that of an overlay, which is top. The kernel
// takes none that lies in another (ELOOP).
func (r *resolver) lowers(m *profiles.Mount, top host.Entry, target, key string) (list []string, ok bool) {
	if len(m.Lower) == 0 {
		return nil, true
	}
	all := []string{top.Path}
	for i, dir := range m.Lower {
		below := *m
		below.Source = dir
		key := fmt.Sprintf("%s[%d]", key, i)
		e, found := r.source(&below, key)
		if !found && m.Optional {
			continue
		}
		msg := ""
		in := slices.IndexFunc(all, func(other string) bool { return within(e.Path, other) || within(other, e.Path) })
		switch {
		case !found: // it was said
			return nil, false
		case !e.IsDir:
			msg = e.Path + " is no directory, and layers are made of directories"
		case in >= 0:
			msg = fmt.Sprintf("%s and %s can't be layers of one overlay: one is the other, or lies in it", e.Path, all[in])
		case len(all) == sandbox.MaxLayers:
			msg = fmt.Sprintf("more than %d layers", sandbox.MaxLayers)
		}
		if msg != "" {
			r.fail(&Error{Key: key, Msg: msg, Hint: "name other directories"})
			return nil, false
		}
		r.talks(e, target, false, key)
		all = append(all, e.Path)
	}
	return all[1:], true
}

// source finds a bind's source.
func (r *resolver) source(m *profiles.Mount, key string) (e host.Entry, ok bool) {
	e, err := r.granted(m.Source, key)
	if errors.Is(err, unix.ENOENT) && m.Optional {
		r.note("info", "mounts", key, "%s is not there and was left out", m.Source)
		return e, false
	}
	if err != nil {
		hint := "create it, or set optional = true"
		if !errors.As(err, new(unix.Errno)) {
			hint = "name the place that it leads to"
		}
		r.fail(&Error{Key: key, Msg: "binding " + m.Source, Hint: hint, Err: err})
		return e, false
	}
	return e, true
}

// way is how what is granted was found: by which links, and where it is.
type way struct {
	key, path string
	links     []string
	real      string
}

// granted finds what the profile grants at p. In the workspace a link may have been
// placed by whatever ran there before; such a link may not lead out of it. That holds
// as well when the workspace is reached by another name, or not granted itself.
func (r *resolver) granted(p, key string) (host.Entry, error) {
	space := r.space
	if w, err := r.facts.Files.Resolve(r.prof.Workspace.Path, ""); space == "" && err == nil {
		space = w.Path
	}
	beneath := ""
	if space != "" && within(p, space) {
		beneath = space
	}
	e, err := r.facts.Files.Resolve(p, beneath)
	links, real := r.walk(p)
	placed := slices.ContainsFunc(links, func(l string) bool { return l != space && within(l, space) })
	switch {
	case err != nil:
	case space != "" && placed && !within(e.Path, space):
		err = fmt.Errorf("%s leads out of %s by a symbolic link", p, space)
	case (beneath != "" || len(links) > 0) && real != e.Path:
		err = fmt.Errorf("%s led to %s, and then to %s", p, e.Path, real)
	}
	if err == nil && len(links) > 0 {
		r.ways = append(r.ways, way{key, p, links, e.Path})
	}
	return e, err
}

func (r *resolver) judgeBind(m *profiles.Mount, e host.Entry, key string) {
	r.talks(e, r.follow(m.Target), m.Access == "ro", key)
	if t := e.Type(); (t == unix.S_IFCHR || t == unix.S_IFBLK) && !m.Dev {
		r.fail(&Error{Key: key, Msg: e.Path + " is a device", Hint: "set dev = true if the command is to have it"})
	}
	if m.Access == "rw" && within(r.facts.Home, e.Path) {
		r.note("warning", "mounts", key, "%s holds your whole home directory, writable", e.Path)
	}
	if within(e.Path, "/proc") {
		r.fail(&Error{Key: key, Msg: e.Path + " is the host's /proc, which shows and controls its processes", Hint: `use root.proc = "new"`})
	}
}

// follow rewrites a target through the links of the new root, such as /bin to
// /usr/bin, since mounting stops at links.
func (r *resolver) follow(target string) string {
	for range 8 {
		next := target
		for link, to := range r.links {
			if within(target, link) && target != link {
				next = path.Join(to, target[len(link):])
			}
		}
		if next == target {
			break
		}
		target = next
	}
	return target
}

// order sorts the mounts so that a parent comes before what lies in it, and
// drops what a later one of the same target replaces.
func (r *resolver) order() {
	ms := r.plan.Mounts
	last := make(map[string]int, len(ms))
	for i, m := range ms {
		last[m.Target] = i
	}
	kept := make([]sandbox.Mount, 0, len(ms))
	for i, m := range ms {
		if by := ms[last[m.Target]]; m.Kind == sandbox.Mask && by.Kind == sandbox.Symlink {
			r.fail(&Error{Key: by.From, Msg: m.Target + " is to be hidden, which a link does not"})
		}
		if last[m.Target] == i {
			kept = append(kept, m)
		} else if m.From == "workspace.access" {
			r.note("info", "workspace", ms[last[m.Target]].From, "the workspace %s is replaced by a mount of the same target", m.Target)
		}
	}
	kept = slices.DeleteFunc(kept, func(m sandbox.Mount) bool {
		return m.Kind == sandbox.Symlink && m.Target == varTmp && m.From == "" && slices.ContainsFunc(kept, func(k sandbox.Mount) bool {
			return k.Target != varTmp && within(k.Target, varTmp)
		})
	})
	slices.SortStableFunc(kept, func(a, b sandbox.Mount) int { return comparePaths(a.Target, b.Target) })
	r.plan.Mounts = kept
}

// comparePaths orders a parent before its children and keeps a tree together.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' { // stands before every other byte
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}
