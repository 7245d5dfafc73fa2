package net

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// onTerminal starts a command whose terminal is term.
func onTerminal(t *testing.T, cmd *exec.Cmd, term *pty.Terminal) {
	t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.Slave, term.Slave, term.Slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// TestAsk: with network.on_deny = "ask" a person at the terminal decides about what
// no rule is about, once or for the run, and what is typed is not the command's
// meanwhile. Without a terminal, and without an answer, it is denied.
func TestAsk(t *testing.T) {
	sbxtest.Leftovers(t)
	p := at(t)
	profile := p.profile("on_deny = \"ask\"")
	script := "stty -echo; echo begun; while read name; do curl -sS -m 60 http://$name/ 2>/dev/null || echo none; done"
	term := pty.Open(t)
	cmd := p.Command(p.Sandboxed(profile, "sh", "-c", script)...)
	onTerminal(t, cmd, term)
	at := term.Expect(t, 0, "begun")
	for _, step := range []struct{ name, answer, want string }{
		{"denied.example", "d\r", "none"},
		{"denied.example", "", "none"},         // for the run
		{"neighbour.example", "x\r", "Enter:"}, // which is no answer
		{"", "o\r", "world at "},
		{"web.example", "r\r", "world at "},
		{"web.example", "", "world at "},
	} {
		if step.name != "" {
			term.Type(t, step.name+"\n")
		}
		if step.answer != "" && step.name != "" {
			at = term.Expect(t, at, "wants to reach "+step.name+" ")
			at = term.Expect(t, at, "Enter:")
		}
		if step.answer != "" {
			time.Sleep(700 * time.Millisecond) // what is typed at once is no answer
			term.Type(t, step.answer)
		}
		at = term.Expect(t, at, step.want)
	}
	term.Type(t, "\x04")
	_ = cmd.Wait() // of the loop
	if code := world.Code(cmd); code != 0 {
		t.Errorf("status %d: %s", code, term.Output())
	}
	begun := time.Now()
	got := p.run(profile, get("http://denied.example/"))
	if got.Out != none || !strings.Contains(got.Err, "sbx: blocked looking up denied.example") || time.Since(begun) > 20*time.Second {
		t.Errorf("without a terminal: %+v after %v", got, time.Since(begun))
	}
}
