package faults

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/faults/inject"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// rows are the faults that the design asks about, in its order, and the tests
// that hold them: of this package, or "directory.Test". Those of test/limits run in
// the guest of test/vm.
var rows = []struct {
	fault string
	tests []string
}{
	{"SIGKILL of sbx at any moment", []string{"TestKilled", "TestSupervisorKilled", "test/life.TestKilled", "test/limits.TestKilled", "test/images.TestKilled", "test/images.TestBrokenAtCall"}},
	{"SIGKILL of PID 1", []string{"TestKilled", "TestStepKilled"}},
	{"a step fails, or its process dies, before the command", []string{"TestStepFails", "TestStepKilled"}},
	{"a network helper dies", []string{"test/net.TestHelperKilled"}},
	{"a network helper outlives the sandbox", []string{"test/net.TestKilled"}},
	{"SIGKILL of fuse-overlayfs", []string{"test/files.TestKilled"}},
	{"newuidmap is missing, refuses, or the range is bad", []string{"TestHelpers", "sandbox/resolve.TestIDFaults", "userns.TestWrite"}},
	{"no room where sbx writes", []string{"TestNoRoomForTrust", "TestNoRoomForHome", "test/life.TestNoRoom", "test/files.TestNoRoom", "test/images.TestFullDisk", "test/images.TestBrokenAtCall"}},
	{"no room while applying changes", []string{"test/changes.TestNoRoom", "test/changes.TestFull", "test/changes.TestKilled"}},
	{"no descriptors, processes or memory left for sbx", []string{"TestFewDescriptors", "TestSupervisorFails", "TestRuntimeFails"}},
	{"the kernel kills for lack of memory", []string{"test/limits.TestMemory", "test/limits.TestOOMEvents", "test/limits.TestNested"}},
	{"no runtime directory, no user manager", []string{"TestNoRuntimeDir", "test/limits.TestWithout", "test/limits.TestBrokenSystemd", "test/limits.TestStopped"}},
	{"the runtime directory goes away, its owner logs out", []string{"TestRuntimeDirGone", "test/life.TestRuntimeGone", "test/limits.TestLogout"}},
	{"state of before a reboot, pids of others", []string{"sandbox/state.TestForged", "sandbox/state.TestDeadSupervisor"}},
	{"the clock jumps", []string{"sandbox/run.TestMonotonic", "test/limits.TestClockJump"}},
	{"the terminal hangs up, stops, changes size; ^C without end", []string{"TestTerminalRestored", "TestTerminalSuspended", "TestTerminalSize", "TestTerminalStorm", "TestTerminalStalled"}},
	{"a panic, or a crash of the runtime, in sbx", []string{"TestSupervisorCrashes", "TestPanicEndsFirst"}},
	{"two sandboxes of one name, two versions", []string{"test/life.TestOneName", "sandbox/state.TestOneName", "sandbox/state.TestBadRecords"}},
	{"files of subordinate ids that their owner can't delete", []string{"test/files.TestForeignFiles", "test/files.TestKeptKilled"}},
	{"a workspace on a file system without what overlays need", []string{"test/files.TestUnfit", "sandbox/resolve.TestLayersFaults"}},
	{"processes that the command leaves behind", []string{"TestOneAfterAnother", "TestDaemons"}},
	{"placeholders left in the project or the home", []string{"TestNothingPutDown"}},
}

// elsewhere is for make faults, which runs the tests of the table wherever they are.
var elsewhere = flag.Bool("elsewhere", false, "TestRows: print the tests that other packages have, a line for each")

// TestRows prints the table and holds it to what there is.
func TestRows(t *testing.T) {
	if len(rows) != 22 {
		t.Errorf("%d rows, the design has 22", len(rows))
	}
	others := map[string][]string{}
	have := map[string]map[string]bool{}
	tests := func(dir string) map[string]bool {
		if have[dir] == nil {
			have[dir] = testsOf(t, filepath.Join(sbxtest.Checkout(t), dir))
		}
		return have[dir]
	}
	for i, r := range rows {
		t.Logf("%2d  %-60s %s", i+1, r.fault, strings.Join(r.tests, " "))
		if len(r.tests) == 0 {
			t.Errorf("row %d has no test", i+1)
		}
		for _, name := range r.tests {
			dir := "test/faults"
			if at := strings.LastIndexByte(name, '.'); at >= 0 {
				dir, name = name[:at], name[at+1:]
				if !slices.Contains(others[dir], name) {
					others[dir] = append(others[dir], name)
				}
			}
			if !tests(dir)[name] {
				t.Errorf("row %d: there is no %s in %s", i+1, name, dir)
			}
		}
	}
	if *elsewhere {
		for _, dir := range slices.Sorted(maps.Keys(others)) {
			fmt.Printf("elsewhere ./%s ^(%s)$\n", dir, strings.Join(others[dir], "|"))
		}
	}
}

// testsOf are the names of the tests in a directory.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	list, err := filepath.Glob(dir + "/*_test.go")
	if err != nil || len(list) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	names := map[string]bool{}
	for _, file := range list {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

// TestHelpers: a helper that can't be executed, or refuses, ends the run with
// words that say which and why.
func TestHelpers(t *testing.T) {
	for _, k := range kinds {
		if k.name != "range" {
			continue
		}
		b := breakable(t, k)
		helpers := 0
		for who, calls := range b.whole.Calls {
			last := calls[len(calls)-1]
			if last.Nr != unix.SYS_EXECVE || strings.Count(who, ".") != 1 {
				continue
			}
			helpers++
			for _, errno := range []unix.Errno{unix.ENOENT, unix.EACCES, unix.ENOMEM} {
				name := fmt.Sprintf("helper %s fails to start with %s", who, unix.ErrnoName(errno))
				rep, said := b.run(t, &inject.Fault{Kind: inject.Fail, Errno: errno, Who: who, Nr: unix.SYS_EXECVE})
				b.after(t, name, rep)
				if ran := b.read(t); rep.Code() != 125 || ran != nil || !strings.Contains(said, "idmap") || !strings.Contains(said, errno.Error()) || strings.Count(said, "\n") != 1 {
					t.Errorf("%s: status %d, the command ran: %v; %q", name, rep.Code(), ran != nil, said)
				}
			}
		}
		if helpers != 2 {
			t.Errorf("%d helpers, want newuidmap and newgidmap", helpers)
		}
		// One that refuses: nobody has these ids of the host.
		p := b.Profile(t, fmt.Sprintf("[user]\nuid_map = [\"0:%d:1\", \"1:5:10\"]\ngid_map = [\"0:%d:1\", \"1:5:10\"]\n", os.Getuid(), os.Getgid()))
		got := b.Run(t, b.Sandboxed(p, "true")...)
		if got.Code != 125 || !strings.Contains(got.Err, "newuidmap: uid range [1-11) -> [5-15) not allowed") {
			t.Errorf("ids of others: status %d, %q", got.Code, got.Err)
		}
	}
}

// TestNoRoomForTrust: an agreement is noted as a whole or not at all, and is not
// believed to be noted when it is not.
func TestNoRoomForTrust(t *testing.T) {
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	w.Write(t, w.Work+"/.sbx.toml", "version = 1\n[network]\nmode = \"host\"\n")
	run, agree := []string{w.Sbx, "run", "-q", "--", "true"}, []string{w.Sbx, "trust", w.Work + "/.sbx.toml"}
	state := w.Home + "/.local"
	if got := w.Run(t, run...); got.Code != 125 {
		t.Fatalf("the profile needs no agreement: %d %s", got.Code, got.Err)
	}
	b := &broken{World: w}
	whole, said := b.traced(t, w.Command(agree...), inject.Record)
	if got := w.Run(t, run...); whole.Code() != 0 || got.Code != 0 {
		t.Fatalf("unbroken: %d %q, then %d %q", whole.Code(), said, got.Code, got.Err)
	}
	writes := []int{unix.SYS_WRITE, unix.SYS_OPENAT, unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_FSYNC, unix.SYS_CLOSE, unix.SYS_UNLINKAT, unix.SYS_FCHMOD}
	tries, ends := 0, map[string]int{}
	for _, nr := range writes {
		n := 0
		for _, c := range whole.Calls["0"] {
			if c.Nr == nr {
				n++
			}
		}
		for i := range n {
			for _, before := range []bool{false, true} { // anything was agreed to
				if err := os.RemoveAll(state); err != nil {
					t.Fatal(err)
				}
				if before {
					if got := w.Run(t, agree...); got.Code != 0 {
						t.Fatal(got.Err)
					}
				}
				rep, said := b.traced(t, w.Command(agree...), &inject.Fault{Kind: inject.Fail, Errno: unix.ENOSPC, Who: "0", Nr: nr, N: i})
				name := fmt.Sprintf("call %d of number %d has no room, agreed to before: %v", i, nr, before)
				got := w.Run(t, run...)
				tries++
				ends[fmt.Sprintf("status %d, trusted: %v", rep.Code(), got.Code == 0)]++
				switch {
				case rep.Code() == 0 && got.Code != 0:
					t.Errorf("%s: status 0, and then %d %q", name, got.Code, got.Err)
				case rep.Code() != 0 && said == "" && nr != unix.SYS_WRITE: // of the message itself
					t.Errorf("%s: status %d without a word", name, rep.Code())
				case got.Code != 0 && !strings.Contains(got.Err, "sbx trust"):
					t.Errorf("%s: what is left is %q", name, got.Err)
				case before && got.Code != 0:
					t.Errorf("%s: what was agreed to is lost", name)
				}
				left, _ := filepath.Glob(state + "/state/sbx/trust/.*")
				if len(left) > 0 && nr != unix.SYS_UNLINKAT {
					t.Errorf("%s: there are %v", name, left)
				}
			}
		}
	}
	t.Logf("%d failures: %v", tries, ends)
	if tries < 10 {
		t.Errorf("only %d failures", tries)
	}
}

// TestNoRoomForHome: a home that can't be made is named, and nothing runs.
func TestNoRoomForHome(t *testing.T) {
	for _, k := range kinds {
		if k.name != "kept" {
			continue
		}
		b := breakable(t, k)
		tries := 0
		for n := 0; ; n++ {
			if err := os.RemoveAll(b.Home + "/.local"); err != nil {
				t.Fatal(err)
			}
			rep, said := b.run(t, &inject.Fault{Kind: inject.Fail, Errno: unix.ENOSPC, Who: "0", Nr: unix.SYS_MKDIRAT, N: n})
			b.after(t, "no room for the home", rep)
			if !rep.Fired {
				break
			}
			tries++
			if ran := b.read(t); rep.Code() != 125 || ran != nil || !strings.Contains(said, b.Home+"/.local") || !strings.Contains(said, unix.ENOSPC.Error()) {
				t.Errorf("directory %d: status %d, the command ran: %v; %q", n, rep.Code(), ran != nil, said)
			}
		}
		if tries < 3 {
			t.Errorf("only %d directories were made", tries)
		}
	}
}

// TestNoRuntimeDir: sandboxes need no $XDG_RUNTIME_DIR.
func TestNoRuntimeDir(t *testing.T) {
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	p := w.Profile(t, "security.landlock = \"off\"\n") // of which an older kernel has something to say
	other := slices.DeleteFunc(slices.Clone(w.Env), func(kv string) bool { return strings.HasPrefix(kv, "XDG_RUNTIME_DIR=") })
	for _, dir := range []string{"", "=", "=relative", "=/none", "=/", "=/dev/null"} {
		w.Env = slices.Clone(other)
		if dir != "" {
			w.Env = append(w.Env, "XDG_RUNTIME_DIR"+dir)
		}
		if got := w.Run(t, w.Sandboxed(p, "sh", "-c", "exit 7")...); got.Code != 7 || got.Err != "" {
			t.Errorf("XDG_RUNTIME_DIR%s: status %d, %q", dir, got.Code, got.Err)
		}
	}
}

// TestRuntimeDirGone: that it goes away ends no sandbox and leaves none.
func TestRuntimeDirGone(t *testing.T) {
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	cmd := w.Command(w.Sandboxed(w.Profile(t, ""), "sh", "-c", "echo up; until test -e go; do sleep 0.02; done; exit 7")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.Home + "/run"); err != nil {
		t.Fatal(err)
	}
	w.Write(t, w.Work+"/go", "")
	_ = cmd.Wait()
	if code := world.Code(cmd); code != 7 {
		t.Errorf("status %d, want 7", code)
	}
	if left := world.Gone(t); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
}

// TestTerminalStorm: signals, sizes and keys at any moment, and whatever ends
// it, the terminal is as it was.
func TestTerminalStorm(t *testing.T) {
	w := terminalWorld(t)
	p := w.Profile(t, "")
	span := 3 * startTime(t, w, w.Sandboxed(p, "true"))
	codes := map[int]int{}
	for i := range runs(t, 24) {
		s := on(t, w, 7, nil, w.Sandboxed(p, "sh", "-c", "trap '' INT; while :; do sleep 0.05; done")...)
		storm := []func(){
			func() { s.Type(t, "\x03") },
			func() { s.Type(t, "\x1a") },
			func() { s.Resize(t, uint16(20+rand.N(100)), uint16(5+rand.N(50))) },
			func() { _ = s.cmd.Process.Signal(unix.SIGWINCH) },
			func() { _ = s.cmd.Process.Signal(unix.SIGTSTP) },
			func() { _ = s.cmd.Process.Signal(unix.SIGCONT) },
			func() { _ = s.cmd.Process.Signal(unix.SIGINT) },
		}
		time.Sleep(rand.N(span))
		for range rand.N(12) {
			storm[rand.N(len(storm))]()
			time.Sleep(rand.N(5 * time.Millisecond))
		}
		last := []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGHUP}[i%3]
		_ = s.cmd.Process.Signal(last)
		// A shell's user continues what is stopped until it has ended.
		over := make(chan struct{})
		go func() {
			for {
				_ = s.cmd.Process.Signal(unix.SIGCONT)
				select {
				case <-over:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}()
		codes[s.ends(t)]++
		close(over)
		if left := world.Gone(t); len(left) > 0 {
			t.Fatalf("run %d: there are %v", i, left)
		}
		if now := s.Mode(t); now != s.mode {
			t.Errorf("run %d, ended by %s: the terminal's mode was %+v and is %+v", i, unix.SignalName(last), s.mode, now)
		}
	}
	t.Logf("sbx ended with %v", codes)
}

// TestNothingPutDown: whatever the end, project and home are as they were, to
// the times of their directories.
func TestNothingPutDown(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("git"))
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	for _, argv := range [][]string{{"git", "init", "-q"}, {"git", "add", "-A"}, {"git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"}} {
		if got := w.Run(t, argv...); got.Code != 0 {
			t.Fatalf("%v: %s", argv, got.Err)
		}
	}
	w.Write(t, w.Work+"/sub/.env", "x")
	w.Write(t, w.Home+"/.ssh/id", "x")
	for _, k := range []struct{ name, profile string }{
		{"build", ""},
		{"home and masks", "extends = [\"builtin:open\"]\n[home]\nhide = [\"~/.ssh\", \"~/absent\", \"~/.bashrc\"]\n[workspace]\nhide = [\"**/.env\", \"absent\"]\n"},
		{"workspace read-only", "workspace.access = \"ro\"\n"},
		{"in place", "root.source = \"/\"\n"},
	} {
		t.Run(k.name, func(t *testing.T) {
			p := w.Profile(t, k.profile)
			span := 2 * startTime(t, w, w.Sandboxed(p, "true"))
			before := tree(t, w.Home)
			for i := range runs(t, 24) {
				cmd := w.Command(w.Sandboxed(p, "true")...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if i%2 == 0 {
					time.Sleep(rand.N(span))
					_ = cmd.Process.Kill()
				}
				_ = cmd.Wait()
				if left := world.Gone(t); len(left) > 0 {
					t.Fatalf("run %d: there are %v", i, left)
				}
				if now := tree(t, w.Home); !slices.Equal(now, before) {
					t.Fatalf("run %d: the home was\n%s\nand is\n%s", i, strings.Join(before, "\n"), strings.Join(now, "\n"))
				}
			}
			if got := w.Run(t, "git", "status", "--porcelain", "--ignored"); got.Out != "?? sub/\n" {
				t.Errorf("git status: %q %q", got.Out, got.Err)
			}
		})
	}
}

// tree lists what is below dir, but for the test's own files and the starts that are
// kept, with what a change would show in.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	out, err := exec.Command("find", dir, "-path", filepath.Join(dir, "work", ".git"), "-prune", "-o", "-path", filepath.Join(dir, "run"), "-prune", "-o", "-printf", "%p %y %m %s %i %T@ %C@\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(splitLines(string(out)))
}
