package launch

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/explanation"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/takeover"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

// overlayThere says that the changes of a run that has ended are there, for the next
// run of the same plan to go on with.
func overlayThere(o *sandbox.Overlay) bool {
	if o.Name == "" {
		return false
	}
	_, err := upper.Load(o.Path())
	return err == nil
}

// settleOverlay does with a run's changes what the profile says when the command
// has ended, and says what can be done with them. It comes last.
func settleOverlay(inv *decision.Run, o *sandbox.Overlay, quiet bool) error {
	if o.Name == "" {
		return nil
	}
	store := upper.Store{Root: o.Store}
	if o.Index != "" {
		store.Root = o.Index
	}
	rec, err := store.Load(o.Name)
	if err != nil {
		return err
	}
	// Of what nobody gave a name nothing is left when there is nothing in it.
	passing := (inv.Profile == nil || inv.Profile.Overlay.Name == "") && (!o.Again || o.Name == inv.Shared)
	if passing && rec.Empty(store.Dir(o.Name)) {
		return overlays.Discard(inv.Invocation, store, rec)
	}
	do := o.OnExit
	if do == sandbox.Ask {
		do = ask(inv.Invocation, rec)
	}
	switch do {
	case sandbox.Discard:
		return overlays.Discard(inv.Invocation, store, rec)
	case sandbox.Apply:
		if err := applyOnExit(inv.Invocation, rec); err != nil || !passing {
			return err
		}
		_, err := overlays.DiscardSpent(inv.Invocation, store, rec)
		return err
	}
	if !quiet && !inv.JSONErrs {
		take := "sbx apply " + o.Name
		if takeover.Hosts(rec) == 0 {
			take = "sbx image commit " + o.Name + " IMAGE"
		}
		inv.Lately("changes are kept as %s: sbx diff %s, %s, sbx discard %s", o.Name, o.Name, take, o.Name)
	}
	return nil
}

// applyOnExit is what overlay.on_exit = "apply" does: sbx apply without flags. The
// status remains the command's.
func applyOnExit(inv *cli.Invocation, rec *upper.Record) error {
	store, err := overlays.Store(inv)
	if err != nil {
		return err
	}
	status := inv.Status
	err = takeover.ApplyTo(inv, store, rec, nil, &takeover.Options{}, []string{"apply", rec.Name})
	inv.Status = status
	if err != nil {
		return fmt.Errorf("%s; the changes are kept as %s", err.Error(), rec.Name) // the status of apply is not that of run
	}
	return nil
}

// ask asks at the terminal what is to become of the changes; without one they
// are kept.
func ask(inv *cli.Invocation, rec *upper.Record) sandbox.OnExit {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil || !screen.IsTerminal(os.Stdin) || !screen.IsTerminal(inv.Err) {
		return sandbox.Keep
	}
	defer tty.Close()
	const choices = "[k]eep, [a]pply or [d]iscard"
	// What was typed for the command, and that it did not read, is no answer.
	_ = unix.IoctlSetInt(int(tty.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	in := bufio.NewReader(tty)
	for range 5 {
		fmt.Fprintf(tty, "sbx: the changes of %s: %s? ", rec.Name, choices)
		line, err := in.ReadString('\n')
		if err != nil {
			break
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "k", "keep", "":
			return sandbox.Keep
		case "d", "discard":
			return sandbox.Discard
		case "a", "apply":
			return sandbox.Apply
		}
	}
	return sandbox.Keep
}

// settle says how the command ended, and what it left, and returns the exit
// status that comes of it.
func settle(inv *decision.Run, st run.Status, plan *sandbox.Plan, o *options.Options) (int, error) {
	switch {
	case st.Over != "":
		inv.Late("ended: %s (overlay.size, mounts.*.size)", st.Over)
	case st.Group != nil && st.Group.OOMKills > 0:
		inv.Late("%s", outOfMemory(inv, plan, st))
	case st.TimedOut:
		inv.Late("ended by the timeout of %v", plan.Process.Timeout)
	case st.InitKilled != 0:
		inv.Late("the sandbox was killed by %s", unix.SignalName(st.InitKilled))
	case st.Killed == unix.SIGSYS && plan.Security.Seccomp.Filtered():
		inv.Late("the command ended by SIGSYS, as the system call filter ends programs of another architecture; one of 32 bits needs security.multiarch = true")
	}
	explanation.Hints(inv, plan, st.Code)
	code := reportAudit(inv.Invocation, plan.Audit.Mode, st.Audit, st.Code, o.Quiet)
	sumUp(inv, code, o.Quiet)
	if !inv.Step.Last && code == 0 {
		return code, nil // the next phase goes on with what is kept
	}
	if err := settleOverlay(inv, &plan.Overlay, o.Quiet); err != nil {
		return cli.ExitSbx, err
	}
	return code, nil
}

// outOfMemory says what became of a sandbox that reached its limit.
func outOfMemory(inv *decision.Run, plan *sandbox.Plan, st run.Status) string {
	const key = "limits.memory"
	first, now := plan.Cgroup.Limits.MemoryMax, st.Group.MemoryMax
	limit := fmt.Sprintf("%s = %s", key, screen.BytesText(first))
	if now != 0 && now != first-first%int64(os.Getpagesize()) { // the kernel counts pages
		limit = fmt.Sprintf("%s = %s (sbx update)", key, screen.BytesText(now))
	} else if first == 0 {
		limit = "a limit on memory that is not its own"
	} else if at := cli.Origin(inv.Profile, key); at != "" {
		if p := cli.Place(at); p.Line > 0 {
			at = fmt.Sprintf("%s:%d", screen.Near(p.File), p.Line)
		}
		limit += " (" + at + ")"
	}
	switch {
	case st.InitKilled == unix.SIGKILL:
		return "out of memory (oom): the command was killed, and all with it, since the sandbox reached " + limit
	case st.Killed == unix.SIGKILL:
		return "out of memory (oom): the command was killed since the sandbox reached " + limit
	}
	return fmt.Sprintf("out of memory (oom): %d of the sandbox's processes were killed since it reached %s", st.Group.OOMKills, limit)
}
