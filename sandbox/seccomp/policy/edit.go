package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Allow returns p with calls allowed that it refuses. A call that is named is
// allowed whatever its arguments. Of a group, which begins with @, those are
// allowed that p refuses outright: what p allows under conditions (socket,
// clone, ioctl) keeps them.
func (p Policy) Allow(names ...string) (Policy, error) {
	p = p.clone()
	for _, name := range names {
		list, err := expand(name)
		if err != nil {
			return Policy{}, err
		}
		if strings.HasPrefix(name, "@") {
			list = slices.DeleteFunc(slices.Clone(list), func(call string) bool { return p.conditional(call) })
		}
		if len(list) > 0 {
			p.set(Rule{Names: slices.Clone(list), Action: Allow, Why: "allowed by name: " + name})
		}
	}
	return p, nil
}

// firstProbed is the first number that is the same on all architectures
// (pidfd_send_signal, Linux 5.1). Programs and libraries try calls as new as
// that and take ENOSYS, not EPERM, as the word to do without.
const firstProbed = 424

// Deny returns p with calls refused: with ENOSYS those of Linux 5.1 and later,
// for which programs have something to fall back on, with EPERM the others.
// What p refuses outright keeps its errno.
//
// Where p runs programs of architectures that it does not judge, or of x32, it
// no longer does: a refusal that another table of numbers avoids is none.
func (p Policy) Deny(names ...string) (Policy, error) {
	p = p.clone()
	for _, name := range names {
		list, err := expand(name)
		if err != nil {
			return Policy{}, err
		}
		var old, probed []string
		for _, call := range list {
			switch {
			case p.refuses(call):
			case recent(call):
				probed = append(probed, call)
			default:
				old = append(old, call)
			}
		}
		if len(old) > 0 {
			p.set(Rule{Names: old, Action: Errno(unix.EPERM), Why: "denied by name: " + name})
		}
		if len(probed) > 0 {
			p.set(Rule{Names: probed, Action: Errno(unix.ENOSYS), Why: "denied by name: " + name})
		}
		if p.Foreign.lets() {
			p.Foreign = Kill
		}
		if p.X32.lets() {
			p.X32 = Errno(unix.ENOSYS)
		}
	}
	return p, nil
}

func recent(call string) bool {
	for _, a := range []Arch{AMD64, ARM64, I386, ARM} {
		if nr, ok := a.Number(call); ok {
			return nr >= firstProbed && nr < 0x1000 // arm's private calls are above
		}
	}
	return false
}

// outcomes are the actions that p may take on a call.
func (p Policy) outcomes(call string) []Action {
	var all []Action
	for _, r := range p.Rules {
		if slices.Contains(r.Names, call) {
			all = append(all, r.Action)
			if len(r.Args) == 0 {
				return all
			}
		}
	}
	return append(all, p.Default)
}

// refuses reports whether p refuses a call whatever its arguments.
func (p Policy) refuses(call string) bool { return !slices.ContainsFunc(p.outcomes(call), Action.lets) }

// Refuses reports whether p refuses all of some calls whatever their arguments,
// and runs no program that could make them by other numbers.
func (p Policy) Refuses(calls ...string) bool {
	return !p.Foreign.lets() && !p.X32.lets() && !slices.ContainsFunc(calls, func(call string) bool { return !p.refuses(call) })
}

// conditional reports whether p allows a call with some arguments and refuses
// it with others.
func (p Policy) conditional(call string) bool {
	return !p.refuses(call) && slices.ContainsFunc(p.outcomes(call), func(a Action) bool { return !a.lets() })
}

// expand is the calls that a name or a group stands for.
func expand(name string) ([]string, error) {
	if strings.HasPrefix(name, "@") {
		for _, g := range groups {
			if g.name == name {
				return strings.Fields(g.calls), nil
			}
		}
		return nil, unknown("group of system calls", name, Groups())
	}
	if !names()[name] {
		return nil, unknownCall(name)
	}
	return []string{name}, nil
}

func unknownCall(name string) error {
	all := make([]string, 0, len(names()))
	for n := range names() {
		all = append(all, n)
	}
	slices.Sort(all) // of two as near, the same one each time
	return unknown("system call", name, all)
}

// unknown says that there is no such name, and which is like it.
func unknown(what, name string, all []string) error {
	if best := nearest(name, all); best != "" {
		return fmt.Errorf("unknown %s %q; did you mean %q?", what, name, best)
	}
	return fmt.Errorf("unknown %s %q", what, name)
}

// nearest is the name that takes the fewest edits, unless that is too many.
func nearest(name string, all []string) string {
	const longest = 64 // of no use to compare
	if name == "" || len(name) > longest {
		return ""
	}
	best := slices.MinFunc(all, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, best) > max(1, len(name)/3) {
		return ""
	}
	return best
}

// distance counts the letters to put in, take out, change or swap with the next.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0:
				rows[i][j] = j
				continue
			case j == 0:
				rows[i][j] = i
				continue
			}
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
