package sbxtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a probe may take; each needs a few milliseconds.
const patience = 5 * time.Second

// toolDirs are where programs are looked for: the caller's PATH may lack the
// sbin directories.
var toolDirs = []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", "/run/wrappers/bin"}

// find is the path of an installed program.
func find(name string) (string, error) {
	if filepath.IsAbs(name) && unix.Access(name, unix.X_OK) == nil {
		return name, nil
	}
	for _, dir := range toolDirs {
		path := dir + "/" + name
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// inUserNS runs a shell script as root of new user and mount namespaces.
func inUserNS(script string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-ec", script)
	cmd.Env = []string{"PATH=" + strings.Join(toolDirs, ":"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	return said(cmd)
}

// said runs cmd; its output is part of the error. When its time is up the whole
// process group goes, and nobody waits for what holds its output still open.
func said(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) > 0 {
		return fmt.Errorf("%w: %s", err, out)
	}
	return err
}

// A user namespace whose root can mount: some hosts give the namespace but no
// capabilities in it.
func probeUserNS() error { return inUserNS("mount -t tmpfs probe /tmp") }

func probeOverlay() error {
	return inUserNS(`mount -t tmpfs probe /tmp
mkdir /tmp/lower /tmp/upper /tmp/work /tmp/merged
mount -t overlay -o lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr probe /tmp/merged
echo x >/tmp/merged/x`)
}

// probeSubuid maps one subordinate id of each kind into a waiting process.
func probeSubuid() error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", "read -r _")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		stdin.Close() // read ends, and with it the shell
		cmd.Wait()    // its status says nothing
	}()
	for _, m := range []struct {
		helper, file, id string
	}{
		{"newuidmap", "/etc/subuid", me.Uid},
		{"newgidmap", "/etc/subgid", me.Gid},
	} {
		path, err := find(m.helper)
		if err != nil {
			return err
		}
		start, err := firstSubid(m.file, me)
		if err != nil {
			return err
		}
		pid := strconv.Itoa(cmd.Process.Pid)
		if err := said(exec.Command(path, pid, "0", m.id, "1", "1", start, "1")); err != nil {
			return err
		}
	}
	return nil
}

// firstSubid is the first id of the user's range in file; see subuid(5).
func firstSubid(file string, me *user.User) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		part := strings.Split(lines.Text(), ":")
		if len(part) == 3 && (part[0] == me.Username || part[0] == me.Uid) {
			return part[1], nil
		}
	}
	return "", fmt.Errorf("no line for %s in %s", me.Username, file)
}

func opens(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func probeFUSE() error { return opens("/dev/fuse") }

func probeTun() error { return opens("/dev/net/tun") }

func probePasta() error {
	path, err := find("pasta")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return said(exec.CommandContext(ctx, path, "--config-net", "--", "/bin/sh", "-c", ":"))
}

// probeTTY sends a line through a new pseudo-terminal; see pts(4).
func probeTTY() error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("TIOCGPTN: %w", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("TIOCSPTLCK: %w", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer slave.Close()
	if _, err := master.WriteString("x\n"); err != nil {
		return err
	}
	if _, err := io.ReadFull(slave, make([]byte, 2)); err != nil {
		return err
	}
	return nil
}

// probeLandlock asks for the version of the interface; 6 brought scopes
// (landlock(7)).
func probeLandlock() error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	if abi < 6 {
		return fmt.Errorf("ABI %d of Landlock", abi)
	}
	return nil
}

// probeScope has systemd's own tool make a scope, and looks there whether the
// kernel holds its limits: where a controller is missing nobody says so.
func probeScope() error {
	path, err := find("systemd-run")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience) // an emulated guest takes its time
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--user", "--scope", "--quiet", "-p", "MemoryMax=64M", "-p", "CPUQuota=20%", "-p", "TasksMax=50", "/bin/sh", "-ec",
		`d=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup); test "$(cat $d/memory.max $d/cpu.max $d/pids.max | tr '\n' ' ')" = "67108864 20000 100000 50 "`)
	cmd.Env = append(os.Environ(), "LC_ALL=C", fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", os.Getuid()))
	return said(cmd)
}

func probeRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("not running as root")
	}
	return nil
}
