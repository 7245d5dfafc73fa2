package decision_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// decides is the variable that makes this binary decide what its arguments say, and
// print what it has seen.
const decides = "SBX_TEST_DECIDES"

func TestMain(m *testing.M) {
	if os.Getenv(decides) == "" {
		os.Exit(m.Run())
	}
	log, err := decide(os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(log)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// decide decides as `sbx run` with args does, up to where the sandbox would begin.
func decide(args []string) (*seen.Log, error) {
	log := &seen.Log{}
	c := cli.Command{Name: options.RunVerb, Runs: true, Strict: true, Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
		o := options.AllFlags(fs)
		return func(inv *cli.Invocation) error { return decided(inv, o) }
	}}
	err := c.Call(args, &cli.Invocation{Verb: &c, Out: io.Discard, Err: os.Stderr, Seen: log})
	log.Prune()
	return log, err
}

func decided(inv *cli.Invocation, o *options.Options) error {
	ref, argv, err := inv.ProfileAndCommand()
	if err != nil {
		return err
	}
	prof, err := inv.Load(ref)
	if err != nil {
		return err
	}
	if err := profiles.CheckTrust(prof, nil, inv.Env); err != nil {
		return err
	}
	steps, err := decision.Steps(o, prof, argv)
	if err != nil {
		return err
	}
	r := &decision.Run{Invocation: inv, Called: prof.Name, Ref: ref}
	for _, s := range steps {
		prof, o, err := r.Prepare(s, o)
		if err != nil {
			return err
		}
		if _, err := r.Decide(prof, s.Argv, o, nil); err != nil {
			return err
		}
	}
	return nil
}

// TestSeen: whatever a run looks at among the host's files before the sandbox is told
// to begin is in the list of checks, of the kind that notices a change of it. Who adds
// a look that bypasses the log finds it here.
func TestSeen(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("strace"))
	for _, tt := range []struct {
		name   string
		args   string // of run, HOME for the home
		prep   func(t *testing.T, w *world.World)
		spoils string // why what was seen can't be looked at again; then there may be more
	}{
		{name: "build", args: "build -- true"},
		{name: "strict", args: "strict -- true", spoils: "a control group was looked for"},
		{name: "go", args: "go -- true"},
		{name: "none named", args: "-- true"},
		{name: "one of the user's own", args: "mine -- true", prep: func(t *testing.T, w *world.World) {
			w.Write(t, w.Home+"/.config/sbx/profiles/mine.toml", "version = 1\nextends = [\"user:base\"]\n")
			w.Write(t, w.Home+"/.config/sbx/profiles/base.toml", "version = 1\n")
			link(t, w.Home+"/elsewhere.toml", w.Home+"/.config/sbx/profiles/linked.toml")
		}},
		{name: "a file that extends another by a link", args: "HOME/profiles/p.toml -- true", prep: func(t *testing.T, w *world.World) {
			w.Profile(t, "extends = [\"./linked.toml\"]\n")
			w.Write(t, w.Home+"/parents/parent.toml", "version = 1\n")
			link(t, "../parents/parent.toml", w.Home+"/profiles/linked.toml")
		}},
		{name: "a project with a repository", args: "-- true", prep: func(t *testing.T, w *world.World) {
			w.Write(t, w.Work+"/.sbx.toml", "version = 1\n[workspace]\nhide = [\"secret\"]\n")
			repository(t, w, w.Work+"/.git")
			w.Write(t, w.Work+"/.envrc", "")
			link(t, ".envrc", w.Work+"/.vscode")
		}},
		{name: "a project that is trusted", args: "-- true", prep: func(t *testing.T, w *world.World) {
			w.Write(t, w.Home+"/data/f", "")
			w.Write(t, w.Work+"/.sbx.toml", "version = 1\n[mounts]\n\"/data\" = { source = \"~/data\", access = \"rw\" }\n")
			if r := w.Run(t, w.Sbx, "trust", w.Work+"/.sbx.toml"); r.Code != 0 {
				t.Fatalf("%d %s", r.Code, r.Err)
			}
		}},
		{name: "a project whose repository is elsewhere", args: "-- true", prep: func(t *testing.T, w *world.World) {
			w.Write(t, w.Work+"/.sbx.toml", "version = 1\n")
			repository(t, w, w.Home+"/main/.git")
			repository(t, w, w.Home+"/main/.git/worktrees/away")
			w.Write(t, w.Home+"/main/.git/worktrees/away/commondir", "../..\n")
			w.Write(t, w.Home+"/main/.git/worktrees/away/gitdir", w.Work+"/.git\n")
			w.Write(t, w.Work+"/.git", "gitdir: "+w.Home+"/main/.git/worktrees/away\n")
		}},
		{name: "hidden, masked and granted", args: "HOME/profiles/p.toml -- true", prep: func(t *testing.T, w *world.World) {
			w.Profile(t, "[workspace]\nhide = [\"**/*.key\", \"secret\", \"other\"]\n[home]\nmode = \"tmpfs\"\n[mounts]\n\"/data\" = { source = \"~/data\", access = \"rw\" }\n"+
				"\"/none\" = { source = \"~/none\", optional = true }\n\"/usr/share\" = { type = \"mask\" }\n")
			w.Write(t, w.Work+"/deep/down/a.key", "")
			w.Write(t, w.Home+"/real/f", "")
			link(t, "real", w.Home+"/data")
			w.Write(t, w.Work+"/other/f", "")
			link(t, "other", w.Work+"/secret")
		}},
		{name: "flags", args: "--read-only -v HOME/data:/data build -- true", prep: func(t *testing.T, w *world.World) {
			w.Write(t, w.Home+"/real/f", "")
			link(t, "real", w.Home+"/data")
		}},
		{name: "the host's home", args: "HOME/profiles/p.toml -- true", prep: func(t *testing.T, w *world.World) {
			w.Profile(t, "[home]\nmode = \"host\"\n")
		}},
		{name: "a home by a link", args: "-- true", prep: func(t *testing.T, w *world.World) {
			by := filepath.Join(w.Home, "by")
			link(t, w.Home, by)
			w.Env = append(w.Env, "HOME="+by, "PWD="+filepath.Join(by, "work"))
			w.Write(t, w.Work+"/.sbx.toml", "version = 1\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := world.New(t)
			w.Env = append(w.Env, "SBX_KEEP=off") // or the second run decides nothing
			if tt.prep != nil {
				tt.prep(t, w)
			}
			args := strings.Fields(strings.ReplaceAll(tt.args, "HOME", w.Home))
			run := append([]string{w.Sbx, "run"}, args...)
			if r := w.Run(t, run...); r.Code != 0 { // what it makes is there from now on
				t.Fatalf("%d %s", r.Code, r.Err)
			}
			time.Sleep(1100 * time.Millisecond) // what was just changed can't be remembered
			log := seenBy(t, w, args)
			trace := filepath.Join(t.TempDir(), "trace")
			if r := w.Run(t, append([]string{"strace", "-f", "-y", "-qqq", "-s", "4096", "-e", "trace=%file,clone,clone3,write,sched_getaffinity", "-o", trace}, run...)...); r.Code != 0 {
				t.Fatalf("%d %s", r.Code, r.Err)
			}
			if log.Spoiled != tt.spoils {
				t.Errorf("spoiled: %q, want %q", log.Spoiled, tt.spoils)
			}
			if tt.spoils != "" {
				return
			}
			for i := range log.Checks {
				if c := &log.Checks[i]; !c.Holds() && c.Path != "." {
					t.Errorf("after a run this does not hold: %+v", c)
				}
			}
			looks := lookedAt(t, trace, w)
			if len(looks) < 40 {
				t.Fatalf("only %d looks were traced", len(looks))
			}
			for _, l := range looks {
				if !l.in(log.Checks) {
					t.Errorf("%s is in no check that would notice a change: %s", l.path, l.line)
				}
			}
			most := slices.DeleteFunc(slices.Clone(log.Checks), func(c seen.Check) bool { return c.Path == "/etc/passwd" })
			if !slices.ContainsFunc(looks, func(l look) bool { return !l.in(most) }) {
				t.Error("without the check of /etc/passwd nothing was missing, so nothing would be found")
			}
		})
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// repository writes as much of one as is looked for.
func repository(t *testing.T, w *world.World, dir string) {
	t.Helper()
	w.Write(t, dir+"/HEAD", "ref: refs/heads/main\n")
	w.Write(t, dir+"/config", "[core]\n")
	for _, d := range []string{"objects", "refs", "hooks"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// seenBy decides in another process, which has the environment of sbx.
func seenBy(t *testing.T, w *world.World, args []string) (log seen.Log) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.Command(append([]string{self}, args...)...)
	cmd.Env = append(slices.Clone(w.Env), decides+"=1")
	r := world.Wait(t, cmd)
	if r.Code != 0 {
		t.Fatalf("deciding ended with %d: %s", r.Code, r.Err)
	}
	if err := json.Unmarshal([]byte(r.Out), &log); err != nil {
		t.Fatal(err)
	}
	return log
}

// look is a system call that looked at a path.
type look struct {
	call, path, line string
	follow           bool
}

// in says that the list has a check which notices that the look would end otherwise.
func (l look) in(list []seen.Check) bool {
	return slices.ContainsFunc(list, func(c seen.Check) bool {
		if c.Kind == seen.Stat && unix.Errno(c.Want.Errno) == unix.ENOENT && strings.HasPrefix(l.path, c.Path+"/") {
			return true // below what is not there
		}
		read := c.Kind == seen.Text || c.Bits&seen.Content != 0 || c.Want.Errno != 0
		follows := c.Bits&seen.Follow != 0
		plain := c.Want.Mode&unix.S_IFMT != unix.S_IFLNK // the same, followed or not
		switch l.call {
		case "newfstatat":
			return c.Path == l.path && c.Kind == seen.Stat && (follows == l.follow)
		case "openat":
			return c.Path == l.path && read
		case "readlinkat":
			return c.Path == l.path && read && !follows
		case "openat2":
			if !strings.Contains(l.line, "O_PATH") {
				return c.Path == l.path && read
			}
			return c.Path == l.path && (follows || plain)
		}
		return false
	})
}

// others are looks that no check is made of.
var others = []struct{ line, why string }{
	{`^execve\(`, "the kernel's, which has the program"},
	{`^getcwd\(`, "it is no look-up, and checked as what it is"},
	{`"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", O_RDONLY\)`, "the Go runtime's own"},
	{`"/proc/self/(cgroup|mountinfo)", O_RDONLY\|O_CLOEXEC\)`, "the Go runtime's, for how many threads it makes"},
	{`"/sys/fs/cgroup/[^"]*cpu[^"]*", O_RDONLY\|O_CLOEXEC\)`, "as that"},
	{`"/etc/localtime", O_RDONLY\)`, "the Go runtime's, for times that are printed"},
	{`^readlinkat\(AT_FDCWD<[^>]*>, "/proc/self/fd/`, "where an open file is: the look at it was before"},
	{`^readlinkat\(AT_FDCWD<[^>]*>, "/proc/self/exe"`, "no look-up: who decides from the cache is the program"},
	{`^openat\(.*O_RDONLY\|O_NOFOLLOW\|O_CLOEXEC\|O_DIRECTORY\)`, "the lock on the workspace, once it was decided"},
	{`^openat2\(.*O_RDONLY\|O_NOFOLLOW\|O_CLOEXEC\|O_DIRECTORY,`, "what is audited afterwards, once it was decided"},
}

var (
	call    = regexp.MustCompile(`^(\w+)\(`)
	path    = regexp.MustCompile(`^\w+\((?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"`)
	begins  = regexp.MustCompile(`^write\(\d+<[^>]*>, "\\1", 1`)
	started = regexp.MustCompile(`\) = (\d+)`)
)

// lookedAt reads from a trace what the first process looked at before it told the
// child to begin. Before the Go runtime starts, which sched_getaffinity tells, only the
// entry looks, for what was kept.
func lookedAt(t *testing.T, trace string, w *world.World) (looks []look) {
	t.Helper()
	threads := map[string]bool{}
	goes := false
	for _, e := range joined(t, trace) {
		switch {
		case len(threads) == 0:
			threads[e.pid] = true
		case !threads[e.pid]:
			continue
		case strings.HasPrefix(e.line, "clone(") && strings.Contains(e.line, "CLONE_THREAD"):
			if m := started.FindStringSubmatch(e.line); m != nil {
				threads[m[1]] = true
			}
		case begins.MatchString(e.line):
			return looks
		}
		goes = goes || strings.HasPrefix(e.line, "sched_getaffinity(")
		if l, ok := lookOf(e.line, w); ok && goes {
			looks = append(looks, l)
		}
	}
	t.Fatal("the child was not told to begin")
	return nil
}

func lookOf(line string, w *world.World) (l look, ok bool) {
	name := call.FindStringSubmatch(line)
	if name == nil || slices.Contains([]string{"clone", "clone3", "write", "sched_getaffinity"}, name[1]) {
		return l, false
	}
	for _, o := range others {
		if regexp.MustCompile(o.line).MatchString(line) {
			return l, false
		}
	}
	l = look{call: name[1], line: line, follow: !strings.Contains(line, "AT_SYMLINK_NOFOLLOW")}
	if m := path.FindStringSubmatch(line); m != nil {
		if l.path = m[2]; !filepath.IsAbs(l.path) && l.path != "." {
			l.path = filepath.Join(m[1], l.path)
		}
	}
	if l.call == "openat2" && strings.HasSuffix(line, "ENOENT (No such file or directory)") {
		l.path = followed(l.path)
	}
	// The test that decides is another program than sbx, and lies elsewhere.
	own := l.call == "newfstatat" && !l.follow && (l.path == w.Sbx || strings.HasPrefix(w.Sbx, strings.TrimSuffix(l.path, "/")+"/"))
	return l, !own
}

// followed is where path would be, links followed.
func followed(path string) string {
	for rest, dir := "", path; dir != "/" && dir != "."; rest, dir = filepath.Join(filepath.Base(dir), rest), filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
	}
	return path
}

type entry struct{ pid, line string }

// joined is a trace in which a call that another thread's came into is whole, and
// stands where it began.
func joined(t *testing.T, trace string) (list []entry) {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	pending := map[string]int{}
	for line := range strings.Lines(string(text)) {
		pid, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if tail, ok := strings.CutPrefix(rest, "<... "); ok {
			_, tail, _ = strings.Cut(tail, " resumed>")
			if i, ok := pending[pid]; ok {
				list[i].line += tail
				delete(pending, pid)
			}
			continue
		}
		if head, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			pending[pid] = len(list)
			rest = head
		}
		list = append(list, entry{pid, rest})
	}
	return list
}
