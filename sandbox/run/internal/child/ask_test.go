package child

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// cstrings are strings as C has them.
func cstrings(t *testing.T, words ...string) (list []*byte) {
	t.Helper()
	for _, word := range words {
		p, err := unix.BytePtrFromString(word)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// asked is the request that package control sends for a command.
func asked(t *testing.T, argv []string) string {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := control.Over(p[0])
	defer c.Close()
	defer unix.Close(p[1])
	if err := c.Ask(control.Request{Op: control.Exec, Process: &control.Process{Argv: argv}}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	n, err := unix.Read(p[1], b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// TestCompose holds the request that is made before the runtime against package
// control's.
func TestCompose(t *testing.T) {
	all := ""
	for c := byte(1); c < 0x80; c++ {
		all += string(rune(c))
	}
	for _, tt := range []struct {
		name  string
		words []string
		argv  []string // nil where it is left to the runtime
	}{
		{"a word", []string{"true"}, []string{"true"}},
		{"dashes", []string{"--", "true", "--", "-x"}, []string{"true", "--", "-x"}},
		{"flags of the command", []string{"ls", "-l", "--help"}, []string{"ls", "-l", "--help"}},
		{"every character", []string{"echo", all, ""}, []string{"echo", all, ""}},
		{"other alphabets", []string{"echo", "Käse"}, nil},
		{"no text", []string{"echo", "\xff"}, nil},
		{"nothing", []string{}, nil},
		{"no command", []string{"--"}, nil},
		{"an empty command", []string{""}, nil},
		{"a long command line", []string{"echo", strings.Repeat("x", 16<<10)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok := compose(cstrings(t, tt.words...))
			if ok != (tt.argv != nil) {
				t.Fatalf("compose = %v", ok)
			}
			l := &asking.request
			if got := string(l.b[:l.n]); ok && got != asked(t, tt.argv) {
				t.Errorf("it asks\n%s\nand package control\n%s", got, asked(t, tt.argv))
			}
		})
	}
}

// TestLocate holds where it looks for the socket against package state.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	store, err := state.Open()
	if err != nil {
		t.Fatal(err)
	}
	r := state.Record{Name: "of-this-test"}
	if err := store.New(&r); err != nil {
		t.Fatal(err)
	}
	mode := func(m os.FileMode) {
		if err := os.Chmod(dir+"/sbx/"+r.ID, m); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, sandbox string
		env           []string
		mode          os.FileMode
		ok            bool
	}{
		{"its name", "of-this-test", []string{"A=b", "XDG_RUNTIME_DIR=" + dir, "XDG_RUNTIME_DIR=/nowhere"}, 0o700, true},
		{"no such name", "wet", []string{"XDG_RUNTIME_DIR=" + dir}, 0o700, false},
		{"no name", "../" + r.ID, []string{"XDG_RUNTIME_DIR=" + dir}, 0o700, false},
		{"a flag", "-it", []string{"XDG_RUNTIME_DIR=" + dir}, 0o700, false},
		{"a path to clean", "of-this-test", []string{"XDG_RUNTIME_DIR=" + dir + "/../" + dir}, 0o700, false},
		{"no such directory", "of-this-test", []string{"XDG_RUNTIME_DIR=" + dir + "x"}, 0o700, false},
		{"another's directory", "of-this-test", []string{"XDG_RUNTIME_DIR=/proc"}, 0o700, false},
		{"elsewhere", "of-this-test", []string{"XDG_RUNTIME_DIR_=" + dir}, 0o700, false},
		{"open to others", "of-this-test", []string{"XDG_RUNTIME_DIR=" + dir}, 0o750, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mode(tt.mode)
			env := append(cstrings(t, tt.env...), nil)
			if ok := locate(tt.sandbox, unsafe.Pointer(&env[0])); ok != tt.ok {
				t.Fatalf("locate = %v", ok)
			}
			l := &asking.path
			if got, want := string(l.b[:l.n]), dir+"/sbx/"+r.ID+"/"+state.SocketFile; tt.ok && got != want {
				t.Errorf("it looks for the socket at %s instead of %s", got, want)
			}
		})
	}
	if idLength != state.IDLength {
		t.Errorf("an id has %d digits and not %d", state.IDLength, idLength)
	}
}

func TestIsClean(t *testing.T) {
	for path, want := range map[string]bool{
		"/": false, "/a": true, "/a/": false, "/a//b": false, "/a/./b": false, "/a/../b": false, "/a/..": false, "/.": false,
		"/a/.b/c": true, "/a/..b": true, "/run/user/1": true,
	} {
		if got := isClean(path); got != want {
			t.Errorf("isClean(%q) = %v", path, got)
		}
		if want && filepath.Clean(path) != path {
			t.Errorf("%q is not clean", path)
		}
	}
}
