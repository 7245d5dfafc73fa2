package run

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/audit"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
)

// Resumed is a sandbox that was started from what was kept (Keep) before the Go
// runtime was, and its Plan; nil where there is none. Its command may run already:
// Run or Abort must follow.
func Resumed() (*Start, *sandbox.Plan, error) {
	t, ok := child.TakeOver()
	if !ok {
		return nil, nil, nil
	}
	e := ends{status: t.Pipes.Status[0], report: t.Pipes.Report[0], program: t.Pipes.Go[1]}
	e.ours = []int{e.status, e.report, e.program}
	st := &Start{ends: e, child: t.Child, taken: t}
	f := os.NewFile(uintptr(t.File), "kept start")
	defer f.Close()
	p := new(sandbox.Plan)
	text, err := io.ReadAll(io.NewSectionReader(f, t.Plan, 1<<30))
	if err == nil {
		err = json.Unmarshal(text, p)
	}
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		st.Abort()
		// Nothing is synced to a disk: it may have lost a part of the file.
		if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(t.File)); err == nil {
			_ = os.Remove(name)
		}
		return nil, nil, fmt.Errorf("reading the plan of a sandbox that runs: %w; it was ended, and what was kept of it is removed: run it again", err)
	}
	st.shape = p.Shape()
	return st, p, nil
}

// Resumes says that Resumed has something to give.
func Resumes() bool { return child.Left() }

// goOn is Run for a sandbox that was started already.
func (st *Start) goOn(p *sandbox.Plan, a Attendant) (Status, error) {
	t := st.taken
	held := lasting{plan: p, image: -1, claim: t.Claim, ran: true}
	defer held.close()
	prog, err := program.Compile(p)
	if err != nil {
		st.Abort()
		return Status{}, err
	}
	s := st.sandboxed()
	s.plan, s.prog, s.watch.s, s.attendant, s.child = p, prog, s, a, st.child
	defer s.close()
	var mark *audit.Mark
	if t.Tree.FD >= 0 {
		mark = audit.Taken(p.Audit.Trees[0], t.Tree.FD, t.Tree.Names, t.Tree.Clocks)
		defer mark.Close()
	}
	defer s.end()
	if err := s.rejoin(t); err != nil {
		s.kill()
		return Status{}, refusedStep(err)
	}
	status, err := s.standBy()
	if err == nil && mark != nil {
		s.audit(mark, &status)
	}
	return status, err
}

// rejoin begins to attend the sandbox where who started it has left it.
func (s *sandboxed) rejoin(t *child.Taken) error {
	var err error
	if s.signals, err = signalPipe(); err != nil {
		return err
	}
	t.Listen()
	if s.attendant != nil {
		if err := s.attendant.Begun(&Sandbox{s}); err != nil {
			return err
		}
	}
	if t.Runs {
		s.since = time.Unix(t.Since.Unix())
	} else if err := s.took(t.Signal); err != nil {
		return err
	}
	if err := s.readReport(); err != nil {
		return err
	}
	s.runs()
	if s.attendant != nil {
		if err := s.attendant.Runs(); err != nil {
			return err
		}
	}
	if t.Runs {
		return s.took(t.Signal)
	}
	return nil
}

// took acts on a signal that was taken before the Go runtime was started, 0 for none,
// and with it on those that came since: one may be a SIGCONT.
func (w *watch) took(sig unix.Signal) error {
	if sig == 0 {
		return nil
	}
	w.had = []byte{byte(sig)}
	return w.take()
}
