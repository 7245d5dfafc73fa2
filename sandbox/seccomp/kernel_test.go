package seccomp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// The test binary is its own helper: with this variable it installs the filter
// named there ("none" for none) and makes the probes, or executes its arguments.
const helperEnv = "SBX_TEST_SECCOMP"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		if err := help(name, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "helper:", err)
			os.Exit(125)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// help runs in the helper, in its first thread.
func help(name string, args []string) error {
	runtime.LockOSThread() // the filter is this thread's, and what it executes
	base, bits, _ := strings.Cut(name, "+")
	if base != "none" {
		code, ok := seccomp.Builtin(base, seccomp.Variant{FakeRoot: bits == "root", NestedUserNS: bits == "nested"})
		if !ok {
			return fmt.Errorf("no filter %s", name)
		}
		if bits == "multiarch" {
			p, err := policy.Builtin(base, policy.AMD64, policy.Variant{Multiarch: true})
			if err != nil {
				return err
			}
			if code, err = compile.Bytes(p); err != nil {
				return err
			}
		}
		if len(code) > 0 {
			if err := install(code); err != nil {
				return err
			}
		}
	}
	switch args[0] {
	case "probe":
		return probeAll(args[1])
	case "int80":
		return int80()
	default:
		return unix.Exec(args[0], args, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()})
	}
}

// install does with raw calls what the child's program is to do.
func install(code []byte) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	fprog := struct {
		length uint16
		_      [6]byte
		filter *byte
	}{length: uint16(len(code) / 8), filter: &code[0]}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(code)
	if e != 0 {
		return fmt.Errorf("installing %d instructions: %w", fprog.length, e)
	}
	return nil
}

// helper runs the test binary as helper in dir, with its output as the result.
func helper(t *testing.T, filter, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), helperEnv+"="+filter, "TMPDIR="+dir, "HOME="+dir, "GOCOVERDIR="+dir)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil && stderr.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, &stderr)
	}
	return out.String(), err
}

// bad is no one's address: a call that reaches the kernel with it says EFAULT.
const bad = 1

// probe is a call that changes nothing when it reaches the kernel, or only a
// file of the test's directory or the helper's own attributes.
type probe struct {
	name string
	call string
	nr   uint32 // where call is "": for numbers that have no name
	args func(dir string) [6]uintptr

	// What each policy answers; 0 is that the call reaches the kernel.
	def, build, strict, root, nested syscall.Errno

	// dull is a probe that the kernel itself may answer with the same errno, so
	// that it shows nothing on such a host.
	dull bool
}

func constant(args ...uintptr) func(string) [6]uintptr {
	var a [6]uintptr
	copy(a[:], args)
	return func(string) [6]uintptr { return a }
}

// onFile gives the path of name in dir as argument i, of a file that exists or not.
func onFile(i int, name string, exists bool, args ...uintptr) func(string) [6]uintptr {
	return func(dir string) [6]uintptr {
		path := filepath.Join(dir, name)
		if exists {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				panic(err)
			}
		}
		b, err := unix.BytePtrFromString(path)
		if err != nil {
			panic(err)
		}
		var a [6]uintptr
		copy(a[:], args)
		kept = append(kept, b)
		a[i] = uintptr(unsafe.Pointer(b))
		return a
	}
}

var kept []*byte // strings whose addresses are in arguments

const high = 1 << 32

var cwd = ^uintptr(99) // AT_FDCWD

var probes = []probe{
	{name: "getppid", call: "getppid", args: constant()},
	{name: "socket UNIX", call: "socket", args: constant(unix.AF_UNIX, unix.SOCK_STREAM)},
	{name: "socket INET", call: "socket", args: constant(unix.AF_INET, unix.SOCK_STREAM)},
	{name: "socket NETLINK_ROUTE", call: "socket", args: constant(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)},
	{name: "socket NETLINK_KOBJECT_UEVENT", call: "socket", args: constant(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT), def: unix.EAFNOSUPPORT, build: unix.EAFNOSUPPORT, strict: unix.EAFNOSUPPORT, root: unix.EAFNOSUPPORT, nested: unix.EAFNOSUPPORT},
	{name: "socket VSOCK", call: "socket", args: constant(unix.AF_VSOCK, unix.SOCK_STREAM), def: unix.EAFNOSUPPORT, build: unix.EAFNOSUPPORT, strict: unix.EAFNOSUPPORT, root: unix.EAFNOSUPPORT, nested: unix.EAFNOSUPPORT, dull: true},
	{name: "socket VSOCK with bit 32", call: "socket", args: constant(unix.AF_VSOCK|high, unix.SOCK_STREAM), def: unix.EAFNOSUPPORT, build: unix.EAFNOSUPPORT, strict: unix.EAFNOSUPPORT, root: unix.EAFNOSUPPORT, nested: unix.EAFNOSUPPORT, dull: true},
	{name: "socket ALG with bit 32", call: "socket", args: constant(unix.AF_ALG|high, unix.SOCK_SEQPACKET), def: unix.EAFNOSUPPORT, build: unix.EAFNOSUPPORT, strict: unix.EAFNOSUPPORT, root: unix.EAFNOSUPPORT, nested: unix.EAFNOSUPPORT, dull: true},
	{name: "socket PACKET", call: "socket", args: constant(unix.AF_PACKET, unix.SOCK_RAW), def: unix.EAFNOSUPPORT, build: unix.EAFNOSUPPORT, strict: unix.EAFNOSUPPORT, root: unix.EAFNOSUPPORT, nested: unix.EAFNOSUPPORT},
	{name: "socketpair INET", call: "socketpair", args: constant(unix.AF_INET, unix.SOCK_STREAM, 0, bad), def: unix.EAFNOSUPPORT, build: unix.EAFNOSUPPORT, strict: unix.EAFNOSUPPORT, root: unix.EAFNOSUPPORT, nested: unix.EAFNOSUPPORT},
	{name: "ioctl TCGETS", call: "ioctl", args: constant(^uintptr(0), unix.TCGETS)},
	{name: "ioctl TIOCSTI", call: "ioctl", args: constant(^uintptr(0), unix.TIOCSTI), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "ioctl TIOCSTI with bit 32", call: "ioctl", args: constant(^uintptr(0), unix.TIOCSTI|high), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "ioctl TIOCLINUX", call: "ioctl", args: constant(^uintptr(0), 0x541c), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "ioctl TIOCSETD", call: "ioctl", args: constant(^uintptr(0), unix.TIOCSETD), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	// EINVAL from the kernel: a mount namespace and shared file system information.
	{name: "clone NEWNS", call: "clone", args: constant(unix.CLONE_NEWNS | unix.CLONE_FS), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM},
	{name: "clone NEWUSER with bit 32", call: "clone", args: constant(unix.CLONE_NEWUSER | unix.CLONE_FS | high), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM},
	{name: "clone3", call: "clone3", args: constant(0, 0), def: unix.ENOSYS, build: unix.ENOSYS, strict: unix.ENOSYS, root: unix.ENOSYS},
	{name: "unshare nothing", call: "unshare", args: constant(0), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM},
	{name: "setns", call: "setns", args: constant(^uintptr(0), 0), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM},
	{name: "mount", call: "mount", args: constant(bad, bad, bad), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM},
	{name: "umount2", call: "umount2", args: constant(bad, 0x4000), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM},
	{name: "open_tree", call: "open_tree", args: constant(^uintptr(0), bad, 0x40000000), def: unix.ENOSYS, build: unix.ENOSYS, strict: unix.ENOSYS, root: unix.ENOSYS},
	{name: "mount_setattr", call: "mount_setattr", args: constant(^uintptr(0), bad, 0x40000000), def: unix.ENOSYS, build: unix.ENOSYS, strict: unix.ENOSYS, root: unix.ENOSYS},
	{name: "keyctl", call: "keyctl", args: constant(9999), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "add_key", call: "add_key", args: constant(bad, bad, bad, 1), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "request_key", call: "request_key", args: constant(bad, bad, bad), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "bpf", call: "bpf", args: constant(9999, bad, 4), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM, dull: true},
	{name: "perf_event_open", call: "perf_event_open", args: constant(bad, 0, 0, 0), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "io_uring_setup", call: "io_uring_setup", args: constant(1, bad), def: unix.ENOSYS, build: unix.ENOSYS, strict: unix.ENOSYS, root: unix.ENOSYS, nested: unix.ENOSYS},
	{name: "userfaultfd", call: "userfaultfd", args: constant(0x40000001), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "modify_ldt", call: "modify_ldt", args: constant(99), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "setgroups", call: "setgroups", args: constant(^uintptr(0), bad), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, dull: true},
	{name: "personality, what is it", call: "personality", args: constant(^uintptr(0))},
	{name: "personality ADDR_NO_RANDOMIZE", call: "personality", args: constant(0x40000), def: unix.EPERM, strict: unix.EPERM},
	{name: "personality READ_IMPLIES_EXEC", call: "personality", args: constant(0x400000), def: unix.EPERM, build: unix.EPERM, strict: unix.EPERM, root: unix.EPERM, nested: unix.EPERM},
	{name: "ptrace", call: "ptrace", args: constant(9999, 0), strict: unix.EPERM},
	{name: "process_vm_readv", call: "process_vm_readv", args: constant(0, 0, 0, 0, 0, 1), strict: unix.EPERM},
	{name: "openat2", call: "openat2", args: constant(0, bad, bad, 0), strict: unix.ENOSYS},
	{name: "io_setup", call: "io_setup", args: constant(0, bad), strict: unix.ENOSYS},
	{name: "socket SCTP", call: "socket", args: constant(unix.AF_INET, unix.SOCK_RAW|0xf0, unix.IPPROTO_SCTP), strict: unix.EPROTONOSUPPORT},
	{name: "chmod 755", call: "chmod", args: onFile(0, "a", true, 0, 0o755)},
	{name: "chmod 4755", call: "chmod", args: onFile(0, "a", true, 0, 0o4755), build: unix.EPERM, strict: unix.EPERM, nested: unix.EPERM},
	{name: "fchmodat 2755 with bits 16 and 32", call: "fchmodat", args: onFile(1, "a", true, cwd, 0, 0o2755|high|1<<16), build: unix.EPERM, strict: unix.EPERM, nested: unix.EPERM},
	{name: "fchmodat2 6755", call: "fchmodat2", args: onFile(1, "a", true, cwd, 0, 0o6755), build: unix.EPERM, strict: unix.EPERM, nested: unix.EPERM},
	{name: "mknodat 4755", call: "mknodat", args: onFile(1, "b", false, cwd, 0, unix.S_IFREG|0o4755), build: unix.EPERM, strict: unix.EPERM, nested: unix.EPERM},
	{name: "creat 4755", call: "creat", args: onFile(0, "c", false, 0, 0o4755), build: unix.EPERM, strict: unix.EPERM, nested: unix.EPERM},
	{name: "openat O_CREAT 4755", call: "openat", args: onFile(1, "d", false, cwd, 0, unix.O_CREAT|unix.O_WRONLY, 0o4755), build: unix.EPERM, strict: unix.EPERM, nested: unix.EPERM},
	{name: "openat O_CREAT 644", call: "openat", args: onFile(1, "e", false, cwd, 0, unix.O_CREAT|unix.O_WRONLY, 0o644)},
	{name: "openat O_TMPFILE 4755", call: "openat", args: onFile(1, ".", false, cwd, 0, unix.O_TMPFILE|unix.O_RDWR, 0o4755), build: unix.EPERM, strict: unix.EPERM, nested: unix.EPERM},
	{name: "openat, a mode that does not count", call: "openat", args: onFile(1, "a", true, cwd, 0, unix.O_RDONLY, 0o7777)},
	{name: "mkdirat 2755", call: "mkdirat", args: onFile(1, "f", false, cwd, 0, 0o2755)},
	{name: "a number of the future", nr: 600, args: constant(), def: unix.ENOSYS, build: unix.ENOSYS, strict: unix.ENOSYS, root: unix.ENOSYS, nested: unix.ENOSYS, dull: true},
	{name: "-1", nr: ^uint32(0), args: constant(), def: unix.ENOSYS, build: unix.ENOSYS, strict: unix.ENOSYS, root: unix.ENOSYS, nested: unix.ENOSYS, dull: true},
	{name: "getppid of x32", nr: 1<<30 | 110, args: constant(), def: unix.ENOSYS, build: unix.ENOSYS, strict: unix.ENOSYS, root: unix.ENOSYS, nested: unix.ENOSYS, dull: true},
}

// probeAll makes the probes and prints the errno of each by name.
func probeAll(dir string) error {
	native, err := policy.ArchOf(runtime.GOARCH)
	if err != nil {
		return err
	}
	got := map[string]syscall.Errno{}
	for _, p := range probes {
		nr := p.nr
		if p.call != "" {
			var ok bool
			if nr, ok = native.Number(p.call); !ok {
				continue
			}
		}
		a := p.args(dir)
		r, _, e := unix.RawSyscall6(uintptr(int32(nr)), a[0], a[1], a[2], a[3], a[4], a[5])
		got[p.name] = e
		if e == 0 && (p.call == "socket" || strings.HasPrefix(p.call, "open") || p.call == "creat") {
			_ = unix.Close(int(r))
		}
		for _, made := range []string{"b", "c", "d", "e", "f"} {
			_ = os.Remove(filepath.Join(dir, made))
		}
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

// TestKernel asks the kernel what a probe comes to, with each filter and
// without.
func TestKernel(t *testing.T) {
	if _, ok := seccomp.Builtin(policy.Build, seccomp.Variant{}); !ok {
		t.Skipf("needs native: no filters for %s", runtime.GOARCH)
	}
	ask := func(filter string) map[string]syscall.Errno {
		dir := t.TempDir()
		out, err := helper(t, filter, dir, "probe", dir)
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		got := map[string]syscall.Errno{}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v in %q", filter, err, out)
		}
		return got
	}
	control := ask("none")
	shown := 0
	for _, f := range []struct {
		name string
		want func(probe) syscall.Errno
	}{
		{"default", func(p probe) syscall.Errno { return p.def }},
		{"build", func(p probe) syscall.Errno { return p.build }},
		{"strict", func(p probe) syscall.Errno { return p.strict }},
		{"build+root", func(p probe) syscall.Errno { return p.root }},
		{"build+nested", func(p probe) syscall.Errno { return p.nested }},
		{"unconfined", func(probe) syscall.Errno { return 0 }},
	} {
		got := ask(f.name)
		for _, p := range probes {
			e, made := got[p.name]
			if !made {
				continue // no such call here
			}
			want := f.want(p)
			switch {
			case want == 0:
				want = control[p.name]
			case want == control[p.name]:
				if !p.dull && control[p.name] != unix.ENOSYS { // an old kernel has no such call
					t.Errorf("%s: %v without a filter: the probe shows nothing", p.name, control[p.name])
				}
			default:
				shown++
			}
			if e != want {
				t.Errorf("%s: %s: %s, want %s (without a filter %s)", f.name, p.name, errname(e), errname(want), errname(control[p.name]))
			}
		}
	}
	t.Logf("%d probes, %d refusals that differ from the kernel's own answer", len(control), shown)
}

func errname(e syscall.Errno) string {
	if e == 0 {
		return "done"
	}
	return unix.ErrnoName(e)
}

// TestForeign: a system call of another table ends the process.
func TestForeign(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: int 0x80 is an instruction of it")
	}
	out, err := helper(t, "none", t.TempDir(), "int80")
	if err != nil || strings.TrimSpace(out) != "returned" {
		first, _, _ := strings.Cut(fmt.Sprintf("%q, %v", out, err), "\n") // of a trace
		t.Skipf("needs ia32: without a filter int 0x80 gives %s", first)
	}
	for _, name := range []string{"default", "build", "strict"} {
		_, err := helper(t, name, t.TempDir(), "int80")
		if exit, ok := err.(*exec.ExitError); !ok || !exit.Sys().(syscall.WaitStatus).Signaled() || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGSYS {
			t.Errorf("%s: %v, want an end by SIGSYS", name, err)
		}
	}
	for _, name := range []string{"unconfined", "build+multiarch"} {
		if out, err := helper(t, name, t.TempDir(), "int80"); err != nil {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// int80 makes the getpid of 386 from a page of code.
func int80() error {
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	copy(code, []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3}) // mov $20, %eax; int $0x80; ret
	entry := &code[0]
	call := &entry // a Go function is the address of a word with its code's address
	(*(*func())(unsafe.Pointer(&call)))()
	fmt.Println("returned")
	return nil
}

// TestCommands runs what people run under the filters that are for it.
func TestCommands(t *testing.T) {
	if _, ok := seccomp.Builtin(policy.Build, seccomp.Variant{}); !ok {
		t.Skipf("needs native: no filters for %s", runtime.GOARCH)
	}
	for _, tt := range []struct {
		tool   string
		script string
		not    []string // filters under which it is not to work
	}{
		{"sh", `test "$(echo a | cat | wc -c)" -eq 2; (exit 3) || test $? -eq 3`, nil},
		{"ls", `ls -l / >/dev/null`, nil},
		{"sed", `printf 'a\n' >f; sed -i s/a/b/ f; test "$(cat f)" = b`, nil},
		{"tar", `mkdir d; echo x >d/x; chmod 1755 d; tar -czf d.tgz d; rm -r d; tar -xzpf d.tgz; test "$(cat d/x)" = x`, nil},
		{"git", `git init -q r; cd r; echo x >x; git add x; git -c user.name=u -c user.email=u@example.com commit -qm x; git gc -q; git clone -q . ../r2; git fsck --no-progress`, nil},
		{"python3", `python3 -c 'import subprocess, threading, multiprocessing, socket, tempfile
t = threading.Thread(target=print); t.start(); t.join()
assert subprocess.run(["true"]).returncode == 0
assert multiprocessing.Pool(2).map(abs, [-1, 2]) == [1, 2]
a, b = socket.socketpair(); a.send(b"x"); assert b.recv(1) == b"x"
socket.socket().bind(("127.0.0.1", 0)); tempfile.TemporaryFile()'`, nil},
		{"gcc", `printf '#include <stdio.h>\nint main(void){puts("hello");return 0;}\n' >h.c; gcc -O1 -o h h.c; test "$(./h)" = hello`, nil},
		{"make", `printf 'all: a b\na b:\n\ttouch $@\n' >Makefile; make -s -j2; test -f b`, nil},
		{"node", `node -e 'setTimeout(()=>require("fs").writeFileSync("o","x"),1)'; test -f o`, nil},
		{"strace", `strace -f -o log sh -c 'cat /dev/null'; grep -q execve log`, []string{"strict"}},
		{"gdb", `gdb -q -batch -ex run -ex quit /bin/true >log 2>&1; grep -q 'exited normally' log`, []string{"strict"}},
		{"unshare", `if unshare -U true 2>err; then exit 1; fi; grep -q -e 'not permitted' err`, nil},
		{"install", `if install -m 4755 /bin/true s 2>err; then exit 1; fi; grep -q -e 'not permitted' err; test -z "$(find . -perm /6000)"`, []string{"default"}},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			t.Parallel()
			sbxtest.Require(t, sbxtest.Tool(tt.tool))
			for _, filter := range []string{"build", "default", "strict"} {
				if _, err := helper(t, filter, t.TempDir(), "/bin/sh", "-ec", tt.script); (err != nil) != slices.Contains(tt.not, filter) {
					t.Errorf("%s: %v", filter, err)
				}
			}
		})
	}
}
