package rig

import (
	"slices"
	"strings"
	"testing"
)

func TestStandard(t *testing.T) {
	names := map[string]string{}
	for _, n := range strings.Fields("bin sbx profiles state bundle rootfs newuidmap newgidmap uid gid subuid subgid subcount n short") {
		names[n] = "/" + n
	}
	for _, c := range Standard() {
		if c.Note == "" || len(c.In) == 0 {
			t.Errorf("%s: no note or no measurement", c.Name)
		}
		for _, arg := range slices.Concat(c.Requires, c.Argv, c.Version) {
			if arg == "{payload}" {
				continue
			}
			if _, err := expand(arg, names); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key":         `[{"name":"a","argv":["a"],"arg":1}]`,
		"no name":             `[{"argv":["a"]}]`,
		"no argv":             `[{"name":"a"}]`,
		"twice":               `[{"name":"a","argv":["a"]},{"name":"a","argv":["a"]}]`,
		"unknown measurement": `[{"name":"a","argv":["a"],"in":["speed"]}]`,
	} {
		if _, err := decode([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestExpand(t *testing.T) {
	names := map[string]string{"a": "1", "none": ""}
	for _, test := range []struct{ text, want, err string }{
		{"plain", "plain", ""},
		{"x{a}y{a}", "x1y1", ""},
		{"{none}", "", "no none for this account"},
		{"{b}", "", "unknown name {b}"},
		{"{a", "", "unknown name {a}"},
	} {
		got, err := expand(test.text, names)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("expand(%q) = %q, %v", test.text, got, err)
		}
	}
}

func TestTakesPart(t *testing.T) {
	for share, want := range map[float64]int{0: 100, 1: 100, 0.5: 50, 0.1: 10} {
		n := 0
		for i := range 100 {
			if (Candidate{Share: share}).TakesPart(i) {
				n++
			}
		}
		if n != want {
			t.Errorf("share %v: %d of 100 rounds, want %d", share, n, want)
		}
	}
}

func TestSubordinate(t *testing.T) {
	text := "# comment\nother:1:2\nme:100000:65536\nme:300000:5\n1001:7:8\nbad:x:1\n"
	for _, test := range []struct {
		name, uid    string
		first, count string
	}{
		{"me", "1000", "100000", "65536"},
		{"nobody", "1001", "7", "8"},
		{"nobody", "1", "", ""},
		{"bad", "1", "", ""},
	} {
		if first, count := subordinate(text, test.name, test.uid); first != test.first || count != test.count {
			t.Errorf("%s/%s: %s %s", test.name, test.uid, first, count)
		}
	}
}
