package launch

import (
	"fmt"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// checkSteps refuses what is about one sandbox where there are several.
func checkSteps(l *options.Life, list []decision.Step) error {
	if l == nil || len(list) < 2 {
		return nil
	}
	for _, x := range []struct {
		set  bool
		flag string
	}{{l.Detach, "--detach"}, {l.Cidfile != "", "--cidfile"}, {l.Remove == "false", "--rm=false"}} {
		if x.set {
			return cli.Usagef("%s is about one sandbox, and this profile runs %d phases; name one with --phase=%s", x.flag, len(list), list[len(list)-1].Phase)
		}
	}
	return nil
}

// runSteps runs them in order, until one fails. What an overlay keeps is common
// to all of them.
func runSteps(inv *decision.Run, list []decision.Step, o *options.Options, adjust func(*sandbox.Plan)) error {
	if err := checkSteps(o.Life, list); err != nil {
		return err
	}
	inv.Sockets = host.FindPassed()
	for i, s := range list {
		err := runStep(inv, s, o, adjust)
		if (err != nil || inv.Status != 0) && !s.Only && !inv.Silent {
			inv.Lately("%s", failedPhase(list, i, err, inv.Status))
		}
		if err != nil || inv.Status != 0 {
			return err
		}
	}
	return nil
}

// failedPhase says which phase failed, and what was not run therefore.
func failedPhase(list []decision.Step, at int, err error, status int) string {
	text := fmt.Sprintf("the phase %s ended with status %d", list[at].Phase, status)
	if err != nil {
		text = "the phase " + list[at].Phase + " failed"
	}
	var rest []string
	for _, s := range list[at+1:] {
		rest = append(rest, s.Phase)
	}
	if len(rest) > 0 {
		text += "; not run: " + strings.Join(rest, ", ")
	}
	return text
}
