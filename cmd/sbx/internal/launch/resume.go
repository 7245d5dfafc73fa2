package launch

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/explanation"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/sandbox/supervise"
)

// keeps says whether the start of a run may be kept for the next one of the same
// call: nobody is told of it, and nothing comes after it.
func keeps(inv *cli.Invocation, ref string, o *options.Options) bool {
	l := o.Life
	_, passed := os.LookupEnv("LISTEN_PID")
	switch {
	case ref == "-", passed, inv.Verb == nil, inv.Back != nil, o.Named() != "", os.Getenv("SBX_KEEP") == "off":
		return false
	case l == nil: // a plain run, of a wrapped program's
		return inv.Verb.Name == options.ShimVerb
	case inv.Verb.Name != options.RunVerb:
		return false
	}
	return !l.Detach && l.Remove == "" && l.Cidfile == "" && l.Pidfile == "" && l.StatusFD < 0 && !l.Notifies() &&
		len(l.Labels) == 0 && l.Restart == (supervise.Policy{})
}

// Resumes says whether a sandbox was started from what was kept, and nobody has gone on
// with it yet: Start does.
func Resumes() bool { return run.Resumes() }

// startsBase is where starts are kept: only in the runtime directory, which the system
// empties when the user has logged out.
func startsBase() (string, error) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.Dir(state.Base()) != dir {
		return "", errors.New("there is no runtime directory")
	}
	s, err := state.Open()
	if err != nil {
		return "", err
	}
	return s.Path(), nil
}

// resume goes on with a sandbox that was started from what was kept, where somebody
// has to do or say something about it. Its plan is what was kept with it; the profile
// only helps to say where a key was set, and may have changed meanwhile.
func resume(inv *cli.Invocation, ref string, argv []string, o *options.Options, begun *run.Start, plan *sandbox.Plan) error {
	r := &decision.Run{Invocation: inv, Called: plan.Name, Ref: ref}
	r.Step = decision.Step{Phase: plan.Phase, Argv: argv, Given: len(argv) > 0, Last: true, Only: true}
	if prof, err := inv.Load(ref); err == nil {
		r.Called = prof.Name
		if list, err := decision.Steps(o, prof, argv); err == nil && len(list) == 1 {
			if _, own, err := r.Prepare(list[0], o); err == nil {
				o = own
			}
		}
	}
	inv.Silent = o.Quiet || o.JSONErrs
	err := supervised(r, begun, plan, o)
	if err == nil {
		explanation.Remember(r, o, inv.Status)
	}
	return err
}
