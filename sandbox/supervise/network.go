package supervise

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

// plenty is more user namespaces than those who join at the same time make.
const plenty = 1024

// network gives out the network namespace. Who joins makes its user namespaces in
// the sandbox's own, which otherwise has room for the command's alone.
func (c *conn) network() error {
	s := c.s
	plan := s.box.Plan()
	shared, err := sharedNetwork(plan)
	if err != nil {
		return err
	}
	if c.joining || c.netNS >= 0 {
		return errors.New("this connection has the network already")
	}
	c.joining = true
	err = s.box.NetNS(func(fd int, err error) {
		defer s.next()
		if err == nil && !slices.Contains(s.conns, c) { // it is gone meanwhile
			unix.Close(fd)
			return
		}
		if err == nil {
			if c.netNS = fd; shared.MaxUserNS > 0 {
				err = s.userNamespaces(fd, plenty)
			}
		}
		if err != nil {
			c.joined()
			c.fail(err)
			return
		}
		c.answer(control.Reply{Event: control.Started, Shared: shared}, fd)
	})
	if err != nil { // nothing was begun
		c.joining = false
	}
	return err
}

// sharedNetwork is what the plan's sandbox tells those who share its network.
func sharedNetwork(p *sandbox.Plan) (*control.Shared, error) {
	if p.Network == sandbox.NetSandbox { // which is a third one's
		j := &p.Join
		return &control.Shared{UID: j.UID, GID: j.GID, MaxUserNS: j.MaxUserNS, Resolv: j.Resolv, Hosts: j.Hosts, Egress: egress(p).State, By: egress(p).By}, nil
	}
	uid, ok := p.IDs.OuterUIDs.Inside(p.Caller.UID)
	gid, ok2 := p.IDs.OuterGIDs.Inside(p.Caller.GID)
	if !ok || !ok2 {
		return nil, errors.New("its id maps leave out the caller's own ids, as which another sandbox would have to enter its network")
	}
	return &control.Shared{UID: uid, GID: gid, MaxUserNS: maxUserNS(p), Resolv: p.Net.Resolv, Hosts: p.Net.Hosts, Egress: egress(p).State, By: egress(p).By}, nil
}

func egress(p *sandbox.Plan) sandbox.Feature {
	i := slices.IndexFunc(p.Features, func(f sandbox.Feature) bool { return f.Name == "egress_policy" })
	if i < 0 {
		return sandbox.Feature{State: "missing"}
	}
	return p.Features[i]
}

// maxUserNS is how many user namespaces there may be in that of a plan's network.
func maxUserNS(p *sandbox.Plan) int64 {
	if p.Network == sandbox.NetSandbox {
		return p.Join.MaxUserNS
	}
	for _, u := range p.UCounts {
		if u.Name == "max_user_namespaces" {
			return u.Value
		}
	}
	return 0
}

// userNamespaces sets how many user namespaces there may be in the one that a
// network belongs to.
func (s *Supervisor) userNamespaces(netNS int, n int64) error {
	user, err := run.OwnerOf(netNS)
	if err != nil {
		return err
	}
	defer unix.Close(user)
	return run.SetMaxUserNS(user, n)
}

// joined is for when who asked for the network has all its namespaces, or is gone.
func (c *conn) joined() {
	if c.netNS < 0 {
		c.joining = false
		return
	}
	fd, was := c.netNS, c.joining
	c.netNS, c.joining = -1, false
	defer unix.Close(fd)
	s := c.s
	if !was || s.box == nil || slices.ContainsFunc(s.conns, func(x *conn) bool { return x.joining && x.netNS >= 0 }) {
		return
	}
	if n := maxUserNS(s.box.Plan()); n > 0 {
		// What can't be taken back is no hole: the filter refuses namespaces as well.
		_ = s.userNamespaces(fd, n)
	}
}

// networkMode is a plan's network, as profiles say it.
func networkMode(p *sandbox.Plan) string {
	switch {
	case p.Network == sandbox.NetSandbox:
		return "sandbox:" + p.Join.Name
	case len(p.Net.Networks) > 0:
		var names []string
		for _, n := range p.Net.Networks {
			names = append(names, n.Name)
		}
		return "network:" + strings.Join(names, ",")
	}
	return string(p.Network)
}
