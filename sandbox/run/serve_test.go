package run

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/userns"
)

// TestServerConfined runs a script in fuse-overlayfs's place: it reads the layers
// and writes to the one for changes, and reaches nothing else of its user's.
func TestServerConfined(t *testing.T) {
	userns.Inherited() // other tests here start sandboxes
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Landlock)
	facts, err := host.Probe(false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"bin", "low", "kept/upper", "secret"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"low/f": "lower", "secret/key": "secret"} {
		if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\nexec 1>&2\ncat /proc/self/fd/$LOW/f\n" +
		"echo x >/proc/self/fd/$KEPT/upper/new && echo ' wrote'\n" +
		"cat " + at("secret/key") + " || echo no secret\n" +
		"echo x >/proc/self/fd/$LOW/new && echo wrote below || echo not below\n" +
		"echo x >" + at("secret/new") + " && echo wrote elsewhere || echo not elsewhere\n"
	free, err := firstFree()
	if err != nil {
		t.Fatal(err)
	}
	free += 20 // of this test's own
	script = strings.NewReplacer("$LOW", strconv.Itoa(free), "$KEPT", strconv.Itoa(free+1)).Replace(script)
	if err := os.WriteFile(at("bin/server"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	// Somebody in a user namespace, as PID 1 of a sandbox is.
	ns := exec.Command("sleep", "60")
	ns.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}}
	if err := ns.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = ns.Process.Kill()
		_ = ns.Wait()
	}()
	for _, tt := range []struct {
		name string
		abi  int
		want string
	}{
		{"control", 0, "lower wrote\nsecretwrote below\nwrote elsewhere\n"},
		{"confined", facts.Landlock, "lower wrote\nno secret\nnot below\nnot elsewhere\n"},
	} {
		var opened []int
		open := func(name string, flags int) int {
			fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			opened = append(opened, fd)
			return fd
		}
		pidfd, err := unix.PidfdOpen(ns.Process.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, pidfd)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		null := open("/dev/null", unix.O_RDWR)
		prog, err := program.CompileServer(&program.Server{
			Init: pidfd, Starter: os.Getpid(), Path: at("bin/server"), Device: null, Lower: []int{open(at("low"), unix.O_PATH)}, Kept: open(at("kept"), unix.O_PATH),
			Upper: "upper", Work: "work", Stderr: int(w.Fd()), Null: null, Free: free, Landlock: tt.abi,
		})
		if err != nil {
			t.Fatal(err)
		}
		var slots program.Slots
		slots[program.SlotReport] = uint64(w.Fd())
		c, err := child.Start(prog, slots)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		text, _ := io.ReadAll(r)
		r.Close()
		var ws unix.WaitStatus
		if _, err := unix.Wait4(c.PID, &ws, 0, nil); err != nil {
			t.Fatal(err)
		}
		unix.Close(c.PidFD)
		c.Forget()
		closeAll(opened)
		var lines []string
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "denied") {
				lines = append(lines, line)
			}
		}
		if got := strings.Join(lines, ""); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, text, tt.want)
		}
	}
}
