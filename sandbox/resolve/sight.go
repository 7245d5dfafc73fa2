package resolve

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// State is what a path of the host's is inside a sandbox.
type State string

// The states of a path.
const (
	Writable State = "writable"
	ReadOnly State = "read-only"
	Own      State = "own"    // of the sandbox's own making, in memory or in a directory of sbx's
	Hidden   State = "hidden" // it is on the host, and not inside
	Absent   State = "absent" // it is neither inside nor on the host
)

// Sight is what a path is inside, and what decides that.
type Sight struct {
	Path  string `json:"path"`
	State State  `json:"state"`
	Why   string `json:"why"`
	From  string `json:"from,omitempty"` // the profile's key
	// Show and Write are lines of a profile that would show it, and let it be
	// written; "" where it is so already or no line does.
	Show  string `json:"show,omitempty"`
	Write string `json:"write,omitempty"`
}

// See says what the absolute, clean path at is in the sandbox of p. exists tells
// whether a path is on the host. Links in the path are not followed, but for those
// that sbx makes, and whether the caller has the right to a file is not asked.
func See(p *sandbox.Plan, at string, exists func(string) bool) Sight {
	s := Sight{Path: at}
	at = linked(p, at)
	m := seen(p, at)
	if s.pseudo(p, m, at, exists) {
		return s
	}
	quoted := strconv.Quote(at)
	switch {
	case m == nil && p.Root.InPlace:
		s.ofHost(at, p.Root.ReadOnly, p.Root.From, "the host's tree is the root", exists)
		s.Write = "mounts." + quoted + " = " + strconv.Quote(at+":rw")
	case m == nil && leads(p, at):
		s.State, s.Why, s.From = Own, passage, p.Root.From
	case m == nil:
		s.behind("the root has nothing there", p.Root.From, at, exists)
		s.Show = "mounts." + quoted + " = {}"
	case m.Kind == sandbox.Mask:
		s.behind(orWhy(m.Why, "it is masked"), m.From, at, exists)
		s.Show = ""
	case m.Kind == sandbox.Tmpfs || m.Kind == sandbox.Dir:
		if m.Target == at {
			s.State, s.Why, s.From = Own, orWhy(m.Why, "memory of the sandbox's own"), m.From
			break
		}
		if leads(p, at) {
			s.State, s.Why, s.From = Own, passage, m.From
			break
		}
		s.behind(orWhy(m.Why, "memory of the sandbox's own")+", stands on "+m.Target, m.From, at, exists)
		if s.Show = sharing(m, at); s.Show == "" {
			s.Show = "mounts." + quoted + " = {}"
		}
	case m.Kind == sandbox.Symlink:
		s.State, s.Why, s.From = Own, orWhy(m.Why, "a link to "+m.Source), m.From
	case m.Kind == sandbox.File || m.Kind == sandbox.Cgroups:
		s.State, s.Why, s.From = Own, orWhy(m.Why, "sbx makes it"), m.From
	case m.Private:
		s.State, s.Why, s.From = Own, orWhy(m.Why, "a directory of sbx's own"), m.From
		if exists(at) && !exists(hostPath(*m, at)) {
			s.behind(orWhy(m.Why, "a directory of sbx's own")+", stands on "+m.Target, m.From, at, exists)
			s.Show = sharing(m, at)
		}
	default:
		s.ofHost(layeredPath(*m, at, exists), m.ReadOnly, m.From, orWhy(m.Why, "it is shown"), exists)
		s.Write = opening(p, m, at)
	}
	if s.State == Absent || s.State == Own {
		s.Show = ""
	}
	if s.State != ReadOnly {
		s.Write = ""
	}
	return s
}

// passage is what a directory is that is made for mounts below it.
const passage = "a directory with nothing in it but the way to what is shown below"

// leads reports whether at is the root or has something mounted below it.
func leads(p *sandbox.Plan, at string) bool {
	return at == "/" || slices.ContainsFunc(p.Mounts, func(m sandbox.Mount) bool { return m.Target != at && within(m.Target, at) })
}

// linked is at, of which every directory that is a link of sbx's making has been
// replaced by where it leads.
func linked(p *sandbox.Plan, at string) string {
	for range maxLinks {
		i := slices.IndexFunc(p.Mounts, func(m sandbox.Mount) bool {
			return m.Kind == sandbox.Symlink && m.Target != at && within(at, m.Target)
		})
		if i < 0 {
			break
		}
		m := p.Mounts[i]
		to := m.Source
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(m.Target), to)
		}
		at = path.Join(to, at[len(m.Target):])
	}
	return at
}

// pseudo judges what is in file systems that the kernel makes up, and sbx mounts
// beside those of the plan's list. It is false for all else.
func (s *Sight) pseudo(p *sandbox.Plan, m *sandbox.Mount, at string, exists func(string) bool) bool {
	top := "/" + strings.SplitN(at, "/", 3)[1]
	name := strings.TrimPrefix(at[len(top):], "/")
	if p.Bare.On() || m != nil && within(m.Target, top) {
		return false
	}
	switch {
	case top == "/proc":
		s.proc(p, name, at, exists)
	case top == "/dev" && p.Pseudo.Dev:
		s.dev(p, name, at, exists)
	case top == "/sys" && p.Pseudo.Sys:
		s.State, s.Why, s.From = ReadOnly, "the kernel's own of this sandbox", "root.sys"
	case top == "/sys" && !p.Root.InPlace:
		s.behind("no /sys is shown", "root.sys", at, exists)
		if s.State == Hidden {
			s.Show = `root.sys = "ro"`
		}
	default:
		return false
	}
	return true
}

// proc judges name in /proc.
func (s *Sight) proc(p *sandbox.Plan, name, at string, exists func(string) bool) {
	first, _, _ := strings.Cut(name, "/")
	_, notPid := strconv.ParseUint(first, 10, 32)
	switch {
	case p.Proc == sandbox.ProcNone:
		s.behind("no /proc is shown", "root.proc", at, exists)
	case p.Proc == sandbox.ProcPid && notPid != nil && !slices.Contains([]string{"", "self", "thread-self"}, first):
		s.behind("/proc shows processes only", "root.proc", at, exists)
	case slices.Contains(p.Pseudo.ProcMasked, name):
		s.State, s.Why, s.From = Hidden, "it reads as empty", "root.proc"
		return
	case slices.Contains(p.Pseudo.ProcReadOnly, first):
		s.State, s.Why, s.From = ReadOnly, "the kernel's settings and the like", "root.proc"
	default:
		s.State, s.Why, s.From = Own, "/proc of the sandbox's own processes", "root.proc"
	}
	if s.State == Hidden {
		s.Show = `root.proc = "new"`
	}
}

// dev judges name in a /dev of the sandbox's own.
func (s *Sight) dev(p *sandbox.Plan, name, at string, exists func(string) bool) {
	first, _, _ := strings.Cut(name, "/")
	switch {
	case first == "shm" && p.Pseudo.Shm > 0:
		s.State, s.Why, s.From = Own, "shared memory of the sandbox's own", "root.shm"
	case first == "mqueue" && p.Pseudo.Mqueue:
		s.State, s.Why, s.From = Own, "message queues of the sandbox's own", "namespaces.ipc"
	case slices.Contains([]string{"", "fd", "stdin", "stdout", "stderr", "ptmx", "pts"}, first), slices.Contains(p.Pseudo.Devices, name), leads(p, at):
		s.State, s.Why, s.From = Own, "a /dev of the sandbox's own", "root.dev"
	default:
		s.behind("a /dev of the sandbox's own, with few devices, stands on /dev", "root.dev", at, exists)
		if s.State == Hidden {
			s.Show = "mounts." + strconv.Quote(at) + ` = { access = "rw", dev = true }`
		}
	}
}

// layeredPath is hostPath, of the topmost of m's layers that has it.
func layeredPath(m sandbox.Mount, at string, exists func(string) bool) string {
	p := hostPath(m, at)
	for _, l := range m.Lower {
		if exists(p) {
			break
		}
		m.Source = l
		p = hostPath(m, at)
	}
	return p
}

// sharing is the line that shows at in a home that is m, "" where m is none.
func sharing(m *sandbox.Mount, at string) string {
	if m.From != "home.mode" {
		return ""
	}
	return "home.share = [" + strconv.Quote(strings.TrimPrefix(at[len(m.Target):], "/")) + "]"
}

// seen is the mount that decides about at, nil for the root itself.
func seen(p *sandbox.Plan, at string) *sandbox.Mount {
	var best *sandbox.Mount
	for i := range p.Mounts {
		m := &p.Mounts[i]
		whole := m.Kind != sandbox.Symlink && m.Kind != sandbox.File
		if (m.Target == at || whole && within(at, m.Target)) && (best == nil || len(m.Target) >= len(best.Target)) {
			best = m
		}
	}
	return best
}

func orWhy(why, or string) string {
	if why == "" {
		return or
	}
	return why
}

// ofHost is what shows the host's own.
func (s *Sight) ofHost(source string, readOnly bool, from, why string, exists func(string) bool) {
	s.From, s.Why = from, why
	switch {
	case !exists(source):
		s.State, s.Why = Absent, "there is no "+source+" on the host either"
	case readOnly:
		s.State = ReadOnly
	default:
		s.State = Writable
	}
}

// behind is what has nothing of the host's.
func (s *Sight) behind(why, from, at string, exists func(string) bool) {
	s.From, s.Why = from, why
	if s.State = Hidden; !exists(at) {
		s.State, s.Why = Absent, why+", and there is no "+at+" on the host either"
	}
}

// opening is the line that would let at, which m shows, be written, "" where there
// is none that should.
func opening(p *sandbox.Plan, m *sandbox.Mount, at string) string {
	key, _, _ := strings.Cut(m.From, "[")
	switch {
	case strings.HasPrefix(key, "mounts."):
		return "mounts." + strconv.Quote(m.Target) + `.access = "rw"`
	case key == "workspace.access":
		return `workspace.access = "rw"`
	case key == "workspace.git":
		guarded := slices.ContainsFunc(p.Mounts, func(g sandbox.Mount) bool { return g.From == "workspace.git" && !g.ReadOnly })
		if guarded || slices.ContainsFunc(gitRules, func(g gitRule) bool { return within(at, path.Join(m.Target, g.name)) }) {
			return `workspace.git = "rw"`
		}
		return `workspace.git = "guard"`
	case key == "workspace.protect":
		return "workspace.unprotect = [" + strconv.Quote(path.Base(m.Target)) + "]"
	case key == "home.share":
		return "mounts." + strconv.Quote(m.Target) + ` = { access = "rw" }`
	case key == "home.access":
		return `home.access = "rw"`
	}
	return ""
}

// CallRefused reports whether a profile's policy refuses a system call, whatever its
// arguments. It is an error if there is no call, and no group, of that name.
func CallRefused(s *profiles.Security, keep []sandbox.Capability, call string) (bool, error) {
	p, err := Policy(s, keep)
	if err != nil {
		return false, err
	}
	if _, err := p.Deny(call); err != nil {
		return false, err
	}
	return p.Refuses(call), nil
}

// Reach is whether a sandbox may talk to somebody, and what decides it.
type Reach struct {
	Allowed bool
	Why     string
	From    string // the profile's key
	Add     string // the line that would allow it
}

// Ask says whether the sandbox of p may make a TCP connection to HOST[:PORT], a
// name's; without a port it is that of HTTPS. What the name's address is, the host's
// own or one of its network, is not known here: that takes a rule of its own.
func Ask(p *sandbox.Plan, target string) (Reach, error) {
	name, port := target, uint64(443)
	if i := strings.LastIndexByte(target, ':'); i >= 0 {
		var err error
		if name = target[:i]; name == "" || strings.Contains(name, ":") {
			return Reach{}, fmt.Errorf("%q is not HOST:PORT", target)
		}
		if port, err = strconv.ParseUint(target[i+1:], 10, 16); err != nil {
			return Reach{}, err
		}
	}
	name, err := policy.ParseName(name)
	if err != nil {
		return Reach{}, err
	}
	rule := fmt.Sprintf("%q", name+":"+strconv.FormatUint(port, 10))
	switch p.Network {
	case sandbox.NetHost:
		return Reach{Allowed: true, Why: "the network is the host's", From: "network.mode"}, nil
	case sandbox.NetNone:
		return Reach{Why: "there is no network", From: "network.mode", Add: `network = { mode = "user", allow = [` + rule + `] }`}, nil
	}
	if len(p.Net.Networks) > 0 && !strings.Contains(name, ".") {
		return askMember(p, name, uint16(port), rule), nil
	}
	v := p.Net.Config.Policy.Decide(policy.Query{Protocol: policy.TCP, Port: uint16(port), Names: []string{name}, Class: policy.Internet})
	r := Reach{Allowed: v.Allow, From: "network.allow", Why: v.Reason}
	if v.Rule != nil {
		r.From, r.Why = v.Rule.From, "the rule "+v.Rule.Text
	}
	if v.Rule == nil && !v.Allow {
		r.Add = "network.allow = [" + rule + "]"
	}
	return r, nil
}

// askMember is Ask for a name of a member of a named network.
func askMember(p *sandbox.Plan, name string, port uint16, rule string) Reach {
	rules := p.Net.Config.Members
	if len(rules) == 0 {
		return Reach{Allowed: true, From: "network.mode", Why: "whoever is called that in its networks; no rule is about members"}
	}
	q := policy.Query{Protocol: policy.TCP, Port: port, Names: []string{name}, Class: policy.Members}
	for i := range rules {
		if r := &rules[i]; r.About(q) {
			return Reach{Allowed: r.Allow, From: r.From, Why: "the rule " + r.Text}
		}
	}
	return Reach{From: "network.allow", Why: "rules are about members of the network, and none allows it", Add: "network.allow = [" + rule + "]"}
}
