package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/sandbox/supervise"
)

// supervisor is who stands by the sandbox of plan.
func supervisor(inv *decision.Run, plan *sandbox.Plan, o *options.Options) *supervise.Supervisor {
	l := o.Life
	r := state.Record{Name: o.Named(), Detached: l.Detach, Keep: l.Keep(), Labels: l.Labels}
	supervise.Fill(&r, plan)
	r.Profile, r.Dir, r.Project = inv.Called, inv.Env.Cwd, l.Project
	idle := time.Duration(0)
	if l.Project != nil {
		r.Name, idle = l.Name, l.Project.Idle
	}
	so := supervise.Options{
		Record: r, Output: [2]int{-1, -1}, Input: -1,
		Must:   l.Detach || r.Name != "" || r.Keep || l.Cidfile != "" || l.Pidfile != "" || l.StatusFD >= 0 || l.Notifies(),
		Warn:   func(text string) { inv.Warn("%s", text) },
		Policy: l.Restart, Idle: idle, Refused: func() json.RawMessage { return refusedJSON(inv) },
	}
	if inv.Back != nil {
		so.Output, so.Input, so.LogSize = inv.Back.Output, inv.Back.Input, l.LogMax
	}
	if l.Sdnotify == options.NotifyHealthy {
		so.Healthy = func() {
			if err := options.Ready(); err != nil {
				inv.Late("%v", err)
			}
		}
	}
	if l.Pidfile != "" {
		so.Runs = func(r *state.Record) error { return l.WritePid(r.Init.PID) }
	}
	if inv.Back != nil || l.Pidfile != "" || l.Cidfile != "" || l.StatusFD >= 0 || l.Notifies() {
		so.Started = func(r *state.Record) error {
			err := started(inv.Invocation, r, l)
			if err != nil {
				l.TakePid() // no end follows what has not started
			}
			return err
		}
		so.Finished = l.Ended
	}
	return supervise.New(so)
}

// started tells whoever wants to know that the command runs.
func started(inv *cli.Invocation, r *state.Record, l *options.Life) error {
	if l.Cidfile != "" {
		if err := l.WriteCid(r.ID); err != nil {
			return err
		}
	}
	if l.Sdnotify == options.NotifyRuns {
		if err := options.Ready(); err != nil {
			return err
		}
	}
	l.Say(struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		PID  int    `json:"child-pid"`
	}{r.ID, r.Name, r.Init.PID})
	if inv.Back != nil {
		err := inv.Back.Told(r.ID)
		inv.Err = &inv.Back.Later
		return err
	}
	return nil
}

// detach starts the supervisor in a session of its own, waits until the command
// runs, and prints the id. Whatever is wrong until then is this process's to say.
func detach(inv *cli.Invocation, args []string, l *options.Life) error {
	id, err := Background(inv, args, l.StatusFD)
	if err == nil && id != "" {
		_, err = fmt.Fprintf(inv.Out, "%s\n", id)
	}
	return err
}

// Background starts the supervisor, with the verb and the arguments in args, and
// returns the sandbox's id. It is "" where the supervisor has said why there is
// none, and inv.Status is its exit status then. statusFD is passed on, -1 for none.
func Background(inv *cli.Invocation, args []string, statusFD int) (id string, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return "", fmt.Errorf("opening a pipe: %w", err)
	}
	r := os.NewFile(uintptr(p[0]), "supervisor")
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		unix.Close(p[1])
		return "", err
	}
	defer null.Close()
	w := os.NewFile(uintptr(p[1]), "report")
	files := []*os.File{null, null, os.Stderr}
	report := 3
	if statusFD >= 0 {
		for len(files) < statusFD {
			files = append(files, nil)
		}
		files = append(files, os.NewFile(uintptr(statusFD), "status"))
		if statusFD == 3 {
			report = 4
		}
	}
	for len(files) <= report {
		files = append(files, nil)
	}
	files[report] = w
	proc, err := os.StartProcess("/proc/self/exe", append([]string{"sbx", "__supervise", strconv.Itoa(report)}, args...),
		&os.ProcAttr{Files: files, Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true}})
	w.Close()
	if err != nil {
		return "", fmt.Errorf("starting the supervisor: %w", err)
	}
	said, err := io.ReadAll(io.LimitReader(r, state.IDLength+1))
	if err != nil {
		return "", fmt.Errorf("hearing from the supervisor: %w", err)
	}
	if state.ValidID(string(said)) {
		return string(said), nil
	}
	st, err := proc.Wait()
	if err != nil {
		return "", err
	}
	inv.Status = st.ExitCode()
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return "", fmt.Errorf("the supervisor was killed by %s", unix.SignalName(ws.Signal()))
	}
	return "", nil
}

// NewBackground puts pipes in place of the standard descriptors, which the
// command gets. The caller's stderr is kept until the command runs.
func NewBackground(report int, args []string) (*cli.Background, error) {
	b := &cli.Background{Report: report, Input: -1}
	cli.Rename()
	unix.CloseOnExec(report)
	var err error
	if b.Stderr, err = unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3); err != nil {
		return nil, fmt.Errorf("keeping standard error: %w", err)
	}
	pipe := func(fd, ours int) (int, error) {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return -1, fmt.Errorf("opening a pipe: %w", err)
		}
		theirs := 1 - ours
		if err := unix.Dup3(p[theirs], fd, 0); err != nil {
			return -1, err
		}
		unix.Close(p[theirs])
		return p[ours], unix.SetNonblock(p[ours], true)
	}
	for fd := 1; fd < 3; fd++ {
		if b.Output[fd-1], err = pipe(fd, 0); err != nil {
			return nil, err
		}
	}
	if wantsInput(args) {
		b.Input, err = pipe(0, 1) // who is attached gets this very end
	}
	return b, err
}

// wantsInput says whether the command line of run has -i or -t: the descriptors
// are put in place before anything looks at them, so also before it is parsed.
func wantsInput(args []string) bool {
	fs := options.RunSet()
	if fs.Parse(args) != nil {
		return false
	}
	return fs.Changed("interactive") || fs.Changed("tty")
}

// supervised runs the sandbox of plan, again as often as it is to.
func supervised(inv *decision.Run, begun *run.Start, plan *sandbox.Plan, o *options.Options) error {
	if o.Life == nil {
		o.Life = &options.Life{StatusFD: -1}
	}
	if o.Life.Sdnotify == options.NotifyHealthy && len(plan.Health.Argv) == 0 {
		begun.Abort()
		return errors.New("--sdnotify=healthy: the profile has no health check; add health.command, or --health-cmd")
	}
	named, err := holdersOf(inv.Invocation, plan)
	if err != nil { // before there is a record, which nobody would take back
		begun.Abort()
		return err
	}
	begun.Networks = named
	s := supervisor(inv, plan, o)
	if s.Must() {
		if err := s.Register(); err != nil {
			begun.Abort()
			return err
		}
		if plan.Net.Backend == sandbox.BackendEngine || plan.Net.Names != "" {
			begun.NetSocket = filepath.Join(state.Dir(s.Record().ID), state.NetSocketFile)
		}
	}
	for {
		st, err := begun.Run(plan, s)
		code := cli.ExitSbx
		if inv.Back != nil {
			inv.Back.Later.Text.Reset() // what was said while it ran has its own log
		}
		if err == nil {
			of := st
			if s.Asked() { // whoever killed it need not be told
				of.InitKilled = 0
			}
			code, err = settle(inv, of, plan, o)
		}
		if inv.Back != nil {
			s.Say(inv.Back.Later.Text.String())
		}
		if err != nil {
			code = inv.ExitCode(err)
		}
		if !s.Ended(st, code, err) {
			inv.Status = code
			return err
		}
		plan.Overlay.Again = overlayThere(&plan.Overlay)
		last := begun
		if plan, err = inv.Again(plan); err == nil {
			begun, err = inv.BeginAgain(plan)
		}
		if err != nil {
			s.Ended(run.Status{}, cli.ExitSbx, err)
			return err
		}
		begun.Network, begun.Refused, begun.NetSocket, begun.Networks = last.Network, last.Refused, last.NetSocket, last.Networks
	}
}
