package doctor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// ProbeVerb is the verb of sbx that calls Try: what needs a process in new
// namespaces is tried by a second sbx.
const ProbeVerb = "__probe"

// The things to Try. Each runs in the namespaces that its parent made for it.
const (
	tryNothing    = "nothing"    // only be there
	tryAlone      = "alone"      // a user namespace and no other
	tryNamespaces = "namespaces" // root of new user and mount namespaces
	tryProc       = "proc"       // first process of a new PID namespace
)

// Try does what is called name and prints a line "WHAT ERRNO" for each outcome,
// "ok" for success. It is for processes that Examine starts.
func Try(name string, w io.Writer) error {
	// unshare(2) is about one thread.
	runtime.LockOSThread()
	switch name {
	case tryNothing:
		return nil
	case tryAlone:
		return start(tryNothing, syscall.CLONE_NEWUSER, false, io.Discard)
	case tryNamespaces:
		return tryAll(w)
	case tryProc:
		return outcome(w, "proc", unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	}
	return fmt.Errorf("there is nothing called %q to try", name)
}

func outcome(w io.Writer, what string, err error) error {
	word := "ok"
	var errno unix.Errno
	if errors.As(err, &errno) {
		word = unix.ErrnoName(errno)
	} else if err != nil {
		word = "EIO"
	}
	_, err = fmt.Fprintln(w, what, word)
	return err
}

// tryAll tries each namespace, mounts, and overlayfs in a tmpfs.
func tryAll(w io.Writer) error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("probe", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m")
	}
	outcome(w, "mount", err)
	if err == nil {
		outcome(w, "overlay", tryOverlay())
	}
	for _, ns := range []struct {
		name string
		flag int
	}{{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP}, {"net", unix.CLONE_NEWNET}} {
		outcome(w, ns.name, unix.Unshare(ns.flag))
	}
	outcome(w, "nested", start(tryNothing, syscall.CLONE_NEWUSER, false, io.Discard))
	var proc bytes.Buffer
	err = start(tryProc, syscall.CLONE_NEWPID|syscall.CLONE_NEWNS, false, &proc)
	outcome(w, "pid", err)
	if err == nil {
		proc.WriteTo(w)
	}
	// Last: older kernels, Linux 6.1 for one, don't let a thread vfork, as start
	// does, whose children would get a new time namespace.
	return outcome(w, "time", unix.Unshare(unix.CLONE_NEWTIME))
}

func tryOverlay() error {
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		if err := unix.Mkdir("/tmp/"+dir, 0o700); err != nil {
			return err
		}
	}
	return unix.Mount("overlay", "/tmp/merged", "overlay", 0, "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr")
}

// start runs this program again, in new namespaces, to Try something.
func start(name string, flags uintptr, mapped bool, w io.Writer) error {
	cmd := exec.Command("/proc/self/exe", ProbeVerb, name)
	cmd.Env = []string{}
	cmd.Stdout = w
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if mapped {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd.Run()
}

// namespaces tries user namespaces and what can be done in one.
func namespaces() []Check {
	if err := start(tryNothing, syscall.CLONE_NEWUSER, false, io.Discard); err != nil {
		return []Check{required(noUserNamespace(err))}
	}
	var out bytes.Buffer
	if err := start(tryNamespaces, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, true, &out); err != nil {
		return []Check{required(powerless(fmt.Sprintf("mapping ids in a new user namespace: %v", bareErrno(err))))}
	}
	got := map[string]string{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		what, word, _ := strings.Cut(lines.Text(), " ")
		got[what] = word
	}
	if got["mount"] != "ok" {
		return []Check{required(powerless("mounting in a new user namespace: " + got["mount"]))}
	}
	checks := []Check{required(ok("user_namespaces", "with capabilities in them")), required(ok("mount_namespace", ""))}
	for _, ns := range []string{"pid", "ipc", "uts", "cgroup", "net"} {
		checks = append(checks, required(namespace(ns+"_namespace", "user.max_"+ns+"_namespaces", got[ns])))
	}
	checks = append(checks, namespace("time_namespace", "user.max_time_namespaces", got["time"]),
		required(namespace("nested_user_namespaces", "user.max_user_namespaces", got["nested"])), required(proc(got["proc"])))
	if got["overlay"] != "ok" {
		return append(checks, missing("overlay_native", "mounting overlayfs in a user namespace: "+got["overlay"], "a kernel of Linux 5.11 or later with overlayfs", true))
	}
	return append(checks, ok("overlay_native", ""))
}

func bareErrno(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func namespace(name, sysctl, got string) Check {
	switch got {
	case "ok":
		return ok(name, "")
	case "ENOSPC", "EUSERS":
		return missing(name, "the limit on them is reached or zero", "an administrator can run: sysctl "+sysctl+"=10000", true)
	case "EINVAL":
		return missing(name, "this kernel has none", "a kernel that was built with them", true)
	}
	return missing(name, "making one: "+got, "a container or security module around sbx forbids it; an administrator can allow it", true)
}

func proc(got string) Check {
	if got == "ok" {
		return ok("proc", "")
	}
	return missing("proc", "mounting /proc in a new PID namespace: "+got,
		`a container around sbx hides parts of /proc; start it with an unmasked /proc (podman: --security-opt unmask=/proc/*), or set root.proc = "none"`, true)
}

// appArmorProfile is what lets sbx have user namespaces where AppArmor keeps
// them from programs without a profile.
const appArmorProfile = `abi <abi/4.0>,
include <tunables/global>
profile sbx %s flags=(unconfined) {
  userns,
  include if exists <local/sbx>
}
`

// noUserNamespace explains why clone(2) refuses a user namespace.
func noUserNamespace(err error) Check {
	const name = "user_namespaces"
	why := fmt.Sprintf("making one: %v", bareErrno(err))
	switch {
	case errors.Is(err, unix.EACCES):
		return missing(name, why+"; a security module (AppArmor, SELinux) forbids them to sbx", appArmorFix(), true)
	case errors.Is(err, unix.ENOSPC) && os.Getenv("SBX") == "1":
		return missing(name, why+"; this is a sandbox of sbx", "set security.nested_userns = true in the profile of the sandbox around", false)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		if sysctl("user/max_user_namespaces") == "0" {
			why += "; user.max_user_namespaces is 0"
		}
		return missing(name, why, "an administrator can run: echo user.max_user_namespaces=15000 >/etc/sysctl.d/60-sbx.conf; sysctl --system", true)
	case errors.Is(err, unix.EPERM) && sysctl("kernel/unprivileged_userns_clone") == "0":
		return missing(name, why+"; kernel.unprivileged_userns_clone is 0",
			"an administrator can run: echo kernel.unprivileged_userns_clone=1 >/etc/sysctl.d/60-sbx.conf; sysctl --system", true)
	case errors.Is(err, unix.EPERM):
		return missing(name, why+"; a container around sbx forbids them, or sbx runs in a chroot",
			"start the container with a seccomp profile that allows unshare and clone (podman: --security-opt seccomp=unconfined)", true)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return missing(name, why, "a kernel with CONFIG_USER_NS", true)
	}
	return missing(name, why, "", false)
}

// givenAlone says whether there is a user namespace for whom asks for no other, which
// would take a capability in it. It is tried by a process of its own, since one that
// made a sandbox has memory that its copies do without.
func givenAlone() bool { return start(tryAlone, 0, false, io.Discard) == nil }

// powerless explains a user namespace that gives no capabilities, which is how
// Ubuntu restricts them.
func powerless(why string) Check {
	if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
		why += "; kernel.apparmor_restrict_unprivileged_userns is 1"
	}
	return missing("user_namespaces", why+"; they can be made, but give no capabilities", appArmorFix(), true)
}

func appArmorFix() string {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		exe = "/usr/bin/sbx"
	}
	return "an administrator can write /etc/apparmor.d/sbx with the text below and run: apparmor_parser -r /etc/apparmor.d/sbx\n" + fmt.Sprintf(appArmorProfile, exe)
}

func sysctl(name string) string {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Refused explains a user namespace that was refused with errno. in is what was
// tried in it, "" where there was none.
func Refused(errno unix.Errno, in string) host.Refusal {
	var c Check
	switch {
	case in == "":
		c = noUserNamespace(errno)
		if errno == unix.EPERM && givenAlone() {
			c = powerless(fmt.Sprintf("making the others in a new user namespace: %v", errno))
		}
	case errno == unix.ENOSPC || errno == unix.EUSERS:
		c = missing("user_namespaces", fmt.Sprintf("%s: %v; the limit on namespaces is reached or zero", in, errno),
			"an administrator can raise user.max_user_namespaces and its siblings, see sysctl user", true)
	default:
		c = powerless(fmt.Sprintf("%s: %v", in, errno))
	}
	return host.Refusal{Why: c.Why, Fix: c.Fix}
}
