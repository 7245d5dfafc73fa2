package proc

import "testing"

func TestParseStat(t *testing.T) {
	for _, test := range []struct {
		name, line string
		parent     int
		state      string
	}{
		{"plain", "12 (sh) S 7 12 12 0", 7, "S"},
		{"blanks and parentheses in the name", "12 (a) R 1 (b) Z 7 12", 7, "Z"},
		{"cut short", "12 (sh)", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if parent, state := parseStat(test.line); parent != test.parent || state != test.state {
				t.Errorf("parseStat(%q) = %d, %q", test.line, parent, state)
			}
		})
	}
}

func TestKilobytes(t *testing.T) {
	text := "VmPeak:\t  99 kB\nPss:   40 kB\nPss_Anon:  8 kB\n"
	if got := kilobytes(text, "Pss:"); got != 40<<10 {
		t.Errorf("Pss: %d", got)
	}
	if got := kilobytes(text, "VmRSS:"); got != 0 {
		t.Errorf("missing key: %d", got)
	}
}
