package decision

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// joined is a sandbox whose network another is to be in: it is so as long as the
// connection to its supervisor is there.
type joined struct {
	name   string
	conn   *control.Conn
	shared control.Shared
	net    int
	user   int
	vital  bool // this one ends with it
	warn   func(format string, args ...any)
}

// Join asks for the network of the sandbox that a profile names, if it names one.
func (inv *Run) Join(prof *profiles.Profile, refused *run.RefusedError) error {
	name, ok := profiles.JoinedSandbox(prof.Network.Mode)
	if !ok || refused != nil {
		return nil
	}
	inv.Seen.Spoil("the profile joins a network")
	j, err := joinNamed(inv.Invocation, name)
	if err != nil {
		return &resolve.Error{Key: "network.mode", Msg: "the network of the sandbox " + name + " can't be had", Err: err}
	}
	for _, f := range prof.Policy.Require {
		j.vital = j.vital || f == "network" || f == "egress_policy" || f == "all"
	}
	inv.Joined = j
	return nil
}

func joinNamed(inv *cli.Invocation, name string) (*joined, error) {
	store, err := state.OpenExisting()
	if err != nil {
		return nil, err
	}
	r, err := store.Find(name)
	if err != nil {
		return nil, err
	}
	j := &joined{name: r.Name, net: -1, user: -1, warn: inv.Late}
	if j.conn, err = sandboxes.Dial(&r); err != nil {
		return nil, err
	}
	if err := j.ask(); err != nil {
		j.Close()
		return nil, sandboxes.Closing(&r, err)
	}
	return j, nil
}

func (j *joined) ask() error {
	if err := j.conn.Ask(control.Request{Op: control.Network}); err != nil {
		return err
	}
	reply, fds, err := j.conn.Answer()
	if err != nil {
		return err
	}
	if len(fds) != 1 || reply.Shared == nil {
		control.CloseAll(fds)
		return errors.New("its supervisor gave no network; it is that of another version of sbx")
	}
	j.net, j.shared = fds[0], *reply.Shared
	j.user, err = run.OwnerOf(j.net)
	return err
}

// Close ends the lease of the network. A nil one is none.
func (j *joined) Close() {
	if j == nil {
		return
	}
	for _, fd := range []*int{&j.net, &j.user} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	j.conn.Close()
}

// tell puts what is known of the network into what a plan is made of.
func (j *joined) tell(in *resolve.Input) {
	if j == nil {
		return
	}
	s := &j.shared
	in.Joined = &sandbox.Join{Name: j.name, UID: s.UID, GID: s.GID, MaxUserNS: s.MaxUserNS, Resolv: s.Resolv, Hosts: s.Hosts}
	in.Egress, in.EgressBy = s.Egress, s.By
}

// Joint is the network for who enters it, nil for none.
func (j *joined) Joint() *run.Joint {
	if j == nil {
		return nil
	}
	return &run.Joint{User: j.user, Net: j.net, Lease: j.conn.FD(), Built: j.built, Gone: j.gone}
}

// built tells the other supervisor that nothing more is made in its user namespace.
func (j *joined) built() {
	_ = j.conn.Ask(control.Request{Op: control.Joined}) // its end is noticed by the lease
}

// gone is for when the other sandbox has ended.
func (j *joined) gone() error {
	if j.conn.FD() < 0 {
		return nil
	}
	j.conn.Close()
	if j.vital {
		return fmt.Errorf("the network is gone: the sandbox %s, whose it was, has ended", j.name)
	}
	j.warn("the network is gone, and the command goes on without one: the sandbox %s, whose it was, has ended", j.name)
	return nil
}

// BeginAgain begins another run of a sandbox that has ended.
func (inv *Run) BeginAgain(plan *sandbox.Plan) (*run.Start, error) {
	if inv.Joined == nil {
		return run.Begin(plan.Shape())
	}
	vital := inv.Joined.vital
	inv.Joined.Close()
	j, err := joinNamed(inv.Invocation, plan.Join.Name)
	if err != nil {
		return nil, fmt.Errorf("the network of the sandbox %s can't be had: %w", plan.Join.Name, err)
	}
	j.vital = vital
	*inv.Joined = *j
	plan.Join.UID, plan.Join.GID, plan.Join.MaxUserNS = j.shared.UID, j.shared.GID, j.shared.MaxUserNS
	return run.BeginIn(plan.Shape(), inv.Joined.Joint())
}
