package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/audit"
)

// exitAudit is the status of a command that succeeded and left files that the
// host runs later, where the profile has workspace.audit = "fail".
const exitAudit = 3

// auditLines is how many findings are printed one by one.
const auditLines = 20

// audited is what --json-errors prints of an audit that found something.
type audited struct {
	Schema int           `json:"schema"`
	Code   int           `json:"code"`
	Errors []problem     `json:"errors"`
	Audit  *audit.Report `json:"audit"`
}

// audit prints what an audit found, and gives the exit status: that of the
// command, unless it is 0 and the profile has it that findings are a failure.
func (inv *invocation) audit(mode sandbox.AuditMode, r *audit.Report, code int, quiet bool) int {
	if r == nil || len(r.Findings) == 0 && len(r.Incomplete) == 0 {
		return code
	}
	if mode == sandbox.AuditFail && code == 0 && r.Fails() {
		code = exitAudit
	}
	if inv.jsonErrs {
		x := audited{Schema: 1, Code: code, Errors: []problem{}, Audit: r}
		if code == exitAudit && mode == sandbox.AuditFail {
			p := inv.at("workspace.audit")
			p.Reason, p.Fix = auditHead(r), auditFix
			x.Errors = append(x.Errors, p)
		}
		text, _ := json.Marshal(x) // plain data
		fmt.Fprintf(inv.err, "%s\n", escape(text))
		return code
	}
	if quiet && code != exitAudit {
		return code
	}
	inv.auditText(r)
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
func (inv *invocation) auditText(r *audit.Report) {
	say := func(format string, args ...any) {
		fmt.Fprintf(inv.err, "%s %s\n", paint(inv.err, yellow, "sbx: audit:"), printable(fmt.Sprintf(format, args...)))
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
		say("  not looked at: %s", near(s))
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
		top := near(f.Path)
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
		out = append(out, fmt.Sprintf("%d in %s  (%s)", len(made[top]), quoted(top), classes(made[top])))
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
	s := fmt.Sprintf("%-7s  %s", f.Change, quoted(near(f.Path)))
	if f.Alike != "" {
		s += ", which some take for " + f.Alike
	}
	if f.Files > 1 {
		s += fmt.Sprintf(", %d files", f.Files)
	}
	return s + fmt.Sprintf("  (%s: %s)", f.Class, f.Who)
}

// quoted is a path whose end can be seen: one with spaces, or with what is not
// printed as it is, in quotes.
func quoted(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || unsafe(r) || ignorable(r) }) {
		return fmt.Sprintf("%+q", path)
	}
	return path
}

// ignorable are marks that a terminal does not show.
func ignorable(r rune) bool {
	return r == 0xad || r >= 0x200b && r <= 0x200f || r >= 0x2060 && r <= 0x206f || r == 0xfeff || r == 0xfffd
}

// audit says what is protected, and what is looked for afterwards.
func (pg page) audit() {
	pg.section("what the host runs later")
	n := 0
	for _, m := range pg.plan.Mounts {
		if m.Kind == sandbox.Guard && m.ReadOnly && strings.HasPrefix(m.From, "workspace.protect") {
			n++
		}
	}
	pg.line("workspace.protect", "protected, since it is there: %d of the workspace's files and directories, see files", n)
	a := &pg.plan.Audit
	switch {
	case a.Mode == sandbox.AuditOff:
		pg.line("workspace.audit", "nothing is looked for afterwards")
		return
	case len(a.Trees) == 0:
		pg.line("workspace.audit", "nothing of the host's can be written, so nothing is looked for afterwards")
		return
	}
	what := "reported"
	if a.Mode == sandbox.AuditFail {
		what = fmt.Sprintf("reported, and exit status %d if the command's own is 0", exitAudit)
	}
	for _, t := range a.Trees {
		pg.line("workspace.audit", "new or changed afterwards in %s: %s", t.Source, what)
	}
	pg.line("", "looked for by name: repositories, settings of version control, shells, editors, agents, packages, builds; the list can't be complete")
	pg.line("", "not seen: what is deleted, and what programs run that is on no list")
}
