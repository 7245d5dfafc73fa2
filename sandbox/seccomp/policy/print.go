package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// String is the policy for people: what is refused and what is allowed under
// conditions first, then the plain list.
func (p Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy %s, for %s\n", p.Name, join(p.Arches, " and "))
	if p.AllowsAll() {
		b.WriteString("  everything is allowed: there is no filter\n")
		return b.String()
	}
	fmt.Fprintf(&b, "  a known call not named below  %v\n", p.Default)
	fmt.Fprintf(&b, "  an unknown number             %v\n", p.Unknown)
	if slices.Contains(p.Arches, AMD64) {
		fmt.Fprintf(&b, "  a number of x32               %v\n", p.X32)
	}
	fmt.Fprintf(&b, "  another architecture          %v\n", p.Foreign)

	blocks := p.blocks()
	for _, bl := range blocks {
		if len(bl.rules) > 1 || len(bl.rules[0].Args) > 0 {
			b.WriteByte('\n')
			wrap(&b, "", bl.calls)
			for _, r := range bl.rules {
				p.rule(&b, bl.calls[0], r)
			}
			if last := bl.rules[len(bl.rules)-1]; len(last.Args) > 0 {
				fmt.Fprintf(&b, "    %v\n", p.Default)
			}
		}
	}
	for _, bl := range blocks {
		if r := bl.rules[0]; len(bl.rules) == 1 && len(r.Args) == 0 {
			b.WriteByte('\n')
			fmt.Fprintf(&b, "%v", r.Action)
			if r.Why != "" {
				fmt.Fprintf(&b, ": %s", r.Why)
			}
			b.WriteByte('\n')
			wrap(&b, "    ", bl.calls)
		}
	}
	if len(p.Skipped) > 0 {
		b.WriteString("\nnot known here, and skipped\n")
		wrap(&b, "    ", p.Skipped)
	}
	return b.String()
}

// block is calls of which p says the same.
type block struct {
	calls []string
	rules []Rule // their Names do not count
}

// blocks sorts out what p says about each call that any of its architectures
// has: refusals before what is allowed.
func (p Policy) blocks() []block {
	here := map[string]bool{}
	for _, a := range p.Arches {
		for _, c := range a.Calls() {
			here[c.Name] = true
		}
	}
	var order []string
	rules := map[string][]Rule{}
	for _, r := range p.Rules {
		for _, n := range r.Names {
			if said := rules[n]; !here[n] || len(said) > 0 && len(said[len(said)-1].Args) == 0 {
				continue // or decided already
			}
			if rules[n] == nil {
				order = append(order, n)
			}
			plain := r
			plain.Names = nil
			rules[n] = append(rules[n], plain)
		}
	}
	var all []block
	for _, n := range order {
		i := slices.IndexFunc(all, func(b block) bool {
			return reflect.DeepEqual(b.rules, rules[n]) && sameWords(b.calls[0], n, rules[n])
		})
		if i < 0 {
			all = append(all, block{rules: rules[n]})
			i = len(all) - 1
		}
		all[i].calls = append(all[i].calls, n)
	}
	for i := range all {
		slices.Sort(all[i].calls)
	}
	slices.SortStableFunc(all, func(a, b block) int { return rank(a) - rank(b) })
	return all
}

func rank(b block) int {
	if b.rules[len(b.rules)-1].Action.lets() {
		return 1
	}
	return 0
}

// sameWords reports whether rules read the same for two calls.
func sameWords(a, b string, rules []Rule) bool {
	for _, r := range rules {
		for _, c := range r.Args {
			if c.text(a) != c.text(b) {
				return false
			}
		}
	}
	return true
}

func (p Policy) rule(b *strings.Builder, call string, r Rule) {
	fmt.Fprintf(b, "    %v", r.Action)
	for i, c := range r.Args {
		b.WriteString([]string{" if ", " and "}[min(i, 1)])
		b.WriteString(c.text(call))
	}
	if r.Why != "" {
		fmt.Fprintf(b, "  # %s", r.Why)
	}
	b.WriteByte('\n')
}

// text is a condition in a call, with the parameter's name where it is known.
func (c Cond) text(call string) string {
	word, name, ok := parameter(call, c.Index)
	if !ok {
		name = fmt.Sprintf("argument %d", c.Index)
	}
	number := func(v uint64) string {
		switch {
		case word == "umode":
			return fmt.Sprintf("%#o", v)
		case v < 256:
			return fmt.Sprint(v)
		default:
			return fmt.Sprintf("%#x", v)
		}
	}
	if c.Width != 0 {
		name = fmt.Sprintf("%s (%d bits)", name, c.Width)
	}
	if c.Op == MaskedEq {
		return fmt.Sprintf("%s & %s == %s", name, number(c.Mask), number(c.Value))
	}
	op := fmt.Sprintf("operator %d", c.Op)
	if int(c.Op) < len(opText) {
		op = opText[c.Op]
	}
	return fmt.Sprintf("%s %s %s", name, op, number(c.Value))
}

// wrap writes words in lines of bounded length.
func wrap(b *strings.Builder, indent string, words []string) {
	const width = 100
	line := indent
	for _, w := range words {
		if len(line) > len(indent) && len(line)+1+len(w) > width {
			b.WriteString(line + "\n")
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += w
	}
	b.WriteString(line + "\n")
}

func join[T fmt.Stringer](list []T, sep string) string {
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = x.String()
	}
	return strings.Join(words, sep)
}
