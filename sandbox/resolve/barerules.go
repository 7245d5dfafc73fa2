package resolve

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
)

// bareRules says in rules of Landlock what the mounts would have shown. They are
// all there is: nothing is mounted, and the Plan has no mounts then.
//
// Rights add up on the way from a file to the root, and no rule takes any away.
// So what would have been hidden inside of something that is only read is left
// out when that is spread out into its parts; something that is written must be
// whole, or nothing new could be made in it.
func (r *resolver) bareRules() {
	l, p := &r.plan.Security.Landlock, r.plan
	l.ABI, l.Scoped, l.Handled = r.facts.Landlock, true, landlock.Files(r.facts.Landlock)
	if p.Network != sandbox.NetHost {
		l.Net = landlock.Nets(l.ABI)
	}
	if p.Root.InPlace {
		r.bareTree(grant{path: "/", target: "/", access: landlock.Read | landlock.Execute, key: "root.source"})
	}
	for i := range p.Mounts {
		switch m := &p.Mounts[i]; m.Kind {
		case sandbox.Bind:
			r.bareBind(m, i)
		case sandbox.File:
			r.bareFile(m)
		case sandbox.Tmpfs, sandbox.Symlink, sandbox.Dir:
			if strings.HasPrefix(m.From, "mounts.") {
				r.lose(m.From, "%s: nothing can be put at a place of the host's", m.Target)
			}
		}
	}
	r.barePseudo()
	r.allow(p.Bare.Private, landlock.Read|landlock.Execute|landlock.Write|landlock.Make)
	r.streamRules()
	l.MountOnly = nil // said in other words
	p.Mounts, p.UCounts = []sandbox.Mount{}, []sandbox.UCount{}
	p.Root = sandbox.Root{InPlace: true, ReadOnly: true, From: p.Root.From}
	p.Pseudo = sandbox.Pseudo{Dev: p.Pseudo.Dev, Devices: p.Pseudo.Devices, PtyGID: -1}
}

// grant is a tree, or a file, of the host's that the profile shows.
type grant struct {
	path   string // on the host
	target string // inside of a sandbox with mounts
	access landlock.Access
	key    string
}

// bareBind allows what a bind shows, if it has the same name on the host, or one
// in the private home can lead to it.
func (r *resolver) bareBind(m *sandbox.Mount, n int) {
	g := grant{path: m.Source, target: m.Target, access: r.mountAccess(m, n), key: m.From}
	switch {
	case r.sockets[m.Target] && !r.unixJudged():
		r.lose(m.From, "%s is a socket, and those can't be told from others before Landlock's ABI %d: none can be used", m.Target, landlock.ABIUnix)
		return
	case m.From == "home.mode" && m.Private: // a home that is kept, which HOME leads to
		r.spread(g.path, g.access, nil)
		return
	case r.prof.Home.Mode == "persistent" && within(m.Target, r.facts.Home) && m.From != "workspace.access":
		r.lose(m.From, "%s in the home: HOME is the directory that is kept, %s", m.Target, path.Join(r.HomesDir, r.prof.Name))
		if m.Source != m.Target {
			return
		}
	case r.prof.Home.Mode == "tmpfs" && within(m.Target, r.facts.Home):
		r.bareLink(m)
	case m.Source == m.Target:
	default:
		if e, err := r.facts.Files.Resolve(m.Target, ""); err != nil || e.Path != m.Source {
			r.lose(m.From, "%s can't be shown at another place, %s", m.Source, m.Target)
			return
		}
	}
	r.bareTree(g)
}

// bareLink puts a link to a bind's source where it would be in the home.
func (r *resolver) bareLink(m *sandbox.Mount) {
	b := &r.plan.Bare
	at := path.Join("home", m.Target[len(r.facts.Home):])
	if slices.ContainsFunc(b.Links, func(l sandbox.BareLink) bool { return within("/"+at, "/"+l.Path) }) {
		return // it is there by the link above it, or can't be
	}
	for _, dir := range between("/home", "/"+at) {
		if !slices.Contains(b.Dirs, dir[1:]) {
			b.Dirs = append(b.Dirs, dir[1:])
		}
	}
	b.Links = append(b.Links, sandbox.BareLink{Path: at, To: m.Source})
}

// bareFile is for files that sbx would have written. For those that say who the
// ids are the host's own do.
func (r *resolver) bareFile(m *sandbox.Mount) {
	if slices.Contains([]string{"/etc/passwd", "/etc/group", "/etc/hosts"}, m.Target) && m.From == "root.etc" {
		r.lose(m.From, "%s with no more than the sandbox's own: the host's is read", m.Target)
		r.allow(m.Target, landlock.ReadFile)
		return
	}
	r.lose(m.From, "%s: nothing can be put at a place of the host's", m.Target)
}

// barePseudo is for /dev and /proc, which are the host's.
func (r *resolver) barePseudo() {
	p := r.plan
	if p.Pseudo.Dev {
		for _, d := range p.Pseudo.Devices {
			r.allowPart("/dev/"+d, landlock.ReadFile|landlock.Write|landlock.IoctlDev)
		}
		r.lose("root.dev", "terminals that it opens, and /dev/shm with its shared memory and semaphores: there is no /dev of its own")
	}
	if p.Proc != sandbox.ProcNone {
		r.allow("/proc", landlock.Read)
		r.lose("root.proc", "a /proc of its own: the host's is read, with the names, arguments and owners of its processes, its tables of the network and what keys there are")
	}
}

// bareTree allows a grant, but for what would have been mounted in it.
func (r *resolver) bareTree(g grant) {
	g.access &= r.plan.Security.Landlock.Handled
	var except, named []string
	for i := range r.plan.Mounts {
		m := &r.plan.Mounts[i]
		if m.Target == g.target || !within(m.Target, g.target) || m.Kind == sandbox.Guard && !m.ReadOnly {
			continue
		}
		at := path.Join(g.path, m.Target[len(strings.TrimSuffix(g.target, "/")):])
		left := r.leaves(m, i, at)
		if !m.IsDir {
			left |= g.access &^ landlock.File
		}
		switch {
		case g.access&^left == 0:
		case g.access&(landlock.Write|landlock.Make) == 0:
			except = append(except, at)
		case m.Kind == sandbox.Guard && !r.ownState(m.Source):
			named = append(named, at)
		default:
			r.fail(&Error{Key: m.From, Msg: m.Target + " can't be kept from the command without namespaces, since " + g.target + " around it can be written",
				Hint: "move it out of there, or let the command only read what is around it"})
		}
	}
	if len(named) > 0 {
		r.lose(g.key, "what is read-only in %s can be written: %s", g.target, strings.Join(named, ", "))
	}
	if g.path == "/" {
		except = append(except, "/dev", "/proc", "/sys")
	}
	if len(except) > 0 {
		r.lose(g.key, "%s itself can't be listed, nor is seen what is made in it from now on, since something in it is hidden", g.target)
	}
	r.spread(g.path, g.access, except)
}

// leaves is what a mount in a tree, at a place of the host's, leaves of the
// rights that the tree gives there.
func (r *resolver) leaves(m *sandbox.Mount, n int, at string) landlock.Access {
	switch {
	case m.Kind == sandbox.Guard:
		return ^(landlock.Write | landlock.Make)
	case m.Kind == sandbox.Bind && m.Source == at:
		return r.mountAccess(m, n)
	}
	return 0
}

// ownState says that a path is one of sbx's own directories, by which a command
// could trust itself, or lies in one.
func (r *resolver) ownState(p string) bool {
	return slices.ContainsFunc(r.StateDirs, func(d string) bool { return within(p, d) })
}

// spread allows access at p but for the paths in except: where one lies in p,
// each name in p gets a rule of its own, and p none. A link needs no rule, what it
// leads to is judged by its own path.
func (r *resolver) spread(p string, access landlock.Access, except []string) {
	if slices.Contains(except, p) {
		return
	}
	if !slices.ContainsFunc(except, func(e string) bool { return within(e, p) }) {
		r.allow(p, access)
		return
	}
	names, err := r.facts.Files.Names(p)
	if err != nil {
		return // the command could not look either
	}
	for _, n := range names {
		child := path.Join(p, n)
		e, err := r.facts.Files.Lstat(child)
		switch {
		case err != nil || slices.Contains(except, child):
		case slices.ContainsFunc(except, func(x string) bool { return within(x, child) }):
			r.spread(child, access, except)
		case e.IsDir:
			r.allowPart(child, access)
		case e.Type() == unix.S_IFREG:
			r.allowPart(child, access&landlock.File)
		}
	}
}

// allowPart is allow for a part of a tree, which may be gone soon.
func (r *resolver) allowPart(p string, access landlock.Access) {
	l := &r.plan.Security.Landlock
	n := len(l.Rules)
	r.allow(p, access)
	if len(l.Rules) > n {
		l.Rules[n].Optional = true
	}
}
