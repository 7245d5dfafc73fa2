package screen

import (
	"encoding/json"
	"strings"
	"testing"
)

// What a terminal acts on, or shows in another order than it stands in.
const hostile = "a\x1b]0;x\x07\x7f\u009b31m\u202e\u2066\u2028b"

func TestPrintable(t *testing.T) {
	got := Printable(hostile + "ä\t\n\xff")
	if strings.ContainsFunc(got, unsafe) || !strings.HasSuffix(got, "bä\t\n\ufffd") {
		t.Errorf("it prints %q", got)
	}
}

func TestLine(t *testing.T) {
	if got := Line(hostile + "ä\t\n\xff"); strings.ContainsAny(got, "\t\n") || !strings.HasSuffix(got, "bä\\t\\n\ufffd") {
		t.Errorf("it prints %q", got)
	}
}

func TestEscape(t *testing.T) {
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	safe := Escape(text)
	var back string
	if err := json.Unmarshal(safe, &back); err != nil || back != hostile || strings.ContainsFunc(string(safe), unsafe) {
		t.Errorf("%q reads back as %q, %v", safe, back, err)
	}
}
