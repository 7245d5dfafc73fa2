package sandbox

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/userns"
)

// Validate reports everything that makes p no Plan: what program.Compile and
// the kernel rely on. It judges form only and knows nothing of the host.
// A Plan of resolve.Plan always passes.
func (p Plan) Validate() error {
	var errs []error
	for _, check := range [...]func(*Plan) error{
		checkVersion, checkIDs, checkNames, checkTree, checkMounts, checkPlaces, checkOverlay,
		checkPseudo, checkLimits, checkCgroup, checkCommand, checkEnv, checkStreams, checkSecurity, checkAudit, checkBare,
	} {
		if err := check(&p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func checkVersion(p *Plan) error {
	if p.Version != PlanVersion {
		return fmt.Errorf("version %d of a plan, this sbx knows %d", p.Version, PlanVersion)
	}
	return nil
}

func checkIDs(p *Plan) error {
	ids := &p.IDs
	var errs []error
	switch {
	case ids.Mode == "range":
		errs = append(errs, checkPath("newuidmap", ids.NewUIDMap), checkPath("newgidmap", ids.NewGIDMap))
	case ids.Mode != "single":
		errs = append(errs, fmt.Errorf("ids of mode %q", ids.Mode))
	case len(ids.OuterUIDs) > 1, len(ids.OuterGIDs) > 1:
		errs = append(errs, errors.New("ids of mode single with more than one line"))
	}
	errs = append(errs,
		checkNested("uid", ids.OuterUIDs, ids.InnerUIDs, ids.UID),
		checkNested("gid", ids.OuterGIDs, ids.InnerGIDs, ids.GID))
	return errors.Join(errs...)
}

// checkNested checks an outer and an inner map. A line of the inner one must
// lie within one line of the outer one (user_namespaces(7)).
func checkNested(what string, outer, inner userns.Map, own uint32) error {
	if err := errors.Join(outer.Validate(), inner.Validate()); err != nil {
		return fmt.Errorf("%s map: %w", what, err)
	}
	if _, ok := inner.Outside(own); !ok {
		return fmt.Errorf("the inner %s map leaves out the command's id %d", what, own)
	}
	for _, e := range inner {
		if !contains(outer, e) {
			return fmt.Errorf("the inner %s map's line %s lies in no line of the outer map", what, e)
		}
	}
	return nil
}

func contains(outer userns.Map, e userns.Extent) bool {
	for _, o := range outer {
		if e.Outside >= o.Inside && uint64(e.Outside)+uint64(e.Count) <= uint64(o.Inside)+uint64(o.Count) {
			return true
		}
	}
	return false
}

func checkNames(p *Plan) error {
	var errs []error
	if p.Namespaces.UTS { // else it is the host's, which may be anything
		if n := len(p.Hostname); n < 1 || n > 64 || strings.ContainsFunc(p.Hostname, notOfHostname) {
			errs = append(errs, fmt.Errorf("the host name %q is not 1 to 64 letters, digits, hyphens and dots", p.Hostname))
		}
	}
	shared := p.Network == NetHost || p.Network == NetSandbox
	if p.Network != NetNone && p.Network != NetUser && !shared || !p.Bare.On() && p.Namespaces.Net != !shared {
		errs = append(errs, fmt.Errorf("network %q with an own network namespace: %t", p.Network, p.Namespaces.Net))
	}
	return errors.Join(append(errs, checkNet(p), checkJoin(p))...)
}

func checkJoin(p *Plan) error {
	switch {
	case (p.Network == NetSandbox) != (p.Join.Name != ""):
		return fmt.Errorf("network %q and the network of the sandbox %q", p.Network, p.Join.Name)
	case p.Network != NetSandbox:
	case p.Bare.On():
		return errors.New("a sandbox without namespaces that shares another's network")
	case p.IDs.Mode != "single":
		return errors.New("a sandbox with several ids that shares another's network")
	}
	return nil
}

func checkNet(p *Plan) error {
	n := &p.Net
	if p.Network != NetUser {
		if n.Backend != "" {
			return fmt.Errorf("network %q with the backend %s", p.Network, n.Backend)
		}
		return nil
	}
	errs := []error{checkPath("program of the network", n.Helper)}
	if n.Backend != BackendEngine && n.Backend != BackendPasta && n.Backend != BackendSlirp4netns {
		errs = append(errs, fmt.Errorf("the network's backend %q", n.Backend))
	}
	if len(n.Networks) != len(n.Config.Networks) || len(n.Networks) > 0 && n.Backend != BackendEngine {
		errs = append(errs, fmt.Errorf("%d named networks, of which %s knows %d", len(n.Networks), n.Backend, len(n.Config.Networks)))
	}
	if n.Forwarder != "" {
		errs = append(errs, checkPath("program that publishes", n.Forwarder))
	}
	if n.Names != "" {
		errs = append(errs, checkPath("program that answers for names", n.Names))
	}
	if err := n.Config.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("the network: %w", err))
	}
	return errors.Join(errs...)
}

// notOfHostname lets the underscore pass, which profiles' names may hold and
// the kernel does not mind.
func notOfHostname(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
}

func checkTree(p *Plan) error {
	var errs []error
	if !p.Root.InPlace && p.Root.Upper == "" && (p.Root.Size <= 0 || p.Root.Inodes <= 0) {
		errs = append(errs, fmt.Errorf("the root has %d bytes and %d inodes", p.Root.Size, p.Root.Inodes))
	}
	errs = append(errs, checkImage(&p.Root))
	for _, d := range p.Create {
		errs = append(errs, checkPath("directory to make", d))
	}
	if p.Proc != ProcNew && p.Proc != ProcPid && p.Proc != ProcNone {
		errs = append(errs, fmt.Errorf("/proc of mode %q", p.Proc))
	}
	return errors.Join(errs...)
}

// checkPath wants an absolute path that names each place in one way only.
func checkPath(what, p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("%s %q is not an absolute, clean path", what, p)
	}
	return nil
}

// checkMounts judges each mount by itself.
func checkMounts(p *Plan) error {
	var errs []error
	for i := range p.Mounts {
		m := &p.Mounts[i]
		err := checkPath("target", m.Target)
		if err == nil && m.Target == "/" {
			err = errors.New("it would cover the root")
		}
		if err := errors.Join(err, checkMount(m)); err != nil {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.Target, err))
		}
	}
	return errors.Join(errs...)
}

func checkMount(m *Mount) error {
	var errs []error
	switch m.Kind {
	case Bind, Guard:
		errs = append(errs, checkPath("source", m.Source))
	case Tmpfs:
		if m.Size <= 0 || m.Inodes <= 0 {
			errs = append(errs, fmt.Errorf("a tmpfs of %d bytes and %d inodes", m.Size, m.Inodes))
		}
	case Symlink:
		if m.Source == "" || strings.IndexByte(m.Source, 0) >= 0 {
			errs = append(errs, fmt.Errorf("a link to %q", m.Source))
		}
	case Layers:
		errs = append(errs, checkLayers(m))
	case File, Mask, Dir:
	case Cgroups:
		if m.Target != CgroupDir || !m.IsDir {
			errs = append(errs, fmt.Errorf("control groups, which are the directory %s", CgroupDir))
		}
	default:
		errs = append(errs, fmt.Errorf("kind %q", m.Kind))
	}
	if m.Kind != Layers && (len(m.Lower) > 0 || m.Upper != "" || m.Work != "") {
		errs = append(errs, fmt.Errorf("a %s with layers", m.Kind))
	}
	if m.Content != "" && m.Kind != File {
		errs = append(errs, fmt.Errorf("a %s with content", m.Kind))
	}
	return errors.Join(errs...)
}

// checkLayers judges what lies on top of one another. Names of directories go
// into a mount option, which has characters of its own (program's overlay).
func checkLayers(m *Mount) error {
	errs := []error{checkPath("source", m.Source)}
	for _, l := range m.Lower {
		errs = append(errs, checkPath("layer", l))
	}
	if len(m.Lower) >= MaxLayers {
		errs = append(errs, fmt.Errorf("%d layers, more than %d", len(m.Lower)+1, MaxLayers))
	}
	errs = append(errs, checkUpper(m.Upper, m.Work, m.Size))
	switch {
	case m.Upper == "" && m.Size == 0 && len(m.Lower) == 0:
		errs = append(errs, errors.New("one layer that can't be written, which is a bind"))
	case !m.IsDir:
		errs = append(errs, errors.New("layers that are no directory"))
	}
	return errors.Join(errs...)
}

// checkUpper judges the two directories that take what is written to layers.
func checkUpper(upper, work string, size int64) error {
	var errs []error
	for _, name := range []string{upper, work} {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			errs = append(errs, fmt.Errorf("layer %q", name))
		}
	}
	switch {
	case (upper == "") != (work == "") || upper != "" && upper == work:
		errs = append(errs, fmt.Errorf("an upper layer %q with the work directory %q", upper, work))
	case size < 0:
		errs = append(errs, fmt.Errorf("an upper layer of %d bytes", size))
	}
	return errors.Join(errs...)
}

// MaxLayers is how many layers one mount may have.
const MaxLayers = 64

func checkOverlay(p *Plan) error {
	o, errs := &p.Overlay, []error(nil)
	upper, layers := map[string]bool{}, false
	for i := range p.Mounts {
		m := &p.Mounts[i]
		if layers = layers || m.Kind == Layers; m.Upper == "" {
			continue
		}
		if upper[m.Upper] || upper[m.Work] {
			errs = append(errs, fmt.Errorf("mount %s: its upper layer is another's too", m.Target))
		}
		upper[m.Upper], upper[m.Work] = true, true
	}
	if rt := &p.Root; rt.Upper != "" {
		layers = true
		errs = append(errs, checkUpper(rt.Upper, rt.Work, rt.Size))
		if upper[rt.Upper] || upper[rt.Work] {
			errs = append(errs, errors.New("the root's upper layer is another's too"))
		}
		if upper[rt.Upper] = true; !rt.OnImage() || o.Driver != "kernel" {
			errs = append(errs, fmt.Errorf("an upper layer of a root by the driver %q, on no image or by another than the kernel", o.Driver))
		}
	}
	if len(upper) > 0 {
		errs = append(errs, checkName("overlay", o.Name), checkPath("directory of overlays", o.Store))
		if o.Index != "" {
			errs = append(errs, checkPath("index of overlays", o.Index))
		}
		switch o.OnExit {
		case Keep, Discard, Ask, Apply:
		default:
			errs = append(errs, fmt.Errorf("an overlay of which becomes %q", o.OnExit))
		}
	} else if o.Name != "" {
		errs = append(errs, fmt.Errorf("an overlay %q that nothing is written to", o.Name))
	}
	switch {
	case !layers && o.Driver == "":
	case o.Driver == "kernel" && o.Program == "":
	case o.Driver == "fuse-overlayfs":
		errs = append(errs, checkPath("program", o.Program))
		for i := range p.Mounts {
			if m := &p.Mounts[i]; m.Kind == Layers && m.Upper == "" {
				errs = append(errs, fmt.Errorf("mount %s: fuse-overlayfs without a place on disk", m.Target))
			}
		}
	default:
		errs = append(errs, fmt.Errorf("layers by the driver %q", o.Driver))
	}
	return errors.Join(errs...)
}

// place is what the mounts so far did to a path.
type place struct {
	m     *Mount // what is mounted there
	above bool   // something is mounted below
}

// checkPlaces judges the mounts beside each other: none hides what an earlier
// one placed, and none is led elsewhere by a link. Guards and files may come
// on top of something.
func checkPlaces(p *Plan) error {
	places := make(map[string]place, 2*len(p.Mounts))
	var errs []error
	for i := range p.Mounts {
		m := &p.Mounts[i]
		at := places[m.Target]
		switch {
		case m.Kind == Guard:
		case at.above:
			errs = append(errs, fmt.Errorf("mount %s: it comes after what lies below it", m.Target))
		case at.m != nil && m.Kind != File:
			errs = append(errs, fmt.Errorf("mount %s: a second mount of this target", m.Target))
		}
		if err := checkAbove(places, m); err != nil {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.Target, err))
		}
		if m.Kind != Guard || at.m == nil {
			at.m = m
		}
		places[m.Target] = at
	}
	return errors.Join(errs...)
}

// checkAbove judges what m lies on, and marks it.
func checkAbove(places map[string]place, m *Mount) (err error) {
	sealed := false
	for end := strings.LastIndexByte(m.Target, '/'); end > 0; end = strings.LastIndexByte(m.Target[:end], '/') {
		at := places[m.Target[:end]]
		if at.m != nil && at.m.Kind == Symlink {
			err = fmt.Errorf("it lies below the link %s", at.m.Target)
		}
		sealed = sealed || at.m != nil && at.m.Kind == Tmpfs && at.m.ReadOnly
		if !at.above {
			at.above = true
			places[m.Target[:end]] = at
		}
	}
	if m.Sealed && !sealed {
		err = errors.Join(err, errors.New("sealed, but below no read-only tmpfs"))
	}
	return err
}

func checkPseudo(p *Plan) error {
	var errs []error
	for _, d := range p.Pseudo.Devices {
		errs = append(errs, checkName("device", d))
	}
	if p.Pseudo.Shm < 0 {
		errs = append(errs, fmt.Errorf("/dev/shm of %d bytes", p.Pseudo.Shm))
	}
	for _, list := range [][]string{p.Pseudo.ProcMasked, p.Pseudo.ProcReadOnly} {
		for _, f := range list {
			if err := checkPath("file", "/"+f); err != nil || f == "" {
				errs = append(errs, fmt.Errorf("the file %q of /proc", f))
			}
		}
	}
	return errors.Join(errs...)
}

// checkName wants one name of a directory.
func checkName(what, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%s %q is not a name", what, name)
	}
	return nil
}

func checkCgroup(p *Plan) error {
	var errs []error
	if p.Process.CPUs != "" {
		_, err := p.Process.CPUs.List()
		errs = append(errs, err)
	}
	g := &p.Cgroup
	shown := slices.ContainsFunc(p.Mounts, func(m Mount) bool { return m.Kind == Cgroups })
	if shown != g.Delegate || g.Delegate && !(g.On() && p.Namespaces.Cgroup) || len(g.Controllers) > 0 && !g.Delegate {
		errs = append(errs, fmt.Errorf("control groups of the command's own: %t, shown: %t, in one of the sandbox's: %t, and a namespace: %t",
			g.Delegate, shown, g.On(), p.Namespaces.Cgroup))
	}
	for _, c := range g.Controllers {
		errs = append(errs, checkName("controller", c))
	}
	switch {
	case g.By == CgroupSystemd:
		errs = append(errs, checkPath("socket of systemd", g.Socket), checkPath("helper for systemd", g.Helper))
	case !g.On():
		return errors.Join(errs...)
	case g.By != CgroupSubtree:
		errs = append(errs, fmt.Errorf("a control group by %q", g.By))
	}
	errs = append(errs, checkPath("root of control groups", g.Root), checkPath("control group", g.Parent), g.Limits.Validate())
	return errors.Join(errs...)
}

func checkLimits(p *Plan) error {
	var errs []error
	for _, l := range p.Limits {
		if l.Soft > l.Hard {
			errs = append(errs, fmt.Errorf("limit %s: soft %d is above hard %d", l.Name, l.Soft, l.Hard))
		}
		if l.Resource < 0 || l.Resource > 15 { // RLIM_NLIMITS
			errs = append(errs, fmt.Errorf("limit %s: resource %d", l.Name, l.Resource))
		}
	}
	for _, u := range p.UCounts {
		errs = append(errs, checkName("user limit", u.Name))
		if u.Value < 0 {
			errs = append(errs, fmt.Errorf("user limit %s: %d", u.Name, u.Value))
		}
	}
	return errors.Join(errs...)
}

func checkCommand(p *Plan) error {
	pr := &p.Process
	var errs []error
	if len(pr.Argv) == 0 || pr.Argv[0] == "" {
		errs = append(errs, errors.New("there is no command"))
	}
	for i, a := range pr.Argv {
		if strings.IndexByte(a, 0) >= 0 {
			errs = append(errs, fmt.Errorf("argument %d %q holds a NUL byte", i, a))
		}
	}
	for _, d := range pr.Lookup {
		if !path.IsAbs(d) || strings.IndexByte(d, 0) >= 0 {
			errs = append(errs, fmt.Errorf("the command would be looked up in %q", d))
		}
	}
	return errors.Join(append(errs, checkPath("working directory", pr.Dir))...)
}

func checkEnv(p *Plan) error {
	var errs []error
	seen := make(map[string]bool, len(p.Process.Env))
	for _, kv := range p.Process.Env {
		name, _, ok := strings.Cut(kv, "=")
		switch {
		case !ok || name == "" || strings.IndexByte(kv, 0) >= 0:
			errs = append(errs, fmt.Errorf("the variable %q is not NAME=value", kv))
		case seen[name]:
			errs = append(errs, fmt.Errorf("the variable %s is there twice", name))
		}
		seen[name] = true
	}
	return errors.Join(errs...)
}

func checkStreams(p *Plan) error {
	var errs []error
	for fd := range 3 {
		if p.Process.Terminal[fd] && p.Process.Pipe[fd] {
			errs = append(errs, fmt.Errorf("descriptor %d is a terminal and a pipe", fd))
		}
	}
	if p.Process.Terminal != [3]bool{} && !p.Pseudo.Dev {
		errs = append(errs, errors.New("a terminal without /dev"))
	}
	return errors.Join(errs...)
}

func checkSecurity(p *Plan) error {
	var errs []error
	for _, c := range p.Security.Keep {
		if c < 0 || c > LastCapability {
			errs = append(errs, fmt.Errorf("capability %d", int(c)))
		}
	}
	return errors.Join(append(errs, checkSeccomp(&p.Security.Seccomp), checkLandlock(&p.Security.Landlock))...)
}

func checkSeccomp(s *Seccomp) error {
	const most = 4096 // BPF_MAXINSNS
	var errs []error
	for _, code := range [][]byte{s.Code, s.First} {
		if len(code)%8 != 0 || len(code) > 8*most {
			errs = append(errs, fmt.Errorf("a system call filter of %d bytes", len(code)))
		}
	}
	switch {
	case s.Policy == "":
		errs = append(errs, errors.New("no policy of system calls"))
	case len(s.Code) == 0 && (path.IsAbs(s.Policy) || s.Multiarch && s.Policy != Unconfined || len(s.Allow)+len(s.Deny) > 0):
		errs = append(errs, fmt.Errorf("the system call policy %s, changed, without the filter", s.Policy))
	case s.Trace && !s.Filtered():
		errs = append(errs, errors.New("refused system calls are traced, and there is no filter"))
	case len(s.Code) == 0 && len(s.First) > 0:
		errs = append(errs, errors.New("a system call filter for PID 1 and none for the command"))
	}
	return errors.Join(errs...)
}

func checkAudit(p *Plan) error {
	var errs []error
	switch a := &p.Audit; a.Mode {
	case AuditOff, AuditReport, AuditFail:
		for _, t := range a.Trees {
			errs = append(errs, checkPath("tree to audit", t.Source))
		}
	default:
		errs = append(errs, fmt.Errorf("an audit of mode %q", a.Mode))
	}
	return errors.Join(errs...)
}

// checkBare judges a sandbox without namespaces: all that stands between it and
// the host has to be there.
func checkBare(p *Plan) error {
	b := &p.Bare
	if !b.On() {
		return nil
	}
	errs := []error{checkPath("private directory", b.Private)}
	if p.Namespaces != (Namespaces{}) || p.IDs.Mode != "single" || len(p.Mounts) > 0 || len(p.UCounts) > 0 || len(p.Security.Keep) > 0 {
		errs = append(errs, errors.New("a sandbox without namespaces with what takes them"))
	}
	if l := &p.Security.Landlock; l.Handled == 0 || !l.Scoped || p.Network == NetNone && l.Net == 0 {
		errs = append(errs, errors.New("a sandbox with neither namespaces nor all of Landlock"))
	}
	if len(b.Filter) == 0 || len(b.Filter)%8 != 0 {
		errs = append(errs, fmt.Errorf("a sandbox without namespaces with a filter of %d bytes in their place", len(b.Filter)))
	}
	for _, d := range b.Dirs {
		errs = append(errs, checkPath("directory in the private one", "/"+d))
	}
	for _, l := range b.Links {
		errs = append(errs, checkPath("link in the private directory", "/"+l.Path), checkPath("what a link leads to", l.To))
	}
	return errors.Join(errs...)
}

func checkLandlock(l *Landlock) error {
	var errs []error
	for _, r := range l.Rules {
		switch {
		case r.Path != "":
			errs = append(errs, checkPath("place of a Landlock rule", r.Path))
		case r.FD < 0 || r.FD > 2:
			errs = append(errs, fmt.Errorf("a Landlock rule for descriptor %d", r.FD))
		}
		if r.Allow == 0 || r.Allow&^l.Handled != 0 {
			errs = append(errs, fmt.Errorf("a Landlock rule that allows %q of %q", r.Allow, l.Handled))
		}
	}
	return errors.Join(errs...)
}
