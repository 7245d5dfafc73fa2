// Package host finds out what this host, its kernel and this session allow. It
// is the only package that asks; everything that decides takes its Facts.
package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/host/internal/firstlimit"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
	"github.com/sbx-sandbox/sbx/userns"
)

// Facts is what a Plan is resolved against.
type Facts struct {
	UID, GID uint32
	User     string // login name; the uid's digits when it has none
	Known    bool   // User has a line in /etc/passwd
	Home     string // free of symbolic links
	Groups   []uint32
	Cwd      string // free of symbolic links; "" when it is gone
	Host     string // host name
	Environ  []string
	// Hard holds the caller's hard resource limits by RLIMIT_* number; Nofile is
	// the soft and hard limit on open files that sbx was started with.
	Hard   [16]uint64
	Nofile [2]uint64
	// CorePipe says that core dumps go to a program of the host's, whatever the
	// limit on their size (core(5), "Piping core dumps to a program").
	CorePipe bool
	Stdio    [3]Stdio
	Exe      string // the running binary, "" when unknown
	LowPorts int    // the first port that the host leaves to everybody, ip(7)
	Landlock int    // version of the kernel's Landlock interface, 0 for none
	Files    Files
	Seen     *seen.Log // remembers the files that were looked at, may be nil

	// Refused is set once the host has refused user namespaces: finding out
	// takes trying, which is what starting a sandbox does.
	Refused Refusal

	// NoFilters is why the kernel takes no filters of system calls; nil: it does.
	NoFilters error

	Net Network // filled in by FindNetwork

	// SubUIDs and the rest are found only when a range of ids is asked for.
	SubUIDs, SubGIDs     userns.Range
	NewUIDMap, NewGIDMap string
	RangeErr             error // why there is no range

	Cgroup Cgroup // only after FindCgroup

	Passed Passed // put in by who called FindPassed
}

// Stdio is what one of the standard descriptors is.
type Stdio struct {
	Terminal, Directory bool
	// Path says that it was opened with O_PATH (open(2)): it is only a name, and
	// whoever has it can open what it names, a terminal too.
	Path bool
	// File and Device say that it is one, which the command could open anew by
	// way of /proc/self/fd; Read and Write are what it was opened for.
	File, Device, Read, Write bool
	// Null says that the device is /dev/null.
	Null bool
}

// Entry is a file as Files found it.
type Entry struct {
	Path  string // where it really is, free of symbolic links
	IsDir bool
	Mode  uint32 // st_mode
	UID   uint32
	Links uint64 // hard links
}

// Type is the file type bits of Mode, see inode(7).
func (e Entry) Type() uint32 { return e.Mode & unix.S_IFMT }

// Files is the read-only view of the host's files that deciding needs.
type Files interface {
	// Resolve finds path through all symbolic links. With beneath not "", no
	// link may lead out of that directory (openat2(2), RESOLVE_BENEATH): path
	// lies where somebody untrusted may have placed links.
	Resolve(path, beneath string) (Entry, error)
	// Lstat is path itself, a link not followed; Link is a link's text.
	Lstat(path string) (Entry, error)
	Link(path string) (string, error)
	// Text is what is in a small regular file that no link leads to; one of more
	// than limit bytes is an error, and so is anything but a regular file.
	Text(path string, limit int) (string, error)
	// Disk is the whole block device that path is, or lies on, as "MAJOR:MINOR".
	Disk(path string) (string, error)
	// Names lists a directory, sorted.
	Names(dir string) ([]string, error)
	// Layering and Drivers are asked only for a plan with layers.
	Layering(dir string) (Layering, error)
	Drivers() Drivers
}

// Probe collects the facts. wantRange asks for subordinate ids as well, which
// costs reading two more files.
func Probe(wantRange bool) (Facts, error) { return ProbeSeen(wantRange, nil) }

// ProbeSeen is Probe; the files that are looked at, then and later by Files, are
// remembered in log, which may be nil.
func ProbeSeen(wantRange bool, log *seen.Log) (Facts, error) {
	f := Facts{
		UID: uint32(unix.Getuid()), GID: uint32(unix.Getgid()),
		Environ: os.Environ(), Files: OS{log}, Seen: log,
	}
	var err error
	if f.User, f.Home, f.Known, err = account(log, f.UID); err != nil {
		return f, err
	}
	if h := os.Getenv("HOME"); strings.HasPrefix(h, "/") {
		f.Home = h
	}
	if f.Home == "" {
		f.Home = "/"
	}
	if e, err := f.Files.Resolve(f.Home, ""); err == nil {
		f.Home = e.Path
	}
	if e, err := f.Files.Resolve(".", ""); err == nil && strings.HasPrefix(e.Path, "/") {
		f.Cwd = strings.TrimSuffix(e.Path, " (deleted)")
		if _, err := f.Files.Lstat(f.Cwd); err != nil {
			f.Cwd = ""
		}
	}
	groups, err := unix.Getgroups()
	if err != nil {
		return f, fmt.Errorf("reading supplementary groups: %w", err)
	}
	for _, g := range groups {
		f.Groups = append(f.Groups, uint32(g))
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		f.Host = unix.ByteSliceToString(u.Nodename[:])
	}
	f.Stdio = Streams()
	if exe, err := os.Readlink("/proc/self/exe"); err == nil {
		f.Exe = exe
	}
	for i := range f.Hard {
		var l unix.Rlimit
		if err := unix.Getrlimit(i, &l); err != nil {
			return f, fmt.Errorf("reading sbx's own limit of resource %d, which the sandbox is to keep to: %w", i, err)
		}
		f.Hard[i] = l.Max
	}
	f.Nofile = firstlimit.Nofile
	f.NoFilters = NoFilters()
	f.Landlock, _ = LandlockABI() // why there is none is for doctor
	if pattern, err := log.Text("/proc/sys/kernel/core_pattern"); err == nil {
		f.CorePipe = strings.HasPrefix(pattern, "|")
	}
	if wantRange {
		f.findRange()
	}
	return f, nil
}

// Streams looks at the three standard descriptors.
func Streams() (s [3]Stdio) {
	for fd := range s {
		s[fd] = stdio(fd)
	}
	return s
}

func stdio(fd int) (s Stdio) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return s
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil {
		s.Path = flags&unix.O_PATH != 0
		s.Read, s.Write = flags&unix.O_ACCMODE != unix.O_WRONLY, flags&unix.O_ACCMODE != unix.O_RDONLY
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		s.Directory = true
	case unix.S_IFREG:
		s.File = true
	case unix.S_IFCHR:
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		s.Terminal = err == nil
		s.Device = !s.Terminal
		s.Null = st.Rdev == unix.Mkdev(1, 3) // null(4)
	}
	return s
}

// account reads uid's name and home from /etc/passwd. Accounts that live
// elsewhere (LDAP, NIS) have no line; then the name comes from USER.
func account(log *seen.Log, uid uint32) (name, home string, known bool, err error) {
	text, err := readSmall(log, "/etc/passwd", 1<<20)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return "", "", false, err
	}
	id := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(text) {
		if col := strings.Split(strings.TrimSuffix(line, "\n"), ":"); len(col) >= 6 && col[2] == id {
			return col[0], col[5], true, nil
		}
	}
	name = os.Getenv("USER")
	if name == "" || strings.ContainsAny(name, ":\n/") {
		name = strconv.FormatUint(uint64(uid), 10)
	}
	return name, "", false, nil
}

// readSmall reads a file of at most limit bytes with bare system calls: package
// os would first set up the runtime's poller, which a short run has no use for.
func readSmall(log *seen.Log, path string, limit int) (string, error) {
	fd, err := log.Open(path, unix.O_RDONLY)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return readAll(fd, path, limit)
}

func readAll(fd int, path string, limit int) (string, error) {
	buf := make([]byte, 4096)
	for n := 0; ; {
		m, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return "", &os.PathError{Op: "read", Path: path, Err: err}
		case m == 0:
			return string(buf[:n]), nil
		}
		if n += m; n > limit {
			return "", fmt.Errorf("reading %s: more than %d bytes", path, limit)
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, n)...)
		}
	}
}

func (f *Facts) findRange() {
	f.rememberRange()
	fail := func(err error) { f.RangeErr = errors.Join(f.RangeErr, err) }
	var err error
	if f.NewUIDMap, err = userns.FindHelper("newuidmap"); err != nil {
		fail(err)
	}
	if f.NewGIDMap, err = userns.FindHelper("newgidmap"); err != nil {
		fail(err)
	}
	for _, s := range []struct {
		file string
		into *userns.Range
	}{{"/etc/subuid", &f.SubUIDs}, {"/etc/subgid", &f.SubGIDs}} {
		grants, err := userns.Grants(s.file, f.User, f.UID)
		if err != nil {
			fail(err)
			continue
		}
		r, ok := userns.Largest(grants)
		if !ok {
			fail(fmt.Errorf("%s has no line for %s; an administrator can add one, such as %s:100000:65536", s.file, f.User, f.User))
		}
		*s.into = r
	}
}

// rememberRange remembers what findRange looks at, which package userns does by itself.
func (f *Facts) rememberRange() {
	if f.Seen == nil {
		return
	}
	for _, dir := range userns.HelperDirs {
		for _, name := range []string{"newuidmap", "newgidmap"} {
			_, _ = f.Seen.Stat(dir + "/" + name)
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if fd, err := f.Seen.Open(file, unix.O_RDONLY); err == nil {
			unix.Close(fd)
		}
	}
}

// PrivateDir is a name, which nobody has yet, of a directory for one sandbox, in
// the caller's runtime directory or, where there is none, /tmp.
func PrivateDir(prefix string) string {
	base := "/tmp"
	if dir := os.Getenv("XDG_RUNTIME_DIR"); strings.HasPrefix(dir, "/") {
		var st unix.Stat_t
		e, err := OS{}.Resolve(dir, "")
		if err == nil && e.IsDir && unix.Stat(e.Path, &st) == nil && int(st.Uid) == unix.Getuid() && st.Mode&0o077 == 0 {
			base = e.Path
		}
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return fmt.Sprintf("%s/%s%d-%x", base, prefix, unix.Getpid(), now.Nano())
}

// LandlockABI asks for the version of Landlock's interface, see landlock(7).
func LandlockABI() (int, error) {
	abi, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(abi), nil
}

// NoFilters asks for a filter at an address that can't be read: a kernel that
// has filters says so (seccomp(2), EFAULT).
func NoFilters() error {
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0); !errors.Is(err, unix.EFAULT) {
		return err
	}
	return nil
}

// Refusal is a host that refuses user namespaces.
type Refusal struct {
	Why string // "" for none
	Fix string // what to do, perhaps of several lines
}
