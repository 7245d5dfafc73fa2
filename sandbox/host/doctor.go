package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/landlock"
)

// Check is one capability of this host.
type Check struct {
	Name     string `json:"name"`
	State    string `json:"state"`         // "ok", "degraded", "missing"
	Required bool   `json:"required"`      // no sandbox can be started without it
	Why      string `json:"why,omitempty"` // what was found
	Fix      string `json:"fix,omitempty"` // what to do, commands where they are known
	Admin    bool   `json:"admin"`         // the fix needs an administrator
}

// The states of a Check.
const (
	CheckOK       = "ok"
	CheckDegraded = "degraded"
	CheckMissing  = "missing"
)

// Doctor tries what sandboxes need and may use. It starts a few processes in
// namespaces of their own and changes nothing.
func Doctor(f Facts) []Check {
	checks := []Check{kernel()}
	checks = append(checks, namespaces()...)
	return append(checks, subordinateIDs(f), overlayFuse(), device("tun", "/dev/net/tun", "an administrator can run: modprobe tun"),
		program("pasta", "passt"), program("slirp4netns", "slirp4netns"),
		cgroups(f), secondWall(), seccomp(), runtimeDir(f), ownPath(f))
}

// Startable reports whether every required check is not missing.
func Startable(checks []Check) bool {
	for _, c := range checks {
		if c.Required && c.State == CheckMissing {
			return false
		}
	}
	return true
}

func ok(name, why string) Check { return Check{Name: name, State: CheckOK, Why: why} }

func missing(name, why, fix string, admin bool) Check {
	return Check{Name: name, State: CheckMissing, Why: why, Fix: fix, Admin: admin}
}

// required marks a check without which nothing starts.
func required(c Check) Check {
	c.Required = true
	return c
}

// calls are the system calls that building a sandbox takes, each in a form
// that fails for another reason than not being there.
var calls = []struct {
	name, since string
	try         func() error
}{
	{"open_tree", "5.2", func() error { _, err := unix.OpenTree(-1, "x", 0); return err }},
	{"clone3", "5.3", func() error { return raw(unix.SYS_CLONE3, 0, 0) }},
	{"pidfd_open", "5.3", func() error { _, err := unix.PidfdOpen(-1, 0); return err }},
	{"openat2", "5.6", func() error { _, err := unix.Openat2(-1, "x", &unix.OpenHow{}); return err }},
	{"close_range", "5.9", func() error { return unix.CloseRange(^uint(0), 0, 0) }},
	{"mount_setattr", "5.12", func() error { return unix.MountSetattr(-1, "x", 0, &unix.MountAttr{}) }},
}

func raw(nr, a, b uintptr) error {
	if _, _, errno := unix.RawSyscall(nr, a, b, 0); errno != 0 {
		return errno
	}
	return nil
}

func kernel() Check {
	release := "unknown"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	var gone []string
	for _, c := range calls {
		if err := c.try(); errors.Is(err, unix.ENOSYS) {
			gone = append(gone, fmt.Sprintf("%s (Linux %s)", c.name, c.since))
		}
	}
	if len(gone) > 0 {
		return required(missing("kernel", "Linux "+release+" lacks, or a container around sbx forbids: "+strings.Join(gone, ", "),
			"boot a kernel of Linux 5.12 or later, or start the container with a seccomp profile that allows these calls", true))
	}
	return required(ok("kernel", "Linux "+release))
}

func subordinateIDs(f Facts) Check {
	const name = "subordinate_ids"
	fix := "an administrator can install newuidmap and newgidmap (package uidmap on Debian and Ubuntu, shadow-utils on Fedora) and run: " +
		fmt.Sprintf("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", f.User)
	if f.RangeErr != nil {
		c := missing(name, strings.ReplaceAll(f.RangeErr.Error(), "\n", "; "), fix, true)
		c.Why += `; user.map = "range" can't be had, one id can`
		return c
	}
	for _, helper := range []string{f.NewUIDMap, f.NewGIDMap} {
		if !privileged(helper) {
			return missing(name, helper+" is neither setuid nor has file capabilities", "an administrator can run: chmod u+s "+helper, true)
		}
	}
	return ok(name, fmt.Sprintf("uids %d+%d, gids %d+%d", f.SubUIDs.Start, f.SubUIDs.Count, f.SubGIDs.Start, f.SubGIDs.Count))
}

// privileged reports whether a program gains privileges when it is executed,
// see capabilities(7), "File capabilities".
func privileged(path string) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil && st.Mode&unix.S_ISUID != 0 {
		return true
	}
	_, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil
}

func overlayFuse() Check {
	c := device("overlay_fuse", "/dev/fuse", "an administrator can run: modprobe fuse")
	if c.State != CheckOK {
		return c
	}
	p := program("overlay_fuse", "fuse-overlayfs")
	if p.State == CheckOK {
		p.Why = "/dev/fuse, " + p.Why
	}
	return p
}

func device(name, path, fix string) Check {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return missing(name, fmt.Sprintf("opening %s: %v", path, err), fix+"; in a container, pass the device in", true)
	}
	unix.Close(fd)
	return ok(name, path)
}

// programDirs are where programs are looked for, PATH aside.
var programDirs = []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin"}

func program(name, pkg string) Check {
	file := name
	if name == "overlay_fuse" {
		file = pkg
	}
	for _, dir := range programDirs {
		if path := dir + "/" + file; unix.Access(path, unix.X_OK) == nil {
			return ok(name, path)
		}
	}
	return missing(name, file+" is not installed", "an administrator can install the package "+pkg, true)
}

// cgroups looks at what a systemd of the user's could delegate; it changes
// nothing.
func cgroups(f Facts) Check {
	const name = "cgroups"
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return missing(name, fmt.Sprintf("/sys/fs/cgroup: %v", err), "an administrator can mount cgroup2 on /sys/fs/cgroup", true)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return missing(name, "the host uses control groups of version 1; limits hold for each process, not for all together",
			"an administrator can boot with systemd.unified_cgroup_hierarchy=1", true)
	}
	service := fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%d.slice/user@%d.service", f.UID, f.UID)
	text, err := os.ReadFile(service + "/cgroup.controllers")
	if err != nil {
		return missing(name, "there is no systemd of yours ("+service+"); limits hold for each process, not for all together",
			fmt.Sprintf("log in through systemd-logind, or an administrator can run: loginctl enable-linger %s", f.User), true)
	}
	have := strings.Fields(string(text))
	var lacks []string
	for _, want := range []string{"cpu", "memory", "pids"} {
		if !contains(have, want) {
			lacks = append(lacks, want)
		}
	}
	if len(lacks) > 0 {
		return Check{Name: name, State: CheckDegraded, Admin: true, Why: "not delegated to you: " + strings.Join(lacks, ", "),
			Fix: "an administrator can put Delegate=cpu cpuset io memory pids under [Service] in /etc/systemd/system/user@.service.d/delegate.conf and run: systemctl daemon-reload"}
	}
	return ok(name, "delegated: "+strings.Join(have, ", "))
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// landlockABI asks for the version of Landlock's interface, see landlock(7).
func landlockABI() (int, error) {
	abi, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(abi), nil
}

func secondWall() Check {
	abi, err := landlockABI()
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return missing("landlock", "compiled in but not enabled", "an administrator can add landlock to the kernel's lsm= parameter", true)
	case err != nil:
		return missing("landlock", fmt.Sprintf("this kernel has none, or a container around sbx forbids it: %v", err),
			"a kernel of Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK", true)
	}
	return landlockCheck(abi)
}

// landlockCheck judges a version of the interface.
func landlockCheck(abi int) Check {
	why := fmt.Sprintf("ABI %d", abi)
	lost := landlock.Lost(abi)
	switch {
	case abi < landlock.ABIRefer:
		return missing("landlock", why+": "+lost[0], "a kernel of Linux 5.19 or later", true)
	case len(lost) > 0:
		return Check{Name: "landlock", State: CheckDegraded, Why: why + "; not held: " + strings.Join(lost, ", "),
			Fix: "a kernel of Linux 6.12 or later", Admin: true}
	case abi < landlock.ABIUnix:
		why += "; sockets with a path are judged from ABI 9 on"
	}
	return ok("landlock", why)
}

// noFilters asks for a filter at an address that can't be read: a kernel that
// has filters says so (seccomp(2), EFAULT).
func noFilters() error {
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0); !errors.Is(err, unix.EFAULT) {
		return err
	}
	return nil
}

func seccomp() Check {
	if err := noFilters(); err != nil {
		return missing("seccomp", fmt.Sprintf("filters can't be had: %v", err), "a kernel with CONFIG_SECCOMP_FILTER", true)
	}
	return ok("seccomp", "filters")
}

func runtimeDir(f Facts) Check {
	const name = "runtime_dir"
	dir := os.Getenv("XDG_RUNTIME_DIR")
	fix := "log in through systemd-logind, or run: export XDG_RUNTIME_DIR=$(mktemp -d)"
	var st unix.Stat_t
	switch {
	case dir == "":
		return Check{Name: name, State: CheckDegraded, Why: "XDG_RUNTIME_DIR is not set", Fix: fix}
	case unix.Stat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return Check{Name: name, State: CheckDegraded, Why: "XDG_RUNTIME_DIR is " + dir + ", which is no directory", Fix: fix}
	case st.Uid != f.UID || st.Mode&0o077 != 0:
		return Check{Name: name, State: CheckDegraded, Why: dir + " can be entered by others", Fix: "run: chmod 700 " + dir}
	}
	return ok(name, dir)
}

// ownPath notices another program of the same name: a different product is
// called sbx as well.
func ownPath(f Facts) Check {
	const name = "path"
	var own unix.Stat_t
	if f.Exe == "" || unix.Stat(f.Exe, &own) != nil {
		return Check{Name: name, State: CheckDegraded, Why: "where this program lies is not known"}
	}
	for _, dir := range strings.Split(os.Getenv("PATH"), ":") {
		path := filepath.Join(dir, "sbx")
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || unix.Access(path, unix.X_OK) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if st.Dev == own.Dev && st.Ino == own.Ino {
			return ok(name, path)
		}
		return Check{Name: name, State: CheckDegraded, Why: fmt.Sprintf("PATH finds %s first, which is not this program (%s)", path, f.Exe),
			Fix: fmt.Sprintf("put %s before %s in PATH, or remove the other", filepath.Dir(f.Exe), dir)}
	}
	return Check{Name: name, State: CheckDegraded, Why: "PATH does not find sbx", Fix: "add " + filepath.Dir(f.Exe) + " to PATH"}
}
