package explanation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/nets"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/refusal"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// RefusedText is the first of a kind as a line, with what would allow it.
func RefusedText(e refusal.Entry, p *sandbox.Plan, at func(key string) string) string {
	s := "denied: " + e.Text()
	switch {
	case e.Key == refusal.KeyDeny:
		return s + " [" + strings.TrimSpace(e.Key+" "+at(e.Key)) + "]"
	case e.Add != "":
		return s + "; to allow it: " + e.Add + nets.OwnFile(p)
	}
	return s
}

// ProfileAt is where the run's profile sets a key.
func ProfileAt(inv *cli.Invocation, key string) string { return (&subject{prof: inv.Profile}).at(key) }

// unexpected says that among refused calls are some that programs do not do without.
func unexpected(list []refusal.Entry) bool {
	return slices.ContainsFunc(list, func(e refusal.Entry) bool { return !e.Expected })
}

// refusedCall is an answer to a call that the filter refused.
func (s *subject) refusedCall(e refusal.Entry) answer {
	a := answer{What: e.What(), Kind: "call", State: "denied", Why: e.Why, Key: e.Key, Add: e.Add}
	if e.Errno != "" {
		a.State = "denied with " + e.Errno
	}
	if e.Count > 1 {
		a.State += fmt.Sprintf(" %d times", e.Count)
	}
	if e.Expected {
		a.Why += "; programs do without it"
	}
	a.At = s.at(a.Key)
	return a
}

// refusedIn are the refused calls of a recorded sandbox; none if it is not traced.
func refusedIn(r *state.Record, plan *sandbox.Plan) ([]refusal.Entry, error) {
	if !plan.Security.Seccomp.Trace {
		return nil, nil
	}
	var list []refusal.Entry
	text, err := sandboxes.RefusedCalls(r)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("reading what was refused to %s: %w", r.Name, err)
	}
	return list, nil
}
