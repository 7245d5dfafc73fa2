package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
)

// Cgroup is what of control groups a sandbox can have.
type Cgroup struct {
	Root    string // where the hierarchy of version 2 is mounted
	Own     string // the group that sbx is in, "" if it can't be told
	Systemd Maker  // the user's systemd; Group is its own group
	Subtree Maker  // a group that was delegated to the caller; Group is that one
	// Leave says that sbx is in Subtree.Group itself, alone.
	Leave  bool
	Socket string // of the user's systemd itself
	Scope  string // sbx-scope's path
	// CPUs are the processors that the caller may run on.
	CPUs []int
}

// Maker is somebody who can make a control group.
type Maker struct {
	Group       string   // path of the group in which it makes them
	Controllers []string // that they can have
	Err         error    // why it can't; nil: it can
}

// FindCgroup fills in f.Cgroup. It costs a few file reads and a connection to
// the user's systemd, and is for profiles that have limits of that kind.
func (f *Facts) FindCgroup() {
	f.Seen.Spoil("a control group was looked for")
	c := &f.Cgroup
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		for n := range len(set) * 64 {
			if set.IsSet(n) {
				c.CPUs = append(c.CPUs, n)
			}
		}
	}
	var err error
	if c.Root, err = CgroupRoot(); err != nil {
		c.Systemd.Err, c.Subtree.Err = err, err
		return
	}
	c.findSystemd(f.UID, f.Exe)
	c.findSubtree()
}

// CgroupRoot is where version 2 is mounted; the second is systemd's place for it
// beside version 1.
func CgroupRoot() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", errors.New("control groups of version 2 are not mounted on /sys/fs/cgroup")
}

func (c *Cgroup) findSystemd(uid uint32, exe string) {
	if c.Scope, c.Systemd.Err = Plumbing(exe, "sbx-scope"); c.Systemd.Err != nil {
		return
	}
	socket, pid, err := userSystemd(uid)
	if err != nil {
		c.Systemd.Err = err
		return
	}
	own, err := cgroup.Of(strconv.Itoa(pid))
	if err != nil {
		c.Systemd.Err = fmt.Errorf("finding your systemd's group: %w", err)
		return
	}
	// It sits in a leaf of the group that it hands out parts of.
	group := filepath.Join(c.Root, strings.TrimSuffix(own, "/init.scope"))
	have, err := cgroup.Group(group).Controllers()
	c.Socket = socket
	c.Systemd = Maker{Group: group, Controllers: have, Err: err}
}

// userSystemd finds the socket on which the user's systemd listens, and its pid.
// Without XDG_RUNTIME_DIR, as under cron, the directory that it would name is
// looked at: it is there for somebody who is logged in, or lingers.
func userSystemd(uid uint32) (socket string, pid int, err error) {
	dirs := []string{fmt.Sprintf("/run/user/%d", uid)}
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) && d != dirs[0] {
		dirs = append([]string{d}, dirs...)
	}
	for _, dir := range dirs {
		socket = filepath.Join(dir, "systemd/private")
		if pid, err = peer(socket, uid); err == nil {
			return socket, pid, nil
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		err = fmt.Errorf("there is no systemd of yours (%s)", filepath.Join(dirs[0], "systemd"))
	}
	return "", 0, err
}

// peer connects to a socket and returns the pid of who listens there, who must
// be uid. The kernel tells pids of another PID namespace as 0: the pids that we
// would name there are not ours.
func peer(socket string, uid uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return 0, fmt.Errorf("connecting to %s: %w", socket, err)
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s: who listens: %w", socket, err)
	case cred.Uid != uid:
		return 0, fmt.Errorf("%s is served by uid %d, not by you", socket, cred.Uid)
	case cred.Pid == 0:
		return 0, fmt.Errorf("%s is served from outside of the PID namespace (a container) that sbx runs in", socket)
	}
	return int(cred.Pid), nil
}

// findSubtree looks for a group, of the own one upwards, in which others may be
// made: somebody delegated it, and either it already gives controllers to those
// below or nothing but sbx is in it.
func (c *Cgroup) findSubtree() {
	own, err := cgroup.Of("self")
	if err == nil && strings.HasPrefix(own, "/..") {
		err = errors.New("sbx's own control group lies outside of what is mounted on " + c.Root)
	}
	if err != nil {
		c.Subtree.Err = err
		return
	}
	c.Own = filepath.Join(c.Root, own)
	why := errors.New("the control group that sbx runs in was not delegated to you")
	for at := c.Own; delegatedAt(c.Root, at); at = filepath.Dir(at) {
		m, leave, err := usable(at, at == c.Own)
		if err == nil {
			c.Subtree, c.Leave = m, leave
			return
		}
		if why = err; at == c.Root {
			break
		}
	}
	c.Subtree.Err = why
}

// delegatedAt says that at, or a group above it, was handed to somebody who
// makes groups as they please: systemd marks it so (CGROUP_DELEGATION.md
// of its documentation), and the root of a container's cgroup
// namespace is its. A group in which a systemd sits is that one's to manage.
func delegatedAt(root, at string) bool {
	for ; ; at = filepath.Dir(at) {
		if unix.Access(at+"/init.scope", unix.F_OK) == nil {
			return false
		}
		if at == root {
			return true
		}
		var b [8]byte
		if n, err := unix.Getxattr(at, "user.delegate", b[:]); err == nil && string(b[:n]) == "1" {
			return true
		}
		if len(at) < len(root) {
			return false
		}
	}
}

// usable says what groups below at can have. In the own group of sbx, which
// would have to leave it, there must be nobody else.
func usable(at string, own bool) (m Maker, leave bool, err error) {
	g := cgroup.Group(at)
	for _, file := range []string{"", "/cgroup.procs", "/cgroup.subtree_control"} {
		if err := unix.Access(at+file, unix.W_OK); err != nil {
			return m, false, fmt.Errorf("writing to %s: %w", at+file, err)
		}
	}
	m.Group = at
	if !own {
		m.Controllers, err = g.Enabled()
		if err == nil && len(m.Controllers) == 0 {
			err = fmt.Errorf("%s gives no controllers to the groups below it", at)
		}
		return m, false, err
	}
	pids, err := g.Processes()
	if err != nil {
		return m, false, err
	}
	for _, pid := range pids {
		if pid != os.Getpid() && parent(pid) != os.Getpid() {
			return m, false, fmt.Errorf("beside sbx there are other processes in %s, such as %d; start sbx alone in a delegated group", at, pid)
		}
	}
	m.Controllers, err = g.Controllers()
	return m, true, err
}

// parent is the parent's pid, 0 if it can't be told.
func parent(pid int) int {
	text, err := readSmall(nil, fmt.Sprintf("/proc/%d/stat", pid), 4096)
	// proc_pid_stat(5): the name stands in parentheses and may hold any byte.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if err != nil || len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// Lacks are the controllers of want that m does not have.
func (m *Maker) Lacks(want []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(c string) bool { return slices.Contains(m.Controllers, c) })
}
