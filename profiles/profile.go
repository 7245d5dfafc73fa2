// Package profiles reads sbx's TOML profiles: strict decoding, inheritance,
// variables, look-up and trust. It knows the file format and nothing of the
// kernel; what a profile means on this host is decided by sandbox/resolve.
package profiles

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Profile is one profile after its files were decoded, checked, merged in the
// order of their inheritance, and its variables expanded. Every field has a
// value: the schema's default where no file set the key.
//
// Paths are absolute and cleaned, except where a field says otherwise; "~"
// and variables are already expanded. Sizes are bytes, zero means "not set".
type Profile struct {
	// Name is the key `name`, else the file's stem, else the built-in's name.
	Name        string
	Description string

	Process     Process
	Health      Health
	User        User
	Environment Environment
	Namespaces  Namespaces
	Root        Root
	Home        Home
	Workspace   Workspace
	// Mounts is sorted by Target, so that a parent stands before what lies in it.
	Mounts   []Mount
	Overlay  Overlay
	Network  Network
	Limits   Limits
	Security Security
	Policy   Policy
	// Secrets are what process.secrets may name, by name: "env:VARIABLE" of the
	// caller's, or "file:PATH". The table [secrets].
	Secrets map[string]string
	// Phases are the names of the tables [[phase]], in the order they run; see
	// Phase.
	Phases []string

	// Files are the profile's files, the most basic first; a built-in is
	// "builtin:NAME". The last one is what the user named.
	Files []string

	merged *merged // what Origin, Widens and Trust need; nil for a Profile made by hand
}

// Process is what runs and how: the table [process].
type Process struct {
	Command     []string      // command; argv, replaced by the command line's
	WorkingDir  string        // working_dir; "" = the current directory if visible inside, else the workspace, else home
	TTY         string        // tty: "auto", "always", "never"
	Hostname    string        // hostname; "" = Name
	Umask       uint32        // umask; octal string in the file, default 0022
	Nice        int           // nice; 0..19
	OOMScoreAdj int           // oom_score_adj; 0..1000, only ever raised
	Timeout     time.Duration // timeout; 0 = none
	StopTimeout time.Duration // stop_timeout; from SIGTERM to SIGKILL, default 10s
	StopSignal  string        // stop_signal; default SIGTERM
	ListenFDs   bool          // listen_fds; pass on what a service manager passed to sbx
	Secrets     []string      // secrets; "NAME" is a file, "NAME:VARIABLE" a variable; see Secret
}

// Health is the table [health]: a command that says whether the sandbox's own does
// what it should.
type Health struct {
	Command     []string      // command; empty for none
	Interval    time.Duration // interval; between two checks, default 30s
	Timeout     time.Duration // timeout; of a check, default 30s
	StartPeriod time.Duration // start_period; failures do not count before
	Retries     int           // retries; failures in a row, default 3
}

// User is who the command runs as: the table [user]. See user_namespaces(7).
type User struct {
	// As is as: "keep" (own name and uid), "root" (uid 0 in an inner user
	// namespace) or "auto" (on an image the image's own user, else keep).
	As string
	// Map is map: "auto" (one id), "single", "range" (subordinate ids by
	// newuidmap) or "explicit" when uid_map/gid_map are given.
	Map    string
	UIDMap []IDMap // uid_map; "inside:outside:count"
	GIDMap []IDMap // gid_map
}

// IDMap is one line of an explicit id map: Inside..Inside+Count-1 in the
// sandbox are Outside..Outside+Count-1 on the host.
type IDMap struct{ Inside, Outside, Count uint32 }

// Environment is the table [environment]: an allow-list. Unset wins over Pass,
// Set wins over both.
type Environment struct {
	Pass  []string          // pass; globs of names taken over from the caller
	Set   map[string]string // set; NAME = "value"
	Unset []string          // unset; globs
}

// Passes says whether the caller's variable is taken over. Unset is stronger
// than pass, but a name written out in pass is stronger than a pattern in
// unset: whoever writes OPENAI_API_KEY means it, whatever *_KEY says.
func (e *Environment) Passes(name string) bool {
	if slices.Contains(e.Unset, name) {
		return false
	}
	return slices.Contains(e.Pass, name) || matches(e.Pass, name) && !matches(e.Unset, name)
}

func matches(globs []string, name string) bool {
	for _, g := range globs {
		if ok, err := path.Match(g, name); ok && err == nil {
			return true
		}
	}
	return false
}

// Namespaces is the table [namespaces]. User, mount and PID namespaces are
// always the sandbox's own and have no key.
type Namespaces struct {
	IPC    string // ipc: "private", "host"
	UTS    string // uts: "private", "host"
	Cgroup string // cgroup: "private", "host"
	Time   string // time: "host", "private"
	// TimeMonotonic and TimeBoottime are time_offset_monotonic and
	// time_offset_boottime; they need time = "private". See time_namespaces(7).
	TimeMonotonic time.Duration
	TimeBoottime  time.Duration
}

// Root is what / is made of: the table [root].
type Root struct {
	// Source is source: "host" (the host's system directories, read-only, on
	// an own tmpfs), "empty", "image:NAME" (see ImageName), or an absolute
	// directory ("/" = the host's whole tree).
	Source   string
	ReadOnly bool   // read_only; default true, on an image false
	Upper    string // upper: "tmpfs", "disk"; of an image; default "disk" with an overlay's name
	Size     int64  // size; what can be written over an image; default 1 GiB in memory, on disk 0: no bound
	Etc      string // etc: "host" (all of /etc), "minimal" (allow-list), "none"; only for source = "host"
	Proc     string // proc: "new", "pid" (subset=pid), "none"
	Sys      string // sys: "none", "ro"
	Dev      string // dev: "minimal", "none"
	Tmp      int64  // tmp; size of the tmpfs on /tmp, default 1 GiB, 0 = no /tmp
	Shm      int64  // shm; size of /dev/shm, default 64 MiB
}

// HomeLayers reports whether the home's changes are kept apart.
func (p *Profile) HomeLayers() bool {
	return p.Home.Access == "overlay" && (p.Home.Mode == "host" || p.Home.Mode == "persistent")
}

// ImageName is the image that a root's source names, if it names one.
func ImageName(source string) (name string, ok bool) { return strings.CutPrefix(source, "image:") }

// Home is the table [home]. The home directory's path inside is the same as
// outside.
type Home struct {
	Mode   string   // mode: "tmpfs", "persistent", "host", "none"
	Access string   // access: "ro", "rw"; only for mode = "host"
	Size   int64    // size; of the tmpfs, default 512 MiB
	Share  []string // share; files or directories of the home shown read-only, missing ones are left out
	Hide   []string // hide; globs (* and ? within one name) of absolute paths masked where they exist (mode = "host")
}

// Workspace is the project: the table [workspace]. It has the same path inside
// as outside.
type Workspace struct {
	Path   string   // path; default the directory of a .sbx.toml, else the current directory
	Access string   // access: "rw", "ro", "overlay", "none"
	Hide   []string // hide; globs below Path (with **), masked where they exist
	Git    string   // git: "ro", "guard", "rw", "hide"; what of the repository may be changed
	// Protect is protect, globs below Path (with **) that are read-only where
	// they exist; Unprotect is unprotect, those of them that do not hold.
	Protect, Unprotect []string
	Audit              string // audit: "off", "report", "fail"
	Exclusive          bool   // exclusive; no other sandbox writes Path at the same time
}

// Mount is one table [mounts."TARGET"].
type Mount struct {
	Target   string   // the key; absolute path inside
	Type     string   // type: "bind", "tmpfs", "file", "symlink", "mask", "overlay", "volume", "none" (drops an inherited one)
	Source   string   // source; bind, overlay: host path, default Target; symlink: the link's text, verbatim; volume: its name
	Lower    []string // lower; overlay: host paths below the source, the topmost first
	Access   string   // access: "ro", "rw", "overlay" (volume); default "ro" for bind and file, "rw" for tmpfs and volume
	Exec     bool     // exec; false = noexec; default true
	Dev      bool     // dev; bind of a device node: leaves nodev off
	Optional bool     // optional; a missing source is left out with a note
	// Grantable is grantable: it is not there at first, sbx grant puts it there.
	Grantable bool
	Content   string // content; of a file
	Mode      uint32 // mode; octal string; tmpfs and file; default 0755 and 0644
	Upper     string // upper: "disk", "tmpfs"; of an overlay
	Size      int64  // size; tmpfs, default 64 MiB; overlay, of its upper, 0 = no bound
	Inodes    int64  // inodes; tmpfs, default one per 4 KiB of size
}

// Overlay is the table [overlay]: what holds for all overlays of a profile.
type Overlay struct {
	Backend string // backend: "auto", "kernel", "fuse-overlayfs"
	Name    string // name; "" = a new one
	OnExit  string // on_exit: "keep", "discard", "ask", "apply"
	Upper   string // upper: "disk", "tmpfs"; of the workspace's
	Path    string // path; where changes are kept, "" = sbx's own directory
	Sync    bool   // sync; changes are on the disk when fsync(2) has returned
	Size    int64  // size; of the workspace's, 0 = no bound, or the default in memory
}

// OverlayMemory is the size of an overlay in memory that names none, in bytes.
const OverlayMemory = 512 << 20

// Network is the table [network].
type Network struct {
	// Mode is mode: "none" (loopback only), "user", "host", or one with names, see
	// JoinedSandbox and Networks.
	Mode    string
	Backend string // backend: "auto", "engine", "pasta", "slirp4netns"
	// Default is default: "deny" or "internet", what Allow means when it is empty.
	Default     string
	Allow, Deny []string // allow, deny; rules as slirp/policy.Parse reads them
	TLSNames    bool     // tls_names; what a rule allows by name on port 443 must be TLS that asks for such a name
	OnDeny      string   // on_deny: "report", "ask"
	Upstream    string   // upstream_proxy: "none", "host"
	Audit       string   // audit: "off", "denied", "all"
	DNS         []string // dns; addresses, maybe with a port
	DNSSearch   []string // dns_search; domains
	Hosts       []string // hosts; "NAME:ADDRESS"
	Aliases     []string // aliases; names by which members of its networks find the sandbox besides
	Isolated    bool     // isolated; it reaches only members of its networks that are not
	Publish     []string // publish; as slirp.ParsePublish reads them
	HostPorts   []string // host_ports; as slirp.ParseHostPort reads them
	Rate        int64    // rate; bytes a second
	RateIn      int64    // rate_in; bytes a second
}

// Limits is the table [limits]. Zero means "not set"; -1 "unlimited".
type Limits struct {
	Cgroup     string // cgroup: "auto", "always", "never"
	Delegate   bool   // delegate; control groups of the command's own
	Memory     int64  // memory; size
	MemoryHigh int64  // memory_high; size
	Swap       int64  // swap; size, default 0 which here means none, where Memory is set
	OOMKill    string // oom_kill: "sandbox", "process"
	CPUs       int64  // cpus; thousandths of a processor
	CPUWeight  int64  // cpu_weight; 1..10000, default 100
	CPUSet     string // cpuset; "" = all

	// IOReadBPS and so on are io_read_bps, io_write_bps, io_read_iops and
	// io_write_iops: "PATH:RATE", see Rate.
	IOReadBPS, IOWriteBPS, IOReadIOPS, IOWriteIOPS []string

	Processes int64         // processes; number, the whole sandbox's
	OpenFiles int64         // open_files; number, of one process
	FileSize  int64         // file_size; size
	Core      int64         // core; size, default 0 which here means none
	CPUTime   time.Duration // cpu_time; of one process
	Stack     int64         // stack; size
	Locked    int64         // locked_memory; size
	Inotify   int64         // inotify_instances; the whole sandbox's
	Watches   int64         // inotify_watches; the whole sandbox's
}

// Security is the table [security].
type Security struct {
	NestedUserNS bool // nested_userns; may make namespaces of its own
	AllowRoot    bool // allow_root; may be run by the host's root

	// Seccomp is seccomp: "default", "build", "strict", "unconfined", or the
	// absolute path of a seccomp profile of the OCI. SeccompText is that file as
	// it was read with the profile, so that what was trusted is what is used.
	Seccomp      string
	SeccompText  string
	SeccompAllow []string // seccomp_allow; system calls, or groups of them with a leading @
	SeccompDeny  []string // seccomp_deny; the same, stronger than seccomp_allow
	Multiarch    bool     // multiarch; may run programs of the second, 32-bit architecture
	TraceDenied  bool     // trace_denied; refused system calls are reported
	// Landlock is landlock: "auto" (what the kernel has), "require" (all of it, or
	// refuse), "off".
	Landlock string
	// Fallback is fallback: where user namespaces are refused, "none" (refuse to run)
	// or "landlock" (run without them).
	Fallback string
}

// SeccompFile reports whether a policy of Security.Seccomp is a file.
func SeccompFile(policy string) bool { return strings.HasPrefix(policy, "/") }

// Policy is the table [policy].
type Policy struct {
	Require []string // require; feature names that must hold, else exit 125; "all" = each of them
}
