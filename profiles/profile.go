// Package profiles reads sbx's TOML profiles: strict decoding, inheritance,
// variables, look-up and trust. It knows the file format and nothing of the
// kernel; what a profile means on this host is decided by sandbox/resolve.
package profiles

import (
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
	User        User
	Environment Environment
	Namespaces  Namespaces
	Root        Root
	Home        Home
	Workspace   Workspace
	// Mounts is sorted by Target, so that a parent stands before what lies in it.
	Mounts   []Mount
	Network  Network
	Limits   Limits
	Security Security
	Policy   Policy

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
}

// User is who the command runs as: the table [user]. See user_namespaces(7).
type User struct {
	As string // as: "keep" (own name and uid) or "root" (uid 0 in an inner user namespace)
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
	// an own tmpfs), "empty", or an absolute directory ("/" = the host's whole
	// tree).
	Source   string
	ReadOnly bool   // read_only; default true
	Etc      string // etc: "host" (all of /etc), "minimal" (allow-list), "none"; only for source = "host"
	Proc     string // proc: "new", "pid" (subset=pid), "none"
	Sys      string // sys: "none", "ro"
	Dev      string // dev: "minimal", "none"
	Tmp      int64  // tmp; size of the tmpfs on /tmp, default 1 GiB, 0 = no /tmp
	Shm      int64  // shm; size of /dev/shm, default 64 MiB
}

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
	Access string   // access: "rw", "ro", "none"
	Hide   []string // hide; globs below Path (with **), masked where they exist
	Git    string   // git: "ro", "guard", "rw", "hide"; what of the repository may be changed
	// Protect is protect, globs below Path (with **) that are read-only where
	// they exist; Unprotect is unprotect, those of them that do not hold.
	Protect, Unprotect []string
	Audit              string // audit: "off", "report", "fail"
}

// Mount is one table [mounts."TARGET"].
type Mount struct {
	Target   string // the key; absolute path inside
	Type     string // type: "bind", "tmpfs", "file", "symlink", "mask", "none" (drops an inherited one)
	Source   string // source; bind: host path, default Target; symlink: the link's text, verbatim
	Access   string // access: "ro", "rw"; default "ro" for bind and file, "rw" for tmpfs
	Exec     bool   // exec; false = noexec; default true
	Dev      bool   // dev; bind of a device node: leaves nodev off
	Optional bool   // optional; a missing source is left out with a note
	Content  string // content; of a file
	Mode     uint32 // mode; octal string; tmpfs and file; default 0755 and 0644
	Size     int64  // size; tmpfs, default 64 MiB
	Inodes   int64  // inodes; tmpfs, default one per 4 KiB of size
}

// Network is the table [network].
type Network struct {
	Mode string // mode: "none" (loopback only), "host"
}

// Limits is the table [limits]. Zero means "not set"; -1 "unlimited".
type Limits struct {
	Memory    int64 // memory; size
	Processes int64 // processes
	OpenFiles int64 // open_files
	FileSize  int64 // file_size; size
	Core      int64 // core; size, default 0 which here means none
	CPUTime   time.Duration
	Stack     int64 // stack; size
	Locked    int64 // locked_memory; size
	Inotify   int64 // inotify_instances; the whole sandbox's
	Watches   int64 // inotify_watches; the whole sandbox's
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
	// landlock: "auto" (what the kernel has), "require" (all of it, or refuse),
	// "off"
	Landlock string
}

// SeccompFile reports whether a policy of Security.Seccomp is a file.
func SeccompFile(policy string) bool { return strings.HasPrefix(policy, "/") }

// Policy is the table [policy].
type Policy struct {
	Require []string // require; feature names that must hold, else exit 125; "all" = each of them
}
