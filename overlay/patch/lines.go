package patch

import (
	"bytes"
	"slices"
)

// Op is a run of lines in a difference: of the old text from Old to OldEnd, of
// the new one from New to NewEnd. If Same they are equal, else the old ones were
// replaced by the new ones, either of which may be none.
type Op struct {
	Same        bool
	Old, OldEnd int
	New, NewEnd int
}

// split cuts text after each newline; the last line may lack its own.
func split(text []byte) [][]byte {
	var lines [][]byte
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n') + 1
		if n == 0 {
			n = len(text)
		}
		lines = append(lines, text[:n])
		text = text[n:]
	}
	return lines
}

// number gives equal lines the same number.
func number(texts ...[][]byte) [][]int {
	ids := map[string]int{}
	out := make([][]int, len(texts))
	for i, lines := range texts {
		out[i] = make([]int, len(lines))
		for j, l := range lines {
			id, ok := ids[string(l)]
			if !ok {
				id = len(ids)
				ids[string(l)] = id
			}
			out[i][j] = id
		}
	}
	return out
}

// Compare finds how the lines b came of the lines a. The result covers both from
// beginning to end, with no two runs of one sort beside each other.
//
// Lines that are there just once in both anchor it (Bram Cohen's patience diff);
// between anchors it is the shortest (Myers, "An O(ND) Difference Algorithm",
// 1986), unless that would take too long.
func Compare(a, b [][]byte) []Op {
	n := number(a, b)
	d := &differ{a: n[0], b: n[1]}
	d.compare(0, len(a), 0, len(b))
	return d.ops()
}

type differ struct {
	a, b []int
	// pairs are the lines found equal, in order.
	pairs [][2]int
}

// ops makes runs of the equal lines.
func (d *differ) ops() []Op {
	var ops []Op
	x, y := 0, 0
	change := func(ex, ey int) {
		if x < ex || y < ey {
			ops = append(ops, Op{false, x, ex, y, ey})
		}
		x, y = ex, ey
	}
	for _, p := range d.pairs {
		if p[0] != x || p[1] != y {
			change(p[0], p[1])
		}
		if n := len(ops); n > 0 && ops[n-1].Same {
			ops[n-1].OldEnd++
			ops[n-1].NewEnd++
		} else {
			ops = append(ops, Op{true, x, x + 1, y, y + 1})
		}
		x, y = x+1, y+1
	}
	change(len(d.a), len(d.b))
	return ops
}

func (d *differ) compare(x, ex, y, ey int) {
	for x < ex && y < ey && d.a[x] == d.b[y] {
		d.pairs = append(d.pairs, [2]int{x, y})
		x, y = x+1, y+1
	}
	tail := 0
	for x < ex-tail && y < ey-tail && d.a[ex-1-tail] == d.b[ey-1-tail] {
		tail++
	}
	ex, ey = ex-tail, ey-tail
	if x < ex && y < ey {
		if anchors := d.anchors(x, ex, y, ey); len(anchors) > 0 {
			for _, p := range anchors {
				d.compare(x, p[0], y, p[1])
				d.pairs = append(d.pairs, p)
				x, y = p[0]+1, p[1]+1
			}
			d.compare(x, ex, y, ey)
		} else {
			d.shortest(x, ex, y, ey)
		}
	}
	for i := range tail {
		d.pairs = append(d.pairs, [2]int{ex + i, ey + i})
	}
}

// anchors are the lines that are once in each part, as many as keep their order.
func (d *differ) anchors(x, ex, y, ey int) [][2]int {
	type count struct{ a, b, inA, inB int }
	counts := make(map[int]count, ex-x)
	for i := x; i < ex; i++ {
		c := counts[d.a[i]]
		c.a, c.inA = c.a+1, i
		counts[d.a[i]] = c
	}
	for j := y; j < ey; j++ {
		if c, ok := counts[d.b[j]]; ok {
			c.b, c.inB = c.b+1, j
			counts[d.b[j]] = c
		}
	}
	// Patience sorting: the longest run that rises in b, in the order of a.
	type card struct {
		pair   [2]int
		before int
	}
	var cards []card
	var piles []int // the card on top of each
	for i := x; i < ex; i++ {
		c := counts[d.a[i]]
		if c.a != 1 || c.b != 1 {
			continue
		}
		at, _ := slices.BinarySearchFunc(piles, c.inB, func(top, b int) int { return cards[top].pair[1] - b })
		before := -1
		if at > 0 {
			before = piles[at-1]
		}
		cards = append(cards, card{[2]int{i, c.inB}, before})
		if at == len(piles) {
			piles = append(piles, 0)
		}
		piles[at] = len(cards) - 1
	}
	if len(piles) == 0 {
		return nil
	}
	run := make([][2]int, len(piles))
	for i, k := len(piles)-1, piles[len(piles)-1]; i >= 0; i-- {
		run[i], k = cards[k].pair, cards[k].before
	}
	return run
}

// most is how many lines may differ in a part that is looked at for its shortest
// difference; where more do, all of it counts as replaced.
const most = 1000

// shortest finds the equal lines of a part by the greedy algorithm of Myers, and
// keeps the whole way for each number of differences, which most bounds.
func (d *differ) shortest(x, ex, y, ey int) {
	n, m := ex-x, ey-y
	limit := min(n+m, most)
	v := make([]int, 2*limit+2)
	at := func(k int) int { return k + limit }
	var ways [][]int
	for D := 0; D <= limit; D++ {
		ways = append(ways, slices.Clone(v[at(-D):at(D)+1]))
		for k := -D; k <= D; k += 2 {
			i := 0
			switch {
			case D == 0:
			case k == -D || k != D && v[at(k-1)] < v[at(k+1)]:
				i = v[at(k+1)]
			default:
				i = v[at(k-1)] + 1
			}
			j := i - k
			for i < n && j < m && d.a[x+i] == d.b[y+j] {
				i, j = i+1, j+1
			}
			v[at(k)] = i
			if i >= n && j >= m {
				d.trace(ways, D, x, y, n, m)
				return
			}
		}
	}
}

// trace goes the way back and notes the equal lines on it. ways[D] is what was
// reached with fewer than D differences, from diagonal -D on.
func (d *differ) trace(ways [][]int, D, x, y, i, j int) {
	var found [][2]int
	for ; D >= 0; D-- {
		start, before := 0, 0
		if D > 0 {
			v := func(k int) int { return ways[D][k+D] }
			if k := i - j; k == -D || k != D && v(k-1) < v(k+1) {
				start, before = v(k+1), k+1
			} else {
				start, before = v(k-1)+1, k-1
			}
		}
		for i > start {
			i, j = i-1, j-1
			found = append(found, [2]int{x + i, y + j})
		}
		if D > 0 {
			i = ways[D][before+D]
			j = i - before
		}
	}
	slices.Reverse(found)
	d.pairs = append(d.pairs, found...)
}
