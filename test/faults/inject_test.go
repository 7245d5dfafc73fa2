package faults

import (
	"bytes"
	"iter"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

func splitLines(s string) iter.Seq[string] {
	return strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n")
}

// planOf resolves a profile in this process, in the surroundings of the world.
func planOf(t *testing.T, w *world.World, file string, argv ...string) *sandbox.Plan {
	t.Helper()
	for _, kv := range w.Env {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	t.Chdir(w.Work)
	env := profiles.HostEnv()
	ref, err := profiles.Find(file, env)
	if err != nil {
		t.Fatal(err)
	}
	prof, err := profiles.Load(ref, env)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := host.Probe(prof.User.Map == "range")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := resolve.Plan(resolve.Input{Profile: prof, Facts: facts, Argv: argv, HomesDir: w.Home + "/.local/share/sbx/homes"})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// own are system calls that only the sandbox's own process makes, not the Go
// runtime of the one that starts it: each of them has to be needed.
var own = []string{
	"mount_setattr", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "mount", "pivot_root", "umount2",
	"mkdirat", "mknodat", "symlinkat", "fchdir", "chdir", "sethostname", "unshare", "capset", "keyctl", "setsid", "close_range",
	"umask", "openat2", "socket",
}

// shared are made by both, so that an injection may hit either.
// Calls without which no Go program lives are left out.
var shared = []string{"prctl", "openat", "write", "prlimit64", "ioctl", "dup3", "ppoll", "getcwd"}

// afterwards is what sbx says of the few steps of PID 1 that can only come when
// the command has begun.
var afterwards = []string{"did not say how the command ended", "let go of every"}

func TestInjected(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("strace"))
	w := world.New(t)
	sbxtest.Leftovers(t)
	p := w.Profile(t, "[process]\nhostname = \"injected\"\n[limits]\nstack = \"8M\"\n")
	marker := w.Work + "/ran"
	argv := w.Sandboxed(p, w.Probe, "marker", marker)
	prog, err := program.Compile(planOf(t, w, p, w.Probe, "marker", marker))
	if err != nil {
		t.Fatal(err)
	}
	traced := func(args ...string) world.Result {
		os.Remove(marker)
		full := append([]string{"strace", "-f", "-qqq", "-o", w.Home + "/trace"}, args...)
		return w.Run(t, append(full, argv...)...)
	}
	// Without an injection everything works, and the trace says how often the
	// sandbox's own process makes each call.
	if got := traced("-e", "trace="+strings.Join(slices.Concat(own, shared), ",")); got.Code != 0 || !world.Exists(marker) {
		t.Skipf("needs strace: under it sbx ends with %d: %s", got.Code, got.Err)
	}
	counts := count(t, w.Home+"/trace")
	all := os.Getenv("SBX_FAULT_RUNS") != ""
	said := regexp.MustCompile(`(?m)^sbx: (.*): operation not permitted`)
	tries, harmless := 0, []string{}
	for _, call := range slices.Concat(own, shared) {
		n := counts[call]
		if n == 0 {
			continue // this kind of sandbox needs it not
		}
		at := []int{1, 2, n/2 + 1, n}
		if all {
			at = at[:0]
			for i := range n {
				at = append(at, i+1)
			}
		}
		slices.Sort(at)
		for _, i := range slices.Compact(at) {
			if i > n {
				continue
			}
			name := call + " " + strconv.Itoa(i) + " of " + strconv.Itoa(n)
			got := traced("-e", "trace="+call, "-e", "inject="+call+":error=EPERM:when="+strconv.Itoa(i))
			tries++
			ran := world.Exists(marker)
			switch {
			case got.Code == 125 && !ran:
				m := said.FindStringSubmatch(got.Err)
				if m == nil && slices.Contains(own, call) {
					t.Errorf("%s: the message names no step: %q", name, got.Err)
				}
				if m != nil && !slices.ContainsFunc(prog.Steps, func(s program.Step) bool { return strings.HasSuffix(m[1], s.Doc()) }) && slices.Contains(own, call) {
					t.Errorf("%s: %q is no step of the program", name, m[1])
				}
			case got.Code == 125 && ran && slices.ContainsFunc(afterwards, func(s string) bool { return strings.Contains(got.Err, s) }):
				// PID 1 goes on when the command has begun; a failure then ends both.
			case got.Code == 0 && ran && slices.Contains(shared, call):
				harmless = append(harmless, name)
			default:
				t.Errorf("%s: status %d, the command ran: %v; %q", name, got.Code, ran, got.Err)
			}
		}
	}
	if tries < len(own) {
		t.Errorf("only %d injections", tries)
	}
	t.Logf("%d injections; without effect: %v", tries, harmless)
}

// count reads a trace: how often the process that makes the sandbox, which is
// the one that pivots, made each call. Its own child's calls count apart, as
// strace counts them.
func count(t *testing.T, file string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\(`)
	by := map[string]map[string]int{}
	for line := range bytes.Lines(text) {
		if m := re.FindSubmatch(line); m != nil {
			pid := string(m[1])
			if by[pid] == nil {
				by[pid] = map[string]int{}
			}
			by[pid][string(m[2])]++
		}
	}
	most := map[string]int{}
	for _, calls := range by {
		if calls["pivot_root"] == 0 && calls["setsid"] == 0 {
			continue
		}
		for call, n := range calls {
			most[call] = max(most[call], n)
		}
	}
	return most
}
