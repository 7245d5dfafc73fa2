package host

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Layering is what it depends on whether layers can be put over a directory, or
// kept in it.
type Layering struct {
	Type   string   // of its file system, as /proc/self/mountinfo names it
	Mounts []string // what is mounted below it
	// Total is how many bytes can lie there at most, free and taken, 0 if that is
	// not known: its file system's size, or less in a directory with a project
	// quota, of which ext4 and XFS say so (statfs(2), quotactl(2)).
	Total int64
}

// Drivers are the ways to make layers on this host.
type Drivers struct {
	Kernel  error  // why the kernel can't; nil: it should
	Memory  error  // why the kernel can't keep changes in memory; nil: it can
	Fuse    string // the path of fuse-overlayfs
	FuseErr error  // why it can't be used; nil: it can
}

// Layering implements Files.
func (o OS) Layering(dir string) (Layering, error) {
	o.Seen.Spoil("layers were looked for")
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Layering{}, err
	}
	defer f.Close()
	l, err := layering(bufio.NewScanner(f), dir)
	l.Total = total(dir)
	return l, err
}

// total is Layering's; a directory that is not there yet will lie where the next
// one above it does.
func total(dir string) int64 {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for ; errors.Is(err, unix.ENOENT) && dir != "/"; err = unix.Statfs(dir, &st) {
		dir = path.Dir(dir)
	}
	if err != nil || st.Bsize <= 0 || st.Blocks > uint64(math.MaxInt64)/uint64(st.Bsize) {
		return 0
	}
	return int64(st.Blocks) * st.Bsize
}

// layering finds dir in lines of mountinfo, proc_pid_mountinfo(5). A later line
// of the same place lies on top.
func layering(lines *bufio.Scanner, dir string) (l Layering, err error) {
	best := ""
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		dash := 6
		for dash < len(fields) && fields[dash] != "-" {
			dash++
		}
		if dash+1 >= len(fields) {
			continue
		}
		switch at := unescapeMount(fields[4]); {
		case at == dir || at == "/" || strings.HasPrefix(dir, at+"/"):
			if len(at) >= len(best) {
				best, l.Type = at, fields[dash+1]
			}
		case dir == "/" || strings.HasPrefix(at, dir+"/"):
			l.Mounts = append(l.Mounts, at)
		}
	}
	if err := lines.Err(); err != nil {
		return l, err
	}
	if best == "" {
		return l, fmt.Errorf("%s lies on no mount of /proc/self/mountinfo", dir)
	}
	return l, nil
}

// unescapeMount undoes the octal escapes of space, tab, newline and backslash.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Drivers implements Files.
func (o OS) Drivers() (d Drivers) {
	o.Seen.Spoil("layers were looked for")
	major, minor := release()
	if major < 5 || major == 5 && minor < 11 {
		d.Kernel = errors.New("mounting overlayfs in a user namespace takes Linux 5.11")
	}
	if major < 6 || major == 6 && minor < 6 {
		d.Memory = errors.New("keeping changes in memory takes Linux 6.6, whose tmpfs has the attributes for it")
	}
	d.Fuse, d.FuseErr = fuseOverlayfs()
	return d
}

// release is the kernel's version.
func release() (major, minor int) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return 0, 0
	}
	_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return major, minor
}

// fuseOverlayfs is where the program lies, on a host that lets it serve. An errno is
// that of the device.
func fuseOverlayfs() (string, error) {
	const device = "/dev/fuse"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening %s: %w", device, err)
	}
	unix.Close(fd)
	if path := Program("fuse-overlayfs"); path != "" {
		return path, nil
	}
	return "", errors.New("fuse-overlayfs is not installed")
}
