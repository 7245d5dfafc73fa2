// Package resolve turns a profile and the facts of a host into a Plan. Every
// default and every downgrade is decided here, and each leaves a Note. It acts
// on nothing: what it needs to know of files it asks of Facts.
package resolve

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// Error is a profile that can't be had on this host, or a fault in it that
// only shows against the host's files.
type Error struct {
	Key  string // the profile's key at fault, "" for none
	Msg  string
	Hint string // what to do next
	Err  error  // the cause, if it is another error
}

func (e *Error) Error() string {
	s := e.Msg
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Input is what a Plan is made from.
type Input struct {
	Profile *profiles.Profile
	Facts   host.Facts
	// Argv replaces the profile's command when it is not empty.
	Argv []string
	// Env is added to the environment, NAME=value; from the command line.
	Env []string
	// Phase is the phase of the profile that Profile is.
	Phase string
	// Secrets are what the entries of Profile.Process.Secrets hold, in their order;
	// nil where they are not to be read, as for sbx explain.
	Secrets []string
	// SecretFiles are where those lay that were read from files, "" for others.
	SecretFiles []string
	// StateDirs are sbx's own directories (configuration, trust, homes): never
	// writable inside.
	StateDirs []string
	// Image is what Profile.Root.Source names, nil if that is no image.
	Image *Image
	// HomesDir is where persistent homes lie, one directory a sandbox name.
	HomesDir string
	// VolumesDir is where named volumes lie, Overlays where changes are kept.
	VolumesDir, Overlays string
	// OverlayName is the name under which this run's changes are kept. Overlay is
	// what is kept under it already, nil for nothing.
	OverlayName string
	Overlay     *upper.Record
	// OverlayAt is the directory of overlays that Overlay lies in.
	OverlayAt string
	// Joined is what the sandbox says whose network the profile names.
	Joined *sandbox.Join
	// Egress is how that network's rules are held: a state and a mechanism of a
	// sandbox.Feature.
	Egress, EgressBy string
	// Networks are the named networks that the profile names.
	Networks map[string]Named
	// NetDir is where records of networks are kept.
	NetDir string
	// RuntimeDirs are where the records and control sockets of sandboxes lie, or may
	// lie in another environment of the same person: no sandbox sees them.
	RuntimeDirs []string
	// PrivateDir is the directory, not there yet, of a sandbox without
	// namespaces: see sandbox.Bare.
	PrivateDir string
}

// Plan resolves in. All problems are reported at once, each an *Error.
func Plan(in Input) (*sandbox.Plan, error) {
	r := &resolver{Input: in, prof: in.Profile, facts: &in.Facts}
	r.StateDirs = r.realStateDirs()
	r.plan = &sandbox.Plan{
		Version: sandbox.PlanVersion,
		Name:    in.Profile.Name,
		Files:   in.Profile.Files,
		Phase:   in.Phase,
		Caller:  sandbox.Caller{UID: in.Facts.UID, GID: in.Facts.GID, User: in.Facts.User, Home: in.Facts.Home},
	}
	decisions := []func(){
		r.caller, r.ids, r.namespaces, r.root, r.network, r.home, r.workspace, r.mounts, r.hideAliases, r.imageTargets, r.runtime,
		r.cgroup, r.order, r.overlay, r.guards, r.grantable, r.guardCgroups, r.own, r.audit, r.stdio, r.passed, r.environment, r.command, r.health, r.workingDir,
		r.limits, r.affinity, r.security, r.landlock, r.seccomp, r.features,
	}
	if in.Facts.Refused.Why != "" {
		decisions = r.bare()
	}
	for _, decide := range decisions {
		decide()
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return r.plan, nil
}

// Shape is the part of the Plan that can be told from the profile and the
// standard descriptors alone; Plan comes to the same.
func Shape(p *profiles.Profile, stdio [3]host.Stdio) sandbox.Shape {
	s := sandbox.Shape{Namespaces: namespaces(p), Range: p.User.Map == "range" || p.User.Map == "explicit"}
	_, s.Joined = profiles.JoinedSandbox(p.Network.Mode)
	s.Served = p.Overlay.Backend == "fuse-overlayfs" && layered(p)
	for fd, d := range stdio {
		s.Terminal[fd] = p.Process.TTY == "always" || p.Process.TTY == "auto" && d.Terminal
		s.Pipe[fd] = !s.Terminal[fd] && d.Terminal
	}
	return s
}

type resolver struct {
	Input
	prof   *profiles.Profile
	facts  *host.Facts
	plan   *sandbox.Plan
	errs   []error
	links  map[string]string // symbolic links of the new root: path -> absolute target
	space  string            // the workspace's real path, "" for none
	linked map[string]bool   // what is hidden since a link leads to it, and need not be visible
	byLink map[string]string // what is hidden for no other reason: the link
	pin    map[string]bool   // what is hidden by the place it has, see keep
	// keysRefused says that the system call filter refuses all that reaches keys.
	keysRefused bool
	asRoot      bool   // the command is root inside
	asImage     bool   // it is the user that the image names
	ownCommand  bool   // it is the image's own
	kept        []kept // what of the workspace's repository stays as it is
	pointed     string // the repository that a .git file names and that is not shown for it, as it says
	ways        []way  // by which what is granted was found, where links are on them
	// sockets are the targets of binds that are sockets.
	sockets map[string]bool
}

// realStateDirs adds to sbx's own directories where links lead them: a linked
// ~/.config may lie in a tree that is granted.
func (r *resolver) realStateDirs() []string {
	dirs := slices.Clone(r.StateDirs)
	for _, d := range r.StateDirs {
		e, err := r.facts.Files.Resolve(d, "")
		if err != nil { // not there yet: what is above it may be
			if e, err = r.facts.Files.Resolve(path.Dir(d), ""); err == nil {
				e.Path = path.Join(e.Path, path.Base(d))
			}
		}
		if err == nil && !slices.Contains(dirs, e.Path) {
			dirs = append(dirs, e.Path)
		}
	}
	return dirs
}

func (r *resolver) fail(e *Error) { r.errs = append(r.errs, e) }

func (r *resolver) note(level, feature, from, format string, args ...any) {
	r.plan.Notes = append(r.plan.Notes, sandbox.Note{Level: level, Feature: feature, From: from, Text: fmt.Sprintf(format, args...)})
}

// caller judges who may run this profile at all.
func (r *resolver) caller() {
	if r.facts.UID == 0 {
		if !r.prof.Security.AllowRoot {
			r.fail(&Error{Key: "security.allow_root", Msg: "this profile refuses to be run by root", Hint: "run it as an ordinary user"})
			return
		}
		lost := ""
		if r.prof.Limits.Processes > 0 {
			lost = ", and the kernel does not hold root to limits.processes"
		}
		r.note("warning", "", "", "run by root: files that root may read are readable inside%s; an ordinary user is safer", lost)
	}
	if r.facts.Cwd == "" {
		r.fail(&Error{Msg: "the current directory no longer exists", Hint: "change to a directory that does"})
	}
	for fd, s := range r.facts.Stdio {
		switch {
		case s.Directory:
			r.fail(&Error{Msg: fmt.Sprintf("descriptor %d is a directory, which would let the command out of the sandbox", fd), Hint: "redirect it to a file or to /dev/null"})
		case s.Path:
			r.fail(&Error{Msg: fmt.Sprintf("descriptor %d was opened with O_PATH, by which the command could open what it names anew", fd), Hint: "redirect it to a file or to /dev/null"})
		}
	}
}

// stdio decides which standard streams the sandbox's own terminal replaces.
func (r *resolver) stdio() {
	p, s := &r.plan.Process, Shape(r.prof, r.facts.Stdio)
	p.Terminal, p.Pipe = s.Terminal, s.Pipe
	if p.Terminal != [3]bool{} && !r.plan.Pseudo.Dev {
		r.fail(&Error{Key: "process.tty", Msg: "a terminal needs /dev", Hint: `set root.dev = "minimal" or process.tty = "never"`})
	}
}
