package limits

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/world"
)

// TestOOMEvents: what the kernel kills for want of memory is told while it happens,
// where the sandbox goes on, and kept for whoever asks afterwards.
func TestOOMEvents(t *testing.T) {
	w := newWorld(t)
	must := func(argv ...string) string {
		t.Helper()
		got := w.Run(t, append([]string{w.Sbx}, argv...)...)
		if got.Code != 0 {
			t.Fatalf("sbx %q: status %d, %s", argv, got.Code, got.Err)
		}
		return got.Out
	}
	cmd := w.Command(w.Sbx, "events", "--filter", "event=oom", "--format", "json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 16)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	told := func(name string) {
		t.Helper()
		var line string
		world.Until(t, "an event of "+name, func() bool {
			select {
			case line = <-lines:
				return true
			default:
				return false
			}
		})
		var e struct {
			Action, Name string
			Attributes   map[string]string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action != "oom" || e.Name != name || e.Attributes["kills"] == "" || e.Attributes["kills"] == "0" {
			t.Errorf("the event is %s (%v), wanted one of %s", line, err, name)
		}
	}
	status := func(name string) string {
		return must("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", name)
	}
	// One process is killed: the sandbox lives when that is told, and after it.
	one := small + "oom_kill = \"process\"\n"
	must("run", "-q", "-d", "--name", "one", w.Profile(t, one), "--", "sh", "-c", w.Probe+" hog 200; "+w.Probe+" hog 200; sleep 1000")
	told("one")
	if got := status("one"); !strings.HasPrefix(got, "running ") {
		t.Errorf("when the first was killed: %s", got)
	}
	told("one")
	must("stop", "-t", "0", "one")
	if got := status("one"); got != "exited 137 true\n" {
		t.Errorf("one: %s", got)
	}
	// All are killed.
	must("run", "-d", "--name", "all", w.Profile(t, small), "--", w.Probe, "hog", "200")
	told("all")
	must("wait", "all")
	if got := status("all"); got != "exited 137 true\n" {
		t.Errorf("all: %s", got)
	}
	if got := must("logs", "all"); !strings.Contains(got, "out of memory (oom)") && !strings.Contains(w.Run(t, w.Sbx, "logs", "all").Err, "out of memory (oom)") {
		t.Errorf("its log: %q", got)
	}
	// Control: another death is none of these.
	must("run", "-q", "-d", "--name", "other", w.Profile(t, small), "--", "sh", "-c", "kill -9 $$")
	must("wait", "other")
	if got := status("other"); got != "exited 137 false\n" {
		t.Errorf("other: %s", got)
	}
	if got := must("events", "--no-stream", "--filter", "event=oom", "--filter", "name=other"); got != "" {
		t.Errorf("other: %s", got)
	}
	must("rm", "one", "all", "other")
}
