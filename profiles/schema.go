package profiles

// kind is the type of a key's value in a file.
type kind uint8

const (
	kindString      kind = iota // any text without a NUL byte
	kindEnum                    // one of row.enum
	kindBool                    //
	kindInt                     // an integer in min..max
	kindOctal                   // a string of octal digits, such as "0022"
	kindSize                    // bytes: 4096, "64M", "1G"
	kindDuration                // as time.ParseDuration reads it: "10s", "1h30m"
	kindThousandths             // a number with up to three decimals, such as 1.5, in thousandths
	kindList                    // a list of strings
	kindMap                     // a table of NAME = "value"
	kindIDMap                   // a list of "inside:outside:count"
)

// form is what a string, or each string of a list, has to look like.
type form uint8

const (
	formText         form = iota
	formPath              // a path; "~/" and relative paths are made absolute
	formHomePath          // a path in the home directory, relative to it
	formHomeGlob          // the same with * and ?
	formSource            // a mount's source: a path, or the text of a symbolic link
	formRoot              // "host", "empty", an image or a directory
	formName              // a profile's name
	formHostname          // a host name, or ""
	formAnyName           // a name as a profile's, or ""
	formSignal            // SIGTERM and the like
	formEnvGlob           // a glob of environment variables' names
	formTreeGlob          // a glob below the workspace
	formFeature           // a feature's name
	formPolicy            // a built-in system call policy or a file
	formCall              // a system call's name, or that of a group with its @
	formExtends           // what Find accepts, without bare names
	formRule              // a rule of whom to talk to
	formPublish           // a port of the sandbox that the host offers
	formHostPort          // a port of the host's loopback
	formServer            // a name server's address, maybe with a port
	formHost              // "NAME:ADDRESS"
	formDomain            // a domain's name
	formMember            // a name in a named network
	formCPUs              // processors, such as "0-3,8", or ""
	formByteRate          // "PATH:SIZE", a rate of bytes on a device
	formRate              // "PATH:N"
	formSecret            // "NAME" or "NAME:VARIABLE"
	formSecretSource      // "env:VARIABLE" or "file:PATH"
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
	widePlace              // a directory of the host's that is written to, and that the base does not name
	wideMount              // judged mount by mount
	widePolicy             // a system call policy that allows more, or another file
	wideCalls              // each system call that the base lacks is wider
	wideRules              // each rule that the base lacks is wider, see comparison.rules
	wideListed             // each entry that the base lacks is wider, word for word
	wideRates              // a rate of the base that no rate of the same path holds to
	wideSecret             // each secret that the base does not hand out from the same source
	wideCPUs               // each processor that the base lacks is wider, not set is widest
)

// row is one key of the file format. Everything that knows keys is driven by
// the rows: decoding, defaults, merging, the JSON Schema, the reference in
// docs/PROFILES.md and the comparison that trust needs.
type row struct {
	path string // dotted; "mounts.*." is any mount's table
	kind kind
	form form
	enum []string
	// named are words that are followed by a colon and a name, beside those of enum.
	named []string
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

// Rows of a table [[phase]], beside those of a profile's tables.
var phaseRows = []row{
	{path: "phase[].name", kind: kindString, form: formName, wide: wideNever, defNote: "required",
		doc: "Name of the phase. One that an inherited profile has already is gone on with, others come after those."},
	{path: "phase[].command", kind: kindList, vars: true, wide: wideNever, defNote: "the run's command",
		doc: "What the phase runs; short for process.command. An entry ${ARGS} stands for the words of the run's command from the third on."},
	{path: "phase[].secrets", kind: kindList, form: formSecret, wide: wideSecret,
		doc: "Secrets that the phase gets; short for process.secrets."},
}

// policies are the built-in system call policies, narrow to wide.
var policies = []string{"strict", "build", "default", "unconfined"}

// userMode is where the rows of a network of the sandbox's own mean something.
var userMode = []string{"user", anyNetwork}

// anyNetwork stands for every named network in a row's `in`.
const anyNetwork = "network:NAME"

// anyImage stands for every image in a row's `in`.
const anyImage = "image:NAME"

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
	{path: "process.listen_fds", kind: kindBool, def: "false", wide: wideTrue,
		doc:   "Whether sockets that systemd passed to sbx go on to the command, as descriptors 3, 4, ..., with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)). They are of the host's network, whatever `network.mode` says.",
		field: func(p *Profile, _ *Mount) any { return &p.Process.ListenFDs }},
	{path: "process.secrets", kind: kindList, form: formSecret, wide: wideSecret,
		doc:   `Secrets that the command gets: "NAME" as the file /run/secrets/NAME, "NAME:VARIABLE" in a variable. A phase has only those that it lists itself.`,
		field: func(p *Profile, _ *Mount) any { return &p.Process.Secrets }},

	{path: "health.command", kind: kindList, vars: true, wide: wideNever,
		doc:   "Command that is run inside again and again, of detached and named sandboxes: status 0 is healthy. A file's list replaces an inherited one.",
		field: func(p *Profile, _ *Mount) any { return &p.Health.Command }},
	{path: "health.interval", kind: kindDuration, def: "30s", wide: wideNever,
		doc:   "Time from the end of one check to the next.",
		field: func(p *Profile, _ *Mount) any { return &p.Health.Interval }},
	{path: "health.timeout", kind: kindDuration, def: "30s", wide: wideNever,
		doc:   "Time after which a check is ended and has failed.",
		field: func(p *Profile, _ *Mount) any { return &p.Health.Timeout }},
	{path: "health.start_period", kind: kindDuration, wide: wideNever,
		doc:   "Time after the start in which failures do not count.",
		field: func(p *Profile, _ *Mount) any { return &p.Health.StartPeriod }},
	{path: "health.retries", kind: kindInt, min: 1, max: 1000, def: "3", wide: wideNever,
		doc:   "Failures in a row that make it unhealthy.",
		field: func(p *Profile, _ *Mount) any { return &p.Health.Retries }},

	{path: "user.as", kind: kindEnum, enum: []string{"auto", "keep", "root"}, def: "auto", wide: wideRank, order: []string{"keep=auto", "root"},
		doc:   "Who the command runs as: keep is the caller's own name and uid, root is uid 0 of an inner user namespace, auto is keep, and on an image the user that the image names, which mostly is root.",
		field: func(p *Profile, _ *Mount) any { return &p.User.As }},
	{path: "user.map", kind: kindEnum, enum: []string{"auto", "single", "range", "explicit"}, def: "auto", wide: wideRank, order: []string{"single=auto", "range", "explicit"},
		doc:   "Which ids exist inside: auto and single are one, range adds the subordinate ids of /etc/subuid, explicit is uid_map and gid_map. On an overlay that was made with a range, auto is one too.",
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
		doc:   "What / is made of: host is the system directories read-only, empty is nothing, image:NAME an image of sbx image ls, a path is that directory.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Source }},
	{path: "root.read_only", kind: kindBool, def: "true", defNote: "true; false on an image", wide: wideFalse,
		doc:   "Whether the root file system itself refuses writes. Where what is written over an image goes, root.upper says.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.ReadOnly }},
	{path: "root.upper", kind: kindEnum, enum: []string{"tmpfs", "disk"}, def: "tmpfs", defNote: `"tmpfs"; "disk" with overlay.name`, wide: wideRank, order: []string{"tmpfs", "disk"}, needs: "root.source", in: []string{anyImage},
		doc:   "Where what is written over an image is kept: in memory and gone afterwards, or on disk as the other changes of the overlay, for the next run with that overlay.name and for sbx image commit.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Upper }},
	{path: "root.size", kind: kindSize, min: 1 << 20, def: "1G", defNote: `"1G" in memory, none on disk`, wide: wideTmpfs, needs: "root.source", in: []string{anyImage},
		doc:   "How much can be written over an image: in memory a hard bound, on disk as mounts.*.size.",
		field: func(p *Profile, _ *Mount) any { return &p.Root.Size }},
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
	{path: "home.access", kind: kindEnum, enum: []string{"ro", "rw", "overlay"}, def: "ro", defNote: `"ro" of the host's home, "rw" of one that is kept`, wide: wideRank, order: []string{"ro", "overlay", "rw"}, needs: "home.mode", in: []string{"host", "persistent"},
		doc:   "Whether the home may be written; with overlay it can be, and the changes are kept apart as those of the workspace, see [overlay].",
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
	{path: "workspace.access", kind: kindEnum, enum: []string{"rw", "ro", "overlay", "none"}, def: "rw", wide: wideRank, order: []string{"none", "ro", "overlay", "rw"},
		doc:   "Whether the project may be written, read, or neither; with overlay it can be written inside, and the changes are kept apart from the host's files, see [overlay].",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Access }},
	{path: "workspace.hide", kind: kindList, form: formTreeGlob, wide: wideRemoved, needs: "workspace.access", in: []string{"rw", "ro", "overlay"},
		doc:   "Globs below the workspace masked where they exist; ** matches any number of directories.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Hide }},
	{path: "workspace.git", kind: kindEnum, enum: []string{"ro", "guard", "rw", "hide"}, def: "ro", wide: wideRank, order: []string{"hide", "ro", "guard", "rw"}, needs: "workspace.access", in: []string{"rw", "ro", "overlay"},
		doc:   "The project's git repository: read-only; guard lets commits through and keeps settings and hooks read-only; writable like the rest; or hidden. In an overlay all but hide are the same: what is written stays in it.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Git }},
	{path: "workspace.protect", kind: kindList, form: formTreeGlob, wide: wideRemoved, needs: "workspace.access", in: []string{"rw", "ro"},
		doc:   "Globs below the workspace that are read-only where they exist at the start; ** matches any number of directories.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Protect }},
	{path: "workspace.unprotect", kind: kindList, form: formTreeGlob, wide: wideAdded, needs: "workspace.access", in: []string{"rw", "ro"},
		doc:   "Entries of workspace.protect, word for word, that do not hold.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Unprotect }},
	{path: "workspace.exclusive", kind: kindBool, def: "false", wide: wideFalse,
		doc:   `Whether a project that may be written ("rw") is written by no other sandbox at the same time: whichever comes second is refused.`,
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Exclusive }},
	{path: "workspace.audit", kind: kindEnum, enum: []string{"off", "report", "fail"}, def: "report", wide: wideRank, order: []string{"fail", "report", "off"},
		doc:   "What is done about files that the host runs later and that are new or changed after the run, in all that could be written: nothing, a list, or a list and exit status 3.",
		field: func(p *Profile, _ *Mount) any { return &p.Workspace.Audit }},

	{path: "mounts.*.type", kind: kindEnum, enum: []string{"bind", "tmpfs", "file", "symlink", "mask", "overlay", "volume", "none"}, def: "bind", wide: wideMount,
		doc:   "What stands at the target: a host path, memory, a file with content, a link, an empty cover, a host directory with changes kept apart, a named volume of sbx's; none drops an inherited mount.",
		field: func(_ *Profile, m *Mount) any { return &m.Type }},
	{path: "mounts.*.source", kind: kindString, form: formSource, vars: true, defNote: "the target, for a bind and an overlay", in: []string{"bind", "symlink", "overlay", "volume"}, wide: wideMount,
		doc:   "Host path of a bind, or of the directory below an overlay; the text of a symbolic link; the name of a volume, which is made when there is none.",
		field: func(_ *Profile, m *Mount) any { return &m.Source }},
	{path: "mounts.*.lower", kind: kindList, form: formPath, vars: true, in: []string{"overlay"}, wide: wideMount,
		doc:   "Further directories of the host's below that of an overlay, the topmost first: what source does not have is looked for in them.",
		field: func(_ *Profile, m *Mount) any { return &m.Lower }},
	{path: "mounts.*.access", kind: kindEnum, enum: []string{"ro", "rw", "overlay"}, defNote: `"ro" for bind and file, "rw" for tmpfs and volume`, in: []string{"bind", "tmpfs", "file", "volume"}, wide: wideMount,
		doc:   "Whether it may be written; overlay, of a volume only, keeps the changes apart from it.",
		field: func(_ *Profile, m *Mount) any { return &m.Access }},
	{path: "mounts.*.exec", kind: kindBool, def: "true", in: []string{"bind", "tmpfs", "file", "overlay", "volume"}, wide: wideMount,
		doc:   "Whether programs on it may be run.",
		field: func(_ *Profile, m *Mount) any { return &m.Exec }},
	{path: "mounts.*.dev", kind: kindBool, def: "false", in: []string{"bind"}, wide: wideMount,
		doc:   "Whether device nodes on it work; needed to bind one.",
		field: func(_ *Profile, m *Mount) any { return &m.Dev }},
	{path: "mounts.*.optional", kind: kindBool, def: "false", in: []string{"bind", "overlay"}, wide: wideMount,
		doc:   "Whether a missing source is left out with a note and not an error.",
		field: func(_ *Profile, m *Mount) any { return &m.Optional }},
	{path: "mounts.*.grantable", kind: kindBool, def: "false", in: []string{"bind"}, wide: wideMount,
		doc:   "Whether it is left out at first, and sbx grant may show it while the sandbox runs, with this access at most.",
		field: func(_ *Profile, m *Mount) any { return &m.Grantable }},
	{path: "mounts.*.content", kind: kindString, in: []string{"file"}, wide: wideMount,
		doc:   "Text of a file.",
		field: func(_ *Profile, m *Mount) any { return &m.Content }},
	{path: "mounts.*.mode", kind: kindOctal, max: 0o7777, defNote: `"0755" for tmpfs, "0644" for file`, in: []string{"tmpfs", "file"}, wide: wideMount,
		doc:   "Permissions, an octal string.",
		field: func(_ *Profile, m *Mount) any { return &m.Mode }},
	{path: "mounts.*.upper", kind: kindEnum, enum: []string{"disk", "tmpfs"}, defNote: `"disk"`, in: []string{"overlay"}, wide: wideMount,
		doc:   "Where an overlay's changes are kept: on disk, as overlay.on_exit says, or in memory and gone afterwards.",
		field: func(_ *Profile, m *Mount) any { return &m.Upper }},
	{path: "mounts.*.size", kind: kindSize, defNote: `"64M" for tmpfs, "512M" for an overlay in memory`, in: []string{"tmpfs", "overlay"}, wide: wideMount,
		doc:   "Size of a tmpfs; of an overlay, how much its changes may take: in memory a hard bound, on disk one that is looked after every second, 0 is none.",
		field: func(_ *Profile, m *Mount) any { return &m.Size }},
	{path: "mounts.*.inodes", kind: kindInt, min: 1, defNote: "one per 4 KiB of size", in: []string{"tmpfs"}, wide: wideMount,
		doc:   "Number of files a tmpfs can hold.",
		field: func(_ *Profile, m *Mount) any { return &m.Inodes }},

	{path: "overlay.backend", kind: kindEnum, enum: []string{"auto", "kernel", "fuse-overlayfs"}, def: "auto", wide: wideNever,
		doc:   "What makes overlays: the kernel, the program fuse-overlayfs, or the kernel where it can and else fuse-overlayfs. This and the following keys are of all overlays of the profile, and of sbx run --overlay.",
		field: func(p *Profile, _ *Mount) any { return &p.Overlay.Backend }},
	{path: "overlay.name", kind: kindString, form: formAnyName, wide: wideNever, defNote: "a new one for each run, the profile's name with four letters",
		doc:   "Name under which changes are kept. One that exists is gone on with.",
		field: func(p *Profile, _ *Mount) any { return &p.Overlay.Name }},
	{path: "overlay.on_exit", kind: kindEnum, enum: []string{"keep", "discard", "ask", "apply"}, def: "keep", wide: wideRank, order: []string{"keep=ask", "discard", "apply"},
		doc:   "What becomes of changes on disk when the command has ended: kept for sbx diff, sbx apply and sbx discard; thrown away; asked at a terminal, else kept; put onto the host's files.",
		field: func(p *Profile, _ *Mount) any { return &p.Overlay.OnExit }},
	{path: "overlay.upper", kind: kindEnum, enum: []string{"disk", "tmpfs"}, def: "disk", wide: wideNever,
		doc:   "Where the changes of the workspace and of the home are kept, as mounts.*.upper.",
		field: func(p *Profile, _ *Mount) any { return &p.Overlay.Upper }},
	{path: "overlay.path", kind: kindString, form: formPath, vars: true, wide: widePlace, defNote: "sbx's own directory of data",
		doc:   "Directory in which changes on disk are kept, in a new directory of the overlay's name; it must be yours alone.",
		field: func(p *Profile, _ *Mount) any { return &p.Overlay.Path }},
	{path: "overlay.sync", kind: kindBool, wide: wideNever,
		doc:   "Whether changes are on the disk when the command has written them out (fsync) or changed a file for the first time. Without, that is many times faster, and what was written in the last half minute before the host loses power may be gone.",
		field: func(p *Profile, _ *Mount) any { return &p.Overlay.Sync }},
	{path: "overlay.size", kind: kindSize, wide: wideLimit,
		doc:   "How much the workspace's changes may take, and as much the home's, as mounts.*.size; 0 is no bound on disk, and 512M in memory.",
		field: func(p *Profile, _ *Mount) any { return &p.Overlay.Size }},

	{path: "network.mode", kind: kindEnum, enum: []string{"none", "user", "host"}, named: []string{"sandbox", "network"}, def: "none", wide: wideRank, order: []string{"none", "user", "host"},
		doc:   "Network: a loopback of its own and nothing else; one of its own that reaches out by way of a program of the user's, as far as the rules allow; the host's; the same as another sandbox that runs; or as user, and with it the other members of a named network (network:NAME, or of several, network:NAME,NAME).",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Mode }},
	{path: "network.backend", kind: kindEnum, enum: []string{"auto", "engine", "pasta", "slirp4netns"}, def: "auto", wide: wideRank, order: []string{"auto=engine", "pasta=slirp4netns"}, needs: "network.mode", in: userMode,
		doc:   "Which program makes the network: sbx-net, pasta or slirp4netns; auto takes the first of them that is installed.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Backend }},
	{path: "network.default", kind: kindEnum, enum: []string{"deny", "internet"}, def: "deny", wide: wideRank, order: []string{"deny", "internet"},
		doc:   "What the user mode allows while network.allow is empty: nothing, or all of the internet, which is neither the host nor private addresses.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Default }},
	{path: "network.allow", kind: kindList, form: formRule, wide: wideRules, needs: "network.mode", in: userMode,
		doc:   `Whom the command may talk to: "[SCHEME://]TARGET[:PORTS]", where TARGET is a name, *.NAME, an address, a prefix, @host, @lan or @internet, or in named networks a member's name or @members; see docs/NETWORK.md.`,
		field: func(p *Profile, _ *Mount) any { return &p.Network.Allow }},
	{path: "network.deny", kind: kindList, form: formRule, wide: wideRemoved, needs: "network.mode", in: userMode,
		doc:   "Exceptions from network.allow, written the same way.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Deny }},
	{path: "network.tls_names", kind: kindBool, def: "true", wide: wideFalse, needs: "network.mode", in: userMode,
		doc:   "Whether what a rule allows by name on port 443 must be TLS that asks for an allowed name.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.TLSNames }},
	{path: "network.on_deny", kind: kindEnum, enum: []string{"report", "ask"}, def: "report", wide: wideNever, needs: "network.mode", in: userMode,
		doc:   "What becomes of a connection that no rule is about: it is refused and told of, or the person at the terminal is asked before it is. Without a terminal, and without an answer in half a minute, it is refused.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.OnDeny }},
	{path: "network.upstream_proxy", kind: kindEnum, enum: []string{"none", "host"}, def: "none", wide: wideNever, needs: "network.mode", in: userMode,
		doc:   "Whether connections to the internet go by the proxy that the caller's HTTPS_PROXY, ALL_PROXY or HTTP_PROXY names (http or socks5), but for those that NO_PROXY excepts.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Upstream }},
	{path: "network.audit", kind: kindEnum, enum: []string{"off", "denied", "all"}, def: "off", wide: wideRank, order: []string{"all", "denied", "off"}, needs: "network.mode", in: userMode,
		doc:   "Which connections are written down, a JSON object a line, in ~/.local/state/sbx/net/NAME.jsonl.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Audit }},
	{path: "network.dns", kind: kindList, form: formServer, wide: wideListed, needs: "network.mode", in: userMode,
		doc:   `Name servers that are asked instead of the host's: "ADDRESS" or "ADDRESS:PORT"; "DOMAIN=ADDRESS" is asked for a domain and all below it only.`,
		field: func(p *Profile, _ *Mount) any { return &p.Network.DNS }},
	{path: "network.dns_search", kind: kindList, form: formDomain, wide: wideNever, needs: "network.mode", in: userMode,
		doc:   "Domains that short names are looked for in.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.DNSSearch }},
	{path: "network.hosts", kind: kindList, form: formHost, wide: wideListed, needs: "network.mode", in: userMode,
		doc:   `Names with addresses of their own: "NAME:ADDRESS".`,
		field: func(p *Profile, _ *Mount) any { return &p.Network.Hosts }},
	{path: "network.aliases", kind: kindList, form: formMember, wide: wideListed, needs: "network.mode", in: []string{anyNetwork},
		doc:   "Names by which other members of its named networks find the sandbox, beside its own and its host's name; each without a dot.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Aliases }},
	{path: "network.isolated", kind: kindBool, wide: wideFalse, needs: "network.mode", in: []string{anyNetwork},
		doc:   "Whether the sandbox reaches only those members of its named networks that are not isolated.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Isolated }},
	{path: "network.publish", kind: kindList, form: formPublish, wide: wideListed, needs: "network.mode", in: userMode,
		doc:   `Ports of the sandbox that the host offers: "[[ADDRESS:]HOSTPORT:]PORT[/tcp|udp]"; ADDRESS is 127.0.0.1 unless it is written, HOSTPORT 0 any free one. "auto" offers on 127.0.0.1 every TCP port that the command listens on, while it does.`,
		field: func(p *Profile, _ *Mount) any { return &p.Network.Publish }},
	{path: "network.host_ports", kind: kindList, form: formHostPort, wide: wideListed, needs: "network.mode", in: userMode,
		doc:   `Services on the host's loopback that the sandbox reaches as host.sbx.internal: "[HOSTPORT:]PORT[/tcp|udp]".`,
		field: func(p *Profile, _ *Mount) any { return &p.Network.HostPorts }},
	{path: "network.rate", kind: kindSize, wide: wideLimit, needs: "network.mode", in: userMode,
		doc:   "Bytes a second that may leave the sandbox; 0 is no limit.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.Rate }},
	{path: "network.rate_in", kind: kindSize, wide: wideLimit, needs: "network.mode", in: userMode,
		doc:   "Bytes a second that may enter the sandbox; 0 is no limit.",
		field: func(p *Profile, _ *Mount) any { return &p.Network.RateIn }},

	{path: "limits.cgroup", kind: kindEnum, enum: []string{"auto", "always", "never"}, def: "auto", wide: wideRank, order: []string{"auto=always", "never"},
		doc:   "Whether the sandbox gets a control group of its own: where a limit takes one, always, or never; without one limits hold for each process alone.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Cgroup }},
	{path: "limits.delegate", kind: kindBool, def: "false", wide: wideTrue,
		doc:   "Whether the command may make control groups of its own below the sandbox's, in a /sys/fs/cgroup that shows nothing else: for a service manager, a container engine or tests inside. The sandbox's own limits stay above, out of its reach.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Delegate }},
	{path: "limits.memory", kind: kindSize, unlimited: true, wide: wideLimit,
		doc:   "Memory of the whole sandbox, its memory file systems included; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Memory }},
	{path: "limits.memory_high", kind: kindSize, unlimited: true, wide: wideLimit,
		doc:   "Memory of the whole sandbox from which on it is slowed down, and what it can spare is taken back; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.MemoryHigh }},
	{path: "limits.swap", kind: kindSize, unlimited: true, wide: wideMore,
		doc:   "Swap that the whole sandbox may use beside limits.memory; 0 is none, and not set where limits.memory is not.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.Swap }},
	{path: "limits.oom_kill", kind: kindEnum, enum: []string{"sandbox", "process"}, def: "sandbox", wide: wideNever,
		doc:   "What is killed when limits.memory is reached: all of the sandbox, which then has status 137, or one process that the kernel chooses.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.OOMKill }},
	{path: "limits.cpus", kind: kindThousandths, min: 10, unlimited: true, wide: wideLimit,
		doc:   "Processors that the whole sandbox may keep busy, such as 1.5, at least 0.01; 0 is not set.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.CPUs }},
	{path: "limits.cpu_weight", kind: kindInt, min: 1, max: 10000, def: "100", wide: wideMore,
		doc:   "Share of busy processors beside what else you run, 1 to 10000; 100 is as much as any other.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.CPUWeight }},
	{path: "limits.cpuset", kind: kindString, form: formCPUs, wide: wideCPUs,
		doc:   "Processors that the sandbox may run on, such as 0-3,8; empty is all.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.CPUSet }},
	{path: "limits.io_read_bps", kind: kindList, form: formByteRate, wide: wideRates,
		doc:   "Bytes that the whole sandbox may read each second, by device: \"PATH:SIZE\" with a block device, or a file or directory that lies on it; the smallest of several holds.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.IOReadBPS }},
	{path: "limits.io_write_bps", kind: kindList, form: formByteRate, wide: wideRates,
		doc:   "Bytes that the whole sandbox may write each second, likewise.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.IOWriteBPS }},
	{path: "limits.io_read_iops", kind: kindList, form: formRate, wide: wideRates,
		doc:   "Reads that the whole sandbox may make each second, by device: \"PATH:N\".",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.IOReadIOPS }},
	{path: "limits.io_write_iops", kind: kindList, form: formRate, wide: wideRates,
		doc:   "Writes that the whole sandbox may make each second, likewise.",
		field: func(p *Profile, _ *Mount) any { return &p.Limits.IOWriteIOPS }},
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
	{path: "security.trace_denied", kind: kindBool, def: "false", wide: wideNever,
		doc:   "Whether the system calls that the filter refuses are reported: each kind at once on stderr, all with their number at the end and by sbx why. A refused call then takes some fifty microseconds, and no program inside can have a seccomp listener of its own.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.TraceDenied }},
	{path: "security.landlock", kind: kindEnum, enum: []string{"auto", "require", "off"}, def: "auto", wide: wideRank, order: []string{"require", "auto", "off"},
		doc:   "Landlock, a second wall behind the mounts: what the kernel has of it, all of it or refuse, or none.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.Landlock }},

	{path: "security.fallback", kind: kindEnum, enum: []string{"none", "landlock"}, def: "none", wide: wideRank, order: []string{"none", "landlock"},
		doc:   "What to do where the host refuses user namespaces: none is to refuse, landlock to run without them and to name what is lost.",
		field: func(p *Profile, _ *Mount) any { return &p.Security.Fallback }},

	{path: "secrets", kind: kindMap, form: formSecretSource, vars: true, wide: wideNever,
		doc:   `Secrets by name, and where each comes from: "env:VARIABLE" of the caller's or "file:PATH". Only process.secrets hands one out, and no command sees such a variable otherwise.`,
		field: func(p *Profile, _ *Mount) any { return &p.Secrets }},

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
func (r *row) replaces() bool {
	return r.path == "process.command" || r.path == "health.command" || r.isMount()
}

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
