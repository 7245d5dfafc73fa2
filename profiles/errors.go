package profiles

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one problem of a profile, at a place an editor can jump to.
type Error struct {
	File string `json:"file"`          // path, "builtin:NAME", or "-" for standard input
	Line int    `json:"line"`          // from 1; 0 = the file as a whole
	Col  int    `json:"col"`           // from 1, in bytes
	Key  string `json:"key,omitempty"` // dotted; "" = no key in particular
	Msg  string `json:"msg"`
}

// Error returns "file:line:col: key: message", leaving out what is not known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Col)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteString(": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

// Errors are all problems found in a profile and in what it extends, sorted by
// file and position. It marshals to a JSON list.
type Errors []*Error

// Error returns one line per problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single *Error.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, one := range e {
		list[i] = one
	}
	return list
}

// problem is an error before its position is known. The position is looked up
// in the file's index only when there is something to report.
type problem struct {
	layer *layer
	key   string // dotted, as shown
	msg   string
	line  int // set when the parser itself said where
	col   int
	value bool // point at the value and not at the key
}

// located turns problems into Errors; files are in the order of loading.
func located(problems []problem, layers []*layer) Errors {
	order := make(map[*layer]int, len(layers))
	for i, l := range layers {
		order[l] = len(layers) - i // the file that was named comes first
	}
	file := func(l *layer) *layer {
		if l.base != nil {
			return l.base
		}
		return l
	}
	slices.SortStableFunc(problems, func(a, b problem) int { return order[file(a.layer)] - order[file(b.layer)] })
	errs := make(Errors, 0, len(problems))
	for _, p := range problems {
		e := &Error{File: p.layer.name, Line: p.line, Col: p.col, Key: p.key, Msg: p.msg}
		_, e.Key = p.layer.outer(p.key)
		if e.Line == 0 {
			pos := p.layer.position(p.key, p.value)
			e.Line, e.Col = pos.line, pos.col
		}
		errs = append(errs, e)
	}
	slices.SortStableFunc(errs, func(a, b *Error) int {
		switch {
		case a.File != b.File:
			return 0
		case a.Line != b.Line:
			return a.Line - b.Line
		case a.Col != b.Col:
			return a.Col - b.Col
		case a.Key != b.Key:
			return strings.Compare(a.Key, b.Key)
		}
		return strings.Compare(a.Msg, b.Msg)
	})
	return slices.CompactFunc(errs, func(a, b *Error) bool { return *a == *b })
}

// nearest returns the candidate that word is most likely a slip of, or "".
func nearest(word string, candidates []string) string {
	best, limit := "", len(word)/3+1
	for _, c := range candidates {
		if d := distance(word, c); d <= limit && d > 0 && 2*d <= len(word) {
			best, limit = c, d-1
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

// hint returns ` (did you mean "X"?)`, or "" when nothing is near.
func hint(word string, candidates []string) string {
	if near := nearest(word, candidates); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// either joins words as "a", "b" or "c".
func either(words []string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", w)
	}
	return b.String()
}
