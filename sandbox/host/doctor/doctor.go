// Package doctor says what of that which sandboxes want this host gives, and what would
// mend it. It looks, tries things in namespaces of its own, and changes nothing.
package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/host"
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

// Examine tries what sandboxes need and may use. It starts a few processes in
// namespaces of their own and changes nothing.
func Examine(f host.Facts) []Check {
	checks := []Check{kernel()}
	checks = append(checks, namespaces()...)
	checks = append(checks, subordinateIDs(f), overlayFuse())
	checks = append(checks, networks(f)...)
	return append(checks, images(f), cgroups(f), secondWall(), seccomp(), fallback(f), runtimeDir(f), ownPath(f))
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

// Falls reports whether sandboxes can be had without namespaces.
func Falls(checks []Check) bool {
	for _, c := range checks {
		if c.Name == fallbackCheck {
			return c.State == CheckOK
		}
	}
	return false
}

// fallbackCheck is the name of the check for sandboxes without namespaces.
const fallbackCheck = "landlock_fallback"

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

func subordinateIDs(f host.Facts) Check {
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
	const name = "overlay_fuse"
	d := host.OS{}.Drivers()
	var errno unix.Errno
	switch {
	case errors.As(d.FuseErr, &errno):
		return missing(name, d.FuseErr.Error(), "an administrator can run: modprobe fuse; in a container, pass the device in", true)
	case d.FuseErr != nil:
		return missing(name, d.FuseErr.Error(), "an administrator can install the package fuse-overlayfs", true)
	}
	return ok(name, "/dev/fuse, "+d.Fuse)
}

func program(name, pkg string) Check {
	if path := host.Program(name); path != "" {
		return ok(name, path)
	}
	return missing(name, name+" is not installed", "an administrator can install the package "+pkg, true)
}

// wanted are the controllers that limits take, and whether systemd gives them to
// a user without an administrator's word.
var wanted = []string{"cpu", "cpuset", "io", "memory", "pids"}

// dropIn is what an administrator puts down for those that are missing.
const dropIn = `an administrator can run:
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >/etc/systemd/system/user@.service.d/delegate.conf
systemctl daemon-reload
and you log out and in again, or they run: systemctl restart user@%d.service`

// cgroups judges who can make control groups, and with which controllers.
func cgroups(f host.Facts) Check {
	f.FindCgroup()
	return cgroupCheck(&f.Cgroup, f.UID, f.User)
}

func cgroupCheck(c *host.Cgroup, uid uint32, user string) Check {
	const name = "cgroups"
	const without = "; limits hold for each process, not for all together"
	m, who := &c.Systemd, "your systemd"
	if m.Err != nil && c.Subtree.Err == nil {
		m, who = &c.Subtree, "the delegated group "+c.Subtree.Group
	}
	switch {
	case c.Root == "" && m.Err != nil:
		return missing(name, m.Err.Error()+without, "an administrator can boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 on /sys/fs/cgroup", true)
	case m.Err != nil && c.Scope == "":
		return missing(name, m.Err.Error()+without, "install sbx and sbx-scope together, as make install does", false)
	case m.Err != nil:
		return missing(name, m.Err.Error()+without,
			fmt.Sprintf("log in through systemd-logind (ssh or a console, not su), or an administrator can run: loginctl enable-linger %s", user), true)
	}
	have := strings.Join(m.Controllers, ", ")
	if len(m.Controllers) == 0 {
		have = "none"
	}
	lacks := m.Lacks(wanted)
	if len(lacks) == 0 {
		return ok(name, fmt.Sprintf("%s makes them, with the controllers %s", who, have))
	}
	return Check{Name: name, State: CheckDegraded, Admin: true, Fix: fmt.Sprintf(dropIn, uid),
		Why: fmt.Sprintf("%s makes them, with the controllers %s; missing, and limits by them with it: %s", who, have, strings.Join(lacks, ", "))}
}

func secondWall() Check {
	abi, err := host.LandlockABI()
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

func seccomp() Check {
	if err := host.NoFilters(); err != nil {
		return missing("seccomp", fmt.Sprintf("filters can't be had: %v", err), "a kernel with CONFIG_SECCOMP_FILTER", true)
	}
	return ok("seccomp", "filters")
}

// fallback judges whether sandboxes without namespaces can be had, which a
// profile has to allow.
func fallback(f host.Facts) Check {
	const name = fallbackCheck
	switch {
	case f.UID == 0:
		return missing(name, "Landlock alone does not hold root", "run sbx as an ordinary user", false)
	case f.Landlock < landlock.ABIScopes:
		return missing(name, fmt.Sprintf("Landlock of ABI %d; to do without namespaces takes ABI %d", f.Landlock, landlock.ABIScopes), "a kernel of Linux 6.12 or later with Landlock", true)
	case f.NoFilters != nil:
		return missing(name, "it takes system call filters", "a kernel with CONFIG_SECCOMP_FILTER", true)
	}
	return ok(name, fmt.Sprintf(`Landlock of ABI %d: where user namespaces are refused, a profile with security.fallback = "landlock" can run without them`, f.Landlock))
}

func runtimeDir(f host.Facts) Check {
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
func ownPath(f host.Facts) Check {
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
