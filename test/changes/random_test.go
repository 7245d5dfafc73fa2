package changes

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestRandom does many things to few names, so that they meet: whatever came of it,
// apply makes the host's tree what was seen.
func TestRandom(t *testing.T) {
	seeds := 12
	if s := os.Getenv("SBX_FAULT_RUNS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SBX_FAULT_RUNS: %v", err)
		}
		seeds = n
	}
	for _, driver := range drivers {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", driver, seed), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(seed), 7))
				before := ops(rng, 25)
				l := under(t, driver, before)
				for round := range 2 { // the second one on what is left of the first
					do := ops(rng, 30)
					l.inside(t, do)
					want := l.seen(t)
					got := l.sbx(t, "apply", "--allow-triggers", "--allow-links")
					if got.code != 0 {
						t.Fatalf("round %d: status %d, %s\nbefore:\n%s\ndone:\n%s", round, got.code, got.err, before, do)
					}
					if d := differences(want, tree(t, l.tree)); len(d) > 0 {
						t.Fatalf("round %d:\n%s\nbefore:\n%s\ndone:\n%s", round, strings.Join(d, "\n"), before, do)
					}
					if got := l.sbx(t, "diff", "--exit-code"); got.code != 0 || got.out != "" {
						t.Fatalf("round %d: afterwards diff shows\n%s\nbefore:\n%s\ndone:\n%s", round, got.out, before, do)
					}
					l.clean(t)
				}
			})
		}
	}
}

// ops is a script that does n random things; those that can't be done are not.
func ops(rng *rand.Rand, n int) string {
	names := []string{"a", "b", "c", "'d e'"}
	path := func() string {
		p := names[rng.IntN(len(names))]
		for rng.IntN(2) == 0 && strings.Count(p, "/") < 3 {
			p += "/" + names[rng.IntN(len(names))]
		}
		return p
	}
	modes := []string{"755", "700", "750"}
	var b strings.Builder
	for i := range n {
		p := path()
		var op string
		switch rng.IntN(12) {
		case 0, 1, 2:
			op = fmt.Sprintf("echo %d >%s", i, p)
		case 3, 4:
			op = "mkdir -p " + p
		case 5:
			op = "rm -rf " + p
		case 6:
			op = "mv -T " + p + " " + path()
		case 7:
			op = "ln -s " + path() + " " + p
		case 8:
			op = fmt.Sprintf("test -h %s || test ! -d %s || chmod %s %s", p, p, modes[rng.IntN(3)], p)
		case 9:
			op = fmt.Sprintf("test -h %s || chmod %s %s", p, modes[rng.IntN(2)], p)
		case 10:
			op = "cp -a " + p + " " + path()
		case 11:
			op = "test ! -f " + p + " || echo more >>" + p
		}
		b.WriteString("{ " + op + "; } 2>/dev/null || true\n")
	}
	return b.String()
}
