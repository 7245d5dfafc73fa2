package resolve

import (
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
)

// joins says that a profile wants another sandbox's network.
func joins(p *profiles.Profile) bool {
	_, ok := profiles.JoinedSandbox(p.Network.Mode)
	return ok
}

// join decides what follows from sharing another sandbox's network: nothing of it
// is this one's to set up, and this one's outer user namespace lies in that one's,
// where only the caller's own ids are known.
func (r *resolver) join() {
	const key = "network.mode"
	if r.Joined == nil {
		r.fail(&Error{Key: key, Msg: "BUG: nobody has asked the sandbox whose network this is to be"})
		return
	}
	r.plan.Join = *r.Joined
	r.plan.Join.From = key
	if r.plan.IDs.Mode != "single" {
		r.fail(&Error{Key: "user.map", Msg: "in the network of another sandbox there is one id", Hint: `set user.map = "single"; or have both in a named network, see sbx network create`})
	}
	if r.prof.Root.Sys == "ro" {
		r.fail(&Error{Key: "root.sys", Msg: "/sys shows a network, and can't be had in that of another sandbox", Hint: `set root.sys = "none"`})
	}
	r.note("info", "network", key, "the network is that of the sandbox %s, with its rules, and gone when that ends; loopback services of either are within reach of both", r.plan.Join.Name)
	if r.prof.Root.Etc == "none" && r.prof.Root.Source == "host" {
		return
	}
	r.etcFile("resolv.conf", r.plan.Join.Resolv, "the name server of that network")
	r.etcFile("hosts", r.hostsFile(), "names without a name server")
}

// joinFeature says what keeps abstract sockets apart where the network namespace
// is another sandbox's as well.
func (r *resolver) joinFeature() sandbox.Feature {
	f := sandbox.Feature{Name: "abstract_sockets", State: "missing", By: "Landlock", From: "network.mode",
		Why: "it takes Landlock's ABI 6 to keep those of the sandbox out of reach whose network this is"}
	if r.plan.Security.Landlock.Scoped {
		f.State, f.Why = "enforced", ""
	} else if r.prof.Security.Landlock == "off" {
		f.State = "off"
	}
	return f
}
