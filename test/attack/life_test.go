package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// confinement prints what a process is confined by.
const confinement = `grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters|SigIgn)' /proc/$1/status
for ns in cgroup ipc mnt net pid time user uts; do echo $ns $(readlink /proc/$1/ns/$ns); done
cat /proc/$1/uid_map /proc/$1/gid_map /proc/$1/oom_score_adj /proc/$1/cgroup
sed '/^Max cpu/d' /proc/$1/limits`

// detached starts a sandbox that goes on, which ends with the test.
func detached(t *testing.T, w *world.World, args ...string) {
	t.Helper()
	got := w.Run(t, append([]string{w.Sbx, "run", "-d"}, args...)...)
	if got.Code != 0 {
		t.Fatalf("sbx run -d %q: status %d: %s", args, got.Code, got.Err)
	}
	t.Cleanup(func() { w.Run(t, w.Sbx, "rm", "-f", strings.TrimSpace(got.Out)) })
}

// lifeRows attack what sandboxes that go on bring: joining one, records that are
// believed, listings of what is inside.
func lifeRows() []row {
	return []row{
		{
			id: "R48-exec", what: "a further command is as confined as the first",
			do: func(t *testing.T, w *world.World) {
				for _, profile := range []string{"", "extends = [\"builtin:strict\"]\n", "[user]\nas = \"root\"\n", "[security]\nseccomp_deny = [\"setsid\"]\n", "extends = [\"builtin:open\"]\n"} {
					p := w.Profile(t, profile)
					detached(t, w, "--name", "x", p, "sleep", "100")
					script := fmt.Sprintf("c() { %s; }; c 2 >/tmp/a; c self >/tmp/b; cat /tmp/b; cmp /tmp/a /tmp/b && echo SAME", confinement)
					got := w.Run(t, w.Sbx, "exec", "x", "sh", "-c", script)
					if !strings.HasSuffix(got.Out, "SAME\n") || !strings.Contains(got.Out, "NoNewPrivs:\t1") {
						t.Errorf("profile %q: %s%s", profile, got.Out, got.Err)
					}
					// The control: a process that joins by its own means would be told apart.
					plain := w.Run(t, "sh", "-c", fmt.Sprintf("c() { %s; }; c self", confinement))
					if strings.Contains(got.Out, plain.Out) {
						t.Error("control: a process outside looks the same")
					}
					w.Run(t, w.Sbx, "rm", "-f", "x")
				}
			},
		},
		{
			id: "R48-exec", what: "its Landlock is the same, and not another's: signals and files",
			needs: []sbxtest.Feature{sbxtest.Landlock},
			do: func(t *testing.T, w *world.World) {
				p := w.Profile(t, "")
				detached(t, w, "--name", "x", p, "sh", "-c", "trap 'echo got >/tmp/got' USR1; while :; do sleep 0.1; done")
				got := w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "kill -USR1 2 && for i in $(seq 100); do cat /tmp/got 2>/dev/null && exit; sleep 0.1; done")
				if got.Out != "got\n" {
					t.Errorf("control: the first command can't be signalled: %q %s", got.Out, got.Err)
				}
				got = w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "cat "+w.Victim+"/key; kill -0 "+fmt.Sprint(os.Getpid()))
				if got.Out != "" || got.Code == 0 {
					t.Errorf("outside is within reach: %q", got.Out)
				}
			},
		},
		{
			id: "R48-exec", what: "reading and tracing the process that waits for it",
			do: func(t *testing.T, w *world.World) {
				p := w.Profile(t, "")
				detached(t, w, "--name", "x", p, "sleep", "100")
				// Its parent is that process; the control is a process of its own.
				script := `for p in $PPID $$; do cat /proc/$p/environ >/dev/null 2>&1 && echo environ; ls -l /proc/$p/fd/0 >/dev/null 2>&1 && echo fd; head -c 1 /proc/$p/mem >/dev/null 2>/tmp/e; grep -q 'Permission denied' /tmp/e && echo mem denied; echo .; done`
				got := w.Run(t, w.Sbx, "exec", "-e", "SECRET=1", "x", "sh", "-c", script)
				if want := "mem denied\n.\nenviron\nfd\n.\n"; got.Out != want {
					t.Errorf("%q, want %q; %s", got.Out, want, got.Err)
				}
			},
		},
		{
			id: "R48-exec", what: "asking PID 1 for another command from inside",
			do: func(t *testing.T, w *world.World) {
				p := w.Profile(t, "")
				detached(t, w, "--name", "x", p, "sleep", "100")
				// The signal, as anybody can send it, and with a forged sender.
				got := w.Run(t, w.Sbx, "exec", "x", w.Probe, "queue", "1", "32")
				time.Sleep(300 * time.Millisecond) // who waited for the probe ends after it
				got2 := w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "ls /proc | grep -c '^[0-9]'")
				if got.Out != "sent\n" || got2.Out != "6\n" {
					t.Errorf("%q %s; then %q processes %s", got.Out, got.Err, got2.Out, got2.Err)
				}
				if after := w.Run(t, w.Sbx, "exec", "x", "echo", "on"); after.Out != "on\n" {
					t.Errorf("PID 1 starts nothing any more: %q %s", after.Out, after.Err)
				}
			},
		},
		{
			id: "R60-project", what: "writing the project of a sandbox that has it to itself",
			do: func(t *testing.T, w *world.World) {
				p := w.Profile(t, "")
				write := []string{"sh", "-c", "echo changed >" + w.Work + "/shared"}
				second := func(name string, exclusive bool, want int) {
					t.Helper()
					_ = os.Remove(w.Work + "/shared")
					got := w.Run(t, append([]string{w.Sbx, "run", fmt.Sprintf("--set=workspace.exclusive=%t", exclusive), p, "--"}, write...)...)
					_, err := os.Stat(w.Work + "/shared")
					if got.Code != want || (err == nil) != (want == 0) || want == 125 && !strings.Contains(got.Err, "workspace.exclusive") {
						t.Errorf("%s: status %d, want %d: %v, %s", name, got.Code, want, err, got.Err)
					}
				}
				second("control: alone, shared", false, 0)
				second("control: alone, exclusively", true, 0)
				detached(t, w, "--name", "x", p, "sleep", "100")
				second("control: both shared", false, 0)
				second("the second exclusively", true, 125)
				w.Run(t, w.Sbx, "rm", "-f", "x")
				detached(t, w, "--name", "x", "--set=workspace.exclusive=true", p, "sleep", "100")
				second("the first exclusively", false, 125)
				second("both exclusively", true, 125)
				if got := w.Run(t, w.Sbx, "run", "--set=workspace.access=ro", p, "--", "true"); got.Code != 0 {
					t.Errorf("control: who only reads: status %d, %s", got.Code, got.Err)
				}
				// What the command does to the lock is not its supervisor's.
				if got := w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "exec 9<"+w.Work+" && flock --unlock 9"); got.Code != 0 {
					t.Errorf("control: flock: %s", got.Err)
				}
				second("after the command unlocked it", false, 125)
				w.Run(t, w.Sbx, "rm", "-f", "x")
				second("control: afterwards", true, 0)
				// The command can lock it as well, and keeps none out but who wants it alone.
				detached(t, w, "--name", "x", p, "flock", "--shared", w.Work, "sleep", "100")
				second("control: a command that locks it shared", false, 0)
				w.Run(t, w.Sbx, "rm", "-f", "x")
				if got := w.Run(t, "flock", w.Work, w.Sbx, "run", p, "--", "true"); got.Code != 0 {
					t.Errorf("control: started under flock(1): status %d, %s", got.Code, got.Err)
				}
				if got := w.Run(t, "flock", w.Work, w.Sbx, "run", "--set=workspace.exclusive=true", p, "--", "true"); got.Code != 125 {
					t.Errorf("exclusively, and somebody else has locked it: status %d", got.Code)
				}
			},
		},
		{
			id: "R49-records", what: "a record that means somebody else's process",
			do: func(t *testing.T, w *world.World) {
				bystander := exec.Command("sleep", "100")
				if err := bystander.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
				p := w.Profile(t, "")
				detached(t, w, "--name", "x", p, "sleep", "100")
				dir := w.Home + "/run/sbx/" + strings.TrimSpace(w.Run(t, w.Sbx, "ps", "-q").Out)
				text, err := os.ReadFile(dir + "/state.json")
				if err != nil {
					t.Fatal(err)
				}
				for name, forge := range map[string]func(map[string]any){
					"its pid is another's now": func(m map[string]any) {
						m["supervisor"] = map[string]any{"pid": bystander.Process.Pid, "start": 1}
						m["init"] = map[string]any{"pid": bystander.Process.Pid, "start": 1}
					},
					"of another boot": func(m map[string]any) {
						m["boot"] = "00000000-0000-0000-0000-000000000000"
						m["init"] = map[string]any{"pid": bystander.Process.Pid, "start": 1}
					},
				} {
					var m map[string]any
					if err := json.Unmarshal(text, &m); err != nil {
						t.Fatal(err)
					}
					forge(m)
					forged, _ := json.Marshal(m)
					w.Write(t, dir+"/state.json", string(forged))
					for _, argv := range [][]string{{"kill", "x"}, {"kill", "-s", "TERM", "x"}, {"stop", "-t", "0", "x"}, {"pause", "x"}, {"top", "x"}, {"exec", "x", "true"}} {
						w.Run(t, append([]string{w.Sbx}, argv...)...)
					}
					if err := unix.Kill(bystander.Process.Pid, 0); err != nil {
						t.Fatalf("%s: somebody else's process was killed", name)
					}
					state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", bystander.Process.Pid))
					if strings.Contains(string(state), ") T ") {
						t.Errorf("%s: somebody else's process was stopped", name)
					}
				}
				w.Write(t, dir+"/state.json", string(text))
				if got := w.Run(t, w.Sbx, "kill", "x"); got.Code != 0 {
					t.Errorf("control: the true record: %s", got.Err)
				}
			},
		},
		{
			id: "R49-records", what: "a directory of records that somebody else made",
			do: func(t *testing.T, w *world.World) {
				if err := os.Symlink(w.Victim, w.Home+"/run/sbx"); err != nil {
					t.Fatal(err)
				}
				for _, argv := range [][]string{{"run", "-d", "--", "true"}, {"ps"}, {"rm", "x"}} {
					got := w.Run(t, append([]string{w.Sbx}, argv...)...)
					if got.Code != 125 || !strings.Contains(got.Err, "must be a directory of yours with mode 0700") {
						t.Errorf("sbx %q: status %d, %s", argv, got.Code, got.Err)
					}
				}
				if err := os.Remove(w.Home + "/run/sbx"); err != nil {
					t.Fatal(err)
				}
				if got := w.Run(t, w.Sbx, "ps"); got.Code != 0 {
					t.Errorf("control: %s", got.Err)
				}
			},
		},
		{
			id: "R49-records", what: "the records and sockets of sandboxes, from inside one that sees the host's tree",
			do: func(t *testing.T, w *world.World) {
				detached(t, w, "--name", "x", w.Profile(t, ""), "sleep", "100")
				look := "find " + w.Home + "/run -name control.sock -o -name state.json"
				if got := w.Run(t, "sh", "-c", look); !strings.Contains(got.Out, "control.sock") {
					t.Errorf("control: %q %s", got.Out, got.Err)
				}
				for _, profile := range []string{"extends = [\"builtin:open\"]\n", "[mounts.\"" + w.Home + "/run\"]\nsource = \"" + w.Home + "/run\"\naccess = \"rw\"\n", "[home]\nmode = \"host\"\n"} {
					p := w.Profile(t, profile)
					got := w.Run(t, w.Sandboxed(p, "sh", "-c", look+"; touch "+w.Home+"/run/sbx/new; mv "+w.Home+"/run/sbx "+w.Home+"/run/moved; :")...)
					if got.Code != 0 || got.Out != "" {
						t.Errorf("profile %q: status %d, %q %s", profile, got.Code, got.Out, got.Err)
					}
				}
				for _, dir := range []string{"/run/sbx", "/run/sbx/names"} {
					p := w.Profile(t, "[mounts.\"/mnt\"]\nsource = \""+w.Home+dir+"\"\n")
					if got := w.Run(t, w.Sandboxed(p, "true")...); got.Code != 125 || !strings.Contains(got.Err, "holds records of sandboxes") {
						t.Errorf("%s was given: status %d %s", dir, got.Code, got.Err)
					}
				}
				if got := w.Run(t, w.Sbx, "exec", "x", "true"); got.Code != 0 {
					t.Errorf("afterwards: %s", got.Err)
				}
			},
		},
		{
			id: "R46-escapes", what: "in listings of what is inside",
			do: func(t *testing.T, w *world.World) {
				p := w.Profile(t, "")
				detached(t, w, "--name", "x", "--label", "a="+hostile, p, "bash", "-c", "printf '%s\\n' \"$1\"; exec -a \"$1\" sleep 100", "bash", hostile)
				var shown string
				for end := time.Now().Add(5 * time.Second); !strings.Contains(shown, "gpj") && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
					shown = w.Run(t, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").Out
				}
				if raw(shown) == "" {
					t.Error("control: a careless tool prints nothing raw")
				}
				for _, argv := range [][]string{{"ps"}, {"ps", "--no-trunc"}, {"ps", "--format", "json"}, {"ps", "--format", "{{.Command}} {{.Labels}} {{json .}}"}, {"top", "x"}, {"top", "--format", "json", "x"}, {"inspect", "x"}, {"inspect", "-f", "{{.Command}}", "x"}, {"stats", "--no-stream"},
					{"stop", hostile}, {"exec", hostile, "true"}, {"exec", "x", hostile}, {"run", "-d", "--name", hostile, "--", "true"}, {"run", "-d", "--", hostile}, {"logs", hostile}, {"__complete", "--", "stop", ""}} {
					got := w.Run(t, append([]string{w.Sbx}, argv...)...)
					if r := raw(got.Out + got.Err); r != "" {
						t.Errorf("sbx %q prints %q raw", argv, r)
					}
				}
			},
		},
	}
}
