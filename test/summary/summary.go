package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// event is a line of go test -json; see go doc test2json and go help buildjson.
type event struct {
	Action      string
	Package     string  `json:",omitempty"`
	ImportPath  string  `json:",omitempty"` // instead of Package while building
	Test        string  `json:",omitempty"`
	Elapsed     float64 `json:",omitempty"` // seconds
	Output      string  `json:",omitempty"`
	FailedBuild string  `json:",omitempty"` // the ImportPath whose build failed
}

// result is a test, or a package where name is empty.
type result struct {
	pkg, name string
	status    string // "", "pass", "fail", "skip"
	seconds   float64
	output    []string
	parent    bool // has subtests, which are counted in its stead
	fault     bool // one of its subtests failed
}

func (r *result) String() string {
	if r.name == "" {
		return r.pkg
	}
	return short(r.pkg) + " " + r.name
}

func short(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/sbx-sandbox/sbx/")
}

type summary struct {
	out     io.Writer
	allowed func(reason string) bool
	said    bool // print what tests that pass log

	running map[string]*result // by package and test; the tests of a package until it ends
	builds  map[string][]string
	passed  int
	failed  int
	skipped int
	slow    []*result
	skips   []*result
	faults  []*result
	notes   []string // failures that belong to no test
}

func newSummary(out io.Writer, allowed func(string) bool) *summary {
	return &summary{out: out, allowed: allowed, running: map[string]*result{}, builds: map[string][]string{}}
}

// read takes events until r ends. A line that is no event is printed as it is.
func (s *summary) read(r io.Reader) error {
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				s.take(e)
			} else {
				fmt.Fprint(s.out, line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event) {
	switch e.Action {
	case "build-output":
		s.builds[e.ImportPath] = append(s.builds[e.ImportPath], e.Output)
	case "output":
		r := s.get(e.Package, e.Test)
		r.output = append(r.output, e.Output)
	case "run":
		s.get(e.Package, e.Test)
		if i := strings.LastIndexByte(e.Test, '/'); i > 0 {
			s.get(e.Package, e.Test[:i]).parent = true
		}
	case "pass", "fail", "skip":
		r := s.get(e.Package, e.Test)
		r.status, r.seconds = e.Action, e.Elapsed
		switch {
		case e.Package == "checks":
			s.endTest(r)
			fmt.Fprintf(s.out, "%-4s %s (%.1fs)\n", r.status, r.name, r.seconds)
			delete(s.running, key(e.Package, e.Test))
		case e.Test == "":
			s.endPackage(r, e.FailedBuild)
		default:
			s.endTest(r)
		}
	}
}

func key(pkg, test string) string { return pkg + "\x00" + test }

func (s *summary) get(pkg, test string) *result {
	r := s.running[key(pkg, test)]
	if r == nil {
		r = &result{pkg: pkg, name: test}
		s.running[key(pkg, test)] = r
	}
	return r
}

// endTest counts a test. One with subtests is counted through them, unless
// something of its own happened.
func (s *summary) endTest(r *result) {
	switch r.status {
	case "fail":
		if i := strings.LastIndexByte(r.name, '/'); i > 0 {
			s.get(r.pkg, r.name[:i]).fault = true
		}
		if r.parent && r.fault {
			return
		}
		s.fail(r)
	case "skip":
		s.skips = append(s.skips, r)
		if s.allowed(reason(r)) {
			s.skipped++
			return
		}
		s.failed++
	case "pass":
		s.log(r)
		if r.parent {
			return
		}
		s.passed++
		s.slow = append(s.slow, r)
	}
}

// log prints what a test that passed has logged, without file and line.
func (s *summary) log(r *result) {
	if !s.said {
		return
	}
	for _, line := range r.output {
		line = strings.TrimSpace(line)
		if at := place.FindString(line); at != "" {
			fmt.Fprintf(s.out, "     %s: %s\n", r.name, line[len(at):])
		}
	}
}

func (s *summary) fail(r *result) {
	s.failed++
	s.faults = append(s.faults, r)
	fmt.Fprintf(s.out, "\nFAIL %s (%.1fs)\n", r, r.seconds)
	for _, line := range r.output {
		fmt.Fprint(s.out, "\t", line)
	}
	fmt.Fprintln(s.out)
}

// endPackage ends what ran in a package. A package can fail without a test
// that does: it did not build, panicked, or ran out of time.
func (s *summary) endPackage(pkg *result, build string) {
	var unfinished []*result
	fault := false
	tests := 0
	for k, r := range s.running {
		if r.pkg != pkg.pkg {
			continue
		}
		delete(s.running, k)
		if r == pkg {
			continue
		}
		tests++
		fault = fault || r.status == "fail"
		if r.status == "" {
			unfinished = append(unfinished, r)
		}
	}
	if pkg.status != "skip" || tests > 0 {
		fmt.Fprintf(s.out, "%-4s %s (%.1fs)\n", pkg.status, short(pkg.pkg), pkg.seconds)
	}
	if pkg.status != "fail" {
		return
	}
	slices.SortFunc(unfinished, func(a, b *result) int { return cmp.Compare(a.name, b.name) })
	for _, r := range unfinished {
		if r.parent {
			continue
		}
		r.output = append(r.output, "did not finish\n")
		s.fail(r)
		fault = true
	}
	if build != "" {
		pkg.output = append(s.builds[build], pkg.output...)
	}
	if !fault {
		s.fail(pkg)
	} else if len(unfinished) > 0 {
		fmt.Fprint(s.out, strings.Join(pkg.output, "")) // the panic's goroutines
	}
}

// broken records a failure of the run itself.
func (s *summary) broken(why string) {
	s.failed++
	s.notes = append(s.notes, why)
}

// report prints the end and tells whether all is well.
func (s *summary) report() bool {
	var left []string
	for _, r := range s.running {
		left = append(left, r.pkg)
	}
	slices.Sort(left)
	for _, pkg := range slices.Compact(left) {
		s.broken(pkg + ": the events end before the package does")
	}
	if s.passed+s.failed+s.skipped == 0 {
		s.broken("no test ran")
	}

	fmt.Fprintln(s.out, "\nslowest:")
	slices.SortStableFunc(s.slow, func(a, b *result) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, r := range s.slow[:min(10, len(s.slow))] {
		fmt.Fprintf(s.out, "%8.2fs %s\n", r.seconds, r)
	}
	if len(s.skips) > 0 {
		fmt.Fprintln(s.out, "\nskipped:")
		for _, r := range s.skips {
			mark := ""
			if !s.allowed(reason(r)) {
				mark = " [FAIL: SBX_MUST_WORK=1 and not in test/allowed-skips.txt]"
			}
			fmt.Fprintf(s.out, "  %s: %s%s\n", r, reason(r), mark)
		}
	}
	if len(s.faults) > 0 { // last: a log may be read from its end
		fmt.Fprintln(s.out, "\nfailed:")
		for _, r := range s.faults {
			fmt.Fprintf(s.out, "  %s: %s\n", r, reason(r))
		}
	}
	for _, n := range s.notes {
		fmt.Fprintln(s.out, "\nFAIL", n)
	}
	fmt.Fprintf(s.out, "\n%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return s.failed == 0
}

var (
	script = regexp.MustCompile(`^> (?:\[[^\]]*\] )*skip '(.*)'$`)
	place  = regexp.MustCompile(`^[\w.-]+\.go:\d+: `)
	chrome = regexp.MustCompile(`^(=== (RUN|PAUSE|CONT|NAME)|--- (SKIP|FAIL|PASS)|FAIL\b|exit status)`)
)

// reason is what a test that was skipped, or failed, said last, without the file and line. A
// testscript prints its lines up to the one that skips.
func reason(r *result) string {
	for _, line := range slices.Backward(r.output) {
		line = strings.TrimSpace(line)
		if line == "" || chrome.MatchString(line) {
			continue
		}
		if m := script.FindStringSubmatch(line); m != nil {
			return m[1]
		}
		return place.ReplaceAllString(line, "")
	}
	return "no reason given"
}
