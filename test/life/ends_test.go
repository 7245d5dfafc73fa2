package life

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// foreground starts a sandbox without a name and waits until ps shows it.
func foreground(t *testing.T, w *world.World, command ...string) (c *exec.Cmd, id string) {
	t.Helper()
	c = w.Command(append([]string{w.Sbx, "run", "--"}, command...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the sandbox", func() bool { id = sbx(t, w, 0, "ps", "-q"); return id != "" })
	return c, id
}

// TestStopForeground: also a command whose sandbox has no record, as nobody has asked
// for it, is asked to end, and has the profile's time for it.
func TestStopForeground(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	c := w.Command(w.Sbx, "run", "--", "sh", "-c", `trap "echo got-TERM; exit 3" TERM; echo ready; while :; do sleep .05; done`)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	sbx(t, w, 0, "stop", sbx(t, w, 0, "ps", "-q"))
	rest, _ := io.ReadAll(said)
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 3 || string(rest) != "got-TERM\n" {
		t.Errorf("its status is %d, it wrote %q", code, rest)
	}
	empty(t, w)
}

// TestNoStore: what acts on sandboxes finds one in the foreground where there is no
// directory of records yet.
func TestNoStore(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for _, verb := range []string{"rm -f", "wait", "kill"} {
		if err := os.RemoveAll(w.Home + "/run/sbx"); err != nil {
			t.Fatal(err)
		}
		c, id := foreground(t, w, "sleep", "2")
		sbx(t, w, 0, append(strings.Fields(verb), id)...)
		_ = c.Wait()
	}
	empty(t, w)
}

// stopProcess stops a process, which goes on when the test ends at the latest.
func stopProcess(t *testing.T, pid int) {
	t.Helper()
	p, err := state.Look(pid)
	if err == nil {
		err = unix.Kill(pid, unix.SIGSTOP)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Continue)
	waitFor(t, "its stop", p.Stopped)
}

// keepStopped stops a process again and again, since who asks for a sandbox's end has
// its supervisor go on, until goOn is called.
func keepStopped(pid int) (goOn func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Kill(pid, unix.SIGSTOP)
				time.Sleep(10 * time.Microsecond)
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-stopped
		_ = unix.Kill(pid, unix.SIGCONT)
	})
}

// TestEndsMeanwhile: who asks for the end of a sandbox that ends by itself just then
// has got it, and who waits for it hears the command's status.
func TestEndsMeanwhile(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for _, x := range []struct {
		verb, out string
		keep      bool
	}{
		{verb: "rm -f", out: "a\n", keep: true}, {verb: "rm -f", out: "a\n"}, {verb: "stop", out: "a\n", keep: true},
		{verb: "stop", out: "a\n"}, {verb: "kill", out: "a\n"}, {verb: "wait", out: "143\n"}, {verb: "wait", out: "143\n", keep: true},
	} {
		t.Run(fmt.Sprint(x.verb, " keep ", x.keep), func(t *testing.T) {
			sbx(t, w, 0, "run", "-d", fmt.Sprint("--rm=", !x.keep), "--name", "a", "--", "sleep", "100")
			r := inspect(t, w, "a").State
			var command int
			waitFor(t, "the command", func() bool {
				for _, pid := range descendants(t, r.PID) {
					if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(name) == "sleep\n" {
						command = pid
					}
				}
				return command != 0
			})
			goOn := keepStopped(r.SupervisorPID)
			defer goOn()
			c := w.Command(append(append([]string{w.Sbx}, strings.Fields(x.verb)...), "a")...)
			var out, said bytes.Buffer
			c.Stdout, c.Stderr = &out, &said
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond) // until it has asked
			_ = unix.Kill(command, unix.SIGTERM)
			waitFor(t, "the command's end", func() bool { return len(descendants(t, r.PID)) == 0 })
			goOn()
			if err := c.Wait(); err != nil || out.String() != x.out {
				t.Errorf("%v: it printed %q, want %q: %s", err, &out, x.out, &said)
			}
			w.Run(t, w.Sbx, "rm", "-f", "a")
			empty(t, w)
		})
	}
}

// crowd connects to a supervisor that is stopped until it has no room for another one.
func crowd(t *testing.T, w *world.World, id string) {
	t.Helper()
	a := &unix.SockaddrUnix{Name: filepath.Join(w.Home, "run/sbx", id, state.SocketFile)}
	for range 100 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Connect(fd, a); errors.Is(err, unix.EAGAIN) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("there is room for any number of connections")
}

// TestNetStopped: who asks the program that makes a sandbox's network hears that it does
// not answer, and the sandbox can be ended.
func TestNetStopped(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "-p", "127.0.0.1:0:80", "--", "sleep", "100")
	for _, pid := range descendants(t, inspect(t, w, "s").State.SupervisorPID) {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(comm) == "sbx-net\n" {
			stopProcess(t, pid)
		}
	}
	var asked sync.WaitGroup
	for _, args := range [][]string{{"net", "ls", "s"}, {"net", "log", "s"}, {"net", "allow", "s", "a.example"}, {"port", "s"}} {
		asked.Go(func() {
			c := w.Command(append([]string{w.Sbx}, args...)...)
			var said bytes.Buffer
			c.Stderr = &said
			if err := c.Start(); err != nil {
				t.Error(err)
				return
			}
			if code := ends(t, c); code != 125 || !strings.Contains(said.String(), "gives no answer within 5s: the program that makes it (sbx-net) is stopped") {
				t.Errorf("%q: status %d, %q", args, code, &said)
			}
		})
	}
	asked.Wait()
	sbx(t, w, 0, "stop", "-t", "1", "s")
	sbx(t, w, 0, "rm", "s")
	empty(t, w)
}

// TestCrowded: who finds no room at a supervisor hears that, and of no end.
func TestCrowded(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	id := sbx(t, w, 0, "run", "-d", "-i", "--name", "s", "--", "sleep", "100")
	a := &unix.SockaddrUnix{Name: filepath.Join(w.Home, "run/sbx", id, state.SocketFile)}
	var silent []int
	for range 256 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			silent = append(silent, fd)
			err = unix.Connect(fd, a)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = "sbx: 256 are connected to s already, and it takes no more; try again when one of them has ended\n"
	for _, args := range [][]string{{"exec", "s", "true"}, {"exec", "-e", "A=b", "s", "true"}, {"attach", "s"}, {"cp", "s:/etc/hosts", "-"}, {"kill", "-s", "WINCH", "s"}, {"pause", "s"}, {"rename", "s", "r"}, {"wait", "s"}, {"stop", "s"}} {
		for range 5 { // whoever is faster
			if got := w.Run(t, append([]string{w.Sbx}, args...)...); got.Code != 125 || got.Err != want {
				t.Errorf("%q: status %d, %q, want %q", args, got.Code, got.Err, want)
				break
			}
		}
	}
	for _, fd := range silent {
		unix.Close(fd)
	}
	waitFor(t, "room", func() bool { return w.Run(t, w.Sbx, "exec", "s", "true").Code == 0 }) // it may hear of who comes before who went
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}

// TestStopped: a supervisor that is stopped keeps no sandbox from its end, however many
// wait for it, and leaves nobody waiting for an answer.
func TestStopped(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for _, verb := range []string{"stop", "rm -f", "kill", "restart", "down"} {
		t.Run(verb, func(t *testing.T) {
			name := "a"
			if verb == "down" {
				sbx(t, w, 0, "up", "shell")
				name = sbx(t, w, 0, "ps", "--format", "{{.Names}}")
			} else {
				sbx(t, w, 0, "run", "-d", "--name", name, "--", "sleep", "100")
			}
			rec := inspect(t, w, name)
			r := rec.State
			stopProcess(t, r.SupervisorPID)
			crowd(t, w, rec.ID)
			want := fmt.Sprintf("the supervisor of %s (process %d) is stopped and does not answer", name, r.SupervisorPID)
			for _, args := range [][]string{{"pause", name}, {"exec", "-e", "A=b", name, "true"}} {
				if got := w.Run(t, append([]string{w.Sbx}, args...)...); got.Code != 125 || !strings.Contains(got.Err, want) {
					t.Errorf("%q: status %d and %q, want %q", args, got.Code, got.Err, want)
				}
			}
			words := append(strings.Fields(verb), name)
			if verb == "down" {
				words = words[:1]
			}
			if out := sbx(t, w, 0, words...); out != name {
				t.Errorf("%s says %q", verb, out)
			}
			w.Run(t, w.Sbx, "rm", "-f", name)
			empty(t, w)
		})
	}
}

// TestRestartFails: a command that can't be started again is no success.
func TestRestartFails(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	w.Write(t, w.Home+"/project/s.sh", "#!/bin/sh\necho ready\nexec sleep 100\n")
	script := w.Home + "/project/s.sh"
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	sbx(t, w, 0, "run", "-d", "--name", "c", "-v", w.Home+"/project", "--", script)
	waitFor(t, "its output", func() bool { return sbx(t, w, 0, "logs", "c") == "ready" })
	if err := os.Remove(script); err != nil {
		t.Fatal(err)
	}
	got := w.Run(t, w.Sbx, "restart", "-t", "1", "c")
	if got.Code != 127 || got.Out != "" || !strings.HasPrefix(got.Err, "sbx: c has ended meanwhile: execute ") {
		t.Errorf("status %d: %s%s", got.Code, got.Out, got.Err)
	}
	sbx(t, w, 0, "rm", "c")
	empty(t, w)
}

// TestStopTogether: those that take their time take it at the same time.
func TestStopTogether(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		sbx(t, w, 0, "run", "-d", "--name", name, "--", "sh", "-c", `trap "" TERM; echo deaf; while :; do sleep 1; done`)
		waitFor(t, "its output", func() bool { return sbx(t, w, 0, "logs", name) == "deaf" })
	}
	begun := time.Now()
	if out := sbx(t, w, 0, append([]string{"stop", "-t", "4"}, names...)...); out != "a\nb\nc" {
		t.Errorf("it printed %q", out)
	}
	if took := time.Since(begun); took > 9*time.Second {
		t.Errorf("it took %v", took)
	}
	sbx(t, w, 0, append([]string{"rm"}, names...)...)
	empty(t, w)
}

// TestKillAll: those that have ended already are none of kill's.
func TestKillAll(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "ended", "--", "true")
	sbx(t, w, 0, "wait", "ended")
	sbx(t, w, 0, "run", "-d", "--name", "runs", "--", "sleep", "100")
	if out := sbx(t, w, 0, "kill", "--all"); out != "runs" {
		t.Errorf("kill --all: %q", out)
	}
	sbx(t, w, 125, "kill", "ended")
	sbx(t, w, 0, "rm", "--all")
	empty(t, w)
}

// TestRemoveForced: what is not there is removed already, and what can't be read is
// removed by its name and its id; it keeps nobody else from anything.
func TestRemoveForced(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	if got := w.Run(t, w.Sbx, "rm", "-f", "none"); got.Code != 0 || got.Out != "" || !strings.Contains(got.Err, "no sandbox is called none") {
		t.Errorf("rm -f none: status %d: %s%s", got.Code, got.Out, got.Err)
	}
	sbx(t, w, 125, "rm", "none")
	unreadable := func(name string) string {
		id := sbx(t, w, 0, "run", "-d", "--name", name, "--", "true")
		sbx(t, w, 0, "wait", name)
		if err := os.WriteFile(w.Home+"/run/sbx/"+id+"/state.json", []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		return id
	}
	id := unreadable("x")
	c := w.Command(w.Sbx, "run", "--", "sleep", "100")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var run string
	waitFor(t, "the sandbox", func() bool { run = strings.TrimSpace(w.Run(t, w.Sbx, "ps", "-q").Out); return run != "" })
	if out := sbx(t, w, 0, "exec", run, "echo", "here"); out != "here" {
		t.Errorf("exec beside one that can't be read: %q", out)
	}
	got := w.Run(t, w.Sbx, "stats", "--no-stream", "--format", "{{.ID}}")
	if strings.TrimSpace(got.Out) != run || got.Code != 125 || !strings.Contains(got.Err, id) {
		t.Errorf("stats: status %d: %s%s", got.Code, got.Out, got.Err)
	}
	got = w.Run(t, w.Sbx, "rm", "-f", run)
	_ = c.Wait()
	if got.Code != 0 {
		t.Errorf("rm -f: status %d: %s", got.Code, got.Err)
	}
	sbx(t, w, 125, "rm", id)
	sbx(t, w, 0, "rm", "-f", id)
	unreadable("y")
	sbx(t, w, 0, "rm", "-f", "y")
	empty(t, w)
}

// TestRemoveOnce: of a sandbox that is not kept there is one event of its removal,
// and its overlay can go with it.
func TestRemoveOnce(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Overlay)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--rm", "--name", "a", "--", "sleep", "100")
	sbx(t, w, 0, "rm", "-f", "a")
	if got := w.Run(t, w.Sbx, "events", "--since", "1h", "--until", "0s", "--filter", "event=remove", "--format", "{{.Action}}"); strings.Count(got.Out, "remove") != 1 {
		t.Errorf("events: %q%s", got.Out, got.Err)
	}
	sbx(t, w, 0, "run", "-d", "--rm", "--name", "a", "--overlay=o", "--", "sleep", "100")
	kept := w.Home + "/.local/share/sbx/overlays/o"
	if !world.Exists(kept) {
		t.Error("the overlay is not there")
	}
	sbx(t, w, 0, "rm", "-f", "--overlay", "a")
	if world.Exists(kept) {
		t.Error("the overlay is left")
	}
	empty(t, w)
}

// TestPlanUnknown: a sandbox that writes no plan is said to have none.
func TestPlanUnknown(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	c, id := foreground(t, w, "sleep", "100")
	for _, verb := range []string{"port", "grants"} {
		if got := w.Run(t, w.Sbx, verb, id); got.Code != 125 || !strings.Contains(got.Err, "is known to who started it alone") {
			t.Errorf("%s: status %d: %s", verb, got.Code, got.Err)
		}
	}
	sbx(t, w, 0, "rm", "-f", id)
	_ = c.Wait()
	empty(t, w)
}
