package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// sayer takes a line of what came out.
type sayer func(format string, args ...any)

// trial is one thing to do in a directory of its own. plant makes what is there
// before, on the host.
type trial struct {
	name  string
	plant func()
	act   func(say sayer)
}

func write(name, text string) { must(os.WriteFile(name, []byte(text), 0o644)) }

func mkdir(names ...string) {
	for _, n := range names {
		must(os.MkdirAll(n, 0o755))
	}
}

// file plants one file, tree a directory with files.
func file() { write("f", "lower\n") }

func tree() {
	mkdir("d/e", "d/empty")
	write("d/f", "f\n")
	write("d/e/g", "g\n")
}

// open opens with flags and does something to the file.
func open(name string, flags int, do func(f *os.File) error) error {
	f, err := os.OpenFile(name, flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

func put(text string) func(f *os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteString(text)
		return err
	}
}

func inode(name string) uint64 {
	var st unix.Stat_t
	must(unix.Lstat(name, &st))
	return st.Ino
}

var cases = []trial{
	{"create", nil, func(say sayer) {
		say("file %s", word(open("f", os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("new\n"))))
		say("again %s", word(open("f", os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("new\n"))))
		say("directory %s", word(os.Mkdir("d", 0o750)))
		say("in it %s", word(open("d/g", os.O_WRONLY|os.O_CREATE, put(""))))
		say("link %s", word(os.Symlink("nowhere", "l")))
		say("FIFO %s", word(unix.Mkfifo("p", 0o640)))
		say("socket %s", word(unix.Mknod("s", unix.S_IFSOCK|0o600, 0)))
	}},
	{"append", file, func(say sayer) { say("%s", word(open("f", os.O_WRONLY|os.O_APPEND, put("more\n")))) }},
	{"truncate", file, func(say sayer) {
		say("%s", word(open("f", os.O_WRONLY|os.O_TRUNC, func(*os.File) error { return nil })))
	}},
	{"truncate by name", file, func(say sayer) { say("%s", word(os.Truncate("f", 3))) }},
	{"longer by name", file, func(say sayer) { say("%s", word(os.Truncate("f", 100))) }},
	{"in the middle", func() { write("f", strings.Repeat("0123456789", 1000)) }, func(say sayer) {
		say("%s", word(open("f", os.O_RDWR, func(f *os.File) error { _, err := f.WriteAt([]byte("MIDDLE"), 5000); return err })))
	}},
	{"opened and not written", file, func(say sayer) { say("%s", word(open("f", os.O_RDWR, func(*os.File) error { return nil }))) }},
	{"delete", file, func(say sayer) {
		say("%s", word(os.Remove("f")))
		_, err := os.Stat("f")
		say("then %s", word(err))
		say("again %s", word(os.Remove("f")))
	}},
	{"delete and make anew", file, func(say sayer) {
		say("%s", word(os.Remove("f")))
		say("%s", word(open("f", os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("upper\n"))))
	}},
	{"delete a link", func() { file(); must(os.Symlink("f", "l")); must(os.Symlink("none", "broken")) }, func(say sayer) {
		say("%s %s", word(os.Remove("l")), word(os.Remove("broken")))
	}},
	{"remove an empty directory", func() { mkdir("d") }, func(say sayer) { say("%s", word(os.Remove("d"))) }},
	{"remove a full directory", tree, func(say sayer) { say("%s", word(unix.Rmdir("d"))) }},
	{"remove a directory emptied before", tree, func(say sayer) {
		say("%s %s", word(os.Remove("d/e/g")), word(unix.Rmdir("d/e")))
	}},
	{"remove a tree", tree, func(say sayer) { say("%s", word(os.RemoveAll("d"))) }},
	{"remove a tree and make it anew", tree, func(say sayer) {
		say("%s %s", word(os.RemoveAll("d")), word(os.Mkdir("d", 0o700)))
		say("%s", word(open("d/new", os.O_WRONLY|os.O_CREATE, put("new\n"))))
		say("%s", word(os.Mkdir("d/e", 0o755)))
	}},
	{"emptied and filled", tree, func(say sayer) {
		say("%s %s", word(os.RemoveAll("d/e")), word(os.Mkdir("d/e", 0o755)))
		say("%s", word(open("d/e/h", os.O_WRONLY|os.O_CREATE, put("h\n"))))
	}},
	{"rename", file, func(say sayer) { say("%s", word(os.Rename("f", "g"))) }},
	{"rename and make anew", file, func(say sayer) {
		say("%s", word(os.Rename("f", "g")))
		say("%s", word(open("f", os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("upper\n"))))
	}},
	{"rename to and fro", file, func(say sayer) { say("%s %s", word(os.Rename("f", "g")), word(os.Rename("g", "f"))) }},
	{"rename into another directory", tree, func(say sayer) { say("%s", word(os.Rename("d/f", "d/e/f"))) }},
	{"rename over a file", func() { file(); write("g", "g\n") }, func(say sayer) { say("%s", word(os.Rename("f", "g"))) }},
	{"rename a new file over one", file, func(say sayer) {
		say("%s", word(open(".tmp", os.O_WRONLY|os.O_CREATE, put("upper\n"))))
		say("%s", word(os.Rename(".tmp", "f")))
	}},
	{"rename a file over a directory", func() { file(); mkdir("d") }, func(say sayer) { say("%s", word(unix.Rename("f", "d"))) }},
	{"rename and keep", func() { file(); write("g", "g\n") }, func(say sayer) {
		say("%s", word(unix.Renameat2(unix.AT_FDCWD, "f", unix.AT_FDCWD, "g", unix.RENAME_NOREPLACE)))
		say("%s", word(unix.Renameat2(unix.AT_FDCWD, "f", unix.AT_FDCWD, "h", unix.RENAME_NOREPLACE)))
	}},
	{"exchange", func() { file(); write("g", "g\n") }, func(say sayer) {
		say("%s", word(unix.Renameat2(unix.AT_FDCWD, "f", unix.AT_FDCWD, "g", unix.RENAME_EXCHANGE)))
	}},
	{"rename a new directory", nil, func(say sayer) {
		say("%s", word(os.Mkdir("d", 0o755)))
		say("%s", word(open("d/f", os.O_WRONLY|os.O_CREATE, put("f\n"))))
		say("%s", word(os.Rename("d", "e")))
	}},
	{"rename a directory", tree, func(say sayer) { say("%s", word(os.Rename("d", "n"))) }},
	{"move a directory", tree, func(say sayer) {
		out, err := exec.Command("mv", "d", "n").CombinedOutput()
		say("mv %s%s", word(err), out)
	}},
	{"rename a directory over an empty one", func() { mkdir("a", "b") }, func(say sayer) {
		say("%s %s", word(os.Mkdir("c", 0o755)), word(os.Rename("c", "b")))
	}},
	{"hard link", file, func(say sayer) {
		say("%s", word(os.Link("f", "g")))
		say("%s", word(open("g", os.O_WRONLY|os.O_APPEND, put("by g\n"))))
	}},
	{"hard link of a new file", nil, func(say sayer) {
		say("%s", word(open("f", os.O_WRONLY|os.O_CREATE, put("new\n"))))
		say("%s %s", word(os.Link("f", "g")), word(os.Remove("f")))
	}},
	{"two names of before", func() { file(); must(os.Link("f", "g")) }, func(say sayer) {
		say("%s", word(open("g", os.O_WRONLY|os.O_APPEND, put("by g\n"))))
	}},
	{"remove one of two names", func() { file(); must(os.Link("f", "g")) }, func(say sayer) { say("%s", word(os.Remove("g"))) }},
	{"mode", file, func(say sayer) { say("%s", word(unix.Chmod("f", 0o600))) }},
	{"mode of an empty file", func() { write("f", "") }, func(say sayer) { say("%s", word(unix.Chmod("f", 0o755))) }},
	{"mode of a directory", tree, func(say sayer) { say("%s", word(unix.Chmod("d", 0o1700))) }},
	{"times", file, func(say sayer) {
		say("%s", word(unix.UtimesNanoAt(unix.AT_FDCWD, "f", []unix.Timespec{{Sec: 5}, {Sec: 5}}, 0)))
		var st unix.Stat_t
		must(unix.Stat("f", &st))
		say("%d", st.Mtim.Sec)
	}},
	{"times of a link", func() { must(os.Symlink("none", "l")) }, func(say sayer) {
		say("%s", word(unix.UtimesNanoAt(unix.AT_FDCWD, "l", []unix.Timespec{{Sec: 5}, {Sec: 5}}, unix.AT_SYMLINK_NOFOLLOW)))
	}},
	{"own group", file, func(say sayer) { say("%s", word(os.Chown("f", os.Getuid(), os.Getgid()))) }},
	{"attributes", func() {
		file()
		mkdir("d")
		must(unix.Setxattr("f", "user.old", []byte("1"), 0))
		must(unix.Setxattr("d", "user.dir", []byte("2"), 0))
	}, func(say sayer) {
		say("%s", word(unix.Setxattr("f", "user.new", []byte("3\x00"), unix.XATTR_CREATE)))
		say("%s", word(unix.Setxattr("d", "user.dir", []byte("4"), unix.XATTR_REPLACE)))
		say("%s", word(unix.Removexattr("f", "user.none")))
		say("%s", word(open("g", os.O_WRONLY|os.O_CREATE, put(""))))
		say("%s %s", word(unix.Setxattr("g", "user.x", nil, 0)), word(unix.Removexattr("g", "user.x")))
	}},
	{"attribute taken away", func() { file(); must(unix.Setxattr("f", "user.old", []byte("1"), 0)) }, func(say sayer) {
		say("%s", word(unix.Removexattr("f", "user.old")))
	}},
	{"attributes come along", func() { file(); must(unix.Setxattr("f", "user.old", []byte("1"), 0)) }, func(say sayer) {
		say("%s", word(open("f", os.O_WRONLY|os.O_APPEND, put("more\n"))))
	}},
	{"link for a file", file, func(say sayer) { say("%s %s", word(os.Remove("f")), word(os.Symlink("/etc", "f"))) }},
	{"file for a link", func() { must(os.Symlink("/etc", "l")) }, func(say sayer) {
		say("%s %s", word(os.Remove("l")), word(open("l", os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("x"))))
	}},
	{"file for a directory", tree, func(say sayer) {
		say("%s %s", word(os.RemoveAll("d")), word(open("d", os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("x"))))
	}},
	{"directory for a file", file, func(say sayer) {
		say("%s %s %s", word(os.Remove("f")), word(os.Mkdir("f", 0o755)), word(open("f/x", os.O_WRONLY|os.O_CREATE, put("x"))))
	}},
	{"directory for a link", func() { mkdir("d"); must(os.Symlink("d", "l")) }, func(say sayer) {
		say("%s %s", word(os.Remove("l")), word(os.Mkdir("l", 0o755)))
	}},
	{"link for a directory, and back", tree, func(say sayer) {
		say("%s %s", word(os.RemoveAll("d")), word(os.Symlink(".", "d")))
		say("%s %s", word(os.Remove("d")), word(os.Mkdir("d", 0o755)))
	}},
	{"through a link", func() { tree(); must(os.Symlink("d/f", "l")) }, func(say sayer) {
		say("%s", word(open("l", os.O_WRONLY|os.O_APPEND, put("more\n"))))
	}},
	{"sparse", func() {
		must(open("f", os.O_RDWR|os.O_CREATE, func(f *os.File) error {
			must(f.Truncate(16 << 20))
			_, err := f.WriteAt([]byte("x"), 8<<20)
			return err
		}))
	}, func(say sayer) {
		say("%s", word(open("f", os.O_RDWR, func(f *os.File) error { _, err := f.WriteAt([]byte("y"), 4<<20); return err })))
		var st unix.Stat_t
		must(unix.Stat("f", &st))
		say("has its holes: %t", st.Blocks*512 < 1<<20)
	}},
	{"big", func() { write("f", strings.Repeat("0123456789abcdef", 1<<20)) }, func(say sayer) {
		say("%s", word(open("f", os.O_WRONLY|os.O_APPEND, put("end"))))
		say("%s", word(open("g", os.O_WRONLY|os.O_CREATE, put(strings.Repeat("z", 8<<20)))))
	}},
	{"allocate and punch", func() { write("f", strings.Repeat("x", 64<<10)) }, func(say sayer) {
		say("%s", word(open("f", os.O_RDWR, func(f *os.File) error { return unix.Fallocate(int(f.Fd()), 0, 0, 128<<10) })))
	}},
	{"names", func() {
		for _, n := range oddNames {
			write("lower"+n, "x")
		}
	}, func(say sayer) {
		for _, n := range oddNames {
			say("%q %s %s", n, word(open(n, os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("x"))), word(open("lower"+n, os.O_WRONLY|os.O_APPEND, put("y"))))
		}
		say("%s", word(os.Remove("lower"+oddNames[0])))
	}},
	{"names of marks", func() { write(".wh.low", "x"); write("low", "low") }, func(say sayer) {
		for _, n := range []string{".wh.new", ".wh..wh..opq", ".wh.low"} {
			say("%s %s", n, word(open(n, os.O_WRONLY|os.O_CREATE, put("x"))))
		}
		_, err := os.Stat("low")
		say("low %s", word(err))
	}},
	{"names that differ in case", func() { write("name", "x") }, func(say sayer) {
		say("%s", word(open("NAME", os.O_WRONLY|os.O_CREATE|os.O_EXCL, put("y"))))
	}},
	{"too long a name", nil, func(say sayer) { say("%s", word(os.Mkdir(strings.Repeat("n", 256), 0o755))) }},
	{"mapped and written", func() { write("f", strings.Repeat("m", 8192)) }, func(say sayer) {
		say("%s", word(open("f", os.O_RDWR, func(f *os.File) error {
			m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			m[100], m[5000] = 'A', 'B'
			if err := unix.Msync(m, unix.MS_SYNC); err != nil {
				return err
			}
			return unix.Munmap(m)
		})))
	}},
	{"mapped and read", func() { write("f", strings.Repeat("m", 8192)) }, func(say sayer) {
		say("%s", word(open("f", os.O_RDONLY, func(f *os.File) error {
			m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ, unix.MAP_PRIVATE)
			if err == nil {
				say("%c", m[8191])
				err = unix.Munmap(m)
			}
			return err
		})))
	}},
	{"locks", file, func(say sayer) {
		must(open("f", os.O_RDWR, func(a *os.File) error {
			return open("f", os.O_RDWR, func(b *os.File) error {
				say("flock %s", word(unix.Flock(int(a.Fd()), unix.LOCK_EX)))
				say("second %s", word(unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB)))
				whole := &unix.Flock_t{Type: unix.F_WRLCK}
				say("open file %s", word(unix.FcntlFlock(a.Fd(), unix.F_OFD_SETLK, whole)))
				say("second %s", word(unix.FcntlFlock(b.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})))
				return nil
			})
		}))
	}},
	{"read-only file", func() { file(); must(os.Chmod("f", 0o444)) }, func(say sayer) {
		say("%s", word(open("f", os.O_WRONLY, put("x"))))
		say("%s %s", word(unix.Chmod("f", 0o644)), word(open("f", os.O_WRONLY|os.O_APPEND, put("x"))))
	}},
	{"closed file", func() { file(); must(os.Chmod("f", 0)) }, func(say sayer) {
		say("%s", word(open("f", os.O_RDONLY, func(*os.File) error { return nil })))
		say("%s %s", word(unix.Chmod("f", 0o600)), word(open("f", os.O_WRONLY|os.O_APPEND, put("x"))))
	}},
	{"closed directory", func() { tree(); must(os.Chmod("d/e", 0o000)) }, func(say sayer) {
		say("%s", word(open("d/e/g", os.O_RDONLY, func(*os.File) error { return nil })))
		say("%s %s", word(unix.Chmod("d/e", 0o755)), word(os.Remove("d/e/g")))
	}},
	{"read before it is written", file, func(say sayer) {
		must(open("f", os.O_RDONLY, func(f *os.File) error {
			must(open("f", os.O_WRONLY|os.O_TRUNC, put("upper\n")))
			text := make([]byte, 16)
			n, _ := f.Read(text)
			say("the earlier descriptor reads %q", text[:n])
			return nil
		}))
	}},
	{"removed while open", file, func(say sayer) {
		must(open("f", os.O_RDWR, func(f *os.File) error {
			say("%s", word(os.Remove("f")))
			text := make([]byte, 16)
			n, err := f.Read(text)
			say("%q %s", text[:n], word(err))
			_, err = f.WriteString("x")
			say("%s", word(err))
			var st unix.Stat_t
			must(unix.Fstat(int(f.Fd()), &st))
			say("links %d", st.Nlink)
			return nil
		}))
	}},
	{"without a name", nil, func(say sayer) {
		fd, err := unix.Open(".", unix.O_TMPFILE|unix.O_RDWR, 0o640)
		say("%s", word(err))
		if err != nil {
			return
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte("named later"))
		say("%s %s", word(err), word(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, "named", unix.AT_SYMLINK_FOLLOW)))
	}},
	{"copied in the kernel", func() { write("f", strings.Repeat("c", 100<<10)) }, func(say sayer) {
		say("%s", word(open("f", os.O_RDONLY, func(in *os.File) error {
			return open("g", os.O_WRONLY|os.O_CREATE, func(out *os.File) error {
				for left := 100 << 10; left > 0; {
					n, err := unix.CopyFileRange(int(in.Fd()), nil, int(out.Fd()), nil, left, 0)
					if err != nil || n == 0 {
						return err
					}
					left -= n
				}
				return nil
			})
		})))
		say("%s", word(open("f", os.O_RDONLY, func(in *os.File) error {
			return open("h", os.O_WRONLY|os.O_CREATE, func(out *os.File) error {
				_, err := unix.Sendfile(int(out.Fd()), int(in.Fd()), nil, 1000)
				return err
			})
		})))
	}},
	{"many", func() {
		for i := range 1500 {
			write(fmt.Sprintf("f%04d", i), "")
		}
	}, func(say sayer) {
		for i := 0; i < 1500; i += 2 {
			must(os.Remove(fmt.Sprintf("f%04d", i)))
		}
		for i := range 500 {
			write(fmt.Sprintf("g%04d", i), "")
		}
		list, err := os.ReadDir(".")
		say("%d %s", len(list), word(err))
		seen := map[string]bool{}
		for _, e := range list {
			seen[e.Name()] = true
		}
		say("%d names", len(seen))
		for _, e := range list {
			must(os.Remove(e.Name()))
		}
	}},
	{"deep", func() { mkdir(strings.Repeat("d/", 60)) }, func(say sayer) {
		p := strings.Repeat("d/", 60)
		say("%s", word(open(p+"f", os.O_WRONLY|os.O_CREATE, put("deep"))))
		say("%s", word(os.MkdirAll(p+strings.Repeat("e/", 60), 0o755)))
	}},
	{"inode stays", file, func(say sayer) {
		before := inode("f")
		must(open("f", os.O_WRONLY|os.O_APPEND, put("x")))
		say("after the first write: %t", inode("f") == before)
		before = inode("f")
		must(open("f", os.O_WRONLY|os.O_APPEND, put("x")))
		say("after the second: %t", inode("f") == before)
	}},
	{"one device", func() { file(); mkdir("d") }, func(say sayer) {
		write("g", "")
		devices := map[uint64]bool{}
		for _, n := range []string{".", "d", "f", "g"} {
			var st unix.Stat_t
			must(unix.Lstat(n, &st))
			devices[uint64(st.Dev)] = true
		}
		say("%t", len(devices) == 1)
	}},
	{"inodes differ", func() { tree() }, func(say sayer) {
		write("d/new", "")
		seen := map[uint64]string{}
		same := []string{}
		_ = filepath.WalkDir(".", func(p string, _ os.DirEntry, _ error) error {
			if first, ok := seen[inode(p)]; ok {
				same = append(same, first+" and "+p)
			}
			seen[inode(p)] = p
			return nil
		})
		say("%v", same)
	}},
	{"listed as it is", tree, func(say sayer) {
		list, err := os.ReadDir("d")
		must(err)
		var out []string
		for _, e := range list {
			var st unix.Stat_t
			must(unix.Lstat("d/"+e.Name(), &st))
			out = append(out, fmt.Sprintf("%s %s", e.Name(), e.Type()))
		}
		sort.Strings(out)
		say("%s", strings.Join(out, ", "))
	}},
	{"in a directory that is gone", func() { mkdir("d") }, func(say sayer) {
		must(os.Chdir("d"))
		say("%s %s", word(unix.Rmdir("../d")), word(os.Mkdir("x", 0o755)))
		must(os.Chdir(".."))
	}},
	{"written out", file, func(say sayer) {
		say("%s", word(open("f", os.O_RDWR, func(f *os.File) error { must(put("x")(f)); return f.Sync() })))
		say("%s", word(open(".", os.O_RDONLY, func(f *os.File) error { return unix.Fsync(int(f.Fd())) })))
	}},
	{"watched", file, func(say sayer) {
		fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		must(err)
		defer unix.Close(fd)
		_, err = unix.InotifyAddWatch(fd, ".", unix.IN_CREATE|unix.IN_DELETE|unix.IN_CLOSE_WRITE)
		must(err)
		must(open("f", os.O_WRONLY|os.O_APPEND, put("x")))
		write("g", "")
		must(os.Remove("g"))
		buf := make([]byte, 4096)
		n, _ := unix.Read(fd, buf)
		say("%d events", bytes.Count(buf[:n], []byte("f\x00"))+bytes.Count(buf[:n], []byte("g\x00")))
	}},
	{"run", func() { write("s", "#!/bin/sh\necho lower\n"); must(os.Chmod("s", 0o755)) }, func(say sayer) {
		out, err := exec.Command("./s").Output()
		say("%s%s", out, word(err))
		must(os.WriteFile("s", []byte("#!/bin/sh\necho upper\n"), 0))
		out, err = exec.Command("./s").Output()
		say("%s%s", out, word(err))
	}},
	{"socket", nil, func(say sayer) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(err)
		defer unix.Close(fd)
		say("%s", word(unix.Bind(fd, &unix.SockaddrUnix{Name: "sock"})))
		say("%s", word(unix.Listen(fd, 1)))
		to, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(err)
		defer unix.Close(to)
		say("%s", word(unix.Connect(to, &unix.SockaddrUnix{Name: "sock"})))
	}},
	{"a FIFO of before", func() { must(unix.Mkfifo("p", 0o644)) }, func(say sayer) {
		r, err := unix.Open("p", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		must(err)
		defer unix.Close(r)
		say("%s", word(open("p", os.O_WRONLY, put("through"))))
		b := make([]byte, 16)
		n, err := unix.Read(r, b)
		say("%q %s %s", b[:max(n, 0)], word(err), word(os.Remove("p")))
	}},
	{"umask", nil, func(say sayer) {
		before := unix.Umask(0o027)
		defer unix.Umask(before)
		say("%s %s", word(open("f", os.O_WRONLY|os.O_CREATE, put(""))), word(os.Mkdir("d", 0o777)))
	}},
	{"sticky and set-group-id", func() { mkdir("d") }, func(say sayer) {
		say("%s", word(os.Mkdir("e", 0o755)))
		say("%s", word(unix.Chmod("e", 0o1777)))
	}},
	{"nothing", tree, func(say sayer) {}},
}

var oddNames = []string{"\n", "-rf", "\xff\xfe", " ", "a,lowerdir=.,b", "c:d", `e\f`, `"`, "'", "$(id)", "*", "\x1b]0;x\a", "é", strings.Repeat("n", 190)}
