// Command probe tries one thing that a sandbox must not allow and says how it
// went: "reached" when it worked, else "denied: " and the errno's name. It runs
// outside first, where it has to reach what it tries, and then inside.
//
// It makes the system calls itself, so that what is tested is the kernel's
// answer and not a tool's.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: probe NAME [ARG...]")
	}
	p, ok := probes()[os.Args[1]]
	if !ok {
		fail("no probe %q", os.Args[1])
	}
	p(os.Args[2:])
}

// probes are the probes by name. What they print is compared as a whole.
func probes() map[string]func(args []string) {
	return map[string]func([]string){
		"accept":      accept,
		"connect":     connect,
		"calls":       calls,
		"inflight":    inFlight,
		"all":         func(a []string) { each(a) },
		"read":        func(a []string) { say(readFile(a[0])) },
		"write":       func(a []string) { say(open(a[0], unix.O_WRONLY)) },
		"append":      func(a []string) { say(open(a[0], unix.O_WRONLY|unix.O_APPEND)) },
		"create":      func(a []string) { say(open(a[0], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)) },
		"opens":       func(a []string) { say(open(a[0], unix.O_RDONLY)) },
		"names":       names,
		"put":         put,
		"rename":      func(a []string) { say(unix.Rename(a[0], a[1])) }, // mv copies and removes where it can't
		"fds":         openFiles,
		"readat":      readAt,
		"cwd":         cwd,
		"env":         func([]string) { sorted(os.Environ()) },
		"status":      status,
		"groups":      func([]string) { say(unix.Setgroups([]int{})) },
		"mknod":       mknod,
		"kill":        kill,
		"signals":     signals,
		"queue":       queue,
		"abstract":    abstract,
		"handed":      handed,
		"pid":         attackPID,
		"overwrite":   overwrite,
		"exec":        execute,
		"clone":       clone,
		"mount":       mounting,
		"mountas":     mountAs,
		"weakbind":    weakBind,
		"in-ns":       inNamespaces,
		"propagation": propagation,
		"look":        look,
		"withkey":     withKey,
		"keysearch":   keySearch,
		"keyread":     keyRead,
		"keylink":     keyLink,
		"forks":       forks,
		"hog":         hog,
		"inotify":     inotify,
		"timers":      timers,
		"queues":      queues,
		"terminals":   terminals,
		"fill":        fill,
		"inodes":      inodes,
		"segv":        segv,
		"die":         die,
		"tty":         tty,
		"ttys":        ttys,
		"type":        typeInto,
		"typehigh":    typeHigh,
		"syscalls":    syscalls,
		"setids":      setids,
		"compat":      compat,
		"exchange":    exchange,
		"fstype":      fsType,
		"facts":       facts,
		"wait":        wait,
		"ignores":     ignores,
		"marker":      marker,
		"state":       state,
		"tcp":         tcp,
		"pairto":      pairTo,
		"prlimit":     prlimit,
		"renice":      renice,
		"shared":      shared,
		"truncate":    truncates,
		"refusals":    refusals,
		"listener":    listener,
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "probe: "+format+"\n", args...)
	os.Exit(99)
}

// result is how a try went.
func result(err error) string {
	if err == nil {
		return "reached"
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return "denied: " + unix.ErrnoName(e)
	}
	return "denied: " + err.Error()
}

func say(err error) { fmt.Println(result(err)) }

func sorted(lines []string) {
	slices.Sort(lines)
	for _, l := range lines {
		fmt.Println(l)
	}
}

// each runs several probes, separated by "--", and labels what they say.
func each(args []string) {
	for len(args) > 0 {
		end := slices.Index(args, "--")
		if end < 0 {
			end = len(args)
		}
		one := args[:end]
		args = args[min(end+1, len(args)):]
		p, ok := probes()[one[0]]
		if !ok {
			fail("no probe %q", one[0])
		}
		fmt.Print(strings.Join(one, " "), ": ")
		p(one[1:])
	}
}

func open(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// readFile wants to see at least a byte: a masked file reads as an empty one.
func readFile(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var b [4096]byte
	n, err := unix.Read(fd, b[:])
	if err == nil && n == 0 {
		return errors.New("empty")
	}
	return err
}

// names lists a directory.
func names(args []string) {
	entries, err := os.ReadDir(args[0])
	if err != nil {
		say(err)
		return
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	fmt.Println(strings.Join(list, " "))
}

// put writes a file, its directories too.
func put(args []string) {
	dir := args[0][:strings.LastIndexByte(args[0], '/')]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		say(err)
		return
	}
	say(os.WriteFile(args[0], []byte(args[1]), 0o644))
}

// openFiles lists the descriptors above the standard ones that this process
// was started with. Go's own poller is not up yet.
func openFiles([]string) {
	var list []string
	for fd := 3; fd < 4096; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			list = append(list, fmt.Sprint(fd))
		}
	}
	if len(list) == 0 {
		list = []string{"none"}
	}
	fmt.Println(strings.Join(list, " "))
}

// readAt reads a file relative to a descriptor that was inherited.
func readAt(args []string) {
	var dir int
	fmt.Sscan(args[0], &dir)
	fd, err := unix.Openat(dir, args[1], unix.O_RDONLY, 0)
	if err == nil {
		unix.Close(fd)
	}
	say(err)
}

// cwd prints what the kernel calls the working directory; one outside the root
// has a name that doesn't begin with a slash (getcwd(2)).
func cwd([]string) {
	var b [unix.PathMax]byte
	n, err := unix.Getcwd(b[:])
	if err != nil {
		say(err)
		return
	}
	fmt.Println(string(b[:n-1]))
}

// status prints fields of /proc/PID/status.
func status(args []string) {
	text, err := os.ReadFile("/proc/" + args[0] + "/status")
	if err != nil {
		say(err)
		return
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if slices.Contains(args[1:], name) {
			list = append(list, name+" "+strings.Join(strings.Fields(value), ","))
		}
	}
	fmt.Println(strings.Join(list, " "))
}

func mknod(args []string) {
	switch args[1] {
	case "fifo":
		say(unix.Mknod(args[0], unix.S_IFIFO|0o600, 0))
	case "char":
		say(unix.Mknod(args[0], unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	case "block":
		say(unix.Mknod(args[0], unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))))
	}
}

func kill(args []string) {
	var pid int
	fmt.Sscan(args[0], &pid)
	say(unix.Kill(pid, 0))
}

// execute becomes a file's program.
func execute(args []string) {
	say(unix.Exec(args[0], args, os.Environ()))
}

// fsType prints the magic number of the file system at a path, and the device
// number of a device.
func fsType(args []string) {
	var f unix.Statfs_t
	if err := unix.Statfs(args[0], &f); err != nil {
		say(err)
		return
	}
	var st unix.Stat_t
	if err := unix.Stat(args[0], &st); err != nil {
		say(err)
		return
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		fmt.Printf("device %d:%d\n", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
		return
	}
	switch uint64(f.Type) {
	case unix.PROC_SUPER_MAGIC:
		fmt.Println("proc")
	case unix.TMPFS_MAGIC:
		fmt.Println("tmpfs")
	default:
		fmt.Printf("%#x\n", f.Type)
	}
}
