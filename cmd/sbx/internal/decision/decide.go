// Package decision says which sandboxes a run is of, and decides each: it looks, and
// starts nothing.
package decision

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/images"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/nets"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/host/doctor"
	"github.com/sbx-sandbox/sbx/sandbox/networks"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// Placeholder stands for the command where none is given.
const Placeholder = "(the command)"

// ForeseeStep decides what a step would be.
func (inv *Run) ForeseeStep(s Step, o *options.Options) (*sandbox.Plan, error) {
	prof, o, err := inv.Prepare(s, o)
	if err != nil {
		return nil, err
	}
	if len(s.Argv) == 0 && len(prof.Process.Command) == 0 && !images.Runs(inv.Invocation, prof) {
		s.Argv = []string{Placeholder}
	}
	return inv.Foresee(prof, s.Argv, o)
}

// Foresee decides what run would do, which depends on whether the host refuses
// namespaces. Where run would end with that, the plan is the one for a host that
// does not.
func (inv *Run) Foresee(prof *profiles.Profile, argv []string, o *options.Options) (*sandbox.Plan, error) {
	if err := inv.Join(prof, nil); err != nil {
		return nil, err
	}
	defer inv.Joined.Close()
	var refused *run.RefusedError
	if err := run.Try(sandbox.Shape{Namespaces: resolve.Shape(prof, host.Streams()).Namespaces}); err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	plan, err := inv.Decide(prof, argv, o, refused)
	if err == nil || refused == nil || prof.Security.Fallback != "none" {
		return plan, err
	}
	why := err.Error()
	if plan, err = inv.Decide(prof, argv, o, nil); err == nil {
		plan.Notes = append([]sandbox.Note{{Level: "warning", Feature: "user", From: "security.fallback", Text: "run would refuse: " + why}}, plan.Notes...)
	}
	return plan, err
}

// memberships adds what a profile in named networks is decided from.
func memberships(inv *cli.Invocation, in *resolve.Input) {
	names, ok := profiles.Networks(in.Profile.Network.Mode)
	if !ok {
		return
	}
	inv.Seen.Spoil("the profile is in a named network")
	in.Networks = map[string]resolve.Named{}
	store, err := nets.Store(inv)
	for _, name := range names {
		n := resolve.Named{Err: err}
		if err == nil {
			var r networks.Record
			r, n.Err = store.Load(name)
			n.IPv4, n.IPv6, n.Internal, n.Isolated = r.IPv4, r.IPv6, r.Internal, r.Isolated
		}
		in.Networks[name] = n
	}
}

// layered adds what a profile with overlays or volumes is decided from. data is
// sbx's own data directory, "" where there is none. Nothing is made under a name
// that only explains. shared is the name that an earlier phase took, "" for none.
func layered(in *resolve.Input, data, shared string, explains bool) error {
	p := in.Profile
	volumes := slices.ContainsFunc(p.Mounts, func(m profiles.Mount) bool { return m.Type == "volume" })
	layers := resolve.KeepsRoot(p) || p.HomeLayers() || p.Workspace.Access == "overlay" || slices.ContainsFunc(p.Mounts, func(m profiles.Mount) bool { return m.Type == "overlay" })
	if !volumes && !layers || data == "" {
		return nil
	}
	in.Facts.Seen.Spoil("the profile has layers or volumes")
	in.VolumesDir, in.Overlays = overlays.VolumesIn(data), overlays.In(data)
	if p.Overlay.Path != "" {
		in.StateDirs = append(in.StateDirs, p.Overlay.Path)
	}
	if in.OverlayName = p.Overlay.Name; in.OverlayName == "" {
		in.OverlayName = shared
	}
	if in.OverlayName == "" {
		if in.OverlayName = upper.NewName(p.Name); explains {
			in.OverlayName = p.Name + "-XXXX"
		}
		return nil
	}
	store := upper.Store{Root: in.Overlays}
	rec, err := store.Load(in.OverlayName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if in.Overlay = rec; rec != nil {
		in.OverlayAt = filepath.Dir(store.Dir(in.OverlayName))
		if in.OverlayAt != in.Overlays {
			in.StateDirs = append(in.StateDirs, in.OverlayAt)
		}
	}
	return nil
}

// Override puts the flags on the profile.
func (inv *Run) Override(prof *profiles.Profile, o *options.Options) (*profiles.Profile, error) {
	if o.EnvFile {
		inv.Seen.Spoil("variables came from a file")
	}
	prof, err := prof.With(o.Overrides(prof, inv.Seen))
	if err == nil && overlays.RangeAgain(inv.Invocation, prof) {
		prof, err = prof.With([]profiles.Override{{Key: "user.map", Value: "range", Flag: "the overlay " + prof.Overlay.Name}})
	}
	if err == nil {
		inv.Profile = prof
	}
	return prof, err
}

// Decide resolves a profile against this host, which may have refused a sandbox
// its namespaces.
func (inv *Run) Decide(prof *profiles.Profile, argv []string, o *options.Options, refused *run.RefusedError) (*sandbox.Plan, error) {
	inv.Given = inv.Step.Given
	facts, err := host.ProbeSeen(prof.User.Map == "range" || prof.User.Map == "explicit", inv.Seen)
	if err != nil {
		return nil, err
	}
	if resolve.WantsCgroup(prof, facts.UID) {
		facts.FindCgroup()
		if c := &facts.Cgroup; c.Systemd.Err == nil && inv.Foreseen != nil {
			inv.Foreseen(c.Scope, c.Own, c.Systemd.Group)
		}
	}
	config, kept, data := inv.XDG("XDG_CONFIG_HOME", ".config"), inv.XDG("XDG_STATE_HOME", ".local/state"), inv.XDG("XDG_DATA_HOME", ".local/share")
	if prof.Network.Own() {
		facts.FindNetwork(prof.Network.Backend)
	}
	if inv.Step.Last {
		facts.Passed = inv.Sockets
	}
	if p := &inv.Sockets; len(p.Names) > 0 || p.Others || p.Err != nil {
		inv.Seen.Spoil("descriptors were passed")
	}
	if prof.Process.ListenFDs && facts.Passed.Others && inv.Back != nil {
		return nil, &resolve.Error{Key: "process.listen_fds", Msg: "what was passed to sbx does not reach a sandbox in the background", Hint: "leave out --detach: systemd keeps it running"}
	}
	in := resolve.Input{Profile: prof, Facts: facts, Argv: argv, Env: o.Env, Phase: inv.Step.Phase}
	explains := o.Explain || inv.Verb != nil && inv.Verb.Name == "explain"
	if !explains {
		if len(prof.Process.Secrets) > 0 {
			inv.Seen.Spoil("the profile hands out secrets")
		}
		if in.Secrets, in.SecretFiles, err = secrets(prof, facts.Environ); err != nil {
			return nil, err
		}
	}
	in.StateDirs = slices.DeleteFunc([]string{config, kept, data}, func(dir string) bool { return dir == "" })
	if data != "" { // what another profile's overlay.path put into what this one may write
		in.StateDirs = append(in.StateDirs, upper.Store{Root: overlays.In(data)}.Elsewhere(inv.Seen)...)
	}
	if data == "" && prof.Home.Mode == "persistent" {
		return nil, &resolve.Error{Key: "home.mode", Msg: "there is no home directory to keep the sandbox's in", Hint: "set HOME or XDG_DATA_HOME"}
	}
	in.RuntimeDirs = state.Bases()
	inv.Joined.tell(&in)
	memberships(inv.Invocation, &in)
	in.HomesDir, in.NetDir = filepath.Join(data, "homes"), filepath.Join(kept, "net")
	if err := layered(&in, data, inv.Shared, explains); err != nil {
		return nil, err
	}
	if !inv.Step.Only {
		inv.Shared = in.OverlayName
	}
	if in.Image, err = images.Root(inv.Invocation, prof); err != nil {
		return nil, err
	}
	if refused != nil {
		inv.Seen.Spoil("the host refused namespaces")
		in.Facts.Refused = doctor.Refused(refused.Errno, refused.Step)
		in.PrivateDir = host.PrivateDir(run.PrivatePrefix)
	}
	inv.again = func() (*sandbox.Plan, error) {
		in.Facts.Files, in.Facts.Seen = host.OS{}, nil
		if err := layered(&in, data, in.OverlayName, explains); err != nil { // what the last run has made is gone on with
			return nil, err
		}
		return resolve.Plan(in)
	}
	return resolve.Plan(in)
}

// Again decides anew, for a command that is started again, what depends on the host's
// files: the command could change those, and what is hidden or kept by its name may lie
// elsewhere now. All else is as it was decided for the last run.
func (inv *Run) Again(last *sandbox.Plan) (*sandbox.Plan, error) {
	if inv.again == nil { // its start was kept, as that of none in the background is
		return nil, errors.New("BUG: it was decided by another process and can't be decided again")
	}
	plan, err := inv.again()
	if err != nil {
		return nil, err
	}
	plan.Process, plan.Overlay, plan.Join, plan.Notes = last.Process, last.Overlay, last.Join, last.Notes
	return plan, nil
}
