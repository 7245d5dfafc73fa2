package entry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// told is the byte that lets a child go on before the Go runtime starts.
var told = regexp.MustCompile(`sendto\(\d+, "\\1", 1, MSG_NOSIGNAL`)

// caller is somebody with a project, a home and a runtime directory of their own.
type caller struct {
	sbx, dir, home, runtime string
	env                     []string // added
	before                  []string // words before sbx
}

func newCaller(t *testing.T, sbx string) *caller {
	t.Helper()
	// Not below /tmp, which is the sandbox's own.
	base, err := os.MkdirTemp(os.Getenv("HOME"), ".kept-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	c := &caller{sbx: sbx, dir: base + "/account/project", home: base + "/account", runtime: base + "/runtime"}
	for _, dir := range []string{c.dir, c.runtime} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *caller) write(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join(c.home, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command is sbx as the caller calls it. env is added.
func (c *caller) command(env []string, words ...string) *exec.Cmd {
	words = append(append(append([]string{}, c.before...), c.sbx), words...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append([]string{"HOME=" + c.home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + c.runtime, "LANG=C.UTF-8", "SHLVL=1"}, c.env...)
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// outcome is what is seen of a run.
type outcome struct {
	out, err string
	status   int
}

// run runs sbx to its end, under strace where trace is a file.
func (c *caller) run(t *testing.T, trace string, env []string, words ...string) outcome {
	t.Helper()
	with := *c
	if trace != "" {
		with.before = append([]string{"strace", "-qqq", "-e", "trace=sendto,sched_getaffinity", "-o", trace}, c.before...)
	}
	cmd := with.command(env, words...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// again runs sbx and says whether the sandbox was started from what was kept.
func (c *caller) again(t *testing.T, words ...string) (outcome, bool) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	o := c.run(t, trace, nil, words...)
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	at := runtime.FindIndex(text)
	return o, at == nil || told.Match(text[:at[0]])
}

// anew runs sbx as if nothing was kept.
func (c *caller) anew(t *testing.T, words ...string) outcome {
	t.Helper()
	return c.run(t, "", []string{"SBX_KEEP=off"}, words...)
}

// settle waits until no file is so new that it could change without its times telling.
func settle() { time.Sleep(1200 * time.Millisecond) }

// call is a command line of somebody's.
type call struct {
	c     *caller
	words []string
}

// warm runs sbx, for each of them in turn, until the start was kept.
func warm(t *testing.T, calls ...call) {
	t.Helper()
	for range 5 { // the runtime directory's own part is made by the first run
		settle()
		var left []call
		for _, x := range calls {
			o, ok := x.c.again(t, x.words...)
			if o.status == 125 && strings.HasPrefix(o.err, "sbx: ") {
				t.Fatal(o.err)
			}
			if !ok {
				left = append(left, x)
			}
		}
		if calls = left; len(calls) == 0 {
			return
		}
	}
	for _, x := range calls {
		t.Errorf("the start of sbx %q was not kept", x.words)
	}
}

// TestKept: what a start was decided from is looked at again, all of it.
func TestKept(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"), sbxtest.Tool("prlimit"))
	sbxtest.Leftovers(t)
	sbx := link(t, "-ldflags=-E=sbx_entry")
	const env = "version = 1\n[environment]\nset = { WORD = \"%s\" }\n"
	tests := []struct {
		name   string
		files  map[string]string // in the home
		words  []string
		change func(t *testing.T, c *caller)
		kept   bool // the start holds in spite of the change
		differ bool // what the command does is another thing then
	}{
		{
			name: "nothing", words: []string{"run", "build", "--", "pwd"},
			change: func(*testing.T, *caller) {}, kept: true,
		},
		{
			name: "a new source file", words: []string{"run", "build", "--", "ls"},
			change: func(t *testing.T, c *caller) { c.write(t, "project/main.c", "") }, differ: true, // the names there were looked at
		},
		{
			name: "a source file below", files: map[string]string{"project/src/a.c": ""}, words: []string{"run", "build", "--", "ls", "src"},
			change: func(t *testing.T, c *caller) { c.write(t, "project/src/b.c", "") }, kept: true, differ: true,
		},
		{
			name: "the level of shells", words: []string{"run", "build", "--", "pwd"},
			change: func(_ *testing.T, c *caller) { c.env = append(c.env, "SHLVL=7") }, kept: true,
		},
		{
			name: "the profile", files: map[string]string{"p.toml": fmt.Sprintf(env, "one")},
			words:  []string{"run", "../p.toml", "--", "sh", "-c", "echo $WORD"},
			change: func(t *testing.T, c *caller) { c.write(t, "p.toml", fmt.Sprintf(env, "two")) }, differ: true,
		},
		{
			name: "what the profile extends", files: map[string]string{"p.toml": "version = 1\nextends = [\"./q.toml\"]\n", "q.toml": fmt.Sprintf(env, "one")},
			words:  []string{"run", "../p.toml", "--", "sh", "-c", "echo $WORD"},
			change: func(t *testing.T, c *caller) { c.write(t, "q.toml", fmt.Sprintf(env, "two")) }, differ: true,
		},
		{
			name: "a profile of the user's takes a built-in's name", words: []string{"run", "build", "--", "sh", "-c", "echo $WORD"},
			change: func(t *testing.T, c *caller) {
				c.write(t, ".config/sbx/profiles/build.toml", "version = 1\nextends = [\"builtin:build\"]\n[environment]\nset = { WORD = \"two\" }\n")
			}, differ: true,
		},
		{
			name: "the project gets a profile", words: []string{"run", "--", "sh", "-c", "echo $WORD"},
			change: func(t *testing.T, c *caller) { c.write(t, "project/.sbx.toml", fmt.Sprintf(env, "two")) }, differ: true,
		},
		{
			name: "the project becomes a repository", words: []string{"run", "build", "--", "sh", "-c", "test -d .git && echo >.git/x && echo written"},
			change: func(t *testing.T, c *caller) {
				c.write(t, "project/.git/config", "")
				c.write(t, "project/.git/HEAD", "ref: refs/heads/main\n")
			}, differ: true,
		},
		{
			name: "a file to be hidden", files: map[string]string{"p.toml": "version = 1\n[workspace]\nhide = [\"*.key\"]\n", "project/a.key": "a"},
			words:  []string{"run", "../p.toml", "--", "sh", "-c", "cat *.key"},
			change: func(t *testing.T, c *caller) { c.write(t, "project/b.key", "b") },
		},
		{
			name: "where a link leads", files: map[string]string{"p.toml": "version = 1\n[mounts.\"/shown\"]\nsource = \"~/shown\"\n", "one/word": "one\n", "two/word": "two\n"},
			words: []string{"run", "../p.toml", "--", "cat", "/shown/word"},
			change: func(t *testing.T, c *caller) {
				os.Remove(c.home + "/shown")
				if err := os.Symlink("two", c.home+"/shown"); err != nil {
					t.Fatal(err)
				}
			}, differ: true,
		},
		{
			name: "what is mounted is another directory", files: map[string]string{"p.toml": "version = 1\n[mounts.\"/shown\"]\nsource = \"~/one\"\n", "one/word": "one\n", "two/word": "two\n"},
			words: []string{"run", "../p.toml", "--", "cat", "/shown/word"},
			change: func(t *testing.T, c *caller) {
				if err := errors.Join(os.Rename(c.home+"/one", c.home+"/three"), os.Rename(c.home+"/two", c.home+"/one")); err != nil {
					t.Fatal(err)
				}
			}, differ: true,
		},
		{
			name: "a variable that is passed on", words: []string{"run", "build", "--", "sh", "-c", "echo $LANG"},
			change: func(_ *testing.T, c *caller) { c.env = append(c.env, "LC_ALL=C") },
		},
		{
			name: "a limit", words: []string{"run", "build", "--", "sh", "-c", "ulimit -Hn"},
			change: func(_ *testing.T, c *caller) { c.before = []string{"prlimit", "--nofile=512:512"} }, differ: true,
		},
		{
			name: "trust is taken back", files: map[string]string{"project/.sbx.toml": "version = 1\n[workspace]\naudit = \"off\"\n"},
			words: []string{"run", "--", "echo", "hello"},
			change: func(t *testing.T, c *caller) {
				if o := c.run(t, "", nil, "untrust", ".sbx.toml"); o.status != 0 {
					t.Fatal(o.err)
				}
			}, differ: true,
		},
		{
			name: "the directory of configuration, which no sandbox may see", files: map[string]string{"p.toml": "version = 1\n[home]\nmode = \"host\"\n", ".config/other": ""},
			words:  []string{"run", "../p.toml", "--", "sh", "-c", "cat $HOME/.config/sbx/x"},
			change: func(t *testing.T, c *caller) { c.write(t, ".config/sbx/x", "secret\n") }, differ: true,
		},
	}
	calls := make([]call, len(tests))
	for i, tt := range tests {
		c := newCaller(t, sbx)
		for path, text := range tt.files {
			c.write(t, path, text)
		}
		if _, ok := tt.files["one/word"]; ok {
			if err := os.Symlink("one", c.home+"/shown"); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := tt.files["project/.sbx.toml"]; ok {
			if o := c.run(t, "", nil, "trust", ".sbx.toml"); o.status != 0 {
				t.Fatal(o.err)
			}
		}
		calls[i] = call{c, tt.words}
	}
	warm(t, calls...)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := calls[i].c
			before := c.anew(t, tt.words...)
			tt.change(t, c)
			got, kept := c.again(t, tt.words...)
			if kept != tt.kept {
				t.Errorf("it was started from what was kept: %v", kept)
			}
			want := c.anew(t, tt.words...)
			if got != want {
				t.Errorf("it did\n%+v\nand anew\n%+v", got, want)
			}
			if tt.differ == (want == before) {
				t.Errorf("the change makes a difference: %v\n%+v", want != before, want)
			}
		})
	}
}

// TestKeptEnds: a sandbox that was started from what was kept ends as any other, in
// whatever way, and is seen by others as any other.
func TestKeptEnds(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"))
	sbxtest.Leftovers(t)
	sbx := link(t, "-ldflags=-E=sbx_entry")
	tests := []struct {
		name, script string
		signals      []syscall.Signal // sent to sbx, one after the other, once it says "ready"
		status       int
	}{
		{"well", "echo out; echo err >&2", nil, 0},
		{"another status", "exit 3", nil, 3},
		{"a status of sbx's own", "exit 125", nil, 125},
		{"killed", "kill -KILL $$", nil, 137},
		{"by a system call of another architecture's", "kill -SYS $$", nil, 159},
		{"hidden", "exec cat $HOME/.profile", nil, 1},
		{"a trigger", "echo '{}' >package.json", nil, 0},
		{"after a while", "sleep 0.1; echo later", nil, 0},
		{"after a while, a trigger", "sleep 0.1; echo '{}' >package.json", nil, 0},
		{"terminated", "echo ready; sleep 60", []syscall.Signal{syscall.SIGTERM}, 143},
		{"terminated, and it says something", "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done", []syscall.Signal{syscall.SIGTERM}, 4},
		{"a signal of its own", "trap 'echo one' USR1; trap 'exit 5' USR2; echo ready; while :; do sleep 0.05; done", []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2}, 5},
		{"interrupted twice", "trap '' INT; echo ready; while :; do sleep 0.05; done", []syscall.Signal{syscall.SIGINT, syscall.SIGINT}, 137},
		{"hung up", "echo ready; sleep 60", []syscall.Signal{syscall.SIGHUP}, 129},
		{"stopped and continued", "echo ready; sleep 0.3; echo done", []syscall.Signal{syscall.SIGTSTP, syscall.SIGCONT}, 0},
	}
	calls := make([]call, len(tests))
	var ends []call
	for i, tt := range tests {
		c := newCaller(t, sbx)
		c.write(t, ".profile", "")
		c.write(t, "project/package.json", "{}\n") // its name is looked at as well
		calls[i] = call{c, []string{"run", "build", "--", "sh", "-c", tt.script}}
		if tt.signals == nil {
			ends = append(ends, calls[i])
		} else {
			calls[i].words[1] = "../quiet.toml"
			c.write(t, "quiet.toml", "version = 1\n[workspace]\naudit = \"off\"\n") // so that Go does not start by itself
		}
	}
	warm(t, ends...)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, words := calls[i].c, calls[i].words
			if tt.signals == nil {
				got, kept := c.again(t, words...)
				if want := c.anew(t, words...); got != want || got.status != tt.status || !kept {
					t.Errorf("it was kept: %v; it ended as\n%+v\nand anew as\n%+v", kept, got, want)
				}
				return
			}
			var first outcome
			for i := range 3 {
				o, goes := c.signalled(t, nil, tt.signals, words...)
				if i == 0 {
					first = o
				}
				if o != first || o.status != tt.status {
					t.Errorf("run %d ended as %+v and the first as %+v", i, o, first)
				}
				if i == 2 && goes {
					t.Error("the Go runtime had started before the signal came: nothing was kept")
				}
			}
		})
	}
}

// TestKeptContinued: a SIGCONT that comes while the Go runtime starts, to stop itself,
// takes the stop back.
func TestKeptContinued(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"))
	sbxtest.Leftovers(t)
	c := newCaller(t, link(t, "-ldflags=-E=sbx_entry"))
	c.write(t, "p.toml", "version = 1\n[workspace]\naudit = \"off\"\n")
	words := []string{"run", "../p.toml", "--", "sh", "-c", "echo ready; sleep 0.2"}
	warm(t, call{c, words})
	for range 5 {
		cmd := c.command(nil, words...)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := pipe.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Signal(syscall.SIGTSTP)
		time.Sleep(2 * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGCONT)
		late := time.AfterFunc(20*time.Second, func() {
			_ = cmd.Process.Kill()
		})
		if err := cmd.Wait(); err != nil {
			t.Errorf("stopped and continued, it ended with %v", err)
		}
		late.Stop()
	}
}

// TestKeptTerminated: a second signal that follows at once, as timeout(1) sends it, is for
// the command as well, whenever it comes.
func TestKeptTerminated(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"))
	sbxtest.Leftovers(t)
	for _, audit := range []string{"off", "report"} {
		c := newCaller(t, link(t, "-ldflags=-E=sbx_entry"))
		c.write(t, "p.toml", "version = 1\n[workspace]\naudit = \""+audit+"\"\n")
		words := []string{"run", "../p.toml", "--", "sh", "-c", "trap 'sleep 0.1; echo bye; exit 4' TERM; echo ready; test $0 = warm || while :; do sleep 0.01; done"}
		warm(t, call{c, append(words[:len(words):len(words)], "warm")})
		settle()
		for i := range 22 {
			o := c.twice(t, time.Duration(i)*3*time.Millisecond, words...)
			if want := (outcome{"bye\n", "", 4}); o != want {
				t.Errorf("audit %s: run %d: %+v", audit, i, o)
			}
		}
	}
}

// twice starts sbx and sends it SIGTERM twice, some time after it says "ready".
func (c *caller) twice(t *testing.T, after time.Duration, words ...string) outcome {
	t.Helper()
	cmd := c.command(nil, words...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_, _ = out.ReadFrom(pipe)
	_ = cmd.Wait()
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// signalled starts sbx, sends it signals, and says whether it was a Go program by
// then: one has reserved address space, by a gigabyte.
func (c *caller) signalled(t *testing.T, env []string, signals []syscall.Signal, words ...string) (outcome, bool) {
	t.Helper()
	cmd := c.command(env, words...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	if _, err := pipe.Read(b); err != nil || string(b) != "ready\n" {
		t.Errorf("it said %q: %v", b, err)
	}
	goes := large(t, cmd.Process.Pid)
	for _, s := range signals {
		if err := cmd.Process.Signal(s); err != nil {
			t.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	var out bytes.Buffer
	_, _ = out.ReadFrom(pipe)
	_ = cmd.Wait()
	status := cmd.ProcessState.ExitCode()
	return outcome{out.String(), errs.String(), status}, goes
}

// large says whether a process has more address space than a program without Go's
// runtime would ever reserve.
func large(t *testing.T, pid int) bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pages int
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		t.Fatal(err)
	}
	return pages > 100<<20/os.Getpagesize()
}

// TestKeptSeen: what others do with a sandbox they do with one that was started from
// what was kept.
func TestKeptSeen(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"))
	sbxtest.Leftovers(t)
	c := newCaller(t, link(t, "-ldflags=-E=sbx_entry"))
	c.write(t, "p.toml", "version = 1\n[workspace]\naudit = \"off\"\n")
	words := []string{"run", "../p.toml", "--", "sh", "-c", "echo ready; exec sleep 60"}
	settle()
	for i := range 3 {
		cmd := c.command(nil, words...)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := pipe.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if goes := large(t, cmd.Process.Pid); i == 2 && goes {
			t.Error("the Go runtime has started: nothing was kept")
		}
		name := strings.TrimSpace(c.run(t, "", nil, "ps", "--format", "{{.Names}}").out)
		if !strings.HasPrefix(name, "run-") || strings.Contains(name, "\n") {
			t.Errorf("sbx ps lists %q", name)
		}
		if o := c.run(t, "", nil, "exec", name, "--", "echo", "inside"); o.out != "inside\n" || o.status != 0 {
			t.Errorf("sbx exec: %+v", o)
		}
		if o := c.run(t, "", nil, "inspect", "--format", "{{.profile}} {{.state.status}} {{.state.started_at}}", name); !strings.HasPrefix(o.out, "p running "+time.Now().UTC().Format("2006-01-02T")) {
			t.Errorf("sbx inspect: %+v", o)
		}
		if o := c.run(t, "", nil, "stop", name); o.status != 0 {
			t.Errorf("sbx stop: %+v", o)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 143 {
			t.Errorf("it ended with %d", code)
		}
		settle()
	}
}

// TestKeptRange: a range of ids is mapped by the helpers, also where no Go runs.
func TestKeptRange(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Subuid, sbxtest.Tool("strace"))
	sbxtest.Leftovers(t)
	c := newCaller(t, link(t, "-ldflags=-E=sbx_entry"))
	c.write(t, "p.toml", "version = 1\n[user]\nmap = \"range\"\n[workspace]\naudit = \"off\"\n")
	words := []string{"run", "../p.toml", "--", "sh", "-c", "echo ready; cat /proc/self/uid_map /proc/self/gid_map; touch file; exec sleep 0.3"}
	var first outcome
	for i := range 3 {
		settle()
		o, goes := c.signalled(t, nil, nil, words...)
		if i == 0 {
			first = o
		}
		if o != first || o.status != 0 || strings.Count(o.out, "\n") < 4 {
			t.Errorf("run %d: %+v, and the first %+v", i, o, first)
		}
		if i == 2 && goes {
			t.Error("the Go runtime has started: nothing was kept")
		}
	}
	// The helpers are setuid root, which a traced program's are not: they fail, and Go says so.
	trace := filepath.Join(t.TempDir(), "trace")
	c.before = []string{"strace", "-f", "-qqq", "-e", "trace=none", "-o", trace}
	if o := c.run(t, "", nil, words...); o.status != 125 || strings.Count(o.err, "mapping") != 2 || strings.Count(o.err, "sbx: ") != 1 {
		t.Errorf("with helpers that fail: %+v", o)
	}
}

// TestKeptOff: with SBX_KEEP=off nothing is kept, and what was is not used.
func TestKeptOff(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"))
	sbxtest.Leftovers(t)
	c := newCaller(t, link(t, "-ldflags=-E=sbx_entry"))
	off := *c
	off.env = []string{"SBX_KEEP=off"}
	words := []string{"run", "build", "--", "true"}
	settle()
	for range 3 {
		if _, kept := off.again(t, words...); kept {
			t.Error("it was started from what was kept")
		}
	}
	if list, err := filepath.Glob(c.runtime + "/sbx/starts/*"); err != nil || len(list) > 0 {
		t.Errorf("there is %q: %v", list, err)
	}
	warm(t, call{c, words})
	if _, kept := off.again(t, words...); kept {
		t.Error("it was started from what was kept without it")
	}
}

// TestKeptFew: the latest starts are kept, not all.
func TestKeptFew(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	sbxtest.Leftovers(t)
	c := newCaller(t, link(t, "-ldflags=-E=sbx_entry"))
	settle()
	for i := range 70 {
		if o := c.run(t, "", nil, "run", "build", "--", "test", fmt.Sprint(i)); o.status != 0 {
			t.Fatalf("%+v", o)
		}
	}
	list, err := filepath.Glob(c.runtime + "/sbx/starts/*")
	if err != nil || len(list) < 60 || len(list) > 64 {
		t.Errorf("%d starts are kept: %v", len(list), err)
	}
	for _, path := range list {
		if st, err := os.Lstat(path); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
}

// TestKeptShim: a wrapped program's start is kept as well, until its shim, or what it
// stands for, is another one.
func TestKeptShim(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"))
	sbxtest.Leftovers(t)
	c := newCaller(t, link(t, "-ldflags=-E=sbx_entry"))
	shim := func(word string) {
		c.write(t, "shims/sh", "#!"+c.sbx+" shim\ncommand = \"sh\"\nprofile = \"builtin:build\"\nflags = [\"-e\", \"WORD="+word+"\"]\n")
		if err := os.Chmod(c.home+"/shims/sh", 0o700); err != nil {
			t.Fatal(err)
		}
	}
	shim("one")
	c.write(t, "bin/other", "")
	wrapped := *c
	wrapped.sbx = c.home + "/shims/sh"
	wrapped.env = []string{"PATH=" + c.home + "/bin:" + os.Getenv("PATH")}
	words := []string{"-c", "echo $WORD; exit $((${#WORD} - 3))"}
	warm(t, call{&wrapped, words})
	if got, kept := wrapped.again(t, words...); !kept || got != (outcome{out: "one\n"}) {
		t.Errorf("kept: %v, %+v", kept, got)
	}
	shim("three")
	if got, kept := wrapped.again(t, words...); kept || got.out != "three\n" || got.status != 2 {
		t.Errorf("with another shim, kept: %v, %+v", kept, got)
	}
	warm(t, call{&wrapped, words})
	if got, kept := wrapped.again(t, words...); !kept || got.out != "three\n" || got.status != 2 {
		t.Errorf("a status that is not 0, kept: %v, %+v", kept, got)
	}
	c.write(t, "bin/sh", "#!/bin/sh\necho mine\n")
	if err := os.Chmod(c.home+"/bin/sh", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, kept := wrapped.again(t, words...); kept {
		t.Error("kept, though PATH has another program of that name first")
	}
}
