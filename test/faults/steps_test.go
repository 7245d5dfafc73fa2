package faults

import (
	"fmt"
	"iter"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/test/faults/inject"
	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

func splitLines(s string) iter.Seq[string] {
	return strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n")
}

// kind is a kind of sandbox that is broken at each step.
type kind struct {
	name, profile string
	needs         []sbxtest.Feature
	terminal      bool // sbx's standard input and output are one
	bare          bool // the host refuses user namespaces
}

// kinds have between them every kind of operation that a Program can have.
var kinds = []kind{
	{name: "build", profile: "process.hostname = \"injected\"\nprocess.oom_score_adj = 10\nprocess.nice = 1\n[limits]\nstack = \"8M\"\n"},
	{name: "equal", profile: "root.source = \"/\"\n"},
	{name: "range", profile: "user.map = \"range\"\n", needs: []sbxtest.Feature{sbxtest.Subuid}},
	{name: "fakeroot", profile: "user.as = \"root\"\n"},
	{name: "terminal", terminal: true},
	{name: "pipes", profile: "process.tty = \"never\"\n", terminal: true},
	{name: "time", profile: "[namespaces]\ntime = \"private\"\ntime_offset_boottime = \"1h\"\n"},
	{name: "masks", profile: "extends = [\"builtin:open\"]\n[home]\nhide = [\"~/victim\"]\n[workspace]\nhide = [\"**/.env\"]\n"},
	{name: "files", profile: "[mounts.\"/tmp/one\"]\ntype = \"file\"\ncontent = \"x\"\n[mounts.\"/tmp/link\"]\ntype = \"symlink\"\nsource = \"one\"\n" +
		"[mounts.\"/tmp/t\"]\ntype = \"tmpfs\"\naccess = \"ro\"\n[mounts.\"/tmp/t/f\"]\ntype = \"file\"\ncontent = \"y\"\n"},
	{name: "layers", profile: "[mounts.\"/tmp/l\"]\ntype = \"overlay\"\nsource = \"${WORKSPACE}/sub\"\nupper = \"tmpfs\"\nsize = \"1M\"\n", needs: []sbxtest.Feature{sbxtest.Overlay}},
	{name: "kept", profile: "home.mode = \"persistent\"\n"},
	{name: "traced", profile: tracing},
	{name: "bare", bare: true, profile: fallback + "[home]\nmode = \"host\"\nhide = [\"~/victim\"]\n[process]\nnice = 1\noom_score_adj = 10\n", needs: bareNeeds},
	{name: "bare terminal", bare: true, terminal: true, profile: fallback, needs: bareNeeds},
}

// fallback lets a profile do without namespaces, which takes what is in bareNeeds.
const fallback = "security.fallback = \"landlock\"\n"

var bareNeeds = []sbxtest.Feature{sbxtest.Landlock, sbxtest.Tool("unshare"), sbxtest.Tool("setpriv")}

// broken is a kind of sandbox whose runs are recorded and broken.
type broken struct {
	*world.World
	kind
	argv   []string
	mark   string // the command's state, if it ran
	prog   *program.Program
	tty    *pty.Terminal
	mode   unix.Termios
	whole  *inject.Report // of the run that nothing broke
	state  []string       // of its command
	said   string         // what sbx said in it
	tries  int
	passed map[string]int // faults without effect, by what they were
}

// breakable makes the surroundings and records a run.
func breakable(t *testing.T, k kind) *broken {
	t.Helper()
	sbxtest.Require(t, k.needs...)
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	w.Write(t, w.Work+"/sub/.env", "x")
	b := &broken{World: w, kind: k, mark: w.Work + "/ran", passed: map[string]int{}}
	p := w.Profile(t, k.profile)
	command := []string{w.Probe, "state", b.mark}
	b.argv = w.Sandboxed(p, command...)
	w.Write(t, w.Home+"/said", "") // what the runs will find in the home
	if k.bare {
		b.argv = world.Refused(b.argv...)
	}
	if k.terminal {
		b.tty = pty.Open(t)
		b.mode = b.tty.Mode(t)
	}
	var err error
	if b.prog, err = program.Compile(b.plan(t, p, command)); err != nil {
		t.Fatal(err)
	}
	rep, said := b.run(t, inject.Record)
	if rep.Code() != 0 || !world.Exists(b.mark) {
		t.Fatalf("unbroken it ends with %d, %q", rep.Code(), said)
	}
	b.whole, b.state, b.said = rep, b.read(t), said
	return b
}

// plan is what sbx makes of the profile, decided in this process.
func (b *broken) plan(t *testing.T, file string, argv []string) *sandbox.Plan {
	t.Helper()
	for _, kv := range b.Env {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	t.Chdir(b.Work)
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
	// As traced opens them: the null device, or a terminal, and a file.
	facts.Stdio = [3]host.Stdio{{Device: true, Read: true, Write: true}, {Device: true, Read: true, Write: true}, {File: true, Read: true, Write: true}}
	if b.terminal {
		facts.Stdio[0], facts.Stdio[1] = host.Stdio{Terminal: true}, host.Stdio{Terminal: true}
	}
	if b.bare {
		facts.Refused.Why = "the test's"
	}
	plan, err := resolve.Plan(resolve.Input{Profile: prof, Facts: facts, Argv: argv, HomesDir: b.Home + "/.local/share/sbx/homes", RuntimeDirs: state.BasesIn(b.Home + "/run"), PrivateDir: b.Home + "/run/sbx-private-0"})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// run runs the sandbox with a fault and returns what sbx said.
func (b *broken) run(t *testing.T, f *inject.Fault) (*inject.Report, string) {
	t.Helper()
	if err := os.RemoveAll(b.mark); err != nil {
		t.Fatal(err)
	}
	return b.traced(t, b.Command(b.argv...), f)
}

func (b *broken) traced(t *testing.T, cmd *exec.Cmd, f *inject.Fault) (*inject.Report, string) {
	t.Helper()
	said, err := os.Create(b.Home + "/said")
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd.Stderr = said
	if b.tty != nil {
		cmd.Stdin, cmd.Stdout = b.tty.Slave, b.tty.Slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	rep, err := inject.Run(cmd, f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(said.Name())
	if err != nil {
		t.Fatal(err)
	}
	return rep, string(text)
}

// read is what the command found, if it ran: nil, else its lines. Namespaces
// have another number in each run; what counts is whether they are the host's.
func (b *broken) read(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(b.mark)
	if err != nil {
		if !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return nil
	}
	var list []string
	for line := range splitLines(string(text)) {
		if link, ok := strings.CutPrefix(line, "namespace "); ok {
			name, _, _ := strings.Cut(link, ":")
			own, _ := os.Readlink("/proc/self/ns/" + name)
			line = fmt.Sprintf("namespace %s own %v", name, own != link)
		}
		if b.bare { // what has the host's numbers in it
			if strings.HasPrefix(line, "NSpid ") || strings.HasPrefix(line, "NSsid ") {
				continue
			}
			line = plain(line)
		}
		list = append(list, line)
	}
	return list
}

// privateName is the name of a bare sandbox's directory, or of its terminal among
// the host's: another in each run.
var privateName = regexp.MustCompile(`sbx-private-[0-9a-f-]+|/dev/pts/[0-9]+`)

func plain(text string) string { return privateName.ReplaceAllString(text, "sbx-private") }

// moment is a call of a process of the sandbox, and the operation it carries
// out, -1 for those that are the interpreter's own.
type moment struct {
	who   string
	n, op int
	call  inject.Call
	late  bool // PID 1 has let the command's process go
}

// moments follows the recorded calls of the sandbox's processes through the
// Program. A call that is not the next operation's fails the test, and so does
// a step without a call.
func (b *broken) moments(t *testing.T) (list []moment) {
	t.Helper()
	command := ""
	for who := range b.whole.Executed {
		if who != "0" {
			command = who
		}
	}
	first := strings.Join(strings.SplitN(command, ".", 3)[:2], ".") // sbx's child
	begin := map[string]int{first: 0}
	seen := make([]bool, len(b.prog.Ops))
	for queue := []string{first}; len(queue) > 0; queue = queue[1:] {
		who := queue[0]
		op := begin[who]
		children, late, lived := 0, false, 0
		for n, call := range b.whole.Calls[who] {
			for op >= 0 && b.prog.Ops[op].Nr < 0 && b.prog.Ops[op].Nr != program.OpInit && b.prog.Ops[op].Nr != program.OpExit {
				seen[op] = true
				if jump := int(b.prog.Ops[op].Jump); b.prog.Ops[op].Nr == program.OpJump && jump > op {
					op = jump
				} else {
					op++
				}
			}
			if op < 0 && call.Nr == unix.SYS_KILL && int32(call.Args[0]) == -1 { // a bare sandbox's init, at its end
				op = lived + 1
			}
			if op < 0 || b.prog.Ops[op].Nr < 0 {
				if op >= 0 {
					seen[op] = true
					lived = op
				}
				op = -1
				list = append(list, moment{who, n, op, call, late})
				continue
			}
			o := &b.prog.Ops[op]
			if int(o.Nr) != call.Nr {
				t.Fatalf("call %d of process %s has number %d, and operation %d of the program has %d", n, who, call.Nr, op, o.Nr)
			}
			seen[op] = true
			list = append(list, moment{who, n, op, call, late})
			switch {
			case o.Opt&program.Fork != 0:
				children++
				child := fmt.Sprintf("%s.%d", who, children)
				begin[child] = int(o.Jump)
				queue = append(queue, child)
				late = command == child || strings.HasPrefix(command, child+".")
				op++
			case o.Opt&program.Skip != 0 && call.Errno() != 0:
				op = int(o.Jump)
			default:
				op++
			}
		}
	}
	for i, s := range b.prog.Steps {
		end := len(b.prog.Ops)
		if i+1 < len(b.prog.Steps) {
			end = b.prog.Steps[i+1].Op
		}
		// Nobody asks for another command, and init may have ended the ward before it
		// came to wait for init.
		perhaps := strings.HasPrefix(s.Doc(), "start another command") || s.Who == program.Ward && s.Op > b.prog.Init
		if !slices.Contains(seen[s.Op:end], true) && !perhaps {
			t.Errorf("no call of the recorded run is of the step %q", s.Doc())
		}
	}
	return list
}

// tolerated are the failures that a sandbox is built in spite of, by the first
// words of the step, and why that is right. No other may be.
var tolerated = []struct {
	step  string
	errno unix.Errno
	why   string
}{
	{"let Landlock allow, of descriptor", unix.EBADFD, "a file on no file system, such as a memfd, takes no rule and needs none"},
	{"", unix.EEXIST, "a directory, mount point or link is there already, in a home that is kept or in a directory of the host's; what is mounted there is mounted on it as well"},
	{"join a new session keyring", unix.ENOSYS, "a kernel without keyrings has none to leave"},
	{"empty the capability bounding set", unix.EINVAL, "of capabilities above 40, which older kernels don't know"},
	{"mask /proc/", unix.ENOENT, "a kernel without the file shows nothing by it"},
	{"make /proc/", unix.ENOENT, "a kernel without the file takes nothing by it"},
	{"mount own message queues on /dev/mqueue", unix.ENODEV, "a kernel without message queues has none to show"},
	{"install the system call filter", unix.EINVAL, "before Linux 5.19 a signal can interrupt a call that is asked about"},
	{"set the nice value", unix.EACCES, "the caller yields more already"},
	{"let go of every descriptor", unix.EINVAL, "the status pipe has the number already"},
	{"let Landlock allow, at ", unix.ENOENT, "a part of a tree that is gone meanwhile needs no rule"},
	{"make sure that no signal reaches sbx", unix.EPERM, "none does"},
	{"wait for init, then end all", unix.ESRCH, "there is nothing to end"},
	{"wait for init, then end all", unix.ECHILD, "nothing is left"},
	{"wait for init, then end all", unix.EBADF, "it is how the Program goes back"},
	{"end all that is left", unix.ESRCH, "there is nothing to end"},
	{"end all that is left", unix.ECHILD, "nothing is left"},
	{"end all that is left", unix.EBADF, "it is how the Program goes back"},
	{"execute ", unix.ENOENT, "the next directory of PATH may have it"},
	{"execute ", unix.ENOTDIR, "the next directory of PATH may have it"},
	{"execute ", unix.EACCES, "the next directory of PATH may have it"},
}

func mayTolerate(step string, errno unix.Errno) bool {
	for _, t := range tolerated {
		if t.errno == errno && strings.HasPrefix(step, t.step) {
			return true
		}
	}
	return false
}

// shows is the text of the lines of a command's state in which a step shows.
func shows(s program.Step) string {
	if s.From == "process.nice" {
		return "priority "
	}
	return s.Path
}

// errnos are what a call may fail with for lack of rights, room, descriptors,
// memory, and by a signal.
var errnos = []unix.Errno{unix.EPERM, unix.ENOSPC, unix.EMFILE, unix.ENOMEM, unix.EINTR}

// all is the SBX_FAULT_RUNS with which every fault is tried.
const all = 200

// every says that all faults are tried.
func every(t *testing.T) bool { return runs(t, 0) >= all }

// some thins out a list of n faults to few, or to the share of all that
// SBX_FAULT_RUNS asks for.
func some(t *testing.T, n, few int) func(i int) bool {
	few = max(few, n*min(runs(t, 0), all)/all)
	if n <= few {
		return func(int) bool { return true }
	}
	return func(i int) bool { return i*few/n != (i-1)*few/n || i == n-1 }
}

// TestStepFails lets every operation of every kind of sandbox fail.
func TestStepFails(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := breakable(t, k)
			list := b.moments(t)
			want := some(t, len(list), 16)
			for i, m := range list {
				if !want(i) || m.call.Nr == unix.SYS_EXIT_GROUP { // which can't fail
					continue
				}
				try := errnos
				if !every(t) {
					try = errnos[i%len(errnos):][:1]
				}
				if m.op >= 0 && b.prog.Ops[m.op].Tolerate != 0 {
					try = append(slices.Clone(try), unix.Errno(b.prog.Ops[m.op].Tolerate))
				}
				for _, errno := range try {
					b.fails(t, m, errno)
				}
			}
			t.Logf("%d operations in %d steps: %d injected failures; without effect: %v", len(list), len(b.prog.Steps), b.tries, b.passed)
			if b.tries < 16 {
				t.Errorf("only %d injections", b.tries)
			}
		})
	}
}

// fails lets one call fail.
func (b *broken) fails(t *testing.T, m moment, errno unix.Errno) {
	t.Helper()
	rep, said := b.run(t, &inject.Fault{Kind: inject.Fail, Errno: errno, Who: m.who, N: m.n, Nr: inject.Any})
	b.tries++
	name, step := fmt.Sprintf("call %d of process %s (number %d) fails with %s", m.n, m.who, m.call.Nr, unix.ErrnoName(errno)), program.Step{}
	passes, code := false, 125
	if m.op >= 0 {
		step, _ = b.prog.Step(m.op)
		name += ": " + step.Doc()
		o := b.prog.Ops[m.op]
		looks := o.Opt&program.Search != 0 && (errno == unix.ENOENT || errno == unix.ENOTDIR || errno == unix.EACCES)
		passes = o.Opt&program.Ignore != 0 || errno == unix.Errno(o.Tolerate) || looks
		if passes && !mayTolerate(step.Doc(), errno) {
			t.Errorf("%s: nothing says why that may be", name)
		}
		if b.prog.IsExec(m.op) {
			code = 126
		}
	}
	ran := b.read(t)
	b.after(t, name, rep)
	switch {
	case !rep.Fired:
		if m.op >= 0 && !(b.bare && m.late) { // init's life has as many calls as there are signals, and it may end the ward first
			t.Errorf("%s: the moment did not come", name)
		}
	case m.late:
		// The command runs, in a whole sandbox; what PID 1 does meanwhile may end both.
		b.whollyOrNot(t, name, ran, "")
		// Without namespaces init ends the ward too, so that sbx sees that one killed.
		if rep.Code() != 0 && (rep.Code() != 125 && (!b.bare || rep.Code() != 137) || said == b.said) {
			t.Errorf("%s: status %d, %q", name, rep.Code(), said)
		}
	case passes:
		b.passed[unix.ErrnoName(errno)+" of "+step.Doc()]++
		switch rep.Code() {
		case 0:
			if ran == nil {
				t.Errorf("%s: status 0 and the command did not run", name)
			}
			b.whollyOrNot(t, name, ran, shows(step))
		case 125: // a later step needs what was not done
			if ran != nil || !b.namesStep(said) {
				t.Errorf("%s: the command ran: %v; %q", name, ran != nil, said)
			}
		default:
			t.Errorf("%s: status %d, %q", name, rep.Code(), said)
		}
	case rep.Code() != code || ran != nil:
		t.Errorf("%s: status %d, want %d; the command ran: %v; %q", name, rep.Code(), code, ran != nil, said)
	case !strings.Contains(plain(said), plain(step.Doc())+": "+errno.Error()):
		t.Errorf("%s: the message is %q", name, said)
	}
}

// namesStep says that a message has the sentence of some step.
func (b *broken) namesStep(said string) bool {
	return slices.ContainsFunc(b.prog.Steps, func(s program.Step) bool { return strings.Contains(plain(said), plain(s.Doc())+": ") })
}

// whollyOrNot fails the test if the command ran in another sandbox than the
// unbroken one, but for lines with the text `but`.
func (b *broken) whollyOrNot(t *testing.T, name string, ran []string, but string) {
	t.Helper()
	if ran == nil {
		return
	}
	differ := func(have, other []string, sign string) {
		for _, line := range have {
			if !slices.Contains(other, line) && (but == "" || !strings.Contains(line, but)) {
				t.Errorf("%s: the command ran in another sandbox: %s %s", name, sign, line)
			}
		}
	}
	differ(ran, b.state, "+")
	differ(b.state, ran, "-")
}

// after looks at what is left of a broken run.
func (b *broken) after(t *testing.T, name string, rep *inject.Report) {
	t.Helper()
	if rep.Stuck != "" {
		t.Errorf("%s: sbx got stuck%s", name, rep.Stuck)
	}
	if left := world.Gone(t); len(left) > 0 {
		t.Errorf("%s: there are %v", name, left)
	}
	if b.tty != nil {
		defer func() { // for the next run
			if err := unix.IoctlSetTermios(int(b.tty.Slave.Fd()), unix.TCSETS, &b.mode); err != nil {
				t.Error(err)
			}
		}()
		if now := b.tty.Mode(t); now != b.mode {
			t.Errorf("%s: the terminal's mode was %+v and is %+v", name, b.mode, now)
		}
	}
	if names := world.Runtime(b.Home); len(names) > 0 {
		t.Errorf("%s: the runtime directory holds %v", name, names)
	}
}

// TestStepKilled kills every process of every kind of sandbox at each of its
// calls, before the command is executed and after.
func TestStepKilled(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := breakable(t, k)
			list := b.moments(t)
			want := some(t, len(list), 10)
			codes := map[string]int{}
			for i, m := range list {
				if !want(i) {
					continue
				}
				rep, said := b.run(t, &inject.Fault{Kind: inject.Kill, Who: m.who, N: m.n, Nr: inject.Any})
				b.tries++
				name := fmt.Sprintf("process %s is killed at call %d", m.who, m.n)
				if m.op >= 0 {
					step, _ := b.prog.Step(m.op)
					name += ": " + step.Doc()
				}
				ran := b.read(t)
				b.after(t, name, rep)
				b.whollyOrNot(t, name, ran, "")
				if !rep.Fired {
					if m.op >= 0 && !(b.bare && m.late) {
						t.Errorf("%s: the moment did not come", name)
					}
					continue
				}
				codes[fmt.Sprint(m.who, " ", rep.Code())]++
				// The command's own process may be anybody's to kill, and needs no words.
				done := m.late && rep.Code() == 0 && ran != nil // it had said how the command ended
				quiet := said == b.said && !b.whole.Executed[m.who]
				if !done && (rep.Code() != 125 && rep.Code() != 137 || quiet || ran != nil && !m.late) {
					t.Errorf("%s: status %d, the command ran: %v; %q", name, rep.Code(), ran != nil, said)
				}
			}
			t.Logf("%d kills; who was killed, and sbx's status: %v", b.tries, codes)
		})
	}
}
