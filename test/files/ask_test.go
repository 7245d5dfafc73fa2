package files

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// TestAsk answers the question at the end of a run, at a terminal. What was typed
// for the command and not read by it is no answer.
func TestAsk(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay, sbxtest.TTY)
	for _, tt := range []struct {
		answer         string
		kept, taken    bool
		ahead, command string
	}{
		{answer: "d\n", command: "echo new >f"},
		{answer: "k\n", kept: true, command: "echo new >f"},
		{answer: "\n", kept: true, command: "echo new >f"},
		{answer: "what\nk\n", kept: true, command: "echo new >f"},
		{answer: "k\n", kept: true, ahead: "d\n", command: "echo new >f; echo up; sleep 0.5"},
		{answer: "a\n", taken: true, command: "echo new >f"},
	} {
		t.Run(strings.ReplaceAll(tt.ahead+tt.answer, "\n", "_"), func(t *testing.T) {
			p := newPlace(t)
			sbxtest.Leftovers(t)
			p.Write(t, p.Work+"/f", "lower\n")
			term := pty.Open(t)
			cmd := p.Command(p.Sbx, "run", "--overlay=it", "--set", "overlay.on_exit=ask", "--", "sh", "-c", tt.command)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = term.Slave, term.Slave, term.Slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			from := 0
			if tt.ahead != "" {
				from = term.Expect(t, 0, "up")
				term.Type(t, tt.ahead)
			}
			term.Expect(t, from, "the changes of it: [k]eep, [a]pply or [d]iscard? ")
			term.Type(t, tt.answer)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, term.Output())
			}
			if kept := len(p.overlays()) > 0; kept != (tt.kept || tt.taken) {
				t.Errorf("kept: %t; %s", kept, term.Output())
			}
			want := "lower\n"
			if tt.taken {
				want = "new\n"
			}
			if text, err := os.ReadFile(p.Work + "/f"); err != nil || string(text) != want {
				t.Errorf("the host has %q, %v", text, err)
			}
		})
	}
}
