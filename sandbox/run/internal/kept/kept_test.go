package kept

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// TestEncode: every part lies where the header says, and the parts make up the file.
func TestEncode(t *testing.T) {
	s := Start{
		Argv: []string{"sbx", "run", ""}, Env: []string{"A=b"}, Passed: []string{"_=x"}, Claim: "/claimed", Tree: "/looked/at", Alone: true,
		Checks:  []seen.Check{{Kind: seen.Stat, Bits: seen.Follow, Path: "/a"}, {Kind: seen.Text, Path: "/b", Text: "text"}},
		Helpers: [2][]string{{"/bin/newuidmap", "", "0"}, nil}, Program: []byte("program!"), Plan: []byte("{}"),
	}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	word := func(at uint64) uint64 { return binary.NativeEndian.Uint64(text[at:]) }
	head := func(i int) uint64 { return word(8 * uint64(i)) }
	at := func(where uint64, want string) {
		t.Helper()
		if got := string(text[where:][:len(want)]); got != want {
			t.Errorf("at %d stands %q and not %q", where, got, want)
		}
	}
	at(0, "sbxstar2")
	at(head(AtArgv), "sbx\x00run\x00\x00")
	at(head(AtEnv), "A=b\x00")
	at(head(AtClaim), "/claimed\x00")
	at(head(AtTree), "/looked/at\x00")
	at(head(AtHelpers+1), "/bin/newuidmap\x00\x000\x00")
	at(head(AtProgram), "program!")
	at(head(AtPlan), "{}")
	second := head(AtCheck) + 8*CheckWords
	at(word(head(AtCheck)+8*CheckAt), "/a\x00")
	at(word(second+8*CheckA), "/b\x00")
	at(word(second+8*CheckAt), "text")
	for _, x := range []struct {
		what      string
		got, want uint64
	}{
		{"words", head(AtArgc), 3}, {"variables", head(AtEnvc), 1}, {"checks", head(AtChecks), 2}, {"words of the first helper", head(AtHelpers), 3},
		{"words of the second", head(AtHelpers + 2), 0}, {"loose variables", head(AtLoose), 0}, {"alone", head(AtAlone), 1},
		{"bytes of the Program", head(AtLength), 8}, {"bytes", head(AtSize), uint64(len(text))}, {"bytes of what is compared", head(AtMeta), head(AtProgram)},
	} {
		if x.got != x.want {
			t.Errorf("%s: %d and not %d", x.what, x.got, x.want)
		}
	}
	if text[head(AtMeta)-1] != 0 {
		t.Error("the texts do not end in NUL")
	}
}

// TestTooMuch: what can't be read in one piece, or named, is not written down.
func TestTooMuch(t *testing.T) {
	many := make([]seen.Check, 600)
	for i := range many {
		many[i] = seen.Check{Kind: seen.Stat, Path: "/"}
	}
	for name, s := range map[string]Start{
		"checks":      {Checks: many},
		"environment": {Env: []string{strings.Repeat("x", MostMeta)}},
		"arguments":   {Helpers: [2][]string{make([]string, MostWords+1), nil}},
		"NUL":         {Claim: "/a\x00b"},
	} {
		if _, err := s.Encode(); err == nil {
			t.Errorf("%s: it was written down", name)
		}
	}
}
