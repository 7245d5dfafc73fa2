// Package sandbox holds the Plan: a sandbox resolved against one host, as
// plain data. Everything that decides produces a Plan (sandbox/resolve) and
// everything that acts consumes one (sandbox/program, sandbox/run); it is what
// `sbx explain --json` prints.
package sandbox

import (
	"time"

	"github.com/sbx-sandbox/sbx/sandbox/landlock"
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

	Caller     Caller     `json:"caller"`
	IDs        IDs        `json:"ids"`
	Namespaces Namespaces `json:"namespaces"`

	// Create are directories of sbx's own on the host that are made, with mode
	// 0700, before the sandbox starts. They are the only thing a run adds to it.
	Create   []string  `json:"create,omitempty"`
	Root     Root      `json:"root"`
	Mounts   []Mount   `json:"mounts"` // in the order they are made; parents first
	Proc     ProcMode  `json:"proc"`
	Pseudo   Pseudo    `json:"pseudo"`
	Hostname string    `json:"hostname"`
	Network  NetMode   `json:"network"`
	Limits   []Limit   `json:"limits"`
	UCounts  []UCount  `json:"user_limits"`
	Process  Process   `json:"process"`
	Security Security  `json:"security"`
	Audit    Audit     `json:"audit"`
	Features []Feature `json:"features"` // what is enforced, by what, and what was lost
	Notes    []Note    `json:"notes"`
}

// Shape is what of a Plan the child's making depends on. It is known from the
// profile alone, so that the kernel can make the namespaces while the rest of
// the Plan is still being decided.
type Shape struct {
	Namespaces Namespaces
	Range      bool // ids are mapped by the helpers
	Terminal   [3]bool
	Pipe       [3]bool
}

// Shape returns the Plan's shape.
func (p *Plan) Shape() Shape {
	return Shape{Namespaces: p.Namespaces, Range: p.IDs.Mode == "range", Terminal: p.Process.Terminal, Pipe: p.Process.Pipe}
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
)

// Mount is one thing placed at Target.
type Mount struct {
	Kind   MountKind `json:"kind"`
	Target string    `json:"target"`
	// Source is the host's path of a bind or a guard, free of symbolic links
	// when it was resolved; the text of a symlink.
	Source   string `json:"source,omitempty"`
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
	Private bool   `json:"private,omitempty"`
	Why     string `json:"why,omitempty"`  // shown by explain
	From    string `json:"from,omitempty"` // the profile's key, for its file and line
}

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
	NetHost NetMode = "host" // the host's
)

// Limit is a resource limit of getrlimit(2) for every process inside.
type Limit struct {
	Name     string `json:"name"`     // "nofile", as in ulimit's and podman's names
	Resource int    `json:"resource"` // RLIMIT_*
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
	From     string `json:"from,omitempty"`
}

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
	Lookup      []string `json:"lookup"`
	Dir         string   `json:"dir"`
	Umask       uint32   `json:"umask"`
	Nice        int      `json:"nice"`
	OOMScoreAdj int      `json:"oom_score_adj"`
	// Terminal says which of stdin, stdout and stderr are the sandbox's own
	// terminal, Pipe which are a pipe in place of the caller's. The caller's
	// terminal itself never gets in; what is neither is passed as it is.
	Terminal    [3]bool       `json:"terminal"`
	Pipe        [3]bool       `json:"pipe"`
	Timeout     time.Duration `json:"timeout,omitempty"`
	StopTimeout time.Duration `json:"stop_timeout"`
	StopSignal  int           `json:"stop_signal"`
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
	Scoped bool           `json:"scoped"`
	Rules  []LandlockRule `json:"rules,omitempty"`
	// MountOnly are targets below one that is allowed more. A rule can't take
	// away what another one above it gives: there the mount stands alone.
	MountOnly []string `json:"mount_only,omitempty"`
}

// On says whether anything is enforced.
func (l *Landlock) On() bool { return l.Handled != 0 || l.Scoped }

// LandlockRule allows something for a file, or for all that lies at or below a
// directory.
type LandlockRule struct {
	Path string `json:"path,omitempty"`
	// FD is the standard descriptor whose file is meant when there is no Path.
	FD    int             `json:"fd,omitempty"`
	Allow landlock.Access `json:"allow"`
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
