// Package sandbox holds the Plan: a sandbox resolved against one host, as
// plain data. Everything that decides produces a Plan (sandbox/resolve) and
// everything that acts consumes one (sandbox/program, sandbox/run); it is what
// `sbx explain --json` prints.
package sandbox

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/nft"
	"github.com/sbx-sandbox/sbx/userns"
)

// PlanVersion is the version of the Plan's JSON form.
const PlanVersion = 1

// Plan is a sandbox as it will be built: every default is filled in, every
// path is absolute, every downgrade has been taken and noted. It holds no
// pointers and no live state, and survives a JSON round trip, but for paths,
// arguments and variables that are not UTF-8: JSON has no way to write those.
type Plan struct {
	Version int      `json:"version"`
	Name    string   `json:"name"`
	Files   []string `json:"files"` // the profile's files, the most basic first
	// Phase is the step of the profile's that this is, "" where it has none.
	Phase string `json:"phase,omitempty"`

	// Bare is set where the sandbox has no namespaces at all.
	Bare Bare `json:"bare,omitzero"`

	Caller     Caller     `json:"caller"`
	IDs        IDs        `json:"ids"`
	Namespaces Namespaces `json:"namespaces"`

	// Create are directories of sbx's own on the host that are made, with mode
	// 0700, before the sandbox starts. Beside what sandbox/run keeps of a start in the
	// runtime directory they are the only thing a run adds to it.
	Create   []string  `json:"create,omitempty"`
	Root     Root      `json:"root"`
	Mounts   []Mount   `json:"mounts"` // in the order they are made; parents first
	Overlay  Overlay   `json:"overlay,omitzero"`
	Proc     ProcMode  `json:"proc"`
	Pseudo   Pseudo    `json:"pseudo"`
	Hostname string    `json:"hostname"`
	Network  NetMode   `json:"network"`
	Net      Net       `json:"net,omitzero"`  // of network mode user
	Join     Join      `json:"join,omitzero"` // of network mode sandbox
	Limits   []Limit   `json:"limits"`
	UCounts  []UCount  `json:"user_limits"`
	Cgroup   Cgroup    `json:"cgroup,omitzero"`
	Process  Process   `json:"process"`
	Secrets  []Secret  `json:"secrets,omitempty"`
	Health   Health    `json:"health,omitzero"`
	Security Security  `json:"security"`
	Audit    Audit     `json:"audit"`
	Claim    Claim     `json:"claim,omitzero"`
	Features []Feature `json:"features"` // what is enforced, by what, and what was lost
	Notes    []Note    `json:"notes"`
}

// Shows says whether what is at p on the host is at p inside as well, if it is
// anywhere at all.
func (p *Plan) Shows(at string) bool {
	same := p.Root.InPlace
	for _, m := range p.Mounts { // parents first: the last one that holds it counts
		t := m.Target
		if at != t && !strings.HasPrefix(at, strings.TrimSuffix(t, "/")+"/") {
			continue
		}
		switch m.Kind {
		case Bind, Guard, Layers:
			same = m.Source == "" || m.Source == t
		case Symlink: // /bin -> usr/bin, as on the host
			to := m.Source
			if !path.IsAbs(to) {
				to = path.Join(path.Dir(t), to)
			}
			return p.Shows(path.Join(to, at[len(t):]))
		default:
			same = false
		}
	}
	return same
}

// Shape is what of a Plan the child's making depends on. It is known from the
// profile alone, so that the kernel can make the namespaces while the rest of
// the Plan is still being decided.
type Shape struct {
	Bare       bool // no namespaces; nothing of Namespaces and Range is set
	Namespaces Namespaces
	Range      bool // ids are mapped by the helpers
	Joined     bool // the network is another sandbox's
	Served     bool // fuse-overlayfs serves layers
	Terminal   [3]bool
	Pipe       [3]bool
}

// Shape returns the Plan's shape.
func (p *Plan) Shape() Shape {
	return Shape{Bare: p.Bare.On(), Namespaces: p.Namespaces, Range: p.IDs.Mode == "range", Joined: p.Network == NetSandbox, Served: p.Overlay.Program != "", Terminal: p.Process.Terminal, Pipe: p.Process.Pipe}
}

// Bare is a sandbox on a host that refuses user namespaces: Landlock, the
// system call filters and limits are all there is. It mounts nothing, so Mounts
// is empty, and Features and Notes name what is lost.
type Bare struct {
	Why string `json:"why"` // what the host refuses; "" where there are namespaces
	// Private is a directory on the host that is made, with mode 0700, before
	// the sandbox starts and removed with all that is in it afterwards. Dirs are
	// made in it, and Links, which lead to what the profile shows.
	Private string     `json:"private"`
	Dirs    []string   `json:"dirs,omitempty"` // parents first
	Links   []BareLink `json:"links,omitempty"`
	// Filter is a compiled filter beside the policy's: it refuses what a
	// namespace would have kept to the sandbox.
	Filter []byte `json:"filter,omitempty"`
	// Home is whether Private stands in for the home directory.
	Home bool `json:"home,omitempty"`
}

// On says whether the sandbox is a bare one.
func (b *Bare) On() bool { return b.Why != "" }

// BareLink is a symbolic link in a bare sandbox's private directory.
type BareLink struct {
	Path string `json:"path"` // relative to the directory
	To   string `json:"to"`
}

// Caller is who runs sbx, in the ids of the host.
type Caller struct {
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	User string `json:"user"`
	Home string `json:"home"`
}

// IDs is who the command is. The outer user namespace owns the mounts, the
// network and the limits; the command runs in the inner one, which owns
// nothing (user_namespaces(7), "Capabilities").
type IDs struct {
	Mode      string     `json:"mode"` // "single" or "range"
	OuterUIDs userns.Map `json:"outer_uids"`
	OuterGIDs userns.Map `json:"outer_gids"`
	InnerUIDs userns.Map `json:"inner_uids"`
	InnerGIDs userns.Map `json:"inner_gids"`
	// NewUIDMap and NewGIDMap are the helpers' paths in range mode.
	NewUIDMap string `json:"newuidmap,omitempty"`
	NewGIDMap string `json:"newgidmap,omitempty"`
	UID       uint32 `json:"uid"` // the command's ids inside
	GID       uint32 `json:"gid"`
	From      string `json:"from,omitempty"`
}

// Namespaces says which kinds are the sandbox's own. User, mount and PID
// namespaces always are.
type Namespaces struct {
	IPC    bool `json:"ipc"`
	UTS    bool `json:"uts"`
	Cgroup bool `json:"cgroup"`
	Net    bool `json:"net"`
	Time   bool `json:"time"`
	// Monotonic and Boottime are added to those clocks inside when Time is set
	// (time_namespaces(7)).
	Monotonic time.Duration `json:"monotonic,omitempty"`
	Boottime  time.Duration `json:"boottime,omitempty"`
}

// Root is what / is.
type Root struct {
	// InPlace keeps the host's own tree as the root: the new mount namespace is
	// already a private copy, so one recursive mount_setattr(2) is the whole of
	// it. Otherwise the root is a tmpfs of the sandbox's own.
	InPlace  bool   `json:"in_place"`
	ReadOnly bool   `json:"read_only"`
	Size     int64  `json:"size"`   // bytes, of the tmpfs
	Inodes   int64  `json:"inodes"` // of the tmpfs
	From     string `json:"from,omitempty"`
	// Image, if there is one, takes the tmpfs's place; Size and Inodes are then of
	// what is written over it.
	Image Image `json:"image,omitzero"`
	// Upper and Work, if they are there, are names of directories of the Plan's
	// overlay, which take what is written over the image: Size bytes, 0 for no bound.
	Upper string `json:"upper,omitempty"`
	Work  string `json:"work,omitempty"`
}

// MountKind is what a Mount makes.
type MountKind string

// The kinds of Mount.
const (
	Bind    MountKind = "bind"    // a host file or directory, with all that is mounted below it
	Tmpfs   MountKind = "tmpfs"   // an own empty file system in memory
	File    MountKind = "file"    // a file with Content
	Symlink MountKind = "symlink" // a symbolic link with the text Source
	Mask    MountKind = "mask"    // an empty unreadable-by-content stand-in over what is there
	Dir     MountKind = "dir"     // an empty directory on a file system of the sandbox's own
	Guard   MountKind = "guard"   // what is there already, bound onto itself with other attributes
	// Layers is directories of the host's on top of one another, and above them one
	// that takes what is written (overlayfs, Documentation/filesystems/overlayfs.rst).
	Layers MountKind = "layers"
	// Cgroups shows the sandbox's control group, and those that the command makes
	// below it.
	Cgroups MountKind = "cgroups"
)

// Mount is one thing placed at Target.
type Mount struct {
	Kind   MountKind `json:"kind"`
	Target string    `json:"target"`
	// Source is the host's path of a bind or a guard, free of symbolic links
	// when it was resolved, or of the topmost of layers; the text of a symlink.
	Source string `json:"source,omitempty"`
	// Lower are the layers below Source, the upper ones first.
	Lower []string `json:"lower,omitempty"`
	// Upper and Work are names of directories of the Plan's overlay, which take
	// what is written to the layers. Without them it is kept in memory, Size bytes
	// of it, or with a Size of 0 nothing can be written.
	Upper    string `json:"upper,omitempty"`
	Work     string `json:"work,omitempty"`
	IsDir    bool   `json:"is_dir,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"`
	NoExec   bool   `json:"noexec,omitempty"`
	Dev      bool   `json:"dev,omitempty"` // device nodes below it work
	Size     int64  `json:"size,omitempty"`
	Inodes   int64  `json:"inodes,omitempty"`
	Mode     uint32 `json:"mode,omitempty"`
	Content  string `json:"content,omitempty"`
	// Own says that Target's parent directory is on a file system that only
	// this sandbox writes, so that a missing Target is made there. On any other
	// file system Target exists already; nothing is ever made in a host's tree.
	Own bool `json:"own,omitempty"`
	// Direct says that only root and this run can change what the path to
	// Target means, System the same of Source: no look-up that guards against
	// links is needed.
	Direct bool `json:"direct,omitempty"`
	// Sealed says that a parent, a read-only Tmpfs, gives its own attributes to
	// this mount once all that lies below it is in place.
	Sealed bool `json:"sealed,omitempty"`
	System bool `json:"system,omitempty"`
	// Private marks a bind of a directory of sbx's own, which only sandboxes
	// write: what is mounted below it may be made there.
	Private bool `json:"private,omitempty"`
	// Grantable says that it is not there when the command starts: sbx grant puts it
	// there.
	Grantable bool   `json:"grantable,omitempty"`
	Why       string `json:"why,omitempty"`  // shown by explain
	From      string `json:"from,omitempty"` // the profile's key, for its file and line
}

// Overlay is where what is written to layers goes, as far as it is kept: a
// directory of sbx's own, in which each of the Plan's Layers has two.
type Overlay struct {
	// Name is the directory's in Store; "" when nothing is kept.
	Name  string `json:"name,omitempty"`
	Store string `json:"store,omitempty"`
	// Unnamed is that nobody chose the name: the overlay is gone once nothing is in it.
	Unnamed bool `json:"unnamed,omitempty"`
	// Index is the directory in which it is noted where the overlay lies, if that is
	// in another one; "" for none.
	Index string `json:"index,omitempty"`
	// Driver makes the layers: "kernel", or "fuse-overlayfs" at Program.
	Driver  string `json:"driver"`
	Program string `json:"program,omitempty"`
	// Sync says that what is written out is to be on the disk.
	Sync bool `json:"sync,omitempty"`
	// Again says that it is there already and is gone on with.
	Again bool `json:"again,omitempty"`
	// Dir is where sbx was started, by which the overlay is found again.
	Dir    string `json:"dir,omitempty"`
	OnExit OnExit `json:"on_exit,omitempty"`
}

// Path is the overlay's directory.
func (o *Overlay) Path() string { return o.Store + "/" + o.Name }

// Secret is a secret that the command gets. What it is stands nowhere but where
// the command finds it: in Process.Env, or as the content of a mount.
type Secret struct {
	Name     string `json:"name"`
	Variable string `json:"variable,omitempty"`
	Target   string `json:"target,omitempty"` // a file's path
	Source   string `json:"source"`           // "env:VARIABLE" or "file:PATH"
	From     string `json:"from,omitempty"`
}

// WithoutValues is the Plan with what must not be written down left out: the
// values of variables, and what is in secrets.
func (p *Plan) WithoutValues() Plan {
	out := *p
	out.Process.Env = make([]string, len(p.Process.Env))
	for i, kv := range p.Process.Env {
		out.Process.Env[i], _, _ = strings.Cut(kv, "=")
	}
	out.Mounts = slices.Clone(p.Mounts)
	for i := range out.Mounts {
		if slices.ContainsFunc(p.Secrets, func(s Secret) bool { return s.Target != "" && s.Target == out.Mounts[i].Target }) {
			out.Mounts[i].Content = ""
		}
	}
	return out
}

// OnExit is what becomes of an overlay when the command has ended.
type OnExit string

// What may become of it.
const (
	Keep    OnExit = "keep"
	Discard OnExit = "discard"
	Ask     OnExit = "ask" // at a terminal; otherwise it is kept
	Apply   OnExit = "apply"
)

// ProcMode is what /proc shows.
type ProcMode string

// The modes of /proc, see proc(5), "Mount options".
const (
	ProcNew  ProcMode = "new"
	ProcPid  ProcMode = "pid" // subset=pid: processes only
	ProcNone ProcMode = "none"
)

// Pseudo is the file systems the kernel makes up.
type Pseudo struct {
	Dev     bool     `json:"dev"`     // minimal /dev with own devpts and shm
	Devices []string `json:"devices"` // names under /dev
	Shm     int64    `json:"shm"`     // bytes; 0 = none
	Mqueue  bool     `json:"mqueue"`  // /dev/mqueue with the queues of an own IPC namespace, mq_overview(7)
	PtyGID  int      `json:"pty_gid"` // group of terminals, -1 where it is not mapped
	// Masked paths read as empty, ReadOnly ones can't be written. Below /proc,
	// without the prefix. Those that this kernel lacks are passed over.
	ProcMasked   []string `json:"proc_masked,omitempty"`
	ProcReadOnly []string `json:"proc_read_only,omitempty"`
	Sys          bool     `json:"sys"`
}

// NetMode is the sandbox's network.
type NetMode string

// The network modes.
const (
	NetNone NetMode = "none" // own namespace with nothing but loopback
	NetUser NetMode = "user" // own namespace, and a program of the user's that leads out of it
	NetHost NetMode = "host" // the host's
	// NetSandbox is that of another sandbox, which runs.
	NetSandbox NetMode = "sandbox"
)

// Join is a sandbox whose network is shared. Its network namespace belongs to its
// outer user namespace, and so this one's has to lie in that.
type Join struct {
	Name string `json:"name"`
	// UID and GID are the caller's ids in that user namespace.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// MaxUserNS is how many user namespaces there may be in it, 0 for any number.
	MaxUserNS int64 `json:"max_user_namespaces,omitempty"`
	// Resolv and Hosts are what its resolv.conf and hosts say, beyond the loopback's.
	Resolv string `json:"resolv,omitempty"`
	Hosts  string `json:"hosts,omitempty"`
	From   string `json:"from,omitempty"`
}

// Net is a network of the sandbox's own that reaches out by way of a program
// outside: what the program is told, and how the interface inside is set up.
type Net struct {
	Backend Backend `json:"backend"`
	Helper  string  `json:"helper"` // the program's path
	// Config has the addresses, and whom the sandbox may talk to.
	Config slirp.Config `json:"config"`
	// Filter holds the rules where the program doesn't, Resolve says that it is to
	// answer names.
	Filter  []nft.Rule `json:"filter,omitempty"`
	Resolve bool       `json:"resolve,omitempty"`
	// Names is the path of sbx-net where it answers for names beside another program,
	// fills Filter's sets of their addresses, and says what was refused.
	Names string `json:"names,omitempty"`
	// Forwarder is the path of sbx-net where it has slirp4netns publish ports.
	Forwarder string `json:"forwarder,omitempty"`
	// Networks are the named networks that the sandbox is in, in the order of
	// Config.Networks, and Called what it is called there.
	Networks []Membership `json:"networks,omitempty"`
	Called   []string     `json:"called,omitempty"`
	// Resolv is the text of the sandbox's resolv.conf, Hosts that of its hosts
	// beyond the loopback's lines: whoever shares the network gets the same.
	Resolv string `json:"resolv,omitempty"`
	Hosts  string `json:"hosts,omitempty"`
	// AutoPublish publishes on the host's loopback what the sandbox listens on.
	AutoPublish bool `json:"auto_publish,omitempty"`
	// Vital says that the end of the program is the end of the sandbox. Otherwise
	// the command goes on, without a network.
	Vital bool   `json:"vital,omitempty"`
	From  string `json:"from,omitempty"`
}

// Membership is a named network that a sandbox is in, by an interface of its own.
type Membership struct {
	Name string `json:"name"`
	// Device is the interface inside.
	Device string `json:"device"`
	// Internal says that nothing leads out for who is in no other network.
	Internal bool `json:"internal,omitempty"`
	// Isolated asks for an interface that reaches no other isolated one. The network
	// may be so for all its members.
	Isolated bool `json:"isolated,omitempty"`
}

// Backend is what a network of mode user is made by.
type Backend string

// The backends.
const (
	BackendEngine      Backend = "engine" // sbx-net
	BackendPasta       Backend = "pasta"
	BackendSlirp4netns Backend = "slirp4netns"
)

// Program is what the program is called.
func (b Backend) Program() string {
	if b == BackendEngine {
		return "sbx-net"
	}
	return string(b)
}

// NetDevice is the interface that leads out of a sandbox.
const NetDevice = "sbx0"

// Limit is a resource limit of getrlimit(2) for every process inside.
type Limit struct {
	Name     string `json:"name"`     // "nofile", as in ulimit's and podman's names
	Resource int    `json:"resource"` // RLIMIT_*
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
	From     string `json:"from,omitempty"`
}

// Cgroup is the control group that the sandbox gets, whose limits hold for all
// its processes together. The zero value is none.
type Cgroup struct {
	By CgroupBy `json:"by"`
	// Root is where the hierarchy of version 2 is mounted.
	Root string `json:"root"`
	// Parent is the group that the sandbox's lies in, as a path below /sys: that
	// of the user's systemd, whose slice is made in it, or the delegated one.
	Parent string `json:"parent"`
	// Leave says that sbx is in Parent itself and has to leave it, since a group
	// that gives controllers to others holds no process.
	Leave bool `json:"leave,omitempty"`
	// Socket is that of the user's systemd, Helper the program that talks to it.
	Socket string        `json:"socket,omitempty"`
	Helper string        `json:"helper,omitempty"`
	Limits cgroup.Limits `json:"limits"`
	// Delegate says that the command may make groups of its own below the
	// sandbox's, and Controllers are those that such a group has.
	Delegate    bool     `json:"delegate,omitempty"`
	Controllers []string `json:"controllers,omitempty"`
	From        string   `json:"from,omitempty"`
}

// CgroupDir is where a command that may make control groups finds its own.
const CgroupDir = "/sys/fs/cgroup"

// CgroupBy is who makes the control group.
type CgroupBy string

// The makers of control groups.
const (
	CgroupSystemd CgroupBy = "systemd" // the user's systemd, as a delegated scope
	CgroupSubtree CgroupBy = "subtree" // sbx, in a group that was delegated to its caller
)

// On says that there is one.
func (c *Cgroup) On() bool { return c.By != "" }

// UCount is a limit of the outer user namespace in /proc/sys/user, held by the
// sandbox as a whole (namespaces(7), "The /proc/sys/user directory").
type UCount struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
	From  string `json:"from,omitempty"`
}

// Process is the command and its surroundings.
type Process struct {
	Argv []string `json:"argv"`
	// Env is what the command gets, sorted, NAME=value.
	Env []string `json:"env"`
	// Lookup is where Argv[0] is looked for inside when it has no slash: the
	// directories of PATH.
	Lookup []string `json:"lookup"`
	Dir    string   `json:"dir"`
	Umask  uint32   `json:"umask"`
	Nice   int      `json:"nice"`
	// CPUs are the processors it starts on, where no control group can bind it to
	// them: it may choose others. Empty for the caller's.
	CPUs        cgroup.CPUs `json:"cpus,omitempty"`
	OOMScoreAdj int         `json:"oom_score_adj"`
	// Terminal says which of stdin, stdout and stderr are the sandbox's own
	// terminal, Pipe which are a pipe in place of the caller's. The caller's
	// terminal itself never gets in; what is neither is passed as it is.
	Terminal    [3]bool       `json:"terminal"`
	Pipe        [3]bool       `json:"pipe"`
	Timeout     time.Duration `json:"timeout,omitempty"`
	StopTimeout time.Duration `json:"stop_timeout"`
	StopSignal  int           `json:"stop_signal"`
	// Passed are the names of the descriptors, from FirstPassed on, that a service
	// manager passed to sbx and that go on to the command (sd_listen_fds(3)).
	Passed []string `json:"passed,omitempty"`
}

// FirstPassed is the first of Passed's descriptors: SD_LISTEN_FDS_START.
const FirstPassed = 3

// Health is a command that is run inside again and again, to see whether the
// sandbox's own does what it should.
type Health struct {
	Argv        []string      `json:"argv,omitempty"` // none: there are no checks
	Interval    time.Duration `json:"interval,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
	StartPeriod time.Duration `json:"start_period,omitempty"`
	Retries     int           `json:"retries,omitempty"`
}

// Security is what the command may not do.
type Security struct {
	NoNewPrivs bool `json:"no_new_privs"`
	// Keep are the capabilities of the command in the inner user namespace, which
	// owns nothing: they reach its own ids and no more. Empty but for fake root.
	Keep         []Capability `json:"keep_capabilities"`
	NestedUserNS bool         `json:"nested_userns"`
	Keyring      bool         `json:"own_keyring"`
	Seccomp      Seccomp      `json:"seccomp"`
	Landlock     Landlock     `json:"landlock"`
}

// Landlock is what landlock(7) is told: beyond the rules, nothing of what is
// handled is allowed. It says once more what the mounts say, and holds where
// they should fail.
type Landlock struct {
	ABI     int             `json:"abi"`     // the kernel's, 0 for none
	Handled landlock.Access `json:"handled"` // none: files are left to the mounts
	// Scoped says that no signal and no connection to an abstract socket leaves
	// the sandbox.
	Scoped bool `json:"scoped"`
	// Net are the rights to the network that are handled, and that no rule gives.
	Net   landlock.Net   `json:"net,omitempty"`
	Rules []LandlockRule `json:"rules,omitempty"`
	// MountOnly are targets below one that is allowed more. A rule can't take
	// away what another one above it gives: there the mount stands alone.
	MountOnly []string `json:"mount_only,omitempty"`
}

// On says whether anything is enforced.
func (l *Landlock) On() bool { return l.Handled != 0 || l.Scoped || l.Net != 0 }

// LandlockRule allows something for a file, or for all that lies at or below a
// directory.
type LandlockRule struct {
	Path string `json:"path,omitempty"`
	// FD is the standard descriptor whose file is meant when there is no Path.
	FD int `json:"fd,omitempty"`
	// Optional says that Path may be gone when the sandbox starts.
	Optional bool            `json:"optional,omitempty"`
	Allow    landlock.Access `json:"allow"`
}

// Seccomp is the filter of system calls that PID 1 and the command run under,
// see seccomp(2).
type Seccomp struct {
	// Policy is "default", "build", "strict", "unconfined" (no filter, unless
	// Deny makes one), or the path of a seccomp profile of the OCI.
	Policy string `json:"policy"`
	// Allow and Deny are what the profile adds to the policy and takes from it.
	Allow     []string `json:"allow,omitempty"`
	Deny      []string `json:"deny,omitempty"`
	Multiarch bool     `json:"multiarch,omitempty"`
	// Code is the compiled filter, an array of the kernel's struct sock_filter.
	// It is empty for a built-in policy as it is, which package seccomp has.
	Code []byte `json:"code,omitempty"`
	// First is a filter for PID 1 and for what precedes the command, where Code
	// refuses calls that starting a command takes. Then Code is the command's
	// alone, on top of it.
	First []byte `json:"first,omitempty"`
	// SpecAllow leaves the processor's speculation as it is for the command
	// (SECCOMP_FILTER_FLAG_SPEC_ALLOW): see docs/ARCHITECTURE.md.
	SpecAllow bool   `json:"spec_allow"`
	From      string `json:"from,omitempty"`
	// Trace has the supervisor told of each call that PID 1's filter refuses, and
	// answer it. Then First and Code refuse nothing twice, and Untraced are the
	// calls of which those that Code refuses are not told.
	Trace    bool     `json:"trace_denied,omitempty"`
	Untraced []string `json:"untraced,omitempty"`
}

// Filtered reports whether there is a filter at all.
func (s *Seccomp) Filtered() bool { return s.Policy != Unconfined || len(s.Code) > 0 }

// Unconfined is the policy that is no filter.
const Unconfined = "unconfined"

// AuditMode is what becomes of what an audit finds.
type AuditMode string

// The modes of an audit.
const (
	AuditOff    AuditMode = "off"
	AuditReport AuditMode = "report"
	AuditFail   AuditMode = "fail" // it is a failure of the run
)

// Claim says how a sandbox writes its workspace: beside others, or alone.
type Claim struct {
	Dir       string `json:"dir,omitempty"` // "" for none
	Exclusive bool   `json:"exclusive,omitempty"`
}

// Audit is the search, when the command has ended, for files that the host
// runs later and that are new or changed.
type Audit struct {
	Mode AuditMode `json:"mode"`
	// Trees are the host's directories, and files, that the command could write.
	Trees []AuditTree `json:"trees,omitempty"`
}

// AuditTree is one of them.
type AuditTree struct {
	Source string `json:"source"` // on the host
	IsDir  bool   `json:"is_dir,omitempty"`
	Top    string `json:"top"`            // the workspace, if it lies in it, else the same as Source
	Home   string `json:"home,omitempty"` // the caller's home directory
	// Pins are directories in it that could not be moved. Those that could not be
	// written are looked through all the same: a file may have another name.
	Pins []string `json:"pins,omitempty"`
}

// Note is a default or a downgrade that was taken, and why.
type Note struct {
	Level   string `json:"level"`   // "info", "degraded", "warning"
	Feature string `json:"feature"` // the name `[policy] require` uses, or ""
	Text    string `json:"text"`
	From    string `json:"from,omitempty"`
}

// Feature is one line of what the sandbox promises on this host.
type Feature struct {
	Name  string `json:"name"`  // the name `[policy] require` uses
	State string `json:"state"` // "enforced", "degraded", "missing", "off"
	By    string `json:"by"`    // the mechanism
	Why   string `json:"why,omitempty"`
	From  string `json:"from,omitempty"`
}
