package launch

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/audit"
)

// auditLines is how many findings are printed one by one.
const auditLines = 20

// audited is what --json-errors prints of an audit that found something.
type audited struct {
	Schema int           `json:"schema"`
	Code   int           `json:"code"`
	Errors []cli.Problem `json:"errors"`
	Audit  *audit.Report `json:"audit"`
}

// reportAudit prints what an audit found, and gives the exit status: that of the
// command, unless it is 0 and the profile has it that findings are a failure.
func reportAudit(inv *cli.Invocation, mode sandbox.AuditMode, r *audit.Report, code int, quiet bool) int {
	if r == nil || len(r.Findings) == 0 && len(r.Incomplete) == 0 {
		return code
	}
	if mode == sandbox.AuditFail && code == 0 && r.Fails() {
		code = cli.ExitAudit
	}
	if inv.JSONErrs {
		x := audited{Schema: 1, Code: code, Errors: []cli.Problem{}, Audit: r}
		if code == cli.ExitAudit && mode == sandbox.AuditFail {
			p := inv.At("workspace.audit")
			p.Reason, p.Fix = auditHead(r), auditFix
			x.Errors = append(x.Errors, p)
		}
		text, _ := json.Marshal(x) // plain data
		fmt.Fprintf(inv.Err, "%s\n", screen.Escape(text))
		return code
	}
	if quiet && code != cli.ExitAudit {
		return code
	}
	auditText(inv, r)
	return code
}

const auditFix = "look at them before you go on in that directory; sbx explain says what is looked for"

// auditHead is the audit in a line.
func auditHead(r *audit.Report) string {
	n := len(r.Findings) + r.More
	grave := 0
	for i := range r.Findings {
		if r.Findings[i].Fails() {
			grave++
		}
	}
	s := "no file that the host runs later was found new or changed"
	if n > 0 {
		s = fmt.Sprintf("%d new or changed places that the host runs later or takes orders from", n)
		if n == 1 {
			s = "a new or changed place that the host runs later or takes orders from"
		}
		if more := n - grave; more > 0 && grave > 0 {
			s += fmt.Sprintf(", %d of them as builds make", more)
		} else if grave == 0 {
			s += ", as builds make"
		}
	}
	if len(r.Incomplete) > 0 {
		s += "; not all was looked at"
	}
	return s
}

// auditText prints the findings: what builds make in a line for each class and
// topmost directory, the rest one by one.
func auditText(inv *cli.Invocation, r *audit.Report) {
	say := func(format string, args ...any) {
		fmt.Fprintf(inv.Err, "%s %s\n", screen.Paint(inv.Err, screen.Yellow, "sbx: audit:"), screen.Printable(fmt.Sprintf(format, args...)))
	}
	say("%s", auditHead(r))
	left := 0
	for i, s := range auditList(r.Findings) {
		if i < auditLines {
			say("  %s", s)
		} else {
			left++
		}
	}
	if left += r.More; left > 0 {
		say("  and %d more; --json-errors lists them all", left)
	}
	for _, s := range r.Incomplete {
		say("  not looked at: %s", screen.Near(s))
	}
}

// auditList is a line for each finding, but of what builds make one for all
// that is in the same topmost directory.
func auditList(findings []audit.Finding) []string {
	var out, tops []string
	made := map[string][]*audit.Finding{}
	for i := range findings {
		f := &findings[i]
		if f.Fails() {
			out = append(out, auditLine(f))
			continue
		}
		top := screen.Near(f.Path)
		if at := strings.IndexByte(top[1:], '/'); at >= 0 {
			top = top[:at+2]
		}
		if made[top] = append(made[top], f); len(made[top]) == 1 {
			tops = append(tops, top)
		}
	}
	for _, top := range tops {
		if len(made[top]) == 1 {
			out = append(out, auditLine(made[top][0]))
			continue
		}
		out = append(out, fmt.Sprintf("%d in %s  (%s)", len(made[top]), screen.Quoted(top), classes(made[top])))
	}
	return out
}

// classes counts findings by their class.
func classes(list []*audit.Finding) string {
	count := map[string]int{}
	for _, f := range list {
		count[f.Class]++
	}
	var out []string
	for _, c := range slices.Sorted(maps.Keys(count)) {
		out = append(out, fmt.Sprintf("%s: %d", c, count[c]))
	}
	return strings.Join(out, ", ")
}

func auditLine(f *audit.Finding) string {
	s := fmt.Sprintf("%-7s  %s", f.Change, screen.Quoted(screen.Near(f.Path)))
	if f.Alike != "" {
		s += ", which some take for " + f.Alike
	}
	if f.Files > 1 {
		s += fmt.Sprintf(", %d files", f.Files)
	}
	return s + fmt.Sprintf("  (%s: %s)", f.Class, f.Who)
}
