package profiles

// kind is the type of a key's value in a file.
type kind uint8

const (
	kindString   kind = iota // any text without a NUL byte
	kindEnum                 // one of row.enum
	kindBool                 //
	kindInt                  // an integer in min..max
	kindOctal                // a string of octal digits, such as "0022"
	kindSize                 // bytes: 4096, "64M", "1G"
	kindDuration             // as time.ParseDuration reads it: "10s", "1h30m"
	kindList                 // a list of strings
	kindMap                  // a table of NAME = "value"
	kindIDMap                // a list of "inside:outside:count"
)

// form is what a string, or each string of a list, has to look like.
type form uint8

const (
	formText     form = iota
	formPath          // a path; "~/" and relative paths are made absolute
	formHomePath      // a path in the home directory, relative to it
	formHomeGlob      // the same with * and ?
	formSource        // a mount's source: a path, or the text of a symbolic link
	formRoot          // "host", "empty" or a directory
	formName          // a profile's name
	formHostname      // a host name, or ""
	formSignal        // SIGTERM and the like
	formEnvGlob       // a glob of environment variables' names
	formTreeGlob      // a glob below the workspace
	formFeature       // a feature's name
	formPolicy        // a built-in system call policy or a file
	formCall          // a system call's name, or that of a group with its @
	formExtends       // what Find accepts, without bare names
)

// widening says how two values of a key compare when the question is whether
// a profile grants more than another. The zero value is no answer; a test
// refuses a row that has it.
type widening uint8

const (
	wideUnknown   widening = iota
	wideNever              // grants nothing by itself
	wideRank               // a later word of row.order is wider
	wideTrue               // true is wider
	wideFalse              // false is wider
	wideMore               // a larger number is wider
	wideLess               // a smaller number is wider
	wideLimit              // larger is wider, not set and unlimited are widest
	wideAdded              // each entry that the base lacks is wider
	wideRemoved            // each entry of the base that is gone is wider
	wideEnvPass            // each glob that no glob of the base covers is wider
	wideTmpfs              // memory: see tmpfsBudget
	wideName               // a name matters where it selects a persistent home
	wideRoot               // a root that shows more of the host
	wideWorkspace          // a workspace outside the project's own directory
	wideMount              // judged mount by mount
	widePolicy             // a system call policy that allows more, or another file
	wideCalls              // each system call that the base lacks is wider
)

// row is one key of the file format. Everything that knows keys is driven by
// the rows: decoding, defaults, merging, the JSON Schema, the reference in
// docs/PROFILES.md and the comparison that trust needs.
type row struct {
	path string // dotted; "mounts.*." is any mount's table
	kind kind
	form form
	enum []string
	// min and max bound integers and sizes. With max = 0 there is no bound.
	min, max int64
	// unlimited lets -1 and "unlimited" stand for -1.
	unlimited bool
	// vars says that ${NAME} is expanded.
	vars bool
	// def is the default as a file would write it, without quotes; "" is the
	// kind's zero value.
	def string
	// defNote replaces the default in the documentation where it depends on
	// something else.
	defNote string
	// needs and in: the key has a meaning only while the key `needs` holds one
	// of the values `in`. Mounts' rows leave needs empty, for their own type.
	// With `not` in place of `in`: while it holds none of those values.
	needs string
	in    []string
	not   []string
	wide  widening
	order []string // for wideRank, narrow to wide; "a=b" are equals
	doc   string
	// field points at the key's field in a profile, or in a mount.
	field func(*Profile, *Mount) any
}

// Rows of the file itself.
var fileRows = []row{
	{path: "version", kind: kindInt, min: 1, max: 1, wide: wideNever,
		doc: "Version of the file format. Required in every file; this version reads 1."},
	{path: "extends", kind: kindList, form: formExtends, wide: wideNever, defNote: `["builtin:build"]`,
		doc: "Profiles this one builds on, merged left to right before this file; an empty list starts from the bare defaults."},
}

// policies are the built-in system call policies, narrow to wide.
var policies = []string{"strict", "build", "default", "unconfined"}

// hostOrPrivate is the order of the namespaces' keys.
var hostOrPrivate = []string{"private", "host"}

// rows is the schema, in the order of the reference and of rendered profiles.
var rows = []row{
	{path: "name", kind: kindString, form: formName, wide: wideName, defNote: "the file's name without .toml; for .sbx.toml the directory's",
		doc:   "Name of the profile, of a persistent home and, unless hostname is set, of the sandbox's host.",
		field: func(p *Profile, _ *Mount) any { return &p.Name }},
	{path: "description", kind: kindString, wide: wideNever,
		doc:   "One line for lists of profiles.",
		field: func(p *Profile, _ *Mount) any { return &p.Description }},

	{path: "process.command", kind: kindList, vars: true, wide: wideNever,
		doc:   "Command and arguments to run when the command line names none; a file's list replaces an inherited one.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.Command }},
	{path: "process.working_dir", kind: kindString, form: formPath, vars: true, wide: wideNever, defNote: "the current directory if visible inside, else the workspace, else the home",
		doc:   "Directory the command starts in.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.WorkingDir }},
	{path: "process.tty", kind: kindEnum, enum: []string{"auto", "always", "never"}, def: "auto", wide: wideNever,
		doc:   "Whether the command gets a pseudo-terminal of its own; auto gives one when sbx itself runs on a terminal.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.TTY }},
	{path: "process.hostname", kind: kindString, form: formHostname, wide: wideNever, defNote: "the profile's name", needs: "namespaces.uts", in: []string{"private"},
		doc:   "Host name inside.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.Hostname }},
	{path: "process.umask", kind: kindOctal, max: 0o777, def: "0022", wide: wideNever,
		doc:   "File mode creation mask of the command, an octal string.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.Umask }},
	{path: "process.nice", kind: kindInt, max: 19, wide: wideLess,
		doc:   "How much the command yields to other processes, 0 to 19.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.Nice }},
	{path: "process.oom_score_adj", kind: kindInt, max: 1000, wide: wideLess,
		doc:   "How early the kernel kills the command when memory runs out, 0 to 1000; only ever raised.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.OOMScoreAdj }},
	{path: "process.timeout", kind: kindDuration, wide: wideLimit,
		doc:   "Time after which the sandbox is stopped with exit status 124; 0 is never.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.Timeout }},
	{path: "process.stop_timeout", kind: kindDuration, def: "10s", wide: wideMore,
		doc:   "Time between the stop signal and SIGKILL.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.StopTimeout }},
	{path: "process.stop_signal", kind: kindString, form: formSignal, def: "SIGTERM", wide: wideNever,
		doc:   "Signal that asks the command to end.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.StopSignal }},

	{path: "user.as", kind: kindEnum, enum: []string{"keep", "root"}, def: "keep", wide: wideRank, order: []string{"keep", "root"},
		doc:   "Who the command runs as: keep is the caller's own name and uid, root is uid 0 of an inner user namespace.",
		field: func(p *Profile, _ *Mount) any { return &p.User.As }},
	{path: "user.map", kind: kindEnum, enum: []string{"auto", "single", "range", "explicit"}, def: "auto", wide: wideRank, order: []string{"single=auto", "range", "explicit"},
		doc:   "Which ids exist inside: auto and single are one, range adds the subordinate ids of /etc/subuid, explicit is uid_map and gid_map.",
		field: func(p *Profile, _ *Mount) any { return &p.User.Map }},
	{path: "user.uid_map", kind: kindIDMap, wide: wideAdded, needs: "user.map", in: []string{"auto", "explicit"},
		doc:   `Explicit user ids, each "inside:outside:count"; makes map explicit.`,
		field: func(p *Profile, _ *Mount) any { return &p.User.UIDMap }},
	{path: "user.gid_map", kind: kindIDMap, wide: wideAdded, needs: "user.map", in: []string{"auto", "explicit"},
		doc:   `Explicit group ids, each "inside:outside:count"; makes map explicit.`,
		field: func(p *Profile, _ *Mount) any { return &p.User.GIDMap }},

	{path: "environment.pass", kind: kindList, form: formEnvGlob, wide: wideEnvPass,
		doc:   "Names of the caller's variables that the command sees; * and ? match any text and any character.",
		field: func(p *Profile, _ *Mount) any { return &p.Environment.Pass }},
	{path: "environment.set", kind: kindMap, vars: true, wide: wideNever,
		doc:   "Variables with values of the profile's own; wins over pass and unset.",
		field: func(p *Profile, _ *Mount) any { return &p.Environment.Set }},
	{path: "environment.unset", kind: kindList, form: formEnvGlob, wide: wideRemoved,
		doc:   "Names never taken over from the caller; wins over pass.",
		field: func(p *Profile, _ *Mount) any { return &p.Environment.Unset }},

	{path: "namespaces.ipc", kind: kindEnum, enum: hostOrPrivate, def: "private", wide: wideRank, order: hostOrPrivate,
		doc:   "System V IPC and POSIX message queues.",
		field: func(p *Profile, _ *Mount) any { return &p.Namespaces.IPC }},
	{path: "namespaces.uts", kind: kindEnum, enum: hostOrPrivate, def: "private", wide: wideRank, order: hostOrPrivate,
		doc:   "Host and domain name.",
		field: func(p *Profile, _ *Mount) any { return &p.Namespaces.UTS }},
	{path: "namespaces.cgroup", kind: kindEnum, enum: hostOrPrivate, def: "private", wide: wideRank, order: hostOrPrivate,
		doc:   "View of the control group tree.",
		field: func(p *Profile, _ *Mount) any { return &p.Namespaces.Cgroup }},
	{path: "namespaces.time", kind: kindEnum, enum: []string{"host", "private"}, def: "host", wide: wideNever,
		doc:   "Monotonic and boot-time clocks; private allows the offsets.",
		field: func(p *Profile, _ *Mount) any { return &p.Namespaces.Time }},
	{path: "namespaces.time_offset_monotonic", kind: kindDuration, min: -1, wide: wideNever, needs: "namespaces.time", in: []string{"private"},
		doc:   "Added to the monotonic clock inside; may be negative.",
		field: func(p *Profile, _ *Mount) any { return &p.Namespaces.TimeMonotonic }},
	{path: "namespaces.time_offset_boottime", kind: kindDuration, min: -1, wide: wideNever, needs: "namespaces.time", in: []string{"private"},
		doc:   "Added to the boot-time clock inside; may be negative.",
		field: func(p *Profile, _ *Mount) any { return &p.Namespaces.TimeBoottime }},

	{path: "root.source", kind: kindString, form: formRoot, vars: true, def: "host", wide: wideRoot,
		doc:   "What / is made of: host is the system directories read-only, empty is nothing, a path is that directory.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Source }},
	{path: "root.read_only", kind: kindBool, def: "true", wide: wideFalse,
		doc:   "Whether the root file system itself refuses writes.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.ReadOnly }},
	{path: "root.etc", kind: kindEnum, enum: []string{"host", "minimal", "none"}, def: "minimal", wide: wideRank, order: []string{"none", "minimal", "host"}, needs: "root.source", in: []string{"host"},
		doc:   "How much of /etc is shown: all, an allow-list that programs need, or nothing.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Etc }},
	{path: "root.proc", kind: kindEnum, enum: []string{"new", "pid", "none"}, def: "new", wide: wideRank, order: []string{"none", "pid", "new"},
		doc:   "/proc of the sandbox's own processes; pid leaves out everything but processes.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Proc }},
	{path: "root.sys", kind: kindEnum, enum: []string{"none", "ro"}, def: "none", wide: wideRank, order: []string{"none", "ro"},
		doc:   "Whether /sys is shown, read-only.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Sys }},
	{path: "root.dev", kind: kindEnum, enum: []string{"minimal", "none"}, def: "minimal", wide: wideRank, order: []string{"none", "minimal"},
		doc:   "Whether /dev has null, zero, full, random, urandom, tty and a private pts.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Dev }},
	{path: "root.tmp", kind: kindSize, def: "1G", wide: wideTmpfs,
		doc:   "Size of the private /tmp in memory; 0 leaves /tmp out.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Tmp }},
	{path: "root.shm", kind: kindSize, def: "64M", wide: wideTmpfs,
		doc:   "Size of the private /dev/shm in memory; 0 leaves it out.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Shm }},

	{path: "home.mode", kind: kindEnum, enum: []string{"tmpfs", "persistent", "host", "none"}, def: "tmpfs", wide: wideRank, order: []string{"none", "tmpfs", "persistent", "host"},
		doc:   "The home directory: empty and in memory, kept per profile name, the host's own, or none.",
		field: func(p *Profile, _ *Mount) any { return &p.Home.Mode }},
	{path: "home.access", kind: kindEnum, enum: []string{"ro", "rw"}, def: "ro", wide: wideRank, order: []string{"ro", "rw"}, needs: "home.mode", in: []string{"host"},
		doc:   "Whether the host's home may be written.",
		field: func(p *Profile, _ *Mount) any { return &p.Home.Access }},
	{path: "home.size", kind: kindSize, min: 1, def: "512M", wide: wideTmpfs, needs: "home.mode", in: []string{"tmpfs"},
		doc:   "Size of the home in memory.",
		field: func(p *Profile, _ *Mount) any { return &p.Home.Size }},
	{path: "home.share", kind: kindList, form: formHomePath, vars: true, wide: wideAdded, needs: "home.mode", in: []string{"tmpfs", "persistent"},
		doc:   "Files and directories of the host's home shown read-only; missing ones are left out.",
		field: func(p *Profile, _ *Mount) any { return &p.Home.Share }},
	{path: "home.hide", kind: kindList, form: formHomeGlob, vars: true, wide: wideRemoved, needs: "home.mode", in: []string{"host"},
		doc:   "Paths of the host's home masked where they exist; * and ? match within one name.",
		field: func(p *Profile, _ *Mount) any { return &p.Home.Hide }},

	{path: "workspace.path", kind: kindString, form: formPath, vars: true, wide: wideWorkspace, defNote: "the directory of a .sbx.toml, else the current directory",
		doc:   "The project's directory; the same path inside as outside.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Path }},
	{path: "workspace.access", kind: kindEnum, enum: []string{"rw", "ro", "none"}, def: "rw", wide: wideRank, order: []string{"none", "ro", "rw"},
		doc:   "Whether the project may be written, read, or neither.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Access }},
	{path: "workspace.hide", kind: kindList, form: formTreeGlob, wide: wideRemoved, needs: "workspace.access", in: []string{"rw", "ro"},
		doc:   "Globs below the workspace masked where they exist; ** matches any number of directories.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Hide }},
	{path: "workspace.git", kind: kindEnum, enum: []string{"ro", "guard", "rw", "hide"}, def: "ro", wide: wideRank, order: []string{"hide", "ro", "guard", "rw"}, needs: "workspace.access", in: []string{"rw", "ro"},
		doc:   "The project's git repository: read-only; guard lets commits through and keeps settings and hooks read-only; writable like the rest; or hidden.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Git }},
	{path: "workspace.protect", kind: kindList, form: formTreeGlob, wide: wideRemoved, needs: "workspace.access", in: []string{"rw", "ro"},
		doc:   "Globs below the workspace that are read-only where they exist at the start; ** matches any number of directories.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Protect }},
	{path: "workspace.unprotect", kind: kindList, form: formTreeGlob, wide: wideAdded, needs: "workspace.access", in: []string{"rw", "ro"},
		doc:   "Entries of workspace.protect, word for word, that do not hold.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Unprotect }},
	{path: "workspace.audit", kind: kindEnum, enum: []string{"off", "report", "fail"}, def: "report", wide: wideRank, order: []string{"fail", "report", "off"},
		doc:   "What is done about files that the host runs later and that are new or changed after the run, in all that could be written: nothing, a list, or a list and exit status 3.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Audit }},

	{path: "mounts.*.type", kind: kindEnum, enum: []string{"bind", "tmpfs", "file", "symlink", "mask", "none"}, def: "bind", wide: wideMount,
		doc:   "What stands at the target: a host path, memory, a file with content, a link, an empty cover; none drops an inherited mount.",
		field: func(_ *Profile, m *Mount) any { return &m.Type }},
	{path: "mounts.*.source", kind: kindString, form: formSource, vars: true, defNote: "the target, for a bind", in: []string{"bind", "symlink"}, wide: wideMount,
		doc:   "Host path of a bind, or the text of a symbolic link.",
		field: func(_ *Profile, m *Mount) any { return &m.Source }},
	{path: "mounts.*.access", kind: kindEnum, enum: []string{"ro", "rw"}, defNote: `"ro" for bind and file, "rw" for tmpfs`, in: []string{"bind", "tmpfs", "file"}, wide: wideMount,
		doc:   "Whether it may be written.",
		field: func(_ *Profile, m *Mount) any { return &m.Access }},
	{path: "mounts.*.exec", kind: kindBool, def: "true", in: []string{"bind", "tmpfs", "file"}, wide: wideMount,
		doc:   "Whether programs on it may be run.",
		field: func(_ *Profile, m *Mount) any { return &m.Exec }},
	{path: "mounts.*.dev", kind: kindBool, def: "false", in: []string{"bind"}, wide: wideMount,
		doc:   "Whether device nodes on it work; needed to bind one.",
		field: func(_ *Profile, m *Mount) any { return &m.Dev }},
	{path: "mounts.*.optional", kind: kindBool, def: "false", in: []string{"bind"}, wide: wideMount,
		doc:   "Whether a missing source is left out with a note and not an error.",
		field: func(_ *Profile, m *Mount) any { return &m.Optional }},
	{path: "mounts.*.content", kind: kindString, in: []string{"file"}, wide: wideMount,
		doc:   "Text of a file.",
		field: func(_ *Profile, m *Mount) any { return &m.Content }},
	{path: "mounts.*.mode", kind: kindOctal, max: 0o7777, defNote: `"0755" for tmpfs, "0644" for file`, in: []string{"tmpfs", "file"}, wide: wideMount,
		doc:   "Permissions, an octal string.",
		field: func(_ *Profile, m *Mount) any { return &m.Mode }},
	{path: "mounts.*.size", kind: kindSize, min: 1, defNote: `"64M"`, in: []string{"tmpfs"}, wide: wideMount,
		doc:   "Size of a tmpfs.",
		field: func(_ *Profile, m *Mount) any { return &m.Size }},
	{path: "mounts.*.inodes", kind: kindInt, min: 1, defNote: "one per 4 KiB of size", in: []string{"tmpfs"}, wide: wideMount,
		doc:   "Number of files a tmpfs can hold.",
		field: func(_ *Profile, m *Mount) any { return &m.Inodes }},

	{path: "network.mode", kind: kindEnum, enum: []string{"none", "host"}, def: "none", wide: wideRank, order: []string{"none", "host"},
		doc:   "Network: a loopback of its own and nothing else, or the host's.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Mode }},

	{path: "limits.memory", kind: kindSize, unlimited: true, wide: wideLimit,
		doc:   "Memory of the whole sandbox; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Memory }},
	{path: "limits.processes", kind: kindInt, unlimited: true, wide: wideLimit,
		doc:   "Number of processes and threads; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Processes }},
	{path: "limits.open_files", kind: kindInt, unlimited: true, wide: wideLimit,
		doc:   "Open file descriptors of one process; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.OpenFiles }},
	{path: "limits.file_size", kind: kindSize, unlimited: true, wide: wideLimit,
		doc:   "Size of one file that is written; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.FileSize }},
	{path: "limits.core", kind: kindSize, unlimited: true, wide: wideMore,
		doc:   "Size of a core dump; 0 is none.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Core }},
	{path: "limits.cpu_time", kind: kindDuration, unlimited: true, wide: wideLimit,
		doc:   "Processor time of one process; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.CPUTime }},
	{path: "limits.stack", kind: kindSize, unlimited: true, wide: wideLimit,
		doc:   "Stack of one process; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Stack }},
	{path: "limits.locked_memory", kind: kindSize, unlimited: true, wide: wideLimit,
		doc:   "Memory one process may lock; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Locked }},
	{path: "limits.inotify_instances", kind: kindInt, unlimited: true, wide: wideLimit,
		doc:   "Inotify instances of the whole sandbox; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Inotify }},
	{path: "limits.inotify_watches", kind: kindInt, unlimited: true, wide: wideLimit,
		doc:   "Inotify watches of the whole sandbox; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Watches }},

	{path: "security.nested_userns", kind: kindBool, def: "false", wide: wideTrue,
		doc:   "Whether the command may make user namespaces of its own.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.NestedUserNS }},
	{path: "security.allow_root", kind: kindBool, def: "false", wide: wideTrue,
		doc:   "Whether the host's root may run the profile.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.AllowRoot }},
	{path: "security.seccomp", kind: kindString, form: formPolicy, vars: true, def: "default", wide: widePolicy, order: policies,
		doc:   "Policy of system calls: default is moby's with edits, build adds what work on code needs, strict is for hostile code, unconfined is no filter, a path is a seccomp profile of the OCI (JSON).",
		field: func(p *Profile, _ *Mount) any { return &p.Security.Seccomp }},
	{path: "security.seccomp_allow", kind: kindList, form: formCall, wide: wideCalls, needs: "security.seccomp", not: []string{"unconfined"},
		doc:   "System calls that are allowed beside the policy's, by name, or by group as in @debug.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.SeccompAllow }},
	{path: "security.seccomp_deny", kind: kindList, form: formCall, wide: wideRemoved,
		doc:   "System calls that are refused, by name or by group; stronger than seccomp_allow.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.SeccompDeny }},
	{path: "security.multiarch", kind: kindBool, def: "false", wide: wideTrue,
		doc:   "Whether programs of the machine's 32-bit architecture (386 on amd64, arm on arm64) may run; without it the filter kills them.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.Multiarch }},
	{path: "security.landlock", kind: kindEnum, enum: []string{"auto", "require", "off"}, def: "auto", wide: wideRank, order: []string{"require", "auto", "off"},
		doc:   "Landlock, a second wall behind the mounts: what the kernel has of it, all of it or refuse, or none.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.Landlock }},

	{path: "policy.require", kind: kindList, form: formFeature, wide: wideRemoved,
		doc:   "Features that must hold, else sbx refuses with exit status 125; all is each of them.",
		field: func(p *Profile, _ *Mount) any { return &p.Policy.Require }},
}

// mountPrefix begins the paths of the rows of one mount.
const mountPrefix = "mounts.*."

// isMount reports whether r belongs to a mount's table.
func (r *row) isMount() bool {
	return len(r.path) > len(mountPrefix) && r.path[:len(mountPrefix)] == mountPrefix
}

// leaf is the last part of r's path.
func (r *row) leaf() string {
	for i := len(r.path) - 1; i >= 0; i-- {
		if r.path[i] == '.' {
			return r.path[i+1:]
		}
	}
	return r.path
}

// replaces reports whether a list of a later file takes the place of an
// inherited one. Arguments have an order and a meaning together; the entries
// of every other list stand for themselves.
func (r *row) replaces() bool { return r.path == "process.command" }

// find returns the index of the row of a dotted path, or -1. The table is
// short enough that a map would cost more to build than it saves.
func find(path string) int {
	for i := range rows {
		if rows[i].path == path {
			return i
		}
	}
	return -1
}
