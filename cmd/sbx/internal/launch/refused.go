package launch

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/explanation"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/refusal"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

// refusedLines is how many refused system calls have a line while the command
// runs; it may call itself by as many names as it likes.
const refusedLines = 64

// trace has what the plan's filter refuses reported while the command runs, if the
// plan says so.
func trace(inv *decision.Run, begun *run.Start, plan *sandbox.Plan) error {
	inv.Refusals = nil
	if !plan.Security.Seccomp.Trace {
		return nil
	}
	prof := &inv.Profile.Security
	p, err := resolve.Policy(prof, plan.Security.Keep)
	if err != nil {
		return err
	}
	without := *prof
	without.SeccompDeny = nil
	before, err := resolve.Policy(&without, plan.Security.Keep)
	if err != nil {
		return err
	}
	inv.Refusals = refusal.New(p, before)
	begun.Refused = refusedEvents(inv, plan)
	return nil
}

// refusedEvents counts refused calls, and prints the first of each kind.
func refusedEvents(inv *decision.Run, plan *sandbox.Plan) func(refusal.Call, bool) {
	lines, blocked := 0, false // nobody has read standard error
	return func(c refusal.Call, raw bool) {
		e, first := inv.Refusals.Add(c, time.Now())
		if !first || e.Expected || inv.Silent || lines > refusedLines || blocked {
			return
		}
		text := explanation.RefusedText(e, plan, func(key string) string { return explanation.ProfileAt(inv.Invocation, key) })
		if lines++; lines > refusedLines {
			text = "denied: more system calls are counted, and named by sbx why"
		}
		blocked = !during(inv, text, raw)
	}
}

// refusedJSON are the refused calls of the sandbox that runs, for its supervisor.
func refusedJSON(inv *decision.Run) json.RawMessage {
	if inv.Refusals == nil {
		return nil
	}
	text, _ := json.Marshal(inv.Refusals.Entries()) // plain data
	return text
}

// tracedCalls is what --json-errors prints of a run whose filter refused calls.
type tracedCalls struct {
	Schema int             `json:"schema"`
	Code   int             `json:"code"`
	Errors []cli.Problem   `json:"errors"`
	Calls  []refusal.Entry `json:"denied_calls"`
}

// sumUp says what the filter refused in all, once the command has ended.
func sumUp(inv *decision.Run, code int, quiet bool) {
	if inv.Refusals == nil {
		return
	}
	list := inv.Refusals.Entries()
	inv.Calls = append(inv.Calls, list...)
	if inv.JSONErrs {
		text, _ := json.Marshal(tracedCalls{Schema: 1, Code: code, Errors: []cli.Problem{}, Calls: list}) // plain data
		fmt.Fprintf(inv.Err, "%s\n", screen.Escape(text))
		return
	}
	if text := refusal.Summary(list); text != "" && !quiet {
		inv.Lately("%s", text)
	}
}
