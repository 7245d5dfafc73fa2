package patch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompare checks that a difference holds both texts, in order, for random
// texts of few and of many different lines.
func TestCompare(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		kinds := 2 + rng.IntN(1+i%40)
		text := func() (lines [][]byte) {
			for range rng.IntN(60) {
				lines = append(lines, fmt.Appendf(nil, "%d\n", rng.IntN(kinds)))
			}
			return lines
		}
		a := text()
		b := text()
		if i%3 == 0 { // like a
			b = nil
			for _, l := range a {
				switch rng.IntN(8) {
				case 0:
				case 1:
					b = append(b, l, []byte("new\n"))
				default:
					b = append(b, l)
				}
			}
		}
		check(t, a, b)
	}
}

func check(t *testing.T, a, b [][]byte) {
	t.Helper()
	x, y, same := 0, 0, false
	for i, op := range Compare(a, b) {
		if op.Old != x || op.New != y || i > 0 && op.Same == same || op.OldEnd == x && op.NewEnd == y {
			t.Fatalf("run %d is %+v after %d,%d: %q %q", i, op, x, y, a, b)
		}
		if op.Same && !slicesEqual(a[x:op.OldEnd], b[y:op.NewEnd]) {
			t.Fatalf("%+v is not the same: %q %q", op, a, b)
		}
		x, y, same = op.OldEnd, op.NewEnd, op.Same
	}
	if x != len(a) || y != len(b) {
		t.Fatalf("it ends at %d,%d of %d,%d", x, y, len(a), len(b))
	}
}

func slicesEqual(a, b [][]byte) bool {
	return bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) && len(a) == len(b)
}

// TestShortest: where nothing is cut short the difference is as small as can be.
func TestShortest(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int // lines that differ
	}{
		{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"", "ab", 2},
		{"abcabba", "cbabac", 5}, {"aaaa", "aa", 2}, {"abab", "baba", 2}, {"xaxbxcx", "axbxcxx", 2},
	} {
		lines := func(s string) (out [][]byte) {
			for i := range len(s) {
				out = append(out, []byte{s[i], '\n'})
			}
			return out
		}
		got := 0
		for _, op := range Compare(lines(c.a), lines(c.b)) {
			if !op.Same {
				got += op.OldEnd - op.Old + op.NewEnd - op.New
			}
		}
		if got != c.want {
			t.Errorf("%q to %q: %d lines differ, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestLong: texts with nothing in common, and no line that is there once, take
// no time to speak of.
func TestLong(t *testing.T) {
	var a, b [][]byte
	for i := range 100_000 {
		a = append(a, fmt.Appendf(nil, "%d\n", i%1000))
		b = append(b, fmt.Appendf(nil, "%d\n", i*7919%1000))
	}
	check(t, a, b)
}

func TestQuote(t *testing.T) {
	for name, want := range map[string]string{
		"a b": "a b", "-x": "-x", "a\nb": `"a\nb"`, "\xff": `"\377"`, "ä": `"\303\244"`, `q"\`: `"q\"\\"`,
		"\x1b[0m": `"\033[0m"`, "\a\b\t\v\f\r": `"\a\b\t\v\f\r"`, "\x7f": `"\177"`, "'": "'",
	} {
		got := Quote(name)
		if back, err := Unquote(got); got != want || err != nil || back != name {
			t.Errorf("%q is quoted as %s, want %s; it reads back as %q, %v", name, got, want, back, err)
		}
	}
	for _, bad := range []string{`"`, `"\`, `"\4"`, `"\400"`, `"\x"`, `"a"b"`, `"\37"`} {
		if got, err := Unquote(bad); err == nil {
			t.Errorf("%s reads as %q", bad, got)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "a b\t", "\"", "\\", "\xff\x00", "\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		q := Quote(name)
		for i := range len(q) {
			if q[i] < 0x20 || q[i] >= 0x7f {
				t.Fatalf("%q has the byte %#x", q, q[i])
			}
		}
		if name != "" && name[0] == '"' && q[0] != '"' {
			t.Fatalf("%q is not told from a quoted name", name)
		}
		if back, err := Unquote(q); err != nil || back != name {
			t.Fatalf("%q reads back as %q, %v", name, back, err)
		}
		_, _ = Unquote(name)
	})
}

// FuzzApply: what git apply makes of a patch is the new text.
func FuzzApply(f *testing.F) {
	git, err := exec.LookPath("git")
	if err != nil {
		f.Skip("no git")
	}
	for _, c := range [][2]string{
		{"a\nb\nc\n", "a\nc\n"}, {"", "x"}, {"x", ""}, {"a\n", "a"}, {"a", "a\n"}, {"\r\n", "\n"}, {"a\x00b", "a"},
		{strings.Repeat("x\n", 20) + "y\n" + strings.Repeat("x\n", 20), strings.Repeat("x\n", 41)},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "1\n2x\n3\n4\n5\n6\n7\n8\n9x\n10\n"},
	} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p := Make(&File{"f", Regular, []byte(a), false}, &File{"f", Regular, []byte(b), false})
		if p.Binary || a == b {
			return
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "f")
		if err := os.WriteFile(file, []byte(a), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(git, "apply", "--whitespace=nowarn", "-")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(p.String())
		cmd.Env = []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES=/", "HOME=" + dir, "PATH=/usr/bin:/bin"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git apply: %v\n%s\n%q to %q:\n%s", err, out, a, b, p)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != b {
			t.Fatalf("%q became %q, %v; want %q by\n%s", a, got, err, b, p)
		}
	})
}
