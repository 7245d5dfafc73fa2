package resolve

import (
	"fmt"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
	"github.com/sbx-sandbox/sbx/userns"
)

// ids decides the two id maps. One id needs nobody's leave and is the default;
// a range needs subordinate ids and two setuid helpers.
func (r *resolver) ids() {
	u, f := &r.prof.User, r.facts
	ids := &r.plan.IDs
	ids.From = "user.map"
	ids.UID, ids.GID = f.UID, f.GID
	r.asRoot = u.As == "root"
	if uid, gid, ok := r.imageUser(); ok {
		ids.UID, ids.GID = uid, gid
		r.asImage, r.asRoot = true, uid == 0
	} else if r.asRoot {
		ids.UID, ids.GID = 0, 0
	}
	switch u.Map {
	case "range":
		ids.Mode = "range"
		if f.RangeErr != nil {
			r.fail(&Error{Key: "user.map", Msg: "a range of ids can't be had", Hint: `or set user.map = "single"`, Err: f.RangeErr})
			return
		}
		r.ownInGrant("uid", f.UID, f.SubUIDs)
		r.ownInGrant("gid", f.GID, f.SubGIDs)
		ids.OuterUIDs, ids.OuterGIDs = userns.Keep(f.UID, f.SubUIDs), userns.Keep(f.GID, f.SubGIDs)
		if r.Image != nil {
			r.imageIDs()
			break
		}
		if r.asRoot {
			ids.OuterUIDs, ids.OuterGIDs = userns.Root(f.UID, f.SubUIDs), userns.Root(f.GID, f.SubGIDs)
		}
		ids.InnerUIDs, ids.InnerGIDs = ids.OuterUIDs.Identity(), ids.OuterGIDs.Identity()
	case "explicit":
		r.explicitIDs()
	default: // auto, single
		ids.Mode = "single"
		// The outer namespace keeps the caller's id, the inner one names it.
		ids.OuterUIDs, ids.OuterGIDs = userns.Self(f.UID, f.UID), userns.Self(f.GID, f.GID)
		ids.InnerUIDs, ids.InnerGIDs = userns.Self(ids.UID, f.UID), userns.Self(ids.GID, f.GID)
	}
	if ids.Mode == "range" {
		ids.NewUIDMap, ids.NewGIDMap = f.NewUIDMap, f.NewGIDMap
		return
	}
	if n := len(f.Groups); n > 1 || n == 1 && f.Groups[0] != f.GID {
		r.note("info", "groups", "user.map", "the caller's supplementary groups stay in effect inside: with one mapped id the kernel does not let them be dropped (user_namespaces(7))")
	}
}

// ownInGrant refuses a grant that holds the caller's own id, which is mapped
// beside it and can't be mapped twice.
func (r *resolver) ownInGrant(what string, own uint32, sub userns.Range) {
	if own >= sub.Start && own-sub.Start < sub.Count {
		r.fail(&Error{Key: "user.map", Msg: fmt.Sprintf("the subordinate ids %d:%d hold your own %s %d", sub.Start, sub.Count, what, own),
			Hint: fmt.Sprintf(`an administrator can choose others in /etc/sub%s; or set user.map = "single"`, what)})
	}
}

// explicitIDs takes the profile's own maps. The kernel and the helpers judge
// whether the caller may have them; here they must hold the caller's own ids,
// else the command could not be them.
func (r *resolver) explicitIDs() {
	f, ids := r.facts, &r.plan.IDs
	ids.Mode, ids.From = "range", "user.uid_map"
	if f.RangeErr != nil {
		r.fail(&Error{Key: "user.uid_map", Msg: "explicit id maps can't be had", Err: f.RangeErr})
		return
	}
	ids.OuterUIDs, ids.OuterGIDs = extents(r.prof.User.UIDMap), extents(r.prof.User.GIDMap)
	for _, m := range []struct {
		key string
		m   userns.Map
		own uint32
		in  *uint32
	}{{"user.uid_map", ids.OuterUIDs, f.UID, &ids.UID}, {"user.gid_map", ids.OuterGIDs, f.GID, &ids.GID}} {
		if err := m.m.Validate(); err != nil {
			r.fail(&Error{Key: m.key, Msg: "this map can't be used", Err: err})
			continue
		}
		in, ok := m.m.Inside(m.own)
		if !ok {
			r.fail(&Error{Key: m.key, Msg: fmt.Sprintf("the map leaves out your own id %d", m.own), Hint: fmt.Sprintf(`add a line such as "%d:%d:1"`, m.own, m.own)})
			continue
		}
		if r.asRoot && in != 0 {
			r.fail(&Error{Key: m.key, Msg: fmt.Sprintf(`user.as = "root", yet the map makes your id %d inside`, in), Hint: fmt.Sprintf(`map it as "0:%d:1"`, m.own)})
			continue
		}
		*m.in = in
	}
	ids.InnerUIDs, ids.InnerGIDs = ids.OuterUIDs.Identity(), ids.OuterGIDs.Identity()
	if ids.OuterUIDs.IsSelf(f.UID) && ids.OuterGIDs.IsSelf(f.GID) {
		ids.Mode = "single" // which needs no helper
	}
}

func extents(list []profiles.IDMap) userns.Map {
	m := make(userns.Map, len(list))
	for i, l := range list {
		m[i] = userns.Extent{Inside: l.Inside, Outside: l.Outside, Count: l.Count}
	}
	return m
}

func namespaces(p *profiles.Profile) sandbox.Namespaces {
	n := &p.Namespaces
	return sandbox.Namespaces{
		IPC: n.IPC == "private", UTS: n.UTS == "private", Cgroup: n.Cgroup == "private",
		Time: n.Time == "private", Monotonic: n.TimeMonotonic, Boottime: n.TimeBoottime,
		Net: p.Network.Mode != "host" && !joins(p),
	}
}

func (r *resolver) namespaces() {
	r.plan.Namespaces = namespaces(r.prof)
	r.plan.Namespaces.Net = r.plan.Namespaces.Net && !r.plan.Bare.On()
	r.plan.Network = sandbox.NetMode(r.prof.Network.Mode)
	if joins(r.prof) {
		r.plan.Network = sandbox.NetSandbox
	} else if r.prof.Network.Own() {
		r.plan.Network = sandbox.NetUser
	}
	r.plan.Hostname = r.prof.Process.Hostname
	if r.plan.Hostname == "" {
		r.plan.Hostname = r.prof.Name
	}
	if !r.plan.Namespaces.UTS {
		r.plan.Hostname = r.facts.Host
	}
	if r.plan.Network == sandbox.NetHost {
		what := "its loopback services and the local network"
		if r.prof.Security.Landlock == "off" || r.facts.Landlock < landlock.ABIScopes {
			what = "its loopback services, the local network and abstract sockets"
		}
		r.note("warning", "network", "network.mode", "the host's network is shared: %s are within reach", what)
	}
}
