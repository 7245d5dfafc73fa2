// Package world makes a person's surroundings for a test: a home, a project
// and profiles in temporary directories, and the real sbx to run in them.
package world

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// patience is how long a command may take before it counts as stuck.
const patience = 60 * time.Second

// World is a person's surroundings.
type World struct {
	Home   string // holds everything below
	Work   string // the project, the directory commands start in
	Victim string // what no sandbox is granted, with a file "key"
	Sbx    string // the binary under test
	Probe  string // test/attack/probe, a copy in Work
	Env    []string
}

// Secret is the text of Victim/key.
const Secret = "the-victims-secret\n"

// New makes a World. It skips the test where it can't mean anything: as root,
// for whom most denials do not hold, and where the host has no user
// namespaces.
func New(t testing.TB) *World {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("runs as root; make test runs this as an unprivileged account")
	}
	if !refused {
		sbxtest.Require(t, sbxtest.UserNS)
	}
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &World{
		Home: home, Work: filepath.Join(home, "work"), Victim: filepath.Join(home, "victim"),
		Sbx: sbxtest.Sbx(t),
	}
	w.Probe = filepath.Join(w.Work, "probe")
	for _, d := range []string{"work", "victim", "run", ".config", ".cache"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.Write(t, w.Victim+"/key", Secret)
	copyFile(t, probe(t), w.Probe)
	w.Env = []string{
		"HOME=" + home, "USER=" + os.Getenv("USER"), "LANG=C.UTF-8", "TERM=xterm",
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
		"XDG_RUNTIME_DIR=" + filepath.Join(home, "run"),
		"TMPDIR=" + os.TempDir(),
	}
	return w
}

// probe is the built test/attack/probe.
func probe(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("SBX_PROBE"); path != "" {
		return path
	}
	path, err := build(sbxtest.Checkout(t))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built struct {
	sync.Once
	path string
	err  error
}

func build(root string) (string, error) {
	if path := os.Getenv("SBX_PROBE"); path != "" {
		return path, nil
	}
	built.Do(func() {
		dir := filepath.Join(os.TempDir(), "sbx-probe-"+strings.ReplaceAll(root, "/", "-"))
		if cache, err := os.UserCacheDir(); err == nil {
			dir = filepath.Join(cache, "sbx-test")
		}
		if built.err = os.MkdirAll(dir, 0o700); built.err != nil {
			return
		}
		built.path = filepath.Join(dir, "probe")
		tmp := built.path + "." + filepath.Base(os.Args[0])
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", tmp, "./test/attack/probe")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = errors.New(err.Error() + ": " + string(out))
			return
		}
		built.err = os.Rename(tmp, built.path) // whole, for packages tested meanwhile
	})
	return built.path, built.err
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Write writes a file, and makes its directories.
func (w *World) Write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Profile writes a profile to a file outside the project and returns its path.
// It extends builtin:build.
func (w *World) Profile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(w.Home, "profiles", "p.toml")
	w.Write(t, path, "version = 1\n"+text)
	return path
}

// Result is how a command went.
type Result struct {
	Out, Err string
	Code     int // 128+n when signal n ended it
}

// Command is a command of this person, in the project.
func (w *World) Command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = w.Work, w.Env
	return cmd
}

// Run runs a command with nothing on standard input.
func (w *World) Run(t testing.TB, argv ...string) Result {
	t.Helper()
	return Wait(t, w.Command(argv...))
}

// Sandboxed is the argument vector that runs argv in the profile's sandbox.
func (w *World) Sandboxed(profile string, argv ...string) []string {
	return append([]string{w.Sbx, "run", profile, "--"}, argv...)
}

// refused says that this host itself refuses them (test/vm/guest/tests.sh --refused).
var refused = os.Getenv("SBX_REFUSED") == "1"

// refusing runs a command in a user namespace that allows no more of them, as
// the person and without any capability.
const refusing = `echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"`

// Refused is the argument vector that runs argv where the host refuses user
// namespaces. It takes unshare(1) and setpriv(1), but where this host does that.
func Refused(argv ...string) []string {
	if refused {
		return argv
	}
	return append([]string{"/usr/bin/unshare", "--user", "--map-current-user", "--keep-caps", "--", "/bin/sh", "-c", refusing, "sh"}, argv...)
}

// Wait runs cmd to its end. One that gets stuck is killed and fails the test.
func Wait(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	var out, errs bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &errs
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", cmd.Path, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stuck := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			_ = cmd.Process.Kill()
		}
	})
	err := cmd.Wait()
	if !stuck() && ctx.Err() != nil {
		t.Errorf("%q was stuck and has been killed; it said %q %q", cmd.Args, out.String(), errs.String())
	}
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s: %v", cmd.Path, err)
	}
	return Result{Out: out.String(), Err: errs.String(), Code: Code(cmd)}
}

// Code is the status of a command that has ended, as a shell shows it.
func Code(cmd *exec.Cmd) int {
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// Intact fails the test if the victim's directory is not as New made it.
func (w *World) Intact(t testing.TB) {
	t.Helper()
	names, err := os.ReadDir(w.Victim)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, n := range names {
		list = append(list, n.Name())
	}
	if got := strings.Join(list, " "); got != "key" {
		t.Errorf("the victim's directory holds %q, want only the key", got)
	}
	if text, err := os.ReadFile(w.Victim + "/key"); err != nil || string(text) != Secret {
		t.Errorf("the victim's key reads %q, %v", text, err)
	}
}

// Exists says whether there is something at path.
func Exists(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// Runtime lists what is in the runtime directory below home. That of sbx's own
// may stay, with nothing in it but the starts that are kept.
func Runtime(home string) (left []string) {
	for _, dir := range []string{home + "/run", home + "/run/sbx"} {
		names, _ := os.ReadDir(dir)
		for _, n := range names {
			if (dir != home+"/run" || n.Name() != "sbx") && (dir == home+"/run" || n.Name() != "starts") {
				left = append(left, n.Name())
			}
		}
	}
	return left
}
