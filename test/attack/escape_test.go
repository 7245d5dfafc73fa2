package attack

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test"
)

var (
	escaping = flag.Bool("escape", false, "run every attack of the table, here and under the peers, and print the table (make escape)")
	peers    = flag.Bool("peers", false, "TestContests: try the peers as well")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *escaping {
		os.Exit(escape(os.Stdout))
	}
	os.Exit(m.Run())
}

// escape tries each attack in a process of its own, which is this program
// again, and prints what held: of sbx in its rows and in the contests, of the
// peers in the contests. It returns the exit status.
func escape(out io.Writer) int {
	if os.Geteuid() == 0 {
		fmt.Fprintln(out, "the attacks prove nothing as root; make escape runs them as an unprivileged account")
		return 1
	}
	var c card
	c.peers = installed()
	fmt.Fprintf(out, "%-4s%-17s", "row", "sbx")
	for _, p := range c.peers {
		fmt.Fprintf(out, "%-16s", p.name)
	}
	fmt.Fprintln(out, "attack")
	for _, a := range attacks {
		l := line{attack: a}
		if a.state == implemented {
			l.try()
		}
		c.add(l)
		fmt.Fprintf(out, "%-4d%-17s", a.n, l.sbx())
		for _, p := range c.peers {
			fmt.Fprintf(out, "%-16s", l.peer(p))
		}
		fmt.Fprintln(out, a.title)
	}
	c.report(out)
	if c.failed > 0 || c.passed == 0 {
		return 1
	}
	return 0
}

// line is an attack and how it went.
type line struct {
	attack
	tests []*trial
	err   error // the process that tries it went wrong
}

// trial is a test that was run, perhaps several times.
type trial struct {
	name   string
	status string // "PASS", "FAIL", "SKIP"; the worst of all runs
	said   []string
	parent bool
}

// try runs the rows and contests of the attack.
func (l *line) try() {
	runs := 1
	if races[l.n] {
		runs = raceRuns
	}
	all := map[string]*trial{}
	for i := range runs {
		args := []string{"-test.v", "-test.timeout=15m", "-test.run", fmt.Sprintf("^(TestAttacks|TestContests)$/^R%02d-", l.n)}
		if i == 0 {
			args = append(args, "-peers")
		} else {
			args = append(args, "-test.short") // the peers' luck is tried once
		}
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), "SBX_PENDING=1") // no excuses
		text, err := cmd.CombinedOutput()
		collect(string(text), all)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || strings.Contains(string(text), "\npanic: ") {
			l.err = fmt.Errorf("%v: %s", err, text)
			return
		}
	}
	for _, t := range all {
		if t.counts() {
			l.tests = append(l.tests, t)
		}
	}
	slices.SortFunc(l.tests, func(a, b *trial) int { return strings.Compare(a.name, b.name) })
}

var (
	startLine = regexp.MustCompile(`^=== (?:RUN|NAME|CONT)\s+(.*)$`)
	endLine   = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (.*) \([0-9.]+s\)$`)
	logLine   = regexp.MustCompile(`^    (?:    )*\w+\.go:\d+: (.*)$`)
)

// collect reads what a test program says with -test.v.
func collect(text string, all map[string]*trial) {
	get := func(name string) *trial {
		t := all[name]
		if t == nil {
			t = &trial{name: name}
			all[name] = t
			if i := strings.LastIndexByte(name, '/'); i > 0 && all[name[:i]] != nil {
				all[name[:i]].parent = true
			}
		}
		return t
	}
	said := map[string][]string{}
	current := ""
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if m := startLine.FindStringSubmatch(s.Text()); m != nil {
			current = m[1]
			get(current)
		} else if m := endLine.FindStringSubmatch(s.Text()); m != nil {
			t := get(m[2])
			rank := []string{"", "PASS", "SKIP", "FAIL"}
			if slices.Index(rank, m[1]) > slices.Index(rank, t.status) {
				t.status, t.said = m[1], said[m[2]]
			}
		} else if m := logLine.FindStringSubmatch(s.Text()); m != nil {
			said[current] = append(said[current], m[1])
		} else if n := len(said[current]); n > 0 && strings.HasPrefix(s.Text(), "        ") {
			said[current][n-1] += "\n" + strings.TrimSpace(s.Text())
		}
	}
}

// counts says that a trial tried something itself. A row does beside its
// control; but it also fails when that does.
func (t *trial) counts() bool {
	if !t.parent {
		return strings.Contains(t.name, "/")
	}
	return strings.HasPrefix(t.name, "TestAttacks/") && (t.status != "FAIL" || len(t.said) > 0)
}

// control says that a trial failed only in showing that its probe works.
func (t *trial) control() bool {
	if strings.HasSuffix(t.name, "/control") {
		return true
	}
	found := false
	for _, s := range t.said {
		switch {
		case strings.HasPrefix(s, "control:"):
			found = true
		case strings.HasPrefix(s, "stderr:"):
		default:
			return false
		}
	}
	return found
}

// peerOf is the tool that a trial tries, "sbx" for all but a contest's.
func (t *trial) peerOf() string {
	if name := t.name[strings.LastIndexByte(t.name, '/')+1:]; strings.HasPrefix(t.name, "TestContests/") && name != "control" {
		return name
	}
	return "sbx"
}

// of are the trials of one tool.
func (l *line) of(tool string) (list []*trial) {
	for _, t := range l.tests {
		if t.peerOf() == tool {
			list = append(list, t)
		}
	}
	return list
}

func (l *line) sbx() string {
	if l.state != implemented {
		return string(l.state)
	}
	failed, controls, passed := 0, 0, 0
	for _, t := range l.of("sbx") {
		switch {
		case t.status == "PASS":
			passed++
		case t.status == "FAIL" && t.control():
			controls++
		case t.status != "SKIP":
			failed++
		}
	}
	switch {
	case l.err != nil:
		return "did not run"
	case failed > 0:
		return "NOT HELD"
	case controls > 0:
		return "control failed"
	case len(l.of("sbx")) == 0 && len(elsewhere[l.n]) > 0:
		return inSuite
	case len(l.of("sbx")) == 0:
		return "NO ROW"
	case passed == 0:
		return "skipped"
	}
	return "held"
}

// inSuite stands for an attack that only make test tries, in a network of its own.
const inSuite = "make test"

func (l *line) peer(p peer) string {
	trials := l.of(p.name)
	if p.missing != "" || len(trials) == 0 {
		return "-"
	}
	out := "-"
	for _, t := range trials {
		switch t.status {
		case "FAIL":
			if !slices.ContainsFunc(t.said, func(s string) bool { return strings.HasPrefix(s, didNotRun) }) {
				return "NOT HELD"
			}
			out = "did not run"
		case "PASS":
			if out != "did not run" {
				out = "held"
			}
		case "SKIP":
			if out == "-" {
				out = "n/a"
			}
		}
	}
	if l.sbx() == "control failed" {
		return "control failed"
	}
	return out
}

// card is the whole table.
type card struct {
	peers                   []peer
	lines                   []line
	passed, failed, skipped int
}

func (c *card) add(l line) {
	c.lines = append(c.lines, l)
	if l.err != nil {
		c.failed++
	}
	if l.err == nil && l.sbx() == "NO ROW" {
		c.failed++
	}
	for _, t := range l.of("sbx") {
		switch {
		case t.status == "PASS":
			c.passed++
		case t.status == "SKIP" && (!test.MustWork() || test.Allowed(strings.Join(t.said, "\n"))):
			c.skipped++
		default:
			c.failed++
		}
	}
}

// report prints what went wrong, what the peers were given, and the sums.
func (c *card) report(out io.Writer) {
	fmt.Fprintf(out, "\nRows of attacks that are won by luck (%s) ran %d times. held: every probe failed, and its control\nsucceeded without a sandbox. make test: tried there alone, in a network\nof its own. -: not compared, or the tool is not there. n/a: the tool has no such thing.\n", numbers(races), raceRuns)
	for _, l := range c.lines {
		if l.err != nil {
			fmt.Fprintf(out, "\nrow %d did not run: %v\n", l.n, l.err)
		}
		for _, t := range l.tests {
			if t.status == "FAIL" && t.peerOf() == "sbx" {
				fmt.Fprintf(out, "\nsbx, %s:\n\t%s\n", t.name, strings.ReplaceAll(strings.Join(t.said, "\n"), "\n", "\n\t"))
			}
		}
	}
	first := true
	for _, l := range c.lines {
		for _, t := range l.tests {
			if t.status == "PASS" || t.peerOf() == "sbx" && t.status == "FAIL" {
				continue
			}
			if first {
				fmt.Fprint(out, "\nWhat did not hold elsewhere, and what was left out:\n")
				first = false
			}
			fmt.Fprintf(out, "  row %d, %s: %s: %s\n", l.n, t.peerOf(), strings.ReplaceAll(t.what(), "_", " "), strings.ReplaceAll(strings.Join(t.said, "; "), "\n", " | "))
		}
	}
	for _, p := range c.peers {
		if p.missing != "" {
			fmt.Fprintf(out, "\n%s: %s\n", p.name, p.missing)
			continue
		}
		fmt.Fprintf(out, "\n%s, %s, was started by\n  %s\n", p.name, p.version, p.shown())
	}
	sums := []string{}
	rate := func(name string, of func(l *line) string) {
		held, all := 0, 0
		for i := range c.lines {
			l := &c.lines[i]
			switch of(l) {
			case "held":
				held, all = held+1, all+1
			case "-", "n/a", "skipped", inSuite, string(l.state):
			default:
				all++
			}
		}
		sums = append(sums, fmt.Sprintf("%s %d/%d", name, held, all))
	}
	rate("sbx", (*line).sbx)
	for _, p := range c.peers {
		if p.missing == "" {
			rate(p.name, func(l *line) string { return l.peer(p) })
		}
	}
	later := 0
	for _, l := range c.lines {
		if l.state != implemented {
			later++
		}
	}
	fmt.Fprintf(out, "\nrows held: %s; %d of %d are still to come or documented\n", strings.Join(sums, ", "), later, len(c.lines))
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
}

// what is the part of a trial's name that says what was tried.
func (t *trial) what() string {
	parts := strings.Split(t.name, "/")
	if t.peerOf() != "sbx" {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts[1:], "/")
}

func numbers(set map[int]bool) string {
	var names []string
	for n := range set {
		names = append(names, fmt.Sprint(n))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// TestCollect holds the reader of the test program's own output.
func TestCollect(t *testing.T) {
	all := map[string]*trial{}
	text := "=== RUN   TestAttacks\n=== RUN   TestAttacks/R01-x\n=== RUN   TestAttacks/R01-x/a\n=== RUN   TestAttacks/R01-x/a/control\n" +
		"    a_test.go:12: without sbx the probe says\n        x\n=== NAME  TestAttacks/R01-x/a\n    a_test.go:3: stderr: y\n" +
		"--- FAIL: TestAttacks (0.10s)\n    --- FAIL: TestAttacks/R01-x (0.10s)\n        --- FAIL: TestAttacks/R01-x/a (0.10s)\n            --- FAIL: TestAttacks/R01-x/a/control (0.00s)\nFAIL\n"
	collect(text, all)
	collect("=== RUN   TestAttacks\n=== RUN   TestAttacks/R01-x\n=== RUN   TestAttacks/R01-x/b\n    b_test.go:1: control: none\n--- FAIL: TestAttacks (0.1s)\n    --- PASS: TestAttacks/R01-x (0.1s)\n        --- FAIL: TestAttacks/R01-x/b (0.00s)\n", all)
	leaf, b := all["TestAttacks/R01-x/a/control"], all["TestAttacks/R01-x/b"]
	if len(all) != 5 || leaf == nil || leaf.parent || leaf.status != "FAIL" || !leaf.control() || len(leaf.said) != 1 || leaf.said[0] != "without sbx the probe says\nx" {
		t.Errorf("it read %d trials, the control as %+v", len(all), leaf)
	}
	if b == nil || b.status != "FAIL" || !b.control() || !all["TestAttacks/R01-x"].parent {
		t.Errorf("it read %+v", b)
	}
	b.said = append(b.said, "inside it says x")
	if b.control() {
		t.Error("a failure inside passes for one of the control")
	}
}
