package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestSaid(t *testing.T) {
	events := []event{
		{Action: "output", Package: "p", Test: "A/x", Output: "=== RUN A/x\n"}, {Action: "output", Package: "p", Test: "A/x", Output: "    a_test.go:3: 12 faults\n"},
		{Action: "output", Package: "p", Test: "A/x", Output: "other words\n"}, {Action: "pass", Package: "p", Test: "A/x"},
	}
	for _, said := range []bool{false, true} {
		var out bytes.Buffer
		s := newSummary(&out, func(string) bool { return true })
		s.said = said
		for _, e := range events {
			s.take(e)
		}
		want := map[bool]string{true: "     A/x: 12 faults\n"}[said]
		if out.String() != want {
			t.Errorf("said %v: %q, want %q", said, out.String(), want)
		}
	}
}

func TestSummary(t *testing.T) {
	none := func(string) bool { return false }
	all := func(string) bool { return true }
	for _, tt := range []struct {
		name    string
		events  []event
		allowed func(string) bool
		last    string
		good    bool
		says    string // part of the text before the last line
	}{
		{
			name:    "nothing ran",
			allowed: all,
			last:    "0 passed, 1 failed, 0 skipped",
			says:    "no test ran",
		},
		{
			name:    "package without tests is not a test",
			events:  []event{{Action: "start", Package: "p"}, {Action: "skip", Package: "p"}},
			allowed: all,
			last:    "0 passed, 1 failed, 0 skipped",
		},
		{
			name: "subtests count, their parent doesn't",
			events: []event{
				{Action: "run", Package: "p", Test: "A"}, {Action: "run", Package: "p", Test: "A/x"}, {Action: "run", Package: "p", Test: "A/y"},
				{Action: "pass", Package: "p", Test: "A/x"}, {Action: "pass", Package: "p", Test: "A/y"}, {Action: "pass", Package: "p", Test: "A"},
				{Action: "pass", Package: "p"},
			},
			allowed: all,
			last:    "2 passed, 0 failed, 0 skipped",
			good:    true,
		},
		{
			name: "failing subtest is one failure",
			events: []event{
				{Action: "run", Package: "p", Test: "A"}, {Action: "run", Package: "p", Test: "A/x"},
				{Action: "output", Package: "p", Test: "A/x", Output: "a_test.go:3: wrong\n"},
				{Action: "fail", Package: "p", Test: "A/x"}, {Action: "fail", Package: "p", Test: "A"}, {Action: "fail", Package: "p"},
			},
			allowed: all,
			last:    "0 passed, 1 failed, 0 skipped",
			says:    "\nfailed:\n  p A/x: wrong\n\n0 passed",
		},
		{
			name: "parent failing by itself",
			events: []event{
				{Action: "run", Package: "p", Test: "A"}, {Action: "run", Package: "p", Test: "A/x"},
				{Action: "pass", Package: "p", Test: "A/x"}, {Action: "fail", Package: "p", Test: "A"}, {Action: "fail", Package: "p"},
			},
			allowed: all,
			last:    "1 passed, 1 failed, 0 skipped",
		},
		{
			name: "build failure",
			events: []event{
				{Action: "build-output", ImportPath: "p [p.test]", Output: "p.go:1: undefined: x\n"},
				{Action: "build-fail", ImportPath: "p [p.test]"},
				{Action: "start", Package: "p"}, {Action: "fail", Package: "p", FailedBuild: "p [p.test]"},
			},
			allowed: all,
			last:    "0 passed, 1 failed, 0 skipped",
			says:    "undefined: x",
		},
		{
			name: "test that never finished",
			events: []event{
				{Action: "run", Package: "p", Test: "A"}, {Action: "output", Package: "p", Output: "panic: test timed out\n"}, {Action: "fail", Package: "p"},
			},
			allowed: all,
			last:    "0 passed, 1 failed, 0 skipped",
			says:    "did not finish",
		},
		{
			name:    "truncated events",
			events:  []event{{Action: "run", Package: "p", Test: "A"}, {Action: "pass", Package: "p", Test: "A"}},
			allowed: all,
			last:    "1 passed, 1 failed, 0 skipped",
			says:    "the events end before",
		},
		{
			name:    "skip that is allowed",
			events:  skip,
			allowed: func(r string) bool { return r == "needs x: y" },
			last:    "0 passed, 0 failed, 1 skipped",
			good:    true,
			says:    "p A: needs x: y",
		},
		{
			name:    "skip that is not",
			events:  skip,
			allowed: none,
			last:    "0 passed, 1 failed, 0 skipped",
			says:    "SBX_MUST_WORK",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var in, out bytes.Buffer
			for _, e := range tt.events {
				if err := json.NewEncoder(&in).Encode(e); err != nil {
					t.Fatal(err)
				}
			}
			s := newSummary(&out, tt.allowed)
			if err := s.read(&in); err != nil {
				t.Fatal(err)
			}
			good := s.report()
			text := strings.TrimSuffix(out.String(), "\n")
			last := text[strings.LastIndexByte(text, '\n')+1:]
			if last != tt.last || good != tt.good || !strings.Contains(text, tt.says) {
				t.Errorf("good = %v, last line %q in\n%s\nwant %v, %q, and %q in it", good, last, text, tt.good, tt.last, tt.says)
			}
		})
	}
}

var skip = []event{
	{Action: "run", Package: "p", Test: "A"},
	{Action: "output", Package: "p", Test: "A", Output: "=== RUN   A\n"},
	{Action: "output", Package: "p", Test: "A", Output: "    a_test.go:7: needs x: y\n"},
	{Action: "output", Package: "p", Test: "A", Output: "--- SKIP: A (0.00s)\n"},
	{Action: "skip", Package: "p", Test: "A"},
	{Action: "pass", Package: "p"},
}

func TestReason(t *testing.T) {
	for _, tt := range []struct {
		name   string
		output []string
		want   string
	}{
		{"none", []string{"=== RUN   A\n", "--- SKIP: A (0.00s)\n"}, "no reason given"},
		{"go test", skipped("    a_test.go:7: needs x: y\n"), "needs x: y"},
		{"script", skipped("    testscript.go:609: WORK=$WORK\n", "        > sbx version\n", "        > [!x] skip 'needs x: y'\n", "        \n"), "needs x: y"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(&result{output: tt.output}); got != tt.want {
				t.Errorf("reason = %q, want %q", got, tt.want)
			}
		})
	}
}

func skipped(said ...string) []string {
	return append(append([]string{"=== RUN   A\n"}, said...), "--- SKIP: A (0.00s)\n")
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		name, script, last string
		says               string
	}{
		{name: "success", script: "echo fine", last: "1 passed, 0 failed, 0 skipped", says: "pass success"},
		{name: "failure", script: "echo bad >&2; exit 3", last: "0 passed, 1 failed, 0 skipped", says: "\tbad\n\texit status 3\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var events, out bytes.Buffer
			if err := wrap(&events, tt.name, []string{"/bin/sh", "-c", tt.script}); err != nil {
				t.Fatal(err)
			}
			s := newSummary(&out, func(string) bool { return true })
			if err := s.read(&events); err != nil {
				t.Fatal(err)
			}
			s.report()
			if !strings.HasSuffix(out.String(), "\n"+tt.last+"\n") || !strings.Contains(out.String(), tt.says) {
				t.Errorf("got\n%s\nwant %q at the end and %q in it", &out, tt.last, tt.says)
			}
		})
	}
}
