package child

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/run/internal/kept"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// inode is what a check wants of a path as it is.
func inode(t *testing.T, path string, bits seen.Bits) seen.Check {
	t.Helper()
	var st unix.Stat_t
	look := unix.Lstat
	if bits&seen.Follow != 0 {
		look = unix.Stat
	}
	if err := look(path, &st); err != nil {
		t.Fatal(err)
	}
	return seen.Check{Kind: seen.Stat, Bits: bits, Path: path, Want: seen.Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Dev: uint64(st.Dev), Ino: st.Ino, Links: uint64(st.Nlink), Size: uint64(st.Size),
		ModifiedNs: st.Mtim.Nano(), ChangedNs: st.Ctim.Nano(),
	}}
}

// stored writes a start down where find looks for it, and returns what find is to be
// called with. The names of the checks' files are in dir.
func stored(t *testing.T, s *kept.Start) (words []*byte, env []*byte, path string) {
	t.Helper()
	base := t.TempDir()
	dir := kept.Dir(filepath.Join(base, "sbx"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Env = append(s.Env, "XDG_RUNTIME_DIR="+base)
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	cwd, err := unix.Getcwd(quickly.cwd[:])
	if err != nil {
		t.Fatal(err)
	}
	var types [3]uint32
	for fd := range types {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		types[fd] = st.Mode & unix.S_IFMT
	}
	path = filepath.Join(dir, kept.Name(s.Argv, string(quickly.cwd[:cwd-1]), types))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return cstrings(t, s.Argv...), append(cstrings(t, s.Env...), nil), path
}

// again says whether a start is done again.
func again(words, env []*byte) bool {
	clear(quickly.meta[:])
	quickly.size = 0
	if !find(words, unsafe.Pointer(&env[0])) {
		return false
	}
	defer unix.Close(quickly.taken.File)
	return matches(words, unsafe.Pointer(&env[0])) && holds()
}

func sample() *kept.Start {
	return &kept.Start{Argv: []string{"sbx", "run", "", "x y"}, Env: []string{"A=b", "SHLVL=2", "_=/bin/sbx"}, Program: make([]byte, 72), Plan: []byte("{}")}
}

// TestAgainPadded: what is compared may end anywhere.
func TestAgainPadded(t *testing.T) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 8 {
		s := sample()
		s.Env = append(s.Env, "LANG="+strings.Repeat("x", n))
		s.Checks = []seen.Check{{Kind: seen.Text, Path: "/proc/sys/kernel/osrelease", Text: string(release)}}
		if words, env, _ := stored(t, s); !again(words, env) {
			t.Errorf("with a variable of %d bytes it is not done again", n)
		}
	}
}

// TestAgain: a start is done again only where command line, environment and all that
// was looked at are what they were.
func TestAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	pid := seen.Asked{Nr: unix.SYS_GETPID, Answer: int64(os.Getpid())}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	all := unsafe.String((*byte)(unsafe.Pointer(&uts)), int(unsafe.Sizeof(uts)))
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	stat := func(path string, bits seen.Bits, change func(*seen.Inode)) func(*kept.Start) {
		return func(s *kept.Start) {
			c := inode(t, path, bits)
			if change != nil {
				change(&c.Want)
			}
			s.Checks = append(s.Checks, c)
		}
	}
	check := func(c seen.Check) func(*kept.Start) { return func(s *kept.Start) { s.Checks = append(s.Checks, c) } }
	for _, tt := range []struct {
		name string
		kept func(*kept.Start)
		call func(words, env []*byte) ([]*byte, []*byte) // nil: the same
		ok   bool
	}{
		{"nothing looked at", nil, nil, true},
		{"a file", stat(file, seen.Content|seen.Links, nil), nil, true},
		{"a link", stat(link, seen.Content, nil), nil, true},
		{"through a link", stat(link, seen.Follow|seen.Content, nil), nil, true},
		{"another mode", stat(file, 0, func(i *seen.Inode) { i.Mode ^= 1 }), nil, false},
		{"another owner", stat(file, 0, func(i *seen.Inode) { i.UID++ }), nil, false},
		{"another group", stat(file, 0, func(i *seen.Inode) { i.GID++ }), nil, false},
		{"another device", stat(file, 0, func(i *seen.Inode) { i.Dev++ }), nil, false},
		{"another inode", stat(file, 0, func(i *seen.Inode) { i.Ino++ }), nil, false},
		{"more links", stat(file, seen.Links, func(i *seen.Inode) { i.Links++ }), nil, false},
		{"links that don't count", stat(file, 0, func(i *seen.Inode) { i.Links++ }), nil, true},
		{"another size", stat(file, seen.Content, func(i *seen.Inode) { i.Size++ }), nil, false},
		{"modified", stat(file, seen.Content, func(i *seen.Inode) { i.ModifiedNs++ }), nil, false},
		{"changed", stat(file, seen.Content, func(i *seen.Inode) { i.ChangedNs++ }), nil, false},
		{"times that don't count", stat(file, 0, func(i *seen.Inode) { i.ChangedNs++ }), nil, true},
		{"gone", check(seen.Check{Kind: seen.Stat, Path: dir + "/none", Want: inode(t, file, 0).Want}), nil, false},
		{"still absent", check(seen.Check{Kind: seen.Stat, Path: dir + "/none", Want: seen.Inode{Errno: uint32(unix.ENOENT)}}), nil, true},
		{"absent otherwise", check(seen.Check{Kind: seen.Stat, Path: file + "/none", Want: seen.Inode{Errno: uint32(unix.ENOENT)}}), nil, false},
		{"there now", check(seen.Check{Kind: seen.Stat, Path: file, Want: seen.Inode{Errno: uint32(unix.ENOENT)}}), nil, false},
		{"a text", check(seen.Check{Kind: seen.Text, Path: "/proc/sys/kernel/osrelease", Text: string(release)}), nil, true},
		{"another text", check(seen.Check{Kind: seen.Text, Path: "/proc/sys/kernel/osrelease", Text: "x" + string(release[1:])}), nil, false},
		{"a longer text", check(seen.Check{Kind: seen.Text, Path: "/proc/sys/kernel/osrelease", Text: string(release) + "\n"}), nil, false},
		{"a text that is gone", check(seen.Check{Kind: seen.Text, Path: "/proc/none", Text: ""}), nil, false},
		{"a call", check(seen.Check{Kind: seen.Call, Call: pid}), nil, true},
		{"another answer", check(seen.Check{Kind: seen.Call, Call: seen.Asked{Nr: pid.Nr, Answer: pid.Answer + 1}}), nil, false},
		{"a call that fails", check(seen.Check{Kind: seen.Call, Call: seen.Asked{Nr: unix.SYS_CLOSE, Args: [4]uintptr{1 << 20}, Answer: -int64(unix.EBADF)}}), nil, true},
		{"a call with a buffer", check(seen.Check{Kind: seen.Call, Text: all, Call: seen.Asked{Nr: unix.SYS_UNAME, Buffer: 1}}), nil, true},
		{"another buffer", check(seen.Check{Kind: seen.Call, Text: all[:len(all)-1] + "x", Call: seen.Asked{Nr: unix.SYS_UNAME, Buffer: 1}}), nil, false},
		{"another kind of stream", check(seen.Check{Kind: seen.Stream, FD: 0, Want: seen.Inode{Mode: unix.S_IFDIR}}), nil, false},
		{"an unknown check", check(seen.Check{Kind: 99}), nil, false},
		{"one of two checks", func(s *kept.Start) {
			stat(file, 0, nil)(s)
			stat(file, 0, func(i *seen.Inode) { i.Ino++ })(s)
		}, nil, false},
		{"other descriptors", func(s *kept.Start) { s.Pipes[5] = 9 }, nil, false},
		{"other variable", nil, func(w, e []*byte) ([]*byte, []*byte) { return w, append(cstrings(t, "A=c"), e[1:]...) }, false},
		{"a further variable", nil, func(w, e []*byte) ([]*byte, []*byte) {
			return w, append(append(e[:len(e)-1:len(e)-1], cstrings(t, "B=c")...), nil)
		}, false},
		{"a variable less", nil, func(w, e []*byte) ([]*byte, []*byte) { return w, e[1:] }, false},
		{"another level of shells", nil, func(w, e []*byte) ([]*byte, []*byte) {
			return w, append(append(e[:1:1], cstrings(t, "SHLVL=37")...), e[2:]...)
		}, true},
		{"another level of shells, passed on", func(s *kept.Start) { s.Passed = []string{"SHLVL=2"} }, func(w, e []*byte) ([]*byte, []*byte) {
			return w, append(append(e[:1:1], cstrings(t, "SHLVL=37")...), e[2:]...)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sample()
			if tt.kept != nil {
				tt.kept(s)
			}
			words, env, _ := stored(t, s)
			if tt.call != nil {
				words, env = tt.call(words, env)
			}
			if got := again(words, env); got != tt.ok {
				t.Errorf("done again: %v", got)
			}
		})
	}
}

// TestMatchesWords: the name of a file is a hash, so its words are compared as well.
func TestMatchesWords(t *testing.T) {
	words, env, _ := stored(t, sample())
	if !again(words, env) {
		t.Fatal("the same words are not the same")
	}
	for _, other := range [][]string{{"sbx", "run", "", "x z"}, {"sbx", "run", ""}, {"sbx", "run", "", "x y", ""}} {
		if matches(cstrings(t, other...), unsafe.Pointer(&env[0])) {
			t.Errorf("%q is taken for %q", other, sample().Argv)
		}
	}
}

// TestFind: only a file of one's own, whole and closed to others, is believed.
func TestFind(t *testing.T) {
	write := func(change func(text []byte) []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, change(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod := func(up int, mode os.FileMode) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			for range up {
				path = filepath.Dir(path)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, path string)
		ok     bool
	}{
		{"as it was written", func(*testing.T, string) {}, true},
		{"readable by others", chmod(0, 0o644), false},
		{"in a directory open to others", chmod(2, 0o755), false},
		{"cut short", write(func(b []byte) []byte { return b[:len(b)-1] }), false},
		{"empty", write(func([]byte) []byte { return nil }), false},
		{"longer", write(func(b []byte) []byte { return append(b, 0) }), false},
		{"of another version", write(func(b []byte) []byte { b[7]++; return b }), false},
		{"with another lock", write(func(b []byte) []byte { b[8*kept.AtAlone] ^= 1; return b }), false},
		{"with another check", write(func(b []byte) []byte { b[8*kept.HeadWords+8*6] ^= 1; return b }), false},
		{"with blocks that were never written", write(func(b []byte) []byte { clear(b[8*kept.HeadWords:]); return b }), false},
		{"a link", func(t *testing.T, path string) {
			if err := os.Rename(path, path+"x"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path+"x", path); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a FIFO", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			words, env, path := stored(t, sample())
			tt.change(t, path)
			if got := again(words, env); got != tt.ok {
				t.Errorf("believed: %v", got)
			}
		})
	}
	words, _, _ := stored(t, sample())
	for _, dir := range []string{"", "XDG_RUNTIME_DIR=", "XDG_RUNTIME_DIR=tmp", "XDG_RUNTIME_DIR=/tmp/../tmp", "XDG_RUNTIME_DIR=/" + strings.Repeat("x", 300)} {
		env := append(cstrings(t, dir), nil)
		if find(words, unsafe.Pointer(&env[0])) {
			t.Errorf("with %q something was found", dir)
		}
	}
}

// TestGive: a Program that was damaged is not given to the child.
func TestGive(t *testing.T) {
	block := make([]uint64, blockSize/8)
	early.block = uintptr(unsafe.Pointer(&block[0]))
	defer func() { early.block = 0 }()
	for _, tt := range []struct {
		name   string
		damage func(prog []byte) // as it stands in the file
		ok     bool
	}{
		{"as it was written", func([]byte) {}, true},
		{"a bit", func(prog []byte) { prog[40] ^= 1 }, false},
		{"a bit of the last word", func(prog []byte) { prog[len(prog)-8] ^= 1 }, false},
		{"the end is missing", func(prog []byte) { clear(prog[40:]) }, false},
		{"two bits of the same place", func(prog []byte) { prog[7] ^= 128; prog[15] ^= 128 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sample()
			for i := range 65 { // no whole words
				s.Program = append(s.Program, byte(i))
			}
			words, env, path := stored(t, s)
			if !again(words, env) {
				t.Fatal("it is not believed")
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := header(kept.AtProgram)
			tt.damage(text[at : at+header(kept.AtLength)])
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			quickly.taken.File = fd
			if got := give(); got != tt.ok {
				t.Errorf("given: %v", got)
			}
		})
	}
	runtime.KeepAlive(block)
}

// TestWalk: a tree is untouched unless the time of something in it says otherwise.
func TestWalk(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(dir string) error
		ok   bool
	}{
		{"nothing", func(string) error { return nil }, true},
		{"read", func(dir string) error { _, err := os.ReadFile(dir + "/a/b/file"); return err }, true},
		{"written", func(dir string) error { return os.WriteFile(dir+"/a/b/file", []byte("x"), 0o600) }, false},
		{"made", func(dir string) error { return os.WriteFile(dir+"/a/new", nil, 0o600) }, false},
		{"removed", func(dir string) error { return os.Remove(dir + "/a/b/file") }, false},
		{"renamed", func(dir string) error { return os.Rename(dir+"/a/b", dir+"/b") }, false},
		{"another mode", func(dir string) error { return os.Chmod(dir+"/a/b/file", 0o755) }, false},
		{"a link more", func(dir string) error { return os.Link(dir+"/a/b/file", dir+"/a/b/other") }, false},
		{"unreadable", func(dir string) error { return os.Chmod(dir+"/closed", 0) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range []string{"/a/b", "/closed"} {
				if err := os.MkdirAll(dir+d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() { os.Chmod(dir+"/closed", 0o700) })
			if err := os.WriteFile(dir+"/a/b/file", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("nowhere", dir+"/a/link"); err != nil {
				t.Fatal(err)
			}
			unix.Nanosleep(&unix.Timespec{Nsec: 50_000_000}, nil) // the clock of times of files ticks
			s := sample()
			s.Tree = dir
			words, env, _ := stored(t, s)
			if !again(words, env) || !mark() {
				t.Fatal("the tree can't be looked at")
			}
			defer unix.Close(quickly.taken.Tree.FD)
			if err := tt.do(dir); err != nil {
				t.Fatal(err)
			}
			if got := untouched(); got != tt.ok {
				t.Errorf("untouched: %v", got)
			}
		})
	}
}
